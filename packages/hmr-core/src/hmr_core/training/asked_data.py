"""What a training is asked to train on: packs, each with a split and a share of an epoch's samples where given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hmr_core.data.default_pack import default_pack
from hmr_core.data.splits import is_name
from hmr_core.errors import UsageError
from hmr_core.files import is_there

PackArgument = str | Path | tuple[str | Path, float]
"""A pack as a call names it: a text as of `parse_pack`, a path as it stands, or either with its share."""


@dataclass(frozen=True, kw_only=True)
class AskedPack:
    """A pack to train on. split: None for that of the run. share: of an epoch's samples; None for what is left."""

    path: Path
    split: str | None = None
    share: float | None = None

    def __str__(self) -> str:
        """PACK or PACK:SPLIT, as it was asked for."""
        return str(self.path) if self.split is None else f"{self.path}:{self.split}"


def parse_pack(text: str) -> AskedPack:
    """Read PACK[:SPLIT][=SHARE], where a path may have a colon or an equals sign itself.

    Of all readings the one is meant that names a file which is there, and of those the one with the longest path.
    UsageError for a text without a path, and for a pack that is there with a share that is no number.
    """
    if not text.strip() or (text[0] in ":=" and not is_there(Path(text))):
        raise UsageError(
            f'data of "{text}" names no pack; valid: PACK, the path of one, or PACK:SPLIT, PACK=SHARE, '
            "PACK:SPLIT=SHARE, such as b.h5=0.25."
        )
    readings = [AskedPack(path=Path(text))]
    whole, _, number = text.rpartition("=")
    with suppress(ValueError):
        readings += [AskedPack(path=Path(whole), share=float(number))] if whole else []
    for reading in list(readings):
        path, _, split = str(reading.path).rpartition(":")
        readings += [replace(reading, path=Path(path), split=split)] if path and is_name(split) else []
    there = next((reading for reading in readings if is_there(reading.path)), None)
    if there is None and whole and Path(whole).is_file():
        raise UsageError(f'a share of "{number}" for {whole}; valid: a number above 0, and 1 at most.')
    # Where no file is there, the error is to name what was most likely meant.
    return there or next((reading for reading in reversed(readings) if reading.path.suffix == ".h5"), readings[0])


def asked_packs(given: PackArgument | Sequence[PackArgument] | None) -> tuple[AskedPack, ...]:
    """The packs that a call names, one or several; none for the default one. UsageError for what names no pack."""
    if given is None:
        return ()
    if isinstance(given, str | Path) or (len(given) == 2 and isinstance(given[1], int | float)):
        return (_asked(given),)
    return tuple(_asked(each) for each in given)


def packs_or_default(asked: tuple[AskedPack, ...]) -> tuple[AskedPack, ...]:
    """The packs that were asked for; where there are none, the default one."""
    return asked or (AskedPack(path=default_pack()),)


def _asked(given: object) -> AskedPack:
    match given:
        case Path():
            return AskedPack(path=given)
        case str():
            return parse_pack(given)
        case (str() | Path() as path, int() | float() as share):
            return replace(_asked(path), share=float(share))
    raise UsageError(f'data of {given!r}; valid: the path of a pack, or a path and a share: ("b.h5", 0.25).')
