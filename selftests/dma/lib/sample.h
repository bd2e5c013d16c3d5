/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel says in debugfs of DMA mappings that are sampled
 */
#ifndef _SELFTESTS_DMA_LIB_SAMPLE_H
#define _SELFTESTS_DMA_LIB_SAMPLE_H

#include <stdbool.h>
#include <linux/types.h>

#define SAMPLE_INTERVAL	"/sys/module/iommu/parameters/dma_sample_interval"
#define SAMPLE_CANARY	"/sys/module/iommu/parameters/dma_sample_canary"
#define SAMPLE_MAPPINGS	"/sys/kernel/debug/iommu_dma_sample/mappings"
#define SAMPLE_STATS	"/sys/kernel/debug/iommu_dma_sample/stats"

/* How often there was what @name is, or -1 */
long sample_stat(const char *name);

/* Whether a mapping of the device at @iova is sampled, and is mapped, or was. */
bool sample_is_live(__u64 iova);
bool sample_is_gone(__u64 iova);

#endif /* _SELFTESTS_DMA_LIB_SAMPLE_H */
