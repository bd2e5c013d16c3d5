/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Transfers that the IOMMU is to stop, and to say so.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_LIB_FAULT_H
#define _SELFTESTS_DMA_LIB_FAULT_H

#include <stdbool.h>
#include <linux/types.h>

/* Drivers print a few reports in five seconds and drop the rest. */
#define RATELIMIT_MS	5200
#define FAULT_WAIT_MS	1000

/*
 * Does the IOMMU tell nobody what it stops? QEMU's AMD-Vi does not, which is to be
 * seen by an access that cannot be right. Of any other IOMMU that is a fault.
 */
bool edu_iommu_is_mute(int fd, int kmsg);

/* Have the device do a transfer, and see whether the IOMMU complains. */
int edu_xfer_faults(int fd, int kmsg, __u64 iova, __u32 len, __u32 flags,
		    __u64 fault_lo, __u64 fault_hi, bool *faulted);

/*
 * The device tries to write @len bytes of its memory to @iova, or else to read
 * them: 0 if the IOMMU says so, ENOMSG if it does not.
 */
int device_faults(int edu, int kmsg, __u64 iova, __u32 len, bool write);

#endif /* _SELFTESTS_DMA_LIB_FAULT_H */
