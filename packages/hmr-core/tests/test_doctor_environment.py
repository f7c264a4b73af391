"""What the doctor says of what is installed, of the machine and of plugins; a check that fails costs its own line."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections import namedtuple
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hmr_core import shared_memory
from hmr_core.doctor import environment, machine
from hmr_core.doctor.finding import Finding, guarded
from hmr_core.doctor.plugin_state import plugins
from hmr_core.errors import HmrError
from hmr_core.shared_memory import Room
from hmr_core.wording import listed

Usage = namedtuple("Usage", "total used free")


def shown(findings: Iterator[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.level, finding.text, finding.remedy) for finding in findings]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """An import of a module that fails, whether or not it is installed."""
    real = importlib.import_module

    def load(wanted: str, package: str | None = None) -> ModuleType:
        if wanted == name:
            raise error
        return real(wanted, package)

    monkeypatch.setattr(environment, "import_module", load)


def test_versions() -> None:
    first, second = environment.versions()
    assert first.text.startswith(f"Python {sys.version.split()[0]} on ")
    assert "hmr-core 0.1.0" in first.text
    assert (first.level, second.level) == ("ok", "ok")
    assert f"torch {torch.__version__}" in second.text
    assert "opencv-python " in second.text


def test_a_package_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "h5py", OSError("libhdf5.so:\nundefined symbol"))
    _, wrong, others = shown(environment.versions())
    assert wrong == (
        "wrong",
        "h5py cannot be imported (OSError: libhdf5.so: undefined symbol)",
        "pip install --force-reinstall h5py",
    )
    assert "h5py" not in others[1]
    assert "torch" in others[1]


def test_optional_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    assert shown(environment.optional()) == [
        (
            "note",
            "tensorboard is not installed, which hmr train --tensorboard needs",
            'pip install "hmr-core[tensorboard]"',
        ),
        ("note", "wandb is not installed, which hmr train --wandb needs", 'pip install "hmr-core[wandb]"'),
        ("note", "plotly is not installed, which hmr compare --html needs", 'pip install "hmr-core[report]"'),
        ("note", "optuna is not installed, which hmr sweep needs", 'pip install "hmr-core[sweep]"'),
        (
            "note",
            "manotorch is not installed, which --hand-layer manotorch needs",
            "pip install git+https://github.com/lixiny/manotorch (GPL; asks for chumpy and MANO's own code)",
        ),
        (
            "note",
            "oikit is not installed, which hmr pack oakink --reader oikit needs",
            "git clone https://github.com/oakink/OakInk, then pip install ./OakInk (asks for pytorch3d)",
        ),
    ]


def test_a_folder_of_an_optional_package_s_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plotly").mkdir()
    monkeypatch.setattr(environment, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    found = shown(environment.optional())
    assert [level for level, _, _ in found] == ["note", "note", "warning", "note", "note", "note"]
    assert found[2][1:] == (
        "plotly is not installed, which hmr compare --html needs; "
        f"{tmp_path / 'plotly'} is a folder of its name that is no package",
        'pip install "hmr-core[report]"',
    )


def test_optional_packages_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: object())
    monkeypatch.setattr(environment, "import_module", lambda name: ModuleType(name))
    assert {finding.level for finding in environment.optional()} == {"ok"}

    def load(name: str) -> ModuleType:
        if name.startswith("manotorch"):
            raise TypeError("chumpy does not know this numpy")
        return ModuleType(name)

    monkeypatch.setattr(environment, "import_module", load)
    (level, text, remedy) = shown(environment.optional())[4]
    assert level == "warning"
    assert text == (
        "manotorch is installed, but cannot be imported (TypeError: chumpy does not know this numpy): "
        "--hand-layer manotorch does not work"
    )
    assert remedy


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = shown(machine.devices())
    assert [level for level, _, _ in found] == ["ok", "ok", "ok"]
    assert found[0][1].startswith("2 CPU cores, ")
    assert found[0][1].endswith(" GiB of memory")
    assert found[1][1] == "torch computes with 2 threads"
    assert found[2][1] == "hmr runs on cpu, the best there is, where none is named"
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    note = shown(machine.devices())[2]
    assert note[0] == "note"
    assert note[1].endswith("is built for CUDA 12.4, but finds no GPU")
    assert note[2] == "nvidia-smi tells whether the driver sees one"


def test_one_core_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    cores, threads, *_ = shown(machine.devices())
    assert cores[1].startswith("1 CPU core, ")
    assert threads[1] == "torch computes with 1 thread"


def test_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{} MB of {} MB free in /dev/shm, by which workers hand over batches"
    for room, wanted in (
        (Room(size=64_000_000, free=60_000_000), ("warning", text.format("60.0", "64.0"))),
        (Room(size=8_000_000_000, free=990_000_000), ("warning", text.format("990.0", "8,000.0"))),
        (Room(size=8_000_000_000, free=8_000_000_000), ("ok", text.format("8,000.0", "8,000.0"))),
    ):
        monkeypatch.setattr(machine, "shared_memory", lambda room=room: room)
        ((level, told, remedy),) = shown(machine.shared())
        assert (level, told) == wanted
        assert ("docker run --shm-size 8g" in remedy and "--workers 0" in remedy) == (level == "warning")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        ((level, told, _),) = shown(machine.shared())
        assert (level, told) == ("warning", "/dev/shm, by which workers hand over batches, cannot be written to")
    monkeypatch.setattr(machine, "shared_memory", lambda: None)  # as on macOS
    assert shown(machine.shared()) == []


def test_shared_memory_is_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path)
    room = shared_memory.shared_memory()
    assert room is not None
    assert room.size == shutil.disk_usage(tmp_path).total
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path / "no such place")
    assert shared_memory.shared_memory() is None


def test_a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (2**30 * (i + 1), 2**33))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GPU {i}")
    texts = [text for _, text, _ in shown(machine.devices())]
    assert "cuda:0 is GPU 0, 8.0 GiB, 1.0 GiB of it free" in texts
    assert "cuda:1 is GPU 1, 8.0 GiB, 2.0 GiB of it free" in texts
    assert texts[-1] == "hmr runs on cuda, the best there is, where none is named"


def test_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, 5 * 10**10))
    places = [("packs", tmp_path / "not/there/yet")]
    assert shown(machine.disk(places)) == [("ok", f"50.0 GB free in {tmp_path}, where packs go", "")]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, 5 * 10**8))
    text = f"0.5 GB free in {tmp_path}, where packs go"
    assert shown(machine.disk(places)) == [("warning", text, "Make room, or name another place with --out.")]
    monkeypatch.setattr("os.access", lambda path, mode: False)
    ((level, text, _),) = shown(machine.disk(places))
    assert (level, text) == ("warning", f"{tmp_path}, where packs go, cannot be written to")


def test_plugins_that_work_and_do_not(fakes: Any) -> None:
    registry = fakes.registry(
        fakes.plugin("good", hmr_models=fakes.models("one", "two")), fakes.raising("bad", ImportError("no such thing"))
    )
    found = shown(plugins(registry))
    assert ("ok", "good (hmr-good 1.0) offers models: one, two", "") in found
    (bad,) = [entry for entry in found if entry[0] == "wrong"]
    assert bad[1].startswith("bad (hmr-bad 1.0) is broken: ")
    assert "no such thing" in bad[1]
    assert bad[2] == "hmr plugins bad"
    notes = {text: remedy for level, text, remedy in found if level == "note"}
    assert notes["hmr-rle is not installed: model rle"] == "pip install hmr-rle"
    assert notes["hmr-iknet is not installed: model iknet, solver iknet"] == "pip install hmr-iknet"


def test_plugins_that_are_left_out_are_no_fault(fakes: Any) -> None:
    both = [fakes.plugin(name, hmr_models=fakes.models(f"{name}-model")) for name in ("good", "other")]
    registry = fakes.registry(*both, only="good")
    levels = {text.split()[0]: level for level, text, _ in shown(plugins(registry))}
    assert levels["good"] == "ok"
    assert levels["other"] == "note"


def test_plugins_that_clash(fakes: Any) -> None:
    both = [fakes.plugin(name, hmr_models=fakes.models("one")) for name in ("a", "b")]
    found = [entry for entry in shown(plugins(fakes.registry(*both))) if entry[0] == "wrong"]
    assert [text.partition(":")[0] for _, text, _ in found] == [
        "a (hmr-a 1.0) is clashing",
        "b (hmr-b 1.0) is clashing",
    ]


def checked(error: Exception) -> list[Finding]:
    def check() -> Iterator[Finding]:
        yield Finding(section="data", level="ok", text="so far")
        raise error

    return list(guarded("data", "the pack p.h5", check, "Look at it."))


def test_a_check_that_fails_costs_its_own_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HMR_DEBUG", raising=False)
    first, wrong = checked(KeyError("joints"))
    assert first.text == "so far"
    assert (wrong.section, wrong.level) == ("data", "wrong")
    assert wrong.text == "the pack p.h5 could not be looked at: KeyError: 'joints'"
    assert wrong.remedy == "Look at it. The traceback: HMR_DEBUG=1 hmr doctor"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("HMR_DEBUG", "1")
    assert checked(KeyError("joints"))[1].remedy == "Look at it."
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_of_our_own_is_the_line() -> None:
    _, wrong = checked(HmrError("p.h5 is truncated."))
    assert (wrong.level, wrong.text, wrong.remedy) == ("wrong", "p.h5 is truncated.", "Look at it.")


def test_names_are_listed_by_their_first() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed([*"abcd"]) == "a, b, c and 1 more"
    assert listed(["x"] * 1234) == "x, x, x and 1,231 more"
