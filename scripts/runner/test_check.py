# SPDX-License-Identifier: GPL-2.0
"""scripts/check: its options, its jobs, its verdicts, with programs that do little."""
import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

os.environ.setdefault("DMA_GUARDS_CACHE", "/nonexistent")

import check  # pylint: disable=wrong-import-position
import jobs  # pylint: disable=wrong-import-position
import shell  # pylint: disable=wrong-import-position
import table  # pylint: disable=wrong-import-position
from table import Row  # pylint: disable=wrong-import-position


def row(name, **fields):
    """A row with what each must have."""
    return Row(**{"name": name, "about": "", "tier": "gate", "seconds": 10, "run": "./run"} | fields)


def program(name, **fields):
    """A row that is a program on this machine."""
    return row(name, run="", script="series", **fields)


class ClosedPipe(unittest.TestCase):
    """What nobody reads any more ends without a word."""

    def said(self, *command):
        """What a program of scripts/ says on stderr when its stdout is closed."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as stdout:
            return subprocess.run([sys.executable, "-B", check.script(command[0]), *command[1:]], stdout=stdout,
                                  stderr=subprocess.PIPE, text=True, check=False).stderr

    def test_lists(self):
        """Of tests, mutants, jobs of a lab, figures."""
        self.assertEqual(self.said("runner/check.py", "--list", "--all"), "")
        self.assertEqual(self.said("runner/mutants.py", "--list"), "")
        self.assertEqual(self.said("lab.d/lava_jobs.py", "x86_64"), "")
        self.assertEqual(self.said("../benchmarks/report.py", f"{table.ROOT}/benchmarks/results/x86_64.json"), "")


class CheckTest(unittest.TestCase):
    """A cache and an output folder of its own, and jobs that are quick."""

    def setUp(self):
        """What each test starts from."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for module, name, value in ((check, "CACHE", f"{self.folder}/cache"), (check, "OUT", f"{self.folder}/out"),
                                    (jobs, "POLL_SECONDS", 0.002), (check, "say", lambda text: None)):
            self.patch(module, name, value)
        os.makedirs(check.OUT)
        patch = mock.patch.dict(os.environ)
        patch.start()
        self.addCleanup(patch.stop)

    def patch(self, module, name, value):
        """@name of @module is @value in this test."""
        patch = mock.patch.object(module, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def write(self, path, text="x"):
        """A file in the cache."""
        path = os.path.join(check.CACHE, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


class Command(CheckTest):
    """How scripts/vm is called."""

    def has(self, command, *words):
        """These words stand in @command, one after the other."""
        self.assertIn("\0" + "\0".join(words) + "\0", "\0" + "\0".join(command) + "\0")

    def test_plain(self):
        """Every boot says these."""
        build = f"{check.CACHE}/build/x86_64-test-7.3"
        self.assertEqual(check.vm_command(row("a"), "/out"), [
            f"{check.ROOT}/scripts/vm", "--arch", "x86_64", "--build", build, "--payload", f"{build}/selftests",
            "--out", "/out", "--run", "./run", "--expect", "ktap", "--smp", "2", "--mem", "1024", "--timeout", "300",
            "--skip", "(?!)"])

    def test_all(self):
        """Each column is told."""
        full = row("a", arch="arm64", variant="debug", smp=4, memory=2048, timeout=9, expect="any", iommu="smmuv3",
                   append="a=1 b", cpu="max", disks=(("nvme", "64M"),), qemu=("-netdev", "user,id=n"),
                   devices=("edu", "nvme,drive=nvme"), icount=True, external_port=True, non_coherent=True,
                   policy=("debug-pagealloc",), faults_of="00:04", skips=("one", "two"), wants=("^a$", "b"),
                   panic="DMA fault", off=(("lockdep", "why"),))
        command = check.vm_command(full, "/out")
        for words in (("--arch", "arm64"), ("--build", f"{check.CACHE}/build/arm64-debug-7.3"), ("--smp", "4"),
                      ("--mem", "2048"), ("--timeout", "9"), ("--expect", "any"), ("--iommu", "smmuv3"),
                      ("--append", "a=1 b"), ("--qemu-arg", "-cpu", "--qemu-arg", "max"),
                      ("--qemu-arg", "-drive", "--qemu-arg", "id=nvme,if=none,format=raw,file=/out/nvme.img"),
                      ("--qemu-arg", "-netdev", "--qemu-arg", "user,id=n"), ("--icount",), ("--external-port",),
                      ("--device", "edu", "--device", "nvme,drive=nvme"), ("--non-coherent",),
                      ("--policy", "debug-pagealloc"), ("--faults-of", "00:04"), ("--skip", "one", "--skip", "two"),
                      ("--want", "^a$", "--want", "b"), ("--panic", "DMA fault"),
                      ("--on", "kasan", "--on", "dma-debug")):
            self.has(command, *words)
        self.assertNotIn("lockdep", command)
        self.assertNotIn("(?!)", command)

    def test_real(self):
        """Every boot of the table is a call that scripts/vm takes."""
        with open(f"{check.ROOT}/scripts/vm", encoding="utf-8") as file:
            options = set(file.read().split())
        for one in table.load():
            if one.is_boot():
                command = check.vm_command(one, "/out")
                self.assertTrue(all(isinstance(word, str) and word for word in command), command)
                for word in command:
                    self.assertTrue(not word.startswith("--") or word in options, word)


class Digests(CheckTest):
    """What a verdict depends on."""

    def setUp(self):
        """What each test starts from."""
        super().setUp()
        self.write("build/x86_64-test-7.3/arch/x86/boot/bzImage")
        self.write("build/x86_64-test-7.3/selftests/run")
        root = f"{self.folder}/root"
        for name in ("vm", "vm-init", "initramfs", "arch/x86_64.sh", "iommu/vt-d.sh", "external-port/a", "console/always"):
            os.makedirs(os.path.dirname(f"{root}/scripts/{name}"), exist_ok=True)
            with open(f"{root}/scripts/{name}", "w", encoding="utf-8") as file:
                file.write("QEMU=echo\nKERNEL_IMAGE=arch/x86/boot/bzImage\nset_firmware() { FIRMWARE=(a b); }\n")
        self.patch(check, "ROOT", root)

    def test_row(self):
        """The verdict is of what QEMU is told and what is judged, not of what a row is called."""
        keys = [check.boot_digest(row("a", **fields)) for fields in (
            {}, {"append": "x"}, {"wants": ("x",)}, {"devices": ("edu",)}, {"skips": ("x",)}, {"run": "./other"},
            {"memory": 2048}, {"timeout": 9}, {"disks": (("nvme", "1M"),)}, {"disks": (("nvme", "2M"),)},
            {"never": ("x",)}, {"policy": ("x",)}, {"faults_of": "x"}, {"panic": "x"}, {"qemu": ("x",)}, {"icount": True})]
        self.assertEqual(len(set(keys)), len(keys))
        self.assertEqual(keys[0], check.boot_digest(row("b", about="x", tier="all", seconds=99, lab=True)))

    def test_files(self):
        """It is of the kernel, what it runs, what the guest gets and what judges it."""
        before = check.boot_digest(row("a"))
        self.assertEqual(before, check.boot_digest(row("a")))
        root = check.ROOT
        for path, changes in ((f"{root}/scripts/vm", True), (f"{root}/scripts/runner/judge.py", True),
                              ("build/x86_64-test-7.3/source/tools/testing/kunit/kunit_parser.py", True),
                              ("busybox/x86_64/busybox", True), (f"{root}/scripts/arch/arm64.sh", False),
                              ("build/x86_64-test-7.3/vmlinux", False), ("build/x86_64-test-7.3/arch/x86/boot/bzImage", True),
                              ("build/x86_64-test-7.3/selftests/run", True), ("build/x86_64-test-7.3/selftests/sub/x", True),
                              ("build/x86_64-test-7.3/selftests/.built", False),
                              ("build/x86_64-test-7.3/selftests/sub/.x.cmd", False),
                              (f"{root}/scripts/vm-init", True), (f"{root}/scripts/initramfs", True),
                              (f"{root}/scripts/console/always", True), (f"{root}/scripts/iommu/vt-d.sh", True),
                              (f"{root}/scripts/external-port/b", True)):
            with self.subTest(path=path):
                self.write(path, "other")
                after = check.boot_digest(row("a"))
                self.assertEqual(after != before, changes)
                before = after

    def test_qemu(self):
        """It is of QEMU's version."""
        before = check.boot_digest(row("a"))
        self.addCleanup(check.version_of.cache_clear)
        with mock.patch.object(check, "output_of", return_value="arch/x86/boot/bzImage\nQEMU 8"):
            self.assertEqual(check.boot_digest(row("a")), before)
            check.version_of.cache_clear()
            self.assertNotEqual(check.boot_digest(row("a")), before)

    def test_read_once(self):
        """A file is read once, unless it was written, or has been just before it was read."""
        path = f"{check.CACHE}/read"
        self.write("read", "1")
        self.patch(check, "SETTLED_SECONDS", 0)
        with mock.patch.object(check.hashlib, "file_digest", wraps=check.hashlib.file_digest) as read:
            first = check.file_digest(path)
            self.assertEqual((check.file_digest(path), read.call_count), (first, 1))
            time.sleep(0.02)
            self.write("read", "2")
            os.utime(path, ns=(1, 1))
            self.assertNotEqual(check.file_digest(path), first)
            os.utime(path, ns=(1, 1))
            self.patch(check, "SETTLED_SECONDS", 60)
            check.file_digest(path)
            check.file_digest(path)
            self.assertEqual(read.call_count, 4)

    def test_tree(self):
        """A tree is what its files are called and what is in them."""
        seen = set()
        for name, text in (("t/a", "1"), ("t/a", "2"), ("t/b", "2"), ("t/sub/b", "2")):
            self.write(name, text)
            seen.add(check.tree_digest([f"{check.CACHE}/t"]))
        self.assertEqual(len(seen), 4)
        for path in ("t/b", "t/sub/b"):
            seen.add(check.tree_digest([f"{check.CACHE}/{path}"]))
        self.assertEqual(len(seen), 6)

    def test_program(self):
        """A program's verdict is of all of the repository, and of its arguments."""
        self.patch(check, "source_digest", lambda log: "")
        run = check.Run(argparse.Namespace(jobs=None, resume=False, slice=0), [])
        run.add("source", "source", [], 1)
        with mock.patch.object(check, "repository_digest", side_effect=["1", "2"]) as name:
            keys = {run.kept(program("a")), run.kept(program("b")), run.kept(row("a", run="", script="series x"))}
            self.assertEqual((len(keys), name.call_count), (3, 1))
            again = check.Run(argparse.Namespace(jobs=None, resume=False, slice=0), [])
            again.add("source", "source", [], 1)
            self.assertNotIn(again.kept(program("a")), keys)


    def test_source(self):
        """It is of the source that the job of its lane has made, if it takes one."""
        run = check.Run(argparse.Namespace(jobs=None, resume=False, slice=0), [])
        for lane in ("7.3", "6.18"):
            run.add(check.of_lane("source", lane, " "), "source", [], 1, lane=lane)
            with open(run.queue.jobs[check.of_lane("source", lane, " ")].log, "w", encoding="utf-8") as log:
                log.write(f"patched-tree: applying\n/cache/linux-{lane}/series\n")
        with mock.patch.object(check, "output_of", side_effect=lambda *command: command[2]):
            self.assertEqual(run.source(program("a")), "/cache/linux-7.3/series")
            self.assertEqual(run.source(program("a", lane=("6.18",))), "/cache/linux-6.18/series")
            self.assertEqual(run.source(program("a", source=False, lane=("5.4",))), "")
        for said, tree in (("patched-tree: no space\n", "abc"), ("/no/tree\n", "")):
            self.write("log", said)
            with mock.patch.object(check, "output_of", return_value=tree), self.assertRaisesRegex(SystemExit, "does not end with"):
                check.source_digest(f"{check.CACHE}/log")


class Folders(CheckTest):
    """Where kernels are built."""

    def test_users_tree(self):
        """Of each tree of the user's by itself, by its name and not by how it is written."""
        shell.said_by.cache_clear()
        self.addCleanup(shell.said_by.cache_clear)
        found = []
        os.environ.pop("LINUX", None)
        for tree in (None, "/src/a", "/src/b", "/src/../src/a/"):
            if tree:
                os.environ["LINUX"] = tree
            found.append(os.path.basename(check.build_folder("x86_64", "test", "7.3")))
            shell.said_by.cache_clear()
        self.assertEqual((found[0], found[1]), ("x86_64-test-7.3", found[3]))
        self.assertEqual(len(set(found)), 3)
        self.assertRegex(found[1], "^x86_64-test-7.3-[0-9a-f]{6}$")


class Options(CheckTest):
    """The command line."""

    @classmethod
    def setUpClass(cls):
        """Read the real table once."""
        cls.rows = table.load()

    def setUp(self):
        """What each test starts from."""
        super().setUp()
        self.patch(table, "load", lambda: self.rows)

    def parse(self, *words):
        """What parse() makes of this."""
        with mock.patch.object(sys, "argv", ["check", *words]):
            return check.parse()

    def test_defaults(self):
        """The gate, no verdict that is kept, and a slice."""
        args, rows = self.parse()
        self.assertEqual({one.tier for one in rows}, {"gate"})
        self.assertEqual((args.resume, args.slice), (False, 180))

    def test_resume(self):
        """All resumes unless it is to be fresh; what is named does if told to."""
        for words, resume, seconds in ((["--all"], True, 0), (["--all", "--fresh"], False, 0), (["series"], False, 0),
                                       (["series", "--resume"], True, 0), (["--slice", "5", "series"], False, 5)):
            args, _ = self.parse(*words)
            self.assertEqual((args.resume, args.slice), (resume, seconds), words)

    def test_names(self):
        """Names may stand on both sides of an option."""
        self.assertEqual([one.name for one in self.parse("bad-input", "--resume", "shellcheck")[1]],
                         ["bad-input", "shellcheck"])

    def test_shards(self):
        """Shards of all are all."""
        parts = [one.name for i in (1, 2, 3) for one in self.parse("--all", "--shard", f"{i}/3")[1]]
        self.assertCountEqual(parts, [one.name for one in self.parse("--all")[1]])

    def test_lane(self):
        """Nothing of another lane is in the run or in a slice, nor is there in it what another
        shard runs."""
        rows = [row("a"), row("old", lane=("6.12",)), row("b", tier="all")]
        with mock.patch.object(table, "load", return_value=rows), \
                mock.patch.object(table, "lanes", return_value=["7.3", "6.12"]):
            args, chosen = self.parse("--all", "--lane", "7.3")
            self.assertEqual(([one.name for one in chosen], [one.name for one in args.others]), (["a", "b"], []))
            args, _ = self.parse("--lane", "7.3", "--shard", "1/2")
            self.assertEqual([one.name for one in args.others], ["b"])
            self.assertEqual([one.name for one in self.parse("--lane", "6.12")[1]], ["old"])
            self.assertEqual([one.name for one in self.parse()[1]], ["a", "old"])

    def test_errors(self):
        """What is wrong is one line, and exit 1."""
        for words, what in ((["--nope"], "unknown option '--nope'"), (["-x"], "unknown option '-x'"),
                            (["--lane", "2.4"], "no lane '2.4': choose one of "),
                            (["--slice", "x"], "argument --slice: .*'x'"),
                            (["--shard"], "--shard needs a value"),
                            (["nope"], "no test 'nope': see check --list"),
                            *(([f"--shard={part}"], f"--shard takes I/N, not '{part}'")
                              for part in ("1", "0/2", "3/2", "a/b", "1/", "-1/2"))):
            with self.subTest(words=words):
                error = io.StringIO()
                with contextlib.redirect_stderr(error), mock.patch.object(sys, "argv", ["check", *words]), \
                        self.assertRaises(SystemExit) as caught:
                    check.main()
                # sys.exit() with a line ends with 1 after it has told that.
                code = caught.exception.code
                said, code = (code + "\n", 1) if isinstance(code, str) else (error.getvalue(), code)
                self.assertEqual(code, 1)
                self.assertRegex(said, rf"\Acheck: {what}.*\n\Z")

    def test_list(self):
        """The list has each test, as text and as a table; cells keep their bars."""
        for words in (["--list", "--all"], ["--list", "--all", "--markdown"]):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), mock.patch.object(sys, "argv", ["check", *words]):
                self.assertEqual(check.main(), 0)
            for one in self.rows:
                self.assertIn(one.name, said.getvalue())
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            check.print_list([row("a", about="x|y", append="b=1", lab=True)], True)
        self.assertEqual(said.getvalue().splitlines()[-1], "| `a` | x\\|y | gate, lab | x86_64 | test | `b=1` |")


class Output(unittest.TestCase):
    """What programs print."""

    def test_no_such_program(self):
        """Not each system has dpkg-query."""
        self.assertEqual(check.output_of("echo", "x"), "x\n")
        self.assertEqual(check.output_of("no-such-program-anywhere"), "")


class Packages(CheckTest):
    """Those that are installed before anything else."""

    def setUp(self):
        """What each test starts from."""
        super().setUp()
        groups = {"base", "vm", "page"} | table.build_groups("x86_64")
        self.patch(table.Row, "groups", lambda row: groups - {"base"})
        self.groups = sorted(groups)

    def test_told(self):
        """What the rows take is asked for, and programs are told that it is there."""
        self.patch(os, "environ", dict(os.environ, DMA_GUARDS_PACKAGES=""))
        run = check.Run(argparse.Namespace(jobs=None, resume=False, slice=0), [row("a"), program("p", packages=("page",))])
        with mock.patch.object(subprocess, "run", return_value=subprocess.CompletedProcess([], 0)) as called:
            run.install_packages()
        self.assertEqual(called.call_args.args[0], [check.script("setup"), *self.groups])
        self.assertEqual(os.environ["DMA_GUARDS_PACKAGES"].split(), self.groups)

    def test_missing(self):
        """Without them nothing is run."""
        run = check.Run(argparse.Namespace(jobs=None, resume=False, slice=0), [row("a")])
        with mock.patch.object(subprocess, "run", return_value=subprocess.CompletedProcess([], 1)), \
                self.assertRaisesRegex(SystemExit, "packages are not there"):
            run.install_packages()


class Runs(CheckTest):
    """Whole runs, in which all programs are stand-ins."""

    def setUp(self):
        """What each test starts from."""
        super().setUp()
        self.commands = {}
        self.started, self.commit, self.inputs = [], "c0ffee", "1"
        original = jobs.Queue._start

        def start(queue, job):
            """Run what stands for @job."""
            self.started.append(job.name)
            job.command = ["sh", "-c", self.commands[job.name]] if job.name in self.commands else ["true"]
            return original(queue, job)
        self.patch(jobs.Queue, "_start", start)
        self.installed = []
        self.patch(check.Run, "install_packages", lambda run: self.installed.append([row.name for row in run.rows]))
        self.patch(check, "boot_digest", lambda row: self.inputs)
        self.patch(check, "repository_digest", lambda: self.inputs)
        self.patch(check, "source_digest", lambda log: "")

    def run_rows(self, rows, others=(), resume=False, seconds=0):
        """(whether it is good, lines that it printed) of a run of these."""
        said, real = io.StringIO(), subprocess.run

        def commit(command, **options):
            """git says the commit that the test wants."""
            if "rev-parse" in command:
                return subprocess.CompletedProcess(command, 0, self.commit + "\n", "")
            return real(command, **options)
        args = argparse.Namespace(jobs=None, resume=resume, slice=seconds, others=list(others))
        self.started.clear()
        with contextlib.redirect_stdout(said), mock.patch.object(subprocess, "run", commit):
            good = check.Run(args, rows).run()
        return good, said.getvalue().splitlines()

    def test_good(self):
        """Each test has a line, the last line counts them."""
        good, lines = self.run_rows([row("boot"), program("prog")])
        self.assertTrue(good)
        self.assertRegex("\n".join(sorted(lines[:2])), r"^ok 1 - \w+ \(\d+ s\)\nok 2 - \w+ \(\d+ s\)$")
        self.assertRegex(lines[2], r"^took \d+ s: source \d+ s .*, kernels \d+ s .*, "
                                   r"selftests \d+ s .*, boots \d+ s .*, programs \d+ s ")
        self.assertEqual(lines[3:], ["2 passed, 0 failed"])

    def test_failure(self):
        """One that fails is told with the end of its log, and does not end the others."""
        self.commands["bad"] = "for i in $(seq 30); do echo line $i; done; exit 3"
        good, lines = self.run_rows([row("bad", seconds=99), row("boot"), program("prog")])
        self.assertFalse(good)
        self.assertEqual(lines[-1], "2 passed, 1 failed")
        self.assertRegex("\n".join(lines), r"not ok \d - bad \(\d+ s\), see .*/out/bad.log\n")
        self.assertEqual([line for line in lines if line.startswith("# ")], [f"# line {i}" for i in range(11, 31)] + ["# status 3"])

    def test_preparation_fails(self):
        """A kernel that is not built fails what takes it, with its name and log, and no more."""
        self.commands["kernel x86_64 test"] = "echo no space; exit 1"
        good, lines = self.run_rows([row("boot"), row("arm", arch="arm64"), program("prog")])
        self.assertFalse(good)
        self.assertEqual(lines[-1], "2 passed, 1 failed")
        log = f"{check.OUT}/kernel-x86_64-test.log"
        self.assertIn("# no space", lines)
        self.assertIn(f"# kernel x86_64 test failed, see {log}", lines)
        self.assertRegex("\n".join(lines), rf"not ok \d - boot \(kernel x86_64 test failed, see {log}\)\n")

    def test_nothing(self):
        """No test is no pass."""
        self.assertEqual((self.run_rows([])[0], self.run_rows([])[1][-1]), (False, "0 passed, 0 failed"))

    def test_order(self):
        """Each step comes after what it takes, and each kernel once."""
        self.run_rows([row("a"), row("b"), program("c", kernels=("x86_64:test", "arm64:test")),
                       program("d"), program("e", source=False), row("f", variant="debug")])
        self.assertEqual(len(self.started), len(set(self.started)))
        at = self.started.index
        for first, second in (("source", "kernel x86_64 test"), ("source", "d"),
                              ("kernel x86_64 test", "selftests x86_64 test"), ("selftests x86_64 test", "a"),
                              ("selftests arm64 test", "c"), ("kernel x86_64 test", "kernel x86_64 debug")):
            self.assertLess(at(first), at(second))
        self.assertEqual(self.installed, [["a", "b", "c", "d", "e", "f"]])

    def test_commands(self):
        """What is run for each job, in what environment, with how much of the machine."""
        run = check.Run(argparse.Namespace(jobs=None, resume=False, slice=0), [])
        rows = [row("a", smp=4, memory=2048), row("i", icount=True, smp=4),
                row("p", run="", script="figures x86_64 -q", packages=("page",)), program("n", source=False)]
        run.add_preparation(rows)
        for one in rows:
            run.add_row(one)
        made = run.queue.jobs
        self.assertEqual(made["kernel x86_64 test"].command,
                         [check.script("build"), "--arch", "x86_64", "--variant", "test"])
        self.assertEqual(made["p"].command, [check.script("checks/figures"), "x86_64", "-q"])
        self.assertEqual(made["a"].command, check.vm_command(rows[0], f"{check.OUT}/a.d"))
        self.assertEqual(made["a"].environment, {"OUT": f"{check.OUT}/a.d", "LANE": table.default_lane()})
        self.assertEqual([(made[name].cpus, made[name].memory) for name in "aip"], [(1, 2348), (1, 1324), (1, 1024)])
        self.assertEqual([made[name].needs for name in "apn"],
                         [("selftests x86_64 test",), ("source",), ()])

    def test_compilers(self):
        """Two of what starts a compiler for each CPU run at a time, or fewer where there is little memory."""
        for cpus, memory, want in ((1, 8000, (1, 2400)), (2, 8000, (1, 2400)), (16, 8000, (8, 2400)), (16, 2000, (8, 2000))):
            run = check.Run(argparse.Namespace(jobs=cpus, resume=False, slice=0), [])
            run.queue.memory = memory
            with mock.patch.object(os, "sched_getaffinity", lambda pid: range(16)):
                run.add_preparation([row("a")])
                for one in (program("p", compiles=True), program("q")):
                    run.add_row(one)
            made = run.queue.jobs
            for name in ("kernel x86_64 test", "p"):
                self.assertEqual((made[name].cpus, made[name].memory), want)
            self.assertEqual([made[name].cpus for name in ("q", "selftests x86_64 test", "source")], [1, 1, 1])

    def test_folder(self):
        """A test has an empty folder and its disks, which go when it has ended."""
        folder = f"{check.OUT}/a.d"
        os.makedirs(f"{folder}/old")
        self.commands["a"] = f"ls {folder}; stat -c %s {folder}/*.img; echo kept >{folder}/console.log"
        good, _ = self.run_rows([row("a", disks=(("nvme", "64M"), ("virtio", "1M")))])
        self.assertTrue(good)
        with open(f"{check.OUT}/a.log", encoding="utf-8") as file:
            self.assertEqual(file.read().split(), ["nvme.img", "virtio.img", str(64 << 20), str(1 << 20)])
        self.assertEqual(os.listdir(folder), ["console.log"])

    def test_kept(self):
        """A verdict is kept if it is good; it counts with resume and the same inputs alone."""
        rows = [row("a"), program("b"), row("bad")]
        self.commands["bad"] = "exit 1"
        self.run_rows(rows)
        again, lines = self.run_rows(rows, resume=True)
        self.assertEqual([name for name in self.started if name in ("a", "b", "bad")], ["bad"])
        self.assertFalse(again)
        self.assertEqual(lines[-1], "2 passed, 1 failed")
        self.assertEqual(sum("(kept)" in line for line in lines), 2)
        self.run_rows(rows)
        self.assertTrue({"a", "b", "bad"} <= set(self.started))
        self.inputs = "2"
        self.run_rows(rows, resume=True)
        self.assertTrue({"a", "b", "bad"} <= set(self.started))

    def test_kept_inputs(self):
        """A verdict is of what there was when the test began."""
        self.patch(check, "boot_digest", mock.Mock(side_effect=["1", "2"]))
        self.run_rows([row("a")])
        self.assertEqual(os.listdir(f"{check.CACHE}/check/verdicts"), [check.digest("a", "1")])

    def test_pace(self):
        """What a job took is what it is taken to take; not what has failed, or was kept."""
        self.commands |= {"a": "sleep 0.1", "bad": "exit 1"}
        run = [row("a"), row("bad")]
        self.run_rows(run)
        self.run_rows(run, resume=True)
        pace = jobs.Pace(f"{check.CACHE}/check/seconds.json")
        self.assertTrue(0.1 <= pace.of("a", 60) < 5)
        self.assertEqual((pace.of("bad", 60), pace.of("source", 60)), (60, 0))

    def test_slice(self):
        """It is of the commit, of boots with kernels that are there, and of no more time."""
        more = [row(f"more{i}", tier="all", seconds=10) for i in range(12)]
        others = [row("arm", arch="arm64"), row("debug", variant="debug"), program("prog"), row("long", seconds=10000)]
        _, lines = self.run_rows([row("gate")], more + others, seconds=35)
        told = [line for line in lines if line.startswith("slice: of --all")]
        chosen = told[0].split("scripts/check ")[1].split()
        self.assertEqual(len(chosen), 3)
        self.assertEqual(chosen, [one.name for one in table.ordered_by(more, "c0ffee")][:3])
        self.assertIn("chosen by c0ffee;", told[0])
        self.assertCountEqual([name for name in self.started if name not in chosen],
                              ["source", "kernel x86_64 test", "selftests x86_64 test", "gate"])
        self.assertEqual(lines[-1], "1 passed, 0 failed")
        self.assertIn("slice: 3 ok, 0 not ok, apart from the verdict", lines)
        self.commit = "decade"
        _, other = self.run_rows([row("gate")], more + others, seconds=35)
        self.assertNotIn(told[0].split("again:")[1], "\n".join(other))

    def test_slice_failure(self):
        """A failure in it is told and is not that of the run."""
        self.commands["more"] = "exit 1"
        good, lines = self.run_rows([row("gate")], [row("more")], seconds=100)
        self.assertTrue(good)
        self.assertEqual(lines[-1], "1 passed, 0 failed")
        self.assertIn("slice: 0 ok, 1 not ok, apart from the verdict", lines)
        self.assertRegex("\n".join(lines), r"(?m)^slice: not ok - more \(\d+ s\), see ")

    def test_no_slice(self):
        """Nothing is told where nothing is left."""
        _, lines = self.run_rows([row("gate")], [program("prog")], seconds=100)
        self.assertFalse([line for line in lines if line.startswith("slice")])

    def test_times(self):
        """How long each step took is in a file, too."""
        self.commands["a"] = "sleep 0.06"
        self.run_rows([row("a")])
        with open(f"{check.OUT}/times.json", encoding="utf-8") as file:
            times = check.json.load(file)
        self.assertEqual(times["steps"]["boots"]["wall"], times["jobs"]["a"]["wall"])
        self.assertGreater(times["jobs"]["a"]["wall"], 0)
        self.assertEqual(list(times["steps"]), ["source", "kernels", "selftests", "boots"])


if __name__ == "__main__":
    unittest.main()
