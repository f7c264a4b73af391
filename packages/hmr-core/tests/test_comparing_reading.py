"""Which evaluations are compared: what is read, found and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.comparing.reading import open_evaluations
from hmr_core.evaluation.predictions import MEANINGS, read_predictions, write_predictions
from hmr_core.evaluation.saved import SavedEvaluation

Evaluated = Callable[..., SavedEvaluation]


@pytest.fixture(autouse=True)
def no_default_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HMR_DATA", raising=False)


def own_file(path: Path, mini_pack: Pack, subset: str = "test") -> Path:
    """A file of predictions as anybody writes it, in an order of its own."""
    rows = mini_pack.indices("sp0", subset)[::-1]
    with h5py.File(path, "w") as file:
        file.attrs.update(format="hmr-predictions/1", model="mine", split="sp0", subset=subset, **MEANINGS)
        file["id"] = mini_pack.ids(rows)
        file["joints"] = mini_pack.array("joints", rows) + np.arange(len(rows), dtype=np.float32)[:, None, None] * 1e-3
    return path


def test_evaluations_are_read_and_the_pack_that_they_name_is_found(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    evaluated("b", 3.0, folder=Path("b"))
    found, pack = open_evaluations([Path("a"), Path("b")])
    assert [one.report["model"] for one in found] == ["a", "b"]
    assert [one.folder for one in found] == [Path("a"), Path("b")]
    assert pack is not None
    assert pack.path == mini_pack.path


def test_the_default_pack_comes_first_and_another_of_that_name_is_passed_over(
    mini_pack: Pack, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    Path("same.h5").write_bytes(mini_pack.path.read_bytes())
    monkeypatch.setenv("HMR_DATA", "same.h5")
    assert (pack := open_evaluations([Path("a")])[1]) is not None
    assert pack.path == Path("same.h5")
    Path("same.h5").write_bytes(b"another")
    assert (pack := open_evaluations([Path("a")])[1]) is not None
    assert pack.path == mini_pack.path
    report = json.loads(Path("a/report.json").read_text())
    report["pack"]["path"] = "gone.h5"
    Path("a/report.json").write_text(json.dumps(report))
    assert open_evaluations([Path("a")])[1] is None


def test_predictions_of_one_s_own_are_scored_and_put_in_order(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    mine = own_file(Path("mine.h5"), mini_pack)
    (a, own), _ = open_evaluations([Path("a"), mine])
    assert own.predictions.ids == a.predictions.ids
    assert own.report["model"] == "mine"
    assert own.predictions.mpjpe_mm is not None
    np.testing.assert_allclose(own.predictions.mpjpe_mm, np.arange(24)[::-1] * 3**0.5, atol=1e-3)
    rows = mini_pack.indices("sp0", "test")
    np.testing.assert_allclose(own.predictions.joints[5], mini_pack.array("joints", rows)[5] + 0.018, atol=1e-6)
    report = json.loads(Path("a/report.json").read_text())
    report["pack"]["path"] = "gone.h5"
    Path("a/report.json").write_text(json.dumps(report))
    alone = r"mine\.h5 has predictions alone, and the pack .* was not found\. Name it with data\."
    with pytest.raises(HmrError, match=alone):
        open_evaluations([Path("a"), mine])
    with pytest.raises(HmrError, match=alone):  # there is no default pack
        open_evaluations([mine])


def test_evaluations_of_other_subsets_say_which_samples_differ_and_what_to_run(
    mini_pack: Pack, evaluated: Evaluated
) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    evaluated("b", 3.0, folder=Path("b"), subset="val")
    test, val = (sorted(mini_pack.ids(mini_pack.indices("sp0", subset))) for subset in ("test", "val"))
    with pytest.raises(HmrError) as error:
        open_evaluations([Path("a"), Path("b")])
    assert str(error.value) == (
        "b is of sp0 val (15 samples), and a of sp0 test (24 samples), so there is nothing to compare sample by "
        f"sample: b lacks {', '.join(test[:3])} and 21 more; a lacks {', '.join(val[:3])} and 12 more. Evaluate both "
        f"on one subset: `hmr eval b --ckpt runs/b/last.safetensors --split sp0 --subset test --data {mini_pack.path}`"
    )


def test_the_command_for_the_other_subset_is_the_one_of_before(mini_pack: Pack, evaluated: Evaluated) -> None:
    """With whatever the user gave it, but for the subset, and for a folder that holds another evaluation."""
    evaluated("a", 3.0, folder=Path("a"))
    evaluated("b", 3.0, folder=Path("mine/b"), subset="val")
    report = json.loads(Path("mine/b/report.json").read_text())
    began = "hmr eval b --ckpt runs/b:best --solver lm --solver-set fit=fast --device cpu"
    subset = f"--split sp0 --subset test --data {mini_pack.path}"
    for before, again in (
        (f"{began} --subset val", f"{began} {subset}"),
        (f"{began} --subset val --out mine/b", f"{began} {subset} --out mine/b-test"),
        ("hmr.evaluate('runs/b')", f"hmr eval b --ckpt runs/b/last.safetensors --solver lm --protocol best {subset}"),
    ):
        report |= {"started": {"command": before}, "solver": {"name": "lm", "checkpoint": None}, "protocol": "best"}
        Path("mine/b/report.json").write_text(json.dumps(report))
        with pytest.raises(HmrError) as error:
            open_evaluations([Path("a"), Path("mine/b")])
        assert str(error.value).endswith(f"Evaluate both on one subset: `{again}`")
    # A file of somebody's own has no command; the other evaluation has one.
    own_file(Path("own.h5"), mini_pack, "val")
    with pytest.raises(HmrError, match=r"Evaluate both on one subset: `hmr eval a --ckpt .* --subset val --data "):
        open_evaluations([Path("a"), Path("own.h5")])
    own_file(Path("other.h5"), mini_pack)
    with pytest.raises(HmrError, match=r"on one subset: write the predictions of own\.h5 anew, of sp0 test$"):
        open_evaluations([Path("own.h5"), Path("other.h5")], mini_pack.path)


def test_what_was_meant_by_a_wrong_path_is_found(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluated("a", 3.0, folder=Path("eval/a"))
    evaluated("b", 3.0, folder=Path("eval/my b"))
    (by_report,), _ = open_evaluations([Path("eval/a/report.json")])
    assert by_report.folder == Path("eval/a")
    with pytest.raises(HmrError, match=r"Give the evaluations in it: `hmr compare eval/a 'eval/my b'`$"):
        open_evaluations([Path("eval")])
    with pytest.raises(UsageError, match="eval/a is given twice"):
        open_evaluations([Path("eval/a"), Path("eval/a/report.json")])
    Path("run").mkdir()
    Path("run/config.json").write_text("{}")
    with pytest.raises(HmrError, match=r"It is a run: `hmr eval MODEL --ckpt run` evaluates it\."):
        open_evaluations([Path("run")])


def test_evaluations_of_two_packs_are_refused(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    evaluated("b", 3.0, folder=Path("b"))
    report = json.loads(Path("b/report.json").read_text())
    report["pack"] = {"path": "other.h5", "blake2b": "another", "release": ""}
    Path("b/report.json").write_text(json.dumps(report))
    write_predictions(Path("b/predictions.h5"), replace(read_predictions(Path("b/predictions.h5")), pack="another"))
    with pytest.raises(HmrError) as error:
        open_evaluations([Path("a"), Path("b")])
    assert str(error.value) == (
        f"b and a are of the same ids in two packs (other.h5 and {mini_pack.path}), in which samples of one id may "
        "differ. Evaluate both on one pack: `hmr eval b --ckpt runs/b/last.safetensors --split sp0 --subset test "
        f"--data {mini_pack.path}`"
    )


def test_what_is_no_whole_evaluation_is_named(mini_pack: Pack, evaluated: Evaluated) -> None:
    how = r"Give a folder that `hmr eval` wrote; its default is eval/NAME-SPLIT-SUBSET\."
    with pytest.raises(
        HmrError, match=rf"nothing holds no evaluation: nothing/report\.json cannot be read \(No such file.*\)\. {how}"
    ):
        open_evaluations([Path("nothing")])
    evaluated("a", 3.0, folder=Path("a"))
    text = Path("a/report.json").read_text()
    for damaged in (text[:500], "[]", "{}", '{"pack": 3, "errors": null}'):
        Path("a/report.json").write_text(damaged)
        with pytest.raises(
            HmrError,
            match=r"a holds no evaluation: its report\.json is not a whole report\. Evaluate again, into the sa",
        ):
            open_evaluations([Path("a")])
    Path("a/report.json").write_text(text)
    Path("a/predictions.h5").unlink()
    with pytest.raises(HmrError, match=r"no such file of predictions: a/predictions\.h5"):
        open_evaluations([Path("a")])
    evaluated("b", 3.0, folder=Path("b"), subset="val")
    Path("a/predictions.h5").write_bytes(Path("b/predictions.h5").read_bytes())
    with pytest.raises(
        HmrError, match=r"report\.json and predictions\.h5 in a are not of one evaluation\. Evaluate again"
    ):
        open_evaluations([Path("a")])


def test_predictions_that_are_not_finite_are_named(mini_pack: Pack, evaluated: Evaluated) -> None:
    one = evaluated("a", 3.0, folder=Path("a"))
    joints = one.predictions.joints.copy()
    joints[4, 2] = np.nan
    write_predictions(Path("a/predictions.h5"), replace(one.predictions, joints=joints))
    with pytest.raises(
        HmrError, match=rf"the joints of {one.predictions.ids[4]} in a are not finite\. Evaluate again, into"
    ):
        open_evaluations([Path("a")])


def test_samples_without_truth_leave_nothing_to_compare(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    report = json.loads(Path("a/report.json").read_text())
    report["metrics"] = dict.fromkeys(report["metrics"])
    Path("a/report.json").write_text(json.dumps(report))
    with pytest.raises(HmrError, match=r"^a has no metrics, since its samples have no truth: .*, pack the data set"):
        open_evaluations([Path("a")])


def test_an_evaluation_given_twice_and_none(mini_pack: Pack, evaluated: Evaluated) -> None:
    evaluated("a", 3.0, folder=Path("a"))
    with pytest.raises(UsageError, match=r"/a is given twice\. Give each evaluation once\."):
        open_evaluations([Path("a"), Path("../").resolve() / Path.cwd().name / "a"])
    with pytest.raises(UsageError, match="no evaluation is named"):
        open_evaluations([])
