/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reservations: room for guests about to start.
 *
 * A reservation waits until its room is there, keeps it, passes it to the guest that starts into it, and ends when it
 * is released or its time is over. Older ones have the first claim.
 * Invariant: the ledger's reserved account is what all of them keep free at this moment; of a guest's charge and the
 * reservation it starts into only the greater one counts. */
#include <errno.h>
#include <string.h>

#include "core/engine-private.h"
#include "util/util.h"

/* Room that came since somebody was told: less is not seen on a terminal, nor more often. */
#define PROGRESS_PART 32
#define PROGRESS_USEC (200 * 1000)

/* What a reservation still keeps free: all of it, until its guest holds some of it. */
static uint64_t kept_kib(const MlgEngine *e, const MlgReservation *r) {
        const MlgVm *vm = r->guest[0] ? mlg_engine_find(e, r->guest) : NULL;

        if (r->taken)
                return 0;
        return vm ? mlg_sub_sat(r->kib, vm->charge_kib) : r->kib;
}

void mlg_reservations_book(MlgEngine *e) {
        e->ledger.reserved_kib = 0;
        for (size_t i = 0; i < e->n_reservations; i++)
                e->ledger.reserved_kib += kept_kib(e, &e->reservations[i]);
}

/* A guest starts: the room that was made before is most likely for it, and must not be counted twice. Of several
 * reservations that are ready, the one whose size is nearest to the guest's is meant. */
void mlg_reservations_pass_room_to(MlgEngine *e, const MlgVm *vm) {
        MlgReservation *best = NULL;

        for (size_t i = 0; i < e->n_reservations; i++) {
                MlgReservation *r = &e->reservations[i];

                if (r->wait_until_usec > 0 || r->taken || r->guest[0])
                        continue;
                if (!best || mlg_abs_diff(r->kib, vm->charge_kib) < mlg_abs_diff(best->kib, vm->charge_kib))
                        best = r;
        }
        if (best)
                g_strlcpy(best->guest, vm->uuid, sizeof(best->guest));
        mlg_reservations_book(e);
}

bool mlg_reservations_wait(const MlgEngine *e) {
        for (size_t i = 0; i < e->n_reservations; i++)
                if (e->reservations[i].wait_until_usec > 0)
                        return true;
        return false;
}

/* What could be made free at most: all but what cannot be moved, what guests need, and their floors. */
static uint64_t reservable_kib(const MlgEngine *e) {
        uint64_t bound = mlg_add_sat(e->ledger.reserved_kib, e->pipes_kib);

        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];
                uint64_t least = mlg_max(vm->floor_kib, vm->forecast.need_kib);

                bound += vm->state == MLG_VM_MANAGED && !vm->asks ? mlg_min(least, vm->charge_kib) : vm->charge_kib;
        }
        return mlg_sub_sat(e->ledger.budget_kib, bound);
}

int mlg_engine_reserve(MlgEngine *e, const MlgReservation *r) {
        if (!e->has_host || !mlg_engine_all_polled(e))
                return -EAGAIN;
        mlg_engine_take_budget(e);
        if (r->kib > reservable_kib(e))
                return -ENOSPC;
        return mlg_engine_restore_reservation(e, r);
}

int mlg_engine_restore_reservation(MlgEngine *e, const MlgReservation *r) {
        if (e->n_reservations >= MLG_RESERVATIONS_MAX)
                return -E2BIG;
        e->reservations[e->n_reservations++] = *r;
        mlg_reservations_book(e);
        return 0;
}

static void remove_reservation(MlgEngine *e, size_t i) {
        memmove(&e->reservations[i], &e->reservations[i + 1], (--e->n_reservations - i) * sizeof(e->reservations[0]));
        mlg_reservations_book(e);
}

bool mlg_engine_release(MlgEngine *e, uint64_t id) {
        for (size_t i = 0; i < e->n_reservations; i++)
                if (e->reservations[i].id == id) {
                        remove_reservation(e, i);
                        return true;
                }
        return false;
}

size_t mlg_engine_reservations(const MlgEngine *e, const MlgReservation **ret) {
        *ret = e->reservations;
        return e->n_reservations;
}

uint64_t mlg_engine_reservation_room_kib(const MlgEngine *e, size_t i) {
        const MlgReservation *r = &e->reservations[i];
        uint64_t before = e->ledger.charged_kib, kept = kept_kib(e, r);

        /* Older reservations have the first claim on what guests leave. */
        for (size_t j = 0; j < i; j++)
                before += kept_kib(e, &e->reservations[j]);
        return r->kib - kept + mlg_min(kept, mlg_sub_sat(e->ledger.budget_kib, before));
}

/* Its guest has arrived among the others, or has gone before it did. True: the former. */
static bool is_taken_up(const MlgEngine *e, MlgReservation *r) {
        const MlgVm *vm = r->guest[0] ? mlg_engine_find(e, r->guest) : NULL;

        if (r->taken || !r->guest[0])
                return false;
        if (!vm || vm->run_state == MLG_RUN_OFF)
                r->guest[0] = '\0';
        else
                r->taken = vm->state == MLG_VM_MANAGED;
        return r->taken;
}

/* It waits for its room; told is what somebody who waits can see. */
static void tell_progress(MlgEngine *e, size_t i, uint64_t now_usec, MlgReservationFn fn, void *userdata) {
        MlgReservation *r = &e->reservations[i], copy;
        uint64_t room = mlg_engine_reservation_room_kib(e, i);

        if (mlg_abs_diff(room, r->room_kib) < mlg_max(r->kib / PROGRESS_PART, 1) || now_usec - r->told_usec < PROGRESS_USEC)
                return;
        r->room_kib = room;
        r->told_usec = now_usec;
        copy = *r;
        fn(&copy, MLG_RESERVATION_PROGRESS, userdata);
}

/* Waits for its room, which is there when a new reading of the host says so: who asked for it relies on it. True: it is
 * gone. */
static bool settle_waiting(MlgEngine *e, size_t i, uint64_t now_usec, bool known, MlgReservationFn fn, void *userdata) {
        MlgReservation *r = &e->reservations[i], copy;

        if (known && e->facts_are_new && mlg_engine_reservation_room_kib(e, i) == r->kib) {
                r->wait_until_usec = 0;
                r->expires_usec = now_usec + r->keep_usec;
                r->room_kib = r->kib;
                copy = *r;
                fn(&copy, MLG_RESERVATION_READY, userdata);
                return false;
        }
        if (now_usec < r->wait_until_usec) {
                if (known)
                        tell_progress(e, i, now_usec, fn, userdata);
                return false;
        }
        copy = *r;
        remove_reservation(e, i);
        fn(&copy, MLG_RESERVATION_NO_ROOM, userdata);
        return true;
}

void mlg_engine_settle_reservations(MlgEngine *e, uint64_t now_usec, bool known, MlgReservationFn fn, void *userdata) {
        for (size_t i = 0; i < e->n_reservations;) {
                MlgReservation *r = &e->reservations[i], copy;

                if (now_usec >= r->expires_usec) {
                        copy = *r;
                        remove_reservation(e, i);
                        fn(&copy, copy.wait_until_usec ? MLG_RESERVATION_NO_ROOM : MLG_RESERVATION_EXPIRED, userdata);
                        continue;
                }
                if (known && is_taken_up(e, r)) {
                        copy = *r;
                        fn(&copy, MLG_RESERVATION_TAKEN, userdata);
                }
                if (r->wait_until_usec == 0 || !settle_waiting(e, i, now_usec, known, fn, userdata))
                        i++;
        }
        mlg_reservations_book(e);
}
