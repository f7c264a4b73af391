"""What hmr finds through the entry point."""

from hmr_core.plugins import ModelSpec, hookimpl, recipe_files


def build(config):
    """The network; torch is imported here and not before."""
    from hmr_tiny.model import TinyCNN

    return TinyCNN(config)


@hookimpl
def hmr_models():
    """One model."""
    from hmr_tiny.config import TinyConfig

    return [
        ModelSpec(
            name="tiny-cnn",
            summary="Four convolutions and a linear layer (image -> joints)",
            config=TinyConfig,
            recipes=recipe_files(__file__),
            root_joint=9,
            build=build,
        )
    ]
