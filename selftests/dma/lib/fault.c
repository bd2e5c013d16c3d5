// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "edu.h"
#include "fault.h"
#include "kmsg.h"
#include "util.h"

int edu_xfer_faults(int fd, int kmsg, __u64 iova, __u32 len, __u32 flags,
		    __u64 fault_lo, __u64 fault_hi, bool *faulted)
{
	char line[KMSG_LINE_MAX];
	int ret, tries;

	*faulted = false;
	for (tries = 0; tries < 2 && !*faulted; tries++) {
		/* The first report may have fallen to the rate limit. */
		if (tries)
			sleep_ms(RATELIMIT_MS);
		while (kmsg_next(kmsg, line, 0))
			;
		ret = edu_xfer(fd, iova, 0, len, flags);
		if (ret)
			return ret;
		*faulted = kmsg_wait_fault(kmsg, fault_lo, fault_hi, line,
					   FAULT_WAIT_MS);
	}
	if (*faulted)
		ksft_print_msg("fault: %s\n", line);
	return 0;
}

/* Names of AMD-Vi in /sys/class/iommu begin so. */
#define AMD_VI	"ivhd"

bool edu_iommu_is_mute(int fd, int kmsg)
{
	char path[EDU_PATH_MAX], link[EDU_PATH_MAX];
	const char *name;
	bool faulted;
	ssize_t len;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/iommu", edu_name);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return false;
	link[len] = '\0';
	name = strrchr(link, '/');
	name = name ? name + 1 : link;
	if (strncmp(name, AMD_VI, strlen(AMD_VI)))
		return false;

	/* The DMA API hands out no address in the first page. */
	return !edu_xfer_faults(fd, kmsg, 0, 8, 0, 0, 8, &faulted) && !faulted;
}

/*
 * Does an IOMMU say in @line, and in the next one of @kmsg if it takes two, that
 * the device under test has tried to write, or else to read, in the page of @iova?
 */
static bool fault_is(int kmsg, char line[KMSG_LINE_MAX], __u64 iova, bool write)
{
	char next[KMSG_LINE_MAX];

	/* VT-d leaves out the PCI segment. */
	if (!kmsg_is_iommu(line) || !strstr(line, strchr(edu_name, ':') + 1) ||
	    !kmsg_has_value(line, iova & ~4095ULL, (iova | 4095) + 1))
		return false;
	if (strstr(line, "DMAR"))
		return strstr(line, write ? "DMA Write" : "DMA Read");
	return kmsg_next(kmsg, next, FAULT_WAIT_MS) &&
	       strstr(next, write ? " write " : " read ");
}

int device_faults(int edu, int kmsg, __u64 iova, __u32 len, bool write)
{
	char line[KMSG_LINE_MAX];
	long long end, left;
	int ret, tries;

	for (tries = 0; tries < 2; tries++) {
		/* The first report may have fallen to the rate limit. */
		if (tries)
			sleep_ms(RATELIMIT_MS);
		while (kmsg_next(kmsg, line, 0))
			;
		ret = edu_xfer(edu, iova, 0, len,
			       write ? DMA_EDU_XFER_WRITE : 0);
		if (ret)
			return ret;
		end = now_ms() + FAULT_WAIT_MS;
		while ((left = end - now_ms()) > 0 &&
		       kmsg_next(kmsg, line, left)) {
			if (!fault_is(kmsg, line, iova, write))
				continue;
			ksft_print_msg("fault: %s\n", line);
			return 0;
		}
	}
	return -ENOMSG;
}
