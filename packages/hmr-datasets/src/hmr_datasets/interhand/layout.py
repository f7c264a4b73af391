"""Where InterHand2.6M keeps what: folders, file names, sample ids, splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hmr_core.errors import HmrError, Option

NAME, RELEASE = "interhand", "InterHand2.6M v1.0"

PARTS = ("train", "val", "test")
"""The release's parts, each with annotations and images of its own."""

SUBSETS = {
    "train": ("train",),
    "val": ("val",),
    "train+val": ("train", "val"),
    "test": ("test",),
    "test-single": ("test",),
    "test-interacting": ("test",),
}
"""The parts that each subset of our one split takes its samples from."""

ARCHIVES = ("InterHand2.6M_5fps_batch1", "InterHand2.6M_30fps_batch1")
"""The folders that the archives of the two frame rates unpack to; inside they are alike."""

ANNOTATIONS = ("data", "camera", "joint_3d")
"""The files of a part that must be there: InterHand2.6M_PART_data.json and so on."""

FITS = "MANO_NeuralAnnot"
"""The file of MANO's parameters, which may be left out."""

GET = "The archives are at https://mks0601.github.io/InterHand2.6M/."

MARKS = ("annotations/*/InterHand2.6M_*_data.json", *ARCHIVES)
"""What a tree is known by, given its folder or the one above."""

UNDOCUMENTED = (
    "the release's authors count frames (at 5 a second 1,361,062 of train, 380,125 of val and 849,160 of test), and a "
    "sample is a hand, of which frames have one or two: no counts of hands are documented to compare with"
)
"""The frames are those of the authors' page, https://mks0601.github.io/InterHand2.6M/."""

AGAIN = "Unpack the release's annotations (InterHand2.6M.annotations.5.fps.zip or 30.fps.zip) again."

AGAIN_LISTS = f"{AGAIN} Of each part, InterHand2.6M_PART_data.json lists the frames and their hands."

_ID = re.compile(rf"({'|'.join(PARTS)})/(.+)-(right|left)")


@dataclass(frozen=True)
class SampleKey:
    """What identifies a sample: the part, the image's file below images/PART without its ending, the hand."""

    part: str
    image: str
    side: str

    @classmethod
    def from_id(cls, sample_id: str) -> SampleKey:
        """The key of an id such as test/Capture0/SEQUENCE/cam400262/image12345-right; HmrError when it is not one."""
        match = _ID.fullmatch(sample_id)
        if match is None:
            raise HmrError(
                f'"{sample_id}" is not the id of an InterHand2.6M sample, such as '
                "test/Capture0/SEQUENCE/cam400262/image12345-right."
            )
        return cls(*match.groups())

    def image_path(self, root: Path) -> Path:
        """The frame's file."""
        return root / "images" / self.part / f"{self.image}.jpg"


def annotation_file(root: Path, part: str, name: str) -> Path:
    """The file of one of ANNOTATIONS, or of FITS."""
    return root / "annotations" / part / f"InterHand2.6M_{part}_{name}.json"


def find_root(given: Path) -> Path:
    """The folder of a tree that holds annotations and images, given it or its parent; HmrError saying what it lacks."""
    found = [root for root in (given, *(given / name for name in ARCHIVES)) if parts_of(root)]
    if len(found) > 1:
        raise HmrError(
            f"{given} holds both frame rates, {' and '.join(root.name for root in found)}.",
            "Pass one of them as ",
            Option("root"),
            ".",
        )
    if not found:
        raise HmrError(
            f"{given} is not a tree of {RELEASE}: {_lacking(given)}.",
            "Pass as ",
            Option("root"),
            f" the folder that holds annotations and images. {GET}",
        )
    root = found[0]
    for part in parts_of(root):
        if lacking := [path.name for name in ANNOTATIONS if not (path := annotation_file(root, part, name)).exists()]:
            raise HmrError(f"{root / 'annotations' / part} lacks {' and '.join(lacking)}. {AGAIN}")
    return root


def _lacking(given: Path) -> str:
    if not given.is_dir():
        return "there is no such folder"
    if any((given / "annotations" / name).is_dir() for name in ("all", "human_annot", "machine_annot")):
        return "its annotations are those of version 0.0, in annotations/all, and version 1.0 has annotations/train"
    name = annotation_file(Path(), PARTS[0], ANNOTATIONS[0])
    return f"it has no {name}, nor that of val or test"


def parts_of(root: Path) -> list[str]:
    """The parts that a tree has annotations of."""
    return [part for part in PARTS if any(annotation_file(root, part, name).exists() for name in ANNOTATIONS)]
