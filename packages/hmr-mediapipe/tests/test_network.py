"""Each operator against a float64 oracle of its definition, written out plainly; and what a graph makes of them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_mediapipe.network import Added, Network
from hmr_mediapipe.operators import SAME, VALID
from hmr_mediapipe.tflite import parse_graph

Array = ndarray[Any, Any]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def run(data: bytes, image: Array) -> Array:
    """What a file's network gives for a batch of images."""
    with torch.inference_mode():
        (given,) = Network(parse_graph(data))(torch.from_numpy(image.astype(np.float32))).values()
    return given.numpy().astype(np.float64)


def padded(image: Array, kernel: int, stride: int, padding: int) -> Array:
    """An image with zeros around it, so that a window at every stride-th place gives ceil(size / stride) results."""
    if padding == VALID:
        return image
    borders = []
    for size in image.shape[1:3]:
        count = -(-size // stride)
        total = max(0, (count - 1) * stride + kernel - size)
        borders.append((total // 2, total - total // 2))
    return np.pad(image, [(0, 0), *borders, (0, 0)])


def convolve(image: Array, weights: Array, bias: Array, stride: int, padding: int, by_channel: bool) -> Array:
    """weights: (outputs, height, width, inputs), or by channel (1, height, width, channels)."""
    kernel = weights.shape[1]
    image = padded(image, kernel, stride, padding)
    rows, columns = ((size - kernel) // stride + 1 for size in image.shape[1:3])
    result = np.zeros((len(image), rows, columns, len(bias)))
    for y in range(rows):
        for x in range(columns):
            window = image[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            product = window * weights if by_channel else window[:, None] * weights[None]
            result[:, y, x] = product.sum((1, 2) if by_channel else (2, 3, 4)) + bias
    return result


@pytest.mark.parametrize("activation", [0, 3])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 6), (7, 10)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2), (2, 2), (4, 1), (1, 2)])
@pytest.mark.parametrize("by_channel", [False, True])
def test_a_convolution(
    writer: ModuleType,
    random: np.random.Generator,
    by_channel: bool,
    kernel: int,
    stride: int,
    height: int,
    width: int,
    padding: int,
    activation: int,
) -> None:
    image = random.normal(size=(2, height, width, 3)).astype(np.float32)
    shape = (1, kernel, kernel, 3) if by_channel else (4, kernel, kernel, 3)
    weights = (3 * random.normal(size=shape)).astype(np.float32)
    bias = (3 * random.normal(size=shape[3] if by_channel else shape[0])).astype(np.float32)
    expected = convolve(*(array.astype(np.float64) for array in (image, weights, bias)), stride, padding, by_channel)
    if activation:
        assert expected.min() < 0
        expected = np.minimum(np.maximum(expected, 0), 6)
    number = 4 if by_channel else 3
    options = {0: ("b", padding), 1: ("i", stride), 2: ("i", stride), number: ("b", activation)}
    data = writer.tflite(
        [
            writer.Tensor((1, height, width, 3)),
            writer.Tensor(shape, weights),
            writer.Tensor(bias.shape, bias),
            writer.Tensor((1, *expected.shape[1:])),
        ],
        [writer.Operator("DEPTHWISE_CONV_2D" if by_channel else "CONV_2D", (0, 1, 2), (3,), options)],
        [0],
        [3],
    )
    np.testing.assert_allclose(run(data, image), expected, rtol=1e-5, atol=3e-5)


def test_a_convolution_of_unequal_strides(writer: ModuleType, random: np.random.Generator) -> None:
    image = random.normal(size=(1, 6, 6, 1)).astype(np.float32)
    data = writer.tflite(
        [
            writer.Tensor((1, 6, 6, 1)),
            writer.Tensor((1, 1, 1, 1), np.ones((1, 1, 1, 1), np.float32)),
            writer.Tensor((1,), np.zeros(1, np.float32)),
            writer.Tensor((1, 3, 6, 1)),
        ],
        [writer.Operator("CONV_2D", (0, 1, 2), (3,), {0: ("b", 1), 1: ("i", 1), 2: ("i", 2)})],
        [0],
        [3],
    )
    np.testing.assert_allclose(run(data, image), image[:, ::2], rtol=1e-6)


def single(
    writer: ModuleType,
    kind: str,
    given: tuple[int, ...],
    made: tuple[int, ...],
    constants: tuple[Array, ...] = (),
    options: dict[int, Any] | None = None,
    version: int = 1,
) -> bytes:
    """A file with one operator of one image."""
    stored = [writer.Tensor(constant.shape, constant) for constant in constants]
    tensors = [writer.Tensor(given), *stored, writer.Tensor(made)]
    numbers = range(len(tensors) - 1)
    operator = writer.Operator(kind, numbers, (len(tensors) - 1,), options or {}, version)
    data: bytes = writer.tflite(tensors, [operator], [0], [len(tensors) - 1])
    return data


def test_prelu(writer: ModuleType, random: np.random.Generator) -> None:
    image, slopes = random.normal(size=(3, 4, 5, 6)), np.linspace(-1, 2, 6, dtype=np.float32)
    expected = np.where(image > 0, image, image * slopes)
    data = single(writer, "PRELU", (1, 4, 5, 6), (1, 4, 5, 6), (slopes.reshape(1, 1, 6),))
    np.testing.assert_allclose(run(data, image), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "padding"), [(6, 8, SAME), (7, 9, VALID), (6, 4, VALID)])
def test_max_pool(writer: ModuleType, random: np.random.Generator, height: int, width: int, padding: int) -> None:
    image = random.normal(size=(2, height, width, 3)) - 3
    even = image[:, : height // 2 * 2, : width // 2 * 2].reshape(2, height // 2, 2, width // 2, 2, 3)
    options = {0: ("b", padding), **dict.fromkeys((1, 2, 3, 4), ("i", 2))}
    made = (1, height // 2, width // 2, 3)
    data = single(writer, "MAX_POOL_2D", (1, height, width, 3), made, options=options)
    np.testing.assert_allclose(run(data, image), even.max((2, 4)), rtol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(8, 10), (4, 5), (7, 11), (2, 3), (1, 1)])
def test_resize_bilinear(writer: ModuleType, random: np.random.Generator, rows: int, columns: int) -> None:
    """Pixel i of the result has its centre at (i + 0.5) * scale - 0.5; beyond the outermost centres nothing changes."""
    image = random.normal(size=(2, 4, 5, 3))
    expected = np.zeros((2, rows, columns, 3))
    for i in range(rows):
        for j in range(columns):
            y, x = max((i + 0.5) * 4 / rows - 0.5, 0), max((j + 0.5) * 5 / columns - 0.5, 0)
            (top, v), (left, u) = (int(y), y % 1), (int(x), x % 1)
            bottom, right = min(top + 1, 3), min(left + 1, 4)
            above = image[:, top, left] * (1 - u) + image[:, top, right] * u
            below = image[:, bottom, left] * (1 - u) + image[:, bottom, right] * u
            expected[:, i, j] = above * (1 - v) + below * v
    size = np.array([rows, columns], np.int32)
    data = single(writer, "RESIZE_BILINEAR", (1, 4, 5, 3), (1, rows, columns, 3), (size,), {3: ("B", 1)}, 3)
    np.testing.assert_allclose(run(data, image), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("more", [0, 1, 5])
def test_pad(writer: ModuleType, random: np.random.Generator, more: int) -> None:
    image = random.normal(size=(2, 4, 5, 3))
    sizes = np.array([[0, 0], [0, 0], [0, 0], [0, more]], np.int32)
    data = single(writer, "PAD", (1, 4, 5, 3), (1, 4, 5, 3 + more), (sizes,))
    expected = np.concatenate([image, np.zeros((2, 4, 5, more))], 3)
    np.testing.assert_allclose(run(data, image), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 20, 3), (1, -1, 6), (1, 60)])
def test_reshape(writer: ModuleType, random: np.random.Generator, shape: tuple[int, ...]) -> None:
    image = random.normal(size=(2, 4, 5, 3))
    expected = image.reshape(2, *shape[1:])
    made = (1, *expected.shape[1:])
    data = single(writer, "RESHAPE", (1, 4, 5, 3), made, (np.array(shape, np.int32),))
    np.testing.assert_allclose(run(data, image), expected, rtol=1e-6)


def test_mean(writer: ModuleType, random: np.random.Generator) -> None:
    image = random.normal(size=(2, 4, 5, 3))
    data = single(writer, "MEAN", (1, 4, 5, 3), (1, 3), (np.array([1, 2], np.int32),))
    np.testing.assert_allclose(run(data, image), image.mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_logistic(writer: ModuleType) -> None:
    image = np.linspace(-90, 90, 24).reshape(2, 2, 2, 3)
    data = single(writer, "LOGISTIC", (1, 2, 2, 3), (1, 2, 2, 3))
    np.testing.assert_allclose(run(data, image), 1 / (1 + np.exp(-image)), rtol=1e-5, atol=1e-30)


def test_fully_connected_and_dequantize_and_concatenation(writer: ModuleType, random: np.random.Generator) -> None:
    """Rows that are joined in the order in which they are named; weights of float16 are those numbers exactly."""
    image = random.normal(size=(3, 1, 1, 4))
    weights = random.normal(size=(5, 4)).astype(np.float16)
    bias = random.normal(size=5).astype(np.float32)
    tensors = [
        writer.Tensor((1, 1, 1, 4)),
        writer.Tensor((2,), np.array([1, 4], np.int32)),
        writer.Tensor((1, 4)),
        writer.Tensor((5, 4), weights),
        writer.Tensor((5, 4)),
        writer.Tensor((5,), bias),
        writer.Tensor((1, 5)),
        writer.Tensor((1, 9)),
    ]
    operators = [
        writer.Operator("DEQUANTIZE", (3,), (4,), version=2),
        writer.Operator("RESHAPE", (0, 1), (2,)),
        writer.Operator("FULLY_CONNECTED", (2, 4, 5), (6,)),
        writer.Operator("CONCATENATION", (6, 2), (7,), {0: ("i", 1)}),
    ]
    rows = image.reshape(3, 4)
    expected = np.concatenate([rows @ weights.astype(np.float64).T + bias, rows], 1)
    np.testing.assert_allclose(run(writer.tflite(tensors, operators, [0], [7]), image), expected, rtol=1e-5, atol=1e-6)


def sums(writer: ModuleType, *operators: Any, outputs: tuple[int, ...] = (6,)) -> bytes:
    """A file with a convolution by 2, whose result is tensor 3, and sums of it."""
    image = writer.Tensor((1, 2, 2, 1))
    weights, bias = np.full((1, 1, 1, 1), 2, np.float32), np.zeros(1, np.float32)
    tensors = [image, writer.Tensor((1, 1, 1, 1), weights), writer.Tensor((1,), bias), *[image] * 4]
    convolution = writer.Operator("CONV_2D", (0, 1, 2), (3,), {0: ("b", 1), 1: ("i", 1), 2: ("i", 1)})
    data: bytes = writer.tflite(tensors, [convolution, *operators], [0], outputs)
    return data


@pytest.mark.parametrize("order", [(0, 3), (3, 0)])
def test_add_takes_the_place_of_what_nobody_else_needs(writer: ModuleType, order: tuple[int, int]) -> None:
    image = np.arange(4.0).reshape(1, 2, 2, 1)
    data = sums(writer, writer.Operator("ADD", order, (6,)))
    network = Network(parse_graph(data))
    assert [operator.in_place for operator in network.operators if isinstance(operator, Added)] == [True]
    given = torch.from_numpy(image.astype(np.float32))
    (result,) = network(given).values()
    np.testing.assert_allclose(result.numpy(), 3 * image)
    np.testing.assert_array_equal(given.numpy(), image)


def test_add_leaves_what_is_needed_again(writer: ModuleType) -> None:
    image = np.arange(4.0).reshape(1, 2, 2, 1)
    once = writer.Operator("ADD", (3, 0), (4,))  # 3 times the image
    twice = writer.Operator("ADD", (4, 3), (5,))  # 5 times
    doubled = writer.Operator("ADD", (5, 5), (6,))
    np.testing.assert_allclose(run(sums(writer, once, twice, doubled), image), 10 * image)


def test_what_is_given_back_is_not_added_to(writer: ModuleType) -> None:
    image = torch.arange(4.0).reshape(1, 2, 2, 1)
    data = sums(writer, writer.Operator("ADD", (3, 0), (6,)), outputs=(3, 6))
    given = Network(parse_graph(data))(image)
    assert torch.equal(given["tensor3"], 2 * image)
    assert torch.equal(given["tensor6"], 3 * image)
