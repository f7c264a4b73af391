"""What models share: their inputs, targets and predictions, the base class, the ResNet trunk, soft-argmax."""
