"""Plugins made on the spot, as the fixture `fakes`, so that no test relies on what is installed; packs that are
costly to make; command lines, in this process with such plugins, and in processes of their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hmr_core import builtin
from hmr_core.cli.main import cli, main
from hmr_core.config import Section
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.writer import write_synthetic
from hmr_core.evaluation.evaluate import Evaluation, evaluate
from hmr_core.evaluation.predictions import Predictions, write_predictions
from hmr_core.evaluation.report import report_text
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.evaluation.scoring import score
from hmr_core.evaluation.subject import EvaluationSubject
from hmr_core.plugins import DatasetSpec, ModelSpec, SolverSpec, hookimpl
from hmr_core.plugins.events import Event, StepDone
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.run import Run
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on
from hmr_core.training.session import start
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import read_record, write_record
from hmr_core.weights.checkpoints import Checkpoint, load_checkpoint


@dataclass(frozen=True)
class FakeDist:
    name: str
    version: str = "1.0"


@dataclass(frozen=True)
class FakeEntryPoint:
    name: str
    load: Callable[[], object] = field(repr=False)
    dist: FakeDist | None = None


def module(**hooks: Callable[..., object]) -> types.ModuleType:
    """A plugin's module, its functions marked with hookimpl."""
    made = types.ModuleType("plugin")
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made


def plugin(name: str, *, dist: str | None = None, **hooks: Callable[..., object]) -> FakeEntryPoint:
    made = module(**hooks)
    return FakeEntryPoint(name, lambda: made, FakeDist(dist or f"hmr-{name}"))


def raising(name: str, error: BaseException) -> FakeEntryPoint:
    def load() -> object:
        raise error

    return FakeEntryPoint(name, load, FakeDist(f"hmr-{name}"))


def model(name: str, **changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": name,
        "summary": f"the model {name}",
        "config": object,
        "recipes": {"tiny": Path("tiny.toml")},
        "root_joint": 9,
        "build": lambda config: None,
    }
    return ModelSpec(**{**fields, **changes})


def models(*names: str) -> Callable[[], list[ModelSpec]]:
    return lambda: [model(name) for name in names]


def dataset(name: str) -> DatasetSpec:
    return DatasetSpec(name=name, summary=f"the data set {name}", open=lambda root: None)  # type: ignore[arg-type, return-value]


def solver(name: str, **changes: Any) -> SolverSpec:
    fields: dict[str, Any] = {"summary": f"the solver {name}", "config": Section, "build": lambda *given: None}
    return SolverSpec(name=name, **{**fields, **changes})


def registry(*entry_points: FakeEntryPoint, only: str = "") -> Registry:
    return discover(entry_points, {"HMR_PLUGINS": only} if only else {})


def install(site: Path, name: str, code: str) -> None:
    """Put a plugin into a folder of packages as pip would: a module `plug_NAME` and its metadata."""
    (site / f"plug_{name}.py").write_text(code)
    metadata = site / f"hmr_{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hmr-{name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[hmr]\n{name} = plug_{name}\n")


@pytest.fixture
def fakes() -> types.ModuleType:
    """This module: what is above, by name."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def synthetic_pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of a small synthetic data set, whose annotations are of the synthetic hand."""
    folder = tmp_path_factory.mktemp("synthetic")
    tree = write_synthetic(folder / "tree", sequences=5, frames=1, seed=0)
    write_pack(open_oakink(tree.root), folder / "pack.h5", codec=codec_named("jpeg"))
    return folder / "pack.h5"


@pytest.fixture(scope="session")
def whole(mini_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a packing of the tests' data set as jpeg:50 leaves that was never stopped."""
    path = tmp_path_factory.mktemp("whole") / "x.h5"
    write_pack(open_oakink(mini_tree), path, codec=codec_named("jpeg:50"))
    return path.read_bytes()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A file to pack to, in a folder that is not there yet."""
    return tmp_path / "out" / "x.h5"


class Trainer:
    """Trains the small model into a folder and keeps the events. on_event: what a test does at each of them."""

    def __init__(self, spec: ModelSpec, pack: Pack) -> None:
        self.spec, self.pack = spec, pack
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] = lambda event: None

    def __call__(
        self,
        folder: Path,
        *overrides: str,
        stop_after: int | None = None,
        workers: int = 0,
        checkpoint_every: str | None = None,
        **options: Any,
    ) -> Run:
        """A new run, or the rest of the one that is in the folder, which has its overrides already."""
        self.events = []

        def watch(run: Run, event: Event) -> None:
            self.events.append(event)
            self.on_event(event)
            if isinstance(event, StepDone) and stop_after is not None and event.step > stop_after:
                raise KeyboardInterrupt

        plugins = registry(plugin("small", hmr_models=lambda: [self.spec]))
        if folder.exists():
            return go_on(folder, plugins, [watch], device="cpu", workers=workers)
        request = TrainingRequest(
            model="small",
            split="sp0",
            recipe="tiny",
            overrides=overrides,
            data=asked_packs(self.pack.path),
            device="cpu",
            workers=workers,
            out=folder,
            checkpoint_every=checkpoint_every,
            **options,
        )
        return start(request, plugins, [watch])

    @staticmethod
    def weights(run: Run) -> dict[str, torch.Tensor]:
        """The weights of a run's last checkpoint."""
        return load_file(saved_checkpoints(run.checkpoints)[-1] / "model.safetensors")


@pytest.fixture
def make_trainer() -> type[Trainer]:
    """Makes what trains a model on a pack."""
    return Trainer


@pytest.fixture
def trainer(small_spec: ModelSpec, mini_pack: Pack) -> Trainer:
    return Trainer(small_spec, mini_pack)


@pytest.fixture(scope="session")
def finished_run(small_spec: ModelSpec, mini_pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Trainer(small_spec, Pack(mini_pack_path))(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(finished_run: Run, tmp_path: Path) -> Run:
    """A finished run of three epochs, each test's own copy of it."""
    return replace(finished_run, folder=Path(shutil.copytree(finished_run.folder, tmp_path / "finished")))


@pytest.fixture
def evaluate_on() -> Callable[..., Evaluation]:
    """Evaluates a model that needs no hand."""

    def evaluate_it(
        spec: ModelSpec, checkpoint: Checkpoint, pack: Pack, *, split: str, subset: str, **options: Any
    ) -> Evaluation:
        request = EvaluationSubject(spec=spec, checkpoint=checkpoint, pack=pack, split=split, subset=subset)
        return evaluate(request, **options)

    return evaluate_it


@pytest.fixture
def evaluation(run: Run, small_spec: ModelSpec, mini_pack: Pack, evaluate_on: Callable[..., Evaluation]) -> Evaluation:
    """The evaluation of the finished run on the test subset."""
    options: dict[str, Any] = {"device": torch.device("cpu"), "batch_size": 7, "workers": 0}
    return evaluate_on(
        small_spec, load_checkpoint(run.folder, small_spec), mini_pack, split="sp0", subset="test", **options
    )


@pytest.fixture
def evaluated(mini_pack: Pack) -> Callable[..., SavedEvaluation]:
    """Makes an evaluation by name, whose joints and mesh are the true ones and normal noise of so many mm.

    folder: where to write it, as `hmr eval` leaves it, but for the picture; None for nowhere.
    """

    def make(
        name: str,
        noise_mm: float,
        *,
        mesh: bool = True,
        seed: int = 0,
        folder: Path | None = None,
        subset: str = "test",
    ) -> SavedEvaluation:
        rows = mini_pack.indices("sp0", subset)
        generator = np.random.default_rng(seed)
        arrays = {}
        for array in ("joints", "verts") if mesh else ("joints",):
            true = mini_pack.array(array, rows).astype(np.float32)
            arrays[array] = true + generator.normal(0, noise_mm * 1e-3, true.shape).astype(np.float32)
        scores = score(mini_pack, rows, arrays["joints"], arrays.get("verts"), further=True)
        errors = {key: None if e is None else e.astype(np.float32) for key, e in scores.errors_mm().items()}
        predictions = Predictions(
            model=name,
            split="sp0",
            subset=subset,
            pack=mini_pack.info.digest,
            ids=mini_pack.ids(rows),
            **arrays,
            **errors,
        )
        report: Any = {
            "model": name, "split": "sp0", "subset": subset, "samples": len(rows), "synthetic": False, "solver": None,
            "protocol": "published", "metrics": scores.metrics, "aligned": scores.aligned, "more": scores.more,
            "missing": [], "notes": ["all say this", f"{name} says this"], "published": {"mpjpe_mm": 8.14},
            "baseline": {"subset": "train", "metrics": {"mpjpe_mm": 30.0}},
            "pack": {"path": str(mini_pack.path), "blake2b": mini_pack.info.digest, "release": mini_pack.info.release},
            "checkpoint": {"path": f"runs/{name}/last.safetensors"}, "errors": scores.as_report()["errors"],
        }  # fmt: skip
        if folder is not None:
            folder.mkdir(parents=True)
            write_predictions(folder / "predictions.h5", predictions)
            (folder / "report.json").write_text(report_text(report))
        return SavedEvaluation(folder=folder or Path("eval") / name, report=report, predictions=predictions)

    return make


class Said(NamedTuple):
    """How a command line ended, and what it said."""

    status: int
    out: str
    err: str


class CommandLine:
    """Runs command lines, with `plugins` installed, to which a test may add."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.plugins: list[Any] = [FakeEntryPoint("core", lambda: builtin, FakeDist("hmr-core"))]

    def __call__(self, *arguments: str) -> Said:
        self._capture.readouterr()
        return Said(main(arguments), *self._capture.readouterr())


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs command lines in an empty folder; of plugins, core's own is there."""
    monkeypatch.chdir(tmp_path)
    made, make_context = CommandLine(capfd), cli.make_context

    def with_plugins(*given: Any, **options: Any) -> Any:
        return make_context(*given, obj=registry(*made.plugins), **options)

    monkeypatch.setattr(cli, "make_context", with_plugins)
    return made


@pytest.fixture
def hmr(
    command_line: CommandLine, small_spec: ModelSpec, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """Runs them with the small model and Integral-Pose, and the made-up data set's pack as the default data."""
    small = plugin("small", hmr_models=lambda: [small_spec])
    command_line.plugins += [small, *entry_points(group="hmr", name="integral")]
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    return command_line


@pytest.fixture(scope="session")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first `trained` leaves a copy for the others."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def trained(hmr: CommandLine, kept_run: Path) -> Path:
    """The small model's run of one epoch, by `hmr train`; each test's own."""
    run = Path("runs/small-sp0-tiny")
    if kept_run.exists():
        shutil.copytree(kept_run, run)
        return run
    status, _, err = hmr("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu")
    assert status == 0, err
    shutil.copytree(run, kept_run)
    return run


@pytest.fixture
def start_hmr() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command as the first process of a group, as a terminal does, and waits until it got as far as wanted.

    What is left of the group is killed after the test.
    """
    processes = []

    def start(*arguments: str, until: Callable[[], bool]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "hmr_core", *arguments],
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # it may be ignored here
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        deadline = time.monotonic() + 120
        while not until():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return process

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def module_beside(name: str) -> types.ModuleType:
    """A module of this folder that holds no tests."""
    found = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # its dataclasses look themselves up there
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def world() -> types.ModuleType:
    """The module of made-up videos, and of a predictor that knows the hands in them."""
    return module_beside("video_world")


@pytest.fixture(scope="session")
def made() -> types.ModuleType:
    """The module of a comparison that is made by hand."""
    return module_beside("made_comparison")


@pytest.fixture(scope="session")
def browser() -> types.ModuleType:
    """The module that drives Chromium. Where there is none, tests are skipped, or fail where a browser is asked for."""
    module = module_beside("chromium")
    if module.find_chromium() is None:
        text = "there is no Chromium: apt-get install --no-install-recommends chromium"
        if "browser" in os.environ.get("HMR_TESTS_NEED", "").split():
            pytest.fail(text)
        pytest.skip(text)
    return module


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has the plugin with the model `small`; for PYTHONPATH."""
    site = tmp_path_factory.mktemp("site")
    install(site, "small", (Path(__file__).parent / "small_plugin.py").read_text())
    return site


@pytest.fixture
def run_several(small_site: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `hmr` in several processes by torchrun, with the model `small` there."""

    def several(count: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        return subprocess.run(
            [*torchrun, "-m", "hmr_core", *arguments],
            env={**os.environ, "PYTHONPATH": str(small_site), "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return several


@pytest.fixture
def files_up_to() -> Callable[[int], AbstractContextManager[None]]:
    """Limits the size that a file may have, in bytes: it fails in the same places as a full disk does."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            signal.signal(signal.SIGXFSZ, before)

    return limited


@pytest.fixture
def more_epochs() -> Callable[[Path], None]:
    """Lets a finished run have one epoch more; its checkpoints are told, too."""

    def lengthen(run: Path) -> None:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        config["recipe"]["train"]["epochs"] += 1
        (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for checkpoint in saved_checkpoints(run / "checkpoints"):
            write_record(checkpoint, replace(read_record(checkpoint / "model.safetensors"), recipe=config["recipe"]))

    return lengthen
