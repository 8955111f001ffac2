"""``lgs methods`` as a shell runs it."""

from __future__ import annotations

import json
from dataclasses import fields

from lgs_cli.defenses import DEFENSES


def test_every_defense_with_every_parameter(lgs):
    text = lgs("methods").stdout.decode()
    found = {entry["name"]: entry for entry in json.loads(lgs("methods", "--json").stdout)}
    assert list(found) == list(DEFENSES)
    for name, defense in DEFENSES.items():
        assert f"{name}: {defense.title}" in text
        params = {param["name"]: param for param in found[name]["params"]}
        assert list(params) == [spec.name for spec in fields(defense.params)]
        for spec in fields(defense.params):
            assert params[spec.name]["default"] == spec.default
            assert params[spec.name]["help"] == spec.metadata["help"]
            assert f"  {spec.name}={spec.default}  [{params[spec.name]['valid']}]\n" in text


def test_the_list_fits_a_terminal_of_80_columns(lgs):
    lines = lgs("methods").stdout.decode().splitlines()
    assert [line for line in lines if len(line) > 80] == []
