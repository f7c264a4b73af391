"""What a model raises, told as an error of ours: which model, when, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hmr_core.errors import HmrError, out_of_memory

_ONE_VALUE = "Expected more than 1 value per channel"
"""How torch's batch norm begins when it is to train on one value a channel."""


@contextmanager
def failures_told(model: str, when: str, *, samples: int, device: str) -> Iterator[None]:
    """Turn what a model's forward, loss or backward pass raises into an HmrError.

    when: such as "at step 3 (epoch 1)". samples: in the batch. Errors of ours pass as they are.
    """
    try:
        yield
    except HmrError:
        raise
    except Exception as error:  # a model of a plugin may raise anything
        raise HmrError(_text(error, model, when, samples, device)) from error


def _text(error: Exception, model: str, when: str, samples: int, device: str) -> str:
    if out_of_memory(error):
        return (
            f"memory ran out on {device} {when}, with a batch of {samples}: {_first_line(error)}. "
            "Use a smaller --batch-size, or a smaller image_size where the model sees images."
        )
    if _ONE_VALUE in str(error):
        return (
            f'the batch norm of the model "{model}" has one value a channel {when}, on which it cannot train: train '
            "with --batch-size 2 or more."
        )
    return (
        f'the model "{model}" failed {when}: {type(error).__name__}: {_first_line(error)} '
        "(set HMR_DEBUG=1 for the traceback). See: hmr plugins"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
