"""`hmr eval`."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.cli.arguments import data_option, device_option, find_data, split_option, workers_option
from hmr_core.errors import HmrError, UsageError

RESULTS = ("report.json", "predictions.h5", "contact_sheet.png")
"""What an evaluation leaves in its folder, and all of it."""


@click.command("eval")
@click.argument("model")
@click.option(
    "--ckpt", type=click.Path(path_type=Path), required=True, help="A run, a checkpoint, or a released .pth.tar file."
)
@split_option
@click.option("--subset", default="test", show_default=True, help="train, val, train+val, test or all.")
@data_option
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Changes speed only.")
@device_option
@workers_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the results; by default eval/MODEL-SPLIT-SUBSET. A repeated evaluation replaces itself alone.",
)
def evaluate(
    model: str,
    ckpt: Path,
    split: str | None,
    subset: str,
    data: Path | None,
    batch_size: int,
    device: str | None,
    workers: int | None,
    out: Path | None,
) -> None:
    """Score MODEL's checkpoint on a subset of a split, by the published protocol.

    \b
    Example:
      hmr eval integral --ckpt runs/integral-sp0-tiny --split sp0

    The root joint's depth is given, errors are in camera space, PA allows reflections: docs/protocol.md. Leaves
    report.json, predictions.h5 and contact_sheet.png (best, median and worst samples); nothing if any sample fails.
    """
    from hmr_core.cli.main import current_registry
    from hmr_core.data.splits import split_name, subset_name

    if split is None:
        raise UsageError("--split is needed: sp0, sp1, sp2 or sp0-ho.")
    split, subset = split_name(split), subset_name(subset)
    spec = current_registry().model(model)

    from hmr_core.cli.figures import show_figures
    from hmr_core.cli.progress import progress
    from hmr_core.data.pack.reader import Pack
    from hmr_core.engine.checkpoints import load_checkpoint
    from hmr_core.engine.devices import choose_device, choose_workers
    from hmr_core.engine.evaluate import evaluate, evaluated, write_evaluation
    from hmr_core.staging import staged_folder
    from hmr_core.viz.contact_sheet import contact_sheet, write_png

    folder = out or Path("eval") / f"{model}-{split}-{subset}"
    if folder.is_dir() and {path.name for path in folder.iterdir()} - set(RESULTS):
        raise HmrError(f"{folder} holds something other than an evaluation, so it is left alone. Choose another --out.")
    pack = Pack(find_data(data))
    samples = len(pack.indices(split, subset))
    chosen = choose_device(device)
    checkpoint = load_checkpoint(ckpt, spec)
    same = {"split": split, "subset": subset, "checkpoint": checkpoint.digest, "pack": pack.info.digest}
    if (there := evaluated(folder)) is not None and there != same:
        raise HmrError(
            f"{folder} holds another evaluation ({there['split']} {there['subset']}, or another checkpoint or pack), "
            f"which is left alone. Choose another --out, or delete it."
        )
    # Staged around all of it: whether results can be written there is known before they are computed.
    with staged_folder(folder) as part:
        with progress(f"{model} on {split} {subset}", samples, "images") as advance:
            evaluation = evaluate(
                spec,
                checkpoint,
                pack,
                split=split,
                subset=subset,
                device=chosen,
                batch_size=batch_size,
                workers=choose_workers(workers, chosen),
                on_batch=advance,
            )
        write_evaluation(part, evaluation)
        write_png(part / "contact_sheet.png", contact_sheet(evaluation))
    show_figures(evaluation.report)
    click.echo(f"written: {folder}/ with {', '.join(RESULTS)}")
