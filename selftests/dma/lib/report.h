/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reports of the kernel between two rules, as of DMA faults and of canaries
 */
#ifndef _SELFTESTS_DMA_LIB_REPORT_H
#define _SELFTESTS_DMA_LIB_REPORT_H

#include <stdbool.h>

#include "kmsg.h"

/* Enough for a report with three stacks */
#define REPORT_MAX_LINES	96
#define REPORT_WAIT_MS		3000

struct report {
	char line[REPORT_MAX_LINES][KMSG_LINE_MAX];
	int nr;
};

/* The lines between the next two rules, of which the first says what it is. */
bool report_read(int kmsg, struct report *r);

/* The index of the first line from @from on that has @text, -1 if none has. */
int report_find(const struct report *r, int from, const char *text);

/* Whether a line has such a text; prints the report if none has. */
bool report_has(const struct report *r, const char *format, ...);

#endif /* _SELFTESTS_DMA_LIB_REPORT_H */
