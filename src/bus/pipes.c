/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipes on the bus: methods of the manager that list groups of guests that share memory, and their members, and plug
 * guests' devices. Flat lists: a client that wants one group's members or pairs takes those of its name. */
#include "bus/bus-internal.h"

typedef struct Key {
        const char *key;
        uint64_t value;
} Key;

static int append_keys(sd_bus_message *m, const Key *numbers, size_t n_numbers, const char *const (*texts)[2],
                       size_t n_texts) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n_texts; i++)
                r = mlg_bus_append_text(m, texts[i][0], texts[i][1]);
        for (size_t i = 0; r >= 0 && i < n_numbers; i++)
                r = sd_bus_message_append(m, "{sv}", numbers[i].key, "t", numbers[i].value);
        return r;
}

static int append(sd_bus_message *m, const Key *numbers, size_t n_numbers, const char *const (*texts)[2],
                  size_t n_texts) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_keys(m, numbers, n_numbers, texts, n_texts);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int mlg_bus_append_fallbacks(sd_bus_message *m, const uint64_t outcomes[static MLG_PIPE_REASONS]) {
        int r = sd_bus_message_open_container(m, 'a', "{st}");

        for (unsigned int i = MLG_PIPE_OK + 1; r >= 0 && i < MLG_PIPE_REASONS; i++)
                if (outcomes[i] > 0)
                        r = sd_bus_message_append(m, "{st}", mlg_pipe_reason_to_string((enum mlg_pipe_reason) i),
                                                  outcomes[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* "Fallbacks", an entry of an a{sv} */
static int append_fallbacks_key(sd_bus_message *m, const uint64_t *outcomes) {
        int r = sd_bus_message_open_container(m, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", "Fallbacks");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a{st}");
        if (r >= 0)
                r = mlg_bus_append_fallbacks(m, outcomes);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_pipe(sd_bus_message *m, size_t i, const void *list) {
        const MlgPipeStatus *s = &((const MlgPipeStatus *) list)[i];
        const char *const texts[][2] = {
                { "Name", s->name },
                { "Path", s->path },
                { "State", s->going ? "going" : "serving" },
                { "Attach", s->attach ? "auto" : "manual" },
                { "Isolation", s->isolated ? "pair" : "group" },
        };
        const Key numbers[] = {
                { "RegionKiB", s->region_kib },   { "QuotaKiB", s->quota_kib },
                { "GrantedKiB", s->granted_kib }, { "BackedKiB", s->backed_kib },
                { "ChargedKiB", s->charged_kib }, { "Epoch", s->epoch },
                { "Members", s->n_members },      { "Pairs", s->n_pairs },
                { "RefusedPairs", s->n_refused_pairs },
                { "UtilisationPermille", mlg_pipe_utilisation_permille(s) },
        };

        return append(m, numbers, G_N_ELEMENTS(numbers), texts, G_N_ELEMENTS(texts));
}

size_t mlg_bus_read_pipes(const MlgBus *b, MlgPipeStatus **ret) {
        *ret = g_new0(MlgPipeStatus, MLG_BUS_PIPES_MAX);
        return mlg_min(b->ops->pipes(*ret, MLG_BUS_PIPES_MAX, b->userdata), MLG_BUS_PIPES_MAX);
}

int mlg_bus_on_list_pipes(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        g_autofree MlgPipeStatus *all = NULL;
        size_t n = mlg_bus_read_pipes(((MlgBusHostView *) userdata)->bus, &all);

        return mlg_bus_reply_list(m, "a{sv}", n, append_pipe, all);
}

typedef struct Member {
        const MlgPipeStatus *pipe;
        const MlgPipeMember *member;
} Member;

static int append_member(sd_bus_message *m, size_t i, const void *list) {
        const Member *at = &g_array_index((const GArray *) list, Member, i);
        const MlgPipeMember *s = at->member;
        const char *const texts[][2] = {
                { "Pipe", at->pipe->name },
                { "Guest", s->name },
                { "State", mlg_pipe_state_to_string(s->state) },
        };
        const Key numbers[] = {
                { "ID", s->id },
                { "Epoch", s->epoch },
                { "GrantedKiB", s->granted_kib },
                { "TargetKiB", s->target_kib },
                { "DemandKiB", s->demand_kib },
                { "HeldKiB", s->held_kib },
                { "UsedKiB", s->used_kib },
                { "Connections", s->n_pipes },
                { "SentBytes", s->sent_bytes },
                { "BlockedUSec", s->blocked_usec },
                { "OpenedConnections", s->outcomes[MLG_PIPE_OK] },
        };
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_keys(m, numbers, G_N_ELEMENTS(numbers), texts, G_N_ELEMENTS(texts));
        if (r >= 0)
                r = append_fallbacks_key(m, s->outcomes);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int mlg_bus_on_list_pipe_members(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        g_autofree MlgPipeStatus *all = NULL;
        size_t n = mlg_bus_read_pipes(((MlgBusHostView *) userdata)->bus, &all);
        g_autoptr(GArray) members = g_array_new(FALSE, FALSE, sizeof(Member));

        for (size_t i = 0; i < n; i++)
                for (uint32_t k = 0; k < all[i].n_members; k++) {
                        Member at = { &all[i], &all[i].members[k] };

                        g_array_append_val(members, at);
                }
        return mlg_bus_reply_list(m, "a{sv}", members->len, append_member, members);
}

typedef struct Pair {
        const MlgPipeStatus *pipe;
        const MlgPipePair *pair;
} Pair;

static int append_pair(sd_bus_message *m, size_t i, const void *list) {
        const Pair *at = &g_array_index((const GArray *) list, Pair, i);
        const MlgPipePair *s = at->pair;
        const char *const texts[][2] = {
                { "Pipe", at->pipe->name },
                { "Guest", at->pipe->members[s->members[0]].name },
                { "OtherGuest", at->pipe->members[s->members[1]].name },
                { "State", mlg_pipe_pair_state_to_string(s->state) },
        };
        const Key numbers[] = {
                { "GrantedKiB", s->granted_kib },
                { "BackedKiB", s->backed_kib },
                { "IdleUSec", s->idle_usec },
        };

        return append(m, numbers, G_N_ELEMENTS(numbers), texts, G_N_ELEMENTS(texts));
}

int mlg_bus_on_list_pipe_pairs(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        g_autofree MlgPipeStatus *all = NULL;
        size_t n = mlg_bus_read_pipes(((MlgBusHostView *) userdata)->bus, &all);
        g_autoptr(GArray) pairs = g_array_new(FALSE, FALSE, sizeof(Pair));

        for (size_t i = 0; i < n; i++)
                for (uint32_t k = 0; k < all[i].n_pairs; k++) {
                        Pair at = { &all[i], &all[i].pairs[k] };

                        g_array_append_val(pairs, at);
                }
        return mlg_bus_reply_list(m, "a{sv}", pairs->len, append_pair, pairs);
}

static int plug(sd_bus_message *m, void *userdata, MlgRequestKind kind, sd_bus_error *error) {
        MlgRequest q = { .kind = kind };
        int r;

        r = mlg_request_read_guest(&q, m, error);
        if (r < 0)
                return r;
        if (!q.guest[0])
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "Name the guest");
        return mlg_request_start(((MlgBusHostView *) userdata)->bus, m, &q, error);
}

int mlg_bus_on_attach_pipe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return plug(m, userdata, MLG_REQUEST_ATTACH_PIPE, error);
}

int mlg_bus_on_detach_pipe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return plug(m, userdata, MLG_REQUEST_DETACH_PIPE, error);
}
