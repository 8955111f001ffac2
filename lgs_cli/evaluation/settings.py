"""What the evaluation can be told: names, defaults, ranges. Light: ``--help`` reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_type_hints

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.params import Params, parameter
from lgs_cli.errors import UsageError


def text(default: str, help: str, form: str, valid: Callable[[str], bool]) -> Any:
    """Declare one parameter that is written as text.

    Parameters
    ----------
    default : str
        The value when the user gives none.
    help : str
        One line for ``--help``.
    form : str
        Which texts are valid, in words.
    valid : callable
        Whether a text is one of them.

    Returns
    -------
    dataclasses.Field
        For the body of a :class:`Settings` dataclass.
    """
    metadata = {"help": help, "at_least": None, "at_most": None, "form": form, "valid": valid}
    return field(default=default, metadata=metadata)


def choice(default: str, help: str, *choices: str) -> Any:
    """Declare one parameter that takes one of a few words; see :func:`text`."""
    metadata = {
        **text(default, help, "|".join(choices), choices.__contains__).metadata,
        "choices": choices,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings(Params):
    """Base of all settings here: a :class:`Params` that also takes text.

    Raises
    ------
    ValueError
        Where a value is not valid; the message names the setting, the value and what is valid.
    """

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for spec in fields(self):
            value = getattr(self, spec.name)
            if types[spec.name] is str and not (
                isinstance(value, str) and spec.metadata["valid"](value)
            ):
                raise ValueError(f"{spec.name} is {value!r}; valid is {spec.metadata['form']}")
        super().__post_init__()


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
class Preprocessing(Settings):
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


BACKWARDS = ("auto", "identity", "exact", "relaxed")


@dataclass(frozen=True)
class LavanParams(Settings):
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
        How far a pixel goes in one step, as a share of white.
    confidence : float
        An image is done where the attack's class has at least this probability; 1: never before
        the last step.
    restarts : int
        Independent starts, of which the best is kept.
    cells : int
        Cells along each side of the patch, bicubically enlarged to it; 0: every pixel is free.
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
    step_size: float = parameter(0.05, "Step as a share of white.", at_least=0.0001, at_most=1)
    confidence: float = parameter(
        1.0, "Probability at which an image is done; 1: use every step.", at_least=0, at_most=1
    )
    restarts: int = parameter(1, "Starts, of which the best counts.", at_least=1)
    cells: int = parameter(0, "Cells a side, enlarged to the patch; 0: free pixels.", at_least=0)
    exploit_normalization: bool = parameter(
        False, "Put one maximal step into the patch, which scales all other gradients down."
    )
    seed: int = parameter(0, "Seed of every draw.", at_least=0)


@dataclass(frozen=True)
class PatchParams(Settings):
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


ATTACKS: dict[str, type[Settings]] = {"lavan": LavanParams, "patch": PatchParams}


@dataclass(frozen=True)
class Spec:
    """A defense or an attack as the user wrote it.

    Attributes
    ----------
    text : str
        The user's own words, which the table shows.
    name : str
        The name of the defense or attack.
    params : Params or None
        Its parameters; None for the defense ``none``.
    """

    text: str
    name: str
    params: Params | None


def parse_defense(text: str) -> Spec:
    """Read ``none``, ``NAME`` or ``NAME:param=value,param=value`` of a defense.

    Raises
    ------
    UsageError
        Where a name, a parameter or a value is not valid; the message lists what is.
    """
    if text == "none":
        return Spec(text, text, None)
    return _parse(
        text, "defense", {name: d.params for name, d in DEFENSES.items()}, extra=("none",)
    )


def parse_attack(text: str) -> Spec:
    """Read ``NAME`` or ``NAME:param=value,param=value`` of an attack; see `parse_defense`."""
    return _parse(text, "attack", ATTACKS)


def _parse(
    text: str, kind: str, registry: Mapping[str, type[Params]], extra: tuple[str, ...] = ()
) -> Spec:
    name, _, rest = text.partition(":")
    if name not in registry:
        raise UsageError(f"no {kind} {name!r}; there are {', '.join((*extra, *registry))}")
    params = registry[name]
    types = get_type_hints(params)
    values: dict[str, Any] = {}
    parts: list[str] = []
    for part in rest.split(",") if rest else ():
        # "location=10,20" holds a comma of its own
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += f",{part}"
    for part in parts:
        key, equals, value = part.partition("=")
        field_name = key.strip().replace("-", "_")
        if not equals or field_name not in types:
            known = ", ".join(spec.name.replace("_", "-") for spec in fields(params))
            raise UsageError(
                f"{kind} {text!r}: no parameter {key.strip()!r}; {name} takes {known}"
                if equals
                else f"{kind} {text!r}: {part!r} is not PARAM=VALUE; {name} takes {known}"
            )
        try:
            values[field_name] = _value(value.strip(), types[field_name])
        except ValueError:
            raise UsageError(f"{kind} {text!r}: {key.strip()} cannot be {value!r}") from None
    try:
        return Spec(text, name, params(**values))
    except ValueError as error:
        raise UsageError(f"{kind} {text!r}: {error}") from None


def _value(text: str, kind: type) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    return kind(text)


def write(spec: Spec) -> str:
    """Write a spec so that the parse functions read it back: what differs from the defaults."""
    if spec.params is None:
        return spec.name
    changed = [
        f"{f.name.replace('_', '-')}={getattr(spec.params, f.name)}"
        for f in fields(spec.params)
        if f.default is not MISSING and getattr(spec.params, f.name) != f.default
    ]
    return f"{spec.name}:{','.join(changed)}" if changed else spec.name
