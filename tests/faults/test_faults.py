"""Kills the engine at every step of every command that writes, and looks at what is left.

Each time the tree and the patches have to be the old ones or the new ones, a tree that says it
is whole has to be whole, no work may be lost, and the next run has to complete and leave nothing
behind. Every step is printed, and is in the report that --junitxml writes.
"""

from __future__ import annotations

import pytest

from tests.faults.scenarios import SCENARIOS, Laboratory


def _by_name(name):
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


@pytest.mark.sampled
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_step(scenario, tmp_path, capsys, record_property):
    laboratory = Laboratory(scenario, tmp_path / "laboratory", capsys)
    failed = []
    with capsys.disabled():
        print(f"\n{scenario.name}: {len(laboratory.points)} faults")
        for point in laboratory.points:
            problems = laboratory.strike(point)
            print(f"  {'FAILED' if problems else 'ok    '} {point}")
            record_property("failed at" if problems else "survived", str(point))
            failed += [f"{point}\n    {problem}" for problem in problems]
    assert not failed, "\n".join(failed)


def _problems(name, mutation, folder, capsys):
    laboratory = Laboratory(_by_name(name), folder, capsys, mutation)
    return [problem for point in laboratory.points for problem in laboratory.strike(point)]


def test_without_the_swap_it_fails(tmp_path, capsys):
    """Negative control: building in place leaves half a tree."""
    problems = _problems("apply", "build_in_place", tmp_path / "laboratory", capsys)
    assert any("neither the old nor the new" in problem for problem in problems)


def test_without_the_swap_a_folder_is_half_written(tmp_path, capsys):
    """Negative control: exporting in place leaves half an entry."""
    problems = _problems("export of a folder", "export_in_place", tmp_path / "laboratory", capsys)
    assert any("patches: neither the old nor the new" in problem for problem in problems)


def test_without_stamp_last_work_is_lost(tmp_path, capsys):
    """Negative control: a stamp that vouches for commits before their patches are written."""
    problems = _problems("export", "export_stamped_early", tmp_path / "laboratory", capsys)
    assert any("work is lost" in problem for problem in problems)
