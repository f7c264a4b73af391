"""The open end of a hand's mesh."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Int64
from numpy import ndarray


def border_loop(faces: Int[ndarray, "f 3"]) -> Int64[ndarray, "n"]:
    """The vertices around the one hole of an oriented mesh, in the direction of the faces' edges.

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
