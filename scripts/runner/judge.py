#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Usage: judge.py --out DIR --status N [OPTION]...

The verdict on a VM that has ended, from what scripts/vm keeps in DIR: console.log,
result.log and verdict.  Prints what is wrong in one line and exits 1, or nothing.

  --status N       how QEMU ended, as timeout(1) says it
  --limit SEC      the time that it had
  --expect WHAT    ktap: the result is a passing test; any (default)
  --tree DIR       source tree whose KTAP parser is used
  --policy NAME    a file of scripts/console, or FILE with a slash in it: lines of the
                   console that are allowed; 'always' is
  --faults-of RE   DEVICE in policies, and 'iommu-faults' is one of them
  --skip RE        a test may be skipped for this reason; for others it may not
  --want RE        a line of the result must match
  --never RE       no line of the result may match
  --panic RE       the guest must panic with a line that matches
  --on CHECKER     kasan, lockdep or dma-debug: it must be on at the end
"""
import argparse
import dataclasses
import os
import re
import sys

import ktap

CONSOLE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "console")
TIMED_OUT = (124, 137)
# What KASAN says when it is there; the others are asked at the end, by scripts/vm-init.
KASAN = re.compile(r"KernelAddressSanitizer initialized")
CHECKERS = ("kasan", "lockdep", "dma-debug")


class Broken(Exception):
    """A policy or a rule that cannot be used."""


@dataclasses.dataclass
class Rules:
    """What a run must be like to pass."""
    limit: int = 0
    expect: str = "any"
    tree: str = ""
    policies: list = dataclasses.field(default_factory=list)
    faults_of: str = ""
    skips: list = dataclasses.field(default_factory=list)
    wants: list = dataclasses.field(default_factory=list)
    panic: str = ""
    nevers: list = dataclasses.field(default_factory=list)
    checkers: list = dataclasses.field(default_factory=list)


def read(path):
    """Text of a file, without carriage returns; empty if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().replace("\r", "")
    except FileNotFoundError:
        return ""


def compiled(regexp):
    """@regexp, or Broken."""
    try:
        return re.compile(regexp)
    except re.error as err:
        raise Broken(f"not a regular expression: {regexp}: {err}") from err


def policy_lines(name, device):
    """Regular expressions of a policy file; each needs a comment with its reason right
    before it."""
    path = name if "/" in name else os.path.join(CONSOLE, name)
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as err:
        raise Broken(f"cannot read the policy file {path}: {err.strerror}") from err
    found = []
    for before, line in zip([""] + lines, lines):
        if not line.strip() or line.startswith("#"):
            continue
        if name != "faults" and not before.startswith("#"):
            raise Broken(f"{path}: no comment with a reason before {line}")
        if "DEVICE" in line and not device:
            raise Broken(f"{path}: a policy about a device, and none is named by --faults-of")
        found.append(compiled(line.replace("DEVICE", f"(?:{device})")))
    return found


def allowed_lines(rules):
    """What the console may say in spite of scripts/console/faults."""
    names = ["always"] + rules.policies + (["iommu-faults"] if rules.faults_of else [])
    return [regexp for name in names for regexp in policy_lines(name, rules.faults_of)]


def unclean(console, rules):
    """The first line of the console that is a fault and not allowed, or None."""
    faults, allowed = policy_lines("faults", ""), allowed_lines(rules)
    for line in console.splitlines():
        if any(r.search(line) for r in faults) and not any(r.search(line) for r in allowed):
            return line
    return None


def panic_line(console):
    """The line that says that the guest panicked, or None."""
    return next((line for line in console.splitlines() if "Kernel panic" in line), None)


def off(console, verdict, rules):
    """The first of the checkers that is not on at the end of the run, or None."""
    on = {line[len("on "):] for line in verdict if line.startswith("on ")}
    if KASAN.search(console):
        on.add("kasan")
    return next((name for name in rules.checkers if name not in on), None)


def ended(out, status, rules, console):
    """What is wrong with how the guest ended, or None; the worst first."""
    panic, lines = panic_line(console), read(os.path.join(out, "verdict")).splitlines()
    verdict = lines[0] if lines else ""
    wrong = (
        (not os.path.exists(os.path.join(out, "console.log")), f"qemu did not start, status {status}"),
        (panic and not rules.panic, f"the guest panicked: {panic}"),
        (status in TIMED_OUT, f"the guest timed out after {rules.limit} s"),
        (status != 0, f"qemu ended with status {status}"),
        (rules.panic and not panic, "the guest did not panic, which it must"),
        (rules.panic and not compiled(rules.panic).search(panic or ""), f"another panic: {panic}"),
        (not rules.panic and not verdict, "the guest gave no verdict"),
        (not rules.panic and verdict != "exit 0", f"the payload ended with {verdict}"),
    )
    return next((what for bad, what in wrong if bad), None)


def said(result, rules):
    """What is wrong with what the payload said, or None."""
    if not result:
        return "the payload said nothing"
    if rules.expect == "ktap":
        results = ktap.Results(rules.tree, result)
        if results.fault():
            return f"the payload's tests did not pass: {results.fault()}"
        allowed = [compiled(regexp) for regexp in rules.skips]
        for name, reason in results.reasons:
            if not any(regexp.fullmatch(reason) for regexp in allowed):
                return f"skipped: {name}: {reason or 'no reason'}"
    for want in rules.wants:
        regexp = compiled(want)
        if not any(regexp.search(line) for line in result.splitlines()):
            return f"the result has no line '{want}'"
    for never in rules.nevers:
        line = next(filter(compiled(never).search, result.splitlines()), None)
        if line:
            return f"the result has a line that it must not have: {line.strip()}"
    return None


def judge(out, status, rules):
    """What is wrong with the run in folder @out, in one line; None if it passes."""
    console = read(os.path.join(out, "console.log"))
    wrong = ended(out, status, rules, console)
    if not wrong and not rules.panic:
        wrong = said(read(os.path.join(out, "result.log")), rules)
        line = None if wrong else unclean(console, rules)
        wrong = wrong or (line and f"not clean, on the console: {line}")
        name = None if wrong else off(console, read(os.path.join(out, "verdict")).splitlines(), rules)
        wrong = wrong or (name and f"{name} is off at the end, and has not seen all")
    return wrong


def main():
    """The command: see above."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--status", type=int, required=True)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--expect", choices=("any", "ktap"), default="any")
    parser.add_argument("--tree", default="")
    parser.add_argument("--policy", action="append", default=[])
    parser.add_argument("--faults-of", default="")
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--want", action="append", default=[])
    parser.add_argument("--panic", default="")
    parser.add_argument("--never", action="append", default=[])
    parser.add_argument("--on", action="append", default=[], choices=CHECKERS)
    args = parser.parse_args()
    rules = Rules(args.limit, args.expect, args.tree, args.policy, args.faults_of,
                  args.skip, args.want, args.panic, args.never, args.on)
    try:
        wrong = judge(args.out, args.status, rules)
    except (Broken, FileNotFoundError) as err:
        wrong = str(err)
    if wrong:
        print(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
