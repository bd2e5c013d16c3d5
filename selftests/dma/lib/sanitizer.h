/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counters of IOMMU_DEBUG_PAGEALLOC.
 */

#ifndef _SELFTESTS_DMA_LIB_SANITIZER_H
#define _SELFTESTS_DMA_LIB_SANITIZER_H

#include <stdbool.h>

bool sanitizer_is_on(void);

/*
 * A counter of the sanitizer, 0 if that is not on. A test that cannot read it fails:
 * two values that are not known are not equal.
 */
long long sanitizer(const char *name);

#endif /* _SELFTESTS_DMA_LIB_SANITIZER_H */
