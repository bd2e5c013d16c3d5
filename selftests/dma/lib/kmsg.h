/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel log, as a test reads it.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_LIB_KMSG_H
#define _SELFTESTS_DMA_LIB_KMSG_H

#include <stdbool.h>
#include <linux/types.h>

/* Longer lines of the kernel log are cut off. */
#define KMSG_LINE_MAX	1024

/* A reader that sees only what is logged from now on, or a negative errno. */
int kmsg_open(void);

/* The text of the next line, false if there is none within the time given. */
bool kmsg_next(int fd, char line[KMSG_LINE_MAX], int timeout_ms);

/*
 * Is this the first line of a report that DMA of @dev, or of any device if that is
 * NULL, has faulted?
 */
bool kmsg_is_fault_report(const char *line, const char *dev);

/*
 * No complaint of the kernel about itself in what is still to be read. Not one is
 * that @dev, or any device if that is NULL, has faulted: a test that makes it fault
 * says so. Nor is a line with @harmless in it, and one with @bad_too is, if these
 * are not NULL.
 */
bool kmsg_has_no_complaint(int fd, const char *dev, const char *harmless,
			   const char *bad_too);

/* Of the device under test, in a test that may have allocations fail. */
bool kmsg_is_clean(int fd);

/* Does the line come from an IOMMU driver that reports a fault? */
bool kmsg_is_iommu(const char *line);

/* Is there a hexadecimal number from @lo to @hi - 1 in the line? */
bool kmsg_has_value(const char *line, __u64 lo, __u64 hi);

/*
 * Wait for an IOMMU's report of an access to an address from @lo to @hi - 1.
 * The drivers differ in text and in whether they round to a page, so that only
 * the value counts.
 */
bool kmsg_wait_fault(int fd, __u64 lo, __u64 hi, char line[KMSG_LINE_MAX],
		     int timeout_ms);

#endif /* _SELFTESTS_DMA_LIB_KMSG_H */
