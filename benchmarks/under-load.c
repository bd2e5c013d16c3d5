// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions per packet and per request: where the clock of a guest counts
 * instructions (scripts/vm --icount) and its CPU never idles, time is instructions.
 * A process of the lowest priority sees to the latter, and counts its own.
 *
 * under-load net FROM TO SIZE COUNT	frames from one interface to another
 * under-load disk DEVICE SIZE COUNT	direct reads, one at a time
 *
 * Prints one line of JSON for each of ROUNDS rounds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define ROUNDS		3
#define NSEC		1000000000ULL
/* For experiments within one site: IEEE Std 802, local experimental */
#define PROTOCOL	0x88b5
/* Frames on their way */
#define WINDOW		32
#define LINK_WAIT	15
#define DISK_BYTES	(32 << 20)

static volatile uint64_t *spins;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "under-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC + ts.tv_nsec;
}

/* Use up what nobody else wants. */
static void start_spinning(void)
{
	struct sched_param param = { 0 };

	spins = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (spins == MAP_FAILED)
		die("mmap");
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (sched_setscheduler(0, SCHED_IDLE, &param))
			die("SCHED_IDLE");
		for (;;)
			(*spins)++;
	}
}

/* Instructions of a spin, and of the timer's interrupts meanwhile */
static double measure_spin(void)
{
	struct timespec second = { .tv_sec = 1 };
	uint64_t start, count;

	sched_yield();
	start = now();
	count = *spins;
	nanosleep(&second, NULL);
	return (double)(now() - start) / (*spins - count);
}

/* ---------------------------------------------------------------------- net */

struct nic {
	int fd;
	int index;
	unsigned char mac[ETH_ALEN];
};

static void nic_ioctl(struct nic *nic, unsigned long cmd, struct ifreq *req)
{
	if (ioctl(nic->fd, cmd, req))
		die(req->ifr_name);
}

static void nic_open(struct nic *nic, const char *name)
{
	struct ifreq req = { 0 };
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(PROTOCOL),
	};
	int i;

	nic->fd = socket(AF_PACKET, SOCK_RAW, htons(PROTOCOL));
	if (nic->fd < 0)
		die("socket");
	strncpy(req.ifr_name, name, IFNAMSIZ - 1);
	nic_ioctl(nic, SIOCGIFHWADDR, &req);
	memcpy(nic->mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	nic_ioctl(nic, SIOCGIFINDEX, &req);
	nic->index = addr.sll_ifindex = req.ifr_ifindex;
	nic_ioctl(nic, SIOCGIFFLAGS, &req);
	req.ifr_flags |= IFF_UP;
	nic_ioctl(nic, SIOCSIFFLAGS, &req);
	for (i = 0; i < LINK_WAIT; i++) {
		nic_ioctl(nic, SIOCGIFFLAGS, &req);
		if (req.ifr_flags & IFF_RUNNING)
			break;
		sleep(1);
	}
	errno = ENETDOWN;
	if (i == LINK_WAIT)
		die(name);
	/* One that is bound before has an error for the first to send. */
	if (bind(nic->fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("bind");
}

static struct nic from, to;
static unsigned char frame[ETH_FRAME_LEN];
static size_t size;

static void net_run(unsigned long count)
{
	unsigned long sent = 0, got = 0;
	char byte;

	while (got < count) {
		while (sent < count && sent < got + WINDOW) {
			if (send(from.fd, frame, size, 0) != (ssize_t)size)
				die("send");
			sent++;
		}
		while (got < sent) {
			/* Of the data no more than a byte is copied. */
			if (recv(to.fd, &byte, 1, MSG_TRUNC) != (ssize_t)size)
				die("recv");
			got++;
		}
	}
}

static void net_start(const char *name_from, const char *name_to)
{
	struct timeval limit = { .tv_sec = 10 };
	struct ether_header *eth = (struct ether_header *)frame;

	if (size < ETH_ZLEN || size > sizeof(frame)) {
		errno = EMSGSIZE;
		die("net");
	}
	nic_open(&from, name_from);
	nic_open(&to, name_to);
	if (setsockopt(to.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		die("SO_RCVTIMEO");
	memcpy(eth->ether_dhost, to.mac, ETH_ALEN);
	memcpy(eth->ether_shost, from.mac, ETH_ALEN);
	eth->ether_type = htons(PROTOCOL);
}

/* --------------------------------------------------------------------- disk */

static int disk;
static void *buffer;

static void disk_run(unsigned long count)
{
	unsigned long places = DISK_BYTES / size, i;

	for (i = 0; i < count; i++)
		if (pread(disk, buffer, size, i % places * size) != (ssize_t)size)
			die("pread");
}

static void disk_start(const char *device)
{
	disk = open(device, O_RDONLY | O_DIRECT);
	if (disk < 0)
		die(device);
	buffer = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffer == MAP_FAILED)
		die("mmap");
}

/* --------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	int net = argc == 6 && !strcmp(argv[1], "net");
	unsigned long count;
	void (*run)(unsigned long count);
	double spin, all, idle;
	uint64_t start, spun;
	int round;

	if (!net && (argc != 5 || strcmp(argv[1], "disk"))) {
		fprintf(stderr, "usage: under-load net FROM TO SIZE COUNT | disk DEVICE SIZE COUNT\n");
		return 1;
	}
	size = strtoul(argv[argc - 2], NULL, 10);
	count = strtoul(argv[argc - 1], NULL, 10);
	if (net)
		net_start(argv[2], argv[3]);
	else
		disk_start(argv[2]);
	run = net ? net_run : disk_run;

	start_spinning();
	run(count / 10 + 1);
	spin = measure_spin();
	for (round = 0; round < ROUNDS; round++) {
		start = now();
		spun = *spins;
		run(count);
		all = now() - start;
		idle = (*spins - spun) * spin;
		printf("{\"work\":\"%s %zu\",\"count\":%lu,\"instructions\":%.1f,\"idle\":%.3f,\"spin\":%.3f}\n",
		       argv[1], size, count, (all - idle) / count, idle / all, spin);
		fflush(stdout);
	}
	return 0;
}
