// SPDX-License-Identifier: GPL-2.0
/*
 * Reports of DMA faults: what the kernel says when a device misses its buffers,
 * in the log, in sysfs, by a uevent, in tracepoints, and to the driver
 *
 * Needs the dma_edu module and QEMU's edu device behind an IOMMU. Reports are
 * read from the kernel log and compared line by line. What is in them depends on
 * iommu.dma_fault_history=, and on the IOMMU: VT-d tells the address of a page, and
 * SMMUv3 that of a byte. The test looks at how the kernel was booted and expects
 * what it has to say then.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_FAULT_NVME: PCI name of an NVMe controller that may be made to fault, for
 *	thousands of faults in a second. FOR QEMU ONLY: a disk may not survive it.
 * DMA_FAULT_STORM: how many faults are a storm, 100000 if not set
 * DMA_FAULT_STORM_MS: how long it may last, 20000 ms if not set, or 90000 ms of a
 *	controller
 * DMA_FAULT_RACE_MS: how long each race lasts, 3000 ms if not set
 */

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nvme_ioctl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/util.h"

/* Enough for a report with two stacks */
#define MAX_LINES	64

/* How the kernel was booted, and what the IOMMU is. */
static bool history;		/* it records mappings */
static bool stacks;		/* with the caller */
static bool off;		/* it does not look at faults */
static __u64 step;		/* bytes to which the IOMMU tells an address */

static unsigned long env_ulong(const char *name, unsigned long def)
{
	const char *val = getenv(name);

	return val && *val ? strtoul(val, NULL, 0) : def;
}

static int read_settings(void)
{
	char value[64], name[64];
	int ret;

	boot_param("iommu.dma_fault_history", value, sizeof(value));
	history = strtoul(value, NULL, 10);
	stacks = history && !strstr(value, ",nostack");
	off = boot_param("iommu.dma_fault", value, sizeof(value)) &&
	      (!strcmp(value, "off") || !strcmp(value, "0"));

	ret = edu_iommu_name(name, sizeof(name));
	if (ret)
		return ret;
	step = edu_iommu_is(IOMMU_VTD) ? 4096 : 1;
	ksft_print_msg("%s: addresses to %llu bytes, %shistory\n", edu_name,
		       step, history ? "" : "no ");
	return 0;
}

/* ------------------------------------------------------------- the counters */

enum class {
	OUT_OF_BOUNDS, USE_AFTER_UNMAP, WRONG_DIRECTION, UNMAPPED,
	NOT_CLASSIFIED, NR
};

static const char * const class_names[NR] = {
	"out-of-bounds", "use-after-unmap", "wrong-direction", "unmapped",
	"not-classified",
};

static const char * const counter_names[NR] = {
	"out_of_bounds", "use_after_unmap", "wrong_direction", "unmapped",
	"not_classified",
};

struct counts {
	long long nr[NR];
};

static void counter_path(char path[EDU_PATH_MAX], const char *dev, int class)
{
	snprintf(path, EDU_PATH_MAX, EDU_PCI_DEVICES "/%s/dma_faults/%s", dev,
		 counter_names[class]);
}

static int read_counts(const char *dev, struct counts *counts)
{
	char path[EDU_PATH_MAX], buf[32];
	int i, ret;

	for (i = 0; i < NR; i++) {
		counter_path(path, dev, i);
		ret = file_read(path, buf, sizeof(buf));
		if (ret)
			return ret;
		counts->nr[i] = strtoll(buf, NULL, 10);
	}
	return 0;
}

/* All faults of @dev, or a negative errno. */
static long long counts_sum(const char *dev)
{
	struct counts counts;
	long long sum = 0;
	int i, ret;

	ret = read_counts(dev, &counts);
	if (ret)
		return ret;
	for (i = 0; i < NR; i++)
		sum += counts.nr[i];
	return sum;
}

/* There were @nr faults of @class since @before, and none of another. */
static bool only_these(const struct counts *before, int class, long long nr)
{
	struct counts now;
	bool good = true;
	int i;

	if (read_counts(edu_name, &now))
		return false;
	for (i = 0; i < NR; i++) {
		long long is = now.nr[i] - before->nr[i];

		if (is == (i == class ? nr : 0))
			continue;
		ksft_print_msg("%lld faults counted in %s\n", is,
			       counter_names[i]);
		good = false;
	}
	return good;
}

/* ------------------------------------------------------- reports in the log */

static const char rule[] =
	"==================================================================";

/* The lines of a report between the rules. */
struct text {
	char lines[MAX_LINES][KMSG_LINE_MAX];
	int nr;
};

/* Wait for a report. */
static bool report_read(int kmsg, struct text *text, int timeout_ms)
{
	long long end = now_ms() + timeout_ms, left;
	char line[KMSG_LINE_MAX];
	bool within = false;

	text->nr = 0;
	while ((left = end - now_ms()) > 0 && kmsg_next(kmsg, line, left)) {
		if (!strcmp(line, rule)) {
			if (within)
				return true;
			within = true;
		} else if (within && !kmsg_is_iommu(line) &&
			   text->nr < MAX_LINES) {
			memcpy(text->lines[text->nr++], line, KMSG_LINE_MAX);
		}
	}
	return false;
}

static bool __printf(3, 4)
next_is(const struct text *text, int *pos, const char *fmt, ...)
{
	const char *got = *pos < text->nr ? text->lines[*pos] : "(end)";
	char want[KMSG_LINE_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(want, sizeof(want), fmt, args);
	va_end(args);
	++*pos;
	if (!strcmp(want, got))
		return true;
	ksft_print_msg("expected: %s\n", want);
	ksft_print_msg("     got: %s\n", got);
	return false;
}

/* "mapped 0.000001s before the fault:" and the stack of an ioctl of dma_edu */
static bool next_is_age(const struct text *text, int *pos, const char *what)
{
	const char *line = *pos < text->nr ? text->lines[*pos] : "(end)";
	unsigned long long sec;
	unsigned int usec;
	char word[32], tail[32];
	bool edu = false;

	++*pos;
	if (sscanf(line, "%31s %llu.%6us %31[^\n]", word, &sec, &usec,
		   tail) != 4 || strcmp(word, what) || sec > 600 ||
	    strcmp(tail, stacks ? "before the fault:" : "before the fault")) {
		ksft_print_msg("expected: %s ... before the fault\n", what);
		ksft_print_msg("     got: %s\n", line);
		return false;
	}
	while (*pos < text->nr && text->lines[*pos][0] == ' ')
		edu |= !!strstr(text->lines[(*pos)++], " dma_edu_ioctl+");
	if (edu != stacks)
		ksft_print_msg("the stack of '%s' is not right\n", what);
	return edu == stacks;
}

/**
 * struct want - a fault, as it is to be reported
 * @class: enum class
 * @write: the device wanted to write
 * @iova: address, to the byte
 * @start: of the mapping concerned
 * @size: of that, 0 if none is known
 * @dir: its direction if it was recorded, else NULL
 * @undone: it was unmapped
 * @below: what is before an address that is between mappings, NULL if nothing is
 * @above: what is after it
 */
struct want {
	int class;
	bool write;
	__u64 iova;
	__u64 start;
	__u64 size;
	const char *dir;
	bool undone;
	const struct mapping *below;
	const struct mapping *above;
};

static __u64 want_iova(const struct want *want)
{
	return want->iova / step * step;
}

/*
 * How far the address is from the mapping, and on which side. Of the page that
 * the IOMMU tells, what is nearest to the mapping counts.
 */
static __u64 want_distance(const struct want *want, bool *before)
{
	__u64 iova = want_iova(want);

	*before = want->size && iova + step <= want->start;
	if (!want->size)
		return 0;
	if (*before)
		return want->start - iova;
	return iova >= want->start + want->size ?
	       iova - want->start - want->size : 0;
}

static bool report_is(const struct text *text, const struct want *want)
{
	const char *what = want->class == USE_AFTER_UNMAP ? "former mapping" :
							    "mapping";
	bool before, good;
	__u64 distance = want_distance(want, &before);
	int pos = 0;

	good = next_is(text, &pos,
		       "BUG: DMA: %s %s by dma_edu %s at IOVA 0x%016llx",
		       class_names[want->class], want->write ? "write" : "read",
		       edu_name, want_iova(want));
	if (want->below) {
		good &= next_is(text, &pos,
				"between known mappings");
		good &= next_is(text, &pos,
				"%llu bytes after the mapping of %llu bytes at IOVA 0x%016llx",
				want_iova(want) - want->below->req.iova -
				want->below->req.size, want->below->req.size,
				want->below->req.iova);
		good &= next_is(text, &pos,
				"%llu bytes before the mapping of %llu bytes at IOVA 0x%016llx",
				want->above->req.iova - want_iova(want),
				want->above->req.size, want->above->req.iova);
		if (step > 1)
			good &= next_is(text, &pos,
					"fault address granularity: %llu bytes",
					step);
		return good && pos == text->nr;
	}
	if (!want->size)
		return next_is(text, &pos, "no mapping is known near this address") &&
		       good && pos == text->nr;

	/* The page begins before the mapping, and so nobody knows more. */
	if (want_iova(want) < want->start && !before)
		good &= next_is(text, &pos,
				"in the %s of %llu bytes at IOVA 0x%016llx",
				what, want->size, want->start);
	else if (distance || want->class == OUT_OF_BOUNDS)
		good &= next_is(text, &pos,
				"%llu bytes %s the %s of %llu bytes at IOVA 0x%016llx",
				distance, before ? "before" : "after", what,
				want->size, want->start);
	else
		good &= next_is(text, &pos,
				"%llu bytes into the %s of %llu bytes at IOVA 0x%016llx",
				want_iova(want) - want->start, what,
				want->size, want->start);
	if (step > 1)
		good &= next_is(text, &pos,
				"fault address granularity: %llu bytes", step);
	if (want->dir) {
		good &= next_is(text, &pos, "direction: %s, driver: dma_edu",
				want->dir);
		good &= next_is_age(text, &pos, "mapped");
		if (want->undone)
			good &= next_is_age(text, &pos, "unmapped");
	}
	if (good && pos < text->nr)
		ksft_print_msg("not expected: %s\n", text->lines[pos]);
	return good && pos == text->nr;
}

/* ------------------------------------------------------------ making faults */

/* What the kernel reports of a device in five seconds. */
#define BURST		10

/* And what of one mapping: one in this time. */
#define SAME_MS		1100

/*
 * What was reported lately, by all tests: each has a process of its own, and
 * what the kernel prints is limited.
 */
static struct lately {
	long long reports[BURST];
	unsigned int next;
	struct want last;
	long long last_ms;
} *lately;

static void sleep_until(long long ms)
{
	if (ms > now_ms())
		sleep_ms(ms - now_ms());
}

/* Come back when a report is sure to be printed. */
static void wait_for_room(const struct want *want)
{
	const struct want *last = &lately->last;

	if (want->class == last->class && want->write == last->write &&
	    want->start == last->start)
		sleep_until(lately->last_ms + SAME_MS);
	if (lately->reports[lately->next])
		sleep_until(lately->reports[lately->next] + RATELIMIT_MS);
}

static void note_report(const struct want *want)
{
	lately->last = *want;
	lately->last_ms = now_ms();
	lately->reports[lately->next] = now_ms();
	lately->next = (lately->next + 1) % BURST;
}

/* Of a test that makes more faults than are reported. */
static void note_many(void)
{
	int i;

	for (i = 0; i < BURST; i++)
		lately->reports[i] = now_ms();
	lately->last_ms = now_ms();
}

/* A transfer of this length is one fault where IOMMUs count words, too. */
#define WORD	4

static int xfer_word(int fd, __u64 iova, bool write)
{
	return edu_xfer(fd, iova, 0, WORD, write ? DMA_EDU_XFER_WRITE : 0);
}

/*
 * @kmsg: for reports. @kmsg_all: for log_is_clean() only, so that it sees what
 * was logged since the start of the test, whatever has been read from @kmsg.
 */
struct fault_state {
	int fd;
	int kmsg;
	int kmsg_all;
	__u64 guard;
	struct dma_edu_info info;
	struct mapping top, above, below, bottom;	/* of map_alone() */
};

/*
 * A transfer that has to fault, and what is said and counted of that. Once more
 * if the report has fallen to the kernel's limit all the same.
 */
static bool faults_as(struct fault_state *st, const struct want *want)
{
	static struct text text;
	struct counts before;
	char line[KMSG_LINE_MAX];
	int tries, i;

	if (read_counts(edu_name, &before))
		return false;
	for (tries = 1; tries <= 2; tries++) {
		wait_for_room(want);
		while (kmsg_next(st->kmsg, line, 0))
			;
		if (xfer_word(st->fd, want->iova, want->write))
			return false;
		if (report_read(st->kmsg, &text, FAULT_WAIT_MS))
			break;
		note_many();
		if (!only_these(&before, want->class, tries)) {
			ksft_print_msg("no report of %#llx\n", want->iova);
			return false;
		}
	}
	note_report(want);
	if (!report_is(&text, want)) {
		for (i = 0; i < text.nr; i++)
			ksft_print_msg("| %s\n", text.lines[i]);
		return false;
	}
	return only_these(&before, want->class, tries);
}

/* The same, and once more in the other direction */
static bool faults_both_ways(struct fault_state *st, struct want want)
{
	if (!faults_as(st, &want))
		return false;
	want.write = !want.write;
	return faults_as(st, &want);
}

/* Wait until the device has more faults than @before. */
static bool is_counted(const char *dev, long long before, int timeout_ms)
{
	long long end = now_ms() + timeout_ms;

	do {
		if (counts_sum(dev) > before)
			return true;
		sleep_ms(10);
	} while (now_ms() < end);
	return false;
}

/*
 * The same while the log is full of another device's. VT-d in QEMU has room for one
 * fault, and that of the other device is in it half of the time: the kernel does not
 * get to see each.
 */
static bool report_of_edu_is(struct fault_state *st, const struct want *want)
{
	static struct text text;
	struct counts before;
	long long sum, end;
	int tries = 0;

	sum = counts_sum(edu_name);
	if (sum < 0 || read_counts(edu_name, &before))
		return false;
	wait_for_room(want);
	do {
		if (tries++ == 20) {
			ksft_print_msg("%#llx is not counted\n", want->iova);
			return false;
		}
		if (xfer_word(st->fd, want->iova, want->write))
			return false;
	} while (!is_counted(edu_name, sum, 300));
	end = now_ms() + 20000;
	while (now_ms() < end && report_read(st->kmsg, &text, FAULT_WAIT_MS)) {
		if (!text.nr || !kmsg_is_fault_report(text.lines[0], edu_name))
			continue;
		note_report(want);
		return report_is(&text, want) &&
		       only_these(&before, want->class, 1);
	}
	ksft_print_msg("no report of %#llx\n", want->iova);
	return false;
}

/* No complaint of the kernel about itself but reports of faults. */
static bool log_is_clean(int kmsg)
{
	return kmsg_has_no_complaint(kmsg, NULL, NULL, "did not unregister");
}

static void fault_state_exit(struct fault_state *st)
{
	fd_close(&st->fd);
	fd_close(&st->kmsg);
	fd_close(&st->kmsg_all);
}

/* @type: NULL for the group as it is. 0 or a negative errno. */
static int fault_state_init(struct fault_state *st, const char *type,
			    long guard_kb)
{
	int ret = 0;
	long kb;

	st->fd = -1;
	st->kmsg = -1;
	st->kmsg_all = kmsg_open();
	if (st->kmsg_all < 0)
		return st->kmsg_all;
	if (type)
		ret = group_set(type, guard_kb);
	if (!ret)
		ret = edu_bind(edu_name);
	if (!ret) {
		st->fd = edu_open(edu_name);
		ret = st->fd < 0 ? st->fd : edu_info(st->fd, &st->info);
	}
	if (!ret) {
		st->kmsg = kmsg_open();
		ret = st->kmsg < 0 ? st->kmsg : 0;
	}
	kb = edu_guard_kb(edu_name);
	st->guard = kb > 0 ? (__u64)kb << 10 : 0;
	if (ret)
		fault_state_exit(st);
	return ret;
}

/* ------------------------------------------------------------- what is mapped */

static const char * const dir_names[] = {
	[DMA_EDU_BIDIRECTIONAL] = "DMA_BIDIRECTIONAL",
	[DMA_EDU_TO_DEVICE] = "DMA_TO_DEVICE",
	[DMA_EDU_FROM_DEVICE] = "DMA_FROM_DEVICE",
};

/* Large enough to go back to the allocator at once instead of to its caches */
static __u64 big(const struct fault_state *st)
{
	return 64 * st->info.granule;
}

/* First address past the granule that the mapped part of a buffer ends in. */
static __u64 mapped_end(const struct fault_state *st, const struct mapping *m)
{
	__u64 len = m->req.path == DMA_EDU_IOVA ? m->req.link : m->req.size;

	return align_up(m->req.iova + len, st->info.granule);
}

/*
 * A fault at @iova that has to do with @m, which is mapped. What was recorded is
 * exact, and anything else whole pages; dma_iova_link() is not recorded.
 */
static struct want want_mapped(const struct fault_state *st, int class,
			       bool write, __u64 iova, const struct mapping *m)
{
	__u64 granule = st->info.granule;
	struct want want = {
		.class = class,
		.write = write,
		.iova = iova,
		.start = m->req.iova / granule * granule,
	};

	want.size = mapped_end(st, m) - want.start;
	if (history && m->req.path != DMA_EDU_IOVA) {
		want.start = m->req.iova;
		want.size = m->req.size;
		want.dir = dir_names[m->req.dir];
	}
	return want;
}

/* The same of one that was unmapped: the allocator rounds up to powers of two. */
static struct want want_unmapped(const struct fault_state *st, bool write,
				 __u64 iova, const struct mapping *m)
{
	struct want want = want_mapped(st, USE_AFTER_UNMAP, write, iova, m);
	__u64 size = st->info.granule;

	want.undone = true;
	if (want.dir)
		return want;
	while (size < want.size)
		size *= 2;
	want.size = size;
	return want;
}

static int map(struct fault_state *st, struct mapping *m, __u64 size, __u32 dir)
{
	return kind_map(st->fd, m, &kinds[0], size, 0, dir, XFER_MASK_BITS, 0,
			0x5a);
}

/* Unmap, but keep the memory. */
static int unmap_keep(struct fault_state *st, const struct mapping *m)
{
	return edu_unmap(st->fd, m->req.handle, DMA_EDU_UNMAP_KEEP);
}

static bool is_lazy(const struct fault_state *st)
{
	return st->info.domain == DMA_EDU_DOMAIN_DMA_FQ;
}

/*
 * A mapping of that size with nothing right above it, and nothing right below: there
 * were others, of the same size, and behind each of those there is one.
 */
static int map_alone(struct fault_state *st, struct mapping *m, __u32 dir)
{
	int ret;

	ret = flush_iova_caches(st->fd, is_lazy(st)) ?:
	      map(st, &st->top, big(st), dir) ?:
	      map(st, &st->above, big(st), dir) ?: map(st, m, big(st), dir) ?:
	      map(st, &st->below, big(st), dir) ?:
	      map(st, &st->bottom, big(st), dir);
	if (ret)
		return ret;
	if (st->top.req.iova < st->above.req.iova ||
	    st->above.req.iova < m->req.iova ||
	    m->req.iova < st->below.req.iova ||
	    st->below.req.iova < st->bottom.req.iova)
		return -ERANGE;
	ret = unmap_keep(st, &st->above) ?: unmap_keep(st, &st->below);
	if (is_lazy(st))
		sleep_ms(FQ_DRAIN_MS);
	return ret;
}

/* Neighbours that are farther, both of them, are not named. */
#define NEAR		KB(64ULL)

static bool is_in(__u64 iova, const struct mapping *m)
{
	return iova >= m->req.iova && iova - m->req.iova < m->req.size;
}

/*
 * A fault at @iova, next to @m of map_alone() and beyond its guard. Only what was
 * recorded tells that there was a mapping; no neighbour is to blame without.
 */
static struct want want_beside(const struct fault_state *st, bool write,
			       __u64 iova, const struct mapping *m)
{
	const struct mapping *gone = iova < m->req.iova ? &st->below :
							  &st->above;
	struct want want = {
		.class = UNMAPPED,
		.write = write,
		.iova = iova,
		.below = iova < m->req.iova ? &st->bottom : m,
		.above = iova < m->req.iova ? m : &st->top,
	};

	if (history && is_in(iova, gone))
		return want_unmapped(st, write, iova, gone);
	return want;
}

/*
 * An address below @m of map_alone(). With a history it is one that was in the last
 * mapping there, for that has others, too, of which the test does not know.
 */
static __u64 iova_before(const struct fault_state *st, const struct mapping *m)
{
	return (history ? st->below.req.iova + st->below.req.size :
			  m->req.iova) - 16;
}

/* The same above it, and above its guard */
static __u64 iova_after(const struct fault_state *st, const struct mapping *m)
{
	return (history ? st->above.req.iova :
			  mapped_end(st, m) + st->guard) + 8;
}

/* Below what is mapped, and nowhere near */
#define FAR_IOVA	(MB(32ULL) + 16)

/* ------------------------------------------------------------------- reports */

FIXTURE(report)
{
	struct fault_state st;
};

FIXTURE_VARIANT(report)
{
	const char *type;
	unsigned int guard_kb;
};

/* The group stays as the last one has it: the tests after these want a guard. */
FIXTURE_VARIANT_ADD(report, strict_no_guard)
{
	.type = "DMA",
	.guard_kb = 0,
};

FIXTURE_VARIANT_ADD(report, lazy_guard)
{
	.type = "DMA-FQ",
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(report, strict_guard)
{
	.type = "DMA",
	.guard_kb = 4,
};

FIXTURE_SETUP(report)
{
	if (off)
		SKIP(return, "iommu.dma_fault=off");
	if (variant->guard_kb && edu_guard_kb(edu_name) == -ENOENT)
		SKIP(return, "kernel without DMA guard pages");
	ASSERT_EQ(0, fault_state_init(&self->st, variant->type,
				      variant->guard_kb));
	if (!strcmp(variant->type, "DMA-FQ") && !is_lazy(&self->st)) {
		fault_state_exit(&self->st);
		SKIP(return, "the IOMMU has no lazy mode");
	}
	ASSERT_EQ(!!variant->guard_kb, !!self->st.guard);
}

FIXTURE_TEARDOWN(report)
{
	EXPECT_TRUE(log_is_clean(self->st.kmsg_all));
	fault_state_exit(&self->st);
}

/* In the guard, nearer to it than to what may be mapped beyond. */
TEST_F(report, past_the_end_in_the_guard)
{
	struct fault_state *st = &self->st;
	struct mapping m;

	if (!variant->guard_kb)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_EQ(0, map(st, &m, KB(4), DMA_EDU_FROM_DEVICE));
	EXPECT_TRUE(faults_both_ways(st,
				     want_mapped(st, OUT_OF_BOUNDS, true,
						 mapped_end(st, &m) + 8, &m)));
}

/* Beyond the guard, if there is one, where another one may have been. */
TEST_F(report, past_the_end_and_the_guard)
{
	struct fault_state *st = &self->st;
	struct mapping m;

	ASSERT_EQ(0, map_alone(st, &m, DMA_EDU_FROM_DEVICE));
	EXPECT_TRUE(faults_both_ways(st, want_beside(st, true,
						     iova_after(st, &m), &m)));
}

TEST_F(report, before_the_start)
{
	struct fault_state *st = &self->st;
	struct mapping m;

	ASSERT_EQ(0, map_alone(st, &m, DMA_EDU_TO_DEVICE));
	EXPECT_TRUE(faults_both_ways(st, want_beside(st, false,
						     iova_before(st, &m), &m)));
}

/*
 * Of a large mapping that is gone the allocator knows nothing. What is live right
 * beside it is not to blame, be it above or below.
 */
TEST_F(report, large_one_beside_a_ring)
{
	struct fault_state *st = &self->st;
	struct mapping ring, m;
	struct want want;
	int tries;

	ASSERT_EQ(0, flush_iova_caches(st->fd, is_lazy(st)));
	ASSERT_EQ(0, map(st, &st->top, big(st), DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, map(st, &m, big(st), DMA_EDU_FROM_DEVICE));
	/* The caches may still have some that are elsewhere. */
	for (tries = 0; tries < 200; tries++) {
		ASSERT_EQ(0, map(st, &ring, st->info.granule,
				 DMA_EDU_BIDIRECTIONAL));
		if (ring.req.iova < m.req.iova &&
		    m.req.iova - ring.req.iova <= NEAR)
			break;
	}
	ASSERT_GT(200, tries);
	ASSERT_EQ(0, unmap_keep(st, &m));
	if (is_lazy(st))
		sleep_ms(FQ_DRAIN_MS);
	want = want_unmapped(st, true, m.req.iova, &m);
	if (!history)
		want = (struct want) {
			.class = UNMAPPED,
			.write = true,
			.iova = m.req.iova,
			.below = &ring,
			.above = &st->top,
		};
	EXPECT_TRUE(faults_as(st, &want));
	want.iova = m.req.iova + big(st) - 16;
	/* Near to none of them, if ranges are apart by their size */
	if (st->top.req.iova - want_iova(&want) > NEAR) {
		want.below = NULL;
		want.above = NULL;
	}
	EXPECT_TRUE(faults_as(st, &want));
}

/* The range that was allocated for three pages is larger. */
TEST_F(report, past_three_pages)
{
	struct fault_state *st = &self->st;
	__u64 granule = st->info.granule;
	struct mapping m;
	struct want want;

	ASSERT_EQ(0, map(st, &m, 3 * granule, DMA_EDU_BIDIRECTIONAL));
	want = want_mapped(st, OUT_OF_BOUNDS, true, mapped_end(st, &m) + 8,
			   &m);
	EXPECT_TRUE(faults_as(st, &want));
}

/* And the guard begins after the whole of it. */
TEST_F(report, past_three_pages_in_the_guard)
{
	struct fault_state *st = &self->st;
	__u64 granule = st->info.granule;
	struct mapping m;
	struct want want;

	if (!variant->guard_kb)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_EQ(0, map(st, &m, 3 * granule, DMA_EDU_BIDIRECTIONAL));
	want = want_mapped(st, OUT_OF_BOUNDS, false,
			   mapped_end(st, &m) + granule + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
}

/* More than a page of the IOMMU's table translates */
TEST_F(report, past_a_large_one)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;

	if (!st->guard)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_EQ(0, map(st, &m, MB(3), DMA_EDU_BIDIRECTIONAL));
	want = want_mapped(st, OUT_OF_BOUNDS, true, mapped_end(st, &m) + 8,
			   &m);
	EXPECT_TRUE(faults_as(st, &want));
	EXPECT_EQ(0, kind_unmap(st->fd, &m));
}

/* A few bytes in the middle of a page: only what was recorded knows that. */
TEST_F(report, past_a_part_of_a_page)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;

	if (!st->guard)
		SKIP(return, "what is past the page may be mapped");
	ASSERT_EQ(0, kind_map(st->fd, &m, &kinds[0], 100, 0x40,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
	want = want_mapped(st, OUT_OF_BOUNDS, true, mapped_end(st, &m) + 8,
			   &m);
	EXPECT_TRUE(faults_as(st, &want));
	EXPECT_EQ(0, kind_unmap(st->fd, &m));
}

/* Of a range that is linked in part the rest is out of bounds. */
TEST_F(report, past_the_linked_part)
{
	static const struct map_kind *partial = &kinds[7];
	struct fault_state *st = &self->st;
	__u64 granule = st->info.granule;
	struct mapping m;
	struct want want;

	ASSERT_TRUE(partial->partial);
	ASSERT_EQ(0, kind_map(st->fd, &m, partial, 16 * granule, 0,
			      DMA_EDU_BIDIRECTIONAL, XFER_MASK_BITS, 0, 0));
	want = want_mapped(st, OUT_OF_BOUNDS, true,
			   m.req.iova + 10 * granule + 8, &m);
	ASSERT_EQ(8 * granule, want.size);
	EXPECT_TRUE(faults_as(st, &want));
	/* Right behind */
	want.iova = m.req.iova + 8 * granule;
	want.write = false;
	EXPECT_TRUE(faults_as(st, &want));
}

/* The guard is that of the range, not of the part. */
TEST_F(report, past_the_linked_part_in_the_guard)
{
	static const struct map_kind *partial = &kinds[7];
	struct fault_state *st = &self->st;
	__u64 granule = st->info.granule;
	struct mapping m;
	struct want want;

	if (!variant->guard_kb)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_TRUE(partial->partial);
	ASSERT_EQ(0, kind_map(st->fd, &m, partial, 16 * granule, 0,
			      DMA_EDU_BIDIRECTIONAL, XFER_MASK_BITS, 0, 0));
	want = want_mapped(st, OUT_OF_BOUNDS, true,
			   m.req.iova + 16 * granule + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
}

/* Whatever way a buffer was mapped */
TEST_F_TIMEOUT(report, past_all_kinds, 120)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;
	int i;

	if (!st->guard)
		SKIP(return, "what is past the end may be mapped");
	for (i = 0; i < NR_KINDS; i++) {
		const struct map_kind *kind = &kinds[i];

		if (kind->partial)
			continue;
		ASSERT_EQ(0, kind_map(st->fd, &m, kind, KB(64), 0,
				      DMA_EDU_BIDIRECTIONAL, XFER_MASK_BITS, 0,
				      0)) {
			TH_LOG("%s", kind->name);
		}
		want = want_mapped(st, OUT_OF_BOUNDS, i & 1,
				   mapped_end(st, &m), &m);
		EXPECT_TRUE(faults_as(st, &want)) {
			TH_LOG("%s", kind->name);
		}
		EXPECT_EQ(0, kind_unmap(st->fd, &m));
	}
}

/* The allocator keeps the range, and so knows that it was one. */
TEST_F(report, use_after_unmap)
{
	struct fault_state *st = &self->st;
	struct mapping from, to;
	struct want want;

	ASSERT_EQ(0, map(st, &from, KB(4), DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, map(st, &to, 3 * KB(4), DMA_EDU_TO_DEVICE));
	ASSERT_EQ(0, unmap_keep(st, &from));
	ASSERT_EQ(0, unmap_keep(st, &to));
	want = want_unmapped(st, true, from.req.iova + 8, &from);
	EXPECT_TRUE(faults_as(st, &want));
	want = want_unmapped(st, false, to.req.iova + KB(4) + 8, &to);
	EXPECT_TRUE(faults_as(st, &want));
}

/* Many mappings later it is still known, at an address that nobody has had since. */
TEST_F(report, beside_a_busy_one)
{
	struct fault_state *st = &self->st;
	struct mapping m, busy;
	struct want want;
	int i;

	ASSERT_EQ(0, map(st, &m, 5 * KB(4), DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, unmap_keep(st, &m));
	for (i = 0; i < 5000; i++) {
		ASSERT_EQ(0, kind_map(st->fd, &busy, &kinds[0], 100, 0,
				      DMA_EDU_TO_DEVICE, XFER_MASK_BITS,
				      DMA_EDU_MAP_NOFILL, 0));
		ASSERT_EQ(0, kind_unmap(st->fd, &busy));
	}
	want = want_unmapped(st, true, m.req.iova + KB(4) + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
}

/* A few bytes in a page, that begins before them */
TEST_F(report, in_a_part_of_a_page)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;

	ASSERT_EQ(0, kind_map(st->fd, &m, &kinds[0], 100, 0x40,
			      DMA_EDU_TO_DEVICE, XFER_MASK_BITS, 0, 0));
	want = want_mapped(st, WRONG_DIRECTION, true, m.req.iova + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
	ASSERT_EQ(0, unmap_keep(st, &m));
	want = want_unmapped(st, true, m.req.iova + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
}

/* Of a large range nobody knows any more, unless it was recorded. */
TEST_F(report, use_after_unmap_of_a_large_one)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;

	ASSERT_EQ(0, map_alone(st, &m, DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, unmap_keep(st, &m));
	want = want_unmapped(st, true, m.req.iova + KB(128) + 8, &m);
	if (!history) {
		want.class = UNMAPPED;
		want.size = 0;
	}
	EXPECT_TRUE(faults_as(st, &want));
}

/* And not once it is mapped again, by others who are not out of bounds. */
TEST_F(report, mapped_again)
{
	struct fault_state *st = &self->st;
	struct mapping m, again;
	struct want want;
	int i;

	if (!st->guard)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_EQ(0, map(st, &m, KB(4), DMA_EDU_FROM_DEVICE));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, kind_unmap(st->fd, &m));
		if (is_lazy(st))
			sleep_ms(FQ_DRAIN_MS);
		ASSERT_EQ(0, map(st, &again, KB(4), DMA_EDU_TO_DEVICE));
		m = again;
	}
	want = want_mapped(st, WRONG_DIRECTION, true, m.req.iova + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
	want = want_mapped(st, OUT_OF_BOUNDS, true, mapped_end(st, &m) + 8,
			   &m);
	EXPECT_TRUE(faults_as(st, &want));
}

TEST_F(report, write_to_what_is_to_be_read)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;

	ASSERT_EQ(0, map(st, &m, KB(8), DMA_EDU_TO_DEVICE));
	want = want_mapped(st, WRONG_DIRECTION, true,
			   m.req.iova + KB(4) + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
}

TEST_F(report, read_of_what_is_to_be_written)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want;

	if (step == 1)
		SKIP(return, "the IOMMU has no write-only mappings");
	ASSERT_EQ(0, map(st, &m, KB(8), DMA_EDU_FROM_DEVICE));
	want = want_mapped(st, WRONG_DIRECTION, false,
			   m.req.iova + KB(4) + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
}

TEST_F(report, unmapped)
{
	struct want want = { .class = UNMAPPED, .iova = FAR_IOVA };

	EXPECT_TRUE(faults_both_ways(&self->st, want));
}

/* More about the same mapping, within a second, is one line. */
TEST_F(report, more_of_the_same)
{
	struct fault_state *st = &self->st;
	struct want want = { .class = UNMAPPED, .iova = FAR_IOVA };
	char line[KMSG_LINE_MAX], more[KMSG_LINE_MAX];
	long long end, left;
	int i, found = 0;

	ASSERT_TRUE(faults_as(st, &want));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, xfer_word(st->fd, FAR_IOVA, false));
	snprintf(more, sizeof(more), "DMA: 3 more faults by %s", edu_name);
	end = now_ms() + 10000;
	while (!found && (left = end - now_ms()) > 0 &&
	       kmsg_next(st->kmsg, line, left)) {
		EXPECT_FALSE(kmsg_is_fault_report(line, NULL));
		found += !strcmp(line, more);
	}
	EXPECT_EQ(1, found);
	note_many();
}

/* ------------------------------------------------- sysfs, uevents, tracepoints */

/* With the group as it is. */
FIXTURE(told)
{
	struct fault_state st;
};

FIXTURE_SETUP(told)
{
	if (off)
		SKIP(return, "iommu.dma_fault=off");
	ASSERT_EQ(0, fault_state_init(&self->st, NULL, 0));
}

FIXTURE_TEARDOWN(told)
{
	EXPECT_TRUE(log_is_clean(self->st.kmsg_all));
	fault_state_exit(&self->st);
}

TEST_F(told, counters_are_read_only)
{
	char path[EDU_PATH_MAX];
	struct stat stat_buf;
	int i;

	for (i = 0; i < NR; i++) {
		counter_path(path, edu_name, i);
		ASSERT_EQ(0, stat(path, &stat_buf));
		EXPECT_EQ(0444, stat_buf.st_mode & 07777);
		EXPECT_EQ(-EACCES, file_write(path, "0"));
	}
}

static int uevent_open(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -EOPNOTSUPP;
	}
	return fd;
}

/* The value of @name in a uevent, NULL if it has none. */
static const char *uevent_value(const char *msg, size_t len, const char *name)
{
	size_t n = strlen(name);
	const char *at;

	for (at = msg; at < msg + len; at += strlen(at) + 1)
		if (!strncmp(at, name, n) && at[n] == '=')
			return at + n + 1;
	return "";
}

/* Wait for a uevent about a fault of the device. */
static bool uevent_is(int fd, const char *class, const char *access)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	long long end = now_ms() + 10000, left;
	char msg[8192];
	ssize_t len;

	while ((left = end - now_ms()) > 0) {
		poll(&pfd, 1, left);
		len = recv(fd, msg, sizeof(msg) - 1, 0);
		if (len <= 0)
			continue;
		msg[len] = '\0';
		if (!*uevent_value(msg, len, "DMA_FAULT") ||
		    strcmp(uevent_value(msg, len, "PCI_SLOT_NAME"), edu_name))
			continue;
		if (!strcmp(uevent_value(msg, len, "ACTION"), "change") &&
		    !strcmp(uevent_value(msg, len, "DMA_FAULT"), class) &&
		    !strcmp(uevent_value(msg, len, "DMA_FAULT_ACCESS"), access))
			return true;
		ksft_print_msg("uevent: %s %s %s\n",
			       uevent_value(msg, len, "ACTION"),
			       uevent_value(msg, len, "DMA_FAULT"),
			       uevent_value(msg, len, "DMA_FAULT_ACCESS"));
		return false;
	}
	ksft_print_msg("no uevent\n");
	return false;
}

TEST_F(told, uevent)
{
	struct fault_state *st = &self->st;
	struct want want = { .class = UNMAPPED, .iova = FAR_IOVA };
	struct mapping m;
	int fd = uevent_open();

	if (fd == -EOPNOTSUPP || fd == -EPROTONOSUPPORT || fd == -EAFNOSUPPORT)
		SKIP(return, "no uevents to be heard");
	ASSERT_LE(0, fd);
	want.write = true;
	EXPECT_TRUE(faults_as(st, &want));
	EXPECT_TRUE(uevent_is(fd, "unmapped", "write"));

	ASSERT_EQ(0, map(st, &m, KB(4), DMA_EDU_TO_DEVICE));
	ASSERT_EQ(0, unmap_keep(st, &m));
	want = want_unmapped(st, false, m.req.iova + 8, &m);
	EXPECT_TRUE(faults_as(st, &want));
	EXPECT_TRUE(uevent_is(fd, "use-after-unmap", "read"));
	close(fd);
}

#define TRACING		"/sys/kernel/tracing"
#define TRACE_EVENTS	TRACING "/events/iommu"

static bool tracing_setup(void)
{
	if (access(TRACING, F_OK))
		return false;
	if (access(TRACING "/trace", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	return !access(TRACE_EVENTS "/dma_fault/enable", F_OK);
}

static int tracing_set(const char *on)
{
	return file_write(TRACE_EVENTS "/dma_fault/enable", on) ?:
	       file_write(TRACE_EVENTS "/io_page_fault/enable", on);
}

/* Lines of the trace that end with @text. */
static int traced(const char *text)
{
	FILE *trace = fopen(TRACING "/trace", "re");
	char line[1024], *end;
	int nr = 0;

	if (!trace)
		return -errno;
	while (fgets(line, sizeof(line), trace)) {
		line[strcspn(line, "\n")] = '\0';
		end = line + strlen(line);
		nr += end - line > (long)strlen(text) &&
		      !strcmp(end - strlen(text), text);
	}
	fclose(trace);
	return nr;
}

/* The two events of one fault, and no other */
static bool is_traced(const struct want *want)
{
	static const char * const dirs[] = { "read", "write" };
	bool before;
	__u64 distance = want_distance(want, &before);
	char text[512];

	snprintf(text, sizeof(text),
		 " io_page_fault: IOMMU:dma_edu %s iova=0x%016llx flags=0x%04x",
		 edu_name, want_iova(want), want->write);
	if (traced(text) != 1) {
		ksft_print_msg("not in the trace:%s\n", text);
		return false;
	}
	snprintf(text, sizeof(text),
		 " dma_fault: IOMMU:dma_edu %s class=%s access=%s iova=0x%016llx mapping=0x%016llx size=%llu distance=%s%llu",
		 edu_name, class_names[want->class], dirs[want->write],
		 want_iova(want), want->start, want->size, before ? "-" : "",
		 distance);
	if (traced(text) != 1) {
		ksft_print_msg("not in the trace:%s\n", text);
		return false;
	}
	return true;
}

TEST_F(told, tracepoints)
{
	struct fault_state *st = &self->st;
	struct mapping m;
	struct want want[3];
	size_t i;

	if (!tracing_setup())
		SKIP(return, "no tracefs");
	if (!st->guard)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_EQ(0, map_alone(st, &m, DMA_EDU_TO_DEVICE));
	want[0] = want_mapped(st, WRONG_DIRECTION, true, m.req.iova + 8, &m);
	want[1] = want_mapped(st, OUT_OF_BOUNDS, false, mapped_end(st, &m) + 8,
			      &m);
	want[2] = want_beside(st, true, iova_before(st, &m), &m);

	ASSERT_EQ(0, file_write(TRACING "/trace", "\n"));
	ASSERT_EQ(0, tracing_set("1"));
	for (i = 0; i < ARRAY_SIZE(want); i++)
		EXPECT_TRUE(faults_as(st, &want[i]));
	EXPECT_EQ(0, tracing_set("0"));
	for (i = 0; i < ARRAY_SIZE(want); i++)
		EXPECT_TRUE(is_traced(&want[i]));
}

/* ------------------------------------- faults that are no driver's of the kernel */

#define PANIC_ON_WARN	"/proc/sys/kernel/panic_on_warn"
#define TAINTED		"/proc/sys/kernel/tainted"
#define TAINT_BAD_PAGE	5	/* the number of its bit */

/*
 * With the group as it is, in a kernel that panics on warnings: a test that fails
 * is the last one.
 */
FIXTURE(blame)
{
	struct fault_state st;
	bool taint;
};

static bool read_taint(void)
{
	char buf[32];

	return !file_read(TAINTED, buf, sizeof(buf)) &&
	       strtoul(buf, NULL, 10) >> TAINT_BAD_PAGE & 1;
}

FIXTURE_SETUP(blame)
{
	if (off)
		SKIP(return, "iommu.dma_fault=off");
	ASSERT_EQ(0, fault_state_init(&self->st, NULL, 0));
	self->taint = read_taint();
	ASSERT_EQ(0, file_write(PANIC_ON_WARN, "1"));
}

FIXTURE_TEARDOWN(blame)
{
	EXPECT_EQ(0, file_write(PANIC_ON_WARN, "0"));
	EXPECT_EQ(self->taint, read_taint());
	EXPECT_TRUE(log_is_clean(self->st.kmsg_all));
	fault_state_exit(&self->st);
	EXPECT_EQ(0, edu_bind(edu_name));
}

static void reg_write(__u64 *regs, unsigned int offset, __u64 value)
{
	__atomic_store_n(&regs[offset / 8], value, __ATOMIC_SEQ_CST);
}

/*
 * A write of the device at @iova, without a driver that has it done, and not so soon
 * after another one that it would be one more of the same.
 */
static int raw_write(__u64 iova)
{
	int config, bar, ret = 0;
	char path[EDU_PATH_MAX];
	__u64 *regs;
	__u16 command;

	sleep_ms(SAME_MS);
	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/config", edu_name);
	config = open(path, O_RDWR | O_CLOEXEC);
	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/resource0", edu_name);
	bar = open(path, O_RDWR | O_CLOEXEC);
	if (config < 0 || bar < 0 || pread(config, &command, 2, 4) != 2) {
		ret = -ENODEV;
		goto out;
	}
	command |= 6;	/* memory, bus master */
	if (pwrite(config, &command, 2, 4) != 2) {
		ret = -EIO;
		goto out;
	}
	regs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
	if (regs == MAP_FAILED) {
		ret = -errno;
		goto out;
	}
	reg_write(regs, 0x80, 0x40000);		/* from the device's memory */
	reg_write(regs, 0x88, iova);
	reg_write(regs, 0x90, WORD);
	reg_write(regs, 0x98, 3);		/* go, to that of the CPU */
	sleep_ms(300);
	munmap(regs, 4096);
out:
	fd_close(&config);
	fd_close(&bar);
	return ret;
}

/* It is reported all the same. */
static bool is_reported_of(int kmsg, const char *driver)
{
	static struct text text;
	char want[KMSG_LINE_MAX];

	snprintf(want, sizeof(want),
		 "BUG: DMA: unmapped write by %s %s at IOVA 0x%016llx", driver,
		 edu_name, FAR_IOVA / step * step);
	if (!report_read(kmsg, &text, 10000))
		return false;
	if (!strcmp(text.lines[0], want))
		return true;
	ksft_print_msg("expected: %s\n", want);
	ksft_print_msg("     got: %s\n", text.lines[0]);
	return false;
}

TEST_F(blame, untrusted_device)
{
	struct want want = { .class = UNMAPPED, .iova = FAR_IOVA };
	char path[EDU_PATH_MAX], buf[32];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/removable", edu_name);
	if (file_read(path, buf, sizeof(buf)) || strcmp(buf, "removable"))
		SKIP(return, "the device is trusted");
	EXPECT_TRUE(faults_as(&self->st, &want));
}

TEST_F(blame, device_without_driver)
{
	fd_close(&self->st.fd);
	ASSERT_EQ(0, edu_unbind(edu_name));
	ASSERT_EQ(0, raw_write(FAR_IOVA));
	EXPECT_TRUE(is_reported_of(self->st.kmsg, "(no driver)"));
}

TEST_F(blame, device_of_vfio)
{
	char path[EDU_PATH_MAX];

	if (access("/sys/bus/pci/drivers/vfio-pci", F_OK))
		SKIP(return, "no vfio-pci");
	fd_close(&self->st.fd);
	ASSERT_EQ(0, edu_unbind(edu_name));
	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/driver_override",
		 edu_name);
	ASSERT_EQ(0, file_write(path, "vfio-pci"));
	EXPECT_EQ(0, file_write("/sys/bus/pci/drivers_probe", edu_name));
	EXPECT_EQ(0, raw_write(FAR_IOVA));
	EXPECT_TRUE(is_reported_of(self->st.kmsg, "vfio-pci"));
	EXPECT_EQ(0, file_write("/sys/bus/pci/drivers/vfio-pci/unbind",
				edu_name));
	EXPECT_EQ(0, file_write(path, "\n"));
}

/* ------------------------------------------------------------ nobody looks */

FIXTURE(off)
{
	struct fault_state st;
};

FIXTURE_SETUP(off)
{
	if (!off)
		SKIP(return, "iommu.dma_fault is not off");
	ASSERT_EQ(0, fault_state_init(&self->st, NULL, 0));
}

FIXTURE_TEARDOWN(off)
{
	EXPECT_TRUE(kmsg_is_clean(self->st.kmsg_all));
	fault_state_exit(&self->st);
}

static int set_handler(int fd, __u32 action)
{
	struct dma_edu_fault_handler req = { .action = action };

	return edu_ioctl(fd, DMA_EDU_IOC_FAULT_HANDLER, &req);
}

/* The IOMMU driver's line and nothing else */
TEST_F(off, nothing_is_told)
{
	struct fault_state *st = &self->st;
	char line[KMSG_LINE_MAX];
	bool faulted;
	int i;

	ASSERT_EQ(0, edu_xfer_faults(st->fd, st->kmsg, FAR_IOVA, WORD, 0,
				     FAR_IOVA / 4096 * 4096,
				     FAR_IOVA / 4096 * 4096 + 4096, &faulted));
	EXPECT_TRUE(faulted);
	/* More than the IOMMU driver says a line of */
	for (i = 0; i < 30; i++)
		EXPECT_EQ(0, xfer_word(st->fd, FAR_IOVA, false));
	while (kmsg_next(st->kmsg, line, FAULT_WAIT_MS))
		EXPECT_FALSE(kmsg_is_fault_report(line, NULL));
	/* There are no counters that would stay at 0. */
	EXPECT_EQ(-ENOENT, counts_sum(edu_name));
	EXPECT_EQ(-EOPNOTSUPP, set_handler(st->fd, DMA_EDU_FAULT_COUNT));
}

/* --------------------------------------------------------------- the handler */

FIXTURE(handler)
{
	struct fault_state st;
};

FIXTURE_SETUP(handler)
{
	if (off)
		SKIP(return, "iommu.dma_fault=off");
	ASSERT_EQ(0, fault_state_init(&self->st, NULL, 0));
}

FIXTURE_TEARDOWN(handler)
{
	set_handler(self->st.fd, DMA_EDU_FAULT_NONE);
	EXPECT_TRUE(log_is_clean(self->st.kmsg_all));
	fault_state_exit(&self->st);
}

static int get_faults(int fd, struct dma_edu_faults *told)
{
	return edu_ioctl(fd, DMA_EDU_IOC_FAULTS, told);
}

/* Wait until the handler has been told of @faults altogether. */
static bool told_of(int fd, __u64 faults, struct dma_edu_faults *told)
{
	long long end = now_ms() + 10000;

	do {
		if (get_faults(fd, told))
			return false;
		if (told->faults >= faults)
			return told->faults == faults;
		sleep_ms(10);
	} while (now_ms() < end);
	ksft_print_msg("told of %llu faults of %llu\n", told->faults, faults);
	return false;
}

TEST_F(handler, bad_requests)
{
	struct dma_edu_fault_handler req = { .action = DMA_EDU_FAULT_COUNT };
	int fd = self->st.fd;

	EXPECT_EQ(-EINVAL, set_handler(fd, DMA_EDU_FAULT_NR_ACTIONS));
	EXPECT_EQ(-EINVAL, set_handler(fd, ~0U));
	req.reserved = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_FAULT_HANDLER, &req));
	EXPECT_EQ(-EFAULT, edu_ioctl(fd, DMA_EDU_IOC_FAULT_HANDLER, NULL));
	EXPECT_EQ(-EFAULT, edu_ioctl(fd, DMA_EDU_IOC_FAULTS, NULL));
	/* Nothing was registered, which is nothing to complain about. */
	EXPECT_EQ(0, set_handler(fd, DMA_EDU_FAULT_NONE));
}

TEST_F(handler, second_one_is_refused)
{
	int fd = self->st.fd;

	ASSERT_EQ(0, set_handler(fd, DMA_EDU_FAULT_COUNT));
	EXPECT_EQ(-EBUSY, set_handler(fd, DMA_EDU_FAULT_COUNT));
	EXPECT_EQ(-EBUSY, set_handler(fd, DMA_EDU_FAULT_ONCE));
	EXPECT_EQ(0, set_handler(fd, DMA_EDU_FAULT_NONE));
	EXPECT_EQ(0, set_handler(fd, DMA_EDU_FAULT_ONCE));
}

static bool told_is(const struct dma_edu_faults *told, const struct want *want)
{
	bool before;
	__u64 distance = want_distance(want, &before);

	if ((int)told->class == want->class && told->write == want->write &&
	    told->before == before && told->iova == want_iova(want) &&
	    told->step == step && told->start == want->start &&
	    told->size == want->size && told->distance == distance)
		return true;
	ksft_print_msg("class %u write %u before %u iova %#llx step %llu\n",
		       told->class, told->write, told->before, told->iova,
		       told->step);
	ksft_print_msg("start %#llx size %llu distance %llu\n", told->start,
		       told->size, told->distance);
	return false;
}

TEST_F(handler, is_told_what_is_reported)
{
	struct fault_state *st = &self->st;
	struct dma_edu_faults start, told;
	struct want want[4];
	struct mapping m;
	size_t i;

	if (!st->guard)
		SKIP(return, "what is past the end may be mapped");
	ASSERT_EQ(0, map_alone(st, &m, DMA_EDU_TO_DEVICE));
	want[0] = want_mapped(st, WRONG_DIRECTION, true, m.req.iova + 8, &m);
	want[1] = want_mapped(st, OUT_OF_BOUNDS, false, mapped_end(st, &m) + 8,
			      &m);
	want[2] = want_beside(st, true, iova_before(st, &m), &m);
	want[3] = (struct want){ .class = UNMAPPED, .iova = FAR_IOVA };

	ASSERT_EQ(0, get_faults(st->fd, &start));
	ASSERT_EQ(0, set_handler(st->fd, DMA_EDU_FAULT_COUNT));
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		long long sum = counts_sum(edu_name);

		ASSERT_LE(0, sum);
		EXPECT_TRUE(faults_as(st, &want[i]));
		start.faults += counts_sum(edu_name) - sum;
		start.calls++;
		EXPECT_TRUE(told_of(st->fd, start.faults, &told));
		EXPECT_LE(start.calls, told.calls);
		EXPECT_EQ(1, told.nr);
		EXPECT_TRUE(told_is(&told, &want[i]));
	}
}

TEST_F(handler, once)
{
	struct fault_state *st = &self->st;
	struct dma_edu_faults start, told;
	int i;

	ASSERT_EQ(0, get_faults(st->fd, &start));
	ASSERT_EQ(0, set_handler(st->fd, DMA_EDU_FAULT_ONCE));
	ASSERT_EQ(0, xfer_word(st->fd, FAR_IOVA, false));
	EXPECT_TRUE(told_of(st->fd, start.faults + 1, &told));
	EXPECT_EQ(start.calls + 1, told.calls);

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, xfer_word(st->fd, FAR_IOVA, true));
	sleep_ms(500);
	ASSERT_EQ(0, get_faults(st->fd, &told));
	EXPECT_EQ(start.calls + 1, told.calls);

	/* It may be registered again, and is not told of what was before. */
	ASSERT_EQ(0, set_handler(st->fd, DMA_EDU_FAULT_ONCE));
	ASSERT_EQ(0, xfer_word(st->fd, FAR_IOVA, false));
	EXPECT_TRUE(told_of(st->fd, start.faults + 2, &told));
	EXPECT_EQ(1, told.nr);
	note_many();
}

/* A transfer to a buffer and back */
static bool transfers_work(struct fault_state *st)
{
	__u8 data[64], back[64] = { };
	struct mapping m;
	size_t i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + 1;
	if (edu_mem(st->fd, 0, data, sizeof(data), DMA_EDU_WRITE) ||
	    map(st, &m, sizeof(data), DMA_EDU_FROM_DEVICE) ||
	    edu_xfer(st->fd, m.req.iova, 0, sizeof(data), DMA_EDU_XFER_WRITE) ||
	    edu_cpu(st->fd, m.req.handle, 0, back, sizeof(back), 0) ||
	    kind_unmap(st->fd, &m))
		return false;
	return !memcmp(data, back, sizeof(data));
}

TEST_F(handler, resets_the_device)
{
	struct fault_state *st = &self->st;
	struct dma_edu_faults start, told;
	char path[EDU_PATH_MAX];
	long long end;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/reset", edu_name);
	if (access(path, F_OK))
		SKIP(return, "the device cannot be reset");
	ASSERT_EQ(0, get_faults(st->fd, &start));
	ASSERT_EQ(0, set_handler(st->fd, DMA_EDU_FAULT_RESET));
	ASSERT_EQ(0, xfer_word(st->fd, FAR_IOVA, true));
	end = now_ms() + 10000;
	do {
		sleep_ms(10);
		ASSERT_EQ(0, get_faults(st->fd, &told));
	} while (told.resets == start.resets && now_ms() < end);
	EXPECT_EQ(start.resets + 1, told.resets);
	/* Waits for the handler, which comes back from the reset a bit later. */
	EXPECT_EQ(0, set_handler(st->fd, DMA_EDU_FAULT_NONE));
	ASSERT_EQ(0, get_faults(st->fd, &told));
	EXPECT_EQ(0, told.reset_error);
	EXPECT_EQ(start.calls + 1, told.calls);
	EXPECT_TRUE(transfers_work(st));

	/* And the next fault is one as before. */
	ASSERT_EQ(0, set_handler(st->fd, DMA_EDU_FAULT_COUNT));
	ASSERT_EQ(0, xfer_word(st->fd, FAR_IOVA, true));
	EXPECT_TRUE(told_of(st->fd, start.faults + 2, &told));
	note_many();
}

/* ------------------------------------------------------------------- threads */

/* What a thread does over and over until @stop; @count: how often it succeeded. */
struct worker {
	pthread_t thread;
	struct crew *crew;
	bool (*turn)(struct worker *w);
	unsigned long count;
	unsigned int nr;
	int fd;
};

#define MAX_WORKERS	16

struct crew {
	bool stop;
	int nr;
	struct worker workers[MAX_WORKERS];
};

static bool stopped(const struct crew *crew)
{
	return __atomic_load_n(&crew->stop, __ATOMIC_RELAXED);
}

static void *worker_run(void *data)
{
	struct worker *w = data;

	while (!stopped(w->crew))
		if (w->turn(w))
			__atomic_add_fetch(&w->count, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Start a thread; @fd is closed with it unless it is -1. */
static struct worker *crew_add(struct crew *crew, bool (*turn)(struct worker *),
			       int fd)
{
	struct worker *w = &crew->workers[crew->nr];

	w->crew = crew;
	w->turn = turn;
	w->fd = fd;
	if (crew->nr == MAX_WORKERS ||
	    pthread_create(&w->thread, NULL, worker_run, w))
		ksft_exit_fail_msg("no thread\n");
	crew->nr++;
	return w;
}

/* The threads, too, have ended then. May be called again. */
static void crew_stop(struct crew *crew)
{
	int i;

	if (stopped(crew))
		return;
	__atomic_store_n(&crew->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < crew->nr; i++)
		pthread_join(crew->workers[i].thread, NULL);
	for (i = 0; i < crew->nr; i++)
		if (crew->workers[i].fd >= 0)
			close(crew->workers[i].fd);
}

/* A file of the device, anew if the driver was unbound meanwhile. */
static bool worker_open(struct worker *w, int err)
{
	if (w->fd >= 0 && err != -ENODEV)
		return true;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = edu_open(edu_name);
	if (w->fd < 0)
		sleep_ms(5);
	return w->fd >= 0;
}

/* A fault of another kind each time */
static bool turn_fault(struct worker *w)
{
	__u64 iova = FAR_IOVA + (w->nr % 8) * KB(4);
	int ret;

	if (!worker_open(w, 0))
		return false;
	ret = edu_xfer(w->fd, iova, 0, DMA_EDU_MEM_SIZE - 64,
		       w->nr++ & 1 ? DMA_EDU_XFER_WRITE : 0);
	if (ret)
		worker_open(w, ret);
	return !ret;
}

/* Faults at addresses that others map and unmap */
static bool turn_fault_high(struct worker *w)
{
	__u64 iova = MB(256ULL) - KB(4) * (1 + w->nr % 96);
	int ret;

	if (!worker_open(w, 0))
		return false;
	ret = edu_xfer(w->fd, iova, 0, WORD,
		       w->nr++ & 1 ? DMA_EDU_XFER_WRITE : 0);
	if (ret)
		worker_open(w, ret);
	return !ret;
}

/* A mapping of another kind, size and direction each time, and gone again. */
static bool turn_map(struct worker *w)
{
	static const __u64 sizes[] = { KB(4), KB(12), KB(64), KB(256), MB(1) };
	struct mapping m[4];
	int i, ret = 0;

	if (!worker_open(w, 0))
		return false;
	for (i = 0; i < 4 && !ret; i++, w->nr++)
		ret = kind_map(w->fd, &m[i], &kinds[w->nr % NR_KINDS],
			       sizes[w->nr % ARRAY_SIZE(sizes)], 0,
			       w->nr % DMA_EDU_NR_DIRS, XFER_MASK_BITS,
			       DMA_EDU_MAP_NOFILL, 0);
	if (ret)
		i--;
	unmap_all(w->fd, m, i);
	if (ret)
		worker_open(w, ret);
	return !ret;
}

static bool turn_rebind(struct worker *w)
{
	sleep_ms(50 + w->nr++ % 7 * 40);
	return !edu_unbind(edu_name) && !edu_bind(edu_name);
}

static bool turn_handler(struct worker *w)
{
	struct dma_edu_faults told;
	int ret;

	if (!worker_open(w, 0))
		return false;
	ret = set_handler(w->fd, w->nr++ % DMA_EDU_FAULT_NR_ACTIONS);
	sleep_ms(w->nr % 5);
	ret = get_faults(w->fd, &told) ?: ret;
	if (ret == -ENODEV)
		worker_open(w, ret);
	return !ret;
}

static bool turn_count(struct worker *w)
{
	sleep_ms(1);
	return counts_sum(edu_name) >= 0;
}

/* Sleeps 10 ms; @nr: longest time in ms that this took. */
static bool turn_sleep(struct worker *w)
{
	long long start = now_ms();
	unsigned int ms;

	sleep_ms(10);
	ms = now_ms() - start;
	if (ms > w->nr)
		w->nr = ms;
	return true;
}

/* ---------------------------------------------------- an NVMe that may fault */

#define NVME_GET_LOG	0x02
#define NVME_IDENTIFY	0x06

static char nvme_name[64];

/*
 * A file of the controller, ENOENT if there is none that may be used. Commands
 * have no buffer unless the caller of the ioctl gives one; the controller uses
 * IOVA 0 then.
 */
static int nvme_open(void)
{
	const char *name = getenv("DMA_FAULT_NVME");
	char path[EDU_PATH_MAX];

	if (!name || !*name)
		return -ENOENT;
	snprintf(nvme_name, sizeof(nvme_name), "%s", name);
	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/nvme", nvme_name);
	return dev_open(path);
}

/* Four bytes of the error log, to IOVA 0: a fault. */
static bool turn_nvme_fault(struct worker *w)
{
	struct nvme_passthru_cmd cmd = {
		.opcode = NVME_GET_LOG,
		.nsid = ~0U,
		.cdw10 = 1,
	};

	return ioctl(w->fd, NVME_IOCTL_ADMIN_CMD, &cmd) >= 0;
}

/*
 * A command with a buffer that is mapped and unmapped, of the thread's own: two
 * mappings of one are what DMA_API_DEBUG complains about.
 */
static bool turn_nvme_map(struct worker *w)
{
	static __u8 pages[MAX_WORKERS][2 * 4096];
	__u8 *page = pages[w - w->crew->workers];
	struct nvme_passthru_cmd cmd = {
		.opcode = NVME_IDENTIFY,
		.addr = (unsigned long)page,
		.data_len = 4096,
		.cdw10 = 1,
	};

	return !ioctl(w->fd, NVME_IOCTL_ADMIN_CMD, &cmd);
}

/* -------------------------------------------------------- storms and races */

FIXTURE(many)
{
	int fd;
	int kmsg;
	int kmsg_all;
	int nvme;
	struct crew crew;
};

/* There is no binding as long as the engine runs. */
static bool bound_again(void)
{
	long long end = now_ms() + 20000;

	while (edu_bind(edu_name) && now_ms() < end)
		sleep_ms(10);
	return edu_bound(edu_name);
}

FIXTURE_SETUP(many)
{
	if (off)
		SKIP(return, "iommu.dma_fault=off");
	memset(&self->crew, 0, sizeof(self->crew));
	ASSERT_TRUE(bound_again());
	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
	self->kmsg_all = kmsg_open();
	ASSERT_LE(0, self->kmsg_all);
	self->nvme = nvme_open();
	if (self->nvme != -ENOENT)
		ASSERT_LE(0, self->nvme);
}

FIXTURE_TEARDOWN(many)
{
	crew_stop(&self->crew);
	EXPECT_TRUE(bound_again());
	EXPECT_TRUE(log_is_clean(self->kmsg_all));
	close(self->fd);
	close(self->kmsg);
	close(self->kmsg_all);
	if (self->nvme >= 0)
		close(self->nvme);
	note_many();
}

/* Longer than it takes until there is a line of how many there were, too. */
#define QUIET_MS	3000

/* What the log says of faults of a device. */
struct told {
	long long reports;
	long long more;
	long long lines;
};

/* Count what has been logged up to now, or else until nothing more comes. */
static void told_count(int kmsg, const char *dev, struct told *told,
		       int timeout_ms)
{
	char line[KMSG_LINE_MAX], by[KMSG_LINE_MAX];
	bool within = false;
	long long nr;

	snprintf(by, sizeof(by), "%s", dev);
	while (kmsg_next(kmsg, line, timeout_ms)) {
		if (!strcmp(line, rule))
			within = !within;
		told->lines += within || !strcmp(line, rule);
		told->reports += kmsg_is_fault_report(line, dev);
		if (sscanf(line, "DMA: %lld more faults by %s", &nr, by) == 2 &&
		    !strcmp(by, dev)) {
			told->more += nr;
			told->lines++;
		}
	}
}

/*
 * As many faults as are a storm or as there is time for, of the NVMe controller
 * if there is one. That much is sure about how many: SMMUv3 has all in its queue,
 * and VT-d in QEMU drops those that come while it has one of the same device. All
 * that are counted have to be either reported, or counted in the lines that tell
 * of more, of which the last comes once it is quiet.
 */
TEST_F_TIMEOUT(many, storm, 300)
{
	bool nvme = self->nvme >= 0;
	const char *dev = nvme ? nvme_name : edu_name;
	long long wanted = env_ulong("DMA_FAULT_STORM", 100000);
	long long limit = env_ulong("DMA_FAULT_STORM_MS", nvme ? 90000 : 20000);
	struct crew *crew = &self->crew;
	struct told told = { };
	struct worker *sleeper, *faulter;
	long long start, before, faults, ms;
	int fd;

	/* What is still to be said of earlier faults */
	told_count(self->kmsg, dev, &told, QUIET_MS);
	memset(&told, 0, sizeof(told));
	start = now_ms();
	before = counts_sum(dev);
	ASSERT_LE(0, before);
	fd = nvme ? dup(self->nvme) : edu_open(edu_name);
	ASSERT_LE(0, fd);
	sleeper = crew_add(crew, turn_sleep, -1);
	faulter = crew_add(crew, nvme ? turn_nvme_fault : turn_fault, fd);
	do {
		told_count(self->kmsg, dev, &told, 200);
		faults = counts_sum(dev) - before;
	} while (faults < wanted && now_ms() < start + limit);
	crew_stop(crew);
	ms = now_ms() - start;
	EXPECT_LE(told.lines, 25 * (ms / 1000 + 1));
	EXPECT_GT(10000, sleeper->nr);

	told_count(self->kmsg, dev, &told, QUIET_MS);
	faults = counts_sum(dev) - before;
	ksft_print_msg("%s: %lld faults by %lu commands in %lld ms\n", dev,
		       faults, faulter->count, ms);
	ksft_print_msg("%lld reports, %lld lines, slept up to %u ms\n",
		       told.reports, told.lines, sleeper->nr);
	EXPECT_LT(0, faults);
	EXPECT_LT(0, told.reports);
	EXPECT_LT(0, told.more);
	EXPECT_EQ(faults, told.reports + told.more);
	if (nvme && step > 1)
		EXPECT_GE(faulter->count, faults);
}

/* That of one device is not lost in the storm of another, nor taken for part of it. */
TEST_F_TIMEOUT(many, one_fault_beside_a_storm, 120)
{
	struct crew *crew = &self->crew;
	struct fault_state st = {
		.fd = self->fd,
		.kmsg = self->kmsg,
	};
	struct want want = {
		.class = UNMAPPED,
		.write = true,
		.iova = FAR_IOVA,
	};
	struct told told = { };
	long long before, end;
	int log;

	if (self->nvme < 0)
		SKIP(return, "no controller that makes a storm");
	told_count(self->kmsg, nvme_name, &told, QUIET_MS);
	memset(&told, 0, sizeof(told));
	before = counts_sum(nvme_name);
	ASSERT_LE(0, before);
	log = kmsg_open();
	ASSERT_LE(0, log);
	crew_add(crew, turn_nvme_fault, dup(self->nvme));
	end = now_ms() + 60000;
	while (counts_sum(nvme_name) < before + 2000 && now_ms() < end)
		sleep_ms(20);
	EXPECT_TRUE(report_of_edu_is(&st, &want));
	while (counts_sum(nvme_name) < before + 10000 && now_ms() < end)
		sleep_ms(20);
	crew_stop(crew);
	EXPECT_LE(before + 10000, counts_sum(nvme_name));
	/* Each of the storm is told, by its own name. */
	told_count(log, nvme_name, &told, QUIET_MS);
	EXPECT_LT(0, told.reports);
	EXPECT_EQ(counts_sum(nvme_name) - before, told.reports + told.more);
	close(log);
}

static bool all_had_a_turn(struct crew *crew)
{
	int i;

	for (i = 0; i < crew->nr; i++)
		if (!__atomic_load_n(&crew->workers[i].count, __ATOMIC_RELAXED))
			return false;
	return true;
}

/* Let threads run for some time, and on a slow machine until each had a turn. */
static void race(struct crew *crew)
{
	long long end;
	int i;

	sleep_ms(env_ulong("DMA_FAULT_RACE_MS", 3000));
	end = now_ms() + 60000;
	while (!all_had_a_turn(crew) && now_ms() < end)
		sleep_ms(100);
	crew_stop(crew);
	for (i = 0; i < crew->nr; i++)
		ksft_print_msg("thread %d: %lu turns\n", i,
			       crew->workers[i].count);
}

/* The device waits for nobody who unmaps what it is about to use. */
TEST_F_TIMEOUT(many, race_with_map, 120)
{
	struct crew *crew = &self->crew;

	crew_add(crew, turn_fault_high, edu_open(edu_name));
	crew_add(crew, turn_map, edu_open(edu_name));
	crew_add(crew, turn_map, edu_open(edu_name))->nr = 3;
	crew_add(crew, turn_count, -1);
	if (self->nvme >= 0) {
		crew_add(crew, turn_nvme_fault, dup(self->nvme));
		crew_add(crew, turn_nvme_map, dup(self->nvme));
		crew_add(crew, turn_nvme_map, dup(self->nvme));
	}
	race(crew);
	EXPECT_TRUE(all_had_a_turn(crew));
}

TEST_F_TIMEOUT(many, race_with_rebind, 120)
{
	struct crew *crew = &self->crew;

	crew_add(crew, turn_fault, edu_open(edu_name));
	crew_add(crew, turn_fault_high, edu_open(edu_name));
	crew_add(crew, turn_map, edu_open(edu_name));
	crew_add(crew, turn_handler, edu_open(edu_name));
	crew_add(crew, turn_count, -1);
	crew_add(crew, turn_rebind, -1);
	race(crew);
	EXPECT_TRUE(all_had_a_turn(crew));
}

/* Wait until the handler has been called more than @calls times altogether. */
static bool called_after(int fd, __u64 calls)
{
	long long end = now_ms() + 20000;
	struct dma_edu_faults told;

	do {
		sleep_ms(50);
		if (get_faults(fd, &told))
			return false;
	} while (told.calls <= calls && now_ms() < end);
	return told.calls > calls;
}

/* The handler does not run any more when the call that unregisters it is back. */
TEST_F_TIMEOUT(many, unregister_while_faults_come, 120)
{
	struct crew *crew = &self->crew;
	struct dma_edu_faults told, later;
	int i;

	crew_add(crew, turn_fault, edu_open(edu_name));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, get_faults(self->fd, &told));
		ASSERT_EQ(0, set_handler(self->fd, DMA_EDU_FAULT_COUNT));
		EXPECT_TRUE(called_after(self->fd, told.calls));
		EXPECT_EQ(0, set_handler(self->fd, DMA_EDU_FAULT_NONE));
		ASSERT_EQ(0, get_faults(self->fd, &told));
		sleep_ms(300);
		ASSERT_EQ(0, get_faults(self->fd, &later));
		EXPECT_EQ(told.calls, later.calls);
	}
}

/* The driver unregisters its handler when it goes, and the next one has none. */
TEST_F_TIMEOUT(many, unbind_while_faults_come, 120)
{
	struct crew *crew = &self->crew;
	struct dma_edu_faults told;
	int i, fd;

	crew_add(crew, turn_fault, edu_open(edu_name));
	for (i = 0; i < 5; i++) {
		fd = edu_open(edu_name);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, set_handler(fd, i & 1 ? DMA_EDU_FAULT_RESET :
						     DMA_EDU_FAULT_COUNT));
		EXPECT_TRUE(called_after(fd, 0));
		ASSERT_EQ(0, edu_unbind(edu_name));
		EXPECT_EQ(-ENODEV, set_handler(fd, DMA_EDU_FAULT_COUNT));
		EXPECT_EQ(-ENODEV, get_faults(fd, &told));
		close(fd);
		ASSERT_TRUE(bound_again());
	}
}

/* All that is known of the device goes with it, and begins anew. */
TEST_F_TIMEOUT(many, remove_while_faults_come, 120)
{
	struct crew *crew = &self->crew;
	char path[EDU_PATH_MAX];
	int i, fd;

	crew_add(crew, turn_fault, edu_open(edu_name));
	crew_add(crew, turn_count, -1);
	for (i = 0; i < 5; i++) {
		fd = edu_open(edu_name);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, set_handler(fd, DMA_EDU_FAULT_COUNT));
		EXPECT_TRUE(called_after(fd, 0));
		snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/remove",
			 edu_name);
		ASSERT_EQ(0, file_write(path, "1"));
		EXPECT_EQ(-ENODEV, set_handler(fd, DMA_EDU_FAULT_COUNT));
		close(fd);
		EXPECT_EQ(-ENOENT, counts_sum(edu_name));
		ASSERT_EQ(0, file_write("/sys/bus/pci/rescan", "1"));
		ASSERT_TRUE(bound_again());
	}
}

int main(int argc, char **argv)
{
	struct group_state booted;
	int ret;

	edu_setup(&booted);
	ret = read_settings();
	if (ret)
		ksft_exit_skip("%s has no IOMMU: %s\n", edu_name,
			       strerror(-ret));
	if (!off && counts_sum(edu_name) < 0)
		ksft_exit_skip("kernel without IOMMU_DMA_FAULT\n");
	lately = mmap(NULL, sizeof(*lately), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (lately == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	return edu_finish(&booted, test_harness_run(argc, argv));
}
