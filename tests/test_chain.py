from __future__ import annotations

import pytest

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.chain import describe, method_name, parse_chain
from lgs_cli.defenses.jpeg import JpegParams
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.median import MedianParams
from lgs_cli.defenses.nlm import NlmParams


def parts(chain):
    return [(step.name, step.params) for step in chain]


def test_one_method():
    chain = parse_chain("lgs")
    assert parts(chain) == [("lgs", LgsParams())]
    assert chain[0].defense is DEFENSES["lgs"]
    assert method_name(chain) == "lgs"
    assert describe(chain) == {"smoothing": 2.3, "threshold": 0.1, "block_size": 15, "overlap": 5}


def test_parameters_as_text_and_as_values():
    for assignments in (
        [("threshold", "0.3"), ("block-size", "9")],
        [("lgs.threshold", 0.3), ("lgs.block_size", 9)],
        [("threshold", "7"), ("threshold", "0.3"), ("block_size", "9")],
    ):
        ((_, params),) = parts(parse_chain("lgs", assignments))
        assert params == LgsParams(threshold=0.3, block_size=9)
        assert type(params.block_size) is int


def test_several_in_a_row():
    chain = parse_chain(" median, jpeg ,lgs", [("window", "5"), ("jpeg.quality", "60")])
    assert parts(chain) == [
        ("median", MedianParams(5)), ("jpeg", JpegParams(60)), ("lgs", LgsParams()),
    ]  # fmt: skip
    assert method_name(chain) == "median,jpeg,lgs"
    assert describe(chain) == {
        "median.window": 5, "jpeg.quality": 60, "lgs.smoothing": 2.3, "lgs.threshold": 0.1,
        "lgs.block_size": 15, "lgs.overlap": 5,
    }  # fmt: skip


def test_parameters_behind_a_colon():
    assert parts(parse_chain("lgs:threshold=0.2, smoothing=3")) == [
        ("lgs", LgsParams(smoothing=3, threshold=0.2))
    ]
    chain = parse_chain("median,nlm:nlm.strength=8,window=2", [("window", "7")])
    assert parts(chain) == [("median", MedianParams(7)), ("nlm", NlmParams(strength=8))]


@pytest.mark.parametrize(
    ("method", "assignments", "message"),
    [
        ("lsg", [], r"^no method 'lsg'; did you mean 'lgs'\? there are lgs, "),
        ("lgs,", [], r"^no method ''; there are lgs, localize, jpeg, "),
        ("", [], r"^no method ''; "),
        ("lgs,jpeg,lgs", [], r"^'lgs,jpeg,lgs' names a method twice; once is enough$"),
        ("jpeg", [("threshold", "0")], r"^jpeg has no parameter 'threshold'; it has quality$"),
        ("lgs", [("jpeg.quality", "9")], r"^lgs has no parameter 'jpeg\.quality'; it has smoo"),
        ("median,jpeg", [("seed", "1")],
         r"^no parameter 'seed': median has window; jpeg has quality$"),
        ("lgs", [("threshold", "2")], r"^threshold is 2; valid is 0 to 1$"),
        ("lgs", [("threshold", "much")], r"^threshold is 'much'; valid is a number$"),
        ("lgs", [("block_size", "1.5")], r"^block_size is '1\.5'; valid is a whole number$"),
        ("lgs:threshold", [], r"^'threshold' is not NAME=VALUE, as in lgs:threshold=0.2$"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(method, assignments, message):
    with pytest.raises(ValueError, match=message):
        parse_chain(method, assignments)
