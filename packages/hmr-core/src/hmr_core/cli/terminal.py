"""What is shown, with every text as it stands: a path may be called `set [red]/:cat:.h5`, or not even be UTF-8."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn


def show_any_path() -> None:
    """From here on stdout and stderr take every path: one that is not UTF-8 is given out as the bytes that it is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape" if stream.encoding == "utf-8" else "backslashreplace")


def terminal(*, stderr: bool = False) -> Console:
    """The console to print to, on stdout unless it is to be stderr."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def text_column(form: str) -> TextColumn:
    """A column of a progress bar: a text, or a form such as "{task.description}" for one."""
    from rich.progress import TextColumn

    return TextColumn(form, markup=False)
