// SPDX-License-Identifier: GPL-2.0
/*
 * Test the ioctls of /sys/kernel/debug/dma_map_benchmark as such: what they
 * refuse, and that the figures they return hang together. Needs a device bound
 * to the dma_map_benchmark driver.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/types.h>
#include <linux/map_benchmark.h>

#include "../kselftest_harness.h"

#define BENCH_FILE	"/sys/kernel/debug/dma_map_benchmark"

/* What the kernel had before there was a second ioctl */
#define OLD_IOCTL_NR	0xc0886401U
#define OLD_STRUCT_SIZE	136

FIXTURE(bench)
{
	int fd;
	struct map_benchmark_v2 v2;
	struct map_benchmark v1;
};

FIXTURE_SETUP(bench)
{
	self->fd = open(BENCH_FILE, O_RDWR);
	if (self->fd < 0)
		SKIP(return, "%s: %s", BENCH_FILE, strerror(errno));

	memset(&self->v2, 0, sizeof(self->v2));
	self->v2.dma_bits = 64;
	self->v2.threads = 1;
	self->v2.node = -1;
	self->v2.warmup = 2;
	self->v2.iterations = 50;
	self->v2.size = 4096;

	memset(&self->v1, 0, sizeof(self->v1));
	self->v1.dma_bits = 64;
	self->v1.threads = 1;
	self->v1.node = -1;
	self->v1.seconds = 1;
	self->v1.granule = 1;
}

FIXTURE_TEARDOWN(bench)
{
	if (self->fd >= 0)
		close(self->fd);
}

#define run_v2(self)	ioctl((self)->fd, DMA_MAP_BENCHMARK_V2, &(self)->v2)
#define run_v1(self)	ioctl((self)->fd, DMA_MAP_BENCHMARK, &(self)->v1)

/* Expect EINVAL with one field changed, and restore it. */
#define expect_refused(run, param, field, bad)				\
	do {								\
		__typeof__((param).field) good = (param).field;		\
									\
		(param).field = (bad);					\
		errno = 0;						\
		EXPECT_EQ(-1, run(self))				\
			TH_LOG(#field " = " #bad " was accepted");	\
		EXPECT_EQ(EINVAL, errno);				\
		(param).field = good;					\
	} while (0)

static void check_stats(struct __test_metadata *_metadata,
			const struct map_benchmark_stats *stats)
{
	EXPECT_LT(0, stats->min);
	EXPECT_LE(stats->min, stats->p50);
	EXPECT_LE(stats->p50, stats->p95);
	EXPECT_LE(stats->p95, stats->p99);
	EXPECT_LE(stats->p99, stats->max);
	EXPECT_LE(stats->min, stats->mean);
	EXPECT_LE(stats->mean, stats->max);
}

static void check_run(struct __test_metadata *_metadata,
		      FIXTURE_DATA(bench) *self)
{
	uint64_t rounds = (uint64_t)self->v2.threads * self->v2.iterations;

	ASSERT_EQ(0, run_v2(self))
		TH_LOG("mode %u size %llu offset %u order %u: %s",
		       self->v2.mode, self->v2.size, self->v2.offset,
		       self->v2.order, strerror(errno));
	EXPECT_EQ(rounds, self->v2.mapped);
	EXPECT_EQ(0, self->v2.failed);
	check_stats(_metadata, &self->v2.map);
	check_stats(_metadata, &self->v2.unmap);
}

TEST_F(bench, old_abi_is_unchanged)
{
	EXPECT_EQ(OLD_IOCTL_NR, (unsigned int)DMA_MAP_BENCHMARK);
	EXPECT_EQ(OLD_STRUCT_SIZE, sizeof(struct map_benchmark));
	EXPECT_EQ(0, run_v1(self));
	EXPECT_EQ(1, self->v1.threads);
}

TEST_F(bench, old_refuses_bad_parameters)
{
	expect_refused(run_v1, self->v1, threads, 0);
	expect_refused(run_v1, self->v1, threads, DMA_MAP_MAX_THREADS + 1);
	expect_refused(run_v1, self->v1, seconds, 0);
	expect_refused(run_v1, self->v1, seconds, DMA_MAP_MAX_SECONDS + 1);
	expect_refused(run_v1, self->v1, dma_bits, 0);
	expect_refused(run_v1, self->v1, dma_bits, DMA_MAP_MIN_BITS - 1);
	expect_refused(run_v1, self->v1, dma_bits, DMA_MAP_MAX_BITS + 1);
	expect_refused(run_v1, self->v1, dma_dir, 3);
	expect_refused(run_v1, self->v1, granule, 0);
	expect_refused(run_v1, self->v1, granule, 1025);
	expect_refused(run_v1, self->v1, node, 1 << 20);
}

TEST_F(bench, refuses_bad_parameters)
{
	expect_refused(run_v2, self->v2, mode, DMA_MAP_BENCH_IOVA_MODE + 1);
	expect_refused(run_v2, self->v2, dma_dir, 3);
	expect_refused(run_v2, self->v2, dma_bits, 0);
	expect_refused(run_v2, self->v2, dma_bits, DMA_MAP_MIN_BITS - 1);
	expect_refused(run_v2, self->v2, dma_bits, DMA_MAP_MAX_BITS + 1);
	expect_refused(run_v2, self->v2, threads, 0);
	expect_refused(run_v2, self->v2, threads, DMA_MAP_MAX_THREADS + 1);
	expect_refused(run_v2, self->v2, node, -2);
	expect_refused(run_v2, self->v2, node, 1 << 20);
	expect_refused(run_v2, self->v2, dma_trans_ns, 10000001);
	expect_refused(run_v2, self->v2, warmup, DMA_MAP_MAX_ITERATIONS + 1);
	expect_refused(run_v2, self->v2, iterations, 0);
	expect_refused(run_v2, self->v2, iterations, DMA_MAP_MAX_ITERATIONS + 1);
	expect_refused(run_v2, self->v2, offset, getpagesize());
	expect_refused(run_v2, self->v2, size, 0);
	expect_refused(run_v2, self->v2, size, 1ULL << 40);
	expect_refused(run_v2, self->v2, order, 1);
	expect_refused(run_v2, self->v2, reserved[0], 1);
	expect_refused(run_v2, self->v2, reserved[7], 1);

	self->v2.threads = DMA_MAP_MAX_THREADS;
	expect_refused(run_v2, self->v2, iterations,
		       DMA_MAP_MAX_SAMPLES / DMA_MAP_MAX_THREADS + 1);
	self->v2.threads = 1;

	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	expect_refused(run_v2, self->v2, size, DMA_MAP_MAX_SIZE + 1ULL);
	expect_refused(run_v2, self->v2, order, 30);

	/* The parameters themselves are good. */
	check_run(_metadata, self);
}

TEST_F(bench, refuses_unknown_ioctl_and_bad_pointer)
{
	EXPECT_EQ(-1, ioctl(self->fd, _IOWR('d', 3, struct map_benchmark_v2),
			    &self->v2));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->fd, DMA_MAP_BENCHMARK_V2, NULL));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(bench, every_mode_size_and_offset)
{
	static const uint64_t sizes[] = { 1, 511, 4096, 4097, 65536, 1 << 20 };
	unsigned int i;

	for (self->v2.mode = DMA_MAP_BENCH_SINGLE_MODE;
	     self->v2.mode <= DMA_MAP_BENCH_IOVA_MODE; self->v2.mode++) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			self->v2.size = sizes[i];
			self->v2.offset = 0;
			check_run(_metadata, self);
			self->v2.offset = 512;
			check_run(_metadata, self);
			self->v2.offset = getpagesize() - 1;
			check_run(_metadata, self);
		}
	}
}

TEST_F(bench, high_order_pages)
{
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	self->v2.size = 4 << 20;
	self->v2.order = 9;
	check_run(_metadata, self);
	self->v2.mode = DMA_MAP_BENCH_IOVA_MODE;
	self->v2.offset = 512;
	self->v2.order = 3;
	check_run(_metadata, self);
}

TEST_F(bench, threads_share_the_work)
{
	self->v2.threads = 4;
	check_run(_metadata, self);
}

/* 64 MiB do not fit below 32 MiB: every round fails, and that is the result. */
TEST_F(bench, failures_are_counted)
{
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	self->v2.size = 64 << 20;
	self->v2.dma_bits = 25;
	self->v2.iterations = 5;
	ASSERT_EQ(0, run_v2(self));
	EXPECT_EQ(0, self->v2.mapped);
	EXPECT_EQ(5, self->v2.failed);
	EXPECT_EQ(0, self->v2.map.max);
}

TEST_HARNESS_MAIN
