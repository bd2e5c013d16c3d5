/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What programs that have a device write beside its buffers have in common: reports of
 * canaries, and a model of what they are to tell
 */
#ifndef _SELFTESTS_DMA_CANARY_UTIL_H
#define _SELFTESTS_DMA_CANARY_UTIL_H

#include "dma_bounce_util.h"

/* The kernel reports so many in so long a time. */
#define BURST		5
#define BURST_MS	10100

/* The farthest that a device goes too far */
#define MAX_BESIDE	5000

/* Taken from a report */
struct canary_report {
	__u64 distance;
	bool before;
	__u64 mapped;
	__u64 addr;
};

/* Whether a line is the first one of a report of a canary of the device */
static inline bool canary_report_parse(const char *line, struct canary_report *r)
{
	unsigned long long distance, mapped, addr;
	char head[128], side[8];

	snprintf(head, sizeof(head), "BUG: DMA: out-of-bounds write by dma_edu %s: ",
		 edu_name);
	if (strncmp(line, head, strlen(head)) ||
	    sscanf(line + strlen(head),
		   "%llu bytes %7s the %llu-byte buffer mapped at IOVA 0x%llx",
		   &distance, side, &mapped, &addr) != 4)
		return false;
	r->distance = distance;
	r->before = !strcmp(side, "before");
	r->mapped = mapped;
	r->addr = addr;
	return true;
}

/* Have room for reports in what the kernel prints of a device. */
static inline void make_room(int nr)
{
	static int printed = BURST;

	if (printed + nr > BURST) {
		sleep_ms(BURST_MS);
		printed = 0;
	}
	printed += nr;
}

/* The device writes to a range that may be longer than its memory. */
static inline int device_write(struct bounce_state *st, __u64 iova, __u64 len)
{
	__u64 n;
	int ret = 0;

	for (; len && !ret; iova += n, len -= n) {
		n = min_u64(len, DMA_EDU_MEM_SIZE);
		ret = edu_xfer(st->fd, iova, 0, n, DMA_EDU_XFER_WRITE);
	}
	return ret;
}

/* What an IOMMU page holds beside an end of an entry */
struct pad {
	__u64 iova;
	__u64 len;
	bool before;
};

/* Returns how many there are of the entry. */
static inline int find_pads(const struct buffer *b, unsigned int entry,
			    __u64 granule, struct pad *pads)
{
	const struct part *e = &b->entries[entry];
	__u64 iova, place;
	int nr = 0;

	buffer_piece(b, e->pos, 1, &iova, &place);
	if (iova % granule)
		pads[nr++] = (struct pad){ iova - iova % granule,
					   iova % granule, true };
	buffer_piece(b, e->pos + e->len - 1, 1, &iova, &place);
	iova++;
	if (iova % granule)
		pads[nr++] = (struct pad){ iova, granule - iova % granule,
					   false };
	return nr;
}

#define MAX_ENTRIES	4

/* What of a pad is overwritten, by its distance from the buffer; 0: nothing */
struct hit {
	struct pad pad;
	__u64 distance;
};

static inline void hit_range(struct hit *hits, int nr, __u64 iova, __u64 len)
{
	int i;

	for (i = 0; i < nr; i++) {
		const struct pad *p = &hits[i].pad;
		__u64 from = iova > p->iova ? iova : p->iova;
		__u64 to = min_u64(iova + len, p->iova + p->len);
		__u64 distance;

		if (from >= to)
			continue;
		distance = p->before ? p->iova + p->len - from : to - p->iova;
		if (distance > hits[i].distance)
			hits[i].distance = distance;
	}
}

static inline int nr_hits(const struct hit *hits, int nr)
{
	int hit = 0;

	while (nr--)
		hit += !!hits[nr].distance;
	return hit;
}

/* A buffer of any kind that has pads */
static inline int random_map(struct bounce_state *st, struct buffer *b,
			     __u32 dir)
{
	struct dma_edu_entry entries[MAX_ENTRIES];
	__u32 page = getpagesize();
	__u64 size = 1 + rand_below(rand_below(2) ? 3 * st->granule : 300);
	unsigned int i, nr;

	if (rand_below(3))
		return buffer_map(st, b,
				  kind_named(kind_names[rand_below(NR_BOUNCE_KINDS)]),
				  rand_below(page), size + 1, dir, 0, FILL);
	nr = 1 + rand_below(MAX_ENTRIES);
	for (i = 0; i < nr; i++) {
		entries[i].offset = rand_below(page);
		entries[i].len = 1 + rand_below(rand_below(2) ? 2 * page : 300);
	}
	return buffer_map_list(st, b, entries, nr, dir, 0, FILL);
}

/* Take off what a report tells. False if it is none that there should be. */
static inline bool take_hit(struct hit *hits, int nr,
			    const struct canary_report *r)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (!hits[i].distance || hits[i].distance != r->distance ||
		    hits[i].pad.before != r->before)
			continue;
		hits[i].distance = 0;
		return true;
	}
	return false;
}

#endif /* _SELFTESTS_DMA_CANARY_UTIL_H */
