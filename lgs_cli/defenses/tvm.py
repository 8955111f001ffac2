"""Total Variance Minimization (arXiv 1711.00117, section 4.3).

What is minimized, over z, for every channel on its own::

    ½ ‖(1 − X) ⊙ (z − x)‖₂² + λ Σ √((z[i+1, j] − z[i, j])² + (z[i, j+1] − z[i, j])²)

with x the channel in [0, 1] and X drawn from Bernoulli(p) for every pixel and channel. The paper
writes both terms otherwise: its data term is the norm, not its square, and its TV₂ adds the L2
norms of the differences between whole rows and between whole columns. The code its authors
published minimizes the above, with p = 0.5 and λ = 0.03; the defaults here are the same. If p is
0 this is Rudin, Osher and Fatemi's denoising, which ``skimage.restoration.denoise_tv_chambolle``
solves with the same λ.

The solver is the primal-dual method of Chambolle and Pock ("A first-order primal-dual algorithm for
convex problems with applications to imaging", 2011, algorithm 1). The authors' is split Bregman,
whose Gauss-Seidel sweeps visit pixels one after another; Chambolle's dual method and its
accelerated kin need a data term on every pixel, which dropped ones lack. This one has neither need:
an iteration is a dozen operations on whole arrays in place, the same for any p.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgs_cli.defenses.defense import Cleaned, Defense
from lgs_cli.defenses.pixels import finish, full_scale, split_alpha
from lgs_cli.lazy import cv2, np
from lgs_cli.params import Params, parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TvmParams(Params):
    """Parameters of Total Variance Minimization, with the defaults of the paper's own code.

    Attributes
    ----------
    drop_rate : float
        Probability p with which a pixel's channel is dropped before the reconstruction, 0 to 0.99;
        0 is plain total variation denoising.
    weight : float
        Weight λ of the total variation, 0.000001 to 100, for pixels in [0, 1].
    iterations : int
        Iterations of the solver, 1 to 100000.
    seed : int
        Seed of the dropped pixels, at least 0. The image's content seeds them too, so one seed
        drops other pixels in every image, and the same ones in every run.

    References
    ----------
    Guo, Rana, Cissé, van der Maaten, "Countering Adversarial Images Using Input Transformations",
    ICLR 2018, arXiv 1711.00117, section 4.3.
    """

    drop_rate: float = parameter(
        0.5, "Probability that a pixel is dropped; 0 denoises without dropping.",
        at_least=0, at_most=0.99,
    )  # fmt: skip
    weight: float = parameter(
        0.03, "Weight λ of the total variation; higher is flatter.", at_least=1e-6, at_most=100
    )
    iterations: int = parameter(
        100, "Iterations of the solver; more is closer to the minimum.", at_least=1, at_most=100_000
    )
    seed: int = parameter(
        0, "Seed of the dropped pixels, together with the image's content.", at_least=0
    )  # fmt: skip


def apply(image: NDArray[Any], params: TvmParams, *, with_mask: bool = False) -> Cleaned:
    """Drop pixels at random and rebuild the image that varies least and agrees with the others.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C), C of 1 to 4; uint8, uint16, or floating in [0, 1].
    params : TvmParams
        Drop rate, weight, iterations and seed. The dropped pixels depend on the seed and on the
        image's shape, dtype and colors, on nothing else.
    with_mask : bool
        Whether the mask is wanted.

    Returns
    -------
    Cleaned
        The image, computed in float64 if it is float64 and in float32 otherwise, rounded if
        it holds integers. As mask the normalized absolute change, see :func:`~.pixels.finish`.

    Raises
    ------
    TypeError, ValueError
        If the array is not such an image.
    """
    color, _ = split_alpha(image)
    white = full_scale(color.dtype)
    precision = np.float64 if color.dtype == np.float64 else np.float32
    kept = draw_kept(color, params)
    cleaned = np.empty_like(color)
    for source, keep, target in zip(_planes(color), _planes(kept), _planes(cleaned), strict=True):
        solved = minimize(np.divide(source, white, dtype=precision), keep, params)
        np.clip(solved, 0, 1, out=solved)
        if color.dtype.kind == "u":
            solved *= white
            np.rint(solved, out=solved)
        target[...] = solved
    return finish(image, cleaned, with_mask=with_mask)


def draw_kept(color: NDArray[Any], params: TvmParams) -> NDArray[np.bool_]:
    """Draw 1 − X: which values the reconstruction has to agree with.

    Parameters
    ----------
    color : ndarray
        (H, W) or (H, W, 3), any dtype. Its shape, dtype and bytes seed the draw, with the seed.
    params : TvmParams
        Drop rate and seed.

    Returns
    -------
    ndarray
        bool, the shape of `color`, each False with the drop rate's probability. A channel that lost
        every pixel keeps them all, since nothing would be left to rebuild it from.
    """
    if params.drop_rate == 0:
        return np.ones(color.shape, np.bool_)
    content = hashlib.blake2b(f"{color.shape}{color.dtype}".encode(), digest_size=16)
    content.update(color.tobytes())
    generator = np.random.default_rng([params.seed, int.from_bytes(content.digest(), "little")])
    kept = generator.random(color.shape, np.float32) >= params.drop_rate
    kept |= ~kept.any(axis=(0, 1))
    return kept


def minimize(
    channel: NDArray[np.floating[Any]], kept: NDArray[np.bool_], params: TvmParams
) -> NDArray[np.floating[Any]]:
    """Minimize the objective over one channel.

    Parameters
    ----------
    channel : ndarray
        x: (H, W), contiguous, float32 or float64 in [0, 1]. Dropped values are never looked at.
    kept : ndarray
        1 − X: bool (H, W), True somewhere.
    params : TvmParams
        Weight, and the iterations and drop rate that the solver's steps are suited to.

    Returns
    -------
    ndarray
        z: (H, W), of the channel's dtype; it may leave [0, 1] by rounding.
    """
    start = _fill(channel, kept, params.drop_rate)
    # The steps' product is 1/8, the inverse of the gradient's squared norm. Their ratio is tuned on
    # photographs: the fewer the iterations and the sparser the kept pixels, the longer the primal
    # steps had to be.
    primal_step = 1 / (math.sqrt(params.iterations) * (1 - params.drop_rate))
    ascent = 1 / (8 * primal_step * params.weight)
    descent = primal_step * params.weight
    shrink = np.where(kept, 1 / (1 + primal_step), 1).astype(start.dtype)

    # z − start, rather than z: the data term becomes one product, and if nothing is dropped a
    # flat image stays exactly what it is.
    current, updated = np.zeros_like(start), np.empty_like(start)
    steep = start * start.dtype.type(ascent)
    ahead, scratch = steep.copy(), np.empty_like(start)
    # The dual field, of length at most 1 in every pixel, zero across the border.
    down, right = np.zeros_like(start), np.zeros_like(start)
    # NumPy compares with a row of ones several times faster than with the number.
    ones = np.ones_like(start[0])
    # As flat arrays, rows run on into each other, which is undone by what is zero across the
    # border; NumPy is several times faster over these than over rows short of one column.
    flat_ahead, flat_right, flat_updated = ahead.ravel(), right.ravel(), updated.ravel()
    flat_current = current.ravel()
    for _ in range(params.iterations):
        down[:-1] += ahead[1:]
        down[:-1] -= ahead[:-1]
        flat_right[:-1] += flat_ahead[1:]
        flat_right[:-1] -= flat_ahead[:-1]
        right[:, -1] = 0
        # Not cv2.magnitude, whose last bit varies with where an array lies in memory.
        np.square(down, out=scratch)
        np.square(right, out=updated)
        scratch += updated
        np.maximum(scratch, ones, out=scratch)
        cv2.sqrt(scratch, scratch)
        down /= scratch
        right /= scratch

        np.add(down, right, out=updated)
        updated[1:] -= down[:-1]
        flat_updated[1:] -= flat_right[:-1]
        cv2.scaleAdd(updated, descent, current, updated)
        updated *= shrink
        cv2.addWeighted(updated, 2 * ascent, current, -ascent, 0, ahead)
        ahead += steep
        current, updated = updated, current
        flat_current, flat_updated = flat_updated, flat_current
    current += start
    return current


def _planes(color: NDArray[Any]) -> list[NDArray[Any]]:
    return [color] if color.ndim == 2 else [color[..., index] for index in range(3)]


def _fill(
    channel: NDArray[np.floating[Any]], kept: NDArray[np.bool_], drop_rate: float
) -> NDArray[np.floating[Any]]:
    """Start dropped pixels from a Gaussian mean of the kept ones around them."""
    if kept.all():
        return channel.copy()
    weights = kept.astype(channel.dtype)
    spread = 0.6 / math.sqrt(1 - drop_rate)
    near = cv2.GaussianBlur(weights, (0, 0), spread)
    mean = np.asarray(cv2.GaussianBlur(channel * weights, (0, 0), spread), channel.dtype)
    reached = near > 1e-3
    np.divide(mean, near, out=mean, where=reached)
    mean[~reached] = channel[kept].mean()
    np.copyto(mean, channel, where=kept)
    return mean


DEFENSE = Defense("tvm", "Total Variance Minimization", ("1711.00117",), TvmParams, apply)
