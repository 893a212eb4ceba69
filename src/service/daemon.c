/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Daemon: its life. Start, guests that come and go, the bus that comes and goes, reload, stop.
 *
 * Starting, reloading, crashing and stopping change no guest's memory. The one thing that is changed in
 * guests besides targets, the period of balloon statistics, is remembered in the state file and given back
 * at a clean stop. */
#include "service/daemon-private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "memlego/names.h"
#include "service/device.h"
#include "service/log.h"
#include "service/notify.h"
#include "util/util.h"

/* Longer than anybody may ask for: the wall clock was set back. */
#define HOLD_MOST_USEC (7 * 24 * 3600 * MLG_USEC_PER_SEC)
#define RESERVE_MOST_USEC (24 * 3600 * MLG_USEC_PER_SEC)
/* A libvirt that is well has told its guests by then, and who starts us finds them on the bus. */
#define READY_USEC (5 * MLG_USEC_PER_SEC)
#define BUS_BACKOFF_FIRST_USEC MLG_USEC_PER_SEC
#define BUS_BACKOFF_MOST_USEC (60 * MLG_USEC_PER_SEC)
/* Without a poll that ended for so long the daemon is no use, and the watchdog may have it. */
#define NO_PROGRESS_USEC (20 * MLG_USEC_PER_SEC)

/* ---- guests ---- */

/* A time of the wall clock on ours. One that is not past, or was before our clock began, is none: the clock was set. */
static uint64_t past(uint64_t real_usec, uint64_t now, uint64_t real) {
        return real_usec == 0 || real_usec > real ? 0 : mlg_sub_sat(now, real - real_usec);
}

/* The same of one to come; 0: it is past. */
static uint64_t allowed(uint64_t until_real_usec, uint64_t now, uint64_t real) {
        uint64_t left = mlg_min(mlg_sub_sat(until_real_usec, real), HOLD_MOST_USEC);

        return left > 0 ? now + left : 0;
}

static void adopt(MlgDaemon *d, MlgVm *vm) {
        const MlgStateGuest *g = mlg_state_guest(d->state, vm->uuid);
        uint64_t now = mlg_loop_now_usec(d->loop), real = mlg_real_usec(), hold;

        if (!g)
                return;
        vm->paused = g->paused; /* an operator's word outlives the guest's restart */
        if (g->instance != vm->instance)
                return;
        vm->started_usec = past(g->started_real_usec, now, real);
        vm->suffered_usec = past(g->suffered_real_usec, now, real);
        mlg_engine_adopt(d->engine, vm->uuid, g->target_kib, g->pending_kib);
        hold = mlg_min(mlg_sub_sat(g->hold_until_real_usec, real), HOLD_MOST_USEC);
        if (g->manual_kib > 0 && hold > 0)
                (void) mlg_engine_set_manual(d->engine, vm, mlg_clamp(g->manual_kib, vm->floor_kib, vm->ceiling_kib), now + hold);
        mlg_engine_allow(d->engine, vm, allowed(g->allowed_until_real_usec, now, real));
}

static void on_guest(const MlgGuestInfo *info, void *userdata) {
        MlgDaemon *d = userdata;
        bool is_new = !mlg_engine_find(d->engine, info->uuid);
        MlgGuestSettings settings;
        MlgVm *vm;

        mlg_config_guest(d->config, info->name, info->uuid, info->labels, &settings);
        vm = mlg_engine_put_guest(d->engine, info, &settings, is_new && !d->listing, mlg_loop_now_usec(d->loop));
        if (is_new) {
                adopt(d, vm);
                mlg_log_guest(MLG_LOG_INFO, MLG_MSG_GUEST_ADDED, vm->uuid, vm->name, "Guest %s: found, %s, %" PRIu64 " MiB",
                              vm->name, mlg_run_state_to_string(vm->run_state), vm->maximum_kib / MLG_KIB_PER_MIB);
                if (d->bus)
                        mlg_bus_guest_added(d->bus, vm->uuid, vm->name);
        } else if (d->bus)
                mlg_bus_guest_changed(d->bus, vm->uuid);
        mlg_daemon_want_statistics(d, vm);
        mlg_daemon_want_monitor(d, vm);
        mlg_daemon_want_pipe(d, vm);
        mlg_daemon_want_swap(d, vm);
        mlg_daemon_want_learned(d, vm);
}

static void on_guest_gone(const char *uuid, void *userdata) {
        MlgDaemon *d = userdata;
        MlgVm *vm = mlg_engine_find(d->engine, uuid);

        if (!vm)
                return;
        mlg_daemon_drop_proposal(d, vm);
        mlg_log_guest(MLG_LOG_INFO, MLG_MSG_GUEST_REMOVED, vm->uuid, vm->name, "Guest %s: gone", vm->name);
        if (d->bus)
                mlg_bus_guest_removed(d->bus, vm->uuid, vm->name);
        mlg_monitors_put(d->monitors, vm->uuid, 0, "");
        mlg_daemon_save_learned(d, vm); /* it may come back, from another host, too */
        mlg_state_drop_guest(d->state, vm->uuid);
        mlg_engine_drop_guest(d->engine, vm->uuid);
        mlg_daemon_sync_state(d);
}

static void on_event(const char *uuid, MlgGuestEvent event, uint64_t value, void *userdata) {
        MlgDaemon *d = userdata;
        uint64_t now = mlg_loop_now_usec(d->loop);
        MlgVm *vm = mlg_engine_find(d->engine, uuid);

        if (!vm)
                return;
        switch (event) {
        case MLG_GUEST_EVENT_BALLOON:
                mlg_engine_balloon_event(d->engine, vm, value, now);
                break;
        case MLG_GUEST_EVENT_REBOOT:
                mlg_log_guest(MLG_LOG_INFO, NULL, vm->uuid, vm->name, "Guest %s: rebooted", vm->name);
                mlg_engine_rebooted(d->engine, vm, now);
                mlg_daemon_reset_pipe(d, vm);
                mlg_daemon_reset_swap(d, vm);
                break;
        case _MLG_GUEST_EVENT_MAX:
                break;
        }
}

static void tell_ready(MlgDaemon *d) {
        if (d->ready_told || !d->bus_tried)
                return;
        d->ready_told = true;
        mlg_notify_ready(d->connected ? "Balancing" : "Waiting for libvirt");
}

/* A libvirt that hangs is no reason to be started again and again: we wait for it as for one that is away. */
static void on_ready_timer(uint64_t now_usec, void *userdata) {
        tell_ready(userdata);
}

static void on_connection(bool connected, const char *why, void *userdata) {
        MlgDaemon *d = userdata;

        if (connected != d->connected || !d->ready_told)
                mlg_log_guest(connected ? MLG_LOG_INFO : MLG_LOG_WARNING, connected ? MLG_MSG_CONNECTED : MLG_MSG_DISCONNECTED,
                              NULL, NULL, connected ? "Connected to %s%s%s" : "No connection to %s: %s%s", d->uri,
                              connected ? "" : why ? why : "unknown", connected ? "" : "; trying again");
        d->listing = connected && mlg_engine_n_guests(d->engine) == 0;
        d->connected = connected;
        tell_ready(d);
        if (connected) {
                d->poll_due_usec = mlg_loop_now_usec(d->loop);
                mlg_timer_at(d->poll_timer, d->poll_due_usec);
        } else
                mlg_notify_status("Waiting for libvirt");
        mlg_daemon_flush(d);
}

static const MlgHypervisorCallbacks hypervisor_callbacks = {
        .on_connection = on_connection,
        .on_guest = on_guest,
        .on_guest_gone = on_guest_gone,
        .on_event = on_event,
};

/* ---- bus ---- */

static void try_bus(uint64_t now_usec, void *userdata);

static void bus_again(MlgDaemon *d) {
        uint64_t wait = d->bus_backoff_usec;

        d->bus_watch = mlg_watch_free(d->bus_watch);
        d->bus = mlg_bus_free(d->bus);
        d->bus_backoff_usec = mlg_min(2 * wait, BUS_BACKOFF_MOST_USEC);
        mlg_timer_at(d->bus_timer, mlg_loop_now_usec(d->loop) + wait);
}

static void on_bus_broken(int error, void *userdata) {
        mlg_log(MLG_LOG_WARNING, "Lost the system bus: %s. Balancing goes on without it.", g_strerror(-error));
        bus_again(userdata);
}

static void try_bus(uint64_t now_usec, void *userdata) {
        MlgDaemon *d = userdata;
        MlgPollable p;
        int r;

        d->bus_tried = true;
        r = mlg_bus_open_system(&mlg_daemon_bus_ops, d, &d->bus);
        if (r >= 0) {
                p = *mlg_bus_pollable(d->bus);
                p.on_broken = on_bus_broken;
                p.broken_userdata = d;
                r = mlg_loop_watch(d->loop, &p, &d->bus_watch);
        }
        if (r < 0) {
                mlg_log(d->bus_backoff_usec == BUS_BACKOFF_FIRST_USEC ? MLG_LOG_WARNING : MLG_LOG_DEBUG,
                        "Cannot offer %s on the system bus: %s. memlegoctl will not work; balancing does.", MLG_BUS_NAME,
                        g_strerror(-r));
                bus_again(d);
                return;
        }
        d->bus_backoff_usec = BUS_BACKOFF_FIRST_USEC;
}

/* ---- configuration ---- */

static int log_priority(MlgLogLevel level) {
        switch (level) {
        case MLG_LOG_LEVEL_ERROR:
                return MLG_LOG_ERROR;
        case MLG_LOG_LEVEL_WARNING:
                return MLG_LOG_WARNING;
        case MLG_LOG_LEVEL_INFO:
                return MLG_LOG_INFO;
        case MLG_LOG_LEVEL_DEBUG:
        case _MLG_LOG_LEVEL_MAX:
                break;
        }
        return MLG_LOG_DEBUG;
}

/* What the files say, and what can be done on this host. */
static MlgConfig *load(const MlgDaemon *d, GError **error) {
        const MlgDaemonOptions *o = d->options;
        g_autoptr(MlgConfig) c = mlg_config_load(o->config_path ? o->config_path : MLG_CONFIG_FILE, o->config_path != NULL, error);
        MlgRawHost host = {};

        if (!c)
                return NULL;
        if (mlg_hostmem_read(d->hostmem, &host) >= 0 && host.total_kib > 0 && !mlg_config_check_host(c, host.total_kib, error))
                return NULL;
        return g_steal_pointer(&c);
}

static void configure_devices(MlgDaemon *d) {
        bool is_start = !d->pipes;
        g_autoptr(GHashTable) kept = is_start ? mlg_device_take_all_kept() : g_hash_table_new(g_str_hash, g_str_equal);

        mlg_daemon_configure_pipes(d, kept);
        if (is_start)
                mlg_daemon_start_swaps(d, kept);
        if (!d->dry_run)
                mlg_device_forget_rest(kept);
}

static void apply(MlgDaemon *d) {
        mlg_log_open(log_priority(mlg_config_daemon(d->config)->log_level), d->options->foreground);
        mlg_engine_configure(d->engine, mlg_config_host(d->config));
        mlg_engine_set_rules(d->engine, mlg_config_rules(d->config));
        configure_devices(d);
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++) {
                MlgVm *vm = mlg_engine_guest_at(d->engine, i);
                MlgGuestSettings s;

                mlg_config_guest(d->config, vm->name, vm->uuid, vm->labels, &s);
                if (!g_str_equal(s.predictor, vm->settings.predictor) || s.horizon_usec != vm->settings.horizon_usec)
                        mlg_daemon_save_learned(d, vm); /* it may be wanted again */
                mlg_vm_set_settings(vm, &s);
                mlg_daemon_want_statistics(d, vm);
                mlg_daemon_want_monitor(d, vm);
                mlg_daemon_want_agent(d, vm);
                vm->pipe_next_usec = vm->swap_next_usec = 0; /* what could not be may be possible now */
                mlg_daemon_want_pipe(d, vm);
                mlg_daemon_want_swap(d, vm);
                mlg_daemon_want_learned(d, vm);
                if (d->bus)
                        mlg_bus_guest_changed(d->bus, vm->uuid);
        }
        if (d->connected) /* perhaps it is due earlier now */
                mlg_timer_at(d->poll_timer, mlg_loop_now_usec(d->loop));
        mlg_daemon_flush(d);
}

bool mlg_daemon_reload(MlgDaemon *d, char ***ret_changes, GError **error) {
        g_autoptr(GError) e = NULL;
        MlgConfig *config = load(d, &e);
        g_auto(GStrv) changes = NULL;

        if (!config) {
                mlg_log_guest(MLG_LOG_ERROR, MLG_MSG_CONFIG_REFUSED, NULL, NULL,
                              "%s. The configuration in force stays as it is.", e->message);
                g_propagate_error(error, g_steal_pointer(&e));
                return false;
        }
        changes = mlg_config_diff(d->config, config);
        (void) mlg_config_free(d->config);
        d->config = config;
        apply(d);
        for (char **c = changes; *c; c++)
                mlg_log(MLG_LOG_INFO, "Changed: %s", *c);
        mlg_daemon_tell_plugins_changed(d);
        mlg_log_guest(MLG_LOG_INFO, MLG_MSG_CONFIG_LOADED, NULL, NULL, "Configuration loaded, %u changes",
                      g_strv_length(changes));
        if (ret_changes)
                *ret_changes = g_steal_pointer(&changes);
        return true;
}

/* ---- signals, watchdog, stop ---- */

static void on_hup(int signo, void *userdata) {
        mlg_notify_reloading();
        (void) mlg_daemon_reload(userdata, NULL, NULL);
        mlg_notify_ready(NULL);
}

static void on_term(int signo, void *userdata) {
        MlgDaemon *d = userdata;

        if (d->stopping) {
                mlg_loop_quit(d->loop);
                return;
        }
        mlg_log(MLG_LOG_INFO, "Stopping. All guests keep the memory they have.");
        mlg_notify_stopping();
        d->stopping = true;
        mlg_daemon_give_back_statistics(mlg_loop_now_usec(d->loop), d);
}

static void on_watchdog(uint64_t now_usec, void *userdata) {
        MlgDaemon *d = userdata;
        uint64_t interval = mlg_notify_watchdog_interval_usec();

        if (now_usec - d->progress_usec < mlg_max(NO_PROGRESS_USEC, 2 * mlg_config_host(d->config)->poll_usec + 5 * MLG_USEC_PER_SEC))
                mlg_notify_watchdog();
        mlg_timer_at(d->watchdog_timer, now_usec + mlg_max(interval / 3, 1));
}

/* ---- start ---- */

char *mlg_daemon_boot_id(void) {
        char *id;

        return g_file_get_contents("/proc/sys/kernel/random/boot_id", &id, NULL, NULL) ? g_strstrip(id) : g_strdup("unknown");
}

/* Where it fails, nothing is kept: that is no reason not to balance. */
static void open_learned(MlgDaemon *d, const char *dir, const char *boot_id) {
        int r = mlg_learned_open(dir, boot_id, &d->learned);

        if (r == 0)
                return;
        mlg_log(MLG_LOG_WARNING,
                "Cannot use %s/" MLG_LEARNED_DIR_NAME ": %s. What is learned will not be known after a restart.", dir,
                g_strerror(-r));
        (void) mlg_learned_open(NULL, boot_id, &d->learned);
}

static void load_state(MlgDaemon *d) {
        const char *dir = d->dry_run ? NULL : d->options->state_dir;
        g_autofree char *warning = NULL, *boot_id = mlg_daemon_boot_id();
        const MlgStateReservation *r;
        uint64_t real = mlg_real_usec(), now = mlg_loop_now_usec(d->loop);
        int error;

        error = mlg_state_open(dir, boot_id, &d->state, &warning);
        if (error < 0) {
                mlg_log(MLG_LOG_WARNING,
                        "Cannot use %s: %s. Targets and what is learned will not be known after a restart.", dir,
                        g_strerror(-error));
                dir = NULL;
                (void) mlg_state_open(NULL, boot_id, &d->state, &warning);
        }
        open_learned(d, dir, boot_id);
        if (warning)
                mlg_log(MLG_LOG_WARNING, "%s", warning);
        mlg_engine_pause(d->engine, NULL, mlg_state_paused(d->state));
        mlg_engine_allow(d->engine, NULL, allowed(mlg_state_allowed_until(d->state), now, real));
        mlg_engine_set_last_proposal(d->engine, mlg_state_last_proposal(d->state));
        for (size_t n = mlg_state_reservations(d->state, &r), i = 0; i < n; i++) {
                MlgReservation kept = {
                        .id = r[i].id,
                        .kib = r[i].kib,
                        .taken = r[i].taken,
                        .expires_usec = now + mlg_min(mlg_sub_sat(r[i].expires_real_usec, real), RESERVE_MOST_USEC),
                };

                g_strlcpy(kept.owner, r[i].owner, sizeof(kept.owner));
                (void) mlg_engine_restore_reservation(d->engine, &kept);
        }
}

static int start_loop(MlgDaemon *d) {
        int r;

        if ((r = mlg_loop_new(&d->loop)) < 0 || (r = mlg_loop_register_libvirt(d->loop)) < 0 ||
            (r = mlg_timer_new(d->loop, mlg_daemon_poll, d, &d->poll_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, mlg_daemon_look, d, &d->look_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, mlg_daemon_gathered, d, &d->gather_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, mlg_daemon_watch_host, d, &d->watch_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, try_bus, d, &d->bus_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, mlg_daemon_give_back_statistics, d, &d->stop_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, mlg_daemon_learn, d, &d->learn_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, on_ready_timer, d, &d->ready_timer)) < 0 ||
            (r = mlg_timer_new(d->loop, on_watchdog, d, &d->watchdog_timer)) < 0 ||
            (r = mlg_loop_on_signal(d->loop, SIGHUP, on_hup, d)) < 0 ||
            (r = mlg_loop_on_signal(d->loop, SIGTERM, on_term, d)) < 0 ||
            (r = mlg_loop_on_signal(d->loop, SIGINT, on_term, d)) < 0)
                mlg_log(MLG_LOG_ERROR, "Cannot set up the event loop: %s", g_strerror(-r));
        return r;
}

static int start_hypervisor(MlgDaemon *d) {
        const MlgPollable *p;
        int r = d->options->make_hypervisor(d->uri, mlg_config_daemon(d->config), &hypervisor_callbacks, d, &d->hypervisor, &p);

        if (r >= 0)
                r = mlg_loop_watch(d->loop, p, &d->hypervisor_watch);
        if (r < 0)
                mlg_log(MLG_LOG_ERROR, "Cannot start the workers for libvirt: %s", g_strerror(-r));
        return r;
}

static int start(MlgDaemon *d) {
        g_autoptr(GError) error = NULL;
        uint64_t now;
        int r;

        r = mlg_hostmem_open(d->options->proc_root ? d->options->proc_root : "/proc",
                             d->options->sys_root ? d->options->sys_root : "/sys", &d->hostmem);
        if (r < 0) {
                mlg_log(MLG_LOG_ERROR, "Cannot open /proc/meminfo: %s", g_strerror(-r));
                return r;
        }
        mlg_daemon_load_plugins(d);
        d->config = load(d, &error);
        if (!d->config) {
                mlg_log_guest(MLG_LOG_ERROR, MLG_MSG_CONFIG_REFUSED, NULL, NULL, "%s", error->message);
                return -EINVAL;
        }
        mlg_log_open(log_priority(mlg_config_daemon(d->config)->log_level), d->options->foreground);
        d->dry_run = d->options->dry_run || mlg_config_daemon(d->config)->dry_run;
        g_strlcpy(d->uri, d->options->connect_uri ? d->options->connect_uri : mlg_config_daemon(d->config)->connect,
                  sizeof(d->uri));
        r = start_loop(d);
        if (r < 0)
                return r;
        d->engine = mlg_engine_new(mlg_config_host(d->config), d->dry_run);
        mlg_engine_set_rules(d->engine, mlg_config_rules(d->config));
        load_state(d);
        configure_devices(d);
        r = mlg_daemon_start_monitors(d);
        if (r >= 0)
                r = start_hypervisor(d);
        if (r < 0)
                return r;
        now = mlg_loop_now_usec(d->loop);
        d->progress_usec = now;
        d->bus_backoff_usec = BUS_BACKOFF_FIRST_USEC;
        mlg_timer_at(d->bus_timer, 0);
        mlg_timer_at(d->ready_timer, now + READY_USEC);
        mlg_timer_at(d->poll_timer, now + mlg_config_host(d->config)->poll_usec);
        mlg_timer_at(d->watch_timer, now + mlg_config_host(d->config)->poll_usec);
        if (mlg_notify_watchdog_interval_usec() > 0)
                mlg_timer_at(d->watchdog_timer, 0);
        mlg_log(MLG_LOG_INFO, "memlegod " MLG_VERSION " starts%s", d->dry_run ? " (dry run: nothing will be changed)" : "");
        d->hypervisor->ops->start(d->hypervisor);
        return 0;
}

static void end(MlgDaemon *d) {
        if (d->state)
                mlg_daemon_sync_state(d);
        if (d->learned)
                mlg_daemon_save_all_learned(d);
        d->bus_watch = mlg_watch_free(d->bus_watch);
        d->bus = mlg_bus_free(d->bus);
        d->monitors_watch = mlg_watch_free(d->monitors_watch);
        d->monitors = mlg_monitors_free(d->monitors);
        d->hypervisor_watch = mlg_watch_free(d->hypervisor_watch);
        if (d->hypervisor)
                d->hypervisor->ops->free(d->hypervisor);
        g_hash_table_unref(d->requests); /* those that were dropped */
        d->poll_timer = mlg_timer_free(d->poll_timer);
        d->look_timer = mlg_timer_free(d->look_timer);
        d->gather_timer = mlg_timer_free(d->gather_timer);
        d->watch_timer = mlg_timer_free(d->watch_timer);
        d->bus_timer = mlg_timer_free(d->bus_timer);
        d->stop_timer = mlg_timer_free(d->stop_timer);
        d->ready_timer = mlg_timer_free(d->ready_timer);
        d->learn_timer = mlg_timer_free(d->learn_timer);
        d->watchdog_timer = mlg_timer_free(d->watchdog_timer);
        mlg_daemon_end_pipes(d);
        mlg_daemon_end_swaps(d);
        (void) mlg_engine_free(d->engine);
        (void) mlg_state_free(d->state);
        (void) mlg_learned_free(d->learned);
        (void) mlg_hostmem_free(d->hostmem);
        (void) mlg_config_free(d->config);
        (void) mlg_loop_free(d->loop);
        mlg_daemon_unload_plugins(d);
}

int mlg_daemon_run(const MlgDaemonOptions *options) {
        MlgDaemon d = { .options = options, .requests = g_hash_table_new_full(NULL, NULL, g_free, NULL) };
        int r;

        mlg_log_open(MLG_LOG_INFO, options->foreground);
        r = start(&d);
        if (r >= 0)
                r = mlg_loop_run(d.loop);
        end(&d);
        return r;
}
