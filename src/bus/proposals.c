/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proposals on the bus: methods of the manager that list and answer them. Answers go through request.c. */
#include "bus/bus-internal.h"

#include <string.h>

typedef struct List {
        const MlgProposalStatus *all;
        uint64_t now_usec;
} List;

static int append_proposal(sd_bus_message *m, size_t i, const void *list) {
        const MlgProposalStatus *s = &((const List *) list)->all[i];
        uint64_t now_usec = ((const List *) list)->now_usec;
        const MlgProposal *p = &s->proposal;
        g_autofree char *path = mlg_bus_guest_path(s->uuid), *effect = mlg_proposal_effect(p, s->for_name);
        const struct { const char *key, *value; } texts[] = {
                { "Guest", s->name },
                { "State", p->approved ? "approved" : "open" },
                { "Reason", mlg_reason_to_string(p->why) },
                { "Sentence", mlg_reason_to_sentence(p->why) },
                { "Effect", effect },
                { "ForGuest", s->for_name },
                { "Pressure", mlg_pressure_to_string(p->pressure) },
        };
        const struct { const char *key; uint64_t value; } numbers[] = {
                { "ID", p->id },
                { "FromKiB", p->from_kib },
                { "ToKiB", p->to_kib },
                { "UsableKiB", p->usable_kib },
                { "UsableAfterKiB", mlg_proposal_usable_after_kib(p) },
                { "NeedKiB", p->need_kib },
                { "CushionKiB", p->cushion_kib },
                { "AgeUSec", mlg_sub_sat(now_usec, p->created_usec) },
                { "RefreshedUSec", mlg_sub_sat(now_usec, p->refreshed_usec) },
                { "ExpiresUSec", mlg_sub_sat(p->expires_usec, now_usec) },
        };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (size_t k = 0; r >= 0 && k < G_N_ELEMENTS(numbers); k++)
                r = sd_bus_message_append(m, "{sv}", numbers[k].key, "t", numbers[k].value);
        for (size_t k = 0; r >= 0 && k < G_N_ELEMENTS(texts); k++)
                r = mlg_bus_append_text(m, texts[k].key, texts[k].value);
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}", "Path", "o", path);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int mlg_bus_on_list_proposals(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBusHostView *view = userdata;
        MlgBus *b = view->bus;
        g_autofree MlgProposalStatus *all = g_new0(MlgProposalStatus, MLG_BUS_PROPOSALS_MAX);
        size_t n = b->ops->proposals(all, MLG_BUS_PROPOSALS_MAX, b->userdata);
        const List list = { all, view->st.now_usec };

        return mlg_bus_reply_list(m, "a{sv}", mlg_min(n, MLG_BUS_PROPOSALS_MAX), append_proposal, &list);
}

static int answer(sd_bus_message *m, void *userdata, MlgRequestKind kind, sd_bus_error *error) {
        MlgRequest q = { .kind = kind };
        int r;

        r = sd_bus_message_read(m, "t", &q.amount);
        if (r < 0)
                return r;
        return mlg_request_start(((MlgBusHostView *) userdata)->bus, m, &q, error);
}

int mlg_bus_on_approve(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return answer(m, userdata, MLG_REQUEST_APPROVE, error);
}

int mlg_bus_on_reject(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return answer(m, userdata, MLG_REQUEST_REJECT, error);
}

int mlg_bus_on_approve_all(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgRequest q = { .kind = MLG_REQUEST_APPROVE_ALL };
        const char *key;
        int r;

        r = sd_bus_message_read(m, "st", &key, &q.usec);
        if (r < 0)
                return r;
        r = mlg_request_set_guest(&q, key, error);
        if (r < 0)
                return r;
        if (q.usec != 0 && (q.usec < MLG_BUS_ALLOW_USEC_MIN || q.usec > MLG_BUS_ALLOW_USEC_MAX))
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT,
                                    "All can be approved for 1 s to 7 days, or 0: only what is proposed now");
        return mlg_request_start(((MlgBusHostView *) userdata)->bus, m, &q, error);
}

int mlg_bus_on_end_approval(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return mlg_request_start_named(m, userdata, MLG_REQUEST_END_APPROVAL, error);
}
