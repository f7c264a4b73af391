"""A run from a notebook: `hmr.train`, and the session beneath it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.training.resume import go_on
from hmr_core.training.run_folder import is_finished
from hmr_core.training.session import train
from hmr_core.weights.run_record import open_run


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec) -> Registry:
    registry: Registry = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return registry


def test_a_notebook_trains_with_strings_and_values(
    plugins: Registry, mini_pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = {"train.epochs": 1, "augment.rotation_deg": 0.0, "train.clip_norm": None}
    run = train(
        "small", split="sp0", recipe="tiny", set=sets, data=str(mini_pack_path), out=str(tmp_path / "run"),
        device="cpu", registry=plugins,
    )  # fmt: skip
    assert run.folder == tmp_path / "run"
    assert is_finished(run)
    assert open_run(run.folder) == run
    assert (run.recipe["train"]["epochs"], run.recipe["augment"]["rotation_deg"]) == (1, 0)
    assert run.started["command"] == (
        f"hmr.train('small', split='sp0', recipe='tiny', set={sets!r}, data={str(mini_pack_path)!r}, device='cpu', "
        f"out={str(tmp_path / 'run')!r}, keep_last=2)"
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1/1: loss" in err


def test_a_run_may_be_silent_and_lies_under_runs_by_default(
    plugins: Registry,
    mini_pack_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    run = train("small", split="sp0", set={"train.epochs": 1}, device="cpu", progress=False, registry=plugins)
    assert run.folder == Path("runs/small-sp0-published")
    assert run.data[0].path == mini_pack_path
    assert capsys.readouterr() == ("", "")


def test_errors_name_arguments_and_no_flags(plugins: Registry, mini_pack_path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"split": "sp0", "data": mini_pack_path, "registry": plugins}
    with pytest.raises(HmrError, match=r"fewer than a batch of 1000\. Use a smaller batch_size\.$"):
        train("small", set={"train.batch_size": 1000}, out=tmp_path / "run", **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(HmrError, match=r"so it cannot be a run's folder\. Choose another with out\.$"):
        train("small", out=tmp_path / "file", **options)
    with pytest.raises(UsageError, match=r"^small learns without a hand model\. Leave out hand_model\.$"):
        train("small", hand_model="hand.npz", **options)
    with pytest.raises(UsageError, match=r'^subset "test": training takes train or train\+val, never another'):
        train("small", subset="test", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_epochs_and_batch_size_are_short_for_overrides(plugins: Registry, mini_pack_path: Path, tmp_path: Path) -> None:
    options: Any = {"split": "sp0", "data": mini_pack_path, "device": "cpu", "progress": False, "registry": plugins}
    with pytest.raises(HmrError, match=r"fewer than a batch of 1000\. Use a smaller batch_size"):
        train("small", batch_size=1000, out=tmp_path / "run", **options)
    run = train("small", epochs=1, batch_size=16, out=tmp_path / "run", **options)
    assert (run.recipe["train"]["epochs"], run.recipe["train"]["batch_size"]) == (1, 16)


def test_a_finished_run_is_left_as_it_is(run: Run, plugins: Registry) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    told: list[str] = []
    assert go_on(run.folder, plugins, tell=told.append).folder == run.folder
    (text,) = told
    assert text.startswith(f"note: {run.folder} is finished: epoch 3 of 3 is done; ")
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


@pytest.mark.parametrize("packs", [[], [{}, {}], [{"name": "a", "split": "sp0", "share": 1}] * 2])
def test_a_run_of_packs_that_are_no_mixture_is_damaged(run: Run, plugins: Registry, packs: list[Any]) -> None:
    path = run.folder / "config.json"
    config = json.loads(path.read_text())
    (data,) = config["data"]
    path.write_text(json.dumps({**config, "data": [{**data, **pack} for pack in packs]}))
    with pytest.raises(HmrError, match=r'config\.json was altered or damaged: "data" is not as `hmr train` writes it'):
        go_on(run.folder, plugins)
