"""Sweeps: their trials, what is left of those that were cut off, and what is told of those that fail."""

from __future__ import annotations

import csv
import errno
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import Event, RunStarted, StepDone
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.staging import FullDiskError
from hmr_core.sweep import session, study, trial
from hmr_core.sweep.folder import SweepFolder
from hmr_core.sweep.session import SweepRequest, SweepResult, read_trials, run_sweep
from hmr_core.sweep.trials import TrialRow, best_trial, ranked
from hmr_core.weights.checkpoint_folders import run_checkpoints
from hmr_core.weights.run_record import open_run

RATES = '[space]\n"train.learning_rate" = [1e-2, 1e-3, 1e-4]\n'


class Sweeper:
    """Runs sweeps of the small model in a folder. on_event: what a test does at each event of a run."""

    def __init__(self, folder: Path, pack: Path, registry: Registry) -> None:
        self.folder, self.pack, self.registry = folder, pack, registry
        self.file, self.out = folder / "sweep.toml", folder / "out"
        self.told: list[str] = []
        self.events: list[Event] = []
        self.on_event: Callable[[Run, Event], None] = lambda run, event: None

    def __call__(self, text: str = "", **changes: Any) -> SweepResult:
        """Run a sweep, of a new file where there is a text, else the one that is there."""
        self.told, self.events = [], []
        if text:
            short = "" if "set = " in text or "[set]" in text else 'set = { "train.epochs" = 1 }\n'
            start = f'model = "small"\nsplit = "sp0"\nrecipe = "tiny"\ndata = "{self.pack}"\n'
            self.file.write_text(start + short + text)

        def watch(run: Run, event: Event) -> None:
            self.events.append(event)
            try:
                self.on_event(run, event)
            except Exception as error:  # what a watcher raises would only be told
                raise KeyboardInterrupt from error

        request = SweepRequest(**{"file": self.file, "out": self.out, "device": "cpu", "workers": 0, **changes})
        return run_sweep(request, self.registry, lambda: watch, self.told.append)

    def rows(self) -> tuple[TrialRow, ...]:
        return read_trials(self.file, self.out).rows


@pytest.fixture
def sweeper(fakes: Any, small_spec: ModelSpec, mini_pack_path: Path, tmp_path: Path) -> Sweeper:
    registry = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return Sweeper(tmp_path, mini_pack_path, registry)


MIXTURE = """
model = "small"
recipe = "tiny"
data = ["{pack}:sp0", "{pack}:sp1=0.25"]
method = "grid"
set = {{ "train.epochs" = 1 }}
space = {{ "train.learning_rate" = [1e-2, 1e-3] }}
"""


def test_trials_may_train_on_a_mixture_of_packs(sweeper: Sweeper) -> None:
    sweeper.file.write_text(MIXTURE.format(pack=sweeper.pack))
    result = sweeper()
    assert [row.state for row in result.rows] == ["finished"] * 2
    for row in result.rows:
        run = open_run(row.folder)
        assert [(each.split, each.share) for each in run.data] == [("sp0", 0.75), ("sp1", 0.25)]
    for changed in (":sp1=0.5", ":sp2=0.25"):
        sweeper.file.write_text(MIXTURE.format(pack=sweeper.pack).replace(":sp1=0.25", changed))
        with pytest.raises(HmrError, match=r'the study "sweep" began otherwise: .*packs was \['):
            sweeper()


def test_a_mixture_s_trial_goes_on_where_it_was_cut_off(sweeper: Sweeper) -> None:
    sweeper.file.write_text(MIXTURE.format(pack=sweeper.pack).replace("[1e-2, 1e-3]", "[1e-2]"))
    sweeper.on_event = cut(5)
    with pytest.raises(KeyboardInterrupt):
        sweeper()
    sweeper.on_event = lambda run, event: None
    (row,) = sweeper().rows
    assert row.state == "finished"


def test_mixtures_that_cannot_be_are_refused_before_a_trial(sweeper: Sweeper) -> None:
    for given, text in (
        (":sp1=1.25", "a share of 1.25 for"),
        ("", "Choose one with split or with the pack"),
        (":none", 'has no split "none"'),
    ):
        sweeper.file.write_text(MIXTURE.format(pack=sweeper.pack).replace(":sp1=0.25", given))
        with pytest.raises(HmrError) as raised:
            sweeper()
        assert text in str(raised.value)
        assert not sweeper.out.exists()


def table(sweeper: Sweeper) -> list[dict[str, str]]:
    """The rows of sweep.csv."""
    with (sweeper.out / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cut(step: int) -> Callable[[Run, Event], None]:
    """Ctrl-C after a step, without a chance to leave in order."""

    def stop(run: Run, event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise KeyboardInterrupt

    return stop


def test_a_grid_tries_all_its_points_and_keeps_a_run_of_each(sweeper: Sweeper) -> None:
    result = sweeper('method = "grid"\n' + RATES)
    assert sorted(row.values["train.learning_rate"] for row in result.rows) == ["0.0001", "0.001", "0.01"]
    assert [row.state for row in result.rows] == ["finished"] * 3
    for row in result.rows:
        run = json.loads((row.folder / "config.json").read_text())
        assert run["recipe"]["train"]["learning_rate"] == float(row.values["train.learning_rate"])
        assert run["recipe"]["train"]["epochs"] == 1
        (line,) = [json.loads(x) for x in (row.folder / "metrics.jsonl").read_text().splitlines() if '"epoch",' in x]
        assert row.best == pytest.approx(line["val"]["mpjpe_mm"], rel=1e-5)
        assert (row.best_epoch, row.epochs) == (1, 1)
    best = best_trial(result.sweep, result.rows)
    assert best is not None
    assert best.best == min(row.best for row in result.rows if row.best)
    lines = table(sweeper)
    assert [line["trial"] for line in lines] == ["0", "1", "2"]
    assert [line["train.learning_rate"] for line in lines] == [row.values["train.learning_rate"] for row in result.rows]
    assert [float(line["best_mpjpe_mm"]) for line in lines] == [row.best for row in result.rows]
    assert sweeper.told[0] == f"trial 0 (1 of 3): train.learning_rate={result.rows[0].values['train.learning_rate']}"
    assert sweeper.told[-1].startswith("trial 2 finished after 1 epoch, mpjpe_mm ")
    assert sweeper.rows() == result.rows
    sweeper()
    assert sweeper.told == []  # nothing is left to do


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_what_is_drawn_does_not_depend_on_where_the_sweep_was_stopped(
    sweeper: Sweeper, method: str, tmp_path: Path
) -> None:
    space = """seed = 3
        [space]
        "train.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
        "train.batch_size" = { low = 8, high = 16, step = 4 }
        """
    whole = sweeper(f'method = "{method}"\ntrials = 3\n{space}')
    sweeper.out = tmp_path / "stopped"
    sweeper(f'method = "{method}"\ntrials = 1\n{space}')
    sweeper.on_event = cut(2)
    with pytest.raises(KeyboardInterrupt):
        sweeper(f'method = "{method}"\ntrials = 3\n{space}')
    sweeper.on_event = lambda run, event: None
    again = sweeper()
    assert [(row.values, row.best) for row in again.rows] == [(row.values, row.best) for row in whole.rows]
    assert len({row.values["train.learning_rate"] for row in whole.rows}) == 3
    assert {row.values["train.batch_size"] for row in whole.rows} <= {"8", "12", "16"}


TWO_EPOCHS = 'set = { "train.epochs" = 2 }\n'


def test_a_trial_that_was_cut_off_is_gone_on_with(sweeper: Sweeper) -> None:
    sweeper.on_event = cut(10)  # in its second epoch
    with pytest.raises(KeyboardInterrupt):
        sweeper(TWO_EPOCHS + "trials = 1\n" + RATES)
    (row,) = sweeper.rows()
    assert (row.state, row.epochs) == ("cut off", 1)
    sweeper.on_event = lambda run, event: None
    (row,) = sweeper().rows
    assert isinstance(sweeper.events[0], RunStarted)
    assert sweeper.events[0].first_epoch == 2
    assert (row.number, row.state, row.epochs) == (0, "finished", 2)


def test_a_trial_that_is_worked_on_is_left_alone(sweeper: Sweeper) -> None:
    sweeper.on_event = cut(2)
    with pytest.raises(KeyboardInterrupt):
        sweeper("trials = 2\n" + RATES)
    sweeper.on_event = lambda run, event: None
    lock = SweepFolder(sweeper.out).take_trial(0)
    assert lock is not None
    first, second = sweeper().rows
    assert (first.state, second.state) == ("running", "finished")
    lock.free()
    assert [row.state for row in sweeper.rows()] == ["cut off", "finished"]
    assert [row.state for row in sweeper().rows] == ["finished", "finished"]


def test_a_trial_that_another_process_ends_meanwhile_is_not_begun_again(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeper.on_event = cut(2)
    with pytest.raises(KeyboardInterrupt):
        sweeper("trials = 1\n" + RATES)
    take = SweepFolder.take_trial

    def ending(folder: SweepFolder, number: int) -> Any:
        optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder.study}").tell(0, 1.0)
        return take(folder, number)

    monkeypatch.setattr(SweepFolder, "take_trial", ending)
    (row,) = sweeper().rows
    assert (row.state, sweeper.told) == ("finished", [])


def test_a_trial_whose_values_were_not_all_drawn_gets_the_rest(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = 'trials = 1\n[space]\n"train.learning_rate" = { low = 1e-4, high = 1e-2 }\n"train.seed" = [1, 2, 3]\n'
    (whole,) = sweeper(text).rows
    suggest = study._suggest

    def dying(trial: Any, dimension: Any) -> str:
        if dimension.key == "train.seed":
            raise KeyboardInterrupt
        return suggest(trial, dimension)

    sweeper.out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(study, "_suggest", dying)
        with pytest.raises(KeyboardInterrupt):
            sweeper()
    (row,) = sweeper().rows
    assert row.state == "finished"
    assert row.values["train.learning_rate"] == whole.values["train.learning_rate"]


def test_figures_of_which_the_study_has_not_heard_are_told_at_the_end(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise HmrError("the storage does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(study.TakenTrial, "report", silent)
        sweeper.on_event = cut(9)
        with pytest.raises(KeyboardInterrupt):
            sweeper(TWO_EPOCHS + "trials = 1\n" + RATES)
    assert "warning: the storage does not answer; training goes on" in sweeper.told
    (row,) = sweeper.rows()
    assert row.epochs == 0
    sweeper.on_event = lambda run, event: None
    (row,) = sweeper().rows
    assert (row.state, row.epochs) == ("finished", 2)


def test_a_trial_that_fails_does_not_end_the_sweep(sweeper: Sweeper) -> None:
    result = sweeper('method = "grid"\n[space]\nbroken_after = [3, -1]\n')
    states = {row.values["broken_after"]: row for row in result.rows}
    assert (states["3"].state, states["-1"].state) == ("failed", "finished")
    assert states["3"].error.startswith("the loss is not finite at step 4 (epoch 1): uvd nan")
    assert any("failed: the loss is not finite at step 4" in line for line in sweeper.told)
    assert [line["error"] for line in table(sweeper)] == [row.error for row in result.rows]
    assert best_trial(result.sweep, result.rows) == states["-1"]
    assert ranked(result.sweep, result.rows)[-1] == states["3"]


def test_a_process_whose_trials_all_fail_ends(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_FAILURES", 2)
    with pytest.raises(HmrError, match=r"^2 trials failed one after the other"):
        sweeper('method = "grid"\n[space]\nbroken_after = [0, 1, 2]\n')
    assert [row.state for row in sweeper().rows] == ["failed"] * 3  # the next process tries the next one


def test_a_full_disk_is_no_fault_of_a_trial(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, *given: object, **options: object) -> None:
        raise FullDiskError(errno.ENOSPC, folder)

    with monkeypatch.context() as patch:
        patch.setattr("hmr_core.training.state.save_checkpoint", full)
        with pytest.raises(HmrError, match=r"epoch-0001 could not be written: No space left on device\."):
            sweeper('method = "grid"\n' + RATES)
    assert [row.state for row in sweeper.rows()] == ["cut off"]
    assert [row.state for row in sweeper().rows] == ["finished"] * 3


def test_values_that_do_not_go_together_fail_their_trial(sweeper: Sweeper) -> None:
    """Each of them goes with the first of the other, so that there is nothing wrong with the file."""
    space = '[space]\n"train.clip_norm" = ["null", 1.0]\n"train.clip_global_norm" = ["null", 1.0]\n'
    rows = sweeper('method = "grid"\n' + space).rows
    assert sorted(row.state for row in rows) == ["failed", "finished", "finished", "finished"]
    (failed,) = [row for row in rows if row.state == "failed"]
    assert set(failed.values.values()) == {"1"}
    assert failed.error.startswith("train.clip_global_norm=1: ")
    assert not failed.folder.exists()


def test_a_trial_that_always_ends_its_process_fails_at_last(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise SystemError("as if the process were killed")

    with monkeypatch.context() as patch:
        patch.setattr(trial.TrialRunner, "_train", killed)
        for _ in range(3):
            with pytest.raises(SystemError):
                sweeper("trials = 2\n" + RATES)
            assert [row.state for row in sweeper.rows()] == ["cut off"]
    first, second = sweeper().rows
    assert (first.state, second.state) == ("failed", "finished")
    assert first.error.startswith("it was begun 3 times from its start and came no further: something ends its process")


def test_ctrl_c_is_no_fault_of_a_trial(sweeper: Sweeper) -> None:
    sweeper.on_event = cut(1)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            sweeper("trials = 1\n" + RATES)
    sweeper.on_event = lambda run, event: None
    assert [row.state for row in sweeper().rows] == ["finished"]


def test_what_is_wrong_before_any_training_ends_the_sweep(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise HmrError("there is no such device")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "start", broken)
        with pytest.raises(HmrError, match="there is no such device"):
            sweeper("trials = 1\n" + RATES)
    assert [row.state for row in sweeper.rows()] == ["cut off"]
    assert [row.state for row in sweeper().rows] == ["finished"]


def test_a_trial_far_behind_the_others_is_pruned(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second trial's figures are made worse, so that it is not chance that decides."""
    validate = "hmr_core.training.loop.validate"
    figures = iter([50.0, 40.0, 30.0, 60.0, 60.0, 45.0, 35.0, 25.0])
    monkeypatch.setattr(validate, lambda *_, **__: {"mpjpe_mm": next(figures)})
    prune = "prune = { startup_trials = 1, warmup_epochs = 1 }\n"
    result = sweeper('set = { "train.epochs" = 3 }\nmethod = "grid"\n' + prune + RATES)
    assert [row.state for row in result.rows] == ["finished", "pruned", "finished"], sweeper.told
    assert [row.epochs for row in result.rows][:2] == [3, 2]
    assert "pruned after epoch 2" in (result.rows[1].folder / "train.log").read_text()
    assert [path.name for path in run_checkpoints(result.rows[1].folder)][-1] == "epoch-0002"
    assert any(line.startswith("trial 1 pruned after 2 epochs, mpjpe_mm 60.000 (epoch 1)") for line in sweeper.told)


def test_nothing_is_pruned_where_it_is_not_asked_for(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([50.0, 40.0, 60.0, 60.0])
    monkeypatch.setattr("hmr_core.training.loop.validate", lambda *_, **__: {"mpjpe_mm": next(figures)})
    result = sweeper(TWO_EPOCHS + 'method = "random"\ntrials = 2\nprune = false\n' + RATES)
    assert [row.state for row in result.rows] == ["finished", "finished"]


def test_a_metric_that_is_no_error_is_to_be_high(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([0.2, 0.5])
    monkeypatch.setattr("hmr_core.training.loop.validate", lambda *_, **__: {"pck_auc_0_50mm": next(figures)})
    result = sweeper('metric = "pck_auc_0_50mm"\ntrials = 2\n' + RATES)
    best = best_trial(result.sweep, result.rows)
    assert best is not None
    assert (best.number, best.best) == (1, 0.5)
    assert [row.number for row in ranked(result.sweep, result.rows)] == [1, 0]


def test_a_metric_that_the_model_has_not(sweeper: Sweeper) -> None:
    with pytest.raises(
        HmrError, match=r"^small has no mpvpe_mm on val, by which its trials would be compared\. Choose"
    ):
        sweeper('metric = "mpvpe_mm"\ntrials = 2\n' + RATES)


def test_a_sweep_that_was_changed_is_refused_by_name_of_what_was(sweeper: Sweeper) -> None:
    sweeper("trials = 1\n" + RATES)
    with pytest.raises(HmrError) as caught:
        sweeper('seed = 4\ntrials = 1\nprune = false\n[space]\n"train.learning_rate" = [1e-2, 1e-3]\n')
    assert str(caught.value).startswith(
        'the study "sweep" began otherwise: seed was 0 and is 4; prune was {percentile = 50, startup_trials = 5, '
        "warmup_epochs = 0} and is not given; space.train.learning_rate was [0.01, 0.001, 0.0001] and is [0.01, 0.001]."
    )
    assert len(sweeper("trials = 2\n" + RATES).rows) == 2  # more trials are no other sweep


def test_another_pack_is_another_sweep(sweeper: Sweeper) -> None:
    sweep = sweeper("trials = 1\n" + RATES).sweep
    other = study.open_study(sweep, SweepFolder(sweeper.out), {**sweep.identity(), "pack": "other"})
    with pytest.raises(HmrError, match=r"began otherwise: pack was [0-9a-f]+ and is other"), other:
        pass


def test_what_is_wrong_is_told_before_anything_is_made(sweeper: Sweeper) -> None:
    for text, said in {
        'trials = 1\n[space]\n"train.epoch" = [1, 2]\n': 'unknown option "train.epoch"',
        'trials = 1\n[space]\n"train.batch_size" = [8, 1000]\n': "fewer than a batch of 1000",
    }.items():
        with pytest.raises(HmrError, match=said):
            sweeper(text)
    with pytest.raises(UsageError, match='unknown device "gpu"'):
        sweeper("trials = 1\n" + RATES, device="gpu")
    with pytest.raises(HmrError, match=r'there is no study "sweep" in .*study\.db yet: the sweep was not begun'):
        sweeper.rows()
    assert not sweeper.out.exists()


def test_a_pack_without_val_has_nothing_to_compare_by(sweeper: Sweeper, mini_tree: Path, tmp_path: Path) -> None:
    from hmr_core.data.oakink import open_oakink
    from hmr_core.data.pack.codecs import codec_named
    from hmr_core.data.pack.writer import write_pack

    sweeper.pack = tmp_path / "train.h5"
    write_pack(open_oakink(mini_tree), sweeper.pack, splits=["sp0"], subset="train", codec=codec_named("jpeg"))
    with pytest.raises(HmrError, match="has no val subset of sp0"):
        sweeper("trials = 1\n" + RATES)


def test_several_processes_of_torchrun_are_refused(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="start it without torchrun"):
        sweeper("trials = 1\n" + RATES)


def test_without_optuna_it_says_how_to_get_it(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmr_core.optional_packages.find_spec", lambda name: None)
    with pytest.raises(HmrError, match=r'^Optuna is not installed\. Run: pip install "hmr-core\[sweep\]"$'):
        sweeper("trials = 1\n" + RATES)


def test_a_study_may_be_in_another_storage(sweeper: Sweeper, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    sweeper(f'storage = "{url}"\nname = "mine"\ntrials = 1\n' + RATES)
    assert optuna.load_study(study_name="mine", storage=url).best_value == sweeper.rows()[0].best
    assert not (sweeper.out / "study.db").exists()


def test_a_folder_that_another_study_uses(sweeper: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SweepFolder(sweeper.out)
    folder.make()
    lock = folder.take_trial(0)
    assert lock is not None
    monkeypatch.setattr(study, "_LOOK_S", 0.1)
    with pytest.raises(HmrError, match="is in use for another study"):
        sweeper("trials = 1\n" + RATES)
    lock.free()


def test_another_studys_runs_are_not_taken_for_its_own(sweeper: Sweeper) -> None:
    sweeper("trials = 1\n" + RATES)
    said = r'trial-0000 is there already, and is no trial of the study "other"\. Choose another folder with out\.$'
    for _ in range(2):  # nor is one begun by having asked
        with pytest.raises(HmrError, match=said):
            sweeper('name = "other"\ntrials = 1\nset = { "train.epochs" = 2 }\n' + RATES)
    assert sweeper.rows() == ()


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("nothing", "the study in its storage cannot be used: "),
        ("sqlite:////nowhere/study.db", "the study in sqlite:////nowhere/study.db cannot be used: OperationalError: "),
        ("postgresql://me:secret@127.0.0.1:1/x", r"the study in postgresql://me:\*\*\*@127.0.0.1:1/x cannot be used: "),
    ],
)
def test_a_storage_that_does_not_answer(sweeper: Sweeper, storage: str, said: str) -> None:
    with pytest.raises(HmrError, match=f"^{said}") as caught:
        sweeper(f'storage = "{storage}"\ntrials = 1\n' + RATES)
    assert "secret" not in str(caught.value)


def test_a_file_of_a_study_that_is_none(sweeper: Sweeper) -> None:
    sweeper.out.mkdir()
    (sweeper.out / "study.db").write_text("no database, however long it is" * 100)
    with pytest.raises(HmrError, match=r"study\.db cannot be used: DatabaseError: .*file is not a database"):
        sweeper("trials = 1\n" + RATES)


def test_another_study_of_that_name_is_left_alone(sweeper: Sweeper) -> None:
    sweeper.out.mkdir()
    other = optuna.create_study(study_name="sweep", storage=f"sqlite:///{sweeper.out}/study.db")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(HmrError, match='the study "sweep" in its storage is no sweep of hmr'):
        sweeper("trials = 1\n" + RATES)


def test_any_path_will_do(sweeper: Sweeper, tmp_path: Path) -> None:
    sweeper.out = tmp_path / "a b?c#d%20"
    assert [row.state for row in sweeper("trials = 1\n" + RATES).rows] == ["finished"]
    with sqlite3.connect(sweeper.out / "study.db") as database:
        assert database.execute("select study_name from studies").fetchall() == [("sweep",)]
    database.close()
