"""Systems that lack some of Linux's calls: macOS, where hmr does without them, and Windows, where it cannot."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hmr_core import system
from hmr_core.cli.main import main
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.verify import verify_pack
from hmr_core.data.pack.writer import write_pack

ROOT = Path(__file__).parents[3]

LINUX_ALONE = {
    name
    for name in dir(os)
    if name.startswith(("posix_fa", "POSIX_FADV_", "sched_", "memfd_", "MFD_", "eventfd", "EFD_", "splice", "SPLICE_"))
} | {"O_DIRECT", "O_TMPFILE", "O_PATH", "copy_file_range", "fdatasync", "getrandom", "pidfd_open", "setxattr"}
"""What macOS's os lacks (docs.python.org/3/library/os.html)."""

SOMETIMES = {"preadv", "pwritev"}
"""What macOS before 11 lacks."""


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LINUX_ALONE | SOMETIMES:
        monkeypatch.delattr(os, name, raising=False)


def test_a_pack_without_linux_s_own_calls(mini_tree: Path, tmp_path: Path, whole: bytes, macos: None) -> None:
    path = tmp_path / "x.h5"
    write_pack(open_oakink(mini_tree), path, codec=codec_named("jpeg:50"))
    assert path.read_bytes() == whole
    pack = Pack(path)
    rows = pack.indices("sp0", "test")
    assert sum(1 for _ in pack.windows(rows, verify=True)) == len(rows)
    assert verify_pack(path) == []
    assert system.usable_cpus() == os.cpu_count()


def test_room_is_reserved_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("linux", "macos"):
        with (tmp_path / name).open("w+b") as file:
            system.reserve(file.fileno(), 5000)
        assert (tmp_path / name).read_bytes() == bytes(5000)
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left"):
            system.reserve(full, 5000)
    finally:
        os.close(full)


def test_a_read_at_the_end_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        for _ in range(2):
            buffer = bytearray(b"....")
            assert system.read_at(file.fileno(), memoryview(buffer), 8) == 2
            assert buffer == b"89.."
            assert system.read_at(file.fileno(), memoryview(buffer), 10) == 0
            monkeypatch.delattr(os, "preadv", raising=False)


def test_what_macos_lacks_is_called_in_one_place() -> None:
    called = {
        (path.relative_to(ROOT).as_posix(), node.attr)
        for folder in ("packages", "examples")
        for path in (ROOT / folder).rglob("src/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in LINUX_ALONE | SOMETIMES
    }
    assert {path for path, _ in called} == {"packages/hmr-core/src/hmr_core/system.py"}


def test_windows_is_refused_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert system.refusal() == ""
    monkeypatch.setattr(system, "PLATFORM", "nt")
    for arguments in (["--help"], ["doctor"], ["nonsense"], []):
        assert main(arguments) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("error: hmr does not run on Windows, which lacks ")
        assert "Valid: Linux and macOS. " in err


def test_the_command_starts_where_windows_lacks_modules() -> None:
    """What Windows's Python has no module of must not be imported before it is refused."""
    code = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'termios', 'pwd', 'grp'): sys.modules[name] = None\n"
        "from hmr_core import system\n"
        "system.PLATFORM = 'nt'\n"
        "from hmr_core.cli.main import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: hmr does not run on Windows")
