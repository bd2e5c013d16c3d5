// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "edu.h"
#include "kmsg.h"
#include "util.h"

int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (lseek(fd, 0, SEEK_END) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

bool kmsg_next(int fd, char line[KMSG_LINE_MAX], int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	long long end = now_ms() + timeout_ms;
	char rec[8192];
	ssize_t len;
	size_t n;
	char *text;

	for (;;) {
		len = read(fd, rec, sizeof(rec) - 1);
		if (len >= 0)
			break;
		/* EPIPE: lines were lost; the next read goes on after them. */
		if (errno == EPIPE || errno == EINTR)
			continue;
		if (errno != EAGAIN || now_ms() >= end)
			return false;
		poll(&pfd, 1, end - now_ms());
	}
	rec[len] = '\0';
	text = strchr(rec, ';');
	text = text ? text + 1 : rec;
	n = strcspn(text, "\n");
	if (n >= KMSG_LINE_MAX)
		n = KMSG_LINE_MAX - 1;
	memcpy(line, text, n);
	line[n] = '\0';
	return true;
}

bool kmsg_is_fault_report(const char *line, const char *dev)
{
	static const char * const starts[] = {
		"out-of-bounds ", "use-after-unmap ", "wrong-direction ",
		"unmapped ",
	};
	static const char head[] = "BUG: DMA: ", none[] = "(no driver) ";
	char name[64];
	int len = 0;
	size_t i, n;

	if (strncmp(line, head, strlen(head)))
		return false;
	line += strlen(head);
	for (i = 0; i < ARRAY_SIZE(starts); i++)
		if (!strncmp(line, starts[i], strlen(starts[i])))
			break;
	if (i == ARRAY_SIZE(starts))
		return false;
	line += strlen(starts[i]);

	if (!strncmp(line, "read by ", strlen("read by ")))
		line += strlen("read by ");
	else if (!strncmp(line, "write by ", strlen("write by ")))
		line += strlen("write by ");
	else
		return false;

	n = strcspn(line, " ");
	if (!strncmp(line, none, strlen(none)))
		line += strlen(none);
	else if (n && line[n])
		line += n + 1;
	else
		return false;
	return sscanf(line, "%63s at IOVA 0x%*16[0-9a-f]%n", name, &len) == 1 &&
	       len && !line[len] && (!dev || !strcmp(name, dev));
}

bool kmsg_has_no_complaint(int fd, const char *dev, const char *harmless,
			   const char *bad_too)
{
	const char * const bad[] = {
		"WARNING:", "BUG:", "DMA-API:", "INFO: possible", "Oops",
		bad_too,
	};
	char line[KMSG_LINE_MAX];
	bool clean = true;
	size_t i;

	while (kmsg_next(fd, line, 0)) {
		if (harmless && strstr(line, harmless))
			continue;
		if (kmsg_is_fault_report(line, dev))
			continue;
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			if (bad[i] && strstr(line, bad[i])) {
				ksft_print_msg("log: %s\n", line);
				clean = false;
				break;
			}
		}
	}
	return clean;
}

bool kmsg_is_clean(int fd)
{
	/* What an injected failure of its own makes of it. */
	return kmsg_has_no_complaint(fd, edu_name,
				     "ENOMEM, dma-debug disabled", NULL);
}

bool kmsg_is_iommu(const char *line)
{
	static const char * const tags[] = {
		"DMAR", "arm-smmu", "AMD-Vi", "fault from EP",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tags); i++)
		if (strstr(line, tags[i]))
			return true;
	return false;
}

/* Is there a hexadecimal number from @lo to @hi - 1 in the line? */
bool kmsg_has_value(const char *line, __u64 lo, __u64 hi)
{
	const char *p = line;

	while ((p = strstr(p, "0x"))) {
		__u64 val = strtoull(p, NULL, 16);

		if (val >= lo && val < hi)
			return true;
		p += 2;
	}
	return false;
}

bool kmsg_wait_fault(int fd, __u64 lo, __u64 hi, char line[KMSG_LINE_MAX],
		     int timeout_ms)
{
	long long end = now_ms() + timeout_ms;
	long long left;

	while ((left = end - now_ms()) > 0 && kmsg_next(fd, line, left))
		if (kmsg_is_iommu(line) && kmsg_has_value(line, lo, hi))
			return true;
	return false;
}
