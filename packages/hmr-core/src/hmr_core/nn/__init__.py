"""What models share: their inputs, targets and predictions, the base class, the ResNet backbone, soft-argmax."""
