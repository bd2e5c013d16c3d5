// SPDX-License-Identifier: GPL-2.0
/*
 * dma_bar - dma-bufs of a BAR under user-space control, FOR TESTS ONLY
 *
 * Exports parts of BAR 2 of QEMU's "ivshmem-plain" PCI device, which is memory
 * that the CPU can look at, and maps dma-bufs for a PCI device that has its
 * driver elsewhere. Never load this on a machine that matters; opening the file
 * takes CAP_SYS_RAWIO.
 *
 * The ABI is described in dma_bar.h.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/dma-buf-mapping.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "dma_bar.h"

#define DMA_BAR		2

/* A host bridge that P2PDMA has on its list */
#define TRUSTED_VENDOR	PCI_VENDOR_ID_INTEL
#define TRUSTED_DEVICE	0x2020

static bool trust_host_bridge;
module_param(trust_host_bridge, bool, 0444);
MODULE_PARM_DESC(trust_host_bridge,
		 "make P2PDMA believe that the host bridge passes on what one device sends another");

/*
 * The device, one at most. User space cannot unbind the driver, and open files
 * and dma-bufs keep the module, so that it is there for whoever gets here.
 */
static struct pci_dev *bar_pdev;
static struct p2pdma_provider *bar_provider;

/**
 * struct bar_export - an exported buffer
 * @provider: of the BAR, or NULL for a test
 * @size: what the exporter says is the size
 * @revoked: no new mappings. Under the reservation lock, as is @maps.
 * @maps: all struct bar_map
 * @map_ns: what the latest mapping took; under the reservation lock
 * @unmap_ns: likewise
 * @nr_ranges: number of @vec
 * @vec: where the buffer is
 */
struct bar_export {
	struct p2pdma_provider *provider;
	size_t size;
	bool revoked;
	struct list_head maps;
	u64 map_ns;
	u64 unmap_ns;
	size_t nr_ranges;
	struct phys_vec vec[] __counted_by(nr_ranges);
};

/* A mapping that some importer has of an exported buffer */
struct bar_map {
	struct list_head node;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	enum dma_data_direction dir;
};

/* A mapping that this importer has. @notified: under the reservation lock */
struct bar_import {
	struct device *dev;
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	enum dma_data_direction dir;
	bool pinned;
	unsigned int notified;
};

/* An open file. @lock: held by each call. @imports: struct bar_import by handle */
struct bar_file {
	struct mutex lock;	/* see above */
	struct xarray imports;
};

/* === Exporter ============================================================= */

static int bar_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	return attach->peer2peer ? 0 : -EOPNOTSUPP;
}

static struct sg_table *bar_map_dma_buf(struct dma_buf_attachment *attach,
					enum dma_data_direction dir)
{
	struct bar_export *exp = attach->dmabuf->priv;
	struct sg_table *sgt;
	struct bar_map *map;
	ktime_t start;

	if (exp->revoked)
		return ERR_PTR(-ENODEV);

	map = kzalloc(sizeof(*map), GFP_KERNEL);
	if (!map)
		return ERR_PTR(-ENOMEM);

	start = ktime_get();
	sgt = dma_buf_phys_vec_to_sgt(attach, exp->provider, exp->vec,
				      exp->nr_ranges, exp->size, dir);
	exp->map_ns = ktime_sub(ktime_get(), start);
	if (IS_ERR(sgt)) {
		kfree(map);
		return sgt;
	}

	map->attach = attach;
	map->sgt = sgt;
	map->dir = dir;
	list_add_tail(&map->node, &exp->maps);
	return sgt;
}

static void bar_unmap_dma_buf(struct dma_buf_attachment *attach,
			      struct sg_table *sgt, enum dma_data_direction dir)
{
	struct bar_export *exp = attach->dmabuf->priv;
	struct bar_map *map;
	ktime_t start;

	list_for_each_entry(map, &exp->maps, node) {
		if (map->sgt == sgt) {
			list_del(&map->node);
			kfree(map);
			break;
		}
	}
	start = ktime_get();
	dma_buf_free_sgt(attach, sgt, dir);
	exp->unmap_ns = ktime_sub(ktime_get(), start);
}

static void bar_release_dma_buf(struct dma_buf *dmabuf)
{
	kfree(dmabuf->priv);
}

static const struct dma_buf_ops bar_dma_buf_ops = {
	.attach = bar_attach,
	.map_dma_buf = bar_map_dma_buf,
	.unmap_dma_buf = bar_unmap_dma_buf,
	.release = bar_release_dma_buf,
};

static int bar_fill_ranges(struct bar_export *exp, u64 ranges)
{
	struct dma_bar_range __user *from = u64_to_user_ptr(ranges);
	struct dma_bar_range range;
	size_t i;

	for (i = 0; i < exp->nr_ranges; i++) {
		if (copy_from_user(&range, from + i, sizeof(range)))
			return -EFAULT;
		exp->vec[i].paddr = pci_resource_start(bar_pdev, DMA_BAR) +
				    range.offset;
		exp->vec[i].len = range.len;
	}
	return 0;
}

static long bar_ioc_export(struct dma_bar_export *req)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct bar_export *exp;
	struct dma_buf *dmabuf;
	int ret;

	if (req->reserved || req->flags & ~DMA_BAR_NO_PROVIDER ||
	    req->nr_ranges > DMA_BAR_MAX_RANGES)
		return -EINVAL;

	exp = kzalloc(struct_size(exp, vec, req->nr_ranges), GFP_KERNEL);
	if (!exp)
		return -ENOMEM;
	INIT_LIST_HEAD(&exp->maps);
	exp->nr_ranges = req->nr_ranges;
	exp->size = req->size;
	exp->provider = req->flags & DMA_BAR_NO_PROVIDER ? NULL : bar_provider;
	ret = bar_fill_ranges(exp, req->ranges);
	if (ret)
		goto err_free;

	info.ops = &bar_dma_buf_ops;
	info.size = req->size;
	info.flags = O_RDWR | O_CLOEXEC;
	info.priv = exp;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		ret = PTR_ERR(dmabuf);
		goto err_free;
	}

	ret = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (ret < 0) {
		dma_buf_put(dmabuf);
		return ret;
	}
	req->fd = ret;
	return 0;

err_free:
	kfree(exp);
	return ret;
}

static long bar_ioc_revoke(struct dma_bar_revoke *req)
{
	struct bar_export *exp;
	struct dma_buf *dmabuf;
	struct bar_map *map;

	if (req->reserved)
		return -EINVAL;

	dmabuf = dma_buf_get(req->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (dmabuf->ops != &bar_dma_buf_ops) {
		dma_buf_put(dmabuf);
		return -EINVAL;
	}

	req->taken = 0;
	req->left = 0;
	exp = dmabuf->priv;
	dma_resv_lock(dmabuf->resv, NULL);
	exp->revoked = true;
	dma_buf_move_notify(dmabuf);
	list_for_each_entry(map, &exp->maps, node) {
		if (dma_buf_revoke_sgt(map->attach, map->sgt, map->dir))
			req->taken++;
		else
			req->left++;
	}
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	return 0;
}

/* === Importer ============================================================= */

static void bar_move_notify(struct dma_buf_attachment *attach)
{
	struct bar_import *imp = attach->importer_priv;

	imp->notified++;
}

static const struct dma_buf_attach_ops bar_attach_ops = {
	.allow_peer2peer = true,
	.move_notify = bar_move_notify,
};

static const struct dma_buf_attach_ops bar_attach_ops_pages = {
	.move_notify = bar_move_notify,
};

static void bar_free_import(struct bar_import *imp)
{
	if (imp->attach) {
		dma_resv_lock(imp->dmabuf->resv, NULL);
		if (imp->sgt)
			dma_buf_unmap_attachment(imp->attach, imp->sgt,
						 imp->dir);
		if (imp->pinned)
			dma_buf_unpin(imp->attach);
		dma_resv_unlock(imp->dmabuf->resv);
		dma_buf_detach(imp->dmabuf, imp->attach);
	}
	if (imp->dmabuf)
		dma_buf_put(imp->dmabuf);
	put_device(imp->dev);
	kfree(imp);
}

static int bar_map_import(struct bar_import *imp,
			  const struct dma_bar_import *req)
{
	const struct dma_buf_attach_ops *ops = &bar_attach_ops;
	struct dma_buf_attachment *attach;
	struct dma_buf *dmabuf;
	struct sg_table *sgt;
	int ret = 0;

	if (req->flags & DMA_BAR_NO_PEER2PEER)
		ops = &bar_attach_ops_pages;

	dmabuf = dma_buf_get(req->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	imp->dmabuf = dmabuf;

	attach = dma_buf_dynamic_attach(dmabuf, imp->dev, ops, imp);
	if (IS_ERR(attach))
		return PTR_ERR(attach);
	imp->attach = attach;

	dma_resv_lock(dmabuf->resv, NULL);
	if (req->flags & DMA_BAR_PIN) {
		ret = dma_buf_pin(attach);
		imp->pinned = !ret;
	}
	if (!ret) {
		sgt = dma_buf_map_attachment(attach, req->dir);
		ret = PTR_ERR_OR_ZERO(sgt);
	}
	dma_resv_unlock(dmabuf->resv);
	if (ret)
		return ret;
	imp->sgt = sgt;
	imp->dir = req->dir;
	return 0;
}

static long bar_ioc_import(struct bar_file *file, struct dma_bar_import *req)
{
	struct bar_import *imp;
	int ret;

	if (req->reserved ||
	    req->flags & ~(DMA_BAR_NO_PEER2PEER | DMA_BAR_PIN) ||
	    !valid_dma_direction(req->dir) ||
	    strnlen(req->name, sizeof(req->name)) == sizeof(req->name))
		return -EINVAL;

	imp = kzalloc(sizeof(*imp), GFP_KERNEL);
	if (!imp)
		return -ENOMEM;
	imp->dev = bus_find_device_by_name(&pci_bus_type, NULL, req->name);
	ret = imp->dev ? bar_map_import(imp, req) : -ENXIO;
	if (!ret)
		ret = xa_alloc(&file->imports, &req->handle, imp, xa_limit_31b,
			       GFP_KERNEL);
	if (ret) {
		bar_free_import(imp);
		return ret;
	}
	req->nents = imp->sgt->nents;
	return 0;
}

static long bar_ioc_seg(struct bar_file *file, struct dma_bar_seg *req)
{
	struct bar_import *imp = xa_load(&file->imports, req->handle);
	struct scatterlist *sg;
	unsigned int i;

	if (req->reserved || !imp)
		return -EINVAL;

	for_each_sgtable_dma_sg(imp->sgt, sg, i) {
		if (i != req->index)
			continue;
		req->iova = sg_dma_address(sg);
		req->len = sg_dma_len(sg);
		dma_resv_lock(imp->dmabuf->resv, NULL);
		req->notified = imp->notified;
		dma_resv_unlock(imp->dmabuf->resv);
		return 0;
	}
	return -ERANGE;
}

static long bar_ioc_unmap(struct bar_file *file,
			  const struct dma_bar_unmap *req)
{
	struct bar_import *imp;

	if (req->reserved)
		return -EINVAL;
	imp = xa_erase(&file->imports, req->handle);
	if (!imp)
		return -EINVAL;
	bar_free_import(imp);
	return 0;
}

static long bar_ioc_pin(struct bar_file *file, const struct dma_bar_pin *req)
{
	struct bar_import *imp = xa_load(&file->imports, req->handle);
	int ret = 0;

	if (req->pin > 1 || !imp)
		return -EINVAL;

	dma_resv_lock(imp->dmabuf->resv, NULL);
	if (req->pin)
		ret = dma_buf_pin(imp->attach);
	else
		dma_buf_unpin(imp->attach);
	dma_resv_unlock(imp->dmabuf->resv);
	return ret;
}

static long bar_ioc_fence(const struct dma_bar_fence *req)
{
	struct dma_fence *fence;
	struct dma_buf *dmabuf;
	int ret;

	if (req->reserved)
		return -EINVAL;
	if (!IS_ENABLED(CONFIG_SYNC_FILE))
		return -EOPNOTSUPP;

	fence = sync_file_get_fence(req->sync_file);
	if (!fence)
		return -EINVAL;
	dmabuf = dma_buf_get(req->fd);
	if (IS_ERR(dmabuf)) {
		dma_fence_put(fence);
		return PTR_ERR(dmabuf);
	}

	dma_resv_lock(dmabuf->resv, NULL);
	ret = dma_resv_reserve_fences(dmabuf->resv, 1);
	if (!ret)
		dma_resv_add_fence(dmabuf->resv, fence,
				   DMA_RESV_USAGE_BOOKKEEP);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	dma_fence_put(fence);
	return ret;
}

/* === Time ================================================================= */

static u32 bar_clock_ns(void)
{
	u32 least = U32_MAX;
	ktime_t start;
	int i;

	for (i = 0; i < 100; i++) {
		start = ktime_get();
		least = min_t(u64, least, ktime_sub(ktime_get(), start));
	}
	return least;
}

static int bar_time_rounds(struct dma_buf_attachment *attach,
			   struct dma_bar_time *req, u64 *map_ns, u64 *unmap_ns)
{
	struct bar_export *exp = attach->dmabuf->priv;
	struct sg_table *sgt;
	u32 i;

	for (i = 0; i < req->warmup + req->rounds; i++) {
		if (signal_pending(current))
			return -EINTR;

		dma_resv_lock(attach->dmabuf->resv, NULL);
		sgt = dma_buf_map_attachment(attach, req->dir);
		if (!IS_ERR(sgt)) {
			req->nents = sgt->nents;
			dma_buf_unmap_attachment(attach, sgt, req->dir);
			if (i >= req->warmup) {
				map_ns[i - req->warmup] = exp->map_ns;
				unmap_ns[i - req->warmup] = exp->unmap_ns;
			}
		}
		dma_resv_unlock(attach->dmabuf->resv);
		if (IS_ERR(sgt))
			return PTR_ERR(sgt);
		cond_resched();
	}
	req->clock_ns = bar_clock_ns();
	return 0;
}

static int bar_time_attached(struct dma_buf *dmabuf, struct device *dev,
			     struct dma_bar_time *req)
{
	struct bar_import imp = {};
	struct dma_buf_attachment *attach;
	size_t len = array_size(req->rounds, sizeof(u64));
	u64 *map_ns, *unmap_ns, mask = dma_get_mask(dev);
	int ret;

	ret = dma_set_mask(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	attach = dma_buf_dynamic_attach(dmabuf, dev, &bar_attach_ops, &imp);
	if (IS_ERR(attach)) {
		ret = PTR_ERR(attach);
		goto out_mask;
	}

	ret = -ENOMEM;

	map_ns = kvzalloc(len, GFP_KERNEL);
	unmap_ns = kvzalloc(len, GFP_KERNEL);
	if (map_ns && unmap_ns)
		ret = bar_time_rounds(attach, req, map_ns, unmap_ns);
	if (!ret && (copy_to_user(u64_to_user_ptr(req->map_ns), map_ns, len) ||
		     copy_to_user(u64_to_user_ptr(req->unmap_ns), unmap_ns, len)))
		ret = -EFAULT;
	kvfree(unmap_ns);
	kvfree(map_ns);
	dma_buf_detach(dmabuf, attach);
out_mask:
	dma_set_mask(dev, mask);
	return ret;
}

static long bar_ioc_time(struct dma_bar_time *req)
{
	struct dma_buf *dmabuf;
	struct device *dev;
	int ret = -EINVAL;

	if (!valid_dma_direction(req->dir) || !req->rounds ||
	    req->rounds > DMA_BAR_MAX_ROUNDS ||
	    req->warmup > DMA_BAR_MAX_ROUNDS ||
	    strnlen(req->name, sizeof(req->name)) == sizeof(req->name))
		return -EINVAL;

	dmabuf = dma_buf_get(req->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (dmabuf->ops == &bar_dma_buf_ops) {
		dev = bus_find_device_by_name(&pci_bus_type, NULL, req->name);
		ret = dev ? bar_time_attached(dmabuf, dev, req) : -ENXIO;
		put_device(dev);
	}
	dma_buf_put(dmabuf);
	return ret;
}

/* === Files ================================================================ */

static int bar_open(struct inode *inode, struct file *filp)
{
	struct bar_file *file;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;

	file = kzalloc(sizeof(*file), GFP_KERNEL);
	if (!file)
		return -ENOMEM;
	mutex_init(&file->lock);
	xa_init_flags(&file->imports, XA_FLAGS_ALLOC1);
	filp->private_data = file;
	return 0;
}

static int bar_release(struct inode *inode, struct file *filp)
{
	struct bar_file *file = filp->private_data;
	struct bar_import *imp;
	unsigned long handle;

	xa_for_each(&file->imports, handle, imp)
		bar_free_import(imp);
	xa_destroy(&file->imports);
	kfree(file);
	return 0;
}

static void bar_info(struct dma_bar_info *info)
{
	memset(info, 0, sizeof(*info));
	strscpy(info->name, pci_name(bar_pdev));
	info->start = pci_resource_start(bar_pdev, DMA_BAR);
	info->size = pci_resource_len(bar_pdev, DMA_BAR);
	info->bus_offset = bar_provider->bus_offset;
}

static long bar_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct bar_file *file = filp->private_data;
	void __user *user = (void __user *)arg;
	union {
		struct dma_bar_info info;
		struct dma_bar_export export;
		struct dma_bar_import import;
		struct dma_bar_seg seg;
		struct dma_bar_unmap unmap;
		struct dma_bar_pin pin;
		struct dma_bar_revoke revoke;
		struct dma_bar_fence fence;
		struct dma_bar_time time;
	} req;
	long ret;

	if (_IOC_SIZE(cmd) > sizeof(req))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE &&
	    copy_from_user(&req, user, _IOC_SIZE(cmd)))
		return -EFAULT;

	mutex_lock(&file->lock);
	switch (cmd) {
	case DMA_BAR_IOC_INFO:
		bar_info(&req.info);
		ret = 0;
		break;
	case DMA_BAR_IOC_EXPORT:
		ret = bar_ioc_export(&req.export);
		break;
	case DMA_BAR_IOC_IMPORT:
		ret = bar_ioc_import(file, &req.import);
		break;
	case DMA_BAR_IOC_SEG:
		ret = bar_ioc_seg(file, &req.seg);
		break;
	case DMA_BAR_IOC_UNMAP:
		ret = bar_ioc_unmap(file, &req.unmap);
		break;
	case DMA_BAR_IOC_PIN:
		ret = bar_ioc_pin(file, &req.pin);
		break;
	case DMA_BAR_IOC_REVOKE:
		ret = bar_ioc_revoke(&req.revoke);
		break;
	case DMA_BAR_IOC_FENCE:
		ret = bar_ioc_fence(&req.fence);
		break;
	case DMA_BAR_IOC_TIME:
		ret = bar_ioc_time(&req.time);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&file->lock);

	if (!ret && _IOC_DIR(cmd) & _IOC_READ &&
	    copy_to_user(user, &req, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static const struct file_operations bar_fops = {
	.owner = THIS_MODULE,
	.open = bar_open,
	.release = bar_release,
	.unlocked_ioctl = bar_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice bar_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dma_bar",
	.fops = &bar_fops,
	.mode = 0600,
};

/* === Driver =============================================================== */

/* What pcim_p2pdma_provider() promises about BARs that are not there */
static bool bar_providers_are_right(struct pci_dev *pdev)
{
	int bar;

	for (bar = -1; bar <= PCI_NUM_RESOURCES; bar++) {
		bool there = bar >= 0 && bar < PCI_STD_NUM_BARS &&
			     pci_resource_flags(pdev, bar) & IORESOURCE_MEM &&
			     pci_resource_len(pdev, bar);

		if (there != !!pcim_p2pdma_provider(pdev, bar)) {
			pci_err(pdev, "wrong provider of BAR %d\n", bar);
			return false;
		}
	}
	return true;
}

static void bar_distrust_host_bridge(void *data)
{
	struct pci_dev *bridge = data;

	pci_read_config_word(bridge, PCI_VENDOR_ID, &bridge->vendor);
	pci_read_config_word(bridge, PCI_DEVICE_ID, &bridge->device);
	pci_dev_put(bridge);
}

/* P2PDMA goes by the IDs of the first device on the root bus. */
static int bar_trust_host_bridge(struct pci_dev *pdev)
{
	struct pci_bus *root = pdev->bus;
	struct pci_dev *bridge;

	while (root->parent)
		root = root->parent;
	bridge = pci_get_slot(root, PCI_DEVFN(0, 0));
	if (!bridge)
		return -ENODEV;
	bridge->vendor = TRUSTED_VENDOR;
	bridge->device = TRUSTED_DEVICE;
	return devm_add_action_or_reset(&pdev->dev, bar_distrust_host_bridge,
					bridge);
}

static int bar_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret;

	if (bar_pdev)
		return -EBUSY;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = pcim_request_region(pdev, DMA_BAR, KBUILD_MODNAME);
	if (ret)
		return ret;

	if (pcim_p2pdma_provider(pdev, DMA_BAR)) {
		pci_err(pdev, "wrong provider\n");
		return -EINVAL;
	}
	ret = pcim_p2pdma_init(pdev);
	if (ret)
		return ret;
	bar_provider = pcim_p2pdma_provider(pdev, DMA_BAR);
	if (!bar_provider)
		return -ENODEV;
	if (pcim_p2pdma_init(pdev) || !bar_providers_are_right(pdev) ||
	    pcim_p2pdma_provider(pdev, DMA_BAR) != bar_provider)
		return -EINVAL;

	ret = trust_host_bridge ? bar_trust_host_bridge(pdev) : 0;
	if (ret)
		return ret;

	bar_pdev = pdev;
	ret = misc_register(&bar_misc);
	if (ret)
		bar_pdev = NULL;
	return ret;
}

static void bar_remove(struct pci_dev *pdev)
{
	misc_deregister(&bar_misc);
	bar_pdev = NULL;
}

static const struct pci_device_id bar_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{ }
};
MODULE_DEVICE_TABLE(pci, bar_ids);

static struct pci_driver bar_driver = {
	.name = KBUILD_MODNAME,
	.id_table = bar_ids,
	.probe = bar_probe,
	.remove = bar_remove,
	.driver.suppress_bind_attrs = true,
};
module_pci_driver(bar_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("dma-bufs of a BAR under user-space control, for tests only");
MODULE_IMPORT_NS("DMA_BUF");
