"""Fixtures for the tests of every package: the made-up data set, a pack of it, a small model, several processes."""

from __future__ import annotations

import gc
import importlib.util
import json
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor, nn
from torch.distributed import TCPStore

SHAPE = re.compile(
    rf"\b({'|'.join(name for name, kind in vars(jaxtyping).items() if isinstance(kind, type(jaxtyping.Float)))})\["
)
"""A type that jaxtyping checks, in an annotation's text."""


def where_shapes_are(typechecker: Callable[[Any], Any], jaxtyped: Any = jaxtyping.jaxtyped) -> Callable[[Any], Any]:
    """jaxtyping's decorator for what takes or gives arrays; what does not stays as it is, since mypy has checked it.

    jaxtyping binds the arguments of each call, which a test that trains spends a fifth of its time on.
    """

    def decorate(thing: Any) -> Any:
        shapes = isinstance(thing, type) or any(SHAPE.search(str(hint)) for hint in thing.__annotations__.values())
        return jaxtyped(typechecker=typechecker)(thing) if shapes else thing

    return decorate


# Shapes in signatures are checked in all that is imported from here on. jaxtyping's option of pytest comes too late for
# that before its version 0.3.6.
jaxtyping.jaxtyped = where_shapes_are  # by this name its hook finds the decorator
PACKAGES = [
    "hmr_core",
    "hmr_datasets",
    "hmr_i2l",
    "hmr_iknet",
    "hmr_integral",
    "hmr_mediapipe",
    "hmr_pyramid",
    "hmr_rle",
    "hmr_timm",
]
jaxtyping.install_import_hook(PACKAGES, "beartype.beartype")

from hmr_core.config import ModelConfig
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import Spread, make_moment, make_sequence
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import HandModel, save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.nn.model import Inputs, Prediction, Targets
from hmr_core.nn.model import PoseModel as Network
from hmr_core.plugins import ModelSpec, Released
from hmr_core.processes import Place, place


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for runs that ask whether code works at all, such as with other versions of what it depends on."""
    parser.addoption("--cases", type=int, metavar="N", help="run the first N cases alone of tests that have more")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--cases` does not ask for."""
    most = config.getoption("--cases")
    if most is None:
        return
    seen: Counter[str] = Counter()
    kept, left_out = [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        (kept if seen[test] <= most else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


DATA = Path(__file__).parent / "packages/hmr-core/tests/data"
RECORDED = Path(__file__).parent / "tests/data"
MINI = DATA / "oakink_mini/OakInk"

RECIPE = """
[model]
image_size = 32

[train]
epochs = 3
batch_size = 8
learning_rate = 1e-2
seed = 3
"""


class SmallConfig(ModelConfig):
    """A configuration with nothing but the image size and a switch for a broken loss."""

    broken_after: int = -1


class SmallModel(Network):
    """A linear map of a shrunken image: all that the engine's tests need of a model."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = config
        self.losses_left = config.broken_after
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 63))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        return Prediction(joints_uvd=torch.sigmoid(self.body(inputs.image)).view(-1, 21, 3))

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.joints_uvd is not None
        self.losses_left -= 1
        loss = (prediction.joints_uvd - targets.joints_uvd).abs().mean()
        return {"uvd": loss * float("nan") if self.losses_left == -1 and self.config.broken_after >= 0 else loss}


@pytest.fixture(scope="session")
def mini_tree() -> Path:
    """The made-up data set in the release's own layout: 96 samples of 5 sequences, 80 images."""
    return MINI


@pytest.fixture(scope="session")
def mini_pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless pack of it."""
    path = tmp_path_factory.mktemp("pack") / "mini.h5"
    write_pack(open_oakink(MINI), path, codec=codec_named("png"))
    return path


@pytest.fixture
def mini_pack(mini_pack_path: Path) -> Pack:
    """That pack, open."""
    return Pack(mini_pack_path)


@pytest.fixture(scope="session")
def mini_hand() -> HandModel:
    """The hand model of its annotations."""
    return read_mano_file(DATA / "mano_v1_2/models/MANO_RIGHT.pkl")


@pytest.fixture(scope="session")
def mini_hand_path(mini_hand: HandModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That hand model as a file."""
    path = tmp_path_factory.mktemp("hand") / "hand.npz"
    save_hand_model(mini_hand, path)
    return path


@pytest.fixture(scope="session")
def networks_folder_path() -> Path:
    """The folder of MediaPipe's networks. Where it is not whole, tests are skipped, or fail under `make test`."""
    from hmr_mediapipe.fetch import missing_files
    from hmr_mediapipe.files import FETCH, networks_folder

    folder = networks_folder()
    if missing := missing_files(folder):
        text = f"{folder} lacks {', '.join(missing)}: run {FETCH}"
        if "networks" in os.environ.get("HMR_TESTS_NEED", "").split():
            pytest.fail(text)
        pytest.skip(text)
    return folder


@pytest.fixture(scope="session")
def hand_view() -> ndarray:
    """A view of the synthetic data set in which MediaPipe sees a right hand, 848x480, RGB."""
    model, spread = load_synthetic_hand(), Spread()
    sequence = make_sequence(1, 0, spread)
    painter = Painter(model, sequence, np.random.default_rng(1))
    moment = make_moment(model, sequence, 3, 26, 0, spread)
    scene = painter.scene(moment, np.random.default_rng(0))
    picture: ndarray = painter.paint(scene, sequence.cameras[3], np.random.default_rng(1))
    return picture


@pytest.fixture(scope="session")
def rule() -> ModuleType:
    """The rule that gives the recorded runs their weights (`state_dict`) and their input (`image`)."""
    found = importlib.util.spec_from_file_location("rule", RECORDED / "rule.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def recorded_figures() -> dict[str, dict[str, Any]]:
    """By model, the figures of the published pipeline on the made-up data set's SP0 test subset."""
    figures: dict[str, dict[str, Any]] = json.loads((RECORDED / "e2e.json").read_text())
    return figures


@pytest.fixture(scope="session")
def small_spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A model that trains in no time."""
    recipe = tmp_path_factory.mktemp("recipe") / "small.toml"
    recipe.write_text(RECIPE)
    return ModelSpec(
        name="small",
        summary="a small model",
        config=SmallConfig,
        recipes={"published": recipe, "tiny": recipe},
        root_joint=9,
        build=SmallModel,
        released=Released(file="Small.pth.tar"),
        published={"sp0": {"mpjpe_mm": 1.0, "pck_auc_0_50mm": 0.98}},
    )


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """Lets forked processes work together, as torchrun would start them: what each of them gave, in their order.

    An exception that ended one is given as such, and a signal that killed one as its negative number.
    """

    def work_together(work: Callable[[Place], Any], count: int = 3) -> list[Any]:
        context = multiprocessing.get_context("fork")
        meeting = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",
        }

        def one(rank: int, answer: Any) -> None:
            os.environ.update(meeting, RANK=str(rank), LOCAL_RANK=str(rank), MASTER_PORT=str(answer.recv()))
            torch.set_num_threads(1)  # others do not survive a fork
            gc.freeze()  # what was the parent's, such as loading workers that an error keeps, is not to be ended here
            try:
                answer.send(work(place()))
            except Exception as error:
                answer.send(error)

        pipes = [context.Pipe() for _ in range(count)]
        processes = [context.Process(target=one, args=(rank, pipe[1])) for rank, pipe in enumerate(pipes)]
        for process, (_, answer) in zip(processes, pipes, strict=True):
            process.start()
            answer.close()
        # As torchrun's own process keeps it; not before, since a lock that its thread has would be forked, too.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for answers, _ in pipes:
            answers.send(store.port)
        found = []
        for process, (answers, _) in zip(processes, pipes, strict=True):
            try:
                found.append(answers.recv() if answers.poll(60) else TimeoutError())
            except (EOFError, ConnectionResetError):
                process.join()
                found.append(process.exitcode)
        for process in processes:
            process.kill()
            process.join()
        return found

    return work_together
