"""Read the graph of a TensorFlow Lite file: its tensors, and the operators that make one of another.

MediaPipe's hand networks compute in float32, with constants that are stored as float16. Only what they need is read;
whatever else a file asks for is refused by name, and so is a graph whose tensors do not fit together. A graph that is
returned can be run.
Source of the numbers of tables, fields and types: schema.fbs (version 3) of TensorFlow Lite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmr_core.errors import HmrError
from hmr_core.file_kinds import file_kind
from hmr_core.files import read_bytes
from hmr_mediapipe.files import FETCH
from hmr_mediapipe.flatbuffer import FlatbufferError, Table, root_table
from hmr_mediapipe.operators import Constant, Kind, MisfitError, Operator, Shape, kind_of

IDENTIFIER = b"TFL3"
VERSION = 3

TYPES = ("FLOAT32", "FLOAT16", "INT32", "UINT8", "INT64", "STRING", "BOOL", "INT16", "COMPLEX64", "INT8", "FLOAT64")
DTYPES = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4"}
"""Those of the types that are read."""

MOST_TENSORS, MOST_OPERATORS = 2000, 1000
MOST_ELEMENTS = 1 << 24
"""Of one tensor; the largest of the networks has 802 816."""
HIGHEST_RANK = 4
LONGEST_NAME = 1000

AGAIN = f"Get it again: {FETCH}"


@dataclass(frozen=True)
class Graph:
    """A network as a file has it.

    input: the number of its only input. outputs: by the file's own names, the numbers of what it gives. operators: in
    the order in which they are run. shapes: of all tensors, with a batch of one. constants: those tensors that the file
    stores, as float32 or int32.
    """

    input: int
    outputs: Mapping[str, int]
    operators: tuple[Operator, ...]
    shapes: tuple[Shape, ...]
    constants: Mapping[int, Constant]


def read_graph(path: Path) -> Graph:
    """Read the graph of a file.

    Raises HmrError, naming the file and what is wrong, for one that is missing or damaged, is of another kind, or needs
    anything that is not run here.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise HmrError(f"{path} cannot be read: {error.strerror}. {AGAIN}") from error
    try:
        return parse_graph(data)
    except (FlatbufferError, MisfitError) as error:
        kind = file_kind(data) if data[4:8] != IDENTIFIER else ""
        reason = f"it is {kind}" if kind else str(error)
        raise HmrError(f"{path} is not a network of MediaPipe's, or is damaged: {reason}. {AGAIN}") from error


def parse_graph(data: bytes) -> Graph:
    """Read the graph of a file's bytes; FlatbufferError or MisfitError where it cannot be read, or not be run."""
    model = root_table(data, IDENTIFIER)
    if (version := model.integer(0, "I")) != VERSION:
        raise MisfitError(f"it is of version {version} of TensorFlow Lite's format; version {VERSION} is read")
    kinds = [_kind(code) for code in model.tables(1, MOST_OPERATORS)]
    subgraphs = list(model.tables(2, 1))
    if not subgraphs:
        raise MisfitError("it has no graph")
    buffers = [buffer.numbers(0, "u1") for buffer in model.tables(4, MOST_TENSORS)]
    (subgraph,) = subgraphs
    return _Reading(data, kinds, buffers, subgraph).graph()


class _Reading:
    """A graph as far as it was read: what the operators so far have made."""

    def __init__(self, data: bytes, kinds: list[Kind], buffers: list[Constant], subgraph: Table) -> None:
        self.kinds, self.subgraph = kinds, subgraph
        self.names: list[str] = []
        self.shapes: list[Shape] = []
        self.constants: dict[int, Constant] = {}
        for number, tensor in enumerate(subgraph.tables(0, MOST_TENSORS)):
            shape = tuple(int(size) for size in tensor.numbers(0, "i4")[: HIGHEST_RANK + 1])
            self.names.append(tensor.text(3, LONGEST_NAME))
            self.shapes.append(shape)
            if len(shape) > HIGHEST_RANK or min(shape, default=1) < 1 or math.prod(shape) > MOST_ELEMENTS:
                raise MisfitError(f"tensor {number} has the shape {shape}")
            dtype = _dtype(tensor.integer(1, "b"), number)
            buffer = tensor.integer(2, "I")
            if buffer >= len(buffers):
                raise MisfitError(f"tensor {number} lies in buffer {buffer}, and there are {len(buffers)}")
            if (stored := buffers[buffer]).size:
                if stored.nbytes != math.prod(shape) * dtype.itemsize:
                    raise MisfitError(
                        f"tensor {number} has {stored.nbytes} bytes, which do not make {shape} of {dtype}"
                    )
                self.constants[number] = stored.view(dtype).reshape(shape)
            elif dtype != np.float32:
                raise MisfitError(f"tensor {number} is computed as {dtype}; float32 is what is run")
        # In a sound file no two tensors share their bytes; in another they could be copied without end.
        if sum(constant.nbytes for constant in self.constants.values()) > len(data):
            raise MisfitError("its tensors share their bytes")

    def graph(self) -> Graph:
        (entry,) = self._numbers(self.subgraph, 1, 1)
        if entry in self.constants:
            raise MisfitError("its input is a constant")
        self.made = {entry}
        steps = [self._operator(*item) for item in enumerate(self.subgraph.tables(3, MOST_OPERATORS))]
        outputs = {self.names[number]: number for number in self._numbers(self.subgraph, 2)}
        if not outputs or not self.made.issuperset(outputs.values()):
            raise MisfitError("it does not compute its outputs")
        operators = tuple(step for step in steps if step is not None)
        return Graph(entry, outputs, operators, tuple(self.shapes), self.constants)

    def _operator(self, number: int, table: Table) -> Operator | None:
        """The operator; None where it makes a constant of a constant, which is done here."""
        if (index := table.integer(0, "I")) >= len(self.kinds):
            raise MisfitError(f"operator {number} is the {index}th of {len(self.kinds)} kinds")
        kind = self.kinds[index]
        try:
            inputs = self._numbers(table, 1, kind.variable + kind.constant)
            (output,) = self._numbers(table, 2, 1)
            operator = Operator(kind.name, inputs, output, _options(kind, table))
            return self._checked(operator, kind)
        except MisfitError as error:
            raise MisfitError(f"operator {number} ({kind.name}): {error}") from error

    def _checked(self, operator: Operator, kind: Kind) -> Operator | None:
        variable, constant = operator.inputs[: kind.variable], operator.inputs[kind.variable :]
        for number in variable:
            if number not in self.made:
                raise MisfitError(f"its input {number} was not computed before")
        for number in constant:
            if number not in self.constants:
                raise MisfitError(f"its input {number} is not stored in the file")
        if operator.output in self.made or operator.output in self.constants:
            raise MisfitError(f"it makes tensor {operator.output}, which there is already")
        given = [self.shapes[number] for number in operator.inputs]
        shape = kind.shape(operator, given, [self.constants[number] for number in constant])
        if shape != self.shapes[operator.output]:
            raise MisfitError(f"it makes {shape}, and the file says {self.shapes[operator.output]}")
        if operator.kind == "DEQUANTIZE":
            self.constants[operator.output] = self.constants[operator.inputs[0]].astype(np.float32)
            return None
        self.made.add(operator.output)
        return operator

    def _numbers(self, table: Table, field: int, count: int | None = None) -> tuple[int, ...]:
        """Numbers of tensors: so many, or some."""
        listed = table.numbers(field, "i4")
        if listed.size != count if count is not None else listed.size > MOST_TENSORS:
            raise MisfitError(f"it lists {listed.size} tensors where {count or 'fewer'} are meant")
        numbers = tuple(int(number) for number in listed)
        if any(not 0 <= number < len(self.shapes) for number in numbers):
            raise MisfitError(f"it names a tensor that is not there, one of {list(numbers[:8])}")
        return numbers


def _kind(code: Table) -> Kind:
    # The byte is older, and has no room for all operators; newer files have both, and the larger counts.
    number = max(code.integer(0, "b"), code.integer(3, "i"))
    if custom := code.text(1, LONGEST_NAME):
        raise MisfitError(f'it needs the operator "{custom}", which is not run here')
    kind = kind_of(number)
    if kind is None:
        raise MisfitError(f"it needs operator {number} of TensorFlow Lite's, which is not run here")
    if (version := code.integer(2, "i", 1)) > kind.version:
        raise MisfitError(f"it needs {kind.name} of version {version}; version {kind.version} is run")
    return kind


def _options(kind: Kind, table: Table) -> dict[str, int]:
    if not kind.fields:
        return {}
    options = table.table(4)
    if options is None or (found := table.integer(3, "B")) != kind.options:
        raise MisfitError("it has no options" if options is None else f"it has options of kind {found}")
    values = {name: options.integer(field.number, field.kind, field.default) for name, field in kind.fields.items()}
    for name, value in values.items():
        if value not in (valid := kind.fields[name].valid):
            raise MisfitError(f"{name} is {value}; valid: {', '.join(map(str, valid))}")
    return values


def _dtype(code: int, number: int) -> np.dtype[np.generic]:
    name = TYPES[code] if 0 <= code < len(TYPES) else f"number {code}"
    if name not in DTYPES:
        raise MisfitError(f"tensor {number} is of the type {name}; valid: {', '.join(DTYPES)}")
    return np.dtype(DTYPES[name])
