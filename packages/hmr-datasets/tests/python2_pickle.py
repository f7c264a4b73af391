"""Pickles as Python 2 wrote them, the same content: byte strings, longs, and numpy 1's names."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar


def dump(content: Any) -> bytes:
    """Pickle dictionaries of texts, numbers, None and numpy arrays by protocol 2, with texts as byte strings."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def _save_bytes(pickler: Any, value: str | bytes) -> None:
    data = value.encode("latin1") if isinstance(value, str) else value
    pickler.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
    pickler.memoize(value)


class _Pickler(pickle._Pickler):  # the one in Python, whose methods can be replaced
    dispatch: ClassVar[dict[type, Callable[..., None]]] = {
        **pickle._Pickler.dispatch,
        str: _save_bytes,
        bytes: _save_bytes,
    }
