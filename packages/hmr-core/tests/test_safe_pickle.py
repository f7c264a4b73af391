from __future__ import annotations

import io
import os
import pickle
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core import safe_pickle
from hmr_core.errors import HmrError
from hmr_core.safe_pickle import ARRAYS, TENSORS


def load_pickle(path: Path, allowed: safe_pickle.Allowed | None = None) -> Any:
    return safe_pickle.load_pickle(path, allowed or {**ARRAYS, **TENSORS}, again="Unpack it again.")


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def write(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "file.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def numpy_1(data: bytes) -> bytes:
    """A pickle as numpy 1 wrote it: its module has a shorter name."""
    old = b"\x8c\x15numpy.core.multiarray"
    assert b"\x8c\x16numpy._core.multiarray" in data
    data = data.replace(b"\x8c\x16numpy._core.multiarray", old)
    return data[:2] + data[11:]  # without the frame, whose length has changed


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_arrays_of_any_protocol(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = np.arange(12).astype(dtype).reshape(3, 4)
    read = load_pickle(write(tmp_path, {"a": array, "f": np.asfortranarray(array), "s": array[1, 2]}, protocol))
    np.testing.assert_array_equal(read["a"], array)
    np.testing.assert_array_equal(read["f"], array)
    assert read["a"].dtype == dtype
    assert read["s"] == 6


def test_arrays_that_numpy_1_wrote(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    path = tmp_path / "old.pkl"
    path.write_bytes(numpy_1(pickle.dumps(array, 4)))
    assert b"_core" not in path.read_bytes()
    np.testing.assert_array_equal(load_pickle(path), array)


@pytest.mark.parametrize("dtype", [">f4", ">i8", "?", "c16", "U3", "S4"])
def test_arrays_of_other_types(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1, 2]]).astype(dtype)
    for protocol in (2, 5):
        read = load_pickle(write(tmp_path, [array, array[0, 1]], protocol))
        np.testing.assert_array_equal(read[0], array)
        assert read[1] == array[0, 1]


@pytest.mark.parametrize(
    "array", [np.array([[1], "a"], dtype=object), np.zeros(2, dtype="f4,i4"), np.array(["now"], "M8[s]")]
)
def test_arrays_of_objects_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(HmrError, match=r"an array of type '.*', which is neither numbers nor text"):
        load_pickle(write(tmp_path, array))


class Builds:
    """An object whose pickle calls a function and then sets the state of what it returned, once or more."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any) -> None:
        self.reduced = (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def test_a_file_sets_no_flags_of_a_type(tmp_path: Path) -> None:
    """By them numpy tells numbers from pointers."""
    dtype = Builds(np.dtype, ("f8", False, True), (3, ">", None, None, None, -1, -1, 63))
    reconstruct = np.ones(1).__reduce__()[0]
    read = load_pickle(
        write(tmp_path, Builds(reconstruct, (np.ndarray, (0,), b"b"), (1, (2,), dtype, False, bytes(16))))
    )
    assert (read.dtype, read.dtype.flags) == (np.dtype("f8"), 0)


def test_an_array_is_filled_once(tmp_path: Path) -> None:
    """Filling it again would free what a view of it shows."""
    state = (1, (2,), np.dtype("f8"), False, bytes(16))
    reconstruct = np.ones(1).__reduce__()[0]
    data = pickle.dumps(Builds(reconstruct, (np.ndarray, (0,), b"b"), state), 2)
    path = tmp_path / "twice.pkl"
    path.write_bytes(data)
    assert load_pickle(path).shape == (2,)
    path.write_bytes(data[:-1] + pickle.dumps(state, 2)[2:-1] + b"b.")
    with pytest.raises(HmrError, match="an array that is filled twice"):
        load_pickle(path)


def test_numpys_class_is_nothing_but_a_name(tmp_path: Path) -> None:
    for made in (Calls(np.ndarray, (3,)), Builds(np.ndarray, ((3,),), None)):
        with pytest.raises(HmrError, match="'str' object is not callable"):
            load_pickle(write(tmp_path, made))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8])
def test_tensors_come_out_as_arrays(tmp_path: Path, protocol: int, dtype: torch.dtype) -> None:
    base = torch.arange(24).to(dtype).reshape(4, 6)
    values = {"whole": base, "transposed": base.T, "part": base[1:3, 2:], "empty": base[:0], "scalar": base[2, 3]}
    read = load_pickle(write(tmp_path, values, protocol))
    for name, tensor in values.items():
        assert isinstance(read[name], np.ndarray)
        np.testing.assert_array_equal(read[name], tensor.numpy())


def test_parameters_and_dictionaries(tmp_path: Path) -> None:
    value = OrderedDict(p=torch.nn.Parameter(torch.ones(3)), rest=[1, "a", None, (2.5, True)])
    read = load_pickle(write(tmp_path, value))
    np.testing.assert_array_equal(read["p"], np.ones(3))
    assert read["rest"] == value["rest"]


def test_a_pickle_that_wants_os_system_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = write(tmp_path, {"hand_j": Calls(os.system, f"touch {trace}")})
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the pickle is harmless, so that the test shows nothing"
    trace.unlink()
    with pytest.raises(HmrError) as error:
        load_pickle(path)
    assert str(error.value) == (
        f'{path} is a pickle that names "posix.system", which is not on the list of what such a file may use. '
        "It was refused and nothing in it was run. Unpack it again."
    )
    assert not trace.exists()


def test_the_pickle_inside_a_tensor_is_as_restricted(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    nested = io.BytesIO()
    torch.save(Calls(os.system, f"touch {trace}"), nested, _use_new_zipfile_serialization=False)
    path = write(tmp_path, Calls(torch.storage._load_from_bytes, nested.getvalue()))
    with pytest.raises(HmrError, match=r'names "posix\.system"'):
        load_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (np.load, "numpy.load"),
        (torch.load, "torch.serialization.load"),
    ],
)
def test_names_are_allowed_one_by_one(tmp_path: Path, function: Any, name: str) -> None:
    with pytest.raises(HmrError, match=f'names "{name}"'):
        load_pickle(write(tmp_path, Calls(function, "x")))


def test_a_dotted_name_reaches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dotted.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.")
    with pytest.raises(HmrError, match=r'names "numpy\.ndarray\.__class__"'):
        load_pickle(path)


def test_a_persistent_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "persistent.pkl"
    path.write_bytes(b"\x80\x02X\x01\x00\x00\x00aQ.")
    with pytest.raises(HmrError, match="names \"persistent id 'a'\""):
        load_pickle(path)


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    data = pickle.dumps(torch.arange(4.0), 2)
    size = b"K\x04\x85"  # (4,)
    assert data.count(size) == 1
    path = tmp_path / "long.pkl"
    path.write_bytes(data.replace(size, b"M\x00\x10\x85"))  # (4096,)
    with pytest.raises(HmrError, match="a tensor that reaches beyond its storage"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"little_endian": False}, "a torch storage of an unknown format"),
        ({"view": ("1", 0, 2)}, 'names "persistent id of type tuple"'),
        ({"keys": ["0", "1"]}, "not exactly one torch storage"),
        ({"keys": ["1"]}, "not exactly one torch storage"),
        ({"held": 3}, "a torch storage whose sizes disagree"),
    ],
)
def test_storages_in_torchs_first_format(tmp_path: Path, changes: dict[str, Any], message: str | None) -> None:
    given: dict[str, Any] = {"little_endian": True, "view": None, "keys": ["0"], "held": 2, **changes}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 2, given["view"]) if value is Ellipsis else None

    nested = io.BytesIO()
    system = {"little_endian": given["little_endian"]}
    for value in (safe_pickle.TORCH_MAGIC, safe_pickle.TORCH_PROTOCOL, system, ..., given["keys"]):
        Pickler(nested, 2).dump(value)
    nested.write(given["held"].to_bytes(8, "little") + np.array([1, 2], "<f4").tobytes())
    storage = Calls(torch.storage._load_from_bytes, nested.getvalue())
    path = write(tmp_path, Calls(torch._utils._rebuild_tensor, storage, 0, (2,), (1,)))
    if message is None:
        np.testing.assert_array_equal(load_pickle(path), [1, 2])
        return
    with pytest.raises(HmrError, match=message):
        load_pickle(path)


@pytest.mark.parametrize("keep", [0, 1, 40, 200, -1])
def test_damaged_files_are_named(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path, {"a": torch.arange(24.0), "b": np.arange(10.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(HmrError, match=r"is damaged: not a readable pickle .*\. Unpack it again\.$") as error:
        load_pickle(path)
    assert str(path) in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"cannot read .*none\.pkl: No such file or directory\. Unpack it again\."):
        load_pickle(tmp_path / "none.pkl")


def test_what_is_allowed_is_the_callers_list_alone(tmp_path: Path) -> None:
    path = write(tmp_path, Calls(os.getcwd))
    assert load_pickle(path, {("posix", "getcwd"): lambda: "ours"}) == "ours"
    with pytest.raises(HmrError, match=r'names "torch\._utils\._rebuild_tensor_v2"'):
        load_pickle(write(tmp_path, torch.ones(2)), ARRAYS)


def test_byte_strings_of_python_2_in_an_encoding(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    path.write_bytes(b"\x80\x02U\x02\xb5m.")
    assert safe_pickle.load_pickle(path, {}, encoding="latin1", again="") == "µm"
    with pytest.raises(HmrError, match="not a readable pickle"):
        load_pickle(path)


def test_what_a_file_is_given_cannot_be_changed_by_it(tmp_path: Path) -> None:
    path = tmp_path / "build.pkl"
    # The global, (None, {"__defaults__": ()}), BUILD: sets the function's defaults, were it not for _Call.
    path.write_bytes(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x0c__defaults__)s\x86b.")
    with pytest.raises(HmrError, match="a file that gives attributes to _reconstruct"):
        load_pickle(path)


RECONSTRUCT, FROMBUFFER = np.ones(1).__reduce__()[0], np.ones(1).__reduce_ex__(5)[0]


def shared_lists(depth: int) -> bytes:
    """The opcodes of a list of two references to a list of two references, and so on, which prints 2**depth lists."""
    code = b"]"
    for memo in range(depth):
        inner = b"h" + bytes([memo])  # what was put there
        code += b"q" + bytes([memo]) + b"0](" + inner + inner + b"e"
    return code


@pytest.mark.parametrize(
    "storage", [np.zeros((1_000_000, 0), np.float32), np.zeros((3, 1), np.float32), np.zeros(8, np.float32)]
)
def test_a_tensor_is_no_view_of_an_array_of_the_file(tmp_path: Path, storage: np.ndarray) -> None:
    """An array of shape (1000000, 0) is as long as it says and holds nothing."""
    rebuild = torch._utils._rebuild_tensor_v2
    path = write(tmp_path, Calls(rebuild, storage, 0, (8,), (1,), False, OrderedDict()), 5)
    with pytest.raises(HmrError, match=r"a tensor whose storage is a (_Array|ndarray)\)"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (0, (4,), (1,), None),
        (0, (10**13,), (0,), "a tensor of more numbers than its storage"),
        (0, (5,), (1,), "a tensor that reaches beyond its storage"),
        (0, (2**63, 2), (0, 0), "a tensor of more numbers than its storage"),
        (1, (2,), (-1,), "a shape that is not whole numbers from 0"),
        (0, (-1, -4), (1, 1), "a shape that is not whole numbers from 0"),
        (-1, (2,), (1,), "a shape that is not whole numbers from 0"),
        (0, ([[1, 2], [3, 4]],), (1,), "a shape that is not whole numbers from 0"),
        (0, np.array([4]), (1,), "a shape that is not whole numbers from 0"),
        (0, (4,), (1.0,), "a shape that is not whole numbers from 0"),
    ],
)
def test_tensors_of_odd_sizes(tmp_path: Path, offset: Any, size: Any, stride: Any, message: str | None) -> None:
    storage = torch.arange(4.0).__reduce_ex__(2)[1][0]
    path = write(tmp_path, Calls(torch._utils._rebuild_tensor, storage, offset, size, stride))
    if message is None:
        np.testing.assert_array_equal(load_pickle(path), np.arange(4.0))
        return
    with pytest.raises(HmrError, match=message):
        load_pickle(path)


@pytest.mark.parametrize("fortran", [True, 1])
def test_fortran_s_order_may_be_a_number(tmp_path: Path, fortran: object) -> None:
    """As Python 2 wrote it."""
    array = np.arange(6.0).reshape(2, 3)
    state = (1, (2, 3), np.dtype("f8"), fortran, array.tobytes(order="F"))
    np.testing.assert_array_equal(
        load_pickle(write(tmp_path, Builds(RECONSTRUCT, (np.ndarray, (0,), b"b"), state))), array
    )


@pytest.mark.parametrize(
    "value",
    [
        Builds(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (-1, -2), np.dtype("f8"), False, bytes(16))),
        Builds(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (2**32, 2**32), np.dtype("f8"), False, b"")),
        Builds(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (3,), np.dtype("f8"), False, bytes(16))),
        Calls(FROMBUFFER, bytes(16), np.dtype("f8"), (-1,), "C"),
        Calls(FROMBUFFER, bytes(16), np.dtype("f8"), 2, "C"),
    ],
)
def test_arrays_that_their_bytes_do_not_fill(tmp_path: Path, value: Any) -> None:
    with pytest.raises(HmrError, match=r"an array whose shape and bytes disagree|a shape that is not whole numbers"):
        load_pickle(write(tmp_path, value))


@pytest.mark.parametrize("buffer", [10**15, [0] * 16, None])
def test_numbers_come_in_bytes_alone(tmp_path: Path, buffer: Any) -> None:
    """Python's bytes(10**15) is a petabyte of zeros."""
    name = type(buffer).__name__
    for value in (
        Calls(FROMBUFFER, buffer, np.dtype("f8"), (2,), "C"),
        Builds(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (2,), np.dtype("f8"), False, buffer)),
    ):
        with pytest.raises(HmrError, match=f"numbers in a {name}, not in bytes"):
            load_pickle(write(tmp_path, value))


def test_texts_without_a_length_are_refused(tmp_path: Path) -> None:
    """No bytes hold any number of them, and any number of them becomes numbers of four bytes each."""
    value = Builds(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (10**9, 10**6), np.dtype("S0"), False, b""))
    with pytest.raises(HmrError, match="an array of texts without a length"):
        load_pickle(write(tmp_path, value))


def test_a_dictionary_gets_no_attributes(tmp_path: Path) -> None:
    """By `__array_interface__` numpy would read memory at any address."""
    state = {"__array_interface__": {"shape": (2,), "typestr": "<f4", "data": (16, False), "version": 3}}
    read = load_pickle(write(tmp_path, Builds(OrderedDict, (), state)))
    assert isinstance(read, OrderedDict)
    assert not hasattr(read, "__array_interface__")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"@Q", 'names "persistent id of type list"'),
        (b"cnumpy\ndtype\n@\x85R", "an array whose type is a list"),
        (b"cnumpy\ndtype\nU\x02f8\x85RK\x03@\x86b", "a byte order of type list"),
        (b"cnumpy.core.multiarray\n_reconstruct\n@K\x00K\x00\x87R", "an array of class of type list"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00a@\x86R", "bytes of a str in encoding of type list"),
        (b"cnumpy.core.multiarray\nscalar\n@@\x86R", "numbers in a list, not in bytes"),
        (b"ctorch._utils\n_rebuild_tensor\n(@@@@tR", "a tensor whose storage is a list"),
    ],
)
def test_lists_that_share_lists_are_not_printed(tmp_path: Path, code: bytes, message: str) -> None:
    """2**25 lists here, which take a minute to print; with 60 of these opcodes it would never end."""
    path = tmp_path / "shared.pkl"
    path.write_bytes(b"\x80\x02" + code.replace(b"@", shared_lists(25)) + b".")
    begun = time.perf_counter()
    with pytest.raises(HmrError, match=message):
        load_pickle(path)
    assert time.perf_counter() - begun < 1


def test_long_texts_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "long.pkl"
    path.write_bytes(b"\x80\x02c" + b"m" * 10_000 + b"\nname\n.")
    with pytest.raises(HmrError) as error:
        load_pickle(path)
    assert f'names "{"m" * 80}", which' in str(error.value)
