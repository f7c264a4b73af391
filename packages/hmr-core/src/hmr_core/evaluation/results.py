"""The folder of an evaluation's results: what is in it, and which evaluation may replace it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.report_keys import Report
from hmr_core.files import read_bytes
from hmr_core.hand.arrays import ENVIRONMENT

if TYPE_CHECKING:
    from hmr_core.evaluation.subject import Subject

REPORT, PREDICTIONS, CONTACT_SHEET = RESULTS = ("report.json", "predictions.h5", "contact_sheet.png")
"""What an evaluation leaves in its folder, and all of it."""


def refuse_foreign(folder: Path) -> None:
    """HmrError when a folder holds something other than an evaluation."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} - set(RESULTS):
        raise HmrError(
            f"{folder} holds something other than an evaluation, so it is left alone.",
            "Choose another ",
            Option("out"),
            ".",
        )


def refuse_another(folder: Path, subject: Subject) -> None:
    """HmrError when a folder's evaluation is another one than the wanted, saying in what it differs."""
    report = saved_report(folder)
    if report is None:
        return
    there, wanted = identity(report), identity(subject.as_report())
    differing = [name for name in wanted if there[name] != wanted[name]]
    if not differing:
        return
    otherwise = ("another ", Option("out"), " (such as ", Option("out", Path(f"{folder}-2")), "), or delete it.")
    if differing == ["hand model"] and subject.hand is not None:
        path = report["hand_model"]["path"] if report["hand_model"] else None
        before = "the synthetic hand of hmr itself" if path is None else path
        given = ("no ", Option("hand_model"), f" and no {ENVIRONMENT}")
        again = given if path is None else (Option("hand_model", Path(path)),)
        raise HmrError(
            f"{folder} holds this evaluation with another hand model, {before}, and is left alone; the one in use now "
            f"is {subject.hand.source.label}.",
            "Give ",
            *again,
            ", choose ",
            *otherwise,
        )
    raise HmrError(
        f"{folder} holds another evaluation ({there['split']} {there['subset']}; differing in: "
        f"{', '.join(differing)}), which is left alone.",
        "Choose ",
        *otherwise,
    )


def saved_report(folder: Path) -> Report | None:
    """Read the report of the evaluation that a folder holds; None if it holds none."""
    try:
        report: Report = json.loads(read_bytes(folder / REPORT))
        identity(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report


def identity(report: Report) -> dict[str, Any]:
    """What of a report makes an evaluation the one it is: another one of the same identity may replace it."""
    solver, hand_model = report["solver"], report["hand_model"]
    checkpoint, recipe, predictor = report["checkpoint"], report["recipe"], report.get("predictor")
    return {
        "split": report["split"],
        "subset": report["subset"],
        "checkpoint": checkpoint and checkpoint["blake2b"],
        "pack": report["pack"]["blake2b"],
        "data options": recipe and recipe["data"],
        "predictor": predictor and predictor["name"],
        "predictor options": predictor and predictor["options"],
        "protocol": report["protocol"],
        "solver": solver and solver["name"],
        "solver checkpoint": solver and solver["checkpoint"] and solver["checkpoint"]["blake2b"],
        "solver options": solver and solver["config"],
        "hand model": hand_model and (hand_model["name"], hand_model["blake2b"]),
        "hand layer": report["hand_layer"],
    }
