/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config pipes: [Pipe NAME] sections, each of them a group of guests that may share memory.
 *
 * A name is used once in all files, as it names a socket and what runs behind it. */
#include <string.h>

#include "memlego/mempipe-abi.h"
#include "service/config-file.h"
#include "service/config-private.h"
#include "util/util.h"

/* In a region, before the chunks. */
#define TABLES_KIB (MLG_PIPE_CHUNKS_AT / 1024)

void mlg_config_pipe_free(void *pipe) {
        MlgConfigPipe *p = pipe;

        g_free(p->name);
        g_free(p);
}

const MlgConfigPipe *mlg_config_pipe_find(const MlgConfig *c, const char *name) {
        for (size_t i = 0; i < c->pipes->len; i++)
                if (strcmp(((const MlgConfigPipe *) c->pipes->pdata[i])->name, name) == 0)
                        return c->pipes->pdata[i];
        return NULL;
}

static MlgConfigPipe *add(MlgConfig *c, const char *name, const MlgConfigOrigin *at) {
        MlgConfigPipe *p = g_new0(MlgConfigPipe, 1);

        p->name = g_strdup(name);
        p->at = *at;
        mlg_option_defaults(MLG_OPTION_PIPE, &p->values);
        g_ptr_array_add(c->pipes, p);
        return p;
}

MlgConfigPipe *mlg_config_pipe_open(MlgConfig *c, const char *header, const char *name,
                                    const MlgConfigOrigin *at, GError **error) {
        const MlgConfigPipe *same = mlg_config_pipe_find(c, name);

        if (!mlg_config_name_is_valid(name, MLG_PIPE_NAME_MAX) || name[0] == '.')
                mlg_config_file_error(
                        error, at->file, at->line, header, NULL, NULL,
                        "expected [Pipe NAME] alone on its line, with a name of 1 to %d letters, digits, "
                        "-, _ or ., the first of them no .",
                        MLG_PIPE_NAME_MAX);
        else if (same)
                mlg_config_file_error(error, at->file, at->line, header, NULL, NULL,
                                      "expected another name, there is one of this name in %s:%u already",
                                      same->at.file, same->at.line);
        else if (c->pipes->len == MLG_PIPES_MAX)
                mlg_config_file_error(error, at->file, at->line, header, NULL, NULL,
                                      "expected at most %d pipes in all files", MLG_PIPES_MAX);
        else
                return add(c, name, at);
        return NULL;
}

static bool check(const MlgConfigPipe *p, GError **error) {
        g_autofree char *header = g_strconcat("Pipe ", p->name, NULL);
        const MlgPipeSettings *s = &p->values.pipe;

        if (s->guests[strspn(s->guests, " \t")] == '\0')
                mlg_config_file_error(error, p->at.file, p->at.line, header, NULL, NULL,
                                      "expected Guests=, the patterns of the guests that may share memory");
        else if (s->quota_kib > s->region_kib - TABLES_KIB)
                mlg_config_file_error(
                        error, p->at.file, p->at.line, header, NULL, NULL,
                        "expected Quota= to be at most RegionSize= less %dM, which tables take",
                        (int) (TABLES_KIB / MLG_KIB_PER_MIB));
        else
                return true;
        return false;
}

bool mlg_config_pipes_check(const MlgConfig *c, GError **error) {
        for (size_t i = 0; i < c->pipes->len; i++)
                if (!check(c->pipes->pdata[i], error))
                        return false;
        return true;
}

/* ---- use ---- */

size_t mlg_config_n_pipes(const MlgConfig *c) {
        return c->pipes->len;
}

const char *mlg_config_pipe(const MlgConfig *c, size_t i, MlgPipeSettings *ret) {
        const MlgConfigPipe *p = c->pipes->pdata[i];

        *ret = p->values.pipe;
        return p->name;
}

static bool matches(const MlgConfigPipe *p, const char *name, const char *uuid, const char *labels) {
        g_auto(GStrv) words = g_strsplit_set(p->values.pipe.guests, " \t", -1);

        for (char **w = words; *w; w++)
                if (**w && mlg_config_pattern_matches(*w, name, uuid, labels))
                        return true;
        return false;
}

const char *mlg_config_pipe_of(const MlgConfig *c, const char *name, const char *uuid, const char *labels) {
        for (size_t i = c->pipes->len; i > 0; i--) {
                const MlgConfigPipe *p = c->pipes->pdata[i - 1];

                if (matches(p, name, uuid, labels))
                        return p->name;
        }
        return NULL;
}
