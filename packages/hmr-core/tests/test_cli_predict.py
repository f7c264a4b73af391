"""`hmr predict`, as a user runs it: a small model, made-up photos."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hmr_core.geometry.camera import project
from hmr_core.inference.photo import Photo, read_photo
from hmr_core.inference.photos import stems
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import save_checkpoint

Run = Callable[[str], tuple[int, str, str]]
PREDICT = "predict small --ckpt run --device cpu"
KEYS = ["side", "score", "box", "joints", "joints_px", "rotations", "betas", "confidence", "intrinsics"]
KEYS += ["intrinsics_from", "depth_from", "remarks", "mesh"]


@pytest.fixture
def hmr(
    small_spec: ModelSpec,
    fakes: Any,
    monkeypatch: pytest.MonkeyPatch,
    command_line: Any,
) -> Run:
    """Runs a command line in a folder with a checkpoint and some photos: (status, stdout, stderr)."""
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    torch.manual_seed(1)
    recipe = load_recipe(small_spec, "tiny")
    model = small_spec.build(recipe.model)
    save_checkpoint(Path("run"), model, None, CheckpointRecord(model="small", recipe=recipe.model_dump(mode="json")))
    generator = np.random.default_rng(0)
    Path("photos").mkdir()
    for name in ("a.png", "b.jpg", "photos/a.jpg", "photos/c.PNG"):
        cv2.imwrite(name, generator.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    Path("photos/notes.txt").write_text("no photo")
    Path("bad.jpg").write_bytes(b"\xff\xd8\xff and no more")
    Path("film.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    command_line.plugins.append(fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return lambda line: command_line(*shlex.split(line))


def record(folder: str = "hands") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "hands.json").read_text())
    return content


def test_a_photo_leaves_its_hands_their_meshes_and_a_picture(hmr: Run) -> None:
    status, out, err = hmr(f"{PREDICT} a.png --box 30,20,60,70 --box 80,40,50,50 --side right --side left --fov 50")
    assert status == 0, err
    assert sorted(path.name for path in Path("hands").iterdir()) == ["a-1.obj", "a-2.obj", "a.png", "hands.json"]
    made = record()
    assert (made["format"], made["model"], made["solver"]["name"]) == ("hmr-hands/1", "small", "lm")
    assert made["hand_model"]["synthetic"]
    assert made["started"]["command"].startswith("hmr predict small")
    (photo,) = made["photos"]
    hands = photo.pop("hands")
    assert photo == {"file": "a.png", "width": 160, "height": 120, "overlay": "a.png"}
    assert [list(hand) for hand in hands] == [KEYS, KEYS]
    assert [(hand["side"], hand["mesh"]) for hand in hands] == [("right", "a-1.obj"), ("left", "a-2.obj")]
    assert hands[0]["box"] == [30, 20, 60, 70]
    assert (hands[0]["score"], hands[0]["confidence"]) == (1, None)
    assert (hands[0]["intrinsics_from"], hands[0]["depth_from"]) == ("given", "hand size")
    shapes = [np.shape(hands[0][name]) for name in ("joints", "joints_px", "rotations", "betas", "intrinsics")]
    assert shapes == [(21, 3), (21, 2), (16, 3), (10,), (3, 3)]
    joints, camera = (torch.tensor(hands[1][name], dtype=torch.float64) for name in ("joints", "intrinsics"))
    np.testing.assert_allclose(project(joints, camera), hands[1]["joints_px"], atol=0.05)
    verts = np.array([line.split()[1:] for line in Path("hands/a-2.obj").read_text().splitlines() if line[0] == "v"])
    assert np.abs(verts.astype(float).mean(0) - joints.numpy().mean(0)).max() < 0.1
    overlay, original = cv2.imread("hands/a.png"), cv2.imread("a.png")
    assert overlay is not None
    assert original is not None
    assert overlay.shape == original.shape
    assert (overlay != original).any()
    assert "a.png: left hand, " in out
    assert "hand model: the synthetic right hand" in out


def test_folders_other_formats_and_names_that_clash(hmr: Run) -> None:
    status, _, err = hmr(f"{PREDICT} a.png photos --mesh glb --out made --solver none")
    assert status == 0, err
    assert "note: neither --box nor --detector: each photo is taken for one right hand that fills it" in err
    photos = record("made")["photos"]
    assert [(photo["file"], photo["overlay"]) for photo in photos] == [
        ("a.png", "a.png"),
        ("photos/a.jpg", "a_2.png"),
        ("photos/c.PNG", "c.png"),
    ]
    assert [photo["hands"][0]["mesh"] for photo in photos] == [None] * 3  # no solver, no mesh
    assert photos[0]["hands"][0]["box"] == [0, 0, 160, 120]
    assert photos[0]["hands"][0]["rotations"] is None
    assert hmr(f"{PREDICT} a.png photos --mesh glb --out made")[0] == 0  # takes the place of its own folder
    assert [photo["hands"][0]["mesh"] for photo in record("made")["photos"]] == ["a-1.glb", "a_2-1.glb", "c-1.glb"]
    assert (Path("made") / "a_2-1.glb").read_bytes()[:4] == b"glTF"


def test_one_bad_file_does_not_cost_the_others(hmr: Run) -> None:
    status, out, err = hmr(f"{PREDICT} bad.jpg a.png film.mp4 --box 30,20,60,70 b.jpg gone.png --json")
    assert status == 1
    made = record()
    assert json.loads(out) == made
    assert [("error" in photo, len(photo["hands"])) for photo in made["photos"]] == [
        (True, 0),
        (False, 1),
        (True, 0),
        (False, 1),
        (True, 0),
    ]
    assert "gone.png cannot be read: No such file" in made["photos"][4]["error"]
    assert "bad.jpg is not a photo that can be read: it is damaged" in made["photos"][0]["error"]
    assert "it is a video. Predict videos by themselves" in made["photos"][2]["error"]
    assert made["photos"][0]["file"] == "bad.jpg"
    assert err.count("error: ") == 3
    assert sorted(path.name for path in Path("hands").iterdir()) == [
        "a-1.obj",
        "a.png",
        "b-1.obj",
        "b.png",
        "hands.json",
    ]


def test_a_box_outside_of_one_photo_is_told_with_its_name_and_size(hmr: Run) -> None:
    cv2.imwrite("small.png", np.zeros((40, 40, 3), np.uint8))
    status, _, err = hmr(f"{PREDICT} a.png small.png --box 60,60,50,50")
    assert status == 1
    assert "error: small.png: the box 60,60,50,50 (x, y, width, height) lies outside: the picture is 40x40" in err
    assert record()["photos"][1] | {"error": ""} == {
        "file": "small.png",
        "width": 40,
        "height": 40,
        "hands": [],
        "error": "",
    }


def test_when_no_photo_can_be_predicted_nothing_is_written(hmr: Run) -> None:
    status, _, err = hmr(f"{PREDICT} bad.jpg film.mp4")
    assert (status, Path("hands").exists()) == (1, False)
    assert "error: bad.jpg is not a photo" in err
    status, _, err = hmr(f"{PREDICT} a.png --box 10,10,0,20")
    assert (status, Path("hands").exists()) == (2, False)
    assert "error: a.png: the box 10,10,0,20 has no area" in err
    assert "the picture is 160x120 pixels" in err


def test_what_is_not_predictions_is_left_alone(hmr: Run) -> None:
    assert hmr(f"{PREDICT} a.png")[0] == 0
    Path("hands/mine.txt").write_text("notes")
    status, _, err = hmr(f"{PREDICT} b.jpg")
    assert status == 1
    assert "hands holds something other than predictions (mine.txt), so it is left alone. Choose another --out." in err
    assert Path("hands/a-1.obj").exists()
    Path("hands/mine.txt").unlink()
    assert hmr(f"{PREDICT} b.jpg")[0] == 0
    assert sorted(path.name for path in Path("hands").iterdir()) == ["b-1.obj", "b.png", "hands.json"]
    Path("photos/hands.json").write_text('{"format": "another"}')
    assert hmr(f"{PREDICT} b.jpg --out photos")[0] == 1
    assert Path("photos/a.jpg").exists()


def test_left_hands_of_mirrored_photos_are_mirrored(hmr: Run) -> None:
    image = cv2.imread("a.png")
    assert image is not None
    cv2.imwrite("mirrored.png", image[:, ::-1])
    assert hmr(f"{PREDICT} a.png --box 30,20,60,70 --out right")[0] == 0
    assert hmr(f"{PREDICT} mirrored.png --box 70,20,60,70 --side left --out left")[0] == 0
    right, left = (record(side)["photos"][0]["hands"][0] for side in ("right", "left"))
    np.testing.assert_allclose(np.array(left["joints"]) * [-1, 1, 1], right["joints"], atol=1e-4)
    np.testing.assert_allclose(np.array(left["rotations"]) * [1, -1, -1], right["rotations"], atol=1e-3)


def test_names_of_results_are_never_the_same() -> None:
    photos = [Path(name) for name in ("a.jpg", "A.png", "x/a.jpg", "a_2.jpg", "b.tar.png")]
    made = stems(photos)
    assert made == ["a", "A_2", "a_3", "a_2_2", "b.tar"]
    assert len({name.lower() for name in made}) == len(made)


def test_a_folder_that_cannot_be_written_is_told_and_files_are_whole(hmr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    with monkeypatch.context() as patched:
        patched.setattr("hmr_core.inference.load.load_model", lambda *given, **named: pytest.fail("it was loaded"))
        status, _, err = hmr(f"{PREDICT} a.png --out file/hands")
    assert status == 1
    assert "file/hands cannot be written" in err

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    import hmr_core.viz.hands

    monkeypatch.setattr(sys.modules[hmr_core.viz.hands.__name__], "draw_hands", interrupted)
    assert hmr(f"{PREDICT} a.png")[0] == 130
    assert not [path for path in Path().iterdir() if "hands" in path.name]


def test_a_long_name_costs_no_other_photo(hmr: Run) -> None:
    for name in ("x" * 251, "x" * 250 + "y", "é" * 120):
        Path(f"{name}.png").write_bytes(Path("a.png").read_bytes())
    names = " ".join(f"{path}" for path in sorted(Path().glob("*.png")))
    status, _, err = hmr(f"{PREDICT} {names}")
    assert status == 0, err
    pictures = sorted(path.stem for path in Path("hands").glob("*.png"))
    assert pictures == ["a", "x" * 200, "x" * 200 + "_2", "é" * 100]


def test_the_folder_in_which_hmr_runs_is_not_replaced(hmr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    status, out, err = hmr(f"{PREDICT.replace('run', '../run')} ../a.png --out . --json")
    assert (status, out) == (1, "")
    assert "empty cannot be written: this process works in it. Choose another" in err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("line", ["predict small --ckpt run LONG", "predict small --ckpt LONG a.png"])
def test_a_name_that_no_file_can_have_is_told(line: str, hmr: Run) -> None:
    status, _, err = hmr(line.replace("LONG", "x" * 300))
    assert status == 1
    assert "error: no such " in err


def test_a_photo_that_is_too_large_costs_no_other(hmr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> Photo:
        if path.name == "b.jpg":
            raise MemoryError
        return read_photo(path)

    monkeypatch.setattr("hmr_core.inference.photos.read_photo", read)
    status, _, err = hmr(f"{PREDICT} b.jpg a.png")
    assert status == 1
    assert "error: the photo b.jpg is too large for this machine's memory" in err
    assert Path("hands/a.png").exists()


def test_without_pictures_and_meshes_the_record_is_all_there_is(hmr: Run) -> None:
    status, out, err = hmr(f"{PREDICT} a.png photos --box whole --mesh none --no-pictures")
    assert status == 0, err
    assert "written: hands/ with hands.json\n" in out
    assert [path.name for path in Path("hands").iterdir()] == ["hands.json"]
    assert [(photo["overlay"], photo["hands"][0]["mesh"]) for photo in record()["photos"]] == [(None, None)] * 3
    assert hmr(f"{PREDICT} a.png --box whole")[0] == 0  # the folder is known for one of predictions
    assert sorted(path.name for path in Path("hands").iterdir()) == ["a-1.obj", "a.png", "hands.json"]


def test_a_predictor_is_told_from_a_model(hmr: Run) -> None:
    status, _, err = hmr("predict mediapipe a.png --ckpt run")
    assert status == 2
    assert '--ckpt is for models: the predictor "mediapipe" finds hands and makes their meshes by itself.' in err
    status, _, err = hmr("predict mediapipe a.png")
    assert status == 2
    assert 'predictor "mediapipe" is not installed: pip install hmr-mediapipe' in err
    status, _, err = hmr("predict small a.png")
    assert status == 2
    assert 'the model "small" needs its weights: --ckpt FILE' in err
    status, _, err = hmr(f"{PREDICT} a.png --set palm=0.3")
    assert status == 2
    assert "--set is for predictors" in err
    status, _, err = hmr(f"{PREDICT} a.png --tiles")
    assert status == 2
    assert "--tiles is for detectors: add --detector NAME." in err
