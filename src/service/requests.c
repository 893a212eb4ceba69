/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests: what clients of the bus ask for. Keys come from clients: every one is looked up before it is
 * used. */
#include <errno.h>

#include "service/daemon-private.h"
#include "util/util.h"

/* How long a caller of ReserveMemory waits for the room: below the 25 s after which D-Bus libraries give up. */
#define RESERVE_WAIT_USEC (20 * MLG_USEC_PER_SEC)

static MlgVm *find(const MlgDaemon *d, const char *uuid, GError **error) {
        MlgVm *vm = mlg_engine_find(d->engine, uuid);

        if (!vm)
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_GUEST, "There is no guest '%s' (any more)", uuid);
        return vm;
}

void mlg_daemon_host_status(MlgHostStatus *ret, void *daemon) {
        const MlgDaemon *d = daemon;

        *ret = (MlgHostStatus) {
                .connected = d->connected,
                .now_usec = mlg_loop_now_usec(d->loop),
                .polls = d->polls,
                .polls_late = d->polls_late,
                .decisions = d->decisions,
                .moves_accepted = d->moves_accepted,
                .moves_failed = d->moves_failed,
                .last_poll_usec = d->last_poll_usec,
                .last_decide_usec = d->last_decide_usec,
        };
        g_strlcpy(ret->uri, d->uri, sizeof(ret->uri));
        mlg_engine_host_status(d->engine, ret);
        ret->allowed_until_usec = mlg_engine_allowed_until_usec(d->engine, NULL, ret->now_usec);
}

static size_t n_guests(void *daemon) {
        return mlg_engine_n_guests(((MlgDaemon *) daemon)->engine);
}

static bool guest_at(size_t i, MlgGuestStatus *ret, void *daemon) {
        const MlgDaemon *d = daemon;
        const MlgVm *vm = mlg_engine_guest_at(d->engine, i);

        if (vm)
                mlg_engine_guest_status(d->engine, vm, mlg_loop_now_usec(d->loop), ret);
        return vm != NULL;
}

static bool guest_find(const char *name_or_uuid, MlgGuestStatus *ret, void *daemon) {
        const MlgDaemon *d = daemon;
        const MlgVm *vm = mlg_engine_find(d->engine, name_or_uuid);

        for (size_t i = 0; !vm && i < mlg_engine_n_guests(d->engine); i++)
                if (g_str_equal(mlg_engine_guest_at(d->engine, i)->name, name_or_uuid))
                        vm = mlg_engine_guest_at(d->engine, i);
        if (vm)
                mlg_engine_guest_status(d->engine, vm, mlg_loop_now_usec(d->loop), ret);
        return vm != NULL;
}

static size_t decisions(const char *uuid, MlgDecision *ret, size_t max, void *daemon) {
        const MlgVm *vm = mlg_engine_find(((MlgDaemon *) daemon)->engine, uuid);
        const MlgDecision *d;
        size_t n = 0;

        while (vm && n < max && (d = mlg_vm_decision(vm, (unsigned int) n)))
                ret[n++] = *d;
        return n;
}

static size_t reservations(MlgReservationStatus *ret, size_t max, void *daemon) {
        const MlgDaemon *d = daemon;
        const MlgReservation *r;
        size_t n = mlg_min(mlg_engine_reservations(d->engine, &r), max);

        for (size_t i = 0; i < n; i++) {
                ret[i] = (MlgReservationStatus) {
                        .id = r[i].id,
                        .kib = r[i].kib,
                        .room_kib = mlg_engine_reservation_room_kib(d->engine, i),
                        .expires_usec = r[i].expires_usec,
                };
                g_strlcpy(ret[i].owner, r[i].owner, sizeof(ret[i].owner));
        }
        return n;
}

static bool reload(char ***ret_changes, GError **error, void *daemon) {
        return mlg_daemon_reload(daemon, ret_changes, error);
}

static void keep_guest(MlgDaemon *d, const MlgVm *vm) {
        mlg_daemon_keep(d, vm);
        mlg_daemon_sync_state(d);
        if (d->bus)
                mlg_bus_guest_changed(d->bus, vm->uuid);
}

static bool pause_guest(const char *uuid, bool paused, GError **error, void *daemon) {
        MlgDaemon *d = daemon;
        MlgVm *vm = NULL;

        if (uuid && !(vm = find(d, uuid, error)))
                return false;
        mlg_engine_pause(d->engine, vm, paused);
        if (vm)
                keep_guest(d, vm);
        else {
                mlg_state_set_paused(d->state, paused);
                mlg_daemon_sync_state(d);
        }
        mlg_daemon_flush(d);
        return true;
}

static bool set_target(const char *uuid, uint64_t kib, uint64_t hold_usec, GError **error, void *daemon) {
        MlgDaemon *d = daemon;
        MlgVm *vm = find(d, uuid, error);
        uint64_t now = mlg_loop_now_usec(d->loop);

        if (!vm)
                return false;
        switch (mlg_engine_set_manual(d->engine, vm, kib, now + hold_usec)) {
        case 0:
                keep_guest(d, vm);
                mlg_daemon_flush(d);
                return true;
        case -ERANGE:
                g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT,
                            "%" PRIu64 " KiB is outside of what %s may have: floor %" PRIu64 " KiB, ceiling %" PRIu64 " KiB",
                            kib, vm->name, vm->floor_kib, vm->ceiling_kib);
                return false;
        default:
                g_set_error(error, MLG_ERROR, MLG_ERROR_NOT_MANAGED, "%s is left alone: %s", vm->name,
                            mlg_reason_to_sentence(vm->why));
                return false;
        }
}

static bool reserve(uint64_t kib, uint64_t timeout_usec, const char *owner, uint64_t *ret_id, GError **error,
                    void *daemon) {
        MlgDaemon *d = daemon;
        uint64_t now = mlg_loop_now_usec(d->loop), real = mlg_real_usec();
        MlgReservation r = { .kib = kib };
        int error_code;

        if (!d->connected) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NOT_CONNECTED, "There is no connection to %s at the moment", d->uri);
                return false;
        }
        /* Ids are never used twice, across restarts too. */
        r.id = d->last_reservation_id = mlg_max(d->last_reservation_id + 1, real);
        r.keep_usec = timeout_usec;
        r.expires_usec = now + timeout_usec;
        r.wait_until_usec = now + mlg_min(timeout_usec, RESERVE_WAIT_USEC);
        g_strlcpy(r.owner, owner, sizeof(r.owner));
        error_code = mlg_engine_reserve(d->engine, &r);
        if (error_code == -E2BIG) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_LIMIT, "There are %d reservations already", MLG_RESERVATIONS_MAX);
                return false;
        }
        if (error_code == -EAGAIN) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NOT_CONNECTED,
                            "Not all guests are known yet: ask again in some seconds");
                return false;
        }
        if (error_code < 0) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_ROOM,
                            "%" PRIu64 " MiB cannot be made free without taking from guests what they need, or their floors",
                            kib / MLG_KIB_PER_MIB);
                return false;
        }
        mlg_timer_at(d->poll_timer, now); /* begin at once */
        *ret_id = r.id;
        return true;
}

static bool release(uint64_t id, GError **error, void *daemon) {
        MlgDaemon *d = daemon;

        if (!mlg_engine_release(d->engine, id)) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_RESERVATION, "There is no reservation %" PRIu64, id);
                return false;
        }
        mlg_state_drop_reservation(d->state, id);
        mlg_daemon_sync_state(d);
        if (d->bus)
                mlg_bus_reservation_released(d->bus, id, "released");
        return true;
}

static char *config(void *daemon) {
        return mlg_config_to_text(((MlgDaemon *) daemon)->config);
}

const MlgBusOps mlg_daemon_bus_ops = {
        .host_status = mlg_daemon_host_status,
        .n_guests = n_guests,
        .guest_at = guest_at,
        .guest_find = guest_find,
        .decisions = decisions,
        .rules = mlg_daemon_rules,
        .reservations = reservations,
        .plugins = mlg_daemon_plugins,
        .reload = reload,
        .pause = pause_guest,
        .set_target = set_target,
        .reserve = reserve,
        .release = release,
        .proposals = mlg_daemon_proposals,
        .approve = mlg_daemon_approve,
        .reject = mlg_daemon_reject,
        .approve_all = mlg_daemon_approve_all,
        .end_approval = mlg_daemon_end_approval,
        .pipes = mlg_daemon_pipes,
        .swaps = mlg_daemon_swaps,
        .plug_pipe = mlg_daemon_plug_pipe,
        .dump = mlg_daemon_dump,
        .config = config,
};
