"""Write a synthetic data set as a release tree, with as many processes as wanted: the bytes are the same."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import numpy as np
import torch

from hmr_core.data.oakink.layout import RELEASE_FILE
from hmr_core.data.pack import codecs
from hmr_core.data.synthetic import pickles
from hmr_core.data.synthetic.lists import list_files
from hmr_core.data.synthetic.objects import OBJECTS, object_text
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import (
    CAMERAS,
    FEWEST_OBJECTS,
    FEWEST_SEQUENCES,
    FEWEST_SUBJECTS,
    SUBJECTS,
    Camera,
    Hand,
    Moment,
    Sequence,
    Spread,
    frame_number,
    make_moment,
    make_sequence,
    to_camera,
)
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.model import save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.interrupts import interrupts_held

ARRAYS = ("cam_intr", "hand_j", "hand_v", "obj_transf", "general_info")
_FRAMES_PER_TASK = 26
_IMAGE_MB = 0.56
"""What an image and its annotations take on the disk, about."""

PNG_PARAMETERS = (*codecs.PNG_PARAMETERS, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
"""As a pack's, but for a search for runs, of which noise leaves none: a third less time than OpenCV's own choice."""

_FOR_PICTURE, _FOR_ROOM = 3, 5  # continue the scene's list of what generators are for


@dataclass(frozen=True, kw_only=True)
class SyntheticSummary:
    """What was written. root: the release tree; hand_model: the file of the hand that it shows."""

    root: Path
    hand_model: Path
    sequences: int
    images: int
    samples: int


@dataclass(frozen=True)
class _Task:
    """Some frames of one sequence, for one process."""

    folder: Path
    sequence: Sequence
    first: int
    last: int
    frames: int
    seed: int
    spread: Spread


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

    sequences: at least five; frames: of each sequence, each seen by four cameras; subjects: 4 to 10; objects: 4 to 12.
    The same numbers and seed give the same bytes whatever the number of worker processes. on_progress gets the images
    done and their total.

    Nothing appears under its name before it is complete. Raises UsageError for impossible numbers and HmrError when
    there is something at OUT/OakInk or OUT/hand.npz already, which is left alone, when another process writes there, or
    when the disk is full.
    """
    for name, value, least in (
        ("sequences", sequences, FEWEST_SEQUENCES),
        ("frames", frames, 1),
        ("workers", workers, 1),
    ):
        if value < least:
            raise UsageError(f"{name} {value}: it must be at least {least}.")
    for name, value, least, most in (
        ("subjects", subjects, FEWEST_SUBJECTS, len(SUBJECTS)),
        ("objects", objects, FEWEST_OBJECTS, len(OBJECTS)),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} {value}: it must be {least} to {most}.")
    if seed < 0:
        raise UsageError(f"seed {seed}: it must not be negative.")
    root, hand_file = out / "OakInk", out / "hand.npz"
    for path in (root, hand_file):
        if path.exists():
            raise HmrError(f"{path} exists already. Delete it, or choose another folder.")
    spread = spread or Spread()
    planned = [make_sequence(i, seed, spread, subjects=subjects, objects=objects) for i in range(sequences)]
    total = sequences * frames * len(CAMERAS)
    with _own_part(out, total) as part:
        _make_folders(part, planned)
        tasks = [
            _Task(part, sequence, first, min(first + _FRAMES_PER_TASK, frames), frames, seed, spread)
            for sequence in planned
            for first in range(0, frames, _FRAMES_PER_TASK)
        ]
        done = 0
        with closing(_run(tasks, workers)) as running:  # its processes write no more when the folder is removed
            for images in running:
                done += images
                if on_progress:
                    on_progress(done, total)
        anno = part / "image" / "anno"
        for name, text in list_files(planned, frames).items():
            (anno / name).parent.mkdir(parents=True, exist_ok=True)
            (anno / name).write_text(text)
        for name in OBJECTS[:objects]:
            (part / "image" / "obj" / f"{name}.obj").write_text(object_text(name))
        # The pack, and every result on it, says so too.
        (part / RELEASE_FILE).write_text(f"synthetic 2, in OakInk-Image v2.1's layout (seed {seed})\n")
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


def _run(tasks: list[_Task], workers: int) -> Generator[int]:
    """Do the tasks here or in worker processes; yields the images written by each as it ends."""
    if workers == 1:
        yield from map(_write_frames, tasks)
        return
    context = multiprocessing.get_context("spawn")  # fork would copy the locks of torch's threads
    stop = context.Event()
    count = min(workers, len(tasks))
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(stop,)) as pool:
        try:
            with interrupts_held():  # the first task starts the processes: Ctrl-C is for this one to answer
                futures = [pool.submit(_write_frames, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise HmrError(
                "a worker process died, perhaps for want of memory. Try again with fewer workers."
            ) from error
        finally:
            # A second Ctrl-C would leave the pool's thread behind, and with it processes that wait for ever.
            with interrupts_held():
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)


_stop: Event | None = None
"""In a worker process: that its task is not wanted any more."""


def _start_worker(stop: Event) -> None:
    """One thread for each process, and none without the process that gives it tasks."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, which a process that waits for tasks would not notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_frames(task: _Task) -> int:
    model = load_synthetic_hand()
    sequence = task.sequence
    painter = Painter(model, sequence, np.random.default_rng([task.seed, _FOR_ROOM, sequence.number]))
    written = 0
    for index in range(task.first, task.last):
        if _stop is not None and _stop.is_set():
            break
        moment = make_moment(model, sequence, index, task.frames, task.seed, task.spread)
        scene = painter.scene(moment, np.random.default_rng([task.seed, _FOR_PICTURE, sequence.number, index]))
        for which, camera in enumerate(sequence.cameras):
            generator = np.random.default_rng([task.seed, _FOR_PICTURE, sequence.number, index, which])
            image = painter.paint(scene, camera, generator)
            name = f"{CAMERAS[which]}_color_{frame_number(index)}.png"
            _write_png(task.folder / "image" / "stream_release_v2" / sequence.name / sequence.time / name, image)
            for flag, hand in enumerate(moment.hands):
                stem = f"{sequence.name}__{sequence.time}__{flag}__{frame_number(index)}__{which}"
                _write_annotations(task.folder / "image" / "anno", stem, hand, moment, camera)
            written += 1
    return written


def _write_png(path: Path, image: np.ndarray) -> None:
    done, encoded = cv2.imencode(".png", image[..., ::-1], PNG_PARAMETERS)
    if not done:
        raise HmrError(f"OpenCV could not encode {path}.")
    path.write_bytes(encoded.tobytes())


def _write_annotations(anno: Path, stem: str, hand: Hand, moment: Moment, camera: Camera) -> None:
    """The five pickles of a sample. hand_j, hand_v and obj_transf are in camera space, general_info in world space."""
    object_pose = camera.extrinsics.astype(np.float64) @ moment.object_pose.astype(np.float64)
    contents = {
        "cam_intr": camera.intrinsics,
        "hand_j": to_camera(camera, hand.joints_m).astype(np.float32),
        "hand_v": to_camera(camera, hand.verts_m).astype(np.float32),
        "obj_transf": object_pose.astype(np.float32),
        "general_info": {
            "hand_anno": {
                "hand_tsl": torch.from_numpy(hand.translation_m),
                "hand_shape": torch.from_numpy(hand.subject.betas),
                "hand_pose": torch.from_numpy(hand.quaternions),
            },
            "cam_extr": torch.from_numpy(camera.extrinsics),
            "cam_intr": torch.from_numpy(camera.intrinsics),
            "obj_anno": torch.from_numpy(moment.object_pose),
        },
    }
    for name, content in contents.items():
        (anno / name / f"{stem}.pkl").write_bytes(pickles.dump(content))
