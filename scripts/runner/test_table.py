# SPDX-License-Identifier: GPL-2.0
"""The table of tests: what it may say, and what is chosen from it."""
import os
import re
import shutil
import tempfile
import unittest
from unittest import mock

import yaml

import shell
import table
from table import Row, TableError

GOOD = {"name": "a-test", "about": "it passes", "tier": "gate", "seconds": 5, "script": "series"}
BOOT = {"name": "a-boot", "about": "it boots", "tier": "all", "seconds": 5, "run": "./run"}


def row(name, **fields):
    """A row with what each must have."""
    return Row(**{"name": name, "about": "", "tier": "gate", "seconds": 10, "run": "./run"} | fields)


class Beside(unittest.TestCase):
    """What lies beside the table is used by a row, by the judge or by a program."""

    def test_used(self):
        """Policies of the console, and IOMMUs."""
        rows, text = table.load(), ""
        folder = os.path.join(table.ROOT, "scripts/checks")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text += file.read()
        with open(os.path.join(table.ROOT, "scripts/runner/judge.py"), encoding="utf-8") as file:
            judge = re.findall(r'"([a-z-]+)"', file.read())
        policies = {name for one in rows for name in one.policy} | set(judge) | set(re.findall(r"--policy ([a-z-]+)", text))
        self.assertEqual(set(table.names_in("console")) - policies, set())
        self.assertEqual(set(table.names_in("iommu", ".sh")) - {one.iommu_name() for one in rows}, set())


class BadTables(unittest.TestCase):
    """Each fault is one line, which names the row."""

    def setUp(self):
        """What each test starts from."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "tests.yaml")

    def load(self, *entries):
        """The rows of a table with these."""
        return self.load_text(yaml.safe_dump({"tests": entries and list(entries)}).encode())

    def load_text(self, text):
        """The rows of a file with this in it."""
        with open(self.path, "wb") as file:
            file.write(text)
        return table.load(self.path)

    def refused(self, what, *entries):
        """A table with these is refused with this in the one line."""
        with self.assertRaisesRegex(TableError, what) as caught:
            self.load(*entries)
        self.assertNotIn("\n", str(caught.exception))

    def test_good(self):
        """Good rows load, and lists and maps become tuples."""
        first, second = self.load(GOOD, BOOT | {"wants": ["^a$"], "disks": {"nvme": "64M"}, "icount": True})
        self.assertEqual((first.script, first.is_boot(), second.is_boot()), ("series", False, True))
        self.assertEqual((second.wants, second.disks, second.icount), (("^a$",), (("nvme", "64M"),), True))
        self.assertEqual(self.load(GOOD | {"script": "figures x86_64"})[0].script, "figures x86_64")

    def test_twice(self):
        """A key that stands twice; one that is merged may be overruled."""
        text = "tests:\n- &a\n  name: a\n  about: a\n  tier: gate\n  seconds: 5\n  script: series\n- <<: *a\n  name: b\n"
        self.assertEqual([found.name for found in self.load_text(text.encode())], ["a", "b"])
        with self.assertRaisesRegex(TableError, r"the key 'seconds' stands twice.*line 7"):
            self.load_text(text.replace("  script", "  seconds: 6\n  script").encode())

    def test_columns(self):
        """Columns must be known, of their kind, and those that each row has there."""
        self.refused("a-test: no such column 'colour'", GOOD | {"colour": "red"})
        for key, value in (("seconds", "5"), ("seconds", True), ("about", 5), ("wants", "x"), ("wants", [1]),
                           ("wants", {"a": "b"}), ("disks", ["nvme"]), ("disks", {"nvme": 64}), ("kunit", ["a"]),
                           ("icount", 1), ("lane", [6.18]), ("tier", None)):
            self.refused(f"a-boot: {key} is not of the kind", BOOT | {key: value})
        for key in ("about", "tier", "seconds"):
            self.refused(f"a-test: no '{key}'", {k: v for k, v in GOOD.items() if k != key})

    def test_names(self):
        """Each row has a name of its own."""
        self.refused("two rows with the name a-test", GOOD, BOOT, GOOD)
        for entry in ({"about": "x"}, {"name": 5}, "a-test", None):
            self.refused("a row without a name", GOOD, entry)

    def test_unknown(self):
        """What a row names must be there."""
        for key, value, what in (("tier", "some", "tier 'some': choose one of gate all"),
                                 ("arch", "mips", "architecture 'mips': choose one of arm64 x86_64"),
                                 ("iommu", "sun4m", "IOMMU 'sun4m': choose one of .*vt-d"),
                                 ("variant", "fast", "variant 'fast': choose one of test debug"),
                                 ("policy", ["none"], "policy 'none': choose one of always"),
                                 ("packages", ["all"], "group of packages 'all': choose one of .*base"),
                                 ("lane", ["2.4"], "lane '2.4': choose one of ")):
            self.refused(f"a-boot: unknown {what}", GOOD, BOOT | {key: value})
        self.refused("a-test: no scripts/checks/nope", GOOD | {"script": "nope --all"})

    def test_kernels(self):
        """Kernels of a program are ARCH:VARIANT."""
        self.refused("a-test: unknown variant 'fast'", GOOD | {"kernels": ["x86_64:test", "x86_64:fast"]})
        self.refused("a-test: unknown architecture 'mips'", GOOD | {"kernels": ["mips:test"]})
        for kernel in ("x86_64", "x86_64:test:debug"):
            self.refused(f"a-test: a kernel is ARCH:VARIANT, not '{kernel}'", GOOD | {"kernels": [kernel]})

    def test_by_lane(self):
        """A row is one of each lane that it names, of the default one by its own name."""
        def of_lanes(*lanes):
            """(name, lane) of each."""
            return [(one.name, one.version()) for one in self.load(BOOT | {"name": "a", "lane": list(lanes)})]
        self.assertEqual([(one.name, one.version()) for one in self.load(BOOT)], [("a-boot", table.default_lane())])
        self.assertEqual(of_lanes("7.3"), [("a", "7.3")])
        self.assertEqual(of_lanes("6.18"), [("a.6.18", "6.18")])
        self.assertEqual(of_lanes("6.18", "7.3"), [("a.6.18", "6.18"), ("a", "7.3")])

    def test_in(self):
        """Columns may be others in a lane, such as the tier."""
        def tiers(**columns):
            """(name, tier, skips) of each."""
            return [(one.name, one.tier, one.skips) for one in
                    self.load(BOOT | {"name": "a", "lane": ["7.3", "6.18"], "tier": "gate"} | columns)]
        self.assertEqual(tiers(), [("a", "gate", ()), ("a.6.18", "gate", ())])
        self.assertEqual(tiers(**{"in": {"6.18": {"tier": "all"}}}), [("a", "gate", ()), ("a.6.18", "all", ())])
        self.assertEqual(tiers(skips=["x"], **{"in": {"7.3": {"skips": ["y"]}}}), [("a", "gate", ("y",)), ("a.6.18", "gate", ("x",))])
        self.assertEqual(tiers(lane=["7.3"], **{"in": {"6.18": {"tier": "all"}}}), [("a", "gate", ())])
        for wrong, why in ((["6.18"], "no mapping of lanes"), ({"6.18": "all"}, "no mapping of lanes"),
                           ({"2.4": {}}, "unknown lane '2.4'"), ({"7.3": {"name": "b"}}, "there is no name"),
                           ({"7.3": {"tear": "all"}}, "no such column 'tear'"), ({"7.3": {"tier": "some"}}, "unknown tier 'some'")):
            self.refused(why, BOOT | {"in": wrong})

    def test_off(self):
        """Checkers that may be off are some of the kernel's, and there is a reason."""
        debug, = self.load(BOOT | {"variant": "debug"})
        self.assertEqual(debug.checkers(), ["kasan", "lockdep", "dma-debug"])
        less, = self.load(BOOT | {"variant": "debug", "off": {"dma-debug": "it runs out"}})
        self.assertEqual((less.checkers(), self.load(BOOT)[0].checkers()), (["kasan", "lockdep"], []))
        self.refused("a-boot: unknown checker 'kmemleak'", BOOT | {"variant": "debug", "off": {"kmemleak": "why"}})
        self.refused("a-boot: unknown checker 'kasan'", BOOT | {"off": {"kasan": "why"}})
        self.refused("a-boot: 'kasan' is off for no reason", BOOT | {"variant": "debug", "off": {"kasan": " "}})

    def test_disks(self):
        """Sizes of disks are in MiB."""
        for size in ("64G", "64", "M", "0M"):
            self.refused(f"a-boot: a disk's size is so many M, not '{size}'", BOOT | {"disks": {"nvme": size}})

    def test_ways(self):
        """A row is one of script, run and kunit."""
        for ways in ({"run": "x"}, {"kunit": {"a": "b"}}, {"script": ""}):
            self.refused("a-test: one of script, run and kunit", GOOD | ways)

    def test_regexps(self):
        """Regular expressions must be some."""
        for key, value in (("skips", ["ok", "("]), ("wants", ["("]), ("faults_of", "("), ("panic", "(")):
            self.refused("a-boot: not a regular expression: [(]: ", BOOT | {key: value})

    def test_files(self):
        """What is no table at all is refused, too."""
        for text in (b"tests: [", b"\ttests:", b"\xff\xfe\x00", b"a: *b"):
            with self.assertRaisesRegex(TableError, "tests.yaml: not YAML: .") as caught:
                self.load_text(text)
            self.assertNotIn("\n", str(caught.exception))
        for text in (b"", b"tests:", b"rows: []", b"- a", b"5", b"tests: 5"):
            with self.assertRaisesRegex(TableError, "tests.yaml: no list 'tests'"):
                self.load_text(text)
        with self.assertRaisesRegex(TableError, "cannot read .*/nope: No such file"):
            table.load(os.path.join(os.path.dirname(self.path), "nope"))


class RealTable(unittest.TestCase):
    """scripts/tests.yaml."""

    @classmethod
    def setUpClass(cls):
        """Read the real table once."""
        cls.rows = table.load()

    def test_loads(self):
        """It has tests of each kind."""
        self.assertGreater(len(self.rows), 50)
        for kind in ("script", "run", "kunit", "panic", "lab"):
            self.assertTrue(any(getattr(row, kind) for row in self.rows), kind)

    def test_shards(self):
        """Each row is in one shard, and shards take about the same time."""
        for count in (1, 2, 3, 8):
            lists = table.shards(self.rows, count, 480)
            self.assertEqual(len(lists), count)
            self.assertCountEqual([row.name for part in lists for row in part], [row.name for row in self.rows])

    def test_order(self):
        """An order by a seed depends on nothing else."""
        order = table.ordered_by(self.rows, "1f2e")
        self.assertEqual(order, table.ordered_by(self.rows[::-1], "1f2e"))
        self.assertNotEqual(order, table.ordered_by(self.rows, "1f2f"))
        self.assertCountEqual([row.name for row in order], [row.name for row in self.rows])
        self.assertEqual([row.name for row in table.ordered_by([row("c"), row("b"), row("a")], "1")], ["c", "a", "b"])


class Choice(unittest.TestCase):
    """What is chosen from rows."""

    def test_choose(self):
        """The gate, all, or what is named, once and in the order of the names."""
        rows = [row("a.x"), row("a.y", tier="all"), row("ab"), row("old", lane=("6.12",)), row("new", lane=("7.3",))]

        def chosen(*names, all_tiers=False, lane="7.3"):
            """Names of what is chosen."""
            return [row.name for row in table.choose(rows, names, all_tiers, lane)]
        self.assertEqual(chosen(), ["a.x", "ab", "new"])
        self.assertEqual(chosen(all_tiers=True), ["a.x", "a.y", "ab", "new"])
        self.assertEqual(chosen(lane="6.12"), ["old"])
        self.assertEqual(chosen(lane=""), ["a.x", "ab", "old", "new"])
        self.assertEqual(chosen("ab", "a", "a.y", "ab"), ["ab", "a.x", "a.y"])
        both = [row("a.x"), row("a.x.6.18", lane=("6.18",)), row("a.x.y"), row("a.z.6.18", lane=("6.18",))]
        for words, lane, found in ((["a"], "", both), (["a.x"], "", [both[0], both[2]]), (["a.x"], "6.18", [both[1]]),
                                   (["a.z"], "", [both[3]]), (["a.x", "a.x.6.18"], "", [both[0], both[2], both[1]])):
            self.assertCountEqual(table.choose(both, words, False, lane), found)
        for name in ("b", "a.", "old"):
            with self.assertRaisesRegex(TableError, f"no test '{name}'"):
                chosen(name)

    def test_lanes(self):
        """Mainline comes first; what says no lane is of the default."""
        self.assertIn(table.default_lane(), table.lanes())
        with tempfile.TemporaryDirectory() as root, mock.patch.object(shell, "SCRIPTS", f"{root}/scripts"):
            shutil.copytree(f"{table.ROOT}/scripts", f"{root}/scripts")
            for path, version in (("lts/6.18", "6.18.15"), ("lts/6.12", "6.12.9"), ("scripts", "7.3.4")):
                os.makedirs(f"{root}/{path}", exist_ok=True)
                with open(f"{root}/{path}/linux.pin", "w", encoding="utf-8") as file:
                    file.write(f"# pinned\nLINUX_VERSION={version}\n")
            shell.said_by.cache_clear()
            try:
                self.assertEqual(table.lanes(), ["7.3", "6.12", "6.18"])
                self.assertEqual(shell.said_by("lane_folder", "7.3"), (root,))
                self.assertEqual(shell.said_by("lane_folder", "6.12"), (f"{root}/lts/6.12",))
            finally:
                shell.said_by.cache_clear()

    def test_lanes_apart(self):
        """A kernel of another lane is another kernel."""
        rows = [row("a"), row("b", lane=("6.18",)), row("c")]
        self.assertEqual([len(part) for part in table.shards(rows, 2, 480)], [2, 1])

    def test_balance(self):
        """The longest are spread, and a kernel is a reason to stay where it is built."""
        rows = [row(str(i), seconds=i, script="x", run="") for i in range(1, 41)]
        sums = [sum(row.seconds for row in part) for part in table.shards(rows, 4, 480)]
        self.assertLessEqual(max(sums) - min(sums), 10)
        rows = [row("a", seconds=500), row("b", seconds=100, variant="debug"), row("c", seconds=90)]
        names = [[[row.name for row in part] for part in table.shards(rows, 2, cost)] for cost in (0, 480)]
        self.assertEqual(names, [[["a"], ["b", "c"]], [["a", "c"], ["b"]]])

    def test_shards_repeat(self):
        """They do not depend on the order of the rows."""
        rows = [row(str(i), seconds=10 + i % 3) for i in range(12)]
        self.assertEqual(table.shards(rows, 3, 60), table.shards(rows[::-1], 3, 60))


class Rows(unittest.TestCase):
    """What a row is made into."""

    def test_kunit(self):
        """Each module is loaded, and its suite's results are read; a failure ends it."""
        two = row("k", run="", kunit=(("iova-kunit", "iova_guard"), ("swiotlb-kunit", "swiotlb_partial")))
        self.assertEqual(two.command(), "insmod iova-kunit.ko && cat /sys/kernel/debug/kunit/iova_guard/results && "
                                        "insmod swiotlb-kunit.ko && cat /sys/kernel/debug/kunit/swiotlb_partial/results")
        self.assertTrue(two.command("modprobe {}").startswith("modprobe iova-kunit && cat"))
        self.assertEqual(row("r").command(), "./run")

    def test_kernels(self):
        """A boot takes its own, a program those that it names."""
        self.assertEqual(row("b", arch="arm64", variant="debug").needed_kernels(), [("arm64", "debug")])
        program = row("p", run="", script="x", arch="arm64", kernels=("x86_64:test", "arm64:64k"))
        self.assertEqual(program.needed_kernels(), [("x86_64", "test"), ("arm64", "64k")])

    def test_groups(self):
        """Packages for arm64 only where arm64 is, those for VMs only where there is one, cross
        compilers and their libraries only on another host."""
        machine = mock.patch.object(table.os, "uname", lambda: mock.Mock(machine="aarch64"))
        with machine:
            self.assertEqual(row("b").groups(), {"vm", "build", "build-x86_64"})
            self.assertEqual(row("b", arch="arm64").groups(), {"vm", "build", "vm-arm64"})
            self.assertEqual(row("p", run="", script="x", packages=("build",)).groups(), {"build", "build-x86_64"})
        machine = mock.patch.object(table.os, "uname", lambda: mock.Mock(machine="x86_64"))
        machine.start()
        self.addCleanup(machine.stop)
        self.assertEqual(row("b").groups(), {"vm", "build"})
        self.assertEqual(row("b", arch="arm64").groups(), {"vm", "build", "build-arm64", "vm-arm64"})

        def program(**fields):
            """Groups of a program on this machine."""
            return row("p", run="", script="x", **fields).groups()
        self.assertEqual(program(), set())
        self.assertEqual(program(packages=("lint",)), {"lint"})
        self.assertEqual(program(kernels=("x86_64:test",)), {"build"})
        self.assertEqual(program(kernels=("x86_64:test", "arm64:test")), {"build", "build-arm64"})
        self.assertEqual(program(kernels=("arm64:test",), packages=("vm",)), {"vm", "build", "build-arm64", "vm-arm64"})


if __name__ == "__main__":
    unittest.main()
