// SPDX-License-Identifier: GPL-2.0
/*
 * Verified pass-through to NVMe namespaces: commands whose data starts and ends
 * anywhere in a page, at a multiple of four bytes, and spans several pages. The
 * driver maps the memory of the program as it is, without the page cache and
 * without the alignment of a block device.
 *
 * What is read is compared byte for byte, with what a pass-through or an O_DIRECT
 * write wrote, and so is the memory beside the buffer. The blocks that are used
 * get their content back in the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "dma_load_util.h"

#define MIB		(1024 * 1024UL)

/* Where the blocks are, the longest command, and the room to move it about in */
#define AREA_START	MIB
#define AREA_SIZE	MIB
#define MAX_LEN		(256 * 1024UL)
#define MAX_OFFSET	(128 * 1024UL)
#define ARENA_SIZE	(MAX_OFFSET + MAX_LEN + 4096)

/* What memory holds that a device has no reason to write to */
#define UNTOUCHED	0xa5

#define NVME_CMD_WRITE	1
#define NVME_CMD_READ	2

#define NVME_ADMIN_GET_LOG	2
#define NVME_ADMIN_IDENTIFY	6
#define NVME_LOG_ERROR		1
#define NVME_ID_CONTROLLER	1
#define IDENTIFY_LEN		4096

/* What smartctl was seen to ask for where it failed */
#define SMART_OFFSET		0xe00
#define SMART_LEN		0x400

struct disk {
	const char *name;
	int fd;
	int nsid;
	size_t block;
	size_t max_blocks;	/* of a command */
	unsigned char *arena;	/* of the commands */
	unsigned char *direct;	/* page-aligned, of O_DIRECT */
	uint64_t rng;
	unsigned long commands;
	unsigned long bad;
};

static bool problem(const struct disk *d, const char *what)
{
	printf("# %s: %s: %s\n", d->name, what, strerror(errno));
	return false;
}

/* One command, for @len bytes at @off of the disk */
static bool passthru(struct disk *d, int opcode, void *data, size_t len,
		     uint64_t off)
{
	uint64_t lba = off / d->block;
	struct nvme_passthru_cmd cmd = {
		.opcode = opcode,
		.nsid = d->nsid,
		.addr = (uintptr_t)data,
		.data_len = len,
		.cdw10 = lba,
		.cdw11 = lba >> 32,
		.cdw12 = len / d->block - 1,
	};
	int ret = ioctl(d->fd, NVME_IOCTL_IO_CMD, &cmd);

	d->commands++;
	if (!ret)
		return true;
	printf("# %s: command %d of %zu bytes at %p: %s, status %#x\n", d->name,
	       opcode, len, data, ret < 0 ? strerror(errno) : "refused",
	       ret < 0 ? 0 : ret);
	return false;
}

static bool untouched(const unsigned char *from, const unsigned char *to)
{
	while (from < to && *from == UNTOUCHED)
		from++;
	return from == to;
}

/* At a multiple of four bytes, with room for the longest command */
static unsigned char *anywhere(struct disk *d)
{
	return d->arena + 4 * load_range(&d->rng, 0, MAX_OFFSET / 4);
}

/* Write, by either way, and read back by pass-through to another place. */
static bool round_trip(struct disk *d, bool spoil)
{
	uint64_t key = load_random(&d->rng);
	bool direct = load_random(&d->rng) % 4 == 0;
	unsigned char *buf = d->direct;
	size_t blocks, len, at;
	uint64_t off;

	/* As many short ones as long ones */
	blocks = load_range(&d->rng, 1, 1UL << load_range(&d->rng, 0, 10));
	if (blocks > d->max_blocks)
		blocks = d->max_blocks;
	len = blocks * d->block;
	off = AREA_START + d->block *
	      load_range(&d->rng, 0, AREA_SIZE / d->block - blocks);
	if (!direct)
		buf = anywhere(d);
	load_fill(buf, len, key);
	if (spoil)
		buf[load_range(&d->rng, 0, len - 1)] ^= 1;
	if (direct && pwrite(d->fd, buf, len, off) != (ssize_t)len)
		return problem(d, "O_DIRECT write");
	if (!direct && !passthru(d, NVME_CMD_WRITE, buf, len, off))
		return false;

	memset(d->arena, UNTOUCHED, ARENA_SIZE);
	buf = anywhere(d);
	if (!passthru(d, NVME_CMD_READ, buf, len, off))
		return false;
	at = load_differs(buf, len, key);
	if (at < len) {
		if (d->bad++ < LOAD_MAX_REPORTS && !spoil)
			printf("# %s: byte %zu of %zu read to %p is wrong\n",
			       d->name, at, len, buf);
	} else if (!untouched(d->arena, buf) ||
		   !untouched(buf + len, d->arena + ARENA_SIZE)) {
		if (d->bad++ < LOAD_MAX_REPORTS)
			printf("# %s: memory beside %zu bytes at %p written\n",
			       d->name, len, buf);
	}
	return true;
}

static bool admin(struct disk *d, int opcode, uint32_t nsid, uint32_t cdw10,
		  void *data, size_t len)
{
	struct nvme_passthru_cmd cmd = {
		.opcode = opcode,
		.nsid = nsid,
		.addr = (uintptr_t)data,
		.data_len = len,
		.cdw10 = cdw10,
	};
	int ret = ioctl(d->fd, NVME_IOCTL_ADMIN_CMD, &cmd);

	d->commands++;
	if (!ret)
		return true;
	printf("# %s: command %d to the controller, %zu bytes at %p: %s, status %#x\n",
	       d->name, opcode, len, data, ret < 0 ? strerror(errno) : "refused",
	       ret < 0 ? 0 : ret);
	return false;
}

/*
 * What management tools do: short commands whose memory is on the stack or the
 * heap, across the end of a page. A log, data there and back, and what the
 * controller says of itself, which is the same as in memory of whole pages.
 */
static bool management(struct disk *d)
{
	unsigned char *buf = d->arena + SMART_OFFSET;
	uint64_t key = load_random(&d->rng);

	memset(d->arena, UNTOUCHED, ARENA_SIZE);
	if (!admin(d, NVME_ADMIN_GET_LOG, ~0U,
		   NVME_LOG_ERROR | (SMART_LEN / 4 - 1) << 16, buf, SMART_LEN) ||
	    !admin(d, NVME_ADMIN_IDENTIFY, 0, NVME_ID_CONTROLLER, d->direct,
		   IDENTIFY_LEN))
		return false;
	if (!untouched(d->arena, buf) ||
	    !untouched(buf + SMART_LEN, d->arena + ARENA_SIZE)) {
		printf("# %s: memory beside a log written\n", d->name);
		return false;
	}
	if (!admin(d, NVME_ADMIN_IDENTIFY, 0, NVME_ID_CONTROLLER, buf,
		   IDENTIFY_LEN))
		return false;
	if (memcmp(buf, d->direct, IDENTIFY_LEN) ||
	    !untouched(d->arena, buf) ||
	    !untouched(buf + IDENTIFY_LEN, d->arena + ARENA_SIZE)) {
		printf("# %s: the controller is another one across pages\n",
		       d->name);
		return false;
	}
	if (SMART_LEN % d->block)
		return true;
	load_fill(buf, SMART_LEN, key);
	if (!passthru(d, NVME_CMD_WRITE, buf, SMART_LEN, AREA_START))
		return false;
	memset(d->arena, UNTOUCHED, ARENA_SIZE);
	if (!passthru(d, NVME_CMD_READ, buf, SMART_LEN, AREA_START))
		return false;
	if (load_differs(buf, SMART_LEN, key) == SMART_LEN &&
	    untouched(d->arena, buf) &&
	    untouched(buf + SMART_LEN, d->arena + ARENA_SIZE))
		return true;
	printf("# %s: short data across pages is wrong\n", d->name);
	return false;
}

static bool open_disk(struct disk *d, const char *name, uint64_t seed)
{
	unsigned short sectors;
	int block;

	d->name = name;
	d->rng = seed;
	d->fd = open(name, O_RDWR | O_CLOEXEC | O_EXCL | O_DIRECT);
	if (d->fd < 0)
		return problem(d, "open");
	d->nsid = ioctl(d->fd, NVME_IOCTL_ID);
	if (d->nsid <= 0)
		return problem(d, "not an NVMe namespace");
	if (ioctl(d->fd, BLKSSZGET, &block) ||
	    ioctl(d->fd, BLKSECTGET, &sectors))
		return problem(d, "block size");
	d->block = block;
	d->max_blocks = sectors * 512UL / block;
	if (d->max_blocks > MAX_LEN / d->block)
		d->max_blocks = MAX_LEN / d->block;
	d->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	d->direct = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d->arena == MAP_FAILED || d->direct == MAP_FAILED)
		return problem(d, "no memory");
	return true;
}

static bool load_disk(struct disk *d, unsigned int seconds, unsigned long least,
		      bool damage)
{
	long long deadline = load_now_ms() + seconds * 1000LL;
	unsigned char *was = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long rounds = 0;
	bool ok;

	if (was == MAP_FAILED ||
	    pread(d->fd, was, AREA_SIZE, AREA_START) != (ssize_t)AREA_SIZE)
		return problem(d, "saving what is there");
	ok = management(d);
	while (ok && (rounds < least || load_now_ms() < deadline)) {
		ok = round_trip(d, damage);
		rounds++;
	}
	if (pwrite(d->fd, was, AREA_SIZE, AREA_START) != (ssize_t)AREA_SIZE)
		ok = problem(d, "putting back what was there");
	printf("# %s: %lu commands, %lu bad\n", d->name, d->commands, d->bad);
	return ok && d->bad == (damage ? rounds : 0);
}

static const char usage[] =
"usage: dma_nvme_passthru [OPTION]... NAMESPACE...\n"
"Sends reads and writes to block devices of NVMe namespaces, from any memory, and\n"
"compares. What is on them is as before in the end, if nobody kills the program.\n"
"  -t SECONDS  how long for each (1)\n"
"  -m NUMBER   rounds at least, however long (100)\n"
"  -s SEED     of the random numbers (the time)\n"
"  -x          damage data, and fail unless all damage is found\n";

int main(int argc, char **argv)
{
	unsigned long seconds = 1, least = 100, seed = time(NULL);
	bool damage = false, ok = true;
	int opt;

	while ((opt = getopt(argc, argv, "t:m:s:xh")) != -1) {
		switch (opt) {
		case 't':
			seconds = load_option(opt, optarg, 0, 86400);
			break;
		case 'm':
			least = load_option(opt, optarg, 1, INT_MAX);
			break;
		case 's':
			seed = load_option(opt, optarg, 0, ULONG_MAX);
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
	if (optind == argc) {
		fputs(usage, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("# seed %lu\n", seed);
	for (; optind < argc; optind++) {
		struct disk d = {};

		ok &= open_disk(&d, argv[optind], seed) &&
		      load_disk(&d, seconds, least, damage);
	}
	return ok ? 0 : 1;
}
