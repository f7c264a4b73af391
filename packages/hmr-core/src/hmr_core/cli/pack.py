"""`hmr pack`: a data set into one file; what a pack says of itself; whether it is whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.cli.main import current_registry
from hmr_core.cli.options import MOST_WORKERS
from hmr_core.errors import HmrError, UsageError, did_you_mean
from hmr_core.shell import command_line
from hmr_core.wording import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hmr_core.data.pack.reader import Pack, PackInfo
    from hmr_core.plugins.specs import DatasetSpec


OWN_READER = "own"
"""What `--reader` is called for a data set's own reader."""


class PackGroup(click.Group):
    """The group `hmr pack`: the name of any installed data set is a command that packs it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The data sets, then the commands on packs."""
        return [*current_registry().datasets(), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command on packs, or the packing command of a data set; None for another name."""
        command = super().get_command(ctx, cmd_name)
        spec = None if command else current_registry().datasets().get(cmd_name)
        return command if spec is None else _packing_command(spec)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the registry's answer to a name that is no installed data set."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            meant = did_you_mean(name, super().list_commands(ctx))
            if meant:
                raise UsageError(f'unknown data set or command "{name}".{meant}')
            current_registry().dataset(name)  # raises: misspelt, not installed, broken
        return super().resolve_command(ctx, args)


@click.group(cls=PackGroup)
def pack() -> None:
    """Pack a data set into one file; verify and describe packs.

    A pack holds every split of a data set: annotations as arrays, and of each frame the window that crops of its hand
    can touch. Training and evaluation read nothing else.

    \b
    Examples:
      hmr pack oakink --root OakInk                                everything, to data/oakink.h5
      hmr pack oakink --root OakInk --split sp0 --out sp0.h5       one split, with all of its subsets
      hmr pack oakink --root demo/OakInk --codec jpeg --out demo.h5
      hmr pack verify data/oakink.h5
      hmr pack info data/oakink.h5
    """


def _only_one(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> str | None:
    """The value of an option that, unlike --split beside it, is given once; UsageError when it is repeated."""
    if len(given) > 1:
        raise UsageError(
            f"{param.opts[0]} is given {len(given)} times ({', '.join(given)}); valid: once, or not at all for every "
            "subset."
        )
    return given[0] if given else None


def _packing_command(spec: DatasetSpec) -> click.Command:
    """The command that packs a data set."""
    pack = command_line("hmr pack", spec.name)

    @click.command(
        spec.name,
        short_help=f"Pack {spec.summary}",
        help=f"""Pack {spec.summary}.

    Packing may be stopped at any moment, by Ctrl-C, a full disk or a crash: the same command goes on from there. The
    file appears under its name when it is whole. While it is made, the folder needs room for twice its size. The same
    data set and options give the same file, byte for byte, however often it was stopped.

    \b
    Examples:
      {pack} --root FOLDER
      {pack} --root FOLDER --split SPLIT --subset test --out test.h5
      {pack} --root FOLDER --codec jpeg:90 --workers 8
    """,
    )
    @click.option("--root", type=click.Path(path_type=Path), required=True, help="The data set's folder.")
    @click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("data") / f"{spec.name}.h5",
        show_default=True,
        help="The file to write.",
    )
    @click.option(
        "--split",
        "splits",
        multiple=True,
        metavar="SPLIT",
        help="One of the data set's splits; may be repeated.  [default: all]",
    )
    @click.option(
        "--subset",
        multiple=True,
        callback=_only_one,
        metavar="SUBSET",
        help="One of the splits' subsets, such as train or test.  [default: every one]",
    )
    @click.option(
        "--codec",
        default="png",
        show_default=True,
        metavar="png|webp|raw|jpeg[:QUALITY]",
        help="png, webp and raw are lossless; webp is smaller and slow to pack, raw large and fast; jpeg (95) is the "
        "smallest.",
    )
    @click.option(
        "--margin",
        type=float,
        help="Side of the stored window over that of the joints' box.  [default: 1.7 * 1.125 * sqrt 2, which holds the "
        "published crop at any rotation]",
    )
    @click.option(
        "--workers",
        type=click.IntRange(min=1, max=MOST_WORKERS),
        help="Processes; may be another number after a stop.  [default: one for each CPU, fewer for a small data set]",
    )
    @click.option("--force", is_flag=True, help="Replace the file if it exists.")
    def command(
        root: Path,
        out: Path,
        splits: tuple[str, ...],
        subset: str | None,
        codec: str,
        margin: float | None,
        workers: int | None,
        force: bool,
        reader: str = OWN_READER,
        hand_files: tuple[Path, ...] = (),
    ) -> None:
        from hmr_core.data.open_tree import open_tree
        from hmr_core.data.pack.codecs import codec_named
        from hmr_core.data.pack.format import DEFAULT_MARGIN
        from hmr_core.data.pack.writer import write_pack

        chosen = codec_named(codec)
        told = _Told(out)
        try:
            with ExitStack() as stack:
                summary = write_pack(
                    open_tree(spec, root, hand_files) if reader == OWN_READER else spec.readers[reader](root),
                    out,
                    splits=splits or None,
                    subset=subset,
                    codec=chosen,
                    margin=DEFAULT_MARGIN if margin is None else margin,
                    workers=workers,
                    force=force,
                    on_progress=told.of(_shown(stack, f"packing {out}", "samples")),
                    on_bytes=_shown_by_phase(stack, out),
                )
        except KeyboardInterrupt:
            told.how_to_go_on()
            raise
        if summary.was_finished:
            click.echo(f"{out} is whole: the packing that was stopped had finished", err=True)
        size = f"{summary.size_bytes / 1e6:.1f} MB, {summary.image_bytes / summary.samples / 1e3:.1f} kB an image"
        click.echo(f"{out}: {counted(summary.samples, 'sample')}, {size}")
        click.echo(_counts_table(summary.counts))
        for split, by_subset in summary.counts.items():
            if subset is None and (lacking := [name for name in _subsets(summary.counts) if name not in by_subset]):
                click.echo(f"note: {root} has no list of {', '.join(lacking)} of {split}", err=True)
        if summary.odd:
            click.echo(
                f"warning: {counted(len(summary.odd), 'hand')} of no hand's size, or more than 5 m away: "
                f"{listed(summary.odd)}. They are packed as they are; `{command_line('hmr doctor --data', out)}` "
                "says more",
                err=True,
            )
        for note in summary.notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"next: {_next_step(summary.counts, out)}   (hmr models lists them)")

    if spec.readers:
        choice = click.Choice([OWN_READER, *spec.readers])
        text = "What reads the data set; the pack is the same."
        command.params.append(click.Option(["--reader"], type=choice, default=OWN_READER, show_default=True, help=text))
    if spec.open_posed:
        text = (
            "A hand model of MANO's (`hmr mano import` makes one), for what is made with one of hands of its side: "
            "rotations, meshes; may be given once for each side. By default $HMR_HAND_MODEL; without any, it is left "
            "out."
        )
        files = click.Path(path_type=Path)
        command.params.append(
            click.Option(["--hand-model", "hand_files"], type=files, multiple=True, metavar="FILE", help=text)
        )
    return command


def _next_step(counts: Mapping[str, Mapping[str, int]], out: Path) -> str:
    """The command that what was packed is good for: to train where something can be trained on, else to evaluate."""
    for needed, choice in (({"train", "train+val"}, []), ({"train"}, ["--subset", "train"])):
        for split, by_subset in counts.items():
            if all(by_subset.get(subset) for subset in needed):
                return command_line("hmr train MODEL --split", split, *choice, "--data", out)
    split = next(iter(counts))
    subset = next((subset for subset in ("test", *counts[split]) if counts[split].get(subset)), "test")
    choice = [] if subset == "test" else ["--subset", subset]
    return command_line("hmr eval MODEL --ckpt RUN --split", split, *choice, "--data", out)


class _Told:
    """What the user is told of a packing that is made in several goes."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._total = 0

    def of(self, on_progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """The callback, which first says how much was found done."""

        def heard(done: int, total: int) -> None:
            if self._total == 0 and done:
                click.echo(f"going on with {self._out}: {done} of {total} samples were done before", err=True)
            self._total = total
            on_progress(done, total)

        return heard

    def how_to_go_on(self) -> None:
        """Say that a packing that was interrupted can go on, if there is something to go on from."""
        from hmr_core.data.pack.writer import after_interrupt

        if text := after_interrupt(self._out, self._total):
            click.echo(text, err=True)


@pack.command()
@click.argument("file", type=click.Path(path_type=Path))
def verify(file: Path) -> None:
    """Check every byte of a pack against its checksums; name damaged samples.

    Exit status 0 when the file is whole, 1 when it is not.
    """
    from hmr_core.data.pack.verify import verify_pack

    with ExitStack() as stack:
        problems = verify_pack(file, _shown(stack, f"verifying {file}", "MB", unit_size=1_000_000))
    for problem in problems:
        click.echo(problem)
    if problems:
        found = counted(len(problems), "problem")
        raise HmrError(f"{file}: {found}. Copy it again from its source, or pack the data set again.")
    click.echo(f"{file}: whole; every checksum is right")


@pack.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(file: Path, as_json: bool) -> None:
    """Print what a pack says of itself: counts by split, size, codec, units, versions, checksums of its source."""
    from hmr_core.data.pack.reader import Pack

    opened = Pack(file)
    click.echo(_as_json(opened) if as_json else _as_text(opened))


def _as_json(pack: Pack) -> str:
    import dataclasses
    import json

    from hmr_core.data.known import subset_gaps

    sizes = [{"width": size[0], "height": size[1], "samples": count} for size, count in pack.frame_sizes().items()]
    more = {"frames": sizes, "left_hands": _left_hands(pack), "lacking": subset_gaps(pack)}
    return json.dumps({**dataclasses.asdict(pack.info), **more}, indent=2)


def _left_hands(pack: Pack) -> int:
    return int(pack.left(range(len(pack))).sum())


def _as_text(pack: Pack) -> str:
    from hmr_core.data.known import subset_gaps

    found, left, sizes = pack.info, _left_hands(pack), pack.frame_sizes()
    frames = ", ".join(f"{width}x{height}" for width, height in list(sizes)[:3])
    more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
    rows = {
        "file": str(pack.path),
        "format": f"{found.format}, written by {_versions(found)}",
        "data set": f"{found.dataset}: {found.release}",
        "samples": f"{found.samples}" + (f", {counted(left, 'left hand')}" if left else ""),
        "has": ", ".join(name for name in found.arrays if not name.endswith("_px")),
        "size": f"{found.size_bytes / 1e6:.1f} MB, {found.image_bytes / 1e6:.1f} MB of it images",
        "codec": f"{found.codec} ({'lossless' if found.lossless else 'lossy'})",
        "frames": f"{frames}{more} pixels; windows of {found.margin:.3f} times the joints' box",
        "units": f"{found.units}; {found.frame}",
        "digest": found.digest,
    }
    described = [f"{name:9}{value}" for name, value in rows.items()]
    return "\n".join([*described, "", _counts_table(found.counts), *subset_gaps(pack), "", *_source_lines(found)])


def _versions(found: PackInfo) -> str:
    names = {"opencv": "OpenCV", "h5py": "h5py"}
    return ", ".join([found.tool, *(f"{names[name]} {version}" for name, version in found.versions.items())])


def _source_lines(found: PackInfo) -> list[str]:
    """The checksums of what was packed, shortened; those of two packs of one source agree, whatever their codecs."""
    what = {"frames": "the frames' files", "annotations": "the annotations and windows"}
    shown = {what.get(name, f"the list {name}"): digest[:16] for name, digest in found.source.items()}
    return [
        "source checksums (BLAKE2b; whole with --json):",
        *(f"  {text:28} {value}" for text, value in shown.items()),
    ]


def _counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Samples by split and subset; a dash where a subset is not packed."""
    names = _subsets(counts)
    first = max(8, *(len(split) for split in counts)) + 1
    widths = [max(11, len(name) + 2) for name in names]
    lines = [" " * first + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))]
    for split, by_subset in counts.items():
        shown = (f"{by_subset.get(name, '-'):>{width}}" for name, width in zip(names, widths, strict=True))
        lines.append(f"{split:{first}}" + "".join(shown))
    return "\n".join(lines)


def _subsets(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The subsets of all splits, in the order in which the splits list them."""
    return list(dict.fromkeys(subset for by_subset in counts.values() for subset in by_subset))


def _shown(stack: ExitStack, description: str, unit: str, *, unit_size: int = 1) -> Callable[[int, int], None]:
    """A callback (done, total) that shows progress, in units of unit_size, until the stack is left or closed.

    It closes the stack when it is first called: a terminal shows one bar at a time.
    """
    from hmr_core.cli.progress import progress

    advance: Callable[[int], None] | None = None
    before = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal advance, before
        units = -(-done // unit_size)
        if advance is None:
            stack.close()
            advance = stack.enter_context(progress(description, -(-total // unit_size), unit, done=units))
            before = units
        advance(units - before)
        before = units

    return on_progress


def _shown_by_phase(stack: ExitStack, out: Path) -> Callable[[str, int, int], None]:
    """A callback (phase, done, total), in bytes, that shows the progress of one phase of a packing after the other."""
    phases: dict[str, Callable[[int, int], None]] = {}

    def on_bytes(phase: str, done: int, total: int) -> None:
        if phase not in phases:
            phases[phase] = _shown(stack, f"{phase} {out}", "MB", unit_size=1_000_000)
        phases[phase](done, total)

    return on_bytes
