"""Each plugin alone, from built wheels: what a user has who installs core and one plugin, and nothing else of ours.

An environment here is a new one that borrows the third-party packages of the running one by links, so that making it
takes seconds and no network. Of hmr it has what pip put there from the wheels, and only that can be imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.predictions import Predictions, write_predictions

pytestmark = pytest.mark.slow

PACKAGES = Path(__file__).parents[1] / "packages"
PLUGINS = ("integral", "rle", "i2l", "pyramid", "iknet")
"""Those with one model. It and the plugin go by the name of the package without the hmr-."""

NEEDS_HAND = ("i2l", "pyramid", "iknet")


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Environment:
    """A Python environment, and a folder to work in."""

    path: Path
    folder: Path
    variables: Mapping[str, str]

    def hmr(self, *arguments: object) -> Done:
        return self._run(self.path / "bin/hmr", *arguments)

    def python(self, code: str) -> Done:
        return self._run(self.path / "bin/python", "-c", code)

    def _run(self, *command: object) -> Done:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr)


def build_wheel(package: Path, folder: Path) -> Path:
    """The wheel of a package, as `python -m build` makes it with the build back end that is there."""
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of all our packages, in one folder, by package."""
    folder = tmp_path_factory.mktemp("wheels")
    return {package.name: build_wheel(package, folder) for package in sorted(PACKAGES.iterdir())}


@pytest.fixture
def environment(tmp_path: Path, mini_pack_path: Path) -> Callable[..., Environment]:
    """Makes an environment with what pip installs for the given requirements, from wheels in a folder alone."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("HMR_", "PIP_", "PYTHON"))}
    variables |= {"HMR_DATA": str(mini_pack_path), "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def make(folder: Path, *requirements: str) -> Environment:
        path, work = tmp_path / "environment", tmp_path / "work"
        work.mkdir()
        venv.create(path, with_pip=False, symlinks=True)
        (own,) = path.glob("lib/python*/site-packages")
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "hmr" not in entry.name:  # neither our packages nor their editable installs' .pth files
                (own / entry.name).symlink_to(entry)
        pip = [sys.executable, "-m", "pip", "--python", str(path / "bin/python"), "install", "--quiet", "--no-index"]
        install = [*pip, "--find-links", str(folder), *requirements]
        done = subprocess.run(install, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return Environment(path, work, variables)

    return make


def models(environment: Environment) -> dict[str, Any]:
    """What `hmr models` says of each model."""
    done = environment.hmr("models", "--json")
    assert done.status == 0, done.err
    return {entry["name"]: entry for entry in json.loads(done.out)}


def installed(environment: Environment) -> set[str]:
    """The models that can be used."""
    return {name for name, entry in models(environment).items() if entry["state"] == "installed"}


def plugins(environment: Environment) -> dict[str, Any]:
    """What `hmr plugins` says of each plugin."""
    done = environment.hmr("plugins", "--json")
    assert done.status == 0, done.err
    return {entry["name"]: entry for entry in json.loads(done.out)}


def test_wheels_hold_the_package_and_no_tests(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {
        "hmr-core",
        "hmr-datasets",
        "hmr-mediapipe",
        "hmr-timm",
        *(f"hmr-{name}" for name in PLUGINS),
    }
    for package, wheel in wheels.items():
        module = package.replace("-", "_")
        names = zipfile.ZipFile(wheel).namelist()
        assert {name.split("/")[0] for name in names} == {module, f"{module}-0.1.0.dist-info"}
        assert f"{module}/py.typed" in names
        licence = zipfile.ZipFile(wheel).read(f"{module}-0.1.0.dist-info/licenses/LICENSE")
        assert licence == (PACKAGES.parent / "LICENSE").read_bytes()
        assert not [name for name in names if "test_" in name or "/tests/" in name or "conftest" in name]
    for plugin in PLUGINS:
        names = zipfile.ZipFile(wheels[f"hmr-{plugin}"]).namelist()
        other = "base" if plugin == "pyramid" else "published"
        assert {f"hmr_{plugin}/recipes/{recipe}.toml" for recipe in (other, "tiny")} <= set(names)
    core = zipfile.ZipFile(wheels["hmr-core"]).namelist()
    assert {"hmr_core/hand/synthetic_hand.npz", "hmr_core/evaluation/page/assets/page.html"} <= set(core)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_works_with_core_alone(
    name: str, wheels: dict[str, Path], environment: Callable[..., Environment], mini_hand_path: Path
) -> None:
    alone = environment(wheels["hmr-core"].parent, f"hmr-{name}")
    assert installed(alone) == {name}
    assert {plugin: entry["ok"] for plugin, entry in plugins(alone).items()} == {"core": True, name: True}

    others = [f"hmr_{other}" for other in (*PLUGINS, "mediapipe", "datasets") if other != name]
    done = alone.python(
        "from importlib.util import find_spec\n"
        f"print([module for module in {others} if find_spec(module)])\n"
        "from hmr_core.testing import check_model\n"
        f"check_model({name!r})\n"
    )
    assert done.status == 0, done.err
    assert done.out == "[]\n"

    hand = ("--hand-model", mini_hand_path) if name in NEEDS_HAND else ()
    settings = ("--recipe", "tiny", "--epochs", 1, "--batch-size", 57)  # all of sp0 train in one step
    done = alone.hmr("train", name, "--split", "sp0", *settings, *hand, "--device", "cpu", "--out", "run")
    assert done.status == 0, done.err
    assert "finished after epoch 1" in (alone.folder / "run/train.log").read_text()

    done = alone.hmr("eval", name, "--ckpt", "run", "--split", "sp0", *hand, "--device", "cpu", "--out", "out")
    assert done.status == 0, done.err
    report = json.loads((alone.folder / "out/report.json").read_text())
    assert (report["model"], report["samples"]) == (name, 24)
    assert report["metrics"]["mpjpe_mm"] > 0


def test_mediapipe_works_with_core_alone(
    wheels: dict[str, Path], environment: Callable[..., Environment], tmp_path: Path
) -> None:
    alone = environment(wheels["hmr-core"].parent, "hmr-mediapipe")
    assert {plugin: entry["ok"] for plugin, entry in plugins(alone).items()} == {"core": True, "mediapipe": True}
    done = alone.python(
        "import os\n"
        f"os.environ['HMR_MEDIAPIPE'] = {str(tmp_path)!r}\n"
        "import torch\n"
        "from hmr_mediapipe.networks import load_networks\n"
        "load_networks(False, torch.device('cpu'))\n"
    )
    assert "MediaPipe's networks are not on this machine" in done.err
    assert "Run: hmr mediapipe fetch" in done.err


def test_core_alone_says_what_to_install(
    wheels: dict[str, Path],
    environment: Callable[..., Environment],
    mini_tree: Path,
    mini_pack: Pack,
) -> None:
    core = environment(wheels["hmr-core"].parent, "hmr-core")
    assert installed(core) == set()
    assert list(plugins(core)) == ["core"]
    ways = {name: (entry["state"], entry["install"]) for name, entry in models(core).items()}
    assert ways == {name: ("not installed", f"pip install hmr-{name}") for name in PLUGINS}
    done = core.hmr("train", "rle", "--split", "sp0")
    assert (done.status, done.out) == (2, "")
    assert 'model "rle" is not installed: pip install hmr-rle' in done.err

    done = core.hmr("pack", "oakink", "--root", mini_tree, "--out", "oakink.h5")
    assert done.status == 0, done.err
    assert Pack(core.folder / "oakink.h5").info.digest == mini_pack.info.digest
    rows = mini_pack.indices("sp0", "test")
    true = {name: mini_pack.array(name, rows).astype(np.float32) for name in ("joints", "verts")}
    write_predictions(
        core.folder / "predictions.h5",
        Predictions(
            model="truth", split="sp0", subset="test", pack=mini_pack.info.digest, ids=mini_pack.ids(rows), **true
        ),
    )
    done = core.hmr("score", "predictions.h5", "--data", "oakink.h5", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["metrics"]["mpjpe_mm"] < 1e-3


def test_a_plugin_that_imports_another_is_seen(
    tmp_path: Path, wheels: dict[str, Path], environment: Callable[..., Environment]
) -> None:
    """The environments can tell: where all packages can be imported, this plugin works."""
    shutil.copytree(PACKAGES / "hmr-integral", tmp_path / "hmr-integral")
    module = tmp_path / "hmr-integral/src/hmr_integral/plugin.py"
    module.write_text(module.read_text() + "\nimport hmr_iknet\n")
    (tmp_path / "wheels").mkdir()
    shutil.copy(wheels["hmr-core"], tmp_path / "wheels")
    build_wheel(tmp_path / "hmr-integral", tmp_path / "wheels")
    alone = environment(tmp_path / "wheels", "hmr-integral")
    assert installed(alone) == set()
    reason = plugins(alone)["integral"]["reason"]
    assert reason.startswith("cannot be imported: ModuleNotFoundError: No module named 'hmr_iknet'")
