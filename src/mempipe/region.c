/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Region: see region.h. */
#include "mempipe/region.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ivshmem/memfd.h"
#include "mempipe/core/region.h"
#include "util/util.h"

#define TRUTH_MAGIC UINT64_C(0x3148545552544c4d) /* "MLTRUTH1": another number for another layout */
#define RING_MASK (MLG_PIPE_MESSAGES - 1)

typedef struct Member {
        uint32_t state;
        uint32_t epoch;
        uint32_t session;
        uint32_t target;
        uint32_t granted;
        uint32_t sent;     /* messages to it: the tail of that ring */
        uint32_t received; /* messages of it: the head of this ring */
} Member;

/* What the host knows. No member sees this. */
typedef struct Truth {
        uint64_t magic;
        uint64_t bytes, epoch;
        uint32_t n_chunks, granted, alive;
        Member members[MLG_PIPE_PEERS];
        uint8_t owners[];
} Truth;

struct MlgPipeRegion {
        int fd, truth_fd;
        uint8_t *shared; /* all before the chunks */
        Truth *truth;
        size_t truth_bytes;
        uint32_t features; /* not kept: its owner says them at each start */
};

/* ---- places in the region ---- */

/* core/region.h's, of our mapping; punching needs the file's offsets. */
static struct mlg_pipe_peer *peer_of(const MlgPipeRegion *r, uint32_t id) {
        return mp_peer(r->shared, id);
}

static struct mlg_pipe_pair *pair_of(const MlgPipeRegion *r, uint32_t from, uint32_t to) {
        return mp_pair(r->shared, from, to);
}

static uint64_t offset_of(const MlgPipeRegion *r, const void *place) {
        return (uint64_t) ((const uint8_t *) place - r->shared);
}

/* Members may read at any time, from another process. */
#define show(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define see(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

/* ---- making one ---- */

static int map(MlgPipeRegion *r) {
        void *p = mmap(NULL, MLG_PIPE_CHUNKS_AT, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);

        if (p == MAP_FAILED)
                return -errno;
        r->shared = p;
        p = mmap(NULL, r->truth_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->truth_fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        r->truth = p;
        return 0;
}

static bool is_size(uint64_t bytes) {
        return bytes >= MLG_PIPE_REGION_MIN && bytes <= MLG_PIPE_REGION_MAX && (bytes & (bytes - 1)) == 0;
}

static uint32_t chunks_of(uint64_t bytes) {
        return (uint32_t) ((bytes - MLG_PIPE_CHUNKS_AT) >> MLG_PIPE_CHUNK_SHIFT);
}

static void show_header(MlgPipeRegion *r) {
        struct mlg_pipe_header *h = mp_header(r->shared);

        h->version = MLG_PIPE_VERSION;
        h->features = r->features;
        h->region_bytes = r->truth->bytes;
        h->epoch = r->truth->epoch;
        h->n_chunks = r->truth->n_chunks;
        show(h->magic, MLG_PIPE_MAGIC);
}

int mlg_pipe_region_new(uint64_t bytes, uint64_t epoch, MlgPipeRegion **ret) {
        g_autoptr(MlgPipeRegion) r = NULL;
        int error;

        if (!is_size(bytes))
                return -EINVAL;
        r = g_new0(MlgPipeRegion, 1);
        r->fd = r->truth_fd = -1;
        r->truth_bytes = sizeof(Truth) + chunks_of(bytes);
        if ((error = mlg_memfd_new("mempipe", bytes, &r->fd)) < 0 ||
            (error = mlg_memfd_new("mempipe-truth", r->truth_bytes, &r->truth_fd)) < 0 ||
            (error = map(r)) < 0)
                return error;
        r->truth->bytes = bytes;
        r->truth->epoch = epoch;
        r->truth->n_chunks = chunks_of(bytes);
        memset(r->truth->owners, MLG_PIPE_NOBODY, r->truth->n_chunks);
        memset(r->shared + MLG_PIPE_OWNERS_AT, MLG_PIPE_NOBODY, r->truth->n_chunks);
        r->truth->members[MLG_PIPE_HOST] = (Member) { .state = MLG_PIPE_PRESENT, .epoch = 1 };
        r->truth->magic = TRUTH_MAGIC;
        show(peer_of(r, MLG_PIPE_HOST)->epoch, 1);
        show(peer_of(r, MLG_PIPE_HOST)->state, MLG_PIPE_PRESENT);
        show_header(r);
        *ret = g_steal_pointer(&r);
        return 0;
}

static bool is_truth_of(const Truth *t, uint64_t region_bytes, uint64_t truth_bytes) {
        return t->magic == TRUTH_MAGIC && t->bytes == region_bytes &&
               t->n_chunks == chunks_of(region_bytes) && truth_bytes == sizeof(Truth) + t->n_chunks;
}

int mlg_pipe_region_adopt(int region_fd, int truth_fd, MlgPipeRegion **ret) {
        g_autoptr(MlgPipeRegion) r = NULL;
        struct stat region, truth;
        int error;

        if (fstat(region_fd, &region) < 0 || fstat(truth_fd, &truth) < 0)
                return -errno;
        if (!is_size((uint64_t) region.st_size) || truth.st_size < (off_t) sizeof(Truth) ||
            !mlg_memfd_is_sealed(region_fd) || !mlg_memfd_is_sealed(truth_fd))
                return -EBADMSG;
        r = g_new0(MlgPipeRegion, 1);
        r->fd = region_fd;
        r->truth_fd = truth_fd;
        r->truth_bytes = (size_t) truth.st_size;
        error = map(r);
        if (error == 0 && !is_truth_of(r->truth, (uint64_t) region.st_size, r->truth_bytes))
                error = -EBADMSG;
        if (error < 0) {
                r->fd = r->truth_fd = -1; /* they stay the caller's */
                return error;
        }
        *ret = g_steal_pointer(&r);
        return 0;
}

MlgPipeRegion *mlg_pipe_region_free(MlgPipeRegion *r) {
        if (!r)
                return NULL;
        if (r->shared)
                (void) munmap(r->shared, MLG_PIPE_CHUNKS_AT);
        if (r->truth)
                (void) munmap(r->truth, r->truth_bytes);
        mlg_close_fd(&r->fd);
        mlg_close_fd(&r->truth_fd);
        g_free(r);
        return NULL;
}

void mlg_pipe_region_set_features(MlgPipeRegion *r, uint32_t features) {
        r->features = features;
        show(mp_header(r->shared)->features, features);
}

void mlg_pipe_region_count_alive(MlgPipeRegion *r) {
        show(mp_header(r->shared)->alive, ++r->truth->alive);
}

int mlg_pipe_region_fd(const MlgPipeRegion *r) {
        return r->fd;
}

int mlg_pipe_region_truth_fd(const MlgPipeRegion *r) {
        return r->truth_fd;
}

uint64_t mlg_pipe_region_bytes(const MlgPipeRegion *r) {
        return r->truth->bytes;
}

uint64_t mlg_pipe_region_epoch(const MlgPipeRegion *r) {
        return r->truth->epoch;
}

uint32_t mlg_pipe_region_n_chunks(const MlgPipeRegion *r) {
        return r->truth->n_chunks;
}

/* ---- chunks ---- */

static uint64_t chunk_at(uint32_t chunk) {
        return MLG_PIPE_CHUNKS_AT + ((uint64_t) chunk << MLG_PIPE_CHUNK_SHIFT);
}

static void set_owner(MlgPipeRegion *r, uint32_t first, uint32_t count, uint32_t id) {
        memset(r->truth->owners + first, (int) id, count);
        memset(r->shared + MLG_PIPE_OWNERS_AT + first, (int) id, count);
}

/* How many of the chunks from `first` on, at most `max`, are this owner's. */
static uint32_t run_of(const Truth *t, uint32_t first, uint32_t max, uint32_t owner) {
        uint32_t n = 0;

        while (n < max && first + n < t->n_chunks && t->owners[first + n] == owner)
                n++;
        return n;
}

uint32_t mlg_pipe_region_grant(MlgPipeRegion *r, uint32_t id, uint32_t max, uint32_t *ret_first) {
        Truth *t = r->truth;
        const uint8_t *found = memchr(t->owners, MLG_PIPE_NOBODY, t->n_chunks);
        uint32_t first, n;

        if (!found || max == 0)
                return 0;
        first = (uint32_t) (found - t->owners);
        n = run_of(t, first, max, MLG_PIPE_NOBODY);
        set_owner(r, first, n, id);
        t->members[id].granted += n;
        t->granted += n;
        *ret_first = first;
        return n;
}

static void free_run(MlgPipeRegion *r, uint32_t id, uint32_t first, uint32_t count) {
        (void) mlg_memfd_punch(r->fd, chunk_at(first), chunk_at(first + count) - chunk_at(first));
        set_owner(r, first, count, MLG_PIPE_NOBODY);
        r->truth->members[id].granted -= count;
        r->truth->granted -= count;
}

int mlg_pipe_region_take_back(MlgPipeRegion *r, uint32_t id, uint32_t first, uint32_t count) {
        if (count == 0 || first >= r->truth->n_chunks || run_of(r->truth, first, count, id) != count)
                return -EPERM;
        free_run(r, id, first, count);
        return 0;
}

static void take_all_back(MlgPipeRegion *r, uint32_t id) {
        const Truth *t = r->truth;

        for (uint32_t c = 0, n; t->members[id].granted > 0 && c < t->n_chunks; c += MAX(n, 1)) {
                n = run_of(t, c, t->n_chunks, id);
                if (n > 0)
                        free_run(r, id, c, n);
        }
}

uint32_t mlg_pipe_region_granted(const MlgPipeRegion *r, uint32_t id) {
        return r->truth->members[id].granted;
}

uint32_t mlg_pipe_region_granted_to_all(const MlgPipeRegion *r) {
        return r->truth->granted;
}

uint64_t mlg_pipe_region_backed_bytes(const MlgPipeRegion *r) {
        return mlg_memfd_backed_bytes(r->fd);
}

#define TABLE_PAGE UINT64_C(4096) /* all of them begin and end with one */

static bool is_id_there(const MlgPipeRegion *r, uint64_t id) {
        return id < MLG_PIPE_PEERS && r->truth->members[id].state != MLG_PIPE_ABSENT;
}

/* Whether this page before the chunks is of somebody who is there. */
static bool is_table_used(const MlgPipeRegion *r, uint64_t at) {
        uint64_t pair = (at - MLG_PIPE_PAIRS_AT) / sizeof(struct mlg_pipe_pair);

        if (at < MLG_PIPE_SECTIONS_AT)
                return true;
        if (at < MLG_PIPE_OWNERS_AT)
                return is_id_there(r, (at - MLG_PIPE_SECTIONS_AT) / sizeof(struct mlg_pipe_section));
        if (at < MLG_PIPE_PAIRS_AT)
                return at - MLG_PIPE_OWNERS_AT < r->truth->n_chunks;
        if (at < MLG_PIPE_SLOTS_AT)
                return is_id_there(r, pair / MLG_PIPE_PEERS) && is_id_there(r, pair % MLG_PIPE_PEERS);
        /* the host has no connections */
        return at >= MLG_PIPE_SLOTS_AT + MLG_PIPE_SLOTS * sizeof(struct mlg_pipe_slot) &&
               is_id_there(r, (at - MLG_PIPE_SLOTS_AT) / (MLG_PIPE_SLOTS * sizeof(struct mlg_pipe_slot)));
}

static uint64_t end_of_unused(const MlgPipeRegion *r, uint64_t at, uint64_t end) {
        while (at < end && !is_table_used(r, at))
                at += TABLE_PAGE;
        return at;
}

/* What a member can make us keep there is bounded by what those who are there need: 2 MiB each, not 80. */
static void sweep_tables(MlgPipeRegion *r) {
        off_t data = 0, hole;

        while ((data = lseek(r->fd, data, SEEK_DATA)) >= 0 && data < (off_t) MLG_PIPE_CHUNKS_AT &&
               (hole = lseek(r->fd, data, SEEK_HOLE)) > data) {
                uint64_t end = mlg_min((uint64_t) hole, MLG_PIPE_CHUNKS_AT);

                for (uint64_t at = (uint64_t) data, next; at < end; at = MAX(next, at + TABLE_PAGE)) {
                        next = end_of_unused(r, at, end);
                        if (next > at)
                                (void) mlg_memfd_punch(r->fd, at, next - at);
                }
                data = hole;
        }
}

uint64_t mlg_pipe_region_sweep(MlgPipeRegion *r) {
        const Truth *t = r->truth;
        uint64_t before;

        sweep_tables(r);
        before = mlg_pipe_region_backed_bytes(r);

        for (uint32_t c = 0, n; c < t->n_chunks; c += MAX(n, 1)) {
                off_t data = lseek(r->fd, (off_t) chunk_at(c), SEEK_DATA);

                if (data < 0)
                        break;
                c = (uint32_t) (((uint64_t) data - MLG_PIPE_CHUNKS_AT) >> MLG_PIPE_CHUNK_SHIFT);
                n = run_of(t, c, t->n_chunks, MLG_PIPE_NOBODY);
                if (n > 0)
                        (void) mlg_memfd_punch(r->fd, chunk_at(c), chunk_at(c + n) - chunk_at(c));
        }
        return mlg_sub_sat(before, mlg_pipe_region_backed_bytes(r));
}

/* ---- members ---- */

/* Nothing of a former member is left for the next one of this id, nor for those who talked to it. */
static void forget(MlgPipeRegion *r, uint32_t id) {
        take_all_back(r, id);
        (void) mlg_memfd_punch(r->fd, offset_of(r, mp_section(r->shared, id)), sizeof(struct mlg_pipe_section));
        (void) mlg_memfd_punch(r->fd, offset_of(r, pair_of(r, id, 0)), MLG_PIPE_PEERS * sizeof(struct mlg_pipe_pair));
        for (uint32_t other = 0; other < MLG_PIPE_PEERS; other++)
                (void) mlg_memfd_punch(r->fd, offset_of(r, pair_of(r, other, id)), sizeof(struct mlg_pipe_pair));
        (void) mlg_memfd_punch(r->fd, offset_of(r, mp_slot(r->shared, id, 0)),
                     MLG_PIPE_SLOTS * sizeof(struct mlg_pipe_slot));
        r->truth->members[id].sent = r->truth->members[id].received = 0;
        mlg_pipe_region_set_target(r, id, 0);
}

static void set_state(MlgPipeRegion *r, uint32_t id, enum mlg_pipe_peer_state state) {
        r->truth->members[id].state = state;
        show(peer_of(r, id)->state, state);
}

/* The epoch is shown before the state that makes somebody look at it. */
static void begin(MlgPipeRegion *r, uint32_t id, uint32_t session) {
        Member *m = &r->truth->members[id];

        m->epoch = m->epoch == UINT32_MAX ? 1 : m->epoch + 1;
        m->session = session;
        show(peer_of(r, id)->epoch, m->epoch);
        show(peer_of(r, id)->session, session);
        set_state(r, id, MLG_PIPE_PRESENT);
}

void mlg_pipe_region_join(MlgPipeRegion *r, uint32_t id) {
        forget(r, id);
        begin(r, id, 0);
}

void mlg_pipe_region_rejoin(MlgPipeRegion *r, uint32_t id, uint32_t session) {
        struct mlg_pipe_section was = *mp_section(r->shared, id);
        enum mlg_pipe_peer_state state = mlg_pipe_region_state(r, id);

        set_state(r, id, MLG_PIPE_ABSENT);
        forget(r, id);
        *mp_section(r->shared, id) = was; /* that is of the new one already */
        begin(r, id, session);
        if (state == MLG_PIPE_LEAVING)
                set_state(r, id, state);
}

void mlg_pipe_region_set_leaving(MlgPipeRegion *r, uint32_t id, bool leaving) {
        if (r->truth->members[id].state != MLG_PIPE_ABSENT)
                set_state(r, id, leaving ? MLG_PIPE_LEAVING : MLG_PIPE_PRESENT);
}

void mlg_pipe_region_leave(MlgPipeRegion *r, uint32_t id) {
        set_state(r, id, MLG_PIPE_ABSENT);
        forget(r, id);
}

enum mlg_pipe_peer_state mlg_pipe_region_state(const MlgPipeRegion *r, uint32_t id) {
        return (enum mlg_pipe_peer_state) r->truth->members[id].state;
}

uint32_t mlg_pipe_region_peer_epoch(const MlgPipeRegion *r, uint32_t id) {
        return r->truth->members[id].epoch;
}

uint32_t mlg_pipe_region_session(const MlgPipeRegion *r, uint32_t id) {
        return r->truth->members[id].session;
}

void mlg_pipe_region_set_target(MlgPipeRegion *r, uint32_t id, uint32_t chunks) {
        r->truth->members[id].target = chunks;
        show(peer_of(r, id)->target_chunks, chunks);
}

uint32_t mlg_pipe_region_target(const MlgPipeRegion *r, uint32_t id) {
        return r->truth->members[id].target;
}

void mlg_pipe_region_read_word(const MlgPipeRegion *r, uint32_t id, MlgPipeWord *ret) {
        const struct mlg_pipe_section *s = mp_section(r->shared, id);
        const Member *m = &r->truth->members[id];
        uint32_t n_chunks = r->truth->n_chunks;

        *ret = (MlgPipeWord) {
                .version = see(s->epoch) == m->epoch ? see(s->version) : 0,
                .session = see(s->session),
                .demand_chunks = MIN(see(s->demand_chunks), n_chunks),
                .held_chunks = MIN(see(s->held_chunks), n_chunks),
                .used_chunks = MIN(see(s->used_chunks), n_chunks),
                .tx_bytes = see(s->tx_bytes),
                .blocked_usec = see(s->blocked_usec),
                .n_pipes = MIN(see(s->n_pipes), MLG_PIPE_SLOTS * MLG_PIPE_PEERS),
        };
        for (uint32_t i = 0; i < MLG_PIPE_REASONS; i++)
                ret->outcomes[i] = see(s->outcomes[i]);
}

static bool is_shown(const MlgPipeRegion *r, uint32_t id) {
        const struct mlg_pipe_peer *p = peer_of(r, id);
        const Member *m = &r->truth->members[id];

        return see(p->state) == m->state && see(p->epoch) == m->epoch && see(p->session) == m->session &&
               see(p->target_chunks) == m->target;
}

static bool is_header_shown(const MlgPipeRegion *r) {
        const struct mlg_pipe_header *h = mp_header(r->shared);

        return see(h->magic) == MLG_PIPE_MAGIC && see(h->version) == MLG_PIPE_VERSION && see(h->features) == r->features &&
               see(h->region_bytes) == r->truth->bytes && see(h->epoch) == r->truth->epoch &&
               see(h->n_chunks) == r->truth->n_chunks;
}

bool mlg_pipe_region_mend(MlgPipeRegion *r) {
        const Truth *t = r->truth;
        uint8_t *owners = r->shared + MLG_PIPE_OWNERS_AT;
        bool wrong = !is_header_shown(r);

        show_header(r);
        for (uint32_t id = 0; id < MLG_PIPE_PEERS; id++) {
                const Member *m = &t->members[id];

                if (is_shown(r, id))
                        continue;
                wrong = true;
                show(peer_of(r, id)->epoch, m->epoch);
                show(peer_of(r, id)->session, m->session);
                show(peer_of(r, id)->target_chunks, m->target);
                show(peer_of(r, id)->state, m->state);
        }
        if (memcmp(owners, t->owners, t->n_chunks) != 0) {
                wrong = true;
                memcpy(owners, t->owners, t->n_chunks);
        }
        return wrong;
}

/* ---- control rings ---- */

/* What it has not read yet; more than there is room for: it wrote nonsense, and hears nothing. */
static uint32_t unread(const MlgPipeRegion *r, uint32_t id) {
        return r->truth->members[id].sent - see(pair_of(r, MLG_PIPE_HOST, id)->head);
}

uint32_t mlg_pipe_region_room(const MlgPipeRegion *r, uint32_t id) {
        return (uint32_t) mlg_sub_sat(MLG_PIPE_MESSAGES, unread(r, id));
}

bool mlg_pipe_region_wake(MlgPipeRegion *r, uint32_t id) {
        return __atomic_exchange_n(&pair_of(r, MLG_PIPE_HOST, id)->bell, 1, __ATOMIC_SEQ_CST) == 0;
}

int mlg_pipe_region_send(MlgPipeRegion *r, uint32_t id, const struct mlg_pipe_message *m, bool *ret_ring) {
        struct mlg_pipe_pair *p = pair_of(r, MLG_PIPE_HOST, id);
        uint32_t *sent = &r->truth->members[id].sent, n = unread(r, id);

        if (n >= MLG_PIPE_MESSAGES)
                return -EAGAIN;
        p->messages[*sent & RING_MASK] = *m;
        p->messages[*sent & RING_MASK].epoch = r->truth->members[MLG_PIPE_HOST].epoch;
        ++*sent;
        show(p->tail, *sent);
        *ret_ring = mlg_pipe_region_wake(r, id);
        return 0;
}

bool mlg_pipe_region_receive(MlgPipeRegion *r, uint32_t id, struct mlg_pipe_message *ret) {
        struct mlg_pipe_pair *p = pair_of(r, id, MLG_PIPE_HOST);
        uint32_t *received = &r->truth->members[id].received, tail = see(p->tail), n = tail - *received;
        bool is_good = n > 0 && n <= MLG_PIPE_MESSAGES;

        if (is_good)
                memcpy(ret, &p->messages[*received & RING_MASK], sizeof(*ret));
        *received = is_good ? *received + 1 : tail;
        if (n > 0)
                show(p->head, *received);
        return is_good;
}

void mlg_pipe_region_clear_bell(MlgPipeRegion *r, uint32_t id) {
        (void) __atomic_exchange_n(&pair_of(r, id, MLG_PIPE_HOST)->bell, 0, __ATOMIC_SEQ_CST);
}
