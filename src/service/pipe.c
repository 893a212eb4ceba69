/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe: groups of guests that share memory, between the configuration, the guests' devices, and the
 * ledger.
 *
 * A group that is not configured any more goes on until its last member is gone, for a client that was
 * left alone could never come back. A member is told apart by its QEMU's process, which libvirt has on
 * record: who merely may connect to the socket is not let in. A device is unplugged in two steps, so that
 * no connection breaks: its guest is LEAVING, and everybody goes back to the network with it; when it
 * says that it has no pipe left, or in LEAVE_USEC, the device goes.
 *
 * A group whose members share memory two by two (pipe-pairs.c) is a section with rooms, each of which is
 * served like a group. */
#include <errno.h>
#include <string.h>

#include "service/device.h"
#include "service/log.h"
#include "service/notify.h"
#include "service/pipe-private.h"
#include "util/util.h"

#define LEAVE_USEC (3 * MLG_USEC_PER_SEC)
typedef MlgDaemonPipe Pipe;

static Pipe *find(const MlgDaemon *d, const char *name) {
        for (guint i = 0; name && i < d->pipes->len; i++)
                if (g_str_equal(((Pipe *) d->pipes->pdata[i])->name, name))
                        return d->pipes->pdata[i];
        return NULL;
}

static Pipe *find_by_path(const MlgDaemon *d, const char *path) {
        for (guint i = 0; i < d->pipes->len; i++) {
                Pipe *p = d->pipes->pdata[i];

                if (p->group && g_str_equal(mlg_pipe_group_path(p->group), path))
                        return p;
        }
        return NULL;
}

bool mlg_pipe_may_warn(const Pipe *p, const char *guest, unsigned int cause) {
        g_autofree char *whom = g_strconcat(p->section ? p->section->name : p->name, "/", guest, NULL);

        return mlg_log_limited(whom, cause, mlg_loop_now_usec(p->daemon->loop));
}

uint32_t mlg_pipe_id_of(const Pipe *p, const char *guest) {
        for (uint32_t id = 1; p && id <= MLG_PIPE_MEMBERS_MAX; id++)
                if (p->peers[id].name[0] && g_str_equal(p->peers[id].name, guest))
                        return id;
        return 0;
}

static bool is_empty(const Pipe *p) {
        const MlgDaemon *d = p->daemon;

        for (uint32_t id = 1; id <= MLG_PIPE_MEMBERS_MAX; id++)
                if (p->peers[id].name[0])
                        return false;
        for (guint i = 0; i < d->pipes->len; i++)
                if (((const Pipe *) d->pipes->pdata[i])->section == p)
                        return false;
        return p->n_asked == 0;
}

/* ---- who connects ---- */

/* One that is not known yet (it is just being started) is judged by its name. */
bool mlg_pipe_belongs(const MlgDaemon *d, const Pipe *p, const char *guest) {
        const MlgVm *vm = mlg_device_vm(d, guest);
        const char *name = mlg_config_pipe_of(d->config, guest, vm ? vm->uuid : NULL,
                                              vm ? vm->labels : NULL);

        return name && g_str_equal(name, p->name);
}

static void refuse(const Pipe *p, pid_t pid, const char *guest, const char *why) {
        if (mlg_pipe_may_warn(p, guest, MLG_CAUSE_PIPE_REFUSED))
                mlg_log(MLG_LOG_WARNING, "Pipe %s: process %d%s%s%s was turned away: %s", p->name, (int) pid,
                        guest ? " (" : "", guest ? guest : "", guest ? ")" : "", why);
}

static bool is_expected(const MlgDaemon *d, const Pipe *p, const char *guest) {
        return p->section ? mlg_room_is_for(p, guest) && mlg_pipe_belongs(d, p->section, guest)
                          : mlg_pipe_belongs(d, p, guest);
}

/* Several rooms of one section can have the same member. */
static bool excludes(const Pipe *other, const Pipe *p) {
        return other == p || !p->section || other->section != p->section;
}

/* A room that is taken over is for those who are in it. */
static void remember(Pipe *p, const char *guest) {
        for (size_t i = 0; i < G_N_ELEMENTS(p->guests); i++)
                if (!p->guests[i][0] || g_str_equal(p->guests[i], guest)) {
                        g_strlcpy(p->guests[i], guest, sizeof(p->guests[i]));
                        return;
                }
}

static bool on_join(uint32_t id, pid_t pid, void *userdata) {
        Pipe *p = userdata;
        MlgDaemon *d = p->daemon;
        g_autofree char *guest = mlg_device_guest_of(d, pid);

        if (!guest || strlen(guest) > MLG_NAME_MAX) {
                refuse(p, pid, NULL, "libvirt knows no guest with this process");
                return false;
        }
        for (guint i = 0; i < d->pipes->len; i++)
                if (excludes(d->pipes->pdata[i], p) && mlg_pipe_id_of(d->pipes->pdata[i], guest) > 0) {
                        refuse(p, pid, guest,
                               "it is a member already, and can be one of one group only, once");
                        return false;
                }
        /* One that is taken over was let in before; its labels are not known yet. */
        if (!p->group && p->section)
                remember(p, guest);
        if (p->group && (p->going || !is_expected(d, p, guest))) {
                refuse(p, pid, guest, "it does not belong to this group");
                return false;
        }
        p->peers[id].pid = pid;
        g_strlcpy(p->peers[id].name, guest, sizeof(p->peers[id].name));
        mlg_log(MLG_LOG_INFO, "Pipe %s: guest %s has come, as number %" PRIu32, p->name, guest, id);
        return true;
}

static void on_leave(uint32_t id, void *userdata) {
        Pipe *p = userdata;

        mlg_log(MLG_LOG_INFO, "Pipe %s: guest %s has gone", p->name, p->peers[id].name);
        p->peers[id] = (MlgPipePeer) {};
}

static void on_complaint(pid_t pid, const char *what, void *userdata) {
        const Pipe *p = userdata;
        const char *guest = NULL;

        for (uint32_t id = 1; pid > 0 && id <= MLG_PIPE_MEMBERS_MAX; id++)
                if (p->peers[id].pid == pid)
                        guest = p->peers[id].name;
        if (mlg_pipe_may_warn(p, guest, MLG_CAUSE_PIPE_NONSENSE))
                mlg_log(MLG_LOG_WARNING, "Pipe %s: %s%s%s%s", p->name, guest ? "guest " : "",
                        guest ? guest : "", guest ? ": " : "", what);
}

/* ---- the ledger ---- */

/* What the rooms beside this one leave of their section's quota. */
static uint64_t quota_left_kib(const Pipe *p) {
        uint64_t others_kib = 0;

        for (guint i = 0; i < p->daemon->pipes->len; i++) {
                const Pipe *other = p->daemon->pipes->pdata[i];

                if (other != p && other->section == p->section)
                        others_kib = mlg_add_sat(others_kib, other->charge_kib);
        }
        return mlg_sub_sat(p->section->settings.quota_kib, others_kib);
}

static uint64_t on_grant(uint64_t to_bytes, void *userdata) {
        Pipe *p = userdata;
        uint64_t to_kib = (to_bytes + 1023) / 1024;

        if (p->section)
                to_kib = mlg_min(to_kib, mlg_max(quota_left_kib(p), p->charge_kib));
        return mlg_engine_grant_pipe(p->daemon->engine, &p->charge_kib, to_kib) * 1024;
}

static void on_charge(uint64_t bytes, void *userdata) {
        Pipe *p = userdata;

        mlg_engine_book_pipe(p->daemon->engine, &p->charge_kib, (bytes + 1023) / 1024);
}

void mlg_daemon_tell_shared(MlgDaemon *d) {
        uint64_t all_kib = 0;

        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++)
                mlg_engine_guest_at(d->engine, i)->shared_kib = 0;
        for (guint i = 0; i < d->pipes->len; i++) {
                const Pipe *p = d->pipes->pdata[i];
                uint64_t kib = p->group ? mlg_pipe_group_backed_bytes(p->group) / 1024 : 0;

                all_kib += kib;
                for (uint32_t id = 1; id <= MLG_PIPE_MEMBERS_MAX; id++) {
                        MlgVm *vm = p->peers[id].name[0] ? mlg_device_vm(d, p->peers[id].name) : NULL;

                        if (vm)
                                vm->shared_kib += kib;
                }
        }
        mlg_engine_tell_shared(d->engine, all_kib + mlg_swap_add_shared(d));
}

/* Overrun books are paid for by pipes, too: what members can do without they return. */
void mlg_daemon_limit_pipes(MlgDaemon *d) {
        uint64_t overrun_kib = mlg_ledger_overrun_kib(mlg_engine_ledger(d->engine));

        for (guint i = 0; i < d->pipes->len; i++) {
                const Pipe *p = d->pipes->pdata[i];
                uint64_t limit_kib = p->kind == MLG_ROOM_PAIR ? p->limit_kib : UINT64_MAX / 1024;

                if (overrun_kib > 0)
                        limit_kib = mlg_min(limit_kib, mlg_sub_sat(p->charge_kib, overrun_kib));
                if (p->group)
                        mlg_pipe_group_set_limit(p->group, limit_kib * 1024);
        }
}

/* ---- what the service manager keeps ---- */

#define KEPT_KIND "pipe"

static void on_keep(const char *name, int fd, void *userdata) {
        const Pipe *p = userdata;

        mlg_device_keep(KEPT_KIND, p->name, name, fd);
}

/* ---- groups ---- */

static const MlgPipeGroupCallbacks callbacks = {
        .on_wish = mlg_pairs_on_wish,
        .on_join = on_join,
        .on_leave = on_leave,
        .on_grant = on_grant,
        .on_charge = on_charge,
        .on_complaint = on_complaint,
        .on_keep = on_keep,
};

/* Peer ids, the host's among them. */
static uint32_t ids_of(MlgRoomKind kind) {
        switch (kind) {
        case MLG_ROOM_GROUP:
                return MLG_PIPE_MEMBERS_MAX + 1;
        case MLG_ROOM_LOBBY:
                return 2;
        case MLG_ROOM_PAIR:
                return 3;
        case MLG_ROOM_PAIRS:
                break;
        }
        return 0;
}

static void pipe_free(gpointer data) {
        Pipe *p = data;

        mlg_engine_book_pipe(p->daemon->engine, &p->charge_kib, 0);
        (void) mlg_watch_free(p->watch);
        (void) mlg_pipe_group_free(p->group);
        g_free(p);
}

/* Opens what `p` says: memory, a socket, and who is kept. */
static int serve(Pipe *p, GHashTable *kept) {
        MlgDaemon *d = p->daemon;
        const MlgPipeSettings *s = p->section ? &p->section->settings : &p->settings;
        g_autofree char *path = g_strdup_printf("%s/%s.sock", mlg_device_dir(d), p->name);
        MlgIvshmemKept k;
        MlgPipeGroupOptions o = {
                .path = path,
                .owner = mlg_device_owner(),
                .region_bytes = p->section ? MLG_PIPE_REGION_MIN : s->region_kib * 1024,
                /* Of pairs, limit_kib says what they may have of the section's. */
                .quota_bytes = p->kind == MLG_ROOM_LOBBY  ? 0
                               : p->kind == MLG_ROOM_PAIR ? MLG_PIPE_REGION_MIN
                                                          : s->quota_kib * 1024,
                .epoch = mlg_real_usec(),
                .n_members = ids_of(p->kind) - 1,
                .lobby = p->kind == MLG_ROOM_LOBBY,
                .kept = &k,
        };
        int r;

        mlg_ivshmem_kept_init(&k);
        if (kept)
                mlg_device_take_kept(kept, KEPT_KIND, p->name, &k);
        r = mlg_pipe_group_new(&o, &callbacks, p, &p->group);
        if (r >= 0)
                r = mlg_loop_watch(d->loop, mlg_pipe_group_pollable(p->group), &p->watch);
        if (r < 0)
                mlg_log(MLG_LOG_ERROR, "Pipe %s: cannot serve %s: %s. Its guests use the network.", p->name,
                        path, g_strerror(-r));
        return r;
}

static Pipe *new_pipe(MlgDaemon *d, MlgRoomKind kind, const char *name) {
        Pipe *p = g_new0(Pipe, 1);

        p->daemon = d;
        p->kind = kind;
        g_strlcpy(p->name, name, sizeof(p->name));
        return p;
}

static void open_pipe(MlgDaemon *d, const char *name, const MlgPipeSettings *s, GHashTable *kept) {
        Pipe *p = new_pipe(d, s->pairs ? MLG_ROOM_PAIRS : MLG_ROOM_GROUP, name);

        p->settings = *s;
        if (!s->pairs && serve(p, kept) < 0) {
                pipe_free(p);
                return;
        }
        g_ptr_array_add(d->pipes, p);
        if (s->pairs) {
                mlg_log(MLG_LOG_INFO, "Pipe %s: pairs of guests may use %" PRIu64 " MiB", name,
                        s->quota_kib / MLG_KIB_PER_MIB);
                mlg_pairs_take_kept(p, kept);
        } else
                mlg_log(MLG_LOG_INFO, "Pipe %s: serves %s, %" PRIu64 " MiB of which %" PRIu64 " may be used", name,
                        mlg_pipe_group_path(p->group), s->region_kib / MLG_KIB_PER_MIB, s->quota_kib / MLG_KIB_PER_MIB);
}

Pipe *mlg_pipe_open_room(Pipe *section, MlgRoomKind kind, const char *name, GHashTable *kept) {
        MlgDaemon *d = section->daemon;
        Pipe *p = new_pipe(d, kind, name);

        p->section = section;
        p->used_usec = p->agreed_usec = mlg_loop_now_usec(d->loop);
        p->limit_kib = UINT64_MAX / 1024;
        if (serve(p, kept) < 0) {
                pipe_free(p);
                return NULL;
        }
        g_ptr_array_add(d->pipes, p);
        return p;
}

static void drop_those_that_ended(MlgDaemon *d) {
        for (guint i = d->pipes->len; i > 0; i--) {
                Pipe *p = d->pipes->pdata[i - 1];

                if (p->going && is_empty(p)) {
                        mlg_log(MLG_LOG_INFO, "Pipe %s: ended", p->name);
                        if (p->group)
                                mlg_device_forget(KEPT_KIND, p->name, ids_of(p->kind));
                        g_ptr_array_remove_index(d->pipes, i - 1);
                }
        }
}

void mlg_daemon_configure_pipes(MlgDaemon *d, GHashTable *kept) {
        if (!d->pipes)
                d->pipes = g_ptr_array_new_with_free_func(pipe_free);
        if (d->dry_run)
                return;
        for (guint i = 0; i < d->pipes->len; i++) {
                Pipe *p = d->pipes->pdata[i];

                if (!p->section) /* rooms go with their section, as mlg_pairs_tend() finds */
                        p->going = true;
        }
        for (size_t i = 0; i < mlg_config_n_pipes(d->config); i++) {
                MlgPipeSettings s;
                const char *name = mlg_config_pipe(d->config, i, &s);
                Pipe *p = find(d, name);

                if (!p) {
                        open_pipe(d, name, &s, kept);
                        continue;
                }
                p->going = false;
                p->settings = s;
                if (p->group)
                        mlg_pipe_group_set_quota(p->group, s.quota_kib * 1024);
        }
        mlg_pairs_tend(d);
        drop_those_that_ended(d);
}

void mlg_daemon_end_pipes(MlgDaemon *d) {
        for (guint i = 0; d->pipes && mlg_notify_keeps() && i < d->pipes->len; i++)
                if (((Pipe *) d->pipes->pdata[i])->group)
                        mlg_pipe_group_leave_to_next(((Pipe *) d->pipes->pdata[i])->group);
        if (d->pipes)
                g_ptr_array_unref(d->pipes);
        d->pipes = NULL;
}

/* ---- guests' devices ---- */

/* libvirt's own words, if it speaks English, for a bus that has no place, and for one that takes no such
 * device while it runs. */
static bool is_bus_full(const char *why) {
        return why && strstr(why, "available PCI slots");
}

/* What helps if a guest cannot have a device. */
static const char *advice_for(const Pipe *p, const char *why) {
        bool of_room = p && p->section;

        if (is_bus_full(why))
                return of_room ? ". Its PCI bus has no place for one more: take devices away, lower PairsMax=, or use "
                                 "a machine of type pc; memlego-pipe(7), Machines"
                               : ". Its PCI bus has no place for one more: take a device away, or put this one into "
                                 "the guest's definition (memlegoctl pipe xml), which a machine of type q35 needs in "
                                 "any case; memlego-pipe(7), Machines";
        return of_room ? "" : ". It can be put into its definition: memlegoctl pipe xml";
}

static void on_device(const MlgDeviceRequest *q, MlgVm *vm, int r, const char *why) {
        MlgDaemon *d = q->daemon;
        uint64_t now = mlg_loop_now_usec(d->loop);
        Pipe *p = find_by_path(d, q->path);

        if (p)
                p->n_asked--;
        if (!vm)
                return;
        mlg_device_tell(q, vm, r, why, q->attach ? advice_for(p, why) : "");
        if (r < 0 && r != -EAGAIN && q->attach && p && p->kind == MLG_ROOM_PAIR) {
                mlg_pairs_not_plugged(p, vm->name, now + MLG_DEVICE_AGAIN_USEC);
                r = 0;
        }
        if (r == 0 || r == -EAGAIN) /* or nobody was asked, as others took the time there was */
                vm->pipe_next_usec = now + (r == 0 ? MLG_DEVICE_DONE_USEC : MLG_DEVICE_BUSY_USEC);
}

static void ask(MlgDaemon *d, MlgVm *vm, bool attach, const char *path, uint64_t now) {
        MlgDeviceRequest q = { .daemon = d, .kind = MLG_SHMEM_PIPE, .attach = attach, .fn = on_device };
        Pipe *p = find_by_path(d, path);

        g_strlcpy(q.uuid, vm->uuid, sizeof(q.uuid));
        g_strlcpy(q.path, path, sizeof(q.path));
        vm->pipe_next_usec = now + MLG_DEVICE_AGAIN_USEC;
        if (p)
                p->n_asked++;
        if (!mlg_device_ask(d, vm, &q) && p)
                p->n_asked--;
}

static bool has_pipes(const Pipe *p, uint32_t id) {
        MlgPipeStatus s;

        mlg_pipe_group_status(p->group, &s);
        for (uint32_t i = 0; i < s.n_members; i++)
                if (s.members[i].id == id)
                        return s.members[i].n_pipes > 0;
        return false;
}

static void take_away(MlgDaemon *d, MlgVm *vm, MlgVmPipe *device, Pipe *p, uint64_t now) {
        uint32_t id = mlg_pipe_id_of(p, vm->name);

        if (id > 0 && device->leave_usec == 0) {
                (void) mlg_pipe_group_set_leaving(p->group, id, true);
                device->leave_usec = now;
        }
        if (id == 0 || !has_pipes(p, id) || now - device->leave_usec >= LEAVE_USEC)
                ask(d, vm, false, device->path, now);
}

/* It was to leave, and is to stay after all. */
static void keep(MlgVm *vm, MlgVmPipe *device, Pipe *p) {
        uint32_t id = mlg_pipe_id_of(p, vm->name);

        device->leave_usec = 0;
        if (id > 0)
                (void) mlg_pipe_group_set_leaving(p->group, id, false);
}

/* Its device is served by nobody: we, or a memlegod before us, were started anew, and its QEMU cannot
 * connect again. */
static bool is_dead(const MlgVm *vm, MlgVmPipe *device, const Pipe *p, uint64_t now) {
        if (mlg_pipe_id_of(p, vm->name) > 0) {
                device->dead_usec = 0;
                return false;
        }
        if (device->dead_usec == 0)
                device->dead_usec = now;
        return now - device->dead_usec >= MLG_DEVICE_DEAD_USEC;
}

/* `section`: the guest's; NULL: it has none, or is to have no device. */
static bool is_wanted(const Pipe *p, const Pipe *section, const MlgVm *vm) {
        if (!p || !section)
                return false;
        return p->section ? p->section == section && !p->going && mlg_room_is_for(p, vm->name) : p == section;
}

static void tend_device(MlgDaemon *d, MlgVm *vm, MlgVmPipe *device, const Pipe *section, uint64_t now) {
        Pipe *p = find_by_path(d, device->path);

        if (!g_str_has_prefix(device->path, mlg_device_dir(d)))
                return; /* of somebody else's server */
        if (!is_wanted(p, section, vm))
                take_away(d, vm, device, p, now);
        else if (is_dead(vm, device, p, now)) {
                vm->pipe_wanted = true; /* it gets another one */
                take_away(d, vm, device, p, now);
        } else if (device->leave_usec > 0)
                keep(vm, device, p);
}

bool mlg_pipe_has_device(const MlgVm *vm, const Pipe *p) {
        for (uint32_t i = 0; i < vm->n_pipes; i++)
                if (g_str_equal(vm->pipes[i].path, mlg_pipe_group_path(p->group)))
                        return true;
        return false;
}

/* What it lacks; one device at a time. */
static void plug_in(MlgDaemon *d, MlgVm *vm, Pipe *section, uint64_t now) {
        if (section->going || (!section->settings.attach && !vm->pipe_wanted))
                return;
        if (section->group) {
                if (vm->n_pipes == 0)
                        ask(d, vm, true, mlg_pipe_group_path(section->group), now);
                return;
        }
        mlg_pairs_want(section, vm);
        for (guint i = 0; i < d->pipes->len && !vm->asking_device; i++) {
                const Pipe *p = d->pipes->pdata[i];

                if (p->section && is_wanted(p, section, vm) && !mlg_pipe_has_device(vm, p))
                        ask(d, vm, true, mlg_pipe_group_path(p->group), now);
        }
}

void mlg_daemon_want_pipe(MlgDaemon *d, MlgVm *vm) {
        uint64_t now = mlg_loop_now_usec(d->loop);
        Pipe *section;

        if (d->pipes->len == 0 && vm->n_pipes == 0)
                return;
        if (d->dry_run || !d->connected || vm->asking_device || vm->run_state != MLG_RUN_RUNNING ||
            vm->migrating || now < vm->pipe_next_usec)
                return;
        section = vm->pipe_off ? NULL : find(d, mlg_config_pipe_of(d->config, vm->name, vm->uuid, vm->labels));
        for (uint32_t i = 0; i < vm->n_pipes && !vm->asking_device; i++)
                tend_device(d, vm, &vm->pipes[i], section, now);
        if (section && !vm->asking_device && mlg_device_has_booted(vm, now))
                plug_in(d, vm, section, now);
}

void mlg_daemon_want_pipes(MlgDaemon *d) {
        mlg_pairs_tend(d);
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++)
                mlg_daemon_want_pipe(d, mlg_engine_guest_at(d->engine, i));
        drop_those_that_ended(d);
}

void mlg_daemon_reset_pipe(MlgDaemon *d, const MlgVm *vm) {
        for (uint32_t i = 0; i < vm->n_pipes; i++) {
                Pipe *p = find_by_path(d, vm->pipes[i].path);
                uint32_t id = mlg_pipe_id_of(p, vm->name);

                if (id > 0)
                        (void) mlg_pipe_group_reset(p->group, id);
        }
}

/* ---- what clients ask ---- */

static void group_status(const Pipe *p, MlgPipeStatus *ret) {
        mlg_pipe_group_status(p->group, ret);
        ret->charged_kib = p->charge_kib;
        for (uint32_t i = 0; i < ret->n_members; i++)
                g_strlcpy(ret->members[i].name, p->peers[ret->members[i].id].name,
                          sizeof(ret->members[i].name));
}

size_t mlg_daemon_pipes(MlgPipeStatus *ret, size_t max, void *daemon) {
        const MlgDaemon *d = daemon;
        size_t n = 0;

        for (guint i = 0; i < d->pipes->len && n < max; i++) {
                const Pipe *p = d->pipes->pdata[i];

                if (p->section)
                        continue;
                if (p->group)
                        group_status(p, &ret[n]);
                else
                        mlg_pairs_status(p, &ret[n]);
                g_strlcpy(ret[n].name, p->name, sizeof(ret[n].name));
                ret[n].attach = p->settings.attach;
                ret[n].going = p->going;
                n++;
        }
        return n;
}

bool mlg_daemon_plug_pipe(const char *uuid, bool attach, GError **error, void *daemon) {
        MlgDaemon *d = daemon;
        MlgVm *vm = mlg_engine_find(d->engine, uuid);

        if (!vm)
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_GUEST, "There is no guest '%s' (any more)",
                            uuid);
        else if (d->dry_run)
                g_set_error(error, MLG_ERROR, MLG_ERROR_FAILED, "In a dry run there are no pipes");
        else if (attach && !find(d, mlg_config_pipe_of(d->config, vm->name, vm->uuid, vm->labels)))
                g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT,
                            "%s belongs to no group: a section [Pipe NAME] has to name it", vm->name);
        else if (!attach && vm->n_pipes == 0)
                g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT,
                            "%s has no device for shared memory", vm->name);
        else {
                vm->pipe_wanted = attach;
                vm->pipe_off = !attach;
                vm->pipe_next_usec = 0;
                mlg_daemon_want_pipe(d, vm);
                return true;
        }
        return false;
}
