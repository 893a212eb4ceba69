/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notify: lines for the service manager's socket.
 *
 * Failures are ignored on purpose: a daemon that cannot tell how it fares fares no worse for it, and the
 * manager's own timeouts notice. The manager's variables stay in the environment: the daemon starts no
 * programs. */
#include "service/notify.h"

#include <inttypes.h>
#include <stdlib.h>

#include <glib.h>
#include <systemd/sd-daemon.h>

/* A status is one line: whatever stood behind a line break would be an assignment of its own. */
static char *one_line(const char *status) {
        char *s = g_utf8_make_valid(status, -1);

        for (char *p = s; *p; p++)
                if (g_ascii_iscntrl(*p))
                        *p = ' ';
        return s;
}

void mlg_notify_ready(const char *status) {
        g_autofree char *line = NULL;

        if (!status) { /* the status that was told before stays */
                (void) sd_notify(0, "READY=1");
                return;
        }
        line = one_line(status);
        (void) sd_notifyf(0, "READY=1\nSTATUS=%s", line);
}

void mlg_notify_status(const char *status) {
        g_autofree char *line = one_line(status);

        (void) sd_notifyf(0, "STATUS=%s", line);
}

void mlg_notify_reloading(void) {
        /* The manager tells by this time which reload is meant; g_get_monotonic_time() is
         * CLOCK_MONOTONIC. */
        (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIi64, g_get_monotonic_time());
}

void mlg_notify_stopping(void) {
        (void) sd_notify(0, "STOPPING=1");
}

uint64_t mlg_notify_watchdog_interval_usec(void) {
        uint64_t usec;

        /* Half of what the manager waits, as sd_watchdog_enabled(3) advises. */
        return sd_watchdog_enabled(0, &usec) > 0 ? usec / 2 : 0;
}

void mlg_notify_watchdog(void) {
        (void) sd_notify(0, "WATCHDOG=1");
}

void mlg_notify_keep(const char *name, int fd) {
        g_autofree char *state = g_strdup_printf("%s=1\nFDNAME=%s", fd < 0 ? "FDSTOREREMOVE" : "FDSTORE", name);

        if (fd < 0)
                (void) sd_notify(0, state);
        else
                (void) sd_pid_notify_with_fds(0, 0, state, &fd, 1);
}

bool mlg_notify_keeps(void) {
        return g_getenv("NOTIFY_SOCKET") != NULL;
}

void mlg_notify_take_kept(MlgKeptFn fn, void *userdata) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names);

        for (int i = 0; i < n; i++) {
                fn(names[i], SD_LISTEN_FDS_START + i, userdata);
                free(names[i]);
        }
        free(names);
}
