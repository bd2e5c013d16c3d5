/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Time, numbers, files, boot parameters, and allocations that fail.
 *
 * Functions return 0 or a negative errno unless their comment says otherwise.
 */

#ifndef _SELFTESTS_DMA_LIB_UTIL_H
#define _SELFTESTS_DMA_LIB_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#define KB(n)		((n) << 10)
#define MB(n)		((n) << 20)

long long now_ms(void);
void sleep_ms(long ms);
__u64 align_up(__u64 val, __u64 to);
__u64 min_u64(__u64 a, __u64 b);

/* The first @n bytes of @data are all @byte. */
bool all_bytes(const __u8 *data, size_t n, __u8 byte);

/* Close what is open, once. */
void fd_close(int *fd);

/* The whole of a small file without its last newline. */
int file_read(const char *path, char *buf, size_t size);

/* One write() call, as sysfs wants it. */
int file_write(const char *path, const char *val);

/*
 * Was the kernel booted with this parameter? If @value is not NULL it gets what the
 * last one was set to, cut off at @size, or nothing. Ends the program if that cannot be
 * told.
 */
bool boot_param(const char *name, char *value, size_t size);

/* Open the first node in /dev that can be, of those that @folder of /sys names. */
int dev_open(const char *folder);

/*
 * Let the injected failures reach allocations that may sleep, too, and have
 * nothing logged about them. False if the kernel cannot do that.
 */
bool fault_injection_setup(void);

#endif /* _SELFTESTS_DMA_LIB_UTIL_H */
