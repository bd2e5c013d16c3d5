// SPDX-License-Identifier: GPL-2.0
/*
 * Bounce pages for devices that are not trusted: how many are taken, that all of
 * them are given back, and what happens when there are none
 *
 * Nothing else may use the pool of bounce pages meanwhile.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_BOUNCE_SEED: start of the random numbers
 */

#include <dirent.h>
#include <libgen.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "dma_bounce_util.h"

FIXTURE(pool)
{
	struct bounce_state st;
	long mapped;
	long slots_per_page;
};

FIXTURE_VARIANT(pool)
{
	bool bounces;
};

FIXTURE_VARIANT_ADD(pool, bounced)
{
	.bounces = true,
};

FIXTURE_VARIANT_ADD(pool, in_place)
{
	.bounces = false,
};

FIXTURE_SETUP(pool)
{
	struct bounce_stats stats;
	const char *skip;

	ASSERT_EQ(0, state_init(&self->st, variant->bounces, "DMA", &skip));
	if (!skip && !self->st.exact)
		skip = "kernel without partial bounce pages";
	if (!skip && self->st.used == -ENOENT)
		skip = "debugfs does not tell what is in use";
	if (skip) {
		state_exit(&self->st);
		SKIP(return, "%s", skip);
	}
	ASSERT_EQ(0, stats_read(&stats));
	ASSERT_LE(0, self->st.used);
	self->mapped = pages_mapped();
	ASSERT_TRUE(self->mapped >= 0 || self->mapped == -ENOENT);
	self->slots_per_page = (self->st.granule + SLOT_SIZE - 1) / SLOT_SIZE;
	rand_state = env_ulong("DMA_BOUNCE_SEED", DEF_SEED) ?: 1;
	ksft_print_msg("DMA_BOUNCE_SEED=%#llx\n", rand_state);
}

FIXTURE_TEARDOWN(pool)
{
	if (self->st.fd < 0)
		return;
	EXPECT_EQ(self->st.used, slots_used());
	EXPECT_EQ(self->mapped, pages_mapped());
	EXPECT_TRUE(log_is_clean(&self->st));
	state_exit(&self->st);
}

/* ------------------------------------------------------------- the counters */

/* @by: what all of them grew by since @before */
static int stats_grown(const struct bounce_stats *before,
		       struct bounce_stats *by)
{
	int ret = stats_read(by);

	by->mappings -= before->mappings;
	by->partial_pages -= before->partial_pages;
	by->bytes_copied -= before->bytes_copied;
	by->failures -= before->failures;
	return ret;
}

/*
 * Look at the counters since @before, when @b was not mapped yet, and unmap and
 * release it.
 */
static void check_counters(struct __test_metadata *_metadata,
			   struct bounce_state *st, struct buffer *b,
			   const struct bounce_stats *before, long per_page)
{
	bool contig = b->m.req.path != DMA_EDU_SG &&
		      b->m.req.path != DMA_EDU_IOVA;
	struct bounce_stats by;
	__u64 bytes;
	long pages;

	pages = buffer_partial(b, st->granule, &bytes);
	if (!st->bounces)
		pages = 0, bytes = 0;
	if (buffer_is_copied(st, b)) {
		ASSERT_EQ(0, buffer_unmap(st, b, 0));
		EXPECT_EQ(st->used, slots_used());
		EXPECT_TRUE(image_is_right(st->fd, b));
		ASSERT_EQ(0, buffer_release(st, b));
		return;
	}
	if (contig)
		EXPECT_GE(2, pages);

	ASSERT_EQ(0, stats_grown(before, &by));
	EXPECT_EQ(pages, by.partial_pages);
	EXPECT_EQ(0, by.failures);
	EXPECT_EQ(pages > 0, by.mappings > 0);
	/* A list, or each link, is one mapping or several. */
	EXPECT_GE(contig ? pages > 0 : pages, by.mappings);
	/* What the device may write to is copied too, as it may write less. */
	EXPECT_EQ((long)bytes, by.bytes_copied);
	EXPECT_LE(pages, slots_used() - st->used);
	EXPECT_GE(pages * per_page, slots_used() - st->used);

	ASSERT_EQ(0, buffer_unmap(st, b, 0));
	ASSERT_EQ(0, stats_grown(before, &by));
	EXPECT_EQ(pages, by.partial_pages);
	EXPECT_EQ((long)(b->m.req.dir == DMA_EDU_TO_DEVICE ? bytes : 2 * bytes),
		  by.bytes_copied);
	EXPECT_EQ(st->used, slots_used());
	EXPECT_TRUE(image_is_right(st->fd, b));
	ASSERT_EQ(0, buffer_release(st, b));
}

TEST_F_TIMEOUT(pool, partial_pages_are_counted, 600)
{
	struct bounce_state *st = &self->st;
	__u64 granule = st->granule;
	const __u32 offsets[] = {
		0, 1, 512, 2047, 2048, 2049, getpagesize() - 1,
	};
	const __u64 sizes[] = {
		1, 2, 63, granule - 1, granule, granule + 1, 2 * granule - 1,
		2 * granule, 2 * granule + 1, 3 * granule + 7, KB(64),
		KB(256) + 512, MB(1),
	};
	struct bounce_stats before;
	size_t o, s;
	int kind, dir, nr = 0;
	struct buffer b;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (o = 0; o < ARRAY_SIZE(offsets); o++) {
			for (kind = 0; kind < st->nr_kinds; kind++) {
				dir = nr++ % DMA_EDU_NR_DIRS;
				ASSERT_EQ(0, stats_read(&before));
				ASSERT_EQ(0, buffer_map(st, &b,
							kind_named(kind_names[kind]),
							offsets[o], sizes[s],
							dir,
							DMA_EDU_MAP_PATTERN,
							FILL));
				check_counters(_metadata, st, &b, &before,
					       self->slots_per_page);
				ASSERT_TRUE(__test_passed(_metadata)) {
					TH_LOG("%s, %s, offset %u, %llu bytes",
					       kind_names[kind],
					       dir_names[dir], offsets[o],
					       sizes[s]);
				}
			}
		}
	}
}

#define MAX_ENTRIES	24

TEST_F(pool, partial_pages_of_lists_are_counted)
{
	struct dma_edu_entry entries[MAX_ENTRIES];
	struct bounce_state *st = &self->st;
	struct bounce_stats before;
	struct buffer b;
	int round, i, nr;

	for (round = 0; round < 60; round++) {
		nr = 1 + rand_below(MAX_ENTRIES);
		for (i = 0; i < nr; i++) {
			entries[i].offset = rand_below(2) *
					    rand_below(getpagesize());
			entries[i].len = 1 + rand_below(4 * st->granule);
			if (rand_below(2))
				entries[i].len = align_up(entries[i].len,
							  st->granule);
		}
		ASSERT_EQ(0, stats_read(&before));
		ASSERT_EQ(0, buffer_map_list(st, &b, entries, nr,
					     round % DMA_EDU_NR_DIRS,
					     DMA_EDU_MAP_PATTERN, FILL));
		check_counters(_metadata, st, &b, &before,
			       self->slots_per_page);
		ASSERT_TRUE(__test_passed(_metadata)) {
			TH_LOG("round %d, %d entries", round, nr);
		}
	}
}

/* Whatever the length, two pages and not more */
TEST_F(pool, long_buffers_take_no_more)
{
	struct bounce_state *st = &self->st;
	long most = st->bounces ? 2 * self->slots_per_page : 0, slots;
	struct mapping m;
	__u64 size;

	for (size = 512; size <= MB(2); size *= 2) {
		ASSERT_EQ(0, kind_map(st->fd, &m, kind_named("single"), size,
				      512, DMA_EDU_BIDIRECTIONAL, MASK_BITS, 0,
				      FILL));
		slots = slots_used() - st->used;
		ksft_print_msg("%7llu bytes at offset 512: %ld slots of %d bytes\n",
			       size, slots, SLOT_SIZE);
		EXPECT_GE(most, slots);
		ASSERT_EQ(0, kind_unmap(st->fd, &m));
	}
	/* The longest that the module has */
	size = DMA_EDU_MAX_SIZE - 2 * 2049;
	ASSERT_EQ(0, kind_map(st->fd, &m, kind_named("single"), size, 2049,
			      DMA_EDU_BIDIRECTIONAL, MASK_BITS, 0, FILL));
	EXPECT_EQ(most, slots_used() - st->used);
	ASSERT_EQ(0, kind_unmap(st->fd, &m));
}

/* -------------------------------------------------------------- exhaustion */

/* More pages than this are not worth the time. */
#define MAX_FILL	32768
#define FULL_CALLS	1000
#define BURST		10

/* To see whether failed calls keep IOVAs: so few are there. */
#define SMALL_MASK_BITS	24

/* Where, and how long, each of the buffers is that fill the pool */
#define SMALL_OFFSET	100
#define SMALL_SIZE	64

/* Buffers of one page of a common memory that is shared out, up to the last */
struct filling {
	struct mapping owner;
	__u32 *handles;
	__u64 *iovas;
	long count;
};

/* One partial page more: read by the device, so that all may be of one memory */
static int fill_one(struct bounce_state *st, struct filling *f)
{
	struct dma_edu_map map = {
		.path = DMA_EDU_SINGLE,
		.dir = DMA_EDU_TO_DEVICE,
		.flags = DMA_EDU_MAP_SHARE | DMA_EDU_MAP_NO_WARN,
		.mask_bits = 64,
		.offset = SMALL_OFFSET,
		.size = SMALL_SIZE,
		.handle = f->owner.req.handle,
	};
	int ret = edu_map(st->fd, &map);

	if (!ret) {
		f->handles[f->count] = map.handle;
		f->iovas[f->count++] = map.iova;
	}
	return ret;
}

static int drain_one(struct bounce_state *st, struct filling *f)
{
	return edu_unmap(st->fd, f->handles[--f->count], 0);
}

/* 0 once the pool is full. E2BIG: it is too large. */
static int fill_pool(struct bounce_state *st, struct filling *f)
{
	int ret = 0;

	memset(f, 0, sizeof(*f));
	f->handles = calloc(MAX_FILL, sizeof(*f->handles));
	f->iovas = calloc(MAX_FILL, sizeof(*f->iovas));
	if (!f->handles || !f->iovas)
		return -ENOMEM;
	/* Whole pages: not bounced itself */
	ret = kind_map(st->fd, &f->owner, kind_named("single"), st->granule, 0,
		       DMA_EDU_TO_DEVICE, 64, DMA_EDU_MAP_PATTERN, FILL);
	while (!ret && f->count < MAX_FILL)
		ret = fill_one(st, f);
	return ret == -ENOSPC ? 0 : ret ?: -E2BIG;
}

static int empty_pool(struct bounce_state *st, struct filling *f)
{
	int ret = 0;

	while (f->count)
		ret = drain_one(st, f) ?: ret;
	ret = kind_unmap(st->fd, &f->owner) ?: ret;
	free(f->handles);
	free(f->iovas);
	return ret;
}

/*
 * Lines about the pool, and whether all are as they should be: that of the swiotlb, or
 * one that names what to boot with
 */
static int count_full_lines(struct bounce_state *st, bool *right)
{
	char line[KMSG_LINE_MAX];
	int count = 0;
	bool full;

	while (kmsg_next(st->kmsg, line, 0)) {
		full = strstr(line, "swiotlb buffer is full");
		if (!full && !strstr(line, "bounce page"))
			continue;
		if (!count++)
			ksft_print_msg("log: %s\n", line);
		*right &= (full || strstr(line, "swiotlb=")) &&
			  strstr(line, edu_name);
	}
	return count;
}

static const char *no_exhaustion(struct bounce_state *st)
{
	if (!st->bounces)
		return "nothing is bounced";
	if (!access(SWIOTLB_DEBUG "/io_tlb_transient_nslabs", F_OK))
		return "the pool grows";
	if (file_long(SWIOTLB_DEBUG "/io_tlb_nslabs") * SLOT_SIZE >
	    (long)(MAX_FILL * st->granule))
		return "the pool is too large";
	return NULL;
}

/* A list of three entries, with a partial page each */
static int map_three(struct bounce_state *st, struct mapping *m, __u32 flags)
{
	const struct dma_edu_entry entries[] = {
		{ SMALL_OFFSET, SMALL_SIZE }, { 0, SMALL_SIZE },
		{ 4000, SMALL_SIZE },
	};
	struct dma_edu_list list = {
		.map = {
			.path = DMA_EDU_SG,
			.dir = DMA_EDU_BIDIRECTIONAL,
			.flags = flags,
			.mask_bits = SMALL_MASK_BITS,
			.size = 3 * SMALL_SIZE,
		},
		.entries = (unsigned long)entries,
		.nr_entries = 3,
	};
	int ret = edu_ioctl(st->fd, DMA_EDU_IOC_MAP_LIST, &list);

	m->kind = kind_named("sg");
	m->req = list.map;
	return ret;
}

/* Kind number @kind, from 0 to all of them: the last one is map_three(). */
static int map_partial(struct bounce_state *st, struct mapping *m, int kind,
		       __u32 offset, __u64 size, __u32 flags)
{
	if (kind == st->nr_kinds)
		return map_three(st, m, flags);
	return kind_map(st->fd, m, kind_named(kind_names[kind]), size, offset,
			DMA_EDU_BIDIRECTIONAL, SMALL_MASK_BITS, flags, FILL);
}

static bool is_no_page(int ret)
{
	return ret == -ENOSPC || ret == -ENOMEM;
}

/*
 * Without a page a mapping fails, says so if it is not asked to be silent, and
 * leaves nothing behind; what needs none, and what is mapped, goes on.
 */
TEST_F_TIMEOUT(pool, exhaustion_fails_cleanly, 600)
{
	struct bounce_state *st = &self->st;
	const char *skip = no_exhaustion(st);
	struct bounce_stats before, by;
	bool right = true;
	struct filling f;
	struct buffer mine;
	struct mapping m;
	long used, mapped;
	int i, ret, kind, lines;
	__u8 data[SMALL_SIZE];
	long which[3];

	if (skip)
		SKIP(return, "%s", skip);

	/* One whose content the device changes while there is no page left */
	ASSERT_EQ(0, buffer_map(st, &mine, kind_named("single"), 512,
				2 * st->granule, DMA_EDU_BIDIRECTIONAL,
				DMA_EDU_MAP_PATTERN, FILL));
	ASSERT_EQ(0, stats_read(&before));
	ASSERT_EQ(0, fill_pool(st, &f));
	used = slots_used();
	mapped = pages_mapped();
	ASSERT_EQ(0, stats_grown(&before, &by));
	ksft_print_msg("full after %ld pages of %ld slots\n", f.count, used);
	EXPECT_LT(0, f.count);
	EXPECT_EQ(f.count, by.partial_pages);
	EXPECT_EQ(1, by.failures);
	EXPECT_EQ(0, count_full_lines(st, &right));

	/* In silence, and so often that a lost IOVA each would show */
	ASSERT_EQ(0, stats_read(&before));
	for (i = 0; i < FULL_CALLS * (st->nr_kinds + 1); i++) {
		ret = map_partial(st, &m, i % (st->nr_kinds + 1), 512,
				  8 * st->granule, DMA_EDU_MAP_NO_WARN);
		ASSERT_TRUE(is_no_page(ret)) {
			TH_LOG("call %d: %d", i, ret);
		}
	}
	ASSERT_EQ(0, stats_grown(&before, &by));
	EXPECT_EQ(i, by.failures);
	EXPECT_EQ(used, slots_used());
	EXPECT_EQ(mapped, pages_mapped());
	EXPECT_EQ(0, count_full_lines(st, &right));

	/* And with a word about it */
	sleep_ms(RATELIMIT_MS);
	for (i = 0; i < FULL_CALLS; i++)
		ASSERT_TRUE(is_no_page(map_partial(st, &m,
						   i % (st->nr_kinds + 1), 512,
						   8 * st->granule, 0)));
	lines = count_full_lines(st, &right);
	ksft_print_msg("%d lines for %d calls\n", lines, FULL_CALLS);
	EXPECT_LE(1, lines);
	EXPECT_GE(2 * BURST, lines);
	EXPECT_TRUE(right);

	/* What shares no page needs none. */
	for (kind = 0; kind < st->nr_kinds; kind++) {
		ASSERT_EQ(0, map_partial(st, &m, kind, 0, 8 * st->granule, 0));
		ASSERT_EQ(0, kind_unmap(st->fd, &m));
	}

	/* What is mapped is still right. */
	which[0] = 0;
	which[1] = f.count / 2;
	which[2] = f.count - 1;
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, edu_xfer(st->fd, f.iovas[which[i]], 0, SMALL_SIZE,
				      0));
		ASSERT_EQ(0, edu_mem(st->fd, 0, data, SMALL_SIZE, 0));
		for (ret = 0; ret < SMALL_SIZE; ret++)
			EXPECT_EQ(dma_edu_pattern(FILL, SMALL_OFFSET + ret),
				  data[ret]);
	}
	ASSERT_EQ(0, device_set(st, DEVICE));
	ASSERT_EQ(0, edu_xfer(st->fd, mine.segs[0].at, 0, 1000,
			      DMA_EDU_XFER_WRITE));
	memset(mine.image + 512, DEVICE, 1000);
	ASSERT_EQ(0, buffer_unmap(st, &mine, 0));
	EXPECT_TRUE(image_is_right(st->fd, &mine));
	ASSERT_EQ(0, buffer_release(st, &mine));

	ASSERT_EQ(0, empty_pool(st, &f));
	EXPECT_EQ(st->used, slots_used());
	for (kind = 0; kind <= st->nr_kinds; kind++) {
		ASSERT_EQ(0, map_partial(st, &m, kind, 512, 8 * st->granule,
					 0));
		ASSERT_EQ(0, kind_unmap(st->fd, &m));
	}
}

/* The head gets the last page, and the tail none: the head's goes back. */
TEST_F_TIMEOUT(pool, second_page_is_missing, 300)
{
	struct bounce_state *st = &self->st;
	const char *skip = no_exhaustion(st);
	long mapped, used;
	struct filling f;
	struct mapping m;
	int kind, pages, ret;

	if (skip)
		SKIP(return, "%s", skip);

	ASSERT_EQ(0, fill_pool(st, &f));
	/* One page left, and two, of which a list takes both */
	for (pages = 1; pages <= 2; pages++) {
		ASSERT_EQ(0, drain_one(st, &f));
		used = slots_used();
		mapped = pages_mapped();
		for (kind = 0; kind <= st->nr_kinds; kind++) {
			/* A partial link ends in a partial page as well. */
			ret = map_partial(st, &m, kind, 512, 8 * st->granule,
					  DMA_EDU_MAP_NO_WARN);
			if (pages == 2 && kind < st->nr_kinds) {
				ASSERT_EQ(0, ret);
				ASSERT_EQ(0, kind_unmap(st->fd, &m));
			} else {
				EXPECT_TRUE(is_no_page(ret)) {
					TH_LOG("kind %d: %d", kind, ret);
				}
			}
			EXPECT_EQ(used, slots_used());
			EXPECT_EQ(mapped, pages_mapped());
			if (kind == st->nr_kinds)
				continue;
			/* Who needs one gets it. */
			ASSERT_EQ(0, map_partial(st, &m, kind, SMALL_OFFSET,
						 SMALL_SIZE, 0));
			ASSERT_EQ(0, kind_unmap(st->fd, &m));
		}
	}
	ASSERT_EQ(0, empty_pool(st, &f));
}

/* ----------------------------------------------------- a request of a driver */

#define DISK_OFFSET	512
#define DISK_SIZE	KB(32)

static bool dev_bounces(const char *name)
{
	char path[EDU_PATH_MAX], buf[32];

	if (edu_group_read(name, "dma_bounce", buf, sizeof(buf)))
		return false;
	if (strcmp(buf, "untrusted"))
		return !strcmp(buf, "all");
	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/removable", name);
	return !file_read(path, buf, sizeof(buf)) && !strcmp(buf, "removable");
}

/* Open a disk whose device bounces; a negative errno, ENODEV if there is none. */
static int open_disk(void)
{
	char path[EDU_PATH_MAX], dev[EDU_PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir("/sys/block");
	int fd = -ENODEV;
	ssize_t len;

	while (dir && fd == -ENODEV && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "nvme", 4))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/device/device",
			 entry->d_name);
		len = readlink(path, dev, sizeof(dev) - 1);
		if (len < 0)
			continue;
		dev[len] = '\0';
		if (!dev_bounces(basename(dev)))
			continue;
		ksft_print_msg("%s of %s\n", entry->d_name, basename(dev));
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	if (dir)
		closedir(dir);
	return fd;
}

/*
 * The first of a request's pages gets the last page, and its last one none: the
 * request is not sent to the disk with what it has, but waits for another.
 */
TEST_F_TIMEOUT(pool, request_waits_for_a_page, 60)
{
	struct bounce_state *st = &self->st;
	const char *skip = no_exhaustion(st);
	struct bounce_stats before, by = {};
	size_t offset = DISK_OFFSET, page = getpagesize();
	int disk, status, i;
	long long start;
	struct filling f;
	__u8 *data;
	pid_t pid;

	if (skip)
		SKIP(return, "%s", skip);
	disk = open_disk();
	if (disk == -ENODEV)
		SKIP(return, "no nvme disk that bounces");
	ASSERT_LE(0, disk);
	data = mmap(NULL, DISK_SIZE + page, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, data);
	/* Of two pages at least, whatever size they have */
	if (page > DISK_SIZE)
		offset = page - DISK_SIZE / 2;
	data += offset;
	for (i = 0; i < DISK_SIZE; i++)
		data[i] = dma_edu_pattern(FILL, i);
	ASSERT_EQ(DISK_SIZE, pwrite(disk, data, DISK_SIZE, 0));
	/* The driver keeps the page for the first list of such a request. */
	self->mapped = pages_mapped();
	memset(data, 0, DISK_SIZE);

	ASSERT_EQ(0, fill_pool(st, &f));
	ASSERT_EQ(0, drain_one(st, &f));
	ASSERT_EQ(0, stats_read(&before));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(pread(disk, data, DISK_SIZE, 0) != DISK_SIZE);
	start = now_ms();
	while (by.failures < 2 && now_ms() - start < 10000) {
		sleep_ms(10);
		ASSERT_EQ(0, stats_grown(&before, &by));
	}
	EXPECT_LE(2, by.failures);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));

	ASSERT_EQ(0, empty_pool(st, &f));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	for (i = 0; i < DISK_SIZE && data[i] == dma_edu_pattern(FILL, i); i++)
		;
	EXPECT_EQ(DISK_SIZE, i);
	munmap(data - offset, DISK_SIZE + page);
	close(disk);
}

/* ------------------------------------------------------------- trace events */

#define TRACEFS		"/sys/kernel/tracing"
#define TRACE_SIZE	65536

static int trace_write(const char *file, const char *val)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), TRACEFS "/%s", file);
	return file_write(path, val);
}

/* The whole of the trace: it comes in pieces. */
static int trace_read(char *buf, size_t size)
{
	int fd = open(TRACEFS "/trace", O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	ssize_t len;

	if (fd < 0)
		return -errno;
	while ((len = read(fd, buf + done, size - 1 - done)) > 0)
		done += len;
	buf[done] = '\0';
	close(fd);
	return len < 0 ? -EIO : 0;
}

/* An event for each page that is bounced, and all of the range is mapped. */
TEST_F(pool, events_tell_what_is_bounced)
{
	struct bounce_state *st = &self->st;
	__u64 granule = st->granule, offset = 512, size = 3 * granule;
	__u64 start, end, lo, hi, paddr, covered = 0;
	int fd, bounced = 0;
	size_t len, lens[2] = {};
	char *buf, *line, *save, *at;
	struct mapping m;

	/* Where it is mounted already the second time does no harm. */
	if (access(TRACEFS "/trace", F_OK) &&
	    mount("tracefs", TRACEFS, "tracefs", 0, NULL))
		SKIP(return, "no tracefs");
	if (trace_write("events/swiotlb/swiotlb_bounced/enable", "1") ||
	    trace_write("events/iommu/map/enable", "1"))
		SKIP(return, "no trace events");
	fd = open(TRACEFS "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	ASSERT_LE(0, fd);
	close(fd);
	buf = malloc(TRACE_SIZE);
	ASSERT_NE(NULL, buf);

	ASSERT_EQ(0, kind_map(st->fd, &m, kind_named("single"), size, offset,
			      DMA_EDU_BIDIRECTIONAL, MASK_BITS, 0, FILL));
	ASSERT_EQ(0, trace_write("events/swiotlb/swiotlb_bounced/enable", "0"));
	ASSERT_EQ(0, trace_write("events/iommu/map/enable", "0"));
	ASSERT_EQ(0, trace_read(buf, TRACE_SIZE));
	ASSERT_EQ(0, kind_unmap(st->fd, &m));

	start = m.req.iova / granule * granule;
	end = align_up(m.req.iova + size, granule);
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		at = strstr(line, "IOMMU: iova=");
		if (at && sscanf(at, "IOMMU: iova=0x%llx - 0x%llx paddr=0x%llx size=%zu",
				 &lo, &hi, &paddr, &len) == 4 &&
		    lo >= start && hi <= end)
			covered += len;
		at = strstr(line, "swiotlb_bounced: dev_name: ");
		if (!at || !strstr(at, edu_name))
			continue;
		at = strstr(at, " size=");
		if (at && bounced < 2)
			lens[bounced] = strtoul(at + strlen(" size="), NULL,
						10);
		bounced++;
	}
	free(buf);
	EXPECT_EQ(end - start, covered);
	EXPECT_EQ(st->bounces ? 2 : 0, bounced);
	if (st->bounces) {
		EXPECT_EQ(granule - offset, lens[0]);
		EXPECT_EQ(offset, lens[1]);
	}
}

/* ------------------------------------------------------- failed allocations */

#define FAIL_NTH_MAX	1000

/*
 * Fail each memory allocation of each way to map in turn: nothing stays mapped,
 * and no page is lost. CONFIG_DMA_API_DEBUG turns itself off when one of its own
 * fails, so that this comes last.
 */
TEST_F_TIMEOUT(pool, failed_allocation_loses_nothing, 900)
{
	struct bounce_state *st = &self->st;
	int fd, kind, nth, ret, injected = 0, failed = 0;
	struct mapping m;
	char buf[16];
	ssize_t len;

	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0 || !fault_injection_setup())
		SKIP(return, "no fault injection");

	for (kind = 0; kind <= st->nr_kinds; kind++) {
		for (nth = 1; nth < FAIL_NTH_MAX; nth++) {
			/* Not from the caches, so that these can fail too. */
			ASSERT_EQ(0, flush_iova_caches(st->fd, false));

			snprintf(buf, sizeof(buf), "%d", nth);
			len = pwrite(fd, buf, strlen(buf), 0);
			ret = map_partial(st, &m, kind, 512, KB(64) + 100, 0);
			ASSERT_LT(0, len);
			len = pread(fd, buf, sizeof(buf) - 1, 0);
			ASSERT_LT(0, len);
			ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
			buf[len] = '\0';

			/* There are ways to go on without some allocation. */
			if (!ret) {
				ASSERT_EQ(0, kind_unmap(st->fd, &m));
			} else {
				failed++;
				EXPECT_TRUE(is_no_page(ret)) {
					TH_LOG("kind %d, %d: %s", kind, nth,
					       strerror(-ret));
				}
			}
			EXPECT_EQ(st->used, slots_used());
			EXPECT_EQ(self->mapped, pages_mapped());
			/* Not counted down: the call has no more of them. */
			if (strtol(buf, NULL, 10))
				break;
			injected++;
		}
		EXPECT_GT(FAIL_NTH_MAX, nth);
		EXPECT_EQ(0, ret);
	}
	close(fd);
	ksft_print_msg("%d failures injected, %d calls failed\n", injected,
		       failed);
	EXPECT_LT(0, failed);
}

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
