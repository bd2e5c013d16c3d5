// SPDX-License-Identifier: GPL-2.0
/*
 * What reports of DMA faults say of mappings that were recorded
 *
 * Needs the dma_edu module, QEMU's edu device behind an IOMMU, and a kernel that was
 * booted with iommu.dma_fault_history=, for other tests see dma_fault.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 */
#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/report.h"
#include "lib/util.h"

static const char * const dir_names[] = {
	[DMA_EDU_BIDIRECTIONAL] = "DMA_BIDIRECTIONAL",
	[DMA_EDU_TO_DEVICE] = "DMA_TO_DEVICE",
	[DMA_EDU_FROM_DEVICE] = "DMA_FROM_DEVICE",
};

static bool stacks;

/* An event, and in its stack the ioctl that has mapped, or unmapped */
static bool has_event(const struct report *r, const char *event, const char *who,
		      const char *other)
{
	char text[64];
	int at, end;

	at = report_find(r, 0, event);
	snprintf(text, sizeof(text), "before the fault%s", who);
	if (at < 0 || !strstr(r->line[at], text))
		return report_has(r, "%s ... %s", event, text);
	if (!stacks)
		return true;
	end = other ? report_find(r, at + 1, other) : -1;
	if (end < 0)
		end = r->nr;
	at = report_find(r, at + 1, "dma_edu_");
	return (at >= 0 && at < end) || report_has(r, "dma_edu_ after %s", event);
}

FIXTURE(history)
{
	int fd;
	int kmsg;
	struct report report;
};

FIXTURE_SETUP(history)
{
	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	sleep_ms(REPORT_QUIET_MS);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(history)
{
	close(self->kmsg);
	close(self->fd);
}

/* The device writes 8 bytes to @iova, or reads them, which is not allowed. */
static bool faults(struct _test_data_history *self, __u64 iova, bool write)
{
	return !edu_xfer(self->fd, iova, 0, 8,
			 write ? DMA_EDU_XFER_WRITE : 0) &&
	       report_read(self->kmsg, &self->report);
}

static bool tells_part(const struct report *r, const char *class,
		       const struct mapping *m, __u64 start, __u64 size)
{
	char who[64];

	snprintf(who, sizeof(who), " by %.15s/", program_invocation_short_name);
	return report_has(r, "BUG: DMA: %s", class) &&
	       report_has(r, "of %llu bytes at IOVA 0x%016llx", size, start) &&
	       report_has(r, "mapping found in: record of mappings") &&
	       report_has(r, "direction: %s, driver: dma_edu",
			  dir_names[m->req.dir]) &&
	       has_event(r, "mapped ", who, "unmapped ");
}

static bool tells_mapping(const struct report *r, const char *class,
			  const struct mapping *m)
{
	return tells_part(r, class, m, m->req.iova, m->req.size);
}

/*
 * Each kind. The module links a range of IOVAs page by page, and may undo that at
 * once: of the second page it was the second call that has linked it.
 */
TEST_F_TIMEOUT(history, use_after_unmap, 120)
{
	struct dma_edu_info info;
	__u64 start, size;
	struct mapping m;
	int i;

	ASSERT_EQ(0, edu_info(self->fd, &info));
	for (i = 0; i < NR_KINDS; i++) {
		ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[i],
				      3 * info.granule, 0,
				      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0,
				      0x5a));
		ASSERT_EQ(0, kind_unmap(self->fd, &m));
		start = m.req.iova;
		size = m.req.size;
		if (kinds[i].path == DMA_EDU_IOVA) {
			start += info.granule;
			size = kinds[i].partial ? info.granule / 2 :
						  info.granule;
		}
		ASSERT_TRUE(faults(self, start + 8, true)) {
			TH_LOG("%s", kinds[i].name);
		}
		EXPECT_TRUE(tells_part(&self->report, "use-after-unmap write",
				       &m, start, size) &&
			    has_event(&self->report, "unmapped ", "", NULL)) {
			TH_LOG("%s", kinds[i].name);
		}
		sleep_ms(REPORT_QUIET_MS);
	}
}

/* The allocator forgets a large range, in whose middle nobody is near. */
TEST_F(history, use_after_unmap_of_a_large_one)
{
	struct mapping m;

	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], MB(1), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0x5a));
	ASSERT_EQ(0, kind_unmap(self->fd, &m));
	ASSERT_TRUE(faults(self, m.req.iova + KB(512) + 8, true));
	EXPECT_TRUE(tells_mapping(&self->report, "use-after-unmap write", &m));
	EXPECT_TRUE(has_event(&self->report, "unmapped ", "", NULL));
}

/* While it is mapped, by a device that may only read it */
TEST_F(history, wrong_direction)
{
	struct mapping m;

	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], KB(4) + 100, 0,
			      DMA_EDU_TO_DEVICE, XFER_MASK_BITS, 0, 0x5a));
	ASSERT_TRUE(faults(self, m.req.iova + 8, true));
	EXPECT_TRUE(tells_mapping(&self->report, "wrong-direction write", &m));
	EXPECT_EQ(-1, report_find(&self->report, 0, "unmapped "));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/*
 * Many mappings later it is still known, at an address that nobody has had since. In
 * lazy mode the others would have it in turn.
 */
TEST_F(history, beside_a_busy_one)
{
	struct mapping m, busy;
	struct dma_edu_info info;
	int i;

	ASSERT_EQ(0, edu_info(self->fd, &info));
	if (info.domain == DMA_EDU_DOMAIN_DMA_FQ)
		SKIP(return, "addresses change in lazy mode");
	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], 5 * KB(4), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0x5a));
	ASSERT_EQ(0, kind_unmap(self->fd, &m));
	for (i = 0; i < 20000; i++) {
		ASSERT_EQ(0, kind_map(self->fd, &busy, &kinds[0], 100, 0,
				      DMA_EDU_TO_DEVICE, XFER_MASK_BITS,
				      DMA_EDU_MAP_NOFILL, 0));
		ASSERT_EQ(0, kind_unmap(self->fd, &busy));
	}
	ASSERT_TRUE(faults(self, m.req.iova + KB(4) + 8, true));
	EXPECT_TRUE(tells_mapping(&self->report, "use-after-unmap write", &m));
}

int main(int argc, char **argv)
{
	struct group_state booted;
	char value[64];

	edu_take_device();
	if (!boot_param("iommu.dma_fault_history", value, sizeof(value)))
		ksft_exit_skip("no iommu.dma_fault_history=\n");
	stacks = !strstr(value, ",nostack");

	edu_setup(&booted);
	return edu_finish(&booted, test_harness_run(argc, argv));
}
