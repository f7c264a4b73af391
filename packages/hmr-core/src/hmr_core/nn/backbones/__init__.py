"""Backbones: from an image to feature maps, for every model of images; core's own, and what all of them share."""
