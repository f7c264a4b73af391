"""The errors a user can act on. Each says what was given, what is valid, and what to run next."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An option that a remedy names, by its name in Python: `Option("batch_size")`, or with a value to give it.

    Whoever asked for the work words it: Python says batch_size=2, and the command line makes a flag of it.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


class HmrError(Exception):
    """The work could not be done; the command ends with exit status 1.

    message: what is wrong, in whole sentences. remedy: what to do, as texts and the options that it names:
    `HmrError("The batch is too large.", "Use a smaller ", Option("batch_size"), ".")`. str() gives both, with options
    as Python has them.
    """

    exit_code = 1

    def __init__(self, message: str, *remedy: str | Option) -> None:
        super().__init__(message, *remedy)
        self.message, self.remedy = message, remedy

    def worded(self, word: Callable[[Option], str]) -> str:
        """Give the whole text, with each option of the remedy as `word` has it."""
        remedy = "".join(part if isinstance(part, str) else word(part) for part in self.remedy)
        return f"{self.message} {remedy}" if remedy else self.message

    def __str__(self) -> str:
        return self.worded(str)


class UsageError(HmrError):
    """The command was asked for something that does not exist; exit status 2."""

    exit_code = 2


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """Ask whether the closest valid name was meant, with a space before; empty when none is close."""
    names = {name.lower(): name for name in valid}
    close = [names[name] for name in difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.6)]
    return f' Did you mean "{close[0]}"?' if close else ""


def unknown_name(kind: str, given: str, valid: Iterable[str], *hint: str | Option) -> UsageError:
    """Make the error for an unknown name: it lists the valid ones and asks for the closest. hint: its remedy."""
    names = sorted(valid)
    listed = ", ".join(names) if names else "none"
    return UsageError(f'unknown {kind} "{given}".{did_you_mean(given, names)} Valid: {listed}.', *hint)


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out: Python's and NumPy's own, or torch's for a CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # torch's allocator for CPUs raises a RuntimeError.
    texts = ("can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
