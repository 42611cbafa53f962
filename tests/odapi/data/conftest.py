"""A folder with the same labelled scenes in every format, and imports of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from odapi import cli
from tests.odapi.data import sources
from tests.small.scenes import Scene

ARGUMENTS = {
    "coco": ["instances.json"],
    "coco_masks": ["instances_masks.json"],
    "voc": ["voc"],
    "yolo": ["yolo"],
    "yolo_masks": ["yolo_masks"],
    "csv": ["boxes.csv"],
    "csv_normalized": ["shares.csv", "--normalized"],
}
"""Kind of source to its file or folder and the flags that it needs; `coco_masks` is coco."""


@dataclass(frozen=True)
class Labelled:
    """A folder with images and labels."""

    folder: Path
    scenes: list[Scene]

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def arguments(self, kind: str, output: Path, *more: object) -> list[str]:
        """Those of the import of one of ARGUMENTS."""
        source, *flags = ARGUMENTS[kind]
        given = [self.folder / source, "--format", kind.split("_")[0], *flags]
        given += ["--images", self.images, "--output", output, "--workers", 1, *more]
        return ["data", "import", *map(str, given)]


@dataclass(frozen=True)
class Imported:
    """What an import left.

    Attributes:
        code: exit code.
        out: what was written to standard output.
        error: what was written to standard error.
        report: the report's content, or {}.
    """

    folder: Path
    code: int
    out: str
    error: str
    report: dict

    def records(self, name: str = "train") -> list[Path]:
        return sorted(self.folder.glob(f"{name}.record-*"))

    def decoded(self, name: str = "train", **options: object) -> list[dict]:
        """What upstream's decoder makes of the records."""
        from tests.entry_points.records import decode_records

        return decode_records(self.records(name), self.folder / "label_map.pbtxt", **options)

    def raw(self, name: str = "train") -> list[dict]:
        from tests.entry_points.records import read_records

        return read_records(self.records(name))

    def count(self, problem: str) -> int:
        """How often a problem, by its name in the report, was made."""
        found = {**self.report["left_out"], **self.report["noted"]}
        return found.get(problem, {"count": 0})["count"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """Four scenes, the last one empty. Not to be changed."""
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def broken(tmp_path: Path) -> Labelled:
    """The same, to be broken."""
    return write_labelled(tmp_path / "labelled")


def write_labelled(folder: Path) -> Labelled:
    pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")
    scenes = sources.make_scenes()
    sources.write_images(folder / "images", scenes)
    sources.write_voc(folder / "voc", scenes)
    sources.write_yolo(folder / "yolo", scenes)
    sources.write_yolo(folder / "yolo_masks", scenes, polygons=True)
    sources.write_csv(folder / "boxes.csv", scenes)
    sources.write_csv(folder / "shares.csv", scenes, normalized=True)
    sources.write_coco(folder / "instances.json", sources.coco(scenes))
    sources.write_coco(folder / "instances_masks.json", sources.coco(scenes, masks=True))
    return Labelled(folder, scenes)


@pytest.fixture
def run_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Imported]:
    """Runs `odapi data import` on a `Labelled`, into a new folder unless one is given."""

    def run(labelled: Labelled, kind: str, *flags: object, output: Path | None = None) -> Imported:
        output = output or tmp_path / f"records{len(list(tmp_path.iterdir()))}"
        code = cli.main(labelled.arguments(kind, output, *flags))
        written = capsys.readouterr()
        report = output / "import_report.json"
        content = json.loads(report.read_text()) if report.is_file() else {}
        return Imported(output, code, written.out, written.err, content)

    return run
