# SPDX-License-Identifier: GPL-2.0
"""The table of tests, scripts/tests.yaml: read, checked, chosen from."""
import dataclasses
import hashlib
import os
import re
import subprocess
import sys

import yaml

import shell

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIERS = ("gate", "all")
MAPS = ("kunit", "disks", "off")
# Variants with checkers that turn themselves off, and which
CHECKERS = {"debug": ("kasan", "lockdep", "dma-debug")}
# What scripts/vm makes files for, or sees on the console: a lab does neither.
NOT_IN_A_LAB = ("disks", "external_port", "non_coherent", "panic")


class TableError(Exception):
    """What is wrong with the table, in one line."""


class Loader(yaml.SafeLoader):  # pylint: disable=too-many-ancestors
    """Of YAML in which no key of a mapping stands twice: the last would hold."""

    def compose_mapping_node(self, anchor):
        """One mapping, as it is written: what it merges comes later."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


@dataclasses.dataclass(frozen=True)
class Row:
    """One test; scripts/tests.yaml says what the fields are."""
    name: str
    about: str
    tier: str
    seconds: int
    lane: tuple = ()
    arch: str = "x86_64"
    packages: tuple = ()
    script: str = ""
    kernels: tuple = ()
    run: str = ""
    kunit: tuple = ()
    iommu: str = ""
    variant: str = "test"
    append: str = ""
    devices: tuple = ()
    qemu: tuple = ()
    cpu: str = ""
    disks: tuple = ()
    icount: bool = False
    smp: int = 2
    memory: int = 1024
    external_port: bool = False
    non_coherent: bool = False
    timeout: int = 300
    expect: str = "ktap"
    policy: tuple = ()
    faults_of: str = ""
    skips: tuple = ()
    wants: tuple = ()
    never: tuple = ()
    panic: str = ""
    off: tuple = ()
    source: bool = True
    alone: bool = False
    compiles: bool = False
    lab: bool = False

    def version(self):
        """The lane that it is of."""
        return self.lane[0] if self.lane else default_lane()

    def is_boot(self):
        """Whether it is a boot of a VM, and not a program on this machine."""
        return not self.script

    def needed_kernels(self):
        """[(architecture, variant)] of the kernels that it takes."""
        if self.is_boot():
            return [(self.arch, self.variant)]
        return [tuple(kernel.split(":")) for kernel in self.kernels]

    def command(self, load="insmod {}.ko"):
        """What the guest runs; @load is how a module gets into its kernel."""
        if not self.kunit:
            return self.run
        return " && ".join(f"{load.format(module)} && cat /sys/kernel/debug/kunit/{suite}/results"
                           for module, suite in self.kunit)

    def checkers(self):
        """What must be on when the guest has ended."""
        return [name for name in CHECKERS.get(self.variant, ()) if name not in dict(self.off)]

    def iommu_name(self):
        """The IOMMU that it has, of scripts/iommu."""
        return self.iommu or shell.variable(f"arch/{self.arch}.sh", "IOMMU")

    def groups(self):
        """The groups of scripts/packages that it needs."""
        found = set(self.packages)
        if self.is_boot():
            found.add("vm")
        if "build" in found:
            found |= build_groups("x86_64")	# which is what is built where nothing else is said
        for arch, _ in self.needed_kernels():
            found |= build_groups(arch)
            if "vm" in found:
                found |= set(shell.words(f"arch/{arch}.sh", "VM_PACKAGES")) - {""}
        return found


def build_groups(arch):
    """The groups of scripts/packages that kernels of @arch take on this machine."""
    is_own = os.uname().machine == shell.variable(f"arch/{arch}.sh", "HOST_MACHINE")
    return {"build"} | (set() if is_own else {shell.variable(f"arch/{arch}.sh", "CROSS_PACKAGES")})


def names_in(folder, suffix=""):
    """Names of the files in a folder of scripts/ that end with @suffix, without it."""
    return sorted(name[:len(name) - len(suffix)]
                  for name in os.listdir(os.path.join(ROOT, "scripts", folder))
                  if name.endswith(suffix))


def lanes():
    """Kernel versions that there is a series for, mainline first."""
    return list(shell.said_by("lanes"))


def default_lane():
    """The lane of what says none."""
    return shell.variable("lib.sh", "DEFAULT_LANE")


def users_lane():
    """The lane that the environment says, or that of the user's tree, or else the default."""
    tree = os.environ.get("LINUX")
    try:
        return os.environ.get("LANE") or (shell.said_by("tree_lane", tree)[0] if tree else default_lane())
    except subprocess.CalledProcessError:
        sys.exit(1)	# lib.sh has said why


def source_name(lane):
    """What names of build folders have of the source of a lane."""
    return shell.said_by("source_name", lane)[0] if os.environ.get("LINUX") else lane


def variants():
    """Names of the kernels that scripts/build makes."""
    return shell.said_by("variants")


def start_from_test():
    """Names of those for which it starts from what is built of the variant 'test'."""
    with open(os.path.join(ROOT, "scripts/configs/variants"), encoding="utf-8") as file:
        return [line.split()[0] for line in file if re.match(r"[a-z0-9].*\sbase ARCH OPTIONS test ", line)]


def by_lane(entry):
    """An entry of the file as one of each lane that it names, with what it says 'in' that lane:
    of the default lane by its name, of the others with the lane after it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise TableError(f"a row without a name: {str(entry)[:60]}")
    name, default, known = entry["name"], default_lane(), lanes()
    named_lanes, columns = entry.get("lane", [default]), entry.get("in", {})
    if not isinstance(named_lanes, list) or not all(isinstance(lane, str) for lane in named_lanes):
        raise TableError(f"{name}: lane is not of the kind 'list': {named_lanes!r}")
    if not isinstance(columns, dict) or not all(isinstance(part, dict) for part in columns.values()):
        raise TableError(f"{name}: 'in' is no mapping of lanes to mappings of columns")
    for lane in (*named_lanes, *columns):
        if lane not in known:
            raise TableError(f"{name}: unknown lane '{lane}': choose one of {' '.join(known)}")
    for part in columns.values():
        if {"name", "lane", "in"} & set(part):
            raise TableError(f"{name}: 'in' a lane there is no {' '.join(sorted({'name', 'lane', 'in'} & set(part)))}")
    return [{key: value for key, value in entry.items() if key != "in"} | columns.get(lane, {}) |
            {"lane": [lane], "name": name if lane == default else f"{name}.{lane}"} for lane in named_lanes]


def _row(entry):
    """A Row of what by_lane gives; TableError says what is wrong with it."""
    name, values = entry["name"], {}
    fields = {field.name: field for field in dataclasses.fields(Row)}
    for key, value in entry.items():
        if key not in fields:
            raise TableError(f"{name}: no such column '{key}'")
        kind = fields[key].type
        said = {tuple: dict if key in MAPS else list}.get(kind, kind)
        parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
        if not isinstance(value, said) or (kind is int and isinstance(value, bool)) or \
                (kind is tuple and not all(isinstance(part, str) for part in parts)):
            raise TableError(f"{name}: {key} is not of the kind '{said.__name__}': {value!r}")
        values[key] = tuple(value.items() if key in MAPS else value) if kind is tuple else value
    for key in ("about", "tier", "seconds"):
        if key not in values:
            raise TableError(f"{name}: no '{key}'")
    return Row(**values)


def lab_refusal(row):
    """Why @row cannot be a job of a lab, or None."""
    if not row.is_boot():
        return "it is a program on this machine"
    if row.variant != "test":
        return f"the lab has no kernel of the variant '{row.variant}'"
    if row.expect != "ktap":
        return f"lab-test takes KTAP, not '{row.expect}'"
    if shell.variable(f"iommu/{row.iommu_name()}.sh", "IOMMU_ARCH") != row.arch:
        return f"the IOMMU '{row.iommu}' is not of {row.arch}"
    found = [name for name in NOT_IN_A_LAB if getattr(row, name)]
    return f"a job has no '{found[0]}'" if found else None


def must_fit_lab(row):
    """TableError if @row cannot be a job of a lab."""
    why = lab_refusal(row)
    if why:
        raise TableError(f"{row.name}: it cannot have 'lab: true': {why}")


def _check(row, known):
    """TableError if a name in @row is not one of the files that there are."""
    def must(what, value, choices):
        if value not in choices:
            raise TableError(f"{row.name}: unknown {what} '{value}': choose one of {' '.join(choices)}")
    must("tier", row.tier, TIERS)
    must("architecture", row.arch, known["arch"])
    for kernel in row.kernels:
        if kernel.count(":") != 1:
            raise TableError(f"{row.name}: a kernel is ARCH:VARIANT, not '{kernel}'")
    for arch, variant in row.needed_kernels():
        must("architecture", arch, known["arch"])
        must("variant", variant, known["variants"])
    if row.iommu:
        must("IOMMU", row.iommu, known["iommu"])
    for policy in row.policy:
        must("policy", policy, known["console"])
    for group in row.packages:
        must("group of packages", group, known["groups"])
    ways = [bool(row.script), bool(row.run), bool(row.kunit)]
    if sum(ways) != 1:
        raise TableError(f"{row.name}: one of script, run and kunit, and no more")
    if row.script and row.script.split()[0] not in known["checks"]:
        raise TableError(f"{row.name}: no scripts/checks/{row.script.split()[0]}")
    for _, size in row.disks:
        if not re.fullmatch("[1-9][0-9]*M", size):
            raise TableError(f"{row.name}: a disk's size is so many M, not '{size}'")
    for checker, reason in row.off:
        must("checker", checker, CHECKERS.get(row.variant, ("(this variant has none)",)))
        if not reason.strip():
            raise TableError(f"{row.name}: '{checker}' is off for no reason")
    if row.lab:
        must_fit_lab(row)
    for regexp in (*row.skips, *row.wants, *row.never, row.faults_of, row.panic):
        try:
            re.compile(regexp)
        except re.error as err:
            raise TableError(f"{row.name}: not a regular expression: {regexp}: {err}") from err


def package_groups():
    """Names of the groups of scripts/packages."""
    with open(os.path.join(ROOT, "scripts/packages"), encoding="utf-8") as file:
        return sorted({line.split()[0] for line in file if line[0].isalpha()})


def load(path=None):
    """All rows of the table."""
    path = path or os.path.join(ROOT, "scripts/tests.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, Loader)
        entries = content["tests"]
        rows = [_row(one) for entry in entries for one in by_lane(entry)]
    except OSError as err:
        raise TableError(f"cannot read {path}: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise TableError(f"{path}: not YAML: {' '.join(str(err).split())}") from err
    except (KeyError, TypeError) as err:
        raise TableError(f"{path}: no list 'tests'") from err
    known = {"arch": names_in("arch", ".sh"), "iommu": names_in("iommu", ".sh"),
             "variants": variants(), "console": names_in("console"), "checks": names_in("checks"),
             "groups": package_groups()}
    for row in rows:
        _check(row, known)
    names = set()
    for row in rows:
        if row.name in names:
            raise TableError(f"two rows with the name {row.name}")
        names.add(row.name)
    return rows


def choose(rows, names, all_tiers, lane):
    """The rows that a run is about: those named, with 'guard-pages' for all 'guard-pages.*',
    but a row is not the same row of another lane; or the gate, or all tiers; of all lanes if
    @lane is none."""
    rows = [row for row in rows if not lane or row.version() == lane]
    if not names:
        return [row for row in rows if all_tiers or row.tier == "gate"]
    found = named(rows, names, ".", lambda name: TableError(f"no test '{name}': see check --list --all"))
    exact = set(names) & {row.name for row in found}
    return [row for row in found if row.name in exact or row.name.removesuffix(f".{row.version()}") not in exact]


def named(things, names, separator, unknown):
    """Those of @things that are named, each once, in the order of @names: a name is that
    of one, or what comes before the @separator in those of several.  @unknown makes the
    exception for a name that nothing has."""
    chosen = []
    for name in names:
        found = [thing for thing in things if thing.name == name or thing.name.startswith(name + separator)]
        if not found:
            raise unknown(name)
        chosen += [thing for thing in found if thing not in chosen]
    return chosen


def shards(rows, count, kernel_seconds):
    """@rows in @count lists of about the same length in time.  A kernel is built in each
    list that takes it, which is part of what a row costs there."""
    lists, kernels, load_of = [[] for _ in range(count)], [set() for _ in range(count)], [0] * count
    for row in sorted(rows, key=lambda row: (-row.seconds, row.name)):
        needed = {(row.version(), *kernel) for kernel in row.needed_kernels()}
        costs = [load_of[i] + row.seconds + kernel_seconds * len(needed - kernels[i])
                 for i in range(count)]
        best = costs.index(min(costs))
        lists[best].append(row)
        kernels[best] |= needed
        load_of[best] = costs[best]
    return lists


def ordered_by(rows, seed):
    """@rows, or what else has names, in an order that depends on @seed alone."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed} {row.name}".encode()).hexdigest())
