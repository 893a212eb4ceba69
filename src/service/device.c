/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device: see device.h. */
#include "service/device.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "memlego/names.h"
#include "service/log.h"
#include "service/notify.h"
#include "util/parse.h"
#include "util/util.h"

/* ---- who connects ---- */

const char *mlg_device_dir(const MlgDaemon *d) {
        const char *dir = d->options->pipe_dir ? d->options->pipe_dir : MLG_PIPE_DIR;

        (void) g_mkdir_with_parents(dir, 0711); /* where it is not made by systemd-tmpfiles */
        return dir;
}

uid_t mlg_device_owner(void) {
        static const char *const names[] = { "libvirt-qemu", "qemu" };

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                const struct passwd *user = getpwnam(names[i]);

                if (user)
                        return user->pw_uid;
        }
        return (uid_t) -1;
}

char *mlg_device_guest_of(const MlgDaemon *d, pid_t pid) {
        const char *path = d->options->guest_pids_dir ? d->options->guest_pids_dir : MLG_GUEST_PIDS_DIR;
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *file;

        while (dir && (file = g_dir_read_name(dir))) {
                g_autofree char *full = g_build_filename(path, file, NULL), *text = NULL;
                uint64_t number;

                if (g_str_has_suffix(file, ".pid") && g_file_get_contents(full, &text, NULL, NULL) &&
                    mlg_parse_u64(g_strstrip(text), 1, INT32_MAX, &number) == 0 && (pid_t) number == pid)
                        return g_strndup(file, strlen(file) - strlen(".pid"));
        }
        return NULL;
}

MlgVm *mlg_device_vm(const MlgDaemon *d, const char *name) {
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++)
                if (g_str_equal(mlg_engine_guest_at(d->engine, i)->name, name))
                        return mlg_engine_guest_at(d->engine, i);
        return NULL;
}

/* ---- plugging ---- */

static void on_answer(int r, const char *why, void *userdata) {
        g_autofree MlgDeviceRequest *q = userdata;
        MlgVm *vm = mlg_engine_find(q->daemon->engine, q->uuid);

        g_hash_table_steal(q->daemon->requests, q);
        if (vm)
                vm->asking_device = false;
        q->fn(q, vm, r, why);
}

bool mlg_device_has_booted(const MlgVm *vm, uint64_t now_usec) {
        return !mlg_vm_boots(vm) || now_usec - vm->started_usec >= MLG_DEVICE_BOOT_USEC;
}

bool mlg_device_ask(MlgDaemon *d, MlgVm *vm, const MlgDeviceRequest *request) {
        uint64_t deadline = mlg_loop_now_usec(d->loop) + mlg_config_daemon(d->config)->call_timeout_usec;
        const MlgHypervisorOps *ops = d->hypervisor->ops;
        MlgDeviceRequest *q;
        int r;

        if (!ops->attach_shmem || !ops->detach_shmem)
                return false;
        q = g_memdup2(request, sizeof(*request));
        g_hash_table_add(d->requests, q);
        vm->asking_device = true;
        r = (q->attach ? ops->attach_shmem : ops->detach_shmem)(d->hypervisor, q->uuid, q->kind, q->path,
                                                                deadline, on_answer, q);
        if (r < 0)
                on_answer(r, NULL, q);
        return true;
}

static const char *const purposes[] = {
        [MLG_SHMEM_PIPE] = "shared memory",
        [MLG_SHMEM_SWAP] = "memory to swap into",
};
G_STATIC_ASSERT(G_N_ELEMENTS(purposes) == _MLG_SHMEM_MAX);

void mlg_device_tell(const MlgDeviceRequest *q, const MlgVm *vm, int r, const char *why,
                     const char *advice) {
        if (r == 0)
                mlg_log_guest(MLG_LOG_INFO, NULL, vm->uuid, vm->name, "Guest %s: %s its device for %s",
                              vm->name, q->attach ? "got" : "gave back", purposes[q->kind]);
        else if (r != -EAGAIN &&
                 mlg_log_limited(vm->uuid, MLG_CAUSE_DEVICE, mlg_loop_now_usec(q->daemon->loop)))
                mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                              "Guest %s: its device for %s could not be %s: %s%s", vm->name,
                              purposes[q->kind], q->attach ? "added" : "taken away",
                              why ? why : g_strerror(-r), advice);
}

/* ---- what the service manager keeps ---- */

static void close_kept(gpointer fd) {
        (void) close(GPOINTER_TO_INT(fd));
}

static void on_kept(const char *name, int fd, void *userdata) {
        if (strchr(name, '/') && !g_hash_table_contains(userdata, name))
                g_hash_table_insert(userdata, g_strdup(name), GINT_TO_POINTER(fd));
        else
                (void) close(fd);
}

GHashTable *mlg_device_take_all_kept(void) {
        GHashTable *kept = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_kept);

        mlg_notify_take_kept(on_kept, kept);
        return kept;
}

void mlg_device_take_kept(GHashTable *kept, const char *kind, const char *device, MlgIvshmemKept *ret) {
        g_autofree char *prefix = g_strconcat(kind, "/", device, "/", NULL);
        GHashTableIter iter;
        gpointer name, fd;

        mlg_ivshmem_kept_init(ret);
        g_hash_table_iter_init(&iter, kept);
        while (g_hash_table_iter_next(&iter, &name, &fd))
                if (g_str_has_prefix(name, prefix) &&
                    mlg_ivshmem_kept_add(ret, (const char *) name + strlen(prefix), GPOINTER_TO_INT(fd))) {
                        g_hash_table_iter_steal(&iter);
                        /* It is kept anew under this name where it is used, and not otherwise. */
                        mlg_notify_keep(name, -1);
                        g_free(name);
                }
}

void mlg_device_keep(const char *kind, const char *name, const char *what, int fd) {
        g_autofree char *full = g_strconcat(kind, "/", name, "/", what, NULL);

        mlg_notify_keep(full, fd);
}

void mlg_device_forget(const char *kind, const char *name, uint32_t n_ids) {
        mlg_device_keep(kind, name, "region", -1);
        mlg_device_keep(kind, name, "truth", -1);
        mlg_device_keep(kind, name, "listener", -1);
        for (uint32_t id = 0; id < n_ids; id++) {
                g_autofree char *what = g_strdup_printf("event.%" PRIu32, id);

                mlg_device_keep(kind, name, what, -1);
        }
}

void mlg_device_forget_rest(GHashTable *kept) {
        GHashTableIter iter;
        gpointer name;

        g_hash_table_iter_init(&iter, kept);
        while (g_hash_table_iter_next(&iter, &name, NULL))
                mlg_notify_keep(name, -1);
        g_hash_table_remove_all(kept);
}
