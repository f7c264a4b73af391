"""What `hmr train` computes, to the bit: the losses of every step, the figures on val, the digest of the weights.

    python tests/trace_training.py MODEL PACK HAND OUT

Run by test_training_traces.py in a process of its own, whose environment keeps libraries from choosing other
instructions, and so other roundings, on other processors.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BATCH, EPOCHS = 5, 2
"""Of the 57 training samples of sp0: 11 steps an epoch."""


@dataclass
class Recorder:
    """What a plugin was told of a run."""

    losses: list[dict[str, str]] = field(default_factory=list)
    val: list[dict[str, str | None]] = field(default_factory=list)

    def watch(self, event: Any) -> None:
        """Keep each step's losses and each epoch's figures."""
        if type(event).__name__ == "StepDone":
            self.losses.append({name: value.hex() for name, value in event.losses.items()})
        elif type(event).__name__ == "EpochDone":
            self.val.append({name: None if value is None else value.hex() for name, value in event.val.items()})


def trace(model: str, pack: Path, hand: Path, folder: Path) -> dict[str, Any]:
    """Train a model for EPOCHS epochs, and give what it did. folder: of the run, which is made."""
    from hmr_core.cli.main import cli
    from hmr_core.plugins import hookimpl
    from hmr_core.plugins.registry import discover

    recorder = Recorder()

    @hookimpl
    def hmr_on_event(run: Any, event: Any) -> None:
        recorder.watch(event)

    plugin = SimpleNamespace(hmr_on_event=hmr_on_event)
    fake = SimpleNamespace(name="recorder", load=lambda: plugin, dist=SimpleNamespace(name="recorder", version="1"))
    arguments = ["train", model, "--split", "sp0", "--recipe", "tiny", "--data", str(pack), "--out", str(folder)]
    arguments += ["--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--device", "cpu", "--workers", "0"]
    arguments += ["--hand-model", str(hand)] if model in ("i2l", "iknet") else []
    cli.main(arguments, prog_name="hmr", standalone_mode=False, obj=discover([*entry_points(group="hmr"), fake]))
    digests = {path.name: _digest(path.read_bytes()) for path in sorted(folder.rglob("*.safetensors"))}
    return {
        "losses": recorder.losses,
        "val": recorder.val,
        "digests": digests,
        "arithmetic": arithmetic(),
        "pixels": pixels(),
    }


def arithmetic() -> str:
    """A digest of some steps of a small network by PyTorch alone: where it differs, no bits can be compared."""
    import torch
    from torch import nn

    with _seeded():
        net = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 1, 1, bias=False),
            nn.ConvTranspose2d(32, 8, 4, 2, 1), nn.Flatten(), nn.Linear(8 * 32 * 32, 63), nn.Softmax(1),
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, fused=True)
        images = torch.rand(5, 3, 32, 32).to(memory_format=torch.channels_last)
        for _ in range(3):
            optimizer.zero_grad()
            net(images).view(5, 21, 3).sub(0.1).abs().sqrt().mean().backward()
            optimizer.step()
        values = b"".join(value.detach().numpy().tobytes() for value in net.state_dict().values())
    return _digest(values)


def pixels() -> str:
    """A digest of what OpenCV makes of a fixed picture: where it differs, models see other crops."""
    import cv2
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    return _digest(cv2.warpAffine(picture, np.array([[0.61, -0.2, 7.3], [0.2, 0.61, 1.9]]), (48, 48)).tobytes())


@contextmanager
def _seeded() -> Iterator[None]:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


if __name__ == "__main__":
    name, pack, hand, out = sys.argv[1:]
    traced = trace(name, Path(pack), Path(hand), Path(out).with_suffix(""))
    Path(out).write_text(json.dumps(traced, indent=1) + "\n", encoding="utf-8")
