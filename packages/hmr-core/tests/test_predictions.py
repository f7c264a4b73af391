"""The file of predictions: what it keeps, and what it refuses."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core.errors import HmrError
from hmr_core.evaluation.predictions import SHAPES, Predictions, read_predictions, write_predictions

COUNT = 4
LABELS = {"consumes": "joints", "notes": ["ä"], "solver": {"name": "flat", "config": {"steps": None}}}


@pytest.fixture
def predictions() -> Predictions:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        name: generator.random((COUNT, *shape), dtype=np.float32) for name, shape in SHAPES.items()
    }
    ids = [f"sample-{i}" for i in range(COUNT)]
    return Predictions(model="m", split="sp0", subset="test", pack="digest", ids=ids, labels=LABELS, **arrays)


def test_everything_comes_back(predictions: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.h5", predictions)
    found = read_predictions(tmp_path / "p.h5")
    assert found.ids == predictions.ids
    assert (found.model, found.split, found.subset, found.pack) == ("m", "sp0", "test", "digest")
    assert found.labels == LABELS
    for name in SHAPES:
        np.testing.assert_array_equal(getattr(found, name), getattr(predictions, name))


@pytest.mark.parametrize("present", [(), ("confidence",), ("verts",), ("verts", "rotations", "betas")])
def test_files_of_joints_alone_and_of_models_with_a_mesh_have_less(
    predictions: Predictions, tmp_path: Path, present: tuple[str, ...]
) -> None:
    absent: dict[str, Any] = {name: None for name in SHAPES if name != "joints" and name not in present}
    write_predictions(tmp_path / "p.h5", replace(predictions, **absent))
    with h5py.File(tmp_path / "p.h5") as file:
        assert set(file) == {"id", "joints", *present}
    found = read_predictions(tmp_path / "p.h5")
    assert {name for name in SHAPES if getattr(found, name) is not None} == {"joints", *present}


HANDS = np.random.default_rng(0).normal([0, 0, 0.6], 0.03, (COUNT, 21, 3))


def write_by_hand(path: Path, **changes: Any) -> None:
    """A file as somebody else writes it: without a digest. changes: attributes or arrays; None leaves one out."""
    content: dict[str, Any] = {
        "format": "hmr-predictions/1",
        "split": "sp0",
        "subset": "test",
        "units": "metres",
        "frame": "camera space: x right, y down, z away",
        "joint_order": "OpenPose",
        "id": [f"sample-{i}" for i in range(COUNT)],
        "joints": HANDS,
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                place = file.attrs if isinstance(value, str) else file
                place[name] = value


def test_a_file_that_somebody_else_wrote_is_read(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "mine.h5")
    found = read_predictions(tmp_path / "mine.h5")
    assert (found.model, found.split, found.subset, found.pack, found.sealed) == ("mine", "sp0", "test", "", False)
    assert found.ids == [f"sample-{i}" for i in range(COUNT)]
    assert found.joints.dtype == np.float32
    assert found.verts is None
    texts = {"units": np.bytes_("metres"), "id": np.array([f"sample-{i}" for i in range(COUNT)], dtype="S")}
    write_by_hand(tmp_path / "mine.h5", id=texts["id"], units=None)
    with h5py.File(tmp_path / "mine.h5", "r+") as file:
        file.attrs["units"] = texts["units"]  # texts of fixed length, as other languages write them
    assert read_predictions(tmp_path / "mine.h5").ids == found.ids


@pytest.mark.parametrize(
    ("name", "given", "valid"),
    [
        ("units", "millimetres", "metres"),
        ("frame", "world", "camera space: x right, y down, z away"),
        ("joint_order", "MANO", "OpenPose"),
    ],
)
def test_points_in_other_units_frames_and_orders_are_refused(tmp_path: Path, name: str, given: str, valid: str) -> None:
    path = tmp_path / "mine.h5"
    write_by_hand(path, **{name: given})
    with pytest.raises(HmrError) as caught:
        read_predictions(path)
    how = "docs/predictions.md says how such a file is written."
    assert str(caught.value) == f'{path}: {name} is "{given}"; valid: "{valid}". {how}'
    write_by_hand(path, **{name: None})
    with pytest.raises(HmrError, match=f"does not say its {name}: attributes of its root"):
        read_predictions(path)


def test_labels_are_an_evaluations_alone(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "mine.h5", labels='{"solver": 5, "notes": 3}')
    assert read_predictions(tmp_path / "mine.h5").labels == {}


def test_joints_that_are_not_what_the_file_says_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    write_by_hand(path, joints=1000 * HANDS)
    with pytest.raises(
        HmrError, match=rf"^{path} says metres, but its joints look like millimetres: from the wrist to"
    ):
        read_predictions(path)
    mesh = np.random.default_rng(1).normal([0, 0, 0.6], 0.03, (COUNT, 778, 3))
    for verts, text in (
        (1000 * mesh, "says metres, but its verts look like"),
        (mesh - mesh[:, :1], "its verts are 0.6"),
    ):
        write_by_hand(path, verts=verts)
        with pytest.raises(HmrError, match=text):
            read_predictions(path)
    write_by_hand(path, joints=np.where(np.arange(COUNT)[:, None, None] == 1, np.inf, HANDS))
    with pytest.raises(HmrError, match=rf"joints of sample-1 are not finite \(1 of {COUNT} samples\)"):
        read_predictions(path)
    write_by_hand(path, joints=HANDS - HANDS[:, 9:10])
    with pytest.raises(HmrError, match=rf"^{path} says camera space, but joint 9 is at the camera itself in every"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"joints": np.zeros((COUNT, 21, 3), complex)}, "its joints is of type complex128, not floats"),
        ({"joints": np.full((COUNT, 21, 3), b"0.1")}, r"its joints is of type .*S3.*, not floats"),
        ({"joints": np.zeros((COUNT, 21, 3), int)}, "its joints is of type int64, not floats"),
        ({"id": np.arange(COUNT)}, "its id is of type int64, not text"),
        ({"joints": None}, "cannot be read as predictions"),
        ({"id": None}, "cannot be read as predictions"),
        ({"id": [["a"]] * COUNT}, rf"its id has shape \({COUNT}, 1\), not \(n\)"),
        ({"confidence": np.full((COUNT, 21), 7.0)}, "confidence has numbers that are not from 0 to 1"),
        ({"format": "hmr-predictions/2"}, "is not a file of predictions of format 'hmr-predictions/1'"),
        ({"format": None}, "is not a file of predictions of format 'hmr-predictions/1'"),
    ],
)
def test_what_is_no_prediction_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_by_hand(tmp_path / "mine.h5", **changes)
    with pytest.raises(HmrError, match=rf"mine\.h5.*{reason}.*docs/predictions\.md says how"):
        read_predictions(tmp_path / "mine.h5")


@pytest.mark.parametrize(
    ("name", "wanted"), [("joints", "21, 3"), ("verts", "778, 3"), ("rotations", "16, 3"), ("betas", "10")]
)
@pytest.mark.parametrize("shape", [(COUNT, 5), (COUNT - 1, 21, 3)])
def test_arrays_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, name: str, wanted: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "mine.h5"
    write_by_hand(path, **{name: np.zeros(shape)})
    with pytest.raises(HmrError) as caught:
        read_predictions(path)
    assert str(caught.value) == f"{path}: {name} of shape {shape} do not fit its 4 ids; valid: (n, {wanted})."


def test_a_joint_that_was_moved_in_the_file_is_found(predictions: Predictions, tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    write_predictions(path, predictions)
    assert read_predictions(path).sealed
    with h5py.File(path, "r+") as file:
        file["joints"][2, 9, 0] += 0.01
    with pytest.raises(HmrError, match=r"p\.h5 was altered or damaged since `hmr eval` wrote it"):
        read_predictions(path)


def test_every_flipped_byte_is_found_before_the_hdf5_library_sees_the_file(
    predictions: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.h5"
    write_predictions(path, predictions)
    whole = path.read_bytes()
    monkeypatch.setattr(h5py, "File", lambda *given: pytest.fail("it was opened"))
    for place in (*range(0, 600, 7), *range(600, len(whole), 1009), len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(HmrError, match=r"p\.h5 (was altered or damaged|is not a file of predictions)"):
            read_predictions(path)
    for cut in (0, 10, 511, 512, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(HmrError, match=r"p\.h5 (was altered or damaged|is not a file of predictions)"):
            read_predictions(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.h5")
    with pytest.raises(HmrError, match=r"p\.h5 cannot be read: it is a pipe"):
        read_predictions(tmp_path / "p.h5")
