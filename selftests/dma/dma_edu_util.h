/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User-space side of the dma_edu test module: find the device, bind it, look
 * at its IOMMU group, and watch the kernel log.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_EDU_UTIL_H
#define _SELFTESTS_DMA_EDU_UTIL_H

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "../kselftest.h"
#include "test_modules/dma_edu.h"

#define EDU_PCI_DEVICES	"/sys/bus/pci/devices"
#define EDU_PCI_DRIVER	"/sys/bus/pci/drivers/dma_edu"

#define EDU_PATH_MAX	512

/* Longer lines of the kernel log are cut off. */
#define KMSG_LINE_MAX	1024

/* ------------------------------------------------------------ small helpers */

static inline long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static inline void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static inline __u64 align_up(__u64 val, __u64 to)
{
	return (val + to - 1) / to * to;
}

/* The whole of a small file without its last newline. */
static inline int file_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, buf, size - 1);
	if (len < 0)
		len = -errno;
	close(fd);
	if (len < 0)
		return len;
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return 0;
}

/* One write() call, as sysfs wants it. */
static inline int file_write(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, val, strlen(val)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* ------------------------------------------------------- the device in sysfs */

static inline bool edu_id_is(const char *name, const char *attr,
			     unsigned long id)
{
	char path[EDU_PATH_MAX], val[32];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/%s", name, attr);
	return !file_read(path, val, sizeof(val)) &&
	       strtoul(val, NULL, 16) == id;
}

/*
 * PCI name of the edu device to test: $DMA_EDU_DEV, or the first one. ENODEV
 * if there is none.
 */
static inline int edu_find(char *name, size_t size)
{
	const char *wanted = getenv("DMA_EDU_DEV");
	struct dirent *de;
	int ret = -ENODEV;
	DIR *dir;

	dir = opendir(EDU_PCI_DEVICES);
	if (!dir)
		return -errno;
	while (ret && (de = readdir(dir))) {
		if (de->d_name[0] == '.' || strlen(de->d_name) >= size ||
		    (wanted && strcmp(wanted, de->d_name)))
			continue;
		if (!edu_id_is(de->d_name, "vendor", 0x1234) ||
		    !edu_id_is(de->d_name, "device", 0x11e8))
			continue;
		memcpy(name, de->d_name, strlen(de->d_name) + 1);
		ret = 0;
	}
	closedir(dir);
	return ret;
}

static inline bool edu_bound(const char *name)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), EDU_PCI_DRIVER "/%s", name);
	return !access(path, F_OK);
}

static inline int edu_bind(const char *name)
{
	return edu_bound(name) ? 0 : file_write(EDU_PCI_DRIVER "/bind", name);
}

static inline int edu_unbind(const char *name)
{
	return edu_bound(name) ? file_write(EDU_PCI_DRIVER "/unbind", name) : 0;
}

/* A file descriptor of the bound device, or a negative errno. */
static inline int edu_open(const char *name)
{
	char path[EDU_PATH_MAX];
	struct dirent *de;
	int fd = -ENODEV;
	DIR *dir;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/misc", name);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (fd < 0 && (de = readdir(dir))) {
		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/dev/%s", de->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	closedir(dir);
	return fd;
}

/* Path of an attribute of the device's IOMMU group. */
static inline void edu_group_attr(const char *name, const char *attr,
				  char *path, size_t size)
{
	snprintf(path, size, EDU_PCI_DEVICES "/%s/iommu_group/%s", name, attr);
}

static inline int edu_group_read(const char *name, const char *attr, char *buf,
				 size_t size)
{
	char path[EDU_PATH_MAX];

	edu_group_attr(name, attr, path, sizeof(path));
	return file_read(path, buf, size);
}

static inline int edu_group_write(const char *name, const char *attr,
				  const char *val)
{
	char path[EDU_PATH_MAX];

	edu_group_attr(name, attr, path, sizeof(path));
	return file_write(path, val);
}

/*
 * KiB of guard in force, or a negative errno: ENOENT if the kernel has no guard
 * pages, or the device no group.
 */
static inline long edu_guard_kb(const char *name)
{
	char buf[32];
	int ret = edu_group_read(name, "dma_guard_kb", buf, sizeof(buf));

	return ret ? ret : strtol(buf, NULL, 10);
}

static inline int edu_set_guard_kb(const char *name, unsigned long kb)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%lu", kb);
	return edu_group_write(name, "dma_guard_kb", buf);
}

/* --------------------------------------------------------------------- ioctls */

static inline int edu_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static inline int edu_info(int fd, struct dma_edu_info *info)
{
	return edu_ioctl(fd, DMA_EDU_IOC_INFO, info);
}

static inline int edu_map(int fd, struct dma_edu_map *map)
{
	return edu_ioctl(fd, DMA_EDU_IOC_MAP, map);
}

static inline int edu_unmap(int fd, __u32 handle, __u32 flags)
{
	struct dma_edu_unmap req = { .handle = handle, .flags = flags };

	return edu_ioctl(fd, DMA_EDU_IOC_UNMAP, &req);
}

static inline int edu_cpu(int fd, __u32 handle, __u64 off, void *data,
			  size_t len, __u32 flags)
{
	struct dma_edu_cpu req = {
		.handle = handle,
		.flags = flags,
		.off = off,
		.len = len,
		.data = (unsigned long)data,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_CPU, &req);
}

static inline int edu_xfer(int fd, __u64 iova, __u32 mem_off, __u32 len,
			   __u32 flags)
{
	struct dma_edu_xfer req = {
		.iova = iova,
		.len = len,
		.mem_off = mem_off,
		.flags = flags,
		.timeout_ms = DMA_EDU_MAX_TIMEOUT_MS,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_XFER, &req);
}

static inline int edu_mem(int fd, __u32 off, void *data, size_t len,
			  __u32 flags)
{
	struct dma_edu_mem req = {
		.data = (unsigned long)data,
		.off = off,
		.len = len,
		.flags = flags,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_MEM, &req);
}

/* ------------------------------------------------------------- the kernel log */

/* A reader that sees only what is logged from now on, or a negative errno. */
static inline int kmsg_open(void)
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

/* The text of the next line, false if there is none within the time given. */
static inline bool kmsg_next(int fd, char line[KMSG_LINE_MAX], int timeout_ms)
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

/* Does the line come from an IOMMU driver that reports a fault? */
static inline bool kmsg_is_iommu(const char *line)
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
static inline bool kmsg_has_value(const char *line, __u64 lo, __u64 hi)
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

/*
 * Wait for an IOMMU's report of an access to an address from @lo to @hi - 1.
 * The drivers differ in text and in whether they round to a page, so that only
 * the value counts.
 */
static inline bool kmsg_wait_fault(int fd, __u64 lo, __u64 hi,
				   char line[KMSG_LINE_MAX], int timeout_ms)
{
	long long end = now_ms() + timeout_ms;
	long long left;

	while ((left = end - now_ms()) > 0 && kmsg_next(fd, line, left))
		if (kmsg_is_iommu(line) && kmsg_has_value(line, lo, hi))
			return true;
	return false;
}

#endif /* _SELFTESTS_DMA_EDU_UTIL_H */
