"""The file of predictions: what it keeps, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core.engine.predictions import SHAPES, Predictions, read_predictions, write_predictions
from hmr_core.errors import HmrError

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


@pytest.mark.parametrize("present", [(), ("confidence",), ("verts",), ("verts", "pose", "betas")])
def test_files_of_joints_alone_and_of_models_with_a_mesh_have_less(
    predictions: Predictions, tmp_path: Path, present: tuple[str, ...]
) -> None:
    absent: dict[str, Any] = {name: None for name in SHAPES if name != "joints" and name not in present}
    write_predictions(tmp_path / "p.h5", replace(predictions, **absent))
    with h5py.File(tmp_path / "p.h5") as file:
        assert set(file) == {"id", "joints", *present}
    found = read_predictions(tmp_path / "p.h5")
    assert {name for name in SHAPES if getattr(found, name) is not None} == {"joints", *present}


@pytest.mark.parametrize(
    ("name", "wanted"), [("joints", "21, 3"), ("verts", "778, 3"), ("pose", "16, 3"), ("betas", "10")]
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    predictions: Predictions, tmp_path: Path, name: str, wanted: str
) -> None:
    write_predictions(tmp_path / "p.h5", predictions)
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        del file[name]
        file[name] = np.zeros((COUNT, 5), np.float32)
    with pytest.raises(HmrError) as caught:
        read_predictions(tmp_path / "p.h5")
    assert str(caught.value) == (
        f"{tmp_path / 'p.h5'}: {name} of shape (4, 5) do not fit its 4 ids; valid: (n, {wanted})."
    )
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        del file[name]
        file[name] = np.zeros((COUNT - 1, *SHAPES[name]), np.float32)
    with pytest.raises(HmrError, match=rf"{name} of shape \(3, .* do not fit its 4 ids"):
        read_predictions(tmp_path / "p.h5")


@pytest.mark.parametrize("text", ["[1]", '{"consumes": '])
def test_labels_that_are_none_are_refused(predictions: Predictions, tmp_path: Path, text: str) -> None:
    write_predictions(tmp_path / "p.h5", predictions)
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file.attrs["labels"] = text
    with pytest.raises(HmrError, match=r"p\.h5 cannot be read as predictions: .*Write it again with `hmr eval`"):
        read_predictions(tmp_path / "p.h5")


def test_a_file_without_joints_is_refused(predictions: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.h5", predictions)
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        del file["joints"]
    with pytest.raises(HmrError, match=r"p\.h5 cannot be read as predictions: .*Write it again with `hmr eval`"):
        read_predictions(tmp_path / "p.h5")
