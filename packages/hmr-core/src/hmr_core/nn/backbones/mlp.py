"""Two linear layers and a GELU between, as ConvNeXt and vision transformers have them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Mlp(nn.Module):
    """The layers, the inner one four times as wide; their names are timm's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The layers' output."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y
