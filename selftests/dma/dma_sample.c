// SPDX-License-Identifier: GPL-2.0
/*
 * What is found in DMA mappings that are sampled
 *
 * Needs the dma_edu module, QEMU's edu device behind an IOMMU, a kernel with
 * CONFIG_IOMMU_DMA_SAMPLE, and debugfs.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/report.h"
#include "lib/sample.h"
#include "lib/util.h"

/* What can be sampled is addressed by 32 bits. */
#define MASK_BITS	32

#define OFFSET		100
#define SIZE		300
#define MAX_TRIES	2000

static struct report report;

/* A mapping that is sampled, sooner or later */
static int map_sampled(int fd, struct mapping *m, const struct map_kind *kind,
		       __u32 offset, __u64 size, __u32 dir)
{
	int ret, i;

	for (i = 0; i < MAX_TRIES; i++) {
		ret = kind_map(fd, m, kind, size, offset, dir, MASK_BITS, 0,
			       0x5a);
		if (ret)
			return ret;
		if (sample_is_live(m->req.iova))
			return 0;
		ret = kind_unmap(fd, m);
		if (ret)
			return ret;
		sleep_ms(2);
	}
	return -ETIMEDOUT;
}

FIXTURE(sample)
{
	int fd;
	int kmsg;
};

FIXTURE_SETUP(sample)
{
	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, file_write(SAMPLE_CANARY, "1"));
	ASSERT_EQ(0, file_write(SAMPLE_INTERVAL, "1"));
	sleep_ms(REPORT_QUIET_MS);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(sample)
{
	EXPECT_EQ(0, file_write(SAMPLE_INTERVAL, "0"));
	close(self->kmsg);
	close(self->fd);
}

/* One byte after the buffer, which is in the same page and nobody's, of any kind */
TEST_F_TIMEOUT(sample, overrun, 60)
{
	static const int tried[] = { 0, 2, 5 };
	struct mapping m;
	__u32 offset;
	int i, ret;

	for (i = 0; i < 3; i++) {
		const struct map_kind *kind = &kinds[tried[i]];

		offset = kind->path == DMA_EDU_SINGLE ? OFFSET : 0;
		ret = map_sampled(self->fd, &m, kind, offset, SIZE,
				  DMA_EDU_FROM_DEVICE);
		/* What is small is no range of its own if the device bounces. */
		if (ret == -ENOSPC && kind->path == DMA_EDU_IOVA)
			continue;
		ASSERT_EQ(0, ret) {
			TH_LOG("%s", kind->name);
		}
		ksft_print_msg("%s: sampled\n", kind->name);
		ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova, 0, SIZE + 1,
				      DMA_EDU_XFER_WRITE));
		ASSERT_EQ(0, kind_unmap(self->fd, &m));
		ASSERT_TRUE(report_read(self->kmsg, &report)) {
			TH_LOG("%s", kind->name);
		}
		EXPECT_TRUE(report_has(&report,
				       "BUG: DMA: out-of-bounds write by dma_edu %s: 1 bytes after the %d-byte buffer mapped at IOVA 0x%016llx",
				       edu_name, SIZE,
				       (unsigned long long)m.req.iova));
		EXPECT_TRUE(report_has_in_order(&report, "mapped by:",
						"dma_edu_", NULL));
		EXPECT_TRUE(report_has_in_order(&report, "found by",
						"dma_edu_", NULL));
	}
}

/* And before it */
TEST_F(sample, underrun)
{
	struct mapping m;

	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova - 1, 0, 1,
			      DMA_EDU_XFER_WRITE));
	ASSERT_EQ(0, kind_unmap(self->fd, &m));
	ASSERT_TRUE(report_read(self->kmsg, &report));
	EXPECT_TRUE(report_has(&report,
			       "BUG: DMA: out-of-bounds write by dma_edu %s: 1 bytes before the %d-byte buffer",
			       edu_name, SIZE));
}

/* Without canaries a driver that does not sync works as usual, and a guard is there. */
TEST_F(sample, in_place)
{
	__u8 data[SIZE], got[SIZE];
	struct mapping m;
	int i;

	ASSERT_EQ(0, file_write(SAMPLE_CANARY, "0"));
	for (i = 0; i < SIZE; i++)
		data[i] = 7 + 5 * i;
	ASSERT_EQ(0, edu_mem(self->fd, 0, data, SIZE, DMA_EDU_WRITE));
	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova, 0, SIZE,
			      DMA_EDU_XFER_WRITE));
	ASSERT_EQ(0, edu_peek(self->fd, m.req.handle, 0, OFFSET, got, SIZE,
			      0));
	EXPECT_EQ(0, memcmp(data, got, SIZE));
	EXPECT_TRUE(kmsg_is_clean(self->kmsg));

	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova - OFFSET + KB(4), 0, 8,
			      DMA_EDU_XFER_WRITE));
	ASSERT_TRUE(report_read(self->kmsg, &report));
	EXPECT_TRUE(report_has(&report,
			       "BUG: DMA: out-of-bounds write by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&report, "mapping found in: sampled mappings"));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* Past the page, where the IOMMU stops it, and which way it does not matter */
TEST_F(sample, out_of_page)
{
	struct mapping m;

	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], 0, KB(4),
				 DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova + KB(4), 0, 8,
			      DMA_EDU_XFER_WRITE));
	ASSERT_TRUE(report_read(self->kmsg, &report));
	EXPECT_TRUE(report_has(&report,
			       "BUG: DMA: out-of-bounds write by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&report,
			       "0 bytes after the mapping of %d bytes at IOVA 0x%016llx",
			       KB(4), (unsigned long long)m.req.iova));
	EXPECT_TRUE(report_has(&report, "mapping found in: sampled mappings"));
	EXPECT_TRUE(report_has_in_order(&report, "mapped ", "dma_edu_", NULL));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* A write that comes when the buffer has long been unmapped, and others were mapped */
TEST_F(sample, stale_write)
{
	struct mapping m, other;
	int i;

	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, kind_unmap(self->fd, &m));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, map_sampled(self->fd, &other, &kinds[0], OFFSET,
					 SIZE, DMA_EDU_FROM_DEVICE));
		ASSERT_NE(m.req.iova, other.req.iova);
		ASSERT_EQ(0, kind_unmap(self->fd, &other));
	}
	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova, 0, 8, DMA_EDU_XFER_WRITE));
	ASSERT_TRUE(report_read(self->kmsg, &report));
	EXPECT_TRUE(report_has(&report,
			       "BUG: DMA: use-after-unmap write by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&report,
			       "former mapping of %d bytes at IOVA 0x%016llx",
			       SIZE, (unsigned long long)m.req.iova));
	EXPECT_TRUE(report_has(&report, "mapping found in: sampled mappings"));
	EXPECT_TRUE(report_has_in_order(&report, "mapped ", "dma_edu_",
					"unmapped ", "dma_edu_", NULL));
}

/* A write to what the device may only read */
TEST_F(sample, wrong_direction)
{
	struct mapping m;

	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_TO_DEVICE));
	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova, 0, 8, DMA_EDU_XFER_WRITE));
	ASSERT_TRUE(report_read(self->kmsg, &report));
	EXPECT_TRUE(report_has(&report,
			       "BUG: DMA: wrong-direction write by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&report, "mapping found in: sampled mappings"));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* What the device writes is what the CPU has after a sync. */
TEST_F_TIMEOUT(sample, written_is_read, 120)
{
	__u8 data[SIZE], got[SIZE];
	struct mapping m;
	int i, j;

	for (i = 0; i < NR_KINDS; i++) {
		if (kinds[i].path != DMA_EDU_SINGLE &&
		    kinds[i].path != DMA_EDU_PAGE &&
		    kinds[i].path != DMA_EDU_SG)
			continue;
		for (j = 0; j < SIZE; j++)
			data[j] = i + 3 * j;
		ASSERT_EQ(0, edu_mem(self->fd, 0, data, SIZE,
				     DMA_EDU_WRITE));
		ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[i], 0, SIZE,
					 DMA_EDU_FROM_DEVICE)) {
			TH_LOG("%s", kinds[i].name);
		}
		ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova, 0, SIZE,
				      DMA_EDU_XFER_WRITE));
		ASSERT_EQ(0, edu_cpu(self->fd, m.req.handle, 0, got, SIZE, 0));
		EXPECT_EQ(0, memcmp(data, got, SIZE)) {
			TH_LOG("%s", kinds[i].name);
		}
		ASSERT_EQ(0, kind_unmap(self->fd, &m));
	}
	EXPECT_TRUE(kmsg_is_clean(self->kmsg));
}

/* Switched off and on, while something is mapped */
TEST_F(sample, off_and_on)
{
	struct mapping m, other;
	long before;
	int i;

	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, file_write(SAMPLE_INTERVAL, "0"));
	/* One that was chosen already may be on its way. */
	sleep_ms(20);
	before = sample_stat("sampled");
	ASSERT_LT(0, before);
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, kind_map(self->fd, &other, &kinds[0], SIZE, OFFSET,
				      DMA_EDU_FROM_DEVICE, MASK_BITS, 0, 0x5a));
		ASSERT_EQ(0, kind_unmap(self->fd, &other));
		sleep_ms(1);
	}
	EXPECT_EQ(before, sample_stat("sampled"));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
	ASSERT_EQ(0, file_write(SAMPLE_INTERVAL, "1"));
	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
	EXPECT_NE(0, file_write(SAMPLE_INTERVAL, "-1"));
	EXPECT_NE(0, file_write(SAMPLE_INTERVAL, "100000000"));
}

/* The group is left out, and is not any more, while something of it is mapped. */
TEST_F(sample, left_out)
{
	struct mapping m, other;
	int i;

	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, edu_group_write(edu_name, "dma_sample", "0"));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, kind_map(self->fd, &other, &kinds[0], SIZE, OFFSET,
				      DMA_EDU_FROM_DEVICE, MASK_BITS, 0, 0x5a));
		EXPECT_FALSE(sample_is_live(other.req.iova));
		ASSERT_EQ(0, kind_unmap(self->fd, &other));
		sleep_ms(2);
	}
	EXPECT_TRUE(sample_is_live(m.req.iova));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
	EXPECT_NE(0, edu_group_write(edu_name, "dma_sample", "?"));
	ASSERT_EQ(0, edu_group_write(edu_name, "dma_sample", "1"));
	ASSERT_EQ(0, map_sampled(self->fd, &m, &kinds[0], OFFSET, SIZE,
				 DMA_EDU_FROM_DEVICE));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

int main(int argc, char **argv)
{
	struct group_state booted;
	char was[32], canary[32];
	int ret;

	edu_take_device();
	if (file_read(SAMPLE_INTERVAL, was, sizeof(was)) ||
	    file_read(SAMPLE_CANARY, canary, sizeof(canary)))
		ksft_exit_skip("the kernel samples no mappings\n");
	if (access(SAMPLE_MAPPINGS, R_OK))
		ksft_exit_skip("no debugfs\n");
	edu_setup(&booted);
	ret = test_harness_run(argc, argv);
	if (file_write(SAMPLE_INTERVAL, was) ||
	    file_write(SAMPLE_CANARY, canary))
		ret = KSFT_FAIL;
	return edu_finish(&booted, ret);
}
