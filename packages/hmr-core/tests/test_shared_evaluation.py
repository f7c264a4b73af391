"""An evaluation by several processes: every figure is one process's to the bit, and the first alone writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core.errors import HmrError
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.evaluation.results import RESULTS
from hmr_core.evaluation.session import evaluate, run
from hmr_core.plugins import ModelSpec, SolverSpec
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.processes import PeerError, Place


@pytest.fixture
def registry(small_spec: ModelSpec, fakes: Any) -> Registry:
    from hmr_core import builtin

    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    found: Registry = fakes.registry(core, fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return found


def arrays(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / "predictions.h5") as file:
        return {name: np.asarray(file[name]).tobytes() for name in file}


def figures(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in report.items() if name not in ("seconds", "started", "processes")}


@pytest.mark.parametrize("solver", [None, "lm"])
def test_any_number_of_processes_gives_the_same_figures(
    solver: str | None,
    run_of_small: Any,
    tmp_path: Path,
    together: Any,
) -> None:
    for count in (1, 2, 3):
        out = tmp_path / f"by-{count}"

        def work(where: Place, out: Path = out) -> Any:
            told: list[str] = []
            found = run_of_small(out=out, solver=solver, warn=lambda warning: told.append(str(warning)))
            return found is None, told

        answers = together(work, count)
        assert [isinstance(answer, tuple) and answer[0] for answer in answers] == [False, True, True][:count], answers
        assert {path.name for path in out.iterdir()} == set(RESULTS)
        assert json.loads((out / "report.json").read_text())["processes"] == count
    one, *others = (tmp_path / f"by-{count}" for count in (1, 2, 3))
    for other in others:
        assert figures(other) == figures(one)
        assert arrays(other) == arrays(one)
        assert (other / "contact_sheet.png").read_bytes() == (one / "contact_sheet.png").read_bytes()


@pytest.fixture
def run_of_small(run_folder: Path, registry: Registry, mini_pack_path: Path, mini_hand_path: Path) -> Any:
    """Evaluates the finished run in batches of 7, of which the 24 samples make 4."""

    def evaluate_it(*, out: Path, solver: str | None = None, **options: Any) -> Any:
        request = EvaluationRequest(
            ckpt=run_folder,
            data=mini_pack_path,
            solver=solver,
            hand_model=None if solver is None else mini_hand_path,
            batch_size=7,
            device="cpu",
            out=out,
        )
        return run(request, registry, **options)

    return evaluate_it


@pytest.fixture
def run_folder(finished_run: Run) -> Path:
    return finished_run.folder


def test_each_process_is_told_of_its_own_share(run_of_small: Any, tmp_path: Path, together: Any) -> None:
    def work(where: Place) -> Any:
        shown: list[Any] = []

        class Shown:
            def __init__(self, *given: Any) -> None:
                shown.append(given)

            def __enter__(self) -> Any:
                return shown.append

            def __exit__(self, *error: object) -> None:
                pass

        run_of_small(out=tmp_path / "out", progress=Shown)
        return shown

    assert together(work, 3) == [
        [("small on sp0 test (share 1 of 3)", 10, "images"), 7, 3, ("scoring", 24, "samples"), 0, 24, 0],
        [("small on sp0 test (share 2 of 3)", 7, "images"), 7],
        [("small on sp0 test (share 3 of 3)", 7, "images"), 7],
    ]


def test_the_report_is_the_first_process_s(
    run_folder: Path, registry: Registry, mini_pack_path: Path, together: Any
) -> None:
    def work(where: Place) -> Any:
        report = evaluate(run_folder, data=mini_pack_path, device="cpu", registry=registry)
        return report and report["processes"]

    assert together(work, 2) == [2, {}]


def test_nothing_is_left_where_one_fails(
    run_of_small: Any, tmp_path: Path, together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmr_core.inference import predict

    decode = predict.decode

    def work(where: Place) -> Any:
        def fail(*given: Any, **options: Any) -> Any:
            if where.rank == 1:
                raise HmrError("it cannot be decoded.")
            return decode(*given, **options)

        monkeypatch.setattr(predict, "decode", fail)
        return run_of_small(out=tmp_path / "results" / "out")

    first, second = together(work, 2)
    assert (type(first), str(first)) == (PeerError, "process 1: it cannot be decoded.")
    assert (type(second), str(second)) == (HmrError, "it cannot be decoded.")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_fault_of_the_solver_is_the_first_process_s_alone(
    run_folder: Path, small_spec: ModelSpec, mini_pack_path: Path, mini_hand_path: Path, fakes: Any, together: Any
) -> None:
    class Broken:
        def solve(self, joints: Any, on_batch: Any = None) -> Any:
            raise HmrError("these joints cannot be solved.")

    solver: SolverSpec = fakes.solver("broken", build=lambda *given: Broken())
    plugins = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec], hmr_solvers=lambda: [solver]))

    def work(where: Place) -> Any:
        request = EvaluationRequest(
            ckpt=run_folder, data=mini_pack_path, solver="broken", hand_model=mini_hand_path, device="cpu"
        )
        return run(request, plugins)

    first, second = together(work, 2)
    assert "these joints cannot be solved" in str(first)
    assert second is None  # it was done when it had predicted
