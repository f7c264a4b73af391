"""Pickles like the release's: torch reads them, and the same content gives the same bytes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hmr_core.data.synthetic.pickles import dump


def content() -> dict[str, object]:
    return {
        "anno": {"shape": torch.arange(12.0).reshape(3, 4)},
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "array": np.arange(4, dtype=np.float32),
    }


def test_torch_reads_what_was_written() -> None:
    read = pickle.loads(dump(content()))
    assert torch.equal(read["anno"]["shape"], torch.arange(12.0).reshape(3, 4))
    assert torch.equal(read["turned"], torch.arange(6.0).reshape(2, 3).T)
    assert read["turned"].dtype == torch.float32
    np.testing.assert_array_equal(read["array"], np.arange(4))


def test_the_bytes_do_not_depend_on_memory() -> None:
    kept = [content() for _ in range(3)]
    assert len({dump(c) for c in kept}) == 1
    plain = {pickle.dumps(c, protocol=4) for c in kept}
    assert len(plain) == 3, "torch's own pickles differ; if they no longer do, this module can go"


def test_other_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.int64 on cpu; only float32 on the CPU"):
        dump({"x": torch.arange(3)})
