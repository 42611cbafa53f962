"""A checkpoint in the formats that others run."""
