// SPDX-License-Identifier: GPL-2.0
/*
 * Read once from a disk past the page cache, to pages that are scattered in memory,
 * and have a memory allocation of the call fail.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>

#include "dma_load_util.h"

/*
 * Behind an IOMMU requests have 128 KiB at most with pages of 4 KiB, and a page of the
 * driver's pool has lists for 16 of them, of which more are under way at a time.
 */
#define LEN	(20 * 128 * 1024UL)

/* How it ended */
#define FAILED	1	/* the program, not what it called */
#define USAGE	2
#define NO_MORE	3	/* there was no such allocation */

static const char usage[] =
	"Usage: dma_nvme_read DISK [NTH]\n"
	"NTH: the allocation that fails, the first one is 1; 0 for none\n";

/* Pages of memory are taken one by one, in an order that is not theirs. */
static unsigned char *scattered(size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE), nr = len / page, i, j;
	unsigned char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t rng = 1;
	size_t *order;

	if (mem == MAP_FAILED)
		return NULL;
	/* There may be no huge pages at all. */
	madvise(mem, len, MADV_NOHUGEPAGE);
	order = calloc(nr, sizeof(*order));
	if (!order)
		return NULL;
	for (i = 0; i < nr; i++) {
		j = load_range(&rng, 0, i);
		order[i] = order[j];
		order[j] = i;
	}
	for (i = 0; i < nr; i++)
		mem[order[i] * page] = 1;
	free(order);
	return mem;
}

int main(int argc, char **argv)
{
	int disk, knob, nth = argc > 2 ? atoi(argv[2]) : 0;
	unsigned char *mem;
	char buf[16] = "";
	ssize_t done;

	if (argc < 2 || argc > 3) {
		fputs(usage, stderr);
		return USAGE;
	}
	disk = open(argv[1], O_RDONLY | O_DIRECT);
	knob = open("/proc/self/fail-nth", O_RDWR);
	mem = scattered(LEN);
	if (disk < 0 || !mem || (nth && knob < 0)) {
		perror(argv[1]);
		return FAILED;
	}
	if (nth) {
		snprintf(buf, sizeof(buf), "%d", nth);
		if (pwrite(knob, buf, strlen(buf), 0) < 0) {
			perror("fail-nth");
			return FAILED;
		}
	}
	done = pread(disk, mem, LEN, 0);
	if (nth) {
		memset(buf, 0, sizeof(buf));
		if (pread(knob, buf, sizeof(buf) - 1, 0) < 0 ||
		    pwrite(knob, "0", 1, 0) < 0) {
			perror("fail-nth");
			return FAILED;
		}
		if (atoi(buf))
			return NO_MORE;
	} else if (done != LEN) {
		perror("pread");
		return FAILED;
	}
	return 0;
}
