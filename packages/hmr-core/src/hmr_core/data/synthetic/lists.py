"""The release's lists of samples: everything, the four splits with their training and test parts, and train and val."""

from __future__ import annotations

import json
from collections.abc import Sequence as Sequences

from hmr_core.data.synthetic.scene import TEST_OBJECT, TEST_SUBJECT, Sequence, frame_number, is_held
from hmr_core.data.synthetic.sizes import CAMERAS

ListedId = list[str | int]
"""A sample as the release lists it: [SEQ/TIME, hand, frame, camera]."""


def list_files(sequences: Sequences[Sequence], frames: int) -> dict[str, str]:
    """The JSON files of a data set by their path under `anno`.

    split0 tests, of each sequence, one camera; split1 a subject (with all sequences that show it); split2 an object;
    split0_ho is split0's part in which a hand holds the object. Of each training list every fifth sample is for
    validation.
    """
    everything: list[ListedId] = []
    tested: dict[str, list[bool]] = {"split0": [], "split1": [], "split2": []}
    held: list[bool] = []
    for sequence in sequences:
        for index in range(frames):
            for camera in range(len(CAMERAS)):
                for hand in range(len(sequence.subjects)):
                    everything.append([sequence.key, hand, frame_number(index), camera])
                    held.append(is_held(index, frames))
                    tested["split0"].append(camera == sequence.test_camera)
                    tested["split1"].append(any(s.name == TEST_SUBJECT for s in sequence.subjects))
                    tested["split2"].append(sequence.object_name == TEST_OBJECT)

    files: dict[str, object] = {"seq_all.json": everything, "seq_status.json": {s.key: 1 for s in sequences}}
    for split in ("split0", "split1", "split2", "split0_ho"):
        flags = tested[split.removesuffix("_ho")]
        taken = held if split.endswith("_ho") else [True] * len(everything)
        chosen = list(zip(everything, flags, taken, strict=True))
        train = [listed for listed, test, take in chosen if take and not test]
        files[f"split/{split}/seq_train.json"] = train
        files[f"split/{split}/seq_test.json"] = [listed for listed, test, take in chosen if take and test]
        files[f"split_train_val/{split}/example_split_val.json"] = train[::5]
        files[f"split_train_val/{split}/example_split_train.json"] = [x for i, x in enumerate(train) if i % 5]
    return {path: json.dumps(content) for path, content in files.items()}
