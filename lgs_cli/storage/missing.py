"""What is said of an input that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lgs_cli.errors import NoImagesError, UsageError
from lgs_cli.formats import FORMATS
from lgs_cli.wording import listing, nearest, printable

# Inputs that are named; the others are counted.
_MOST_PLACES = 5


def missing(path: str) -> UsageError:
    """Say that a path does not exist, and what may have been meant.

    Parameters
    ----------
    path : str
        As the user gave it.

    Returns
    -------
    UsageError
        To raise.
    """
    try:
        os.lstat(path)
    except PermissionError:
        reason = "permission denied"
    except (OSError, ValueError):
        hint = _hint(path)
        reason = f"no such file or directory{hint and '; '}{hint}"
    else:
        reason = "neither a file nor a directory"
    return UsageError(f"{printable(path)}: {reason}")


def _hint(path: str) -> str:
    if "://" in path:
        return "for a picture from the web: curl -s URL | lgs clean - -o -"
    if path.startswith("~"):
        return "write ~ without quotes, or $HOME: the shell has to replace it"
    if any(char in path for char in "*?["):
        from glob import iglob  # takes long to load, and is seldom needed

        if next(iglob(path), None) is not None:
            return "write the pattern without quotes: the shell has to replace it"
        return "the pattern matches nothing here"
    directory, name = os.path.split(path.rstrip(os.sep))
    try:
        meant = nearest(name, sorted(os.listdir(directory or os.curdir)), 0.8)
    except OSError:
        return f"nor is there a directory {printable(directory)}"
    if meant is not None:
        return f"did you mean {printable(os.path.join(directory, meant))}?"
    return f"it is looked for in {printable(os.path.abspath(directory))}"


def no_images(inputs: Iterable[str], filtered: bool, hint: str | None = None) -> NoImagesError:
    """Say that there is no image.

    Parameters
    ----------
    inputs : iterable of str
        Where it was looked for; none if ``--files-from`` lists nothing.
    filtered : bool
        Whether an option takes only some files of directories.
    hint : str, optional
        Why else there may be none; by default that images are known by their suffixes.

    Returns
    -------
    NoImagesError
        To raise.
    """
    places = list(map(printable, inputs))
    if not places:
        return NoImagesError("no image found: the list of --files-from is empty")
    where = f" in {listing(places, _MOST_PLACES)}"
    if filtered:
        return NoImagesError(f"no image found{where}; --include or --exclude may leave out all")
    if hint is not None:
        return NoImagesError(f"no image found{where}; {hint}")
    suffixes = " ".join(form.suffixes[0] for form in FORMATS.values())
    return NoImagesError(f"no image found{where}: no name ends in one of {suffixes}, or the like")
