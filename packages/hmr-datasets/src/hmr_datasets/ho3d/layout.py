"""Where HO-3D keeps what: folders, file names, lists; which version a tree is of; which sequences are val."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.files import read_bytes

NAME = "ho3d"

TRAINING, EVALUATION = "train", "evaluation"

SUBSETS = ("train", "val", "train+val", "test")

FRAME_SIZE = (640, 480)

VAL_EVERY = 8
"""One recording in so many is in val, the first in the order of names being one: the release has no val."""

ONLY_V3 = ("calibration", "manual_annotations")
"""Folders that version 3 alone has."""

GET = "The archives are at https://github.com/shreyashampali/ho3d."

MARKS = (f"{TRAINING}.txt", f"{EVALUATION}.txt", f"{TRAINING}/*/meta", f"{EVALUATION}/*/meta")
"""What a tree is known by."""

AGAIN = "Unpack HO-3D's archive (HO3D_v2.zip, HO3D_v3.zip) again."

AGAIN_LISTS = f"{AGAIN} train.txt and evaluation.txt list the frames, and the pickles in meta say which have a hand."

APART = "Unpack version 2 and version 3 into folders of their own."


@dataclass(frozen=True)
class Version:
    """A version of the release. extension: of its frames."""

    number: int
    extension: str

    @property
    def release(self) -> str:
        """The data set's name and version in words."""
        return f"HO-3D v{self.number}"

    @property
    def split(self) -> str:
        """Our name of its lists."""
        return f"ho3d-v{self.number}"


VERSIONS = (Version(2, "png"), Version(3, "jpg"))

DOCUMENTED = {
    "ho3d-v2": {"train+val": 66_034, "test": 11_524},
    "ho3d-v3": {"train+val": 83_325, "test": 20_137},
}
"""By the authors' README and scripts; for version 3 the README's 103,462 in all, less those of evaluation. (The scripts
have 78,297 for the rest.)
"""

_ID = re.compile(rf"({TRAINING}|{EVALUATION})/([A-Za-z0-9_-]+)/([0-9]+)")


@dataclass(frozen=True)
class SampleKey:
    """What identifies a sample: its part of the release, its sequence, the frame's name in it."""

    part: str
    sequence: str
    frame: str

    @classmethod
    def from_id(cls, sample_id: str) -> SampleKey:
        """The key of an id such as train/ABF10/0000; HmrError when it is not one."""
        match = _ID.fullmatch(sample_id)
        if match is None:
            raise HmrError(f'"{sample_id}" is not the id of an HO-3D sample, such as {TRAINING}/ABF10/0000.')
        return cls(*match.groups())

    @property
    def id(self) -> str:
        """The sample's id."""
        return f"{self.part}/{self.sequence}/{self.frame}"

    @property
    def subject(self) -> str:
        """Whose hand it is: sequences are named after the person, then the object (Si in SiBF10, A in ABF10)."""
        match = re.match("[A-Z][a-z]*", self.sequence)
        return match.group() if match else ""

    def meta(self, root: Path) -> Path:
        """The file of its annotations."""
        return root / self.part / self.sequence / "meta" / f"{self.frame}.pkl"

    def frame_path(self, root: Path, version: Version) -> Path:
        """The file of its frame."""
        return root / self.part / self.sequence / "rgb" / f"{self.frame}.{version.extension}"


def read_list(root: Path, part: str) -> list[SampleKey]:
    """The frames that `train.txt` or `evaluation.txt` lists; HmrError naming the file, and the line that is not one."""
    path = root / f"{part}.txt"
    try:
        lines = read_bytes(path).decode("ascii").splitlines()
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {AGAIN}") from error
    except UnicodeDecodeError as error:
        raise HmrError(f"{path} is damaged: it is no text. {AGAIN}") from error
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not _ID.fullmatch(f"{part}/{line}"):
            raise HmrError(f'{path}: line {number} is "{line[:80]}", not SEQUENCE/FRAME. Unpack the release again.')
        found.append(SampleKey.from_id(f"{part}/{line}"))
    return found


def in_val(keys: Sequence[SampleKey]) -> list[bool]:
    """Which of the training frames are in val: those of every eighth recording, in the order of their names.

    A recording is of one or several cameras, whose sequences' names differ in the last digit (ABF10 to ABF14), so that
    no moment is in train from one side and in val from another.
    """
    recordings = sorted({key.sequence[:-1] for key in keys})
    chosen = set(recordings[::VAL_EVERY])
    return [key.sequence[:-1] in chosen for key in keys]


def find_version(root: Path) -> Version:
    """The version of a tree, by its frames; HmrError for what is no tree of either, or holds frames of both."""
    parts = [part for part in (TRAINING, EVALUATION) if (root / f"{part}.txt").is_file()]
    if not parts:
        reason = "there is no such folder" if not root.is_dir() else "it has no train.txt or evaluation.txt"
        raise HmrError(
            f"{root} is not a tree of HO-3D: {reason}.",
            "Pass as ",
            Option("root"),
            f" the folder that holds {TRAINING}, {EVALUATION} and their lists. {GET}",
        )
    found = {
        (part, sequence.name, version.number)
        for part in parts
        for sequence in _folders(root / part)
        for version in VERSIONS
        if next((sequence / "rgb").glob(f"*.{version.extension}"), None) is not None
    }
    numbers = {number for _, _, number in found}
    if not found:
        raise HmrError(f"{root} has no frames: no png or jpg in {parts[0]}/SEQUENCE/rgb. {AGAIN} {GET}")
    if len(numbers) == 2:
        old, new = (next(f"{part}/{name}" for part, name, n in sorted(found) if n == number) for number in (2, 3))
        raise HmrError(
            f"{root} holds frames of two versions of HO-3D: {old}/rgb has png (version 2), {new}/rgb jpg (version 3). "
            f"Their annotations differ under the same names. {APART}"
        )
    (number,) = numbers
    version = next(version for version in VERSIONS if version.number == number)
    if number == 2 and (only := [name for name in ONLY_V3 if (root / name).is_dir()]):
        raise HmrError(
            f"{root} has the frames of HO-3D v2 (png) and {' and '.join(only)}, which only version 3 has: its "
            f"annotations would be taken for the other version's. {APART}"
        )
    return version


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []
