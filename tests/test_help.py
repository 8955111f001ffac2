"""Help texts, topics with their examples, and man pages."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from folders import files_below

from lgs_cli.cli import commands
from lgs_cli.commands import man_pages
from lgs_cli.commands.configuration import leaves
from lgs_cli.commands.sections import OTHERS, SectionedCommand
from lgs_cli.commands.topics import TOPICS

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = click.Context(commands, info_name="lgs")
COMMANDS = {
    " ".join(words): leaf
    for name in commands.list_commands(CONTEXT)
    for words, leaf in leaves(commands.get_command(CONTEXT, name), name)
}


# --help


def sections(text: str) -> dict[str, list[str]]:
    """Return the long options of each section of a help text."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.fullmatch(r"\w[\w ]*:", line):
            found[line[:-1]] = []
        elif match := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            found[list(found)[-1]].append(match[1])
    return found


def test_the_help_of_clean_is_in_groups(lgs):
    found = sections(lgs("clean", "--help").stdout.decode())
    assert list(found) == [
        "Most needed", "Inputs", "Outputs", "Defense", "Masks", "Running", "Reporting",
    ]  # fmt: skip
    first = found["Most needed"]
    assert len(first) == 10
    assert {"--output", "--method", "--threshold", "--jobs", "--dry-run"} <= set(first)
    every = [option for options in found.values() for option in options]
    assert len(every) == len(set(every))


def test_an_option_in_no_group_is_shown_all_the_same():
    command = SectionedCommand(
        "x", params=[click.Option(["--one"]), click.Option(["--two"])], sections={"A": ("--one",)}
    )
    ctx = click.Context(command)
    groups = {title: [o.opts for o in options] for title, options in command.grouped(ctx).items()}
    assert groups == {"A": [["--one"]], OTHERS: [["--two"], ["--help"]]}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns_however_wide_the_terminal(lgs, name):
    run = lgs(*name.split(), "--help", env={"COLUMNS": "200"})
    assert run.returncode == 0
    assert max(map(len, run.stdout.decode().splitlines())) <= 80


# lgs help


def test_help_lists_topics_and_shows_commands(lgs):
    listed = lgs("help").stdout.decode()
    for name, topic in TOPICS.items():
        assert re.search(rf"^  {name} +{re.escape(topic.summary)}$", listed, re.MULTILINE)
        assert lgs("help", name).stdout.decode() == topic.text
    assert lgs("help", "clean").stdout == lgs("clean", "--help").stdout
    assert lgs("help", "attack", "lavan").stdout == lgs("attack", "lavan", "--help").stdout


def test_the_help_of_lgs_names_all_topics(lgs):
    text = " ".join(lgs("--help").stdout.decode().split())
    assert f"lists topics with examples: {', '.join(sorted(TOPICS))}." in text


@pytest.mark.parametrize("name", ["localize", "Bit_Depth"])
def test_help_shows_a_defense_as_methods_does(lgs, name):
    text = lgs("help", name).stdout.decode()
    assert text.startswith(f"{name.lower().replace('_', '-')}: ")
    assert f"\n\n{text}\n" in lgs("methods").stdout.decode()


@pytest.mark.parametrize("name", TOPICS)
def test_topics_fit_80_columns(name):
    assert max(map(len, TOPICS[name].text.expandtabs().splitlines())) <= 80


def examples() -> list[str]:
    """Return every command line of lgs in a topic."""
    joined = [re.sub(r"\\?\n\s{8}", " ", topic.text) for topic in TOPICS.values()]
    lines = "\n".join(joined).splitlines()
    found = (re.search(r"^(?:\s{4}|\t).*?\b(lgs (?!is )[a-z].*)$", line) for line in lines)
    return [re.split(r"\s{4}|\s*[|;&>']|\s<", match[1])[0] for match in found if match]


def test_there_are_examples():
    assert len(examples()) > 20


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_every_example_parses(line):
    words = shlex.split(re.sub(r"\$(\w+|[<@])", "3", line))[1:]
    for count in (2, 1):
        command = COMMANDS.get(" ".join(words[:count]))
        if command is not None:
            command.make_context(words[0], words[count:], parent=CONTEXT).close()
            return
    pytest.fail(f"no command {words[0]}")


@pytest.fixture
def path_with_lgs(lgs) -> dict[str, str]:
    """An environment in which a shell finds `lgs`."""
    programs = lgs.folder / "bin"
    programs.mkdir()
    program = programs / "lgs"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lgs_cli "$@"\n')
    program.chmod(0o755)
    return {**lgs.environment, "PATH": f"{programs}:{os.environ['PATH']}"}


def indented(topic: str, start: str) -> str:
    """Return the block of a topic that starts with a certain line, without its indent."""
    lines = TOPICS[topic].text.splitlines()
    first = lines.index(f"    {start}")
    end = next(i for i in range(first, len(lines) + 1) if i == len(lines) or not lines[i].strip())
    return "\n".join(line[4:] for line in lines[first:end]) + "\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_makefiles_work(lgs, photos, path_with_lgs):
    def make(*words: str) -> str:
        return subprocess.run(
            ["make", *words], cwd=lgs.folder, env=path_with_lgs, check=True, text=True,
            capture_output=True,
        ).stdout  # fmt: skip

    (lgs.folder / "Makefile").write_text(indented("make", ".PHONY: cleaned"))
    make("cleaned")
    usual = {path.name: path.read_bytes() for path in (lgs.folder / "cleaned").glob("*.jpg")}
    assert usual.keys() == {"a.jpg", "b.jpg", "c.jpg"}
    shutil.rmtree(lgs.folder / "cleaned")
    (lgs.folder / "Makefile").write_text(indented("make", "cleaned/%.jpg: photos/%.jpg"))
    make("-j2", "all")
    assert {p.name: p.read_bytes() for p in (lgs.folder / "cleaned").iterdir()} == usual
    assert "lgs clean" not in make("all")


def test_the_examples_with_find_work(lgs, photos, path_with_lgs):
    (photos / "with space\nand line.jpg").write_bytes((photos / "a.jpg").read_bytes())
    blocks = [
        "find photos -name '*.jpg' -mtime -1 -print0 |",
        "find photos -name '*.jpg' -print0 |",
    ]
    for block in blocks:
        script = indented("find", block).partition("    git")[0].partition("git ls")[0]
        subprocess.run(["sh", "-ec", script], cwd=lgs.folder, env=path_with_lgs, check=True)
    assert len(files_below(lgs.folder / "cleaned")) == 4
    assert len(list(photos.glob("*.orig"))) == 4
    script = indented("in-place", 'for b in photos/*.orig; do mv -- "$b" "${b%.orig}"; done')
    subprocess.run(["sh", "-ec", script], cwd=lgs.folder, check=True)
    assert not list(photos.glob("*.orig"))


def test_the_shards_make_one_whole(lgs, photos):
    lines = [line.strip() for line in TOPICS["shards"].text.splitlines()]
    for line in lines:
        if re.match(r"lgs (clean photos .*--report|report)", line):
            assert lgs(*shlex.split(line)[1:]).returncode in (0, 3)
    found = {path.name for path in (lgs.folder / "cleaned").glob("*.jpg")}
    assert found == {"a.jpg", "b.jpg", "c.jpg"}
    assert (lgs.folder / "report.html").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_one_for_systemd(tmp_path):
    text = TOPICS["watch"].text
    unit = text[text.index("    [Unit]") : text.index("    systemctl")]
    unit = re.sub("^    ", "", unit, flags=re.MULTILINE)
    (tmp_path / "lgs.service").write_text(unit.replace("/usr/local/bin/lgs", sys.executable))
    run = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "lgs.service"], capture_output=True, text=True
    )
    assert "lgs.service" not in run.stderr


# Man pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    man_pages.write(commands, folder)
    return folder


def test_every_command_and_topic_has_a_page(pages):
    found = {path.name for path in pages.glob("man*/*")}
    wanted = {"lgs.1", "lgs-attack.1"}
    wanted |= {f"lgs-{name.replace(' ', '-')}.1" for name in COMMANDS}
    wanted |= {f"lgs-{name}.7" for name in TOPICS}
    assert found == wanted


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_pages_are_well_formed(pages):
    every = sorted(pages.glob("man*/*"))
    run = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *every], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.skipif(
    shutil.which("man") is None or shutil.which("col") is None, reason="needs man and col"
)
@pytest.mark.parametrize("name", ["clean", "scan"])
def test_a_page_reads_as_the_help_does(lgs, pages, name):
    script = f"man --warnings -l '{pages}/man1/lgs-{name}.1' | col -bx"
    environment = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANOPT": "--nh --nj"}
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment)
    if "No manual entry" in run.stderr or "minimized" in run.stdout:
        pytest.skip("man is a stub here")
    assert (run.returncode, run.stderr) == (0, "")
    helped = lgs(name, "--help").stdout.decode()
    words = " ".join(run.stdout.split())
    for option in re.findall(r"--[\w-]+", helped):
        assert option in words
    for example in re.findall(r"^    (lgs .*)$", helped, re.MULTILINE):
        assert " ".join(example.split()) in words


def test_the_pages_are_in_what_is_built(tmp_path):
    if find_spec("hatchling") is None:
        pytest.skip("needs hatchling")
    source = tmp_path / "source"
    names = ["pyproject.toml", "README.md", "LICENSE", "Makefile"]
    source.mkdir()
    for name in names:
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "lgs_cli", source / "lgs_cli", ignore=lambda *_: ["__pycache__"])
    shutil.copytree(ROOT / ".ci", source / ".ci")
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", tmp_path / "dist"],
        cwd=source, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    in_wheel = [name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()]
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    for names in (in_wheel, in_sdist):
        assert {"share/man/man1/lgs-clean.1", "share/man/man7/lgs-watch.7"} <= set(names)
    assert ".ci/hatch_build.py" in in_sdist
