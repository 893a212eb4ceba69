/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Group: see group.h. */
#include "mempipe/group.h"

#include <errno.h>
#include <string.h>

#include "memlego/mempipe-abi.h"
#include "mempipe/region.h"
#include "mempipe/sharing.h"
#include "util/util.h"

G_STATIC_ASSERT(MLG_PIPE_MEMBERS_MAX == MLG_PIPE_PEERS - 1);
G_STATIC_ASSERT(MLG_PIPE_PEERS <= MLG_IVSHMEM_IDS_MAX && MLG_PIPE_HOST == MLG_IVSHMEM_HOST);

/* Members ring when they start, want more or give back; this is how old a demand may be that nobody rang
 * for. */
#define TURN_USEC 100000
/* Without a module in any of them there is only memory to sweep. */
#define IDLE_TURN_USEC MLG_USEC_PER_SEC
/* Looking for memory that is backed and nobody's reads the whole owner table. */
#define SWEEP_USEC MLG_USEC_PER_SEC

/* A module that starts again and again costs the others, who are told each time. */
#define BEGIN_PAUSE_USEC 100000
/* Somebody else can have written the nonsense for which a member gets nothing any more: after this time its module is
 * asked to start anew. */
#define PARDON_USEC (10 * MLG_USEC_PER_SEC)

typedef struct Member {
        MlgPipeWord word;
        MlgPipeClaim claim;
        bool broken;
        uint64_t broke_usec;
        uint64_t began_usec; /* its module, as of its session */
} Member;

struct MlgPipeGroup {
        const MlgPipeGroupCallbacks *callbacks;
        void *userdata;
        MlgPipeRegion *region;
        MlgIvshmemServer *server; /* NULL: it is being started */
        bool left_to_next, lobby;
        uint32_t n_ids;
        uint32_t quota_chunks, limit_chunks;
        uint64_t turned_usec, swept_usec;
        Member members[MLG_PIPE_PEERS];
};

static uint64_t bytes_of(uint32_t chunks) {
        return (uint64_t) chunks << MLG_PIPE_CHUNK_SHIFT;
}

static bool is_there(const MlgPipeGroup *g, uint32_t id) {
        return mlg_pipe_region_state(g->region, id) != MLG_PIPE_ABSENT;
}

/* Gets chunks. */
static bool is_served(const MlgPipeGroup *g, uint32_t id) {
        return mlg_pipe_region_state(g->region, id) == MLG_PIPE_PRESENT && g->members[id].word.version > 0 &&
               !g->members[id].broken;
}

static void ring(MlgPipeGroup *g, uint32_t id) {
        mlg_ivshmem_server_ring(g->server, id);
}

/* The table of peers has changed. */
static void wake_others(MlgPipeGroup *g, uint32_t but) {
        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++)
                if (id != but && is_there(g, id) && mlg_pipe_region_wake(g->region, id))
                        ring(g, id);
}

static void complain_of(MlgPipeGroup *g, pid_t pid, const char *what) {
        g->callbacks->on_complaint(pid, what, g->userdata);
}

static void complain(MlgPipeGroup *g, uint32_t id, const char *what) {
        g->members[id].broken = true;
        g->members[id].broke_usec = g->turned_usec;
        complain_of(g, mlg_ivshmem_server_pid(g->server, id), what);
}

/* ---- what members say ---- */

static void take_message(MlgPipeGroup *g, uint32_t id, const struct mlg_pipe_message *m, uint64_t now) {
        if (m->epoch != mlg_pipe_region_peer_epoch(g->region, id))
                return;
        if (m->type == MLG_PIPE_WISH && g->lobby)
                g->callbacks->on_wish(m->proof, now, g->userdata);
        else if (m->type != MLG_PIPE_RETURN)
                complain(g, id, "its module sent a message that is none for the host");
        else if (mlg_pipe_region_take_back(g->region, id, m->chunks.first, m->chunks.count) < 0)
                complain(g, id, "its module returned memory that it does not have");
}

/* One ring's worth at most: who writes as fast as we read is read again with the next turn. */
static void take_messages(MlgPipeGroup *g, uint32_t id, uint64_t now) {
        struct mlg_pipe_message m;

        for (uint32_t n = 0; n < MLG_PIPE_MESSAGES && !g->members[id].broken; n++) {
                if (!mlg_pipe_region_receive(g->region, id, &m))
                        break;
                take_message(g, id, &m, now);
        }
}

static void listen_to(MlgPipeGroup *g, uint32_t id, uint64_t now) {
        Member *m = &g->members[id];

        mlg_pipe_region_clear_bell(g->region, id);
        mlg_pipe_region_read_word(g->region, id, &m->word);
        if (m->word.session != mlg_pipe_region_session(g->region, id)) {
                m->word.version = 0;
                if (now - m->began_usec < BEGIN_PAUSE_USEC)
                        return;
                mlg_pipe_region_rejoin(g->region, id, m->word.session);
                *m = (Member) { .began_usec = now };
                if (mlg_pipe_region_wake(g->region, id))
                        ring(g, id);
                wake_others(g, id);
                return;
        }
        if (m->word.version > 0)
                take_messages(g, id, now);
}

/* ---- who gets what ---- */

static void share(MlgPipeGroup *g, uint64_t passed_usec) {
        MlgPipeClaim claims[MLG_PIPE_PEERS];
        uint32_t ids[MLG_PIPE_PEERS], n = 0;

        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++) {
                if (!is_served(g, id))
                        continue;
                g->members[id].claim.demand_chunks = g->members[id].word.demand_chunks;
                claims[n] = g->members[id].claim;
                ids[n++] = id;
        }
        mlg_pipe_share(claims, n, MIN(g->quota_chunks, g->limit_chunks), passed_usec);
        for (uint32_t i = 0; i < n; i++) {
                g->members[ids[i]].claim = claims[i];
                if (claims[i].target_chunks != mlg_pipe_region_target(g->region, ids[i])) {
                        mlg_pipe_region_set_target(g->region, ids[i], claims[i].target_chunks);
                        if (mlg_pipe_region_granted(g->region, ids[i]) > claims[i].target_chunks &&
                            mlg_pipe_region_wake(g->region, ids[i]))
                                ring(g, ids[i]); /* it has something to return */
                }
        }
}

static void grant(MlgPipeGroup *g, uint32_t id, uint32_t n) {
        struct mlg_pipe_message m = { .type = MLG_PIPE_GRANT };
        bool must_ring, any = false;

        while (n > 0 && mlg_pipe_region_room(g->region, id) > 0) {
                m.chunks.count = mlg_pipe_region_grant(g->region, id, n, &m.chunks.first);
                if (m.chunks.count == 0)
                        break;
                if (mlg_pipe_region_send(g->region, id, &m, &must_ring) < 0) { /* changed under our eyes */
                        (void) mlg_pipe_region_take_back(g->region, id, m.chunks.first, m.chunks.count);
                        break;
                }
                any = any || must_ring;
                n -= m.chunks.count;
        }
        if (any)
                ring(g, id);
}

/* What it wants now and may have: a share that lasts longer than the demand is no reason to press chunks
 * upon somebody who gives them back. */
static uint32_t lacks(const MlgPipeGroup *g, uint32_t id) {
        uint64_t wants = mlg_max(g->members[id].word.demand_chunks, MLG_PIPE_FLOOR_CHUNKS);

        if (!is_served(g, id))
                return 0;
        return (uint32_t) mlg_sub_sat(mlg_min(mlg_pipe_region_target(g->region, id), wants),
                                      mlg_pipe_region_granted(g->region, id));
}

/* Targets sum up to the quota at most, but those who have to return something first may not have done so. */
static void grant_all(MlgPipeGroup *g) {
        uint32_t granted = mlg_pipe_region_granted_to_all(g->region), wanted = 0, free_chunks;
        uint64_t to;

        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++)
                wanted += lacks(g, id);
        wanted = (uint32_t) mlg_min(wanted, mlg_sub_sat(g->quota_chunks, granted));
        if (wanted == 0)
                return;
        to = g->callbacks->on_grant(bytes_of(granted + wanted), g->userdata) >> MLG_PIPE_CHUNK_SHIFT;
        free_chunks = (uint32_t) mlg_min(mlg_sub_sat(to, granted), wanted);
        for (uint32_t id = 1; id < MLG_PIPE_PEERS && free_chunks > 0; id++) {
                uint32_t before = mlg_pipe_region_granted_to_all(g->region);

                grant(g, id, MIN(lacks(g, id), free_chunks));
                free_chunks -= mlg_pipe_region_granted_to_all(g->region) - before;
        }
}

/* A module that does not see its session begins another one. */
static void pardon(MlgPipeGroup *g, uint32_t id, uint64_t now) {
        g->members[id] = (Member) { .began_usec = now };
        mlg_pipe_region_rejoin(g->region, id, 0);
        if (mlg_pipe_region_wake(g->region, id))
                ring(g, id);
        wake_others(g, id);
}

static void sweep(MlgPipeGroup *g, uint64_t now) {
        if (now - g->swept_usec < SWEEP_USEC)
                return;
        g->swept_usec = now;
        if (mlg_pipe_region_sweep(g->region) > 0)
                complain_of(g, 0, "a member wrote where nothing was granted to it; it was taken back");
        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++)
                if (g->members[id].broken && now - g->members[id].broke_usec > PARDON_USEC)
                        pardon(g, id, now);
        if (mlg_pipe_region_mend(g->region))
                complain_of(g, 0, "a member wrote over the host's words in the shared memory; they were put right");
}

static void tell_charge(MlgPipeGroup *g) {
        uint64_t granted = bytes_of(mlg_pipe_region_granted_to_all(g->region));

        g->callbacks->on_charge(mlg_max(granted, mlg_pipe_region_backed_bytes(g->region)), g->userdata);
}

static void turn(uint64_t now, void *userdata) {
        MlgPipeGroup *g = userdata;
        uint64_t wait = MLG_USEC_NEVER;

        mlg_pipe_region_count_alive(g->region);
        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++)
                if (is_there(g, id)) {
                        listen_to(g, id, now);
                        wait = mlg_min(wait, is_served(g, id) && !g->lobby ? TURN_USEC : IDLE_TURN_USEC);
                }
        share(g, now - g->turned_usec);
        grant_all(g);
        sweep(g, now);
        tell_charge(g);
        g->turned_usec = now;
        mlg_ivshmem_server_turn_at(g->server, mlg_add_sat(now, wait));
}

/* ---- coming and going ---- */

static bool on_join(uint32_t id, pid_t pid, void *userdata) {
        MlgPipeGroup *g = userdata;

        if (!g->callbacks->on_join(id, pid, g->userdata))
                return false;
        if (!g->server) /* it was taken over, and is in the region already */
                return true;
        g->members[id] = (Member) {};
        mlg_pipe_region_join(g->region, id);
        wake_others(g, id);
        mlg_ivshmem_server_turn_at(g->server, 0);
        return true;
}

static void on_leave(uint32_t id, void *userdata) {
        MlgPipeGroup *g = userdata;

        mlg_pipe_region_leave(g->region, id);
        g->members[id] = (Member) {};
        wake_others(g, id);
        tell_charge(g);
        g->callbacks->on_leave(id, g->userdata);
}

static void on_refuse(pid_t pid, const char *why, void *userdata) {
        MlgPipeGroup *g = userdata;

        complain_of(g, pid, why);
}

static void on_keep(const char *name, int fd, void *userdata) {
        MlgPipeGroup *g = userdata;

        g->callbacks->on_keep(name, fd, g->userdata);
}

static const MlgIvshmemServerCallbacks callbacks_of_server = {
        .on_join = on_join,
        .on_leave = on_leave,
        .on_turn = turn,
        .on_refuse = on_refuse,
        .on_keep = on_keep,
};

/* ---- making one ---- */

static bool adopt_region(MlgPipeGroup *g, const MlgPipeGroupOptions *o, MlgIvshmemKept *k) {
        if (!mlg_ivshmem_kept_is_complete(k, o->region_bytes, g->n_ids) || mlg_pipe_region_adopt(k->region, k->truth, &g->region) < 0)
                return false;
        k->region = k->truth = -1;
        return true;
}

/* Members whose connection is not there any more went while nobody served them. Why one was to leave nobody
 * knows any more: who wants that says so again. */
static void settle_members(MlgPipeGroup *g) {
        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++) {
                if (!is_there(g, id))
                        continue;
                if (mlg_ivshmem_server_pid(g->server, id) > 0)
                        mlg_pipe_region_set_leaving(g->region, id, false);
                else
                        mlg_pipe_region_leave(g->region, id);
                wake_others(g, id);
        }
}

static int start(MlgPipeGroup *g, const MlgPipeGroupOptions *o) {
        MlgIvshmemKept *k = o->kept, none;
        int r = 0;

        mlg_ivshmem_kept_init(&none);
        k = k ? k : &none;
        if (!adopt_region(g, o, k)) {
                mlg_ivshmem_kept_close(k);
                r = mlg_pipe_region_new(o->region_bytes, o->epoch, &g->region);
        }
        if (r >= 0)
                r = mlg_ivshmem_server_new(o->path, o->owner, mlg_pipe_region_fd(g->region), g->n_ids, k,
                                        &callbacks_of_server, g, &g->server);
        mlg_ivshmem_kept_close(k);
        if (r < 0)
                return r;
        mlg_pipe_region_set_features(g->region, g->lobby ? MLG_PIPE_LOBBY : 0);
        g->callbacks->on_keep("region", mlg_pipe_region_fd(g->region), g->userdata);
        g->callbacks->on_keep("truth", mlg_pipe_region_truth_fd(g->region), g->userdata);
        settle_members(g);
        return 0;
}

int mlg_pipe_group_new(const MlgPipeGroupOptions *o, const MlgPipeGroupCallbacks *callbacks, void *userdata,
                       MlgPipeGroup **ret) {
        MlgPipeGroup *g = g_new0(MlgPipeGroup, 1);
        int r;

        g->callbacks = callbacks;
        g->userdata = userdata;
        g->lobby = o->lobby;
        g->n_ids = o->n_members > 0 ? MIN(o->n_members + 1, MLG_PIPE_PEERS) : MLG_PIPE_PEERS;
        r = start(g, o);
        if (r < 0) {
                (void) mlg_pipe_group_free(g);
                return r;
        }
        mlg_pipe_group_set_quota(g, o->quota_bytes);
        g->limit_chunks = UINT32_MAX;
        mlg_ivshmem_server_turn_at(g->server, 0);
        *ret = g;
        return 0;
}

void mlg_pipe_group_leave_to_next(MlgPipeGroup *g) {
        g->left_to_next = true;
        mlg_ivshmem_server_leave_to_next(g->server);
}

/* Everybody goes back to the network: nobody would tell them any more when one of them dies. */
static void say_farewell(MlgPipeGroup *g) {
        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++)
                mlg_pipe_region_set_leaving(g->region, id, true);
        wake_others(g, MLG_PIPE_HOST);
}

MlgPipeGroup *mlg_pipe_group_free(MlgPipeGroup *g) {
        if (!g)
                return NULL;
        if (g->server && !g->left_to_next)
                say_farewell(g);
        (void) mlg_ivshmem_server_free(g->server);
        (void) mlg_pipe_region_free(g->region);
        g_free(g);
        return NULL;
}

const MlgPollable *mlg_pipe_group_pollable(const MlgPipeGroup *g) {
        return mlg_ivshmem_server_pollable(g->server);
}

const char *mlg_pipe_group_path(const MlgPipeGroup *g) {
        return mlg_ivshmem_server_path(g->server);
}

void mlg_pipe_group_set_quota(MlgPipeGroup *g, uint64_t quota_bytes) {
        g->quota_chunks = (uint32_t) mlg_min(quota_bytes >> MLG_PIPE_CHUNK_SHIFT,
                                             mlg_pipe_region_n_chunks(g->region));
        mlg_ivshmem_server_turn_at(g->server, 0);
}

void mlg_pipe_group_set_limit(MlgPipeGroup *g, uint64_t bytes) {
        uint32_t chunks = (uint32_t) mlg_min(bytes >> MLG_PIPE_CHUNK_SHIFT, UINT32_MAX);

        if (chunks != g->limit_chunks)
                mlg_ivshmem_server_turn_at(g->server, 0);
        g->limit_chunks = chunks;
}

int mlg_pipe_group_set_leaving(MlgPipeGroup *g, uint32_t id, bool leaving) {
        if (id == MLG_PIPE_HOST || id >= MLG_PIPE_PEERS || !is_there(g, id))
                return -ENOENT;
        mlg_pipe_region_set_leaving(g->region, id, leaving);
        wake_others(g, MLG_PIPE_HOST);
        return 0;
}

int mlg_pipe_group_reset(MlgPipeGroup *g, uint32_t id) {
        if (id == MLG_PIPE_HOST || id >= MLG_PIPE_PEERS || !is_there(g, id))
                return -ENOENT;
        mlg_pipe_region_rejoin(g->region, id, mlg_pipe_region_session(g->region, id));
        g->members[id] = (Member) {};
        wake_others(g, id);
        return 0;
}

uint64_t mlg_pipe_group_backed_bytes(const MlgPipeGroup *g) {
        return mlg_pipe_region_backed_bytes(g->region);
}

static uint64_t kib_of(uint32_t chunks) {
        return bytes_of(chunks) / 1024;
}

static MlgPipeState state_of(const MlgPipeGroup *g, uint32_t id) {
        if (mlg_pipe_region_state(g->region, id) == MLG_PIPE_LEAVING)
                return MLG_PIPE_STATE_LEAVING;
        if (g->members[id].broken)
                return MLG_PIPE_STATE_BROKEN;
        return g->members[id].word.version > 0 ? MLG_PIPE_STATE_TALKS : MLG_PIPE_STATE_SILENT;
}

static void show_member(const MlgPipeGroup *g, uint32_t id, MlgPipeMember *ret) {
        const MlgPipeWord *w = &g->members[id].word;

        *ret = (MlgPipeMember) {
                .id = id,
                .epoch = mlg_pipe_region_peer_epoch(g->region, id),
                .pid = mlg_ivshmem_server_pid(g->server, id),
                .state = state_of(g, id),
                .granted_kib = kib_of(mlg_pipe_region_granted(g->region, id)),
                .target_kib = kib_of(mlg_pipe_region_target(g->region, id)),
                .demand_kib = kib_of(w->demand_chunks),
                .held_kib = kib_of(w->held_chunks),
                .used_kib = kib_of(w->used_chunks),
                .sent_bytes = w->tx_bytes,
                .blocked_usec = w->blocked_usec,
                .n_pipes = w->n_pipes,
        };
        memcpy(ret->outcomes, w->outcomes, sizeof(ret->outcomes));
}

void mlg_pipe_group_status(const MlgPipeGroup *g, MlgPipeStatus *ret) {
        *ret = (MlgPipeStatus) {
                .region_kib = mlg_pipe_region_bytes(g->region) / 1024,
                .quota_kib = kib_of(g->quota_chunks),
                .granted_kib = kib_of(mlg_pipe_region_granted_to_all(g->region)),
                .backed_kib = mlg_pipe_region_backed_bytes(g->region) / 1024,
                .epoch = mlg_pipe_region_epoch(g->region),
        };
        g_strlcpy(ret->path, mlg_ivshmem_server_path(g->server), sizeof(ret->path));
        for (uint32_t id = 1; id < MLG_PIPE_PEERS; id++)
                if (is_there(g, id))
                        show_member(g, id, &ret->members[ret->n_members++]);
}
