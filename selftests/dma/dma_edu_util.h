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

#define KB(n)		((n) << 10)
#define MB(n)		((n) << 20)

/* What edu can address unless QEMU is told otherwise. */
#define XFER_MASK_BITS	28

/* Drivers print a few reports in five seconds and drop the rest. */
#define RATELIMIT_MS	5200
#define FAULT_WAIT_MS	1000

/* Longer than the 10 ms for which a lazy domain holds unmapped IOVAs. */
#define FQ_DRAIN_MS	60

/* Device under test: edu_setup() fills it in. */
static char edu_name[64];

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

static inline __u64 min_u64(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

/* The first @n bytes of @data are all @byte. */
static inline bool all_bytes(const __u8 *data, size_t n, __u8 byte)
{
	while (n--)
		if (*data++ != byte)
			return false;
	return true;
}

/* Close what is open, once. */
static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
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

static inline int edu_block(int fd, __u32 handle, __u32 index,
			    struct dma_edu_block *block)
{
	memset(block, 0, sizeof(*block));
	block->handle = handle;
	block->index = index;
	return edu_ioctl(fd, DMA_EDU_IOC_BLOCK, block);
}

static inline int edu_blocks(int fd, unsigned long cmd, __u32 handle,
			     __u32 first, __u32 count, __u32 flags)
{
	struct dma_edu_blocks req = {
		.handle = handle,
		.first = first,
		.count = count,
		.flags = flags,
	};

	return edu_ioctl(fd, cmd, &req);
}

static inline int edu_free(int fd, __u32 handle, __u32 first, __u32 count,
			   __u32 flags)
{
	return edu_blocks(fd, DMA_EDU_IOC_FREE, handle, first, count, flags);
}

static inline int edu_take(int fd, __u32 handle, __u32 first, __u32 count)
{
	return edu_blocks(fd, DMA_EDU_IOC_TAKE, handle, first, count, 0);
}

static inline int edu_sync(int fd, __u32 handle, __u64 off, __u64 len,
			   __u32 flags)
{
	struct dma_edu_sync req = {
		.handle = handle,
		.flags = flags,
		.off = off,
		.len = len,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_SYNC, &req);
}

static inline int edu_peek(int fd, __u32 handle, __u32 index, __u64 off,
			   void *data, size_t len, __u32 flags)
{
	struct dma_edu_peek req = {
		.handle = handle,
		.flags = flags,
		.index = index,
		.off = off,
		.len = len,
		.data = (unsigned long)data,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_PEEK, &req);
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

/* ------------------------------------------------- ways to make a mapping */

/* A kind of mapping: @path, and for DMA_EDU_IOVA how it is used. */
struct map_kind {
	const char *name;
	__u32 path;
	bool partial;		/* link only the first half */
	bool split;		/* unlink and free instead of destroy */
};

static const struct map_kind kinds[] = {
	{ "single", DMA_EDU_SINGLE, false, false },
	{ "page", DMA_EDU_PAGE, false, false },
	{ "sg", DMA_EDU_SG, false, false },
	{ "coherent", DMA_EDU_COHERENT, false, false },
	{ "noncontiguous", DMA_EDU_NONCONTIG, false, false },
	{ "iova", DMA_EDU_IOVA, false, false },
	{ "iova unlink", DMA_EDU_IOVA, false, true },
	{ "iova partial", DMA_EDU_IOVA, true, false },
	{ "iova partial unlink", DMA_EDU_IOVA, true, true },
};

#define NR_KINDS	((int)ARRAY_SIZE(kinds))

struct mapping {
	const struct map_kind *kind;
	struct dma_edu_map req;
};

static inline int kind_map(int fd, struct mapping *m,
			   const struct map_kind *kind, __u64 size,
			   __u32 offset, __u32 dir, __u32 mask_bits,
			   __u32 flags, __u8 fill)
{
	bool owns_pages = kind->path != DMA_EDU_COHERENT &&
			  kind->path != DMA_EDU_NONCONTIG;

	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->req.path = kind->path;
	m->req.dir = kind->path == DMA_EDU_COHERENT ?
		     DMA_EDU_BIDIRECTIONAL : dir;
	m->req.size = size;
	m->req.offset = owns_pages ? offset : 0;
	m->req.mask_bits = mask_bits;
	m->req.flags = flags;
	m->req.fill = fill;
	if (kind->path == DMA_EDU_IOVA)
		m->req.link = kind->partial ? (size + 1) / 2 : size;
	return edu_map(fd, &m->req);
}

static inline int kind_unmap(int fd, const struct mapping *m)
{
	return edu_unmap(fd, m->req.handle,
			 m->kind->split ? DMA_EDU_UNMAP_SPLIT : 0);
}

static inline int unmap_all(int fd, const struct mapping *m, size_t count)
{
	int ret = 0;

	while (count--)
		ret = kind_unmap(fd, &m[count]) ?: ret;
	return ret;
}

/*
 * Empty the caches of freed IOVAs: an address that nobody has makes the
 * allocator give back all it holds before it fails. A failed allocation also
 * makes it refuse all others below 4 GiB until some IOVA is freed, which is
 * what the large mapping, too large for the caches, is for.
 */
static inline int flush_iova_caches(int fd, bool lazy)
{
	struct mapping big, none;
	int ret;

	if (lazy)
		sleep_ms(FQ_DRAIN_MS);
	ret = kind_map(fd, &big, &kinds[0], MB(1), 0, DMA_EDU_BIDIRECTIONAL,
		       32, DMA_EDU_MAP_NOFILL, 0);
	if (ret)
		return ret;
	ret = kind_map(fd, &none, &kinds[0], 1, 0, DMA_EDU_BIDIRECTIONAL, 12,
		       DMA_EDU_MAP_NOFILL, 0);
	if (ret != -ENOSPC) {
		if (!ret)
			kind_unmap(fd, &none);
		ret = ret ?: -EEXIST;
	} else {
		ret = 0;
	}
	ret = kind_unmap(fd, &big) ?: ret;
	if (lazy)
		sleep_ms(FQ_DRAIN_MS);
	return ret;
}

/* ------------------------------------------------------- the state of the group */

/* The type and guard size of the group, as a test found them. */
struct group_state {
	char type[32];
	long guard_kb;
};

static inline int group_save(struct group_state *st)
{
	st->guard_kb = edu_guard_kb(edu_name);
	return edu_group_read(edu_name, "type", st->type, sizeof(st->type));
}

/* Put the group into the state given. Ends with the driver bound. */
static inline int group_set(const char *type, long guard_kb)
{
	struct group_state now;
	int ret;

	ret = group_save(&now);
	if (ret)
		return ret;
	if (!strcmp(now.type, type) && now.guard_kb == guard_kb)
		return edu_bind(edu_name);

	ret = edu_unbind(edu_name);
	if (ret)
		return ret;
	if (strcmp(now.type, type))
		ret = edu_group_write(edu_name, "type", type);
	if (!ret && guard_kb >= 0 && edu_guard_kb(edu_name) != guard_kb)
		ret = edu_set_guard_kb(edu_name, guard_kb);
	return edu_bind(edu_name) ?: ret;
}

static inline int group_restore(const struct group_state *st)
{
	return group_set(st->type, st->guard_kb);
}

/* ---------------------------------------------- first and last part of main() */

/*
 * Find and bind the device to test, and fill in edu_name and the state of its
 * group. Ends the program, with the reason, if there is nothing to test.
 */
static inline void edu_setup(struct group_state *booted)
{
	struct dma_edu_info info;
	int ret, fd;

	if (edu_find(edu_name, sizeof(edu_name)))
		ksft_exit_skip("no edu device\n");
	ret = edu_bind(edu_name);
	if (ret)
		ksft_exit_skip("dma_edu does not bind to %s: %s\n", edu_name,
			       strerror(-ret));
	fd = edu_open(edu_name);
	if (fd < 0)
		ksft_exit_skip("cannot open %s: %s\n", edu_name,
			       strerror(-fd));
	ret = edu_info(fd, &info);
	close(fd);
	if (ret || (info.domain != DMA_EDU_DOMAIN_DMA &&
		    info.domain != DMA_EDU_DOMAIN_DMA_FQ))
		ksft_exit_skip("%s is not behind a translating IOMMU\n",
			       edu_name);
	if (group_save(booted))
		ksft_exit_skip("cannot read the IOMMU group of %s\n",
			       edu_name);
}

/*
 * A test that was killed had no time to clean up: do it for all. Takes what the
 * tests returned, and returns what main() is to.
 */
static inline int edu_finish(const struct group_state *booted, int ret)
{
	if (!group_restore(booted))
		return ret;
	fprintf(stderr, "cannot restore the IOMMU group of %s\n", edu_name);
	return KSFT_FAIL;
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

/*
 * Is this the first line of a report that DMA of @dev, or of any device if that is
 * NULL, has faulted?
 */
static inline bool kmsg_is_fault_report(const char *line, const char *dev)
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

/*
 * No complaint of the kernel about itself in what is still to be read. Not one is
 * that @dev, or any device if that is NULL, has faulted: a test that makes it fault
 * says so. Nor is a line with @harmless in it, and one with @bad_too is, if these
 * are not NULL.
 */
static inline bool kmsg_has_no_complaint(int fd, const char *dev,
					 const char *harmless,
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

/* Of the device under test, in a test that may have allocations fail. */
static inline bool kmsg_is_clean(int fd)
{
	/* What an injected failure of its own makes of it. */
	return kmsg_has_no_complaint(fd, edu_name,
				     "ENOMEM, dma-debug disabled", NULL);
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

/* Have the device do a transfer, and see whether the IOMMU complains. */
static inline int edu_xfer_faults(int fd, int kmsg, __u64 iova, __u32 len,
				  __u32 flags, __u64 fault_lo, __u64 fault_hi,
				  bool *faulted)
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

/* ------------------------------------------------------------ fault injection */

/*
 * Let the injected failures reach allocations that may sleep, too, and have
 * nothing logged about them. False if the kernel cannot do that.
 */
static inline bool fault_injection_setup(void)
{
	static const char * const knobs[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[EDU_PATH_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s",
			 knobs[i][0]);
		if (file_write(path, knobs[i][1]))
			return false;
	}
	return true;
}

#endif /* _SELFTESTS_DMA_EDU_UTIL_H */
