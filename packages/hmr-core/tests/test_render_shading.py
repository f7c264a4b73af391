"""Drawing: colours, light, sides, and what is hidden."""

from __future__ import annotations

import numpy as np

from hmr_core.render.shading import RenderMesh, draw, vertex_normals

INTRINSICS = np.array([[100.0, 0, 20.0], [0, 100.0, 20.0], [0, 0, 1]])
TOWARDS_CAMERA = np.array([0.0, 0.0, -1.0])


def square(depth: float, rgb: tuple[float, float, float], half: float = 0.1, turned: bool = False) -> RenderMesh:
    """A square across the line of sight; its outside looks at the camera unless turned."""
    verts = np.array([[-half, -half, depth], [-half, half, depth], [half, half, depth], [half, -half, depth]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return RenderMesh(verts, faces[:, ::-1] if turned else faces, np.array(rgb), two_sided=True)


def one_sided(mesh: RenderMesh) -> RenderMesh:
    return RenderMesh(mesh.verts_m, mesh.faces, mesh.colour, two_sided=False)


def blank() -> np.ndarray:
    return np.full((41, 41, 3), 7, dtype=np.uint8)


def test_full_light_shows_the_colour_and_the_background_stays() -> None:
    image = blank()
    drawn = draw(image, [square(1.0, (1.0, 0.4, 0.0))], INTRINSICS, TOWARDS_CAMERA)
    assert (image == 7).all(), "the given image is not changed"
    assert drawn[20, 20].tolist() == [255, 102, 0]
    assert (drawn[10:31, 10:31] == [255, 102, 0]).all()
    assert (drawn[:10] == 7).all()
    assert (drawn[:, 31:] == 7).all()


def test_light_from_behind_leaves_the_ambient_part() -> None:
    drawn = draw(blank(), [square(1.0, (1.0, 1.0, 1.0))], INTRINSICS, -TOWARDS_CAMERA, ambient=0.4)
    assert drawn[20, 20].tolist() == [102, 102, 102]


def test_the_nearer_mesh_hides_the_other_whatever_their_order() -> None:
    near, far = square(1.0, (1.0, 0.0, 0.0), half=0.05), square(2.0, (0.0, 0.0, 1.0), half=0.3)
    one = draw(blank(), [near, far], INTRINSICS, TOWARDS_CAMERA)
    other = draw(blank(), [far, near], INTRINSICS, TOWARDS_CAMERA)
    np.testing.assert_array_equal(one, other)
    assert one[20, 20].tolist() == [255, 0, 0]
    assert one[20, 30].tolist() == [0, 0, 255]


def test_the_inside_is_lit_from_its_own_side_and_left_out_on_demand() -> None:
    turned = square(1.0, (0.0, 1.0, 0.0), turned=True)
    assert draw(blank(), [turned], INTRINSICS, TOWARDS_CAMERA)[20, 20].tolist() == [0, 255, 0]
    assert (draw(blank(), [one_sided(turned)], INTRINSICS, TOWARDS_CAMERA) == 7).all()
    facing = one_sided(square(1.0, (0.0, 1.0, 0.0)))
    assert draw(blank(), [facing], INTRINSICS, TOWARDS_CAMERA)[20, 20].tolist() == [0, 255, 0]


def test_normals_of_a_cube_look_outwards_along_its_diagonals() -> None:
    verts = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    fans = [[(*q, q[0])[k : k + 2] for k in range(4)] for q in quads]
    centres = np.array([verts[list(q)].mean(0) for q in quads])
    faces = np.array([[a, b, 8 + i] for i, fan in enumerate(fans) for a, b in fan])
    normals = vertex_normals(np.concatenate([verts, centres]), faces)
    np.testing.assert_allclose(normals[:8], verts / np.sqrt(3), atol=1e-12)
    np.testing.assert_allclose(normals[8:], centres, atol=1e-12)
