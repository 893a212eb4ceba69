/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lender: see lender.h. A *turn* is made whenever the guest rings, when its target was set, and once a
 * second. */
#include "memflex/lender.h"

#include "memflex/pool.h"
#include "util/util.h"

G_STATIC_ASSERT(MLG_FLEX_IDS <= MLG_IVSHMEM_IDS_MAX && MLG_FLEX_HOST == MLG_IVSHMEM_HOST);

/* As often as the contract has both sides look. */
#define TURN_USEC (UINT64_C(1000) * MLG_FLEX_LOOK_MSEC)
/* Looking for memory that was not lent, and for words that are not ours. */
#define SWEEP_USEC MLG_USEC_PER_SEC
/* A module that starts again and again has everything punched out each time. */
#define BEGIN_PAUSE_USEC 100000

/* Backing memory is work, 0.8 ms for a MiB, in which nobody else is served; and a guest can give back what it
 * is lent at once, and want it again. So it is lent 16 MiB in 50 ms at most, which is 320 MiB/s. Its owner may
 * allow less (on_lend). */
#define PACE_CHUNKS 64u
#define PACE_USEC 50000

/* For one that was late there is less to be had where it can be called back in time. */
#define LATE_USEC (60 * MLG_USEC_PER_SEC)

/* A reset that we hear of may be one before the module that swaps now was loaded, as nobody knows how old the news is. One that lives
 * says so each time that it looks. */
#define RESET_USEC (10 * TURN_USEC)

typedef struct Reset {
        bool heard;
        uint64_t since_usec; /* 0: as of the next turn */
        uint32_t alive;      /* what the module said then */
} Reset;

/* A call-back: the guest is to come down to `due_chunks`. */
typedef struct CallBack {
        bool open, late;
        uint32_t due_chunks;
        uint64_t since_usec;
} CallBack;

struct MlgFlexLender {
        const MlgFlexCallbacks *callbacks;
        void *userdata;
        MlgFlexPool *pool;
        MlgIvshmemServer *server; /* NULL: it is being started */
        bool left_to_next;
        uint32_t quota_chunks;
        uint64_t callback_usec;
        MlgFlexWord word;
        CallBack call;
        Reset reset;
        uint64_t n_calls, n_met, n_late, took_usec;
        uint64_t late_until_usec; /* it is lent nothing before then */
        uint64_t began_usec;      /* its module, as of its session */
        uint64_t pace_usec;       /* since then ... */
        uint32_t pace_chunks;     /* ... so many were lent */
        uint64_t swept_usec;
};

static uint64_t bytes_of(uint64_t chunks) {
        return chunks << MLG_FLEX_CHUNK_SHIFT;
}

static uint32_t chunks_in(uint64_t bytes) {
        return (uint32_t) mlg_min(bytes >> MLG_FLEX_CHUNK_SHIFT, MLG_FLEX_CHUNKS_MAX);
}

static void ring(MlgFlexLender *l) {
        mlg_ivshmem_server_ring(l->server, MLG_FLEX_GUEST);
}

static pid_t pid_of(const MlgFlexLender *l) {
        return l->server ? mlg_ivshmem_server_pid(l->server, MLG_FLEX_GUEST) : 0;
}

static void complain(MlgFlexLender *l, const char *what) {
        l->callbacks->on_complaint(pid_of(l), what, l->userdata);
}

/* Without a guest there is nothing to do. */
static void next_turn(MlgFlexLender *l, uint64_t usec) {
        mlg_ivshmem_server_turn_at(l->server, pid_of(l) > 0 ? usec : MLG_USEC_NEVER);
}

/* ---- the guest's words ---- */

static void forget_call(MlgFlexLender *l) {
        l->call = (CallBack){};
        l->late_until_usec = 0;
}

/* True: its module has started anew. */
static bool begin(MlgFlexLender *l, uint64_t now) {
        uint32_t session = l->word.session;

        if (session == 0 || session == mlg_flex_pool_session(l->pool) ||
            now < mlg_add_sat(l->began_usec, l->began_usec > 0 ? BEGIN_PAUSE_USEC : 0))
                return false;
        l->began_usec = now;
        l->reset = (Reset){};
        mlg_flex_pool_begin(l->pool, session);
        forget_call(l);
        mlg_flex_pool_read_word(l->pool, &l->word);
        return true;
}

/* True: the module that we knew is gone with a reset, and so is what it was lent. */
static bool end_after_reset(MlgFlexLender *l, uint64_t now) {
        Reset *r = &l->reset;

        if (!r->heard)
                return false;
        if (r->since_usec == 0)
                *r = (Reset){ .heard = true, .since_usec = now, .alive = l->word.alive };
        if (l->word.alive != r->alive)
                *r = (Reset){};
        if (!r->heard || now - r->since_usec < RESET_USEC)
                return false;
        *r = (Reset){};
        mlg_flex_pool_begin(l->pool, mlg_flex_pool_session(l->pool));
        mlg_flex_pool_read_word(l->pool, &l->word);
        forget_call(l);
        return true;
}

/* ---- call-back ---- */

static void open_call(MlgFlexLender *l, uint64_t now) {
        l->call = (CallBack){ .open = true, .due_chunks = mlg_flex_pool_target(l->pool), .since_usec = now };
        l->n_calls++;
}

static void close_call(MlgFlexLender *l, uint64_t now) {
        l->took_usec = now - l->call.since_usec;
        if (l->call.late)
                l->late_until_usec = now + LATE_USEC;
        else
                l->n_met++;
        l->call = (CallBack){};
}

/* What is called back while it still gives back has a time of its own. */
static void judge_call(MlgFlexLender *l, uint64_t now) {
        uint32_t lent = mlg_flex_pool_lent(l->pool), target = mlg_flex_pool_target(l->pool);
        CallBack *c = &l->call;

        if (l->late_until_usec <= now)
                l->late_until_usec = 0;
        if (c->open && (lent <= c->due_chunks || lent <= target))
                close_call(l, now);
        if (!c->open && lent > target)
                open_call(l, now);
        if (c->open && !c->late && now - c->since_usec > l->callback_usec) {
                c->late = true;
                l->n_late++;
                complain(
                        l,
                        "it does not give back in time what was called back; it is lent nothing more until "
                        "a minute after it has");
        }
}

static bool is_late(const MlgFlexLender *l, uint64_t now) {
        return l->call.late || now < l->late_until_usec;
}

/* ---- lending ---- */

static uint32_t lacks(const MlgFlexLender *l, uint64_t now) {
        uint32_t may = MIN(l->quota_chunks, mlg_flex_pool_target(l->pool));

        if (l->word.version == 0 || is_late(l, now))
                return 0;
        return (uint32_t) mlg_sub_sat(MIN(may, l->word.want_chunks), mlg_flex_pool_lent(l->pool));
}

/* As many as it may be lent at once. */
static uint32_t paced(MlgFlexLender *l, uint32_t n, uint64_t now) {
        if (now - l->pace_usec >= PACE_USEC) {
                l->pace_usec = now;
                l->pace_chunks = 0;
        }
        return MIN(n, PACE_CHUNKS - l->pace_chunks);
}

/* True: something was lent. */
static bool lend(MlgFlexLender *l, uint64_t now) {
        uint32_t lent = mlg_flex_pool_lent(l->pool), n = paced(l, lacks(l, now), now);
        uint64_t tables = mlg_flex_pool_tables_bytes(l->pool), to;
        int error;

        if (n == 0)
                return false;
        to = l->callbacks->on_lend(tables + bytes_of(lent + n), l->userdata);
        n = (uint32_t) mlg_min(mlg_sub_sat(chunks_in(mlg_sub_sat(to, tables)), lent), n);
        n = mlg_flex_pool_lend(l->pool, n, &error);
        l->pace_chunks += n;
        if (error < 0)
                complain(l, "the host cannot back what it would be lent");
        return n > 0;
}

/* ---- the turn ---- */

static void sweep(MlgFlexLender *l, uint64_t now) {
        if (now - l->swept_usec < SWEEP_USEC)
                return;
        l->swept_usec = now;
        if (mlg_flex_pool_sweep(l->pool) > 0)
                complain(l, "it wrote where nothing was lent to it; that was taken back");
        if (mlg_flex_pool_mend(l->pool))
                complain(l, "it wrote over the host's words in its pool; they were put right");
}

/* Tables are charged as a whole: a page of theirs that is touched for the first time later is no surprise to the ledger. */
static void tell_charge(MlgFlexLender *l) {
        uint32_t lent = mlg_flex_pool_lent(l->pool);
        uint64_t due = lent ? mlg_flex_pool_tables_bytes(l->pool) + bytes_of(lent) : 0;

        l->callbacks->on_charge(mlg_max(due, mlg_flex_pool_backed_bytes(l->pool)), l->userdata);
}

static void turn(uint64_t now, void *userdata) {
        MlgFlexLender *l = userdata;
        bool news;

        mlg_flex_pool_count_alive(l->pool);
        mlg_flex_pool_read_word(l->pool, &l->word);
        news = begin(l, now) || end_after_reset(l, now);
        (void) mlg_flex_pool_take_returned(l->pool);
        judge_call(l, now);
        if (lend(l, now))
                news = true;
        sweep(l, now);
        tell_charge(l);
        if (news)
                ring(l);
        next_turn(l, now + (lacks(l, now) > 0 ? PACE_USEC : TURN_USEC));
}

/* ---- coming and going ---- */

static bool on_join(uint32_t id, pid_t pid, void *userdata) {
        MlgFlexLender *l = userdata;

        if (!l->callbacks->on_join(pid, l->userdata))
                return false;
        if (!l->server) /* it was taken over, and its pages are in there */
                return true;
        mlg_flex_pool_clear(l->pool);
        forget_call(l);
        mlg_ivshmem_server_turn_at(l->server, 0); /* by then it is there */
        return true;
}

static void on_leave(uint32_t id, void *userdata) {
        MlgFlexLender *l = userdata;

        mlg_flex_pool_clear(l->pool);
        l->word = (MlgFlexWord){};
        l->reset = (Reset){};
        forget_call(l);
        next_turn(l, MLG_USEC_NEVER);
        tell_charge(l);
        l->callbacks->on_leave(l->userdata);
}

static void on_refuse(pid_t pid, const char *why, void *userdata) {
        MlgFlexLender *l = userdata;

        l->callbacks->on_complaint(pid, why, l->userdata);
}

static void on_keep(const char *name, int fd, void *userdata) {
        MlgFlexLender *l = userdata;

        l->callbacks->on_keep(name, fd, l->userdata);
}

static const MlgIvshmemServerCallbacks callbacks_of_server = {
        .on_join = on_join,
        .on_leave = on_leave,
        .on_turn = turn,
        .on_refuse = on_refuse,
        .on_keep = on_keep,
};

/* ---- making one ---- */

static void set_terms(MlgFlexLender *l, uint64_t quota_bytes, uint64_t callback_usec) {
        l->quota_chunks = MIN(chunks_in(quota_bytes), mlg_flex_pool_n_chunks(l->pool));
        l->callback_usec = callback_usec;
        mlg_flex_pool_set_terms(l->pool, l->quota_chunks,
                                (uint32_t) mlg_min(callback_usec / 1000, UINT32_MAX));
}

static bool adopt_pool(MlgFlexLender *l, const MlgFlexOptions *o, MlgIvshmemKept *k) {
        if (!mlg_ivshmem_kept_is_complete(k, o->pool_bytes, MLG_FLEX_IDS) ||
            mlg_flex_pool_adopt(k->region, k->truth, &l->pool) < 0)
                return false;
        k->region = k->truth = -1;
        l->quota_chunks = mlg_flex_pool_quota(l->pool);
        l->callback_usec = UINT64_C(1000) * mlg_flex_pool_callback_msec(l->pool);
        return true;
}

static int start(MlgFlexLender *l, const MlgFlexOptions *o) {
        MlgIvshmemKept *k = o->kept, none;
        int r = 0;

        mlg_ivshmem_kept_init(&none);
        k = k ? k : &none;
        if (!adopt_pool(l, o, k)) {
                mlg_ivshmem_kept_close(k);
                r = mlg_flex_pool_new(o->pool_bytes, &l->pool);
                if (r >= 0)
                        set_terms(l, o->quota_bytes, o->callback_usec);
        }
        if (r >= 0)
                r = mlg_ivshmem_server_new(o->path, o->owner, mlg_flex_pool_fd(l->pool), MLG_FLEX_IDS, k,
                                           &callbacks_of_server, l, &l->server);
        mlg_ivshmem_kept_close(k);
        if (r < 0)
                return r;
        l->callbacks->on_keep("region", mlg_flex_pool_fd(l->pool), l->userdata);
        l->callbacks->on_keep("truth", mlg_flex_pool_truth_fd(l->pool), l->userdata);
        if (mlg_flex_lender_is_connected(l))
                mlg_flex_pool_read_word(l->pool, &l->word);
        else
                mlg_flex_pool_clear(l->pool); /* who was there went while nobody served it */
        return 0;
}

int mlg_flex_lender_new(const MlgFlexOptions *o, const MlgFlexCallbacks *callbacks, void *userdata,
                        MlgFlexLender **ret) {
        g_autoptr(MlgFlexLender) l = g_new0(MlgFlexLender, 1);
        int r;

        l->callbacks = callbacks;
        l->userdata = userdata;
        r = start(l, o);
        if (r < 0)
                return r;
        next_turn(l, 0);
        *ret = g_steal_pointer(&l);
        return 0;
}

void mlg_flex_lender_leave_to_next(MlgFlexLender *l) {
        l->left_to_next = true;
        mlg_ivshmem_server_leave_to_next(l->server);
}

MlgFlexLender *mlg_flex_lender_free(MlgFlexLender *l) {
        if (!l)
                return NULL;
        if (l->server && !l->left_to_next) { /* nobody lends any more: it goes over to its disk */
                mlg_flex_pool_set_target(l->pool, 0);
                ring(l);
        }
        (void) mlg_ivshmem_server_free(l->server);
        (void) mlg_flex_pool_free(l->pool);
        g_free(l);
        return NULL;
}

const MlgPollable *mlg_flex_lender_pollable(const MlgFlexLender *l) {
        return mlg_ivshmem_server_pollable(l->server);
}

const char *mlg_flex_lender_path(const MlgFlexLender *l) {
        return mlg_ivshmem_server_path(l->server);
}

void mlg_flex_lender_guest_reset(MlgFlexLender *l) {
        l->reset = (Reset){ .heard = true };
        next_turn(l, 0);
}

void mlg_flex_lender_set_terms(MlgFlexLender *l, uint64_t quota_bytes, uint64_t callback_usec) {
        set_terms(l, quota_bytes, callback_usec);
        mlg_flex_lender_set_target(l, bytes_of(mlg_flex_pool_target(l->pool)));
}

void mlg_flex_lender_set_target(MlgFlexLender *l, uint64_t bytes) {
        uint32_t chunks = MIN(chunks_in(bytes), l->quota_chunks);

        if (chunks == mlg_flex_pool_target(l->pool))
                return;
        mlg_flex_pool_set_target(l->pool, chunks);
        next_turn(l, 0);
        ring(l);
}

bool mlg_flex_lender_is_connected(const MlgFlexLender *l) {
        return pid_of(l) > 0;
}

uint64_t mlg_flex_lender_lent_bytes(const MlgFlexLender *l) {
        return bytes_of(mlg_flex_pool_lent(l->pool));
}

uint64_t mlg_flex_lender_tables_bytes(const MlgFlexLender *l) {
        return mlg_flex_pool_tables_bytes(l->pool);
}

uint64_t mlg_flex_lender_wanted_bytes(const MlgFlexLender *l) {
        return bytes_of(l->word.want_chunks);
}

uint64_t mlg_flex_lender_backed_bytes(const MlgFlexLender *l) {
        return mlg_flex_pool_backed_bytes(l->pool);
}

static MlgSwapState state_of(const MlgFlexLender *l) {
        if (!mlg_flex_lender_is_connected(l))
                return MLG_SWAP_STATE_WAITING;
        if (l->word.version == 0)
                return MLG_SWAP_STATE_SILENT;
        return l->call.late || l->late_until_usec > 0 ? MLG_SWAP_STATE_LATE : MLG_SWAP_STATE_TALKS;
}

static uint64_t kib_of(uint64_t chunks) {
        return bytes_of(chunks) / 1024;
}

#define KIB_PER_PAGE 4

static void show_word(const MlgFlexWord *w, MlgSwapStatus *ret) {
        ret->wanted_kib = kib_of(w->want_chunks);
        ret->held_kib = kib_of(w->held_chunks);
        ret->device_kib = mlg_mul_div(w->device_pages, KIB_PER_PAGE, 1);
        ret->disk_kib = mlg_mul_div(w->disk_pages, KIB_PER_PAGE, 1);
        ret->used_kib = mlg_mul_div(w->pool_pages, KIB_PER_PAGE, 1);
        ret->same_kib = mlg_mul_div(w->same_pages, KIB_PER_PAGE, 1);
        ret->on_disk_kib = mlg_mul_div(w->on_disk_pages, KIB_PER_PAGE, 1);
        ret->pool_reads = w->pool_reads;
        ret->disk_reads = w->disk_reads;
        ret->pool_writes = w->pool_writes;
        ret->disk_writes = w->disk_writes;
        ret->written_back = w->written_back;
        ret->errors = w->errors;
}

void mlg_flex_lender_status(const MlgFlexLender *l, MlgSwapStatus *ret) {
        *ret = (MlgSwapStatus){
                .pid = pid_of(l),
                .state = state_of(l),
                .epoch = mlg_flex_pool_epoch(l->pool),
                .pool_kib = mlg_flex_pool_bytes(l->pool) / 1024,
                .quota_kib = kib_of(l->quota_chunks),
                .target_kib = kib_of(mlg_flex_pool_target(l->pool)),
                .lent_kib = kib_of(mlg_flex_pool_lent(l->pool)),
                .backed_kib = mlg_flex_pool_backed_bytes(l->pool) / 1024,
                .called_back = l->n_calls,
                .met = l->n_met,
                .late = l->n_late,
                .callback_usec = l->took_usec,
        };
        g_strlcpy(ret->path, mlg_ivshmem_server_path(l->server), sizeof(ret->path));
        show_word(&l->word, ret);
}
