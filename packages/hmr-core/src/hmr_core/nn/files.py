"""Files of weights (names to tensors): how to tell a file's format by its first bytes, and how to read it."""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from hmr_core.errors import HmrError, Option
from hmr_core.file_kinds import BEGINNING, HDF5, LONGEST_HEADER
from hmr_core.files import open_regular, utf8_name
from hmr_core.hand.arrays import SHAPES
from hmr_core.shell import command_line

Format = Literal["safetensors", "zip", "pickle", "unknown"]
"""zip: how torch has written files since 1.6. pickle: as before, which cannot be mapped into memory."""

_AGAIN = "It is cut off or damaged: copy it again from where it is whole."

_MANOS = ("numpy", "scipy", "chumpy")
"""What MANO's own pickles name the parts of."""


def file_format(path: Path) -> Format:
    """Tell a file's format by its first bytes, even where the rest is damaged; HmrError when it cannot be read."""
    try:
        with open_regular(path) as file:
            begin = file.read(9)
    except OSError as error:
        raise HmrError(f"{path} cannot be read: {error.strerror}.") from error
    if begin.startswith(b"PK\x03\x04"):
        return "zip"
    if len(begin) == 9 and begin.endswith(b"{") and struct.unpack("<Q", begin[:8])[0] <= LONGEST_HEADER:
        return "safetensors"
    return "pickle" if begin.startswith(b"\x80") else "unknown"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; HmrError when it is damaged."""
    try:
        with utf8_name(path) as name:
            return load_file(name)
    except (OSError, SafetensorError) as error:
        raise HmrError(f"{path} cannot be read as safetensors: {error}. {_AGAIN}") from error


def read_shapes(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file's tensors without their numbers, int64 for all that is no float; HmrError as above."""
    try:
        with utf8_name(path) as name, safe_open(name, "pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118  # it is no dict
            return {key: _empty(one.get_shape(), one.get_dtype()) for key, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise HmrError(f"{path} cannot be read as safetensors: {error}. {_AGAIN}") from error


def read_state_dict(path: Path, valid: Sequence[str | Option], *, beside_others: bool = False) -> dict[str, Tensor]:
    """Read the state dict of a file of torch's, by itself or under "model".

    beside_others: whether it may stand under "model" or "state_dict" beside other things, as where a whole training was
    saved.

    torch's weights_only unpickler reads it: a file that names anything but tensors and plain containers is refused, and
    nothing in it runs. The tensors are the file's own pages where its format allows, so use them up before the file
    changes.
    valid: what could have been given, as the remedy of the HmrError that says why there are none.
    """
    found = file_format(path)
    if found == "zip" and (refused := _other_zip(path)):
        raise _refusal(path, refused, valid)
    misnamed = path.name.endswith(".safetensors")  # torch goes by the name of what is given by name
    try:
        with open_regular(path) as file, utf8_name(path) as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch asks to report its refusal of a plain pickle as a fault
            held = torch.load(
                file if misnamed else name,
                map_location="cpu",
                weights_only=True,
                mmap=found == "zip" and not misnamed,  # it maps by name alone
            )
    except Exception as error:  # torch raises many types for a file that is not its own, or that wants to run code
        raise _refusal(path, _refused(path, found, error), valid) from error
    state = held["model"] if isinstance(held, Mapping) and held.keys() == {"model"} else held  # as IKNet's file is
    if beside_others and isinstance(held, Mapping):
        state = next((held[key] for key in ("model", "state_dict") if isinstance(held.get(key), Mapping)), held)
    if problem := _no_state_dict(state):
        raise HmrError(
            f'{path} does not hold a state dict (names to tensors), by itself or under "model", as released files do: '
            f"{problem}."
        )
    return dict(state)


def _empty(shape: list[int], kind: str) -> Tensor:
    """kind: as safetensors calls it, such as F32, BF16 or I64."""
    dtype = torch.float32 if kind.startswith(("F", "BF")) else torch.int64
    return torch.empty(shape, dtype=dtype, device="meta")


class _Refused(NamedTuple):
    """Why a file holds no weights, in words, and what else it is good for."""

    reason: str
    use: tuple[str | Option, ...] = ()


_HAND_MODEL = _Refused("it is a hand model", ("It goes to ", Option("hand_model"), ". "))


def _refusal(path: Path, refused: _Refused, valid: Sequence[str | Option]) -> HmrError:
    return HmrError(f"{path} cannot be loaded as weights alone: {refused.reason}.", *refused.use, *valid)


def _other_zip(path: Path) -> _Refused | None:
    """What a zip file is that is sound and not torch's weights; None for torch's, and for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return None  # torch's own reader may say more
    if "constants.pkl" in names:
        return _Refused("it is a TorchScript file, which is a program; save its .state_dict()")
    if "data.pkl" in names:
        return None
    if {f"{name}.npy" for name in SHAPES} <= names:
        return _HAND_MODEL
    if names and all(name.endswith(".npy") for name in names):
        return _Refused("it is a file of NumPy's arrays (.npz)")
    return _Refused("it is a zip file, but none of torch's")


def _refused(path: Path, found: Format, error: Exception) -> _Refused:
    """Why torch could not load a file."""
    with open_regular(path) as file:
        begin = file.read(BEGINNING)
    if not begin:
        return _Refused("it is empty")
    if HDF5 in begin:
        return _Refused("it is a pack or another HDF5 file", ("A pack goes to ", Option("data"), ". "))
    if begin.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return _Refused("it is a web page, not weights: download it again")
    if named := re.search(r"GLOBAL (\S+)", str(error)):
        reason = f"it names {named[1]}, which is no tensor"
        if path.suffix == ".pkl" and found != "zip" and named[1].split(".")[0] in _MANOS:
            convert = command_line("hmr mano import", path, Option("out", "hand.npz"))
            use = (f"It may be MANO's file: `{convert}` makes the file that goes to ", Option("hand_model"), ". ")
            return _Refused(reason, use)
        return _Refused(reason)
    if found == "zip":
        return _Refused("it is a damaged or cut off zip file, as torch's are: get it again")
    return _Refused("it is no file of torch's, or a damaged one" if found == "pickle" else "it is no file of torch's")


def _no_state_dict(state: object) -> str:
    """Why something that a file holds is no state dict; empty if it is one."""
    if not isinstance(state, Mapping):
        return f"it holds a {type(state).__name__}"
    if not state:
        return "it is empty"
    for key, value in state.items():  # as what a training saved, with its epoch and its optimizer's state beside
        if isinstance(key, str) and isinstance(value, Mapping) and not _no_state_dict(value):
            return f'its "{key}" is a {type(value).__name__}; save its ["{key}"] by itself'
    for key, value in state.items():
        if not isinstance(key, str):
            return f"it has a {type(key).__name__} for a name"
        if not isinstance(value, Tensor):
            return f'its "{key}" is a {type(value).__name__}'
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            return f'its "{key}" is a tensor without plain numbers'
    if all(key.startswith("module.") for key in state):
        return 'all its names begin with "module.", as torch.nn.DataParallel has them; save its .module.state_dict()'
    return ""
