"""Writes small TensorFlow Lite files for the tests, the way the format's description says, and from nothing of ours."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

CODES = {
    "ADD": 0, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "DEQUANTIZE": 6, "FULLY_CONNECTED": 9,
    "LOGISTIC": 14, "MAX_POOL_2D": 17, "MUL": 18, "RESHAPE": 22, "RESIZE_BILINEAR": 23, "PAD": 34, "MEAN": 40,
    "PRELU": 54,
}  # fmt: skip
OPTIONS = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 2, "MAX_POOL_2D": 5, "FULLY_CONNECTED": 8, "CONCATENATION": 10, "ADD": 11,
    "RESIZE_BILINEAR": 15, "MEAN": 27,
}  # fmt: skip
TYPES = {"float32": 0, "float16": 1, "int32": 2, "int8": 9}

Fields = dict[int, Any]
"""A table, by the numbers of its fields: (kind as `struct` has it, number), text, array of numbers, Fields, a list."""


class Tensor(NamedTuple):
    shape: tuple[int, ...]
    data: Any = None
    name: str = ""
    type: int | None = None


class Operator(NamedTuple):
    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Fields | None = None
    version: int = 1


def tflite(
    tensors: Sequence[Tensor],
    operators: Sequence[Operator],
    inputs: Sequence[int],
    outputs: Sequence[int],
    version: int = 3,
) -> bytes:
    """A file with one graph."""
    kinds = list(dict.fromkeys((operator.kind, operator.version) for operator in operators))
    buffers: list[Fields] = [{}]
    described: list[Fields] = []
    for number, tensor in enumerate(tensors):
        data = None if tensor.data is None else np.asarray(tensor.data)
        kind = TYPES["float32" if data is None else str(data.dtype)] if tensor.type is None else tensor.type
        fields: Fields = {0: np.array(tensor.shape, "<i4"), 1: ("b", kind), 3: tensor.name or f"tensor{number}"}
        if data is not None:
            fields[2] = ("I", len(buffers))
            buffers.append({0: np.frombuffer(data.tobytes(), "u1")})
        described.append(fields)
    listed: list[Fields] = []
    for operator in operators:
        fields = {
            0: ("I", kinds.index((operator.kind, operator.version))),
            1: np.array(operator.inputs, "<i4"),
            2: np.array(operator.outputs, "<i4"),
        }
        if operator.kind in OPTIONS:
            fields |= {3: ("B", OPTIONS[operator.kind]), 4: operator.options or {}}
        listed.append(fields)
    graph = {0: described, 1: np.array(inputs, "<i4"), 2: np.array(outputs, "<i4"), 3: listed}
    codes = [_code(kind, of) for kind, of in kinds]
    return flatbuffer({0: ("I", version), 1: codes, 2: [graph], 4: buffers}, b"TFL3")


def _code(kind: str, version: int) -> Fields:
    if kind not in CODES:
        return {0: ("b", 32), 1: kind, 2: ("i", version), 3: ("i", 32)}
    return {0: ("b", CODES[kind]), 2: ("i", version), 3: ("i", CODES[kind])}


def flatbuffer(root: Fields, identifier: bytes) -> bytes:
    """A FlatBuffers file: what is referred to comes behind what refers to it."""
    data = bytearray(4) + identifier
    _refer(data, 0, root)
    return bytes(data)


def _refer(data: bytearray, slot: int, value: Any) -> None:
    data.extend(bytes(-len(data) % 4))
    if isinstance(value, dict):
        position = _table(data, value)
    elif isinstance(value, list):
        position = len(data)
        data.extend(struct.pack("<I", len(value)) + bytes(4 * len(value)))
        for number, item in enumerate(value):
            _refer(data, position + 4 + 4 * number, item)
    else:
        raw = value.encode() + b"\0" if isinstance(value, str) else value.tobytes()
        position = len(data)
        data.extend(struct.pack("<I", len(raw) - 1 if isinstance(value, str) else len(value)) + raw)
    data[slot : slot + 4] = struct.pack("<I", position - slot)


def _table(data: bytearray, fields: Fields) -> int:
    count = max(fields, default=-1) + 1
    vtable = len(data)
    size = 4 + 4 * len(fields)
    places = {field: 4 + 4 * number for number, field in enumerate(sorted(fields))}
    data.extend(struct.pack(f"<HH{count}H", 4 + 2 * count, size, *(places.get(field, 0) for field in range(count))))
    data.extend(bytes(-len(data) % 4))
    position = len(data)
    data.extend(struct.pack("<i", position - vtable) + bytes(size - 4))
    for field, place in places.items():
        value = fields[field]
        if isinstance(value, tuple):
            data[position + place : position + place + 4] = struct.pack(f"<{value[0]}", value[1]).ljust(4, b"\0")
        else:
            _refer(data, position + place, value)
    return position
