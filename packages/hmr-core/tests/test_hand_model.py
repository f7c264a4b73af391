"""Hand-model files: a round trip, the same bytes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError
from hmr_core.hand.joints import MANO_PARENTS
from hmr_core.hand.model import SHAPES, load_hand_model, save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "hand.npz"
    save_hand_model(load_synthetic_hand(), path)
    return path


def rewrite(path: Path, **changes: np.ndarray | None) -> None:
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    content.update({name: value for name, value in changes.items() if value is not None})
    for name in [name for name, value in changes.items() if value is None]:
        del content[name]
    np.savez(path, **content)


def test_round_trip(saved: Path) -> None:
    model, again = load_synthetic_hand(), load_hand_model(saved)
    for name in SHAPES:
        assert torch.equal(getattr(model, name), getattr(again, name)), name
    assert (again.name, again.side, again.parents) == (model.name, "right", model.parents)
    assert again.template.dtype == torch.float64


def test_same_model_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_hand_model(load_synthetic_hand(), tmp_path / "other.npz")
    assert (tmp_path / "other.npz").read_bytes() == saved.read_bytes()


def test_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"no hand model at .*nothing\.npz\. `hmr mano import MANO_RIGHT\.pkl --out"):
        load_hand_model(tmp_path / "nothing.npz")


def test_a_pickle_is_to_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(b"\x80\x02}.")
    with pytest.raises(HmrError) as error:
        load_hand_model(path)
    assert str(error.value) == (
        f"{path} is no hand model by its name. If it is MANO's file, import it: hmr mano import {path} --out hand.npz"
    )


def test_origin_is_kept(saved: Path) -> None:
    assert (load_hand_model(saved).source, load_hand_model(saved).licence) == ("", "")
    save_hand_model(replace(load_synthetic_hand(), source="a.pkl, sha256 12", licence="theirs"), saved)
    assert (load_hand_model(saved).source, load_hand_model(saved).licence) == ("a.pkl, sha256 12", "theirs")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hand.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(HmrError, match=r"hand\.npz is not a hand model \(hmr-hand/1"):
        load_hand_model(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(HmrError, match=r"hand\.npz is not a hand model \(hmr-hand/1"):
        load_hand_model(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(HmrError, match=r"array\.npy is not a hand model \(hmr-hand/1"):
        load_hand_model(tmp_path / "array.npy")


def test_objects_in_a_file_are_not_unpickled(saved: Path) -> None:
    rewrite(saved, template=np.array([{"a": 1}], dtype=object))
    with pytest.raises(HmrError, match="allow_pickle=False"):
        load_hand_model(saved)


def first_weights(*values: float) -> np.ndarray:
    weights = np.zeros((778, 16))
    weights[:, : len(values)] = values
    return weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.array("hmr-hand/9")}, 'its format is "hmr-hand/9", not "hmr-hand/1"'),
        ({"format": None}, 'its format is "none"'),
        ({"template": None, "side": None}, "lacks template, side"),
        ({"template": np.zeros((700, 3))}, r"template of shape \(700, 3\); it must be \(778, 3\)"),
        ({"pose_mean": np.full(45, np.nan)}, "values in pose_mean that are not finite numbers"),
        ({"faces": np.full((1538, 3), 778)}, "faces that are not vertex numbers 0 to 777"),
        ({"faces": np.zeros((1538, 3))}, "faces that are not vertex numbers 0 to 777"),
        ({"skin_weights": np.full((778, 16), 0.1)}, r"rows of skin_weights that do not sum to 1 \(off by 0.6\)"),
        ({"skin_weights": first_weights(0.5, 0.501)}, r"rows of skin_weights that do not sum to 1 \(off by 0.001\)"),
        ({"skin_weights": first_weights(1.5, -0.5)}, r"skin_weights below 0 \(down to -0\.5\)"),
        ({"skin_weights": first_weights(1.001, -0.001)}, r"skin_weights below 0 \(down to -0\.001\)"),
        ({"faces": np.zeros((1538, 3), np.int64)}, "faces with one vertex twice"),
        ({"faces": np.tile([5, 7, 5], (1538, 1))}, "faces with one vertex twice"),
        (
            {"template": load_synthetic_hand().template.numpy() * 1000},
            r"is 92 m long from the wrist .*; it must be in metres, 0\.02 to 0\.5 there\. Are these millimetres\?$",
        ),
        (
            {"template": load_synthetic_hand().template.numpy() * 6},
            r"is 0\.552 m long from the wrist .*; it must be in metres, 0\.02 to 0\.5 there\. Are these millimetres\?$",
        ),
        (
            {"template": load_synthetic_hand().template.numpy() / 10},
            r"is 0\.0092 m long from the wrist .*; it must be in metres, 0\.02 to 0\.5 there\.$",
        ),
        ({"template": np.full((778, 3), 1e300)}, "it must be in metres"),
        ({"parents": np.arange(16)}, "it must be MANO's"),
        ({"parents": np.array(MANO_PARENTS, dtype=complex)}, "it must be MANO's"),
        ({"parents": np.full(16, np.nan)}, r"joint tree \(nan, nan, .*; it must be MANO's"),
        ({"parents": np.array(["a"] * 16)}, r"joint tree \('a', 'a', .*; it must be MANO's"),
        ({"side": np.array("both")}, 'side "both"; it must be right or left'),
    ],
)
def test_arrays_that_are_no_hand_are_refused(saved: Path, changes: dict[str, np.ndarray | None], message: str) -> None:
    rewrite(saved, **changes)
    with pytest.raises(HmrError, match=message) as caught:
        load_hand_model(saved)
    assert str(saved) in str(caught.value)


def test_a_damaged_file_is_refused_or_the_same(saved: Path) -> None:
    """A byte turned over anywhere: in the numbers, in the headers, in the directory at the end."""
    model = replace(load_synthetic_hand(), source="a.pkl, sha256 12", licence="theirs")
    save_hand_model(model, saved)
    data = saved.read_bytes()
    refused = 0
    offsets = [*range(0, 60, 3), *range(60, len(data), len(data) // 50), *range(len(data) - 1300, len(data), 17)]
    for offset in offsets:
        damaged = bytearray(data)
        damaged[offset] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            read = load_hand_model(saved)
        except HmrError:
            refused += 1
            continue
        for name in SHAPES:
            assert torch.equal(getattr(read, name), getattr(model, name)), (offset, name)
        for name in ("name", "side", "source", "licence", "parents"):
            assert getattr(read, name) == getattr(model, name), (offset, name)
    assert refused > len(offsets) / 2
