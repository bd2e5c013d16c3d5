# SPDX-License-Identifier: GPL-2.0
"""KTAP, by the kernel's own parser: tools/testing/kunit of a source tree."""
import importlib
import os
import re
import sys

TOP_VERSION = re.compile(r"^K?TAP version ")


def kernel_parser(tree):
    """The modules kunit_parser and kunit_printer of source tree @tree."""
    folder = os.path.join(tree, "tools/testing/kunit")
    if not os.path.isfile(os.path.join(folder, "kunit_parser.py")):
        raise FileNotFoundError(f"no kunit_parser.py in {folder}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("kunit_parser"), importlib.import_module("kunit_printer")


def documents(lines):
    """The KTAP documents in @lines: each begins at a version line that is not indented;
    what stands before the first is none."""
    found = []
    for line in lines:
        if TOP_VERSION.match(line):
            found.append([])
        if found:
            found[-1].append(line)
    return found


def _leaves(test, path=()):
    """(name, status) of each test of @test that has no subtests."""
    for sub in test.subtests:
        name = path + (sub.name,)
        if sub.subtests:
            yield from _leaves(sub, name)
        else:
            yield ".".join(name), sub.status


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
        """Judge one document."""
        lines = self.parser.extract_tap_lines(document)
        test = self.parser.parse_test(lines, 0, [], False, self.silent)
        status = self.parser.TestStatus
        for name, verdict in _leaves(test):
            kind = {status.SUCCESS: self.passed, status.SKIPPED: self.skipped}
            kind.get(verdict, self.failed).append(name)
        if test.counts.errors:
            self.faults.append(f"{test.counts.errors} errors in the KTAP: a plan that is not met, "
                               "a number out of order, or a result that is missing")
        bad = [name for name, verdict in self._parents(test)
               if verdict not in (status.SUCCESS, status.SKIPPED)]
        self.failed += [name for name in bad if name not in self.failed]
        left = [line for line in lines if self.parser.TEST_RESULT.match(line)]
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
        """[(name, reason)] of each line that skips something, of whole programs too."""
        found = []
        for line in lines:
            match = self.parser.TEST_RESULT_SKIP.match(line)
            if match:
                found.append((match.group(4).lstrip("- "), match.group(5)))
        return found

    def fault(self):
        """What is wrong, in one line; None if a test passed and none failed."""
        if self.failed:
            more = f" (and {len(self.failed) - 1} more)" if len(self.failed) > 1 else ""
            return f"not ok: {self.failed[0]}{more}"
        return self.faults[0] if self.faults else None
