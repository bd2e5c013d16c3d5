# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench can measure: benchmarks/matrix.yaml, checked."""
import dataclasses
import os
import pathlib
import sys

import yaml

from figures import LANES, fail

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.path.insert(0, str(ROOT / "scripts/runner"))
# pylint: disable=wrong-import-position
import shell
import table
# Sections of the file, and what an entry of each has
SECTIONS = {
    "clocks": {"vm": str, "repeat": int, "alone": bool},
    "places": {"vm": str, "memory": int},
    "kernels": {"variant": str, "unpatched": bool, "append": str, "column": str},
    "cases": {"programs": list, "seconds": int},
}
# What of a row names an entry of which section
WORDS = {"clock": "clocks", "kernel": "kernels", "place": "places", "cases": "cases"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One boot, as the file has it."""
    sets: tuple
    clock: str
    kernel: str
    place: str
    cases: str
    name: str
    append: str
    lane: tuple = ()    # none: the default one
    arch: tuple = ()    # none: all
    iommu: str = ""     # none: that of the architecture


def names(folder):
    """The words that a folder of scripts has a file NAME.sh for."""
    return sorted(path.stem for path in (ROOT / "scripts" / folder).glob("*.sh"))


def results(lane):
    """The folder with the results that are kept of a lane."""
    return pathlib.Path(shell.said_by("results_folder", lane)[0])


def one_of(words):
    """The end of a line that refuses a word."""
    return "choose one of " + " ".join(words)


def wrong_fields(fields):
    """What of a row is missing, unknown or of another type, '' if nothing is."""
    known = {field.name: field for field in dataclasses.fields(Row)}
    for key, value in fields.items():
        if key not in known:
            return f"unknown key '{key}': {one_of(known)}"
        words = value if known[key].type is tuple and isinstance(value, list) else [value]
        if (known[key].type is tuple) != isinstance(value, list) or not all(isinstance(word, str) for word in words):
            kind = "a list of words" if known[key].type is tuple else "a word"
            return f"'{key}' takes {kind}, \"on\" and \"off\" in quotes"
    return next((f"no '{key}'" for key, field in known.items()
                 if field.default is dataclasses.MISSING and key not in fields), "")


class Matrix:
    """The file: its sections as mappings, and its rows."""

    def __init__(self, path=BENCH / "matrix.yaml"):
        self.path = path
        content = self.content()
        for section, fields in SECTIONS.items():
            self.check_section(section, content.get(section), fields)
        self.clocks, self.places, self.kernels, self.cases = (content[section] for section in SECTIONS)
        self.kept = content.get("kept", {})
        if not isinstance(self.kept, dict) or not all(
                isinstance(sets, dict) and all(isinstance(value, list) for value in sets.values())
                for sets in self.kept.values()):
            fail(f"{path}: 'kept' is no mapping of lanes to mappings of sets to lists of names")
        if set(self.kept) - set(table.lanes()):
            fail(f"{path}: 'kept' has an unknown lane: {one_of(table.lanes())}")
        self.copies = content.get("copies", {})
        if not isinstance(self.copies, dict) or not all(
                isinstance(copy, dict) and set(copy) == {"set", "kernel"} and copy["kernel"] in self.kernels
                for copy in self.copies.values()):
            fail(f"{path}: 'copies' is no mapping of sets to a set and a kernel that there is")
        if not isinstance(content.get("rows"), list):
            fail(f"{path}: no list 'rows' in it")
        self.rows = [self.row(number, fields) for number, fields in enumerate(content["rows"], 1)]

    def content(self):
        """What is in the file, a mapping."""
        try:
            with open(self.path, encoding="utf-8") as file:
                content = yaml.load(file, table.Loader)
        except OSError as err:
            fail(f"cannot read {self.path}: {err.strerror}")
        except (yaml.YAMLError, UnicodeDecodeError) as err:
            fail(f"{self.path}: not YAML: " + " ".join(str(err).split()))
        if not isinstance(content, dict):
            fail(f"{self.path}: not a mapping")
        return content

    def check_section(self, section, entries, fields):
        """Each entry has these fields, and no others."""
        if not isinstance(entries, dict) or not entries:
            fail(f"{self.path}: no mapping '{section}' in it")
        for name, entry in entries.items():
            if not isinstance(name, str):
                fail(f"{self.path}: {section} has {name}: write \"on\" and \"off\" in quotes")
            if not isinstance(entry, dict) or {key: type(entry[key]) for key in entry} != fields:
                fail(f"{self.path}: '{name}' of {section} needs " +
                     ", ".join(f"{key}: {kind.__name__}" for key, kind in fields.items()))
        if section == "clocks" and set(entries) - set(LANES):
            fail(f"{self.path}: unknown clock '{(set(entries) - set(LANES)).pop()}': {one_of(LANES)}")

    def row(self, number, fields):
        """A row of the list, which has to make sense."""
        if not isinstance(fields, dict):
            fail(f"{self.path}: row {number}: not a mapping")
        fields = dict(fields)
        if isinstance(fields.get("append"), list):
            fields["append"] = " ".join(map(str, fields["append"]))
        wrong = wrong_fields(fields) or self.wrong_words(fields)
        if wrong:
            fail(f"{self.path}: row {number}, {fields.get('name', 'without a name')}: {wrong}")
        return Row(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})

    def wrong_words(self, fields):
        """Why the words of a row make no sense, '' if they do."""
        known = {key: getattr(self, section) for key, section in WORDS.items()}
        known.update((key, names(key)) for key in ("arch", "iommu"))
        known["lane"] = table.lanes()
        for key, words in known.items():
            value = fields.get(key, [])
            for word in value if isinstance(value, list) else [value]:
                if word not in words:
                    return f"unknown {key} '{word}': {one_of(words)}"
        path = BENCH / f"cases.{fields['cases']}"
        return "" if os.access(path, os.R_OK) else f"cannot read {path}"

    def select(self, set_name, lane, arch, iommus, default):
        """The rows of a set in a lane, for an architecture and these of its IOMMUs, of which
        a row has the default one unless it names another."""
        if set_name in self.copies:
            copy = self.copies[set_name]
            return [dataclasses.replace(row, kernel=copy["kernel"])
                    for row in self.select(copy["set"], lane, arch, iommus, default)]
        there = [row for row in self.rows if lane in (row.lane or (table.default_lane(),))]
        rows = [row for row in there if set_name in row.sets]
        if not rows:
            sets = sorted({name for row in there for name in row.sets} | set(self.copies))
            fail(f"no row of {self.path} is of the set '{set_name}' in lane {lane}: {one_of(sets)}")
        rows = [row for row in rows if (not row.arch or arch in row.arch) and (row.iommu or default) in iommus]
        if not rows:
            fail(f"no row of {self.path} is of the set '{set_name}' and for {arch} with {' or '.join(iommus)}")
        return rows
