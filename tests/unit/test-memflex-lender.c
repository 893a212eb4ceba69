/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex, the host's end of one guest: sessions, lending at a pace and within what the ledger has,
 * call-backs that are met or late, a guest that goes, and a next process that takes over; time is the test's
 * own. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "fake-keeper.h"
#include "memflex/lender.h"
#include "memlego/memflex-abi.h"
#include "pipe-client.h"
#include "util/util.h"

#define MIB UINT64_C(1048576)
#define POOL (64 * MIB)
#define CHUNK ((uint64_t) MLG_FLEX_CHUNK_BYTES)
#define SEC MLG_USEC_PER_SEC

typedef struct Fixture {
        char *dir, *path;
        MlgFlexLender *lender;
        uint64_t now_usec, room_bytes, charge_bytes, overrun_bytes;
        unsigned int n_joins, n_leaves, n_complaints;
        char last_complaint[256];
        bool refuse;
        MlgIvshmemKept kept;
        PipeClient guest;
} Fixture;

static bool on_join(pid_t pid, void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(pid, getpid());
        f->n_joins += !f->refuse;
        return !f->refuse;
}

static void on_leave(void *userdata) {
        ((Fixture *) userdata)->n_leaves++;
}

static uint64_t on_lend(uint64_t to_bytes, void *userdata) {
        Fixture *f = userdata;
        uint64_t more = mlg_min(mlg_sub_sat(to_bytes, f->charge_bytes), f->room_bytes);

        f->charge_bytes += more;
        f->room_bytes -= more;
        return f->charge_bytes;
}

static void on_charge(uint64_t bytes, void *userdata) {
        Fixture *f = userdata;

        f->overrun_bytes += mlg_sub_sat(bytes, f->room_bytes + f->charge_bytes);
        f->room_bytes = mlg_sub_sat(f->room_bytes + f->charge_bytes, bytes);
        f->charge_bytes = bytes;
}

static void on_complaint(pid_t pid, const char *what, void *userdata) {
        Fixture *f = userdata;

        f->n_complaints++;
        g_strlcpy(f->last_complaint, what, sizeof(f->last_complaint));
}

static void on_keep(const char *name, int fd, void *userdata) {
        fake_keep(&((Fixture *) userdata)->kept, name, fd);
}

static const MlgFlexCallbacks callbacks = {
        .on_join = on_join,
        .on_leave = on_leave,
        .on_lend = on_lend,
        .on_charge = on_charge,
        .on_complaint = on_complaint,
        .on_keep = on_keep,
};

static void start(Fixture *f, MlgIvshmemKept *kept) {
        MlgFlexOptions o = {
                .path = f->path,
                .owner = getuid(),
                .pool_bytes = POOL,
                .quota_bytes = 48 * MIB,
                .callback_usec = 5 * SEC,
                .kept = kept,
        };

        assert_int_equal(mlg_flex_lender_new(&o, &callbacks, f, &f->lender), 0);
}

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);

        f->dir = g_dir_make_tmp("mlg-flex-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "s", NULL);
        f->now_usec = 1000 * SEC;
        f->room_bytes = 1024 * MIB;
        mlg_ivshmem_kept_init(&f->kept);
        f->guest.fd = f->guest.memory_fd = -1;
        for (size_t i = 0; i < G_N_ELEMENTS(f->guest.bells); i++)
                f->guest.bells[i] = -1;
        start(f, NULL);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        pipe_client_close(&f->guest);
        (void) mlg_flex_lender_free(f->lender);
        assert_int_equal(g_access(f->path, F_OK), -1);
        mlg_ivshmem_kept_close(&f->kept);
        (void) g_rmdir(f->dir);
        g_free(f->path);
        g_free(f->dir);
        g_free(f);
        return 0;
}

/* As the loop does: until there is nothing to do now. */
static void turn(Fixture *f) {
        const MlgPollable *p = mlg_flex_lender_pollable(f->lender);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };

        do
                assert_int_equal(p->dispatch(f->now_usec, p->userdata), 0);
        while (poll(&fd, 1, 0) > 0 || p->deadline_usec(p->userdata) <= f->now_usec);
}

static void later(Fixture *f, uint64_t usec) {
        f->now_usec += usec;
        turn(f);
}

/* ---- the guest ---- */

static gpointer connect_guest(gpointer data) {
        Fixture *f = data;

        return GINT_TO_POINTER(pipe_client_connect(&f->guest, f->path));
}

/* Its QEMU waits for what the server says, so somebody else must be it meanwhile. */
static bool come(Fixture *f) {
        GThread *thread = g_thread_new("guest", connect_guest, f);
        const MlgPollable *p = mlg_flex_lender_pollable(f->lender);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };
        unsigned int before = f->n_joins;

        for (int i = 0; i < 300 && f->n_joins == before && !(f->refuse && i > 0); i++) {
                (void) poll(&fd, 1, 100);
                turn(f);
        }
        return GPOINTER_TO_INT(g_thread_join(thread));
}

static struct mlg_flex_header *header(const Fixture *f) {
        return (struct mlg_flex_header *) (void *) f->guest.memory;
}

static struct mlg_flex_section *section(const Fixture *f) {
        return (struct mlg_flex_section *) (void *) (f->guest.memory + MLG_FLEX_SECTION_AT);
}

static void ring(Fixture *f) {
        uint64_t one = 1;

        assert_int_equal(write(f->guest.bells[MLG_FLEX_HOST], &one, sizeof(one)), sizeof(one));
        later(f, 2000); /* the bell is answered once a millisecond */
}

static bool was_rung(const Fixture *f) {
        uint64_t n;

        return read(f->guest.bells[MLG_FLEX_GUEST], &n, sizeof(n)) == sizeof(n);
}

static void begin(Fixture *f, uint32_t session, uint32_t want) {
        later(f, SEC);
        (void) was_rung(f);
        *section(f) = (struct mlg_flex_section){ .session = session };
        ring(f);
        assert_int_equal(header(f)->session, session);
        assert_true(was_rung(f));
        section(f)->epoch = header(f)->epoch;
        section(f)->want_chunks = want;
        section(f)->version = MLG_FLEX_VERSION;
        ring(f);
}

static uint32_t n_lent(const Fixture *f) {
        uint32_t n = 0;

        for (uint32_t c = 0; c < header(f)->n_chunks; c++)
                n += f->guest.memory[MLG_FLEX_LENT_AT + c] > 0;
        return n;
}

/* The guest returns so many of those it has. */
static void give_back(Fixture *f, uint32_t n) {
        const uint8_t *lent = f->guest.memory + MLG_FLEX_LENT_AT;
        uint8_t *back = f->guest.memory + MLG_FLEX_BACK_AT;

        for (uint32_t c = header(f)->n_chunks; c > 0 && n > 0; c--)
                if (lent[c - 1] && lent[c - 1] != back[c - 1]) {
                        back[c - 1] = lent[c - 1];
                        n--;
                }
        assert_int_equal(n, 0);
        ring(f);
}

static MlgSwapStatus status(const Fixture *f) {
        MlgSwapStatus s;

        mlg_flex_lender_status(f->lender, &s);
        return s;
}

static void lend_all(Fixture *f, uint32_t n) {
        for (int i = 0; i < 20 && n_lent(f) < n; i++)
                later(f, 50000);
        assert_int_equal(n_lent(f), n);
}

/* ---- */

static void test_starting(void **state) {
        Fixture *f = *state;

        assert_int_equal(status(f).state, MLG_SWAP_STATE_WAITING);
        assert_true(come(f));
        assert_int_equal(f->guest.bytes, POOL);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_SILENT);
        mlg_flex_lender_set_target(f->lender, 20 * MIB);
        later(f, SEC);
        assert_int_equal(n_lent(f), 0); /* no module, nothing lent */
        begin(f, 0xabc, 8);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_TALKS);
        assert_int_equal(n_lent(f), 8);
        assert_true(was_rung(f));
        assert_int_equal(status(f).lent_kib, 8 * CHUNK / 1024);
        assert_true(f->charge_bytes >= 8 * CHUNK);

        /* Its successor after a reboot. */
        section(f)->version = 0;
        begin(f, 0xdef, 0);
        assert_int_equal(n_lent(f), 0);
        assert_true(f->charge_bytes < MIB);
        assert_int_equal(f->n_complaints, 0);
}

/* Nobody speaks for a guest that was reset and loads no module. But the news may be older than the module. */
static void test_reset(void **state) {
        Fixture *f = *state;
        uint32_t epoch;

        assert_true(come(f));
        mlg_flex_lender_set_target(f->lender, 20 * MIB);
        begin(f, 1, 8);
        lend_all(f, 8);
        epoch = header(f)->epoch;
        mlg_flex_lender_guest_reset(f->lender);
        later(f, 3 * SEC);
        section(f)->alive++;
        for (int i = 0; i < 20; i++)
                later(f, SEC);
        assert_int_equal(n_lent(f), 8);
        assert_int_equal(header(f)->epoch, epoch);

        mlg_flex_lender_guest_reset(f->lender);
        for (int i = 0; i < 9; i++)
                later(f, SEC);
        assert_int_equal(n_lent(f), 8);
        (void) was_rung(f);
        later(f, 2 * SEC);
        assert_int_equal(n_lent(f), 0);
        assert_true(f->charge_bytes < MIB);
        assert_int_equal(header(f)->epoch, epoch + 1); /* who lived in spite of all sees that nothing is true any more */
        assert_true(was_rung(f));
        assert_int_equal(status(f).state, MLG_SWAP_STATE_SILENT);
        later(f, SEC);
        assert_int_equal(n_lent(f), 0);
        begin(f, 2, 8);
        lend_all(f, 8);

        /* One that starts in time has a clean pool, and keeps what it gets. */
        mlg_flex_lender_guest_reset(f->lender);
        later(f, 5 * SEC);
        section(f)->version = 0;
        begin(f, 3, 8);
        lend_all(f, 8);
        for (int i = 0; i < 20; i++)
                later(f, SEC);
        assert_int_equal(n_lent(f), 8);
        assert_int_equal(f->n_complaints, 0);
}

/* Want, target, quota, room, and the pace. */
static void test_lending(void **state) {
        Fixture *f = *state;

        assert_true(come(f));
        begin(f, 1, 1000);
        assert_int_equal(n_lent(f), 0); /* no target yet */
        mlg_flex_lender_set_target(f->lender, 1024 * MIB);
        assert_int_equal(header(f)->target_chunks, 48 * 4);
        turn(f);
        assert_int_equal(n_lent(f), 64);
        ring(f);
        ring(f);
        assert_int_equal(n_lent(f), 64);
        later(f, 50000);
        assert_int_equal(n_lent(f), 128);
        later(f, 50000);
        assert_int_equal(n_lent(f), 192);
        later(f, SEC);
        assert_int_equal(n_lent(f), 192); /* the quota */

        section(f)->want_chunks = 10;
        give_back(f, 100);
        assert_int_equal(n_lent(f), 92);
        f->room_bytes = 5 * CHUNK;
        section(f)->want_chunks = 1000;
        later(f, SEC);
        assert_int_equal(n_lent(f), 97);
        assert_int_equal(f->n_complaints, 0);
}

/* With room for its chunks to the byte, there is none for its tables. */
static void test_tables_are_asked_for(void **state) {
        Fixture *f = *state;

        assert_true(come(f));
        f->room_bytes = 3 * CHUNK;
        mlg_flex_lender_set_target(f->lender, 40 * CHUNK);
        begin(f, 1, 1000);
        later(f, SEC);
        assert_int_equal(n_lent(f), 2);
        assert_int_equal(f->overrun_bytes, 0);
        assert_int_equal(f->charge_bytes, 2 * CHUNK + mlg_flex_lender_tables_bytes(f->lender));
        f->room_bytes = CHUNK;
        later(f, SEC);
        assert_int_equal(n_lent(f), 3);
        assert_int_equal(f->overrun_bytes, 0);
        assert_int_equal(f->room_bytes, 0);
        assert_true(mlg_flex_lender_backed_bytes(f->lender) <= f->charge_bytes);
}

static void test_call_back_met(void **state) {
        Fixture *f = *state;

        assert_true(come(f));
        mlg_flex_lender_set_target(f->lender, 40 * CHUNK);
        begin(f, 1, 1000);
        lend_all(f, 40);
        (void) was_rung(f);
        mlg_flex_lender_set_target(f->lender, 10 * CHUNK);
        turn(f);
        assert_true(was_rung(f));
        assert_int_equal(header(f)->target_chunks, 10);
        assert_int_equal(n_lent(f), 40);
        later(f, 2 * SEC);
        give_back(f, 20);
        /* More is called back while it still gives: that has a time of its own. */
        mlg_flex_lender_set_target(f->lender, 0);
        later(f, 2 * SEC);
        give_back(f, 10);
        later(f, 4 * SEC);
        assert_int_equal(status(f).late, 0);
        give_back(f, 10);
        assert_int_equal(n_lent(f), 0);
        assert_int_equal(status(f).called_back, 2);
        assert_int_equal(status(f).met, 2);
        assert_int_equal(status(f).late, 0);
        assert_true(f->charge_bytes < MIB);
        assert_int_equal(f->n_complaints, 0);
        mlg_flex_lender_set_target(f->lender, 5 * CHUNK);
        later(f, SEC);
        assert_int_equal(n_lent(f), 5);
}

static void test_call_back_late(void **state) {
        Fixture *f = *state;

        assert_true(come(f));
        mlg_flex_lender_set_target(f->lender, 40 * CHUNK);
        begin(f, 1, 1000);
        lend_all(f, 40);
        mlg_flex_lender_set_target(f->lender, 10 * CHUNK);
        turn(f);
        later(f, 6 * SEC);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_LATE);
        assert_int_equal(status(f).late, 1);
        assert_int_equal(f->n_complaints, 1);
        later(f, 60 * SEC);
        assert_int_equal(n_lent(f), 40); /* nothing is taken by force */
        mlg_flex_lender_set_target(f->lender, 100 * CHUNK);
        later(f, SEC);
        assert_int_equal(n_lent(f), 40);
        mlg_flex_lender_set_target(f->lender, 10 * CHUNK);
        give_back(f, 35);
        assert_int_equal(n_lent(f), 5);
        later(f, 58 * SEC);
        assert_int_equal(n_lent(f), 5);
        later(f, 3 * SEC);
        assert_int_equal(n_lent(f), 10);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_TALKS);
        assert_int_equal(status(f).met, 0);
}

static void test_hostile(void **state) {
        Fixture *f = *state;
        uint64_t lent = 0;

        assert_true(come(f));
        mlg_flex_lender_set_target(f->lender, 40 * CHUNK);
        begin(f, 1, 20);
        lend_all(f, 20);
        memset(f->guest.memory + MLG_FLEX_CHUNKS_AT, 0xee, POOL - MLG_FLEX_CHUNKS_AT);
        later(f, SEC);
        assert_string_equal(f->last_complaint, "it wrote where nothing was lent to it; that was taken back");
        assert_in_range(mlg_flex_lender_backed_bytes(f->lender), 20 * CHUNK, 20 * CHUNK + MIB);
        memset(f->guest.memory, 0xee, 64);
        later(f, SEC);
        assert_string_equal(f->last_complaint,
                            "it wrote over the host's words in its pool; they were put right");
        assert_true(header(f)->magic == MLG_FLEX_MAGIC);

        /* Gives back at once what it is lent, and wants it again: a second has 20 paces of 16 MiB. */
        section(f)->want_chunks = 1000;
        mlg_flex_lender_set_target(f->lender, 1024 * MIB);
        for (int ms = 0; ms < 1000; ms += 2) {
                uint32_t n = n_lent(f);

                lent += n;
                if (n > 0)
                        give_back(f, n);
                else
                        ring(f);
        }
        assert_in_range(lent, 1, 21 * 64 + 20);
        /* A new session each time. */
        for (uint32_t i = 0; i < 100; i++) {
                section(f)->session = 1000 + i;
                ring(f);
        }
        assert_in_range(status(f).epoch, 2, 7);
        assert_true(f->charge_bytes <= 48 * MIB + MIB);
}

static void test_going(void **state) {
        Fixture *f = *state;

        f->refuse = true;
        assert_false(come(f));
        f->refuse = false;
        assert_true(come(f));
        mlg_flex_lender_set_target(f->lender, 40 * CHUNK);
        begin(f, 1, 20);
        lend_all(f, 20);
        memset(f->guest.memory + MLG_FLEX_CHUNKS_AT, 0xee, 20 * CHUNK);
        pipe_client_close(&f->guest);
        turn(f);
        assert_int_equal(f->n_leaves, 1);
        assert_true(f->charge_bytes < MIB);
        assert_true(mlg_flex_lender_backed_bytes(f->lender) < MIB);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_WAITING);
        assert_true(come(f));
        assert_int_equal(f->guest.memory[MLG_FLEX_CHUNKS_AT], 0);
        assert_int_equal(header(f)->session, 0);
        begin(f, 1, 20); /* the same number by chance */
        lend_all(f, 20);
}

/* The next process, with the guest's pages in the pool. */
static void test_taking_over(void **state) {
        Fixture *f = *state;
        MlgIvshmemKept kept;

        assert_true(come(f));
        mlg_flex_lender_set_target(f->lender, 40 * CHUNK);
        begin(f, 7, 30);
        lend_all(f, 30);
        memset(f->guest.memory + MLG_FLEX_CHUNKS_AT, 0x77, 30 * CHUNK);
        kept = f->kept;
        mlg_ivshmem_kept_init(&f->kept);
        mlg_flex_lender_leave_to_next(f->lender); /* killed, that is */
        (void) mlg_flex_lender_free(f->lender);
        f->charge_bytes = 0;
        f->room_bytes = 1024 * MIB;
        start(f, &kept);
        assert_int_equal(f->n_joins, 2);
        assert_int_equal(f->n_leaves, 0);
        turn(f);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_TALKS);
        assert_int_equal(status(f).lent_kib, 30 * CHUNK / 1024);
        assert_int_equal(n_lent(f), 30);
        assert_int_equal(f->guest.memory[MLG_FLEX_CHUNKS_AT + 30 * CHUNK - 1], 0x77);
        assert_true(f->charge_bytes >= 30 * CHUNK);
        give_back(f, 30);
        assert_int_equal(status(f).lent_kib,
                         30 * CHUNK / 1024); /* it still wants as much, under its target */
        assert_int_equal(f->guest.memory[MLG_FLEX_CHUNKS_AT], 0);

        /* Gone while nobody served it. */
        kept = f->kept;
        mlg_ivshmem_kept_init(&f->kept);
        mlg_flex_lender_leave_to_next(f->lender);
        (void) mlg_flex_lender_free(f->lender);
        pipe_client_close(&f->guest);
        start(f, &kept);
        turn(f);
        assert_int_equal(status(f).state, MLG_SWAP_STATE_WAITING);
        assert_int_equal(status(f).lent_kib, 0);
        assert_true(mlg_flex_lender_backed_bytes(f->lender) < MIB);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_starting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lending, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tables_are_asked_for, setup, teardown),
                cmocka_unit_test_setup_teardown(test_call_back_met, setup, teardown),
                cmocka_unit_test_setup_teardown(test_call_back_late, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
                cmocka_unit_test_setup_teardown(test_going, setup, teardown),
                cmocka_unit_test_setup_teardown(test_taking_over, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
