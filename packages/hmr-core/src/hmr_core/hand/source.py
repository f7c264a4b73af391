"""Where a hand model comes from: it is given, or the environment names it, or it is the synthetic hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.hand.arrays import ENVIRONMENT, named_hand_file
from hmr_core.hand.model import HandModel, load_hand_model
from hmr_core.hand.synthetic import NAME as SYNTHETIC
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.shell import command_line


class HandModelRecord(TypedDict):
    """What a report says of a hand model.

    path, blake2b: None for the hand in the package. mismatch_mm: how far it is from the annotations; None where
    these have no meshes.
    """

    name: str
    side: str
    synthetic: bool
    path: str | None
    blake2b: str | None
    source: str | None
    mismatch_mm: NotRequired[float | None]


@dataclass(frozen=True, kw_only=True)
class HandModelSource:
    """A hand model and where it came from. path, digest (BLAKE2b): of its file; None for the hand in the package.

    from_environment: whether it was the environment's variable that named the file.
    """

    model: HandModel
    path: Path | None
    digest: str | None
    from_environment: bool = False

    @property
    def synthetic(self) -> bool:
        """Say whether it is the synthetic hand, from the package or from a file."""
        return self.model.name == SYNTHETIC

    @property
    def label(self) -> str:
        """Name it in a line of output."""
        what = f"the synthetic {self.model.side} hand" if self.synthetic else f"{self.model.name}, {self.model.side}"
        if self.path is not None:
            return f"{self.path} ({what}{f'; named by {ENVIRONMENT}' if self.from_environment else ''})"
        return f"{what} (no hand model was given, and {ENVIRONMENT} names none)"

    def as_report(self) -> HandModelRecord:
        """Give what report.json says of it."""
        return {
            "name": self.model.name,
            "side": self.model.side,
            "synthetic": self.synthetic,
            "path": None if self.path is None else str(self.path),
            "blake2b": self.digest,
            "source": self.model.source or None,
        }


def find_hand_model(given: Path | None) -> HandModelSource:
    """Find the hand model to use: as given, else the file that $HMR_HAND_MODEL names, else the synthetic hand.

    Raises HmrError, naming the file and the variable, when there is no hand model in it.
    """
    path = named_hand_file(given)
    if path is None:
        return packaged_hand()
    try:
        model, digest = load_hand_model(path), file_digest(path)
        return HandModelSource(model=model, path=path, digest=digest, from_environment=given is None)
    except HmrError as error:
        if given is not None:
            raise
        raise HmrError(f"{ENVIRONMENT} is {path}: {error.message}", *error.remedy) from error


def packaged_hand() -> HandModelSource:
    """Load the synthetic hand that comes with the package."""
    return HandModelSource(model=load_synthetic_hand(), path=None, digest=None)


def require_side(source: HandModelSource, side: str, why: str) -> None:
    """Raise HmrError when the hand model is of the other hand. why: what needs this side, as a sentence's subject."""
    if source.model.side == side:
        return
    make = command_line("hmr mano import", f"MANO_{side.upper()}.pkl", Option("out", "hand.npz"))
    raise HmrError(
        f"{why} needs a {side} hand, and the hand model {source.label} is of a {source.model.side} one.",
        f"Give a {side} hand's by ",
        Option("hand_model"),
        f" or {ENVIRONMENT}: `{make}` makes one.",
    )
