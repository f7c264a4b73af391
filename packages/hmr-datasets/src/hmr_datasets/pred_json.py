"""pred.json, in which FreiHAND and HO-3D take predictions: the joints of all hands in a list, then the vertices of all.

Both are in the order of the evaluation set, in metres. pred.zip has the file alone, as it is uploaded.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError, Option
from hmr_core.files import read_bytes
from hmr_core.plugins.official import SubmittedPoints

JSON, ZIP = FILES = ("pred.json", "pred.zip")

AGAIN = ("Write it or copy it again; an evaluation writes one with ", Option("submission", "DIR"), ".")
"""What to do about a file that is none."""

_ZIP = b"PK"

_DIGITS = 7
"""Digits after the point: a tenth of a micrometre."""

_TIME = (1980, 1, 1, 0, 0, 0)
"""Of the file in the archive, so that the same predictions make the same archive: the oldest that there is."""


def write_pred_json(folder: Path, split: str, ids: Sequence[str], joints: ndarray, verts: ndarray | None) -> None:
    """pred.json and pred.zip, of points in the file's own frame and order."""
    assert verts is not None, "a submission without a mesh is refused before"
    points = [np.round(array.astype(np.float64), _DIGITS).tolist() for array in (joints, verts)]
    text = json.dumps(points, separators=(",", ":"))
    (folder / JSON).write_text(text, encoding="ascii")
    with zipfile.ZipFile(folder / ZIP, "w") as archive:
        archive.writestr(zipfile.ZipInfo(JSON, _TIME), text, compress_type=zipfile.ZIP_DEFLATED)


def read_pred_json(path: Path, split: str, ids: Sequence[str]) -> SubmittedPoints:
    """The points of such a file, in its own frame and order; `path` may be the archive.

    A second list without a hand is no mesh. HmrError for a file that is no such one, of other hands than these, or of
    numbers that are not finite.
    """
    content = _content(path)
    if not isinstance(content, list) or len(content) != 2 or not all(isinstance(part, list) for part in content):
        raise HmrError(
            f"{path} is no submission: valid is a list of two lists, the joints and the vertices of all hands.", *AGAIN
        )
    joints, verts = content
    counts = f"{len(joints)} hands with joints and {len(verts)} with vertices"
    if len(joints) != len(ids) or len(verts) not in (0, len(ids)):
        raise HmrError(
            f"{path} has {counts}, and test of {split} has {len(ids)} samples. All of them must be there.",
            "If it is of another data set, version or split, name its pack with ", Option("data"), ".",
        )  # fmt: skip
    return SubmittedPoints(
        joints=_points(path, "joints", joints, 21, ids),
        verts=_points(path, "vertices", verts, 778, ids) if verts else None,
    )


def _content(path: Path) -> Any:
    """What the JSON file at a path, or the only one in the archive there, holds."""
    try:
        content = read_bytes(path)
        if content.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = [name for name in archive.namelist() if name.endswith(".json")]
                if len(names) != 1:
                    raise HmrError(f"{path} has {len(names)} .json files; valid: {JSON} alone.", *AGAIN)
                content = archive.read(names[0])
        return json.loads(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: under a password
        raise HmrError(f"{path} is cut off, damaged or under a password: as a zip file, {error}.", *AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise HmrError(f"{path} is cut off or damaged: as JSON, {error}.", *AGAIN) from error
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}.") from error


def _points(path: Path, what: str, hands: list[Any], count: int, ids: Sequence[str]) -> ndarray:
    """The points of all hands, float32 (n, count, 3); HmrError naming the sample whose are something else."""
    points = np.empty((len(hands), count, 3), dtype=np.float32)
    for i, hand in enumerate(hands):
        try:
            array = np.asarray(hand, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (count, 3):
            raise HmrError(f"{path}: the {what} of {ids[i]} are not {count} points of 3 numbers.")
        points[i] = array
    if bad := np.flatnonzero(~np.isfinite(points).all((1, 2))).tolist():
        raise HmrError(f"{path}: the {what} of {ids[bad[0]]} are not finite ({len(bad)} of {len(ids)} samples).")
    return points
