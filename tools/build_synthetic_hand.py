"""Build the synthetic hand that comes with hmr-core: `python tools/build_synthetic_hand.py [OUT.npz]` (half a
minute).

A smooth union of capsules around the bones is meshed by marching tetrahedra, decimated to MANO's 778 vertices and 1538
faces with a border of 16 edges at the wrist, and rigged. There is no randomness but the poses from which the 45 pose
components are computed, and those have a fixed seed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from handmesh.correctives import pose_directions
from handmesh.remesh import decimate, relax
from handmesh.rig import joint_regressor, shape_directions, skin_weights
from handmesh.skeleton import FINGERS, RADII, Array
from handmesh.surface import HAND, Faces, march

from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.joints import FINGERS as FINGER_NAMES
from hmr_core.hand.joints import N_FACES, N_VERTS, TIP_VERTICES
from hmr_core.hand.model import HandModel, save_hand_model
from hmr_core.hand.poses import bend_axes, random_poses

PACKAGED = Path(__file__).parents[1] / "packages/hmr-core/src/hmr_core/hand/synthetic_hand.npz"


FOLDS = [(-19.0, -1.0, 15.0), (-20.0, -1.0, -9.5), (-10.0, -2.0, -33.0), (37.0, -8.0, 38.0)]
"""The webs between the fingers, which need short edges, mm."""


def edge_size(p: Array) -> Array:
    """How long edges should be relative to each other: finest at the finger ends, coarse on palm and forearm."""
    values = np.stack([HAND.finger_value(p, name) for name in FINGERS])
    on_palm = np.clip((p[:, 0] + 10) / 50.0, 0.0, 1.0) * np.clip(values.min(0) / 4.0, 0.0, 1.0)
    radius = np.array([RADII[name][2] for name in FINGERS])[values.argmin(0)]
    to_tip = np.minimum.reduce([np.linalg.norm(p - chain[3], axis=1) for chain in FINGERS.values()])
    to_fold = np.minimum.reduce([np.linalg.norm(p - fold, axis=1) for fold in FOLDS])
    size = (radius / 8.0) * (1.0 - 0.3 * np.clip(2 - to_tip / 6.0, 0.0, 1.0)) * (1 - on_palm) + 1.8 * on_palm
    return np.asarray(size * (1 - 0.45 * np.clip(2 - to_fold / 6.0, 0.0, 1.0)))


def with_tips_in_place(vertices: Array, faces: Faces) -> tuple[Array, Faces]:
    """The mesh renumbered so that the five finger tips have MANO's numbers; the other vertices keep their order."""
    order = np.full(len(vertices), -1)
    tips = [int(np.linalg.norm(vertices - FINGERS[name][3], axis=1).argmin()) for name in FINGER_NAMES]
    order[list(TIP_VERTICES)] = tips
    order[order < 0] = [v for v in range(len(vertices)) if v not in tips]
    number = np.empty(len(vertices), dtype=np.int64)
    number[order] = np.arange(len(vertices))
    return vertices[order], number[faces]


def build() -> HandModel:
    vertices, faces = march(spacing=3.0)
    vertices, faces = decimate(vertices, faces, edge_size, N_VERTS, border=16)
    vertices, faces = relax(vertices, faces, edge_size, rounds=25)
    vertices, faces = with_tips_in_place(vertices, faces)
    tips = {v: FINGERS[name][3] for v, name in zip(TIP_VERTICES, FINGER_NAMES, strict=True)}
    vertices, faces = relax(vertices, faces, edge_size, rounds=5, fixed=tips)
    if len(faces) != N_FACES:
        raise RuntimeError(f"the mesh has {len(faces)} faces, not {N_FACES}")
    weights = skin_weights(vertices, faces)

    def metres(array: Array) -> torch.Tensor:
        return torch.from_numpy(np.round(array / 1000, 8))

    model = HandModel(
        name="synthetic",
        side="right",
        template=metres(vertices),
        faces=torch.from_numpy(faces),
        shape_dirs=metres(shape_directions(vertices, weights)),
        pose_dirs=torch.zeros(N_VERTS, 3, 135, dtype=torch.float64),
        joint_regressor=torch.from_numpy(joint_regressor(vertices)),
        skin_weights=torch.from_numpy(weights),
        pose_components=torch.eye(45, dtype=torch.float64),
        pose_mean=torch.zeros(45, dtype=torch.float64),
    )
    flexion, abduction = (axes.numpy() for axes in bend_axes(model))
    correctives = pose_directions(vertices, faces, weights, flexion, abduction)
    poses = matrix_to_axis_angle(random_poses(model, 4000, np.random.default_rng(0))[:, 1:]).reshape(-1, 45)
    mean = poses.mean(0)
    components = torch.linalg.svd(poses - mean, full_matrices=False).Vh
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return replace(
        model,
        # Whole multiples of 4 um pack well.
        pose_dirs=torch.from_numpy(np.round(correctives / 1000 * 2**18) / 2**18),
        pose_mean=mean,
        pose_components=components * largest.sign(),
    )


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGED
    save_hand_model(build(), out)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
