"""manotorch (https://github.com/lixiny/manotorch) behind the interface of our own hand layer.

It is under the GPL, not on PyPI, and needs chumpy and MANO's own code, so it is an optional back end, for those who
have it and want its very numbers. Any hand model works with it: it gets a file of the model's arrays in MANO's format.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.errors import HmrError, Option
from hmr_core.geometry.rotations import matrix_to_quaternion
from hmr_core.hand.joints import TIP_VERTICES
from hmr_core.hand.layer import HandLayer, PosedHand, as_matrices, to_openpose
from hmr_core.hand.mano_file import KEYS
from hmr_core.hand.model import HandModel


class ManotorchLayer(HandLayer):
    """A hand model posed by manotorch, in single precision; called as HandLayer is, and equal to it up to rounding.

    Raises HmrError where manotorch is not installed or does not work.
    """

    def __init__(self, model: HandModel) -> None:
        super().__init__(model)
        self.mano = _mano_layer(model)

    def forward(self, rotations: Tensor, betas: Float[Tensor, "batch 10"], *, centre: int | None = None) -> PosedHand:
        """Pose and shape hands: mesh, joints and transforms."""
        quaternions = matrix_to_quaternion(as_matrices(rotations))
        posed = self.mano(quaternions.reshape(len(quaternions), 64), betas)
        # Joints are taken from its mesh as ours are: its own middle tip is another vertex for left hands.
        joints = to_openpose(posed.transforms_abs[..., :3, 3], posed.verts[:, list(TIP_VERTICES)])
        if centre is None:
            return PosedHand(verts=posed.verts, joints=joints, transforms=posed.transforms_abs)
        origin = joints[:, centre : centre + 1]
        shift = nn.functional.pad(origin[..., None], (3, 0, 0, 1))
        return PosedHand(verts=posed.verts - origin, joints=joints - origin, transforms=posed.transforms_abs - shift)

    def joints(
        self, rotations: Tensor, betas: Float[Tensor, "batch 10"], *, centre: int | None = None
    ) -> Float[Tensor, "batch 21 3"]:
        """Compute the 21 joints; manotorch computes the whole mesh for them."""
        posed: PosedHand = self(rotations, betas, centre=centre)
        return posed.joints


def _mano_layer(model: HandModel) -> Any:
    """manotorch's own layer, made of a temporary file."""
    try:
        mano_layer = import_module("manotorch.manolayer").ManoLayer
        sparse = import_module("scipy.sparse").csc_matrix
    except Exception as error:  # its dependencies fail to import in many ways
        raise HmrError(
            "the hand layer manotorch needs the package manotorch, which cannot be imported here "
            f"({type(error).__name__}: {error}).",
            "It is not on PyPI: pip install git+https://github.com/lixiny/manotorch, which asks for chumpy and for "
            "MANO's own code. Or leave ",
            Option("hand_layer"),
            " out: hmr's own layer gives the same metrics.",
        ) from error
    with TemporaryDirectory() as folder:
        content = pickle.dumps(_content(model, sparse), protocol=2)
        # Versions of manotorch differ in where they look.
        for place in (Path(folder), Path(folder) / "models"):
            place.mkdir(exist_ok=True)
            (place / f"MANO_{model.side.upper()}.pkl").write_bytes(content)
        options = {"center_idx": None, "use_pca": False, "flat_hand_mean": True}
        return mano_layer(rot_mode="quat", side=model.side, mano_assets_root=folder, **options)


def _content(model: HandModel, sparse: Any) -> dict[str, Any]:
    """What MANO's files hold, as plain arrays and one sparse matrix."""
    arrays: dict[str, Any] = {key: getattr(model, name).cpu().numpy() for name, key in KEYS.items()}
    return {
        **arrays,
        "f": arrays["f"].astype(np.uint32),
        "J_regressor": sparse(arrays["J_regressor"]),
        "J": arrays["J_regressor"] @ arrays["v_template"],
        "kintree_table": np.stack([np.array(model.parents) % 2**32, np.arange(16)]).astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
