"""A detector in memory, and what it detects, drawn."""
