"""What is looked at of a data set before it is packed, trained or scored on: what would make every metric of it wrong.

It is little, so that it costs nothing: the lists, and the annotations of a fixed selection of samples. `hmr doctor`
says all that can be said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from hmr_core.data.lists import list_remarks
from hmr_core.data.pack.encode import checked_frame_size, stored_annotations
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.selection import Selection, reader_name
from hmr_core.data.plausibility import FARTHEST_M, PALM_M, HandArrays, plausibility
from hmr_core.data.remarks import Remark, misleading
from hmr_core.errors import HmrError, Option
from hmr_core.hand.joints import MIDDLE_MCP, WRIST
from hmr_core.plugins.sample import DatasetReader, Sample
from hmr_core.shell import command_line
from hmr_core.wording import listed

SAMPLES = 32
"""How many samples are looked at, evenly spread; the size of a hand is looked at in all."""

_CHUNK = 65536

_LOOKED_AT = ("joints", "intrinsics", "verts", "rotations", "betas")


def check_data_set(reader: DatasetReader, selection: Selection) -> list[str]:
    """What is worth a note of a data set, such as cameras with skew; HmrError for one that is not to be packed.

    What cannot be read is named when it is packed.
    """
    remarks = [
        *(remark for split, lists in selection.rows.items() for remark in _lists(split, lists, selection.ids)),
        *_samples(reader, selection.ids),
    ]
    if problem := misleading(remarks):
        raise HmrError(
            f"this data set is not packed, since every metric of it would be wrong: {problem}.",
            f"Mend the data set, or its reader ({reader_name(reader)}).",
        )
    return [remark.text for remark in remarks if remark.level == "note"]


def check_pack(pack: Pack, split: str, subset: str) -> list[str]:
    """What is worth a warning of the samples that will be trained or scored on; HmrError when nobody should."""
    split = pack.split_name(split)
    rows = pack.indices(split, subset)
    lists = {subset: pack.indices(split, subset) for subset, count in pack.info.counts[split].items() if count}
    hands = packed_hands(pack, _spread(rows))
    if problem := misleading([*list_remarks(split, lists, pack.ids), *plausibility(hands)]):
        raise HmrError(
            f"{pack.path} is neither trained nor scored on, since every metric of it would be wrong: {problem}.",
            f"Mend the data set, and pack it again; `{_doctor(pack)}` says more.",
        )
    parts = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    odd = np.concatenate([part[odd_hands(pack.array("joints", part), pack.joints_valid(part))] for part in parts])
    if not len(odd):
        return []
    return [
        f"{len(odd):,} of {len(rows):,} hands of {split} {subset} are of no hand's size, or more than {FARTHEST_M:g} m "
        "away: "
        f"{listed(pack.ids(odd))}. Metrics over all samples are off by theirs; `{_doctor(pack)}` says more"
    ]


def packed_hands(pack: Pack, rows: Integer[ndarray, " n"]) -> HandArrays:
    """The annotations of some samples of a pack."""
    names = [name for name in _LOOKED_AT if name in pack.info.arrays]
    return HandArrays(
        ids=tuple(pack.ids(rows)),
        joints_valid=pack.joints_valid(rows),
        verts_valid=pack.verts_valid(rows),
        pose_valid=pack.pose_valid(rows),
        left=pack.left(rows),
        frame_px=pack.array("frame_px", rows).astype(np.float32),
        **{name: pack.array(name, rows) for name in names},
    )


def read_hands(samples: Sequence[Sample]) -> HandArrays:
    """The annotations of some samples as their reader gave them; HmrError for what cannot be stored."""
    stored = [stored_annotations(sample) for sample in samples]
    there = [name for name in _LOOKED_AT if all(name in arrays for arrays in stored)]
    masks = {"joints_valid": np.ones(21, bool), "verts_valid": np.ones((), bool), "pose_valid": np.ones((), bool)}
    known: dict[str, ndarray] = {
        name: np.stack([arrays.get(name, every).astype(bool) for arrays in stored]) for name, every in masks.items()
    }
    return HandArrays(
        ids=tuple(sample.id for sample in samples),
        **known,
        left=np.array([sample.side == "left" for sample in samples]),
        frame_px=np.array([checked_frame_size(sample) for sample in samples], dtype=np.float32),
        **{name: np.stack([arrays[name] for arrays in stored]) for name in there},
    )


def odd_hands(joints: Float[ndarray, "n 21 3"], known: Bool[ndarray, "n 21"]) -> Bool[ndarray, " n"]:
    """Which hands (metres, camera space) have no hand's size, or are where no camera of the data sets sees them.

    Joints that are not known are 0, so that they count as near. Without its middle knuckle a hand has no size.
    """
    joints = joints.astype(np.float64)  # the largest float32 has no square in float32
    with np.errstate(invalid="ignore"):  # of what is not finite
        palm = np.linalg.norm(joints[:, MIDDLE_MCP] - joints[:, WRIST], axis=-1)
    sized = ~known[:, MIDDLE_MCP] | ((palm >= PALM_M[0]) & (palm <= PALM_M[1]))
    odd: ndarray = ~(sized & (joints[..., 2].max(1) <= FARTHEST_M))
    return odd


def _doctor(pack: Pack) -> str:
    return command_line("hmr doctor", Option("data", pack.path))


def _lists(split: str, lists: dict[str, ndarray], ids: Sequence[str]) -> Iterator[Remark]:
    return list_remarks(split, lists, lambda rows: [ids[row] for row in rows])


def _samples(reader: DatasetReader, ids: Sequence[str]) -> Iterator[Remark]:
    read = []
    for sample_id in (ids[row] for row in _spread(np.arange(len(ids)))):
        with suppress(Exception):  # a plugin's reader may raise anything
            sample = reader.read(sample_id)
            read_hands([sample])
            read.append(sample)
    if read:
        yield from plausibility(read_hands(read))


def _spread(rows: Integer[ndarray, " n"]) -> Integer[ndarray, " chosen"]:
    """Some of the rows, evenly spread, in rising order, which is that of the file."""
    return np.unique(rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLES)).astype(np.int64)])
