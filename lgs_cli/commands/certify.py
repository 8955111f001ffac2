"""``lgs certify``: for how many photographs no patch can change the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lgs_cli.commands.meter import Meter, progress_option
from lgs_cli.commands.model_options import (
    FILE,
    find_photographs,
    labels_option,
    load_model,
    model_options,
    params_options,
    take_params,
)
from lgs_cli.defenses.masking import MaskParams
from lgs_cli.errors import ImageError
from lgs_cli.evaluation.table import Share
from lgs_cli.wording import counted, in_columns, printable

if TYPE_CHECKING:
    from lgs_cli.evaluation.certify import Certificate, Prover
    from lgs_cli.evaluation.dataset import Photograph


@click.command()
@click.argument("images", metavar="IMAGES", type=FILE)
@model_options
@labels_option
@params_options(MaskParams)
@click.option(
    "--alert", is_flag=True,
    help="Prove that the model is right or an alarm is raised: k * k + 1 passes. The alarm is "
    "that of Minority Reports: the model answers otherwise under some mask than without.",
)  # fmt: skip
@click.option(
    "--count", metavar="N", type=click.IntRange(min=0), default=0, show_default=True,
    help="Photographs, evenly spread over the folder; 0: all.",
)  # fmt: skip
@click.option(
    "--batch-size", metavar="N", type=click.IntRange(min=1), default=1, show_default=True,
    help="Pictures in one pass of the model: more are faster on a GPU, and slower on a CPU.",
)  # fmt: skip
@click.option(
    "--results", metavar="FILE", type=FILE,
    help="Write a JSON line a photograph there, as soon as it is done.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Do not do again what --results holds already.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Format of the summary.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", type=FILE, help="Write the summary there.")
@progress_option
def certify(images: Path, **options: Any) -> int:
    """Prove of photographs that no patch can change what a model answers.

    The defense is double masking (PatchCleanser), with any model: 'lgs clean --method double-mask'
    is the same one. A photograph is provably right if the model answers its label under any two
    masks; then double masking answers it too, whatever a patch of that size holds and wherever it
    lies. With k masks a side the answer takes k * k passes of the model, and up to as many again
    for each mask that disagrees; the proof takes up to k * k * (k * k + 1) / 2. For 6 that is 36
    and 666.

    Masks are rectangles of gray in the photograph as it is, over what the model sees of it, laid
    out so that one of them hides the whole patch. The photograph is resized and cropped for the
    model afterwards. There may be one patch, of any shape that fits in a square of that area.

    \b
    Example:
      lgs certify photos --labels labels.csv --model net.onnx \\
        --patch-fraction 0.02 --results certified.jsonl --resume
    """  # noqa: D301 - click reads the backspace
    from lgs_cli.evaluation import certify as proof
    from lgs_cli.evaluation import pages
    from lgs_cli.storage import refuse_overwriting

    if options["resume"] and options["results"] is None:
        raise click.UsageError("--resume needs --results FILE: what it continues")
    params = take_params(MaskParams, options)
    chosen = proof.choose(find_photographs(options, images), options["count"])
    refuse_overwriting(
        (options["results"], options["output"]),
        (Path(options["model"]), options["labels"], *(photo.path for photo in chosen)),
    )
    prover = proof.Prover(load_model(options), params, options["alert"], options["batch_size"])
    certificates = []
    with proof.Results(options["results"], prover.settings(), resume=options["resume"]) as results:
        known = {photo.name: found for photo in chosen if (found := results.of(photo))}
        left = len(chosen) - len(known)
        with Meter("photograph", left, options["progress"]) as meter:
            for photograph in chosen:
                certificate = known.get(photograph.name)
                if certificate is None:
                    certificate = _prove(prover, photograph, meter)
                    if certificate is None:
                        continue
                    results.add(certificate)
                certificates.append(certificate)
    failed = len(chosen) - len(certificates)
    text = _as_json if options["form"] == "json" else _as_text
    summary = text(prover, certificates, failed)
    if options["output"] is None:
        click.echo(summary, nl=False)
    else:
        pages.write_text(options["output"], summary)
    return 1 if failed else 0


def _prove(prover: Prover, photograph: Photograph, meter: Meter) -> Certificate | None:
    """Find out about one photograph; if it cannot be used, say why."""
    name = printable(photograph.name)
    try:
        return prover.prove(photograph, lambda passes: meter.note(f"{name}: {passes} passes"))
    except ImageError as error:
        meter.clear()
        click.echo(f"lgs: {error}", err=True)
        return None
    finally:
        meter.advance()


def _as_text(prover: Prover, certificates: Sequence[Certificate], failed: int) -> str:
    from lgs_cli.evaluation.certify import summarize

    found = summarize(certificates)
    params = prover.params
    patch = f"{params.patch_size} px" if params.patch_size else f"{100 * params.patch_fraction:g} %"
    rows = {
        "right, undefended": found.undefended,
        "right, defended": found.defended,
        "provably right whatever the patch": found.certified,
    }
    if prover.alert:
        rows = {
            "right, undefended": found.undefended,
            "alarm though there is no patch": found.false_alarms,
            "provably right or alarmed whatever the patch": found.certified,
        }
    side = params.masks_per_side
    lines = [
        f"{printable(prover.model.spec)}, patches of up to {patch}, {side} x {side} masks: "
        f"{counted(len(certificates), 'photograph')} [95 % interval]",
        "",
        *in_columns([[name, f"{share.hits:>4}", str(share)] for name, share in rows.items()]),
    ]
    if failed:
        lines += ["", f"not counted: {counted(failed, 'photograph')} that cannot be used"]
    return "\n".join(lines) + "\n"


def _as_json(prover: Prover, certificates: Sequence[Certificate], failed: int) -> str:
    from lgs_cli.evaluation import provenance
    from lgs_cli.evaluation.certify import summarize

    found = summarize(certificates)

    def plain(share: Share) -> dict[str, Any]:
        value = share.value if share.total else None
        return {
            "hits": share.hits,
            "total": share.total,
            "share": value,
            "interval": list(share.interval),
        }

    record = {
        **provenance.origin(),
        "device": prover.model.device_name,
        "settings": prover.settings(),
        "photographs": len(certificates),
        "failed": failed,
        "undefended": plain(found.undefended),
        "defended": plain(found.defended),
        "certified": plain(found.certified),
        "false_alarms": plain(found.false_alarms),
        "passes": found.passes,
        "certificates": [asdict(one) for one in certificates],
    }
    return json.dumps(record, ensure_ascii=False, indent=2) + "\n"
