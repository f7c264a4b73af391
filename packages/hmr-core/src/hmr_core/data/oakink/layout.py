"""Where the release keeps what: folders, file names, split lists, sample ids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmr_core.data.splits import find_split, find_subset
from hmr_core.errors import HmrError, Option
from hmr_core.files import read_bytes

NAME = "oakink"
"""What follows `hmr pack`."""

RELEASE = "OakInk-Image v2.1"
CAMERAS = ("north_east", "south_east", "north_west", "south_west")
"""The views by the camera's number."""

SPLIT_FOLDERS = {"sp0": "split0", "sp1": "split1", "sp2": "split2", "sp0-ho": "split0_ho"}
"""Our name of each split -> its folder."""

ALIASES = {"default": "sp0", "subject": "sp1", "object": "sp2", "handobject": "sp0-ho"}
"""The release's name of each split -> ours."""

INTENTS = {"0001": "use", "0002": "hold", "0003": "liftup", "0004": "handover"}
"""What is done with the object, by the second part of a sequence's name."""

SUBSETS = ("train", "val", "train+val", "test", "all")

FRAME_SIZE = (848, 480)
"""(width, height) of every frame in pixels."""

ANNOTATIONS = ("cam_intr", "hand_j", "hand_v", "obj_transf", "general_info")
"""The folders of `image/anno` with one pickle for each sample."""

FRAMES = "stream_release_v2"
"""The folder of `image` with the frames."""

MARKS = ("image/anno", f"image/{FRAMES}", "OakInk/image/anno")
"""What a tree is known by, given its folder or the one above."""

RELEASE_FILE = "release.txt"
"""A file beside `image` whose text replaces RELEASE: made-up trees say there what they are."""


@dataclass(frozen=True)
class SampleKey:
    """What identifies a sample in the release's lists: [SEQ/TIME, hand, frame, camera]."""

    sequence: str
    hand: int
    frame: int
    camera: int

    @classmethod
    def from_id(cls, sample_id: str) -> SampleKey:
        """The key of an id `seq__timestamp__hand__frame__camera`; HmrError when it is not one."""
        if not cls.is_id(sample_id):
            raise HmrError(
                f'"{sample_id}" is not the id of an OakInk-Image sample: seq__timestamp__hand__frame__camera, the last '
                f"three whole numbers and the camera below {len(CAMERAS)}."
            )
        sequence, time, hand, frame, camera = sample_id.split("__")
        return cls(f"{sequence}/{time}", int(hand), int(frame), int(camera))

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether a text is the id of a sample."""
        parts = text.split("__")
        return len(parts) == 5 and all(part.isdecimal() for part in parts[2:]) and int(parts[4]) < len(CAMERAS)

    @property
    def labels(self) -> dict[str, str]:
        """What the sample belongs to, by the names of plugins.sample.LABELS.

        A sequence's name is OBJECT_INTENT_SUBJECT/TIME. Handovers have two subjects, the giver and the receiver: hand 0
        is the first one's. A name of another form says nothing of object, intent and subject.
        """
        parts = self.sequence.partition("/")[0].split("_")
        known = len(parts) > 2 + self.hand and parts[1] in INTENTS
        return {
            "sequence": self.sequence,
            "subject": parts[2 + self.hand] if known else "",
            "object": parts[0] if known else "",
            "view": CAMERAS[self.camera],
            "intent": INTENTS[parts[1]] if known else "",
            "image": f"{self.sequence}/{self.camera}/{self.frame}",
        }

    @property
    def image_name(self) -> str:
        """The frame's path below FRAMES."""
        return f"{self.sequence}/{CAMERAS[self.camera]}_color_{self.frame}.png"


def find_root(given: Path) -> Path:
    """The folder `OakInk` of a tree, given it or its parent; HmrError saying what was looked for."""
    for root in (given, given / "OakInk"):
        if (root / "image" / "anno").is_dir() and (root / "image" / FRAMES).is_dir():
            return root
    if not given.is_dir():
        reason = "there is no such folder"
    else:
        missing = [f"image/{name}" for name in ("anno", FRAMES) if not (given / "image" / name).is_dir()]
        reason = f"{' and '.join(missing)} not found there, nor in {given / 'OakInk'}"
    raise HmrError(
        f"{given} is not a tree of {RELEASE}: {reason}.",
        "Pass as ",
        Option("root"),
        f" the folder OakInk that holds image/anno and image/{FRAMES} (the release, unpacked), or make a synthetic "
        "one: hmr synth DIR, then ",
        Option("root", "DIR/OakInk"),
        ".",
    )


def list_file(root: Path, split: str, subset: str) -> Path:
    """The file that lists a subset's samples; train+val has a list of its own in the release.

    split: by our name or the release's. UsageError for a split or subset that the release does not have.
    """
    split = find_split(split, SPLIT_FOLDERS, ALIASES, RELEASE)
    subset = find_subset(subset, split, SUBSETS, RELEASE)
    anno, folder = root / "image" / "anno", SPLIT_FOLDERS[split]
    return {
        "train": anno / "split_train_val" / folder / "example_split_train.json",
        "val": anno / "split_train_val" / folder / "example_split_val.json",
        "train+val": anno / "split" / folder / "seq_train.json",
        "test": anno / "split" / folder / "seq_test.json",
        "all": anno / "seq_all.json",
    }[subset]


def read_release(root: Path) -> str:
    """What a tree is; HmrError naming the file that should say so when it cannot be read."""
    path = root / RELEASE_FILE
    try:
        return read_bytes(path).decode().strip()
    except FileNotFoundError:
        return RELEASE
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise HmrError(f"cannot read {path}: {reason}. Remove it if the tree is the release; it has none.") from error


def read_json(path: Path) -> Any:
    """A JSON file of the release; HmrError naming it when it is missing or damaged."""
    try:
        return json.loads(read_bytes(path))
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. Unpack the release's annotations again.") from error
    except ValueError as error:
        raise HmrError(f"{path} is damaged: not JSON ({error}). Unpack the release's annotations again.") from error


def read_ids(path: Path) -> list[str]:
    """The sample ids of a split list, in its order; HmrError naming the file and the entry that is not one."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise HmrError(f"{path} is not a list of samples. Unpack the release's annotations again.")
    return [_entry_id(entry, position, path) for position, entry in enumerate(entries)]


def _entry_id(entry: object, position: int, path: Path) -> str:
    # Plain comparisons, a third of the time of a match and of asking is_id: the release lists two million entries.
    if type(entry) is list and [type(value) for value in entry] == [str, int, int, int]:
        sequence, hand, frame, camera = entry
        name = sequence.replace("/", "__")
        if (
            sequence.count("/") == 1
            and name.count("__") == 1
            and min(hand, frame, camera) >= 0
            and camera < len(CAMERAS)
        ):
            return f"{name}__{hand}__{frame}__{camera}"
    raise HmrError(
        f"{path}: entry {position} is {entry!r:.100}, not [SEQ/TIME, hand, frame, camera] with a camera below "
        f"{len(CAMERAS)}. Unpack the release's annotations again."
    )
