"""The published recipes against the table of the published configs and the one in the documentation, value by value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hmr_core.errors import UsageError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import SECTIONS, TrainConfig, load_recipe, options
from hmr_core.plugins.registry import discover

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests/data/RECIPES.md"
DOCUMENTED = ROOT / "docs/recipes.md"
MODELS = {"integral": "Integral-Pose", "rle": "RLE", "i2l": "I2L-MeshNet"}
"""The models of the published table, and how tables call them."""

SAME = "the same"
CLIPPING = "clipping, L2 norm of each parameter tensor"
AUGMENTATION = "augmentation: scale, colour, rotation, rotation probability, occlusion probability"
AUGMENTED = (
    "{augment.scale}, {augment.color}, {augment.rotation_deg}, {augment.rotation_probability}, "
    "{augment.occlusion_probability}"
)

ROWS: dict[str, tuple[str, str, str]] = {
    "image size": ("{image_size}",) * 3,
    "root joint": ("{root_joint}",) * 3,
    "box factor": ("{data.bbox_expand}",) * 3,
    "backbone": (
        *["{backbone.name}, {backbone.weights}"] * 2,
        "two {backbone.name}, {backbone.weights}",
    ),
    "batch norm of the backbone frozen (partly)": ("{backbone.freeze_batch_norm}",) * 3,
    "optimizer, learning rate": ("{train.optimizer}, {train.learning_rate}",) * 3,
    "weight decay": ("{train.weight_decay}",) * 3,
    "schedule (epochs, factor)": ("{train.schedule} {train.milestones}, {train.gamma}",) * 3,
    "epochs": ("{train.epochs}",) * 3,
    "batch (all GPUs together), last partial batch dropped": ("{train.batch_size}",) * 3,
    CLIPPING: ("{train.clip_norm}",) * 3,
    "head": (
        "21 x {head.depth}^3, two deconvolutions of {head.channels}, kernel 4, final kernel 1, {head.norm}",
        "flow, no extra layers",
        "{head.depth}^3, sigma {sigma}, stage {stage}",
    ),
    "loss": (
        "{loss_weight} * smooth L1 on UVD",
        "residual log-likelihood, sum / batch",
        "joint {loss.joint}, mesh {loss.mesh}, joint from mesh {loss.mesh_joint}, normal {loss.normal}, "
        "edge {loss.edge}",
    ),
    AUGMENTATION: (AUGMENTED,) * 3,
    "seed": ("{train.seed}",) * 3,
    # What the published code has besides.
    "trained on": ("{train.subset}",) * 3,
    "precision": ("{train.precision}",) * 3,
    "the image that the backbone sees, RGB in 0..1": ("{backbone.image_norm}",) * 3,
    "channels of the backbone's stem": ("{backbone.width}",) * 3,
    "initial weights of convolutions outside of the backbone": ("He, fan-out", "-", "normal, {init_std}"),
    "largest occlusion, over the box's area": ("{augment.occlusion_area}",) * 3,
    "beta of smooth L1": ("{loss_beta}", "-", "-"),
    "floor under sigma": ("-", "{sigma_floor}", "-"),
    "joints that cannot be seen are left out of the loss": ("yes", "{skip_invisible}", "yes"),
    "channels of the three deconvolutions": ("-", "-", "{head.channels}"),
    "middle finger's tip in the mesh": ("-", "-", "{middle_tip}"),
}
"""Row by row what a cell says of each model's recipe, with the options whose values are in it."""

OFF_AS_PUBLISHED = {
    *("grad_accum", "warmup_steps", "final_learning_rate", "clip_global_norm", "ema_decay", "freeze", "freeze_epochs"),
    *("patience", "channels_last", "compile", "sync_batch_norm", "samples_per_epoch"),
}
"""Options of [train] for what the published code does not do: the published recipes leave them as they are."""

NOT_OF_A_RESNET = {"backbone.drop_path", "backbone.class_token"}
NOT_OF_STAGE_LIXEL = {"lixel_weights", *(f"param_loss.{name}" for name in ("rotation", "shape", "joint", "vertex"))}

WORDS = {
    ("backbone.name", "resnet50"): "ResNet-50",
    ("backbone.weights", "imagenet"): "ImageNet",
    ("backbone.width", None): "64",
    ("backbone.image_norm", "half"): "minus 0.5",
    ("backbone.freeze_batch_norm", "first"): "yes",
    ("backbone.freeze_batch_norm", "none"): "no",
    ("train.optimizer", "adam"): "Adam",
    ("train.schedule", "multistep"): "MultiStep",
    ("skip_invisible", False): "no",
}


def table(path: Path) -> dict[str, tuple[str, ...]]:
    """The rows of the table that has a column for each of the models."""
    lines = path.read_text().splitlines()
    start = lines.index(f"| | {' | '.join(MODELS.values())} |") + 2
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        name, first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        assert name not in rows
        rows[name] = (first, *(first if cell == SAME else cell for cell in rest))
    return rows


def value(spec: ModelSpec, recipe: dict[str, Any], key: str) -> str:
    """An option's value, as tables write it."""
    if key == "root_joint":
        return f"{spec.root_joint}"
    found: Any = recipe
    for part in key.split(".") if key.split(".")[0] in SECTIONS else ("model", *key.split(".")):
        found = found[part]
    if isinstance(found, list):
        return " and ".join(map(str, found))
    if isinstance(found, float):
        mantissa, exponent = f"{found:.12e}".split("e")
        return f"{float(mantissa):.12g}e{int(exponent)}" if 0 < found < 0.01 else f"{found:.12g}"
    return WORDS.get((key, found), f"{found}")


@pytest.fixture(scope="module")
def specs() -> list[ModelSpec]:
    registry = discover()
    return [registry.model(name) for name in MODELS]


@pytest.fixture(scope="module")
def described(specs: list[ModelSpec]) -> dict[str, tuple[str, ...]]:
    """The table that the recipes make."""
    recipes = [load_recipe(spec, "published").model_dump(mode="json") for spec in specs]

    def cell(template: str, spec: ModelSpec, recipe: dict[str, Any]) -> str:
        return re.sub(r"\{([^}]+)\}", lambda match: value(spec, recipe, match[1]), template)

    return {name: tuple(map(cell, templates, specs, recipes)) for name, templates in ROWS.items()}


def test_the_recipes_hold_every_published_value(described: dict[str, tuple[str, ...]]) -> None:
    recorded = {name.replace(", see NETWORKS.md", ""): cells for name, cells in table(RECORDED).items()}
    assert len(recorded) == 15
    assert {name: described[name] for name in recorded} == recorded


def test_the_documentation_says_every_value(described: dict[str, tuple[str, ...]]) -> None:
    assert table(DOCUMENTED) == described


def test_the_table_leaves_no_option_out(specs: list[ModelSpec]) -> None:
    for column, spec in enumerate(specs):
        told = {key for templates in ROWS.values() for key in re.findall(r"\{([^}]+)\}", templates[column])}
        off = {f"train.{name}" for name in OFF_AS_PUBLISHED}
        assert told - {"root_joint"} == set(options(spec)) - NOT_OF_STAGE_LIXEL - NOT_OF_A_RESNET - off, spec.name


def test_what_the_published_code_does_not_do_is_off(specs: list[ModelSpec]) -> None:
    plain = TrainConfig(epochs=1, batch_size=1)
    assert not any(getattr(plain, name) for name in OFF_AS_PUBLISHED - {"grad_accum"})
    for spec in specs:
        train = load_recipe(spec, "published").train
        assert {name: getattr(train, name) for name in OFF_AS_PUBLISHED} == {
            name: getattr(plain, name) for name in OFF_AS_PUBLISHED
        }


def test_one_override_makes_a_published_schedule_another(specs: list[ModelSpec]) -> None:
    for spec in specs:
        assert load_recipe(spec, "published").train.milestones
        assert load_recipe(spec, "published", ["train.schedule=cosine"]).train.schedule == "cosine"
        assert load_recipe(spec, "published", ["train.epochs=2"]).train.milestones[-1] > 2


@pytest.mark.parametrize("given", ["train.milestones=[3]", "augment.occlusion_area=0.3", "param_loss.joint=2"])
def test_the_documentation_s_options_without_effect_are_refused(specs: list[ModelSpec], given: str) -> None:
    key = given.partition("=")[0]
    assert f"`{key.removesuffix('.joint')}`" in DOCUMENTED.read_text()
    with pytest.raises(UsageError, match=rf"{key} has no effect where"):
        load_recipe(specs[-1], "tiny", [given])


def test_the_splits_share_a_recipe(specs: list[ModelSpec]) -> None:
    """SP0, SP1 and SP2 differ in the split alone, which no recipe names."""
    assert "SP0, SP1 and SP2 differ only in the split" in RECORDED.read_text()
    for spec in specs:
        assert set(spec.published) == {"sp0", "sp1", "sp2"}
        assert not [key for key in options(spec) if "split" in key]
        assert sorted(spec.recipes) == ["published", "tiny"]
