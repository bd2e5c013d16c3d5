// SPDX-License-Identifier: GPL-2.0
/*
 * Asks the kernel for huge pages wherever a program maps anonymous memory, as GCC does
 * for its garbage collector.  Where a hypervisor makes the page tables of a guest in
 * software, a page fault takes 20 us, and a compiler 25,000 of them for an object: with
 * huge pages 4,000.
 *
 * For LD_PRELOAD; scripts/lib.sh builds it.  glibc does the same for malloc() on its
 * own, with glibc.malloc.hugetlb=1 in GLIBC_TUNABLES.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What is less is not worth a huge page; GCC maps 2 MiB at a time. */
#define LEAST	(1UL << 20)

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	void *map = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);

	if (map != MAP_FAILED && (flags & MAP_ANONYMOUS) && length >= LEAST) {
		int saved = errno;

		madvise(map, length, MADV_HUGEPAGE);
		errno = saved;
	}
	return map;
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));
