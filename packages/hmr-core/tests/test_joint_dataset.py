"""The data set of models of joints: consistent hands, augmentation as a pure function, noise as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.data.batch import Batch, Key
from hmr_core.data.joint_dataset import JointDataset
from hmr_core.data.loading import Loader
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import Prediction
from hmr_core.plugins.recipes import JointAugmentConfig, JointDataConfig

OFF = {"rotation_deg": 0, "scale": 0, "noise_mm": 0, "sampled": 0}


@pytest.fixture(scope="module")
def layer(mini_hand: HandModel) -> HandLayer:
    return HandLayer(mini_hand)


def dataset(pack: Pack, layer: HandLayer, augment: dict[str, float] | None = None, **changes: Any) -> JointDataset:
    config = None if augment is None else JointAugmentConfig(**{**OFF, **augment})
    return JointDataset(
        pack, **{"root_joint": 9, "layer": layer, "data": JointDataConfig(), "augment": config, **changes}
    )


def keys(pack: Pack, count: int = 24, epoch: int = 0) -> list[Key]:
    return [Key(epoch, int(row)) for row in pack.indices("sp0", "test")[:count]]


def posed(layer: HandLayer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Joints and vertices of the targets' rotations and betas."""
    prediction = Prediction(rotations=batch.targets.rotations, betas=batch.targets.betas)
    hand = pose_for_loss(prediction, batch.targets.root, root_joint=9, layer=layer)
    assert hand.joints is not None
    assert hand.verts is not None
    return hand.joints, hand.verts


def test_without_augmentation_the_joints_are_the_annotated_ones(mini_pack: Pack, layer: HandLayer) -> None:
    rows = mini_pack.indices("sp0", "test")[:24]
    for augment in (None, {}):
        batch = dataset(mini_pack, layer, augment).batch(keys(mini_pack))
        assert batch.ids == mini_pack.ids(rows)
        np.testing.assert_allclose(batch.joints.numpy(), mini_pack.array("joints", rows), atol=1e-7)
        assert torch.equal(batch.targets.joints, batch.joints)
        np.testing.assert_allclose(batch.targets.betas.numpy(), mini_pack.array("betas", rows), atol=1e-6)
        assert batch.inputs().image is None
        assert torch.equal(batch.inputs().joints, batch.joints)  # type: ignore[arg-type]


@pytest.mark.parametrize("augment", [{}, {"rotation_deg": 180}, {"sampled": 1}, {"rotation_deg": 40, "sampled": 0.5}])
def test_rotations_betas_joints_and_vertices_agree(
    mini_pack: Pack, layer: HandLayer, augment: dict[str, float]
) -> None:
    batch = dataset(mini_pack, layer, augment).batch(keys(mini_pack))
    joints, verts = posed(layer, batch)
    torch.testing.assert_close(joints, batch.targets.joints, atol=2e-6, rtol=0)
    torch.testing.assert_close(verts, batch.targets.verts, atol=2e-6, rtol=0)


def test_a_turned_or_replaced_hand_stays_at_its_root_joint(mini_pack: Pack, layer: HandLayer) -> None:
    plain = dataset(mini_pack, layer).batch(keys(mini_pack)).targets
    moved = dataset(mini_pack, layer, {"rotation_deg": 90, "scale": 0.3, "sampled": 1}).batch(keys(mini_pack)).targets
    torch.testing.assert_close(moved.joints[:, 9], plain.joints[:, 9], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved.root, plain.root)
    assert float((moved.joints - plain.joints).norm(dim=-1).mean()) > 0.02


def test_scale_is_about_the_root_and_within_its_bound(mini_pack: Pack, layer: HandLayer) -> None:
    plain = dataset(mini_pack, layer).batch(keys(mini_pack)).targets
    scaled = dataset(mini_pack, layer, {"scale": 0.2}).batch(keys(mini_pack)).targets
    factor = (scaled.verts - scaled.root[:, None]).norm(dim=-1) / (plain.verts - plain.root[:, None]).norm(dim=-1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), atol=1e-4, rtol=0)
    assert 0.8 - 1e-4 <= float(factor.min()) < 0.9
    assert 1.1 < float(factor.max()) <= 1.2 + 1e-4
    assert float(factor.std()) > 0.05


def test_angles_have_the_spread_that_was_asked_for(mini_pack: Pack, layer: HandLayer) -> None:
    data = dataset(mini_pack, layer, {"rotation_deg": 30})
    plain = dataset(mini_pack, layer).batch(keys(mini_pack)).targets
    angles = []
    for epoch in range(40):
        turned = data.batch(keys(mini_pack, epoch=epoch)).targets
        a, b = (t.joints - t.root[:, None] for t in (plain, turned))
        u, _, vt = torch.linalg.svd((a.mT @ b).double())
        trace = (vt.mT @ u.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
        angles.append(torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1))))
    # The absolute value of a normal number has the mean sqrt(2 / pi).
    assert float(torch.cat(angles).mean()) == pytest.approx(30 * (2 / np.pi) ** 0.5, rel=0.06)


def test_noise_is_on_the_given_joints_alone(mini_pack: Pack, layer: HandLayer) -> None:
    rows = np.arange(96)
    noisy = dataset(mini_pack, layer, data=JointDataConfig(noise_mm=4)).batch([Key(0, int(r)) for r in rows])
    np.testing.assert_allclose(noisy.targets.joints.numpy(), mini_pack.array("joints", rows), atol=1e-7)
    assert float((noisy.joints - noisy.targets.joints).std()) == pytest.approx(0.004, rel=0.05)
    levels = dataset(mini_pack, layer, {"noise_mm": 10}).batch([Key(0, int(r)) for r in rows])
    spread = (levels.joints - levels.targets.joints).flatten(1).std(1) * 1000
    assert float(spread.max()) < 13  # of up to 10
    assert float(spread.min()) < 1.5
    assert float(spread.mean()) == pytest.approx(5, rel=0.15)


def test_the_share_of_replaced_hands(mini_pack: Pack, layer: HandLayer) -> None:
    rows = [Key(0, row) for row in range(96)]
    plain = dataset(mini_pack, layer).batch(rows).targets
    mixed = dataset(mini_pack, layer, {"sampled": 0.25}).batch(rows).targets
    replaced = (mixed.betas != plain.betas).any(1)
    assert 0.1 < float(replaced.float().mean()) < 0.4
    assert torch.equal(mixed.joints[~replaced], plain.joints[~replaced])
    # The hand keeps its orientation in space: the annotated wrist, another pose.
    torch.testing.assert_close(mixed.rotations[:, 0], plain.rotations[:, 0])
    assert bool((mixed.rotations[replaced, 1:] != plain.rotations[replaced, 1:]).any())


def test_augmentation_depends_on_seed_epoch_and_sample_alone(mini_pack: Pack, layer: HandLayer) -> None:
    augment = {"rotation_deg": 40, "scale": 0.1, "noise_mm": 5, "sampled": 0.5}
    data = dataset(mini_pack, layer, augment, seed=5)
    together = data.batch(keys(mini_pack, 6, epoch=2))
    alone = [data.batch([key]) for key in keys(mini_pack, 6, epoch=2)]
    torch.testing.assert_close(torch.cat([batch.joints for batch in alone]), together.joints, atol=1e-6, rtol=0)
    for other in (
        data.batch(keys(mini_pack, 6, epoch=3)),
        dataset(mini_pack, layer, augment, seed=6).batch(keys(mini_pack, 6, epoch=2)),
    ):
        assert float((other.joints - together.joints).abs().max()) > 0.005


def test_worker_processes_give_the_same_batches(mini_pack: Pack, layer: HandLayer) -> None:
    data = dataset(mini_pack, layer, {"noise_mm": 5, "sampled": 1})
    batches, device = [keys(mini_pack, 8), keys(mini_pack, 4)], torch.device("cpu")
    first, second = (list(Loader(data, workers=workers, device=device).load(batches)) for workers in (0, 1))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.joints, b.joints)
        torch.testing.assert_close(a.targets.verts, b.targets.verts)


def test_damaged_annotations_are_named(mini_pack: Pack, layer: HandLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(rows: object) -> None:
        raise HmrError("sample 7 is damaged")

    monkeypatch.setattr(mini_pack, "verify_annotations", refuse)
    dataset(mini_pack, layer).batch([Key(0, 0)])
    with pytest.raises(HmrError, match="sample 7 is damaged"):
        dataset(mini_pack, layer, verify=True).batch([Key(0, 0)])


def test_a_sample_is_augmented_for_the_pack_that_it_is_of(mini_pack: Pack, layer: HandLayer) -> None:
    made = dataset(mini_pack, layer, {"noise_mm": 10})
    first, again, other = (made.batch([Key(1, 0, source)]).joints for source in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
