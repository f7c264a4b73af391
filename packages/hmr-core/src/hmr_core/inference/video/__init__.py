"""Hands in videos: found, followed from frame to frame, made steady, and written down."""
