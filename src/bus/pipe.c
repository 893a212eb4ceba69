/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe: one object per group of guests that share memory, /org/memlego1/pipe/NAME. Its interface is described
 * in systemd/org.memlego1.xml; a test compares them.
 *
 * The objects are not kept: the service is asked for each message. */
#include "bus/bus-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VIEW(field) offsetof(MlgBusPipeView, field)
#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

char *mlg_bus_pipe_path(const char *name) {
        char *path = NULL;

        return sd_bus_path_encode(MLG_BUS_PATH_PIPE, name, &path) < 0 ? NULL : path;
}

/* ---- what properties are read from ---- */

/* Of a list; another one for another list, and nothing else is made of it. */
static void key_of(GString *list, char ret[static MLG_BUS_LIST_KEY_MAX + 1]) {
        g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *) list->str,
                                                           list->len);

        g_strlcpy(ret, sum, MLG_BUS_LIST_KEY_MAX + 1);
}

static void fill_keys(MlgBusPipeView *v) {
        const MlgPipeStatus *st = &v->st;
        g_autoptr(GString) guests = g_string_new(NULL), pairs = g_string_new(NULL);

        for (uint32_t i = 0; i < st->n_members; i++) {
                g_string_append(guests, st->members[i].name);
                g_string_append_c(guests, '\0');
        }
        for (uint32_t i = 0; i < st->n_pairs; i++)
                g_string_append_printf(pairs, "%s/%s/%d\n", st->members[st->pairs[i].members[0]].name,
                                       st->members[st->pairs[i].members[1]].name, (int) st->pairs[i].state);
        key_of(guests, v->guests_key);
        key_of(pairs, v->pairs_key);
}

void mlg_bus_pipe_fill(MlgBus *b, const MlgPipeStatus *st) {
        MlgBusPipeView *v = &b->pipe;

        *v = (MlgBusPipeView) {
                .st = *st,
                .state = st->going ? "going" : "serving",
                .attach = st->attach ? "auto" : "manual",
                .isolation = st->isolated ? "pair" : "group",
        };
        for (uint32_t i = 0; i < st->n_members; i++) {
                v->used_kib += st->members[i].used_kib;
                v->sent_bytes += st->members[i].sent_bytes;
                v->connections += st->members[i].n_pipes;
                for (size_t k = 0; k < G_N_ELEMENTS(v->outcomes); k++)
                        v->outcomes[k] = mlg_add_sat(v->outcomes[k], st->members[i].outcomes[k]);
        }
        v->utilisation_permille = mlg_pipe_utilisation_permille(st);
        fill_keys(v);
}

static bool find_pipe(MlgBus *b, const char *path) {
        g_autofree MlgPipeStatus *all = NULL;
        size_t n;
        char *name = NULL;
        bool found = false;

        if (sd_bus_path_decode(path, MLG_BUS_PATH_PIPE, &name) <= 0)
                return false;
        n = mlg_bus_read_pipes(b, &all);
        for (size_t i = 0; i < n && !found; i++)
                if (g_str_equal(all[i].name, name)) {
                        mlg_bus_pipe_fill(b, &all[i]);
                        found = true;
                }
        free(name);
        return found;
}

static int pipe_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                     sd_bus_error *error) {
        MlgBus *b = userdata;

        if (!find_pipe(b, path))
                return 0;
        *ret = &b->pipe;
        return 1;
}

/* sd-bus frees the list and its strings with free(); paths are of malloc(), too. */
static int list_paths(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        g_autofree MlgPipeStatus *all = NULL;
        size_t n = mlg_bus_read_pipes(userdata, &all), k = 0;
        char **paths = calloc(n + 1, sizeof(*paths));

        for (size_t i = 0; paths && i < n; i++) {
                paths[k] = mlg_bus_pipe_path(all[i].name);
                k += paths[k] ? 1 : 0;
        }
        *ret = paths;
        return paths ? 0 : -ENOMEM;
}

/* ---- properties ---- */

static const MlgPipeStatus *status_of(const void *field, size_t offset) {
        return &((const MlgBusPipeView *) (const void *) ((const char *) field - offset))->st;
}

static int get_guests(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const MlgPipeStatus *st = status_of(userdata, VIEW(guests_key));
        int r = sd_bus_message_open_container(reply, 'a', "s");

        for (uint32_t i = 0; r >= 0 && i < st->n_members; i++)
                r = mlg_bus_add_string(reply, st->members[i].name);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_pair(sd_bus_message *m, const MlgPipeStatus *st, const MlgPipePair *pair) {
        int r = sd_bus_message_open_container(m, 'r', "sss");

        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(pair->members); i++)
                r = mlg_bus_add_string(m, st->members[pair->members[i]].name);
        if (r >= 0)
                r = mlg_bus_add_string(m, mlg_pipe_pair_state_to_string(pair->state));
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int get_pairs(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const MlgPipeStatus *st = status_of(userdata, VIEW(pairs_key));
        int r = sd_bus_message_open_container(reply, 'a', "(sss)");

        for (uint32_t i = 0; r >= 0 && i < st->n_pairs; i++)
                r = append_pair(reply, st, &st->pairs[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_fallbacks(sd_bus *bus, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return mlg_bus_append_fallbacks(reply, userdata);
}

/* Numbers that differ all the time have no change signal: who wants them reads them. */
const sd_bus_vtable mlg_bus_pipe_vtable[] = {
        SD_BUS_VTABLE_START(0),

        SD_BUS_PROPERTY("Name", "s", mlg_bus_get_chars, VIEW(st.name), CONST),
        SD_BUS_PROPERTY("Path", "s", mlg_bus_get_chars, VIEW(st.path), EMITS),
        SD_BUS_PROPERTY("State", "s", NULL, VIEW(state), EMITS),
        SD_BUS_PROPERTY("Attach", "s", NULL, VIEW(attach), EMITS),
        SD_BUS_PROPERTY("Isolation", "s", NULL, VIEW(isolation), EMITS),
        SD_BUS_PROPERTY("Guests", "as", get_guests, VIEW(guests_key), EMITS),
        SD_BUS_PROPERTY("Pairs", "a(sss)", get_pairs, VIEW(pairs_key), EMITS),
        SD_BUS_PROPERTY("RefusedPairs", "t", NULL, VIEW(st.n_refused_pairs), EMITS),
        SD_BUS_PROPERTY("RegionKiB", "t", NULL, VIEW(st.region_kib), EMITS),
        SD_BUS_PROPERTY("QuotaKiB", "t", NULL, VIEW(st.quota_kib), EMITS),
        SD_BUS_PROPERTY("Epoch", "t", NULL, VIEW(st.epoch), EMITS),
        SD_BUS_PROPERTY("GrantedKiB", "t", NULL, VIEW(st.granted_kib), 0),
        SD_BUS_PROPERTY("BackedKiB", "t", NULL, VIEW(st.backed_kib), 0),
        SD_BUS_PROPERTY("ChargedKiB", "t", NULL, VIEW(st.charged_kib), 0),
        SD_BUS_PROPERTY("UsedKiB", "t", NULL, VIEW(used_kib), 0),
        SD_BUS_PROPERTY("UtilisationPermille", "u", NULL, VIEW(utilisation_permille), 0),
        SD_BUS_PROPERTY("Connections", "t", NULL, VIEW(connections), 0),
        SD_BUS_PROPERTY("SentBytes", "t", NULL, VIEW(sent_bytes), 0),
        SD_BUS_PROPERTY("OpenedConnections", "t", NULL, VIEW(outcomes[MLG_PIPE_OK]), 0),
        SD_BUS_PROPERTY("Fallbacks", "a{st}", get_fallbacks, VIEW(outcomes), 0),

        SD_BUS_VTABLE_END,
};

int mlg_bus_pipe_publish(MlgBus *b) {
        int r;

        r = sd_bus_add_fallback_vtable(b->bus, NULL, MLG_BUS_PATH_PIPE, MLG_BUS_IFACE_PIPE,
                                       mlg_bus_pipe_vtable, pipe_find, b);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(b->bus, NULL, MLG_BUS_PATH_PIPE, list_paths, b);
}
