/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Daemon: memlegod as a whole, for main() and for tests that bring their own hypervisor. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "memlego/hypervisor.h"
#include "service/loop.h"
#include "util/pollable.h"

typedef struct MlgDaemonSettings MlgDaemonSettings;

/* Makes the adapter that the daemon works with; main() brings libvirt's, tests and benches bring their own. */
typedef int (*MlgMakeHypervisor)(const char *uri, const MlgDaemonSettings *settings, const MlgHypervisorCallbacks *callbacks,
                                 void *userdata, MlgHypervisor **ret, const MlgPollable **ret_pollable);

typedef struct MlgDaemonOptions {
        MlgMakeHypervisor make_hypervisor;
        const char *config_path;   /* NULL: the default */
        const char *connect_uri;   /* NULL: as configured */
        const char *state_dir;     /* NULL: nothing is kept */
        const char *proc_root;     /* NULL: /proc */
        const char *plugin_dir;    /* NULL: no plug-ins ... */
        uid_t plugin_owner;        /* ... which may belong to this user, besides root */
        const char *sys_root;      /* NULL: /sys */
        const char *pipe_dir;      /* sockets of groups that share memory; NULL: MLG_PIPE_DIR */
        const char *guest_pids_dir; /* NULL: MLG_GUEST_PIDS_DIR */
        bool dry_run;
        bool foreground;
} MlgDaemonOptions;

/* Runs until SIGTERM or SIGINT. 0, or -errno after having logged why it cannot run. */
int mlg_daemon_run(const MlgDaemonOptions *options);
