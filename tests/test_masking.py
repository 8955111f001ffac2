"""Double masking: its masks, its answer, its proof."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from lgs_cli.defenses.classifier import Classifier
from lgs_cli.defenses.masking import (
    MaskParams,
    Votes,
    covering,
    is_alarming,
    is_certified,
    is_certified_with_alert,
    settle,
)
from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing, fit, seen

# The masks


def test_every_place_of_a_patch_is_under_a_mask_and_no_shorter_masks_would_do():
    for length, count in product(range(1, 41), range(1, 8)):
        for patch in range(1, length + 1):
            masks = covering(slice(5, 5 + length), patch, count)
            assert len(masks) <= count
            assert all(5 <= mask.start < mask.stop <= 5 + length for mask in masks)
            sizes = {mask.stop - mask.start for mask in masks}
            assert len(sizes) == 1
            for start in range(5, 5 + length - patch + 1):
                assert any(m.start <= start and start + patch <= m.stop for m in masks)
            # A mask of length m has room for m - p + 1 places.
            (size,) = sizes
            assert count * (size - 1 - patch + 1) < length - patch + 1


def test_masks_of_the_paper():
    # 224 px, 2 % of the area, 6 a side: patch 32, stride ceil(193 / 6) = 33, masks of 64
    masks = MaskParams().masks((slice(0, 224), slice(0, 224)))
    assert len(masks) == 36
    assert [(m.start, m.stop) for m, _ in masks[::6]] == [
        (0, 64), (33, 97), (66, 130), (99, 163), (132, 196), (160, 224),
    ]  # fmt: skip
    assert [rows for rows, _ in masks[:6]] == [slice(0, 64)] * 6


@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.1, 0.5])
def test_a_patch_of_that_share_of_the_area_fits(fraction):
    (rows, columns), *_ = MaskParams(patch_fraction=fraction, masks_per_side=32).masks(
        (slice(0, 32), slice(0, 32))
    )
    # With more masks than places for the patch a mask is as large as the patch.
    side = rows.stop - rows.start
    assert side == columns.stop - columns.start
    assert (side - 1) ** 2 < fraction * 32 * 32 <= side**2


def test_a_patch_as_high_as_the_picture_is_under_masks_as_high():
    # 50 of 67 px across leave 18 places, 3 for each of 6 masks of 52.
    assert MaskParams(patch_size=50).masks((slice(0, 20), slice(3, 70)))[0] == (
        slice(0, 20),
        slice(3, 55),
    )


SIZES = [(24, 24), (30, 41), (41, 30), (16, 50), (12, 12)]
SMALL = Preprocessing(resize=12, crop=8)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "preprocessing",
    [SMALL, Preprocessing(resize=40, crop=30), Preprocessing(resize=0, crop=11), PRESETS["as-is"]],
    ids=["smaller", "larger", "cropped", "as it is"],
)
def test_what_a_model_does_not_see_has_no_influence(size, preprocessing):
    draw = np.random.default_rng(1)
    picture = draw.integers(0, 256, (*size, 3), np.uint8)
    window = seen(*size, preprocessing)
    other = draw.integers(0, 256, (*size, 3), np.uint8)
    other[window] = picture[window]
    expected = fit(picture, preprocessing)
    np.testing.assert_array_equal(fit(other, preprocessing), expected)
    # And it is not too much by more than the pixel or two of rounding: a frame of three pixels
    # inside of it matters.
    frame = picture.copy()
    rows, columns = window
    inner = slice(rows.start + 3, rows.stop - 3), slice(columns.start + 3, columns.stop - 3)
    frame[window] = 255 - picture[window]
    frame[inner] = picture[inner]
    changed = (fit(frame, preprocessing) != expected).any(axis=2)
    assert changed[0].any() and changed[-1].any() and changed[:, 0].any() and changed[:, -1].any()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_whatever_of_a_patch_is_seen_is_under_one_mask(size):
    params = MaskParams(patch_size=5, masks_per_side=3)
    rows, columns = seen(*size, SMALL)
    masks = params.masks((rows, columns))
    for top, left in product(range(size[0] - 4), range(size[1] - 4)):
        first, last = max(top, rows.start), min(top + 5, rows.stop)
        left_most, right_most = max(left, columns.start), min(left + 5, columns.stop)
        if first < last and left_most < right_most:
            assert any(
                down.start <= first and last <= down.stop
                and across.start <= left_most and right_most <= across.stop
                for down, across in masks
            )  # fmt: skip


# The answer


class Answers:
    """Answers from a table: one for each set of one or two masks."""

    def __init__(self, table: dict[frozenset[int], int], masks: int) -> None:
        self.table, self.masks = table, range(masks)

    def one_masked(self) -> list[int]:
        return [self.table[frozenset((mask,))] for mask in self.masks]

    def second_round_agrees(self, first: int, label: int) -> bool:
        return all(self.table[frozenset((first, mask))] == label for mask in self.masks)


def algorithm_1(answers: Answers) -> int:
    """PatchCleanser's inference, as the paper writes it down."""
    one_mask = answers.one_masked()
    if len(set(one_mask)) == 1:
        return one_mask[0]
    majority = max(set(one_mask), key=lambda label: (one_mask.count(label), -one_mask.index(label)))
    for mask, label in zip(answers.masks, one_mask, strict=True):
        if label != majority:
            two_mask = [answers.table[frozenset((mask, other))] for other in answers.masks]
            if all(other == label for other in two_mask):
                return label
    return majority


def _random(draw: np.random.Generator, masks: int, odds: float) -> dict[frozenset[int], int]:
    """Draw answers: mostly 0, otherwise 1 or 2."""
    sets = [frozenset(pair) for pair in product(range(masks), repeat=2)]
    return {one: 0 if draw.random() < odds else int(draw.integers(1, 3)) for one in sets}


def test_the_answer_is_that_of_the_paper():
    draw = np.random.default_rng(2)
    kinds = set()
    for _ in range(3000):
        answers = Answers(_random(draw, 4, draw.choice([0.3, 0.8, 0.95])), 4)
        settled = settle(answers)
        assert settled.label == algorithm_1(answers)
        # Under the mask that comes with the answer, the classifier gives it by itself.
        assert answers.one_masked()[settled.mask] == settled.label
        rarest = answers.one_masked().count(settled.label)
        kinds.add("all" if rarest == 4 else "some" if rarest > 1 else "one")
    assert kinds == {"all", "some", "one"}


def test_where_one_mask_hides_the_patch_the_right_answer_wins_whatever_the_others_say():
    """Theorem 1: all that is known is what is answered under the mask that hides the patch."""
    draw = np.random.default_rng(3)
    for trial in range(4000):
        masks = int(draw.integers(2, 6))
        hiding = int(draw.integers(masks))
        table = _random(draw, masks, draw.choice([0.0, 0.1, 0.5]))
        if trial % 2:  # as an attacker would: all others agree on something else
            table = dict.fromkeys(table, 1)
        table |= {frozenset((hiding, other)): 0 for other in range(masks)}
        assert settle(Answers(table, masks)).label == 0


# The proof, by force: a tiny model, tiny pictures, all places of a patch, the worst it can hold

SIDE, PATCH = 9, 3
PARAMS = MaskParams(patch_size=PATCH, masks_per_side=2)
WHOLE = slice(0, SIDE), slice(0, SIDE)
# The model looks at the mean of each channel: the ends of the range are the worst.
WORST = [np.array(color, np.uint8) for color in product((0, 255), repeat=3)]


def pictures(count: int):
    """Draw pictures of red, green and blue spots, mostly red, some more clearly than others."""
    draw = np.random.default_rng(4)
    for index in range(count):
        picture = draw.integers(60, 160, (SIDE, SIDE, 3))
        picture[..., 0] += int(draw.integers(0, 60))
        if index % 3 == 0:
            picture[:4, :4, 1] += 60
        yield np.clip(picture, 0, 255).astype(np.uint8)


def attacked(picture):
    """Put patches everywhere: of one color, and of noise."""
    draw = np.random.default_rng(5)
    for top, left in product(range(SIDE - PATCH + 1), repeat=2):
        noise = draw.integers(0, 256, (PATCH, PATCH, 3), np.uint8)
        for content in (*WORST, noise):
            patched = picture.copy()
            patched[top : top + PATCH, left : left + PATCH] = content
            yield patched


@pytest.fixture(scope="module")
def predict(tiny_model):
    return Classifier(str(tiny_model), PRESETS["as-is"]).predict


def votes(picture, predict):
    return Votes(picture, PARAMS.masks(WHOLE), predict)


def test_no_patch_changes_the_answer_on_a_certified_picture(predict):
    certified, broken = 0, 0
    for picture in pictures(14):
        proved = is_certified(votes(picture, predict), 0)
        wrong = any(settle(votes(patched, predict)).label != 0 for patched in attacked(picture))
        assert not (proved and wrong)
        certified += proved
        broken += wrong
    # The test would notice: there are pictures of both kinds.
    assert certified >= 3
    assert broken >= 3


def test_a_certified_picture_is_answered_rightly_or_raises_an_alarm_whatever_the_patch(predict):
    certified, unnoticed = 0, 0
    for picture in pictures(14):
        proved = is_certified_with_alert(votes(picture, predict), 0)
        assert not proved or not is_alarming(votes(picture, predict))
        fooled = False
        for patched in attacked(picture):
            asked = votes(patched, predict)
            fooled = fooled or (asked.bare() != 0 and not is_alarming(asked))
        assert not (proved and fooled)
        certified += proved
        unnoticed += fooled
    assert certified >= 3
    assert unnoticed >= 1


def test_the_proof_fails_if_masks_hide_less_than_the_patch(predict):
    """Its own check: with masks a pixel too small, a certified picture can be attacked."""
    masks = [
        (slice(down.start, down.stop - 2), slice(across.start, across.stop - 2))
        for down, across in PARAMS.masks(WHOLE)
    ]
    assert any(
        is_certified(Votes(picture, masks, predict), 0)
        and any(settle(Votes(patched, masks, predict)).label != 0 for patched in attacked(picture))
        for picture in pictures(14)
    )


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_certified_means_all_one_and_two_masked_answers_and_costs_as_much(batch_size):
    seen_by_model = []

    def predict(batch):
        batch = list(batch)
        assert len(batch) <= batch_size
        seen_by_model.extend(picture.tobytes() for picture in batch)
        return np.zeros(len(batch), np.intp)

    picture = np.random.default_rng(6).integers(0, 256, (40, 40, 3), np.uint8)
    masks = MaskParams().masks((slice(0, 40), slice(0, 40)))
    asked = Votes(picture, masks, predict, batch_size)
    assert is_certified(asked, 0)
    expected = set()
    for one in (*((m,) for m in masks), *combinations(masks, 2)):
        masked = picture.copy()
        for mask in one:
            masked[mask] = 128
        expected.add(masked.tobytes())
    assert set(seen_by_model) == expected
    assert len(seen_by_model) == asked.passes == 666
    assert settle(asked).label == 0 and asked.passes == 666
    assert not is_certified(asked, 1) and asked.passes == 666
    assert is_certified_with_alert(asked, 0) and asked.passes == 667


@pytest.mark.parametrize("pair", [None, (0, 1), (2, 35), (34, 35)], ids=str)
def test_one_wrong_answer_under_two_masks_is_no_certificate(pair):
    masks = MaskParams().masks((slice(0, 40), slice(0, 40)))
    picture = np.zeros((40, 40, 3), np.uint8)
    bad = picture.copy()
    for mask in pair or ():
        bad[masks[mask]] = 128

    def predict(batch):
        return np.array([int(pair is not None and np.array_equal(p, bad)) for p in batch])

    assert is_certified(Votes(picture, masks, predict, 7), 0) == (pair is None)
