"""What a packing worker does: read a sample, cut and compress its window, lay out its record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.format import ARRAYS, item_checksum
from hmr_core.data.pack.journal import RECORD, EncodedSample, record_checksum
from hmr_core.data.pack.window import crop_window
from hmr_core.data.sample import DatasetReader, Sample
from hmr_core.errors import HmrError
from hmr_core.files import read_bytes


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
        frame = self.reader.read_image(sample)
        frame_px = (frame.shape[1], frame.shape[0])
        x, y, width, height = crop_window(sample.joints, sample.intrinsics, frame_px, self.margin)
        image = self.codec.encode(np.ascontiguousarray(frame[y : y + height, x : x + width]))
        rows = _rows(sample, (x, y, width, height), frame_px)
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


def _rows(sample: Sample, window_px: tuple[int, ...], frame_px: tuple[int, int]) -> dict[str, ndarray]:
    values = {"window_px": window_px, "frame_px": frame_px}
    rows = {}
    for name, spec in ARRAYS.items():
        row = np.asarray(values[name] if name in values else getattr(sample, name)).astype(spec.dtype)
        if row.shape != spec.shape:
            raise HmrError(f"the reader gave {name} of shape {row.shape}, not {spec.shape}.")
        rows[name] = row
    return rows


def _as_array(checksum: bytes) -> ndarray:
    return np.frombuffer(checksum, dtype="u1")
