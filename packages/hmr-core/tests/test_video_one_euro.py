"""The One-Euro filter: the paper's formulas, and what they must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hmr_core.errors import UsageError
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.inference.video.one_euro import PointFilter, RotationFilter
from hmr_core.inference.video.smoothing import Cutoff, Smoothing, smoothing_of, smoothing_options, weight

CUTOFF = Cutoff(1.2, 0.7)


def by_the_paper(values: list[float], times: list[float], least: float, beta: float) -> list[float]:
    """The filter of one number, as the paper's appendix has it, in plain Python."""
    filtered, speed = [values[0]], 0.0
    for i in range(1, len(values)):
        dt = times[i] - times[i - 1]

        def alpha(cutoff: float, dt: float = dt) -> float:
            return 1 / (1 + (1 / (2 * math.pi * cutoff)) / dt)

        raw = (values[i] - filtered[-1]) / dt
        speed = alpha(1.0) * raw + (1 - alpha(1.0)) * speed
        a = alpha(least + beta * abs(speed))
        filtered.append(a * values[i] + (1 - a) * filtered[-1])
    return filtered


def signal(count: int = 40) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(0)
    times = np.cumsum(generator.uniform(0.01, 0.08, count))  # of a variable frame rate
    return (np.sin(times * 3) + generator.normal(0, 0.1, count)).tolist(), times.tolist()


def filtered(part: PointFilter | RotationFilter, values: np.ndarray, times: list[float]) -> np.ndarray:
    steps = np.diff(times, prepend=times[0] - 1)
    return np.array([part.step(value, float(dt)) for value, dt in zip(values, steps, strict=True)])


def test_a_number_is_filtered_as_the_paper_does() -> None:
    values, times = signal()
    made = filtered(PointFilter(CUTOFF), np.array(values)[:, None, None], times)[:, 0, 0]
    np.testing.assert_allclose(made, by_the_paper(values, times, 1.2, 0.7), rtol=0, atol=1e-12)
    assert np.abs(made - values).max() > 0.05


def test_a_rotation_about_an_axis_is_filtered_as_its_angle() -> None:
    values, times = signal()
    axis = np.array([1.0, -2, 2]) / 3
    turns = np.array(values)[:, None, None] * axis
    made = filtered(RotationFilter(CUTOFF), turns, times)[:, 0]
    np.testing.assert_allclose(made, np.outer(by_the_paper(values, times, 1.2, 0.7), axis), rtol=0, atol=1e-12)


def test_a_rotation_of_the_camera_rotates_what_is_filtered() -> None:
    generator = np.random.default_rng(1)
    turns = np.cumsum(generator.normal(0, 0.4, (30, 4, 3)), axis=0)
    camera = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64))
    turned = matrix_to_axis_angle(camera @ axis_angle_to_matrix(torch.from_numpy(turns))).numpy()
    times = (np.arange(30) / 30).tolist()
    plain, other = (filtered(RotationFilter(CUTOFF), each, times) for each in (turns, turned))
    np.testing.assert_allclose(
        axis_angle_to_matrix(torch.from_numpy(other)),
        camera @ axis_angle_to_matrix(torch.from_numpy(plain)),
        rtol=0,
        atol=1e-10,
    )


def test_a_turn_beyond_pi_goes_on_and_does_not_swing_back() -> None:
    angles = np.linspace(2.8, 3.6, 30)
    turns = matrix_to_axis_angle(axis_angle_to_matrix(torch.from_numpy(angles[:, None, None] * np.array([0, 0, 1.0]))))
    made = filtered(RotationFilter(Cutoff(2.0, 1.0)), turns.numpy(), (np.arange(30) / 30).tolist())
    steps = np.linalg.norm(made[1:, 0] - made[:-1, 0], axis=-1)
    assert (np.minimum(steps, 2 * np.pi - steps) < 0.05).all()
    assert np.mod(made[-1, 0, 2], 2 * np.pi) == pytest.approx(3.55, abs=0.05)


@pytest.mark.parametrize("kind", [PointFilter, RotationFilter])
def test_what_rests_stays_and_a_state_goes_on_to_the_bit(kind: type[PointFilter]) -> None:
    rest = np.tile(np.array([[0.3, -0.2, 0.9]]), (5, 1))
    resting = kind(CUTOFF)
    for _ in range(5):
        np.testing.assert_allclose(resting.step(rest, 0.03), rest, rtol=0, atol=1e-15)
    values = np.random.default_rng(2).normal(0, 1, (20, 5, 3))
    one, other = kind(CUTOFF), kind(CUTOFF)
    for value in values[:10]:
        one.step(value, 0.03)
    other.restore(one.state())
    for value in values[10:]:
        np.testing.assert_array_equal(one.step(value, 0.03), other.step(value, 0.03))


def test_points_of_twice_the_size_are_filtered_alike() -> None:
    values = np.random.default_rng(3).normal(0, 1, (20, 5, 3))
    one, twice = PointFilter(CUTOFF), PointFilter(CUTOFF)
    for value in values:
        np.testing.assert_allclose(2 * one.step(value, 0.03, 0.1), twice.step(2 * value, 0.03, 0.2), atol=1e-14)


def test_weights_grow_with_the_cutoff_and_with_time() -> None:
    assert weight(1.0, 1 / (2 * math.pi)) == pytest.approx(0.5)
    assert weight(2.0, 0.03) > weight(1.0, 0.03) < weight(1.0, 0.06)


def test_options_are_told_what_they_take() -> None:
    assert smoothing_options(("rotation_cutoff=0.5",)) == Smoothing(rotation_cutoff=0.5)
    assert (smoothing_of(True), smoothing_of(False)) == (Smoothing(), None)
    with pytest.raises(UsageError, match="rotation_cutoff"):
        smoothing_options(("rotation_cutof=0.5",))
    with pytest.raises(UsageError, match="greater than 0"):
        smoothing_options(("place_cutoff=0",))
