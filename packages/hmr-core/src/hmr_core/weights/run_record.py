"""A run's config.json: what the run was asked to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.plugins.run import CONFIG, Run, RunData, RunHand, RunInit
from hmr_core.staging import write_text
from hmr_core.weights.checkpoint_record import RECORD

FORMAT = "hmr-run/1"

_KINDS: Mapping[str, tuple[Any, str]] = {
    "model": (str, "text"),
    "split": (str, "text"),
    "recipe_name": (str, "text"),
    "recipe": (dict, "an object"),
    "data": (list, "a list"),
    "hand_model": (dict | None, "an object or null"),
    "versions": (dict, "an object"),
    "limits": (dict, "an object"),
    "processes": (int, "a whole number"),
    "checkpoint_every": (str | None, "text or null"),
    "keep_last": (int, "a whole number"),
    "tensorboard": (bool, "true or false"),
    "wandb": (bool, "true or false"),
    "verify": (bool, "true or false"),
    "started": (dict, "an object"),
    "init": (dict | None, "an object or null"),
    "lengthened": (list, "a list"),
}
"""What the values in config.json are."""


def write_run(run: Run) -> None:
    """Write a run's config.json into its folder."""
    hand = run.hand_model
    values = {
        "format": FORMAT,
        **run.identity(),
        "data": [{"path": str(pack.path.resolve()), **pack.as_json()} for pack in run.data],
        "hand_model": None
        if hand is None
        else {"path": hand.path and str(hand.path.resolve()), "blake2b": hand.blake2b},
        "init": None if run.init is None else {"path": str(run.init.path), **run.init.as_json()},
        "versions": dict(run.versions),
        "processes": run.processes,
        "checkpoint_every": run.checkpoint_every,
        "keep_last": run.keep_last,
        "tensorboard": run.tensorboard,
        "wandb": run.wandb,
        "verify": run.verify,
        "started": dict(run.started),
        "lengthened": [dict(change) for change in run.lengthened],
    }
    write_text(run.folder / CONFIG, json.dumps(values, indent=2) + "\n")


def open_run(folder: Path) -> Run:
    """An existing run; HmrError if the folder is not one."""
    path = folder / CONFIG
    try:
        values = json.loads(read_bytes(path))
    except OSError as error:
        checkpoint = _of_run(folder)
        raise HmrError(
            f"{folder} is not a run: {path} cannot be read ({error.strerror}).{checkpoint} "
            "Runs are made by `hmr train`."
        ) from error
    except ValueError as error:  # neither JSON nor UTF-8
        raise HmrError(f"{path} is not valid JSON ({error}); the run cannot be resumed.") from error
    found = values.pop("format", None) if isinstance(values, dict) else None
    if found != FORMAT:
        raise HmrError(f"{path} has format {found!r}; this version of hmr reads {FORMAT!r}.")
    for key, (kind, wanted) in _KINDS.items():
        if key not in values:
            raise HmrError(f'{path} is not as `hmr train` writes it (no "{key}"); the run cannot be resumed.')
        if not isinstance(values[key], kind):
            raise HmrError(
                f'{path} was altered or damaged: "{key}" is a {type(values[key]).__name__}, and should be {wanted}. '
                "Put back the file that it was, or start a new run."
            )
    _check_parts(path, values)
    try:
        data = tuple(RunData(**{**pack, "path": Path(pack["path"])}) for pack in values.pop("data"))
        hand = values.pop("hand_model")
        if hand is not None:
            hand = RunHand(**{**hand, "path": hand["path"] and Path(hand["path"])})
        init = values.pop("init")
        if init is not None:
            init = RunInit(**{**init, "path": Path(init["path"]), "drawn": tuple(init["drawn"])})
        lengthened = tuple(values.pop("lengthened"))
        return Run(**values, init=init, lengthened=lengthened, folder=folder, data=data, hand_model=hand)
    except (TypeError, KeyError) as error:
        raise HmrError(f"{path} is not as `hmr train` writes it ({error}); the run cannot be resumed.") from error


def _is_of_mixture(pack: Any) -> bool:
    """Whether a pack has what each one of several has besides."""
    return isinstance(pack, dict) and all(
        isinstance(pack.get(key), kind) for key, kind in (("name", str), ("split", str), ("share", float))
    )


def _of_run(folder: Path) -> str:
    """What a folder that is no run has to do with one, in a sentence with a space before; empty where nothing."""
    run = Path(str(folder).rpartition(":")[0] or "/") if ":" in folder.name else folder.parent.parent
    if (run / CONFIG).is_file():
        return f" The run is {run}."
    return " It is a checkpoint, which has no run." if (folder / RECORD).is_file() else ""


def _check_parts(path: Path, values: Mapping[str, Any]) -> None:
    """HmrError for a list or an object of config.json that holds what `hmr train` does not write there."""
    changes, limits = values["lengthened"], values["limits"].values()
    packs = values["data"]
    whole = {
        "data": len(packs) == 1 or (bool(packs) and all(_is_of_mixture(pack) for pack in packs)),
        "lengthened": all(isinstance(each, dict) and {"from", "at_epoch"} <= each.keys() for each in changes),
        "limits": all(isinstance(number, int) for number in limits),
    }
    if bad := [key for key, is_whole in whole.items() if not is_whole]:
        raise HmrError(
            f'{path} was altered or damaged: "{bad[0]}" is not as `hmr train` writes it. Put back the file that it '
            "was, or start a new run."
        )
