/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt, private: what the parts of the adapter share. All of them are its side on the loop's thread.
 *
 *   libvirt.c             life: made, dispatched, freed; jobs for the workers
 *   libvirt-connection.c  the connection that listens: made, lost, closed; its events
 *   libvirt-guests.c      the guests: listed, read anew, told of; jobs that copy their memory
 *   libvirt-poll.c        the bulk read, one at a time
 *   libvirt-requests.c    requests for one guest
 *   libvirt-agent.c       questions to the agent inside a guest
 *   libvirt-cgroup.c      the memory cgroup of a guest
 *
 * Invariants:
 * (1) No call of libvirt's is made here: workers make them (libvirt-calls.c), each with its own connection.
 * (2) A QEMU that stops answering blocks the first call that reaches it without limit, even a bulk read that
 *     asks not to wait. That call is parked at its deadline; as it holds the guest's job, later bulk reads
 *     pass the guest by and come back in milliseconds. Hence a poll is tried again before its time is over,
 *     and a guest that hangs mostly parks one thread; at worst one for each call that is under way to it when
 *     it stops: a poll, a look, a target, a statistics period, a question for its job.
 * (3) A guest that did not answer, or has a call that hangs, is sent nothing until a poll had its answer. A
 *     call of ours holds the guest's job too, and a poll passes it by: that is no silence.
 * (4) State is read, never concluded: an event only says that a guest must be read anew; polls find what
 *     events missed.
 *
 * Sizes of guests with virtio-mem devices. libvirt 9.0 counts the devices in some and not in others. Of a guest
 * with 192 MiB and a device of 256 MiB (in one row with 32 MiB in its balloon) these say, in MiB:
 *
 *                            bulk read's        <current-   memory statistics'    balloon
 *   requested and plugged    current  maximum   Memory>     actual   available    event
 *     0                        192      448       192         192       142         -
 *   128                        320      448       320         192       270         -
 *   256                        448      448       448         192       398         -
 *   256, balloon 32            416      448       416         160       366        160
 *   256, after a reset         704      448       704         192       398         -
 *
 * <memory> is the maximum, and virDomainSetMemoryFlags() sets what statistics call actual, to 192 at most. After a
 * reset the devices are counted twice; each one's own <current> is right. QEMU tells of a device once in a second at
 * most: of one that went from 0 to 256 MiB in 0.13 s libvirt said 128 for 1.2 s. Hence
 *   - what such a guest has is what its statistics (a look) or its XML say without devices, and their <current>;
 *   - its XML is read anew when an event, or a change of the bulk read's size, says that something changed; then it
 *     is known where the guest is going, too, before it is there;
 *   - its size counts as a second old, even in a look. */
#pragma once

#include <glib.h>

#include "hypervisor/cgroup.h"
#include "hypervisor/libvirt-events.h"
#include "hypervisor/workers.h"
#include "memlego/hypervisor.h"
#include "util/pollable.h"
#include "util/util.h"

/* What is known of one guest. */
typedef struct MlgLibvirtGuest {
        MlgGuestInfo info;   /* as it was reported last */
        bool reported;
        bool seen;           /* by the list or the poll that is looked at */
        bool stale;          /* must be read anew */
        bool reading;
        bool silent;         /* see (3) */
        bool passed_by;      /* by the poll that is looked at, because of a call of ours */
        bool late;           /* a call to it passed its deadline; until *calls is 0 it still hangs */
        gint *calls;         /* to this guest, not yet returned; shared with the threads */
        uint64_t answered_usec; /* when the last call to it came back well */
        uint64_t bulk_kib;   /* its size in the last bulk read */

        bool job;            /* its memory is being copied */
        unsigned job_events; /* that said so */
        bool job_checking;
        uint64_t job_checked_usec;
} MlgLibvirtGuest;

typedef struct MlgLibvirt {
        MlgHypervisor base; /* must stay first */
        MlgPollable pollable;
        char *uri;
        uint64_t call_timeout_usec;
        MlgWorkers *workers;
        MlgWorkers *askers;       /* for questions to guests' agents, which may wait long */
        MlgWorkers *reclaimers;   /* for the guests' cgroups: swapping out may take long */
        const MlgCgroupRoots *roots; /* of these; NULL: the guests are not on this host */
        int epoll;                /* of the three */
        GHashTable *guests;       /* uuid -> MlgLibvirtGuest */
        GQueue replies;           /* of libvirt-requests.c */

        MlgLibvirtEvents *events; /* NULL: not connected */
        unsigned epoch;           /* counts connections: results from before are dropped */
        GQueue unclosed;          /* MlgLibvirtEvents: no thread was free to close them; shut */
        bool connecting;
        bool told_failure;        /* on_connection(false) was the last word */
        unsigned backoff_sec;
        uint64_t connect_at_usec;

        bool polling;
        bool poll_refused;        /* answered in the next dispatch, with poll_error */
        int poll_error;
        uint64_t poll_deadline_usec;
        uint64_t attempt_usec;    /* when the bulk read under way was asked for */
        uint64_t bulk_took_usec;  /* by the last one that came back well */
        bool poll_timed_out;      /* the last one, all attempts of it */
        MlgPollFn poll_fn;
        void *poll_userdata;
} MlgLibvirt;

/* What a worker works on. Each kind of job uses some of it; a job never touches the adapter. */
typedef struct MlgLibvirtCall {
        char uuid[MLG_UUID_LEN + 1];
        uint64_t value;
        gint *calls;
        char *uri;
        char *text;
        int wake_fd;
        char *why;
        MlgGuestInfo info;
        MlgRawStats raw;
        MlgRawMonitor monitor;
        MlgRawCgroup cgroup;
        char *name;
        const MlgCgroupRoots *roots; /* of those who made the adapter: they outlive it */
        bool flag;
        GArray *array;
        MlgLibvirtEvents *events;
} MlgLibvirtCall;

/* Whom a job was for. */
typedef struct MlgLibvirtTicket {
        MlgLibvirt *l;
        unsigned epoch;
        char uuid[MLG_UUID_LEN + 1];
        MlgDoneFn fn; /* one of these four */
        MlgLookFn look;
        MlgAskFn ask;
        MlgReclaimFn reclaim;
        void *userdata;
        unsigned job_events;       /* of the guest, when it was asked for its job */
        MlgLibvirtEvents *closing; /* the thread's from when it begins */
} MlgLibvirtTicket;

static inline uint64_t mlg_libvirt_now_usec(void) {
        return (uint64_t) g_get_monotonic_time();
}

/* --- libvirt.c --- */

uint64_t mlg_libvirt_deadline_or_default(const MlgLibvirt *l, uint64_t deadline_usec);
MlgLibvirtCall *mlg_libvirt_call_new(const char *uuid);
void mlg_libvirt_call_free(void *call);
MlgLibvirtTicket *mlg_libvirt_ticket_new(MlgLibvirt *l, const char *uuid);
/* What was asked before the connection was made anew tells nothing of the new one. */
bool mlg_libvirt_is_current(const MlgLibvirtTicket *t);
/* Both take call and ticket in any case. As mlg_workers_submit(). */
int mlg_libvirt_submit_to(MlgWorkers *w, MlgJobRunFn run, MlgLibvirtCall *call, MlgJobDoneFn done, MlgLibvirtTicket *ticket,
                          uint64_t deadline_usec, bool urgent);
int mlg_libvirt_submit(MlgLibvirt *l, MlgJobRunFn run, MlgLibvirtCall *call, MlgJobDoneFn done,
                       MlgLibvirtTicket *ticket, uint64_t deadline_usec, bool urgent);

/* --- libvirt-connection.c --- */

void mlg_libvirt_connect(MlgLibvirt *l);
void mlg_libvirt_lost(MlgLibvirt *l, const char *why); /* why may be NULL */
void mlg_libvirt_handle_events(MlgLibvirt *l);
void mlg_libvirt_close_unclosed(MlgLibvirt *l);
void mlg_libvirt_close_connections(MlgLibvirt *l);

/* --- libvirt-guests.c --- */

GHashTable *mlg_libvirt_guests_new(void);
MlgLibvirtGuest *mlg_libvirt_guest_get(MlgLibvirt *l, const char *uuid); /* NULL: not known */
MlgLibvirtGuest *mlg_libvirt_guest_add(MlgLibvirt *l, const char *uuid);
bool mlg_libvirt_guest_is_late(MlgLibvirtGuest *g);
bool mlg_libvirt_guest_hangs(MlgLibvirtGuest *g); /* late or silent */
void mlg_libvirt_guest_report(MlgLibvirt *l, MlgLibvirtGuest *g);
bool mlg_libvirt_guest_has_devices(const MlgLibvirtGuest *g); /* virtio-mem */
void mlg_libvirt_guest_read(MlgLibvirt *l, MlgLibvirtGuest *g);
void mlg_libvirt_guest_set_job(MlgLibvirt *l, MlgLibvirtGuest *g, bool job);
void mlg_libvirt_check_jobs(MlgLibvirt *l);
void mlg_libvirt_take_list(MlgLibvirt *l, const GArray *infos); /* of MlgGuestInfo: all there are */

/* --- libvirt-poll.c --- */

int mlg_libvirt_op_poll(MlgHypervisor *h, uint64_t deadline_usec, MlgPollFn fn, void *userdata);
void mlg_libvirt_end_refused_poll(MlgLibvirt *l);

/* --- libvirt-requests.c --- */

int mlg_libvirt_op_look(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgLookFn fn,
                        void *userdata);
int mlg_libvirt_op_set_target(MlgHypervisor *h, const char *uuid, uint64_t target_kib,
                              uint64_t deadline_usec, MlgDoneFn fn, void *userdata);
int mlg_libvirt_op_set_stats_period(MlgHypervisor *h, const char *uuid, uint32_t period_sec,
                                    uint64_t deadline_usec, MlgDoneFn fn, void *userdata);
int mlg_libvirt_op_attach_monitor(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgDoneFn fn,
                                  void *userdata);
int mlg_libvirt_op_attach_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path,
                                uint64_t deadline_usec, MlgDoneFn fn, void *userdata);
int mlg_libvirt_op_detach_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path,
                                uint64_t deadline_usec, MlgDoneFn fn, void *userdata);
void mlg_libvirt_send_replies(MlgLibvirt *l);
void mlg_libvirt_drop_replies(MlgLibvirt *l);

/* --- libvirt-agent.c --- */

int mlg_libvirt_op_ask_agent(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgAskFn fn, void *userdata);

/* --- libvirt-cgroup.c --- */

int mlg_libvirt_op_reclaim(MlgHypervisor *h, const char *uuid, uint64_t kib, uint64_t deadline_usec, MlgReclaimFn fn,
                           void *userdata);
