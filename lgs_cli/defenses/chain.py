"""Chains of defenses: read from what a user writes, and applied to an image. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from lgs_cli.defenses import DEFENSES
from lgs_cli.defenses.defense import Cleaned, Defense, Region
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params
from lgs_cli.wording import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Step(NamedTuple):
    """One defense of a chain, with its parameters."""

    name: str
    params: Params

    @property
    def defense(self) -> Defense:
        """The registered defense."""
        return DEFENSES[self.name]


Chain = tuple[Step, ...]


def apply_chain(image: NDArray[Any], chain: Chain, *, with_mask: bool = False) -> Cleaned:
    """Apply a chain of defenses to one image.

    Parameters
    ----------
    image : ndarray
        Pixels as :class:`~lgs_cli.defenses.defense.Apply` takes them.
    chain : tuple of Step
        The defenses, in order; without any, the image comes back as it is.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        Its mask is the strongest of the steps' masks at each pixel, its coverage the share of
        pixels that some step masked; score and regions are those of the step that looks for
        patches.

    Raises
    ------
    ValueError
        If a defense cannot take the image; the message names the defense.
    """
    several = len(chain) > 1
    masks = []
    coverage = 0.0
    score: float | None = None
    regions: tuple[Region, ...] = ()
    for step in chain:
        try:
            cleaned = step.defense.apply(image, step.params, with_mask=with_mask or several)
        except (ValueError, TypeError, cv2.error) as error:
            raise ValueError(f"{step.name}: {' '.join(str(error).split())}") from error
        image, coverage = cleaned.image, cleaned.coverage
        if cleaned.mask is not None:
            masks.append(cleaned.mask)
        if cleaned.score is not None:
            score, regions = cleaned.score, cleaned.regions
    if not masks:
        return Cleaned(image, None, coverage, score, regions)
    mask = np.maximum.reduce(masks) if several else masks[0]
    if several:
        coverage = float(np.count_nonzero(mask) / mask.size)
    return Cleaned(image, mask if with_mask else None, coverage, score, regions)


def parse_chain(
    method: str,
    assignments: Sequence[tuple[str, Any]] = (),
    special: Mapping[str, type[Params]] | None = None,
) -> Chain:
    """Read a chain of methods and their parameters.

    Parameters
    ----------
    method : str
        Names separated by commas, applied in that order, and perhaps parameters behind a colon:
        ``"median,lgs"``, ``"lgs:threshold=0.2,smoothing=3"``.
    assignments : sequence of (str, value)
        More parameters by name, each as text or as a value. A name that several methods of the
        chain have must say whose it is: ``"median.window"``.
    special : mapping of str to type, optional
        Parameters that some methods take here instead of their registered ones.

    Returns
    -------
    tuple of Step
        One step a method.

    Raises
    ------
    ValueError
        If a method or parameter is unknown or a value is out of range; the message lists the
        valid names.
    """
    listing, _, rest = method.partition(":")
    names = [canonical(name) for name in listing.split(",")]
    for name in names:
        if name not in DEFENSES:
            raise ValueError(_no_method(name))
    if len(set(names)) < len(names):
        raise ValueError(f"{listing!r} names a method twice; once is enough")
    kinds = {name: (special or {}).get(name) or DEFENSES[name].params for name in names}
    given: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in (*parse_assignments(rest), *assignments):
        owner, name = _owner(key, kinds)
        expected = get_type_hints(kinds[owner])[name]
        given[owner][name] = parse_value(value, expected)
    return tuple(Step(name, kinds[name](**given[name])) for name in names)


def canonical(name: str) -> str:
    """Give the registry's name of a method for what people write: ``JPG``, ``bit_depth``."""
    name = name.strip().lower().replace("_", "-")
    return "jpeg" if name == "jpg" else name


def _no_method(name: str) -> str:
    meant = nearest(name, [*DEFENSES, "jpg"])
    hint = f"did you mean {canonical(meant)!r}? there" if meant else "there"
    return f"no method {name!r}; {hint} are {', '.join(DEFENSES)}"


def parse_assignments(text: str) -> list[tuple[str, str]]:
    """Read parameters and their values.

    Parameters
    ----------
    text : str
        ``"name=value,name=value"``; a part without an equals sign belongs to the value before it.

    Returns
    -------
    list of (str, str)
        Names and values.

    Raises
    ------
    ValueError
        If the first part has no equals sign.
    """
    pairs: list[tuple[str, str]] = []
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if equals:
            pairs.append((name.strip(), value.strip()))
        elif pairs:
            pairs[-1] = pairs[-1][0], f"{pairs[-1][1]},{part.strip()}"
        else:
            raise ValueError(f"{part!r} is not NAME=VALUE, as in lgs:threshold=0.2")
    return pairs


def _owner(key: str, kinds: Mapping[str, type[Params]]) -> tuple[str, str]:
    """Find the method of the chain that a parameter belongs to."""
    names = list(kinds)
    valid = {name: [spec.name for spec in fields(kind)] for name, kind in kinds.items()}
    method, dot, parameter = key.rpartition(".")
    parameter = parameter.replace("-", "_")
    owners = [
        name
        for name in names
        if parameter in valid[name] and (not dot or name == canonical(method))
    ]
    if len(owners) == 1:
        return owners[0], parameter
    if owners:
        choices = " or ".join(f"{name}.{parameter}" for name in owners)
        raise ValueError(f"parameter {key!r} is ambiguous: say {choices}")
    if len(names) == 1:
        raise ValueError(
            f"{names[0]} has no parameter {key!r}; it has {', '.join(*valid.values())}"
        )
    listing = "; ".join(f"{name} has {', '.join(valid[name])}" for name in names)
    raise ValueError(f"no parameter {key!r}: {listing}")


def parse_value(value: Any, expected: type) -> Any:
    """Turn text into a parameter's type.

    Parameters
    ----------
    value : Any
        Text, or a value already.
    expected : type
        The parameter's type.

    Returns
    -------
    Any
        The value; what cannot be read stays as it is, for the dataclass to refuse.
    """
    if not isinstance(value, str):
        return value
    if expected is bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return known.get(value.lower(), value)
    try:
        return expected(value)
    except ValueError:
        return value


def describe(chain: Chain) -> dict[str, Any]:
    """Give a chain's parameters by name, as reports show them.

    Parameters
    ----------
    chain : tuple of Step
        A chain.

    Returns
    -------
    dict
        ``{"smoothing": 2.3, ...}`` for one method, ``{"lgs.smoothing": 2.3, ...}`` for several.
    """
    return {
        name if len(chain) == 1 else f"{step.name}.{name}": value
        for step in chain
        for name, value in asdict(step.params).items()
    }


def method_name(chain: Chain) -> str:
    """Name a chain as ``--method`` takes it: ``"median,lgs"``."""
    return ",".join(step.name for step in chain)
