# SPDX-License-Identifier: GPL-2.0
"""Sets of boots."""
import pathlib
import tempfile
import unittest

import costs
import figures
import matrix


def changed(old, new):
    """The matrix with one text in the place of another."""
    text = (matrix.BENCH / "matrix.yaml").read_text(encoding="utf-8")
    assert old in text
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "matrix.yaml")
        path.write_text(text.replace(old, new), encoding="utf-8")
        return matrix.Matrix(path)


class Lines(unittest.TestCase):
    """What we recommend to boot with."""

    def test_measured(self):
        """By --quick, as it stands, in each lane."""
        for lane in matrix.table.lanes():
            booted = [(sorted(costs.words({"cmdline": row.append})), "iommu.strict=1" in row.append.split())
                      for row in matrix.Matrix().select("quick", lane, "x86_64", ["vt-d"], "vt-d")]
            lines = [line for line in figures.read_json(costs.PATH)["lines"] if lane in line.get("lane", [lane])]
            self.assertGreaterEqual(len(lines), 3)
            for line in lines:
                self.assertIn((sorted(line["words"]), True), booted)
                self.assertTrue(line.get("strict") or (sorted(line["words"]), False) in booted, line["what"])

    def test_each_protection(self):
        """Has a boot of --quick on mainline, in strict mode, and in lazy mode but for those with stack traces."""
        booted = [row.append for row in matrix.Matrix().select("quick", "7.3", "x86_64", ["vt-d"], "vt-d")]
        for row in figures.read_json(costs.PATH)["rows"]:
            if row.get("kernel"):
                continue
            found = [line for line in booted if costs.is_line(row["words"], {"cmdline": line}) and
                     costs.is_history_alone(row["words"], {"cmdline": line})]
            self.assertTrue([line for line in found if "iommu.strict=1" in line], row["what"])
            if row["what"] not in ("sanitizer with stacks", "history with stacks", "fault reports"):
                self.assertTrue([line for line in found if "iommu.strict=0" in line], row["what"])


class Copies(unittest.TestCase):
    """A set that is another one on another kernel."""

    def test_cost(self):
        """Is all that --quick has, on the kernel of the tests, in each lane."""
        whole = matrix.Matrix()
        for lane in matrix.table.lanes():
            quick, cost = (whole.select(name, lane, "x86_64", ["vt-d"], "vt-d") for name in ("quick", "cost"))
            self.assertEqual([(row.name, row.append) for row in quick], [(row.name, row.append) for row in cost])
            self.assertEqual({row.kernel for row in cost}, {"tests"})

    def test_refused(self):
        """A kernel that there is not, and a word too many."""
        for new in ("{set: quick, kernel: test}", "{set: quick, kernel: tests, more: 1}"):
            with self.assertRaisesRegex(SystemExit, "'copies' is no mapping"):
                changed("{set: quick, kernel: tests}", new)


if __name__ == "__main__":
    unittest.main()
