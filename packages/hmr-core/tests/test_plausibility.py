"""What is said of annotations: hands as they should be, and each way in which they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.data.plausibility import BONE_M, HandArrays, plausibility
from hmr_core.data.remarks import Remark, misleading
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.synthetic import load_synthetic_hand

TIPS_FIRST = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)


@pytest.fixture
def hands(mini_pack: Pack) -> HandArrays:
    rows = np.arange(len(mini_pack))
    arrays = {name: mini_pack.array(name, rows) for name in ("joints", "verts", "intrinsics", "rotations", "betas")}
    frames = mini_pack.array("frame_px", rows).astype(np.float32)
    known = np.ones((len(rows), 21), dtype=bool)
    return HandArrays(
        ids=tuple(mini_pack.ids(rows)),
        joints_valid=known,
        verts_valid=known[:, 0],
        pose_valid=known[:, 0],
        frame_px=frames,
        **arrays,
    )


def found(hands: HandArrays) -> list[Remark]:
    return list(plausibility(hands))


def amiss(hands: HandArrays) -> list[tuple[str, str]]:
    """Level and text of what is not as it should be."""
    return [(remark.level, remark.text) for remark in found(hands) if remark.level != "ok"]


def changed(hands: HandArrays, name: str, change: Callable[[np.ndarray], None]) -> HandArrays:
    array = getattr(hands, name).copy()
    change(array)
    return replace(hands, **{name: array})


def test_hands_as_they_should_be(hands: HandArrays) -> None:
    assert [(remark.level, remark.text) for remark in found(hands)] == [
        ("ok", "the finger tips of 96 samples are at vertices 745, 317, 444, 556, 673, 0.000 mm apart at most"),
        ("ok", "the 20 bones have lengths that people's have; palms are 91 to 98 mm"),
        ("ok", "hands are 0.57 to 0.97 m before the camera; 100.0 % of joints in the frame"),
        ("ok", "poses are axis-angle in radians (up to 3.13), betas within 1.5"),
    ]


@pytest.mark.parametrize(("factor", "unit", "size"), [(1000, "millimetres", "96.6"), (100, "centimetres", "9.66")])
def test_another_unit(hands: HandArrays, factor: int, unit: str, size: str) -> None:
    scaled = replace(hands, joints=hands.joints * np.float32(factor), verts=hands.verts * np.float32(factor))
    first, second = amiss(scaled)
    assert first == (
        "wrong",
        f"joints look like {unit}: from the wrist to joint 9 (the middle knuckle) they are {size} long, and a hand is "
        "0.03 to 0.16 m there",
    )
    assert second[0] == "wrong"
    assert second[1].startswith(f"verts look like {unit}: the boxes of the meshes have a diagonal of ")


def test_one_of_them_in_another_unit_is_named_alone(hands: HandArrays) -> None:
    """The tips are still compared, in one unit: there is nothing else to be said of them."""
    (only,) = amiss(replace(hands, verts=hands.verts * np.float32(1000)))
    assert only[1].startswith("verts look like millimetres")


def test_what_is_of_no_hand_s_size(hands: HandArrays) -> None:
    tiny = replace(hands, joints=hands.joints / 50)
    texts = [text for _, text in amiss(tiny)]
    assert texts[0].startswith("joints are no hands in metres: from the wrist to joint 9 (the middle knuckle) they are")


def test_mano_s_order(hands: HandArrays) -> None:
    joints = np.empty_like(hands.joints)
    joints[:, list(MANO_TO_OPENPOSE)] = hands.joints
    texts = [text for _, text in amiss(replace(hands, joints=joints))]
    assert texts[0] == "the joints look like MANO's order (16 joints, then the tips); here they are in OpenPose order"
    assert texts[1].startswith("the thumb's tip, joint 4, is up to ")


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (MANO_TO_OPENPOSE, "MANO's order (16 joints, then the tips)"),
        (TIPS_FIRST, "an order with each finger from its tip and the wrist last"),
    ],
)
def test_another_order_is_seen_without_meshes(hands: HandArrays, order: tuple[int, ...], name: str) -> None:
    joints = np.empty_like(hands.joints)
    joints[:, list(order)] = hands.joints
    remarks = found(replace(hands, joints=joints, verts=None))
    assert misleading(remarks) == f"the joints look like {name}; here they are in OpenPose order"
    unknown = np.ones_like(hands.joints_valid)
    unknown[:, 8] = False
    assert misleading(found(replace(hands, joints=joints, verts=None, joints_valid=unknown))) == ""
    assert misleading(found(replace(hands, verts=None))) == ""


def test_tips_in_another_order(hands: HandArrays) -> None:
    def swap(joints: np.ndarray) -> None:
        joints[:, [4, 20]] = joints[:, [20, 4]]

    texts = [text for _, text in amiss(changed(hands, "joints", swap)) if "tip" in text]
    assert texts[0] == (
        "the tips are in another order: joint 20 is at the thumb's, joint 8 is at the index's, joint 12 is at the "
        "middle's, joint 16 is at the ring's, joint 4 is at the little's; they should be joints 4, 8, 12, 16, 20"
    )


def test_left_hands_may_have_the_middle_tip_that_published_code_has(hands: HandArrays) -> None:
    """As DexYCB's, whose layer is manopth's."""
    assert hands.verts is not None
    left = np.arange(len(hands.ids)) % 2 == 1
    joints = hands.joints.copy()
    joints[left, 12] = hands.verts[left, 445]
    text = (
        f"the middle's tip of 48 of 96 samples ({', '.join(hands.ids[1:6:2])} and 45 more), left hands, is at vertex "
        "445, as published code has it; hmr's own have theirs at 444"
    )
    said = [(level, text) for level, text in amiss(replace(hands, joints=joints, left=left)) if "bone" not in text]
    assert said == [("note", text)]
    (level, other), *_ = amiss(replace(hands, joints=joints, left=~left))
    assert level == "wrong"
    assert other.startswith("the middle's tip, joint 12, is up to ")


def test_a_tip_at_another_vertex(hands: HandArrays) -> None:
    """As published code has it for the middle finger of left hands."""
    joints = hands.joints.copy()
    joints[:, 12] = hands.verts[:, 445]
    first, *_ = amiss(replace(hands, joints=joints))  # and a bone of another length
    apart = 1000 * np.linalg.norm(hands.verts[:, 445] - hands.verts[:, 444], axis=-1).max()
    assert first == (
        "wrong",
        f"the middle's tip, joint 12, is up to {apart:.1f} mm from vertex 444, in 96 of 96 samples "
        f"({', '.join(hands.ids[:3])} and 93 more); it is at vertex 445",
    )


def test_tips_at_the_vertices_of_another_convention(hands: HandArrays) -> None:
    """As FreiHAND and HO-3D have them: no fault, and all of the data set is so."""
    joints = hands.joints.copy()
    joints[:, [4, 8, 12, 16, 20]] = hands.verts[:, [744, 320, 443, 555, 672]]
    first, *_ = found(replace(hands, joints=joints))
    assert first.level == "note"
    assert first.text.startswith("the finger tips are at vertices 744, 320, 443, 555, 672, and hmr's own hands have")


def test_tips_that_are_not_known_are_not_compared(hands: HandArrays) -> None:
    joints, known = hands.joints.copy(), hands.joints_valid.copy()
    joints[3, [4, 12]], known[3, [4, 12]] = 0, False
    assert amiss(replace(hands, joints=joints, joints_valid=known)) == []


def test_joints_alone_are_looked_at(hands: HandArrays) -> None:
    alone = replace(hands, verts=None, rotations=None, betas=None)
    assert [remark.text.split(" ")[1] for remark in found(alone)] == ["20", "are"]
    assert misleading(found(replace(alone, joints=alone.joints * np.float32(1000)))).startswith("joints look like mill")


def test_a_tip_that_departs_in_one_sample(hands: HandArrays) -> None:
    def move(joints: np.ndarray) -> None:
        joints[5, 8, 0] += 0.007

    (only,) = amiss(changed(hands, "joints", move))
    assert only == (
        "wrong",
        f"the index's tip, joint 8, is up to 7.0 mm from vertex 317, in 1 of 96 samples ({hands.ids[5]})",
    )


def test_a_bone_of_a_length_that_nobody_has(hands: HandArrays) -> None:
    def stretch(joints: np.ndarray) -> None:
        joints[7, 5] += np.array([0, 0, 0.3], np.float32)  # the index's knuckle: two bones end there

    found = amiss(changed(hands, "joints", stretch))
    assert [level for level, _ in found] == ["warning", "warning"]
    assert found[0][1].startswith("the bone from wrist to index_mcp (joints 0, 5) is ")
    assert found[0][1].endswith(f" mm long in 1 of 96 samples ({hands.ids[7]}); people's are 30 to 160")
    everywhere = changed(hands, "joints", lambda joints: joints.__setitem__((slice(None), 5, 2), 2.0))
    assert {level for level, _ in amiss(everywhere)} == {"wrong"}


@pytest.mark.parametrize("which", ["synthetic", "tests"])
def test_hands_of_every_shape_have_bones_in_range(which: str, mini_hand: HandModel) -> None:
    layer = HandLayer(load_synthetic_hand() if which == "synthetic" else mini_hand)
    betas = torch.rand(500, 10, generator=torch.Generator().manual_seed(0)) * 6 - 3
    with torch.no_grad():
        posed = layer(torch.zeros(500, 16, 3), betas)
    joints, verts = (points.numpy() + np.float32([0, 0, 1]) for points in (posed.joints, posed.verts))
    camera = np.tile(np.float32([[600, 0, 424], [0, 600, 240], [0, 0, 1]]), (500, 1, 1))
    hands = HandArrays(
        ids=tuple(map(str, range(500))),
        joints=joints,
        joints_valid=np.ones((500, 21), dtype=bool),
        verts_valid=np.ones(500, dtype=bool),
        pose_valid=np.ones(500, dtype=bool),
        verts=verts,
        intrinsics=camera,
        rotations=np.zeros((500, 16, 3), np.float32),
        betas=betas.numpy(),
        frame_px=np.tile(np.float32([848, 480]), (500, 1)),
    )
    assert amiss(hands) == []


def test_ranges_are_ranges() -> None:
    assert all(0 < low < high < 0.2 for low, high in BONE_M.values())


def test_a_camera_that_looks_the_other_way(hands: HandArrays) -> None:
    turned = replace(hands, joints=hands.joints * np.float32([1, -1, -1]), verts=hands.verts * np.float32([1, -1, -1]))
    (only,) = amiss(turned)
    assert only == (
        "wrong",
        f"joints are behind the camera in 96 of 96 samples ({', '.join(hands.ids[:3])} and 93 more); the camera seems "
        "to look along -z, as in OpenGL: here z is away from it",
    )


def test_places_that_the_camera_does_not_see(hands: HandArrays) -> None:
    def away(points: np.ndarray) -> None:
        points[2, :, 0] += 3  # beside the frame
        points[4, :, 2] += 9  # far behind it

    (far, unseen) = amiss(changed(changed(hands, "joints", away), "verts", away))
    assert far == ("warning", f"hands are more than 5 m away in 1 of 96 samples ({hands.ids[4]})")
    assert unseen == (
        "warning",
        f"no joint is in the frame in 1 of 96 samples ({hands.ids[2]}): intrinsics of another image size, or joints of "
        "another camera",
    )


def test_intrinsics_of_another_image_size(hands: HandArrays) -> None:
    found = amiss(replace(hands, frame_px=hands.frame_px / 8))
    assert [level for level, _ in found] == ["wrong"]
    assert "intrinsics of another image size" in found[0][1]


def test_poses_in_degrees_and_betas_out_of_range(hands: HandArrays) -> None:
    (only,) = amiss(replace(hands, rotations=np.degrees(hands.rotations)))
    assert only[0] == "wrong"
    assert only[1].startswith("rotations turns joints by up to 180 in 96 of 96 samples")
    assert only[1].endswith("): these look like degrees, not radians")
    odd = changed(hands, "betas", lambda shape: shape.__setitem__((3, 1), -40))
    text = f"betas are up to 40.0 in 1 of 96 samples ({hands.ids[3]}); people's are within 5 or so"
    assert amiss(odd) == [("warning", text)]


@pytest.mark.parametrize("name", ["joints", "verts", "intrinsics", "rotations", "betas"])
def test_numbers_that_are_not_finite(hands: HandArrays, name: str) -> None:
    broken = changed(hands, name, lambda array: array.__setitem__((6, 0, ...), np.nan))
    assert amiss(broken) == [("wrong", f"annotations are not finite numbers in 1 of 96 samples ({hands.ids[6]})")]
    assert "95 samples" in found(broken)[1].text  # the others are still looked at
    none = changed(hands, name, lambda array: array.fill(np.inf))
    assert len(found(none)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda matrix: matrix.__setitem__((1, 0), 0.5),
        lambda matrix: matrix.__setitem__((2, 0), 0.5),
        lambda matrix: matrix.__setitem__((2, 2), 2),
        lambda matrix: matrix.__setitem__((0, 0), -600),
        lambda matrix: matrix.__setitem__((1, 1), 0),
        lambda matrix: matrix.__setitem__(slice(None), matrix.T.copy()),
    ],
)
def test_intrinsics_that_are_no_camera_s(hands: HandArrays, change: Callable[[np.ndarray], None]) -> None:
    wrong = replace(hands, intrinsics=hands.intrinsics.copy())
    change(wrong.intrinsics[8])
    texts = {level: text for level, text in amiss(wrong) if text.startswith("intrinsics")}
    assert texts == {
        "wrong": f"intrinsics are no camera's matrix in 1 of 96 samples ({hands.ids[8]}); such a matrix has two focal "
        "lengths above 0 on its diagonal, 0 below it, and 0 0 1 for its last row"
    }
    assert "intrinsics" not in misleading(found(wrong))
    everywhere = replace(hands, intrinsics=hands.intrinsics.copy())
    for matrix in everywhere.intrinsics:
        change(matrix)
    assert "intrinsics are no camera's matrix in 96 of 96 samples" in misleading(found(everywhere))


def test_skew_is_told_of(hands: HandArrays) -> None:
    def skew(matrices: np.ndarray) -> None:
        matrices[3, 0, 1], matrices[5, 0, 1] = 2, -30

    assert amiss(changed(hands, "intrinsics", skew)) == [
        (
            "note",
            f"cameras have skew, of up to 30 pixels, in 2 of 96 samples ({hands.ids[3]}, {hands.ids[5]}): the matrix "
            "is used with it",
        )
    ]


def test_what_misleads_and_what_does_not(hands: HandArrays) -> None:
    """A few odd samples do not keep a data set from being used; what every figure would suffer from does."""
    assert misleading(found(hands)) == ""
    one = changed(hands, "joints", lambda joints: joints.__setitem__(0, joints[0] * 1000))
    assert amiss(one)
    assert misleading(found(one)) == ""
    every = replace(hands, joints=hands.joints * np.float32(1000))
    assert misleading(found(every)).startswith("joints look like millimetres: ")
    back = replace(hands, joints=hands.joints * np.float32([1, -1, -1]), verts=hands.verts * np.float32([1, -1, -1]))
    assert misleading(found(back)).startswith("joints are behind the camera in 96 of 96 samples")
    degrees = replace(hands, rotations=np.degrees(hands.rotations))
    assert misleading(found(degrees)).endswith("these look like degrees, not radians")
    small = replace(hands, frame_px=hands.frame_px / 8)
    assert misleading(found(small)).startswith("no joint is in the frame in")
    order = replace(hands, joints=hands.joints[:, ::-1])
    assert misleading(found(order)).startswith("the tips are in another order: joint 16 is at the thumb's")


def test_the_largest_numbers_are_told_of_without_a_warning(hands: HandArrays) -> None:
    def grow(array: np.ndarray) -> None:
        array[0] = 3e38

    for name in ("joints", "verts", "rotations", "betas", "intrinsics"):
        assert found(changed(hands, name, grow))
