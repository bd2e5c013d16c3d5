/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ways to make a mapping with the dma_edu module.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_LIB_MAP_H
#define _SELFTESTS_DMA_LIB_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "../test_modules/dma_edu.h"

/* Longer than the 10 ms for which a lazy domain holds unmapped IOVAs. */
#define FQ_DRAIN_MS	60

/* A kind of mapping: @path, and for DMA_EDU_IOVA how it is used. */
struct map_kind {
	const char *name;
	__u32 path;
	bool partial;		/* link only the first half */
	bool split;		/* unlink and free instead of destroy */
};

#define NR_KINDS	9

/* The first is as plain as can be. */
extern const struct map_kind kinds[NR_KINDS];

struct mapping {
	const struct map_kind *kind;
	struct dma_edu_map req;
};

int kind_map(int fd, struct mapping *m, const struct map_kind *kind, __u64 size,
	     __u32 offset, __u32 dir, __u32 mask_bits, __u32 flags, __u8 fill);
int kind_unmap(int fd, const struct mapping *m);
int unmap_all(int fd, const struct mapping *m, size_t count);

/*
 * Empty the caches of freed IOVAs: an address that nobody has makes the
 * allocator give back all it holds before it fails. A failed allocation also
 * makes it refuse all others below 4 GiB until some IOVA is freed, which is
 * what the large mapping, too large for the caches, is for.
 */
int flush_iova_caches(int fd, bool lazy);

/* What the mask is set for: a mapping is the only way to set it. */
int set_mask_bits(int edu, __u32 bits);

#endif /* _SELFTESTS_DMA_LIB_MAP_H */
