# SPDX-License-Identifier: GPL-2.0
"""Files that scripts source, as Python reads them."""
import os
import subprocess
import tempfile
import unittest
from unittest import mock

import shell


class Files(unittest.TestCase):
    """Words and arrays of a file."""

    def setUp(self):
        """A folder in the place of scripts/."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with open(os.path.join(folder.name, "x.sh"), "w", encoding="utf-8") as file:
            file.write("# A=no\nONE='a b'\t# why\nNONE=\nMANY=(a 'b c' \"$ONE\")\n")
        patch = mock.patch.object(shell, "SCRIPTS", folder.name)
        patch.start()
        self.addCleanup(patch.stop)
        shell.words.cache_clear()
        self.addCleanup(shell.words.cache_clear)

    def test_read(self):
        """As bash has them."""
        self.assertEqual(shell.variable("x.sh", "ONE"), "a b")
        self.assertEqual(shell.variable("x.sh", "NONE"), "")
        self.assertEqual(shell.words("x.sh", "MANY"), ("a", "b c", "a b"))

    def test_missing(self):
        """What is not there is an error, not nothing."""
        for path, name in (("x.sh", "A"), ("y.sh", "ONE")):
            with self.subTest(path=path), self.assertRaises(subprocess.CalledProcessError):
                shell.words(path, name)


if __name__ == "__main__":
    unittest.main()
