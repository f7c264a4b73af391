"""Pickle files of arrays, read through an allow-list: a file that names anything else is refused; nothing in it runs.

A pickle is a program that may call whatever it names. Here it may name the few things on a list, by exact module and
name, and it gets our own functions and classes for them, never numpy's or torch's: by the state of a numpy.dtype a file
could make numpy take numbers for pointers. The lists below are those of numpy's arrays, which numpy 1 (`numpy.core`) or
2 (`numpy._core`) wrote, and of torch's tensors, which nest a second pickle that is read under its own, shorter list.
Tensors come out as numpy arrays; torch is not needed.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError

Allowed = Mapping[tuple[str, str], Any]
"""(module, name) as the file spells them -> what the file gets for it."""

TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""How a storage that torch wrote in its first format begins."""

STORAGE_DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip


class RefusedNameError(Exception):
    """A pickle names something that is not on the list."""


class _Call:
    """A function of ours as a file gets it: to be called, not to be given attributes, which would outlive the file."""

    __slots__ = ("_function",)

    def __init__(self, function: FunctionType) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError(f"a file that gives attributes to {self._function.__name__}")


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the names of a list and no others; persistent ids only where a loader is given."""

    def __init__(
        self,
        file: io.BufferedIOBase,
        allowed: Allowed,
        persistent: Callable[[Any], Any] | None = None,
        encoding: str = "ASCII",
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed, self._persistent = allowed, persistent

    def find_class(self, module: str, name: str) -> Any:
        try:
            found = self._allowed[module, name]
        except KeyError:
            raise RefusedNameError(f"{module}.{name}") from None
        return _Call(found) if isinstance(found, FunctionType) else found

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise RefusedNameError(f"persistent id {pid!r:.80}")
        return self._persistent(pid)


def load_pickle(path: Path, allowed: Allowed, *, encoding: str = "ASCII", again: str) -> Any:
    """What a pickle file holds.

    allowed: the names that it may use, and what it gets for each. encoding: of the byte strings that Python 2 wrote.
    again: what its user does to get a good file, the last sentence of every error.
    Raises HmrError naming the path when the file is missing, damaged, or names anything that is not allowed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {again}") from error
    try:
        return _Unpickler(io.BytesIO(data), allowed, encoding=encoding).load()
    except RefusedNameError as error:
        raise HmrError(
            f'{path} is a pickle that names "{error}", which is not on the list of what such a file may use. '
            f"It was refused and nothing in it was run. {again}"
        ) from None
    except Exception as error:  # a damaged pickle raises almost anything
        raise HmrError(
            f"{path} is damaged: not a readable pickle ({type(error).__name__}: {error}). {again}"
        ) from error


class _Dtype:
    """An array's type: numbers or text, whose byte order alone a file can set."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_align_and_copy: object) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biufcSU":
            raise ValueError(f"an array of type {code!r}, which is neither numbers nor text")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that a file fills, once."""

    def __setstate__(self, state: Any) -> None:
        *_version, shape, dtype, fortran, data = state
        if self.size:
            raise ValueError("an array that is filled twice")
        numbers: Any = (shape, dtype.dtype, fortran, data)
        super().__setstate__(numbers)


_NDARRAY = "numpy.ndarray"
"""What a file gets for numpy's class, which it may hand to _reconstruct and to nothing else."""


def _reconstruct(subtype: object, shape: object, typecode: object) -> ndarray:
    """numpy's way to make an array that the pickle then fills (whatever shape it names, that follows later)."""
    if subtype is not _NDARRAY:
        raise ValueError(f"an array of class {subtype!r}")
    return np.empty(0, dtype="b").view(_Array)


def _frombuffer(buffer: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> ndarray:
    return np.frombuffer(bytes(buffer), dtype=dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _Dtype, data: bytes | str) -> Any:
    (value,) = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype=dtype.dtype)
    return value


def _encode(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 and below spell bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


def _load_storage(data: bytes) -> ndarray:
    """The numbers of a tensor: what torch's `_load_from_bytes` reads, which would run a nested pickle unrestricted."""
    file = io.BytesIO(data)
    storages: dict[str, tuple[str, int]] = {}

    def describe(pid: Any) -> str:
        kind, dtype, key, _device, count = pid[:5]
        if kind != "storage" or (len(pid) > 5 and pid[5] is not None):
            raise RefusedNameError(f"persistent id {pid!r:.80}")
        storages[key] = (dtype, int(count))
        return str(key)

    magic, protocol, system = (_Unpickler(file, {}).load() for _ in range(3))
    if (magic, protocol) != (TORCH_MAGIC, TORCH_PROTOCOL) or not system["little_endian"]:
        raise ValueError("a torch storage of an unknown format")
    names = {("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()}
    key = _Unpickler(file, names, describe).load()
    if _Unpickler(file, {}).load() != [key]:
        raise ValueError("not exactly one torch storage")
    dtype, count = storages[key]
    if int.from_bytes(file.read(8), "little") != count:
        raise ValueError("a torch storage whose sizes disagree")
    return np.frombuffer(file.read(), dtype=dtype, count=count)


def _rebuild_tensor(
    storage: ndarray, offset: int, size: Sequence[int], stride: Sequence[int], *_autograd: object
) -> ndarray:
    """A tensor's view of its storage, as an array of its own; never beyond the storage's end."""
    count = int(np.prod(size, dtype=np.int64))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min([offset, *size, *stride]) < 0 or (count and last >= len(storage)):
        raise ValueError("a tensor that reaches beyond its storage")
    if count == 0:
        return np.empty(tuple(size), dtype=storage.dtype)
    step_bytes = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], tuple(size), step_bytes).copy()


def _rebuild_parameter(tensor: ndarray, *_autograd: object) -> ndarray:
    return tensor


ARRAYS: Allowed = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}
"""What a file of numpy's arrays may name."""

TENSORS: Allowed = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_storage,
}
"""What a file of torch's tensors may name besides."""
