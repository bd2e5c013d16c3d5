# SPDX-License-Identifier: GPL-2.0
"""The queue, with programs that do little."""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

import jobs
from jobs import Interrupted, Job, Pace, Queue


class QueueTest(unittest.TestCase):
    """A temporary folder for logs, and a queue that looks often."""

    def setUp(self):
        """What each test starts from."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.said, self.ended = [], []
        for name, value in (("POLL_SECONDS", 0.005), ("GRACE_SECONDS", 0.15)):
            patch = mock.patch.object(jobs, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def queue(self, cpus=1, memory=1000):
        """A queue on a machine of this size."""
        return Queue(self.said.append, cpus, memory)

    def job(self, name, command="true", **fields):
        """A job that runs a shell command, and is noted when it ends."""
        fields.setdefault("after", lambda job: self.ended.append(job.name))
        return Job(name, "boots", ["sh", "-c", command], os.path.join(self.folder, name + ".log"), **fields)

    def run_jobs(self, *these, **machine):
        """Run these; in what order they ended."""
        queue = self.queue(**machine)
        for job in these:
            queue.add(job)
        queue.run()
        return self.ended

    def read(self, name):
        """A file in the folder."""
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()


class Order(QueueTest):
    """What starts when."""

    def test_longest_first(self):
        """The longest of those that can start does."""
        done = self.run_jobs(self.job("short", seconds=1), self.job("long", seconds=9), self.job("middle", seconds=5))
        self.assertEqual(done, ["long", "middle", "short"])

    def test_alone(self):
        """One that is to be alone comes after all others, and one at a time."""
        busy = f"! mkdir {self.folder}/busy && echo two >>{self.folder}/said; sleep 0.05; rmdir {self.folder}/busy"
        done = self.run_jobs(self.job("a", busy, alone=True, seconds=99), self.job("b", busy, alone=True, seconds=98),
                             self.job("c", "sleep 0.05"), self.job("d", needs=("c",)), cpus=4)
        self.assertEqual(done, ["c", "d", "a", "b"])
        self.assertFalse(os.path.exists(f"{self.folder}/said"))

    def test_longest_chain_first(self):
        """What others wait for counts with what it leads to."""
        done = self.run_jobs(self.job("alone", seconds=9), self.job("first", seconds=1),
                             self.job("second", seconds=1, needs=("first",)),
                             self.job("third", seconds=10, needs=("second",)))
        self.assertEqual(done, ["first", "second", "third", "alone"])

    def test_needs(self):
        """A job waits for all that it needs, on however many CPUs."""
        slow = self.job("slow", f"sleep 0.1; echo x >{self.folder}/made", seconds=1)
        self.assertEqual(self.run_jobs(self.job("user", f"cat {self.folder}/made", seconds=99, needs=("slow", "quick")),
                                       slow, self.job("quick", seconds=1), cpus=8)[-1], "user")
        self.assertEqual(self.read("user.log"), "x\n")

    def test_once_for_each_name(self):
        """A second job of the same name is not another."""
        self.assertEqual(self.run_jobs(self.job("a"), self.job("a", "exit 1")), ["a"])

    def test_log_and_environment(self):
        """Both outputs are in the log; the environment has what is the job's."""
        job = self.job("a", "echo $OUT; echo err >&2; cat", environment={"OUT": "here"})
        self.run_jobs(job)
        self.assertEqual((self.read("a.log"), job.status), ("here\nerr\n", 0))
        self.assertGreater(job.wall, 0)

    def test_shows(self):
        """One that shows how far it is has its stdout in the log, and no line of ours."""
        job = self.job("a", "echo out; echo err >&2; sleep 0.2", shows=True)
        with mock.patch.object(jobs, "PROGRESS_SECONDS", 0.05):
            self.run_jobs(job)
        self.assertEqual((self.read("a.log"), self.said), ("out\n", []))

    def test_before(self):
        """A job that need not run ends at once, and well."""
        job = self.job("a", "exit 1", before=lambda job: True)
        self.run_jobs(job, self.job("b", needs=("a",), before=lambda job: False))
        self.assertEqual((job.status, job.process, self.ended), (0, None, ["a", "b"]))


class Failures(QueueTest):
    """What a job that fails leads to."""

    def test_dependents(self):
        """Those that need it are not run, and say what failed and where that is told."""
        bad, direct = self.job("kernel", "exit 3"), self.job("selftests", needs=("kernel",))
        far, other = self.job("boot", needs=("selftests",)), self.job("other")
        self.run_jobs(bad, direct, far, other)
        self.assertEqual((bad.status, direct.status, far.status, other.status), (3, 1, 1, 0))
        for job in (direct, far):
            self.assertEqual(job.why, f"kernel failed, see {self.folder}/kernel.log")
            self.assertIsNone(job.process)
        self.assertEqual(sorted(self.ended), ["boot", "kernel", "other", "selftests"])

    def test_signal(self):
        """A job that a signal ends has failed."""
        job, after = self.job("a", "kill -9 $$"), self.job("b", needs=("a",))
        self.run_jobs(job, after)
        self.assertEqual((job.status, after.status), (-9, 1))

    def test_no_program(self):
        """One that cannot be started fails alone."""
        job, other = self.job("a", seconds=99), self.job("b")
        job.command = ["/nonexistent"]
        self.run_jobs(job, other)
        self.assertEqual((job.status, job.why), (1, "cannot start /nonexistent: No such file or directory"))
        self.assertEqual((other.status, self.ended), (0, ["a", "b"]))


class Limits(QueueTest):
    """CPUs and memory."""

    def most(self, these, **machine):
        """How much of (jobs, CPUs, memory) was in use at most."""
        queue, seen = self.queue(**machine), [(0, 0, 0)]
        start = queue._start

        def started(job):
            """Note what runs with @job."""
            good = start(job)
            seen.append((len(queue.running), sum(job.cpus for job in queue.running),
                         sum(job.memory for job in queue.running)))
            return good
        with mock.patch.object(queue, "_start", started):
            for job in these:
                queue.add(job)
            queue.run()
        self.assertTrue(all(job.status == 0 for job in these))
        return tuple(map(max, zip(*seen)))

    def test_cpus(self):
        """No more CPUs than there are, and no fewer."""
        these = [self.job(str(i), "sleep 0.05", cpus=1 + i % 2) for i in range(8)]
        self.assertEqual(self.most(these, cpus=3)[1], 3)
        these = [self.job(f"wide{i}", "sleep 0.02", cpus=2) for i in range(3)]
        self.assertEqual(self.most(these, cpus=3)[1], 2)

    def test_memory(self):
        """No more memory than there is, and no less."""
        these = [self.job(str(i), "sleep 0.05", memory=300) for i in range(5)]
        self.assertEqual(self.most(these, cpus=8, memory=600), (2, 2, 600))

    def test_small_beside_large(self):
        """A job for which there is no room does not keep others from starting."""
        ran = os.path.join(self.folder, "ran")
        wait = f"for i in $(seq 500); do [ ! -e {ran} ] || break; sleep 0.01; done; sleep 0.1"
        these = [self.job("large", wait, seconds=9, memory=900), self.job("next", seconds=8, memory=900),
                 self.job("small", f"touch {ran}", seconds=1, memory=100)]
        self.assertEqual(self.most(these, cpus=2, memory=1000)[2], 1000)
        self.assertEqual(self.ended[0], "small")

    def test_one_cpu(self):
        """One CPU runs all, one after the other, those that want two as well."""
        these = [self.job(str(i), "sleep 0.01", cpus=2) for i in range(3)]
        self.assertEqual(self.most(these, cpus=1)[0], 1)

    def test_too_large(self):
        """A job that never fits fails and says so; one that just fits runs."""
        large, fits = self.job("large", memory=1001), self.job("fits", memory=1000)
        self.run_jobs(large, fits)
        self.assertEqual((large.status, fits.status), (1, 0))
        self.assertEqual(large.why, "it takes 1001 MB of memory, only 1000 MB are available")
        self.assertCountEqual(self.ended, ["large", "fits"])


class Interruption(QueueTest):
    """A run that is ended early."""

    def interrupted(self, number, command):
        """Run @command, which writes its processes to 'pids', until this signal comes."""
        def send():
            """The signal, once the processes are there."""
            while not os.path.exists(os.path.join(self.folder, "ready")):
                time.sleep(0.005)
            os.kill(os.getpid(), number)
        thread = threading.Thread(target=send)
        thread.start()
        queue = self.queue(cpus=2)
        queue.add(self.job("a", command.replace("DIR", self.folder)))
        queue.add(self.job("b", needs=("a",)))
        start = time.monotonic()
        with self.assertRaises(Interrupted) as caught:
            queue.run()
        thread.join()
        self.assertEqual(str(caught.exception), signal.Signals(number).name)
        self.assertEqual(caught.exception.status, 128 + number)
        self.assertEqual(self.ended, [])
        for pid in map(int, self.read("pids").split()):
            self.assertFalse(self.runs(pid), f"{pid} goes on")
        return time.monotonic() - start

    @staticmethod
    def runs(pid):
        """Whether process @pid runs yet; one that nobody has waited for does not."""
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def test_signals(self):
        """Each signal ends children and grandchildren, without waiting for the grace."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number=number), mock.patch.object(jobs, "GRACE_SECONDS", 20):
                took = self.interrupted(number, "sleep 19 & echo $$ $! >DIR/pids; >DIR/ready; wait; sleep 19")
                self.assertLess(took, 19)
            os.remove(os.path.join(self.folder, "ready"))

    def test_handlers(self):
        """Signals mean afterwards what they did before."""
        def mine(*_):
            """A handler of the caller's."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.signal(number, mine))
        self.run_jobs(self.job("a"))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.assertIs(signal.getsignal(number), mine)

    def test_stubborn(self):
        """One that ignores SIGTERM is killed after the grace."""
        took = self.interrupted(signal.SIGTERM, "trap '' TERM; sleep 4 & echo $$ $! >DIR/pids; >DIR/ready; wait")
        self.assertGreaterEqual(took, jobs.GRACE_SECONDS)

    def test_stubborn_grandchild(self):
        """So is what ignores it below one that has ended."""
        self.interrupted(signal.SIGTERM, "(trap '' TERM; exec sleep 4) & echo $$ $! >DIR/pids; sleep 0.05; "
                                         ">DIR/ready; wait")

    def test_other_group(self):
        """So is what has a process group of its own, as what timeout(1) runs."""
        self.interrupted(signal.SIGTERM, "trap '' TERM; timeout 4 sh -c 'trap \"\" TERM; echo $$ >>DIR/pids; >DIR/ready;"
                         " sleep 4; :' & echo $! >>DIR/pids; wait")

    def test_killed(self):
        """What it runs is told to end when it is killed itself."""
        program = (f"import sys; sys.path.insert(0, {os.path.dirname(jobs.__file__)!r}); import jobs\n"
                   "queue = jobs.Queue(print, 1, 1000)\n"
                   f"queue.add(jobs.Job('a', 'boots', ['sh', '-c', 'echo $$ >{self.folder}/pid; exec sleep 9'], "
                   f"'{self.folder}/a.log'))\nqueue.run()\n")
        with subprocess.Popen([sys.executable, "-B", "-c", program]) as run:
            end = time.monotonic() + 5
            while not os.path.exists(f"{self.folder}/pid") or not self.read("pid"):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)
            run.kill()
        pid = int(self.read("pid"))
        while self.runs(pid) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertFalse(self.runs(pid), "it goes on")

    def test_error(self):
        """What goes wrong in between leaves nothing behind, either."""
        def fail(_):
            """As a disk that is full."""
            raise OSError(28, "No space left on device")
        queue = self.queue(cpus=2)
        first = self.job("a", "exec sleep 4", seconds=9)
        queue.add(first)
        queue.add(self.job("b", seconds=1, before=fail))
        with self.assertRaises(OSError):
            queue.run()
        self.assertFalse(self.runs(first.process.pid))


class Telling(QueueTest):
    """How long jobs take."""

    def test_progress(self):
        """What runs is told in between, not all the time."""
        with mock.patch.object(jobs, "PROGRESS_SECONDS", 0.1):
            self.run_jobs(self.job("kernel", "sleep 0.25", seconds=60))
        self.assertTrue(1 <= len(self.said) <= 10, self.said)
        self.assertRegex(self.said[0], r"^60 s left: kernel 0 s$")

    def test_late(self):
        """What takes longer than it should is not told to be over at once."""
        with mock.patch.object(jobs, "PROGRESS_SECONDS", 0.1):
            self.run_jobs(self.job("kernel", "sleep 0.25", seconds=0))
        self.assertRegex(self.said[0], r"^later than expected: kernel 0 s$")

    def test_left(self):
        """The work over the CPUs, at least the longest job."""
        queue = self.queue(cpus=2)
        for name in "abc":
            queue.add(self.job(name, seconds=60))
        self.assertEqual(queue.left(), "90 s")
        queue.add(self.job("d", seconds=1000))
        self.assertEqual(queue.left(), "17 min")
        queue = self.queue(cpus=2)
        queue.add(self.job("wide", seconds=60, cpus=8))
        self.assertEqual(queue.left(), "60 s")

    def test_left_one_at_a_time(self):
        """Those that are alone, or have most of the memory, do not share the time."""
        queue = self.queue(cpus=4)
        for name in "ab":
            queue.add(self.job(name, seconds=20, alone=True))
            queue.add(self.job(f"large {name}", seconds=10, memory=1000))
        self.assertEqual(queue.left(), "60 s")

    def test_duration(self):
        """Minutes where there are two."""
        self.assertEqual((jobs.duration(119), jobs.duration(120)), ("119 s", "2 min"))

    def test_pace(self):
        """What a job took is kept in a file, and falls by half at most."""
        path = os.path.join(self.folder, "new/pace.json")
        pace = Pace(path)
        self.assertEqual(pace.of("a", 60), 60)
        pace.note("a", 5.04)
        self.assertEqual((pace.of("a", 60), Pace(path).of("a", 60), Pace(path).of("b", 7)), (5.0, 5.0, 7))
        pace.note("a", 0.1)
        self.assertEqual(pace.of("a", 60), 2.5)
        pace.note("a", 70)
        self.assertEqual(pace.of("a", 60), 70)

    def test_corrupt_pace(self):
        """A file that is none of ours is as good as none."""
        path = os.path.join(self.folder, "pace.json")
        for text in (b"", b"{", b"[1]", b"3", b"null", b'{"a": "soon"}', b'{"a": null}', b"\xff\xfe"):
            with self.subTest(text=text):
                with open(path, "wb") as file:
                    file.write(text)
                pace = Pace(path)
                self.assertEqual(pace.of("a", 60), 60)
                pace.note("a", 5)
                self.assertEqual(Pace(path).of("a", 60), 5)

    def test_available_memory(self):
        """This machine has some memory, in MB."""
        self.assertTrue(64 < jobs.available_memory() < 1 << 26)


if __name__ == "__main__":
    unittest.main()
