"""``lgs methods``: which defenses there are, and what they take."""

from __future__ import annotations

import json
from dataclasses import fields

import click

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.defense import Defense
from lgs_cli.params import valid_range


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def methods(as_json: bool) -> None:
    """List the defenses: parameters, defaults, ranges and papers."""
    if as_json:
        click.echo(json.dumps([_record(defense) for defense in DEFENSES.values()], indent=2))
        return
    click.echo("\n\n".join(paragraph(defense) for defense in DEFENSES.values()))


def _record(defense: Defense) -> dict[str, object]:
    return {
        "name": defense.name,
        "title": defense.title,
        "papers": [f"arXiv {paper}" for paper in defense.papers],
        "params": [
            {
                "name": spec.name,
                "default": spec.default,
                "valid": valid_range(spec),
                "at_least": spec.metadata["at_least"],
                "at_most": spec.metadata["at_most"],
                "help": spec.metadata["help"],
            }
            for spec in fields(defense.params)
        ],
    }


def paragraph(defense: Defense) -> str:
    """Describe a defense and its parameters, on several lines."""
    papers = ", ".join(f"arXiv {paper}" for paper in defense.papers)
    title = f"{defense.name}: {defense.title}"
    lines = [f"{title} ({papers})" if papers else title]
    for spec in fields(defense.params):
        lines.append(f"  {spec.name}={spec.default}  [{valid_range(spec)}]")
        lines.append(f"      {spec.metadata['help']}")
    return "\n".join(lines)
