"""Which weights a path names: of a run, of its best or last checkpoint, of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmr_core.errors import HmrError, Option
from hmr_core.shell import flag
from hmr_core.weights.checkpoint_record import CheckpointRecord, write_record
from hmr_core.weights.find_weights import BetterCheckpoint, better_on_val, find_weights, without_choice


def checkpoint(run: Path, epoch: int, mpjpe_mm: float | None) -> Path:
    """The weights file of a checkpoint that was made up, with its record."""
    folder = run / f"checkpoints/epoch-{epoch:04d}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    val = {} if mpjpe_mm is None else {"mpjpe_mm": mpjpe_mm}
    write_record(folder, CheckpointRecord(model="small", recipe={}, epoch=epoch, val=val))
    return folder / "model.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_run_names_its_last_checkpoint_and_its_best_one_where_asked(run: Path) -> None:
    best, last = checkpoint(run, 2, 9.5), checkpoint(run, 10, 10.25)
    assert find_weights(run) == find_weights(Path(f"{run}:last")) == last
    assert find_weights(Path(f"{run}:best")) == best
    assert without_choice(Path(f"{run}:best")) == without_choice(run) == run


def test_the_last_one_may_be_the_best(run: Path) -> None:
    checkpoint(run, 1, 10.25)
    last = checkpoint(run, 2, 9.5)
    assert find_weights(Path(f"{run}:best")) == last


def test_a_better_one_on_val_is_known_with_its_epoch(run: Path) -> None:
    best, last = checkpoint(run, 2, 9.5), checkpoint(run, 10, 10.25)
    assert better_on_val(last) == BetterCheckpoint(epoch=2, mpjpe_mm=9.5, own_mpjpe_mm=10.25)
    assert better_on_val(best) is None


@pytest.mark.parametrize("values", [(10.0, 10.0), (9.5, None), (None, 9.5), (None, None)])
def test_there_is_no_better_one_where_val_does_not_say_so(run: Path, values: tuple[float | None, ...]) -> None:
    *_, last = [checkpoint(run, epoch, value) for epoch, value in enumerate(values, 1)]
    assert better_on_val(last) is None


def test_a_damaged_checkpoint_beside_the_used_one_is_not_looked_at_for_the_best(run: Path) -> None:
    best, last = checkpoint(run, 2, 9.5), checkpoint(run, 10, 10.25)
    best.with_name("model.json").write_text("{")
    assert better_on_val(last) is None


def test_a_file_or_folder_of_the_very_name_wins(run: Path, tmp_path: Path) -> None:
    checkpoint(run, 1, 9.5)
    named = tmp_path / "run:best"
    named.write_bytes(b"\x80\x02")
    assert find_weights(named) == named
    assert without_choice(named) == named
    named.unlink()
    other = checkpoint(named, 7, None)
    assert find_weights(named) == other


def test_no_best_without_val_is_an_error_that_says_what_to_give(run: Path) -> None:
    checkpoint(run, 1, None)
    with pytest.raises(HmrError) as caught:
        find_weights(Path(f"{run}:best"), option=Option("solver_ckpt"))
    assert caught.value.worded(flag) == (
        f"{run}:best means the checkpoint that was best on val, and none of {run} was scored on val. Give "
        f"--solver-ckpt {run}, whose last checkpoint is then used."
    )


def test_another_word_behind_a_run_is_told_what_may_stand_there(run: Path) -> None:
    checkpoint(run, 1, 9.5)
    with pytest.raises(HmrError) as raised:
        find_weights(Path(f"{run}:bst"))
    text = f"no such checkpoint: {run}:bst. Give {run}:best (the best on val) or {run}:last."
    assert str(raised.value) == text


def test_only_a_run_has_a_best_and_a_last(run: Path, tmp_path: Path) -> None:
    weights = checkpoint(run, 1, 9.5)
    for path in (weights, weights.parent, tmp_path):
        with pytest.raises(HmrError, match=r":last means the last checkpoint of a run, and .* has no checkpoints of"):
            find_weights(Path(f"{path}:last"))
    with pytest.raises(HmrError, match=rf"no such checkpoint: {tmp_path}/nothing\."):
        find_weights(tmp_path / "nothing:best")
