"""`hmr pack` as its user sees it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import h5py
import pytest

from hmr_core.cli.main import main
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.reader import Pack

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "sp0.h5"
    options = ["--split", "sp0", "--subset", "val", "--codec", "jpeg:50"]
    assert main(["pack", "oakink", "--root", str(OAKINK), "--out", str(path), *options]) == 0
    return path


def test_packing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "all.h5"
    assert main(["pack", "oakink", "--root", str(OAKINK), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"{out}: 96 samples, ")
    assert lines[-1].startswith(f"next: hmr train MODEL --split sp0 --data {out} ")
    assert [line.split() for line in lines[1:-1]] == [
        ["train", "val", "train+val", "test", "all"],
        ["sp0", "57", "15", "72", "24", "96"],
        ["sp1", "38", "10", "48", "48", "96"],
        ["sp2", "38", "10", "48", "48", "96"],
        ["sp0-ho", "28", "8", "36", "12", "96"],
    ]
    assert "96/96 samples" in printed.err
    assert Pack(out).info.codec == "png"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--split", "sp1", "--subset", "train+val"], "hmr train MODEL --split sp1 --data OUT"),
        (["--split", "sp0", "--subset", "train"], "hmr train MODEL --split sp0 --subset train --data OUT"),
        (["--split", "sp2", "--subset", "test"], "hmr eval MODEL --ckpt RUN --split sp2 --data OUT"),
        (["--split", "sp0", "--subset", "val"], "hmr eval MODEL --ckpt RUN --split sp0 --subset val --data OUT"),
    ],
)
def test_what_is_told_to_do_next_can_be_done(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "part.h5"
    assert main(["pack", "oakink", "--root", str(OAKINK), "--out", str(out), "--codec", "jpeg:50", *options]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: {told.replace('OUT', str(out))}   (hmr models lists them)"


def test_lists_that_the_data_set_lacks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))
    shutil.rmtree(tree / "image" / "anno" / "split" / "split1")
    arguments = ["pack", "oakink", "--root", str(tree), "--codec", "jpeg:50", "--out"]
    assert main([*arguments, str(tmp_path / "all.h5")]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [f"note: {tree} has no list of train+val, test of sp1"]
    assert main([*arguments, str(tmp_path / "train.h5"), "--subset", "val"]) == 0
    assert "note: " not in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "test.h5"), "--split", "sp1", "--subset", "test"]) == 1
    said = capsys.readouterr().err
    assert 'has no subset "test" of sp1. It has: train, val, all. The reason: cannot read ' in said
    assert "split/split1/seq_test.json: No such file or directory. Unpack the release's annotations again." in said


def test_a_subset_is_given_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "part.h5"
    both = ["--subset", "test", "--subset", "val"]
    assert main(["pack", "oakink", "--root", str(OAKINK), "--out", str(out), "--split", "sp0", *both]) == 2
    assert "error: --subset is given 2 times (test, val); valid: once, or not at all for every subset." in (
        capsys.readouterr().err
    )
    assert not out.exists()


def test_an_existing_file_needs_force(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pack", "oakink", "--root", str(OAKINK), "--out", str(file), "--subset", "val", "--split", "sp0"]
    before = file.read_bytes()
    assert main(arguments) == 1
    assert f"error: {file} exists. Give another --out, or --force to replace it." in capsys.readouterr().err
    assert file.read_bytes() == before
    assert main([*arguments, "--codec", "jpeg:50", "--force"]) == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["nosuch"], 2, "oakink"),
        (["oakinc"], 2, 'Did you mean "oakink"?'),
        (["verfy"], 2, 'unknown data set or command "verfy". Did you mean "verify"?'),
        (["oakink"], 2, "Missing option '--root'"),
        (["oakink", "--root", "none"], 1, "none is not a tree of OakInk-Image v2.1: there is no such folder."),
        (["oakink", "--root", str(OAKINK), "--split", "sp7"], 2, 'has no split "sp7".'),
        (["oakink", "--root", str(OAKINK), "--subset", "tets"], 2, 'Did you mean "test"?'),
        (["oakink", "--root", str(OAKINK), "--codec", "jpg"], 2, 'unknown codec "jpg". Did you mean "jpeg"?'),
        (["oakink", "--root", str(OAKINK), "--margin", "0.1"], 2, "margin 0.1: "),
        (["oakink", "--root", str(OAKINK), "--workers", "0"], 2, "0 is not in the range 1<=x<=1024."),
        (["oakink", "--root", str(OAKINK), "--workers", "99999"], 2, "99999 is not in the range 1<=x<=1024."),
        (["info", "none.h5"], 1, "there is no data file none.h5. Make one: `hmr pack NAME"),
    ],
)
def test_misuse(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pack", *arguments]) == status
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_failing_sample_keeps_what_was_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))
    path = tree / "image/anno/hand_j/C12001_0001_0007__2021-10-04-15-20-09__0__19__1.pkl"
    path.unlink()
    path.write_bytes(b"cos\nsystem\n(S'touch trace'\ntR.")
    out = tmp_path / "out" / "x.h5"
    assert main(["pack", "oakink", "--root", str(tree), "--out", str(out)]) == 1
    expected = f'error: sample {path.stem}: {path} is a pickle that names "os.system", which is not on the list'
    printed = capsys.readouterr().err
    assert expected in printed
    kept = open_oakink(tree).split_ids("sp0", "all").index(path.stem)
    text = f"What was packed is kept ({kept} of 96 samples): the same command goes on from there.\n"
    assert printed.endswith(text)
    assert {path.name for path in out.parent.iterdir()} == {"x.h5.part-journal", "x.h5.part-images"}


def test_verify(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "verify", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: whole; every checksum is right\n"
    damaged = Path(shutil.copy(file, tmp_path / "damaged.h5"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1  # the last image's last byte
    damaged.write_bytes(content)
    assert main(["pack", "verify", str(damaged)]) == 1
    printed = capsys.readouterr()
    assert f"sample {Pack(file).ids([14])[0]} (row 14): its image is damaged" in printed.out
    told = f"error: {damaged}: 3 problems. Copy it again from its source, or pack the data set again.\n"
    assert printed.err.endswith(told)


def test_verify_of_what_is_no_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, folder, text, other = (tmp_path / name for name in ("none.h5", "folder", "text", "other.h5"))
    folder.mkdir()
    text.write_text("text")
    with h5py.File(other, "w") as made:
        made["joints"] = [0.0]
    made_by = "it does not begin with the header of hmr-pack/1. Data files are made by: `hmr pack NAME"
    for path, told in (
        (missing, f"there is no data file {missing}. Make one: `hmr pack NAME --root FOLDER --out {missing}` ("),
        (folder, f"{folder} is a folder, not a pack. If it is a data set, pack it: `hmr pack NAME --root {folder} "),
        (text, f"{text} is not a pack: {made_by}"),
        (other, f"{other} is an HDF5 file, but not a pack: {made_by}"),
    ):
        assert main(["pack", "verify", str(path)]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"error: {told}")
        assert len(printed.err.splitlines()) == 1
        assert "Copy it again" not in printed.err


def test_info(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "info", str(file)]) == 0
    text = capsys.readouterr().out
    assert "has      joints, verts, intrinsics, rotations, betas, object_pose, side" in text
    for line in (
        "format   hmr-pack/1, written by hmr-core",
        "codec    jpeg:50 (lossy)",
        "samples  15",
        "frames   848x480 pixels",
    ):
        assert line in text
    assert f", OpenCV {cv2.__version__}, h5py {h5py.__version__} (HDF5 " in text
    source = Pack(file).info.source
    assert [line.split() for line in text.splitlines()[-6:]] == [
        ["sp0", "15"],
        [],
        ["source", "checksums", "(BLAKE2b;", "whole", "with", "--json):"],
        ["the", "frames'", "files", source["frames"][:16]],
        ["the", "annotations", "and", "windows", source["annotations"][:16]],
        ["the", "list", "sp0/val", source["sp0/val"][:16]],
    ]
    assert main(["pack", "info", "--json", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"sp0": {"val": 15}}
    assert (found["frames"], found["left_hands"]) == ([{"width": 848, "height": 480, "samples": 15}], 0)
    assert found["size_bytes"] == file.stat().st_size
    assert found["source"] == source
    assert found["versions"].keys() == {"opencv", "h5py"}


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "--help"]) == 0
    text = capsys.readouterr().out
    assert "hmr pack oakink --root OakInk" in text
    assert [line.split()[0] for line in text.splitlines()[-4:] if line.strip()][-1] == "verify"
    assert main(["pack", "oakink", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--codec png|webp|raw|jpeg[:QUALITY]" in text
    assert "the same command goes on from there" in " ".join(text.split())
    assert "byte for byte" in " ".join(text.split())
