"""What a model file may name, for docs/backbones.md.

python -m odapi.convert.reading.listing
"""

from __future__ import annotations

from object_detection.models.keras_models.keras_allow_list import REFUSED, ROWS


def markdown() -> str:
    """The lists of `keras_allow_list` as two tables."""
    lines = ["| kind | group | names | why nothing of it reaches out |", "|---|---|---|---|"]
    for row in ROWS:
        names = " ".join(f"`{name}`" for name in sorted(row.names))
        lines.append(f"| {row.kind.value} | {row.group} | {names} | {row.why} |")
    lines += ["", "| refused | because it |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in sorted(REFUSED.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
