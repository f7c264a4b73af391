"""Mesh files that other programs open: OBJ, PLY and GLB, metres, triangles counter-clockwise seen from outside.

OBJ and PLY keep camera space (x right, y down, z away). GLB has glTF's axes (x right, y up, z towards the viewer), as
its specification asks (glTF 2.0, section 3.4): y and z change their signs, which is a rotation and no mirroring.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.staging import staged_file

_TO_GLTF = np.array([1.0, -1.0, -1.0], dtype=np.float32)

_GLTF_FLOAT, _GLTF_UINT = 5126, 5125
_GLTF_VERTICES, _GLTF_INDICES = 34962, 34963


def write_mesh(path: Path, verts: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> None:
    """Write a mesh in the format that the file's ending names, whole or not at all.

    verts: metres, camera space. Raises UsageError for another ending, HmrError when the file cannot be written.
    """
    check_mesh_name(path)
    content = FORMATS[path.suffix.lower()](verts.astype(np.float32), faces.astype(np.uint32))
    with staged_file(path) as part:
        part.write_bytes(content)


def check_mesh_name(path: Path) -> None:
    """UsageError unless a file's ending names a format of meshes."""
    if path.suffix.lower() not in FORMATS:
        valid = ", ".join(FORMATS)
        raise UsageError(f"{path} does not say by its ending which format a mesh is to have. Valid: {valid}.")


def _obj(verts: ndarray, faces: ndarray) -> bytes:
    lines = ["# metres, camera space: x right, y down, z away"]
    lines += ["v {:.6f} {:.6f} {:.6f}".format(*vert) for vert in verts.tolist()]
    lines += ["f {} {} {}".format(*face) for face in (faces.astype(np.int64) + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def _ply(verts: ndarray, faces: ndarray) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment metres, camera space: x right, y down, z away\n"
        f"element vertex {len(verts)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar uint vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<u4", 3)])
    rows["count"], rows["corners"] = 3, faces
    return header.encode() + verts.astype("<f4").tobytes() + rows.tobytes()


def _glb(verts: ndarray, faces: ndarray) -> bytes:
    points = verts * _TO_GLTF
    positions, indices = points.astype("<f4").tobytes(), faces.astype("<u4").tobytes()
    scene = {
        "asset": {"version": "2.0", "generator": "hmr"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "hand"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": _GLTF_FLOAT,
                "count": len(points),
                "type": "VEC3",
                "min": points.min(0).tolist(),
                "max": points.max(0).tolist(),
            },
            {"bufferView": 1, "componentType": _GLTF_UINT, "count": faces.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions), "target": _GLTF_VERTICES},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices), "target": _GLTF_INDICES},
        ],
        "buffers": [{"byteLength": len(positions) + len(indices)}],
    }
    text = json.dumps(scene, separators=(",", ":")).encode()
    chunks = _glb_chunk(b"JSON", text, b" ") + _glb_chunk(b"BIN\0", positions + indices, b"\0")
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _glb_chunk(kind: bytes, content: bytes, padding: bytes) -> bytes:
    padded = content + padding * (-len(content) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded


FORMATS: dict[str, Callable[[ndarray, ndarray], bytes]] = {".obj": _obj, ".ply": _ply, ".glb": _glb}
"""By ending, what makes a file's content of vertices and faces."""
