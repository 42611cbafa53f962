"""A pytest plugin: test files that a change can break run first, and a failure is told at once.

    python -m pytest -p tests.selection.plugin --no-loadscope-reorder [--sample]

With `--sample`, of the cases of a test that is marked `sampled` one in `SHARE` runs, or in as many
as the marker says, another with every tree; the end of the report counts those left out.

ODAPI_CHANGED_SINCE names the commit to compare with, as `tests.selection.base.find` says. Without
`--no-loadscope-reorder`, pytest-xdist's `--dist loadfile` has an order of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from odapi.console.errors import UserError
from patchqueue.errors import QueueError
from tests.selection import base as bases
from tests.selection import draw, tree
from tests.selection.imports import Imports

RESEARCH = "third_party/models/research"
FIRST, LONG, REACHED, OTHER = range(4)
SHARE = 3
"""Of the cases of a `sampled` test, one in so many runs with `--sample`, unless its marker says
another number: `sampled(one_in=12)`. With `of_file=True`, of all tests of the file that have it."""

LONG_FILES = frozenset(
    {
        "tests/architectures/test_architectures.py",
        "tests/architectures/test_keras_classifiers.py",
        "tests/faults/test_faults.py",
        "tests/odapi/convert/reading/test_fuzz.py",
    }
)
"""What takes minutes. It starts early, lest one process waits for another at the end."""

_RANKS = pytest.StashKey[dict[str, int]]()
_BASE = pytest.StashKey[str]()
_LEFT_OUT = pytest.StashKey[Counter[str]]()


def ranks(root: Path, base: bases.Base, files: list[str]) -> dict[str, int]:
    """The class of each test file; files with a lower one run first.

    `FIRST` are those that changed, or that import or name what changed; `REACHED` those that
    need it by way of others; `OTHER` the rest.

    Args:
      root: of the checkout.
      base: what to compare with.
      files: paths of test files below `root`.
    """
    changed = bases.changed(root, base)
    # The order is a convenience; tests of the queue say what is wrong with it.
    with contextlib.suppress(OSError, QueueError):
        changed |= {f"third_party/models/{path}" for path in tree.changed(root, base)}
    graph = Imports(root, ("", RESEARCH, f"{RESEARCH}/slim"))
    distances = graph.distances(files, changed)

    def rank(file: str) -> int:
        if distances.get(file, 2) < 2:
            return FIRST
        if file in LONG_FILES:
            return LONG
        return REACHED if file in distances else OTHER

    return {file: rank(file) for file in files}


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "run a part of the cases of tests marked `sampled`"
    parser.addoption("--sample", action="store_true", help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT_OUT] = Counter()
    received = getattr(config, "workerinput", {}).get("odapi_ranks")
    if received is not None:
        config.stash[_RANKS] = received
        return
    root = config.rootpath
    try:
        base = bases.find(root, os.environ.get(bases.VARIABLE))
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    files = sorted(path.relative_to(root).as_posix() for path in root.glob("tests/**/test_*.py"))
    config.stash[_RANKS] = ranks(root, base, files) if base else {}
    config.stash[_BASE] = str(base) if base else ""


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Gives a process of pytest-xdist the order, which all of them must agree on."""
    node.workerinput["odapi_ranks"] = node.config.stash[_RANKS]


def pytest_report_header(config: pytest.Config) -> str:
    if not (base := config.stash.get(_BASE, "")):
        return "order: as collected, without an earlier commit to compare with"
    found = list(config.stash[_RANKS].values())
    return (
        f"order: {found.count(FIRST)} files that import what changed since {base}, "
        f"then {found.count(LONG)} long ones, {found.count(REACHED)} that need it indirectly, "
        f"{found.count(OTHER)} others"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = config.stash[_RANKS]
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], OTHER))
    if config.option.sample:
        _sample(config, items)


def _sample(config: pytest.Config, items: list[pytest.Item]) -> None:
    cases: dict[tuple[str, int], list[str]] = defaultdict(list)
    for item in items:
        if marker := item.get_closest_marker("sampled"):
            share = marker.kwargs.get("one_in", SHARE)
            alike = "::" if marker.kwargs.get("of_file") else "["
            cases[item.nodeid.partition(alike)[0], share].append(item.nodeid)
    tree_id = draw.tree_id(config.rootpath)
    drawn = set().union(*(draw.part(each, tree_id, share) for (_, share), each in cases.items()))
    marked = {node for each in cases.values() for node in each}
    left_out = [item for item in items if item.nodeid in marked - drawn]
    items[:] = [item for item in items if item.nodeid not in marked - drawn]
    config.hook.pytest_deselected(items=left_out)
    counts = Counter(item.nodeid.partition("[")[0] for item in left_out)
    config.stash[_LEFT_OUT] = counts
    if hasattr(config, "workeroutput"):
        config.workeroutput["odapi_left_out"] = dict(counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes from a process of pytest-xdist, which all draw alike, what it left out."""
    counts = getattr(node, "workeroutput", {}).get("odapi_left_out", {})
    node.config.stash[_LEFT_OUT] = Counter(counts) or node.config.stash[_LEFT_OUT]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    counts = config.stash[_LEFT_OUT]
    if counts:
        terminalreporter.section(f"{counts.total()} cases left out by --sample")
        for test, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count:4d}  {test}")


class _Teller:
    def __init__(self, config: pytest.Config) -> None:
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = str(crash.message if crash else report.longrepr).partition("\n")[0]
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{report.when} of {report.nodeid} failed: {message}")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.pluginmanager.has_plugin("terminalreporter"):
        session.config.pluginmanager.register(_Teller(session.config))
