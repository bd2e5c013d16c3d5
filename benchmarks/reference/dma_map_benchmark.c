// SPDX-License-Identifier: GPL-2.0-only
/*
 * The series' DMA map benchmark as a module of a kernel without the series.
 *
 * Boot that kernel with initcall_blacklist=map_benchmark_init: it has a driver of
 * the same name.
 */
#define pr_fmt(fmt)	KBUILD_MODNAME ": " fmt

#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>

/* In the place of the kernel's own header, of the uAPI or not: the guard is the same. */
#include "map_benchmark.h"

/* Not exported, and used with a NUMA node alone */
#define kthread_bind_mask(task, mask)	set_cpus_allowed_ptr(task, mask)

/* What is on the blacklist must not be the module's entry. */
#undef module_init
#define module_init(fn)

#include "map_benchmark.c"

int __init init_module(void)
{
	return map_benchmark_init();
}

MODULE_LICENSE("GPL");
