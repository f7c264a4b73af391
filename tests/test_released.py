"""The released files of our own models: told apart, taken by their model alone, converted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.registry import discover
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.convert import convert_released
from hmr_core.weights.identify import fitting_models, identify
from hmr_core.weights.next_commands import Installed

PACKAGES = Path(__file__).parents[1] / "packages"
RECORDS = {"integral": "integral_resnet50", "rle": "rle_resnet50", "i2l": "i2l_resnet50", "iknet": "iknet"}
IGNORED_BY_I2L = {"human_model_layer.": 8, "mesh_backbone.conv1.": 1, "mesh_backbone.bn1.": 5, "param_regressor.": 18}


@pytest.fixture(scope="module")
def models() -> dict[str, ModelSpec]:
    """The installed models."""
    return dict(discover().models())


def record(name: str) -> dict[str, Any]:
    """What is recorded of a model's released file: every name and shape."""
    path = PACKAGES / f"hmr-{name}/tests/data/golden/{RECORDS[name]}.json"
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


def shapes(name: str) -> dict[str, Tensor]:
    """The tensors of a released file, without numbers."""
    named = record(name)["state_dict"].items()
    return {tensor: torch.empty(shape, dtype=dtype(tensor), device="meta") for tensor, shape in named}


def dtype(tensor: str) -> torch.dtype:
    return torch.int64 if tensor.endswith("num_batches_tracked") else torch.float32


def test_every_published_model_has_released_files(models: dict[str, ModelSpec]) -> None:
    assert {name for name, known in KNOWN["model"].items() if known.tensor} == set(RECORDS)
    assert all(models[name].released is not None for name in RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_a_released_file_fits_its_model_alone(models: dict[str, ModelSpec], name: str) -> None:
    fits, _ = fitting_models(shapes(name), models)
    assert list(fits) == [name]
    ignored = {prefix: one.tensors for prefix, one in fits[name].ignored.items()}
    assert ignored == (IGNORED_BY_I2L if name == "i2l" else {})


@pytest.mark.parametrize("name", RECORDS)
def test_a_tell_tale_is_in_one_models_files_alone(name: str) -> None:
    assert [other for other in RECORDS if KNOWN["model"][name].tensor in shapes(other)] == [name]


@pytest.mark.parametrize("name", RECORDS)
def test_a_released_file_without_its_package_is_answered_with_pip(
    models: dict[str, ModelSpec], rule: ModuleType, tmp_path: Path, name: str
) -> None:
    tensor = KNOWN["model"][name].tensor
    torch.save({tensor: rule.weight(tensor, tuple(record(name)["state_dict"][tensor]))}, tmp_path / "x")
    found = identify(tmp_path / "x", Installed({other: spec for other, spec in models.items() if other != name}))
    assert (found.model, found.use[0]) == (name, f"pip install hmr-{name}")


@pytest.mark.parametrize("name", ["rle", "iknet"])
def test_a_released_file_is_loaded_by_its_model_and_refused_by_others(
    models: dict[str, ModelSpec], rule: ModuleType, tmp_path: Path, name: str
) -> None:
    state = rule.state_dict(record(name))
    path = tmp_path / "released.safetensors"  # torch itself would go by such a name
    torch.save({"model": state} if name == "iknet" else state, path)
    loaded = load_checkpoint(path, models[name]).model.state_dict()
    assert list(loaded) == list(state)
    assert all(torch.equal(value, state[tensor]) for tensor, value in loaded.items())
    for other in set(RECORDS) - {name, "i2l"}:
        with pytest.raises(HmrError, match=f'a released file of the model "{name}", not of "{other}"'):
            load_checkpoint(path, models[other])


def test_a_released_file_with_a_tensor_missing_or_of_a_wrong_shape_is_refused(
    models: dict[str, ModelSpec], rule: ModuleType, tmp_path: Path
) -> None:
    state = rule.state_dict(record("rle"))
    wrong = {**state, "fc_sigma.bias": torch.zeros(62)}
    torch.save(wrong, tmp_path / "x")
    with pytest.raises(HmrError, match=r"fc_sigma\.bias has shape \(62,\), and the model wants \(63,\)"):
        load_checkpoint(tmp_path / "x", models["rle"])
    del wrong["fc_sigma.bias"]
    torch.save(wrong, tmp_path / "x")
    with pytest.raises(HmrError, match=r'does not fit the model "rle": it lacks fc_sigma\.bias\. Is it'):
        load_checkpoint(tmp_path / "x", models["rle"])


@pytest.mark.slow
def test_the_largest_is_converted_with_what_it_holds_of_use(models: dict[str, ModelSpec], tmp_path: Path) -> None:
    spec = models["i2l"]
    state = {  # half a gigabyte: a number for each tensor, which takes less time than random ones
        name: torch.full(empty.shape, i, dtype=empty.dtype) for i, (name, empty) in enumerate(shapes("i2l").items())
    }
    torch.save(state, tmp_path / "I2L_MeshNet.pth.tar")
    convert_released(tmp_path / "I2L_MeshNet.pth.tar", tmp_path / "ours", Installed(models))
    (tmp_path / "I2L_MeshNet.pth.tar").unlink()  # pytest keeps what is left
    ours = load_checkpoint(tmp_path / "ours", spec)
    shutil.rmtree(tmp_path / "ours")
    loaded = ours.model.state_dict()
    assert all(torch.equal(value, state[tensor]) for tensor, value in loaded.items())
    assert set(state) - set(loaded) == {name for name in state if name.startswith(tuple(IGNORED_BY_I2L))}
    assert ours.recipe.model.model_dump()["middle_tip"] == 445
    assert ours.released is not None
    assert {prefix: one.tensors for prefix, one in ours.released.ignored.items()} == IGNORED_BY_I2L
    assert ours.released.note().endswith("; middle_tip=445")
