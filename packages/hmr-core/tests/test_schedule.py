"""The learning rate of every step, by hand and against sums in decimal numbers."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import pytest

from hmr_core.plugins.recipes import TrainConfig
from hmr_core.training.schedule import learning_rate, warmup_note

STEPS = 10
"""Of an epoch."""


def rates(**options: Any) -> list[float]:
    """The rate of every step of a run, from the first."""
    config = TrainConfig(batch_size=1, **options)
    return [
        learning_rate(config, epoch, (epoch - 1) * STEPS + step, STEPS)
        for epoch in range(1, config.epochs + 1)
        for step in range(1, STEPS + 1)
    ]


def cosine(share: Decimal) -> Decimal:
    """The cosine of a share of half a turn, by its series, to 30 digits."""
    getcontext().prec = 40
    angle = share * Decimal("3.14159265358979323846264338327950288419716939937510")
    term = total = Decimal(1)
    for number in range(1, 30):
        term *= -angle * angle / (2 * number * (2 * number - 1))
        total += term
    return total


def test_a_milestone_takes_effect_after_its_epoch() -> None:
    found = rates(epochs=100, learning_rate=1e-3, milestones=(30, 60))
    assert [found[(epoch - 1) * STEPS] for epoch in (1, 30, 31, 60, 61)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    )


def test_the_cosine_falls_to_zero_or_to_its_floor() -> None:
    found = rates(epochs=10, learning_rate=1e-3, schedule="cosine")
    assert found[0] == 1e-3
    assert found[50] == pytest.approx(5e-4)
    assert 0 < found[-1] < 1e-6
    floor = rates(epochs=10, learning_rate=1e-3, schedule="cosine", final_learning_rate=2e-4)
    assert floor[0] == 1e-3
    assert floor[50] == pytest.approx(6e-4)
    assert 2e-4 < floor[-1] < 2.01e-4


@pytest.mark.parametrize("warmup", [0, 7])
def test_the_cosine_is_that_of_the_series(warmup: int) -> None:
    found = rates(epochs=3, learning_rate=4e-3, schedule="cosine", final_learning_rate=1e-4, warmup_steps=warmup)
    high, low, total = Decimal("4e-3"), Decimal("1e-4"), 3 * STEPS - warmup
    for number, rate in enumerate(found[warmup:]):
        expected = low + (high - low) / 2 * (1 + cosine(Decimal(number) / total))
        assert rate == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("schedule", ["multistep", "cosine"])
def test_a_warm_up_rises_in_a_straight_line_to_the_full_rate(schedule: str) -> None:
    found = rates(epochs=2, learning_rate=1e-2, schedule=schedule, warmup_steps=5)
    assert found[:6] == pytest.approx([2e-3, 4e-3, 6e-3, 8e-3, 1e-2, 1e-2])
    assert all(rate <= 1e-2 for rate in found)


def test_milestones_are_counted_from_the_start_with_a_warm_up_too() -> None:
    found = rates(epochs=3, learning_rate=1e-2, milestones=(1,), warmup_steps=12)
    assert found[9:13] == pytest.approx([1e-2 * 10 / 12, 1e-3 * 11 / 12, 1e-3, 1e-3])


def test_a_warm_up_longer_than_the_run_is_noted() -> None:
    found = rates(epochs=1, learning_rate=1e-2, schedule="cosine", warmup_steps=20)
    assert found[-1] == pytest.approx(5e-3)
    config = TrainConfig(epochs=1, batch_size=1, warmup_steps=20)
    assert warmup_note(config, 20) is None
    assert warmup_note(config, 10) == (
        "train.warmup_steps is 20, and the run has 10 steps: the rate does not reach train.learning_rate"
    )
