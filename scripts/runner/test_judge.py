# SPDX-License-Identifier: GPL-2.0
"""The judge, on canned folders of VMs that have ended."""
import contextlib
import io
import os
import sys
import tempfile
import unittest

import judge
import ktap

TREE = os.environ["TREE"]
# What a program of kselftest_harness.h says,
PROGRAM = """TAP version 13
1..2
# Starting 2 tests from 2 test cases.
#  RUN           attack.bounced.reads_zero ...
#            OK  attack.bounced.reads_zero
ok 1 attack.bounced.reads_zero
#  RUN           data.in_place.sync ...
#            OK  data.in_place.sync
ok 2 data.in_place.sync
# PASSED: 2 / 2 tests passed.
# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0
"""
# a script that runs several,
NESTED = """TAP version 13
1..2
    TAP version 13
    1..2
    # 0000:01:00.0 is untrusted
    ok 1 attack.bounced.reads_zero
    ok 2 data.in_place.sync # SKIP nothing is bounced
    # Totals: pass:1 fail:0 xfail:0 xpass:0 skip:1 error:0
ok 1 - dma_bounce
    TAP version 13
    1..1
    ok 1 pool.bounced.request_waits_for_a_page
ok 2 - dma_bounce_pool
"""
# a KUnit suite in debugfs,
SUITE = """KTAP version 1
1..1
    KTAP version 1
    # Subtest: iova_guard
    # module: iova_kunit
    1..2
    ok 1 guard_is_kept
        KTAP version 1
        # Subtest: sizes
        ok 1 4096
        ok 2 65536
    # sizes: pass:2 fail:0 skip:0 total:2
    ok 2 sizes
# iova_guard: pass:2 fail:0 skip:0 total:2
# Totals: pass:3 fail:0 skip:0 total:3
ok 1 iova_guard
"""
# and a script that counts as it goes.
COUNTED = """# 0000:00:06.0 e1000e
ok 1 domains translate
ok 2 round 1: data is right, MTU 1500
# violations 0
1..2
"""
BOOT = """[    0.000000] Linux version 6.18.15 (build@host) #1 SMP
[    0.104000] DMA-API: preallocated 65536 debug entries
[    0.104000] DMA-API: debugging enabled by kernel config
[    2.417225] dma_edu 0000:00:04.0: bound
"""
VTD = """[    3.100000] DMAR: DRHD: handling fault status reg 2
[    3.100100] DMAR: [DMA Write NO_PASID] Request device [{0}] fault addr 0xffde000 [fault reason 0x05] PTE Write access is not set
"""
SMMU_EVENT = """[    3.100000] arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received:
[    3.100000] arm-smmu-v3 arm-smmu-v3.0.auto: 	0x0000002000000010
"""
SMMU_TEXT = ("[    3.100100] arm-smmu-v3 arm-smmu-v3.0.auto: event: F_TRANSLATION client: 0000:{0} sid: 0x20 "
             "ssid: 0x0 iova: 0xffde008 ipa: 0x0\n")
REPORT = "[    3.100300] BUG: DMA: use-after-unmap write by dma_edu 0000:{0} at IOVA 0x000000000ffde008\n"
PANIC = "[    3.200000] Kernel panic - not syncing: DMA fault: unmapped write\n"


class JudgeTest(unittest.TestCase):
    """A temporary folder for what a VM leaves."""

    def setUp(self):
        """What each test starts from."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = folder.name

    def write(self, name, text):
        """A file in the folder; its path."""
        path = os.path.join(self.out, name)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        return path

    def verdict(self, result=PROGRAM, console=BOOT, verdict="exit 0\n", status=0, **rules):
        """What the judge says of a VM that has left this; files that are None are not there."""
        for name, text in (("result.log", result), ("console.log", console), ("verdict", verdict)):
            if text is not None:
                self.write(name, text)
        return judge.judge(self.out, status, judge.Rules(**{"expect": "ktap", "tree": TREE, "limit": 300} | rules))


class Ended(JudgeTest):
    """How the guest ended."""

    def test_good(self):
        """Each form of good output passes, with what is always on the console."""
        for result in (PROGRAM, SUITE, COUNTED, SUITE + SUITE, COUNTED + PROGRAM):
            with self.subTest(result=result):
                self.assertIsNone(self.verdict(result))
        self.assertIsNone(self.verdict(NESTED, skips=["nothing is bounced"]))

    def test_any(self):
        """What need not be KTAP is not read as such, but must be there."""
        self.assertIsNone(self.verdict("DMA\n", expect="any"))
        self.assertIsNone(self.verdict("not ok 1 x\n", expect="any"))
        self.assertEqual(self.verdict("", expect="any"), "the payload said nothing")

    def test_silent(self):
        """A payload that says nothing fails, with and without a file."""
        self.assertEqual(self.verdict(None), "the payload said nothing")
        self.assertEqual(self.verdict(""), "the payload said nothing")

    def test_exit(self):
        """A status of the payload other than 0 fails, that of a skip too."""
        for code in (1, 3, 4):
            self.assertEqual(self.verdict(verdict=f"exit {code}\n"), f"the payload ended with exit {code}")

    def test_checkers(self):
        """Those that must be on at the end are, or the run has not seen all."""
        three, kasan = ["kasan", "lockdep", "dma-debug"], BOOT + "[    0.000000] KernelAddressSanitizer initialized (generic)\n"
        on = "exit 0\non dma-debug\non lockdep\n"
        self.assertIsNone(self.verdict(console=kasan, verdict=on, checkers=three))
        for verdict, console, name in (("exit 0\non lockdep\n", kasan, "dma-debug"), ("exit 0\n", kasan, "lockdep"),
                                       ("exit 0\non dma-debug\n", kasan, "lockdep"), (on, BOOT, "kasan"),
                                       ("exit 0\nno dma-debug\non lockdep\n", kasan, "dma-debug")):
            wrong = f"{name} is off at the end, and has not seen all"
            self.assertEqual(self.verdict(console=console, verdict=verdict, checkers=three), wrong)
            self.assertIsNone(self.verdict(console=console, verdict=verdict))
        self.assertIsNone(self.verdict(console=kasan, verdict="exit 0\non lockdep\n", checkers=["kasan", "lockdep"]))
        self.assertEqual(self.verdict(verdict="exit 1\n" + on, checkers=three), "the payload ended with exit 1")

    def test_checkers_that_say_so(self):
        """That one turns itself off is no line that is always allowed."""
        for line in ("DMA-API: cacheline tracking ENOMEM, dma-debug disabled", "DMA-API: debugging out of memory - disabling",
                     "DMA-API: debugging out of memory error - disabled", "INFO: lockdep is turned off."):
            self.assertIn("not clean, on the console: ", self.verdict(console=f"{BOOT}[    1.0] {line}\n") or "")

    def test_no_verdict(self):
        """Without a verdict there is no pass."""
        self.assertEqual(self.verdict(verdict=None), "the guest gave no verdict")
        self.assertEqual(self.verdict(verdict=""), "the guest gave no verdict")

    def test_panic(self):
        """A panic fails, and is told before the time-out that it led to."""
        said = f"the guest panicked: {PANIC.strip()}"
        self.assertEqual(self.verdict(console=BOOT + PANIC), said)
        self.assertEqual(self.verdict(console=BOOT + PANIC, status=124), said)

    def test_wanted_panic(self):
        """One that is wanted passes without a verdict; it must come, and be the one."""
        want = {"panic": "Kernel panic - not syncing: DMA fault: unmapped", "verdict": None, "result": None}
        self.assertIsNone(self.verdict(console=BOOT + PANIC, **want))
        self.assertEqual(self.verdict(console=BOOT, **want), "the guest did not panic, which it must")
        other = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs"
        self.assertEqual(self.verdict(console=BOOT + other, **want), f"another panic: {other}")
        self.assertEqual(self.verdict(console=BOOT + PANIC, status=124, **want), "the guest timed out after 300 s")

    def test_time_out(self):
        """timeout(1) says 124, and 137 if it had to kill."""
        for status in (124, 137):
            self.assertEqual(self.verdict(status=status), "the guest timed out after 300 s")

    def test_qemu(self):
        """QEMU must start, and end well."""
        self.assertEqual(self.verdict(status=1), "qemu ended with status 1")
        os.remove(os.path.join(self.out, "console.log"))
        self.assertEqual(self.verdict(status=1, console=None), "qemu did not start, status 1")


class Said(JudgeTest):
    """What the payload said."""

    def failed(self, result, what, **rules):
        """The tests in @result do not pass, for this reason."""
        self.assertEqual(self.verdict(result, **rules), f"the payload's tests did not pass: {what}")

    def not_whole(self, result):
        """The plan in @result is not met."""
        self.assertIn("a plan that is not met", self.verdict(result))

    def test_not_ok(self):
        """A test that fails is named, and how many more there are."""
        bad = PROGRAM.replace("ok 1 attack", "not ok 1 attack")
        self.failed(bad, "not ok: attack.bounced.reads_zero")
        self.failed(bad.replace("ok 2 data", "not ok 2 data"), "not ok: attack.bounced.reads_zero (and 1 more)")
        self.failed(COUNTED.replace("ok 2", "not ok 2"), "not ok: round 1: data is right, MTU 1500")

    def test_nested_not_ok(self):
        """A subtest fails what is above it, whatever that says, and the other way round."""
        self.failed(NESTED.replace("    ok 1 attack", "    not ok 1 attack"),
                    "not ok: dma_bounce.attack.bounced.reads_zero")
        self.failed(SUITE.replace("ok 2 65536", "not ok 2 65536"), "not ok: iova_guard.sizes.65536")
        self.failed(NESTED.replace("ok 2 - ", "not ok 2 - "), "not ok: dma_bounce_pool")

    def test_plan(self):
        """Less than planned fails, on each level and wherever the output is cut off."""
        self.not_whole(PROGRAM.replace("1..2", "1..3"))
        self.not_whole(COUNTED.replace("1..2", "1..3"))
        self.not_whole(NESTED.replace("    1..1", "    1..2"))
        self.failed(SUITE.replace("    1..2", "    1..3"), "not ok: iova_guard")
        for good in (PROGRAM, SUITE, NESTED, COUNTED):
            lines = good.splitlines(keepends=True)
            last = max(i for i, line in enumerate(lines) if line.startswith(("ok ", "1..")))
            for length in range(1, last + 1):
                with self.subTest(cut="".join(lines[:length])):
                    self.assertIsNotNone(self.verdict("".join(lines[:length]), skips=[".*"]))

    def test_no_plan(self):
        """A program must have one plan."""
        self.failed(PROGRAM.replace("1..2\n", ""), "0 plans, not one, after: TAP version 13")
        self.failed(COUNTED + COUNTED, "2 plans, not one, after: TAP version 13")

    def test_beyond_plan(self):
        """More than planned fails, whatever the result, on each level."""
        for more in ("ok 3 data.more", "not ok 3 data.more", "not ok 3 data#1"):
            self.failed(PROGRAM + more + "\n", f"more results than planned: {more}")
        self.assertIsNotNone(self.verdict(SUITE.replace("    1..2", "    1..1")))
        self.assertIsNotNone(self.verdict(NESTED.replace("    1..2", "    1..1"), skips=[".*"]))

    def test_order(self):
        """A number out of order fails."""
        self.not_whole(PROGRAM.replace("ok 2", "ok 3"))

    def test_no_test(self):
        """Output without a test fails."""
        self.failed("nothing to see\n", "no test passed")
        self.not_whole("TAP version 13\n1..0\n")

    def test_all_skipped(self):
        """What only skips does not pass, even where it may skip."""
        result = "TAP version 13\n1..1\nok 1 all # SKIP nothing is bounced\n"
        self.failed(result, "no test passed", skips=[".*"])

    def test_skips(self):
        """A skip passes for a reason that is listed, as a whole."""
        self.assertIsNone(self.verdict(NESTED, skips=["other", "nothing is .*"]))
        said = "skipped: data.in_place.sync: nothing is bounced"
        for skips in ([], ["nothing"], ["is bounced"], ["(?!)"]):
            self.assertEqual(self.verdict(NESTED, skips=skips), said)

    def test_skip_without_reason(self):
        """No reason is none that is listed."""
        result = PROGRAM.replace("data.in_place.sync\n# P", "data.in_place.sync # SKIP\n# P")
        self.assertEqual(self.verdict(result, skips=["nothing is bounced"]),
                         "skipped: data.in_place.sync: no reason")

    def test_program_skipped(self):
        """A program that skips has not passed, and its reason counts among others."""
        for skip in ("1..0 # SKIP no edu device\n", "TAP version 13\n1..0 # SKIP no edu device\n"):
            self.failed(skip, "no test passed", skips=[".*"])
            for result in (PROGRAM + skip, skip + PROGRAM, COUNTED + skip):
                with self.subTest(result=result):
                    self.assertIsNone(self.verdict(result, skips=["no edu device"]))
                    self.assertEqual(self.verdict(result), "skipped: a whole program: no edu device")

    def test_nested_program_skipped(self):
        """The same below a result, which must be a skip, too."""
        skip = "    1..0 # SKIP no edu device\nok 3 - third{}\n"
        result = NESTED.replace("1..2\n    T", "1..3\n    T") + skip
        self.assertIsNone(self.verdict(result.format(" # SKIP no edu device"), skips=["n.*"]))
        self.failed(result.format(""), "not ok: third", skips=["n.*"])

    def test_results_name_the_skipped(self):
        """What is skipped is neither passed nor failed."""
        results = ktap.Results(TREE, NESTED)
        self.assertEqual(results.passed, ["dma_bounce.attack.bounced.reads_zero",
                                          "dma_bounce_pool.pool.bounced.request_waits_for_a_page"])
        self.assertEqual((results.failed, results.skipped), ([], ["dma_bounce.data.in_place.sync"]))

    def test_second_document(self):
        """Each document counts."""
        self.failed(PROGRAM + PROGRAM.replace("ok 2", "not ok 2"), "not ok: data.in_place.sync")
        self.not_whole(SUITE + PROGRAM.replace("1..2", "1..3"))

    def test_carriage_returns(self):
        """Lines may end as those of a terminal do."""
        self.assertIsNone(self.verdict(PROGRAM.replace("\n", "\r\n"), wants=["data.in_place.sync$"]))
        self.assertIsNone(ktap.Results(TREE, PROGRAM.replace("\n", "\r\n")).fault())

    def test_wants(self):
        """Each wanted line must be there."""
        self.assertIsNone(self.verdict(COUNTED, wants=["^# violations +0$", "^ok 1 "]))
        self.assertEqual(self.verdict(COUNTED, wants=["^ok 1 ", "^ok 3 "]), "the result has no line '^ok 3 '")
        self.assertEqual(self.verdict("DMA-FQ\n", expect="any", wants=["^DMA$"]), "the result has no line '^DMA$'")


class Console(JudgeTest):
    """What the console may say."""

    def unclean(self, line, **rules):
        """This line makes it not clean."""
        self.assertEqual(self.verdict(console=BOOT + line, **rules), f"not clean, on the console: {line.strip()}")

    def test_faults(self):
        """What the kernel complains of fails."""
        for line in ("[    2.5] WARNING: CPU: 0 PID: 97 at kernel/dma/debug.c:1001 check_unmap+0x6b4/0x9e0",
                     "[    2.5] BUG: KASAN: slab-out-of-bounds in dma_edu_ioctl",
                     "[    2.5] DMA-API: dma_edu 0000:00:04.0: device driver failed to check map error"):
            self.unclean(line)

    def test_result_comes_first(self):
        """A test that fails is told before the console."""
        self.assertIn("not ok", self.verdict(PROGRAM.replace("ok 1", "not ok 1"), console=BOOT + "WARNING: x"))

    def test_policy(self):
        """A policy of scripts/console allows its lines and no others."""
        freed = "[    2.5] BUG: DMA: page freed while mapped: pfn 0x469c order 2 count 1\n"
        self.unclean(freed)
        self.assertIsNone(self.verdict(console=BOOT + freed, policies=["debug-pagealloc"]))
        self.unclean(freed.replace("count 1", "count 9"), policies=["debug-pagealloc"])

    def test_own_policy(self):
        """A policy elsewhere must say why, before each line."""
        good = self.write("good", "# made up\n\n# why\nWARNING: mine\n")
        self.assertIsNone(self.verdict(console=BOOT + "WARNING: mine", policies=[good]))
        self.unclean("WARNING: yours", policies=[good])
        for text in ("WARNING: mine\n", "# why\nWARNING: mine\nBUG: mine\n", "# why\n\nWARNING: mine\n"):
            bad = self.write("bad", text)
            with self.assertRaisesRegex(judge.Broken, "bad: no comment with a reason before (WARNING|BUG): mine"):
                self.verdict(policies=[bad])

    def test_broken_policy(self):
        """A policy that cannot be read, and regular expressions that are none, are told."""
        with self.assertRaisesRegex(judge.Broken, "cannot read the policy file .*/console/nope: No such file"):
            self.verdict(policies=["nope"])
        with self.assertRaisesRegex(judge.Broken, "cannot read the policy file .*: Is a directory"):
            self.verdict(policies=[self.out + "/"])
        bad = self.write("bad", "# why\nWARNING: (\n")
        for rules in ({"policies": [bad]}, {"wants": ["("]}, {"skips": ["("]}, {"faults_of": "("},
                      {"panic": "(", "console": PANIC}):
            with self.assertRaisesRegex(judge.Broken, "not a regular expression: .*[(]"):
                self.verdict(**rules)

    def test_faults_of(self):
        """Faults of the device are allowed, and only of it, and only if it is named."""
        for line in (VTD, SMMU_EVENT + SMMU_TEXT, REPORT):
            with self.subTest(line=line):
                self.assertIsNone(self.verdict(console=BOOT + line.format("00:04.0"), faults_of=r"00:04\.0"))
                self.assertIsNotNone(self.verdict(console=BOOT + line.format("00:04.0")))
        for line in (VTD.splitlines()[1], REPORT):
            self.unclean(line.format("00:05.0"), faults_of=r"00:04\.0")
            self.unclean(line.format("00:06.0"), faults_of=r"00:04\.0|00:05\.0")
        self.unclean("arm-smmu-v3 arm-smmu-v3.0.auto: event 0x06 received:", faults_of=r"00:04\.0")

    def test_wrong_direction(self):
        """Going against the direction is allowed by a policy of its own, for the device."""
        lines = (REPORT.replace("use-after-unmap", "wrong-direction"),
                 "arm-smmu-v3 arm-smmu-v3.0.auto: event: F_PERMISSION client: 0000:{} sid: 0x20",
                 "arm-smmu-v3 arm-smmu-v3.0.auto: event 0x13 received:")
        for line in lines:
            with self.subTest(line=line):
                self.unclean(line.format("00:04.0"), faults_of=r"00:04\.0")
                self.assertIsNone(self.verdict(console=BOOT + line.format("00:04.0"), faults_of=r"00:04\.0",
                                               policies=["wrong-direction"]))
        self.unclean(lines[1].format("00:05.0"), faults_of=r"00:04\.0", policies=["wrong-direction"])
        other = REPORT.replace("dma_edu", "nvme").format("00:04.0")
        self.unclean(other, faults_of=r"00:04\.0", policies=["wrong-direction"])
        self.assertIsNone(self.verdict(console=BOOT + other, faults_of=r"00:04\.0", policies=["other-drivers"]))

    def test_policy_of_no_device(self):
        """A policy about a device is of no use without one."""
        with self.assertRaisesRegex(judge.Broken, "none is named by --faults-of"):
            self.verdict(policies=["wrong-direction"])

    def test_never(self):
        """A line that must not be there."""
        self.assertIsNone(self.verdict(nevers=["no such line"]))
        self.assertRegex(self.verdict(nevers=["no such line", "^ok 1"]), "must not have: ok 1")

    def test_smmu_fault_of_another(self):
        """SMMUv3 names the device in plain text alone."""
        self.unclean(SMMU_TEXT.format("00:05.0"), faults_of=r"00:04\.0")

    def test_several_devices(self):
        """The device is a regular expression, which may name several."""
        for device in ("00:04.0", "00:05.0"):
            self.assertIsNone(self.verdict(console=BOOT + REPORT.format(device), faults_of=r"00:04\.0|00:05\.0"))
        self.unclean("WARNING: 00:05.0 is made up", faults_of=r"00:04\.0|00:05\.0")


class Command(JudgeTest):
    """The command, as scripts/vm gives it."""

    def run_main(self, *options):
        """(status, what it printed) of the command on the folder."""
        said, old = io.StringIO(), sys.argv
        sys.argv = ["judge.py", "--out", self.out, "--tree", TREE, *options]
        try:
            with contextlib.redirect_stdout(said):
                return judge.main(), said.getvalue()
        finally:
            sys.argv = old

    def test_options(self):
        """Each option has its say."""
        self.assertIsNone(self.verdict(NESTED, skips=[".*"]))
        good = ("--status=0", "--expect=ktap", "--skip=nothing is bounced", "--want=^ok 1")
        self.assertEqual(self.run_main(*good), (0, ""))
        self.assertEqual(self.run_main("--status=124", "--limit=6"), (1, "the guest timed out after 6 s\n"))
        self.assertEqual(self.run_main("--status=0", "--expect=ktap")[1],
                         "skipped: data.in_place.sync: nothing is bounced\n")
        self.assertEqual(self.run_main(*good, "--want=nope")[1], "the result has no line 'nope'\n")
        self.assertEqual(self.run_main("--status=0", "--panic=x")[1], "the guest did not panic, which it must\n")
        self.write("console.log", REPORT.format("00:04.0") + "WARNING: mine\n")
        policy = self.write("policy", "# why\nWARNING: mine\n")
        self.assertEqual(self.run_main(*good, "--policy", policy, r"--faults-of=00:04\.0"), (0, ""))
        self.assertEqual(self.run_main(*good, "--policy", policy)[0], 1)

    def test_broken(self):
        """What cannot be used is one line, and no pass."""
        self.verdict()
        status, said = self.run_main("--status=0", "--expect=ktap", "--policy=nope")
        self.assertEqual((status, said.count("\n")), (1, 1))
        status, said = self.run_main("--status=0", "--expect=ktap", "--tree=/nonexistent")
        self.assertEqual((status, said), (1, "no kunit_parser.py in /nonexistent/tools/testing/kunit\n"))


if __name__ == "__main__":
    unittest.main()
