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

/* What a report has to say: an address from @lo to @hi - 1, and who did what. */
struct report {
	__u64 lo;
	__u64 hi;
	const char *dev;	/* NULL: any */
	bool write;		/* of @dev, or else a read */
};

/*
 * Is @line such a report of an IOMMU, with the next one of @kmsg if it takes two? The
 * drivers differ in text and in whether they round to a page.
 */
static bool report_is(int kmsg, const char *line, const struct report *want)
{
	char next[KMSG_LINE_MAX];

	if (!kmsg_is_iommu(line) || !kmsg_has_value(line, want->lo, want->hi))
		return false;
	if (!want->dev)
		return true;
	/* VT-d may leave out the PCI segment. */
	if (!strstr(line, strchr(want->dev, ':') + 1))
		return false;
	if (strstr(line, "DMAR"))
		return strstr(line, want->write ? "DMA Write" : "DMA Read");
	return kmsg_next(kmsg, next, FAULT_WAIT_MS) &&
	       strstr(next, want->write ? " write " : " read ");
}

/* Have the device do a transfer, and see whether it is reported. */
static int xfer_is_reported(int edu, int kmsg, __u64 iova, __u32 len,
			    __u32 flags, const struct report *want,
			    bool *reported)
{
	char line[KMSG_LINE_MAX];
	long long end, left;
	int ret, tries;

	*reported = false;
	for (tries = 0; tries < 2 && !*reported; tries++) {
		/* The first report may have fallen to the rate limit. */
		if (tries)
			sleep_ms(RATELIMIT_MS);
		while (kmsg_next(kmsg, line, 0))
			;
		ret = edu_xfer(edu, iova, 0, len, flags);
		if (ret)
			return ret;
		end = now_ms() + FAULT_WAIT_MS;
		while (!*reported && (left = end - now_ms()) > 0 &&
		       kmsg_next(kmsg, line, left))
			*reported = report_is(kmsg, line, want);
	}
	if (*reported)
		ksft_print_msg("fault: %s\n", line);
	return 0;
}

int edu_xfer_faults(int fd, int kmsg, __u64 iova, __u32 len, __u32 flags,
		    __u64 fault_lo, __u64 fault_hi, bool *faulted)
{
	const struct report want = { .lo = fault_lo, .hi = fault_hi };

	return xfer_is_reported(fd, kmsg, iova, len, flags, &want, faulted);
}

int device_faults(int edu, int kmsg, __u64 iova, __u32 len, bool write)
{
	const struct report want = {
		.lo = iova & ~4095ULL,
		.hi = (iova | 4095) + 1,
		.dev = edu_name,
		.write = write,
	};
	bool reported;
	int ret;

	ret = xfer_is_reported(edu, kmsg, iova, len,
			       write ? DMA_EDU_XFER_WRITE : 0, &want,
			       &reported);
	return ret ?: reported ? 0 : -ENOMSG;
}

bool edu_iommu_is_mute(int fd, int kmsg)
{
	bool faulted;

	if (!edu_iommu_is(IOMMU_AMD_VI))
		return false;

	/* The DMA API hands out no address in the first page. */
	return !edu_xfer_faults(fd, kmsg, 0, 8, 0, 0, 8, &faulted) && !faulted;
}
