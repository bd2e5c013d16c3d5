#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draw what scripts/bench measured: one HTML file that needs no other."""
import argparse
import html
import os
import re
import subprocess

import figures
from figures import LANES, cases, fail, ratio, read_json, size_text

COLOURS = ("#000000", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b",
           "#e377c2", "#7f7f7f", "#bcbd22", "#1b4f72", "#7b241c", "#145a32", "#6c3483", "#b7950b")
STYLE = """body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
td, th { border: 1px solid #bbb; padding: .15em .5em; text-align: right; white-space: nowrap }
td:first-child, th:first-child { text-align: left } th { background: #eee }
.missed, .failed { background: #fdd } .reached { background: #dfd }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto }"""
NOTE = {
    "icount": "1 ns is one instruction. Cache misses, contention and the device's side are not "
              "seen; docs/measuring.md says more.",
    "wall": "By the clock of the host, which did other things, too. Points are medians of the "
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


def points(run, select, coordinate):
    """[(x, map, unmap)] of the samples of @run that @select takes."""
    values = cases(run)
    found = {}
    for sample in run["samples"]:
        figure = values[figures.case_text(sample)]
        if select(sample) and figure:
            found[coordinate(sample)] = figure
    return [(x, *figure) for x, figure in sorted(found.items())]


class Plotter:
    """Draws by gnuplot, map on the left and unmap on the right."""

    def __init__(self):
        self.count = 0

    def run(self, script):
        """The SVG that gnuplot makes of @script."""
        self.count += 1
        head = (f"set terminal svg size 1100,520 name 'figure{self.count}' noenhanced "
                "font 'sans-serif,11' background '#ffffff'\nset grid\nset key below\n")
        head += "".join(f"set linetype {i + 1} lc rgb '{c}' lw 1.5 pt {i % 13 + 1}\n"
                        for i, c in enumerate(COLOURS))
        try:
            done = subprocess.run(["gnuplot"], input=head + script, text=True,
                                  capture_output=True, check=True)
        except OSError as err:
            fail(f"gnuplot: {err.strerror}: install gnuplot-nox")
        except subprocess.CalledProcessError as err:
            fail(f"gnuplot: {err.stderr.strip()}")
        return re.sub(r"^.*?(?=<svg)", "", done.stdout, count=1, flags=re.S)

    def draw(self, lines, xlabel, ylabel, sizes=False, bars=False, log="xy"):
        """@lines: {name: [(x, map, unmap)]}, values as figures.Value or numbers."""
        lines = {name: rows for name, rows in lines.items() if rows}
        if not lines or max(len(rows) for rows in lines.values()) < 2:
            return ""
        script = ""
        for i, rows in enumerate(lines.values()):
            script += f"$d{i} << EOD\n"
            for row in rows:
                script += " ".join(str(n) for n in [row[0]] + [
                    part for v in row[1:]
                    for part in ((v.ns, v.min, v.max) if isinstance(v, figures.Value) else (v, v, v))])
                script += "\n"
            script += "EOD\n"
        xs = sorted({row[0] for rows in lines.values() for row in rows})
        if sizes:
            tics = xs if len(xs) < 9 else [x for x in xs if not x & (x - 1)]
            script += "set xtics rotate by -40 (" + ", ".join(f"'{size_text(x)}' {x}" for x in tics) + ")\n"
        script += f"set logscale {log}\nset xlabel '{xlabel}'\nset ylabel '{ylabel}'\n"
        script += f"set xrange [{xs[0] / 1.3}:{xs[-1] * 1.3}]\nset multiplot layout 1,2\n"
        for what, column in (("map", 2), ("unmap", 5)):
            script += f"set title '{what}'\nplot " + ", ".join(
                f"$d{i} using 1:{column}" + (f":{column + 1}:{column + 2} with yerrorlines" if bars
                                            else " with linespoints") + f" lt {i + 1} title '{name}'"
                for i, name in enumerate(lines)) + "\n"
        return self.run(script + "unset multiplot\n")


def against(lines):
    """The same lines as ratios to the first one that has the point."""
    reference = {}
    for rows in lines.values():
        for x, *values in rows:
            reference.setdefault(x, values)
    return {name: [(x, *(ratio(v, r) for v, r in zip(values, reference[x]))) for x, *values in rows]
            for name, rows in lines.items()}


def sections(runs, lane, plot):
    """The plots of runs that are compared with each other."""
    samples = [sample for run in runs for sample in run["samples"]]

    def lines(select, coordinate):
        return {run["name"]: points(run, select, coordinate) for run in runs}

    def both(title, got, xlabel, **options):
        drawn = plot.draw(got, xlabel, "ns", **options)
        if drawn:
            yield f"<h4>{html.escape(title)}</h4>{drawn}"
            yield plot.draw(against(got), xlabel, "ratio to the first", log="xy",
                            sizes=options.get("sizes", False))

    for mode in dict.fromkeys(sample["mode"] for sample in samples):
        for threads in sorted({s.get("threads", 1) for s in samples}):
            for offset in sorted({s["offset"] for s in samples if s["mode"] == mode}):
                def plain(s, mode=mode, offset=offset, threads=threads):
                    return (s["mode"] == mode and s["offset"] == offset and not s["order"] and
                            s.get("ranges", 1) == 1 and not s.get("live") and
                            s.get("threads", 1) == threads)
                if lane == "icount":
                    yield from both(f"{mode}, at an offset of {offset} bytes, against size",
                                    lines(plain, lambda s: s["size"]), "size", sizes=True)
        for size in sorted({s["size"] for s in samples if s["mode"] == mode}):
            def same(s, key, size=size, mode=mode):
                return s["mode"] == mode and s["size"] == size and s.get(key)
            what = f"{mode} {size_text(size)}"
            yield from both(f"{what}, against other mappings of the device",
                            lines(lambda s, same=same: same(s, "live"), lambda s: s["live"]), "live mappings")
            yield from both(f"{what}, against the number of ranges",
                            lines(lambda s, same=same: same(s, "ranges"), lambda s: s["ranges"]), "ranges")
            if lane == "wall":
                yield (f"<h4>{what}, against threads</h4>" + plot.draw(
                    lines(lambda s, same=same: same(s, "threads"), lambda s: s["threads"]),
                    "threads", "ns", bars=True, log="x"))


def numbers(runs):
    """All figures, as a table."""
    values = [cases(run) for run in runs]
    rows = [["map / unmap in ns"] + [run["name"] for run in runs]]
    for case in dict.fromkeys(case for value in values for case in value):
        rows.append([case] + [
            "failed" if case in value and not value[case] else " / ".join(
                f"{v.ns}" + (f" ±{v.stddev:.0f} ({v.min} to {v.max})" if v.repeats > 1 else "")
                for v in value.get(case) or ()) for value in values])
    return table(rows)


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
    parts = []
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published.json")
    for post in read_json(path):
        if figures.linux(result) not in figures.of_lanes(post):
            continue
        parts.append(f"<h4>{html.escape(post['title'])}</h4><p>{html.escape(post['text'])}</p>")
        if post.get("rows"):
            parts.append(table(beside(result, post["rows"], post["ours"])))
    return parts


def page(result):
    """The parts of the page, in order."""
    plot = Plotter()
    yield (f"<!doctype html><html lang='en'><meta charset='utf-8'><title>What guarded DMA costs: "
           f"{result['arch']}</title><style>{STYLE}</style>")
    yield f"<h1>What guarded DMA costs: {html.escape(result['arch'])}</h1><p>"
    yield html.escape(f"Linux {figures.linux(result)}, {result['date']}, set {result['set']}, {result['qemu']} on {result['cpu']}, "
                      f"series {result['series']}, commit {result['commit']}.") + "</p>"
    if figures.kept_text(result):
        yield f"<p>{html.escape(figures.kept_text(result))}.</p>"
    rows = figures.aims(result)
    if len(rows) > 1:
        yield ("<h2>Aims of the project</h2><p>Ratio of instructions to those of the same kernel "
               "with the feature off; 'elsewhere' is the best that others reach.</p>" + table(rows))
    machine = figures.machine(result)
    if len(machine) > 1:
        yield "<h2>Boot time and memory</h2>" + table(machine)
    memory = figures.memory(result)
    if len(memory) > 1:
        yield "<h2>Memory of each mapping of 4 KiB, in bytes</h2>" + table(memory)
    if result.get("objects"):
        yield "<h2>Code and data, in bytes</h2>" + table(result["objects"])
    for title, runs in figures.tables(result).items():
        lane = runs[0]["lane"]
        yield f"<h2>{html.escape(title)}</h2><p>{LANES[lane].capitalize()}: {NOTE[lane]}</p>"
        yield from sections(runs, lane, plot)
        yield "<details><summary>all figures</summary>" + numbers(runs) + "</details>"
    posts = published(result)
    if posts:
        yield "<h2>What others have published</h2>"
        yield from posts
    yield "<h2>To repeat this</h2><pre>" + html.escape(
        f"scripts/bench --lane {figures.linux(result)} --arch {result['arch']} --set {result['set']}" if "vm" in result["runs"][0]
        else "benchmarks/on-this-machine DEVICE") + "</pre>"
    yield table([["boot", "kernel", "command line", "machine"]] + [
        [run["name"], run.get("kernel", run["release"]), run["cmdline"], run.get("vm", "")]
        for run in result["runs"]])
    for name, kernel in result["kernels"].items():
        yield (f"<details><summary>kernel '{html.escape(name)}': image {kernel['image']}, configuration "
               f"{kernel['config']}</summary><pre>{html.escape(kernel['text'])}</pre></details>")


def write(result, path):
    """Write the page of a result; whatever is wrong with the file ends the program."""
    text = "\n".join(part for part in page(result) if part)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as err:
        fail(f"{path}: {err.strerror}")


def main():
    """Read a result file, write a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", help="result file of scripts/bench")
    parser.add_argument("page", help="HTML file to write")
    args = parser.parse_args()
    write(figures.load(args.result), args.page)


if __name__ == "__main__":
    main()
