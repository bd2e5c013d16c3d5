// SPDX-License-Identifier: GPL-2.0
/*
 * dma_xdp - XDP programs that pass or drop all frames, FOR TESTS ONLY
 *
 * "insmod dma_xdp.ko netdevs=eth0,eth1" gives the drivers of these interfaces a
 * program that passes all frames, "drop=1" one that drops them. Drivers receive to
 * other memory then: vmxnet3 to pages of page_pool. It fails if one of the drivers
 * takes no program.
 *
 * The programs are classic ones, so that a kernel without CONFIG_BPF_SYSCALL can run
 * them. The interfaces are held until the module is removed: their drivers cannot be
 * unbound before.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <net/net_namespace.h>

#define DMA_XDP_MAX	16

static char *netdevs[DMA_XDP_MAX];
static int nr_netdevs;
module_param_array(netdevs, charp, &nr_netdevs, 0);
MODULE_PARM_DESC(netdevs, "network interfaces");

static bool drop;
module_param(drop, bool, 0);
MODULE_PARM_DESC(drop, "drop all frames instead of passing them");

static struct bpf_prog *dma_xdp_prog;
static struct net_device *dma_xdp_held[DMA_XDP_MAX];

static int dma_xdp_set(struct net_device *dev, struct bpf_prog *prog)
{
	struct netdev_bpf cmd = {
		.command = XDP_SETUP_PROG,
		.prog = prog,
	};
	int ret;

	rtnl_lock();
	ret = dev_xdp_propagate(dev, &cmd);
	rtnl_unlock();
	return ret;
}

static int dma_xdp_add(int nr)
{
	struct net_device *dev = dev_get_by_name(&init_net, netdevs[nr]);
	int ret;

	if (!dev)
		return -ENODEV;
	/* The driver puts it when it gets another program, or none. */
	bpf_prog_inc(dma_xdp_prog);
	ret = dma_xdp_set(dev, dma_xdp_prog);
	if (ret) {
		bpf_prog_put(dma_xdp_prog);
		dev_put(dev);
		return ret;
	}
	dma_xdp_held[nr] = dev;
	return 0;
}

static void dma_xdp_exit(void)
{
	bool used = false;
	int i;

	for (i = 0; i < nr_netdevs; i++) {
		if (!dma_xdp_held[i])
			continue;
		if (dma_xdp_set(dma_xdp_held[i], NULL)) {
			pr_err("%s: the program stays\n", netdevs[i]);
			used = true;
		}
		dev_put(dma_xdp_held[i]);
	}
	/* Drivers run it in their NAPI poll functions. */
	synchronize_net();
	if (!used)
		bpf_prog_destroy(dma_xdp_prog);
}
module_exit(dma_xdp_exit);

static int __init dma_xdp_init(void)
{
	struct sock_filter filter = BPF_STMT(BPF_RET | BPF_K,
					     drop ? XDP_DROP : XDP_PASS);
	struct sock_fprog_kern prog = { .len = 1, .filter = &filter };
	int ret, i;

	ret = bpf_prog_create(&dma_xdp_prog, &prog);
	if (ret)
		return ret;
	/* Of this module, so that no driver's bpf_prog_put() is the last one */
	bpf_prog_inc(dma_xdp_prog);
	for (i = 0; i < nr_netdevs && !ret; i++)
		ret = dma_xdp_add(i);
	if (ret)
		dma_xdp_exit();
	return ret;
}
module_init(dma_xdp_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("XDP programs for network drivers, for tests");
