"""A run on a mixture of packs: samples of each by its share, metrics of each, resumed and shared like a run on one."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hmr_core.data.augment import sample_generator
from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader
from hmr_core.data.mixed_dataset import MixedDataset
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.session import evaluate
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import EpochDone, RunStarted, StepDone
from hmr_core.plugins.recipes import AugmentConfig
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.training.asked_data import AskedPack, asked_packs, parse_pack
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on, resume
from hmr_core.training.session import start, train
from hmr_core.training.watchers import Observer
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.run_record import open_run

sys.path.append(str(Path(__file__).parent))  # packing workers import it, too
snapshots = import_module("snapshots")

TIMES = ("seconds", "samples_per_second", "data_wait")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of other cameras, with frames of other sizes, left hands, joints alone, 12 samples to train on, no val."""
    folder = tmp_path_factory.mktemp("snapshots")
    root = snapshots.make_snapshots(folder / "data")
    write_pack(snapshots.Snapshots(root), folder / "others.h5", codec=codec_named("png"))
    made: Path = folder / "others.h5"
    return made


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec) -> Registry:
    needy = replace(small_spec, name="needy", learns_from=("verts",))
    made: Registry = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec, needy]))
    return made


@pytest.fixture
def mix(plugins: Registry, mini_pack_path: Path, others: Path) -> Callable[..., Run]:
    """Trains on two splits of the made-up data set, of 57 and 38 samples, and to a quarter on the other pack."""

    def mixed(folder: Path, *overrides: str, watch: Observer = lambda run, event: None) -> Run:
        given = asked_packs([f"{mini_pack_path}:sp0", f"{mini_pack_path}:sp1", (f"{others}:studio", 0.25)])
        request = TrainingRequest(
            model="small", recipe="tiny", overrides=overrides, data=given, device="cpu", workers=0, out=folder,
            checkpoint_every="4",
        )  # fmt: skip
        return start(request, plugins, [watch])

    return mixed


@pytest.fixture(scope="module")
def kept_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first `mixture` leaves a copy for the others."""
    return tmp_path_factory.mktemp("mixed") / "run"


@pytest.fixture
def mixture(mix: Callable[..., Run], kept_mixture: Path, tmp_path: Path) -> Path:
    """A run of two epochs, each test's own copy."""
    if not kept_mixture.exists():
        mix(kept_mixture, "train.epochs=2")
    return Path(shutil.copytree(kept_mixture, tmp_path / "mixture"))


def figures(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def last(run: Path, file: str = "model.safetensors") -> Path:
    """A file of a run's last checkpoint."""
    return saved_checkpoints(run / "checkpoints")[-1] / file


def test_an_epoch_has_of_each_pack_its_share_and_the_run_says_so(
    mix: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[list[Key]] = [[]]
    told: list[Any] = []
    batch = MixedDataset.batch

    def recording(self: MixedDataset, keys: Any) -> Any:
        epochs[-1].extend(keys)
        return batch(self, keys)

    def watch(run: Run, event: Any) -> None:
        told.append(event)
        if isinstance(event, EpochDone):
            epochs.append([])

    monkeypatch.setattr(MixedDataset, "batch", recording)
    run = mix(tmp_path / "run", "train.epochs=3", watch=watch)
    counts = [47, 31, 26]  # of 104: whole batches of 8 of 107 samples, by 0.45, 0.3 and 0.25
    for keys in epochs[:3]:
        assert [Counter(key.source for key in keys)[source] for source in range(3)] == counts
    seen = Counter((key.source, key.epoch, key.row) for keys in epochs for key in keys)
    assert set(seen.values()) == {1}  # no sample twice in a turn
    assert {key.epoch for keys in epochs for key in keys if key.source == 2} == set(range(1, 8))
    (started,) = [event for event in told if isinstance(event, RunStarted)]
    assert (started.train_samples, started.val_samples, started.steps_per_epoch) == (107, 25, 13)
    assert len(started.notes) == 1
    assert started.notes[0].startswith("snapshots: no val metrics: ")
    assert (run.split, open_run(run.folder)) == ("oakink-sp0+oakink-sp1+snapshots", run)
    data = json.loads((run.folder / "config.json").read_text())["data"]
    assert [(each["name"], each["split"], round(each["share"], 9)) for each in data] == [
        ("oakink-sp0", "sp0", 0.45), ("oakink-sp1", "sp1", 0.3), ("snapshots", "studio", 0.25)
    ]  # fmt: skip
    log = (run.folder / "train.log").read_text()
    assert f"data: {run.data[2].path} (snapshots: studio, 25 % of an epoch)" in log
    assert "   oakink-sp1: mpjpe_mm " in log


def test_val_is_measured_on_each_pack_and_their_mean_decides(
    mixture: Path, small_spec: ModelSpec, mini_pack: Pack, evaluate_on: Any
) -> None:
    checkpoint = load_checkpoint(mixture, small_spec)
    assert checkpoint.record is not None
    val = checkpoint.record.val
    options: dict[str, Any] = {"subset": "val", "device": torch.device("cpu"), "batch_size": 8, "workers": 0}
    for split in ("sp0", "sp1"):
        found = evaluate_on(small_spec, checkpoint, mini_pack, split=split, **options).report["metrics"]
        assert {name: val[f"oakink-{split}/{name}"] for name in found} == found
    for name in ("mpjpe_mm", "pa_mpjpe_mm"):
        assert val[name] == (val[f"oakink-sp0/{name}"] + val[f"oakink-sp1/{name}"]) / 2
    assert val["mpvpe_mm"] is None
    assert not any(name.startswith("snapshots/") for name in val)
    assert checkpoint.record.mpjpe_on_val == val["mpjpe_mm"]
    assert figures(mixture)[-1]["val"] == {name: value and float(f"{value:.6g}") for name, value in val.items()}


def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_to_the_very_same(
    mix: Callable[..., Run], mixture: Path, plugins: Registry, tmp_path: Path
) -> None:
    def killed(run: Run, event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mix(tmp_path / "run", "train.epochs=2", watch=killed)
    assert last(tmp_path / "run").parent.name == "epoch-0001-step-00000016"  # 13 steps are an epoch
    go_on(tmp_path / "run", plugins, device="cpu", workers=1)
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert last(tmp_path / "run", file).read_bytes() == last(mixture, file).read_bytes()
    assert figures(tmp_path / "run") == figures(mixture)


@pytest.mark.slow
def test_two_processes_train_on_a_mixture_as_one_does_and_so_do_two_parts(
    mix: Callable[..., Run], together: Callable[..., list[Any]], tmp_path: Path
) -> None:
    def losses(name: str, *overrides: str) -> list[dict[str, float]]:
        """Those of 20 steps and 4 epochs as they were measured: metrics.jsonl has six digits of them."""
        found: list[dict[str, float]] = []

        def watch(run: Run, event: Any) -> None:
            if isinstance(event, StepDone | EpochDone):
                found.append(dict(event.losses))

        mix(tmp_path / name, "train.epochs=4", "train.samples_per_epoch=40", *overrides, watch=watch)
        return found

    one, parts = losses("one"), losses("parts", "train.grad_accum=2")
    import_module("torch._dynamo")  # as DDP does: seconds that two processes would each take of their time
    two, _ = together(lambda where: losses("two"), 2)
    assert len(one) == 24
    for name, its in {"parts": parts, "two": two}.items():
        assert isinstance(its, list), its
        for own, other in zip(one, its, strict=True):
            assert other == pytest.approx(own, rel=1e-6)
        weights = load_file(last(tmp_path / name))
        for tensor, value in load_file(last(tmp_path / "one")).items():
            assert weights[tensor].numpy() == pytest.approx(value.numpy(), rel=1e-4, abs=1e-6), tensor
    assert last(tmp_path / "two").read_bytes() != last(tmp_path / "one").read_bytes()  # sums in another order


def test_one_pack_may_be_gone_through_by_epochs_of_any_length(
    trainer: Any, tmp_path: Path, mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Key] = []
    batch = ImageDataset.batch

    def recording(self: ImageDataset, keys: Any) -> Any:
        seen.extend(key for key in keys if key.epoch)
        return batch(self, keys)

    monkeypatch.setattr(ImageDataset, "batch", recording)
    run = trainer(tmp_path / "run", "train.samples_per_epoch=20", "train.epochs=4")
    assert [event.step for event in trainer.events if isinstance(event, EpochDone)] == [2, 4, 6, 8]
    first = [key.row for key in seen if key.epoch == 1]
    assert sorted(first) == sorted(mini_pack.indices("sp0", "train").tolist())
    assert len(seen) - len(first) == 64 - 57
    assert (run.split, run.data) == ("sp0", (replace(run.data[0], name=None, split=None, share=None),))


def test_samples_of_several_packs_make_one_batch(mini_pack: Pack, others: Path) -> None:
    options: dict[str, Any] = {"image_size": 32, "augment": AugmentConfig(), "seed": 3}
    datasets = [ImageDataset(pack, **options) for pack in (mini_pack, Pack(others))]
    keys = [Key(2, 5, 1), Key(1, 3, 0), Key(1, 3, 1), Key(1, 7, 0), Key(2, 4, 1)]
    loader = Loader(MixedDataset(datasets), workers=0, device=torch.device("cpu"))
    (mixed,) = loader.load([keys])
    for i, key in enumerate(keys):
        alone = datasets[key.source].batch([key])
        assert mixed.ids[i] == alone.ids[0]
        for one, own in zip(mixed.tensors(), alone.tensors(), strict=True):
            assert torch.equal(one[i], own[0])
    assert not mixed.targets.verts_vis[[0, 2, 4]].any()

    def failing(keys: object) -> Any:
        raise ZeroDivisionError("too much")

    datasets[1].batch = failing  # type: ignore[method-assign]
    with pytest.raises(HmrError) as caught:
        list(loader.load([keys]))
    assert str(caught.value) == (
        f"samples of {others} and {mini_pack.path} could not be loaded (ZeroDivisionError: too much); they are in the "
        f"rows 5, 3, 4 of {others} and 3, 7 of {mini_pack.path}. The traceback: HMR_DEBUG=1."
    )


def test_packs_that_share_ids_are_augmented_apart_and_one_pack_as_ever() -> None:
    digest = hashlib.blake2b(b"3/2/a", digest_size=16).digest()
    as_ever = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little"))).random(4)
    assert np.array_equal(sample_generator(3, 2, "a").random(4), as_ever)
    drawn = [tuple(sample_generator(3, 2, "a", source).random(4)) for source in range(3)]
    assert drawn[0] == tuple(as_ever)
    assert len(set(drawn)) == 3


def test_a_pack_is_named_with_its_split_and_its_share_and_paths_may_have_colons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.h5", "b=0.5", "b=0.5=0.25", "c:sp0", "d"):
        Path(name).touch()
    asked = {
        "a.h5": ("a.h5", None, None),
        "a.h5=0.25": ("a.h5", None, 0.25),
        "a.h5:sp0-ho": ("a.h5", "sp0-ho", None),
        "a.h5:sp0=1e-2": ("a.h5", "sp0", 0.01),
        "b=0.5": ("b=0.5", None, None),
        "b=0.5=0.25": ("b=0.5=0.25", None, None),
        "b=0.5:x=0.25": ("b=0.5", "x", 0.25),
        "c:sp0": ("c:sp0", None, None),
        "c:sp0=0.5": ("c:sp0", None, 0.5),
        "c:sp0:sp1": ("c:sp0", "sp1", None),
        "d:sp0": ("d", "sp0", None),
        "gone.h5:sp0=0.5": ("gone.h5", "sp0", 0.5),
        "gone.h5=half": ("gone.h5=half", None, None),
        "C:/gone": ("C:/gone", None, None),
    }
    for text, (path, split, share) in asked.items():
        assert parse_pack(text) == AskedPack(path=Path(path), split=split, share=share), text
    with pytest.raises(UsageError, match=r'^a share of "half" for a\.h5; valid: a number above 0, and 1 at most\.$'):
        parse_pack("a.h5=half")
    for nothing in ("", " ", "=0.5", ":sp0", ":sp0=0.5"):
        with pytest.raises(UsageError, match=rf'^data of "{nothing}" names no pack; valid: PACK, the path of one, or'):
            parse_pack(nothing)
    assert asked_packs(None) == ()
    assert asked_packs(["a.h5:sp0", ("d", 0.5), Path("c:sp0")]) == (
        AskedPack(path=Path("a.h5"), split="sp0"), AskedPack(path=Path("d"), share=0.5), AskedPack(path=Path("c:sp0"))
    )  # fmt: skip
    assert asked_packs(("a.h5", 0.5)) == (AskedPack(path=Path("a.h5"), share=0.5),)
    assert asked_packs(("a.h5", "d")) == (AskedPack(path=Path("a.h5")), AskedPack(path=Path("d")))
    with pytest.raises(UsageError, match=r"^data of \{'a\.h5': 0\.5\}; valid: the path of a pack, or a path and a sha"):
        asked_packs([{"a.h5": 0.5}])  # type: ignore[list-item]


def test_what_cannot_be_mixed_is_refused_before_anything_is_written(
    plugins: Registry, mini_pack_path: Path, others: Path, tmp_path: Path
) -> None:
    mini = f"{mini_pack_path}:sp0"
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ([(mini, 0.75), (others, 0.5)], {}, "the shares 0.75 + 0.5 are 1.25 in all"),
        ([(mini, 1), others], {}, f"the shares 1 leave nothing for {others}"),
        ([mini, (f"{mini_pack_path}:sp1", 2)], {}, f"a share of 2 for {mini_pack_path}:sp1: a share is above 0"),
        ((mini, 0.5), {}, "the shares 0.5 are 0.5 in all, and no pack is left to take the rest"),
        (
            [mini, (others, 0.001)],
            {},
            f"an epoch draws, {others} with its share of 0.001 gives none. Give it a",
        ),
        ([mini_pack_path, others], {"split": "studios"}, f'{mini_pack_path} has no split "studios". It has: sp0'),
        ([mini_pack_path, others], {"split": None}, "has the splits sp0, sp1, sp2, sp0-ho. Choose one with split or "),
        ([mini, others], {"split": "sp0"}, 'studio, wild, pairs, and "sp0" is none of them. Choose one with split or'),
        ([mini, f"{others}:wild"], {}, "has no subset"),
        ([mini, mini], {}, f"sp0 of one pack is given twice ({mini_pack_path}, {mini_pack_path}): give it once"),
        ([mini, others], {"set": {"train.samples_per_epoch": 5}}, "an epoch draws 5 samples, fewer than a batch of 8."),
        ([mini, others], {"subset": "train+val"}, f'{others} has no subset "train+val" of studio'),
        ([mini, others], {"model": "needy"}, f"training needy needs verts, which {others} (synthetic snapshots) lacks"),
        ([mini, tmp_path / "gone.h5"], {}, "gone.h5"),
    ]
    for data, changes, text in refused:
        options = {"model": "small", "split": "studio", "data": data, "out": tmp_path / "run", **changes}
        with pytest.raises(HmrError) as raised:
            train(recipe="tiny", device="cpu", progress=False, registry=plugins, **options)
        assert text in str(raised.value), str(raised.value)
        assert not (tmp_path / "run").exists()


def test_a_pack_that_was_moved_is_found_by_its_digest_and_another_is_refused(
    mixture: Path, plugins: Registry, mini_pack_path: Path, others: Path, tmp_path: Path
) -> None:
    config = json.loads((mixture / "config.json").read_text())
    config["data"][2]["path"] = str(tmp_path / "gone.h5")
    (mixture / "config.json").write_text(json.dumps(config))
    options: dict[str, Any] = {"epochs": 3, "device": "cpu", "workers": 0, "progress": False, "registry": plugins}
    with pytest.raises(HmrError, match=r"gone\.h5, the pack that .* was trained with, is not there any more"):
        resume(mixture, **options)
    stranger = tmp_path / "stranger.h5"
    root = snapshots.make_snapshots(tmp_path / "data")
    write_pack(snapshots.Snapshots(root), stranger, codec=codec_named("jpeg"))
    with pytest.raises(HmrError, match=r"stranger\.h5 is none of the packs that .* are .*mini\.h5 \(oakink-sp0\)"):
        resume(mixture, data=stranger, **options)
    with pytest.raises(UsageError, match=r"was trained on 3 packs, and 4 are given"):
        resume(mixture, data=[others] * 4, **options)
    run = resume(mixture, data=[others], **options)
    assert [each.path for each in run.data] == [mini_pack_path.resolve()] * 2 + [others]
    assert figures(mixture)[-1]["epoch"] == 3


def test_a_run_of_other_shares_is_another_run(
    hmr: Any, mini_pack_path: Path, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train", "small", "--recipe", "tiny", "--epochs", "1", "--device", "cpu", "--resume-or-start")

    def start_it(share: str) -> Any:
        return hmr(*command, "--data", f"{mini_pack_path}:sp0", "--data", f"{others}:studio={share}")

    status, out, err = start_it("0.25")
    assert status == 0, err
    folder = "runs/small-oakink+snapshots-tiny"
    assert out.splitlines() == [
        f"run: {folder}",
        f"next: hmr eval small --ckpt {folder} --split sp0 --data {mini_pack_path}",
        f"next: hmr eval small --ckpt {folder} --split studio --data {others}",
    ]
    assert "is finished" in start_it("0.25").err
    status, _, err = start_it("0.5")
    assert status == 1
    assert f"error: {folder} is another run than the one that is asked for: its data is [{{" in err
    status, _, err = hmr("train", "--resume", folder, "--data", f"{others}=0.5")
    assert (status, err.splitlines()[0]) == (
        2, "error: --resume takes splits and shares from the run: --data says where a pack is now, and no more."
    )  # fmt: skip
    details = hmr("runs", folder).out
    assert f"{others} (snapshots: studio, 25 % of an epoch)" in details
    assert [each["name"] for each in json.loads(hmr("runs", folder, "--json").out)["mixture"]] == [
        "oakink",
        "snapshots",
    ]


def test_an_evaluation_takes_the_split_that_was_trained_on_of_its_pack(
    mixture: Path, plugins: Registry, others: Path, mini_pack_path: Path, synthetic_pack_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    options: dict[str, Any] = {"device": "cpu", "workers": 0, "registry": plugins}
    report = evaluate(mixture, data=others, **options)
    assert (report["split"], report["samples"]) == ("studio", 6)
    trained = report["checkpoint"]["trained_on"]
    assert (trained["split"], [each["name"] for each in trained["mixture"]]) == (
        "oakink-sp0+oakink-sp1+snapshots", ["oakink-sp0", "oakink-sp1", "snapshots"]
    )  # fmt: skip
    assert not [note for note in report["notes"] if "trained on" in note]
    other = evaluate(mixture, data=others, split="wild", **options)
    assert [note for note in other["notes"] if "trained on" in note] == [
        "the checkpoint was trained on studio: samples of wild test may be among its training ones"
    ]
    with pytest.raises(UsageError, match=r"was trained on 2 splits of .*mini\.h5: sp0, sp1\. Give split"):
        evaluate(mixture, data=mini_pack_path, **options)
    with pytest.raises(UsageError, match=r"was trained on a mixture, of which .*pack\.h5 is no part\. Give split"):
        evaluate(mixture, data=synthetic_pack_path, **options)
    monkeypatch.delenv("HMR_DATA", raising=False)
    for split, path in (
        ("studio", others),
        ("sp0", mini_pack_path),
        ("default", mini_pack_path),
        ("sp2", mini_pack_path),
    ):
        where_it_was = evaluate(mixture, split=split, **options)["pack"]["path"]
        assert Path(where_it_was) == path.resolve()
    choices = (
        f"Give one: data={mini_pack_path.resolve()} split=sp0; or data={mini_pack_path.resolve()} split=sp1; or "
        f"data={others.resolve()} split=studio."
    )
    for split, which in ((None, ""), ("s0", ', of which none there has the split "s0"')):
        with pytest.raises(UsageError) as raised:
            evaluate(mixture, split=split, **options)
        assert str(raised.value) == f"{mixture} was trained on 2 packs{which}. {choices}"
    strange = evaluate(mixture, data=synthetic_pack_path, split="sp0", **options)
    assert [note for note in strange["notes"] if "trained on" in note] == [
        f"the checkpoint was trained on other packs than this one, {synthetic_pack_path}"
    ]
