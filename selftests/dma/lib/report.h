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

/* So long a burst of faults is one report, and a second the limit of them. */
#define REPORT_QUIET_MS		1200

struct report {
	char line[REPORT_MAX_LINES][KMSG_LINE_MAX];
	int nr;
};

/* The lines between the next two rules, of which the first says what it is. */
bool report_read(int kmsg, struct report *r);

/* The index of the first line from @from on that has @text, -1 if none has. */
int report_find(const struct report *r, int from, const char *text);

/* The first line that begins so, an empty one if none does. */
const char *report_line(const struct report *r, const char *start);

/* Whether a line has such a text; prints the report if none has. */
bool report_has(const struct report *r, const char *format, ...);

/* Whether the lines have these texts, in this order, up to a NULL; prints as well. */
bool __attribute__((sentinel))
report_has_in_order(const struct report *r, const char *text, ...);

#endif /* _SELFTESTS_DMA_LIB_REPORT_H */
