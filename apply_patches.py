#!/usr/bin/env python3
"""Builds third_party/models from the pinned archive and patches/; see --help."""

import sys
from pathlib import Path

from patchqueue.cli import main
from patchqueue.project import Project

if __name__ == "__main__":
    sys.exit(main(Project.at(Path(__file__).parent)))
