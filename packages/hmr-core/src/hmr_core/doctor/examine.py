"""The whole examination, in the order of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.doctor.finding import Finding, guarded
from hmr_core.errors import Option
from hmr_core.shell import command_line, flag

if TYPE_CHECKING:
    import numpy as np

    from hmr_core.data.pack.reader import Pack
    from hmr_core.hand.source import HandModelSource
    from hmr_core.plugins.registry import Registry
    from hmr_core.plugins.sample import DatasetReader
    from hmr_core.plugins.specs import DatasetSpec

# Every check imports what it needs when it runs: what is broken here must only cost the checks that use it.

SEED = 0
"""Of the selections of samples: the same files give the same report."""

ROOT, DATA, HAND_MODEL, BOTH = "root", "data", "hand model", "root and data"
INSTALL = "Mend the installation first, if a package above cannot be imported."
FIRST = "Mend what is said of root and data above first."
MAKE = (
    f"{command_line('hmr mano import', 'MANO_RIGHT.pkl', Option('out', 'hand.npz'))} makes one; where none is named, "
    "neither here nor by HMR_HAND_MODEL, it is the synthetic hand."
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What to look at. data_named, hand_model_named: whether the user named them, by an option or a variable.

    dataset: what root is a tree of; None for whichever data set takes it.
    """

    root: Path | None
    dataset: str | None = None
    data: Path
    data_named: bool
    data_from_environment: bool = field(default=False, kw_only=True)
    hand_model: Path | None
    hand_model_named: bool


@dataclass
class _Opened:
    """What one check opened and a later one needs."""

    spec: DatasetSpec | None = None
    reader: DatasetReader | None = None
    pack: Pack | None = None
    hand: HandModelSource | None = None
    lists: dict[str, dict[str, Sequence[str]]] = field(default_factory=dict)

    @cached_property
    def rng(self) -> np.random.Generator:
        """One for the whole examination, so that checks of as many samples do not all look at the same ones."""
        import numpy as np

        return np.random.default_rng(SEED)


def examine(subject: Subject, registry: Registry) -> Iterator[Finding]:
    """Every finding, as it is made; raises nothing."""
    opened = _Opened()
    for section, what, check in (
        ("versions", "what is installed", _versions),
        ("versions", "what is optional", _optional),
        ("machine", "the devices", _devices),
        ("machine", "shared memory", _shared),
        ("machine", "the disk", lambda: _disk(subject)),
        ("plugins", "the plugins", lambda: _plugins(registry)),
    ):
        yield from guarded(section, what, check, INSTALL)
    yield from _root(subject, opened, registry)
    yield from _data(subject, opened, registry)
    if opened.reader is not None and opened.pack is not None and opened.lists:
        yield from guarded(BOTH, "whether the pack is of the tree", lambda: _match(subject, opened), FIRST)
    yield from _hand_model(subject, opened)


def _versions() -> Iterator[Finding]:
    from hmr_core.doctor.environment import versions

    return versions()


def _optional() -> Iterator[Finding]:
    from hmr_core.doctor.environment import optional

    return optional()


def _devices() -> Iterator[Finding]:
    from hmr_core.doctor.machine import devices

    return devices()


def _shared() -> Iterator[Finding]:
    from hmr_core.doctor.machine import shared

    return shared()


def _disk(subject: Subject) -> Iterator[Finding]:
    from hmr_core.doctor.machine import disk

    return disk([("packs", subject.data.parent), ("runs", Path("runs"))])


def _plugins(registry: Registry) -> Iterator[Finding]:
    from hmr_core.doctor.plugin_state import plugins

    return plugins(registry)


def _root(subject: Subject, opened: _Opened, registry: Registry) -> Iterator[Finding]:
    """The tree, if one was given: opened, then its lists, then its files, then some of its samples."""
    root = subject.root
    if root is None:
        text = "no tree was looked at"
        remedy = f"{command_line('hmr doctor', Option('root', 'OakInk'))}, the folder of a data set"
        yield Finding(section=ROOT, level="note", text=text, remedy=remedy)
        return

    def tree_at_root() -> Iterator[Finding]:
        from hmr_core.doctor.find_tree import find_tree, unknown

        if subject.dataset is not None:
            registry.dataset(subject.dataset)  # which says what there is where there is no such data set
        found = find_tree(root, registry.datasets(), subject.dataset)
        if found is None:
            yield from unknown(root, registry.datasets())
        else:
            opened.spec, opened.reader = found

    def lists() -> Iterator[Finding]:
        from hmr_core.doctor import tree

        assert opened.spec is not None
        assert opened.reader is not None
        opened.lists = tree.read_lists(opened.reader)
        yield from tree.contents(root, opened.spec, opened.reader, opened.lists)

    def files() -> Iterator[Finding]:
        from hmr_core.doctor import tree

        assert opened.spec is not None
        assert opened.reader is not None
        yield from tree.files(opened.spec, opened.reader, tree.every_id(opened.lists))

    def samples() -> Iterator[Finding]:
        from hmr_core.doctor import tree

        assert opened.spec is not None
        assert opened.reader is not None
        yield from tree.samples(root, opened.spec, opened.reader, tree.every_id(opened.lists), opened.rng)

    yield from guarded(ROOT, f"the tree {root}", tree_at_root, "")
    again = "" if opened.spec is None else opened.spec.again
    if opened.reader is not None:
        yield from guarded(ROOT, f"the lists of {root}", lists, again)
    if opened.lists:
        yield from guarded(ROOT, f"the files of {root}", files, again)
        yield from guarded(ROOT, f"the samples of {root}", samples, again)


def _data(subject: Subject, opened: _Opened, registry: Registry) -> Iterator[Finding]:
    """The pack: opened, then its counts, lists, checksums and annotations."""
    if not subject.data_named and not subject.data.exists():
        from hmr_core.data.pack.format import pack_command

        if opened.spec is not None:
            make = f"`{pack_command(opened.spec.name, root=subject.root, out=f'data/{opened.spec.name}.h5')}`"
        elif subject.root is not None:
            make = "Mend what is said of root above first."
        else:
            make = (
                f"`{pack_command('oakink', root='OakInk', out=subject.data)}`; without the release: "
                f"`hmr synth demo`, then `{pack_command('oakink', root='demo/OakInk', out=subject.data)}`; "
                "`hmr datasets` lists the other data sets"
            )
        text = f"no pack: none is named, neither here nor by HMR_DATA, and there is no {subject.data}"
        yield Finding(section=DATA, level="note", text=text, remedy=make)
        return

    if subject.data_from_environment:
        yield Finding(section=DATA, level="ok", text=f"HMR_DATA names the pack: {subject.data}")

    def contents() -> Iterator[Finding]:
        from hmr_core.data.pack.reader import Pack
        from hmr_core.doctor import pack

        opened.pack = Pack(subject.data)
        yield from pack.contents(opened.pack, registry.datasets().get(opened.pack.info.dataset))

    yield from guarded(DATA, f"the pack {subject.data}", contents, _mend(subject.data))
    found = opened.pack
    if found is None:
        return

    def split_lists() -> Iterator[Finding]:
        from hmr_core.doctor import pack

        return pack.split_lists(found)

    def integrity() -> Iterator[Finding]:
        from hmr_core.doctor import pack

        return pack.integrity(found, opened.rng)

    def annotations() -> Iterator[Finding]:
        from hmr_core.doctor import pack

        return pack.measured(found, opened.rng)

    verify = f"`{command_line('hmr pack verify', subject.data)}` names all that is damaged."
    for what, check in (("lists", split_lists), ("checksums", integrity), ("annotations", annotations)):
        yield from guarded(DATA, f"the {what} of {subject.data}", check, verify)


def _mend(data: Path) -> str:
    """What to do about a pack that does not open; nothing where the file is none, of which its error says enough."""
    from hmr_core.data.pack.format import FORMAT, pack_command
    from hmr_core.files import open_regular

    damaged = False
    with suppress(OSError), open_regular(data) as file:
        damaged = FORMAT.encode("ascii") in file.read(100)
    if not damaged:
        return ""
    again = f"copy it again, or `{pack_command(out=data)} {flag(Option('force'))}`"
    return f"`{command_line('hmr pack verify', data)}` tells what is damaged; then {again}"


def _match(subject: Subject, opened: _Opened) -> Iterator[Finding]:
    from hmr_core.doctor.match import match

    assert subject.root is not None
    assert opened.reader is not None
    assert opened.pack is not None
    posed = opened.spec is not None and opened.spec.open_posed is not None
    return match(subject.root, opened.reader, opened.lists, opened.pack, opened.rng, posed=posed)


def _hand_model(subject: Subject, opened: _Opened) -> Iterator[Finding]:
    """The hand model, then the pack's meshes beside it."""

    def contents() -> Iterator[Finding]:
        from hmr_core.doctor import hand
        from hmr_core.hand.source import find_hand_model

        opened.hand = find_hand_model(subject.hand_model)
        yield from hand.contents(opened.hand)

    yield from guarded(HAND_MODEL, "the hand model", contents, MAKE)
    source, pack = opened.hand, opened.pack
    if source is None or pack is None:
        return

    def of_pack() -> Iterator[Finding]:
        from hmr_core.doctor import hand

        return hand.of_pack(source, pack, opened.rng, given=subject.hand_model_named)

    yield from guarded(HAND_MODEL, f"the meshes of {subject.data}", of_pack, "See what is said of data above.")
