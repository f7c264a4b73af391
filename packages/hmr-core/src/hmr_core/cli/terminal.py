"""What rich shows on a terminal, with every text as it stands: a path may well be called `set [red]/:cat:.h5`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn


def terminal(*, stderr: bool = False) -> Console:
    """The console to print to, on stdout unless it is to be stderr."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def text_column(form: str) -> TextColumn:
    """A column of a progress bar: a text, or a form such as "{task.description}" for one."""
    from rich.progress import TextColumn

    return TextColumn(form, markup=False)
