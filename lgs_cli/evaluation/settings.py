"""What the evaluation can be told: names, defaults, ranges. Light: ``--help`` reads it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product
from typing import Any, get_type_hints

from lgs_cli.defenses.chain import Chain, parse_assignments, parse_chain, parse_value
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.errors import UsageError
from lgs_cli.params import Params, choice, parameter, text
from lgs_cli.wording import printable


def _numbers(value: str) -> tuple[float, ...]:
    return tuple(float(part) for part in value.split(","))


def _is_triple(value: str) -> bool:
    try:
        return len(_numbers(value)) == 3
    except ValueError:
        return False


def _is_positive_triple(value: str) -> bool:
    return _is_triple(value) and min(_numbers(value)) > 0


@dataclass(frozen=True)
class Preprocessing(Params):
    """How an image becomes a model's input: ``(scale · x − mean) / std`` for x in [0, 1].

    The defaults suit a model that takes [0, 1] itself.

    Attributes
    ----------
    resize : int
        Length in pixels the shorter side is resized to, bilinearly; 0 leaves the size alone.
    crop : int
        Side in pixels of the center crop; 0 keeps the whole image.
    mean, std : str
        Three numbers, in the order of `channels` and in units of `scale`.
    channels : str
        ``rgb`` or ``bgr``: the order in which the model takes its channels.
    scale : str
        ``1`` or ``255``: the value of white.
    """

    resize: int = parameter(256, "Resize the shorter side to this; 0: leave as is.", at_least=0)
    crop: int = parameter(224, "Crop the center to this side; 0: keep all.", at_least=0)
    mean: str = text("0,0,0", "Mean of each channel.", "three numbers: R,G,B", _is_triple)
    std: str = text(
        "1,1,1", "Standard deviation of each channel.", "three positive numbers: R,G,B",
        _is_positive_triple,
    )  # fmt: skip
    channels: str = choice("rgb", "Order of the channels.", "rgb", "bgr")
    scale: str = choice("1", "Value of white.", "1", "255")

    @property
    def white(self) -> float:
        """The value of white, 1 or 255."""
        return float(self.scale)

    @property
    def means(self) -> tuple[float, ...]:
        """The mean of each channel as numbers."""
        return _numbers(self.mean)

    @property
    def stds(self) -> tuple[float, ...]:
        """The standard deviation of each channel as numbers."""
        return _numbers(self.std)


PRESETS: dict[str, Preprocessing] = {
    "plain": Preprocessing(),
    "imagenet": Preprocessing(mean="0.485,0.456,0.406", std="0.229,0.224,0.225"),
    "inception": Preprocessing(resize=342, crop=299, mean="0.5,0.5,0.5", std="0.5,0.5,0.5"),
    "caffe": Preprocessing(mean="104,117,123", channels="bgr", scale="255"),
    "as-is": Preprocessing(resize=0, crop=0),
}


def _is_location(value: str) -> bool:
    return value in {"random", "border", "corner"} or (
        value.count(",") == 1 and all(part.isdecimal() for part in value.split(","))
    )


_LOCATION = "random|border|corner|X,Y"


def _is_target(value: str) -> bool:
    return value in {"none", "random"} or value.isdecimal()


DEVICES = ("auto", "cpu", "cuda")

BACKWARDS = ("auto", "identity", "exact", "relaxed")


@dataclass(frozen=True)
class LavanParams(Params):
    """Localized and visible noise: one patch of free pixels an image.

    Attributes
    ----------
    patch_size : int
        Side of the patch in pixels; 0: `patch_fraction` decides.
    patch_fraction : float
        Area of the patch as a share of the image's.
    target : str
        ``none`` (away from the label), ``random`` (a class drawn for each image) or a class.
    location : str
        ``random``, ``border`` (next to a side drawn at random), ``corner`` or ``X,Y`` (left and
        top of the patch in pixels).
    steps : int
        Gradient steps.
    step_size : float
        How far a pixel goes in the first step, as a share of white; it shrinks linearly to 0.
    confidence : float
        An image is done where the attack's class has at least this probability; 1: never before
        the last step.
    restarts : int
        Independent starts, of which the best is kept.
    cells : int
        Cells along each side of the patch, bicubically enlarged to it; 0: every pixel is free.
    flat_cells : bool
        Whether cells are squares of one color each, not enlarged smoothly.
    gray : bool
        Whether the patch has no color.
    variation : float
        Weight of the patch's total variation against the attack's aim: smooth patches hide better.
    start : str
        ``noise``, or ``content``: what the picture itself shows there, which hides better.
    evade : float
        Weight, at first, of not being found by a `localize` that the attack goes through, against
        the attack's aim; each has a gradient of mean size 1. 0: the attack does not hide. Without
        effect on an attack that goes through no `localize`, such as the blind ones of a table.
    evade_rise : float
        By which factor that weight rises after a step on which the patch is found, and falls
        after one on which it is not, which itself goes for the aim alone. 1: the weight stays,
        and counts on every step.
    exploit_normalization : bool
        Whether one maximal black-to-white corner is put inside the patch: defenses that divide
        by the largest gradient of the image then see every other gradient scaled down.

    References
    ----------
    Karmon, Zoran, Goldberg, "LaVAN: Localized and Visible Adversarial Noise", ICML 2018,
    arXiv 1801.02608.
    """

    patch_size: int = parameter(0, "Side of the patch in px; 0: from the fraction.", at_least=0)
    patch_fraction: float = parameter(
        0.02, "Area of the patch as a share of the image.", at_least=0.0001, at_most=0.9
    )
    target: str = text(
        "none", "Class to reach; none: away from the label.", "none|random|LABEL", _is_target
    )
    location: str = text("border", "Where the patch lies.", _LOCATION, _is_location)
    steps: int = parameter(80, "Gradient steps.", at_least=1)
    step_size: float = parameter(0.1, "First step as a share of white.", at_least=0.0001, at_most=1)
    confidence: float = parameter(
        1.0, "Probability at which an image is done; 1: use every step.", at_least=0, at_most=1
    )
    restarts: int = parameter(1, "Starts, of which the best counts.", at_least=1)
    cells: int = parameter(0, "Cells a side, enlarged to the patch; 0: free pixels.", at_least=0)
    flat_cells: bool = parameter(False, "Cells of one color each, not enlarged smoothly.")
    gray: bool = parameter(False, "A patch without color.")
    variation: float = parameter(
        0, "Weight of the patch's total variation: higher is smoother.", at_least=0
    )
    start: str = choice("noise", "What the patch is at first.", "noise", "content")
    evade: float = parameter(
        0, "Weight of not being found by the localize of --through.", at_least=0
    )
    evade_rise: float = parameter(
        1.15, "Its rise a step while found, and fall while not; 1: none.", at_least=1, at_most=10
    )
    exploit_normalization: bool = parameter(
        False, "Put one maximal step into the patch, which scales all other gradients down."
    )
    seed: int = parameter(0, "Seed of every draw.", at_least=0)

    @property
    def needs_no_gradient(self) -> bool:
        """False: every patch is optimized."""
        return False


@dataclass(frozen=True)
class PatchParams(Params):
    """Adversarial Patch: one patch for every image, by expectation over transformations.

    Attributes
    ----------
    patch_size : int
        Nominal side of the patch in pixels; 0: that of the file given to `apply`, else
        `patch_fraction` decides.
    patch_fraction : float
        Nominal area of the patch as a share of the image's.
    target : str
        ``none`` (away from the labels), ``random`` (one class, drawn once) or a class.
    location : str
        As in :class:`LavanParams`, drawn anew for every image and step.
    shape : str
        ``square`` or ``circle``.
    rotation : float
        Largest rotation in degrees, to either side.
    scale_min, scale_max : float
        Range of the side in units of the nominal side.
    steps, step_size : int, float
        Training steps, one batch each, and how far a pixel goes in one.
    apply : str
        A patch (image file), or a folder of them which the images take in turn, to paste
        instead of training one; empty: train.

    References
    ----------
    Brown, Mané, Roy, Abadi, Gilmer, "Adversarial Patch", 2017, arXiv 1712.09665.
    """

    patch_size: int = parameter(0, "Nominal side in px; 0: from file or fraction.", at_least=0)
    patch_fraction: float = parameter(
        0.05, "Nominal area as a share of the image.", at_least=0.0001, at_most=0.9
    )
    target: str = text(
        "none", "Class to reach; none: away from the label.", "none|random|LABEL", _is_target
    )
    location: str = text("random", "Where the patch lies.", _LOCATION, _is_location)
    shape: str = choice("square", "Shape of a trained patch.", "square", "circle")
    rotation: float = parameter(22.5, "Largest rotation in degrees.", at_least=0, at_most=180)
    scale_min: float = parameter(1.0, "Smallest scale.", at_least=0.05, at_most=10)
    scale_max: float = parameter(1.0, "Largest scale.", at_least=0.05, at_most=10)
    steps: int = parameter(200, "Training steps, one batch each.", at_least=1)
    step_size: float = parameter(0.02, "Step as a share of white.", at_least=0.0001, at_most=1)
    apply: str = text("", "Patch file or folder to paste, untrained.", "a path", lambda _: True)
    seed: int = parameter(0, "Seed of every draw.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min is {self.scale_min:g}; valid is at most scale_max ({self.scale_max:g})"
            )

    @property
    def needs_no_gradient(self) -> bool:
        """Whether a ready patch is pasted, which any model can be scored on."""
        return bool(self.apply)


ATTACKS: dict[str, type[LavanParams] | type[PatchParams]] = {
    "lavan": LavanParams,
    "patch": PatchParams,
}


def hides_from(chain: Chain) -> bool:
    """Say whether an attack through a chain can hide from it: `localize` is in it."""
    return any(step.name == "localize" for step in chain)


@dataclass(frozen=True)
class DefenseSpec:
    """A defense as the user wrote it.

    Attributes
    ----------
    text : str
        The user's own words, printable, which the table shows.
    chain : tuple of Step
        What is applied, in order; empty for ``none``.
    """

    text: str
    chain: Chain


@dataclass(frozen=True)
class AttackSpec:
    """An attack as the user wrote it.

    Attributes
    ----------
    text : str
        The user's own words, printable, which the table shows.
    params : LavanParams or PatchParams
        Its parameters; the type says which attack it is.
    """

    text: str
    params: LavanParams | PatchParams


def parse_defense(text: str) -> DefenseSpec:
    """Read a defense.

    Parameters
    ----------
    text : str
        ``none``, ``NAME``, ``NAME:param=value,param=value``, or a chain of names:
        ``median,lgs:threshold=0.2``.

    Returns
    -------
    DefenseSpec

    Raises
    ------
    UsageError
        Where a name, a parameter or a value is not valid; the message lists what is.
    """
    if text == "none":
        return DefenseSpec(text, ())
    try:
        return DefenseSpec(printable(text), parse_chain(text))
    except ValueError as error:
        raise UsageError(f"defense {text!r}: {error}") from None


def parse_attack(text: str) -> AttackSpec:
    """Read an attack.

    Parameters
    ----------
    text : str
        ``NAME`` or ``NAME:param=value,param=value``.

    Returns
    -------
    AttackSpec

    Raises
    ------
    UsageError
        Where the name, a parameter or a value is not valid; the message lists what is.
    """
    name, _, rest = text.partition(":")
    if name not in ATTACKS:
        raise UsageError(f"no attack {name!r}; there are {', '.join(ATTACKS)}")
    kind = ATTACKS[name]
    types = get_type_hints(kind)
    known = ", ".join(spec.name.replace("_", "-") for spec in fields(kind))
    try:
        values: dict[str, Any] = {}
        for key, value in parse_assignments(rest):
            attribute = key.replace("-", "_")
            if attribute not in types:
                raise ValueError(f"no parameter {key!r}; {name} takes {known}")
            values[attribute] = parse_value(value, types[attribute])
        return AttackSpec(printable(text), kind(**values))
    except ValueError as error:
        raise UsageError(f"attack {text!r}: {error}") from None


@dataclass(frozen=True)
class EvaluateParams(Params):
    """What the table is made from.

    Attributes
    ----------
    count : int
        How many photographs are evaluated; 0: all.
    all_images : bool
        Whether photographs that the undefended model classifies wrongly are evaluated, too.
    adaptive : bool
        Whether an attack through each defense is made.
    adaptive_count : int
        How many of the photographs it is made on; 0: all.
    backward : str
        The gradient of the defenses, see :func:`lgs_cli.evaluation.bpda.layer`.
    batch_size : int
        Images that go through the model at once.
    """

    count: int = parameter(0, "Photographs to evaluate; 0: all.", at_least=0)
    all_images: bool = parameter(
        False, "Evaluate also what the undefended model classifies wrongly."
    )
    adaptive: bool = parameter(False, "Attack through each defense, too.")
    adaptive_count: int = parameter(
        0, "Photographs to attack through each defense; 0: all.", at_least=0
    )
    backward: str = choice("auto", "Gradient of a defense under attack.", *BACKWARDS)
    batch_size: int = parameter(16, "Images in one pass of the model.", at_least=1)


def _is_numbers(value: str) -> bool:
    try:
        return bool(_numbers(value))
    except ValueError:
        return False


def _numbers_of(default: str, help: str) -> Any:
    return text(default, help, "numbers separated by commas", _is_numbers)


@dataclass(frozen=True)
class TuneParams(Params):
    """Which parameters of LGS are tried.

    Attributes
    ----------
    smoothing, threshold, block_size, overlap : str
        Values to try, separated by commas. Combinations that LGS does not take are passed over.
    clean_weight : float
        How much accuracy on clean images counts against accuracy on attacked ones, 0 to 1: the
        share of clean images among those to come.
    count : int
        Photographs to try on; 0: all.
    all_images : bool
        Whether photographs that the undefended model classifies wrongly are tried, too.
    batch_size : int
        Images that go through the model at once.
    """

    smoothing: str = _numbers_of("1,1.7,2.3,3,5", "Smoothing factors λ to try.")
    threshold: str = _numbers_of("0.05,0.1,0.15,0.2", "Thresholds γ to try.")
    block_size: str = _numbers_of("10,15,20", "Block sizes τ in pixels to try.")
    overlap: str = _numbers_of("0,5", "Overlaps o in pixels to try.")
    clean_weight: float = parameter(
        0.5, "Weight of clean against attacked accuracy.", at_least=0, at_most=1
    )
    count: int = parameter(64, "Photographs to try on; 0: all.", at_least=0)
    all_images: bool = parameter(False, "Try also what the undefended model classifies wrongly.")
    batch_size: int = parameter(16, "Images in one pass of the model.", at_least=1)

    def grid(self) -> list[LgsParams]:
        """Return every combination that LGS takes.

        Returns
        -------
        list of LgsParams
            At least one; the last axis, the overlap, changes fastest.

        Raises
        ------
        ValueError
            Where it takes none of them.
        """
        axes = (self.smoothing, self.threshold, self.block_size, self.overlap)
        combinations, reason = [], ""
        for smoothing, threshold, block_size, overlap in product(*map(_numbers, axes)):
            try:
                combinations.append(
                    LgsParams(smoothing, threshold, _whole(block_size), _whole(overlap))
                )
            except ValueError as error:
                reason = str(error)
        if not combinations:
            raise ValueError(reason)
        return combinations


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError(f"{number:g} is no whole number of pixels")
    return int(number)


@dataclass(frozen=True)
class TrainParams(Params):
    """How a detector is trained.

    Attributes
    ----------
    warmup : int
        Steps on pasted textures and patches before the attackers join.
    rounds : int
        Rounds against attackers: 12 steps of the detector, 4 of each attacker.
    attackers : int
        Attackers at a time on each model.
    seed : int
        Of every draw.
    """

    warmup: int = parameter(800, "Steps before the attackers join.", at_least=1)
    rounds: int = parameter(600, "Rounds against the attackers.", at_least=0)
    attackers: int = parameter(32, "Attackers at a time on each model.", at_least=1)
    seed: int = parameter(0, "Seed of every draw.", at_least=0)
