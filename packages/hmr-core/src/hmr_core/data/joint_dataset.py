"""The data set of models that consume joints: annotated hands, turned, scaled, replaced and made noisy for training.

Augmentation is a pure function of (seed, epoch, sample id), as that of images is; a batch's numbers are drawn sample by
sample and applied to all of it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from hmr_core.data.augment import identity, sample_generator
from hmr_core.data.batch import Batch, Key
from hmr_core.data.crops import NOMINAL_SIZE, PUBLISHED_CROP, make_crops
from hmr_core.data.pack.reader import Pack
from hmr_core.data.targets import AnnotatedHands, make_targets, read_hands
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import Bends, bend_fingers, random_bends, random_shapes
from hmr_core.plugins.recipes import JointAugmentConfig, JointDataConfig


class JointDataset:
    """The samples of a pack as joints.

    layer: the hand layer of the annotations' hand model, on the CPU.
    augment: None for validation and evaluation, where the joints get `data.noise_mm` of noise alone.
    verify: compare the annotations' checksums as they are read.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        root_joint: int,
        layer: HandLayer,
        data: JointDataConfig,
        augment: JointAugmentConfig | None = None,
        seed: int = 0,
        verify: bool = False,
    ) -> None:
        self.pack, self.root_joint, self.layer = pack, root_joint, layer
        self.data, self.augment, self.seed, self.verify = data, augment, seed, verify

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The one pack."""
        return (self.pack,)

    def batch(self, keys: Sequence[Key]) -> Batch:
        """The samples of the given rows, augmented for the given epoch."""
        first, rows = keys[0], np.array([key.row for key in keys], dtype=np.int64)
        ids = self.pack.ids(rows)
        if self.verify:
            self.pack.verify_annotations(rows)
        hands = read_hands(self.pack, rows)
        generators = [sample_generator(self.seed, first.epoch, sample_id, first.source) for sample_id in ids]
        if self.augment is None:
            noise = np.stack([self.data.noise_mm * g.standard_normal((21, 3)) for g in generators])
        else:
            drawn = [_draw(self.augment, generator) for generator in generators]
            hands = _augment(hands, drawn, self.layer, self.root_joint)
            noise = np.stack([d.noise_mm for d in drawn])
        crops = make_crops(
            hands.boxes(),
            hands.intrinsics,
            identity(len(ids)),
            bbox_expand=PUBLISHED_CROP.bbox_expand,
            image_size=NOMINAL_SIZE,
        )
        return Batch(
            ids=ids,
            joints=(hands.joints + torch.from_numpy(noise) / 1000).float(),
            targets=make_targets(hands, crops, root_joint=self.root_joint, image_size=NOMINAL_SIZE),
        )


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """What is drawn for one sample: rotation vector, scale factor, noise, and the pose and shape if it is replaced."""

    turn: Float64[np.ndarray, "3"]
    scale: float
    noise_mm: Float64[np.ndarray, "21 3"]
    replaced: bool
    bends: Bends
    betas: Float[Tensor, "1 10"]


def _draw(config: JointAugmentConfig, generator: np.random.Generator) -> _Drawn:
    # Every sample draws the same numbers in the same order, so that changing one option leaves the others' draws.
    axis = generator.standard_normal(3)
    angle, scale = generator.standard_normal(2)
    level, replaced = generator.random(2)
    noise = generator.standard_normal((21, 3))
    return _Drawn(
        turn=np.deg2rad(config.rotation_deg) * angle * axis / np.linalg.norm(axis),
        scale=float(1 + config.scale * np.clip(scale, -1, 1)),
        noise_mm=config.noise_mm * level * noise,
        replaced=bool(replaced < config.sampled),
        bends=random_bends(1, generator),
        betas=random_shapes(1, generator),
    )


def _augment(hands: AnnotatedHands, drawn: Sequence[_Drawn], layer: HandLayer, root_joint: int) -> AnnotatedHands:
    """Replaced, turned and scaled hands, each still at its root joint's place."""
    hands = _replace(hands, drawn, layer, root_joint)
    turn = axis_angle_to_matrix(torch.from_numpy(np.stack([d.turn for d in drawn])))
    scale = torch.tensor([d.scale for d in drawn], dtype=torch.float64)[:, None, None]
    root = hands.joints[:, root_joint, None]
    wrist = matrix_to_axis_angle(turn @ axis_angle_to_matrix(hands.rotations[:, 0]))
    return replace(
        hands,
        joints=(hands.joints - root) @ turn.mT * scale + root,
        verts=(hands.verts - root) @ turn.mT * scale + root,
        rotations=torch.cat([wrist[:, None], hands.rotations[:, 1:]], dim=1),
    )


def _replace(hands: AnnotatedHands, drawn: Sequence[_Drawn], layer: HandLayer, root_joint: int) -> AnnotatedHands:
    """The hands of the samples that are to be replaced, posed and shaped anew; wrist and root joint stay."""
    rows = [i for i, d in enumerate(drawn) if d.replaced]
    if not rows:
        return hands
    bends = Bends(
        flexion=np.concatenate([drawn[i].bends.flexion for i in rows]),
        sideways=np.concatenate([drawn[i].bends.sideways for i in rows]),
    )
    rotations = matrix_to_axis_angle(bend_fingers(layer.model, bends))
    rotations[:, 0] = hands.rotations[rows, 0]
    betas = torch.cat([drawn[i].betas for i in rows])
    with torch.no_grad():
        posed = layer(rotations.to(layer.template), betas.to(layer.template), centre=root_joint)
    root = hands.joints[rows, root_joint, None]
    return replace(
        hands,
        joints=hands.joints.index_copy(0, torch.tensor(rows), posed.joints.double() + root),
        verts=hands.verts.index_copy(0, torch.tensor(rows), posed.verts.double() + root),
        rotations=hands.rotations.index_copy(0, torch.tensor(rows), rotations),
        betas=hands.betas.index_copy(0, torch.tensor(rows), betas),
        verts_valid=hands.verts_valid.index_fill(0, torch.tensor(rows), True),
        pose_valid=hands.pose_valid.index_fill(0, torch.tensor(rows), True),
    )
