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


CH, SELECT, CSC, NEW_CSC, ADD = (
    type(name, (Expression,), {"__module__": module})
    for module, name in (
        ("chumpy.ch", "Ch"),
        ("chumpy.reordering", "Select"),
        ("scipy.sparse.csc", "csc_matrix"),
        ("scipy.sparse._csc", "csc_matrix"),
        ("chumpy.ch_ops", "add"),
    )
)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return read_mano_file(MANO)


@pytest.fixture
def write(model: HandModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a MANO file of plain arrays with some entries changed, as a pickle with chumpy's and scipy's names."""

    def write(name: str = "MANO_RIGHT.pkl", *, source: HandModel = model, **changes: Any) -> Path:
        content = {key: getattr(source, ours).numpy() for ours, key in KEYS.items()}
        content["kintree_table"] = np.stack([np.array(source.parents) % 2**32, np.arange(16)]).astype(np.uint32)
        content.update(changes)
        content = {key: value for key, value in content.items() if value is not None}
        path = tmp_path / name
        with monkeypatch.context() as patch:
            for cls in (CH, SELECT, CSC, NEW_CSC, ADD):
                module = ModuleType(cls.__module__)
                setattr(module, cls.__name__, cls)
                patch.setitem(sys.modules, cls.__module__, module)
                for parent in (cls.__module__.split(".")[0], cls.__module__.rpartition(".")[0]):
                    patch.setitem(sys.modules, parent, ModuleType(parent))
            path.write_bytes(pickle.dumps(content, 2))
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
    assert str(error.value) == (f'the name "{name}" does not say which hand it is of. Add --side right or --side left.')
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
    with pytest.raises(HmrError, match=r"is of a left hand by --side, but its template lies as a right hand's\."):
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


@pytest.mark.parametrize("keep", [0, 100, 1_000_000, -1])
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
    with pytest.raises(HmrError, match=r"cannot read .*none_right\.pkl: No such file or directory\. Get"):
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
        HmrError, match=r"is no file of MANO's; if it is a hand model already, give it as `--hand-model"
    ):
        read_mano_file(path)


def test_a_file_is_looked_at_before_its_name(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"cannot read .*nowhere\.pkl: No such file"):
        read_mano_file(tmp_path / "nowhere.pkl")
    (tmp_path / "text.pkl").write_text("hello")
    with pytest.raises(HmrError, match=r"text\.pkl is damaged: not a readable pickle"):
        read_mano_file(tmp_path / "text.pkl")
