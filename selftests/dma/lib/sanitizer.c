// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <string.h>

#include "../../kselftest.h"
#include "sanitizer.h"
#include "util.h"

#define STATS_PATH	"/sys/kernel/debug/iommu_debug_pagealloc/stats"

bool sanitizer_is_on(void)
{
	char buf[256];

	return !file_read(STATS_PATH, buf, sizeof(buf)) &&
	       !strncmp(buf, "enabled 1\n", strlen("enabled 1\n"));
}

long long sanitizer(const char *name)
{
	char buf[256], *at;

	if (!sanitizer_is_on())
		return 0;
	if (file_read(STATS_PATH, buf, sizeof(buf)))
		ksft_exit_fail_msg("cannot read %s\n", STATS_PATH);
	at = strstr(buf, name);
	if (!at)
		ksft_exit_fail_msg("no '%s' in %s\n", name, STATS_PATH);
	return strtoll(at + strlen(name), NULL, 10);
}
