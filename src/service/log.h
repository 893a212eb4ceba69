/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log: structured messages to the journal, or as text to stderr when run by hand.
 *
 * Levels: error = memlegod cannot do its job; warning = a guest or the host misbehaves; info = a move or a
 * change of state; debug = the rest. A warning is repeated at most once a minute for the same guest and
 * cause (mlg_log_limited). */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "memlego/plan.h"
#include "memlego/proposal.h"

/* Syslog priorities, so that callers need no syslog.h */
enum { MLG_LOG_ERROR = 3, MLG_LOG_WARNING = 4, MLG_LOG_INFO = 6, MLG_LOG_DEBUG = 7 };

/* Where to: the journal if stderr is connected to it (JOURNAL_STREAM), else stderr. */
void mlg_log_open(int max_priority, bool foreground);

void mlg_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* With a MESSAGE_ID (may be NULL) and the guest it is about. */
void mlg_log_guest(int priority, const char *message_id, const char *uuid, const char *name, const char *format, ...)
        __attribute__((format(printf, 5, 6)));
/* Its state changed; `why` MLG_REASON_NONE: it is managed, else the reason why it is left alone. */
void mlg_log_state(int priority, const char *uuid, const char *name, MlgReason why);
void mlg_log_resized(const char *uuid, const char *name, uint64_t from_kib, uint64_t to_kib, MlgReason why, bool dry_run);

/* What happened to a proposal. `by`: who answered it, NULL: nobody did; `reached_kib`: the guest's target now. */
void mlg_log_proposal(const char *uuid, const char *name, const MlgProposal *p, MlgProposalEvent event, const char *effect,
                      uint64_t reached_kib, const char *by);
/* A guest suffers, and what it waits for is approval of a proposal (perhaps of another guest). */
void mlg_log_approval_awaited(const char *uuid, const char *name, uint64_t id, const char *of_name);
/* Nobody, or one guest (uuid NULL: all), needs approval for so long; 0: it does again. */
void mlg_log_allowed(const char *uuid, const char *name, uint64_t usec, const char *by);

/* True when this (guest, cause) pair was not let through during the last minute. Bounded table. */
bool mlg_log_limited(const char *uuid, unsigned int cause, uint64_t now_usec);
