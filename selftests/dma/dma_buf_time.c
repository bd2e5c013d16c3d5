// SPDX-License-Identifier: GPL-2.0
/*
 * Time what mapping ranges of a BAR for another device takes
 *
 * The dma_bar module has the BAR, of QEMU's ivshmem-plain device, and the clock.
 * Ranges have gaps of their own length between them, so that none are joined.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <linux/types.h>
#include "../kselftest.h"
#include "test_modules/dma_bar.h"

static const char usage[] =
"Usage: dma_buf_time [OPTION]... DEVICE\n"
"Measure dma_buf_phys_vec_to_sgt() and dma_buf_free_sgt() for the PCI device\n"
"DEVICE, e.g. 0000:00:04.0, and print one line of JSON.\n"
"\n"
"  -l BYTES   bytes to map at a time; K, M and G may follow (64K)\n"
"  -r RANGES  in how many ranges, which divides them (1)\n"
"  -i COUNT   rounds (1000)\n"
"  -w COUNT   rounds before the first that counts (100)\n"
"  -h         this text\n";

static void fail(const char *what)
{
	fprintf(stderr, "dma_buf_time: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Parse @arg as a number with an optional suffix; exits unless it is one. */
static __u64 parse(int opt, const char *arg, __u64 max)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	__u64 val, unit = 1;
	char *end;

	errno = 0;
	val = strtoull(arg, &end, 0);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		unit <<= 10 * (suffix - suffixes + 1);
		end++;
	}
	if (errno || end == arg || *end || *arg == '-' || val > max / unit) {
		fprintf(stderr, "-%c %s: not a number up to %llu\n", opt, arg,
			max);
		exit(1);
	}
	return val * unit;
}

static int export(int bar, __u64 size, __u32 nr)
{
	struct dma_bar_range *ranges = calloc(nr, sizeof(*ranges));
	struct dma_bar_export req = {
		.ranges = (unsigned long)ranges,
		.nr_ranges = nr,
		.size = size,
	};
	__u32 i;

	if (!ranges)
		fail("ranges");
	for (i = 0; i < nr; i++) {
		ranges[i].len = size / nr;
		ranges[i].offset = 2 * i * ranges[i].len;
	}
	if (ioctl(bar, DMA_BAR_IOC_EXPORT, &req))
		fail("export");
	free(ranges);
	return req.fd;
}

static int cmp(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return (x > y) - (x < y);
}

static void print_stats(const char *what, __u64 *ns, __u32 n)
{
	__u64 sum = 0;
	__u32 i;

	qsort(ns, n, sizeof(*ns), cmp);
	for (i = 0; i < n; i++)
		sum += ns[i];
	printf(",\"%s_ns\":{\"min\":%llu,\"p50\":%llu,\"mean\":%llu,\"max\":%llu}",
	       what, ns[0], ns[(n - 1) / 2], sum / n, ns[n - 1]);
}

int main(int argc, char **argv)
{
	struct dma_bar_time req = { .warmup = 100, .rounds = 1000 };
	struct dma_bar_info info;
	__u64 size = 65536, *ns;
	__u32 nr = 1;
	int bar, opt;

	while ((opt = getopt(argc, argv, "l:r:i:w:h")) != -1) {
		switch (opt) {
		case 'l':
			size = parse(opt, optarg, 1ULL << 40);
			break;
		case 'r':
			nr = parse(opt, optarg, DMA_BAR_MAX_RANGES);
			break;
		case 'i':
			req.rounds = parse(opt, optarg, DMA_BAR_MAX_ROUNDS);
			break;
		case 'w':
			req.warmup = parse(opt, optarg, DMA_BAR_MAX_ROUNDS);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 1;
		}
	}
	if (optind + 1 != argc || !nr || !req.rounds || size % nr ||
	    strlen(argv[optind]) >= sizeof(req.name)) {
		fputs(usage, stderr);
		return 1;
	}
	memcpy(req.name, argv[optind], strlen(argv[optind]));

	bar = open("/dev/dma_bar", O_RDWR | O_CLOEXEC);
	if (bar < 0)
		fail("/dev/dma_bar");
	if (ioctl(bar, DMA_BAR_IOC_INFO, &info))
		fail("info");
	if (size > (nr > 1 ? info.size / 2 : info.size)) {
		fprintf(stderr, "dma_buf_time: a BAR of %llu bytes is too small\n",
			info.size);
		return 1;
	}

	ns = calloc(2 * req.rounds, sizeof(*ns));
	if (!ns)
		fail("samples");
	req.map_ns = (unsigned long)ns;
	req.unmap_ns = (unsigned long)(ns + req.rounds);
	req.fd = export(bar, size, nr);
	if (ioctl(bar, DMA_BAR_IOC_TIME, &req))
		fail("time");

	printf("{\"mode\":\"phys_vec\",\"size\":%llu,\"offset\":0,\"order\":0",
	       size);
	printf(",\"ranges\":%u,\"entries\":%u,\"warmup\":%u,\"iterations\":%u",
	       nr, req.nents, req.warmup, req.rounds);
	printf(",\"mapped\":%u,\"failed\":0,\"clock_ns\":%u", req.rounds,
	       req.clock_ns);
	print_stats("map", ns, req.rounds);
	print_stats("unmap", ns + req.rounds, req.rounds);
	printf("}\n");
	return 0;
}
