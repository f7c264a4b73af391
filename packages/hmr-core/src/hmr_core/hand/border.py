"""The open end of a hand's mesh, and the faces that close it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.hand.model import HandModel


def border_loop(faces: Int[ndarray, "f 3"]) -> Int64[ndarray, "n"]:
    """Find the vertices around the one hole of an oriented mesh, in the direction of the faces' edges.

    Raises ValueError when the border is not a single loop.
    """
    edges = {(a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loop = [min(following)] if following else []
    while loop and (after := following.get(loop[-1])) is not None and after != loop[0] and len(loop) < len(following):
        loop.append(after)
    if not loop or len(loop) != len(following) or following.get(loop[-1]) != loop[0]:
        raise ValueError("the mesh's border is not a single loop")
    return np.array(loop, dtype=np.int64)


def closed_faces(model: HandModel) -> Int64[Tensor, "closed 3"]:
    """Return the model's faces, then those that close its wrist: 1552 where the border has MANO's 16 edges.

    The closing faces zigzag across the border, so that they are compact, and are oriented as their neighbours.
    Raises HmrError when the mesh has no single hole.
    """
    try:
        loop = border_loop(model.faces.cpu().numpy()).tolist()
    except ValueError as error:
        raise HmrError(f'the mesh of the hand model "{model.name}" cannot be closed: {error}.') from error
    closing: list[tuple[int, int, int]] = []
    first, last = 0, len(loop) - 1
    while last - first > 1:
        # Against the border's direction, which is that of the faces on its other side.
        if len(closing) % 2 == 0:
            closing.append((loop[first + 1], loop[first], loop[last]))
            first += 1
        else:
            closing.append((loop[last], loop[last - 1], loop[first]))
            last -= 1
    return torch.cat([model.faces, torch.tensor(closing, dtype=model.faces.dtype, device=model.faces.device)])
