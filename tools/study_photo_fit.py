"""How close the fit of image and joints comes to the truth: writes results/photo_fit.csv. All of it is synthetic.

Run: python tools/study_photo_fit.py [--csv results/photo_fit.csv]. Hands of the synthetic model with fingers bent
within joint limits, of random shapes, 0.3 to 1.3 m before cameras of 30 to 90 degrees, up to half of the picture's
half away from its middle. Seeds are others than those that the fit's constants were chosen on.

Cases: what the fit is given. perfect: the true points. told: the same, and the fit knows it (0.3 px, 1 mm). 2d: points
of the picture are off by 2 % of the hand's size on each axis. 3d: joints in space are as a network has them: off by
8 mm, proximal phalanges a third too short, bone 0-9 0.3 to 1.1 times as long. both: these two. wild_2d: one point is
off by 80 % of the hand. wild_3d: one joint is off by 260 mm. focal: as both, and the focal length is 30 % too long.

Metrics: means over hands, mm. pa: PA-MPJPE without reflection. wrist: MPJPE after the wrists are brought together.
off_percent: the median distance of joints from the true points in the picture, by the hand's size. depth_percent: the
median error of the wrist's depth. alone: the fit to the joints in space alone, put where the picture has the hand.
fallbacks: the share of hands whose fit went wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from provenance import REPOSITORY, write_rows
from torch import Tensor

from hmr_core.geometry.alignment import align
from hmr_core.geometry.camera import project
from hmr_core.geometry.rays import rays, turn_to_ray
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.fit.image_and_joints import ImageFitter
from hmr_core.hand.fit.lm import fit_hands
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import random_poses, random_shapes
from hmr_core.hand.synthetic import load_synthetic_hand

WIDTH_PX = 640
WILD_SHARE, WILD_M = 0.8, 0.15


class Scene(NamedTuple):
    """Hands before cameras: true joints (n, 21, 3), intrinsics, points of the picture, joints in the frames of the rays
    through the middles of their boxes, these middles, and the hands' sizes in pixels.
    """

    joints: Tensor
    intrinsics: Tensor
    points: Tensor
    measured: Tensor
    middles: Tensor
    size: Tensor


def make_scene(layer: HandLayer, count: int, seed: int) -> Scene:
    """Hands of a seed."""
    numbers, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    rotations, betas = random_poses(layer.model, count, numbers).float(), random_shapes(count, numbers).float()
    rotations[:, 0] = axis_angle_to_matrix(2 * torch.randn(count, 3, generator=generator))
    half = torch.tan(torch.deg2rad(15 + 30 * uniform(count)))
    intrinsics = torch.eye(3).repeat(count, 1, 1)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = WIDTH_PX / 2 / half
    intrinsics[:, :2, 2] = torch.tensor([WIDTH_PX / 2, 0.375 * WIDTH_PX])
    aside = (uniform(count, 2) - 0.5) * half[:, None]
    place = torch.cat([aside, torch.ones(count, 1)], dim=1) * (0.3 + uniform(count, 1))
    posed = layer(rotations, betas).joints
    joints = posed - posed[:, 9:10] + place[:, None]
    points = project(joints.double(), intrinsics.double())
    middles = (points.amin(1) + points.amax(1)) / 2
    along = turn_to_ray(rays(middles[:, None], intrinsics.double())[:, 0])
    measured = joints.double() @ along
    size = (points.amax(1) - points.amin(1)).amax(1)
    return Scene(
        joints,
        intrinsics,
        points.float(),
        (measured - measured.mean(1, keepdim=True)).float(),
        middles.float(),
        size.float(),
    )


def of_a_network(joints: Tensor, generator: torch.Generator) -> Tensor:
    """Joints as a network's skeleton has them, which is no hand's."""
    joints = joints.clone()
    for base in (1, 5, 9, 13, 17):
        shorter = (joints[:, base + 1] - joints[:, base]) / 3
        joints[:, base + 1 : base + 4] -= shorter[:, None]
    length = 0.3 + 0.8 * torch.rand(len(joints), 1, generator=generator)
    joints[:, 0] = joints[:, 9] + length * (joints[:, 0] - joints[:, 9])
    return joints + 0.008 * torch.randn(joints.shape, generator=generator)


def cases(scene: Scene, seed: int) -> dict[str, tuple[Scene, dict[str, Any]]]:
    """What the fit is given, and how it is told, by case."""
    generator = torch.Generator().manual_seed(1000 + seed)
    size, count = scene.size[:, None, None], len(scene.points)
    points = scene.points + 0.02 * size * torch.randn(scene.points.shape, generator=generator)
    measured = of_a_network(scene.measured, generator)
    each, which = torch.arange(count), torch.arange(count) % 21
    wild_points, wild_joints = scene.points.clone(), scene.measured.clone()
    wild_points[each, which] += WILD_SHARE * scene.size[:, None]
    wild_joints[each, which] += WILD_M
    both = scene._replace(points=points, measured=measured)
    longer = scene.intrinsics * torch.tensor([[1.3, 1, 1], [1, 1.3, 1], [1, 1, 1]])
    return {
        "perfect": (scene, {}),
        "told": (scene, {"noise_px": 0.3, "noise_mm": 1.0, "steps": 40}),
        "2d": (scene._replace(points=points), {}),
        "3d": (scene._replace(measured=measured), {}),
        "both": (both, {}),
        "wild_2d": (scene._replace(points=wild_points), {}),
        "wild_3d": (scene._replace(measured=wild_joints), {}),
        "focal": (both._replace(intrinsics=longer), {}),
    }


def metrics(joints: Tensor, truth: Scene, intrinsics: Tensor) -> dict[str, Any]:
    """How far joints in camera space are from the truth."""
    pa = 1000 * torch.linalg.vector_norm(
        align(joints.double(), truth.joints.double(), reflection=False) - truth.joints, dim=-1
    ).mean(1)
    about_wrist = (joints - joints[:, :1]) - (truth.joints - truth.joints[:, :1])
    off = torch.linalg.vector_norm(project(joints.double(), intrinsics.double()) - truth.points, dim=-1)
    depth = (joints[:, 0, 2] / truth.joints[:, 0, 2] - 1).abs()
    return {
        "pa_mm": f"{pa.mean():.2f}",
        "pa_median_mm": f"{pa.median():.2f}",
        "pa_worst_mm": f"{pa.max():.1f}",
        "wrist_mm": f"{1000 * torch.linalg.vector_norm(about_wrist, dim=-1).mean():.2f}",
        "off_percent": f"{100 * (off / truth.size[:, None]).mean(1).median():.2f}",
        "depth_percent": f"{100 * depth.median():.1f}",
    }


@click.command()
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results/photo_fit.csv")
@click.option("--hands", default=512, show_default=True)
@click.option("--seed", default=2024, show_default=True)
def main(csv_path: Path, hands: int, seed: int) -> None:
    """Measure all cases, and write them down."""
    layer = HandLayer(load_synthetic_hand())
    fitter, scene = ImageFitter(layer), make_scene(layer, hands, seed)
    rows = []
    for case, (given, told) in cases(scene, seed).items():
        fit = fitter(given.points, given.measured, given.intrinsics, seen_at_px=given.middles, **told)
        along = turn_to_ray(rays(given.middles[:, None].double(), given.intrinsics.double())[:, 0])
        alone = (fit_hands(layer, given.measured).joints.double() @ along.mT).float()
        placed = alone + (fit.joints - alone).mean(1, keepdim=True)
        common = {"hands": hands, "seed": seed, "data": "synthetic"}
        share = f"{fit.from_joints_alone.float().mean():.3f}"
        for name, joints, fallbacks in (("image and joints", fit.joints, share), ("joints alone", placed, "")):
            rows.append(
                {
                    "case": case,
                    "fit": name,
                    **metrics(joints, scene, given.intrinsics),
                    "fallbacks": fallbacks,
                    **common,
                }
            )
            print("  ".join(f"{value:>16}" for value in list(rows[-1].values())[:9]))
    write_rows(csv_path, rows)


if __name__ == "__main__":
    main()
