// SPDX-License-Identifier: GPL-2.0
/*
 * DMA guard pages: what a device can reach past the end of its buffers
 *
 * Needs the dma_edu module and QEMU's edu device behind an IOMMU. Each fixture
 * re-creates the group's default domain with the guard size and the flush
 * policy of its variant, so that one boot tests them all. On a kernel without
 * guard pages the variants without a guard still run, and the others are
 * skipped.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_GUARD_SOAK: map and unmap calls of the soak test, 100000 if not set
 * DMA_GUARD_SEED: start of its random numbers
 */

#include <fcntl.h>
#include <limits.h>
#include <sched.h>

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/util.h"

/* Tries, FQ_DRAIN_MS apart, to map in a lazy domain that has no room. */
#define FQ_DRAIN_TRIES	10

/* ------------------------------------------------- the ends of a mapping */

static __u64 map_start(const struct mapping *m, __u64 granule)
{
	return m->req.iova / granule * granule;
}

/* First address past the granule that the mapping ends in. */
static __u64 map_end(const struct mapping *m, __u64 granule)
{
	return align_up(m->req.iova + m->req.span, granule);
}

/* --------------------------------------------------- the state of the device */

/*
 * What the fixtures that need an open device have in common. @guard: bytes of
 * guard in force. @kmsg: for a test that looks for lines of its own. @kmsg_all:
 * for log_is_clean() only, so that it sees what was logged since before the
 * domain was set up, whatever has been read from @kmsg.
 */
struct edu_state {
	int fd;
	int kmsg;
	int kmsg_all;
	__u64 guard;
	struct dma_edu_info info;
};

/* Closing the file is what unmaps all that a test has left. */
static void edu_state_exit(struct edu_state *st)
{
	fd_close(&st->fd);
	fd_close(&st->kmsg);
	fd_close(&st->kmsg_all);
}

/*
 * No errnos, but why a test is skipped: any file or device but dma_guard_kb that is
 * missing is a bug.
 */
enum {
	NO_GUARD_PAGES = 1,
	NO_LAZY_MODE,
	NO_LAZY_IOMMU,
};

static const char * const why_skipped[] = {
	[NO_GUARD_PAGES] = "kernel without DMA guard pages",
	[NO_LAZY_MODE] = "no lazy mode for a device that is not trusted",
	[NO_LAZY_IOMMU] = "the IOMMU has no lazy mode",
};

/*
 * A device that is not trusted is refused lazy mode. What does not fill pages is
 * bounced for it, and so each entry of a scatterlist is mapped by itself.
 */
static bool untrusted;

#define NOT_ONE_RANGE	"no scatterlist in one range for a device that is not trusted"

static bool is_lazy(const char *type)
{
	return !strcmp(type, "DMA-FQ");
}

/* 0, an index of why_skipped, or a negative errno */
static int edu_state_init(struct edu_state *st, const char *type,
			  unsigned int guard_kb)
{
	struct group_state found;
	long kb;
	int ret;

	if (untrusted && is_lazy(type))
		return NO_LAZY_MODE;

	st->fd = -1;
	st->kmsg = -1;
	st->kmsg_all = kmsg_open();
	if (st->kmsg_all < 0)
		return st->kmsg_all;

	/* Reads the type, too: there is a group, with or without the file. */
	ret = group_save(&found);
	if (ret)
		goto err_exit;
	kb = found.guard_kb;
	if (kb == -ENOENT && guard_kb) {
		ret = NO_GUARD_PAGES;
		goto err_exit;
	}
	if (kb < 0 && kb != -ENOENT) {
		ret = kb;
		goto err_exit;
	}
	ret = group_set(type, kb < 0 ? kb : (long)guard_kb);
	if (ret)
		goto err_exit;

	ret = edu_open(edu_name);
	if (ret < 0)
		goto err_exit;
	st->fd = ret;
	ret = edu_info(st->fd, &st->info);
	if (ret)
		goto err_exit;
	if (is_lazy(type) && st->info.domain != DMA_EDU_DOMAIN_DMA_FQ) {
		ret = NO_LAZY_IOMMU;
		goto err_exit;
	}

	st->guard = 0;
	if (kb >= 0) {
		kb = edu_guard_kb(edu_name);
		if (kb < 0) {
			ret = kb;
			goto err_exit;
		}
		st->guard = (__u64)kb << 10;
	}
	if (st->guard < (__u64)guard_kb << 10) {
		ret = -ERANGE;
		goto err_exit;
	}

	ret = kmsg_open();
	if (ret < 0)
		goto err_exit;
	st->kmsg = ret;
	return 0;

err_exit:
	edu_state_exit(st);
	return ret;
}

/* No complaint of the kernel about itself since edu_state_init(). */
static bool log_is_clean(struct edu_state *st)
{
	return kmsg_is_clean(st->kmsg_all);
}

/* ------------------------------------------------ past the end of a mapping */

#define OVERRUN		16
#define OVERRUN_IN	8	/* bytes of it that are in bounds */

#define LOWER_BYTE	0x3c
#define UPPER_BYTE	0x5a
#define DEVICE_BYTE	0xa5

#define MAX_TRIES	32

FIXTURE(overrun)
{
	struct edu_state st;
};

FIXTURE_VARIANT(overrun)
{
	unsigned int guard_kb;
};

FIXTURE_VARIANT_ADD(overrun, off)
{
	.guard_kb = 0,
};

FIXTURE_VARIANT_ADD(overrun, guard_4k)
{
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(overrun, guard_64k)
{
	.guard_kb = 64,
};

FIXTURE_SETUP(overrun)
{
	int ret = edu_state_init(&self->st, "DMA", variant->guard_kb);

	if (ret > 0)
		SKIP(return, "%s", why_skipped[ret]);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(overrun)
{
	edu_state_exit(&self->st);
}

/*
 * Two mappings of a kind with as little as possible between them: what was
 * mapped one after the other comes to lie side by side, but for the guard. The
 * lower is filled with LOWER_BYTE and the upper with UPPER_BYTE.
 */
static int map_neighbours(struct edu_state *st, const struct map_kind *kind,
			  __u64 size, __u32 dir, struct mapping *lower,
			  struct mapping *upper)
{
	__u64 granule = st->info.granule, gap, best = ~0ULL;
	struct mapping m[MAX_TRIES];
	int lo = -1, hi = -1;
	int i, j, ret;

	ret = flush_iova_caches(st->fd, false);
	if (ret)
		return ret;
	for (i = 0; i < MAX_TRIES; i++) {
		ret = kind_map(st->fd, &m[i], kind, size, 0, dir,
			       XFER_MASK_BITS, 0, UPPER_BYTE);
		if (ret) {
			unmap_all(st->fd, m, i);
			return ret;
		}
	}
	for (i = 0; i < MAX_TRIES; i++) {
		for (j = 0; j < MAX_TRIES; j++) {
			if (m[j].req.iova <= m[i].req.iova)
				continue;
			gap = map_start(&m[j], granule) -
			      map_end(&m[i], granule);
			if (gap < best) {
				best = gap;
				lo = i;
				hi = j;
			}
		}
	}

	*lower = m[lo];
	*upper = m[hi];
	for (i = 0; i < MAX_TRIES; i++)
		if (i != lo && i != hi)
			ret = kind_unmap(st->fd, &m[i]) ?: ret;
	return ret;
}

/* Set all bytes of a buffer, as the CPU would. */
static int cpu_fill(struct edu_state *st, const struct mapping *m, __u8 byte)
{
	static __u8 data[DMA_EDU_MAX_SIZE];

	memset(data, byte, m->req.size);
	return edu_cpu(st->fd, m->req.handle, 0, data, m->req.size,
		       DMA_EDU_WRITE);
}

/* What the IOMMU stops is to be seen in what is not hit alone. */
static bool mute;

/*
 * A transfer that the IOMMU has to stop. @told: it has said so, or is known to say
 * nothing.
 */
static int xfer_faults(struct edu_state *st, __u64 iova, __u32 len, __u32 flags,
		       __u64 fault_lo, __u64 fault_hi, bool *told)
{
	*told = mute;
	if (mute)
		return edu_xfer(st->fd, iova, 0, len, flags);
	return edu_xfer_faults(st->fd, st->kmsg, iova, len, flags, fault_lo,
			       fault_hi, told);
}

/*
 * 16 bytes written from 8 bytes before the end of the lower mapping. Without a
 * guard the neighbour must get 8 of them: that is what shows that the test can
 * see the damage.
 */
TEST_F(overrun, device_write_into_neighbour)
{
	struct edu_state *st = &self->st;
	__u64 granule = st->info.granule;
	struct mapping lower, upper;
	__u8 data[OVERRUN];
	bool told;
	__u64 end;

	ASSERT_EQ(0, map_neighbours(st, &kinds[0], granule,
				    DMA_EDU_FROM_DEVICE, &lower, &upper));
	ASSERT_EQ(0, cpu_fill(st, &lower, LOWER_BYTE));
	memset(data, DEVICE_BYTE, sizeof(data));
	ASSERT_EQ(0, edu_mem(st->fd, 0, data, sizeof(data), DMA_EDU_WRITE));

	end = map_end(&lower, granule);
	ksft_print_msg("lower ends at %#llx, upper starts at %#llx\n", end,
		       upper.req.iova);
	if (st->guard) {
		EXPECT_LE(end + st->guard, upper.req.iova);
		ASSERT_EQ(0, xfer_faults(st, end - OVERRUN_IN, OVERRUN,
					 DMA_EDU_XFER_WRITE, end,
					 end + granule, &told));
		EXPECT_TRUE(told) {
			TH_LOG("no IOMMU fault logged for %#llx", end);
		}
	} else {
		ASSERT_EQ(end, upper.req.iova);
		ASSERT_EQ(0, edu_xfer(st->fd, end - OVERRUN_IN, 0, OVERRUN,
				      DMA_EDU_XFER_WRITE));
	}

	ASSERT_EQ(0, edu_cpu(st->fd, upper.req.handle, 0, data, sizeof(data),
			     0));
	if (st->guard) {
		EXPECT_TRUE(all_bytes(data, sizeof(data), UPPER_BYTE));
	} else {
		EXPECT_TRUE(all_bytes(data, OVERRUN - OVERRUN_IN,
				      DEVICE_BYTE));
		EXPECT_TRUE(all_bytes(data + OVERRUN - OVERRUN_IN, OVERRUN_IN,
				      UPPER_BYTE));
	}

	/* Whether the part in bounds arrives is for the IOMMU to say. */
	ASSERT_EQ(0, edu_cpu(st->fd, lower.req.handle,
			     lower.req.size - OVERRUN, data, sizeof(data), 0));
	EXPECT_TRUE(all_bytes(data, OVERRUN - OVERRUN_IN, LOWER_BYTE));
	ksft_print_msg("own last %d bytes: %s\n", OVERRUN_IN,
		       all_bytes(data + OVERRUN - OVERRUN_IN, OVERRUN_IN,
				 DEVICE_BYTE) ? "written" : "not written");
	if (!st->guard)
		EXPECT_TRUE(all_bytes(data + OVERRUN - OVERRUN_IN, OVERRUN_IN,
				      DEVICE_BYTE));
	EXPECT_TRUE(log_is_clean(st));
}

/* The same for a read: can the device learn what its neighbour holds? */
TEST_F(overrun, device_read_from_neighbour)
{
	struct edu_state *st = &self->st;
	__u64 granule = st->info.granule;
	struct mapping lower, upper;
	__u8 data[OVERRUN];
	bool told;
	__u64 end;

	ASSERT_EQ(0, map_neighbours(st, &kinds[0], granule, DMA_EDU_TO_DEVICE,
				    &lower, &upper));
	ASSERT_EQ(0, cpu_fill(st, &lower, LOWER_BYTE));
	memset(data, 0, sizeof(data));
	ASSERT_EQ(0, edu_mem(st->fd, 0, data, sizeof(data), DMA_EDU_WRITE));

	end = map_end(&lower, granule);
	if (st->guard) {
		ASSERT_EQ(0, xfer_faults(st, end - OVERRUN_IN, OVERRUN, 0, end,
					 end + granule, &told));
		EXPECT_TRUE(told) {
			TH_LOG("no IOMMU fault logged for %#llx", end);
		}
	} else {
		ASSERT_EQ(end, upper.req.iova);
		ASSERT_EQ(0, edu_xfer(st->fd, end - OVERRUN_IN, 0, OVERRUN,
				      0));
	}

	ASSERT_EQ(0, edu_mem(st->fd, 0, data, sizeof(data), 0));
	if (st->guard) {
		EXPECT_EQ(NULL, memchr(data, UPPER_BYTE, sizeof(data)));
	} else {
		EXPECT_TRUE(all_bytes(data, OVERRUN_IN, LOWER_BYTE));
		EXPECT_TRUE(all_bytes(data + OVERRUN_IN, OVERRUN - OVERRUN_IN,
				      UPPER_BYTE));
	}
	EXPECT_TRUE(log_is_clean(st));
}

/*
 * Whatever way a buffer was mapped, a write past its end faults and changes no
 * other. Of a range that is linked in part the unlinked rest is out of bounds,
 * too, and the guard is past the whole range.
 */
TEST_F_TIMEOUT(overrun, all_paths_end_in_a_guard, 300)
{
	struct edu_state *st = &self->st;
	__u64 granule = st->info.granule;
	__u64 size = align_up(KB(64), granule);
	struct mapping lower, upper;
	__u8 data[OVERRUN];
	bool told;
	__u64 end;
	int i;

	if (!st->guard)
		SKIP(return, "nothing stops the device without a guard");

	memset(data, DEVICE_BYTE, sizeof(data));
	ASSERT_EQ(0, edu_mem(st->fd, 0, data, sizeof(data), DMA_EDU_WRITE));

	for (i = 0; i < NR_KINDS; i++) {
		const struct map_kind *kind = &kinds[i];

		ASSERT_EQ(0, map_neighbours(st, kind, size,
					    DMA_EDU_BIDIRECTIONAL, &lower,
					    &upper)) {
			TH_LOG("%s", kind->name);
		}
		ksft_print_msg("%s\n", kind->name);

		end = map_end(&lower, granule);
		EXPECT_LE(end + st->guard, upper.req.iova) {
			TH_LOG("%s", kind->name);
		}
		ASSERT_EQ(0, xfer_faults(st, end, OVERRUN, DMA_EDU_XFER_WRITE,
					 end, end + granule, &told));
		EXPECT_TRUE(told) {
			TH_LOG("%s: no fault past the end %#llx", kind->name,
			       end);
		}

		if (kind->partial) {
			end = align_up(lower.req.iova + lower.req.link,
				       granule);
			ASSERT_EQ(0, xfer_faults(st, end, OVERRUN,
						 DMA_EDU_XFER_WRITE, end,
						 end + granule, &told));
			EXPECT_TRUE(told) {
				TH_LOG("%s: no fault past the link %#llx",
				       kind->name, end);
			}
		}

		ASSERT_EQ(0, edu_cpu(st->fd, upper.req.handle, 0, data,
				     sizeof(data), 0));
		EXPECT_TRUE(all_bytes(data, sizeof(data), UPPER_BYTE)) {
			TH_LOG("%s: neighbour overwritten", kind->name);
		}
		EXPECT_EQ(0, kind_unmap(st->fd, &lower));
		EXPECT_EQ(0, kind_unmap(st->fd, &upper));
	}
	EXPECT_TRUE(log_is_clean(st));
}

/* --------------------------------------------------- room between mappings */

FIXTURE(space)
{
	struct edu_state st;
	bool lazy;
};

FIXTURE_VARIANT(space)
{
	const char *type;
	unsigned int guard_kb;
};

FIXTURE_VARIANT_ADD(space, off_strict)
{
	.type = "DMA",
	.guard_kb = 0,
};

FIXTURE_VARIANT_ADD(space, off_lazy)
{
	.type = "DMA-FQ",
	.guard_kb = 0,
};

FIXTURE_VARIANT_ADD(space, guard_4k_strict)
{
	.type = "DMA",
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(space, guard_4k_lazy)
{
	.type = "DMA-FQ",
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(space, guard_132k_strict)
{
	.type = "DMA",
	.guard_kb = 132,
};

FIXTURE_SETUP(space)
{
	int ret = edu_state_init(&self->st, variant->type, variant->guard_kb);

	if (ret > 0)
		SKIP(return, "%s", why_skipped[ret]);
	ASSERT_EQ(0, ret);
	self->lazy = self->st.info.domain == DMA_EDU_DOMAIN_DMA_FQ;
}

FIXTURE_TEARDOWN(space)
{
	edu_state_exit(&self->st);
}

/*
 * How far @a and @b are apart, in bytes past the granule that the lower ends
 * in; negative if they overlap.
 */
static long long map_gap(const struct mapping *a, const struct mapping *b,
			 __u64 granule)
{
	if (a->req.iova > b->req.iova)
		return map_gap(b, a, granule);
	return map_start(b, granule) - map_end(a, granule);
}

/* The first of @m[0..count) that is too close to @new, or -1. */
static int too_close(const struct mapping *m, int count,
		     const struct mapping *new, __u64 granule, __u64 guard)
{
	int i;

	for (i = 0; i < count; i++)
		if (map_gap(&m[i], new, granule) < (long long)guard)
			return i;
	return -1;
}

/*
 * The IOVA cache is last in, first out on each CPU: a range that was freed with
 * the length it was allocated with is the next one of that length. Half of the
 * length, which is what was linked, would put it among shorter ones.
 */
TEST_F(space, partial_link_gives_back_the_whole_range)
{
	struct edu_state *st = &self->st;
	struct mapping part, next;
	cpu_set_t cpus;
	int i;

	if (self->lazy)
		SKIP(return, "lazy mode gives back later");

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));

	for (i = 0; i < NR_KINDS; i++) {
		if (!kinds[i].partial)
			continue;

		ASSERT_EQ(0, flush_iova_caches(st->fd, self->lazy));
		ASSERT_EQ(0, kind_map(st->fd, &part, &kinds[i], KB(128), 0,
				      DMA_EDU_BIDIRECTIONAL, 32, 0, 0));
		ASSERT_EQ(0, kind_unmap(st->fd, &part));
		ASSERT_EQ(0, kind_map(st->fd, &next, &kinds[0], KB(128), 0,
				      DMA_EDU_BIDIRECTIONAL, 32, 0, 0));
		EXPECT_EQ(part.req.iova, next.req.iova) {
			TH_LOG("%s: lost from the cache of its length",
			       kinds[i].name);
		}
		ASSERT_EQ(0, kind_unmap(st->fd, &next));
	}
}

static const __u64 gap_sizes[] = {
	1, KB(4) - 1, KB(4), KB(4) + 1, KB(8), KB(64), KB(128), KB(128) + 1,
	KB(132), MB(1), MB(1) + 1,
};

#define NR_GAP_SIZES	((int)ARRAY_SIZE(gap_sizes))
#define GAP_COPIES	DMA_EDU_NR_DIRS		/* one of each direction */
#define GAP_MAPS	(NR_KINDS * NR_GAP_SIZES * GAP_COPIES)

/*
 * All kinds in all sizes, all live at once, and then once more out of the
 * caches: each pair is at least the guard apart.
 */
TEST_F_TIMEOUT(space, every_pair_is_a_guard_apart, 300)
{
	struct edu_state *st = &self->st;
	__u64 granule = st->info.granule;
	int round, i, count, other, ret;
	struct mapping *m;

	if (untrusted)
		SKIP(return, NOT_ONE_RANGE);
	m = calloc(GAP_MAPS, sizeof(*m));
	ASSERT_NE(NULL, m);

	for (round = 0; round < 2; round++) {
		count = 0;
		for (i = 0; i < GAP_MAPS; i++) {
			__u64 size = gap_sizes[i / NR_KINDS % NR_GAP_SIZES];
			int copy = i / NR_KINDS / NR_GAP_SIZES;
			struct mapping *new = &m[count];

			ret = kind_map(st->fd, new, &kinds[i % NR_KINDS], size,
				       copy ? 0x234 : 0, copy, 32,
				       DMA_EDU_MAP_NOFILL, 0);
			/* The large contiguous ones may not be to be had. */
			if (ret == -ENOMEM && size >= MB(1))
				continue;
			ASSERT_EQ(0, ret);
			other = too_close(m, count, new, granule, st->guard);
			ASSERT_EQ(-1, other) {
				TH_LOG("%s %#llx+%#llx, %s %#llx+%#llx",
				       new->kind->name, new->req.iova,
				       new->req.span, m[other].kind->name,
				       m[other].req.iova, m[other].req.span);
			}
			count++;
		}
		if (count < GAP_MAPS)
			ksft_print_msg("no memory for %d of %d buffers\n",
				       GAP_MAPS - count, GAP_MAPS);
		ASSERT_EQ(0, unmap_all(st->fd, m, count));
	}
	free(m);
}

/* ------------------------------------------------------------ mixed soak */

#define SOAK_LIVE	200
#define SOAK_DEF_CALLS	100000UL
#define SOAK_DEF_SEED	0x243f6a8885a308d3ULL
#define SOAK_MAX_SIZE	MB(1)

/* Small enough to be filled, large enough for what the soak has live. */
#define SOAK_MASK_BITS	27
#define SMALL_MASK_BITS	25

static __u64 rand_state;

/* xorshift64; the state is never 0. */
static __u64 rand_u64(void)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return rand_state;
}

static __u64 rand_below(__u64 limit)
{
	return (rand_u64() >> 16) % limit;
}

/* Each power of two is as likely as the next, and so are exact ones. */
static __u64 rand_size(void)
{
	__u64 base = 1ULL << rand_below(21);

	if (rand_below(4))
		base += rand_below(base);
	return base < SOAK_MAX_SIZE ? base : SOAK_MAX_SIZE;
}

static unsigned long env_ulong(const char *name, unsigned long def)
{
	const char *val = getenv(name);

	return val && *val ? strtoul(val, NULL, 0) : def;
}

/*
 * How many mappings of a size fit under a mask. From empty caches the answer
 * depends on nothing but what else is allocated. ENOMEM: no memory for the
 * buffers.
 */
static long count_space(int fd, bool lazy, __u64 size, __u32 mask_bits)
{
	long count = 0, max = (1L << mask_bits) / size + 1;
	int ret, tries = 0;
	struct mapping *m;

	ret = flush_iova_caches(fd, lazy);
	if (ret)
		return ret;
	m = calloc(max, sizeof(*m));
	if (!m)
		return -ENOMEM;
	while (count < max) {
		ret = kind_map(fd, &m[count], &kinds[0], size, 0,
			       DMA_EDU_TO_DEVICE, mask_bits,
			       DMA_EDU_MAP_NOFILL, 0);
		if (!ret) {
			count++;
			tries = 0;
			continue;
		}
		/* The flush queue may still hold some of the space. */
		if (ret != -ENOSPC || !lazy || ++tries > FQ_DRAIN_TRIES)
			break;
		sleep_ms(FQ_DRAIN_MS);
	}
	ret = unmap_all(fd, m, count) ?: ret;
	free(m);
	return ret == -ENOSPC || !ret ? count : ret;
}

/*
 * Random maps and unmaps of all kinds, each new one checked against all that
 * are live. What the address space holds before must fit in after: nothing has
 * been lost, in whatever piece.
 */
TEST_F_TIMEOUT(space, mixed_soak_loses_nothing, 3600)
{
	static const __u32 masks[] = {
		SOAK_MASK_BITS, SOAK_MASK_BITS, 32, 64,
	};
	struct edu_state *st = &self->st;
	__u64 granule = st->info.granule;
	__u64 small = align_up(KB(4), granule), large = align_up(KB(64), granule);
	unsigned long calls = env_ulong("DMA_GUARD_SOAK", SOAK_DEF_CALLS);
	unsigned long call, maps = 0, full = 0, nomem = 0;
	long small_before, large_before, small_after, large_after;
	struct mapping live[SOAK_LIVE + 1];
	int count = 0, other, i, ret;
	long long start;

	if (untrusted)
		SKIP(return, NOT_ONE_RANGE);
	rand_state = env_ulong("DMA_GUARD_SEED", SOAK_DEF_SEED) ?: 1;
	ksft_print_msg("DMA_GUARD_SEED=%#llx DMA_GUARD_SOAK=%lu\n", rand_state,
		       calls);

	small_before = count_space(st->fd, self->lazy, small, SMALL_MASK_BITS);
	ASSERT_LT(0, small_before);
	large_before = count_space(st->fd, self->lazy, large, SOAK_MASK_BITS);
	ASSERT_LT(0, large_before);

	start = now_ms();
	for (call = 0; call < calls; call++) {
		struct mapping *new = &live[count];

		if (count == SOAK_LIVE || (count && rand_below(20) < 9)) {
			i = rand_below(count);
			ret = kind_unmap(st->fd, &live[i]);
			ASSERT_EQ(0, ret);
			live[i] = live[--count];
			continue;
		}

		ret = kind_map(st->fd, new, &kinds[rand_below(NR_KINDS)],
			       rand_size(), rand_below(2) ? rand_below(4096) : 0,
			       rand_below(DMA_EDU_NR_DIRS),
			       masks[rand_below(ARRAY_SIZE(masks))],
			       DMA_EDU_MAP_NOFILL, 0);
		/* No room for the size at hand, e.g. in the flush queue. */
		if (ret == -ENOSPC) {
			full++;
			continue;
		}
		if (ret == -ENOMEM) {
			nomem++;
			continue;
		}
		ASSERT_EQ(0, ret) {
			TH_LOG("call %lu: %s, %llu bytes", call,
			       new->kind->name, new->req.size);
		}
		other = too_close(live, count, new, granule, st->guard);
		ASSERT_EQ(-1, other) {
			TH_LOG("call %lu: %s %#llx+%#llx, %s %#llx+%#llx", call,
			       new->kind->name, new->req.iova, new->req.span,
			       live[other].kind->name, live[other].req.iova,
			       live[other].req.span);
		}
		count++;
		maps++;
	}
	ASSERT_EQ(0, unmap_all(st->fd, live, count));
	ksft_print_msg("%lu maps, %lu without space, %lu without memory, %lld ms\n",
		       maps, full, nomem, now_ms() - start);
	EXPECT_LE(full, maps / 100 + 1);
	EXPECT_LE(nomem, maps / 100 + 1);

	small_after = count_space(st->fd, self->lazy, small, SMALL_MASK_BITS);
	large_after = count_space(st->fd, self->lazy, large, SOAK_MASK_BITS);
	ksft_print_msg("room for %ld and %ld mappings before, %ld and %ld after\n",
		       small_before, large_before, small_after, large_after);
	EXPECT_EQ(small_before, small_after);
	EXPECT_EQ(large_before, large_after);
	EXPECT_TRUE(log_is_clean(st));
}

/* -------------------------------------------------------------- exhaustion */

#define FULL_MASK_BITS	24
#define FULL_CALLS	1000

/* The kernel says so once in this time, for all devices together. */
#define FULL_LINE_MS	5000

/* Lines about a lack of IOVA space, and whether one names the device. */
static unsigned int count_full_lines(int kmsg, bool *named)
{
	unsigned int count = 0;
	char line[KMSG_LINE_MAX];

	while (kmsg_next(kmsg, line, 0)) {
		if (!strstr(line, "out of IOVA space") ||
		    !strstr(line, "guard"))
			continue;
		if (strstr(line, edu_name))
			*named = true;
		count++;
	}
	return count;
}

/*
 * A device that has no addresses left gets an error from each further call, a
 * few lines in the log and not one per call, and works again after the unmap.
 */
TEST_F_TIMEOUT(space, exhaustion_fails_cleanly, 300)
{
	struct edu_state *st = &self->st;
	__u64 size = align_up(KB(4), st->info.granule);
	long count = 0, max = (1L << FULL_MASK_BITS) / size + 1;
	struct mapping *m, extra;
	unsigned int lines = 0;
	bool named = false;
	long long start;
	int i, ret;

	m = calloc(max, sizeof(*m));
	ASSERT_NE(NULL, m);
	ASSERT_EQ(0, flush_iova_caches(st->fd, self->lazy));
	/* An earlier test may have used up what the rate limit lets through. */
	if (st->guard)
		sleep_ms(RATELIMIT_MS);
	count_full_lines(st->kmsg, &named);
	named = false;

	start = now_ms();
	do {
		ret = kind_map(st->fd, &m[count], &kinds[0], size, 0,
			       DMA_EDU_TO_DEVICE, FULL_MASK_BITS,
			       DMA_EDU_MAP_NOFILL, 0);
		count += !ret;
	} while (!ret && count < max);
	ASSERT_EQ(-ENOSPC, ret);
	/* At most one mapping per size and guard. */
	EXPECT_LE(count, (1L << FULL_MASK_BITS) / (long)(size + st->guard) + 1);
	EXPECT_LT(0, count);

	for (i = 0; i < FULL_CALLS; i++) {
		ret = kind_map(st->fd, &extra, &kinds[i % NR_KINDS], size, 0,
			       DMA_EDU_BIDIRECTIONAL, FULL_MASK_BITS,
			       DMA_EDU_MAP_NOFILL, 0);
		ASSERT_EQ(-ENOSPC, ret) {
			TH_LOG("%s after %ld mappings", extra.kind->name,
			       count);
		}
	}
	lines = count_full_lines(st->kmsg, &named);
	ksft_print_msg("full after %ld mappings; %u lines for %d failed calls in %lld ms\n",
		       count, lines, FULL_CALLS + 1, now_ms() - start);
	if (st->guard) {
		EXPECT_LE(1U, lines);
		EXPECT_TRUE(named);
		/* One at once, one per interval, one for where it began. */
		EXPECT_GE(1 + (now_ms() - start) / FULL_LINE_MS + 1, lines);
	} else {
		EXPECT_EQ(0U, lines);
	}

	ASSERT_EQ(0, unmap_all(st->fd, m, count));
	free(m);
	if (self->lazy)
		sleep_ms(FQ_DRAIN_MS);
	for (i = 0; i < NR_KINDS; i++) {
		EXPECT_EQ(0, kind_map(st->fd, &extra, &kinds[i], KB(64), 0,
				      DMA_EDU_BIDIRECTIONAL, FULL_MASK_BITS,
				      DMA_EDU_MAP_NOFILL, 0)) {
			TH_LOG("%s", kinds[i].name);
			continue;
		}
		EXPECT_EQ(0, kind_unmap(st->fd, &extra));
	}
	EXPECT_TRUE(log_is_clean(st));
}

/* ------------------------------------------------------------------- sysfs */

FIXTURE(sysfs)
{
	struct group_state saved;
};

FIXTURE_SETUP(sysfs)
{
	ASSERT_EQ(0, group_save(&self->saved));
	if (self->saved.guard_kb == -ENOENT)
		SKIP(return, "kernel without DMA guard pages");
	ASSERT_LE(0, self->saved.guard_kb);
	ASSERT_EQ(0, group_set("DMA", 0));
}

FIXTURE_TEARDOWN(sysfs)
{
	EXPECT_EQ(0, group_restore(&self->saved));
}

/* Granule of the group's domain in KiB, by way of the bound driver. */
static long granule_kb(void)
{
	struct dma_edu_info info;
	int fd = edu_open(edu_name);
	int ret;

	if (fd < 0)
		return fd;
	ret = edu_info(fd, &info);
	close(fd);
	return ret ?: (long)(info.granule >> 10);
}

TEST_F(sysfs, bound_driver_forbids_a_change)
{
	EXPECT_EQ(-EPERM, edu_set_guard_kb(edu_name, 4));
	EXPECT_EQ(0, edu_guard_kb(edu_name));

	ASSERT_EQ(0, edu_unbind(edu_name));
	EXPECT_EQ(0, edu_set_guard_kb(edu_name, 64));
	EXPECT_EQ(64, edu_guard_kb(edu_name));

	ASSERT_EQ(0, edu_bind(edu_name));
	EXPECT_EQ(-EPERM, edu_set_guard_kb(edu_name, 0));
	EXPECT_EQ(64, edu_guard_kb(edu_name));
}

TEST_F(sysfs, bad_values_change_nothing)
{
	static const struct {
		const char *val;
		int ret;
	} bad[] = {
		{ "junk", -EINVAL }, { "4k", -EINVAL }, { "4 8", -EINVAL },
		{ "-1", -EINVAL }, { "0x10", -EINVAL }, { "\n", -EINVAL },
		{ "65537", -ERANGE }, { "4294967296", -ERANGE },
		{ "18446744073709551616", -ERANGE },
	};
	size_t i;

	ASSERT_EQ(0, edu_unbind(edu_name));
	ASSERT_EQ(0, edu_set_guard_kb(edu_name, 64));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(bad[i].ret, edu_group_write(edu_name, "dma_guard_kb",
						      bad[i].val)) {
			TH_LOG("\"%s\"", bad[i].val);
		}
		EXPECT_EQ(64, edu_guard_kb(edu_name));
	}
	EXPECT_EQ(0, edu_group_write(edu_name, "dma_guard_kb", "128\n"));
	EXPECT_EQ(128, edu_guard_kb(edu_name));
}

TEST_F(sysfs, size_is_rounded_up_to_the_granule)
{
	static const long sizes[] = { 0, 1, 3, 4, 5, 63, 64, 65, 65535, 65536 };
	long granule = granule_kb();
	size_t i;

	ASSERT_LT(0, granule);
	ASSERT_EQ(0, edu_unbind(edu_name));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(0, edu_set_guard_kb(edu_name, sizes[i]));
		EXPECT_EQ((long)align_up(sizes[i], granule),
			  edu_guard_kb(edu_name));
	}
}

TEST_F(sysfs, identity_domain_has_no_guard)
{
	int ret;

	ASSERT_EQ(0, edu_unbind(edu_name));
	ASSERT_EQ(0, edu_set_guard_kb(edu_name, 64));
	ret = edu_group_write(edu_name, "type", "identity");
	if (ret)
		SKIP(return, "no identity domain: %s", strerror(-ret));
	EXPECT_EQ(-EINVAL, edu_set_guard_kb(edu_name, 4));
	EXPECT_EQ(0, edu_guard_kb(edu_name));
	ASSERT_EQ(0, edu_group_write(edu_name, "type", "DMA"));
	EXPECT_EQ(64, edu_guard_kb(edu_name));
}

/* The driver that is bound next gets the new size, measured by its gaps. */
TEST_F(sysfs, new_size_is_in_force_after_bind)
{
	static const long sizes[] = { 64, 4, 1024, 0, 4 };
	struct mapping lower, upper;
	struct edu_state st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		long long gap, guard;

		ASSERT_EQ(0, edu_state_init(&st, "DMA", sizes[i]));
		guard = st.guard;
		ASSERT_EQ(0, map_neighbours(&st, &kinds[0], st.info.granule,
					    DMA_EDU_BIDIRECTIONAL, &lower,
					    &upper));
		gap = map_gap(&lower, &upper, st.info.granule);
		edu_state_exit(&st);
		ksft_print_msg("%ld KiB: closest mappings are %lld bytes apart\n",
			       sizes[i], gap);
		EXPECT_LE(guard, gap);
		/* More than that would waste the device's addresses. */
		EXPECT_GE(2 * guard, gap);
	}
}

/* A new size takes a new domain, which flushes when the one before did. */
TEST_F(sysfs, new_size_keeps_the_type)
{
	static const char * const types[] = { "DMA-FQ", "DMA" };
	static const long sizes[] = { 4, 64, 64, 0 };
	struct group_state now;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		if (untrusted && is_lazy(types[i]))
			continue;
		ASSERT_EQ(0, group_set(types[i], 0));
		ASSERT_EQ(0, edu_unbind(edu_name));
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			EXPECT_EQ(0, edu_set_guard_kb(edu_name, sizes[j]));
			ASSERT_EQ(0, group_save(&now));
			EXPECT_STREQ(types[i], now.type) {
				TH_LOG("%ld KiB", sizes[j]);
			}
		}
	}
}

#define LONG_GUARD_KB	1024

/* More than fit below 4 GiB with such guards, and far fewer than without any */
#define LONG_MAPS	(4096 + 64)

/* Lines that have guards as the reason for addresses above 4 GiB */
static unsigned int count_above_4g_lines(int kmsg)
{
	unsigned int count = 0;
	char line[KMSG_LINE_MAX];

	while (kmsg_next(kmsg, line, 0))
		if (strstr(line, edu_name) && strstr(line, "above 4 GiB") &&
		    strstr(line, "guard pages of 1024 KiB"))
			count++;
	return count;
}

/*
 * Guards use up the addresses below 4 GiB: the log says so, once, and mappings go
 * on above. Without guards as many lie below, and the log says nothing.
 */
TEST_F_TIMEOUT(sysfs, guards_above_4g_are_named, 300)
{
	static __u8 in[64], out[64];
	struct mapping *m, *last;
	int i, below, count;
	struct edu_state st;
	__u64 room;

	m = calloc(LONG_MAPS, sizeof(*m));
	ASSERT_NE(NULL, m);

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, edu_state_init(&st, "DMA", i ? LONG_GUARD_KB : 0));
		below = 0;
		for (count = 0; count < LONG_MAPS; count++) {
			ASSERT_EQ(0, kind_map(st.fd, &m[count], &kinds[0],
					      st.info.granule, 0,
					      DMA_EDU_BIDIRECTIONAL, 64,
					      DMA_EDU_MAP_NOFILL, 0));
			below += !(m[count].req.iova >> 32);
		}
		ksft_print_msg("%u KiB: %d of %d mappings lie below 4 GiB\n",
			       i ? LONG_GUARD_KB : 0, below, count);

		if (!st.guard) {
			EXPECT_EQ(count, below);
			EXPECT_EQ(0U, count_above_4g_lines(st.kmsg));
			edu_state_exit(&st);
			continue;
		}

		room = (1ULL << 32) / (st.guard + st.info.granule);
		EXPECT_GE(room, (__u64)below);
		/* What is reserved, windows of host bridges above all, is not more. */
		EXPECT_LE(room / 2, (__u64)below);
		EXPECT_EQ(1U, count_above_4g_lines(st.kmsg));

		last = &m[count - 1];
		ASSERT_TRUE(last->req.iova >> 32);
		memset(out, DEVICE_BYTE, sizeof(out));
		ASSERT_EQ(0, cpu_fill(&st, last, UPPER_BYTE));
		ASSERT_EQ(0, edu_mem(st.fd, 0, out, sizeof(out), DMA_EDU_WRITE));
		ASSERT_EQ(0, edu_xfer(st.fd, last->req.iova, 0, sizeof(out),
				      DMA_EDU_XFER_WRITE));
		ASSERT_EQ(0, edu_cpu(st.fd, last->req.handle, 0, in, sizeof(in),
				     0));
		EXPECT_EQ(0, memcmp(out, in, sizeof(out)));
		edu_state_exit(&st);
	}
	free(m);
}

/* Guards must not push what drivers are told to use off the IOVA caches. */
TEST_F(sysfs, opt_mapping_size_does_not_change)
{
	static const long sizes[] = { 4, 64, 1024 };
	struct edu_state st;
	__u64 without;
	size_t i;

	ASSERT_EQ(0, edu_state_init(&st, "DMA", 0));
	without = st.info.opt_mapping_size;
	edu_state_exit(&st);
	/* 32 pages is what the caches of the IOVA allocator reach to. */
	EXPECT_EQ(32ULL * getpagesize(), without);

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, edu_state_init(&st, "DMA", sizes[i]));
		EXPECT_EQ(without, st.info.opt_mapping_size);
		edu_state_exit(&st);
	}
}

/* -------------------------------------------------------- the boot parameter */

static struct group_state booted;

/*
 * The group as this program found it has what the command line says. Who runs
 * it after a change through sysfs gets a failure here.
 */
TEST(boot_parameter_is_in_force)
{
	static const char param[] = "iommu.dma_guard_pages";
	static const char suffix[] = ",untrusted";
	struct dma_edu_info info;
	char value[64], *end;
	bool untrusted_only;
	long expected;
	int fd;

	if (booted.guard_kb == -ENOENT)
		SKIP(return, "kernel without DMA guard pages");
	ASSERT_LE(0, booted.guard_kb);
	if (!boot_param(param, value, sizeof(value)))
		SKIP(return, "no %s= on the command line", param);
	expected = strtol(value, &end, 10);
	untrusted_only = !strncmp(end, suffix, strlen(suffix));
	if (untrusted_only)
		end += strlen(suffix);
	if (end == value || *end || expected < 0 || expected > 65536)
		SKIP(return, "the kernel has refused %s=", param);

	fd = edu_open(edu_name);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, edu_info(fd, &info));
	close(fd);
	if (untrusted_only && !(info.flags & DMA_EDU_INFO_UNTRUSTED))
		expected = 0;
	EXPECT_EQ((long)align_up(expected, info.granule >> 10),
		  booted.guard_kb);
}

/* The first page is mapped to nothing. */
TEST(fault_is_reported)
{
	struct edu_state st;
	bool told;

	if (mute)
		SKIP(return, "the IOMMU reports no faults");
	ASSERT_EQ(0, edu_state_init(&st, "DMA", 0));
	ASSERT_EQ(0, xfer_faults(&st, 0, OVERRUN, 0, 0, OVERRUN, &told));
	EXPECT_TRUE(told);
	edu_state_exit(&st);
}

/* ABI of the module: what is not in its header is refused. */
TEST(bad_ioctl_arguments_are_refused)
{
	const struct dma_edu_map good = {
		.path = DMA_EDU_SINGLE, .mask_bits = 32, .size = 4096,
	};
	struct dma_edu_map bad[16];
	struct dma_edu_map map = good;
	int n = 0, i, fd;
	char byte = 0;

	for (i = 0; i < (int)ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[n++].path = DMA_EDU_NR_PATHS;
	bad[n++].dir = DMA_EDU_NR_DIRS;
	bad[n++].flags = 0x80000000;
	bad[n++].mask_bits = 65;
	bad[n++].mask_bits = 0;
	bad[n++].size = 0;
	bad[n++].size = DMA_EDU_MAX_SIZE + 1;
	bad[n++].size = ~0ULL;
	bad[n++].offset = getpagesize();
	bad[n++].link = 1;
	bad[n++].chunk = 1;
	bad[n++].fill = 0x100;
	bad[n++].reserved = 1;
	bad[n].path = DMA_EDU_COHERENT;
	bad[n++].dir = DMA_EDU_TO_DEVICE;
	bad[n].path = DMA_EDU_IOVA;
	bad[n++].link = 4097;
	bad[n].path = DMA_EDU_SG;
	bad[n].offset = 1;
	bad[n++].chunk = getpagesize();

	fd = edu_open(edu_name);
	ASSERT_LE(0, fd);
	for (i = 0; i < n; i++) {
		EXPECT_EQ(-EINVAL, edu_map(fd, &bad[i])) {
			TH_LOG("case %d", i);
		}
	}
	ASSERT_EQ(0, edu_map(fd, &map));
	EXPECT_EQ(-EINVAL, edu_cpu(fd, map.handle + 1, 0, &byte, 1, 0));
	EXPECT_EQ(-EINVAL, edu_cpu(fd, map.handle, 0, &byte, 0, 0));
	EXPECT_EQ(-EINVAL, edu_cpu(fd, map.handle, 4096, &byte, 1, 0));
	EXPECT_EQ(-EINVAL, edu_cpu(fd, map.handle, ~0ULL, &byte, 2, 0));
	EXPECT_EQ(-EFAULT, edu_cpu(fd, map.handle, 0, (void *)1, 1, 0));
	EXPECT_EQ(-EINVAL, edu_xfer(fd, map.iova, 0, 0, 0));
	EXPECT_EQ(-EINVAL, edu_xfer(fd, map.iova, 1, DMA_EDU_MEM_SIZE, 0));
	EXPECT_EQ(-EINVAL, edu_xfer(fd, map.iova, ~0U, 1, 0));
	EXPECT_EQ(-EINVAL, edu_xfer(fd, map.iova, 0, 1, 0x80000000));
	EXPECT_EQ(-EINVAL, edu_mem(fd, DMA_EDU_MEM_SIZE, &byte, 1, 0));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, map.handle, 0x80000000));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, map.handle, DMA_EDU_UNMAP_SPLIT));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, 0, 0));
	EXPECT_EQ(-ENOTTY, edu_ioctl(fd, _IO('e', 0xff), NULL));
	EXPECT_EQ(0, edu_unmap(fd, map.handle, DMA_EDU_UNMAP_KEEP));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, map.handle, DMA_EDU_UNMAP_KEEP));
	EXPECT_EQ(0, edu_cpu(fd, map.handle, 0, &byte, 1, 0));
	EXPECT_EQ(0, edu_unmap(fd, map.handle, 0));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, map.handle, 0));

	/* Unbinding takes the mappings from an open file, not the file. */
	map = good;
	ASSERT_EQ(0, edu_map(fd, &map));
	ASSERT_EQ(0, edu_unbind(edu_name));
	EXPECT_EQ(-ENODEV, edu_unmap(fd, map.handle, 0));
	EXPECT_EQ(0, edu_bind(edu_name));
	EXPECT_EQ(-ENODEV, edu_map(fd, &map));
	close(fd);
}

/* A transfer moves what it says, from and to each end of the device's memory. */
TEST(transfers_move_the_right_bytes)
{
	static __u8 out[DMA_EDU_MEM_SIZE], in[DMA_EDU_MEM_SIZE];
	struct edu_state st;
	struct mapping m;
	int i, kind;

	ASSERT_EQ(0, edu_state_init(&st, "DMA", 0));
	for (i = 0; i < (int)sizeof(out); i++)
		out[i] = i * 7 + i / 256;
	ASSERT_EQ(0, edu_mem(st.fd, 0, out, sizeof(out), DMA_EDU_WRITE));

	for (kind = 0; kind < NR_KINDS; kind++) {
		if (untrusted && !strcmp(kinds[kind].name, "sg"))
			continue;
		ASSERT_EQ(0, kind_map(st.fd, &m, &kinds[kind], MB(1), 0,
				      DMA_EDU_BIDIRECTIONAL, XFER_MASK_BITS, 0,
				      UPPER_BYTE));
		EXPECT_EQ(0, edu_xfer(st.fd, m.req.iova + 100, 0, sizeof(out),
				      DMA_EDU_XFER_WRITE));
		EXPECT_EQ(0, edu_cpu(st.fd, m.req.handle, 100, in, sizeof(in),
				     0));
		EXPECT_EQ(0, memcmp(out, in, sizeof(out))) {
			TH_LOG("%s", kinds[kind].name);
		}
		EXPECT_EQ(0, edu_cpu(st.fd, m.req.handle, 0, in, 100, 0));
		EXPECT_TRUE(all_bytes(in, 100, UPPER_BYTE));
		EXPECT_EQ(0, kind_unmap(st.fd, &m));
	}
	EXPECT_EQ(0, edu_mem(st.fd, 0, in, sizeof(in), 0));
	EXPECT_EQ(0, memcmp(out, in, sizeof(out)));
	edu_state_exit(&st);
}

/*
 * A transfer that is given up while the device is at it still ends before its
 * buffer is unmapped: the bytes arrive, and no access comes after.
 */
TEST(unmap_waits_for_a_transfer_that_timed_out)
{
	static __u8 out[DMA_EDU_MEM_SIZE], in[DMA_EDU_MEM_SIZE];
	struct dma_edu_xfer xfer = {
		.len = sizeof(out),
		.flags = DMA_EDU_XFER_WRITE,
		.timeout_ms = 1,
	};
	char line[KMSG_LINE_MAX];
	struct edu_state st;
	struct mapping m;
	int ret, tries;

	ASSERT_EQ(0, edu_state_init(&st, "DMA", 0));
	memset(out, DEVICE_BYTE, sizeof(out));
	ASSERT_EQ(0, edu_mem(st.fd, 0, out, sizeof(out), DMA_EDU_WRITE));
	ASSERT_EQ(0, kind_map(st.fd, &m, &kinds[0], KB(64), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0,
			      UPPER_BYTE));

	/* QEMU takes 100 ms for each; a slow guest may see the end of one. */
	xfer.iova = m.req.iova;
	for (tries = 0, ret = 0; tries < 10 && !ret; tries++) {
		ASSERT_EQ(0, cpu_fill(&st, &m, UPPER_BYTE));
		ret = edu_ioctl(st.fd, DMA_EDU_IOC_XFER, &xfer);
	}
	if (!ret)
		SKIP(return, "the device is too fast");
	ASSERT_EQ(-ETIMEDOUT, ret);

	ASSERT_EQ(0, edu_unmap(st.fd, m.req.handle, DMA_EDU_UNMAP_KEEP));
	ASSERT_EQ(0, edu_cpu(st.fd, m.req.handle, 0, in, sizeof(in), 0));
	EXPECT_EQ(0, memcmp(out, in, sizeof(out)));
	/* The engine is free, and nothing has been cut off for good. */
	EXPECT_EQ(0, edu_mem(st.fd, 0, in, sizeof(in), 0));
	EXPECT_EQ(0, memcmp(out, in, sizeof(out)));
	EXPECT_FALSE(kmsg_wait_fault(st.kmsg, xfer.iova,
				     xfer.iova + st.info.granule, line,
				     FAULT_WAIT_MS)) {
		TH_LOG("%s", line);
	}
	EXPECT_TRUE(log_is_clean(&st));
	edu_state_exit(&st);
}

/* ------------------------------------------------------- failed allocations */

#define FAIL_NTH_MAX	1000

FIXTURE(failed_allocation)
{
	struct edu_state st;
	bool lazy;
};

FIXTURE_VARIANT(failed_allocation)
{
	const char *type;
	unsigned int guard_kb;
};

FIXTURE_VARIANT_ADD(failed_allocation, off_strict)
{
	.type = "DMA",
	.guard_kb = 0,
};

FIXTURE_VARIANT_ADD(failed_allocation, guard_4k_strict)
{
	.type = "DMA",
	.guard_kb = 4,
};

FIXTURE_VARIANT_ADD(failed_allocation, guard_4k_lazy)
{
	.type = "DMA-FQ",
	.guard_kb = 4,
};

FIXTURE_SETUP(failed_allocation)
{
	int ret = edu_state_init(&self->st, variant->type, variant->guard_kb);

	if (ret > 0)
		SKIP(return, "%s", why_skipped[ret]);
	ASSERT_EQ(0, ret);
	self->lazy = self->st.info.domain == DMA_EDU_DOMAIN_DMA_FQ;
}

FIXTURE_TEARDOWN(failed_allocation)
{
	edu_state_exit(&self->st);
}

/*
 * Fail each memory allocation of each way to map in turn: nothing is lost.
 * CONFIG_DMA_API_DEBUG turns itself off when one of its own fails, so that this
 * comes last.
 */
TEST_F_TIMEOUT(failed_allocation, loses_nothing, 600)
{
	struct edu_state *st = &self->st;
	__u64 size = align_up(KB(64), st->info.granule);
	int fd, kind, nth, ret, injected = 0;
	long before, after;
	struct mapping m;
	char buf[16];
	ssize_t len;

	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0 || !fault_injection_setup())
		SKIP(return, "no fault injection");

	before = count_space(st->fd, self->lazy, size, SOAK_MASK_BITS);
	ASSERT_LT(0, before);

	for (kind = 0; kind < NR_KINDS; kind++) {
		for (nth = 1; nth < FAIL_NTH_MAX; nth++) {
			/* Not from the caches, so that these can fail too. */
			ret = flush_iova_caches(st->fd, self->lazy);
			ASSERT_EQ(0, ret);

			snprintf(buf, sizeof(buf), "%d", nth);
			len = pwrite(fd, buf, strlen(buf), 0);
			ret = kind_map(st->fd, &m, &kinds[kind], size, 0,
				       DMA_EDU_BIDIRECTIONAL, SOAK_MASK_BITS,
				       0, 0);
			ASSERT_LT(0, len);
			len = pread(fd, buf, sizeof(buf) - 1, 0);
			ASSERT_LT(0, len);
			ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
			buf[len] = '\0';

			/* There are ways to go on without some allocation. */
			if (!ret) {
				ASSERT_EQ(0, kind_unmap(st->fd, &m));
			} else {
				EXPECT_TRUE(ret == -ENOMEM || ret == -ENOSPC) {
					TH_LOG("%s, %d: %s", kinds[kind].name,
					       nth, strerror(-ret));
				}
			}
			/* Not counted down: the call has no more of them. */
			if (strtol(buf, NULL, 10))
				break;
			injected++;
		}
		EXPECT_GT(FAIL_NTH_MAX, nth);
		EXPECT_EQ(0, ret);
	}
	close(fd);
	ksft_print_msg("%d failures injected\n", injected);
	EXPECT_LT(0, injected);

	after = count_space(st->fd, self->lazy, size, SOAK_MASK_BITS);
	EXPECT_EQ(before, after);
	EXPECT_TRUE(log_is_clean(st));
}

/* Needs the device bound. */
static void look_at_device(void)
{
	int fd = edu_open(edu_name), kmsg = kmsg_open();
	struct dma_edu_info info;

	if (fd < 0 || kmsg < 0 || edu_info(fd, &info))
		ksft_exit_fail_msg("cannot open %s and the log\n", edu_name);
	untrusted = info.flags & DMA_EDU_INFO_UNTRUSTED;
	mute = edu_iommu_is_mute(fd, kmsg);
	close(kmsg);
	close(fd);
}

int main(int argc, char **argv)
{
	if (geteuid())
		ksft_exit_skip("not root\n");
	edu_setup(&booted);
	look_at_device();

	return edu_finish(&booted, test_harness_run(argc, argv));
}
