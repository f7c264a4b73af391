"""The file of predictions that an evaluation leaves: predictions.h5.

Root attributes: format, model, split, subset, units, frame, joint_order, pack (the digest of the pack it was made on).
Data sets: id (n), joints (n, 21, 3) and, if there is a mesh, verts (n, 778, 3); metres, camera space, OpenPose order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.errors import HmrError

FORMAT = "hmr-predictions/1"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predicted points of a subset, in the subset's order."""

    model: str
    split: str
    subset: str
    pack: str
    ids: list[str]
    joints: Float32[ndarray, "n 21 3"]
    verts: Float32[ndarray, "n 778 3"] | None


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
        )
        file["id"] = np.array([i.encode() for i in predictions.ids])
        file["joints"] = predictions.joints
        if predictions.verts is not None:
            file["verts"] = predictions.verts


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions; HmrError if it is not one, was cut off, or its arrays do not agree."""
    if not path.is_file():
        raise HmrError(f"no such file of predictions: {path}. `hmr eval` leaves one as predictions.h5 in its folder.")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise HmrError(f"{path} is not a file of predictions of format {FORMAT!r}, as `hmr eval` writes them.")
            ids = [i.decode() for i in file["id"][:]]
            joints = file["joints"][:].astype(np.float32)
            verts = file["verts"][:].astype(np.float32) if "verts" in file else None
            text = {key: str(file.attrs[key]) for key in ("model", "split", "subset", "pack")}
    except (OSError, KeyError) as error:
        raise HmrError(f"{path} cannot be read as predictions: {error}. Write it again with `hmr eval`.") from error
    if joints.shape != (len(ids), 21, 3) or (verts is not None and verts.shape != (len(ids), 778, 3)):
        shapes = f"joints {joints.shape}, verts {None if verts is None else verts.shape}"
        raise HmrError(f"{path}: {shapes} do not fit its {len(ids)} ids; valid: (n, 21, 3) and (n, 778, 3).")
    return Predictions(ids=ids, joints=joints, verts=verts, **text)
