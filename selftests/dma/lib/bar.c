// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bar.h"
#include "edu.h"
#include "fault.h"
#include "kmsg.h"
#include "map.h"
#include "sanitizer.h"
#include "util.h"

void set_name(struct dma_bar_import *req)
{
	memcpy(req->name, edu_name, strnlen(edu_name, sizeof(req->name) - 1));
}

int bar_seg(int bar, const struct import *imp, __u32 index,
	    struct dma_bar_seg *seg)
{
	memset(seg, 0, sizeof(*seg));
	seg->handle = imp->req.handle;
	seg->index = index;
	return edu_ioctl(bar, DMA_BAR_IOC_SEG, seg);
}

int bar_unmap(int bar, const struct import *imp)
{
	struct dma_bar_unmap req = { .handle = imp->req.handle };

	return edu_ioctl(bar, DMA_BAR_IOC_UNMAP, &req);
}

int bar_pin(int bar, const struct import *imp, bool pin)
{
	struct dma_bar_pin req = { .handle = imp->req.handle, .pin = pin };

	return edu_ioctl(bar, DMA_BAR_IOC_PIN, &req);
}

int bar_import(int bar, int dmabuf, __u32 dir, __u32 flags, struct import *imp)
{
	__u32 i;
	int ret;

	memset(imp, 0, sizeof(*imp));
	set_name(&imp->req);
	imp->req.fd = dmabuf;
	imp->req.dir = dir;
	imp->req.flags = flags;
	ret = edu_ioctl(bar, DMA_BAR_IOC_IMPORT, &imp->req);
	for (i = 0; !ret && i < imp->req.nents && i < MAX_SEGS; i++)
		ret = bar_seg(bar, imp, i, &imp->segs[i]);
	return ret;
}

__u64 import_at(const struct import *imp, __u64 off, __u64 *left)
{
	__u32 i;

	for (i = 0; i < imp->req.nents && off >= imp->segs[i].len; i++)
		off -= imp->segs[i].len;
	*left = imp->segs[i].len - off;
	return imp->segs[i].iova + off;
}

int bar_add_fence(int bar, int dmabuf, int sync_file)
{
	struct dma_bar_fence req = { .fd = dmabuf, .sync_file = sync_file };

	return edu_ioctl(bar, DMA_BAR_IOC_FENCE, &req);
}

__u64 layout_size(const struct layout *l)
{
	__u64 size = 0;
	__u32 i;

	for (i = 0; i < l->nr; i++)
		size += l->ranges[i].len;
	return size;
}

__u64 layout_at(const struct layout *l, __u64 off)
{
	__u32 i;

	for (i = 0; i < l->nr && off >= l->ranges[i].len; i++)
		off -= l->ranges[i].len;
	return l->ranges[i].offset + off;
}

void bar_state_clear(struct bar_state *st)
{
	memset(st, 0, sizeof(*st));
	st->edu = -1;
	st->bar = -1;
	st->kmsg = -1;
	st->kmsg_all = -1;
}

int bar_state_open(struct bar_state *st, bool has_group, const char *type,
		   long guard_kb)
{
	struct dma_edu_info info;
	int ret;

	bar_state_clear(st);
	st->kmsg_all = kmsg_open();
	st->kmsg = kmsg_open();
	if (st->kmsg_all < 0 || st->kmsg < 0)
		return -EIO;

	ret = has_group ? group_set(type, guard_kb) : edu_bind(edu_name);
	if (ret)
		return ret;
	st->edu = edu_open(edu_name);
	if (st->edu < 0)
		return st->edu;
	ret = edu_info(st->edu, &info);
	if (ret)
		return ret;
	st->lazy = info.domain == DMA_EDU_DOMAIN_DMA_FQ;
	st->translated = st->lazy || info.domain == DMA_EDU_DOMAIN_DMA;
	ret = set_mask_bits(st->edu, st->translated ? XFER_MASK_BITS : 64);
	if (ret)
		return ret;

	st->bar = open("/dev/dma_bar", O_RDWR | O_CLOEXEC);
	if (st->bar < 0)
		return -errno;
	st->mapped = sanitizer("mapped");
	return 0;
}

void bar_state_close(struct bar_state *st)
{
	fd_close(&st->bar);
	fd_close(&st->edu);
	fd_close(&st->kmsg);
	fd_close(&st->kmsg_all);
	free(st->must);
	st->must = NULL;
}

bool log_is_clean(int kmsg)
{
	return kmsg_has_no_complaint(kmsg, edu_name, NULL, NULL);
}

int mem_fill(struct bar_state *st, __u64 size)
{
	__u64 i;

	if (!st->must)
		st->must = malloc(size);
	if (!st->must)
		return -ENOMEM;
	for (i = 0; i < size; i++)
		st->must[i] = (i * 13 + i / PAGE * 7 + (i >> 20)) % 199;
	memcpy(st->mem, st->must, size);
	st->size = size;
	return 0;
}

long long mem_differs(const struct bar_state *st)
{
	long long i;

	if (!memcmp(st->mem, st->must, st->size))
		return -1;
	for (i = 0; st->mem[i] == st->must[i]; i++)
		;
	return i;
}

int device_reads(struct bar_state *st, const struct layout *l,
		 const struct import *imp, __u64 off)
{
	__u8 data[XFER];
	__u64 left;
	int i, ret;

	memset(data, STALE_BYTE, sizeof(data));
	ret = edu_mem(st->edu, 0, data, sizeof(data), DMA_EDU_WRITE) ?:
	      edu_xfer(st->edu, import_at(imp, off, &left), 0, XFER, 0) ?:
	      edu_mem(st->edu, 0, data, sizeof(data), 0);
	for (i = 0; !ret && i < XFER; i++)
		if (data[i] != st->must[layout_at(l, off + i)])
			ret = -EBADMSG;
	return ret;
}

int device_sends(struct bar_state *st, const struct layout *l,
		 const struct import *imp, __u64 off)
{
	__u8 data[XFER];
	__u64 left;
	int i;

	st->byte += 3;
	for (i = 0; i < XFER; i++) {
		data[i] = st->byte + i * 5;
		st->must[layout_at(l, off + i)] = data[i];
	}
	return edu_mem(st->edu, 0, data, sizeof(data), DMA_EDU_WRITE) ?:
	       edu_xfer(st->edu, import_at(imp, off, &left), 0, XFER,
			DMA_EDU_XFER_WRITE);
}

int device_writes(struct bar_state *st, const struct layout *l,
		  const struct import *imp, __u64 off)
{
	return device_sends(st, l, imp, off) ?:
	       (mem_differs(st) < 0 ? 0 : -EBADMSG);
}

int layout_walk(struct bar_state *st, const struct layout *l,
		const struct import *imp, range_fn *fn)
{
	__u64 start = 0, end;
	int ret = 0;
	__u32 i;

	for (i = 0; !ret && i < l->nr; i++, start = end) {
		end = start + l->ranges[i].len;
		ret = fn(st, l, imp, start, end);
	}
	return ret;
}

static int device_uses_range(struct bar_state *st, const struct layout *l,
			     const struct import *imp, __u64 start, __u64 end)
{
	__u64 left;
	int ret;

	ret = device_reads(st, l, imp, start) ?:
	      device_writes(st, l, imp, start + XFER) ?:
	      device_reads(st, l, imp, end - XFER) ?:
	      device_writes(st, l, imp, end - XFER);
	if (ret || end == layout_size(l))
		return ret;
	import_at(imp, end - XFER / 2, &left);
	if (left < XFER)
		return 0;
	return device_reads(st, l, imp, end - XFER / 2) ?:
	       device_writes(st, l, imp, end - XFER / 2);
}

int device_uses(struct bar_state *st, const struct layout *l,
		const struct import *imp)
{
	return layout_walk(st, l, imp, device_uses_range);
}

int device_cannot_write(struct bar_state *st, __u64 iova)
{
	__u8 data[XFER];

	memset(data, STALE_BYTE, sizeof(data));
	return edu_mem(st->edu, 0, data, sizeof(data), DMA_EDU_WRITE) ?:
	       device_faults(st->edu, st->kmsg, iova, XFER, true);
}

int device_cannot_read(struct bar_state *st, __u64 iova)
{
	__u8 data[XFER];
	__u64 at;
	int ret;

	memset(data, STALE_BYTE, sizeof(data));
	ret = edu_mem(st->edu, 0, data, sizeof(data), DMA_EDU_WRITE) ?:
	      device_faults(st->edu, st->kmsg, iova, XFER, false) ?:
	      edu_mem(st->edu, 0, data, sizeof(data), 0);
	if (ret)
		return ret;
	/* QEMU hands out what is on its stack, or zeroes, but not the BAR. */
	for (at = 0; at < st->size; at += XFER)
		if (!memcmp(data, st->must + at, XFER))
			return -EBADMSG;
	return 0;
}
