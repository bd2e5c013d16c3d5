# SPDX-License-Identifier: GPL-2.0
"""A queue of programs over the CPUs and the memory of this machine."""
import ctypes
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time

POLL_SECONDS = 0.1
PROGRESS_SECONDS = 10
GRACE_SECONDS = 10
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Interrupted(Exception):
    """A signal that asks the run to end."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number	# what the program ends with, as a shell has it


def end_with_parent():
    """In a program that is about to start: it is told to end when this one has ended, even
    if by SIGKILL."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclasses.dataclass
class Job:
    """A program that is run once those that it needs have succeeded."""
    name: str
    kind: str
    command: list
    log: str
    seconds: int = 60
    needs: tuple = ()
    cpus: int = 1		# that it keeps busy; a guest of several does so with about one
    memory: int = 0
    alone: bool = False		# it waits until nothing else is left, and has the machine to itself
    shows: bool = False		# the log has its stdout alone; stderr, how far it is, is shown
    environment: dict = dataclasses.field(default_factory=dict)
    before: object = None	# called with the job right before it starts; True if it need not
    after: object = None	# called with the job when it has ended
    status: int = None		# None until it has ended; 0 if it succeeded
    wall: float = 0
    cpu: float = 0
    why: str = ""		# why it was not run, or that its verdict is kept
    process: subprocess.Popen = None
    started: float = 0


def available_memory():
    """MB that programs can have without others losing theirs."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return 1024


def duration(seconds):
    """Seconds as one says them."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class Pace:
    """How long jobs take on this machine, by name, kept in a file."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, encoding="utf-8") as file:
                self.known = {name: float(seconds) for name, seconds in json.load(file).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}

    def of(self, name, guess):
        """Seconds that job @name will take by what it took, else @guess."""
        return self.known.get(name, guess)

    def note(self, name, seconds):
        """Keep how long it took.  One that found its work done may have to do it the next
        time, so what is known falls by half at most."""
        self.known[name] = round(max(seconds, self.known.get(name, 0) / 2), 1)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        new = f"{self.path}.{os.getpid()}"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(self.known, file, indent=0, sort_keys=True)
        os.replace(new, self.path)


def members(sessions):
    """Processes of these sessions, by the process that began each, that run yet."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX" and int(fields[3]) in sessions:
            found.append(int(name))
    return found


class Queue:
    """Runs jobs: those that take longest first, as many as there are CPUs and memory
    for.  However it ends, no program that it has started goes on."""

    def __init__(self, say, cpus=None, memory=None):
        self.say = say
        self.cpus = cpus or len(os.sched_getaffinity(0))
        self.memory = memory or available_memory()
        self.jobs, self.running, self.told = {}, [], time.monotonic()

    def add(self, job):
        """Take @job, once for each name."""
        self.jobs.setdefault(job.name, job)

    def run(self):
        """Run all that has not been run."""
        # A handler that raised might do so where a program is started, and lose it.
        signals = []
        old = {number: signal.signal(number, lambda number, _: signals.append(number))
               for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            while not signals and self._step():
                time.sleep(POLL_SECONDS)
            if signals:
                raise Interrupted(signals[0])
        finally:
            for number, handler in old.items():
                signal.signal(number, signal.SIG_IGN)
            self._end_all()
            for number, handler in old.items():
                signal.signal(number, handler)

    def _step(self):
        """Reap, start, tell; whether there is more to do."""
        for job in list(self.running):
            self._reap(job)
        waiting = [job for job in self.jobs.values() if job.status is None and not job.process]
        for job in sorted(waiting, key=lambda job: -self._urgency(job)):
            self._consider(job)
        if self.running and time.monotonic() >= self.told + PROGRESS_SECONDS:
            self.told = time.monotonic()
            self._tell()
        return any(job.status is None for job in self.jobs.values())

    def _urgency(self, job):
        """Seconds of the longest chain of jobs that begins with @job."""
        after = [other for other in self.jobs.values() if job.name in other.needs]
        return job.seconds + max((self._urgency(other) for other in after), default=0)

    def _consider(self, job):
        """Start @job if it can be, end it if it never can."""
        needed = [self.jobs[name] for name in job.needs if name in self.jobs]
        broken = next((other for other in needed if other.status), None)
        if broken:
            job.why, job.status = broken.why or f"{broken.name} failed, see {broken.log}", 1
        elif job.memory > self.memory:
            job.why = f"it takes {job.memory} MB of memory, only {self.memory} MB are available"
            job.status = 1
        elif any(other.status is None for other in needed) or self._is_kept_apart(job) or not self._room(job):
            return
        elif job.before and job.before(job):
            job.status = 0
        elif self._start(job):
            return
        if job.after:
            job.after(job)

    def _is_kept_apart(self, job):
        """Whether @job is to be alone and is not yet, or another is."""
        if any(other.alone for other in self.running):
            return True
        return job.alone and any(other.status is None and not other.alone for other in self.jobs.values())

    def _room(self, job):
        """Whether there are CPUs and memory for @job now.  One that takes more CPUs than
        there are has them all."""
        if not self.running:
            return True
        cpus = sum(min(other.cpus, self.cpus) for other in self.running)
        memory = sum(other.memory for other in self.running)
        return cpus + min(job.cpus, self.cpus) <= self.cpus and memory + job.memory <= self.memory

    def _start(self, job):
        """Start @job in a session of its own; False if there is no such program."""
        os.makedirs(os.path.dirname(job.log), exist_ok=True)
        with open(job.log, "wb") as log:
            try:
                job.process = subprocess.Popen(  # pylint: disable=consider-using-with
                    job.command, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=None if job.shows else subprocess.STDOUT, start_new_session=True,
                    preexec_fn=end_with_parent, env=os.environ | job.environment)
            except OSError as err:
                job.why, job.status = f"cannot start {job.command[0]}: {err.strerror}", 1
                return False
        job.started = time.monotonic()
        self.running.append(job)
        return True

    def _reap(self, job):
        """Take note of @job if it has ended."""
        pid, status, usage = os.wait4(job.process.pid, os.WNOHANG)
        if not pid:
            return
        self.running.remove(job)
        job.process.returncode = job.status = os.waitstatus_to_exitcode(status)
        job.wall = time.monotonic() - job.started
        job.cpu = usage.ru_utime + usage.ru_stime
        if job.after:
            job.after(job)

    def _tell(self):
        """Say what runs, but for what does so itself, and how long it will take yet."""
        names = ", ".join(f"{job.name} {time.monotonic() - job.started:.0f} s" for job in self.running
                          if not job.shows)
        if names:
            late = all(job.started + job.seconds < time.monotonic() for job in self.running)
            self.say(f"{'later than expected' if late else self.left() + ' left'}: {names}")

    def left(self):
        """How long it will take yet, about, in words."""
        jobs = [job for job in self.jobs.values() if job.status is None]
        todo = {job.name: max(job.seconds - (time.monotonic() - job.started if job.process else 0), 0) for job in jobs}
        together = [job for job in jobs if not job.alone]
        busy = sum(todo[job.name] * min(job.cpus, self.cpus) for job in together) / self.cpus
        full = sum(todo[job.name] * job.memory for job in together) / self.memory
        longest = max((todo[job.name] for job in together), default=0)
        return duration(max(busy, full, longest) + sum(todo[job.name] for job in jobs if job.alone))

    def _end_all(self):
        """End what still runs, with all that it has started, in whatever groups."""
        sessions = {job.process.pid for job in self.running}
        for number in (signal.SIGTERM, signal.SIGKILL) if sessions else ():
            for pid in members(sessions):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + GRACE_SECONDS
            while members(sessions) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
        for job in self.running:
            job.process.poll()
        self.running = []


def trouble(err):
    """What an OSError is, in words."""
    text = f"{err.strerror}: {err.filename}" if err.filename else str(err)
    full = err.errno in (errno.ENOSPC, errno.EDQUOT)
    return text + (": make room, or set DMA_GUARDS_CACHE to a folder elsewhere" if full else "")


def print_progress(program):
    """A function that says a line of @program on stderr."""
    return lambda text: print(f"{program}: {text}", file=sys.stderr, flush=True)
