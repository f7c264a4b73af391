"""Core's own hook implementations, found through core's entry point like any plugin's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import DatasetSpec, SolverSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch

    from hmr_core.data.oakink.reader import OakInkReader
    from hmr_core.hand.fit.lm import LmSolver
    from hmr_core.hand.fit.lm_config import LmConfig
    from hmr_core.hand.layer import HandLayer
    from hmr_core.plugins.sample import DatasetReader, Missing
    from hmr_core.plugins.specs import BackboneOffer


@hookimpl
def hmr_datasets() -> list[DatasetSpec]:
    """OakInk-Image, from the release's own tree."""
    from hmr_core.data.oakink.documented import AGAIN, DOCUMENTED
    from hmr_core.data.oakink.layout import MARKS, RELEASE

    return [
        DatasetSpec(
            name="oakink",
            summary="OakInk-Image v2.1: the release's folder OakInk (image/anno, image/stream_release_v2)",
            open=_open_oakink,
            readers={"oikit": _open_with_oikit},
            marks=MARKS,
            documented=DOCUMENTED,
            documented_release=RELEASE,
            missing=_missing_of_oakink,
            again=AGAIN,
        )
    ]


@hookimpl
def hmr_solvers() -> list[SolverSpec]:
    """Least squares from the hand model's mean pose."""
    from hmr_core.hand.fit.lm_config import LmConfig

    return [
        SolverSpec(
            name="lm",
            summary="least squares from the mean pose, without weights (joints -> rotations and shape -> mesh)",
            config=LmConfig,
            build=_build_lm,
            protocols={"best": {}},
        )
    ]


@hookimpl
def hmr_backbones() -> list[BackboneOffer]:
    """ResNets, ConvNeXts and vision transformers with the parameter names of the files that people have."""
    from hmr_core.builtin_backbones import core_backbones

    return [*core_backbones()]


def _build_lm(config: LmConfig, layer: HandLayer, checkpoint: Path | None, device: torch.device) -> LmSolver:
    from hmr_core.hand.fit.lm import build_lm

    return build_lm(config, layer, checkpoint, device)


def _open_oakink(root: Path) -> DatasetReader:
    from hmr_core.data.oakink import open_oakink

    return open_oakink(root)


def _missing_of_oakink(reader: OakInkReader, ids: Sequence[str]) -> Iterator[Missing]:
    from hmr_core.data.oakink.missing import missing_files

    return missing_files(reader, ids)


def _open_with_oikit(root: Path) -> DatasetReader:
    from hmr_core.data.oakink.oikit_reader import open_with_oikit

    return open_with_oikit(root)
