# SPDX-License-Identifier: GPL-2.0
"""When figures of an earlier result may stand beside new ones."""
import json
import pathlib
import tempfile
import unittest

import figures
import kept

PATCH = """--- a/drivers/iommu/Kconfig
+++ b/drivers/iommu/Kconfig
@@ -1,1 +1,9 @@ config IOMMU_API
 config IOMMU_DMA
+config IOMMU_STACK
+\tbool
+\tselect STACKDEPOT
+menuconfig IOMMU_X
"""


def result(*lines, compiler="gcc 12", qemu="QEMU 7.2", release="6.18.15"):
    """What is asked of a result."""
    text = "".join(f"{line}\n" for line in (f'CONFIG_CC_VERSION_TEXT="{compiler}"', *lines))
    return {"kernels": {"on": {"text": text}}, "qemu": qemu, "runs": [{"kernel": "on", "release": release}]}


class Options(unittest.TestCase):
    """Which symbols take no part."""

    def test_those_that_are_asked_for(self):
        """Also what the fragment has off, and the kernel's own that it needs."""
        self.assertEqual(kept.options("# of the series\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=0\n", []),
                         {"CONFIG_A", "CONFIG_B", "CONFIG_C"})

    def test_those_that_the_patches_bring(self):
        """What they select is the kernel's own, and so is what stands around."""
        self.assertEqual(kept.options("", [PATCH, ""]), {"CONFIG_IOMMU_STACK", "CONFIG_IOMMU_X"})


class Difference(unittest.TestCase):
    """Why not."""

    def test_none(self):
        """The options of the series alone."""
        self.assertEqual(kept.difference(result("CONFIG_D=y", "CONFIG_A=y"), result("CONFIG_D=y"), {"CONFIG_A"}), "")

    def test_each(self):
        """One at a time."""
        base = result("CONFIG_D=y")
        for other, why in ((result(), "another configuration of the kernel"),
                           (result("CONFIG_D=y", "CONFIG_A=y"), "another configuration of the kernel"),
                           (result("CONFIG_D=y", compiler="gcc 13"), "another compiler"),
                           (result("CONFIG_D=y", qemu="QEMU 8"), "another QEMU"),
                           (result("CONFIG_D=y", release="6.18.16"), "another release of the kernel"),
                           ({"kernels": {}}, "there is no kernel with the options on to compare with")):
            self.assertEqual(kept.difference(base, other, {"CONFIG_B"}), why)


def run(*sizes, cases="cost"):
    """A boot with a case for each size."""
    return {"name": "unpatched", "lane": "icount", "domain": "DMA", "cases": cases, "samples": [
        {"mode": "single", "size": size, "offset": 0, "order": 0} for size in sizes]}


class Column(unittest.TestCase):
    """What of an earlier boot stands in a table."""

    def test_the_cases_that_both_have(self):
        """No more than the table has; what the earlier boot has not stays empty."""
        got = kept.column({"runs": [run(4096, 8192)]}, run(8192, 16384, cases="quick"))
        self.assertEqual(([sample["size"] for sample in got["samples"]], got["name"], got["cases"]),
                         ([8192], "unpatched (kept)", "cost"))

    def test_none(self):
        """Without a case in common, or a boot beside it, there is no column."""
        self.assertIsNone(kept.column({"runs": [run(4096)]}, run(8192)))
        self.assertIsNone(kept.column({"runs": [dict(run(4096), domain="DMA-FQ")]}, run(4096)))

    def test_beside(self):
        """Both modes of a name, as far as there are boots of it; one without a case is a reason why not."""
        old = dict(result(), format=figures.FORMAT, date="2026-11-29", runs=[
            dict(run(4096), domain=domain, map_ns={}) for domain in ("DMA", "DMA-FQ")])
        for each in old["runs"]:
            each.update(kernel="on", release="6.18.15", samples=[
                dict(sample, mapped=1, map_ns={"p50": 1}, unmap_ns={"p50": 1}) for sample in each["samples"]])
        new = dict(old, runs=[dict(each, name="off-at-boot") for each in old["runs"]])
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=kept.ROOT / "benchmarks") as file:
            json.dump(old, file)
            file.flush()
            got = [kept.beside(new, [name], pathlib.Path(file.name), set()) for name in ("unpatched", "other")]
        self.assertEqual([(each["name"], each["domain"]) for each in got[0]["runs"]],
                         [("unpatched (kept)", "DMA"), ("unpatched (kept)", "DMA-FQ")])
        self.assertEqual((got[1]["runs"], got[1]["why"]), ([], "none of the cases is in 'other'"))


if __name__ == "__main__":
    unittest.main()
