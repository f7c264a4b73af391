"""Pickles as the release has them, the same bytes for the same content.

torch writes a storage's address in memory into its pickles; here the storage gets a fixed key instead.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any

import torch

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_PICKLE_PROTOCOL = 4


def dump(content: Any) -> bytes:
    """Pickle dicts, numpy arrays and single-precision CPU tensors."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=_PICKLE_PROTOCOL).dump(content)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, torch.Tensor):
            return NotImplemented
        if obj.dtype != torch.float32 or obj.device.type != "cpu":
            raise TypeError(f"a tensor of {obj.dtype} on {obj.device}; only float32 on the CPU is written")
        values = obj.detach().contiguous()
        rebuild = torch._utils._rebuild_tensor_v2
        return rebuild, (_Storage(values), 0, tuple(values.shape), values.stride(), False, OrderedDict())


class _Storage:
    """Stands for a tensor's storage in a pickle: unpickling gives the storage."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return torch.storage._load_from_bytes, (_storage_bytes(self.values),)


class _StoragePickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            return ("storage", torch.FloatStorage, "0", "cpu", obj.values.numel(), None)
        return None


def _storage_bytes(values: torch.Tensor) -> bytes:
    """torch's first file format, the one that nests in pickles: five pickles, then the count and the numbers."""
    buffer = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    for item in (_MAGIC, _PROTOCOL, {"protocol_version": _PROTOCOL, "little_endian": True, "type_sizes": sizes}):
        pickle.dump(item, buffer, protocol=2)
    _StoragePickler(buffer, protocol=2).dump(_Storage(values))
    pickle.dump(["0"], buffer, protocol=2)
    buffer.write(struct.pack("<q", values.numel()))
    buffer.write(values.numpy().astype("<f4").tobytes())
    return buffer.getvalue()
