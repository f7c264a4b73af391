"""When a new run is asked for, and is to be the rest of one that is there already.

Either that was asked for, as a script does that a queue starts again and again; or all processes of a launch were
started again by the very command line that had begun the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError, Option
from hmr_core.plugins.run import CONFIG, Run
from hmr_core.processes import Place
from hmr_core.training.run_folder import resume_command, taken_folders
from hmr_core.weights.checkpoint_folders import run_checkpoints
from hmr_core.weights.checkpoint_record import flat
from hmr_core.weights.run_record import open_run

AGAIN_S = 60.0
"""How long a launch that was started again waits for what is left of it to let go of the run."""


def begun_before(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether the run that is asked for is in a folder already, with or without a checkpoint.

    asked: of what makes a run the one it is (`Run.identity`), all that the request says.
    Raises HmrError, naming what differs, when the run that is there is another one and has a checkpoint.
    """
    if not (folder / CONFIG).is_file():
        return False
    run = open_run(folder)
    there = dict(flat({key: run.identity()[key] for key in asked}))
    wanted = dict(flat(asked))
    differing = [key for key in dict.fromkeys([*wanted, *there]) if wanted.get(key) != there.get(key)]
    if differing and run_checkpoints(folder):
        raise _other_run(run, differing, there, wanted)
    return not differing


def _other_run(run: Run, differing: list[str], there: Mapping[str, Any], wanted: Mapping[str, Any]) -> HmrError:
    key = differing[0]
    more = f" (and {len(differing) - 1} more: {', '.join(differing[1:])})" if len(differing) > 1 else ""
    longer = differing == ["recipe.train.epochs"]
    go_on = resume_command(run, *([Option("epochs", wanted[key])] if longer else []))
    return HmrError(
        f"{run.folder} is another run than the one that is asked for: its {key} is {json.dumps(there.get(key))}, and "
        f"not {json.dumps(wanted.get(key))}{more}.",
        f"Ask for the same, go on with that one by `{go_on}`, or choose another folder with ",
        Option("out"),
        ".",
    )


def run_of_launch(where: Place, command: str, out: Path | None, name: str) -> Path | None:
    """The folder of the run that the processes of this launch had begun, before they were started again; None if none.

    out: the run's folder, if it was given; else it is one of those that are called after `name`.
    """
    if not where.launch:
        return None
    for folder in [out] if out is not None else reversed(taken_folders(name)):
        with suppress(HmrError):  # of a folder that holds no run
            started = open_run(folder).started
            if started.get("launch") == where.launch and started.get("command") == command:
                return folder
    return None
