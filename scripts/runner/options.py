# SPDX-License-Identifier: GPL-2.0
"""Options of the scripts that are in Python; their help is at the top of the script."""
import argparse
import re


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, prog):
        super().__init__(prog=prog, add_help=False, allow_abbrev=False)

    def error(self, message):
        missing = re.match(r"argument (--[\w-]+): expected", message)
        what = f"{missing[1]} needs a value" if missing else message
        self.exit(1, f"{self.prog}: {what}: see {self.prog} --help\n")

    def parse(self, arguments=None):
        """The options; what is unknown is refused."""
        args, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            self.error(f"unknown option '{unknown[0]}'")
        return args
