// SPDX-License-Identifier: GPL-2.0
/*
 * Test the ioctls of /sys/kernel/debug/dma_map_benchmark as such: what they
 * refuse, that the figures they return hang together, and that there is one run
 * at a time, which a signal can end. Needs a device bound to the
 * dma_map_benchmark driver. Without an IOMMU the tests of the IOVA mode, and of
 * a mask that leaves no room, are skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/types.h>
#include <linux/map_benchmark.h>

#include "../kselftest_harness.h"

#define BENCH_FILE	"/sys/kernel/debug/dma_map_benchmark"
#define DRIVER		"/sys/bus/pci/drivers/dma_map_benchmark"

/* What the kernel had before there was a second ioctl */
#define OLD_IOCTL_NR	0xc0886401U
#define OLD_STRUCT_SIZE	136

/* The mode of the first ioctl, of which older headers have the byte but no name */
#define OLD_MODE(v1)	((__u8 *)(v1))[offsetof(struct map_benchmark, granule) + \
				       sizeof((v1)->granule)]

/* How often, and how many times, a test looks what another process does */
#define POLL_US		10000
#define POLL_MAX	1000

/* How long the run lasts that keeps the device from others */
#define BUSY_SECONDS	2

/* At a millisecond per round at least, far longer than a test waits */
#define ENDLESS_PAUSE_NS	1000000

/* A run that is on for that long is at its rounds */
#define STARTED_US	300000

/* How many runs end at their start, and when: some before the first round */
#define SHORT_RUNS	100
#define SHORT_STEP_US	20

/* Exit status of a child that has not got as far as the ioctl: no error number */
#define CHILD_FAILED	255

/* Write @what to @file of the benchmark's driver. */
static int write_driver(const char *file, const char *what)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), DRIVER "/%s", file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	ret = write(fd, what, strlen(what));
	close(fd);
	return ret < 0 ? -1 : 0;
}

FIXTURE(bench)
{
	int fd;
	/* The PCI name of the device while the driver is not bound to it */
	char unbound[32];
	struct map_benchmark_v2 v2;
	struct map_benchmark v1;
};

FIXTURE_SETUP(bench)
{
	/* main() has seen it: a test before this one has lost it. */
	self->fd = open(BENCH_FILE, O_RDWR);
	ASSERT_LE(0, self->fd)
		TH_LOG("%s: %s", BENCH_FILE, strerror(errno));

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
	if (self->unbound[0])
		write_driver("bind", self->unbound);
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
			const struct map_benchmark_stats *stats, uint64_t n)
{
	uint64_t far, stddev = stats->stddev;

	EXPECT_LT(0, stats->min);
	EXPECT_LE(stats->min, stats->p50);
	EXPECT_LE(stats->p50, stats->p95);
	EXPECT_LE(stats->p95, stats->p99);
	EXPECT_LE(stats->p99, stats->max);
	EXPECT_LE(stats->min, stats->mean);
	EXPECT_LE(stats->mean, stats->max);

	/* The one that is farthest off is in the sum, and the others add to it. */
	EXPECT_LE(stddev, stats->max - stats->min);
	far = stats->max - stats->mean;
	if (stats->mean - stats->min > far)
		far = stats->mean - stats->min;
	stddev += stddev / 100 + 1;
	EXPECT_LE(far * far, stddev * stddev * n);
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
	check_stats(_metadata, &v2->map, rounds);
	check_stats(_metadata, &v2->unmap, rounds);
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
		/* the mode, where the kernel has one there: none has that one */
		{ "map_mode", offsetof(struct map_benchmark, granule) + 4, 4, UINT32_MAX },
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
		BAD_V2_LONG(seconds, DMA_MAP_MAX_SECONDS + 1ULL),
		BAD_V2(warmup, DMA_MAP_MAX_ITERATIONS + 1),
		BAD_V2(iterations, 0),
		BAD_V2(iterations, DMA_MAP_MAX_ITERATIONS + 1),
		BAD_V2(offset, getpagesize()),
		BAD_V2_LONG(size, 0),
		BAD_V2_LONG(size, 1ULL << 40),
		BAD_V2(order, 1),
		BAD_V2_LONG(live, DMA_MAP_MAX_LIVE + 1ULL),
		BAD_V2_LONG(reserved[0], 1),
		BAD_V2_LONG(reserved[5], 1),
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
	static const struct bad_value too_many_live =
		BAD_V2_LONG(live, DMA_MAP_MAX_SAMPLES / DMA_MAP_MAX_THREADS + 1ULL);
	static const struct bad_value bad[] = {
		BAD_V2_LONG(size, DMA_MAP_MAX_SIZE + 1ULL),
		BAD_V2(order, 30),
		BAD_V2_LONG(live, 1),
	};
	static const struct bad_value too_many_bytes =
		BAD_V2_LONG(size, DMA_MAP_MAX_BYTES / DMA_MAP_MAX_THREADS + 1);

	self->v2.threads = DMA_MAP_MAX_THREADS;
	check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK_V2, &self->v2,
		      &too_many);
	check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK_V2, &self->v2,
		      &too_many_live);

	/* In one piece they would be too long anyway. */
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	check_refused(_metadata, self->fd, DMA_MAP_BENCHMARK_V2, &self->v2,
		      &too_many_bytes);

	self->v2.threads = 1;
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

/*
 * Does the device map in DMA_MAP_BENCH_IOVA_MODE? Without an IOMMU there are no
 * IOVAs: then it says so, and does not fail round by round.
 */
static bool has_iova_mode(struct __test_metadata *_metadata, int fd,
			  const struct map_benchmark_v2 *good)
{
	struct map_benchmark_v2 v2 = *good;

	v2.mode = DMA_MAP_BENCH_IOVA_MODE;
	v2.warmup = 0;
	v2.iterations = 1;
	if (ioctl(fd, DMA_MAP_BENCHMARK_V2, &v2)) {
		EXPECT_EQ(EOPNOTSUPP, errno)
			TH_LOG("IOVA mode: %s", strerror(errno));
		return false;
	}
	EXPECT_EQ(1, v2.mapped);
	return true;
}

static void check_sizes_and_offsets(struct __test_metadata *_metadata, int fd,
				    struct map_benchmark_v2 *v2)
{
	static const uint64_t sizes[] = { 1, 511, 4096, 4097, 65536, 1 << 20 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		v2->size = sizes[i];
		v2->offset = 0;
		check_run(_metadata, fd, v2);
		v2->offset = 512;
		check_run(_metadata, fd, v2);
		v2->offset = getpagesize() - 1;
		check_run(_metadata, fd, v2);
	}
}

TEST_F(bench, single_sizes_and_offsets)
{
	self->v2.mode = DMA_MAP_BENCH_SINGLE_MODE;
	check_sizes_and_offsets(_metadata, self->fd, &self->v2);
}

TEST_F(bench, sg_sizes_and_offsets)
{
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	check_sizes_and_offsets(_metadata, self->fd, &self->v2);
}

TEST_F(bench, iova_sizes_and_offsets)
{
	if (!has_iova_mode(_metadata, self->fd, &self->v2))
		SKIP(return, "no IOVA mode: the device has no IOMMU");
	self->v2.mode = DMA_MAP_BENCH_IOVA_MODE;
	check_sizes_and_offsets(_metadata, self->fd, &self->v2);
}

TEST_F(bench, sg_high_order_pages)
{
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	self->v2.size = 4 << 20;
	self->v2.order = 9;
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, iova_high_order_pages)
{
	if (!has_iova_mode(_metadata, self->fd, &self->v2))
		SKIP(return, "no IOVA mode: the device has no IOMMU");
	self->v2.mode = DMA_MAP_BENCH_IOVA_MODE;
	self->v2.size = 4 << 20;
	self->v2.offset = 512;
	self->v2.order = 3;
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, threads_share_the_work)
{
	self->v2.threads = 4;
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, live_mappings_besides)
{
	self->v2.live = 1000;
	self->v2.threads = 2;
	check_run(_metadata, self->fd, &self->v2);
}

/* What is kept does not fit, which is not to be taken for a result. */
TEST_F(bench, live_mappings_fail)
{
	if (!has_iova_mode(_metadata, self->fd, &self->v2))
		SKIP(return, "nothing limits the space: the device has no IOMMU");
	self->v2.live = 10000;
	self->v2.dma_bits = 25;
	EXPECT_EQ(-1, ioctl(self->fd, DMA_MAP_BENCHMARK_V2, &self->v2));
	EXPECT_TRUE(errno == ENOMEM || errno == EINVAL)
		TH_LOG("%s", strerror(errno));

	/* All the others have been undone. */
	self->v2.live = 1000;
	self->v2.dma_bits = 64;
	check_run(_metadata, self->fd, &self->v2);
}

/*
 * 64 MiB do not fit below 32 MiB: every round fails, and that is the result.
 * It takes an IOMMU: dma-direct maps what lies within the mask or can be
 * bounced, and warns of all else.
 */
TEST_F(bench, failures_are_counted)
{
	int ret;

	if (!has_iova_mode(_metadata, self->fd, &self->v2))
		SKIP(return, "nothing limits the space: the device has no IOMMU");
	self->v2.mode = DMA_MAP_BENCH_SG_MODE;
	self->v2.size = 64 << 20;
	self->v2.dma_bits = 25;
	self->v2.iterations = 5;
	ret = ioctl(self->fd, DMA_MAP_BENCHMARK_V2, &self->v2);
	if (ret && errno == EINVAL) {
		/* Then it was the mask: with another one the rest is good. */
		self->v2.dma_bits = 64;
		check_run(_metadata, self->fd, &self->v2);
		SKIP(return, "the device refuses a DMA mask of 25 bits");
	}
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, self->v2.mapped);
	EXPECT_EQ(5, self->v2.failed);
	EXPECT_EQ(0, self->v2.map.max);
}

/*
 * Start a process that runs a benchmark on a file of its own; it ends with the
 * test at the latest. Its exit status is 0 if the run was a success, and else
 * the error number.
 */
static pid_t fork_run(unsigned long cmd, void *param)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	int fd, ret;

	if (pid)
		return pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(CHILD_FAILED);
	fd = open(BENCH_FILE, O_RDWR);
	if (fd < 0)
		_exit(CHILD_FAILED);
	/* The parent may be at it at this very moment. */
	while ((ret = ioctl(fd, cmd, param)) && errno == EBUSY)
		usleep(POLL_US / 10);
	_exit(ret ? errno : 0);
}

/* Repeat a short run until it is refused, which means that @pid's is on. */
static void wait_busy(struct __test_metadata *_metadata, int fd,
		      const struct map_benchmark_v2 *good, pid_t pid)
{
	int i, ret, err, status;

	for (i = 0; i < POLL_MAX; i++) {
		struct map_benchmark_v2 v2 = *good;

		v2.iterations = 1;
		ret = ioctl(fd, DMA_MAP_BENCHMARK_V2, &v2);
		err = errno;
		ASSERT_EQ(0, waitpid(pid, &status, WNOHANG))
			TH_LOG("ended without EBUSY, status %#x", status);
		if (ret)
			break;
		usleep(POLL_US);
	}
	ASSERT_EQ(-1, ret);
	ASSERT_EQ(EBUSY, err)
		TH_LOG("%s", strerror(err));
}

/* The wait status of @pid, which must end soon. */
static int wait_end(struct __test_metadata *_metadata, pid_t pid)
{
	int i, status;
	pid_t ended;

	for (i = 0; i < POLL_MAX; i++) {
		ended = waitpid(pid, &status, WNOHANG);
		if (ended)
			break;
		usleep(POLL_US);
	}
	ASSERT_EQ(pid, ended)
		TH_LOG("still running");
	return status;
}

TEST_F(bench, second_run_is_refused)
{
	struct map_benchmark v1 = self->v1;
	int status;
	pid_t pid;

	self->v1.seconds = BUSY_SECONDS;
	pid = fork_run(DMA_MAP_BENCHMARK, &self->v1);
	ASSERT_LT(0, pid);

	wait_busy(_metadata, self->fd, &self->v2, pid);
	EXPECT_EQ(-1, ioctl(self->fd, DMA_MAP_BENCHMARK, &v1));
	EXPECT_EQ(EBUSY, errno);

	/* The run that was first is none the worse for it. */
	status = wait_end(_metadata, pid);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, kill_ends_a_run)
{
	struct map_benchmark_v2 endless = self->v2;
	int status;
	pid_t pid;

	endless.iterations = DMA_MAP_MAX_ITERATIONS;
	endless.dma_trans_ns = ENDLESS_PAUSE_NS;
	pid = fork_run(DMA_MAP_BENCHMARK_V2, &endless);
	ASSERT_LT(0, pid);

	wait_busy(_metadata, self->fd, &self->v2, pid);
	/* Until its thread is at the rounds; else there is nothing to end. */
	usleep(STARTED_US);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	status = wait_end(_metadata, pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	check_run(_metadata, self->fd, &self->v2);
}

TEST_F(bench, time_is_limited)
{
	struct timespec start, end;

	self->v2.iterations = DMA_MAP_MAX_ITERATIONS;
	self->v2.dma_trans_ns = ENDLESS_PAUSE_NS;
	self->v2.seconds = 1;
	clock_gettime(CLOCK_MONOTONIC, &start);
	EXPECT_EQ(-1, ioctl(self->fd, DMA_MAP_BENCHMARK_V2, &self->v2));
	EXPECT_EQ(ETIMEDOUT, errno);
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_LE(1, end.tv_sec - start.tv_sec);
	EXPECT_GE(10, end.tv_sec - start.tv_sec);

	self->v2.iterations = 50;
	self->v2.dma_trans_ns = 0;
	check_run(_metadata, self->fd, &self->v2);
}

static void ignore_signal(int sig)
{
}

/*
 * A signal ends a run of the old ioctl early, which is a success if there was a
 * round: figures that nobody has measured are none. It may come before a thread
 * has started, which is an error of the thread, or while the thread allocates
 * its buffer. The latter takes longest for a scatterlist, page by page.
 */
TEST_F(bench, old_run_without_a_round_fails)
{
	const struct sigaction action = { .sa_handler = ignore_signal };
	unsigned int i, ended = 0;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	self->v1.granule = 1024;
	for (i = 0; i < SHORT_RUNS; i++) {
		/*
		 * Again and again, as the first may come before the ioctl; with
		 * time enough between them for the slowest of machines to go on.
		 */
		const struct itimerval often = {
			.it_interval.tv_usec = POLL_US,
			.it_value.tv_usec = (i + 1) * SHORT_STEP_US,
		};
		const struct itimerval never = {};
		struct map_benchmark v1 = self->v1;
		int ret, err;

		OLD_MODE(&v1) = i % 2 ? DMA_MAP_BENCH_SG_MODE :
					DMA_MAP_BENCH_SINGLE_MODE;
		v1.avg_map_100ns = UINT64_MAX;
		v1.map_stddev = UINT64_MAX;
		setitimer(ITIMER_REAL, &often, NULL);
		ret = ioctl(self->fd, DMA_MAP_BENCHMARK, &v1);
		err = errno;
		setitimer(ITIMER_REAL, &never, NULL);
		/* Where the old ioctl has no modes */
		if (ret && err == EINVAL && i % 2)
			continue;
		if (ret) {
			ended++;
			ASSERT_EQ(EINTR, err)
				TH_LOG("%s", strerror(err));
		} else {
			ASSERT_NE(UINT64_MAX, v1.avg_map_100ns);
			ASSERT_NE(UINT64_MAX, v1.map_stddev);
		}
	}
	TH_LOG("%u of %u runs ended before their first round", ended, i);
	check_run(_metadata, self->fd, &self->v2);
}

/* The driver lets go of its device while a run is on, of either kind. */
TEST_F(bench, unbind_ends_a_run)
{
	struct map_benchmark v1 = self->v1;
	struct map_benchmark_v2 endless = self->v2;
	char name[sizeof(self->unbound)];
	int i, status;
	glob_t found;
	pid_t pid;

	if (glob(DRIVER "/[0-9]*:*", 0, NULL, &found))
		SKIP(return, "the device is not a PCI device");
	snprintf(name, sizeof(name), "%s",
		 strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);

	v1.seconds = DMA_MAP_MAX_SECONDS;
	endless.iterations = DMA_MAP_MAX_ITERATIONS;
	endless.dma_trans_ns = ENDLESS_PAUSE_NS;
	for (i = 0; i < 2; i++) {
		pid = i ? fork_run(DMA_MAP_BENCHMARK_V2, &endless) :
			  fork_run(DMA_MAP_BENCHMARK, &v1);
		ASSERT_LT(0, pid);
		wait_busy(_metadata, self->fd, &self->v2, pid);
		usleep(STARTED_US);

		/* The harness ends the test if this waits for the run. */
		memcpy(self->unbound, name, sizeof(name));
		EXPECT_EQ(0, write_driver("unbind", name));
		status = wait_end(_metadata, pid);
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(ENODEV, WEXITSTATUS(status))
			TH_LOG("%s", strerror(WEXITSTATUS(status)));
		close(self->fd);
		self->fd = -1;
		ASSERT_EQ(0, write_driver("bind", name));
		self->unbound[0] = '\0';
		self->fd = open(BENCH_FILE, O_RDWR);
		ASSERT_LE(0, self->fd);
		check_run(_metadata, self->fd, &self->v2);
	}
}

/*
 * Before there was DMA_MAP_BENCHMARK_V2 any request was as long as the old one.
 * A 32-bit program on a 64-bit kernel gets ENOTTY for either: there is no
 * compat_ioctl in debugfs.
 */
static bool has_v2(int fd)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *end;
	bool has;

	end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (end == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	end += page;
	munmap(end, page);
	has = ioctl(fd, DMA_MAP_BENCHMARK_V2, end - OLD_STRUCT_SIZE) == 0 ||
	      errno == EFAULT || errno == EBUSY;
	munmap(end - page, page);
	return has;
}

int main(int argc, char **argv)
{
	int fd = open(BENCH_FILE, O_RDWR);

	if (fd < 0)
		ksft_exit_skip("%s: %s\n", BENCH_FILE, strerror(errno));
	if (!has_v2(fd))
		ksft_exit_skip("no DMA_MAP_BENCHMARK_V2 for this program\n");
	close(fd);
	return test_harness_run(argc, argv);
}
