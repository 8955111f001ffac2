"""Charts of tables and grid searches, as SVG."""

from __future__ import annotations

from dataclasses import asdict
from html import escape

from lgs_cli.evaluation.grid_search import GridSearch, Point
from lgs_cli.evaluation.table import Share, Table, caption

# Okabe and Ito's palette, told apart by color-blind readers.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
_LEFT, _WIDTH, _BAR = 12, 640, 14


def bars(table: Table) -> str:
    """Draw a table as bars with their intervals.

    Returns
    -------
    str
        An ``<svg>`` element to put into a page; it refers to nothing outside itself.
    """
    series = ["clean", *table.attacks]
    if table.adaptive is not None:
        series.append(f"adaptive {table.adaptive}")
    parts: list[str] = []
    y = 0
    for index, name in enumerate(series):
        color = _COLORS[index % len(_COLORS)]
        parts.append(
            f'<rect x="{_LEFT}" y="{y + 3}" width="12" height="12" fill="{color}"/>'
            f'<text x="{_LEFT + 18}" y="{y + 13}">{escape(name)}</text>'
        )
        y += 18
    top = y = y + 12
    for row in table.rows:
        shares = [row.clean, *row.accuracy, *([row.adaptive] if table.adaptive else [])]
        parts.append(
            f'<text x="{_LEFT}" y="{y + 10}" font-weight="bold">{escape(row.defense)}</text>'
        )
        y += 16
        for index, share in enumerate(shares):
            if share is not None and share.total:
                parts.append(_bar(share, y, _COLORS[index % len(_COLORS)], series[index]))
            y += _BAR
        y += 10
    axis = []
    for tick in range(0, 11, 2):
        x = _LEFT + _WIDTH * tick / 10
        axis.append(
            f'<line x1="{x:g}" x2="{x:g}" y1="{top - 4}" y2="{y}" stroke="currentColor" '
            f'stroke-opacity=".15"/><text x="{x:g}" y="{y + 14}" text-anchor="middle">'
            f"{tick / 10:g}</text>"
        )
    label = escape(caption(table), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 60} {y + 24}" '
        f'role="img" aria-label="{label}" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="currentColor">{"".join(axis)}{"".join(parts)}</svg>'
    )


def _bar(share: Share, y: float, color: str, name: str) -> str:
    low, high = (_LEFT + _WIDTH * end for end in share.interval)
    middle = y + _BAR / 2 - 1
    return (
        f"<g><title>{escape(name)}: {escape(str(share))}, {share.hits} of {share.total}</title>"
        f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH * share.value:.1f}" height="{_BAR - 2}" '
        f'fill="{color}"/><line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}" '
        f'stroke="currentColor" stroke-opacity=".7"/>'
        f'<text x="{high + 5:.1f}" y="{middle + 4:g}" font-size="10">{share.value:.2f}</text></g>'
    )


_SIDE, _EDGE = 400, 60


def scatter(search: GridSearch) -> str:
    """Draw a grid search: clean against attacked accuracy, the front joined, the choice ringed.

    Returns
    -------
    str
        An ``<svg>`` element to put into a page; it refers to nothing outside itself.
    """

    def at(point: Point) -> tuple[float, float]:
        return _EDGE + _SIDE * point.clean.value, 10 + _SIDE * (1 - point.attacked.value)

    parts = []
    for tick in range(0, 11, 2):
        offset = _SIDE * tick / 10
        x, y = _EDGE + offset, 10 + _SIDE - offset
        parts.append(
            f'<path d="M{x:g} 10V{10 + _SIDE}M{_EDGE} {y:g}H{_EDGE + _SIDE}" '
            f'stroke="currentColor" stroke-opacity=".12"/>'
            f'<text x="{x:g}" y="{_SIDE + 26}" text-anchor="middle">{tick / 10:g}</text>'
            f'<text x="{_EDGE - 8}" y="{y + 4:g}" text-anchor="end">{tick / 10:g}</text>'
        )
    front = sorted(at(point) for point in search.points if point.front)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#d55e00"/>')
    for point in sorted(search.points, key=lambda point: point.front):
        x, y = at(point)
        title = ", ".join(
            f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(point.params).items()
        )
        color = "#d55e00" if point.front else "#999999"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"><title>{escape(title)}: '
            f"clean {point.clean.value:.2f}, attacked {point.attacked.value:.2f}</title></circle>"
        )
    x, y = at(search.chosen)
    parts.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="#0072b2" stroke-width="2"/>'
    )
    middle = _EDGE + _SIDE / 2
    parts.append(
        f'<text x="{middle:g}" y="{_SIDE + 44}" text-anchor="middle">clean accuracy</text>'
        f'<text transform="translate(16 {10 + _SIDE / 2:g}) rotate(-90)" text-anchor="middle">'
        f"accuracy under {escape(search.attack)}</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_EDGE + _SIDE + 20} {_SIDE + 54}" '
        f'role="img" aria-label="clean against attacked accuracy" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )
