"""The plugin contract as a test: `check_model("name")` in a plugin's own test suite is all that it needs to keep it.

Each rule is a function below, in the order in which they are checked; a model that breaks one fails with an
AssertionError that says what is broken and why it matters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from hmr_core.config import ModelConfig, Section
from hmr_core.data.crops import crop_size
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import DEPTH_RANGE_M, from_uvd, to_uvd
from hmr_core.hand.joints import N_JOINTS, N_VERTS
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins.recipes import Recipe, load_recipe, override, parse_recipe
from hmr_core.plugins.registry import discover
from hmr_core.plugins.specs import ModelSpec
from hmr_core.testing.imports import check_import
from hmr_core.weights.state_dict import Uninitialised

BATCH = 4
OVERFIT_STEPS = 60
"""Steps of Adam, at the recipe's learning rate, in which the loss of one batch must fall by half."""

SAME = 1e-4
"""Largest difference, in UVD or radians, between two computations of the same thing: float32 sums in another order."""


def check_model(name: str, *, recipe: str = "tiny", overrides: Sequence[str] = (), device: str = "cpu") -> None:
    """Check an installed model against the whole contract; AssertionError says which rule it breaks and why it matters.

    recipe: which of its recipes to build the model from; a small one, since the model is trained for some steps.
    overrides: how to change it, as `key=value`.
    """
    registry = discover()
    try:
        spec = registry.model(name)
    except HmrError as error:
        raise AssertionError(f"{error}") from error
    check_import("model", name, registry)
    check_spec(spec, recipe=recipe, overrides=overrides, device=device)


def check_spec(spec: ModelSpec, *, recipe: str = "tiny", overrides: Sequence[str] = (), device: str = "cpu") -> None:
    """Check a spec and its model against all rules but that of the import; see check_model."""
    changed = override(spec, _check_recipes(spec, recipe), overrides)
    contract = _Contract(spec, changed, torch.device(device))
    contract.check_config()
    contract.check_build()
    contract.check_prediction()
    contract.check_loss()
    contract.check_gradients()
    contract.check_same_seed()
    trained = contract.check_overfit()
    contract.check_batch_independence(trained)
    contract.check_save_and_load(trained)


def _check_recipes(spec: ModelSpec, wanted: str) -> Recipe:
    """Every recipe is valid, and its config is the same after a trip through JSON; gives the recipe asked for."""
    if wanted not in spec.recipes:
        raise AssertionError(
            f'model "{spec.name}": it has no recipe "{wanted}", only: {", ".join(spec.recipes) or "none"}. A recipe '
            '"tiny" that learns on a CPU in minutes lets anyone try it; check_model(..., recipe=...) takes another.'
        )
    base, gives = (Section, "refuses") if spec.consumes == "joints" else (ModelConfig, "gives image_size and refuses")
    if not (isinstance(spec.config, type) and issubclass(spec.config, base)):
        raise AssertionError(
            f'model "{spec.name}": its config is {spec.config!r}, not a subclass of hmr_core.config.{base.__name__}, '
            f"which {gives} unknown keys."
        )
    found = {}
    for name in spec.recipes:
        try:
            found[name] = load_recipe(spec, name)
        except HmrError as error:
            raise AssertionError(f'model "{spec.name}": {error} Nobody could train with it.') from error
        # load_recipe has taken the values through JSON, as a checkpoint does; these have not been there.
        before = spec.config.model_validate(
            tomllib.loads(spec.recipes[name].read_text(encoding="utf-8")).get("model", {})
        )
        if found[name].model != before:
            raise AssertionError(
                f'model "{spec.name}": the config of recipe "{name}" is not the same after a trip through JSON, so '
                f"that a checkpoint could not be rebuilt: {before!r} became {found[name].model!r}."
            )
    return found[wanted]


class _Unfilled(Uninitialised):
    """While it lasts, parameters are as when weights are loaded, but NaN where memory would hold anything."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = super().__torch_function__(func, types, args, kwargs)
        return made.fill_(torch.nan) if func is torch.empty and made.is_floating_point() else made


class _Contract:
    """The rules, on one model built from one recipe."""

    def __init__(self, spec: ModelSpec, recipe: Recipe, device: torch.device) -> None:
        self.spec = spec
        self.recipe = recipe
        self.device = device
        generator = torch.Generator().manual_seed(0)
        size = crop_size(self.config)
        layer = HandLayer(load_synthetic_hand())
        targets = _targets(size, spec.root_joint, generator)
        if spec.needs_hand:
            targets = _of_one_hand(targets, layer, spec.root_joint, size)
        self.targets, self.layer = targets.to(device), layer.to(device)
        self.inputs = _inputs(spec, size, self.targets, generator).to(device)

    @property
    def config(self) -> Any:
        """The model's own section of the recipe."""
        return self.recipe.model

    def check_config(self) -> None:
        """The config is frozen and refuses unknown keys."""
        settings = self.spec.config.model_config
        if settings.get("extra") != "forbid":
            self._fail("its config class takes unknown keys, so that a misspelt option would be ignored in silence")
        if not settings.get("frozen"):
            self._fail("its config class is not frozen, so that a run could differ from the config saved with it")

    def check_build(self) -> None:
        """build(config) gives a PoseModel with something to train."""
        model = self._build()
        if not any(parameter.requires_grad for parameter in model.parameters()):
            self._fail("it has no trainable parameter")

    def check_prediction(self) -> None:
        """forward gives a Prediction with the right arrays, shapes and types, and finite values, in both modes."""
        for mode in ("eval", "train"):
            model = self._build().train(mode == "train")
            with torch.no_grad():
                prediction: Any = model(self.inputs)
            if not isinstance(prediction, Prediction):
                self._fail(f"forward returns a {type(prediction).__name__}, not a Prediction")
            for array, shape in self._shapes().items():
                self._check_array(array, getattr(prediction, array), shape)
            self._check_given(prediction)
            self._check_regressor(prediction)
            confidence = prediction.confidence
            if confidence is not None and not bool(((confidence >= 0) & (confidence <= 1)).all()):
                self._fail("Prediction.confidence leaves 0..1")

    def check_loss(self) -> None:
        """Loss gives named, finite scalars, also where no joint counts."""
        for targets, what in (
            (self.targets, "a batch"),
            (_unseen(self.targets), "a batch in which no point is visible (it occurs in training)"),
        ):
            self._losses(self._build().train(), targets, what)

    def check_gradients(self) -> None:
        """The sum of the losses has a finite gradient for every trainable parameter."""
        model = self._build().train()
        torch.autograd.backward(self._losses(model, self.targets, "a batch"))
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        without = [name for name, parameter in trainable.items() if parameter.grad is None]
        if without:
            self._fail(
                f"the loss gives no gradient for {_some(without)}. It would never learn, and distributed training "
                "would wait for it forever: use it, remove it, or set requires_grad to False"
            )
        wild = [name for name, p in trainable.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
        if wild:
            self._fail(f"the gradient of {_some(wild)} is not finite at the first step")

    def check_same_seed(self) -> None:
        """Two models built and trained with the same seed have the same losses."""
        first, second = (self._train(steps=2)[1] for _ in range(2))
        if first != second:
            self._fail(
                f"the same seed gives other losses ({first} and {second}), so that no run could be repeated: "
                "take randomness from torch's generator only, which the trainer seeds"
            )

    def check_overfit(self) -> PoseModel:
        """The model learns one batch by heart: its loss falls by half. Gives the trained model."""
        model, losses = self._train(steps=OVERFIT_STEPS)
        if not min(losses) <= losses[0] - 0.5 * abs(losses[0]):
            self._fail(
                f"it cannot learn one batch by heart: {OVERFIT_STEPS} steps of Adam at the recipe's rate "
                f"({self.recipe.train.learning_rate:g}) took the loss from {losses[0]:.4g} to {min(losses):.4g} at "
                "best, and half was asked for. Does the loss depend on the input, and is the learning rate right?"
            )
        return model

    def check_batch_independence(self, model: PoseModel) -> None:
        """In eval mode a sample's result is the same alone, and among others in another order."""
        model.eval()
        with torch.no_grad():
            together = self._forward(model, self.inputs)
            backwards = self._forward(model, _rows(self.inputs, list(reversed(range(BATCH)))))
            alone = [self._forward(model, _rows(self.inputs, [row])) for row in range(BATCH)]
        for array in self._shapes():
            expected = getattr(together, array)
            if expected is None:
                continue
            order = _difference(getattr(backwards, array).flip(0), expected)
            if order > SAME:
                self._depends(array, "the order of its batch", order)
            others = _difference(torch.cat([getattr(prediction, array) for prediction in alone]), expected)
            if others > SAME:
                self._depends(array, "the other samples of its batch", others)

    def check_save_and_load(self, model: PoseModel) -> None:
        """A model rebuilt from its config and its state dict, by way of safetensors, gives the same output."""
        try:
            saved = save_safetensors({name: value.contiguous() for name, value in model.state_dict().items()})
        except (RuntimeError, ValueError, AttributeError) as error:
            self._fail(f"its state dict cannot be saved as safetensors, as checkpoints are: {error}")
        content = self.recipe.model_dump(mode="json")
        config = parse_recipe(self.spec, content, source="the recipe, written and read again").model
        with _seeded(1, self.device), _Unfilled():
            unfilled = self.spec.build(config)
        rebuilt = self._with_hand(unfilled)
        try:
            rebuilt.load_state_dict(load_safetensors(saved))
        except RuntimeError as error:
            self._fail(f"its own state dict does not load into a model rebuilt from its config: {error}")
        with torch.no_grad():
            before = self._forward(model.eval(), self.inputs)
            after = self._forward(rebuilt.eval(), self.inputs)
        for array in self._shapes():
            if getattr(before, array) is None:
                continue
            difference = _difference(getattr(after, array), getattr(before, array))
            if not difference <= SAME:  # NaN is not
                self._fail(
                    f"after saving and loading, {array} differs by {difference:.2g}: something that it depends on is "
                    "neither in its config nor in its state dict. Make it a parameter, or a buffer (register_buffer); "
                    "and compute nothing from parameters at build(), which leaves them uninitialised when weights are "
                    "loaded next"
                )

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays of a Prediction that count here; `_check_given` knows which must be there."""
        return {
            "joints_uvd": (BATCH, N_JOINTS, 3),
            "verts_uvd": (BATCH, N_VERTS, 3),
            "confidence": (BATCH, N_JOINTS),
            "rotations": (BATCH, 16, 3),
            "betas": (BATCH, 10),
        }

    def _check_given(self, prediction: Prediction) -> None:
        """There is something to make joints of."""
        given = [name for name in ("rotations", "betas") if getattr(prediction, name) is not None]
        if len(given) == 1:
            self._fail(f"it gives {given[0]} alone, and a hand is posed by rotations and betas together")
        if given and not self.spec.needs_hand:
            self._fail("it gives rotations and betas, and its spec does not say needs_hand=True: nothing poses them")
        if not given and self.spec.consumes == "joints":
            self._fail("it gives no rotations and betas, and a model that consumes joints must")
        if not given and prediction.joints_uvd is None:
            self._fail("it gives neither joints_uvd nor rotations and betas, so that it has no joints")

    def _check_array(self, name: str, array: Tensor | None, shape: tuple[int, ...]) -> None:
        if array is None:
            return
        if tuple(array.shape) != shape:
            self._fail(f"Prediction.{name} has shape {tuple(array.shape)}, not {shape}")
        if array.dtype != torch.float32:
            self._fail(f"Prediction.{name} is {array.dtype}, not torch.float32, which its millimetres need")
        if not bool(array.isfinite().all()):
            self._fail(f"Prediction.{name} is not finite")

    def _check_regressor(self, prediction: Prediction) -> None:
        regressor = prediction.joint_regressor
        if regressor is None:
            return
        if prediction.verts_uvd is None:
            self._fail("Prediction.joint_regressor makes joints of a mesh, and there is no verts_uvd")
        if tuple(regressor.shape) != (N_JOINTS, N_VERTS):
            self._fail(f"Prediction.joint_regressor has shape {tuple(regressor.shape)}, not {(N_JOINTS, N_VERTS)}")
        off = float((regressor.sum(1) - 1).abs().max())
        if not off <= 1e-3:
            self._fail(
                f"the rows of Prediction.joint_regressor do not sum to 1 (off by {off:.2g}), so that its joints would "
                "not move with the mesh. Does use_hand fill it, and does the spec say needs_hand=True?"
            )

    def _losses(self, model: PoseModel, targets: Targets, what: str) -> Tensor:
        """The sum of the model's losses, checked."""
        prediction = self._forward(model, self.inputs)
        layer = self.layer if self.spec.needs_hand else None
        prediction = pose_for_loss(prediction, targets.root, root_joint=self.spec.root_joint, layer=layer)
        losses = model.loss(prediction, targets)
        if not isinstance(losses, dict) or not losses:
            self._fail(f"loss returns {type(losses).__name__} {losses!r}, not a dict of named scalars")
        for name, value in losses.items():
            if not isinstance(value, Tensor) or value.ndim != 0:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                self._fail(f'the loss "{name}" is no scalar tensor ({shape}): the trainer could not sum it')
            if not bool(value.isfinite()):
                self._fail(f'the loss "{name}" is {value.item()} for {what}: training would stop there')
        total = torch.stack(list(losses.values())).sum()
        if not total.requires_grad:
            self._fail("its losses do not depend on its parameters (is something detached?): nothing would be learnt")
        return total

    def _train(self, steps: int) -> tuple[PoseModel, list[float]]:
        """A fresh model after some steps on the one batch, and its losses; ends once the loss has fallen by half."""
        losses: list[float] = []
        with _seeded(0, self.device):
            model = self._with_hand(self.spec.build(self.config)).train()
            parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            optimizer = torch.optim.Adam(parameters, lr=self.recipe.train.learning_rate)
            for _ in range(steps):
                total = self._losses(model, self.targets, "a batch")
                losses.append(total.item())
                if losses[-1] <= losses[0] - 0.5 * abs(losses[0]) and losses[-1] != losses[0]:
                    break
                optimizer.zero_grad()
                torch.autograd.backward(total)
                optimizer.step()
        return model, losses

    def _build(self) -> PoseModel:
        with _seeded(0, self.device):
            model: Any = self.spec.build(self.config)
        if not isinstance(model, PoseModel):
            self._fail(f"build(config) returns a {type(model).__name__}, not a subclass of hmr_core.nn.model.PoseModel")
        return self._with_hand(model)

    def _with_hand(self, model: PoseModel) -> PoseModel:
        """The model on the device, with the hand model if it uses one, as the trainer gives it."""
        if self.spec.needs_hand:
            model.use_hand(self.layer.model)
        return model.to(self.device)

    def _forward(self, model: nn.Module, inputs: Inputs) -> Prediction:
        prediction: Prediction = model(inputs)
        return prediction

    def _depends(self, array: str, on: str, difference: float) -> NoReturn:
        self._fail(
            f"in eval mode {array} of a sample depends on {on} (by {difference:.2g}), so that metrics would depend on "
            "the batch size. Nothing may be computed across the batch, and nothing drawn at random, in eval mode"
        )

    def _fail(self, problem: str) -> NoReturn:
        raise AssertionError(f'model "{self.spec.name}": {problem}.')


def _targets(image_size: int, root_joint: int, generator: torch.Generator) -> Targets:
    """Random points, consistent in UVD and camera space: a hand's size, half a metre away; some are not visible."""
    points = 0.2 + 0.6 * torch.rand(BATCH, N_JOINTS + N_VERTS, 3, generator=generator)
    points[:, root_joint, 2] = 0.5
    visible = (torch.rand(BATCH, N_JOINTS + N_VERTS, generator=generator) > 0.1).float()
    focal = 2.5 * image_size
    camera = [[focal, 0.0, image_size / 2], [0.0, focal, image_size / 2], [0.0, 0.0, 1.0]]
    intrinsics = torch.tensor(camera).repeat(BATCH, 1, 1)
    root_depth = torch.full((BATCH, 1), 0.5) + DEPTH_RANGE_M * 0.1 * torch.rand(BATCH, 1, generator=generator)
    root = torch.cat([torch.zeros(BATCH, 2), root_depth], 1)
    camera_space = from_uvd(points, root, intrinsics, image_size)
    return Targets(
        joints_uvd=points[:, :N_JOINTS],
        joints_vis=visible[:, :N_JOINTS],
        verts_uvd=points[:, N_JOINTS:],
        verts_vis=visible[:, N_JOINTS:],
        joints=camera_space[:, :N_JOINTS],
        verts=camera_space[:, N_JOINTS:],
        rotations=0.5 * torch.randn(BATCH, 16, 3, generator=generator),
        betas=torch.randn(BATCH, 10, generator=generator),
        joints_known=torch.ones(BATCH, N_JOINTS),
        verts_known=torch.ones(BATCH),
        pose_known=torch.ones(BATCH),
        root=camera_space[:, root_joint],
        intrinsics=intrinsics,
    )


def _of_one_hand(targets: Targets, layer: HandLayer, root_joint: int, image_size: int) -> Targets:
    """The targets with the points that their rotations and betas give: a posed hand could not fit random ones."""
    hand = layer(targets.rotations, targets.betas, centre=root_joint)
    joints, verts = hand.joints + targets.root[:, None], hand.verts + targets.root[:, None]
    uvd = [to_uvd(points, targets.root, targets.intrinsics, image_size) for points in (joints, verts)]
    return replace(targets, joints=joints, verts=verts, joints_uvd=uvd[0], verts_uvd=uvd[1])


def _inputs(spec: ModelSpec, image_size: int, targets: Targets, generator: torch.Generator) -> Inputs:
    """What the model consumes: images of noise, or the joints of the targets."""
    if spec.consumes == "joints":
        return Inputs(joints=targets.joints)
    image = torch.rand(BATCH, image_size, image_size, 3, generator=generator) - 0.5
    return Inputs(image=image.permute(0, 3, 1, 2), intrinsics=targets.intrinsics)


def _unseen(targets: Targets) -> Targets:
    return replace(
        targets, joints_vis=torch.zeros_like(targets.joints_vis), verts_vis=torch.zeros_like(targets.verts_vis)
    )


def _rows(inputs: Inputs, rows: Sequence[int]) -> Inputs:
    return Inputs(**{name: None if array is None else array[list(rows)] for name, array in vars(inputs).items()})


def _difference(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max())


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's own generators at a seed, as the trainer does for building and training; put back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
