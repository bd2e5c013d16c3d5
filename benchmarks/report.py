#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make tables of what scripts/bench measured, and compare two runs.

A result file is one JSON object: what is needed to repeat the run, and a list
'runs', one for each boot of the VM, with the samples of dma_map_benchmark or of
dma_buf_time.
"""
import argparse
import json
import sys

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def fail(message):
    sys.exit(f"report.py: {message}")


def load(path):
    """Read a result file; whatever is wrong with it ends the program."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        result["runs"][0]["samples"][0]["map_ns"]["p50"]
    except OSError as err:
        fail(f"{path}: {err.strerror}")
    except (ValueError, KeyError, IndexError, TypeError) as err:
        fail(f"{path}: not a result file of scripts/bench ({err!r})")
    return result


def size_text(size):
    for unit, name in UNITS:
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return "0 B"


def case(sample):
    """What was mapped, as the first column of the table."""
    text = f"{sample['mode']} {size_text(sample['size'])}"
    if sample["offset"]:
        text += f" + {sample['offset']}"
    if sample["order"]:
        text += f" order {sample['order']}"
    if sample.get("ranges", 1) > 1:
        text += f" in {sample['ranges']} ranges"
    return text


def p50s(run):
    """Median map and unmap latency by case; None where every map failed."""
    return {
        case(s): (s["map_ns"]["p50"], s["unmap_ns"]["p50"]) if s["mapped"] else None
        for s in run["samples"]
    }


def cell(value, reference):
    if value is None:
        return "failed"
    if reference is None:
        return f"{value[0]} / {value[1]}"
    ratios = [f"{v / r:.3f}" for v, r in zip(value, reference)]
    return f"{value[0]} / {value[1]} ({ratios[0]} / {ratios[1]})"


def print_rows(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def table(result):
    """One table per domain type: a row per case, a column per boot."""
    print(f"{result['arch']}, {result['lane']}, median map / unmap in ns")
    print("(of the first column with the option off; in brackets: ratio to it)")
    for domain in sorted({run["domain"] for run in result["runs"]}):
        runs = [run for run in result["runs"] if run["domain"] == domain]
        values = [p50s(run) for run in runs]
        rows = [[domain] + [run["name"] for run in runs]]
        for name in values[0]:
            reference = values[0][name]
            rows.append([name, cell(reference, None)] +
                        [cell(v.get(name), reference) for v in values[1:]])
        print()
        print_rows(rows)


def compare(result, old, limit):
    """Print what changed against @old; return whether all is within @limit."""
    for key in ("arch", "lane"):
        if result[key] != old[key]:
            fail(f"cannot compare {key} {old[key]} with {result[key]}")

    before = {(run["name"], run["domain"]): p50s(run) for run in old["runs"]}
    rows = [["case", "boot", "old", "new (ratio)"]]
    good = True
    compared = 0
    for run in result["runs"]:
        then = before.get((run["name"], run["domain"]), {})
        for name, value in p50s(run).items():
            reference = then.get(name)
            if reference is None:
                continue
            compared += 1
            worst = float("inf") if value is None else max(
                v / r for v, r in zip(value, reference))
            if worst > limit:
                good = False
                rows.append([name, f"{run['name']} {run['domain']}",
                             cell(reference, None), cell(value, reference)])
    if not compared:
        fail("the two files have no case in common")
    if len(rows) > 1:
        print_rows(rows)
    print(f"{compared} medians compared, {len(rows) - 1} above {limit} times the old one")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", help="result file of scripts/bench")
    parser.add_argument("--compare", metavar="OLD", help="older result file; exit 1 "
                        "if anything takes longer than --limit times what it took")
    parser.add_argument("--limit", type=float, default=1.02, metavar="RATIO",
                        help="default %(default)s")
    args = parser.parse_args()

    result = load(args.result)
    if not args.compare:
        table(result)
        return 0
    return 0 if compare(result, load(args.compare), args.limit) else 1


if __name__ == "__main__":
    sys.exit(main())
