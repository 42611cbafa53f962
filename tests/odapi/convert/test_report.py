"""What a conversion says: ten lines on the terminal, and a page with all of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing
from PIL import Image

import odapi
from odapi.cli import main
from odapi.console import terminal
from odapi.convert import brief, checkpoint, cut_drawing, parity, stages, transfer_page
from odapi.convert.plan import Unused
from odapi.convert.report import Status, TransferReport, Variable
from odapi.convert.request import Architecture, Request
from odapi.convert.stages import Part, Stage
from tests.odapi.convert.classifiers import build, shake
from tests.small.hostile import HOSTILE, OBEYED

MOST_LINES = 15
VOID = ("meta", "img", "line", "polygon", "rect")


class Page(HTMLParser):
    """A page: its tags, which have to be closed in order, its pictures, and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[Image.Image] = []
        self.classes: list[str | None] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "img":
            values = dict(attrs)
            encoded = values["src"].partition("base64,")[2]
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(encoded))))
            self.classes.append(values.get("class"))

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.keras"
    shake(build()).save(path)
    return path


def convert(model: Path, output: Path, *arguments: str) -> int:
    return main(
        ["convert", str(model), "--output_dir", str(output), "--preprocessing", "tf", *arguments]
    )


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        ("faster_rcnn", "first stage up to add3 (stride 16), second stage from there to add4"),
        ("ssd", "maps at add2 (stride 8), add3 (stride 16), add4 (stride 32)"),
    ],
)
def test_the_terminal_has_the_facts_in_a_few_lines(kind, cut, model, tmp_path, capsys):
    assert convert(model, tmp_path / "out", "--architecture", kind) == 0

    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert 10 <= len(lines) <= MOST_LINES
    for fact in (
        f"{model}, for images of 96x96, to {kind} (TF2 checkpoint)",
        cut,
        "pixels 0 and 255 become -1 and 1",
        "40 variables of 5,640 parameters, 100 % of the backbone",
        "on 2 photographs differ by",
        "1 layer of 36 parameters: head of the classifier; the detector has its own (classes)",
        str(tmp_path / "out" / "transfer_report.html"),
        "num_classes (4, as in the classifier); label_map_path, twice; train_input_reader's",
    ):
        assert fact in printed
    assert "conv0/kernel" not in printed
    config = tmp_path / "out" / "pipeline.config"
    assert lines[-1].split()[1:] == [
        *("odapi", "train", "--config", str(config)),
        *("--model_dir", f"{tmp_path}/out-training"),
    ]


def test_python_prints_the_same_and_verbose_all_variables(model, tmp_path, capsys):
    convert(model, tmp_path / "out")
    short = capsys.readouterr().out.splitlines()

    odapi.convert(str(model), output_dir=tmp_path / "out", preprocessing="tf", force=True)
    assert capsys.readouterr().out.splitlines() == short

    convert(model, tmp_path / "out", "--force", "--verbose")
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "transfer_report.json").read_text())
    for row in report["variables"]:
        assert re.search(
            rf"^{row['target']} .* {row['hash_after'][:8]}  moved$", printed, re.MULTILINE
        )
    assert printed.splitlines()[-len(short) + 3 :] == short[3:]


@pytest.mark.parametrize("kind", ["mask_rcnn", "ssd_fpn"])
def test_the_page_has_cut_features_and_all_variables(kind, model, tmp_path):
    assert convert(model, tmp_path / "out", "--architecture", kind) == 0

    text = (tmp_path / "out" / "transfer_report.html").read_text(encoding="utf-8")
    report = json.loads((tmp_path / "out" / "transfer_report.json").read_text())
    page = Page(text)
    for row in report["variables"]:
        assert row["target"] in page.cells and row["hash_after"][:8] in page.cells
    places = len(report["parity"])
    assert places == (3 if kind == "ssd_fpn" else 2)
    assert page.classes == [None, "points", "points"] * 2 * places
    for place in range(places):
        photograph, left, right = page.pictures[6 * place : 6 * place + 3]
        assert photograph.size == (96, 96)
        assert left.size == right.size == (96 >> (place + (3 if kind == "ssd_fpn" else 4)),) * 2
        np.testing.assert_allclose(np.asarray(left, int), np.asarray(right, int), atol=2)
    [drawing] = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for word in ("stride 16", "add3", "1,200 parameters", "classes", "stays behind"):
        assert word in drawing
    assert drawing.count("#b00020") == 2 * places, "a line and a word for each cut"
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_are_text_on_the_page_and_on_the_terminal(name, tmp_path):
    def said(name: str) -> tuple[Page, str, list[str]]:
        report = report_of([Unused(name, name, 1, name)], [name], name=name)
        features = [[np.zeros((2, 2, 3), np.float32)] * 2]
        path = tmp_path / "page.html"
        images = [np.zeros((8, 8, 3), np.uint8)] * 2
        transfer_page.write(
            report, parity.Features(images, features, features), Architecture.SSD, path
        )
        text = path.read_text(encoding="utf-8")
        return Page(text), text, brief.lines(report, Request("m", tmp_path / "out"), [name])

    clean, _, clean_lines = said("cat")
    page, text, lines = said(name)
    assert page.tags == clean.tags and len(lines) == len(clean_lines)
    assert terminal.shown(name) in page.cells
    assert not OBEYED.search(text) and not OBEYED.search("".join(lines))


def test_the_name_of_a_file_is_text(model, tmp_path, capsys):
    named = tmp_path / "<script>\x1b[2J.keras"
    shutil.copy(model, named)
    assert convert(named, tmp_path / "out") == 0

    printed = capsys.readouterr().out
    text = (tmp_path / "out" / "transfer_report.html").read_text(encoding="utf-8")
    assert "script" not in Page(text).tags and "<script>" in Page(text).text
    assert "\x1b" not in printed + text


@pytest.mark.parametrize("verbose", [False, True])
def test_a_red_report_names_the_variables_that_did_not_arrive(
    verbose, model, tmp_path, monkeypatch, capsys
):
    write = checkpoint.write_layers

    def write_wrongly(folder, backbone):
        kernel = backbone.layers["side1"].kernel
        kernel.assign(kernel + 1)
        write(folder, backbone)

    monkeypatch.setattr(checkpoint, "write_layers", write_wrongly)

    assert convert(model, tmp_path / "out", *(["--verbose"] if verbose else [])) == 1

    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.endswith(Status.MISSING)]
    assert len(lines) == 1 and lines[0].split()[:3] == ["side1/kernel", "side1/kernel", "3x3x8x8"]
    assert ("conv0/kernel" in printed) is verbose
    assert "odapi train" not in printed
    assert not (tmp_path / "out").exists()


def test_an_earlier_page_may_be_replaced(model, tmp_path):
    for force in ([], ["--force"]):
        assert convert(model, tmp_path / "out", *force) == 0
    assert (tmp_path / "out" / "transfer_report.html").is_file()


def report_of(unused=(), notes=(), name="a", checkpoint_format="tf2") -> TransferReport:
    return TransferReport(
        name,
        checkpoint_format,
        (Variable(name, name, "name", (10,), "0", "1", "1", Status.MOVED),),
        tuple(unused),
        (parity.Parity(name, 2, 8, 8, name, 0.0, 1.0),),
        (*notes, f"preprocessing: {name}"),
        preprocessing=f"preprocessing: {name}",
        stages=(
            Stage(name, 16, 8, 10, Part.FIRST, tapped=True),
            Stage(name, 32, 8, 10, Part.SECOND, tapped=True),
        ),
    )


def test_many_reasons_and_notes_still_take_few_lines(tmp_path):
    unused = [Unused(f"dense{n}", "Dense", 100, f"reason {n // 5}") for n in range(15)]
    report = report_of(unused, [f"note {n}" for n in range(6)] + ["x" * 500])

    lines = brief.lines(report, Request("model.keras", tmp_path), ["label_map_path"])

    assert len(lines) + 3 <= MOST_LINES
    assert "5 layers of 500 parameters: reason 0 (dense0, dense1, dense2 and 2 more)" in lines[5]
    assert "10 layers of 1,000 parameters: for other reasons" in lines[6]
    assert lines[7].split(maxsplit=1)[1] == "note 0" and "and 6 more" in lines[8]


@pytest.mark.parametrize(
    ("output", "format_", "command"),
    [
        ("my runs/a", "tf2", "odapi train --config 'my runs/a/pipeline.config'"),
        ("runs/a/", "tf1", "python legacy/train.py --pipeline_config_path runs/a/pipeline.config"),
    ],
)
def test_the_next_command_is_one_of_this_shell_and_of_the_behaviour(output, format_, command):
    lines = brief.lines(report_of(checkpoint_format=format_), Request("m", Path(output)), [])

    assert lines[-1].startswith("next") and command in lines[-1]
    assert "left behind    nothing" in lines


def test_a_model_dir_is_beside_the_output_folder_even_if_that_is_this_one(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    lines = brief.lines(report_of(), Request("m", Path()), [])
    assert lines[-1].endswith(f"--model_dir {tmp_path}/here-training")


def test_boxes_of_the_drawing_do_not_overlap_and_long_names_keep_their_ends():
    chain = [Stage("s" * 40 + "_end", 1 << n, 8, 10**8, Part.MAPS, tapped=n > 2) for n in range(8)]
    drawing = cut_drawing.draw(chain, [Unused("d", "Dense", 1, "")], (96, 64))

    assert len(drawing.boxes) == 10 and len(drawing.cuts) == 5
    for left, right in drawing.arrows:
        assert left < right
        assert sum(left < place < right for place, _ in drawing.cuts) <= 1
    assert drawing.boxes[-1].right < drawing.width
    assert all(box.top > 0 and box.bottom < 204 for box in drawing.boxes)
    assert drawing.boxes[1].name.endswith("_end") and "…" in drawing.boxes[1].name
    assert drawing.boxes[1].lines[-1] == "100.0 M parameters"


def test_both_sides_of_a_picture_have_the_same_colours(tmp_path):
    """The control: another detector looks otherwise."""
    random = np.random.default_rng(0)
    left = [random.uniform(0, 1, (4, 4, 3)).astype(np.float32) for _ in range(2)]
    left[0][..., 1] *= 9
    images = [np.zeros((8, 8, 3), np.uint8)] * 2
    for right, equal in (
        ([maps.copy() for maps in left], True),
        ([maps / 2 for maps in left], False),
    ):
        report = report_of()
        transfer_page.write(
            report, parity.Features(images, [left], [right]), Architecture.SSD, tmp_path / "a.html"
        )
        page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
        assert "Channel 1 of 3" in page.text
        assert (page.pictures[1].tobytes() == page.pictures[2].tobytes()) is equal


def stages_of(name: str, cut_layer: str | None = None) -> list[tuple[str, Part, bool]]:
    model = classifier_backbone.application(name, weights=None, include_top=False)
    how = classifier_preprocessing.of_application(name)
    backbone = classifier_backbone.Backbone(
        classifier_backbone.BackboneDescription(model, how, cut_layer)
    )
    taken = [backbone.first_stage_cut(), backbone.cuts[-1]]
    found = stages.of_cuts(backbone.cuts, taken, ssd=False)
    assert sum(stage.parameters for stage in found) == model.count_params()
    return [(stage.name, stage.part, stage.tapped) for stage in found]


def test_a_stage_ends_where_its_stride_does():
    first, second = Part.FIRST, Part.SECOND
    assert stages_of("MobileNetV2") == [
        ("block_1_expand_relu", first, False),
        ("block_2_add", first, False),
        ("block_5_add", first, False),
        ("block_12_add", first, True),
        ("out_relu", second, True),
    ]
    assert stages_of("MobileNetV2", "block_4_add")[2:] == [
        ("block_4_add", first, True),
        ("block_5_add", second, False),
        ("block_12_add", second, False),
        ("out_relu", second, True),
    ]
