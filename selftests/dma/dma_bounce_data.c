// SPDX-License-Identifier: GPL-2.0
/*
 * Bounce pages for devices that are not trusted: what the CPU and the device
 * write to a buffer arrives, and nothing else is written to
 *
 * The program keeps account of what each byte should be for the CPU and for the
 * device, and compares. It does what a driver may do, and expects what a driver
 * may rely on, whether the byte is bounced or not:
 *
 * - A byte belongs to the device or to the CPU. A map and a sync for the device
 *   give it to the device, an unmap and a sync for the CPU to the CPU.
 *   DMA_ATTR_SKIP_CPU_SYNC leaves it where it is.
 * - Only the owner writes to it, and the CPU only if the device may read it. What
 *   the CPU has written is given to the device before an unmap, or else it is
 *   unmapped with DMA_ATTR_SKIP_CPU_SYNC.
 * - The owner finds what the other has left. What nobody has written to stays.
 * - What is beside the buffer is the CPU's at all times.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_BOUNCE_SEED: start of the random numbers
 * DMA_BOUNCE_SOAK: rounds of each soak test, 40 if not set
 */

#include "dma_bounce_util.h"

#define DEF_ROUNDS	40
#define OPS		12

/* Of buffers that are bounced as a whole: dma_max_mapping_size() */
#define OLD_MAX_SIZE	KB(252)

/* ------------------------------------------------------------------ the model */

enum owner {
	OWN_DEVICE,
	OWN_CPU,
	OWN_CPU_DIRTY,	/* and written to since */
};

/* @dev: what the device finds. @own: enum owner. Both by position. */
struct model {
	struct bounce_state *st;
	struct buffer *b;
	__u8 *dev;
	__u8 *own;
	__u8 *tmp;
};

static bool dev_reads(const struct model *m)
{
	return m->b->m.req.dir != DMA_EDU_FROM_DEVICE;
}

static bool dev_writes(const struct model *m)
{
	return m->b->m.req.dir != DMA_EDU_TO_DEVICE;
}

static bool can_sync(const struct model *m)
{
	return m->b->m.req.path != DMA_EDU_IOVA;
}

static bool syncs_all(const struct model *m)
{
	return m->b->m.req.path == DMA_EDU_SG;
}

/* Place of a byte of the buffer */
static __u8 *cpu_at(const struct model *m, __u64 pos)
{
	__u64 iova, place;

	buffer_piece(m->b, pos, 1, &iova, &place);
	return m->b->image + place;
}

static void model_exit(struct model *m)
{
	free(m->dev);
	free(m->own);
	free(m->tmp);
}

/* For a buffer that was just mapped. */
static int model_init(struct model *m, struct bounce_state *st,
		      struct buffer *b)
{
	__u64 pos;

	m->st = st;
	m->b = b;
	m->dev = malloc(b->size);
	m->own = malloc(b->size);
	m->tmp = malloc(b->size);
	if (!m->dev || !m->own || !m->tmp) {
		model_exit(m);
		return -ENOMEM;
	}
	for (pos = 0; pos < b->size; pos++)
		m->dev[pos] = *cpu_at(m, pos);
	memset(m->own, b->m.req.flags & DMA_EDU_MAP_SKIP_SYNC ?
	       OWN_CPU : OWN_DEVICE, b->size);
	return 0;
}

static bool is_cpus(const struct model *m, __u64 pos)
{
	return m->own[pos] != OWN_DEVICE;
}

/* From @pos on, how many of @len bytes are the CPU's, or the device's */
static __u64 run_of(const struct model *m, __u64 pos, __u64 len, bool cpu)
{
	__u64 i = 0;

	while (i < len && is_cpus(m, pos + i) == cpu)
		i++;
	return i;
}

static bool has_dirty(const struct model *m)
{
	return memchr(m->own, OWN_CPU_DIRTY, m->b->size);
}

/* -------------------------------------------------- what is done to a buffer */

/* The device writes a part of its memory to bytes that are its own. */
static int op_device_write(struct model *m, __u64 pos, __u64 len)
{
	__u32 from;
	__u64 iova, place, n;
	int ret = 0;

	len = min_u64(len, DMA_EDU_MEM_SIZE);
	from = rand_below(DMA_EDU_MEM_SIZE - len + 1);
	for (; len && !ret; pos += n, from += n, len -= n) {
		n = buffer_piece(m->b, pos, len, &iova, &place);
		ret = edu_xfer(m->st->fd, iova, from, n, DMA_EDU_XFER_WRITE);
		memcpy(m->dev + pos, device_memory + from, n);
	}
	return ret;
}

/* It reads bytes of its own. EBADMSG: not what it should be. */
static int op_device_read(struct model *m, __u64 pos, __u64 len)
{
	__u64 iova, place, n, done;
	int ret = 0;

	len = min_u64(len, DMA_EDU_MEM_SIZE);
	for (done = 0; done < len && !ret; done += n) {
		n = buffer_piece(m->b, pos + done, len - done, &iova, &place);
		ret = edu_xfer(m->st->fd, iova, done, n, 0);
	}
	ret = ret ?: device_fetch(m->st, len);
	if (!ret && memcmp(device_memory, m->dev + pos, len)) {
		for (n = 0; device_memory[n] == m->dev[pos + n]; n++)
			;
		ksft_print_msg("the device reads at %#llx: %#x, not %#x\n",
			       pos + n, device_memory[n], m->dev[pos + n]);
		ret = -EBADMSG;
	}
	return ret;
}

/* The CPU writes to bytes of its own. */
static int op_cpu_write(struct model *m, __u64 pos, __u64 len)
{
	__u64 iova, place, n;
	int ret = 0;

	memset(m->own + pos, OWN_CPU_DIRTY, len);
	for (; len && !ret; pos += n, len -= n) {
		n = buffer_piece(m->b, pos, len, &iova, &place);
		rand_fill(m->b->image + place, n);
		ret = image_peek(m->st->fd, m->b, place, m->b->image + place,
				 n, DMA_EDU_WRITE);
	}
	return ret;
}

/* The CPU writes beside the buffer: anybody may, at any time. */
static int op_neighbour_write(struct model *m)
{
	const struct part *e = &m->b->entries[rand_below(m->b->nr_entries)];
	__u64 end = e->at + e->len, place, len;

	if (rand_below(2)) {
		len = min_u64(e->at % m->st->granule, 1 + rand_below(64));
		place = e->at - len;
	} else {
		place = end;
		len = align_up(end, m->st->granule) - end;
		len = min_u64(len, m->b->image_size - end);
		len = min_u64(len, 1 + rand_below(64));
	}
	if (!len)
		return 0;
	rand_fill(m->b->image + place, len);
	return image_peek(m->st->fd, m->b, place, m->b->image + place, len,
			  DMA_EDU_WRITE);
}

static int op_sync_cpu(struct model *m, __u64 pos, __u64 len)
{
	__u64 iova, place, n;
	int ret;

	ret = edu_sync(m->st->fd, m->b->m.req.handle, pos, len,
		       DMA_EDU_SYNC_CPU);
	if (ret)
		return ret;
	memset(m->own + pos, OWN_CPU, len);
	for (; len; pos += n, len -= n) {
		n = buffer_piece(m->b, pos, len, &iova, &place);
		if (dev_writes(m))
			memcpy(m->b->image + place, m->dev + pos, n);
		if (image_differs(m->st->fd, m->b, place, place + n) !=
		    place + n)
			return -EBADMSG;
	}
	return 0;
}

/* More often than not the device looks at an end of what it was given. */
static int op_sync_device(struct model *m, __u64 pos, __u64 len)
{
	__u64 n = min_u64(len, 1 + rand_below(64)), i;
	int ret;

	memset(m->own + pos, OWN_DEVICE, len);
	for (i = pos; i < pos + len; i++)
		m->dev[i] = *cpu_at(m, i);
	ret = edu_sync(m->st->fd, m->b->m.req.handle, pos, len,
		       DMA_EDU_SYNC_DEVICE);
	if (!ret && dev_reads(m) && rand_below(3))
		ret = op_device_read(m, rand_below(3) ? pos + len - n : pos, n);
	return ret;
}

/* The same for all bytes that are the other's. */
static int sync_all(struct model *m, bool for_cpu)
{
	__u64 pos, n;
	int ret = 0;

	if (syncs_all(m)) {
		if (!run_of(m, 0, 1, !for_cpu))
			return 0;
		return for_cpu ? op_sync_cpu(m, 0, m->b->size) :
				 op_sync_device(m, 0, m->b->size);
	}
	for (pos = 0; pos < m->b->size && !ret; pos += n) {
		n = run_of(m, pos, m->b->size - pos, for_cpu);
		if (n)
			continue;
		n = run_of(m, pos, m->b->size - pos, !for_cpu);
		ret = for_cpu ? op_sync_cpu(m, pos, n) :
				op_sync_device(m, pos, n);
	}
	return ret;
}

/*
 * A byte to begin with, and how many: more often than not about the ends of the
 * buffer, the first and last border of IOMMU pages, and those of entries.
 */
static void choose(const struct model *m, __u64 *pos, __u64 *len)
{
	const struct buffer *b = m->b;
	const struct part *e = &b->entries[rand_below(b->nr_entries)];
	__u64 granule = m->st->granule, spot;
	__u64 back = rand_below(4) ? rand_below(48) : rand_below(granule);

	switch (rand_below(5)) {
	case 0:
		spot = e->pos;
		break;
	case 1:
		spot = e->pos + align_up(e->at, granule) - e->at;
		break;
	case 2:
		spot = e->pos + e->len - (e->at + e->len) % granule;
		break;
	case 3:
		spot = e->pos + e->len;
		break;
	default:
		spot = rand_below(b->size);
		break;
	}
	*pos = spot > back ? spot - back : 0;
	if (*pos >= b->size)
		*pos = b->size - 1;
	*len = 1ULL << rand_below(20);
	*len = 1 + rand_below(2 * *len);
	*len = min_u64(*len, b->size - *pos);
}

/* One thing that a driver or a device may do, unless there is nothing to do. */
static int op_random(struct model *m)
{
	__u64 pos, len;
	bool cpu;

	if (!rand_below(8))
		return op_neighbour_write(m);
	choose(m, &pos, &len);
	cpu = is_cpus(m, pos);
	len = run_of(m, pos, len, cpu);

	if (can_sync(m) && !rand_below(3)) {
		if (syncs_all(m))
			pos = 0, len = m->b->size;
		return cpu ? op_sync_device(m, pos, len) :
			     op_sync_cpu(m, pos, len);
	}
	if (cpu)
		return dev_reads(m) ? op_cpu_write(m, pos, len) : 0;
	if (dev_writes(m) && (!dev_reads(m) || rand_below(2)))
		return op_device_write(m, pos, len);
	return dev_reads(m) ? op_device_read(m, pos, len) : 0;
}

/*
 * Unmap, and compare all. Without a sync what the device wrote last may be lost,
 * and what the CPU wrote must not be.
 */
static int finish(struct model *m)
{
	bool skip = can_sync(m) && rand_below(2);
	__u64 pos;
	int ret = 0;

	if (skip)
		ret = sync_all(m, true);
	else if (has_dirty(m))
		ret = sync_all(m, false);
	if (!ret && skip && dev_reads(m) && rand_below(2))
		ret = op_cpu_write(m, 0, m->b->size);
	ret = ret ?: buffer_unmap(m->st, m->b,
				  skip ? DMA_EDU_UNMAP_SKIP_SYNC : 0);
	if (ret)
		return ret;
	if (!skip && dev_writes(m))
		for (pos = 0; pos < m->b->size; pos++)
			if (m->own[pos] == OWN_DEVICE)
				*cpu_at(m, pos) = m->dev[pos];
	return image_is_right(m->st->fd, m->b) ? 0 : -EBADMSG;
}

/* All that happens to one buffer that was just mapped, up to its end */
static int work(struct bounce_state *st, struct buffer *b, int ops)
{
	struct model m;
	int ret;

	ret = model_init(&m, st, b);
	if (ret)
		return ret;
	if (b->m.req.flags & DMA_EDU_MAP_SKIP_SYNC && rand_below(4))
		ret = sync_all(&m, false);
	while (ops-- && !ret)
		ret = op_random(&m);
	if (!ret && !beside_is_right(st->fd, b))
		ret = -EBADMSG;
	if (!ret && !dev_writes(&m) && !image_is_right(st->fd, b))
		ret = -EBADMSG;
	ret = ret ?: finish(&m);
	model_exit(&m);
	return buffer_release(st, b) ?: ret;
}

/* ---------------------------------------------------------------------- tests */

FIXTURE(data)
{
	struct bounce_state st;
	__u64 max_size;
};

FIXTURE_VARIANT(data)
{
	bool bounces;
	const char *type;
};

FIXTURE_VARIANT_ADD(data, bounced)
{
	.bounces = true,
	.type = "DMA",
};

FIXTURE_VARIANT_ADD(data, bounced_lazy)
{
	.bounces = true,
	.type = "DMA-FQ",
};

FIXTURE_VARIANT_ADD(data, in_place)
{
	.bounces = false,
	.type = "DMA",
};

FIXTURE_SETUP(data)
{
	__u8 memory[DMA_EDU_MEM_SIZE];
	const char *skip;

	ASSERT_EQ(0, state_init(&self->st, variant->bounces, variant->type,
				&skip));
	if (skip)
		SKIP(return, "%s", skip);
	self->max_size = self->st.bounces && !self->st.exact ?
			 OLD_MAX_SIZE : DMA_EDU_MAX_SIZE;
	rand_state = env_ulong("DMA_BOUNCE_SEED", DEF_SEED) ?: 1;
	ksft_print_msg("DMA_BOUNCE_SEED=%#llx\n", rand_state);
	rand_fill(memory, sizeof(memory));
	ASSERT_EQ(0, device_fill(&self->st, memory));
}

FIXTURE_TEARDOWN(data)
{
	if (self->st.fd < 0)
		return;
	/* Nothing is left behind, and the kernel did not complain. */
	EXPECT_EQ(self->st.used, slots_used());
	EXPECT_TRUE(log_is_clean(&self->st));
	state_exit(&self->st);
}

static __u32 rand_flags(const struct map_kind *kind)
{
	if (kind->path == DMA_EDU_IOVA || rand_below(4))
		return DMA_EDU_MAP_PATTERN;
	return DMA_EDU_MAP_PATTERN | DMA_EDU_MAP_SKIP_SYNC;
}

static void one_buffer(struct __test_metadata *_metadata,
		       struct bounce_state *st, const struct map_kind *kind,
		       __u32 offset, __u64 size, __u32 dir, int ops)
{
	__u32 flags = rand_flags(kind);
	__u64 seed = rand_state;
	struct buffer b;

	ASSERT_EQ(0, buffer_map(st, &b, kind, offset, size, dir, flags,
				rand_below(256))) {
		TH_LOG("%s, %s, offset %u, %llu bytes", kind->name,
		       dir_names[dir], offset, size);
	}
	ASSERT_EQ(0, work(st, &b, ops)) {
		TH_LOG("%s, %s, flags %#x, offset %u, %llu bytes, seed %#llx",
		       kind->name, dir_names[dir], flags, offset, size, seed);
	}
}

/* Every class of offset and length; paths and directions take turns. */
TEST_F_TIMEOUT(data, every_offset_and_length, 1800)
{
	struct bounce_state *st = &self->st;
	__u64 granule = st->granule;
	const __u32 offsets[] = {
		0, 1, 512, 2047, 2048, 2049, getpagesize() - 1,
	};
	const __u64 sizes[] = {
		1, 2, 63, granule - 1, granule, granule + 1, 2 * granule - 1,
		2 * granule, 2 * granule + 1, 3 * granule + 7, KB(64) + 512,
		KB(256) + 512, MB(1) + 1, MB(3) + 5, MB(4),
	};
	const struct map_kind *kind;
	size_t o, s;
	int nr = 0;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (o = 0; o < ARRAY_SIZE(offsets); o++, nr++) {
			__u64 size = min_u64(sizes[s],
					     DMA_EDU_MAX_SIZE - offsets[o]);

			kind = kind_named(kind_names[nr % st->nr_kinds]);
			/* Lists of so many entries are for the soak test. */
			if (size > MB(1) && nr % 3)
				kind = kind_named("single");
			one_buffer(_metadata, st, kind, offsets[o],
				   min_u64(size, self->max_size),
				   rand_below(DMA_EDU_NR_DIRS), 8);
		}
	}
	ksft_print_msg("%d buffers\n", nr);
}

/* Any offset and length */
TEST_F_TIMEOUT(data, soak, 3600)
{
	unsigned long rounds = env_ulong("DMA_BOUNCE_SOAK", DEF_ROUNDS);
	struct bounce_state *st = &self->st;
	const struct map_kind *kind;
	unsigned long i;
	__u32 offset;
	__u64 size;

	for (i = 0; i < rounds; i++) {
		kind = kind_named(kind_names[rand_below(st->nr_kinds)]);
		offset = rand_below(2) ? rand_below(getpagesize()) : 0;
		size = 1ULL << rand_below(22);
		size += rand_below(2) ? rand_below(size) : 0;
		size = min_u64(size, DMA_EDU_MAX_SIZE - offset);
		one_buffer(_metadata, st, kind, offset,
			   min_u64(size, self->max_size),
			   rand_below(DMA_EDU_NR_DIRS), OPS);
	}
}

#define MAX_ENTRIES	24

/* Offset and length of each entry, with or without something to share a page */
static unsigned int rand_entries(struct dma_edu_entry *entries, __u64 granule)
{
	unsigned int nr = 1 + rand_below(MAX_ENTRIES), i;
	__u64 page = getpagesize();

	for (i = 0; i < nr; i++) {
		struct dma_edu_entry *e = &entries[i];

		e->offset = rand_below(2) ? rand_below(page) : 0;
		if (!rand_below(8))
			e->offset += page * rand_below(4);
		switch (rand_below(5)) {
		case 0:
			e->len = 1 + rand_below(64);
			break;
		case 1:
			e->len = align_up(e->offset + 1, granule) - e->offset;
			break;
		case 2:
			e->len = granule * (1 + rand_below(3));
			break;
		case 3:
			e->len = 1 + rand_below(16 * granule);
			break;
		default:
			e->len = align_up(e->offset + 1, granule) - e->offset +
				 granule * rand_below(3);
			break;
		}
	}
	return nr;
}

/* Scatterlists of entries with any offset and length */
TEST_F_TIMEOUT(data, lists_of_any_entries, 3600)
{
	unsigned long rounds = env_ulong("DMA_BOUNCE_SOAK", DEF_ROUNDS);
	struct dma_edu_entry entries[MAX_ENTRIES];
	struct bounce_state *st = &self->st;
	unsigned long i, merged = 0;
	unsigned int nr;
	struct buffer b;

	for (i = 0; i < rounds; i++) {
		__u32 dir = rand_below(DMA_EDU_NR_DIRS);
		__u32 flags = rand_flags(kind_named("sg"));
		__u64 seed = rand_state;

		nr = rand_entries(entries, st->granule);
		ASSERT_EQ(0, buffer_map_list(st, &b, entries, nr, dir, flags,
					     rand_below(256))) {
			TH_LOG("%u entries, seed %#llx", nr, seed);
		}
		merged += b.nr_segs < nr;
		ASSERT_EQ(0, work(st, &b, OPS)) {
			TH_LOG("%u entries, %s, flags %#x, seed %#llx", nr,
			       dir_names[dir], flags, seed);
		}
	}
	ksft_print_msg("%lu of %lu lists have segments of several entries\n",
		       merged, rounds);
}

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
