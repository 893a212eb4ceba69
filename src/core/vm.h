/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: one guest as the engine knows it, and its state machine.
 *
 * States (MlgVmState) follow from facts, they are not stored decisions: mlg_vm_classify() derives state and
 * reason anew from what is known, so that a guest comes back by itself when the cause is gone.
 *
 * Targets: `target_kib` is the last one that the hypervisor accepted, `pending_kib` one that was asked for
 * and is not answered (at most one), `unsure_kib` the one before, where it is not known whether the newer one
 * reached QEMU (no answer in time, a lost connection, an end of memlegod): it is said again then. The guest is
 * charged the greatest of these and of what it has. A balloon is *settled* once it reached its target, and
 *   - *stuck* when it has not moved towards an unreached target for StuckSec: its target is given up (set to
 *     what it has), and the guest is left alone for a time that doubles with each failure; so others never
 *     plan with memory that does not come;
 *   - *foreign* when it leaves a settled target without being told: somebody else did it, which is respected
 *     for ManualGraceSec. A guest that takes memory back itself (deflate-on-oom) is in need instead. The same
 *     counts for one that moves away from an unreached target for a second.
 * `allowed_kib` is what it may have: its last settled target, and what it was promised since. What it takes beyond
 * that, and does not give back when told, is charged as far as its QEMU really occupies it: a driver that only says
 * that it has memory must not take it from others. */
#pragma once

#include <stdbool.h>

#include "core/ledger.h"
#include "core/reclaim.h"
#include "core/rules.h"
#include "core/sample.h"
#include "core/settings.h"
#include "core/stack.h"
#include "core/swap-in.h"
#include "memlego/hypervisor.h"
#include "memlego/plan.h"
#include "memlego/predictor.h"
#include "memlego/proposal.h"

/* Reports that must have come before anything is decided: two make a rate, the third shows that they go on. */
#define MLG_VM_REPORTS_NEEDED 3

/* One of its devices for shared memory. Times are the service's. */
typedef struct MlgVmPipe {
        char path[MLG_MONITOR_PATH_MAX + 1];
        uint64_t leave_usec; /* since when it is to leave; 0: it is not */
        uint64_t dead_usec;  /* since when nobody is behind it; 0: somebody is */
} MlgVmPipe;

typedef struct MlgVm {
        /* Facts; written when the hypervisor reports them. */
        char uuid[MLG_UUID_LEN + 1];
        char *name, *labels;
        MlgRunState run_state;
        uint32_t instance, stats_period_sec;
        uint64_t maximum_kib;
        MlgActuator actuator;
        uint64_t base_kib, granule_kib; /* it can have base + n * granule; granule 0: any size */
        bool has_balloon, autodeflate, free_page_reporting, vfio, locked, hugepages, virtio_mem, confidential, migrating;
        bool virtio_serial;
        char monitor_path[MLG_MONITOR_PATH_MAX + 1];
        MlgVmPipe pipes[MLG_PIPE_DEVICES_MAX];
        uint32_t n_pipes;
        char swap_path[MLG_MONITOR_PATH_MAX + 1];
        bool agent;

        /* Settings as configured; with what rules say that hold, which are those that count; and what these come to for
         * this guest. Written on reload, when the maximum changes, and by engine-rules.c. */
        MlgGuestSettings configured, settings;
        MlgRuleState rules;
        uint64_t floor_kib, ceiling_kib;

        /* Observation; written by mlg_vm_observe(). */
        MlgSampler sampler;
        uint64_t read_usec;         /* when the hypervisor last told something of it */
        bool polled;                /* actual_kib is known ... */
        uint64_t first_polled_usec; /* ... since then */
        bool unresponsive;
        bool missed;                /* no answer since missed_usec; a short miss means only that somebody else asks it */
        uint64_t missed_usec;
        bool silent;                /* its reports stopped after it had been managed */
        uint32_t reports;           /* fresh ones since its start */
        uint64_t actual_kib;
        uint64_t started_usec;      /* when its start was seen; 0: it ran before us */
        uint64_t silent_usec;       /* since when */
        uint64_t suffered_usec;     /* last time; 0: never, or it freed much since then by itself */
        uint64_t suffered_used_kib; /* its demand then */
        MlgPressure pressure;
        bool lacks;                 /* it misses memory in fact, and not only by what is usable ... */
        uint64_t lacked_usec;       /* ... last; 0: never, or it freed much since then */

        /* Prediction */
        const MlgPredictorOps *predictor;
        void *predictor_priv;
        uint64_t learns_from_usec, learns_to_usec; /* first and last report in its state, of this run of the daemon */
        uint64_t learned_before_usec; /* how long it had learned in earlier ones */
        bool sought;                /* the service looked for a state of theirs; set by it, as the next */
        uint64_t save_usec;         /* when the state should be saved next */
        MlgForecast forecast;
        bool rises;                 /* its demand grew by a good step within about a second ... */
        uint64_t rise_usec[2], rise_kib[2]; /* ... since one of these two reports, the newer one first */
        bool has_forecast;
        MlgForecast judged;         /* a forecast that is held against what comes ... */
        uint64_t judged_cushion_kib, judged_peak_kib;
        uint64_t judge_usec;        /* ... until then; 0: none is */
        uint64_t forecasts, forecast_misses; /* judged, and of these: demand exceeded need plus cushion */
        uint64_t cushion_kib;
        void *policy_priv, *whole_priv; /* for the sure plan, and for the whole one; see proposals.c */

        /* Targets and motion */
        uint64_t target_kib;        /* 0: unknown yet */
        uint64_t pending_kib;       /* 0: nothing in flight */
        uint64_t unsure_kib;        /* 0: QEMU knows target_kib */
        uint64_t allowed_kib;
        bool outdated;              /* what is in flight was asked of the run before */
        uint64_t charge_kib;        /* in the ledger */
        bool adopted;               /* target_kib was taken over from an earlier run */
        bool settled;
        uint64_t settled_usec;      /* since when */
        uint64_t heading_kib;       /* what the hypervisor last said that it was told; 0: nothing */
        uint64_t near_usec;         /* at its target since then, but perhaps only passing by; 0: it is not */
        bool asking_period;         /* the service waits for a statistics period to be set; written by it, as the next */
        uint64_t period_asked_usec; /* when that was asked last; 0: never */
        bool asking_monitor;        /* the service waits for its channel to be added; written by it, as the next two */
        uint64_t monitor_asked_usec;
        MlgMonitorLink monitor_link;
        bool asking_device;         /* the service waits for a device for shared memory to come or go; written by it, as
                                     * the next five */
        bool pipe_off;              /* an operator took the device away, and gives it back */
        bool pipe_wanted;           /* an operator wants it, whatever Attach= says */
        uint64_t pipe_next_usec;    /* nothing is asked of it before then */
        uint64_t swap_next_usec;    /* the same of its device for memory to swap into; the next is of it, too: */
        uint64_t swap_dead_usec;    /* since when nobody is behind it; 0: somebody is */
        MlgSwapIn swap_in;          /* written by the service, as the next */
        uint64_t swap_in_number;    /* of the last order; 0: none in this session */
        MlgStack stack;             /* written by the service */
        bool asking_agent;          /* the service waits for the guest agent's answer; written by it, as the next two */
        uint64_t agent_asked_usec;  /* when it was asked last; 0: never */
        unsigned int agent_failures; /* in a row */
        MlgReclaim reclaim;         /* where Reclaim= is on, and it has no device to be moved by ... */
        bool reclaiming;            /* the service waits for its cgroup to be read or reclaimed; written by it, as the next */
        uint64_t reclaim_due_usec;  /* ... when it should be read next */
        bool looking;               /* the service waits for a look at it; written by it, as the next */
        uint64_t looked_usec;       /* when the last look came back */
        uint64_t progress_usec, progress_kib; /* when it had come a good part nearer, and what it had then */
        uint64_t best_gap_kib;      /* how near it has been */
        uint64_t away_usec, away_gap_kib; /* since when it moves away from its target, and how far it was then; 0: it does not */
        uint64_t shrunk_usec, grown_usec, moved_usec;
        uint64_t stuck_until_usec, stuck_wait_usec;
        uint64_t foreign_until_usec, refused_until_usec;
        uint64_t manual_kib, manual_until_usec; /* 0: none */
        uint64_t shared_kib;        /* at most so much of its rss_kib is memory that it shares; written by the service */
        bool paused;
        bool give_up;               /* stuck: the target must be set to what it has */
        uint64_t shown_kib;         /* last target shown in a dry run */

        /* Approval; written by proposals.c. */
        bool asks;                  /* its moves wait for approval; as of this turn */
        uint64_t allowed_until_usec;/* they do not until then */
        MlgProposal proposal;
        uint32_t proposal_instance; /* of the guest it was made for */
        uint64_t goal_kib;          /* where it may go on the strength of an approved one; 0: nowhere */
        uint64_t unwanted_usec;     /* the plan does not want it since then; 0: it does */
        struct {
                bool up;
                MlgPressure pressure;
                uint64_t kib, until_usec; /* size of the move; until 0: none */
        } rejected;                 /* the last one that was */

        /* State as of the last classification, for display. */
        MlgVmState state;
        MlgReason why;
        MlgVmState announced_state; /* what the service told the log and the bus last; written by it */
        MlgReason announced_why;
        uint64_t announced_rules;

        MlgDecision decisions[MLG_DECISIONS_MAX]; /* ring */
        unsigned int decisions_n, decisions_next;
        uint64_t moves_tried, moves_accepted, moves_failed, moved_kib;
} MlgVm;

MlgVm *mlg_vm_new(const MlgGuestInfo *info, const MlgGuestSettings *settings);
MlgVm *mlg_vm_free(MlgVm *vm);

/* Facts changed. A new instance (the guest was started anew) forgets all that was learnt of the one before. */
void mlg_vm_set_info(MlgVm *vm, const MlgGuestInfo *info, uint64_t now_usec);
/* Settings of a guest that rules are about count from the next turn on, together with what these say. */
void mlg_vm_set_settings(MlgVm *vm, const MlgGuestSettings *configured);
void mlg_vm_take_settings(MlgVm *vm, const MlgGuestSettings *settings); /* they count now */
void mlg_vm_rebooted(MlgVm *vm, uint64_t now_usec);

/* How long its predictor has learned; 0: there is nothing yet. */
uint64_t mlg_vm_learned_usec(const MlgVm *vm);
/* What it has learned is worth a file. */
bool mlg_vm_is_worth_saving(const MlgVm *vm);
/* Its predictor goes on with a state of its own that an earlier run of the daemon saved; what it has learned since is
 * dropped. `same_run`: of the guest, too. False: of another run it is worth nothing. */
bool mlg_vm_resume_predictor(MlgVm *vm, const void *state, uint64_t learned_usec, bool same_run,
                             uint64_t now_usec);

/* One poll; raw NULL: its QEMU did not answer. */
void mlg_vm_observe(MlgVm *vm, const MlgRawStats *raw, const MlgHostSettings *host, uint64_t now_usec,
                    uint64_t now_real_sec);

/* One message of the program inside the guest. True: it suffers now, and did not, or says so anew: a decision should
 * not wait for the next poll. */
bool mlg_vm_observe_monitor(MlgVm *vm, const MlgRawMonitor *raw, uint64_t now_usec, uint64_t now_real_sec);
/* How often that program should report. */
uint64_t mlg_vm_monitor_interval_usec(const MlgVm *vm, uint64_t now_usec);

/* Derives state and reason. `paused`: balancing as a whole is paused. */
void mlg_vm_classify(MlgVm *vm, bool paused, uint64_t now_usec);

/* What the guest must be charged now; 0 for one that holds none of the host's ordinary memory. */
uint64_t mlg_vm_due_kib(const MlgVm *vm);

/* It was started, and no driver of its has reported so far. */
static inline bool mlg_vm_boots(const MlgVm *vm) {
        return vm->started_usec > 0 && vm->reports < MLG_VM_REPORTS_NEEDED;
}
/* Started so short ago that it must not be shrunk yet. */
bool mlg_vm_is_settling(const MlgVm *vm, uint64_t now_usec);

/* Its last report has become too old since it was looked at: nothing may be taken on the strength of it. */
bool mlg_vm_is_outdated(const MlgVm *vm, const MlgHostSettings *host, uint64_t now_usec);

/* It took memory that it was not given: somebody else's doing, or the driver's. */
bool mlg_vm_took_unasked(const MlgVm *vm);

/* A stuck one that may not be told: its target is where it is, in our books only. */
void mlg_vm_let_go(MlgVm *vm, uint64_t now_usec);

/* By what its memory is changed, as it is set up now. */
MlgActuator mlg_vm_actuator(const MlgVm *vm);
/* The host may be asked to take memory of it now. */
bool mlg_vm_may_reclaim(const MlgVm *vm);

/* Should it be looked at by itself, between polls? */
typedef enum MlgLookRank {
        MLG_LOOK_NOT,
        MLG_LOOK_NEAR,  /* it suffers, or may soon: its next report should be seen at once */
        MLG_LOOK_MOVES, /* its balloon is on its way, or arrived just now: polls are too old for it */
} MlgLookRank;
MlgLookRank mlg_vm_look_rank(const MlgVm *vm, uint64_t now_usec);

/* A manual target is in force. */
bool mlg_vm_is_manual(const MlgVm *vm, uint64_t now_usec);

/* A request was sent / answered (r as in MlgDoneFn). */
void mlg_vm_asked(MlgVm *vm, uint64_t target_kib, uint64_t now_usec);
void mlg_vm_answered(MlgVm *vm, int r, uint64_t now_usec);

/* Newest first. */
const MlgDecision *mlg_vm_decision(const MlgVm *vm, unsigned int back);
/* Adds to the ring, or folds into the newest record if only its inputs differ. */
void mlg_vm_record(MlgVm *vm, const MlgDecision *d);
