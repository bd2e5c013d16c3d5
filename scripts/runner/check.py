#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What scripts/check does; its help is there."""
import collections
import fcntl
import functools
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import shell
import table
from jobs import Interrupted, Job, Pace, Queue, print_progress, trouble
from options import Parser

ROOT = table.ROOT
OUT = os.path.join(ROOT, "out/check")
CACHE = os.environ["DMA_GUARDS_CACHE"]
KERNEL_SECONDS = 480
SETTLED_SECONDS = 5
COMPILER_MEMORY = 150	# MB, with what make has for each
KIND_ORDER = ("packages", "source", "kernels", "selftests", "boots", "programs")
NEVER = "(?!)"
say = print_progress("check")


def script(name):
    """Path of a script."""
    return os.path.join(ROOT, "scripts", name)


def digest(*parts):
    """A name for what depends on @parts and on nothing else."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


@functools.lru_cache(maxsize=None)
def _digest_of(path, *_):
    """A name for what is in a file that is known by what else it is called with."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path):
    """A name for what is in a file.  It is not read again until something is written to it,
    unless that was just now: another write may have the same time."""
    known = os.stat(path)
    if abs(time.time() - known.st_ctime) < SETTLED_SECONDS:
        return _digest_of.__wrapped__(path)
    return _digest_of(path, known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns)


def tree_digest(paths):
    """A name for what is in these files and folders, but for what is hidden in folders: what
    kbuild and scripts/build-selftests note there says how they were built, and when."""
    found = []
    for path in paths:
        if os.path.isfile(path):
            found.append(f"{os.path.relpath(path, ROOT)} {file_digest(path)}")
        for top, folders, files in os.walk(path):
            folders.sort()
            found += [f"{os.path.relpath(os.path.join(top, name), path)} {file_digest(os.path.join(top, name))}"
                      for name in sorted(files)
                      if not name.startswith(".") and os.path.isfile(os.path.join(top, name))]
    return digest(*found)


def of_lane(name, lane, separator="-"):
    """@name of what there is for each lane: that of the default lane is without its name."""
    return name if lane == table.default_lane() else f"{name}{separator}{lane}"


def build_folder(arch, variant, lane):
    """Where scripts/build puts a kernel."""
    return os.path.join(CACHE, "build", f"{arch}-{variant}-{table.source_name(lane)}")


def vm_command(row, out):
    """The command of scripts/vm that row @row is."""
    build = build_folder(row.arch, row.variant, row.version())
    command = [script("vm"), "--arch", row.arch, "--build", build, "--payload", f"{build}/selftests",
               "--out", out, "--run", row.command(), "--expect", row.expect, "--smp", str(row.smp),
               "--mem", str(row.memory), "--timeout", str(row.timeout)]
    if row.iommu:
        command += ["--iommu", row.iommu]
    if row.append:
        command += ["--append", row.append]
    if row.cpu:
        command += ["--qemu-arg", "-cpu", "--qemu-arg", row.cpu]
    for drive, _ in row.disks:
        command += ["--qemu-arg", "-drive", "--qemu-arg",
                    f"id={drive},if=none,format=raw,file={out}/{drive}.img"]
    for argument in row.qemu:
        command += ["--qemu-arg", argument]
    for device in row.devices:
        command += ["--device", device]
    for name in ("icount", "external_port", "non_coherent"):
        if getattr(row, name):
            command.append("--" + name.replace("_", "-"))
    for name in row.policy:
        command += ["--policy", name]
    if row.faults_of:
        command += ["--faults-of", row.faults_of]
    for reason in row.skips or (NEVER,):
        command += ["--skip", reason]
    for want in row.wants:
        command += ["--want", want]
    for never in row.never:
        command += ["--never", never]
    if row.panic:
        command += ["--panic", row.panic]
    for checker in row.checkers():
        command += ["--on", checker]
    return command


def output_of(*command):
    """What a program prints, nothing if there is no such program; what it says if it fails
    is no part of it."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


@functools.lru_cache(maxsize=None)
def version_of(program, *_):
    """What a program, which is known by what else this is called with, says of its version."""
    return output_of(program, "--version")


def qemu_version(qemu):
    """That of a QEMU, which is asked again if it is another file."""
    path = shutil.which(qemu)
    known = os.stat(path) if path else None
    return version_of(qemu, *((path, known.st_ino, known.st_mtime_ns, known.st_ctime_ns) if known else ()))


def repository_digest():
    """A name for all files of the repository, and for what else programs depend on: the
    packages, and what the user asks for in the environment."""
    files = [os.path.join(top, name) for top, folders, names in os.walk(ROOT) for name in names
             if not os.path.relpath(top, ROOT).startswith((".git", "out")) and "__pycache__" not in top]
    return digest(tree_digest(files), output_of("dpkg-query", "-W"),
                  *(os.environ.get(name, "") for name in ("LINUX", "UNPATCHED", "MEASURE_BASE")))


def source_digest(log):
    """A name for a source, whose tree is the last that the job said which made it."""
    with open(log, encoding="utf-8", errors="replace") as file:
        tree = file.read().strip().rpartition("\n")[2]
    # Without a tree git would tell of this repository.
    commits = output_of("git", "-C", tree, "-c", "safe.directory=*", "rev-parse", "base", "HEAD") if tree.startswith("/") else ""
    if not commits:
        sys.exit(f"check: {log} does not end with a tree of the series")
    return commits


def boot_digest(row):
    """A name for what QEMU is told, what it runs, and how that is judged."""
    build = build_folder(row.arch, row.variant, row.version())
    image, qemu = (shell.variable(f"arch/{row.arch}.sh", name) for name in ("KERNEL_IMAGE", "QEMU"))
    version = qemu_version(qemu)
    files = [script(name) for name in ("vm", "vm-init", "initramfs", f"arch/{row.arch}.sh", "iommu",
                                       "external-port", "console", "runner/judge.py", "runner/ktap.py")]
    files += [f"{build}/source/tools/testing/kunit/kunit_parser.py", f"{CACHE}/busybox/{row.arch}/busybox"]
    return digest(file_digest(f"{build}/{image}"), tree_digest([f"{build}/selftests"]), tree_digest(files),
                  version, repr(row.disks), *vm_command(row, "OUT"))


class Run:
    """One run of scripts/check: the jobs of its rows, their verdicts, their times."""

    def __init__(self, args, rows):
        self.args, self.rows = args, rows
        self.pace = Pace(os.path.join(CACHE, "check/seconds.json"))
        self.verdicts = os.path.join(CACHE, "check/verdicts")
        self.passed = self.failed = self.number = 0
        self.in_slice, self.inputs = False, {}
        self.start = time.monotonic()
        self.times = collections.defaultdict(lambda: [0.0, 0.0])
        self.queue = Queue(say, args.jobs)

    # ------------------------------------------------------------------ the jobs
    def add_preparation(self, rows):
        """Packages, source, kernels and selftests that @rows take."""
        for lane in sorted({row.version() for row in rows} or {table.default_lane()}):
            self.add(of_lane("source", lane, " "), "source", [script("patched-tree")], 70, lane=lane)
        kernels = {(row.version(), *kernel) for row in rows for kernel in row.needed_kernels()}
        start_from_test = table.start_from_test()
        for lane, arch, variant in sorted(kernels):
            kernel, build = of_lane(f"kernel {arch} {variant}", lane, " "), build_folder(arch, variant, lane)
            needs = [of_lane("source", lane, " ")]
            if variant in start_from_test and (lane, arch, "test") in kernels:
                needs.append(of_lane(f"kernel {arch} test", lane, " "))
            self.add(kernel, "kernels", [script("build"), "--arch", arch, "--variant", variant],
                     10 if os.path.exists(f"{build}/built") else KERNEL_SECONDS, tuple(needs), lane)
            self.add(of_lane(f"selftests {arch} {variant}", lane, " "), "selftests",
                     [script("build-selftests"), "--arch", arch, "--build", build], 40, (kernel,), lane)

    def install_packages(self):
        """Those that the rows take, here and now: sudo may ask for a password.  No script
        need look again."""
        groups = sorted({"base"} | {group for row in self.rows for group in row.groups()})
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        if subprocess.run([script("setup"), *groups], check=False).returncode:
            sys.exit("check: the packages are not there: see above")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.times["packages"] = [time.monotonic() - start, after.ru_utime + after.ru_stime -
                                  before.ru_utime - before.ru_stime]
        os.environ["DMA_GUARDS_PACKAGES"] = f"{os.environ.get('DMA_GUARDS_PACKAGES', '')} {' '.join(groups)} "

    def compilers(self):
        """What a job takes that starts a compiler for each CPU.  Two of them may run at a time:
        one alone does not keep all CPUs busy, and more only take memory."""
        memory = COMPILER_MEMORY * len(os.sched_getaffinity(0))
        return {"cpus": max(1, self.queue.cpus // 2), "memory": min(memory, self.queue.memory)}

    def add(self, name, kind, command, guess, needs=(), lane=None):
        """A job that is no test, of a lane."""
        self.queue.add(Job(name, kind, command, os.path.join(OUT, name.replace(" ", "-") + ".log"),
                           self.pace.of(name, guess), needs, after=self.note,
                           environment={"LANE": lane or table.default_lane()},
                           **(self.compilers() if kind == "kernels" else {})))

    def add_row(self, row):
        """The test that @row is."""
        folder = os.path.join(OUT, row.name + ".d")
        needs = self.selftests_of(row)
        job = Job(row.name, "boots" if row.is_boot() else "programs",
                  vm_command(row, folder) if row.is_boot() else [script("checks/" + row.script.split()[0]),
                                                                 *row.script.split()[1:]],
                  os.path.join(OUT, row.name + ".log"), self.pace.of(row.name, row.seconds),
                  needs or ((of_lane("source", row.version(), " "),) if row.source else ()),
                  memory=row.memory + 300 if row.is_boot() else row.memory, alone=row.alone,
                  environment={"OUT": folder, "LANE": row.version()})
        if row.compiles:
            job.cpus, job.memory = self.compilers()["cpus"], max(row.memory, self.compilers()["memory"])
        job.before = lambda job: self.prepare(row, folder, job)
        job.after = lambda job: self.verdict(row, folder, job)
        self.queue.add(job)

    @staticmethod
    def selftests_of(row):
        """Names of the jobs that build what @row runs."""
        return tuple(of_lane(f"selftests {arch} {variant}", row.version(), " ") for arch, variant in row.needed_kernels())

    def prepare(self, row, folder, job):
        """Right before a test: its empty folder and its disks; True if its verdict is kept."""
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.inputs[row.name] = kept = self.kept(row)
        if self.args.resume and os.path.exists(kept):
            job.why = "kept"
            return True
        for drive, size in row.disks:
            with open(os.path.join(folder, f"{drive}.img"), "wb") as disk:
                disk.truncate(int(size.rstrip("M")) << 20)
        return False

    def kept(self, row):
        """The file that stands for a test that has passed with these inputs."""
        if row.is_boot():
            inputs = boot_digest(row)
        else:
            inputs = digest(self.repository(), self.source(row), row.script)
        return os.path.join(self.verdicts, digest(row.name, inputs))

    def source(self, row):
        """Names the source that a program takes, by the job that has made it."""
        return source_digest(self.queue.jobs[of_lane("source", row.version(), " ")].log) if row.source else ""

    def repository(self):
        """Names the repository once for the run."""
        if not hasattr(self, "_repository"):
            self._repository = repository_digest()
        return self._repository

    # -------------------------------------------------------------- what became of it
    def note(self, job):
        """A job has ended: its time, and what it said if it failed."""
        self.times[job.kind][0] += job.wall
        self.times[job.kind][1] += job.cpu
        if job.status == 0 and not job.why:
            self.pace.note(job.name, job.wall)
        elif job.process and job.kind not in ("boots", "programs"):
            print_end(job)
            print(f"# {job.name} failed, see {job.log}", flush=True)

    def verdict(self, row, folder, job):
        """A test has ended: its line."""
        self.note(job)
        good = job.status == 0
        self.number += 1
        self.passed += good
        self.failed += not good
        for drive, _ in row.disks:
            path = os.path.join(folder, f"{drive}.img")
            if os.path.exists(path):
                os.remove(path)
        if good and not job.why:
            os.makedirs(self.verdicts, exist_ok=True)
            with open(self.inputs[row.name], "w", encoding="utf-8") as file:
                file.write(row.name + "\n")
        if not good and job.process:
            print_end(job)
        head = "slice: " if self.in_slice else ""
        number = "" if self.in_slice else f"{self.number} "
        how = job.why or f"{job.wall:.0f} s"
        print(f"{head}{'ok' if good else 'not ok'} {number}- {row.name} ({how})" +
              ("" if good or not job.process else f", see {job.log}"), flush=True)

    # ---------------------------------------------------------------------- the run
    def run(self):
        """All of it; whether all passed."""
        self.install_packages()
        self.add_preparation(self.rows)
        for row in self.rows:
            self.add_row(row)
        say(f"{len(self.rows)} tests on {self.queue.cpus} CPUs, about {self.queue.left()}")
        self.queue.run()
        verdict = f"{self.passed} passed, {self.failed} failed"
        good = self.failed == 0 and self.passed > 0
        if self.args.slice:
            self.run_slice()
        self.tell_times()
        print(verdict, flush=True)
        return good

    def run_slice(self):
        """Some tests of --all that take what is built, chosen by the commit."""
        commit = subprocess.run(["git", "-C", ROOT, "-c", "safe.directory=*", "rev-parse", "HEAD"],
                                capture_output=True, text=True, check=False).stdout.strip()
        there = {job.name for job in self.queue.jobs.values() if job.status == 0}
        left, chosen = self.args.slice, []
        for row in table.ordered_by(self.args.others, commit):
            seconds = self.pace.of(row.name, row.seconds)
            built = there.issuperset(self.selftests_of(row))
            if row.is_boot() and built and seconds <= left:
                chosen.append(row)
                left -= seconds
        if not chosen:
            return
        names = " ".join(row.name for row in chosen)
        print(f"slice: of --all, chosen by {commit[:12] or 'no commit'}; again: scripts/check {names}", flush=True)
        self.in_slice, self.passed, self.failed = True, 0, 0
        for row in chosen:
            self.add_row(row)
        self.queue.run()
        print(f"slice: {self.passed} ok, {self.failed} not ok, apart from the verdict", flush=True)

    def tell_times(self):
        """How long it took by step, in a line and in a file."""
        wall = time.monotonic() - self.start
        steps = {kind: {"wall": round(self.times[kind][0], 1), "cpu": round(self.times[kind][1], 1)}
                 for kind in KIND_ORDER if kind in self.times}
        with open(os.path.join(OUT, "times.json"), "w", encoding="utf-8") as file:
            json.dump({"wall": round(wall, 1), "cpus": self.queue.cpus, "steps": steps,
                       "jobs": {job.name: {"wall": round(job.wall, 1), "cpu": round(job.cpu, 1)}
                                for job in self.queue.jobs.values()}}, file, indent=1)
        text = ", ".join(f"{kind} {step['wall']:.0f} s ({step['cpu']:.0f} s of CPU)" for kind, step in steps.items())
        print(f"took {wall:.0f} s: {text}", flush=True)


def print_end(job):
    """The end of the log of a job that failed, and its status: a log may have nothing."""
    with open(job.log, encoding="utf-8", errors="replace") as file:
        for line in collections.deque(file, 20):
            print("# " + line.rstrip())
    print(f"# status {job.status}")


def print_list(rows, markdown):
    """The table, to be read."""
    if markdown:
        print("| test | what passes if it passes | tier | on | kernel | command line |\n|---|---|---|---|---|---|")
    for row in rows:
        where = f"{row.arch}{', ' + row.iommu if row.iommu else ''}" if row.is_boot() else "this machine"
        where = of_lane(where, row.version(), ", ")
        if markdown:
            cells = (f"`{row.name}`", row.about, row.tier + (", lab" if row.lab else ""), where,
                     row.variant if row.is_boot() else "", f"`{row.append}`" if row.append else "")
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        else:
            print(f"{row.name:28} {row.tier:5} {where:16} {row.about}")


def parse():
    """The options, and the rows that they choose."""
    parser = Parser("check")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--shard", default="")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lane", default="")
    parser.add_argument("--slice", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=None)
    args = parser.parse()
    lane = args.lane
    if not lane and os.environ.get("LINUX"):
        lane = table.users_lane()	# a tree of the user's is of one lane
    if lane and lane not in table.lanes():
        parser.error(f"no lane '{lane}': choose one of {' '.join(table.lanes())}")
    table_rows = table.load()
    rows = table.choose(table_rows, args.names, args.all, lane)
    # What a slice is taken of: not what another shard of the same run is to try, either.
    args.others = [row for row in table.choose(table_rows, [], True, lane) if row not in rows]
    if args.shard:
        part, _, count = args.shard.partition("/")
        if not (part.isdigit() and count.isdigit() and 1 <= int(part) <= int(count)):
            parser.error(f"--shard takes I/N, not '{args.shard}'")
        rows = table.shards(rows, int(count), KERNEL_SECONDS)[int(part) - 1]
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs takes a number above 0, not '{args.jobs}'")
    if args.fresh:
        os.environ["DMA_GUARDS_FRESH"] = "1"
    # What has passed with the same inputs is not tried again where all is tried.
    args.resume = (args.resume or args.all) and not args.fresh
    if args.slice is None:
        args.slice = 0 if args.names or args.all else 180
    return args, rows


def main():
    """The command."""
    try:
        args, rows = parse()
    except table.TableError as err:
        sys.exit(f"check: {err}")
    if args.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print_list(rows, args.markdown)
        return 0
    try:
        os.makedirs(OUT, exist_ok=True)
        with open(os.path.join(OUT, ".lock"), "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.exit(f"check: another run is using {OUT}")
            return 0 if Run(args, rows).run() else 1
    except Interrupted as err:
        say(f"ended by {err}: nothing is left running; with --resume what has passed is not tried again")
        return err.status
    except (BrokenPipeError, KeyboardInterrupt) as err:
        sys.exit(f"check: ended by {'a closed pipe' if isinstance(err, OSError) else 'SIGINT'}: nothing is left running")
    except OSError as err:
        sys.exit(f"check: {trouble(err)}")


if __name__ == "__main__":
    sys.exit(main())
