"""A comparison of evaluations as a page: one HTML file that needs no network and no other file."""
