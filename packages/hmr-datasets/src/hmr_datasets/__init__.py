"""Other hand data sets for hmr: FreiHAND, HO-3D, DexYCB, InterHand2.6M."""
