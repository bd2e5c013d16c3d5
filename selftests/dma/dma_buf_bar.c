// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs without struct pages: a device does DMA to the BAR of another one
 *
 * The dma_bar module exports parts of the BAR of QEMU's ivshmem-plain device and
 * maps them for the edu device, which dma_edu has read and write them. The BAR
 * is memory that the CPU sees as well: each step is followed by a comparison of
 * all of it with what it must hold.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the edu device; the script sets it to the first one
 */

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>

#include "../kselftest_harness.h"
#include "lib/bar.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/sanitizer.h"
#include "lib/util.h"

#define FAIL_NTH_PATH		"/proc/thread-self/fail-nth"
#define DMA_API_DEBUG_PATH	"/sys/kernel/debug/dma-api"

#define BAR_PAGES	1024ULL		/* the part of the BAR that is used */
#define BAR_SIZE	(BAR_PAGES * PAGE)

/* Is there an IOMMU group at all? */
static bool has_group;

/* What a sound mapping gives that is made when nothing has been changed yet */
static int first_try;

/* ------------------------------------------------------------ the two modules */

static int bar_export(int bar, const struct dma_bar_range *ranges, __u32 nr,
		      __u64 size, __u32 flags)
{
	struct dma_bar_export req = {
		.ranges = (unsigned long)ranges,
		.nr_ranges = nr,
		.size = size,
		.flags = flags,
	};

	return edu_ioctl(bar, DMA_BAR_IOC_EXPORT, &req) ?: req.fd;
}

/* Export and import in one; nothing is left of the dma-buf but the mapping. */
static int bar_map(int bar, const struct dma_bar_range *ranges, __u32 nr,
		   __u64 size, __u32 dir, struct import *imp)
{
	int dmabuf, ret;

	dmabuf = bar_export(bar, ranges, nr, size, 0);
	if (dmabuf < 0)
		return dmabuf;
	ret = bar_import(bar, dmabuf, dir, 0, imp);
	close(dmabuf);
	return ret;
}

static int bar_revoke(int bar, int dmabuf, struct dma_bar_revoke *req)
{
	memset(req, 0, sizeof(*req));
	req->fd = dmabuf;
	return edu_ioctl(bar, DMA_BAR_IOC_REVOKE, req);
}

/* ----------------------------------------------------- the state of a test */

struct state {
	struct bar_state b;
	__u64 guard;
	struct dma_bar_info info;
};

static int mem_open(struct state *st)
{
	/* Write combining, where there is that: arm64 copies no device memory. */
	static const char * const names[] = { "resource2_wc", "resource2" };
	char path[EDU_PATH_MAX];
	int fd = -1;
	size_t i;

	for (i = 0; fd < 0 && i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/%s",
			 st->info.name, names[i]);
		fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	st->b.mem = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 0);
	close(fd);
	if (st->b.mem != MAP_FAILED)
		return 0;
	st->b.mem = NULL;
	return -errno;
}

static void state_exit(struct state *st)
{
	if (st->b.mem)
		munmap(st->b.mem, BAR_SIZE);
	st->b.mem = NULL;
	bar_state_close(&st->b);
}

static int state_init(struct state *st, const char *type, unsigned int guard_kb)
{
	int ret;

	ret = bar_state_open(&st->b, has_group, type,
			     edu_guard_kb(edu_name) < 0 ? -ENOENT :
			     (long)guard_kb);
	if (ret)
		return ret;
	if (has_group && edu_guard_kb(edu_name) > 0)
		st->guard = (__u64)edu_guard_kb(edu_name) << 10;
	ret = edu_ioctl(st->b.bar, DMA_BAR_IOC_INFO, &st->info);
	if (ret)
		return ret;
	if (st->info.size < BAR_SIZE)
		return -ENOSPC;
	return mem_open(st) ?: mem_fill(&st->b, BAR_SIZE);
}

FIXTURE(bar)
{
	struct state st;
};

FIXTURE_VARIANT(bar)
{
	const char *type;
	bool translated;
	bool lazy;
	unsigned int guard_kb;
};

FIXTURE_VARIANT_ADD(bar, strict)
{
	.type = "DMA",
	.translated = true,
};

FIXTURE_VARIANT_ADD(bar, strict_guard_4k)
{
	.type = "DMA",
	.translated = true,
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(bar, lazy)
{
	.type = "DMA-FQ",
	.translated = true,
	.lazy = true,
};

/* A new guard takes a new domain, which is to be of the same type. */
FIXTURE_VARIANT_ADD(bar, lazy_guard_4k)
{
	.type = "DMA-FQ",
	.translated = true,
	.lazy = true,
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(bar, direct)
{
	.type = "identity",
};

FIXTURE_SETUP(bar)
{
	struct state *st = &self->st;
	cpu_set_t cpus;
	int ret;

	memset(st, 0, sizeof(*st));
	bar_state_clear(&st->b);
	if (variant->translated && !has_group)
		SKIP(return, "no IOMMU");
	if (variant->guard_kb && edu_guard_kb(edu_name) == -ENOENT)
		SKIP(return, "kernel without DMA guard pages");

	/* Freed IOVAs are in a cache of the CPU. */
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));

	if (first_try == -EINVAL)
		SKIP(return, "the devices do not reach each other");
	ret = state_init(st, variant->type, variant->guard_kb);
	if (!ret && st->b.translated != variant->translated) {
		state_exit(st);
		SKIP(return, "the IOMMU has no such mode");
	}
	if (ret == -EINVAL && !variant->translated) {
		state_exit(st);
		SKIP(return, "no identity domain");
	}
	/* The driver starts with a mask of 28 bits, too few for arm64's memory. */
	if (ret == -EIO && !variant->translated) {
		state_exit(st);
		SKIP(return, "no memory in reach without an IOMMU");
	}
	ASSERT_EQ(0, ret) {
		TH_LOG("%s", strerror(-ret));
		state_exit(st);
	}
	ASSERT_EQ((__u64)variant->guard_kb << 10, st->guard);
	ASSERT_EQ(variant->lazy, st->b.lazy);
}

/* Whatever a test has done, nothing stays mapped, and it was not noticed. */
FIXTURE_TEARDOWN(bar)
{
	struct state *st = &self->st;

	if (st->b.bar >= 0) {
		fd_close(&st->b.bar);
		EXPECT_EQ(st->b.mapped, sanitizer("mapped"));
		EXPECT_GE(0, sanitizer("violations"));
		EXPECT_TRUE(log_is_clean(st->b.kmsg_all));
	}
	state_exit(st);
}

/* ------------------------------------------------------------------- layouts */

static const struct layout layouts[] = {
	{ "one page", 1, 1, { PAGES(7, 1) } },
	{ "the first page", 1, 1, { PAGES(0, 1) } },
	{ "one range", 1, 1, { PAGES(3, 40) } },
	{ "the whole BAR", 1, 1, { PAGES(0, BAR_PAGES) } },
	{ "adjacent ranges", 3, 1, { PAGES(8, 1), PAGES(9, 7), PAGES(16, 2) } },
	{ "ranges with gaps", 3, 3,
	  { PAGES(1, 2), PAGES(4, 1), PAGES(600, 5) } },
	{ "ranges out of order", 4, 4,
	  { PAGES(1000, 3), PAGES(20, 1), PAGES(512, 2), PAGES(18, 2) } },
	{ "adjacent but backwards", 2, 2, { PAGES(33, 1), PAGES(32, 1) } },
	{ "out of order, some adjacent", 6, 4,
	  { PAGES(700, 2), PAGES(702, 1), PAGES(5, 1), PAGES(400, 1),
	    PAGES(401, 3), PAGES(6, 1) } },
};

static int layout_map(struct state *st, const struct layout *l, __u32 dir,
		      struct import *imp)
{
	return bar_map(st->b.bar, l->ranges, l->nr, layout_size(l), dir, imp);
}

/* ------------------------------------------------------------------ transfers */

/*
 * The device tries to write and to read at an address that it has no business
 * at: the IOMMU says so, the BAR is as it was, and nothing of it has been read.
 */
static int device_is_stopped(struct bar_state *st, __u64 iova, bool reads)
{
	int ret = device_cannot_write(st, iova);

	if (ret)
		return ret;
	if (mem_differs(st) >= 0)
		return -EBADMSG;
	return reads ? device_cannot_read(st, iova) : 0;
}

static int device_has_lost_range(struct bar_state *st, const struct layout *l,
				 const struct import *imp, __u64 start,
				 __u64 end)
{
	__u64 left;
	int ret;

	ret = device_is_stopped(st, import_at(imp, start, &left), true);
	if (ret || end - start <= PAGE)
		return ret;
	return device_is_stopped(st, import_at(imp, end - XFER, &left), false);
}

/* The same in the first and the last page of each range of a buffer */
static int device_has_lost(struct state *st, const struct layout *l,
			   const struct import *imp)
{
	return layout_walk(&st->b, l, imp, device_has_lost_range);
}

/* --------------------------------------------------------------------- tests */

TEST_F_TIMEOUT(bar, device_and_cpu_see_the_same, 300)
{
	struct state *st = &self->st;
	struct import imp;
	size_t i;
	__u32 s;

	for (i = 0; i < ARRAY_SIZE(layouts); i++) {
		const struct layout *l = &layouts[i];
		__u64 size = 0;

		ASSERT_EQ(0, layout_map(st, l, DMA_EDU_BIDIRECTIONAL, &imp)) {
			TH_LOG("%s", l->name);
		}
		/* Without an IOMMU ranges that are adjacent may be one. */
		EXPECT_LE(st->b.translated ? 1 : l->runs, imp.req.nents) {
			TH_LOG("%s", l->name);
		}
		EXPECT_GE(st->b.translated ? 1 : l->nr, imp.req.nents) {
			TH_LOG("%s", l->name);
		}
		/* The sanitizer counts pages of memory, which these are not. */
		EXPECT_EQ(st->b.mapped, sanitizer("mapped"));
		for (s = 0; s < imp.req.nents; s++) {
			EXPECT_EQ(0, imp.segs[s].iova % PAGE);
			EXPECT_EQ(0, imp.segs[s].len % PAGE);
			if (!st->b.translated) {
				EXPECT_EQ(st->info.start + st->info.bus_offset +
					  layout_at(l, size),
					  imp.segs[s].iova);
			}
			size += imp.segs[s].len;
		}
		EXPECT_EQ(layout_size(l), size);
		EXPECT_EQ(0, device_uses(&st->b, l, &imp)) {
			TH_LOG("%s: byte %#llx", l->name, mem_differs(&st->b));
		}
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	}
}

#define TOP	(~0ULL - st->info.start + 1)	/* offset of address 0 */

/* What is refused leaves nothing: the next mapping is where it always is. */
TEST_F(bar, what_does_not_fit_is_refused)
{
	struct state *st = &self->st;
	const struct {
		const char *name;
		__u32 nr;
		__u64 size;
		struct dma_bar_range ranges[3];
	} bad[] = {
		{ "size a page too large", 1, 3 * PAGE, { PAGES(7, 2) } },
		{ "size a page too small", 1, PAGE, { PAGES(7, 2) } },
		{ "size of the first range", 2, PAGE,
		  { PAGES(7, 1), PAGES(9, 1) } },
		{ "size 0", 1, 0, { PAGES(7, 1) } },
		{ "no range", 0, PAGE, { PAGES(7, 1) } },
		{ "no range, size 0", 0, 0, { PAGES(7, 1) } },
		{ "empty range", 1, 0, { PAGES(7, 0) } },
		{ "empty range at the start", 2, PAGE,
		  { PAGES(7, 0), PAGES(7, 1) } },
		{ "empty range in between", 3, 2 * PAGE,
		  { PAGES(7, 1), PAGES(8, 0), PAGES(9, 1) } },
		{ "empty range at the end", 2, PAGE,
		  { PAGES(7, 1), PAGES(8, 0) } },
		{ "unaligned address", 1, PAGE, { { 7 * PAGE + 16, PAGE } } },
		{ "unaligned length", 1, PAGE + 16, { { 7 * PAGE, PAGE + 16 } } },
		{ "half a page", 1, PAGE / 2, { { 7 * PAGE, PAGE / 2 } } },
		{ "two halves of a page", 2, PAGE,
		  { { 7 * PAGE, PAGE / 2 }, { 7 * PAGE + PAGE / 2, PAGE / 2 } } },
		{ "wraps around", 1, 2 * PAGE, { { TOP - PAGE, 2 * PAGE } } },
		{ "second one wraps around", 2, 3 * PAGE,
		  { PAGES(7, 1), { TOP - PAGE, 2 * PAGE } } },
		{ "sum wraps around", 2, PAGE,
		  { { 0, 1ULL << 63 }, { 0, (1ULL << 63) + PAGE } } },
		{ "sum wraps around to 0", 2, 0,
		  { { 0, 1ULL << 63 }, { 0, 1ULL << 63 } } },
	};
	struct dma_bar_range page = PAGES(7, 1);
	struct import imp, ref;
	int dmabuf;
	size_t i;

	ASSERT_EQ(0, layout_map(st, &layouts[0], DMA_EDU_BIDIRECTIONAL, &ref));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &ref));

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, bar_map(st->b.bar, bad[i].ranges, bad[i].nr,
					   bad[i].size, DMA_EDU_BIDIRECTIONAL,
					   &imp)) {
			TH_LOG("%s", bad[i].name);
		}
		ASSERT_EQ(0, layout_map(st, &layouts[0], DMA_EDU_BIDIRECTIONAL,
					&imp));
		EXPECT_EQ(ref.segs[0].iova, imp.segs[0].iova) {
			TH_LOG("%s: has left something", bad[i].name);
		}
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	}

	/* Not where the kernel warns of an exporter that does that */
	dmabuf = bar_export(st->b.bar, &page, 1, PAGE, DMA_BAR_NO_PROVIDER);
	if (dmabuf != -EOPNOTSUPP) {
		ASSERT_LE(0, dmabuf);
		EXPECT_EQ(-EINVAL, bar_import(st->b.bar, dmabuf,
					      DMA_EDU_BIDIRECTIONAL, 0, &imp));
		close(dmabuf);
	}
	dmabuf = bar_export(st->b.bar, &page, 1, PAGE, 0);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(-EOPNOTSUPP, bar_import(st->b.bar, dmabuf,
					  DMA_EDU_BIDIRECTIONAL,
					  DMA_BAR_NO_PEER2PEER, &imp));
	close(dmabuf);
	EXPECT_EQ(-1, mem_differs(&st->b));
}

/*
 * Two runs that no large page fits: each takes a page table of 2 MiB that is not
 * there before, and the second one ends beyond the first of them.
 */
static const struct layout no_large_page = {
	"halves in the wrong order", 2, 2, { PAGES(513, 511), PAGES(0, 513) }
};

/* Fail every allocation of an import of @l in turn: how many of them failed it */
static void fail_each_allocation(struct __test_metadata *_metadata,
				 struct state *st, const struct layout *l,
				 int *failed)
{
	struct import imp, ref;
	int dmabuf, nth, ret;
	char val[32];

	*failed = 0;
	ASSERT_EQ(0, layout_map(st, l, DMA_EDU_BIDIRECTIONAL, &ref));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &ref));
	dmabuf = bar_export(st->b.bar, l->ranges, l->nr, layout_size(l), 0);
	ASSERT_LE(0, dmabuf);

	for (nth = 1; nth < 200; nth++) {
		int fd = open(FAIL_NTH_PATH, O_RDWR | O_CLOEXEC);
		ssize_t len;

		ASSERT_LE(0, fd);
		snprintf(val, sizeof(val), "%d", nth);
		ASSERT_LT(0, write(fd, val, strlen(val)));
		memset(&imp, 0, sizeof(imp));
		set_name(&imp.req);
		imp.req.fd = dmabuf;
		ret = edu_ioctl(st->b.bar, DMA_BAR_IOC_IMPORT, &imp.req);
		len = pread(fd, val, sizeof(val) - 1, 0);
		ASSERT_LT(0, len);
		val[len] = '\0';
		ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
		close(fd);

		/* Some are for a cache only, and not missed. */
		if (!ret) {
			ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		} else {
			EXPECT_EQ(-ENOMEM, ret) {
				TH_LOG("allocation %d", nth);
			}
			(*failed)++;
		}
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
					0, &imp));
		EXPECT_EQ(ref.segs[0].iova, imp.segs[0].iova) {
			TH_LOG("%s, allocation %d: has left something", l->name,
			       nth);
		}
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		if (atoi(val))
			break;
	}
	ksft_print_msg("%s: %d of %d allocations failed the import\n", l->name,
		       *failed, nth - 1);
	EXPECT_GT(200, nth);
	close(dmabuf);
}

/*
 * Every allocation of an import fails in turn. What a buffer takes in all cases is
 * known from one page of which the page tables stay; what more it takes are page
 * tables, so that the IOMMU driver has failed with a part of the buffer mapped.
 */
TEST_F_TIMEOUT(bar, no_memory_leaves_nothing, 300)
{
	const struct layout *l = &no_large_page;
	struct import keeps_tables, imp;
	struct state *st = &self->st;
	int page, half_way;
	char val[32];

	if (!fault_injection_setup() ||
	    file_read(FAIL_NTH_PATH, val, sizeof(val)))
		SKIP(return, "no fault injection");

	ASSERT_EQ(0, layout_map(st, &layouts[0], DMA_EDU_BIDIRECTIONAL,
				&keeps_tables));
	fail_each_allocation(_metadata, st, &layouts[0], &page);
	EXPECT_LT(3, page);
	fail_each_allocation(_metadata, st, &layouts[8], &page);
	fail_each_allocation(_metadata, st, l, &half_way);
	/* A kernel that checks itself allocates other things in between. */
	if (st->b.translated && access(DMA_API_DEBUG_PATH, F_OK))
		EXPECT_LE(page + 2, half_way);
	ASSERT_EQ(0, bar_unmap(st->b.bar, &keeps_tables));

	ASSERT_EQ(0, layout_map(st, l, DMA_EDU_BIDIRECTIONAL, &imp));
	EXPECT_EQ(0, device_uses(&st->b, l, &imp));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	if (st->b.translated)
		EXPECT_EQ(0, device_has_lost(st, l, &imp));
}

/* A device that cannot address more gets an error when its space is full. */
TEST_F_TIMEOUT(bar, no_space_leaves_nothing, 120)
{
	static struct import imps[512];
	const struct layout *l = &layouts[3];
	struct state *st = &self->st;
	int round, nr, first = 0;

	if (!st->b.translated)
		SKIP(return, "no IOVAs");

	for (round = 0; round < 2; round++) {
		int ret = 0;

		for (nr = 0; nr < (int)ARRAY_SIZE(imps); nr++) {
			ret = layout_map(st, l, DMA_EDU_BIDIRECTIONAL,
					 &imps[nr]);
			if (ret)
				break;
		}
		EXPECT_EQ(-ENOMEM, ret);
		ksft_print_msg("%d buffers of %llu KiB\n", nr, BAR_SIZE >> 10);
		EXPECT_LT(8, nr);
		EXPECT_EQ(0, device_reads(&st->b, l, &imps[nr - 1], 0));
		if (round)
			EXPECT_EQ(first, nr);
		first = nr;
		while (nr--)
			ASSERT_EQ(0, bar_unmap(st->b.bar, &imps[nr]));
	}
}

/* The device has lost the memory when the unmap returns, also in lazy mode. */
TEST_F_TIMEOUT(bar, nothing_is_reached_after_unmap, 600)
{
	static const int which[] = { 0, 5, 6 };
	struct state *st = &self->st;
	struct import imp;
	size_t i;

	if (!st->b.translated)
		SKIP(return, "nothing stops the device without an IOMMU");

	for (i = 0; i < ARRAY_SIZE(which); i++) {
		const struct layout *l = &layouts[which[i]];

		ASSERT_EQ(0, layout_map(st, l, DMA_EDU_BIDIRECTIONAL, &imp));
		/* The IOTLB has it now. */
		ASSERT_EQ(0, device_uses(&st->b, l, &imp));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		EXPECT_EQ(0, device_has_lost(st, l, &imp)) {
			TH_LOG("%s", l->name);
		}
	}
}

/* The importer goes on after a revocation: it faults, and nothing changes. */
TEST_F_TIMEOUT(bar, revoked_from_a_running_device, 600)
{
	const struct layout *l = &layouts[5];
	struct state *st = &self->st;
	struct dma_bar_revoke revoke;
	struct import imp[2], next;
	struct dma_bar_seg seg;
	int dmabuf, i;

	dmabuf = bar_export(st->b.bar, l->ranges, l->nr, layout_size(l), 0);
	ASSERT_LE(0, dmabuf);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
					0, &imp[i]));
		EXPECT_EQ(0, imp[i].segs[0].notified);
		ASSERT_EQ(0, device_uses(&st->b, l, &imp[i]));
	}

	ASSERT_EQ(0, bar_revoke(st->b.bar, dmabuf, &revoke));
	if (st->b.translated && revoke.left == 2)
		SKIP(return, "the kernel asks importers, and takes nothing away");
	EXPECT_EQ(st->b.translated ? 2 : 0, revoke.taken);
	EXPECT_EQ(st->b.translated ? 0 : 2, revoke.left);
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				      &next));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, bar_seg(st->b.bar, &imp[i], 0, &seg));
		EXPECT_EQ(1, seg.notified);
		EXPECT_EQ(imp[i].segs[0].iova, seg.iova);
		if (st->b.translated)
			EXPECT_EQ(0, device_has_lost(st, l, &imp[i]));
	}
	ASSERT_EQ(0, bar_revoke(st->b.bar, dmabuf, &revoke));
	EXPECT_EQ(st->b.translated ? 2 : 0, revoke.taken);

	/* The addresses are nobody else's as long as they are not unmapped. */
	ASSERT_EQ(0, layout_map(st, l, DMA_EDU_BIDIRECTIONAL, &next));
	for (i = 0; i < 2; i++) {
		if (st->b.translated)
			EXPECT_NE(imp[i].segs[0].iova, next.segs[0].iova);
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp[i]));
	}
	EXPECT_EQ(0, device_uses(&st->b, l, &next));
	if (st->b.translated)
		EXPECT_EQ(0, device_is_stopped(&st->b, imp[0].segs[0].iova, false));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &next));
	close(dmabuf);
}

/* An exporter that revokes what nobody has mapped has nothing to do. */
TEST_F(bar, revoked_without_a_mapping)
{
	struct state *st = &self->st;
	struct dma_bar_revoke revoke;
	struct dma_bar_range page = PAGES(7, 1);
	struct import imp;
	int dmabuf;

	dmabuf = bar_export(st->b.bar, &page, 1, PAGE, 0);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	ASSERT_EQ(0, bar_revoke(st->b.bar, dmabuf, &revoke));
	EXPECT_EQ(0, revoke.taken);
	EXPECT_EQ(0, revoke.left);
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				      &imp));
	close(dmabuf);
}

/* The direction is what the device may do. */
TEST_F_TIMEOUT(bar, direction_is_enforced, 120)
{
	const struct layout *l = &layouts[0];
	struct state *st = &self->st;
	struct import imp;

	ASSERT_EQ(0, layout_map(st, l, DMA_EDU_TO_DEVICE, &imp));
	if (st->b.translated)
		EXPECT_EQ(0, device_is_stopped(&st->b, imp.segs[0].iova, false));
	EXPECT_EQ(0, device_reads(&st->b, l, &imp, 0));
	if (st->b.translated) {
		/* QEMU's VT-d keeps quiet about what its IOTLB refuses. */
		EXPECT_EQ(0, edu_xfer(st->b.edu, imp.segs[0].iova, 0, XFER,
				      DMA_EDU_XFER_WRITE));
		EXPECT_EQ(-1, mem_differs(&st->b));
	}
	ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));

	ASSERT_EQ(0, layout_map(st, l, DMA_EDU_FROM_DEVICE, &imp));
	EXPECT_EQ(0, device_writes(&st->b, l, &imp, 0));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
}

/* Past the end is a guard, as with any other mapping. */
TEST_F_TIMEOUT(bar, guard_is_kept, 120)
{
	const struct layout *l = &layouts[5];
	struct state *st = &self->st;
	struct import imp[8];
	struct mapping m[8];
	__u64 end, size = layout_size(l);
	int i, j;

	if (!st->guard)
		SKIP(return, "no guard");

	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, layout_map(st, l, DMA_EDU_BIDIRECTIONAL, &imp[i]));
		ASSERT_EQ(0, kind_map(st->b.edu, &m[i], &kinds[0], size, 0,
				      DMA_EDU_BIDIRECTIONAL, XFER_MASK_BITS, 0,
				      0));
	}
	for (i = 0; i < 8; i++) {
		end = imp[i].segs[0].iova + size;
		for (j = 0; j < 8; j++) {
			EXPECT_FALSE(m[j].req.iova >= end &&
				     m[j].req.iova < end + st->guard);
			EXPECT_FALSE(imp[j].segs[0].iova >= end &&
				     imp[j].segs[0].iova < end + st->guard);
		}
	}
	EXPECT_EQ(0, device_is_stopped(&st->b, imp[0].segs[0].iova + size, false));
	EXPECT_EQ(0, device_uses(&st->b, l, &imp[0]));
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp[i]));
		ASSERT_EQ(0, kind_unmap(st->b.edu, &m[i]));
	}
}

/*
 * Whether there is a way between the devices at all depends on the machine. If
 * there is not, that is what an importer is told.
 */
TEST(no_way_is_an_error)
{
	if (!first_try)
		SKIP(return, "the devices reach each other");
	EXPECT_EQ(-EINVAL, first_try);
}

static int try_once(void)
{
	static const struct dma_bar_range page = PAGES(7, 1);
	struct import imp;
	int edu, bar, ret;

	ret = edu_bind(edu_name);
	if (ret)
		return ret;
	edu = edu_open(edu_name);
	if (edu < 0)
		return edu;
	ret = set_mask_bits(edu, 64);
	bar = open("/dev/dma_bar", O_RDWR | O_CLOEXEC);
	if (bar < 0)
		ret = -errno;
	ret = ret ?: bar_map(bar, &page, 1, PAGE, DMA_EDU_BIDIRECTIONAL, &imp);
	close(bar);
	close(edu);
	return ret;
}

int main(int argc, char **argv)
{
	struct group_state booted;
	char path[EDU_PATH_MAX];
	int ret;

	if (getpagesize() != (int)PAGE)
		ksft_exit_skip("written for pages of 4 KiB\n");
	edu_take_device();
	if (access("/dev/dma_bar", F_OK))
		ksft_exit_skip("no /dev/dma_bar\n");

	first_try = try_once();

	edu_group_attr(edu_name, "type", path, sizeof(path));
	has_group = !access(path, F_OK);
	if (!has_group)
		return test_harness_run(argc, argv);
	if (group_save(&booted))
		ksft_exit_skip("cannot read the IOMMU group of %s\n", edu_name);
	ret = test_harness_run(argc, argv);
	return edu_finish(&booted, ret);
}
