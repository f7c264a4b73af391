"""What float32 means on GPUs, whose matrix units may round its factors to TensorFloat-32 (10 bits instead of 23)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_arithmetic(*, tf32: bool) -> Iterator[None]:
    """Multiply matrices and convolve in full float32 within the block, or by TensorFloat-32; then as it was before.

    PyTorch by default convolves by TensorFloat-32, but multiplies matrices in full. That costs a tenth of a millimetre.
    """
    cudnn, before = torch.backends.cudnn, torch.get_float32_matmul_precision()
    # What is not given here would not stay as it is: cuDNN itself would be off.
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=tf32
    ):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
