"""Released files: what is taken, what is left out, and what every other file is answered with."""

from __future__ import annotations

import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmr_core.builtin_backbones import core_backbones
from hmr_core.config import ModelConfig
from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.resnet import ResNet
from hmr_core.nn.files import read_state_dict
from hmr_core.plugins import ModelSpec, Released
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.convert import convert_released
from hmr_core.weights.identify import identify
from hmr_core.weights.next_commands import Installed
from hmr_core.weights.released_file import Ignored
from hmr_core.weights.weights_file import BackboneFile, Closest, Differing, ReleasedWeights, UnknownWeights

BACKBONES = {spec.name: spec for spec in core_backbones()}

IGNORED = {"hand.": "the hand's own arrays", "old": "what nothing uses"}


@pytest.fixture
def spec(small_spec: ModelSpec) -> ModelSpec:
    """The small model with released files that differ from the published recipe and hold more than the model."""
    return replace(
        small_spec, released=Released(file="Small.pth.tar", overrides=("image_size=48",), ignored=dict(IGNORED))
    )


def weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "body.2.weight": torch.randn(63, 48, generator=generator),
        "body.2.bias": torch.randn(63, generator=generator),
    }


def saved(path: Path, held: object, **options: Any) -> Path:
    torch.save(held, path, **options)
    return path


class Payload:
    """A pickle that makes a file when it is loaded by anything that runs what it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


# What is taken.


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, OrderedDict], ids=["alone", "model", "ordered"])
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_a_released_file_is_taken(tmp_path: Path, spec: ModelSpec, wrap: Callable[[Any], Any], old: bool) -> None:
    path = saved(tmp_path / "any name", wrap(weights()), _use_new_zipfile_serialization=not old)
    checkpoint = load_checkpoint(path, spec)
    assert checkpoint.recipe == load_recipe(spec, "published", ["image_size=48"])
    assert checkpoint.recipe != load_recipe(spec, "published")
    assert all(torch.equal(value, weights()[name]) for name, value in checkpoint.model.state_dict().items())
    assert checkpoint.digest == file_digest(path)
    assert checkpoint.record is None
    assert checkpoint.released is not None
    assert checkpoint.released.ignored == {}
    assert checkpoint.released.note() == "released file: image_size=48"


def test_a_change_of_the_file_leaves_the_model_alone(tmp_path: Path, spec: ModelSpec) -> None:
    path = saved(tmp_path / "x", weights())
    model = load_checkpoint(path, spec).model
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(model.state_dict()["body.2.weight"], weights()["body.2.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16], ids=str)
def test_other_floats_become_the_models(tmp_path: Path, spec: ModelSpec, dtype: torch.dtype) -> None:
    path = saved(tmp_path / "x", {name: value.to(dtype) for name, value in weights().items()})
    state = load_checkpoint(path, spec).model.state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32}
    torch.testing.assert_close(state["body.2.bias"], weights()["body.2.bias"].to(dtype).float(), atol=0, rtol=0)


def test_what_the_model_does_not_use_is_left_out_and_said(tmp_path: Path, spec: ModelSpec) -> None:
    more = {"hand.verts": torch.zeros(5), "hand.faces": torch.zeros(2, dtype=torch.int64), "old_stem": torch.zeros(1)}
    released = load_checkpoint(saved(tmp_path / "x", {**weights(), **more}), spec).released
    assert released is not None
    assert released.ignored == {
        "hand.": Ignored(2, "the hand's own arrays"),
        "old": Ignored(1, "what nothing uses"),
    }
    text = "released file: ignored hand.* (the hand's own arrays); old* (what nothing uses); image_size=48"
    assert released.note() == text
    twice = replace(released, ignored={**released.ignored, "older.": released.ignored["old"]}, overrides=())
    assert twice.note() == "released file: ignored hand.* (the hand's own arrays); old*, older.* (what nothing uses)"


def test_a_file_with_nothing_to_say_gives_no_note(tmp_path: Path, small_spec: ModelSpec) -> None:
    released = load_checkpoint(saved(tmp_path / "x", weights()), small_spec).released
    assert released is not None
    assert released.note() == ""


# What is refused.


def changed(**changes: object) -> dict[str, object]:
    """The weights with some of them changed; None leaves one out."""
    return {name: value for name, value in {**weights(), **changes}.items() if value is not None}


NO_STATE_DICT = (
    r'/x does not hold a state dict \(names to tensors\), by itself or under "model", as released files do: '
)


@pytest.mark.parametrize(
    ("held", "text"),
    [
        (
            changed(**{"body.2.bias": None}),
            r'/x does not fit the model "small": it lacks body\.2\.bias\. Is it a check',
        ),
        (
            changed(extra=torch.zeros(1)),
            r'fit the model "small": it has the unknown extra\. Is it .* or recipe\? `hmr ',
        ),
        (
            changed(**{"body.2.bias": torch.zeros(60)}),
            r"body\.2\.bias has shape \(60,\), and the model wants \(63,\)\. Is it a checkpoint of another recipe\? `h",
        ),
        (
            {name: value for name, value in changed(new=torch.zeros(1)).items() if name != "body.2.weight"},
            r"it lacks body\.2\.weight; it has the unknown new\. Is it",
        ),
        (
            changed(**{"body.2.num_batches_tracked": torch.zeros(())}),
            r"it has the unknown body\.2\.num_batches_tracked\.",
        ),
        (
            changed(**{"body.2.bias": torch.zeros(63, dtype=torch.int64)}),
            r'fit the model "small": body\.2\.bias holds int64, and the model wants float32\.',
        ),
        (
            changed(**{"body.2.bias": torch.full((63,), torch.nan)}),
            r"/x holds numbers that are not finite, first in body\.2\.bias: it is damaged\. Get it again\.",
        ),
        (
            changed(**{"body.2.weight": torch.full((63, 48), -torch.inf)}),
            r"not finite, first in body\.2\.weight: it is damaged",
        ),
        (
            {f"module.{name}": value for name, value in weights().items()},
            NO_STATE_DICT + r'all its names begin with "module\.", as torch\.nn\.DataParallel has them; save its \.mod',
        ),
        (changed(**{"module.body.2.bias": torch.zeros(63)}), r"it has the unknown module\.body\.2\.bias\."),
        ([weights()], NO_STATE_DICT + r"it holds a list\."),
        ({"model": [1]}, NO_STATE_DICT + r"it holds a list\."),
        (torch.zeros(3), NO_STATE_DICT + r"it holds a Tensor\."),
        ({}, NO_STATE_DICT + r"it is empty\."),
        ({"net": weights()}, NO_STATE_DICT + r'its "net" is a dict; save its \["net"\] by itself\.$'),
        (
            {"epoch": 3, "state_dict": weights(), "optimizer": {"state": {}}},
            NO_STATE_DICT + r'its "state_dict" is a dict; save its \["state_dict"\] by itself\.$',
        ),
        ({"model": weights(), "epoch": 3}, NO_STATE_DICT + r'its "model" is a dict; save its \["model"\] by itself\.$'),
        ({"settings": {"epoch": 3}}, NO_STATE_DICT + r'its "settings" is a dict\.$'),
        (changed(epoch=3), NO_STATE_DICT + r'its "epoch" is a int\.'),
        ({3: torch.zeros(1)}, NO_STATE_DICT + r"it has a int for a name\."),
        (
            changed(**{"body.2.bias": torch.zeros(63).to_sparse()}),
            NO_STATE_DICT + r'its "body\.2\.bias" is a tensor without plain numbers\.',
        ),
        (
            changed(**{"body.2.bias": torch.zeros(63, device="meta")}),
            NO_STATE_DICT + r'its "body\.2\.bias" is a tensor without plain numbers\.',
        ),
        (
            changed(seen=Path("x")),
            r"/x cannot be loaded as weights alone: it names pathlib\.\w+, which is no tensor\. ckpt takes a run's",
        ),
    ],
    ids=[
        *("missing", "unknown", "shape", "missing and unknown", "num_batches_tracked", "integers", "nan", "inf"),
        *(
            "DataParallel",
            "names twice",
            "list",
            "list inside",
            "tensor",
            "empty dict",
            "nested",
            "training",
            "more beside",
        ),
        "no weights inside",
        *("no tensor", "number for a name", "sparse", "meta", "pickled object"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, spec: ModelSpec, held: object, text: str) -> None:
    with pytest.raises(HmrError, match=text):
        load_checkpoint(saved(tmp_path / "x", held), spec)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("read", ["load", "identify"])
def test_nothing_in_a_file_is_run(tmp_path: Path, spec: ModelSpec, old: bool, read: str) -> None:
    mark = tmp_path / "was run"
    held = {**weights(), "x": Payload(mark)}
    path = saved(tmp_path / "x.pth.tar", held, _use_new_zipfile_serialization=not old)
    with pytest.raises(HmrError, match=r"as weights alone: it names (posix|nt)\.mkdir, which is no tensor\."):
        load_checkpoint(path, spec) if read == "load" else identify(path, Installed({"small": spec}))
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have been


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: b"", "it is empty"),
        (lambda data: data[: len(data) // 2], "it is a damaged or cut off zip file, as torch's are: get it again"),
        (lambda data: data[:-30], "it is a damaged or cut off zip file, as torch's are: get it again"),
        (lambda data: b"\x89HDF\r\n\x1a\n" + data, r"it is a pack or another HDF5 file\. A pack goes to data"),
        (lambda data: b"\n  <!DOCTYPE html>", "it is a web page, not weights: download it again"),
        (lambda data: b"weights: 3\n", "it is no file of torch's"),
        (lambda data: b"\x80\x02]q\x00.", "it is no file of torch's, or a damaged one"),
    ],
    ids=["empty", "half", "end cut off", "HDF5", "web page", "text", "bare pickle"],
)
def test_damaged_files_are_refused(
    tmp_path: Path, spec: ModelSpec, change: Callable[[bytes], bytes], reason: str
) -> None:
    path = saved(tmp_path / "x.pth.tar", weights())
    path.write_bytes(change(path.read_bytes()))
    text = (
        rf"x\.pth\.tar cannot be loaded as weights alone: {reason}\. solver_ckpt takes a run's folder, a "
        r"checkpoint's folder, a model\.safetensors, or a released file\.$"
    )
    with pytest.raises(HmrError, match=text):
        load_checkpoint(path, spec, option=Option("solver_ckpt"))


@pytest.mark.parametrize("package", ["numpy.core.multiarray", "scipy.sparse.csc", "chumpy.ch", "other.numpy"])
@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_what_may_be_manos_file_says_where_it_goes(tmp_path: Path, spec: ModelSpec, package: str, suffix: str) -> None:
    path = tmp_path / f"MANO RIGHT{suffix}"
    path.write_bytes(b"\x80\x02c" + package.encode() + b"\nPart\n.")
    mano = suffix == ".pkl" and package != "other.numpy"
    turn = f" It may be MANO's file: `hmr mano import '{path}' --out hand.npz` makes the file that goes to hand_model."
    text = f"it names {package}.Part, which is no tensor.{turn if mano else ''} ckpt takes a run's folder"
    with pytest.raises(HmrError, match=re.escape(text)):
        load_checkpoint(path, spec)


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def scripted(path: Path) -> Path:
    """A file of TorchScript's as far as torch looks; its writer is deprecated, and warns."""
    return zipped(path, **{"x/data.pkl": b"", "x/constants.pkl": b"", "x/code/__torch__.py": b""})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path, hand: hand, r"it is a hand model\. It goes to hand_model"),
        (lambda path, hand: zipped(path, a__npy=b"", b__npy=b""), r"it is a file of NumPy's arrays \(\.npz\)"),
        (lambda path, hand: zipped(path, a__txt=b""), "it is a zip file, but none of torch's"),
        (lambda path, hand: scripted(path), r"it is a TorchScript file, which is a program; save its \.state_dict\(\)"),
    ],
    ids=["hand model", "npz", "zip", "TorchScript"],
)
def test_zip_files_that_are_not_torchs_are_told(
    tmp_path: Path, spec: ModelSpec, mini_hand_path: Path, make: Callable[[Path, Path], Path], reason: str
) -> None:
    path = make(tmp_path / "x.zip", mini_hand_path)
    with pytest.raises(HmrError, match=rf"{path.name} cannot be loaded as weights alone: {reason}\. ckpt takes a run"):
        load_checkpoint(path, spec)


def test_the_released_file_is_read_in_the_format_that_it_has(tmp_path: Path, spec: ModelSpec) -> None:
    (tmp_path / "model.json").write_text("{}")  # of something else in this folder
    for old in (False, True):
        path = saved(tmp_path / "x.safetensors", weights(), _use_new_zipfile_serialization=not old)
        assert load_checkpoint(path, spec).released is not None
        assert identify(path, Installed({"small": spec})).kind == "released"
    path = saved(tmp_path / "optimizer.safetensors", weights())
    assert load_checkpoint(path, spec).released is not None
    assert identify(path, Installed({"small": spec})).kind == "released"


def test_nothing_is_drawn_for_weights_that_are_loaded_next(tmp_path: Path, spec: ModelSpec) -> None:
    released = saved(tmp_path / "x", weights())
    convert_released(released, tmp_path / "ours", Installed({"small": spec}))
    before = torch.get_rng_state()
    for path in (released, tmp_path / "ours"):
        load_checkpoint(path, spec)
        assert torch.equal(torch.get_rng_state(), before), path


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x", weights())

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HmrError, match=r"/x cannot be read: Permission denied\.$"):
        load_checkpoint(path, spec)


def test_a_model_without_released_files_says_so(tmp_path: Path, small_spec: ModelSpec) -> None:
    path = saved(tmp_path / "x", weights())
    text = (
        f"{path} is no checkpoint of ours (.safetensors with model.json beside), and no released files of the model "
        '"small" are known.'
    )
    for spec in (replace(small_spec, released=None), replace(small_spec, recipes={"tiny": tmp_path})):
        with pytest.raises(HmrError, match=f"^{re.escape(text)}$"):
            load_checkpoint(path, spec)


@pytest.mark.parametrize("name", [name for name, known in KNOWN["model"].items() if known.tensor])
def test_a_file_of_another_known_model_is_named(tmp_path: Path, spec: ModelSpec, name: str) -> None:
    path = saved(tmp_path / "a file", {KNOWN["model"][name].tensor: torch.zeros(1)})
    text = f'{path} is a released file of the model "{name}", not of "small". Give ckpt one of small, or use it '
    with pytest.raises(HmrError, match=f"^{re.escape(text)}with {name}: `hmr ckpt show '{path}'` says how\\.$"):
        load_checkpoint(path, spec)
    with pytest.raises(HmrError, match=rf"Give solver_ckpt one of small, or use it with {name}: `hmr ckpt show "):
        load_checkpoint(path, spec, option=Option("solver_ckpt"))
    own = replace(spec, name=name)  # of this very model, but damaged
    with pytest.raises(HmrError, match=rf'does not fit the model "{name}": it lacks'):
        load_checkpoint(path, own)


def test_a_fitting_file_is_not_taken_for_another_models(tmp_path: Path, spec: ModelSpec) -> None:
    """A model of somebody else's may share a name with one of ours."""
    tensor = KNOWN["model"]["rle"].tensor
    sharing = replace(spec, released=Released(file="x", ignored={tensor: "the other head"}))
    assert load_checkpoint(saved(tmp_path / "x", {**weights(), tensor: torch.zeros(1)}), sharing)


def test_the_file_is_mapped_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    load = torch.load

    def watched(*arguments: Any, **options: Any) -> Any:
        given.append(options["mmap"])
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", watched)
    for zipped in (True, False):
        read_state_dict(saved(tmp_path / "x", weights(), _use_new_zipfile_serialization=zipped), ())
    assert given == [True, False]


# Recognition.


def test_a_released_file_is_recognised_by_its_contents(tmp_path: Path, spec: ModelSpec) -> None:
    other = replace(spec, name="other", released=None)
    broken = replace(spec, name="broken", build=lambda config: 1 / 0)  # type: ignore[arg-type, return-value]
    path = saved(tmp_path / "IntegralPose.pth.tar", {**weights(), "hand.verts": torch.zeros(5)})
    found = identify(path, Installed({"broken": broken, "other": other, "small": spec}))
    assert found == ReleasedWeights(
        path=path,
        size_bytes=path.stat().st_size,
        tensors=3,
        numbers=63 * 49 + 5,
        blake2b=file_digest(path),
        model="small",
        model_state="installed",
        overrides=("image_size=48",),
        ignored={"hand.": Ignored(tensors=1, what="the hand's own arrays")},
        use=(f"hmr eval small --ckpt {path} --split sp0", f"hmr ckpt convert {path} --out small-released"),
    )


def test_the_commands_name_a_split_that_the_literature_has_metrics_of(tmp_path: Path, spec: ModelSpec) -> None:
    path = saved(tmp_path / "x", weights())
    published = replace(spec, published={"subjects": {"mpjpe_mm": 7.0}, "views": {"mpjpe_mm": 6.0}})
    found = identify(path, Installed({"small": published}))
    assert found.use[0] == f"hmr eval small --ckpt {path} --split subjects"
    found = identify(path, Installed({"small": replace(spec, published={})}))
    assert found.use[0] == f"hmr eval small --ckpt {path} --split SPLIT"


def test_a_solvers_file_says_how_a_solver_takes_it(tmp_path: Path, spec: ModelSpec) -> None:
    path = saved(tmp_path / "a file", weights())
    found = identify(path, Installed({"small": spec}, solvers=("small",)))
    run = "hmr eval MODEL --ckpt RUN"
    assert found.use[1] == f"{run} --solver small --solver-ckpt '{path}' --hand-model hand.npz"


def test_a_file_that_two_models_fit_names_both(tmp_path: Path, spec: ModelSpec) -> None:
    path = saved(tmp_path / "x", weights())
    found = identify(path, Installed({"small": spec, "twin": replace(spec, name="twin")}))
    assert isinstance(found, ReleasedWeights)
    assert (found.model, found.fits_too) == ("small", ("twin",))
    assert found.use == (
        f"hmr eval small --ckpt {path} --split sp0",
        f"hmr eval twin --ckpt {path} --split sp0",
        f"hmr ckpt convert {path} --out small-released --model small",
        f"hmr ckpt convert {path} --out twin-released --model twin",
    )


def test_a_file_of_a_model_that_is_not_installed_is_answered_with_pip(tmp_path: Path, spec: ModelSpec) -> None:
    path = saved(tmp_path / "x", {KNOWN["model"]["rle"].tensor: torch.zeros(1)})
    found = identify(path, Installed({"small": spec}))
    assert isinstance(found, ReleasedWeights)
    assert (found.model, found.model_state) == ("rle", "not installed")
    assert found.use == ("pip install hmr-rle", f"hmr ckpt show {path}")
    found = identify(path, Installed({"small": spec}, broken={"rle"}))
    assert isinstance(found, ReleasedWeights)
    assert found.model_state == "broken"
    assert found.use == ("hmr plugins", f"hmr ckpt show {path}")


def test_a_model_that_needs_a_hand_is_shown_with_one(tmp_path: Path, spec: ModelSpec) -> None:
    class Config(ModelConfig):
        backbone: BackboneConfig = BackboneConfig()

    posing = replace(spec, needs_hand=True)
    path = saved(tmp_path / "x", weights())
    found = identify(path, Installed({"small": posing}))
    assert found.use[0] == f"hmr eval small --ckpt {path} --split sp0 --hand-model hand.npz"
    path = saved(tmp_path / "x", dict(ResNet(BackboneConfig(name="resnet18")).state_dict()))
    models = {"small": replace(posing, config=Config), "other": replace(spec, name="other", config=Config)}
    found = identify(path, Installed(models, backbones=BACKBONES))
    train = f"--split sp0 --set backbone.name=resnet18 --set backbone.weights={path}"
    assert found.use == (f"hmr train small {train} --hand-model hand.npz", f"hmr train other {train}")


@pytest.mark.parametrize(
    ("bias", "kind", "said"),
    [
        (torch.zeros(63, dtype=torch.int64), "unknown", "body.2.bias holds integers, the model wants floats"),
        (
            torch.full((63,), -torch.inf, dtype=torch.bfloat16),
            "released",
            "holds numbers that are not finite, first in body.2.bias: it is damaged. Get it again",
        ),
        (torch.full((63,), 1e300, dtype=torch.float64), "released", "holds numbers that are not finite, first in body"),
    ],
    ids=["integers", "not finite", "not finite in single precision"],
)
def test_what_is_called_released_and_sound_is_what_loads(
    tmp_path: Path, spec: ModelSpec, bias: Tensor, kind: str, said: str
) -> None:
    path = saved(tmp_path / "x", changed(**{"body.2.bias": bias, "old": torch.full((1,), torch.nan)}))
    found = identify(path, Installed({"small": spec}))
    assert found.kind == kind
    assert found.use == ()
    if isinstance(found, UnknownWeights):
        assert found.closest is not None
        assert found.closest.wrong_type.first == (said,)
    else:
        assert found.problem is not None
        assert said in found.problem
    with pytest.raises(HmrError):
        load_checkpoint(path, spec)


def test_models_are_built_without_memory_or_random_numbers(
    tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[nn.Module] = []

    def build(config: Any) -> Any:
        built.append(nn.Sequential(spec.build(config), ResNet(BackboneConfig(name="resnet18"))))
        return built[-1]

    state = torch.get_rng_state()
    identify(saved(tmp_path / "x", weights()), Installed({"small": replace(spec, build=build)}))
    assert {parameter.device.type for parameter in built[0].parameters()} == {"meta"}
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_torchvision_backbone_is_recognised(tmp_path: Path, spec: ModelSpec, name: str) -> None:
    state = dict(ResNet(BackboneConfig(name=name, freeze_batch_norm="all")).state_dict())
    path = saved(tmp_path / "x", {**state, "fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)})
    found = identify(path, Installed({"small": spec}, backbones=BACKBONES))
    assert isinstance(found, BackboneFile)
    assert found.backbone == name
    del state["layer1.1.conv1.weight"]
    assert identify(saved(path, state), Installed({"small": spec}, backbones=BACKBONES)).kind == "unknown"


def closest(path: Path, models: dict[str, ModelSpec]) -> Closest | None:
    """The closest model of weights that fit none."""
    found = identify(path, Installed(models))
    assert isinstance(found, UnknownWeights)
    return found.closest


def test_weights_that_fit_nothing_name_the_closest_model(tmp_path: Path, spec: ModelSpec) -> None:
    far = replace(spec, name="far", build=lambda config: nn.Linear(2, 2))  # type: ignore[arg-type, return-value]
    state = {"body.2.weight": torch.zeros(63, 48), "body.2.bias": torch.zeros(60), "extra": torch.zeros(1)}
    found = closest(saved(tmp_path / "x", state), {"far": far, "small": spec})
    assert found is not None
    assert (found.model, found.tensors_that_fit, found.tensors_wanted) == ("small", 1, 2)
    assert found.missing == found.wrong_type == Differing(count=0, first=())
    assert found.unknown == Differing(count=1, first=("extra",))
    assert found.wrong_shape.first == ("body.2.bias has shape (60,), the model wants (63,)",)

    assert closest(saved(tmp_path / "x", {"nothing": torch.zeros(1)}), {"far": far, "small": spec}) is None
    many = {**weights(), **{f"x{i}": torch.zeros(1) for i in range(9)}}
    found = closest(saved(tmp_path / "x", many), {"small": spec})
    assert found is not None
    assert found.unknown == Differing(count=9, first=("x0", "x1", "x2", "x3", "x4"))
