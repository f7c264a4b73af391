"""The rays of pixels, and the frames of rays."""

from __future__ import annotations

import torch

from hmr_core.geometry.camera import project
from hmr_core.geometry.rays import rays, turn_to_ray

CAMERA = torch.tensor([[600.0, 7, 310], [0, 580, 250], [0, 0, 1]], dtype=torch.float64)


def test_a_point_lies_on_the_ray_of_its_pixel() -> None:
    points = torch.randn(5, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[..., 2] = points[..., 2].abs() + 0.5
    cameras = CAMERA.repeat(5, 1, 1)
    found = rays(project(points, cameras), cameras)
    torch.testing.assert_close(found * points[..., 2:], points)


def test_the_frame_of_a_ray_looks_along_it_and_does_not_roll() -> None:
    ray = torch.randn(64, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ray[:, 2] = ray[:, 2].abs() + 0.05
    turn, unit = turn_to_ray(ray), ray / ray.norm(dim=1, keepdim=True)
    torch.testing.assert_close(turn[:, :, 2], unit)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=torch.float64).expand(64, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(64, dtype=torch.float64))
    angle = torch.acos((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2)
    torch.testing.assert_close(angle, torch.acos(unit[:, 2]))  # no rotation to the ray is smaller


def test_the_optical_axis_is_its_own_frame() -> None:
    torch.testing.assert_close(turn_to_ray(torch.tensor([[0.0, 0, 3]])), torch.eye(3)[None])


def test_a_crop_off_the_axis_looks_as_a_camera_that_is_turned_there_sees_it() -> None:
    """Small and far off the axis, a hand's picture is that of a camera turned to it, but for a stretch from the middle.

    A camera that is not turned would see it from another side.
    """
    points = 0.002 * torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    middle = torch.tensor([0.35, -0.2, 1.0], dtype=torch.float64)
    turn = turn_to_ray(middle)
    camera = torch.eye(3, dtype=torch.float64)
    seen = project(points + middle, camera) - middle[:2]
    turned, as_it_is = (project((points @ m) + torch.tensor([0, 0, 1.0]), camera) for m in (turn, camera))

    def unlike(other: torch.Tensor) -> float:
        map_to = torch.linalg.lstsq(other, seen).solution
        stretch = (map_to - map_to.diagonal().mean() * torch.eye(2)).abs().max()
        return float((other @ map_to - seen).norm() / seen.norm() + stretch)

    assert unlike(turned) < 0.5 * unlike(as_it_is)
