"""HO-3D, versions 2 and 3 (Hampali et al., CVPR 2020)."""
