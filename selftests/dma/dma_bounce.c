// SPDX-License-Identifier: GPL-2.0
/*
 * Bounce pages for devices that are not trusted: what a device can reach beside
 * its buffers
 *
 * Needs the dma_edu module and QEMU's edu device behind an IOMMU. The device is
 * the attacker: it reads and writes all that the IOMMU pages of a buffer hold
 * besides. Where it does not bounce it must succeed, which shows that the tests
 * can see it.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_BOUNCE_ALL: 1 for every offset with every length, path and direction; not
 *	set, or 0, for a choice of them
 */

#include <sys/wait.h>

#include "dma_bounce_util.h"

/* ------------------------------------------------------- reads by the device */

/*
 * Reads that are compared with what is expected once the device's memory is
 * full: each fetch takes as long as a transfer.
 */
struct reads {
	struct bounce_state *st;
	__u32 used;
	__u8 want[DMA_EDU_MEM_SIZE];
	bool secret;	/* SECRET was read */
	bool wrong;	/* something else than was expected was read */
};

static int reads_flush(struct reads *r)
{
	int ret;

	if (!r->used)
		return 0;
	ret = device_fetch(r->st, r->used);
	if (ret)
		return ret;
	if (memchr(device_memory, SECRET, r->used))
		r->secret = true;
	if (memcmp(device_memory, r->want, r->used))
		r->wrong = true;
	r->used = 0;
	return 0;
}

/* Have the device read, and expect @want, or zeros if that is NULL. */
static int reads_add(struct reads *r, __u64 iova, __u64 len, const __u8 *want)
{
	__u32 n;
	int ret;

	for (; len; iova += n, len -= n) {
		if (r->used + len > sizeof(r->want)) {
			ret = reads_flush(r);
			if (ret)
				return ret;
		}
		n = len < sizeof(r->want) ? len : sizeof(r->want);
		ret = edu_xfer(r->st->fd, iova, r->used, n, 0);
		if (ret)
			return ret;
		if (want) {
			memcpy(r->want + r->used, want, n);
			want += n;
		} else {
			memset(r->want + r->used, 0, n);
		}
		r->used += n;
	}
	return 0;
}

/* ---------------------------------------------------------------- the pads */

/* @place: in the image. @inside: byte of the buffer that is next to it */
struct pad {
	__u64 iova;
	__u64 place;
	__u64 len;
	__u64 inside;
	bool head;
};

#define MAX_PADS	128

/*
 * The pads of all entries of a buffer, as far as the device sees them in the same
 * IOMMU page. What the image does not hold, where the IOMMU has larger pages than
 * the CPU, is left out.
 */
static int find_pads(const struct buffer *b, __u64 granule, struct pad *pads)
{
	unsigned int i;
	int nr = 0;

	for (i = 0; i < b->nr_entries && nr <= MAX_PADS - 2; i++) {
		const struct part *e = &b->entries[i];
		__u64 last = e->pos + e->len - 1;
		__u64 iova, place, len;

		buffer_piece(b, e->pos, 1, &iova, &place);
		len = min_u64(place % granule, iova % granule);
		if (len)
			pads[nr++] = (struct pad){ iova - len, place - len, len,
						   e->pos, true };

		buffer_piece(b, last, 1, &iova, &place);
		iova++;
		place++;
		len = min_u64(align_up(place, granule) - place,
			      align_up(iova, granule) - iova);
		len = min_u64(len, b->image_size - place);
		if (len)
			pads[nr++] = (struct pad){ iova, place, len, last,
						   false };
	}
	return nr;
}

/* Every byte is in its IOMMU page where it is in its page of memory. */
static bool offsets_are_kept(const struct buffer *b, __u64 granule)
{
	__u64 pos, iova, place;

	for (pos = 0; pos < b->size;
	     pos += buffer_piece(b, pos, b->size - pos, &iova, &place)) {
		buffer_piece(b, pos, 1, &iova, &place);
		if (iova % granule != place % granule)
			return false;
	}
	return true;
}

/* Bytes of the buffer that a transfer takes in together with a pad */
#define INSIDE	16

/* Up to INSIDE bytes of the buffer next to a pad, in the same IOMMU page */
static __u32 pad_inside(const struct buffer *b, const struct pad *p,
			__u64 granule)
{
	const struct part *e = part_of(b->entries, b->nr_entries, p->inside);
	__u64 in_page = p->head ? granule - p->len : p->iova % granule;

	return min_u64(min_u64(e->len, INSIDE), in_page);
}

/*
 * The device reads each pad and, if it @may_read, a few bytes of the buffer with
 * it. @leaks: it gets what is there, or else zeros.
 */
static int attack_read(struct reads *r, const struct buffer *b,
		       const struct pad *pads, int nr, bool may_read,
		       bool leaks)
{
	__u64 granule = r->st->granule;
	__u8 want[INSIDE];
	int i, ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		const struct pad *p = &pads[i];
		__u64 place = p->head ? p->place + p->len : p->place;
		__u32 inside = may_read ? pad_inside(b, p, granule) : 0;

		if (!p->head)
			place -= inside;
		memcpy(want, b->image + place, inside);
		if (!p->head)
			ret = reads_add(r, p->iova - inside, inside, want);
		ret = ret ?: reads_add(r, p->iova, p->len,
				       leaks ? b->image + p->place : NULL);
		if (p->head)
			ret = ret ?: reads_add(r, p->iova + p->len, inside,
					       want);
	}
	return ret ?: reads_flush(r);
}

/*
 * The device writes to each pad and to a few bytes of the buffer in one go.
 * @beside, @inside: whether that reaches the memory in the end.
 */
static int attack_write(struct bounce_state *st, struct buffer *b,
			const struct pad *pads, int nr, bool beside,
			bool inside)
{
	__u64 iova, place, len, n;
	int i, ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		__u32 in = pad_inside(b, &pads[i], st->granule);

		place = pads[i].place - (pads[i].head ? 0 : in);
		iova = pads[i].iova - (pads[i].head ? 0 : in);
		for (len = pads[i].len + in; len && !ret; len -= n) {
			n = len < DMA_EDU_MEM_SIZE ? len : DMA_EDU_MEM_SIZE;
			ret = edu_xfer(st->fd, iova, 0, n, DMA_EDU_XFER_WRITE);
			iova += n;
		}
		if (beside)
			memset(b->image + pads[i].place, DEVICE, pads[i].len);
		if (inside)
			memset(b->image + place + (pads[i].head ?
						   pads[i].len : 0),
			       DEVICE, in);
	}
	return ret;
}

/* ------------------------------------------------------------------- attacks */

FIXTURE(attack)
{
	struct bounce_state st;
};

FIXTURE_VARIANT(attack)
{
	bool bounces;
	const char *type;
};

FIXTURE_VARIANT_ADD(attack, bounced)
{
	.bounces = true,
	.type = "DMA",
};

FIXTURE_VARIANT_ADD(attack, bounced_lazy)
{
	.bounces = true,
	.type = "DMA-FQ",
};

FIXTURE_VARIANT_ADD(attack, in_place)
{
	.bounces = false,
	.type = "DMA",
};

FIXTURE_SETUP(attack)
{
	const char *skip;

	ASSERT_EQ(0, state_init(&self->st, variant->bounces, variant->type,
				&skip));
	if (skip)
		SKIP(return, "%s", skip);
}

FIXTURE_TEARDOWN(attack)
{
	state_exit(&self->st);
}

/* One byte of a mapping that is gone: does the access fault? */
static int gone_faults(struct bounce_state *st, __u64 iova, bool *faulted)
{
	__u64 page = iova / st->granule * st->granule;

	return edu_xfer_faults(st->fd, st->kmsg, iova, 1, DMA_EDU_XFER_WRITE,
			       page, page + st->granule, faulted);
}

/*
 * All that the device can try with one buffer. @sync: the driver looks at the
 * buffer before it unmaps it. @look_for_fault: also that it is logged when the
 * mapping is used after it is gone.
 */
static void attack_one(struct __test_metadata *_metadata,
		       struct bounce_state *st, struct buffer *b, bool sync,
		       bool look_for_fault)
{
	__u32 dir = b->m.req.dir;
	struct reads r = { .st = st };
	struct pad pads[MAX_PADS];
	bool faulted = false;
	int nr;

	nr = find_pads(b, st->granule, pads);
	if (st->exact || !st->bounces)
		EXPECT_TRUE(offsets_are_kept(b, st->granule));

	if (dir == DMA_EDU_FROM_DEVICE || (st->bounces && !st->exact)) {
		/*
		 * Whether it may read at all is for the IOMMU to say. A whole
		 * buffer may have been bounced to another offset.
		 */
		ASSERT_EQ(0, device_set(st, DEVICE));
		ASSERT_EQ(0, attack_read(&r, b, pads, nr, false, !st->bounces));
		if (st->bounces)
			EXPECT_FALSE(r.secret);
	} else {
		ASSERT_EQ(0, attack_read(&r, b, pads, nr, true, !st->bounces));
		EXPECT_FALSE(r.wrong);
		if (!st->bounces && b->size == b->m.req.size)
			EXPECT_EQ(nr > 0, r.secret);
	}

	ASSERT_EQ(0, device_set(st, DEVICE));
	ASSERT_EQ(0, attack_write(st, b, pads, nr,
				  !st->bounces && dir != DMA_EDU_TO_DEVICE,
				  dir != DMA_EDU_TO_DEVICE));
	if (sync && b->m.req.path != DMA_EDU_IOVA) {
		ASSERT_EQ(0, edu_sync(st->fd, b->m.req.handle, 0, b->size,
				      DMA_EDU_SYNC_CPU));
		EXPECT_TRUE(image_is_right(st->fd, b));
	}
	EXPECT_TRUE(dir == DMA_EDU_TO_DEVICE ? image_is_right(st->fd, b) :
					       beside_is_right(st->fd, b));
	ASSERT_EQ(0, buffer_unmap(st, b, 0));
	EXPECT_TRUE(image_is_right(st->fd, b));

	/* In lazy mode what has no bounce page is within reach for a while. */
	if (look_for_fault &&
	    (nr || st->info.domain != DMA_EDU_DOMAIN_DMA_FQ)) {
		ASSERT_EQ(0, gone_faults(st, b->segs[0].at, &faulted));
		EXPECT_TRUE(faulted);
		EXPECT_TRUE(image_is_right(st->fd, b));
	}
}

#define NR_OFFSETS	7
#define NR_SIZES	12

/*
 * Every class of offset with every class of length. For each of them every path
 * and direction with DMA_BOUNCE_ALL, or else a path in both directions at once
 * and another in one of them.
 */
TEST_F_TIMEOUT(attack, pads_are_out_of_reach, 3600)
{
	struct bounce_state *st = &self->st;
	__u64 granule = st->granule;
	const __u32 offsets[NR_OFFSETS] = {
		0, 1, 512, 2047, 2048, 2049, getpagesize() - 1,
	};
	const __u64 sizes[NR_SIZES] = {
		1, 2, 63, 511, granule - 1, granule, granule + 1,
		2 * granule - 1, 2 * granule, 2 * granule + 1, 3 * granule + 7,
		KB(64) + 512,
	};
	bool all = env_ulong("DMA_BOUNCE_ALL", 0);
	int n, nr = 0, nr_kinds = st->nr_kinds;
	long long start = now_ms();
	struct buffer b;

	for (n = 0; n < NR_OFFSETS * NR_SIZES * nr_kinds * DMA_EDU_NR_DIRS; n++) {
		__u32 offset = offsets[n % NR_OFFSETS];
		__u64 size = sizes[n / NR_OFFSETS % NR_SIZES];
		int nth = n % (NR_OFFSETS * NR_SIZES);
		int kind = n / (NR_OFFSETS * NR_SIZES) % nr_kinds;
		int dir = n / (NR_OFFSETS * NR_SIZES) / nr_kinds;

		if (!all && ((dir && nth % 2 != dir % 2) ||
			     (!st->bounces && nth % 5) ||
			     kind != (nth + dir) % nr_kinds))
			continue;
		ASSERT_EQ(0, buffer_map(st, &b, kind_named(kind_names[kind]),
					offset, size, dir, DMA_EDU_MAP_PATTERN,
					FILL)) {
			TH_LOG("%s, offset %u, %llu bytes", kind_names[kind],
			       offset, size);
		}
		if (buffer_is_copied(st, &b)) {
			ASSERT_EQ(0, buffer_unmap(st, &b, 0));
			ASSERT_EQ(0, buffer_release(st, &b));
			continue;
		}
		attack_one(_metadata, st, &b, nr % 2, !(nr % 32));
		ASSERT_TRUE(__test_passed(_metadata)) {
			TH_LOG("%s, %s, offset %u, %llu bytes",
			       kind_names[kind], dir_names[dir], offset, size);
		}
		ASSERT_EQ(0, buffer_release(st, &b));
		nr++;
	}
	ksft_print_msg("%d buffers in %lld ms\n", nr, now_ms() - start);
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

/* Entries of a list that share pages with something else, and one that does not */
TEST_F_TIMEOUT(attack, pads_of_a_list_are_out_of_reach, 600)
{
	struct bounce_state *st = &self->st;
	__u32 page = getpagesize();
	const struct dma_edu_entry entries[] = {
		{ 512, 1024 },
		{ 2048, page - 2048 },
		{ 0, 2 * page },
		{ 0, page + 1 },
		{ page - 1, 2 },
		{ page + 100, page },
		{ 1, 3 * page },
		{ 7, 1 },
	};
	struct buffer b;
	int dir;

	for (dir = 0; dir < DMA_EDU_NR_DIRS; dir++) {
		ASSERT_EQ(0, buffer_map_list(st, &b, entries,
					     ARRAY_SIZE(entries), dir,
					     DMA_EDU_MAP_PATTERN, FILL));
		if (buffer_is_copied(st, &b)) {
			ASSERT_EQ(0, buffer_unmap(st, &b, 0));
			ASSERT_EQ(0, buffer_release(st, &b));
			continue;
		}
		attack_one(_metadata, st, &b, true, false);
		EXPECT_TRUE(__test_passed(_metadata)) {
			TH_LOG("%s", dir_names[dir]);
		}
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

/* The device takes 100 ms for a transfer, and a flush queue waits for 10. */
#define ALMOST_DONE_MS	94

/*
 * A transfer that is under way when what it goes to is unmapped, from where the
 * IOTLB has it, finds the bounce page gone, in lazy mode, too.
 */
TEST_F_TIMEOUT(attack, nothing_is_left_to_a_late_transfer, 300)
{
	struct bounce_state *st = &self->st;
	char line[KMSG_LINE_MAX];
	struct buffer b;
	__u64 page;
	int kind;

	if (!st->bounces)
		SKIP(return, "nothing is bounced");

	for (kind = 0; kind < st->nr_kinds; kind++) {
		struct dma_edu_xfer xfer = {
			.len = 1,
			.flags = DMA_EDU_XFER_WRITE,
			.timeout_ms = ALMOST_DONE_MS,
		};

		ASSERT_EQ(0, buffer_map(st, &b, kind_named(kind_names[kind]),
					512, 2 * st->granule,
					DMA_EDU_BIDIRECTIONAL, 0, FILL));
		xfer.iova = b.segs[0].at;
		page = xfer.iova / st->granule * st->granule;
		ASSERT_EQ(0, edu_xfer(st->fd, xfer.iova, 0, 1, 0));
		ASSERT_EQ(0, device_set(st, DEVICE));
		sleep_ms(RATELIMIT_MS);
		while (kmsg_next(st->kmsg, line, 0))
			;
		ASSERT_EQ(-ETIMEDOUT, edu_ioctl(st->fd, DMA_EDU_IOC_XFER,
						&xfer));
		ASSERT_EQ(0, buffer_unmap(st, &b, DMA_EDU_UNMAP_RACE));
		EXPECT_TRUE(kmsg_wait_fault(st->kmsg, page, page + st->granule,
					    line, FAULT_WAIT_MS)) {
			TH_LOG("%s", kind_names[kind]);
		}
		EXPECT_TRUE(image_is_right(st->fd, &b));
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

#define NEIGHBOURS	16

/*
 * Small buffers that are mapped at the same time, each with a fill of its own:
 * by the IOVA of none of them does the device reach another, not even where it
 * is bounced to. Mapped again, what the others have left is gone.
 */
TEST_F(attack, bounced_buffers_do_not_share_pages)
{
	struct bounce_state *st = &self->st;
	struct buffer b[NEIGHBOURS];
	struct pad pads[MAX_PADS];
	int i, nr, round;

	if (!st->bounces)
		SKIP(return, "nothing is bounced");

	for (round = 0; round < 2; round++) {
		struct reads r = { .st = st };

		for (i = 0; i < NEIGHBOURS; i++)
			ASSERT_EQ(0, buffer_map(st, &b[i], kind_named("single"),
						(i + round) * 131 % 2048,
						100 + i, DMA_EDU_BIDIRECTIONAL,
						0, 0x80 + i));
		if (st->exact) {
			for (i = 0; i < NEIGHBOURS; i++) {
				nr = find_pads(&b[i], st->granule, pads);
				ASSERT_EQ(0, attack_read(&r, &b[i], pads, nr,
							 true, false));
			}
			EXPECT_FALSE(r.wrong);
		}
		ASSERT_EQ(0, device_set(st, DEVICE));
		for (i = 0; i < NEIGHBOURS; i += 2) {
			nr = find_pads(&b[i], st->granule, pads);
			ASSERT_EQ(0, attack_write(st, &b[i], pads, nr, false,
						  true));
		}
		for (i = 0; i < NEIGHBOURS; i++) {
			ASSERT_EQ(0, buffer_unmap(st, &b[i], 0));
			EXPECT_TRUE(image_is_right(st->fd, &b[i]));
			ASSERT_EQ(0, buffer_release(st, &b[i]));
		}
	}
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

/*
 * Between segments that must not cross a boundary there is room in the IOVA range,
 * which is not filled with what happens to be behind the first one.
 */
TEST_F_TIMEOUT(attack, padding_of_a_list_is_out_of_reach, 600)
{
	struct bounce_state *st = &self->st;
	__u64 granule = st->granule, iova;
	const struct dma_edu_entry entries[] = {
		{ 0, granule }, { 0, 16 * granule },
	};
	struct buffer b;
	bool faulted;

	if (st->bounces && !st->exact)
		SKIP(return, "kernel without partial bounce pages");

	for (st->boundary_bits = 4; granule >> (st->boundary_bits - 4) > 1;)
		st->boundary_bits++;
	ASSERT_EQ(0, buffer_map_list(st, &b, entries, ARRAY_SIZE(entries),
				     DMA_EDU_BIDIRECTIONAL, 0, FILL));
	ASSERT_EQ(2U, b.nr_segs);
	ASSERT_EQ(b.segs[0].at + 16 * granule, b.segs[1].at);

	iova = b.segs[0].at + granule;
	ASSERT_EQ(0, device_set(st, DEVICE));
	ASSERT_EQ(0, edu_xfer_faults(st->fd, st->kmsg, iova, 1,
				     DMA_EDU_XFER_WRITE, iova, iova + granule,
				     &faulted));
	EXPECT_EQ(st->bounces, faulted);
	if (!st->bounces)
		b.image[granule] = DEVICE;
	EXPECT_TRUE(image_is_right(st->fd, &b));
	ASSERT_EQ(0, buffer_unmap(st, &b, 0));
	EXPECT_TRUE(image_is_right(st->fd, &b));
	ASSERT_EQ(0, buffer_release(st, &b));
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

/* What was bounced is out of reach with the unmap, whatever comes after it. */
TEST_F_TIMEOUT(attack, nothing_is_left_after_the_unmap, 300)
{
	struct bounce_state *st = &self->st;
	struct buffer b;
	bool faulted;
	int kind;

	for (kind = 0; kind < st->nr_kinds; kind++) {
		ASSERT_EQ(0, buffer_map(st, &b, kind_named(kind_names[kind]),
					512, 2 * st->granule,
					DMA_EDU_BIDIRECTIONAL, 0, FILL));
		ASSERT_EQ(0, device_set(st, DEVICE));
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		ASSERT_EQ(0, gone_faults(st, b.segs[0].at, &faulted));
		EXPECT_TRUE(faulted);
		ASSERT_EQ(0, gone_faults(st, b.segs[b.nr_segs - 1].at +
					 b.segs[b.nr_segs - 1].len - 1,
					 &faulted));
		EXPECT_TRUE(faulted);
		EXPECT_TRUE(image_is_right(st->fd, &b)) {
			TH_LOG("%s", kind_names[kind]);
		}
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

/*
 * A driver that syncs or unmaps more than it has mapped, as one does that goes by
 * what its device claims: what was mapped arrives, nothing else does, and no bounce
 * page is lost.
 */
TEST_F_TIMEOUT(attack, more_than_was_mapped, 300)
{
	static const char * const names[] = { "single", "page", "sg", "iova",
					      "iova unlink" };
	/* A segment of what is behind these may be several buffers. */
	const size_t nr_synced = 2;
	struct bounce_state *st = &self->st;
	__u64 granule = st->granule;
	const __u64 places[][2] = {
		{ 0, 2048 }, { 512, 1024 }, { 0, granule + 100 },
		{ 512, 2 * granule },
	};
	struct buffer b;
	size_t k, p;
	int dir, extra, i;
	__u64 beyond;

	if (!st->bounces || !st->exact)
		SKIP(return, "nothing is bounced");
	if (!access("/sys/kernel/debug/dma-api", F_OK))
		SKIP(return, "DMA_API_DEBUG reports such lengths");

	for (i = 0; i < (int)(ARRAY_SIZE(names) * ARRAY_SIZE(places) *
			      DMA_EDU_NR_DIRS * 3); i++) {
		k = i % ARRAY_SIZE(names);
		p = i / ARRAY_SIZE(names) % ARRAY_SIZE(places);
		dir = i / ARRAY_SIZE(names) / ARRAY_SIZE(places) %
		      DMA_EDU_NR_DIRS;
		extra = i / ARRAY_SIZE(names) / ARRAY_SIZE(places) /
			DMA_EDU_NR_DIRS;
		ASSERT_EQ(0, buffer_map(st, &b, kind_named(names[k]),
					places[p][0], places[p][1], dir,
					DMA_EDU_MAP_PATTERN, FILL));
		beyond = align_up(b.segs[0].at + b.size, granule) -
			 b.segs[0].at + extra * granule;
		ASSERT_EQ(0, device_set(st, DEVICE));
		if (dir != DMA_EDU_TO_DEVICE) {
			ASSERT_EQ(0, edu_xfer(st->fd, b.segs[0].at, 0, 64,
					      DMA_EDU_XFER_WRITE));
			ASSERT_EQ(0, edu_xfer(st->fd,
					      b.segs[0].at + b.size - 64, 0,
					      64 + (align_up(b.segs[0].at +
							     b.size, granule) -
						    b.segs[0].at - b.size) / 2,
					      DMA_EDU_XFER_WRITE));
			memset(b.image + b.entries[0].at, DEVICE, 64);
			memset(b.image + b.entries[0].at + b.size - 64, DEVICE,
			       64);
		}
		if (k < nr_synced) {
			ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 0, beyond,
					      DMA_EDU_SYNC_CPU |
					      DMA_EDU_SYNC_BEYOND));
			EXPECT_TRUE(image_is_right(st->fd, &b)) {
				TH_LOG("%s, %s, place %zu, +%d, for the CPU",
				       names[k], dir_names[dir], p, extra);
			}
		}
		if (k < nr_synced && dir != DMA_EDU_FROM_DEVICE) {
			__u64 last = b.entries[0].at + b.size - 32;

			memset(b.image + last, 0x17, 32);
			ASSERT_EQ(0, image_peek(st->fd, &b, last,
						b.image + last, 32,
						DMA_EDU_WRITE));
			ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 0, beyond,
					      DMA_EDU_SYNC_DEVICE |
					      DMA_EDU_SYNC_BEYOND));
			ASSERT_EQ(0, edu_xfer(st->fd,
					      b.segs[0].at + b.size - 32, 0, 40,
					      0));
			ASSERT_EQ(0, device_fetch(st, 40));
			EXPECT_EQ(0, memcmp(device_memory, b.image + last, 32)) {
				TH_LOG("%s, %s, place %zu, +%d, for the device",
				       names[k], dir_names[dir], p, extra);
			}
			/* What the device wrote there, or nothing */
			EXPECT_EQ(dir == DMA_EDU_TO_DEVICE ? 0 : DEVICE,
				  device_memory[39]);
		}
		ASSERT_EQ(0, buffer_unmap(st, &b, b.m.req.path == DMA_EDU_SG ?
					  0 : DMA_EDU_UNMAP_LONGER));
		EXPECT_TRUE(image_is_right(st->fd, &b));
		EXPECT_EQ(st->used, slots_used()) {
			TH_LOG("%s, %s, place %zu: a bounce page is lost",
			       names[k], dir_names[dir], p);
		}
		ASSERT_TRUE(__test_passed(_metadata));
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_TRUE(log_is_clean(st));
}

/* ------------------------------------------------------ what is never bounced */

/* Physical address of the device's own registers, 0 if not known */
static __u64 registers(void)
{
	char path[EDU_PATH_MAX], buf[4096];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/resource", edu_name);
	return file_read(path, buf, sizeof(buf)) ? 0 : strtoull(buf, NULL, 16);
}

/* Registers have no copy: in place as they are, or not at all. */
TEST_F(attack, registers_are_never_bounced)
{
	struct bounce_state *st = &self->st;
	bool untrusted = st->info.flags & DMA_EDU_INFO_UNTRUSTED;
	const struct {
		__u32 offset;
		__u64 size;
	} parts[] = {
		{ 0, st->granule }, { 0, 4 * st->granule }, { st->granule, KB(64) },
		{ 128, 64 }, { 128, st->granule }, { 0, 1 },
		{ st->granule - 1, st->granule + 2 },
	};
	struct bounce_stats before = {}, after = {};
	int i, dir, ret;

	ASSERT_NE(0, registers());
	if (st->exact)
		ASSERT_EQ(0, stats_read(&before));
	for (i = 0; i < (int)ARRAY_SIZE(parts); i++) {
		bool aligned = !((parts[i].offset | parts[i].size) % st->granule);

		for (dir = 0; dir < DMA_EDU_NR_DIRS; dir++) {
			struct dma_edu_map map = {
				.path = DMA_EDU_PHYS,
				.dir = dir,
				.flags = DMA_EDU_MAP_NOFILL,
				.mask_bits = MASK_BITS,
				.size = parts[i].size,
				.phys = registers() + parts[i].offset,
			};

			ret = edu_map(st->fd, &map);
			/* The DMA API does not tell registers from kmalloc(). */
			if (ret == -ENOSPC && !st->bounces && !aligned &&
			    may_share_a_line(st, map.size, dir))
				continue;
			EXPECT_EQ(aligned || !st->bounces || !untrusted ?
				  0 : -ENOSPC, ret) {
				TH_LOG("offset %u, %llu bytes", parts[i].offset,
				       map.size);
			}
			if (ret)
				continue;
			EXPECT_EQ(map.phys % st->granule,
				  map.iova % st->granule);
			EXPECT_EQ(0, edu_unmap(st->fd, map.handle, 0));
		}
	}
	if (st->exact) {
		ASSERT_EQ(0, stats_read(&after));
		EXPECT_EQ(before.partial_pages, after.partial_pages);
		EXPECT_EQ(before.failures, after.failures);
	}
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

/* Memory that the DMA API allocates is shared with nobody. */
TEST_F(attack, allocations_are_never_bounced)
{
	static const char * const names[] = { "coherent", "noncontiguous" };
	struct bounce_state *st = &self->st;
	const __u64 sizes[] = { 1, 100, st->granule + 1, KB(64) + 512, MB(1) };
	struct bounce_stats before = {}, after = {};
	__u8 data[100], now[100];
	struct mapping m;
	size_t i, s;

	if (st->exact)
		ASSERT_EQ(0, stats_read(&before));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		for (s = 0; s < ARRAY_SIZE(sizes); s++) {
			__u64 len = min_u64(sizes[s], sizeof(data));
			__u64 off = sizes[s] - len;

			ASSERT_EQ(0, kind_map(st->fd, &m, kind_named(names[i]),
					      sizes[s], 0,
					      DMA_EDU_BIDIRECTIONAL, MASK_BITS,
					      0, FILL));
			EXPECT_EQ(st->used, slots_used());
			rand_fill(data, sizeof(data));
			ASSERT_EQ(0, edu_mem(st->fd, 0, data, len,
					     DMA_EDU_WRITE));
			ASSERT_EQ(0, edu_xfer(st->fd, m.req.iova + off, 0, len,
					      DMA_EDU_XFER_WRITE));
			ASSERT_EQ(0, edu_cpu(st->fd, m.req.handle, off, now,
					     len, 0));
			EXPECT_EQ(0, memcmp(data, now, len)) {
				TH_LOG("%s, %llu bytes", names[i], sizes[s]);
			}
			ASSERT_EQ(0, kind_unmap(st->fd, &m));
		}
	}
	if (st->exact) {
		ASSERT_EQ(0, stats_read(&after));
		EXPECT_EQ(before.mappings, after.mappings);
		EXPECT_EQ(before.partial_pages, after.partial_pages);
	}
	EXPECT_TRUE(log_is_clean(st));
}

/* ------------------------------------------------------------------- sysfs */

/* @first: of the policies that can be chosen: without memory not "all" */
FIXTURE(sysfs)
{
	struct group_state group;
	char policy[32];
	size_t first;
};

FIXTURE_SETUP(sysfs)
{
	int ret = policy_read(self->policy, sizeof(self->policy));

	if (ret == -ENOENT)
		SKIP(return, "kernel without partial bounce pages");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, group_save(&self->group));
	ASSERT_EQ(0, group_set("DMA", self->group.guard_kb));
	ASSERT_EQ(0, edu_unbind(edu_name));
	ret = edu_group_write(edu_name, "dma_bounce", "all");
	ASSERT_TRUE(!ret || ret == -ENOMEM);
	self->first = ret ? 1 : 0;
	ASSERT_EQ(0, edu_group_write(edu_name, "dma_bounce", self->policy));
	ASSERT_EQ(0, edu_bind(edu_name));
}

FIXTURE_TEARDOWN(sysfs)
{
	EXPECT_EQ(0, group_set("DMA", self->group.guard_kb));
	EXPECT_EQ(0, policy_set(self->policy));
	EXPECT_EQ(0, group_restore(&self->group));
}

static const char * const policies[] = { "all", "off", "untrusted" };

/* Who is told that a device bounces gets bounce pages, or an error. */
TEST_F(sysfs, all_needs_memory)
{
	struct mapping m;
	int fd;

	ASSERT_EQ(0, edu_unbind(edu_name));
	if (self->first) {
		EXPECT_EQ(0, edu_group_write(edu_name, "dma_bounce", "off"));
		EXPECT_EQ(-ENOMEM, edu_group_write(edu_name, "dma_bounce",
						   "all"));
		EXPECT_TRUE(policy_is("off"));
		EXPECT_EQ(0, edu_group_write(edu_name, "dma_bounce",
					     "untrusted"));
		EXPECT_TRUE(policy_is("untrusted"));
		ksft_print_msg("refused without memory\n");
		return;
	}
	ASSERT_EQ(0, edu_group_write(edu_name, "dma_bounce", "all"));
	ASSERT_EQ(0, edu_bind(edu_name));
	fd = edu_open(edu_name);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, kind_map(fd, &m, kind_named("single"), 512, 512,
			      DMA_EDU_BIDIRECTIONAL, MASK_BITS, 0, FILL));
	close(fd);
}

#define RELEASE_MS	"/sys/module/dma_edu/parameters/release_ms"

/* What devres unmaps is as it was mapped: the group has an owner until then. */
TEST_F(sysfs, change_waits_for_devres)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, file_write(RELEASE_MS, "1000"));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(!!edu_unbind(edu_name));
	sleep_ms(400);
	EXPECT_EQ(-EPERM, edu_group_write(edu_name, "dma_bounce", "off"));
	EXPECT_TRUE(policy_is(self->policy));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, file_write(RELEASE_MS, "0"));
	EXPECT_EQ(0, edu_group_write(edu_name, "dma_bounce", "off"));
	EXPECT_TRUE(policy_is("off"));
}

TEST_F(sysfs, bound_driver_forbids_a_change)
{
	size_t i, j;

	for (i = self->first; i < ARRAY_SIZE(policies); i++) {
		ASSERT_EQ(0, edu_unbind(edu_name));
		EXPECT_EQ(0, edu_group_write(edu_name, "dma_bounce",
					     policies[i]));
		EXPECT_TRUE(policy_is(policies[i]));
		ASSERT_EQ(0, edu_bind(edu_name));
		EXPECT_TRUE(policy_is(policies[i]));
		for (j = 0; j < ARRAY_SIZE(policies); j++) {
			EXPECT_EQ(-EPERM, edu_group_write(edu_name,
							  "dma_bounce",
							  policies[j]));
			EXPECT_TRUE(policy_is(policies[i]));
		}
	}
}

TEST_F(sysfs, bad_values_change_nothing)
{
	static const char * const bad[] = {
		"junk", "ALL", "al", "alll", "all off", "off,all", "1", "0",
		"on", "none", "untrust", "untrusted-", "\n", " ",
	};
	size_t i, j;

	ASSERT_EQ(0, edu_unbind(edu_name));
	for (i = self->first; i < ARRAY_SIZE(policies); i++) {
		ASSERT_EQ(0, edu_group_write(edu_name, "dma_bounce",
					     policies[i]));
		for (j = 0; j < ARRAY_SIZE(bad); j++) {
			EXPECT_EQ(-EINVAL, edu_group_write(edu_name,
							   "dma_bounce",
							   bad[j])) {
				TH_LOG("\"%s\"", bad[j]);
			}
			EXPECT_TRUE(policy_is(policies[i]));
		}
	}
	EXPECT_EQ(0, edu_group_write(edu_name, "dma_bounce", "off\n"));
	EXPECT_TRUE(policy_is("off"));
}

TEST_F(sysfs, identity_domain_has_no_policy)
{
	int ret;

	ASSERT_EQ(0, edu_unbind(edu_name));
	ret = edu_group_write(edu_name, "type", "identity");
	if (ret)
		SKIP(return, "no identity domain: %s", strerror(-ret));
	EXPECT_EQ(-EINVAL, edu_group_write(edu_name, "dma_bounce", "all"));
	EXPECT_EQ(-EINVAL, edu_group_write(edu_name, "dma_bounce", "junk"));
	ASSERT_EQ(0, edu_group_write(edu_name, "type", "DMA"));
	EXPECT_EQ(0, edu_group_write(edu_name, "dma_bounce", "off"));
	EXPECT_TRUE(policy_is("off"));
}

/*
 * The driver that is bound next gets what was written: an untrusted device is
 * trusted, a trusted one is not, by what it can do.
 */
TEST_F_TIMEOUT(sysfs, policy_is_in_force_after_bind, 120)
{
	bool untrusted = edu_untrusted();
	struct bounce_state st;
	struct pad pads[MAX_PADS];
	const char *skip;
	struct buffer b;
	size_t i, nr;

	for (i = 0; i < 2 * ARRAY_SIZE(policies); i++) {
		const char *policy = policies[i % ARRAY_SIZE(policies)];
		bool bounces = !strcmp(policy, "all") ||
			       (untrusted && !strcmp(policy, "untrusted"));
		struct reads r = { .st = &st };

		ASSERT_EQ(0, state_init(&st, bounces, "DMA", &skip));
		state_exit(&st);
		if (skip)
			SKIP(return, "%s", skip);
		ASSERT_EQ(0, policy_set(policy));
		st.fd = edu_open(edu_name);
		ASSERT_LE(0, st.fd);
		ASSERT_EQ(0, edu_info(st.fd, &st.info));
		EXPECT_EQ(untrusted, !!(st.info.flags & DMA_EDU_INFO_UNTRUSTED));

		ASSERT_EQ(0, buffer_map(&st, &b, kind_named("single"), 100,
					3 * st.granule, DMA_EDU_BIDIRECTIONAL,
					DMA_EDU_MAP_PATTERN, FILL));
		if (st.used != -ENOENT)
			EXPECT_EQ(bounces, slots_used() != st.used);
		nr = find_pads(&b, st.granule, pads);
		EXPECT_EQ(2U, nr);
		ASSERT_EQ(0, attack_read(&r, &b, pads, nr, true, !bounces));
		EXPECT_FALSE(r.wrong) {
			TH_LOG("%s", policy);
		}
		ASSERT_EQ(0, device_set(&st, DEVICE));
		ASSERT_EQ(0, attack_write(&st, &b, pads, nr, !bounces, true));
		ASSERT_EQ(0, buffer_unmap(&st, &b, 0));
		EXPECT_TRUE(image_is_right(st.fd, &b)) {
			TH_LOG("%s", policy);
		}
		ASSERT_EQ(0, buffer_release(&st, &b));
		close(st.fd);
	}
}

/* Partial pages are all that is bounced, so that no length is too much. */
TEST_F(sysfs, max_mapping_size_is_unlimited)
{
	struct bounce_state st;
	const char *skip;
	int bounces;

	for (bounces = 0; bounces < 2; bounces++) {
		ASSERT_EQ(0, state_init(&st, bounces, "DMA", &skip));
		if (skip)
			SKIP(return, "%s", skip);
		EXPECT_EQ(sizeof(size_t) == 8 ? ~0ULL : ~0U,
			  st.info.max_mapping_size);
		state_exit(&st);
	}
}

/* -------------------------------------------------------- the boot parameter */

/*
 * The group as this program found it has what the command line says. Who runs
 * it after a change through sysfs gets a failure here.
 */
TEST(boot_parameter_is_in_force)
{
	static const char param[] = "iommu.dma_bounce";
	const char *expected = "untrusted";
	char value[16];
	size_t i;

	ksft_print_msg("%s is %s\n", edu_name,
		       edu_untrusted() ? "untrusted" : "trusted");
	if (!*booted_policy)
		SKIP(return, "kernel without partial bounce pages");
	if (boot_param(param, value, sizeof(value))) {
		for (i = 0; i < ARRAY_SIZE(policies); i++)
			if (!strcmp(value, policies[i]))
				break;
		if (i == ARRAY_SIZE(policies))
			SKIP(return, "the kernel has refused %s=", param);
		expected = policies[i];
	}
	EXPECT_STREQ(expected, booted_policy);
}

/* By what it writes to a free block of a DMA pool it can choose the next one. */
TEST(free_blocks_are_no_way_out)
{
	struct dma_edu_pool pool = {};
	bool untrusted = edu_untrusted();
	int fd = edu_open(edu_name);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, edu_ioctl(fd, DMA_EDU_IOC_POOL, &pool));
	EXPECT_EQ(!untrusted, pool.astray);
	pool.reserved = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_POOL, &pool));
	close(fd);
}

/* ABI of the module: what is not in its header is refused. */
TEST(bad_ioctl_arguments_are_refused)
{
	const struct dma_edu_map good = {
		.path = DMA_EDU_SG, .mask_bits = 32, .size = 300,
	};
	struct dma_edu_entry entries[] = { { 1, 100 }, { 5000, 200 } };
	const struct dma_edu_list good_list = {
		.map = good,
		.entries = (unsigned long)entries,
		.nr_entries = 2,
	};
	struct dma_edu_list list = good_list;
	struct dma_edu_peek peek = { .len = 1 };
	struct dma_edu_map map = good;
	struct mapping m;
	__u8 data[16];
	int fd;

	fd = edu_open(edu_name);
	ASSERT_LE(0, fd);

	/* Lists */
	list.map.path = DMA_EDU_SINGLE;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	list.map.offset = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	list.map.chunk = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	list.map.size--;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	list.nr_entries = 0;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list.nr_entries = DMA_EDU_MAX_ENTRIES + 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	list.boundary_bits = 64;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list.boundary_bits = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	list.entries = 1;
	EXPECT_EQ(-EFAULT, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	list = good_list;
	entries[0].len = 0;
	list.map.size = 200;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	entries[0].len = DMA_EDU_MAX_SIZE;
	list.map.size = DMA_EDU_MAX_SIZE;
	list.nr_entries = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));
	entries[0].len = 100;
	list = good_list;
	ASSERT_EQ(0, edu_ioctl(fd, DMA_EDU_IOC_MAP_LIST, &list));

	/* Syncs */
	m.req = list.map;
	EXPECT_EQ(-EINVAL, edu_sync(fd, 0, 0, 300, DMA_EDU_SYNC_CPU));
	EXPECT_EQ(-EINVAL, edu_sync(fd, m.req.handle, 0, 300, 0));
	EXPECT_EQ(-EINVAL, edu_sync(fd, m.req.handle, 0, 300,
				    DMA_EDU_SYNC_CPU | DMA_EDU_SYNC_DEVICE));
	EXPECT_EQ(-EINVAL, edu_sync(fd, m.req.handle, 0, 299,
				    DMA_EDU_SYNC_CPU));
	EXPECT_EQ(-EINVAL, edu_sync(fd, m.req.handle, 1, 299,
				    DMA_EDU_SYNC_CPU));
	EXPECT_EQ(-EINVAL, edu_sync(fd, m.req.handle, 0, ~0ULL,
				    DMA_EDU_SYNC_CPU));
	EXPECT_EQ(0, edu_sync(fd, m.req.handle, 0, 300, DMA_EDU_SYNC_CPU));

	/* Peeks: 5000 + 200 takes two pages of 4 KiB, or one that is larger */
	EXPECT_EQ(-EINVAL, edu_peek(fd, 0, 0, 0, data, 1, 0));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 2, 0, data, 1, 0));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 0, 0, data, 0, 0));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 0, 0, data, 1, 2));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 0, ~0ULL, data, 2, 0));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 1,
				    align_up(5200, getpagesize()), data, 1, 0));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 1,
				    align_up(5200, getpagesize()) - 1, data, 2,
				    0));
	EXPECT_EQ(0, edu_peek(fd, m.req.handle, 1,
			      align_up(5200, getpagesize()) - 1, data, 1, 0));
	EXPECT_EQ(-EFAULT, edu_peek(fd, m.req.handle, 0, 0, (void *)1, 1, 0));
	EXPECT_EQ(-EFAULT, edu_peek(fd, m.req.handle, 0, 0, (void *)1, 1,
				    DMA_EDU_WRITE));
	peek.handle = m.req.handle;
	peek.data = (unsigned long)data;
	peek.reserved = 1;
	EXPECT_EQ(-EINVAL, edu_ioctl(fd, DMA_EDU_IOC_PEEK, &peek));
	EXPECT_EQ(0, edu_unmap(fd, m.req.handle, DMA_EDU_UNMAP_KEEP));
	EXPECT_EQ(-EINVAL, edu_sync(fd, m.req.handle, 0, 300,
				    DMA_EDU_SYNC_CPU));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, m.req.handle, DMA_EDU_UNMAP_SKIP_SYNC));
	EXPECT_EQ(0, edu_peek(fd, m.req.handle, 0, 0, data, 1, 0));
	EXPECT_EQ(0, edu_unmap(fd, m.req.handle, 0));

	/* Where there is nothing to sync, to skip or to look at */
	ASSERT_EQ(0, kind_map(fd, &m, kind_named("iova"), 4096, 0,
			      DMA_EDU_TO_DEVICE, 32, 0, 0));
	EXPECT_EQ(-EOPNOTSUPP, edu_sync(fd, m.req.handle, 0, 4096,
					DMA_EDU_SYNC_CPU));
	EXPECT_EQ(0, kind_unmap(fd, &m));
	EXPECT_EQ(-EINVAL, kind_map(fd, &m, kind_named("coherent"), 4096, 0, 0,
				    32, DMA_EDU_MAP_SKIP_SYNC, 0));
	ASSERT_EQ(0, kind_map(fd, &m, kind_named("coherent"), 4096, 0, 0, 32, 0,
			      0));
	EXPECT_EQ(-EINVAL, edu_peek(fd, m.req.handle, 0, 0, data, 1, 0));
	EXPECT_EQ(-EINVAL, edu_unmap(fd, m.req.handle,
				     DMA_EDU_UNMAP_SKIP_SYNC));
	EXPECT_EQ(0, kind_unmap(fd, &m));
	EXPECT_EQ(-EINVAL, kind_map(fd, &m, kind_named("single"), 4096, 0, 0,
				    32, DMA_EDU_MAP_PATTERN |
				    DMA_EDU_MAP_NOFILL, 0));

	map.path = DMA_EDU_PHYS;
	map.flags = DMA_EDU_MAP_NOFILL | DMA_EDU_MAP_SKIP_SYNC;
	map.phys = registers();
	map.size = getpagesize();
	EXPECT_EQ(-EINVAL, edu_map(fd, &map));
	map.flags = DMA_EDU_MAP_NOFILL;
	ASSERT_EQ(0, edu_map(fd, &map));
	EXPECT_EQ(-EINVAL, edu_peek(fd, map.handle, 0, 0, data, 1, 0));
	EXPECT_EQ(-EOPNOTSUPP, edu_sync(fd, map.handle, 0, 1,
					DMA_EDU_SYNC_CPU));
	EXPECT_EQ(0, edu_unmap(fd, map.handle, 0));
	close(fd);
}

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
