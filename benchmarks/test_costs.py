# SPDX-License-Identifier: GPL-2.0
"""The table of what each protection costs."""
import unittest

import costs
import figures
import report


def sample(total, mode="single", size=4096, mapped=9):
    """One case: so many instructions, a third of them to map."""
    return {"mode": mode, "size": size, "offset": 0, "order": 0, "mapped": mapped,
            "map_ns": {"p50": total // 3}, "unmap_ns": {"p50": total - total // 3}}


def boot(name, cmdline, *samples, domain="DMA", **other):
    """A boot of the kernel with the series."""
    return {"name": name, "lane": "icount", "kernel": "on", "place": "inside", "cases": "cost", "cmdline": cmdline,
            "domain": domain, "mem_free_kb": 4000000, "samples": list(samples), **other}


def result(*runs, linux="6.18"):
    """What is asked of a result."""
    return {"arch": "x86_64", "linux": linux, "date": "2026-11-29T00:00:00Z", "runs": list(runs)}


OFF = boot("off-at-boot", "iommu.strict=1 iommu.dma_fault=off", sample(1000), sample(3000, size=1500))
OFF_LAZY = boot("off-at-boot", "iommu.strict=0 iommu.dma_fault=off", sample(500), domain="DMA-FQ")


def row(of, what):
    """The row of this name."""
    return next(row for row in (*of.rows, *of.lines) if row.what == what)


class Factors(unittest.TestCase):
    """What is divided by what."""

    def test_map_and_unmap_together(self):
        """Not each, and not the greater of both."""
        pages = boot("guards-4K", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100))
        self.assertEqual(row(costs.table(result(OFF, pages)), "guard pages").cells[0], {"strict": 1.1})

    def test_each_mode_by_itself(self):
        """Lazy by lazy; a boot line in strict mode by lazy, too."""
        runs = [OFF, OFF_LAZY, boot("a", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100)),
                boot("b", "iommu.strict=0 iommu.dma_guard_pages=4", sample(600), domain="DMA-FQ")]
        of = costs.table(result(*runs))
        self.assertEqual(row(of, "guard pages").cells[0], {"strict": 1.1, "lazy": 1.2})
        self.assertEqual(row(of, "production").cells[0], {"strict": 1.1, "lazy": 1.2})
        self.assertEqual(row(of, "hardening").cells[0], {"strict": 1.1, "lazy": 2.2})

    def test_by_the_command_line(self):
        """What a boot is called does not matter; a word more or less is another row."""
        off_by_name = boot("off-at-boot", "iommu.strict=1 iommu.dma_guard_pages=4 iommu.debug_pagealloc=1", sample(5000))
        pages = boot("x", "BOOT_IMAGE=/vmlinuz quiet iommu.dma_guard_pages=4 iommu.strict=1", sample(1100))
        of = costs.table(result(off_by_name, OFF, pages))
        self.assertEqual(row(of, "guard pages").cells[0], {"strict": 1.1})
        self.assertNotIn("sanitizer", [r.what for r in of.rows])

    def test_history_with_and_without_stacks(self):
        """The one is no figure of the other, whichever comes first."""
        with_stacks = boot("s", "iommu.strict=1 iommu.dma_fault_history=4096", sample(3000))
        without = boot("n", "iommu.strict=1 iommu.dma_fault_history=1024,nostack", sample(1200))
        for runs in ((with_stacks, without), (without, with_stacks)):
            of = costs.table(result(OFF, *runs))
            self.assertEqual(row(of, "fault history").cells[0], {"strict": 1.2})
            self.assertEqual(row(of, "history with stacks").cells[0], {"strict": 3.0})
            self.assertEqual(row(of, "history with stacks").line, "iommu.dma_fault_history=4096")

    def test_untrusted(self):
        """Against the same buffer of a trusted device, and one figure only."""
        of = costs.table(result(OFF, OFF_LAZY, boot("u", "iommu.strict=1", sample(1000), sample(6000, size=1500), place="outside")))
        cells = row(of, "bounce pages: untrusted").cells
        self.assertEqual((cells[0], cells[3]), ({"strict": 1.0}, {"strict": 2.0}))
        self.assertEqual(costs.text(cells[3], row(of, "bounce pages: untrusted").single), "2.00")

    def test_unpatched(self):
        """Is what 'built in, all off' is compared with, and never a reference of the others."""
        base = boot("unpatched", "iommu.strict=1 initcall_blacklist=x", sample(800), kernel="unpatched")
        mine = boot("m", "iommu.strict=1 iommu.debug_pagealloc=1", sample(1600), kernel="pagealloc")
        pages = boot("p", "iommu.strict=1 iommu.debug_pagealloc=1", sample(1500))
        without = boot("option=n", "iommu.strict=1", sample(900), kernel="off")
        of = costs.table(result(base, mine, without, OFF, pages))
        self.assertEqual(row(of, "built in, all off").cells[0], {"strict": 1.25})
        self.assertEqual(row(of, "mainline's sanitizer").cells[0], {"strict": 2.0})
        self.assertEqual(row(of, "sanitizer").cells[0], {"strict": 1.5})

    def test_iommus_apart(self):
        """A figure of one IOMMU does not come into the table of another."""
        amd = boot("a", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100), iommu="amd-vi")
        self.assertIsNone(costs.table(result(OFF, amd)))
        self.assertIsNone(costs.table(result(OFF, amd), "amd-vi"))


class Missing(unittest.TestCase):
    """Nothing is made up."""

    def test_not_measured(self):
        """A cell says so; a protection without any figure has no row, a boot line has."""
        of = costs.table(result(OFF, boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100))))
        self.assertEqual([costs.text(cell) for cell in row(of, "guard pages").cells],
                         ["1.10 / –"] + [costs.MISSING] * 4)
        self.assertEqual([r.what for r in of.rows], ["guard pages"])
        self.assertEqual(row(of, "debugging").memory, costs.MISSING)

    def test_without_the_reference(self):
        """A mode without everything off has no factor, and a result with none no table."""
        self.assertEqual(row(costs.table(result(OFF, boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100)),
                                                boot("l", "iommu.dma_guard_pages=4", sample(1), domain="DMA-FQ"))),
                             "guard pages").cells[0], {"strict": 1.1})
        self.assertIsNone(costs.table(result(boot("g", "iommu.dma_guard_pages=4", sample(1100)))))

    def test_a_map_that_fails(self):
        """Is red, and no number."""
        of = costs.table(result(OFF, boot("u", "iommu.strict=1", sample(1, size=1500, mapped=0), place="outside")))
        cell = row(of, "bounce pages: untrusted").cells[3]
        self.assertEqual((costs.text(cell, True), costs.level(cell)), ("fails", 3))


class Shown(unittest.TestCase):
    """How it looks."""

    def test_levels(self):
        """Green to red, of the worst mode."""
        for value, level in ((0.9, 0), (1.05, 0), (1.051, 1), (1.25, 1), (1.3, 2), (2.0, 2), (2.1, 3)):
            self.assertEqual(costs.level({"strict": 1.0, "lazy": value}), level)
        self.assertIsNone(costs.level({}))

    def test_memory(self):
        """Of what is free at boot."""
        less = boot("p", "iommu.strict=1 iommu.debug_pagealloc=1", sample(1), mem_free_kb=4000000 - 8200)
        same = boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1), mem_free_kb=4000000 - 300)
        of = costs.table(result(OFF, less, same))
        self.assertEqual((row(of, "sanitizer").memory, row(of, "guard pages").memory), ("8 MiB", "<1 MiB"))

    def test_lanes(self):
        """Each has its boot line for debugging."""
        lines = {lane: [r.line for r in costs.table(result(
            OFF, boot("g", "iommu.dma_guard_pages=4", sample(1)), linux=lane)).lines if r.what == "debugging"]
            for lane in ("6.18", "7.3")}
        self.assertEqual([len(found) for found in lines.values()], [1, 1])

    def test_terminal(self):
        """Fits 79 columns, has each cell, and names instructions by their name."""
        of = costs.table(result(OFF, boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100))))
        lines = list(report.cost_lines(of, lambda text, level: f"{text}" if level is None else text.replace("1.10", f"<{level}>")))
        self.assertLessEqual(max(map(len, lines)), 79)
        self.assertTrue(any(line.startswith("guard pages             <1>/–") for line in lines))
        self.assertIn("nstructions", lines[1])
        self.assertFalse(any(" ns" in line for line in lines))

    def test_names(self):
        """Of rows fit their column on a terminal."""
        spec = figures.read_json(costs.PATH)
        self.assertLessEqual(max(len(r["what"]) for r in spec["rows"] + spec["lines"]), 23)

    def test_markdown(self):
        """A row of as many cells as the head has."""
        text = list(costs.markdown([result(OFF, boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100)))]))
        table = [line for line in text if line.startswith("|")]
        self.assertEqual({line.count("|") for line in table}, {9})
        self.assertIn("| guard pages<br>`iommu.dma_guard_pages=4` | 🟡 1.10 / – | not measured ", "\n".join(table))

    def test_markdown_of_two_files(self):
        """What the first has not measured comes from the second, and says so; what it has does not."""
        first = result(OFF, boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100)))
        second = dict(result(OFF, boot("g", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1500)),
                             boot("p", "iommu.strict=1 iommu.debug_pagealloc=1", sample(1300))), date="2026-11-01T")
        text = "\n".join(costs.markdown([first, second]))
        self.assertIn("🟡 1.10 / –", text)
        self.assertIn("🟠 1.30 / –", text)
        self.assertNotIn("1.50", text)
        self.assertIn("measured 2026-11-29, 'sanitizer' 2026-11-01.", text)

    def test_two_kernels(self):
        """The rows that both have, by their names."""
        pages = "iommu.strict=1 iommu.dma_guard_pages=4"
        old, new = (result(OFF, boot("g", pages, sample(total)), linux=lane) for total, lane in ((2000, "6.18"), (1500, "7.3")))
        self.assertEqual(dict(costs.both(new, old))["guard pages"], {"4 KiB": (2.0, 1.5)})


if __name__ == "__main__":
    unittest.main()
