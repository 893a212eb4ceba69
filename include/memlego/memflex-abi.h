/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MemFlex: the layout of the host memory into which one guest swaps. Contract between memlegod, which makes the pool and
 * serves it as an ivshmem device, and memflex.ko in the guest; compiled into both, and into tests.
 *
 * A pool belongs to one guest and is never shown to another. That guest can write to all of it, so what is said below about
 * who writes where is a rule of the protocol, which the memory cannot enforce. Hence the host believes nothing it finds here:
 * whose chunk is whose it has in memory of its own, and shows it. The guest trusts the host as any guest does; but what the
 * host lends can be less than it says, and come late or never.
 *
 *     offset          size           written by      what
 *     0                4 KiB         host            mlg_flex_header
 *     4 KiB            4 KiB         guest           mlg_flex_section: what the guest says of itself
 *     256 KiB        256 KiB         host            u8 lent[]: one for each chunk
 *     512 KiB        256 KiB         guest           u8 back[]: one for each chunk
 *     1 MiB            the rest      guest           chunks of 256 KiB
 *
 * The pool is sparse, and sealed against shrinking and growing. A chunk that is lent is backed before it is, so that the guest
 * never meets a host without memory. What comes back is punched out, which zeroes it. All numbers are little endian.
 *
 * Chunks. A chunk c is the guest's while lent[c] is not 0 and back[c] is not lent[c]. The host lends it by lent[c] = n, a number
 * of 1..255 that is not back[c]; the guest gives it back by back[c] = lent[c], when nothing it needs is in there; the host then punches
 * it out and says lent[c] = 0. So all of it is *state*: nothing is lost with a message, a memlegod that starts anew goes on from
 * it, and who has been asleep sees what there is now.
 *
 * Call-back. header.target_chunks is how many the guest may have. The host lends more only below it. If the guest has more, it is
 * to give back the rest within header.callback_msec, the coldest first, to its disk. Who is late loses nothing but what it might
 * have been lent later: the host never takes a chunk out of a guest's hands, unless the guest is gone.
 *
 * Starting. A module cannot know what its guest's last one left (a reboot does not close the device). It writes session, a
 * random number, into its section, with version 0, and rings the host. The host sees a session that is not the one in its header:
 * it punches out everything but the header and the section, counts up epoch, and then shows the session there. When the module sees its own, it says
 * epoch and version, and rings once more. Only then is anything lent to it. A module that goes in good order gives everything back and says version 0.
 * A guest that is reset and starts no module says nothing at all. So if the host hears of a reset from elsewhere, and section.alive
 * does not move for ten looks, it takes everything, and counts up epoch. Such news may be old: a module that lives is left alone.
 *
 * Waking. Each side rings the other (ivshmem; the host is peer 0) when it has changed something the other should look at: the host
 * lent[] or target_chunks, the guest back[], want_chunks or session. Rings may be merged or lost: the guest also looks once
 * in MLG_FLEX_LOOK_MSEC, and so does the host. */
#pragma once

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <assert.h>
#include <linux/types.h>
#include <stddef.h>
#endif

#define MLG_FLEX_MAGIC 0x3158454c46474c4dULL /* "MLGFLEX1" */
#define MLG_FLEX_VERSION 1u
#define MLG_FLEX_HOST 0u              /* ids of ivshmem (IVPosition) */
#define MLG_FLEX_GUEST 1u
#define MLG_FLEX_IDS 2u
#define MLG_FLEX_VECTOR 0u
#define MLG_FLEX_CHUNK_SHIFT 18u      /* 256 KiB: what is written back at once, too */
#define MLG_FLEX_CHUNK_BYTES (1u << MLG_FLEX_CHUNK_SHIFT)
#define MLG_FLEX_CHUNK_PAGES (MLG_FLEX_CHUNK_BYTES >> 12)
#define MLG_FLEX_CHUNKS_MAX 0x40000u  /* as many as the tables have room for: 64 GiB */
#define MLG_FLEX_LOOK_MSEC 1000u

#define MLG_FLEX_SECTION_AT 0x1000ULL
#define MLG_FLEX_LENT_AT 0x40000ULL
#define MLG_FLEX_BACK_AT 0x80000ULL
#define MLG_FLEX_CHUNKS_AT 0x100000ULL
#define MLG_FLEX_POOL_MIN (16ULL << 20)
#define MLG_FLEX_POOL_MAX (64ULL << 30)

struct mlg_flex_header {
	__u64 magic;          /* written last: who sees it sees the rest */
	__u32 version;
	__u32 features;       /* bits that a guest does not know mean nothing to it */
	__u64 pool_bytes;     /* as ivshmem says it, too; both must agree. A power of two */
	__u32 n_chunks;       /* that there is room for: (pool_bytes - MLG_FLEX_CHUNKS_AT) / 256 KiB at most */
	__u32 target_chunks;  /* as many the guest may have */
	__u32 callback_msec;  /* within which it is to give back what is more */
	__u32 quota_chunks;   /* as many as it can ever get: how large a device without a disk is */
	__u32 epoch;          /* from 1; another number: nothing of before is true */
	__u32 session;        /* of the section, as of this epoch */
	__u32 alive;          /* the host counts it up, once a second at least, while it serves */
	__u32 reserved[19];
};

struct mlg_flex_section {
	__u32 version;        /* of this ABI as the guest speaks it; 0: no module there */
	__u32 features;
	__u32 epoch;          /* that this was written in */
	__u32 session;        /* random, another one each time that the module starts; not 0 */
	__u32 want_chunks;    /* as many it would like to have; none while it does not swap */
	__u32 held_chunks;
	__u32 alive;          /* the guest counts it up each time that it looks */
	__u32 reserved;
	/* For people: what the device has, in pages, and has done, in all. */
	__u64 device_pages;   /* its size */
	__u64 disk_pages;     /* of the disk behind it; 0: none */
	__u64 pool_pages;     /* that lie in chunks, ... */
	__u64 same_pages;     /* ... are of one value and lie nowhere, ... */
	__u64 on_disk_pages;  /* ... lie on the disk alone */
	__u64 pool_reads;     /* pages that were read from chunks, ... */
	__u64 disk_reads;     /* ... and from the disk */
	__u64 pool_writes;
	__u64 disk_writes;    /* pages swapped out straight to the disk */
	__u64 written_back;   /* pages moved from chunks to the disk */
	__u64 errors;         /* of the disk, or of checksums */
	__u8 reserved2[3976];
};

#define MLG_FLEX_IS(what, size) _Static_assert(sizeof(struct what) == (size), #what)
MLG_FLEX_IS(mlg_flex_header, 128);
MLG_FLEX_IS(mlg_flex_section, 4096);
_Static_assert(offsetof(struct mlg_flex_header, pool_bytes) == 16, "pool_bytes");
_Static_assert(offsetof(struct mlg_flex_section, device_pages) == 32, "device_pages");
