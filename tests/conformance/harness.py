"""Runs one upstream test file as a script, and records what each of its tests did.

    python harness.py FILE RECORD [SKIPS]

The file runs as `python FILE` would run it: its own `__main__` block, its own test runner.
Only the outcomes are listened to. A file that forgot its `__main__` block is given one.
RECORD gets a JSON object per line, written as it happens, so that a crash loses nothing: one per
test, and a last one of kind `end`. SKIPS is a JSON object of test names and the reason why each
cannot run here.
"""

from __future__ import annotations

import json
import runpy
import sys
import types
import unittest
from pathlib import Path
from typing import Any

# tf.test.TestCase has a method test_session, which unittest takes for a test and which skips
# itself, once in every class.
_NOT_A_TEST = "test_session"


def _name(test: unittest.TestCase) -> str:
    return test.id().removeprefix("__main__.")


def listen(record: Any, skips: dict[str, str]) -> None:
    """Has every unittest result of this process write its outcomes to the file `record`."""

    def note(kind: str, test: unittest.TestCase, reason: str = "") -> None:
        if _name(test).rpartition(".")[2] != _NOT_A_TEST:
            line = {"kind": kind, "test": _name(test), "reason": reason}
            record.write(json.dumps(line) + "\n")
            record.flush()

    def last_line(error: Any) -> str:
        return f"{error[0].__name__}: {error[1]}"

    result = unittest.TestResult
    originals = {name: getattr(result, name) for name in vars(result) if name.startswith("add")}

    def wrap(method: str, kind: str, reason: Any = lambda *_: "") -> None:
        def wrapped(self: Any, test: Any, *rest: Any) -> Any:
            note(kind, test, reason(*rest))
            return originals[method](self, test, *rest)

        setattr(result, method, wrapped)

    wrap("addSuccess", "passed")
    wrap("addExpectedFailure", "passed")
    wrap("addSkip", "skipped", str)
    wrap("addFailure", "failed", last_line)
    wrap("addError", "failed", last_line)
    wrap("addUnexpectedSuccess", "failed", lambda *_: "passed, though marked as failing")

    def add_subtest(self: Any, test: Any, subtest: Any, error: Any) -> Any:
        if error is not None:
            note("failed", test, last_line(error))
        return originals["addSubTest"](self, test, subtest, error)

    result.addSubTest = add_subtest

    run = unittest.TestCase.run

    def run_unless_skipped(self: Any, result: Any = None) -> Any:
        reason = skips.get(_name(self))
        if reason is None or result is None:
            return run(self, result)
        result.startTest(self)
        result.addSkip(self, reason)
        result.stopTest(self)
        return result

    unittest.TestCase.run = run_unless_skipped


def _has_tests(contents: dict[str, Any]) -> bool:
    classes = (value for value in contents.values() if isinstance(value, type))
    return any(
        name != _NOT_A_TEST
        for cls in classes
        if issubclass(cls, unittest.TestCase)
        for name in unittest.defaultTestLoader.getTestCaseNames(cls)
    )


def main() -> None:
    file, record_path, *skips_path = sys.argv[1:]
    skips = json.loads(Path(skips_path[0]).read_text()) if skips_path else {}
    with Path(record_path).open("w", encoding="utf-8") as record:
        listen(record, skips)
        sys.argv = [file]
        sys.path[0] = str(Path(file).absolute().parent)
        error, empty = "", False
        try:
            # Comes back only from a file whose own runner, which exits, was not called.
            contents = runpy.run_path(file, run_name="__main__")
            empty = not _has_tests(contents)
            if not empty:
                sys.modules["__main__"] = types.ModuleType("__main__")
                vars(sys.modules["__main__"]).update(contents)
                from absl.testing import absltest

                absltest.main()
        except SystemExit:
            raise
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"
            raise
        finally:
            record.write(json.dumps({"kind": "end", "reason": error, "empty": empty}) + "\n")


if __name__ == "__main__":
    main()
