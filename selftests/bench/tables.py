# SPDX-License-Identifier: GPL-2.0
"""What the reports of this folder share: parts put together, and reStructuredText."""

import json
import textwrap

LOCKSTEP = "QEMU TCG, -icount shift=0,sleep=off"


def merge_conditions(parts):
    """Of all parts; what differs becomes a list."""
    conditions = {}
    for part in parts:
        for key, value in part["conditions"].items():
            if value not in conditions.setdefault(key, []):
                conditions[key].append(value)
    return {key: value[0] if len(value) == 1 else value for key, value in conditions.items()}


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def store(path, report):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")


def series(release):
    """6.12 of 6.12.117+deb12-amd64."""
    return ".".join(release.split(".")[:2])


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def listed(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def title(text, command):
    """The head of a page that a command writes."""
    print(".. SPDX-License-Identifier: GPL-2.0\n")
    print(f".. Written by {command}\n")
    print(f"{'=' * len(text)}\n{text}\n{'=' * len(text)}\n")


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}\n")


def paragraph(text):
    print(textwrap.fill(text, 80, break_long_words=False, break_on_hyphens=False) + "\n")


def table(rows):
    """The first row has the heads. Columns of numbers stand to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(*rows))
    widths = [max(map(len, column)) for column in columns]
    right = [any(cell.lstrip("-").replace(".", "").isdigit() for cell in column[1:])
             for column in columns]
    rule = "  ".join("=" * width for width in widths)

    def line(row):
        return "  ".join(cell.rjust(width) if numbers else cell.ljust(width)
                         for cell, width, numbers in zip(row, widths, right)).rstrip()

    print("\n".join([rule, line(rows[0]), rule] + [line(row) for row in rows[1:]] + [rule]) + "\n")
