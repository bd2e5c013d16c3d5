/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ABI between the dma_bar test module and the DMA selftests.
 *
 * FOR TESTS ONLY: /dev/dma_bar exports any physical range as a dma-buf, sound
 * or not, and maps it for any PCI device. This is not a stable ABI; the module
 * and the programs are built from the same tree.
 *
 * Rules common to all calls: reserved fields and unknown flags must be zero, or
 * the call fails with EINVAL.
 */

#ifndef _SELFTESTS_DMA_BAR_H
#define _SELFTESTS_DMA_BAR_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DMA_BAR_MAX_RANGES	4096U

/**
 * struct dma_bar_info - the BAR (DMA_BAR_IOC_INFO)
 * @name: out: PCI name of the device that has it, "0000:00:05.0"
 * @start: out: physical address
 * @size: out: bytes
 * @bus_offset: out: to be added to get an address on the PCI bus
 */
struct dma_bar_info {
	char name[32];
	__u64 start;
	__u64 size;
	__u64 bus_offset;
};

/**
 * struct dma_bar_range - part of a buffer
 * @offset: from the start of the BAR; not checked
 * @len: in bytes; not checked
 */
struct dma_bar_range {
	__u64 offset;
	__u64 len;
};

/* dma_bar_export.flags */
#define DMA_BAR_NO_PROVIDER	0x1U	/* as if the device had no such BAR */

/**
 * struct dma_bar_export - make a dma-buf (DMA_BAR_IOC_EXPORT)
 * @ranges: in: address of the user's array of struct dma_bar_range
 * @nr_ranges: in: how many, DMA_BAR_MAX_RANGES at most, may be 0
 * @flags: in: DMA_BAR_NO_PROVIDER or 0
 * @size: in: what is said to be the sum of the lengths
 * @fd: out: file descriptor of the dma-buf
 * @reserved: in: 0
 *
 * Nothing is mapped before DMA_BAR_IOC_IMPORT: that is who gets the errors.
 */
struct dma_bar_export {
	__u64 ranges;
	__u32 nr_ranges;
	__u32 flags;
	__u64 size;
	__s32 fd;
	__u32 reserved;
};

/* dma_bar_import.flags */
#define DMA_BAR_NO_PEER2PEER	0x1U	/* an importer that wants pages */
#define DMA_BAR_PIN		0x2U	/* one that cannot let go of the memory */

/**
 * struct dma_bar_import - map a dma-buf for a device (DMA_BAR_IOC_IMPORT)
 * @name: in: PCI name of the device; its driver stays bound while the mapping
 *	exists
 * @fd: in: the dma-buf, of any exporter
 * @dir: in: a value of enum dma_edu_dir
 * @flags: in: DMA_BAR_NO_PEER2PEER, DMA_BAR_PIN
 * @handle: out: name of the mapping for this open file, never 0
 * @nents: out: number of DMA segments
 * @reserved: in: 0
 *
 * Return: 0, or what dma-buf or the exporter returned.
 */
struct dma_bar_import {
	char name[32];
	__s32 fd;
	__u32 dir;
	__u32 flags;
	__u32 handle;
	__u32 nents;
	__u32 reserved;
};

/**
 * struct dma_bar_seg - one DMA segment of a mapping (DMA_BAR_IOC_SEG)
 * @handle: in: which mapping
 * @index: in: which segment, less than dma_bar_import.nents
 * @iova: out: DMA address
 * @len: out: bytes
 * @notified: out: how often the exporter has called for the mapping's end
 * @reserved: in: 0
 */
struct dma_bar_seg {
	__u32 handle;
	__u32 index;
	__u64 iova;
	__u64 len;
	__u32 notified;
	__u32 reserved;
};

/**
 * struct dma_bar_unmap - undo DMA_BAR_IOC_IMPORT (DMA_BAR_IOC_UNMAP)
 * @handle: in: which mapping
 * @reserved: in: 0
 *
 * close() does it for all mappings that are left.
 */
struct dma_bar_unmap {
	__u32 handle;
	__u32 reserved;
};

/**
 * struct dma_bar_pin - pin or unpin what is mapped (DMA_BAR_IOC_PIN)
 * @handle: in: which mapping
 * @pin: in: 1 to pin it, 0 to unpin it
 *
 * What DMA_BAR_PIN has pinned is not counted, and neither is whether pinning failed:
 * there are drivers that unpin what they could not pin.
 *
 * Return: 0, or what dma-buf or the exporter returned.
 */
struct dma_bar_pin {
	__u32 handle;
	__u32 pin;
};

/**
 * struct dma_bar_revoke - revoke a dma-buf of this exporter (DMA_BAR_IOC_REVOKE)
 * @fd: in: the dma-buf
 * @taken: out: mappings that were taken from the device
 * @left: out: mappings that were not: no IOMMU is in their way, or it is up to the
 *	importer to give them back
 * @reserved: in: 0
 *
 * Importers are told, but this one does not act on it. It is no error to revoke
 * twice. New mappings fail with ENODEV.
 */
struct dma_bar_revoke {
	__s32 fd;
	__u32 taken;
	__u32 left;
	__u32 reserved;
};

/**
 * struct dma_bar_fence - add a fence to a dma-buf (DMA_BAR_IOC_FENCE)
 * @fd: in: the dma-buf, of any exporter
 * @sync_file: in: what has the fence
 * @reserved: in: 0
 *
 * As an importer does whose device uses the memory in a way that nobody but the
 * exporter has to know of (DMA_RESV_USAGE_BOOKKEEP). User space can add fences of
 * its own by DMA_BUF_IOCTL_IMPORT_SYNC_FILE, but none of this kind.
 */
struct dma_bar_fence {
	__s32 fd;
	__s32 sync_file;
	__u64 reserved;
};

#define DMA_BAR_MAX_ROUNDS	65536U

/**
 * struct dma_bar_time - time mapping and unmapping (DMA_BAR_IOC_TIME)
 * @name: in: PCI name of the device to map for, as in struct dma_bar_import
 * @map_ns: in: address of an array of @rounds __u64, to be filled with what
 *	dma_buf_phys_vec_to_sgt() took in each round, in ns
 * @unmap_ns: in: the same for dma_buf_free_sgt()
 * @fd: in: a dma-buf of this exporter
 * @dir: in: a value of enum dma_edu_dir
 * @warmup: in: rounds before the first that counts, DMA_BAR_MAX_ROUNDS at most
 * @rounds: in: rounds that count, 1 to DMA_BAR_MAX_ROUNDS
 * @nents: out: number of DMA segments
 * @clock_ns: out: what two readings of the clock in a row take at least; it is
 *	contained in each time
 *
 * The device has a DMA mask of 64 bits meanwhile.
 */
struct dma_bar_time {
	char name[32];
	__u64 map_ns;
	__u64 unmap_ns;
	__s32 fd;
	__u32 dir;
	__u32 warmup;
	__u32 rounds;
	__u32 nents;
	__u32 clock_ns;
};

#define DMA_BAR_IOC_INFO	_IOR('b', 0x80, struct dma_bar_info)
#define DMA_BAR_IOC_EXPORT	_IOWR('b', 0x81, struct dma_bar_export)
#define DMA_BAR_IOC_IMPORT	_IOWR('b', 0x82, struct dma_bar_import)
#define DMA_BAR_IOC_SEG		_IOWR('b', 0x83, struct dma_bar_seg)
#define DMA_BAR_IOC_UNMAP	_IOW('b', 0x84, struct dma_bar_unmap)
#define DMA_BAR_IOC_REVOKE	_IOWR('b', 0x85, struct dma_bar_revoke)
#define DMA_BAR_IOC_TIME	_IOWR('b', 0x86, struct dma_bar_time)
#define DMA_BAR_IOC_FENCE	_IOW('b', 0x87, struct dma_bar_fence)
#define DMA_BAR_IOC_PIN		_IOW('b', 0x88, struct dma_bar_pin)

#endif /* _SELFTESTS_DMA_BAR_H */
