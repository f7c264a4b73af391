"""The options of tiny-cnn."""

from pydantic import Field

from hmr_core.config import ModelConfig


class TinyConfig(ModelConfig):
    """What --set can change, besides image_size."""

    width: int = Field(16, gt=0, description="channels after the first convolution; they double with each")
