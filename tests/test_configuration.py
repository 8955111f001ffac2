"""Options from a file and from the environment."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from folders import report
from test_layers import HEAVY, loaded_by

import lgs_cli
from lgs_cli.cli import commands


def threshold(lgs, *words: str, env: dict[str, str] | None = None) -> float:
    """Clean the photographs, and return the threshold that the report names."""
    run = lgs("clean", "photos", "-o", "out", "--report", "-", *words, env=env)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[0])["params"]["threshold"]


def test_the_command_line_counts_first_then_the_environment_then_the_file(lgs, photos):
    env = {"LGS_CLEAN_THRESHOLD": "0.3"}
    assert threshold(lgs) == 0.1
    (lgs.folder / "lgs.toml").write_text("[clean]\nthreshold = 0.2\n")
    assert threshold(lgs) == 0.2
    assert threshold(lgs, env=env) == 0.3
    assert threshold(lgs, "--threshold", "0.4", env=env) == 0.4
    assert threshold(lgs, "--config", "/dev/null") == 0.1


def test_which_file_is_read(lgs, photos):
    (lgs.folder / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert threshold(lgs) == 0.1
    (lgs.folder / "pyproject.toml").write_text("[tool.lgs.clean]\nthreshold = 0.2\n")
    assert threshold(lgs) == 0.2
    (lgs.folder / "lgs.toml").write_text("[clean]\nthreshold = 0.3\n")
    assert threshold(lgs) == 0.3
    (lgs.folder / "sub").mkdir()
    (lgs.folder / "sub/other.toml").write_text("[clean]\nthreshold = 0.4\n")
    assert threshold(lgs, "--config", "sub/other.toml") == 0.4
    assert threshold(lgs, env={"LGS_CONFIG": "sub/other.toml"}) == 0.4
    assert threshold(lgs, "--config", "pyproject.toml") == 0.2


def test_every_kind_of_value(lgs, photos):
    (lgs.folder / "lgs.toml").write_text(
        '[clean]\noutput = "out"\nmethod = "median,lgs"\nparam = ["median.window=5"]\n'
        'block_size = 9\noptimize = true\nrecursive = false\nexclude = ["b*"]\nreport = "r.jsonl"\n'
    )
    (photos / "sub").mkdir()
    (photos / "a.jpg").rename(photos / "sub/a.jpg")
    assert lgs("clean", "photos").returncode == 0
    (line,) = report(lgs.folder / "r.jsonl")
    assert line["source"] == "photos/c.jpg"
    assert line["method"] == "median,lgs"
    assert (line["params"]["median.window"], line["params"]["lgs.block_size"]) == (5, 9)
    env = {"LGS_CLEAN_RECURSIVE": "yes", "LGS_CLEAN_EXCLUDE": "c* x*", "LGS_CLEAN_OUTPUT": "two"}
    assert lgs("clean", "photos", env=env).returncode == 0
    assert [line["source"] for line in report(lgs.folder / "r.jsonl")] == [
        "photos/b.jpg",
        "photos/sub/a.jpg",
    ]


def test_commands_below_a_command(lgs):
    (lgs.folder / "lgs.toml").write_text("[attack.lavan]\nsteps = 7\n[clean]\njobs = 3\n")
    shown = json.loads(lgs("config", "attack", "lavan", "--json").stdout)["attack lavan"]
    assert shown["steps"] == {"value": 7, "from": "lgs.toml"}
    env = {"LGS_ATTACK_LAVAN_STEPS": "9"}
    shown = json.loads(lgs("config", "attack", "--json", env=env).stdout)["attack lavan"]
    assert shown["steps"] == {"value": 9, "from": "LGS_ATTACK_LAVAN_STEPS"}


def test_the_report_says_how_to_do_it_again(lgs, photos):
    (lgs.folder / "lgs.toml").write_text(
        '[clean]\nthreshold = 0.2\nrecursive = false\noptimize = true\nexclude = ["b c*", "d"]\n'
    )
    words = ["clean", "--report", "r.jsonl", "--", "photos"]
    env = {"LGS_CLEAN_OUTPUT": "out", "LGS_CLEAN_PARAM": "smoothing=2"}
    assert lgs(*words, env=env).returncode == 0
    first = report(lgs.folder / "r.jsonl")
    command = first[0]["command"]
    for origin in ("--threshold from lgs.toml", "--output from LGS_CLEAN_OUTPUT"):
        assert origin in command.partition("#")[2]
    (lgs.folder / "lgs.toml").unlink()
    assert lgs(*shlex.split(command, comments=True)[1:], "--force").returncode == 2  # behind "--"
    assert lgs(*shlex.split(command, comments=True)[1:-2], "--force", "photos").returncode == 0
    again = report(lgs.folder / "r.jsonl")
    kept = ("source", "output", "params", "coverage")
    assert [[line[key] for key in kept] for line in again] == [
        [line[key] for key in kept] for line in first
    ]


def test_without_file_and_environment_the_report_has_what_was_typed(lgs, photos):
    lgs("clean", "photos", "-o", "out", "--report", "r.jsonl")
    command = report(lgs.folder / "r.jsonl")[0]["command"]
    assert command == "lgs clean photos -o out --report r.jsonl"


def test_variables_of_no_option_are_refused(lgs, photos):
    run = lgs("clean", "photos", "-o", "out", env={"LGS_CLEAN_TRESHOLD": "1"})
    assert (run.returncode, run.stderr) == (
        2,
        "lgs: environment: no option has the name LGS_CLEAN_TRESHOLD; did you mean "
        "LGS_CLEAN_THRESHOLD?\n",
    )
    assert lgs("scan", "photos", env={"LGS_CLEAN_TRESHOLD": "1"}).returncode == 0


def test_refused_values_say_where_they_stand(lgs, photos):
    run = lgs("clean", "photos", "-o", "out", env={"LGS_CLEAN_JOBS": "many"})
    assert run.stderr.endswith("(--jobs from LGS_CLEAN_JOBS)\n")
    assert run.stderr.count("\n") == 1


def test_variables_that_ask_for_nothing(lgs):
    """Others set these for purposes of their own."""
    env = {"LGS_VERSION": "1.0", "LGS_HELP": "1", "LGS_CLEAN_JOBS": ""}
    run = lgs("methods", env=env)
    assert (run.returncode, run.stdout[:4]) == (0, b"lgs:")


# lgs config


def options() -> set[tuple[str, str]]:
    """Name all options of all commands, by table and key."""
    root = click.Context(commands, info_name="lgs")
    found = set()

    def visit(command: click.Command, words: tuple[str, ...]) -> None:
        if isinstance(command, click.Group):
            for name in command.list_commands(root):
                visit(command.get_command(root, name), (*words, name))
        elif any(param.name == "config" for param in command.params):
            for param in command.params:
                if isinstance(param, click.Option) and param.name != "config":
                    found.add((".".join(words), max(param.opts, key=len).lstrip("-")))

    visit(commands, ())
    return found


def test_config_shows_every_option_of_every_command(lgs):
    text = lgs("config").stdout.decode()
    shown, table = set(), ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line[1:-1]
        elif line:
            shown.add((table, line.removeprefix("# ").partition(" = ")[0]))
    assert shown == options()


def test_what_config_shows_is_a_file_that_changes_nothing(lgs, photos):
    (lgs.folder / "lgs.toml").write_text('[clean]\nthreshold = 0.2\nexclude = ["b*", "x y"]\n')
    text = lgs("config", env={"LGS_CLEAN_JOBS": "2"}).stdout
    assert b"\nthreshold = 0.2  # lgs.toml\n" in text
    assert b"\njobs = 2  # LGS_CLEAN_JOBS\n" in text
    assert b'\nmask-style = "heatmap"  # default\n' in text
    assert tomllib.loads(text.decode())["clean"]["exclude"] == ["b*", "x y"]
    (lgs.folder / "all.toml").write_bytes(text)
    assert threshold(lgs, "--config", "all.toml") == 0.2
    again = lgs("config", "--config", "all.toml").stdout
    assert tomllib.loads(again.decode()) == tomllib.loads(text.decode())


def test_config_refuses_what_the_command_would_refuse(lgs):
    (lgs.folder / "lgs.toml").write_text("[scan]\nthreshhold = 1\n")
    run = lgs("config")
    assert run.returncode == 2
    assert run.stderr == "lgs: lgs.toml: no key 'threshhold' in [scan]; did you mean 'threshold'?\n"
    assert lgs("config", "clean").returncode == 0


@pytest.mark.parametrize("words", [["clean", "--help"], ["--help"], ["help", "config"]])
def test_a_file_changes_no_help(lgs, words):
    before = lgs(*words).stdout
    (lgs.folder / "lgs.toml").write_text("not TOML")
    run = lgs(*words)
    assert (run.returncode, run.stdout) == (0, before)


def test_a_file_loads_nothing_heavy(tmp_path):
    (tmp_path / "lgs.toml").write_text("[clean]\nthreshold = 0.2\n")
    script = (
        f"import os, sys\nsys.path.insert(0, {str(Path(lgs_cli.__file__).parents[1])!r})\n"
        f"os.chdir({str(tmp_path)!r})\nfrom lgs_cli.cli import run\nassert run() == 0\n"
    )
    loaded = loaded_by(script, "config", "clean")
    assert "tomllib" in loaded
    assert loaded & HEAVY == set()
