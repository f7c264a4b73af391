"""Progress of long work, on stderr: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_EVERY_S = 5.0
"""Seconds between two lines where there is no terminal."""


class Advance(Protocol):
    """Takes the number of units just done, and what is to be said of the last one, such as "2 hands"."""

    def __call__(self, count: int, note: str = "") -> None:
        """Show it."""


@contextmanager
def progress(
    description: str, total: int | None, unit: str, *, done: int = 0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Advance]:
    """Show how far a piece of work is; yields the function to call with the number of units just done.

    total: None where nobody knows it. unit: a plural noun, such as "images". done: units done before, which do not
    count for the rate. clock: seconds; tests pass their own.
    Work that ends with an exception is not reported as done.
    """
    shown = _bar if sys.stderr.isatty() else _lines
    with shown(description, total, unit, done, clock) as advance:
        yield advance


@contextmanager
def _lines(
    description: str, total: int | None, unit: str, before: int, clock: Callable[[], float]
) -> Iterator[Advance]:
    start = last = clock()
    done = before
    of = "" if total is None else f"/{total}"

    def advance(count: int, note: str = "") -> None:
        nonlocal done, last
        done += count
        now = clock()
        if now - last >= LINE_EVERY_S and (total is None or done < total):
            last = now
            rate = (done - before) / (now - start)
            left = f", {_duration((total - done) / rate)} left" if rate > 0 and total is not None else ""
            more = f", {note}" if note else ""
            _say(f"{description}: {done}{of} {unit}, {_rate(rate, unit)}{left}{more}")

    yield advance
    seconds = clock() - start
    rate_text = f" ({_rate((done - before) / seconds, unit)})" if seconds > 0 else ""
    _say(f"{description}: {done}{of} {unit} in {_duration(seconds)}{rate_text}")


@contextmanager
def _bar(description: str, total: int | None, unit: str, before: int, clock: Callable[[], float]) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    from hmr_core.cli.terminal import terminal, text_column

    columns = (
        text_column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        text_column("{task.fields[rate]}"),
        TimeElapsedColumn(),
        text_column("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal(stderr=True)) as bar:
        task = bar.add_task(description, total=total, completed=before, rate=unit)
        start = clock()
        done = 0

        def advance(count: int, note: str = "") -> None:
            nonlocal done
            done += count
            seconds = clock() - start
            rate = _rate(done / seconds, unit) if seconds > 0 else unit
            bar.update(task, advance=count, rate=f"{rate}, {note}" if note else rate)

        yield advance


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _rate(per_second: float, unit: str) -> str:
    return f"{per_second:.{0 if per_second >= 100 else 1}f} {unit}/s"


def _duration(seconds: float) -> str:
    """12.3 s, 4:05, 1:04:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
