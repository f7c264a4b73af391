"""A checkpoint that is not whole costs what was learnt since the one before it, and no more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.errors import HmrError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import RunStarted, StepDone
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.run import Run
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import CheckpointRecord, record_validation
from hmr_core.weights.checkpoints import load_checkpoint, prune_checkpoints, save_checkpoint
from hmr_core.weights.damage import find_damage, newest_whole, set_aside
from hmr_core.weights.find_weights import find_weights

FILES = ("model.safetensors", "optimizer.safetensors", "model.json")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [cut, alter, Path.unlink])
def test_damage_to_any_file_is_found(run: Run, name: str, damage: Callable[[Path], None]) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1]
    assert find_damage(newest) == ""
    damage(newest / name)
    found = find_damage(newest)
    assert name in found
    assert "Copy it again" not in found  # what is wrong alone
    whole, damaged = newest_whole(run.checkpoints)
    assert whole == saved_checkpoints(run.checkpoints)[-2]
    assert damaged == {newest: found}


def test_a_checkpoint_under_another_s_name_is_found(trainer: Any, run: Run) -> None:
    """As a copy is that somebody made of it: it would be taken for the newest, now and ever after."""
    copy = run.checkpoints / "epoch-0007"
    shutil.copytree(saved_checkpoints(run.checkpoints)[0], copy)
    assert find_damage(copy) == f"{copy} is not what its name says: it is of epoch 2, step 14."
    trainer(run.folder)
    assert [path.name for path in saved_checkpoints(run.checkpoints)] == ["epoch-0002", "epoch-0003"]
    assert (run.checkpoints / "damaged-epoch-0007").is_dir()


@pytest.mark.parametrize("name", FILES)
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    trainer: Any, tmp_path: Path, run: Run, name: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", stop_after=17, checkpoint_every="4")
    folder = tmp_path / "run/checkpoints"
    assert [path.name for path in saved_checkpoints(folder)] == ["epoch-0002", "epoch-0002-step-00000016"]
    cut(folder / "epoch-0002-step-00000016" / name)
    again = trainer(tmp_path / "run")
    started = trainer.events[0]
    assert isinstance(started, RunStarted)
    assert started.first_step == 15
    said = [line for line in again.log.read_text().splitlines() if "warning: " in line]
    assert len(said) == 1
    assert f"{folder / 'epoch-0002-step-00000016'}" in said[0]
    assert "set aside as damaged-epoch-0002-step-00000016; the one before it is used." in said[0]
    assert sorted(path.name for path in (folder / "damaged-epoch-0002-step-00000016").iterdir()) == sorted(FILES)
    for one, two in zip(trainer.weights(run).items(), trainer.weights(again).items(), strict=True):
        assert one[0] == two[0]
        assert torch.equal(one[1], two[1])


def test_a_finished_run_whose_last_checkpoint_is_damaged_takes_its_last_steps_again(trainer: Any, run: Run) -> None:
    newest = saved_checkpoints(run.checkpoints)[-1]
    before = (newest / "model.safetensors").read_bytes()
    alter(newest / "model.safetensors")
    trainer(run.folder)
    assert [event.step for event in trainer.events if isinstance(event, StepDone)] == list(range(15, 22))
    assert (newest / "model.safetensors").read_bytes() == before


def test_where_no_checkpoint_is_whole_that_is_said_and_nothing_is_moved(trainer: Any, run: Run) -> None:
    saved = saved_checkpoints(run.checkpoints)
    for folder in saved:
        cut(folder / "optimizer.safetensors")
    with pytest.raises(HmrError, match=rf"^no checkpoint of {run.folder} is whole, so the run cannot go on\. .*Copy"):
        trainer(run.folder)
    assert saved_checkpoints(run.checkpoints) == saved


def test_what_is_set_aside_keeps_what_was_set_aside_before(run: Run) -> None:
    one, two = saved_checkpoints(run.checkpoints)
    assert set_aside(two).name == f"damaged-{two.name}"
    one.rename(two)
    assert set_aside(two).name == f"damaged-{two.name}-2"


def test_a_damaged_checkpoint_is_in_nobody_s_way(run: Run, small_spec: ModelSpec) -> None:
    older, newest = saved_checkpoints(run.checkpoints)
    cut(older / "model.json")
    assert find_weights(Path(f"{run.folder}:best")) == newest / "model.safetensors"
    assert load_checkpoint(run.folder, small_spec).path == newest / "model.safetensors"
    prune_checkpoints(run.checkpoints, keep_last=1)
    assert saved_checkpoints(run.checkpoints) == [older, newest]


def test_a_run_of_which_all_are_damaged_says_what_is_wrong_with_the_first(run: Run) -> None:
    for folder in saved_checkpoints(run.checkpoints):
        (folder / "model.json").write_text("{")
    with pytest.raises(HmrError, match=r"has no readable model\.json beside it"):
        find_weights(Path(f"{run.folder}:best"))


CALLS = ("rename", "replace", "fsync", "unlink", "rmdir")
"""What changes the names on a disk, and what comes after whatever is written."""


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do work in a process that is killed at one of its calls; whether it was, and did not come to its end."""
    child = os.fork()
    if child == 0:
        left = [number]

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*given: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return call(*given, **options)

            return called

        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def moments(work: Callable[[], None], begin: Callable[[], None]) -> Iterator[int]:
    """Do work again and again, killed at each of its calls in turn; `begin` comes before each."""
    number = 1
    while True:
        begin()
        if not killed_at(number, work):
            return
        yield number
        number += 1


def test_at_every_moment_a_whole_checkpoint_is_there(tmp_path: Path, small_spec: ModelSpec) -> None:
    """While the next one is written, gets its metrics on val, and the older ones are removed."""
    model = small_spec.build(load_recipe(small_spec, "tiny").model)
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    folder = tmp_path / "run/checkpoints"

    def write(epoch: int) -> None:
        record = CheckpointRecord(model="small", recipe={}, epoch=epoch, step=epoch * 7)
        save_checkpoint(folder / f"epoch-{epoch:04d}", model, optimizer, record)
        record_validation(folder / f"epoch-{epoch:04d}", {"mpjpe_mm": 10.0 - epoch})

    def begin() -> None:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "before", folder)

    def work() -> None:
        write(3)
        prune_checkpoints(folder, keep_last=1)

    write(1)
    write(2)
    shutil.copytree(folder, tmp_path / "before")
    seen = set()
    for number in moments(work, begin):
        whole, _ = newest_whole(folder)
        assert whole is not None, number
        assert all(find_damage(path) == "" for path in saved_checkpoints(folder)), number
        seen.add((whole.name, tuple(path.name for path in saved_checkpoints(folder))))
        prune_checkpoints(folder, keep_last=2)
        assert not list(folder.glob(".*")), number  # what was left was cleared away
    assert {name for name, _ in seen} == {"epoch-0002", "epoch-0003"}
    assert ("epoch-0003", ("epoch-0003",)) in seen
