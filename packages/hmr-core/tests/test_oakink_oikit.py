"""oikit behind the reader's interface, held by a stand-in package that follows oikit's own."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.cli.main import main
from hmr_core.data.oakink import open_oakink
from hmr_core.data.oakink.oikit_reader import MODULES, OikitReader, open_with_oikit
from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins.sample import DatasetReader

SAMPLE = "A01001_0001_0000__2021-09-26-19-59-58__0__12__0"
INSTALL = (
    "oikit is not on PyPI: git clone https://github.com/oakink/OakInk, then pip install ./OakInk, which asks for "
    "pytorch3d, trimesh and imageio."
)
OTHERWISE = "Or leave reader out: hmr's own reader needs nothing, and the pack is the same."

# What oikit's methods take and give: arrays as they were pickled, float32 poses of angles up to 2 pi with the wrist in
# camera space, RGB frames; it reads the root and every mesh of image/obj when a list is opened.
STAND_IN = """
import json, os, pickle
import cv2, numpy as np, torch

LISTS = {
    "train": "split_train_val/{}/example_split_train.json",
    "val": "split_train_val/{}/example_split_val.json",
    "train+val": "split/{}/seq_train.json",
    "test": "split/{}/seq_test.json",
}
FOLDERS = {"default": "split0", "subject": "split1", "object": "split2", "handobject": "split0_ho"}
VIEWS = ("north_east", "south_east", "north_west", "south_west")


def to_axis_angle(quaternion):
    w, v = quaternion[..., :1], quaternion[..., 1:]
    length = v.norm(dim=-1, keepdim=True)
    return 2 * torch.atan2(length, w) * v / length.clamp(min=1e-12)


def times(a, b):
    w = a[0] * b[0] - a[1:] @ b[1:]
    return torch.cat([w[None], a[0] * b[1:] + b[0] * a[1:] + torch.linalg.cross(a[1:], b[1:])])


def of_matrix(m):
    values, vectors = torch.linalg.eigh(torch.stack([
        torch.stack([m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]]),
        torch.stack([m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]]),
        torch.stack([m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]]),
        torch.stack([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]]),
    ]))
    return vectors[:, -1].roll(1)


class OakInkImage:
    def __init__(self, data_split="all", mode_split="default", enable_handover=False):
        assert "OAKINK_DIR" in os.environ, "environment variable 'OAKINK_DIR' is not set"
        self.image = os.path.join(os.environ["OAKINK_DIR"], "image")
        name = "seq_all.json" if data_split == "all" else LISTS[data_split].format(FOLDERS[mode_split])
        self.info_list = self.json(name)
        self.info_str_list = ["__".join(map(str, info)).replace("/", "__") for info in self.info_list]
        self.seq_status = self.json("seq_status.json")
        self.obj_mapping = {os.path.splitext(name)[0]: name for name in os.listdir(os.path.join(self.image, "obj"))}

    def json(self, name):
        with open(os.path.join(self.image, "anno", name)) as file:
            return json.load(file)

    def anno(self, kind, i):
        with open(os.path.join(self.image, "anno", kind, self.info_str_list[i] + ".pkl"), "rb") as file:
            return pickle.load(file)

    def __len__(self):
        return len(self.info_list)

    def get_image_path(self, i):
        sequence, _, frame, view = self.info_list[i]
        return os.path.join(self.image, "stream_release_v2", sequence, f"{VIEWS[view]}_color_{frame}.png")

    def get_image(self, i):
        return cv2.imread(self.get_image_path(i))[..., ::-1].copy()

    def get_cam_intr(self, i):
        return self.anno("cam_intr", i)

    def get_joints_3d(self, i):
        return self.anno("hand_j", i)

    def get_verts_3d(self, i):
        return self.anno("hand_v", i)

    def get_obj_transf(self, i):
        return self.anno("obj_transf", i).astype(np.float32)

    def get_mano_shape(self, i):
        return self.anno("general_info", i)["hand_anno"]["hand_shape"].numpy().astype(np.float32)

    def get_mano_pose(self, i):
        info = self.anno("general_info", i)
        pose = info["hand_anno"]["hand_pose"].reshape(16, 4).clone()
        pose[0] = times(of_matrix(info["cam_extr"][:3, :3]), pose[0])
        return to_axis_angle(pose).numpy().astype(np.float32)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a stand-in of oikit, with some of its text replaced, where it can be imported from."""
    monkeypatch.delenv("OAKINK_DIR", raising=False)

    def write(*changes: tuple[str, str], package: str = "from .oi_image import OakInkImage") -> None:
        code = STAND_IN
        for old, new in changes:
            assert old in code
            code = code.replace(old, new)
        folder = tmp_path / "site/oikit/oi_image"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(package)
        (folder / "oi_image.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "oikit"]:
        del sys.modules[name]


@pytest.fixture
def tree(mini_tree: Path, tmp_path: Path) -> Path:
    """A copy of the data set, of links, in which a test may replace files."""
    return Path(shutil.copytree(mini_tree, tmp_path / "OakInk", copy_function=os.symlink))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_packs_are_the_same_byte_for_byte(
    install: Callable[..., None], mini_tree: Path, mini_pack_path: Path, tmp_path: Path, workers: str
) -> None:
    install()
    out = tmp_path / "oikit.h5"
    given = ["--root", str(mini_tree.parent), "--out", str(out), "--workers", workers]
    assert main(["pack", "oakink", *given, "--reader", "oikit"]) == 0
    assert out.read_bytes() == mini_pack_path.read_bytes()
    assert "OAKINK_DIR" not in os.environ  # it is told the root, and the environment is left as it was


def test_oikit_is_what_was_asked(install: Callable[..., None], mini_tree: Path) -> None:
    """A figure that only the stand-in gives reaches the sample: the annotations are not quietly our own reader's."""
    install(
        ('return self.anno("hand_j", i)', 'return self.anno("hand_j", i).astype(np.float64) + 1'),
    )
    reader, own = open_with_oikit(mini_tree), open_oakink(mini_tree)
    assert isinstance(reader, DatasetReader)
    found, expected = reader.read(SAMPLE), own.read(SAMPLE)
    np.testing.assert_array_equal(found.joints, (expected.joints.astype(np.float64) + 1).astype(np.float32))
    assert found.joints.dtype == np.float32
    assert (found.side, found.frame_size) == (expected.side, expected.frame_size)
    assert found.image_path == expected.image_path
    np.testing.assert_array_equal(reader.read_image(found), own.read_image(expected))


def test_its_poses_are_in_another_range_and_rounded_otherwise(install: Callable[..., None], mini_tree: Path) -> None:
    """The stand-in's poses are no copies of ours, as the real ones are not; the sample's are ours all the same."""
    install()
    reader, own = open_with_oikit(mini_tree), open_oakink(mini_tree)
    images = reader._images()
    apart = [
        float(np.abs(images.get_mano_pose(i) - own.read(name).rotations).max())
        for i, name in enumerate(images.info_str_list[:20])
    ]
    assert max(apart) > 0
    for name in images.info_str_list[:20]:
        np.testing.assert_array_equal(reader.read(name).rotations, own.read(name).rotations)


def test_a_pose_that_means_something_else_is_seen(install: Callable[..., None], mini_tree: Path) -> None:
    install(("pose[0] = times(of_matrix(info", "unused = times(of_matrix(info"))
    with pytest.raises(HmrError) as error:
        open_with_oikit(mini_tree).read(SAMPLE)
    shown = str(error.value)
    assert shown.startswith(f"sample {SAMPLE}: oikit's get_mano_pose and hmr's own reader disagree: entries of their")
    assert shown.endswith(f"The installed oikit means something else by a pose. {INSTALL} {OTHERWISE}")


def test_the_root_reaches_it_and_the_environment_s_comes_back(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    install()
    monkeypatch.setenv("OAKINK_DIR", "/somewhere/else")
    path = open_with_oikit(tree.parent).read(SAMPLE).image_path
    assert path.is_relative_to(tree)
    assert os.environ["OAKINK_DIR"] == "/somewhere/else"


def test_lists(install: Callable[..., None], mini_tree: Path) -> None:
    install()
    reader, own = open_with_oikit(mini_tree), open_oakink(mini_tree)
    assert reader.splits() == own.splits()
    for split, subsets in own.splits().items():
        for subset in subsets:
            assert reader.split_ids(split, subset) == own.split_ids(split, subset)
    with pytest.raises(UsageError, match='has no subset "tets" of sp0'):
        reader.split_ids("sp0", "tets")


def test_a_copy_for_a_worker_is_small_and_works(install: Callable[..., None], mini_tree: Path) -> None:
    install()
    reader = open_with_oikit(mini_tree)
    reader.split_ids("sp0", "test")
    data = pickle.dumps(reader)
    assert len(data) < 500
    assert pickle.loads(data).read(SAMPLE).id == SAMPLE


def test_its_class_may_be_a_module_deeper(install: Callable[..., None], mini_tree: Path) -> None:
    install(package="")
    assert MODULES == ("oikit.oi_image", "oikit.oi_image.oi_image")
    assert open_with_oikit(mini_tree).read(SAMPLE).id == SAMPLE


def test_where_it_is_not_installed(mini_tree: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hmr_core", "pack", "oakink", "--root", str(mini_tree), "--reader", "oikit"]
    done = subprocess.run([*command, "--out", str(tmp_path / "x.h5")], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: oikit cannot be imported here (ModuleNotFoundError: No module named 'oikit'). "
        f"{INSTALL} {OTHERWISE.replace('reader', '--reader', 1)}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_where_what_it_needs_does_not_work(install: Callable[..., None], mini_tree: Path) -> None:
    install(("import cv2,", "raise TypeError('pytorch3d does not know this torch')\nimport cv2,"))
    with pytest.raises(HmrError, match=r"imported here \(TypeError: pytorch3d does not know this torch\)\. oikit is"):
        open_with_oikit(mini_tree)


def test_a_version_without_a_method(install: Callable[..., None], mini_tree: Path) -> None:
    install(("def get_mano_shape", "def get_shape"), ("def get_image_path", "def image_path"))
    with pytest.raises(HmrError) as error:
        open_with_oikit(mini_tree)
    assert str(error.value) == (
        f"the installed oikit's OakInkImage has no get_image_path, get_mano_shape. {INSTALL} {OTHERWISE}"
    )


def test_a_version_that_knows_no_lists(install: Callable[..., None], mini_tree: Path) -> None:
    install(('if data_split == "all" else', "if True else"))
    reader = open_with_oikit(mini_tree)
    with pytest.raises(HmrError, match="oikit gives every sample as subset test of sp0: it is a version that does not"):
        reader.split_ids("sp0", "test")


def test_what_it_cannot_open(install: Callable[..., None], tree: Path) -> None:
    install()
    shutil.rmtree(tree / "image/obj")
    with pytest.raises(HmrError) as error:
        open_with_oikit(tree).split_ids("sp0", "test")
    shown = str(error.value)
    assert shown.startswith(f"oikit could not open all of default in {tree} (FileNotFoundError: ")
    assert shown.endswith(f"It needs image/anno/seq_all.json and every mesh of image/obj, too. {OTHERWISE}")


def edit(tree: Path, kind: str, content: bytes) -> Path:
    path = tree / f"image/anno/{kind}/{SAMPLE}.pkl"
    path.unlink()
    path.write_bytes(content)
    return path


def test_wrong_annotations_name_sample_and_file(install: Callable[..., None], tree: Path) -> None:
    install()
    reader = open_with_oikit(tree)
    path = edit(tree, "hand_j", pickle.dumps(np.zeros((20, 3))))
    with pytest.raises(HmrError) as error:
        reader.read(SAMPLE)
    shown = f"sample {SAMPLE}: {path}: oikit's get_joints_3d has shape (20, 3), not (21, 3)"
    assert str(error.value).startswith(shown)
    path.unlink()
    with pytest.raises(
        HmrError, match=rf"^sample {SAMPLE}: oikit's get_joints_3d failed \(FileNotFoundError: .*hand_j"
    ):
        reader.read(SAMPLE)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("np.zeros((2, 2, 3), np.uint8)", "oikit's get_image gave uint8 (2, 2, 3), not uint8 (480, 848, 3). Use the"),
        ("1 / 0", "oikit's get_image failed (ZeroDivisionError: division by zero)."),
    ],
)
def test_wrong_images_name_the_sample(install: Callable[..., None], mini_tree: Path, change: str, text: str) -> None:
    install(("return cv2.imread(self.get_image_path(i))[..., ::-1].copy()", f"return {change}"))
    reader = open_with_oikit(mini_tree)
    sample = reader.read(SAMPLE)
    with pytest.raises(HmrError) as error:
        reader.read_image(sample)
    assert str(error.value).startswith(f"sample {SAMPLE}: {text}")


def test_samples_that_are_not_there(install: Callable[..., None], tree: Path) -> None:
    install()
    reader: Any = OikitReader(tree)
    gone = SAMPLE.replace("__12__", "__13__")
    with pytest.raises(HmrError, match=f"^sample {gone} is not in oikit's list of all samples"):
        reader.read(gone)
    with pytest.raises(HmrError, match='"a" is not the id'):
        reader.read("a")


def test_help_offers_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "oakink", "--help"]) == 0
    assert "--reader [own|oikit]" in capsys.readouterr().out
