# SPDX-License-Identifier: GPL-2.0
"""What the reports of serve-bench and relay-bench share: rows that guests left."""

from pathlib import Path

from tables import load

CONDITIONS = {"cpus": 1, "programs": "Debian 12", "transport": "TCP loopback"}


def read_row(directory, kernel, clock, text):
    server, size, connections, how = (text.split(":") + [""])[:4]
    row = {"kernel": kernel, "clock": clock, "server": server, "size": int(size),
           "connections": int(connections), "client": {"wrk": "wrk", "copies": "curl"}.get(how, "load"),
           "reads": how != "drop", "cost": None, "p99_small_ns": None, "verified": False}
    path = directory / f"{text}.json"
    if not path.exists() or not path.stat().st_size:
        return row | {"note": "not measured"}
    got = load(path)
    if how == "copies":
        each = {name: got[name] / got["requests"] for name in got.keys() - {"requests", "wrong"}}
        return row | {"copies": each, "compared": got["requests"], "verified": not got["wrong"]}
    row |= {"cost": got["median"], "server_cost": got["server"] or None,
            "p99_small_ns": got.get("p99_small_ns"), "p50_small_ns": got.get("p50_small_ns"),
            "samples": got.get("samples", 0), "compared": got["compared"],
            "verified": not got["wrong"] and got["compared"] > 0}
    if "least" in got:
        row |= {"least": got["least"], "mean": got["mean"], "windows": got.get("windows", [])}
    return row


def read_rows(directory):
    rows = []
    for path in sorted(Path(directory).glob("*/*/rows")):
        kernel, clock = ((path.parent / name).read_text().strip() for name in ("kernel", "clock"))
        rows += [read_row(path.parent, kernel, clock, text) for text in path.read_text().split()]
    return rows


def shown(value):
    return f"{value:.2f}" if value else "-"


def thousands(value, clock):
    """Or microseconds: both are a thousandth of what is in the report."""
    if value is None:
        return "-"
    digits = 0 if clock != "instructions" and value >= 1e6 else 1
    return f"{value / 1000:.{digits}f}"
