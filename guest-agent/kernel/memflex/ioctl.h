/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ioctl: what memflexctl asks memflex.ko for, on /dev/memflex0. Both need CAP_SYS_ADMIN, because they tell of,
 * and move, any process's memory.
 *
 *   AGES  how long ago the page of each slot was swapped out, in chunks that were begun since; the order is what
 *         counts. What lies on the disk alone has no age known. A slot's number is the offset of its swap entry
 *         in pagemap.
 *   MAP   brings pages of a process in, as if it had touched each of them itself, and maps them; present ones
 *         stay as they are. Fewer than asked for: the rest cannot be had, or the caller is being killed.
 */
#pragma once

#include <linux/ioctl.h>
#include <linux/types.h>

#define MLG_FLEX_AGE_DISK 0xffffffffu
#define MLG_FLEX_AGES_MOST 512u
#define MLG_FLEX_MAP_MOST 512u /* pages: 2 MiB, so that nobody waits long for the process's memory map */

struct mlg_flex_ages {
	__u64 slots, ages; /* addresses of n __u32 each; the second one is written */
	__u32 n;           /* up to MLG_FLEX_AGES_MOST */
	__u32 reserved;    /* 0 */
};

struct mlg_flex_map {
	__u64 address;
	__s32 pid;
	__u32 pages;    /* up to MLG_FLEX_MAP_MOST */
	__u32 done;     /* the answer: pages that are there now, from the first one on */
	__u32 reserved; /* 0 */
};

#define MLG_FLEX_IOC_AGES _IOW('M', 0xf1, struct mlg_flex_ages)
#define MLG_FLEX_IOC_MAP _IOWR('M', 0xf2, struct mlg_flex_map)
