#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Say what each protection costs, by what scripts/bench measured, and compare two runs."""
import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import textwrap

import costs
from figures import (LANES, UNITS_OF, aims, case_text, cases, difference, fail, find, kept_text, linux, load, machine,
                     memory, of_lanes, ratio, read_json, tables)

ACCEPTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "accepted.json")


def number(value):
    """A figure, with its spread where it was measured more than once."""
    return f"{value.median} ±{value.stddev:.0f}" if value.repeats > 1 else f"{value.median}"


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


def cost_lines(of, paint):
    """What each protection costs, in 79 columns: two lines for each."""
    yield f"What does each protection cost?  {of.title}"
    yield f"{of.unit[0].upper()}{of.unit[1:]} of map + unmap, divided by those with all off: strict/lazy"
    yield " " * 24 + "".join(f"{title:11}" for title in of.columns).rstrip()
    for row in (*of.rows, None, *of.lines):
        if not row:
            yield "Boot lines that we recommend, measured as they stand:"
            continue
        cells = "".join(paint(f"{'-' if not cell else costs.text(cell, row.single).replace(' ', ''):11}", costs.level(cell))
                        for cell in row.cells)
        yield f"{row.what:24}{cells}".rstrip()
        memory = f" ({row.memory})" if row.memory not in ("", costs.MISSING) else ""
        about = f"{row.line}{memory}: {row.when}" if row.line else row.when
        yield from textwrap.wrap(about, 79, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)
    yield "-: not measured.  In brackets: memory, of 4 GiB, after boot."


def colour(text, level):
    """Green to red, on a terminal."""
    return text if level is None else f"\033[{('32', '33', '38;5;208', '31')[level]}m{text}\033[0m"


def print_costs(result):
    """The answer, of each IOMMU; whether there is any."""
    paint = colour if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else lambda text, level: text
    found = False
    for iommu in dict.fromkeys(run.get("iommu", "") for run in result["runs"]):
        of = costs.table(result, iommu)
        if of:
            print("\n" * found + "\n".join(cost_lines(of, paint)))
            found = True
    return found


def print_tables(result):
    """One table for each lane, domain type and set of cases: a row per case, a
    column per boot."""
    print(f"{result['arch']}, Linux {linux(result)}, {result['date']}, {result['qemu']}, series {result['series']}")
    units = " and ".join(f"{UNITS_OF[lane]} ({LANES[lane]})" for lane in dict.fromkeys(run["lane"] for run in result["runs"]))
    print(f"median map / unmap in {units}, in brackets the ratio to the first column that has the case")
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


@dataclasses.dataclass(frozen=True)
class Accepted:
    """A change that was meant: a row of the file that --accepted names."""
    lane: tuple
    arch: str
    boots: tuple
    cases: re.Pattern
    limit: tuple    # of map and of unmap, times the old figure
    why: str

    def covers(self, result, run, case):
        """Whether it is about this case of this boot."""
        return self.is_of(result) and run["name"] in self.boots and bool(self.cases.search(case))

    def is_of(self, result):
        """Whether it is about this kernel."""
        return linux(result) in self.lane and self.arch == result["arch"]


def load_accepted(path):
    """The changes in a file; whatever is wrong with it ends the program."""
    try:
        found = [Accepted(of_lanes(row), row["arch"], tuple(row["boots"]), re.compile(row["cases"]),
                          tuple(map(float, row["limit"])), row["why"]) for row in read_json(path)]
        if not all(entry.why and len(entry.limit) == 2 for entry in found):
            raise ValueError("each has two limits, and says why")
    except (re.error, KeyError, TypeError, ValueError) as err:
        fail(f"{path}: not a list of changes: {err!r}")
    return found


def places(result):
    """Each case of each boot whose instructions were counted."""
    return {(run["name"], run["domain"], run.get("iommu", ""), case)
            for run in result["runs"] if run["lane"] == "icount" for case in cases(run)}


def only_in(text, one, other):
    """Say what @one has measured and @other has not; whether there is such a case."""
    gone = sorted(places(one) - places(other))
    if gone:
        name, domain, _, case = gone[0]
        print(f"{text}: {case} of {name} {domain}" + (f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""))
    return bool(gone)


def compare_kernels(result, old):
    """Print the factors of two kernels side by side, which is no verdict: True."""
    pairs = costs.both(result, old)
    if not pairs:
        fail("the two files have no factor in common")
    print(f"From Linux {linux(old)} to {linux(result)}: factors of map and unmap together, strict mode")
    print_rows([["", *costs.titles()]] + [
        [name] + [f"{found[title][0]:.2f} -> {found[title][1]:.2f}" if title in found else "-" for title in costs.titles()]
        for name, found in pairs])
    return True


def compare(result, old, limit, accepted=None):
    """Print what changed against @old; return whether all is within @limit, nothing is
    missing, and no aim is missed that is not known to be.  Two kernels are compared by
    their factors, without a verdict.  With a list of @accepted
    changes @old is the reference that stays: it must have all, and each change be needed."""
    if difference(old, result):
        if accepted is not None or old["arch"] != result["arch"]:
            fail(f"cannot compare: the old figures are of {difference(old, result)}")
        return compare_kernels(result, old)

    rows = [["case", "boot", "old", "new (ratio)"]]
    compared, left_out, needed = 0, 0, set()
    for run in result["runs"]:
        for case, figures in cases(run).items():
            reference = find(old, run["name"], case, run["domain"], run["lane"], run.get("iommu", ""))
            if reference is None:
                continue
            if run["lane"] == "wall":
                left_out += 1
                continue
            compared += 1
            got = [ratio(v, r) for v, r in zip(figures, reference)] if figures else [float("inf")] * 2
            limits, covering = [limit, limit], [entry for entry in accepted or () if entry.covers(result, run, case)]
            verdict = ""
            if any(g > most for g, most in zip(got, limits)):
                needed.update(covering)
                limits = [max(limit, *most) for most in zip(limits, *(entry.limit for entry in covering))]
                verdict = " WORSE" if any(g > most for g, most in zip(got, limits)) else " accepted"
            # What got better by as much is worth to know, too.
            if verdict or max((1 / g for g in got if g), default=1) > limit:
                rows.append([case, f"{run['name']} {run['domain']}", cell(reference, None),
                             cell(figures, reference) + verdict])
    if not compared:
        fail("the two files have no instruction count in common")
    if len(rows) > 1:
        print_rows(rows)
    worse = sum(row[3].endswith("WORSE") for row in rows)
    print(f"{compared} medians compared, {worse} above {limit} times the old one")
    if left_out:
        print(f"{left_out} figures of the {LANES['wall']} not compared: they depend on the host")
    good = not worse
    # Of another set there may be more.
    if result["set"] == old["set"]:
        good = not only_in("not measured any more", old, result) and good
        good = (not only_in("not among the old figures", result, old) or accepted is None) and good
    for entry in accepted or ():
        if entry.is_of(result) and entry not in needed:
            print(f"accepted for nothing: {', '.join(entry.boots)}, {entry.cases.pattern}: {entry.why}")
            good = False
    return aims_hold(result) and good


def extend(path, result):
    """Put into the reference at @path what it does not have, and change nothing in it."""
    reference = load(path)
    if difference(reference, result):
        fail(f"{path} is of {difference(reference, result)}")
    there = places(reference)
    for run in result["runs"]:
        key = run["name"], run["domain"], run.get("iommu", "")
        samples = [sample for sample in run["samples"] if (*key, case_text(sample)) not in there]
        if run["lane"] != "icount" or not samples:
            continue
        print(f"{run['name']} {run['domain']}: {len(samples)} cases are new")
        found = next((old for old in reference["runs"] if old["lane"] == "icount" and
                      (old["name"], old["domain"], old.get("iommu", "")) == key), None)
        if found:
            found["samples"] += samples
        else:
            reference["runs"].append(dict(run, samples=samples))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(reference, file, separators=(",", ":"))
        file.write("\n")


def aims_hold(result):
    """Say which aims are missed and not known to be; whether there are none."""
    missed = [row for row in aims(result) if row[-1] == "missed"]
    for what, _, aim, got, _ in missed:
        print(f"aim missed, and benchmarks/aims.json does not know: {what}: {got}, not {aim}")
    return not missed


def main():
    """Print tables or what changed; the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", nargs="+", help="result file of scripts/bench or "
                        "on-this-machine; the boots of several are put side by side")
    parser.add_argument("--compare", metavar="OLD", help="older result file; exit 1 if any "
                        "instruction count is more than --limit times what it was; of another kernel: "
                        "what each protection costs on both")
    parser.add_argument("--limit", type=float, default=1.02, metavar="RATIO",
                        help="default %(default)s")
    parser.add_argument("--reference", metavar="FIRST", help="the same with the figures that stay when "
                        "those of --compare are made anew: they must have all cases")
    parser.add_argument("--accepted", metavar="FILE", default=ACCEPTED,
                        help="with --reference: changes that were meant, and what they may be")
    parser.add_argument("--extend", metavar="FIRST", help="put into that reference the cases that it does not have")
    parser.add_argument("--markdown", action="store_true", help="only what each protection costs, as README.md has it; of "
                        "several files those rows that are not in the first")
    parser.add_argument("--aims", action="store_true", help="exit 1 if an aim is missed that is not known to be")
    args = parser.parse_args()

    result, *others = [load(path) for path in args.result]
    if args.markdown:
        print("\n".join(costs.markdown([result, *others])))
        return 0
    for path, other in zip(args.result[1:], others):
        if difference(other, result):
            fail(f"{path} is of {difference(other, result)}")
        result["runs"] += other["runs"]
    if args.extend:
        extend(args.extend, result)
        return 0
    if args.reference:
        return 0 if compare(result, load(args.reference), args.limit, load_accepted(args.accepted)) else 1
    if args.compare:
        return 0 if compare(result, load(args.compare), args.limit) else 1
    if print_costs(result):
        print("\nDetails\n")
    print_tables(result)
    return 0 if not args.aims or aims_hold(result) else 1


if __name__ == "__main__":
    sys.exit(main())
