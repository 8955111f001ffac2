"""Find patches with a small trained network, and repair the picture where they are.

The network looks at the picture at about the size a classifier sees: what a classifier does not
see needs no finding. ``evaluation.detector`` has the same network in torch, and trains it.
"""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lgs_cli.defenses.defense import Cleaned, Defense, Region
from lgs_cli.defenses.pixels import split_alpha, to_uint8
from lgs_cli.defenses.regions import SUREST, Found, find_regions, probability
from lgs_cli.defenses.repair import repair
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, choice, parameter, text

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT_SIDE = 240
"""Length in pixels to which the shorter side of larger pictures is reduced for the network."""

_MULTIPLE = 16  # of which the network wants height and width
_LEAST = 32
_MOST_PIXELS = 4_000_000  # of the reduced picture: bounds memory for very long ones
_CELL = 4


def _is_detector(path: str) -> bool:
    return not path or os.path.isfile(path)


@dataclass(frozen=True)
class LocalizeParams(Params):
    """Parameters of finding patches and repairing the picture.

    Attributes
    ----------
    threshold : float
        Score from which on a patch counts as found, in [0, 1]. Lower finds more patches, and raises
        more false alarms.
    fill : str
        What takes the place of a patch: ``inpaint`` continues the picture into it, ``blur`` and
        ``mean`` use the colors around it.
    detector : str
        Path of a detector that ``lgs train`` has made; empty: the one that comes with lgs.

    References
    ----------
    Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004.
    """

    threshold: float = parameter(
        0.5, "Score from which on a patch counts as found.", at_least=0, at_most=1
    )
    fill: str = choice("inpaint", "What takes the place of a patch.", "inpaint", "blur", "mean")
    detector: str = text(
        "", "Another detector, made by lgs train, than the one that comes with lgs.",
        "an .onnx file that is there", _is_detector,
    )  # fmt: skip

    @property
    def detector_path(self) -> str:
        """The file of the detector in use."""
        return self.detector or os.path.join(os.path.dirname(__file__), "detector.onnx")

    def fingerprint(self) -> str:
        """Return the digest of the detector in use."""
        import hashlib

        with open(self.detector_path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()


class Findings(NamedTuple):
    """What the detector says of an image.

    Attributes
    ----------
    score : float
        How suspicious the image is, in [0, 1].
    regions : tuple of Region
        The patches found, the surest first. Some if and only if the score reaches the threshold.
    """

    score: float
    regions: tuple[Region, ...]


def find(image: NDArray[Any], params: LocalizeParams) -> Findings:
    """Look for patches, and change nothing.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA); uint8,
        uint16, or floating in [0, 1].
    params : LocalizeParams
        Threshold and detector.

    Returns
    -------
    Findings

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image, or the file is no detector.
    """
    split_alpha(image)
    score, found = _look(image, params)
    return Findings(score, tuple(one.region for one in found))


def apply(image: NDArray[Any], params: LocalizeParams, *, with_mask: bool = False) -> Cleaned:
    """Repair an image where patches are found.

    Parameters
    ----------
    image : ndarray
        As :func:`find` takes it.
    params : LocalizeParams
        Threshold, detector and what takes the place of a patch.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The very input if nothing was found. The mask is 1 where pixels were replaced, else 0.

    Raises
    ------
    TypeError, ValueError
        As :func:`find`.
    """
    color, _ = split_alpha(image)
    score, found = _look(image, params)
    if not found:
        mask = np.zeros(color.shape[:2], np.float32) if with_mask else None
        return Cleaned(image, mask, 0.0, score)
    replaced = np.zeros(color.shape[:2], np.uint8)
    for one in found:
        rows, columns = one.window
        np.maximum(replaced[rows, columns], one.mask, out=replaced[rows, columns])
    cleaned = repair(image, replaced, [one.window for one in found], params.fill)
    return Cleaned(
        cleaned,
        replaced.astype(np.float32) if with_mask else None,
        cv2.countNonZero(replaced) / replaced.size,
        score,
        tuple(one.region for one in found),
    )


def _look(image: NDArray[Any], params: LocalizeParams) -> tuple[float, list[Found]]:
    """Give the score of an image, and what was found, in its own size."""
    small, extent = reduced(image)
    cells = logits(features(small), params.detector_path)
    smoothed = cv2.blur(cells, (3, 3), borderType=cv2.BORDER_REPLICATE)
    peak = float(smoothed.max())
    if not math.isfinite(peak):
        raise ValueError(f"{params.detector_path} gives no numbers")
    score = probability(peak)
    if score < params.threshold:
        return score, []
    level = _logit(min(params.threshold, score))
    scale = extent[0] / small.shape[0], extent[1] / small.shape[1]
    return score, find_regions(cells, smoothed, level, small, scale, image.shape[:2])


def _logit(probability: float) -> float:
    p = min(max(probability, 1e-12), SUREST)
    return math.log(p / (1 - p))


def working_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width in pixels at which the network sees a picture.

    Larger pictures are reduced to it, and smaller ones padded.
    """
    scale = min(1.0, SHORT_SIDE / min(height, width), math.sqrt(_MOST_PIXELS / (height * width)))
    rounded = math.ceil if scale == 1 else round

    def side(length: int) -> int:
        return max(_LEAST, rounded(length * scale / _MULTIPLE) * _MULTIPLE)

    return side(height), side(width)


def reduced(image: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
    """Bring an image to the size at which the network sees it.

    Parameters
    ----------
    image : ndarray
        As :func:`find` takes it. Alpha is not looked at.

    Returns
    -------
    small : ndarray
        uint8 (h, w, 3) RGB, h and w multiples of 16.
    extent : tuple of int
        Height and width in pixels of what it shows of the image: a few of the last lines of a
        large one may be left out, and a small one is padded with its outermost pixels.
    """
    height, width = working_size(*image.shape[:2])
    small: Any = image.astype(np.float32) if image.dtype == np.float16 else image
    factor = 1
    # Exact halves are fast, averages by any other factor are not.
    while small.shape[0] >= 2 * height and small.shape[1] >= 2 * width:
        rows, columns = small.shape[0] // 2, small.shape[1] // 2
        even = small[: 2 * rows, : 2 * columns]
        small = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
        factor *= 2
    rows, columns = small.shape[:2]
    if rows <= height and columns <= width:
        extent = height * factor, width * factor
        padding = 0, height - rows, 0, width - columns
        small = cv2.copyMakeBorder(small, *padding, cv2.BORDER_REPLICATE) if any(padding) else small
    else:
        extent = rows * factor, columns * factor
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if small.ndim == 3:
        small = small[..., :3] if small.shape[2] > 2 else small[..., 0]
    small = to_uint8(small)
    if small.ndim == 2:
        small = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(small), extent


@functools.lru_cache(maxsize=1)
def _near_an_end() -> NDArray[Any]:
    """Return for each 8-bit value how near it is to black or white, 0 to 255."""
    levels = np.arange(256) / 255
    nearness = np.maximum(1 - levels / 0.06, 0) + np.maximum(1 - (1 - levels) / 0.06, 0)
    return np.asarray(np.rint(255 * nearness), np.uint8)


def features(small: NDArray[Any]) -> NDArray[Any]:
    """Describe each cell of 4×4 pixels of a picture, as the network takes it.

    Parameters
    ----------
    small : ndarray
        uint8 (H, W, 3) RGB, H and W multiples of 16.

    Returns
    -------
    ndarray
        float32 (1, 12, H/4, W/4): at four scales the logarithm of the mean difference of
        neighbors, in luma and in chroma; how near to black or white values are; the mean red,
        green and blue.
    """
    height, width = small.shape[:2]
    rows, columns = height // _CELL, width // _CELL
    maps = np.empty((12, rows, columns), np.float32)
    planes: Any = np.empty((3, height // 2, width // 2), np.float32)
    finest = np.empty((3, rows, columns), np.float32)
    # Plane by plane and in integers while they are large: to get memory for all of it from the
    # system takes longer than to compute.
    converted = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
    for channel in range(3):
        plane = cv2.extractChannel(converted, channel)
        finest[channel] = _halved(_halved(_differences(plane, height)).astype(np.float32))
        # Sixteen bits hold a level in 256 parts, so that the mean of four is exact.
        parts = _halved(plane.astype(np.uint16) << 8)
        np.multiply(parts, np.float32(1 / 256), out=planes[channel])
    maps[0] = finest[0]
    cv2.add(finest[1], finest[2], maps[1])
    for octave in range(1, 4):
        # One plane below the other: a third of the calls.
        stack = planes.reshape(-1, planes.shape[2])
        sizes = _differences(stack, planes.shape[1])
        if octave == 1:
            sizes = _halved(sizes)
        elif octave == 3:
            sizes = cv2.resize(sizes, (columns, 3 * rows), interpolation=cv2.INTER_NEAREST)
        luma, red, blue = sizes.reshape(3, rows, columns)
        maps[2 * octave] = luma
        cv2.add(red, blue, maps[2 * octave + 1])
        if octave < 3:
            stack = _halved(stack)
            planes = stack.reshape(3, -1, stack.shape[1])
    logs = maps[:8]
    logs *= 1 / 255
    logs += 0.01
    np.log(logs, out=logs)
    logs *= 0.5
    logs += 1.5
    ends = _quarter(cv2.LUT(small, _near_an_end()))
    maps[8] = ends @ np.full(3, 2 / (3 * 255), np.float32)
    means = _quarter(small)
    means *= 3 / 255
    means -= 1.5
    cv2.split(means, list(maps[9:]))
    return maps[None]


def _differences(stack: NDArray[Any], height: int) -> NDArray[Any]:
    """Add the absolute differences to the right and to the lower neighbor, 0 at the far ends."""
    across = np.empty_like(stack)
    across[:, -1] = 0
    cv2.absdiff(stack[:, 1:], stack[:, :-1], across[:, :-1])
    down = np.empty_like(stack)
    cv2.absdiff(stack[1:], stack[:-1], down[:-1])
    down[height - 1 :: height] = 0  # from one plane to the next
    return np.asarray(np.add(across, down, dtype=None if stack.dtype == np.float32 else np.uint16))


def _halved(plane: NDArray[Any]) -> NDArray[Any]:
    half = plane.shape[1] // 2, plane.shape[0] // 2
    return np.asarray(cv2.resize(plane, half, interpolation=cv2.INTER_AREA))


def _quarter(picture: NDArray[Any]) -> NDArray[Any]:
    return _halved(_halved(picture).astype(np.float32))


def logits(described: NDArray[Any], detector: str) -> NDArray[Any]:
    """Run the network.

    Parameters
    ----------
    described : ndarray
        What :func:`features` returned.
    detector : str
        Path of the detector.

    Returns
    -------
    ndarray
        float32 (H/4, W/4): the logit of each cell to be part of a patch.

    Raises
    ------
    ValueError
        If the file is no detector.
    """
    try:
        status = os.stat(detector)
    except OSError as error:
        raise ValueError(f"{detector}: {(error.strerror or '').lower()}") from None
    network = _network(detector, status.st_mtime_ns, status.st_size)
    network.setInput(described)
    quarters = network.forward()
    rows, columns = quarters.shape[2:]
    squares = quarters.reshape(2, 2, rows, columns).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(squares.reshape(2 * rows, 2 * columns))


@functools.lru_cache(maxsize=4)
def _network(path: str, mtime_ns: int, size: int) -> Any:
    """Load a detector once a process, and try it; a file that changes is another."""
    # OpenCV 5 has two engines, and the classic one is twice as fast here; 4.12 has only that.
    engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    # It has a say of its own on what it cannot read, on stderr.
    logging = getattr(cv2.utils, "logging", cv2)
    level = logging.setLogLevel(0)
    try:
        network = cv2.dnn.readNetFromONNX(path, *(() if engine is None else (engine,)))
        network.setInput(np.zeros((1, 12, 8, 8), np.float32))
        shape = network.forward().shape
    except cv2.error:
        raise ValueError(f"{path} is no detector, or it is damaged; lgs train makes one") from None
    finally:
        logging.setLogLevel(level)
    if shape != (1, 4, 4, 4):
        raise ValueError(f"{path} is no detector of this version")
    return network


DEFENSE = Defense(
    "localize", "Find patches and repair the picture", (), LocalizeParams, apply,
    torch_entry="lgs_cli.evaluation.localized:layers",
)  # fmt: skip
