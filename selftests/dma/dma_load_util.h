/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the load programs share: time, random numbers, and data that can be told
 * from any other data.
 */

#ifndef _SELFTESTS_DMA_LOAD_UTIL_H
#define _SELFTESTS_DMA_LOAD_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Mismatches that are described, of each device */
#define LOAD_MAX_REPORTS	5

static inline long long load_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* A bijection that spreads each bit of @x over all others. */
static inline uint64_t load_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* Next number of the sequence that starts with *@rng. */
static inline uint64_t load_random(uint64_t *rng)
{
	*rng += 0x9e3779b97f4a7c15ULL;
	return load_mix(*rng);
}

/* From @lo to @hi */
static inline uint64_t load_range(uint64_t *rng, uint64_t lo, uint64_t hi)
{
	return lo + load_random(rng) % (hi - lo + 1);
}

/* @len bytes that follow from @key, and only from this one. */
static inline void load_fill(void *buf, size_t len, uint64_t key)
{
	size_t pos, part;
	uint64_t word;

	for (pos = 0; pos < len; pos += part) {
		word = load_mix(key + pos * 0x2545f4914f6cdd1dULL);
		part = len - pos < sizeof(word) ? len - pos : sizeof(word);
		memcpy((char *)buf + pos, &word, part);
	}
}

/* Where @buf first differs from what load_fill() wrote, @len if nowhere. */
static inline size_t load_differs(const void *buf, size_t len, uint64_t key)
{
	const char *is = buf, *want;
	size_t pos, part, i;
	uint64_t word;

	want = (const char *)&word;
	for (pos = 0; pos < len; pos += part) {
		word = load_mix(key + pos * 0x2545f4914f6cdd1dULL);
		part = len - pos < sizeof(word) ? len - pos : sizeof(word);
		if (!memcmp(is + pos, want, part))
			continue;
		for (i = 0; is[pos + i] == want[i]; i++)
			;
		return pos + i;
	}
	return len;
}

/* The number an option was given; ends the program if it is not in range. */
static inline unsigned long load_option(int opt, const char *arg,
					unsigned long lo, unsigned long hi)
{
	unsigned long val;
	char *end;

	errno = 0;
	val = strtoul(arg, &end, 0);
	if (!errno && *arg && !*end && val >= lo && val <= hi)
		return val;
	fprintf(stderr, "-%c is a number from %lu to %lu, not %s\n", opt, lo,
		hi, arg);
	exit(2);
}

#endif /* _SELFTESTS_DMA_LOAD_UTIL_H */
