/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings: compiled-in defaults, each with its reason, and amounts. */
#include "core/settings.h"

#include <errno.h>

#include <glib.h>

#include "util/util.h"

uint64_t mlg_amount_resolve(MlgAmount a, uint64_t whole_kib) {
        if (a.permille > 0)
                return mlg_mul_div(whole_kib, a.permille, 1000);
        if (a.kib == MLG_AMOUNT_MAX)
                return whole_kib;
        return a.kib;
}

void mlg_host_settings_default(MlgHostSettings *ret) {
        *ret = (MlgHostSettings) {
                .policy = "proportional",
                /* Page cache, daemons and each QEMU's own overhead must fit into it: 10 % of a 64 GiB host
                 * is what a few dozen QEMU processes and the host's services use in practice. */
                .reserve = MLG_AMOUNT_PERMILLE(100),
                .guest_memory = MLG_AMOUNT_KIB(MLG_AMOUNT_MAX),
                /* Guests report once a second, each at a moment of its own: so none is read later than half a second after
                 * it reported, and what it reports of is at most 1.5 s old. */
                .poll_usec = 500 * 1000,
                /* While memory is on its way only the balloon's size is of interest, and it has no such
                 * resolution: 100 ms keep a grow close behind the shrink that pays for it. */
                .move_poll_usec = 100 * 1000,
                /* A balloon moves some 0.9 GiB/s; one that did not move at all for 5 s will not. */
                .stuck_usec = 5 * MLG_USEC_PER_SEC,
                /* Somebody who sets a guest's memory by hand wants to look at the effect for a while. */
                .foreign_hold_usec = 300 * MLG_USEC_PER_SEC,
                /* Somebody who is called has time to come and look; and what was not answered by then is said again, with
                 * the figures of then. */
                .proposal_usec = 900 * MLG_USEC_PER_SEC,
                /* All tasks stalled on memory for a tenth of the time: the host is in trouble itself. */
                .pressure_full_centi = 1000,
        };
}

void mlg_guest_settings_default(MlgGuestSettings *ret) {
        *ret = (MlgGuestSettings) {
                .mode = MLG_MODE_AUTO,
                /* To add a device to somebody's guest is for its operator to say. */
                .monitor = MLG_MONITOR_MODE_AUTO,
                /* It needs swap on the host and a right that memlegod has not got by itself; and the host does not know what
                 * the guest will need. */
                .reclaim = MLG_RECLAIM_MODE_OFF,
                /* A stock Linux guest cut below a quarter of its memory loses its page cache wholly. */
                .floor = MLG_AMOUNT_PERMILLE(250),
                .ceiling = MLG_AMOUNT_KIB(MLG_AMOUNT_MAX),
                .shares = 100,
                .priority = 0,
                /* What a process can allocate and touch between two polls (1 s) before anybody can react;
                 * larger steps are covered by the guest's own reclaim until relief arrives. */
                .cushion = MLG_AMOUNT_KIB(64 * MLG_KIB_PER_MIB),
                .cushion_permille = 150,
                .predictor = "ewma",
                /* A report is up to 1 s old when it is read, up to 1 s passes until the next one, and the balloon
                 * needs its time, too. */
                .horizon_usec = 3 * MLG_USEC_PER_SEC,
                /* From full to a quarter in 15 s: the guest's reclaim keeps up, and a guest that wakes up
                 * meanwhile has lost little. */
                .shrink_permille = 50,
                /* Unlimited: only memory that the guest does not use is taken, and somebody suffers. */
                .urgent_permille = 1000,
                .grow_permille = 1000,
                /* Below 2 % a move costs more than it brings; it also hides the noise of statistics. */
                .dead_band_permille = 20,
                /* Three times the window of PSI's avg10: the effect of the relief is visible by then. */
                .cool_down_usec = 30 * MLG_USEC_PER_SEC,
                /* Demand while booting says nothing about demand after it. */
                .settle_usec = 30 * MLG_USEC_PER_SEC,
        };
}
