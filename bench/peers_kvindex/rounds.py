#!/usr/bin/env python3
"""Of the JSON lines of several rounds of bench/kvindex with its peer: one JSON line a cell.

A round's ratio is the better of the peer's two back ends over ours, each figure for itself; the machine changes its speed from second to second, so
only figures of one round are compared. Of the ratios: the median, the quartiles and the number of rounds. usage: rounds.py FILE"""
import json
import statistics
import sys

# ratio: our figure, theirs
RATIOS = {
    "cpu": ("cpu_ns_per_op", "cpu_ns_per_op"),
    "lookup_p50": ("lookup_p50_us", "lookup_p50_us"),
    "lookup_p99": ("lookup_p99_us", "lookup_p99_us"),
    "hot_p50": ("hot_p50_us", "hot_p50_us"),
    "hot_p99": ("hot_p99_us", "hot_p99_us"),
    "find_p50": ("find_p50_us", "lookup_p50_us"),
}


def rounds(lines):
    """(cell, events) -> [(ours, [theirs, ...]), ...]; a round of a cell begins with our line."""
    found = {}
    for line in lines:
        figures = json.loads(line)
        of_cell = found.setdefault((figures["cell"], figures["events"]), [])
        if figures["bench"] == "kvindex":
            of_cell.append((figures, []))
        elif figures["bench"] == "kvindex_peer":
            of_cell[-1][1].append(figures)
    return found


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}


def main(path):
    with open(path, encoding="utf-8") as file:
        found = rounds(file)
    for (cell, events), pairs in found.items():
        whole = [(ours, theirs) for ours, theirs in pairs if len(theirs) == 2]
        out = {"bench": "kvindex_rounds", "cell": cell, "events": events, "rounds": len(whole), "failed": len(pairs) - len(whole)}
        out["exact"] = all(ours["exact"] for ours, _ in pairs)
        for name, (own, other) in RATIOS.items():
            if whole:
                out[name + "_ratio"] = spread([min(t[other] for t in theirs) / ours[own] for ours, theirs in whole])
            out[own] = spread([ours[own] for ours, _ in pairs])
        if whole:
            out["peer_cpu_ns_per_op"] = spread([min(t["cpu_ns_per_op"] for t in theirs) for _, theirs in whole])
            out["peer_lookup_p50_us"] = spread([min(t["lookup_p50_us"] for t in theirs) for _, theirs in whole])
        print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1])
