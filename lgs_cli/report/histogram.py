"""A histogram as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from lgs_cli.wording import counted


def histogram(
    what: str, bars: Sequence[tuple[str, int]], marks: Sequence[str], caption: str
) -> str:
    """Draw a histogram of images.

    Parameters
    ----------
    what : str
        What they are sorted by.
    bars : sequence of (str, int)
        Name and height of each; one named ``"none"`` may be the first, and stands apart.
    marks : sequence of str
        Labels of the axis, in equal distances from its start to its end.
    caption : str
        What stands below.

    Returns
    -------
    str
        A ``figure``; the names go into it as they are.
    """
    top = max(count for _, count in bars)
    step = _tick_step(top)
    ticks = range(0, top + 1, step)
    # Head room for the number above the tallest bar.
    share = 90 / top
    summary = "; ".join(f"{name}: {count:,}" for name, count in bars if count)
    none = '<span class="none">none</span>' if bars[0][0] == "none" else ""
    return (
        f'<figure class="histogram" role="img" aria-label="Images by {what}. {summary}">'
        '<div class="ticks axis">'
        f'<span class="room">{ticks[-1]:,}</span>'
        + "".join(f'<span style="bottom:{tick * share:.2f}%">{tick:,}</span>' for tick in ticks)
        + '</div><div class="plot">'
        + "".join(f'<div class="grid" style="bottom:{t * share:.2f}%"></div>' for t in ticks[1:])
        + "".join(_bar(name, count, share) for name, count in bars)
        + f'</div><div class="scale axis">{none}<span class="ends">'
        + "".join(f"<span>{mark}</span>" for mark in marks)
        + f'</span></div><figcaption class="caption axis">{caption}</figcaption></figure>'
    )


def _bar(name: str, count: int, share: float) -> str:
    kind = "bar zero" if name == "none" else "bar"
    # A bar has room for four characters; the exact number is in its title.
    short = f"{count}" if count < 1000 else f"{count / 1000:.{1 if count < 9950 else 0}f}k"
    label = f"<span>{short}</span>" if count else ""
    # One image among thousands is still there.
    height = max(count * share, 1) if count else 0
    return (
        f'<div class="{kind}" style="height:{height:.2f}%" title="{name}:'
        f' {counted(count, "image")}">{label}</div>'
    )


def _tick_step(top: int) -> int:
    """Return the least of 1, 2, 5, 10, 20, ... that needs at most four steps to `top`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * 4 >= top:
                return digit * power
        power *= 10
