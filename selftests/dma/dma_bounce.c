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
 * The pads of all entries of a buffer. What the image does not hold, where the
 * IOMMU has larger pages than the CPU, is left out.
 */
static int find_pads(const struct buffer *b, __u64 granule, struct pad *pads)
{
	unsigned int i;
	int nr = 0;

	for (i = 0; i < b->nr_entries && nr <= MAX_PADS - 2; i++) {
		const struct part *e = &b->entries[i];
		__u64 end = e->at + e->len, iova, place, len;

		len = e->at % granule;
		if (len) {
			buffer_piece(b, e->pos, 1, &iova, &place);
			pads[nr++] = (struct pad){ iova - len, place - len, len,
						   e->pos, true };
		}
		len = align_up(end, granule) - end;
		if (len > b->image_size - end)
			len = b->image_size - end;
		if (len) {
			buffer_piece(b, e->pos + e->len - 1, 1, &iova, &place);
			pads[nr++] = (struct pad){ iova + 1, place + 1, len,
						   e->pos + e->len - 1, false };
		}
	}
	return nr;
}

/* Bytes of the buffer that a transfer takes in together with a pad */
#define INSIDE	16

/* Up to INSIDE bytes of the entry that a pad belongs to, next to it */
static __u32 pad_inside(const struct buffer *b, const struct pad *p)
{
	const struct part *e = part_of(b->entries, b->nr_entries, p->inside);
	__u64 iova, place;

	if (p->head)
		return buffer_piece(b, p->inside,
				    e->len < INSIDE ? e->len : INSIDE, &iova,
				    &place);
	return e->len < INSIDE ? e->len : INSIDE;
}

/*
 * The device reads each pad and, if it @may_read, a few bytes of the buffer with
 * it. @leaks: it gets what is there, or else zeros.
 */
static int attack_read(struct reads *r, const struct buffer *b,
		       const struct pad *pads, int nr, bool may_read,
		       bool leaks)
{
	__u8 want[INSIDE];
	int i, ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		const struct pad *p = &pads[i];
		__u64 place = p->head ? p->place + p->len : p->place;
		__u32 inside = may_read ? pad_inside(b, p) : 0;

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
		__u32 in = pad_inside(b, &pads[i]);

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

	if (dir == DMA_EDU_FROM_DEVICE) {
		/* Whether it may read at all is for the IOMMU to say. */
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

static void describe(const struct buffer *b, __u32 offset, __u64 size)
{
	ksft_print_msg("%s, %s, offset %u, %llu bytes\n", b->m.kind->name,
		       dir_names[b->m.req.dir], offset, size);
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
	int o, s, k, dir, nr = 0;
	struct buffer b;
	long long start = now_ms();

	for (o = 0; o < NR_OFFSETS; o++) {
		for (s = 0; s < NR_SIZES; s++) {
			for (k = 0; k < NR_BOUNCE_KINDS * DMA_EDU_NR_DIRS; k++) {
				int nth = o * NR_SIZES + s;

				dir = k / NR_BOUNCE_KINDS;
				if (!all && k % NR_BOUNCE_KINDS !=
				    (nth + dir) % NR_BOUNCE_KINDS)
					continue;
				if (!all && ((dir && nth % 2 != dir % 2) ||
					     (!st->bounces && nth % 5)))
					continue;
				ASSERT_EQ(0, buffer_map(st, &b,
							kind_named(kind_names[k % NR_BOUNCE_KINDS]),
							offsets[o], sizes[s], dir,
							DMA_EDU_MAP_PATTERN, FILL)) {
					TH_LOG("%s, offset %u, %llu bytes",
					       kind_names[k % NR_BOUNCE_KINDS],
					       offsets[o], sizes[s]);
				}
				attack_one(_metadata, st, &b, !(nr % 32));
				if (!__test_passed(_metadata))
					describe(&b, offsets[o], sizes[s]);
				ASSERT_EQ(0, buffer_release(st, &b));
				ASSERT_TRUE(__test_passed(_metadata));
				nr++;
			}
		}
	}
	ksft_print_msg("%d buffers in %lld ms\n", nr, now_ms() - start);
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(log_is_clean(st));
}

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
