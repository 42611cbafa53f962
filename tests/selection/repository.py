"""A small repository with a queue of its own, to change and compare."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RESEARCH = "third_party/models/research"
UTIL = "object_detection/utils/util.py"
DATA = "object_detection/data/map.pbtxt"


class Repository:
    """Files by path, git, and a patch `area/added/` that adds what `add` is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write(".gitignore", "/third_party/models/\n")
        self.write("patches/series", "area/added/\n")
        self.write("patches/area/added/message", "Add files\n\nFor a test.\n")
        (root / "third_party").mkdir()
        shutil.copy(REPOSITORY / "third_party/upstream.toml", root / "third_party")
        self.lock("1")
        self.add(UTIL, "ONE = 1\n")
        self.add(DATA, "item {}\n")
        self.write("tests/conformance/expected_tf2.json", "{}")
        self.commit()

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def add(self, path: str, text: str) -> None:
        """Puts a file below `research/`, in the patch and in the tree."""
        self.write(f"patches/area/added/files/research/{path}", text)
        self.write(f"{RESEARCH}/{path}", text)

    def lock(self, digit: str) -> None:
        """Gives the tree an id."""
        self.write("third_party/models.lock", f'tree = "{digit * 40}"\ninputs = "{digit * 64}"\n')

    def commit(self) -> str:
        """Commits everything and returns the id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.git("rev-parse", "HEAD")
