# SPDX-License-Identifier: GPL-2.0
"""Programs that scripts/bench starts, none of which outlasts it."""
import contextlib
import os
import signal
import subprocess
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupted(number, _frame):
    """Unwind the program, so that what it has started is ended."""
    print("bench: interrupted: the figures of boots that have passed are kept", file=sys.stderr)
    sys.exit(128 + number)


class Children:
    """What runs; as a context, it ends all of it."""

    def __init__(self):
        self.running = []

    def __enter__(self):
        for number in SIGNALS:
            signal.signal(number, interrupted)
        return self

    def __exit__(self, *_):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for child in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        for child in self.running:
            child.wait()

    def start(self, command, **options):
        """Start a command in a group of its own; it is told to end when this program has,
        however that came."""
        child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, command)],
                                 stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self.running.append(child)
        return child

    def ended(self, child):
        """The exit status of a child, None while it runs."""
        status = child.poll()
        if status is not None:
            self.running.remove(child)
        return status

    def output(self, command):
        """What a command prints; a failure, of which it has said why, ends the program."""
        child = self.start(command, stdout=subprocess.PIPE, text=True)
        text, _ = child.communicate()
        if self.ended(child):
            sys.exit(1)
        return text.strip()
