"""The joints' Gaussian heat maps beside an image's features, convolved without the heat maps being built.

A Gaussian heat map of a joint is the product of a Gaussian along each axis, and nothing but one 3x3 convolution ever
sees it: out(o, y, x) = sum over j, z, dy, dx of W(o, j, z, dy, dx) gz(j, z) gy(j, y + dy - 1) gx(j, x + dx - 1). So the
sums can be taken one axis at a time: over z, which leaves a 3x3 kernel for each joint of each sample; over dy; over
(j, dx), as a product of matrices. For 64 cells an axis that is 1/176 of the multiplications, and the largest array has
a 22nd of the numbers of the heat maps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.hand.joints import N_JOINTS

NEGLIGIBLE = 1e-12
"""A Gaussian's values below this are 0: no sum of float32 numbers would show them, and the products of such small
numbers are denormal, with which a CPU is many times slower.
"""

NARROWEST = 0.5
"""The least sigma along x and y on a grid that is coarser than the heat map, in its cells."""


class Pose2Feat(nn.Module):
    """Features and joints to features of as many channels: 3x3 convolution, batch norm, ReLU.

    The convolution's input channels are the features' and then, for each joint, its heat map's cells along the depth.
    sigma: of the Gaussians, in the heat map's cells. init_std: of the convolution's initial weights. shrink: how many
    of the heat map's cells along x and y make one of the features', 1 for a ResNet's.
    """

    def __init__(self, channels: int, depth: int, sigma: float, *, init_std: float, shrink: float = 1) -> None:
        super().__init__()
        self.channels, self.depth, self.shrink = channels, depth, shrink
        # A narrower Gaussian would vanish between two cells.
        plane = sigma if shrink == 1 else max(sigma / shrink, NARROWEST)
        self.sigmas = (plane, plane, sigma)
        convolution = nn.Conv2d(channels + N_JOINTS * depth, channels, 3, 1, 1)
        self.conv = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        nn.init.normal_(convolution.weight, std=init_std)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)

    def forward(
        self, features: Float[Tensor, "batch channels h w"], joints: Float[Tensor, "batch 21 3"]
    ) -> Float[Tensor, "batch channels h w"]:
        """joints: x, y, z in the heat map's cells; they may lie outside of it."""
        if self.shrink != 1:
            joints = torch.cat([(joints[..., :2] + 0.5) / self.shrink - 0.5, joints[..., 2:]], dim=-1)
        convolution, norm, activation = self.conv
        assert isinstance(convolution, nn.Conv2d)
        of_features, of_joints = torch.split(convolution.weight, [self.channels, N_JOINTS * self.depth], dim=1)
        plain = F.conv2d(features, of_features, convolution.bias, padding=1)
        # It is little work, so half precision would gain nothing.
        with torch.autocast(features.device.type, enabled=False):
            kernel = of_joints.reshape(self.channels, N_JOINTS, self.depth, 3, 3)
            rest = convolve_gaussians(kernel, joints.to(kernel.dtype), features.shape[2:], self.sigmas)
        mixed: Tensor = activation(norm(plain + rest.to(plain.dtype)))
        return mixed


def convolve_gaussians(
    kernel: Float[Tensor, "outputs joints depth 3 3"],
    joints: Float[Tensor, "batch joints 3"],
    size: tuple[int, int] | torch.Size,
    sigmas: tuple[float, float, float],
) -> Float[Tensor, "batch outputs height width"]:
    """The joints' heat maps, exp(-(cell - joint)^2 / (2 sigma^2)) along each axis, convolved with a kernel.

    joints: x, y, z in cells. size: height and width. sigmas: along x, y and z, in cells. Around the heat maps
    are zeros.
    """
    height, width = size
    gx, gy, gz = (
        gaussian(joints[..., axis], cells, sigmas[axis]) for axis, cells in enumerate((width, height, kernel.shape[2]))
    )
    batch, outputs = len(joints), len(kernel)
    kernels = torch.einsum("ojzyx,bjz->bojyx", kernel, gz)
    rows = torch.einsum("bojyx,bjhy->bohjx", kernels, neighbours(gy)).reshape(batch, outputs * height, -1)
    columns = neighbours(gx).transpose(2, 3).reshape(batch, -1, width)
    return torch.bmm(rows, columns).view(batch, outputs, height, width)


def gaussian(centre: Float[Tensor, "batch joints"], cells: int, sigma: float) -> Float[Tensor, "batch joints cells"]:
    """exp(-(i - centre)^2 / (2 sigma^2)) at the cells i = 0, 1, ...; 0 where that is below NEGLIGIBLE."""
    index = torch.arange(cells, dtype=centre.dtype, device=centre.device)
    line = torch.exp(-0.5 * ((index - centre[..., None]) / sigma) ** 2)
    return torch.where(line < NEGLIGIBLE, 0, line)


def neighbours(line: Float[Tensor, "batch joints cells"]) -> Float[Tensor, "batch joints cells 3"]:
    """Each cell with the one before and the one after it; 0 beyond the ends, as a padded convolution has it."""
    return F.pad(line, (1, 1)).unfold(2, 3, 1)
