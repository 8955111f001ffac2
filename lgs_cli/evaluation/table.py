"""The table of an evaluation, as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from lgs_cli.wording import in_columns

_Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """A share of images, with how sure one can be of it.

    Attributes
    ----------
    hits, total : int
        The share is hits / total.
    """

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share in [0, 1]; NaN if there is no image."""
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, (0, 1) if there is no image.

        References
        ----------
        Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
        """
        if not self.total:
            return 0.0, 1.0
        n, p, z2 = self.total, self.value, _Z95**2
        center = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        # exact at the ends: rounding would leave 1e-17
        low = 0.0 if self.hits == 0 else center - half
        return low, 1.0 if self.hits == n else center + half

    def __str__(self) -> str:
        if not self.total:
            return "-"
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}]"


@dataclass(frozen=True)
class Row:
    """One defense.

    Attributes
    ----------
    defense : str
        As the user wrote it.
    milliseconds : float
        Median time it takes for one image.
    clean : Share
        Images classified rightly if not attacked.
    accuracy : tuple of Share
        Images classified rightly under each attack.
    success : tuple of Share
        What each attack reached: of the images classified rightly without attack those that are
        not any more or, for a targeted attack, of all images those taken for the target.
    adaptive : Share or None
        Images classified rightly under the attack that goes through this defense.
    adaptive_is_blind : bool
        Whether that is the figure of the attack that does not know the defense, because it was
        the stronger one.
    certified : Share or None
        Images of which it is proved that the defense answers rightly, whatever a patch of the size
        it guards against holds; None if nothing is proved of it.
    """

    defense: str
    milliseconds: float
    clean: Share
    accuracy: tuple[Share, ...]
    success: tuple[Share, ...]
    adaptive: Share | None = None
    adaptive_is_blind: bool = False
    certified: Share | None = None


@dataclass(frozen=True)
class Table:
    """Defenses in rows, attacks in columns; every text in it is printable.

    Attributes
    ----------
    model : str
        What the user named it.
    population : str
        Which photographs the shares are of, in words.
    attacks : tuple of str
        Names of the attacks.
    adaptive : str or None
        The attack that was made through each defense.
    rows : tuple of Row
        One for each defense.
    warnings : tuple of str
        What sanity checks found.
    provenance : dict
        Where the figures are from, as plain values.
    """

    model: str
    population: str
    attacks: tuple[str, ...]
    adaptive: str | None
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def is_certified(self) -> bool:
        """Whether something is proved of a defense."""
        return any(row.certified is not None for row in self.rows)

    def columns(self) -> list[str]:
        """Return the headings."""
        heads = ["defense", "clean"]
        for attack in self.attacks:
            heads += [attack, "success"]
        if self.adaptive is not None:
            heads.append(f"adaptive {self.adaptive}")
        if self.is_certified:
            heads.append("certified")
        return [*heads, "ms/image"]

    def cells(self) -> list[list[str]]:
        """Return the body as text, one list for each row, as long as the headings."""
        lines = []
        for row in self.rows:
            line = [row.defense, str(row.clean)]
            for accuracy, success in zip(row.accuracy, row.success, strict=True):
                line += [str(accuracy), f"{success.value:.2f}" if success.total else "-"]
            if self.adaptive is not None:
                mark = " (blind)" if row.adaptive_is_blind else ""
                line.append("-" if row.adaptive is None else f"{row.adaptive}{mark}")
            if self.is_certified:
                line.append("-" if row.certified is None else str(row.certified))
            lines.append([*line, f"{row.milliseconds:.1f}"])
        return lines


FORMATS = ("text", "markdown", "csv", "json")


def write(table: Table, form: str) -> str:
    """Write a table in one of `FORMATS`, with a newline at its end.

    Shares come with their 95 % interval; text and Markdown end with the warnings.
    """
    writers = {"text": _text, "markdown": _markdown, "csv": _csv, "json": _json}
    return writers[form](table)


def caption(table: Table) -> str:
    """Say what the shares of a table are of."""
    return f"{table.model}: accuracy on {table.population} [95 % interval]"


def _text(table: Table) -> str:
    body = in_columns([table.columns(), *table.cells()])
    warnings = [f"warning: {warning}" for warning in table.warnings]
    return "\n".join([caption(table), "", *body, *([""] if warnings else []), *warnings]) + "\n"


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    heads = table.columns()
    rule = line(["---"] + ["---:"] * (len(heads) - 1))
    body = [line(heads), rule, *map(line, table.cells())]
    warnings = [f"- Warning: {warning}" for warning in table.warnings]
    return "\n".join([caption(table), "", *body, *([""] if warnings else []), *warnings]) + "\n"


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["defense", "attack", "measure", "hits", "total", "share", "low", "high", "ms_per_image"]
    )
    for row in table.rows:
        shares = [("", "accuracy", row.clean)]
        for attack, accuracy, success in zip(table.attacks, row.accuracy, row.success, strict=True):
            shares += [(attack, "accuracy", accuracy), (attack, "success", success)]
        if table.adaptive is not None and row.adaptive is not None:
            measure = "blind accuracy" if row.adaptive_is_blind else "adaptive accuracy"
            shares.append((table.adaptive, measure, row.adaptive))
        if row.certified is not None:
            shares.append(("", "certified", row.certified))
        for attack, measure, share in shares:
            low, high = share.interval
            value = f"{share.value:.6f}" if share.total else ""
            writer.writerow(
                (
                    *(row.defense, attack, measure, share.hits, share.total, value),
                    *(f"{low:.6f}", f"{high:.6f}", f"{row.milliseconds:.3f}"),
                )
            )
    return stream.getvalue()


def _json(table: Table) -> str:
    return json.dumps(to_json(table), ensure_ascii=False, indent=2) + "\n"


def to_json(table: Table) -> dict[str, Any]:
    """Return the table as plain objects, for JSON; a share of no image is null."""

    def plain(share: Share) -> dict[str, Any]:
        low, high = share.interval
        value = share.value if share.total else None
        return {
            "hits": share.hits, "total": share.total, "share": value, "interval": [low, high],
        }  # fmt: skip

    return {
        "model": table.model,
        "population": table.population,
        "adaptive": table.adaptive,
        "defenses": [
            {
                "defense": row.defense,
                "milliseconds": row.milliseconds,
                "clean": plain(row.clean),
                "attacks": [
                    {"attack": attack, "accuracy": plain(accuracy), "success": plain(success)}
                    for attack, accuracy, success in zip(
                        table.attacks, row.accuracy, row.success, strict=True
                    )
                ],
                "adaptive": None if row.adaptive is None else plain(row.adaptive),
                "adaptive_is_blind": row.adaptive_is_blind,
                "certified": None if row.certified is None else plain(row.certified),
            }
            for row in table.rows
        ],
        "warnings": list(table.warnings),
        "provenance": table.provenance,
    }
