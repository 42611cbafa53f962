"""Each place a name can come from, with each name that a terminal would obey, in each command."""

from __future__ import annotations

import fcntl
import io
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

from odapi import cli
from odapi.console import terminal
from tests.odapi.doctor.material import clean_scenes
from tests.small import ssd
from tests.small.hostile import HOSTILE, OBEYED, as_bytes
from tests.small.records import scene_features, write_records
from tests.small.scenes import write_label_map

TEXT, LABEL = "image/object/class/text", "image/object/class/label"
RECORD_PLACES = ("image/source_id", "image/filename", TEXT)
NO_FILE = ("nul", "long")
"""What no file can be called."""


def text_of(name: str) -> str:
    """What protobuf's text holds of it: a label map's and a config's."""
    return name.encode(errors="replace").decode().replace("\\", "\\\\").replace("'", "\\'")


def literal(name: str) -> str:
    """As a string of protobuf's text format."""
    return "'" + "".join(f"\\{byte:03o}" for byte in name.encode(errors="replace")) + "'"


@pytest.fixture(params=HOSTILE)
def kind(request) -> str:
    return request.param


@pytest.fixture
def name(kind) -> str:
    return HOSTILE[kind]


@pytest.fixture
def project(tmp_path: Path, name: str) -> Path:
    """Records, label map and config in which everything is called so, with faults to tell of."""
    records = []
    for number, scene in enumerate(clean_scenes(2)):
        record = scene_features(scene)
        record |= {key: [as_bytes(name)] for key in RECORD_PLACES}
        # As many as boxes; the second record's class is in no label map.
        record[TEXT] = [as_bytes(name if number else text_of(name)[:3])] * 2
        records.append(record)
    for part in ("train", "eval"):
        write_records(tmp_path / f"{part}.record", records)
    (tmp_path / "label_map.pbtxt").write_text(
        f"item {{ id: 1 name: {literal(name)} }} item {{ id: 2 name: 'cat' }}"
    )
    (tmp_path / "pipeline.config").write_text(ssd.config(tmp_path, num_steps=1))
    return tmp_path


def check(written: str, name: str) -> None:
    """Nothing that is obeyed, and no line that the name began."""
    assert not OBEYED.search(written), repr(OBEYED.search(written))
    if "\n" in name:
        assert not any(line.startswith(name.split("\n")[1]) for line in written.splitlines())
    assert "Traceback" not in written


@pytest.fixture
def run(capsys, name) -> Iterator[Callable[..., str]]:
    """Runs a command, checks all it writes, and returns that."""

    def command(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        check(written.out, name)
        check(written.err, name)
        assert code in codes, written.err
        return written.out + written.err

    yield command


def test_names_in_records_and_label_maps(project, name, run):
    records, label_map = project / "train.record", project / "label_map.pbtxt"
    report = project / "findings.json"
    out = run("doctor", records, "--label_map", label_map, "--json", report, codes=(0, 1))
    assert "image/source_id is repeated" in out or "is that of" in out
    found = json.loads(report.read_text())["findings"]
    assert any(one["image"] == as_bytes(name).decode(errors="replace") for one in found), "raw"
    run("doctor", "--config", project / "pipeline.config", codes=(0, 1))
    run("data", "stats", records, "--label_map", label_map)
    out = run("data", "stats", records, "--json")
    assert as_bytes(name).decode(errors="replace") in json.loads(out)["classes"]
    run("data", "show", records, f"--output_dir={project / 'drawn'}")


def test_names_in_tables_and_pages_of_an_evaluation(name, tmp_path, capsys):
    import numpy as np

    from odapi.evaluate.mistakes import WorstImage
    from odapi.evaluate.page import write_report
    from odapi.evaluate.result import ClassResult, Confusion, EvaluationResult
    from odapi.evaluate.tables import print_result
    from odapi.pages.figures import jpeg

    picture = jpeg(np.zeros((8, 8, 3), np.uint8))
    entry = ClassResult(1, name, 1, 0.5, 0.5, 0.5, [0.5] * 101)
    result = EvaluationResult(
        metrics={name: 0.5} | dict.fromkeys(map(str, range(11)), 0.5),
        per_class=[entry],
        images=1,
        images_without_boxes=0,
        boxes=1,
        model=name,
        step=1,
        seconds=1.0,
        confusion=Confusion(0.5, 0.5, [name, "cat"], [[1, 1, 0], [0, 1, 0], [0, 0, 0]]),
        mask_metrics=None,
        mask_per_class=None,
        repeated_ids=0,
        notes=[name],
    )
    print_result(result)
    check(capsys.readouterr().out, name)
    worst = WorstImage(1, 0.5, 0, f"{name}: 1 missed", picture, picture)
    write_report(result, [worst], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not OBEYED.search(text) and "<script" not in text


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    from tests.odapi.predict.test_predict import save

    return save(tmp_path_factory.mktemp("model"), 1)


def test_names_of_files(name, kind, tmp_path, run, model):
    if kind in NO_FILE:
        pytest.skip("no file has such a name")
    from tests.odapi.predict.test_predict import picture

    file_name = name.replace("/", "")
    folder = tmp_path / f"folder {file_name}"
    folder.mkdir()
    Image.fromarray(picture(30, 10)).save(folder / f"{file_name}.png")
    (folder / f"{file_name}.jpg").write_bytes(b"no image")
    (folder / f"{file_name}.mp4").write_bytes(b"no video")
    whole = write_records(tmp_path / "whole", [scene_features(clean_scenes(1)[0])]).read_bytes()
    records = folder / f"{file_name}.record"
    records.write_bytes(whole)
    # TensorFlow takes no path that is no text: that is said.
    codes = (1, 2) if kind == "no_unicode" else (0,)
    run("doctor", folder / "*.record", codes=codes)
    run("data", "stats", folder / "*.record", codes=codes)
    run("data", "show", folder / "*.record", f"--output_dir={folder / 'drawn'}", codes=codes)
    records.write_bytes(whole[:-5])
    for command in (["doctor"], ["data", "stats"]):
        out = run(*command, folder / "*.record", codes=(1, 2))
        assert "truncated" in out or kind == "no_unicode"
    output = folder / "out"
    out = run(
        "predict", f"--saved_model={model}", f"--output_directory={output}", folder, codes=(1,)
    )
    assert "2 of the images could not be read" in out
    [found] = json.loads((output / "detections.json").read_text())
    assert found["file_name"] == str(folder / f"{file_name}.png"), "JSON keeps the name"

    (tmp_path / "boxes.csv").write_text(
        "filename,class,xmin,ymin,xmax,ymax\n"
        + "".join(f"{one},cat,1,1,20,20\n" for one in ("good.png", "gone.png"))
    )
    Image.fromarray(picture(30, 10)).save(folder / "good.png")
    arguments = ["data", "import", tmp_path / "boxes.csv", "--format", "csv", "--workers", "1"]
    run(*arguments, "--images", folder, "--output", tmp_path / "imported")
    json.loads((tmp_path / "imported" / "import_report.json").read_text(encoding="utf-8"))


def test_names_in_labels(name, kind, tmp_path, run):
    """COCO's JSON may hold any name; a class that is no Unicode text is refused."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 2, "file_name": name, "width": 40, "height": 30},
        ],
        "categories": [{"id": 1, "name": name}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 0}
            for n in (1, 2)
        ],
    }
    source = tmp_path / "labels.json"
    source.write_text(json.dumps(content))
    arguments = ["data", "import", source, "--format", "coco", "--images", tmp_path]
    code = 2 if kind == "no_unicode" else 0
    out = run(*arguments, "--output", tmp_path / "out", "--workers", "1", codes=(code,))
    if code:
        assert "no Unicode text" in out
        return
    report = json.loads((tmp_path / "out" / "import_report.json").read_text(encoding="utf-8"))
    assert report["classes"] == {name: 1}, "JSON keeps the name"


def test_names_in_configs_and_on_the_command_line(project, name, kind, run):
    config = project / "pipeline.config"
    text = config.read_text()
    for field, value in (
        ("ssd_mobilenet_v1_keras", literal(name)[1:-1]),
        ("label_map.pbtxt", literal(name)[1:-1]),
        ("train.record", literal(name)[1:-1]),
        ("SIGMOID", name.replace("\0", "")),
    ):
        config.write_text(text.replace(field, value), errors="replace")
        run("doctor", "--config", config, codes=(0, 1, 2))
        run("train", f"--pipeline_config_path={config}", f"--model_dir={project}/m", codes=(2,))
    for arguments in (
        ["doctor", name],
        ["doctor", "--config", name],
        ["data", "stats", name],
        ["predict", "--saved_model=m", "--output_directory=o", name],
        ["train", "--pipeline_config_path", name, "--model_dir=m"],
        [f"--{name}"],
        [name],
    ):
        if kind not in NO_FILE:
            run(*arguments, codes=(1, 2))


def test_layers_of_a_transfer_report(name):
    from odapi.convert.parity import Parity
    from odapi.convert.plan import Unused
    from odapi.convert.report import Status, TransferReport, Variable

    variable = Variable(name, name, "name", (1,), None, None, None, Status.MOVED)
    unused, parity = Unused(name, name, 1, name), Parity(name, 1, 8, 8, name, 0.1, 1.0)
    report = TransferReport(name, "tf2", (variable,), (unused,), (parity,), (name,))
    check(report.table(), name)
    assert len(report.table().splitlines()) == 8


PROGRAM = """
import sys
from odapi.console import terminal
from odapi.console.progress import Progress
name = sys.argv[1]
with terminal.escaping():
    progress = Progress(2)
    progress.show(1, f"image 1/2  {name}")
    progress.show(2, f"image 2/2  {name}")
"""


@pytest.mark.parametrize("bar", [False, True], ids=["lines", "bar"])
def test_progress(name, kind, bar):
    import pty

    if kind in NO_FILE:
        pytest.skip("no argument of a process")
    command = [sys.executable, "-c", PROGRAM, name]
    root = Path(terminal.__file__).parents[2]
    if not bar:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=60, check=True)
        check(done.stdout.decode(), name)
        assert len(done.stdout.splitlines()) == 2
        return
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    with subprocess.Popen(command, cwd=root, stdout=end, stderr=end) as process:
        os.close(end)
        written = io.BytesIO()
        try:
            while data := os.read(main, 65536):
                written.write(data)
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(main)
    shown = written.getvalue().decode()
    # The bar itself returns to the beginning of its line, and moves up.
    ours = shown.replace("\r", "").replace("\x1b[A", "")
    check(ours, name)
    assert terminal.shown(name)[:10] in ours


def test_without_the_functions_the_names_are_obeyed(tmp_path, monkeypatch, capsys):
    """The control: with escaping taken out, the checks above fail."""
    from odapi.console import errors
    from odapi.data import stats

    name = HOSTILE["clears_the_screen"]
    record = scene_features(clean_scenes(1)[0]) | {TEXT: [as_bytes(name)] * 2}
    path = str(write_records(tmp_path / "a.record", [record]))
    monkeypatch.setattr(terminal, "_escape", lambda match: match[0])
    assert cli.main(["data", "stats", path]) == 0
    with pytest.raises(AssertionError):
        check(capsys.readouterr().out, name)
    with pytest.raises(AssertionError):
        check(str(errors.UserError(name)), name)
    assert stats.shown_name(name) == name


def test_a_clean_name_is_shown_as_it_is(tmp_path, capsys):
    record = scene_features(clean_scenes(1)[0]) | {TEXT: ["Möwe 🦊".encode()] * 2}
    write_label_map(tmp_path / "map.pbtxt", {1: "Möwe 🦊"})
    path = str(write_records(tmp_path / "a.record", [record]))
    assert cli.main(["data", "stats", path, "--label_map", str(tmp_path / "map.pbtxt")]) == 0
    assert "Möwe 🦊" in capsys.readouterr().out
