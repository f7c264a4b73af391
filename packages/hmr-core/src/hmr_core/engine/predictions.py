"""The file of predictions that an evaluation leaves: predictions.h5.

Root attributes: format, model, split, subset, units, frame, joint_order, pack (the digest of the pack it was made on),
and labels, a JSON object with what a reader of figures has to know, as it stands in report.json: consumes, notes,
protocol, solver, hand_model, hand_layer. Files of before there were labels have none.
Data sets: id (n), joints (n, 21, 3) and, if there is a mesh, verts (n, 778, 3); metres, camera space, OpenPose order.
If the mesh is a posed hand model's, also pose (n, 16, 3), axis-angle of MANO's joints, the wrist's in camera space,
relative to the flat hand; and betas (n, 10). If the model says how sure it is of each joint, confidence (n, 21), 0..1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.errors import HmrError

FORMAT = "hmr-predictions/1"

SHAPES = {"joints": (21, 3), "verts": (778, 3), "confidence": (21,), "pose": (16, 3), "betas": (10,)}
"""Of each sample's arrays. All but the joints may be missing."""

_LABELS = ("consumes", "notes", "protocol", "solver", "hand_model", "hand_layer")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predicted points of a subset, in the subset's order; pose and betas where a hand model was posed.

    labels: of a report, as `labels` takes them from it.
    """

    model: str
    split: str
    subset: str
    pack: str
    ids: list[str]
    joints: Float32[ndarray, "n 21 3"]
    verts: Float32[ndarray, "n 778 3"] | None = None
    pose: Float32[ndarray, "n 16 3"] | None = None
    betas: Float32[ndarray, "n 10"] | None = None
    confidence: Float32[ndarray, "n 21"] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)


def labels(report: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report its predictions keep, so that their figures are never shown without it."""
    return {name: report[name] for name in _LABELS}


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file."""
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format=FORMAT,
            model=predictions.model,
            split=predictions.split,
            subset=predictions.subset,
            pack=predictions.pack,
            units="metres",
            frame="camera space: x right, y down, z away",
            joint_order="OpenPose",
            labels=json.dumps(predictions.labels),
        )
        file["id"] = np.array([i.encode() for i in predictions.ids])
        for name in SHAPES:
            if (array := getattr(predictions, name)) is not None:
                file[name] = array


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions; HmrError if it is not one, was cut off, or its arrays do not agree."""
    if not path.is_file():
        raise HmrError(f"no such file of predictions: {path}. `hmr eval` leaves one as predictions.h5 in its folder.")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise HmrError(f"{path} is not a file of predictions of format {FORMAT!r}, as `hmr eval` writes them.")
            ids = [i.decode() for i in file["id"][:]]
            present = [name for name in SHAPES if name in file or name == "joints"]
            arrays: dict[str, Any] = {name: file[name][:].astype(np.float32) for name in present}
            text: dict[str, Any] = {key: str(file.attrs[key]) for key in ("model", "split", "subset", "pack")}
            kept = json.loads(file.attrs.get("labels", "{}"))
            if not isinstance(kept, dict):
                raise ValueError("its labels are no JSON object")
    except (OSError, KeyError, ValueError) as error:
        raise HmrError(f"{path} cannot be read as predictions: {error}. Write it again with `hmr eval`.") from error
    for name, array in arrays.items():
        if array.shape != (len(ids), *SHAPES[name]):
            wanted = ", ".join(str(size) for size in ("n", *SHAPES[name]))
            raise HmrError(f"{path}: {name} of shape {array.shape} do not fit its {len(ids)} ids; valid: ({wanted}).")
    return Predictions(ids=ids, labels=kept, **arrays, **text)
