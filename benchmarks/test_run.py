# SPDX-License-Identifier: GPL-2.0
"""The runner: what it refuses before it builds."""
import argparse
import os
import tempfile
import unittest
from unittest import mock

os.environ.setdefault("DMA_GUARDS_CACHE", os.path.join(tempfile.gettempdir(), "no-cache"))
# pylint: disable=wrong-import-position
import run
from matrix import Matrix


class Memory(unittest.TestCase):
    """A machine that has too little of it for a VM."""

    def bench(self, built, memory=100, **other):
        """A set on a machine with @memory MB; @built is whether all kernels are, or says of which."""
        options = argparse.Namespace(**{"arch": "x86_64", "iommu": "", "lane": "7.3", "set": "quick", "list": False,
                                        "fresh": False, "json": None, **other})
        with mock.patch.object(run, "available_memory", lambda: memory), \
                mock.patch.object(run.Bench, "is_built", lambda _, kernel: built(kernel) if callable(built) else built):
            return run.Bench(options, Matrix(), run.Steps(0))

    def test_early(self):
        """It is refused before a kernel is built, unless that is only to be listed."""
        with self.assertRaisesRegex(SystemExit, "takes [0-9]+ MB of memory, only 100 MB"):
            self.bench(False)
        self.bench(False, list=True)

    def test_kept(self):
        """Boots of kernels that are there may be kept, unless all are to be measured again."""
        matrix = Matrix()
        name, most = "unpatched", max(place["memory"] for place in matrix.places.values())
        rows = matrix.select("full", "7.3", "x86_64", ["vt-d"], "vt-d")
        needed = max(matrix.places[row.place]["memory"] for row in rows if row.kernel == name)
        self.assertLess(needed, most)
        self.assertIn(most, {matrix.places[row.place]["memory"] for row in rows})
        others = lambda kernel: kernel != matrix.kernels[name]  # pylint: disable=unnecessary-lambda-assignment
        self.bench(others, needed, set="full")
        with self.assertRaisesRegex(SystemExit, f"takes {most} MB of memory, only {needed} MB"):
            self.bench(others, needed, set="full", fresh=True)
        with self.assertRaisesRegex(SystemExit, f"takes {needed} MB of memory, only {needed - 1} MB"):
            self.bench(others, needed - 1, set="full")

    def test_what_is_to_boot(self):
        """Where the kernels are there it is what is to be booted that counts."""
        bench = self.bench(True)
        with mock.patch("jobs.available_memory", lambda: 100):
            run.Boots(bench, [], []).run()
            boot = mock.Mock(number=1, memory=101, seconds=1, alone=False, repeat=1, vm=[])
            with self.assertRaisesRegex(SystemExit, "takes 101 MB of memory, only 100 MB"):
                run.Boots(bench, [boot], [boot]).run()


if __name__ == "__main__":
    unittest.main()
