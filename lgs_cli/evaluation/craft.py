"""Attack many photographs, batch by batch, in memory or from folder to folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lgs_cli import storage
from lgs_cli.defenses.chain import Chain
from lgs_cli.errors import UsageError
from lgs_cli.evaluation import attacks, dataset, pasting
from lgs_cli.evaluation.attacks import Attacked
from lgs_cli.evaluation.dataset import Images, Photograph
from lgs_cli.evaluation.models import Model, require_gradients
from lgs_cli.evaluation.pasting import Patch
from lgs_cli.evaluation.settings import LavanParams, PatchParams, hides_from
from lgs_cli.image_io.formats.png import encode_png
from lgs_cli.wording import printable


def patches(
    model: Model,
    params: LavanParams | PatchParams,
    material: Images,
    batch_size: int = 16,
    chain: Chain = (),
    backward: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> list[Patch]:
    """Read or train the patches that an attack pastes.

    Parameters
    ----------
    model : Model
        The model under attack; to read a patch, any model will do.
    params : LavanParams or PatchParams
        The attack; LaVAN needs no patch.
    material : Images
        What to train on.
    batch_size : int
        Images in one training step.
    chain : tuple of Step
        Defenses inside the training loop.
    backward : str
        Their gradient, see :func:`lgs_cli.evaluation.bpda.layer`.
    progress : callable, optional
        Called with 1 after every training step.

    Returns
    -------
    list of Patch

    Raises
    ------
    LgsError
        Where a patch file cannot be read, the model gives no gradient to train with, or it lacks
        the class of an image.
    """
    if isinstance(params, LavanParams):
        return []
    if params.apply:
        return pasting.read(Path(params.apply))
    differentiable = require_gradients(model, "an attack")
    from lgs_cli.evaluation import bpda, patch

    through = bpda.layer(chain, backward) if chain else None
    labels = _labels(model, material).tolist()
    classes = model.logits(material.pixels[:1]).shape[1]
    attacks.require_classes(labels, material.names, classes)
    return [
        patch.train(differentiable, material.pixels, labels, params, through, batch_size, progress)
    ]


def craft(
    model: Model,
    batches: Iterable[Images],
    params: LavanParams | PatchParams,
    chain: Chain = (),
    backward: str = "auto",
    pasted: Sequence[Patch] = (),
) -> Iterator[tuple[NDArray[np.uint8], list[Attacked]]]:
    """Attack batches of images.

    Parameters
    ----------
    model : Model
        The model under attack.
    batches : iterable of Images
        What to attack. Where a label is not known, the model's own answer stands for it.
    params : LavanParams or PatchParams
        The attack.
    chain : tuple of Step
        Defenses that LaVAN goes through, or that stand in front of the model when a patch is
        pasted.
    backward : str
        Their gradient, see :func:`lgs_cli.evaluation.bpda.layer`.
    pasted : sequence of Patch
        What :func:`patches` returned.

    Yields
    ------
    pixels : ndarray
        uint8 (N, H, W, 3) RGB, the attacked images of a batch.
    records : list of Attacked
        One for each.

    Raises
    ------
    UsageError
        Where LaVAN gets no gradients from the model, or the attack does not fit the images or
        the model.
    """
    if isinstance(params, PatchParams):
        first = 0
        for batch in batches:
            labels = _labels(model, batch).tolist()
            yield pasting.paste(
                model, pasted, batch.pixels, labels, batch.names, params, chain, first
            )
            first += len(batch)
        return
    differentiable = require_gradients(model, "an attack")
    from lgs_cli.evaluation import bpda, lavan

    through = bpda.layer(chain, backward) if chain else None
    for batch in batches:
        labels = _labels(model, batch).tolist()
        yield lavan.attack(differentiable, batch.pixels, labels, batch.names, params, through)


def _labels(model: Model, images: Images) -> NDArray[np.int64]:
    if (images.labels >= 0).all():
        return images.labels
    return np.where(images.labels < 0, model.predict(images.pixels), images.labels)


def attack_folder(
    model: Model,
    photographs: Sequence[Photograph],
    output: Path,
    params: LavanParams | PatchParams,
    *,
    chain: Chain = (),
    backward: str = "auto",
    batch_size: int = 16,
    training: Sequence[Photograph] = (),
    progress: Callable[[str, int], None] | None = None,
) -> list[Attacked]:
    """Attack photographs, and write them as PNG with their records.

    Parameters
    ----------
    model : Model
        The model under attack.
    photographs : sequence of Photograph
        What to attack.
    output : Path
        Where the images, ``attacks.jsonl`` and, where one was trained, ``patch.png`` go. Nothing
        else may be there.
    params : LavanParams or PatchParams
        The attack.
    chain : tuple of Step
        Defenses inside the attack's loop.
    backward : str
        Their gradient, see :func:`lgs_cli.evaluation.bpda.layer`.
    batch_size : int
        Images attacked at once.
    training : sequence of Photograph
        What a patch is trained on; by default the photographs themselves.
    progress : callable, optional
        Called with what is being done and how many more images, or steps, are done.

    Returns
    -------
    list of Attacked
        One for each photograph.

    Raises
    ------
    UsageError
        Where the output is not empty, or two photographs would become one file, or one would
        take the place of the records or the patch.
    LgsError
        Where the model, a photograph or a parameter cannot be used.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        shown = printable(str(output))
        raise UsageError(f"{shown} is there already and not an empty directory")
    if isinstance(params, LavanParams) and params.evade and not hides_from(chain):
        raise UsageError("--evade hides a patch from localize: add --through localize")
    attacks.require_free_names([photograph.name for photograph in photographs])
    tell = progress or (lambda what, count: None)
    size, pasted = batch_size, []
    if isinstance(params, PatchParams):
        # read in full only here: a patch is trained on batches drawn from all
        material = dataset.load(
            photographs[:1] if params.apply else training or photographs, model.preprocessing
        )
        pasted = patches(
            model, params, material, size, chain, backward, lambda n: tell("training", n)
        )
        if not params.apply:
            patch_file = str(output / attacks.TRAINED)
            storage.write(patch_file, encode_png(pasted[0].pixels))
    batches = (
        dataset.load(photographs[start : start + size], model.preprocessing)
        for start in range(0, len(photographs), size)
    )
    records = []
    for pixels, found in craft(model, batches, params, chain, backward, pasted):
        attacks.save(output, pixels, found)
        records += found
        tell("attacking", len(found))
    return records
