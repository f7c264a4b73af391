"""What is read must be a regular file: a pipe, a socket or a device is refused at once, wherever a name leads."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.journal import discard_finished, kept_samples
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.doctor.examine import Subject, examine
from hmr_core.errors import HmrError
from hmr_core.evaluation.saved import read_evaluation
from hmr_core.files import NotAFileError, check_regular, open_regular, read_bytes
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import load_hand_model
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.pretrained import load_pretrained
from hmr_core.nn.backbones.resnet import ResNet
from hmr_core.nn.files import file_format, read_safetensors, read_shapes
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import discover
from hmr_core.weights.checkpoint_record import read_record
from hmr_core.weights.find_weights import find_weights
from hmr_core.weights.run_record import open_run

LONGEST_S = 60
"""After which a test fails that waits for a pipe."""


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    def waited(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def tree(mini_tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini_tree, tmp_path / "tree"))


def pipe_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_a_file_is_read_whole_through_links_too(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"some bytes")
    link.symlink_to(file)
    for path in (file, link):
        check_regular(path)
        assert read_bytes(path) == b"some bytes"
        with open_regular(path) as opened:
            assert (opened.read(4), opened.read()) == (b"some", b" bytes")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = pipe_at(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, kind in (
            (pipe, "a pipe"),
            (tmp_path / "link", "a pipe"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
        ):
            for read in (check_regular, open_regular, read_bytes):
                with pytest.raises(NotAFileError) as caught:
                    read(path)
                assert (caught.value.strerror, caught.value.filename) == (f"it is {kind}, not a file", str(path))


def test_folders_and_what_is_not_there_fail_as_they_always_do(tmp_path: Path) -> None:
    for read in (check_regular, open_regular, read_bytes):
        with pytest.raises(IsADirectoryError, match="Is a directory"):
            read(tmp_path)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nothing")


@pytest.mark.parametrize(
    "name",
    [
        "release.txt",
        "image/anno/split/split0/seq_test.json",
        "image/anno/cam_intr/{id}.pkl",
        "image/anno/general_info/{id}.pkl",
        "image/stream_release_v2/{frame}",
    ],
)
def test_a_pipe_in_a_tree(tree: Path, tmp_path: Path, name: str) -> None:
    reader = open_oakink(tree)
    sample = reader.read(reader.split_ids("sp0", "train+val")[0])
    frame = sample.image_path.relative_to(tree / "image/stream_release_v2")
    pipe = pipe_at(tree / name.format(id=sample.id, frame=frame))
    with pytest.raises(HmrError, match=f"cannot read {pipe}: it is a pipe, not a file. "):
        write_pack(open_oakink(tree), tmp_path / "x.h5", codec=codec_named("jpeg"), splits=["sp0"], workers=1)
    subject = Subject(root=tree, data=tmp_path / "x.h5", data_named=False, hand_model=None, hand_model_named=False)
    found = [finding.text for finding in examine(subject, discover()) if finding.level == "wrong"]
    assert any(f"{pipe}: it is a pipe" in text or ("lacks 1 of" in text and pipe.name in text) for text in found)


def test_a_pipe_beside_a_pack(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"something")
    pipe_at(tmp_path / "x.h5.part-journal")
    for look in (discard_finished, kept_samples):
        with pytest.raises(NotAFileError):
            look(tmp_path / "x.h5")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "pack": ("x.h5", Pack),
    "hand model": ("hand.npz", load_hand_model),
    "MANO's file": ("MANO_RIGHT.pkl", read_mano_file),
    "run": ("run/config.json", lambda path: open_run(path.parent)),
    "report": ("eval/report.json", lambda path: read_evaluation(path.parent)),
    "checkpoint": ("epoch/model.json", lambda path: read_record(path.with_name("model.safetensors"))),
    "format of weights": ("model.pth", file_format),
    "weights": ("model.safetensors", read_safetensors),
    "shapes of weights": ("model.safetensors", read_shapes),
    "backbone": (
        "resnet.pth",
        lambda path: load_pretrained(ResNet(BackboneConfig(name="resnet18", width=8, weights=str(path))), {}),
    ),
    "what --ckpt names": ("model.safetensors", find_weights),
}


@pytest.mark.parametrize("what", READERS)
def test_a_pipe_where_a_file_is_named(tmp_path: Path, what: str) -> None:
    name, read = READERS[what]
    pipe = pipe_at(tmp_path / name)
    with pytest.raises(HmrError, match=r"it is a pipe, not a file|not a regular file") as caught:
        read(pipe)
    assert str(pipe) in str(caught.value)


def test_a_pipe_for_a_recipe(tmp_path: Path, small_spec: ModelSpec) -> None:
    spec = replace(small_spec, recipes={"tiny": pipe_at(tmp_path / "tiny.toml")})
    with pytest.raises(HmrError, match=r"recipe tiny of .* cannot be read: .*it is a pipe, not a file"):
        load_recipe(spec, "tiny")
