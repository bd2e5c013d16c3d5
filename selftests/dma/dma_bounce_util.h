/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs of dma_bounce.sh have in common: the policy of the group,
 * the counters, buffers of which every byte is known to the program, and the
 * memory in the device.
 *
 * Words used throughout: the image of a buffer is all memory of its blocks, one
 * after the other, with what is beside the buffer. A pad is what an IOMMU page
 * that a buffer shares holds besides. A byte of the buffer goes by its position,
 * 0 to size - 1, a byte of the image by its place.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_BOUNCE_UTIL_H
#define _SELFTESTS_DMA_BOUNCE_UTIL_H

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/util.h"

#define BOUNCE_STATS	"/sys/kernel/debug/iommu_dma_bounce/stats"
#define SWIOTLB_DEBUG	"/sys/kernel/debug/swiotlb"
#define PAGEALLOC_STATS	"/sys/kernel/debug/iommu_debug_pagealloc/stats"

/* Of the pool of bounce pages: IO_TLB_SIZE. */
#define SLOT_SIZE	2048

/* Twice the largest ARCH_DMA_MINALIGN: no longer buffer shares a cache line. */
#define MAX_SHARED	256

#define MASK_BITS	32

/* What fills pads, and so the complement of what the buffers are filled with */
#define SECRET		0x53
#define FILL		0xac
/* What the device writes if nothing else is said */
#define DEVICE		0xd7

/* --------------------------------------------------------- random numbers */

#define DEF_SEED	0x9e3779b97f4a7c15ULL

static __u64 rand_state = DEF_SEED;

static inline __u64 rand_u64(void)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return rand_state;
}

static inline __u64 rand_below(__u64 limit)
{
	return (rand_u64() >> 16) % limit;
}

static inline void rand_fill(__u8 *data, size_t len)
{
	while (len--)
		*data++ = rand_u64() >> 32;
}

static inline unsigned long env_ulong(const char *name, unsigned long def)
{
	const char *val = getenv(name);

	return val && *val ? strtoul(val, NULL, 0) : def;
}

/* ------------------------------------------------------------- the counters */

struct bounce_stats {
	long mappings;
	long partial_pages;
	long bytes_copied;
	long failures;
};

static inline int stats_read(struct bounce_stats *st)
{
	char buf[256];
	int ret = file_read(BOUNCE_STATS, buf, sizeof(buf));

	if (ret)
		return ret;
	if (sscanf(buf, "mappings %ld partial_pages %ld bytes_copied %ld failures %ld",
		   &st->mappings, &st->partial_pages, &st->bytes_copied,
		   &st->failures) != 4)
		return -EPROTO;
	return 0;
}

/* A number from a file that has nothing else, or a negative errno. */
static inline long file_long(const char *path)
{
	char buf[32];
	int ret = file_read(path, buf, sizeof(buf));

	return ret ?: strtol(buf, NULL, 10);
}

/* Slots of all pools that are in use; ENOENT: a kernel that has no file for it. */
static inline long slots_used(void)
{
	return file_long(SWIOTLB_DEBUG "/io_tlb_used");
}

/* IOMMU pages mapped, as the sanitizer counts them, or a negative errno. */
static inline long pages_mapped(void)
{
	char buf[256];
	const char *line;
	int ret = file_read(PAGEALLOC_STATS, buf, sizeof(buf));

	if (ret)
		return ret;
	line = strstr(buf, "mapped ");
	return line ? strtol(line + strlen("mapped "), NULL, 10) : -EPROTO;
}

/* ---------------------------------------------------------------- the policy */

static inline int policy_read(char *buf, size_t size)
{
	return edu_group_read(edu_name, "dma_bounce", buf, size);
}

static inline bool policy_is(const char *policy)
{
	char now[32];

	return !policy_read(now, sizeof(now)) && !strcmp(now, policy);
}

/* Ends with the driver bound. */
static inline int policy_set(const char *policy)
{
	int ret;

	if (policy_is(policy))
		return edu_bind(edu_name);
	ret = edu_unbind(edu_name) ?:
	      edu_group_write(edu_name, "dma_bounce", policy);
	return edu_bind(edu_name) ?: ret;
}

static inline bool edu_untrusted(void)
{
	struct dma_edu_info info;
	int fd = edu_open(edu_name);
	bool ret;

	if (fd < 0)
		return false;
	ret = !edu_info(fd, &info) && info.flags & DMA_EDU_INFO_UNTRUSTED;
	close(fd);
	return ret;
}

/* --------------------------------------------------------- kinds of mappings */

/* By this the tests name a kind of mapping. */
static inline const struct map_kind *kind_named(const char *name)
{
	int i;

	for (i = 0; i < NR_KINDS; i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

static const char * const kind_names[] = {
	"single", "page", "sg", "iova", "iova unlink", "iova partial",
	"iova partial unlink",
};

#define NR_BOUNCE_KINDS	((int)ARRAY_SIZE(kind_names))

/* Those that a kernel gets right which bounces whole buffers */
#define NR_OLD_KINDS	3

static const char * const dir_names[] = {
	"bidirectional", "to device", "from device",
};

/* ---------------------------------------------------- the state of a test */

/*
 * @bounces: the device never sees a pad. @exact: only partial pages bounce, and
 * they are counted; false on a kernel that bounces whole buffers, if they are
 * not too long. @nr_kinds: of kind_names, to test. @boundary_bits: of the lists that
 * are mapped, as in struct dma_edu_list.
 */
struct bounce_state {
	int fd;
	int kmsg;
	int kmsg_all;
	bool bounces;
	bool exact;
	int nr_kinds;
	__u32 boundary_bits;
	__u64 granule;
	long used;
	struct dma_edu_info info;
};

static inline void state_exit(struct bounce_state *st)
{
	fd_close(&st->fd);
	fd_close(&st->kmsg);
	fd_close(&st->kmsg_all);
}

#define NO_MEMORY_TO_BOUNCE \
	"no memory for bounce pages, nor SWIOTLB_DYNAMIC: boot with swiotlb=force"

/*
 * A machine whose memory all devices reach has no pool from boot, and a kernel
 * without SWIOTLB_DYNAMIC none later. A pool that gives nothing is a failure.
 */
static inline bool no_memory_to_bounce(const struct bounce_state *st)
{
	struct mapping m;
	int ret;

	if (file_long(SWIOTLB_DEBUG "/io_tlb_nslabs") > 0)
		return false;
	ret = kind_map(st->fd, &m, kind_named("single"), MAX_SHARED,
		       MAX_SHARED, DMA_EDU_BIDIRECTIONAL, MASK_BITS,
		       DMA_EDU_MAP_NO_WARN, FILL);
	if (!ret)
		kind_unmap(st->fd, &m);
	return ret == -ENOSPC;
}

/*
 * Have the device bounce, or not, in a domain of the type given. @skip: why that
 * cannot be had, and nothing is open, or NULL.
 */
static inline int state_init(struct bounce_state *st, bool bounces,
			     const char *type, const char **skip)
{
	bool untrusted = edu_untrusted();
	struct group_state group;
	char policy[32];
	int ret;

	memset(st, 0, sizeof(*st));
	st->fd = -1;
	st->kmsg = -1;
	st->kmsg_all = -1;
	st->bounces = bounces;
	*skip = NULL;

	ret = policy_read(policy, sizeof(policy));
	if (ret && ret != -ENOENT)
		return ret;
	st->exact = !ret;
	if (!st->exact && untrusted != bounces)
		*skip = "kernel without partial bounce pages";
	if (untrusted && strcmp(type, "DMA"))
		*skip = "lazy mode is not for an untrusted device";
	if (*skip)
		return 0;

	ret = group_save(&group) ?: group_set(type, group.guard_kb);
	if (!ret && st->exact)
		ret = policy_set(!bounces ? "off" :
				 untrusted ? "untrusted" : "all");
	if (bounces && ret == -ENOMEM) {
		*skip = NO_MEMORY_TO_BOUNCE;
		return 0;
	}
	if (ret)
		return ret;

	st->fd = edu_open(edu_name);
	st->kmsg = kmsg_open();
	st->kmsg_all = kmsg_open();
	ret = st->fd < 0 ? st->fd : st->kmsg < 0 ? st->kmsg :
	      st->kmsg_all < 0 ? st->kmsg_all : edu_info(st->fd, &st->info);
	if (ret) {
		state_exit(st);
		return ret;
	}
	if (!strcmp(type, "DMA-FQ") && st->info.domain != DMA_EDU_DOMAIN_DMA_FQ)
		*skip = "the IOMMU has no lazy mode";
	st->nr_kinds = bounces && !st->exact ? NR_OLD_KINDS : NR_BOUNCE_KINDS;
	st->granule = st->info.granule;
	st->used = slots_used();
	if (bounces && st->exact && no_memory_to_bounce(st))
		*skip = NO_MEMORY_TO_BOUNCE;
	if (*skip)
		state_exit(st);
	return 0;
}

/* No complaint of the kernel about itself since state_init(). */
static inline bool log_is_clean(struct bounce_state *st)
{
	return kmsg_is_clean(st->kmsg_all);
}

/* ------------------------------------------------------------------- buffers */

/* @pos: of its first byte. @at: place of that (entries), or IOVA (segments). */
struct part {
	__u64 pos;
	__u64 at;
	__u64 len;
};

/**
 * struct buffer - a buffer, what its memory holds, and where the device sees it
 * @m: the mapping
 * @size: bytes that the device can see, which are not all of a partial link
 * @block: bytes of each block, or of all if they follow each other
 * @image_size: bytes of all blocks
 * @image: what they should hold
 * @entries: parts that are in one piece for the CPU, in order
 * @nr_entries: how many
 * @segs: parts that are in one piece for the device, in order
 * @nr_segs: how many
 */
struct buffer {
	struct mapping m;
	__u64 size;
	__u64 block;
	__u64 image_size;
	__u8 *image;
	struct part *entries;
	unsigned int nr_entries;
	struct part *segs;
	unsigned int nr_segs;
};

/* The part that holds byte @pos of the buffer. */
static inline const struct part *part_of(const struct part *parts,
					 unsigned int nr, __u64 pos)
{
	unsigned int lo = 0, hi = nr, mid;

	while (hi - lo > 1) {
		mid = (lo + hi) / 2;
		if (parts[mid].pos <= pos)
			lo = mid;
		else
			hi = mid;
	}
	return &parts[lo];
}

/*
 * How many of @len bytes from @pos on are in one piece, for the device at @iova
 * and for the CPU at @place.
 */
static inline __u64 buffer_piece(const struct buffer *b, __u64 pos, __u64 len,
				 __u64 *iova, __u64 *place)
{
	const struct part *e = part_of(b->entries, b->nr_entries, pos);
	const struct part *s = part_of(b->segs, b->nr_segs, pos);

	*iova = s->at + pos - s->pos;
	*place = e->at + pos - e->pos;
	if (len > e->pos + e->len - pos)
		len = e->pos + e->len - pos;
	if (len > s->pos + s->len - pos)
		len = s->pos + s->len - pos;
	return len;
}

static inline bool is_list(const struct buffer *b)
{
	return b->m.req.path == DMA_EDU_SG || b->m.req.path == DMA_EDU_IOVA;
}

/* Read or write the image from a place on. */
static inline int image_peek(int fd, const struct buffer *b, __u64 place,
			     __u8 *data, __u64 len, __u32 flags)
{
	__u64 n;
	int ret = 0;

	for (; len && !ret; place += n, data += n, len -= n) {
		n = b->block - place % b->block;
		if (n > len)
			n = len;
		ret = edu_peek(fd, b->m.req.handle, place / b->block,
			       place % b->block, data, n, flags);
	}
	return ret;
}

/* First place from @from on, before @to, that is not as it should be, or @to. */
static inline __u64 image_differs(int fd, const struct buffer *b, __u64 from,
				  __u64 to)
{
	__u8 *now = malloc(to - from + 1);
	__u64 i = from;

	if (now && !image_peek(fd, b, from, now, to - from, 0))
		while (i < to && now[i - from] == b->image[i])
			i++;
	if (i < to)
		ksft_print_msg("place %#llx of %#llx: %#x, not %#x\n", i,
			       b->image_size, now ? now[i - from] : 0,
			       b->image[i]);
	free(now);
	return i;
}

static inline bool image_is_right(int fd, const struct buffer *b)
{
	return image_differs(fd, b, 0, b->image_size) == b->image_size;
}

/* Nothing that is not the buffer's has changed. */
static inline bool beside_is_right(int fd, const struct buffer *b)
{
	__u64 from = 0;
	unsigned int i;

	for (i = 0; i <= b->nr_entries; i++) {
		__u64 to = i < b->nr_entries ? b->entries[i].at : b->image_size;

		if (image_differs(fd, b, from, to) != to)
			return false;
		if (i < b->nr_entries)
			from = b->entries[i].at + b->entries[i].len;
	}
	return true;
}

static inline void buffer_free(struct buffer *b)
{
	free(b->image);
	free(b->entries);
	free(b->segs);
	memset(b, 0, sizeof(*b));
}

/* The mapping is there, and so are the entries. */
static inline int buffer_init(int fd, struct buffer *b)
{
	__u64 pos = 0;
	unsigned int i;
	int ret;

	b->nr_segs = b->m.req.nents;
	b->segs = calloc(b->nr_segs, sizeof(*b->segs));
	b->image = malloc(b->image_size);
	if (!b->segs || !b->image)
		return -ENOMEM;
	for (i = 0; i < b->nr_segs; i++) {
		struct dma_edu_seg seg = {
			.handle = b->m.req.handle,
			.index = i,
		};

		ret = edu_ioctl(fd, DMA_EDU_IOC_SEG, &seg);
		if (ret)
			return ret;
		b->segs[i] = (struct part){ pos, seg.iova, seg.len };
		pos += seg.len;
	}
	if (pos != b->m.req.size)
		return -EPROTO;
	return image_peek(fd, b, 0, b->image, b->image_size, 0);
}

/* On failure there is nothing to unmap or free. */
static inline int buffer_map(struct bounce_state *st, struct buffer *b,
			     const struct map_kind *kind, __u32 offset,
			     __u64 size, __u32 dir, __u32 flags, __u8 fill)
{
	int ret;

	memset(b, 0, sizeof(*b));
	ret = kind_map(st->fd, &b->m, kind, size, offset, dir, MASK_BITS,
		       flags, fill);
	if (ret)
		return ret;
	b->size = kind->path == DMA_EDU_IOVA ? b->m.req.link : size;
	b->block = getpagesize();
	if (is_list(b) && st->granule > b->block)
		b->block = st->granule;
	b->image_size = align_up(offset + size, b->block);
	if (!is_list(b))
		b->block = b->image_size;
	b->entries = calloc(1, sizeof(*b->entries));
	b->nr_entries = 1;
	if (b->entries) {
		*b->entries = (struct part){ 0, offset, b->size };
		ret = buffer_init(st->fd, b);
	} else {
		ret = -ENOMEM;
	}
	if (ret) {
		kind_unmap(st->fd, &b->m);
		buffer_free(b);
	}
	return ret;
}

/* A scatterlist of entries that are given. */
static inline int buffer_map_list(struct bounce_state *st, struct buffer *b,
				  const struct dma_edu_entry *entries,
				  unsigned int nr, __u32 dir, __u32 flags,
				  __u8 fill)
{
	struct dma_edu_list list = {
		.map = {
			.path = DMA_EDU_SG,
			.dir = dir,
			.flags = flags,
			.mask_bits = MASK_BITS,
			.fill = fill,
		},
		.entries = (unsigned long)entries,
		.nr_entries = nr,
		.boundary_bits = st->boundary_bits,
	};
	unsigned int i;
	int ret;

	memset(b, 0, sizeof(*b));
	b->entries = calloc(nr, sizeof(*b->entries));
	if (!b->entries)
		return -ENOMEM;
	b->nr_entries = nr;
	b->block = getpagesize();
	if (st->granule > b->block)
		b->block = st->granule;
	for (i = 0; i < nr; i++)
		while (b->block < (__u64)entries[i].offset + entries[i].len)
			b->block *= 2;
	for (i = 0; i < nr; i++) {
		b->entries[i] = (struct part){
			b->size, i * b->block + entries[i].offset,
			entries[i].len
		};
		b->size += entries[i].len;
	}
	b->image_size = nr * b->block;
	list.map.size = b->size;
	ret = edu_ioctl(st->fd, DMA_EDU_IOC_MAP_LIST, &list);
	if (!ret) {
		b->m.kind = kind_named("sg");
		b->m.req = list.map;
		ret = buffer_init(st->fd, b);
		if (ret)
			kind_unmap(st->fd, &b->m);
	}
	if (ret)
		buffer_free(b);
	return ret;
}

/* Unmap, with DMA_EDU_UNMAP_* besides; the memory can still be looked at. */
static inline int buffer_unmap(struct bounce_state *st, const struct buffer *b,
			       __u32 flags)
{
	if (b->m.kind->split)
		flags |= DMA_EDU_UNMAP_SPLIT;
	return edu_unmap(st->fd, b->m.req.handle, flags | DMA_EDU_UNMAP_KEEP);
}

/* After buffer_unmap(). */
static inline int buffer_release(struct bounce_state *st, struct buffer *b)
{
	int ret = edu_unmap(st->fd, b->m.req.handle, 0);

	buffer_free(b);
	return ret;
}

/* Pages of a piece of memory that are shared, and bytes of it that are in them */
static inline long partial_of(__u64 start, __u64 len, __u64 granule,
			      __u64 *bytes)
{
	__u64 head = start % granule, tail = (start + len) % granule;
	long pages = 0;

	if (head && head + len <= granule) {
		*bytes += len;
		return 1;
	}
	if (head) {
		*bytes += granule - head;
		pages++;
	}
	if (tail) {
		*bytes += tail;
		pages++;
	}
	return pages;
}

static inline long buffer_partial(const struct buffer *b, __u64 granule,
				  __u64 *bytes)
{
	unsigned int i;
	long pages = 0;

	*bytes = 0;
	for (i = 0; i < b->nr_entries; i++)
		pages += partial_of(b->entries[i].at, b->entries[i].len,
				    granule, bytes);
	return pages;
}

/*
 * What the DMA API bounces by itself, anywhere in a page: buffers that may be of
 * kmalloc(), and so have a cache line in common with something else, for a device
 * that does not see what is in caches.
 */
static inline bool may_share_a_line(const struct bounce_state *st, __u64 size,
				    __u32 dir)
{
	return !(st->info.flags & DMA_EDU_INFO_COHERENT) &&
	       dir != DMA_EDU_TO_DEVICE && size < MAX_SHARED;
}

/* Bounced like that, for all that is known, though the policy is to bounce nothing */
static inline bool buffer_is_copied(const struct bounce_state *st,
				    const struct buffer *b)
{
	__u32 dir = b->m.req.dir;
	unsigned int i;
	__u64 tail;

	for (i = 0; i < b->nr_entries; i++)
		if (may_share_a_line(st, b->entries[i].len, dir))
			return !st->bounces;
	if (!is_list(b) || b->nr_entries > 1)
		return false;
	/* Mapped block by block */
	tail = (b->entries[0].at + b->size) % b->block;
	if (may_share_a_line(st, b->block - b->entries[0].at % b->block, dir) ||
	    (tail && may_share_a_line(st, tail, dir)))
		return !st->bounces;
	return false;
}

/* ------------------------------------------------- the memory in the device */

/* What it should hold. */
static __u8 device_memory[DMA_EDU_MEM_SIZE];

static inline int device_fill(struct bounce_state *st, const __u8 *data)
{
	memcpy(device_memory, data, sizeof(device_memory));
	return edu_mem(st->fd, 0, device_memory, sizeof(device_memory),
		       DMA_EDU_WRITE);
}

static inline int device_set(struct bounce_state *st, __u8 byte)
{
	__u8 data[DMA_EDU_MEM_SIZE];

	memset(data, byte, sizeof(data));
	return device_fill(st, data);
}

static inline int device_fetch(struct bounce_state *st, __u32 len)
{
	return edu_mem(st->fd, 0, device_memory, len, 0);
}

/* ------------------------------------------------------------------- main() */

/* The policy as this program found it, empty if the kernel has none */
static char booted_policy[32];

/* Run the tests, and leave the group as it was. */
static inline int bounce_main(int argc, char **argv)
{
	struct group_state booted;
	int ret;

	if (geteuid())
		ksft_exit_skip("not root\n");
	edu_setup(&booted);
	if (policy_read(booted_policy, sizeof(booted_policy)))
		booted_policy[0] = '\0';
	ret = edu_finish(&booted, test_harness_run(argc, argv));
	if (*booted_policy && policy_set(booted_policy)) {
		fprintf(stderr, "cannot restore the policy of %s\n", edu_name);
		ret = KSFT_FAIL;
	}
	return ret;
}

#endif /* _SELFTESTS_DMA_BOUNCE_UTIL_H */
