"""The reader of FreiHAND's tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.hand.pose_basis import PoseBasis
from hmr_core.plugins.sample import Missing, Sample
from hmr_datasets.folders import missing_files
from hmr_datasets.frames import read_frame
from hmr_datasets.freihand.layout import (
    AGAIN,
    ANNOTATIONS,
    EVALUATION,
    FRAME_SIZE,
    NAME,
    RELEASE,
    SPLITS,
    SUBSETS,
    TRAINING,
    SampleKey,
    annotation_file,
    check_root,
    lacking_files,
    list_ids,
)
from hmr_datasets.number_lists import kept_rows


class FreiHANDReader:
    """FreiHAND v2: a DatasetReader. All hands are right ones: the release mirrored the left ones.

    basis: MANO's pose space of right hands. The release's rotations are relative to its mean pose and ours to the flat
    hand, so that without it there are none.

    It can be pickled, without what it has read: one process parses a large file, and the others map what it read.
    """

    name, release = NAME, RELEASE
    aliases: Mapping[str, str] = MappingProxyType({})

    def __init__(self, root: Path, basis: PoseBasis | None = None) -> None:
        check_root(root)
        self.root, self._basis = root, basis

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self._basis)

    def splits(self) -> Mapping[str, Sequence[str]]:
        """Each split trains on other versions of the photos. There is no test without its annotations."""
        trained, tested = (bool(self._photos[part]) for part in (TRAINING, EVALUATION))
        if not trained and not tested:
            raise self._without_truth()
        subsets = [subset for subset in SUBSETS if (tested if subset == "test" else trained)]
        return dict.fromkeys(SPLITS if trained else [NAME], subsets)

    @property
    def notes(self) -> list[str]:
        """What the tree or its annotations lack."""
        notes = []
        if self._basis is None:
            notes.append(
                "rotations are left out: FreiHAND's are relative to MANO's mean pose, which only a hand model of "
                "MANO's right hand has; packing takes one"
            )
        if not self._photos[TRAINING]:
            missing = annotation_file(self.root, TRAINING, "K")
            notes.append(f"there is no train and no val, since there is no {missing}")
        if not self._photos[EVALUATION]:
            notes.append(f"there is no test: {self._without_truth()}")
        return notes

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids of a subset; UsageError for an unknown name, HmrError for a test that has no annotations."""
        found = list_ids(split, subset, self._photos)
        if subset == "test" and not found:
            raise self._without_truth()
        return found

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample, in camera space; HmrError naming the sample and the file that is at fault."""
        key = SampleKey.from_id(sample_id)
        found = self._annotations(key.part)
        if key.number >= len(found["K"]):
            raise HmrError(f"sample {sample_id}: {key.part}_K.json has {len(found['K']):,} photos. {AGAIN}")
        intrinsics, joints, verts, mano = (np.array(found[name][key.number]) for name in ("K", "xyz", "verts", "mano"))
        return Sample(
            id=sample_id,
            image_path=self.image_path(key),
            frame_size=FRAME_SIZE,
            side="right",
            intrinsics=intrinsics,
            joints=joints,
            verts=verts,
            rotations=None if self._basis is None else self._basis.of_mean_pose(mano[:48]).astype(np.float32),
            betas=mano[48:58],  # then the root in the image and a scale, which the joints' own places make needless
        )

    def read_image(self, sample: Sample) -> UInt8[ndarray, "height width 3"]:
        """The sample's frame; HmrError naming the sample and the file when it is missing, damaged, of another size."""
        return read_frame(sample, again=AGAIN)

    def image_path(self, key: SampleKey) -> Path:
        """The file of a sample's frame."""
        return key.image_path(self.root, self._photos[key.part])

    @cached_property
    def _photos(self) -> dict[str, int]:
        """How many annotated photos each part has."""
        there = [part for part in (TRAINING, EVALUATION) if not lacking_files(self.root, part)]
        return {part: len(self._file(part, "K")) if part in there else 0 for part in (TRAINING, EVALUATION)}

    def _annotations(self, part: str) -> dict[str, Float32[ndarray, "photos ..."]]:
        """The arrays of a part, of one length; HmrError naming the file that has another."""
        found = {name: self._file(part, name) for name in ANNOTATIONS}
        for name, array in found.items():
            if len(array) != len(found["K"]):
                raise HmrError(
                    f"{annotation_file(self.root, part, name)} holds {len(array):,} entries, and {part}_K.json "
                    f"{len(found['K']):,}. {AGAIN}"
                )
        return found

    @cached_property
    def _read(self) -> dict[Path, Float32[ndarray, "..."]]:
        return {}

    def _file(self, part: str, name: str) -> Float32[ndarray, "..."]:
        path = annotation_file(self.root, part, name)
        if path not in self._read:
            self._read[path] = kept_rows(path, ANNOTATIONS[name], again=AGAIN)
        return self._read[path]

    def _without_truth(self) -> HmrError:
        lacking = ", ".join(path.name for path in lacking_files(self.root, EVALUATION))
        return HmrError(
            f"{self.root} lacks {lacking}, without which the evaluation photos have no annotations.",
            'They are public now: see "Update" in the README of https://github.com/lmb-freiburg/freihand, and put the '
            "files beside evaluation_K.json.",
        )


def missing(reader: FreiHANDReader, ids: Sequence[str]) -> Iterator[Missing]:
    """Which frames of the samples are not there."""
    paths = (reader.image_path(SampleKey.from_id(sample_id)) for sample_id in ids)
    return missing_files(reader.root, paths, AGAIN)
