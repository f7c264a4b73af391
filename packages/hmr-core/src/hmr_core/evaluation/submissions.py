"""Files of predictions in the form that a data set's authors take, read as ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmr_core.data.pack.reader import Pack
from hmr_core.data.plausibility import likely_unit, unit_text
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.evaluation.official import spec_of
from hmr_core.evaluation.predictions import Predictions
from hmr_core.evaluation.results import PREDICTIONS
from hmr_core.files import open_regular
from hmr_core.plugins.official import SubmissionForm
from hmr_core.plugins.registry import Registry

_BEGINNING = 64
_STARTS = {
    ".zip": re.compile(rb"PK\x03\x04"),
    ".json": re.compile(rb"\s*\["),
    ".csv": re.compile(rb"\s*[0-9]+\s*,"),
}
"""How a zip file, a list in JSON, and a line of CSV begin, by the endings of their names; no file of ours does."""


def find_predictions(given: Path, registry: Registry) -> Path:
    """The file of predictions that is meant by a file, or by the folder of an evaluation or of a submission.

    HmrError for a folder that has none.
    """
    if not given.is_dir():
        return given
    names = [PREDICTIONS, *dict.fromkeys(name for form in _forms(registry).values() for name in form.files)]
    there = [given / name for name in names if (given / name).is_file()]
    if not there:
        raise HmrError(
            f"{given} has no predictions: none of {', '.join(names)} is in it.",
            "Name the file that has them, or a folder that `hmr eval` left, or one that it wrote with ",
            Option("submission"),
            ".",
        )
    return there[0]


def is_submission(path: Path) -> bool:
    """Whether a file begins as those of data sets' authors do; False where there is none that can be read."""
    return bool(_kind(path))


def _kind(path: Path) -> str:
    """What kind of file it is, by its beginning: the ending that such a file has; "" for none of these."""
    try:
        with open_regular(path) as file:
            begin = file.read(_BEGINNING)
    except OSError:
        return ""
    return next((ending for ending, start in _STARTS.items() if start.match(begin)), "")


def _forms(registry: Registry) -> dict[str, SubmissionForm]:
    """The forms of submissions by the data sets whose authors take them."""
    rules = {name: spec.rules for name, spec in registry.datasets().items()}
    return {name: each.submission for name, each in rules.items() if each is not None and each.submission is not None}


def _form_of(path: Path, pack: Pack, registry: Registry) -> SubmissionForm:
    """The form that the authors of a pack's data set take; HmrError where they take none, or no such file."""
    found = spec_of(pack, registry).rules
    form = None if found is None else found.submission
    kind = _kind(path)
    if form is not None and (not kind or kind in {Path(name).suffix for name in form.files}):
        return form
    of = [
        f"{name} ({' or '.join(each.files)})"
        for name, each in sorted(_forms(registry).items())
        if kind in {Path(file).suffix for file in each.files}
    ]
    takes = "take no such files" if form is None else f"take {' or '.join(form.files)}"
    raise HmrError(
        f"{path} is a {kind} file, as the authors of {', '.join(of) or 'no data set that is known here'} take, and "
        f"{pack.path} is of {pack.info.dataset}, whose authors {takes}.",
        "Name the pack that it is of with ",
        Option("data"),
        "; predictions of any data set can be written as docs/predictions.md says.",
    )


def read_submission(path: Path, pack: Pack, split: str | None, registry: Registry) -> Predictions:
    """The predictions in a file of the form that the authors of a pack's data set take.

    split: of the data set; None where the pack has only one, or all of them are tested on the same samples.
    Raises UsageError for a split that is not there, or where it is not clear which; HmrError for a data set whose
    authors take none, and for a file that is damaged, of other samples, in another unit, or has numbers that are not
    finite.
    """
    form = _form_of(path, pack, registry)
    splits = [name for name, counts in pack.info.counts.items() if counts.get(form.subset)] or list(pack.info.counts)
    if split is None and not _same_samples(pack, splits, form.subset):
        raise UsageError(
            f"{path} does not say which split its predictions are of. {pack.path} has {', '.join(splits)}.",
            "Give ",
            Option("split"),
            ".",
        )
    name, subset = pack.split_name(split or splits[0]), form.subset
    ids = pack.ids(pack.indices(name, subset))
    try:
        found = form.read(path, name, ids)
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}.") from error
    for name_of, points in (("joints", found.joints), ("verts", found.verts)):
        if points is not None and (unit := likely_unit(name_of, points)) in ("centimetres", "millimetres"):
            raise HmrError(f"{path}: its {unit_text(name_of, unit, points)}. Write them in the unit that its form has.")
    return Predictions(
        model=path.stem, split=name, subset=subset, pack="", ids=ids, joints=found.joints, verts=found.verts
    )


def _same_samples(pack: Pack, splits: Sequence[str], subset: str) -> bool:
    """Whether a subset has the same samples, in one order, in all of some splits."""
    first, *others = splits
    return all(np.array_equal(pack.indices(first, subset), pack.indices(other, subset)) for other in others)


def placed_at_the_camera(predictions: Predictions) -> list[str]:
    """That predictions are relative to a joint, if so: authors who score after alignment take these, too."""
    joints = predictions.joints
    if not len(joints) or joints.reshape(len(joints), 21, 3).any((0, 2)).all():
        return []
    return ["the joints are relative to one of them, so that only metrics after alignment mean something"]
