"""Clean an image that is in memory, or look at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

from lgs_cli.adapters.kinds import Image, kind_of
from lgs_cli.defenses import DEFENSES, localize
from lgs_cli.defenses.chain import Chain, Step, apply_chain, parse_chain
from lgs_cli.defenses.lgs import LgsParams
from lgs_cli.defenses.localize import Findings, LocalizeParams
from lgs_cli.lazy import np
from lgs_cli.params import Params

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

Method = str | Params | Chain


def chain_of(method: Method, parameters: Mapping[str, Any]) -> Chain:
    """Make a chain of what a caller says.

    Parameters
    ----------
    method : str, Params or tuple of Step
        Names as ``--method`` takes them, the parameters of one method, or a chain.
    parameters : mapping
        More parameters, by name; only with names of methods.

    Raises
    ------
    TypeError, ValueError
        If that makes no chain; the message lists what would.
    """
    if isinstance(method, str):
        plain = {key: _plain(value) for key, value in parameters.items()}
        return parse_chain(method, tuple(plain.items()))
    if parameters:
        raise TypeError(
            f"{', '.join(parameters)} go with the name of a method, not with parameters that are "
            "made already"
        )
    if isinstance(method, tuple) and all(isinstance(step, Step) for step in method):
        return method
    for name, defense in DEFENSES.items():
        if isinstance(method, defense.params):
            return (Step(name, method),)
    raise TypeError(
        f"method is a {type(method).__name__}; it must be a text such as 'lgs:threshold=0.2', "
        "parameters such as LgsParams(), or what parse_chain returns"
    )


def _plain(value: Any) -> Any:
    """Make a number of Python's of one of NumPy's or torch's."""
    return value.item() if hasattr(value, "item") else value


def clean(image: Image, method: Method = "lgs", **parameters: float | bool | str) -> Image:
    """Clean an image of adversarial patches.

    Parameters
    ----------
    image : ndarray, PIL.Image.Image or torch.Tensor
        Channels are RGB in this order (OpenCV reads BGR: ``image[..., ::-1]``), or gray; one more
        is alpha, and comes back as it is. Arrays are (H, W) or (H, W, C); tensors are (C, H, W),
        or (N, C, H, W), whose images are cleaned one by one. uint8, uint16, or floating in
        [0, 1]. PIL images are L, LA, RGB, RGBA or I;16. Never changed.
    method : str, Params or tuple of Step
        One method or several in a row, with their parameters: ``"lgs"``,
        ``"median,lgs:threshold=0.2"``, ``LgsParams(threshold=0.2)``, or what
        `lgs_cli.parse_chain` returns. ``DEFENSES`` lists them, and so does ``lgs methods``.
    **parameters
        More parameters of `method`, by name.

    Returns
    -------
    ndarray, PIL.Image.Image or torch.Tensor
        A new image of the same kind, size, dtype or mode, and device.

    Raises
    ------
    TypeError, ValueError
        If it is no such image, or there is no such method or parameter; the message says what
        would be right.

    Examples
    --------
    >>> import lgs_cli, numpy
    >>> noise = numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)
    >>> cleaned = lgs_cli.clean(noise)
    >>> cleaned.shape, cleaned.dtype, bool(cleaned.mean() < noise.mean() / 2)
    ((64, 64, 3), dtype('uint8'), True)
    >>> weaker = lgs_cli.clean(noise, method="lgs", smoothing=0.5)
    >>> bool(cleaned.mean() < weaker.mean() < noise.mean())
    True
    >>> both = lgs_cli.clean(noise, "median,lgs:threshold=0.2")
    """
    chain = chain_of(method, parameters)
    kind = kind_of(image)
    return kind.like([apply_chain(array, chain).image for array in kind.arrays()])


@overload
def mask(
    image: NDArray[Any] | Picture, method: Method = ..., **parameters: float | bool | str
) -> NDArray[np.float32]: ...
@overload
def mask(image: Any, method: Method = ..., **parameters: float | bool | str) -> Any: ...
def mask(image: Any, method: Method = "lgs", **parameters: float | bool | str) -> Any:
    """Tell where, and how strongly, cleaning changes an image.

    Parameters
    ----------
    image : ndarray, PIL.Image.Image or torch.Tensor
        As `lgs_cli.clean` takes it.
    method : str, Params or tuple of Step
        As `lgs_cli.clean` takes it.
    **parameters
        More parameters of `method`, by name.

    Returns
    -------
    ndarray or torch.Tensor
        float32 (H, W) in [0, 1], or (N, H, W) for a batch: how strongly each pixel is suppressed
        or changed. A tensor, on the same device, for a tensor; else an array.

    Raises
    ------
    TypeError, ValueError
        As `lgs_cli.clean`.

    Examples
    --------
    >>> import lgs_cli, numpy
    >>> image = numpy.full((64, 64, 3), 128, numpy.uint8)
    >>> image[:20, :20] = numpy.random.default_rng(0).integers(0, 256, (20, 20, 3))
    >>> mask = lgs_cli.mask(image)
    >>> mask.shape, float(mask.max()), float(mask[32:, 32:].max())
    ((64, 64), 1.0, 0.0)
    """
    chain = chain_of(method, parameters)
    kind = kind_of(image)
    masks = []
    for array in kind.arrays():
        found = apply_chain(array, chain, with_mask=True).mask
        masks.append(np.zeros(array.shape[:2], np.float32) if found is None else found)
    return kind.masks(masks)


@overload
def scan(image: NDArray[Any] | Picture, **parameters: float | str) -> Findings: ...
@overload
def scan(image: Any, **parameters: float | str) -> Any: ...
def scan(image: Any, **parameters: float | str) -> Any:
    """Look for adversarial patches, and change nothing.

    Parameters
    ----------
    image : ndarray, PIL.Image.Image or torch.Tensor
        As `lgs_cli.clean` takes it.
    **parameters
        Those of `lgs_cli.LocalizeParams`: ``threshold``, the score from which on a patch
        counts as found, and ``detector``, a file that ``lgs train`` has made.

    Returns
    -------
    Findings, or a list of them for a batch
        ``score``, how suspicious the image is, in [0, 1]; and ``regions``, the patches found, each
        with ``x``, ``y``, ``width``, ``height`` in pixels and a ``score`` of its own.

    Raises
    ------
    TypeError, ValueError
        As `lgs_cli.clean`.

    Examples
    --------
    >>> import lgs_cli, numpy
    >>> found = lgs_cli.scan(numpy.full((120, 160, 3), 128, numpy.uint8))
    >>> found.score < 0.5, found.regions
    (True, ())
    """
    ((_, params),) = chain_of("localize", parameters)
    assert isinstance(params, LocalizeParams)
    kind = kind_of(image)
    return kind.each([localize.find(array, params) for array in kind.arrays()])


def lgs(image: NDArray[Any], params: LgsParams | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Clean one array with Local Gradients Smoothing, and give the mask too.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
        uint16, or floating in [0, 1]. Not changed.
    params : LgsParams, optional
        The paper's defaults unless given.

    Returns
    -------
    cleaned : ndarray
        Same shape and dtype; the very input if nothing changed.
    mask : ndarray
        float32 (H, W) in [0, 1]: how strongly each pixel was suppressed.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.

    References
    ----------
    Naseer, Khan, Porikli, "Local Gradients Smoothing", WACV 2019, arXiv 1807.01216.

    Examples
    --------
    >>> import numpy
    >>> from lgs_cli import LgsParams, lgs
    >>> noise = numpy.random.default_rng(0).random((64, 64), numpy.float32)
    >>> cleaned, mask = lgs(noise, LgsParams(smoothing=1))
    >>> bool(numpy.allclose(cleaned, noise * (1 - mask)))
    True
    """
    cleaned = DEFENSES["lgs"].apply(image, params or LgsParams(), with_mask=True)
    assert cleaned.mask is not None
    return cleaned.image, cleaned.mask
