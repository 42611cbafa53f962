"""The pipeline config: read, checked, and what it names."""
