"""Where DexYCB keeps what: folders, file names, sample ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hmr_core.errors import HmrError, Option

NAME, RELEASE = "dexycb", "DexYCB"

SUBJECTS = (
    "20200709-subject-01",
    "20200813-subject-02",
    "20200820-subject-03",
    "20200903-subject-04",
    "20200908-subject-05",
    "20200918-subject-06",
    "20200928-subject-07",
    "20201002-subject-08",
    "20201015-subject-09",
    "20201022-subject-10",
)
"""The folders of the ten people; the rules of the splits number them from 0."""

SERIALS = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
"""The cameras; the rules of the splits number them from 0."""

SEQUENCES = 100
"""How many sequences there are of each person: twenty objects, five times each."""

OBJECTS = (
    "002_master_chef_can",
    "003_cracker_box",
    "004_sugar_box",
    "005_tomato_soup_can",
    "006_mustard_bottle",
    "007_tuna_fish_can",
    "008_pudding_box",
    "009_gelatin_box",
    "010_potted_meat_can",
    "011_banana",
    "019_pitcher_base",
    "021_bleach_cleanser",
    "024_bowl",
    "025_mug",
    "035_power_drill",
    "036_wood_block",
    "037_scissors",
    "040_large_marker",
    "051_large_clamp",
    "052_extra_large_clamp",
    "061_foam_brick",
)
"""The YCB objects, which the annotations number from 1."""

FRAME_SIZE = (640, 480)

GET = "The archives are at https://dex-ycb.github.io."

MARKS = ("20??????-subject-??", "calibration/intrinsics")
"""What a tree is known by."""

AGAIN = f"Unpack the subject's archive (SUBJECT.tar.gz, such as {SUBJECTS[0]}.tar.gz) again."

AGAIN_LISTS = f"{AGAIN} Of each sequence, meta.yml counts the frames, and pose.npz says which have a hand."

_ID = re.compile(rf"({'|'.join(SUBJECTS)})/([0-9_]+)/({'|'.join(SERIALS)})/([0-9]{{6}})-of-([0-9]+)")


@dataclass(frozen=True)
class SampleKey:
    """What identifies a sample: person, sequence, camera, frame, and of how many frames the sequence is.

    The last makes the place of a sample in the official lists a matter of the ids alone (see image_ids).
    """

    subject: str
    session: str
    serial: str
    frame: int
    frames: int

    @classmethod
    def from_id(cls, sample_id: str) -> SampleKey:
        """The key of an id such as 20200709-subject-01/20200709_141754/836212060125/000003-of-72; HmrError if none."""
        match = _ID.fullmatch(sample_id)
        if match is None:
            raise HmrError(
                f'"{sample_id}" is not the id of a DexYCB sample, such as '
                f"{SUBJECTS[0]}/20200709_141754/{SERIALS[0]}/000003-of-72."
            )
        subject, session, serial, frame, frames = match.groups()
        return cls(subject, session, serial, int(frame), int(frames))

    @property
    def id(self) -> str:
        """The sample's id."""
        return f"{self.sequence}/{self.serial}/{self.frame:06d}-of-{self.frames}"

    @property
    def sequence(self) -> str:
        """The sequence's folder."""
        return f"{self.subject}/{self.session}"

    def image_path(self, root: Path) -> Path:
        """The frame's file."""
        return root / self.sequence / self.serial / f"color_{self.frame:06d}.jpg"

    def label_path(self, root: Path) -> Path:
        """The file of the frame's annotations."""
        return root / self.sequence / self.serial / f"labels_{self.frame:06d}.npz"


def check_root(root: Path) -> None:
    """HmrError, saying what is missing, for what is not the unpacked release, or a part of it."""
    missing = [name for name in ("calibration",) if not (root / name).is_dir()]
    if subjects_of(root) and not missing:
        return
    if not root.is_dir():
        reason = "there is no such folder"
    elif missing:
        reason = "it has no folder calibration, which has an archive of its own"
    else:
        reason = f"it has none of the folders {SUBJECTS[0]} to {SUBJECTS[-1]}"
    raise HmrError(
        f"{root} is not a tree of {RELEASE}: {reason}.",
        "Pass as ",
        Option("root"),
        f" the folder that holds calibration and the subjects' folders. {GET}",
    )


def subjects_of(root: Path) -> list[str]:
    """The people whose folders a tree has."""
    return [subject for subject in SUBJECTS if (root / subject).is_dir()]
