"""``lgs train``: a detector for localize, trained on one's own pictures and models."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from lgs_cli.commands.defense_options import complete_model
from lgs_cli.commands.meter import Meter, progress_option
from lgs_cli.commands.model_options import FILE, params_options, take_params
from lgs_cli.defenses.preprocessing import PRESETS, Preprocessing
from lgs_cli.errors import ImageError, NoImagesError, UsageError
from lgs_cli.evaluation.detector.params import TrainParams
from lgs_cli.wording import counted, printable

_LEAST_PHOTOS = 8


@click.command()
@click.option(
    "--images", required=True, multiple=True, metavar="DIR", type=FILE,
    help="Photographs without patches; repeatable.",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, metavar="FILE.onnx", type=FILE, help="Where the detector goes."
)
@click.option(
    "--model", "models", multiple=True, metavar="MODEL", shell_complete=complete_model,
    help="A classifier for the attackers to fool: FILE.pt2, FILE.pt or package.module:factory; "
    "repeatable. Without one the detector learns from pasted textures and patches alone.",
)  # fmt: skip
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="plain", show_default=True,
    help="Preprocessing of all models, which the options below change.",
)  # fmt: skip
@params_options(Preprocessing, default=False)
@click.option(
    "--patches", multiple=True, metavar="PATH", type=FILE,
    help="More patches to paste: image files, or a folder of them; repeatable.",
)  # fmt: skip
@click.option(
    "--hold-out", type=click.FloatRange(0.02, 0.5), default=0.15, show_default=True, metavar="X",
    help="Share of the photographs kept for calibration and the figures at the end.",
)  # fmt: skip
@params_options(TrainParams)
@click.option(
    "--checkpoint", metavar="FILE", type=FILE, show_default="FILE.onnx.checkpoint",
    help="Where the state is kept while it trains. The same command goes on from there.",
)  # fmt: skip
@progress_option
def train(images: tuple[Path, ...], output: Path, **options: Any) -> int:
    """Train the detector of localize on your own pictures and models.

    It learns from photographs with pasted textures and patches, and from attackers that go through
    it while it learns: they fool your models, and try not to be found. An interrupted training
    goes on where it was when the command is given again.

    \b
    Examples:
      lgs train --images photos -o detector.onnx --model net.pt2 --preset imagenet
      lgs clean uploads -o cleaned --method localize --detector detector.onnx
    """  # noqa: D301 - click reads the backspace
    params = take_params(TrainParams, options)
    preprocessing = take_params(Preprocessing, options, PRESETS[options["preset"]])
    checkpoint: Path = options["checkpoint"] or output.with_name(f"{output.name}.checkpoint")
    from lgs_cli.evaluation import models

    models.require_torch("lgs train")
    from lgs_cli.evaluation.detector import figures, network, scenes, training

    if not output.parent.is_dir():
        raise UsageError(f"{printable(str(output.parent))}: no such directory")
    photos = scenes.read(images, _left_out)
    if len(photos) < _LEAST_PHOTOS:
        raise NoImagesError(
            f"{counted(len(photos), 'photograph')} found; training needs {_LEAST_PHOTOS} or more"
        )
    every = max(2, round(1 / options["hold_out"]))
    material = training.Material(
        photos=[photo for index, photo in enumerate(photos) if index % every],
        held_out=photos[::every],
        patches=scenes.read(options["patches"], _left_out),
        model_specs=options["models"],
        preprocessing=preprocessing,
    )
    with Meter("round", params.rounds, options["progress"]) as meter:
        rounds = _Rounds(meter, options["progress"])
        detector = training.train(material, params, checkpoint, rounds.show)
    against = f"{params.rounds} rounds against {params.attackers} attackers on each of "
    metadata = {
        "photographs": str(len(material.photos)),
        "seed": str(params.seed),
        "warmup": str(params.warmup),
        "rounds": str(params.rounds),
        "models": ", ".join(Path(spec).name for spec in material.model_specs),
    }
    network.write(detector, output, metadata)
    checkpoint.unlink(missing_ok=True)
    shown = printable(str(output))
    how = f", {against}{counted(len(material.model_specs), 'model')}" if options["models"] else ""
    click.echo(f"{shown}: trained on {counted(len(material.photos), 'photograph')}{how}")
    judged = figures.judge(output, material.held_out, material.patches, params.seed)
    click.echo(
        f"on {counted(len(material.held_out), 'photograph')} held out: "
        f"{judged.flagged} flagged without a patch; "
        f"{judged.found} of pasted patches found, mean overlap {judged.overlap:.2f}"
    )
    return 0


def _left_out(error: ImageError) -> None:
    click.echo(f"lgs: left out: {error}", err=True)


class _Rounds:
    """How the training goes: on a meter, and, if nobody sees a bar, by a line now and then."""

    def __init__(self, meter: Meter, form: str) -> None:
        self._meter = meter
        self._in_lines = form == "auto" and not sys.stderr.isatty()
        self._start = self._said = time.monotonic()
        self._first = self._last = -1

    def show(self, progress: Any) -> None:
        """Show one more round, a `training.Progress`."""
        said = f"loss {progress.loss:.2f}, {progress.found:.0%} found"
        if progress.passed == progress.passed:  # NaN where there is no attacker
            said += f", {progress.passed:.0%} of the attackers pass"
        now = time.monotonic()
        if self._first < 0:
            # What came before is not of the rounds' pace: the warm-up, or what a checkpoint holds.
            self._first, self._start = progress.round, now
            self._meter.start("training", progress.rounds, progress.round)
        else:
            self._meter.advance(progress.round - self._last)
        self._last = progress.round
        self._meter.note(said)
        is_last = progress.round == progress.rounds
        if not self._in_lines or progress.round == self._first:
            return
        if now - self._said >= 60 or is_last:
            self._said = now
            pace = (now - self._start) / (progress.round - self._first)
            left = pace * (progress.rounds - progress.round)
            rounds = f"round {progress.round} of {progress.rounds}"
            click.echo(f"{rounds}: {said}; {left / 60:.0f} min left", err=True)
