"""Rodrigues' formula and its derivative, with the batch as the last axis (see chain.py)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.fit.matrices import skew_vector, times_vector, transposed_times_vector

SMALL = 0.05
"""The squared angle below which series stand in for quotients that lose digits; their error is below 1e-11 there."""


class Turn(NamedTuple):
    """Rotation vectors, and the functions of their angle x that the formula and its derivative consist of.

    sine: sin x / x. versine: (1 - cos x) / x^2. cosine: cos x.
    """

    vectors: Float[Tensor, "joints 3 batch"]
    square: Float[Tensor, "joints batch"]
    sine: Float[Tensor, "joints batch"]
    versine: Float[Tensor, "joints batch"]
    cosine: Float[Tensor, "joints batch"]


def turn_by(vectors: Float[Tensor, "joints 3 batch"]) -> tuple[Float[Tensor, "joints 3 3 batch"], Turn]:
    """The matrices of rotation vectors: cos x 1 + sin x / x [v] + (1 - cos x) / x^2 v v^T."""
    square = (vectors * vectors).sum(1)
    half = 0.5 * square.clamp(min=1e-30).sqrt()
    # From the half angle, since 1 - cos x loses digits.
    ratio = torch.sin(half) / half
    sine, versine = ratio * torch.cos(half), 0.5 * ratio * ratio
    cosine = 1 - square * versine
    matrices = (versine[:, None] * vectors)[:, :, None] * vectors[:, None]
    scaled = sine[:, None] * vectors
    flat = matrices.view(len(vectors), 9, vectors.shape[-1])
    flat[:, 0::4] += cosine[:, None]
    flat[:, 7] += scaled[:, 0]
    flat[:, 5] -= scaled[:, 0]
    flat[:, 2] += scaled[:, 1]
    flat[:, 6] -= scaled[:, 1]
    flat[:, 3] += scaled[:, 2]
    flat[:, 1] -= scaled[:, 2]
    return matrices, Turn(vectors, square, sine, versine, cosine)


def pull_back_turn(turn: Turn, gradient: Float[Tensor, "joints 3 3 batch"]) -> Float[Tensor, "joints 3 batch"]:
    """The gradient of a scalar by the rotation vectors, from that by their matrices' entries."""
    v, square, sine, versine, cosine = turn
    trace = gradient.view(len(v), 9, v.shape[-1])[:, 0::4].sum(1)
    skew = skew_vector(gradient)
    both = times_vector(gradient, v)
    stretched = (both * v).sum(1)
    both += transposed_times_vector(gradient, v)
    # The derivatives of sine and versine by the angle, over the angle.
    small = square < SMALL
    safe = torch.where(small, 1.0, square)
    by_sine = torch.where(
        small, -1 / 3 + square * (1 / 30 + square * (-1 / 840 + square / 45360)), (cosine - sine) / safe
    )
    by_versine = torch.where(
        small, -1 / 12 + square * (1 / 180 + square * (-1 / 6720 + square / 453600)), (sine - 2 * versine) / safe
    )
    along = by_sine * (skew * v).sum(1) + by_versine * stretched - sine * trace
    return sine[:, None] * skew + versine[:, None] * both + along[:, None] * v
