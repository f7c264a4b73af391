"""Which evaluations are compared, and the pack that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hmr_core.data.default_pack import default_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.evaluation.predictions import SHAPES, Predictions, read_predictions
from hmr_core.evaluation.protocols import EVALUATION_PROTOCOLS
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.rescoring import score_predictions
from hmr_core.evaluation.results import REPORT
from hmr_core.evaluation.saved import SavedEvaluation, read_evaluation
from hmr_core.evaluation.submissions import find_predictions, is_submission, read_submission
from hmr_core.files import is_there
from hmr_core.plugins.registry import Registry, discover
from hmr_core.shell import changed_command, command_line, has_option
from hmr_core.wording import counted, listed

PUBLISHED = "published"


def open_evaluations(
    paths: Sequence[Path], data: Path | None = None, registry: Registry | None = None
) -> tuple[list[SavedEvaluation], Pack | None]:
    """Read evaluations of the same samples, all in the order of the first, and open their pack.

    paths: folders that `hmr eval` left, or their reports; and files of predictions, ours or in the form of the authors
    of the pack's data set, or the folders of these, which are scored. data: their pack; None for the default pack or
    the one that a report names, whichever is theirs, and for none where neither is. registry: the plugins; by default
    the installed ones.
    Raises UsageError for a path given twice, and HmrError for what is no evaluation, for evaluations of other samples,
    for a pack that is not theirs, for predictions alone without a pack, and for samples without truth.
    """
    if not paths:
        raise UsageError("no evaluation is named. Give one folder of `hmr eval` at least.")
    registry = registry or discover()
    paths = [_meant(path, registry) for path in paths]
    for place, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:place]}:
            raise UsageError(f"{path} is given twice. Give each evaluation once.")
    read = {path: _read(path) for path in paths}
    folders = [one for one in read.values() if isinstance(one, SavedEvaluation)]
    pack = Pack(data) if data is not None else _their_pack(folders)
    split = next((_predictions(one).split for one in read.values() if one is not None), None)
    evaluations = []
    for path, one in read.items():
        if not isinstance(one, SavedEvaluation):
            there = _of_their_predictions(path, pack)
            one = _scored(path, one or _submitted(path, there, split, registry), there)
        evaluations.append(one)
    for one in evaluations:
        if one.report["metrics"]["mpjpe_mm"] is None:
            raise HmrError(
                f"{one.folder} has no metrics, since its samples have no truth: there is nothing to compare.",
                "If their annotations are public, pack the data set with them, and evaluate again.",
            )
    _check_same(evaluations)
    return [_in_order(one, evaluations[0].predictions.ids) for one in evaluations], pack


def _meant(path: Path, registry: Registry) -> Path:
    """The folder of an evaluation by its report, and the file of predictions by the folder of a submission."""
    if path.name == REPORT and path.is_file():
        return path.parent
    if path.is_dir() and not is_there(path / REPORT):
        with suppress(HmrError):  # a folder of neither, which is told when it is read
            return find_predictions(path, registry)
    return path


def _read(path: Path) -> SavedEvaluation | Predictions | None:
    """An evaluation, or predictions alone; None for those of a submission, which cannot be read without the pack."""
    if not path.is_file():
        return read_evaluation(path)
    return None if is_submission(path) else read_predictions(path)


def _predictions(one: SavedEvaluation | Predictions) -> Predictions:
    return one.predictions if isinstance(one, SavedEvaluation) else one


def _submitted(path: Path, pack: Pack, split: str | None, registry: Registry) -> Predictions:
    """The predictions of a submission. split: of the evaluations beside it, if there are any."""
    if split is None and len(pack.info.counts) > 1:
        raise UsageError(
            f"{path} does not say which split its predictions are of; {pack.path} has {', '.join(pack.info.counts)}. "
            "Compare it with an evaluation, whose split it is then of."
        )
    return read_submission(path, pack, split, registry)


def _their_pack(folders: Sequence[SavedEvaluation]) -> Pack | None:
    """The default pack, or that which a report names, if it is there and is the one that they were made on."""
    if not folders:
        return Pack(default_pack()) if is_there(default_pack()) else None
    for path in (default_pack(), *(Path(one.report["pack"]["path"]) for one in folders)):
        if not is_there(path):
            continue
        try:
            pack = Pack(path)
        except HmrError:
            continue  # something else of that name, or damaged: comparing goes without
        if pack.info.digest == folders[0].predictions.pack:
            return pack
    return None


def _of_their_predictions(path: Path, pack: Pack | None) -> Pack:
    """The pack that predictions alone are scored on; HmrError where there is none."""
    if pack is None:
        raise HmrError(
            f"{path} has predictions alone, and the pack that they are compared on was not found.",
            "Name it with ",
            Option("data"),
            ".",
        )
    return pack


def _scored(path: Path, predictions: Predictions, pack: Pack) -> SavedEvaluation:
    """An evaluation of predictions alone."""
    report = score_predictions(path, predictions, pack)
    errors: dict[str, Any] = {
        name: np.asarray(values, dtype=np.float32)
        for name, values in report["errors"].items()
        if name != "id" and values is not None
    }
    predictions = replace(predictions, pack=pack.info.digest, **errors)
    return SavedEvaluation(folder=path, report=report, predictions=predictions)


def _check_same(evaluations: Sequence[SavedEvaluation]) -> None:
    """HmrError for the first evaluation that is not of the samples of the first one."""
    first = evaluations[0]
    for one in evaluations[1:]:
        ours, theirs = set(first.predictions.ids), set(one.predictions.ids)
        if ours != theirs:
            raise HmrError(
                f"{one.folder} is of {_subset(one)}, and {first.folder} of {_subset(first)}, so there is nothing to "
                f"compare sample by sample: {_lacking(one, ours - theirs)}; {_lacking(first, theirs - ours)}.",
                f"Evaluate both on one subset: {_again(one, first)}",
            )
        if one.predictions.pack != first.predictions.pack:
            raise HmrError(
                f"{one.folder} and {first.folder} are of the same ids in two packs ({_pack(one)} and {_pack(first)}), "
                "in which samples of one id may differ.",
                f"Evaluate both on one pack: {_again(one, first)}",
            )


def _in_order(one: SavedEvaluation, ids: list[str]) -> SavedEvaluation:
    """An evaluation with its samples in the order of these ids, which it has."""
    predictions = one.predictions
    if predictions.ids == ids:
        return one
    place = {sample: i for i, sample in enumerate(predictions.ids)}
    order = np.array([place[sample] for sample in ids])
    arrays = {name: array[order] for name in SHAPES if (array := getattr(predictions, name)) is not None}
    return replace(one, predictions=replace(predictions, ids=list(ids), **arrays))


def _subset(one: SavedEvaluation) -> str:
    predictions = one.predictions
    return f"{predictions.split} {predictions.subset} ({counted(len(predictions.ids), 'sample')})"


def _lacking(one: SavedEvaluation, ids: set[str]) -> str:
    return f"{one.folder} lacks {listed(sorted(ids)) if ids else 'none'}"


def _pack(one: SavedEvaluation) -> str:
    return _pack_path(one.report) or f"digest {one.predictions.pack[:8]}"


def _pack_path(report: Report) -> str:
    return report["pack"]["path"] if "pack" in report else ""


def _again(one: SavedEvaluation, first: SavedEvaluation) -> str:
    """How to have both on the same samples: the command that evaluates one of them again, as it was evaluated before,
    on those of the other.
    """
    if not _evaluated(one):
        one, first = first, one
    wanted = f"{first.predictions.split} {first.predictions.subset}"
    if not _evaluated(one):
        return f"write the predictions of {one.folder} anew, of {wanted}"
    path = _pack_path(first.report) or _pack_path(one.report)
    changed = [Option("split", first.predictions.split), Option("subset", first.predictions.subset)]
    changed += [Option("data", path)] if path else []
    before = one.report.get("started", {}).get("command", "")
    if not before.startswith("hmr eval "):  # by Python, or by an older version
        return f"`{command_line('hmr eval', one.report['model'], *_how(one.report), *changed)}`"
    if _subset(one) == _subset(first):  # of another pack, whose results would take the place of these
        changed.append(Option("out", Path(f"{one.folder}-2")))
    elif has_option(before, "out"):
        changed.append(Option("out", Path(f"{one.folder}-{first.predictions.subset}")))
    return f"`{changed_command(before, *changed)}`"


def _evaluated(one: SavedEvaluation) -> bool:
    """Whether a model or a predictor was evaluated, and not a file of predictions scored."""
    return bool(one.report.get("checkpoint") or one.report.get("predictor"))


def _how(report: Report) -> list[Option]:
    """What a report says of how it was made."""
    checkpoint, solver, hand = report.get("checkpoint"), report.get("solver"), report.get("hand_model")
    found = [Option("ckpt", checkpoint["path"])] if checkpoint else []
    if solver:
        found.append(Option("solver", solver["name"]))
        found += [Option("solver_ckpt", weights["path"])] if (weights := solver.get("checkpoint")) else []
    if (protocol := report.get("protocol", PUBLISHED)) in EVALUATION_PROTOCOLS and protocol != PUBLISHED:
        found.append(Option("protocol", protocol))
    if hand and hand["path"]:
        found.append(Option("hand_model", hand["path"]))
    return found
