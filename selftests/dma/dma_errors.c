// SPDX-License-Identifier: GPL-2.0
/*
 * Errors of a device at random, and a model of what of them can be seen
 *
 * A device runs past a buffer of any kind or begins before it, by 1 to 5,000 bytes, uses
 * one 0 to 1,000 mappings after it was unmapped, or goes against its direction; or it
 * makes no error. The model knows which pages the IOMMU lets the device have, and which
 * bytes there are canaries: a read in a page that the device may read cannot be seen.
 * All else is to be reported once, as what it is and of the mapping that it was, and
 * nothing else is. Nobody's memory is hit.
 *
 * With all protections on this holds for each error, and with sampling alone for those
 * that are made with a mapping that is sampled: how many these are, and after how many
 * times a bug is found, follows from the interval.
 *
 * Needs the dma_edu module, QEMU's edu device behind an IOMMU that tells of faults, and
 * a kernel that was booted as the script says.
 *
 * Environment:
 * DMA_EDU_DEV: PCI name of the device; the script sets it to the first one
 * DMA_ERRORS_CASES: how many, 200 if not set
 * DMA_ERRORS_SEED: start of their random numbers
 */
#include "dma_canary_util.h"
#include "lib/report.h"
#include "lib/sample.h"

#define DEF_CASES	200

/* How long what is unmapped is used after that, in mappings that others make */
#define MAX_LATER	1000

/* Milliseconds from a mapping to the next one, when some of them are sampled */
#define GAP_MS		10

/* How many are made without waiting, of those that are made before a late access */
#define LATER_AT_ONCE	50

/* How many mappings without an error there are for one with, about */
#define HONEST		8

enum error {
	NO_ERROR, OVERRUN, UNDERRUN, STALE, AGAINST_DIRECTION, NR_ERRORS
};

static const char * const error_names[NR_ERRORS] = {
	"no error", "overrun", "underrun", "stale", "against the direction",
};

/* Classes of faults, as reports name them */
enum class { OUT_OF_BOUNDS, USE_AFTER_UNMAP, WRONG_DIRECTION, UNMAPPED, NR_CLASSES };

static const char * const class_names[NR_CLASSES] = {
	"out-of-bounds", "use-after-unmap", "wrong-direction", "unmapped",
};

/* What the device does, and what there is to be told of it */
struct access {
	__u64 iova;
	__u64 len;
	bool write;
	unsigned int faults;		/* bits of classes: each would be right */
	struct hit hits[2 * MAX_ENTRIES];
	int nr_hits;
	/* The addresses that are allocated to the mapping which is to be blamed */
	__u64 first;
	__u64 end;
};

/* How a case was judged, or how many were */
struct verdict {
	unsigned long visible;
	unsigned long found;
	unsigned long missed;
	unsigned long wrong;
	unsigned long by_sampling;
};

/* The IOMMU can let a device write what it must not read. */
static bool refuses_reads;

static struct report report;

/* ---------------------------------------------------------------- the model */

static __u64 device_addr(const struct buffer *b, __u64 pos)
{
	__u64 iova, place;

	buffer_piece(b, pos, 1, &iova, &place);
	return iova;
}

/* Does the device have the page? */
static bool has_page(const struct buffer *b, __u64 granule, __u64 page)
{
	unsigned int i;

	for (i = 0; i < b->nr_entries; i++) {
		const struct part *e = &b->entries[i];

		if (page >= device_addr(b, e->pos) / granule * granule &&
		    page <= device_addr(b, e->pos + e->len - 1))
			return true;
	}
	return false;
}

/* Are all of these bytes of one entry? */
static bool has_bytes(const struct buffer *b, __u64 from, __u64 to)
{
	unsigned int i;

	for (i = 0; i < b->nr_entries; i++) {
		const struct part *e = &b->entries[i];

		if (from >= device_addr(b, e->pos) &&
		    to <= device_addr(b, e->pos + e->len - 1) + 1)
			return true;
	}
	return false;
}

/* A range that is allocated may be longer than what is linked, or a power of two. */
static __u64 allocated(const struct buffer *b, __u64 granule)
{
	__u64 first = device_addr(b, 0) / granule * granule;
	__u64 end = device_addr(b, b->size - 1) + 1, size = granule;

	if (b->m.req.path == DMA_EDU_IOVA)
		end = b->m.req.iova + b->m.req.size;
	while (size < end - first)
		size *= 2;
	return size;
}

/* What there is to be told of an access, by the page */
static void expect(struct access *a, const struct buffer *b, __u64 granule,
		   bool live)
{
	__u32 dir = b->m.req.dir;
	bool allowed = a->write ? dir != DMA_EDU_TO_DEVICE :
				  dir != DMA_EDU_FROM_DEVICE || !refuses_reads;
	__u64 end = a->iova + a->len, page, from, to;
	struct pad pads[2];
	unsigned int entry;
	int i, nr;

	a->faults = 0;
	a->nr_hits = 0;
	a->first = device_addr(b, 0) / granule * granule;
	a->end = a->first + allocated(b, granule);
	for (entry = 0; entry < b->nr_entries; entry++) {
		nr = find_pads(b, entry, granule, pads);
		for (i = 0; i < nr; i++)
			a->hits[a->nr_hits++] = (struct hit){ pads[i], 0 };
	}

	for (page = a->iova / granule * granule; page < end; page += granule) {
		from = page > a->iova ? page : a->iova;
		to = min_u64(end, page + granule);
		if (!live)
			a->faults |= 1 << USE_AFTER_UNMAP;
		else if (!has_page(b, granule, page))
			/* Below it nobody may have the address. */
			a->faults |= 1 << OUT_OF_BOUNDS |
				     (page < a->first) << UNMAPPED;
		else if (!allowed)
			/* Beside the buffer it is both, where bytes are told. */
			a->faults |= 1 << WRONG_DIRECTION |
				     !has_bytes(b, from, to) << OUT_OF_BOUNDS;
		else if (a->write)
			hit_range(a->hits, a->nr_hits, from, to - from);
	}
}

static bool is_visible(const struct access *a)
{
	return a->faults || nr_hits(a->hits, a->nr_hits);
}

/* An error of a kind at a random place of a buffer */
static void choose(struct access *a, const struct buffer *b, enum error error)
{
	const struct part *e = &b->entries[rand_below(b->nr_entries)];
	__u32 dir = b->m.req.dir;
	__u64 at;

	a->write = rand_below(2);
	a->len = 1 + rand_below(rand_below(2) ? 8 : MAX_BESIDE);
	if (error == OVERRUN) {
		a->iova = device_addr(b, e->pos + e->len - 1) + 1;
		return;
	}
	if (error == UNDERRUN) {
		a->iova = device_addr(b, e->pos) - a->len;
		return;
	}
	if (error == AGAINST_DIRECTION)
		a->write = dir == DMA_EDU_TO_DEVICE;
	else if (error == NO_ERROR && dir != DMA_EDU_BIDIRECTIONAL)
		a->write = dir == DMA_EDU_FROM_DEVICE;
	at = e->pos + rand_below(e->len);
	a->iova = device_addr(b, at);
	a->len = min_u64(a->len, e->pos + e->len - at);
}

static int device_does(struct bounce_state *st, const struct access *a)
{
	__u64 n, done;
	int ret = 0;

	for (done = 0; done < a->len && !ret; done += n) {
		n = min_u64(a->len - done, DMA_EDU_MEM_SIZE);
		ret = edu_xfer(st->fd, a->iova + done, 0, n,
			       a->write ? DMA_EDU_XFER_WRITE : 0);
	}
	/* It may have read canaries: written to others, some would be right there. */
	if (!ret && !a->write)
		ret = device_set(st, DEVICE);
	return ret;
}

/* ------------------------------------------------------------------- reports */

/* Whether the report names a mapping of these pages, first or as a neighbour */
static bool names_mapping(const struct report *r, __u64 first, __u64 end)
{
	unsigned long long size, start;
	const char *at;
	int i;

	for (i = 0; i < r->nr; i++) {
		at = strstr(r->line[i], "mapping of ");
		if (at && sscanf(at, "mapping of %llu bytes at IOVA 0x%llx",
				 &size, &start) == 2 &&
		    start >= first && start + size <= end)
			return true;
	}
	return false;
}

/* The line that says what it is: one of an IOMMU's driver may be before it. */
static const char *title(const struct report *r)
{
	return report_line(r, "BUG: DMA: ");
}

/* Whether a report of a fault is one that the access is to have */
static bool fault_is_right(const struct report *r, const struct access *a,
			   __u64 granule)
{
	char class[32], rw[8], name[64];
	unsigned long long addr;
	int i;

	if (sscanf(title(r), "BUG: DMA: %31s %7s by dma_edu %63s at IOVA 0x%llx",
		   class, rw, name, &addr) != 4 || strcmp(name, edu_name) ||
	    strcmp(rw, a->write ? "write" : "read") ||
	    addr < a->iova / granule * granule || addr >= a->iova + a->len)
		return false;
	for (i = 0; i < NR_CLASSES; i++)
		if (a->faults & 1 << i && !strcmp(class, class_names[i]))
			return names_mapping(r, a->first, a->end);
	return false;
}

static void print_report(const char *what, unsigned long nr,
			 const struct report *r)
{
	int i;

	ksft_print_msg("case %lu: %s:\n", nr, what);
	for (i = 0; i < r->nr && i < 8; i++)
		ksft_print_msg("  %s\n", r->line[i]);
}

/*
 * Read all reports since the last time, until there are no more of a burst. @sampled:
 * look only at those that come of sampling.
 */
static struct verdict judge(struct bounce_state *st, unsigned long nr,
			    struct access *a, bool sampled)
{
	struct verdict v = { .visible = is_visible(a) };
	bool faulted = false, missed;
	struct canary_report canary;
	int i;

	while (report_read(st->kmsg, &report)) {
		bool of_sample = report_find(&report, 0, "sampled mappings") > 0;

		if (canary_report_parse(title(&report), &canary)) {
			v.by_sampling++;
			if (take_hit(a->hits, a->nr_hits, &canary) &&
			    canary.addr >= a->first && canary.addr < a->end)
				continue;
		} else if (sampled && !of_sample) {
			continue;
		} else {
			v.by_sampling += of_sample;
			if (fault_is_right(&report, a, st->granule)) {
				faulted = true;
				continue;
			}
		}
		v.wrong++;
		print_report("not expected", nr, &report);
	}
	missed = a->faults && !faulted;
	for (i = 0; i < a->nr_hits; i++)
		missed |= !!a->hits[i].distance;
	v.found = v.visible && !missed;
	v.missed = missed;
	return v;
}

static void print_missed(unsigned long nr, enum error error,
			 const struct buffer *b, const struct access *a)
{
	ksft_print_msg("case %lu: %s of %s, direction %u, %s of %llu bytes at %#llx\n",
		       nr, error_names[error], b->m.kind->name, b->m.req.dir,
		       a->write ? "write" : "read", a->len, a->iova);
	ksft_print_msg("case %lu: pages %#llx to %#llx, faults %#x, %d canaries\n",
		       nr, a->first, a->end, a->faults,
		       nr_hits(a->hits, a->nr_hits));
}

/* A mapping of somebody else, who makes no error */
static int map_other(struct bounce_state *st, struct mapping *m)
{
	__u32 size = 1 + rand_below(2 * getpagesize());

	return kind_map(st->fd, m, kind_named(kind_names[rand_below(4)]), size,
			0, 1 + rand_below(2), MASK_BITS, DMA_EDU_MAP_NOFILL, 0);
}

static int map_others(struct bounce_state *st, unsigned int nr, int gap_ms)
{
	struct mapping m;
	int ret = 0;

	while (nr-- && !ret) {
		if (gap_ms)
			sleep_ms(gap_ms);
		ret = map_other(st, &m) ?: kind_unmap(st->fd, &m);
	}
	return ret;
}

/* How many others there are before an access that is late */
static unsigned int random_later(void)
{
	return rand_below(rand_below(2) ? 20 : MAX_LATER + 1);
}

FIXTURE(errors)
{
	struct bounce_state st;
	unsigned long nr_cases;
};

FIXTURE_SETUP(errors)
{
	const char *skip;
	char canary[8];
	bool bounces;

	bounces = boot_param("iommu.dma_canary", canary, sizeof(canary)) &&
		  *canary == '1';
	ASSERT_EQ(0, state_init(&self->st, bounces, "DMA", &skip));
	if (skip)
		SKIP(return, "%s", skip);
	ASSERT_EQ(0, device_set(&self->st, DEVICE));
	rand_state = env_ulong("DMA_ERRORS_SEED", 0) ?: DEF_SEED;
	self->nr_cases = env_ulong("DMA_ERRORS_CASES", DEF_CASES);
}

FIXTURE_TEARDOWN(errors)
{
	state_exit(&self->st);
}

/* Each error that a device can be seen making is reported, and nothing else is. */
TEST_F_TIMEOUT(errors, everything_on, 100000)
{
	struct verdict sum[NR_ERRORS] = { }, all = { };
	struct bounce_state *st = &self->st;
	struct buffer b, other;
	struct verdict v;
	struct access a;
	unsigned long i;
	int error, dir;

	if (!st->bounces || !boot_param("iommu.dma_quarantine", NULL, 0) ||
	    !boot_param("iommu.dma_fault_history", NULL, 0) ||
	    edu_guard_kb(edu_name) * 1024 <= MAX_BESIDE)
		SKIP(return, "not everything is on");
	ASSERT_EQ(0, buffer_map(st, &other, kind_named("single"), 0,
				getpagesize(), DMA_EDU_BIDIRECTIONAL, 0, FILL));
	for (i = 0; i < self->nr_cases; i++) {
		error = rand_below(NR_ERRORS);
		dir = error == AGAINST_DIRECTION ? 1 + rand_below(2) :
						   rand_below(DMA_EDU_NR_DIRS);
		ASSERT_EQ(0, random_map(st, &b, dir));
		choose(&a, &b, error);
		expect(&a, &b, st->granule, error != STALE);
		if (error == STALE) {
			ASSERT_EQ(0, buffer_unmap(st, &b, 0));
			ASSERT_EQ(0, map_others(st, random_later(), 0));
		}
		make_room(nr_hits(a.hits, a.nr_hits));
		ASSERT_EQ(0, device_does(st, &a));
		if (error != STALE)
			ASSERT_EQ(0, buffer_unmap(st, &b, 0));

		v = judge(st, i, &a, false);
		if (v.missed || v.wrong)
			print_missed(i, error, &b, &a);
		sum[error].visible += v.visible;
		sum[error].found += v.found;
		sum[error].missed += v.missed;
		sum[error].wrong += v.wrong;
		all.found += v.found;
		all.missed += v.missed;
		all.wrong += v.wrong;
		all.by_sampling += !!v.by_sampling;
		EXPECT_TRUE(error == NO_ERROR ? beside_is_right(st->fd, &b) :
			    error == STALE || error == AGAINST_DIRECTION ||
			    b.nr_entries == 1 ?
			    image_is_right(st->fd, &b) :
			    beside_is_right(st->fd, &b)) {
			TH_LOG("case %lu: memory was hit", i);
		}
		ASSERT_EQ(0, buffer_release(st, &b));
	}
	ASSERT_EQ(0, buffer_unmap(st, &other, 0));
	EXPECT_TRUE(image_is_right(st->fd, &other));
	ASSERT_EQ(0, buffer_release(st, &other));

	for (error = 0; error < NR_ERRORS; error++)
		ksft_print_msg("%s: %lu can be seen, %lu found, %lu missed, %lu blamed wrongly\n",
			       error_names[error], sum[error].visible,
			       sum[error].found, sum[error].missed,
			       sum[error].wrong);
	ksft_print_msg("%lu cases: %lu errors found, %lu missed, %lu blamed wrongly\n",
		       self->nr_cases, all.found, all.missed, all.wrong);
	EXPECT_EQ(0, all.missed);
	EXPECT_EQ(0, all.wrong);
	EXPECT_EQ(0, sum[NO_ERROR].visible);
	for (error = OVERRUN; error < NR_ERRORS; error++)
		EXPECT_LT(self->nr_cases / 20, sum[error].found);
}

/* ------------------------------------------------------------------ sampling */

/* How many times a bug happens until it is found, by its share of all bugs */
struct curve {
	unsigned long *times;
	unsigned long nr;
};

static int compare(const void *a, const void *b)
{
	unsigned long x = *(unsigned long *)a, y = *(unsigned long *)b;

	return x < y ? -1 : x > y;
}

/* (1 - @rate)^@times, without libm */
static double never(double rate, unsigned long times)
{
	double ret = 1;

	while (times--)
		ret *= 1 - rate;
	return ret;
}

static void print_curve(struct curve *c, double rate, unsigned long interval)
{
	static const unsigned long steps[] = { 1, 2, 5, 10, 20, 50, 100, 200 };
	unsigned long i, n, sum = 0;

	qsort(c->times, c->nr, sizeof(*c->times), compare);
	for (i = 0; i < c->nr; i++)
		sum += c->times[i];
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		for (n = 0; n < c->nr && c->times[n] <= steps[i]; n++)
			;
		ksft_print_msg("curve: found within %lu times: %.1f %%, expected %.1f %%\n",
			       steps[i], 100.0 * n / c->nr,
			       100 * (1 - never(rate, steps[i])));
	}
	ksft_print_msg("curve: %lu bugs found, after %.1f times in the mean, expected %.1f\n",
		       c->nr, (double)sum / c->nr, 1 / rate);
	ksft_print_msg("curve: half of them after %lu times, 95 %% after %lu\n",
		       c->times[c->nr / 2], c->times[c->nr * 95 / 100]);
	ksft_print_msg("curve: of %d mappings a second, one per %lu ms is sampled\n",
		       1000 / GAP_MS, interval);
	for (i = 0; i < 4; i++) {
		static const char * const per_s[] = { "0.01", "0.1", "1", "10" };

		ksft_print_msg("curve: %s times a second: found after %.1f s in the mean\n",
			       per_s[i],
			       (double)sum / c->nr / strtod(per_s[i], NULL));
	}
}

/* |a - b| <= 4 standard deviations of a binomial of @nr, given its square */
static bool is_near(double a, double b, double variance)
{
	return (a - b) * (a - b) <= 16 * variance;
}

/*
 * Errors are found if their mapping is sampled, as what they are, and not otherwise: as
 * many as of all mappings are sampled, and these are one per interval.
 */
TEST_F_TIMEOUT(errors, sampled, 100000)
{
	unsigned long honest = 0, honest_sampled = 0, last = 0, i;
	struct verdict sum[NR_ERRORS] = { }, all = { };
	struct bounce_state *st = &self->st;
	unsigned long sampled = 0, visible = 0;
	struct curve curve = { };
	double rate, expected, interval;
	long before, after;
	struct verdict v;
	struct access a;
	struct buffer b;
	unsigned int n;
	int error, dir;
	bool chosen;

	if (st->bounces)
		SKIP(return, "not only sampling is on");
	if (file_long(SAMPLE_INTERVAL) <= 0)
		SKIP(return, "the kernel samples no mappings");
	interval = file_long(SAMPLE_INTERVAL);
	curve.times = calloc(self->nr_cases, sizeof(*curve.times));
	ASSERT_NE(NULL, curve.times);
	for (i = 0; i < self->nr_cases; i++) {
		/* What took long before has the next mapping sampled: not one of these. */
		ASSERT_EQ(0, map_others(st, 3, 0));
		n = 1 + rand_below(2 * HONEST);
		before = sample_stat("sampled");
		ASSERT_EQ(0, map_others(st, n, GAP_MS));
		after = sample_stat("sampled");
		honest += n;
		honest_sampled += after - before;

		error = rand_below(NR_ERRORS);
		dir = 1 + rand_below(2);
		sleep_ms(GAP_MS);
		ASSERT_EQ(0, random_map(st, &b, dir));
		chosen = sample_is_live(b.segs[0].at);
		choose(&a, &b, error);
		expect(&a, &b, st->granule, error != STALE);
		if (error == STALE) {
			ASSERT_EQ(0, buffer_unmap(st, &b, 0));
			for (n = random_later(); n > LATER_AT_ONCE;
			     n -= LATER_AT_ONCE) {
				ASSERT_EQ(0, map_others(st, LATER_AT_ONCE, 0));
				sleep_ms(GAP_MS);
			}
			ASSERT_EQ(0, map_others(st, n, 0));
			/* It is in quarantine for as long as that is large. */
			chosen &= sample_is_gone(b.segs[0].at);
		}
		if (chosen)
			make_room(nr_hits(a.hits, a.nr_hits));
		ASSERT_EQ(0, device_does(st, &a));
		if (error != STALE)
			ASSERT_EQ(0, buffer_unmap(st, &b, 0));

		v = judge(st, i, &a, true);
		if (!chosen) {
			/* Whatever is told of it, it is not by sampling. */
			v.missed = 0;
			v.found = 0;
		}
		if (v.missed || v.wrong)
			print_missed(i, error, &b, &a);
		visible += v.visible;
		sampled += v.visible && chosen;
		sum[error].visible += v.visible && chosen;
		sum[error].found += v.found;
		all.found += v.found;
		all.missed += v.missed;
		all.wrong += v.wrong;
		if (v.visible)
			last++;
		if (v.found) {
			curve.times[curve.nr++] = last;
			last = 0;
		}
		ASSERT_EQ(0, buffer_release(st, &b));
	}

	for (error = 0; error < NR_ERRORS; error++)
		ksft_print_msg("%s: %lu of a sampled mapping, %lu found\n",
			       error_names[error], sum[error].visible,
			       sum[error].found);
	ksft_print_msg("%lu errors can be seen, %lu of them of a sampled mapping\n",
		       visible, sampled);
	ksft_print_msg("%lu cases: %lu errors found, %lu missed, %lu blamed wrongly\n",
		       self->nr_cases, all.found, all.missed, all.wrong);
	EXPECT_EQ(0, all.missed);
	EXPECT_EQ(0, all.wrong);
	EXPECT_EQ(sampled, all.found);
	ASSERT_LT(0, honest_sampled);
	ASSERT_LT(0, curve.nr);

	rate = (double)honest_sampled / honest;
	expected = GAP_MS / interval;
	ksft_print_msg("sampled: %.4f of all mappings, one per interval is %.4f\n",
		       rate, expected);
	ksft_print_msg("found: %.4f of what can be seen\n",
		       (double)all.found / visible);
	print_curve(&curve, rate, interval);
	free(curve.times);

	/* The timer is late by up to a tick, and by what a CPU sleeps. */
	EXPECT_TRUE(rate < 1.1 * expected && rate > 0.7 * expected);
	EXPECT_TRUE(is_near(all.found, rate * visible,
			    visible * rate * (1 - rate) *
			    (1 + (double)visible / honest)));
}

int main(int argc, char **argv)
{
	edu_take_device();
	refuses_reads = edu_iommu_is(IOMMU_VTD);
	return bounce_main(argc, argv);
}
