// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to an NVMe disk that do not match their segments
 *
 * FOR TESTS ONLY. "insmod dma_nvme_malformed.ko disk=/dev/nvme0n1" submits one that
 * is longer than its segments, which the driver must refuse, and then reads the
 * start of the disk. The command of the first request has PRPs in it already, as one
 * that was used before has. If the driver takes them for its own, the read goes by a
 * list that it did not write, and ends in other memory.
 *
 * If the controller knows SGLs, it then reads by one, and submits a request that has a
 * segment more than it says. All that the driver maps of these must be unmapped.
 *
 * Behind an IOMMU the driver does not see the segments, only one range of IOVA.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

/* drivers/nvme/host/nvme.h */
#include "nvme.h"

/* More than two, so that there is a list; so few that it is a small one */
#define NR_PAGES	8
#define FILL		0x5a

static char *disk;
module_param(disk, charp, 0);
MODULE_PARM_DESC(disk, "block device of the nvme driver, which nobody else uses");

/* The list that is not the driver's: all its entries are of one page. */
struct decoy {
	__le64 *list;
	void *page;
	dma_addr_t list_dma;
	dma_addr_t page_dma;
};

static struct device *pci_parent(struct gendisk *gd)
{
	struct device *dev = disk_to_dev(gd);

	while (dev && !dev_is_pci(dev))
		dev = dev->parent;
	return dev;
}

static int decoy_init(struct decoy *decoy, struct device *dev)
{
	unsigned int i;

	decoy->page = dma_alloc_coherent(dev, PAGE_SIZE, &decoy->page_dma, GFP_KERNEL);
	decoy->list = dma_alloc_coherent(dev, PAGE_SIZE, &decoy->list_dma, GFP_KERNEL);
	if (!decoy->page || !decoy->list)
		return -ENOMEM;
	memset(decoy->page, FILL, PAGE_SIZE);
	for (i = 0; i < PAGE_SIZE / sizeof(*decoy->list); i++)
		decoy->list[i] = cpu_to_le64(decoy->page_dma);
	return 0;
}

static void decoy_free(struct decoy *decoy, struct device *dev)
{
	if (decoy->list)
		dma_free_coherent(dev, PAGE_SIZE, decoy->list, decoy->list_dma);
	if (decoy->page)
		dma_free_coherent(dev, PAGE_SIZE, decoy->page, decoy->page_dma);
}

/*
 * Read to the pages, by a request that is @more bytes longer than they are, and whose
 * count of segments is @fewer too low. The driver makes an SGL of it if it is @sgl.
 */
static int read_pages(struct block_device *bdev, struct decoy *decoy, void **pages,
		      unsigned int more, unsigned int fewer, bool sgl)
{
	struct request *rq;
	struct nvme_command cmd = {
		.rw = {
			.opcode = nvme_cmd_read,
			.nsid = cpu_to_le32(1),
			.length = cpu_to_le16(NR_PAGES * PAGE_SIZE /
					      bdev_logical_block_size(bdev) - 1),
			.dptr = {
				.prp1 = cpu_to_le64(decoy->page_dma),
				.prp2 = cpu_to_le64(decoy->list_dma),
			},
		},
	};
	unsigned int i;
	int ret = 0;

	rq = blk_mq_alloc_request(bdev_get_queue(bdev), REQ_OP_DRV_IN, 0);
	if (IS_ERR(rq))
		return PTR_ERR(rq);
	nvme_init_request(rq, &cmd);
	/* As it does with what comes from a user, if the controller knows SGLs. */
	if (sgl)
		nvme_req(rq)->flags |= NVME_REQ_USERCMD;
	if (sgl && !nvme_ctrl_sgl_supported(nvme_req(rq)->ctrl))
		ret = -EOPNOTSUPP;
	for (i = 0; i < NR_PAGES && !ret; i++) {
		memset(pages[i], FILL, PAGE_SIZE);
		ret = blk_rq_map_kern(rq, pages[i], PAGE_SIZE, GFP_KERNEL);
	}
	if (!ret) {
		rq->__data_len += more;
		rq->nr_phys_segments -= fewer;
		ret = blk_status_to_errno(blk_execute_rq(rq, false));
	}
	blk_mq_free_request(rq);
	return ret;
}

/* Has the device written to @mem? */
static bool written(const void *mem)
{
	return memchr_inv(mem, FILL, PAGE_SIZE);
}

/* A sound request */
static int read_all(struct block_device *bdev, struct decoy *decoy, void **pages,
		    bool sgl)
{
	unsigned int i;
	int ret = read_pages(bdev, decoy, pages, 0, 0, sgl);

	for (i = 0; i < NR_PAGES && !ret; i++)
		if (!written(pages[i]))
			ret = -ENODATA;
	return ret;
}

static int test(struct block_device *bdev, struct decoy *decoy, void **pages)
{
	int ret;

	ret = read_pages(bdev, decoy, pages, PAGE_SIZE, 0, false);
	pr_info("malformed request: %d\n", ret);
	if (ret != -EIO)
		return ret ?: -EINVAL;

	ret = read_all(bdev, decoy, pages, false);
	if (written(decoy->page)) {
		pr_err("the read went by a list that is not the driver's\n");
		return -EFAULT;
	}
	pr_info("read: %d\n", ret);
	if (ret)
		return ret;

	ret = read_all(bdev, decoy, pages, true);
	pr_info("read by an SGL: %d\n", ret);
	if (ret)
		return ret == -EOPNOTSUPP ? 0 : ret;

	ret = read_pages(bdev, decoy, pages, 0, 1, true);
	pr_info("request of too many segments: %d\n", ret);
	return ret == -EIO ? 0 : ret ?: -EINVAL;
}

static int run(struct block_device *bdev, struct device *dev)
{
	void *pages[NR_PAGES] = {};
	struct decoy decoy = {};
	unsigned int i;
	int ret;

	ret = decoy_init(&decoy, dev);
	/* The first page of two each: what is contiguous would be one segment. */
	for (i = 0; i < ARRAY_SIZE(pages) && !ret; i++) {
		pages[i] = (void *)__get_free_pages(GFP_KERNEL, 1);
		if (!pages[i])
			ret = -ENOMEM;
	}
	if (!ret)
		ret = test(bdev, &decoy, pages);
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		free_pages((unsigned long)pages[i], 1);
	/* The driver may have its address for good. */
	if (ret != -EFAULT)
		decoy_free(&decoy, dev);
	return ret;
}

static int __init dma_nvme_malformed_init(void)
{
	struct file *file;
	struct device *dev;
	int ret = -ENODEV;

	if (!disk)
		return -EINVAL;
	file = bdev_file_open_by_path(disk, BLK_OPEN_READ, THIS_MODULE, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	dev = pci_parent(file_bdev(file)->bd_disk);
	if (dev && !strcmp(dev_driver_string(dev), "nvme"))
		ret = dma_get_merge_boundary(dev) ? -EOPNOTSUPP :
			run(file_bdev(file), dev);
	bdev_fput(file);
	return ret;
}
module_init(dma_nvme_malformed_init);

static void __exit dma_nvme_malformed_exit(void)
{
}
module_exit(dma_nvme_malformed_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A malformed request to an NVMe disk, for tests");
