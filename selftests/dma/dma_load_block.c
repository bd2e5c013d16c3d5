// SPDX-License-Identifier: GPL-2.0
/*
 * Verified load on block devices: threads write to places of their own, with
 * and without the page cache, from scattered memory, and compare byte for byte
 * what they read back.
 *
 * What a block holds follows from its address and its generation, which counts
 * how often it was written, so that data which is lost, stale, misplaced or
 * damaged differs from what is expected. The memory between the pieces of a
 * read must stay as it was.
 *
 * The first and the last MiB of a device are neither written nor expected to
 * hold anything but zeros: there a partition table or file system would be.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "dma_load_util.h"

#define MIB		(1024 * 1024UL)
#define MAX_LEN		MIB
#define MAX_PIECES	8
#define MAX_THREADS	64
#define PAGE_MAX	65536UL

/* Unused between two slices: no read-ahead in one touches the other's. */
#define SLICE_GAP	MIB

/* What memory holds that a device has no reason to write to */
#define UNTOUCHED	0xa5

struct disk {
	const char *name;
	int fd_direct;
	int fd_buffered;
	uint64_t size;
	size_t block;		/* least length, and alignment on the disk */
	size_t mem_align;	/* of O_DIRECT buffers */
};

/* One thread and the part of a disk that it has for itself */
struct slice {
	struct disk *disk;
	pthread_t thread;
	uint64_t start;
	size_t blocks;
	uint32_t *generation;	/* of each block, 0: not written by us */
	unsigned char *arena;
	uint64_t rng;
	unsigned long writes;
	unsigned long reads;
	unsigned long bytes;
	unsigned long bad;	/* blocks, and gaps, with something else */
	unsigned long damaged;	/* by ourselves */
	bool failed;		/* the kernel refused something */
};

/* A transfer: @count blocks from @first, in memory that is in pieces */
struct transfer {
	size_t first;
	size_t count;
	bool direct;
	int nr_pieces;
	struct iovec piece[MAX_PIECES];
	size_t used;		/* of the arena */
};

#define ARENA_SIZE	(MAX_LEN + (MAX_PIECES + 1) * PAGE_MAX)

static unsigned int seconds = 5;
static unsigned int threads = 4;
static unsigned int slice_mib = 4;
static unsigned long least_ops = 10;
static uint64_t seed;
static bool damage;
static long long deadline;

#define problem(sl, fmt, ...) \
	printf("# %s: " fmt "\n", (sl)->disk->name, ##__VA_ARGS__)

static uint64_t block_key(const struct slice *sl, size_t block)
{
	uint64_t where = sl->start / sl->disk->block + block;

	return load_mix(seed + where) ^ load_mix(sl->generation[block]);
}

/* ------------------------------------------------------------- one transfer */

/* Choose blocks and way, and lay out the memory. */
static void plan(struct slice *sl, struct transfer *t)
{
	size_t most = MAX_LEN / sl->disk->block;
	size_t magnitude;

	/* As many short ones as long ones */
	for (magnitude = 1; magnitude < most && load_random(&sl->rng) % 8; )
		magnitude *= 2;
	if (magnitude > most)
		magnitude = most;
	t->count = load_range(&sl->rng, 1, magnitude);
	t->first = load_range(&sl->rng, 0, sl->blocks - t->count);
	t->direct = load_random(&sl->rng) % 2;
}

static void lay_out(struct slice *sl, struct transfer *t)
{
	size_t align = t->direct ? sl->disk->mem_align : 1;
	size_t left = t->count;
	size_t pos = 0;
	size_t part;
	int pieces = load_range(&sl->rng, 1, MAX_PIECES);

	t->nr_pieces = 0;
	while (left) {
		part = left;
		if (t->nr_pieces < pieces - 1)
			part = load_range(&sl->rng, 1, left);
		pos += align * load_range(&sl->rng, 0, PAGE_MAX / align / 2);
		pos = (pos + align - 1) / align * align;
		t->piece[t->nr_pieces].iov_base = sl->arena + pos;
		t->piece[t->nr_pieces].iov_len = part * sl->disk->block;
		pos += part * sl->disk->block;
		t->nr_pieces++;
		left -= part;
	}
	t->used = pos;
}

static bool transfer_done(struct slice *sl, const struct transfer *t,
			  const char *what, ssize_t done)
{
	size_t len = t->count * sl->disk->block;

	if (done == (ssize_t)len)
		return true;
	problem(sl, "%s %s of %zu bytes at %#llx in %d pieces: %s",
		t->direct ? "direct" : "buffered", what, len,
		(unsigned long long)sl->start + t->first * sl->disk->block,
		t->nr_pieces, done < 0 ? strerror(errno) : "cut short");
	sl->failed = true;
	return false;
}

static int transfer_fd(const struct slice *sl, const struct transfer *t)
{
	return t->direct ? sl->disk->fd_direct : sl->disk->fd_buffered;
}

/* Write a new generation; with @spoil one byte is not what it should be. */
static bool write_blocks(struct slice *sl, struct transfer *t, bool spoil)
{
	off_t off = sl->start + t->first * sl->disk->block;
	size_t block = t->first;
	unsigned char *p;
	size_t pos;
	int i;

	lay_out(sl, t);
	for (i = 0; i < t->nr_pieces; i++) {
		p = t->piece[i].iov_base;
		for (pos = 0; pos < t->piece[i].iov_len; block++) {
			sl->generation[block]++;
			load_fill(p + pos, sl->disk->block, block_key(sl, block));
			pos += sl->disk->block;
		}
	}
	if (spoil) {
		i = load_range(&sl->rng, 0, t->nr_pieces - 1);
		p = t->piece[i].iov_base;
		p[load_range(&sl->rng, 0, t->piece[i].iov_len - 1)] ^= 1;
		sl->damaged++;
	}
	if (!transfer_done(sl, t, "write",
			   pwritev(transfer_fd(sl, t), t->piece, t->nr_pieces,
				   off)))
		return false;
	/* So that the page cache can be dropped, and then has to be read. */
	if (!t->direct &&
	    sync_file_range(sl->disk->fd_buffered, off,
			    t->count * sl->disk->block,
			    SYNC_FILE_RANGE_WAIT_BEFORE |
			    SYNC_FILE_RANGE_WRITE |
			    SYNC_FILE_RANGE_WAIT_AFTER)) {
		problem(sl, "writing back: %s", strerror(errno));
		sl->failed = true;
		return false;
	}
	sl->writes++;
	sl->bytes += t->count * sl->disk->block;
	return true;
}

static void check_blocks(struct slice *sl, const struct transfer *t)
{
	size_t block = t->first;
	size_t size = sl->disk->block;
	unsigned char *p, *gap = sl->arena;
	unsigned char *end;
	size_t pos, at;
	int i;

	for (i = 0; i <= t->nr_pieces; i++) {
		p = i < t->nr_pieces ? t->piece[i].iov_base : sl->arena + t->used;
		end = i < t->nr_pieces ? p : p + sl->disk->mem_align;
		for (; gap < end && *gap == UNTOUCHED; gap++)
			;
		if (gap < end) {
			if (sl->bad++ < LOAD_MAX_REPORTS && !damage)
				problem(sl, "memory written %zu bytes in front of piece %d of %d",
					(size_t)(end - gap), i, t->nr_pieces);
		}
		if (i == t->nr_pieces)
			break;
		for (pos = 0; pos < t->piece[i].iov_len; pos += size, block++) {
			if (!sl->generation[block])
				continue;
			at = load_differs(p + pos, size, block_key(sl, block));
			if (at == size)
				continue;
			if (sl->bad++ < LOAD_MAX_REPORTS && !damage)
				problem(sl, "%s read, block %#llx, generation %u: byte %zu is %#x",
					t->direct ? "direct" : "buffered",
					(unsigned long long)sl->start / size + block,
					sl->generation[block], at, p[pos + at]);
		}
		gap = p + t->piece[i].iov_len;
	}
}

static bool read_blocks(struct slice *sl, struct transfer *t)
{
	off_t off = sl->start + t->first * sl->disk->block;
	size_t len = t->count * sl->disk->block;
	off_t page = sysconf(_SC_PAGESIZE);

	lay_out(sl, t);
	memset(sl->arena, UNTOUCHED, t->used + sl->disk->mem_align);
	if (!t->direct)
		posix_fadvise(sl->disk->fd_buffered, off / page * page,
			      len + 2 * page, POSIX_FADV_DONTNEED);
	if (!transfer_done(sl, t, "read",
			   preadv(transfer_fd(sl, t), t->piece, t->nr_pieces,
				  off)))
		return false;
	check_blocks(sl, t);
	sl->reads++;
	sl->bytes += len;
	return true;
}

/* --------------------------------------------------------------- one thread */

/* Write, then read the same blocks back or any others. */
static bool work_once(struct slice *sl)
{
	struct transfer t;

	plan(sl, &t);
	if (!write_blocks(sl, &t, false))
		return false;
	if (load_random(&sl->rng) % 2)
		plan(sl, &t);
	else
		t.direct = load_random(&sl->rng) % 2;
	return read_blocks(sl, &t);
}

/* Damage one block, see that it is found, and make it good. */
static bool damage_once(struct slice *sl)
{
	struct transfer t;

	plan(sl, &t);
	if (!write_blocks(sl, &t, true))
		return false;
	t.direct = load_random(&sl->rng) % 2;
	return read_blocks(sl, &t) && write_blocks(sl, &t, false);
}

static void check_all(struct slice *sl)
{
	size_t most = MAX_LEN / sl->disk->block;
	struct transfer t;

	for (t.first = 0; t.first < sl->blocks; t.first += t.count) {
		t.count = sl->blocks - t.first < most ?
			  sl->blocks - t.first : most;
		t.direct = load_random(&sl->rng) % 2;
		if (!read_blocks(sl, &t))
			return;
	}
}

static void *work(void *arg)
{
	struct slice *sl = arg;

	while (load_now_ms() < deadline || sl->writes < least_ops)
		if (!(damage ? damage_once(sl) : work_once(sl)))
			return NULL;
	check_all(sl);
	return NULL;
}

/* ------------------------------------------------------------------- a disk */

static bool all_zero(struct disk *d, uint64_t off)
{
	unsigned char *buf = calloc(2, MIB);
	bool ret;

	ret = buf && pread(d->fd_buffered, buf, MIB, off) == (ssize_t)MIB &&
	      !memcmp(buf, buf + MIB, MIB);
	free(buf);
	return ret;
}

static size_t mem_align(const struct stat *st)
{
	unsigned long mask;
	char path[128];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/dma_alignment",
		 major(st->st_rdev), minor(st->st_rdev));
	f = fopen(path, "r");
	if (!f)
		return 512;
	n = fscanf(f, "%lu", &mask);
	fclose(f);
	return n == 1 && mask < PAGE_MAX ? mask + 1 : 512;
}

/* O_EXCL: not if it is mounted or part of something else. */
static bool open_disk(struct disk *d, const char *name, bool force)
{
	struct stat st;
	int block = 512;

	d->name = name;
	d->fd_buffered = open(name, O_RDWR | O_CLOEXEC | O_EXCL);
	d->fd_direct = open(name, O_RDWR | O_CLOEXEC | O_DIRECT);
	if (d->fd_buffered < 0 || d->fd_direct < 0 ||
	    fstat(d->fd_buffered, &st)) {
		printf("# %s: %s\n", name, strerror(errno));
		return false;
	}
	d->size = st.st_size;
	if (S_ISBLK(st.st_mode) &&
	    (ioctl(d->fd_buffered, BLKGETSIZE64, &d->size) ||
	     ioctl(d->fd_buffered, BLKSSZGET, &block))) {
		printf("# %s: no size: %s\n", name, strerror(errno));
		return false;
	}
	d->block = block;
	d->mem_align = mem_align(&st);
	if (d->size < 2 * MIB + threads * (MAX_LEN + SLICE_GAP)) {
		printf("# %s: too small for %u threads\n", name, threads);
		return false;
	}
	if (!force && (!all_zero(d, 0) || !all_zero(d, d->size - MIB))) {
		printf("# %s: not blank: left alone\n", name);
		return false;
	}
	return true;
}

static bool start_slices(struct disk *d, struct slice *sl)
{
	uint64_t each = (d->size - 2 * MIB) / threads - SLICE_GAP;
	unsigned int i;

	each = each / MIB * MIB;
	if (each > slice_mib * MIB)
		each = slice_mib * MIB;
	for (i = 0; i < threads; i++, sl++) {
		sl->disk = d;
		sl->start = MIB + i * (each + SLICE_GAP);
		sl->blocks = each / d->block;
		sl->rng = load_mix(seed) + sl->start;
		sl->generation = calloc(sl->blocks, sizeof(*sl->generation));
		sl->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!sl->generation || sl->arena == MAP_FAILED ||
		    pthread_create(&sl->thread, NULL, work, sl)) {
			printf("# %s: no memory or no thread\n", d->name);
			return false;
		}
	}
	return true;
}

/* Wait for the threads of a disk, and judge it. */
static bool end_slices(struct slice *sl)
{
	struct slice sum = { .disk = sl->disk };
	bool idle = false;
	unsigned int i;

	for (i = 0; i < threads; i++, sl++) {
		pthread_join(sl->thread, NULL);
		sum.failed |= sl->failed;
		sum.writes += sl->writes;
		sum.reads += sl->reads;
		sum.bytes += sl->bytes;
		sum.bad += sl->bad;
		sum.damaged += sl->damaged;
		idle |= !sl->writes || !sl->reads;
	}
	printf("# %s: %lu writes, %lu reads, %lu MiB, %lu bad, %lu damaged on purpose\n",
	       sum.disk->name, sum.writes, sum.reads, sum.bytes / MIB, sum.bad,
	       sum.damaged);
	return !sum.failed && !idle && sum.bad == sum.damaged &&
	       damage == !!sum.damaged;
}

static const char usage[] =
"usage: dma_load_block [OPTION]... DISK...\n"
"Writes to block devices, or files, reads back and compares. Refuses those\n"
"whose first or last MiB is not all zero.\n"
"  -t SECONDS  how long (5)\n"
"  -m NUMBER   writes that each thread makes at least, however long (10)\n"
"  -j THREADS  of each disk (4)\n"
"  -b MIB      what each thread writes to (4)\n"
"  -s SEED     of the random numbers (the time)\n"
"  -f          overwrite what is not blank\n"
"  -n          only tell whether the disks are accepted\n"
"  -x          damage data, and fail unless all damage is found\n";

int main(int argc, char **argv)
{
	bool force = false, only_look = false, ok = true;
	struct slice *slices;
	struct disk *disks;
	int opt, i, nr;

	seed = time(NULL);
	while ((opt = getopt(argc, argv, "t:m:j:b:s:fnxh")) != -1) {
		switch (opt) {
		case 't':
			seconds = load_option(opt, optarg, 0, 86400);
			break;
		case 'm':
			least_ops = load_option(opt, optarg, 1, INT_MAX);
			break;
		case 'j':
			threads = load_option(opt, optarg, 1, MAX_THREADS);
			break;
		case 'b':
			slice_mib = load_option(opt, optarg, 1, 1024);
			break;
		case 's':
			seed = load_option(opt, optarg, 0, ULONG_MAX);
			break;
		case 'f':
			force = true;
			break;
		case 'n':
			only_look = true;
			break;
		case 'x':
			damage = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	nr = argc - optind;
	if (nr < 1) {
		fputs(usage, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	disks = calloc(nr, sizeof(*disks));
	slices = calloc((size_t)nr * threads, sizeof(*slices));
	if (!disks || !slices)
		return 1;
	for (i = 0; i < nr; i++)
		if (!open_disk(&disks[i], argv[optind + i], force))
			return 1;
	if (only_look)
		return 0;

	printf("# seed %llu\n", (unsigned long long)seed);
	deadline = load_now_ms() + seconds * 1000LL;
	for (i = 0; i < nr; i++)
		if (!start_slices(&disks[i], &slices[i * threads]))
			return 1;
	for (i = 0; i < nr; i++)
		ok &= end_slices(&slices[i * threads]);
	for (i = 0; i < nr; i++)
		if (fsync(disks[i].fd_buffered)) {
			printf("# %s: %s\n", disks[i].name, strerror(errno));
			ok = false;
		}
	return ok ? 0 : 1;
}
