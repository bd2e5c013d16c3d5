# SPDX-License-Identifier: GPL-2.0
"""Mutants: what a file may say, which are chosen, what counts as caught."""
import contextlib
import io
import os
import unittest
from unittest import mock

import mutants
from mutants import Mutant, MutantError
from table import Row

DIFF = "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n"
TEXT = f"Row: a-row\nFails: ^not ok 3\nIt forgets the lock.\n---\n{DIFF}"


def row(name, **fields):
    """A row with what each must have."""
    return Row(**{"name": name, "about": "", "tier": "gate", "seconds": 10, "run": "./run"} | fields)


def mutant(name, row_name):
    """A mutant for @row_name."""
    return Mutant(name, row_name, "x", "y", DIFF)


class Files(unittest.TestCase):
    """What a file says, and faults of one."""

    def test_good(self):
        """Header, sentence and diff."""
        found = mutants.parse("topic/name", TEXT, {"a-row": 1})
        self.assertEqual((found.row, found.fails, found.about), ("a-row", "^not ok 3", "It forgets the lock."))
        self.assertIn("\n---\n--- a/x.c\n", found.mail())

    def test_bad(self):
        """Each fault is named."""
        for old, new, why in (("Row: a-row\n", "", "begins with"), ("Fails: ", "Falls: ", "begins with"),
                              ("Row: a-row", "Row: b", "no row 'b'"), ("It forgets the lock.", "", "does not say"),
                              ("+++ b/x.c", "", "no diff"), ("^not ok 3", "(", "not a regular"),
                              ("^not ok 3", ".*", "matches any line")):
            with self.assertRaisesRegex(MutantError, why):
                mutants.parse("topic/name", TEXT.replace(old, new), {"a-row": 1})


class Chosen(unittest.TestCase):
    """By name, and a few by a seed."""

    def test_names(self):
        """A topic is all of it; an unknown name is refused."""
        some = [mutant("a/1", "r"), mutant("a/2", "r"), mutant("ab/3", "r")]
        self.assertEqual(mutants.choose(some, ["a"]), some[:2])
        self.assertEqual(mutants.choose(some, ["ab/3", "ab"]), some[2:])
        self.assertEqual(mutants.choose(some, []), some)
        with self.assertRaisesRegex(MutantError, "no mutant 'b'"):
            mutants.choose(some, ["b"])

    def test_few(self):
        """Of the gate's boots of x86_64, of different rows first, the same for one seed."""
        rows = {name: row(name, **fields) for name, fields in
                (("r", {}), ("s", {}), ("t", {"tier": "all"}), ("u", {"arch": "arm64"}))}
        some = [mutant(f"{name}/{number}", name) for name in rows for number in range(9)]
        for seed in "abc":
            chosen = mutants.few(some, rows, 2, seed)
            self.assertEqual({found.row for found in chosen}, {"r", "s"})
            self.assertEqual(chosen, mutants.few(some, rows, 2, seed))
        self.assertGreater(len({mutants.few(some, rows, 2, str(seed))[0].name for seed in range(20)}), 3)
        self.assertEqual(len(mutants.few(some, rows, 99, "a")), 18)


class Key(unittest.TestCase):
    """What the verdict on a mutant depends on."""

    def key(self, one=mutant("a/1", "r"), of=row("r"), inputs="1", source="base", programs="8"):
        """Where each part of it is given."""
        with mock.patch.object(mutants, "base", lambda lane: source + lane), \
                mock.patch.object(mutants, "tools", lambda arch: programs + arch):
            return mutants.key(inputs, one, of)

    def test_parts(self):
        """Another mutant, row, judge, source, compiler or QEMU is another key."""
        keys = [self.key(), self.key(mutant("a/2", "r")), self.key(of=row("r", append="x")), self.key(inputs="2"),
                self.key(source="other"), self.key(programs="9"), self.key(of=row("r", arch="arm64")),
                self.key(of=row("r", lane=("6.18",))), self.key(of=row("r", run="", script="table"))]
        self.assertEqual(len(set(keys)), len(keys))
        self.assertEqual(keys[0], self.key())

    def test_inputs(self):
        """What is built, how it is booted and who judges are there, and found."""
        found = set(mutants.INPUTS)
        self.assertLess({"scripts/vm", "scripts/initramfs", "scripts/arch", "scripts/runner/judge.py", "patches", "lts"}, found)
        for path in found:
            self.assertTrue(os.path.exists(os.path.join(mutants.ROOT, path)), path)

    def test_tools(self):
        """By their versions."""
        mutants.tools.cache_clear()
        self.addCleanup(mutants.tools.cache_clear)
        with mock.patch.object(mutants.check, "output_of", side_effect=lambda program, _: program + " "):
            self.assertRegex(mutants.tools("arm64"), "^(aarch64-linux-gnu-)?gcc (aarch64-linux-gnu-)?ld qemu-system-aarch64 $")


class Command(unittest.TestCase):
    """The options."""

    def test_options(self):
        """Names and numbers; what is no option is refused in a line."""
        args = mutants.options(["bounce", "--few", "2", "trust/x", "--list"])
        self.assertEqual((args.names, args.few, args.list), (["bounce", "trust/x"], 2, True))
        for words, what in ((["--few", "0"], "--few takes a number above 0, not '0'"), (["--few"], "--few needs a value"),
                            (["--few", "x"], "argument --few: .*'x'"), (["--nope"], "unknown option '--nope'")):
            error = io.StringIO()
            with contextlib.redirect_stderr(error), self.assertRaises(SystemExit) as caught:
                mutants.options(words)
            self.assertEqual(caught.exception.code, 1)
            self.assertRegex(error.getvalue(), rf"\Amutants: {what}.*\n\Z")


class Caught(unittest.TestCase):
    """What counts."""
    NOT_OK = "not ok 1 - r (7 s), see out/check/r.log\n0 passed, 1 failed\n"

    def verdict(self, status, said, lines=("# line", "not ok 2 hold")):
        """Of a mutant whose test says 'not ok 2'."""
        return mutants.verdict(Mutant("a/1", "r", "^not ok 2", "y", DIFF), status, said, list(lines))

    def test_caught(self):
        """The row fails and says so."""
        self.assertEqual(self.verdict(1, self.NOT_OK), "")

    def test_not_caught(self):
        """It passes, fails otherwise, does not build, or does not run."""
        self.assertIn("survived", self.verdict(0, "ok 1 - r (7 s)\n1 passed, 0 failed\n"))
        self.assertIn("no line matches", self.verdict(1, self.NOT_OK, ["not ok 3"]))
        passing = mutants.verdict(Mutant("a/1", "r", "hold", "y", DIFF), 1, self.NOT_OK, ["    ok 2 hold", "not ok 3"])
        self.assertIn("no line matches", passing)
        self.assertEqual(self.verdict(1, "# kernel x86_64 test failed, see x\n" + self.NOT_OK), "kernel x86_64 test failed")
        self.assertIn("did not run", self.verdict(1, "not ok 1 - r (source failed, see x)\n"))
        self.assertIn("did not run", self.verdict(1, ""))


if __name__ == "__main__":
    unittest.main()
