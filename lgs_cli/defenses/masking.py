"""Double masking: answers that no patch can change, and how to prove that of an image.

A set of masks is laid out so that a patch, wherever it lies, is wholly under at least one of them.
What a classifier answers on the picture under that mask does not depend on the patch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from lgs_cli.defenses.preprocessing import Window
from lgs_cli.lazy import np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIDDLE_GRAY = 128
"""What a mask shows, of 255. It must not depend on the picture, and so on the patch."""

Predict = Callable[[Iterable["NDArray[np.uint8]"]], "NDArray[np.intp]"]
"""From pictures, uint8 (H, W, 3) RGB, to the class of each, from 0."""


@dataclass(frozen=True)
class MaskParams(Params):
    """Which patches are guarded against, and by how many masks.

    Attributes
    ----------
    patch_fraction : float
        Area of the patch at most, as a share of the part of the picture that the model sees.
    patch_size : int
        Side of the square that the patch fits in, in pixels of the picture; 0: `patch_fraction`
        decides.
    masks_per_side : int
        Masks along each side, so that there are up to its square. More masks are smaller ones:
        they hide less of the picture, and take longer.

    References
    ----------
    Xiang, Mahloujifar, Mittal, "PatchCleanser: Certifiably Robust Defense against Adversarial
    Patches for Any Image Classifier", USENIX Security 2022, arXiv 2108.09135.
    """

    patch_fraction: float = parameter(
        0.02, "Area of the patch at most, as a share of what the model sees.",
        at_least=0.0001, at_most=0.5,
    )  # fmt: skip
    patch_size: int = parameter(
        0, "Side of the patch at most, in px of the picture; 0: from the fraction.", at_least=0
    )
    masks_per_side: int = parameter(
        6, "Masks along each side; more are smaller and take longer.", at_least=2, at_most=32
    )

    def masks(self, seen: Window) -> list[Window]:
        """Lay out the masks over the part of a picture that a model sees.

        Parameters
        ----------
        seen : tuple of slice
            Rows and columns of that part. A patch beyond it has no effect, and of one that
            reaches into it, what lies in it fits under a mask as well.

        Returns
        -------
        list of tuple of slice
            Rectangles, row by row. Every square of the patch's side in `seen` lies wholly in one
            of them.
        """
        height, width = (side.stop - side.start for side in seen)
        # Less 1e-9: the root of a square may come out a little too large.
        patch = self.patch_size or math.ceil(math.sqrt(self.patch_fraction * height * width) - 1e-9)
        rows, columns = (covering(side, patch, self.masks_per_side) for side in seen)
        return [(down, across) for down in rows for across in columns]


def covering(side: slice, patch: int, count: int) -> list[slice]:
    """Lay masks along one side, so that every place of a patch lies wholly under one of them.

    Parameters
    ----------
    side : slice
        From where to where.
    patch : int
        Length of the patch in pixels, at least 1.
    count : int
        How many masks at most, at least 1.

    Returns
    -------
    list of slice
        Masks of one length, the shortest that does, each further on than the one before.

    Notes
    -----
    A side of n pixels has n − p + 1 places for a patch of p. A mask of length m covers m − p + 1
    of them, so k masks at the stride s = ⌈(n − p + 1) / k⌉ do with m = p + s − 1. The last one
    ends with the side. PatchCleanser, section 3.2.
    """
    length = side.stop - side.start
    patch = min(patch, length)
    stride = math.ceil((length - patch + 1) / count)
    mask = patch + stride - 1
    starts = [*range(side.start, side.stop - mask, stride), side.stop - mask]
    return [slice(start, start + mask) for start in starts]


class Votes:
    """What a classifier answers on a picture with masks over it; no question is asked twice.

    Parameters
    ----------
    picture : ndarray
        uint8 (H, W, 3) RGB.
    masks : sequence of tuple of slice
        Rows and columns of the masks.
    predict : callable
        The classifier, with all that comes before it.
    batch_size : int
        Pictures in one call of it.

    Attributes
    ----------
    passes : int
        How many pictures the classifier has seen.
    """

    def __init__(
        self,
        picture: NDArray[np.uint8],
        masks: Sequence[Window],
        predict: Predict,
        batch_size: int = 1,
    ) -> None:
        self.masks = masks
        self.passes = 0
        self._picture = picture
        self._predict = predict
        self._batch_size = batch_size
        self._answers: dict[frozenset[int], int] = {}

    def bare(self) -> int:
        """Return the answer on the picture as it is."""
        return self._ask([frozenset()])[0]

    def one_masked(self) -> list[int]:
        """Return the answer under each mask."""
        return self._ask([frozenset((mask,)) for mask in range(len(self.masks))])

    def second_round_agrees(self, first: int, label: int) -> bool:
        """Say whether under one mask and any second one the answer is always one label."""
        return self._all_are([frozenset((first, mask)) for mask in range(len(self.masks))], label)

    def two_masked_agree(self, label: int) -> bool:
        """Say whether under any two masks the answer is always one label."""
        pairs = combinations(range(len(self.masks)), 2)
        return self._all_are([frozenset(pair) for pair in pairs], label)

    def _all_are(self, questions: Sequence[frozenset[int]], label: int) -> bool:
        known = [self._answers[one] for one in questions if one in self._answers]
        if any(answer != label for answer in known):
            return False
        left = [one for one in questions if one not in self._answers]
        size = self._batch_size
        batches = (left[start : start + size] for start in range(0, len(left), size))
        return all(set(self._ask(batch)) == {label} for batch in batches)

    def _ask(self, questions: Sequence[frozenset[int]]) -> list[int]:
        left = [one for one in questions if one not in self._answers]
        for start in range(0, len(left), self._batch_size):
            batch = left[start : start + self._batch_size]
            labels = self._predict(self._masked(one) for one in batch)
            self._answers.update(zip(batch, map(int, labels), strict=True))
            self.passes += len(batch)
        return [self._answers[one] for one in questions]

    def _masked(self, which: frozenset[int]) -> NDArray[np.uint8]:
        picture = self._picture.copy()
        for mask in which:
            picture[self.masks[mask]] = MIDDLE_GRAY
        return picture


class Settled(NamedTuple):
    """What double masking answers.

    Attributes
    ----------
    label : int
        The class.
    mask : int
        A mask under which the classifier itself answers that class.
    """

    label: int
    mask: int


def settle(votes: Votes) -> Settled:
    """Answer as double masking does.

    If the classifier answers the same under every mask, that is the answer. Otherwise a mask
    under which it answers something rarer may be the one that hides a patch. It is if the answer
    stays under every second mask on top of it. If no mask is, the most frequent answer holds.

    Parameters
    ----------
    votes : Votes
        The picture, its masks and the classifier.

    Returns
    -------
    Settled

    References
    ----------
    PatchCleanser, algorithm 1. Of answers equally frequent the one that came first holds, which
    the paper leaves open.
    """
    answers = votes.one_masked()
    (majority, _), *rest = Counter(answers).most_common()
    if rest:
        for mask, label in enumerate(answers):
            if label != majority and votes.second_round_agrees(mask, label):
                return Settled(label, mask)
    return Settled(majority, answers.index(majority))


def is_certified(votes: Votes, label: int) -> bool:
    """Say whether :func:`settle` answers a label whatever a patch puts into the picture.

    Parameters
    ----------
    votes : Votes
        The picture without a patch, its masks and the classifier.
    label : int
        The right class.

    Returns
    -------
    bool
        True if the classifier answers the label under any one and any two masks.

    Notes
    -----
    Let the patch lie under mask m. All answers under m, alone or with a second mask, are then the
    ones counted here: the label. If the answers under one mask agree, they agree with the one
    under m. If another label has the majority, m stands up to every second mask. If any other
    mask brings up another label, it fails when m is the second mask. So only the label can win:
    PatchCleanser, theorem 1.
    """
    return set(votes.one_masked()) == {label} and votes.two_masked_agree(label)


def is_alarming(votes: Votes) -> bool:
    """Say whether the classifier answers otherwise under some mask than without.

    Parameters
    ----------
    votes : Votes
        The picture, its masks and the classifier.

    Returns
    -------
    bool

    References
    ----------
    McCoyd et al., "Minority Reports Defense: Defending Against Adversarial Patches", 2020, arXiv
    2004.13799. This is its strictest form: each vote is one mask's, whatever its confidence.
    """
    return set(votes.one_masked()) != {votes.bare()}


def is_certified_with_alert(votes: Votes, label: int) -> bool:
    """Say whether a classifier that an alarm guards is right or alarmed, whatever a patch does.

    Parameters
    ----------
    votes : Votes
        The picture without a patch, its masks and the classifier.
    label : int
        The right class.

    Returns
    -------
    bool
        True if the classifier answers the label without a mask, so that the picture itself is
        answered rightly and without an alarm, and under any one mask.

    Notes
    -----
    Let the patch lie under mask m. The answer under m is then the one counted here: the label. If
    the classifier answers anything else on the picture with the patch, the two differ, and
    :func:`is_alarming` says so.
    """
    return votes.bare() == label and not is_alarming(votes)
