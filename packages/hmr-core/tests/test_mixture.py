"""What an epoch draws of several packs: shares, passes, order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hmr_core.data.mixture import Draw, draw_epoch, fill_shares, share_counts
from hmr_core.errors import UsageError

ROWS = [np.arange(100, 107), np.array([3, 1, 2]), np.arange(40)]
COUNTS = [5, 7, 12]
NAMES = ["a", "b", "c"]


def of(draw: Draw, source: int) -> list[tuple[int, int]]:
    """What is drawn of a source, as pairs of turn and row."""
    own = draw.source == source
    return list(zip(draw.turn[own].tolist(), draw.row[own].tolist(), strict=True))


def test_shares_that_are_not_given_divide_the_rest_by_size() -> None:
    assert fill_shares(NAMES, [10, 30, 60], [None] * 3) == pytest.approx([0.1, 0.3, 0.6])
    assert fill_shares(NAMES, [10, 30, 60], [None, 0.5, None]) == pytest.approx([0.5 / 7, 0.5, 3 / 7])
    assert fill_shares(NAMES, [10, 30, 60], [0.7, 0.2, 0.1]) == [0.7, 0.2, 0.1]  # which are not 1 in floats
    assert fill_shares(["a"], [10], [None]) == [1]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0.75, 0.5, None), "the shares 0.75 + 0.5 are 1.25 in all: of the samples of an epoch, 1 is all there is."),
        ((0.75, 0.25, None), "the shares 0.75 + 0.25 leave nothing for c: give less than 1 in all."),
        (
            (0.5, 0.125, 0.125),
            "the shares 0.5 + 0.125 + 0.125 are 0.75 in all, and no pack is left to take the rest: make them 1, or "
            "give one pack without a share.",
        ),
        ((None, 0.0, None), "a share of 0 for b: a share is above 0, and 1 at most."),
        ((None, float("nan"), None), "a share of nan for b: a share is above 0, and 1 at most."),
        ((None, 25.0, None), "a share of 25 for b: a share is above 0, and 1 at most."),
    ],
)
def test_shares_that_do_not_make_an_epoch_are_refused(given: tuple[float | None, ...], text: str) -> None:
    with pytest.raises(UsageError) as raised:
        fill_shares(NAMES, [10, 30, 60], given)
    assert str(raised.value) == text


def test_counts_are_the_shares_to_less_than_one_sample() -> None:
    assert share_counts([0.25, 0.75], 100) == [25, 75]
    assert share_counts([0.29, 0.71], 100) == [29, 71]  # 28.999999999999996 in floats
    assert share_counts([1 / 3, 1 / 3, 1 / 3], 10) == [4, 3, 3]
    assert share_counts([0.05, 0.475, 0.475], 10) == [0, 5, 5]
    generator = np.random.default_rng(0)
    for _ in range(200):
        sizes = generator.integers(1, 1000, generator.integers(1, 6)).tolist()
        samples = int(generator.integers(1, 5000))
        counts = share_counts(fill_shares(list(map(str, sizes)), sizes, [None] * len(sizes)), samples)
        assert sum(counts) == samples
        for size, count in zip(sizes, counts, strict=True):
            assert abs(count - Fraction(size * samples, sum(sizes))) < 1
        assert share_counts([size / sum(sizes) for size in sizes], sum(sizes)) == sizes


def test_an_epoch_has_the_counts_that_it_should_in_an_order_that_mixes_them() -> None:
    for epoch in range(1, 30):
        draw = draw_epoch(ROWS, COUNTS, 3, epoch)
        assert np.bincount(draw.source).tolist() == COUNTS
        for source, rows in enumerate(ROWS):
            assert {row for _, row in of(draw, source)} <= set(rows.tolist())
    thousands = draw_epoch([np.arange(9000), np.arange(50)], [6000, 2000], 0, 1)
    shares = thousands.source.reshape(8, 1000).mean(1)
    assert np.all(np.abs(shares - 0.25) < 0.05)  # 3.65 standard deviations


def test_no_sample_comes_again_before_all_of_its_source_came() -> None:
    draws = [draw_epoch(ROWS, COUNTS, 3, epoch) for epoch in range(1, 43)]
    for source, (rows, count) in enumerate(zip(ROWS, COUNTS, strict=True)):
        turns: dict[int, list[int]] = {}  # in the order in which they are begun
        for draw in draws:
            for turn, row in of(draw, source):
                turns.setdefault(turn, []).append(row)
        assert [*turns] == [*range(1, 1 + -(-42 * count // len(rows)))]
        *whole, last = turns.values()
        assert all(sorted(turn) == sorted(rows.tolist()) for turn in whole)
        assert len(set(last)) == len(last)
        assert len({tuple(turn) for turn in whole}) > 1  # in another order each time


def test_a_draw_is_a_function_of_its_arguments() -> None:
    def same(one: Draw, other: Draw) -> bool:
        return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("source", "turn", "row"))

    draw = draw_epoch(ROWS, COUNTS, 3, 9)
    assert same(draw, draw_epoch(ROWS, COUNTS, 3, 9))
    assert not same(draw, draw_epoch(ROWS, COUNTS, 4, 9))
    assert not same(draw, draw_epoch(ROWS, COUNTS, 3, 10))
    two = draw_epoch([np.arange(50)] * 2, [50, 50], 0, 1)
    assert of(two, 0) != of(two, 1)  # each source has an order of its own
