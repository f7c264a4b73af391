"""What a process of several leaves of the error that ended it, for what started it: torchrun, or hmr itself.

torchrun names each process a file for it, and tells in its report what it finds there.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "TORCHELASTIC_ERROR_FILE"
"""The environment variable that names the file."""

_OWN = "hmr"
"""The part of the file that torchrun does not read."""


@dataclass(frozen=True, kw_only=True)
class WorkerError:
    """An error as its user is told it. status: the process's exit status. trace: its traceback; empty where none is to
    be shown. of_another: whether it is another process's, which that one tells itself.
    """

    text: str
    status: int
    trace: str = ""
    of_another: bool = False

    def leave(self) -> None:
        """Write the error where the environment says, if it does."""
        if path := os.environ.get(FILE):
            told = {"message": self.text, "extraInfo": {"py_callstack": self.text, "timestamp": str(int(time.time()))}}
            with suppress(OSError):  # the error itself matters more
                Path(path).write_text(json.dumps({"message": told, _OWN: asdict(self)}), encoding="utf-8")


def read_worker_error(path: Path) -> WorkerError | None:
    """The error that a process left; None where it left none."""
    try:
        return WorkerError(**json.loads(path.read_text(encoding="utf-8"))[_OWN])
    except (OSError, ValueError, KeyError, TypeError):
        return None
