// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edu.h"
#include "sample.h"
#include "util.h"

long sample_stat(const char *name)
{
	char stats[1024], text[64], *at;

	if (file_read(SAMPLE_STATS, stats, sizeof(stats)))
		return -1;
	snprintf(text, sizeof(text), "%s=", name);
	at = strstr(stats, text);
	return at ? atol(at + strlen(text)) : -1;
}

static bool sample_is(const char *state, __u64 iova)
{
	static char mappings[1 << 16];
	char text[128];
	size_t nr;
	FILE *f;

	f = fopen(SAMPLE_MAPPINGS, "r");
	if (!f)
		return false;
	nr = fread(mappings, 1, sizeof(mappings) - 1, f);
	mappings[nr] = '\0';
	fclose(f);
	snprintf(text, sizeof(text), "%s dma_edu %s IOVA 0x%016llx ", state,
		 edu_name, (unsigned long long)iova);
	return strstr(mappings, text);
}

bool sample_is_live(__u64 iova)
{
	return sample_is("live", iova);
}

bool sample_is_gone(__u64 iova)
{
	return sample_is("gone", iova);
}
