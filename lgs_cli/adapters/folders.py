"""Clean whole folders from Python, with the engine of ``lgs clean``."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, TypedDict, Unpack

from lgs_cli.adapters.images import Method, chain_of
from lgs_cli.errors import NoImagesError, UsageError
from lgs_cli.formats import FORMATS, MASK_STYLES

if TYPE_CHECKING:
    from lgs_cli.batch.job import Result

Path = str | os.PathLike[str]


class FolderOptions(TypedDict, total=False):
    """What `clean_folder` takes by name."""

    masks: Path | None
    mask_style: str
    format: str | None
    quality: int | None
    optimize: bool
    max_pixels: int
    recursive: bool
    include: Iterable[str]
    exclude: Iterable[str]
    jobs: int | None
    timeout: float | None
    memory_limit: int | None
    force: bool
    wait: bool


def clean_folder(
    inputs: Path | Iterable[Path],
    output: Path,
    method: Method = "lgs",
    **options: Unpack[FolderOptions],
) -> Generator[Result]:
    """Clean folders of images on all cores, as ``lgs clean`` does.

    What an earlier run has done, and nothing has changed since, is skipped. Inputs are never
    changed, outputs appear whole or not at all, and an image that cannot be cleaned costs that
    image. The work is done in processes that do not import the caller's script: call it from a
    script without ``if __name__``, from a notebook, or from a thread.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files and directories, which are walked.
    output : path
        The directory for cleaned images, in the tree of their inputs.
    method : str, Params or tuple of Step
        As `lgs_cli.clean` takes it, with all its parameters.
    masks : path, optional
        A directory for a picture of each mask, as PNG.
    mask_style : str
        How these look: ``"heatmap"``, ``"overlay"``, ``"binary"`` or ``"side-by-side"``.
    format : str, optional
        A name of a format that all outputs get, such as ``"png"``; else each keeps its own.
    quality : int, optional
        Quality of lossy outputs, 1 to 100; else each keeps its input's.
    optimize : bool
        Whether to take longer for JPEGs that are some 5 % smaller.
    max_pixels : int
        Larger images fail, unread.
    recursive : bool
        Whether directories below are walked; they are unless this is false.
    include, exclude : iterable of str
        Shell patterns; of directories only files are taken whose name, or path below the input,
        matches one of `include`, and none of `exclude`.
    jobs : int, optional
        Worker processes; all cores unless given.
    timeout : float, optional
        Seconds after which an image fails.
    memory_limit : int, optional
        Bytes an image may make a worker take, beside what it takes at rest.
    force : bool
        Whether to do again what is up to date.
    wait : bool
        Whether to wait for another run that writes into the same directory.

    Returns
    -------
    generator of Result
        One for each image, as soon as it is there, so in no order: ``place`` counts the inputs.
        ``status`` is ``"done"``, ``"skipped"`` or ``"failed"``, and then ``error`` says why. The
        work is done while it is iterated; to leave it early, drop or ``close`` it.

    Raises
    ------
    UsageError, NoImagesError, LockedError, StorageError
        All of them `lgs_cli.LgsError`: an output would overwrite an input, there is no
        image, another run is writing there, the disk is full.
    TypeError, ValueError
        If there is no such option, method or parameter.

    Examples
    --------
    >>> import lgs_cli, os, tempfile
    >>> from PIL import Image
    >>> folder = tempfile.mkdtemp()
    >>> Image.new("RGB", (64, 64), "tan").save(os.path.join(folder, "a.png"))
    >>> output = os.path.join(folder, "cleaned")
    >>> for result in lgs_cli.clean_folder(folder, output, "lgs:threshold=0.2"):
    ...     print(result.status, os.path.basename(result.output), result.unchanged)
    done a.png True
    """
    # Everything that is wrong with the call is said at the call.
    from lgs_cli.batch.manifest import Manifest
    from lgs_cli.batch.outputs import Outputs
    from lgs_cli.batch.pipeline import CleanSettings
    from lgs_cli.storage.archives.archive import is_archive
    from lgs_cli.storage.inputs import Selection, find
    from lgs_cli.storage.stores.store import is_remote

    _check(options)
    chain = chain_of(method, {})
    chosen = {key: options[key] for key in _SETTINGS if key in options}  # type: ignore[literal-required]
    settings = CleanSettings(chain, **chosen)
    masks = options.get("masks")
    outputs = Outputs(
        os.fspath(output), None if masks is None else os.fspath(masks), settings.format
    )
    selection = Selection(
        options.get("recursive", True),
        tuple(options.get("include", ())),
        tuple(options.get("exclude", ())),
    )
    paths = [os.fspath(path) for path in _listed(inputs)]
    for path in (*paths, os.fspath(output)):
        if is_archive(path) or is_remote(path):
            raise UsageError(f"{path}: archives and object stores are for lgs clean, at a shell")
    sources = list(find(paths, (), selection, outputs.directories))
    if not sources:
        raise NoImagesError(f"no image found in {', '.join(paths)}")
    outputs.check(paths, sources)
    manifest = Manifest(outputs.directory, settings)
    if not manifest.exists:
        outputs.refuse_strangers(paths, sources)

    def results() -> Generator[Result]:
        from lgs_cli.batch.run import Skip, clean_all
        from lgs_cli.batch.workers import Limits, cores

        limits = Limits(
            options.get("jobs") or cores(), options.get("timeout"), options.get("memory_limit")
        )
        with contextlib.closing(manifest):
            outputs.prepare(sources)
            manifest.open(wait=options.get("wait", False))
            skip = Skip(current=not options.get("force", False))
            every = clean_all(sources, outputs, settings, limits, manifest, skip)
            with contextlib.closing(every):
                yield from every

    generator = results()
    _open.add(generator)
    return generator


_SETTINGS = ("format", "quality", "optimize", "mask_style", "max_pixels")


# What Python does to a generator that is left when it exits comes too late to end processes.
_open: weakref.WeakSet[Generator[Result]] = weakref.WeakSet()


@atexit.register
def _close() -> None:
    for generator in list(_open):
        with contextlib.suppress(ValueError):  # a thread is in the middle of it
            generator.close()


def _check(options: FolderOptions) -> None:
    """Refuse an option that there is not, or a format or style that there is not."""
    known = list(FolderOptions.__annotations__)
    for name in options:
        if name not in known:
            raise TypeError(
                f"clean_folder has no option {name!r}; it has {', '.join(known)}. Parameters of a "
                "method go behind its name: 'lgs:threshold=0.2'"
            )
    writable = [form.name for form in FORMATS.values() if form.writable]
    for name, valid in (("format", [None, *writable]), ("mask_style", [*MASK_STYLES])):
        value = options.get(name, valid[0])
        if value not in valid:
            raise ValueError(f"{name} is {value!r}; valid is {', '.join(filter(None, valid))}")
    quality = options.get("quality")
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; valid is 1 to 100")


def _listed(inputs: Path | Iterable[Path]) -> Iterable[Path]:
    return [inputs] if isinstance(inputs, str | os.PathLike) else inputs
