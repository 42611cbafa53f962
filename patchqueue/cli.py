"""The command line: arguments in, text or JSON out, exit code."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from patchqueue import commands
from patchqueue.bump import NEW, OLD, BumpReport, Verdict, bump
from patchqueue.commands import Report, State
from patchqueue.errors import ExitCode, QueueError
from patchqueue.export import ExportReport, export
from patchqueue.lint import lint
from patchqueue.project import Project, load_pin
from patchqueue.queue import unlisted
from patchqueue.removal import Removal
from patchqueue.report import report

_EXIT_CODES = """exit codes:
  0    done, or up to date (says which, and why anything was done)
  1    a patch failed, or a file could not be fetched or written
  2    wrong usage
  3    a hash is not the expected one
  4    the tree has edits that would be lost
  5    another run holds the lock
  130  interrupted
"""


def main(project: Project, arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "apply")
    options = _parser(project).parse_args(words)
    as_json = getattr(options, "json", False)
    try:
        return options.run(project, options)
    except QueueError as error:
        failure = error
    except OSError as error:
        failure = QueueError(
            ExitCode.FAILED,
            f"{error.strerror or error}",
            at=str(error.filename or project.show(project.target)),
            hint="the tree is whole, old or new; run the command again once that is mended",
        )
    except KeyboardInterrupt:
        print("interrupted; the tree is whole, old or new: run the command again", file=sys.stderr)
        return 130
    print(failure, file=sys.stderr)
    if as_json:
        fields = {"what": failure.what, "at": failure.at, "hint": failure.hint}
        print(json.dumps({"error": fields, "exit_code": int(failure.code)}))
    return int(failure.code)


def _parser(project: Project) -> argparse.ArgumentParser:
    target = project.show(project.target)
    parser = argparse.ArgumentParser(
        prog="apply_patches.py",
        description=f"Builds {target} from the pinned archive and the patches, and back.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print the result as JSON")
    waits = argparse.ArgumentParser(add_help=False)
    waits.add_argument("--wait", action="store_true", help="wait for another run to end")
    writes = argparse.ArgumentParser(add_help=False, parents=[waits])
    writes.add_argument("--archive", type=Path, metavar="FILE", help="use this archive file")
    writes.add_argument("--force", action="store_true", help="save edits aside, then replace them")
    relock = argparse.ArgumentParser(add_help=False)
    relock.add_argument(
        "--relock", action="store_true", help="accept the result of patches edited by hand"
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    table = (
        ("apply", _apply, "bring the tree to pin + patches (default)", [writes, relock, as_json]),
        ("status", _status, "tell where the tree stands", [as_json]),
        ("verify", _verify, "hash every file and compare with the lock", [as_json]),
        ("unapply", _unapply, "bring the tree to the pristine snapshot", [writes]),
        ("lint", _lint, "check the patch files themselves", [as_json]),
        ("export", _export, "rewrite patches/ from the commits in the tree", [waits]),
        ("bump", _bump, "try the patches on another archive", [waits, as_json]),
        ("report", _report, "show what each patch does and whether it can go", [as_json]),
    )
    for name, run, text, parents in table:
        sub = subparsers.add_parser(name, help=text, description=text, parents=parents)
        sub.set_defaults(run=run)
        if name == "export":
            sub.add_argument(
                "--from",
                dest="source",
                type=Path,
                metavar="REPOSITORY",
                help=f"export this repository instead of {target}",
            )
        if name == "bump":
            _add_bump(sub)
    return parser


def _add_bump(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--archive", type=Path, metavar="FILE", required=True, help="the other archive"
    )
    parser.add_argument(
        "--port",
        type=Path,
        metavar="FOLDER",
        help=f"make a git repository there to carry the patches over in: main, {OLD} and {NEW}",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NAME",
        help="leave this entry of [layout.paths] out of the new pin",
    )
    parser.add_argument("--write", action="store_true", help="pin the other archive")


def _apply(project: Project, options: argparse.Namespace) -> int:
    started = time.monotonic()
    report = commands.apply(
        project,
        archive=options.archive,
        force=options.force,
        relock=options.relock,
        wait=options.wait,
    )
    _print(project, report, options.json, time.monotonic() - started)
    return ExitCode.OK


def _unapply(project: Project, options: argparse.Namespace) -> int:
    started = time.monotonic()
    report = commands.unapply(
        project, archive=options.archive, force=options.force, wait=options.wait
    )
    _print(project, report, False, time.monotonic() - started)
    return ExitCode.OK


def _status(project: Project, options: argparse.Namespace) -> int:
    _print(project, commands.status(project), options.json)
    return ExitCode.OK


def _verify(project: Project, options: argparse.Namespace) -> int:
    report = commands.verify(project)
    if not options.json:
        print("every file has the expected content")
    _print(project, report, options.json)
    return ExitCode.OK


def _lint(project: Project, options: argparse.Namespace) -> int:
    problems = lint(project, load_pin(project))
    if options.json:
        print(json.dumps([asdict(problem) for problem in problems], indent=1))
    for problem in problems:
        print(problem.text, file=sys.stderr)
    if not options.json and not problems:
        print("patches are in order")
    return ExitCode.FAILED if problems else ExitCode.OK


def _export(project: Project, options: argparse.Namespace) -> int:
    report = export(project, source=options.source, wait=options.wait)
    _print_export(report)
    return ExitCode.OK


def _bump(project: Project, options: argparse.Namespace) -> int:
    report = bump(
        project,
        options.archive,
        without=options.without,
        port=options.port,
        write=options.write,
        wait=options.wait,
    )
    if options.json:
        fields = asdict(report) | {"counts": {v.value: n for v, n in report.counts.items()}}
        print(json.dumps(fields, indent=1, default=lambda item: item.value))
    else:
        _print_bump(project, report, options.port)
    asked = options.port or options.write
    return ExitCode.OK if report.fits or asked else ExitCode.FAILED


def _print_bump(project: Project, report: BumpReport, port: Path | None) -> None:
    pin = report.pin
    print(f"{pin.filename}: {pin.package} {pin.version}, tree {pin.tree[:12]}")
    print(
        f"  {report.files} files, beside the pinned snapshot {report.added} added, "
        f"{report.removed} removed, {report.changed} changed"
    )
    if report.crlf:
        print(f"  {report.crlf} files have CRLF line ends; compared as if they had LF")
    for name in report.missing:
        print(f"  {name} of [layout.paths] is not in the archive")
    width = max((len(trial.patch) for trial in report.trials), default=0)
    for trial in report.trials:
        can_go = "; its Remove-Test holds" if trial.can_go is Removal.CAN_GO else ""
        print(f"{trial.patch:{width}}  {trial.verdict.value}{can_go}")
        for line in trial.evidence:
            print("    " + line.replace("\n", "\n    "))
    counts = ", ".join(f"{report.counts[v]} {v.value}" for v in Verdict if report.counts[v])
    print(f"{len(report.trials)} patches: {counts}")
    if port:
        print(f"carry them over with: git -C {port} rebase --onto {NEW} {OLD} main")
    if report.written:
        print(f"{project.show(project.pin_path)} names this archive now; look at its comments too")


def _report(project: Project, options: argparse.Namespace) -> int:
    rows = report(project)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1, default=lambda item: item.value))
        return ExitCode.OK
    table = [("patch", "files", "lines", "upstream status", "can go", "remove when")]
    table += [
        (
            row.patch,
            str(row.files),
            f"+{row.added} -{row.removed}",
            row.upstream_status,
            row.can_go.value,
            row.remove_when,
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(map(str.ljust, cells, widths)).rstrip())
    areas = Counter(row.area for row in rows)
    removable = sum(row.can_go is Removal.CAN_GO for row in rows)
    print(
        f"{len(rows)} patches ({', '.join(f'{n} {area}' for area, n in sorted(areas.items()))}), "
        f"+{sum(row.added for row in rows)} -{sum(row.removed for row in rows)} lines, "
        f"{removable} can go"
    )
    return ExitCode.OK


def _print(project: Project, report: Report, as_json: bool, seconds: float | None = None) -> None:
    if as_json:
        fields = asdict(report) | {"state": report.state.name.lower()}
        fields["saved"] = project.show(report.saved) if report.saved else None
        fields["unlisted"] = unlisted(project.patches)
        print(json.dumps(fields, indent=1))
        return
    for name in unlisted(project.patches):
        # Nobody sees a patch that is left out, until its bug is back.
        print(f"warning: not in the series, so not in the tree: {name}", file=sys.stderr)
    target = project.show(project.target)
    if report.state is State.ABSENT:
        print(f"{target}: absent; build it with: python apply_patches.py apply")
        return
    if report.saved:
        print(f"edits saved in {project.show(report.saved)}")
    if report.accepted:
        old, new = report.accepted[:12], report.tree[:12]
        print(f"{project.show(project.lock_path)}: tree {new} is accepted; it was {old}")
    took = f" in {seconds:.1f} s" if report.changed and seconds is not None else ""
    verb = "built" if report.changed else report.state.value
    if report.changed and report.state is State.UNAPPLIED:
        verb = "unapplied, pristine"
    print(f"{target}: {verb}{took}, {report.patches} patches, tree {report.tree[:12] or 'unknown'}")
    for reason in report.reasons:
        print(f"  because {reason}" if report.changed else f"  {reason}")
    for line in report.edits.lines():
        print(f"  {line}")


def _print_export(report: ExportReport) -> None:
    for word, names in (
        ("added", report.added),
        ("changed", report.changed),
        ("removed", report.removed),
    ):
        for name in names:
            print(f"  {word:8}{name}")
    state = "exported" if report.written else "nothing changed:"
    print(f"{state} {report.patches} patches, tree {report.tree[:12]}")
