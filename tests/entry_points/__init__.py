"""Runs upstream's scripts as its documentation says, on small real data."""
