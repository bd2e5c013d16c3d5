// SPDX-License-Identifier: GPL-2.0
/*
 * Verified load on network interfaces that are joined to one another, by a
 * cable or a switch: each sends frames of random length to all others it
 * reaches, and compares byte for byte what it gets. Frames may be lost, which
 * is counted, but not damaged.
 *
 * The interfaces must be down: nobody else uses them then. They are up while
 * the program runs, without addresses, and afterwards as they were.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "dma_load_util.h"

#define MAX_NICS	16
#define MAX_FRAME	65536

/* For experiments within one site: IEEE Std 802, local experimental */
#define LOAD_PROTOCOL	0x88b5

/* Frames on their way to one receiver, and for how long one waits for them */
#define WINDOW		64
#define WINDOW_WAIT_MS	20

#define LINK_WAIT_MS	15000
#define PROBE_MS	500
#define PROBE_SLOW_MS	10000
#define DRAIN_MS	500

/* What a slow machine has besides, to receive as many frames as it must */
#define SLOW_MS		60000

#define RX_BUFFER	(8 << 20)

/* Each so many frames one is damaged, with -x. */
#define DAMAGE_EVERY	8

enum frame_kind { FRAME_PROBE, FRAME_DATA };

/* No padding anywhere: the Ethernet header has 14 bytes. */
struct frame {
	struct ether_header eth;
	uint16_t kind;
	uint32_t session;
	uint32_t seq;
	uint32_t len;		/* of all of it */
	uint16_t from;
	uint16_t to;
	uint32_t check;		/* of the fields in front */
	unsigned char data[];
};

/* What is on its way from one interface to one other */
struct path {
	atomic_bool joined;
	atomic_ulong sent;
	atomic_ulong good;
};

struct nic {
	const char *name;
	int id;
	int fd;
	int ifindex;
	struct ifreq flags;	/* as found */
	struct ifreq mtu;
	struct ethtool_ringparam rings;		/* likewise, with -r */
	unsigned char mac[ETH_ALEN];
	pthread_t sender;
	pthread_t receiver;
	unsigned long damaged;	/* by ourselves, on sending */
	atomic_ulong bad;	/* received, with something else in it */
	unsigned long bytes;
	int error;
};

static struct nic nics[MAX_NICS];
static int nr_nics;
static struct path paths[MAX_NICS][MAX_NICS];	/* [from][to] */

static unsigned int seconds = 5;
static unsigned int mtu = 1500;
static unsigned int ring;
static unsigned long least_frames = 100;
static uint64_t seed;
static uint32_t session;
static bool damage;
static long long deadline;
static atomic_bool sending_over;

static bool nic_ioctl(struct nic *nic, unsigned long cmd, struct ifreq *req,
		      const char *what)
{
	snprintf(req->ifr_name, sizeof(req->ifr_name), "%s", nic->name);
	if (!ioctl(nic->fd, cmd, req))
		return true;
	printf("# %s: %s: %s\n", nic->name, what, strerror(errno));
	return false;
}

/* ------------------------------------------------------------------- frames */

static uint32_t frame_check(const struct frame *f)
{
	uint64_t sum = load_mix(f->session + ((uint64_t)f->seq << 32));

	sum = load_mix(sum + f->len + ((uint64_t)f->kind << 32));
	return load_mix(sum + f->from + ((uint64_t)f->to << 32));
}

static uint64_t frame_key(const struct frame *f)
{
	return load_mix(session) ^ load_mix(f->from + ((uint64_t)f->seq << 32));
}

static void frame_fill(struct frame *f, enum frame_kind kind, int from, int to,
		       uint32_t seq, size_t len)
{
	memcpy(f->eth.ether_dhost, nics[to].mac, ETH_ALEN);
	memcpy(f->eth.ether_shost, nics[from].mac, ETH_ALEN);
	f->eth.ether_type = htons(LOAD_PROTOCOL);
	f->kind = kind;
	f->session = session;
	f->seq = seq;
	f->len = len;
	f->from = from;
	f->to = to;
	f->check = frame_check(f);
	load_fill(f->data, len - sizeof(*f), frame_key(f));
}

static bool frame_send(struct nic *nic, const struct frame *f)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(LOAD_PROTOCOL),
		.sll_ifindex = nic->ifindex,
		.sll_halen = ETH_ALEN,
	};

	memcpy(to.sll_addr, f->eth.ether_dhost, ETH_ALEN);
	return sendto(nic->fd, f, f->len, 0, (struct sockaddr *)&to,
		      sizeof(to)) == (ssize_t)f->len;
}

static void complain(struct nic *nic, const char *what, unsigned long is,
		     unsigned long want)
{
	if (atomic_fetch_add(&nic->bad, 1) < LOAD_MAX_REPORTS && !damage)
		printf("# %s: frame with %s: %#lx, not %#lx\n", nic->name, what,
		       is, want);
}

/* A frame that one of our interfaces has sent, in this run or before */
static void frame_judge(struct nic *nic, const struct frame *f, size_t len)
{
	size_t at, data = len - sizeof(*f);
	struct path *path;

	if (f->check != frame_check(f)) {
		complain(nic, "a bad header", f->check, frame_check(f));
		return;
	}
	if (f->session != session || f->to != nic->id)
		return;
	if (f->len != len) {
		complain(nic, "a wrong length", len, f->len);
		return;
	}
	at = load_differs(f->data, data, frame_key(f));
	if (at < data) {
		complain(nic, "a wrong byte at", sizeof(*f) + at, len);
		return;
	}
	path = &paths[f->from][f->to];
	if (f->kind == FRAME_PROBE)
		path->joined = true;
	else
		path->good++;
	nic->bytes += len;
}

static bool is_ours(const struct frame *f)
{
	int i;

	for (i = 0; i < nr_nics; i++)
		if (!memcmp(f->eth.ether_shost, nics[i].mac, ETH_ALEN))
			return true;
	return false;
}

static void *receive(void *arg)
{
	struct nic *nic = arg;
	struct frame *f = malloc(MAX_FRAME);
	ssize_t len;

	while (f && !(sending_over && load_now_ms() > deadline)) {
		len = recv(nic->fd, f, MAX_FRAME, MSG_TRUNC);
		if (len < (ssize_t)sizeof(*f) || len > MAX_FRAME)
			continue;
		if (is_ours(f))
			frame_judge(nic, f, len);
	}
	free(f);
	return NULL;
}

/* ------------------------------------------------------------------ sending */

/*
 * Wait until there are few frames on the way. Those that do not come in time
 * are lost, *@lost says how many.
 */
static void window_wait(const struct path *path, unsigned long *lost)
{
	long long end = load_now_ms() + WINDOW_WAIT_MS;

	while (path->sent - path->good > *lost + WINDOW) {
		if (load_now_ms() > end) {
			*lost = path->sent - path->good;
			return;
		}
		usleep(500);
	}
}

/* Half of the lengths are next to those at which drivers change their ways. */
static size_t frame_length(uint64_t *rng)
{
	static const size_t edges[] = { 60, 128, 256, 1024, 2048, 4096, 8192 };
	size_t most = mtu + ETH_HLEN;
	size_t len;

	switch (load_random(rng) % 4) {
	case 0:
		return most - load_range(rng, 0, 3);
	case 1:
		len = edges[load_random(rng) % (sizeof(edges) / sizeof(*edges))];
		len += load_range(rng, 0, 36);
		return len <= most ? len : most;
	default:
		return load_range(rng, 60, most);
	}
}

static unsigned long frames_received(int to)
{
	unsigned long good = 0;
	int from;

	for (from = 0; from < nr_nics; from++)
		good += paths[from][to].good;
	return good;
}

static bool all_received_enough(void)
{
	int i;

	for (i = 0; i < nr_nics; i++)
		if (frames_received(i) < least_frames)
			return false;
	return true;
}

static bool time_is_over(void)
{
	long long late = load_now_ms() - deadline;

	return late >= SLOW_MS || (late >= 0 && all_received_enough());
}

static void *send_all(void *arg)
{
	struct nic *nic = arg;
	unsigned long lost[MAX_NICS] = { 0 };
	uint64_t rng = load_mix(seed + nic->id);
	struct frame *f = malloc(MAX_FRAME);
	struct path *path;
	uint32_t seq = 0;
	int to = nic->id;
	size_t len;

	while (f && !time_is_over()) {
		to = (to + 1) % nr_nics;
		path = &paths[nic->id][to];
		if (!path->joined)
			continue;
		window_wait(path, &lost[to]);
		len = frame_length(&rng);
		frame_fill(f, FRAME_DATA, nic->id, to, seq++, len);
		if (damage && seq % DAMAGE_EVERY == 0) {
			f->data[load_range(&rng, 0, len - sizeof(*f) - 1)] ^= 1;
			nic->damaged++;
		}
		if (frame_send(nic, f)) {
			path->sent++;
		} else if (errno == ENOBUFS || errno == EAGAIN) {
			usleep(1000);
		} else {
			nic->error = errno;
			break;
		}
	}
	free(f);
	return NULL;
}

static int nic_peers(int from)
{
	int to, peers = 0;

	for (to = 0; to < nr_nics; to++)
		peers += paths[from][to].joined;
	return peers;
}

static bool all_have_peers(void)
{
	int i;

	for (i = 0; i < nr_nics; i++)
		if (!nic_peers(i))
			return false;
	return true;
}

/* Who reaches whom? A slow machine has more time for it. */
static bool probe(void)
{
	long long start = load_now_ms(), took = 0;
	struct frame *f = malloc(ETH_FRAME_LEN);
	bool ok = true;
	int from, to;

	while (f && (took < PROBE_MS ||
		     (took < PROBE_SLOW_MS && !all_have_peers()))) {
		for (from = 0; from < nr_nics; from++)
			for (to = 0; to < nr_nics; to++) {
				if (from == to)
					continue;
				frame_fill(f, FRAME_PROBE, from, to, 0, 60);
				if (frame_send(&nics[from], f))
					nics[from].error = 0;
				else
					nics[from].error = errno;
			}
		usleep(50000);
		took = load_now_ms() - start;
	}
	free(f);
	for (from = 0; from < nr_nics; from++) {
		if (!nic_peers(from)) {
			printf("# %s: reaches no other, %s\n", nics[from].name,
			       strerror(nics[from].error));
			ok = false;
		}
	}
	return ok;
}

/* --------------------------------------------------------------- interfaces */

static bool nic_open(struct nic *nic, const char *name, int id)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(LOAD_PROTOCOL),
	};
	struct timeval wait = { .tv_usec = 100000 };
	int buffer = RX_BUFFER, one = 1;
	struct ifreq index, req;

	nic->name = name;
	nic->id = id;
	nic->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (nic->fd < 0) {
		printf("# no packet socket: %s\n", strerror(errno));
		return false;
	}
	if (!nic_ioctl(nic, SIOCGIFFLAGS, &nic->flags, "flags") ||
	    !nic_ioctl(nic, SIOCGIFMTU, &nic->mtu, "MTU") ||
	    !nic_ioctl(nic, SIOCGIFINDEX, &index, "index") ||
	    !nic_ioctl(nic, SIOCGIFHWADDR, &req, "address"))
		return false;
	memcpy(nic->mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	if (nic->flags.ifr_flags & IFF_UP) {
		printf("# %s: is up: left alone\n", name);
		return false;
	}
	nic->ifindex = index.ifr_ifindex;
	addr.sll_ifindex = nic->ifindex;
	if (setsockopt(nic->fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer,
		       sizeof(buffer)) ||
	    setsockopt(nic->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) ||
	    setsockopt(nic->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one,
		       sizeof(one)) ||
	    bind(nic->fd, (struct sockaddr *)&addr, sizeof(addr))) {
		printf("# %s: packet socket: %s\n", name, strerror(errno));
		return false;
	}
	return true;
}

static bool nic_ethtool(struct nic *nic, void *data, const char *what)
{
	struct ifreq req = { .ifr_data = data };

	return nic_ioctl(nic, SIOCETHTOOL, &req, what);
}

static bool nic_set_rings(struct nic *nic)
{
	struct ethtool_ringparam is;

	nic->rings.cmd = ETHTOOL_GRINGPARAM;
	if (!nic_ethtool(nic, &nic->rings, "lengths of the rings"))
		return false;
	is = nic->rings;
	is.cmd = ETHTOOL_SRINGPARAM;
	is.rx_pending = ring < is.rx_max_pending ? ring : is.rx_max_pending;
	is.tx_pending = ring < is.tx_max_pending ? ring : is.tx_max_pending;
	if (!nic_ethtool(nic, &is, "setting the rings"))
		return false;
	is.cmd = ETHTOOL_GRINGPARAM;
	if (!nic_ethtool(nic, &is, "lengths of the rings"))
		return false;
	printf("# %s: rings of %u to receive, %u to send\n", nic->name,
	       is.rx_pending, is.tx_pending);
	return true;
}

static bool nic_up(struct nic *nic)
{
	struct ifreq req = { .ifr_mtu = mtu };

	if (ring && !nic_set_rings(nic))
		return false;
	if (!nic_ioctl(nic, SIOCSIFMTU, &req, "setting the MTU"))
		return false;
	req.ifr_flags = nic->flags.ifr_flags | IFF_UP;
	return nic_ioctl(nic, SIOCSIFFLAGS, &req, "setting it up");
}

/* Going down first: the MTU of a card that runs may not be changed. */
static bool nic_restore(struct nic *nic)
{
	bool down = nic_ioctl(nic, SIOCSIFFLAGS, &nic->flags, "setting it down");

	if (nic->rings.cmd) {
		nic->rings.cmd = ETHTOOL_SRINGPARAM;
		down &= nic_ethtool(nic, &nic->rings, "the old rings");
	}
	return nic_ioctl(nic, SIOCSIFMTU, &nic->mtu, "the old MTU") && down;
}

static bool nic_wait_link(struct nic *nic)
{
	long long end = load_now_ms() + LINK_WAIT_MS;
	struct ifreq req;

	do {
		if (!nic_ioctl(nic, SIOCGIFFLAGS, &req, "flags"))
			return false;
		if (req.ifr_flags & IFF_RUNNING)
			return true;
		usleep(50000);
	} while (load_now_ms() < end);
	printf("# %s: no link\n", nic->name);
	return false;
}

/* Without damage on purpose, none; with it, some and no more than that. */
static bool judge(void)
{
	unsigned long bad = 0, damaged = 0;
	bool ok = true;
	int i, j;

	for (i = 0; i < nr_nics; i++) {
		unsigned long sent = 0, good = frames_received(i);

		for (j = 0; j < nr_nics; j++)
			sent += paths[i][j].sent;
		printf("# %s: %lu frames sent, %lu received, %lu MiB, ",
		       nics[i].name, sent, good, nics[i].bytes >> 20);
		printf("%lu bad, %lu damaged on purpose\n",
		       nics[i].bad, nics[i].damaged);
		if (nics[i].error) {
			printf("# %s: sending: %s\n", nics[i].name,
			       strerror(nics[i].error));
			ok = false;
		}
		if (good < least_frames) {
			printf("# %s: less than %lu frames received\n",
			       nics[i].name, least_frames);
			ok = false;
		}
		bad += nics[i].bad;
		damaged += nics[i].damaged;
	}
	return ok && bad <= damaged && damage == !!bad;
}

static bool run(void)
{
	bool ok = true;
	int i;

	for (i = 0; i < nr_nics; i++)
		ok &= nic_wait_link(&nics[i]);
	if (!ok)
		return false;

	deadline = LLONG_MAX;
	for (i = 0; i < nr_nics; i++)
		if (pthread_create(&nics[i].receiver, NULL, receive, &nics[i]))
			return false;
	ok = probe();
	deadline = load_now_ms() + seconds * 1000LL;
	for (i = 0; ok && i < nr_nics; i++)
		if (pthread_create(&nics[i].sender, NULL, send_all, &nics[i]))
			return false;
	for (i = 0; ok && i < nr_nics; i++)
		pthread_join(nics[i].sender, NULL);
	deadline = load_now_ms() + DRAIN_MS;
	sending_over = true;
	for (i = 0; i < nr_nics; i++)
		pthread_join(nics[i].receiver, NULL);
	return ok && judge();
}

static const char usage[] =
"usage: dma_load_net [OPTION]... INTERFACE INTERFACE...\n"
"Sends frames between interfaces that are down and joined to one another, and\n"
"compares what arrives.\n"
"  -t SECONDS  how long (5), or up to 60 more until each has received enough\n"
"  -m NUMBER   frames that each must receive at least (100)\n"
"  -M MTU      of all interfaces while it lasts (1500)\n"
"  -r ENTRIES  of their rings while it lasts, or as many as there can be\n"
"  -s SEED     of the random numbers (the time)\n"
"  -x          damage some frames, and fail unless damage is found\n";

int main(int argc, char **argv)
{
	bool ok = true;
	int opt, i;

	seed = time(NULL);
	while ((opt = getopt(argc, argv, "t:m:M:r:s:xh")) != -1) {
		switch (opt) {
		case 't':
			seconds = load_option(opt, optarg, 1, 86400);
			break;
		case 'm':
			least_frames = load_option(opt, optarg, 1, INT_MAX);
			break;
		case 'M':
			mtu = load_option(opt, optarg, 128, 65000);
			break;
		case 'r':
			ring = load_option(opt, optarg, 1, 65536);
			break;
		case 's':
			seed = load_option(opt, optarg, 0, ULONG_MAX);
			break;
		case 'x':
			damage = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	nr_nics = argc - optind;
	if (nr_nics < 2 || nr_nics > MAX_NICS) {
		fputs(usage, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	session = load_mix(seed + load_now_ms());

	for (i = 0; i < nr_nics; i++)
		if (!nic_open(&nics[i], argv[optind + i], i))
			return 1;
	printf("# seed %llu, MTU %u\n", (unsigned long long)seed, mtu);
	for (i = 0; i < nr_nics; i++)
		ok &= nic_up(&nics[i]);
	ok = ok && run();
	for (i = 0; i < nr_nics; i++)
		ok &= nic_restore(&nics[i]);
	return ok ? 0 : 1;
}
