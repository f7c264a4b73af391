"""The errors a user can act on. Each says what was given, what is valid, and what to run next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HmrError(Exception):
    """The work could not be done; the command ends with exit status 1."""

    exit_code = 1


class UsageError(HmrError):
    """The command was asked for something that does not exist; exit status 2."""

    exit_code = 2


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """A question that names the closest valid name, with a space before it; empty when none is close."""
    names = {name.lower(): name for name in valid}
    close = [names[name] for name in difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.6)]
    return f' Did you mean "{close[0]}"?' if close else ""


def unknown_name(kind: str, given: str, valid: Iterable[str], hint: str = "") -> UsageError:
    """The error for a name that is not among the valid ones: lists them, and asks for the closest."""
    names = sorted(valid)
    listed = ", ".join(names) if names else "none"
    return UsageError(
        f'unknown {kind} "{given}".{did_you_mean(given, names)} Valid: {listed}.{" " + hint if hint else ""}'
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's and NumPy's own, or torch's for a CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # torch's allocator for CPUs raises a RuntimeError.
    texts = ("can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
