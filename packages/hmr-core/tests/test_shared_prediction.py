"""A prediction that processes share: the same as one process's, whole, and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hmr_core.data.loading import Loader
from hmr_core.data.open_dataset import open_dataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.inference.predict import SamplePoints, annotated_roots
from hmr_core.inference.shared import in_order, predict_shared, share_size
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.run import Run
from hmr_core.processes import ALONE, Place, joined
from hmr_core.weights.checkpoints import load_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def predict_by(run: Run, small_spec: ModelSpec, mini_pack: Pack, together: Any) -> Callable[..., list[Any]]:
    """Predicts the 24 samples of a test subset by so many processes, in batches of 7, of which there are 4."""
    checkpoint = load_checkpoint(run.folder, small_spec)
    rows = mini_pack.indices("sp0", "test")

    def predict_by(count: int, **options: Any) -> list[Any]:
        def work(where: Place) -> Any:
            loader = Loader(open_dataset(small_spec, checkpoint.recipe, mini_pack, layer=None), workers=0, device=CPU)
            done: list[int] = []
            with joined(where, CPU) as group:
                points = predict_shared(
                    group,
                    checkpoint.model,
                    loader,
                    rows,
                    roots=annotated_roots,
                    batch_size=7,
                    on_batch=done.append,
                    **options,
                )
            assert sum(done) == share_size(rows, 7, where)
            return points and (points.ids, points.joints.numpy().tobytes(), points.verts)

        return [work(ALONE)] if count == 1 else together(work, count)  # type: ignore[no-any-return]

    return predict_by


def test_any_number_of_processes_predicts_the_same(predict_by: Callable[..., list[Any]], mini_pack: Pack) -> None:
    (alone,) = predict_by(1)
    assert alone[0] == mini_pack.ids(mini_pack.indices("sp0", "test"))
    for count in (2, 3, 5):  # of five, one has nothing to do
        assert predict_by(count) == [alone, *[None] * (count - 1)]


def test_what_one_process_finds_wrong_ends_all(predict_by: Callable[..., list[Any]], mini_pack: Pack) -> None:
    last = mini_pack.ids(mini_pack.indices("sp0", "test"))[-1]

    def check(part: SamplePoints) -> None:
        if last in part.ids:  # which is in the last batch, the second one's
            raise HmrError(f"{last} is wrong.")

    assert [str(error) for error in predict_by(2, check=check)] == [f"process 1: {last} is wrong.", f"{last} is wrong."]


def points(*ids: str) -> SamplePoints:
    return SamplePoints(ids=list(ids), joints=torch.stack([torch.full((21, 3), float(name[1:])) for name in ids]))


def test_parts_are_put_in_order() -> None:
    whole = in_order([points("s2", "s0"), points("s1")], ["s0", "s1", "s2"])
    assert whole.ids == ["s0", "s1", "s2"]
    assert whole.joints[:, 0, 0].tolist() == [0.0, 1.0, 2.0]
    assert whole.verts is None


def test_what_was_not_predicted_exactly_once_is_refused() -> None:
    for parts, text in (
        ([points("s0"), points("s1")], r"1 of no process \(s2\)\."),
        ([points("s0", "s1"), points("s2", "s1")], r"1 of several \(s1\)\."),
        ([points("s0", "s1"), points("s2", "s7")], r"1 not asked for \(s7\)\."),
        ([points("s7")], r"3 of no process \(s0, s1, s2\); 1 not asked for \(s7\)\."),
    ):
        with pytest.raises(HmrError, match=rf"did not predict each of the 3 samples exactly once: {text} On several"):
            in_order(parts, ["s0", "s1", "s2"])
