// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>

#include "edu.h"
#include "map.h"
#include "util.h"

const struct map_kind kinds[NR_KINDS] = {
	{ "single", DMA_EDU_SINGLE, false, false },
	{ "page", DMA_EDU_PAGE, false, false },
	{ "sg", DMA_EDU_SG, false, false },
	{ "coherent", DMA_EDU_COHERENT, false, false },
	{ "noncontiguous", DMA_EDU_NONCONTIG, false, false },
	{ "iova", DMA_EDU_IOVA, false, false },
	{ "iova unlink", DMA_EDU_IOVA, false, true },
	{ "iova partial", DMA_EDU_IOVA, true, false },
	{ "iova partial unlink", DMA_EDU_IOVA, true, true },
};

int kind_map(int fd, struct mapping *m, const struct map_kind *kind, __u64 size,
	     __u32 offset, __u32 dir, __u32 mask_bits, __u32 flags, __u8 fill)
{
	bool owns_pages = kind->path != DMA_EDU_COHERENT &&
			  kind->path != DMA_EDU_NONCONTIG;

	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->req.path = kind->path;
	m->req.dir = kind->path == DMA_EDU_COHERENT ?
		     DMA_EDU_BIDIRECTIONAL : dir;
	m->req.size = size;
	m->req.offset = owns_pages ? offset : 0;
	m->req.mask_bits = mask_bits;
	m->req.flags = flags;
	m->req.fill = fill;
	if (kind->path == DMA_EDU_IOVA)
		m->req.link = kind->partial ? (size + 1) / 2 : size;
	return edu_map(fd, &m->req);
}

int kind_unmap(int fd, const struct mapping *m)
{
	return edu_unmap(fd, m->req.handle,
			 m->kind->split ? DMA_EDU_UNMAP_SPLIT : 0);
}

int unmap_all(int fd, const struct mapping *m, size_t count)
{
	int ret = 0;

	while (count--)
		ret = kind_unmap(fd, &m[count]) ?: ret;
	return ret;
}

int flush_iova_caches(int fd, bool lazy)
{
	struct mapping big, none;
	int ret;

	if (lazy)
		sleep_ms(FQ_DRAIN_MS);
	ret = kind_map(fd, &big, &kinds[0], MB(1), 0, DMA_EDU_BIDIRECTIONAL,
		       32, DMA_EDU_MAP_NOFILL, 0);
	if (ret)
		return ret;
	ret = kind_map(fd, &none, &kinds[0], 1, 0, DMA_EDU_BIDIRECTIONAL, 12,
		       DMA_EDU_MAP_NOFILL, 0);
	if (ret != -ENOSPC) {
		if (!ret)
			kind_unmap(fd, &none);
		ret = ret ?: -EEXIST;
	} else {
		ret = 0;
	}
	ret = kind_unmap(fd, &big) ?: ret;
	if (lazy)
		sleep_ms(FQ_DRAIN_MS);
	return ret;
}

int set_mask_bits(int edu, __u32 bits)
{
	struct mapping m;

	return kind_map(edu, &m, &kinds[0], 1, 0, DMA_EDU_BIDIRECTIONAL, bits,
			0, 0) ?: kind_unmap(edu, &m);
}
