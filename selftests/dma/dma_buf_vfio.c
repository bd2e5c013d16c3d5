// SPDX-License-Identifier: GPL-2.0
/*
 * VFIO_DEVICE_FEATURE_DMA_BUF: a device does DMA to the BAR of an assigned one
 *
 * A device whose BAR is memory is bound to vfio-pci, and opened here as any user
 * of VFIO does. Parts of the BAR are exported as dma-bufs, which the dma_bar
 * module maps for the edu device, and dma_edu has that read and write them. The
 * CPU sees the BAR through mmap(). Other tests do without dma_edu: they map the
 * dma-bufs for the edu device in iommufd, and drive it from here, as a VMM does
 * whose guest has both devices.
 *
 * Devices: ivshmem-plain, other than the one that dma_bar is bound to, and NVMe
 * with a controller memory buffer, for which there are more ways to lose it.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the edu device; the script sets it to the first one
 */

#include <dirent.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "lib/bar.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/sanitizer.h"
#include "lib/util.h"

#define FAIL_NTH_PATH	"/proc/thread-self/fail-nth"
#define FAIL_IOMMUFD	"/sys/kernel/debug/fail_iommufd/verbose"
#define BUFINFO_PATH	"/sys/kernel/debug/dma_buf/bufinfo"
#define SW_SYNC_PATH	"/sys/kernel/debug/sync/sw_sync"
#define VFIO_DRIVER	"/sys/bus/pci/drivers/vfio-pci"

#define USED_PAGES	256ULL		/* the part of the BAR that is used */
#define USED_SIZE	(USED_PAGES * PAGE)
#define MAX_RANGES	65536U		/* what the uAPI promises */
#define BAR		2		/* of both devices */
#define IO_BAR		5		/* none of the devices has it */

/* drivers/dma-buf/sw_sync.c: not a part of the uAPI */
struct sw_sync_create_fence_data {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define SW_SYNC_IOC_CREATE_FENCE \
	_IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC		_IOW('W', 1, __u32)

/* -------------------------------------------------------------- the devices */

/* @name: of what is bound to vfio-pci by main(), empty if there is none */
static struct target {
	const char *what;
	unsigned long vendor;
	unsigned long device;
	char name[64];
	char driver[64];
} targets[] = {
	{ "ivshmem-plain", 0x1af4, 0x1110 },
	{ "nvme", 0x1b36, 0x0010 },
};

enum { IVSHMEM, NVME };

/* Is the edu device behind an IOMMU? */
static bool has_group;

/* What a sound mapping gives that is made when nothing has been changed yet */
static int first_try;

/* Name of the driver that a device is bound to, empty if there is none */
static void driver_of(const char *name, char *driver, size_t size)
{
	char path[EDU_PATH_MAX], link[EDU_PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/driver", name);
	len = readlink(path, link, sizeof(link) - 1);
	link[len > 0 ? len : 0] = '\0';
	snprintf(driver, size, "%s",
		 strrchr(link, '/') ? strrchr(link, '/') + 1 : "");
}

static int driver_unbind(const char *name)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/driver/unbind", name);
	return file_write(path, name);
}

/* Leave the device to @driver, or to whatever there is for it if "\n". */
static int driver_set(const char *name, const char *driver)
{
	char path[EDU_PATH_MAX];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/driver_override",
		 name);
	return file_write(path, driver) ?:
	       file_write("/sys/bus/pci/drivers_probe", name);
}

static bool pci_id_is(const char *name, const char *attr, unsigned long id)
{
	char path[EDU_PATH_MAX], val[32];

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/%s", name, attr);
	return !file_read(path, val, sizeof(val)) &&
	       strtoul(val, NULL, 16) == id;
}

static int target_find(struct target *target)
{
	struct dirent *de;
	int ret = -ENODEV;
	char driver[64];
	DIR *dir;

	dir = opendir(EDU_PCI_DEVICES);
	if (!dir)
		return -errno;
	while (ret && (de = readdir(dir))) {
		if (de->d_name[0] == '.' ||
		    strlen(de->d_name) >= sizeof(target->name) ||
		    !pci_id_is(de->d_name, "vendor", target->vendor) ||
		    !pci_id_is(de->d_name, "device", target->device))
			continue;
		driver_of(de->d_name, driver, sizeof(driver));
		if (!strcmp(driver, "dma_bar"))
			continue;
		strcpy(target->name, de->d_name);
		strcpy(target->driver, driver);
		ret = 0;
	}
	closedir(dir);
	return ret;
}

static int target_bind(struct target *target)
{
	char driver[64];
	int ret;

	if (target->driver[0]) {
		ret = driver_unbind(target->name);
		if (ret)
			return ret;
	}
	ret = driver_set(target->name, "vfio-pci");
	if (ret)
		return ret;
	driver_of(target->name, driver, sizeof(driver));
	return strcmp(driver, "vfio-pci") ? -ENODEV : 0;
}

static int target_restore(struct target *target)
{
	char driver[64];
	int ret = 0;

	if (!target->name[0])
		return 0;
	driver_of(target->name, driver, sizeof(driver));
	if (driver[0])
		ret = driver_unbind(target->name);
	return driver_set(target->name, "\n") ?: ret;
}

/* ----------------------------------------------------------------- the uAPI */

struct vfio {
	int fd;
	int iommufd;
	__u64 config;		/* where config space and BAR are in @fd */
	__u64 bar;
	__u64 bar_size;
};

static int vfio_region(int fd, __u32 index, __u64 *offset, __u64 *size)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };
	int ret = edu_ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info);

	*offset = info.offset;
	*size = info.size;
	return ret;
}

static void vfio_close(struct vfio *vfio)
{
	if (vfio->fd >= 0)
		close(vfio->fd);
	if (vfio->iommufd >= 0)
		close(vfio->iommufd);
	vfio->fd = -1;
	vfio->iommufd = -1;
}

/* Without the BAR */
static int vfio_bind(struct vfio *vfio, const char *name)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	char path[EDU_PATH_MAX];
	struct dirent *de;
	__u64 size;
	int ret = -ENODEV;
	DIR *dir;

	memset(vfio, 0, sizeof(*vfio));
	vfio->fd = -1;
	vfio->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (vfio->iommufd < 0)
		return -errno;

	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/vfio-dev", name);
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s",
			 de->d_name);
		vfio->fd = open(path, O_RDWR | O_CLOEXEC);
		ret = vfio->fd < 0 ? -errno : 0;
	}
	if (dir)
		closedir(dir);
	bind.iommufd = vfio->iommufd;
	ret = ret ?: edu_ioctl(vfio->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	ret = ret ?: vfio_region(vfio->fd, VFIO_PCI_CONFIG_REGION_INDEX,
				 &vfio->config, &size);
	if (ret)
		vfio_close(vfio);
	return ret;
}

static int vfio_open(struct vfio *vfio, const char *name)
{
	int ret;

	ret = vfio_bind(vfio, name);
	if (ret)
		return ret;
	ret = vfio_region(vfio->fd, BAR, &vfio->bar, &vfio->bar_size);
	if (!ret && vfio->bar_size < USED_SIZE)
		ret = -ENOSPC;
	if (ret)
		vfio_close(vfio);
	return ret;
}

static int config_read(struct vfio *vfio, unsigned int at, void *val,
		       size_t size)
{
	return pread(vfio->fd, val, size, vfio->config + at) ==
	       (ssize_t)size ? 0 : -EIO;
}

static int config_write16(struct vfio *vfio, unsigned int at, __u16 val)
{
	return pwrite(vfio->fd, &val, sizeof(val), vfio->config + at) ==
	       (ssize_t)sizeof(val) ? 0 : -EIO;
}

/* Where a capability is, or 0 */
static unsigned int config_cap(struct vfio *vfio, __u8 id)
{
	__u8 at, head[2];
	int n;

	if (config_read(vfio, PCI_CAPABILITY_LIST, &at, sizeof(at)))
		return 0;
	for (n = 0; at >= PCI_STD_HEADER_SIZEOF && n < 48; n++) {
		if (config_read(vfio, at, head, sizeof(head)))
			return 0;
		if (head[0] == id)
			return at;
		at = head[1];
	}
	return 0;
}

static int vfio_feature(struct vfio *vfio, __u32 flags)
{
	struct vfio_device_feature feature = {
		.argsz = sizeof(feature),
		.flags = flags,
	};

	return edu_ioctl(vfio->fd, VFIO_DEVICE_FEATURE, &feature);
}

/* What is asked for by default: user space wants a file as for O_RDWR. */
struct request {
	__u32 region;
	__u32 open_flags;
	__u32 flags;
	__u32 nr;
	__u32 ranges;		/* how many argsz covers; more may be there */
	const struct vfio_region_dma_range *from;
};

/*
 * The file descriptor, or a negative errno. Up to three ranges are there even if
 * argsz does not say so.
 */
static int vfio_request(int fd, const struct request *r)
{
	struct vfio_device_feature_dma_buf *dma_buf;
	struct vfio_device_feature *feature;
	__u32 there = r->nr > r->ranges && r->nr <= 3 ? r->nr : r->ranges;
	size_t size = sizeof(*feature) + sizeof(*dma_buf);
	int ret;

	feature = calloc(1, size + there * sizeof(*r->from));
	if (!feature)
		return -ENOMEM;
	feature->argsz = size + r->ranges * sizeof(*r->from);
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	dma_buf = (void *)feature->data;
	dma_buf->region_index = r->region;
	dma_buf->open_flags = r->open_flags;
	dma_buf->flags = r->flags;
	dma_buf->nr_ranges = r->nr;
	memcpy(dma_buf->dma_ranges, r->from, there * sizeof(*r->from));
	ret = ioctl(fd, VFIO_DEVICE_FEATURE, feature);
	if (ret < 0)
		ret = -errno;
	free(feature);
	return ret;
}

static int vfio_export(struct vfio *vfio,
		       const struct vfio_region_dma_range *from, __u32 nr)
{
	const struct request r = {
		.region = BAR,
		.open_flags = O_RDWR | O_CLOEXEC,
		.nr = nr,
		.ranges = nr,
		.from = from,
	};

	return vfio_request(vfio->fd, &r);
}

/* ------------------------------------ the edu device, driven by user space */

/* Its registers, and where it has the memory that it copies from and to */
#define EDU_REG_SRC	0x80
#define EDU_REG_DST	0x88
#define EDU_REG_COUNT	0x90
#define EDU_REG_CMD	0x98
#define EDU_CMD_START	0x1ULL
#define EDU_CMD_WRITE	0x2ULL		/* from the device to memory */
#define EDU_MEM		0x40000ULL

/* @ioas: what it is attached to */
struct guest {
	struct vfio vfio;
	__u32 ioas;
	__u64 *regs;
};

static void guest_clear(struct guest *g)
{
	memset(g, 0, sizeof(*g));
	g->vfio.fd = -1;
	g->vfio.iommufd = -1;
}

static int guest_new_ioas(struct guest *g, __u32 *ioas)
{
	struct iommu_ioas_alloc req = { .size = sizeof(req) };
	int ret = edu_ioctl(g->vfio.iommufd, IOMMU_IOAS_ALLOC, &req);

	*ioas = req.out_ioas_id;
	return ret;
}

static int guest_attach(struct guest *g, __u32 ioas)
{
	struct vfio_device_attach_iommufd_pt req = {
		.argsz = sizeof(req),
		.pt_id = ioas,
	};

	return edu_ioctl(g->vfio.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &req);
}

static int guest_detach(struct guest *g)
{
	struct vfio_device_detach_iommufd_pt req = { .argsz = sizeof(req) };

	return edu_ioctl(g->vfio.fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &req);
}

/* Give the device back to its driver, if it is not there. */
static int guest_close(struct guest *g)
{
	char driver[64];
	int ret = 0;

	if (g->regs)
		munmap(g->regs, PAGE);
	vfio_close(&g->vfio);
	guest_clear(g);
	driver_of(edu_name, driver, sizeof(driver));
	if (!strcmp(driver, "vfio-pci"))
		ret = driver_unbind(edu_name) ?: driver_set(edu_name, "\n");
	return ret ?: edu_bind(edu_name);
}

static int guest_open(struct guest *g)
{
	__u64 offset, size;
	__u16 cmd;
	void *regs;
	int ret;

	guest_clear(g);
	ret = driver_unbind(edu_name) ?: driver_set(edu_name, "vfio-pci") ?:
	      vfio_bind(&g->vfio, edu_name) ?:
	      guest_new_ioas(g, &g->ioas) ?: guest_attach(g, g->ioas) ?:
	      vfio_region(g->vfio.fd, VFIO_PCI_BAR0_REGION_INDEX, &offset, &size) ?:
	      config_read(&g->vfio, PCI_COMMAND, &cmd, sizeof(cmd)) ?:
	      config_write16(&g->vfio, PCI_COMMAND,
			     cmd | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (ret)
		return ret;
	regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, g->vfio.fd,
		    offset);
	if (regs == MAP_FAILED)
		return -errno;
	g->regs = regs;
	return 0;
}

static int guest_map(struct guest *g, __u32 ioas, int fd, __u64 start,
		     __u64 length, __u64 iova)
{
	struct iommu_ioas_map_file req = {
		.size = sizeof(req),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.fd = fd,
		.start = start,
		.length = length,
		.iova = iova,
	};

	return edu_ioctl(g->vfio.iommufd, IOMMU_IOAS_MAP_FILE, &req);
}

static int guest_unmap(struct guest *g, __u32 ioas, __u64 iova, __u64 length)
{
	struct iommu_ioas_unmap req = {
		.size = sizeof(req),
		.ioas_id = ioas,
		.iova = iova,
		.length = length,
	};

	return edu_ioctl(g->vfio.iommufd, IOMMU_IOAS_UNMAP, &req) ?:
	       (req.length == length ? 0 : -EBADE);
}

static void guest_write(struct guest *g, int reg, __u64 val)
{
	__atomic_store_n(&g->regs[reg / sizeof(*g->regs)], val,
			 __ATOMIC_RELEASE);
}

static bool guest_is_busy(struct guest *g)
{
	return __atomic_load_n(&g->regs[EDU_REG_CMD / sizeof(*g->regs)],
			       __ATOMIC_ACQUIRE) & EDU_CMD_START;
}

/* The device reads XFER bytes at an address, or writes what it has read last. */
static int guest_xfer(struct guest *g, __u64 iova, bool write)
{
	int n;

	guest_write(g, EDU_REG_SRC, write ? EDU_MEM : iova);
	guest_write(g, EDU_REG_DST, write ? iova : EDU_MEM);
	guest_write(g, EDU_REG_COUNT, XFER);
	guest_write(g, EDU_REG_CMD,
		    EDU_CMD_START | (write ? EDU_CMD_WRITE : 0));
	for (n = 0; guest_is_busy(g); n++) {
		if (n == 2000)
			return -ETIMEDOUT;
		sleep_ms(1);
	}
	return 0;
}

/* It tries to, and the IOMMU says that it must not. */
static int guest_faults(struct guest *g, int kmsg, __u64 iova, bool write)
{
	char line[KMSG_LINE_MAX];
	int ret, tries;

	for (tries = 0; tries < 2; tries++) {
		/* The first report may have fallen to the rate limit. */
		if (tries)
			sleep_ms(RATELIMIT_MS);
		while (kmsg_next(kmsg, line, 0))
			;
		ret = guest_xfer(g, iova, write);
		if (ret)
			return ret;
		if (kmsg_wait_fault(kmsg, iova & ~(PAGE - 1), (iova | (PAGE - 1)) + 1,
				    line, FAULT_WAIT_MS)) {
			ksft_print_msg("fault: %s\n", line);
			return 0;
		}
	}
	return -ENOMSG;
}

/* ----------------------------------------------------- the state of a test */

struct state {
	struct bar_state b;
	struct target *target;
	struct vfio vfio;
	struct guest guest;
};

static int mem_open(struct state *st)
{
	st->b.mem = mmap(NULL, USED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 st->vfio.fd, st->vfio.bar);
	if (st->b.mem != MAP_FAILED)
		return 0;
	st->b.mem = NULL;
	return -errno;
}

static void mem_close(struct state *st)
{
	if (st->b.mem)
		munmap(st->b.mem, USED_SIZE);
	st->b.mem = NULL;
}

/* Number of dma-bufs there are, or -1 */
static int nr_dma_bufs(void)
{
	static char buf[1 << 16];
	char *at, *last = NULL;

	if (file_read(BUFINFO_PATH, buf, sizeof(buf)))
		return -1;
	for (at = buf; (at = strstr(at, "Total ")); at++)
		last = at;
	return last ? atoi(last + strlen("Total ")) : -1;
}

static int state_init(struct state *st, const char *type)
{
	int ret;

	ret = bar_state_open(&st->b, has_group, type, edu_guard_kb(edu_name));
	if (ret)
		return ret;
	if (has_group && st->b.lazy != !strcmp(type, "DMA-FQ"))
		return -EDOM;
	return vfio_open(&st->vfio, st->target->name) ?: mem_open(st) ?:
	       mem_fill(&st->b, USED_SIZE);
}

static void state_exit(struct state *st)
{
	mem_close(st);
	vfio_close(&st->vfio);
	bar_state_close(&st->b);
}

FIXTURE(vfio)
{
	struct state st;
};

FIXTURE_VARIANT(vfio)
{
	int target;
	const char *type;
	bool translated;
};

FIXTURE_VARIANT_ADD(vfio, ivshmem_strict)
{
	.target = IVSHMEM,
	.type = "DMA",
	.translated = true,
};

FIXTURE_VARIANT_ADD(vfio, ivshmem_lazy)
{
	.target = IVSHMEM,
	.type = "DMA-FQ",
	.translated = true,
};

FIXTURE_VARIANT_ADD(vfio, ivshmem_direct)
{
	.target = IVSHMEM,
	.type = "identity",
};

FIXTURE_VARIANT_ADD(vfio, nvme_strict)
{
	.target = NVME,
	.type = "DMA",
	.translated = true,
};

FIXTURE_SETUP(vfio)
{
	struct state *st = &self->st;
	int ret;

	memset(st, 0, sizeof(*st));
	st->target = &targets[variant->target];
	bar_state_clear(&st->b);
	guest_clear(&st->guest);
	st->vfio.fd = -1;
	st->vfio.iommufd = -1;
	if (!st->target->name[0])
		SKIP(return, "no such device");
	if (!has_group)
		SKIP(return, "no IOMMU");
	if (first_try == -EINVAL)
		SKIP(return, "the devices do not reach each other");

	ret = state_init(st, variant->type);
	/* The driver starts with a mask of 28 bits, too few for arm64's memory. */
	if (ret == -EIO && !variant->translated) {
		state_exit(st);
		SKIP(return, "no memory in reach without an IOMMU");
	}
	ASSERT_EQ(0, ret) {
		TH_LOG("%s", strerror(-ret));
		state_exit(st);
	}
	ASSERT_EQ(variant->translated, st->b.translated);
}

/* Whatever a test has done, nothing stays mapped or exported, or was noticed. */
FIXTURE_TEARDOWN(vfio)
{
	struct state *st = &self->st;
	bool log;

	if (st->b.bar < 0)
		return;
	EXPECT_EQ(0, guest_close(&st->guest));
	fd_close(&st->b.bar);
	EXPECT_EQ(st->b.mapped, sanitizer("mapped"));
	EXPECT_GE(0, sanitizer("violations"));
	EXPECT_EQ(0, nr_dma_bufs());
	mem_close(st);
	vfio_close(&st->vfio);
	log = log_is_clean(st->b.kmsg_all);
	EXPECT_TRUE(log);
	state_exit(st);
}

/* ------------------------------------------------------------------- layouts */

static const struct layout layouts[] = {
	{ "one page", 1, 1, { PAGES(7, 1) } },
	{ "all that is used", 1, 1, { PAGES(0, USED_PAGES) } },
	{ "adjacent ranges", 3, 1, { PAGES(8, 1), PAGES(9, 7), PAGES(16, 2) } },
	{ "ranges with gaps", 3, 3,
	  { PAGES(1, 2), PAGES(4, 1), PAGES(200, 5) } },
	{ "ranges out of order", 4, 4,
	  { PAGES(250, 3), PAGES(20, 1), PAGES(100, 2), PAGES(18, 2) } },
	{ "ranges in reverse", 3, 3,
	  { PAGES(35, 1), PAGES(32, 3), PAGES(30, 2) } },
};

static int layout_export(struct vfio *vfio, const struct layout *l)
{
	struct vfio_region_dma_range ranges[MAX_PARTS];
	__u32 i;

	for (i = 0; i < l->nr; i++) {
		ranges[i].offset = l->ranges[i].offset;
		ranges[i].length = l->ranges[i].len;
	}
	return vfio_export(vfio, ranges, l->nr);
}

/* ------------------------------------------------------------------ transfers */

/*
 * The device goes on to write and to read: the IOMMU says that it must not, and
 * nothing of the BAR has been read. Whether it is as it was is to be seen when
 * the CPU can look.
 */
static int device_is_stopped(struct state *st, __u64 iova)
{
	return device_cannot_write(&st->b, iova) ?:
	       device_cannot_read(&st->b, iova);
}

/* The same at the start of a buffer, and a write in its last page */
static int device_has_lost(struct state *st, const struct layout *l,
			   const struct import *imp)
{
	__u64 left;

	return device_is_stopped(st, imp->segs[0].iova) ?:
	       device_faults(st->b.edu, st->b.kmsg,
			     import_at(imp, layout_size(l) - XFER, &left),
			     XFER, true);
}

/* ------------------------------------------------- how a device loses its BAR */

static int by_reset(struct vfio *vfio)
{
	return edu_ioctl(vfio->fd, VFIO_DEVICE_RESET, NULL);
}

static int by_hot_reset(struct vfio *vfio)
{
	struct vfio_pci_hot_reset req = { .argsz = sizeof(req) };

	return edu_ioctl(vfio->fd, VFIO_DEVICE_PCI_HOT_RESET, &req);
}

static int set_memory(struct vfio *vfio, bool on)
{
	__u16 cmd;

	if (config_read(vfio, PCI_COMMAND, &cmd, sizeof(cmd)))
		return -EIO;
	cmd &= ~PCI_COMMAND_MEMORY;
	return config_write16(vfio, PCI_COMMAND,
			      on ? cmd | PCI_COMMAND_MEMORY : cmd);
}

static int by_command(struct vfio *vfio)
{
	return set_memory(vfio, false);
}

static int memory_on(struct vfio *vfio)
{
	return set_memory(vfio, true);
}

static int by_flr(struct vfio *vfio)
{
	unsigned int at = config_cap(vfio, PCI_CAP_ID_EXP);
	__u32 cap;
	__u16 ctl;

	if (!at || config_read(vfio, at + PCI_EXP_DEVCAP, &cap, sizeof(cap)) ||
	    !(cap & PCI_EXP_DEVCAP_FLR))
		return -EOPNOTSUPP;
	if (config_read(vfio, at + PCI_EXP_DEVCTL, &ctl, sizeof(ctl)))
		return -EIO;
	return config_write16(vfio, at + PCI_EXP_DEVCTL,
			      ctl | PCI_EXP_DEVCTL_BCR_FLR);
}

static int set_power(struct vfio *vfio, __u16 state)
{
	unsigned int at = config_cap(vfio, PCI_CAP_ID_PM);
	__u16 ctl;

	if (!at)
		return -EOPNOTSUPP;
	if (config_read(vfio, at + PCI_PM_CTRL, &ctl, sizeof(ctl)))
		return -EIO;
	ctl &= ~PCI_PM_CTRL_STATE_MASK;
	return config_write16(vfio, at + PCI_PM_CTRL, ctl | state);
}

static int by_d3(struct vfio *vfio)
{
	return set_power(vfio, 3);
}

static int d0(struct vfio *vfio)
{
	return set_power(vfio, 0);
}

static int by_low_power(struct vfio *vfio)
{
	return vfio_feature(vfio, VFIO_DEVICE_FEATURE_SET |
			    VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY);
}

static int full_power(struct vfio *vfio)
{
	return vfio_feature(vfio, VFIO_DEVICE_FEATURE_SET |
			    VFIO_DEVICE_FEATURE_LOW_POWER_EXIT);
}

/* @end: what brings the BAR back, NULL if it is back at once */
static const struct loss {
	const char *name;
	int (*begin)(struct vfio *vfio);
	int (*end)(struct vfio *vfio);
	bool nvme_only;
} losses[] = {
	{ "reset", by_reset },
	{ "hot reset", by_hot_reset },
	{ "command register", by_command, memory_on },
	{ "command register, then a reset", by_command, by_reset },
	{ "FLR", by_flr, NULL, true },
	{ "D3", by_d3, d0, true },
	{ "low power", by_low_power, full_power },
};

static __u32 notified(struct state *st, const struct import *imp)
{
	struct dma_bar_seg seg;

	return bar_seg(st->b.bar, imp, 0, &seg) ? ~0U : seg.notified;
}

/* --------------------------------------------------------------------- tests */

TEST_F_TIMEOUT(vfio, device_and_cpu_see_the_same, 300)
{
	struct state *st = &self->st;
	struct import imp;
	int dmabuf;
	size_t i;
	__u32 s;

	for (i = 0; i < ARRAY_SIZE(layouts); i++) {
		const struct layout *l = &layouts[i];
		__u64 size = 0;

		dmabuf = layout_export(&st->vfio, l);
		ASSERT_LE(0, dmabuf) {
			TH_LOG("%s", l->name);
		}
		EXPECT_EQ((off_t)layout_size(l), lseek(dmabuf, 0, SEEK_END));
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
					0, &imp)) {
			TH_LOG("%s", l->name);
		}
		/* The mapping keeps the dma-buf. */
		close(dmabuf);
		EXPECT_EQ(st->b.translated ? 1 : l->runs, imp.req.nents) {
			TH_LOG("%s", l->name);
		}
		for (s = 0; s < imp.req.nents; s++)
			size += imp.segs[s].len;
		EXPECT_EQ(layout_size(l), size);
		EXPECT_EQ(0, device_uses(&st->b, l, &imp)) {
			TH_LOG("%s: byte %#llx", l->name, mem_differs(&st->b));
		}
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		if (st->b.translated && !i)
			EXPECT_EQ(0, device_is_stopped(st, imp.segs[0].iova));
	}
	EXPECT_EQ(-1, mem_differs(&st->b));
}

#define ARG(...)	{ __VA_ARGS__ }
#define RW		(O_RDWR | O_CLOEXEC)
#define HIGH		(~0ULL - PAGE + 1)	/* the last page there can be */

TEST_F(vfio, what_does_not_fit_is_refused)
{
	struct state *st = &self->st;
	__u64 size = st->vfio.bar_size;
	const struct {
		const char *name;
		int ret;
		struct request r;
		struct vfio_region_dma_range ranges[3];
	} bad[] = {
		{ "no range", -EINVAL, ARG(BAR, RW, 0, 0, 1), { PAGES(7, 1) } },
		{ "argsz without the range", -EINVAL, ARG(BAR, RW, 0, 1, 0),
		  { PAGES(7, 1) } },
		{ "argsz without the last range", -EINVAL,
		  ARG(BAR, RW, 0, 3, 2),
		  { PAGES(7, 1), PAGES(9, 1), PAGES(11, 1) } },
		{ "more ranges than anything holds", -E2BIG,
		  ARG(BAR, RW, 0, ~0U, 1), { PAGES(7, 1) } },
		{ "empty range", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { PAGES(7, 0) } },
		{ "empty range after another", -EINVAL, ARG(BAR, RW, 0, 2, 2),
		  { PAGES(7, 1), PAGES(8, 0) } },
		{ "unaligned offset", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { 7 * PAGE + 16, PAGE } } },
		{ "unaligned length", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { 7 * PAGE, PAGE + 16 } } },
		{ "half a page", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { 7 * PAGE, PAGE / 2 } } },
		{ "behind the BAR", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { size, PAGE } } },
		{ "past the end", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { size - PAGE, 2 * PAGE } } },
		{ "a page more than all", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { 0, size + PAGE } } },
		{ "second one outside", -EINVAL, ARG(BAR, RW, 0, 2, 2),
		  { PAGES(7, 1), { size, PAGE } } },
		{ "wraps around", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { HIGH, 2 * PAGE } } },
		{ "wraps around to 0", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { HIGH, PAGE } } },
		{ "length wraps around", -EINVAL, ARG(BAR, RW, 0, 1, 1),
		  { { 2 * PAGE, HIGH } } },
		{ "twice the same", -EINVAL, ARG(BAR, RW, 0, 2, 2),
		  { PAGES(7, 1), PAGES(7, 1) } },
		{ "the last page of another", -EINVAL, ARG(BAR, RW, 0, 3, 3),
		  { PAGES(12, 4), PAGES(1, 1), PAGES(15, 2) } },
		{ "within another", -EINVAL, ARG(BAR, RW, 0, 3, 3),
		  { PAGES(14, 1), PAGES(1, 1), PAGES(12, 4) } },
		{ "all, and a page", -EINVAL, ARG(BAR, RW, 0, 2, 2),
		  { { 0, size }, PAGES(7, 1) } },
		{ "ROM", -ENODEV,
		  ARG(VFIO_PCI_ROM_REGION_INDEX, RW, 0, 1, 1), { PAGES(0, 1) } },
		{ "config space", -ENODEV,
		  ARG(VFIO_PCI_CONFIG_REGION_INDEX, RW, 0, 1, 1),
		  { PAGES(0, 1) } },
		{ "no region", -ENODEV, ARG(~0U, RW, 0, 1, 1), { PAGES(0, 1) } },
		{ "no such BAR", -EINVAL, ARG(IO_BAR, RW, 0, 1, 1),
		  { PAGES(0, 1) } },
		{ "unknown flag", -EINVAL, ARG(BAR, RW, 1, 1, 1),
		  { PAGES(7, 1) } },
		{ "last unknown flag", -EINVAL, ARG(BAR, RW, 1U << 31, 1, 1),
		  { PAGES(7, 1) } },
		{ "no access mode", -EINVAL, ARG(BAR, O_ACCMODE, 0, 1, 1),
		  { PAGES(7, 1) } },
		{ "O_NONBLOCK", -EINVAL, ARG(BAR, RW | O_NONBLOCK, 0, 1, 1),
		  { PAGES(7, 1) } },
		{ "O_CREAT", -EINVAL, ARG(BAR, RW | O_CREAT, 0, 1, 1),
		  { PAGES(7, 1) } },
		{ "open flag that there is not", -EINVAL,
		  ARG(BAR, RW | 1U << 31, 0, 1, 1), { PAGES(7, 1) } },
	};
	int ret;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct request r = bad[i].r;

		r.from = bad[i].ranges;
		ret = vfio_request(st->vfio.fd, &r);
		EXPECT_EQ(bad[i].ret, ret) {
			TH_LOG("%s", bad[i].name);
		}
		if (ret >= 0)
			close(ret);
		EXPECT_EQ(0, nr_dma_bufs());
	}
	EXPECT_EQ(-1, mem_differs(&st->b));
}

/* BARs that are not memory, or too small for a page */
TEST_F(vfio, other_regions_are_refused)
{
	struct vfio_region_dma_range page = PAGES(0, 1);
	struct state *st = &self->st;
	__u64 offset, size;
	__u32 i;
	int ret;

	for (i = 0; i < VFIO_PCI_ROM_REGION_INDEX; i++) {
		const struct request r = { i, RW, 0, 1, 1, &page };

		ASSERT_EQ(0, vfio_region(st->vfio.fd, i, &offset, &size));
		ret = vfio_request(st->vfio.fd, &r);
		EXPECT_TRUE(size >= PAGE ? ret >= 0 : ret == -EINVAL) {
			TH_LOG("BAR %u: %d", i, ret);
		}
		if (ret >= 0)
			close(ret);
	}
}

/* Each page of the BAR on its own, and none behind the one before */
TEST_F(vfio, as_many_ranges_as_promised)
{
	struct state *st = &self->st;
	__u32 pages = st->vfio.bar_size / PAGE;
	struct vfio_region_dma_range *ranges;
	struct import imp;
	int dmabuf;
	__u32 i;

	ranges = calloc(MAX_RANGES + 1, sizeof(*ranges));
	ASSERT_NE(NULL, ranges);
	for (i = 0; i <= MAX_RANGES; i++) {
		ranges[i].offset = i * 5ULL % pages * PAGE;
		ranges[i].length = PAGE;
	}
	EXPECT_EQ(-E2BIG, vfio_export(&st->vfio, ranges, MAX_RANGES + 1));
	/* More than the BAR has */
	EXPECT_EQ(-EINVAL, vfio_export(&st->vfio, ranges, pages + 1));
	EXPECT_EQ(-EINVAL, vfio_export(&st->vfio, ranges, MAX_RANGES));
	dmabuf = vfio_export(&st->vfio, ranges, pages);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ((off_t)(pages * PAGE), lseek(dmabuf, 0, SEEK_END));
	EXPECT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	EXPECT_EQ(st->b.translated ? 1 : pages, imp.req.nents);
	EXPECT_EQ(0, bar_unmap(st->b.bar, &imp));
	close(dmabuf);
	free(ranges);
}

TEST_F(vfio, the_file_is_as_asked_for)
{
	static const __u32 flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_CLOEXEC,
		O_WRONLY | O_CLOEXEC, O_RDWR | O_CLOEXEC,
	};
	struct vfio_region_dma_range page = PAGES(7, 1);
	struct state *st = &self->st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		const struct request r = { BAR, flags[i], 0, 1, 1, &page };
		int dmabuf = vfio_request(st->vfio.fd, &r);

		ASSERT_LE(0, dmabuf);
		EXPECT_EQ(flags[i] & O_ACCMODE,
			  (__u32)fcntl(dmabuf, F_GETFL) & O_ACCMODE);
		EXPECT_EQ(!!(flags[i] & O_CLOEXEC),
			  !!(fcntl(dmabuf, F_GETFD) & FD_CLOEXEC));
		/* The CPU has the device's mmap(). */
		EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED,
					   dmabuf, 0));
		close(dmabuf);
	}

	EXPECT_EQ(0, vfio_feature(&st->vfio, VFIO_DEVICE_FEATURE_PROBE |
				  VFIO_DEVICE_FEATURE_DMA_BUF));
	EXPECT_EQ(0, vfio_feature(&st->vfio, VFIO_DEVICE_FEATURE_PROBE |
				  VFIO_DEVICE_FEATURE_GET |
				  VFIO_DEVICE_FEATURE_DMA_BUF));
	EXPECT_EQ(-EINVAL, vfio_feature(&st->vfio, VFIO_DEVICE_FEATURE_PROBE |
					VFIO_DEVICE_FEATURE_SET |
					VFIO_DEVICE_FEATURE_DMA_BUF));
	EXPECT_EQ(-EINVAL, vfio_feature(&st->vfio, VFIO_DEVICE_FEATURE_SET |
					VFIO_DEVICE_FEATURE_DMA_BUF));
	EXPECT_EQ(-EINVAL, vfio_feature(&st->vfio, VFIO_DEVICE_FEATURE_GET |
					VFIO_DEVICE_FEATURE_DMA_BUF));
}

/* No file descriptor is left, and none that was there is closed. */
TEST_F(vfio, no_descriptor_leaves_nothing)
{
	const struct layout *l = &layouts[0];
	struct vfio_region_dma_range page = PAGES(7, 1);
	struct state *st = &self->st;
	struct rlimit old, none;
	struct import imp;
	int fd, first;

	first = layout_export(&st->vfio, l);
	ASSERT_LE(0, first);
	ASSERT_EQ(0, bar_import(st->b.bar, first, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));

	fd = dup(0);
	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	none = old;
	none.rlim_cur = fd;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, vfio_export(&st->vfio, &page, 1));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(1, nr_dma_bufs());
	EXPECT_EQ(0, device_uses(&st->b, l, &imp));
	close(first);
}

/* From now on allocation @nth of this thread fails. A file, or a negative errno */
static int fail_nth(int nth)
{
	int fd = open(FAIL_NTH_PATH, O_RDWR | O_CLOEXEC);
	char val[32];

	if (fd < 0)
		return -errno;
	snprintf(val, sizeof(val), "%d", nth);
	if (write(fd, val, strlen(val)) > 0)
		return fd;
	close(fd);
	return -EIO;
}

/* None does any more. Were there fewer than that, or a negative errno */
static int fail_nth_end(int fd)
{
	char val[32] = "";
	int ret = 0;

	if (pread(fd, val, sizeof(val) - 1, 0) <= 0 ||
	    pwrite(fd, "0", 1, 0) != 1)
		ret = -EIO;
	close(fd);
	return ret ?: !!atoi(val);
}

/* Fail every allocation of an export in turn, then of a mapping of it. */
TEST_F_TIMEOUT(vfio, no_memory_leaves_nothing, 120)
{
	const struct layout *l = &layouts[4];
	int exported, nth, fd, ret, used_up, failed[2] = { 0, 0 };
	struct state *st = &self->st;
	struct import imp;
	char val[32];

	if (!fault_injection_setup() ||
	    file_read(FAIL_NTH_PATH, val, sizeof(val)))
		SKIP(return, "no fault injection");

	for (exported = 0; exported < 2; exported++) {
		int dmabuf = -1;

		if (exported) {
			dmabuf = layout_export(&st->vfio, l);
			ASSERT_LE(0, dmabuf);
		}
		for (nth = 1, used_up = 0; nth < 100 && !used_up; nth++) {
			/* The first export of an open device allocates more. */
			if (!exported) {
				mem_close(st);
				vfio_close(&st->vfio);
				ASSERT_EQ(0, vfio_open(&st->vfio,
						       st->target->name));
			}
			fd = fail_nth(nth);
			ASSERT_LE(0, fd);
			if (exported) {
				memset(&imp, 0, sizeof(imp));
				set_name(&imp.req);
				imp.req.fd = dmabuf;
				ret = edu_ioctl(st->b.bar, DMA_BAR_IOC_IMPORT,
						&imp.req);
			} else {
				ret = layout_export(&st->vfio, l);
			}
			used_up = fail_nth_end(fd);
			ASSERT_LE(0, used_up);

			/* Some are for a cache only, and not missed. */
			if (ret >= 0 && exported) {
				ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
			} else if (ret >= 0) {
				close(ret);
			} else {
				failed[exported]++;
				/* EBUSY: the BAR could not be reserved. */
				EXPECT_TRUE(ret == -ENOMEM || ret == -EBUSY) {
					TH_LOG("allocation %d: %s", nth,
					       strerror(-ret));
				}
			}
			EXPECT_EQ(exported, nr_dma_bufs());
		}
		EXPECT_TRUE(used_up);
		close(dmabuf);
	}
	ksft_print_msg("%d allocations failed the export, %d the mapping\n",
		       failed[0], failed[1]);
	EXPECT_LT(4, failed[0]);
	EXPECT_LT(3, failed[1]);
}

static int reopen(struct state *st)
{
	return vfio_open(&st->vfio, st->target->name) ?: mem_open(st);
}

/*
 * Those who need pages are refused, and those who pin where there is no IOMMU. Where
 * there is one, they lose the memory like all others, but are not asked.
 */
TEST_F_TIMEOUT(vfio, importers_that_cannot_let_go, 120)
{
	const struct layout *l = &layouts[0];
	struct state *st = &self->st;
	struct import pinned, other, next;
	int dmabuf;

	dmabuf = layout_export(&st->vfio, l);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(-EOPNOTSUPP, bar_import(st->b.bar, dmabuf,
					  DMA_EDU_BIDIRECTIONAL,
					  DMA_BAR_NO_PEER2PEER, &other));
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&other));
	EXPECT_EQ(st->b.translated ? 0 : -EOPNOTSUPP,
		  bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
			     DMA_BAR_PIN, &pinned));
	EXPECT_EQ(0, device_uses(&st->b, l, &other));
	if (!st->b.translated) {
		close(dmabuf);
		return;
	}
	EXPECT_EQ(0, device_uses(&st->b, l, &pinned));

	ASSERT_EQ(0, by_reset(&st->vfio));
	EXPECT_EQ(1, notified(st, &other));
	EXPECT_EQ(0, notified(st, &pinned));
	EXPECT_EQ(0, device_has_lost(st, l, &pinned));
	EXPECT_EQ(-1, mem_differs(&st->b));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &other));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &pinned));

	/* There must be memory to pin. */
	ASSERT_EQ(0, by_command(&st->vfio));
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
				      DMA_BAR_PIN, &next));
	ASSERT_EQ(0, memory_on(&st->vfio));
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
				DMA_BAR_PIN, &pinned));
	EXPECT_EQ(0, device_uses(&st->b, l, &pinned));

	/* The next one has the BAR for himself, although it is pinned. */
	mem_close(st);
	vfio_close(&st->vfio);
	EXPECT_EQ(0, notified(st, &pinned));
	EXPECT_EQ(0, device_has_lost(st, l, &pinned));
	ASSERT_EQ(0, reopen(st));
	EXPECT_EQ(-1, mem_differs(&st->b));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &pinned));
	close(dmabuf);
}

/*
 * Who pins a mapping only now and then is told of what was lost meanwhile when he pins it
 * the next time. To unpin what could not be pinned keeps nobody from being told.
 */
TEST_F_TIMEOUT(vfio, importers_that_pin_for_a_while, 120)
{
	struct state *st = &self->st;
	struct import imp;
	int dmabuf;

	dmabuf = layout_export(&st->vfio, &layouts[0]);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	EXPECT_EQ(st->b.translated ? 0 : -EOPNOTSUPP, bar_pin(st->b.bar, &imp, true));
	EXPECT_EQ(0, bar_pin(st->b.bar, &imp, false));
	ASSERT_EQ(0, by_reset(&st->vfio));
	EXPECT_EQ(1, notified(st, &imp));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	if (!st->b.translated) {
		close(dmabuf);
		return;
	}

	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, true));
	/* Nothing is lost yet. */
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, true));
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, false));
	EXPECT_EQ(0, notified(st, &imp));

	ASSERT_EQ(0, by_reset(&st->vfio));
	EXPECT_EQ(0, device_has_lost(st, &layouts[0], &imp));
	/* Told by each pin until it is mapped anew, also of who still has it pinned */
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, true));
	EXPECT_EQ(1, notified(st, &imp));
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, false));
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, false));
	EXPECT_EQ(1, notified(st, &imp));
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, true));
	EXPECT_EQ(2, notified(st, &imp));
	ASSERT_EQ(0, bar_pin(st->b.bar, &imp, false));
	ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	close(dmabuf);
}

/* Of the BAR, what the dma-bufs are of that iommufd maps, and where it maps it */
#define GUEST_FIRST	8ULL
#define GUEST_PAGES	4ULL
#define GUEST_SIZE	(GUEST_PAGES * PAGE)
#define GUEST_IOVA	0x40000000ULL

static const struct vfio_region_dma_range guest_range = PAGES(GUEST_FIRST,
							       GUEST_PAGES);

/* The device copies from one page of what is mapped to another: it is @nr pages. */
static int guest_uses(struct state *st, __u64 iova, __u64 first, __u64 nr)
{
	__u64 from = first * PAGE, to = (first + nr) * PAGE - XFER;
	int ret;

	ret = mem_fill(&st->b, USED_SIZE) ?: guest_xfer(&st->guest, iova, false) ?:
	      guest_xfer(&st->guest, iova + nr * PAGE - XFER, true);
	if (ret)
		return ret;
	if (!memcmp(st->b.must + to, st->b.must + from, XFER))
		return -EDOM;
	memcpy(st->b.must + to, st->b.must + from, XFER);
	return mem_differs(&st->b) < 0 ? 0 : -EBADMSG;
}

/* Both at the start and at the end */
static int guest_has_lost(struct state *st, __u64 iova, __u64 size)
{
	return guest_faults(&st->guest, st->b.kmsg, iova, false) ?:
	       guest_faults(&st->guest, st->b.kmsg, iova + size - XFER, true);
}

/* The dma_edu driver lets go of the device, and VFIO has both. */
static int guest_begin(struct state *st)
{
	fd_close(&st->b.edu);
	return guest_open(&st->guest);
}

/* A dma-buf of an exporter that is not VFIO */
static int other_export(struct state *st)
{
	struct dma_bar_range range = PAGES(0, 1);
	struct dma_bar_export req = {
		.ranges = (unsigned long)&range,
		.nr_ranges = 1,
		.size = PAGE,
	};

	return edu_ioctl(st->b.bar, DMA_BAR_IOC_EXPORT, &req) ?: req.fd;
}

TEST_F_TIMEOUT(vfio, iommufd_maps_one_range, 300)
{
	static const struct vfio_region_dma_range two[] = {
		PAGES(8, 1), PAGES(12, 1),
	};
	struct state *st = &self->st;
	struct guest *g = &st->guest;
	struct iommu_destroy destroy = { .size = sizeof(destroy) };
	struct iommu_ioas_copy copy = { .size = sizeof(copy) };
	struct iommu_ioas_change_process change = { .size = sizeof(change) };
	int dmabuf, fd;
	__u32 ioas;

	ASSERT_EQ(0, guest_begin(st));
	dmabuf = vfio_export(&st->vfio, &guest_range, 1);
	ASSERT_LE(0, dmabuf);

	/* All of it, and a part at another address */
	ASSERT_EQ(0, guest_map(g, g->ioas, dmabuf, 0, GUEST_SIZE, GUEST_IOVA));
	EXPECT_EQ(0, guest_uses(st, GUEST_IOVA, GUEST_FIRST, GUEST_PAGES));
	EXPECT_EQ(-EEXIST, guest_map(g, g->ioas, dmabuf, 0, PAGE, GUEST_IOVA));
	ASSERT_EQ(0, guest_map(g, g->ioas, dmabuf, PAGE, 2 * PAGE,
			       2 * GUEST_IOVA));
	EXPECT_EQ(0, guest_uses(st, 2 * GUEST_IOVA, GUEST_FIRST + 1, 2));
	EXPECT_EQ(0, guest_faults(g, st->b.kmsg, GUEST_IOVA + GUEST_SIZE, false));
	EXPECT_EQ(0, guest_faults(g, st->b.kmsg, 2 * GUEST_IOVA + 2 * PAGE,
				  true));

	/* What is not there, or not of this kind */
	EXPECT_EQ(-EINVAL, guest_map(g, g->ioas, dmabuf, 0, GUEST_SIZE + PAGE,
				     3 * GUEST_IOVA));
	EXPECT_EQ(-EINVAL, guest_map(g, g->ioas, dmabuf, GUEST_SIZE, PAGE,
				     3 * GUEST_IOVA));
	EXPECT_EQ(-EINVAL, guest_map(g, g->ioas, dmabuf, 0, 0, 3 * GUEST_IOVA));
	fd = vfio_export(&st->vfio, two, 2);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EOPNOTSUPP, guest_map(g, g->ioas, fd, 0, PAGE,
					 3 * GUEST_IOVA));
	close(fd);
	fd = other_export(st);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EOPNOTSUPP, guest_map(g, g->ioas, fd, 0, PAGE,
					 3 * GUEST_IOVA));
	close(fd);

	/* A file descriptor that is none leaves nothing behind. */
	ASSERT_EQ(0, guest_new_ioas(g, &ioas));
	EXPECT_EQ(-EBADF, guest_map(g, ioas, -1, 0, PAGE, GUEST_IOVA));
	destroy.id = ioas;
	EXPECT_EQ(0, edu_ioctl(g->vfio.iommufd, IOMMU_DESTROY, &destroy));

	/* Nobody is charged for it, and it can be handed over as other files. */
	EXPECT_EQ(0, edu_ioctl(g->vfio.iommufd, IOMMU_IOAS_CHANGE_PROCESS,
			       &change));

	/* A copy in another IOAS, and a domain that comes later */
	ASSERT_EQ(0, guest_new_ioas(g, &ioas));
	copy.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
		     IOMMU_IOAS_MAP_WRITEABLE;
	copy.dst_ioas_id = ioas;
	copy.src_ioas_id = g->ioas;
	copy.length = GUEST_SIZE;
	copy.dst_iova = 3 * GUEST_IOVA;
	copy.src_iova = GUEST_IOVA;
	ASSERT_EQ(0, edu_ioctl(g->vfio.iommufd, IOMMU_IOAS_COPY, &copy));
	ASSERT_EQ(0, guest_detach(g));
	ASSERT_EQ(0, guest_attach(g, ioas));
	EXPECT_EQ(0, guest_uses(st, 3 * GUEST_IOVA, GUEST_FIRST, GUEST_PAGES));
	EXPECT_EQ(0, guest_has_lost(st, GUEST_IOVA, GUEST_SIZE));

	/* The first one is unmapped, and the copy is not. */
	ASSERT_EQ(0, guest_unmap(g, g->ioas, GUEST_IOVA, GUEST_SIZE));
	close(dmabuf);
	EXPECT_EQ(0, guest_uses(st, 3 * GUEST_IOVA, GUEST_FIRST, GUEST_PAGES));
	ASSERT_EQ(0, guest_unmap(g, ioas, 3 * GUEST_IOVA, GUEST_SIZE));
	EXPECT_EQ(0, guest_has_lost(st, 3 * GUEST_IOVA, GUEST_SIZE));
	EXPECT_EQ(1, nr_dma_bufs());
	ASSERT_EQ(0, guest_unmap(g, g->ioas, 2 * GUEST_IOVA, 2 * PAGE));
	EXPECT_EQ(0, nr_dma_bufs());
}

/* Fail every allocation of a mapping in turn. */
TEST_F_TIMEOUT(vfio, iommufd_without_memory, 120)
{
	struct state *st = &self->st;
	struct guest *g = &st->guest;
	int dmabuf, nth, fd, ret, used_up = 0, failed = 0;
	char val[32];

	if (!fault_injection_setup() ||
	    file_read(FAIL_NTH_PATH, val, sizeof(val)))
		SKIP(return, "no fault injection");
	/* There only with IOMMUFD_TEST, which injects failures of its own */
	file_write(FAIL_IOMMUFD, "0");
	ASSERT_EQ(0, guest_begin(st));
	dmabuf = vfio_export(&st->vfio, &guest_range, 1);
	ASSERT_LE(0, dmabuf);
	for (nth = 1; nth < 100 && !used_up; nth++) {
		fd = fail_nth(nth);
		ASSERT_LE(0, fd);
		ret = guest_map(g, g->ioas, dmabuf, 0, GUEST_SIZE, GUEST_IOVA);
		used_up = fail_nth_end(fd);
		ASSERT_LE(0, used_up);
		if (ret) {
			/* ENOENT: with IOMMUFD_TEST it may not find the IOAS. */
			EXPECT_TRUE(ret == -ENOMEM || ret == -ENOENT) {
				TH_LOG("allocation %d: %s", nth, strerror(-ret));
			}
			failed++;
			EXPECT_EQ(0, guest_faults(g, st->b.kmsg, GUEST_IOVA,
						  false));
		} else {
			ASSERT_EQ(0, guest_unmap(g, g->ioas, GUEST_IOVA,
						 GUEST_SIZE));
		}
	}
	EXPECT_EQ(1, used_up);
	ksft_print_msg("%d allocations failed the mapping\n", failed);
	EXPECT_LT(3, failed);
	ASSERT_EQ(0, guest_map(g, g->ioas, dmabuf, 0, GUEST_SIZE, GUEST_IOVA));
	EXPECT_EQ(0, guest_uses(st, GUEST_IOVA, GUEST_FIRST, GUEST_PAGES));
	ASSERT_EQ(0, guest_unmap(g, g->ioas, GUEST_IOVA, GUEST_SIZE));
	close(dmabuf);
}

/*
 * What iommufd has mapped is gone when the call returns that ends access, and
 * comes back when it is mapped anew.
 */
TEST_F_TIMEOUT(vfio, iommufd_loses_it_at_once, 600)
{
	struct state *st = &self->st;
	struct guest *g = &st->guest;
	int dmabuf, ret;
	size_t i;

	ASSERT_EQ(0, guest_begin(st));
	dmabuf = vfio_export(&st->vfio, &guest_range, 1);
	ASSERT_LE(0, dmabuf);
	for (i = 0; i < ARRAY_SIZE(losses); i++) {
		const struct loss *loss = &losses[i];

		if (loss->nvme_only && variant->target != NVME)
			continue;
		ASSERT_EQ(0, guest_map(g, g->ioas, dmabuf, 0, GUEST_SIZE,
				       GUEST_IOVA)) {
			TH_LOG("%s", loss->name);
		}
		/* Twice, so that one is not all */
		ASSERT_EQ(0, guest_map(g, g->ioas, dmabuf, 0, PAGE,
				       2 * GUEST_IOVA));
		ASSERT_EQ(0, guest_uses(st, GUEST_IOVA, GUEST_FIRST,
					GUEST_PAGES)) {
			TH_LOG("%s", loss->name);
		}

		ret = loss->begin(&st->vfio);
		ASSERT_EQ(0, ret) {
			TH_LOG("%s: %s", loss->name, strerror(-ret));
		}
		EXPECT_EQ(0, guest_has_lost(st, GUEST_IOVA, GUEST_SIZE)) {
			TH_LOG("%s", loss->name);
		}
		EXPECT_EQ(0, guest_has_lost(st, 2 * GUEST_IOVA, PAGE)) {
			TH_LOG("%s", loss->name);
		}
		if (loss->end) {
			EXPECT_EQ(-ENODEV, guest_map(g, g->ioas, dmabuf, 0, PAGE,
						     3 * GUEST_IOVA)) {
				TH_LOG("%s", loss->name);
			}
			ret = loss->end(&st->vfio);
			ASSERT_EQ(0, ret) {
				TH_LOG("%s: %s", loss->name, strerror(-ret));
			}
			if (loss->end == by_reset)
				ASSERT_EQ(0, memory_on(&st->vfio));
		}
		EXPECT_EQ(-1, mem_differs(&st->b)) {
			TH_LOG("%s: byte %#llx", loss->name, mem_differs(&st->b));
		}

		/* A domain that comes now gets nothing of it, either. */
		if (!i) {
			ASSERT_EQ(0, guest_detach(g));
			ASSERT_EQ(0, guest_attach(g, g->ioas));
		}
		EXPECT_EQ(0, guest_has_lost(st, GUEST_IOVA, GUEST_SIZE));
		EXPECT_EQ(-EEXIST, guest_map(g, g->ioas, dmabuf, 0, PAGE,
					     GUEST_IOVA));
		ASSERT_EQ(0, guest_unmap(g, g->ioas, GUEST_IOVA, GUEST_SIZE));
		ASSERT_EQ(0, guest_unmap(g, g->ioas, 2 * GUEST_IOVA, PAGE));
	}

	/* The last close */
	ASSERT_EQ(0, guest_map(g, g->ioas, dmabuf, 0, GUEST_SIZE, GUEST_IOVA));
	ASSERT_EQ(0, guest_uses(st, GUEST_IOVA, GUEST_FIRST, GUEST_PAGES));
	mem_close(st);
	vfio_close(&st->vfio);
	EXPECT_EQ(0, guest_has_lost(st, GUEST_IOVA, GUEST_SIZE));
	EXPECT_EQ(-ENODEV, guest_map(g, g->ioas, dmabuf, 0, PAGE,
				     2 * GUEST_IOVA));
	ASSERT_EQ(0, reopen(st));
	EXPECT_EQ(-1, mem_differs(&st->b));
	EXPECT_EQ(0, guest_has_lost(st, GUEST_IOVA, GUEST_SIZE));
	EXPECT_EQ(-ENODEV, guest_map(g, g->ioas, dmabuf, 0, PAGE,
				     2 * GUEST_IOVA));
	close(dmabuf);
	EXPECT_EQ(1, nr_dma_bufs());
	ASSERT_EQ(0, guest_unmap(g, g->ioas, GUEST_IOVA, GUEST_SIZE));
	EXPECT_EQ(0, nr_dma_bufs());
}

/*
 * Two mappings of one dma-buf are in use and stay so: the importer is told once,
 * and the device has lost the memory, for good with these mappings. New ones can
 * be made exactly when the memory is there.
 */
TEST_F_TIMEOUT(vfio, lost_and_found, 600)
{
	const struct layout *l = &layouts[3];
	struct state *st = &self->st;
	struct import imp[2], next;
	int dmabuf, other, m, ret;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(losses); i++) {
		const struct loss *loss = &losses[i];

		if (loss->nvme_only && variant->target != NVME)
			continue;
		dmabuf = layout_export(&st->vfio, l);
		ASSERT_LE(0, dmabuf);
		other = layout_export(&st->vfio, &layouts[0]);
		ASSERT_LE(0, other);
		for (m = 0; m < 2; m++) {
			ASSERT_EQ(0, bar_import(st->b.bar, dmabuf,
						DMA_EDU_BIDIRECTIONAL, 0,
						&imp[m]));
			ASSERT_EQ(0, device_uses(&st->b, l, &imp[m]));
			EXPECT_EQ(0, notified(st, &imp[m]));
		}

		ret = loss->begin(&st->vfio);
		ASSERT_EQ(0, ret) {
			TH_LOG("%s: %s", loss->name, strerror(-ret));
		}
		for (m = 0; m < 2; m++) {
			EXPECT_EQ(1, notified(st, &imp[m])) {
				TH_LOG("%s", loss->name);
			}
			if (!st->b.translated)
				continue;
			EXPECT_EQ(0, device_has_lost(st, l, &imp[m])) {
				TH_LOG("%s", loss->name);
			}
		}
		if (loss->end) {
			EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf,
						      DMA_EDU_BIDIRECTIONAL, 0,
						      &next)) {
				TH_LOG("%s", loss->name);
			}
			EXPECT_EQ(-ENODEV, bar_import(st->b.bar, other,
						      DMA_EDU_BIDIRECTIONAL, 0,
						      &next));
			close(other);
			/* An export of what is not there now */
			other = layout_export(&st->vfio, &layouts[0]);
			ASSERT_LE(0, other);
			EXPECT_EQ(-ENODEV, bar_import(st->b.bar, other,
						      DMA_EDU_BIDIRECTIONAL, 0,
						      &next));
			ret = loss->end(&st->vfio);
			ASSERT_EQ(0, ret) {
				TH_LOG("%s: %s", loss->name, strerror(-ret));
			}
			/* A reset in place of the end does not bring it back. */
			if (loss->end == by_reset) {
				EXPECT_EQ(-ENODEV,
					  bar_import(st->b.bar, other,
						     DMA_EDU_BIDIRECTIONAL, 0,
						     &next));
				ASSERT_EQ(0, memory_on(&st->vfio));
			}
		}

		/* Now the CPU can see that nothing has reached the BAR. */
		EXPECT_EQ(-1, mem_differs(&st->b)) {
			TH_LOG("%s: byte %#llx", loss->name, mem_differs(&st->b));
			EXPECT_EQ(0, mem_fill(&st->b, USED_SIZE));
		}
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
					0, &next)) {
			TH_LOG("%s", loss->name);
		}
		EXPECT_EQ(0, device_uses(&st->b, l, &next));
		EXPECT_EQ(0, notified(st, &next));
		if (st->b.translated)
			EXPECT_EQ(0, device_has_lost(st, l, &imp[0]));
		for (m = 0; m < 2; m++)
			ASSERT_EQ(0, bar_unmap(st->b.bar, &imp[m]));
		EXPECT_EQ(0, device_uses(&st->b, l, &next));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &next));
		ASSERT_EQ(0, bar_import(st->b.bar, other, DMA_EDU_BIDIRECTIONAL,
					0, &next));
		EXPECT_EQ(0, device_uses(&st->b, &layouts[0], &next));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &next));
		close(other);
		close(dmabuf);
	}
}

/* What is lost twice before it is mapped again is lost once. */
TEST_F_TIMEOUT(vfio, lost_twice, 120)
{
	const struct layout *l = &layouts[0];
	struct state *st = &self->st;
	struct import imp, next;
	int dmabuf;

	dmabuf = layout_export(&st->vfio, l);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	ASSERT_EQ(0, by_command(&st->vfio));
	ASSERT_EQ(0, by_command(&st->vfio));
	EXPECT_EQ(1, notified(st, &imp));
	ASSERT_EQ(0, memory_on(&st->vfio));
	/* Mapped before, and not unmapped yet: it stays revoked, and is told. */
	ASSERT_EQ(0, by_reset(&st->vfio));
	EXPECT_EQ(2, notified(st, &imp));
	if (st->b.translated)
		EXPECT_EQ(0, device_is_stopped(st, imp.segs[0].iova));
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&next));
	EXPECT_EQ(0, device_uses(&st->b, l, &next));
	close(dmabuf);
}

/* The dma-buf outlives the open device, but gives access to nobody any more. */
TEST_F_TIMEOUT(vfio, lost_with_the_last_close, 120)
{
	const struct layout *l = &layouts[3];
	struct state *st = &self->st;
	struct import imp, idle, next;
	int dmabuf, fresh;

	dmabuf = layout_export(&st->vfio, l);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&idle));
	ASSERT_EQ(0, device_uses(&st->b, l, &imp));

	/* The mapping of the BAR is a reference, too. */
	vfio_close(&st->vfio);
	EXPECT_EQ(0, notified(st, &imp));
	ASSERT_EQ(0, device_uses(&st->b, l, &imp));

	mem_close(st);
	EXPECT_EQ(1, notified(st, &imp));
	if (st->b.translated)
		EXPECT_EQ(0, device_has_lost(st, l, &imp));
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				      &next));

	/* Nobody else gets the BAR for as long as a device may still use it. */
	if (!st->b.translated) {
		EXPECT_EQ(-EBUSY, reopen(st));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		EXPECT_EQ(-EBUSY, reopen(st));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &idle));
	}

	/* The next one who opens the device is not the one who exported it. */
	ASSERT_EQ(0, reopen(st));
	EXPECT_EQ(-1, mem_differs(&st->b)) {
		EXPECT_EQ(0, mem_fill(&st->b, USED_SIZE));
	}
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				      &next));
	ASSERT_EQ(0, by_reset(&st->vfio));
	ASSERT_EQ(0, by_command(&st->vfio));
	ASSERT_EQ(0, memory_on(&st->vfio));
	if (st->b.translated)
		EXPECT_EQ(1, notified(st, &imp));
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				      &next));
	fresh = layout_export(&st->vfio, l);
	ASSERT_LE(0, fresh);
	ASSERT_EQ(0, bar_import(st->b.bar, fresh, DMA_EDU_BIDIRECTIONAL, 0,
				&next));
	EXPECT_EQ(0, device_uses(&st->b, l, &next));
	EXPECT_EQ(2, nr_dma_bufs());

	/* What is left of the old one goes in any order. */
	close(dmabuf);
	if (st->b.translated) {
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		EXPECT_EQ(2, nr_dma_bufs());
		ASSERT_EQ(0, bar_unmap(st->b.bar, &idle));
	}
	EXPECT_EQ(1, nr_dma_bufs());
	EXPECT_EQ(0, device_uses(&st->b, l, &next));
	close(fresh);
}

/* Unbinding waits for the last close, after which the device is gone. */
TEST_F_TIMEOUT(vfio, lost_with_the_driver, 120)
{
	const struct layout *l = &layouts[0];
	struct state *st = &self->st;
	struct import imp, next;
	int dmabuf, status;
	pid_t pid;

	dmabuf = layout_export(&st->vfio, l);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				&imp));
	ASSERT_EQ(0, device_uses(&st->b, l, &imp));

	mem_close(st);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(st->vfio.fd);
		_exit(driver_unbind(st->target->name) ? 1 : 0);
	}
	sleep_ms(300);
	ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
	EXPECT_EQ(0, notified(st, &imp));
	EXPECT_EQ(0, device_reads(&st->b, l, &imp, 0));

	vfio_close(&st->vfio);
	if (!st->b.translated) {
		/* The next driver must not have the BAR yet. */
		sleep_ms(300);
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
		EXPECT_EQ(1, notified(st, &imp));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	if (st->b.translated) {
		EXPECT_EQ(1, notified(st, &imp));
		EXPECT_EQ(0, device_is_stopped(st, imp.segs[0].iova));
	}
	EXPECT_EQ(-ENODEV, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0,
				      &next));
	/* Nothing of the driver is needed for this. */
	if (st->b.translated)
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
	close(dmabuf);
	EXPECT_EQ(0, nr_dma_bufs());

	ASSERT_EQ(0, file_write(VFIO_DRIVER "/bind", st->target->name));
	ASSERT_EQ(0, reopen(st));
	EXPECT_EQ(-1, mem_differs(&st->b));
}

/*
 * What a fence is for, and who waits for it: WRITE fences those who read, READ
 * fences those who write, and BOOKKEEP fences who takes the memory away.
 */
enum fence_usage { FENCE_WRITE, FENCE_READ, FENCE_BOOKKEEP };

/* Add a fence that signals when @timeline is at @value. */
static int fence_add(struct state *st, int timeline, __u32 value, int dmabuf,
		     enum fence_usage usage)
{
	struct sw_sync_create_fence_data create = { .value = value };
	struct dma_buf_import_sync_file import = {
		.flags = usage == FENCE_WRITE ? DMA_BUF_SYNC_RW :
						DMA_BUF_SYNC_READ,
	};
	int ret;

	ret = edu_ioctl(timeline, SW_SYNC_IOC_CREATE_FENCE, &create);
	if (ret)
		return ret;
	import.fd = create.fence;
	ret = usage == FENCE_BOOKKEEP ?
	      bar_add_fence(st->b.bar, dmabuf, create.fence) :
	      edu_ioctl(dmabuf, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &import);
	close(create.fence);
	return ret;
}

/* What the importer's device has begun it may finish, and is waited for. */
TEST_F_TIMEOUT(vfio, running_transfers_are_waited_for, 120)
{
	const struct layout *l = &layouts[0];
	struct state *st = &self->st;
	int dmabuf, timeline, status;
	enum fence_usage usage;
	struct import imp;
	__u32 one = 1;
	pid_t pid;

	timeline = open(SW_SYNC_PATH, O_RDWR | O_CLOEXEC);
	if (timeline < 0)
		SKIP(return, "no sw_sync");
	for (usage = FENCE_WRITE; usage <= FENCE_BOOKKEEP; usage++) {
		dmabuf = layout_export(&st->vfio, l);
		ASSERT_LE(0, dmabuf);
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf, DMA_EDU_BIDIRECTIONAL,
					0, &imp));
		ASSERT_EQ(0, fence_add(st, timeline, usage + 1, dmabuf, usage));

		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(by_reset(&st->vfio) ? 1 : 0);
		sleep_ms(300);
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG)) {
			TH_LOG("fence of kind %d", usage);
		}
		EXPECT_EQ(0, device_sends(&st->b, l, &imp, 0));
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));

		ASSERT_EQ(0, edu_ioctl(timeline, SW_SYNC_IOC_INC, &one));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(1, notified(st, &imp));
		if (st->b.translated)
			EXPECT_EQ(0, device_is_stopped(st, imp.segs[0].iova));
		EXPECT_EQ(-1, mem_differs(&st->b));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp));
		close(dmabuf);
	}
	close(timeline);
}

#define LATE_MS		2000
#define NR_LATE		200		/* pages of the BAR, a dma-buf each */

/*
 * A fence that comes after two seconds keeps nobody waiting where an IOMMU can take
 * the memory away instead: user space is who has supplied it. Else it is all there
 * is to go by.
 */
TEST_F_TIMEOUT(vfio, a_late_fence, 120)
{
	const struct layout *l = &layouts[0];	/* page 7 */
	struct state *st = &self->st;
	int dmabuf[NR_LATE], timeline, status, i;
	struct import imp[NR_LATE];
	long long start, took;
	__u32 one = 1;
	pid_t pid;

	timeline = open(SW_SYNC_PATH, O_RDWR | O_CLOEXEC);
	if (timeline < 0)
		SKIP(return, "no sw_sync");
	for (i = 0; i < NR_LATE; i++) {
		const struct vfio_region_dma_range page = PAGES(i, 1);

		dmabuf[i] = vfio_export(&st->vfio, &page, 1);
		ASSERT_LE(0, dmabuf[i]);
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf[i],
					DMA_EDU_BIDIRECTIONAL, 0, &imp[i]));
		ASSERT_EQ(0, fence_add(st, timeline, 1, dmabuf[i], i % 3));
	}

	start = now_ms();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		sleep_ms(LATE_MS);
		_exit(edu_ioctl(timeline, SW_SYNC_IOC_INC, &one) ? 1 : 0);
	}
	EXPECT_EQ(0, by_reset(&st->vfio));
	took = now_ms() - start;
	ksft_print_msg("%lld ms with %d fences\n", took, NR_LATE);
	for (i = 0; i < NR_LATE; i++)
		EXPECT_EQ(1, notified(st, &imp[i]));
	if (st->b.translated) {
		/* One second, however many dma-bufs there are */
		EXPECT_LE(900, took);
		EXPECT_GE(1600, took);
		for (i = 0; i < NR_LATE; i += NR_LATE - 1)
			EXPECT_EQ(0, device_is_stopped(st,
						       imp[i].segs[0].iova));
		/* What is revoked is not waited for again. */
		start = now_ms();
		EXPECT_EQ(0, by_reset(&st->vfio));
		EXPECT_GE(900, now_ms() - start);
	} else {
		EXPECT_LE(LATE_MS - 100, took);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	EXPECT_EQ(-1, mem_differs(&st->b));
	for (i = 0; i < NR_LATE; i++) {
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp[i]));
		ASSERT_EQ(0, bar_import(st->b.bar, dmabuf[i],
					DMA_EDU_BIDIRECTIONAL, 0, &imp[i]));
		if (i == 7)
			EXPECT_EQ(0, device_uses(&st->b, l, &imp[i]));
		ASSERT_EQ(0, bar_unmap(st->b.bar, &imp[i]));
		close(dmabuf[i]);
	}
	close(timeline);
}

#define NR_FIRST	8
#define FIRST_ROUNDS	40

/* @go: what all of them start at */
struct first_user {
	struct state *st;
	pthread_barrier_t *go;
	bool exports;
	int ret;
};

static void *first_user(void *arg)
{
	struct first_user *u = arg;
	struct vfio *vfio = &u->st->vfio;
	void *mem;

	pthread_barrier_wait(u->go);
	if (u->exports) {
		u->ret = layout_export(vfio, &layouts[0]);
		if (u->ret >= 0)
			u->ret = close(u->ret);
	} else {
		mem = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, vfio->fd,
			   vfio->bar);
		u->ret = mem == MAP_FAILED ? -errno : munmap(mem, PAGE);
	}
	return NULL;
}

/* Who comes first requests the BAR, and the others do not find it taken. */
TEST_F_TIMEOUT(vfio, first_use_of_a_bar_by_many, 300)
{
	struct first_user users[NR_FIRST];
	struct state *st = &self->st;
	pthread_t thread[NR_FIRST];
	pthread_barrier_t go;
	int i, round;

	ASSERT_EQ(0, pthread_barrier_init(&go, NULL, NR_FIRST));
	for (round = 0; round < FIRST_ROUNDS; round++) {
		mem_close(st);
		vfio_close(&st->vfio);
		ASSERT_EQ(0, vfio_open(&st->vfio, st->target->name));
		for (i = 0; i < NR_FIRST; i++) {
			users[i] = (struct first_user){ st, &go, i & 1, -EIO };
			ASSERT_EQ(0, pthread_create(&thread[i], NULL,
						    first_user, &users[i]));
		}
		for (i = 0; i < NR_FIRST; i++) {
			pthread_join(thread[i], NULL);
			ASSERT_EQ(0, users[i].ret) {
				TH_LOG("round %d, %s: %s", round,
				       users[i].exports ? "export" : "mmap",
				       strerror(-users[i].ret));
			}
		}
	}
	pthread_barrier_destroy(&go);
}

/* @stop: read by one thread, written by another */
struct racer {
	struct state *st;
	int dmabuf;
	bool stop;
	int mapped;
	int lost;
	int other;
};

static bool race_goes_on(const struct racer *r)
{
	return !__atomic_load_n(&r->stop, __ATOMIC_RELAXED);
}

static void *race_importer(void *arg)
{
	struct racer *r = arg;
	struct import imp;
	int ret;

	while (race_goes_on(r)) {
		ret = bar_import(r->st->b.bar, r->dmabuf, DMA_EDU_BIDIRECTIONAL,
				 0, &imp);
		if (!ret)
			ret = bar_unmap(r->st->b.bar, &imp) ? -EBADE : 0;
		if (!ret)
			r->mapped++;
		else if (ret == -ENODEV)
			r->lost++;
		else
			r->other = ret;
		sleep_ms(ret ? 1 : 0);
	}
	return NULL;
}

static void *race_exporter(void *arg)
{
	struct racer *r = arg;
	int dmabuf;

	while (race_goes_on(r)) {
		dmabuf = layout_export(&r->st->vfio, &layouts[3]);
		if (dmabuf < 0)
			r->other = dmabuf;
		else
			close(dmabuf);
		r->mapped++;
		sched_yield();
	}
	return NULL;
}

static void *race_reader(void *arg)
{
	struct racer *r = arg;
	__u64 at;

	/* Page faults, which stop for as long as there is nothing to map. */
	while (race_goes_on(r)) {
		at = r->mapped++ % USED_PAGES * PAGE;
		__atomic_load_n(&r->st->b.mem[at], __ATOMIC_RELAXED);
		sched_yield();
	}
	return NULL;
}

/* Importing, exporting and page faults while the memory comes and goes. */
TEST_F_TIMEOUT(vfio, races, 120)
{
	void *(*const fn[])(void *) = {
		race_importer, race_exporter, race_reader, race_importer,
	};
	struct racer r[ARRAY_SIZE(fn)] = { };
	struct state *st = &self->st;
	pthread_t thread[ARRAY_SIZE(fn)];
	long long end;
	int dmabuf, rounds = 0;
	size_t i;

	dmabuf = layout_export(&st->vfio, &layouts[4]);
	ASSERT_LE(0, dmabuf);
	for (i = 0; i < ARRAY_SIZE(fn); i++) {
		r[i].st = st;
		r[i].dmabuf = dmabuf;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, fn[i], &r[i]));
	}
	/*
	 * Memory that is off would end the reader, so it is resets. All must
	 * have had their turn, which on one CPU takes its time.
	 */
	for (end = now_ms() + 300; now_ms() < end; rounds++) {
		EXPECT_EQ(0, by_reset(&st->vfio));
		sleep_ms(rounds % 3);
		if (rounds < 100 && (!r[0].mapped || !r[1].mapped ||
				     !r[2].mapped || !r[3].mapped))
			end = now_ms() + 100;
	}
	for (i = 0; i < ARRAY_SIZE(fn); i++) {
		__atomic_store_n(&r[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, r[i].other);
		EXPECT_LT(0, r[i].mapped);
	}
	ksft_print_msg("%d resets, %d and %d mappings, %d and %d refused\n",
		       rounds, r[0].mapped, r[3].mapped, r[0].lost, r[3].lost);
	ksft_print_msg("%d exports, %d faults\n", r[1].mapped, r[2].mapped);
	EXPECT_LT(0, rounds);
	/* An importer must have met a device without its memory. */
	EXPECT_LT(0, r[0].lost + r[3].lost);
	close(dmabuf);
}

/*
 * Whether there is a way between the devices at all depends on the machine. If
 * there is not, that is what an importer is told.
 */
TEST(no_way_is_an_error)
{
	if (!first_try)
		SKIP(return, "the devices reach each other");
	EXPECT_EQ(-EINVAL, first_try);
}

static int try_once(void)
{
	const struct vfio_region_dma_range page = PAGES(7, 1);
	struct import imp;
	struct vfio vfio;
	int bar, dmabuf, ret;

	ret = vfio_open(&vfio, targets[IVSHMEM].name);
	if (ret)
		return ret;
	bar = open("/dev/dma_bar", O_RDWR | O_CLOEXEC);
	dmabuf = vfio_export(&vfio, &page, 1);
	ret = dmabuf < 0 ? dmabuf :
	      bar_import(bar, dmabuf, DMA_EDU_BIDIRECTIONAL, 0, &imp);
	close(dmabuf);
	close(bar);
	vfio_close(&vfio);
	return ret;
}

int main(int argc, char **argv)
{
	struct group_state booted;
	char path[EDU_PATH_MAX];
	size_t i;
	int ret;

	if (getpagesize() != (int)PAGE)
		ksft_exit_skip("written for pages of 4 KiB\n");
	edu_take_device();
	if (access("/dev/dma_bar", F_OK))
		ksft_exit_skip("no /dev/dma_bar\n");
	if (access("/dev/iommu", F_OK) || access(VFIO_DRIVER, F_OK))
		ksft_exit_skip("no iommufd or no vfio-pci\n");
	ret = edu_bind(edu_name);
	if (ret)
		ksft_exit_skip("dma_edu does not bind to %s: %s\n", edu_name,
			       strerror(-ret));

	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		ret = target_find(&targets[i]) ?: target_bind(&targets[i]);
		if (ret)
			ksft_print_msg("%s: %s\n", targets[i].what,
				       strerror(-ret));
		if (ret == -ENODEV)
			targets[i].name[0] = '\0';
	}
	if (!targets[IVSHMEM].name[0])
		ksft_exit_skip("no ivshmem-plain device that vfio-pci takes\n");
	first_try = try_once();

	edu_group_attr(edu_name, "type", path, sizeof(path));
	has_group = !access(path, F_OK) && !group_save(&booted);
	ret = test_harness_run(argc, argv);
	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		if (target_restore(&targets[i])) {
			fprintf(stderr, "cannot restore %s\n",
				targets[i].name);
			ret = KSFT_FAIL;
		}
	}
	return has_group ? edu_finish(&booted, ret) : ret;
}
