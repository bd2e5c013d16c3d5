// SPDX-License-Identifier: GPL-2.0
/*
 * Read or write a 32-bit register of a PCI device, behind the back of its driver:
 *
 *	dma_bar_poke 0000:00:04.0 0 0x2800 [VALUE]
 *
 * prints what BAR 0 has at 0x2800, before it is overwritten.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	unsigned long offset, page = sysconf(_SC_PAGESIZE);
	uint32_t *reg;
	char path[128];
	char *map;
	int fd;

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: %s DEVICE BAR OFFSET [VALUE]\n", argv[0]);
		return 1;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%s",
		 argv[1], argv[2]);
	offset = strtoul(argv[3], NULL, 0);
	fd = open(path, O_RDWR | O_SYNC);
	if (fd < 0) {
		perror(path);
		return 1;
	}
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   offset & ~(page - 1));
	if (map == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	reg = (uint32_t *)(map + (offset & (page - 1)));
	printf("0x%x\n", __atomic_load_n(reg, __ATOMIC_RELAXED));
	if (argc == 5)
		__atomic_store_n(reg, strtoul(argv[4], NULL, 0),
				 __ATOMIC_RELAXED);
	return 0;
}
