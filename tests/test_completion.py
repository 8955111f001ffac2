"""What a shell offers when the tab key is pressed: real shells, on terminals of their own."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest
from shell import Lgs

PATIENCE = 60
# Where the shell has come to: printed in two halves, so that the echo of the line is not it.
_READY = "'RE''ADY'"

_START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_SETUP = {
    "bash": 'bind "set bell-style none"; eval "$(lgs completion bash)"; '
    "show() {{ printf '%s\\n' \"$@\" > shown; }}; echo {ready}",
    "zsh": "unsetopt beep prompt_sp; autoload -Uz compinit; compinit -u -D; "
    'eval "$(lgs completion zsh)"; show() {{ print -rl -- "$@" > shown; }}; echo {ready}',
    "fish": "lgs completion fish | source; "
    "function show; printf '%s\\n' $argv > shown; end; echo {ready}",
}


class Shell:
    """A shell on a pseudo-terminal, in the directory of an `lgs`."""

    def __init__(self, name: str, lgs: Lgs) -> None:
        for program in (name, "setsid"):
            if shutil.which(program) is None:
                pytest.skip(f"needs {program}")
        self.shown = lgs.folder / "shown"
        programs = lgs.folder / "bin"
        programs.mkdir()
        ours = programs / "lgs"
        ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lgs_cli "$@"\n')
        ours.chmod(0o755)
        self.master, slave = pty.openpty()
        environment = {
            **lgs.environment,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(lgs.folder),
            "TERM": "xterm",
            "PS1": "> ",
        }
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *_START[name]],
            cwd=lgs.folder, env=environment, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        self.type(_SETUP[name].format(ready=_READY) + "\r")
        self.until("READY")

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, text: str) -> None:
        seen = b""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([self.master], [], [], 0.1)[0]:
                seen += os.read(self.master, 65536)

    def completed(self, line: str) -> list[str]:
        """Press the tab key behind a line; give its words as the shell then has them."""
        self.shown.unlink(missing_ok=True)
        # END comes behind a space, if the shell has put one in.
        self.type(f"{line}\tEND\x01show \r")
        deadline = time.monotonic() + PATIENCE
        while not self.shown.exists() or not self.shown.read_text().endswith("END\n"):
            assert time.monotonic() < deadline
            if select.select([self.master], [], [], 0.05)[0]:  # or it would be full one day
                os.read(self.master, 65536)
        return self.shown.read_text().splitlines()

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)


@pytest.fixture(params=_START)
def shell(request, lgs):
    shell = Shell(request.param, lgs)
    yield shell
    shell.close()


CASES = {
    "lgs cle": ["clean", "END"],
    "lgs clean --thre": ["clean", "--threshold", "END"],
    "lgs clean --method jp": ["clean", "--method", "jpeg", "END"],
    "lgs clean --method=jp": ["clean", "--method=jpeg", "END"],
    "lgs clean --method median,loc": ["clean", "--method", "median,localize", "END"],
    "lgs clean --method jpeg:qu": ["clean", "--method", "jpeg:quality=END"],
    "lgs clean --param smoo": ["clean", "--param", "smoothing=END"],
    "lgs clean --method localize --param fill=bl":
        ["clean", "--method", "localize", "--param", "fill=blur", "END"],
    "lgs clean --mask-style over": ["clean", "--mask-style", "overlay", "END"],
    "lgs clean photos -o pho": ["clean", "photos", "-o", "photos/END"],
    "lgs evaluate --model net": ["evaluate", "--model", "net.onnx", "END"],
    "lgs attack lav": ["attack", "lavan", "END"],
}  # fmt: skip


def test_the_tab_key(shell, lgs, photos):
    (lgs.folder / "net.onnx").touch()
    (lgs.folder / "net.txt").touch()
    found = {line: shell.completed(line) for line in CASES}
    assert found == {line: ["lgs", *words] for line, words in CASES.items()}
