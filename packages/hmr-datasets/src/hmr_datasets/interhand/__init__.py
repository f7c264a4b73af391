"""InterHand2.6M v1.0 (Moon et al., ECCV 2020)."""
