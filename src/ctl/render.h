/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render: values in, text out. Pure; everything shown is escaped here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "ctl/ctl.h"
#include "ctl/snapshot.h"

/* Part of the status to show. */
typedef struct MlgStatusView {
        bool bars;       /* a picture of each guest's memory */
        bool narrow;     /* leave columns out where the terminal is narrow; else its lines wrap */
        size_t first;    /* guest to begin with */
        size_t max_rows; /* guests at most; SIZE_MAX: all */
} MlgStatusView;

/* One answer of Explain(), newest first; the strings are owned. */
typedef struct MlgCtlDecision {
        uint64_t age_usec;
        uint64_t repeated;
        char *state, *trust, *pressure;
        uint64_t actual_kib, used_kib, usable_kib, need_kib, error_kib, cushion_kib;
        uint64_t from_kib, wanted_kib, to_kib;
        char *wanted_reason, *reason, *sentence;
        char *result; /* accepted, pending, none (nothing was asked) or failed: then `error` is an errno's name */
        char *error;
} MlgCtlDecision;

/* One answer of ExplainRules(), in their order; the strings are owned. */
typedef struct MlgCtlRule {
        char *name, *origin;
        char *settings; /* "Floor=2G Priority=20" */
} MlgCtlRule;

typedef struct MlgCtlReservation {
        uint64_t id, kib, room_kib, expires_in_usec;
        char *owner;
} MlgCtlReservation;

/* One answer of ListProposals(); the strings are owned. */
typedef struct MlgCtlProposal {
        uint64_t id;
        char *guest, *state, *reason, *sentence, *effect, *for_guest, *pressure;
        uint64_t from_kib, to_kib, usable_kib, usable_after_kib, need_kib, cushion_kib;
        uint64_t age_usec, expires_in_usec;
} MlgCtlProposal;

/* A predictor or policy from outside; the strings are owned. */
typedef struct MlgCtlPlugin {
        char *name, *kind, *state, *file, *why; /* why: it is refused or off; else "" */
} MlgCtlPlugin;

/* A group of guests that share memory, and a member of one; the strings are owned. */
typedef struct MlgCtlPipe {
        char *name, *path, *state, *attach, *isolation;
        uint64_t region_kib, quota_kib, granted_kib, backed_kib, charged_kib, epoch, n_members, n_refused_pairs,
                utilisation_permille;
} MlgCtlPipe;

typedef struct MlgCtlCount {
        char *name;
        uint64_t n;
} MlgCtlCount;
void mlg_ctl_count_clear(void *count);

typedef struct MlgCtlPipeMember {
        char *pipe, *guest, *state;
        uint64_t id, epoch, granted_kib, target_kib, demand_kib, held_kib, used_kib, connections, sent_bytes, blocked_usec,
                opened_connections;
        GArray *fallbacks; /* MlgCtlCount: why connections are with TCP; NULL: nothing is known */
} MlgCtlPipeMember;

/* Of a group whose members share memory two by two. */
typedef struct MlgCtlPipePair {
        char *pipe, *guests[2], *state;
        uint64_t granted_kib, backed_kib, idle_usec;
} MlgCtlPipePair;

/* A guest that is lent memory to swap into; the strings are owned. */
typedef struct MlgCtlSwap {
        char *guest, *uuid, *section, *path, *state, *attach, *swap_in;
        uint64_t shares, epoch, pool_kib, quota_kib, target_kib, lent_kib, backed_kib, charged_kib;
        uint64_t call_backs, met, late, callback_usec;
        uint64_t wanted_kib, held_kib, device_kib, disk_kib, used_kib, same_kib, on_disk_kib, hits_permille;
        uint64_t pool_reads, disk_reads, pool_writes, disk_writes, written_back, errors;
        uint64_t swap_ins, swap_in_kib, swap_in_done_kib;
} MlgCtlSwap;

void mlg_ctl_decision_clear(MlgCtlDecision *d);
void mlg_ctl_rule_clear(MlgCtlRule *r);
void mlg_ctl_proposal_clear(MlgCtlProposal *p);
void mlg_ctl_reservation_clear(MlgCtlReservation *r);
void mlg_ctl_plugin_clear(MlgCtlPlugin *p);
void mlg_ctl_pipe_clear(MlgCtlPipe *p);
void mlg_ctl_pipe_member_clear(MlgCtlPipeMember *m);
void mlg_ctl_pipe_pair_clear(MlgCtlPipePair *p);
void mlg_ctl_swap_clear(MlgCtlSwap *s);
bool mlg_ctl_swap_is(const MlgCtlSwap *s, const char *guest); /* by name or UUID; NULL: any */

void mlg_render_host(const MlgSnapshot *s, const MlgStyle *style, GString *out);
void mlg_render_guests(const MlgSnapshot *s, const MlgStyle *style, const MlgStatusView *view, GString *out);
/* The host's lines, an empty one, the guests. */
void mlg_render_status(const MlgSnapshot *s, const MlgStyle *style, const MlgStatusView *view, GString *out);

/* Guests of which securestack.ko is known. */
void mlg_render_stacks(const MlgSnapshot *s, const MlgStyle *style, GString *out);
char *mlg_stacks_to_json(const MlgSnapshot *s, bool utf8);
char *mlg_stack_kinds_to_text(json_object *kinds); /* "place 2, nothing 1"; "": none */

/* All of one guest. `now_usec`: memlegod's clock when it told. */
void mlg_render_show(const MlgCtlGuest *g, uint64_t now_usec, const MlgStyle *style, GString *out);

/* What is known of one guest's decisions, and of the rules that hold for it. */
typedef struct MlgCtlExplanation {
        const MlgCtlDecision *decisions;
        size_t n_decisions;
        const MlgCtlRule *rules;
        size_t n_rules;
} MlgCtlExplanation;
void mlg_render_explain(const char *guest, const MlgCtlExplanation *e, const MlgStyle *style, GString *out);
char *mlg_explain_to_json(const char *guest, const MlgCtlExplanation *e, bool utf8);

/* Lists, of n MlgCtlReservation, MlgCtlProposal and MlgCtlPlugin. */
void mlg_render_reservations(const void *reservations, size_t n, const MlgStyle *style, GString *out);
char *mlg_reservations_to_json(const void *reservations, size_t n, bool utf8);
void mlg_render_proposals(const void *proposals, size_t n, const MlgStyle *style, GString *out);
char *mlg_proposals_to_json(const void *proposals, size_t n, bool utf8);
void mlg_render_plugins(const void *plugins, size_t n, const MlgStyle *style, GString *out);
char *mlg_plugins_to_json(const void *plugins, size_t n, bool utf8);
/* {"NAME": [...]}, of the i-th element what `element` makes. */
typedef json_object *(*MlgElementFn)(const void *list, size_t i);
char *mlg_list_to_json(const char *name, const void *list, size_t n, MlgElementFn element, bool utf8);

/* Groups, and all of their members and pairs. */
typedef struct MlgCtlPipes {
        const MlgCtlPipe *pipes;
        const MlgCtlPipeMember *members;
        const MlgCtlPipePair *pairs;
        size_t n, n_members, n_pairs;
} MlgCtlPipes;
void mlg_render_pipes(const MlgCtlPipes *all, const MlgStyle *style, GString *out);
/* Members and pairs; `group`: NULL means of all. */
void mlg_render_pipe_members(const MlgCtlPipes *all, const char *group, const MlgStyle *style, GString *out);
/* Groups with their members and pairs; `group` as above. */
char *mlg_pipes_to_json(const MlgCtlPipes *all, const char *group, bool utf8);

/* A table of all; all of one (`guest` NULL: of each); the same as JSON. */
void mlg_render_swaps(const MlgCtlSwap *all, size_t n, const MlgStyle *style, GString *out);
void mlg_render_swap(const MlgCtlSwap *all, size_t n, const char *guest, const MlgStyle *style, GString *out);
char *mlg_swaps_to_json(const MlgCtlSwap *all, size_t n, const char *guest, bool utf8);

/* Everything that is a number, in Prometheus' text format; pairs are not looked at. */
void mlg_render_metrics(const MlgSnapshot *s, const MlgCtlSwap *swaps, size_t n_swaps, const MlgCtlPipes *pipes, GString *out);
