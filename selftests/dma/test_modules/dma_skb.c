// SPDX-License-Identifier: GPL-2.0
/*
 * dma_skb - what a network device can reach of the packets it has received,
 * FOR TESTS ONLY
 *
 * Keeps the next packets of protocol DMA_SKB_PROTOCOL that an interface receives,
 * as the network stack does while a packet waits in a socket, and looks them up in
 * the page table of the device. Two files in debugfs, folder dma_skb:
 *
 * netdev	write: name of the interface whose packets are kept from now on;
 *		those kept are freed
 * held		read: a line for each packet,
 *		"len LEN built BOOL info IOVA head IOVA frags IOVA BYTES"
 *
 * built is 1 if the packet's linear part is in a page, and not in memory of slab.
 * IOVA is an address at which the device has the page of struct skb_shared_info, of
 * the linear part or of a fragment: that of the struct itself for the first, of the
 * page for the others; or "-" if it has it at none. BYTES are those of struct
 * skb_shared_info, in hexadecimal.
 *
 * All addresses below 4 GiB are looked up, which a PCI device has its mappings at
 * unless there are so many that these do not suffice.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/skbuff.h>
#include <linux/uaccess.h>

/* For experiments within one site: IEEE Std 802, local experimental */
#define DMA_SKB_PROTOCOL	0x88b6

#define DMA_SKB_MAX		16

/* The page of struct skb_shared_info, that of the linear part, and the fragments' */
#define DMA_SKB_PLACES		(2 + MAX_SKB_FRAGS)

struct dma_skb_place {
	phys_addr_t page;
	u64 iova;
	bool found;
};

static struct dentry *dma_skb_dir;
static DEFINE_MUTEX(dma_skb_lock);	/* all below but the queue */
static struct net_device *dma_skb_netdev;
static struct dma_skb_place dma_skb_places[DMA_SKB_MAX][DMA_SKB_PLACES];

/* Has a lock of its own; packets are added by the handler, and taken by nobody else */
static struct sk_buff_head dma_skb_queue;

static int dma_skb_receive(struct sk_buff *skb, struct net_device *dev,
			   struct packet_type *type, struct net_device *orig)
{
	if (skb_queue_len_lockless(&dma_skb_queue) >= DMA_SKB_MAX ||
	    skb_shared(skb)) {
		kfree_skb(skb);
		return NET_RX_DROP;
	}
	skb_queue_tail(&dma_skb_queue, skb);
	return NET_RX_SUCCESS;
}

static struct packet_type dma_skb_type = {
	.type = cpu_to_be16(DMA_SKB_PROTOCOL),
	.func = dma_skb_receive,
};

static void dma_skb_stop(void)
{
	if (!dma_skb_netdev)
		return;
	dev_remove_pack(&dma_skb_type);
	skb_queue_purge(&dma_skb_queue);
	dev_put(dma_skb_netdev);
	dma_skb_netdev = NULL;
}

/* The PCI function that does the interface's DMA, or NULL */
static struct device *dma_skb_device(void)
{
	struct device *dev = dma_skb_netdev->dev.parent;

	while (dev && !dev_is_pci(dev))
		dev = dev->parent;
	return dev;
}

static void dma_skb_add_place(struct dma_skb_place *place, void *addr)
{
	/* What is not in the linear map is no page of a packet. */
	place->page = virt_addr_valid(addr) ?
		      ALIGN_DOWN(virt_to_phys(addr), PAGE_SIZE) : 0;
	place->found = false;
}

static int dma_skb_add_places(struct sk_buff *skb, struct dma_skb_place *places)
{
	int i;

	dma_skb_add_place(&places[0], skb_shinfo(skb));
	dma_skb_add_place(&places[1], skb->head);
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		dma_skb_add_place(&places[2 + i],
				  skb_frag_address(&skb_shinfo(skb)->frags[i]));
	return 2 + i;
}

/*
 * Mappings come and go by the interface's own doing only, in softirqs. It must have
 * one queue, and the machine one CPU, so that no page table goes while it is looked at.
 */
static void dma_skb_look_up(struct iommu_domain *domain, int nr_skbs)
{
	struct sk_buff *skb;
	phys_addr_t page;
	u64 iova;
	int i, k, nr[DMA_SKB_MAX] = {};

	i = 0;
	skb_queue_walk(&dma_skb_queue, skb) {
		if (i >= nr_skbs)
			break;
		nr[i] = dma_skb_add_places(skb, dma_skb_places[i]);
		i++;
	}

	for (iova = 0; iova < SZ_4G; iova += PAGE_SIZE) {
		if (!(iova % SZ_1M))
			cond_resched();
		local_bh_disable();
		page = ALIGN_DOWN(iommu_iova_to_phys(domain, iova), PAGE_SIZE);
		local_bh_enable();
		if (!page)
			continue;
		for (i = 0; i < nr_skbs; i++) {
			for (k = 0; k < nr[i]; k++) {
				struct dma_skb_place *place = &dma_skb_places[i][k];

				if (place->page != page)
					continue;
				place->iova = iova;
				place->found = true;
			}
		}
	}
}

static void dma_skb_show_place(struct seq_file *m, const char *name,
			       const struct dma_skb_place *place, u64 offset)
{
	if (place && place->found)
		seq_printf(m, " %s 0x%llx", name, place->iova + offset);
	else
		seq_printf(m, " %s -", name);
}

static int dma_skb_held_show(struct seq_file *m, void *unused)
{
	struct iommu_domain *domain;
	int i, k, nr_skbs, nr_frags;
	struct device *dev;
	struct sk_buff *skb;

	guard(mutex)(&dma_skb_lock);
	if (!dma_skb_netdev)
		return 0;
	dev = dma_skb_device();
	domain = dev ? iommu_get_domain_for_dev(dev) : NULL;
	if (!domain || !iommu_is_dma_domain(domain))
		return -ENODEV;

	nr_skbs = min_t(int, skb_queue_len_lockless(&dma_skb_queue), DMA_SKB_MAX);
	dma_skb_look_up(domain, nr_skbs);

	i = 0;
	skb_queue_walk(&dma_skb_queue, skb) {
		struct skb_shared_info *info = skb_shinfo(skb);
		struct dma_skb_place *places = dma_skb_places[i], *frag = NULL;

		if (i++ >= nr_skbs)
			break;
		nr_frags = info->nr_frags;
		for (k = 0; k < nr_frags; k++)
			if (!frag || !frag->found)
				frag = &places[2 + k];
		seq_printf(m, "len %u built %d", skb->len, skb->head_frag);
		dma_skb_show_place(m, "info", &places[0], offset_in_page(info));
		dma_skb_show_place(m, "head", &places[1], 0);
		dma_skb_show_place(m, "frags", frag, 0);
		seq_putc(m, ' ');
		for (k = 0; k < sizeof(*info); k++)
			seq_printf(m, "%02x", ((u8 *)info)[k]);
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(dma_skb_held);

static ssize_t dma_skb_netdev_write(struct file *file, const char __user *buf,
				    size_t count, loff_t *pos)
{
	char name[IFNAMSIZ] = {};
	ssize_t ret;

	ret = simple_write_to_buffer(name, sizeof(name) - 1, pos, buf, count);
	if (ret < 0)
		return ret;

	guard(mutex)(&dma_skb_lock);
	dma_skb_stop();
	dma_skb_netdev = dev_get_by_name(&init_net, strim(name));
	if (!dma_skb_netdev)
		return -ENODEV;
	dma_skb_type.dev = dma_skb_netdev;
	dev_add_pack(&dma_skb_type);
	return count;
}

static const struct file_operations dma_skb_netdev_fops = {
	.owner = THIS_MODULE,
	.write = dma_skb_netdev_write,
};

static int __init dma_skb_init(void)
{
	skb_queue_head_init(&dma_skb_queue);
	dma_skb_dir = debugfs_create_dir("dma_skb", NULL);
	debugfs_create_file("netdev", 0200, dma_skb_dir, NULL,
			    &dma_skb_netdev_fops);
	debugfs_create_file("held", 0400, dma_skb_dir, NULL, &dma_skb_held_fops);
	return 0;
}
module_init(dma_skb_init);

static void __exit dma_skb_exit(void)
{
	debugfs_remove_recursive(dma_skb_dir);
	dma_skb_stop();
}
module_exit(dma_skb_exit);

MODULE_DESCRIPTION("Test module: what a network device can reach of packets");
MODULE_LICENSE("GPL");
