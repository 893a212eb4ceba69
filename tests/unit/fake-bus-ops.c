/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake service: answers the bus from plain fields, and notes what was asked. */
#include "fake-bus-ops.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MIB UINT64_C(1024)

static void fake_host_status(MlgHostStatus *ret, void *userdata) {
        FakeService *f = userdata;

        *ret = f->host;
}

static size_t fake_n_guests(void *userdata) {
        FakeService *f = userdata;

        return f->n_guests;
}

static bool fake_guest_at(size_t i, MlgGuestStatus *ret, void *userdata) {
        FakeService *f = userdata;

        if (i >= f->n_guests)
                return false;
        *ret = f->guests[i];
        return true;
}

static bool fake_guest_find(const char *name_or_uuid, MlgGuestStatus *ret, void *userdata) {
        FakeService *f = userdata;

        for (size_t i = 0; i < f->n_guests; i++)
                if (g_str_equal(f->guests[i].name, name_or_uuid) ||
                    g_str_equal(f->guests[i].uuid, name_or_uuid)) {
                        *ret = f->guests[i];
                        return true;
                }
        return false;
}

static size_t fake_decisions(const char *uuid, MlgDecision *ret, size_t max, void *userdata) {
        FakeService *f = userdata;
        size_t n = MIN(max, f->n_decisions);

        memcpy(ret, f->decisions, n * sizeof(*ret));
        return n;
}

static size_t fake_rules(const char *uuid, MlgRuleStatus *ret, size_t max, void *userdata) {
        if (g_str_equal(uuid, ((FakeService *) userdata)->guests[0].uuid))
                return 0;
        ret[0] = (MlgRuleStatus) { .name = "night", .origin = "x.policy:3", .settings = "Floor=2G Priority=20" };
        ret[1] = (MlgRuleStatus) { .name = "busy", .origin = "/etc/\xff:12" };
        return 2;
}

static size_t fake_reservations(MlgReservationStatus *ret, size_t max, void *userdata) {
        FakeService *f = userdata;
        size_t n = MIN(max, f->n_reservations);

        memcpy(ret, f->reservations, n * sizeof(*ret));
        return n;
}

static size_t fake_plugins(MlgPluginStatus *ret, size_t max, void *userdata) {
        ret[0] = (MlgPluginStatus) { .name = "mine", .kind = "policy", .state = "used", .file = "/lib/mine.so" };
        ret[1] = (MlgPluginStatus) { .name = "theirs", .kind = "unknown", .state = "refused", .file = "/lib/theirs.so",
                                     .why = "it is \xff" };
        return 2;
}

static bool fails(FakeService *f, GError **error) {
        if (f->fail_code == 0)
                return false;
        g_set_error(error, MLG_ERROR, f->fail_code - 1, "The fake was told to fail");
        return true;
}

static size_t fake_proposals(MlgProposalStatus *ret, size_t max, void *userdata) {
        FakeService *f = userdata;
        size_t n = MIN(max, f->n_proposals);

        memcpy(ret, f->proposals, n * sizeof(*ret));
        return n;
}

static size_t fake_swaps(MlgSwapStatus *ret, size_t max, void *userdata) {
        ret[0] = (MlgSwapStatus) {
                .name = "web-1",
                .uuid = "4dea22b3-0ee8-4b6c-9a26-5f6dd7b6b001",
                .section = "idle",
                .path = "/run/memlego/pipe/4dea22b3-0ee8-4b6c-9a26-5f6dd7b6b001~swap.sock",
                .pid = 17,
                .state = MLG_SWAP_STATE_TALKS,
                .attach = true,
                .shares = 100,
                .epoch = 3,
                .pool_kib = 1048576,
                .quota_kib = 524288,
                .target_kib = 65536,
                .lent_kib = 32768,
                .backed_kib = 32780,
                .charged_kib = 32780,
                .called_back = 5,
                .met = 4,
                .late = 1,
                .callback_usec = 1500000,
                .pool_reads = 750,
                .disk_reads = 250,
        };
        ret[1] = (MlgSwapStatus) { .name = "\xff\x1b[2J", .going = true };
        return 2;
}

static size_t fake_pipes(MlgPipeStatus *ret, size_t max, void *userdata) {
        const FakeService *f = userdata;

        ret[0] = (MlgPipeStatus) {
                .name = "group-a", .path = "/run/memlego/pipe/group-a.sock", .region_kib = 1024 * 1024, .quota_kib = 65536,
                .granted_kib = 2048, .backed_kib = 1024, .charged_kib = 2048, .epoch = 7, .attach = true, .n_members = 2,
                .members = {
                        { .name = "web-1", .id = 1, .epoch = 3, .state = MLG_PIPE_STATE_TALKS, .granted_kib = 1024,
                          .target_kib = 2048, .demand_kib = 4096, .used_kib = 512, .n_pipes = 5, .sent_bytes = 123456789,
                          .outcomes = { [MLG_PIPE_OK] = 40, [MLG_PIPE_NO_PEER] = 3, [MLG_PIPE_OPTION] = 1 } },
                        { .name = "\xff\x1b[2J", .id = 2, .epoch = 1, .state = MLG_PIPE_STATE_SILENT,
                          .outcomes = { [MLG_PIPE_OK] = 2, [MLG_PIPE_NO_PEER] = UINT64_MAX } },
                },
        };
        if (f->no_group_b)
                return 1;
        ret[1] = (MlgPipeStatus) {
                .name = "group-b", .isolated = true, .quota_kib = 32768, .n_refused_pairs = 4, .n_members = 2,
                .members = { { .name = "db-1", .id = 1 }, { .name = "db-2", .id = 2 } },
                .n_pairs = 1,
                .pairs = { { .members = { 1, 0 }, .state = f->pair_goes ? MLG_PIPE_PAIR_GOING : MLG_PIPE_PAIR_SERVING,
                             .granted_kib = 2048, .idle_usec = 5000000 } },
        };
        return 2;
}

static bool fake_plug_pipe(const char *uuid, bool attach, GError **error, void *userdata) {
        FakeService *f = userdata;

        (void) g_snprintf(f->answers, sizeof(f->answers), "%s", attach ? "attach" : "detach");
        (void) g_strlcpy(f->last_uuid, uuid, sizeof(f->last_uuid));
        return true;
}

/* A proposal of the fake has id 17. */
static bool answer(FakeService *f, const char *what, uint64_t id, const MlgProposalVoter *by, GError **error) {
        if (fails(f, error))
                return false;
        if (id != 17) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_PROPOSAL, "There is no proposal %" PRIu64, id);
                return false;
        }
        (void) g_snprintf(f->answers, sizeof(f->answers), "%s %" PRIu64 " uid %" PRIu32, what, id, by->uid);
        return true;
}

static bool fake_approve(uint64_t id, const MlgProposalVoter *by, GError **error, void *userdata) {
        return answer(userdata, "approve", id, by, error);
}

static bool fake_reject(uint64_t id, const MlgProposalVoter *by, GError **error, void *userdata) {
        return answer(userdata, "reject", id, by, error);
}

static bool fake_approve_all(const char *uuid, uint64_t usec, const MlgProposalVoter *by, uint32_t *ret_n, GError **error,
                             void *userdata) {
        FakeService *f = userdata;

        f->last_usec = usec;
        (void) g_strlcpy(f->last_uuid, uuid ? uuid : "", sizeof(f->last_uuid));
        *ret_n = 1;
        return answer(f, "approve all", 17, by, error);
}

static bool fake_end_approval(const char *uuid, const MlgProposalVoter *by, GError **error, void *userdata) {
        FakeService *f = userdata;

        (void) g_strlcpy(f->last_uuid, uuid ? uuid : "", sizeof(f->last_uuid));
        return answer(f, "end", 17, by, error);
}

static bool fake_reload(char ***ret_changes, GError **error, void *userdata) {
        const char *changes[] = { "Policy: static -> proportional", "bad \xff letter", NULL };
        FakeService *f = userdata;

        f->n_reloads++;
        if (fails(f, error))
                return false;
        *ret_changes = g_strdupv((char **) changes);
        return true;
}

static bool fake_pause(const char *uuid, bool paused, GError **error, void *userdata) {
        FakeService *f = userdata;

        f->n_pauses++;
        f->last_paused = paused;
        (void) g_strlcpy(f->last_uuid, uuid ? uuid : "", sizeof(f->last_uuid));
        if (fails(f, error))
                return false;
        if (!uuid)
                f->host.paused = paused;
        for (size_t i = 0; uuid && i < f->n_guests; i++)
                if (g_str_equal(f->guests[i].uuid, uuid)) {
                        f->guests[i].paused = paused;
                        if (f->bus)
                                mlg_bus_guest_changed(f->bus, uuid);
                }
        if (f->bus)
                mlg_bus_host_changed(f->bus);
        return true;
}

static bool fake_set_target(const char *uuid, uint64_t kib, uint64_t hold_usec, GError **error,
                            void *userdata) {
        FakeService *f = userdata;

        f->n_targets++;
        f->last_kib = kib;
        f->last_usec = hold_usec;
        (void) g_strlcpy(f->last_uuid, uuid, sizeof(f->last_uuid));
        return !fails(f, error);
}

static bool fake_reserve(uint64_t kib, uint64_t timeout_usec, const char *owner, uint64_t *ret_id,
                         GError **error, void *userdata) {
        FakeService *f = userdata;

        f->n_reserves++;
        f->last_kib = kib;
        f->last_usec = timeout_usec;
        (void) g_strlcpy(f->last_owner, owner, sizeof(f->last_owner));
        if (fails(f, error))
                return false;
        *ret_id = ++f->last_id;
        if (f->bus)
                mlg_bus_reservation_progress(f->bus, f->last_id, owner, kib / 2, kib);
        if ((f->settle_at_once || kib <= f->settle_max_kib) && f->bus)
                mlg_bus_reservation_settled(f->bus, f->last_id, NULL);
        return true;
}

static bool fake_release(uint64_t id, GError **error, void *userdata) {
        FakeService *f = userdata;

        f->n_releases++;
        f->last_released = id;
        if (id > f->last_id) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_RESERVATION,
                            "There is no reservation %" PRIu64, id);
                return false;
        }
        if (f->bus) {
                mlg_bus_reservation_settled(f->bus, id, NULL); /* nobody may be answered twice */
                mlg_bus_reservation_released(f->bus, id, "released");
        }
        return true;
}

static char *fake_dump(void *userdata) {
        FakeService *f = userdata;

        return g_strdup(f->dump);
}

static char *fake_config(void *userdata) {
        FakeService *f = userdata;

        return g_strdup(f->config);
}

const MlgBusOps fake_bus_ops = {
        .host_status = fake_host_status,
        .n_guests = fake_n_guests,
        .guest_at = fake_guest_at,
        .guest_find = fake_guest_find,
        .decisions = fake_decisions,
        .rules = fake_rules,
        .reservations = fake_reservations,
        .plugins = fake_plugins,
        .reload = fake_reload,
        .pause = fake_pause,
        .set_target = fake_set_target,
        .reserve = fake_reserve,
        .release = fake_release,
        .proposals = fake_proposals,
        .pipes = fake_pipes,
        .swaps = fake_swaps,
        .plug_pipe = fake_plug_pipe,
        .approve = fake_approve,
        .reject = fake_reject,
        .approve_all = fake_approve_all,
        .end_approval = fake_end_approval,
        .dump = fake_dump,
        .config = fake_config,
};

static void init_guest(MlgGuestStatus *g, const char *name, const char *uuid, uint64_t actual_kib) {
        (void) g_strlcpy(g->name, name, sizeof(g->name));
        (void) g_strlcpy(g->uuid, uuid, sizeof(g->uuid));
        (void) g_strlcpy(g->labels, "gold  db", sizeof(g->labels));
        (void) g_strlcpy(g->predictor, "ewma", sizeof(g->predictor));
        g->state = MLG_VM_MANAGED;
        g->reason = MLG_REASON_COOL_DOWN;
        g->run_state = MLG_RUN_RUNNING;
        g->trust = MLG_TRUST_FRESH;
        g->has_balloon = true;
        g->actual_kib = g->target_kib = actual_kib;
        g->maximum_kib = 1024 * MIB;
        g->sample_age_usec = UINT64_MAX;
        g->shares = 100;
        g->priority = -7;
}

void fake_service_init(FakeService *f) {
        *f = (FakeService) {
                .host = {
                        .policy = "proportional", .uri = "test:///default", .connected = true,
                        .now_usec = 100 * G_USEC_PER_SEC,
                        .total_kib = 4096 * MIB, .available_kib = 1000 * MIB,
                        .n_guests = 2, .n_managed = 2, .moves_accepted = 5,
                },
                .n_guests = 2,
                .n_decisions = 2,
                .decisions = {
                        { .at_usec = 99 * G_USEC_PER_SEC, .first_at_usec = 90 * G_USEC_PER_SEC,
                          .repeated = 9, .from_kib = 512 * MIB, .to_kib = 512 * MIB,
                          .why = MLG_REASON_SETTLED, .result = 2 },
                        { .at_usec = 80 * G_USEC_PER_SEC, .first_at_usec = 80 * G_USEC_PER_SEC,
                          .repeated = 1,
                          .from_kib = 400 * MIB, .wanted_kib = 600 * MIB, .wanted_why = MLG_REASON_DEMAND,
                          .to_kib = 512 * MIB, .why = MLG_REASON_RATE, .result = -ETIMEDOUT },
                },
                .n_reservations = 1,
                .reservations = {
                        { .id = 7, .kib = 100, .room_kib = 40, .expires_usec = 130 * G_USEC_PER_SEC,
                          .owner = ":1.99" },
                },
                .n_proposals = 1,
                .proposals = {
                        { .uuid = "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b001", .name = "web-1",
                          .proposal = { .id = 17, .from_kib = 400 * MIB, .to_kib = 660 * MIB, .why = MLG_REASON_PRESSURE,
                                        .pressure = MLG_PRESSURE_WARNING, .actual_kib = 400 * MIB, .usable_kib = 40 * MIB,
                                        .need_kib = 480 * MIB, .cushion_kib = 72 * MIB, .created_usec = 40 * G_USEC_PER_SEC,
                                        .refreshed_usec = 99 * G_USEC_PER_SEC, .expires_usec = 940 * G_USEC_PER_SEC } },
                },
                .dump = (char *) "{\"guests\": []}",
                .config = (char *) "[Host]\nPolicy=proportional\n",
                .last_id = 10,
        };
        init_guest(&f->guests[0], "web-1", "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b001", 512 * MIB);
        init_guest(&f->guests[1], "db", "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b002", 768 * MIB);
}
