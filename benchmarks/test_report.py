# SPDX-License-Identifier: GPL-2.0
"""report.py and page.py as they are called: tables, verdicts, and what they refuse."""
import contextlib
import copy
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import page
import report

HERE = os.path.dirname(os.path.abspath(__file__))


def sample(total, **other):
    """One case, which takes so many instructions to map."""
    return {"mode": "single", "size": 131072, "offset": 512, "order": 0, "mapped": 9, "failed": 0,
            "map_ns": {"p50": total}, "unmap_ns": {"p50": 500}, **other}


def boot(name, clock, *samples):
    """One boot of the kernel with the series."""
    return {"name": name, "lane": clock, "kernel": "on", "place": "inside", "cases": "quick", "cmdline": "",
            "vm": "--smp 1", "domain": "DMA", "release": "6.18", "samples": list(samples)}


def result(total=1000, **other):
    """A result with one case in two boots, the second with @total, and one of the wall
    clock in a third, measured twice."""
    return {"format": 2, "date": "today", "arch": "x86_64", "set": "quick", "qemu": "none", "cpu": "one",
            "series": "0", "commit": "0", "kernels": {"on": {"image": "0", "config": "0", "text": "CONFIG_A=y"}},
            "runs": [boot("off-at-boot", "icount", sample(1000)),
                     boot("guards-4K", "icount", sample(total), sample(2000, offset=0), sample(3000, offset=0, size=4096)),
                     boot("threads", "wall", sample(2000, threads=2), sample(2100, threads=2))], **other}


def lazy(unmap=500):
    """The same with the second boot in lazy mode, too, and what unmapping takes there."""
    of = result()
    of["runs"].append(dict(copy.deepcopy(of["runs"][1]), domain="DMA-FQ"))
    of["runs"][3]["samples"][0]["unmap_ns"]["p50"] = unmap
    return of


def gone():
    """Without one of the cases."""
    of = result()
    del of["runs"][1]["samples"][2]
    return of


def of_sanitizer(total, size=4096, **other):
    """The sanitizer's 4 KiB, which take 1000 / 500 without, and so many with it to map."""
    of = result(**other)
    of["runs"][0]["samples"] = [sample(1000, size=size, offset=0)]
    of["runs"][1] = dict(of["runs"][0], name="pagealloc", samples=[sample(total, size=size, offset=0)])
    return of


def accepted(arch="x86_64", cases="^single 128 KiB", limit=(1.04, 1.0), **lane):
    """What --accepted names."""
    return [{"arch": arch, "boots": ["guards-4K"], "cases": cases, "limit": list(limit), "why": "meant", **lane}]


# As all results that say no kernel
OF_6_18 = {"lane": ["6.18"]}


class Called(unittest.TestCase):
    """What runs a program on result files, in this process: starting Python takes as long
    as a hundred cases."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(folder.cleanup)
        self.folder, self.files, self.said = folder.name, 0, ""

    def path(self, name):
        """Of a file of the test's own."""
        return os.path.join(self.folder, name)

    def file(self, content):
        """A file with that in it: text, or what JSON can have."""
        self.files += 1
        name = self.path(f"{self.files}.json")
        with open(name, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return name

    def run_program(self, program, *arguments):
        """The exit status of a program; 'said' is what it says."""
        arguments = [argument if isinstance(argument, str) else self.file(argument) for argument in arguments]
        text = io.StringIO()
        with mock.patch.object(sys, "argv", [program.__name__ + ".py", *arguments]), \
                mock.patch.dict(os.environ, {"COLUMNS": "200"}), \
                contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            try:
                status = program.main() or 0
            except SystemExit as end:
                status = end.code
        if isinstance(status, str):	# as Python itself does at the end
            text.write(status + "\n")
            status = 1
        self.said = text.getvalue()
        return status

    def expect(self, status, line, *arguments, program=report):
        """The exit status, and a line of what is said."""
        self.assertEqual(self.run_program(program, *arguments), status, self.said)
        self.assertRegex(self.said, re.compile(line, re.M))


class Tables(Called):
    """What is printed of one result, or of several."""

    def test_figures(self):
        """The ratio to the first boot; a spread where it was measured twice; what failed."""
        self.expect(0, r"^single 128 KiB \+ 512 +1000 / 500 +1100 / 500 \(1\.100 / 1\.000\)$", result(1100))
        self.expect(0, r"^single 128 KiB \+ 512 by 2 threads +2000 ±50 / 500 ±0$", result())
        failed = result()
        failed["runs"][1]["samples"][0]["mapped"] = 0
        self.expect(0, "failed$", failed)
        self.expect(1, "1 above", failed, "--compare", result())

    def test_several(self):
        """Side by side, if they are of one architecture and one kernel."""
        second = result()
        for run in second["runs"]:
            run["name"] += "-2"
        self.expect(0, r"threads +threads-2$", result(), second)
        self.expect(1, "is of arm64, not x86_64", result(), result(arch="arm64"))
        self.expect(1, r"is of Linux 7\.3, not 6\.18", result(), result(linux="7.3"))

    def test_first_the_costs(self):
        """What each protection costs stands before all the rest, in instructions."""
        cost = self.costs()
        self.expect(0, r"^guard pages +1\.14/–", cost)
        first, details, _ = self.said.partition("\nDetails\n")
        self.assertTrue(details)
        self.assertNotRegex(first, r"\bns\b")
        self.expect(0, r"^\| guard pages<br>.iommu\.dma_guard_pages=4. \| 🟡 1\.14 / – \| not measured ", "--markdown", cost)
        self.expect(0, r"^guard pages +1\.14 -> 1\.00", self.costs(3000, linux="7.3"), "--compare", cost)

    @staticmethod
    def costs(total=3500, **other):
        """Guard pages' 4 KiB, which take 3000 / 500 without."""
        of = result(**other)
        of["runs"][1]["cmdline"] = "iommu.strict=1 iommu.dma_guard_pages=4"
        of["runs"][0]["samples"].append(copy.deepcopy(of["runs"][1]["samples"][2]))
        of["runs"][1]["samples"][2]["map_ns"]["p50"] = total
        return of

    def test_page(self):
        """It has all figures, needs no other file, and says what is dearer."""
        html = self.path("page.html")
        self.assertEqual(self.run_program(page, self.costs(), html), 0, self.said)
        text = self.read(html)
        for part in ("<svg", "single 128 KiB + 512 by 2 threads", "2000 ±50 (2000 to 2100)", "CONFIG_A=y",
                     "<td title='4 KiB' class='l1'>1.14 / –</td>"):
            self.assertIn(part, text)
        self.assertNotRegex(text, r"(src|href)=\"?https?:")
        self.assertEqual(self.run_program(page, self.costs(4000), html, "--compare", self.costs()), 0, self.said)
        self.assertIn("<td>guards-4K</td><td>strict</td><td>single 4 KiB</td>", self.read(html))
        self.assertEqual(self.run_program(page, self.costs(3000, linux="7.3"), html, "--compare", self.costs()), 0, self.said)
        self.assertIn("1.14 → 1.00", self.read(html))

    @staticmethod
    def read(path):
        """A file."""
        with open(path, encoding="utf-8") as file:
            return file.read()


class Compared(Called):
    """Against older figures."""

    def test_limit(self):
        """Two in a hundred, unless another is asked for; what is better is no failure."""
        self.expect(0, r"^4 medians compared, 0 above 1.02", result(1010), "--compare", result())
        self.expect(0, r"^1 figures of the wall clock not compared", result(1010), "--compare", result())
        self.expect(1, r"1\.100 / 1\.000\) WORSE$", result(1100), "--compare", result())
        self.expect(0, "0 above 1.02", result(), "--compare", result(1100))
        self.expect(0, r"0\.909 / 1\.000\)$", result(), "--compare", result(1100))
        self.expect(0, "0 above 1.2", result(1100), "--compare", result(), "--limit", "1.2")

    def test_nothing_in_common(self):
        """The wall clock alone is not compared, nor is another architecture."""
        self.expect(1, "no instruction count in common", result(runs=result()["runs"][2:]), "--compare", result())
        self.expect(1, "cannot compare: the old figures are of x86_64, not arm64", result(arch="arm64"),
                    "--compare", result())

    def test_each_case_of_each_mode(self):
        """Modes are compared apart; of the same set a case that is gone fails."""
        self.expect(1, r"guards-4K DMA-FQ .*1\.200\) WORSE$", lazy(600), "--compare", lazy())
        self.expect(0, "^7 medians compared, 0 above", lazy(), "--compare", lazy())
        self.expect(1, r"^not measured any more: .* of guards-4K DMA-FQ \(and 2 more\)$", result(), "--compare", lazy())
        self.expect(1, "^not measured any more: single 4 KiB of guards-4K DMA$", gone(), "--compare", result())
        self.expect(0, "^not among the old figures: single 4 KiB of guards-4K DMA$", result(), "--compare", gone())
        self.expect(0, "0 above", gone(), "--compare", result(set="full"))

    def test_lanes(self):
        """One is compared with itself alone; what says none is of 6.18."""
        self.expect(0, "^4 medians compared, 0 above", result(linux="7.3"), "--compare", result(linux="7.3"))
        self.expect(1, r"cannot compare: the old figures are of Linux 6\.18, not 7\.3", result(linux="7.3"),
                    "--reference", result(), "--accepted", self.file("[]"))
        self.expect(1, "no factor in common", result(linux="7.3"), "--compare", result())


class Reference(Called):
    """Figures that stay: what grows a little each time is seen, unless it is accepted."""

    def against(self, status, line, new, old, entries):
        """Compare with these changes accepted."""
        self.expect(status, line, new, "--reference", old, "--accepted", self.file(json.dumps(entries)))

    def test_accepted(self):
        """Up to its limit, in its lane, of its architecture, and only if it is needed."""
        self.expect(0, "0 above", result(1038), "--compare", result(1019))
        self.against(1, r"1\.038 / 1\.000\) WORSE$", result(1038), result(), [])
        self.against(0, r"1\.038 / 1\.000\) accepted$", result(1038), result(), accepted(**OF_6_18))
        self.against(1, "WORSE$", result(1100), result(), accepted(**OF_6_18))
        self.against(1, r"^accepted for nothing: guards-4K, \^single 128 KiB: meant$", result(), result(), accepted(**OF_6_18))
        self.against(1, "WORSE$", result(1038), result(), accepted("arm64", **OF_6_18))
        # What says no lane is of the default one.
        self.against(1, "WORSE$", result(1038), result(), accepted())
        self.against(1, "WORSE$", result(1038, linux="7.3"), result(linux="7.3"), accepted(**OF_6_18))

    def test_bad_list(self):
        """Each has two limits, and a regular expression."""
        self.against(1, "each has two limits", result(), result(), accepted(limit=[1.04], **OF_6_18))
        self.against(1, "not a list of changes", result(), result(), accepted(cases="(", **OF_6_18))

    def test_extend(self):
        """It gets the cases that it does not have, and keeps what it has."""
        self.against(1, "^not among the old figures: ", lazy(), result(), [])
        first = self.file(gone())
        self.expect(0, "^guards-4K DMA-FQ: 3 cases are new$", lazy(600), "--extend", first)
        self.expect(1, "WORSE$", lazy(), "--compare", first, "--limit", "0.99")
        self.against(0, "0 above", lazy(600), first, [])
        self.against(1, r"1\.100 / 1\.000\) WORSE$", result(1100), first, [])


class Aims(Called):
    """One that is missed fails unless it is known; one that is known has a limit, too."""

    def test_aims(self):
        """Reached, known to be missed, missed."""
        missed = of_sanitizer(1300)
        self.expect(0, "^sanitizer: single 4 KiB .* reached$", of_sanitizer(1080), "--aims")
        self.expect(0, "^sanitizer: single 4 KiB .* known miss$", of_sanitizer(1085), "--aims")
        self.expect(1, r"^aim missed, .*: sanitizer: single 4 KiB: 1\.300 / 1\.000, not 1\.08 / 1\.08$", missed, "--aims")
        self.expect(1, "^aim missed", missed, "--compare", missed)
        unknown = of_sanitizer(1300, 65536)
        self.expect(1, "^aim missed, .*: sanitizer: single 64 KiB", unknown, "--compare", unknown)
        self.expect(1, r"^aim missed, .*: sanitizer: single 4 KiB: 1\.300 / 1\.000, not 1\.03 / 1\.03$",
                    of_sanitizer(1300, linux="7.3"), "--aims")


class Refused(Called):
    """What is no result is refused in one line."""

    def test_files(self):
        """Of figures, of another format, without a spread, of JSON."""
        empty, once = result(), result()
        del empty["runs"][0]["samples"]
        del once["runs"][2]["samples"][1]
        self.expect(1, "not a result file", empty)
        self.expect(1, "has format 1, not 2", dict(result(), format=1))
        self.expect(1, "no figure without its spread", once)
        self.expect(1, "not JSON", self.file("{\n"))
        self.expect(1, "No such file", self.path("missing.json"))
        self.expect(2, "usage:", "--bad-option")
        html = self.path("page.html")
        self.expect(1, "cannot compare x86_64 with arm64", result(), html, "--compare", result(arch="arm64"), program=page)
        self.expect(1, "no figure without its spread", once, html, program=page)
        self.expect(1, "No such file", result(), self.path("none/page.html"), program=page)

    def test_as_programs(self):
        """The exit status is what main() says."""
        new, old = self.file(result(1100)), self.file(result())
        for status, *command in ((1, "report.py", new, "--compare", old), (0, "report.py", old, "--compare", old),
                                 (1, "page.py", self.path("missing.json"), self.path("page.html"))):
            done = subprocess.run([os.path.join(HERE, command[0]), *command[1:]], capture_output=True, check=False)
            self.assertEqual(done.returncode, status, done)
