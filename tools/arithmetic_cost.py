"""How much a training step computes, and how much a device can."""

from __future__ import annotations

import time

import torch
from plain_loop import PlainLoop, as_floats
from torch.utils.flop_counter import FlopCounterMode
from training_subject import Subject

from hmr_core.data.batch import Batch
from hmr_core.nn.float32 import float32_arithmetic

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SIDE = {"cuda": 8192, "cpu": 2048}
"""Of the square matrices whose product tells what a device can."""


def gflop_per_image(subject: Subject, batch: Batch) -> float:
    """Gigaflop of a step's forward and backward pass for each sample, by PyTorch's own counter.

    It counts matrix products and convolutions, a multiplication and an addition as two; nothing else weighs much.
    """
    loop = PlainLoop(subject)
    with FlopCounterMode(display=False) as counter:
        loop(as_floats(batch))
    return float(counter.get_total_flops()) / len(batch.ids) / 1e9


def peak_tflops(device: torch.device, precision: str, *, rounds: int = 5, side: int | None = None) -> float:
    """The teraflop a second of a large matrix product in a precision, the best of some rounds."""
    side = side or SIDE.get(device.type, SIDE["cpu"])
    factors = [torch.randn(side, side, device=device).to(DTYPES.get(precision, torch.float32)) for _ in range(2)]
    best = float("inf")
    with float32_arithmetic(tf32=precision == "tf32"):
        for _ in range(rounds + 1):  # the first one is slow, and never the best
            synchronize(device)
            start = time.perf_counter()
            torch.mm(*factors)
            synchronize(device)
            best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e12


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
