// SPDX-License-Identifier: GPL-2.0
/*
 * What is done to an IOMMU group whose device goes on faulting
 *
 * Needs the dma_edu module and QEMU's edu device behind an IOMMU.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 */
#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/map.h"
#include "lib/util.h"

#define POLICY	"dma_fault_policy"
#define BLOCKED	"dma_fault_blocked"

#define WAIT_MS	3000

/* In no mapping */
#define FAR_IOVA	(MB(32ULL) + 16)

FIXTURE(response)
{
	int fd;
};

FIXTURE_SETUP(response)
{
	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, edu_group_write(edu_name, POLICY, "none"));
	ASSERT_EQ(0, edu_group_write(edu_name, BLOCKED, "0"));
}

FIXTURE_TEARDOWN(response)
{
	edu_group_write(edu_name, POLICY, "none");
	edu_group_write(edu_name, BLOCKED, "0");
	close(self->fd);
}

static bool attr_is(const char *attr, const char *want)
{
	char buf[64];

	if (edu_group_read(edu_name, attr, buf, sizeof(buf)))
		return false;
	buf[strcspn(buf, "\n")] = '\0';
	if (!strcmp(buf, want))
		return true;
	ksft_print_msg("%s is \"%s\", not \"%s\"\n", attr, buf, want);
	return false;
}

static bool becomes_blocked(void)
{
	long long end = now_ms() + WAIT_MS;
	char buf[8];

	do {
		if (edu_group_read(edu_name, BLOCKED, buf, sizeof(buf)))
			return false;
		if (*buf == '1')
			return true;
		sleep_ms(10);
	} while (now_ms() < end);
	return false;
}

static int fault_times(int fd, int nr)
{
	int ret = 0;

	while (nr-- && !ret)
		ret = edu_xfer(fd, FAR_IOVA, 0, 8, DMA_EDU_XFER_WRITE);
	return ret;
}

/* Whether what the device writes to a buffer that is mapped is there afterwards */
static bool dma_arrives(int fd, const struct mapping *m, __u8 value)
{
	__u8 data[16], back[16] = { };

	memset(data, value, sizeof(data));
	return !edu_mem(fd, 0, data, sizeof(data), DMA_EDU_WRITE) &&
	       !edu_xfer(fd, m->req.iova, 0, sizeof(data), DMA_EDU_XFER_WRITE) &&
	       !edu_cpu(fd, m->req.handle, 0, back, sizeof(back), 0) &&
	       !memcmp(data, back, sizeof(data));
}

TEST_F(response, policy_values)
{
	static const char * const bad[] = {
		"", "all", "block", "block 3", "block 0 10", "block 3 0",
		"block 3 10 x", "block 1000001 10", "block 3 86401", "none 3",
		"none x", "block -1 10", "blockade 3 10", "reset 3 10",
		"block 4294967299 10", "block 3 4294967297",
	};
	static const char * const good[] = {
		"block 3 10", "block 1000000 86400", "block 1 1", "none",
	};
	size_t i;

	EXPECT_TRUE(attr_is(POLICY, "none"));
	ASSERT_EQ(0, edu_group_write(edu_name, POLICY, "block 5 6"));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		if (*bad[i])
			EXPECT_EQ(-EINVAL, edu_group_write(edu_name, POLICY,
							   bad[i])) {
				TH_LOG("\"%s\"", bad[i]);
			}
		EXPECT_TRUE(attr_is(POLICY, "block 5 6"));
	}
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, edu_group_write(edu_name, POLICY, good[i]));
		EXPECT_TRUE(attr_is(POLICY, good[i]));
	}
}

/* Nothing happens unless it is asked for. */
TEST_F(response, none)
{
	struct mapping m;

	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], KB(4), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
	ASSERT_EQ(0, fault_times(self->fd, 20));
	sleep_ms(300);
	EXPECT_TRUE(attr_is(BLOCKED, "0"));
	EXPECT_TRUE(dma_arrives(self->fd, &m, 0x11));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* From the third fault on, until somebody says so, all DMA is */
TEST_F(response, block)
{
	struct mapping m, other;

	ASSERT_EQ(0, edu_group_write(edu_name, POLICY, "block 3 60"));
	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], KB(4), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
	EXPECT_TRUE(dma_arrives(self->fd, &m, 0x11));
	ASSERT_EQ(0, fault_times(self->fd, 2));
	sleep_ms(300);
	EXPECT_TRUE(attr_is(BLOCKED, "0"));
	EXPECT_TRUE(dma_arrives(self->fd, &m, 0x22));

	ASSERT_EQ(0, fault_times(self->fd, 1));
	ASSERT_TRUE(becomes_blocked());
	EXPECT_FALSE(dma_arrives(self->fd, &m, 0x33));
	/* The driver maps and unmaps as before. */
	EXPECT_EQ(0, kind_map(self->fd, &other, &kinds[0], KB(64), 0,
			      DMA_EDU_TO_DEVICE, XFER_MASK_BITS, 0, 0));
	EXPECT_EQ(0, kind_unmap(self->fd, &other));

	ASSERT_EQ(0, edu_group_write(edu_name, BLOCKED, "0"));
	EXPECT_TRUE(attr_is(BLOCKED, "0"));
	EXPECT_TRUE(dma_arrives(self->fd, &m, 0x44));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
	/* What was blocked did not count. */
	ASSERT_EQ(0, fault_times(self->fd, 2));
	sleep_ms(300);
	EXPECT_TRUE(attr_is(BLOCKED, "0"));
}

/* Faults that come seldom are not so many. */
TEST_F(response, seldom)
{
	ASSERT_EQ(0, edu_group_write(edu_name, POLICY, "block 3 1"));
	ASSERT_EQ(0, fault_times(self->fd, 2));
	sleep_ms(1300);
	ASSERT_EQ(0, fault_times(self->fd, 2));
	sleep_ms(300);
	EXPECT_TRUE(attr_is(BLOCKED, "0"));
	sleep_ms(1300);
	ASSERT_EQ(0, fault_times(self->fd, 3));
	EXPECT_TRUE(becomes_blocked());
}

/* By hand, and over a driver that comes and goes */
TEST_F(response, by_hand)
{
	struct mapping m;

	ASSERT_EQ(0, edu_group_write(edu_name, BLOCKED, "1"));
	ASSERT_EQ(0, edu_group_write(edu_name, BLOCKED, "1"));
	EXPECT_TRUE(attr_is(BLOCKED, "1"));
	close(self->fd);
	ASSERT_EQ(0, edu_unbind(edu_name));
	EXPECT_TRUE(attr_is(BLOCKED, "1"));
	ASSERT_EQ(0, edu_bind(edu_name));
	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	EXPECT_TRUE(attr_is(BLOCKED, "1"));
	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], KB(4), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
	EXPECT_FALSE(dma_arrives(self->fd, &m, 0x11));
	ASSERT_EQ(0, edu_group_write(edu_name, BLOCKED, "0"));
	EXPECT_TRUE(dma_arrives(self->fd, &m, 0x22));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* The device may be pulled, and what comes in its place has a group of its own. */
TEST_F(response, removed_while_blocked)
{
	long long end;
	struct mapping m;
	char path[EDU_PATH_MAX];

	ASSERT_EQ(0, edu_group_write(edu_name, BLOCKED, "1"));
	fd_close(&self->fd);
	snprintf(path, sizeof(path), EDU_PCI_DEVICES "/%s/remove", edu_name);
	ASSERT_EQ(0, file_write(path, "1"));
	ASSERT_EQ(0, file_write("/sys/bus/pci/rescan", "1"));
	end = now_ms() + WAIT_MS;
	while (edu_bind(edu_name) && now_ms() < end)
		sleep_ms(10);
	self->fd = edu_open(edu_name);
	ASSERT_LE(0, self->fd);
	EXPECT_TRUE(attr_is(BLOCKED, "0"));
	EXPECT_TRUE(attr_is(POLICY, "none"));
	ASSERT_EQ(0, kind_map(self->fd, &m, &kinds[0], KB(4), 0,
			      DMA_EDU_FROM_DEVICE, XFER_MASK_BITS, 0, 0));
	EXPECT_TRUE(dma_arrives(self->fd, &m, 0x11));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

int main(int argc, char **argv)
{
	struct group_state booted;
	char path[EDU_PATH_MAX];

	edu_take_device();
	edu_group_attr(edu_name, POLICY, path, sizeof(path));
	if (access(path, F_OK))
		ksft_exit_skip("kernel without IOMMU_DMA_FAULT\n");

	edu_setup(&booted);
	return edu_finish(&booted, test_harness_run(argc, argv));
}
