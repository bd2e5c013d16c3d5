// SPDX-License-Identifier: GPL-2.0
/*
 * Errors of devices and drivers that were reported in public, done by QEMU's edu device
 *
 * Each test does what the device of a public report did, and compares what a developer
 * would have read in the log, and whose memory was hit: nobody's. The reports:
 *
 * - CVE-2023-45871: igb was given receive buffers that are too small for the frames
 *   that it was told to accept
 * - https://github.com/Avnu/OpenAvnu/pull/835: the buffers of an interface that goes
 *   down are freed while its device goes on
 * - https://github.com/luigirizzo/netmap/issues/199: e1000 writes to the buffers of a
 *   ring that were unmapped
 * - https://github.com/Avnu/igb_avb/pull/11: a buffer that the device reads is mapped
 *   for it to write
 * - https://mjg59.dreamwidth.org/11235.html: a wireless card that the firmware has left running
 *   writes to memory of the kernel that boots
 *
 * Needs the dma_edu module, QEMU's edu device behind an IOMMU that tells of faults, and
 * a kernel that was booted as the script says.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 */
#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/report.h"
#include "lib/util.h"

#define FRAME		2048
#define RING		8

#define OLD		0x5a	/* in buffers that are mapped */
#define NEW		0x11	/* in what the device writes */

FIXTURE(field)
{
	int fd;
	int kmsg;
	struct report report;
};

FIXTURE_SETUP(field)
{
	__u8 data[DMA_EDU_MEM_SIZE];

	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	memset(data, NEW, sizeof(data));
	ASSERT_EQ(0, edu_mem(self->fd, 0, data, sizeof(data),
			     DMA_EDU_WRITE));
	sleep_ms(REPORT_QUIET_MS);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(field)
{
	close(self->kmsg);
	close(self->fd);
}

static int map(int fd, struct mapping *m, __u64 size, __u32 dir)
{
	return kind_map(fd, m, &kinds[0], size, 0, dir, XFER_MASK_BITS, 0, OLD);
}

static int device_writes(int fd, __u64 iova, __u32 len)
{
	return edu_xfer(fd, iova, 0, len, DMA_EDU_XFER_WRITE);
}

/* After it was unmapped with DMA_EDU_UNMAP_KEEP. */
static bool buffer_is(int fd, const struct mapping *m, size_t len, __u8 byte)
{
	__u8 data[FRAME];

	return !edu_cpu(fd, m->req.handle, 0, data, len, 0) &&
	       all_bytes(data, len, byte);
}

static int ring_map(int fd, struct mapping *ring)
{
	int i, ret = 0;

	for (i = 0; i < RING && !ret; i++)
		ret = map(fd, &ring[i], FRAME, DMA_EDU_FROM_DEVICE);
	return ret;
}

/* What was in the buffers is there when they are unmapped. */
static bool ring_is_spared(int fd, const struct mapping *ring)
{
	bool spared = true;
	int i;

	for (i = 0; i < RING; i++) {
		spared &= !edu_unmap(fd, ring[i].req.handle,
				     DMA_EDU_UNMAP_KEEP) &&
			  buffer_is(fd, &ring[i], FRAME, OLD);
		spared &= !kind_unmap(fd, &ring[i]);
	}
	return spared;
}

TEST_F(field, frame_that_is_longer_than_its_buffer)
{
	struct mapping m;

	ASSERT_EQ(0, map(self->fd, &m, FRAME, DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, device_writes(self->fd, m.req.iova, FRAME + 952));
	ASSERT_EQ(0, edu_unmap(self->fd, m.req.handle, DMA_EDU_UNMAP_KEEP));
	EXPECT_TRUE(buffer_is(self->fd, &m, FRAME, NEW));
	ASSERT_TRUE(report_read(self->kmsg, &self->report));
	EXPECT_TRUE(report_has(&self->report,
			       "BUG: DMA: out-of-bounds write by dma_edu %s: 952 bytes after the 2048-byte buffer mapped at IOVA 0x%016llx",
			       edu_name, m.req.iova));
	EXPECT_TRUE(report_has(&self->report, "found there: 11 11 11 11"));
	EXPECT_TRUE(report_has(&self->report, "dma_edu_"));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

TEST_F(field, device_that_goes_on_after_its_buffers_were_freed)
{
	struct mapping old, next[RING];

	ASSERT_EQ(0, map(self->fd, &old, FRAME, DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, kind_unmap(self->fd, &old));
	ASSERT_EQ(0, ring_map(self->fd, next));
	ASSERT_EQ(0, device_writes(self->fd, old.req.iova, FRAME));
	ASSERT_TRUE(report_read(self->kmsg, &self->report));
	EXPECT_TRUE(report_has(&self->report,
			       "BUG: DMA: use-after-unmap write by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&self->report, "of %d bytes at IOVA 0x%016llx",
			       FRAME, old.req.iova));
	EXPECT_TRUE(ring_is_spared(self->fd, next));
}

TEST_F(field, ring_whose_buffers_were_unmapped)
{
	struct mapping ring[RING], next[RING];
	int i;

	ASSERT_EQ(0, ring_map(self->fd, ring));
	ASSERT_EQ(0, unmap_all(self->fd, ring, RING));
	ASSERT_EQ(0, ring_map(self->fd, next));
	for (i = 0; i < RING; i++)
		ASSERT_EQ(0, device_writes(self->fd, ring[i].req.iova, 64));
	ASSERT_TRUE(report_read(self->kmsg, &self->report));
	EXPECT_TRUE(report_has(&self->report,
			       "BUG: DMA: use-after-unmap write by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&self->report, "of %d bytes at IOVA 0x%016llx",
			       FRAME, ring[0].req.iova));
	EXPECT_TRUE(ring_is_spared(self->fd, next));
}

TEST_F(field, buffer_that_is_mapped_for_the_wrong_direction)
{
	struct mapping m;

	ASSERT_EQ(0, map(self->fd, &m, getpagesize(), DMA_EDU_FROM_DEVICE));
	ASSERT_EQ(0, edu_xfer(self->fd, m.req.iova, 0, 64, 0));
	ASSERT_TRUE(report_read(self->kmsg, &self->report));
	EXPECT_TRUE(report_has(&self->report,
			       "BUG: DMA: wrong-direction read by dma_edu %s",
			       edu_name));
	EXPECT_TRUE(report_has(&self->report, "of %d bytes at IOVA 0x%016llx",
			       getpagesize(), m.req.iova));
	EXPECT_TRUE(report_has(&self->report,
			       "direction: DMA_FROM_DEVICE, driver: dma_edu"));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* At an address that no driver has ever had, and when reports are printed again */
TEST_F(field, device_that_the_firmware_has_left_running)
{
	sleep_ms(RATELIMIT_MS);
	ASSERT_EQ(0, device_writes(self->fd, 0x7654000, 64));
	ASSERT_TRUE(report_read(self->kmsg, &self->report));
	EXPECT_TRUE(report_has(&self->report,
			       "write by dma_edu %s at IOVA 0x0000000007654000",
			       edu_name));
	EXPECT_EQ(-1, report_find(&self->report, 0, " before the fault"));
	EXPECT_EQ(-1, report_find(&self->report, 0, "use-after-unmap"));
}

int main(int argc, char **argv)
{
	struct group_state booted;

	edu_take_device();
	edu_setup(&booted);
	return edu_finish(&booted, test_harness_run(argc, argv));
}
