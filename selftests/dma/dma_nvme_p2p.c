// SPDX-License-Identifier: GPL-2.0
/*
 * Read two pages that are not next to each other from a blank disk, past the page cache,
 * into memory and then into peer-to-peer memory of the drive itself, in turn.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lib/util.h"

/* The driver keeps what a request of the same number has left; it may take a few. */
#define ROUNDS	64

/* If each leaves a page behind, it is seen among what else the kernel allocates. */
#define MANY_ROUNDS	2048

static const char usage[] =
	"Usage: dma_nvme_p2p DISK ALLOCATE\n"
	"ALLOCATE: the file p2pmem/allocate of the drive in sysfs\n"
	"Then only into peer-to-peer memory, to see whether the kernel needs more memory\n"
	"with each read.\n";

/* What was there is known, and the page between the two is nobody's. */
static int read_pages(int disk, __u8 *mem, size_t page, const char *what)
{
	struct iovec pieces[] = {
		{ .iov_base = mem, .iov_len = page },
		{ .iov_base = mem + 2 * page, .iov_len = page },
	};
	ssize_t done;

	memset(mem, 0xff, 3 * page);
	done = preadv(disk, pieces, 2, 0);
	if (done != (ssize_t)(2 * page)) {
		printf("# %s: read %zd bytes: %m\n", what, done);
		return -1;
	}
	if (!all_bytes(mem, page, 0) || !all_bytes(mem + 2 * page, page, 0)) {
		printf("# %s: not what the disk has\n", what);
		return -1;
	}
	if (!all_bytes(mem + page, page, 0xff)) {
		printf("# %s: the page between the two has changed\n", what);
		return -1;
	}
	return 0;
}

/* Slab memory of the kernel that cannot be reclaimed, in KiB; -1 if it does not say */
static long slab_kib(void)
{
	FILE *meminfo = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = -1;

	while (meminfo && kib < 0 && fgets(line, sizeof(line), meminfo))
		if (sscanf(line, "SUnreclaim: %ld kB", &kib) != 1)
			kib = -1;
	if (meminfo)
		fclose(meminfo);
	return kib;
}

int main(int argc, char **argv)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int disk, allocate, i;
	long before, after;
	__u8 *mem, *p2p;

	if (argc != 3) {
		fputs(usage, stderr);
		return 2;
	}
	disk = open(argv[1], O_RDONLY | O_DIRECT);
	allocate = open(argv[2], O_RDWR);
	if (disk < 0 || allocate < 0) {
		perror(disk < 0 ? argv[1] : argv[2]);
		return 1;
	}
	mem = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	p2p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED,
		   allocate, 0);
	if (mem == MAP_FAILED || p2p == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (i = 0; i < ROUNDS; i++)
		if (read_pages(disk, mem, page, "memory") ||
		    read_pages(disk, p2p, page, "peer-to-peer memory"))
			return 1;

	before = slab_kib();
	for (i = 0; i < MANY_ROUNDS; i++)
		if (read_pages(disk, p2p, page, "peer-to-peer memory"))
			return 1;
	after = slab_kib();
	printf("# %d reads, unreclaimable slab memory: %ld KiB, then %ld KiB\n",
	       MANY_ROUNDS, before, after);
	return before < 0 || after - before > MANY_ROUNDS * 4 / 2;
}
