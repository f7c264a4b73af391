"""One thing that `hmr doctor` found, and the guard that keeps a failing check from ending the others."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hmr_core.data.remarks import Level, Remark
from hmr_core.errors import HmrError
from hmr_core.shell import flag

DEBUG = "HMR_DEBUG"
"""The variable that asks for tracebacks."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A line of the report.

    level: ok, note (nothing is amiss, but something is not there), warning (works, and is not as it should be), wrong.
    remedy: what to run or do; every warning and every wrong line has one, or says so in its text.
    """

    section: str
    level: Level
    text: str
    remedy: str = ""


def findings(section: str, remarks: Iterable[Remark], remedy: str) -> Iterator[Finding]:
    """The lines that remarks on data make. remedy: what to do where one is not well."""
    for remark in remarks:
        amiss = remark.level in ("warning", "wrong")
        yield Finding(section=section, level=remark.level, text=remark.text, remedy=remedy if amiss else "")


def guarded(section: str, what: str, check: Callable[[], Iterable[Finding]], remedy: str) -> Iterator[Finding]:
    """The findings of a check; one that cannot be finished ends with a line that says so, and raises nothing.

    what: what the check is about, the subject of that line. remedy: what to do; empty where errors of our own say so.
    """
    try:
        yield from check()
    except HmrError as error:
        yield Finding(section=section, level="wrong", text=error.worded(flag), remedy=remedy)
    except Exception as error:
        asked = os.environ.get(DEBUG, "") not in ("", "0")
        if asked:
            traceback.print_exc(file=sys.stderr)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding(
            section=section,
            level="wrong",
            text=f"{what} could not be looked at: {reason}",
            remedy=remedy if asked else f"{remedy} The traceback: {DEBUG}=1 hmr doctor".strip(),
        )
