"""What a packing worker does: read samples, cut and compress their windows, lay out their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from hmr_core.data.pack.codecs import Codec
from hmr_core.data.pack.format import ARRAYS, item_checksum
from hmr_core.data.pack.window import crop_window
from hmr_core.data.sample import DatasetReader, Sample
from hmr_core.errors import HmrError


@dataclass(frozen=True)
class EncodedSamples:
    """Some samples ready to be stored, in the order asked for: rows by array name, compressed windows, checksums."""

    arrays: dict[str, ndarray]
    images: list[bytes]
    image_checksums: list[bytes]
    sample_checksums: list[bytes]


@dataclass(frozen=True)
class Encoder:
    """Reads and encodes samples; sent to worker processes, so its reader must be cheap to pickle.

    id_bytes: the length of an id in the pack, since a sample's checksum covers its padded id.
    """

    reader: DatasetReader
    codec: Codec
    margin: float
    id_bytes: int

    def encode(self, sample_ids: Sequence[str]) -> EncodedSamples:
        """The samples, stacked; HmrError naming the sample that could not be read or encoded."""
        rows: dict[str, list[ndarray]] = {name: [] for name in ARRAYS}
        images, image_checksums, sample_checksums = [], [], []
        for sample_id in sample_ids:
            row, image = self._encode_one(sample_id)
            for name, value in row.items():
                rows[name].append(value)
            images.append(image)
            image_checksums.append(item_checksum(image))
            padded_id = sample_id.encode("ascii").ljust(self.id_bytes, b"\0")
            sample_checksums.append(item_checksum(padded_id, *(row[name].tobytes() for name in ARRAYS)))
        arrays = {name: np.stack(values) for name, values in rows.items()}
        return EncodedSamples(arrays, images, image_checksums, sample_checksums)

    def _encode_one(self, sample_id: str) -> tuple[dict[str, ndarray], bytes]:
        try:
            sample = self.reader.read(sample_id)
            frame = self.reader.read_image(sample)
            frame_px = (frame.shape[1], frame.shape[0])
            x, y, width, height = crop_window(sample.joints, sample.intrinsics, frame_px, self.margin)
            image = self.codec.encode(np.ascontiguousarray(frame[y : y + height, x : x + width]))
            return _rows(sample, (x, y, width, height), frame_px), image
        except HmrError as error:
            named = sample_id in str(error)
            raise HmrError(str(error) if named else f"sample {sample_id}: {error}") from error
        except Exception as error:  # a reader of a plugin may raise anything; the sample must be named all the same
            raise HmrError(f"sample {sample_id}: {type(error).__name__}: {error}") from error


def _rows(sample: Sample, window_px: tuple[int, ...], frame_px: tuple[int, int]) -> dict[str, ndarray]:
    values = {"window_px": window_px, "frame_px": frame_px}
    rows = {}
    for name, spec in ARRAYS.items():
        row = np.asarray(values[name] if name in values else getattr(sample, name)).astype(spec.dtype)
        if row.shape != spec.shape:
            raise HmrError(f"the reader gave {name} of shape {row.shape}, not {spec.shape}.")
        rows[name] = row
    return rows
