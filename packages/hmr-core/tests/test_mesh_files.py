"""Mesh files are read back by the rules of their formats."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.mesh_files import write_mesh
from hmr_core.hand.synthetic import load_synthetic_hand

Mesh = tuple[np.ndarray, np.ndarray]
SCALARS = {5126: "<f4", 5125: "<u4"}


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    """A hand half a metre before the camera."""
    model = load_synthetic_hand()
    return (model.template.numpy() + np.array([0.01, 0.02, 0.5])).astype(np.float32), model.faces.numpy()


def read_obj(path: Path) -> Mesh:
    rows = [line.split() for line in path.read_text().splitlines()]
    verts = [[float(value) for value in row[1:]] for row in rows if row[0] == "v"]
    faces = [[int(value) - 1 for value in row[1:]] for row in rows if row[0] == "f"]
    assert {row[0] for row in rows} == {"#", "v", "f"}
    return np.array(verts), np.array(faces)


def read_ply(path: Path) -> Mesh:
    header, _, content = path.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = {words[1]: int(words[2]) for line in lines if (words := line.split())[0] == "element"}
    end = counts["vertex"] * 12
    verts = np.frombuffer(content[:end], "<f4").reshape(-1, 3)
    rows = np.frombuffer(content[end:], [("count", "u1"), ("corners", "<u4", 3)])
    assert len(rows) == counts["face"]
    assert (rows["count"] == 3).all()
    return verts, rows["corners"].astype(np.int64)


def read_glb(path: Path) -> Mesh:
    data = path.read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert (kind, length % 4) == (b"JSON", 0)
    scene = json.loads(data[20 : 20 + length])
    rest = data[20 + length :]
    length, kind = struct.unpack_from("<I4s", rest)
    assert (kind, length % 4, length) == (b"BIN\0", 0, len(rest) - 8)
    buffer = rest[8:]
    assert scene["buffers"][0]["byteLength"] <= len(buffer)
    primitive = scene["meshes"][scene["nodes"][scene["scenes"][scene["scene"]]["nodes"][0]]["mesh"]]["primitives"][0]
    assert primitive.get("mode", 4) == 4  # triangles

    def accessor(index: int) -> np.ndarray:
        values = scene["accessors"][index]
        view = scene["bufferViews"][values["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        whole = np.frombuffer(buffer[view["byteOffset"] :][: view["byteLength"]], SCALARS[values["componentType"]])
        shaped = whole.reshape(-1, 3) if values["type"] == "VEC3" else whole
        assert len(shaped) == values["count"]
        if "min" in values:
            np.testing.assert_allclose(shaped.min(0), values["min"])
            np.testing.assert_allclose(shaped.max(0), values["max"])
        return shaped

    return accessor(primitive["attributes"]["POSITION"]), accessor(primitive["indices"]).reshape(-1, 3).astype(np.int64)


def volume(verts: np.ndarray, faces: np.ndarray) -> float:
    """Positive where faces are counter-clockwise seen from outside."""
    centred = verts.astype(np.float64) - verts.mean(0)
    a, b, c = (centred[faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_obj_and_ply_hold_the_mesh_in_camera_space(mesh: Mesh, tmp_path: Path) -> None:
    for ending, read in ((".obj", read_obj), (".ply", read_ply)):
        write_mesh(tmp_path / f"hand{ending}", *mesh)
        verts, faces = read(tmp_path / f"hand{ending}")
        np.testing.assert_allclose(verts, mesh[0], atol=1e-6)
        np.testing.assert_array_equal(faces, mesh[1])


def test_glb_holds_the_mesh_in_gltf_s_axes(mesh: Mesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / "hand.glb", *mesh)
    verts, faces = read_glb(tmp_path / "hand.glb")
    np.testing.assert_array_equal(verts, mesh[0] * np.float32([1, -1, -1]))
    np.testing.assert_array_equal(faces, mesh[1])


@pytest.mark.parametrize(("name", "read"), [("x.obj", read_obj), ("x.ply", read_ply), ("x.GLB", read_glb)])
def test_faces_look_outwards_and_lengths_are_metres(name: str, read: object, mesh: Mesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / name, *mesh)
    verts, faces = read(tmp_path / name)  # type: ignore[operator]
    assert 1e-4 < volume(verts, faces) < 1e-3  # a hand has a third of a litre
    assert volume(verts, faces) == pytest.approx(volume(*mesh), rel=1e-3)


def test_another_ending_is_refused_and_nothing_is_left_after_a_failure(mesh: Mesh, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"hand\.stl does not say .* Valid: \.obj, \.ply, \.glb\."):
        write_mesh(tmp_path / "hand.stl", *mesh)
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(HmrError, match=r"folder\.obj"):
        write_mesh(tmp_path / "folder.obj", *mesh)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.obj"]
