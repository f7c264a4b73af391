"""The most memory that tensors take at any moment of some work, counted as operations make and free them.

It is not what an allocator or a library takes besides. It needs no GPU, and works on tensors without data, too.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GIB = 2**30


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operations make, from their making to their end."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: dict[int, int] = {}
        self.live: int = 0
        self.peak: int = 0
        for tensor in held:
            self.hold(tensor)

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.live += self.sizes[key]
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self.sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it, and count what came out."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        return out


def peak_gib(run: Callable[[], object], *held: nn.Module | torch.optim.Optimizer | Tensor) -> float:
    """The most GiB in live tensors while something runs. held: what is there before, which counts too."""
    gc.collect()
    with LiveBytes(tensor for owner in held for tensor in tensors_of(owner)) as counter:
        run()
    peak: int = counter.peak
    return peak / GIB


def tensors_of(owner: nn.Module | torch.optim.Optimizer | Tensor) -> list[Tensor]:
    """The tensors that a model (with gradients) or an optimizer (its state) keeps, or the tensor itself."""
    if isinstance(owner, Tensor):
        return [owner]
    if isinstance(owner, torch.optim.Optimizer):
        return [leaf for leaf in tree_leaves(list(owner.state.values())) if isinstance(leaf, Tensor)]
    gradients = [parameter.grad for parameter in owner.parameters() if parameter.grad is not None]
    return [*owner.parameters(), *owner.buffers(), *gradients]
