"""What differs between two packings of one name, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_IMPLIED = {"digest of the lists": "lists", "aliases": "lists", "codec parameters": "codec"}
"""What differs of itself wherever something else does."""


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """For each thing that differs, what a packing was begun with and what it is now: "codec: begun with png, now raw".

    then, now: what is being packed and how, as the first line of the journal has it.
    """
    differing = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    told = [key for key in differing if _IMPLIED.get(key) not in differing]
    return [text for key in told for text in _texts(key, then.get(key), now.get(key))]


def _texts(key: str, then: Any, now: Any) -> Iterator[str]:
    if then is None or now is None:  # another version packed it
        yield _text(key, "none" if then is None else str(then), "none" if now is None else str(now))
    elif key == "digest of the lists":
        yield "samples or their order: begun with others"
    elif key == "lists":
        if set(then) != set(now):
            yield _text("splits", ", ".join(then), ", ".join(now))
        for split in then:
            if split in now and then[split] != now[split]:
                yield _text(f"lists of {split}", _counts(then[split]), _counts(now[split]))
    elif key == "arrays":
        yield _text(key, ", ".join(then), ", ".join(now))
    elif key == "aliases":
        yield _text(key, _named(then), _named(now))
    elif key == "codec parameters":
        yield _text(key, " ".join(map(str, then)), " ".join(map(str, now)))
    else:
        yield _text(key, str(then), str(now))


def _text(what: str, then: str, now: str) -> str:
    return f"{what}: begun with {then}, now {now}"


def _named(aliases: Mapping[str, str]) -> str:
    return ", ".join(f"{split} ({alias})" for alias, split in aliases.items()) or "none"


def _counts(subsets: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in subsets.items()) or "none"
