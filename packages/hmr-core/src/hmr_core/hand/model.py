"""A hand model: what linear blend skinning needs, in MANO's layout, and the file it lives in."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.file_kinds import BEGINNING, file_kind
from hmr_core.files import open_regular
from hmr_core.hand.arrays import FORMAT, MAKE, SHAPES, check_arrays, check_hand_file
from hmr_core.hand.joints import MANO_PARENTS, SIDES

ORIGIN = ("source", "licence")
"""The texts of a hand model that are not in its file where they are empty."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HandModel:
    """A hand in MANO's layout (Romero et al., 2017): metres, MANO's joint order, float64 unless converted.

    template: the mesh at rest, flat. faces: counter-clockwise seen from outside.
    shape_dirs: what each of the ten betas adds to the template.
    pose_dirs: what each entry of (rotation - identity) of the 15 finger joints, row-major, adds to the template.
    joint_regressor: the joints from the shaped template; skin_weights: the joints that carry each vertex (rows sum to
    1).
    pose_components: rows span the 45 axis-angle values of the finger joints, around pose_mean.
    source: the file that it was imported from and its checksum; licence: what that file's owners ask. Empty for none.
    """

    name: str
    side: str
    template: Float[Tensor, "778 3"]
    faces: Int[Tensor, "1538 3"]
    shape_dirs: Float[Tensor, "778 3 10"]
    pose_dirs: Float[Tensor, "778 3 135"]
    joint_regressor: Float[Tensor, "16 778"]
    skin_weights: Float[Tensor, "778 16"]
    pose_components: Float[Tensor, "45 45"]
    pose_mean: Float[Tensor, "45"]
    parents: tuple[int, ...] = MANO_PARENTS
    source: str = ""
    licence: str = ""

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> HandModel:
        """Convert the floating-point arrays to a type, and move all arrays to a device."""
        arrays = {name: getattr(self, name) for name in SHAPES}
        return replace(
            self, **{n: a.to(device) if n == "faces" else a.to(device=device, dtype=dtype) for n, a in arrays.items()}
        )


def save_hand_model(model: HandModel, path: Path) -> None:
    """Write a hand model to an `.npz` file of format `hmr-hand/1`; the same model gives the same bytes."""
    arrays = {name: getattr(model, name) for name in SHAPES}
    origin: dict[str, Any] = {name: np.array(text) for name in ORIGIN if (text := getattr(model, name))}
    content = io.BytesIO()  # a file that cannot be written, NumPy below 2.2 leaves to a traceback that nobody catches
    np.savez_compressed(
        content,
        format=np.array(FORMAT),
        name=np.array(model.name),
        side=np.array(model.side),
        parents=np.array(model.parents, dtype=np.int64),
        **origin,
        **{n: a.cpu().numpy().astype(np.int64 if n == "faces" else np.float64) for n, a in arrays.items()},
    )
    path.write_bytes(content.getvalue())


def load_hand_model(path: Path) -> HandModel:
    """Read a hand model of format `hmr-hand/1`, float64.

    Raises HmrError, naming the file, when it is missing, is no such file, or holds arrays that are no hand model.
    """
    check_hand_file(path)
    try:
        with open_regular(path) as file:
            begin = file.read(BEGINNING)
            file.seek(0)
            if not begin.startswith(b"PK"):  # NumPy would advise to run what a pickle holds
                raise HmrError(f"{path} is not a hand model ({FORMAT} in an .npz file){_instead(begin)}. {MAKE}")
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            found = {name: loaded[name] for name in loaded.files}
        return _checked(found, path)
    except HmrError:
        raise
    except OSError as error:
        raise HmrError(f"the hand model {path} cannot be read: {error.strerror or error}. {MAKE}") from error
    except Exception as error:  # a damaged archive raises almost anything
        raise HmrError(f"{path} is not a hand model ({FORMAT} in an .npz file): {error}") from error


def _instead(begin: bytes) -> str:
    kind = file_kind(begin)
    return f": it is {kind}" if kind else ""


def as_tensors(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Make tensors of a hand model's arrays: float64, and int64 for the faces."""
    return {name: torch.from_numpy(found[name].astype(np.int64 if name == "faces" else np.float64)) for name in SHAPES}


def _checked(found: dict[str, np.ndarray], path: Path) -> HandModel:
    tag = str(found.get("format", "none"))[:80]
    if tag != FORMAT:
        raise HmrError(f'{path} is not a hand model this version reads: its format is "{tag}", not "{FORMAT}".')
    missing = [name for name in (*SHAPES, "name", "side", "parents") if name not in found]
    if missing:
        raise HmrError(f"the hand model {path} lacks {', '.join(missing)}.")
    check_arrays(found, f"the hand model {path}")
    parents = tuple(found["parents"].ravel().tolist())
    if found["parents"].dtype.kind not in "iu" or parents != MANO_PARENTS:
        raise HmrError(f"the hand model {path} has the joint tree {parents!s:.80}; it must be MANO's, {MANO_PARENTS}.")
    side = str(found["side"])
    if side not in SIDES:
        raise HmrError(f'the hand model {path} has side "{side:.80}"; it must be right or left.')
    origin: dict[str, Any] = {name: str(found.get(name, "")) for name in ORIGIN}
    return HandModel(name=str(found["name"]), side=side, parents=MANO_PARENTS, **origin, **as_tensors(found))
