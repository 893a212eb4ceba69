/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pool: see pool.h.
 *
 * Order, for who goes on after us: memory is backed before the truth says that a chunk is lent, and that
 * before the guest sees it; it is punched out before the truth says that it is free. So what is lent is
 * backed, always. */
#include "memflex/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ivshmem/memfd.h"
#include "util/util.h"

#define TRUTH_MAGIC UINT64_C(0x3148545552544c46) /* "FLTRUTH1": another number for another layout */
#define TABLES_BYTES MLG_FLEX_CHUNKS_AT
#define PAGE_BYTES UINT64_C(4096)
/* At once; some milliseconds of the kernel's work. */
#define BACK_CHUNKS 64u

/* What the host knows. The guest does not see this. */
typedef struct Truth {
        uint64_t magic;
        uint64_t bytes;
        uint32_t n_chunks, target, alive, epoch, session, quota, callback_msec;
        uint32_t reserved;
        uint8_t lent[]; /* by chunk: 0, or the number by which it is; a multiple of eight */
} Truth;
G_STATIC_ASSERT(sizeof(Truth) % sizeof(uint64_t) == 0);

struct MlgFlexPool {
        int fd, truth_fd;
        uint8_t *shared; /* all before the chunks */
        Truth *truth;
        size_t truth_bytes;
        /* Found in the truth: */
        uint32_t n_lent;
        uint32_t first_free; /* no chunk before it is free */
        uint32_t end_lent;   /* none from it on is lent */
};

/* The guest may read and write at any time, from another process. */
#define show(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define see(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

static struct mlg_flex_header *header_of(const MlgFlexPool *p) {
        return (struct mlg_flex_header *) (void *) p->shared;
}

static struct mlg_flex_section *section_of(const MlgFlexPool *p) {
        return (struct mlg_flex_section *) (void *) (p->shared + MLG_FLEX_SECTION_AT);
}

static uint8_t *shown_lent(const MlgFlexPool *p) {
        return p->shared + MLG_FLEX_LENT_AT;
}

static uint64_t chunk_at(uint32_t chunk) {
        return MLG_FLEX_CHUNKS_AT + ((uint64_t) chunk << MLG_FLEX_CHUNK_SHIFT);
}

static uint64_t bytes_of(uint32_t chunks) {
        return (uint64_t) chunks << MLG_FLEX_CHUNK_SHIFT;
}

/* ---- making one ---- */

static bool is_size(uint64_t bytes) {
        return bytes >= MLG_FLEX_POOL_MIN && bytes <= MLG_FLEX_POOL_MAX && (bytes & (bytes - 1)) == 0;
}

static uint32_t chunks_of(uint64_t bytes) {
        return (uint32_t) ((bytes - MLG_FLEX_CHUNKS_AT) >> MLG_FLEX_CHUNK_SHIFT);
}

static size_t truth_bytes_of(uint64_t bytes) {
        return sizeof(Truth) + (chunks_of(bytes) + 7) / 8 * 8;
}

static void *map_part(int fd, size_t bytes) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        return p == MAP_FAILED ? NULL : p;
}

static int map(MlgFlexPool *p) {
        p->shared = map_part(p->fd, TABLES_BYTES);
        p->truth = p->shared ? map_part(p->truth_fd, p->truth_bytes) : NULL;
        return p->truth ? 0 : -errno;
}

static void show_header(MlgFlexPool *p) {
        struct mlg_flex_header *h = header_of(p);
        const Truth *t = p->truth;

        h->version = MLG_FLEX_VERSION;
        h->features = 0;
        h->pool_bytes = t->bytes;
        h->n_chunks = t->n_chunks;
        show(h->target_chunks, t->target);
        show(h->quota_chunks, t->quota);
        show(h->callback_msec, t->callback_msec);
        show(h->epoch, t->epoch);
        show(h->session, t->session);
        show(h->magic, MLG_FLEX_MAGIC);
}

static void count_chunks(MlgFlexPool *p) {
        const Truth *t = p->truth;

        p->n_lent = p->end_lent = 0;
        for (uint32_t c = 0; c < t->n_chunks; c++)
                if (t->lent[c]) {
                        p->n_lent++;
                        p->end_lent = c + 1;
                }
        p->first_free = 0;
}

static MlgFlexPool *new_pool(void) {
        MlgFlexPool *p = g_new0(MlgFlexPool, 1);

        p->fd = p->truth_fd = -1;
        return p;
}

int mlg_flex_pool_new(uint64_t bytes, MlgFlexPool **ret) {
        g_autoptr(MlgFlexPool) p = new_pool();
        int r;

        if (!is_size(bytes))
                return -EINVAL;
        p->truth_bytes = truth_bytes_of(bytes);
        if ((r = mlg_memfd_new("memflex", bytes, &p->fd)) < 0 ||
            (r = mlg_memfd_new("memflex-truth", p->truth_bytes, &p->truth_fd)) < 0 || (r = map(p)) < 0)
                return r;
        p->truth->bytes = bytes;
        p->truth->n_chunks = chunks_of(bytes);
        p->truth->epoch = 1;
        p->truth->magic = TRUTH_MAGIC;
        show_header(p);
        *ret = g_steal_pointer(&p);
        return 0;
}

static bool is_truth_of(const Truth *t, uint64_t bytes) {
        return t->magic == TRUTH_MAGIC && t->bytes == bytes && t->n_chunks == chunks_of(bytes);
}

int mlg_flex_pool_adopt(int memory_fd, int truth_fd, MlgFlexPool **ret) {
        g_autoptr(MlgFlexPool) p = new_pool();
        struct stat memory, truth;
        int r;

        if (fstat(memory_fd, &memory) < 0 || fstat(truth_fd, &truth) < 0)
                return -errno;
        if (!is_size((uint64_t) memory.st_size) ||
            (uint64_t) truth.st_size != truth_bytes_of((uint64_t) memory.st_size) ||
            !mlg_memfd_is_sealed(memory_fd) || !mlg_memfd_is_sealed(truth_fd))
                return -EBADMSG;
        p->fd = memory_fd;
        p->truth_fd = truth_fd;
        p->truth_bytes = (size_t) truth.st_size;
        r = map(p);
        if (r == 0 && !is_truth_of(p->truth, (uint64_t) memory.st_size))
                r = -EBADMSG;
        if (r < 0) {
                p->fd = p->truth_fd = -1; /* they stay the caller's */
                return r;
        }
        count_chunks(p);
        (void) mlg_flex_pool_mend(p);
        *ret = g_steal_pointer(&p);
        return 0;
}

MlgFlexPool *mlg_flex_pool_free(MlgFlexPool *p) {
        if (!p)
                return NULL;
        if (p->shared)
                (void) munmap(p->shared, TABLES_BYTES);
        if (p->truth)
                (void) munmap(p->truth, p->truth_bytes);
        mlg_close_fd(&p->fd);
        mlg_close_fd(&p->truth_fd);
        g_free(p);
        return NULL;
}

int mlg_flex_pool_fd(const MlgFlexPool *p) {
        return p->fd;
}

int mlg_flex_pool_truth_fd(const MlgFlexPool *p) {
        return p->truth_fd;
}

uint64_t mlg_flex_pool_bytes(const MlgFlexPool *p) {
        return p->truth->bytes;
}

uint32_t mlg_flex_pool_n_chunks(const MlgFlexPool *p) {
        return p->truth->n_chunks;
}

uint32_t mlg_flex_pool_epoch(const MlgFlexPool *p) {
        return p->truth->epoch;
}

uint32_t mlg_flex_pool_session(const MlgFlexPool *p) {
        return p->truth->session;
}

/* ---- words ---- */

void mlg_flex_pool_count_alive(MlgFlexPool *p) {
        show(header_of(p)->alive, ++p->truth->alive);
}

void mlg_flex_pool_set_terms(MlgFlexPool *p, uint32_t quota_chunks, uint32_t callback_msec) {
        p->truth->quota = MIN(quota_chunks, p->truth->n_chunks);
        p->truth->callback_msec = callback_msec;
        show(header_of(p)->quota_chunks, p->truth->quota);
        show(header_of(p)->callback_msec, callback_msec);
}

uint32_t mlg_flex_pool_quota(const MlgFlexPool *p) {
        return p->truth->quota;
}

uint32_t mlg_flex_pool_callback_msec(const MlgFlexPool *p) {
        return p->truth->callback_msec;
}

void mlg_flex_pool_set_target(MlgFlexPool *p, uint32_t chunks) {
        p->truth->target = MIN(chunks, p->truth->n_chunks);
        show(header_of(p)->target_chunks, p->truth->target);
}

uint32_t mlg_flex_pool_target(const MlgFlexPool *p) {
        return p->truth->target;
}

void mlg_flex_pool_read_word(const MlgFlexPool *p, MlgFlexWord *ret) {
        const struct mlg_flex_section *s = section_of(p);
        uint32_t n_chunks = p->truth->n_chunks;

        *ret = (MlgFlexWord){
                .version = see(s->epoch) == p->truth->epoch ? see(s->version) : 0,
                .session = see(s->session),
                .want_chunks = MIN(see(s->want_chunks), n_chunks),
                .held_chunks = MIN(see(s->held_chunks), n_chunks),
                .alive = see(s->alive),
                .device_pages = see(s->device_pages),
                .disk_pages = see(s->disk_pages),
                .pool_pages = see(s->pool_pages),
                .same_pages = see(s->same_pages),
                .on_disk_pages = see(s->on_disk_pages),
                .pool_reads = see(s->pool_reads),
                .disk_reads = see(s->disk_reads),
                .pool_writes = see(s->pool_writes),
                .disk_writes = see(s->disk_writes),
                .written_back = see(s->written_back),
                .errors = see(s->errors),
        };
        if (ret->version != MLG_FLEX_VERSION || ret->session != p->truth->session)
                *ret = (MlgFlexWord){
                        .session = ret->session
                }; /* of an earlier one, or in another language */
}

static bool is_header_shown(const MlgFlexPool *p) {
        const struct mlg_flex_header *h = header_of(p);
        const Truth *t = p->truth;

        return see(h->magic) == MLG_FLEX_MAGIC && see(h->version) == MLG_FLEX_VERSION &&
               see(h->features) == 0 && see(h->pool_bytes) == t->bytes && see(h->n_chunks) == t->n_chunks &&
               see(h->target_chunks) == t->target && see(h->callback_msec) == t->callback_msec &&
               see(h->quota_chunks) == t->quota && see(h->epoch) == t->epoch &&
               see(h->session) == t->session;
}

bool mlg_flex_pool_mend(MlgFlexPool *p) {
        bool is_right = is_header_shown(p);

        if (!is_right)
                show_header(p);
        if (memcmp(shown_lent(p), p->truth->lent, p->truth->n_chunks) == 0)
                return !is_right;
        memcpy(shown_lent(p), p->truth->lent, p->truth->n_chunks);
        return true;
}

/* ---- chunks ---- */

/* The next chunk that is free, and how many are in a row, `max` at most. */
static uint32_t free_run(MlgFlexPool *p, uint32_t max, uint32_t *ret_first) {
        const Truth *t = p->truth;
        const uint8_t *found = memchr(t->lent + p->first_free, 0, t->n_chunks - p->first_free);
        uint32_t n = 0;

        p->first_free = found ? (uint32_t) (found - t->lent) : t->n_chunks;
        while (n < max && p->first_free + n < t->n_chunks && t->lent[p->first_free + n] == 0)
                n++;
        *ret_first = p->first_free;
        return n;
}

/* A number that the guest has not said already: it would have given it back. */
static void lend_chunk(MlgFlexPool *p, uint32_t chunk) {
        uint8_t number = (uint8_t) (see(p->shared[MLG_FLEX_BACK_AT + chunk]) % 255 + 1);

        p->truth->lent[chunk] = number;
        show(shown_lent(p)[chunk], number);
}

uint32_t mlg_flex_pool_lend(MlgFlexPool *p, uint32_t n, int *ret_error) {
        uint32_t lent = 0, first, run;

        *ret_error = 0;
        while (lent < n && (run = free_run(p, MIN(n - lent, BACK_CHUNKS), &first)) > 0) {
                *ret_error = mlg_memfd_back(p->fd, chunk_at(first), bytes_of(run));
                if (*ret_error < 0)
                        break;
                for (uint32_t c = first; c < first + run; c++)
                        lend_chunk(p, c);
                p->first_free = first + run;
                p->end_lent = MAX(p->end_lent, first + run);
                p->n_lent += run;
                lent += run;
        }
        return lent;
}

static void free_chunks(MlgFlexPool *p, uint32_t first, uint32_t count) {
        if (count == 0)
                return;
        (void) mlg_memfd_punch(p->fd, chunk_at(first), bytes_of(count));
        for (uint32_t c = first; c < first + count; c++) {
                show(shown_lent(p)[c], 0);
                p->truth->lent[c] = 0;
        }
        p->n_lent -= count;
        p->first_free = MIN(p->first_free, first);
}

static uint64_t eight_at(const uint8_t *table, uint32_t at) {
        return __atomic_load_n((const uint64_t *) (const void *) (table + at), __ATOMIC_ACQUIRE);
}

/* One of the eight bytes is 0. */
static bool has_zero(uint64_t v) {
        return ((v - UINT64_C(0x0101010101010101)) & ~v & UINT64_C(0x8080808080808080)) != 0;
}

uint32_t mlg_flex_pool_take_returned(MlgFlexPool *p) {
        const uint8_t *lent = p->truth->lent, *back = p->shared + MLG_FLEX_BACK_AT;
        uint32_t before = p->n_lent, first = 0, count = 0;

        for (uint32_t at = 0; at < p->end_lent; at += sizeof(uint64_t)) {
                uint64_t l = eight_at(lent, at), b;

                if (l == 0)
                        continue;
                b = eight_at(back, at); /* once: it can change at any time */
                if (!has_zero(l ^ b))
                        continue;
                for (uint32_t i = 0; l > 0; i++, l >>= 8, b >>= 8) {
                        if ((l & 0xff) == 0 || (l & 0xff) != (b & 0xff))
                                continue;
                        if (at + i != first + count) {
                                free_chunks(p, first, count);
                                first = at + i;
                                count = 0;
                        }
                        count++;
                }
        }
        free_chunks(p, first, count);
        while (p->end_lent > 0 && lent[p->end_lent - 1] == 0)
                p->end_lent--;
        return before - p->n_lent;
}

uint32_t mlg_flex_pool_lent(const MlgFlexPool *p) {
        return p->n_lent;
}

/* All of it but the header, and the section, if it is to stay. */
static void take_all_back(MlgFlexPool *p, bool section_stays) {
        uint64_t at = section_stays ? MLG_FLEX_SECTION_AT + sizeof(struct mlg_flex_section)
                                    : MLG_FLEX_SECTION_AT;

        (void) mlg_memfd_punch(p->fd, at, p->truth->bytes - at);
        memset(p->truth->lent, 0, p->truth->n_chunks);
        p->n_lent = p->first_free = p->end_lent = 0;
}

static void begin(MlgFlexPool *p, uint32_t session, bool section_stays) {
        Truth *t = p->truth;

        take_all_back(p, section_stays);
        t->epoch = t->epoch == UINT32_MAX ? 1 : t->epoch + 1;
        t->session = session;
        show_header(p); /* session after the epoch */
}

void mlg_flex_pool_begin(MlgFlexPool *p, uint32_t session) {
        begin(p, session, true);
}

void mlg_flex_pool_clear(MlgFlexPool *p) {
        begin(p, 0, false);
}

/* ---- what is backed ---- */

uint64_t mlg_flex_pool_backed_bytes(const MlgFlexPool *p) {
        return mlg_memfd_backed_bytes(p->fd);
}

uint64_t mlg_flex_pool_tables_bytes(const MlgFlexPool *p) {
        uint64_t table = (p->truth->n_chunks + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

        return 2 * table + PAGE_BYTES + sizeof(struct mlg_flex_section); /* lent, back, header, section */
}

/* The end of the run of chunks from `first` on that are free. */
static uint32_t end_of_free(const Truth *t, uint32_t first) {
        while (first < t->n_chunks && t->lent[first] == 0)
                first++;
        return first;
}

uint64_t mlg_flex_pool_sweep(MlgFlexPool *p) {
        uint64_t before = mlg_flex_pool_backed_bytes(p);
        const Truth *t = p->truth;

        if (before <= bytes_of(p->n_lent) + TABLES_BYTES)
                return 0;
        for (uint32_t c = 0, end; c < t->n_chunks; c = MAX(end, c + 1)) {
                end = end_of_free(t, c);
                if (end > c) {
                        off_t data = lseek(p->fd, (off_t) chunk_at(c), SEEK_DATA);

                        if (data < 0)
                                break;
                        if ((uint64_t) data < chunk_at(end))
                                (void) mlg_memfd_punch(p->fd, chunk_at(c), bytes_of(end - c));
                }
        }
        return mlg_sub_sat(before, mlg_flex_pool_backed_bytes(p));
}
