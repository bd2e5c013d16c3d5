// SPDX-License-Identifier: GPL-2.0
/*
 * Slots of bounce memory that stay mapped: what a device can do with all of it
 *
 * Needs the dma_edu module and QEMU's edu device behind an IOMMU and a port that the
 * firmware declares external-facing. The device is the attacker: it reads and writes
 * anywhere in the windows that slots are in, while buffers come and go.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_SLOTS_STEPS: reads and writes of the device, 200 if not set
 * DMA_SLOTS_SEED: start of its random numbers
 */

#include "dma_bounce_util.h"

/* Three windows of 2 MiB one after the other, for the directions in their order */
#define WINDOW_SIZE	MB(2ULL)

/* Memory comes to a window in pieces of this size. */
#define CHUNK_SIZE	KB(64ULL)

#define SLOT_MAX	KB(8ULL)

#define DEF_STEPS	200

/* Buffers that live at a time; each of a fill of its own */
#define NR_LIVE		24

/* Fills have the upper bit set, what is beside the buffers has not, nor this: */
#define WRITTEN		0x11
#define FIRST_FILL	0x80

#define SLOT_STATS	"/sys/kernel/debug/iommu_dma_bounce/slots"

/* Mappings that were given slots since boot, or a negative errno */
static long mappings_now(void)
{
	static const char name[] = "slot_mappings";
	char buf[1024];
	int ret = file_read(SLOT_STATS, buf, sizeof(buf));

	if (ret)
		return ret;
	return strncmp(buf, name, strlen(name)) ? -EPROTO :
	       strtol(buf + strlen(name), NULL, 10);
}

/* ------------------------------------------------------------ what is mapped */

struct live {
	struct buffer b;
	bool mapped;
};

FIXTURE(slots)
{
	struct bounce_state st;
	struct live live[NR_LIVE];
	__u64 windows[DMA_EDU_NR_DIRS];
	long mappings;
};

FIXTURE_SETUP(slots)
{
	struct bounce_state *st = &self->st;
	struct mapping m;
	__u32 dir;

	st->fd = -1;
	st->kmsg = -1;
	st->kmsg_all = -1;
	if (mappings_now() == -ENOENT)
		SKIP(return, "kernel without IOMMU_DMA_BOUNCE_SLOTS");
	if (!edu_untrusted())
		SKIP(return, "the device is trusted");
	st->fd = edu_open(edu_name);
	st->kmsg = kmsg_open();
	st->kmsg_all = kmsg_open();
	ASSERT_LE(0, st->fd);
	ASSERT_LE(0, st->kmsg);
	ASSERT_LE(0, st->kmsg_all);
	ASSERT_EQ(0, edu_info(st->fd, &st->info));
	st->granule = st->info.granule;

	self->mappings = mappings_now();
	for (dir = 0; dir < DMA_EDU_NR_DIRS; dir++) {
		ASSERT_EQ(0, kind_map(st->fd, &m, kind_named("single"), 64, 8,
				      dir, MASK_BITS, 0, FILL));
		self->windows[dir] = m.req.iova / WINDOW_SIZE * WINDOW_SIZE;
		ASSERT_EQ(0, kind_unmap(st->fd, &m));
	}
	if (mappings_now() == self->mappings)
		SKIP(return, "no slots, boot with iommu.dma_bounce_slots=1");
	ASSERT_EQ(self->mappings + DMA_EDU_NR_DIRS, mappings_now());
	self->mappings = mappings_now();
	ASSERT_EQ(self->windows[0] + WINDOW_SIZE, self->windows[1]);
	ASSERT_EQ(self->windows[1] + WINDOW_SIZE, self->windows[2]);
}

FIXTURE_TEARDOWN(slots)
{
	state_exit(&self->st);
}

/* ------------------------------------------------------------- what is known */

/*
 * A window has no permission that its direction does not need. Before the test that
 * makes the device fault too often for all of it to be reported.
 */
TEST_F_TIMEOUT(slots, permissions, 120)
{
	struct bounce_state *st = &self->st;
	bool faulted;
	__u64 page;
	struct buffer b;

	ASSERT_EQ(0, buffer_map(st, &b, kind_named("single"), 8, 1500,
				DMA_EDU_TO_DEVICE, 0, FILL));
	page = b.segs[0].at / st->granule * st->granule;
	ASSERT_EQ(0, device_set(st, DEVICE));
	sleep_ms(RATELIMIT_MS);
	ASSERT_EQ(0, edu_xfer_faults(st->fd, st->kmsg, b.segs[0].at, 64,
				     DMA_EDU_XFER_WRITE, page,
				     page + st->granule, &faulted));
	EXPECT_TRUE(faulted);
	ASSERT_EQ(0, edu_xfer(st->fd, b.segs[0].at, 0, 64, 0));
	ASSERT_EQ(0, device_fetch(st, 64));
	EXPECT_TRUE(all_bytes(device_memory, 64, FILL));
	ASSERT_EQ(0, buffer_unmap(st, &b, 0));
	EXPECT_TRUE(image_is_right(st->fd, &b));
	ASSERT_EQ(0, buffer_release(st, &b));
	EXPECT_TRUE(log_is_clean(st));
}

/*
 * What the device writes after the driver has looked at the buffer is there when that is
 * unmapped, whether it was synced for the device in between or not.
 */
TEST_F_TIMEOUT(slots, given_back, 120)
{
	struct bounce_state *st = &self->st;
	struct buffer b;
	int again;

	for (again = 0; again < 2; again++) {
		ASSERT_EQ(0, buffer_map(st, &b, kind_named("single"), 8, 1500,
					DMA_EDU_FROM_DEVICE, 0, FILL));
		ASSERT_EQ(0, device_set(st, DEVICE));
		ASSERT_EQ(0, edu_xfer(st->fd, b.segs[0].at, 0, 100,
				      DMA_EDU_XFER_WRITE));
		memset(b.image + 8, DEVICE, 100);
		ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 0, 1500,
				      DMA_EDU_SYNC_CPU));
		EXPECT_TRUE(image_is_right(st->fd, &b));
		if (again)
			ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 0, 1500,
					      DMA_EDU_SYNC_DEVICE));
		ASSERT_EQ(0, device_set(st, WRITTEN));
		ASSERT_EQ(0, edu_xfer(st->fd, b.segs[0].at + 50, 0, 100,
				      DMA_EDU_XFER_WRITE));
		memset(b.image + 58, WRITTEN, 100);
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		EXPECT_TRUE(image_is_right(st->fd, &b));
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_TRUE(log_is_clean(st));
}

/* -------------------------------------------------------------- the attacker */

struct attack {
	struct bounce_state *st;
	struct live *live;
	const __u64 *windows;
	__u64 seen[64];		/* chunks that have been seen in use */
	int nr_seen;
	/* Bytes that the device has read: of live buffers, and which it must not */
	long of_live;
	long of_others;
	/* Bytes that it has written to buffers that it may write to */
	long written;
};

/* The buffer that byte @iova is in, if any is */
static struct live *live_at(struct attack *a, __u64 iova)
{
	int i;

	for (i = 0; i < NR_LIVE; i++) {
		struct live *l = &a->live[i];

		if (l->mapped && iova - l->b.segs[0].at < l->b.size)
			return l;
	}
	return NULL;
}

/* Mostly where there is something */
static __u64 somewhere(struct attack *a, __u64 len)
{
	struct live *l = &a->live[rand_below(NR_LIVE)];
	__u64 how = rand_below(8), start, size;

	if (!a->nr_seen || !how) {
		start = a->windows[0];
		size = DMA_EDU_NR_DIRS * WINDOW_SIZE;
	} else if (how < 4 && l->b.segs) {
		/* Also one that is not there any more, and what is around it */
		start = l->b.segs[0].at - 64;
		size = l->b.size + 128;
	} else {
		start = a->seen[rand_below(a->nr_seen)];
		size = CHUNK_SIZE;
	}
	return start + rand_below(size > len ? size - len + 1 : 1);
}

static void note_chunk(struct attack *a, __u64 iova)
{
	__u64 chunk = iova / CHUNK_SIZE * CHUNK_SIZE;
	int i;

	for (i = 0; i < a->nr_seen; i++)
		if (a->seen[i] == chunk)
			return;
	if (a->nr_seen < (int)ARRAY_SIZE(a->seen))
		a->seen[a->nr_seen++] = chunk;
}

/*
 * What the device has in its memory before a read is what it has after one that the
 * IOMMU stops.
 */
static int attack_read(struct attack *a, __u64 iova, __u32 len)
{
	__u8 zeros[DMA_EDU_MEM_SIZE] = {}, data[DMA_EDU_MEM_SIZE];
	__u32 i;
	int ret;

	ret = edu_mem(a->st->fd, 0, zeros, len, DMA_EDU_WRITE) ?:
	      edu_xfer(a->st->fd, iova, 0, len, 0) ?:
	      edu_mem(a->st->fd, 0, data, len, 0);
	for (i = 0; !ret && i < len; i++) {
		struct live *l = live_at(a, iova + i);

		if (!data[i] || data[i] == WRITTEN)
			continue;
		if (l && data[i] == l->b.m.req.fill) {
			a->of_live++;
			continue;
		}
		if (!a->of_others++)
			ksft_print_msg("read %#x at IOVA %#llx, which is %s\n",
				       data[i], iova + i,
				       l ? "another buffer's" : "no buffer's");
	}
	return ret;
}

static int attack_write(struct attack *a, __u64 iova, __u32 len)
{
	__u8 data[DMA_EDU_MEM_SIZE];
	__u32 i;
	int ret;

	memset(data, WRITTEN, len);
	ret = edu_mem(a->st->fd, 0, data, len, DMA_EDU_WRITE) ?:
	      edu_xfer(a->st->fd, iova, 0, len, DMA_EDU_XFER_WRITE);
	for (i = 0; !ret && i < len; i++) {
		struct live *l = live_at(a, iova + i);

		if (!l || l->b.m.req.dir == DMA_EDU_TO_DEVICE)
			continue;
		a->written++;
		l->b.image[l->b.entries[0].at + iova + i - l->b.segs[0].at] =
			WRITTEN;
	}
	return ret;
}

/* A buffer goes, as it should be with all that is around it, or a new one comes. */
static int turn_over(struct attack *a, bool *right)
{
	int i = rand_below(NR_LIVE), ret;
	struct live *l = &a->live[i];
	__u64 size;

	*right = true;
	if (l->mapped) {
		ret = buffer_unmap(a->st, &l->b, 0);
		l->mapped = false;
		*right = !ret && image_is_right(a->st->fd, &l->b);
		return ret;
	}
	if (l->b.segs) {
		ret = buffer_release(a->st, &l->b);
		if (ret)
			return ret;
	}
	size = 1 + rand_below(rand_below(2) ? 512 : SLOT_MAX);
	if (!(size % a->st->granule))
		size--;
	ret = buffer_map(a->st, &l->b, kind_named("single"),
			 8 + rand_below(1024), size, rand_below(DMA_EDU_NR_DIRS),
			 0, FIRST_FILL + i);
	if (ret)
		return ret;
	l->mapped = true;
	note_chunk(a, l->b.segs[0].at);
	return 0;
}

static int look_at_one(struct attack *a, bool *right)
{
	struct live *l = &a->live[rand_below(NR_LIVE)];
	int ret;

	*right = true;
	if (!l->mapped)
		return 0;
	ret = edu_sync(a->st->fd, l->b.m.req.handle, 0, l->b.size,
		       DMA_EDU_SYNC_CPU);
	*right = !ret && image_is_right(a->st->fd, &l->b);
	return ret;
}

/*
 * The device reads nothing but zeros, what it has written, and its buffers; what it
 * writes gets to those alone that are for it to write to, as long as they are. Each
 * transfer takes it 100 ms of the guest's time, and a step two or three of them.
 */
TEST_F_TIMEOUT(slots, anywhere_at_any_time, 100000)
{
	struct attack a = {
		.st = &self->st,
		.live = self->live,
		.windows = self->windows,
	};
	unsigned long steps = env_ulong("DMA_SLOTS_STEPS", DEF_STEPS), i;
	long reads = 0, writes = 0;
	bool right;
	int n;

	rand_state = env_ulong("DMA_SLOTS_SEED", DEF_SEED) ?: DEF_SEED;
	for (i = 0; i < 2 * NR_LIVE; i++) {
		ASSERT_EQ(0, turn_over(&a, &right));
		ASSERT_TRUE(right);
	}
	for (i = 0; i < steps; i++) {
		__u32 len = 1 + rand_below(rand_below(4) ? 128 : 2048);
		__u64 iova = somewhere(&a, len);

		if (rand_below(2)) {
			ASSERT_EQ(0, attack_read(&a, iova, len));
			reads++;
		} else {
			ASSERT_EQ(0, attack_write(&a, iova, len));
			writes++;
		}
		ASSERT_EQ(0, a.of_others) {
			TH_LOG("after %lu steps", i);
		}
		for (n = rand_below(3); n; n--) {
			ASSERT_EQ(0, turn_over(&a, &right));
			ASSERT_TRUE(right) {
				TH_LOG("after %lu steps", i);
			}
		}
		if (!rand_below(8)) {
			ASSERT_EQ(0, look_at_one(&a, &right));
			ASSERT_TRUE(right);
		}
	}
	for (n = 0; n < NR_LIVE; n++) {
		struct live *l = &self->live[n];

		if (l->mapped) {
			ASSERT_EQ(0, buffer_unmap(&self->st, &l->b, 0));
			EXPECT_TRUE(image_is_right(self->st.fd, &l->b));
		}
		if (l->b.segs)
			ASSERT_EQ(0, buffer_release(&self->st, &l->b));
	}
	ksft_print_msg("%ld reads: %ld bytes of buffers, %ld of others\n", reads,
		       a.of_live, a.of_others);
	ksft_print_msg("%ld writes: %ld bytes into buffers, 0 elsewhere\n", writes,
		       a.written);
	ksft_print_msg("%ld of the buffers had slots\n",
		       mappings_now() - self->mappings);
	/* It was worth looking. */
	EXPECT_LT(0, a.of_live);
	EXPECT_LT(0, a.written);
	EXPECT_LT(0, mappings_now() - self->mappings);
	EXPECT_TRUE(log_is_clean(&self->st));
}

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
