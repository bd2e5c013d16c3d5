# SPDX-License-Identifier: GPL-2.0
"""What all that reads results shares: result files, and the figures in them.

A result file is one JSON object: what is needed to repeat the run, and a list
'runs', one for each boot, with the samples of dma_map_benchmark or dma_buf_time.
"""
import collections
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts/runner"))
# pylint: disable=wrong-import-position
import shell

FORMAT = 2
# Fewer mappings than these take less memory than can be told apart
LEAST_LIVE = 100000
# The kernel version of results that do not say theirs
FIRST_LINUX = "6.18"
LANES = {"icount": "instruction count", "wall": "wall clock"}
# What a sample of each is a number of
UNITS_OF = {"icount": "instructions", "wall": "ns"}
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))

# Median over the repeats of a case of its median, and their spread: see UNITS_OF
Value = collections.namedtuple("Value", "median stddev min max repeats")


def fail(message):
    """End the program with a line that says why."""
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def read_json(path):
    """What is in a file; whatever is wrong with it ends the program."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as err:
        fail(f"{path}: {err.strerror}")
    except ValueError as err:
        fail(f"{path}: not JSON ({err})")
    return content


def load(path):
    """Read a result file; whatever is wrong with it ends the program."""
    result = read_json(path)
    try:
        if result["format"] != FORMAT:
            fail(f"{path}: has format {result['format']}, not {FORMAT}: measure again")
        for run in result["runs"]:
            _ = LANES[run["lane"]], run["name"], run["domain"], run["cases"]
            for figures in cases(run).values():
                for value in figures or ():
                    if run["lane"] == "wall" and value.repeats < 2:
                        fail(f"{path}: '{run['name']}' was measured once by the wall clock: "
                             "no figure without its spread")
        if not any(run["samples"] for run in result["runs"]):
            fail(f"{path}: no samples in it")
    except (KeyError, IndexError, TypeError, AttributeError) as err:
        fail(f"{path}: not a result file of scripts/bench ({err!r})")
    return result


def linux(result):
    """The kernel version that a result is of, its lane."""
    return result.get("linux", FIRST_LINUX)


def of_lanes(entry):
    """The lanes that an aim, an accepted change or what is published is about."""
    return tuple(entry.get("lane", [shell.variable("lib.sh", "DEFAULT_LANE")]))


def difference(one, other):
    """Which architecture or version of the kernel result @one is of, and @other is not."""
    if one["arch"] != other["arch"]:
        return f"{one['arch']}, not {other['arch']}"
    return f"Linux {linux(one)}, not {linux(other)}" if linux(one) != linux(other) else ""


def size_text(size):
    """A size in the largest unit that divides it."""
    for unit, name in UNITS:
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return "0 B"


def case_text(sample):
    """What was mapped, as the first column of a table."""
    text = f"{sample['mode']} {size_text(sample['size'])}"
    if sample["offset"]:
        text += f" + {sample['offset']}"
    if sample.get("dir", "BIDIRECTIONAL") != "BIDIRECTIONAL":
        text += f" {sample['dir'].lower().replace('_', ' ')}"
    if sample["order"]:
        text += f" order {sample['order']}"
    if sample.get("ranges", 1) > 1:
        text += f" in {sample['ranges']} ranges"
    if sample.get("live"):
        text += f" beside {sample['live']}"
    if sample.get("threads", 1) > 1:
        text += f" by {sample['threads']} threads"
    return text


def value_of(samples, key):
    """The figure of one case, of as many samples as it was repeated."""
    medians = [sample[key]["p50"] for sample in samples]
    return Value(statistics.median_low(medians), statistics.pstdev(medians),
                 min(medians), max(medians), len(medians))


def cases(run):
    """{case: (map, unmap)}, None in the place of both where a map failed."""
    samples = collections.defaultdict(list)
    for sample in run["samples"]:
        samples[case_text(sample)].append(sample)
    return {
        case: (value_of(group, "map_ns"), value_of(group, "unmap_ns"))
        if all(sample["mapped"] for sample in group) else None
        for case, group in samples.items()
    }


def ratio(value, reference):
    """How many times as much as @reference."""
    return value.median / reference.median if reference.median else float("inf")


def tables(result):
    """The runs that are compared with each other: {title: runs}, the first of
    which is the reference, and those that were kept of an earlier result the last."""
    groups = collections.defaultdict(list)
    for run in result["runs"] + result.get("kept", {}).get("runs", []):
        lane = LANES[run["lane"]]
        if run["lane"] == "wall":
            lane += f", {run['accel']}" if run.get("accel") else ""
        iommu = f"{run['iommu']}, " if run.get("iommu") else ""
        groups[f"{iommu}{run['domain']}, {run['cases']}: {lane}"].append(run)
    return dict(groups)


def kept_text(result):
    """What a result says of columns that are of an earlier one: a line, '' for none."""
    kept = result.get("kept")
    if not kept:
        return ""
    if kept["why"]:
        return f"the unpatched kernel is not shown, as {kept['file']} cannot be compared: {kept['why']}"
    return f"'(kept)' marks what {kept['file']} has, measured on {kept['date']}"


def find(result, name, case, domain="DMA", lane="icount", iommu=""):
    """The figures of one case of one boot, None if there are none.  The IOMMU is named
    where it is another than the architecture has by default."""
    for run in result["runs"]:
        if (run["name"], run["domain"], run["lane"], run.get("iommu", "")) == (name, domain, lane, iommu):
            figures = cases(run)
            if case in figures:
                return figures[case]
    return None


def changes(result, old):
    """{(boot, mode): [(case, ratio of map and unmap together to @old)]} of the instruction
    counts that both have; a map that fails now is infinitely many times as much."""
    found = {}
    for run in result["runs"]:
        if run["lane"] != "icount":
            continue
        for case, pair in cases(run).items():
            before = find(old, run["name"], case, run["domain"], iommu=run.get("iommu", ""))
            if before:
                iommu = f", {run['iommu']}" if run.get("iommu") else ""
                got = sum(v.median for v in pair) / sum(v.median for v in before) if pair else float("inf")
                found.setdefault((run["name"] + iommu, run["domain"]), []).append((case, got))
    return found


def aims(result):
    """The project's aims and what was reached: rows of text, the last of which is 'missed'
    where not even the ratio of a miss that is known was.  A known one has the ratio of each
    architecture in benchmarks/aims.json.  An aim is one of map and one of unmap, or of both
    together."""
    rows = [["aim", "elsewhere", "aim", "map / unmap", ""]]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "aims.json")
    for aim in read_json(path):
        if linux(result) not in of_lanes(aim):
            continue
        value, reference = (find(result, aim[boot], aim["case"], aim.get("domain", "DMA"), iommu=aim.get("iommu", ""))
                            for boot in ("boot", "against"))
        if not value or not reference:
            continue
        got = [ratio(v, r) for v, r in zip(value, reference)]
        if len(aim["aim"]) == 1:
            got = [sum(v.median for v in value) / sum(r.median for r in reference)]
        known = aim.get("known", {}).get(result["arch"], aim["aim"])
        # Below a clock tick of the reference nothing can be told.
        verdict = next((text for text, limits in (("reached", aim["aim"]), ("known miss", known))
                        if all(round(g, 3) <= limit for g, limit in zip(got, limits))), "missed")
        iommu = f", {aim['iommu']}" if aim.get("iommu") else ""
        rows.append([f"{aim['what']}: {aim['case']}{iommu}",
                     aim.get("elsewhere", {}).get(result["arch"], ""),
                     " / ".join(f"{wanted:g}" for wanted in aim["aim"]),
                     " / ".join(f"{g:.3f}" for g in got), verdict])
    return rows


def machine(result):
    """Boot time and memory of each kernel and command line: rows of text."""
    rows = [["boot", "mode", "guest's clock at init in us", "free memory then in KiB", "used more than off-at-boot"]]
    seen = {}
    for run in result["runs"]:
        if run["lane"] == "icount" and run.get("place") == "inside" and run.get("init_us") and not run.get("iommu"):
            seen.setdefault((run["name"], run["domain"]), run)
    off = seen.get(("off-at-boot", "DMA"))
    for (name, domain), run in seen.items():
        more = off["mem_free_kb"] - run["mem_free_kb"] if off and run["kernel"] == off["kernel"] else ""
        rows.append([name, domain, str(run["init_us"]), str(run["mem_free_kb"]), str(more)])
    return rows


def memory(result):
    """Bytes that each live mapping takes, of boots with cases that keep some."""
    counts, table = [], {}
    for run in result["runs"]:
        used = {s["live"]: s["memory_kb"] for s in run["samples"]
                if "memory_kb" in s and s["size"] == 4096 and s.get("threads", 1) == 1}
        if not used or run["lane"] != "icount" or run.get("iommu"):
            continue
        least = min(used)
        for live in used:
            if live >= LEAST_LIVE and live not in counts:
                counts.append(live)
        # Less the 8 bytes in which the benchmark itself notes an address
        table[run["name"]] = {live: (kb - used[least]) * 1024 / live - 8
                              for live, kb in used.items() if live >= LEAST_LIVE}
    rows = [["live mappings"] + list(table)]
    for live in counts:
        rows.append([str(live)] + [f"{of[live]:.0f}" if live in of else "" for of in table.values()])
    return rows if counts else rows[:1]
