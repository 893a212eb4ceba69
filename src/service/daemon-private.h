/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Daemon, private: what the parts of the service share.
 *
 *   daemon.c    life: start, signals, reload, stop; guests come and go; the bus comes and goes
 *   balance.c   the turn: poll -> observe -> decide -> ask -> answer -> tell
 *   host.c      the host alone between polls, and the alarm when it is short itself
 *   requests.c  what clients of the bus ask for
 *   proposals.c moves that wait for approval: told, and answered
 *   plugins.c   predictors and policies from outside
 *   statistics.c  the period of balloon statistics
 *   monitor.c   the programs inside the guests
 *   pipe.c      groups of guests that share memory
 *   swap.c      guests that are lent memory to swap into
 *   device.c    what these two have in common
 *   stack.c     what guests say of securestack.ko
 *   agent.c     QEMU's guest agent, where it stands in for them
 *   reclaim.c   memory that the host takes of guests without a device to be moved by
 *   learning.c  when what predictors have learned is saved, and taken up again
 *   dump.c      everything as JSON
 * Everything runs on the loop's thread. */
#pragma once

#include "bus/bus.h"
#include "core/engine.h"
#include "hypervisor/hostmem.h"
#include "hypervisor/monitor.h"
#include "memlego/hypervisor.h"
#include "memlego/pipe.h"
#include "memlego/swap.h"
#include "service/config.h"
#include "service/daemon.h"
#include "service/learned.h"
#include "service/loop.h"
#include "service/plugin-notes.h"
#include "service/state.h"

typedef struct MlgDaemon {
        const MlgDaemonOptions *options;
        MlgConfig *config;
        MlgLoop *loop;
        MlgEngine *engine;
        MlgHypervisor *hypervisor;
        MlgHostmem *hostmem;
        MlgMonitors *monitors;
        GPtrArray *pipes;             /* MlgDaemonPipe, of pipe.c */
        GPtrArray *swaps;             /* of swap.c */
        uint64_t lend_window_usec, lend_window_kib; /* of swap.c, too: since then so much was lent */
        MlgState *state;
        MlgLearned *learned;
        char uri[256];
        bool dry_run;
        MlgPluginNotes *plugin_notes; /* NULL: none are kept */
        uint64_t plugins_changed_usec; /* when something in their directory changed last, as of the start */

        MlgBus *bus;                  /* NULL: not connected */
        MlgWatch *bus_watch, *hypervisor_watch, *monitors_watch;
        MlgTimer *bus_timer;          /* retry */
        uint64_t bus_backoff_usec;

        GHashTable *requests;         /* userdata of what the hypervisor was asked and has not answered; freed at the end */
        bool connected;               /* to the hypervisor */
        bool listing;                 /* guests reported now ran before us */
        bool ready_told, bus_tried, stopping;
        uint64_t stop_at_usec;        /* then at the latest */
        MlgTimer *stop_timer, *ready_timer;

        MlgTimer *poll_timer;
        uint64_t poll_due_usec;       /* when the next poll should start */
        uint64_t poll_started_usec;
        bool polling;                 /* one is under way */
        uint64_t poll_patience_usec;  /* four times what the last one took: two attempts, and each has twice that */
        MlgTimer *look_timer, *gather_timer, *watch_timer;
        bool look_armed, gathering;
        uint64_t look_due_usec, early_look_usec; /* when the next one is, and when an early one was asked for last */
        uint64_t turned_usec;         /* when it was decided last besides polls */
        unsigned int looks;           /* under way */
        size_t look_next;
        uint64_t last_look_usec;
        MlgTimer *watchdog_timer;
        uint64_t progress_usec;       /* last time a poll ended, or there was nothing to poll */
        bool was_short;               /* a shortage was told */
        MlgAlarm alarm;               /* as it was told, with the next three */
        uint64_t alarm_since_usec, alarm_told_usec, alarm_missing_kib;
        bool alarm_logged;
        uint64_t last_reservation_id;

        MlgTimer *learn_timer;
        bool saving_fails;            /* the last time what was learned could not be saved */
        uint64_t drop_learned_usec;   /* when to look next for what nobody wants any more; 0: not yet known */

        uint64_t polls, polls_late, decisions, moves_accepted, moves_failed;
        uint64_t last_poll_usec, last_decide_usec;
} MlgDaemon;

/* balance.c */
void mlg_daemon_poll(uint64_t now_usec, void *daemon);             /* of poll_timer */
void mlg_daemon_tell_states(MlgDaemon *d);                         /* log and bus: states that changed */
void mlg_daemon_look(uint64_t now_usec, void *daemon);             /* of look_timer */
void mlg_daemon_gathered(uint64_t now_usec, void *daemon);         /* of gather_timer */
void mlg_daemon_flush(MlgDaemon *d);                               /* changed properties to the bus */
void mlg_daemon_keep(MlgDaemon *d, const MlgVm *vm);               /* writes the guest's record, as the engine knows it now */
MlgStateGuest mlg_daemon_record(const MlgDaemon *d, const MlgVm *vm); /* what is on record of this run of it */
void mlg_daemon_sync_state(MlgDaemon *d);
uint64_t mlg_real_usec(void);

/* daemon.c */
char *mlg_daemon_boot_id(void);
bool mlg_daemon_reload(MlgDaemon *d, char ***ret_changes, GError **error);

/* host.c */
void mlg_daemon_watch_host(uint64_t now_usec, void *daemon);       /* of watch_timer */
void mlg_daemon_tell_alarm(MlgDaemon *d, const MlgHostStatus *s);  /* after each decision */

/* statistics.c */
void mlg_daemon_want_statistics(MlgDaemon *d, MlgVm *vm);
/* Ends the loop when all periods that we changed are as they were found; of stop_timer. */
void mlg_daemon_give_back_statistics(uint64_t now_usec, void *daemon);

/* requests.c */
extern const MlgBusOps mlg_daemon_bus_ops;
void mlg_daemon_host_status(MlgHostStatus *ret, void *daemon);

/* Causes for mlg_log_limited(): of each, and for each guest, only some lines in a while. */
enum {
        MLG_CAUSE_ASK_FAILED = 1,
        MLG_CAUSE_SHORTAGE,
        MLG_CAUSE_POLL,
        MLG_CAUSE_STATE,
        MLG_CAUSE_HOSTMEM,
        MLG_CAUSE_MONITOR,
        MLG_CAUSE_ATTACH,
        MLG_CAUSE_AGENT,
        MLG_CAUSE_APPROVAL,
        MLG_CAUSE_LEARNED,
        MLG_CAUSE_RULES,
        MLG_CAUSE_ALARM,
        MLG_CAUSE_RECLAIM,
        MLG_CAUSE_PIPE_REFUSED,
        MLG_CAUSE_PIPE_NONSENSE,
        MLG_CAUSE_PIPE_FULL,
        MLG_CAUSE_DEVICE,
        MLG_CAUSE_SWAP,
        MLG_CAUSE_STACK,
};

/* agent.c */
void mlg_daemon_want_agent(MlgDaemon *d, MlgVm *vm);

/* reclaim.c */
void mlg_daemon_want_reclaim(MlgDaemon *d, MlgVm *vm);

/* balance.c, monitor.c */
void mlg_daemon_turn_soon(MlgDaemon *d, uint64_t at_usec);         /* a decision besides polls, if none is due already */
int mlg_daemon_start_monitors(MlgDaemon *d);
void mlg_daemon_want_monitor(MlgDaemon *d, MlgVm *vm);

/* stack.c */
void mlg_daemon_take_stack(MlgDaemon *d, MlgVm *vm, const MlgRawMonitor *raw);

/* proposals.c */
void mlg_daemon_settle_proposals(MlgDaemon *d, uint64_t now);     /* after each decision */
void mlg_daemon_drop_proposal(MlgDaemon *d, const MlgVm *vm);     /* its guest goes */
void mlg_daemon_keep_allowed(MlgDaemon *d);                       /* on record: what is allowed to all */
size_t mlg_daemon_proposals(MlgProposalStatus *ret, size_t max, void *daemon);
bool mlg_daemon_approve(uint64_t id, const MlgProposalVoter *by, GError **error, void *daemon);
bool mlg_daemon_reject(uint64_t id, const MlgProposalVoter *by, GError **error, void *daemon);
bool mlg_daemon_approve_all(const char *uuid, uint64_t usec, const MlgProposalVoter *by, uint32_t *ret_n, GError **error,
                            void *daemon);
bool mlg_daemon_end_approval(const char *uuid, const MlgProposalVoter *by, GError **error, void *daemon);

/* learning.c */
void mlg_daemon_learn(uint64_t now_usec, void *daemon);            /* of learn_timer */
void mlg_daemon_want_learned(MlgDaemon *d, const MlgVm *vm);       /* it is new, or its predictor may be */
void mlg_daemon_save_learned(MlgDaemon *d, MlgVm *vm);             /* it goes */
void mlg_daemon_save_all_learned(MlgDaemon *d);                    /* we go */

/* plugins.c */
void mlg_daemon_load_plugins(MlgDaemon *d);
void mlg_daemon_tell_plugins(MlgDaemon *d);                       /* log: those switched off since; after each decision */
void mlg_daemon_tell_plugins_changed(MlgDaemon *d);               /* at a reload, which loads none */
void mlg_daemon_unload_plugins(MlgDaemon *d);
size_t mlg_daemon_plugins(MlgPluginStatus *ret, size_t max, void *daemon);

/* rules.c */
size_t mlg_daemon_rules(const char *uuid, MlgRuleStatus *ret, size_t max, void *daemon);
/* pipe.c */
/* At the start, and at a reload; `kept`: what an earlier memlegod left, see device.h. */
void mlg_daemon_configure_pipes(MlgDaemon *d, GHashTable *kept);
void mlg_daemon_want_pipe(MlgDaemon *d, MlgVm *vm);                /* plugs its device in, or out */
void mlg_daemon_want_pipes(MlgDaemon *d);                          /* of all */
void mlg_daemon_reset_pipe(MlgDaemon *d, const MlgVm *vm);         /* it was rebooted */
void mlg_daemon_tell_shared(MlgDaemon *d);                         /* to the engine, before the host is read */
void mlg_daemon_limit_pipes(MlgDaemon *d);                         /* after each decision */
void mlg_daemon_end_pipes(MlgDaemon *d);
size_t mlg_daemon_pipes(MlgPipeStatus *ret, size_t max, void *daemon);
bool mlg_daemon_plug_pipe(const char *uuid, bool attach, GError **error, void *daemon);

/* swap.c */
void mlg_daemon_start_swaps(MlgDaemon *d, GHashTable *kept);
void mlg_daemon_want_swap(MlgDaemon *d, MlgVm *vm);                /* its pool, as configured: it, or that, is new */
void mlg_daemon_reset_swap(MlgDaemon *d, const MlgVm *vm);         /* it was rebooted */
void mlg_daemon_tend_swaps(MlgDaemon *d);                          /* devices, and pools that nobody needs: now and then */
void mlg_daemon_wish_lent(MlgDaemon *d);                           /* to the engine, before each decision */
void mlg_daemon_limit_swaps(MlgDaemon *d);                         /* after it: what each may be lent, or is to give back */
uint64_t mlg_swap_add_shared(MlgDaemon *d);                        /* to each guest's; returns what all have in memory, in KiB */
void mlg_daemon_end_swaps(MlgDaemon *d);
size_t mlg_daemon_swaps(MlgSwapStatus *ret, size_t max, void *daemon);

/* dump.c */
char *mlg_daemon_dump(void *daemon);
