"""Sweeps: many trainings of one model with different options, chosen and compared by Optuna."""
