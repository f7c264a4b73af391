"""Which hand of a frame is which hand of the frames before: the assignment that costs least."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


def cheapest_pairs(costs: Float64[ndarray, "rows columns"]) -> list[tuple[int, int]]:
    """Pairs of a row and a column, each in one pair at most, as many as can be, of the least sum among these.

    costs: infinite where two cannot be a pair. Pairs come by their rows. Source: the shortest augmenting paths of
    Jonker and Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear Assignment Problems"
    (Computing 38, 1987).
    """
    rows, columns = costs.shape
    finite = costs[np.isfinite(costs)]
    if not len(finite):
        return []
    # A row that finds no partner takes a column of its own, which costs more than any change of pairs could save.
    alone = 1.0 + 2 * (rows + columns) * float(np.abs(finite).max())
    padded = np.hstack([np.where(np.isfinite(costs), costs, 2 * alone), np.full((rows, rows), alone)])
    partner = _assign(padded)
    return [(row, column) for row, column in enumerate(partner) if column < columns and np.isfinite(costs[row, column])]


def _assign(costs: Float64[ndarray, "rows columns"]) -> list[int]:
    """The column of each row in the cheapest assignment of all rows; there are at least as many columns as rows."""
    rows, columns = costs.shape
    row_price, column_price = [0.0] * rows, [0.0] * columns
    row_of: list[int | None] = [None] * columns
    for start in range(rows):
        # The shortest path, by reduced costs, from the new row to a free column.
        distance, before, done = [math.inf] * columns, [-1] * columns, [False] * columns
        row, reached, column = start, 0.0, -1
        while True:
            for j in range(columns):
                if not done[j]:
                    through = reached + costs[row, j] - row_price[row] - column_price[j]
                    if through < distance[j]:
                        distance[j], before[j] = through, column
            column = min((j for j in range(columns) if not done[j]), key=distance.__getitem__)
            done[column], reached = True, distance[column]
            if (next_row := row_of[column]) is None:
                break
            row = next_row
        for j in range(columns):
            if done[j]:
                column_price[j] += distance[j] - reached
                if (owner := row_of[j]) is not None:
                    row_price[owner] += reached - distance[j]
        row_price[start] += reached
        while column != -1:
            previous = before[column]
            row_of[column] = start if previous == -1 else row_of[previous]
            column = previous
    found = [-1] * rows
    for j, owner in enumerate(row_of):
        if owner is not None:
            found[owner] = j
    return found
