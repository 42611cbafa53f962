"""Recovers the .proto sources of the patched tree and recompiles them.

The snapshot carries generated `*_pb2.py` modules but not the `.proto` files they came from.
Each module holds its whole schema as a serialized FileDescriptorProto, so the sources can be
printed from it, compiled with the installed protoc, and the result compared with the original:

    python -m bootstrap.protos               recover, compile, compare, replace
    python -m bootstrap.protos --from-proto  compile edited .proto files instead

Exit codes: 0 done or up to date, 1 the compiled schema differs from the recovered one,
2 wrong usage or a tree that is not as expected.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import BuildError, run
from bootstrap.files import write_atomically

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

_ROOT = Path(__file__).resolve().parent.parent
_RESEARCH = _ROOT / "third_party/models/research"
_STAMP = _ROOT / "third_party/.protos.json"
# Imports in the schema are relative to research/.
_PROTO_DIR = Path("object_detection/protos")
_STAGING = ".protos.staging-"
_FROM_PROTO = "python -m bootstrap.protos --from-proto"
_REBUILD_TREE = "python apply_patches.py apply --force, then ./build.sh"


def recover_descriptor(module: Path) -> FileDescriptorProto:
    """Returns the descriptor inside a generated module, without importing the module.

    Importing would register the schema in the process, and would need a protobuf runtime that
    accepts code as old as the snapshot's.

    Raises:
      BuildError: the module does not hold exactly one serialized descriptor.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.message import DecodeError

    try:
        nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    except SyntaxError as error:
        raise BuildError(f"not Python: {error.msg}", str(module), _REBUILD_TREE, 2) from error
    serialized = [
        node.args[0].value
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "AddSerializedFile"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, bytes)
    ]
    if len(serialized) != 1:
        what = f"expected one serialized descriptor, found {len(serialized)}"
        raise BuildError(what, str(module), _REBUILD_TREE, 2)
    try:
        return FileDescriptorProto.FromString(serialized[0])
    except DecodeError as error:
        what = "the serialized descriptor does not decode"
        raise BuildError(what, str(module), _REBUILD_TREE, 2) from error


def difference(expected: FileDescriptorProto, actual: FileDescriptorProto) -> str | None:
    """Returns the first place where two schemas differ, as a path and both values, or None.

    `json_name` and source positions are left out: protoc derives them, they are not schema.
    """
    return _first_difference("", _as_data(expected), _as_data(actual))


def _as_data(message) -> object:
    """A message as nested dicts and lists, with unset fields and derived ones absent."""
    data = {}
    for field, value in message.ListFields():
        if field.name in ("json_name", "source_code_info"):
            continue
        if field.message_type is None:
            data[field.name] = list(value) if field.is_repeated else value
        elif field.is_repeated:
            data[field.name] = [_as_data(item) for item in value]
        else:
            data[field.name] = _as_data(value)
    return data


def _first_difference(path: str, expected: object, actual: object) -> str | None:
    if isinstance(expected, dict) and isinstance(actual, dict):
        name = expected.get("name")
        here = f"{path}.{name}" if path and name else path or str(name)
        for key in sorted(expected.keys() | actual.keys()):
            inner = f"{here}.{key}"
            found = _first_difference(inner, expected.get(key), actual.get(key))
            if found:
                return found
        return None
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = zip(expected, actual, strict=True)
        for index, (one, other) in enumerate(pairs):
            found = _first_difference(f"{path}[{index}]", one, other)
            if found:
                return found
        return None
    if expected == actual:
        return None
    return f"{path}: {_brief(expected)}, now {_brief(actual)}"


def _brief(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    return "absent" if value is None else repr(value)


def regenerate(research: Path, stamp: Path, from_proto: bool = False) -> str | None:
    """Brings `.proto` and `*_pb2.py` under `research` in line with the installed protoc.

    A `.proto` file that is there already is compiled as it stands and never overwritten, so
    its comments and layout last; only where there is none is one printed.

    Args:
      research: the directory that contains `object_detection`.
      stamp: file that records what the last run left; written last.
      from_proto: let the `.proto` files decide the schema, not the generated modules.

    Returns:
      One line saying what was done, or None when everything was up to date.

    Raises:
      BuildError: the compiled schema differs from the recovered one (exit code 1), or the
        tree is not as expected (exit code 2).
    """
    protos = research / _PROTO_DIR
    modules = sorted(protos.glob("*_pb2.py"))
    if not modules:
        what = "no generated protobuf modules"
        raise BuildError(what, str(protos), "python apply_patches.py apply", 2)
    if not from_proto and _recorded(stamp) == _state(protos):
        return None

    sources, schema = _sources(protos, modules, from_proto)
    # Beside the tree, not in it: what a killed run leaves there would count as an edit.
    for stale in stamp.parent.glob(f"{_STAGING}*"):
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=stamp.parent) as name:
        staging = Path(name)
        compiled = _compile(sources, protos, staging)
        changes = []
        for proto_name, expected in schema.items():
            found = difference(expected, recover_descriptor(compiled[proto_name]))
            if found:
                changes.append((proto_name, found))
        if changes and not from_proto:
            raise _mismatch(protos, *changes[0])
        for proto_name in sources:
            if not (protos / proto_name).exists():
                os.replace(staging / "in" / _PROTO_DIR / proto_name, protos / proto_name)
        for module in compiled.values():
            os.replace(module, protos / module.name)
    write_atomically(stamp, json.dumps(_state(protos), indent=2) + "\n")

    what = f"compiled {len(sources)} .proto files with protoc of grpcio-tools {_tools_version()}"
    if from_proto:
        return "\n".join([what, *(f"schema changed: {found}" for _, found in changes)])
    return f"{what}; every descriptor equals the snapshot's"


def _sources(
    protos: Path, modules: list[Path], from_proto: bool
) -> tuple[dict[str, str], dict[str, FileDescriptorProto]]:
    """Returns the text to compile and the schema to expect, both by .proto file name."""
    from bootstrap.proto_text import proto_source

    sources = {path.name: path.read_text(encoding="utf-8") for path in protos.glob("*.proto")}
    schema = {}
    for module in modules:
        descriptor = recover_descriptor(module)
        name = Path(descriptor.name).name
        if descriptor.name != str(_PROTO_DIR / name):
            what = f"the module says that it was made from {descriptor.name}"
            raise BuildError(what, str(module), _REBUILD_TREE, 2)
        schema[name] = descriptor
        comments = [
            f"Recovered from the descriptor inside {module.name}.",
            "A descriptor keeps the whole schema but none of the original's comments.",
        ]
        sources.setdefault(name, proto_source(descriptor, comments))
    unknown = sorted(sources.keys() - schema.keys())
    if unknown and not from_proto:
        what = f"{unknown[0]} has no generated module"
        hint = f"{_FROM_PROTO} compiles it"
        raise BuildError(what, str(protos / unknown[0]), hint, 2)
    return dict(sorted(sources.items())), schema


def _mismatch(protos: Path, name: str, found: str) -> BuildError:
    source = protos / name
    if source.exists():
        what = f"{name} no longer says what its generated module says: {found}"
        hint = f"{_FROM_PROTO} compiles the edit; deleting the file brings the old schema back"
        return BuildError(what, str(source), hint, 2)
    what = f"{name} does not compile back to its descriptor: {found}"
    hint = "bootstrap/proto_text.py must learn to print this part of the schema"
    return BuildError(what, str(source.with_name(f"{source.stem}_pb2.py")), hint)


def _compile(sources: dict[str, str], protos: Path, staging: Path) -> dict[str, Path]:
    """Compiles `sources` below `staging`; returns the generated modules by .proto name.

    protoc runs in a process of its own: inside this one, its schemas would stay registered.
    """
    out = staging / "out"
    directory = staging / "in" / _PROTO_DIR
    directory.mkdir(parents=True)
    out.mkdir()
    for name, text in sources.items():
        (directory / name).write_text(text, encoding="utf-8")
    names = [str(_PROTO_DIR / name) for name in sources]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={out}", *names]
    # In the staging directory, so that protoc's messages name files as a user knows them.
    done = subprocess.run(command, cwd=staging / "in", capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        what = lines[0] if lines else f"protoc ended with exit code {done.returncode}"
        hint = "correct the .proto file, or delete it to have it recovered, and run again"
        raise BuildError(what, str(protos), hint, 2)
    return {name: out / _PROTO_DIR / f"{name.removesuffix('.proto')}_pb2.py" for name in sources}


def _state(protos: Path) -> dict[str, str]:
    """What decides whether there is work: the compiler and the content of both kinds of file."""
    digest = hashlib.sha256()
    for path in sorted([*protos.glob("*.proto"), *protos.glob("*_pb2.py")]):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return {"grpcio-tools": _tools_version(), "content": digest.hexdigest()}


def _tools_version() -> str:
    try:
        return metadata.version("grpcio-tools")
    except metadata.PackageNotFoundError as error:
        what = "grpcio-tools, which brings protoc, is not installed"
        raise BuildError(what, sys.executable, "./build.sh", 2) from error


def _recorded(stamp: Path) -> dict[str, str] | None:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bootstrap.protos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--from-proto", action="store_true", help="let the .proto files decide the schema"
    )
    parser.add_argument(
        "--research", type=Path, default=_RESEARCH, help="directory with object_detection in it"
    )
    parser.add_argument("--stamp", type=Path, default=_STAMP, help="where the state is kept")
    arguments = parser.parse_args()
    done = regenerate(arguments.research, arguments.stamp, arguments.from_proto)
    print(done or "up to date")
    return 0


if __name__ == "__main__":
    run(main)
