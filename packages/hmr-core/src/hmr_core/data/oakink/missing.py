"""The files that samples of OakInk's release lack: every folder is listed once, and no file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hmr_core.data.oakink.layout import ANNOTATIONS, FRAMES, SampleKey
from hmr_core.data.oakink.reader import OakInkReader
from hmr_core.plugins.sample import Missing


def missing_files(reader: OakInkReader, ids: Sequence[str]) -> Iterator[Missing]:
    """The annotation files and the frames that samples lack."""
    image = reader.root / "image"
    for folder in ANNOTATIONS:
        there = _names(image / "anno" / folder)
        if lacking := [f"{sample_id}.pkl" for sample_id in ids if f"{sample_id}.pkl" not in there]:
            yield Missing(f"image/anno/{folder}", lacking, len(ids), f"Unpack image/anno/{folder} again.")
    by_folder: dict[str, set[str]] = {}
    for sample_id in ids:
        key = SampleKey.from_id(sample_id)
        by_folder.setdefault(key.sequence, set()).add(key.image_name)
    absent: list[str] = []
    for sequence, expected in sorted(by_folder.items()):
        found = _names(image / FRAMES / sequence)
        absent += sorted(name for name in expected if name.rpartition("/")[2] not in found)
    if absent:
        frames = sum(len(names) for names in by_folder.values())
        again = f"Unpack image/{FRAMES} again: it is an archive in several parts, all of which are needed."
        yield Missing(f"image/{FRAMES}", absent, frames, again)


def _names(folder: Path) -> set[str]:
    """The names of the files in a folder, links among them; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:  # which kind an entry is comes with its name; a link's would be asked for
            return {entry.name for entry in entries if entry.is_symlink() or entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
