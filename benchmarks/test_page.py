# SPDX-License-Identifier: GPL-2.0
"""The page: what stands first, and that it is small and whole."""
import html.parser
import re
import unittest
from unittest import mock

import page
from test_costs import OFF, OFF_LAZY, boot, result, sample

VOID = {"meta", "br", "path", "use", "rect"}
GUARDS = boot("guards-4K", "iommu.strict=1 iommu.dma_guard_pages=4", sample(1100), sample(1, size=1500, mapped=0))


def whole(*runs, **other):
    """A result as a page wants it."""
    runs = [dict(run, release="x", vm="--icount") for run in runs]
    return {**result(*runs, **other), "set": "quick", "qemu": "QEMU", "cpu": "one", "series": "0", "commit": "0",
            "kernels": {"on": {"image": "0", "config": "0", "text": "CONFIG_A=y"}}}


def made(new, old=None):
    """The page as text."""
    return "\n".join(part for part in page.page(new, old) if part)


class Balance(html.parser.HTMLParser):
    """Whether each element is closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong = [], []
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


class Page(unittest.TestCase):
    """What a person sees."""

    def test_first_the_answer(self):
        """The table, then its drawing, and all the rest behind 'Details'."""
        text = made(whole(OFF, OFF_LAZY, GUARDS))
        order = [text.index(part) for part in ("<h1>What does each protection cost?", "<table class='cost'>", "guard pages",
                                               "<svg", "<summary>Details</summary>", "CONFIG_A=y")]
        self.assertEqual(order, sorted(order))
        self.assertEqual(text.count("<table", 0, text.index("<summary>Details")), 1)

    def test_cells(self):
        """Have their figure, their colour and what they are of, for a phone."""
        text = made(whole(OFF, GUARDS))
        self.assertIn("<td title='4 KiB' class='l1'>1.10 / –</td>", text)
        self.assertIn("<td title='packet' class='l3'>fails / –</td>", text)
        self.assertIn("<td title='request' class='none'>not measured</td>", text)

    def test_instructions(self):
        """No count of them is called ns."""
        text = made(whole(OFF, GUARDS))
        self.assertIn("map / unmap in instructions", text)
        self.assertNotRegex(text, r"\bns\b")

    def test_whole(self):
        """Each element is closed, no id is twice, and no other file is needed."""
        text = made(whole(OFF, OFF_LAZY, GUARDS, dict(GUARDS, iommu="amd-vi"), dict(OFF, iommu="amd-vi")))
        self.assertEqual(Balance(text).wrong, [])
        ids = re.findall(r'\bid="([^"]+)"', text)
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual(set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)), {(i, "") for i in ids} | {("", i) for i in ids})
        self.assertNotRegex(text, r"""(src|href)=["']?https?:""")

    def test_small(self):
        """A drawing takes no more than 40 kB."""
        text = made(whole(OFF, OFF_LAZY, GUARDS))
        drawings = re.findall(r"<svg.*?</svg>", text, re.S)
        self.assertTrue(drawings)
        self.assertLess(max(map(len, drawings)), 40000)

    def test_one_boot_alone(self):
        """Has no cost, and says why."""
        self.assertIn("it takes a boot with every protection off", made(whole(OFF)))

    def test_threads(self):
        """By the clock, and named so."""
        runs = [dict(OFF, lane="wall", cases="threads", samples=[dict(sample(total), threads=threads)
                                                                for threads in (1, 2) for total in (900, 1000)])]
        self.assertIn("ns, wall clock", made(whole(OFF, GUARDS, *runs)))


class Compare(unittest.TestCase):
    """What is drawn of two results."""

    def test_two_runs(self):
        """Each case that changed, and none that did not."""
        dearer = dict(GUARDS, samples=[sample(1300), sample(1, size=1500, mapped=0)])
        text = made(whole(OFF, dearer), whole(OFF, GUARDS))
        self.assertIn("<td>1.182</td><td>guards-4K</td><td>strict</td><td>single 4 KiB</td>", text)
        self.assertNotIn("<td>off-at-boot</td><td>strict</td><td>single 4 KiB</td>", text)
        self.assertIn("No case takes 1.02 times", made(whole(OFF, GUARDS), whole(OFF, GUARDS)))

    def test_a_map_that_fails_now(self):
        """Is in the table, and does not spoil the drawing."""
        good = dict(GUARDS, samples=[sample(1100), sample(2000, size=1500)])
        self.assertIn("<td>inf</td><td>guards-4K</td>", made(whole(OFF, GUARDS), whole(OFF, good)))

    def test_two_kernels(self):
        """Factors, for instructions of different kernels say little."""
        text = made(whole(OFF, GUARDS, linux="7.3"), whole(OFF, dict(GUARDS, samples=[sample(1500)])))
        self.assertIn("1.50 → 1.10", text)
        self.assertIn("From Linux 6.18 to Linux 7.3", text)

    def test_is_drawn(self):
        """One drawing more than without."""
        one, two = made(whole(OFF, GUARDS)), made(whole(OFF, GUARDS), whole(OFF, GUARDS))
        self.assertEqual(two.count("<svg"), one.count("<svg") + 1)


class Library(unittest.TestCase):
    """That it is missing is said in a line."""

    def test_missing(self):
        """With the package to install."""
        with mock.patch.dict("sys.modules", {"matplotlib": None}), self.assertRaises(SystemExit) as ended:
            made(whole(OFF, GUARDS))
        self.assertIn("install python3-matplotlib", str(ended.exception))


if __name__ == "__main__":
    unittest.main()
