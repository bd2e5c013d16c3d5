# SPDX-License-Identifier: GPL-2.0
"""Drawings of a page, by matplotlib: each a small SVG that stands in the page itself."""
import io
import os
import re

import costs
import figures
from figures import fail

os.environ.setdefault("MPLCONFIGDIR", os.path.join(os.environ.get("TMPDIR", "/tmp"), f"matplotlib-{os.getuid()}"))
# Green to red: one colour for each level of costs.LEVELS and what is above.
COLOURS = ("#1a7f37", "#b08800", "#d4600b", "#c4161c")
GREY = "#57606a"
SHADES = ("#0550ae", "#c4161c", "#1a7f37", "#8250df", "#b35900", "#1b7c83", "#57606a")
MARKERS = "osD^vP*X"
# Width of a drawing in inches: a phone shows it in its own size.
WIDTH = 4.0
ROW = 0.42


def library():
    """matplotlib, for files; a page cannot be drawn without."""
    try:
        import matplotlib  # pylint: disable=import-outside-toplevel
        matplotlib.use("svg")
        from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    except ImportError as err:
        fail(f"{err}: install python3-matplotlib")
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "dma-guards", "font.size": 8,
                            "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY})
    return pyplot


class Drawings:
    """Numbers them, for what is defined in one SVG is seen in the others of the page."""

    def __init__(self):
        self.plot = library()
        self.count = 0

    def finish(self, figure, about):
        """The SVG of a figure; @about is what one who cannot see it is told."""
        out = io.StringIO()
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=0.05,
                       metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        self.plot.close(figure)
        self.count += 1
        return compact(out.getvalue(), self.count, about)

    def costs(self, table):
        """Each row a line, on it a mark for each column: filled in strict mode, open in lazy mode."""
        rows = [row for row in (*table.lines, *table.rows) if row.measured()]
        figure, axes = self.plot.subplots(figsize=(WIDTH, ROW * len(rows) + 1))
        drawn, least, most = {}, 0.95, 1.3
        for y, row in enumerate(reversed(rows)):
            axes.axhline(y, color="#d0d7de", linewidth=0.8, zorder=0)
            axes.annotate(row.what, (0, y), xycoords=("axes fraction", "data"), xytext=(2, 5),
                          textcoords="offset points", fontsize=8)
            for column, title in enumerate(table.columns):
                for mode, factor in row.cells[column].items():
                    if factor is None:
                        continue
                    least, most = min(least, factor), max(most, factor)
                    colour = COLOURS[costs.level({mode: factor})]
                    # Marks of one row that fall together stay apart a little.
                    drawn[title] = axes.scatter(
                        [factor], [y - 0.04 * column], s=22, zorder=3,
                        marker=MARKERS[column], edgecolors=colour, linewidths=1,
                        facecolors=colour if mode == "strict" else "white")
        axes.set_xscale("log")
        axes.set_xlim(least * 0.95, most * 1.2)
        set_factors(axes.xaxis, most * 1.2)
        axes.set_yticks([])
        axes.set_ylim(-0.5, len(rows) - 0.2)
        axes.set_xlabel(f"{table.unit} of map and unmap, against everything off")
        names = [title for title in table.columns if title in drawn]
        handles = [self.plot.Line2D([], [], linestyle="", marker=MARKERS[table.columns.index(name)], color=GREY, label=name)
                   for name in names]
        handles += [self.plot.Line2D([], [], linestyle="", marker="o", color=GREY, label="strict"),
                    self.plot.Line2D([], [], linestyle="", marker="o", color=GREY, markerfacecolor="white", label="lazy")]
        axes.legend(handles=handles, ncol=4, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=7,
                    columnspacing=1, handletextpad=0.2)
        return self.finish(figure, "The table above as a drawing: one line for each protection.")

    def change(self, rows, limit, about):
        """@rows: [(name, [ratio of new to old])], a mark for each ratio but those of maps that fail."""
        rows = [(name, [value for value in ratios if value != float("inf")]) for name, ratios in rows]
        rows = [row for row in rows if row[1]]
        if not rows:
            return ""
        figure, axes = self.plot.subplots(figsize=(WIDTH, ROW * len(rows) + 0.8))
        axes.axvline(1, color=GREY, linewidth=0.8)
        for y, (name, ratios) in enumerate(reversed(rows)):
            axes.annotate(name, (0, y), xycoords=("axes fraction", "data"), xytext=(2, 4),
                          textcoords="offset points", fontsize=8)
            colours = [COLOURS[3] if value > limit else COLOURS[0] if value < 1 / limit else GREY for value in ratios]
            axes.scatter(ratios, [y] * len(ratios), s=16, marker="|", c=colours, linewidths=1.2)
        values = [value for _, ratios in rows for value in ratios]
        room = max(0.03, max(abs(value - 1) for value in values) * 1.1)
        axes.set_xlim(1 - min(room, 1), 1 + room)
        axes.axvspan(1 / limit, limit, color="#f0f0f0", zorder=0)
        axes.set_yticks([])
        axes.set_ylim(-0.5, len(rows) - 0.2)
        axes.set_xlabel("new / old: left of 1 is cheaper, right is dearer")
        return self.finish(figure, about)

    def two_kernels(self, pairs, titles):
        """@pairs: [(name, {title: (old, new)})]: an arrow from the old factor to the new one."""
        lines = [(f"{name}, {title}", *found[title]) for name, found in pairs for title in titles if title in found]
        if not lines:
            return ""
        figure, axes = self.plot.subplots(figsize=(WIDTH, 0.24 * len(lines) + 0.8))
        for y, (name, old, new) in enumerate(reversed(lines)):
            colour = COLOURS[3] if new > old * 1.02 else COLOURS[0] if new < old / 1.02 else GREY
            axes.plot([old, new], [y, y], color=colour, linewidth=1.5)
            axes.scatter([old], [y], s=18, facecolors="white", edgecolors=colour, zorder=3)
            axes.scatter([new], [y], s=18, color=colour, zorder=3)
        axes.set_xscale("log")
        values = [value for _, old, new in lines for value in (old, new)]
        axes.set_xlim(min(0.95, min(values) / 1.05), max(values) * 1.1)
        set_factors(axes.xaxis, max(values) * 1.1)
        axes.set_yticks(range(len(lines)), [name for name, _, _ in reversed(lines)], fontsize=7)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.set_xlabel("factor: open is old, filled is new")
        return self.finish(figure, "Factors of the old and the new kernel, one line for each protection and size.")

    def sizes(self, runs):
        """How a factor goes with the size: a panel for each run, against the first."""
        reference, panels = {}, []
        for run in runs:
            lines = {}
            for sample, pair in values(run):
                if sample["offset"] or sample["order"]:
                    continue
                key = sample["mode"], sample["size"]
                total = sum(value.median for value in pair)
                reference.setdefault(key, total)
                if reference[key]:
                    lines.setdefault(sample["mode"], []).append((sample["size"], total / reference[key]))
            panels.append((run["name"], {mode: sorted(points) for mode, points in lines.items() if len(points) > 1}))
        panels = [panel for panel in panels[1:] if panel[1]]
        if not panels:
            return ""
        columns = 2
        rows = -(-len(panels) // columns)
        figure, axes = self.plot.subplots(rows, columns, figsize=(WIDTH, 1.25 * rows + 0.4), sharex=True, sharey=True,
                                          squeeze=False)
        modes = list(dict.fromkeys(mode for _, lines in panels for mode in lines))
        for (name, lines), axis in zip(panels, axes.flat):
            for mode, points in lines.items():
                axis.plot(*zip(*points), color=SHADES[modes.index(mode) % len(SHADES)], marker="o", markersize=2, linewidth=1)
            axis.set_title(name, fontsize=8, loc="left")
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            set_factors(axis.yaxis, max(value for _, lines in panels for points in lines.values() for _, value in points))
            ticks = [1 << 12, 1 << 20, 1 << 30]
            axis.set_xticks(ticks, [figures.size_text(tick) for tick in ticks])
            axis.axhline(1, color=GREY, linewidth=0.5)
            axis.xaxis.set_ticks([], minor=True)
        for axis in axes.flat[len(panels):]:
            axis.set_visible(False)
        figure.legend(handles=[self.plot.Line2D([], [], color=SHADES[i % len(SHADES)], label=mode)
                               for i, mode in enumerate(modes)], ncol=4, loc="lower left", bbox_to_anchor=(0, 1),
                      frameon=False)
        figure.tight_layout(pad=0.4)
        return self.finish(figure, f"Factor against {runs[0]['name']} by size of the buffer, for each boot.")

    def threads(self, runs):
        """Time by the clock against threads: a panel for each case, bars from the least to the most."""
        panels = {}
        for run in runs:
            for sample, pair in values(run):
                panels.setdefault(f"{sample['mode']} {figures.size_text(sample['size'])}", {}).setdefault(
                    run["name"], {})[sample.get("threads", 1)] = pair
        panels = {name: lines for name, lines in panels.items() if any(len(points) > 1 for points in lines.values())}
        if not panels:
            return ""
        figure, axes = self.plot.subplots(len(panels), 1, figsize=(WIDTH, 1.7 * len(panels) + 0.5), sharex=True,
                                          squeeze=False)
        names = [run["name"] for run in runs]
        for (title, lines), axis in zip(panels.items(), axes.flat):
            for name, points in lines.items():
                xs = sorted(points)
                middle = [sum(value.median for value in points[x]) for x in xs]
                low, high = ([sum(getattr(value, end) for value in points[x]) for x in xs] for end in ("min", "max"))
                axis.errorbar(xs, middle, [[m - a for m, a in zip(middle, low)], [b - m for m, b in zip(middle, high)]],
                              color=SHADES[names.index(name) % len(SHADES)], marker=MARKERS[names.index(name) % len(MARKERS)],
                              markersize=3, linewidth=1, capsize=2)
            axis.set_title(title, fontsize=8, loc="left")
            axis.set_ylabel("ns, wall clock")
            axis.set_ylim(bottom=0)
            axis.set_xticks(sorted({x for points in lines.values() for x in points}))
        axes.flat[-1].set_xlabel("threads")
        figure.legend(handles=[self.plot.Line2D([], [], color=SHADES[i % len(SHADES)], marker=MARKERS[i % len(MARKERS)],
                                                markersize=3, label=name) for i, name in enumerate(names)],
                      ncol=3, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
        figure.tight_layout(pad=0.4)
        return self.finish(figure, "Nanoseconds of map and unmap by the clock of the host, against the number of threads.")


def set_factors(axis, most):
    """The marks of a logarithmic axis of factors from 1 up to @most, few enough to be read."""
    steps = (1, 1.1, 1.2, 1.3, 1.5) if most < 1.6 else (1, 1.25, 1.5, 2, 2.5) if most < 3 else (1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200)
    ticks = [tick for tick in steps if tick <= most]
    axis.set_ticks(ticks, [f"{tick:g}×" for tick in ticks])
    axis.set_ticks([], minor=True)


def values(run):
    """Each sample that stands for its case, with map and unmap."""
    seen = figures.cases(run)
    for sample in run["samples"]:
        pair = seen.pop(figures.case_text(sample), None)
        if pair:
            yield sample, pair


def compact(svg, number, about):
    """What a page needs of matplotlib's SVG: no prologue, no ids but its own, no digit that nobody sees."""
    svg = re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.S)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    # In attributes: text stays as it is.
    svg = re.sub(r'="[^"]*"', lambda found: re.sub(r"(\d\.\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r"font: ([^;\"']*?px) [^;\"]*", r"font: \1 sans-serif", svg)
    ids = dict.fromkeys(re.findall(r' id="([^"]+)"', svg))
    for i, name in enumerate(ids):
        svg = svg.replace(f'"{name}"', f'"d{number}-{i}"').replace(f"#{name}", f"#d{number}-{i}")
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
                 rf'<svg role="img" aria-label="{about}" viewBox="\1" xmlns="http://www.w3.org/2000/svg" '
                 r'xmlns:xlink="http://www.w3.org/1999/xlink">', svg, count=1)
    return re.sub(r"\n\s*", "\n", svg)
