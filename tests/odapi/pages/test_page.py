"""Pages show every name as text, whatever their templates do with it, and need nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader, UndefinedError

from odapi.console import terminal
from odapi.pages import page
from odapi.pages.figures import axes, data_uri, jpeg, png
from tests.small.hostile import HOSTILE, OBEYED

ROOT = Path(terminal.__file__).parents[2]
TEMPLATES = sorted((ROOT / "odapi").rglob("*.html"))
PICTURE = jpeg(np.zeros((8, 8, 3), np.uint8))

EVERYWHERE = """
{% extends "pages/base.html" %}
{% from "pages/parts.html" import bar, cards, coco_table, pair, picture, plot %}
{% block title %}{{ name }}{% endblock %}
{% block main %}
<p title="{{ name }}">{{ name }}{{ [name] }}{{ name | e }}{{ "class " ~ name }}</p>
{{ cards([(name, name, name)]) }}
{{ coco_table([(name, scores)]) }}
{{ picture(file, name) }}
{{ plot(file, name, name) }}
{{ pair(file, file, name) }}
{{ bar(0.5, name) }}
{% endblock %}
"""

Render = Callable[..., str]


class Contents(HTMLParser):
    """The tags of a page, the values of their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def render(tmp_path, monkeypatch) -> Render:
    """Renders a template that is given as text; `changes` are those of the environment."""
    original = page.environment()

    def written(template: str, changes: dict[str, object] | None = None, **values: object) -> str:
        loader = ChoiceLoader([DictLoader({"test.html": template.lstrip()}), original.loader])
        overlay = original.overlay(loader=loader, **(changes or {}))
        monkeypatch.setattr(page, "environment", lambda: overlay)
        page.render("test.html", tmp_path / "page.html", **values)
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return written


def everywhere(render: Render, name: str, changes: dict[str, object] | None = None) -> str:
    return render(EVERYWHERE, changes, name=name, scores=[0.5] * 12, file=PICTURE)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_name_is_text_wherever_a_template_puts_it(name, render):
    text = everywhere(render, name)
    assert not OBEYED.search(text)
    assert Contents(text).tags == Contents(everywhere(render, "cat")).tags
    assert terminal.shown(name) in Contents(text).values
    assert terminal.shown(name) in Contents(text).text


@pytest.mark.parametrize("name", ["Möwe", "猫", "🦊", "کتاب‌خانه", 'O\'Neil & "sons" <1>', "a\\nb"])
def test_names_of_people_are_left_alone(name, render):
    contents = Contents(everywhere(render, name))
    assert name in contents.values
    assert contents.text.count(name) >= 8


def test_without_the_environments_care_names_are_obeyed(render, monkeypatch):
    """The control: with each part of it taken out, the checks above fail."""
    clean = Contents(everywhere(render, "cat")).tags
    open_ = everywhere(render, HOSTILE["markup"], {"autoescape": False})
    assert Contents(open_).tags != clean and "<script>" in open_

    line = "<p>{{ name }}</p>"
    name = HOSTILE["begins_a_line"]
    assert len(render(line, name=name).splitlines()) == 1
    assert len(render(line, {"finalize": None}, name=name).splitlines()) == 2

    monkeypatch.setattr(page, "shown_lines", lambda text: text)
    name = HOSTILE["clears_the_screen"]
    assert not OBEYED.search(render(line, name=name))
    assert OBEYED.search(render(line, {"finalize": None}, name=name))
    assert OBEYED.search(render("{{ name | e }}", name=name)), "what the last look is for"


def test_markup_is_what_the_class_says_and_not_what_an_object_claims(render):
    class Claims:
        def __html__(self) -> str:
            return "<script>"

        def __str__(self) -> str:
            return "<claimed>"

    assert render("{{ name }}", name=Claims()) == "&lt;claimed&gt;"


def test_a_missing_value_is_an_error_and_leaves_the_old_page(render, tmp_path):
    assert render("{{ name }}", name="old") == "old"
    with pytest.raises(UndefinedError, match="name"):
        render("new {{ name }}")
    assert (tmp_path / "page.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_templates_leave_escaping_to_the_environment(path):
    text = path.read_text(encoding="utf-8")
    tags = re.findall(r"<[^>]*>", re.sub(r"{%.*?%}|{#.*?#}", "", text))
    assert not [tag for tag in tags if re.search(r"=\s*{{", tag)], "an attribute without quotes"
    assert not re.search(r"\|\s*safe|autoescape|Markup|forceescape", text)
    assert not re.search(r"<script|<link|https?:|\son\w+=", text)
    page.environment().get_template(path.relative_to(ROOT / "odapi").as_posix())


def test_pictures_are_whole(render):
    """Far longer than a name may be."""
    figure, plot = axes("x", "y")
    plot.plot([0, 1], [0, 1], label="curve")
    drawn = png(figure, "lower left")
    text = render("{{ file | data_uri }} {{ other | data_uri }}", file=drawn, other=PICTURE)
    assert text == f"{data_uri(drawn)} {data_uri(PICTURE)}"
    assert len(text) > 10 * terminal.MOST_CHARACTERS
    assert text.startswith("data:image/png;base64,") and "data:image/jpeg;base64," in text


@pytest.mark.parametrize(("share", "width"), [(0.123, "12.3"), (-1, "0.0"), (7, "100.0")])
def test_a_bar_stays_in_its_track(share, width, render):
    text = render("{% from 'pages/parts.html' import bar %}{{ bar(share) }}", share=share)
    assert f"width:{width}%" in text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "n/a"), (-1, "n/a"), (0, "0.000"), (0.6875, "0.688"), (1, "1.000")]
)
def test_a_score_has_three_digits_or_is_not_there(value, text):
    assert page.score(value) == text


def run(code: str, *path: Path) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {[*map(str, path)]}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jinja_is_imported_for_a_page_and_not_before(tmp_path):
    code = (
        "import odapi.cli, odapi.demo.report, odapi.evaluate.page\n"
        "print('jinja2' in sys.modules)\n"
        "odapi.pages.page.environment()\n"
        "print('jinja2' in sys.modules)"
    )
    assert run(code, ROOT).split() == ["False", "True"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The project's wheel, built from a copy of what goes into it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    for name in ("odapi", "patchqueue", "bootstrap"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = "import setuptools.build_meta as build; build.build_wheel('.')"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.mark.parametrize("zipped", [True, False], ids=["zipped", "unpacked"])
def test_a_wheel_finds_its_templates(wheel, zipped, tmp_path):
    place = wheel
    if not zipped:
        place = tmp_path / "unpacked"
        zipfile.ZipFile(wheel).extractall(place)
    names = [path.relative_to(ROOT / "odapi").as_posix() for path in TEMPLATES]
    code = (
        "from odapi.pages import page\n"
        "print(page.__file__)\n"
        f"for name in {[*names, 'pages/page.css']}: page.environment().get_template(name)"
    )
    assert run(code, place).startswith(str(place))
