/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugin loader: see plugin-loader.h. */
#include "service/plugin-loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "util/error.h"

#define SUFFIX ".so"

/* NULL: nobody else could have written to it. */
static const char *distrusted(const struct stat *st, uid_t owner) {
        if (st->st_uid != 0 && st->st_uid != owner)
                return owner == 0 ? "does not belong to root: chown root"
                                  : "belongs neither to root nor to you: chown";
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return "can be written to by others than its owner: chmod go-w";
        return NULL;
}

static void take_symbol(MlgPlugin *p) {
        const MlgPredictorOps *predictor = dlsym(p->handle, "memlego_predictor");
        const MlgPolicyOps *policy = dlsym(p->handle, "memlego_policy");

        if (predictor && policy)
                mlg_plugin_refuse(p, "it has both memlego_predictor and memlego_policy: make two of it");
        else if (predictor)
                (void) mlg_plugin_take_predictor(p, predictor);
        else if (policy)
                (void) mlg_plugin_take_policy(p, policy);
        else
                mlg_plugin_refuse(p, "it has no symbol memlego_predictor or memlego_policy");
}

/* What runs while it is loaded is its own code already. */
static void open_object(MlgPlugin *p, const char *path) {
        if (p->watch.running)
                *p->watch.running = p->mark;
        p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (p->watch.running)
                *p->watch.running = 0;
        if (p->handle)
                take_symbol(p);
        else
                mlg_plugin_refuse(p, "it cannot be loaded: %s", dlerror());
}

static void load(MlgPlugin *p, const char *path, const char *dir_is, const MlgPluginsOptions *o) {
        g_autofree char *crashed = NULL;
        const char *file_is;
        struct stat st;

        if (dir_is)
                mlg_plugin_refuse(p, "its directory %s %s", dir_is, o->dir);
        else if (!mlg_plugin_name_is_good(p->name))
                mlg_plugin_refuse(p, "its name is not one: expected a-z, 0-9 and -, at most %d of them, and "
                                  SUFFIX, MLG_PLUGIN_NAME_SIZE - 1);
        else if (lstat(path, &st) < 0)
                mlg_plugin_refuse(p, "it cannot be read: %s", g_strerror(errno));
        else if (!S_ISREG(st.st_mode))
                mlg_plugin_refuse(p, "it is no regular file (links are not followed)");
        else if ((file_is = distrusted(&st, o->owner)))
                mlg_plugin_refuse(p, "it %s %s", file_is, path);
        else if (o->notes && (crashed = mlg_plugin_notes_find(o->notes, p->name, &st)))
                mlg_plugin_refuse(p, "memlegod ended while it ran. Replace the file, or remove %s, and "
                                  "restart memlegod", crashed);
        else {
                if (o->notes)
                        mlg_plugin_notes_enter(o->notes, p->mark, p->name, &st);
                open_object(p, path);
        }
}

static int by_name(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Names of the files, in order; NULL: it cannot be read. */
static GPtrArray *list(const char *dir, GError **error) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) cause = NULL;
        GDir *d = g_dir_open(dir, 0, &cause);
        const char *name;

        if (!d && !g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_FAILED, "Cannot read the directory of plug-ins: %s",
                            cause->message);
                return NULL;
        }
        while (d && (name = g_dir_read_name(d)))
                if (g_str_has_suffix(name, SUFFIX))
                        g_ptr_array_add(names, g_strdup(name));
        if (d)
                g_dir_close(d);
        g_ptr_array_sort(names, by_name);
        return g_steal_pointer(&names);
}

bool mlg_plugins_load(const MlgPluginsOptions *o, GError **error) {
        MlgPluginWatch watch = { .cpu_nsec = o->cpu_nsec,
                                 .running = o->notes ? mlg_plugin_notes_word(o->notes) : NULL };
        g_autoptr(GPtrArray) names = list(o->dir, error);
        const char *dir_is;
        struct stat st;

        if (!names)
                return false;
        if (names->len == 0)
                return true;
        dir_is = stat(o->dir, &st) < 0 ? "cannot be read:" : distrusted(&st, o->owner);
        for (guint i = 0; i < names->len; i++) {
                g_autofree char *path = g_build_filename(o->dir, names->pdata[i], NULL);
                char *name = names->pdata[i];
                MlgPlugin *p;

                name[strlen(name) - strlen(SUFFIX)] = '\0';
                p = mlg_plugins_add(name, &watch);
                if (!p) {
                        g_set_error(error, MLG_ERROR, MLG_ERROR_LIMIT,
                                    "%s and what follows it is not loaded: there may be %d", path,
                                    MLG_PLUGINS_MAX);
                        return false;
                }
                load(p, path, dir_is, o);
        }
        return true;
}

void mlg_plugins_unload(void) {
        MlgPlugin *p;

        for (size_t i = 0; (p = mlg_plugins_at(i)); i++)
                if (p->handle)
                        (void) dlclose(p->handle);
        mlg_plugins_clear();
}
