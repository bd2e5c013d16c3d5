#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Make the page of what scripts/bench measured: one HTML file that needs no other."""
import argparse
import html
import os

import costs
import figures
import plots
from figures import LANES, UNITS_OF, cases, fail, ratio, read_json

STYLE = """body { font: 15px/1.5 sans-serif; max-width: 72em; margin: 1em auto; padding: 0 1em; color: #1f2328 }
h1 { font-size: 1.4em; margin: .3em 0 } h2 { font-size: 1.2em } h3 { font-size: 1em }
table { border-collapse: collapse; margin: .6em 0; font-size: 13px }
td, th { border: 1px solid #d0d7de; padding: .15em .5em; text-align: right }
td:first-child, th:first-child { text-align: left } th { background: #f6f8fa }
code { overflow-wrap: break-word } .details td { white-space: nowrap }
.l0 { background: #c6efce } .l1 { background: #fff3b0 } .l2 { background: #ffd3a6 } .l3 { background: #ffb3ad }
.missed, .failed { background: #ffb3ad } .reached { background: #c6efce }
.none { color: #57606a } .cost td:last-child, .cost th:last-child { text-align: left }
.cost td { font-size: 14px } .cost td[class^=l] { white-space: nowrap } .cost tr.head td { background: #f6f8fa; font-weight: bold } .cost small { display: block; color: #57606a }
.wide { overflow-x: auto } svg { width: 100%; max-width: 36em; height: auto; display: block; margin: 1em 0 }
summary { cursor: pointer; font-weight: bold; margin: .6em 0 } .note { font-size: 13px; color: #57606a; margin: .2em 0 }
pre { overflow-x: auto; background: #f6f8fa; padding: .5em }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact }
@media (max-width: 40em) {
 .cost thead { position: absolute; left: -999em }
 .cost, .cost tbody { display: block }
 .cost tr { display: grid; grid-template-columns: repeat(3, 1fr); border: 1px solid #d0d7de; margin: .6em 0 }
 .cost td { border: 0; text-align: center; padding: .2em }
 .cost td:first-child, .cost td:last-child, .cost tr.head td { grid-column: 1 / -1; text-align: left }
 .cost td[title]::before { content: attr(title); display: block; font-size: 11px; color: #57606a }
}
@media print { body { margin: 0; font-size: 11px } .note { font-size: 10px } .cost td, table { font-size: 10px } tr, svg { break-inside: avoid } }"""
NOTE = {
    "icount": "Counts of instructions. Cache misses, contention and the device's side are not "
              "seen; docs/measuring.md says more.",
    "wall": "Nanoseconds by the clock of the host, which did other things, too. Points are medians of the "
            "repeats, bars go from the least to the most of these.",
}


def table(rows):
    """Rows of text as HTML, the first of which is the head."""
    def line(row, tag):
        return "<tr>" + "".join(
            f"<{tag} class='{html.escape(text)}'>{html.escape(text)}</{tag}>"
            if text in ("missed", "reached", "failed") else f"<{tag}>{html.escape(text)}</{tag}>"
            for text in row) + "</tr>"
    return ("<div class='wide'><table>" + line(rows[0], "th") +
            "".join(line(row, "td") for row in rows[1:]) + "</table></div>")


def cost_row(row, columns):
    """One protection or boot line."""
    boot = f"<small><code>{html.escape(row.line)}</code></small>" if row.line else ""
    yield f"<tr><td><b>{html.escape(row.what)}</b>{boot}</td>"
    for title, factors in zip(columns, row.cells):
        level = costs.level(factors)
        yield (f"<td title='{html.escape(title)}' class='{'none' if level is None else f'l{level}'}'>"
               f"{html.escape(costs.text(factors, row.single))}</td>")
    memory = f"<td title='memory'>{html.escape(row.memory)}</td>" if row.memory else "<td></td>"
    yield f"{memory}<td>{html.escape(row.when)}</td></tr>"


def cost_table(of):
    """The answer: what each protection costs."""
    first, *rest = costs.legend(of)
    yield f"<p class='note'>{html.escape(first)}</p>"
    yield "<table class='cost'><thead><tr>"
    yield "".join(f"<th>{html.escape(title)}</th>" for title in
                  ("protection, boot parameter", *of.columns, "memory", "when to use it")) + "</tr></thead><tbody>"
    for title, rows in (("Boot lines that we recommend, measured as they stand", of.lines), ("Each protection", of.rows)):
        if rows:
            yield f"<tr class='head'><td colspan='{len(of.columns) + 3}'>{title}</td></tr>"
            for row in rows:
                yield from cost_row(row, of.columns)
    yield "</tbody></table>"
    yield "".join(f"<p class='note'>{html.escape(line)}</p>" for line in rest)
    limits = [f"{limit:g}" for limit in costs.LEVELS]
    yield "<p class='note'>" + " ".join(
        f"<span class='l{i}'>&nbsp;{text}&nbsp;</span>" for i, text in enumerate(
            [f"up to {limit}" for limit in limits] + [f"above {limits[-1]}, or fails"])) + "</p>"


def answer(result, draw):
    """What stands on the first screen, of each IOMMU."""
    found = False
    for iommu in dict.fromkeys(run.get("iommu", "") for run in result["runs"]):
        of = costs.table(result, iommu)
        if of:
            found = True
            yield f"<h2>{html.escape(of.title)}</h2>" if iommu else ""
            yield from cost_table(of)
            yield draw.costs(of)
    if not found:
        yield "<p>Not to be told from this result: it takes a boot with every protection off, and one with some on.</p>"


def numbers(runs):
    """All figures of runs that are compared with each other, each with its factor to the first."""
    values = [cases(run) for run in runs]
    unit = UNITS_OF[runs[0]["lane"]]
    yield f"<div class='wide'><table class='details'><tr><th>map / unmap in {unit}</th>"
    yield "".join(f"<th>{html.escape(run['name'])}</th>" for run in runs) + "</tr>"
    for case in dict.fromkeys(case for value in values for case in value):
        yield f"<tr><td>{html.escape(case)}</td>"
        reference = None
        for value in values:
            pair = value.get(case)
            if case not in value:
                yield "<td></td>"
            elif pair is None:
                yield "<td class='failed'>failed</td>"
            else:
                shown = " / ".join(f"{v.median}" + (f" ±{v.stddev:.0f} ({v.min} to {v.max})" if v.repeats > 1 else "")
                                   for v in pair)
                total = sum(v.median for v in pair)
                factor = total / reference if reference else None
                reference = reference or total
                yield (f"<td class='l{costs.level({'': factor})}'>{shown}<br>{factor:.3f}</td>" if factor else
                       f"<td>{shown}</td>")
        yield "</tr>"
    yield "</table></div>"


def beside(result, rows, ours):
    """Published @rows with the ratio of what is on to option=n, and @ours to it."""
    out = [rows[0] + ["ratio", "ours, ratio of instructions"]]
    for name, *values in rows[1:]:
        first, last = ([float(n) for n in text.split(" / ")] for text in (values[0], values[-1]))
        case = ours["cases"].get(name)
        off, on = (figures.find(result, ours[boot], case) for boot in ("against", "boot"))
        out.append([name, *values, " / ".join(f"{b / a:.2f}" for a, b in zip(first, last)),
                    " / ".join(f"{ratio(b, a):.2f}" for a, b in zip(off, on)) if on and off else ""])
    return out


def published(result):
    """What others have published of such features, with ours beside it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published.json")
    for post in read_json(path):
        if figures.linux(result) in figures.of_lanes(post):
            yield f"<h3>{html.escape(post['title'])}</h3><p>{html.escape(post['text'])}</p>"
            if post.get("rows"):
                yield table(beside(result, post["rows"], post["ours"]))


def with_mode(title, runs):
    """The title of what is compared, in which the type of the domain has its mode beside it."""
    domain = runs[0]["domain"]
    return title.replace(f"{domain},", f"{costs.MODES.get(domain, domain)} mode ({domain}),", 1)


def details(result, draw):
    """All the rest."""
    if figures.kept_text(result):
        text = figures.kept_text(result)
        yield f"<p>{html.escape(text[0].upper() + text[1:])}.</p>"
    yield "<p>The command line of each name is under 'Boots and command lines'.</p>"
    aims = figures.aims(result)
    elsewhere = any(row[1] for row in aims[1:])
    for title, rows in (
            ("Aims of the project: ratio of instructions to the same kernel with the feature off" +
             ("; 'elsewhere' is the best that others reach" if elsewhere else ""),
             aims if elsewhere else [[row[0], *row[2:]] for row in aims]),
            ("Boot time and memory", figures.machine(result)),
            ("Memory of each live mapping of 4 KiB, in bytes", figures.memory(result)),
            ("Code and data, in bytes", result.get("objects") or [])):
        if len(rows) > 1:
            yield f"<h3>{html.escape(title)}</h3>" + table(rows)
    for title, runs in figures.tables(result).items():
        lane = runs[0]["lane"]
        yield f"<h3>{html.escape(with_mode(title, runs))}</h3><p class='note'>{LANES[lane].capitalize()}: {NOTE[lane]}</p>"
        yield draw.sizes(runs) if lane == "icount" else draw.threads(runs)
        yield "<details><summary>Figures, with the factor of map and unmap together to the first that has the case</summary>"
        yield from numbers(runs)
        yield "</details>"
    posts = list(published(result))
    if posts:
        yield "<details><summary>What others have published</summary>" + "\n".join(posts) + "</details>"
    yield "<h3>To repeat this</h3><pre>" + html.escape(
        f"scripts/bench --lane {figures.linux(result)} --arch {result['arch']} --set {result['set']}" if "vm" in result["runs"][0]
        else "benchmarks/on-this-machine DEVICE") + "</pre>"
    yield "<details><summary>Boots and command lines</summary>"
    yield table([["boot", "kernel", "command line", "machine"]] + [
        [run["name"], run.get("kernel", run["release"]), run["cmdline"], run.get("vm", "")]
        for run in result["runs"]]) + "</details>"
    for name, kernel in result["kernels"].items():
        yield (f"<details><summary>Kernel '{html.escape(name)}': image {kernel['image'][:16]}, configuration "
               f"{kernel['config'][:16]}</summary><pre>{html.escape(kernel['text'])}</pre></details>")


def change(result, old, limit, draw):
    """What is other than in @old: of the same kernel each figure, of another one the factors."""
    what = f"Linux {figures.linux(old)}, {old['date']}, series {old['series']}"
    yield f"<h2>Against {html.escape(what)}</h2>"
    if figures.linux(old) != figures.linux(result):
        pairs = costs.both(result, old)
        new, before = (f"Linux {figures.linux(of)}" for of in (result, old))
        yield draw.two_kernels(pairs, costs.titles())
        yield table([["factor", *costs.titles()]] + [
            [name] + [f"{found[title][0]:.2f} → {found[title][1]:.2f}" if title in found else costs.MISSING
                      for title in costs.titles()] for name, found in pairs])
        yield f"<p class='note'>From {html.escape(before)} to {html.escape(new)}, strict mode.</p>"
        return
    found = {(name, costs.MODES.get(domain, domain)): changed for (name, domain), changed in figures.changes(result, old).items()}
    rows = [(f"{name}, {mode}", [got for _, got in changed]) for (name, mode), changed in found.items()]
    yield draw.change(rows, limit, "New instructions by old ones: one line for each boot, a mark for each case.")
    worst = sorted(((got, name, mode, case) for (name, mode), changed in found.items()
                    for case, got in changed if got > limit or got < 1 / limit), reverse=True)
    yield (table([["new / old", "boot", "mode", "case"]] + [[f"{got:.3f}", *rest] for got, *rest in worst]) if worst else
           f"<p>No case takes {limit:g} times the instructions that it took, or is as much cheaper.</p>")


def page(result, old=None, limit=1.02):
    """The parts of the page, in order."""
    draw = plots.Drawings()
    about = f"Linux {figures.linux(result)}, {result['arch']}"
    yield (f"<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
           f"content='width=device-width, initial-scale=1'><title>What guarded DMA costs: {html.escape(about)}</title>"
           f"<style>{STYLE}</style></head><body>")
    yield f"<h1>What does each protection cost? {html.escape(about)}</h1>"
    yield from answer(result, draw)
    if old:
        yield from change(result, old, limit, draw)
    yield "<p class='note'>" + html.escape(
        f"{result['date']}, set {result['set']}, {result['qemu']} on {result['cpu']}, "
        f"series {result['series']}, commit {result['commit']}.") + "</p>"
    yield "<details><summary>Details</summary>"
    yield from details(result, draw)
    yield "</details></body></html>"


def write(result, path, old=None, limit=1.02):
    """Write the page of a result; whatever is wrong with the file ends the program."""
    text = "\n".join(part for part in page(result, old, limit) if part) + "\n"
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as err:
        fail(f"{path}: {err.strerror}")


def main():
    """Read a result file, write a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", help="result file of scripts/bench or on-this-machine")
    parser.add_argument("page", help="HTML file to write")
    parser.add_argument("--compare", metavar="OLD", help="draw the difference to this older result, or to that of another kernel")
    parser.add_argument("--limit", type=float, default=1.02, metavar="RATIO",
                        help="what is above it is marked (default %(default)s)")
    args = parser.parse_args()
    result, old = figures.load(args.result), args.compare and figures.load(args.compare)
    if old and old["arch"] != result["arch"]:
        fail(f"cannot compare {result['arch']} with {old['arch']}")
    write(result, args.page, old, args.limit)


if __name__ == "__main__":
    main()
