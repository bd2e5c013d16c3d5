// SPDX-License-Identifier: GPL-2.0
/*
 * What a network device that is not trusted can reach of the packets it has
 * received, while the network stack has them
 *
 *	dma_skb [-n] INTERFACE PEER
 *
 * The two are joined by a cable or a switch. INTERFACE is that of the device that is
 * not trusted, PEER that of a trusted one, of which the same is looked at to see that
 * there is something to find; not with -n, for a driver that has nothing mapped of
 * what it has passed on. Both must be down. Needs the dma_skb module.
 *
 * Where $DMA_EDU_DEV names an edu device, which has to be in the IOMMU group of
 * INTERFACE, and so in its domain, that device accesses what is found.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kselftest.h"
#include "lib/edu.h"
#include "lib/util.h"

#define NETDEV		"/sys/kernel/debug/dma_skb/netdev"
#define HELD		"/sys/kernel/debug/dma_skb/held"

#define PROTOCOL	0x88b6

#define LINK_WAIT_MS	10000
#define PACKET_WAIT_MS	2000

#define INFO_MAX	1024

/* Of memory that is given to receive to, drivers may choose by length */
static const int lengths[] = { 60, 128, 200, 256, 600, 1000, 1400, 1514 };

struct interface {
	const char *name;
	int fd;
	int index;
	short flags;	/* as found */
};

/* What was found of the packets of an interface */
struct found {
	int packets;
	int built;
	int infos, heads, frags;
	int hit;	/* of which the device has read or written the info */
};

static bool interface_open(struct interface *nic, const char *name)
{
	struct ifreq req = {};

	nic->name = name;
	nic->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (nic->fd < 0 || ioctl(nic->fd, SIOCGIFINDEX, &req))
		return false;
	nic->index = req.ifr_ifindex;
	if (ioctl(nic->fd, SIOCGIFFLAGS, &req))
		return false;
	nic->flags = req.ifr_flags;
	req.ifr_flags |= IFF_UP;
	return !(nic->flags & IFF_UP) && !ioctl(nic->fd, SIOCSIFFLAGS, &req);
}

static bool interface_runs(struct interface *nic)
{
	struct ifreq req = {};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", nic->name);
	return !ioctl(nic->fd, SIOCGIFFLAGS, &req) &&
	       req.ifr_flags & IFF_RUNNING;
}

static void interface_close(struct interface *nic)
{
	struct ifreq req = {};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", nic->name);
	req.ifr_flags = nic->flags;
	ioctl(nic->fd, SIOCSIFFLAGS, &req);
	fd_close(&nic->fd);
}

static bool send_one(struct interface *nic, int len)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = nic->index,
		.sll_halen = ETH_ALEN,
	};
	unsigned char frame[ETH_FRAME_LEN];
	struct ether_header *eth = (void *)frame;

	memset(frame, 0x5a, sizeof(frame));
	memset(eth->ether_dhost, 0xff, ETH_ALEN);
	memset(eth->ether_shost, 0x02, ETH_ALEN);
	eth->ether_type = htons(PROTOCOL);
	memset(to.sll_addr, 0xff, ETH_ALEN);
	return sendto(nic->fd, frame, len, 0, (void *)&to, sizeof(to)) == len;
}

static int from_hex(const char *hex, __u8 *bytes)
{
	int n = 0;
	unsigned int byte;

	for (; n < INFO_MAX && sscanf(hex, "%2x", &byte) == 1; hex += 2)
		bytes[n++] = byte;
	return n;
}

/*
 * The device reads what the stack keeps, and changes the end of it, which is room for
 * a fragment that the packet does not have.
 */
static void attack(int edu, __u64 iova, const __u8 *info, int len,
		   struct found *found)
{
	__u8 seen[INFO_MAX], mark[8];

	if (edu_xfer(edu, iova, 0, len, 0) || edu_mem(edu, 0, seen, len, 0))
		return;
	/* Where mappings can be for writing alone it reads nothing. */
	ksft_print_msg("the device %s\n", memcmp(seen, info, len) ?
		       "cannot read it" : "reads what the kernel has there");
	found->hit += !memcmp(seen, info, len);

	memset(mark, 0xd7, sizeof(mark));
	if (edu_mem(edu, 0, mark, sizeof(mark), DMA_EDU_WRITE) ||
	    edu_xfer(edu, iova + len - sizeof(mark), 0, sizeof(mark),
		     DMA_EDU_XFER_WRITE))
		return;
}

/* Each packet that is held; the second time, after the attack, what has come of it */
static int look(int edu, bool attacked, struct found *found)
{
	static char line[4096];
	FILE *held = fopen(HELD, "re");
	int nr = 0;

	if (!held)
		return -errno;
	while (fgets(line, sizeof(line), held)) {
		char info[32], head[32], frags[32];
		__u8 bytes[INFO_MAX];
		int built, len, at, size;

		if (sscanf(line, "len %d built %d info %31s head %31s frags %31s %n",
			   &len, &built, info, head, frags, &at) != 5)
			break;
		nr++;
		size = from_hex(line + at, bytes);
		if (attacked) {
			if (info[0] != '-' && size > 8 &&
			    all_bytes(bytes + size - 8, 8, 0xd7)) {
				ksft_print_msg("the device has written there\n");
				found->hit++;
			}
			continue;
		}
		ksft_print_msg("%d bytes%s: info at %s, head at %s, fragments at %s\n",
			       len, built ? ", built around a page" : "", info,
			       head, frags);
		found->built += built;
		found->infos += info[0] != '-';
		found->heads += head[0] != '-';
		found->frags += frags[0] != '-';
		if (edu >= 0 && info[0] != '-')
			attack(edu, strtoull(info, NULL, 0), bytes, size, found);
	}
	fclose(held);
	found->packets = nr;
	return nr ? 0 : -ENODATA;
}

static int look_at(struct interface *nic, struct interface *peer, int edu,
		   struct found *found)
{
	long long end = now_ms() + LINK_WAIT_MS;
	int i, ret;

	memset(found, 0, sizeof(*found));
	ret = file_write(NETDEV, nic->name);
	if (ret)
		return ret;
	while (!interface_runs(nic) || !interface_runs(peer)) {
		if (now_ms() > end)
			return -ENETDOWN;
		sleep_ms(100);
	}
	for (i = 0; i < ARRAY_SIZE(lengths); i++)
		if (!send_one(peer, lengths[i]))
			return -errno;
	sleep_ms(PACKET_WAIT_MS);
	ret = look(edu, false, found);
	if (!ret && edu >= 0)
		ret = look(edu, true, found);
	return ret;
}

int main(int argc, char **argv)
{
	bool control = argc < 2 || strcmp(argv[1], "-n");
	struct interface nic, peer;
	const char *name = getenv("DMA_EDU_DEV");
	struct found found;
	int edu = -1, ret;

	argv += !control;
	argc -= !control;
	ksft_print_header();
	if (argc != 3)
		ksft_exit_fail_msg("dma_skb [-n] INTERFACE PEER\n");
	if (name && *name) {
		edu = edu_open(name);
		if (edu < 0)
			ksft_exit_fail_msg("%s: %s\n", name, strerror(-edu));
	}
	if (!interface_open(&nic, argv[1]) || !interface_open(&peer, argv[2]))
		ksft_exit_skip("no interface that is down\n");

	ksft_set_plan(2);
	if (control) {
		ret = look_at(&peer, &nic, -1, &found);
		ksft_test_result(!ret && found.infos,
				 "what a trusted device has mapped is found\n");
	} else {
		ksft_test_result_skip("its driver has nothing mapped\n");
	}

	ret = look_at(&nic, &peer, edu, &found);
	ksft_print_msg("%d packets, %d built around a page\n", found.packets,
		       found.built);
	ksft_print_msg("within reach: %d infos, %d heads, fragments of %d\n",
		       found.infos, found.heads, found.frags);
	if (ret)
		ksft_print_msg("%s\n", strerror(-ret));
	ksft_test_result(!ret && found.built && !found.infos && !found.heads &&
			 !found.frags && !found.hit,
			 "what the stack has is out of reach\n");

	interface_close(&nic);
	interface_close(&peer);
	fd_close(&edu);
	ksft_finished();
}
