"""Packing that is stopped, by whatever, goes on with the same command and leaves the very same file."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.cli.main import main
from hmr_core.data.oakink import OakInkReader, open_oakink
from hmr_core.data.pack import assemble, journal, writer
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.differences import differences
from hmr_core.data.pack.format import DEFAULT_MARGIN, USER_BLOCK_BYTES, arrays_with
from hmr_core.data.pack.journal import record_type
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.plugins.sample import Sample

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
PNG, JPEG = codec_named("png"), codec_named("jpeg:50")
SAMPLES = 96
KEPT = "is kept ({} of 96 samples): the same command goes on from there."


class Remembering(OakInkReader):
    """A reader that decodes a frame once, since these tests pack the same ones over and over; for one process."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.frames: dict[Path, np.ndarray] = {}

    def read_image(self, sample: Sample) -> np.ndarray:
        if sample.image_path not in self.frames:
            self.frames[sample.image_path] = super().read_image(sample)
        return self.frames[sample.image_path]


@pytest.fixture(scope="module")
def reader() -> Remembering:
    return Remembering(OAKINK)


@pytest.fixture(scope="module")
def plain() -> OakInkReader:
    """The reader as it is, for worker processes."""
    return open_oakink(OAKINK)


def stop_after(count: int, error: BaseException) -> Callable[[int, int], None]:
    def on_progress(done: int, _total: int) -> None:
        if done >= count:
            raise error

    return on_progress


def names(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()}


RECORD = record_type(tuple(arrays_with(["verts", "rotations", "betas", "object_pose"])))
KEPT_FILES = {"x.h5.part-journal", "x.h5.part-images"}


def kept_samples(out: Path) -> int:
    """How many whole records there are in the journal."""
    content = (out.parent / "x.h5.part-journal").read_bytes()
    return (len(content) - content.index(b"\n") - 1) // RECORD.itemsize


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "then"), [(1, 2), (2, 1)])
def test_ctrl_c_keeps_what_was_done_whatever_the_number_of_workers(
    plain: OakInkReader, whole: bytes, out: Path, workers: int, then: int
) -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        write_pack(plain, out, codec=JPEG, workers=workers, on_progress=stop_after(30, KeyboardInterrupt()))
    assert names(out) == KEPT_FILES
    assert not set(multiprocessing.active_children()) - before
    seen: list[int] = []
    write_pack(plain, out, codec=JPEG, workers=then, on_progress=lambda done, total: seen.append(done))
    assert seen == list(range(30, SAMPLES + 1))
    assert out.read_bytes() == whole
    assert names(out) == {"x.h5"}


def test_a_packing_that_did_nothing_leaves_nothing(reader: OakInkReader, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(0, KeyboardInterrupt()))
    assert names(out) == set()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_sample_is_named_and_packing_goes_on_once_it_is_mended(
    whole: bytes, tmp_path: Path, out: Path, workers: int
) -> None:
    tree = Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))
    reader = open_oakink(tree)
    row = 50
    sample_id = reader.split_ids("sp0", "all")[row]
    missing = tree / "image" / "anno" / "hand_v" / f"{sample_id}.pkl"
    target = missing.readlink()
    missing.unlink()
    with pytest.raises(HmrError) as error:
        write_pack(reader, out, codec=JPEG, workers=workers)
    assert str(error.value).startswith(f"sample {sample_id}: cannot read {missing}")
    assert str(error.value).endswith(f" What was packed {KEPT.format(row)}")
    assert names(out) == KEPT_FILES
    missing.symlink_to(target)
    write_pack(reader, out, codec=JPEG)
    assert out.read_bytes() == whole


def cut_record(records: Path, images: Path) -> None:
    os.truncate(records, records.stat().st_size - 1)


def cut_image(records: Path, images: Path) -> None:
    os.truncate(images, images.stat().st_size - 1)


def images_lost(records: Path, images: Path) -> None:
    images.unlink()


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def flip_record(records: Path, images: Path) -> None:
    flip(records, records.stat().st_size - RECORD.itemsize * 20 + 100)


def flip_image(records: Path, images: Path) -> None:
    flip(images, images.stat().st_size // 2)


def zeros(records: Path, images: Path) -> None:
    """As a power cut leaves a file whose length reached the disk before its content."""
    size = records.stat().st_size
    os.truncate(records, size - 10 * RECORD.itemsize)
    os.truncate(records, size)


def more_images(records: Path, images: Path) -> None:
    with images.open("ab") as file:
        file.write(b"an image without a record")


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (cut_record, 39),
        (cut_image, 39),
        (images_lost, 0),
        (flip_record, 20),
        (flip_image, range(1, 39)),
        (zeros, 30),
        (more_images, 40),
    ],
)
def test_only_what_is_whole_and_true_is_gone_on_from(
    reader: OakInkReader, whole: bytes, out: Path, damage: Callable[[Path, Path], None], left: int | range
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(40, KeyboardInterrupt()))
    damage(*(out.with_name(f"x.h5.part-{name}") for name in ("journal", "images")))
    seen: list[int] = []
    write_pack(reader, out, codec=JPEG, on_progress=lambda done, total: seen.append(done))
    assert seen[0] in left if isinstance(left, range) else seen[0] == left
    assert out.read_bytes() == whole


@pytest.mark.parametrize("size", [0, 40])
def test_a_first_line_that_was_cut_begins_anew(reader: OakInkReader, whole: bytes, out: Path, size: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(3, KeyboardInterrupt()))
    os.truncate(out.with_name("x.h5.part-journal"), size)
    write_pack(reader, out, codec=JPEG)
    assert out.read_bytes() == whole


def test_a_damaged_first_line_is_refused(reader: OakInkReader, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(3, KeyboardInterrupt()))
    records = out.with_name("x.h5.part-journal")
    flip(records, 0)
    with pytest.raises(HmrError) as error:
        write_pack(reader, out, codec=JPEG)
    remove = shlex.join(["rm", str(records), str(out.with_name("x.h5.part-images"))])
    assert str(error.value) == f"{records}, which keeps what was packed so far, is damaged. To begin anew: {remove}"
    assert names(out) == KEPT_FILES


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"codec": PNG}, "codec: begun with jpeg:50, now png"),
        ({"margin": 2.0}, f"margin: begun with {DEFAULT_MARGIN}, now 2.0"),
        ({"splits": ["sp0"]}, "splits: begun with sp0, sp1, sp2, sp0-ho, now sp0"),
    ],
)
def test_another_packing_is_refused_and_says_both_ways_out(
    reader: OakInkReader, whole: bytes, out: Path, changed: dict[str, Any], text: str
) -> None:
    options: dict[str, Any] = {"codec": JPEG}
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, **options, on_progress=stop_after(20, KeyboardInterrupt()))
    with pytest.raises(HmrError) as error:
        write_pack(reader, out, **{**options, **changed})
    message = str(error.value)
    assert message.startswith(f"the packing of {out} was begun otherwise ({text}")
    assert not set('{}[]"') & set(message)
    assert "and 20 samples of it are kept. Go on with the options and the data set that it was begun with" in message
    remove = message.split("begin anew: ")[1]
    write_pack(reader, out, **options)  # the one way
    assert out.read_bytes() == whole

    out.unlink()
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, **options, on_progress=stop_after(20, KeyboardInterrupt()))
    subprocess.run(remove, shell=True, check=True)  # the other
    write_pack(reader, out, **{**options, "splits": ["sp0"], "subset": "val", **changed})
    assert names(out) == {"x.h5"}


def test_what_differs_between_packings_is_said_in_words() -> None:
    then = {"release": "1", "arrays": ["joints", "verts"], "digest of the lists": "a", "codec": "png"}
    then |= {"lists": {"sp0": {"val": 2}}, "aliases": {"a": "sp0"}, "codec parameters": [16, 1], "OpenCV": "4.10"}
    now = {**then, "arrays": ["joints"], "digest of the lists": "b", "codec parameters": [16, 2], "aliases": {}}
    del now["OpenCV"]
    assert differences(then, then) == []
    assert differences(then, now) == [
        "arrays: begun with joints, verts, now joints",
        "samples or their order: begun with others",
        "aliases: begun with sp0 (a), now none",
        "codec parameters: begun with 16 1, now 16 2",
        "OpenCV: begun with 4.10, now none",
    ]
    lists = {"sp0": {"train": 3, "val": 2}, "sp1": {"val": 1}}
    assert differences(then, {**then, "lists": lists, "digest of the lists": "b"}) == [
        "splits: begun with sp0, now sp0, sp1",
        "lists of sp0: begun with val (2), now train (3), val (2)",
    ]
    # Of what follows from another difference, nothing is said.
    assert differences(then, {**then, "codec": "webp", "codec parameters": [64, 101]}) == [
        "codec: begun with png, now webp"
    ]


@pytest.mark.parametrize("row", [0, 19])
@pytest.mark.parametrize("what", ["other annotations", "another frame", "another compressed window"])
def test_another_data_set_with_the_same_samples_is_refused(
    reader: OakInkReader, out: Path, tmp_path: Path, row: int, what: str
) -> None:
    """It differs in the first sample that is kept, or in the last."""
    changed = reader.split_ids("sp0", "all")[row]

    class Other(Remembering):
        def read(self, sample_id: str) -> Sample:
            sample = super().read(sample_id)
            if sample_id == changed and what == "other annotations":
                return dataclasses.replace(sample, betas=sample.betas + np.float32(1))
            if sample_id == changed and what == "another frame":
                other = tmp_path / "frame.png"
                other.write_bytes(sample.image_path.read_bytes() + b"more")
                return dataclasses.replace(sample, image_path=other)
            return sample

        def read_image(self, sample: Sample) -> np.ndarray:
            frame = super().read_image(sample)
            return 255 - frame if sample.id == changed and what == "another compressed window" else frame

    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(20, KeyboardInterrupt()))
    with pytest.raises(HmrError) as error:
        write_pack(Other(OAKINK), out, codec=JPEG)
    assert str(error.value).startswith(
        f"sample {changed} has {what} than when it was packed. If it is another data set"
    )
    assert names(out) == KEPT_FILES


def test_files_that_earlier_versions_left_do_not_confuse(reader: OakInkReader, whole: bytes, out: Path) -> None:
    out.parent.mkdir()
    out.with_name("x.h5.part").write_bytes(b"\x89HDF" * 1000)
    out.with_name("x.h5.part-images").write_bytes(b"images" * 1000)
    write_pack(reader, out, codec=JPEG)
    assert out.read_bytes() == whole
    assert names(out) == {"x.h5"}


def test_a_second_packer_is_refused_while_the_first_goes_on(reader: OakInkReader, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(20, KeyboardInterrupt()))
    refused = []

    def again(done: int, _total: int) -> None:
        if done in (20, 60):
            with pytest.raises(HmrError, match=rf"another process is packing {out}\."):
                write_pack(reader, out, codec=JPEG)
            refused.append(done)

    write_pack(reader, out, codec=JPEG, on_progress=again)
    assert refused == [20, 60]
    assert Pack(out).info.samples == SAMPLES


@pytest.fixture
def packer(reader: Remembering, plain: OakInkReader, out: Path) -> Iterator[Callable[..., int]]:
    """Starts a process, the first of its group, that packs, so many seconds for each sample; its id."""
    started: list[int] = []
    append = journal.Journal.append

    def start(seconds: float, workers: int, prepare: Callable[[], None] = lambda: None) -> int:
        def slowly(self: journal.Journal, sample: journal.EncodedSample) -> None:
            time.sleep(seconds)
            append(self, sample)

        process = os.fork()
        if process == 0:
            try:
                os.setsid()
                prepare()
                journal.Journal.append = slowly  # type: ignore[method-assign]
                write_pack(reader if workers == 1 else plain, out, codec=JPEG, workers=workers)
            finally:
                os._exit(0)  # nothing of the tests' process is to be ended by its copy
        started.append(process)
        return process

    yield start
    for process in started:
        kill_group(process)


def kill_group(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        return
    try:
        os.waitpid(process, 0)
    except ChildProcessError:
        return


@pytest.mark.slow
def test_killed_at_ten_moments_it_leaves_the_same_file(
    packer: Callable[..., int], reader: OakInkReader, whole: bytes, out: Path
) -> None:
    generator = np.random.default_rng(0)
    kills = kept = goes_on = 0
    for number in range(10):
        # Two processes take seconds to begin, so most moments are tried with one. Each
        # sample takes long, and little is waited for: the last is far off however late this process gets to it.
        process = packer(0.05, workers=2 if number in (3, 7) else 1)
        begun = time.monotonic()
        wanted = kept + int(generator.integers(0, 6))
        while time.monotonic() - begun < 60 and os.waitpid(process, os.WNOHANG)[0] == 0:
            if out.with_name("x.h5.part-journal").exists() and kept_or_none(out) >= wanted:
                time.sleep(float(generator.uniform(0, 0.02)))  # in the middle of whatever comes next
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                kills += 1
                break
            time.sleep(0.002)
        assert not out.exists()
        goes_on += kept > 0
        before, kept = kept, kept_samples(out)
        assert kept >= before
    assert (kills, goes_on) == (10, 9)
    assert 0 < kept < SAMPLES
    write_pack(reader, out, codec=JPEG)
    assert out.read_bytes() == whole
    assert names(out) == {"x.h5"}


def kept_or_none(out: Path) -> int:
    """As kept_samples, of a journal that may have no first line yet."""
    try:
        return kept_samples(out)
    except (OSError, ValueError):
        return -1


def killed_in(module: Any, name: str, *, after: bool) -> Callable[[], None]:
    """Makes a function kill its process when it is called, or has returned."""

    def prepare() -> None:
        original = getattr(module, name)

        def killing(*args: Any, **options: Any) -> None:
            if after:
                original(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, killing)

    return prepare


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (assemble, "_write_structure", False),
        (assemble, "_write_structure", True),
        (assemble, "_write_records", True),
        (assemble, "_seal", False),
        (assemble, "_seal", True),
        (journal.Journal, "finish", False),
        (Path, "replace", False),
        (Path, "replace", True),
        (journal.Journal, "remove", False),
    ],
)
def test_killed_at_the_end_it_leaves_the_same_file(
    packer: Callable[..., int],
    reader: OakInkReader,
    whole: bytes,
    out: Path,
    module: Any,
    name: str,
    after: bool,
) -> None:
    process = packer(0.0, 1, killed_in(module, name, after=after))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    named = (name, after) in {("replace", True), ("remove", False)}
    assert out.exists() == named
    seen: list[int] = []
    summary = write_pack(reader, out, codec=JPEG, on_progress=lambda done, total: seen.append(done))
    assert seen == ([] if named else [SAMPLES])
    assert (summary.was_finished, summary.size_bytes, summary.samples) == (named, len(whole), SAMPLES)
    assert summary.counts["sp0"]["val"] == 15
    assert out.read_bytes() == whole
    assert names(out) == {"x.h5"}


@pytest.mark.slow
def test_the_command_goes_on_after_it_was_killed(
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    start_hmr: Callable[..., subprocess.Popen[str]],
) -> None:
    arguments = ["pack", "oakink", "--root", str(OAKINK), "--out", str(out)]
    process = start_hmr(*arguments, "--workers", "1", until=lambda: kept_or_none(out) >= 10)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = kept_samples(out)
    assert 10 <= kept < SAMPLES
    assert main(arguments) == 0
    assert f"going on with {out}: {kept} of 96 samples were done before\n" in capsys.readouterr().err
    other = tmp_path / "other.h5"
    write_pack(open_oakink(OAKINK), other, codec=PNG)
    assert out.read_bytes() == other.read_bytes()


def test_ctrl_c_says_what_to_run(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["pack", "oakink", "--root", str(OAKINK), "--out", str(out), "--codec", "jpeg:50"]
    original = journal.Journal.append

    def interrupted(self: journal.Journal, sample: journal.EncodedSample) -> None:
        if self.done == 12:
            raise KeyboardInterrupt
        original(self, sample)

    monkeypatch.setattr(journal.Journal, "append", interrupted)
    assert main(arguments) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-3:] == [
        f"12 of 96 samples are kept beside {out}: to go on, run the same command again",
        "",
        "interrupted",
    ]
    monkeypatch.undo()
    assert main(arguments) == 0
    assert f"going on with {out}: 12 of 96 samples were done before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "name"), [(writer, "_sync_folder"), (journal.Journal, "remove"), (journal, "_remove")]
)
def test_ctrl_c_after_the_file_has_its_name_says_that_it_is_whole(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: Any, name: str
) -> None:
    arguments = ["pack", "oakink", "--root", str(OAKINK), "--out", str(out), "--codec", "jpeg:50"]

    def interrupted(*_arguments: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, interrupted)
    assert main(arguments) == 130
    assert capsys.readouterr().err.splitlines()[-3:] == [f"{out} is whole: packing had finished", "", "interrupted"]
    assert names(out) == {"x.h5"}


def test_an_error_after_the_file_has_its_name_says_that_it_is_whole(
    reader: OakInkReader, whole: bytes, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_arguments: Any) -> None:
        monkeypatch.undo()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer, "_sync_folder", failing)
    with pytest.raises(HmrError) as error:
        write_pack(reader, out, codec=JPEG)
    assert str(error.value) == (
        f"{out} is whole, but what was made beside it could not be cleared away: [Errno 5] Input/output error."
    )
    assert names(out) == KEPT_FILES | {"x.h5"}
    assert main(["pack", "oakink", "--root", str(OAKINK), "--out", str(out), "--codec", "jpeg:50"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"{out} is whole: the packing that was stopped had finished\n"
    assert printed.out.startswith(f"{out}: 96 samples, ")
    assert (out.read_bytes(), names(out)) == (whole, {"x.h5"})
    with pytest.raises(HmrError, match=f"^{out} exists"):
        write_pack(reader, out, codec=JPEG)


def test_a_finished_file_is_not_taken_for_another(reader: OakInkReader, out: Path) -> None:
    out.parent.mkdir()
    write_pack(reader, out, codec=JPEG)
    line = journal.head_line({"pack": "other"})
    out.with_name("x.h5.part-journal").write_bytes(line + out.read_bytes()[:USER_BLOCK_BYTES])
    with pytest.raises(HmrError, match=f"^{out} exists"):
        write_pack(reader, out, codec=JPEG)
    assert names(out) == {"x.h5"}


def test_all_long_phases_are_shown(reader: OakInkReader, out: Path) -> None:
    heard: list[tuple[str, int, int]] = []

    def on_bytes(phase: str, done: int, total: int) -> None:
        heard.append((phase, done, total))

    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(40, KeyboardInterrupt()), on_bytes=on_bytes)
    assert heard == []
    kept = out.with_name("x.h5.part-images").stat().st_size
    write_pack(reader, out, codec=JPEG, on_bytes=on_bytes)
    size = out.stat().st_size
    read = [(done, total) for phase, done, total in heard if phase == "reading back"]
    assert len(read) == 40
    assert (read[-1], read) == ((kept, kept), sorted(read))
    assembled = [(done, total) for phase, done, total in heard if phase == "assembling"]
    assert (assembled[-1], assembled) == ((2 * size, 2 * size), sorted(assembled))
    assert len(heard) == len(read) + len(assembled)


def test_the_journal_of_a_finished_pack_is_known_by_its_header(reader: OakInkReader, out: Path) -> None:
    """Another file of the same name keeps its journal: it is being replaced."""
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=JPEG, on_progress=stop_after(20, KeyboardInterrupt()))
    out.write_bytes(bytes(USER_BLOCK_BYTES))
    with pytest.raises(HmrError, match=f"{out} exists"):
        write_pack(reader, out, codec=JPEG)
    assert names(out) == KEPT_FILES | {"x.h5"}
    write_pack(reader, out, codec=JPEG, force=True)
    assert Pack(out).info.samples == SAMPLES
