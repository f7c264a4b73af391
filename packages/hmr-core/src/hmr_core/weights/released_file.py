"""Where weights came from that a model's authors gave out: what a checkpoint and a report say of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError


@dataclass(frozen=True)
class Ignored:
    """Tensors of a released file that its model does not use: how many, and in words what they are."""

    tensors: int
    what: str


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """A released file that weights came from.

    blake2b: of the file. overrides: what sets its model apart from the published recipe.
    ignored: what was left out, by how the names begin.
    """

    path: Path
    blake2b: str
    overrides: tuple[str, ...]
    ignored: Mapping[str, Ignored]

    def note(self) -> str:
        """What a report has to say of the file; empty when there is nothing to say."""
        by_what: dict[str, list[str]] = {}
        for prefix, ignored in self.ignored.items():
            by_what.setdefault(ignored.what, []).append(f"{prefix}*")
        left_out = "; ".join(f"{', '.join(prefixes)} ({what})" for what, prefixes in by_what.items())
        said = [*([f"ignored {left_out}"] if left_out else []), *self.overrides]
        return f"released file: {'; '.join(said)}" if said else ""

    def as_json(self) -> dict[str, Any]:
        """The record as values that JSON has."""
        return {**asdict(self), "path": str(self.path), "overrides": list(self.overrides)}

    @classmethod
    def from_json(cls, values: Any, *, source: Path) -> ReleasedFile:
        """Make a record of what as_json made; HmrError naming the source when it is something else."""
        try:
            made = cls(
                path=Path(values["path"]),
                blake2b=values["blake2b"],
                overrides=tuple(values["overrides"]),
                ignored={prefix: Ignored(**ignored) for prefix, ignored in values["ignored"].items()},
            )
        except (KeyError, TypeError, AttributeError):
            made = None
        if made is None or not all(
            isinstance(text, str)
            for text in (made.blake2b, *made.overrides, *(one.what for one in made.ignored.values()))
        ):
            raise HmrError(f'"released" in {source} is not as `hmr ckpt convert` writes it. Convert again.')
        return made
