"""The reader of InterHand2.6M's tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

from hmr_core.data.splits import find_split, find_subset
from hmr_core.errors import HmrError
from hmr_core.hand.joints import MIDDLE_MCP, WRIST
from hmr_core.hand.made_meshes import FITTED_MM, MadeHand, MeshMaker, kept_within, mesh_of_sample
from hmr_core.hand.pose_basis import PoseBases
from hmr_core.plugins.sample import Missing, Sample
from hmr_core.wording import counted
from hmr_datasets.folders import missing_files
from hmr_datasets.frames import read_frame
from hmr_datasets.interhand.annotations import HAND_TYPES, SIDES, Part, read_part
from hmr_datasets.interhand.layout import (
    ANNOTATIONS,
    FITS,
    GET,
    NAME,
    PARTS,
    RELEASE,
    SUBSETS,
    SampleKey,
    annotation_file,
    find_root,
    parts_of,
)
from hmr_datasets.orders import TIP_FIRST

IMAGES_AGAIN = (
    "Unpack the release's images (InterHand2.6M.images.5.fps.v1.0.tar.part*, or those of 30 fps) again: they are in "
    "many parts, all of which are needed."
)

SINGLE, INTERACTING = "single", "interacting"
"""What the label `intent` says of a hand: whether it is annotated alone."""


class InterHandReader:
    """InterHand2.6M: a DatasetReader. The two hands of a frame are two samples, and left hands are given as left ones.

    A hand whose wrist or middle knuckle is not annotated, or out of the frame, is no sample.
    bases: MANO's pose space by side. The fits are relative to its mean pose and ours to the flat hand, so that the
    hands of a side without it have no rotations and betas. Those with its file get meshes, too, as fitted; left ones
    where the right hand's file is there as well.

    It can be pickled, without what it has read; see annotations.py for what keeps that cheap.
    """

    name = NAME
    aliases: Mapping[str, str] = MappingProxyType({})

    def __init__(self, root: Path, bases: PoseBases | None = None) -> None:
        self.root, self._bases = find_root(root), dict(bases or {})
        self._maker = MeshMaker(self._bases, mended=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self._bases)

    @property
    def release(self) -> str:
        """The release; with rotations and meshes, what made them."""
        made_by = ", ".join(basis.source for _, basis in sorted(self._bases.items()))
        made = "rotations and meshes" if self._meshed else "rotations"
        return f"{RELEASE}, {made} by {made_by}" if self._posed else RELEASE

    @property
    def notes(self) -> list[str]:
        """What was left out of what was listed so far."""
        notes = [
            f"{part}: {counted(count, 'hand')} without a known wrist or middle knuckle left out"
            for part, found in self._parts.items()
            if (count := sum(int((_claimed(found, side) & ~_known(found, side)).sum()) for side in SIDES))
        ]
        if self._fits and (lacking := [side for side in SIDES if side not in self._bases]):
            notes.append(
                f"the poses and meshes of {' and '.join(lacking)} hands are left out: they are relative to MANO's mean "
                "pose, which only a hand model of MANO's of that side has; packing takes one for each side"
            )
        if self._meshed:
            notes.append(f"meshes are made of the fits, {kept_within(FITTED_MM)}")
            if "left" in self._bases and "left" not in self._maker.sides:
                notes.append(
                    "the meshes of left hands are left out: the fits are of a left model with mended shape directions, "
                    "for which the right hand's model is needed, too"
                )
        return notes

    def splits(self) -> Mapping[str, Sequence[str]]:
        """One split, with the subsets whose parts the tree has."""
        there = parts_of(self.root)
        return {NAME: [subset for subset, parts in SUBSETS.items() if all(part in there for part in parts)]}

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids of a subset in the release's order.

        UsageError for an unknown name, HmrError for a part that is not there, or damaged.
        """
        subset = find_subset(subset, find_split(split, [NAME], {}, RELEASE), SUBSETS, RELEASE)
        return [name for part in SUBSETS[subset] for name in self._ids(part, subset)]

    def _ids(self, part: str, subset: str) -> Iterator[str]:
        found = self._part(part)
        both = found.hand_type == HAND_TYPES.index("interacting")
        chosen = {"test-single": ~both, "test-interacting": both}.get(subset, np.ones(len(both), dtype=np.bool_))
        sides = [(side, _claimed(found, side) & _known(found, side) & chosen) for side in SIDES]
        rows = np.flatnonzero(sides[0][1] | sides[1][1])
        for row, image in zip(rows.tolist(), found.image[rows].tolist(), strict=True):
            yield from (f"{part}/{image.decode()}-{side}" for side, listed in sides if listed[row])

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample, in camera space; HmrError naming the sample and the file that is at fault."""
        key = SampleKey.from_id(sample_id)
        found = self._part(key.part)
        row = found.row(key.image)
        if row is None:
            path = annotation_file(self.root, key.part, "data")
            raise HmrError(f"sample {sample_id}: {path} has no image {key.image}.jpg.")
        hand = SIDES.index(key.side)
        place, camera = int(found.place[row]), int(found.camera[row])
        rotation, position = found.rotation[camera], found.position[camera]
        points = found.world[place, 21 * hand :][list(TIP_FIRST)].astype(np.float64)
        joints = ((points - position) @ rotation.T / 1000).astype(np.float32)
        known = _valid(found.valid[row], hand)
        (fx, fy), (cx, cy) = found.focal[camera].tolist(), found.principal[camera].tolist()
        width, height = found.size[row].tolist()
        sequence, view = found.sequence[row].decode(), found.view[row].decode()
        capture = sequence.partition("/")[0]
        return Sample(
            id=sample_id,
            image_path=key.image_path(self.root),
            frame_size=(width, height),
            intrinsics=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float32),
            side=cast("Literal['right', 'left']", key.side),
            joints=joints,
            joints_valid=known,
            **self._pose(found, place, hand, rotation),
            **self._mesh(found, place, hand, camera, joints, known),
            labels={
                "sequence": f"{key.part}/{sequence}",
                "subject": str(found.subject[row]),
                "view": view,
                "intent": INTERACTING if found.hand_type[row] == HAND_TYPES.index("interacting") else SINGLE,
                "image": f"{key.part}/{capture}/{view}/{found.frame[row]}",
            },
            frame_number=int(found.frame[row]),
        )

    def read_image(self, sample: Sample) -> UInt8[ndarray, "height width 3"]:
        """The sample's frame; HmrError naming the sample and the file when it is missing, damaged, of another size."""
        return read_frame(sample, again=IMAGES_AGAIN)

    def _pose(self, found: Part, place: int, hand: int, rotation: ndarray) -> dict[str, Any]:
        """MANO's parameters of a hand, if any can be known: rotations in camera space, relative to the flat hand."""
        if not self._posed:
            return {}
        basis = self._bases.get(SIDES[hand])
        if basis is None or found.fitted is None or not found.fitted[place, hand]:
            unknown = {"rotations": np.zeros((16, 3), np.float32), "betas": np.zeros(10, np.float32)}
            return {**unknown, "pose_valid": False}
        assert found.pose is not None
        assert found.betas is not None
        rotations = _turned(basis.of_mean_pose(found.pose[place, hand].astype(np.float64)), rotation)
        return {"rotations": rotations, "betas": np.array(found.betas[place, hand]), "pose_valid": True}

    def _mesh(
        self,
        found: Part,
        place: int,
        hand: int,
        camera: int,
        joints: Float32[ndarray, "21 3"],
        known: Bool[ndarray, "21"],
    ) -> dict[str, Any]:
        """The fitted mesh of a hand, if any can be known, in camera space."""
        return mesh_of_sample(self._made(found, place, hand, camera), joints, known, FITTED_MM) if self._meshed else {}

    def _made(self, found: Part, place: int, hand: int, camera: int) -> MadeHand | None:
        """A hand as its fit makes it, in camera space; None where there is no fit, or no hand model."""
        side = SIDES[hand]
        if side not in self._maker.sides or found.fitted is None or not found.fitted[place, hand]:
            return None
        assert found.pose is not None
        assert found.betas is not None
        assert found.trans is not None
        rotations = self._bases[side].of_mean_pose(found.pose[place, hand].astype(np.float64))
        made = self._maker.make(side, rotations, found.betas[place, hand], found.trans[place, hand])
        return made.moved(found.rotation[camera], found.position[camera] / 1000)

    @cached_property
    def _fits(self) -> bool:
        """Whether any part has MANO's parameters: all samples have the same arrays."""
        return any(annotation_file(self.root, part, FITS).exists() for part in PARTS)

    @property
    def _posed(self) -> bool:
        return self._fits and bool(self._bases)

    @property
    def _meshed(self) -> bool:
        return self._fits and bool(self._maker.sides)

    @cached_property
    def _parts(self) -> dict[str, Part]:
        return {}

    def _part(self, part: str) -> Part:
        if part not in self._parts:
            if part not in parts_of(self.root):
                lacking = annotation_file(self.root, part, ANNOTATIONS[0])
                raise HmrError(f"{self.root} has no annotations of {part}: there is no {lacking}. {GET}")
            self._parts[part] = read_part(self.root, part)
        return self._parts[part]


def missing(reader: InterHandReader, ids: Sequence[str]) -> Iterator[Missing]:
    """The frames that samples lack, as one: there are thousands of folders, each of which is listed once."""
    paths = {SampleKey.from_id(sample_id).image_path(reader.root) for sample_id in ids}
    images = reader.root / "images"
    absent = missing_files(images, sorted(paths), IMAGES_AGAIN)
    if names := [f"{folder}/{name}" for folder, lacking, _, _ in absent for name in lacking]:
        yield Missing(where=images.name, names=names, total=len(paths), remedy=IMAGES_AGAIN)


def _valid(valid: Bool[ndarray, "42"], hand: int) -> Bool[ndarray, "21"]:
    """Which joints of a hand are known, in OpenPose order: none where the wrist is not."""
    known: ndarray = valid[21 * hand :][list(TIP_FIRST)]
    return np.asarray(known & known[WRIST])


def _known(found: Part, side: str) -> Bool[ndarray, " n"]:
    """Which frames know the joints of a hand that models may take as the root."""
    start = 21 * SIDES.index(side)
    return np.asarray(found.valid[:, [start + TIP_FIRST[WRIST], start + TIP_FIRST[MIDDLE_MCP]]].all(1))


def _claimed(found: Part, side: str) -> Bool[ndarray, " n"]:
    """Which frames show a hand, as they say."""
    return np.asarray(
        (found.hand_type == HAND_TYPES.index(side)) | (found.hand_type == HAND_TYPES.index("interacting"))
    )


def _turned(rotations: ndarray, camera: ndarray) -> Float32[ndarray, "16 3"]:
    """Rotations whose wrist is turned from the world's frame to the camera's."""
    wrist, _ = cv2.Rodrigues(rotations[0])
    rotations[0] = cv2.Rodrigues(camera @ wrist)[0].ravel()
    return rotations.astype(np.float32)
