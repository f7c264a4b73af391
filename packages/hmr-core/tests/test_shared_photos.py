"""Photos that processes share: what is left is one process's, to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hmr_core import builtin
from hmr_core.errors import HmrError, UsageError
from hmr_core.inference.load import load
from hmr_core.inference.model_predictor import ModelPredictor
from hmr_core.inference.photos import predict_photos
from hmr_core.inference.request import PhotoRequest
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.processes import Place
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import save_checkpoint

pytestmark = pytest.mark.slow

PHOTOS = [Path(name) for name in ("a.png", "b.png", "sub/a.png", "bad.png", "c.png")]


@pytest.fixture
def predictor(small_spec: ModelSpec, fakes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelPredictor:
    """Of a small model, in a folder with four photos and a file that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    torch.manual_seed(1)
    recipe = load_recipe(small_spec, "tiny")
    model = small_spec.build(recipe.model)
    save_checkpoint(Path("run"), model, None, CheckpointRecord(model="small", recipe=recipe.model_dump(mode="json")))
    generator = np.random.default_rng(0)
    Path("sub").mkdir()
    for photo in PHOTOS:
        cv2.imwrite(str(photo), generator.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    Path("bad.png").write_bytes(b"no photo")
    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    plugins = fakes.registry(core, fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return load("run", device="cpu", registry=plugins)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_any_number_of_processes_leaves_the_same(predictor: ModelPredictor, together: Any) -> None:
    for count in (1, 2, 3):

        def work(where: Place, out: Path = Path(f"by-{count}")) -> Any:
            done: list[str] = []
            results = predict_photos(
                predictor,
                PHOTOS,
                PhotoRequest(),
                out,
                about={"model": "small"},
                on_photo=lambda result: done.append(str(result.file)),
                where=where,
            )
            assert done == [str(photo) for photo in PHOTOS[where.rank :: where.count]]
            return results and [(str(result.file), result.error is None) for result in results]

        whole = [(str(photo), photo.stem != "bad") for photo in PHOTOS]
        assert together(work, count) == [whole, *[None] * (count - 1)]
    one = files(Path("by-1"))
    assert {"hands.json", "a.png", "a_2.png", "a-1.obj", "a_2-1.obj", "b.png", "c.png"} <= set(one)
    assert files(Path("by-2")) == files(Path("by-3")) == one


def test_when_no_photo_can_be_predicted_the_first_error_is_told(predictor: ModelPredictor, together: Any) -> None:
    def work(where: Place) -> Any:
        request = PhotoRequest(boxes=[(10, 10, 0, 20)])
        return predict_photos(predictor, PHOTOS[:2], request, Path("out/hands"), about={}, where=where)

    first, second = together(work, 2)
    assert isinstance(first, UsageError)
    assert str(first).startswith("a.png: the box 10,10,0,20 has no area")
    assert second is None
    assert list(Path("out").iterdir()) == []


def test_nothing_is_left_where_a_process_fails(
    predictor: ModelPredictor, together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise OSError("no more")

    def work(where: Place) -> Any:
        if where.rank == 1:
            monkeypatch.setattr("hmr_core.inference.photos.write_png", fail)
        return predict_photos(predictor, PHOTOS, PhotoRequest(), Path("out/hands"), about={}, where=where)

    first, second = together(work, 2)
    assert isinstance(first, HmrError)
    assert str(first) == "process 1: OSError: no more"
    assert isinstance(second, OSError)
    assert list(Path("out").iterdir()) == []
