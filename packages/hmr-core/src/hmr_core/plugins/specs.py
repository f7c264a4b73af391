"""What plugins offer, as frozen records. Nothing here imports torch: a spec is read long before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from hmr_core.config import Section
    from hmr_core.hand.layer import HandLayer
    from hmr_core.hand.pose_basis import PoseBases
    from hmr_core.hand.solver import Solver
    from hmr_core.nn.backbones.backbone import Backbone
    from hmr_core.nn.backbones.config import BackboneConfig, WeightsSource
    from hmr_core.nn.model import PoseModel
    from hmr_core.plugins.official import OfficialRules
    from hmr_core.plugins.photo_hands import Detector, HandPredictor
    from hmr_core.plugins.sample import DatasetReader, Missing


@dataclass(frozen=True, kw_only=True)
class Released:
    """The files of weights that a model's authors gave out: a state dict of torch's, by itself or under "model".

    The names of its tensors are the model's own.
    file: the file's name. overrides: how the file's model differs from the `published` recipe, as `key=value`.
    ignored: tensors in such files that the model does not use: how their names begin, and in words what they are.
    """

    file: str
    overrides: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model to train and evaluate.

    name: what follows `hmr train`.
    config: the class of its configuration; a frozen pydantic model that refuses unknown keys, for a model of images a
    subclass of ModelConfig, for one of joints of Section.
    recipes: TOML files by name; `published` and `tiny` by convention.
    root_joint: the joint (OpenPose order) whose depth is given, and to which predicted depth is relative.
    build: makes the torch module from a config, randomly initialised; it imports torch only when called.
    consumes: whether the model is given images or joints; its recipes' sections and its data set follow from this.
    learns_from: the annotations beside joints that the loss takes: verts, rotations, betas.
    needs_hand: whether the model needs the annotations' hand model. `PoseModel.use_hand` gives it to the model, and the
    hand layer poses the rotations that the model predicts. A model of joints must say so (ValueError).
    released: the files of weights that the model's authors gave out; None where there are none.
    published: the metrics of the literature by split, in the keys of a report's `metrics`.
    """

    name: str
    summary: str
    config: type[Section]
    recipes: Mapping[str, Path]
    root_joint: int
    build: Callable[[Any], PoseModel]
    consumes: Literal["image", "joints"] = "image"
    learns_from: tuple[str, ...] = ()
    needs_hand: bool = False
    released: Released | None = None
    paper: str = ""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.consumes == "joints" and not self.needs_hand:
            raise ValueError(f'the model "{self.name}" consumes joints, so its spec must say needs_hand=True')


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set that `hmr pack` can pack.

    open: makes the reader of the tree at a path; HmrError for what is no tree of this data set.
    readers: other readers of the same data, by name; they give the same samples, and making one raises
    HmrError where what it needs is not installed.
    open_posed: for a data set whose poses are in MANO's own pose space, or that has poses and no meshes: makes the
    reader of a tree that gives rotations and meshes, too, by the hand models at hand (see hand.pose_basis and
    hand.made_meshes); `open` makes the one without.
    marks: what a tree of it is known by: patterns of paths below its folder, one of which is there.
    documented: how many samples the subsets of each split have by the documentation of the data set; of a tree of
    another release than documented_release nothing is expected, unless that is "", where each release has splits of its
    own names. undocumented: where there are none, why, a clause.
    missing: which files the samples of some ids lack, found without opening one; None where nothing tells cheaply.
    rules: how the data set's authors score predictions; None where they don't.
    again: what to do where a tree is not whole, a sentence.
    """

    name: str
    summary: str
    open: Callable[[Path], DatasetReader]
    readers: Mapping[str, Callable[[Path], DatasetReader]] = field(default_factory=dict)
    open_posed: Callable[[Path, PoseBases], DatasetReader] | None = None
    marks: tuple[str, ...] = ()
    documented: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    documented_release: str = ""
    undocumented: str = ""
    missing: Callable[[Any, Sequence[str]], Iterator[Missing]] | None = None
    rules: OfficialRules | None = None
    again: str = "Unpack the data set again."

    def expected(self, release: str) -> Mapping[str, Mapping[str, int]]:
        """The documented counts of a release; empty where there are none."""
        return self.documented if self.documented_release in ("", release) else {}


@dataclass(frozen=True, kw_only=True)
class SolverSpec:
    """A way from joints to a mesh.

    name: as the option `solver` takes it.
    config: the class of its options; a frozen pydantic model that refuses unknown keys.
    build: makes the solver from a config, a hand layer, a file of weights (None where it needs none) and a device; it
    imports torch only when called, and raises HmrError for a file that is not its own.
    needs_weights: whether it works with a file of weights; one is then asked for, and otherwise refused.
    protocols: the options of the protocols `published` and `best`; what a user sets wins over them. A solver that no
    published metrics were made with has no `published`, and a report says so.
    """

    name: str
    summary: str
    config: type[Section]
    build: Callable[[Any, HandLayer, Path | None, torch.device], Solver]
    needs_weights: bool = False
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """What finds the hands of a picture.

    name: as the option `detector` takes it.
    config: the class of its options; a frozen pydantic model that refuses unknown keys.
    build: makes the detector from a config and a device; it imports torch only when called.
    """

    name: str
    summary: str
    config: type[Section]
    build: Callable[[Any, torch.device], Detector]


@dataclass(frozen=True, kw_only=True)
class PredictorSpec:
    """What predicts the hands of photos and is not trained here.

    name: what follows `hmr predict`; no model may have it, too.
    config: the class of its options; a frozen pydantic model that refuses unknown keys.
    build: makes the predictor from a config, the hand layer of a right hand, float32 and on the CPU, and a device; it
    imports torch only when called.
    """

    name: str
    summary: str
    config: type[Section]
    build: Callable[[Any, HandLayer, torch.device], HandPredictor]


@dataclass(frozen=True, kw_only=True)
class BackboneOffer:
    """One backbone, or a family of them. name: as the option `backbone.name` takes it; a family's ends in a slash."""

    name: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(BackboneOffer):
    """What makes feature maps of an image, for every model of images.

    build: makes the torch module, randomly initialised, of a config and of whether it begins at the image (else at a
    map such as its stem would give); it imports torch only when called.
    stride: pixels of the image for one cell of the coarsest map; an image's sides are multiples of it.
    options: the options of BackboneConfig that it has beside name and weights.
    weights: files to fetch, by the name that `backbone.weights` takes.
    """

    build: Callable[[BackboneConfig, bool], Backbone]
    stride: int
    options: tuple[str, ...] = ()
    weights: Mapping[str, WeightsSource] = field(default_factory=dict)
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class BackboneFamily(BackboneOffer):
    """Backbones that are too many to list.

    member: the spec of one of them by its whole name, such as "timm/resnet18"; UsageError where there is none.
    """

    member: Callable[[str], BackboneSpec]


Spec = ModelSpec | DatasetSpec | SolverSpec | DetectorSpec | PredictorSpec | BackboneOffer
"""Whatever plugins offer by name."""
