/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hypervisor: what an adapter must offer so that memlegod can see guests and move their memory.
 *
 * All calls return at once; work is done elsewhere and its outcome comes back through callbacks, which run
 * only inside dispatch() of the adapter's pollable, on the thread that runs the loop. Each request ends in
 * exactly one callback, at the latest shortly after its deadline. An adapter never calls back from inside a
 * request.
 *
 * A connection that breaks is the adapter's business: it reports on_connection(false), reconnects with
 * back-off, and then reports on_connection(true) followed by on_guest() for each guest there is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memlego/sample.h"
#include "memlego/shmem.h"

#define MLG_MONITOR_PATH_MAX 107 /* what the address of a Unix socket takes */
#define MLG_PIPE_DEVICES_MAX 9   /* of one guest that are looked after: a lobby and eight pairs */

/* Static facts of a guest, from its definition; reported again when they change. */
typedef struct MlgGuestInfo {
        char uuid[MLG_UUID_LEN + 1]; /* the key in all calls */
        char name[MLG_NAME_MAX + 1];
        char labels[MLG_LABELS_MAX + 1]; /* from the domain's metadata, separated by single blanks */
        MlgRunState run_state;
        uint64_t maximum_kib;
        uint32_t instance;               /* changes when the guest is started anew (libvirt's domain id); 0: off */
        uint32_t stats_period_sec;       /* balloon statistics period found; 0: off */
        bool has_balloon;
        bool autodeflate;
        bool free_page_reporting;
        bool vfio;                       /* has host devices: its memory is pinned */
        bool locked;                     /* <memoryBacking><locked/> */
        bool hugepages;
        bool virtio_mem;                 /* has such devices ... */
        uint64_t granule_kib;            /* ... which change in such steps; 0: they are not understood ... */
        uint64_t base_kib;               /* ... what it has without them, at most ... */
        /* A change of these three alone is not reported. */
        uint64_t rest_kib;               /* ... the same without what its balloon holds now ... */
        uint64_t plugged_kib;            /* ... what it has in them ... */
        uint64_t requested_kib;          /* ... and what they were told */
        bool confidential;               /* encrypted: QEMU discards nothing that its balloon gives */
        bool migrating;
        bool virtio_serial;              /* has a controller that a channel can be added to */
        bool agent;                      /* the QEMU guest agent is there, and listens */
        /* Servers of its devices for shared memory (memlego/pipe.h); "": no more. */
        char pipe_paths[MLG_PIPE_DEVICES_MAX][MLG_MONITOR_PATH_MAX + 1];
        char swap_path[MLG_MONITOR_PATH_MAX + 1];    /* of its device for memory to swap into (memlego/swap.h); "": none */
        char monitor_path[MLG_MONITOR_PATH_MAX + 1]; /* socket on which QEMU serves the monitor's channel; "": none */
} MlgGuestInfo;

/* A guest with virtio-mem devices is changed by these alone, and its balloon stays as it is: they are faster,
 * and free their memory in spite of host devices. */
static inline MlgActuator mlg_guest_actuator(const MlgGuestInfo *info) {
        if (info->virtio_mem)
                return info->granule_kib > 0 ? MLG_ACTUATOR_VIRTIO_MEM : MLG_ACTUATOR_NONE;
        return info->has_balloon ? MLG_ACTUATOR_BALLOON : MLG_ACTUATOR_NONE;
}

typedef enum MlgGuestEvent {
        MLG_GUEST_EVENT_BALLOON, /* the balloon moved: value = actual in KiB */
        MLG_GUEST_EVENT_REBOOT,
        _MLG_GUEST_EVENT_MAX,
} MlgGuestEvent;

typedef struct MlgHypervisor MlgHypervisor;

/* What the adapter tells. */
typedef struct MlgHypervisorCallbacks {
        /* `why` is a sentence for people; valid during the call. */
        void (*on_connection)(bool connected, const char *why, void *userdata);
        void (*on_guest)(const MlgGuestInfo *info, void *userdata);   /* new, or its facts changed */
        void (*on_guest_gone)(const char *uuid, void *userdata);      /* undefined or, if transient, stopped */
        void (*on_event)(const char *uuid, MlgGuestEvent event, uint64_t value, void *userdata);
} MlgHypervisorCallbacks;

/* One guest's part of a poll. `raw` is NULL when its QEMU did not answer. A guest that could not be read
 * because a call made through this adapter kept it busy is left out: that call tells how it is. */
typedef struct MlgPollEntry {
        const char *uuid;
        const MlgRawStats *raw;
} MlgPollEntry;

/* r: 0; -ENOTCONN; -ETIMEDOUT (entries are then empty; the adapter goes on with a fresh connection). */
typedef void (*MlgPollFn)(int r, const MlgPollEntry *entries, size_t n_entries, void *userdata);

/* r: 0 accepted, not yet reached; -ENODEV guest gone or off; -ETIMEDOUT unknown outcome; -EOPNOTSUPP no
 * balloon; -ENOTCONN; -EAGAIN not asked, because its QEMU is busy or silent just now, or because calls to
 * others took all the time there was; -EBUSY too many calls hang; other -errno: refused. `why` may be NULL.
 */
typedef void (*MlgDoneFn)(int r, const char *why, void *userdata);

/* r: 0, and raw is valid during the call; else as in MlgDoneFn. */
typedef void (*MlgLookFn)(int r, const MlgRawStats *raw, void *userdata);

/* r: 0, and raw is valid during the call; else as in MlgDoneFn, or -EBADMSG: its answer makes no sense. */
typedef void (*MlgAskFn)(int r, const MlgRawMonitor *raw, const char *why, void *userdata);

/* r: 0, and raw is valid during the call, as of after it; -EAGAIN: less than that was found to take, or it was
 * not asked, because others were; else as said in hypervisor/cgroup.h, or -ETIMEDOUT: it may still be under
 * way. */
typedef void (*MlgReclaimFn)(int r, const MlgRawCgroup *raw, const char *why, void *userdata);

typedef struct MlgHypervisorOps {
        const char *name;

        /* Starts connecting; the outcome comes as on_connection(). */
        void (*start)(MlgHypervisor *h);
        /* One bulk read of all running guests; actual_kib may be up to a second old in it.
         * -EBUSY: a poll is still under way, fn will not be called. */
        int (*poll)(MlgHypervisor *h, uint64_t deadline_usec, MlgPollFn fn, void *userdata);
        /* One running guest whose memory moves: everything as it is now, or as new as actual_age_usec says. */
        int (*look)(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgLookFn fn, void *userdata);
        /* Rounded down to the guest's granule. */
        int (*set_target)(MlgHypervisor *h, const char *uuid, uint64_t target_kib, uint64_t deadline_usec,
                          MlgDoneFn fn, void *userdata);
        int (*set_stats_period)(MlgHypervisor *h, const char *uuid, uint32_t period_sec, uint64_t deadline_usec,
                                MlgDoneFn fn, void *userdata);
        /* Adds the channel of the monitor (memlego/monitor-proto.h) to a running guest, until it is off; NULL: this
         * adapter cannot. The guest is reported anew when it is there. */
        int (*attach_monitor)(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgDoneFn fn, void *userdata);
        /* Adds a device for shared memory, served at `path`, to a running guest until it is off, or takes it away; NULL: this
         * adapter cannot. The guest is reported anew when it is there, or gone. */
        int (*attach_shmem)(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path, uint64_t deadline_usec,
                            MlgDoneFn fn, void *userdata);
        int (*detach_shmem)(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path, uint64_t deadline_usec,
                            MlgDoneFn fn, void *userdata);
        /* Asks the QEMU guest agent of a running guest for stalls and counters; NULL: this adapter cannot. It may take as
         * long as it likes, and delays no other call. < 0: not asked, fn will not be called. */
        int (*ask_agent)(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgAskFn fn, void *userdata);
        /* Has the host take so much of a running guest's memory, the coldest first (0: nothing), and reads the
         * memory cgroup of its QEMU; NULL: this adapter cannot. < 0: not asked, fn will not be called. */
        int (*reclaim)(MlgHypervisor *h, const char *uuid, uint64_t kib, uint64_t deadline_usec, MlgReclaimFn fn,
                       void *userdata);
        /* Pending callbacks are dropped. Guests stay as they are. */
        void (*free)(MlgHypervisor *h);
} MlgHypervisorOps;

/* Embedded as first member by each adapter. */
struct MlgHypervisor {
        const MlgHypervisorOps *ops;
        const MlgHypervisorCallbacks *callbacks;
        void *userdata;
};
