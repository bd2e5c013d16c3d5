// SPDX-License-Identifier: GPL-2.0
/*
 * Two e1000e that vfio-pci has, in one container: each sets up MSI-X at the same time
 * as the other, and its interrupt arrives; then one goes, and the other's still does.
 * Arguments: ROUNDS, then NAME and GROUP of each.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#define NR_VECTORS	3

/* Registers: an interrupt's cause is cleared, raised, let through, and given a vector. */
#define E1000E_ICR	0xc0
#define E1000E_ICS	0xc8
#define E1000E_IMS	0xd0
#define E1000E_IVAR	0xe4
#define CAUSE_OTHER	(1U << 24)
#define IVAR_OTHER_IS(vector)	((8U | (vector)) << 16)

struct card {
	const char *name, *group;
	int container, group_fd, fd;
	int event[NR_VECTORS];
	uint64_t config, bar;
	pthread_barrier_t *start;
	int failed;
};

static int failure(struct card *card, const char *what)
{
	fprintf(stderr, "%s: ", card->name);
	perror(what);
	return card->failed = 1;
}

static int card_open(struct card *card, int container, int first)
{
	struct vfio_region_info info = { .argsz = sizeof(info) };
	char path[64];
	uint16_t command;

	snprintf(path, sizeof(path), "/dev/vfio/%s", card->group);
	card->group_fd = open(path, O_RDWR);
	if (card->group_fd < 0)
		return failure(card, path);
	if (ioctl(card->group_fd, VFIO_GROUP_SET_CONTAINER, &container))
		return failure(card, "VFIO_GROUP_SET_CONTAINER");
	if (first && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return failure(card, "VFIO_SET_IOMMU");
	card->fd = ioctl(card->group_fd, VFIO_GROUP_GET_DEVICE_FD, card->name);
	if (card->fd < 0)
		return failure(card, "VFIO_GROUP_GET_DEVICE_FD");
	info.index = VFIO_PCI_CONFIG_REGION_INDEX;
	if (ioctl(card->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return failure(card, "config space");
	card->config = info.offset;
	info.index = VFIO_PCI_BAR0_REGION_INDEX;
	if (ioctl(card->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return failure(card, "BAR 0");
	card->bar = info.offset;
	command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (pwrite(card->fd, &command, 2, card->config + PCI_COMMAND) != 2)
		return failure(card, "PCI_COMMAND");
	return 0;
}

/* QEMU 7.2 ends if a card has no MSI-X any more while it holds an interrupt back. */
static void card_close(struct card *card)
{
	usleep(50000);
	if (card->fd >= 0)
		close(card->fd);
	if (card->group_fd >= 0)
		close(card->group_fd);
	card->fd = -1;
	card->group_fd = -1;
}

static int card_write(struct card *card, unsigned int reg, uint32_t val)
{
	return pwrite(card->fd, &val, 4, card->bar + reg) == 4 ? 0 : failure(card, "register");
}

/* Each vector in turn is the interrupt's. */
static int card_interrupts(struct card *card)
{
	struct pollfd poller = { .events = POLLIN };
	uint64_t count;
	int vector;

	for (vector = 0; vector < NR_VECTORS; vector++) {
		if (card_write(card, E1000E_ICR, CAUSE_OTHER) ||
		    card_write(card, E1000E_IVAR, IVAR_OTHER_IS(vector)) ||
		    card_write(card, E1000E_IMS, CAUSE_OTHER) ||
		    card_write(card, E1000E_ICS, CAUSE_OTHER))
			return 1;
		poller.fd = card->event[vector];
		if (poll(&poller, 1, 5000) != 1 || read(poller.fd, &count, 8) != 8) {
			fprintf(stderr, "%s: vector %d: no interrupt\n", card->name, vector);
			return card->failed = 1;
		}
	}
	return 0;
}

static void *card_set_up(void *arg)
{
	struct card *card = arg;
	size_t size = sizeof(struct vfio_irq_set) + sizeof(card->event);
	struct vfio_irq_set *set = calloc(1, size);

	pthread_barrier_wait(card->start);
	set->argsz = size;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = NR_VECTORS;
	memcpy(set->data, card->event, sizeof(card->event));
	if (ioctl(card->fd, VFIO_DEVICE_SET_IRQS, set))
		failure(card, "VFIO_DEVICE_SET_IRQS");
	else
		card_interrupts(card);
	free(set);
	return NULL;
}

static int one_round(struct card *cards, pthread_barrier_t *start)
{
	int container = open("/dev/vfio/vfio", O_RDWR), n, i, failed = 0;
	pthread_t threads[2];

	if (container < 0)
		return failure(cards, "/dev/vfio/vfio");
	for (n = 0; n < 2; n++) {
		cards[n].start = start;
		cards[n].failed = 0;
		for (i = 0; i < NR_VECTORS; i++)
			cards[n].event[i] = eventfd(0, 0);
		failed |= card_open(&cards[n], container, n == 0);
	}
	if (!failed) {
		for (n = 0; n < 2; n++)
			pthread_create(&threads[n], NULL, card_set_up, &cards[n]);
		for (n = 0; n < 2; n++) {
			pthread_join(threads[n], NULL);
			failed |= cards[n].failed;
		}
	}
	card_close(&cards[0]);
	if (!failed)
		failed = card_interrupts(&cards[1]);
	card_close(&cards[1]);
	for (n = 0; n < 2; n++)
		for (i = 0; i < NR_VECTORS; i++)
			close(cards[n].event[i]);
	close(container);
	return failed;
}

int main(int argc, char **argv)
{
	struct card cards[2] = { { .fd = -1, .group_fd = -1 }, { .fd = -1, .group_fd = -1 } };
	pthread_barrier_t start;
	int round, rounds;

	if (argc != 6)
		return 2;
	rounds = atoi(argv[1]);
	cards[0].name = argv[2];
	cards[0].group = argv[3];
	cards[1].name = argv[4];
	cards[1].group = argv[5];
	pthread_barrier_init(&start, NULL, 2);
	for (round = 0; round < rounds; round++)
		if (one_round(cards, &start))
			return 1;
	printf("%d rounds, each of 2 cards and %d vectors\n", round, NR_VECTORS);
	return 0;
}
