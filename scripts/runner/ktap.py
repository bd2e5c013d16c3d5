# SPDX-License-Identifier: GPL-2.0
"""KTAP, by the kernel's own parser: tools/testing/kunit of a source tree."""
import importlib
import os
import re
import sys

TOP_VERSION = re.compile(r"^K?TAP version ")
TOP_PLAN = re.compile(r"^1\.\.[0-9]+")
RESULT = re.compile(r"^\s*(not )?ok [0-9]+")
SKIPPED_PROGRAM = re.compile(r"^\s*1\.\.0\s*# SKIP ?(.*)$")


def kernel_parser(tree):
    """The modules kunit_parser and kunit_printer of source tree @tree."""
    folder = os.path.join(tree, "tools/testing/kunit")
    if not os.path.isfile(os.path.join(folder, "kunit_parser.py")):
        raise FileNotFoundError(f"no kunit_parser.py in {folder}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("kunit_parser"), importlib.import_module("kunit_printer")


def documents(lines):
    """The KTAP documents in @lines: each begins at a version line that is not indented.
    Results before the first one are those of a program that says none."""
    found = [["TAP version 13"]]
    for line in lines:
        if TOP_VERSION.match(line):
            found.append([])
        found[-1].append(line)
    return found if _says_something(found[0]) else found[1:]


def _says_something(lines):
    """Whether a program with this output planned or ran a test; not if it skipped all."""
    return any(RESULT.match(line) or TOP_PLAN.match(line) and not SKIPPED_PROGRAM.match(line)
               for line in lines)


def _leaves(test, path=()):
    """(name, test) of each test of @test that has no subtests."""
    for sub in test.subtests:
        name = path + (sub.name,)
        if sub.subtests:
            yield from _leaves(sub, name)
        else:
            yield ".".join(name), sub


class Results:
    """What KTAP output says: names of tests by verdict, reasons of skips, faults."""

    def __init__(self, tree, text):
        self.parser, printer = kernel_parser(tree)
        self.passed, self.failed, self.skipped, self.faults = [], [], [], []
        self.silent = printer.Printer(False)
        lines = [line.rstrip("\r") for line in text.splitlines()]
        for document in documents(lines):
            self._add(document)
        self.reasons = self._reasons(lines)
        if not self.passed and not self.faults:
            self.faults.append("no test passed")

    def _add(self, document):
        """Judge one document.  The plan may be its last line, too."""
        if any(map(SKIPPED_PROGRAM.match, document)) and not _says_something(document):
            return
        plans = [line for line in document if TOP_PLAN.match(line) and not SKIPPED_PROGRAM.match(line)]
        if len(plans) != 1:
            self.faults.append(f"{len(plans)} plans, not one, after: {document[0]}")
        rest = [line for line in document[1:] if not TOP_PLAN.match(line)]
        lines = self.parser.extract_tap_lines(document[:1] + plans[:1] + rest)
        test = self.parser.parse_test(lines, 0, [], False, self.silent)
        status = self.parser.TestStatus
        for name, leaf in _leaves(test):
            kind = {status.SUCCESS: self.passed, status.SKIPPED: self.skipped}
            # A program that planned no test has not passed one.
            empty = leaf.status == status.SUCCESS and leaf.expected_count == 0
            (self.failed if empty else kind.get(leaf.status, self.failed)).append(name)
        bad = [name for name, verdict in self._parents(test)
               if verdict not in (status.SUCCESS, status.SKIPPED)]
        self.failed += [name for name in bad if name not in self.failed]
        if test.counts.errors:
            # What stands for a test that is missing has no name.
            self.failed = [name for name in self.failed if name and not name.endswith(".")]
            self.faults.append(f"{test.counts.errors} errors in the KTAP: a plan that is not met, "
                               "a number out of order, or a result that is missing")
        left = [line for line in lines if RESULT.match(line)]
        if left:
            self.faults.append(f"more results than planned: {left[0].strip()}")

    def _parents(self, test, path=()):
        """(name, status) of each test of @test that has subtests."""
        for sub in test.subtests:
            if sub.subtests:
                name = path + (sub.name,)
                yield ".".join(name), sub.status
                yield from self._parents(sub, name)

    def _reasons(self, lines):
        """[(name, reason)] of each line that skips something, of whole programs too, which
        the kernel's parser does not take for results."""
        found = []
        for line in lines:
            match, program = self.parser.TEST_RESULT_SKIP.match(line), SKIPPED_PROGRAM.match(line)
            if match:
                found.append((match.group(4).lstrip("- "), match.group(5)))
            elif program:
                found.append(("a whole program", program.group(1)))
        return found

    def fault(self):
        """What is wrong, in one line; None if a test passed and none failed."""
        if self.failed:
            more = f" (and {len(self.failed) - 1} more)" if len(self.failed) > 1 else ""
            return f"not ok: {self.failed[0]}{more}"
        return self.faults[0] if self.faults else None
