"""Whether a patch can go: the conditions of its ``Remove-Test`` trailers, tried on a snapshot.

``Remove-When`` is for people. Where a look at the snapshot can tell, ``Remove-Test`` says the same
to the machine, in one of the forms

    Remove-Test: PATH has TEXT
    Remove-Test: PATH lacks TEXT

PATH is a path in the tree, ``*`` and ``**`` as in the pin; TEXT is the rest of the line. Several
of them hold together or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from patchqueue.errors import ExitCode, QueueError
from patchqueue.patch import Patch, trailers
from patchqueue.project import glob_to_regex
from patchqueue.snapshot import Snapshot, unsafe_path

TRAILER = "Remove-Test"
FORMS = "PATH has TEXT | PATH lacks TEXT"
_TEST = re.compile(r"(\S+) (has|lacks) (\S.*)")


class Removal(Enum):
    """Whether the reason for a patch is gone."""

    NEEDED = "no"
    CAN_GO = "yes"
    BY_HAND = "by hand"


@dataclass(frozen=True)
class RemoveTest:
    """One condition on a snapshot."""

    path: str
    wanted: bool
    """Whether the text has to be there, or not."""
    text: bytes

    @classmethod
    def parse(cls, value: str) -> RemoveTest:
        """Read the value of a trailer.

        Raises:
          ValueError: saying what is wrong with it.
        """
        match = _TEST.fullmatch(value)
        if not match:
            raise ValueError(f"not of the form {FORMS}")
        if reason := unsafe_path(match[1]):
            raise ValueError(f"{match[1]}: {reason}")
        return cls(match[1], match[2] == "has", match[3].encode())

    def holds(self, snapshot: Snapshot) -> bool | None:
        """Try the condition. ``None``: there is no such file, which a person has to look at."""
        pattern = re.compile(glob_to_regex(self.path))
        found = [
            self.text in entry.data for path, entry in snapshot.items() if pattern.fullmatch(path)
        ]
        return any(found) == self.wanted if found else None


def removal(patch: Patch, snapshot: Snapshot) -> Removal:
    """Tell whether a patch can go, on a snapshot without any patches.

    Raises:
      QueueError: exit code 1 if a condition is malformed.
    """
    values = trailers(patch.message).get(TRAILER, [])
    try:
        held = [RemoveTest.parse(value).holds(snapshot) for value in values]
    except ValueError as error:
        raise QueueError(
            ExitCode.FAILED,
            f"malformed {TRAILER}: {error}",
            at=patch.name,
            hint="python apply_patches.py lint",
        ) from error
    if not held or None in held:
        return Removal.BY_HAND
    return Removal.CAN_GO if all(held) else Removal.NEEDED
