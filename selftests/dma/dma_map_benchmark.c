// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copyright (C) 2020 HiSilicon Limited.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/types.h>
#include <linux/map_benchmark.h>
#include "../kselftest.h"

#define NSEC_PER_MSEC	1000000L

static char *directions[] = {
	"BIDIRECTIONAL",
	"TO_DEVICE",
	"FROM_DEVICE",
};

static const char * const modes[] = {
	[DMA_MAP_BENCH_SINGLE_MODE]	= "single",
	[DMA_MAP_BENCH_SG_MODE]		= "sg",
	[DMA_MAP_BENCH_IOVA_MODE]	= "iova",
};

static const char usage[] =
"Usage: dma_map_benchmark [OPTION]...\n"
"Measure DMA map and unmap on the device bound to the dma_map_benchmark driver.\n"
"\n"
"  -t THREADS  threads that map and unmap in parallel (1)\n"
"  -n NODE     NUMA node of threads and buffers, -1: any (-1)\n"
"  -b BITS     DMA mask, 20 to 64 bits (32)\n"
"  -d DIR      0: bidirectional, 1: to device, 2: from device (0)\n"
"  -x NS       pause between map and unmap in ns (0)\n"
"  -s SECONDS  how long (20); with -i: fail after that time (300)\n"
"\n"
"Without -i, for a fixed time, in units of 0.1 us:\n"
"  -g PAGES    pages to map at a time (1)\n"
"\n"
"With -i, a fixed number of rounds, in ns; the others of these need it:\n"
"  -i COUNT    rounds per thread\n"
"  -w COUNT    rounds per thread before the first that counts (100)\n"
"  -m MODE     single: dma_map_single(), sg: dma_map_sgtable(),\n"
"              iova: dma_iova_link() (single)\n"
"  -l BYTES    bytes to map at a time; K, M and G may follow (one page)\n"
"  -o BYTES    offset of the buffer in its first page (0)\n"
"  -p ORDER    sg, iova: page order of the buffer, which is scattered in\n"
"              memory (0)\n"
"  -k COUNT    single: mappings that each thread keeps meanwhile (0)\n"
"  -j          print one line of JSON\n"
"\n"
"  -h, --help  this text\n";

/* Parse @arg as a number with an optional suffix; exits unless it is one. */
static long long number(char opt, const char *arg, long long min, long long max)
{
	static const char suffixes[] = "KMG";
	long long val, unit = 1;
	const char *suffix;
	char *end;

	errno = 0;
	val = strtoll(arg, &end, 0);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		unit <<= 10 * (suffix - suffixes + 1);
		end++;
	}
	/* The product is looked at only if neither end of the type is passed. */
	if (errno || end == arg || *end ||
	    val > LLONG_MAX / unit || val < LLONG_MIN / unit ||
	    val * unit < min || val * unit > max) {
		fprintf(stderr, "-%c %s: not a value from %lld to %lld\n",
			opt, arg, min, max);
		exit(1);
	}
	return val * unit;
}

static int mode_number(const char *arg)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(arg, modes[i]))
			return i;

	fprintf(stderr, "-m %s: not single, sg or iova\n", arg);
	exit(1);
}

static void print_stats(const char *what, const struct map_benchmark_stats *stats)
{
	printf("%-5s latency(ns): min:%llu p50:%llu mean:%llu",
	       what, stats->min, stats->p50, stats->mean);
	printf(" p95:%llu p99:%llu max:%llu stddev:%llu\n",
	       stats->p95, stats->p99, stats->max, stats->stddev);
}

static void json_stats(const char *what, const struct map_benchmark_stats *stats)
{
	printf(",\"%s_ns\":{\"min\":%llu,\"p50\":%llu,\"mean\":%llu",
	       what, stats->min, stats->p50, stats->mean);
	printf(",\"p95\":%llu,\"p99\":%llu,\"max\":%llu,\"stddev\":%llu}",
	       stats->p95, stats->p99, stats->max, stats->stddev);
}

static void json_rounds(const struct map_benchmark_v2 *map)
{
	printf("{\"mode\":\"%s\",\"dir\":\"%s\",\"bits\":%u,\"threads\":%u",
	       modes[map->mode], directions[map->dma_dir], map->dma_bits,
	       map->threads);
	printf(",\"node\":%d,\"pause_ns\":%u,\"size\":%llu,\"offset\":%u",
	       map->node, map->dma_trans_ns, map->size, map->offset);
	printf(",\"order\":%u,\"warmup\":%u,\"iterations\":%u",
	       map->order, map->warmup, map->iterations);
	printf(",\"live\":%llu", map->live);
	printf(",\"mapped\":%llu,\"failed\":%llu,\"clock_ns\":%llu",
	       map->mapped, map->failed, map->clock_ns);
	json_stats("map", &map->map);
	json_stats("unmap", &map->unmap);
	printf("}\n");
}

static void run_rounds(int fd, struct map_benchmark_v2 *map, int json)
{
	if (ioctl(fd, DMA_MAP_BENCHMARK_V2, map)) {
		fprintf(stderr, "ioctl: %s%s\n", strerror(errno),
			errno == EINVAL ? ": see the kernel's log" : "");
		exit(1);
	}

	if (json) {
		json_rounds(map);
		return;
	}

	printf("dma mapping benchmark: mode:%s threads:%u node:%d dir:%s\n",
	       modes[map->mode], map->threads, map->node,
	       directions[map->dma_dir]);
	printf("size:%llu offset:%u order:%u live:%llu rounds mapped:%llu failed:%llu\n",
	       map->size, map->offset, map->order, map->live, map->mapped,
	       map->failed);
	print_stats("map", &map->map);
	print_stats("unmap", &map->unmap);
	printf("of each latency %llu ns are the clock\n", map->clock_ns);
}

int main(int argc, char **argv)
{
	struct map_benchmark map;
	int fd, opt;
	/* default single thread, run 20 seconds on NUMA_NO_NODE */
	int threads = 1, seconds = 20, node = -1;
	/* default dma mask 32bit, bidirectional DMA */
	int bits = 32, xdelay = 0, dir = DMA_MAP_BIDIRECTIONAL;
	/* default granule 1 PAGESIZE */
	int granule = 1;

	int cmd = DMA_MAP_BENCHMARK;
	struct map_benchmark_v2 rounds = {
		.warmup = 100,
		.size = getpagesize(),
	};
	static const struct option longopts[] = {
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	/* An option seen that means nothing without -i */
	char rounds_opt = 0;
	int json = 0;

	while ((opt = getopt_long(argc, argv, "t:s:n:b:d:x:g:i:w:m:l:o:p:k:jh",
				  longopts, NULL)) != -1) {
		if (strchr("wmlopkj", opt))
			rounds_opt = opt;

		switch (opt) {
		case 't':
			threads = number(opt, optarg, 1, DMA_MAP_MAX_THREADS);
			break;
		case 's':
			seconds = number(opt, optarg, 1, DMA_MAP_MAX_SECONDS);
			rounds.seconds = seconds;
			break;
		case 'n':
			node = number(opt, optarg, -1, INT_MAX);
			break;
		case 'b':
			bits = number(opt, optarg, DMA_MAP_MIN_BITS,
				      DMA_MAP_MAX_BITS);
			break;
		case 'd':
			dir = number(opt, optarg, DMA_MAP_BIDIRECTIONAL,
				     DMA_MAP_FROM_DEVICE);
			break;
		case 'x':
			xdelay = number(opt, optarg, 0, DMA_MAP_MAX_TRANS_DELAY);
			break;
		case 'g':
			granule = number(opt, optarg, 1, 1024);
			break;
		case 'i':
			rounds.iterations = number(opt, optarg, 1,
						   DMA_MAP_MAX_ITERATIONS);
			break;
		case 'w':
			rounds.warmup = number(opt, optarg, 0,
					       DMA_MAP_MAX_ITERATIONS);
			break;
		case 'm':
			rounds.mode = mode_number(optarg);
			break;
		case 'l':
			rounds.size = number(opt, optarg, 1, DMA_MAP_MAX_SIZE);
			break;
		case 'o':
			rounds.offset = number(opt, optarg, 0, getpagesize() - 1);
			break;
		case 'p':
			rounds.order = number(opt, optarg, 0, 30);
			break;
		case 'k':
			rounds.live = number(opt, optarg, 0, DMA_MAP_MAX_LIVE);
			break;
		case 'j':
			json = 1;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			exit(1);
		}
	}

	if (optind < argc) {
		fprintf(stderr, "unexpected argument %s\n", argv[optind]);
		exit(1);
	}

	if (rounds_opt && !rounds.iterations) {
		fprintf(stderr, "-%c needs -i: without it there are no rounds\n",
			rounds_opt);
		exit(1);
	}

	if (rounds.order && rounds.mode == DMA_MAP_BENCH_SINGLE_MODE) {
		fprintf(stderr, "-p needs -m sg or iova: single is in one piece\n");
		exit(1);
	}

	if (rounds.live && rounds.mode != DMA_MAP_BENCH_SINGLE_MODE) {
		fprintf(stderr, "-k needs -m single\n");
		exit(1);
	}

	fd = open("/sys/kernel/debug/dma_map_benchmark", O_RDWR);
	if (fd == -1) {
		perror("open");
		exit(1);
	}

	if (rounds.iterations) {
		rounds.dma_dir = dir;
		rounds.dma_bits = bits;
		rounds.threads = threads;
		rounds.node = node;
		rounds.dma_trans_ns = xdelay;
		run_rounds(fd, &rounds, json);
		return 0;
	}

	memset(&map, 0, sizeof(map));
	map.seconds = seconds;
	map.threads = threads;
	map.node = node;
	map.dma_bits = bits;
	map.dma_dir = dir;
	map.dma_trans_ns = xdelay;
	map.granule = granule;

	if (ioctl(fd, cmd, &map)) {
		perror("ioctl");
		exit(1);
	}

	printf("dma mapping benchmark: threads:%d seconds:%d node:%d dir:%s granule: %d\n",
			threads, seconds, node, dir[directions], granule);
	printf("average map latency(us):%.1f standard deviation:%.1f\n",
			map.avg_map_100ns/10.0, map.map_stddev/10.0);
	printf("average unmap latency(us):%.1f standard deviation:%.1f\n",
			map.avg_unmap_100ns/10.0, map.unmap_stddev/10.0);

	return 0;
}
