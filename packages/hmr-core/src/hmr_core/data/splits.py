"""The names of splits and subsets: a data set gives its own, and users may write a split's alias."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hmr_core.errors import UsageError, did_you_mean

WHOLE = "all"
"""The subset of every sample, those of no other subset too."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def is_name(text: object) -> bool:
    """Whether a text can name a split or subset: it becomes part of paths and commands."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def find_split(given: str, splits: Iterable[str], aliases: Mapping[str, str], where: str) -> str:
    """The name of a split that was given by its name or an alias; UsageError listing those that `where` has."""
    names = list(splits)
    name = given if given in names else aliases.get(given)
    if name in names:
        return str(name)
    usable = {alias: split for alias, split in aliases.items() if split in names}
    shown = [" ".join([split, *(f"({alias})" for alias in usable if usable[alias] == split)]) for split in names]
    meant = did_you_mean(given, [*names, *usable])
    raise UsageError(f'{where} has no split "{given}".{meant} It has: {", ".join(shown) or "none"}.')


def find_subset(given: str, split: str, subsets: Iterable[str], where: str) -> str:
    """The name of a split's subset, checked; UsageError listing those that `where` has."""
    names = list(subsets)
    if given in names:
        return given
    meant = did_you_mean(given, names)
    raise UsageError(f'{where} has no subset "{given}" of {split}.{meant} It has: {", ".join(names) or "none"}.')
