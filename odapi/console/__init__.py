"""The terminal and the disk: arguments, progress, errors, signals, files written whole."""
