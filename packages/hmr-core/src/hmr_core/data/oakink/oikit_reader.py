"""oikit, the toolkit of OakInk's authors (https://github.com/oakink/OakInk), behind the interface of our own reader.

For those who have it and want to see that a pack is what oikit gives: its lists, frames, joints, meshes, cameras and
shapes go into the pack, through `OakInkImage(data_split, mode_split)`, its `info_str_list` and its `get_*` methods.
It is not on PyPI, so it is an optional back end. It unpickles annotations with Python's own pickle, without our
allow-list: only a tree that is trusted should be read with it. It is slow to begin: it loads every mesh of image/obj
for each list that it opens, 17 times for a packing of all splits.

Two things are not taken from it. It cannot say which lists a tree has, nor what the tree is (`release.txt`): our own
reader does. And its `get_mano_pose` computes in single precision, with angles of up to 2 pi, so that its last digits
are its own: the pose is computed from the same file by ours, and each is held against oikit's. So both readers give
the same pack, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray

from hmr_core.data.oakink.annotations import AGAIN, checked_array, read_mano
from hmr_core.data.oakink.layout import ALIASES, FRAME_SIZE, NAME, SPLIT_FOLDERS, SampleKey, list_file
from hmr_core.data.oakink.reader import open_oakink
from hmr_core.errors import HmrError, Option
from hmr_core.files import NotAFileError, check_regular
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.plugins.sample import Sample

ROOT_VARIABLE = "OAKINK_DIR"
"""The variable by which oikit is told the folder OakInk, when it is imported and when a list is opened."""

MODULES = ("oikit.oi_image", "oikit.oi_image.oi_image")
"""Where its class has been, newest first."""

ANNOTATIONS = {
    "get_cam_intr": ("cam_intr", (3, 3)),
    "get_joints_3d": ("hand_j", (21, 3)),
    "get_verts_3d": ("hand_v", (778, 3)),
    "get_obj_transf": ("obj_transf", (4, 4)),
    "get_mano_shape": ("general_info", (10,)),
    "get_mano_pose": ("general_info", (16, 3)),
}
"""Its methods that give an annotation: the folder of the file that they read, and the array's shape."""

METHODS = ("get_image", "get_image_path", *ANNOTATIONS)
"""What is called of it."""

POSE_TOLERANCE = 1e-4
"""How far the entries of two rotation matrices may be apart; single precision is a hundred times better."""

OTHERWISE = ("Or leave ", Option("reader"), " out: hmr's own reader needs nothing, and the pack is the same.")

INSTALL = (
    "oikit is not on PyPI: git clone https://github.com/oakink/OakInk, then pip install ./OakInk, which asks for "
    "pytorch3d, trimesh and imageio."
)

_MEND = (f"{INSTALL} ", *OTHERWISE)

_RELEASE_NAMES = {split: alias for alias, split in ALIASES.items()}


def open_with_oikit(root: Path) -> OikitReader:
    """The reader of the tree at root by oikit; HmrError where oikit is not installed, or there is no tree."""
    return OikitReader(root)


class OikitReader:
    """OakInk-Image as oikit reads it: a DatasetReader that gives what OakInkReader gives.

    It can be pickled; a copy opens oikit's list again where it is used.
    """

    name, aliases = NAME, ALIASES

    def __init__(self, root: Path) -> None:
        self._own = open_oakink(root)
        self.root = self._own.root
        self.release = self._own.release
        self._all: Any = None
        self._index: Mapping[str, int] = {}
        _oakink_image(self.root)  # not installed: said now, not in a worker

    def __getstate__(self) -> dict[str, object]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]  # a copy is made as the original was

    def splits(self) -> Mapping[str, Sequence[str]]:
        """The splits and subsets whose lists are in this tree."""
        return self._own.splits()

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids of a subset in the release's order; UsageError for an unknown name, HmrError for a missing list."""
        list_file(self.root, split, subset)  # a name that the release does not have
        everything = self._ids(self._images())
        if subset == "all":
            return everything
        ids = self._ids(self._open(subset, split if split in SPLIT_FOLDERS else ALIASES[split]))
        if ids == everything:
            raise HmrError(
                f"the installed oikit gives every sample as subset {subset} of {split}: it is a version that does not "
                "know the release's lists.",
                *_MEND,
            )
        return ids

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample, in camera space; HmrError naming the sample and what is wrong with it."""
        key = SampleKey.from_id(sample_id)
        images, index = self._images(), self._place(sample_id)
        try:
            rotations, _ = read_mano(self.root / "image" / "anno" / "general_info" / f"{sample_id}.pkl")
            given = {method: self._annotation(method, sample_id) for method in ANNOTATIONS}
            self._check_pose(rotations, given["get_mano_pose"])
            return Sample(
                id=sample_id,
                image_path=Path(_call(images, "get_image_path", index)),
                frame_size=FRAME_SIZE,
                side="right",
                intrinsics=given["get_cam_intr"],
                joints=given["get_joints_3d"],
                verts=given["get_verts_3d"],
                rotations=rotations,
                betas=given["get_mano_shape"],
                object_pose=given["get_obj_transf"],
                labels=key.labels,
                frame_number=key.frame,
            )
        except HmrError as error:
            raise HmrError(f"sample {sample_id}: {error.message}", *error.remedy) from error

    def read_image(self, sample: Sample) -> UInt8[ndarray, "height width 3"]:
        """The sample's frame; HmrError naming the sample when oikit cannot read it, or it has another size."""
        try:
            self._check_file(sample.image_path)
            image = np.asarray(_call(self._images(), "get_image", self._place(sample.id)))
        except HmrError as error:
            raise HmrError(f"sample {sample.id}: {error.message}", *error.remedy) from error
        width, height = FRAME_SIZE
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise HmrError(
                f"sample {sample.id}: oikit's get_image gave {image.dtype} {image.shape}, not uint8 "
                f"{(height, width, 3)}. Use the release's own frames, not resized ones."
            )
        return image

    def _images(self) -> Any:
        """oikit's list of all samples, opened at its first use."""
        if self._all is None:
            self._all = self._open("all", "sp0")
            self._index = {sample_id: i for i, sample_id in enumerate(self._ids(self._all))}
        return self._all

    def _open(self, subset: str, split: str) -> Any:
        self._check_file(list_file(self.root, split, subset))
        kind = _oakink_image(self.root)
        try:
            with _told(self.root):
                return kind(data_split=subset, mode_split=_RELEASE_NAMES[split])
        except Exception as error:  # it asserts, and fails as files, JSON and trimesh do
            raise HmrError(
                f"oikit could not open {subset} of {_RELEASE_NAMES[split]} in {self.root} "
                f"({type(error).__name__}: {error}). It needs image/anno/seq_all.json and every mesh of image/obj, "
                "too.",
                *OTHERWISE,
            ) from error

    def _ids(self, images: Any) -> list[str]:
        ids = list(images.info_str_list)
        for sample_id in ids:
            SampleKey.from_id(sample_id)
        return ids

    def _place(self, sample_id: str) -> int:
        self._images()
        if sample_id not in self._index:
            raise HmrError(f"sample {sample_id} is not in oikit's list of all samples (seq_all.json).", *OTHERWISE)
        return self._index[sample_id]

    def _annotation(self, method: str, sample_id: str) -> Float32[ndarray, "..."]:
        folder, shape = ANNOTATIONS[method]
        path = self.root / "image" / "anno" / folder / f"{sample_id}.pkl"
        self._check_file(path)
        return checked_array(_call(self._images(), method, self._place(sample_id)), shape, path, f"oikit's {method}")

    def _check_file(self, path: Path) -> None:
        """HmrError for what is no file, such as a pipe, for which oikit would wait."""
        try:
            check_regular(path)
        except OSError as error:
            if not isinstance(error, NotAFileError):  # oikit says so itself
                return
            raise HmrError(f"cannot read {path}: {error.strerror}. {AGAIN}") from error

    def _check_pose(self, own: Float32[ndarray, "16 3"], given: Float32[ndarray, "16 3"]) -> None:
        a, b = (axis_angle_to_matrix(torch.from_numpy(pose).double()) for pose in (own, given))
        apart = float((a - b).abs().max())
        if not apart <= POSE_TOLERANCE:
            raise HmrError(
                f"oikit's get_mano_pose and hmr's own reader disagree: entries of their rotations are up to "
                f"{apart:.2g} apart. The installed oikit means something else by a pose.",
                *_MEND,
            )


def _oakink_image(root: Path) -> Any:
    """oikit's class OakInkImage; HmrError where it cannot be imported, or is not what it is documented to be."""
    kind, first = None, None
    with _told(root):
        for name in MODULES:
            try:
                kind = import_module(name).OakInkImage
                break
            except Exception as error:  # its dependencies fail to import in many ways
                first = first or error
    if kind is None:
        raise HmrError(f"oikit cannot be imported here ({type(first).__name__}: {first}).", *_MEND) from first
    missing = [name for name in METHODS if not callable(getattr(kind, name, None))]
    if missing:
        raise HmrError(f"the installed oikit's OakInkImage has no {', '.join(missing)}.", *_MEND)
    return kind


def _call(images: Any, method: str, index: int) -> Any:
    """What a method of oikit's gives for a sample; HmrError when it raises."""
    try:
        return getattr(images, method)(index)
    except Exception as error:  # files, pickles and shapes fail as they do
        raise HmrError(f"oikit's {method} failed ({type(error).__name__}: {error}).", *OTHERWISE) from error


@contextmanager
def _told(root: Path) -> Iterator[None]:
    """Name the root to oikit while it is imported or opens a list, and leave the environment as it was."""
    before = os.environ.get(ROOT_VARIABLE)
    os.environ[ROOT_VARIABLE] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROOT_VARIABLE]
        else:
            os.environ[ROOT_VARIABLE] = before
