"""tiny-cnn: an image to the UVD of 21 joints."""

from torch import nn
from torch.nn.functional import l1_loss

from hmr_core.nn.model import PoseModel, Prediction


class TinyCNN(PoseModel):
    """Four strided convolutions and a linear layer."""

    def __init__(self, config):
        super().__init__()
        w = config.width
        convs = conv(3, w), conv(w, 2 * w), conv(2 * w, 4 * w), conv(4 * w, 8 * w)
        self.net = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(8 * w * 16, 21 * 3))

    def forward(self, inputs):
        """The joints, each of u, v and d in 0..1."""
        return Prediction(joints_uvd=self.net(inputs.image).view(-1, 21, 3).sigmoid())

    def loss(self, prediction, targets):
        """The mean absolute error of the visible joints."""
        visible = targets.joints_vis[..., None]
        return {"uvd": l1_loss(prediction.joints_uvd * visible, targets.joints_uvd * visible)}


def conv(inputs, outputs):
    """A convolution that halves the resolution."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU())
