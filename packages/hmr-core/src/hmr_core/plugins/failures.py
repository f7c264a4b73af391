"""Turn what a model or a solver raises into an error of ours, which says who raised it, when, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hmr_core.errors import HmrError, Option, out_of_memory

_ONE_VALUE = "Expected more than 1 value per channel"
"""How torch's batch norm begins when it is to train on one value a channel."""


@contextmanager
def failures_told(who: str, when: str, *, device: str = "", samples: int | None = None) -> Iterator[None]:
    """Turn whatever a plugin's model or solver raises into an HmrError; errors of ours pass as they are.

    who, when: such as 'the model "rle"' and "at step 3 (epoch 1)". device: where, if that is known. samples: in the
    batch, if there is one.
    """
    try:
        yield
    except HmrError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise _told(error, who, when, device, samples) from error


def _told(error: Exception, who: str, when: str, device: str, samples: int | None) -> HmrError:
    if out_of_memory(error):
        batch = "" if samples is None else f", with a batch of {samples}"
        fewer = () if samples is None else ("a smaller ", Option("batch_size"), ", or ")
        return HmrError(
            f"memory ran out{f' on {device}' if device else ''}: {who} {when}{batch}: {_first_line(error)}.",
            "Use ",
            *fewer,
            "a smaller model or image_size (",
            Option("set"),
            ").",
        )
    if _ONE_VALUE in str(error):
        return HmrError(
            f"the batch norm of {who} has one value a channel {when}, on which it cannot train.",
            "Train with ",
            Option("batch_size", 2),
            " or more.",
        )
    return HmrError(
        f"{who} failed {when}: {type(error).__name__}: {_first_line(error)} (set HMR_DEBUG=1 for the traceback).",
        "`hmr plugins` says which package it is from.",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
