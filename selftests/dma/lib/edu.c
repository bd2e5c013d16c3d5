// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "../../kselftest.h"
#include "edu.h"
#include "util.h"

char edu_name[64];

bool edu_bound(const char *name)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), EDU_PCI_DRIVER "/%s", name);
	return !access(path, F_OK);
}

int edu_bind(const char *name)
{
	return edu_bound(name) ? 0 : file_write(EDU_PCI_DRIVER "/bind", name);
}

int edu_unbind(const char *name)
{
	return edu_bound(name) ? file_write(EDU_PCI_DRIVER "/unbind", name) : 0;
}

int edu_open(const char *name)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/misc", name);
	return dev_open(path);
}

/* Path of an attribute of the device's IOMMU group. */
void edu_group_attr(const char *name, const char *attr, char *path,
		    size_t size)
{
	snprintf(path, size, EDU_PCI_DEVICES "/%s/iommu_group/%s", name, attr);
}

int edu_group_read(const char *name, const char *attr, char *buf, size_t size)
{
	char path[EDU_PATH_MAX];

	edu_group_attr(name, attr, path, sizeof(path));
	return file_read(path, buf, size);
}

int edu_group_write(const char *name, const char *attr, const char *val)
{
	char path[EDU_PATH_MAX];

	edu_group_attr(name, attr, path, sizeof(path));
	return file_write(path, val);
}

int edu_iommu_name(char *name, size_t size)
{
	char path[EDU_PATH_MAX], link[EDU_PATH_MAX];
	const char *last;
	ssize_t len;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/iommu", edu_name);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return -errno;
	link[len] = '\0';
	last = strrchr(link, '/');
	snprintf(name, size, "%s", last ? last + 1 : link);
	return 0;
}

bool edu_iommu_is(const char *start)
{
	char name[64];

	return !edu_iommu_name(name, sizeof(name)) &&
	       !strncmp(name, start, strlen(start));
}

long edu_guard_kb(const char *name)
{
	char buf[32];
	int ret = edu_group_read(name, "dma_guard_kb", buf, sizeof(buf));

	return ret ? ret : strtol(buf, NULL, 10);
}

int edu_set_guard_kb(const char *name, unsigned long kb)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%lu", kb);
	return edu_group_write(name, "dma_guard_kb", buf);
}

int edu_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

int edu_info(int fd, struct dma_edu_info *info)
{
	return edu_ioctl(fd, DMA_EDU_IOC_INFO, info);
}

int edu_map(int fd, struct dma_edu_map *map)
{
	return edu_ioctl(fd, DMA_EDU_IOC_MAP, map);
}

int edu_unmap(int fd, __u32 handle, __u32 flags)
{
	struct dma_edu_unmap req = { .handle = handle, .flags = flags };

	return edu_ioctl(fd, DMA_EDU_IOC_UNMAP, &req);
}

int edu_block(int fd, __u32 handle, __u32 index, struct dma_edu_block *block)
{
	memset(block, 0, sizeof(*block));
	block->handle = handle;
	block->index = index;
	return edu_ioctl(fd, DMA_EDU_IOC_BLOCK, block);
}

static int edu_blocks(int fd, unsigned long cmd, __u32 handle, __u32 first,
		      __u32 count, __u32 flags)
{
	struct dma_edu_blocks req = {
		.handle = handle,
		.first = first,
		.count = count,
		.flags = flags,
	};

	return edu_ioctl(fd, cmd, &req);
}

int edu_free(int fd, __u32 handle, __u32 first, __u32 count, __u32 flags)
{
	return edu_blocks(fd, DMA_EDU_IOC_FREE, handle, first, count, flags);
}

int edu_take(int fd, __u32 handle, __u32 first, __u32 count)
{
	return edu_blocks(fd, DMA_EDU_IOC_TAKE, handle, first, count, 0);
}

int edu_sync(int fd, __u32 handle, __u64 off, __u64 len, __u32 flags)
{
	struct dma_edu_sync req = {
		.handle = handle,
		.flags = flags,
		.off = off,
		.len = len,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_SYNC, &req);
}

int edu_peek(int fd, __u32 handle, __u32 index, __u64 off, void *data,
	     size_t len, __u32 flags)
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

int edu_cpu(int fd, __u32 handle, __u64 off, void *data, size_t len,
	    __u32 flags)
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

int edu_xfer(int fd, __u64 iova, __u32 mem_off, __u32 len, __u32 flags)
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

int edu_mem(int fd, __u32 off, void *data, size_t len, __u32 flags)
{
	struct dma_edu_mem req = {
		.data = (unsigned long)data,
		.off = off,
		.len = len,
		.flags = flags,
	};

	return edu_ioctl(fd, DMA_EDU_IOC_MEM, &req);
}

int group_save(struct group_state *st)
{
	st->guard_kb = edu_guard_kb(edu_name);
	return edu_group_read(edu_name, "type", st->type, sizeof(st->type));
}

int group_set(const char *type, long guard_kb)
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

int group_restore(const struct group_state *st)
{
	return group_set(st->type, st->guard_kb);
}

void edu_take_device(void)
{
	const char *name = getenv("DMA_EDU_DEV");

	if (!name || strlen(name) >= sizeof(edu_name))
		ksft_exit_skip("DMA_EDU_DEV does not name the device: run the script\n");
	snprintf(edu_name, sizeof(edu_name), "%s", name);
}

void edu_setup(struct group_state *booted)
{
	struct dma_edu_info info;
	int ret, fd;

	edu_take_device();
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

int edu_finish(const struct group_state *booted, int ret)
{
	if (!group_restore(booted))
		return ret;
	fprintf(stderr, "cannot restore the IOMMU group of %s\n", edu_name);
	return KSFT_FAIL;
}
