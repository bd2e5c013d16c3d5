// SPDX-License-Identifier: GPL-2.0
/*
 * dma_bar_mainline - a driver that exports its BAR as mainline has it
 *
 * Nothing but the names and the headers of mainline since 6.19, in the way that
 * a driver written for it uses them: that it builds, with each argument of exactly
 * the type that it has there, is the test. It has no devices, but can be given one
 * with new_id, and then exports the whole of BAR 0 when it is bound.
 */

#include <linux/types.h>

/* It is defined there, and not where dma-bufs are. */
extern struct phys_vec mainline_vec[sizeof(struct phys_vec)];

#include <linux/dma-buf-mapping.h>
#include <linux/dma-resv.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>

#define MAINLINE_BAR	0

struct mainline_buf {
	struct p2pdma_provider *provider;
	struct phys_vec phys_vec;
	struct dma_buf *dmabuf;
	bool gone;
};

/* The types are those of the functions, to the letter. */
static int (*const init)(struct pci_dev *pdev) = pcim_p2pdma_init;
static struct p2pdma_provider *(*const get_provider)(struct pci_dev *pdev,
						     int bar) =
	pcim_p2pdma_provider;
static struct sg_table *(*const to_sgt)(struct dma_buf_attachment *attach,
					struct p2pdma_provider *provider,
					struct phys_vec *phys_vec,
					size_t nr_ranges, size_t size,
					enum dma_data_direction dir) =
	dma_buf_phys_vec_to_sgt;
static void (*const free_sgt)(struct dma_buf_attachment *attach,
			      struct sg_table *sgt,
			      enum dma_data_direction dir) = dma_buf_free_sgt;

static int mainline_attach(struct dma_buf *dmabuf,
			   struct dma_buf_attachment *attach)
{
	struct mainline_buf *buf = dmabuf->priv;

	/* Members that other code looks at */
	static_assert(__same_type(buf->provider->owner, struct device *));
	static_assert(__same_type(buf->provider->bus_offset, u64));
	static_assert(__same_type(buf->phys_vec.paddr, phys_addr_t));
	static_assert(__same_type(buf->phys_vec.len, size_t));

	return attach->peer2peer ? 0 : -EOPNOTSUPP;
}

static struct sg_table *mainline_map(struct dma_buf_attachment *attach,
				     enum dma_data_direction dir)
{
	struct mainline_buf *buf = attach->dmabuf->priv;

	if (buf->gone)
		return ERR_PTR(-ENODEV);
	return to_sgt(attach, buf->provider, &buf->phys_vec, 1,
		      buf->phys_vec.len, dir);
}

static void mainline_unmap(struct dma_buf_attachment *attach,
			   struct sg_table *sgt, enum dma_data_direction dir)
{
	free_sgt(attach, sgt, dir);
}

static void mainline_release(struct dma_buf *dmabuf)
{
	kfree(dmabuf->priv);
}

static const struct dma_buf_ops mainline_ops = {
	.attach = mainline_attach,
	.map_dma_buf = mainline_map,
	.unmap_dma_buf = mainline_unmap,
	.release = mainline_release,
};

static int mainline_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct mainline_buf *buf;
	int ret;

	ret = pcim_enable_device(pdev) ?: init(pdev);
	if (ret)
		return ret;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	buf->provider = get_provider(pdev, MAINLINE_BAR);
	buf->phys_vec.paddr = pci_resource_start(pdev, MAINLINE_BAR);
	buf->phys_vec.len = pci_resource_len(pdev, MAINLINE_BAR);

	info.ops = &mainline_ops;
	info.size = buf->phys_vec.len;
	info.flags = O_RDWR;
	info.priv = buf;
	buf->dmabuf = dma_buf_export(&info);
	if (!buf->provider || IS_ERR(buf->dmabuf)) {
		if (!IS_ERR(buf->dmabuf))
			dma_buf_put(buf->dmabuf);
		else
			kfree(buf);
		return -ENODEV;
	}
	pci_set_drvdata(pdev, buf);
	return 0;
}

static void mainline_remove(struct pci_dev *pdev)
{
	struct mainline_buf *buf = pci_get_drvdata(pdev);
	struct dma_buf *dmabuf = buf->dmabuf;

	dma_resv_lock(dmabuf->resv, NULL);
	buf->gone = true;
	dma_buf_move_notify(dmabuf);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
}

static struct pci_driver mainline_driver = {
	.name = KBUILD_MODNAME,
	.probe = mainline_probe,
	.remove = mainline_remove,
};
module_pci_driver(mainline_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Exports a BAR with nothing but mainline's names");
MODULE_IMPORT_NS("DMA_BUF");
