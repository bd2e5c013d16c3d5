#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure: build, boot, print and keep.  scripts/bench is what calls it, and has the help."""
import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import figures
import kept
import page
import report
from figures import fail
from matrix import BENCH, ROOT, Matrix, Row, names, one_of, results
# matrix has told where these are.
# pylint: disable=wrong-import-order
import shell
import table
from jobs import Interrupted, Job, Pace, Queue, available_memory, duration, print_progress, trouble
from options import Parser

SCRIPTS = ROOT / "scripts"
# CPU time in s that a kernel takes to build from nothing
KERNEL_SECONDS = 540
GUEST_SCRIPTS = ("guest.sh", "measure.sh")
say = print_progress("bench")


def now():
    """The date, as result files have it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_json(path, content, **options):
    """A file that is there as a whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content, **options) + "\n", encoding="utf-8")
    new.replace(path)


def file_hash(path):
    """The sha256 of a file, in hex."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def proc_field(path, name):
    """What stands after the first 'name:' in a file of /proc."""
    match = re.search(rf"^{name}[ \t]*:[ \t]*(.*)$", pathlib.Path(path).read_text(encoding="utf-8"), re.M)
    return match[1] if match else None


def lane_file(lane, name):
    """A file or folder of a lane."""
    return pathlib.Path(shell.said_by("lane_folder", lane)[0], name)


def parse(arguments):
    """The options; whatever is wrong with them ends the program."""
    parser = Parser("bench")
    parser.add_argument("--quick", dest="set", action="store_const", const="quick")
    parser.add_argument("--set")
    parser.set_defaults(set="full")
    parser.add_argument("--arch", default="x86_64")
    parser.add_argument("--iommu", default="")
    parser.add_argument("--lane")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--compare")
    parser.add_argument("--limit", default="1.02")
    options = parser.parse(arguments)
    if options.arch not in names("arch"):
        fail(f"unknown architecture '{options.arch}': {one_of(names('arch'))}")
    if options.iommu and options.iommu not in names("iommu"):
        fail(f"unknown IOMMU '{options.iommu}': {one_of(names('iommu'))}")
    options.lane = options.lane or table.users_lane()
    if options.lane not in table.lanes():
        fail(f"unknown lane '{options.lane}': {one_of(table.lanes())}")
    series = lane_file(options.lane, "series")
    if "# topic benchmark:" not in (series.read_text(encoding="utf-8") if series.exists() else ""):
        fail(f"the series of lane {options.lane} has no topic 'benchmark' yet: choose another --lane")
    os.environ["LANE"] = options.lane	# of the scripts that this runs
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", options.limit):
        fail(f"--limit takes a number, not '{options.limit}'")
    if options.compare and not os.access(options.compare, os.R_OK):
        fail(f"cannot read {options.compare}: --compare takes a file that --json wrote")
    if options.json and not options.json.parent.is_dir():
        fail(f"no such folder: {options.json.parent}")
    return options


class Steps:
    """How long each part of the work takes."""

    def __init__(self, started):
        self.started = self.last = started
        self.cpu = 0.0
        self.rows = []

    @contextlib.contextmanager
    def step(self, name):
        """What is done inside is this step, and so is what came before it and is of none."""
        yield
        end, cpu = time.time(), self.cpu_time()
        self.rows.append({"step": name, "seconds": round(end - self.last, 1), "cpu": round(cpu - self.cpu, 1)})
        self.last, self.cpu = end, cpu

    @staticmethod
    def cpu_time():
        """CPU time of this program and of those that it has waited for."""
        return sum(usage.ru_utime + usage.ru_stime for usage in map(
            resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    def result(self):
        """The file's content."""
        return {"date": now(), "cpus": len(os.sched_getaffinity(0)), "seconds": round(self.last - self.started, 1),
                "cpu": round(self.cpu, 1), "steps": self.rows}

    def __str__(self):
        return f"took {duration(self.last - self.started)}, {self.cpu:.0f} s of CPU: " + ", ".join(
            f"{row['step']} {row['seconds']:.0f} s" for row in self.rows)


@dataclasses.dataclass(eq=False)
class Boot:
    """One row, and what it is as a boot of a VM."""
    number: int
    row: Row
    cmdline: str
    vm: list
    build: str
    payload: pathlib.Path
    count: int      # samples that come of it
    repeat: int
    alone: bool
    memory: int     # MB
    key: str
    figures: pathlib.Path
    pace: str       # what its time is kept under
    seconds: float

    def entry(self):
        """What a result file has of it, but for what was measured."""
        row = self.row
        return {"name": row.name, "lane": row.clock, "kernel": row.kernel, "place": row.place, "iommu": row.iommu,
                "cases": row.cases, "cmdline": self.cmdline, "vm": " ".join(self.vm), "key": self.key}


class Bench:
    """A set for an architecture, from the packages to the result."""

    def __init__(self, options, matrix, steps):
        self.options, self.matrix, self.steps = options, matrix, steps
        self.arch = {name: shell.variable(f"arch/{options.arch}.sh", name)
                     for name in ("KERNEL_IMAGE", "QEMU", "IOMMU", "VM_PACKAGES")}
        iommus = [name for name in names("iommu") if options.iommu in ("", name) and options.arch ==
                  shell.variable(f"iommu/{name}.sh", "IOMMU_ARCH")]
        if not iommus:
            fail(f"the IOMMU '{options.iommu}' is not of {options.arch}")
        self.rows = matrix.select(options.set, options.lane, options.arch, iommus, self.arch["IOMMU"])
        # What is measured is beside that of the default lane.
        self.suffix = "" if options.lane == table.default_lane() else f"-{options.lane}"
        self.cache = pathlib.Path(os.environ["DMA_GUARDS_CACHE"])
        self.pace = Pace(self.cache / "bench/seconds.json")
        out = ROOT / "out/bench"
        name = f"{options.arch}-{options.set}{self.suffix}"
        self.work = out / name
        self.times = out / f"{name}.times.json"
        self.json = options.json or out / f"{name}.json"
        self.builds, self.programs, self.module, self.qemu = {}, None, None, ""
        self.cpu = proc_field("/proc/cpuinfo", "model name") or ""
        # Before a kernel is built for nothing.  Of kernels that are there some boots may be kept:
        # for those that are not, Boots asks.
        absent = {name for name, kernel in self.kernels().items() if not self.is_built(kernel)}
        needed, there = max((matrix.places[row.place]["memory"] for row in self.rows
                             if options.fresh or row.kernel in absent), default=0), available_memory()
        if absent and needed > there and not options.list:
            fail(f"a VM of this set takes {needed} MB of memory, only {there} MB are available: free some")

    def lock(self):
        """Hold the folder of this set; the file stays open as long as it is held."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.cache / "bench").mkdir(parents=True, exist_ok=True)
        file = open(self.work / ".lock", "w", encoding="utf-8")  # pylint: disable=consider-using-with
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"another run is using {self.work}")
        return file

    def packages(self):
        """Install what is missing, once for all scripts that this one calls."""
        there = os.environ.get("DMA_GUARDS_PACKAGES", "").split()
        groups = ["base", *sorted(table.build_groups(self.options.arch)), "vm", *self.arch["VM_PACKAGES"].split()]
        # The table of object sizes takes it.
        groups += ["json"] * any(row.kernel == "off" for row in self.rows)
        groups = [group for group in groups if group not in there]
        if not groups or "checked" in there:
            return
        # In the foreground: sudo may ask for a password.
        if subprocess.run([SCRIPTS / "setup", *groups], check=False).returncode:
            sys.exit(1)
        os.environ["DMA_GUARDS_PACKAGES"] = " ".join(there + groups)

    def page_packages(self):
        """Install what draws the page, when the figures are there already; apt's words go to a file."""
        there = os.environ.get("DMA_GUARDS_PACKAGES", "").split()
        if "page" in there or "checked" in there:
            return
        log = self.work / "setup.log"
        with open(log, "w", encoding="utf-8") as file:
            if subprocess.run([SCRIPTS / "setup", "page"], stdout=file, stderr=file, check=False).returncode:
                fail(f"cannot install what draws the page, see {log}; the figures are in {self.json}")

    def output(self, *command):
        """What a program prints; a failure, of which it has said why, ends this one."""
        job = Job(pathlib.Path(command[0]).name, "preparation", list(map(str, command)),
                  str(self.work / f"{pathlib.Path(command[0]).name}.out"), shows=True)
        queue = Queue(say)
        queue.add(job)
        queue.run()
        if job.status:
            sys.exit(f"bench: {job.why}" if job.why else 1)
        return pathlib.Path(job.log).read_text(encoding="utf-8").strip()

    def script(self, name, *arguments):
        """What one of the scripts prints, for this architecture."""
        return self.output(SCRIPTS / name, "--arch", self.options.arch, *arguments)

    def is_built(self, kernel):
        """Whether a kernel of the matrix has been built, of whatever source."""
        return (self.cache / f"build/{self.options.arch}-{kernel['variant']}-{table.source_name(self.options.lane)}"
                f"{'-unpatched' * kernel['unpatched']}/built").exists()

    def kernels(self):
        """Those of the boots, and the one that the programs are built for, by name."""
        wanted = list(dict.fromkeys(row.kernel for row in self.rows))
        if all(self.matrix.kernels[name]["unpatched"] for name in wanted):
            # The programs are the same whichever it is: one that is there.
            wanted.insert(0, next((name for name, kernel in self.matrix.kernels.items()
                                   if not kernel["unpatched"] and self.is_built(kernel)), "on"))
        return {name: self.matrix.kernels[name] for name in wanted}

    def build_kernels(self):
        """All that are needed."""
        kernels = self.kernels()
        missing = sum(not self.is_built(kernel) for kernel in kernels.values())
        if missing:
            each = duration(KERNEL_SECONDS / len(os.sched_getaffinity(0)))
            say(f"{missing} kernels to build first, some {each} each" if missing > 1 else
                f"a kernel to build first, some {each}")
        for name, kernel in kernels.items():
            self.builds[name] = self.script("build", "--variant", kernel["variant"],
                                            *["--unpatched"] * kernel["unpatched"])

    def build_programs(self):
        """What runs in the guests."""
        patched = next(build for name, build in self.builds.items() if not self.matrix.kernels[name]["unpatched"])
        self.programs = pathlib.Path(self.script("build-selftests", "--build", patched))
        for name, build in self.builds.items():
            if self.matrix.kernels[name]["unpatched"]:
                self.module = pathlib.Path(self.script("build-benchmark-module", "--build", build))

    def prepare(self):
        """All that comes before the boots, as steps."""
        with self.steps.step("packages"):
            self.packages()
        with self.steps.step("source"):
            self.output(SCRIPTS / "base-tree")
            self.output(SCRIPTS / "patched-tree")
        with self.steps.step("kernel"):
            self.build_kernels()
        with self.steps.step("selftests"):
            self.build_programs()
        self.qemu = self.output(self.arch["QEMU"], "--version").splitlines()[0]

    def make_payload(self, kernel, cases):
        """The folder with what the guest has of its own."""
        folder = self.work / f"payload-{kernel}-{cases}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = [BENCH / name for name in GUEST_SCRIPTS]
        files += [self.programs / name for name in self.matrix.cases[cases]["programs"]]
        if self.matrix.kernels[kernel]["unpatched"]:
            files.append(self.module)
        for file in files:
            shutil.copy2(file, folder)
        shutil.copy2(BENCH / f"cases.{cases}", folder / "cases")
        return folder

    def kernel_hashes(self, kernel):
        """Of the image and of its configuration."""
        build = pathlib.Path(self.builds[kernel])
        return {"image": file_hash(build / self.arch["KERNEL_IMAGE"]), "config": file_hash(build / ".config")}

    def key(self, row, payload, *told):
        """The hash of all that the figures of a boot depend on."""
        guest = [SCRIPTS / name for name in ("vm", "vm-init", "initramfs", f"arch/{self.options.arch}.sh",
                                             f"iommu/{row.iommu or self.arch['IOMMU']}.sh")]
        guest += sorted((SCRIPTS / "external-port").iterdir())
        parts = [self.kernel_hashes(row.kernel), self.qemu, told,
                 # The clock that is the host's
                 self.cpu if self.matrix.clocks[row.clock]["alone"] else "",
                 [(path.name, file_hash(path)) for path in guest + sorted(payload.iterdir())]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]

    def plan(self):
        """The boots of the rows."""
        payloads = {pair: self.make_payload(*pair)
                    for pair in sorted({(row.kernel, row.cases) for row in self.rows})}
        return [self.boot(number, row, payloads[row.kernel, row.cases]) for number, row in enumerate(self.rows, 1)]

    def boot(self, number, row, payload):
        """What a row is as a boot."""
        clock, place = self.matrix.clocks[row.clock], self.matrix.places[row.place]
        cmdline = f"{row.append} {self.matrix.kernels[row.kernel]['append']}".strip()
        vm = f"{clock['vm']} {place['vm']}".split() + (["--iommu", row.iommu] if row.iommu else [])
        key = self.key(row, payload, vm, cmdline, clock["repeat"])
        parts = (self.options.arch + self.suffix, row.clock, row.kernel, row.place, row.cases, row.name, row.iommu)
        pace = "-".join(filter(None, parts))
        seconds = self.pace.of(pace, self.matrix.cases[row.cases]["seconds"])
        count = sum(line.startswith("-") for line in (payload / "cases").read_text(encoding="utf-8").splitlines())
        return Boot(number, row, cmdline, vm, self.builds[row.kernel], payload, count * clock["repeat"],
                    clock["repeat"], clock["alone"], place["memory"], key,
                    self.cache / f"bench/{key}.json", pace, seconds)

    def result(self, boots):
        """The content of a result file."""
        patches = sorted(lane_file(self.options.lane, "patches").glob("*.patch"))
        series = hashlib.sha256(b"".join(path.read_bytes() for path in [
            lane_file(self.options.lane, "series"), *patches])).hexdigest()[:16]
        kernels = {}
        for name in dict.fromkeys(boot.row.kernel for boot in boots):
            config = pathlib.Path(self.builds[name]) / ".config"
            lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
            kernels[name] = dict(self.kernel_hashes(name),
                                 text="".join(line for line in lines if line.startswith("CONFIG_")))
        objects = []
        columns = {name: kernel["column"] for name, kernel in self.matrix.kernels.items() if kernel["column"]}
        if columns.keys() <= kernels.keys():
            objects = json.loads(self.script("list-object-sizes", *(
                f"{column}={self.builds[name]}" for name, column in columns.items())))
        result = {"format": figures.FORMAT, "date": now(), "linux": self.options.lane,
                  "arch": self.options.arch, "set": self.options.set,
                  "qemu": self.qemu, "cpu": self.cpu, "series": series, "commit": commit(), "kernels": kernels,
                  "objects": objects,
                  "runs": [dict(boot.entry(), **figures.read_json(boot.figures)) for boot in boots]}
        wanted = self.matrix.kept.get(self.options.lane, {}).get(self.options.set)
        if wanted:
            options = kept.options(lane_file(self.options.lane, "Kconfig.fragment").read_text("utf-8"),
                                   (path.read_text("utf-8") for path in patches))
            result["kept"] = kept.beside(result, wanted,
                                         results(self.options.lane) / f"{self.options.arch}-unpatched.json", options)
        return result


def commit():
    """The commit of this repository, by nothing but its own configuration."""
    done = subprocess.run(
        ["git", "-C", ROOT, "-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12"],
        env=dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null"),
        capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


class Boots:
    """Boots what is to be measured, each a job of the queue.  What goes by the host's clock
    has the machine to itself."""

    def __init__(self, bench, boots, todo):
        self.bench, self.total, self.queue = bench, len(boots), Queue(say)
        for boot in todo:
            self.queue.add(Job(
                f"boot {boot.number} {boot.row.name}", "boots",
                [str(word) for word in (
                    SCRIPTS / "vm", "--arch", bench.options.arch, "--build", boot.build, "--payload", boot.payload,
                    "--run", f"REPEAT={boot.repeat} sh ./guest.sh", *boot.vm, "--timeout", "1800",
                    "--append", f"quiet {boot.cmdline}", "--out", self.folder(boot))],
                str(bench.work / f"vm-{boot.number}.log"), boot.seconds, memory=boot.memory, alone=boot.alone,
                before=lambda job, boot=boot: self.begin(boot), after=lambda job, boot=boot: self.finish(boot, job)))

    def run(self):
        """Until nothing is left of it; one that fails ends the program."""
        for job in self.queue.jobs.values():
            if job.memory > self.queue.memory:
                fail(f"{job.name}: it takes {job.memory} MB of memory, only {self.queue.memory} MB are available: free some")
        self.queue.run()

    def folder(self, boot):
        """Where scripts/vm leaves what it has."""
        return self.bench.work / f"vm-{boot.number}"

    def begin(self, boot):
        """Right before a boot; False, for it is needed."""
        row = boot.row
        say(f"boot {boot.number} of {self.total}: {row.clock} {row.kernel} {row.place} {row.cases} {row.name}, "
            f"some {duration(boot.seconds)}: {boot.cmdline}")
        shutil.rmtree(self.folder(boot), ignore_errors=True)
        return False

    def failed(self, boot, why):
        """End the program with the end of what the boot has said."""
        log = self.bench.work / f"vm-{boot.number}.log"
        sys.stderr.writelines(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-20:])
        fail(f"boot '{boot.row.name}' failed{why}: see {self.folder(boot)}")

    def finish(self, boot, job):
        """Keep the figures of a boot that has passed."""
        if job.status:
            self.failed(boot, f", {job.why}" if job.why else "")
        try:
            lines = (self.folder(boot) / "result.log").read_text(encoding="utf-8").splitlines()
            guest, *samples = map(json.loads, lines)
            measured = [sample["map_ns"] for sample in samples]
        except (ValueError, KeyError, TypeError):
            self.failed(boot, ", not figures are what it printed")
        if len(measured) != boot.count:
            self.failed(boot, f", {len(measured)} figures came instead of {boot.count}")
        command = (self.folder(boot) / "qemu-command").read_text(encoding="utf-8")
        # Another run may have built its kernel meanwhile.
        if self.bench.boot(boot.number, boot.row, boot.payload).key != boot.key:
            self.failed(boot, ", its kernel was built anew while it ran: run it again")
        write_json(boot.figures, {**guest, "accel": re.search(r"-accel ([a-z]+)", command)[1], "date": now(),
                                  "seconds": round(job.wall), "samples": samples})
        self.bench.pace.note(boot.pace, job.wall)
        say(f"boot {boot.number} of {self.total} passed, {boot.row.name}: {duration(job.wall)}, "
            f"some {self.queue.left()} left")


def print_boots(boots, todo):
    """What --list says."""
    for boot in boots:
        row = boot.row
        state = f"some {boot.seconds:.0f} s" if boot in todo else "kept"
        print(f"{row.clock:7} {row.kernel:9} {row.place:8} {row.cases:8} {row.name:20} {boot.cmdline} ({state})")
    sys.stdout.flush()


def main():
    """The exit status."""
    sys.argv[0] = "bench"
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    options = parse(sys.argv[1:])
    matrix = Matrix()
    steps = Steps(float(os.environ.get("DMA_GUARDS_STARTED") or time.time()))
    bench = Bench(options, matrix, steps)
    old = figures.load(options.compare) if options.compare else None
    if old and old["arch"] != options.arch:
        fail(f"cannot compare {options.arch} with {old['arch']}")
    try:
        with bench.lock():
            good = work(bench, old)
    except (Interrupted, KeyboardInterrupt) as err:
        say(f"ended by {str(err) or 'SIGINT'}: nothing is left running, the figures of boots that have passed are kept")
        return getattr(err, "status", 128 + signal.SIGINT)
    except OSError as err:
        fail(trouble(err))
    say(steps)
    return 0 if good else 1


def work(bench, old):
    """All steps of it; whether nothing is worse than in the result @old."""
    options, good = bench.options, True
    bench.prepare()
    boots = bench.plan()
    todo = [boot for boot in boots if options.fresh or not boot.figures.exists()]
    if options.list:
        print_boots(boots, todo)
    with bench.steps.step("boots"):
        run = Boots(bench, boots, todo)
        say(f"{options.arch}, set {options.set}: {len(boots)} boots, {len(todo)} of them to measure, "
            f"on {run.queue.cpus} CPUs, some {run.queue.left()}")
        if options.list:
            return True
        run.run()
    with bench.steps.step("report"):
        result = bench.result(boots)
        write_json(bench.json, result, separators=(",", ":"))
        if old:
            good = report.compare(result, old, float(options.limit))
            print()
        if not report.print_costs(result):
            report.print_tables(result)
        sys.stdout.flush()
    with bench.steps.step("page"):
        html = bench.json.with_suffix(".html") if bench.json.suffix == ".json" else pathlib.Path(f"{bench.json}.html")
        bench.page_packages()
        page.write(result, html, old, float(options.limit))
        say(f"the page is {html}; all figures: benchmarks/report.py {bench.json}")
    write_json(bench.times, dict(bench.steps.result(), arch=options.arch, set=options.set))
    return good


if __name__ == "__main__":
    sys.exit(main())
