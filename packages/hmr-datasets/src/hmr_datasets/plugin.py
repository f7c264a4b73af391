"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import DatasetSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hmr_core.hand.pose_basis import PoseBases
    from hmr_core.plugins.sample import DatasetReader, Missing


@hookimpl
def hmr_datasets() -> list[DatasetSpec]:
    """The data sets."""
    from hmr_datasets.dexycb import layout as dexycb
    from hmr_datasets.dexycb.rules import RULES as DEXYCB_RULES
    from hmr_datasets.dexycb.splits import DOCUMENTED
    from hmr_datasets.freihand import layout as freihand
    from hmr_datasets.freihand.rules import RULES as FREIHAND_RULES
    from hmr_datasets.ho3d import layout as ho3d
    from hmr_datasets.ho3d.rules import RULES as HO3D_RULES
    from hmr_datasets.interhand import layout as interhand
    from hmr_datasets.interhand.rules import RULES as INTERHAND_RULES

    return [
        DatasetSpec(
            name=freihand.NAME,
            summary="FreiHAND v2: the folder of the archive (training, evaluation, training_*.json)",
            open=_open_freihand,
            open_posed=_open_posed_freihand,
            documented=freihand.DOCUMENTED,
            documented_release=freihand.RELEASE,
            missing=_missing_of_freihand,
            marks=freihand.MARKS,
            again=freihand.AGAIN_LISTS,
            rules=FREIHAND_RULES,
        ),
        DatasetSpec(
            name=ho3d.NAME,
            summary="HO-3D v2 or v3: the folder of the archive (train, evaluation, train.txt, evaluation.txt)",
            open=_open_ho3d,
            open_posed=_open_posed_ho3d,
            documented=ho3d.DOCUMENTED,
            missing=_missing_of_ho3d,
            marks=ho3d.MARKS,
            again=ho3d.AGAIN_LISTS,
            rules=HO3D_RULES,
        ),
        DatasetSpec(
            name=dexycb.NAME,
            summary="DexYCB: the folder with calibration and the subjects' folders",
            open=_open_dexycb,
            open_posed=_open_posed_dexycb,
            documented=DOCUMENTED,
            missing=_missing_of_dexycb,
            marks=dexycb.MARKS,
            again=dexycb.AGAIN_LISTS,
            rules=DEXYCB_RULES,
        ),
        DatasetSpec(
            name=interhand.NAME,
            summary="InterHand2.6M v1.0: the folder with annotations and images, of 5 or 30 frames a second",
            open=_open_interhand,
            open_posed=_open_posed_interhand,
            missing=_missing_of_interhand,
            marks=interhand.MARKS,
            undocumented=interhand.UNDOCUMENTED,
            again=interhand.AGAIN_LISTS,
            rules=INTERHAND_RULES,
        ),
    ]


def _open_freihand(root: Path) -> DatasetReader:
    from hmr_datasets.freihand.reader import FreiHANDReader

    return FreiHANDReader(root)


def _open_posed_freihand(root: Path, bases: PoseBases) -> DatasetReader:
    from hmr_datasets.freihand.reader import FreiHANDReader

    return FreiHANDReader(root, bases.get("right"))


def _missing_of_freihand(reader: DatasetReader, ids: Sequence[str]) -> Iterator[Missing]:
    from hmr_datasets.freihand.reader import FreiHANDReader, missing

    assert isinstance(reader, FreiHANDReader)
    return missing(reader, ids)


def _open_ho3d(root: Path) -> DatasetReader:
    from hmr_datasets.ho3d.reader import HO3DReader

    return HO3DReader(root)


def _open_posed_ho3d(root: Path, bases: PoseBases) -> DatasetReader:
    from hmr_datasets.ho3d.reader import HO3DReader

    return HO3DReader(root, bases=bases)


def _missing_of_ho3d(reader: DatasetReader, ids: Sequence[str]) -> Iterator[Missing]:
    from hmr_datasets.ho3d.reader import HO3DReader, missing

    assert isinstance(reader, HO3DReader)
    return missing(reader, ids)


def _open_dexycb(root: Path) -> DatasetReader:
    _require_yaml()
    from hmr_datasets.dexycb.reader import DexYCBReader

    return DexYCBReader(root)


def _open_posed_dexycb(root: Path, bases: PoseBases) -> DatasetReader:
    _require_yaml()
    from hmr_datasets.dexycb.reader import DexYCBReader

    return DexYCBReader(root, bases)


def _require_yaml() -> None:
    from hmr_core.optional_packages import require_package

    title = "PyYAML (yaml), by which DexYCB's calibration is read,"
    require_package("yaml", title, "pip install PyYAML", package="PyYAML", has="load")


def _missing_of_dexycb(reader: DatasetReader, ids: Sequence[str]) -> Iterator[Missing]:
    from hmr_datasets.dexycb.reader import DexYCBReader, missing

    assert isinstance(reader, DexYCBReader)
    return missing(reader, ids)


def _open_interhand(root: Path) -> DatasetReader:
    from hmr_datasets.interhand.reader import InterHandReader

    return InterHandReader(root)


def _open_posed_interhand(root: Path, bases: PoseBases) -> DatasetReader:
    from hmr_datasets.interhand.reader import InterHandReader

    return InterHandReader(root, bases)


def _missing_of_interhand(reader: DatasetReader, ids: Sequence[str]) -> Iterator[Missing]:
    from hmr_datasets.interhand.reader import InterHandReader, missing

    assert isinstance(reader, InterHandReader)
    return missing(reader, ids)
