"""For how many photographs it is proved that no patch can change a model's answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from lgs_cli import __version__, storage
from lgs_cli.defenses import masking
from lgs_cli.defenses.masking import MaskParams, Votes
from lgs_cli.defenses.preprocessing import fit, seen
from lgs_cli.errors import ImageError, UsageError
from lgs_cli.evaluation import dataset
from lgs_cli.evaluation.dataset import Photograph
from lgs_cli.evaluation.models.model import Model
from lgs_cli.evaluation.table import Share
from lgs_cli.wording import printable


@dataclass(frozen=True)
class Certificate:
    """What was found out about one photograph.

    Attributes
    ----------
    file : str
        Its name.
    sha256 : str
        Digest of the file.
    label : int
        The class it shows.
    plain : int
        The class the model answers, undefended.
    answer : int or None
        The class the defended model answers; None for an alarm.
    certified : bool
        Whether the defended model is proved to answer the label, or with `alert` to answer the
        label or raise an alarm, whatever a patch holds and wherever it lies.
    passes : int
        How often the model was asked.
    """

    file: str
    sha256: str
    label: int
    plain: int
    answer: int | None
    certified: bool
    passes: int


@dataclass(frozen=True, eq=False)
class Prover:
    """A model, the patches to be withstood, and the defense that does it.

    Attributes
    ----------
    model : Model
        The classifier.
    params : MaskParams
        The size of the patch, and the masks.
    alert : bool
        Whether the defense is an alarm, `masking.is_alarming`, instead of double masking.
    batch_size : int
        Pictures in one pass of the model.
    """

    model: Model
    params: MaskParams
    alert: bool = False
    batch_size: int = 1

    def settings(self) -> dict[str, Any]:
        """Return what decides a certificate, given its photograph, as plain values for JSON."""
        return {
            "lgs": __version__,
            "model": printable(self.model.spec),
            "model_sha256": _digest(Path(self.model.spec)),
            "engine": self.model.engine,
            "preprocessing": asdict(self.model.preprocessing),
            **asdict(self.params),
            "alert": self.alert,
        }

    def prove(
        self, photograph: Photograph, tell: Callable[[int], None] | None = None
    ) -> Certificate:
        """Find out about one photograph.

        Masks lie in the picture as stored, over what the model sees of it; the masked picture
        then goes through the model's preprocessing. So what is proved holds for patches in the
        picture, and :mod:`lgs_cli.defenses.double_mask` is the defense it is proved of.

        Parameters
        ----------
        photograph : Photograph
            With its label.
        tell : callable, optional
            Called after each pass of the model, with how many pictures it has seen by then.

        Returns
        -------
        Certificate

        Raises
        ------
        ImageError
            If it cannot be read, or is smaller than the model's crop.
        LgsError
            If the model fails, or has no such class.
        """
        assert photograph.label is not None
        shown = printable(str(photograph.path))
        picture = dataset.read(photograph.path)
        try:
            height, width = picture.shape[:2]
            masks = self.params.masks(seen(height, width, self.model.preprocessing))
        except ValueError as error:
            raise ImageError(f"{shown}: {error}") from None

        def predict(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.intp]:
            crops = np.stack([fit(one, self.model.preprocessing) for one in pictures])
            labels = self.model.predict(crops, self.batch_size)
            if tell is not None:
                tell(votes.passes + len(crops))
            return labels

        votes = Votes(picture, masks, predict, self.batch_size)
        label = photograph.label
        plain = votes.bare()
        photograph.require_class(self.model.classes, printable(self.model.spec))
        answer: int | None
        if self.alert:
            certified = masking.is_certified_with_alert(votes, label)
            answer = None if masking.is_alarming(votes) else plain
        else:
            certified = masking.is_certified(votes, label)
            answer = masking.settle(votes).label
        return Certificate(
            photograph.name, _digest(photograph.path), label, plain, answer, certified, votes.passes
        )


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty if there is none, as for a model that code makes."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def choose(photographs: Sequence[Photograph], count: int) -> list[Photograph]:
    """Choose some photographs, evenly spread over all.

    Parameters
    ----------
    photographs : sequence of Photograph
        All there are.
    count : int
        How many; 0: all.

    Returns
    -------
    list of Photograph

    Raises
    ------
    UsageError
        If one has no label.
    """
    for photograph in photographs:
        if photograph.label is None:
            raise UsageError(
                f"{printable(str(photograph.path))} has no label; "
                "give --labels FILE.csv, or one subfolder a class"
            )
    total = len(photographs)
    if not 0 < count < total:
        return list(photographs)
    return [photographs[index * total // count] for index in range(count)]


class Results:
    """Certificates as JSON lines below a line of settings, each written as soon as it is there.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    settings : dict
        What :meth:`Prover.settings` returned, for the first line.
    resume : bool
        Whether the file may be there, and what it holds counts. A line that a killed run left
        torn does not.

    Raises
    ------
    UsageError
        If the file is there and must not be, or was made with other settings.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any], *, resume: bool) -> None:
        self._known: dict[str, Certificate] = {}
        self._file: IO[str] | None = None
        if path is None:
            return
        if path.exists():
            if not resume:
                raise UsageError(f"{printable(str(path))} is there already; --resume continues it")
            self._known = _read(path, settings)
        lines = [settings, *map(asdict, self._known.values())]
        storage.write(str(path), "".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file = path.open("a", encoding="ascii")

    def __enter__(self) -> Self:
        return self

    def of(self, photograph: Photograph) -> Certificate | None:
        """Return what is known of a photograph, if its file and its label are still the same."""
        known = self._known.get(photograph.name)
        if known is None or known.label != photograph.label:
            return None
        return known if known.sha256 == _digest(photograph.path) else None

    def add(self, certificate: Certificate) -> None:
        """Keep one."""
        self._known[certificate.file] = certificate
        if self._file is not None:
            self._file.write(json.dumps(asdict(certificate)) + "\n")
            self._file.flush()

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


_NOUNS = {"lgs": "version of lgs", "model_sha256": "model"}


def _read(path: Path, settings: dict[str, Any]) -> dict[str, Certificate]:
    shown = printable(str(path))
    try:
        first, *lines = path.read_text(encoding="ascii").splitlines() or [""]
    except UnicodeDecodeError:
        first, lines = "", []
    before = _parsed(first)
    if "model_sha256" not in before:
        raise UsageError(f"{shown} is not a file of results of lgs certify")
    # A model file may have moved; its digest says whether it is the same.
    matters = settings.keys() - ({"model"} if settings["model_sha256"] else set())
    for name in sorted(matters):
        if before.get(name) != settings[name]:
            raise UsageError(
                f"{shown} was made with another {_NOUNS.get(name, name.replace('_', ' '))}"
            )
    found = {}
    for line in lines:
        values = _parsed(line)
        if values.keys() == Certificate.__dataclass_fields__.keys():
            found[values["file"]] = Certificate(**values)
    return found


def _parsed(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


@dataclass(frozen=True)
class Summary:
    """The certificates of a model, counted.

    Attributes
    ----------
    undefended : Share
        Photographs that the model answers rightly, as they are.
    defended : Share
        Photographs that the defended model answers rightly as they are, without an alarm.
    certified : Share
        Photographs of which it is proved that no patch changes that.
    false_alarms : Share
        Photographs that raise an alarm as they are.
    passes : int
        How often the model was asked.
    """

    undefended: Share
    defended: Share
    certified: Share
    false_alarms: Share
    passes: int


def summarize(certificates: Sequence[Certificate]) -> Summary:
    """Count certificates.

    Parameters
    ----------
    certificates : sequence of Certificate
        Any number.

    Returns
    -------
    Summary
    """

    def share(hits: Iterable[bool]) -> Share:
        return Share(sum(hits), len(certificates))

    return Summary(
        share(one.plain == one.label for one in certificates),
        share(one.answer == one.label for one in certificates),
        share(one.certified for one in certificates),
        share(one.answer is None for one in certificates),
        sum(one.passes for one in certificates),
    )
