"""What models share: inputs, targets and predictions, decoding, the base class, the ResNet backbone, soft-argmax."""
