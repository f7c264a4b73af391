"""Many photos at once, and what is left of them in a folder: hands.json, overlays, meshes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.files import is_there, read_bytes
from hmr_core.hand.hand import Hand
from hmr_core.inference.photo import ENDINGS, read_photo
from hmr_core.inference.request import PhotoRequest
from hmr_core.pictures import write_png
from hmr_core.processes import ALONE, PATIENCE_S, Place, joined
from hmr_core.staging import check_folder_writable, staged_folder

if TYPE_CHECKING:
    from hmr_core.inference.predictor import Predictor

_LONGEST_STEM = 200
"""Bytes. Disks allow names of 255, of which the number of a photo, that of a hand, and a file's staging take some."""

FORMAT = "hmr-hands/1"
RECORD = "hands.json"


@dataclass(frozen=True, kw_only=True)
class PhotoResult:
    """A photo and its hands, or why there are none.

    width, height: of the upright photo, pixels; None where it could not be read. overlay, meshes: the names of files in
    the folder; None for what was not written.
    """

    file: Path
    width: int | None = None
    height: int | None = None
    hands: Sequence[Hand] = ()
    overlay: str | None = None
    meshes: Sequence[str | None] = ()
    error: HmrError | None = None

    def as_json(self) -> dict[str, Any]:
        """The photo as hands.json has it."""
        values: dict[str, Any] = {"file": str(self.file), "width": self.width, "height": self.height}
        if self.error is not None:
            return {**values, "hands": [], "error": str(self.error)}
        hands = [{**hand.as_json(), "mesh": mesh} for hand, mesh in zip(self.hands, self.meshes, strict=True)]
        return {**values, "overlay": self.overlay, "hands": hands}


def list_photos(paths: Sequence[Path]) -> list[Path]:
    """The files to predict: each path that is a file, and of each folder the photos in it, by name.

    Files are taken as they are: what is no photo, or not there, is told when it is read. Raises HmrError when none of
    the paths is there, and for a folder without photos.
    """
    if not any(is_there(path) for path in paths):
        raise HmrError(f"no such photo: {paths[0]}.")
    found: list[Path] = []
    for path in paths:
        if not (is_there(path) and path.is_dir()):
            found.append(path)
            continue
        photos = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS and not file.is_dir())
        if not photos:
            raise HmrError(f"the folder {path} has no photos in it. Photos end in {', '.join(ENDINGS)}.")
        found += photos
    return list(dict.fromkeys(found))


def check_folder(folder: Path) -> None:
    """HmrError for a folder that cannot be written, or holds something other than predictions, which would be lost."""
    check_folder_writable(folder)
    if not folder.is_dir():
        return
    there = {path.name for path in folder.iterdir()}
    if foreign := sorted(there - _own_files(folder / RECORD)):
        raise HmrError(
            f"{folder} holds something other than predictions ({foreign[0]}), so it is left alone.",
            "Choose another ",
            Option("out"),
            ".",
        )


def _own_files(record: Path) -> set[str]:
    """The files of a folder of predictions, by its record; none where that is not one."""
    try:
        values = json.loads(read_bytes(record))
        if values["format"] != FORMAT:
            return set()
        photos = [photo for photo in values["photos"] if "error" not in photo]
        files = {RECORD, *(photo["overlay"] for photo in photos), *(h["mesh"] for p in photos for h in p["hands"])}
        return files - {None}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def predict_photos(
    predictor: Predictor,
    photos: Sequence[Path],
    request: PhotoRequest,
    folder: Path,
    *,
    mesh_ending: str | None = ".obj",
    pictures: bool = True,
    about: Mapping[str, Any],
    on_photo: Callable[[PhotoResult], None] = lambda result: None,
    where: Place = ALONE,
) -> list[PhotoResult] | None:
    """Predict photos and write their hands into a folder, which appears whole or not at all.

    request: for each of the photos. mesh_ending: of the meshes' files; None for no such files. pictures: whether each
    photo with its hands drawn over it is written, too. about: what hands.json says besides, such as the command.
    on_photo is told each photo's result. where: of several processes, each predicts a share of the photos, into the
    folder that the first one makes; the first has all results, without the meshes, the others None.
    A photo that cannot be predicted does not cost the others: its result has the error. When none can be, the first
    error is raised, and nothing is written.
    """
    if where.first:
        check_folder(folder)
    named = list(zip(photos, stems(photos), strict=True))
    with (
        joined(where, predictor.device, PATIENCE_S) as group,
        staged_folder(folder) if where.first else nullcontext() as staged,
    ):
        part = group.share(staged)
        assert part is not None  # the first one's
        own = []
        for file, stem in where.share_of(named):
            result = _predict_photo(predictor, file, request, part, stem, mesh_ending, pictures)
            on_photo(result)
            own.append(_without_meshes(result))
        shares = group.gather([_portable(result) for result in own])
        if not where.first:
            return None
        results = [shares[i % where.count][i // where.count] for i in range(len(photos))]
        if all(result.error is not None for result in results):
            raise next(result.error for result in results if result.error is not None)
        values = {"format": FORMAT, **about, "photos": [result.as_json() for result in results]}
        (part / RECORD).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return results


def _portable(result: PhotoResult) -> PhotoResult:
    """A result that another process can be given: of its error, the text, the remedy and the exit status."""
    if result.error is None:
        return result
    kind = UsageError if isinstance(result.error, UsageError) else HmrError
    return replace(result, error=kind(result.error.message, *result.error.remedy))


def _without_meshes(result: PhotoResult) -> PhotoResult:
    """A result whose meshes are in their files alone, so that memory holds those of many photos."""
    return replace(result, hands=[replace(hand, verts=None, faces=None) for hand in result.hands])


def _predict_photo(
    predictor: Predictor,
    file: Path,
    request: PhotoRequest,
    folder: Path,
    stem: str,
    mesh_ending: str | None,
    pictures: bool,
) -> PhotoResult:
    from hmr_core.viz.hands import draw_hands

    try:
        photo = read_photo(file)
    except HmrError as error:
        return PhotoResult(file=file, error=error)
    except MemoryError:
        return PhotoResult(file=file, error=HmrError(f"the photo {file} is too large for this machine's memory."))
    try:
        hands = predictor.predict(photo, request)
    except HmrError as error:
        error.message = f"{file}: {error.message}"
        return PhotoResult(file=file, width=photo.width, height=photo.height, error=error)
    meshes = [
        None if hand.verts is None or mesh_ending is None else f"{stem}-{i + 1}{mesh_ending}"
        for i, hand in enumerate(hands)
    ]
    for hand, mesh in zip(hands, meshes, strict=True):
        if mesh is not None:
            hand.save(folder / mesh)
    overlay = f"{stem}.png" if pictures else None
    if overlay is not None:
        write_png(folder / overlay, draw_hands(photo.image, hands))
    return PhotoResult(file=file, width=photo.width, height=photo.height, hands=hands, overlay=overlay, meshes=meshes)


def stems(photos: Sequence[Path]) -> list[str]:
    """The names that photos' files get, without an ending: their own or, where two photos would share one, with _2, _3
    and so on behind. Names that differ in capitals alone are the same on some disks. Long names are cut.
    """
    taken: set[str] = set()
    names = []
    for photo in photos:
        stem = photo.stem
        while len(os.fsencode(stem)) > _LONGEST_STEM:
            stem = stem[:-1]
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names
