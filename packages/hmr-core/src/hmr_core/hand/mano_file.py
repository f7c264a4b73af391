"""Read MANO's own model files, `MANO_RIGHT.pkl` and `MANO_LEFT.pkl`, without chumpy and without running them.

They are pickles that Python 2 wrote: numpy arrays, a scipy sparse matrix, and chumpy's expressions, of which two kinds
occur: `Ch`, an array in `x`, and `Select`, elements of another expression. Each of these classes is read into a plain
record of ours, and what it stands for is computed here; any other name refuses the file. Tools that write such a file
anew leave the matrix by its rows or by its entries, or use the oldest protocols, which name a function that makes
objects: that is read, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.file_kinds import file_kind
from hmr_core.files import read_bytes
from hmr_core.hand.arrays import SHAPES, check_arrays
from hmr_core.hand.joints import MANO_PARENTS, SIDES
from hmr_core.hand.side import side_of
from hmr_core.safe_pickle import ARRAYS, Allowed, parse_pickle

if TYPE_CHECKING:
    from hmr_core.hand.model import HandModel

NAME = "mano"
"""What an imported model is called."""

LICENCE = "MANO's licence (https://mano.is.tue.mpg.de): for non-commercial research, not to be passed on."

KEYS = {
    "template": "v_template",
    "faces": "f",
    "shape_dirs": "shapedirs",
    "pose_dirs": "posedirs",
    "joint_regressor": "J_regressor",
    "skin_weights": "weights",
    "pose_components": "hands_components",
    "pose_mean": "hands_mean",
}
"""What MANO's files call the arrays of a hand model."""

DEEPEST = 16
"""How many of chumpy's expressions may be nested in one another; the files nest two."""

GET = "It comes from https://mano.is.tue.mpg.de (mano_v1_2.zip)."

AGAIN = "Get MANO_RIGHT.pkl or MANO_LEFT.pkl again from https://mano.is.tue.mpg.de (mano_v1_2.zip)."


class _Record:
    """An object of a file: its attributes, and nothing that does anything."""

    kind = "object"
    values: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ValueError(f"a {self.kind} whose state is no dictionary")
        self.values = state


class _Ch(_Record):
    kind = "chumpy.ch.Ch"


class _Select(_Record):
    kind = "chumpy.reordering.Select"


class _Csc(_Record):
    kind = "scipy.sparse.csc_matrix"


class _Csr(_Record):
    kind = "scipy.sparse.csr_matrix"


class _Coo(_Record):
    kind = "scipy.sparse.coo_matrix"


_OBJECT = "builtins.object"
"""What a file gets for the class of all objects, which it may hand to _reconstructor and to nothing else."""


def _reconstructor(kind: object, base: object, state: object) -> _Record:
    """How protocols 0 and 1 make an object that the pickle then fills: here one of our records, and nothing else."""
    if not (isinstance(kind, type) and issubclass(kind, _Record)) or base is not _OBJECT or state is not None:
        raise ValueError("an object that is no array, matrix or expression")
    return kind()


ALLOWED: Allowed = {
    **ARRAYS,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
    **{(f"scipy.sparse.{under}csc", "csc_matrix"): _Csc for under in ("", "_")},
    **{(f"scipy.sparse.{under}csr", "csr_matrix"): _Csr for under in ("", "_")},
    **{(f"scipy.sparse.{under}coo", "coo_matrix"): _Coo for under in ("", "_")},
    **{(module, "_reconstructor"): _reconstructor for module in ("copy_reg", "copyreg")},
    **{(module, "object"): _OBJECT for module in ("__builtin__", "builtins")},
    **{(module, "set"): set for module in ("__builtin__", "builtins")},
}
"""What a file of MANO's may name."""


def read_mano_file(path: Path, side: str | None = None) -> HandModel:
    """Read the hand model in a file of MANO v1.2: float64, metres, with its source (name and SHA-256) and licence.

    side: right or left; by default the file's name says it.
    Raises HmrError, naming the file, when it is missing or damaged, names anything that is not on the list, or is not
    the model of that hand; UsageError when neither its name nor `side` says which hand it is of.
    """
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise HmrError(f"there is no file {path}. MANO's own is MANO_RIGHT.pkl or MANO_LEFT.pkl. {GET}") from error
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {AGAIN}") from error
    if (kind := file_kind(data)) not in ("", "a pickle"):
        ours = ("If it is a hand model already, give it as ", Option("hand_model", path), ". ")
        raise HmrError(
            f"{path} is no file of MANO's: it is {kind}.", *(ours if kind.startswith("a zip file") else ()), GET
        )
    content = parse_pickle(data, path, ALLOWED, encoding="latin1", again=AGAIN)
    what = f"the MANO file {path}"
    if not isinstance(content, dict):
        raise HmrError(f"{what} holds no dictionary of arrays. {AGAIN}")
    missing = [key for key in (*KEYS.values(), "kintree_table") if key not in content]
    if missing:
        raise HmrError(f"{what} lacks {', '.join(missing)}. {AGAIN}")
    claimed = side or _side_in(path.name)
    arrays = {name: _array(content[key], what, key) for name, key in KEYS.items()}
    check_arrays(arrays, what, KEYS)
    for key, expected in (("bs_style", "lbs"), ("bs_type", "lrotmin")):
        given = content.get(key, expected)
        if not isinstance(given, str) or given != expected:
            shown = repr(given[:80]) if isinstance(given, str) else "that is no text"
            raise HmrError(f'{what} has {key} {shown}; only "{expected}" is known.')
    _check_tree(_array(content["kintree_table"], what, "kintree_table"), what)
    found = side_of(arrays["joint_regressor"] @ arrays["template"])
    if found != claimed:
        seen = f"lies as a {found} hand's" if found else "lies as neither of MANO's hands, palm facing -y"
        claim = f"was given as a {claimed} hand's" if side else f"is of a {claimed} hand by its name"
        raise HmrError(f"{what} {claim}, but its template {seen}. Is it another file?")
    digest = hashlib.sha256(data).hexdigest()
    from hmr_core.hand.model import HandModel, as_tensors  # which needs torch

    return HandModel(
        name=NAME, side=claimed, source=f"{path.name}, sha256 {digest}", licence=LICENCE, **as_tensors(arrays)
    )


def _side_in(name: str) -> str:
    named = [side for side in SIDES if side in name.lower()]
    if len(named) != 1:
        right, left = (Option("side", side) for side in ("right", "left"))
        raise UsageError(f'the name "{name}" does not say which hand it is of.', "Add ", right, " or ", left, ".")
    return named[0]


def _array(value: Any, what: str, key: str) -> ndarray:
    """The numbers that an entry of the file stands for."""
    try:
        array = _evaluate(value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise HmrError(f"{what} has a {key} that is no array: {reason}. {AGAIN}") from error
    if array.dtype.kind not in "fiu":
        raise HmrError(f"{what} has a {key} that is no array of numbers. {AGAIN}")
    return array


def _evaluate(value: Any, depth: int = 0) -> ndarray:
    if depth > DEEPEST:
        raise ValueError(f"expressions nested more than {DEEPEST} deep")
    if isinstance(value, ndarray):
        return value
    if isinstance(value, _Ch):
        return _evaluate(value.values["x"], depth + 1)
    if isinstance(value, _Select):
        base = _evaluate(value.values["a"], depth + 1).ravel()
        if base.dtype.kind not in "fiu":  # one long text, chosen often, is more than a memory holds
            raise ValueError("Select.a is no array of numbers")
        chosen: ndarray = base[_indices(value.values["idxs"], len(base), "Select.idxs")]
        return chosen.reshape(value.values["preferred_shape"])
    if isinstance(value, _Csc | _Csr | _Coo):
        return _dense(value)
    raise ValueError(f"it holds a {type(value).__name__}")


def _dense(sparse: _Csc | _Csr | _Coo) -> ndarray:
    """A matrix of which not all entries are in the file; those that are there twice are summed, as scipy does."""
    rows, columns = shape = SHAPES["joint_regressor"]  # the only sparse one
    held = sparse.values
    given, data = held["_shape"], held["data"]
    if not isinstance(given, tuple) or [type(n) for n in given] != [int, int]:
        raise ValueError("its shape is not two whole numbers")
    if given != shape:
        raise ValueError(f"it has shape {given}; it must be {shape}")
    if not isinstance(data, ndarray) or data.dtype.kind not in "fiu":
        raise ValueError("data is no array of numbers")
    data = data.ravel().astype(np.float64)
    if isinstance(sparse, _Coo):
        row, column = _coordinates(held, shape)
    elif isinstance(sparse, _Csr):
        row, column = _compressed(held, rows, columns, len(data))
    else:
        column, row = _compressed(held, columns, rows, len(data))
    if not len(row) == len(column) == len(data):
        raise ValueError("a sparse matrix whose data and places do not fit together")
    dense = np.zeros(shape)
    np.add.at(dense, (row, column), data)
    return dense


def _coordinates(held: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[ndarray, ndarray]:
    """Row and column of each entry; scipy before 1.13 calls them so, later ones keep them in a pair."""
    places = held["coords"] if "coords" in held else (held["row"], held["col"])
    if not isinstance(places, tuple) or len(places) != 2:
        raise ValueError("coords is no pair of arrays")
    return _indices(places[0], shape[0], "row"), _indices(places[1], shape[1], "col")


def _compressed(held: Mapping[str, Any], lines: int, length: int, entries: int) -> tuple[ndarray, ndarray]:
    """Line, and place in it, of each entry: those of line j are from indptr[j] to indptr[j + 1], at indices."""
    place = _indices(held["indices"], length, "indices")
    starts = _indices(held["indptr"], entries + 1, "indptr")
    counts = np.diff(starts)
    if len(counts) != lines or (counts < 0).any() or starts[0] != 0 or starts[-1] != entries:
        raise ValueError("a sparse matrix whose data, indices and indptr do not fit together")
    return np.repeat(np.arange(lines), counts), place


def _indices(value: Any, stop: int, name: str) -> ndarray:
    """Whole numbers from 0 up to stop, one-dimensional."""
    if not isinstance(value, ndarray) or value.dtype.kind not in "iu":
        raise ValueError(f"{name} is no array of whole numbers")
    if value.size and (value.min() < 0 or value.max() >= stop):
        raise ValueError(f"{name} reaches beyond its {stop} elements")
    return value.ravel().astype(np.int64)


def _check_tree(table: ndarray, what: str) -> None:
    """HmrError unless the table (parents, joints) is MANO's tree; the wrist's parent is -1, or that as a uint32."""
    if table.shape != (2, 16):
        raise HmrError(f"{what} has kintree_table of shape {table.shape}; it must be (2, 16).")
    if not np.isfinite(table).all():
        raise HmrError(f"{what} has values in kintree_table that are not finite numbers.")
    parents = tuple(-1 if parent == 2**32 - 1 else int(parent) for parent in table[0].tolist())
    if table[1].tolist() != list(range(16)):
        raise HmrError(f"{what} has a kintree_table whose second row does not number the joints from 0 to 15.")
    if parents != MANO_PARENTS:
        raise HmrError(f"{what} has the joint tree {parents}; it must be MANO's, {MANO_PARENTS}.")
