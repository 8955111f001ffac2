from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from functools import partial

import pytest

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.bit_depth import BitDepthParams
from lgs_cli.defenses.double_mask import DoubleMaskParams
from lgs_cli.defenses.jpeg import JpegParams
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.localize import LocalizeParams
from lgs_cli.defenses.median import MedianParams
from lgs_cli.defenses.nlm import NlmParams
from lgs_cli.defenses.tvm import TvmParams
from lgs_cli.params import valid_range

EVERY_PARAMETER = [
    pytest.param(defense.params, spec, id=f"{name}-{spec.name}")
    for name, defense in DEFENSES.items()
    for spec in fields(defense.params)
]
EVERY_NUMBER = [case for case in EVERY_PARAMETER if not isinstance(case.values[1].default, str)]


def test_defaults():
    assert LgsParams() == LgsParams(smoothing=2.3, threshold=0.1, block_size=15, overlap=5)
    assert JpegParams() == JpegParams(quality=30)
    assert TvmParams() == TvmParams(drop_rate=0.5, weight=0.03, iterations=100, seed=0)
    assert BitDepthParams() == BitDepthParams(bits=3)
    assert MedianParams() == MedianParams(window=3)
    assert NlmParams() == NlmParams(strength=4, patch_size=3, search_window=11)
    assert LocalizeParams() == LocalizeParams(threshold=0.5, fill="inpaint", detector="")


@pytest.mark.parametrize(("params", "spec"), EVERY_PARAMETER)
def test_every_parameter_explains_itself(params, spec):
    assert spec.metadata["help"].endswith(".")
    assert valid_range(spec)
    assert f"{spec.name} :" in params.__doc__


@pytest.mark.parametrize(("params", "spec"), EVERY_NUMBER)
def test_beyond_either_end_is_refused(params, spec):
    low, high = spec.metadata["at_least"], spec.metadata["at_most"]
    number = type(spec.default)
    beyond = [number(low - 1)] + ([] if high is None else [number(high + 1)])
    for value in beyond:
        with pytest.raises(ValueError) as caught:
            params(**{spec.name: value})
        assert str(caught.value) == f"{spec.name} is {value:g}; valid is {valid_range(spec)}"


@pytest.mark.parametrize(("params", "spec"), EVERY_NUMBER)
@pytest.mark.parametrize("value", ["3", None, True, [1]])
def test_the_wrong_type_is_refused(params, spec, value):
    with pytest.raises(ValueError, match=f"^{spec.name} is .*; valid is a (whole )?number$"):
        params(**{spec.name: value})


@pytest.mark.parametrize(("params", "spec"), EVERY_NUMBER)
def test_both_ends_are_valid(params, spec, tiny_model):
    if spec.name == "block_size":
        params = partial(params, overlap=0)
    if params is DoubleMaskParams:
        params = partial(params, model=str(tiny_model))
    for end in (spec.metadata["at_least"], spec.metadata["at_most"]):
        if end is not None:
            assert getattr(params(**{spec.name: end}), spec.name) == end


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="weight is"):
        TvmParams(weight=value)


def test_a_whole_number_serves_as_a_number_but_not_the_reverse():
    assert type(TvmParams(weight=1).weight) is float
    with pytest.raises(ValueError, match=r"bits is 3\.0; valid is a whole number"):
        BitDepthParams(bits=3.0)


@pytest.mark.parametrize("name", ["patch_size", "search_window"])
def test_windows_of_non_local_means_are_odd(name):
    with pytest.raises(ValueError, match=f"^{name} is 8; valid is an odd number$"):
        NlmParams(**{name: 8})


def test_overlap_is_less_than_the_block():
    with pytest.raises(ValueError, match=r"^overlap is 4; valid is less than block_size \(4\)$"):
        LgsParams(block_size=4, overlap=4)


def test_parameters_are_frozen_and_checked_again_when_replaced():
    params = JpegParams()
    with pytest.raises(FrozenInstanceError):
        params.quality = 1
    with pytest.raises(ValueError, match="quality is 101; valid is 1 to 100"):
        replace(params, quality=101)


@pytest.mark.parametrize("fill", ["zebra", "", "Blur", 3, None])
def test_a_word_is_one_of_those_there_are(fill):
    assert LocalizeParams(fill="blur").fill == "blur"
    with pytest.raises(ValueError) as caught:
        LocalizeParams(fill=fill)
    assert str(caught.value) == f"fill is {fill!r}; valid is inpaint|blur|mean"


def test_a_detector_is_a_file_that_is_there(tmp_path):
    there = tmp_path / "a, b=c.onnx"
    there.write_bytes(b"anything")
    assert LocalizeParams(detector=str(there)).detector_path == str(there)
    for other in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ValueError) as caught:
            LocalizeParams(detector=str(other))
        assert str(caught.value) == f"detector is '{other}'; valid is an .onnx file that is there"


def test_parameters_that_name_a_file_differ_with_what_is_in_it(tmp_path):
    path = tmp_path / "d.onnx"
    path.write_bytes(b"one")
    params = LocalizeParams(detector=str(path))
    first = params.fingerprint()
    assert params.fingerprint() == first
    path.write_bytes(b"two")
    assert params.fingerprint() != first
    assert LocalizeParams().fingerprint() not in ("", first)
    assert LgsParams().fingerprint() == ""
