"""The house is as docs/architecture.md says: rooms, arrows between them, ways through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import page, rules, sources

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
ROOMS = page.rooms(PAGE)
SOURCES = sources.read(ROOT)
WAYS = page.ways(PAGE)
CONFIG = "The config through `odapi train`"


def test_every_file_is_in_a_room_of_the_page():
    assert rules.homeless(ROOMS, SOURCES) == []


def test_a_room_stands_once_and_under_those_that_may_import_it():
    places = [room.place for room in ROOMS]
    assert len(places) == len(set(places))
    assert all(room.question for room in ROOMS)


def test_import_arrows_run_downwards():
    assert rules.arrows(ROOMS, SOURCES) == []


def test_no_module_imports_itself_by_way_of_others():
    assert rules.cycles(SOURCES) == []


def test_the_engine_stands_alone():
    assert rules.packages(SOURCES) == []


def test_no_file_and_no_function_is_too_long():
    assert rules.lengths(SOURCES) == []


def test_what_the_page_names_exists():
    assert page.unknown(PAGE, ROOT, SOURCES) == []


def test_what_contributing_says_to_start_from_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    how = text[text.index("## How to add to it") : text.index("## Dependencies")]
    assert page.unknown(how, ROOT, SOURCES) == []


def test_the_page_shows_the_ways_through_the_house():
    starts = ["odapi convert", "odapi train", "apply_patches.py apply"]
    assert all(any(f"`{start}`" in heading for heading in WAYS) for start in starts)


@pytest.mark.parametrize("way", WAYS)
def test_each_step_of_a_way_is_led_to(way: str):
    assert page.gaps(WAYS[way], SOURCES) == []


def test_the_config_enters_no_room_more_than_twice():
    steps = WAYS[CONFIG]
    assert steps[0].startswith("odapi.train.command.")
    assert steps[-1].startswith("object_detection.training.trainer.Trainer")
    counts = page.entered(steps, ROOMS, SOURCES)
    assert {place: count for place, count in counts.items() if count > 2} == {}
