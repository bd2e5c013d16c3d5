/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User-space side of the dma_bar test module, as far as it imports dma-bufs, and
 * what the tests of dma-bufs without struct pages look at besides.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_BAR_UTIL_H
#define _SELFTESTS_DMA_BAR_UTIL_H

#include "dma_edu_util.h"
#include "test_modules/dma_bar.h"

#define STATS_PATH	"/sys/kernel/debug/iommu_debug_pagealloc/stats"

#define MAX_SEGS	16

struct import {
	struct dma_bar_import req;
	struct dma_bar_seg segs[MAX_SEGS];
};

/* Zeroes after the name end it. */
static inline void set_name(struct dma_bar_import *req)
{
	memcpy(req->name, edu_name, strnlen(edu_name, sizeof(req->name) - 1));
}

static inline int bar_seg(int bar, const struct import *imp, __u32 index,
			  struct dma_bar_seg *seg)
{
	memset(seg, 0, sizeof(*seg));
	seg->handle = imp->req.handle;
	seg->index = index;
	return edu_ioctl(bar, DMA_BAR_IOC_SEG, seg);
}

static inline int bar_unmap(int bar, const struct import *imp)
{
	struct dma_bar_unmap req = { .handle = imp->req.handle };

	return edu_ioctl(bar, DMA_BAR_IOC_UNMAP, &req);
}

static inline int bar_import(int bar, int dmabuf, __u32 dir, __u32 flags,
			     struct import *imp)
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

/* The device's address of byte @off, and how many follow in the segment */
static inline __u64 import_at(const struct import *imp, __u64 off,
			      __u64 *left)
{
	__u32 i;

	for (i = 0; i < imp->req.nents && off >= imp->segs[i].len; i++)
		off -= imp->segs[i].len;
	*left = imp->segs[i].len - off;
	return imp->segs[i].iova + off;
}

/* A fence that the exporter alone waits for */
static inline int bar_add_fence(int bar, int dmabuf, int sync_file)
{
	struct dma_bar_fence req = { .fd = dmabuf, .sync_file = sync_file };

	return edu_ioctl(bar, DMA_BAR_IOC_FENCE, &req);
}

/*
 * Does an IOMMU say in @line, and in the next one of @kmsg if it takes two, that
 * the device under test has tried to write, or else to read, in the page of @iova?
 */
static inline bool fault_is(int kmsg, char line[KMSG_LINE_MAX], __u64 iova,
			    bool write)
{
	char next[KMSG_LINE_MAX];

	/* VT-d leaves out the PCI segment. */
	if (!kmsg_is_iommu(line) || !strstr(line, strchr(edu_name, ':') + 1) ||
	    !kmsg_has_value(line, iova & ~4095ULL, (iova | 4095) + 1))
		return false;
	if (strstr(line, "DMAR"))
		return strstr(line, write ? "DMA Write" : "DMA Read");
	return kmsg_next(kmsg, next, FAULT_WAIT_MS) &&
	       strstr(next, write ? " write " : " read ");
}

/*
 * The device tries to write @len bytes of its memory to @iova, or else to read
 * them: 0 if the IOMMU says so, ENOMSG if it does not.
 */
static inline int device_faults(int edu, int kmsg, __u64 iova, __u32 len,
				bool write)
{
	char line[KMSG_LINE_MAX];
	long long end, left;
	int ret, tries;

	for (tries = 0; tries < 2; tries++) {
		/* The first report may have fallen to the rate limit. */
		if (tries)
			sleep_ms(RATELIMIT_MS);
		while (kmsg_next(kmsg, line, 0))
			;
		ret = edu_xfer(edu, iova, 0, len,
			       write ? DMA_EDU_XFER_WRITE : 0);
		if (ret)
			return ret;
		end = now_ms() + FAULT_WAIT_MS;
		while ((left = end - now_ms()) > 0 &&
		       kmsg_next(kmsg, line, left)) {
			if (!fault_is(kmsg, line, iova, write))
				continue;
			ksft_print_msg("fault: %s\n", line);
			return 0;
		}
	}
	return -ENOMSG;
}

/* What the mask is set for: a mapping is the only way to set it. */
static inline int set_mask_bits(int edu, __u32 bits)
{
	struct mapping m;

	return kind_map(edu, &m, &kinds[0], 1, 0, DMA_EDU_BIDIRECTIONAL, bits,
			0, 0) ?: kind_unmap(edu, &m);
}

/*
 * No complaint of the kernel about itself since @kmsg was opened, but for reports
 * that the device under test has faulted.
 */
static inline bool log_is_clean(int kmsg)
{
	return kmsg_has_no_complaint(kmsg, edu_name, NULL, NULL);
}

static inline bool sanitizer_is_on(void)
{
	char buf[4096];

	return !file_read("/proc/cmdline", buf, sizeof(buf)) &&
	       strstr(buf, "iommu.debug_pagealloc=1");
}

/*
 * A counter of the sanitizer, 0 if that is not on. A test that cannot read it fails:
 * two values that are not known are not equal.
 */
static inline long long sanitizer(const char *name)
{
	char buf[256], *at;

	if (!sanitizer_is_on())
		return 0;
	if (file_read(STATS_PATH, buf, sizeof(buf)))
		ksft_exit_fail_msg("cannot read %s\n", STATS_PATH);
	at = strstr(buf, name);
	if (!at)
		ksft_exit_fail_msg("no '%s' in %s\n", name, STATS_PATH);
	return strtoll(at + strlen(name), NULL, 10);
}

#endif /* _SELFTESTS_DMA_BAR_UTIL_H */
