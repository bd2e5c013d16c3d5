// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_DEBUG_PAGEALLOC: what it says about a driver that frees pages which are
 * mapped, maps pages which are free, or leaves mappings behind, and that it
 * says nothing about others
 *
 * Needs the dma_edu module, which has these bugs on request, QEMU's edu device
 * behind an IOMMU, and iommu.debug_pagealloc=1. The reports are read from the
 * kernel log and compared line by line; what is in them depends on
 * iommu.debug_pagealloc_stack=1. The tests count mappings of the whole machine:
 * nothing else may use DMA meanwhile, or not through the DMA API.
 *
 * Tests of memory hotplug take a memory block offline. It has to be of
 * ZONE_MOVABLE and in little use: boot with movablecore=512M, or the like.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_PAGEALLOC_SOAK: map and unmap calls of the soak test, 5000 if not set
 * DMA_PAGEALLOC_SEED: start of its random numbers
 */

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/util.h"

#define STATS_PATH	"/sys/kernel/debug/iommu_debug_pagealloc/stats"

#define FILL_BYTE	0x3c
#define OWNER_BYTE	0x5a
#define DEVICE_BYTE	0xa5

static __u64 page_size;

/* Reports tell the IOVA and the caller of a mapping. */
static bool with_stack;

/* ------------------------------------------------------------ the counters */

struct stats {
	long enabled;
	long mapped;
	long checks;
	long violations;
};

static int stats_read(struct stats *st)
{
	char buf[256];
	int ret = file_read(STATS_PATH, buf, sizeof(buf));

	if (ret)
		return ret;
	if (sscanf(buf, "enabled %ld\nmapped %ld\nchecks %ld\nviolations %ld",
		   &st->enabled, &st->mapped, &st->checks,
		   &st->violations) != 4)
		return -EPROTO;
	return 0;
}

/* -1 if it cannot be told, which is the value of no counter here. */
static long mapped_now(void)
{
	struct stats st;

	return stats_read(&st) ? -1 : st.mapped;
}

static long violations_now(void)
{
	struct stats st;

	return stats_read(&st) ? -1 : st.violations;
}

/* Smallest IOMMU pages that a mapping takes of the memory it is of. */
static long map_pages(const struct mapping *m, __u64 granule)
{
	const struct dma_edu_map *req = &m->req;
	__u64 start = (req->phys + req->offset) % granule;
	__u64 len = req->size;

	if (req->path == DMA_EDU_COHERENT || req->path == DMA_EDU_NONCONTIG)
		return align_up(len, page_size > granule ? page_size : granule) /
		       granule;
	if (req->path == DMA_EDU_IOVA && !req->link)
		return 0;
	if (req->path == DMA_EDU_IOVA)
		len = req->link;
	if (!req->chunk)
		return align_up(start + len, granule) / granule;
	return len / req->chunk * (align_up(start + req->chunk, granule) /
				   granule) +
	       align_up(len % req->chunk ? start + len % req->chunk : 0,
			granule) / granule;
}

/* ------------------------------------------------------- reports in the log */

#define MAX_REPORTS	16
#define NAME_LEN	128

/* What the kernel prints of these in five seconds. */
#define BURST		10

static const char rule[] =
	"==================================================================";

static const char stack_hint[] =
	"iommu.debug_pagealloc_stack=1 tells at which IOVA, and the caller";

/*
 * A report, as it should be or as it was read. @nr, @total: of the line about a
 * block of more than one page, else 0. @iova: ~0 if not told.
 */
struct report {
	char what[16];
	__u64 pfn;
	unsigned int order;
	int count;
	unsigned long nr;
	unsigned long total;
	char by[NAME_LEN];
	__u64 iova;
	bool edu_mapped;	/* dma_edu in the stack of the mapping */
	bool hint;		/* told that there might be a stack */
	bool edu_here;		/* dma_edu in the stack of the report */
	bool complete;
};

/* @left: lines about mappings without an owner. @bad: lines of any other kind */
struct klog {
	struct report reports[MAX_REPORTS];
	int nr;
	char left[4][KMSG_LINE_MAX];
	int nr_left;
	int bad;
};

static bool is_bad_line(const char *line)
{
	static const char * const bad[] = {
		"WARNING:", "BUG:", "DMA-API:", "INFO: possible", "Oops",
		"debug_pagealloc:",
	};
	size_t i;

	/* What an injected failure, or a mapping left on purpose, makes of it. */
	if (strstr(line, "ENOMEM, dma-debug disabled") ||
	    strstr(line, "device driver has pending DMA allocations") ||
	    strstr(line, "DMA-API: Mapped at:") ||
	    strstr(line, "dma_debug_device_change"))
		return false;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (strstr(line, bad[i]))
			return true;
	return false;
}

enum klog_state {
	KLOG_OUTSIDE,
	KLOG_RULE,	/* after the rule: the headline */
	KLOG_HEAD,	/* after the headline: the block, or the device */
	KLOG_BLOCK,	/* after the block: the device */
	KLOG_DEVICE,	/* after the device: the last mapping, stack, or hint */
	KLOG_STACK,	/* in the stack of the mapping */
	KLOG_HERE,	/* in the stack of the report */
	KLOG_FAULT,	/* in a report that the device has faulted */
};

/*
 * Does a line consist of what sscanf() was to take of it, which is that all
 * @want values were found and %n says that the line ends there?
 */
static bool all_read(const char *line, int found, int want, int len)
{
	return found == want && len > 0 && !line[len];
}

static bool parse_head(struct report *r, const char *line)
{
	int n, len = 0;

	r->iova = ~0ULL;
	n = sscanf(line, "BUG: DMA: page %15s while mapped: pfn 0x%llx order %u count %d%n",
		   r->what, &r->pfn, &r->order, &r->count, &len);
	return all_read(line, n, 4, len);
}

static bool parse_block(struct report *r, const char *line)
{
	int n, len = 0;

	n = sscanf(line, "%lu of the block's %lu pages are mapped%n", &r->nr,
		   &r->total, &len);
	return all_read(line, n, 2, len);
}

static bool parse_device(struct report *r, const char *line,
			 enum klog_state *state)
{
	int n, len = 0, times = 0;

	n = sscanf(line, "mapped by %127s at IOVA 0x%llx here:%n", r->by,
		   &r->iova, &len);
	if (all_read(line, n, 2, len)) {
		*state = KLOG_STACK;
		return r->count == 1;
	}
	r->iova = ~0ULL;
	*state = KLOG_DEVICE;
	len = 0;
	n = sscanf(line, "mapped by %127s%n", r->by, &len);
	if (all_read(line, n, 1, len))
		return r->count == 1;
	len = 0;
	n = sscanf(line, "mapped %d times; if all by one device, by %127s%n",
		   &times, r->by, &len);
	return all_read(line, n, 2, len) && times == r->count && times > 1;
}

static bool parse_last(struct report *r, const char *line)
{
	char by[NAME_LEN];
	int n, len = 0;

	if (r->count < 2)
		return false;
	n = sscanf(line, "last mapped by %127s at IOVA 0x%llx here:%n", by,
		   &r->iova, &len);
	return all_read(line, n, 2, len) && !strcmp(by, r->by);
}

static bool parse_here(const struct report *r, const char *line)
{
	char here[32];

	snprintf(here, sizeof(here), "%s here:", r->what);
	return !strcmp(line, here);
}

/* One line of a report. False if it does not belong there. */
static bool parse_line(struct report *r, enum klog_state *state,
		       const char *line)
{
	switch (*state) {
	case KLOG_OUTSIDE:
		return false;
	case KLOG_RULE:
		*state = KLOG_HEAD;
		return parse_head(r, line);
	case KLOG_HEAD:
		if (parse_block(r, line)) {
			*state = KLOG_BLOCK;
			return true;
		}
		return parse_device(r, line, state);
	case KLOG_BLOCK:
		return parse_device(r, line, state);
	case KLOG_DEVICE:
		if (parse_last(r, line)) {
			*state = KLOG_STACK;
			return true;
		}
		if (!strcmp(line, stack_hint)) {
			r->hint = true;
			return true;
		}
		if (!parse_here(r, line))
			return false;
		*state = KLOG_HERE;
		return true;
	case KLOG_STACK:
		if (line[0] == ' ') {
			r->edu_mapped |= !!strstr(line, "[dma_edu]");
			return true;
		}
		if (!parse_here(r, line))
			return false;
		*state = KLOG_HERE;
		return true;
	case KLOG_HERE:
		r->edu_here |= !!strstr(line, "[dma_edu]");
		return true;
	case KLOG_FAULT:
		return true;
	}
	return false;
}

/* All that was logged since the last call: it is there before an ioctl ends. */
static void klog_read(int kmsg, struct klog *log)
{
	enum klog_state state = KLOG_OUTSIDE;
	char line[KMSG_LINE_MAX];
	struct report *r = NULL;

	memset(log, 0, sizeof(*log));
	/* That the device has faulted may just be about to be reported. */
	while (kmsg_next(kmsg, line, state == KLOG_RULE || state == KLOG_FAULT ?
				     FAULT_WAIT_MS : 0)) {
		if (!strcmp(line, rule)) {
			if (state == KLOG_HERE) {
				r->complete = true;
				state = KLOG_OUTSIDE;
			} else if (state == KLOG_FAULT) {
				state = KLOG_OUTSIDE;
			} else if (log->nr < MAX_REPORTS) {
				r = &log->reports[log->nr++];
				state = KLOG_RULE;
			}
			continue;
		}
		/* Not of this sanitizer, but a test may make it. */
		if (state == KLOG_RULE && kmsg_is_fault_report(line, edu_name)) {
			log->nr--;
			state = KLOG_FAULT;
			continue;
		}
		if (state != KLOG_OUTSIDE) {
			if (parse_line(r, &state, line))
				continue;
			ksft_print_msg("not as a report should be: %s\n",
				       line);
			log->bad++;
			state = KLOG_OUTSIDE;
			continue;
		}
		if (strstr(line, "after the driver was unbound") ||
		    strstr(line, "pages mapped, the first at")) {
			if (log->nr_left < (int)ARRAY_SIZE(log->left))
				memcpy(log->left[log->nr_left++], line,
				       KMSG_LINE_MAX);
		} else if (is_bad_line(line)) {
			ksft_print_msg("log: %s\n", line);
			log->bad++;
		}
	}
}

static void report_print(const char *label, const struct report *r)
{
	ksft_print_msg("%s: %s pfn %#llx order %u count %d, %lu of %lu\n",
		       label, r->what, r->pfn, r->order, r->count, r->nr,
		       r->total);
	ksft_print_msg("by %s at %#llx, dma_edu %d %d hint %d complete %d\n",
		       r->by, r->iova, r->edu_mapped, r->edu_here, r->hint,
		       r->complete);
}

/*
 * Fill in what is to be said of block @index, of which @pages pages from
 * @first on are mapped once.
 */
static int report_expect(int fd, const struct mapping *m, __u64 granule,
			 __u32 index, const char *what, unsigned long first,
			 unsigned long pages, struct report *r)
{
	struct dma_edu_block block;
	int ret = edu_block(fd, m->req.handle, index, &block);

	if (ret)
		return ret;
	memset(r, 0, sizeof(*r));
	snprintf(r->what, sizeof(r->what), "%s", what);
	r->pfn = block.pfn + first;
	r->order = block.order;
	r->count = 1;
	if (block.order) {
		r->nr = pages;
		r->total = 1UL << block.order;
	}
	snprintf(r->by, sizeof(r->by), "%s", edu_name);
	r->iova = m->req.iova / granule * granule +
		  (((__u64)index << block.order) + first) * page_size;
	return 0;
}

/* The same report, but for what the kernel was not told to keep. */
static bool report_is(const struct report *r, const struct report *expected)
{
	struct report e = *expected;

	e.complete = true;
	e.edu_here = true;
	e.edu_mapped = with_stack;
	e.hint = !with_stack;
	if (!with_stack)
		e.iova = ~0ULL;
	if (!strcmp(r->what, e.what) && r->pfn == e.pfn &&
	    r->order == e.order && r->count == e.count && r->nr == e.nr &&
	    r->total == e.total && !strcmp(r->by, e.by) && r->iova == e.iova &&
	    r->edu_mapped == e.edu_mapped && r->edu_here == e.edu_here &&
	    r->hint == e.hint && r->complete)
		return true;
	report_print("expected", &e);
	report_print("found", r);
	return false;
}

/* Nothing but these reports, each once and in this order. */
static bool log_has(int kmsg, const struct report *expected, int nr)
{
	struct klog log;
	bool ok;
	int i;

	klog_read(kmsg, &log);
	ok = log.nr == nr && !log.nr_left && !log.bad;
	if (!ok)
		ksft_print_msg("%d reports, not %d, %d lines of what was left, %d others\n",
			       log.nr, nr, log.nr_left, log.bad);
	for (i = 0; i < log.nr && !ok; i++)
		report_print("found", &log.reports[i]);
	for (i = 0; i < log.nr && i < nr; i++)
		ok &= report_is(&log.reports[i], &expected[i]);
	return ok;
}

static bool log_is_clean(int kmsg)
{
	return log_has(kmsg, NULL, 0);
}

/*
 * Reports since the limit was last known to be at its start, shared by all
 * tests, each of which is a process of its own.
 */
static struct {
	long long last_ms;
	int used;
} *burst;

/* Wait until the kernel will print as many reports. */
static void burst_need(int nr)
{
	long long start = burst->last_ms + RATELIMIT_MS;

	if (now_ms() < start && burst->used + nr > BURST)
		sleep_ms(start - now_ms());
	if (now_ms() >= start)
		burst->used = 0;
	burst->used += nr;
	/* At the latest now, or by the end of what the caller does next. */
	burst->last_ms = now_ms() + 500;
}

/* More may have been printed, at any time until now. */
static void burst_spent(void)
{
	burst->last_ms = now_ms();
	burst->used = BURST;
}

/* ----------------------------------------------------- the device under test */

/*
 * A file of the device and a reader of the log, both from before the test, and
 * what the counters should say after it.
 */
struct state {
	int fd;
	int kmsg;
	struct dma_edu_info info;
	struct stats before;
};

/* Not an errno. */
#define NO_LAZY_MODE	1

/* What one CPU frees waits in its cache: have it all done by one. */
static int pin_to_this_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus) ? -errno : 0;
}

static void state_exit(struct state *st)
{
	if (st->fd >= 0)
		close(st->fd);
	if (st->kmsg >= 0)
		close(st->kmsg);
}

/* 0, NO_LAZY_MODE, or a negative errno. */
static int state_init(struct state *st, const char *type)
{
	bool lazy = !strcmp(type, "DMA-FQ");
	int ret;

	st->fd = -1;
	st->kmsg = kmsg_open();
	ret = st->kmsg < 0 ? st->kmsg : pin_to_this_cpu();
	if (!ret)
		ret = group_set(type, edu_guard_kb(edu_name));
	if (!ret)
		st->fd = edu_open(edu_name);
	if (!ret && st->fd < 0)
		ret = st->fd;
	if (!ret)
		ret = edu_info(st->fd, &st->info) ?: stats_read(&st->before);
	if (!ret && lazy && st->info.domain != DMA_EDU_DOMAIN_DMA_FQ)
		ret = NO_LAZY_MODE;
	if (!ret && !lazy && st->info.domain != DMA_EDU_DOMAIN_DMA)
		ret = -EPROTO;
	if (ret)
		state_exit(st);
	return ret;
}

FIXTURE(pagealloc)
{
	struct state st;
};

FIXTURE_VARIANT(pagealloc)
{
	const char *type;
};

FIXTURE_VARIANT_ADD(pagealloc, strict)
{
	.type = "DMA",
};

FIXTURE_VARIANT_ADD(pagealloc, lazy)
{
	.type = "DMA-FQ",
};

FIXTURE_SETUP(pagealloc)
{
	int ret = state_init(&self->st, variant->type);

	if (ret == NO_LAZY_MODE)
		SKIP(return, "the IOMMU has no lazy mode");
	ASSERT_EQ(0, ret);
}

/* What a test has left is unmapped by then, and all of the log expected. */
FIXTURE_TEARDOWN(pagealloc)
{
	close(self->st.fd);
	self->st.fd = -1;
	EXPECT_EQ(self->st.before.mapped, mapped_now());
	EXPECT_TRUE(log_is_clean(self->st.kmsg));
	state_exit(&self->st);
}

static const struct map_kind * const kind_single = &kinds[0];

static int simple_map(struct state *st, struct mapping *m,
		      const struct map_kind *kind, __u64 size, __u32 flags)
{
	return kind_map(st->fd, m, kind, size, 0, DMA_EDU_BIDIRECTIONAL,
			XFER_MASK_BITS, flags, FILL_BYTE);
}

/* ------------------------------------------------------- freed while mapped */

/* Paths with pages that the driver frees. */
static bool owns_pages(const struct map_kind *kind)
{
	return kind->path != DMA_EDU_COHERENT &&
	       kind->path != DMA_EDU_NONCONTIG;
}

/* The bug at its smallest: the right calls, but freed before unmapped. */
TEST_F_TIMEOUT(pagealloc, free_before_unmap, 120)
{
	struct state *st = &self->st;
	struct report expected[2];
	struct mapping m;
	int kind, i;

	for (kind = 0; kind < NR_KINDS; kind++) {
		if (!owns_pages(&kinds[kind]) || kinds[kind].partial)
			continue;
		burst_need(2);
		ASSERT_EQ(0, simple_map(st, &m, &kinds[kind], 2 * page_size,
					0));
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, report_expect(st->fd, &m,
						   st->info.granule, i,
						   "freed", 0, 1,
						   &expected[i]));
		ASSERT_EQ(0, edu_free(st->fd, m.req.handle, 0, 2,
				      DMA_EDU_FREE_UNMAP));
		EXPECT_TRUE(log_has(st->kmsg, expected, 2)) {
			TH_LOG("%s", kinds[kind].name);
		}
		st->before.violations += 2;
		EXPECT_EQ(st->before.violations, violations_now());
		EXPECT_EQ(st->before.mapped, mapped_now());
	}
}

/* A block is one report, of its first mapped page. */
TEST_F_TIMEOUT(pagealloc, free_block_before_unmap, 120)
{
	struct state *st = &self->st;
	static const struct {
		int pages, order;
	} blocks[] = {
		{ 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 15, 4 }, { 16, 4 },
		{ 17, 5 }, { 512, 9 }, { 513, 10 }, { 1023, 10 }, { 1024, 10 },
	};
	struct report expected;
	struct mapping m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		__u64 size = blocks[i].pages * page_size;

		if (size > DMA_EDU_MAX_SIZE)
			continue;
		burst_need(1);
		ASSERT_EQ(0, simple_map(st, &m, kind_single, size,
					DMA_EDU_MAP_BLOCK));
		ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule, 0,
					   "freed", 0, blocks[i].pages,
					   &expected));
		EXPECT_EQ(blocks[i].order, (int)expected.order);
		ASSERT_EQ(0, edu_free(st->fd, m.req.handle, 0, 1,
				      DMA_EDU_FREE_UNMAP));
		EXPECT_TRUE(log_has(st->kmsg, &expected, 1)) {
			TH_LOG("%d pages", blocks[i].pages);
		}
		EXPECT_EQ(++st->before.violations, violations_now());
		EXPECT_EQ(st->before.mapped, mapped_now());
	}
}

/*
 * One page of a larger mapping, whether that is counted by pages, by groups or
 * by blocks. The mapping outlasts it, until it is undone as a whole.
 */
TEST_F_TIMEOUT(pagealloc, free_one_page_of_many, 120)
{
	struct state *st = &self->st;
	static const struct {
		int pages, page;
	} cases[] = {
		{ 2, 0 }, { 2, 1 }, { 16, 5 }, { 64, 63 }, { 512, 0 },
		{ 512, 1 }, { 512, 77 }, { 1000, 999 },
	};
	struct report expected;
	struct mapping m;
	size_t i;
	long map;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		__u64 size = cases[i].pages * page_size;

		if (size > DMA_EDU_MAX_SIZE)
			continue;
		burst_need(1);
		ASSERT_EQ(0, simple_map(st, &m, kind_single, size, 0));
		ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule,
					   cases[i].page, "freed", 0, 1,
					   &expected));
		ASSERT_EQ(0, edu_free(st->fd, m.req.handle, cases[i].page,
				      1, 0));
		EXPECT_TRUE(log_has(st->kmsg, &expected, 1)) {
			TH_LOG("page %d of %d", cases[i].page, cases[i].pages);
		}
		EXPECT_EQ(++st->before.violations, violations_now());
		map = map_pages(&m, st->info.granule);
		EXPECT_EQ(st->before.mapped + map, mapped_now());

		EXPECT_EQ(0, edu_unmap(st->fd, m.req.handle, 0));
		EXPECT_EQ(st->before.mapped, mapped_now());
		EXPECT_TRUE(log_is_clean(st->kmsg));
		EXPECT_EQ(st->before.violations, violations_now());
	}
}

/* Mapped twice, in two pieces of the same page. */
TEST_F(pagealloc, free_page_that_is_mapped_twice)
{
	struct state *st = &self->st;
	struct mapping a, b;
	struct report expected;

	burst_need(1);
	/* CONFIG_DMA_API_DEBUG does not mind others to read what is mapped. */
	ASSERT_EQ(0, kind_map(st->fd, &a, kind_single, 64, 0,
			      DMA_EDU_TO_DEVICE, XFER_MASK_BITS, 0, 0));
	b = a;
	b.req.flags = DMA_EDU_MAP_SHARE;
	b.req.offset = 1024;
	ASSERT_EQ(0, edu_map(st->fd, &b.req));

	ASSERT_EQ(0, report_expect(st->fd, &a, st->info.granule, 0,
				   "freed", 0, 1, &expected));
	expected.count = 2;
	expected.iova = b.req.iova / st->info.granule * st->info.granule;
	ASSERT_EQ(0, edu_free(st->fd, a.req.handle, 0, 1, 0));
	/* A smaller granule than the page has none of the two in one place. */
	if (st->info.granule == page_size)
		EXPECT_TRUE(log_has(st->kmsg, &expected, 1));
	EXPECT_EQ(++st->before.violations, violations_now());
	EXPECT_EQ(0, kind_unmap(st->fd, &b));
	EXPECT_EQ(0, kind_unmap(st->fd, &a));
}

/*
 * The danger that the reports are about: what the device writes arrives in
 * memory that has another owner by then. After the unmap it does not.
 */
TEST_F_TIMEOUT(pagealloc, device_writes_into_freed_memory, 120)
{
	struct state *st = &self->st;
	struct report expected[2];
	struct mapping m;
	__u8 data[64];
	bool faulted;

	memset(data, DEVICE_BYTE, sizeof(data));
	ASSERT_EQ(0, edu_mem(st->fd, 0, data, sizeof(data), DMA_EDU_WRITE));

	burst_need(2);
	ASSERT_EQ(0, simple_map(st, &m, kind_single, page_size, 0));
	ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule, 0,
				   "freed", 0, 1, &expected[0]));
	ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule, 0,
				   "allocated", 0, 1, &expected[1]));
	ASSERT_EQ(0, edu_free(st->fd, m.req.handle, 0, 1, 0));
	EXPECT_EQ(-EINVAL, edu_cpu(st->fd, m.req.handle, 0, data, 1, 0));
	ASSERT_EQ(0, edu_take(st->fd, m.req.handle, 0, 1));
	EXPECT_TRUE(log_has(st->kmsg, expected, 2));
	EXPECT_EQ(st->before.violations + 2, violations_now());

	memset(data, OWNER_BYTE, sizeof(data));
	ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, 0, data, sizeof(data),
			     DMA_EDU_WRITE));
	ASSERT_EQ(0, edu_xfer(st->fd, m.req.iova, 0, sizeof(data),
			      DMA_EDU_XFER_WRITE));
	ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, 0, data, sizeof(data),
			     0));
	EXPECT_TRUE(all_bytes(data, sizeof(data), DEVICE_BYTE));

	memset(data, OWNER_BYTE, sizeof(data));
	ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, 0, data, sizeof(data),
			     DMA_EDU_WRITE));
	ASSERT_EQ(0, edu_unmap(st->fd, m.req.handle, DMA_EDU_UNMAP_KEEP));
	if (st->info.domain == DMA_EDU_DOMAIN_DMA_FQ)
		sleep_ms(FQ_DRAIN_MS);
	ASSERT_EQ(0, edu_xfer_faults(st->fd, st->kmsg, m.req.iova,
				     sizeof(data), DMA_EDU_XFER_WRITE,
				     m.req.iova, m.req.iova + page_size,
				     &faulted));
	EXPECT_TRUE(faulted);
	ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, 0, data, sizeof(data),
			     0));
	EXPECT_TRUE(all_bytes(data, sizeof(data), OWNER_BYTE));
	/* Now it is as it should be. */
	EXPECT_EQ(0, edu_unmap(st->fd, m.req.handle, 0));
	EXPECT_EQ(st->before.violations + 2, violations_now());
}

/* Of more bad pages than are printed, all are counted. */
TEST_F_TIMEOUT(pagealloc, reports_are_limited, 60)
{
	struct state *st = &self->st;
	const int pages = 64;
	struct klog log;
	struct mapping m;
	int i;

	burst_need(BURST);
	ASSERT_EQ(0, simple_map(st, &m, kind_single, pages * page_size, 0));
	ASSERT_EQ(0, edu_free(st->fd, m.req.handle, 0, pages,
			      DMA_EDU_FREE_UNMAP));
	klog_read(st->kmsg, &log);
	EXPECT_EQ(BURST, log.nr);
	EXPECT_EQ(0, log.bad);
	for (i = 0; i < log.nr; i++)
		EXPECT_TRUE(log.reports[i].complete);
	EXPECT_EQ(st->before.violations + pages, violations_now());
}

TEST_F(pagealloc, report_taints_the_kernel)
{
	struct state *st = &self->st;
	struct report expected;
	struct mapping m;
	char buf[32];

	burst_need(1);
	ASSERT_EQ(0, simple_map(st, &m, kind_single, page_size, 0));
	ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule, 0,
				   "freed", 0, 1, &expected));
	ASSERT_EQ(0, edu_free(st->fd, m.req.handle, 0, 1,
			      DMA_EDU_FREE_UNMAP));
	EXPECT_TRUE(log_has(st->kmsg, &expected, 1));
	/* 'B', which is bit 5 */
	ASSERT_EQ(0, file_read("/proc/sys/kernel/tainted", buf, sizeof(buf)));
	EXPECT_TRUE(strtoul(buf, NULL, 10) & 1 << 5);
}

/* --------------------------------------------------- allocated while mapped */

/* Who maps what is free is found when the page gets its next owner. */
TEST_F_TIMEOUT(pagealloc, map_freed_pages, 120)
{
	struct state *st = &self->st;
	struct report expected;
	struct mapping m;
	int kind;

	for (kind = 0; kind < NR_KINDS; kind++) {
		if (!owns_pages(&kinds[kind]) || kinds[kind].partial)
			continue;
		burst_need(1);
		ASSERT_EQ(0, simple_map(st, &m, &kinds[kind], page_size,
					DMA_EDU_MAP_FREED));
		EXPECT_TRUE(log_is_clean(st->kmsg));
		EXPECT_EQ(st->before.violations, violations_now());
		ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule, 0,
					   "allocated", 0, 1, &expected));
		ASSERT_EQ(0, edu_take(st->fd, m.req.handle, 0, 1));
		EXPECT_TRUE(log_has(st->kmsg, &expected, 1)) {
			TH_LOG("%s", kinds[kind].name);
		}
		EXPECT_EQ(++st->before.violations, violations_now());
		EXPECT_EQ(0, kind_unmap(st->fd, &m));
		EXPECT_EQ(st->before.mapped, mapped_now());
		EXPECT_TRUE(log_is_clean(st->kmsg));
		EXPECT_EQ(st->before.violations, violations_now());
	}
}

TEST_F_TIMEOUT(pagealloc, map_freed_block, 60)
{
	struct state *st = &self->st;
	static const int pages[] = { 2, 3, 4, 16 };
	struct report expected;
	struct mapping m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		burst_need(1);
		ASSERT_EQ(0, simple_map(st, &m, kind_single,
					pages[i] * page_size,
					DMA_EDU_MAP_BLOCK |
					DMA_EDU_MAP_FREED));
		ASSERT_EQ(0, report_expect(st->fd, &m, st->info.granule, 0,
					   "allocated", 0, pages[i],
					   &expected));
		ASSERT_EQ(0, edu_take(st->fd, m.req.handle, 0, 1));
		EXPECT_TRUE(log_has(st->kmsg, &expected, 1));
		EXPECT_EQ(++st->before.violations, violations_now());
		EXPECT_EQ(0, kind_unmap(st->fd, &m));
		EXPECT_EQ(st->before.violations, violations_now());
	}
}

/* --------------------------------------------------------- left at the unbind */

/*
 * One line, ending in @text with a number of pages in it and @iova. Whose it
 * is, is in the line too.
 */
static bool log_has_left(int kmsg, const char *text, unsigned long pages,
			 __u64 iova)
{
	const char *first = ", the first at IOVA 0x";
	char part[128];
	struct klog log;
	char *p;

	klog_read(kmsg, &log);
	if (log.nr || log.bad || log.nr_left != 1) {
		ksft_print_msg("%d reports, %d lines about what was left, %d others\n",
			       log.nr, log.nr_left, log.bad);
		return false;
	}
	ksft_print_msg("log: %s\n", log.left[0]);
	snprintf(part, sizeof(part), text, pages);
	p = strstr(log.left[0], first);
	return strstr(log.left[0], part) && strstr(log.left[0], edu_name) &&
	       p && strtoull(p + strlen(first), NULL, 16) == iova;
}

/*
 * Whether a page happens to be mapped at its own address, as the memory of some
 * firmware is, which is not reported.
 */
static bool has_own_address(struct state *st, const struct mapping *m)
{
	__u64 iova = m->req.iova / page_size * page_size;
	struct dma_edu_block block;
	__u32 i;

	for (i = 0; !edu_block(st->fd, m->req.handle, i, &block); i++) {
		if (block.pfn * page_size == iova)
			return true;
		iova += (__u64)page_size << block.order;
	}
	return false;
}

/* The lowest IOVA, and the number of pages, of mappings that are then left. */
static int map_and_leave(struct state *st, unsigned long *pages, __u64 *first)
{
	static const struct {
		int kind, pages;
	} left[] = { { 0, 1 }, { 2, 3 }, { 1, 512 } };
	__u64 granule = st->info.granule;
	struct mapping m, odd[8];
	int ret, nr_odd = 0;
	size_t i, size;

	*pages = 0;
	*first = ~0ULL;
	for (i = 0; i < ARRAY_SIZE(left); i++) {
		size = left[i].pages * page_size;
		if (size > DMA_EDU_MAX_SIZE)
			size = DMA_EDU_MAX_SIZE;
		ret = simple_map(st, &m, &kinds[left[i].kind], size, 0);
		while (!ret && has_own_address(st, &m) &&
		       nr_odd < (int)ARRAY_SIZE(odd)) {
			odd[nr_odd++] = m;
			ret = simple_map(st, &m, &kinds[left[i].kind], size, 0);
		}
		while (nr_odd)
			ret = kind_unmap(st->fd, &odd[--nr_odd]) ?: ret;
		if (!ret)
			ret = edu_unmap(st->fd, m.req.handle,
					DMA_EDU_UNMAP_LEAVE);
		if (ret)
			return ret;
		*pages += map_pages(&m, granule);
		if (m.req.iova < *first)
			*first = m.req.iova / granule * granule;
	}
	/* And one that the driver does undo. */
	return simple_map(st, &m, kind_single, 5 * page_size, 0);
}

/* Pages that the driver has mapped for itself as long as it is bound. */
static long driver_pages(__u64 granule)
{
	return align_up(page_size, granule) / granule;
}

TEST_F_TIMEOUT(pagealloc, unbind_with_mappings, 60)
{
	struct state *st = &self->st;
	unsigned long pages;
	long unbound;
	__u64 first;

	unbound = st->before.mapped - driver_pages(st->info.granule);
	ASSERT_EQ(0, map_and_leave(st, &pages, &first));
	ASSERT_EQ(0, edu_unbind(edu_name));
	EXPECT_EQ(unbound + (long)pages, mapped_now());
	EXPECT_TRUE(log_has_left(st->kmsg,
				 "DMA: %lu pages still mapped after the driver was unbound",
				 pages, first));
	/* The next driver is where it goes on, and nothing was lost. */
	ASSERT_EQ(0, edu_bind(edu_name));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* Mappings end with their domain, and so do the counts. */
TEST_F_TIMEOUT(pagealloc, free_domain_with_mappings, 60)
{
	struct state *st = &self->st;
	bool lazy = st->info.domain == DMA_EDU_DOMAIN_DMA_FQ;
	unsigned long pages;
	long unbound;
	__u64 first;
	int ret;

	unbound = st->before.mapped - driver_pages(st->info.granule);
	ASSERT_EQ(0, map_and_leave(st, &pages, &first));
	ASSERT_EQ(0, edu_unbind(edu_name));
	EXPECT_TRUE(log_has_left(st->kmsg,
				 "DMA: %lu pages still mapped after the driver was unbound",
				 pages, first));
	ret = edu_group_write(edu_name, "type", "identity");
	if (ret) {
		EXPECT_EQ(0, edu_bind(edu_name));
		SKIP(return, "no identity domain: %s", strerror(-ret));
	}
	EXPECT_TRUE(log_has_left(st->kmsg, "freed with %lu pages mapped",
				 pages, first));
	EXPECT_EQ(unbound, mapped_now());
	ASSERT_EQ(0, edu_group_write(edu_name, "type",
				     lazy ? "DMA-FQ" : "DMA"));
	ASSERT_EQ(0, edu_bind(edu_name));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

TEST_F_TIMEOUT(pagealloc, unbind_without_mappings, 60)
{
	struct state *st = &self->st;
	struct mapping m;
	int kind;

	for (kind = 0; kind < NR_KINDS; kind++)
		ASSERT_EQ(0, simple_map(st, &m, &kinds[kind], KB(64), 0));
	ASSERT_EQ(0, edu_unbind(edu_name));
	EXPECT_EQ(st->before.mapped - driver_pages(st->info.granule),
		  mapped_now());
	ASSERT_EQ(0, edu_bind(edu_name));
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* ---------------------------------------------------------- nothing to report */

static const __u64 sizes[] = {
	1, 100, KB(4) - 1, KB(4), KB(4) + 1, KB(8), KB(64) - 1, KB(64),
	KB(64) + 1, KB(128), MB(1), MB(2), MB(2) + KB(4), MB(4) - KB(4), MB(4),
};

#define COUNT_TRIES	5

/*
 * Map and unmap; the count must follow exactly. Another device that maps at the
 * same moment disturbs it, but not each time.
 */
static bool counts_follow(int fd, struct mapping *m, __u64 granule,
			  long *pages)
{
	struct dma_edu_map req = m->req;
	long before, during, after;
	int tries, ret;

	for (tries = 0; tries < COUNT_TRIES; tries++) {
		m->req = req;
		before = mapped_now();
		ret = edu_map(fd, &m->req);
		/* A large contiguous one may not be to be had. */
		if (ret == -ENOMEM && req.size >= MB(1))
			return true;
		during = mapped_now();
		if (ret || kind_unmap(fd, m))
			break;
		after = mapped_now();
		*pages = map_pages(m, granule);
		if (before >= 0 && during == before + *pages &&
		    after == before)
			return true;
		ksft_print_msg("%ld pages of %s, %llu bytes at %#x: %ld, %ld, %ld\n",
			       *pages, m->kind->name, req.size, req.offset,
			       before, during, after);
	}
	return false;
}

TEST_F_TIMEOUT(pagealloc, honest_driver_of_all_kinds, 300)
{
	struct state *st = &self->st;
	static const __u32 offsets[] = { 0, 1, 0x234, 4095 };
	struct mapping m;
	long pages = 0;
	int kind, dir;
	size_t i, j;

	for (kind = 0; kind < NR_KINDS; kind++) {
		for (i = 0; i < ARRAY_SIZE(sizes) * ARRAY_SIZE(offsets); i++) {
			j = i / ARRAY_SIZE(offsets);
			dir = i % DMA_EDU_NR_DIRS;
			memset(&m, 0, sizeof(m));
			m.kind = &kinds[kind];
			m.req.path = kinds[kind].path;
			m.req.mask_bits = 32;
			m.req.size = sizes[j];
			m.req.flags = DMA_EDU_MAP_NOFILL;
			m.req.dir = m.req.path == DMA_EDU_COHERENT ? 0 : dir;
			if (owns_pages(&kinds[kind]))
				m.req.offset = offsets[i % ARRAY_SIZE(offsets)];
			if (m.req.offset + m.req.size > DMA_EDU_MAX_SIZE)
				continue;
			if (m.req.path == DMA_EDU_IOVA)
				m.req.link = kinds[kind].partial ?
					     (sizes[j] + 1) / 2 : sizes[j];
			ASSERT_TRUE(counts_follow(st->fd, &m,
						  st->info.granule, &pages));
		}
	}
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* Entries that are parts of pages, and ranges of which little is linked. */
TEST_F_TIMEOUT(pagealloc, honest_driver_of_parts, 120)
{
	struct state *st = &self->st;
	static const __u32 chunks[][2] = {
		{ 1, 0 }, { 100, 50 }, { 4095, 1 }, { 2048, 2048 }, { 4096, 0 },
	};
	static const __u64 links[] = {
		0, 1, 4095, 4096, 4097, KB(64), KB(128) - 1, KB(128),
	};
	struct mapping m;
	long pages = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(chunks); i++) {
		memset(&m, 0, sizeof(m));
		m.kind = &kinds[2];
		m.req.path = DMA_EDU_SG;
		m.req.mask_bits = 32;
		m.req.size = 33 * chunks[i][0];
		m.req.chunk = chunks[i][0];
		m.req.offset = chunks[i][1];
		ASSERT_TRUE(counts_follow(st->fd, &m, st->info.granule,
					  &pages));
		EXPECT_LE(33, pages);
	}
	for (i = 0; i < 2 * ARRAY_SIZE(links); i++) {
		memset(&m, 0, sizeof(m));
		m.kind = &kinds[i % 2 ? 8 : 7];
		m.req.path = DMA_EDU_IOVA;
		m.req.mask_bits = 32;
		m.req.size = KB(128);
		m.req.link = links[i / 2];
		ASSERT_TRUE(counts_follow(st->fd, &m, st->info.granule,
					  &pages));
	}
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* Two buffers in a page, which is free when both are unmapped. */
TEST_F(pagealloc, honest_drivers_share_a_page)
{
	struct state *st = &self->st;
	struct mapping a, b;
	int first;

	for (first = 0; first < 2; first++) {
		ASSERT_EQ(0, kind_map(st->fd, &a, kind_single, 64, 0,
				      DMA_EDU_TO_DEVICE, 32, 0, 0));
		b = a;
		b.req.flags = DMA_EDU_MAP_SHARE;
		b.req.offset = 1024;
		ASSERT_EQ(0, edu_map(st->fd, &b.req));
		EXPECT_EQ(st->before.mapped + 2, mapped_now());
		/* The memory is that of a, which is kept for b. */
		if (!first) {
			EXPECT_EQ(0, edu_unmap(st->fd, a.req.handle,
					       DMA_EDU_UNMAP_KEEP));
			EXPECT_EQ(st->before.mapped + 1, mapped_now());
		}
		EXPECT_EQ(0, kind_unmap(st->fd, &b));
		EXPECT_EQ(st->before.mapped + first, mapped_now());
		EXPECT_EQ(0, kind_unmap(st->fd, &a));
		EXPECT_EQ(st->before.mapped, mapped_now());
	}
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* Pages next to what is mapped: of the same group, the same block, or not. */
TEST_F_TIMEOUT(pagealloc, free_the_neighbours_of_a_mapping, 60)
{
	struct state *st = &self->st;
	static const struct {
		int pages, first, count;
	} cases[] = {
		{ 2, 0, 1 }, { 2, 1, 1 }, { 32, 0, 16 }, { 32, 16, 16 },
		{ 32, 8, 16 }, { 64, 16, 33 }, { 1024, 0, 512 },
		{ 1024, 512, 512 }, { 1024, 511, 2 }, { 1024, 1, 1022 },
	};
	struct mapping all, some;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		int end = cases[i].first + cases[i].count;

		if (cases[i].pages * page_size > DMA_EDU_MAX_SIZE)
			continue;
		ASSERT_EQ(0, simple_map(st, &all, kind_single,
					cases[i].pages * page_size, 0));
		ASSERT_EQ(0, edu_unmap(st->fd, all.req.handle,
				       DMA_EDU_UNMAP_KEEP));
		some = all;
		some.req.flags = DMA_EDU_MAP_SHARE;
		some.req.offset = cases[i].first * page_size;
		some.req.size = cases[i].count * page_size;
		ASSERT_EQ(0, edu_map(st->fd, &some.req));
		if (cases[i].first)
			EXPECT_EQ(0, edu_free(st->fd, all.req.handle, 0,
					      cases[i].first, 0));
		if (end < cases[i].pages)
			EXPECT_EQ(0, edu_free(st->fd, all.req.handle, end,
					      cases[i].pages - end, 0));
		EXPECT_EQ(st->before.mapped +
			  map_pages(&some, st->info.granule), mapped_now());
		EXPECT_TRUE(log_is_clean(st->kmsg)) {
			TH_LOG("%d pages, %d from %d mapped", cases[i].pages,
			       cases[i].count, cases[i].first);
		}
		EXPECT_EQ(0, kind_unmap(st->fd, &some));
		EXPECT_EQ(0, kind_unmap(st->fd, &all));
	}
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* --------------------------------------------------------------------- soak */

#define SOAK_LIVE	100
#define SOAK_DEF_CALLS	5000UL
#define SOAK_DEF_SEED	0x243f6a8885a308d3ULL

static __u64 rand_state;

/* xorshift64; the state is never 0. */
static __u64 rand_below(__u64 limit)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return (rand_state >> 16) % limit;
}

static unsigned long env_ulong(const char *name, unsigned long def)
{
	const char *val = getenv(name);

	return val && *val ? strtoul(val, NULL, 0) : def;
}

/* The count is that of all live mappings, at each moment. */
TEST_F_TIMEOUT(pagealloc, honest_soak, 1800)
{
	struct state *st = &self->st;
	unsigned long calls = env_ulong("DMA_PAGEALLOC_SOAK", SOAK_DEF_CALLS);
	struct mapping live[SOAK_LIVE];
	long pages = 0;
	unsigned long call;
	int count = 0, ret;

	rand_state = env_ulong("DMA_PAGEALLOC_SEED", SOAK_DEF_SEED) ?: 1;
	ksft_print_msg("DMA_PAGEALLOC_SEED=%#llx DMA_PAGEALLOC_SOAK=%lu\n",
		       rand_state, calls);
	for (call = 0; call < calls; call++) {
		if (count == SOAK_LIVE || (count && rand_below(20) < 9)) {
			int i = rand_below(count);

			pages -= map_pages(&live[i], st->info.granule);
			ASSERT_EQ(0, kind_unmap(st->fd, &live[i]));
			live[i] = live[--count];
		} else {
			__u64 size = 1ULL << rand_below(21);

			ret = kind_map(st->fd, &live[count],
				       &kinds[rand_below(NR_KINDS)],
				       size + rand_below(size) * rand_below(2),
				       rand_below(4096) * rand_below(2),
				       rand_below(DMA_EDU_NR_DIRS), 32,
				       DMA_EDU_MAP_NOFILL, 0);
			if (ret == -ENOMEM)
				continue;
			ASSERT_EQ(0, ret);
			pages += map_pages(&live[count++], st->info.granule);
		}
		ASSERT_EQ(st->before.mapped + pages, mapped_now()) {
			TH_LOG("call %lu", call);
		}
	}
	ASSERT_EQ(0, unmap_all(st->fd, live, count));
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* ------------------------------------------------- right after the unmap */

/* When the device writes, counted from the start of a transfer. */
#define XFER_MS		100
#define RACE_MS		16
#define RACE_LATE_MS	2
#define RACE_ROUNDS	4

/*
 * Have the unmap meet the end of a transfer. In lazy mode the device may still
 * reach the page for a while: that is no bug of the driver, and nothing is
 * reported. In strict mode it must not. The page is kept, so that no harm is
 * done.
 */
TEST_F_TIMEOUT(pagealloc, device_writes_after_unmap, 120)
{
	struct state *st = &self->st;
	bool lazy = st->info.domain == DMA_EDU_DOMAIN_DMA_FQ;
	int early = 0, late = 0, after = 0, i, ret;
	struct dma_edu_xfer xfer = {
		.len = 64,
		.flags = DMA_EDU_XFER_WRITE,
	};
	__u8 data[64], now[64];
	struct mapping m;

	memset(data, DEVICE_BYTE, sizeof(data));
	ASSERT_EQ(0, edu_mem(st->fd, 0, data, sizeof(data), DMA_EDU_WRITE));
	for (i = 0; i < RACE_MS * RACE_ROUNDS; i++) {
		ASSERT_EQ(0, simple_map(st, &m, kind_single, page_size, 0));
		/* The IOTLB is to know the page; the rest of it is read. */
		ASSERT_EQ(0, edu_xfer(st->fd, m.req.iova + sizeof(data),
				      sizeof(data), sizeof(data), 0));
		xfer.iova = m.req.iova;
		xfer.timeout_ms = XFER_MS + RACE_LATE_MS - i % RACE_MS;
		ret = edu_ioctl(st->fd, DMA_EDU_IOC_XFER, &xfer);
		ASSERT_TRUE(!ret || ret == -ETIMEDOUT);
		ASSERT_EQ(0, edu_unmap(st->fd, m.req.handle,
				       DMA_EDU_UNMAP_KEEP |
				       DMA_EDU_UNMAP_RACE));
		ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, 0, now,
				     sizeof(now), 0));
		sleep_ms(XFER_MS);
		ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, 0, data,
				     sizeof(data), 0));
		if (!all_bytes(now, sizeof(now), FILL_BYTE))
			late++;
		else if (all_bytes(data, sizeof(data), FILL_BYTE))
			early++;
		else
			after++;
		ASSERT_EQ(0, edu_unmap(st->fd, m.req.handle, 0));
	}
	ksft_print_msg("%s: of %d writes %d came before the unmap, %d after, %d not\n",
		       lazy ? "lazy" : "strict", i, late, after, early);
	/* Without the unmap in between, it does write. */
	EXPECT_LT(0, late);
	if (!lazy)
		EXPECT_EQ(0, after);
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* Unmapped and freed, as it should be: also with the flush yet to come. */
TEST_F(pagealloc, free_right_after_unmap)
{
	struct state *st = &self->st;
	struct mapping m;
	int i;

	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, simple_map(st, &m, &kinds[i % NR_KINDS],
					KB(64), DMA_EDU_MAP_NOFILL));
		ASSERT_EQ(0, kind_unmap(st->fd, &m));
	}
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* ABI of the module: what is not in its header is refused. */
TEST_F(pagealloc, bad_ioctl_arguments_are_refused)
{
	struct state *st = &self->st;
	struct dma_edu_block block;
	struct mapping m, share;

	ASSERT_EQ(0, simple_map(st, &m, kind_single, 2 * page_size, 0));
	EXPECT_EQ(-EINVAL, edu_block(st->fd, m.req.handle, 2, &block));
	EXPECT_EQ(-EINVAL, edu_block(st->fd, 0, 0, &block));
	EXPECT_EQ(-EINVAL, edu_free(st->fd, m.req.handle, 0, 0, 0));
	EXPECT_EQ(-EINVAL, edu_free(st->fd, m.req.handle, 0, 3, 0));
	EXPECT_EQ(-EINVAL, edu_free(st->fd, m.req.handle, 1, ~0U, 0));
	EXPECT_EQ(-EINVAL, edu_free(st->fd, m.req.handle, 0, 1, 2));
	EXPECT_EQ(-EINVAL, edu_take(st->fd, m.req.handle, 0, 1));
	EXPECT_EQ(-EINVAL, edu_unmap(st->fd, m.req.handle,
				     DMA_EDU_UNMAP_RACE));
	EXPECT_EQ(-EINVAL, edu_unmap(st->fd, m.req.handle,
				     DMA_EDU_UNMAP_LEAVE | DMA_EDU_UNMAP_KEEP));

	share = m;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &share.req));
	share.req.flags = DMA_EDU_MAP_SHARE;
	share.req.offset = 1;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &share.req));
	share.req.offset = 0;
	share.req.path = DMA_EDU_SG;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &share.req));
	share.req.path = DMA_EDU_PAGE;
	share.req.flags |= DMA_EDU_MAP_FREED;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &share.req));
	EXPECT_EQ(0, kind_unmap(st->fd, &m));

	EXPECT_EQ(-EINVAL, simple_map(st, &m, &kinds[2], page_size,
				      DMA_EDU_MAP_BLOCK));
	EXPECT_EQ(-EINVAL, simple_map(st, &m, &kinds[3], page_size,
				      DMA_EDU_MAP_FREED));
}

/* ---------------------------------------------------- memory that goes offline */

#define MEMORY_PATH	"/sys/devices/system/memory"

/* The kernel tries to move pages away until a signal comes. */
#define OFFLINE_SECONDS	10
#define OFFLINE_TRIES	5

/*
 * The memory block that is taken offline, -1 if none was yet. Shared by all
 * tests, and known to main(), which brings it back.
 */
static struct {
	long nr;
	__u64 phys;
	__u64 size;
} *block;

static bool block_is(long nr, const char *attr, const char *val)
{
	char path[EDU_PATH_MAX], buf[64];

	snprintf(path, sizeof(path), MEMORY_PATH "/memory%ld/%s", nr, attr);
	return !file_read(path, buf, sizeof(buf)) && !strcmp(buf, val);
}

static int block_set(long nr, const char *state)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), MEMORY_PATH "/memory%ld/state", nr);
	return file_write(path, state);
}

static int block_online(void)
{
	return block_is(block->nr, "state", "online") ? 0 :
	       block_set(block->nr, "online_movable");
}

static void on_alarm(int sig)
{
}

static int block_offline(void)
{
	const struct sigaction act = { .sa_handler = on_alarm };
	int tries, ret = -EBUSY;

	sigaction(SIGALRM, &act, NULL);
	alarm(OFFLINE_SECONDS);
	/* A page that somebody holds for a moment makes it fail. */
	for (tries = 0; tries < OFFLINE_TRIES && ret == -EBUSY; tries++)
		ret = block_set(block->nr, "offline");
	alarm(0);
	return ret;
}

/* Have all of another block free, if what is in use there can go elsewhere. */
static int block_empty(long nr)
{
	long own = block->nr;
	int ret;

	if (!block_is(nr, "valid_zones", "Movable"))
		return -EBUSY;
	block->nr = nr;
	ret = block_offline();
	if (!ret)
		ret = block_online();
	block->nr = own;
	return ret;
}

/* Can it be taken offline and brought back? */
static bool block_try(long nr)
{
	block->nr = nr;
	block->phys = nr * block->size;
	return block_is(nr, "state", "online") &&
	       block_is(nr, "valid_zones", "Movable") &&
	       !block_offline() && !block_online();
}

/*
 * Find a block. It is online, and all free: its memory is what the page
 * allocator hands out last. Returns why there is none.
 */
static const char *block_find(void)
{
	bool found = block->nr >= 0 && block_try(block->nr);
	struct dirent *de;
	char buf[64];
	DIR *dir;
	long nr;

	if (file_read(MEMORY_PATH "/block_size_bytes", buf, sizeof(buf)))
		return "kernel without memory hotplug";
	block->size = strtoull(buf, NULL, 16);

	dir = opendir(MEMORY_PATH);
	while (dir && !found && (de = readdir(dir)))
		found = sscanf(de->d_name, "memory%ld", &nr) == 1 &&
			block_try(nr);
	if (dir)
		closedir(dir);
	if (found)
		return NULL;
	block->nr = -1;
	return "no memory block of ZONE_MOVABLE can be taken offline";
}

FIXTURE(offline)
{
	struct state st;
};

FIXTURE_VARIANT(offline)
{
	const char *type;
};

FIXTURE_VARIANT_ADD(offline, strict)
{
	.type = "DMA",
};

FIXTURE_VARIANT_ADD(offline, lazy)
{
	.type = "DMA-FQ",
};

FIXTURE_SETUP(offline)
{
	const char *none = block_find();
	int ret;

	if (none)
		SKIP(return, "%s", none);
	ret = state_init(&self->st, variant->type);
	if (ret == NO_LAZY_MODE)
		SKIP(return, "the IOMMU has no lazy mode");
	ASSERT_EQ(0, ret);
}

/* As for pagealloc, and the memory is there again. */
FIXTURE_TEARDOWN(offline)
{
	close(self->st.fd);
	self->st.fd = -1;
	EXPECT_EQ(0, block_online());
	EXPECT_EQ(self->st.before.mapped, mapped_now());
	EXPECT_EQ(self->st.before.violations, violations_now());
	EXPECT_TRUE(log_is_clean(self->st.kmsg));
	state_exit(&self->st);
}

static const struct map_kind kind_phys = {
	"phys", DMA_EDU_PHYS, false, false
};

/* Map whatever is there. */
static int phys_map(struct state *st, struct mapping *m, __u64 phys,
		    __u64 size)
{
	memset(m, 0, sizeof(*m));
	m->kind = &kind_phys;
	m->req.path = DMA_EDU_PHYS;
	m->req.flags = DMA_EDU_MAP_NOFILL;
	m->req.mask_bits = 32;
	m->req.size = size;
	m->req.phys = phys;
	return edu_map(st->fd, &m->req);
}

/*
 * Map a buffer that consists of these pages, which are free. The direction is
 * that of which CONFIG_DMA_API_DEBUG does not mind that a page is mapped twice.
 */
static int at_map(struct state *st, struct mapping *m, __u64 phys, __u64 size)
{
	memset(m, 0, sizeof(*m));
	m->kind = kind_single;
	m->req.path = DMA_EDU_SINGLE;
	m->req.dir = DMA_EDU_TO_DEVICE;
	m->req.flags = DMA_EDU_MAP_AT;
	m->req.mask_bits = 32;
	m->req.size = size;
	m->req.phys = phys;
	return edu_map(st->fd, &m->req);
}

/* Pages of the block, in pieces of DMA_EDU_MAX_SIZE: one range in each. */
static const struct {
	unsigned int first, pages;
} ranges[] = {
	{ 0, 1 }, { 5, 1 }, { 16, 16 }, { 3, 30 }, { 32, 128 }, { 512, 512 },
	{ 0, 1024 }, { 1, 1022 },
};

#define NR_RANGES	((int)ARRAY_SIZE(ranges))

/* With large pages the last ones do not fit. */
static int nr_ranges(void)
{
	int i;

	for (i = 0; i < NR_RANGES; i++)
		if ((ranges[i].first + ranges[i].pages) * page_size >
		    DMA_EDU_MAX_SIZE ||
		    (i + 1ULL) * DMA_EDU_MAX_SIZE > block->size)
			break;
	return i;
}

static __u64 range_phys(int i)
{
	return block->phys + (__u64)i * DMA_EDU_MAX_SIZE +
	       ranges[i].first * page_size;
}

/* Map the ranges, one in two from the middle of a page on. */
static int ranges_map(struct state *st, struct mapping *m, long *pages)
{
	int i, ret = 0;

	*pages = 0;
	for (i = 0; i < nr_ranges() && !ret; i++) {
		__u64 offset = i % 2 ? page_size / 2 : 0;

		ret = phys_map(st, &m[i], range_phys(i) + offset,
			       ranges[i].pages * page_size - offset);
		if (!ret)
			*pages += map_pages(&m[i], st->info.granule);
	}
	return ret;
}

/*
 * Hand out the pages of a range, map them, and free them before they are
 * unmapped: is each of them found once, and none before? Then neither is one
 * counted that is not mapped, nor does one have less than no mappings.
 */
static bool range_is_watched(struct state *st, int i)
{
	struct report expected;
	struct mapping m;
	struct klog log;
	bool ok;
	int ret;

	ret = at_map(st, &m, range_phys(i), ranges[i].pages * page_size);
	if (ret) {
		ksft_print_msg("cannot allocate range %d: %s\n", i,
			       strerror(-ret));
		return false;
	}
	ok = log_is_clean(st->kmsg) && violations_now() == st->before.violations;
	ret = report_expect(st->fd, &m, st->info.granule, 0, "freed", 0, 1,
			    &expected);
	if (!ret)
		ret = edu_free(st->fd, m.req.handle, 0, ranges[i].pages,
			       DMA_EDU_FREE_UNMAP);
	klog_read(st->kmsg, &log);
	/* More than that are not printed. */
	if (!i)
		ok &= log.nr > 0;
	if (log.nr)
		ok &= report_is(&log.reports[0], &expected);
	ok &= !ret && !log.bad && !log.nr_left;
	st->before.violations += ranges[i].pages;
	if (ok && violations_now() == st->before.violations)
		return true;
	ksft_print_msg("range %d, of %u pages: %ld violations too many\n", i,
		       ranges[i].pages,
		       violations_now() - st->before.violations);
	st->before.violations = violations_now();
	return false;
}

static bool ranges_are_watched(struct state *st)
{
	bool ok = true;
	int i;

	burst_need(BURST);
	for (i = 0; i < nr_ranges(); i++)
		ok &= range_is_watched(st, i);
	burst_spent();
	return ok;
}

static bool nothing_said(struct state *st)
{
	return log_is_clean(st->kmsg) &&
	       violations_now() == st->before.violations;
}

/* Memory that is offline is nobody's to free, and not counted. */
TEST_F_TIMEOUT(offline, map_and_unmap_while_offline, 120)
{
	struct state *st = &self->st;
	struct mapping m[NR_RANGES];
	long pages;

	ASSERT_EQ(0, block_offline());
	ASSERT_EQ(0, ranges_map(st, m, &pages));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_EQ(0, unmap_all(st->fd, m, nr_ranges()));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));

	ASSERT_EQ(0, block_online());
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_TRUE(ranges_are_watched(st));
}

/* What was not counted must not be taken away. */
TEST_F_TIMEOUT(offline, map_while_offline_unmap_after, 120)
{
	struct state *st = &self->st;
	struct mapping m[NR_RANGES];
	long pages;

	ASSERT_EQ(0, block_offline());
	ASSERT_EQ(0, ranges_map(st, m, &pages));
	EXPECT_EQ(st->before.mapped, mapped_now());

	ASSERT_EQ(0, block_online());
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_EQ(0, unmap_all(st->fd, m, nr_ranges()));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_TRUE(ranges_are_watched(st));
}

/* What was counted must not stay when its count is gone, */
TEST_F_TIMEOUT(offline, map_before_unmap_while_offline, 120)
{
	struct state *st = &self->st;
	struct mapping m[NR_RANGES];
	long pages;

	ASSERT_EQ(0, ranges_map(st, m, &pages));
	EXPECT_EQ(st->before.mapped + pages, mapped_now());
	ASSERT_EQ(0, block_offline());
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_EQ(0, unmap_all(st->fd, m, nr_ranges()));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));

	ASSERT_EQ(0, block_online());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_TRUE(ranges_are_watched(st));
}

/* nor be taken away once more. */
TEST_F_TIMEOUT(offline, map_before_unmap_after, 120)
{
	struct state *st = &self->st;
	struct mapping m[NR_RANGES];
	long pages;

	ASSERT_EQ(0, ranges_map(st, m, &pages));
	EXPECT_EQ(st->before.mapped + pages, mapped_now());
	ASSERT_EQ(0, block_offline());
	ASSERT_EQ(0, block_online());
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_EQ(0, unmap_all(st->fd, m, nr_ranges()));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_TRUE(ranges_are_watched(st));
}

/* Of two mappings of a page only one is counted, and either may go first. */
TEST_F_TIMEOUT(offline, unmap_one_of_two, 60)
{
	struct state *st = &self->st;
	struct mapping old, new;
	int old_first;

	for (old_first = 0; old_first < 2; old_first++) {
		ASSERT_EQ(0, block_offline());
		ASSERT_EQ(0, phys_map(st, &old, range_phys(0), page_size));
		ASSERT_EQ(0, block_online());
		ASSERT_EQ(0, at_map(st, &new, range_phys(0), page_size));
		EXPECT_EQ(st->before.mapped +
			  map_pages(&new, st->info.granule), mapped_now());
		if (old_first)
			EXPECT_EQ(0, kind_unmap(st->fd, &old));
		EXPECT_EQ(0, kind_unmap(st->fd, &new));
		if (!old_first)
			EXPECT_EQ(0, kind_unmap(st->fd, &old));
		EXPECT_EQ(st->before.mapped, mapped_now());
	}
	EXPECT_TRUE(nothing_said(st));
}

/* A mapping of which one half is of a buffer, and the other offline. */
TEST_F_TIMEOUT(offline, map_across_the_edge, 60)
{
	struct state *st = &self->st;
	const __u64 half = DMA_EDU_MAX_SIZE / 2;
	struct mapping buf, both;
	__u64 edge;
	long pages;

	edge = block->phys + block->size;
	if (block_empty(block->nr + 1) || at_map(st, &buf, edge, half)) {
		edge = block->phys;
		if (block_empty(block->nr - 1) ||
		    at_map(st, &buf, edge - half, half))
			SKIP(return, "the memory beside the block is in use");
	}
	pages = map_pages(&buf, st->info.granule);
	ASSERT_EQ(0, edu_unmap(st->fd, buf.req.handle, DMA_EDU_UNMAP_KEEP));

	ASSERT_EQ(0, block_offline());
	ASSERT_EQ(0, phys_map(st, &both, edge - half, 2 * half));
	EXPECT_EQ(st->before.mapped + pages, mapped_now());
	EXPECT_EQ(0, kind_unmap(st->fd, &both));
	EXPECT_EQ(st->before.mapped, mapped_now());

	ASSERT_EQ(0, phys_map(st, &both, edge - half, 2 * half));
	ASSERT_EQ(0, block_online());
	EXPECT_EQ(st->before.mapped + pages, mapped_now());
	EXPECT_EQ(0, kind_unmap(st->fd, &both));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
	EXPECT_EQ(0, kind_unmap(st->fd, &buf));
}

#define CYCLES	10

static int map_all_kinds(struct state *st, struct mapping *m, long *pages)
{
	int kind, ret = 0;

	*pages = 0;
	for (kind = 0; kind < NR_KINDS && !ret; kind++) {
		ret = simple_map(st, &m[kind], &kinds[kind], KB(64) + 1, 0);
		if (!ret)
			*pages += map_pages(&m[kind], st->info.granule);
	}
	return ret;
}

/* Mappings made before the memory goes or comes, and undone after that. */
TEST_F_TIMEOUT(offline, honest_drivers_across_cycles, 300)
{
	struct state *st = &self->st;
	struct mapping m[NR_KINDS], at;
	long pages;
	int cycle, i;

	for (cycle = 0; cycle < CYCLES; cycle++) {
		/* Memory of the block, too, as long as it is there. */
		for (i = 0; i < nr_ranges(); i++) {
			ASSERT_EQ(0, at_map(st, &at, range_phys(i),
					    ranges[i].pages * page_size));
			EXPECT_EQ(st->before.mapped +
				  map_pages(&at, st->info.granule),
				  mapped_now());
			ASSERT_EQ(0, kind_unmap(st->fd, &at));
		}
		ASSERT_EQ(0, map_all_kinds(st, m, &pages));
		ASSERT_EQ(0, block_offline());
		EXPECT_EQ(st->before.mapped + pages, mapped_now());
		ASSERT_EQ(0, unmap_all(st->fd, m, NR_KINDS));
		EXPECT_EQ(st->before.mapped, mapped_now());

		ASSERT_EQ(0, map_all_kinds(st, m, &pages));
		ASSERT_EQ(0, block_online());
		EXPECT_EQ(st->before.mapped + pages, mapped_now());
		ASSERT_EQ(0, unmap_all(st->fd, m, NR_KINDS));
		EXPECT_EQ(st->before.mapped, mapped_now());
		EXPECT_TRUE(nothing_said(st));
	}
}

/* Have another process take the block offline and online again, and again. */
static pid_t cycles_start(void)
{
	pid_t pid = fork();
	int cycle;

	if (pid)
		return pid;
	for (cycle = 0; cycle < CYCLES; cycle++)
		if (block_offline() || block_online())
			_exit(1);
	_exit(0);
}

/* Memory goes and comes while others map and unmap. */
TEST_F_TIMEOUT(offline, honest_drivers_during_cycles, 300)
{
	struct state *st = &self->st;
	struct mapping m[NR_KINDS];
	pid_t pid = cycles_start();
	int status, rounds = 0;
	long pages;

	ASSERT_LT(0, pid);
	while (!waitpid(pid, &status, WNOHANG)) {
		ASSERT_EQ(0, map_all_kinds(st, m, &pages));
		EXPECT_EQ(st->before.mapped + pages, mapped_now());
		ASSERT_EQ(0, unmap_all(st->fd, m, NR_KINDS));
		EXPECT_EQ(st->before.mapped, mapped_now());
		rounds++;
	}
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	ksft_print_msg("%d rounds during %d cycles\n", rounds, CYCLES);
	EXPECT_LT(0, rounds);
	EXPECT_TRUE(nothing_said(st));
}

/*
 * The same with mappings of the block, whether it is there or not. What is mapped
 * at the very moment when it comes online is free memory that is mapped, and
 * may be reported.
 */
TEST_F_TIMEOUT(offline, map_and_unmap_during_cycles, 300)
{
	struct state *st = &self->st;
	struct mapping m[NR_RANGES];
	pid_t pid = cycles_start();
	int status, rounds = 0;
	struct klog log;
	long pages;

	ASSERT_LT(0, pid);
	while (!waitpid(pid, &status, WNOHANG)) {
		ASSERT_EQ(0, ranges_map(st, m, &pages));
		ASSERT_EQ(0, unmap_all(st->fd, m, nr_ranges()));
		rounds++;
	}
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	EXPECT_EQ(st->before.mapped, mapped_now());

	klog_read(st->kmsg, &log);
	EXPECT_EQ(0, log.bad + log.nr_left);
	ksft_print_msg("%d rounds during %d cycles, %ld reports\n", rounds,
		       CYCLES, violations_now() - st->before.violations);
	EXPECT_LT(0, rounds);
	st->before.violations = violations_now();
	burst_spent();
	EXPECT_TRUE(ranges_are_watched(st));
}

/* Registers are no memory. */
TEST_F(pagealloc, map_registers)
{
	struct state *st = &self->st;
	char path[EDU_PATH_MAX], buf[64];
	struct dma_edu_block none;
	struct mapping m;
	__u8 data;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/resource", edu_name);
	ASSERT_EQ(0, file_read(path, buf, sizeof(buf)));
	ASSERT_EQ(0, phys_map(st, &m, strtoull(buf, NULL, 16), page_size));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_EQ(-EINVAL, edu_cpu(st->fd, m.req.handle, 0, &data, 1, 0));
	EXPECT_EQ(-EINVAL, edu_block(st->fd, m.req.handle, 0, &none));
	EXPECT_EQ(-EINVAL, edu_unmap(st->fd, m.req.handle,
				     DMA_EDU_UNMAP_KEEP));
	EXPECT_EQ(-EINVAL, edu_unmap(st->fd, m.req.handle,
				     DMA_EDU_UNMAP_LEAVE));
	EXPECT_EQ(0, kind_unmap(st->fd, &m));
	EXPECT_EQ(st->before.mapped, mapped_now());
	EXPECT_TRUE(nothing_said(st));
}

TEST_F(pagealloc, bad_physical_ranges_are_refused)
{
	struct state *st = &self->st;
	const struct dma_edu_map good = {
		.path = DMA_EDU_SINGLE,
		.flags = DMA_EDU_MAP_AT,
		.mask_bits = 32,
		.size = page_size,
		.phys = MB(64),
	};
	struct dma_edu_map req;

	/* The end of the address space, or more than it has. */
	req = good;
	req.path = DMA_EDU_PHYS;
	req.flags = DMA_EDU_MAP_NOFILL;
	req.phys = -page_size;
	req.size = page_size + 1;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	/* It is not filled. */
	req = good;
	req.path = DMA_EDU_PHYS;
	req.flags = 0;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	req.flags = DMA_EDU_MAP_NOFILL | DMA_EDU_MAP_AT;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	/* The offset is in the address. */
	req.flags = DMA_EDU_MAP_NOFILL;
	req.offset = 1;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));

	/* Nobody would look at it. */
	req = good;
	req.flags = 0;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	req = good;
	req.path = DMA_EDU_SG;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	req = good;
	req.flags |= DMA_EDU_MAP_BLOCK;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	/* Not a page, and more than one piece of memory. */
	req = good;
	req.phys++;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	req = good;
	req.phys -= page_size;
	req.size = 2 * page_size;
	EXPECT_EQ(-EINVAL, edu_map(st->fd, &req));
	/* The first page is never free. */
	req = good;
	req.phys = 0;
	req.flags |= DMA_EDU_MAP_NOFILL;
	EXPECT_EQ(-EAGAIN, edu_map(st->fd, &req));
	EXPECT_EQ(st->before.mapped, mapped_now());
}

/* ------------------------------------------------------- failed allocations */

#define FAIL_NTH_MAX	2000

FIXTURE(failed_allocation)
{
	struct state st;
};

FIXTURE_VARIANT(failed_allocation)
{
	const char *type;
};

FIXTURE_VARIANT_ADD(failed_allocation, strict)
{
	.type = "DMA",
};

FIXTURE_VARIANT_ADD(failed_allocation, lazy)
{
	.type = "DMA-FQ",
};

FIXTURE_SETUP(failed_allocation)
{
	int ret = state_init(&self->st, variant->type);

	if (ret == NO_LAZY_MODE)
		SKIP(return, "the IOMMU has no lazy mode");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(failed_allocation)
{
	state_exit(&self->st);
}

/*
 * Map with the @nth allocation of the call failing, by way of the open file @fail.
 * Puts the result of the call into @ret, and whether it had as many into @injected.
 */
static bool map_without_memory(int fail, int nth, struct state *st,
			       struct mapping *m, const struct map_kind *kind,
			       __u64 size, int *ret, bool *injected)
{
	char buf[16];
	ssize_t len;

	snprintf(buf, sizeof(buf), "%d", nth);
	if (pwrite(fail, buf, strlen(buf), 0) <= 0)
		return false;
	*ret = kind_map(st->fd, m, kind, size, 0, DMA_EDU_BIDIRECTIONAL,
			XFER_MASK_BITS, 0, 0);
	len = pread(fail, buf, sizeof(buf) - 1, 0);
	if (len <= 0 || pwrite(fail, "0", 1, 0) != 1)
		return false;
	buf[len] = '\0';
	/* Not counted down: the call has no more of them. */
	*injected = !strtol(buf, NULL, 10);
	return true;
}

/*
 * Fail each memory allocation of each way to map in turn: what was mapped by
 * then is taken off the count. CONFIG_DMA_API_DEBUG turns itself off when one
 * of its own fails, so that this comes last.
 */
TEST_F_TIMEOUT(failed_allocation, leaves_no_count, 900)
{
	struct state *st = &self->st;
	bool lazy = st->info.domain == DMA_EDU_DOMAIN_DMA_FQ;
	int fd, kind, nth, ret, injected = 0, failed = 0;
	struct mapping m;
	bool fails;

	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0 || !fault_injection_setup())
		SKIP(return, "no fault injection");

	for (kind = 0; kind < NR_KINDS; kind++) {
		for (nth = 1; nth < FAIL_NTH_MAX; nth++) {
			ret = flush_iova_caches(st->fd, lazy);
			ASSERT_EQ(0, ret);
			EXPECT_EQ(st->before.mapped, mapped_now());

			ASSERT_TRUE(map_without_memory(fd, nth, st, &m,
						       &kinds[kind], KB(256),
						       &ret, &fails));

			/* There are ways to go on without some allocation. */
			if (!ret) {
				EXPECT_EQ(st->before.mapped +
					  map_pages(&m, st->info.granule),
					  mapped_now());
				ASSERT_EQ(0, kind_unmap(st->fd, &m));
			} else {
				failed++;
			}
			EXPECT_EQ(st->before.mapped, mapped_now()) {
				TH_LOG("%s, %d: %s", kinds[kind].name, nth,
				       strerror(-ret));
			}
			if (!fails)
				break;
			injected++;
		}
		EXPECT_GT(FAIL_NTH_MAX, nth);
		EXPECT_EQ(0, ret);
	}
	close(fd);
	ksft_print_msg("%d failures injected, %d calls failed\n", injected,
		       failed);
	EXPECT_LT(0, failed);
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/*
 * The same, of a mapping that takes more than one table of the smallest pages, where
 * the IOMMU has no larger ones: the first table is filled when there is no memory for
 * the next one. Tables are freed with what is mapped by them.
 */
TEST_F_TIMEOUT(failed_allocation, leaves_no_half, 900)
{
	struct state *st = &self->st;
	int fd, nth, ret, injected = 0;
	struct mapping m;
	bool fails;

	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0 || !fault_injection_setup())
		SKIP(return, "no fault injection");

	for (nth = 1; nth < FAIL_NTH_MAX; nth++) {
		ASSERT_TRUE(map_without_memory(fd, nth, st, &m, &kinds[0],
					       DMA_EDU_MAX_SIZE, &ret, &fails));
		if (!ret)
			ASSERT_EQ(0, kind_unmap(st->fd, &m));
		EXPECT_EQ(st->before.mapped, mapped_now());
		if (!fails)
			break;
		injected++;
	}
	close(fd);
	EXPECT_GT(FAIL_NTH_MAX, nth);
	EXPECT_EQ(0, ret);
	ksft_print_msg("%d failures injected\n", injected);
	EXPECT_LT(3, injected);
	EXPECT_TRUE(log_is_clean(st->kmsg));
	EXPECT_EQ(st->before.violations, violations_now());
}

/* -------------------------------------------------------------------- main */

/* As kstrtobool() reads the last one on the command line. */
static bool boot_param_is_on(const char *param)
{
	char value[16];

	return boot_param(param, value, sizeof(value)) && *value &&
	       (strchr("1yYtT", *value) || !strncasecmp(value, "on", 2));
}

/* For all tests, each of which is a process of its own. */
static void *shared_alloc(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		ksft_exit_skip("no memory\n");
	return mem;
}

int main(int argc, char **argv)
{
	struct group_state booted;
	struct stats stats;
	int ret;

	page_size = getpagesize();
	if (geteuid())
		ksft_exit_skip("not root\n");
	ret = stats_read(&stats);
	if (ret)
		ksft_exit_skip("cannot read %s: %s\n", STATS_PATH,
			       strerror(-ret));
	if (stats.enabled != 1)
		ksft_exit_skip("off: boot with iommu.debug_pagealloc=1\n");
	with_stack = boot_param_is_on("iommu.debug_pagealloc_stack");
	edu_setup(&booted);
	burst = shared_alloc(sizeof(*burst));
	/* By another run that ended just now. */
	burst_spent();
	block = shared_alloc(sizeof(*block));
	block->nr = -1;

	ret = edu_finish(&booted, test_harness_run(argc, argv));
	/* What a test that was killed has left. */
	if (block->nr >= 0 && block_online()) {
		fprintf(stderr, "memory block %ld stays offline\n", block->nr);
		ret = KSFT_FAIL;
	}
	return ret;
}
