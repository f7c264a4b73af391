"""An evaluation from request to end: what a notebook calls, and `hmr eval`.

What the arguments and the files alone show is looked at first, without torch, so that a mistake is told at once.
Results are written when all of them are there, or not at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmr_core.data.pack.reader import Pack
from hmr_core.devices import check_device_name, choose_device, choose_workers
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.evaluation.official import OwnForms, own_forms
from hmr_core.evaluation.pack_of_run import open_pack_for
from hmr_core.evaluation.predictor_task import PredictorTask, check_predictor, load_subject, predictor_of
from hmr_core.evaluation.protocols import OFFICIAL, solver_protocol
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.evaluation.results import CONTACT_SHEET, refuse_another, refuse_foreign
from hmr_core.evaluation.solver_options import check_solver_options
from hmr_core.files import as_path
from hmr_core.hand.arrays import named_hand_file
from hmr_core.hand.layer_names import OWN
from hmr_core.inference.load import names_predictor
from hmr_core.option_text import override_texts
from hmr_core.plugins.recipes import Recipe, options, override, parse_recipe
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.specs import ModelSpec, SolverSpec
from hmr_core.processes import Place, place
from hmr_core.provenance import provenance
from hmr_core.shell import python_call
from hmr_core.staging import check_folder_writable, clear_leftovers, staged_folder
from hmr_core.weights.checkpoint_record import RECORD, CheckpointRecord, check_model, read_record
from hmr_core.weights.find_weights import CKPT, better_on_val, find_weights, is_ours, without_choice
from hmr_core.weights.model_of import model_of

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from numpy import ndarray

    from hmr_core.evaluation.evaluate import Evaluation
    from hmr_core.evaluation.predictor_subject import PredictorSubject
    from hmr_core.evaluation.subject import EvaluationSubject, LoadedHand, Subject
    from hmr_core.weights.checkpoints import Checkpoint

Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
"""Shows how far work is: takes its name, its amount and its unit; gives what to call with the part just done."""

Warn = Callable[[HmrError], None]
"""Takes what the user should know, though the work goes on."""


@contextmanager
def no_progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda done: None


def warn_on_stderr(warning: HmrError) -> None:
    """Print a warning on stderr, if anybody is there."""
    with suppress(OSError):
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def evaluate(
    ckpt: str | Path,
    *,
    model: str | None = None,
    split: str | None = None,
    subset: str = "test",
    data: str | Path | None = None,
    set: Mapping[str, object] | None = None,  # as the command has it
    solver: str | None = None,
    solver_ckpt: str | Path | None = None,
    solver_set: Mapping[str, object] | None = None,
    protocol: str = "published",
    hand_model: str | Path | None = None,
    hand_layer: str = OWN,
    batch_size: int = 64,
    device: str | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    submission: str | Path | None = None,
    registry: Registry | None = None,
) -> Report:
    """Score a checkpoint or a predictor on a subset of a split, and give the report: what report.json holds.

    ckpt: a run, a checkpoint or a released file; or the name of a predictor, such as "mediapipe", which needs a split.
    set: changes of what the model is given, such as {"data.noise_mm": 5}; or a predictor's options. solver_set: options
    of the solver. out: a folder for report.json, predictions.h5 and contact_sheet.png; nothing is written without it.
    submission: a folder for the predictions in the form that the data set's authors take.
    registry: the plugins; by default the installed ones. The rest is as in EvaluationRequest; paths may be strings.
    Of several processes that torchrun started, the first has the report; the others have an empty one.
    Raises UsageError for what does not exist, and HmrError for data, files and samples that cannot be scored.
    """
    given = {name: value for name, value in locals().items() if name not in ("ckpt", "registry")}
    registry = registry or discover()
    of_predictor = model is None and names_predictor(ckpt, registry)
    request = EvaluationRequest(
        ckpt=None if of_predictor else Path(ckpt),
        model=str(ckpt) if of_predictor else model,
        split=split,
        subset=subset,
        data=as_path(data),
        sets=override_texts(set),
        solver=solver,
        solver_ckpt=as_path(solver_ckpt),
        solver_sets=override_texts(solver_set),
        protocol=protocol,
        hand_model=as_path(hand_model),
        hand_layer=hand_layer,
        batch_size=batch_size,
        device=device,
        workers=workers,
        out=as_path(out),
        submission=as_path(submission),
        command=python_call("hmr.evaluate", ckpt, **given),
    )
    evaluation = run(request, registry)
    return {} if evaluation is None else evaluation.report


def run(
    request: EvaluationRequest,
    registry: Registry,
    *,
    progress: Progress = no_progress,
    warn: Warn = warn_on_stderr,
) -> Evaluation | None:
    """Do what a request asks for, and write the results where it says.

    Of several processes, each predicts a share; the first does the rest, and the others have None.
    Raises UsageError for what does not exist or does not go together, and HmrError for data, files and samples that
    cannot be scored, and for a folder that holds something else; then nothing is written.
    """
    where = place()
    task = check(request, registry, where)
    chosen = choose_device(request.device, where)  # torch from here on
    subject: Subject
    hand: LoadedHand | None
    compute: Callable[[Place, torch.device, Progress], Evaluation | None]
    if isinstance(task, PredictorTask):
        subject, hand = load_subject(task, chosen), None
        compute = partial(_predictor_computed, subject)
    else:
        subject, hand = _loaded(task, chosen)
        compute = partial(_computed, task, subject)
    if task.folder is not None:
        refuse_another(task.folder, subject)
    # Staged around all of it: nobody else takes the place meanwhile.
    with nullcontext() if task.folder is None else staged_folder(task.folder) as part:
        started = provenance(request.command)
        evaluation = compute(where, chosen, progress)
        if evaluation is None:
            return None
        evaluation.report["started"] = started
        evaluation = replace(evaluation, folder=task.folder)
        if part is not None:
            _write(part, evaluation, hand, warn)
        if task.own.form is not None and request.submission is not None:
            from hmr_core.evaluation.evaluate import write_submission

            with staged_folder(request.submission) as form:
                write_submission(form, task.own.form, evaluation)
    return evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """A request of which all names were looked up, and that has nothing wrong as far as can be told without torch.

    folder: of the results; None where none are written, as by a process that is not the first. own: what of the data
    set's own is asked for.
    """

    request: EvaluationRequest
    spec: ModelSpec
    solver: SolverSpec | None
    split: str
    pack: Pack
    folder: Path | None
    own: OwnForms

    @property
    def needs_hand(self) -> bool:
        """Whether a hand model is posed."""
        return self.solver is not None or self.spec.needs_hand


def check(request: EvaluationRequest, registry: Registry, where: Place) -> EvaluationTask | PredictorTask:
    """The request as a task for a process; UsageError and HmrError for what can be told of it without torch."""
    if (predictor := predictor_of(request, registry)) is not None:
        check_device_name(request.device, where)
        pack, split = check_predictor(request, predictor)
        own = _own_forms(request, pack, split, registry, where)
        folder = _results_folder(request, where, predictor.name, split, *_official(request))
        return PredictorTask(request=request, spec=predictor, split=split, pack=pack, folder=folder, own=own)
    assert request.ckpt is not None  # of a model
    return _check_model(request, request.ckpt, registry, where)


def _check_model(request: EvaluationRequest, ckpt: Path, registry: Registry, where: Place) -> EvaluationTask:
    spec = registry.model(request.model or model_of(ckpt))
    solver = None if request.solver is None else registry.solver(request.solver)
    check_solver_options(
        spec,
        solver,
        ckpt=request.solver_ckpt,
        sets=request.solver_sets,
        protocol=request.protocol,
        hand_layer=request.hand_layer,
    )
    check_device_name(request.device, where)
    weights = find_weights(ckpt)
    folder = without_choice(ckpt)
    record = None
    if folder.is_dir() or request.split is None:  # to look into a file takes torch
        record = read_record(weights) if is_ours(folder, weights) else None
    if request.split is None:
        _check_says_split(request, record)
    if record is not None:
        check_model(ckpt, record, spec.name, CKPT)
        recipe = parse_recipe(spec, record.recipe, source=f"the recipe in {weights.with_name(RECORD)}")
        _overridden(spec, recipe, request.sets)
    if request.solver_ckpt is not None:
        find_weights(request.solver_ckpt, option=Option("solver_ckpt"))
    if solver is not None or spec.needs_hand or request.hand_model is not None:
        named_hand_file(request.hand_model)
    pack = Pack(request.data) if request.data else open_pack_for(weights, request.split)
    split = pack.split_name(request.split or _own_split(request, record, pack))
    pack.indices(split, request.subset)
    own = _own_forms(request, pack, split, registry, where)
    best = ["best"] if request.protocol == "best" else _official(request)
    out = _results_folder(request, where, spec.name, split, *([solver.name] if solver else []), *best)
    return EvaluationTask(request=request, spec=spec, solver=solver, split=split, pack=pack, folder=out, own=own)


def _official(request: EvaluationRequest) -> list[str]:
    """How the name of a folder says that it was scored by the data set's own rules."""
    return [OFFICIAL] if request.protocol == OFFICIAL else []


def _own_forms(request: EvaluationRequest, pack: Pack, split: str, registry: Registry, where: Place) -> OwnForms:
    """What of the data set's own is asked for; HmrError for a folder of a submission that cannot be written, or that
    holds something else.
    """
    own = own_forms(
        pack,
        split,
        request.subset,
        registry,
        official=request.protocol == OFFICIAL,
        submitted=request.submission is not None,
    )
    folder = request.submission
    there = set() if folder is None or not folder.is_dir() else {path.name for path in folder.iterdir()}
    if own.form is not None and there - set(own.form.files):
        raise HmrError(
            f"{folder} holds something other than a submission, so it is left alone.",
            "Choose another ",
            Option("submission"),
            ".",
        )
    if folder is not None and where.first:
        check_folder_writable(folder)
    return own


def _check_apart(out: Path | None, submission: Path | None) -> None:
    """UsageError where the folder of results and that of a submission are one, or one lies in the other: each replaces
    all that was there.
    """
    if out is None or submission is None:
        return
    ours, theirs = out.resolve(), submission.resolve()
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
        raise UsageError(
            f"the results go into {out} and the submission into {submission}, each of which replaces what is there.",
            "Give ",
            Option("submission"),
            " a folder beside it, such as ",
            Option("submission", out.with_name(f"{out.name}-submission")),
            ".",
        )


def _results_folder(request: EvaluationRequest, where: Place, name: str, split: str, *how: str) -> Path | None:
    """Where a process writes results; None where it writes none. HmrError for a folder of something else."""
    if not where.first:
        return None
    out = request.out
    if out is None and request.parent is not None:
        out = request.parent / "-".join([name, split, request.subset, *how])
    if out is not None:
        clear_leftovers(out.resolve())  # which may bring an evaluation back
        refuse_foreign(out)
        _check_apart(out, request.submission)
        check_folder_writable(out)
    return out


def _check_says_split(request: EvaluationRequest, record: CheckpointRecord | None) -> None:
    """UsageError where a checkpoint does not say which split it was trained on."""
    if record is None or record.split is None:
        raise UsageError(
            f"{request.ckpt} does not say which split it was trained on: it is a released file, or was made of one.",
            "Give ",
            Option("split"),
            " (`hmr pack info` lists a pack's).",
        )


def _own_split(request: EvaluationRequest, record: CheckpointRecord | None, pack: Pack) -> str:
    """The split that the checkpoint was trained on, which it says; UsageError where that is not one of the pack."""
    assert record is not None
    splits = record.splits_of(pack.info.digest)
    if len(splits) == 1:
        return splits[0]
    what = (
        f"{len(splits)} splits of {pack.path}: {', '.join(splits)}"
        if splits
        else f"a mixture, of which {pack.path} is no part"
    )
    raise UsageError(f"{request.ckpt} was trained on {what}.", "Give ", Option("split"), ".")


def _loaded(task: EvaluationTask, device: torch.device) -> tuple[EvaluationSubject, LoadedHand | None]:
    """What is evaluated, and the hand model if one was given or is needed."""
    from hmr_core.evaluation.subject import EvaluationSubject, load_hand
    from hmr_core.inference.solving import load_solver
    from hmr_core.weights.checkpoints import load_checkpoint

    request = task.request
    assert request.ckpt is not None  # of a model
    checkpoint = load_checkpoint(request.ckpt, task.spec)
    changed = replace(checkpoint, recipe=_overridden(task.spec, checkpoint.recipe, request.sets))
    hand = None
    if task.needs_hand or request.hand_model is not None:
        hand = load_hand(request.hand_model, request.hand_layer)
    solver = None
    if task.solver is not None and hand is not None:
        solver = load_solver(
            task.solver,
            hand.layer,
            request.solver_ckpt,
            protocol=solver_protocol(request.protocol),
            overrides=request.solver_sets,
            device=device,
        )
    subject = EvaluationSubject(
        spec=task.spec,
        checkpoint=changed,
        pack=task.pack,
        split=task.split,
        subset=request.subset,
        hand=hand if task.needs_hand else None,
        own=task.own,
        solver=solver,
        notes=[*_epoch_notes(checkpoint), *_changes(checkpoint.recipe, changed.recipe)],
    )
    return subject, hand


def _epoch_notes(checkpoint: Checkpoint) -> list[str]:
    """Which other checkpoint of the run was better on val, if one was."""
    found = better_on_val(checkpoint.path)
    if found is None:
        return []
    run = checkpoint.path.parents[2]
    return [
        f"epoch {found.epoch} of this run was better on val, with an MPJPE of {found.mpjpe_mm:.2f} mm and not "
        f"{found.own_mpjpe_mm:.2f} mm; its checkpoint is {run}:best"
    ]


def _changes(was: Recipe, now: Recipe) -> list[str]:
    before, after = was.data.model_dump(mode="json"), now.data.model_dump(mode="json")
    return [
        f"data.{key} is {after[key]}, and {before[key]} in the checkpoint's recipe"
        for key in after
        if after[key] != before[key]
    ]


def _overridden(spec: ModelSpec, recipe: Recipe, sets: tuple[str, ...]) -> Recipe:
    """A checkpoint's recipe with its [data] changed; UsageError for another part, since a model is what it is."""
    for text in sets:
        key = text.partition("=")[0].strip()
        if not key.startswith("data.") and key.removeprefix("model.") in options(spec):
            valid = ", ".join(key for key in options(spec) if key.startswith("data."))
            raise UsageError(
                f'"{text}": an evaluation can change what the model is given alone; the rest is the checkpoint\'s.',
                Option("set"),
                f" takes {valid}.",
            )
    return override(spec, recipe, sets)


class _Stages:
    """Pieces of work that follow each other. A terminal shows one bar at a time, so each takes the place of the one
    before.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self._shown = progress, ExitStack()

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._shown.__exit__(*error)

    def begin(self, what: str, total: int, unit: str) -> Callable[[int], None]:
        """Show a piece of work; gives what to call with the part just done."""
        self._shown.close()
        return self._shown.enter_context(self._progress(what, total, unit))

    def later(self, what: str, total: int, unit: str) -> Callable[[int], None]:
        """As `begin`, but it is shown when its first part is told of, which may be 0."""
        begun: list[Callable[[int], None]] = []

        def advance(done: int) -> None:
            if not begun:
                begun.append(self.begin(what, total, unit))
            begun[0](done)

        return advance


def _computed(
    task: EvaluationTask, subject: EvaluationSubject, where: Place, device: torch.device, progress: Progress
) -> Evaluation | None:
    """The evaluation; what is predicted, then what is solved, and then what is scored are shown as pieces of work."""
    from hmr_core.evaluation.evaluate import evaluate_shared
    from hmr_core.inference.shared import share_size

    rows, batch_size = subject.pack.indices(subject.split, subject.subset), task.request.batch_size
    own = "" if where.count == 1 else f" (share {where.rank + 1} of {where.count})"
    unit = "hands" if subject.spec.consumes == "joints" else "images"
    solver = "" if subject.solver is None else subject.solver.name
    what = f"{subject.spec.name} on {subject.split} {subject.subset}{own}"
    with _Stages(progress) as stages:
        return evaluate_shared(
            subject,
            where,
            device=device,
            batch_size=batch_size,
            workers=choose_workers(task.request.workers, device, where),
            on_batch=stages.begin(what, share_size(rows, batch_size, where), unit),
            on_solved=stages.later(solver, len(rows), "hands"),
            on_scored=stages.later("scoring", len(rows), "samples"),
        )


def _predictor_computed(
    subject: PredictorSubject, where: Place, device: torch.device, progress: Progress
) -> Evaluation | None:
    """The evaluation of a predictor; what is predicted and then what is scored are shown."""
    from hmr_core.evaluation.predictor_evaluation import evaluate_predictor
    from hmr_core.inference.shared import share_size

    rows = subject.pack.indices(subject.split, subject.subset)
    own = "" if where.count == 1 else f" (share {where.rank + 1} of {where.count})"
    what = f"{subject.name} on {subject.split} {subject.subset}{own}"
    with _Stages(progress) as stages:
        return evaluate_predictor(
            subject,
            where,
            device=device,
            on_sample=stages.begin(what, share_size(rows, 1, where), "images"),
            on_scored=stages.later("scoring", len(rows), "samples"),
        )


def _write(folder: Path, evaluation: Evaluation, hand: LoadedHand | None, warn: Warn) -> None:
    """Write all results into an existing folder."""
    from hmr_core.evaluation.evaluate import draw_contact_sheet, write_evaluation
    from hmr_core.pictures import write_png

    write_evaluation(folder, evaluation)
    write_png(folder / CONTACT_SHEET, draw_contact_sheet(evaluation, _faces(evaluation, hand, warn)))


def _faces(evaluation: Evaluation, hand: LoadedHand | None, warn: Warn) -> Int[ndarray, "f 3"] | None:
    """The faces to draw the predicted meshes with; None where there is no mesh, or no hand model of its layout.

    hand: as given. A model's own mesh is laid out as the annotations' are, so the hand model must be theirs.
    """
    from hmr_core.data.hand_model_check import check_hand_model
    from hmr_core.evaluation.subject import load_hand

    if evaluation.predictions.verts is None:
        if hand is not None:
            warn(
                HmrError(
                    "the hand model was of no use: the model predicts joints only, and no solver was given.",
                    "Leave ",
                    Option("hand_model"),
                    " out.",
                )
            )
        return None
    if evaluation.faces is not None:
        return evaluation.faces
    try:
        hand = hand or load_hand(None)
        check_hand_model(hand.source, hand.layer, evaluation.dataset.pack, evaluation.rows)
    except HmrError as error:  # not worth losing the evaluation
        warn(HmrError(f"no mesh is drawn: {error.message}", *error.remedy))
        return None
    return hand.source.model.faces.numpy()
