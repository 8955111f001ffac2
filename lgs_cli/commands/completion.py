"""``lgs completion``: what makes a shell complete the command line."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

# Readline replaces only what stands behind the last of its word breaks, among them "=" and ":". So
# the line is split here, not by the shell, and what readline keeps is left out of the answers.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                [[ $value == *[=/] ]] && compopt -o nospace
                ;;
        esac
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_CWORD="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a answers plain open
    local type value help
    (( ! $+commands[%(prog_name)s] )) && return 1
    answers=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s)}")
    for type value help in "${answers[@]}"; do
        case $type in
            dir) compset -P '--*='; _path_files -/ ;;
            file) compset -P '--*='; _path_files -f ;;
            plain) if [[ $value == *[=/] ]]; then open+=("$value"); else plain+=("$value"); fi ;;
        esac
    done
    (( $#open )) && compadd -S '' -a open
    (( $#plain )) && compadd -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

# Click's own script takes a comma in an answer for the end of it.
_FISH = """\
function %(complete_func)s
    for answer in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
            COMP_CWORD=(commandline -t) %(prog_name)s)
        set -l parts (string split -m 1 "," $answer)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _WholeWords(ShellComplete):
    """Answers that start with what is there: ``--method=jpeg`` for ``--method=j``."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        name, equals, _ = incomplete.partition("=")
        if not (equals and name.startswith("-")):
            return found
        return [CompletionItem(f"{name}={item.value}", item.type, item.help) for item in found]


class _Bash(_WholeWords, BashComplete):
    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        """Do without a bash: the script may be meant for another machine."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words, incomplete = _split(os.environ["COMP_WORDS"])
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        _, incomplete = _split(os.environ["COMP_WORDS"])
        breaks = set("=:") & set(os.environ["COMP_CWORD"])
        kept = max((incomplete.rfind(char) + 1 for char in breaks), default=0)
        return f"{item.type},{item.value[kept:]}"


def _split(line: str) -> tuple[list[str], str]:
    """Part the words of a line from the word that is being written."""
    words = split_arg_string(line)
    if not words or line[-1:].isspace():
        return words, ""
    return words[:-1], words[-1]


class _Zsh(_WholeWords, ZshComplete):
    source_template = _ZSH


class _Fish(_WholeWords, FishComplete):
    source_template = _FISH


_CLASSES: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register() -> None:
    """Let click answer these shells in our way."""
    for name, kind in _CLASSES.items():
        add_completion_class(kind, name)


@click.command()
@click.argument("shell", type=click.Choice(list(_CLASSES)))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and values.

    \b
    Once, for every shell to come:
      bash: lgs completion bash > ~/.local/share/bash-completion/completions/lgs
      zsh:  lgs completion zsh > "${fpath[1]}/_lgs"
      fish: lgs completion fish > ~/.config/fish/completions/lgs.fish
    Or for this shell alone:
      eval "$(lgs completion bash)"
    """  # noqa: D301 - click reads the backspace
    root = click.get_current_context().find_root().command
    click.echo(_CLASSES[shell](root, {}, "lgs", "_LGS_COMPLETE").source(), nl=False)
