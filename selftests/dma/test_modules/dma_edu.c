// SPDX-License-Identifier: GPL-2.0
/*
 * dma_edu - a DMA engine under user-space control, FOR TESTS ONLY
 *
 * Drives QEMU's "edu" PCI device. Each device gets a /dev/dma_edu<N>, through
 * which a test maps buffers by any of the DMA API's ways, and has the device
 * read or write any I/O virtual address, mapped or not: in bounds, out of
 * bounds, after the unmap, against the direction. Where no IOMMU stands in
 * between, that is any physical address. Never load this on a machine that
 * matters; opening the file takes CAP_SYS_RAWIO. It can also free the memory of
 * a mapping, or leave one behind, as a driver with a bug does.
 *
 * The ABI is described in dma_edu.h.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iommu.h>
#include <linux/iommu-dma-fault.h>
#include <linux/iopoll.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "dma_edu.h"

/*
 * Registers in BAR 0. Those of the DMA engine take 64-bit accesses; a CPU that
 * has to make two of one reaches the lower half only.
 */
#define EDU_REG_ID		0x00
#define EDU_REG_DMA_SRC		0x80
#define EDU_REG_DMA_DST		0x88
#define EDU_REG_DMA_COUNT	0x90
#define EDU_REG_DMA_CMD		0x98

#define EDU_ID_MASK		0xff
#define EDU_ID			0xed

#define EDU_DMA_START		BIT_ULL(0)
#define EDU_DMA_TO_RAM		BIT_ULL(1)

/* Where the engine sees the memory in the device. */
#define EDU_DMA_MEM		0x40000

/* What the device can address unless QEMU is told otherwise. */
#define EDU_DEF_MASK_BITS	28

static_assert((int)DMA_EDU_BIDIRECTIONAL == (int)DMA_BIDIRECTIONAL);
static_assert((int)DMA_EDU_TO_DEVICE == (int)DMA_TO_DEVICE);
static_assert((int)DMA_EDU_FROM_DEVICE == (int)DMA_FROM_DEVICE);

/**
 * struct dma_edu - one device
 * @ref: one reference by the bound driver, one by each open file
 * @lock: covers everything from @gone to @timed_out, the DMA masks, the engine,
 *	and the buffers of all files. Held while the engine runs, and during a
 *	reset of the device.
 * @gone: the driver is unbound; @pdev, @bar and @mem must not be touched, and
 *	no file has a buffer
 * @pdev: the device
 * @bar: its registers
 * @files: all struct dma_edu_file
 * @mem: memory for transfers from and to the memory in the device
 * @mem_iova: where the device sees @mem
 * @timed_out: the latest transfer was given up while the engine ran, which may
 *	still write to memory; see dma_edu_quiesce()
 * @fault_lock: held while a handler of DMA faults is registered or
 *	unregistered; see dma_edu_fault_count()
 * @no_handler: the driver is being unbound, and registers none; by @fault_lock
 * @faults_lock: covers @faults
 * @faults: what the handlers were told
 * @misc: the character device
 * @id: N in the name of @misc
 * @name: name of @misc
 */
struct dma_edu {
	struct kref ref;
	struct mutex lock;	/* see above */
	bool gone;
	struct pci_dev *pdev;
	void __iomem *bar;
	struct list_head files;
	void *mem;
	dma_addr_t mem_iova;
	bool timed_out;
	struct mutex fault_lock;	/* see above */
	bool no_handler;
	spinlock_t faults_lock;		/* see above */
	struct dma_edu_faults faults;
	struct miscdevice misc;
	int id;
	char name[24];
};

/* An open file. @bufs holds a struct dma_edu_buf by handle. */
struct dma_edu_file {
	struct dma_edu *edu;
	struct list_head node;
	struct xarray bufs;
};

/**
 * struct dma_edu_buf - a buffer and its mapping
 * @req: what was asked for, checked
 * @mapped: the device can see it
 * @iova: first byte as seen by the device, valid if @mapped
 * @cpu: first byte as seen by the CPU, all paths but SG, IOVA and PHYS
 * @pages: SINGLE, PAGE: blocks of @order that follow each other
 * @pages_size: bytes of @pages
 * @sgt: SG, IOVA: each entry one block of @order
 * @order: of the blocks
 * @nr_blocks: how many; 0 if the memory is not this buffer's own
 * @freed: bitmap of blocks that the page allocator has, NULL if it has none
 * @leave: outlasts the driver
 * @longer: unmap more than was mapped
 * @nc: NONCONTIG: the DMA API's allocation
 * @state: IOVA: the IOVA range
 * @node: of dma_edu_left
 * @dev: reference to the device, for a buffer on that list
 */
struct dma_edu_buf {
	struct dma_edu_map req;
	bool mapped;
	dma_addr_t iova;
	void *cpu;
	void *pages;
	size_t pages_size;
	struct sg_table sgt;
	unsigned int order;
	unsigned int nr_blocks;
	unsigned long *freed;
	bool leave;
	bool longer;
	struct sg_table *nc;
	struct dma_iova_state state;
	struct list_head node;
	struct device *dev;
};

static DEFINE_IDA(dma_edu_ida);

static unsigned int release_ms;
module_param(release_ms, uint, 0600);
MODULE_PARM_DESC(release_ms, "Delay of devres in ms when the driver is unbound");

/* Mapped buffers that an unbound driver has left. */
static LIST_HEAD(dma_edu_left);
static DEFINE_MUTEX(dma_edu_left_lock);

static bool dma_edu_owns_pages(u32 path)
{
	return path != DMA_EDU_COHERENT && path != DMA_EDU_NONCONTIG &&
	       path != DMA_EDU_PHYS;
}

static bool dma_edu_has_sgt(u32 path)
{
	return path == DMA_EDU_SG || path == DMA_EDU_IOVA;
}

static enum dma_data_direction dma_edu_dir(const struct dma_edu_buf *buf)
{
	return (enum dma_data_direction)buf->req.dir;
}

static unsigned long dma_edu_map_attrs(const struct dma_edu_map *req)
{
	return (req->flags & DMA_EDU_MAP_SKIP_SYNC ?
		DMA_ATTR_SKIP_CPU_SYNC : 0) |
	       (req->flags & DMA_EDU_MAP_NO_WARN ? DMA_ATTR_NO_WARN : 0);
}

/* 0 where the IOMMU's page size does not show through the DMA API. */
static size_t dma_edu_granule(struct device *dev)
{
	unsigned long boundary = dma_get_merge_boundary(dev);

	return boundary ? boundary + 1 : 0;
}

/* -------------------------------------------------- the memory of a buffer */

static struct page *dma_edu_block(const struct dma_edu_buf *buf,
				  unsigned int index)
{
	struct scatterlist *sg = buf->sgt.sgl;

	if (buf->pages)
		return virt_to_page(buf->pages) + ((size_t)index << buf->order);
	while (index--)
		sg = sg_next(sg);
	return sg_page(sg);
}

static bool dma_edu_is_freed(const struct dma_edu_buf *buf, unsigned int index)
{
	return buf->freed && test_bit(index, buf->freed);
}

static void dma_edu_free_pages(struct dma_edu_buf *buf)
{
	unsigned int i;

	for (i = 0; i < buf->nr_blocks; i++)
		if (!dma_edu_is_freed(buf, i))
			__free_pages(dma_edu_block(buf, i), buf->order);
	bitmap_free(buf->freed);
	sg_free_table(&buf->sgt);
}

/*
 * Blocks that are freed after those of a buffer, so that they are what the
 * kernel takes first when it needs some for itself.
 */
#define DMA_EDU_COVER_BLOCKS	32

/*
 * Free blocks that are not yet. The memory that this takes is allocated before,
 * and until the caller sleeps nobody gets the blocks unless from another CPU.
 */
static int dma_edu_free_blocks(struct dma_edu_buf *buf, unsigned int first,
			       unsigned int count)
{
	struct page *cover, *next;
	LIST_HEAD(covers);
	unsigned int i;

	if (!buf->freed) {
		buf->freed = bitmap_zalloc(buf->nr_blocks, GFP_KERNEL);
		if (!buf->freed)
			return -ENOMEM;
	}
	for (i = 0; i < DMA_EDU_COVER_BLOCKS; i++) {
		cover = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY,
				    buf->order);
		if (!cover)
			break;
		list_add(&cover->lru, &covers);
	}
	for (i = first; i < first + count; i++)
		if (!test_and_set_bit(i, buf->freed))
			__free_pages(dma_edu_block(buf, i), buf->order);
	list_for_each_entry_safe(cover, next, &covers, lru)
		__free_pages(cover, buf->order);
	return 0;
}

/* Memory that is allocated, in search of certain blocks, at most. */
#define DMA_EDU_TAKE_PAGES	65536U

/* The block of @buf that starts at @page and is free, or -1. */
static int dma_edu_find_freed(struct dma_edu_buf *buf, struct page *page)
{
	unsigned int i;

	for_each_set_bit(i, buf->freed, buf->nr_blocks)
		if (dma_edu_block(buf, i) == page)
			return i;
	return -1;
}

/* Have the page allocator hand out blocks again that it was given. */
static int dma_edu_take_blocks(struct dma_edu_buf *buf, unsigned int first,
			       unsigned int count)
{
	unsigned int last = first + count, tries = 0;
	struct page *page, *next;
	LIST_HEAD(others);
	int i;

	if (!buf->freed)
		return -EINVAL;
	while (find_next_bit(buf->freed, last, first) < last &&
	       tries++ < DMA_EDU_TAKE_PAGES >> buf->order) {
		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY,
				   buf->order);
		if (!page)
			break;
		i = dma_edu_find_freed(buf, page);
		if (i >= 0) {
			clear_bit(i, buf->freed);
			continue;
		}
		list_add(&page->lru, &others);
	}
	list_for_each_entry_safe(page, next, &others, lru)
		__free_pages(page, buf->order);
	return find_next_bit(buf->freed, last, first) < last ? -EAGAIN : 0;
}

/* Fill @pages, of which @len bytes from @offset on are byte @pos of the buffer. */
static void dma_edu_fill(const struct dma_edu_map *req, void *pages,
			 size_t pages_size, size_t offset, size_t len,
			 size_t pos)
{
	u8 *data = pages + offset;
	size_t i;

	if (req->flags & DMA_EDU_MAP_NOFILL)
		return;
	memset(pages, ~req->fill, pages_size);
	if (!(req->flags & DMA_EDU_MAP_PATTERN)) {
		memset(data, req->fill, len);
		return;
	}
	for (i = 0; i < len; i++)
		data[i] = dma_edu_pattern(req->fill, pos + i);
}

static int dma_edu_alloc_contig(struct dma_edu_buf *buf)
{
	const struct dma_edu_map *req = &buf->req;

	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;

	buf->pages_size = PAGE_ALIGN(req->offset + req->size);
	if (req->flags & DMA_EDU_MAP_BLOCK) {
		buf->order = get_order(buf->pages_size);
		buf->pages = (void *)__get_free_pages(gfp, buf->order);
		buf->nr_blocks = 1;
	} else {
		buf->pages = alloc_pages_exact(buf->pages_size, gfp);
		buf->nr_blocks = buf->pages_size >> PAGE_SHIFT;
	}
	if (!buf->pages) {
		buf->nr_blocks = 0;
		return -ENOMEM;
	}
	buf->cpu = buf->pages + req->offset;
	dma_edu_fill(req, buf->pages, buf->pages_size, req->offset, req->size,
		     0);
	return 0;
}

/* Memory is looked through for the pages at an address in pieces of this. */
#define DMA_EDU_AT_ORDER	MIN(MAX_PAGE_ORDER, get_order(DMA_EDU_MAX_SIZE))

/*
 * Allocate until the piece of memory comes that has the pages at @phys, and of
 * that keep these. Memory that came online lately is what the page allocator
 * hands out last, so that half of all there is may be allocated for a moment.
 */
static int dma_edu_alloc_at(struct dma_edu_buf *buf)
{
	const struct dma_edu_map *req = &buf->req;
	unsigned long pfn = PHYS_PFN(req->phys), nr, i;
	unsigned long first = round_down(pfn, BIT(DMA_EDU_AT_ORDER));
	unsigned long max = totalram_pages() / 2 >> DMA_EDU_AT_ORDER;
	struct page *page, *next, *found = NULL;
	LIST_HEAD(others);

	buf->pages_size = PAGE_ALIGN(req->offset + req->size);
	nr = buf->pages_size >> PAGE_SHIFT;
	if (pfn - first + nr > BIT(DMA_EDU_AT_ORDER))
		return -EINVAL;

	while (!found && max--) {
		page = alloc_pages(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
				   __GFP_NORETRY, DMA_EDU_AT_ORDER);
		if (!page)
			break;
		if (page_to_pfn(page) == first && !PageHighMem(page))
			found = page;
		else
			list_add(&page->lru, &others);
	}
	list_for_each_entry_safe(page, next, &others, lru)
		__free_pages(page, DMA_EDU_AT_ORDER);
	if (!found)
		return -EAGAIN;

	split_page(found, DMA_EDU_AT_ORDER);
	for (i = 0; i < BIT(DMA_EDU_AT_ORDER); i++)
		if (first + i < pfn || first + i >= pfn + nr)
			__free_page(found + i);
	buf->pages = page_address(found + (pfn - first));
	buf->nr_blocks = nr;
	buf->cpu = buf->pages + req->offset;
	dma_edu_fill(req, buf->pages, buf->pages_size, req->offset, req->size,
		     0);
	return 0;
}

/* The memory of @other once more. */
static int dma_edu_share(struct dma_edu_buf *buf,
			 const struct dma_edu_buf *other)
{
	const struct dma_edu_map *req = &buf->req;

	if (!other || !other->pages || !other->nr_blocks || other->freed ||
	    req->offset + req->size > other->pages_size)
		return -EINVAL;
	buf->pages = other->pages;
	buf->pages_size = other->pages_size;
	buf->cpu = buf->pages + req->offset;
	return 0;
}

/*
 * An allocation per entry, none smaller than the IOMMU's granule: every entry
 * but the first then starts on a granule unless @chunk asks for less of it,
 * which is what dma_iova_link() needs.
 */
static int dma_edu_alloc_sg(struct device *dev, struct dma_edu_buf *buf)
{
	const struct dma_edu_map *req = &buf->req;
	size_t unit = max_t(size_t, PAGE_SIZE, dma_edu_granule(dev));
	size_t left = req->size;
	struct scatterlist *sg;
	unsigned int nents;
	int i, ret;

	if (req->chunk)
		nents = DIV_ROUND_UP(left, req->chunk);
	else
		nents = DIV_ROUND_UP(req->offset + left, unit);
	if (nents > DMA_EDU_MAX_ENTRIES)
		return -EINVAL;

	ret = sg_alloc_table(&buf->sgt, nents, GFP_KERNEL);
	if (ret)
		return ret;
	buf->order = get_order(unit);

	for_each_sgtable_sg(&buf->sgt, sg, i) {
		size_t offset = req->chunk || !i ? req->offset : 0;
		size_t len = min(left, req->chunk ?: unit - offset);
		struct page *page;

		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, buf->order);
		if (!page) {
			dma_edu_free_pages(buf);
			return -ENOMEM;
		}
		sg_set_page(sg, page, len, offset);
		buf->nr_blocks++;
		dma_edu_fill(req, page_address(page), unit, offset, len,
			     req->size - left);
		left -= len;
	}
	return 0;
}

/* A block for each entry, of the order that holds all of them. */
static int dma_edu_alloc_list(struct device *dev, struct dma_edu_buf *buf,
			      const struct dma_edu_entry *entries,
			      unsigned int nr)
{
	const struct dma_edu_map *req = &buf->req;
	size_t unit = max_t(size_t, PAGE_SIZE, dma_edu_granule(dev));
	size_t size = 0, pos = 0;
	struct scatterlist *sg;
	unsigned int i;
	int ret;

	for (i = 0; i < nr; i++) {
		if (!entries[i].len || entries[i].len > DMA_EDU_MAX_SIZE ||
		    entries[i].offset > DMA_EDU_MAX_SIZE - entries[i].len)
			return -EINVAL;
		unit = max_t(size_t, unit,
			     entries[i].offset + entries[i].len);
		size += entries[i].len;
	}
	buf->order = get_order(unit);
	unit = PAGE_SIZE << buf->order;
	if (size != req->size || nr > DMA_EDU_MAX_BLOCKS_SIZE / unit)
		return -EINVAL;

	ret = sg_alloc_table(&buf->sgt, nr, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(&buf->sgt, sg, i) {
		struct page *page;

		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, buf->order);
		if (!page) {
			dma_edu_free_pages(buf);
			return -ENOMEM;
		}
		sg_set_page(sg, page, entries[i].len, entries[i].offset);
		buf->nr_blocks++;
		dma_edu_fill(req, page_address(page), unit, entries[i].offset,
			     entries[i].len, pos);
		pos += entries[i].len;
	}
	return 0;
}

/* ------------------------------------------------------------- map and unmap */

static int dma_edu_iova_map(struct device *dev, struct dma_edu_buf *buf)
{
	const struct dma_edu_map *req = &buf->req;
	struct scatterlist *sg;
	size_t done = 0;
	int i, ret = 0;

	if (!dma_iova_try_alloc(dev, &buf->state, sg_phys(buf->sgt.sgl),
				req->size)) {
		struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

		if (domain && iommu_is_dma_domain(domain))
			return -ENOSPC;
		return -EOPNOTSUPP;
	}

	for_each_sgtable_sg(&buf->sgt, sg, i) {
		size_t len = min_t(size_t, sg->length, req->link - done);

		if (!len)
			break;
		ret = dma_iova_link(dev, &buf->state, sg_phys(sg), done, len,
				    dma_edu_dir(buf), dma_edu_map_attrs(req));
		if (ret)
			goto err_destroy;
		done += len;
	}

	if (done) {
		ret = dma_iova_sync(dev, &buf->state, 0, done);
		if (ret)
			goto err_destroy;
	}
	buf->iova = buf->state.addr;
	return 0;

err_destroy:
	dma_iova_destroy(dev, &buf->state, done, dma_edu_dir(buf), 0);
	return ret;
}

/* What is said to be mapped of @size bytes at @iova */
static size_t dma_edu_unmap_size(struct device *dev, const struct dma_edu_buf *buf,
				 dma_addr_t iova, size_t size)
{
	size_t granule = dma_get_merge_boundary(dev) + 1;

	return buf->longer ? ALIGN(iova + size, granule) - iova : size;
}

static void dma_edu_iova_unmap(struct device *dev, struct dma_edu_buf *buf,
			       bool split, unsigned long attrs)
{
	size_t linked = buf->req.link ?
			dma_edu_unmap_size(dev, buf, buf->state.addr,
					   buf->req.link) : 0;

	if (!split) {
		dma_iova_destroy(dev, &buf->state, linked, dma_edu_dir(buf),
				 attrs);
		return;
	}
	if (linked)
		dma_iova_unlink(dev, &buf->state, 0, linked, dma_edu_dir(buf),
				attrs);
	dma_iova_free(dev, &buf->state);
}

static int dma_edu_noncontig_map(struct device *dev, struct dma_edu_buf *buf)
{
	size_t size = buf->req.size;

	buf->nc = dma_alloc_noncontiguous(dev, size, dma_edu_dir(buf),
					  GFP_KERNEL, 0);
	if (!buf->nc)
		return -ENOSPC;
	buf->cpu = dma_vmap_noncontiguous(dev, size, buf->nc);
	if (!buf->cpu) {
		dma_free_noncontiguous(dev, size, buf->nc, dma_edu_dir(buf));
		return -ENOMEM;
	}
	dma_edu_fill(&buf->req, buf->cpu, size, 0, size, 0);
	flush_kernel_vmap_range(buf->cpu, size);
	dma_sync_sgtable_for_device(dev, buf->nc, dma_edu_dir(buf));
	buf->iova = sg_dma_address(buf->nc->sgl);
	return 0;
}

/* Map @buf, whose pages are there unless the DMA API allocates them. */
static int dma_edu_buf_map(struct device *dev, struct dma_edu_buf *buf)
{
	const struct dma_edu_map *req = &buf->req;
	enum dma_data_direction dir = dma_edu_dir(buf);
	unsigned long attrs = dma_edu_map_attrs(req);
	int ret = 0;

	switch (req->path) {
	case DMA_EDU_SINGLE:
		buf->iova = dma_map_single_attrs(dev, buf->cpu, req->size, dir,
						 attrs);
		if (dma_mapping_error(dev, buf->iova))
			ret = -ENOSPC;
		break;
	case DMA_EDU_PAGE:
		buf->iova = dma_map_page_attrs(dev, virt_to_page(buf->pages),
					       req->offset, req->size, dir,
					       attrs);
		if (dma_mapping_error(dev, buf->iova))
			ret = -ENOSPC;
		break;
	case DMA_EDU_SG:
		if (dma_map_sgtable(dev, &buf->sgt, dir, attrs))
			ret = -ENOSPC;
		else
			buf->iova = sg_dma_address(buf->sgt.sgl);
		break;
	case DMA_EDU_COHERENT:
		buf->cpu = dma_alloc_coherent(dev, req->size, &buf->iova,
					      GFP_KERNEL | __GFP_NOWARN);
		if (buf->cpu)
			dma_edu_fill(req, buf->cpu, req->size, 0, req->size,
				     0);
		else
			ret = -ENOSPC;
		break;
	case DMA_EDU_NONCONTIG:
		ret = dma_edu_noncontig_map(dev, buf);
		break;
	case DMA_EDU_IOVA:
		ret = dma_edu_iova_map(dev, buf);
		break;
	case DMA_EDU_PHYS:
		buf->iova = dma_map_phys(dev, req->phys, req->size, dir,
					 DMA_ATTR_MMIO);
		if (dma_mapping_error(dev, buf->iova))
			ret = -ENOSPC;
		break;
	}
	buf->mapped = !ret;
	return ret;
}

static void dma_edu_buf_unmap(struct device *dev, struct dma_edu_buf *buf,
			      bool split, unsigned long attrs)
{
	const struct dma_edu_map *req = &buf->req;
	enum dma_data_direction dir = dma_edu_dir(buf);
	size_t size;

	if (!buf->mapped)
		return;
	buf->mapped = false;
	size = dma_edu_unmap_size(dev, buf, buf->iova, req->size);

	switch (req->path) {
	case DMA_EDU_SINGLE:
		dma_unmap_single_attrs(dev, buf->iova, size, dir, attrs);
		break;
	case DMA_EDU_PAGE:
		dma_unmap_page_attrs(dev, buf->iova, size, dir, attrs);
		break;
	case DMA_EDU_SG:
		dma_unmap_sgtable(dev, &buf->sgt, dir, attrs);
		break;
	case DMA_EDU_COHERENT:
		dma_free_coherent(dev, req->size, buf->cpu, buf->iova);
		break;
	case DMA_EDU_NONCONTIG:
		dma_vunmap_noncontiguous(dev, buf->cpu);
		dma_free_noncontiguous(dev, req->size, buf->nc, dir);
		break;
	case DMA_EDU_IOVA:
		dma_edu_iova_unmap(dev, buf, split, attrs);
		break;
	case DMA_EDU_PHYS:
		dma_unmap_phys(dev, buf->iova, req->size, dir, DMA_ATTR_MMIO);
		break;
	}
}

static void dma_edu_buf_destroy(struct device *dev, struct dma_edu_buf *buf,
				bool split, unsigned long attrs)
{
	dma_edu_buf_unmap(dev, buf, split, attrs);
	dma_edu_free_pages(buf);
	kfree(buf);
}

static unsigned int dma_edu_nents(const struct dma_edu_buf *buf)
{
	return buf->req.path == DMA_EDU_SG ? buf->sgt.nents : 1;
}

static void dma_edu_get_seg(const struct dma_edu_buf *buf, unsigned int index,
			    u64 *iova, u64 *len)
{
	struct scatterlist *sg = buf->sgt.sgl;

	if (buf->req.path != DMA_EDU_SG) {
		*iova = buf->iova;
		*len = buf->req.size;
		return;
	}
	while (index--)
		sg = sg_next(sg);
	*iova = sg_dma_address(sg);
	*len = sg_dma_len(sg);
}

/*
 * Keep a transfer that timed out from memory: wait for its end, or else take
 * bus mastering from the device, which dma_edu_run() gives back once the engine
 * has stopped. Nothing that was mapped while a transfer ran is unmapped or
 * freed before this.
 */
static void dma_edu_quiesce(struct dma_edu *edu)
{
	u64 cmd;

	lockdep_assert_held(&edu->lock);

	if (!edu->timed_out)
		return;
	if (readq_poll_timeout(edu->bar + EDU_REG_DMA_CMD, cmd,
			       !(cmd & EDU_DMA_START), USEC_PER_MSEC,
			       DMA_EDU_DEF_TIMEOUT_MS * USEC_PER_MSEC)) {
		dev_warn(&edu->pdev->dev, "engine does not stop\n");
		pci_clear_master(edu->pdev);
	}
	edu->timed_out = false;
}

#define DMA_EDU_MAP_FLAGS	(DMA_EDU_MAP_NOFILL | DMA_EDU_MAP_BLOCK | \
				 DMA_EDU_MAP_FREED | DMA_EDU_MAP_SHARE | \
				 DMA_EDU_MAP_AT | DMA_EDU_MAP_SKIP_SYNC | \
				 DMA_EDU_MAP_NO_WARN | DMA_EDU_MAP_PATTERN)

/* Is there use for the physical address, and can there be memory at it? */
static bool dma_edu_phys_valid(const struct dma_edu_map *req)
{
	u64 last = req->phys + req->offset + req->size - 1;

	if (req->path != DMA_EDU_PHYS && !(req->flags & DMA_EDU_MAP_AT))
		return !req->phys;
	if (req->path == DMA_EDU_PHYS && req->flags != DMA_EDU_MAP_NOFILL)
		return false;
	if (req->flags & DMA_EDU_MAP_AT && !PAGE_ALIGNED(req->phys))
		return false;
	return last >= req->phys && (phys_addr_t)last == last;
}

static bool dma_edu_map_valid(const struct dma_edu_map *req)
{
	bool share = req->flags & DMA_EDU_MAP_SHARE;
	bool contig = req->path == DMA_EDU_SINGLE || req->path == DMA_EDU_PAGE;

	if (req->path >= DMA_EDU_NR_PATHS || req->dir >= DMA_EDU_NR_DIRS ||
	    req->flags & ~DMA_EDU_MAP_FLAGS || req->fill > 0xff ||
	    req->mask_bits < 12 || req->mask_bits > 64 || req->reserved)
		return false;
	if (!req->size || req->size > DMA_EDU_MAX_SIZE)
		return false;
	if (req->offset >= (share ? DMA_EDU_MAX_SIZE : PAGE_SIZE))
		return false;
	if (req->flags & (DMA_EDU_MAP_BLOCK | DMA_EDU_MAP_SHARE |
			  DMA_EDU_MAP_AT) && !contig)
		return false;
	if (req->flags & DMA_EDU_MAP_AT &&
	    req->flags & (DMA_EDU_MAP_BLOCK | DMA_EDU_MAP_SHARE))
		return false;
	if (req->flags & DMA_EDU_MAP_NOFILL &&
	    req->flags & DMA_EDU_MAP_PATTERN)
		return false;
	if (req->flags & (DMA_EDU_MAP_FREED | DMA_EDU_MAP_SKIP_SYNC |
			  DMA_EDU_MAP_NO_WARN) &&
	    !dma_edu_owns_pages(req->path))
		return false;
	if (share ? req->flags & (DMA_EDU_MAP_BLOCK | DMA_EDU_MAP_FREED) :
		    req->handle)
		return false;
	if (req->path != DMA_EDU_IOVA ? req->link : req->link > req->size)
		return false;
	if (!dma_edu_phys_valid(req))
		return false;
	if (req->chunk && (req->path != DMA_EDU_SG ||
			   req->chunk > PAGE_SIZE - req->offset))
		return false;
	if (!dma_edu_owns_pages(req->path))
		return !req->offset && (req->path != DMA_EDU_COHERENT ||
					req->dir == DMA_EDU_BIDIRECTIONAL);
	return dma_edu_has_sgt(req->path) ||
	       req->offset + req->size <= DMA_EDU_MAX_SIZE;
}

/* @entries: NULL unless it is an SG list given entry by entry. */
static int dma_edu_do_map(struct dma_edu_file *ef, struct dma_edu_map *req,
			  const struct dma_edu_entry *entries, unsigned int nr)
{
	struct device *dev = &ef->edu->pdev->dev;
	struct dma_edu_buf *buf;
	u64 last, len;
	int ret;

	if (!dma_edu_map_valid(req))
		return -EINVAL;

	/* Errors below unmap what a stray transfer might reach by then. */
	dma_edu_quiesce(ef->edu);

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(req->mask_bits));
	if (ret)
		return ret;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	buf->req = *req;

	if (req->flags & DMA_EDU_MAP_SHARE)
		ret = dma_edu_share(buf, xa_load(&ef->bufs, req->handle));
	else if (req->flags & DMA_EDU_MAP_AT)
		ret = dma_edu_alloc_at(buf);
	else if (entries)
		ret = dma_edu_alloc_list(dev, buf, entries, nr);
	else if (dma_edu_has_sgt(req->path))
		ret = dma_edu_alloc_sg(dev, buf);
	else if (dma_edu_owns_pages(req->path))
		ret = dma_edu_alloc_contig(buf);
	if (ret)
		goto err_free;

	if (req->flags & DMA_EDU_MAP_FREED) {
		ret = dma_edu_free_blocks(buf, 0, buf->nr_blocks);
		if (ret)
			goto err_pages;
	}
	ret = dma_edu_buf_map(dev, buf);
	if (ret)
		goto err_pages;

	ret = xa_alloc(&ef->bufs, &req->handle, buf, xa_limit_31b, GFP_KERNEL);
	if (ret)
		goto err_unmap;

	req->nents = dma_edu_nents(buf);
	req->iova = buf->iova;
	dma_edu_get_seg(buf, req->nents - 1, &last, &len);
	req->span = last + len - req->iova;
	return 0;

err_unmap:
	dma_edu_buf_unmap(dev, buf, false, 0);
err_pages:
	dma_edu_free_pages(buf);
err_free:
	kfree(buf);
	return ret;
}

static int dma_edu_ioc_map(struct dma_edu_file *ef, struct dma_edu_map *req)
{
	return dma_edu_do_map(ef, req, NULL, 0);
}

static int dma_edu_ioc_map_list(struct dma_edu_file *ef,
				struct dma_edu_list *req)
{
	struct device *dev = &ef->edu->pdev->dev;
	struct dma_edu_entry *entries;
	int ret;

	if (req->map.path != DMA_EDU_SG || req->map.offset || req->map.chunk ||
	    !req->nr_entries || req->nr_entries > DMA_EDU_MAX_ENTRIES ||
	    req->boundary_bits > 63 ||
	    (req->boundary_bits && req->boundary_bits < PAGE_SHIFT))
		return -EINVAL;
	entries = vmemdup_array_user(u64_to_user_ptr(req->entries),
				     req->nr_entries, sizeof(*entries));
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	if (req->boundary_bits)
		dma_set_seg_boundary(dev, DMA_BIT_MASK(req->boundary_bits));
	ret = dma_edu_do_map(ef, &req->map, entries, req->nr_entries);
	dma_set_seg_boundary(dev, ULONG_MAX);
	kvfree(entries);
	return ret;
}

static int dma_edu_ioc_unmap(struct dma_edu_file *ef,
			     const struct dma_edu_unmap *req)
{
	struct device *dev = &ef->edu->pdev->dev;
	bool keep = req->flags & DMA_EDU_UNMAP_KEEP;
	bool split = req->flags & DMA_EDU_UNMAP_SPLIT;
	bool race = req->flags & DMA_EDU_UNMAP_RACE;
	unsigned long attrs = req->flags & DMA_EDU_UNMAP_SKIP_SYNC ?
			      DMA_ATTR_SKIP_CPU_SYNC : 0;
	struct dma_edu_buf *buf;

	if (req->flags & ~(DMA_EDU_UNMAP_KEEP | DMA_EDU_UNMAP_SPLIT |
			   DMA_EDU_UNMAP_RACE | DMA_EDU_UNMAP_LEAVE |
			   DMA_EDU_UNMAP_SKIP_SYNC | DMA_EDU_UNMAP_LONGER))
		return -EINVAL;
	buf = xa_load(&ef->bufs, req->handle);
	if (!buf)
		return -EINVAL;
	if (req->flags & DMA_EDU_UNMAP_LONGER &&
	    (!buf->mapped || (buf->req.path != DMA_EDU_SINGLE &&
			      buf->req.path != DMA_EDU_PAGE &&
			      buf->req.path != DMA_EDU_IOVA)))
		return -EINVAL;
	if (req->flags & DMA_EDU_UNMAP_LEAVE) {
		if (req->flags != DMA_EDU_UNMAP_LEAVE || !buf->mapped ||
		    !buf->nr_blocks || buf->req.path == DMA_EDU_IOVA)
			return -EINVAL;
		buf->leave = true;
		return 0;
	}
	if (keep && (!buf->mapped || !dma_edu_owns_pages(buf->req.path)))
		return -EINVAL;
	if (split && (!buf->mapped || buf->req.path != DMA_EDU_IOVA))
		return -EINVAL;
	if (race && !keep)
		return -EINVAL;
	if (attrs && (!buf->mapped || !dma_edu_owns_pages(buf->req.path)))
		return -EINVAL;

	buf->longer = req->flags & DMA_EDU_UNMAP_LONGER;
	if (!race)
		dma_edu_quiesce(ef->edu);
	if (keep) {
		dma_edu_buf_unmap(dev, buf, split, attrs);
		return 0;
	}
	xa_erase(&ef->bufs, req->handle);
	dma_edu_buf_destroy(dev, buf, split, attrs);
	return 0;
}

/* ------------------------------------------- blocks freed and taken back */

static int dma_edu_ioc_block(struct dma_edu_file *ef,
			     struct dma_edu_block *req)
{
	struct dma_edu_buf *buf = xa_load(&ef->bufs, req->handle);

	if (!buf || req->index >= buf->nr_blocks)
		return -EINVAL;
	req->pfn = page_to_pfn(dma_edu_block(buf, req->index));
	req->order = buf->order;
	req->freed = dma_edu_is_freed(buf, req->index);
	return 0;
}

static struct dma_edu_buf *dma_edu_find_blocks(struct dma_edu_file *ef,
					       const struct dma_edu_blocks *req)
{
	struct dma_edu_buf *buf = xa_load(&ef->bufs, req->handle);

	if (!buf || !req->count || req->first >= buf->nr_blocks ||
	    req->count > buf->nr_blocks - req->first)
		return NULL;
	return buf;
}

static int dma_edu_ioc_free(struct dma_edu_file *ef,
			    const struct dma_edu_blocks *req)
{
	struct dma_edu_buf *buf = dma_edu_find_blocks(ef, req);
	int ret;

	if (!buf || req->flags & ~DMA_EDU_FREE_UNMAP)
		return -EINVAL;

	dma_edu_quiesce(ef->edu);
	ret = dma_edu_free_blocks(buf, req->first, req->count);
	if (!ret && req->flags & DMA_EDU_FREE_UNMAP) {
		xa_erase(&ef->bufs, req->handle);
		dma_edu_buf_destroy(&ef->edu->pdev->dev, buf, false, 0);
	}
	return ret;
}

static int dma_edu_ioc_take(struct dma_edu_file *ef,
			    const struct dma_edu_blocks *req)
{
	struct dma_edu_buf *buf = dma_edu_find_blocks(ef, req);

	if (!buf || req->flags)
		return -EINVAL;
	return dma_edu_take_blocks(buf, req->first, req->count);
}

static int dma_edu_ioc_seg(struct dma_edu_file *ef, struct dma_edu_seg *req)
{
	struct dma_edu_buf *buf = xa_load(&ef->bufs, req->handle);

	if (!buf || !buf->mapped || req->index >= dma_edu_nents(buf))
		return -EINVAL;
	dma_edu_get_seg(buf, req->index, &req->iova, &req->len);
	return 0;
}

/* ----------------------------------------------------- access by the CPU */

static void dma_edu_sync(struct device *dev, struct dma_edu_buf *buf, u64 off,
			 u64 len, bool for_cpu)
{
	enum dma_data_direction dir = dma_edu_dir(buf);
	struct sg_table *sgt = &buf->sgt;

	if (!buf->mapped)
		return;

	switch (buf->req.path) {
	case DMA_EDU_SINGLE:
	case DMA_EDU_PAGE:
		if (for_cpu)
			dma_sync_single_range_for_cpu(dev, buf->iova, off, len,
						      dir);
		else
			dma_sync_single_range_for_device(dev, buf->iova, off,
							 len, dir);
		break;
	case DMA_EDU_NONCONTIG:
		sgt = buf->nc;
		if (for_cpu)
			invalidate_kernel_vmap_range(buf->cpu, buf->req.size);
		else
			flush_kernel_vmap_range(buf->cpu, buf->req.size);
		fallthrough;
	case DMA_EDU_SG:
		if (for_cpu)
			dma_sync_sgtable_for_cpu(dev, sgt, dir);
		else
			dma_sync_sgtable_for_device(dev, sgt, dir);
		break;
	}
}

/* Is the memory of @buf, if it is pages, this buffer's and nobody else's? */
static bool dma_edu_has_memory(const struct dma_edu_buf *buf)
{
	if (!dma_edu_owns_pages(buf->req.path))
		return buf->req.path != DMA_EDU_PHYS;
	return buf->nr_blocks &&
	       !(buf->freed && !bitmap_empty(buf->freed, buf->nr_blocks));
}

/* A driver that errs: how much was mapped is not looked at. */
static int dma_edu_sync_beyond(struct device *dev, struct dma_edu_buf *buf,
			       const struct dma_edu_sync *req)
{
	u32 flags = req->flags & ~DMA_EDU_SYNC_BEYOND;
	u64 iova, len;

	if (!buf || !buf->mapped || !dma_edu_owns_pages(buf->req.path) ||
	    !req->len || req->off >= buf->req.size ||
	    req->len > DMA_EDU_MAX_SIZE)
		return -EINVAL;
	dma_edu_get_seg(buf, 0, &iova, &len);
	if (flags == DMA_EDU_SYNC_CPU)
		dma_sync_single_for_cpu(dev, iova + req->off, req->len,
					dma_edu_dir(buf));
	else if (flags == DMA_EDU_SYNC_DEVICE)
		dma_sync_single_for_device(dev, iova + req->off, req->len,
					   dma_edu_dir(buf));
	else
		return -EINVAL;
	return 0;
}

static int dma_edu_ioc_sync(struct dma_edu_file *ef,
			    const struct dma_edu_sync *req)
{
	struct dma_edu_buf *buf = xa_load(&ef->bufs, req->handle);
	bool for_cpu = req->flags == DMA_EDU_SYNC_CPU;

	if (req->flags & DMA_EDU_SYNC_BEYOND)
		return dma_edu_sync_beyond(&ef->edu->pdev->dev, buf, req);
	if (!buf || !buf->mapped || !req->len || req->off >= buf->req.size ||
	    req->len > buf->req.size - req->off)
		return -EINVAL;
	if (!for_cpu && req->flags != DMA_EDU_SYNC_DEVICE)
		return -EINVAL;
	switch (buf->req.path) {
	case DMA_EDU_SG:
		if (req->off || req->len != buf->req.size)
			return -EINVAL;
		break;
	case DMA_EDU_SINGLE:
	case DMA_EDU_PAGE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	dma_edu_sync(&ef->edu->pdev->dev, buf, req->off, req->len, for_cpu);
	return 0;
}

static int dma_edu_ioc_peek(struct dma_edu_file *ef,
			    const struct dma_edu_peek *req)
{
	struct dma_edu_buf *buf = xa_load(&ef->bufs, req->handle);
	void __user *data = u64_to_user_ptr(req->data);
	size_t room, copied;
	void *mem, *tmp;

	if (req->flags & ~DMA_EDU_WRITE || req->reserved)
		return -EINVAL;
	if (!buf || !dma_edu_has_memory(buf) || req->index >= buf->nr_blocks)
		return -EINVAL;
	room = PAGE_SIZE << buf->order;
	if (buf->pages)
		room = buf->pages_size - req->index * room;
	if (!req->len || req->off >= room || req->len > room - req->off)
		return -EINVAL;

	mem = page_address(dma_edu_block(buf, req->index)) + req->off;
	if (req->flags & DMA_EDU_WRITE) {
		tmp = vmemdup_user(data, req->len);
		if (IS_ERR(tmp))
			return PTR_ERR(tmp);
		memcpy(mem, tmp, req->len);
		copied = req->len;
	} else {
		tmp = kvmalloc(req->len, GFP_KERNEL);
		if (!tmp)
			return -ENOMEM;
		memcpy(tmp, mem, req->len);
		copied = req->len - copy_to_user(data, tmp, req->len);
	}
	kvfree(tmp);
	return copied == req->len ? 0 : -EFAULT;
}

static int dma_edu_ioc_cpu(struct dma_edu_file *ef,
			   const struct dma_edu_cpu *req)
{
	struct device *dev = &ef->edu->pdev->dev;
	bool write = req->flags & DMA_EDU_WRITE;
	void __user *data = u64_to_user_ptr(req->data);
	struct dma_edu_buf *buf;
	int ret = 0;
	void *tmp;

	if (req->flags & ~DMA_EDU_WRITE)
		return -EINVAL;
	buf = xa_load(&ef->bufs, req->handle);
	if (!buf || !req->len || req->off >= buf->req.size ||
	    req->len > buf->req.size - req->off)
		return -EINVAL;
	/* Memory of this buffer and nobody else's. */
	if (!dma_edu_has_memory(buf))
		return -EINVAL;
	if (buf->req.path == DMA_EDU_IOVA && buf->mapped &&
	    !dev_is_dma_coherent(dev))
		return -EOPNOTSUPP;

	if (write) {
		tmp = vmemdup_user(data, req->len);
		if (IS_ERR(tmp))
			return PTR_ERR(tmp);
	} else {
		tmp = kvzalloc(req->len, GFP_KERNEL);
		if (!tmp)
			return -ENOMEM;
	}

	dma_edu_sync(dev, buf, req->off, req->len, true);
	if (dma_edu_has_sgt(buf->req.path)) {
		struct sg_table *sgt = &buf->sgt;

		if (write)
			sg_pcopy_from_buffer(sgt->sgl, sgt->orig_nents, tmp,
					     req->len, req->off);
		else
			sg_pcopy_to_buffer(sgt->sgl, sgt->orig_nents, tmp,
					   req->len, req->off);
	} else if (write) {
		memcpy(buf->cpu + req->off, tmp, req->len);
	} else {
		memcpy(tmp, buf->cpu + req->off, req->len);
	}
	dma_edu_sync(dev, buf, req->off, req->len, false);

	if (!write && copy_to_user(data, tmp, req->len))
		ret = -EFAULT;
	kvfree(tmp);
	return ret;
}

/* ---------------------------------------------------------------- the engine */

static bool dma_edu_range_valid(u32 off, u32 len)
{
	return len && len <= DMA_EDU_MEM_SIZE && off <= DMA_EDU_MEM_SIZE - len;
}

/*
 * QEMU ends on a range outside of the device's memory: the caller has checked
 * @mem_off and @len.
 */
static int dma_edu_run(struct dma_edu *edu, u64 iova, u32 mem_off, u32 len,
		       bool to_ram, u32 timeout_ms)
{
	u64 mem = EDU_DMA_MEM + mem_off;
	u64 cmd;
	int ret;

	/* A halved write would make it another address. */
	if (!IS_ENABLED(CONFIG_64BIT) && upper_32_bits(iova))
		return -EOPNOTSUPP;
	if (readq(edu->bar + EDU_REG_DMA_CMD) & EDU_DMA_START)
		return -EBUSY;
	/* The engine is idle: what dma_edu_quiesce() cut off is over. */
	if (!edu->pdev->is_busmaster)
		pci_set_master(edu->pdev);

	writeq(to_ram ? mem : iova, edu->bar + EDU_REG_DMA_SRC);
	writeq(to_ram ? iova : mem, edu->bar + EDU_REG_DMA_DST);
	writeq(len, edu->bar + EDU_REG_DMA_COUNT);
	writeq(EDU_DMA_START | (to_ram ? EDU_DMA_TO_RAM : 0),
	       edu->bar + EDU_REG_DMA_CMD);

	ret = readq_poll_timeout(edu->bar + EDU_REG_DMA_CMD, cmd,
				 !(cmd & EDU_DMA_START), USEC_PER_MSEC,
				 (u64)timeout_ms * USEC_PER_MSEC);
	edu->timed_out = ret;
	return ret;
}

static int dma_edu_ioc_xfer(struct dma_edu_file *ef,
			    const struct dma_edu_xfer *req)
{
	if (req->flags & ~DMA_EDU_XFER_WRITE ||
	    req->timeout_ms > DMA_EDU_MAX_TIMEOUT_MS ||
	    !dma_edu_range_valid(req->mem_off, req->len))
		return -EINVAL;
	return dma_edu_run(ef->edu, req->iova, req->mem_off, req->len,
			   req->flags & DMA_EDU_XFER_WRITE,
			   req->timeout_ms ?: DMA_EDU_DEF_TIMEOUT_MS);
}

static int dma_edu_ioc_mem(struct dma_edu_file *ef,
			   const struct dma_edu_mem *req)
{
	struct dma_edu *edu = ef->edu;
	bool write = req->flags & DMA_EDU_WRITE;
	void __user *data = u64_to_user_ptr(req->data);
	int ret;

	if (req->flags & ~DMA_EDU_WRITE || req->reserved ||
	    !dma_edu_range_valid(req->off, req->len))
		return -EINVAL;

	if (write && copy_from_user(edu->mem, data, req->len))
		return -EFAULT;
	ret = dma_edu_run(edu, edu->mem_iova, req->off, req->len, !write,
			  DMA_EDU_DEF_TIMEOUT_MS);
	if (ret)
		return ret;
	if (!write && copy_to_user(data, edu->mem, req->len))
		return -EFAULT;
	return 0;
}

/* -------------------------------------------------------------- DMA pools */

#define DMA_EDU_POOL_SIZE	64

/*
 * The pool takes the first bytes of a free block for the address of the next one,
 * and those after it for where the device sees the block, if it has its list there.
 */
static int dma_edu_ioc_pool(struct dma_edu *edu, struct dma_edu_pool *req)
{
	struct { void *next; dma_addr_t dma; } *attack = edu->mem;
	dma_addr_t iova[2];
	struct dma_pool *pool;
	int i, nr, ret = -ENOMEM;
	void *block[2], *bait;

	if (req->reserved)
		return -EINVAL;
	pool = dma_pool_create("dma_edu", &edu->pdev->dev, DMA_EDU_POOL_SIZE,
			       0, 0);
	bait = kzalloc(DMA_EDU_POOL_SIZE, GFP_KERNEL);
	if (!pool || !bait)
		goto out;
	for (i = 0; i < 2; i++) {
		block[i] = dma_pool_alloc(pool, GFP_KERNEL, &iova[i]);
		if (!block[i])
			break;
	}
	nr = i;
	while (i--)
		dma_pool_free(pool, block[i], iova[i]);
	if (nr < 2)
		goto out;

	memset(attack, 0, sizeof(*attack));
	attack->next = bait;
	ret = dma_edu_run(edu, edu->mem_iova, 0, sizeof(*attack), false,
			  DMA_EDU_DEF_TIMEOUT_MS);
	if (!ret)
		ret = dma_edu_run(edu, iova[0], 0, sizeof(*attack), true,
				  DMA_EDU_DEF_TIMEOUT_MS);
	if (ret)
		goto out;

	req->astray = 0;
	for (i = 0; i < 2; i++) {
		block[i] = dma_pool_alloc(pool, GFP_KERNEL, &iova[i]);
		if (block[i] == bait)
			req->astray = 1;
		if (!block[i] || block[i] == bait)
			break;
	}
	while (i--)
		dma_pool_free(pool, block[i], iova[i]);
out:
	kfree(bait);
	dma_pool_destroy(pool);
	return ret;
}

/* ------------------------------------------------------------- DMA faults */

/*
 * The handlers. The core holds a lock of its own around them, @core below, and
 * takes that for a moment when one is registered or unregistered. So does this
 * driver: fault_lock -> core when it is asked to, and when it is unbound, device
 * lock -> fault_lock -> core.
 *
 * A handler comes with core, and must not wait for the device lock or for
 * fault_lock. pci_try_reset_function() does not wait for the device lock: it
 * fails with EAGAIN if somebody has it, as unbinding does. What it calls takes
 * edu->lock: core -> edu->lock. In turn nobody who has edu->lock may register or
 * unregister, and fault_lock is not taken inside of edu->lock.
 */
static void dma_edu_fault_count(struct device *dev,
				const struct iommu_dma_fault *fault,
				void *data)
{
	struct dma_edu *edu = data;
	struct dma_edu_faults *told = &edu->faults;

	guard(spinlock)(&edu->faults_lock);
	told->calls++;
	told->faults += fault->nr;
	told->class = fault->class;
	told->write = fault->write;
	told->before = fault->before;
	told->iova = fault->iova;
	told->step = fault->step;
	told->start = fault->start;
	told->size = fault->size;
	told->distance = fault->distance;
	told->nr = fault->nr;
}

static void dma_edu_fault_once(struct device *dev,
			       const struct iommu_dma_fault *fault, void *data)
{
	dma_edu_fault_count(dev, fault, data);
	iommu_unregister_dma_fault_handler(dev);
}

static void dma_edu_fault_reset(struct device *dev,
				const struct iommu_dma_fault *fault, void *data)
{
	struct dma_edu *edu = data;
	int ret;

	dma_edu_fault_count(dev, fault, data);
	ret = pci_try_reset_function(edu->pdev);

	guard(spinlock)(&edu->faults_lock);
	edu->faults.reset_error = -ret;
}

static const iommu_dma_fault_fn_t dma_edu_fault_handlers[] = {
	[DMA_EDU_FAULT_COUNT] = dma_edu_fault_count,
	[DMA_EDU_FAULT_ONCE] = dma_edu_fault_once,
	[DMA_EDU_FAULT_RESET] = dma_edu_fault_reset,
};

static int dma_edu_ioc_fault_handler(struct dma_edu *edu,
				     const struct dma_edu_fault_handler *req)
{
	if (req->action >= DMA_EDU_FAULT_NR_ACTIONS || req->reserved)
		return -EINVAL;

	/* The driver stays bound as long as this is held. */
	guard(mutex)(&edu->fault_lock);
	if (edu->no_handler)
		return -ENODEV;
	if (req->action != DMA_EDU_FAULT_NONE)
		return iommu_register_dma_fault_handler(&edu->pdev->dev,
				dma_edu_fault_handlers[req->action], edu);
	iommu_unregister_dma_fault_handler(&edu->pdev->dev);
	return 0;
}

static int dma_edu_ioc_faults(struct dma_edu *edu, struct dma_edu_faults *told)
{
	guard(mutex)(&edu->fault_lock);
	if (edu->no_handler)
		return -ENODEV;
	guard(spinlock)(&edu->faults_lock);
	*told = edu->faults;
	return 0;
}

/* -------------------------------------------------------------------- info */

static u32 dma_edu_domain_type(struct device *dev)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	if (!domain)
		return DMA_EDU_DOMAIN_NONE;
	switch (domain->type) {
	case IOMMU_DOMAIN_IDENTITY:
		return DMA_EDU_DOMAIN_IDENTITY;
	case IOMMU_DOMAIN_DMA:
		return DMA_EDU_DOMAIN_DMA;
	case IOMMU_DOMAIN_DMA_FQ:
		return DMA_EDU_DOMAIN_DMA_FQ;
	default:
		return DMA_EDU_DOMAIN_OTHER;
	}
}

static int dma_edu_ioc_info(struct dma_edu_file *ef, struct dma_edu_info *info)
{
	struct pci_dev *pdev = ef->edu->pdev;
	struct device *dev = &pdev->dev;
	struct iommu_group *group = iommu_group_get(dev);

	strscpy_pad(info->name, pci_name(pdev));
	info->group = group ? iommu_group_id(group) : -1;
	iommu_group_put(group);
	info->domain = dma_edu_domain_type(dev);
	info->flags = (dev_is_dma_coherent(dev) ? DMA_EDU_INFO_COHERENT : 0) |
		      (pdev->untrusted ? DMA_EDU_INFO_UNTRUSTED : 0);
	info->granule = dma_edu_granule(dev);
	info->opt_mapping_size = dma_opt_mapping_size(dev);
	info->max_mapping_size = dma_max_mapping_size(dev);
	return 0;
}

/* ----------------------------------------------------------- character device */

static void dma_edu_release_ref(struct kref *ref)
{
	struct dma_edu *edu = container_of(ref, struct dma_edu, ref);

	mutex_destroy(&edu->fault_lock);
	mutex_destroy(&edu->lock);
	kfree(edu);
}

/* Is what @buf, on dma_edu_left, has mapped still there? */
static bool dma_edu_left_mapped(struct dma_edu_buf *buf)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(buf->dev);

	return domain && iommu_is_dma_domain(domain) &&
	       iommu_iova_to_phys(domain, buf->iova & PAGE_MASK) ==
	       page_to_phys(dma_edu_block(buf, 0));
}

/*
 * Undo what was left behind on @dev, whose lock is held, so that nobody gives its
 * group another default domain meanwhile.
 */
static void dma_edu_undo_left(struct device *dev)
{
	struct dma_edu_buf *buf, *tmp;
	LIST_HEAD(left);

	device_lock_assert(dev);
	scoped_guard(mutex, &dma_edu_left_lock)
		list_for_each_entry_safe(buf, tmp, &dma_edu_left, node)
			if (buf->dev == dev)
				list_move_tail(&buf->node, &left);

	list_for_each_entry_safe(buf, tmp, &left, node) {
		list_del(&buf->node);
		/* The domain was freed, or is not in use: no mapping. */
		if (!dma_edu_left_mapped(buf))
			buf->mapped = false;
		dma_edu_buf_destroy(dev, buf, false, 0);
		put_device(dev);
	}
}

/* The device of something that was left behind, with a reference, or NULL */
static struct device *dma_edu_left_dev(void)
{
	struct dma_edu_buf *buf;

	guard(mutex)(&dma_edu_left_lock);
	buf = list_first_entry_or_null(&dma_edu_left, struct dma_edu_buf, node);
	return buf ? get_device(buf->dev) : NULL;
}

static void dma_edu_leave(struct device *dev, struct dma_edu_buf *buf)
{
	buf->dev = get_device(dev);
	guard(mutex)(&dma_edu_left_lock);
	list_add_tail(&buf->node, &dma_edu_left);
}

/*
 * Nothing of @ef is mapped afterwards, but for what was asked to be left if the
 * driver is @unbinding. Called with the device's lock held.
 */
static void dma_edu_file_clear(struct dma_edu_file *ef, bool unbinding)
{
	struct device *dev = &ef->edu->pdev->dev;
	struct dma_edu_buf *buf;
	unsigned long handle;

	lockdep_assert_held(&ef->edu->lock);

	dma_edu_quiesce(ef->edu);
	/* What shares another's memory must be unmapped before that is freed. */
	xa_for_each(&ef->bufs, handle, buf)
		if (!(unbinding && buf->leave))
			dma_edu_buf_unmap(dev, buf, false, 0);
	xa_for_each(&ef->bufs, handle, buf) {
		xa_erase(&ef->bufs, handle);
		if (unbinding && buf->leave && buf->mapped)
			dma_edu_leave(dev, buf);
		else
			dma_edu_buf_destroy(dev, buf, false, 0);
	}
}

/*
 * misc_open() and misc_deregister() exclude each other, so that the bound
 * driver's reference is still there.
 */
static int dma_edu_open(struct inode *inode, struct file *file)
{
	struct dma_edu *edu = container_of(file->private_data, struct dma_edu,
					   misc);
	struct dma_edu_file *ef;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;

	ef = kzalloc(sizeof(*ef), GFP_KERNEL);
	if (!ef)
		return -ENOMEM;

	kref_get(&edu->ref);
	ef->edu = edu;
	xa_init_flags(&ef->bufs, XA_FLAGS_ALLOC1);
	mutex_lock(&edu->lock);
	list_add(&ef->node, &edu->files);
	mutex_unlock(&edu->lock);

	file->private_data = ef;
	return 0;
}

static int dma_edu_close(struct inode *inode, struct file *file)
{
	struct dma_edu_file *ef = file->private_data;
	struct dma_edu *edu = ef->edu;

	mutex_lock(&edu->lock);
	if (!edu->gone)
		dma_edu_file_clear(ef, false);
	list_del(&ef->node);
	mutex_unlock(&edu->lock);

	xa_destroy(&ef->bufs);
	kfree(ef);
	kref_put(&edu->ref, dma_edu_release_ref);
	return 0;
}

static long dma_edu_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	struct dma_edu_file *ef = file->private_data;
	void __user *uarg = (void __user *)arg;
	union {
		struct dma_edu_info info;
		struct dma_edu_map map;
		struct dma_edu_unmap unmap;
		struct dma_edu_seg seg;
		struct dma_edu_cpu cpu;
		struct dma_edu_xfer xfer;
		struct dma_edu_mem mem;
		struct dma_edu_block block;
		struct dma_edu_blocks blocks;
		struct dma_edu_sync sync;
		struct dma_edu_peek peek;
		struct dma_edu_list list;
		struct dma_edu_pool pool;
		struct dma_edu_fault_handler handler;
		struct dma_edu_faults faults;
	} u = {};
	int ret;

	switch (cmd) {
	case DMA_EDU_IOC_INFO:
	case DMA_EDU_IOC_MAP:
	case DMA_EDU_IOC_UNMAP:
	case DMA_EDU_IOC_SEG:
	case DMA_EDU_IOC_CPU:
	case DMA_EDU_IOC_XFER:
	case DMA_EDU_IOC_MEM:
	case DMA_EDU_IOC_BLOCK:
	case DMA_EDU_IOC_FREE:
	case DMA_EDU_IOC_TAKE:
	case DMA_EDU_IOC_SYNC:
	case DMA_EDU_IOC_PEEK:
	case DMA_EDU_IOC_MAP_LIST:
	case DMA_EDU_IOC_POOL:
	case DMA_EDU_IOC_FAULT_HANDLER:
	case DMA_EDU_IOC_FAULTS:
		break;
	default:
		return -ENOTTY;
	}

	if (_IOC_DIR(cmd) & _IOC_WRITE &&
	    copy_from_user(&u, uarg, _IOC_SIZE(cmd)))
		return -EFAULT;

	/* These have a lock of their own. */
	switch (cmd) {
	case DMA_EDU_IOC_FAULT_HANDLER:
		return dma_edu_ioc_fault_handler(ef->edu, &u.handler);
	case DMA_EDU_IOC_FAULTS:
		ret = dma_edu_ioc_faults(ef->edu, &u.faults);
		goto out;
	}

	mutex_lock(&ef->edu->lock);
	if (ef->edu->gone) {
		mutex_unlock(&ef->edu->lock);
		return -ENODEV;
	}
	switch (cmd) {
	case DMA_EDU_IOC_INFO:
		ret = dma_edu_ioc_info(ef, &u.info);
		break;
	case DMA_EDU_IOC_MAP:
		ret = dma_edu_ioc_map(ef, &u.map);
		break;
	case DMA_EDU_IOC_UNMAP:
		ret = dma_edu_ioc_unmap(ef, &u.unmap);
		break;
	case DMA_EDU_IOC_SEG:
		ret = dma_edu_ioc_seg(ef, &u.seg);
		break;
	case DMA_EDU_IOC_CPU:
		ret = dma_edu_ioc_cpu(ef, &u.cpu);
		break;
	case DMA_EDU_IOC_XFER:
		ret = dma_edu_ioc_xfer(ef, &u.xfer);
		break;
	case DMA_EDU_IOC_MEM:
		ret = dma_edu_ioc_mem(ef, &u.mem);
		break;
	case DMA_EDU_IOC_BLOCK:
		ret = dma_edu_ioc_block(ef, &u.block);
		break;
	case DMA_EDU_IOC_FREE:
		ret = dma_edu_ioc_free(ef, &u.blocks);
		break;
	case DMA_EDU_IOC_TAKE:
		ret = dma_edu_ioc_take(ef, &u.blocks);
		break;
	case DMA_EDU_IOC_SYNC:
		ret = dma_edu_ioc_sync(ef, &u.sync);
		break;
	case DMA_EDU_IOC_PEEK:
		ret = dma_edu_ioc_peek(ef, &u.peek);
		break;
	case DMA_EDU_IOC_MAP_LIST:
		ret = dma_edu_ioc_map_list(ef, &u.list);
		break;
	case DMA_EDU_IOC_POOL:
		ret = dma_edu_ioc_pool(ef->edu, &u.pool);
		break;
	}
	mutex_unlock(&ef->edu->lock);

out:
	/* A mapping whose handle does not reach the caller goes at close(). */
	if (!ret && _IOC_DIR(cmd) & _IOC_READ &&
	    copy_to_user(uarg, &u, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static const struct file_operations dma_edu_fops = {
	.owner = THIS_MODULE,
	.open = dma_edu_open,
	.release = dma_edu_close,
	.unlocked_ioctl = dma_edu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* --------------------------------------------------------------- PCI driver */

static void dma_edu_release_slowly(void *unused)
{
	msleep(release_ms);
}

static int dma_edu_init_hw(struct dma_edu *edu)
{
	struct pci_dev *pdev = edu->pdev;
	struct device *dev = &pdev->dev;
	int ret;

	ret = devm_add_action(dev, dma_edu_release_slowly, NULL);
	if (ret)
		return ret;
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	edu->bar = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(edu->bar))
		return PTR_ERR(edu->bar);
	if ((readl(edu->bar + EDU_REG_ID) & EDU_ID_MASK) != EDU_ID)
		return -ENODEV;
	/* Bus mastering must not bring back a transfer of an earlier driver. */
	if (readq(edu->bar + EDU_REG_DMA_CMD) & EDU_DMA_START)
		return -EBUSY;

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(EDU_DEF_MASK_BITS));
	if (ret)
		return ret;
	/* The engine takes plain ranges: segments may be merged without limit. */
	dma_set_max_seg_size(dev, UINT_MAX);
	dma_set_seg_boundary(dev, ULONG_MAX);
	dma_edu_undo_left(dev);

	edu->mem = dma_alloc_coherent(dev, DMA_EDU_MEM_SIZE, &edu->mem_iova,
				      GFP_KERNEL);
	if (!edu->mem)
		return -ENOMEM;
	pci_set_master(pdev);
	return 0;
}

static int dma_edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct dma_edu *edu;
	int ret;

	edu = kzalloc(sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	kref_init(&edu->ref);
	mutex_init(&edu->lock);
	mutex_init(&edu->fault_lock);
	spin_lock_init(&edu->faults_lock);
	INIT_LIST_HEAD(&edu->files);
	edu->pdev = pdev;

	ret = dma_edu_init_hw(edu);
	if (ret)
		goto err_put;

	edu->id = ida_alloc(&dma_edu_ida, GFP_KERNEL);
	if (edu->id < 0) {
		ret = edu->id;
		goto err_hw;
	}
	snprintf(edu->name, sizeof(edu->name), "dma_edu%d", edu->id);
	edu->misc.minor = MISC_DYNAMIC_MINOR;
	edu->misc.name = edu->name;
	edu->misc.fops = &dma_edu_fops;
	edu->misc.parent = &pdev->dev;
	edu->misc.mode = 0600;

	pci_set_drvdata(pdev, edu);
	ret = misc_register(&edu->misc);
	if (ret)
		goto err_id;
	return 0;

err_id:
	ida_free(&dma_edu_ida, edu->id);
err_hw:
	pci_clear_master(pdev);
	dma_free_coherent(&pdev->dev, DMA_EDU_MEM_SIZE, edu->mem,
			  edu->mem_iova);
err_put:
	kref_put(&edu->ref, dma_edu_release_ref);
	return ret;
}

static void dma_edu_remove(struct pci_dev *pdev)
{
	struct dma_edu *edu = pci_get_drvdata(pdev);
	struct dma_edu_file *ef;

	misc_deregister(&edu->misc);
	ida_free(&dma_edu_ida, edu->id);

	/* Waits for a handler, which may want edu->lock. */
	mutex_lock(&edu->fault_lock);
	edu->no_handler = true;
	iommu_unregister_dma_fault_handler(&pdev->dev);
	mutex_unlock(&edu->fault_lock);

	mutex_lock(&edu->lock);
	/* A transfer that timed out must not reach memory freed below. */
	pci_clear_master(pdev);
	list_for_each_entry(ef, &edu->files, node)
		dma_edu_file_clear(ef, true);
	dma_free_coherent(&pdev->dev, DMA_EDU_MEM_SIZE, edu->mem,
			  edu->mem_iova);
	edu->gone = true;
	mutex_unlock(&edu->lock);

	kref_put(&edu->ref, dma_edu_release_ref);
}

/*
 * Nobody uses the device, or maps, from here to dma_edu_reset_done(), which the
 * same task always calls. The device lock keeps the driver bound.
 */
static void dma_edu_reset_prepare(struct pci_dev *pdev)
{
	struct dma_edu *edu = pci_get_drvdata(pdev);

	mutex_lock(&edu->lock);
	dma_edu_quiesce(edu);
}

/*
 * The configuration is back, and bus mastering as it was. The registers of the
 * engine are written before each transfer anyway.
 */
static void dma_edu_reset_done(struct pci_dev *pdev)
{
	struct dma_edu *edu = pci_get_drvdata(pdev);

	mutex_unlock(&edu->lock);
	guard(spinlock)(&edu->faults_lock);
	edu->faults.resets++;
}

static const struct pci_error_handlers dma_edu_err_handlers = {
	.reset_prepare = dma_edu_reset_prepare,
	.reset_done = dma_edu_reset_done,
};

static const struct pci_device_id dma_edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, dma_edu_ids);

static struct pci_driver dma_edu_driver = {
	.name = KBUILD_MODNAME,
	.id_table = dma_edu_ids,
	.probe = dma_edu_probe,
	.remove = dma_edu_remove,
	.err_handler = &dma_edu_err_handlers,
};

static int __init dma_edu_init(void)
{
	return pci_register_driver(&dma_edu_driver);
}
module_init(dma_edu_init);

static void __exit dma_edu_exit(void)
{
	struct device *dev;

	pci_unregister_driver(&dma_edu_driver);
	while ((dev = dma_edu_left_dev())) {
		scoped_guard(device, dev)
			dma_edu_undo_left(dev);
		put_device(dev);
	}
}
module_exit(dma_edu_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("DMA engine under user-space control, for tests only");
