// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../kselftest.h"
#include "report.h"

bool report_read(int kmsg, struct report *r)
{
	char line[KMSG_LINE_MAX];
	bool inside = false;

	r->nr = 0;
	while (kmsg_next(kmsg, line, REPORT_WAIT_MS)) {
		if (strstr(line, "====")) {
			if (inside && r->nr)
				return true;
			inside = true;
		} else if (inside && r->nr < REPORT_MAX_LINES) {
			strcpy(r->line[r->nr++], line);
		}
	}
	return false;
}

int report_find(const struct report *r, int from, const char *text)
{
	int i;

	for (i = from; i < r->nr; i++)
		if (strstr(r->line[i], text))
			return i;
	return -1;
}

const char *report_line(const struct report *r, const char *start)
{
	int i;

	for (i = 0; i < r->nr; i++)
		if (!strncmp(r->line[i], start, strlen(start)))
			return r->line[i];
	return "";
}

/* The index of the line, -1 after the lines have been printed if there is none. */
static int find_or_print(const struct report *r, int from, const char *text)
{
	int i, at = report_find(r, from, text);

	if (at >= 0)
		return at;
	ksft_print_msg("no line \"%s\" in:\n", text);
	for (i = from; i < r->nr; i++)
		ksft_print_msg("  %s\n", r->line[i]);
	return -1;
}

bool report_has(const struct report *r, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return find_or_print(r, 0, text) >= 0;
}

bool report_has_in_order(const struct report *r, const char *text, ...)
{
	va_list args;
	int at = -1;

	va_start(args, text);
	do {
		at = find_or_print(r, at + 1, text);
		text = va_arg(args, const char *);
	} while (at >= 0 && text);
	va_end(args);
	return at >= 0;
}
