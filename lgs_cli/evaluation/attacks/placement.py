"""Where a patch lies, how large it is, which class it aims at: the draws that attacks share."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from lgs_cli.errors import UsageError
from lgs_cli.lazy import np
from lgs_cli.params import parameter, text
from lgs_cli.wording import printable


def _is_location(value: str) -> bool:
    return value in {"random", "border", "corner"} or (
        value.count(",") == 1 and all(part.isdecimal() for part in value.split(","))
    )


def _is_target(value: str) -> bool:
    return value in {"none", "random"} or value.isdecimal()


def location_parameter(default: str) -> Any:
    """Declare the parameter that :func:`place` takes."""
    return text(default, "Where the patch lies.", "random|border|corner|X,Y", _is_location)


def target_parameter() -> Any:
    """Declare the parameter that :func:`choose_target` takes."""
    return text(
        "none", "Class to reach; none: away from the label.", "none|random|LABEL", _is_target
    )


def fraction_parameter(default: float, help: str) -> Any:
    """Declare the area of a patch that :func:`side_of` takes."""
    return parameter(default, help, at_least=0.0001, at_most=0.9)


def draws(seed: int, name: str, *more: int) -> np.random.Generator:
    """Return the random generator of one image, whatever else is attacked with it.

    Parameters
    ----------
    seed : int
        The user's seed.
    name : str
        The name of the photograph.
    *more : int
        Numbers that tell several generators of one image apart.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape")), *more])


def side_of(patch_size: int, patch_fraction: float, height: int, width: int) -> int:
    """Return the side of a patch in pixels, at least 1.

    Parameters
    ----------
    patch_size : int
        Side in pixels; 0: `patch_fraction` decides.
    patch_fraction : float
        Area as a share of the image's.
    height, width : int
        Size of the image in pixels.

    Raises
    ------
    UsageError
        If the image cannot hold it.
    """
    side = patch_size or max(1, round((patch_fraction * height * width) ** 0.5))
    if side > min(height, width):
        raise UsageError(f"a patch of {side} px does not fit into images of {width}×{height}")
    return side


def place(
    location: str, height: int, width: int, side: int, draw: np.random.Generator
) -> tuple[int, int]:
    """Choose where a square patch lies, as its top and left.

    Parameters
    ----------
    location : str
        ``random``: anywhere; ``border``: at most a quarter of its side away from a border drawn
        at random; ``corner``: in one drawn at random; ``X,Y``: its left and top.
    height, width : int
        Size of the image in pixels.
    side : int
        Side of the patch in pixels.
    draw : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    UsageError
        If a patch at ``X,Y`` would leave the image.
    """
    rows, columns = height - side, width - side
    if location == "random":
        return int(draw.integers(rows + 1)), int(draw.integers(columns + 1))
    if location == "corner":
        return rows * int(draw.integers(2)), columns * int(draw.integers(2))
    if location == "border":
        edge, gap = int(draw.integers(4)), int(draw.integers(side // 4 + 1))
        top, left = int(draw.integers(rows + 1)), int(draw.integers(columns + 1))
        if edge < 2:
            top = min(gap, rows) if edge == 0 else max(rows - gap, 0)
        else:
            left = min(gap, columns) if edge == 2 else max(columns - gap, 0)
        return top, left
    left, top = (int(part) for part in location.split(","))
    if top > rows or left > columns:
        raise UsageError(f"a patch of {side} px at {location} leaves the image of {width}×{height}")
    return top, left


def choose_target(target: str, label: int, classes: int, draw: np.random.Generator) -> int | None:
    """Choose the class to reach; None for any but the label.

    Parameters
    ----------
    target : str
        ``none``, ``random`` (any class but the label) or a class number.
    label : int
        The class the image shows.
    classes : int
        How many classes the model has.
    draw : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    UsageError
        If the model has no such class, or only one.
    """
    if classes < 2:
        raise UsageError("the model has one class, so there is none to lead away to")
    if target == "none":
        return None
    if target == "random":
        return (label + 1 + int(draw.integers(classes - 1))) % classes
    if int(target) >= classes:
        raise UsageError(f"target {target} is no class; the model has 0 to {classes - 1}")
    return int(target)


def require_classes(labels: Sequence[int], names: Sequence[str], classes: int) -> None:
    """Check that labels are classes of the model.

    Parameters
    ----------
    labels : sequence of int
        The class each image shows.
    names : sequence of str
        The name of each image.
    classes : int
        How many classes the model has.

    Raises
    ------
    UsageError
        If a label is none; the message names the image.
    """
    for label, name in zip(labels, names, strict=True):
        if label >= classes:
            raise UsageError(
                f"{printable(name)} has label {label}; the model has classes 0 to {classes - 1}"
            )
