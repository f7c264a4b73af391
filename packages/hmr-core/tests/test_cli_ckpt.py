"""`hmr ckpt` as a user runs it, and what the other commands say of released and converted files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hmr_core.builtin_backbones import core_backbones
from hmr_core.digests import file_digest
from hmr_core.errors import HmrError
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.resnet import ResNet
from hmr_core.plugins import ModelSpec, Released
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights import checkpoints
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import CheckpointRecord, read_record, record_digest, write_record
from hmr_core.weights.checkpoints import load_checkpoint, prune_checkpoints, save_checkpoint


class Said(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


class Hmr(Protocol):
    """Runs a command line."""

    def __call__(self, *arguments: str) -> Said: ...


@pytest.fixture
def spec(small_spec: ModelSpec) -> ModelSpec:
    """The small model with released files that differ from the published recipe and hold more than the model."""
    return replace(
        small_spec,
        released=Released(
            file="Small.pth.tar", overrides=("image_size=48",), ignored={"hand.": "the hand's own arrays"}
        ),
    )


@pytest.fixture
def plugins(spec: ModelSpec, fakes: Any) -> list[Any]:
    """What is installed."""
    return [fakes.plugin("small", hmr_models=lambda: [spec])]


@pytest.fixture
def hmr(plugins: list[Any], command_line: Any, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hmr:
    """In an empty folder, with the plugins installed and the made-up data set's pack as the default data."""
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    command_line.plugins = plugins
    run: Hmr = command_line
    return run


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "body.2.weight": torch.randn(63, 48, generator=generator),
        "body.2.bias": torch.randn(63, generator=generator),
        "hand.verts": torch.zeros(5),
    }


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A released file of the small model."""
    torch.save(weights(), tmp_path / "Small.pth.tar")
    return Path("Small.pth.tar")


@pytest.fixture
def trained(spec: ModelSpec, tmp_path: Path) -> Path:
    """A run of the small model with one checkpoint."""
    recipe = load_recipe(spec, "tiny")
    model = spec.build(recipe.model)
    record = CheckpointRecord(
        model="small",
        split="sp1",
        recipe_name="tiny",
        epoch=3,
        val={"mpjpe_mm": 12.3456, "mpvpe_mm": None},
        versions={"python": "3", "hmr-core": "1.0"},
        recipe=recipe.model_dump(mode="json"),
    )
    folder = tmp_path / "run/checkpoints/epoch-0003"
    save_checkpoint(folder, model, torch.optim.Adam(model.parameters()), record)
    return Path("run")


def of_another(run: Path, model: str) -> None:
    """Let a run's checkpoint be of another model."""
    folder = run / "checkpoints/epoch-0003"
    write_record(folder, replace(read_record(folder / "model.safetensors"), model=model))


# show


def test_a_released_file_is_shown(hmr: Hmr, released: Path) -> None:
    said = hmr("ckpt", "show", str(released))
    assert said.status == 0, said.err
    assert said.out.splitlines() == [
        "file:    Small.pth.tar",
        'what:    a released file of the model "small"',
        f"weights: 3 tensors, 3,092 numbers, {released.stat().st_size / 1e6:.1f} MB",
        "ignored: hand.* (1 tensor): the hand's own arrays",
        "recipe:  published, with image_size=48",
        f"blake2b: {file_digest(released)}",
        "use:     hmr eval small --ckpt Small.pth.tar --split sp0",
        "use:     hmr ckpt convert Small.pth.tar --out small-released",
    ]
    found = json.loads(hmr("ckpt", "show", str(released), "--json").out)
    assert (found["kind"], found["model"], found["overrides"]) == ("released", "small", ["image_size=48"])


@pytest.mark.parametrize(
    "given", ["run", "run/checkpoints", "run/checkpoints/epoch-0003", "run/checkpoints/epoch-0003/model.safetensors"]
)
def test_a_checkpoint_is_shown(hmr: Hmr, trained: Path, given: str) -> None:
    said = hmr("ckpt", "show", given)
    assert said.status == 0, said.err
    file = trained / "checkpoints/epoch-0003/model.safetensors"
    assert said.out.splitlines() == [
        f"file:     {file}",
        'what:     a checkpoint of the model "small"',
        "weights:  2 tensors, 3,087 numbers, 0.0 MB",
        "recipe:   tiny",
        "trained:  3 epochs on sp1 train",
        "val:      mpjpe_mm 12.35",
        "versions: python 3, hmr-core 1.0",
        f"blake2b:  {file_digest(file)}",
        f"use:      hmr eval small --ckpt {given}",
    ]
    write_record(file.parent, replace(read_record(file), epoch=1))
    assert "trained:  1 epoch on sp1 train" in hmr("ckpt", "show", given).out.splitlines()
    found = json.loads(hmr("ckpt", "show", given, "--json").out)
    assert found["val"] == {"mpjpe_mm": 12.3456, "mpvpe_mm": None}
    assert found["optimizer"] is True


def test_an_altered_checkpoint_is_shown_as_such(hmr: Hmr, trained: Path) -> None:
    file = trained / "checkpoints/epoch-0003/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    said = hmr("ckpt", "show", str(trained))
    text = (
        "altered or damaged, or model.json belongs to other weights: its digest is not the one in model.json beside it"
    )
    assert said.status == 1
    assert said.out.endswith(f"problem:  model.safetensors was {text}\n")  # and no command that would refuse it
    as_json = hmr("ckpt", "show", str(trained), "--json")
    assert as_json.status == 1
    assert json.loads(as_json.out)["problem"] == f"model.safetensors was {text}"
    assert json.loads(as_json.out)["use"] == []
    said = hmr("eval", "small", "--ckpt", str(trained), "--split", "sp1")
    assert said == (1, "", f"error: {file} was {text}. Copy it again from where it is whole.\n")
    file.write_bytes(data[:20])
    assert hmr("ckpt", "show", str(trained)).err.startswith(f"error: {file} cannot be read as safetensors: ")


def test_an_altered_optimizers_state_is_shown_as_such(hmr: Hmr, trained: Path) -> None:
    save_file({"exp_avg/body.2.bias": torch.ones(63)}, trained / "checkpoints/epoch-0003/optimizer.safetensors")
    said = hmr("ckpt", "show", str(trained))
    assert said.status == 1
    assert "problem:  optimizer.safetensors was altered or damaged" in said.out


def test_a_checkpoint_of_a_model_that_is_not_installed_is_shown(hmr: Hmr, trained: Path) -> None:
    of_another(trained, "rle")
    said = hmr("ckpt", "show", str(trained))
    assert 'what:     a checkpoint of the model "rle", which is not installed\n' in said.out
    assert said.out.endswith("use:      pip install hmr-rle\n")
    of_another(trained, "nobody's")
    assert "use:" not in hmr("ckpt", "show", str(trained)).out


def test_the_optimizers_state_is_shown(hmr: Hmr, trained: Path) -> None:
    folder = trained / "checkpoints/epoch-0003"
    save_file({"exp_avg/body.2.bias": torch.zeros(63)}, folder / "optimizer.safetensors")
    said = hmr("ckpt", "show", str(folder / "optimizer.safetensors"))
    assert said.status == 0, said.err
    text = f"the optimizer's state of a checkpoint, which a resumed run needs; the model is {folder}/model.safetensors"
    assert f"what:    {text}\nweights: 1 tensor, 63 numbers, 0.0 MB\n" in said.out
    assert said.out.endswith(f"use:     hmr ckpt show {folder}/model.safetensors\n")


def test_the_optimizers_state_is_known_by_its_contents(hmr: Hmr, trained: Path, spec: ModelSpec) -> None:
    folder = trained / "checkpoints/epoch-0003"
    save_file({"exp_avg/body.2.bias": torch.zeros(63)}, "model.safetensors")
    said = hmr("ckpt", "show", "model.safetensors")  # beside itself, which must not end in a circle
    assert "what:    the optimizer's state of a checkpoint" in said.out
    (folder / "model.safetensors").rename(folder / "optimizer.safetensors")
    assert 'a checkpoint of the model "small"\n' in hmr("ckpt", "show", f"{folder}/optimizer.safetensors").out
    record = load_checkpoint(folder / "optimizer.safetensors", spec).record
    assert record is not None
    assert record.epoch == 3
    Path("model.safetensors").rename("x.bin")
    said = hmr("ckpt", "show", "x.bin")
    assert "which a resumed run needs; the model is the model.safetensors of its checkpoint\n" in said.out
    assert "use:" not in said.out
    said = hmr("eval", "small", "--ckpt", "x.bin", "--split", "sp0")
    assert said.err == (
        "error: x.bin is the optimizer's state, not the model: give the model.safetensors of its checkpoint.\n"
    )


def test_a_checkpoints_file_of_any_name_is_known_by_its_contents(hmr: Hmr, trained: Path, spec: ModelSpec) -> None:
    folder = trained / "checkpoints/epoch-0003"
    file = folder / "rle.bin"
    (folder / "model.safetensors").rename(file)
    assert 'what:     a checkpoint of the model "small"\n' in hmr("ckpt", "show", str(file)).out
    record = load_checkpoint(file, spec).record
    assert record is not None
    assert record.epoch == 3
    file.write_bytes(b"damaged")  # says nothing by its contents, but model.json is beside
    assert hmr("ckpt", "show", str(file)).err.startswith(f"error: {file} cannot be read as safetensors: ")
    text = f"error: {folder}/model.json cannot be loaded as weights alone: it is no file of torch's. FILE takes"
    assert hmr("ckpt", "show", f"{folder}/model.json").err.startswith(text)
    torch.save(weights(), folder / "model.safetensors")  # a checkpoint's folder holds none but safetensors
    assert hmr("ckpt", "show", str(trained)).err.startswith(f"error: {folder}/model.safetensors cannot be read as saf")


def test_weights_without_their_json_file_are_shown(hmr: Hmr, trained: Path) -> None:
    shutil.copy(trained / "checkpoints/epoch-0003/model.safetensors", "x.safetensors")
    said = hmr("ckpt", "show", "x.safetensors")
    assert said.status == 1
    assert "what:    weights in safetensors that have no model.json beside them\n" in said.out
    assert "closest: small: 2 of its 2 tensors\n" in said.out
    assert (
        "problem: a checkpoint is model.safetensors and model.json in one folder: put them together again\n" in said.out
    )


def test_weights_without_their_json_file_are_refused(hmr: Hmr, trained: Path) -> None:
    (trained / "checkpoints/epoch-0003/model.json").unlink()
    weights = trained / "checkpoints/epoch-0003/model.safetensors"
    text = (
        f"error: {weights} has no model.json beside it, which says what the weights are of. Was it moved away? Put it "
        f"back; `hmr ckpt show {weights}` says which model the weights fit.\n"
    )
    assert hmr("eval", "small", "--ckpt", str(weights), "--split", "sp0") == (1, "", text)
    assert hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0") == (1, "", text)


def test_a_folder_of_runs_names_some(hmr: Hmr, trained: Path) -> None:
    Path("runs/started/checkpoints").mkdir(parents=True)
    Path("runs/notes.txt").touch()
    trained.rename("runs/b")
    for command in (["ckpt", "show", "runs"], ["eval", "small", "--split", "sp0", "--ckpt", "runs"]):
        option = "FILE" if "show" in command else "--ckpt"
        text = f"error: runs has no checkpoint in it: it holds the run runs/b. Give {option} one run.\n"
        assert hmr(*command) == (1, "", text)
    for name in ("d", "c", "a"):
        shutil.copytree("runs/b", f"runs/{name}")
    said = hmr("ckpt", "show", "runs")
    assert "it holds the runs runs/a, runs/b, runs/c and 1 more. Give FILE one run.\n" in said.err


def test_weights_that_fit_no_model_show_what_differs(hmr: Hmr) -> None:
    state = {"body.2.weight": torch.zeros(63, 48), **{f"x{i}": torch.zeros(1) for i in range(7)}}
    torch.save(state, "x.pth")
    said = hmr("ckpt", "show", "x.pth")
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert lines[1] == "what:    weights that are no released file of an installed model"
    assert lines[3:11] == [
        "closest: small: 1 of its 2 tensors",
        "lacks:   body.2.bias",
        *(f"unknown: x{i}" for i in range(5)),
        "unknown: and 2 more",
    ]
    torch.save({"nothing": torch.zeros(1)}, "x.pth")
    assert "closest" not in hmr("ckpt", "show", "x.pth").out
    torch.save({**weights(), "body.2.bias": torch.zeros(63, dtype=torch.int64)}, "x.pth")
    assert "type:    body.2.bias holds integers, the model wants floats\n" in hmr("ckpt", "show", "x.pth").out
    torch.save({**weights(), "body.2.bias": torch.full((63,), torch.nan)}, "x.pth")
    text = "problem: holds numbers that are not finite, first in body.2.bias: it is damaged. Get it again\n"
    for options in ((), ("--json",)):
        said = hmr("ckpt", "show", "x.pth", *options)
        assert said.status == 1
        assert json.loads(said.out)["use"] == [] if options else said.out.endswith(text)


def test_weights_that_are_not_finite_are_damaged_whatever_they_are_of(hmr: Hmr) -> None:
    backbone = {
        name: torch.full_like(value, float("nan"))
        for name, value in ResNet(BackboneConfig(name="resnet18")).state_dict().items()
        if value.is_floating_point()
    }
    for name, state, first in (
        ("other.pth", {"a": torch.ones(2), "b": torch.full((2,), float("nan"))}, "b"),
        ("backbone.pth", backbone, "conv1.weight"),
    ):
        torch.save(state, name)
        problem = f"holds numbers that are not finite, first in {first}: it is damaged. Get it again"
        shown = hmr("ckpt", "show", name)
        assert (shown.status, f"problem: {problem}\n" in shown.out, "use:" in shown.out) == (1, True, False)
        assert hmr("ckpt", "convert", name, "--out", "ours") == Said(1, "", f"error: {name} {problem}.\n")


def test_a_checkpoint_whose_weights_were_removed_is_told_by_its_folder(hmr: Hmr, trained: Path) -> None:
    newer = trained / "checkpoints/epoch-0009"
    newer.mkdir()
    kept = saved_checkpoints(trained / "checkpoints")[0]
    told = f"error: {newer} is the folder of a checkpoint, and its model.safetensors is not there. "
    for given in (newer, trained):
        said = hmr("eval", "small", "--ckpt", str(given), "--split", "sp0")
        assert (said.status, said.err) == (1, f"{told}Give --ckpt another of the run's: {kept}.\n")
    (kept / "model.safetensors").unlink()
    assert hmr("eval", "small", "--ckpt", str(newer), "--split", "sp0").err == f"{told}The run has no other.\n"


def test_a_backbone_is_shown(hmr: Hmr, plugins: list[Any], fakes: Any) -> None:
    plugins.append(fakes.plugin("core", hmr_backbones=core_backbones))
    torch.save(ResNet(BackboneConfig(name="resnet18")).state_dict(), "resnet18.pth")
    said = hmr("ckpt", "show", "resnet18.pth")
    assert "what:    the weights of the backbone resnet18, which a model can start from\n" in said.out


def test_a_file_of_a_known_model_is_answered_with_pip(hmr: Hmr) -> None:
    torch.save({KNOWN["model"]["i2l"].tensor: torch.zeros(1)}, "x.pth")
    said = hmr("ckpt", "show", "x.pth")
    assert 'what:    a released file of the model "i2l", which is not installed\n' in said.out
    assert said.out.endswith("use:     pip install hmr-i2l\nuse:     hmr ckpt show x.pth\n")


def test_what_is_no_weights_is_refused(hmr: Hmr) -> None:
    Path("x.txt").write_text("weights: 3\n")
    text = "FILE takes a run's folder, a checkpoint's folder, a model.safetensors, or a released file.\n"
    said = hmr("ckpt", "show", "x.txt")
    assert said == (1, "", f"error: x.txt cannot be loaded as weights alone: it is no file of torch's. {text}")
    torch.save({"x": Path("x")}, "x.pth")
    assert "weights alone: it names pathlib." in hmr("ckpt", "show", "x.pth").err
    assert "no such checkpoint: nowhere. FILE takes" in hmr("ckpt", "show", "nowhere").err

    torch.save({KNOWN["model"]["rle"].tensor: torch.zeros(1)}, "a file.pth")
    assert hmr("ckpt", "show", "a file.pth").out.endswith("use:     hmr ckpt show 'a file.pth'\n")


@pytest.mark.parametrize("state", ["broken", "left out"])
def test_a_known_model_whose_plugin_is_there_is_not_answered_with_pip(
    hmr: Hmr, plugins: list[Any], fakes: Any, trained: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state == "broken":
        plugins.append(fakes.raising("rle", ImportError("no such thing")))
    else:
        plugins.append(fakes.plugin("of-mine", dist="hmr-rle"))
        monkeypatch.setenv("HMR_PLUGINS", "small")
    torch.save({KNOWN["model"]["rle"].tensor: torch.zeros(1)}, "x.pth")
    said = hmr("ckpt", "show", "x.pth")
    assert 'what:    a released file of the model "rle", whose plugin cannot be used\n' in said.out
    assert said.out.endswith("use:     hmr plugins\nuse:     hmr ckpt show x.pth\n")
    assert hmr("ckpt", "convert", "x.pth", "--out", "ours").err == (
        'error: x.pth is a released file of the model "rle", whose plugin cannot be used. See: hmr plugins\n'
    )
    of_another(trained, "rle")
    said = hmr("ckpt", "show", str(trained))
    assert 'what:     a checkpoint of the model "rle", whose plugin cannot be used\n' in said.out
    assert said.out.endswith("use:      hmr plugins\n")


@pytest.mark.parametrize(
    ("key", "value", "how"),
    [
        ("model", 3, '"model" is a int, and should be text'),
        ("recipe", [1], '"recipe" is a list, and should be an object'),
        ("recipe", {"train": 1}, 'the "train" of "recipe" is no object'),
        ("digests", None, '"digests" is a NoneType, and should be an object'),
        ("recipe_name", 1, '"recipe_name" is a int, and should be text or null'),
        ("split", [], '"split" is a list, and should be text or null'),
        ("epoch", "3", '"epoch" is a str, and should be a whole number or null'),
        ("val", [1], '"val" is a list, and should be an object'),
        ("val", {"mpjpe_mm": "x"}, '"mpjpe_mm" of "val" is a str, and should be a number or null'),
        ("versions", 1, '"versions" is a int, and should be an object'),
        ("epoch", 2, "its own digest is not the one that it records"),
    ],
)
def test_an_altered_json_file_is_refused(hmr: Hmr, trained: Path, key: str, value: object, how: str) -> None:
    file = trained / "checkpoints/epoch-0003/model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    text = f"error: {file} was altered or damaged: {how}. Copy it again from where it is whole.\n"
    for command in (("ckpt", "show", "run"), ("eval", "small", "--ckpt", "run", "--split", "sp0")):
        assert hmr(*command) == (1, "", text)
    file.write_bytes(b"\xff{}")
    assert "has no readable model.json beside it" in hmr("ckpt", "show", "run").err


# convert


def test_a_converted_file_is_a_checkpoint_with_the_same_metrics(hmr: Hmr, released: Path, spec: ModelSpec) -> None:
    said = hmr("ckpt", "convert", str(released), "--out", "ours")
    assert said.status == 0, said.err
    assert said.out.splitlines() == [
        "note: released file: ignored hand.* (the hand's own arrays); image_size=48",
        "written: ours/ with model.safetensors, model.json",
        "next: hmr ckpt show ours",
    ]
    assert {path.name for path in Path("ours").iterdir()} == {"model.safetensors", "model.json"}
    record = read_record(Path("ours/model.safetensors"))
    assert (record.model, record.recipe_name, record.split, record.epoch) == ("small", "published", None, None)
    assert record.released is not None
    assert record.released.as_json() == {
        "path": str(released.resolve()),
        "blake2b": file_digest(released),
        "overrides": ["image_size=48"],
        "ignored": {"hand.": {"tensors": 1, "what": "the hand's own arrays"}},
    }
    assert load_checkpoint(Path("ours"), spec).recipe == load_checkpoint(released, spec).recipe

    reports = []
    for given in (str(released), "ours"):
        out = hmr("eval", "small", "--ckpt", given, "--split", "sp0", "--device", "cpu", "--out", f"eval-{given}")
        assert out.status == 0, out.err
        assert "note: released file: ignored hand.* (the hand's own arrays); image_size=48\n" in out.out
        reports.append(json.loads(Path(f"eval-{given}/report.json").read_text()))
    first, second = reports
    assert first["metrics"] == second["metrics"]
    assert first["recipe"] == second["recipe"]
    assert first["notes"] == second["notes"]
    assert first["recipe"]["model"]["image_size"] == 48
    assert first["checkpoint"]["released"] == {**record.released.as_json(), "path": str(released)}
    assert second["checkpoint"]["released"] == record.released.as_json()
    assert second["checkpoint"]["trained_on"]["split"] is None


def test_a_converted_checkpoint_is_shown(hmr: Hmr, released: Path) -> None:
    hmr("ckpt", "convert", str(released), "--out", "ours")
    lines = hmr("ckpt", "show", "ours").out.splitlines()
    assert 'what:      a checkpoint, converted from a released file, of the model "small"' in lines
    assert f"from:      {released.resolve()} (blake2b {file_digest(released)})" in lines
    assert "ignored:   hand.* (1 tensor): the hand's own arrays" in lines
    assert "recipe:    published, with image_size=48" in lines
    assert "optimizer: none, so no run can go on from it" in lines
    assert not any(line.startswith(("trained:", "val:")) for line in lines)
    assert lines[-1] == "use:       hmr eval small --ckpt ours --split sp0"
    write_record(Path("ours"), replace(read_record(Path("ours/model.safetensors")), model="rle"))
    text = 'a checkpoint, converted from a released file, of the model "rle", which is not installed\n'
    assert text in hmr("ckpt", "show", "ours").out


def test_of_several_models_that_fit_one_is_to_be_named(
    hmr: Hmr, plugins: list[Any], fakes: Any, spec: ModelSpec, released: Path
) -> None:
    twin, far = replace(spec, name="twin"), replace(spec, name="far", released=None)
    plugins.append(fakes.plugin("others", hmr_models=lambda: [twin, far]))
    said = hmr("ckpt", "convert", str(released), "--out", "ours")
    assert said == (1, "", 'error: Small.pth.tar fits the models "small" and "twin". Say which by --model.\n')
    said = hmr("ckpt", "convert", str(released), "--out", "ours", "--model", "far")
    text = 'error: Small.pth.tar is no released file of the model "far": it fits "small" and "twin".\n'
    assert said == (1, "", text)
    said = hmr("ckpt", "convert", str(released), "--out", "ours", "--model", "no")
    assert said.status == 2
    assert said.err.startswith('error: unknown model "no".')
    assert not Path("ours").exists()
    assert hmr("ckpt", "convert", str(released), "--out", "ours", "--model", "twin").status == 0
    assert read_record(Path("ours/model.safetensors")).model == "twin"


def test_paths_are_quoted_in_commands(hmr: Hmr, released: Path) -> None:
    released.rename("a file")
    lines = hmr("ckpt", "convert", "a file", "--out", "a folder").out.splitlines()
    assert lines[-1] == "next: hmr ckpt show 'a folder'"
    torch.save({"x": torch.zeros(1)}, "a file")
    assert "`hmr ckpt show 'a file'` says what" in hmr("ckpt", "convert", "a file", "--out", "ours").err
    assert "`hmr ckpt show 'a file'` says what" in hmr("eval", "small", "--ckpt", "a file", "--split", "sp0").err


def test_a_place_that_cannot_be_written_is_told_before_the_file_is_read(hmr: Hmr) -> None:
    Path("file").touch()
    status, out, err = hmr("ckpt", "convert", "nothing.pth.tar", "--out", "file/converted")
    assert (status, out) == (1, "")
    assert "file/converted cannot be written: " in err


def test_a_folder_that_is_there_is_left_alone(hmr: Hmr, released: Path, trained: Path) -> None:
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    Path("file").touch()
    checkpoint = trained / "checkpoints/epoch-0003"
    (checkpoint / "optimizer.safetensors").unlink()  # but for its JSON file it looks as a converted one does
    for out in ("full", "file", str(checkpoint), "."):
        said = hmr("ckpt", "convert", str(released), "--out", out)
        text = f"error: {out} exists. Give another --out, or --force to replace a converted checkpoint.\n"
        assert said == (1, "", text)
        said = hmr("ckpt", "convert", str(released), "--out", out, "--force")
        text = f"error: {out} is no converted checkpoint, so it is left alone. Give another --out.\n"
        assert said == (1, "", text)
    assert Path("full/notes.txt").exists()
    assert (checkpoint / "model.safetensors").exists()


def test_force_replaces_a_converted_checkpoint(hmr: Hmr, released: Path) -> None:
    hmr("ckpt", "convert", str(released), "--out", "ours")
    Path("ours/model.safetensors").write_bytes(b"damaged")
    assert hmr("ckpt", "convert", str(released), "--out", "ours", "--force").status == 0
    assert "problem" not in hmr("ckpt", "show", "ours").out
    Path("empty").mkdir()
    assert hmr("ckpt", "convert", str(released), "--out", "empty", "--force").status == 0


def test_what_cannot_be_converted_is_refused(hmr: Hmr, trained: Path) -> None:
    said = hmr("ckpt", "convert", str(trained), "--out", "ours")
    assert said.err == (
        'error: run is a checkpoint of ours already (of the model "small"): there is nothing to convert. '
        "Give a released file.\n"
    )
    torch.save({"x": torch.zeros(1)}, "x.pth")
    said = hmr("ckpt", "convert", "x.pth", "--out", "ours")
    assert said.err == (
        "error: x.pth is no released file of an installed model, so it cannot be converted. `hmr ckpt show x.pth` "
        "says what it is.\n"
    )
    torch.save({KNOWN["model"]["rle"].tensor: torch.zeros(1)}, "x.pth")
    said = hmr("ckpt", "convert", "x.pth", "--out", "ours")
    text = 'error: x.pth is a released file of the model "rle", which is not installed: pip install hmr-rle\n'
    assert said.err == text
    torch.save({**weights(), "body.2.bias": torch.full((63,), torch.nan)}, "x.pth")
    assert "not finite, first in body.2.bias" in hmr("ckpt", "convert", "x.pth", "--out", "ours").err
    assert not Path("ours").exists()


def test_nothing_is_left_half_written(hmr: Hmr, released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(Path().iterdir())
    monkeypatch.setattr(checkpoints, "save_file", full)
    said = hmr("ckpt", "convert", str(released), "--out", "ours")
    assert said.status == 1
    assert "No space left on device" in said.err
    assert sorted(Path().iterdir()) == before


# What other commands say.


def test_a_converted_checkpoint_cannot_be_resumed(hmr: Hmr, released: Path) -> None:
    hmr("ckpt", "convert", str(released), "--out", "ours")
    said = hmr("train", "small", "--resume", "ours")
    assert said.status == 1
    assert (
        "ours is not a run: ours/config.json cannot be read (No such file or directory). "
        "It is a checkpoint, which has no run." in said.err
    )

    hmr("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu", "--out", "run")
    config = json.loads(Path("run/config.json").read_text())
    config["recipe"]["train"]["epochs"] = 2
    Path("run/config.json").write_text(json.dumps(config))
    shutil.rmtree("run/checkpoints/epoch-0001")
    Path("ours").rename("run/checkpoints/epoch-0001")
    said = hmr("train", "small", "--resume", "run", "--device", "cpu")
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        "error: run/checkpoints/epoch-0001/model.safetensors has no optimizer's state: it was converted from a "
        "released file, so no run can go on from it."
    )


def test_a_released_file_of_another_model_is_named(hmr: Hmr) -> None:
    torch.save({KNOWN["model"]["integral"].tensor: torch.zeros(1)}, "x.pth")
    said = hmr("eval", "small", "--ckpt", "x.pth", "--split", "sp0", "--device", "cpu")
    assert said == (
        1,
        "",
        'error: x.pth is a released file of the model "integral", not of "small". Give --ckpt one of small, or use it '
        "with integral: `hmr ckpt show x.pth` says how.\n",
    )


def test_a_converted_checkpoint_whose_record_was_altered_is_refused(hmr: Hmr, released: Path) -> None:
    hmr("ckpt", "convert", str(released), "--out", "ours")
    info = json.loads(Path("ours/model.json").read_text())
    text = '"released" in ours/model.json is not as `hmr ckpt convert` writes it. Convert again.'
    changes: list[dict[str, Any]] = [{"overrides": [1]}, {"blake2b": 1}, {"ignored": {"x": {"tensors": 1, "what": []}}}]
    for altered in (["x"], *({**info["released"], **change} for change in changes)):
        values = {**info, "released": altered}
        values["digests"] = {**info["digests"], "model.json": record_digest(values)}
        Path("ours/model.json").write_text(json.dumps(values))
        said = hmr("eval", "small", "--ckpt", "ours", "--split", "sp0")
        assert said.err == f"error: {text}\n"
        assert hmr("ckpt", "show", "ours").err == f"error: {text}\n"
    del info["recipe"]
    Path("ours/model.json").write_text(json.dumps(info))
    text = "ours/model.json does not say the checkpoint's recipe, so the checkpoint cannot be used."
    assert hmr("eval", "small", "--ckpt", "ours", "--split", "sp0").err == f"error: {text}\n"


def test_metrics_that_are_not_there_are_none(tmp_path: Path) -> None:
    for epoch, val in enumerate([{}, {"mpjpe_mm": None}, {"mpjpe_mm": 20.0}, {}], start=1):
        folder = tmp_path / f"epoch-{epoch:04d}"
        folder.mkdir()
        write_record(folder, CheckpointRecord(model="small", recipe={}, val=val))
    prune_checkpoints(tmp_path)
    kept = [path.name for path in saved_checkpoints(tmp_path)]
    assert kept == ["epoch-0003", "epoch-0004"]


def test_the_json_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(
        HmrError, match=r"model\.json is not the JSON file of a checkpoint of format 'hmr-checkpoint/1'"
    ):
        read_record(tmp_path / "model.safetensors")
