"""Rotations, cameras, crops and alignment against recorded outputs, definitions and invariances."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.geometry import alignment, camera, crop, rotations

GOLDEN = Path(__file__).parent / "data/golden"
ANNO = Path(__file__).parent / "data/oakink_mini/OakInk/image/anno"


def float64(array: object) -> Tensor:
    return torch.from_numpy(np.asarray(array)).double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_rotation_vector_turns_about_its_axis_by_its_length() -> None:
    quarter = torch.tensor([0.0, 0.0, torch.pi / 2], dtype=torch.float64)
    turned = rotations.axis_angle_to_matrix(quarter) @ torch.tensor([1.0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(turned, torch.tensor([0.0, 1, 0], dtype=torch.float64))


def test_matrix_of_a_rotation_vector_is_the_matrix_exponential() -> None:
    vectors = normal(50, 3) * 2
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    torch.testing.assert_close(rotations.axis_angle_to_matrix(vectors), torch.linalg.matrix_exp(cross))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 3.0, torch.pi - 1e-7, torch.pi])
def test_rotations_survive_a_round_trip_at_every_angle(angle: float) -> None:
    axis = torch.nn.functional.normalize(normal(64, 3), dim=-1)
    matrix = rotations.axis_angle_to_matrix(axis * angle)
    again = rotations.axis_angle_to_matrix(rotations.matrix_to_axis_angle(matrix))
    torch.testing.assert_close(again, matrix, atol=1e-12, rtol=0)


def test_rotation_gradients_are_finite_at_no_rotation() -> None:
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rotations.axis_angle_to_matrix(zero).sum().backward()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()


def test_uvd_matches_the_recorded_one_both_ways() -> None:
    golden = np.load(GOLDEN / "uvd.npz")
    xyz, root, intrinsics, size = *(float64(golden[k]) for k in ("xyz", "root", "K")), int(golden["image_size"])
    uvd = camera.to_uvd(xyz, root, intrinsics, size)
    torch.testing.assert_close(uvd, float64(golden["uvd"]), atol=1e-5, rtol=0)
    back = camera.from_uvd(float64(golden["uvd"]), root, intrinsics, size)
    torch.testing.assert_close(back, float64(golden["back"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(camera.from_uvd(uvd, root, intrinsics, size), xyz)


@pytest.mark.parametrize("case", json.loads((GOLDEN / "transform.json").read_text()), ids=lambda c: f"case{c['case']}")
def test_crop_geometry_matches_the_recorded_one(case: dict[str, object]) -> None:
    golden = np.load(GOLDEN / f"transform_{case['case']}.npz")

    def annotation(kind: str) -> Tensor:
        return float64(pickle.loads((ANNO / kind / f"{case['sample']}.pkl").read_bytes()))  # our own data

    joints, intrinsics, size = annotation("hand_j"), annotation("cam_intr"), int(str(case["image_size"]))
    angle = torch.deg2rad(float64(case["rotation_deg"]))
    joints_px = camera.project(joints, intrinsics, depth_epsilon_m=camera.PUBLISHED_DEPTH_EPSILON_M)
    centre, span = crop.joint_box(joints_px)
    side = span * float(str(case["bbox_expand"])) * float(str(case["scale_factor"]))
    affine = crop.crop_affine(centre, side, angle, size)
    turn = crop.rotation_about_z(angle)
    computed = {
        "joints_2d": joints_px,
        "target_bbox_center": centre,
        "target_bbox_scale": side,
        "affine": affine,
        "target_cam_intr": crop.crop_intrinsics(centre, side, angle, intrinsics, size),
        "target_joints_2d": crop.transform_px(affine, joints_px),
        "target_joints_3d": joints @ turn.mT,
    }
    for name, value in computed.items():
        torch.testing.assert_close(
            value, float64(golden[name]), rtol=1e-4, atol=5e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_rotated_world_is_seen_by_the_crop_camera_where_the_affine_map_puts_it() -> None:
    """With equal focal lengths, rotating points and projecting with the crop's camera is warping their pixels."""
    intrinsics = torch.tensor([[600.0, 0, 424], [0, 600, 240], [0, 0, 1]], dtype=torch.float64).expand(5, 3, 3)
    points = normal(5, 21, 3) * 0.05 + torch.tensor([0.05, -0.02, 0.7], dtype=torch.float64)
    angle = normal(5, seed=1)
    points_px = camera.project(points, intrinsics)
    centre, span = crop.joint_box(points_px)
    warped = crop.transform_px(crop.crop_affine(centre, span, angle, 224), points_px)
    rotated = points @ crop.rotation_about_z(angle).mT
    seen = camera.project(rotated, crop.crop_intrinsics(centre, span, angle, intrinsics, 224))
    torch.testing.assert_close(seen, warped)


CAMERAS = {
    "plain": [[600.0, 0, 424], [0, 600, 240], [0, 0, 1]],
    "fx != fy": [[600.0, 0, 424], [0, 630, 240], [0, 0, 1]],
    "skew": [[600.0, 2, 424], [0, 600, 240], [0, 0, 1]],
    "much skew": [[600.0, -30, 424], [0, 630, 240], [0, 0, 1]],
}


def seen(matrix: list[list[float]]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Five hands, their cameras, and the centres and spans of their boxes."""
    intrinsics = torch.tensor(matrix, dtype=torch.float64).expand(5, 3, 3)
    points = normal(5, 21, 3) * 0.05 + torch.tensor([0.05, -0.02, 0.7], dtype=torch.float64)
    return points, intrinsics, crop.joint_box(camera.project(points, intrinsics))


@pytest.mark.parametrize("name", CAMERAS)
def test_from_uvd_undoes_to_uvd_with_every_camera(name: str) -> None:
    points, intrinsics, (centre, span) = seen(CAMERAS[name])
    for angle in (torch.zeros(5, dtype=torch.float64), normal(5, seed=1)):
        inner = crop.crop_intrinsics(centre, span, angle, intrinsics, 224)
        back = camera.from_uvd(camera.to_uvd(points, points[:, 9], inner, 224), points[:, 9], inner, 224)
        torch.testing.assert_close(back, points, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["skew", "much skew"])
def test_a_rotated_camera_with_skew_sees_points_where_the_affine_map_puts_them(name: str) -> None:
    points, intrinsics, (centre, span) = seen(CAMERAS[name])
    angle = normal(5, seed=1)
    affine = crop.crop_affine(centre, span, angle, 224)
    inner = crop.crop_intrinsics(centre, span, angle, intrinsics, 224)
    rotated = points @ crop.rotation_about_z(angle).mT
    warped = crop.transform_px(affine, camera.project(points, intrinsics))
    torch.testing.assert_close(camera.project(rotated, inner), warped)


def test_cameras_without_skew_are_as_published_to_the_bit() -> None:
    """Recorded figures were made so; also beside others that have skew."""
    points, intrinsics, (centre, span) = seen(CAMERAS["fx != fy"])
    angle = normal(5, seed=1)
    inner = crop.crop_intrinsics(centre, span, angle, intrinsics, 224)
    mixed = intrinsics.clone()
    mixed[3, 0, 1] = 5
    beside = crop.crop_intrinsics(centre, span, angle, mixed, 224)
    assert [torch.equal(a, b) for a, b in zip(inner, beside, strict=True)] == [True, True, True, False, True]
    for dtype in (torch.float32, torch.float64):
        uvd = camera.to_uvd(points, points[:, 9], inner, 224).to(dtype)
        root, matrix = points[:, 9].to(dtype), inner.to(dtype)
        z = (uvd[..., 2:] - 0.5) * camera.DEPTH_RANGE_M + root[:, None, 2:]
        focal = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], -1)[:, None]
        plain = torch.cat([(uvd[..., :2] * 224 - matrix[:, None, :2, 2]) / focal * z, z], dim=-1)
        assert torch.equal(camera.from_uvd(uvd, root, matrix, 224), plain)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("reflection", [False, True])
def test_alignment_undoes_a_similarity(mirrored: bool, reflection: bool) -> None:
    target = normal(10, 21, 3)
    flip = torch.diag(torch.tensor([1.0, 1, -1 if mirrored else 1], dtype=torch.float64))
    source = 0.3 * target @ flip @ rotations.axis_angle_to_matrix(normal(10, 3, seed=1)) + normal(10, 1, 3, seed=2)
    error = (alignment.align(source, target, reflection=reflection) - target).abs().max()
    assert bool(error < 1e-12) == (reflection or not mirrored)


def test_alignment_is_the_best_similarity_there_is() -> None:
    """No small change of the aligned points by a similarity brings them closer."""
    source, target = normal(1, 21, 3), normal(1, 21, 3, seed=1)
    for reflection in (True, False):
        aligned = alignment.align(source, target, reflection=reflection)
        best = ((aligned - target) ** 2).sum()
        centre = aligned.mean(1, keepdim=True)
        for step in normal(200, 7, seed=2) * 1e-3:
            turn = rotations.axis_angle_to_matrix(step[:3])
            moved = (1 + step[6]) * (aligned - centre) @ turn + centre + step[3:6]
            assert ((moved - target) ** 2).sum() >= best


@pytest.mark.parametrize(("side", "name"), [(0, "prediction"), (1, "ground truth")])
@pytest.mark.parametrize(("value", "reason"), [(0.5, "all in one place"), (float("nan"), "not finite")])
def test_degenerate_points_are_an_error_that_names_the_sample(side: int, name: str, value: float, reason: str) -> None:
    points = [normal(4, 21, 3), normal(4, 21, 3, seed=1)]
    points[side][2] = value
    check = {"prediction": "the model's output", "ground truth": "the annotations"}[name]
    text = rf"PA error of sample 2: the points of the {name} are {reason}, so they cannot be aligned\. Check {check}\.$"
    with pytest.raises(HmrError, match=text):
        alignment.align(points[0], points[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [21, 778])
def test_points_that_are_all_the_same_are_refused_wherever_they_are(n: int, dtype: torch.dtype) -> None:
    """Their mean, and so their distance from it, is not exact in either type."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(1, n, 3, generator=generator, dtype=dtype)
    for size in (1e-3, 0.1, 0.7, 30.0, 1e6):
        for _ in range(20):
            same = (size * torch.randn(1, 1, 3, generator=generator, dtype=dtype)).expand(1, n, 3)
            with pytest.raises(alignment.DegeneratePointsError, match="prediction are all in one place"):
                alignment.align(same, target)
            with pytest.raises(alignment.DegeneratePointsError, match="ground truth are all in one place"):
                alignment.align(target, same)


def test_a_hand_collapsed_to_a_tenth_of_a_millimetre_is_still_aligned() -> None:
    target = normal(1, 21, 3) * 0.05
    torch.testing.assert_close(alignment.align(target * 1e-3, target), target)


def test_two_columns_become_a_rotation() -> None:
    columns = torch.randn(4, 16, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrices = rotations.orthonormalise(columns)
    torch.testing.assert_close(matrices.mT @ matrices, torch.eye(3, dtype=torch.float64).expand(4, 16, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(4, 16, dtype=torch.float64))
    first, second = columns[..., 0], columns[..., 1]
    torch.testing.assert_close(matrices[..., 0], first / first.norm(dim=-1, keepdim=True))
    assert bool(((matrices[..., 1] * second).sum(-1) > 0).all())  # nearest to the second, not its opposite
    torch.testing.assert_close(torch.linalg.cross(first, matrices[..., 1]).norm(dim=-1), first.norm(dim=-1))
    again = rotations.orthonormalise(matrices[..., :2])
    torch.testing.assert_close(again, matrices)
