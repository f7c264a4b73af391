"""Files are read whole or refused by name: no damaged one crashes the reader, keeps it busy, or takes memory."""

from __future__ import annotations

import re
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError
from hmr_mediapipe.files import HAND, PALM
from hmr_mediapipe.flatbuffer import FlatbufferError
from hmr_mediapipe.network import Network
from hmr_mediapipe.operators import MisfitError
from hmr_mediapipe.tflite import parse_graph, read_graph

Small = Callable[..., bytes]


@pytest.fixture(scope="module")
def small(writer: ModuleType) -> Small:
    """Makes a file: a convolution, its weights of float16, a sum. Whatever is named is put in the place of its own."""

    def make(tensors: dict[int, Any] | None = None, operators: dict[int, Any] | None = None, **given: Any) -> bytes:
        weights = np.linspace(-1, 1, 36, dtype=np.float16).reshape(2, 3, 3, 2)
        listed = {
            0: writer.Tensor((1, 6, 6, 2), name="input"),
            1: writer.Tensor((2, 3, 3, 2), weights),
            2: writer.Tensor((2, 3, 3, 2)),
            3: writer.Tensor((2,), np.array([1, 2], np.float32)),
            4: writer.Tensor((1, 6, 6, 2)),
            5: writer.Tensor((1, 6, 6, 2), name="Identity"),
        }
        steps = {
            0: writer.Operator("DEQUANTIZE", (1,), (2,), version=2),
            1: writer.Operator("CONV_2D", (0, 2, 3), (4,), {1: ("i", 1), 2: ("i", 1), 3: ("b", 3)}),
            2: writer.Operator("ADD", (4, 0), (5,)),
        }
        arguments: dict[str, Any] = {"inputs": [0], "outputs": [5], **given}
        data: bytes = writer.tflite(
            list((listed | (tensors or {})).values()), list((steps | (operators or {})).values()), **arguments
        )
        return data

    return make


def test_a_graph_is_read_as_it_was_written(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "small.tflite"
    path.write_bytes(small())
    graph = read_graph(path)
    assert (graph.input, graph.outputs) == (0, {"Identity": 5})
    assert [operator.kind for operator in graph.operators] == ["CONV_2D", "ADD"]
    assert graph.operators[0].options == {
        "padding": 0, "stride_w": 1, "stride_h": 1, "activation": 3, "dilation_w": 1, "dilation_h": 1
    }  # fmt: skip
    assert graph.constants[2].dtype == np.float32
    np.testing.assert_array_equal(graph.constants[2].reshape(-1), np.linspace(-1, 1, 36, dtype=np.float16))


def test_the_networks_are_made_of_what_is_known(networks_folder_path: Path) -> None:
    names = [*PALM.values(), *HAND.values()]
    assert [len(read_graph(networks_folder_path / name).operators) for name in names] == [139, 119, 63, 65]


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """One to four bytes of a file changed, or one number of four bytes made a likely wrong one."""
    changed = bytearray(data)
    if random.random() < 0.3:
        place = 4 * int(random.integers(len(data) // 4))
        wrong = random.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, len(data), len(data) - place])
        changed[place : place + 4] = struct.pack("<I", int(wrong))
    else:
        for place in random.integers(len(data), size=random.integers(1, 5)):
            changed[place] = random.integers(256)
    return bytes(changed)


def test_no_damaged_file_does_anything_but_raise_an_error(small: Small, tmp_path: Path) -> None:
    data, random = small(), np.random.default_rng(7)
    files = [data[:size] for size in range(0, len(data), 9)] + [damaged(data, random) for _ in range(600)]
    path, said = tmp_path / "damaged.tflite", []
    for file in files:
        path.write_bytes(file)
        try:
            graph = read_graph(path)
        except HmrError as error:
            said.append(str(error))
        else:  # what is returned can be run
            with torch.inference_mode():
                Network(graph)(torch.zeros(2, *graph.shapes[graph.input][1:]))
    assert 200 < len(said) < len(files)
    begin, end = f"{path} is not a network of MediaPipe's, or is damaged: ", ". Get it again: hmr mediapipe fetch"
    assert [text for text in said if not (text.startswith(begin) and text.endswith(end))] == []


def test_a_damaged_file_takes_no_memory(small: Small) -> None:
    data, random = small(), np.random.default_rng(8)
    tracemalloc.start()
    try:
        for _ in range(60):
            with suppress(ValueError):
                parse_graph(damaged(data, random))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_no_damaged_network_does_either(networks_folder_path: Path) -> None:
    """The tables of a real file lie at its beginning and its end."""
    data, random = bytearray((networks_folder_path / HAND[True]).read_bytes()), np.random.default_rng(3)
    ends = [*range(0, 4000, 4), *range(len(data) - 40_000, len(data) - 4, 4)]
    for place in random.choice(ends, 12, replace=False):
        kept = data[place : place + 4]
        data[place : place + 4] = random.bytes(4)
        with suppress(FlatbufferError, MisfitError):
            parse_graph(bytes(data))
        data[place : place + 4] = kept


FOREIGN = {
    "empty": (b"", "it is empty"),
    "page": (b"<!doctype html><html>", "it is a web page"),
    "pack": (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file, such as a pack"),
    "picture": (b"\x89PNG" + bytes(100), "it is a picture (PNG)"),
    "zip": (b"PK\x03\x04" + bytes(100), "it is a zip file"),
    "text": (b"all of it\n", 'it does not have "TFL3" at byte 4'),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_named(tmp_path: Path, name: str) -> None:
    data, text = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(HmrError, match=re.escape(text)):
        read_graph(tmp_path / name)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.tflite", tmp_path):
        with pytest.raises(HmrError, match=re.escape(f"{path} cannot be read: ") + r".*hmr mediapipe fetch$"):
            read_graph(path)


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        parse_graph(data)
    assert type(caught.value).__name__ in ("MisfitError", "FlatbufferError")
    return str(caught.value)


def test_what_is_not_run_is_refused_by_name(small: Small, writer: ModuleType) -> None:
    of = writer.Operator
    assert refusal(small(version=4)) == "it is of version 4 of TensorFlow Lite's format; version 3 is read"
    assert "operator 18 of TensorFlow Lite's" in refusal(small(operators={2: of("MUL", (4, 0), (5,))}))
    assert 'the operator "Max9"' in refusal(small(operators={2: of("Max9", (4, 0), (5,))}))
    assert "needs ADD of version 5; version 1 is run" in refusal(small(operators={2: of("ADD", (4, 0), (5,), {}, 5)}))
    assert "tensor 0 is of the type INT8; valid: FLOAT32" in refusal(small({0: writer.Tensor((1, 6, 6, 2), type=9)}))
    assert "of the type number 77" in refusal(small({0: writer.Tensor((1, 6, 6, 2), type=77)}))
    assert "tensor 0 is computed as float16" in refusal(small({0: writer.Tensor((1, 6, 6, 2), type=1)}))
    tanh = of("ADD", (4, 0), (5,), {0: ("b", 4)})
    assert refusal(small(operators={2: tanh})) == "operator 2 (ADD): activation is 4; valid: 0"
    strides = of("CONV_2D", (0, 2, 3), (4,), {1: ("i", 3), 2: ("i", 1)})
    assert refusal(small(operators={1: strides})) == "operator 1 (CONV_2D): stride_w is 3; valid: 1, 2"
    dilated = of("CONV_2D", (0, 2, 3), (4,), {1: ("i", 1), 2: ("i", 1), 4: ("i", 2)})
    assert refusal(small(operators={1: dilated})) == "operator 1 (CONV_2D): dilation_w is 2; valid: 1"


def test_what_does_not_fit_together_is_refused(small: Small, writer: ModuleType) -> None:
    of, tensor = writer.Operator, writer.Tensor
    assert "ADD): its input 5 was not computed before" in refusal(small(operators={2: of("ADD", (5, 0), (5,))}))
    assert "names a tensor that is not there" in refusal(small(operators={2: of("ADD", (4, 99), (5,))}))
    assert "names a tensor that is not there" in refusal(small(operators={2: of("ADD", (4, -1), (5,))}))
    assert "lists 3 tensors where 2 are meant" in refusal(small(operators={2: of("ADD", (4, 0, 0), (5,))}))
    assert "makes tensor 4, which there is already" in refusal(small(operators={2: of("ADD", (4, 0), (4,))}))
    assert "its input 0 is not stored" in refusal(small(operators={0: of("DEQUANTIZE", (0,), (2,), version=2)}))
    assert "the file says (1, 6, 6, 3)" in refusal(small({4: tensor((1, 6, 6, 3))}))
    assert "its bias is 3, and should be 2" in refusal(small({3: tensor((3,), np.zeros(3, np.float32))}))
    assert "its weights are 2, and should have 4" in refusal(
        small(operators={1: of("CONV_2D", (0, 3, 3), (4,), {1: ("i", 1), 2: ("i", 1)})})
    )
    assert "it does not compute its outputs" in refusal(small(outputs=[2]))
    assert "it does not compute its outputs" in refusal(small(outputs=[]))
    assert "lists 2 tensors where 1 are meant" in refusal(small(inputs=[0, 4]))
    assert "its input is a constant" in refusal(small(inputs=[1]))
    assert "tensor 3 has 8 bytes, which do not make (5,)" in refusal(small({3: tensor((5,), np.zeros(2, np.float32))}))
    assert "tensor 0 has the shape" in refusal(small({0: tensor((1, 60000, 60000, 2))}))
    assert "tensor 0 has the shape" in refusal(small({0: tensor((1, -1, 6, 2))}))
    assert "tensor 0 has the shape" in refusal(small({0: tensor((1, 1, 1, 6, 2))}))


def test_a_list_that_is_longer_than_the_file_is_refused(small: Small) -> None:
    data = small()
    place = data.index(np.array([1, 2], "<f4").tobytes()) - 4  # how many bytes the bias has
    text = refusal(data[:place] + struct.pack("<I", 0x3FFFFFFF) + data[place + 4 :])
    assert text == f"the vector at byte {place} ends behind the file's end"


def test_many_tensors_cannot_share_bytes(writer: ModuleType) -> None:
    """Else a small file could make a large one in memory."""
    shared = {0: np.zeros(60_000, "u1")}
    tensors = [{0: np.array([15_000], "<i4"), 2: ("I", 1), 3: f"t{number}"} for number in range(1500)]
    graph = {0: tensors, 1: np.array([0], "<i4"), 2: np.array([0], "<i4"), 3: []}
    data = writer.flatbuffer({0: ("I", 3), 1: [], 2: [graph], 4: [{}, shared]}, b"TFL3")
    assert refusal(data) == "its tensors share their bytes"


def test_a_text_that_is_no_utf8_is_refused(small: Small) -> None:
    assert "is not UTF-8" in refusal(small().replace(b"Identity", b"\xff" * 8))
