"""A small project with a real archive, a real pin and real git, and the commands on it."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from patchqueue.cli import main
from patchqueue.project import Project

REPOSITORY = Path(__file__).resolve().parents[2]

FILES = {
    "lib/alpha.py": "".join(f"line {n}\n" for n in range(1, 41)),
    "lib/beta.py": "one\ntwo\nthree\n",
    "lib/empty.py": "",
    "lib/schema_pb2.py": "generated = 1\n",
    "lib/tool.sh": "#!/bin/sh\necho tool\n",
    "lib/no_line_end.txt": "last line without end",
    "LICENSE": "licence\n",
}
ENTRY = "keras/delta/"
DELTA = "src/lib/new/delta.py"
ADDED = {
    DELTA: "delta\n",
    "src/lib/new/empty.txt": "",
    "src/lib/new/no_end.txt": "one\ntwo",
    "src/lib/new/crlf.txt": b"one\r\ntwo\r\n",
    "src/lib/new/latin.txt": b"caf\xe9 \x0c\n",
    "src/lib/run.sh": "#!/bin/sh\n",
}
"""What the folder adds: bytes that a diff, a line-end conversion or a text editor could change."""
BETA = "one\ntwo\nthree\nfour\nfive\n"
TOP = "thing-1.0"
FILENAME = f"{TOP}.tar.gz"


@dataclass
class Done:
    """The result of one command."""

    code: int
    out: str
    err: str


def git(folder: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run git as a developer would, but with a fixed identity."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "Dev Eloper", f"GIT_{role}_EMAIL": "dev@example.org"}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_archive(members: dict[str, str | bytes], top: str = TOP) -> bytes:
    """Return a .tar.gz of ``members``; names that end in .sh are executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in members.items():
            data = text if isinstance(text, bytes) else text.encode()
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(data)
            info.mode = 0o775 if name.endswith(".sh") else 0o664
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def git_tree(folder: Path, files: dict[str, str | bytes]) -> str:
    """Return the tree id that git itself gives to files."""
    git(folder, "init", "-q")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    git(folder, "add", "--all")
    return git(folder, "write-tree")


@dataclass
class World:
    """A project under ``root`` and the commands on it."""

    root: Path
    scratch: Path
    capture: Callable
    archive: Path = field(init=False)
    tree_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.project = Project.at(self.root)
        self.archive = self.scratch / FILENAME
        self.pin(FILES)

    @classmethod
    def make(cls, folder: Path, capture: Callable) -> World:
        """Return a pinned project under ``folder``, without patches and without a tree."""
        for name in ("project", "scratch"):
            (folder / name).mkdir()
        return cls(folder / "project", folder / "scratch", capture)

    def copy(self, folder: Path, capture: Callable) -> World:
        """Return the same project, byte for byte, under another folder."""
        shutil.copytree(self.root.parent, folder, symlinks=True, dirs_exist_ok=True)
        twin = copy.copy(self)
        twin.root, twin.scratch, twin.capture = folder / "project", folder / "scratch", capture
        twin.project = Project.at(twin.root)
        twin.archive = twin.scratch / FILENAME
        return twin

    def add_folder(self, *added: str) -> None:
        """Commit and export ``ENTRY``, which adds files (all of ``ADDED``) and changes one."""
        (self.tree / "src/lib/run.sh").touch(mode=0o755)
        files = {name: ADDED[name] for name in added or ADDED}
        self.commit(files | {"src/lib/beta.py": BETA}, ENTRY, "Add delta")
        self.ok("export")

    def edit(self, name: str, text: str | bytes, entry: str = ENTRY) -> None:
        """Write a file of an entry that is a folder."""
        path = self.patches / entry / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def add_patches(self) -> None:
        """Build the tree and export two patches."""
        self.build()
        self.commit({"src/lib/alpha.py": ALPHA}, "compat/alpha-twenty", "Spell twenty")
        self.commit(
            {"src/lib/new/gamma.py": "gamma\n", "src/lib/beta.py": "one\ntwo\nthree\nfour\n"},
            "keras/gamma",
            "Add gamma",
        )
        self.ok("export")

    @property
    def tree(self) -> Path:
        return self.project.target

    @property
    def patches(self) -> Path:
        return self.project.patches

    def pin(self, files: dict[str, str | bytes], extra: dict[str, str] | None = None) -> None:
        """Make an archive of files (and of files outside the layout) and pin it."""
        self.archive.write_bytes(make_archive(files | (extra or {"setup.py": "never run\n"})))
        laid_out = {name.replace("lib/", "src/lib/", 1): text for name, text in files.items()}
        folder = self.scratch / f"tree-{len(list(self.scratch.iterdir()))}"
        folder.mkdir()
        self.tree_id = git_tree(folder, laid_out)
        self.write_pin()

    def write_pin(self, **fields: object) -> None:
        data = self.archive.read_bytes()
        values = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "limit": 100_000,
            "tree": self.tree_id,
        } | fields
        self.project.pin_path.parent.mkdir(parents=True, exist_ok=True)
        self.project.pin_path.write_text(
            f"""
            [archive]
            package = "thing"
            version = "1.0"
            filename = "{FILENAME}"
            sha256 = "{values["sha256"]}"
            size = {values["size"]}
            unpacked_limit = {values["limit"]}
            [snapshot]
            tree = "{values["tree"]}"
            [layout]
            generated = ["src/lib/*_pb2.py", "src/lib/*.proto", "**/__pycache__/**"]
            [layout.paths]
            lib = "src/lib"
            LICENSE = "LICENSE"
            """
        )

    def run(self, *arguments: str) -> Done:
        """Run a command in this process."""
        self.capture.readouterr()
        code = main(self.project, list(arguments))
        out, err = self.capture.readouterr()
        return Done(int(code), out, err)

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed and return what it printed."""
        done = self.run(*arguments)
        assert done.code == 0, done.err
        return done.out

    def fails(self, code: int, *arguments: str) -> str:
        """Run a command that must fail with an exit code and return its message."""
        done = self.run(*arguments)
        assert done.code == code, f"exit {done.code}\n{done.out}{done.err}"
        assert "error: " in done.err
        assert "Traceback" not in done.err
        return done.err

    def build(self) -> None:
        """Apply from the archive file."""
        self.ok("apply", "--archive", str(self.archive), "--relock")

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs the engine on this project in a process of its own."""
        code = (
            "import sys; from pathlib import Path; from patchqueue.cli import main; "
            "from patchqueue.project import Project; "
            f"sys.exit(main(Project.at(Path({str(self.root)!r})), sys.argv[1:]))"
        )
        return [sys.executable, "-c", code, *arguments]

    def commit(self, files: dict[str, str | bytes | None], slug: str | None, subject: str) -> str:
        """Commit a change in the built tree as a developer does; return the commit's id."""
        for name, text in files.items():
            path = self.tree / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        git(self.tree, "add", "--all")
        git(self.tree, "commit", "-q", "-m", message(subject, slug))
        return git(self.tree, "rev-parse", "HEAD")

    def read(self, name: str) -> str:
        return (self.tree / name).read_text()

    def state(self) -> dict[str, bytes]:
        """Every file of the built tree and its git folder, byte for byte."""
        return {
            str(path.relative_to(self.tree)): path.read_bytes()
            for path in sorted(self.tree.rglob("*"))
            if path.is_file()
        }

    def status(self) -> dict:
        return json.loads(self.ok("status", "--json"))


def message(subject: str, slug: str | None) -> str:
    """Return a commit message as the tree's commits carry it."""
    name = f"Patch: {slug}\n" if slug else ""
    return (
        f"{subject}\n\nThe old way fails.\n\n"
        f"Upstream-Status: Pending\nRemove-When: upstream does it\n{name}"
    )


ALPHA = FILES["lib/alpha.py"].replace("line 20\n", "line twenty\n")
