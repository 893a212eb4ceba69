/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes: what listeners are told. Events at once; changed properties once per turn, and only those that
 * differ from what was told last.
 *
 * Invariants: per object 8 bytes are kept per property that has a change signal (a hash of its value, not
 * the value); if the bus does not take messages, or the name is not ours yet, signals are left out rather than
 * piled up, and changed properties wait. */
#include "bus/bus-internal.h"

#include <stdlib.h>
#include <string.h>

#define PROPERTIES_MAX 40 /* that have a change signal, of one interface */

struct MlgSeen {
        bool dirty;
        bool told; /* the hashes are of what listeners know; else they know nothing, and are told all */
        uint64_t hashes[PROPERTIES_MAX];
};

static uint64_t hash_bytes(const void *p, size_t n) {
        uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

        for (const uint8_t *c = p; n > 0; n--)
                h = (h ^ *c++) * UINT64_C(0x100000001b3);
        return h;
}

/* The value behind one row of a vtable; mirrors how the row's getter reads it. */
static uint64_t hash_property(const sd_bus_vtable *v, const void *object) {
        const void *field = (const uint8_t *) object + v->x.property.offset;

        switch (v->x.property.signature[0]) {
        case 'b':
                return hash_bytes(field, sizeof(bool));
        case 'u':
        case 'i':
                return hash_bytes(field, sizeof(uint32_t));
        case 't':
                return hash_bytes(field, sizeof(uint64_t));
        case 's':
                if (!v->x.property.get) /* a pointer to a string that lives as long as we do */
                        return hash_bytes(field, sizeof(char *));
                if (v->x.property.get != mlg_bus_get_chars) /* the name of an enum's value */
                        return hash_bytes(field, sizeof(MlgReason));
                return hash_bytes(field, strlen(field));
        default: /* 'a': words, kept as one string */
                return hash_bytes(field, strlen(field));
        }
}

/* Signals of a connection that does not own the name yet would pass by the policy, which is about the name. */
static bool bus_is_deaf(MlgBus *b) {
        uint64_t n = 0;

        return b->name_pending || sd_bus_get_n_queued_write(b->bus, &n) < 0 || n > MLG_BUS_QUEUE_MAX;
}

/* Collects the names of properties that differ from *s, and updates *s. */
static size_t collect(const sd_bus_vtable *vtable, const void *object, MlgSeen *s,
                      char *names[static PROPERTIES_MAX]) {
        size_t row = 0, n = 0;

        for (const sd_bus_vtable *v = vtable; v->type != _SD_BUS_VTABLE_END && row < PROPERTIES_MAX; v++) {
                uint64_t h;

                if (v->type != _SD_BUS_VTABLE_PROPERTY || !(v->flags & SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE))
                        continue;
                h = hash_property(v, object);
                if (!s->told || s->hashes[row] != h)
                        names[n++] = (char *) v->x.property.member;
                s->hashes[row++] = h;
        }
        s->told = true;
        s->dirty = false;
        return n;
}

static void tell(MlgBus *b, const char *path, const char *interface, const sd_bus_vtable *vtable,
                 const void *object, MlgSeen *s) {
        char *names[PROPERTIES_MAX + 1] = {};

        if (collect(vtable, object, s, names) > 0)
                (void) sd_bus_emit_properties_changed_strv(b->bus, path, interface, names);
}

static MlgSeen *seen_guest(MlgBus *b, const char *uuid) {
        MlgSeen *s = g_hash_table_lookup(b->seen, uuid);

        if (!s) {
                s = g_new0(MlgSeen, 1);
                g_hash_table_insert(b->seen, g_strdup(uuid), s);
        }
        return s;
}

void mlg_changes_init(MlgBus *b) {
        b->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        b->seen_host = g_new0(MlgSeen, 1);
        b->seen_pipes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

void mlg_changes_done(MlgBus *b) {
        g_clear_pointer(&b->seen, g_hash_table_unref);
        g_clear_pointer(&b->seen_host, g_free);
        g_clear_pointer(&b->seen_pipes, g_hash_table_unref);
}

void mlg_bus_guest_changed(MlgBus *b, const char *uuid) {
        seen_guest(b, uuid)->dirty = true;
}

void mlg_bus_host_changed(MlgBus *b) {
        b->seen_host->dirty = true;
}

static void emit(MlgBus *b, const char *member, const char *types, ...) {
        _bus_unref_ sd_bus_message *m = NULL;
        va_list args;
        int r;

        if (bus_is_deaf(b) ||
            sd_bus_message_new_signal(b->bus, &m, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER, member) < 0)
                return;
        va_start(args, types);
        r = sd_bus_message_appendv(m, types, args);
        va_end(args);
        if (r >= 0)
                (void) sd_bus_send(b->bus, m, NULL);
}

void mlg_bus_pipes_changed(MlgBus *b) {
        b->pipes_dirty = true;
}

static void emit_pipe(MlgBus *b, const char *member, const char *name) {
        char *path = mlg_bus_pipe_path(name);

        if (path)
                emit(b, member, "so", name, path);
        free(path);
}

static void tell_pipe(MlgBus *b, const MlgPipeStatus *st) {
        MlgSeen *s = g_hash_table_lookup(b->seen_pipes, st->name);
        char *names[PROPERTIES_MAX], *path;

        mlg_bus_pipe_fill(b, st);
        if (!s) { /* who hears of it reads what it is now */
                s = g_new0(MlgSeen, 1);
                g_hash_table_insert(b->seen_pipes, g_strdup(st->name), s);
                (void) collect(mlg_bus_pipe_vtable, &b->pipe, s, names);
                emit_pipe(b, "PipeAdded", st->name);
        } else if ((path = mlg_bus_pipe_path(st->name))) {
                tell(b, path, MLG_BUS_IFACE_PIPE, mlg_bus_pipe_vtable, &b->pipe, s);
                free(path);
        }
}

static bool is_among(const char *name, const MlgPipeStatus *all, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (g_str_equal(all[i].name, name))
                        return true;
        return false;
}

static void flush_pipes(MlgBus *b) {
        g_autofree MlgPipeStatus *all = NULL;
        size_t n = mlg_bus_read_pipes(b, &all);
        GHashTableIter i;
        gpointer name;

        for (size_t k = 0; k < n; k++)
                tell_pipe(b, &all[k]);
        g_hash_table_iter_init(&i, b->seen_pipes);
        while (g_hash_table_iter_next(&i, &name, NULL))
                if (!is_among(name, all, n)) {
                        emit_pipe(b, "PipeRemoved", name);
                        g_hash_table_iter_remove(&i);
                }
        b->pipes_dirty = false;
}

void mlg_bus_flush_changes(MlgBus *b) {
        GHashTableIter i;
        gpointer uuid, s;

        if (b->seen_host->dirty && !bus_is_deaf(b)) {
                mlg_bus_manager_fill(b);
                tell(b, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER, mlg_bus_manager_vtable, &b->host, b->seen_host);
        }

        if (b->pipes_dirty && !bus_is_deaf(b))
                flush_pipes(b);
        g_hash_table_iter_init(&i, b->seen);
        while (g_hash_table_iter_next(&i, &uuid, &s)) {
                g_autofree char *path = NULL;

                if (!((MlgSeen *) s)->dirty || bus_is_deaf(b))
                        continue;
                if (!b->ops->guest_find(uuid, &b->guest.st, b->userdata)) {
                        g_hash_table_iter_remove(&i);
                        continue;
                }
                b->guest.bus = b;
                path = mlg_bus_guest_path(uuid);
                tell(b, path, MLG_BUS_IFACE_GUEST, mlg_bus_guest_vtable, &b->guest, s);
        }
}

/* ---- events ---- */

static void emit_guest(MlgBus *b, const char *member, const char *uuid, const char *name) {
        g_autofree char *path = mlg_bus_guest_path(uuid), *valid = g_utf8_make_valid(name, -1);

        emit(b, member, "so", valid, path);
}

/* Who hears of the new guest reads what it is now: these values need not be told. */
void mlg_bus_guest_added(MlgBus *b, const char *uuid, const char *name) {
        char *names[PROPERTIES_MAX];

        if (b->ops->guest_find(uuid, &b->guest.st, b->userdata))
                (void) collect(mlg_bus_guest_vtable, &b->guest, seen_guest(b, uuid), names);
        emit_guest(b, "GuestAdded", uuid, name);
}

void mlg_bus_guest_removed(MlgBus *b, const char *uuid, const char *name) {
        g_hash_table_remove(b->seen, uuid);
        emit_guest(b, "GuestRemoved", uuid, name);
}

void mlg_bus_resized(MlgBus *b, const char *uuid, const char *name, uint64_t from_kib, uint64_t to_kib,
                     MlgReason why) {
        g_autofree char *path = mlg_bus_guest_path(uuid), *valid = g_utf8_make_valid(name, -1);

        emit(b, "Resized", "sotts", valid, path, from_kib, to_kib, mlg_reason_to_string(why));
}

void mlg_bus_shortage(MlgBus *b, uint64_t missing_kib, uint64_t budget_kib) {
        emit(b, "Shortage", "tt", missing_kib, budget_kib);
}

void mlg_bus_host_alarm(MlgBus *b, MlgAlarm level, uint64_t missing_kib, uint64_t givable_kib) {
        emit(b, "HostAlarm", "stt", mlg_alarm_to_string(level), missing_kib, givable_kib);
}

void mlg_bus_proposal_added(MlgBus *b, const char *uuid, const char *name, const MlgProposal *p) {
        g_autofree char *path = mlg_bus_guest_path(uuid), *valid = g_utf8_make_valid(name, -1);

        emit(b, "ProposalAdded", "tsotts", p->id, valid, path, p->from_kib, p->to_kib, mlg_reason_to_string(p->why));
}

void mlg_bus_proposal_removed(MlgBus *b, const char *uuid, const char *name, uint64_t id, MlgProposalEvent outcome) {
        g_autofree char *path = mlg_bus_guest_path(uuid), *valid = g_utf8_make_valid(name, -1);

        emit(b, "ProposalRemoved", "tsos", id, valid, path, mlg_proposal_event_to_string(outcome));
}

void mlg_bus_reservation_progress(MlgBus *b, uint64_t id, const char *owner, uint64_t room_kib, uint64_t kib) {
        emit(b, "ReservationProgress", "tstt", id, owner, room_kib * 1024, kib * 1024);
}

void mlg_bus_reservation_released(MlgBus *b, uint64_t id, const char *why) {
        g_autofree char *valid = g_utf8_make_valid(why ? why : "", -1);

        emit(b, "ReservationReleased", "ts", id, valid);
}
