"""Who needs a file that changed."""

from __future__ import annotations

import pytest

from tests.selection.imports import Imports

FILES = {
    "pkg/__init__.py": "",
    "pkg/low.py": "",
    "pkg/middle.py": "def f():\n  from pkg import low\n",
    "pkg/high_test.py": "from pkg.middle import f\n",
    "pkg/relative_test.py": "from . import low\n",
    "pkg/beside_test.py": "import low\n",
    "pkg/named_test.py": "mock('pkg.low.f')\n",
    "pkg/program_test.py": "run(join('pkg', 'low.py'))\n",
    "pkg/optional_test.py": "try:\n  import pkg.gone\nexcept ImportError:\n  pass\n",
    "pkg/proto_test.py": "from pkg import box_pb2\n",
    "pkg/box_pb2.py": "",
    "pkg/alone_test.py": "import os, tensorflow\n'Not like pkg.low is; see low.py.'\n",
    "slim/nets/net.py": "",
    "pkg/slim_test.py": "from nets import net\n",
}
TESTS = sorted(file for file in FILES if file.endswith("_test.py"))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Imports:
    root = tmp_path_factory.mktemp("tree")
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return Imports(root, ("", "slim"))


@pytest.mark.parametrize(
    ("changed", "who"),
    [
        ("pkg/low.py", {"beside": 1, "high": 2, "named": 1, "program": 1, "relative": 1}),
        ("pkg/middle.py", {"high": 1}),
        ("pkg/alone_test.py", {"alone": 0}),
        ("pkg/gone.py", {"optional": 1}),
        ("pkg/box.proto", {"proto": 1}),
        ("slim/nets/net.py", {"slim": 1}),
        ("pkg/nobody.py", {}),
    ],
)
def test_whoever_needs_what_changed_is_found_with_its_distance(
    graph: Imports, changed: str, who: dict[str, int]
) -> None:
    expected = {f"pkg/{name}_test.py": distance for name, distance in who.items()}
    assert graph.distances(TESTS, {changed}) == expected


def test_the_package_around_a_module_is_needed_too(graph: Imports) -> None:
    found = graph.distances(TESTS, {"pkg/__init__.py"})
    assert {"pkg/high_test.py", "pkg/relative_test.py", "pkg/proto_test.py"} <= found.keys()
    assert "pkg/alone_test.py" not in found


def test_the_nearest_change_counts(graph: Imports) -> None:
    found = graph.distances(TESTS, {"pkg/low.py", "pkg/middle.py", "pkg/relative_test.py"})
    assert (found["pkg/high_test.py"], found["pkg/relative_test.py"]) == (1, 0)


def test_nothing_changed_and_nobody_is_found(graph: Imports) -> None:
    assert graph.distances(TESTS, set()) == {}
