/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugins, of the daemon: loaded before the configuration that may name them, told when they are switched
 * off, shown. */
#include <sys/stat.h>
#include <time.h>

#include "memlego/names.h"
#include "service/daemon-private.h"
#include "service/log.h"
#include "service/plugin-loader.h"
#include "util/clock.h"
#include "util/util.h"

static uint64_t cpu_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static uint64_t changed_usec(const MlgDaemon *d) {
        struct stat st;

        return stat(d->options->plugin_dir, &st) < 0 ? 0 : mlg_timespec_usec(&st.st_mtim);
}

static void tell_loaded(const MlgDaemon *d) {
        MlgPlugin *p;

        for (size_t i = 0; (p = mlg_plugins_at(i)); i++) {
                p->told = p->off;
                if (p->off)
                        mlg_log_guest(MLG_LOG_WARNING, MLG_MSG_PLUGIN_OFF, NULL, NULL,
                                      "Plug-in %s/%s.so is not used: %s", d->options->plugin_dir, p->name,
                                      p->why);
                else
                        mlg_log_guest(MLG_LOG_INFO, MLG_MSG_PLUGIN_LOADED, NULL, NULL,
                                      "Plug-in %s/%s.so: %s \"%s\"", d->options->plugin_dir, p->name,
                                      mlg_plugin_kind_to_string(p->kind), p->name);
        }
}

void mlg_daemon_load_plugins(MlgDaemon *d) {
        const MlgDaemonOptions *o = d->options;
        MlgPluginsOptions loader = { .dir = o->plugin_dir, .owner = o->plugin_owner, .cpu_nsec = cpu_nsec };
        g_autofree char *boot_id = mlg_daemon_boot_id();
        g_autoptr(GError) error = NULL;
        int r;

        if (!o->plugin_dir)
                return;
        d->plugins_changed_usec = changed_usec(d);
        if (d->plugins_changed_usec == 0)
                return; /* there are none, and need no notes */
        /* A dry run may be beside a memlegod whose notes these are. */
        if (o->state_dir && o->dry_run)
                d->plugin_notes = mlg_plugin_notes_look(o->state_dir);
        else if (o->state_dir && (r = mlg_plugin_notes_open(o->state_dir, boot_id, &d->plugin_notes)) < 0)
                mlg_log(MLG_LOG_WARNING,
                        "Cannot note in %s which plug-in runs: %s. One that crashes will not be left out.",
                        o->state_dir, g_strerror(-r));
        loader.notes = d->plugin_notes;
        if (!mlg_plugins_load(&loader, &error))
                mlg_log(MLG_LOG_WARNING, "%s", error->message);
        tell_loaded(d);
}

void mlg_daemon_tell_plugins(MlgDaemon *d) {
        MlgPlugin *p;

        for (size_t i = 0; (p = mlg_plugins_at(i)); i++) {
                if (!p->off || p->told)
                        continue;
                p->told = true;
                mlg_log_guest(MLG_LOG_WARNING, MLG_MSG_PLUGIN_OFF, NULL, NULL,
                              "Plug-in %s/%s.so is switched off: %s. The default %s stands in until memlegod "
                              "is started again.", d->options->plugin_dir, p->name, p->why,
                              mlg_plugin_kind_to_string(p->kind));
        }
}

void mlg_daemon_tell_plugins_changed(MlgDaemon *d) {
        if (d->options->plugin_dir && changed_usec(d) != d->plugins_changed_usec)
                mlg_log(MLG_LOG_INFO, "%s has changed: new plug-ins need a restart of memlegod",
                        d->options->plugin_dir);
}

void mlg_daemon_unload_plugins(MlgDaemon *d) {
        mlg_plugins_unload();
        d->plugin_notes = mlg_plugin_notes_free(d->plugin_notes);
}

static const char *state_of(const MlgDaemon *d, const MlgPlugin *p) {
        if (p->off)
                return p->refused ? "refused" : "off";
        return mlg_engine_uses(d->engine, p) ? "used" : "loaded";
}

size_t mlg_daemon_plugins(MlgPluginStatus *ret, size_t max, void *daemon) {
        const MlgDaemon *d = daemon;
        const MlgPlugin *p;
        size_t n;

        for (n = 0; n < max && (p = mlg_plugins_at(n)); n++) {
                ret[n] = (MlgPluginStatus) {
                        .kind = mlg_plugin_kind_to_string(p->kind),
                        .state = state_of(d, p),
                };
                g_strlcpy(ret[n].name, p->name, sizeof(ret[n].name));
                (void) g_snprintf(ret[n].file, sizeof(ret[n].file), "%s/%s.so", d->options->plugin_dir,
                                  p->name);
                g_strlcpy(ret[n].why, p->off ? p->why : "", sizeof(ret[n].why));
        }
        return n;
}
