"""Write a synthetic data set as a release tree, with as many processes as wanted: the bytes are the same."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hmr_core.data.oakink.layout import RELEASE_FILE
from hmr_core.data.synthetic.frames import ARRAYS, Frames
from hmr_core.data.synthetic.lists import list_files
from hmr_core.data.synthetic.objects import OBJECTS, object_text
from hmr_core.data.synthetic.scene import Sequence, Spread, make_sequence
from hmr_core.data.synthetic.sizes import CAMERAS, FEWEST_OBJECTS, FEWEST_SUBJECTS, check_request, places
from hmr_core.data.synthetic.workers import write_all
from hmr_core.errors import HmrError
from hmr_core.hand.model import save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand

_FRAMES_PER_TASK = 26
_IMAGE_MB = 0.63
"""What an image and its annotations take on the disk, about."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSummary:
    """What was written. root: the release tree; hand_model: the file of the hand that it shows."""

    root: Path
    hand_model: Path
    sequences: int
    images: int
    samples: int


def write_synthetic(
    out: Path,
    *,
    sequences: int = 12,
    frames: int = 26,
    subjects: int = FEWEST_SUBJECTS,
    objects: int = FEWEST_OBJECTS,
    seed: int = 0,
    workers: int = 1,
    spread: Spread | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SyntheticSummary:
    """Write OUT/OakInk in OakInk-Image v2.1's layout, and OUT/hand.npz, the hand model it was made with.

    sequences: 5 to 10,000; frames: of each sequence, 1 to 10,000, each seen by four cameras; subjects: 4 to 10;
    objects: 4 to 12. The same numbers and seed give the same bytes whatever the number of worker processes. on_progress
    gets the images done and their total.

    Nothing appears under its name before it is complete. Raises UsageError for impossible numbers and HmrError when
    there is something at OUT/OakInk or OUT/hand.npz already, which is left alone, when another process writes there, or
    when the disk is full.
    """
    check_request(
        out, sequences=sequences, frames=frames, subjects=subjects, objects=objects, seed=seed, workers=workers
    )
    root, hand_file = places(out)
    spread = spread or Spread()
    planned = [make_sequence(i, seed, spread, subjects=subjects, objects=objects) for i in range(sequences)]
    total = sequences * frames * len(CAMERAS)
    with _own_part(out, total) as part:
        _make_folders(part, planned)
        tasks = [
            Frames(part, sequence, first, min(first + _FRAMES_PER_TASK, frames), frames, seed, spread)
            for sequence in planned
            for first in range(0, frames, _FRAMES_PER_TASK)
        ]
        done = 0
        with closing(write_all(tasks, workers)) as running:  # its processes write no more when the folder is removed
            for images in running:
                done += images
                if on_progress:
                    on_progress(done, total)
        anno = part / "image" / "anno"
        for name, text in list_files(planned, frames).items():
            (anno / name).parent.mkdir(parents=True, exist_ok=True)
            (anno / name).write_text(text, encoding="utf-8")
        for name in OBJECTS[:objects]:
            (part / "image" / "obj" / f"{name}.obj").write_text(object_text(name), encoding="utf-8")
        # The pack, and every result on it, says so too.
        release = f"synthetic 2, in OakInk-Image v2.1's layout (seed {seed})\n"
        (part / RELEASE_FILE).write_text(release, encoding="utf-8")
        save_hand_model(load_synthetic_hand(), part / hand_file.name)
        part.rename(root)
        (root / hand_file.name).rename(hand_file)
    samples = sum(len(s.subjects) for s in planned) * frames * len(CAMERAS)
    return SyntheticSummary(root=root, hand_model=hand_file, sequences=sequences, images=total, samples=samples)


@contextmanager
def _own_part(out: Path, images: int) -> Iterator[Path]:
    """OUT/OakInk.part, empty and for this process alone. After an error it is gone, with the folders made for it."""
    part = out / "OakInk.part"
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        part.mkdir(parents=True, exist_ok=True)
        handle = os.open(part, os.O_RDONLY)
    except OSError as error:
        raise HmrError(f"cannot make the folder {part}: {error.strerror}. Choose another folder.") from error
    try:
        _lock(handle, part)
        try:
            for left in part.iterdir():  # by a run that was killed
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield part
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()
            if isinstance(error, OSError):
                raise HmrError(
                    f"could not write {out}: {error.strerror or error}. Nothing of it is left. Make room, about "
                    f"{images * _IMAGE_MB:.0f} MB, or choose another folder."
                ) from error
            raise
    finally:
        os.close(handle)


def _lock(handle: int, part: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise HmrError(f"another process is writing {part}. Wait for it, or choose another folder.") from None
    except OSError:
        pass  # a file system that locks no folders


def _make_folders(part: Path, sequences: list[Sequence]) -> None:
    for name in ARRAYS:
        (part / "image" / "anno" / name).mkdir(parents=True)
    (part / "image" / "obj").mkdir()
    for sequence in sequences:
        (part / "image" / "stream_release_v2" / sequence.name / sequence.time).mkdir(parents=True)
