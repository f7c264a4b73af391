"""The reader of DexYCB's tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Ids
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from hmr_core.data.splits import find_split, find_subset
from hmr_core.errors import HmrError
from hmr_core.hand.made_meshes import SAME_MODEL_MM, MeshMaker, kept_within, mesh_of_sample
from hmr_core.hand.pose_basis import PoseBases
from hmr_core.plugins.sample import Missing, Sample
from hmr_core.wording import counted, listed
from hmr_datasets.dexycb.layout import (
    AGAIN,
    FRAME_SIZE,
    GET,
    NAME,
    RELEASE,
    SEQUENCES,
    SERIALS,
    SUBJECTS,
    SampleKey,
    check_root,
    subjects_of,
)
from hmr_datasets.dexycb.sequences import Label, Sequence, read_camera, read_label, read_sequence
from hmr_datasets.dexycb.splits import RULES, SUBSETS, Rule, rules
from hmr_datasets.folders import missing_files
from hmr_datasets.frames import read_frame

SIDES = ("right", "left")


class DexYCBReader:
    """DexYCB: a DatasetReader. Each sequence is of one hand, right or left, and left hands are given as left ones.

    A frame whose hand is not annotated is no sample.
    bases: MANO's pose space by side. Poses are coefficients of its components, and ours are relative to the flat hand,
    so that the hands of a side without it have no rotations. Those with its file get meshes, too.

    It can be pickled, without what it has read.
    """

    name = NAME
    aliases: Mapping[str, str] = MappingProxyType({})

    def __init__(self, root: Path, bases: PoseBases | None = None) -> None:
        check_root(root)
        self.root, self._bases = root, dict(bases or {})
        self._maker = MeshMaker(self._bases)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self._bases)

    @property
    def release(self) -> str:
        """The release; with rotations and meshes, what made them."""
        made_by = ", ".join(basis.source for _, basis in sorted(self._bases.items()))
        made = "rotations and meshes" if self._maker.sides else "rotations"
        return f"{RELEASE}, {made} by {made_by}" if self._bases else RELEASE

    @property
    def notes(self) -> list[str]:
        """What the tree lacks, and what was left out of what was listed so far."""
        notes = []
        if gone := [subject for subject in SUBJECTS if subject not in subjects_of(self.root)]:
            notes.append(f"the tree lacks {listed(gone)}: subsets with sequences of theirs cannot be listed")
        if absent := sum(int((~sequence.shown).sum()) for sequence in self._sequences.values()):
            notes.append(
                f"{counted(absent, 'moment')} of {counted(len(self._sequences), 'sequence')} without an annotated hand "
                "left out, for all cameras"
            )
        if lacking := [side for side in SIDES if side not in self._bases]:
            notes.append(
                f"rotations and meshes of {' and '.join(lacking)} hands are left out: poses are coefficients of MANO's "
                "components, which only a hand model of MANO's of that side has; packing takes one for each side"
            )
        if self._maker.sides:
            notes.append(f"meshes are made of MANO's parameters, {kept_within(SAME_MODEL_MM)}")
        return notes

    def splits(self) -> Mapping[str, Ids[str]]:
        """The splits, with the subsets of whose people the tree has all; a split without any is left out."""
        there = {SUBJECTS.index(subject) for subject in subjects_of(self.root)}
        found = {
            split: [name for name in SUBSETS if all(there >= set(rule.subjects) for rule in rules(split, name))]
            for split in RULES
        }
        return {split: subsets for split, subsets in found.items() if subsets}

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids of a subset in the toolkit's order.

        UsageError for an unknown name, HmrError naming the subjects and sequences that are missing, or a damaged file.
        """
        split = find_split(split, RULES, {}, RELEASE)
        subset = find_subset(subset, split, SUBSETS, RELEASE)
        side = SUBSETS[subset][1]
        chosen = rules(split, subset)
        people = {SUBJECTS[number] for rule in chosen for number in rule.subjects}
        if gone := sorted(people - set(subjects_of(self.root))):
            raise HmrError(
                f"{self.root} lacks {', '.join(gone)}, of which {subset} of {split} has sequences. Unpack the archives "
                f"of these subjects beside the others. {GET}"
            )
        return [name for rule in chosen for name in self._ids(rule, side)]

    def _ids(self, rule: Rule, side: str | None) -> Iterator[str]:
        for subject in (SUBJECTS[number] for number in rule.subjects):
            sessions = self._sessions(subject)
            for session in (sessions[number] for number in rule.sequences):
                found = self._sequence(f"{subject}/{session}")
                if side not in (None, found.side):
                    continue
                shown = np.flatnonzero(found.shown).tolist()
                for serial in (SERIALS[number] for number in rule.serials):
                    yield from (SampleKey(subject, session, serial, n, len(found.shown)).id for n in shown)

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample, in camera space; HmrError naming the sample and the file that is at fault."""
        key = SampleKey.from_id(sample_id)
        try:
            sequence = self._sequence(key.sequence)
            label = read_label(self.root, key, sequence.objects)
            intrinsics = self._camera(key.serial)
        except HmrError as error:
            raise HmrError(f"sample {sample_id}: {error.message}", *error.remedy) from error
        return Sample(
            id=sample_id,
            image_path=key.image_path(self.root),
            frame_size=FRAME_SIZE,
            side=sequence.side,
            intrinsics=intrinsics,
            joints=label.joints,
            joints_px=label.joints_px,
            betas=sequence.betas,
            **self._pose(sequence, label),
            object_pose=label.object_poses[sequence.grasp],
            labels={
                "sequence": key.sequence,
                "subject": key.subject,
                "object": sequence.grasped,
                "view": key.serial,
                "image": f"{key.session}/{key.serial}/{key.frame}",
            },
            frame_number=key.frame,
        )

    def read_image(self, sample: Sample) -> UInt8[ndarray, "height width 3"]:
        """The sample's frame; HmrError naming the sample and the file when it is missing, damaged, of another size."""
        return read_frame(sample, again=AGAIN)

    def _pose(self, sequence: Sequence, label: Label) -> dict[str, Any]:
        """The rotations and the mesh, where any can be known: camera space, rotations relative to the flat hand."""
        if not self._bases:
            return {}
        rotations, made = np.zeros((16, 3)), None
        if basis := self._bases.get(sequence.side):
            rotations = basis.of_components(label.pose.astype(np.float64))
        if sequence.side in self._maker.sides:
            made = self._maker.make(sequence.side, rotations, sequence.betas, label.place)
        mesh = mesh_of_sample(made, label.joints, None, SAME_MODEL_MM) if self._maker.sides else {}
        return {"rotations": rotations.astype(np.float32), "pose_valid": basis is not None, **mesh}

    def _sessions(self, subject: str) -> list[str]:
        """A person's sequences in the order that the rules number them in; HmrError when they are not all there."""
        folder = self.root / subject
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir())
        if len(found) != SEQUENCES:
            raise HmrError(
                f"{folder} has {len(found)} of {SEQUENCES} sequences, whose places tell which lists they are in. "
                f"{AGAIN}"
            )
        return found

    @cached_property
    def _sequences(self) -> dict[str, Sequence]:
        return {}

    def _sequence(self, name: str) -> Sequence:
        if name not in self._sequences:
            self._sequences[name] = read_sequence(self.root, name)
        return self._sequences[name]

    @cached_property
    def _cameras(self) -> dict[str, Float32[ndarray, "3 3"]]:
        return {}

    def _camera(self, serial: str) -> Float32[ndarray, "3 3"]:
        if serial not in self._cameras:
            self._cameras[serial] = read_camera(self.root, serial)
        return self._cameras[serial]


def missing(reader: DexYCBReader, ids: Ids[str]) -> Iterator[Missing]:
    """The files that samples lack, one for each subject: there are thousands of folders, each listed once."""
    paths: dict[str, list[Path]] = {}
    for key in map(SampleKey.from_id, ids):
        paths.setdefault(key.subject, []).extend([key.image_path(reader.root), key.label_path(reader.root)])
    for subject, expected in paths.items():
        again = f"Unpack {subject}.tar.gz again."
        absent = missing_files(reader.root / subject, expected, again)
        if names := [f"{folder}/{name}" for folder, lacking, _, _ in absent for name in lacking]:
            yield Missing(where=subject, names=names, total=len(expected), remedy=again)
