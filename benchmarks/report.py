#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make tables of what scripts/bench measured, and compare two runs."""
import argparse
import shutil
import sys

from figures import (LANES, aims, cases, fail, find, kept_text, load, machine, memory,
                     ratio, tables)


def number(value):
    """A figure, with its spread where it was measured more than once."""
    return f"{value.ns} ±{value.stddev:.0f}" if value.repeats > 1 else f"{value.ns}"


def cell(figures, reference):
    """Map and unmap, with the ratio to @reference."""
    if figures is None:
        return "failed"
    text = " / ".join(number(value) for value in figures)
    if reference is None:
        return text
    return text + " (" + " / ".join(
        f"{ratio(v, r):.3f}" for v, r in zip(figures, reference)) + ")"


def print_rows(rows):
    """Print columns, and below each other what is wider than the terminal."""
    room = shutil.get_terminal_size((160, 24)).columns
    widths = [max(map(len, column)) for column in zip(*rows)]
    first = 1
    while first < len(widths):
        last, used = first, widths[0]
        while last < len(widths) and (last == first or used + 2 + widths[last] <= room):
            used += 2 + widths[last]
            last += 1
        for row in rows:
            picked = [0] + list(range(first, last))
            print("  ".join(row[i].ljust(widths[i]) for i in picked).rstrip())
        first = last
        if first < len(widths):
            print()


def print_tables(result):
    """One table for each lane, domain type and set of cases: a row per case, a
    column per boot."""
    print(f"{result['arch']}, {result['date']}, {result['qemu']}, series {result['series']}")
    print("median map / unmap in ns, in brackets the ratio to the first column that has the case")
    if kept_text(result):
        print(kept_text(result))
    for title, runs in tables(result).items():
        figures = [cases(run) for run in runs]
        rows = [[title] + [run["name"] for run in runs]]
        for case in dict.fromkeys(case for fig in figures for case in fig):
            row, reference = [case], None
            for fig in figures:
                row.append(cell(fig[case], reference) if case in fig else "")
                reference = reference or fig.get(case)
            rows.append(row)
        print()
        print_rows(rows)
    for title, rows in (
            ("boot time and memory", machine(result)),
            ("memory of each live mapping of 4 KiB in bytes", memory(result)),
            ("code and data in bytes", result.get("objects", [])),
            ("ratios against the aims of the project (map / unmap)", aims(result))):
        if len(rows) > 1:
            print(f"\n{title}")
            print_rows(rows)


def compare(result, old, limit):
    """Print what changed against @old; return whether all is within @limit."""
    if result["arch"] != old["arch"]:
        fail(f"cannot compare arch {old['arch']} with {result['arch']}")

    rows = [["case", "boot", "old", "new (ratio)"]]
    good, compared, left_out = True, 0, 0
    for run in result["runs"]:
        for case, figures in cases(run).items():
            reference = find(old, run["name"], case, run["domain"], run["lane"], run.get("iommu", ""))
            if reference is None:
                continue
            if run["lane"] == "wall":
                left_out += 1
                continue
            compared += 1
            worst = float("inf") if figures is None else max(
                ratio(v, r) for v, r in zip(figures, reference))
            if worst > limit:
                good = False
            # What got better by as much is worth to know, too.
            if worst > limit or max(ratio(r, v) for v, r in zip(figures, reference)) > limit:
                rows.append([case, f"{run['name']} {run['domain']}", cell(reference, None),
                             cell(figures, reference) + (" WORSE" if worst > limit else "")])
    if not compared:
        fail("the two files have no instruction count in common")
    there = {(run["name"], run["domain"], run["lane"], case) for run in result["runs"] for case in cases(run)}
    gone = [f"{case} of {run['name']}" for run in old["runs"] if run["lane"] == "icount"
            for case in cases(run) if (run["name"], run["domain"], run["lane"], case) not in there]
    # Of another set there may be more.
    if gone and result["set"] == old["set"]:
        print(f"not measured any more: {gone[0]}" + (f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""))
        good = False
    if len(rows) > 1:
        print_rows(rows)
    worse = sum(row[3].endswith("WORSE") for row in rows)
    print(f"{compared} medians compared, {worse} above {limit} times the old one")
    if left_out:
        print(f"{left_out} figures of the {LANES['wall']} not compared: they depend on the host")
    return good


def main():
    """Print tables or what changed; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", nargs="+", help="result file of scripts/bench or "
                        "on-this-machine; the boots of several are put side by side")
    parser.add_argument("--compare", metavar="OLD", help="older result file; exit 1 if any "
                        "instruction count is more than --limit times what it was")
    parser.add_argument("--limit", type=float, default=1.02, metavar="RATIO",
                        help="default %(default)s")
    args = parser.parse_args()

    result, *others = [load(path) for path in args.result]
    for path, other in zip(args.result[1:], others):
        if other["arch"] != result["arch"]:
            fail(f"{path} is of {other['arch']}, not {result['arch']}")
        result["runs"] += other["runs"]
    if not args.compare:
        print_tables(result)
        return 0
    return 0 if compare(result, load(args.compare), args.limit) else 1


if __name__ == "__main__":
    sys.exit(main())
