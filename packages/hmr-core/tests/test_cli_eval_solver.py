"""`hmr eval` with a solver, as a user runs it: a small model, a made-up solver, the made-up data set."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import h5py
import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor

from hmr_core.config import Section
from hmr_core.data.hand_model_check import mismatch_note
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel as Hand
from hmr_core.hand.model import save_hand_model
from hmr_core.hand.solver import HandFit, UnsolvableJointsError, check_joints
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.inference.solving import LoadedSolver, solve
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec, SolverSpec

EVAL = "eval small --ckpt run --split sp0 --device cpu"
SOLVER = f"{EVAL} --solver flat --solver-ckpt flat.pt"


class FlatConfig(Section):
    fit: Literal["slow", "fast"] = "fast"
    group: int = Field(1, gt=0, description="samples in a group")
    wrong: Literal["", "unsolvable", "not-finite", "short", "none", "array", "double", "device", "graph"] = ""


class FlatSolver:
    """Gives every sample the flat hand, its joint 9 where the sample's is, in two chunks."""

    calls: list[tuple[FlatConfig, torch.device, Tensor]]

    def __init__(self, config: FlatConfig, layer: HandLayer, device: torch.device) -> None:
        self.config, self.layer, self.device = config, layer, device

    def solve(self, joints: Tensor, *, on_batch: Callable[[int], None]) -> HandFit:
        FlatSolver.calls.append((self.config, self.device, joints))
        if self.config.wrong == "unsolvable":
            raise UnsolvableJointsError(5, "its joints are made of cheese")
        check_joints(joints)
        count = len(joints)
        posed = self.layer(torch.zeros(count, 16, 3), torch.zeros(count, 10), centre=9)
        on_batch(10)
        on_batch(count - 10)
        fit = HandFit(
            rotations=torch.full((count, 16, 3), 0.25),
            betas=torch.arange(count * 10.0).view(count, 10),
            joints=posed.joints + joints[:, 9:10],
            verts=posed.verts + joints[:, 9:10],
        )
        if self.config.wrong == "not-finite":
            fit.betas[[3, 7]] = torch.nan
        if self.config.wrong == "short":
            return HandFit(**{name: array[:-1] for name, array in vars(fit).items()})
        if self.config.wrong == "none":
            return None  # type: ignore[return-value]
        if self.config.wrong == "array":
            vars(fit)["betas"] = fit.betas.numpy()
        if self.config.wrong == "double":
            vars(fit)["joints"] = fit.joints.double()
        if self.config.wrong == "device":
            vars(fit)["verts"] = fit.verts.to("meta")
        if self.config.wrong == "graph":
            fit.verts.requires_grad_()
        return fit


def build(config: FlatConfig, layer: HandLayer, checkpoint: Path, device: torch.device) -> FlatSolver:
    if checkpoint.read_text() != "flat":
        raise HmrError(f"{checkpoint} is not a file of the solver flat.")
    layer.template.zero_()  # a solver may do with its layer what it likes
    return FlatSolver(config, HandLayer(layer.model), device)


FLAT = SolverSpec(
    name="flat",
    summary="the flat hand",
    config=FlatConfig,
    build=build,
    needs_weights=True,
    protocols={"published": {"fit": "slow", "group": 256}, "best": {}},
)


class Meshed(PoseModel):
    """A model of images with a mesh of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.points = torch.nn.Parameter(0.5 + 0.02 * torch.randn(799, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        points = self.points.expand(len(inputs.image), -1, -1)
        return Prediction(joints_uvd=points[:, :21], verts_uvd=points[:, 21:])

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.verts_uvd is not None
        return {"verts": (prediction.verts_uvd - targets.verts_uvd).abs().mean()}


class FromJoints(PoseModel):
    """A model of joints that says "flat hand" to whatever it is given."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.betas = torch.nn.Parameter(torch.zeros(10))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.joints is not None
        count = len(inputs.joints)
        return Prediction(rotations=torch.zeros(count, 16, 3), betas=self.betas.expand(count, -1))

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        return {"betas": prediction.betas.square().mean() if prediction.betas is not None else torch.zeros(())}


Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture(scope="module")
def run_folder(small_spec: ModelSpec, mini_pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the three models, as --ckpt takes them."""
    from hmr_core.plugins.recipes import load_recipe
    from hmr_core.weights.checkpoint_record import CheckpointRecord
    from hmr_core.weights.checkpoints import save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")
    for spec in specs(small_spec, folder):
        recipe = load_recipe(spec, "tiny")
        torch.manual_seed(0)
        model = spec.build(recipe.model)
        record = CheckpointRecord(model=spec.name, recipe=recipe.model_dump(mode="json"), epoch=1, split="sp0")
        save_checkpoint(folder / spec.name, model, torch.optim.Adam(model.parameters()), record)
    return folder


def specs(small_spec: ModelSpec, folder: Path) -> list[ModelSpec]:
    joints = folder / "joints.toml"
    joints.write_text("[train]\nepochs = 1\nbatch_size = 4\n")
    return [
        small_spec,
        replace(small_spec, name="meshed", build=Meshed),
        replace(
            small_spec,
            name="from-joints",
            config=Section,
            recipes={"tiny": joints},
            build=FromJoints,
            consumes="joints",
            needs_hand=True,
        ),
    ]


@pytest.fixture
def hmr(
    small_spec: ModelSpec,
    run_folder: Path,
    mini_pack_path: Path,
    mini_hand_path: Path,
    fakes: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_line: Any,
) -> Run:
    """Runs a command line in an empty folder that has checkpoints alone: (status, stdout, stderr).

    The environment names the made-up data set and its hand model.
    """
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    for name in ("manotorch", "manotorch.manolayer"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    for name, link in (("small", "run"), ("meshed", "meshed"), ("from-joints", "from-joints")):
        Path(link).symlink_to(run_folder / name)
    Path("flat.pt").write_text("flat")
    FlatSolver.calls = []
    command_line.plugins.append(
        fakes.plugin("small", hmr_models=lambda: specs(small_spec, tmp_path), hmr_solvers=lambda: [FLAT])
    )
    return lambda line: command_line(*shlex.split(line))


def report(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text())
    return content


def test_a_solver_fills_the_mesh_figures_and_leaves_the_joints_as_they_are(hmr: Run) -> None:
    assert hmr(EVAL)[0] == 0
    status, out, err = hmr(SOLVER)
    assert status == 0, err
    without, made = report("eval/small-sp0-test"), report("eval/small-sp0-test-flat")
    for name in ("mpjpe_mm", "pck_auc_0_50mm", "pa_mpjpe_mm"):
        assert made["metrics"][name] == without["metrics"][name]
    assert without["metrics"]["mpvpe_mm"] is None
    assert made["metrics"]["mpvpe_mm"] > 0
    assert made["metrics"]["pa_mpvpe_mm"] > 0
    more = made["more"]
    assert 0 < more["pa_f_5mm"] < more["pa_f_15mm"] < 1
    quoted = f"F-scores after alignment: F@5 mm {more['pa_f_5mm']:.3f}, F@15 mm {more['pa_f_15mm']:.3f}"
    assert quoted in out.splitlines()
    assert without["more"]["pa_f_5mm"] is None
    assert (made["missing"], made["protocol"]) == ([], "published")
    assert f"{made['metrics']['mpvpe_mm']:.2f}" in out
    ((config, device, joints),) = FlatSolver.calls  # all samples in one call
    assert (config, device) == (FlatConfig(fit="slow", group=256), torch.device("cpu"))
    assert list(made)[-1] == "errors"
    assert np.mean(made["errors"]["mpvpe_mm"]) == pytest.approx(made["metrics"]["mpvpe_mm"], abs=1e-4)
    assert np.mean(made["errors"]["pa_mpvpe_mm"]) == pytest.approx(made["metrics"]["pa_mpvpe_mm"], abs=1e-4)
    assert len(Path("eval/small-sp0-test-flat/report.json").read_text().splitlines()) < 200  # a line for each list
    with h5py.File("eval/small-sp0-test-flat/predictions.h5") as file:
        np.testing.assert_array_equal(file["joints"], joints.numpy())
        assert file["verts"].shape == (24, 778, 3)
        assert (file["rotations"].shape, file["betas"].shape) == ((24, 16, 3), (24, 10))
        assert (file["rotations"][:] == 0.25).all()
        np.testing.assert_array_equal(file["betas"][2], np.arange(20, 30))
    status, out, _ = hmr("score eval/small-sp0-test-flat --json")
    assert status == 0
    assert json.loads(out)["metrics"] == made["metrics"]


def test_the_report_says_what_the_mesh_was_made_with(hmr: Run, mini_hand_path: Path) -> None:
    assert hmr(SOLVER)[0] == 0
    made = report("eval/small-sp0-test-flat")
    solver, hand = made["solver"], made["hand_model"]
    assert solver["name"] == "flat"
    assert solver["config"] == {"fit": "slow", "group": 256, "wrong": ""}
    assert solver["checkpoint"]["path"] == "flat.pt"
    assert len(solver["checkpoint"]["blake2b"]) == 32
    assert (hand["synthetic"], hand["path"], hand["side"]) == (False, str(mini_hand_path), "right")
    assert hand["mismatch_mm"] < 0.01
    assert made["hand_layer"] == "own"


def test_the_synthetic_hand_is_told(hmr: Run, synthetic_pack_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL")
    status, out, err = hmr(f"{SOLVER} --data {synthetic_pack_path}")
    assert status == 0, err
    lines = out.splitlines()
    assert "mesh: flat (flat.pt), protocol published; hand model the synthetic right hand" in lines
    told = "the mesh is that of the synthetic right hand (no hand model was given, and HMR_HAND_MODEL names none)"
    assert report("eval/small-sp0-test-flat")["notes"][-1] == told
    assert lines[-2] == f"note: {told}"


def test_a_mismatch_is_told(hmr: Run, mini_hand: Hand) -> None:
    somewhat = replace(mini_hand, template=mini_hand.template * 1.06, shape_dirs=mini_hand.shape_dirs * 1.06)
    save_hand_model(somewhat, Path("larger.npz"))
    status, out, err = hmr(f"{SOLVER} --hand-model larger.npz")
    assert status == 0, err
    made = report("eval/small-sp0-test-flat")
    assert made["notes"] == [mismatch_note(made["hand_model"]["mismatch_mm"])]
    assert out.splitlines()[-2] == f"note: {made['notes'][0]}"


@pytest.mark.parametrize(
    ("line", "otherwise"),
    [
        (SOLVER, " Or do without a solver: then the joints alone are scored."),
        ("eval from-joints --ckpt from-joints --split sp0 --device cpu", ""),
    ],
)
def test_another_hand_than_the_annotations_is_refused_before_anything_is_predicted(
    hmr: Run, monkeypatch: pytest.MonkeyPatch, line: str, otherwise: str
) -> None:
    monkeypatch.setattr(
        "hmr_core.evaluation.evaluate.predict_shared", lambda *args, **options: pytest.fail("it predicts")
    )
    monkeypatch.delenv("HMR_HAND_MODEL")
    status, _, err = hmr(line)
    assert status == 1
    assert "error: the hand model in use, the synthetic right hand (no hand model was given, and HMR_HAND_MODEL" in err
    assert f"`hmr synth DIR` leaves DIR/hand.npz).{otherwise} (It is HMR_DATA that names " in err
    assert not list(Path().glob("eval/*"))


def test_without_a_solver_the_mesh_figures_are_missing_and_nobody_asks_for_a_hand(
    hmr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMR_HAND_MODEL", "nowhere.npz")
    status, out, err = hmr(EVAL)
    assert status == 0, err
    made = report("eval/small-sp0-test")
    assert made["missing"] == [
        "this model predicts joints only and no solver was given, so there is no mesh metric: `hmr eval --solver lm` "
        "makes one"
    ]
    assert (made["solver"], made["hand_model"], made["hand_layer"]) == (None, None, None)
    assert "mesh:" not in out
    status, _, err = hmr(SOLVER)
    assert status == 1
    assert "error: HMR_HAND_MODEL is nowhere.npz: no hand model at nowhere.npz." in err


def test_bars_tell_of_images_of_hands_and_of_what_is_scored(hmr: Run) -> None:
    _, _, err = hmr(SOLVER)
    first, second, third = err.splitlines()
    assert first.startswith("small on sp0 test: 24/24 images in ")
    assert second.startswith("flat: 24/24 hands in ")
    assert third.startswith("scoring: 24/24 samples in ")


@pytest.mark.parametrize(
    ("options", "label", "folder"),
    [
        ("--protocol best", "best", "eval/small-sp0-test-flat-best"),
        ("--solver-set fit=fast --solver-set group=8", "published, but fit=fast, group=8", "eval/small-sp0-test-flat"),
        ("--solver-set fit=slow", "published", "eval/small-sp0-test-flat"),
    ],
)
def test_the_report_names_the_protocol_and_what_differs_from_it(
    hmr: Run, options: str, label: str, folder: str
) -> None:
    status, out, err = hmr(f"{SOLVER} {options}")
    assert status == 0, err
    assert report(folder)["protocol"] == label
    assert f"mesh: flat (flat.pt), protocol {label}; " in out


@pytest.mark.parametrize(
    ("options", "label", "folder"),
    [
        ("", "published, but solver=lm", "eval/small-sp0-test-lm"),
        ("--solver-set noise_mm=3", "published, but solver=lm, noise_mm=3", "eval/small-sp0-test-lm"),
        ("--protocol best", "best", "eval/small-sp0-test-lm-best"),
    ],
)
def test_a_solver_without_weights_is_not_the_published_one(hmr: Run, options: str, label: str, folder: str) -> None:
    status, out, err = hmr(f"{EVAL} --solver lm {options}")
    assert status == 0, err
    made = report(folder)
    assert (made["protocol"], made["solver"]["name"], made["solver"]["checkpoint"]) == (label, "lm", None)
    assert made["metrics"]["mpvpe_mm"] > 0
    assert f"mesh: lm, protocol {label}; hand model " in out
    assert hmr(f"{EVAL} --solver lm {options}")[0] == 0  # replaces itself


def test_another_solver_another_file_other_options_another_hand_are_another_evaluation(
    hmr: Run, mini_hand: Hand
) -> None:
    save_hand_model(replace(mini_hand, name="mine"), Path("hand.npz"))
    Path("run-of-flat/checkpoints/epoch-0001").mkdir(parents=True)
    Path("run-of-flat/checkpoints/epoch-0001/model.safetensors").write_text("flat")
    assert hmr(f"{SOLVER} --out out")[0] == 0
    before = Path("out/report.json").read_bytes()
    others = {
        EVAL: "solver, solver checkpoint, solver options, hand model, hand layer",
        f"{SOLVER} --protocol best": "protocol, solver options",
        f"{SOLVER} --solver-set group=8": "protocol, solver options",
        f"{SOLVER} --subset val": "subset",
        f"{SOLVER} --set data.bbox_expand=1.5": "data options",
    }
    for line, differing in others.items():
        status, _, err = hmr(f"{line} --out out")
        assert status == 1
        assert err == (
            f"error: out holds another evaluation (sp0 test; differing in: {differing}), which is left alone. Choose "
            "another --out (such as --out out-2), or delete it.\n"
        )
    status, _, err = hmr(f"{SOLVER} --hand-model hand.npz --out out")  # it may only have been forgotten
    hand = report("out")["hand_model"]["path"]
    assert status == 1
    assert err == (
        f"error: out holds this evaluation with another hand model, {hand}, and is left alone; the one in use now is "
        f"hand.npz (mine, right). Give --hand-model {hand}, choose another --out (such as --out out-2), or delete it.\n"
    )
    assert Path("out/report.json").read_bytes() == before
    Path("copy.pt").write_text("flat")  # the same weights under another name, and in a run's folder
    for ckpt in ("copy.pt", "run-of-flat"):
        status, _, err = hmr(f"{EVAL} --solver flat --solver-ckpt {ckpt} --out out")
        assert status == 0, err
    assert report("out")["solver"]["checkpoint"]["path"] == "run-of-flat/checkpoints/epoch-0001/model.safetensors"


def test_the_sheet_has_a_third_picture_where_there_is_a_mesh(hmr: Run) -> None:
    assert hmr(EVAL)[0] == 0
    assert hmr(SOLVER)[0] == 0
    without, made = (cv2.imread(f"eval/small-sp0-test{suffix}/contact_sheet.png") for suffix in ("", "-flat"))
    assert without.shape[1] == 6 * 2 * 192
    assert made.shape[1] == 4 * 3 * 192
    assert ((made[60:200, 2 * 192 : 3 * 192] - made[60:200, 192 : 2 * 192].astype(int)) != 0).any(-1).mean() > 0.05


def test_a_model_with_a_mesh_of_its_own_needs_no_solver(hmr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "eval meshed --ckpt meshed --split sp0 --device cpu"
    status, _, err = hmr(f"{line} --solver flat --solver-ckpt flat.pt")
    text = 'error: the model "meshed" gives a mesh of its own, so a solver has nothing to do. Leave --solver out.\n'
    assert (status, err.splitlines(keepends=True)[-1]) == (2, text)
    assert not Path("eval").exists() or list(Path("eval").iterdir()) == []
    status, out, err = hmr(line)
    assert status == 0, err
    made = report("eval/meshed-sp0-test")
    assert made["metrics"]["mpvpe_mm"] > 0
    assert (made["missing"], made["solver"], made["hand_model"]) == ([], None, None)
    assert "warning" not in err
    assert cv2.imread("eval/meshed-sp0-test/contact_sheet.png").shape[1] == 4 * 3 * 192
    assert "mesh:" not in out
    monkeypatch.delenv("HMR_HAND_MODEL")
    status, _, err = hmr(line)
    assert "warning: no mesh is drawn: the hand model in use, the synthetic right hand" in err
    assert cv2.imread("eval/meshed-sp0-test/contact_sheet.png").shape[1] == 6 * 2 * 192
    monkeypatch.setenv("HMR_HAND_MODEL", "nowhere.npz")
    status, _, err = hmr(line)
    assert status == 0
    assert "warning: no mesh is drawn: HMR_HAND_MODEL is nowhere.npz: no hand model at" in err


def test_a_model_of_joints_is_scored_from_the_annotated_ones_and_says_so(hmr: Run) -> None:
    line = "eval from-joints --ckpt from-joints --split sp0 --device cpu"
    status, out, err = hmr(line)
    assert status == 0, err
    made = report("eval/from-joints-sp0-test")
    assert made["notes"][0] == "the model was given the annotated joints, and saw no image"
    assert made["consumes"] == "joints"
    assert out.splitlines()[0] == "from-joints on sp0 test, 24 samples, from given joints"
    assert made["metrics"]["mpvpe_mm"] > 0
    assert made["hand_model"]["mismatch_mm"] < 0.01
    assert made["baseline"]["metrics"] is None
    assert "note: no baseline: the model was given joints, of which the mean pose knows nothing" in out
    with h5py.File("eval/from-joints-sp0-test/predictions.h5") as file:
        assert (file["rotations"].shape, file["betas"].shape) == ((24, 16, 3), (24, 10))
    status, out, _ = hmr(f"{line} --set data.noise_mm=4 --out noisy")
    assert status == 0
    told = "the model was given the annotated joints, with normal noise of 4 mm on each axis, and saw no image"
    assert f"note: {told}" in out
    assert "note: data.noise_mm is 4.0, and 0.0 in the checkpoint's recipe" in out
    assert report("noisy")["recipe"]["data"] == {"noise_mm": 4}
    assert report("noisy")["metrics"] != made["metrics"]
    status, _, err = hmr(f"{line} --solver flat --solver-ckpt flat.pt")
    text = (
        'error: the model "from-joints" gives a mesh of its own, so a solver has nothing to do. Leave --solver out.\n'
    )
    assert (status, err) == (2, text)


def test_scoring_the_predictions_again_shows_what_they_are_of(hmr: Run) -> None:
    lines = [
        f"{SOLVER} --solver-set fit=fast --set data.bbox_expand=1.5 --out out",
        "eval from-joints --ckpt from-joints --split sp0 --device cpu --set data.noise_mm=4 --out out",
    ]
    for line in lines:
        status, shown, err = hmr(line)
        assert status == 0, err
        made = report("out")
        table = shown.splitlines()
        _, out, _ = hmr("score out")
        again = out.splitlines()
        assert again[0] == table[0]
        notes = [text for text in table if text.startswith(("mesh: ", "note: "))]
        told = [text for text in again if text.startswith(("mesh: ", "note: "))]
        assert told == [text for text in notes if "no baseline" not in text]
        assert len(told) > 1
        _, out, _ = hmr("score out --json")
        same = ("model", "consumes", "notes", "protocol", "solver", "hand_model", "hand_layer", "metrics", "missing")
        assert {key: json.loads(out)[key] for key in same} == {key: made[key] for key in same}
        shutil.rmtree("out")


def test_a_model_of_joints_is_evaluated_where_the_pack_stores_little_of_the_images(
    hmr: Run, mini_tree: Path, tmp_path: Path
) -> None:
    write_pack(open_oakink(mini_tree), tmp_path / "tight.h5", codec=codec_named("jpeg"), margin=1.5)
    status, _, err = hmr("eval from-joints --ckpt from-joints --split sp0 --device cpu --data tight.h5 --out out")
    assert status == 0, err
    assert cv2.imread("out/contact_sheet.png").shape[1] == 4 * 3 * 192
    status, _, err = hmr(f"{EVAL} --data tight.h5")  # a model of images sees what it was trained on, or nothing
    assert status == 1
    assert "this recipe's crops reach to 1.700 times" in err


def test_a_hand_model_that_nothing_needs_is_told(hmr: Run, mini_hand_path: Path) -> None:
    status, _, err = hmr(f"{EVAL} --hand-model {mini_hand_path}")
    assert status == 0
    assert err.endswith(
        "warning: the hand model was of no use: the model predicts joints only, and no solver was given. Leave "
        "--hand-model out.\n"
    )


BAD = {
    "unknown solver": (f"{EVAL} --solver flot", 2, 'unknown solver "flot". Did you mean "flat"?'),
    "no checkpoint": (
        f"{EVAL} --solver flat",
        2,
        'the solver "flat" needs its weights. Add --solver-ckpt FILE (a run of `hmr train`, a checkpoint, or a '
        "released file), or take --solver lm, which needs none.",
    ),
    "checkpoint of none": (
        f"{EVAL} --solver lm --solver-ckpt flat.pt",
        2,
        'the solver "lm" has no weights. Leave --solver-ckpt out.',
    ),
    "checkpoint alone": (
        f"{EVAL} --solver-ckpt flat.pt",
        2,
        "there are options of a solver, and no solver. Leave out --solver-ckpt. If the model predicts joints alone, "
        "add --solver; `hmr solvers` lists them.",
    ),
    "options alone": (
        f"{EVAL} --solver-set fit=slow --protocol best",
        2,
        "there are options of a solver, and no solver. Leave out --solver-set, --protocol best. If the model predicts",
    ),
    "hand layer alone": (
        f"{EVAL} --hand-layer manotorch",
        2,
        "there are options of a solver, and no solver. Leave out --hand-layer manotorch. If the model predicts joints",
    ),
    "protocol of a model of joints": (
        "eval from-joints --ckpt from-joints --split sp0 --protocol best",
        2,
        'Leave out --protocol best: the model "from-joints" gives a mesh of its own, so that there is none to add.',
    ),
    "hand layer of a model of joints": (
        "eval from-joints --ckpt from-joints --split sp0 --hand-layer manotorch",
        1,
        "the hand layer manotorch needs the package manotorch, which cannot be",
    ),
    "unknown protocol": (f"{SOLVER} --protocol bset", 2, "'bset' is not one of 'published', 'best'"),
    "not installed": (
        f"{EVAL} --solver iknet --solver-ckpt x",
        2,
        'solver "iknet" is not installed: pip install hmr-iknet',
    ),
    "misspelt": (f"{EVAL} --solver flet --solver-ckpt x", 2, 'unknown solver "flet". Did you mean "flat"?'),
    "missing file": (
        f"{EVAL} --solver flat --solver-ckpt no.pt",
        1,
        "no such checkpoint: no.pt. --solver-ckpt takes a run's folder, a checkpoint's folder, or a weights file.",
    ),
    "another's file": (f"{EVAL} --solver flat --solver-ckpt joints.toml", 1, "joints.toml is not a file of the solver"),
    "misspelt option": (
        f"{SOLVER} --solver-set grup=8",
        2,
        'unknown option "grup". Did you mean "group"? `hmr solvers flat` lists what --solver-set takes.',
    ),
    "wrong type": (
        f"{SOLVER} --solver-set group=eight",
        2,
        'group=eight: "eight" is not valid for group: Input should be a valid integer. `hmr solvers flat` lists',
    ),
    "no value": (
        f"{SOLVER} --solver-set group",
        2,
        '"group" is not key=value. --solver-set takes key=value, such as fit=VALUE.',
    ),
    "unsolvable": (
        f"{SOLVER} --solver-set wrong=unsolvable",
        1,
        "its joints are made of cheese. Check the model's output. Without a solver there are its joints alone.",
    ),
    "not finite": (f"{SOLVER} --solver-set wrong=not-finite", 1, 'the betas of the solver "flat" are not finite for'),
    "wrong shape": (
        f"{SOLVER} --solver-set wrong=short",
        1,
        'the solver "flat" gave rotations of shape (23, 16, 3); valid: (24, 16, 3).',
    ),
    "nothing": (f"{SOLVER} --solver-set wrong=none", 1, 'the solver "flat" gave NoneType; valid: a HandFit of all'),
    "no tensor": (f"{SOLVER} --solver-set wrong=array", 1, 'the solver "flat" gave betas as ndarray; valid: a tensor.'),
    "double": (
        f"{SOLVER} --solver-set wrong=double",
        1,
        'the solver "flat" gave joints in float64 on cpu; valid: float32 on cpu.',
    ),
    "another device": (
        f"{SOLVER} --solver-set wrong=device",
        1,
        'the solver "flat" gave verts in float32 on meta; valid: float32 on cpu.',
    ),
    "no hand model": (f"{SOLVER} --hand-model no.npz", 1, "no hand model at no.npz. `hmr mano import MANO_RIGHT.pkl"),
    "no hand model, unused": (f"{EVAL} --hand-model no.npz", 1, "no hand model at no.npz."),
    "manotorch": (
        f"{SOLVER} --hand-layer manotorch",
        1,
        "the hand layer manotorch needs the package manotorch, which cannot be",
    ),
    "set of the model": (
        f"{EVAL} --set image_size=64",
        2,
        '"image_size=64": an evaluation can change what the model is given alone; the rest is the checkpoint\'s. --set '
        "takes data.bbox_expand.",
    ),
    "misspelt set": (f"{EVAL} --set data.bbox=2", 2, 'unknown option "data.bbox". Did you mean "data.bbox_expand"?'),
}


@pytest.mark.parametrize(("line", "status", "text"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(hmr: Run, line: str, status: int, text: str) -> None:
    got, out, err = hmr(line)
    assert (got, out) == (status, ""), err
    assert text in err
    assert not list(Path().glob("eval/*"))


def test_a_crop_other_than_the_checkpoint_s_is_told(hmr: Run) -> None:
    _, out, _ = hmr(f"{EVAL} --set data.bbox_expand=1.5 --out tight")
    assert "note: data.bbox_expand is 1.5, and 1.7 in the checkpoint's recipe" in out
    _, out, _ = hmr(f"{EVAL} --set data.bbox_expand=1.7 --out same")
    assert "bbox_expand" not in out


def test_arrays_with_a_graph_behind_them_are_taken(hmr: Run) -> None:
    status, _, err = hmr(f"{SOLVER} --solver-set wrong=graph")
    assert status == 0, err


def test_a_solver_s_bar_begins_before_its_first_hands_are_done(mini_hand: Hand, mini_pack: Any) -> None:
    rows = mini_pack.indices("sp0", "test")
    done: list[int] = []
    solver: Any = FlatSolver(FlatConfig(), HandLayer(mini_hand), torch.device("cpu"))
    FlatSolver.calls = []
    loaded = LoadedSolver(
        name="flat",
        config=FlatConfig(),
        protocol="published",
        checkpoint=Path("flat.pt"),
        digest="",
        solver=solver,
    )
    solve(loaded, mini_pack.ids(rows), torch.from_numpy(mini_pack.array("joints", rows)).float(), done.append)
    assert done == [0, 10, 14]


def test_a_mesh_that_is_not_finite_names_the_sample(hmr: Run, mini_pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Meshed.forward

    def spoilt(self: Meshed, inputs: Inputs) -> Prediction:
        prediction = forward(self, inputs)
        assert prediction.verts_uvd is not None
        verts = prediction.verts_uvd.clone()
        verts[3, 5, 0] = torch.nan
        return replace(prediction, verts_uvd=verts)

    monkeypatch.setattr(Meshed, "forward", spoilt)
    status, _, err = hmr("eval meshed --ckpt meshed --split sp0 --device cpu")
    sample = mini_pack.ids(mini_pack.indices("sp0", "test"))[3]
    assert status == 1
    assert f"error: the model's prediction is not finite for {sample} (1 in its batch)." in err


def test_an_unsolvable_sample_is_named(hmr: Run, mini_pack: Any) -> None:
    _, _, err = hmr(f"{SOLVER} --solver-set wrong=unsolvable")
    sample = mini_pack.ids(mini_pack.indices("sp0", "test"))[5]
    assert f"error: no mesh for {sample}: its joints are made of cheese." in err


def test_a_left_hand_is_refused(hmr: Run) -> None:
    save_hand_model(replace(load_synthetic_hand(), side="left"), Path("left.npz"))
    status, _, err = hmr(f"{SOLVER} --hand-model left.npz")
    assert status == 1
    assert "needs a right hand, and the hand model left.npz" in err
    assert "is of a left one." in err
