"""MANO's own files: what is read, what is refused, and `hmr mano import`."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hmr_core.cli.main import cli, main
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand import mano_file
from hmr_core.hand.joints import MANO_PARENTS
from hmr_core.hand.mano_file import AGAIN, ALLOWED, KEYS, read_mano_file
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import SHAPES, HandModel, load_hand_model, save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.safe_pickle import load_pickle

MANO = Path(__file__).parent / "data/mano_v1_2/models/MANO_RIGHT.pkl"


class Expression:
    """An object that is pickled as its attributes, as chumpy's and scipy's are."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


CH, SELECT, CSC, NEW_CSC, ADD, CSR, NEW_CSR, COO, NEW_COO = (
    type(name, (Expression,), {"__module__": module})
    for module, name in (
        ("chumpy.ch", "Ch"),
        ("chumpy.reordering", "Select"),
        ("scipy.sparse.csc", "csc_matrix"),
        ("scipy.sparse._csc", "csc_matrix"),
        ("chumpy.ch_ops", "add"),
        ("scipy.sparse.csr", "csr_matrix"),
        ("scipy.sparse._csr", "csr_matrix"),
        ("scipy.sparse.coo", "coo_matrix"),
        ("scipy.sparse._coo", "coo_matrix"),
    )
)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return read_mano_file(MANO)


@pytest.fixture
def write(model: HandModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a MANO file of plain arrays with some entries changed, as a pickle with chumpy's and scipy's names."""

    def write(name: str = "MANO_RIGHT.pkl", *, source: HandModel = model, protocol: int = 2, **changes: Any) -> Path:
        content = {key: getattr(source, ours).numpy() for ours, key in KEYS.items()}
        content["kintree_table"] = np.stack([np.array(source.parents) % 2**32, np.arange(16)]).astype(np.uint32)
        content.update(changes)
        content = {key: value for key, value in content.items() if value is not None}
        path = tmp_path / name
        with monkeypatch.context() as patch:
            for cls in (CH, SELECT, CSC, NEW_CSC, ADD, CSR, NEW_CSR, COO, NEW_COO):
                module = ModuleType(cls.__module__)
                setattr(module, cls.__name__, cls)
                patch.setitem(sys.modules, cls.__module__, module)
                for parent in (cls.__module__.split(".")[0], cls.__module__.rpartition(".")[0]):
                    patch.setitem(sys.modules, parent, ModuleType(parent))
            path.write_bytes(pickle.dumps(content, protocol))
        return path

    return write


def left_file(folder: Path) -> Path:
    """MANO_LEFT.pkl: the fixture's bytes with every array in its place mirrored, so in exactly MANO's format."""
    records = load_pickle(MANO, ALLOWED, encoding="latin1", again="")
    point, turn = np.array([-1.0, 1.0, 1.0]), np.tile([1.0, -1.0, -1.0], 15)
    entry = np.tile(np.outer(point, point).ravel(), 15)
    base = records["shapedirs"].values["a"].values["x"]
    data = MANO.read_bytes()
    for old, new in (
        (records["v_template"], records["v_template"] * point),
        (base, base * point[:, None]),
        (records["posedirs"], records["posedirs"] * point[:, None] * entry),
        (records["f"], records["f"][:, [0, 2, 1]]),
        (records["J"], records["J"] * point),
        (records["hands_mean"], records["hands_mean"] * turn),
        (records["hands_components"], records["hands_components"] * turn),
    ):
        assert data.count(old.tobytes()) == 1
        data = data.replace(old.tobytes(), new.astype(old.dtype).tobytes())
    path = folder / "MANO_LEFT.pkl"
    path.write_bytes(data)
    return path


def select(array: np.ndarray, **values: Any) -> Any:
    return SELECT(**{"a": CH(x=array), "idxs": np.arange(array.size), "preferred_shape": array.shape, **values})


def csc(model: HandModel, kind: Any = CSC, **values: Any) -> Any:
    dense = model.joint_regressor.numpy()
    column, row = np.nonzero(dense.T)
    starts = np.concatenate([[0], np.cumsum((dense != 0).sum(0))]).astype(np.int32)
    arrays = {"_shape": (16, 778), "data": dense.T[column, row], "indices": row.astype(np.int32), "indptr": starts}
    return kind(**{**arrays, **values})


def test_the_arrays_are_the_files(model: HandModel) -> None:
    assert (model.name, model.side) == ("mano", "right")
    assert model.source == f"MANO_RIGHT.pkl, sha256 {hashlib.sha256(MANO.read_bytes()).hexdigest()}"
    assert "https://mano.is.tue.mpg.de" in model.licence
    records = load_pickle(MANO, ALLOWED, encoding="latin1", again="")
    for ours, key in KEYS.items():
        if isinstance(records[key], np.ndarray):
            np.testing.assert_array_equal(getattr(model, ours).numpy(), records[key], err_msg=key)
    # The two that are none: ten of the twelve directions that the file holds, and a sparse matrix.
    base = records["shapedirs"].values["a"].values["x"]
    assert base.shape == (778, 3, 12)
    np.testing.assert_array_equal(model.shape_dirs.numpy(), base[:, :, :10])
    np.testing.assert_allclose((model.joint_regressor @ model.template).numpy(), records["J"], atol=1e-12)


def test_it_needs_neither_chumpy_nor_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("chumpy", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    assert read_mano_file(MANO).side == "right"


def test_the_left_file(model: HandModel, tmp_path: Path) -> None:
    left, expected = read_mano_file(left_file(tmp_path)), mirrored(model)
    assert left.side == "left"
    for name in SHAPES:
        assert torch.equal(getattr(left, name), getattr(expected, name)), name


@pytest.mark.parametrize("name", ["hand.pkl", "left_or_right.pkl"])
def test_a_name_that_does_not_say_which_hand(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(MANO.read_bytes())
    with pytest.raises(UsageError) as error:
        read_mano_file(path)
    assert str(error.value) == (f'the name "{name}" does not say which hand it is of. Add side=right or side=left.')
    assert read_mano_file(path, "right").side == "right"


def test_a_file_of_the_other_hand(tmp_path: Path) -> None:
    path = tmp_path / "MANO_LEFT.pkl"
    path.write_bytes(MANO.read_bytes())
    with pytest.raises(HmrError) as error:
        read_mano_file(path)
    assert str(error.value) == (
        f"the MANO file {path} is of a left hand by its name, but its template lies as a right hand's. "
        "Is it another file?"
    )
    with pytest.raises(HmrError, match=r"was given as a left hand's, but its template lies as a right hand's\."):
        read_mano_file(MANO, "left")


def test_a_hand_that_does_not_lie_flat(model: HandModel, write: Callable[..., Path]) -> None:
    upright = model.template.numpy()[:, [0, 2, 1]]
    with pytest.raises(HmrError, match=r"but its template lies as neither of MANO's hands, palm facing -y\. Is it"):
        read_mano_file(write(v_template=upright))


@pytest.mark.parametrize("kind", [CSC, NEW_CSC])
def test_expressions_are_what_they_stand_for(model: HandModel, write: Callable[..., Path], kind: Any) -> None:
    order = np.random.default_rng(0).permutation(778 * 3 * 10)
    dirs = model.shape_dirs.numpy()
    shuffled = np.empty(dirs.size)
    shuffled[order] = dirs.ravel()
    nested = SELECT(a=CH(x=CH(x=shuffled, _dirty_vars={"x"}, _itr=None)), idxs=order, preferred_shape=dirs.shape)
    path = write(shapedirs=nested, v_template=CH(x=model.template.numpy()), J_regressor=csc(model, kind))
    read = read_mano_file(path)
    for name in SHAPES:
        assert torch.equal(getattr(read, name), getattr(model, name)), name


def csr(model: HandModel, kind: Any, **values: Any) -> Any:
    dense = model.joint_regressor.numpy()
    row, column = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum((dense != 0).sum(1))]).astype(np.int32)
    arrays = {"_shape": (16, 778), "data": dense[row, column], "indices": column.astype(np.int32), "indptr": starts}
    return kind(**{**arrays, "maxprint": 50, **values})


def coo(model: HandModel, kind: Any, **values: Any) -> Any:
    """As scipy keeps it since 1.13 (NEW_COO), and before."""
    dense = model.joint_regressor.numpy()
    row, column = (places.astype(np.int32) for places in np.nonzero(dense))
    places = {"coords": (row, column)} if kind is NEW_COO else {"row": row, "col": column}
    return kind(**{"_shape": (16, 778), "data": dense[row, column], "has_canonical_format": True, **places, **values})


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize(
    ("make", "kind"), [(csc, CSC), (csc, NEW_CSC), (csr, CSR), (csr, NEW_CSR), (coo, COO), (coo, NEW_COO)]
)
def test_every_kind_of_matrix_in_every_protocol(
    model: HandModel, write: Callable[..., Path], make: Callable[..., Any], kind: Any, protocol: int
) -> None:
    """What scipy 1.17 writes was looked at; scipy is not needed to read it."""
    dirs = model.shape_dirs.numpy()
    path = write(protocol=protocol, shapedirs=select(dirs), J_regressor=make(model, kind))
    assert (b"_reconstructor" in path.read_bytes()) == (protocol < 2)
    read = read_mano_file(path)
    for name in SHAPES:
        assert torch.equal(getattr(read, name), getattr(model, name)), name


def test_the_oldest_protocol_as_python_2_writes_it(model: HandModel, tmp_path: Path) -> None:
    """Its arrays are texts of bytes, in quotes; here the faces, the others as they are."""
    faces = model.faces.numpy().astype("<u4")
    quoted = "S'" + "".join(f"\\x{byte:02x}" for byte in faces.tobytes()) + "'\n"
    made = (
        b"ccopy_reg\n_reconstructor\np1\n(cchumpy.ch\nCh\np2\nc__builtin__\nobject\np3\nNtRp4\n(dp5\nS'x'\np6\n"
        b"cnumpy.core.multiarray\n_reconstruct\np7\n(cnumpy\nndarray\np8\n(I0\ntp9\nS'b'\np10\ntRp11\n"
        b"(I1\n(I1538\nI3\ntp12\ncnumpy\ndtype\np13\n(S'u4'\np14\nI0\nI1\ntRp15\n"
        b"(I3\nS'<'\np16\nNNNI-1\nI-1\nI0\ntbI00\n" + quoted.encode() + b"p17\ntbsb."
    )
    (tmp_path / "x.pkl").write_bytes(made)
    held = load_pickle(tmp_path / "x.pkl", ALLOWED, encoding="latin1", again="")
    np.testing.assert_array_equal(mano_file._evaluate(held), faces)


HOSTILE = {
    "an array of numpy's own": b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
    "a set": b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
    "an object itself": b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
    "a function of ours": b"ccopy_reg\n_reconstructor\n(ccopyreg\n_reconstructor\nc__builtin__\nobject\nNtR.",
    "another base": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nset\nNtR.",
    "a text for the base": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nS'a'\nNtR.",
    "a state": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nI7\ntR.",
    "too few arguments": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\ntR.",
    "attributes for the function": b"ccopy_reg\n_reconstructor\n(dS'a'\nI1\nsb.",
    "a call of the class of all objects": b"c__builtin__\nobject\n(tR.",
    "a new object of it": b"\x80\x02c__builtin__\nobject\n)\x81.",
    "a state that is no dictionary": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtRI7\nb.",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_makes_objects_makes_none_but_ours(tmp_path: Path, what: str) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(HOSTILE[what])
    with pytest.raises(HmrError, match=f"^{path} is damaged: not a readable pickle"):
        read_mano_file(path)


@pytest.mark.parametrize("module", ["copy_reg", "copyreg"])
@pytest.mark.parametrize(
    "name", ["__newobj__", "pickle", "_extension_registry", "_reconstructor.__globals__", "add_extension"]
)
def test_nothing_else_of_that_module_is_named(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(HmrError, match=rf'is a pickle that names "{module}\.{name}", which is not on the list'):
        read_mano_file(path)


def test_sparse_entries_that_come_in_parts_are_summed(model: HandModel, write: Callable[..., Path]) -> None:
    whole = csc(model)
    halves = {"data": (whole.data / 2).repeat(2), "indices": whole.indices.repeat(2), "indptr": 2 * whole.indptr}
    read = read_mano_file(write(J_regressor=csc(model, **halves)))
    assert torch.equal(read.joint_regressor, model.joint_regressor)


def test_the_root_parent_may_be_minus_one(write: Callable[..., Path], model: HandModel) -> None:
    table = np.stack([np.array(model.parents), np.arange(16)])
    assert table[0, 0] == -1
    assert read_mano_file(write(kintree_table=table)).parents == model.parents


def cyclic() -> Any:
    loop = CH()
    loop.x = loop
    return loop


def deep(array: np.ndarray, depth: int) -> Any:
    for _ in range(depth):
        array = CH(x=array)
    return array


NO_ARRAY = {
    "cyclic": (lambda m: {"posedirs": cyclic()}, "posedirs", "expressions nested more than 16 deep"),
    "deep": (
        lambda m: {"posedirs": deep(m.pose_dirs.numpy(), 17)}, "posedirs", "expressions nested more than 16 deep",
    ),
    "beyond": (
        lambda m: {"shapedirs": select(m.shape_dirs.numpy(), idxs=np.arange(1, 23341))},
        "shapedirs", "Select.idxs reaches beyond its 23340 elements",
    ),
    "negative": (
        lambda m: {"shapedirs": select(m.shape_dirs.numpy(), idxs=np.arange(23340) - 1)},
        "shapedirs", "Select.idxs reaches beyond its 23340 elements",
    ),
    "fractional": (
        lambda m: {"shapedirs": select(m.shape_dirs.numpy(), idxs=np.arange(23340.0))},
        "shapedirs", "Select.idxs is no array of whole numbers",
    ),
    "another shape": (
        lambda m: {"shapedirs": select(m.shape_dirs.numpy(), preferred_shape=(7, 3))},
        "shapedirs", r"cannot reshape array of size 23340 into shape \(7,3\)",
    ),
    "no base": (lambda m: {"shapedirs": SELECT(idxs=np.arange(3))}, "shapedirs", "'a' is missing"),
    "empty": (lambda m: {"shapedirs": CH()}, "shapedirs", "'x' is missing"),
    "no array": (lambda m: {"weights": [[1.0]]}, "weights", "it holds a list"),
    "texts": (
        lambda m: {"shapedirs": select(np.array(["a" * 1000]), idxs=np.zeros(10, np.int64))},
        "shapedirs", "Select.a is no array of numbers",
    ),
    "sparse data": (
        lambda m: {"J_regressor": csc(m, data=[[1.0, 2.0]])}, "J_regressor", "data is no array of numbers",
    ),
    "sparse shape of lists": (
        lambda m: {"J_regressor": csc(m, _shape=([16], 778))}, "J_regressor", "its shape is not two whole numbers",
    ),
    "sparse row": (
        lambda m: {"J_regressor": csc(m, indices=csc(m).indices + 1)},
        "J_regressor", "indices reaches beyond its 16 elements",
    ),
    "sparse starts": (
        lambda m: {"J_regressor": csc(m, indptr=csc(m).indptr + 1)},
        "J_regressor", "indptr reaches beyond its 385 elements",
    ),
    "sparse counts": (
        lambda m: {"J_regressor": csc(m, indptr=csc(m).indptr[:-1])},
        "J_regressor", "a sparse matrix whose data, indices and indptr do not fit together",
    ),
    "sparse first start": (
        lambda m: {"J_regressor": csc(m, indptr=csc(m).indptr.clip(min=1))},
        "J_regressor", "a sparse matrix whose data, indices and indptr do not fit together",
    ),
    "rows beyond": (
        lambda m: {"J_regressor": csr(m, CSR, indices=csr(m, CSR).indices + 778)},
        "J_regressor", "indices reaches beyond its 778 elements",
    ),
    "starts of columns for rows": (
        lambda m: {"J_regressor": csr(m, CSR, indptr=csc(m).indptr)},
        "J_regressor", "a sparse matrix whose data, indices and indptr do not fit together",
    ),
    "places beyond": (
        lambda m: {"J_regressor": coo(m, COO, col=coo(m, COO).col - 1)},
        "J_regressor", "col reaches beyond its 778 elements",
    ),
    "places too few": (
        lambda m: {"J_regressor": coo(m, COO, row=coo(m, COO).row[1:])},
        "J_regressor", "a sparse matrix whose data and places do not fit together",
    ),
    "no places": (lambda m: {"J_regressor": COO(_shape=(16, 778), data=np.ones(3))}, "J_regressor", "'row' is missing"),
    "places of one axis": (
        lambda m: {"J_regressor": coo(m, NEW_COO, coords=(np.arange(3),))},
        "J_regressor", "coords is no pair of arrays",
    ),
    "places in lists": (
        lambda m: {"J_regressor": coo(m, NEW_COO, coords=([0], [0]))},
        "J_regressor", "row is no array of whole numbers",
    ),
    "sparse shape": (
        lambda m: {"J_regressor": csc(m, _shape=(10**9, 10**9))},
        "J_regressor", r"it has shape \(1000000000, 1000000000\); it must be \(16, 778\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_ARRAY)
def test_expressions_that_make_no_sense(model: HandModel, write: Callable[..., Path], case: str) -> None:
    change, key, reason = NO_ARRAY[case]
    path = write(**change(model))
    with pytest.raises(HmrError, match=rf"has a {key} that is no array: {reason}\. Get MANO_RIGHT\.pkl or") as error:
        read_mano_file(path)
    assert str(error.value).startswith(f"the MANO file {path} has ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": None, "kintree_table": None}, "lacks f, kintree_table. "),
        ({"f": np.zeros((1554, 3), np.uint32)}, "has f of shape (1554, 3); it must be (1538, 3)."),
        ({"f": np.full((1538, 3), 778, np.uint32)}, "has faces that are not vertex numbers 0 to 777."),
        ({"shapedirs": np.zeros((778, 3, 12))}, "has shapedirs of shape (778, 3, 12); it must be (778, 3, 10)."),
        ({"hands_mean": np.full(45, np.nan)}, "has values in hands_mean that are not finite numbers."),
        ({"weights": np.full((778, 16), 0.1)}, "has rows of weights that do not sum to 1 (off by 0.6)."),
        ({"J_regressor": np.full((16, 778), 2 / 778)}, "has rows of J_regressor that do not sum to 1 (off by 1)."),
        ({"hands_components": np.array([["a"] * 45] * 45)}, "has a hands_components that is no array of numbers."),
        ({"kintree_table": np.zeros((2, 24), np.int64)}, "has kintree_table of shape (2, 24); it must be (2, 16)."),
        (
            {"kintree_table": np.stack([0 * np.arange(16), np.arange(16)])},
            "has the joint tree (0, 0, 0, 0, 0, 0, 0, 0, ",
        ),
        (
            {"kintree_table": np.stack([MANO_PARENTS, np.arange(16)[::-1]])},
            "has a kintree_table whose second row does not number the joints from 0 to 15.",
        ),
        ({"bs_type": "other"}, "has bs_type 'other'; only \"lrotmin\" is known."),
        ({"bs_style": np.zeros(3)}, 'has bs_style that is no text; only "lbs" is known.'),
        ({"bs_style": ["lbs"]}, 'has bs_style that is no text; only "lbs" is known.'),
        ({"bs_style": "l" * 1000}, f"has bs_style '{'l' * 80}'; only \"lbs\" is known."),
        ({"kintree_table": np.full((2, 16), np.nan)}, "has values in kintree_table that are not finite numbers."),
        ({"f": np.zeros((1538, 3), np.uint32)}, "has faces with one vertex twice."),
    ],
)
def test_arrays_that_are_no_hand(write: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    path = write(**changes)
    with pytest.raises(HmrError) as error:
        read_mano_file(path)
    assert str(error.value).startswith(f"the MANO file {path} {message}")


def test_a_hand_in_millimetres(model: HandModel, write: Callable[..., Path]) -> None:
    with pytest.raises(HmrError, match=r"is 95 m long from the wrist .* in metres, .* Are these millimetres\?$"):
        read_mano_file(write(v_template=model.template.numpy() * 1000))


def test_anything_else_is_refused_by_name_and_not_run(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(HmrError) as error:
        read_mano_file(write(v_template=ADD(a=1, b=2)))
    assert str(error.value) == (
        f'{tmp_path / "MANO_RIGHT.pkl"} is a pickle that names "chumpy.ch_ops.add", which is not on the list of what '
        f"such a file may use. It was refused and nothing in it was run. {AGAIN}"
    )

    class Runs:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(HmrError, match=r'names "posix\.mkdir"'):
        read_mano_file(write(v_template=Runs()))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("keep", [100, 1_000_000, -1])
def test_a_file_that_was_cut_off(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(MANO.read_bytes()[:keep])
    with pytest.raises(
        HmrError, match=r"MANO_RIGHT\.pkl is damaged: not a readable pickle .*\. Get MANO_RIGHT\.pkl or"
    ):
        read_mano_file(path)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(HmrError, match=r"MANO_RIGHT\.pkl holds no dictionary of arrays\. Get"):
        read_mano_file(path)
    with pytest.raises(HmrError, match=r"there is no file .*none_right\.pkl\. MANO's own is MANO_RIGHT\.pkl or"):
        read_mano_file(tmp_path / "none_right.pkl")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["mano", "import", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_import(tmp_path: Path, model: HandModel) -> None:
    out = tmp_path / "new/hand.npz"
    shown = run(MANO, "--out", out)
    assert shown == (
        f"read {MANO}: a right hand, 778 vertices, 1538 faces, 16 joints\n"
        f"source: {model.source}\n"
        f"licence: {model.licence}\n"
        f"wrote {out}\n"
        f"next: export HMR_HAND_MODEL={out}\n"
    )
    read = load_hand_model(out)
    for name in SHAPES:
        assert torch.equal(getattr(read, name), getattr(model, name)), name
    assert (read.name, read.side, read.source, read.licence) == ("mano", "right", model.source, model.licence)
    assert list(out.parent.iterdir()) == [out]


def test_import_of_a_left_hand(tmp_path: Path) -> None:
    assert "a left hand" in run(left_file(tmp_path), "--out", tmp_path / "left.npz")
    assert load_hand_model(tmp_path / "left.npz").side == "left"


def test_import_replaces_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "hand.npz"
    out.write_text("mine")
    assert main(["mano", "import", str(MANO), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"error: {out} exists. Give another --out, or --force to replace it.\n"
    assert out.read_text() == "mine"
    run(MANO, "--out", out, "--force")
    assert load_hand_model(out).side == "right"


def test_a_place_that_cannot_be_written_is_told_before_the_file_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["mano", "import", "nothing.pkl", "--out", str(tmp_path / "file/hand.npz")]) == 1
    told = f"the file {tmp_path}/file/hand.npz cannot be written: {tmp_path}/file is a file. Choose another."
    assert capsys.readouterr().err == f"error: {told}\n"


def test_a_failed_import_leaves_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, bad = tmp_path / "hand.npz", tmp_path / "MANO_RIGHT.pkl"
    out.write_text("mine")
    bad.write_bytes(MANO.read_bytes()[:1000])
    assert main(["mano", "import", str(bad), "--out", str(out), "--force"]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MANO_RIGHT.pkl", "hand.npz"]
    assert out.read_text() == "mine"


def test_out_must_be_an_npz_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mano", "import", str(MANO), "--out", str(tmp_path / "hand.pkl")]) == 2
    assert capsys.readouterr().err == (
        f"error: --out {tmp_path / 'hand.pkl'} does not end in .npz. Give another, for instance "
        f"--out {tmp_path / 'hand.npz'}.\n"
    )


def test_a_hand_model_is_not_imported_again(tmp_path: Path) -> None:
    path = tmp_path / "hand.npz"
    save_hand_model(load_synthetic_hand(), path)
    with pytest.raises(
        HmrError,
        match=r"If it is a hand model already, give it as hand_model=.*\. It comes from",
    ):
        read_mano_file(path)


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", r"a picture \(PNG\)"),
        (bytes(4096) + b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as a pack"),
        (b"\n<html>", "a web page"),
        (b"\x20" + bytes(7) + b'{"x": {}}', "a safetensors file, as checkpoints have"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path: Path, begin: bytes, kind: str) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(begin)
    with pytest.raises(HmrError, match=rf"MANO_RIGHT\.pkl is no file of MANO's: it is {kind}\. It comes from https"):
        read_mano_file(path)


def test_a_file_is_looked_at_before_its_name(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"there is no file .*nowhere\.pkl\."):
        read_mano_file(tmp_path / "nowhere.pkl")
    (tmp_path / "text.pkl").write_text("hello")
    with pytest.raises(HmrError, match=r"text\.pkl is damaged: not a readable pickle"):
        read_mano_file(tmp_path / "text.pkl")
