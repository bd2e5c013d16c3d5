// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "util.h"

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

__u64 align_up(__u64 val, __u64 to)
{
	return (val + to - 1) / to * to;
}

__u64 min_u64(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

bool all_bytes(const __u8 *data, size_t n, __u8 byte)
{
	while (n--)
		if (*data++ != byte)
			return false;
	return true;
}

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int file_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, buf, size - 1);
	if (len < 0)
		len = -errno;
	close(fd);
	if (len < 0)
		return len;
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return 0;
}

int file_write(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, val, strlen(val)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

bool boot_param(const char *name, char *value, size_t size)
{
	char line[4096], *at = line, *word;
	size_t len = strlen(name);
	bool found = false;

	if (file_read("/proc/cmdline", line, sizeof(line)))
		ksft_exit_fail_msg("cannot read /proc/cmdline\n");
	if (value)
		*value = '\0';
	while ((word = strsep(&at, " "))) {
		if (strncmp(word, name, len) ||
		    (word[len] && word[len] != '='))
			continue;
		found = true;
		if (value)
			snprintf(value, size, "%s",
				 word[len] ? word + len + 1 : "");
	}
	return found;
}

int dev_open(const char *folder)
{
	char path[sizeof("/dev/") + NAME_MAX];
	struct dirent *de;
	int fd = -ENODEV;
	DIR *dir;

	dir = opendir(folder);
	if (!dir)
		return -errno;
	while (fd < 0 && (de = readdir(dir))) {
		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/dev/%s", de->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	closedir(dir);
	return fd;
}

bool fault_injection_setup(void)
{
	static const char * const knobs[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s",
			 knobs[i][0]);
		if (file_write(path, knobs[i][1]))
			return false;
	}
	return true;
}
