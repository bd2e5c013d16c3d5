/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User-space side of the dma_edu test module: the device, its IOMMU group, and its
 * ioctls.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_LIB_EDU_H
#define _SELFTESTS_DMA_LIB_EDU_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "../test_modules/dma_edu.h"

#define EDU_PCI_DEVICES	"/sys/bus/pci/devices"
#define EDU_PCI_DRIVER	"/sys/bus/pci/drivers/dma_edu"

#define EDU_PATH_MAX	512

/* What edu can address unless QEMU is told otherwise. */
#define XFER_MASK_BITS	28

/* Device under test: edu_take_device() fills it in. */
extern char edu_name[64];

bool edu_bound(const char *name);
int edu_bind(const char *name);
int edu_unbind(const char *name);

/* A file descriptor of the bound device, or a negative errno. */
int edu_open(const char *name);

/* Path of an attribute of the device's IOMMU group. */
void edu_group_attr(const char *name, const char *attr, char *path,
		    size_t size);

int edu_group_read(const char *name, const char *attr, char *buf, size_t size);
int edu_group_write(const char *name, const char *attr, const char *val);

/*
 * Name of the IOMMU that the device under test is behind, as in /sys/class/iommu: one
 * that its driver has chosen, and a number.
 */
int edu_iommu_name(char *name, size_t size);

/* How the names of some begin */
#define IOMMU_AMD_VI	"ivhd"
#define IOMMU_SMMUV3	"smmu3"
#define IOMMU_VTD	"dmar"

/* Is there one, with a name that begins so? */
bool edu_iommu_is(const char *start);

/*
 * KiB of guard in force, or a negative errno: ENOENT if the kernel has no guard
 * pages, or the device no group.
 */
long edu_guard_kb(const char *name);

int edu_set_guard_kb(const char *name, unsigned long kb);

int edu_ioctl(int fd, unsigned long cmd, void *arg);
int edu_info(int fd, struct dma_edu_info *info);
int edu_map(int fd, struct dma_edu_map *map);
int edu_unmap(int fd, __u32 handle, __u32 flags);
int edu_block(int fd, __u32 handle, __u32 index, struct dma_edu_block *block);
int edu_free(int fd, __u32 handle, __u32 first, __u32 count, __u32 flags);
int edu_take(int fd, __u32 handle, __u32 first, __u32 count);
int edu_sync(int fd, __u32 handle, __u64 off, __u64 len, __u32 flags);
int edu_peek(int fd, __u32 handle, __u32 index, __u64 off, void *data,
	     size_t len, __u32 flags);
int edu_cpu(int fd, __u32 handle, __u64 off, void *data, size_t len,
	    __u32 flags);
int edu_xfer(int fd, __u64 iova, __u32 mem_off, __u32 len, __u32 flags);
int edu_mem(int fd, __u32 off, void *data, size_t len, __u32 flags);

/* The type and guard size of the group, as a test found them. */
struct group_state {
	char type[32];
	long guard_kb;
};

int group_save(struct group_state *st);

/* Put the group into the state given. Ends with the driver bound. */
int group_set(const char *type, long guard_kb);

int group_restore(const struct group_state *st);

/*
 * Take the device that $DMA_EDU_DEV names, which dma_edu_lib.sh has looked up, for
 * the one to test. Ends the program if there is none.
 */
void edu_take_device(void);

/*
 * The same, bind it, and fill in the state of its group. Ends the program, with the
 * reason, if there is nothing to test.
 */
void edu_setup(struct group_state *booted);

/*
 * A test that was killed had no time to clean up: do it for all. Takes what the
 * tests returned, and returns what main() is to.
 */
int edu_finish(const struct group_state *booted, int ret);

#endif /* _SELFTESTS_DMA_LIB_EDU_H */
