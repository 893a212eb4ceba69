/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log: fields for the journal, or lines for stderr.
 *
 * Invariants: one message is one line on stderr, whatever guests are called; nothing here blocks on more
 * than the descriptor it writes to; the table of repeated warnings has a fixed size. State is of the process
 * (where stderr goes is, too), used by the loop's thread only. */
#include "service/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The place in this file says nothing to who reads the journal. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <glib.h>
#include <systemd/sd-journal.h>

#include "memlego/names.h"
#include "util/parse.h"
#include "util/util.h"

#define FIELDS_MAX 12

static int log_max_priority = MLG_LOG_INFO;
static bool log_to_journal;

/* JOURNAL_STREAM is "device:inode" of the stream that the service manager connected; inherited variables lie
 * when somebody redirected stderr since. */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        g_autofree char *own = NULL;
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        own = g_strdup_printf("%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        return strcmp(stream, own) == 0;
}

void mlg_log_open(int max_priority, bool foreground) {
        log_max_priority = max_priority;
        log_to_journal = !foreground && stderr_is_journal();
}

/* Names of guests come from outside: no line breaks, no escape sequences. */
static void clean(char *s) {
        for (; *s; s++)
                if (g_ascii_iscntrl(*s))
                        *s = '?';
}

static const char *priority_word(int priority) {
        return priority <= MLG_LOG_ERROR ? "error: " : priority == MLG_LOG_WARNING ? "warning: " : "";
}

static void write_text(int priority, const char *text) {
        g_autofree char *line = NULL;
        struct timespec now = {};
        struct tm tm = {};

        (void) clock_gettime(CLOCK_REALTIME, &now);
        (void) localtime_r(&now.tv_sec, &tm);
        line = g_strdup_printf("%02d:%02d:%02d.%03ld %s%s\n", tm.tm_hour, tm.tm_min, tm.tm_sec,
                               now.tv_nsec / 1000000, priority_word(priority), text);
        /* One call: lines of several processes on one terminal do not mix. */
        for (const char *p = line; *p;) {
                ssize_t n = write(STDERR_FILENO, p, strlen(p));

                if (n <= 0)
                        break;
                p += n;
        }
}

typedef struct Fields {
        struct iovec iov[FIELDS_MAX];
        int n;
} Fields;

/* Takes `field`, "NAME=value". */
static void add_field(Fields *f, char *field) {
        g_assert(f->n < FIELDS_MAX);
        f->iov[f->n++] = (struct iovec) { .iov_base = field, .iov_len = strlen(field) };
}

static void add_guest(Fields *f, const char *message_id, const char *uuid, const char *name) {
        if (message_id)
                add_field(f, g_strconcat("MESSAGE_ID=", message_id, NULL));
        if (uuid)
                add_field(f, g_strconcat(MLG_FIELD_UUID "=", uuid, NULL));
        if (name)
                add_field(f, g_strconcat(MLG_FIELD_GUEST "=", name, NULL));
}

static void add_reason(Fields *f, MlgReason why) {
        add_field(f, g_strconcat(MLG_FIELD_REASON "=", mlg_reason_to_string(why), NULL));
}

/* Sends and empties. A message that cannot be delivered is lost: there is nobody to tell. */
static void send_fields(Fields *f, int priority, const char *text) {
        add_field(f, g_strdup_printf("PRIORITY=%i", priority));
        add_field(f, g_strconcat("MESSAGE=", text, NULL));
        (void) sd_journal_sendv(f->iov, f->n);
        for (int i = 0; i < f->n; i++)
                g_free(f->iov[i].iov_base);
        f->n = 0;
}

static void log_message(int priority, const char *message_id, const char *uuid, const char *name,
                        const char *format, va_list args) G_GNUC_PRINTF(5, 0);
static void log_message(int priority, const char *message_id, const char *uuid, const char *name,
                        const char *format, va_list args) {
        g_autofree char *text = NULL;
        Fields f = {};

        if (priority > log_max_priority)
                return;
        text = g_strdup_vprintf(format, args);
        clean(text);
        if (!log_to_journal) {
                write_text(priority, text);
                return;
        }
        add_guest(&f, message_id, uuid, name);
        send_fields(&f, priority, text);
}

void mlg_log(int priority, const char *format, ...) {
        va_list args;

        va_start(args, format);
        log_message(priority, NULL, NULL, NULL, format, args);
        va_end(args);
}

void mlg_log_guest(int priority, const char *message_id, const char *uuid, const char *name,
                   const char *format, ...) {
        va_list args;

        va_start(args, format);
        log_message(priority, message_id, uuid, name, format, args);
        va_end(args);
}

void mlg_log_state(int priority, const char *uuid, const char *name, MlgReason why) {
        g_autofree char *text = NULL;
        Fields f = {};

        if (priority > log_max_priority)
                return;
        if (why == MLG_REASON_NONE)
                text = g_strdup_printf("Guest %s: managed", name);
        else
                text = g_strdup_printf("Guest %s: left alone (%s): %s", name, mlg_reason_to_string(why),
                                       mlg_reason_to_sentence(why));
        clean(text);
        if (!log_to_journal) {
                write_text(priority, text);
                return;
        }
        add_guest(&f, MLG_MSG_GUEST_STATE, uuid, name);
        add_reason(&f, why);
        send_fields(&f, priority, text);
}

void mlg_log_resized(const char *uuid, const char *name, uint64_t from_kib, uint64_t to_kib, MlgReason why,
                     bool dry_run) {
        g_autofree char *from = mlg_format_kib(from_kib), *to = mlg_format_kib(to_kib), *text = NULL;
        Fields f = {};

        if (log_max_priority < MLG_LOG_INFO)
                return;
        text = g_strdup_printf("%s guest %s: %s -> %s: %s", dry_run ? "Would resize" : "Resized", name, from,
                               to, mlg_reason_to_sentence(why));
        clean(text);
        if (!log_to_journal) {
                write_text(MLG_LOG_INFO, text);
                return;
        }
        /* A move that was not made has no id of a move: who counts moves must not count it. */
        add_guest(&f, dry_run ? NULL : MLG_MSG_RESIZED, uuid, name);
        add_field(&f, g_strdup_printf(MLG_FIELD_FROM_KIB "=%" PRIu64, from_kib));
        add_field(&f, g_strdup_printf(MLG_FIELD_TO_KIB "=%" PRIu64, to_kib));
        add_reason(&f, why);
        send_fields(&f, MLG_LOG_INFO, text);
}

static const char *proposal_message_id(MlgProposalEvent event) {
        switch (event) {
        case MLG_PROPOSAL_PROPOSED:
                return MLG_MSG_PROPOSED;
        case MLG_PROPOSAL_APPROVED:
                return MLG_MSG_APPROVED;
        case MLG_PROPOSAL_REJECTED:
                return MLG_MSG_REJECTED;
        case MLG_PROPOSAL_APPLIED:
                return MLG_MSG_APPLIED;
        case MLG_PROPOSAL_FAILED:
        case MLG_PROPOSAL_SUPERSEDED:
        case MLG_PROPOSAL_WITHDRAWN:
        case MLG_PROPOSAL_EXPIRED:
        case _MLG_PROPOSAL_EVENT_MAX:
                break;
        }
        return MLG_MSG_PROPOSAL_ENDED;
}

/* Writes the line for a terminal, or fills in what all messages have; true: the latter, and more may be added. */
static bool begin_message(Fields *f, int priority, const char *message_id, const char *uuid, const char *name, char *text) {
        if (priority > log_max_priority)
                return false;
        clean(text);
        if (!log_to_journal) {
                write_text(priority, text);
                return false;
        }
        add_guest(f, message_id, uuid, name);
        return true;
}

void mlg_log_proposal(const char *uuid, const char *name, const MlgProposal *p, MlgProposalEvent event, const char *effect,
                      uint64_t reached_kib, const char *by) {
        g_autofree char *from = mlg_format_kib(p->from_kib), *reached = mlg_format_kib(reached_kib);
        g_autofree char *to = mlg_format_kib(p->to_kib), *text = NULL;
        const char *word = mlg_proposal_event_to_string(event);
        Fields f = {};

        if (event == MLG_PROPOSAL_PROPOSED)
                text = g_strdup_printf("Proposal %" PRIu64 " for guest %s: %s -> %s: %s; %s", p->id, name, from, to,
                                       mlg_reason_to_sentence(p->why), effect);
        else if (event == MLG_PROPOSAL_APPLIED)
                text = g_strdup_printf("Proposal %" PRIu64 " for guest %s: applied, %s -> %s", p->id, name, from, reached);
        else
                text = g_strdup_printf("Proposal %" PRIu64 " for guest %s (%s -> %s): %s%s%s", p->id, name, from, to, word,
                                       by ? " by " : "", by ? by : "");
        if (!begin_message(&f, MLG_LOG_INFO, proposal_message_id(event), uuid, name, text))
                return;
        add_field(&f, g_strdup_printf(MLG_FIELD_PROPOSAL "=%" PRIu64, p->id));
        add_field(&f, g_strdup_printf(MLG_FIELD_FROM_KIB "=%" PRIu64, p->from_kib));
        add_field(&f, g_strdup_printf(MLG_FIELD_TO_KIB "=%" PRIu64, p->to_kib));
        add_field(&f, g_strconcat(MLG_FIELD_EVENT "=", word, NULL));
        if (by)
                add_field(&f, g_strconcat(MLG_FIELD_BY "=", by, NULL));
        add_reason(&f, p->why);
        send_fields(&f, MLG_LOG_INFO, text);
}

void mlg_log_approval_awaited(const char *uuid, const char *name, uint64_t id, const char *of_name) {
        g_autofree char *text = NULL;
        Fields f = {};

        if (of_name)
                text = g_strdup_printf("Guest %s suffers; what %s could give it waits for approval of proposal %" PRIu64, name,
                                       of_name, id);
        else
                text = g_strdup_printf("Guest %s suffers; its relief waits for approval of proposal %" PRIu64, name, id);
        if (!begin_message(&f, MLG_LOG_WARNING, MLG_MSG_APPROVAL_AWAITED, uuid, name, text))
                return;
        add_field(&f, g_strdup_printf(MLG_FIELD_PROPOSAL "=%" PRIu64, id));
        send_fields(&f, MLG_LOG_WARNING, text);
}

void mlg_log_allowed(const char *uuid, const char *name, uint64_t usec, const char *by) {
        g_autofree char *span = mlg_format_usec(usec), *text = NULL;
        const char *who = name ? "guest " : "all guests", *whom = name ? name : "";
        Fields f = {};

        if (usec > 0)
                text = g_strdup_printf("Moves of %s%s need no approval for %s: %s", who, whom, span, by);
        else
                text = g_strdup_printf("Moves of %s%s need approval again: %s", who, whom, by);
        if (!begin_message(&f, MLG_LOG_INFO, MLG_MSG_ALLOWED, uuid, name, text))
                return;
        add_field(&f, g_strconcat(MLG_FIELD_BY "=", by, NULL));
        send_fields(&f, MLG_LOG_INFO, text);
}

/* Warnings already given: sets of places, as in a processor's cache. 4096 places are three causes for each
 * of 1,000 guests, in 64 KiB. */
#define LIMIT_SETS 512
#define LIMIT_WAYS 8
#define LIMIT_USEC (60 * MLG_USEC_PER_SEC)

typedef struct LimitPlace {
        uint64_t key; /* 0: never used */
        uint64_t at_usec;
} LimitPlace;

static LimitPlace limit_places[LIMIT_SETS][LIMIT_WAYS];

static uint64_t limit_key(const char *uuid, unsigned int cause) {
        uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

        for (; *uuid; uuid++)
                h = (h ^ (unsigned char) *uuid) * UINT64_C(1099511628211);
        h = (h ^ cause) * UINT64_C(1099511628211);
        h ^= h >> 32;
        return h != 0 ? h : 1;
}

bool mlg_log_limited(const char *uuid, unsigned int cause, uint64_t now_usec) {
        uint64_t key = limit_key(uuid ? uuid : "", cause);
        LimitPlace *set = limit_places[key % LIMIT_SETS], *oldest = &set[0];

        for (size_t i = 0; i < LIMIT_WAYS; i++) {
                if (set[i].key == key) {
                        oldest = &set[i];
                        break;
                }
                if (set[i].key == 0 ? oldest->key != 0
                                    : oldest->key != 0 && set[i].at_usec < oldest->at_usec)
                        oldest = &set[i];
        }
        /* A set that is full of younger warnings swallows this one for now: the limit on the log comes
         * first. */
        if (oldest->key != 0 && now_usec - oldest->at_usec < LIMIT_USEC)
                return false;
        *oldest = (LimitPlace) { .key = key, .at_usec = now_usec };
        return true;
}
