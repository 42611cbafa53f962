"""Runs upstream's own tests on the patched tree and compares them with what is expected."""
