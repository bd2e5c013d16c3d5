/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User-space side of the dma_bar test module, as far as it imports dma-bufs, and
 * what tests of dma-bufs of a BAR share: the memory in the BAR, what it must hold,
 * and the edu device that reads and writes it.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_LIB_BAR_H
#define _SELFTESTS_DMA_LIB_BAR_H

#include <stdbool.h>
#include <linux/types.h>

#include "../test_modules/dma_bar.h"

#define PAGE		4096ULL		/* of the CPU; the tests skip others */
#define XFER		256
#define MAX_PARTS	6
#define MAX_SEGS	16

/* Never what the device is told to write, or the BAR holds */
#define STALE_BYTE	0xee

/* Of a BAR: @nr pages from page @first on */
#define PAGES(first, nr)	{ (first) * PAGE, (nr) * PAGE }

/* --------------------------------------------------------------- the import */

struct import {
	struct dma_bar_import req;
	struct dma_bar_seg segs[MAX_SEGS];
};

/* Zeroes after the name end it. */
void set_name(struct dma_bar_import *req);

int bar_seg(int bar, const struct import *imp, __u32 index,
	    struct dma_bar_seg *seg);
int bar_unmap(int bar, const struct import *imp);
int bar_pin(int bar, const struct import *imp, bool pin);
int bar_import(int bar, int dmabuf, __u32 dir, __u32 flags, struct import *imp);

/* The device's address of byte @off, and how many follow in the segment */
__u64 import_at(const struct import *imp, __u64 off, __u64 *left);

/* A fence that the exporter alone waits for */
int bar_add_fence(int bar, int dmabuf, int sync_file);

/* ---------------------------------------------------------- the ranges of it */

/* @runs: physically contiguous pieces, as many as there must be segments */
struct layout {
	const char *name;
	__u32 nr;
	__u32 runs;
	struct dma_bar_range ranges[MAX_PARTS];
};

__u64 layout_size(const struct layout *l);

/* Where in the BAR byte @off of the buffer is */
__u64 layout_at(const struct layout *l, __u64 off);

/* ----------------------------------------------------- the state of a test */

/*
 * @translated: an IOMMU is between the devices. @mem: the BAR as the CPU sees
 * it; @must: what its first @size bytes must hold. @mapped: of the sanitizer.
 */
struct bar_state {
	int edu;
	int bar;
	int kmsg;
	int kmsg_all;
	bool translated;
	bool lazy;
	long long mapped;
	__u8 *mem;
	__u8 *must;
	__u64 size;
	__u8 byte;
};

/* Nothing is open. */
void bar_state_clear(struct bar_state *st);

/*
 * Open the log and the two devices. The edu device gets a domain of the type and
 * with the guard given if it has a group.
 */
int bar_state_open(struct bar_state *st, bool has_group, const char *type,
		   long guard_kb);

/* Close them, whatever is open, and forget what the BAR must hold. */
void bar_state_close(struct bar_state *st);

/*
 * No complaint of the kernel about itself since @kmsg was opened, but for reports
 * that the device under test has faulted.
 */
bool log_is_clean(int kmsg);

/* A page of the first @size bytes is not like any other, or itself elsewhere. */
int mem_fill(struct bar_state *st, __u64 size);

/* Offset of the first byte of the BAR that is not what it must be, or -1 */
long long mem_differs(const struct bar_state *st);

/* --------------------------------------------------------------- transfers */

/* The device reads XFER bytes of the buffer: are they those of the BAR? */
int device_reads(struct bar_state *st, const struct layout *l,
		 const struct import *imp, __u64 off);

/* The device writes XFER bytes, which the BAR must hold from now on. */
int device_sends(struct bar_state *st, const struct layout *l,
		 const struct import *imp, __u64 off);

/* Are they in the BAR, and nothing else has changed? */
int device_writes(struct bar_state *st, const struct layout *l,
		  const struct import *imp, __u64 off);

/* Of a buffer, the bytes @start to @end of which are a range of the BAR */
typedef int range_fn(struct bar_state *st, const struct layout *l,
		     const struct import *imp, __u64 start, __u64 end);

/* Call @fn of each range, until it fails. */
int layout_walk(struct bar_state *st, const struct layout *l,
		const struct import *imp, range_fn *fn);

/* Both, in the first and the last page of each range, and across their ends. */
int device_uses(struct bar_state *st, const struct layout *l,
		const struct import *imp);

/* The device tries to write at an address, and the IOMMU says so. */
int device_cannot_write(struct bar_state *st, __u64 iova);

/* The device tries to read there: the IOMMU says so, and it has nothing of the BAR. */
int device_cannot_read(struct bar_state *st, __u64 iova);

#endif /* _SELFTESTS_DMA_LIB_BAR_H */
