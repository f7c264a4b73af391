"""Which data set a folder is a tree of: every one that is known is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from hmr_core.doctor.finding import Finding
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.sample import DatasetReader
from hmr_core.plugins.specs import DatasetSpec
from hmr_core.shell import command_line

SECTION = "root"

LOOKED_AT = 100
"""How many folders inside of one are looked at for a tree, where it is none itself."""


def find_tree(
    root: Path, specs: Mapping[str, DatasetSpec], named: str | None
) -> tuple[DatasetSpec, DatasetReader] | None:
    """The data set that a folder is a tree of, and its reader; None where it is none, and looks like none.

    specs: by their names; all are tried in turn, or the named one alone. Raises the reader's HmrError where the named
    one does not take it, or the only one that it looks like, and UsageError where it looks like several.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}.", "Pass as ", Option("root"), " the folder of a data set.")
    tried = specs if named is None else {named: specs[named]}
    refused: dict[str, HmrError] = {}
    for name, spec in tried.items():
        try:
            return spec, spec.open(root)
        except HmrError as error:
            refused[name] = error
        except Exception as error:  # a plugin may be broken in any way, which is no matter of the others
            if named is not None:
                raise
            refused[name] = HmrError(f"{name}: its reader fails ({type(error).__name__}: {error}).")
    alike = [name for name in refused if named is not None or looks_like(root, specs[name])]
    if len(alike) == 1:
        raise refused[alike[0]]
    if alike:
        texts = " ".join(f"{name}: {refused[name].message}" for name in alike)
        raise UsageError(
            f"{root} looks like a tree of several data sets, and is none that is whole. {texts}",
            "Name what it should be with ", Option("dataset", "|".join(alike)), ".",
        )  # fmt: skip
    return None


def looks_like(root: Path, spec: DatasetSpec) -> bool:
    """Whether a folder has anything of what the trees of a data set have."""
    return any(next(root.glob(mark), None) is not None for mark in spec.marks)


def unknown(root: Path, specs: Mapping[str, DatasetSpec]) -> Iterator[Finding]:
    """That a folder is a tree of no data set, and for each one what its trees are known by."""
    near = next(_near(root, specs), None)
    remedy = (
        f"{near} looks like one: {command_line('hmr doctor', Option('root', near))}"
        if near is not None
        else "Give the folder that holds what one of these looks for; "
        f"`{command_line('hmr doctor', Option('root', root), Option('dataset', next(iter(specs), 'NAME')))}`, or with "
        "another of their names, tells what it lacks of such a tree."
    )
    text = f"{root} is a tree of no data set that is known here; tried: {', '.join(specs) or 'none'}"
    yield Finding(section=SECTION, level="wrong", text=text, remedy=remedy)
    for name, spec in specs.items():
        sought = f"looks for {' or '.join(spec.marks)}" if spec.marks else f"is {spec.summary}"
        yield Finding(section=SECTION, level="note", text=f"{name} {sought}")


def _near(root: Path, specs: Mapping[str, DatasetSpec]) -> Iterator[Path]:
    """Folders beside which the one that was given lies, or which lie in it, that look like trees."""
    inside = islice((folder for folder in root.iterdir() if folder.is_dir()), LOOKED_AT)
    for folder in (*sorted(inside), root.resolve().parent):
        if any(looks_like(folder, spec) for spec in specs.values()):
            yield folder
