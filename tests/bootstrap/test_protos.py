"""Recovering the schema: the whole of it, faithfully, and with every deviation seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from bootstrap.errors import BuildError
from bootstrap.proto_text import proto_source
from bootstrap.protos import difference, recover_descriptor, regenerate

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "third_party/models/research"
SNAPSHOT_FILES = 34

# What the API's own schema leaves out of the printer's reach, and what is easy to get wrong:
# shadowed names, escapes, the extremes of ranges, defaults that are not plain numbers.
RICH_SCHEMA = r"""
syntax = "proto2";
package object_detection.protos;
import "object_detection/protos/other.proto";

enum Mode { UNKNOWN = 0; NEGATIVE = -3; OLD = 7 [deprecated = true]; }
enum Twin { option allow_alias = true; A = 1; B = 1; }

message Rich {
  reserved 2, 5 to 7, 536870911;
  reserved "gone", "lost";
  extensions 1000 to 1999;
  enum Mode { NONE = 0; INNER = 1; }
  message Deep { message Deeper { optional Mode shadowed = 1; } repeated Deeper rows = 1; }
  required string quoted = 1 [default = "a \"b\" \\ \n \t é"];
  optional bytes raw = 3 [default = "\000\377\"x"];
  optional float infinite = 4 [default = -inf];
  optional double undefined = 8 [default = nan];
  optional double tiny = 9 [default = 1e-08];
  optional bool yes = 10 [default = true, deprecated = true];
  optional Mode inner = 11 [default = INNER];
  optional .object_detection.protos.Mode outer = 12 [default = NEGATIVE];
  repeated int32 packed = 13 [packed = true];
  repeated sint64 unpacked = 14 [packed = false];
  map<string, Deep.Deeper> by_name = 15;
  map<int32, Mode> by_id = 16;
  oneof first { Other other = 20; uint32 number = 21 [default = 4294967295]; }
  oneof second { fixed64 fixed = 22; }
  optional Rich itself = 23;
  extend Other { optional Rich scoped = 101; }
}
extend Other { repeated string note = 100; }
"""
OTHER_SCHEMA = """
syntax = "proto2";
package object_detection.protos;
message Other { extensions 100 to max; }
"""


def compile_tree(research: Path, sources: dict[str, str]) -> Path:
    """Writes .proto files below `research`, generates their modules, returns their directory."""
    directory = research / "object_detection/protos"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (directory / name).write_text(text, encoding="utf-8")
    names = [f"object_detection/protos/{name}" for name in sources]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", *names]
    subprocess.run(command, cwd=research, check=True)
    return directory


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A research directory with generated modules only, as in the snapshot."""
    sources = {"rich.proto": RICH_SCHEMA, "other.proto": OTHER_SCHEMA}
    directory = compile_tree(tmp_path / "research", sources)
    for source in directory.glob("*.proto"):
        source.unlink()
    return tmp_path / "research"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The built tree's generated modules, without its .proto files."""
    source = BUILT / "object_detection/protos"
    if not source.is_dir():
        pytest.skip("third_party/models is not built: ./build.sh")
    target = tmp_path / "research/object_detection/protos"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.proto", "__pycache__"))
    return tmp_path / "research"


def protos(research: Path) -> Path:
    return research / "object_detection/protos"


def descriptors(research: Path) -> dict[str, FileDescriptorProto]:
    return {path.name: recover_descriptor(path) for path in protos(research).glob("*_pb2.py")}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_every_file_of_the_snapshot_comes_back_equal(snapshot: Path, tmp_path: Path) -> None:
    before = descriptors(snapshot)
    assert len(before) == SNAPSHOT_FILES

    message = regenerate(snapshot, tmp_path / "stamp")

    assert message is not None and f"{SNAPSHOT_FILES} .proto files" in message
    after = descriptors(snapshot)
    assert after.keys() == before.keys()
    # Serialized bytes: a comparison that owes nothing to the one under test.
    for name, descriptor in before.items():
        assert after[name].SerializeToString() == descriptor.SerializeToString(), name
    assert len(list(protos(snapshot).glob("*.proto"))) == SNAPSHOT_FILES


def test_regenerated_snapshot_parses_a_config(snapshot: Path, tmp_path: Path) -> None:
    regenerate(snapshot, tmp_path / "stamp")
    (snapshot / "object_detection/__init__.py").touch()
    program = (
        "from google.protobuf import text_format\n"
        "from object_detection.protos import pipeline_pb2\n"
        "config = text_format.Parse('model { faster_rcnn { num_classes: 7 } }',"
        " pipeline_pb2.TrainEvalPipelineConfig())\n"
        "print(config.model.faster_rcnn.num_classes,"
        " config.model.faster_rcnn.first_stage_max_proposals)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=snapshot, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "300"]


def test_every_construct_of_the_language_comes_back_equal(rich: Path, tmp_path: Path) -> None:
    before = descriptors(rich)
    regenerate(rich, tmp_path / "stamp")
    after = descriptors(rich)
    for name, descriptor in before.items():
        assert after[name].SerializeToString() == descriptor.SerializeToString(), name


def test_second_run_does_nothing(rich: Path, tmp_path: Path) -> None:
    assert regenerate(rich, tmp_path / "stamp") is not None
    before = {path: path.stat().st_mtime_ns for path in protos(rich).iterdir()}
    assert regenerate(rich, tmp_path / "stamp") is None
    assert {path: path.stat().st_mtime_ns for path in protos(rich).iterdir()} == before


def test_recovers_from_its_own_output(rich: Path, tmp_path: Path) -> None:
    regenerate(rich, tmp_path / "stamp")
    before = contents(protos(rich))
    for source in protos(rich).glob("*.proto"):
        source.unlink()
    assert regenerate(rich, tmp_path / "stamp") is not None
    assert contents(protos(rich)) == before


def test_an_interrupted_run_is_completed_and_its_leavings_removed(
    rich: Path, tmp_path: Path
) -> None:
    regenerate(rich, tmp_path / "stamp")
    (tmp_path / "stamp").unlink()
    (protos(rich) / "rich.proto").unlink()
    (tmp_path / ".protos.staging-dead").mkdir()
    assert regenerate(rich, tmp_path / "stamp") is not None
    assert (protos(rich) / "rich.proto").exists()
    assert not list(tmp_path.glob(".protos.staging-*"))


def test_edited_schema_is_reported_and_kept_until_asked_for(rich: Path, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    regenerate(rich, stamp)
    source = protos(rich) / "rich.proto"
    edited = source.read_text(encoding="utf-8").replace("optional Rich itself = 23;", "")
    source.write_text(edited, encoding="utf-8")
    before = contents(protos(rich))

    with pytest.raises(BuildError, match="entries, now") as caught:
        regenerate(rich, stamp)
    assert caught.value.exit_code == 2
    assert "--from-proto" in caught.value.hint
    assert contents(protos(rich)) == before

    message = regenerate(rich, stamp, from_proto=True)
    assert message is not None and "schema changed" in message
    fields = descriptors(rich)["rich_pb2.py"].message_type[0].field
    assert "itself" not in [field.name for field in fields]
    assert regenerate(rich, stamp) is None


def test_comments_added_to_a_source_last(rich: Path, tmp_path: Path) -> None:
    regenerate(rich, tmp_path / "stamp")
    source = protos(rich) / "rich.proto"
    commented = source.read_text(encoding="utf-8") + "// A remark.\n"
    source.write_text(commented, encoding="utf-8")
    assert regenerate(rich, tmp_path / "stamp") is not None
    assert source.read_text(encoding="utf-8") == commented


def test_a_source_that_does_not_compile_names_the_line(rich: Path, tmp_path: Path) -> None:
    regenerate(rich, tmp_path / "stamp")
    before = contents(protos(rich))
    (protos(rich) / "rich.proto").write_text('syntax = "proto2"\n', encoding="utf-8")
    with pytest.raises(BuildError, match=r"rich\.proto:") as caught:
        regenerate(rich, tmp_path / "stamp", from_proto=True)
    assert caught.value.exit_code == 2
    after = contents(protos(rich))
    assert {**after, "rich.proto": before["rich.proto"]} == before


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"1e-08", b"1e-07", "tiny.default_value: '1e-08', now '1e-07'"),
        (b"undefined", b"Undefined", "name: 'undefined', now 'Undefined'"),
    ],
)
def test_a_schema_that_deviates_is_located(rich: Path, old: bytes, new: bytes, place: str) -> None:
    descriptor = recover_descriptor(protos(rich) / "rich_pb2.py")
    altered = FileDescriptorProto.FromString(descriptor.SerializeToString().replace(old, new))
    assert difference(descriptor, descriptor) is None
    found = difference(descriptor, altered)
    assert found is not None and place in found


def test_a_printer_that_loses_a_default_is_caught(
    rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(descriptor: FileDescriptorProto, comments: list[str]) -> str:
        return proto_source(descriptor, comments).replace("[default = 1e-08]", "")

    monkeypatch.setattr("bootstrap.proto_text.proto_source", lossy)
    before = contents(protos(rich))
    with pytest.raises(BuildError, match=r"tiny\.default_value: '1e-08', now absent") as caught:
        regenerate(rich, tmp_path / "stamp")
    assert caught.value.exit_code == 1
    assert contents(protos(rich)) == before
    assert not (tmp_path / "stamp").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n", "found 0"),
        ("pool.AddSerializedFile(b'')\npool.AddSerializedFile(b'')\n", "found 2"),
        ("pool.AddSerializedFile(b'\\x0a\\xff')\n", "does not decode"),
        ("def (:\n", "not Python"),
    ],
)
def test_a_corrupted_module_is_named(rich: Path, tmp_path: Path, text: str, reason: str) -> None:
    module = protos(rich) / "rich_pb2.py"
    module.write_text(text, encoding="utf-8")
    with pytest.raises(BuildError, match=reason) as caught:
        regenerate(rich, tmp_path / "stamp")
    assert caught.value.at == str(module)
    assert caught.value.exit_code == 2


def test_a_tree_without_modules_is_an_error(tmp_path: Path) -> None:
    protos(tmp_path).mkdir(parents=True)
    with pytest.raises(BuildError, match="no generated"):
        regenerate(tmp_path, tmp_path / "stamp")


def test_source_reads_as_a_person_would_write_it() -> None:
    descriptor = text_format.Parse(
        """
        name: "object_detection/protos/x.proto" package: "object_detection.protos"
        message_type {
          name: "M"
          field { name: "mode" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM
                  type_name: ".object_detection.protos.M.Mode" default_value: "ON" }
          enum_type { name: "Mode" value { name: "ON" number: 0 } }
          reserved_range { start: 2 end: 3 }
        }""",
        FileDescriptorProto(),
    )
    assert proto_source(descriptor, ["Why."]) == (
        "// Why.\n\n"
        'syntax = "proto2";\n\n'
        "package object_detection.protos;\n\n"
        "message M {\n"
        "  reserved 2;\n"
        "  enum Mode {\n"
        "    ON = 0;\n"
        "  }\n"
        "  optional Mode mode = 1 [default = ON];\n"
        "}\n"
    )
