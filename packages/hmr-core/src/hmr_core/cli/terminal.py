"""What is shown, with every text as it stands: a path may be called `set [red]/:cat:.h5`, or not even be UTF-8."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn


class Stderr(io.TextIOWrapper):
    """stderr for work that goes on when nobody listens any more: what cannot be written is dropped."""

    def write(self, text: str) -> int:
        """Write a text, if that is possible."""
        try:
            return super().write(text)
        except OSError:
            _drop()
            return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        try:
            super().flush()
        except OSError:
            _drop()


def _drop() -> None:
    """From here on stderr goes nowhere, what it still holds too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def keep_streams() -> None:
    """Let no work depend on the terminal: a command may be started without stdout or stderr, or outlive its stderr.

    The numbers of closed streams are taken, so that no file that is written later gets one and, with it, what libraries
    say there.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lasts
    elif sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        stream = sys.stderr
        sys.stderr = Stderr(stream.buffer, encoding=stream.encoding, errors=stream.errors, line_buffering=True)


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
