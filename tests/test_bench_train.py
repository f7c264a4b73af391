"""What measures training: its comparison is fair, its figures follow from what was timed, the docs show them."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from hmr_core.data.batch import as_input
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.registry import discover

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TOOLS = (
    "arithmetic_cost",
    "bench_train",
    "live_bytes",
    "plain_loop",
    "provenance",
    "training_stages",
    "training_subject",
)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of tools/."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in TOOLS:
        sys.modules.pop(name, None)


@pytest.fixture
def subject(tool: Any, small_spec: ModelSpec, mini_pack: Pack, tmp_path: Path) -> Any:
    return tool("training_subject").make_subject(small_spec, "tiny", mini_pack, "sp0", CPU, tmp_path)


def test_the_plain_loop_takes_the_engine_s_steps(tool: Any, mini_pack: Pack, tmp_path: Path) -> None:
    spec = discover().model("rle")
    made = tool("training_subject").make_subject(spec, "tiny", mini_pack, "sp0", CPU, tmp_path, 8)
    train = made.recipe.train.model_copy(update={"clip_norm": 0.5})
    made = replace(made, recipe=made.recipe.model_copy(update={"train": train}))
    stages, plain_loop = tool("training_stages"), tool("plain_loop")
    plain, engine = plain_loop.PlainLoop(made), stages.EngineLoop(made, stages.Setting())
    first, second = made.batches(2)
    engine(first)
    assert plain(plain_loop.as_floats(first)) == pytest.approx(engine.last.losses["total"], rel=1e-5)
    for a, b in zip(plain.model.parameters(), engine.state.model.parameters(), strict=True):
        assert a.grad is not None  # as it was clipped
        assert b.grad is not None
        assert float((a.grad - b.grad).norm()) < 0.05 * float(b.grad.norm())
    assert max(float(p.grad.norm()) for p in plain.model.parameters()) == pytest.approx(0.5, rel=1e-4)
    engine(second)
    assert plain(plain_loop.as_floats(second)) == pytest.approx(engine.last.losses["total"], rel=1e-3)


def test_the_plain_loop_s_images_are_the_engine_s_in_another_layout(tool: Any, subject: Any) -> None:
    (batch,) = subject.batches(1)
    inputs, targets = tool("plain_loop").as_floats(batch)
    assert inputs.image.is_contiguous()
    assert torch.equal(inputs.image, as_input(batch.image))
    assert targets is batch.targets
    copied = tool("plain_loop").copied(inputs, torch.device("meta"))
    assert (copied.image.device.type, copied.joints) == ("meta", None)


def test_a_setting_is_what_the_engine_computes_in(tool: Any, subject: Any) -> None:
    stages = tool("training_stages")
    engine = stages.EngineLoop(subject, stages.Setting(precision="bfloat16", channels_last=True))
    assert (engine.config.precision, engine.config.channels_last, engine.config.compile) == ("bfloat16", True, False)
    (batch,) = subject.batches(1)
    engine(batch)
    assert engine.state.step == 1


def test_the_first_step_is_not_counted_and_waiting_is(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tool("training_stages")
    clock = [0.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: clock[0])

    def batches() -> Iterator[float]:
        for seconds in (100.0, 2.0, 3.0):
            clock[0] += 1  # what the batch takes to come
            yield seconds

    def step(seconds: float) -> None:
        clock[0] += seconds

    taken = stages.steps_taken(step, batches(), 2)
    assert [(t.seconds, t.waited_s) for t in taken] == [(3.0, 1.0), (4.0, 1.0)]
    assert tool("bench_train").data_wait(taken) == pytest.approx(2 / 7)


def test_ways_take_turns(tool: Any) -> None:
    order: list[str] = []

    def way(name: str) -> Any:
        def take(count: int) -> list[str]:
            order.append(name)
            return [name] * count

        return take

    found = tool("training_stages").take_turns([way("a"), way("b")], rounds=2, steps=3)
    assert order == ["a", "b", "a", "b"]
    assert found == [["a"] * 6, ["b"] * 6]


def test_speed_is_that_of_the_median_step(tool: Any) -> None:
    taken = [tool("training_stages").Taken(seconds=s) for s in (1.0, 2.0, 4.0, 8.0, 100.0)]
    assert tool("bench_train").speed(taken, 16) == {"images_per_s": 4, "images_per_s_q1": 2, "images_per_s_q3": 8}


@pytest.mark.parametrize(
    ("published", "room", "expected"), [(256, 300, 256), (256, 255, 128), (100, 99, 64), (128, 5, 4), (128, 0, 0)]
)
def test_the_batch_is_the_published_one_or_the_largest_power_of_two(
    tool: Any, published: int, room: int, expected: int
) -> None:
    assert tool("bench_train").largest_batch(published, lambda size: size <= room) == expected


def test_each_precision_is_measured_in_each_layout(tool: Any) -> None:
    settings = tool("bench_train").settings
    assert len(settings("cuda", images=True, compiled=True)) == 4 * 2 * 2
    assert len(settings("cpu", images=True, compiled=False)) == 2 * 2
    assert [s.channels_last for s in settings("cpu", images=False, compiled=False)] == [False, False]


def test_a_step_s_arithmetic_is_counted_by_hand(tool: Any, subject: Any) -> None:
    # One linear layer of 48 to 63, whose input needs no gradient: the product, and that for the weights.
    (batch,) = subject.batches(1)
    assert tool("arithmetic_cost").gflop_per_image(subject, batch) == pytest.approx(2 * 2 * 48 * 63 / 1e9)


def test_the_peak_is_a_matrix_product_s(tool: Any) -> None:
    for precision in ("float32", "bfloat16"):
        assert 0 < tool("arithmetic_cost").peak_tflops(CPU, precision, rounds=1, side=64) < 100


def test_what_does_not_fit_is_said_and_other_errors_are_raised(
    tool: Any, subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tool("bench_train")
    plan = bench.Plan(rounds=1, steps=1, run_steps=1, compile=False)

    def fail_with(cause: Exception) -> None:
        def made(*_: object) -> None:
            raise HmrError("the model failed.") from cause

        monkeypatch.setattr(bench, "EngineLoop", made)

    fail_with(torch.OutOfMemoryError("CUDA out of memory"))
    rows = list(bench.Bench(subject, plan, {}, "").step_rows())
    assert rows[0]["how"] == "plain loop"
    assert {(row["note"], row["images_per_s"]) for row in rows[1:]} == {("memory ran out", "")}
    assert not bench.fits_on(lambda size: subject)(8)
    fail_with(ValueError("no"))
    with pytest.raises(HmrError, match="the model failed"):
        list(bench.Bench(subject, plan, {}, "").step_rows())


def test_what_a_device_cannot_is_said(tool: Any, subject: Any) -> None:
    bench = tool("bench_train")
    made = bench.Bench(subject, bench.Plan(rounds=1, steps=1, run_steps=1, compile=False), {}, "")
    row, other = made.step_row(bench.Setting(precision="tf32"), lambda count: [])
    assert "TensorFloat-32 needs an NVIDIA GPU" in row["note"]
    assert (row["images_per_s"], row["ratio"], other) == ("", "", ())


def test_the_command_measures_steps_and_runs(
    tool: Any, mini_pack_path: Path, mini_hand_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    bench, out = tool("bench_train"), tmp_path / "speed.csv"
    # A processor without bfloat16 takes minutes for the products that show what it can do at most.
    monkeypatch.setitem(bench.peak_tflops.__globals__["SIDE"], "cpu", 64)
    few = ["--rounds", "1", "--steps", "2", "--run-steps", "2", "--no-compile", "--batch", "8"]
    arguments = ["--device", "cpu", "--model", "iknet", "--data", str(mini_pack_path), "--csv", str(out), *few]
    result = CliRunner().invoke(bench.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["how"], row["precision"]) for row in rows] == [
        ("step", "plain loop", "float32"),
        ("step", "engine", "float32"),
        ("step", "engine", "bfloat16"),
        ("run", "plain loop", "float32"),
        ("run", "engine", "float32"),
    ]
    for row in rows:
        assert float(row["images_per_s"]) > 0
        assert (row["batch"], row["note"], row["device"]) == ("8", "", "cpu")
        assert bool(row["data_wait"]) == (row["stage"] == "run")
        assert bool(row["memory_gib"]) == (row["stage"] == "step")
    assert all(line in result.output for line in bench.table(rows, "run"))


def test_the_docs_show_what_was_measured(tool: Any) -> None:
    page, path = (ROOT / "docs/speed.md").read_text(encoding="utf-8"), ROOT / "results/speed.csv"
    rows = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    for stage in ("step", "run") if rows else ():
        assert "\n".join(tool("bench_train").table(rows, stage)) in page, stage


def test_a_model_of_which_no_sample_fits_a_gpu_is_left_out(
    tool: Any,
    mini_pack_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = tool("bench_train")
    monkeypatch.setattr(bench, "fits_on", lambda subject: lambda size: False)
    monkeypatch.setattr(bench, "device_name", str)
    plan = bench.Plan(rounds=1, steps=2, run_steps=2, compile=False)
    rows = bench.measure(torch.device("cuda"), ["rle"], "tiny", None, plan, mini_pack_path, tmp_path)
    assert list(rows) == []
    assert capsys.readouterr().err == "rle: not even one sample fits cuda\n"
