#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Usage: scripts/checks/mutants [--few N] [NAME]...

Breaks the series in one line at a time and sees the test fail that is named for it:
scripts/mutants/TOPIC/NAME.patch, each of which begins with

    Row: NAME         a row of scripts/tests.yaml
    Fails: REGEXP     that a line of what the failing test says matches
    what is broken, in a sentence
    ---               and a diff that applies to the tree with the whole series of the row's lane

  --few N   N of those that a row of the gate catches, chosen by the commit
  NAME      TOPIC, or TOPIC/NAME
  --list    name them, their rows and what they break; try none

A mutant that survives, does not apply or does not build fails.  Each is a patch after
the last one of a copy of this repository in $OUT, in which scripts/check runs the row:
whoever builds next from the true series has the source and the kernel rewritten, however
this ended.  What was caught is noted in the cache; DMA_GUARDS_FRESH=1 tries it again.
Nothing else may build or boot kernels of this cache meanwhile, and each row must pass on
the series as it is, which scripts/check sees by itself."""
import collections
import dataclasses
import functools
import os
import re
import shutil
import signal
import subprocess
import sys

import check
import shell
import table
from options import Parser

ROOT = table.ROOT
FOLDER = os.path.join(ROOT, "scripts/mutants")
LAST = "9999-mutant.patch"
# What a verdict depends on, besides the mutant, its row, the base, the compiler and QEMU: what
# is built, how it is booted, and who judges
INPUTS = ("series", "patches", "lts", "selftests", "Kconfig.fragment", "scripts/configs", "scripts/configure", "scripts/console",
          "scripts/vm", "scripts/vm-init", "scripts/initramfs", "scripts/arch", "scripts/iommu", "scripts/external-port",
          "scripts/runner/judge.py", "scripts/runner/ktap.py", "scripts/runner/mutants.py")


class MutantError(Exception):
    """What is wrong with a mutant, in one line."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change that a test must catch."""
    name: str
    row: str
    fails: str
    about: str
    diff: str

    def mail(self):
        """The change as git am takes it."""
        return (f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: mutant <mutant@localhost>\n"
                "Date: Thu, 1 Jan 2026 00:00:00 +0000\n"
                f"Subject: [PATCH] {self.name}\n\n{self.about}\n---\n{self.diff}\n")


def parse(name, text, rows):
    """The Mutant @name of file content @text; @rows are the rows by name."""
    head, _, diff = text.partition("\n---\n")
    lines = head.split("\n")
    if len(lines) < 3 or not lines[0].startswith("Row: ") or not lines[1].startswith("Fails: "):
        raise MutantError(f"{name}: begins with 'Row:', 'Fails:' and a sentence")
    row, fails, about = lines[0][5:].strip(), lines[1][7:].strip(), "\n".join(lines[2:]).strip()
    if row not in rows:
        raise MutantError(f"{name}: no row '{row}' in scripts/tests.yaml")
    if not about:
        raise MutantError(f"{name}: does not say what is broken")
    if not re.search(r"^\+\+\+ ", diff, re.M):
        raise MutantError(f"{name}: no diff after '---'")
    try:
        if re.search(fails, ""):
            raise MutantError(f"{name}: 'Fails: {fails}' matches any line")
    except re.error as err:
        raise MutantError(f"{name}: not a regular expression: {fails}: {err}") from err
    return Mutant(name, row, fails, about, diff.rstrip("\n"))


def load(rows):
    """All mutants, by name."""
    found = []
    for top, _, names in os.walk(FOLDER):
        for name in names:
            path = os.path.join(top, name)
            if not name.endswith(".patch"):
                raise MutantError(f"{os.path.relpath(path, ROOT)}: not a .patch")
            with open(path, encoding="utf-8") as file:
                found.append(parse(os.path.relpath(path, FOLDER)[:-len(".patch")], file.read(), rows))
    return sorted(found, key=lambda mutant: mutant.name)


def choose(mutants, names):
    """Those of @mutants that @names name, all if there is none."""
    if not names:
        return mutants
    return table.named(mutants, names, "/", lambda name: MutantError(f"no mutant '{name}' in scripts/mutants"))


def few(mutants, rows, count, seed):
    """@count of @mutants that rows of the gate on x86_64 catch, of rows as different as may be."""
    quick = [mutant for mutant in mutants
             if rows[mutant.row].tier == "gate" and rows[mutant.row].is_boot() and rows[mutant.row].arch == "x86_64"]
    order = table.ordered_by(quick, seed)
    times = collections.Counter()
    chosen = []
    while order and len(chosen) < count:
        mutant = min(order, key=lambda mutant: times[mutant.row])
        times[mutant.row] += 1
        order.remove(mutant)
        chosen.append(mutant)
    return chosen


def verdict(mutant, status, said, lines):
    """What became of @mutant, "" if it was caught: scripts/check ended with @status and
    printed @said; the test's files have @lines."""
    failure = re.search(r"^# (.*) failed, see ", said, re.M)
    if failure:
        return f"{failure.group(1)} failed"
    if status == 0:
        return f"survived: {mutant.row} passed"
    if not re.search(rf"^not ok \d+ - {re.escape(mutant.row)} \(\d+ s\)", said, re.M):
        return f"{mutant.row} did not run: {said.strip().splitlines()[-1] if said.strip() else 'nothing said'}"
    # What passes names the test, too.
    lines = [line for line in lines if not re.match(r"\s*ok \d", line)]
    if not any(re.search(mutant.fails, line) for line in lines):
        return f"{mutant.row} failed, but no line matches '{mutant.fails}'"
    return ""


def files_of(folder):
    """Paths of all files below @folder, in order."""
    return sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)


@functools.lru_cache(maxsize=None)
def base(lane):
    """A name for the source that the series of @lane is put on, which may be the user's."""
    try:
        tree = subprocess.run([check.script("base-tree"), "--lane", lane], stdout=subprocess.PIPE, text=True, check=True).stdout
        return subprocess.run(["git", "-C", tree.strip(), "-c", "safe.directory=*", "rev-parse", "base^{tree}"],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
    except subprocess.CalledProcessError as err:
        raise MutantError(f"lane {lane} has no source: see above") from err


@functools.lru_cache(maxsize=None)
def tools(arch):
    """What builds and boots kernels of @arch."""
    prefix, machine, qemu = (shell.variable(f"arch/{arch}.sh", name) for name in ("CROSS_PREFIX", "HOST_MACHINE", "QEMU"))
    prefix = "" if os.uname().machine == machine else prefix
    return "".join(check.output_of(program, "--version") for program in (f"{prefix}gcc", f"{prefix}ld", qemu))


def key(inputs, mutant, row):
    """A name for all that the verdict on @mutant depends on; @inputs are those of the repository."""
    judges = [] if row.is_boot() else [check.script("checks")]
    return check.digest(inputs, check.tree_digest(judges), base(row.version()), *(tools(arch) for arch, _ in sorted(row.needed_kernels())),
                        mutant.mail(), mutant.fails, repr(row))


class Laboratory:
    """A copy of this repository, in which mutants are tried one after the other."""

    def __init__(self, out):
        self.copy, self.kept = os.path.join(out, "repository"), os.path.join(check.CACHE, "check/mutants")
        self.logs = os.path.join(out, "logs")
        shutil.rmtree(self.copy, ignore_errors=True)
        os.makedirs(self.logs, exist_ok=True)
        shutil.copytree(ROOT, self.copy, symlinks=True, ignore=self.ignored)
        self.inputs = check.tree_digest([os.path.join(ROOT, path) for path in INPUTS])
        for lane in table.lanes():
            with open(self.of_lane(lane, "series"), "a", encoding="utf-8") as series:
                series.write(LAST + "\n")

    def of_lane(self, lane, *path):
        """A file of the lane in the copy."""
        folder, = shell.said_by("lane_folder", lane)
        return os.path.join(self.copy, os.path.relpath(folder, ROOT), *path)

    @staticmethod
    def ignored(folder, names):
        """What of @folder is no part of the copy."""
        return [name for name in names if folder == ROOT and name in (".git", "out") or name == "__pycache__"]

    @staticmethod
    def restore(kernels):
        """Build these kernels and their selftests from the true series again."""
        for lane, arch, variant in sorted(kernels):
            for command in (["build", "--arch", arch, "--variant", variant],
                            ["build-selftests", "--arch", arch, "--build", check.build_folder(arch, variant, lane)]):
                if subprocess.run([check.script(command[0]), *command[1:]], stdout=subprocess.DEVNULL, check=False,
                                  env=dict(os.environ, LANE=lane)).returncode:
                    raise MutantError(f"{command[0]} of the true series failed: see above")

    def is_caught(self, mutant, row):
        """Try @mutant; True if it is caught.  Says so in a line."""
        kept = os.path.join(self.kept, key(self.inputs, mutant, row))
        if os.path.exists(kept) and not os.environ.get("DMA_GUARDS_FRESH"):
            print(f"caught: {mutant.name} by {mutant.row} (kept)", flush=True)
            return True
        with open(self.of_lane(row.version(), "patches", LAST), "w", encoding="utf-8") as file:
            file.write(mutant.mail())
        done = subprocess.run([os.path.join(self.copy, "scripts/check"), "--lane", row.version(), mutant.row],
                              stdout=subprocess.PIPE, text=True, check=False)
        status, said = done.returncode, done.stdout
        results = os.path.join(self.copy, "out/check")
        paths = [os.path.join(results, mutant.row + ".log")] + files_of(os.path.join(results, mutant.row + ".d"))
        lines, log = [], os.path.join(self.logs, mutant.name.replace("/", "-") + ".log")
        with open(log, "w", encoding="utf-8") as file:
            file.write(said)
            for path in paths:
                if path.endswith((".log", "/verdict")) and os.path.exists(path):
                    with open(path, encoding="utf-8", errors="replace") as part:
                        lines += (text := part.read()).splitlines()
                    file.write(f"==> {os.path.relpath(path, results)}\n{text}")
        why = verdict(mutant, status, said, lines)
        print(f"NOT CAUGHT: {mutant.name}: {why}, see {log}" if why else f"caught: {mutant.name} by {mutant.row}", flush=True)
        if not why:
            os.makedirs(self.kept, exist_ok=True)
            with open(kept, "w", encoding="utf-8") as file:
                file.write(mutant.name + "\n")
        return not why


def options(arguments):
    """The options."""
    parser = Parser("mutants")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--few", type=int)
    parser.add_argument("--list", action="store_true")
    args = parser.parse(arguments)
    if args.few is not None and args.few < 1:
        parser.error(f"--few takes a number above 0, not '{args.few}'")
    return args


def main(arguments):
    """The command."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    args = options(arguments)
    rows = {row.name: row for row in table.load()}
    mutants = choose(load(rows), args.names)
    if args.few:
        seed = subprocess.run(["git", "-C", ROOT, "-c", "safe.directory=*", "rev-parse", "HEAD"],
                              capture_output=True, text=True, check=False).stdout.strip()
        mutants = few(mutants, rows, args.few, seed)
        print(f"chosen by {seed[:12] or 'no commit'}: {' '.join(mutant.name for mutant in mutants)}", flush=True)
    if args.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for mutant in mutants:
            print(f"{mutant.name:45} {mutant.row:28} {rows[mutant.row].version():5} {' '.join(mutant.about.split())}")
        return 0
    if not mutants:
        raise MutantError("there is no mutant to try")
    laboratory = Laboratory(os.environ["OUT"])
    # Not after Ctrl-C, which is to end at once: whoever builds next does it.
    caught = sum(laboratory.is_caught(mutant, rows[mutant.row]) for mutant in mutants)
    laboratory.restore({(rows[mutant.row].version(), *kernel) for mutant in mutants
                        for kernel in rows[mutant.row].needed_kernels()})
    print(f"{caught} caught, {len(mutants) - caught} not caught", flush=True)
    return 0 if caught == len(mutants) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (MutantError, table.TableError) as problem:
        sys.exit(f"mutants: {problem}")
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit("mutants: ended by a signal or a closed pipe")
