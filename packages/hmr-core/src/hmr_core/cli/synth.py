"""`hmr synth`: a synthetic data set in OakInk-Image's own layout."""

from __future__ import annotations

from pathlib import Path

import click

from hmr_core.cli.options import MOST_WORKERS
from hmr_core.shell import command_line


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--size",
    default="demo",
    show_default=True,
    type=click.Choice(["demo", "small", "full"]),
    help="1,248, 4,000 or 20,000 pictures.",
)
@click.option("--frames", type=int, help="Frames of each sequence, in place of the size's; four cameras see each.")
@click.option("--sequences", type=int, help="Sequences, in place of the size's: at least 5; every sixth is a handover.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--workers", type=click.IntRange(min=1, max=MOST_WORKERS), help="Processes.  [default: one for each CPU]")
def synth(
    directory: Path, size: str, frames: int | None, sequences: int | None, seed: int, workers: int | None
) -> None:
    """Make a synthetic data set; it needs no licensed file.

    \b
    The command writes
      DIR/OakInk             a tree in OakInk-Image v2.1's own layout with all its splits: rendered
                             pictures of 848x480 pixels, joints, meshes, rotations, betas, cameras, objects
      DIR/hand.npz           the synthetic hand that the pictures show
      DIR/contact_sheet.png  some of the pictures on one sheet

    Hands hold an object in the second half of each sequence; before, the object lies on the desk. A picture takes about
    0.6 MB: demo 0.8 GB, small 2.5 GB, full 13 GB.

    The data set can be used wherever the real one can. Results on it are results on synthetic hands, and are labelled
    so.

    \b
    Examples:
      hmr synth demo                                 12 sequences of 26 frames: 1248 pictures
      hmr synth large --size full                    20,000 pictures: ten subjects, twelve objects
      hmr synth tiny --frames 2 --sequences 5        40 pictures, within seconds
      hmr synth other --seed 1                       other people, cameras and poses
    Then:
      hmr pack oakink --root demo/OakInk --out demo.h5
    """
    from hmr_core.data.synthetic.sizes import CAMERAS, SIZES, check_request
    from hmr_core.system import usable_cpus

    if workers is None:
        workers = usable_cpus()
    chosen = SIZES[size]
    sequences = chosen.sequences if sequences is None else sequences
    frames = chosen.frames if frames is None else frames
    subjects, objects = chosen.subjects, chosen.objects
    check_request(
        directory,
        sequences=sequences,
        frames=frames,
        subjects=subjects,
        objects=objects,
        seed=seed,
        workers=workers,
    )  # before what follows is imported, which needs torch

    from hmr_core.cli.progress import progress
    from hmr_core.data.oakink import open_oakink
    from hmr_core.data.synthetic.writer import write_synthetic
    from hmr_core.pictures import write_png
    from hmr_core.viz.tree_sheet import tree_sheet

    seen = 0
    with progress("Drawing", sequences * frames * len(CAMERAS), "images") as advance:

        def on_progress(done: int, total: int) -> None:
            nonlocal seen
            advance(done - seen)
            seen = done

        summary = write_synthetic(
            directory,
            sequences=sequences,
            frames=frames,
            subjects=subjects,
            objects=objects,
            seed=seed,
            workers=workers,
            on_progress=on_progress,
        )
    pack = command_line("hmr pack oakink --root", summary.root, "--out", directory / "oakink.h5")
    sheet = directory / "contact_sheet.png"
    write_png(sheet, tree_sheet(open_oakink(summary.root)))
    click.echo(
        f"{summary.images} images of {summary.sequences} sequences, {summary.samples} samples: {summary.root}\n"
        f"hand model: {summary.hand_model}\n"
        f"a look at it: {sheet}\n"
        f"next: {pack}"
    )
