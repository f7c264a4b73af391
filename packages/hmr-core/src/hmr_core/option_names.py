"""Guess which option was meant by a name that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

ALIKE = 0.75
"""How alike two names are, from 0 to 1, before one is taken for the other misspelt."""
MOST = 3


def meant(given: str, keys: Iterable[str]) -> str:
    """Ask whether one of the closest options was meant, with a space before; empty when none is close.

    given, keys: dotted, `section.name`. The name decides: the same name in another section, else its initials (lr, bs),
    else some of its words (decay, batch), else a misspelt name. Among several, the given section decides.
    """
    keys = list(keys)
    for means in (_same, _initials, _words, _alike):
        found = [key for key in keys if means(_name(given), _name(key))]
        if found:
            found = [key for key in found if _alike(_section(given), _section(key))] or found
            found.sort(key=lambda key: -_ratio(given, key))
            quoted = (f'"{key}"' for key in found[:MOST])
            return f" Did you mean {' or '.join(quoted)}?"
    return ""


def _section(key: str) -> str:
    return key.rpartition(".")[0].lower()


def _name(key: str) -> str:
    return key.rpartition(".")[2].lower().replace("-", "_")


def _same(given: str, name: str) -> bool:
    return given.replace("_", "") == name.replace("_", "")


def _initials(given: str, name: str) -> bool:
    return len(given) > 1 and given == "".join(word[0] for word in _split(name))


def _words(given: str, name: str) -> bool:
    """Whether one has all the words of the other, which may be shortened."""
    return _covers(_split(given), _split(name)) or _covers(_split(name), _split(given))


def _covers(few: list[str], many: list[str]) -> bool:
    return bool(few) and all(any(_shortened(word, other) for other in many) for word in few)


def _shortened(word: str, other: str) -> bool:
    return len(word) > 2 and other.startswith(word)


def _split(name: str) -> list[str]:
    return re.findall("[a-z0-9]+", name)


def _alike(given: str, name: str) -> bool:
    return _ratio(given, name) >= ALIKE


def _ratio(given: str, name: str) -> float:
    return difflib.SequenceMatcher(None, given, name).ratio()
