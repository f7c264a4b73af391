"""A run that starts from another checkpoint's weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.nn.model import PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import StepDone
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.shell import flag
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import resume
from hmr_core.training.session import start, train
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.run_record import open_run
from hmr_core.weights.starting_weights import fit_starting_weights, start_from

NEVER = ("train.learning_rate=1e-30", "train.epochs=1")
"""Steps that change no weight, so that what a run started from can be seen at its end."""


def wider(spec: ModelSpec) -> ModelSpec:
    """A model with the layers of the small one, of which the last but one is wider, and one that it lacks."""

    def build(config: Any) -> PoseModel:
        model = spec.build(config)
        model.extra = torch.nn.Linear(2, 2)
        return model

    return replace(spec, name="wider", build=build)


def renamed(model: PoseModel) -> PoseModel:
    """A model with its layers under other names."""
    model.trunk = model.body
    del model.body
    return model


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec) -> Registry:
    registry: Registry = fakes.registry(
        fakes.plugin("small", hmr_models=lambda: [small_spec]),
        fakes.plugin("wider", hmr_models=lambda: [wider(small_spec)]),
    )
    return registry


def request(pack: Path, out: Path, **changes: Any) -> TrainingRequest:
    values = {
        "model": "small", "split": "sp0", "recipe": "tiny", "overrides": NEVER,
        "data": asked_packs(pack), "device": "cpu", "out": out,
    }  # fmt: skip
    return TrainingRequest(**{**values, **changes})


def weights(run: Run, spec: ModelSpec) -> dict[str, torch.Tensor]:
    return load_checkpoint(run.folder, spec).model.state_dict()


def test_a_run_starts_from_another_s_weights_and_says_so(
    plugins: Registry, mini_pack_path: Path, tmp_path: Path, run: Run, small_spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(PoseModel, "pretrain", lambda self: pytest.fail("it fetched weights that it does not need"))
    new = start(request(mini_pack_path, tmp_path / "new", init=run.folder), plugins)
    before, after = weights(run, small_spec), weights(new, small_spec)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    newest = saved_checkpoints(run.checkpoints)[-1] / "model.safetensors"
    config = json.loads((new.folder / "config.json").read_text())
    assert config["init"] == {
        "path": str(newest), "blake2b": load_checkpoint(newest, small_spec).digest, "model": "small", "partial": False,
        "drawn": [],
    }  # fmt: skip
    assert open_run(new.folder).init == new.init
    record = load_checkpoint(new.folder, small_spec).record
    assert record is not None
    assert record.init == {key: value for key, value in config["init"].items() if key != "path"}
    assert f"note: starts from the weights in {newest}\n" in (new.folder / "train.log").read_text()


def test_a_checkpoint_a_file_and_the_best_are_taken_too(small_spec: ModelSpec, tmp_path: Path, run: Run) -> None:
    recipe = load_recipe(small_spec, "tiny")
    newest = saved_checkpoints(run.checkpoints)[-1]
    torch.save(load_checkpoint(newest, small_spec).model.state_dict(), tmp_path / "Small.pth.tar")
    for path in (newest, newest / "model.safetensors", Path(f"{run.folder}:best"), tmp_path / "Small.pth.tar"):
        init = fit_starting_weights(path, small_spec, recipe, partial=False)
        model = small_spec.build(recipe.model)
        start_from(model, init, small_spec)
        assert init.drawn == ()
        best = load_checkpoint(path, small_spec).model.state_dict()
        assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


def test_what_does_not_fit_is_listed_and_drawn_anew_where_that_is_asked_for(
    plugins: Registry, mini_pack_path: Path, tmp_path: Path, run: Run, small_spec: ModelSpec
) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1] / "model.safetensors"
    with pytest.raises(HmrError) as caught:
        start(request(mini_pack_path, tmp_path / "new", model="wider", init=run.folder), plugins)
    assert caught.value.worded(flag) == (
        f'{newest} does not fit the model "wider". Missing: extra.weight, extra.bias. --init-partial takes what fits '
        "and draws the rest anew."
    )
    assert not (tmp_path / "new").exists()
    new = start(request(mini_pack_path, tmp_path / "new", model="wider", init=run.folder, init_partial=True), plugins)
    assert new.init is not None
    assert (new.init.model, new.init.partial, new.init.drawn) == ("small", True, ("extra.weight", "extra.bias"))
    before, after = weights(run, small_spec), weights(new, wider(small_spec))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    torch.manual_seed(new.recipe["train"]["seed"])
    drawn = wider(small_spec).build(load_recipe(small_spec, "tiny").model).state_dict()
    assert torch.equal(after["extra.weight"], drawn["extra.weight"])
    assert "; drawn anew: extra.weight, extra.bias\n" in (new.folder / "train.log").read_text()
    back = start(request(mini_pack_path, tmp_path / "back", init=new.folder, init_partial=True), plugins)
    assert back.init is not None
    assert back.init.drawn == ()


def test_of_another_shape_and_too_much_are_listed(
    plugins: Registry, mini_pack_path: Path, tmp_path: Path, small_spec: ModelSpec, run: Run
) -> None:
    state = load_checkpoint(run.folder, small_spec).model.state_dict()
    other = {**state, "body.2.bias": torch.zeros(7), **{f"more.{i}": torch.zeros(1) for i in range(7)}}
    torch.save(other, tmp_path / "x.pth")
    with pytest.raises(HmrError) as caught:
        start(request(mini_pack_path, tmp_path / "new", init=tmp_path / "x.pth"), plugins)
    assert caught.value.message == (
        f'{tmp_path / "x.pth"} does not fit the model "small". Not of this model: more.0, more.1, more.2, more.3, '
        "more.4 and 2 more tensors. Of another shape: body.2.bias (7,) for (63,)."
    )
    torch.save({"nothing": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(HmrError, match=r'x\.pth has no tensor that fits the model "small": nothing could be started'):
        start(request(mini_pack_path, tmp_path / "new", init=tmp_path / "x.pth", init_partial=True), plugins)
    others = replace(small_spec, name="others", build=lambda config: renamed(small_spec.build(config)))
    with pytest.raises(HmrError) as caught:  # and nothing is taken in part, so that is not what to do
        fit_starting_weights(run.folder, others, load_recipe(others, "tiny"), partial=False)
    assert caught.value.worded(flag).endswith(
        'model.safetensors is of the model "small". It has no tensor that fits the model "others": nothing could be '
        "started from."
    )
    torch.save({**state, "body.2.bias": torch.full((63,), torch.nan)}, tmp_path / "x.pth")
    with pytest.raises(HmrError, match=r"x\.pth holds numbers that are not finite, first in body\.2\.bias"):
        start(request(mini_pack_path, tmp_path / "new", init=tmp_path / "x.pth"), plugins)


def test_a_run_that_is_resumed_before_its_first_checkpoint_reads_the_very_file_again(
    trainer: Any, plugins: Registry, mini_pack_path: Path, tmp_path: Path, run: Run, small_spec: ModelSpec
) -> None:
    def stop(_: Run, event: Any) -> None:
        if isinstance(event, StepDone):
            raise KeyboardInterrupt

    asked = request(mini_pack_path, tmp_path / "new", init=run.folder, overrides=("train.epochs=1",))
    whole = start(replace(asked, out=tmp_path / "whole"), plugins)
    with pytest.raises(KeyboardInterrupt):
        start(asked, plugins, [stop])
    newest = saved_checkpoints(run.checkpoints)[-1]
    moved = newest.rename(tmp_path / "moved")
    options: Any = {"device": "cpu", "progress": False, "registry": plugins}
    gone = (
        rf"^{newest}/model\.safetensors, whose weights the run starts from, is not there any more, .* Put it back, or"
    )
    with pytest.raises(HmrError, match=gone):
        resume(tmp_path / "new", **options)
    saved_checkpoints(run.checkpoints)[0].rename(newest)
    with pytest.raises(HmrError, match=r"is not the file that the run started from \(its digest differs\)\. Put it"):
        resume(tmp_path / "new", **options)
    newest.rename(tmp_path / "older")
    moved.rename(newest)
    new = resume(tmp_path / "new", **options)
    assert all(torch.equal(value, weights(new, small_spec)[name]) for name, value in weights(whole, small_spec).items())


def test_a_report_says_what_a_run_started_from(
    plugins: Registry, mini_pack_path: Path, mini_pack: Pack, tmp_path: Path, run: Run, small_spec: ModelSpec,
    evaluate_on: Any,
) -> None:  # fmt: skip
    new = start(request(mini_pack_path, tmp_path / "new", init=run.folder), plugins)
    options: dict[str, Any] = {"device": torch.device("cpu"), "batch_size": 24, "workers": 0}
    for one, init in ((run, None), (new, new.init.as_json() if new.init else {})):
        found = evaluate_on(
            small_spec, load_checkpoint(one.folder, small_spec), mini_pack, split="sp0", subset="test", **options
        )
        assert found.report["checkpoint"]["init"] == init


def test_mistakes_are_told_before_anything_is_made(plugins: Registry, mini_pack_path: Path, tmp_path: Path) -> None:
    options: Any = {"split": "sp0", "data": mini_pack_path, "out": tmp_path / "new", "registry": plugins}
    with pytest.raises(HmrError, match=r"^no such checkpoint: no\. init takes a run's folder"):
        train("small", init="no", **options)
    with pytest.raises(UsageError, match=r"^There is nothing whose weights could be taken in part\. Name it by init"):
        train("small", init_partial=True, **options)
    assert list(tmp_path.iterdir()) == []
