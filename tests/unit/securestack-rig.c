/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "securestack-rig.h"
#include "securestack/core/memory.h"

#define MUST(what) \
        do { \
                if (!(what)) { \
                        fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what); \
                        abort(); \
                } \
        } while (0)

int64_t ss_rig_allocs_left = -1, ss_rig_bytes, ss_rig_codes;

void *ss_alloc(size_t bytes) {
        void *p;

        if (ss_rig_allocs_left == 0)
                return NULL;
        if (ss_rig_allocs_left > 0)
                ss_rig_allocs_left--;
        p = malloc(bytes);
        MUST(p);
        memset(p, 0xa5, bytes);
        ss_rig_bytes += (int64_t) bytes;
        return p;
}

void ss_free(void *p, size_t bytes) {
        const uint8_t *byte = p;
        size_t secret = sizeof(struct ss_entry);

        /* What was never written to is as alloc() left it. */
        for (size_t i = 0; i < bytes; i++)
                MUST(byte[i] == 0 || (i >= secret && byte[i] == 0xa5));
        ss_rig_bytes -= (int64_t) bytes;
        free(p);
}

static void forget_code(const void *code) {
        (void) code;
        MUST(ss_rig_codes > 0);
        ss_rig_codes--;
}

static void keep_code(const void *code) {
        (void) code;
        ss_rig_codes++;
}

void ss_rig_init(SsRig *r, uint64_t quota_bytes) {
        memset(r, 0, sizeof(*r));
        plain_lock_init(&r->quota.lock);
        r->t.quota = &r->quota;
        r->t.forget_code = forget_code;
        r->max.depth = SS_RIG_ENTRIES;
        r->max.user_bytes = quota_bytes;
        for (uint32_t i = 0; i < SS_RIG_BYTES; i++)
                r->memory[i] = r->expected[i] = (uint8_t) (1 + i * 7 % 251);
        ss_rig_allocs_left = -1;
        ss_rig_bytes = ss_rig_codes = 0;
}

void ss_rig_done(SsRig *r) {
        ss_rig_check(r);
        ss_entries_wipe(&r->t);
        MUST(r->t.top == NULL && r->t.depth == 0 && r->t.bytes == 0 && r->t.stock == 0);
        MUST(r->quota.bytes == 0);
        MUST(ss_rig_bytes == 0);
        MUST(ss_rig_codes == 0);
}

struct ss_where ss_rig_where(uint64_t sp, uint64_t site) {
        uint64_t stack = sp / SS_RIG_STACK * SS_RIG_STACK;

        return (struct ss_where) {
                .sp = sp, .site = site, .stack_from = stack, .stack_to = stack + SS_RIG_STACK,
                .code = "code", .code_at = site * 2,
        };
}

/* --- model --- */

static bool same_stack(uint64_t a, uint64_t b) {
        return a / SS_RIG_STACK == b / SS_RIG_STACK;
}

static void model_drop_dead(SsRig *r, const struct ss_where *w) {
        uint32_t alive = r->n;

        while (alive > 0 && same_stack(r->entry[alive - 1].sp, w->sp) && r->entry[alive - 1].sp < w->sp)
                alive--;
        for (uint32_t i = alive; i > 0 && r->entry[i - 1].sp == w->sp; i--)
                if (r->entry[i - 1].site == w->site)
                        alive = i - 1;
        r->n = alive;
}

static int model_range(const struct mlg_ss_range *range, uint32_t n, bool *secret) {
        if (n == 0 || n > MLG_SS_RANGES_MAX)
                return -EINVAL;
        for (uint32_t i = 0; i < n; i++)
                if (range[i].bytes == 0 || range[i].flags > 1 ||
                    range[i].address + range[i].bytes < range[i].address)
                        return -EINVAL;
        for (uint32_t exception = 0; exception <= 1; exception++)
                for (uint32_t i = 0; i < n; i++)
                        for (uint32_t b = 0; range[i].flags == exception && b < range[i].bytes; b++)
                                secret[range[i].address - SS_RIG_BASE + b] = !exception;
        return 0;
}

static void model_protect(SsRig *r, const struct ss_where *w, const bool *secret, uint32_t flags) {
        SsRigEntry *e = &r->entry[r->n++];

        *e = (SsRigEntry){ .sp = w->sp,
                           .site = w->site,
                           .code = w->code,
                           .code_at = w->code_at,
                           .flags = flags };
        memcpy(e->secret, secret, sizeof(e->secret));
        memcpy(e->image, r->expected, sizeof(e->image));
        for (uint32_t i = 0; i < SS_RIG_BYTES; i++)
                if (secret[i])
                        r->expected[i] = 0;
}

static int model_find(const SsRig *r, const struct ss_where *w) {
        for (int i = (int) r->n - 1; i >= 0; i--) {
                const SsRigEntry *e = &r->entry[i];

                if (e->sp == w->sp && e->site == w->site)
                        return e->code == w->code && e->code_at == w->code_at ? i : -EPERM;
                if (same_stack(e->sp, w->sp) && e->sp > w->sp)
                        break;
        }
        return r->n ? -EPERM : -ENOENT;
}

static void model_restore(SsRig *r, uint32_t which) {
        const SsRigEntry found = r->entry[which];
        uint32_t kept = which;

        for (uint32_t i = 0; i < SS_RIG_BYTES; i++)
                if (found.secret[i])
                        r->expected[i] = found.image[i];
        for (uint32_t i = which + 1; i < r->n; i++)
                if (!same_stack(r->entry[i].sp, found.sp))
                        r->entry[kept++] = r->entry[i];
        r->n = kept;
}

/* --- the module's part --- */

static void move_out(SsRig *r, struct ss_entry *e) {
        u8 *data = ss_entry_data(e);

        for (u32 i = 0; i < e->n; i++) {
                u64 bytes = e->span[i].to - e->span[i].from;

                memcpy(data, &r->memory[e->span[i].from - SS_RIG_BASE], bytes);
                data += bytes;
                memset(&r->memory[e->span[i].from - SS_RIG_BASE], 0, bytes);
        }
}

static void move_back(SsRig *r, struct ss_entry *e) {
        const u8 *data = ss_entry_data(e);

        for (u32 i = 0; i < e->n; i++) {
                u64 bytes = e->span[i].to - e->span[i].from;

                memcpy(&r->memory[e->span[i].from - SS_RIG_BASE], data, bytes);
                data += bytes;
        }
}

/* The stack is looked up only where it has to be; else anything may stand there. */
static struct ss_where as_seen(const struct ss_where *w, bool needs_stack) {
        struct ss_where seen = *w;

        if (!needs_stack) {
                seen.stack_from = 0;
                seen.stack_to = UINT64_MAX;
        }
        return seen;
}

int ss_rig_protect(SsRig *r, const struct ss_where *w, const struct mlg_ss_range *range, uint32_t n,
                   uint32_t flags) {
        bool secret[SS_RIG_BYTES] = { false };
        struct ss_entry *e = NULL;
        struct ss_spans spans = { 0 };
        struct ss_where seen = as_seen(w, ss_entries_may_be_dead(&r->t, w->sp));
        int err = ss_spans_of(range, n, &spans), expected = model_range(range, n, secret);

        MUST(err == expected);
        if (err < 0)
                return err;
        model_drop_dead(r, w);
        (void) ss_entries_drop_dead(&r->t, &seen);
        err = ss_entry_new(&r->t, &spans, &r->max, &e);
        MUST((err == -ENOSPC) == (r->n == SS_RIG_ENTRIES));
        MUST(err != -ENOMEM || ss_rig_allocs_left == 0);
        MUST(err != -EDQUOT || r->quota.bytes + sizeof(*e) + spans.n * sizeof(spans.span[0]) + spans.bytes >
                                       r->max.user_bytes);
        if (err == 0) {
                e->flags = flags;
                move_out(r, e);
                keep_code(w->code);
                ss_entry_push(&r->t, e, &seen);
                model_protect(r, w, secret, flags);
        }
        ss_rig_check(r);
        return err;
}

int ss_rig_restore(SsRig *r, const struct ss_where *w) {
        struct ss_entry *e = NULL;
        struct ss_where seen = as_seen(w, !ss_entries_top_is(&r->t, w));
        int err = ss_entry_find(&r->t, &seen, &e), expected = model_find(r, w);

        MUST(err == (expected < 0 ? expected : 0));
        if (err == 0) {
                ss_entry_take(&r->t, e, &seen);
                move_back(r, e);
                ss_entry_free(&r->t, e);
                model_restore(r, (uint32_t) expected);
        }
        ss_rig_check(r);
        return err;
}

int ss_rig_write(SsRig *r, uint32_t at, uint32_t bytes, uint8_t value) {
        if (at > SS_RIG_BYTES || bytes > SS_RIG_BYTES - at)
                return -ERANGE;
        memset(&r->memory[at], value, bytes);
        memset(&r->expected[at], value, bytes);
        return 0;
}

int ss_rig_fork(SsRig *r) {
        struct ss_entries child = { .quota = &r->quota, .forget_code = forget_code };
        struct ss_entry *e;
        int err = ss_entries_copy(&r->t, &child, &r->max, keep_code);
        uint32_t i = r->n;

        MUST(err == 0 || err == -EDQUOT || err == -ENOMEM);
        for (e = child.top; e; e = e->below) {
                do
                        MUST(i > 0);
                while (!(r->entry[--i].flags & MLG_SS_FORK));
                MUST(e->sp == r->entry[i].sp && e->site == r->entry[i].site &&
                     e->flags == r->entry[i].flags);
                MUST(e->code == r->entry[i].code && e->code_at == r->entry[i].code_at);
                for (u32 s = 0, at = 0; s < e->n; s++)
                        for (u64 a = e->span[s].from; a < e->span[s].to; a++)
                                MUST(ss_entry_data(e)[at++] == r->entry[i].image[a - SS_RIG_BASE]);
        }
        while (err == 0 && i > 0)
                MUST(!(r->entry[--i].flags & MLG_SS_FORK));
        ss_entries_wipe(&child);
        MUST(child.depth == 0 && child.bytes == 0 && child.stock == 0);
        ss_rig_check(r);
        return err;
}

void ss_rig_check(SsRig *r) {
        const struct ss_entry *e = r->t.top;
        uint64_t bytes = 0;

        MUST(memcmp(r->memory, r->expected, sizeof(r->memory)) == 0);
        MUST(r->t.depth == r->n);
        MUST(ss_rig_codes == (int64_t) r->n);
        MUST(r->quota.bytes <= r->max.user_bytes);
        for (uint32_t i = r->n; i > 0; i--, e = e->below) {
                u64 before = 0;

                MUST(e && e->sp == r->entry[i - 1].sp && e->site == r->entry[i - 1].site);
                for (u32 s = 0; s < e->n; s++) {
                        MUST(e->span[s].from < e->span[s].to && e->span[s].from > before);
                        before = e->span[s].to; /* what touches is one */
                }
                bytes += e->bytes;
        }
        MUST(e == NULL && bytes == r->t.bytes);
}
