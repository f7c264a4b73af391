"""Read pickle files of arrays through an allow-list: a file that names anything else is refused, and nothing runs.

A pickle is a program that may call whatever it names. Here it may name the few things on a list, by exact module and
name, and it gets our own functions and classes for them, never numpy's or torch's: by the state of a numpy.dtype a file
could make numpy take numbers for pointers. The lists below are those of numpy's arrays, which numpy 1 (`numpy.core`) or
2 (`numpy._core`) wrote, and of torch's tensors, which nest a second pickle that is read under its own, shorter list.
Tensors come out as numpy arrays; torch is not needed.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes

Allowed = Mapping[tuple[str, str], Any]
"""(module, name) as the file spells them -> what the file gets for it."""

TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""How a storage that torch wrote in its first format begins."""

STORAGE_DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip


SHOWN = 80
"""How many characters of a file's texts an error shows."""


class RefusedNameError(Exception):
    """A pickle names something that is not on the list."""


def _shown(value: object) -> str:
    """An object of a file in an error: texts cut, of others the type alone, as lists that share lists print forever."""
    return repr(value[:SHOWN]) if isinstance(value, str) else f"of type {type(value).__name__}"


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
            raise RefusedNameError(f"{module}.{name}"[:SHOWN]) from None
        return _Call(found) if isinstance(found, FunctionType) else found

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise RefusedNameError(f"persistent id {_shown(pid)}")
        return self._persistent(pid)


def load_pickle(path: Path, allowed: Allowed, *, encoding: str = "ASCII", again: str) -> Any:
    """Read what a pickle file holds.

    allowed: the names that it may use, and what it gets for each. encoding: of the byte strings that Python 2 wrote.
    again: what its user does to get a good file, the last sentence of every error.
    Raises HmrError naming the path when the file is missing, damaged, or names anything that is not allowed.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {again}") from error
    return parse_pickle(data, path, allowed, encoding=encoding, again=again)


def parse_pickle(data: bytes, path: Path, allowed: Allowed, *, encoding: str = "ASCII", again: str) -> Any:
    """Read the bytes of a pickle that came from path; all else is as in `load_pickle`."""
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


class _Dictionary(OrderedDict[Any, Any]):
    """An ordered dictionary without attributes: by `__array_interface__` numpy would read wherever a file says."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Attributes are dropped; nothing here reads them."""


def _bytes(data: object) -> bytes:
    """Bytes that a file holds (Python 2's come as text); never a number, of which `bytes` makes as many zeros."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError(f"numbers in a {type(data).__name__}, not in bytes")
    return bytes(data)


def _sizes(given: object) -> tuple[int, ...]:
    """A shape, or strides: whole numbers from 0."""
    if not isinstance(given, tuple | list) or any(type(n) is not int or n < 0 for n in given):
        raise ValueError("a shape that is not whole numbers from 0")
    return tuple(given)


class _Dtype:
    """An array's type: numbers or text, whose byte order alone a file can set."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_align_and_copy: object) -> None:
        if not isinstance(code, str):
            raise ValueError(f"an array whose type is a {type(code).__name__}")
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufcSU":
            raise ValueError(f"an array of type {_shown(code)}, which is neither numbers nor text")
        if not self.dtype.itemsize:
            raise ValueError("an array of texts without a length, of which no bytes hold any number")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order == "<" or order == ">" or order == "|" or order == "=":
            self.dtype = self.dtype.newbyteorder(order)
        else:
            raise ValueError(f"a byte order {_shown(order)}")


def _dtype(given: object) -> np.dtype[Any]:
    if not isinstance(given, _Dtype):
        raise ValueError(f"an array whose type is a {type(given).__name__}")
    return given.dtype


def _fitting(shape: object, dtype: np.dtype[Any], data: bytes) -> tuple[int, ...]:
    """The shape of an array, which its bytes must fill exactly."""
    sizes = _sizes(shape)
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise ValueError("an array whose shape and bytes disagree")
    return sizes


class _Array(np.ndarray):
    """An array that a file fills, once."""

    def __setstate__(self, state: Any) -> None:
        *_version, shape, dtype, fortran, data = state
        if self.size:
            raise ValueError("an array that is filled twice")
        kind, held = _dtype(dtype), _bytes(data)
        numbers: Any = (_fitting(shape, kind, held), kind, fortran is True or fortran == 1, held)
        super().__setstate__(numbers)


_NDARRAY = "numpy.ndarray"
"""What a file gets for numpy's class, which it may hand to _reconstruct and to nothing else."""


def _reconstruct(subtype: object, shape: object, typecode: object) -> ndarray:
    """numpy's way to make an array that the pickle then fills (whatever shape it names, that follows later)."""
    if subtype is not _NDARRAY:
        raise ValueError(f"an array of class {_shown(subtype)}")
    return np.empty(0, dtype="b").view(_Array)


def _frombuffer(buffer: object, dtype: object, shape: object, order: object) -> ndarray:
    kind, held = _dtype(dtype), _bytes(buffer)
    sizes = _fitting(shape, kind, held)
    return np.frombuffer(held, dtype=kind).reshape(sizes, order="F" if isinstance(order, str) and order == "F" else "C")


def _scalar(dtype: object, data: object) -> Any:
    (value,) = np.frombuffer(_bytes(data), dtype=_dtype(dtype))
    return value


def _encode(text: object, encoding: object) -> bytes:
    """How pickles of protocol 2 and below spell bytes."""
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
        raise ValueError(f"bytes of a {type(text).__name__} in encoding {_shown(encoding)}")
    return text.encode("latin1")


class _Storage:
    """The numbers of a tensor: what _load_storage alone makes, so that a tensor is no view of another array."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: ndarray) -> None:
        self.numbers = numbers

    def __setstate__(self, state: object) -> None:
        raise ValueError("a file that gives attributes to a storage")


def _load_storage(data: bytes) -> _Storage:
    """The numbers of a tensor: what torch's `_load_from_bytes` reads, which would run a nested pickle unrestricted."""
    file = io.BytesIO(data)
    storages: dict[str, tuple[str, int]] = {}

    def describe(pid: Any) -> str:
        kind, dtype, key, _device, count = pid[:5] if isinstance(pid, tuple) and len(pid) >= 5 else (None,) * 5
        texts = all(isinstance(text, str) for text in (kind, dtype, key)) and type(count) is int
        if not texts or kind != "storage" or (len(pid) > 5 and pid[5] is not None):
            raise RefusedNameError(f"persistent id {_shown(pid)}")
        if dtype not in STORAGE_DTYPES.values():
            raise ValueError(f"a torch storage of type {_shown(dtype)}")
        storages[key] = (dtype, count)
        return str(key)

    magic, protocol, system = (_Unpickler(file, {}).load() for _ in range(3))
    if (magic, protocol) != (TORCH_MAGIC, TORCH_PROTOCOL) or not system["little_endian"]:
        raise ValueError("a torch storage of an unknown format")
    names = {("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()}
    key = _Unpickler(file, names, describe).load()
    if not isinstance(key, str) or key not in storages or _Unpickler(file, {}).load() != [key]:
        raise ValueError("not exactly one torch storage")
    dtype, count = storages[key]
    if int.from_bytes(file.read(8), "little") != count:
        raise ValueError("a torch storage whose sizes disagree")
    return _Storage(np.frombuffer(file.read(), dtype=dtype, count=count))


def _rebuild_tensor(storage: object, offset: object, size: object, stride: object, *_autograd: object) -> ndarray:
    """A tensor's view of its storage, as an array of its own; never beyond the storage's end, nor larger than it."""
    if not isinstance(storage, _Storage):
        raise ValueError(f"a tensor whose storage is a {type(storage).__name__}")
    numbers = storage.numbers
    (start,), sizes, strides = _sizes([offset]), _sizes(size), _sizes(stride)
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if not (count := math.prod(sizes)):
        return np.empty(sizes, dtype=numbers.dtype)
    if last >= len(numbers):
        raise ValueError("a tensor that reaches beyond its storage")
    if count > len(numbers):  # a stride of 0 makes terabytes of one number
        raise ValueError("a tensor of more numbers than its storage")
    step_bytes = [step * numbers.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(numbers[start:], sizes, step_bytes).copy()


def _rebuild_parameter(tensor: Any, *_autograd: object) -> Any:
    return tensor


ARRAYS: Allowed = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _Dictionary,
}
"""What a file of numpy's arrays may name."""

TENSORS: Allowed = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_storage,
}
"""What a file of torch's tensors may name besides."""
