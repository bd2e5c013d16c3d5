// SPDX-License-Identifier: GPL-2.0
/*
 * Canaries in bounce pages: what is reported of a device that writes beside its buffers
 *
 * Needs the dma_edu module, QEMU's edu device behind an IOMMU, and a kernel that was
 * booted with iommu.dma_canary=1 and guard pages, which keep what goes too far from
 * other mappings.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_CANARY_CASES: random cases, 200 if not set
 * DMA_CANARY_SEED: start of their random numbers
 */

#include "dma_canary_util.h"
#include "lib/report.h"

#define TAINTED		"/proc/sys/kernel/tainted"
#define TAINT_BAD_PAGE	32

/* How far the device goes too far */
static const __u64 lengths[] = { 1, 6, 5000 };

#define DEF_CASES	200

/* The next report of a canary, false if there is none */
static bool next_report(int kmsg, struct canary_report *r)
{
	char line[KMSG_LINE_MAX];

	while (kmsg_next(kmsg, line, 0))
		if (canary_report_parse(line, r))
			return true;
	return false;
}

FIXTURE(canary)
{
	struct bounce_state st;
	bool guarded;
};

FIXTURE_SETUP(canary)
{
	const char *skip;

	ASSERT_EQ(0, state_init(&self->st, true, "DMA", &skip));
	if (skip)
		SKIP(return, "%s", skip);
	self->guarded = edu_guard_kb(edu_name) * 1024 > MAX_BESIDE;
	ASSERT_EQ(0, device_set(&self->st, DEVICE));
}

FIXTURE_TEARDOWN(canary)
{
	state_exit(&self->st);
}

/* All of its buffers, and nothing else: nobody is blamed. */
TEST_F_TIMEOUT(canary, honest_device, 600)
{
	struct bounce_state *st = &self->st;
	const __u32 offsets[] = { 0, 1, 512, 2049, getpagesize() - 1 };
	const __u64 sizes[] = { 1, 100, st->granule, 2 * st->granule + 7 };
	struct canary_report r;
	struct buffer b;
	unsigned int i;
	__u32 dir;

	for (i = 0; i < 5 * 4 * DMA_EDU_NR_DIRS; i++) {
		const char *kind = kind_names[i % NR_BOUNCE_KINDS];

		dir = i / 20;
		ASSERT_EQ(0, buffer_map(st, &b, kind_named(kind), offsets[i % 5],
					sizes[i / 5 % 4], dir, 0, FILL));
		if (dir != DMA_EDU_TO_DEVICE)
			ASSERT_EQ(0, device_write(st, b.segs[0].at, b.segs[0].len <
						  b.size ? b.segs[0].len : b.size));
		if (i % 2 && b.m.req.path != DMA_EDU_IOVA)
			ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 0, b.size,
					      DMA_EDU_SYNC_CPU));
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_FALSE(next_report(st->kmsg, &r));
	EXPECT_TRUE(log_is_clean(st));
}

/* Each kind of mapping, both ends, 1, 6 and 5,000 bytes: told once, by how much */
TEST_F_TIMEOUT(canary, beside_a_buffer, 1200)
{
	struct bounce_state *st = &self->st;
	const __u64 sizes[] = { 100, 2 * st->granule + 100 };
	unsigned int i, kind, len, side;
	struct pad pads[2], *pad;
	struct canary_report r;
	struct buffer b;
	__u64 want;

	for (i = 0; i < NR_BOUNCE_KINDS * 2 * 2 * ARRAY_SIZE(lengths); i++) {
		kind = i % NR_BOUNCE_KINDS;
		side = i / NR_BOUNCE_KINDS % 2;
		len = i / NR_BOUNCE_KINDS / 2 % ARRAY_SIZE(lengths);
		if (lengths[len] > 6 && !self->guarded)
			continue;
		ASSERT_EQ(0, buffer_map(st, &b, kind_named(kind_names[kind]), 300,
					sizes[i / NR_BOUNCE_KINDS / 2 / 3],
					i % 2 ? DMA_EDU_FROM_DEVICE :
						DMA_EDU_BIDIRECTIONAL, 0, FILL));
		ASSERT_EQ(2, find_pads(&b, 0, st->granule, pads));
		pad = &pads[side];
		make_room(1);
		ASSERT_EQ(0, device_write(st, pad->before ?
					  pad->iova + pad->len - lengths[len] :
					  pad->iova, lengths[len]));
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		EXPECT_TRUE(beside_is_right(st->fd, &b));
		ASSERT_TRUE(next_report(st->kmsg, &r)) {
			TH_LOG("%s, %llu bytes, side %u", kind_names[kind],
			       lengths[len], side);
		}
		want = min_u64(lengths[len], pad->len);
		EXPECT_EQ(want, r.distance);
		EXPECT_EQ(pad->before, r.before);
		if (!is_list(&b)) {
			EXPECT_EQ(b.size, r.mapped);
			EXPECT_EQ(b.segs[0].at, r.addr);
		}
		EXPECT_FALSE(next_report(st->kmsg, &r));
		ASSERT_TRUE(__test_passed(_metadata)) {
			TH_LOG("%s, %llu bytes, side %u", kind_names[kind],
			       lengths[len], side);
		}
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	EXPECT_EQ(st->used, slots_used());
}

/* The driver looks at the buffer, and is told then; at the unmap nothing is new. */
TEST_F(canary, told_at_sync)
{
	struct bounce_state *st = &self->st;
	struct canary_report r;
	struct buffer b;

	if (!(st->info.flags & DMA_EDU_INFO_COHERENT))
		SKIP(return, "a device that is not coherent is checked at the unmap");
	make_room(2);
	ASSERT_EQ(0, buffer_map(st, &b, kind_named("single"), 300, 100,
				DMA_EDU_FROM_DEVICE, 0, FILL));
	ASSERT_EQ(0, device_write(st, b.segs[0].at, 106));
	ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 50, 1, DMA_EDU_SYNC_CPU));
	ASSERT_TRUE(next_report(st->kmsg, &r));
	EXPECT_EQ(6, r.distance);
	EXPECT_FALSE(r.before);
	EXPECT_EQ(100, r.mapped);
	EXPECT_EQ(b.segs[0].at, r.addr);
	ASSERT_EQ(0, buffer_unmap(st, &b, 0));
	EXPECT_FALSE(next_report(st->kmsg, &r));
	ASSERT_EQ(0, buffer_release(st, &b));
}

/* What the CPU is not to see is looked at all the same. */
TEST_F(canary, without_a_sync)
{
	struct bounce_state *st = &self->st;
	struct canary_report r;
	struct buffer b;

	make_room(1);
	ASSERT_EQ(0, buffer_map(st, &b, kind_named("single"), 300, 100,
				DMA_EDU_FROM_DEVICE, DMA_EDU_MAP_SKIP_SYNC, FILL));
	ASSERT_EQ(0, device_write(st, b.segs[0].at - 1, 1));
	ASSERT_EQ(0, buffer_unmap(st, &b, DMA_EDU_UNMAP_SKIP_SYNC));
	ASSERT_TRUE(next_report(st->kmsg, &r));
	EXPECT_EQ(1, r.distance);
	EXPECT_TRUE(r.before);
	ASSERT_EQ(0, buffer_release(st, &b));
}

/* Who has mapped the buffer, if that is recorded, who has unmapped it, and the bytes */
TEST_F_TIMEOUT(canary, who_and_what, 120)
{
	struct bounce_state *st = &self->st;
	bool history = boot_param("iommu.dma_fault_history", NULL, 0);
	static struct report report;
	const char *mapped;
	struct pad pads[2];
	struct canary_report r;
	struct buffer b;
	int i;

	for (i = 0; i < NR_BOUNCE_KINDS; i++) {
		make_room(1);
		ASSERT_EQ(0, buffer_map(st, &b, kind_named(kind_names[i]), 300,
					100, DMA_EDU_FROM_DEVICE, 0, FILL));
		ASSERT_EQ(2, find_pads(&b, 0, st->granule, pads));
		ASSERT_EQ(0, device_write(st, pads[1].iova + 2, 3));
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		ASSERT_EQ(0, buffer_release(st, &b));
		ASSERT_TRUE(report_read(st->kmsg, &report));
		ASSERT_TRUE(canary_report_parse(report.line[0], &r));
		EXPECT_EQ(5, r.distance);
		EXPECT_STREQ("changed: 3 bytes, from 3 to 5 after it",
			     report_line(&report, "changed: "));
		EXPECT_STREQ("found there: d7 d7 d7",
			     report_line(&report, "found there: "));
		EXPECT_STRNE("", report_line(&report, "found by dma_canary/"));
		mapped = report_line(&report, "mapped ");
		EXPECT_EQ(history, !!strstr(mapped,
					    " before the report by dma_canary/")) {
			TH_LOG("%s: %s", kind_names[i], mapped);
		}
	}
}

/* The log has a few, and then how many more there were. */
TEST_F_TIMEOUT(canary, limited, 120)
{
	struct bounce_state *st = &self->st;
	struct canary_report r;
	struct buffer b;
	int i, nr = 0;

	make_room(BURST);
	for (i = 0; i < 3 * BURST; i++) {
		ASSERT_EQ(0, buffer_map(st, &b, kind_named("single"), 300, 100,
					DMA_EDU_FROM_DEVICE, 0, FILL));
		ASSERT_EQ(0, device_write(st, b.segs[0].at + 100, 1));
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		ASSERT_EQ(0, buffer_release(st, &b));
		nr += next_report(st->kmsg, &r);
	}
	EXPECT_EQ(BURST, nr);
}

/* A device that is not trusted writes at will: that says nothing of the kernel. */
TEST_F(canary, taint)
{
	struct bounce_state *st = &self->st;
	long tainted = file_long(TAINTED);
	struct canary_report r;
	struct buffer b;

	if (tainted & TAINT_BAD_PAGE) {
		/* By a test before this one */
		EXPECT_FALSE(edu_untrusted());
		return;
	}
	make_room(1);
	ASSERT_EQ(0, buffer_map(st, &b, kind_named("single"), 300, 100,
				DMA_EDU_FROM_DEVICE, 0, FILL));
	ASSERT_EQ(0, device_write(st, b.segs[0].at + 100, 1));
	ASSERT_EQ(0, buffer_unmap(st, &b, 0));
	ASSERT_EQ(0, buffer_release(st, &b));
	EXPECT_TRUE(next_report(st->kmsg, &r));
	EXPECT_EQ(edu_untrusted() ? 0 : TAINT_BAD_PAGE,
		  file_long(TAINTED) & TAINT_BAD_PAGE);
}

/* ------------------------------------------------------------ against a model */

/*
 * A device that is right, or writes once or twice up to 5,000 bytes beside any entry of
 * any kind of buffer: what it can be seen doing is reported, and nothing else.
 */
TEST_F_TIMEOUT(canary, model, 36000)
{
	unsigned long i, nr_cases = env_ulong("DMA_CANARY_CASES", DEF_CASES);
	unsigned long found = 0, missed = 0, wrong = 0, unseen = 0;
	struct bounce_state *st = &self->st;
	struct hit hits[2 * MAX_ENTRIES];
	int j, nr, writes, entry, before;
	struct pad pads[2];
	struct canary_report r;
	struct buffer b;
	__u32 dir;

	if (!self->guarded)
		SKIP(return, "what is past the page may be mapped");
	rand_state = env_ulong("DMA_CANARY_SEED", 0) ?: DEF_SEED;
	for (i = 0; i < nr_cases; i++) {
		dir = rand_below(DMA_EDU_NR_DIRS);
		ASSERT_EQ(0, random_map(st, &b, dir));
		nr = 0;
		for (entry = 0; entry < (int)b.nr_entries; entry++) {
			int n = find_pads(&b, entry, st->granule, pads);

			for (j = 0; j < n; j++)
				hits[nr++] = (struct hit){ pads[j], 0 };
		}

		for (writes = rand_below(3); writes; writes--) {
			const struct part *e;
			__u64 iova, place, len;

			/* One more hits no more pads than the kernel reports. */
			if (nr_hits(hits, nr) > 1)
				break;
			entry = rand_below(b.nr_entries);
			before = rand_below(2);
			e = &b.entries[entry];
			len = 1 + rand_below(rand_below(2) ? 8 : MAX_BESIDE);
			buffer_piece(&b, before ? e->pos : e->pos + e->len - 1,
				     1, &iova, &place);
			iova = before ? iova - len : iova + 1;
			ASSERT_EQ(0, device_write(st, iova, len));
			if (dir != DMA_EDU_TO_DEVICE)
				hit_range(hits, nr, iova, len);
		}
		writes = nr_hits(hits, nr);
		unseen += !writes;
		if (writes)
			make_room(writes);
		if (rand_below(2) && b.m.req.path != DMA_EDU_IOVA)
			ASSERT_EQ(0, edu_sync(st->fd, b.m.req.handle, 0, b.size,
					      DMA_EDU_SYNC_CPU));
		ASSERT_EQ(0, buffer_unmap(st, &b, 0));
		while (next_report(st->kmsg, &r)) {
			if (take_hit(hits, nr, &r)) {
				found++;
				continue;
			}
			wrong++;
			ksft_print_msg("case %lu: not expected: %llu bytes %s %#llx\n",
				       i, r.distance, r.before ? "before" : "after",
				       r.addr);
		}
		for (j = 0; j < nr; j++) {
			if (!hits[j].distance)
				continue;
			missed++;
			ksft_print_msg("case %lu: missed: %llu bytes %s %#llx\n", i,
				       hits[j].distance, hits[j].pad.before ?
				       "before" : "after", hits[j].pad.iova);
		}
		EXPECT_TRUE(dir == DMA_EDU_TO_DEVICE ||
			    beside_is_right(st->fd, &b));
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	ksft_print_msg("%lu cases: %lu writes found, %lu missed, %lu blamed wrongly\n",
		       nr_cases, found, missed, wrong);
	ksft_print_msg("%lu cases with nothing to be seen\n", unseen);
	EXPECT_EQ(0, missed);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(nr_cases / 4, found);
}

int main(int argc, char **argv)
{
	return bounce_main(argc, argv);
}
