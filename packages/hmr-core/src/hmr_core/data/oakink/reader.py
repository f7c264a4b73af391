"""The reader of OakInk-Image's release tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.data.oakink.annotations import read_array, read_mano
from hmr_core.data.oakink.layout import (
    ALIASES,
    FRAME_SIZE,
    FRAMES,
    NAME,
    RELEASE,
    SPLIT_FOLDERS,
    SUBSETS,
    SampleKey,
    find_root,
    list_file,
    read_ids,
    read_release,
)
from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.pictures import decode
from hmr_core.plugins.sample import Sample


def open_oakink(root: Path) -> OakInkReader:
    """The reader of the tree at root, the folder OakInk or its parent; HmrError when there is none."""
    return OakInkReader(root)


class OakInkReader:
    """OakInk-Image as released: a DatasetReader. All hands are right ones; handover frames show two, which are two
    samples.

    It can be pickled; it holds no list of samples.
    """

    name, aliases = NAME, ALIASES

    def __init__(self, root: Path) -> None:
        self.root = find_root(root)
        self.release = read_release(self.root)

    def splits(self) -> Mapping[str, Sequence[str]]:
        """The splits and subsets whose lists are in this tree."""
        found = {split: [s for s in SUBSETS if list_file(self.root, split, s).exists()] for split in SPLIT_FOLDERS}
        # The list of all samples belongs to no split, so it alone does not make one.
        return {split: subsets for split, subsets in found.items() if set(subsets) - {"all"}}

    def split_ids(self, split: str, subset: str) -> list[str]:
        """The ids of a subset in the release's order; UsageError for an unknown name, HmrError for a missing list."""
        return read_ids(list_file(self.root, split, subset))

    def read(self, sample_id: str) -> Sample:
        """The annotations of a sample, in camera space; HmrError naming the sample and the file that is at fault."""
        key = SampleKey.from_id(sample_id)
        anno = self.root / "image" / "anno"
        file_name = f"{sample_id}.pkl"
        try:
            rotations, betas = read_mano(anno / "general_info" / file_name)
            return Sample(
                id=sample_id,
                image_path=self.root / "image" / FRAMES / key.image_name,
                frame_size=FRAME_SIZE,
                side="right",
                intrinsics=read_array(anno / "cam_intr" / file_name, (3, 3)),
                joints=read_array(anno / "hand_j" / file_name, (21, 3)),
                verts=read_array(anno / "hand_v" / file_name, (778, 3)),
                rotations=rotations,
                betas=betas,
                object_pose=read_array(anno / "obj_transf" / file_name, (4, 4)),
                labels=key.labels,
                frame_number=key.frame,
            )
        except HmrError as error:
            raise HmrError(f"sample {sample_id}: {error.message}", *error.remedy) from error

    def read_image(self, sample: Sample) -> UInt8[ndarray, "height width 3"]:
        """The sample's frame; HmrError naming the sample and the file when it is missing, damaged, of another size."""
        path = sample.image_path
        try:
            image = decode(read_bytes(path))
        except OSError as error:
            raise HmrError(
                f"sample {sample.id}: cannot read {path}: {error.strerror}. Unpack the release's {FRAMES} again."
            ) from error
        if image is None:
            raise HmrError(f"sample {sample.id}: {path} is not a readable image. Unpack the release's {FRAMES} again.")
        height, width = image.shape[:2]
        if (width, height) != FRAME_SIZE:
            raise HmrError(
                f"sample {sample.id}: {path} is {width}x{height} pixels, but the annotations of {RELEASE} are for "
                f"{FRAME_SIZE[0]}x{FRAME_SIZE[1]}. Use the release's own frames, not resized ones."
            )
        return image
