"""Fit a hand to joints by least squares: the joints as a function of rotations and shape, its derivatives, the fit."""
