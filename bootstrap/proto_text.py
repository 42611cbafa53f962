"""Prints a `FileDescriptorProto` as readable .proto source (proto2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf import text_encoding
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

_LABELS = {
    FieldDescriptorProto.LABEL_OPTIONAL: "optional",
    FieldDescriptorProto.LABEL_REQUIRED: "required",
    FieldDescriptorProto.LABEL_REPEATED: "repeated",
}
_SCALARS = {
    value.number: value.name.removeprefix("TYPE_").lower()
    for value in FieldDescriptorProto.Type.DESCRIPTOR.values
}
# Field numbers end at 2**29 - 1; a descriptor stores the end exclusively.
_END_OF_FIELD_NUMBERS = 2**29
_INDENT = "  "


def proto_source(file: FileDescriptorProto, comments: Sequence[str] = ()) -> str:
    """Returns .proto source that compiles to `file`.

    Covers what the Object Detection API's schema uses: messages, enums, maps, oneofs,
    defaults, `packed` and `deprecated`, reserved and extension ranges, extensions. Anything
    else is left out, which the caller sees by compiling the result and comparing.

    Args:
      file: a descriptor of proto2 syntax.
      comments: lines put in front, without the `//`.
    """
    scope = f".{file.package}" if file.package else ""
    printer = _Printer(frozenset(_declared(file.message_type, file.enum_type, scope)))
    sections = [
        [f"// {line}".rstrip() for line in comments],
        ['syntax = "proto2";'],
        [f"package {file.package};"] if file.package else [],
        [f'import "{path}";' for path in file.dependency],
    ]
    sections += [list(_enum(enum)) for enum in file.enum_type]
    sections += [list(printer.message(message, scope)) for message in file.message_type]
    sections += [list(printer.extension(field, scope)) for field in file.extension]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _declared(
    messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto], scope: str
) -> Iterator[str]:
    """Fully qualified names of all types, nested ones included."""
    for enum in enums:
        yield f"{scope}.{enum.name}"
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name
        yield from _declared(message.nested_type, message.enum_type, name)


@dataclass(frozen=True)
class _Printer:
    """Prints what contains type names, each as short as its place allows.

    Attributes:
      declared: fully qualified names of the types that the file declares.
    """

    declared: frozenset[str]

    def message(self, message: DescriptorProto, outer_scope: str) -> Iterator[str]:
        yield f"message {message.name} {{"
        for line in self._body(message, f"{outer_scope}.{message.name}"):
            yield _INDENT + line
        yield "}"

    def _body(self, message: DescriptorProto, scope: str) -> Iterator[str]:
        for span in message.reserved_range:
            yield f"reserved {_range(span.start, span.end)};"
        for name in message.reserved_name:
            yield f'reserved "{name}";'
        for span in message.extension_range:
            yield f"extensions {_range(span.start, span.end)};"
        for enum in message.enum_type:
            yield from _enum(enum)
        # protoc makes a nested entry message of map<K, V>; printed, it would be there twice.
        maps = {f"{scope}.{m.name}": m for m in message.nested_type if m.options.map_entry}
        for nested in message.nested_type:
            if not nested.options.map_entry:
                yield from self.message(nested, scope)

        open_oneof = None
        for field in message.field:
            oneof = field.oneof_index if field.HasField("oneof_index") else None
            if open_oneof is not None and oneof != open_oneof:
                yield "}"
            if oneof is not None and oneof != open_oneof:
                yield f"oneof {message.oneof_decl[oneof].name} {{"
            open_oneof = oneof
            if oneof is not None:
                yield _INDENT + _declaration(field, self._type(field, scope))
            elif field.type_name in maps:
                key, value = (self._type(part, scope) for part in maps[field.type_name].field)
                yield _declaration(field, f"map<{key}, {value}>")
            else:
                yield f"{_LABELS[field.label]} {_declaration(field, self._type(field, scope))}"
        if open_oneof is not None:
            yield "}"
        for field in message.extension:
            yield from self.extension(field, scope)

    def extension(self, field: FieldDescriptorProto, scope: str) -> Iterator[str]:
        declaration = _declaration(field, self._type(field, scope))
        yield f"extend {self._short(field.extendee, scope)} {{"
        yield f"{_INDENT}{_LABELS[field.label]} {declaration}"
        yield "}"

    def _type(self, field: FieldDescriptorProto, scope: str) -> str:
        if field.type in (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM):
            return self._short(field.type_name, scope)
        return _SCALARS[field.type]

    def _short(self, type_name: str, scope: str) -> str:
        """`type_name` (fully qualified, with a leading dot) as seen from inside `scope`.

        protoc looks a name up from the innermost scope outwards, so a type of the same name
        further in hides this one; then the full name has to stand.
        """
        passed = []
        while scope and not type_name.startswith(f"{scope}."):
            passed.append(scope)
            scope = scope.rpartition(".")[0]
        short = type_name[len(scope) + 1 :]
        first = short.partition(".")[0]
        hidden = any(f"{inner}.{first}" in self.declared for inner in passed)
        return type_name if hidden or not scope else short


def _enum(enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    if enum.options.allow_alias:
        yield f"{_INDENT}option allow_alias = true;"
    for value in enum.value:
        options = " [deprecated = true]" if value.options.deprecated else ""
        yield f"{_INDENT}{value.name} = {value.number}{options};"
    yield "}"


def _range(start: int, end: int) -> str:
    """A half-open range of field numbers as protoc reads it: inclusive, `max` at the top."""
    if end == start + 1:
        return str(start)
    return f"{start} to {'max' if end == _END_OF_FIELD_NUMBERS else end - 1}"


def _declaration(field: FieldDescriptorProto, type_name: str) -> str:
    options = []
    if field.HasField("default_value"):
        options.append(f"default = {_default(field)}")
    if field.options.HasField("packed"):
        options.append(f"packed = {str(field.options.packed).lower()}")
    if field.options.deprecated:
        options.append("deprecated = true")
    suffix = f" [{', '.join(options)}]" if options else ""
    return f"{type_name} {field.name} = {field.number}{suffix};"


def _default(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_STRING:
        return f'"{text_encoding.CEscape(field.default_value, as_utf8=True)}"'
    if field.type == FieldDescriptorProto.TYPE_BYTES:
        # A descriptor stores the default of a bytes field escaped already.
        return f'"{field.default_value}"'
    return field.default_value
