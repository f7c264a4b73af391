"""Commands and calls as a user types them: those that are told to be run, and those that are recorded."""

from __future__ import annotations

import shlex
from pathlib import Path

from hmr_core.errors import Option


def command_line(begin: str, *words: object) -> str:
    """A command as it is typed into a shell: its beginning as it stands, then each word, quoted where it must be.

    Whatever a user named belongs among the words; an Option is typed as flag and value. A path that begins with a dash
    is given as ./-path, since a command would take it for an option.
    """
    return " ".join([begin, *(flag(word) if isinstance(word, Option) else shlex.quote(_text(word)) for word in words)])


def changed_command(command: str, *options: Option) -> str:
    """A command that was typed before, with options as they are given here, which have values, in place of its own."""
    kept, words = [], iter(shlex.split(command))
    names = {flag(Option(option.name)) for option in options}
    for word in words:
        if word in names:
            next(words, None)
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return " ".join([shlex.join(kept), *map(flag, options)])


def has_option(command: str, name: str) -> bool:
    """Whether a command that was typed before gives an option."""
    return flag(Option(name)) in {word.partition("=")[0] for word in shlex.split(command)}


def python_call(function: str, *words: object, **given: object) -> str:
    """A call as it is typed in Python, without the arguments that are None or False."""
    named = [f"{name}={value!r}" for name, value in given.items() if value is not None and value is not False]
    return f"{function}({', '.join([*map(repr, words), *named])})"


def flag(option: Option) -> str:
    """An option as a command takes it: two dashes and the name, then its value; True is a flag alone."""
    name = f"--{option.name.replace('_', '-')}"
    return name if option.value in (None, True) else f"{name} {shlex.quote(_text(option.value))}"


def _text(word: object) -> str:
    text = str(word)
    return f"./{text}" if isinstance(word, Path) and text.startswith("-") else text
