// SPDX-License-Identifier: GPL-2.0
/*
 * Load on sound: plays and records, by reads and writes of random length, for
 * some time. There is nothing to compare with, what is played is not what is
 * recorded: it passes if each device moved, at the least, a tenth of what its rate
 * is, and if what it recorded was written to our memory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include <sound/asound.h>
#include <sys/ioctl.h>

#include "dma_load_util.h"

#define RATE		48000
#define CHANNELS	2
#define FRAME_BYTES	(CHANNELS * sizeof(int16_t))
#define PERIOD		1024
#define PERIODS		4
#define MOST_FRAMES	(2 * PERIOD)

/* What a slow machine has besides, to move as many frames as it must */
#define SLOW_MS		60000

/* No sample of silence */
#define UNTOUCHED	0xa5

struct pcm {
	const char *name;
	pthread_t thread;
	bool capture;
	int fd;
	uint64_t rng;
	unsigned long frames;
	unsigned long runs;	/* that ended because nobody came in time */
	bool failed;
};

static unsigned int seconds = 5;
static long long deadline;

static bool problem(struct pcm *p, const char *what)
{
	printf("# %s: %s: %s\n", p->name, what, strerror(errno));
	p->failed = true;
	return false;
}

static void set_mask(struct snd_pcm_hw_params *params, int which, unsigned int bit)
{
	struct snd_mask *mask;

	mask = &params->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];
	memset(mask, 0, sizeof(*mask));
	mask->bits[bit / 32] = 1U << bit % 32;
}

static void set_interval(struct snd_pcm_hw_params *params, int which,
			 unsigned int val)
{
	struct snd_interval *i;

	i = &params->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];
	i->min = val;
	i->max = val;
	i->integer = 1;
}

static bool pcm_open(struct pcm *p, const char *name)
{
	struct snd_pcm_hw_params params = { .rmask = ~0U };
	size_t i;

	p->name = name;
	p->capture = name[strlen(name) - 1] == 'c';
	p->fd = open(name, (p->capture ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
	if (p->fd < 0)
		return problem(p, "open");
	memset(params.masks, 0xff, sizeof(params.masks));
	for (i = 0; i < sizeof(params.intervals) / sizeof(*params.intervals); i++)
		params.intervals[i].max = ~0U;
	set_mask(&params, SNDRV_PCM_HW_PARAM_ACCESS,
		 SNDRV_PCM_ACCESS_RW_INTERLEAVED);
	set_mask(&params, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
	set_interval(&params, SNDRV_PCM_HW_PARAM_CHANNELS, CHANNELS);
	set_interval(&params, SNDRV_PCM_HW_PARAM_RATE, RATE);
	set_interval(&params, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, PERIOD);
	set_interval(&params, SNDRV_PCM_HW_PARAM_PERIODS, PERIODS);
	if (ioctl(p->fd, SNDRV_PCM_IOCTL_HW_PARAMS, &params))
		return problem(p, "48 kHz, 16 bits, stereo");
	if (ioctl(p->fd, SNDRV_PCM_IOCTL_PREPARE))
		return problem(p, "prepare");
	return true;
}

static bool transfer(struct pcm *p, unsigned char *buf)
{
	size_t most = load_range(&p->rng, 1, MOST_FRAMES);
	struct snd_xferi x = { .buf = buf, .frames = most };
	size_t i;
	int ret;

	if (p->capture) {
		memset(buf, UNTOUCHED, most * FRAME_BYTES);
		ret = ioctl(p->fd, SNDRV_PCM_IOCTL_READI_FRAMES, &x);
	} else {
		load_fill(buf, most * FRAME_BYTES, load_random(&p->rng));
		ret = ioctl(p->fd, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &x);
	}
	/*
	 * EIO: none was taken for ten seconds, as it may be where the host of a
	 * guest is busy, and it runs yet. What counts is how many there are in
	 * the end.
	 */
	if (ret && (errno == EPIPE || errno == EIO)) {
		p->runs++;
		return (!ioctl(p->fd, SNDRV_PCM_IOCTL_DROP) &&
			!ioctl(p->fd, SNDRV_PCM_IOCTL_PREPARE)) ||
		       problem(p, "prepare");
	}
	if (ret)
		return problem(p, p->capture ? "read" : "write");
	p->frames += x.result;
	if (!p->capture || !x.result)
		return true;
	for (i = 0; i < x.result * FRAME_BYTES && buf[i] == UNTOUCHED; i++)
		;
	if (i < x.result * FRAME_BYTES)
		return true;
	errno = EIO;
	return problem(p, "recorded, but nothing written");
}

static bool has_enough(const struct pcm *p)
{
	return p->frames >= RATE / 10UL * seconds;
}

static bool goes_on(const struct pcm *p)
{
	return load_now_ms() < deadline + (has_enough(p) ? 0 : SLOW_MS);
}

static void *work(void *arg)
{
	unsigned char *buf = malloc(MOST_FRAMES * FRAME_BYTES);
	struct pcm *p = arg;

	while (buf && goes_on(p) && transfer(p, buf))
		;
	free(buf);
	return NULL;
}

static const char usage[] =
"usage: dma_load_sound [OPTION]... DEVICE...\n"
"Plays and records random sounds on /dev/snd/pcmC*D*p and pcmC*D*c.\n"
"  -t SECONDS  how long (5)\n";

int main(int argc, char **argv)
{
	struct pcm *pcms;
	bool ok = true;
	int opt, i, nr;

	while ((opt = getopt(argc, argv, "t:h")) != -1) {
		switch (opt) {
		case 't':
			seconds = load_option(opt, optarg, 1, 86400);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	nr = argc - optind;
	pcms = calloc(nr ?: 1, sizeof(*pcms));
	if (nr < 1 || !pcms) {
		fputs(usage, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < nr; i++)
		if (!pcm_open(&pcms[i], argv[optind + i]))
			return 1;
	deadline = load_now_ms() + seconds * 1000LL;
	for (i = 0; i < nr; i++) {
		pcms[i].rng = load_mix(i + 1);
		if (pthread_create(&pcms[i].thread, NULL, work, &pcms[i]))
			return 1;
	}
	for (i = 0; i < nr; i++) {
		pthread_join(pcms[i].thread, NULL);
		close(pcms[i].fd);
		printf("# %s: %lu frames in %u s, %lu times too late\n",
		       pcms[i].name, pcms[i].frames, seconds, pcms[i].runs);
		ok &= !pcms[i].failed && has_enough(&pcms[i]);
	}
	return ok ? 0 : 1;
}
