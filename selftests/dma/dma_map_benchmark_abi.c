// SPDX-License-Identifier: GPL-2.0
/*
 * Test the ioctls of /sys/kernel/debug/dma_map_benchmark as such: what they
 * refuse, and that the figures they return hang together. Needs a device bound
 * to the dma_map_benchmark driver.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
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

struct bad_value {
	const char *name;
	size_t offset;
	size_t size;
	uint64_t value;
};

#define BAD_V1(field, bad) \
	{ #field " = " #bad, offsetof(struct map_benchmark, field), 4, bad }
#define BAD_V2(field, bad) \
	{ #field " = " #bad, offsetof(struct map_benchmark_v2, field), 4, bad }
#define BAD_V2_LONG(field, bad) \
	{ #field " = " #bad, offsetof(struct map_benchmark_v2, field), 8, bad }

/* Expect EINVAL from @cmd with the one field of @param changed; restore it. */
static void check_refused(struct __test_metadata *_metadata, int fd,
			  unsigned long cmd, void *param,
			  const struct bad_value *bad)
{
	char *field = (char *)param + bad->offset;
	uint32_t bad32 = bad->value;
	uint64_t good = 0;

	memcpy(&good, field, bad->size);
	if (bad->size == sizeof(bad32))
		memcpy(field, &bad32, sizeof(bad32));
	else
		memcpy(field, &bad->value, sizeof(bad->value));

	errno = 0;
	EXPECT_EQ(-1, ioctl(fd, cmd, param))
		TH_LOG("%s was accepted", bad->name);
	EXPECT_EQ(EINVAL, errno)
		TH_LOG("%s: %s", bad->name, strerror(errno));
	memcpy(field, &good, bad->size);
}

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

static void check_run(struct __test_metadata *_metadata, int fd,
		      struct map_benchmark_v2 *v2)
{
	uint64_t rounds = (uint64_t)v2->threads * v2->iterations;

	ASSERT_EQ(0, ioctl(fd, DMA_MAP_BENCHMARK_V2, v2))
		TH_LOG("mode %u size %llu offset %u order %u: %s", v2->mode,
		       v2->size, v2->offset, v2->order, strerror(errno));
	EXPECT_EQ(rounds, v2->mapped);
	EXPECT_EQ(0, v2->failed);
	check_stats(_metadata, &v2->map);
	check_stats(_metadata, &v2->unmap);
}

TEST_F(bench, old_abi_is_unchanged)
{
	EXPECT_EQ(OLD_IOCTL_NR, (unsigned int)DMA_MAP_BENCHMARK);
	EXPECT_EQ(OLD_STRUCT_SIZE, sizeof(struct map_benchmark));
	EXPECT_EQ(0, ioctl(self->fd, DMA_MAP_BENCHMARK, &self->v1));
	EXPECT_EQ(1, self->v1.threads);
}

TEST_F(bench, old_refuses_bad_parameters)
{
	static const struct bad_value bad[] = {
		BAD_V1(threads, 0),
		BAD_V1(threads, DMA_MAP_MAX_THREADS + 1),
		BAD_V1(seconds, 0),
		BAD_V1(seconds, DMA_MAP_MAX_SECONDS + 1),
		BAD_V1(dma_bits, 0),
		BAD_V1(dma_bits, DMA_MAP_MIN_BITS - 1),
		BAD_V1(dma_bits, DMA_MAP_MAX_BITS + 1),
		BAD_V1(dma_dir, 3),
		BAD_V1(granule, 0),
		BAD_V1(granule, 1025),
		BAD_V1(node, 1 << 20),
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK,
			      &self->v1, &bad[i]);
}

TEST_F(bench, refuses_bad_parameters)
{
	const struct bad_value bad[] = {
		BAD_V2(mode, DMA_MAP_BENCH_IOVA_MODE + 1),
		BAD_V2(dma_dir, 3),
		BAD_V2(dma_bits, 0),
		BAD_V2(dma_bits, DMA_MAP_MIN_BITS - 1),
		BAD_V2(dma_bits, DMA_MAP_MAX_BITS + 1),
		BAD_V2(threads, 0),
		BAD_V2(threads, DMA_MAP_MAX_THREADS + 1),
		BAD_V2(node, -2U),
		BAD_V2(node, 1 << 20),
		BAD_V2(dma_trans_ns, 10000001),
		BAD_V2(warmup, DMA_MAP_MAX_ITERATIONS + 1),
		BAD_V2(iterations, 0),
		BAD_V2(iterations, DMA_MAP_MAX_ITERATIONS + 1),
		BAD_V2(offset, getpagesize()),
		BAD_V2_LONG(size, 0),
		BAD_V2_LONG(size, 1ULL << 40),
		BAD_V2(order, 1),
		BAD_V2_LONG(reserved[0], 1),
		BAD_V2_LONG(reserved[7], 1),
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK_V2,
			      &self->v2, &bad[i]);

	/* The parameters themselves are good. */
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, refuses_bad_combinations)
{
	static const struct bad_value too_many =
		BAD_V2(iterations, DMA_MAP_MAX_SAMPLES / DMA_MAP_MAX_THREADS + 1);
	static const struct bad_value bad[] = {
		BAD_V2_LONG(size, DMA_MAP_MAX_SIZE + 1ULL),
		BAD_V2(order, 30),
	};

	self->v2.threads = DMA_MAP_MAX_THREADS;
	check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK_V2, &self->v2,
		      &too_many);

	self->v2.threads = 1;
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK_V2,
			      &self->v2, &bad[i]);
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
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			self->v2.size = sizes[i];
			self->v2.offset = 0;
			check_run(_metadata, self->fd, &self->v2);
			self->v2.offset = 512;
			check_run(_metadata, self->fd, &self->v2);
			self->v2.offset = getpagesize() - 1;
			check_run(_metadata, self->fd, &self->v2);
		}
	}
}

TEST_F(bench, high_order_pages)
{
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	self->v2.size = 4 << 20;
	self->v2.order = 9;
	check_run(_metadata, self->fd, &self->v2);
	self->v2.mode = DMA_MAP_BENCH_IOVA_MODE;
	self->v2.offset = 512;
	self->v2.order = 3;
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, threads_share_the_work)
{
	self->v2.threads = 4;
	check_run(_metadata, self->fd, &self->v2);
}

/* 64 MiB do not fit below 32 MiB: every round fails, and that is the result. */
TEST_F(bench, failures_are_counted)
{
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	self->v2.size = 64 << 20;
	self->v2.dma_bits = 25;
	self->v2.iterations = 5;
	ASSERT_EQ(0, ioctl(self->fd, DMA_MAP_BENCHMARK_V2, &self->v2));
	EXPECT_EQ(0, self->v2.mapped);
	EXPECT_EQ(5, self->v2.failed);
	EXPECT_EQ(0, self->v2.map.max);
}

TEST_HARNESS_MAIN
