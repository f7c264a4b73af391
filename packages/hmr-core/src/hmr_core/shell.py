"""Commands that a user is told to run."""

from __future__ import annotations

import shlex
from pathlib import Path


def command_line(begin: str, *words: object) -> str:
    """A command as it is typed into a shell: its beginning as it stands, then each word, quoted where it must be.

    Whatever a user named belongs among the words. A path that begins with a dash is given as ./-path, since a command
    would take it for an option.
    """
    return " ".join([begin, *(shlex.quote(_text(word)) for word in words)])


def _text(word: object) -> str:
    text = str(word)
    return f"./{text}" if isinstance(word, Path) and text.startswith("-") else text
