/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swap: guests that are lent idle memory of the host to swap into, between the configuration, the guests'
 * devices, and the ledger.
 *
 * Each guest of a section [Swap NAME] has a pool of its own behind a socket of its own, UUID~swap.sock, from
 * the time when it is known: its QEMU connects when the guest starts, if its definition has the device, or
 * when the device is plugged in. It is told apart by its QEMU's process, which libvirt has on record.
 *
 * There may be pages of the guest in its pool. So a pool that is not configured any more is called back, and
 * goes when the guest has given back all of it and no module is there; and no device is ever unplugged
 * before. One that nobody serves (we were started anew without what was kept) is left alone, too: what lies
 * there the guest can still read. */
#include <errno.h>
#include <string.h>

#include "memflex/lender.h"
#include "memflex/sharing.h"
#include "memlego/memflex-abi.h"
#include "service/device.h"
#include "service/log.h"
#include "service/notify.h"
#include "util/util.h"

#define KEPT_KIND "swap"

/* A guest is planned to take as much again as it wants now, and this at least: so it need not wait for each
 * step of its growth, and no memory is kept from others that it would not take. */
#define AHEAD_KIB (64 * MLG_KIB_PER_MIB)

/* To back memory is our own work, in which nobody is served: 0.8 ms for a MiB (measured, and more where the
 * processors are busy). So it is a quarter of our time at most, however many guests swap, or play with us. */
#define LEND_WINDOW_USEC 50000
#define LEND_WINDOW_KIB (16 * MLG_KIB_PER_MIB)

typedef struct Swap {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
        char guest[MLG_NAME_MAX + 1];
        bool known; /* what is configured for its guest; else it was taken over, and all of before holds */
        char section[MLG_PIPE_NAME_MAX + 1];
        MlgSwapSettings settings;
        bool going;
        uint32_t n_asked;      /* plugging of its device that is not answered yet */
        MlgFlexLender *lender; /* NULL: it is being made */
        MlgWatch *watch;
        uint64_t charge_kib;
} Swap;

static Swap *find(const MlgDaemon *d, const char *uuid) {
        for (guint i = 0; i < d->swaps->len; i++)
                if (g_str_equal(((Swap *) d->swaps->pdata[i])->uuid, uuid))
                        return d->swaps->pdata[i];
        return NULL;
}

static const char *name_of(const Swap *s) {
        return s->guest[0] ? s->guest : s->uuid;
}

/* ---- who connects ---- */

/* `guest`: whose process it is; NULL: nobody's. */
static void refuse(const Swap *s, pid_t pid, const char *guest, const char *why) {
        if (mlg_log_limited(guest ? guest : s->section, MLG_CAUSE_SWAP, mlg_loop_now_usec(s->daemon->loop)))
                mlg_log(MLG_LOG_WARNING, "Swap of %s: process %d%s%s%s was turned away: %s", name_of(s),
                        (int) pid, guest ? " (" : "", guest ? guest : "", guest ? ")" : "", why);
}

static bool on_join(pid_t pid, void *userdata) {
        Swap *s = userdata;
        g_autofree char *guest = mlg_device_guest_of(s->daemon, pid);

        if (!guest || strlen(guest) > MLG_NAME_MAX) {
                refuse(s, pid, NULL, "libvirt knows no guest with this process");
                return false;
        }
        if (!s->lender) /* it is taken over, and was let in before */
                g_strlcpy(s->guest, guest, sizeof(s->guest));
        if (!g_str_equal(s->guest, guest) || s->going) {
                refuse(s, pid, guest, s->going ? "it is not configured any more" : "it is another guest's");
                return false;
        }
        mlg_log_guest(MLG_LOG_INFO, NULL, s->uuid, s->guest, "Guest %s: its pool to swap into is connected",
                      s->guest);
        return true;
}

static void on_leave(void *userdata) {
        const Swap *s = userdata;

        mlg_log_guest(MLG_LOG_INFO, NULL, s->uuid, name_of(s), "Guest %s: its pool to swap into is free",
                      name_of(s));
}

static void on_complaint(pid_t pid, const char *what, void *userdata) {
        const Swap *s = userdata;

        if (mlg_log_limited(s->uuid, MLG_CAUSE_SWAP, mlg_loop_now_usec(s->daemon->loop)))
                mlg_log_guest(MLG_LOG_WARNING, NULL, s->uuid, name_of(s),
                              "Guest %s: memory that it is lent: %s", name_of(s), what);
}

/* ---- the ledger ---- */

/* Of a window's work, all guests together; each has half of what is left, so that the first one does not have
 * it all. */
static uint64_t paced_kib(MlgDaemon *d, uint64_t more_kib) {
        uint64_t now = mlg_loop_now_usec(d->loop), left_kib;

        if (now - d->lend_window_usec >= LEND_WINDOW_USEC) {
                d->lend_window_usec = now;
                d->lend_window_kib = 0;
        }
        left_kib = mlg_sub_sat(LEND_WINDOW_KIB, d->lend_window_kib);
        more_kib = mlg_min(more_kib, left_kib / 2);
        d->lend_window_kib += more_kib;
        return more_kib;
}

static uint64_t on_lend(uint64_t to_bytes, void *userdata) {
        Swap *s = userdata;
        uint64_t to_kib = (to_bytes + 1023) / 1024,
                 more_kib = paced_kib(s->daemon, mlg_sub_sat(to_kib, s->charge_kib));

        return mlg_engine_lend(s->daemon->engine, &s->charge_kib, s->charge_kib + more_kib) * 1024;
}

/* What comes back may be what somebody waits for. */
static void on_charge(uint64_t bytes, void *userdata) {
        Swap *s = userdata;
        uint64_t kib = (bytes + 1023) / 1024;
        bool came_back = kib < s->charge_kib;

        mlg_engine_book_lent(s->daemon->engine, &s->charge_kib, kib);
        if (came_back && mlg_engine_is_urgent(s->daemon->engine))
                mlg_daemon_turn_soon(s->daemon, mlg_loop_now_usec(s->daemon->loop));
}

static uint64_t tables_kib(const Swap *s) {
        return mlg_flex_lender_tables_bytes(s->lender) / 1024;
}

/* With its tables. */
static uint64_t wish_kib(const Swap *s) {
        uint64_t wanted = mlg_flex_lender_wanted_bytes(s->lender) / 1024;

        if (!s->known)
                return s->charge_kib;
        if (s->going || wanted == 0)
                return 0;
        return tables_kib(s) + mlg_min(s->settings.quota_kib, wanted + mlg_max(wanted, AHEAD_KIB));
}

void mlg_daemon_wish_lent(MlgDaemon *d) {
        uint64_t sum_kib = 0;

        for (guint i = 0; i < d->swaps->len; i++)
                sum_kib += wish_kib(d->swaps->pdata[i]);
        mlg_engine_wish_lent(d->engine, sum_kib);
}

void mlg_daemon_limit_swaps(MlgDaemon *d) {
        g_autofree MlgFlexClaim *claims = g_new0(MlgFlexClaim, d->swaps->len + 1);
        uint64_t all_kib = mlg_engine_lend_target_kib(d->engine);

        if (all_kib == UINT64_MAX) /* nothing was decided yet: what an earlier memlegod allowed holds */
                return;
        for (guint i = 0; i < d->swaps->len; i++) {
                const Swap *s = d->swaps->pdata[i];

                claims[i] = (MlgFlexClaim){ .want_kib = wish_kib(s), .shares = s->settings.shares };
        }
        (void) mlg_flex_share(claims, d->swaps->len, all_kib);
        for (guint i = 0; i < d->swaps->len; i++) {
                const Swap *s = d->swaps->pdata[i];

                if (s->known)
                        mlg_flex_lender_set_target(s->lender, mlg_sub_sat(claims[i].give_kib, tables_kib(s)) * 1024);
        }
}

uint64_t mlg_swap_add_shared(MlgDaemon *d) {
        uint64_t all_kib = 0;

        for (guint i = 0; d->swaps && i < d->swaps->len; i++) {
                const Swap *s = d->swaps->pdata[i];
                uint64_t kib = mlg_flex_lender_backed_bytes(s->lender) / 1024;
                MlgVm *vm = mlg_engine_find(d->engine, s->uuid);

                all_kib += kib;
                if (vm)
                        vm->shared_kib += kib;
        }
        return all_kib;
}

/* ---- pools ---- */

static void on_keep(const char *name, int fd, void *userdata) {
        mlg_device_keep(KEPT_KIND, ((const Swap *) userdata)->uuid, name, fd);
}

static const MlgFlexCallbacks callbacks = {
        .on_join = on_join,
        .on_leave = on_leave,
        .on_lend = on_lend,
        .on_charge = on_charge,
        .on_complaint = on_complaint,
        .on_keep = on_keep,
};

static void swap_free(gpointer data) {
        Swap *s = data;

        mlg_engine_book_lent(s->daemon->engine, &s->charge_kib, 0);
        (void) mlg_watch_free(s->watch);
        (void) mlg_flex_lender_free(s->lender);
        g_free(s);
}

/* `kept` (may be NULL): of this pool. */
static Swap *open_swap(MlgDaemon *d, const char *uuid, const char *guest, const MlgSwapSettings *settings,
                       MlgIvshmemKept *kept) {
        g_autofree char *path = g_strdup_printf("%s/%s~swap.sock", mlg_device_dir(d), uuid);
        Swap *s = g_new0(Swap, 1);
        MlgFlexOptions o = {
                .path = path,
                .owner = mlg_device_owner(),
                .pool_bytes = settings->pool_kib * 1024,
                .quota_bytes = settings->quota_kib * 1024,
                .callback_usec = settings->callback_usec,
                .kept = kept,
        };
        int r;

        s->daemon = d;
        s->settings = *settings;
        g_strlcpy(s->uuid, uuid, sizeof(s->uuid));
        g_strlcpy(s->guest, guest, sizeof(s->guest));
        r = mlg_flex_lender_new(&o, &callbacks, s, &s->lender);
        if (r >= 0)
                r = mlg_loop_watch(d->loop, mlg_flex_lender_pollable(s->lender), &s->watch);
        if (r < 0) {
                mlg_log(MLG_LOG_ERROR, "Swap of %s: cannot serve %s: %s. Nothing is lent to it.", name_of(s),
                        path, g_strerror(-r));
                swap_free(s);
                return NULL;
        }
        g_ptr_array_add(d->swaps, s);
        return s;
}

/* As an earlier memlegod left it; what is configured for its guest is known when the guest is. */
static void take_over(MlgDaemon *d, const char *uuid, GHashTable *kept) {
        MlgSwapSettings settings = { .shares = 1 };
        MlgIvshmemKept k;
        uint64_t bytes;

        mlg_device_take_kept(kept, KEPT_KIND, uuid, &k);
        bytes = mlg_ivshmem_kept_bytes(&k);
        settings.pool_kib = bytes / 1024;
        if (bytes > 0)
                (void) open_swap(d, uuid, "", &settings, &k);
        mlg_ivshmem_kept_close(&k);
}

/* UUIDs of which something was kept. */
static GHashTable *kept_uuids(GHashTable *kept) {
        GHashTable *uuids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        GHashTableIter iter;
        gpointer name;

        g_hash_table_iter_init(&iter, kept);
        while (g_hash_table_iter_next(&iter, &name, NULL)) {
                g_auto(GStrv) words = g_strsplit(name, "/", 3);

                if (g_strv_length(words) == 3 && g_str_equal(words[0], KEPT_KIND) &&
                    strlen(words[1]) == MLG_UUID_LEN)
                        g_hash_table_add(uuids, g_strdup(words[1]));
        }
        return uuids;
}

void mlg_daemon_start_swaps(MlgDaemon *d, GHashTable *kept) {
        g_autoptr(GHashTable) uuids = kept_uuids(kept);
        GHashTableIter iter;
        gpointer uuid;

        d->swaps = g_ptr_array_new_with_free_func(swap_free);
        if (d->dry_run)
                return;
        g_hash_table_iter_init(&iter, uuids);
        while (g_hash_table_iter_next(&iter, &uuid, NULL))
                take_over(d, uuid, kept);
}

void mlg_daemon_end_swaps(MlgDaemon *d) {
        for (guint i = 0; d->swaps && mlg_notify_keeps() && i < d->swaps->len; i++)
                mlg_flex_lender_leave_to_next(((Swap *) d->swaps->pdata[i])->lender);
        if (d->swaps)
                g_ptr_array_unref(d->swaps);
        d->swaps = NULL;
}

/* ---- guests ---- */

/* Nothing of the guest is in there any more, and nobody who could put something there. */
static bool is_idle(const Swap *s) {
        MlgSwapStatus st;

        mlg_flex_lender_status(s->lender, &st);
        return st.lent_kib == 0 && st.state != MLG_SWAP_STATE_TALKS && st.state != MLG_SWAP_STATE_LATE;
}

static bool has_device(const MlgVm *vm, const Swap *s) {
        return s && g_str_equal(vm->swap_path, mlg_flex_lender_path(s->lender));
}

static void on_device(const MlgDeviceRequest *q, MlgVm *vm, int r, const char *why) {
        MlgDaemon *d = q->daemon;
        Swap *s = find(d, q->uuid);

        if (s)
                s->n_asked--;
        if (!vm)
                return;
        mlg_device_tell(q, vm, r, why,
                        q->attach ? ". It can be put into its definition: memlegoctl swap xml" : "");
        if (r == 0 || r == -EAGAIN)
                vm->swap_next_usec = mlg_loop_now_usec(d->loop) + (r == 0 ? MLG_DEVICE_DONE_USEC : MLG_DEVICE_BUSY_USEC);
}

static void ask(Swap *s, MlgVm *vm, bool attach) {
        MlgDaemon *d = s->daemon;
        MlgDeviceRequest q = { .daemon = d, .kind = MLG_SHMEM_SWAP, .attach = attach, .fn = on_device };

        g_strlcpy(q.uuid, vm->uuid, sizeof(q.uuid));
        g_strlcpy(q.path, mlg_flex_lender_path(s->lender), sizeof(q.path));
        vm->swap_next_usec = mlg_loop_now_usec(d->loop) + MLG_DEVICE_AGAIN_USEC;
        s->n_asked++;
        if (!mlg_device_ask(d, vm, &q))
                s->n_asked--;
}

/* What the files say of this guest now. */
static Swap *configured(MlgDaemon *d, const MlgVm *vm) {
        Swap *s = find(d, vm->uuid);
        MlgSwapSettings settings;
        const char *section = mlg_config_swap_of(d->config, vm->name, vm->uuid, vm->labels, &settings);

        if (!section) {
                if (s)
                        s->going = s->known = true;
                return s;
        }
        if (!s && !(s = open_swap(d, vm->uuid, vm->name, &settings, NULL)))
                return NULL;
        s->going = false;
        s->known = true;
        s->settings = settings;
        g_strlcpy(s->guest, vm->name, sizeof(s->guest));
        g_strlcpy(s->section, section, sizeof(s->section));
        mlg_flex_lender_set_terms(s->lender, settings.quota_kib * 1024, settings.callback_usec);
        return s;
}

/* Its QEMU cannot connect again: we, or a memlegod before us, were started anew without what was kept. */
static void watch_dead(MlgVm *vm, const Swap *s, uint64_t now) {
        if (mlg_flex_lender_is_connected(s->lender))
                vm->swap_dead_usec = 0;
        else if (vm->swap_dead_usec == 0)
                vm->swap_dead_usec = now;
        else if (now - vm->swap_dead_usec >= MLG_DEVICE_DEAD_USEC &&
                 mlg_log_limited(vm->uuid, MLG_CAUSE_SWAP, now))
                mlg_log_guest(
                        MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                        "Guest %s: nobody is behind its device for memory to swap into any more, and nothing is lent by "
                        "it; what lies there stays. It gets another one when it is started anew, or when the device is "
                        "taken away and added again after its swap is off.",
                        vm->name);
}

static void tend_device(MlgDaemon *d, MlgVm *vm, Swap *s) {
        uint64_t now = mlg_loop_now_usec(d->loop);

        if (!d->connected || vm->asking_device || vm->run_state != MLG_RUN_RUNNING || vm->migrating ||
            now < vm->swap_next_usec)
                return;
        if (has_device(vm, s)) {
                watch_dead(vm, s, now);
                if (s->going && mlg_flex_lender_is_connected(s->lender) && is_idle(s))
                        ask(s, vm, false);
        } else if (!s->going && s->settings.attach && vm->swap_path[0] == '\0' && mlg_device_has_booted(vm, now))
                ask(s, vm, true);
}

void mlg_daemon_want_swap(MlgDaemon *d, MlgVm *vm) {
        Swap *s = NULL;

        if (!d->dry_run && (d->swaps->len > 0 || mlg_config_n_swaps(d->config) > 0))
                s = configured(d, vm);
        if (s)
                tend_device(d, vm, s);
}

void mlg_daemon_reset_swap(MlgDaemon *d, const MlgVm *vm) {
        Swap *s = find(d, vm->uuid);

        if (s)
                mlg_flex_lender_guest_reset(s->lender);
}

/* Its guest is not there any more, or has given everything back. */
static bool has_ended(const MlgDaemon *d, const Swap *s) {
        const MlgVm *vm = mlg_engine_find(d->engine, s->uuid);

        if (s->n_asked > 0 || mlg_flex_lender_is_connected(s->lender))
                return false;
        return s->going || !vm;
}

static void drop_those_that_ended(MlgDaemon *d) {
        for (guint i = d->swaps->len; i > 0; i--) {
                Swap *s = d->swaps->pdata[i - 1];

                if (has_ended(d, s)) {
                        mlg_device_forget(KEPT_KIND, s->uuid, MLG_FLEX_IDS);
                        g_ptr_array_remove_index(d->swaps, i - 1);
                }
        }
}

void mlg_daemon_tend_swaps(MlgDaemon *d) {
        for (guint i = 0; i < d->swaps->len; i++) {
                Swap *s = d->swaps->pdata[i];
                MlgVm *vm = mlg_engine_find(d->engine, s->uuid);

                if (vm && s->known)
                        tend_device(d, vm, s);
        }
        if (d->connected && !d->listing)
                drop_those_that_ended(d);
}

/* ---- what clients ask ---- */

static void tell_swap_in(const MlgDaemon *d, const Swap *s, MlgSwapStatus *ret) {
        const MlgVm *vm = mlg_engine_find(d->engine, s->uuid);

        if (!vm)
                return;
        ret->swap_ins = vm->swap_in.n_told;
        ret->swap_in_kib = vm->swap_in.limit_kib;
        ret->swap_in_done_kib = vm->swap_in.done_kib;
        ret->swap_in = vm->swap_in.state;
}

size_t mlg_daemon_swaps(MlgSwapStatus *ret, size_t max, void *daemon) {
        const MlgDaemon *d = daemon;
        size_t n = 0;

        for (; d->swaps && n < d->swaps->len && n < max; n++) {
                const Swap *s = d->swaps->pdata[n];

                mlg_flex_lender_status(s->lender, &ret[n]);
                g_strlcpy(ret[n].name, name_of(s), sizeof(ret[n].name));
                g_strlcpy(ret[n].uuid, s->uuid, sizeof(ret[n].uuid));
                g_strlcpy(ret[n].section, s->section, sizeof(ret[n].section));
                ret[n].attach = s->settings.attach;
                ret[n].shares = s->settings.shares;
                ret[n].going = s->going;
                ret[n].charged_kib = s->charge_kib;
                tell_swap_in(d, s, &ret[n]);
        }
        return n;
}
