/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor protocol: frames to bytes and back, streams that begin in the middle, and the guest's end: what the kernel
 * says, and what of it is said to the host. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "../../guest-agent/monitor/order.h"
#include "../../guest-agent/monitor/session.h"
#include "../../guest-agent/monitor/stack.h"
#include "memlego/sample.h"

static MlgMonitorFrame example(void) {
        MlgMonitorFrame f = { .type = MLG_MONITOR_REPORT, .session = 0x12345678, .sequence = 7, .ack = 3 };

        assert_true(mlg_monitor_frame_add(&f, MLG_FIELD_TOTAL, 1000));
        assert_true(mlg_monitor_frame_add(&f, MLG_FIELD_PSI_SOME, UINT64_MAX - 1));
        return f;
}

static void test_there_and_back(void **state) {
        MlgMonitorFrame f = example(), g;
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        size_t n = mlg_monitor_pack(&f, bytes);
        uint64_t v = 0;

        assert_int_equal(n, MLG_MONITOR_HEADER_BYTES + 2 * 9);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(mlg_monitor_unpack(bytes, i, &g), 0); /* each beginning of it waits for more */
        assert_int_equal(mlg_monitor_unpack(bytes, n, &g), n);
        assert_int_equal(g.type, MLG_MONITOR_REPORT);
        assert_int_equal(g.session, 0x12345678);
        assert_int_equal(g.sequence, 7);
        assert_int_equal(g.ack, 3);
        assert_int_equal(g.n_fields, 2);
        assert_true(mlg_monitor_frame_get(&g, MLG_FIELD_PSI_SOME, &v));
        assert_true(v == UINT64_MAX - 1);
        assert_false(mlg_monitor_frame_get(&g, MLG_FIELD_FREE, &v));
}

static void test_the_most_fields(void **state) {
        MlgMonitorFrame f = { .type = MLG_MONITOR_REPORT }, g;
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];

        for (int i = 0; i < MLG_MONITOR_FIELDS_MAX; i++)
                assert_true(mlg_monitor_frame_add(&f, MLG_FIELD_FREE, (uint64_t) i));
        assert_false(mlg_monitor_frame_add(&f, MLG_FIELD_FREE, 1));
        assert_int_equal(mlg_monitor_pack(&f, bytes), MLG_MONITOR_FRAME_MAX);
        assert_int_equal(mlg_monitor_unpack(bytes, sizeof(bytes), &g), MLG_MONITOR_FRAME_MAX);
        assert_int_equal(g.n_fields, MLG_MONITOR_FIELDS_MAX);
}

static void test_damage(void **state) {
        static const struct {
                const char *what;
                size_t offset;
                uint8_t value;
                int r;
        } rows[] = {
                { "magic", 0, 'X', -EBADMSG }, { "version", 4, 2, -EPROTONOSUPPORT }, { "type", 5, 99, -EBADMSG },
                { "size, too long", 7, 0xff, -EMSGSIZE }, { "size, no whole fields", 6, 17, -EBADMSG },
                { "size, one field less", 6, 9, -EBADMSG }, { "session", 8, 1, -EBADMSG }, { "sum", 20, 0, -EBADMSG },
                { "payload", 30, 0x55, -EBADMSG },
        };
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        MlgMonitorFrame f, before;
        size_t n;
        int r;

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                f = example();
                n = mlg_monitor_pack(&f, bytes);
                assert_true(bytes[rows[i].offset] != rows[i].value);
                bytes[rows[i].offset] = rows[i].value;
                memset(&before, 0x5a, sizeof(before));
                f = before;
                r = mlg_monitor_unpack(bytes, n, &f);
                if (r != rows[i].r)
                        fail_msg("%s: %d, wanted %d", rows[i].what, r, rows[i].r);
                assert_memory_equal(&f, &before, sizeof(f));
        }
}

static void feed(MlgMonitorStream *s, const uint8_t *bytes, size_t n) {
        size_t room;
        uint8_t *to = mlg_monitor_stream_room(s, &room);

        assert_true(n <= room);
        memcpy(to, bytes, n);
        mlg_monitor_stream_filled(s, n);
}

/* Wherever the first connection broke off, the next one's first frame is found. */
static void test_a_stream_that_begins_in_the_middle(void **state) {
        MlgMonitorFrame f = example(), g;
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        size_t n = mlg_monitor_pack(&f, bytes);

        for (size_t cut = 1; cut < n; cut++)
                for (int from_front = 0; from_front < 2; from_front++) {
                        MlgMonitorStream s = { .n = 0 };
                        unsigned int found = 0;

                        feed(&s, from_front ? bytes : bytes + cut, from_front ? cut : n - cut);
                        assert_int_equal(mlg_monitor_stream_next(&s, &g), 0);
                        for (int k = 0; k < 3; k++) { /* the beginning of a lost one may swallow what follows it */
                                feed(&s, bytes, n);
                                while (mlg_monitor_stream_next(&s, &g) == 1)
                                        found++;
                        }
                        assert_int_equal(found, 3);
                        assert_true(s.in_step);
                        assert_int_equal(s.skipped, from_front ? cut : n - cut);
                }
}

static void test_damage_after_the_first_frame_is_an_error(void **state) {
        MlgMonitorStream s = { .n = 0 };
        MlgMonitorFrame f = example(), g;
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        size_t n = mlg_monitor_pack(&f, bytes);

        feed(&s, bytes, n);
        feed(&s, (const uint8_t *) "garbage", 7);
        assert_int_equal(mlg_monitor_stream_next(&s, &g), 1);
        assert_int_equal(mlg_monitor_stream_next(&s, &g), -EBADMSG);
}

static void test_there_is_always_room(void **state) {
        MlgMonitorStream s = { .n = 0 };
        MlgMonitorFrame g;
        size_t room;

        for (int i = 0; i < 10000; i++) {
                uint8_t *to = mlg_monitor_stream_room(&s, &room);

                assert_true(room > 0);
                for (size_t k = 0; k < room; k++)
                        to[k] = (uint8_t) "MLGm\x01\x02\x00\x00"[(i + k * 7) % 8];
                mlg_monitor_stream_filled(&s, room);
                while (mlg_monitor_stream_next(&s, &g) > 0)
                        ;
        }
}

/* ---- what the kernel says ---- */

static const char meminfo[] = "MemTotal:         156868 kB\nMemFree:           98700 kB\nMemAvailable:     102616 kB\n"
                              "Buffers:               0 kB\nSwapCached:            0 kB\nActive:             1200 kB\n"
                              "Inactive:           7400 kB\nActive(anon):       1100 kB\nUnevictable:  lots\n";
static const char vmstat[] = "nr_free_pages 24675\npswpin 3\npswpout 11\npgmajfault 40\nworkingset_refault_anon 5\n"
                             "workingset_refault_file 7\nworkingset_refault_anonymous 1000\npswp 9\noom_kill 2\npswpin";
static const char pressure[] = "some avg10=1.25 avg60=0.30 avg300=0.07 total=123456\n"
                               "full avg10=0.00 avg60=0.00 avg300=0.00 total=654\n";
static const char lru_gen[] = "memcg     1 /\n node     0\n"
                              "          4     900000       100         20 \n"  /* untouched since 5 began, 500 s ago */
                              "          5     500000        30          5 \n"
                              "          6     100000        10         -1 \n"
                              "          7      20000       500        600 \n"
                              "memcg     2 /quiet\n node     0\n" /* looked at last too long ago */
                              "          0    9000000      1000       1000 \n"
                              "          1    8000000      1000       1000 \n"
                              "          2    7000000      1000       1000 \n";

static void test_facts(void **state) {
        static const struct {
                int id;
                uint64_t value;
        } rows[] = {
                { MLG_FIELD_TOTAL, 156868 }, { MLG_FIELD_AVAILABLE, 102616 }, { MLG_FIELD_FREE, 98700 },
                { MLG_FIELD_ACTIVE, 1200 }, { MLG_FIELD_INACTIVE, 7400 }, { MLG_FIELD_SWAP_IN, 12 },
                { MLG_FIELD_SWAP_OUT, 44 }, { MLG_FIELD_MAJOR_FAULTS, 40 }, { MLG_FIELD_REFAULTS, 48 },
                { MLG_FIELD_PSI_SOME, 123456 }, { MLG_FIELD_PSI_FULL, 654 }, { MLG_FIELD_OOM_KILLS, 2 },
                { MLG_FIELD_COLD, 480 }, { MLG_FIELD_COLD_AGE, 120 },
        };
        MlgFacts f = { .known = 0 };

        mlg_facts_parse_meminfo(meminfo, &f);
        mlg_facts_parse_vmstat(vmstat, 4, &f);
        mlg_facts_parse_pressure(pressure, &f);
        mlg_facts_parse_lru_gen(lru_gen, 4, &f);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                assert_true(f.known & MLG_FIELD_BIT(rows[i].id));
                if (f.values[MLG_FACT(rows[i].id)] != rows[i].value)
                        fail_msg("field %d: %llu", rows[i].id, (unsigned long long) f.values[MLG_FACT(rows[i].id)]);
        }
        assert_int_equal(mlg_monitor_features(f.known),
                         MLG_MONITOR_SIZES | MLG_MONITOR_LISTS | MLG_MONITOR_SWAP | MLG_MONITOR_FAULTS | MLG_MONITOR_REFAULTS |
                                 MLG_MONITOR_PSI | MLG_MONITOR_OOM | MLG_MONITOR_COLD);
}

static void test_facts_that_are_not_there(void **state) {
        MlgFacts f = { .known = 0 };

        mlg_facts_parse_meminfo("MemTotal:\nMemFree: -3 kB\nMemAvailable", &f);
        mlg_facts_parse_vmstat("pswpin x\n\npswpout", 4, &f);
        mlg_facts_parse_meminfo("SwapTotal: 5 kB\nSwapFree: 1 kB\nSwapC: 1 kB\n", &f);
        mlg_facts_parse_pressure("some avg10=0.00\nfull\nother total=5\n", &f);
        mlg_facts_parse_lru_gen("memcg 1 /\n node 0\n", 4, &f);
        assert_int_equal(f.known, 0);
}

/* What is out, and not in memory as well. */
static void test_swapped(void **state) {
        static const struct {
                const char *text;
                uint64_t value;
        } rows[] = {
                { "SwapCached: 10 kB\nMemFree: 5 kB\nSwapTotal: 1000 kB\nSwapFree: 600 kB\n", 390 },
                { "SwapCached: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n", 0 },
                { "SwapCached: 900 kB\nSwapTotal: 1000 kB\nSwapFree: 600 kB\n", 0 }, /* not of one moment */
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                MlgFacts f = { .known = 0 };

                mlg_facts_parse_meminfo(rows[i].text, &f);
                assert_true(mlg_monitor_features(f.known) & MLG_MONITOR_SWAPPED);
                assert_true(f.values[MLG_FACT(MLG_FIELD_SWAPPED)] == rows[i].value);
        }
}

static void put_file(const char *dir, const char *path, const char *text) {
        g_autofree char *full = g_build_filename(dir, path, NULL), *parent = g_path_get_dirname(full);

        assert_int_equal(g_mkdir_with_parents(parent, 0700), 0);
        assert_true(g_file_set_contents(full, text, -1, NULL));
}

/* meminfo and vmstat are read when there is something to see, and now and then; pressure always. The counter of OOM kills tells
 * here which reading is told. */
static void test_calm(void **state) {
        static const struct {
                const char *what, *pressure;
                uint64_t free_kib, told; /* number of the reading that is told */
        } rows[] = {
                { "first", "some total=5\n", 90000, 0 },
                { "calm", "some total=5\n", 90100, 0 },
                { "somebody waited", "some total=6\n", 90100, 2 },
                { "less is free", "some total=6\n", 80000, 3 },
                { "more is free", "some total=6\n", 81024, 4 },
                { "calm, once", "some total=6\n", 81024, 4 },
                { "twice", "some total=6\n", 80100, 4 },
                { "three times", "some total=6\n", 81024, 4 },
                { "four times", "some total=6\n", 81024, 4 },
                { "that will do", "some total=6\n", 81024, 9 },
                { "calm again", "some total=6\n", 81024, 9 },
                { "bit by bit", "some total=6\n", 80500, 9 },
                { "it adds up", "some total=6\n", 80000, 12 },
                { "stalls are not known", "", 80000, 13 },
                { "still not", "", 80000, 14 },
        };
        g_autofree char *dir = g_dir_make_tmp("mlg-facts-XXXXXX", NULL), *command = g_strdup_printf("rm -r '%s'", dir);
        FactsReader r = {};
        MlgFacts f;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *memory = g_strdup_printf("MemTotal: 200000 kB\nMemAvailable: %zu kB\n", i);
                g_autofree char *counters = g_strdup_printf("nr_free_pages 7\noom_kill %zu\n", i);
                FactsReader opened;

                put_file(dir, "proc/meminfo", memory);
                put_file(dir, "proc/pressure/memory", rows[i].pressure);
                put_file(dir, "proc/vmstat", counters);
                assert_int_equal(facts_open(&opened, dir), 0); /* these files are new ones, unlike /proc's */
                r.meminfo = opened.meminfo;
                r.pressure = opened.pressure;
                r.vmstat = opened.vmstat;
                r.lru_gen = -1;
                facts_read(&r, i, rows[i].free_kib, &f);
                facts_close(&opened);
                if (f.values[MLG_FACT(MLG_FIELD_OOM_KILLS)] != rows[i].told ||
                    f.values[MLG_FACT(MLG_FIELD_AVAILABLE)] != rows[i].told)
                        fail_msg("%s: %d, %d", rows[i].what, (int) f.values[MLG_FACT(MLG_FIELD_OOM_KILLS)],
                                 (int) f.values[MLG_FACT(MLG_FIELD_AVAILABLE)]);
        }
        assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
}

/* In a guest of 8 GiB 8 MiB are nothing. */
static void test_calm_goes_by_size(void **state) {
        static const struct {
                uint64_t free_kib, told;
        } rows[] = { { 4000000, 1 }, { 4008191, 1 }, { 3991809, 1 }, { 4008192, 4 } };
        g_autofree char *dir = g_dir_make_tmp("mlg-facts-XXXXXX", NULL), *command = g_strdup_printf("rm -r '%s'", dir);
        FactsReader r = {};
        MlgFacts f;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *memory = g_strdup_printf("MemTotal: 8388608 kB\nMemAvailable: %zu kB\n", i + 1);
                FactsReader opened;

                put_file(dir, "proc/meminfo", memory);
                put_file(dir, "proc/pressure/memory", "some total=1\n");
                assert_int_equal(facts_open(&opened, dir), 0);
                r.meminfo = opened.meminfo;
                r.pressure = opened.pressure;
                r.vmstat = r.lru_gen = -1;
                facts_read(&r, i, rows[i].free_kib, &f);
                facts_close(&opened);
                assert_int_equal(f.values[MLG_FACT(MLG_FIELD_AVAILABLE)], rows[i].told);
        }
        assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
}

/* ---- what of it is said ---- */

static MlgFacts facts_of(uint64_t available, uint64_t some) {
        MlgFacts f = { .known = MLG_FIELD_BIT(MLG_FIELD_AVAILABLE) | MLG_FIELD_BIT(MLG_FIELD_PSI_SOME) };

        f.values[MLG_FACT(MLG_FIELD_AVAILABLE)] = available;
        f.values[MLG_FACT(MLG_FIELD_PSI_SOME)] = some;
        return f;
}

static uint32_t report(Session *s, MlgFacts f, bool is_sent) {
        MlgMonitorFrame frame;

        session_report(s, &f, false, &frame);
        if (is_sent)
                session_sent(s);
        return frame.n_fields;
}

static void hear(Session *s, MlgMonitorType type, uint32_t session, uint32_t ack) {
        MlgMonitorFrame f = { .type = (uint8_t) type, .session = session, .sequence = 1, .ack = ack };
        bool is_new;

        (void) session_take(s, &f, &is_new);
}

static void test_only_what_changed_since_an_acknowledged_report(void **state) {
        Session s = { .id = 0 };

        hear(&s, MLG_MONITOR_HELLO, 5, 0);
        assert_int_equal(s.id, 5);
        assert_int_equal(report(&s, facts_of(100, 1), true), 2); /* 1: all */
        assert_int_equal(report(&s, facts_of(100, 1), true), 2); /* 2: not acknowledged yet */
        hear(&s, MLG_MONITOR_ACK, 5, 1);
        assert_int_equal(report(&s, facts_of(100, 1), true), 0); /* 3 */
        assert_int_equal(report(&s, facts_of(90, 1), true), 1);  /* 4 */
        assert_int_equal(report(&s, facts_of(90, 1), true), 1);  /* 5: 4 may be lost */
        hear(&s, MLG_MONITOR_ACK, 5, 3);
        assert_int_equal(report(&s, facts_of(90, 1), true), 1);  /* 6 */
        hear(&s, MLG_MONITOR_ACK, 5, 6);
        assert_int_equal(report(&s, facts_of(90, 1), true), 0);  /* 7 */
        assert_int_equal(report(&s, facts_of(80, 2), false), 2); /* could not be written */
        assert_int_equal(report(&s, facts_of(80, 2), true), 2);  /* 8 */
        hear(&s, MLG_MONITOR_ACK, 5, 99);                        /* of something that was never sent */
        assert_int_equal(report(&s, facts_of(80, 2), true), 2);
        hear(&s, MLG_MONITOR_ACK, 4, 8);                         /* of another session */
        assert_int_equal(report(&s, facts_of(80, 2), true), 2);
        hear(&s, MLG_MONITOR_HELLO, 6, 0);
        assert_int_equal(report(&s, facts_of(80, 2), true), 2);  /* a new host knows nothing */
}

static void test_a_host_that_asks_too_much(void **state) {
        MlgMonitorFrame f = { .type = MLG_MONITOR_HELLO, .session = 9 };
        Session s = { .id = 0 };
        bool is_new;

        (void) mlg_monitor_frame_add(&f, MLG_FIELD_INTERVAL, 0);
        (void) mlg_monitor_frame_add(&f, MLG_FIELD_WINDOW, UINT64_MAX);
        (void) mlg_monitor_frame_add(&f, MLG_FIELD_STALL, UINT64_MAX);
        assert_true(session_take(&s, &f, &is_new));
        assert_true(is_new);
        assert_int_equal(s.interval_usec, MLG_MONITOR_INTERVAL_LEAST_USEC);
        assert_int_equal(s.window_usec, MLG_MONITOR_WINDOW_MOST_USEC);
        assert_int_equal(s.stall_usec, s.window_usec);
}

/* ---- orders ---- */

static void order(Session *s, uint32_t session, uint64_t number, uint64_t kib) {
        MlgMonitorFrame f = { .type = MLG_MONITOR_SWAP_IN, .session = session, .sequence = 2 };
        bool is_new;

        assert_true(mlg_monitor_frame_add(&f, MLG_FIELD_ORDER_NUMBER, number));
        assert_true(mlg_monitor_frame_add(&f, MLG_FIELD_ORDER_KIB, kib));
        assert_false(session_take(s, &f, &is_new)); /* no settings */
        assert_false(is_new);
}

static void test_order(void **state) {
        MlgMonitorFrame empty = { .type = MLG_MONITOR_SWAP_IN, .session = 5, .sequence = 3 };
        Session s = { .id = 0 };
        bool is_new;

        order(&s, 5, 1, 100); /* nobody has said hello */
        assert_int_equal(s.order_number, 0);
        hear(&s, MLG_MONITOR_HELLO, 5, 0);
        order(&s, 4, 1, 100); /* of another session */
        assert_int_equal(s.order_number, 0);
        order(&s, 5, 1, 0);
        assert_int_equal(s.order_number, 0);
        order(&s, 5, 1, 100);
        order(&s, 5, 1, 700); /* said again */
        assert_int_equal(s.order_kib, 100);
        order(&s, 5, 3, 300);
        order(&s, 5, 2, 200); /* an older one */
        (void) session_take(&s, &empty, &is_new);
        assert_int_equal(s.order_number, 3);
        assert_int_equal(s.order_kib, 300);
        hear(&s, MLG_MONITOR_HELLO, 6, 0);
        assert_int_equal(s.order_number, 0);
}

static void test_order_lines(void **state) {
        uint64_t st = 77, done = 77;

        assert_true(order_parse("state=waiting done_kib=5 swapped_kib=9 usec=1", &st, &done));
        assert_int_equal(st, MLG_SWAP_IN_RUNNING);
        assert_int_equal(done, 5);
        assert_true(order_parse("state=watermark done_kib=6", &st, &done));
        assert_int_equal(st, MLG_SWAP_IN_WATERMARK);
        assert_false(order_parse("state=lost done_kib=7", &st, &done));
        assert_false(order_parse("state=donedonedonedonedonedone done_kib=7", &st, &done));
        assert_false(order_parse("done_kib=7", &st, &done));
        assert_false(order_parse("", &st, &done));
        assert_int_equal(done, 6);
}

static void run_order(const char *script, MlgSwapInState want, uint64_t want_kib) {
        g_autofree char *dir = g_dir_make_tmp("mlg-order-XXXXXX", NULL), *program = g_build_filename(dir, "p", NULL);
        Order o = { .program = program, .out = -1 };
        GPollFD p = { .events = G_IO_IN };

        assert_true(g_file_set_contents(program, script, -1, NULL));
        assert_int_equal(g_chmod(program, 0700), 0);
        order_take(&o, 1, 1000);
        order_take(&o, 2, 5000); /* the same, for another number */
        assert_int_equal(o.number, 2);
        do {
                p.fd = o.out;
                assert_int_equal(g_poll(&p, 1, 20000), 1);
        } while (!order_readable(&o));
        assert_int_equal(o.out, -1);
        assert_int_equal(o.state, want);
        assert_int_equal(o.done_kib, want_kib);
        (void) g_unlink(program);
        (void) g_rmdir(dir);
}

static void test_order_is_carried_out(void **state) {
        Order none = { .program = "/nonexistent/p", .out = -1 };

        run_order("#!/bin/sh\n[ \"$*\" = \"swap-in --report --limit 1\" ] || exit 1\n"
                  "echo state=running done_kib=1; printf 'state=limit done'; printf '_kib=1024 usec=1\\n'\n",
                  MLG_SWAP_IN_LIMIT, 1024);
        run_order("#!/bin/sh\necho state=running done_kib=3\n", MLG_SWAP_IN_FAILED, 3);
        run_order("#!/bin/sh\nhead -c 3000 /dev/zero | tr '\\0' x; echo; echo state=done done_kib=9\n", MLG_SWAP_IN_DONE, 9);
        order_take(&none, 1, 1000);
        assert_int_equal(none.state, MLG_SWAP_IN_FAILED);
}

/* What the module's files say, in a directory instead of /sys. */
static void test_stack_facts(void **state) {
        static const struct {
                const char *what, *files[4]; /* calls, held, refused, violations; NULL: it is not there */
                bool known;
        } rows[] = {
                { "as they are", { "10 9 8 7 6 5000\n", "1 4096 2\n", "1 2 3 4 5 6 7\n", "11 12 13 14 15 16\n" }, true },
                { "of a later version",
                  { "10 9 8 7 6 5000 1 1\n", "1 4096 2 1\n", "1 2 3 4 5 6 7 8 9\n", "11 12 13 14 15 16 17 18\n" },
                  true },
                { "of an earlier one", { "10\n", "1 4096 2\n", "1 2 3 4 5 6 7\n", "11 12 13\n" }, false },
                { "negative", { "10\n", "1 -4096 2\n", "1 2 3 4 5 6 7\n", "11 12 13 14 15 16\n" }, false },
                { "too great", { "99999999999999999999999\n", "1 4096\n", "1 2 3 4 5 6 7\n", "11 12 13 14 15 16\n" }, false },
                { "empty", { "", "", "", "" }, false },
                { "words", { "a b\n", "1 4096\n", "1 2 3 4 5 6 7\n", "11 12 13 14 15 16\n" }, false },
                { "one is missing", { "10\n", NULL, "1 2 3 4 5 6 7\n", "11 12 13 14 15 16\n" }, false },
                { "no module", { NULL, NULL, NULL, NULL }, false },
        };
        static const char *const names[] = { "call_stat", "held_stat", "refused_stat", "violation_stat" };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *root = g_dir_make_tmp("mlg-stack-XXXXXX", NULL),
                                *dir = g_build_filename(root, "sys/class/misc/securestack", NULL);
                MlgFacts f = { .known = MLG_FIELD_BIT(MLG_FIELD_TOTAL) };

                assert_int_equal(g_mkdir_with_parents(dir, 0700), 0);
                for (int k = 0; k < 4; k++) {
                        g_autofree char *path = g_build_filename(dir, names[k], NULL);

                        if (rows[i].files[k])
                                assert_true(g_file_set_contents(path, rows[i].files[k], -1, NULL));
                }
                stack_facts(root, &f);
                if (rows[i].known != ((mlg_monitor_features(f.known) & MLG_MONITOR_STACK) != 0))
                        fail_msg("%s: %#x", rows[i].what, f.known);
                if (!rows[i].known)
                        assert_int_equal(f.known, MLG_FIELD_BIT(MLG_FIELD_TOTAL));
                else {
                        assert_int_equal(f.values[MLG_FACT(MLG_FIELD_STACK_CALLS)], 10);
                        assert_int_equal(f.values[MLG_FACT(MLG_FIELD_STACK_HELD)], 4096);
                        assert_int_equal(f.values[MLG_FACT(MLG_FIELD_STACK_REFUSED)], 28);
                        assert_int_equal(f.values[MLG_FACT(MLG_FIELD_STACK_FOREIGN)], 11);
                        assert_int_equal(f.values[MLG_FACT(MLG_FIELD_STACK_NO_CHILD)], 16);
                }
                for (int k = 0; k < 4; k++) {
                        g_autofree char *path = g_build_filename(dir, names[k], NULL);

                        (void) g_unlink(path);
                }
                for (; strlen(dir) >= strlen(root); *strrchr(dir, '/') = '\0')
                        (void) g_rmdir(dir);
        }
}

/* A report must have room for all there is. */
static void test_all_values_fit(void **state) {
        MlgFacts all = { .known = 0 };
        MlgMonitorFrame frame;
        Session s = { .id = 1 };
        MlgRawMonitor raw;

        for (int i = 0; i < MLG_FIELD_VALUES; i++) {
                all.known |= UINT32_C(1) << i;
                all.values[i] = 1000 + (uint64_t) i;
        }
        session_report(&s, &all, false, &frame);
        assert_int_equal(frame.n_fields, MLG_FIELD_VALUES);
        mlg_facts_to_raw(&all, &raw);
        assert_true(raw.have & MLG_MONITOR_STACK);
        assert_int_equal(raw.stack_violations[MLG_STACK_NO_CHILD], all.values[MLG_FACT(MLG_FIELD_STACK_NO_CHILD)]);
        assert_int_equal(raw.stack_calls, all.values[MLG_FACT(MLG_FIELD_STACK_CALLS)]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_and_back),
                cmocka_unit_test(test_the_most_fields),
                cmocka_unit_test(test_damage),
                cmocka_unit_test(test_a_stream_that_begins_in_the_middle),
                cmocka_unit_test(test_damage_after_the_first_frame_is_an_error),
                cmocka_unit_test(test_there_is_always_room),
                cmocka_unit_test(test_facts),
                cmocka_unit_test(test_stack_facts),
                cmocka_unit_test(test_all_values_fit),
                cmocka_unit_test(test_facts_that_are_not_there),
                cmocka_unit_test(test_swapped),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_order_lines),
                cmocka_unit_test(test_order_is_carried_out),
                cmocka_unit_test(test_calm),
                cmocka_unit_test(test_calm_goes_by_size),
                cmocka_unit_test(test_only_what_changed_since_an_acknowledged_report),
                cmocka_unit_test(test_a_host_that_asks_too_much),
        };

        return cmocka_run_group_tests_name("monitor-proto", tests, NULL, NULL);
}
