"""What packing as JPEG does to a trained model's metrics: the same samples, lossless and at several qualities.

Run: python tools/study_jpeg.py [--ckpt demo/sp0/integral] [--root demo/synthetic/OakInk] [--split sp0]
     [--csv results/jpeg.csv]
`make demo` makes both. Packs the split's test subset with each codec, evaluates the checkpoint on every pack, and
compares sample by sample with the lossless one: the mean difference of MPJPE and its standard error. Takes about a
minute for the demo on one core. Writes the rows and prints the table of docs/speed.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import cv2
import torch
from provenance import REPOSITORY, write_rows
from torch import Tensor

from hmr_core.cli.main import current_registry
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.devices import choose_device
from hmr_core.evaluation.evaluate import evaluate
from hmr_core.evaluation.subject import EvaluationSubject
from hmr_core.plugins.specs import ModelSpec
from hmr_core.weights.checkpoints import Checkpoint, load_checkpoint

QUALITIES = (95, 90, 80, 70, 50, 30)
LOSSLESS = "png"


def errors_mm(
    spec: ModelSpec, checkpoint: Checkpoint, pack: Pack, split: str, workers: int
) -> tuple[Tensor, Mapping[str, float | None]]:
    """Each sample's mean error of its joints, and the metrics of all."""
    request = EvaluationSubject(spec=spec, checkpoint=checkpoint, pack=pack, split=split, subset="test")
    scores = evaluate(request, device=choose_device(None), batch_size=64, workers=workers).scores
    return 1000 * scores.errors.joints.double().mean(1), scores.metrics


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table of docs/speed.md."""
    click.echo("\n| codec | size, of lossless | MPJPE, mm | difference, mm | PCK-AUC |\n|---|---|---|---|---|")
    for row in rows:
        difference = f"{float(row['difference_mm']):+.3f} ± {float(row['standard_error_mm']):.3f}"
        click.echo(
            f"| `{row['codec']}` | {float(row['size_of_lossless']):.2f} | {float(row['mpjpe_mm']):.2f} | "
            f"{'' if row['codec'] == LOSSLESS else difference} | {float(row['pck_auc_0_50mm']):.4f} |"
        )


@click.command(help=__doc__)
@click.option("--model", default="integral", show_default=True, help="A model of images.")
@click.option("--ckpt", type=click.Path(path_type=Path), default=REPOSITORY / "demo/sp0/integral")
@click.option("--root", type=click.Path(path_type=Path), default=REPOSITORY / "demo/synthetic/OakInk")
@click.option("--split", default="sp0", show_default=True)
@click.option("--workers", default=0, show_default=True, help="Processes that load, besides this one.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results/jpeg.csv")
def main(model: str, ckpt: Path, root: Path, split: str, workers: int, csv_path: Path) -> None:
    spec = current_registry().model(model)
    checkpoint = load_checkpoint(ckpt, spec)
    rows: list[dict[str, Any]] = []
    lossless, lossless_bytes = torch.empty(0), 0
    with tempfile.TemporaryDirectory() as folder:
        for name in (LOSSLESS, *(f"jpeg:{quality}" for quality in QUALITIES)):
            out = Path(folder) / f"{name}.h5"
            packed = write_pack(open_oakink(root), out, splits=[split], subset="test", codec=codec_named(name))
            pack = Pack(out)
            found, metrics = errors_mm(spec, checkpoint, pack, split, workers)
            if name == LOSSLESS:
                lossless, lossless_bytes = found, packed.image_bytes
            change = found - lossless
            sides = torch.from_numpy(pack.array("window_px", range(len(pack)))[:, 2:])
            rows.append(
                {
                    "codec": name,
                    "size_of_raw": f"{packed.image_bytes / (3 * int(sides.prod(1).sum())):.4f}",
                    "size_of_lossless": f"{packed.image_bytes / lossless_bytes:.4f}",
                    "mpjpe_mm": f"{float(found.mean()):.4f}",
                    "difference_mm": f"{float(change.mean()):.4f}",
                    "standard_error_mm": f"{float(change.std()) / len(change) ** 0.5:.4f}",
                    "pck_auc_0_50mm": f"{metrics['pck_auc_0_50mm']:.5f}",
                    "model": model,
                    "split": split,
                    "subset": "test",
                    "samples": len(found),
                    "data": "synthetic" if pack.info.synthetic else pack.info.release,
                    "checkpoint": checkpoint.digest[:16],
                    "opencv": cv2.__version__,
                }
            )
            out.unlink()
    show(rows)
    write_rows(csv_path, rows)


if __name__ == "__main__":
    main()
