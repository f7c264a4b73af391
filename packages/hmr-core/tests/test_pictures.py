"""Pictures in files, whatever the files are called."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from hmr_core.errors import HmrError
from hmr_core.pictures import encode, read_picture, write_png

ROOT = Path(__file__).parents[3]
IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_a_picture_is_written_in_rgb_and_read_back(tmp_path: Path) -> None:
    write_png(tmp_path / "new" / "a.png", IMAGE)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new/a.png"))[..., ::-1], IMAGE)
    np.testing.assert_array_equal(read_picture(tmp_path / "new/a.png"), IMAGE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("name", ["b\u00fc", "b\udcfc"])  # the second is no UTF-8
def test_a_path_of_any_letters(name: str, locale: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    try:
        folder.mkdir()
    except OSError:
        assert sys.platform == "darwin"  # whose file systems take UTF-8 alone
        return
    code = (
        "import sys; from pathlib import Path; from hmr_core.pictures import read_picture, write_png;"
        "a, b = map(Path, sys.argv[1:]); write_png(b, read_picture(a))"
    )
    (folder / "a.png").write_bytes(encode(".png", IMAGE))
    environ = {**os.environ, "LC_ALL": locale}
    subprocess.run([sys.executable, "-c", code, folder / "a.png", folder / "b.png"], env=environ, check=True)
    np.testing.assert_array_equal(read_picture(folder / "b.png"), IMAGE)


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"GIF")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("file", "file is not a readable picture"),
        ("none", "none cannot be read: No such file or directory"),
        ("pipe", "pipe cannot be read: it is a pipe, not a file"),
    ):
        with pytest.raises(HmrError, match=reason):
            read_picture(tmp_path / name)
    with pytest.raises(HmrError, match=r"file.b\.png cannot be written"):
        write_png(tmp_path / "file" / "b.png", IMAGE)


def test_opencv_opens_no_files() -> None:
    """It dies of a path that is not UTF-8, and under the C locale of any that is not ASCII."""
    openers = ("imread", "imwrite", "imreadmulti", "imwritemulti", "VideoCapture", "VideoWriter")
    # Videos have no other reader and writer; these two pass names that OpenCV takes, and have tests of others.
    videos = {"VideoCapture": "inference/video/frames.py", "VideoWriter": "inference/video/overlay.py"}
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in (*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("tools/**/*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in openers
        if not file.as_posix().endswith(videos.get(node.attr, "nowhere"))
    ]
    assert not found, f"read and write pictures by hmr_core.pictures: {', '.join(found)}"
