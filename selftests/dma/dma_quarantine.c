// SPDX-License-Identifier: GPL-2.0
/*
 * A device that uses an address after it was unmapped, with and without a quarantine
 *
 * Needs the dma_edu module and QEMU's edu device behind an IOMMU. Run by
 * dma_quarantine.sh, in strict or lazy mode as the kernel was booted.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/fault.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/report.h"
#include "lib/util.h"

/* KiB unless something else is asked for */
#define DEFAULT_KB	262144UL

#define BUF_SIZE	4096
#define STALE_OFFSET	8
#define STALE_SIZE	16

#define OLD_FILL	0x11
#define NEW_FILL	0x22
#define DEV_FILL	0xa5

static struct group_state booted;
static char booted_limits[64];

/* The IOMMU tells nobody what it stops. */
static bool mute;

static int set_limits(const char *limits)
{
	return edu_group_write(edu_name, "dma_quarantine", limits);
}

static bool limits_are(const char *limits)
{
	char now[64] = "";

	if (!edu_group_read(edu_name, "dma_quarantine", now, sizeof(now)) &&
	    !strcmp(now, limits))
		return true;
	ksft_print_msg("dma_quarantine: %s, not %s\n", now, limits);
	return false;
}

FIXTURE(quarantine)
{
	int fd;
	int kmsg;
	bool lazy;
	struct dma_edu_info info;
	struct report report;
};

FIXTURE_SETUP(quarantine)
{
	__u8 data[STALE_SIZE];

	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, edu_info(self->fd, &self->info));
	self->lazy = self->info.domain == DMA_EDU_DOMAIN_DMA_FQ;
	memset(data, DEV_FILL, sizeof(data));
	ASSERT_EQ(0, edu_mem(self->fd, 0, data, sizeof(data), DMA_EDU_WRITE));
	sleep_ms(REPORT_QUIET_MS);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN(quarantine)
{
	close(self->kmsg);
	close(self->fd);
}

static int map_buf(int fd, struct mapping *m, __u64 size, __u8 fill)
{
	return kind_map(fd, m, &kinds[0], size, 0, DMA_EDU_FROM_DEVICE,
			XFER_MASK_BITS, 0, fill);
}

/* In lazy mode an address is in quarantine when the IOTLB has been flushed. */
static void drain(const struct _test_data_quarantine *self)
{
	if (self->lazy)
		sleep_ms(FQ_DRAIN_MS);
}

/* All bytes of a buffer, mapped or kept, but for what the device may have written */
static bool buf_has(int fd, const struct mapping *m, __u8 stale, __u8 rest)
{
	__u8 data[BUF_SIZE];

	return !edu_cpu(fd, m->req.handle, 0, data, sizeof(data), 0) &&
	       all_bytes(data, STALE_OFFSET, rest) &&
	       all_bytes(data + STALE_OFFSET, STALE_SIZE, stale) &&
	       all_bytes(data + STALE_OFFSET + STALE_SIZE,
			 sizeof(data) - STALE_OFFSET - STALE_SIZE, rest);
}

static int stale_write(int fd, const struct mapping *m)
{
	return edu_xfer(fd, m->req.iova + STALE_OFFSET, 0, STALE_SIZE,
			DMA_EDU_XFER_WRITE);
}

/* A write to what was unmapped, and who has mapped and unmapped it if that is kept */
static bool is_reported(struct _test_data_quarantine *self,
			const struct mapping *m)
{
	const struct report *r = &self->report;

	return report_read(self->kmsg, &self->report) &&
	       report_has(r, "BUG: DMA: use-after-unmap write by dma_edu %s at IOVA 0x",
			  edu_name) &&
	       report_has(r, "former mapping of %llu bytes at IOVA 0x%016llx",
			  m->req.size, m->req.iova) &&
	       (!boot_param("iommu.dma_fault_history", NULL, 0) ||
		report_has_in_order(r, "mapped ", "dma_edu_", "unmapped ",
				    "dma_edu_", NULL));
}

static bool overlap(const struct mapping *a, const struct mapping *b)
{
	return a->req.iova < b->req.iova + b->req.span &&
	       b->req.iova < a->req.iova + a->req.span;
}

/* What was asked for at boot is what the group has. First, before others are chosen. */
TEST(as_booted)
{
	unsigned long entries, kb = DEFAULT_KB;
	char value[64], limits[64] = "0,0", *end;
	struct mapping old, new;
	bool asked;
	int fd;

	asked = boot_param("iommu.dma_quarantine", value, sizeof(value));
	if (asked) {
		entries = strtoul(value, &end, 10);
		if (*end == ',')
			kb = strtoul(end + 1, &end, 10);
		snprintf(limits, sizeof(limits), "%lu,%lu", entries, kb);
	}
	EXPECT_STREQ(limits, booted_limits);

	fd = edu_open(edu_name);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, map_buf(fd, &old, BUF_SIZE, 0));
	ASSERT_EQ(0, kind_unmap(fd, &old));
	sleep_ms(FQ_DRAIN_MS);
	ASSERT_EQ(0, map_buf(fd, &new, BUF_SIZE, 0));
	EXPECT_EQ(!asked, overlap(&old, &new));
	ASSERT_EQ(0, kind_unmap(fd, &new));
	close(fd);
}

/* The commonest use after unmap: the next buffer gets what was meant for the last. */
TEST_F(quarantine, without_it_the_next_buffer_is_hit)
{
	struct mapping old, new;

	ASSERT_EQ(0, set_limits("0"));
	ASSERT_EQ(0, map_buf(self->fd, &old, BUF_SIZE, OLD_FILL));
	ASSERT_EQ(0, edu_unmap(self->fd, old.req.handle, DMA_EDU_UNMAP_KEEP));
	drain(self);
	ASSERT_EQ(0, map_buf(self->fd, &new, BUF_SIZE, NEW_FILL));
	ASSERT_EQ(old.req.iova, new.req.iova);

	ASSERT_EQ(0, stale_write(self->fd, &old));
	EXPECT_TRUE(buf_has(self->fd, &new, DEV_FILL, NEW_FILL));
	EXPECT_TRUE(buf_has(self->fd, &old, OLD_FILL, OLD_FILL));
	EXPECT_FALSE(report_read(self->kmsg, &self->report)) {
		TH_LOG("%s", self->report.line[0]);
	}

	EXPECT_EQ(0, kind_unmap(self->fd, &new));
	EXPECT_EQ(0, kind_unmap(self->fd, &old));
}

TEST_F(quarantine, with_it_the_device_faults)
{
	struct mapping old, new;

	ASSERT_EQ(0, set_limits("64"));
	ASSERT_EQ(0, map_buf(self->fd, &old, BUF_SIZE, OLD_FILL));
	ASSERT_EQ(0, edu_unmap(self->fd, old.req.handle, DMA_EDU_UNMAP_KEEP));
	drain(self);
	ASSERT_EQ(0, map_buf(self->fd, &new, BUF_SIZE, NEW_FILL));
	ASSERT_FALSE(overlap(&old, &new));

	ASSERT_EQ(0, stale_write(self->fd, &old));
	EXPECT_TRUE(buf_has(self->fd, &new, NEW_FILL, NEW_FILL));
	EXPECT_TRUE(buf_has(self->fd, &old, OLD_FILL, OLD_FILL));
	if (!mute)
		EXPECT_TRUE(is_reported(self, &old));

	/* The new one is used as ever. */
	ASSERT_EQ(0, stale_write(self->fd, &new));
	EXPECT_TRUE(buf_has(self->fd, &new, DEV_FILL, NEW_FILL));

	EXPECT_EQ(0, kind_unmap(self->fd, &new));
	EXPECT_EQ(0, kind_unmap(self->fd, &old));
}

/* Of a range as large as this the page table is not read, so the allocator has to know. */
TEST_F(quarantine, a_large_one)
{
	struct mapping old;

	if (mute)
		SKIP(return, "the IOMMU reports no faults");
	ASSERT_EQ(0, set_limits("64"));
	ASSERT_EQ(0, map_buf(self->fd, &old, MB(4), 0));
	ASSERT_EQ(0, kind_unmap(self->fd, &old));
	drain(self);
	ASSERT_EQ(0, stale_write(self->fd, &old));
	EXPECT_TRUE(is_reported(self, &old));
}

/* However it was mapped: the last moment at which it is not handed out, and the next. */
TEST_F_TIMEOUT(quarantine, so_many_others, 120)
{
	enum { ENTRIES = 16 };
	struct mapping m, other;
	int i, n;

	ASSERT_EQ(0, set_limits("16"));
	for (i = 0; i < NR_KINDS; i++) {
		ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[i],
				      4 * self->info.granule, 0,
				      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
		ASSERT_EQ(0, kind_unmap(self->fd, &m));
		drain(self);
		for (n = 0; n < ENTRIES - 1; n++) {
			ASSERT_EQ(0, kind_map(self->fd, &other, &kinds[i],
					      4 * self->info.granule, 0,
					      DMA_EDU_FROM_DEVICE,
					      XFER_MASK_BITS, 0, 0));
			EXPECT_FALSE(overlap(&m, &other)) {
				TH_LOG("%s: after %d others", kinds[i].name, n);
			}
			ASSERT_EQ(0, kind_unmap(self->fd, &other));
			drain(self);
		}
		ASSERT_EQ(0, stale_write(self->fd, &m));
		if (!mute)
			EXPECT_TRUE(report_read(self->kmsg, &self->report) &&
				    report_has(&self->report,
					       "BUG: DMA: use-after-unmap write")) {
				TH_LOG("%s", kinds[i].name);
			}
		sleep_ms(REPORT_QUIET_MS);

		/* One more, and it leaves for the cache, whose last one is the next. */
		ASSERT_EQ(0, kind_map(self->fd, &other, &kinds[i],
				      4 * self->info.granule, 0,
				      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
		EXPECT_FALSE(overlap(&m, &other));
		ASSERT_EQ(0, kind_unmap(self->fd, &other));
		drain(self);
		ASSERT_EQ(0, kind_map(self->fd, &other, &kinds[i],
				      4 * self->info.granule, 0,
				      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
		EXPECT_EQ(m.req.iova, other.req.iova) {
			TH_LOG("%s", kinds[i].name);
		}
		ASSERT_EQ(0, kind_unmap(self->fd, &other));
		drain(self);
	}
}

/*
 * With room for one, the second pushes out the first: at its unmap in strict mode,
 * and in lazy mode when it is flushed, before which it is in no quarantine.
 */
TEST_F(quarantine, begins_with_the_flush)
{
	struct mapping first, second, m;

	ASSERT_EQ(0, set_limits("1"));
	ASSERT_EQ(0, map_buf(self->fd, &first, BUF_SIZE, 0));
	ASSERT_EQ(0, map_buf(self->fd, &second, BUF_SIZE, 0));
	ASSERT_EQ(0, kind_unmap(self->fd, &first));
	drain(self);
	ASSERT_EQ(0, kind_unmap(self->fd, &second));
	ASSERT_EQ(0, map_buf(self->fd, &m, BUF_SIZE, 0));
	if (self->lazy) {
		EXPECT_NE(first.req.iova, m.req.iova);
		drain(self);
		ASSERT_EQ(0, map_buf(self->fd, &second, BUF_SIZE, 0));
		EXPECT_EQ(first.req.iova, second.req.iova);
		ASSERT_EQ(0, kind_unmap(self->fd, &second));
	} else {
		EXPECT_EQ(first.req.iova, m.req.iova);
	}
	ASSERT_EQ(0, kind_unmap(self->fd, &m));
}

/*
 * 28 bits of addresses are used up long before the quarantine is full: no mapping
 * fails for it.
 */
TEST_F_TIMEOUT(quarantine, never_fails_a_mapping, 120)
{
	static const __u64 sizes[] = { KB(4), KB(64), MB(1), MB(4) };
	struct mapping m;
	int i;

	ASSERT_EQ(0, set_limits("65536,4194304"));
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], sizes[i % 4], 0,
				      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS,
				      DMA_EDU_MAP_NOFILL, 0)) {
			TH_LOG("mapping %d", i);
		}
		ASSERT_EQ(0, kind_unmap(self->fd, &m));
	}
	ASSERT_EQ(0, set_limits("0"));
}

/* What may be written to the file, while a driver is bound */
TEST_F(quarantine, limits)
{
	ASSERT_EQ(0, set_limits("100,200"));
	EXPECT_TRUE(limits_are("100,200"));
	EXPECT_EQ(-EINVAL, set_limits("\n"));
	EXPECT_EQ(-EINVAL, set_limits("x"));
	EXPECT_EQ(-EINVAL, set_limits("-1"));
	EXPECT_EQ(-EINVAL, set_limits("1,"));
	EXPECT_EQ(-EINVAL, set_limits("1,2,3"));
	EXPECT_EQ(-ERANGE, set_limits("65537"));
	EXPECT_EQ(-ERANGE, set_limits("1,4294967296"));
	EXPECT_TRUE(limits_are("100,200"));
	ASSERT_EQ(0, set_limits("7"));
	EXPECT_TRUE(limits_are("7,262144"));
	ASSERT_EQ(0, set_limits("7,0"));
	EXPECT_TRUE(limits_are("0,0"));
}

/* The choice outlasts the domain, which goes with all that is in its quarantine. */
TEST_F(quarantine, another_domain)
{
	struct mapping m, next;
	int i, fd;

	ASSERT_EQ(0, set_limits("48,1024"));
	for (i = 0; i < 60; i++) {
		ASSERT_EQ(0, map_buf(self->fd, &m, BUF_SIZE, 0));
		ASSERT_EQ(0, kind_unmap(self->fd, &m));
	}
	if (!group_set("identity", -1)) {
		EXPECT_TRUE(limits_are("0,0"));
		EXPECT_EQ(-EINVAL, set_limits("1"));
	} else {
		/* A domain that was made lazy is not made strict, but replaced. */
		ASSERT_EQ(0, group_set("DMA-FQ", -1));
		EXPECT_TRUE(limits_are("48,1024"));
		ASSERT_EQ(0, group_set("DMA", -1));
	}
	ASSERT_EQ(0, group_restore(&booted));
	EXPECT_TRUE(limits_are("48,1024"));

	/* In name, and in deed */
	fd = edu_open(edu_name);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, map_buf(fd, &m, BUF_SIZE, 0));
	ASSERT_EQ(0, kind_unmap(fd, &m));
	drain(self);
	ASSERT_EQ(0, map_buf(fd, &next, BUF_SIZE, 0));
	EXPECT_FALSE(overlap(&m, &next));
	ASSERT_EQ(0, kind_unmap(fd, &next));
	close(fd);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;
	int kmsg, fd;

	/* Each CPU has caches of its own, and what is freed last is had first. */
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		ksft_exit_fail_msg("no CPU to stay on\n");

	edu_setup(&booted);
	if (edu_group_read(edu_name, "dma_quarantine", booted_limits,
			   sizeof(booted_limits)))
		ksft_exit_skip("kernel without a DMA quarantine\n");

	fd = edu_open(edu_name);
	kmsg = kmsg_open();
	if (fd < 0 || kmsg < 0)
		ksft_exit_fail_msg("no device, or no log\n");
	mute = edu_iommu_is_mute(fd, kmsg);
	close(kmsg);
	close(fd);

	return edu_finish(&booted, test_harness_run(argc, argv));
}
