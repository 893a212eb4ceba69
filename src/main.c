/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memlegod: command line and preconditions. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <glib.h>

#include "hypervisor/hostmem.h"
#include "hypervisor/libvirt.h"
#include "memlego/names.h"
#include "service/config.h"
#include "service/daemon.h"
#include "service/plugin-loader.h"

/* Exit codes; memlegod(8). */
enum { EXIT_USAGE = 2, EXIT_CONFIG = 78 }; /* 78: EX_CONFIG, which service managers need not retry */

static gboolean opt_foreground, opt_dry_run, opt_check_config, opt_version;
static char *opt_config, *opt_connect, *opt_plugins;

static const GOptionEntry entries[] = {
        { "foreground", 'f', 0, G_OPTION_ARG_NONE, &opt_foreground, "Log to the terminal, as text", NULL },
        { "dry-run", 'n', 0, G_OPTION_ARG_NONE, &opt_dry_run, "Decide and log, but change nothing", NULL },
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &opt_config,
          "Configuration file; policy.d is looked for beside it (default " MLG_CONFIG_FILE ")", "FILE" },
        { "connect", 0, 0, G_OPTION_ARG_STRING, &opt_connect, "libvirt's URI, instead of the configured one", "URI" },
        { "plugins", 0, 0, G_OPTION_ARG_FILENAME, &opt_plugins,
          "Directory of plug-ins, of root or the calling user (default " MLG_PLUGINDIR ")", "DIR" },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &opt_check_config, "Check the configuration, print it, and exit", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &opt_version, "Print the version and exit", NULL },
        { NULL },
};

/* As the daemon asks it. Where /proc tells nothing, nothing is held against it. */
static bool fits_host(const MlgConfig *config, GError **error) {
        g_autoptr(MlgHostmem) hostmem = NULL;
        MlgRawHost host = {};

        if (mlg_hostmem_open("/proc", "/sys", &hostmem) < 0 || mlg_hostmem_read(hostmem, &host) < 0 || host.total_kib == 0)
                return true;
        return mlg_config_check_host(config, host.total_kib, error);
}

static const char *state_dir(void) {
        const char *dir = g_getenv("STATE_DIRECTORY");

        return dir ? dir : MLG_STATEDIR;
}

/* Only root's are taken from where they belong; who names another place runs what he likes. */
static uid_t plugin_owner(void) {
        return opt_plugins ? geteuid() : 0;
}

/* What the configuration may name. */
static void load_plugins(void) {
        g_autoptr(GError) error = NULL;
        const MlgPluginsOptions o = {
                .dir = opt_plugins ? opt_plugins : MLG_PLUGINDIR,
                .owner = plugin_owner(),
                .notes = mlg_plugin_notes_look(state_dir()), /* a check must not crash where memlegod would not */
        };
        const MlgPlugin *p;

        if (!mlg_plugins_load(&o, &error))
                fprintf(stderr, "%s\n", error->message);
        for (size_t i = 0; (p = mlg_plugins_at(i)); i++)
                if (p->refused)
                        fprintf(stderr, "%s/%s.so is not used: %s\n", o.dir, p->name, p->why);
        (void) mlg_plugin_notes_free(o.notes);
}

static int check_config(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(MlgConfig) config = NULL;
        g_autofree char *text = NULL;

        load_plugins();
        config = mlg_config_load(opt_config ? opt_config : MLG_CONFIG_FILE, opt_config != NULL, &error);
        if (!config || !fits_host(config, &error)) {
                fprintf(stderr, "%s\n", error->message);
                return EXIT_CONFIG;
        }
        text = mlg_config_to_text(config);
        fputs(text, stdout);
        return EXIT_SUCCESS;
}

static int make_libvirt(const char *uri, const MlgDaemonSettings *settings, const MlgHypervisorCallbacks *callbacks,
                        void *userdata, MlgHypervisor **ret, const MlgPollable **ret_pollable) {
        MlgLibvirtOptions options = {
                .uri = uri,
                .workers = settings->workers,
                .call_timeout_usec = settings->call_timeout_usec,
        };
        int r = mlg_libvirt_new(&options, callbacks, userdata, ret);

        if (r >= 0)
                *ret_pollable = mlg_libvirt_pollable(*ret);
        return r;
}

static int run(void) {
        MlgDaemonOptions options = {
                .make_hypervisor = make_libvirt,
                .config_path = opt_config,
                .connect_uri = opt_connect,
                .state_dir = state_dir(),
                .plugin_dir = opt_plugins ? opt_plugins : MLG_PLUGINDIR,
                .plugin_owner = plugin_owner(),
                .dry_run = opt_dry_run,
                .foreground = opt_foreground,
        };
        int r;

        /* libvirt's client writes to its socket as to a file: when libvirtd goes away in between, the signal would end
         * us, where an error is what reconnecting starts from. */
        (void) signal(SIGPIPE, SIG_IGN);
        r = mlg_daemon_run(&options);
        return r == 0 ? EXIT_SUCCESS : r == -EINVAL ? EXIT_CONFIG : EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
        g_autoptr(GOptionContext) context = g_option_context_new("- balances memory between the guests of a KVM host");
        g_autoptr(GError) error = NULL;

        g_option_context_add_main_entries(context, entries, NULL);
        g_option_context_set_description(context, "See memlegod(8), memlegod.conf(5) and memlego-policy(5).\n");
        if (!g_option_context_parse(context, &argc, &argv, &error)) {
                fprintf(stderr, "memlegod: %s\nTry 'memlegod --help'.\n", error->message);
                return EXIT_USAGE;
        }
        if (argc > 1) {
                fprintf(stderr, "memlegod: unexpected argument '%s'\nTry 'memlegod --help'.\n", argv[1]);
                return EXIT_USAGE;
        }
        if (opt_version) {
                printf("memlegod %s\n", MLG_VERSION);
                return EXIT_SUCCESS;
        }
        return opt_check_config ? check_config() : run();
}
