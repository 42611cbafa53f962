"""What docs/backbones.md says of files, flags and networks is so."""

from __future__ import annotations

import re
from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2)
import pytest
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing

from odapi import cli
from odapi.convert import preprocessing
from odapi.convert.reading import listing
from tests.architectures.test_keras_classifiers import APPLICATIONS
from tests.odapi.convert.test_cuts import ENDS

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
STRIDES = (8, 16, 32)
CUTTING = {"--list_cuts", "--cut_layer", "--tail", "--architecture", "--preprocessing"}
"""Flags of convert that say where to cut, and what is made of the pieces."""


@pytest.fixture
def page() -> str:
    return PAGE.read_text()


def test_every_path_the_page_links_to_exists(page):
    assert links(page)
    assert missing(links(page)) == []


def test_a_link_to_nowhere_is_found():
    assert missing(links("[a](no-such-file.md#part) ![b](images/none.svg) [c](docker.md)")) == [
        "no-such-file.md",
        "images/none.svg",
    ]


def test_the_page_lists_what_a_file_may_name(page):
    table = page.split("<!-- table -->\n")[1].split("<!-- end of table -->")[0]

    assert table == listing.markdown()
    assert "`Conv2D`" in table and "| `Lambda` | holds Python code" in table


def test_the_table_of_networks_has_the_cuts_that_the_code_finds(page):
    table = networks(page)

    assert {name: ends for name, (ends, _) in table.items()} == ENDS
    assert tuple(table) == APPLICATIONS
    assert {name: mode for name, (_, mode) in table.items()} == {
        name: classifier_preprocessing.of_application(name).mode for name in table
    }


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("`mixed7`", "`mixed6`"), ("`add_10`", "`ad_10`"), ("| VGG19 |", "| VGG18 |")],
)
def test_a_wrong_cell_of_the_table_is_found(right, wrong, page):
    assert right in page
    assert networks(page.replace(right, wrong)) != networks(page)


@pytest.mark.parametrize("name", ["Xception", "MobileNetV3Small", "ConvNeXtTiny"])
def test_numbered_layers_are_named_as_convert_names_them(name, page):
    model = classifier_backbone.application(name, weights=None)
    how = classifier_preprocessing.of_application(name)
    backbone = classifier_backbone.Backbone(classifier_backbone.BackboneDescription(model, how))

    assert backbone.first_stage_cut(16).name == row(page, name)[1]
    assert [cut.name for cut in backbone.map_cuts(STRIDES)] == row(page, name)


def test_every_flag_on_the_page_is_one_of_its_command(page):
    training = re.findall(r"odapi train .*", page)
    for command in training:
        page = page.replace(command, "")
        assert flags(command) - flags_of("train") == set()
    assert training
    assert flags(page) - flags_of("convert") == set()


def test_every_flag_about_cutting_is_on_the_page(page):
    assert flags_of("convert") >= CUTTING
    assert CUTTING - flags(page) == set()


def test_a_mistyped_flag_is_found():
    assert flags("`--cut_layers` and `--tail conv`") - flags_of("convert") == {"--cut_layers"}


def test_every_mode_of_preprocessing_is_in_the_table(page):
    rows = re.findall(r"^\| `(\w+)` \| (?:RGB|BGR) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((*preprocessing.MODES, preprocessing.UNIT))


def links(text: str) -> list[str]:
    """Targets of links and pictures, without the part within the page."""
    return re.findall(r"\]\(([^)#]+)", text)


def missing(targets: list[str]) -> list[str]:
    return [target for target in targets if not (PAGE.parent / target).exists()]


def row(text: str, network: str) -> list[str]:
    """The layers at strides 8, 16 and 32 as the page has them."""
    [cells] = re.findall(rf"^\| {network} \|(.*)\|$", text, re.MULTILINE)
    return re.findall(r"`([^`]+)`", cells)[: len(STRIDES)]


def networks(text: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Network to the layers of its cuts, written as in ENDS, and its mode of preprocessing."""
    table = {}
    for line in re.findall(r"^\| \w+ \|(?: `[^`]+` \|){4}$", text, re.MULTILINE):
        name, *ends, mode = (cell.strip(" `") for cell in line.strip("|").split("|"))
        pairs = zip(ends, ENDS.get(name, ends), strict=True)
        table[name] = (
            tuple(end if like[-1].isdigit() else unnumbered(end) for end, like in pairs),
            mode,
        )
    return table


def unnumbered(layer: str) -> str:
    """The name of a layer without the number that Keras may add."""
    return layer.rstrip("0123456789").rstrip("_")


def flags(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z]\w*", text))


def flags_of(command: str) -> set[str]:
    [commands] = [
        action.choices for action in cli._build_parser(command)._actions if action.dest == "command"
    ]
    return {option for action in commands[command]._actions for option in action.option_strings}
