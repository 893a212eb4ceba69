/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swaps on the bus: the manager's method that lists guests that are lent memory to swap into, and one object for each,
 * /org/memlego1/swap/UUID. Its interface is described in systemd/org.memlego1.xml; a test compares them.
 *
 * The objects are not kept: the service is asked for each message. */
#include "bus/bus-internal.h"

#include <errno.h>
#include <stdlib.h>

#define NUMBER(key, field) \
        { key, offsetof(MlgSwapStatus, field) }

static const struct {
        const char *key;
        size_t offset; /* of a uint64_t */
} numbers[] = {
        NUMBER("PoolKiB", pool_kib),       NUMBER("QuotaKiB", quota_kib),
        NUMBER("TargetKiB", target_kib),   NUMBER("LentKiB", lent_kib),
        NUMBER("BackedKiB", backed_kib),   NUMBER("ChargedKiB", charged_kib),
        NUMBER("CallBacks", called_back),  NUMBER("CallBacksMet", met),
        NUMBER("CallBacksLate", late),     NUMBER("CallBackUSec", callback_usec),
        NUMBER("WantedKiB", wanted_kib),   NUMBER("HeldKiB", held_kib),
        NUMBER("DeviceKiB", device_kib),   NUMBER("DiskKiB", disk_kib),
        NUMBER("UsedKiB", used_kib),       NUMBER("SameKiB", same_kib),
        NUMBER("OnDiskKiB", on_disk_kib),  NUMBER("PoolReads", pool_reads),
        NUMBER("DiskReads", disk_reads),   NUMBER("PoolWrites", pool_writes),
        NUMBER("DiskWrites", disk_writes), NUMBER("WrittenBack", written_back),
        NUMBER("Errors", errors),          NUMBER("SwapIns", swap_ins),
        NUMBER("SwapInKiB", swap_in_kib),  NUMBER("SwapInDoneKiB", swap_in_done_kib),
};

static uint64_t number_at(const MlgSwapStatus *s, size_t offset) {
        return *(const uint64_t *) (const void *) ((const char *) s + offset);
}

static const char *state_of(const MlgSwapStatus *s) {
        return s->going ? "going" : mlg_swap_state_to_string(s->state);
}

static int append_swap(sd_bus_message *m, size_t i, const void *list) {
        const MlgSwapStatus *s = &((const MlgSwapStatus *) list)[i];
        const char *const texts[][2] = {
                { "Guest", s->name }, { "UUID", s->uuid },      { "Section", s->section },
                { "Path", s->path },  { "State", state_of(s) }, { "Attach", s->attach ? "auto" : "manual" },
                { "SwapIn", mlg_swap_in_state_to_string(s->swap_in) },
        };
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        for (size_t k = 0; r >= 0 && k < G_N_ELEMENTS(texts); k++)
                r = mlg_bus_append_text(m, texts[k][0], texts[k][1]);
        for (size_t k = 0; r >= 0 && k < G_N_ELEMENTS(numbers); k++)
                r = sd_bus_message_append(m, "{sv}", numbers[k].key, "t", number_at(s, numbers[k].offset));
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}{sv}", "Shares", "t", (uint64_t) s->shares, "Epoch",
                                          "t", (uint64_t) s->epoch, "HitsPermille", "t",
                                          (uint64_t) mlg_swap_hits_permille(s));
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static size_t read_swaps(const MlgBus *b, MlgSwapStatus **ret) {
        *ret = g_new0(MlgSwapStatus, MLG_BUS_SWAPS_MAX);
        return mlg_min(b->ops->swaps(*ret, MLG_BUS_SWAPS_MAX, b->userdata), MLG_BUS_SWAPS_MAX);
}

int mlg_bus_on_list_swaps(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        g_autofree MlgSwapStatus *all = NULL;
        size_t n = read_swaps(((MlgBusHostView *) userdata)->bus, &all);

        return mlg_bus_reply_list(m, "a{sv}", n, append_swap, all);
}

/* ---- objects ---- */

static char *path_of(const char *uuid) { /* of malloc() */
        char *path = NULL;

        return sd_bus_path_encode(MLG_BUS_PATH_SWAP, uuid, &path) < 0 ? NULL : path;
}

static bool find_swap(MlgBus *b, const char *path) {
        g_autofree MlgSwapStatus *all = NULL;
        char *uuid = NULL;
        bool found = false;
        size_t n;

        if (sd_bus_path_decode(path, MLG_BUS_PATH_SWAP, &uuid) <= 0)
                return false;
        n = read_swaps(b, &all);
        for (size_t i = 0; i < n && !found; i++)
                if (g_str_equal(all[i].uuid, uuid)) {
                        b->swap = (MlgBusSwapView){
                                .st = all[i],
                                .state = state_of(&all[i]),
                                .attach = all[i].attach ? "auto" : "manual",
                                .swap_in = mlg_swap_in_state_to_string(all[i].swap_in),
                                .shares = all[i].shares,
                                .epoch = all[i].epoch,
                                .hits_permille = mlg_swap_hits_permille(&all[i]),
                        };
                        found = true;
                }
        free(uuid);
        return found;
}

static int swap_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                     sd_bus_error *error) {
        MlgBus *b = userdata;

        if (!find_swap(b, path))
                return 0;
        *ret = &b->swap;
        return 1;
}

/* sd-bus frees the list and its strings with free(); paths are of malloc(), too. */
static int list_paths(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        g_autofree MlgSwapStatus *all = NULL;
        size_t n = read_swaps(userdata, &all), k = 0;
        char **paths = calloc(n + 1, sizeof(*paths));

        for (size_t i = 0; paths && i < n; i++) {
                paths[k] = all[i].uuid[0] ? path_of(all[i].uuid) : NULL;
                k += paths[k] ? 1 : 0;
        }
        *ret = paths;
        return paths ? 0 : -ENOMEM;
}

#define VIEW(field) offsetof(MlgBusSwapView, field)
#define CONST SD_BUS_VTABLE_PROPERTY_CONST

/* Most of them differ all the time: there is no change signal, who wants them reads them. */
static const sd_bus_vtable swap_vtable[] = {
        SD_BUS_VTABLE_START(0),

        SD_BUS_PROPERTY("Guest", "s", mlg_bus_get_chars, VIEW(st.name), 0),
        SD_BUS_PROPERTY("UUID", "s", mlg_bus_get_chars, VIEW(st.uuid), CONST),
        SD_BUS_PROPERTY("Section", "s", mlg_bus_get_chars, VIEW(st.section), 0),
        SD_BUS_PROPERTY("Path", "s", mlg_bus_get_chars, VIEW(st.path), CONST),
        SD_BUS_PROPERTY("State", "s", NULL, VIEW(state), 0),
        SD_BUS_PROPERTY("Attach", "s", NULL, VIEW(attach), 0),
        SD_BUS_PROPERTY("Shares", "t", NULL, VIEW(shares), 0),
        SD_BUS_PROPERTY("Epoch", "t", NULL, VIEW(epoch), 0),
        SD_BUS_PROPERTY("HitsPermille", "t", NULL, VIEW(hits_permille), 0),
        SD_BUS_PROPERTY("PoolKiB", "t", NULL, VIEW(st.pool_kib), 0),
        SD_BUS_PROPERTY("QuotaKiB", "t", NULL, VIEW(st.quota_kib), 0),
        SD_BUS_PROPERTY("TargetKiB", "t", NULL, VIEW(st.target_kib), 0),
        SD_BUS_PROPERTY("LentKiB", "t", NULL, VIEW(st.lent_kib), 0),
        SD_BUS_PROPERTY("BackedKiB", "t", NULL, VIEW(st.backed_kib), 0),
        SD_BUS_PROPERTY("ChargedKiB", "t", NULL, VIEW(st.charged_kib), 0),
        SD_BUS_PROPERTY("CallBacks", "t", NULL, VIEW(st.called_back), 0),
        SD_BUS_PROPERTY("CallBacksMet", "t", NULL, VIEW(st.met), 0),
        SD_BUS_PROPERTY("CallBacksLate", "t", NULL, VIEW(st.late), 0),
        SD_BUS_PROPERTY("CallBackUSec", "t", NULL, VIEW(st.callback_usec), 0),
        SD_BUS_PROPERTY("WantedKiB", "t", NULL, VIEW(st.wanted_kib), 0),
        SD_BUS_PROPERTY("HeldKiB", "t", NULL, VIEW(st.held_kib), 0),
        SD_BUS_PROPERTY("DeviceKiB", "t", NULL, VIEW(st.device_kib), 0),
        SD_BUS_PROPERTY("DiskKiB", "t", NULL, VIEW(st.disk_kib), 0),
        SD_BUS_PROPERTY("UsedKiB", "t", NULL, VIEW(st.used_kib), 0),
        SD_BUS_PROPERTY("SameKiB", "t", NULL, VIEW(st.same_kib), 0),
        SD_BUS_PROPERTY("OnDiskKiB", "t", NULL, VIEW(st.on_disk_kib), 0),
        SD_BUS_PROPERTY("PoolReads", "t", NULL, VIEW(st.pool_reads), 0),
        SD_BUS_PROPERTY("DiskReads", "t", NULL, VIEW(st.disk_reads), 0),
        SD_BUS_PROPERTY("PoolWrites", "t", NULL, VIEW(st.pool_writes), 0),
        SD_BUS_PROPERTY("DiskWrites", "t", NULL, VIEW(st.disk_writes), 0),
        SD_BUS_PROPERTY("WrittenBack", "t", NULL, VIEW(st.written_back), 0),
        SD_BUS_PROPERTY("Errors", "t", NULL, VIEW(st.errors), 0),
        SD_BUS_PROPERTY("SwapIns", "t", NULL, VIEW(st.swap_ins), 0),
        SD_BUS_PROPERTY("SwapInKiB", "t", NULL, VIEW(st.swap_in_kib), 0),
        SD_BUS_PROPERTY("SwapInDoneKiB", "t", NULL, VIEW(st.swap_in_done_kib), 0),
        SD_BUS_PROPERTY("SwapIn", "s", NULL, VIEW(swap_in), 0),

        SD_BUS_VTABLE_END,
};

int mlg_bus_swaps_publish(MlgBus *b) {
        int r = sd_bus_add_fallback_vtable(b->bus, NULL, MLG_BUS_PATH_SWAP, MLG_BUS_IFACE_SWAP, swap_vtable,
                                           swap_find, b);

        return r < 0 ? r : sd_bus_add_node_enumerator(b->bus, NULL, MLG_BUS_PATH_SWAP, list_paths, b);
}
