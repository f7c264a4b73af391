"""The reader of HO-3D's trees, of version 2 and of version 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from hmr_core.data.splits import find_split, find_subset
from hmr_core.errors import HmrError
from hmr_core.hand.made_meshes import SAME_MODEL_MM, MadeHand, MeshMaker, kept_within, mesh_of_sample
from hmr_core.hand.pose_basis import PoseBases
from hmr_core.plugins.sample import Missing, Sample, Side
from hmr_core.wording import listed
from hmr_datasets.folders import missing_files
from hmr_datasets.frames import read_frame
from hmr_datasets.ho3d.annotations import (
    TO_CAMERA,
    TrainingHand,
    evaluation_hand,
    frame_annotations,
    is_annotated,
    read_meta,
    to_ours,
    training_hand,
)
from hmr_datasets.ho3d.layout import (
    AGAIN,
    EVALUATION,
    FRAME_SIZE,
    NAME,
    SUBSETS,
    TRAINING,
    SampleKey,
    Version,
    find_version,
    in_val,
    read_list,
)
from hmr_datasets.number_lists import kept_rows

SIDE: Side = "right"
"""Of all hands."""

XYZ, VERTS = "evaluation_xyz.json", "evaluation_verts.json"
"""The annotations of the evaluation frames, in the order of evaluation.txt, as the authors' scorer reads them."""

WRIST_TOLERANCE_M = 0.01
"""How far the wrist may be apart in the two files that have it; hands of other frames are far more."""

TRUTH = (
    f"They are public since November 2024: see the README of https://github.com/shreyashampali/ho3d, and put {XYZ} and "
    f"{VERTS} of this version beside evaluation.txt."
)


class HO3DReader:
    """HO-3D v2 or v3: a DatasetReader. All hands are right ones.

    Training frames have no meshes, and evaluation frames no poses. Without the public annotations of the evaluation
    frames these have the wrist and a box alone.
    bases: MANO's hands by side; where the right one is with its file, training frames get meshes of their parameters.

    It can be pickled, without what it has read.
    """

    name = NAME

    def __init__(self, root: Path, version: Version | None = None, bases: PoseBases | None = None) -> None:
        self.root, self.version = root, version or find_version(root)
        self._bases = dict(bases or {})
        self._maker = MeshMaker(self._bases)
        self.aliases: Mapping[str, str] = {NAME: self.version.split}
        self._trained, self._tested = ((root / f"{part}.txt").is_file() for part in (TRAINING, EVALUATION))
        self._has_joints = not self._tested or (root / XYZ).is_file()
        self._has_verts = self._tested and self._has_joints and (root / VERTS).is_file()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self.version, self._bases)

    @property
    def release(self) -> str:
        """The release; with meshes that were made of parameters, what made them."""
        made_by = f", meshes by {self._bases[SIDE].source}" if self._makes_meshes else ""
        return f"{self.version.release}{made_by}"

    def splits(self) -> Mapping[str, Sequence[str]]:
        """One split, of the version that the tree is of."""
        there = [subset for subset in SUBSETS if (self._tested if subset == "test" else self._trained)]
        return {self.version.split: there}

    @property
    def notes(self) -> list[str]:
        """What was left out, and what the tree lacks."""
        notes = []
        for part in (TRAINING, EVALUATION):
            frames, left_out = self._listed[part]
            if left_out:
                names = listed([key.id for key in left_out])
                total = len(frames) + len(left_out)
                notes.append(f"{len(left_out):,} of {total:,} frames of {part} have no annotation: left out ({names})")
        for part, subsets, there in (
            (TRAINING, "train and no val", self._trained),
            (EVALUATION, "test", self._tested),
        ):
            if not there:
                notes.append(f"there is no {subsets}, since there is no {self.root / f'{part}.txt'}")
        if self._makes_meshes:
            notes.append(f"meshes of train and val are made of MANO's parameters, {kept_within(SAME_MODEL_MM)}")
        elif self._trained:
            notes.append(
                "train and val have no meshes: HO-3D gives MANO's parameters, of which a hand model of MANO's right "
                "hand makes them; packing takes one"
            )
        if self._tested and self._has_joints and not self._has_verts:
            notes.append(f"test has no meshes, since there is no {self.root / VERTS}. {TRUTH}")
        if not self._has_joints:
            without = "test has the wrist and a box of each hand alone"
            notes.append(f"{without}, since there is no {self.root / XYZ}. {TRUTH}")
        return notes

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids of a subset, without frames that have no annotation; UsageError for an unknown name.

        Every annotation file is opened for it, once.
        """
        find_split(split, self.splits(), self.aliases, self.version.release)
        find_subset(subset, self.version.split, SUBSETS, self.version.release)
        frames, _ = self._listed[EVALUATION if subset == "test" else TRAINING]
        chosen = [True] * len(frames)
        if subset in ("train", "val"):
            chosen = [inside == (subset == "val") for inside in in_val(frames)]
        return [key.id for key, wanted in zip(frames, chosen, strict=True) if wanted]

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample, in camera space; HmrError naming the sample and the file that is at fault."""
        key = SampleKey.from_id(sample_id)
        try:
            return self._sample(key)
        except HmrError as error:
            raise HmrError(f"sample {sample_id}: {error.message}", *error.remedy) from error

    def read_image(self, sample: Sample) -> UInt8[ndarray, "height width 3"]:
        """The sample's frame; HmrError naming the sample and the file when it is missing, damaged, of another size."""
        return read_frame(sample, again=AGAIN)

    def _sample(self, key: SampleKey) -> Sample:
        path = key.meta(self.root)
        meta = read_meta(path)
        if not is_annotated(meta):
            raise HmrError(f"{path} has no annotation: such frames are not listed.")
        frame = frame_annotations(meta, path)
        hand = self._training(meta, path) if key.part == TRAINING else self._evaluation(key, meta, path)
        if self._has_joints:
            hand.pop("joints_valid")
        if not (self._has_verts or self._makes_meshes):
            del hand["verts"], hand["verts_valid"]
        if not self._trained:
            del hand["rotations"], hand["betas"], hand["pose_valid"]
        if hand.get("box_px") is None:
            hand["box_px"] = _box(hand["joints"], frame.intrinsics)
        return Sample(
            id=key.id,
            image_path=key.frame_path(self.root, self.version),
            frame_size=FRAME_SIZE,
            side=SIDE,
            intrinsics=frame.intrinsics,
            object_pose=frame.object_pose,
            labels={"sequence": key.sequence, "subject": key.subject, "object": frame.object_name},
            frame_number=int(key.frame),
            **hand,
        )

    def _training(self, meta: dict[str, Any], path: Path) -> dict[str, Any]:
        hand = training_hand(meta, path)
        return {
            "joints": hand.joints,
            "joints_valid": np.ones(21, bool),
            **mesh_of_sample(self._made(hand), hand.joints, None, SAME_MODEL_MM),
            "rotations": hand.rotations,
            "betas": hand.betas,
            "pose_valid": True,
        }

    def _made(self, hand: TrainingHand) -> MadeHand | None:
        """The hand as its parameters make it, in camera space; None without a hand model."""
        if not self._makes_meshes:
            return None
        rotations = np.concatenate([hand.gl_wrist[None], hand.rotations[1:]])
        return self._maker.make(SIDE, rotations, hand.betas, hand.gl_place).moved(np.diag(TO_CAMERA))

    @property
    def _makes_meshes(self) -> bool:
        return self._trained and SIDE in self._maker.sides

    def _evaluation(self, key: SampleKey, meta: dict[str, Any], path: Path) -> dict[str, Any]:
        hand = evaluation_hand(meta, path)
        joints, valid = np.zeros((21, 3), np.float32), np.zeros(21, bool)
        joints[0], valid[0] = hand.wrist, True
        if self._has_joints:
            joints = to_ours(self._truth(XYZ, key))
            apart = float(np.linalg.norm(joints[0] - hand.wrist))
            if not apart <= WRIST_TOLERANCE_M:
                raise HmrError(
                    f"the wrist is {1000 * apart:.0f} mm from where {path} has it: {self.root / XYZ} is not in the "
                    f"order of evaluation.txt, or of another version than {self.version.release}. {TRUTH}"
                )
        return {
            "joints": joints,
            "joints_valid": valid,
            "verts": self._truth(VERTS, key) * TO_CAMERA if self._has_verts else np.zeros((778, 3), np.float32),
            "verts_valid": self._has_verts,
            "rotations": np.zeros((16, 3), np.float32),
            "betas": np.zeros(10, np.float32),
            "pose_valid": False,
            "box_px": hand.box_px,
        }

    @cached_property
    def _listed(self) -> dict[str, tuple[list[SampleKey], list[SampleKey]]]:
        """The frames of each part that have an annotation, and those that have none."""
        found: dict[str, tuple[list[SampleKey], list[SampleKey]]] = {}
        for part, there in ((TRAINING, self._trained), (EVALUATION, self._tested)):
            kept: list[SampleKey] = []
            left_out: list[SampleKey] = []
            for key in read_list(self.root, part) if there else []:
                (kept if self._may_be_read(key) else left_out).append(key)
            found[part] = kept, left_out
        return found

    def _may_be_read(self, key: SampleKey) -> bool:
        """False for a frame without annotation; what is missing or damaged is named where it is read."""
        try:
            return is_annotated(read_meta(key.meta(self.root)))
        except HmrError:
            return True

    @cached_property
    def _place(self) -> dict[str, int]:
        """Where each frame is in evaluation.txt, and so in the public annotations."""
        return {key.id: i for i, key in enumerate(read_list(self.root, EVALUATION))}

    @cached_property
    def _truths(self) -> dict[str, Float32[ndarray, "..."]]:
        return {}

    def _truth(self, name: str, key: SampleKey) -> Float32[ndarray, "..."]:
        """What a file of the public annotations has of a frame, in OpenGL's space and MANO's order.

        HmrError when the file is not of this version's frames.
        """
        if name not in self._truths:
            path, shape = self.root / name, (21, 3) if name == XYZ else (778, 3)
            rows = kept_rows(path, shape, again=AGAIN)
            if len(rows) != len(self._place):
                raise HmrError(
                    f"{path} holds {len(rows):,} hands, and evaluation.txt lists {len(self._place):,} frames: it is of "
                    f"another version than {self.version.release}, or cut short. {TRUTH}"
                )
            self._truths[name] = rows
        return np.array(self._truths[name][self._place[key.id]])


def _box(joints: Float32[ndarray, "21 3"], intrinsics: Float32[ndarray, "3 3"]) -> Float32[ndarray, "4"]:
    """The joints' box in the image, since the release gives evaluation frames alone a box."""
    projected = joints.astype(np.float64) @ intrinsics.T.astype(np.float64)
    pixels = projected[:, :2] / projected[:, 2:]
    box: ndarray = np.concatenate([pixels.min(0), np.ptp(pixels, axis=0)]).astype(np.float32)
    return box


def missing(reader: HO3DReader, ids: Sequence[str]) -> Iterator[Missing]:
    """Which annotation files and frames of the samples are not there."""
    keys = [SampleKey.from_id(sample_id) for sample_id in ids]
    paths = (path for key in keys for path in (key.meta(reader.root), key.frame_path(reader.root, reader.version)))
    return missing_files(reader.root, paths, AGAIN)
