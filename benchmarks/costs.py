# SPDX-License-Identifier: GPL-2.0
"""What each protection costs: the table that a report begins with.

Its rows and columns are in costs.json.  A row is found in a result by the words that the
kernel's command line has of ours, so that a figure stands beside what was really booted.
A cell is a factor: instructions of map and unmap together, by those of the same kernel in
the same mode with every protection off.
"""
import dataclasses
import fnmatch
import os

from figures import cases, fail, linux, read_json

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "costs.json")
MODES = {"DMA": "strict", "DMA-FQ": "lazy"}
# Words of the command line that are no protection
NEUTRAL = ("iommu.strict=", "iommu.passthrough=", "iommu.dma_fault=off")
# Kernels of matrix.yaml without the series
UNPATCHED = ("unpatched", "pagealloc")
# What a factor may be at most to be of a level: green, yellow, orange; all above is red.
LEVELS = (1.05, 1.25, 2.0)
MARKS = ("🟢", "🟡", "🟠", "🔴")
MISSING = "not measured"


@dataclasses.dataclass(frozen=True)
class Cost:
    """One row: a protection, or a boot line."""
    what: str
    line: str       # what to boot with
    cells: tuple    # of each column {mode: factor, or None where a map failed}
    memory: str
    when: str
    single: bool    # of an untrusted device, which is strict always

    def measured(self):
        """Whether there is any figure."""
        return any(self.cells)


@dataclasses.dataclass(frozen=True)
class Table:
    """Costs of one kernel and IOMMU."""
    title: str
    columns: tuple
    notes: tuple
    rows: tuple     # of each protection
    lines: tuple    # of each boot line that we recommend
    unit: str


def words(run):
    """What of a command line is a protection."""
    return [word for word in run["cmdline"].split()
            if word.startswith("iommu.") and not word.startswith(NEUTRAL)]


def is_line(patterns, run):
    """Whether a run was booted with these words and no others."""
    got = words(run)
    return len(got) == len(patterns) and all(
        sum(fnmatch.fnmatchcase(word, pattern) for word in got) == 1 for pattern in patterns)


def is_history_alone(patterns, run):
    """A pattern without ',nostack' does not mean one with it."""
    return not any(word.endswith(",nostack") for word in words(run)) or any("nostack" in p for p in patterns)


class Finder:
    """The runs of a result that a table is made of."""

    def __init__(self, result, iommu, clock):
        self.runs = [run for run in result["runs"] + result.get("kept", {}).get("runs", [])
                     if run["lane"] == clock and run.get("iommu", "") == iommu and run["domain"] in MODES]

    def all(self, patterns, domain, kernel="", place="inside"):
        """Those with these words, in the order of the file."""
        unpatched = kernel == "unpatched"
        return [run for run in self.runs if run["domain"] == domain and run.get("place", "inside") == place and
                (run.get("kernel") in UNPATCHED) == unpatched and run.get("kernel") != "off" and
                is_line(patterns, run) and is_history_alone(patterns, run)]

    def total(self, runs, names):
        """Map and unmap together of the first that has one of the cases; None for a map that
        failed, and for no such run a KeyError."""
        for run in runs:
            values = cases(run)
            for name in names:
                if name in values:
                    return sum(value.median for value in values[name]) if values[name] else None
        raise KeyError(names)


def cell(finder, row, column):
    """{mode: factor} of one cell."""
    found = {}
    for domain, mode in MODES.items():
        # A line in strict mode is compared with a lazy kernel, too: with what it takes the place of.
        booted = "DMA" if row.get("strict") else domain
        if "place" in row and domain != "DMA":
            continue
        reference_kernel = "unpatched" if "unpatched" in (row.get("against"), row.get("kernel")) else ""
        try:
            reference = finder.total(finder.all([], domain, reference_kernel), column["cases"])
            value = finder.total(finder.all(row["words"], booted, row.get("kernel", ""), row.get("place", "inside")),
                                 column["cases"])
        except KeyError:
            continue
        if reference:
            found[mode] = value and value / reference
    return found


def memory(finder, row):
    """What less of memory is free at boot than with everything off."""
    if row.get("place") or row.get("against") or row.get("kernel"):
        return ""
    for domain in MODES:
        for run in finder.all(row["words"], domain):
            for off in finder.all([], domain):
                if off.get("kernel") == run.get("kernel") and off.get("mem_free_kb") and run.get("mem_free_kb"):
                    used = off["mem_free_kb"] - run["mem_free_kb"]
                    # Two boots of one kernel differ by some 0.3 MiB.
                    return f"{used / 1024:.0f} MiB" if used >= 1024 else "<1 MiB"
    return MISSING


def line_of(finder, row):
    """What to boot with: as it was booted, where that was measured."""
    runs = [run for domain in MODES for run in finder.all(row["words"], domain, row.get("kernel", ""))]
    there = words(runs[0]) if runs and "place" not in row else [word.replace("*", "N") for word in row["words"]]
    return " ".join(["iommu.strict=1"] * bool(row.get("strict")) + there)


def cost(finder, row, columns):
    """One row of the table."""
    return Cost(row["what"], line_of(finder, row), tuple(cell(finder, row, column) for column in columns),
                memory(finder, row), row["when"], "place" in row)


def table(result, iommu=""):
    """The table of a result, None if it has no figure for one."""
    spec = read_json(PATH)
    clocks = [run["lane"] for run in result["runs"] if run.get("iommu", "") == iommu and run["domain"] in MODES]
    clock = "icount" if "icount" in clocks else "wall"
    finder = Finder(result, iommu, clock)
    columns = spec["columns"]
    try:
        rows = [cost(finder, row, columns) for row in spec["rows"]]
        lines = [cost(finder, row, columns) for row in spec["lines"]
                 if linux(result) in row.get("lane", [linux(result)])]
    except KeyError as err:
        fail(f"{PATH}: a row without {err}")
    rows = tuple(row for row in rows if row.measured())
    # That a line is not measured is worth a row where it would be measured.
    lines = [row for row in lines if row.measured() or not iommu]
    if not any(row.measured() for row in (*rows, *lines)):
        return None
    where = f"Linux {linux(result)}, {result['arch']}" + (f", {iommu}" if iommu else "")
    return Table(where, tuple(column["title"] for column in columns),
                 tuple(f"{column['title']}: {column['about']}" for column in columns if column.get("about")),
                 rows, tuple(lines), "instructions" if clock == "icount" else "time by the clock of the host")


def level(factors):
    """Which of LEVELS the worst of a cell is of, None for no figure."""
    values = list(factors.values())
    if not values:
        return None
    return len(LEVELS) if None in values else sum(max(values) > limit for limit in LEVELS)


def text(factors, single=False):
    """A cell in words: strict / lazy, or strict alone."""
    if not factors:
        return MISSING
    shown = ["–" if mode not in factors else "fails" if factors[mode] is None else
             f"{factors[mode]:.2f}" if factors[mode] < 9.995 else f"{factors[mode]:.0f}" for mode in MODES.values()]
    return shown[0] if single or shown[0] == shown[1] == "fails" else " / ".join(shown)


def legend(of, names=()):
    """What the figures mean: lines of text.  @names are rows besides those of the table."""
    names = {*names, *(row.what for row in of.rows)}
    unpatched = [row["what"] for row in read_json(PATH)["rows"]
                 if "unpatched" in (row.get("against"), row.get("kernel")) and row["what"] in names]
    outside = [row["what"] for row in read_json(PATH)["rows"] if "place" in row and row["what"] in names]
    yield (f"Factor of {of.unit}, map and unmap together, against the same kernel in the same mode with every "
           "protection off: strict / lazy, – where not measured. Strict: an unmap flushes the IOTLB at once "
           "(groups of type DMA); lazy: later, in batches (DMA-FQ).")
    if of.lines:
        yield ("For boot lines with iommu.strict=1 the second figure is relative to a lazy kernel: the cost of "
               "switching from lazy mode.")
    if unpatched:
        yield "Exceptions: 'built in' and the rows for comparison are divided by the unpatched kernel."
    if outside:
        yield ("Untrusted devices are compared with a trusted one on the same kernel, and have one figure, as they are "
               "always strict.")
    yield from (f"{note[0].upper()}{note[1:]}." for note in of.notes)
    yield "Memory: reduction of free memory after boot, in a VM with 4 GiB and one CPU."


def markdown(results):
    """The table as README.md has it: of each IOMMU of the first result, with what only the others have measured."""
    result, *others = results
    for iommu in dict.fromkeys(run.get("iommu", "") for run in result["runs"]):
        of = table(result, iommu)
        if not of:
            continue
        lines, rows, older = {row.what: row for row in of.lines}, {row.what: row for row in of.rows}, []
        for other in others:
            more = table(other, iommu)
            for row in more.rows if more else ():
                if row.what not in rows:
                    rows[row.what] = row
                    if other["date"][:10] != result["date"][:10]:
                        older.append(f"'{row.what}' {other['date'][:10]}")
        order = [row["what"] for row in read_json(PATH)["rows"]]
        head = ["protection, boot parameter", *of.columns, "memory", "when to use it"]
        yield "| " + " | ".join(head) + " |"
        yield "|---" * len(head) + "|"
        for row in ("boot lines that we recommend, measured as they stand", *lines.values(),
                    "each protection", *sorted(rows.values(), key=lambda row: order.index(row.what))):
            if isinstance(row, str):
                yield f"| **{row}** " + "| " * (len(head) - 1) + "|"
                continue
            cells = [text(factors, row.single) if level(factors) is None else
                     f"{MARKS[level(factors)]} {text(factors, row.single)}" for factors in row.cells]
            name = row.what + (f"<br>`{row.line}`" if row.line else "")
            yield "| " + " | ".join([name, *cells, row.memory, row.when]) + " |"
        yield ""
        marks = ", ".join(f"{mark} up to {limit:g}" for mark, limit in zip(MARKS, LEVELS))
        yield f"{of.title}, measured {result['date'][:10]}{''.join(f', {text}' for text in older)}. " + " ".join(
            legend(of, rows)) + f" {marks}, {MARKS[-1]} above."


def titles():
    """Of the columns, in order."""
    return [column["title"] for column in read_json(PATH)["columns"]]


def both(new, old, mode="strict"):
    """[(name, {title: (old factor, new factor)})] of what two results have, which may be of two kernels."""
    tables = [table(result) for result in (old, new)]
    if None in tables:
        return []
    before, after = ({row.what: row for row in (*of.rows, *of.lines)} for of in tables)
    found = []
    for name, row in after.items():
        if name not in before:
            continue
        pairs = {title: (one[mode], two[mode]) for title, one, two in zip(titles(), before[name].cells, row.cells)
                 if one.get(mode) and two.get(mode)}
        if pairs:
            found.append((name, pairs))
    return found
