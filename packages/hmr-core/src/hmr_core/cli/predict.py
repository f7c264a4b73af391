"""`hmr predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.cli.options import device_option, hand_model_option
from hmr_core.cli.predict_video import VideoOptions, predict_videos, video_options, wants_videos
from hmr_core.errors import UsageError
from hmr_core.hand.hand import GIVEN
from hmr_core.hand.joints import SIDES
from hmr_core.inference.boxes import WHOLE
from hmr_core.plugins.photo_hands import BOX_OF, HAND
from hmr_core.shell import flag
from hmr_core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmr_core.inference.photos import PhotoResult
    from hmr_core.inference.predictor import Predictor

NO_SOLVER = "none"
BOX, INTRINSICS = "x,y,width,height", "fx,fy,cx,cy"
_TILES = ("tiles=true",)
MESH = "obj"
LINES = 12
"""So many lines tell of hands."""


def _numbers(text: str, names: str, *words: str) -> tuple[float, ...] | str:
    """Numbers with commas between them, as many as there are names, or one of some words."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if text in words:
        return text
    if len(numbers) != len(names.split(",")):
        raise click.BadParameter(f'"{text}" is not {" or ".join([names, *words])} (numbers with commas between them).')
    return numbers


def _boxes(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> list[tuple[float, ...] | str]:
    return [_numbers(text, BOX, WHOLE) for text in texts]


def _intrinsics(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[float, ...] | str | None:
    return None if text is None else _numbers(text, INTRINSICS)


@click.command("predict")
@click.argument("name")
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--ckpt",
    type=click.Path(path_type=Path),
    help="Of a model: a run (RUN:best is the best on val), a checkpoint, or a released file. Predictors have none.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of a predictor; `hmr predictors NAME` lists them. Repeat it for several.",
)
@click.option(
    "--detector",
    metavar="NAME",
    help="What finds the hands of the photos for a model; `hmr detectors` lists them. Predictors find them themselves.",
)
@click.option(
    "--detector-set",
    "detector_sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the detector; `hmr detectors NAME` lists them.",
)
@click.option(
    "--tiles",
    is_flag=True,
    help="Look for small hands, too, in overlapping parts of the photo. It finds more, and some that are none.",
)
@click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar=BOX,
    callback=_boxes,
    help="A hand: left, top, width and height in pixels, tight around it from the wrist to the finger tips; or "
    f"`{WHOLE}`, the whole photo. Repeat it for several hands.  [default: those that are found; of a model without a "
    "detector, whole]",
)
@click.option(
    "--box-of",
    type=click.Choice(BOX_OF),
    default=HAND,
    show_default=True,
    help="What boxes are tight around: the hand as it is seen, or its 21 joints.",
)
@click.option(
    "--side",
    "sides",
    multiple=True,
    type=click.Choice(SIDES),
    help="Which hand it is: once for all hands, or once for each box.  [default: as it is seen; of a model without a "
    "detector, right]",
)
@click.option(
    "--intrinsics", metavar=INTRINSICS, callback=_intrinsics, help="The camera of the upright photos, in pixels."
)
@click.option("--fov", type=float, metavar="DEG", help="The camera's angle of view along a photo's longer side.")
@click.option(
    "--hand-size",
    type=float,
    metavar="MM",
    help="From the wrist along the bones to the tip of the middle finger.  [default: the hand model's]",
)
@click.option(
    "--depth",
    type=float,
    metavar="M",
    help="The depth of the root joint: of a model as `hmr models NAME` has it, else the wrist.",
)
@click.option(
    "--solver",
    metavar="NAME",
    help=f"What makes the mesh where a model predicts joints alone; `{NO_SOLVER}` for no mesh.  [default: lm]",
)
@click.option(
    "--solver-ckpt", type=click.Path(path_type=Path), metavar="FILE", help="The solver's weights, if it needs any."
)
@hand_model_option
@device_option
@click.option(
    "--mesh",
    type=click.Choice(("obj", "ply", "glb", "none")),
    default=MESH,
    show_default=True,
    help="What the files of the meshes are, if there are to be any.",
)
@click.option(
    "--pictures/--no-pictures",
    default=True,
    show_default=True,
    help="Each photo or video with its hands drawn over it.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("hands"),
    show_default=True,
    help="Folder of the results; earlier predictions in it are replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print hands.json, and nothing else on stdout.")
@video_options
def predict(
    name: str,
    files: tuple[Path, ...],
    ckpt: Path | None,
    sets: tuple[str, ...],
    detector: str | None,
    detector_sets: tuple[str, ...],
    tiles: bool,
    boxes: list[tuple[float, ...] | str],
    box_of: str,
    sides: tuple[str, ...],
    intrinsics: tuple[float, ...] | None,
    fov: float | None,
    hand_size: float | None,
    depth: float | None,
    solver: str | None,
    solver_ckpt: Path | None,
    hand_model: Path | None,
    device: str | None,
    mesh: str,
    pictures: bool,
    out: Path,
    as_json: bool,
    video: VideoOptions,
) -> int:
    """Predict the hands in photos and videos: joints and mesh in camera space, in metres.

    NAME is a predictor, which needs no training (`hmr predictors` lists them), or a model with its --ckpt. FILE... are
    photos, or folders of photos; all boxes are for each of them. Leaves hands.json and, for each photo STEM, STEM.png
    (its hands drawn over it) and STEM-N.obj, the mesh of its N-th hand. A photo that cannot be predicted has its error
    in hands.json, and the exit status is then 1. A photo without hands is no error.

    Or FILE... are videos: their hands are followed, and each keeps its number and its side. Leaves STEM.mp4 (the hands
    drawn over the video), hands.jsonl (a line for each frame), hands.npz (the same as arrays) and video.json; each of
    several videos has a folder STEM of its own. Ctrl-C keeps what was done, and --resume goes on.

    The camera is the one that is given, else the one that EXIF tells, else one of 60 degrees; how far away a hand is,
    its size tells. docs/predict.md has it all.

    \b
    Examples:
      hmr predict mediapipe photo.jpg
      hmr predict mediapipe video.mp4 --out hands
      hmr predict mediapipe --camera 0 --out live
      hmr predict integral --ckpt runs/integral-sp0-tiny photo.jpg --detector mediapipe
      hmr predict integral --ckpt runs/integral-sp0-tiny photo.jpg --box 220,140,180,200
      hmr predict integral --ckpt runs/integral-sp0-tiny me.jpg --box 220,140,180,200 --side left --hand-size 190
      hmr predict i2l --ckpt runs/i2l-sp0-tiny photos/ --box whole --fov 70 --out hands --mesh glb
    """
    from hmr_core.cli.main import current_command
    from hmr_core.cli.progress import progress
    from hmr_core.inference.photos import RECORD, check_folder, list_photos, predict_photos
    from hmr_core.inference.request import PhotoRequest
    from hmr_core.processes import place
    from hmr_core.provenance import provenance

    request = PhotoRequest(
        boxes=boxes or None,
        box_of=box_of,
        sides=sides[0] if len(sides) == 1 else sides or None,
        intrinsics=intrinsics,
        fov=fov,
        depth=depth,
        hand_size=hand_size,
    )

    of_videos = wants_videos(files, video)

    def make() -> Predictor:
        made = _predictor(
            name, ckpt, sets, detector, detector_sets, tiles, solver, solver_ckpt, hand_model, device, boxes=bool(boxes)
        )
        if not boxes and ckpt is not None and detector is None:
            side, what = request.side or SIDES[0], "frame" if of_videos else "photo"
            click.echo(
                f"note: neither --box nor --detector: each {what} is taken for one {side} hand that fills it", err=True
            )
        return made

    if of_videos:
        if as_json or mesh not in (MESH, "none"):
            flag_name = "json" if as_json else "mesh"
            raise UsageError(f"--{flag_name} is for photos: the hands of a video are in its hands.jsonl.")
        return predict_videos(files, video, request, out, make, pictures=pictures)
    photos = list_photos(files)
    where = place()
    if where.first:
        check_folder(out)
    predictor = make()
    about = {**predictor.as_report(), "started": provenance(current_command())}
    with progress(name, len(where.share_of(photos)), "photos") as advance:
        results = predict_photos(
            predictor,
            photos,
            request,
            out,
            mesh_ending=None if mesh == "none" else f".{mesh}",
            pictures=pictures,
            about=about,
            on_photo=lambda _: advance(1),
            where=where,
        )
    if results is None:  # of several processes, the first has them
        return 0
    failed = [result for result in results if result.error is not None]
    for result in failed:
        assert result.error is not None
        click.echo(f"error: {result.error.worded(flag)}", err=True)
    if as_json:
        click.echo((out / RECORD).read_text(encoding="utf-8"), nl=False)
    else:
        _show(results)
        click.echo(f"hand model: {predictor.hand_model.label}")
        written = RECORD + (f", {counted(len(results) - len(failed), 'picture')}" if pictures else "")
        click.echo(f"written: {out}/ with {written}")
    return 1 if failed else 0


def _predictor(
    name: str,
    ckpt: Path | None,
    sets: tuple[str, ...],
    detector: str | None,
    detector_sets: tuple[str, ...],
    tiles: bool,
    solver: str | None,
    solver_ckpt: Path | None,
    hand_model: Path | None,
    device: str | None,
    *,
    boxes: bool,
) -> Predictor:
    """What a name means: a predictor, or a model with a checkpoint. boxes: whether some are given."""
    from hmr_core.cli.main import current_registry
    from hmr_core.inference.load import SOLVER, is_predictor, load_model, load_predictor

    registry = current_registry()
    if boxes and (detector is not None or tiles):
        what = "--detector" if detector is not None else "--tiles"
        raise UsageError(f"{what} finds hands, and --box says where they are. Give one of them.")
    if is_predictor(name, registry):
        unused = {
            "ckpt": ckpt,
            "detector": detector,
            "detector-set": detector_sets,
            "solver": solver,
            "solver-ckpt": solver_ckpt,
        }
        if useless := [flag_name for flag_name, given in unused.items() if given]:
            raise UsageError(
                f'--{useless[0]} is for models: the predictor "{name}" finds hands and makes their meshes by itself.'
            )
        return load_predictor(
            name, sets=(*sets, *(_TILES if tiles else ())), hand_model=hand_model, device=device, registry=registry
        )
    registry.model(name)
    if ckpt is None:
        raise UsageError(f'the model "{name}" needs its weights: --ckpt FILE (a run, a checkpoint, a released file).')
    if sets:
        raise UsageError("--set is for predictors: a model's options are in its checkpoint.")
    if tiles and detector is None:
        raise UsageError("--tiles is for detectors: add --detector NAME.")
    solver = SOLVER if solver is None else None if solver == NO_SOLVER else solver
    overrides = (*detector_sets, *(_TILES if tiles else ()))
    return load_model(
        ckpt,
        model=name,
        hand_model=hand_model,
        solver=solver,
        solver_ckpt=solver_ckpt,
        detector=detector,
        detector_sets=overrides,
        device=device,
        registry=registry,
    )


def _show(results: Sequence[PhotoResult]) -> None:
    """Tell of each hand and of photos without any, as long as they are few."""
    lines = []
    for result in results:
        for hand, mesh in zip(result.hands, result.meshes, strict=True):
            by = "root joint's depth given" if hand.depth_from == GIVEN else "by its size"
            where = f"wrist {hand.joints[0, 2]:.3f} m away ({by}; camera {hand.intrinsics_from})"
            lines.append(f"{result.file}: {hand.side} hand, {where}{f', {mesh}' if mesh else ''}")
            lines += [f"{result.file}: {remark}" for remark in hand.remarks]
        if result.error is None and not result.hands:
            lines.append(f"{result.file}: no hand found")
    for line in lines[:LINES]:
        click.echo(line)
    if len(lines) > LINES:
        click.echo(f"and {counted(len(lines) - LINES, 'more line')} like these; all is in hands.json")
    if len(results) > 1:
        hands, found = sum(len(result.hands) for result in results), sum(bool(result.hands) for result in results)
        click.echo(f"{counted(hands, 'hand')} in {found} of {len(results)} photos")
