"""Records with masks."""

from __future__ import annotations

import pytest

from tests.odapi.evaluate.oracle import with_masks
from tests.small.records import write_records


@pytest.fixture(scope="module")
def masked(project):
    """A record file with masks, beside the one without."""
    write_records(project.folder / "masked.record", map(with_masks, project.scenes))
    return "masked.record"
