"""What a packing worker does: read a sample, cut and compress its window, lay out its record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from hmr_core.arrays import real_array
from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.format import ARRAYS, PLACES, ArraySpec, arrays_with, item_checksum
from hmr_core.data.pack.journal import EncodedSample, record_checksum, record_type
from hmr_core.data.pack.window import annotated_box, crop_window, joints_box
from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.hand.joints import JOINT_NAMES, MIDDLE_MCP, SIDES, WRIST
from hmr_core.plugins.sample import LABEL_LENGTH, LABELS, DatasetReader, Sample

ROOTS = (WRIST, MIDDLE_MCP)
"""The joints that must be known of every sample: models take one of them as the root."""

MASKS = {"verts_valid": ("verts",), "pose_valid": ("rotations", "betas")}
"""The arrays that a sample may have no entries of, by what says whether it has them."""

_SAME_ARRAYS = "A reader gives the same arrays for every sample."


@dataclass(frozen=True)
class Encoder:
    """Reads and encodes samples; sent to worker processes, so its reader must be cheap to pickle.

    id_bytes: the length of an id in the pack, since a sample's checksum covers its padded id. arrays: those of
    `/samples` that the pack has, in the format's order.
    """

    reader: DatasetReader
    codec: Codec
    margin: float
    id_bytes: int
    arrays: tuple[str, ...]

    def encode(self, sample_id: str) -> EncodedSample:
        """The sample ready to be stored; HmrError naming it when it could not be read or encoded."""
        with failures_named(sample_id):
            return self._encode(sample_id)

    def _encode(self, sample_id: str) -> EncodedSample:
        sample = self.reader.read(sample_id)
        annotations = stored_annotations(sample)
        _check_arrays(self.arrays, annotations)
        frame = self.reader.read_image(sample)
        frame_px = checked_frame_size(sample)
        _check_frame(frame, frame_px)
        x, y, width, height = crop_window(_hand_box(annotations), frame_px, self.margin, mirrored=sample.side == "left")
        image = self.codec.encode(np.ascontiguousarray(frame[y : y + height, x : x + width]))
        places = {"window_px": (x, y, width, height), "frame_px": frame_px}
        rows = {
            name: annotations[name] if name in annotations else np.array(places[name], dtype=ARRAYS[name].dtype)
            for name in self.arrays
        }
        padded_id = sample_id.encode("ascii").ljust(self.id_bytes, b"\0")
        record = np.zeros((), dtype=record_type(self.arrays))
        for name, row in rows.items():
            record[name] = row
        record["image_bytes"] = len(image)
        record["image_checksum"] = _as_array(item_checksum(image))
        record["source"] = _as_array(item_checksum(read_bytes(sample.image_path)))
        record["sample_checksum"] = _as_array(item_checksum(padded_id, *(row.tobytes() for row in rows.values())))
        record["record_checksum"] = _as_array(record_checksum(record.tobytes()))
        return EncodedSample(record, image)


@contextmanager
def failures_named(sample_id: str) -> Iterator[None]:
    """Whatever fails is an HmrError that names the sample: a reader of a plugin may raise anything."""
    try:
        yield
    except HmrError as error:
        named = sample_id in error.message
        message = error.message if named else f"sample {sample_id}: {error.message}"
        raise HmrError(message, *error.remedy) from error
    except Exception as error:
        raise HmrError(f"sample {sample_id}: {type(error).__name__}: {error}") from error


def stored_annotations(sample: Sample) -> dict[str, ndarray]:
    """What is stored of a sample besides its window, checked: a plugin's reader may give anything.

    Arrays that the sample lacks are absent; what is not known is 0.
    """
    rows = _stored_labels(sample.labels)
    for name, spec in ARRAYS.items():
        given = None if name in PLACES else getattr(sample, name, None)
        if given is None and (name in PLACES or spec.optional):
            continue
        if name == "side":
            rows[name] = _stored_side(given)
        elif name == "joints_valid":
            rows[name] = _stored_mask(given)
        elif name in MASKS:
            rows[name] = _stored_flag(name, given)
        else:
            rows[name] = _stored_numbers(name, given, spec)
    _check_known(rows)
    rows["joints"][~_known(rows)] = 0
    for mask, names in MASKS.items():
        for name in names:
            if mask in rows and not rows[mask]:
                rows[name][...] = 0
    for name, row in rows.items():
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            raise HmrError(f"the reader gave {name} with numbers that are not finite.")
    return {name: rows[name] for name in ARRAYS if name in rows}


def stored_arrays(annotations: Iterable[str]) -> tuple[str, ...]:
    """The arrays of `/samples`, in the format's order, of a pack whose samples have these annotations."""
    return tuple(arrays_with(annotations))


def checked_frame_size(sample: Sample) -> tuple[int, int]:
    """The (width, height) that a reader gave of a sample's frame; HmrError unless they are two whole numbers."""
    given = sample.frame_size
    try:
        size = real_array(given, "<i4")
    except (TypeError, ValueError) as error:
        raise HmrError(f"the reader gave a frame_size that is none ({error}): {given!r:.80}.") from error
    if size.shape != (2,) or size.min() < 1:
        raise HmrError(f"the reader gave the frame_size {given!r:.80}; valid: (width, height) in pixels.")
    return int(size[0]), int(size[1])


def _stored_numbers(name: str, given: object, spec: ArraySpec) -> ndarray:
    try:
        row = real_array(given, spec.dtype)
    except (TypeError, ValueError) as error:
        raise HmrError(f"the reader gave {name} that are no numbers to store ({error}).") from error
    if row.shape != spec.shape:
        raise HmrError(f"the reader gave {name} of shape {row.shape}, not {spec.shape}.")
    return row


def _stored_side(given: object) -> ndarray:
    if given not in SIDES:
        raise HmrError(f"the reader gave the side {given!r:.80}; valid: {' or '.join(SIDES)}.")
    return np.array(SIDES.index(given), dtype=ARRAYS["side"].dtype)


def _stored_mask(given: object) -> ndarray:
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != ARRAYS["joints_valid"].shape:
        raise HmrError(f"the reader gave joints_valid of {mask.dtype} {mask.shape}, not of bool (21,).")
    return mask.astype(ARRAYS["joints_valid"].dtype)


def _stored_flag(name: str, given: object) -> ndarray:
    if not isinstance(given, bool | np.bool_):
        raise HmrError(f"the reader gave the {name} {given!r:.80}; valid: True or False.")
    return np.array(given, dtype=ARRAYS[name].dtype)


def _stored_labels(given: object) -> dict[str, ndarray]:
    """The labels, in the format's order."""
    if not isinstance(given, Mapping) or (unknown := [name for name in given if name not in LABELS]):
        what = f"the label {unknown[0]!r:.80}" if isinstance(given, Mapping) else f"labels that are {given!r:.80}"
        raise HmrError(f"the reader gave {what}; valid: texts by the names {', '.join(LABELS)}.")
    for name, text in given.items():
        if not isinstance(text, str) or not text.isascii() or not (text.isprintable() and len(text) <= LABEL_LENGTH):
            raise HmrError(
                f"the reader gave the label {name} {text!r:.80}; valid: at most {LABEL_LENGTH} printable ASCII "
                "characters."
            )
    return {f"label_{name}": np.array(text.encode("ascii"), f"S{LABEL_LENGTH}") for name, text in given.items()}


def _check_known(rows: Mapping[str, ndarray]) -> None:
    """HmrError for a sample without a root that models need, and for a mask of arrays that there are not."""
    known = _known(rows)
    roots = ROOTS[:1] if "box_px" in rows else ROOTS
    if lacking := [joint for joint in roots if not known[joint]]:
        raise HmrError(
            f"joint {lacking[0]} ({JOINT_NAMES[lacking[0]]}) is not known, and models take it as the root. A reader "
            "must not list such samples."
        )
    for mask, names in MASKS.items():
        if mask in rows and (lacks := [name for name in names if name not in rows]):
            raise HmrError(f"the reader gave {mask} and no {lacks[0]}: where it is not known, any numbers will do.")
    if "box_px" in rows and not (rows["box_px"][2:] > 0).all():
        raise HmrError(f"the reader gave the box_px {rows['box_px'].tolist()}; valid: x, y, width, height above 0.")


def _known(annotations: Mapping[str, ndarray]) -> Bool[ndarray, "21"]:
    """Which joints of a sample are known."""
    mask = annotations.get("joints_valid")
    return np.ones(21, dtype=bool) if mask is None else mask.astype(bool)


def _hand_box(annotations: Mapping[str, ndarray]) -> tuple[Float64[ndarray, "2"], float]:
    """The centre and the side, in the frame's pixels, of the square that crops are made of."""
    known = _known(annotations)
    if not known[MIDDLE_MCP]:
        return annotated_box(annotations["box_px"])
    return joints_box(annotations["joints"][known], annotations["intrinsics"])


def _check_arrays(arrays: tuple[str, ...], annotations: Mapping[str, ndarray]) -> None:
    """HmrError unless a sample has the arrays that the pack has."""
    there = {*annotations, *PLACES}
    if lacking := [name for name in arrays if name not in there]:
        raise HmrError(f"the reader gave no {lacking[0]}, and it gave some of the first sample. {_SAME_ARRAYS}")
    if more := [name for name in annotations if name not in arrays]:
        raise HmrError(f"the reader gave {more[0]}, and it gave none of the first sample. {_SAME_ARRAYS}")


def _check_frame(frame: object, frame_px: tuple[int, int]) -> None:
    """HmrError unless a reader's frame is an RGB image: OpenCV would encode other types as well, as something else."""
    if not isinstance(frame, ndarray):
        raise HmrError(f"the reader gave a frame that is a {type(frame).__name__}, not an array.")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise HmrError(f"the reader gave a frame of {frame.dtype} {frame.shape}, not of uint8 (height, width, 3).")
    if (frame.shape[1], frame.shape[0]) != frame_px:
        raise HmrError(
            f"the reader gave a frame of {frame.shape[1]}x{frame.shape[0]} pixels, and the frame_size "
            f"{frame_px[0]}x{frame_px[1]}."
        )


def _as_array(checksum: bytes) -> ndarray:
    return np.frombuffer(checksum, dtype="u1")
