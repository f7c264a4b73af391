"""Batches in a given order, by any number of worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.dataset import Batch, HandDataset, Key
from hmr_core.data.joint_dataset import JointBatch, JointDataset
from hmr_core.errors import HmrError

AnyDataset = HandDataset | JointDataset
AnyBatch = Batch | JointBatch


def epoch_order(rows: Int64[ndarray, " n"], seed: int, epoch: int) -> Int64[ndarray, " n"]:
    """The rows in the order in which an epoch visits them: a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def split_batches(
    rows: Int64[ndarray, " n"], batch_size: int, *, epoch: int = 0, drop_last: bool = False
) -> list[list[Key]]:
    """The keys of consecutive batches."""
    end = len(rows) - len(rows) % batch_size if drop_last else len(rows)
    return [[(epoch, int(row)) for row in rows[i : i + batch_size]] for i in range(0, end, batch_size)]


class Loader:
    """Loads batches of a data set in a given order, by the same worker processes time after time.

    Workers are started when they are first needed and end with the loader. workers: 0 loads in this process.
    """

    def __init__(self, dataset: AnyDataset, *, workers: int, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        self._batches: list[list[Key]] = []
        self._loader: torch.utils.data.DataLoader[AnyBatch] = torch.utils.data.DataLoader(
            _Reporting(dataset),
            batch_sampler=self._batches,
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=_one_thread,
            persistent_workers=workers > 0,  # starting them takes seconds where they are not forked
            generator=torch.Generator(),  # its own: starting workers must not draw from the one that dropout uses
        )

    def load(self, batches: Sequence[list[Key]]) -> Iterator[AnyBatch]:
        """The batches in order, on the device. HmrError when a sample cannot be read, whichever process read it."""
        self._batches[:] = batches
        for batch in self._loader:
            if isinstance(batch, HmrError):
                raise batch
            yield batch.to(self.device)


class _Reporting(torch.utils.data.Dataset[Any]):
    """A data set whose errors are values: a worker process would hand over their tracebacks as text instead."""

    def __init__(self, dataset: AnyDataset) -> None:
        self._dataset = dataset

    def __getitems__(self, keys: Sequence[Key]) -> AnyBatch | HmrError:
        try:
            return self._dataset.__getitems__(keys)
        except HmrError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    # The data set makes whole batches itself; the DataLoader has nothing to put together.
    return batch


def _one_thread(_: int) -> None:
    # One process a core: OpenCV's own threads would only compete with them.
    cv2.setNumThreads(0)
