import re
from dataclasses import replace

import numpy as np
import pytest

from odapi.demo.report import (
    ClassifierResult,
    DemoResult,
    DetectorResult,
    Drawing,
    Phase,
    TransferSummary,
    write_report,
)
from odapi.pages.page import COCO_METRICS


def detector(ap50: float) -> DetectorResult:
    classes = [str(digit) for digit in range(10)]
    return DetectorResult(
        steps=[1, 10, 20, 30],
        losses=[3.0, 2.0, 1.5, 1.25],
        coco=[0.5 * ap50, ap50, 0.4, -1, 0.5, -1, 0.4, 0.5, 0.5, -1, 0.5, -1],
        class_ap={name: (0.5 * ap50, ap50) for name in classes},
        precision={name: [1.0] * 60 + [0.0] * 41 for name in classes},
    )


@pytest.fixture
def result():
    return DemoResult(
        backbone="VGG-16 <classic>",
        architecture="Faster R-CNN",
        machine="a processor, 2 cores",
        seed=7,
        train_scenes=1200,
        test_scenes=100,
        phases=[Phase("classifier", 301.4), Phase("detector", 418.0)],
        classifier=ClassifierResult([0.5, 0.9], [0.6, 0.951], 500),
        transfer=TransferSummary(1.0, 3e-6, [("convolutions", 26, 14714688, "moved")]),
        converted=detector(0.8125),
        from_scratch=detector(0.0625),
        commands=["odapi convert --weights 'a & b'"],
    )


@pytest.fixture
def drawings():
    rng = np.random.default_rng(0)
    box = np.array([[10.0, 20.0, 60.0, 50.0]])
    return [
        Drawing(rng.integers(0, 255, (128, 128, 3), np.uint8), box, ["3"], box + 2, ["3"], [0.9])
        for _ in range(8)
    ]


def test_page_says_everything(tmp_path, result, drawings):
    path = tmp_path / "runs" / "report.html"
    write_report(result, drawings, path)
    page = path.read_text()
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == [
        *("scenes", "curves", "coco", "classes", "classifier", "transfer", "time", "reproduce")
    ]
    for text in ("0.81", "0.06", "95.1%", "12 min", "5 min 01 s", "14,714,688", "3.0e-06"):
        assert text in page, text
    for name, _ in COCO_METRICS:
        assert f"<td>{name}</td>" in page
    assert page.count("data:image/jpeg") == 2 * len(drawings)
    assert page.count("data:image/png") == 2
    assert "n/a" in page


def test_masks_are_told_beside_boxes_and_drawn(tmp_path, result, drawings):
    masks = [0.3, 0.6875, *[0.25] * 10]
    tinted = [replace(drawing, true_masks=np.ones((1, 128, 128), np.uint8)) for drawing in drawings]
    write_report(result, drawings, tmp_path / "boxes.html")
    write_report(
        replace(result, converted=replace(result.converted, mask_coco=masks)),
        tinted,
        tmp_path / "masks.html",
    )
    boxes, page = ((tmp_path / f"{kind}.html").read_text() for kind in ("boxes", "masks"))
    assert "AP@0.5 of masks" in page and ">0.69<" in page and ">0.688<" in page
    assert "masks" not in boxes

    def pictures(text):
        return re.findall(r"data:image/jpeg;base64,[^\"]+", text)

    assert all(a != b for a, b in zip(pictures(boxes)[::2], pictures(page)[::2], strict=True))
    assert pictures(boxes)[1::2] == pictures(page)[1::2]


def test_a_classifier_of_ones_own_has_no_training_to_tell(tmp_path, result, drawings):
    path = tmp_path / "report.html"
    write_report(replace(result, classifier=None), drawings, path)
    page = path.read_text()
    assert "A classifier of your own (VGG-16 &lt;classic&gt;)" in page
    assert 'id="classifier"' not in page
    assert "unseen crops" not in page


def test_page_needs_nothing_else(tmp_path, result, drawings):
    path = tmp_path / "report.html"
    write_report(result, drawings, path)
    page = path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    assert "<script" not in page
    assert "<link" not in page


def test_texts_are_escaped(tmp_path, result, drawings):
    path = tmp_path / "report.html"
    write_report(result, drawings, path)
    page = path.read_text()
    assert "VGG-16 &lt;classic&gt;" in page
    assert "a &amp; b" in page


def test_class_missing_from_one_run_is_an_error_and_leaves_the_old_page(tmp_path, result, drawings):
    path = tmp_path / "report.html"
    path.write_text("old")
    del result.from_scratch.class_ap["3"]
    with pytest.raises(KeyError):
        write_report(result, drawings, path)
    assert path.read_text() == "old"
