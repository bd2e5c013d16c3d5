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


class Kept(unittest.TestCase):
    """What lib.sh keeps of what was found good."""

    def setUp(self):
        """A cache of the test's own."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache = folder.name

    def bash(self, text, **environment):
        """What a script that has lib.sh prints."""
        lib = os.path.join(shell.SCRIPTS, "lib.sh")
        return subprocess.run(["bash", "-euc", '. "$0"; ' + text, lib], stdout=subprocess.PIPE, text=True, check=True,
                              env=os.environ | {"DMA_GUARDS_CACHE": self.cache} | environment).stdout

    def test_inputs(self):
        """Others have another file, and so has another check."""
        a, b, other, again = self.bash("for i in a b; do kept_file x <<<$i; done; kept_file y <<<a; kept_file x <<<a").split()
        self.assertEqual(a, again)
        self.assertEqual(len({a, b, other}), 3)

    def test_kept(self):
        """Once it is there, but not if all is to be tried."""
        ask = "file=$(kept_file x <<<a); is_kept $file && echo kept || echo new; touch $file"
        self.assertEqual(self.bash(ask + ";" + ask), "new\nkept\n")
        self.assertEqual(self.bash(ask, DMA_GUARDS_FRESH="1"), "new\n")

    def test_lines(self):
        """Those that are not there as a whole; all of them, if all is to be tried."""
        ask = "file=$(kept_file x <<<a); printf '%s\\n' 'a 1' 'b 1' c. | not_kept $file; printf '%s\\n' 'a 1' 'b 12' c >$file"
        self.assertEqual(self.bash(ask), "a 1\nb 1\nc.\n")
        self.assertEqual(self.bash(ask), "b 1\nc.\n")
        self.assertEqual(self.bash(ask, DMA_GUARDS_FRESH="1"), "a 1\nb 1\nc.\n")
        self.assertEqual(self.bash("file=$(kept_file x <<<a); echo 'a 1' | not_kept $file; echo end"), "end\n")


if __name__ == "__main__":
    unittest.main()
