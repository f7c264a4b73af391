"""Files of predictions in the form that a data set's authors take, read as ours."""

from __future__ import annotations

import re
from pathlib import Path

from hmr_core.data.pack.reader import Pack
from hmr_core.data.plausibility import likely_unit, unit_text
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.evaluation.official import submission_form
from hmr_core.evaluation.predictions import Predictions
from hmr_core.files import open_regular
from hmr_core.plugins.registry import Registry

_BEGINNING = 64
_STARTS = re.compile(rb"PK\x03\x04|\s*\[|\s*[0-9]+\s*,")
"""How a zip file, a list in JSON, and a line of CSV begin; no file of ours does."""


def is_submission(path: Path) -> bool:
    """Whether a file begins as those of data sets' authors do; False where there is none that can be read."""
    try:
        with open_regular(path) as file:
            return _STARTS.match(file.read(_BEGINNING)) is not None
    except OSError:
        return False


def read_submission(path: Path, pack: Pack, split: str | None, registry: Registry) -> Predictions:
    """The predictions in a file of the form that the authors of a pack's data set take.

    split: of the data set; None for the only one that the pack has.
    Raises UsageError for a split that is not there, or where it is not clear which; HmrError for a data set whose
    authors take none, and for a file that is damaged, of other samples, in another unit, or has numbers that are not
    finite.
    """
    splits = list(pack.info.counts)
    if split is None and len(splits) > 1:
        raise UsageError(
            f"{path} does not say which split its predictions are of. {pack.path} has {', '.join(splits)}.",
            "Give ",
            Option("split"),
            ".",
        )
    name = pack.split_name(split or splits[0])
    rules = registry.dataset(pack.info.dataset).rules
    subset = "test" if rules is None or rules.submission is None else rules.submission.subset
    form = submission_form(pack, name, subset, registry)
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


def placed_at_the_camera(predictions: Predictions) -> list[str]:
    """That predictions are relative to a joint, if so: authors who score after alignment take these, too."""
    joints = predictions.joints
    if not len(joints) or joints.reshape(len(joints), 21, 3).any((0, 2)).all():
        return []
    return ["the joints are relative to one of them, so that only metrics after alignment mean something"]
