"""A sweep's file: what it may say, and what it is told where it says something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from hmr_core.errors import HmrError, UsageError
from hmr_core.metrics import METRICS
from hmr_core.plugins import ModelSpec
from hmr_core.sweep.definition import Pruning, Range, Sweep, read_sweep
from hmr_core.sweep.space import Choice, Numbers, dimensions, grid_size, texts

START = 'model = "small"\nsplit = "sp0"\nrecipe = "tiny"\n'
LISTED = '[space]\n"image_size" = [32, 64]\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return path


def read(tmp_path: Path, text: str) -> Sweep:
    return read_sweep(written(tmp_path, text))


def test_a_file_says_all_there_is(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        START
        + """
        data = "demo/oakink.h5"
        hand_model = "hand.npz"
        metric = "pck_auc_0_50mm"
        method = "random"
        trials = 20
        seed = 3
        prune = { percentile = 25.0, startup_trials = 2, warmup_epochs = 1 }
        storage = "postgresql://host/sweeps"
        name = "mine"
        [set]
        train.epochs = 5
        "train.clip_norm" = "null"
        [space]
        train.learning_rate = { low = 1e-4, high = 1e-2, log = true }
        "train.batch_size" = { low = 8, high = 32, step = 8 }
        train.schedule = ["multistep", "cosine"]
        train.milestones = [[1], [1, 2]]
        """,
    )
    assert sweep.data == ("demo/oakink.h5",)
    assert sweep.overrides == ("train.epochs=5", "train.clip_norm=null")
    assert sweep.space == {
        "train.learning_rate": Range(low=1e-4, high=1e-2, log=True),
        "train.batch_size": Range(low=8, high=32, step=8),
        "train.schedule": ("multistep", "cosine"),
        "train.milestones": ("[1]", "[1, 2]"),
    }
    assert sweep.pruning == Pruning(percentile=25, startup_trials=2, warmup_epochs=1)
    assert sweep.higher_is_better


def test_what_is_not_said(tmp_path: Path) -> None:
    sweep = read(tmp_path, 'model = "small"\nsplit = "sp0"\ntrials = 2\n' + LISTED)
    assert (sweep.recipe, sweep.metric, sweep.method, sweep.seed) == ("published", "mpjpe_mm", "tpe", 0)
    assert (sweep.name, sweep.storage, sweep.set, sweep.pruning) == ("sweep", None, {}, Pruning())
    assert not sweep.higher_is_better
    assert read(tmp_path, START + "trials = 2\nprune = false\n" + LISTED).pruning is None


def test_metrics_are_those_of_a_report() -> None:
    assert get_args(Sweep.model_fields["metric"].annotation) == METRICS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trails = 3\n" + LISTED, 'unknown key "trails". Did you mean "trials"? Valid: model, split, recipe, data, '),
        ("prune = { percentil = 3 }\n" + LISTED, 'unknown key "prune.percentil". Did you mean "percentile"? Valid: '),
        ("trials = 3\n", "space: Field required."),
        ("trials = 3\n[space]\n", "space: it has no option in which trials could differ."),
        (LISTED, "trials is needed: how many to begin in all."),
        ('trials = "3"\n' + LISTED, "trials: Input should be a valid integer."),
        ("trials = 0\n" + LISTED, "trials: Input should be greater than 0."),
        ('trials = 3\nmetric = "mpjpe"\n' + LISTED, "metric: Input should be 'mpjpe_mm', "),
        ("trials = 3\n[space]\nimage_size = 3\n", "space.image_size: 3 is neither a list of values nor a range {low,"),
        ("trials = 3\n[space]\nimage_size = []\n", "space: the values of image_size are none, or one of them is given"),
        ("trials = 3\n[space]\nimage_size = [3, 3]\n", "space: the values of image_size are none, or one of them is"),
        ("trials = 3\n[space]\nx = { low = 1 }\n", "space.x: high: Field required."),
        ("trials = 3\n[space]\nx = { lo = 1, high = 2 }\n", 'unknown key "space.x.lo". Did you mean "low"? Valid: low'),
        ("trials = 3\n[space]\nx = { low = 2, high = 1 }\n", "space.x: low is 2, which is not below high, 1."),
        ("trials = 3\n[space]\nx = { low = 0, high = 1, log = true }\n", "space.x: with log, low must be above 0."),
        ("trials = 3\n[space]\nx = { low = 1, high = 2, log = true, step = 1 }\n", "space.x: log and step do not go"),
        ("trials = 3\n[space]\nx = { low = 0.1, high = 1, step = 0.2 }\n", "space.x: high is not reached from low by"),
        ("trials = 3\n[set]\nx = 1\n[space]\nx = [1, 2]\n", "x is in set and in space: leave out one of them."),
        ("trials = 3\n[set]\nx = 2020-01-01\n" + LISTED, "set.x: 2020-01-01 is no value that an option can have."),
        ("trials = \n", "is no TOML: Invalid value"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, START + text)
    path = tmp_path / "sweep.toml"
    assert str(caught.value).removeprefix(f"{path}: ").removeprefix(f"{path} ").startswith(said)


def test_a_step_of_a_tenth_is_a_tenth(tmp_path: Path) -> None:
    sweep = read(tmp_path, START + 'method = "grid"\n[space]\ntrain.gamma = { low = 0.1, high = 0.4, step = 0.1 }\n')
    assert sweep.space["train.gamma"] == Range(low=0.1, high=0.4, step=0.1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"no\.toml cannot be read: No such file or directory\. Give the TOML file"):
        read_sweep(tmp_path / "no.toml")


def found(tmp_path: Path, spec: ModelSpec, text: str) -> Any:
    path = written(tmp_path, START + text)
    return dimensions(read_sweep(path), spec, path)


def test_dimensions_have_the_types_of_their_options(tmp_path: Path, small_spec: ModelSpec) -> None:
    space = """
    trials = 2
    [space]
    train.learning_rate = { low = 1, high = 2 }
    train.batch_size = { low = 8, high = 32, step = 8 }
    model.image_size = { low = 32, high = 64, log = true }
    train.clip_norm = ["null", 0.5]
    """
    rate, size, clip, image = found(tmp_path, small_spec, space)
    assert (rate.whole, size.whole, image.whole) == (False, True, True)
    assert rate.checked == ("1", "2")
    assert clip == Choice("train.clip_norm", ("null", "0.5"))


def test_a_grid_has_all_points_of_its_ranges(tmp_path: Path, small_spec: ModelSpec) -> None:
    space = """
    method = "grid"
    [space]
    train.weight_decay = { low = 0.1, high = 0.3, step = 0.1 }
    train.batch_size = { low = 8, high = 10 }
    train.schedule = ["cosine"]
    """
    points = found(tmp_path, small_spec, space)
    assert [point.texts for point in points] == [("0.1", "0.2", "0.3"), ("8", "9", "10"), ("cosine",)]
    assert grid_size(points) == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[space]\ntrain.epoch = [1, 2]\n", 'unknown option "train.epoch". Did you mean "train.epochs"'),
        ("[space]\ntrain.epoch = { low = 1, high = 2 }\n", 'unknown option "train.epoch". Did you mean "train.epochs"'),
        ("[set]\ntrain.epoch = 1\n" + LISTED, 'unknown option "train.epoch". Did you mean "train.epochs"'),
        ('[space]\ntrain.epochs = [1, "two"]\n', 'train.epochs=two: "two" is not valid for train.epochs: Input should'),
        ("[space]\nimage_size = { low = 32, high = 5000 }\n", 'image_size=5000: "5000" is not valid for image_size: '),
        ("[space]\ntrain.epochs = { low = 1, high = 2.5 }\n", 'train.epochs=2.5: "2.5" is not valid for train.epochs'),
        ("[space]\ntrain.subset = { low = 1, high = 2 }\n", "space.train.subset: this option takes no numbers, so it "),
        (
            '[space]\ntrain.schedule = ["multistep", "cosine"]\ntrain.gamma = [0.5, 0.1]\n',
            "train.gamma=0.5: train.gamma has no effect where train.",
        ),
        ('[space]\ntrain.subset = ["train", "train+val"]\n', "a sweep compares trials by their figures on val, and "),
    ],
)
def test_what_the_recipe_does_not_take(tmp_path: Path, small_spec: ModelSpec, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        found(tmp_path, small_spec, "trials = 2\n" + text)
    assert str(caught.value).startswith(f"{tmp_path / 'sweep.toml'}: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[space]\ntrain.learning_rate = { low = 0.1, high = 1 }\n", "a grid has no values of a range without a step"),
        ("[space]\ntrain.epochs = { low = 1, high = 9, log = true }\n", "a grid has no values of a range without"),
        ("[space]\ntrain.weight_decay = { low = 0.1, high = 0.9, step = 1e-9 }\n", "are too many for a grid"),
        ("trials = 3\n" + LISTED, "trials is 3, and the grid has 2 points. Leave trials out"),
        (
            "[space]\ntrain.epochs = { low = 1, high = 10000 }\ntrain.batch_size = { low = 1, high = 10000 }\n",
            "a grid of 100,000,000 points is too large",
        ),
    ],
)
def test_what_a_grid_cannot_search(tmp_path: Path, small_spec: ModelSpec, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        found(tmp_path, small_spec, 'method = "grid"\n' + text)


def test_a_trial_has_the_overrides_of_all_trials_and_its_own(tmp_path: Path) -> None:
    sweep = read(tmp_path, START + "trials = 2\n[set]\ntrain.epochs = 1\n" + LISTED)
    assert texts(sweep, {"image_size": "64"}) == ("train.epochs=1", "image_size=64")


def test_a_number_is_tried_at_both_ends() -> None:
    assert Numbers("x", Range(low=1e-4, high=3.0), whole=False).checked == ("0.0001", "3")
