"""What a packing worker does: read a sample, cut and compress its window, lay out its record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from hmr_core.arrays import real_array
from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.format import ARRAYS, item_checksum
from hmr_core.data.pack.journal import RECORD, EncodedSample, record_checksum
from hmr_core.data.pack.window import crop_window
from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.plugins.sample import DatasetReader, Sample


@dataclass(frozen=True)
class Encoder:
    """Reads and encodes samples; sent to worker processes, so its reader must be cheap to pickle.

    id_bytes: the length of an id in the pack, since a sample's checksum covers its padded id.
    """

    reader: DatasetReader
    codec: Codec
    margin: float
    id_bytes: int

    def encode(self, sample_id: str) -> EncodedSample:
        """The sample ready to be stored; HmrError naming it when it could not be read or encoded."""
        try:
            return self._encode(sample_id)
        except HmrError as error:
            named = sample_id in str(error)
            raise HmrError(str(error) if named else f"sample {sample_id}: {error}") from error
        except Exception as error:  # a reader of a plugin may raise anything; the sample must be named all the same
            raise HmrError(f"sample {sample_id}: {type(error).__name__}: {error}") from error

    def _encode(self, sample_id: str) -> EncodedSample:
        sample = self.reader.read(sample_id)
        annotations = stored_annotations(sample)
        frame = self.reader.read_image(sample)
        _check_frame(frame)
        frame_px = (frame.shape[1], frame.shape[0])
        x, y, width, height = crop_window(annotations["joints"], annotations["intrinsics"], frame_px, self.margin)
        image = self.codec.encode(np.ascontiguousarray(frame[y : y + height, x : x + width]))
        places = {"window_px": (x, y, width, height), "frame_px": frame_px}
        rows = {
            name: annotations[name] if name in annotations else np.array(places[name], dtype=spec.dtype)
            for name, spec in ARRAYS.items()
        }
        padded_id = sample_id.encode("ascii").ljust(self.id_bytes, b"\0")
        record = np.zeros((), dtype=RECORD)
        for name, row in rows.items():
            record[name] = row
        record["image_bytes"] = len(image)
        record["image_checksum"] = _as_array(item_checksum(image))
        record["source"] = _as_array(item_checksum(read_bytes(sample.image_path)))
        record["sample_checksum"] = _as_array(item_checksum(padded_id, *(row.tobytes() for row in rows.values())))
        record["record_checksum"] = _as_array(record_checksum(record.tobytes()))
        return EncodedSample(record, image)


def stored_annotations(sample: Sample) -> dict[str, ndarray]:
    """What is stored of a sample besides its window, checked: a plugin's reader may give anything."""
    rows = {}
    for name, spec in ARRAYS.items():
        if name in ("window_px", "frame_px"):
            continue
        try:
            row = real_array(getattr(sample, name), spec.dtype)
        except (TypeError, ValueError) as error:
            raise HmrError(f"the reader gave {name} that are no numbers to store ({error}).") from error
        if row.shape != spec.shape:
            raise HmrError(f"the reader gave {name} of shape {row.shape}, not {spec.shape}.")
        if not np.isfinite(row).all():
            raise HmrError(f"the reader gave {name} with numbers that are not finite.")
        rows[name] = row
    return rows


def _check_frame(frame: object) -> None:
    """HmrError unless a reader's frame is an RGB image: OpenCV would encode other types as well, as something else."""
    if not isinstance(frame, ndarray):
        raise HmrError(f"the reader gave a frame that is a {type(frame).__name__}, not an array.")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise HmrError(f"the reader gave a frame of {frame.dtype} {frame.shape}, not of uint8 (height, width, 3).")


def _as_array(checksum: bytes) -> ndarray:
    return np.frombuffer(checksum, dtype="u1")
