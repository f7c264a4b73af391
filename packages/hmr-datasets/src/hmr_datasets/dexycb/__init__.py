"""DexYCB (Chao et al., CVPR 2021)."""
