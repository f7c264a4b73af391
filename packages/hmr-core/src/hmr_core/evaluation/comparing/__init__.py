"""Evaluations of the same samples held against each other, with intervals: docs/compare.md."""
