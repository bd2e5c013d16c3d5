/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ABI between the dma_edu test module and the DMA selftests.
 *
 * FOR TESTS ONLY: an open /dev/dma_edu<N> makes a device read and write any
 * I/O virtual address it is told to. This is not a stable ABI; the module and
 * the programs are built from the same tree.
 *
 * DMA_EDU_IOC_FREE, DMA_EDU_IOC_TAKE, DMA_EDU_MAP_FREED, DMA_EDU_MAP_SHARE and
 * DMA_EDU_UNMAP_LEAVE are the bugs of a driver that frees what is mapped, maps
 * what is free, or goes away without an unmap. The module keeps account of each
 * of them: UNMAP of the handle undoes what is left, and so do close() and, for
 * DMA_EDU_UNMAP_LEAVE, the next bind or the removal of the module.
 *
 * Rules common to all calls: reserved fields and unknown flags must be zero,
 * or the call fails with EINVAL. ENODEV: the driver was unbound while the file
 * was open; nothing is left mapped and only close() makes sense.
 */

#ifndef _SELFTESTS_DMA_EDU_H
#define _SELFTESTS_DMA_EDU_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Largest buffer, and most scatterlist entries of one. */
#define DMA_EDU_MAX_SIZE	(4U << 20)
#define DMA_EDU_MAX_ENTRIES	4096U

/* Most memory for the blocks of DMA_EDU_IOC_MAP_LIST. */
#define DMA_EDU_MAX_BLOCKS_SIZE	(16U << 20)

/*
 * Bytes of memory inside the device that can be used, and so the largest single
 * transfer. The device has 4096, but there are versions of QEMU that take a
 * transfer which includes the last of them for out of bounds and end.
 */
#define DMA_EDU_MEM_SIZE	4095U

#define DMA_EDU_DEF_TIMEOUT_MS	2000U
#define DMA_EDU_MAX_TIMEOUT_MS	10000U

/* How a buffer gets its IOVA. */
enum dma_edu_path {
	DMA_EDU_SINGLE,		/* dma_map_single() of contiguous pages */
	DMA_EDU_PAGE,		/* dma_map_page() of contiguous pages */
	DMA_EDU_SG,		/* dma_map_sgtable() of separate pages */
	DMA_EDU_COHERENT,	/* dma_alloc_coherent() */
	DMA_EDU_NONCONTIG,	/* dma_alloc_noncontiguous() */
	DMA_EDU_IOVA,		/* dma_iova_try_alloc() and dma_iova_link() */
	DMA_EDU_PHYS,		/* dma_map_phys() of any range, as of registers */
	DMA_EDU_NR_PATHS
};

/* Same values as the kernel's enum dma_data_direction. */
enum dma_edu_dir {
	DMA_EDU_BIDIRECTIONAL,
	DMA_EDU_TO_DEVICE,
	DMA_EDU_FROM_DEVICE,
	DMA_EDU_NR_DIRS
};

enum dma_edu_domain {
	DMA_EDU_DOMAIN_NONE,		/* no IOMMU translates the device */
	DMA_EDU_DOMAIN_IDENTITY,
	DMA_EDU_DOMAIN_DMA,		/* strict */
	DMA_EDU_DOMAIN_DMA_FQ,		/* lazy: unmapped IOVAs are queued */
	DMA_EDU_DOMAIN_OTHER
};

/* dma_edu_info.flags */
#define DMA_EDU_INFO_COHERENT	0x1U
#define DMA_EDU_INFO_UNTRUSTED	0x2U

/**
 * struct dma_edu_info - facts about the device (DMA_EDU_IOC_INFO)
 * @name: out: PCI name, "0000:00:04.0"
 * @group: out: IOMMU group, -1 if there is none
 * @domain: out: enum dma_edu_domain of the domain the device is attached to
 * @flags: out: DMA_EDU_INFO_*
 * @reserved: out: 0
 * @granule: out: smallest IOMMU page in bytes, 0 if not known
 * @opt_mapping_size: out: dma_opt_mapping_size()
 * @max_mapping_size: out: dma_max_mapping_size()
 */
struct dma_edu_info {
	char name[32];
	__s32 group;
	__u32 domain;
	__u32 flags;
	__u32 reserved;
	__u64 granule;
	__u64 opt_mapping_size;
	__u64 max_mapping_size;
};

/* dma_edu_map.flags */
#define DMA_EDU_MAP_NOFILL	0x1U	/* as the page allocator gave it */
#define DMA_EDU_MAP_BLOCK	0x2U	/* SINGLE, PAGE: pages are one block */
#define DMA_EDU_MAP_FREED	0x4U	/* free all blocks before the mapping */
#define DMA_EDU_MAP_SHARE	0x8U	/* SINGLE, PAGE: use another's pages */
#define DMA_EDU_MAP_AT		0x10U	/* SINGLE, PAGE: use the pages at @phys */
/* SINGLE, PAGE, SG, IOVA: DMA_ATTR_SKIP_CPU_SYNC, DMA_ATTR_NO_WARN */
#define DMA_EDU_MAP_SKIP_SYNC	0x100U
#define DMA_EDU_MAP_NO_WARN	0x200U
#define DMA_EDU_MAP_PATTERN	0x400U	/* fill with dma_edu_pattern() */

/* Byte @pos of a buffer that is filled with a pattern. */
static inline __u8 dma_edu_pattern(__u32 fill, __u64 pos)
{
	return fill + pos * 7 + (pos >> 8) * 3;
}

/**
 * struct dma_edu_map - allocate a buffer and map it (DMA_EDU_IOC_MAP)
 * @path: in: enum dma_edu_path
 * @dir: in: enum dma_edu_dir; DMA_EDU_COHERENT is always bidirectional
 * @flags: in: DMA_EDU_MAP_*
 * @mask_bits: in: DMA mask (streaming and coherent) to set, 12 to 64 bits;
 *	it stays set for later calls of this device
 * @size: in: bytes, 1 to DMA_EDU_MAX_SIZE (with @offset, if contiguous)
 * @link: in: DMA_EDU_IOVA: bytes to link, 0 to @size, from the start on;
 *	0 for the other paths
 * @offset: in: of the buffer in its first page, less than a page; 0 where the
 *	DMA API allocates the memory
 * @chunk: in: DMA_EDU_SG: bytes used of each page, all at @offset; 0: the whole
 *	of every page but the first, which starts at @offset. 0 for the others
 * @fill: in: byte that the buffer is filled with before it is mapped, or what
 *	the pattern starts with; memory of the same pages outside of the buffer
 *	gets the complement
 * @handle: out: name of the mapping for this open file, never 0. In, with
 *	DMA_EDU_MAP_SHARE: a buffer of path SINGLE or PAGE whose memory is mapped
 *	once more, from @offset of its first page on; 0 without
 * @nents: out: number of DMA segments
 * @reserved: in: 0
 * @iova: out: DMA address of the first byte
 * @span: out: bytes of IOVA space from @iova to the end of the last segment,
 *	linked or not
 * @phys: in: DMA_EDU_PHYS: physical address of the first byte; with
 *	DMA_EDU_MAP_AT: of the first page; 0 otherwise
 *
 * The pages of a buffer are blocks of the page allocator: with SINGLE and PAGE
 * one for each page, or with DMA_EDU_MAP_BLOCK a single one that may be longer
 * than the buffer; with SG and IOVA one for each entry. DMA_EDU_MAP_FREED maps
 * blocks that are free, and that anybody may be given from then on: see
 * DMA_EDU_IOC_TAKE. What DMA_EDU_MAP_SHARE maps has no blocks, and is not filled
 * or accessed by the CPU; @offset may be of any page of the other buffer.
 *
 * DMA_EDU_MAP_AT has the page allocator hand out these very pages, for a buffer
 * that does not cross a multiple of DMA_EDU_MAX_SIZE in memory. They may be of
 * ZONE_MOVABLE and keep that memory online: that is for tests of memory hotplug.
 *
 * What DMA_EDU_PHYS maps, with DMA_ATTR_MMIO, is not memory of the buffer: it
 * may be a hole, offline, free or somebody's. It has no blocks, is not filled,
 * for which DMA_EDU_MAP_NOFILL has to be given, and not accessed by the CPU.
 *
 * Return: 0, or ENOSPC if the DMA API refused the mapping, ENOMEM if the buffer
 * could not be allocated, EAGAIN if the pages for DMA_EDU_MAP_AT are not free,
 * EIO if the DMA API refused the mask, EOPNOTSUPP if the device has no such path.
 */
struct dma_edu_map {
	__u32 path;
	__u32 dir;
	__u32 flags;
	__u32 mask_bits;
	__u64 size;
	__u64 link;
	__u32 offset;
	__u32 chunk;
	__u32 fill;
	__u32 handle;
	__u32 nents;
	__u32 reserved;
	__u64 iova;
	__u64 span;
	__u64 phys;
};

/* dma_edu_unmap.flags */
#define DMA_EDU_UNMAP_KEEP	0x1U	/* the buffer stays readable */
#define DMA_EDU_UNMAP_SPLIT	0x2U	/* IOVA: unlink, then free */
#define DMA_EDU_UNMAP_RACE	0x4U	/* with KEEP: see DMA_EDU_IOC_XFER */
#define DMA_EDU_UNMAP_LEAVE	0x8U	/* not now: see below */
#define DMA_EDU_UNMAP_LONGER	0x10U	/* a wrong length: see below */
#define DMA_EDU_UNMAP_SKIP_SYNC	0x100U	/* paths as DMA_EDU_MAP_SKIP_SYNC */

/**
 * struct dma_edu_unmap - undo DMA_EDU_IOC_MAP (DMA_EDU_IOC_UNMAP)
 * @handle: in: what to unmap
 * @flags: in: DMA_EDU_UNMAP_*
 *
 * A buffer kept with DMA_EDU_UNMAP_KEEP (not possible where the DMA API owns
 * the memory, or nobody) can be read and written until a second call frees it.
 * DMA_EDU_IOVA uses dma_iova_destroy() unless DMA_EDU_UNMAP_SPLIT is given.
 *
 * DMA_EDU_UNMAP_LEAVE (SINGLE, PAGE, SG) changes nothing but what happens if the
 * driver is unbound: buffer and mapping outlast it. They go when the driver is
 * bound to the device again or the module is removed; if the device's domain
 * does not have the mapping any more by then, the buffer alone.
 *
 * DMA_EDU_UNMAP_LONGER (SINGLE, PAGE, IOVA) unmaps up to the end of the last IOMMU
 * page, as a driver does that has forgotten how much of it was mapped.
 */
struct dma_edu_unmap {
	__u32 handle;
	__u32 flags;
};

/**
 * struct dma_edu_seg - one DMA segment of a mapping (DMA_EDU_IOC_SEG)
 * @handle: in: which mapping
 * @index: in: which segment, less than dma_edu_map.nents
 * @iova: out: DMA address
 * @len: out: bytes
 */
struct dma_edu_seg {
	__u32 handle;
	__u32 index;
	__u64 iova;
	__u64 len;
};

/**
 * struct dma_edu_block - one block of a buffer (DMA_EDU_IOC_BLOCK)
 * @handle: in: which buffer, not one that the DMA API allocates
 * @index: in: which block
 * @pfn: out: its first page
 * @order: out: of the page allocator
 * @freed: out: 1 if it was freed and not taken back
 */
struct dma_edu_block {
	__u32 handle;
	__u32 index;
	__u64 pfn;
	__u32 order;
	__u32 freed;
};

/* dma_edu_blocks.flags: of DMA_EDU_IOC_FREE; unmap right after */
#define DMA_EDU_FREE_UNMAP	0x1U

/**
 * struct dma_edu_blocks - some blocks of a buffer
 * @handle: in: which buffer, as for struct dma_edu_block
 * @first: in: first block
 * @count: in: how many, not 0
 * @flags: in: DMA_EDU_FREE_UNMAP or 0
 *
 * DMA_EDU_IOC_FREE gives blocks back to the page allocator, mapped or not, as
 * if they were not needed any more. Until all are taken back, the CPU cannot
 * access the buffer. The kernel gives them to others in time; DMA by the device
 * then hits whatever these hold. With DMA_EDU_FREE_UNMAP the buffer is unmapped
 * before anything else happens on this CPU, and gone after.
 *
 * DMA_EDU_IOC_TAKE allocates from the page allocator until it hands out the
 * freed blocks again. EAGAIN: it has not, those not taken are somebody's or in
 * another CPU's cache; pin the program to a CPU.
 */
struct dma_edu_blocks {
	__u32 handle;
	__u32 first;
	__u32 count;
	__u32 flags;
};

/* dma_edu_cpu.flags, dma_edu_mem.flags: write to it; without: read it */
#define DMA_EDU_WRITE		0x1U

/**
 * struct dma_edu_cpu - access a buffer as the CPU sees it (DMA_EDU_IOC_CPU)
 * @handle: in: which buffer
 * @flags: in: DMA_EDU_WRITE or 0
 * @off: in: first byte, from the start of the buffer
 * @len: in: bytes, not 0
 * @data: in: address of the user's memory
 *
 * A mapped buffer is synced for the CPU before and for the device after the
 * access, with the direction of the mapping. There is no such call for
 * DMA_EDU_IOVA: where the device is not coherent that fails with EOPNOTSUPP,
 * and where the mapping is bounced the data is there only after an unmap with
 * DMA_EDU_UNMAP_KEEP.
 */
struct dma_edu_cpu {
	__u32 handle;
	__u32 flags;
	__u64 off;
	__u64 len;
	__u64 data;
};

/* dma_edu_xfer.flags: the device writes to @iova; without: it reads */
#define DMA_EDU_XFER_WRITE	0x1U

/**
 * struct dma_edu_xfer - one DMA by the device (DMA_EDU_IOC_XFER)
 * @iova: in: any number, mapped or not
 * @len: in: bytes, 1 to DMA_EDU_MEM_SIZE
 * @mem_off: in: offset in the device's memory; @mem_off + @len must fit
 * @flags: in: DMA_EDU_XFER_WRITE or 0
 * @timeout_ms: in: 0 for DMA_EDU_DEF_TIMEOUT_MS, DMA_EDU_MAX_TIMEOUT_MS at most
 *
 * Returns when the device says that it is done. It says so after a fault, too.
 * ETIMEDOUT: still running, and EBUSY for all who come before it is done. MAP,
 * UNMAP, FREE and close() then wait for the end of it, for DMA_EDU_DEF_TIMEOUT_MS at
 * most; if it does not come, the device cannot reach memory any more until the
 * engine has stopped and the next transfer starts. With DMA_EDU_UNMAP_RACE
 * UNMAP does not wait, to let it meet the end of the transfer. EOPNOTSUPP: @iova has more
 * than the 32 bits that a 32-bit CPU can tell the device.
 */
struct dma_edu_xfer {
	__u64 iova;
	__u32 len;
	__u32 mem_off;
	__u32 flags;
	__u32 timeout_ms;
};

/**
 * struct dma_edu_mem - access the memory in the device (DMA_EDU_IOC_MEM)
 * @data: in: address of the user's memory
 * @off: in: offset in the device's memory
 * @len: in: bytes, not 0
 * @flags: in: DMA_EDU_WRITE or 0
 * @reserved: in: 0
 *
 * Goes by DMA through a mapping of the driver's own.
 */
struct dma_edu_mem {
	__u64 data;
	__u32 off;
	__u32 len;
	__u32 flags;
	__u32 reserved;
};

/* dma_edu_sync.flags: exactly one of the first two */
#define DMA_EDU_SYNC_CPU	0x1U
#define DMA_EDU_SYNC_DEVICE	0x2U
#define DMA_EDU_SYNC_BEYOND	0x4U	/* see below */

/**
 * struct dma_edu_sync - sync a mapped buffer (DMA_EDU_IOC_SYNC)
 * @handle: in: which buffer
 * @flags: in: DMA_EDU_SYNC_CPU or DMA_EDU_SYNC_DEVICE, and DMA_EDU_SYNC_BEYOND
 * @off: in: first byte, from the start of the buffer
 * @len: in: bytes, not 0
 *
 * Any part of a buffer of path SINGLE or PAGE, or the whole of one of path SG.
 * EOPNOTSUPP: another path.
 *
 * With DMA_EDU_SYNC_BEYOND @len may be up to DMA_EDU_MAX_SIZE, and more than was
 * mapped, as a driver has it that believes what its device claims: from @off of the
 * first segment on, also of paths SG and IOVA.
 */
struct dma_edu_sync {
	__u32 handle;
	__u32 flags;
	__u64 off;
	__u64 len;
};

/**
 * struct dma_edu_peek - memory as it is (DMA_EDU_IOC_PEEK)
 * @handle: in: which buffer, whose memory is all its own and not freed
 * @flags: in: DMA_EDU_WRITE or 0
 * @index: in: block from which @off counts
 * @reserved: in: 0
 * @off: in: first byte, from the start of the block
 * @len: in: bytes, not 0
 * @data: in: address of the user's memory
 *
 * Also reaches what is beside the buffer in its pages, and syncs nothing. The
 * blocks of SINGLE and PAGE follow each other, and so a range may go on to the
 * next; those of SG and IOVA stand alone.
 */
struct dma_edu_peek {
	__u32 handle;
	__u32 flags;
	__u32 index;
	__u32 reserved;
	__u64 off;
	__u64 len;
	__u64 data;
};

/**
 * struct dma_edu_entry - of a scatterlist
 * @offset: from the start of its block
 * @len: bytes, not 0
 */
struct dma_edu_entry {
	__u32 offset;
	__u32 len;
};

/**
 * struct dma_edu_list - a scatterlist entry by entry (DMA_EDU_IOC_MAP_LIST)
 * @map: in, out: as for DMA_EDU_IOC_MAP, of path SG, without @offset and @chunk;
 *	@size: the sum of the entries' lengths
 * @entries: in: address of the user's array of struct dma_edu_entry
 * @nr_entries: in: how many, 1 to DMA_EDU_MAX_ENTRIES
 * @boundary_bits: in: no segment crosses a multiple of 1 << this: log2 of the page
 *	size to 63; or 0: they may
 *
 * Each entry has a block of its own; they are all of the order that the entry
 * which reaches farthest needs, and DMA_EDU_MAX_BLOCKS_SIZE at most altogether.
 */
struct dma_edu_list {
	struct dma_edu_map map;
	__u64 entries;
	__u32 nr_entries;
	__u32 boundary_bits;
};

/**
 * struct dma_edu_pool - attack the kernel's DMA pools (DMA_EDU_IOC_POOL)
 * @astray: out: 1 if the device chose what dma_pool_alloc() returned
 * @reserved: in: 0
 *
 * The device writes an address of the driver's to a block that is free.
 */
struct dma_edu_pool {
	__u32 astray;
	__u32 reserved;
};

/* What the driver does when it is told of a DMA fault. */
enum dma_edu_fault_action {
	DMA_EDU_FAULT_NONE,	/* has no handler */
	DMA_EDU_FAULT_COUNT,	/* counts it */
	DMA_EDU_FAULT_ONCE,	/* counts it, and unregisters the handler */
	DMA_EDU_FAULT_RESET,	/* counts it, and tries to reset the device */
	DMA_EDU_FAULT_NR_ACTIONS
};

/**
 * struct dma_edu_fault_handler - handle DMA faults (DMA_EDU_IOC_FAULT_HANDLER)
 * @action: in: enum dma_edu_fault_action; DMA_EDU_FAULT_NONE unregisters the
 *	handler, if there is one, and waits for it, the others register one
 * @reserved: in: 0
 *
 * Return: 0, or as iommu_register_dma_fault_handler(): EBUSY if there is one
 * already, EOPNOTSUPP or ENODEV if nobody tells of faults.
 */
struct dma_edu_fault_handler {
	__u32 action;
	__u32 reserved;
};

/**
 * struct dma_edu_faults - what the handler was told (DMA_EDU_IOC_FAULTS)
 * @calls: out: how often it was called, since the driver was bound
 * @faults: out: sum of @nr of all calls
 * @resets: out: resets of the device, by whomever, since the driver was bound
 * @reset_error: out: errno of the last reset that the handler tried, or 0
 * @class: out: of the last call, as all that follows: the kernel's
 *	enum iommu_dma_fault_class
 * @write: out: 1 for a write
 * @before: out: 1 if @iova is below @start
 * @iova: out: faulting address
 * @step: out: to how many bytes it is known
 * @start: out: first address of the mapping concerned
 * @size: out: its bytes, 0 if none is known
 * @distance: out: bytes that @iova is away from it
 * @nr: out: faults that the call was for
 *
 * Does not wait for a transfer.
 */
struct dma_edu_faults {
	__u64 calls;
	__u64 faults;
	__u64 resets;
	__u32 reset_error;
	__u32 class;
	__u32 write;
	__u32 before;
	__u64 iova;
	__u64 step;
	__u64 start;
	__u64 size;
	__u64 distance;
	__u64 nr;
};

#define DMA_EDU_IOC_INFO	_IOR('e', 0x80, struct dma_edu_info)
#define DMA_EDU_IOC_MAP		_IOWR('e', 0x81, struct dma_edu_map)
#define DMA_EDU_IOC_UNMAP	_IOW('e', 0x82, struct dma_edu_unmap)
#define DMA_EDU_IOC_SEG		_IOWR('e', 0x83, struct dma_edu_seg)
#define DMA_EDU_IOC_CPU		_IOW('e', 0x84, struct dma_edu_cpu)
#define DMA_EDU_IOC_XFER	_IOW('e', 0x85, struct dma_edu_xfer)
#define DMA_EDU_IOC_MEM		_IOW('e', 0x86, struct dma_edu_mem)
#define DMA_EDU_IOC_BLOCK	_IOWR('e', 0x87, struct dma_edu_block)
#define DMA_EDU_IOC_FREE	_IOW('e', 0x88, struct dma_edu_blocks)
#define DMA_EDU_IOC_TAKE	_IOW('e', 0x89, struct dma_edu_blocks)
#define DMA_EDU_IOC_SYNC	_IOW('e', 0x90, struct dma_edu_sync)
#define DMA_EDU_IOC_PEEK	_IOW('e', 0x91, struct dma_edu_peek)
#define DMA_EDU_IOC_MAP_LIST	_IOWR('e', 0x92, struct dma_edu_list)
#define DMA_EDU_IOC_POOL	_IOWR('e', 0x95, struct dma_edu_pool)
#define DMA_EDU_IOC_FAULT_HANDLER _IOW('e', 0x93, struct dma_edu_fault_handler)
#define DMA_EDU_IOC_FAULTS	_IOR('e', 0x94, struct dma_edu_faults)

#endif /* _SELFTESTS_DMA_EDU_H */
