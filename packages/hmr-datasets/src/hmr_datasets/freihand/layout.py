"""Where FreiHAND keeps what: folders, file names, sample ids, and which samples are in which list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hmr_core.data.splits import find_split, find_subset
from hmr_core.errors import HmrError, Option

NAME, RELEASE = "freihand", "FreiHAND v2"

VERSIONS = ("gs", "hom", "sample", "auto")
"""The backgrounds of each training photo, as the release calls them, in the order of their files: the green screen
itself, another background and homogenized colours, and colours by two ways of automatic colouring.
"""

SPLITS = {"freihand": VERSIONS, **{f"freihand-{version}": (version,) for version in VERSIONS}}
"""Which versions are trained on, by split. All are tested on the same photos, of which there is one version."""

SUBSETS = ("train", "val", "train+val", "test")

VAL_EVERY = 32
"""One photo in so many is in val, with all its versions, the first of all being one: the release has no val."""

FRAME_SIZE = (224, 224)

TRAINING, EVALUATION = "training", "evaluation"

ANNOTATIONS = {"K": (3, 3), "xyz": (21, 3), "verts": (778, 3), "mano": (61,)}
"""What `training_*.json` and `evaluation_*.json` hold of each photo."""

DOCUMENTED = {
    split: {
        "train": 31_542 * len(versions),
        "val": 1_018 * len(versions),
        "train+val": 32_560 * len(versions),
        "test": 3_960,
    }
    for split, versions in SPLITS.items()
}
"""32,560 photos to train on, 3,960 to test, by the release's README; val is ours."""

GET = "The archive is FreiHAND_pub_v2.zip, at https://lmb.informatik.uni-freiburg.de/projects/freihand/."

MARKS = ("training_K.json", "evaluation_K.json")
"""What a tree is known by."""

AGAIN = "Unpack FreiHAND_pub_v2.zip again."

AGAIN_LISTS = f"{AGAIN} training_K.json and evaluation_K.json list the photos, of which rgb has the files."

_ID = re.compile(rf"{TRAINING}/(\d{{8}})-({'|'.join(VERSIONS)})|{EVALUATION}/(\d{{8}})")


@dataclass(frozen=True)
class SampleKey:
    """What identifies a sample: its part of the release, its number in that part's annotations, its version."""

    part: str
    number: int
    version: str = VERSIONS[0]

    @classmethod
    def from_id(cls, sample_id: str) -> SampleKey:
        """The key of an id such as training/00000007-hom or evaluation/00000007; HmrError when it is not one."""
        match = _ID.fullmatch(sample_id)
        if match is None:
            raise HmrError(
                f'"{sample_id}" is not the id of a FreiHAND sample: {TRAINING}/00000007-VERSION, the version one of '
                f"{', '.join(VERSIONS)}, or {EVALUATION}/00000007."
            )
        trained, version, tested = match.groups()
        return cls(EVALUATION, int(tested)) if tested else cls(TRAINING, int(trained), version)

    def image_path(self, root: Path, photos: int) -> Path:
        """The frame's file; photos: how many the part has, of each version."""
        number = self.number + photos * VERSIONS.index(self.version)
        return root / self.part / "rgb" / f"{number:08d}.jpg"


def annotation_file(root: Path, part: str, name: str) -> Path:
    """The file of one of ANNOTATIONS."""
    return root / f"{part}_{name}.json"


def list_ids(split: str, subset: str, photos: Mapping[str, int]) -> list[str]:
    """The samples of a list, version by version, each in the order of the photos' numbers.

    photos: how many there are in each part. UsageError for a split or subset that there is not.
    """
    split = find_split(split, SPLITS, {}, RELEASE)
    subset = find_subset(subset, split, SUBSETS, RELEASE)
    if subset == "test":
        return [f"{EVALUATION}/{number:08d}" for number in range(photos[EVALUATION])]
    return [
        f"{TRAINING}/{number:08d}-{version}"
        for version in SPLITS[split]
        for number in range(photos[TRAINING])
        if subset == "train+val" or (number % VAL_EVERY == 0) == (subset == "val")
    ]


def check_root(root: Path) -> None:
    """HmrError, saying what is missing, for what is not the unpacked archive of v2."""
    parts = [part for part in (TRAINING, EVALUATION) if annotation_file(root, part, "K").exists()]
    if not parts:
        reason = "there is no such folder" if not root.is_dir() else "it has no training_K.json or evaluation_K.json"
        raise HmrError(
            f"{root} is not a tree of {RELEASE}: {reason}.",
            "Pass as ",
            Option("root"),
            f" the folder that holds {TRAINING}, {EVALUATION} and the JSON files. {GET}",
        )
    if TRAINING not in parts:
        return
    lacking = lacking_files(root, TRAINING)
    if [path.name for path in lacking] == ["training_verts.json"]:
        raise HmrError(
            f"{root} is FreiHAND before version 2: it has no training_verts.json. Its meshes would have to be made "
            f"anew, and some of its annotations were mended later. {GET}"
        )
    if lacking:
        raise HmrError(f"{root} lacks {', '.join(path.name for path in lacking)}. {AGAIN}")


def lacking_files(root: Path, part: str) -> list[Path]:
    """The files of a part's annotations that are not there."""
    return [path for name in ANNOTATIONS if not (path := annotation_file(root, part, name)).exists()]
