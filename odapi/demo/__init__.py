"""The demo: from handwritten digits to a detector, end to end, on two CPU cores."""
