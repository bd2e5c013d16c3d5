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
#include <stdarg.h>

#include "../kselftest_harness.h"
#include "lib/edu.h"
#include "lib/kmsg.h"
#include "lib/map.h"
#include "lib/util.h"

#define REPORT_WAIT_MS	3000

/* Enough for a report with two stacks */
#define MAX_LINES	96

/* So long a burst of faults is one report, and a second the limit of them. */
#define QUIET_MS	1200

struct report {
	char line[MAX_LINES][KMSG_LINE_MAX];
	int nr;
};

static const char * const dir_names[] = {
	[DMA_EDU_BIDIRECTIONAL] = "DMA_BIDIRECTIONAL",
	[DMA_EDU_TO_DEVICE] = "DMA_TO_DEVICE",
	[DMA_EDU_FROM_DEVICE] = "DMA_FROM_DEVICE",
};

static bool stacks;

/* The lines between two rules, of which the first says what it is. */
static bool read_report(int kmsg, struct report *r)
{
	char line[KMSG_LINE_MAX];
	bool inside = false;

	r->nr = 0;
	while (kmsg_next(kmsg, line, REPORT_WAIT_MS)) {
		if (strstr(line, "====")) {
			if (inside && r->nr)
				return true;
			inside = true;
		} else if (inside && r->nr < MAX_LINES) {
			strcpy(r->line[r->nr++], line);
		}
	}
	return false;
}

/* The index of the first line from @from on that has @text, -1 if none has. */
static int find_line(const struct report *r, int from, const char *text)
{
	int i;

	for (i = from; i < r->nr; i++)
		if (strstr(r->line[i], text))
			return i;
	return -1;
}

static bool has_line(const struct report *r, const char *format, ...)
{
	char text[256];
	va_list args;
	int i;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (find_line(r, 0, text) >= 0)
		return true;
	ksft_print_msg("no line \"%s\" in:\n", text);
	for (i = 0; i < r->nr; i++)
		ksft_print_msg("  %s\n", r->line[i]);
	return false;
}

/* An event, and in its stack the ioctl that has mapped, or unmapped */
static bool has_event(const struct report *r, const char *event, const char *who,
		      const char *other)
{
	char text[64];
	int at, end;

	at = find_line(r, 0, event);
	snprintf(text, sizeof(text), "before the fault%s", who);
	if (at < 0 || !strstr(r->line[at], text))
		return has_line(r, "%s ... %s", event, text);
	if (!stacks)
		return true;
	end = other ? find_line(r, at + 1, other) : -1;
	if (end < 0)
		end = r->nr;
	at = find_line(r, at + 1, "dma_edu_");
	return (at >= 0 && at < end) || has_line(r, "dma_edu_ after %s", event);
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
	sleep_ms(QUIET_MS);
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
	       read_report(self->kmsg, &self->report);
}

static bool tells_part(const struct report *r, const char *class,
		       const struct mapping *m, __u64 start, __u64 size)
{
	char who[64];

	snprintf(who, sizeof(who), " by %.15s/", program_invocation_short_name);
	return has_line(r, "BUG: DMA: %s", class) &&
	       has_line(r, "of %llu bytes at IOVA 0x%016llx", size, start) &&
	       has_line(r, "mapping found in: record of mappings") &&
	       has_line(r, "direction: %s, driver: dma_edu",
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
		sleep_ms(QUIET_MS);
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
	EXPECT_EQ(-1, find_line(&self->report, 0, "unmapped "));
	EXPECT_EQ(0, kind_unmap(self->fd, &m));
}

/* Many mappings later it is still known, at an address that nobody has had since. */
TEST_F(history, beside_a_busy_one)
{
	struct mapping m, busy;
	int i;

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
	char cmdline[4096];
	const char *value;

	edu_take_device();
	if (file_read("/proc/cmdline", cmdline, sizeof(cmdline)))
		ksft_exit_fail_msg("no /proc/cmdline\n");
	value = strstr(cmdline, "iommu.dma_fault_history=");
	if (!value)
		ksft_exit_skip("no iommu.dma_fault_history=\n");
	value = strtok(strdup(value), " ");
	stacks = !strstr(value, ",nostack");

	edu_setup(&booted);
	return edu_finish(&booted, test_harness_run(argc, argv));
}
