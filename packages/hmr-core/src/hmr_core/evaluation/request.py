"""What an evaluation is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmr_core.hand.layer_names import OWN


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """A checkpoint or a predictor, the samples to score it on, what makes their meshes, and where the results go.

    ckpt: a run (its last checkpoint; RUN:best and RUN:last choose), a checkpoint, or a released file; None for a
    predictor, which is not trained here. model: the model's name, None for the one that the checkpoint says, or the
    predictor's. split: None for the one that the checkpoint was trained on. data: the pack; None for
    that of $HMR_DATA, then one that the checkpoint's run was trained on, then the default one.
    sets: "data.KEY=VALUE", which change what the model is given, or "KEY=VALUE", a predictor's options. solver: the
    name of what makes a mesh of the joints; solver_ckpt: its weights, as ckpt; solver_sets: its options, as
    "KEY=VALUE". protocol: of the solver's options; "official" scores by the data set's own rules, too. hand_model: a
    file; None for $HMR_HAND_MODEL, then the synthetic hand. hand_layer: what poses it. batch_size: changes speed only.
    device: cpu, cuda, cuda:N or mps; None for the best there is. workers: processes that load; None for what suits the
    device.
    out: the folder of the results; None for one in `parent` that is named after the evaluation, and where that is None,
    too, nothing is written. submission: a folder for the predictions in the data set's own form. command: how the
    evaluation was asked for, for its record.
    """

    ckpt: Path | None
    model: str | None = None
    split: str | None = None
    subset: str = "test"
    data: Path | None = None
    sets: tuple[str, ...] = ()
    solver: str | None = None
    solver_ckpt: Path | None = None
    solver_sets: tuple[str, ...] = ()
    protocol: str = "published"
    hand_model: Path | None = None
    hand_layer: str = OWN
    batch_size: int = 64
    device: str | None = None
    workers: int | None = None
    out: Path | None = None
    parent: Path | None = None
    submission: Path | None = None
    command: str = ""
