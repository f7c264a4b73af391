"""What a sweep is asked to do, as its TOML file says it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from hmr_core.config import Section, first_problem
from hmr_core.errors import HmrError, UsageError, did_you_mean
from hmr_core.files import read_bytes
from hmr_core.option_text import json_text, value_text

MOST_TRIALS = 100_000
LARGEST_SEED = 2**32 - 1
"""NumPy's, from which Optuna draws."""

HIGHER_IS_BETTER = ("pck_auc_0_50mm",)
"""The metrics that are no error."""


class Range(Section):
    """Numbers from low to high, both included.

    log: drawn evenly by their logarithm. step: only low, low + step and so on; whole numbers have a step of 1.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _rising(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low is {value_text(self.low)}, which is not below high, {value_text(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError("with log, low must be above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together: leave out one of them")
        if self.step is not None and (exact(self.high) - exact(self.low)) % exact(self.step):
            raise ValueError(f"high is not reached from low by steps of {value_text(self.step)}")
        return self


class Pruning(Section):
    """When a trial is stopped early: its best figure so far is worse than most others' were after as many epochs.

    percentile: the share of trials that are let go on, in percent; 50 is the median. startup_trials: how many must have
    ended before any is stopped. warmup_epochs: in how many first epochs none is stopped.
    """

    percentile: float = Field(50, gt=0, lt=100)
    startup_trials: int = Field(5, ge=1)
    warmup_epochs: int = Field(0, ge=0)


class Sweep(Section):
    """A whole sweep.

    data: packs as `hmr train` takes them, PACK[:SPLIT][=SHARE]; none for the default one. split: that of the packs
    without one of their own; None where each of them has but one.
    set: options of the recipe that all trials have. space: those that trials differ in, each with a range or the list
    of its values. Values of lists are texts as an override `key=value` has them. metric: of val. trials: how many to
    begin in all, by however many processes; None: all points of the grid. name: of the study in its storage.
    storage: the URL of a database; None for a file in the sweep's folder.
    """

    model: str
    split: str | None = None
    recipe: str = "published"
    data: tuple[str, ...] = ()
    hand_model: Path | None = None
    set: dict[str, str] = Field(default_factory=dict)
    space: dict[str, Range | tuple[str, ...]]
    metric: Literal["mpjpe_mm", "pck_auc_0_50mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"] = "mpjpe_mm"
    method: Literal["grid", "random", "tpe"] = "tpe"
    trials: int | None = Field(None, gt=0, le=MOST_TRIALS)
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    prune: bool | Pruning = True
    storage: str | None = None
    name: str = Field(min_length=1)

    @field_validator("space")
    @classmethod
    def _some(cls, space: dict[str, Range | tuple[str, ...]]) -> dict[str, Range | tuple[str, ...]]:
        if not space:
            raise ValueError("it has no option in which trials could differ")
        for key, values in space.items():
            if not isinstance(values, Range) and len(set(values)) < max(1, len(values)):
                raise ValueError(f"the values of {key} are none, or one of them is given twice")
        return space

    @model_validator(mode="after")
    def _together(self) -> Sweep:
        if both := [key for key in self.space if key in self.set]:
            raise ValueError(f"{both[0]} is in set and in space: leave out one of them")
        if self.trials is None and self.method != "grid":
            raise ValueError('trials is needed: how many to begin in all. Only the method "grid" ends by itself')
        return self

    @property
    def pruning(self) -> Pruning | None:
        """When trials are stopped early; None for never."""
        return self.prune if isinstance(self.prune, Pruning) else Pruning() if self.prune else None

    @property
    def higher_is_better(self) -> bool:
        """Whether the best trial is the one with the highest figure."""
        return self.metric in HIGHER_IS_BETTER

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides that all trials have."""
        return tuple(f"{key}={text}" for key, text in self.set.items())

    def identity(self) -> dict[str, Any]:
        """What makes the study the one it is, by dotted key, as plain values.

        Not where its files are, which each machine may have elsewhere, nor how many trials it has, which may grow.
        """
        kept = self.model_dump(mode="json", exclude={"data", "storage", "name", "trials", "set", "space"})
        kept["prune"] = self.pruning and self.pruning.model_dump(mode="json")
        by_key = {"set": self.set, "space": self.model_dump(mode="json")["space"]}
        return kept | {f"{part}.{key}": value for part, values in by_key.items() for key, value in values.items()}


def exact(number: int | float) -> Decimal:
    """A number as it was typed: 0.1 is a tenth."""
    return Decimal(str(number))


def read_sweep(path: Path) -> Sweep:
    """Read a sweep from a TOML file.

    Raises HmrError for a file that cannot be read, and UsageError, which begins with its path, for what it says.
    """
    try:
        values = tomllib.loads(read_bytes(path).decode())
    except OSError as error:
        raise HmrError(f"{path} cannot be read: {error.strerror}. Give the TOML file of a sweep.") from error
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}.") from error
    try:
        return _sweep({"name": path.stem, **values})
    except _InvalidError as error:
        raise UsageError(f"{path}: {error}") from error
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}") from error


class _InvalidError(Exception):
    """What is wrong with a file, as a sentence."""


def _sweep(values: Mapping[str, Any]) -> Sweep:
    _check_keys(values, Sweep.model_fields, "")
    if isinstance(values.get("prune"), dict):
        _check_keys(values["prune"], Pruning.model_fields, "prune.")
    plain = dict(values)
    if isinstance(values.get("data"), str):
        plain["data"] = [values["data"]]
    if isinstance(values.get("set"), dict):
        plain["set"] = {key: _text(f"set.{key}", value) for key, value in _flat(values["set"], ranges=False)}
    if isinstance(values.get("space"), dict):
        plain["space"] = {key: _values(f"space.{key}", value) for key, value in _flat(values["space"], ranges=True)}
    return Sweep.model_validate_json(json_text(plain), strict=True)


def _check_keys(given: Mapping[str, Any], valid: Iterable[str], prefix: str) -> None:
    valid = list(valid)
    for key in given:
        if key not in valid:
            raise _InvalidError(f'unknown key "{prefix}{key}".{did_you_mean(key, valid)} Valid: {", ".join(valid)}.')


def _flat(table: Mapping[str, Any], *, ranges: bool, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The options of a table by dotted key: TOML makes tables in tables of keys with dots that are not quoted.

    ranges: whether the innermost tables are ranges.
    """
    for key, value in table.items():
        nested = isinstance(value, dict) and (not ranges or all(isinstance(v, dict | list) for v in value.values()))
        if nested and value:
            yield from _flat(value, ranges=ranges, prefix=f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _values(key: str, value: Any) -> Any:
    """The values of an option of the space, with a list's as texts."""
    if isinstance(value, list):
        return [_text(key, one) for one in value]
    if not isinstance(value, dict):
        raise _InvalidError(f"{key}: {value_text(value)} is neither a list of values nor a range {'{'}low, high{'}'}.")
    _check_keys(value, Range.model_fields, f"{key}.")
    try:
        Range.model_validate_json(json_text(value), strict=True)
    except ValidationError as error:
        raise _InvalidError(f"{key}: {first_problem(error)}") from error
    return value


def _text(key: str, value: Any) -> str:
    """A value as an override has it; TOML has no null, so the text "null" is one, as in an override."""
    if isinstance(value, dict) or not isinstance(value, str | int | float | bool | list):
        raise _InvalidError(f"{key}: {value} is no value that an option can have.")
    return "null" if value == "null" else value_text(value)
