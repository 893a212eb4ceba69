/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swaps on the bus: the manager's method that lists guests that are lent memory to swap into. */
#include "bus/bus-internal.h"

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
        NUMBER("Errors", errors),
};

static uint64_t number_at(const MlgSwapStatus *s, size_t offset) {
        return *(const uint64_t *) (const void *) ((const char *) s + offset);
}

static int append_swap(sd_bus_message *m, size_t i, const void *list) {
        const MlgSwapStatus *s = &((const MlgSwapStatus *) list)[i];
        const char *const texts[][2] = {
                { "Guest", s->name },
                { "UUID", s->uuid },
                { "Section", s->section },
                { "Path", s->path },
                { "State", s->going ? "going" : mlg_swap_state_to_string(s->state) },
                { "Attach", s->attach ? "auto" : "manual" },
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

int mlg_bus_on_list_swaps(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        g_autofree MlgSwapStatus *all = g_new0(MlgSwapStatus, MLG_BUS_SWAPS_MAX);
        size_t n = mlg_min(b->ops->swaps(all, MLG_BUS_SWAPS_MAX, b->userdata), MLG_BUS_SWAPS_MAX);

        return mlg_bus_reply_list(m, "a{sv}", n, append_swap, all);
}
