"""Scoring a checkpoint: the request, the predictions, the metrics, the report."""
