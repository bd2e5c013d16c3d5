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
 * DMA_EDU_DEV: PCI name of the device, the first edu device if not set
 * DMA_BOUNCE_ALL: 1 for every offset with every length, path and direction; not
 *	set, or 0, for a choice of them
 */

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
};

FIXTURE_VARIANT_ADD(attack, bounced)
{
	.bounces = true,
};

FIXTURE_VARIANT_ADD(attack, in_place)
{
	.bounces = false,
};

FIXTURE_SETUP(attack)
{
	const char *skip;

	ASSERT_EQ(0, state_init(&self->st, variant->bounces, "DMA", &skip));
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
 * All that the device can try with one buffer. @look_for_fault: also that it is
 * logged when the mapping is used after it is gone.
 */
static void attack_one(struct __test_metadata *_metadata,
		       struct bounce_state *st, struct buffer *b,
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
	EXPECT_TRUE(dir == DMA_EDU_TO_DEVICE ? image_is_right(st->fd, b) :
					       beside_is_right(st->fd, b));
	ASSERT_EQ(0, buffer_unmap(st, b, 0));
	EXPECT_TRUE(image_is_right(st->fd, b));

	if (look_for_fault) {
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
		attack_one(_metadata, st, &b, !(nr % 32));
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

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
