"""The file of predictions: what an evaluation leaves as predictions.h5, and anybody can write. docs/predictions.md.

Root attributes: format, split, subset, units, frame, joint_order (`MEANINGS`); perhaps depth_from (GIVEN, PREDICTED);
and, of an evaluation, model, pack (the digest of the pack it was made on) and labels, a JSON object with what a reader
of metrics has to know, as it stands in report.json: consumes, notes, protocol, solver, hand_model, hand_layer; of a
predictor also trained_on and found.
Data sets: id (n), joints (n, 21, 3) and, if there is a mesh, verts (n, 778, 3); metres, camera space, OpenPose order.
If the mesh is a posed hand model's, also rotations (n, 16, 3), axis-angle of MANO's joints, the wrist's in camera
space, relative to the flat hand; and betas (n, 10). If the model says how sure it is of each joint, confidence (n, 21),
0..1. An evaluation adds each sample's errors, (n) in mm: mpjpe_mm, pa_mpjpe_mm and, of a mesh, mpvpe_mm, pa_mpvpe_mm.
Their means are the metrics of the same names; samples without truth have nan.

An evaluation's file is HDF5 behind a block with the digest of all that follows it, which is compared before the HDF5
library sees the file: it may end the process where a file was damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.data.plausibility import likely_unit, unit_text
from hmr_core.errors import HmrError
from hmr_core.evaluation.report_keys import Report
from hmr_core.file_kinds import HDF5
from hmr_core.files import open_regular

FORMAT = "hmr-predictions/1"

MEANINGS = {"units": "metres", "frame": "camera space: x right, y down, z away", "joint_order": "OpenPose"}
"""What a file must say of its points: there is no other choice."""

ERRORS = ("mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm")
"""The errors that each sample has by itself; the mean over all samples is the metric of the same name."""

SHAPES: Mapping[str, tuple[int, ...]] = {
    "joints": (21, 3),
    "verts": (778, 3),
    "confidence": (21,),
    "rotations": (16, 3),
    "betas": (10,),
    **dict.fromkeys(ERRORS, ()),
}
"""Of each sample's arrays. All but the joints may be missing."""

GIVEN, PREDICTED = "annotations", "predicted"
"""Where a hand's depth is from, as the attribute depth_from says: the annotated depth of its root, or the prediction
itself. Metrics in camera space as if nothing had been given are computed of the second alone.
"""

FARTHEST_APART_M = 0.2
"""The middle of a mesh is no farther than this from the middle of its joints, which is the length of a hand."""

_BLOCK_BYTES = 512
_START = b'{"format": "hmr-predictions/'
_HOW = "docs/predictions.md says how such a file is written."

_LABELS = ("consumes", "notes", "protocol", "solver", "hand_model", "hand_layer", "trained_on", "found")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predicted points of a subset (metres, camera space); rotations and betas where a hand model was posed.

    mpjpe_mm and the like: each sample's errors, where an evaluation computed them. pack: the digest of the pack that
    the predictions were made on. depth_from: GIVEN or PREDICTED. Both are "" where the file does not say. labels: of a
    report, as `labels` takes them from it. sealed: whether the file that they were read from has a digest.
    """

    model: str
    split: str
    subset: str
    pack: str
    ids: list[str]
    joints: Float32[ndarray, "n 21 3"]
    verts: Float32[ndarray, "n 778 3"] | None = None
    rotations: Float32[ndarray, "n 16 3"] | None = None
    betas: Float32[ndarray, "n 10"] | None = None
    confidence: Float32[ndarray, "n 21"] | None = None
    mpjpe_mm: Float32[ndarray, " n"] | None = None
    mpvpe_mm: Float32[ndarray, " n"] | None = None
    pa_mpjpe_mm: Float32[ndarray, " n"] | None = None
    pa_mpvpe_mm: Float32[ndarray, " n"] | None = None
    depth_from: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)
    sealed: bool = field(default=False, compare=False)


def labels(report: Report) -> dict[str, Any]:
    """What of a report its predictions keep, so that their metrics are never shown without it."""
    kept: dict[str, Any] = {name: value for name, value in report.items() if name in _LABELS}
    if "found" in kept:  # metrics are those that are computed, whoever reads the file
        kept["found"] = {name: value for name, value in kept["found"].items() if name != "metrics"}
    return kept


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file, with its digest."""
    with h5py.File(path, "w", userblock_size=_BLOCK_BYTES) as file:
        file.attrs.update(
            format=FORMAT,
            model=predictions.model,
            split=predictions.split,
            subset=predictions.subset,
            pack=predictions.pack,
            labels=json.dumps(predictions.labels),
            **({"depth_from": predictions.depth_from} if predictions.depth_from else {}),
            **MEANINGS,
        )
        file["id"] = np.array([i.encode() for i in predictions.ids])
        for name in SHAPES:
            if (array := getattr(predictions, name)) is not None:
                file[name] = array
    with path.open("r+b") as file:
        block = _block(file)
        file.seek(0)
        file.write(block)


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions, an evaluation's or anybody's.

    Raises HmrError when it is none, was altered or cut off, when its arrays do not agree, and when its points are in
    other units, another frame or another order of joints than ours.
    """
    sealed = _check_digest(path)
    try:
        with h5py.File(path, "r") as file:
            attributes = {name: _text(value) for name, value in file.attrs.items()}
            if attributes.get("format") != FORMAT:
                raise HmrError(f"{path} is not a file of predictions of format {FORMAT!r}. {_HOW}")
            if absent := [name for name in ("split", "subset", *MEANINGS) if name not in attributes]:
                raise HmrError(f"{path} does not say its {', '.join(absent)}: attributes of its root. {_HOW}")
            for name, ours in MEANINGS.items():
                if attributes[name] != ours:
                    raise HmrError(f'{path}: {name} is "{attributes[name]}"; valid: "{ours}". {_HOW}')
            arrays = {name: _array(file, name) for name in SHAPES if name in file or name == "joints"}
            ids = _ids(file)
            if attributes.get("depth_from", GIVEN) not in (GIVEN, PREDICTED):
                given = attributes["depth_from"]
                raise HmrError(f'{path}: depth_from is "{given}"; valid: "{GIVEN}" or "{PREDICTED}". {_HOW}')
            kept = json.loads(attributes["labels"]) if sealed else {}  # our own, which nobody changed
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise HmrError(f"{path} cannot be read as predictions: {error}. {_HOW}") from error
    for name, array in arrays.items():
        if array.shape != (len(ids), *SHAPES[name]):
            wanted = ", ".join(str(size) for size in ("n", *SHAPES[name]))
            raise HmrError(f"{path}: {name} of shape {array.shape} do not fit its {len(ids)} ids; valid: ({wanted}).")
    if not sealed:
        _check_meanings(path, ids, arrays["joints"], arrays.get("verts"))
    sure = arrays.get("confidence")
    if sure is not None and not ((sure >= 0) & (sure <= 1)).all():
        raise HmrError(f"{path}: confidence has numbers that are not from 0 to 1. {_HOW}")
    return Predictions(
        model=attributes.get("model", path.stem),
        split=attributes["split"],
        subset=attributes["subset"],
        pack=attributes.get("pack", ""),
        ids=ids,
        depth_from=attributes.get("depth_from", ""),
        labels=kept,
        sealed=sealed,
        **arrays,
    )


def _check_meanings(
    path: Path, ids: list[str], joints: Float32[ndarray, "n 21 3"], verts: Float32[ndarray, "n 778 3"] | None
) -> None:
    """HmrError for points that somebody else wrote and that are not what the file's attributes say of them."""
    if not ids:
        return
    points = {"joints": joints, **({} if verts is None else {"verts": verts})}
    for name, array in points.items():
        if bad := np.flatnonzero(~np.isfinite(array).all((1, 2))).tolist():
            raise HmrError(f"{path}: {name} of {ids[bad[0]]} are not finite ({len(bad)} of {len(ids)} samples). {_HOW}")
        if (unit := likely_unit(name, array)) in ("centimetres", "millimetres"):
            raise HmrError(f"{path} says metres, but its {unit_text(name, unit, array)}. Convert them. {_HOW}")
    if same := [joint for joint in range(21) if not joints[:, joint].any()]:
        raise HmrError(
            f"{path} says camera space, but joint {same[0]} is at the camera itself in every sample: the points are "
            f"relative to it. Add where it is, by the annotations' depth if the model does not predict it. {_HOW}"
        )
    if verts is not None:
        apart_m = float(np.median(np.linalg.norm(verts.mean(1) - joints.mean(1), axis=-1)))
        if apart_m > FARTHEST_APART_M:
            raise HmrError(
                f"{path} says camera space, but its verts are {apart_m:.2f} m from its joints: they are relative to a "
                f"point of the hand. Add where that is. {_HOW}"
            )


def _block(file: BufferedRandom | BufferedReader) -> bytes:
    """What a file begins with by all that follows: the digest of that, as a line of JSON, and zeros."""
    file.seek(_BLOCK_BYTES)
    digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return (json.dumps({"format": FORMAT, "blake2b": digest}) + "\n").encode("ascii").ljust(_BLOCK_BYTES, b"\0")


def _check_digest(path: Path) -> bool:
    """Whether a file has a digest; HmrError for one that is not the file's, and for what is no file of predictions."""
    try:
        with open_regular(path) as file:
            begin = file.read(_BLOCK_BYTES)
            if begin.startswith(HDF5):
                return False
            if not begin.startswith(_START):
                raise HmrError(f"{path} is not a file of predictions of format {FORMAT!r}. {_HOW}")
            if begin != _block(file):
                raise HmrError(
                    f"{path} was altered or damaged since `hmr eval` wrote it: its digest is another. Evaluate again."
                )
            return True
    except FileNotFoundError as error:
        raise HmrError(
            f"no such file of predictions: {path}. `hmr eval` leaves one as predictions.h5 in its folder."
        ) from error
    except OSError as error:
        raise HmrError(f"{path} cannot be read: {error.strerror}.") from error


def _text(value: Any) -> str:
    """An attribute as text, whoever wrote it: h5py gives texts of fixed length as bytes."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _dataset(file: h5py.File, name: str) -> Any:
    held = file[name]
    if not isinstance(held, h5py.Dataset):
        raise ValueError(f"its {name} is a group, not an array")
    return held


def _ids(file: h5py.File) -> list[str]:
    held = _dataset(file, "id")
    if h5py.check_string_dtype(held.dtype) is None:
        raise ValueError(f"its id is of type {held.dtype}, not text")
    if held.ndim != 1:
        raise ValueError(f"its id has shape {held.shape}, not (n)")
    return [value.decode("utf-8") for value in held[()].tolist()]


def _array(file: h5py.File, name: str) -> Float32[ndarray, "..."]:
    held = _dataset(file, name)
    if held.dtype.kind != "f":
        raise ValueError(f"its {name} is of type {held.dtype}, not floats")
    return np.asarray(held[()], dtype=np.float32)
