/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config pipes: [Pipe NAME] sections, each of them a group of guests that may share memory, and [Swap NAME] sections, of
 * guests that are lent memory.
 *
 * A name is used once in all files, as a group's names a socket and what runs behind it. */
#include <string.h>

#include "memlego/memflex-abi.h"
#include "memlego/mempipe-abi.h"
#include "service/config-file.h"
#include "service/config-private.h"
#include "util/util.h"

/* In a region, and in a pool, before the chunks. */
#define TABLES_KIB (MLG_PIPE_CHUNKS_AT / 1024)
#define POOL_TABLES_KIB (MLG_FLEX_CHUNKS_AT / 1024)

void mlg_config_pipe_free(void *pipe) {
        MlgConfigPipe *p = pipe;

        g_free(p->name);
        g_free(p);
}

const MlgConfigPipe *mlg_config_pipe_find(const MlgConfig *c, MlgOptionSection section, const char *name) {
        for (size_t i = 0; i < c->pipes->len; i++) {
                const MlgConfigPipe *p = c->pipes->pdata[i];

                if (p->section == section && strcmp(p->name, name) == 0)
                        return p;
        }
        return NULL;
}

static size_t count(const MlgConfig *c, MlgOptionSection section) {
        size_t n = 0;

        for (size_t i = 0; i < c->pipes->len; i++)
                n += ((const MlgConfigPipe *) c->pipes->pdata[i])->section == section;
        return n;
}

static MlgConfigPipe *add(MlgConfig *c, MlgOptionSection section, const char *name, const MlgConfigOrigin *at) {
        MlgConfigPipe *p = g_new0(MlgConfigPipe, 1);

        p->section = section;
        p->name = g_strdup(name);
        p->at = *at;
        mlg_option_defaults(section, &p->values);
        g_ptr_array_add(c->pipes, p);
        return p;
}

MlgConfigPipe *mlg_config_pipe_open(MlgConfig *c, MlgOptionSection section, const char *header, const char *name,
                                    const MlgConfigOrigin *at, GError **error) {
        const MlgConfigPipe *same = mlg_config_pipe_find(c, section, name);
        bool is_pipe = section == MLG_OPTION_PIPE;

        if (!mlg_config_name_is_valid(name, MLG_PIPE_NAME_MAX) || name[0] == '.')
                mlg_config_file_error(
                        error, at->file, at->line, header, NULL, NULL,
                        "expected [%s NAME] alone on its line, with a name of 1 to %d letters, digits, "
                        "-, _ or ., the first of them no .",
                        mlg_option_section_to_string(section), MLG_PIPE_NAME_MAX);
        else if (same)
                mlg_config_file_error(error, at->file, at->line, header, NULL, NULL,
                                      "expected another name, there is one of this name in %s:%u already",
                                      same->at.file, same->at.line);
        else if (count(c, section) == MLG_PIPES_MAX)
                mlg_config_file_error(error, at->file, at->line, header, NULL, NULL,
                                      "expected at most %d %s in all files", MLG_PIPES_MAX,
                                      is_pipe ? "pipes" : "sections [Swap NAME]");
        else
                return add(c, section, name, at);
        return NULL;
}

static const char *guests_of(const MlgConfigPipe *p) {
        return p->section == MLG_OPTION_PIPE ? p->values.pipe.guests : p->values.swap.guests;
}

static bool quota_fits(const MlgConfigPipe *p) {
        const MlgOptionSettings *v = &p->values;

        return p->section == MLG_OPTION_PIPE ? v->pipe.quota_kib <= v->pipe.region_kib - TABLES_KIB
                                             : v->swap.quota_kib <= v->swap.pool_kib - POOL_TABLES_KIB;
}

static bool check(const MlgConfigPipe *p, GError **error) {
        g_autofree char *header = g_strconcat(mlg_option_section_to_string(p->section), " ", p->name, NULL);
        bool is_pipe = p->section == MLG_OPTION_PIPE;
        const char *guests = guests_of(p);

        if (guests[strspn(guests, " \t")] == '\0')
                mlg_config_file_error(error, p->at.file, p->at.line, header, NULL, NULL,
                                      "expected Guests=, the patterns of the guests that %s",
                                      is_pipe ? "may share memory" : "are lent memory");
        else if (!quota_fits(p))
                mlg_config_file_error(
                        error, p->at.file, p->at.line, header, NULL, NULL,
                        "expected Quota= to be at most %s= less %dM, which tables take",
                        is_pipe ? "RegionSize" : "PoolSize",
                        (int) ((is_pipe ? TABLES_KIB : POOL_TABLES_KIB) / MLG_KIB_PER_MIB));
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

static const MlgConfigPipe *nth(const MlgConfig *c, MlgOptionSection section, size_t n) {
        for (size_t i = 0; i < c->pipes->len; i++) {
                const MlgConfigPipe *p = c->pipes->pdata[i];

                if (p->section == section && n-- == 0)
                        return p;
        }
        g_assert_not_reached();
}

static bool matches(const MlgConfigPipe *p, const char *name, const char *uuid, const char *labels) {
        g_auto(GStrv) words = g_strsplit_set(guests_of(p), " \t", -1);

        for (char **w = words; *w; w++)
                if (**w && mlg_config_pattern_matches(*w, name, uuid, labels))
                        return true;
        return false;
}

/* The last one whose patterns match it. */
static const MlgConfigPipe *section_of(const MlgConfig *c, MlgOptionSection section, const char *name, const char *uuid,
                                       const char *labels) {
        for (size_t i = c->pipes->len; i > 0; i--) {
                const MlgConfigPipe *p = c->pipes->pdata[i - 1];

                if (p->section == section && matches(p, name, uuid, labels))
                        return p;
        }
        return NULL;
}

size_t mlg_config_n_pipes(const MlgConfig *c) {
        return count(c, MLG_OPTION_PIPE);
}

const char *mlg_config_pipe(const MlgConfig *c, size_t i, MlgPipeSettings *ret) {
        const MlgConfigPipe *p = nth(c, MLG_OPTION_PIPE, i);

        *ret = p->values.pipe;
        return p->name;
}

const char *mlg_config_pipe_of(const MlgConfig *c, const char *name, const char *uuid, const char *labels) {
        const MlgConfigPipe *p = section_of(c, MLG_OPTION_PIPE, name, uuid, labels);

        return p ? p->name : NULL;
}

size_t mlg_config_n_swaps(const MlgConfig *c) {
        return count(c, MLG_OPTION_SWAP);
}

const char *mlg_config_swap(const MlgConfig *c, size_t i, MlgSwapSettings *ret) {
        const MlgConfigPipe *p = nth(c, MLG_OPTION_SWAP, i);

        *ret = p->values.swap;
        return p->name;
}

const char *mlg_config_swap_of(const MlgConfig *c, const char *name, const char *uuid, const char *labels,
                               MlgSwapSettings *ret) {
        const MlgConfigPipe *p = section_of(c, MLG_OPTION_SWAP, name, uuid, labels);

        if (!p)
                return NULL;
        *ret = p->values.swap;
        return p->name;
}
