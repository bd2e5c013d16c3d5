// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that frees objects which are mapped for its device, or beside them
 *
 * FOR TESTS ONLY. It binds to nothing: "insmod dma_object.ko dev=0000:00:04.0
 * what=freed" maps for a device that has no driver, does what the name says, and
 * undoes it.
 */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define OBJECT_SIZE	100
#define NR_OBJECTS	64

static char *dev;
module_param(dev, charp, 0);
MODULE_PARM_DESC(dev, "PCI name of the device");

static char *what;
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "what to do");

struct object {
	struct rcu_head rcu;
	u8 data[OBJECT_SIZE];
};

static dma_addr_t map(struct device *d, void *data, size_t size)
{
	dma_addr_t addr = dma_map_single(d, data, size, DMA_FROM_DEVICE);

	return dma_mapping_error(d, addr) ? 0 : addr;
}

static void unmap(struct device *d, dma_addr_t addr, size_t size)
{
	dma_unmap_single(d, addr, size, DMA_FROM_DEVICE);
}

/* Of an object that is freed by @free, or by a plain kfree() */
static int freed(struct device *d, void (*free)(struct object *), unsigned int times)
{
	struct object *object = kmalloc_obj(*object);
	dma_addr_t addr[2];
	unsigned int i;

	if (!object)
		return -ENOMEM;
	for (i = 0; i < times; i++)
		addr[i] = map(d, object->data, OBJECT_SIZE);
	if (free)
		free(object);
	else
		kfree(object);
	for (i = 0; i < times; i++)
		if (addr[i])
			unmap(d, addr[i], OBJECT_SIZE);
	return 0;
}

static void free_in_softirq(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct object, rcu));
}

static void free_by_rcu(struct object *object)
{
	call_rcu(&object->rcu, free_in_softirq);
	rcu_barrier();
}

/* The end of a cache waits for what kfree_rcu() has of it. */
static int freed_by_kfree_rcu(struct device *d)
{
	struct kmem_cache *cache;
	struct object *object;
	dma_addr_t addr;

	cache = kmem_cache_create("dma_object", sizeof(*object), 0, SLAB_NO_MERGE,
				  NULL);
	if (!cache)
		return -ENOMEM;
	object = kmem_cache_alloc(cache, GFP_KERNEL | __GFP_NOFAIL);
	addr = map(d, object->data, OBJECT_SIZE);
	kfree_rcu(object, rcu);
	kmem_cache_destroy(cache);
	if (addr)
		unmap(d, addr, OBJECT_SIZE);
	return 0;
}

struct free_work {
	struct irq_work work;
	struct completion done;
	struct object *object;
};

static void free_in_irq(struct irq_work *work)
{
	struct free_work *f = container_of(work, struct free_work, work);

	kfree(f->object);
	complete(&f->done);
}

static void free_by_irq(struct object *object)
{
	struct free_work f = {
		.work = IRQ_WORK_INIT_HARD(free_in_irq),
		.object = object,
	};

	init_completion(&f.done);
	irq_work_queue(&f.work);
	wait_for_completion(&f.done);
	irq_work_sync(&f.work);
}

/* Map one of many; free the others, or all at once, or make use of the one alone. */
static int many(struct device *d, size_t size, bool bulk)
{
	struct kmem_cache *cache;
	void **objects;
	dma_addr_t addr;
	int i, ret = -ENOMEM;

	objects = kcalloc(NR_OBJECTS, sizeof(*objects), GFP_KERNEL);
	/* A cache that shares its pages with no other */
	cache = kmem_cache_create("dma_object", OBJECT_SIZE, 0, SLAB_NO_MERGE, NULL);
	if (!objects || !cache)
		goto out;
	for (i = 0; i < NR_OBJECTS; i++) {
		objects[i] = kmem_cache_alloc(cache, GFP_KERNEL);
		if (!objects[i])
			goto out_free;
	}
	ret = 0;
	addr = map(d, objects[NR_OBJECTS / 2], size);
	if (bulk) {
		kmem_cache_free_bulk(cache, NR_OBJECTS, objects);
		memset(objects, 0, NR_OBJECTS * sizeof(*objects));
	}
	for (i = 0; i < NR_OBJECTS; i++) {
		if (i == NR_OBJECTS / 2 || !objects[i])
			continue;
		kmem_cache_free(cache, objects[i]);
		objects[i] = NULL;
	}
	if (addr)
		unmap(d, addr, size);
out_free:
	for (i = 0; i < NR_OBJECTS; i++)
		if (objects[i])
			kmem_cache_free(cache, objects[i]);
out:
	kmem_cache_destroy(cache);
	kfree(objects);
	return ret;
}

static int list(struct device *d)
{
	struct scatterlist sg[4];
	struct object *objects[ARRAY_SIZE(sg)];
	int i, ret;

	sg_init_table(sg, ARRAY_SIZE(sg));
	for (i = 0; i < ARRAY_SIZE(sg); i++) {
		objects[i] = kmalloc_obj(**objects, GFP_KERNEL | __GFP_NOFAIL);
		sg_set_buf(&sg[i], objects[i]->data, OBJECT_SIZE);
	}
	ret = dma_map_sg(d, sg, ARRAY_SIZE(sg), DMA_FROM_DEVICE) ? 0 : -ENOSPC;
	kfree(objects[2]);
	if (!ret)
		dma_unmap_sg(d, sg, ARRAY_SIZE(sg), DMA_FROM_DEVICE);
	for (i = 0; i < ARRAY_SIZE(sg); i++)
		if (i != 2)
			kfree(objects[i]);
	return ret;
}

/*
 * Objects of a page each, as a range is linked from page to page, and one of them in a
 * page of a slab that is not its first.
 */
static int link(struct device *d)
{
	struct dma_iova_state state = { };
	void *objects[16];
	size_t linked = 0;
	int i, tail = -1, ret = 0;

	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		objects[i] = kmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_NOFAIL);
		if (i && PageTail(virt_to_page(objects[i])))
			tail = i;
	}
	if (tail < 0) {
		ret = -EAGAIN;
		goto out;
	}
	if (!dma_iova_try_alloc(d, &state, virt_to_phys(objects[0]),
				ARRAY_SIZE(objects) * PAGE_SIZE)) {
		ret = -EOPNOTSUPP;
		goto out;
	}
	for (i = 0; i < ARRAY_SIZE(objects) && !ret; i++) {
		ret = dma_iova_link(d, &state, virt_to_phys(objects[i]), linked,
				    PAGE_SIZE, DMA_FROM_DEVICE, 0);
		if (!ret)
			linked += PAGE_SIZE;
	}
	kfree(objects[tail]);
	objects[tail] = NULL;
	dma_iova_destroy(d, &state, linked, DMA_FROM_DEVICE, 0);
out:
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		kfree(objects[i]);
	return ret;
}

/* All is right: after each kind of unmap the object may go. */
static int unmapped(struct device *d)
{
	struct object *object = kmalloc_obj(*object, GFP_KERNEL | __GFP_NOFAIL);
	struct dma_iova_state state = { };
	struct scatterlist sg;
	dma_addr_t addr;
	void *page;

	addr = map(d, object->data, OBJECT_SIZE);
	if (addr)
		unmap(d, addr, OBJECT_SIZE);
	kfree(object);

	object = kmalloc_obj(*object, GFP_KERNEL | __GFP_NOFAIL);
	sg_init_one(&sg, object->data, OBJECT_SIZE);
	if (dma_map_sg(d, &sg, 1, DMA_FROM_DEVICE))
		dma_unmap_sg(d, &sg, 1, DMA_FROM_DEVICE);
	kfree(object);

	page = kmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_NOFAIL);
	if (dma_iova_try_alloc(d, &state, virt_to_phys(page), PAGE_SIZE)) {
		if (!dma_iova_link(d, &state, virt_to_phys(page), 0, PAGE_SIZE,
				   DMA_FROM_DEVICE, 0))
			dma_iova_unlink(d, &state, 0, PAGE_SIZE,
					DMA_FROM_DEVICE, 0);
		dma_iova_free(d, &state);
	}
	kfree(page);
	return 0;
}

/* More at a time than there may be room for */
static int lots(struct device *d)
{
	dma_addr_t *addr = kcalloc(200, sizeof(*addr), GFP_KERNEL | __GFP_NOFAIL);
	void **objects = kcalloc(200, sizeof(*objects), GFP_KERNEL | __GFP_NOFAIL);
	int i;

	for (i = 0; i < 200; i++) {
		objects[i] = kmalloc(OBJECT_SIZE, GFP_KERNEL | __GFP_NOFAIL);
		addr[i] = map(d, objects[i], OBJECT_SIZE);
	}
	for (i = 0; i < 200; i++) {
		if (addr[i])
			unmap(d, addr[i], OBJECT_SIZE);
		kfree(objects[i]);
	}
	kfree(objects);
	kfree(addr);
	return 0;
}

#define TIMED	64
#define ROUNDS	50

/* What it costs, in ns each: by an emulator that counts them, of instructions */
static int timed(struct device *d)
{
	u64 t[5], map_ns = 0, unmap_ns = 0, free_ns = 0, alone_ns = 0;
	static void *objects[TIMED];
	static dma_addr_t addr[TIMED];
	int i, round;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < TIMED; i++)
			objects[i] = kmalloc(OBJECT_SIZE, GFP_KERNEL | __GFP_NOFAIL);
		t[0] = ktime_get_ns();
		for (i = 0; i < TIMED; i += 2)
			addr[i] = map(d, objects[i], OBJECT_SIZE);
		t[1] = ktime_get_ns();
		/* In pages that have mappings of others */
		for (i = 1; i < TIMED; i += 2)
			kfree(objects[i]);
		t[2] = ktime_get_ns();
		for (i = 0; i < TIMED; i += 2)
			if (addr[i])
				unmap(d, addr[i], OBJECT_SIZE);
		t[3] = ktime_get_ns();
		/* In pages that have none */
		for (i = 0; i < TIMED; i += 2)
			kfree(objects[i]);
		t[4] = ktime_get_ns();
		if (!round)
			continue;
		map_ns += t[1] - t[0];
		free_ns += t[2] - t[1];
		unmap_ns += t[3] - t[2];
		alone_ns += t[4] - t[3];
	}
	round = (ROUNDS - 1) * TIMED / 2;
	pr_info("dma_object: map %llu unmap %llu kfree beside a mapping %llu, elsewhere %llu\n",
		div_u64(map_ns, round), div_u64(unmap_ns, round),
		div_u64(free_ns, round), div_u64(alone_ns, round));
	return 0;
}

static int do_what(struct device *d)
{
	if (!strcmp(what, "timed"))
		return timed(d);
	if (!strcmp(what, "freed"))
		return freed(d, NULL, 1);
	if (!strcmp(what, "freed-twice-mapped"))
		return freed(d, NULL, 2);
	if (!strcmp(what, "freed-by-rcu"))
		return freed(d, free_by_rcu, 1);
	if (!strcmp(what, "freed-by-kfree-rcu"))
		return freed_by_kfree_rcu(d);
	if (!strcmp(what, "freed-by-irq"))
		return freed(d, free_by_irq, 1);
	if (!strcmp(what, "freed-in-bulk"))
		return many(d, OBJECT_SIZE, true);
	if (!strcmp(what, "neighbours"))
		return many(d, OBJECT_SIZE, false);
	if (!strcmp(what, "neighbours-overrun"))
		return many(d, 2 * OBJECT_SIZE, false);
	if (!strcmp(what, "list"))
		return list(d);
	if (!strcmp(what, "link"))
		return link(d);
	if (!strcmp(what, "unmapped"))
		return unmapped(d);
	if (!strcmp(what, "lots"))
		return lots(d);
	return -EINVAL;
}

static int __init dma_object_init(void)
{
	unsigned int domain, bus, slot, function;
	struct pci_dev *pdev;
	int ret;

	if (!dev || !what ||
	    sscanf(dev, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return -EINVAL;
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, function));
	if (!pdev)
		return -ENODEV;
	device_lock(&pdev->dev);
	ret = pdev->dev.driver ? -EBUSY : do_what(&pdev->dev);
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}
module_init(dma_object_init);

static void __exit dma_object_exit(void)
{
}
module_exit(dma_object_exit);

MODULE_DESCRIPTION("Frees objects that are mapped, for tests");
MODULE_LICENSE("GPL");
