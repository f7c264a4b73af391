"""A sweep's study: Optuna chooses the values of trials, keeps their figures, and says which are to be stopped early.

Whoever imports this needs Optuna (`require_optuna`).
"""

from __future__ import annotations

import json
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from hmr_core.errors import HmrError, Option
from hmr_core.option_text import value_text
from hmr_core.plugins.discovery import cause
from hmr_core.sweep.definition import Sweep
from hmr_core.sweep.folder import Lock, SweepFolder
from hmr_core.sweep.space import Choice, Dimension
from hmr_core.sweep.trials import State, TrialRow, best_of

_WAIT_S = 60.0
"""How long to wait for a database file that another process writes to."""

_LOOK_S = 10.0
"""Longer than anybody takes to look whether a trial is worked on."""

_IDENTITY, _ERROR, _BEGUN = "hmr.sweep", "hmr.error", "hmr.begun"
"""What a study and its trials keep besides what Optuna does."""

_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Grid(GridSampler):
    """Optuna's grid. It does not end the study: the sweep counts its trials."""

    def after_trial(self, *_: Any) -> None:
        """Do nothing."""


class TakenTrial:
    """A trial that this process works on. values: of the options that trials differ in, as overrides have them."""

    def __init__(
        self, study: SweepStudy, trial: Trial, lock: Lock, values: Mapping[str, str], reported: Iterable[int]
    ) -> None:
        self.number, self.values = trial.number, values
        self._study, self._trial, self._lock, self._reported = study, trial, lock, set(reported)

    def begin(self, progress: str) -> int:
        """Note that the trial begins or goes on, and after what; say how often it has by now, from right there."""
        begun = [*self._begun(), progress]
        with self._study.asked():
            self._trial.set_user_attr(_BEGUN, begun)
        return begun.count(progress)

    def take_back_begin(self) -> None:
        """Forget that the trial began: it was asked to stop, which is no fault of its own."""
        with self._study.asked():
            self._trial.set_user_attr(_BEGUN, self._begun()[:-1])

    def _begun(self) -> list[str]:
        return list(self._trial.user_attrs.get(_BEGUN, []))

    def report(self, epoch: int, figure: float) -> None:
        """Note the figure of an epoch, if it is new."""
        if epoch not in self._reported:
            with self._study.asked():
                self._trial.report(figure, epoch)
            self._reported.add(epoch)

    def should_be_pruned(self) -> bool:
        """Whether the figures so far are so much worse than other trials' that it is to be stopped."""
        with self._study.asked():
            return bool(self._trial.should_prune())  # it may be NumPy's

    def finish(self, figure: float) -> None:
        """Note that the trial is done, and its figure."""
        self._end(TrialState.COMPLETE, figure)

    def prune(self) -> None:
        """Note that the trial was stopped early."""
        self._end(TrialState.PRUNED)

    def fail(self, error: str) -> None:
        """Note that the trial failed, and why."""
        with self._study.asked():
            self._trial.set_user_attr(_ERROR, error)
        self._end(TrialState.FAIL)

    def leave(self) -> None:
        """Let others have the trial, as far as it came."""
        self._lock.free()

    def _end(self, state: TrialState, figure: float | None = None) -> None:
        with self._study.asked():
            self._trial.study.tell(self.number, figure, state=state)


class SweepStudy:
    """The study of a sweep in its storage."""

    def __init__(self, sweep: Sweep, folder: SweepFolder, study: optuna.Study, storage: RDBStorage) -> None:
        self._sweep, self._folder, self._study, self._storage = sweep, folder, study, storage

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Ask Optuna something, without its lines on the screen; HmrError where the storage does not answer."""
        with _storage_told(self._sweep, self._folder), _quiet():
            yield

    def take(self, dimensions: tuple[Dimension, ...], most: int) -> TakenTrial | None:
        """A trial to work on: one that was cut off, else a new one; None where `most` were begun.

        HmrError where the storage does not answer, and where another study's run has the new trial's folder.
        """
        with self._folder.alone(), self.asked():
            trials = self._study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING and (left := self._left(trial.number, dimensions)) is not None:
                    return left
            if sum(trial.state != TrialState.WAITING for trial in trials) >= most:
                return None
            self._check_free(len(trials))
            self._study.sampler = _sampler(self._sweep, dimensions, len(trials))
            asked = self._study.ask()
            return self._taken(asked, self._new_lock(asked.number), dimensions, ())

    def _left(self, number: int, dimensions: tuple[Dimension, ...]) -> TakenTrial | None:
        """A trial on which nobody works any more; None where somebody does, or has just ended it."""
        lock = self._folder.take_trial(number)
        if lock is None:
            return None
        found = self._storage.get_trial(self._id(number))
        if found.state != TrialState.RUNNING:
            lock.free()
            return None
        self._study.sampler = _sampler(
            self._sweep, dimensions, number
        )  # it may have been cut off while it was asked for
        return self._taken(Trial(self._study, self._id(number)), lock, dimensions, found.intermediate_values)

    def _check_free(self, number: int) -> None:
        """HmrError where a trial that is not begun yet has a run: its figures would be taken for this trial's own."""
        run = self._folder.trial(number)
        if run.exists():
            raise HmrError(
                f'{run} is there already, and is no trial of the study "{self._sweep.name}".',
                "Choose another folder with ",
                Option("out"),
                ".",
            )

    def _new_lock(self, number: int) -> Lock:
        """The lock of a trial that was asked for just now: who has it looks whether somebody works on the trial."""
        until = time.monotonic() + _LOOK_S
        while (lock := self._folder.take_trial(number)) is None:
            if time.monotonic() > until:
                raise HmrError(
                    f"{self._folder.path} is in use for another study.",
                    "Choose another folder with ",
                    Option("out"),
                    ".",
                )
            time.sleep(0.05)
        return lock

    def rows(self) -> list[TrialRow]:
        """All trials as they stand, by number. HmrError where the storage does not answer."""
        with self.asked():
            trials = self._study.get_trials(deepcopy=False)
        return [self._row(trial) for trial in trials if trial.state != TrialState.WAITING]

    def _row(self, trial: FrozenTrial) -> TrialRow:
        epoch, best = best_of(self._sweep, trial.intermediate_values)
        return TrialRow(
            number=trial.number,
            state=_STATES.get(trial.state) or ("running" if self._folder.is_taken(trial.number) else "cut off"),
            values={key: _value_text(value) for key, value in trial.params.items()},
            best=best,
            best_epoch=epoch,
            epochs=len(trial.intermediate_values),
            folder=self._folder.trial(trial.number),
            error=trial.user_attrs.get(_ERROR, ""),
        )

    def _id(self, number: int) -> int:
        """The storage's own number of a trial."""
        study = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def _taken(
        self, trial: Trial, lock: Lock, dimensions: tuple[Dimension, ...], reported: Iterable[int]
    ) -> TakenTrial:
        """A trial with a value for each dimension; one that was cut off keeps those that it has."""
        try:
            values = {dimension.key: _suggest(trial, dimension) for dimension in dimensions}
        except BaseException:
            lock.free()
            raise
        return TakenTrial(self, trial, lock, values, reported)


@contextmanager
def open_study(sweep: Sweep, folder: SweepFolder, identity: Mapping[str, Any] | None) -> Iterator[SweepStudy]:
    """Open the study of a sweep. identity: what makes it the one it is, to begin it where it is not there yet.

    Raises HmrError where there is none and it is not to be begun, where the storage does not answer, and for a study
    that was begun with another identity, naming what differs.
    """
    if identity is None and sweep.storage is None and not folder.study.exists():
        raise _no_study(sweep, folder)
    url, options = _address(sweep, folder)
    with _storage_told(sweep, folder), _quiet():
        storage = RDBStorage(url, engine_kwargs=options)
    try:
        with _storage_told(sweep, folder), _quiet():
            study = _there(sweep, folder, storage) if identity is None else _begun(sweep, storage, identity)
        yield SweepStudy(sweep, folder, study, storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _there(sweep: Sweep, folder: SweepFolder, storage: RDBStorage) -> optuna.Study:
    try:
        return optuna.load_study(study_name=sweep.name, storage=storage)
    except KeyError as error:
        raise _no_study(sweep, folder) from error


def _begun(sweep: Sweep, storage: RDBStorage, identity: Mapping[str, Any]) -> optuna.Study:
    """The study, begun if it is not there; HmrError for another one of its name."""
    study = optuna.create_study(
        study_name=sweep.name,
        storage=storage,
        pruner=_pruner(sweep),
        direction="maximize" if sweep.higher_is_better else "minimize",
        load_if_exists=True,
    )
    given, began = json.loads(json.dumps(identity)), study.user_attrs.get(_IDENTITY)
    if began is None and study.get_trials(deepcopy=False):
        raise HmrError(f'the study "{sweep.name}" in its storage is no sweep of hmr. Give the sweep another name.')
    if began is None:
        study.set_user_attr(_IDENTITY, given)
    elif changes := _changes(began, given):
        raise HmrError(
            f'the study "{sweep.name}" began otherwise: {"; ".join(changes)}. Its trials cannot be compared with '
            "new ones. Put that back,",
            "or begin another sweep in another folder, with ",
            Option("out"),
            ", and where it has a storage under another name.",
        )
    return study


def _changes(began: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What of a study is not as it was, in words."""
    return [
        f"{key} was {_shown(began.get(key))} and is {_shown(given.get(key))}"
        for key in dict.fromkeys([*began, *given])
        if began.get(key) != given.get(key)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_shown(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list):
        return f"[{', '.join(str(one) for one in value)}]"
    return "not given" if value is None else value if isinstance(value, str) else value_text(value)


def _no_study(sweep: Sweep, folder: SweepFolder) -> HmrError:
    return HmrError(f'there is no study "{sweep.name}" in {_place(sweep, folder)} yet: the sweep was not begun.')


def _address(sweep: Sweep, folder: SweepFolder) -> tuple[str, dict[str, Any]]:
    """The URL of a study's database, and the options by which it is opened."""
    if sweep.storage is not None:
        return sweep.storage, {}
    # Not by its URL, in which a path could not have any character.
    return "sqlite:///study.db", {
        "creator": lambda: sqlite3.connect(folder.study, timeout=_WAIT_S, check_same_thread=False)
    }


def _place(sweep: Sweep, folder: SweepFolder) -> str:
    """Where a study is, for a reader: a password is not shown."""
    if sweep.storage is None:
        return str(folder.study)
    try:
        return make_url(sweep.storage).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "its storage"


@contextmanager
def _storage_told(sweep: Sweep, folder: SweepFolder) -> Iterator[None]:
    """HmrError for a database that is not there, does not answer, or has something else in it."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError, RuntimeError) as error:
        first = error.__cause__ or error
        text = cause(first) if sweep.storage is None else cause(first).replace(sweep.storage, "the storage")
        raise HmrError(f"the study in {_place(sweep, folder)} cannot be used: {text.rstrip('.')}.") from error


def _sampler(sweep: Sweep, dimensions: tuple[Dimension, ...], trials: int) -> BaseSampler:
    """What chooses the values of the trial after so many.

    Its seed is of the sweep and of the number of the trial: what is drawn for it depends on neither how often the sweep
    was stopped nor, but for what TPE has seen by then, on how many processes share it.
    """
    if sweep.method == "grid":
        return Grid({d.key: d.texts for d in dimensions if isinstance(d, Choice)}, seed=sweep.seed)
    seed = int(np.random.SeedSequence([sweep.seed, trials]).generate_state(1)[0])
    if sweep.method == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, constant_liar=True)  # so that processes do not all try the same place


def _pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    pruning = sweep.pruning
    if pruning is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.PercentilePruner(
        pruning.percentile,
        n_startup_trials=pruning.startup_trials,
        n_warmup_steps=pruning.warmup_epochs + 1,  # the first step at which it prunes, and epochs count from 1
    )


def _suggest(trial: Trial, dimension: Dimension) -> str:
    """The value of an option in a trial, as an override has it: drawn, if the trial has none yet."""
    if isinstance(dimension, Choice):
        return str(trial.suggest_categorical(dimension.key, dimension.texts))
    span = dimension.range
    if dimension.whole:
        step = 1 if span.step is None else int(span.step)
        return value_text(trial.suggest_int(dimension.key, int(span.low), int(span.high), log=span.log, step=step))
    return value_text(
        trial.suggest_float(dimension.key, float(span.low), float(span.high), log=span.log, step=span.step)
    )


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else value_text(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's own lines from the screen, and its warnings of what it may change one day."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
