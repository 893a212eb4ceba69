/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bus: served over a socket pair, no bus daemon. The server runs through its pollable, as on the loop, and a
 * client of the same process talks to it. Policy, polkit and the name need a bus: test-bus-private.sh. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "fake-bus-ops.h"
#include "memlego/names.h"
#include "util/util.h"

#define WEB "/org/memlego1/guest/6f0c1bfa_0ee8_4b6c_9a26_5f6dd7b6b001"
#define WEB_UUID "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b001"
#define TIME_LIMIT_USEC (30 * MLG_USEC_PER_SEC)

typedef struct Fixture {
        FakeService service;
        MlgBus *bus;
        sd_bus *client;
        GPtrArray *signals; /* "Member path ..." */
        uint64_t skew_usec; /* added to the clock that dispatch() is told */
} Fixture;

/* ---- both ends in one thread ---- */

static uint64_t clock_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * MLG_USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* One turn: wait until either end wants to run, at most 50 ms, and let both. */
static int turn(Fixture *f) {
        const MlgPollable *p = mlg_bus_pollable(f->bus);
        uint64_t now = clock_usec(), until = p->deadline_usec(p->userdata);
        struct pollfd fds[] = {
                { .fd = p->fd, .events = p->events(p->userdata) },
                { .fd = sd_bus_get_fd(f->client), .events = (short) sd_bus_get_events(f->client) },
        };
        int r;

        (void) poll(fds, 2, until <= now ? 0 : (int) (mlg_min(until - now, 50000) / 1000));
        r = p->dispatch(clock_usec() + f->skew_usec, p->userdata);
        while (sd_bus_process(f->client, NULL) > 0)
                ;
        return r;
}

typedef struct Call {
        bool done;
        sd_bus_message *reply;
} Call;

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Call *c = userdata;

        c->done = true;
        c->reply = sd_bus_message_ref(m);
        return 1;
}

static void wait_for(Fixture *f, Call *c) {
        uint64_t limit = clock_usec() + TIME_LIMIT_USEC;

        while (!c->done) {
                assert_true(clock_usec() < limit);
                assert_int_equal(turn(f), 0);
        }
}

static void send_call(Fixture *f, Call *c, const char *path, const char *iface, const char *member,
                      const char *types, va_list args) {
        sd_bus_message *m = NULL;

        assert_true(sd_bus_message_new_method_call(f->client, &m, NULL, path, iface, member) >= 0);
        if (types)
                assert_true(sd_bus_message_appendv(m, types, args) >= 0);
        assert_true(sd_bus_call_async(f->client, NULL, m, on_reply, c, TIME_LIMIT_USEC) >= 0);
        sd_bus_message_unref(m);
}

static sd_bus_message *call(Fixture *f, const char *path, const char *iface, const char *member,
                            const char *types, ...) {
        Call c = {};
        va_list args;

        va_start(args, types);
        send_call(f, &c, path, iface, member, types, args);
        va_end(args);
        wait_for(f, &c);
        return c.reply;
}

static void start_call(Fixture *f, Call *c, const char *member, const char *types, ...) {
        va_list args;

        va_start(args, types);
        send_call(f, c, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER, member, types, args);
        va_end(args);
}

#define manager(f, member, ...) call(f, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER, member, __VA_ARGS__)

static void assert_error(sd_bus_message *reply, const char *name) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        assert_non_null(e);
        assert_string_equal(e->name, name);
        assert_true(e->message && e->message[0]);
        sd_bus_message_unref(reply);
}

static void assert_ok(sd_bus_message *reply) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        if (e)
                print_error("%s: %s\n", e->name, e->message);
        assert_null(e);
}

static void assert_done(sd_bus_message *reply) {
        assert_ok(reply);
        sd_bus_message_unref(reply);
}

/* ---- fixture ---- */

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        g_autoptr(GString) text = g_string_new(sd_bus_message_get_member(m));
        const char *contents = NULL;
        char type = 0;

        g_string_append_printf(text, " %s", sd_bus_message_get_path(m));
        while (sd_bus_message_peek_type(m, &type, &contents) > 0) {
                const char *s;
                uint64_t t;

                if (type == 's' || type == 'o') {
                        assert_true(sd_bus_message_read_basic(m, type, &s) >= 0);
                        g_string_append_printf(text, " %s", s);
                } else if (type == 't') {
                        assert_true(sd_bus_message_read_basic(m, type, &t) >= 0);
                        g_string_append_printf(text, " %" PRIu64, t);
                } else { /* a{sv} of PropertiesChanged: its keys */
                        assert_true(sd_bus_message_enter_container(m, type, contents) >= 0);
                        while (contents[0] == '{' && sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                                assert_true(sd_bus_message_read(m, "s", &s) >= 0);
                                g_string_append_printf(text, " %s", s);
                                assert_true(sd_bus_message_skip(m, "v") >= 0);
                                assert_true(sd_bus_message_exit_container(m) >= 0);
                        }
                        while (contents[0] == 's' && sd_bus_message_read(m, "s", &s) > 0)
                                g_string_append_printf(text, " -%s", s);
                        assert_true(sd_bus_message_exit_container(m) >= 0);
                }
        }
        g_ptr_array_add(f->signals, g_string_free(g_steal_pointer(&text), FALSE));
        return 0;
}

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);
        int pair[2];

        fake_service_init(&f->service);
        f->signals = g_ptr_array_new_with_free_func(g_free);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        assert_int_equal(mlg_bus_open_fd(pair[0], &fake_bus_ops, &f->service, &f->bus), 0);
        f->service.bus = f->bus;

        assert_true(sd_bus_new(&f->client) >= 0);
        assert_true(sd_bus_set_fd(f->client, pair[1], pair[1]) >= 0);
        assert_true(sd_bus_start(f->client) >= 0);
        assert_true(sd_bus_add_match(f->client, NULL, "type='signal'", on_signal, f) >= 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        mlg_bus_free(f->bus);
        sd_bus_close_unref(f->client);
        g_ptr_array_unref(f->signals);
        g_free(f);
        return 0;
}

/* Signals are delivered in order: after an answered call all earlier ones are here. */
static void drain(Fixture *f) {
        assert_done(call(f, MLG_BUS_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL));
}

static const char *signal_at(Fixture *f, size_t i) {
        assert_true(i < f->signals->len);
        return g_ptr_array_index(f->signals, i);
}

/* ---- reads ---- */

static void test_guests(void **state) {
        Fixture *f = *state;
        const char *name, *uuid, *path, *vm_state;
        sd_bus_message *m;

        m = manager(f, "ListGuests", NULL);
        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "(ssos)") > 0);
        assert_true(sd_bus_message_read(m, "(ssos)", &name, &uuid, &path, &vm_state) > 0);
        assert_string_equal(name, "web-1");
        assert_string_equal(uuid, WEB_UUID);
        assert_string_equal(path, WEB);
        assert_string_equal(vm_state, "managed");
        assert_true(sd_bus_message_read(m, "(ssos)", &name, &uuid, &path, &vm_state) > 0);
        assert_int_equal(sd_bus_message_read(m, "(ssos)", &name, &uuid, &path, &vm_state), 0);
        sd_bus_message_unref(m);

        m = manager(f, "GetGuest", "s", "web-1");
        assert_true(sd_bus_message_read(m, "o", &path) > 0);
        assert_string_equal(path, WEB);
        sd_bus_message_unref(m);
        m = manager(f, "GetGuest", "s", WEB_UUID);
        assert_true(sd_bus_message_read(m, "o", &path) > 0);
        assert_string_equal(path, WEB);
        sd_bus_message_unref(m);
}

static void test_texts(void **state) {
        Fixture *f = *state;
        const char *text;
        sd_bus_message *m;

        m = manager(f, "Dump", NULL);
        assert_true(sd_bus_message_read(m, "s", &text) > 0);
        assert_string_equal(text, "{\"guests\": []}");
        sd_bus_message_unref(m);
        m = manager(f, "GetConfig", NULL);
        assert_true(sd_bus_message_read(m, "s", &text) > 0);
        assert_string_equal(text, "[Host]\nPolicy=proportional\n");
        sd_bus_message_unref(m);

        f->service.dump = NULL;
        assert_error(manager(f, "Dump", NULL), "org.memlego1.Error.Failed");
}

static void test_large_answer(void **state) {
        Fixture *f = *state;

        f->service.dump = g_strnfill((24u << 20) + 1, 'x');
        assert_error(manager(f, "Dump", NULL), "org.memlego1.Error.LimitExceeded");
        g_free(f->service.dump);
}

static void test_reservations_list(void **state) {
        Fixture *f = *state;
        uint64_t id, bytes, room, expires;
        const char *owner;
        sd_bus_message *m = manager(f, "ListReservations", NULL);

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "(tttts)") > 0);
        assert_true(sd_bus_message_read(m, "(tttts)", &id, &bytes, &room, &expires, &owner) > 0);
        assert_int_equal(id, 7);
        assert_int_equal(bytes, 100 * 1024);
        assert_int_equal(room, 40 * 1024);
        assert_int_equal(expires, 30 * MLG_USEC_PER_SEC);
        assert_string_equal(owner, ":1.99");
        sd_bus_message_unref(m);
}

static void test_plugins_list(void **state) {
        Fixture *f = *state;
        const char *name, *kind, *plugin_state, *file, *why;
        sd_bus_message *m = manager(f, "ListPlugins", NULL);

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "(sssss)") > 0);
        assert_true(sd_bus_message_read(m, "(sssss)", &name, &kind, &plugin_state, &file, &why) > 0);
        assert_string_equal(name, "mine");
        assert_string_equal(kind, "policy");
        assert_string_equal(plugin_state, "used");
        assert_string_equal(file, "/lib/mine.so");
        assert_string_equal(why, "");
        assert_true(sd_bus_message_read(m, "(sssss)", &name, &kind, &plugin_state, &file, &why) > 0);
        assert_string_equal(plugin_state, "refused");
        assert_string_equal(why, "it is \357\277\275"); /* no valid text: made one */
        assert_int_equal(sd_bus_message_read(m, "(sssss)", &name, &kind, &plugin_state, &file, &why), 0);
        sd_bus_message_unref(m);
}

/* Reads one a{sv} of strings and numbers into a table of texts. */
/* "A 1, B 2, " */
static char *read_counts(sd_bus_message *m) {
        g_autoptr(GString) list = g_string_new(NULL);
        const char *name;
        uint64_t n;

        assert_true(sd_bus_message_enter_container(m, 'v', "a{st}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{st}") > 0);
        while (sd_bus_message_read(m, "{st}", &name, &n) > 0)
                g_string_append_printf(list, "%s %" PRIu64 ", ", name, n);
        assert_true(sd_bus_message_exit_container(m) >= 0);
        assert_true(sd_bus_message_exit_container(m) >= 0);
        return g_string_free(g_steal_pointer(&list), FALSE);
}

static GHashTable *read_dict(sd_bus_message *m) {
        GHashTable *t = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        const char *key, *contents, *s;
        uint64_t n;

        while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                assert_true(sd_bus_message_read(m, "s", &key) > 0);
                assert_true(sd_bus_message_peek_type(m, NULL, &contents) > 0);
                if (contents[0] == 's') {
                        assert_true(sd_bus_message_read(m, "v", "s", &s) > 0);
                        g_hash_table_insert(t, g_strdup(key), g_strdup(s));
                } else if (contents[0] == 't') {
                        assert_true(sd_bus_message_read(m, "v", "t", &n) > 0);
                        g_hash_table_insert(t, g_strdup(key), g_strdup_printf("%" PRIu64, n));
                } else if (strcmp(contents, "a{st}") == 0) {
                        g_hash_table_insert(t, g_strdup(key), read_counts(m));
                } else {
                        assert_true(sd_bus_message_skip(m, "v") > 0);
                        g_hash_table_insert(t, g_strdup(key), g_strdup(contents));
                }
                assert_true(sd_bus_message_exit_container(m) >= 0);
        }
        return t;
}

static void assert_has(GHashTable *t, const char *key, const char *value) {
        const char *has = g_hash_table_lookup(t, key);

        if (!has)
                print_error("no key %s\n", key);
        assert_non_null(has);
        assert_string_equal(has, value);
}

static void check_decisions(sd_bus_message *m) {
        g_autoptr(GHashTable) first = NULL, second = NULL;

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        first = read_dict(m);
        assert_true(sd_bus_message_exit_container(m) >= 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        second = read_dict(m);
        assert_has(first, "AgeUSec", "1000000");
        assert_has(first, "FirstAgeUSec", "10000000");
        assert_has(first, "Repeated", "9");
        assert_has(first, "Result", "none");
        assert_null(g_hash_table_lookup(first, "Error"));
        assert_has(second, "Reason", "rate");
        assert_has(second, "WantedReason", "demand");
        assert_has(second, "WantedKiB", "614400");
        assert_has(second, "Result", "failed");
        assert_has(second, "Error", "ETIMEDOUT");
        assert_non_null(g_hash_table_lookup(second, "Sentence"));
        sd_bus_message_unref(m);
}

static void test_explain(void **state) {
        Fixture *f = *state;

        check_decisions(manager(f, "Explain", "s", "db"));
        check_decisions(call(f, WEB, MLG_BUS_IFACE_GUEST, "Explain", NULL));
}

static void check_rules(sd_bus_message *m) {
        g_autoptr(GHashTable) first = NULL, second = NULL;

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        first = read_dict(m);
        assert_true(sd_bus_message_exit_container(m) >= 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        second = read_dict(m);
        assert_true(sd_bus_message_exit_container(m) >= 0);
        assert_true(sd_bus_message_at_end(m, false) > 0);
        assert_has(first, "Rule", "night");
        assert_has(first, "Origin", "x.policy:3");
        assert_has(first, "Settings", "Floor=2G Priority=20");
        assert_has(second, "Origin", "/etc/\xef\xbf\xbd:12");
        assert_has(second, "Settings", "");
        sd_bus_message_unref(m);
}

static void test_explain_rules(void **state) {
        Fixture *f = *state;
        sd_bus_message *none = call(f, WEB, MLG_BUS_IFACE_GUEST, "ExplainRules", NULL);

        check_rules(manager(f, "ExplainRules", "s", "db"));
        assert_ok(none);
        assert_true(sd_bus_message_enter_container(none, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_at_end(none, false) > 0);
        sd_bus_message_unref(none);
        assert_error(manager(f, "ExplainRules", "s", "nobody"), "org.memlego1.Error.NoSuchGuest");
}

static GHashTable *get_all(Fixture *f, const char *path, const char *iface) {
        sd_bus_message *m = call(f, path, "org.freedesktop.DBus.Properties", "GetAll", "s", iface);
        GHashTable *t;

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        t = read_dict(m);
        sd_bus_message_unref(m);
        return t;
}

static void test_properties(void **state) {
        Fixture *f = *state;
        g_autoptr(GHashTable) host = get_all(f, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER);
        g_autoptr(GHashTable) guest = get_all(f, WEB, MLG_BUS_IFACE_GUEST);

        assert_has(host, "Version", MLG_VERSION);
        assert_has(host, "State", "running");
        assert_has(host, "Policy", "proportional");
        assert_has(host, "HostTotalKiB", "4194304");
        assert_has(host, "Moves", "5");
        assert_has(guest, "UUID", WEB_UUID);
        assert_has(guest, "Name", "web-1");
        assert_has(guest, "State", "managed");
        assert_has(guest, "Reason", "cool-down");
        assert_has(guest, "RunState", "running");
        assert_has(guest, "Trust", "fresh");
        assert_has(guest, "ActualKiB", "524288");
        assert_has(guest, "SampleAgeUSec", "18446744073709551615");
        assert_has(guest, "Labels", "as");
        assert_has(guest, "Rules", "as");
}

static void test_stack(void **state) {
        Fixture *f = *state;
        MlgGuestStatus *g = &f->service.guests[0];
        sd_bus_message *m = NULL;
        g_autoptr(GHashTable) guest = NULL;
        uint64_t n = 0, sum = 0, place = 0;
        const char *kind;
        int knows = 0;

        g->knows_stack = true;
        g->stack_calls = 1000, g->stack_held_bytes = 4096, g->stack_refused = 7, g->stack_violations = 3;
        g->stack_violation_kinds[MLG_STACK_PLACE] = 2;
        g->stack_violation_kinds[MLG_STACK_NO_CHILD] = 1;
        guest = get_all(f, WEB, MLG_BUS_IFACE_GUEST);
        m = call(f, WEB, "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_GUEST, "KnowsStack");
        assert_true(sd_bus_message_read(m, "v", "b", &knows) > 0);
        assert_true(knows);
        sd_bus_message_unref(m);
        assert_has(guest, "StackCalls", "1000");
        assert_has(guest, "StackHeldBytes", "4096");
        assert_has(guest, "StackRefused", "7");
        assert_has(guest, "StackViolations", "3");
        m = call(f, WEB, "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_GUEST, "StackViolationKinds");
        assert_true(sd_bus_message_enter_container(m, 'v', "a{st}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{st}") > 0);
        while (sd_bus_message_read(m, "{st}", &kind, &n) > 0) {
                sum += n;
                if (g_str_equal(kind, "place"))
                        place = n;
        }
        assert_int_equal(place, 2);
        assert_int_equal(sum, 3);
        sd_bus_message_unref(m);
}

/* Where the host's memory is: what is not known is not said. */
static void test_host_memory(void **state) {
        static const struct {
                const char *what;
                bool zswap, ksm, others;
                unsigned int n;
        } rows[] = {
                { "all", true, true, true, 10 },
                { "nothing but what each kernel tells", false, false, false, 4 },
                { "no KSM", true, false, true, 8 },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgHostStatus *h = &f->service.host;
                unsigned int n = 0, wrong = 0;
                sd_bus_message *m;
                const char *key;
                uint64_t kib;

                h->have_zswap = rows[i].zswap;
                h->have_ksm = rows[i].ksm;
                h->knows_others = rows[i].others;
                h->ksm_saved_kib = 77;
                h->others_kib = 99;
                m = call(f, MLG_BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_MANAGER, "HostMemory");
                assert_ok(m);
                assert_true(sd_bus_message_enter_container(m, 'v', "a{st}") > 0);
                assert_true(sd_bus_message_enter_container(m, 'a', "{st}") > 0);
                for (; sd_bus_message_read(m, "{st}", &key, &kib) > 0; n++) {
                        wrong += g_str_equal(key, "KsmSavedKiB") && (!rows[i].ksm || kib != 77);
                        wrong += g_str_equal(key, "OthersKiB") && (!rows[i].others || kib != 99);
                }
                if (n != rows[i].n || wrong)
                        fail_msg("%s: %u keys, %u of them wrong", rows[i].what, n, wrong);
                sd_bus_message_unref(m);
        }
}

static void test_host_states(void **state) {
        static const struct { bool connected, paused; const char *expect; } cases[] = {
                { true, false, "running" }, { true, true, "paused" }, { false, false, "degraded" },
                { false, true, "degraded" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GHashTable) host = NULL;

                f->service.host.connected = cases[i].connected;
                f->service.host.paused = cases[i].paused;
                host = get_all(f, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER);
                assert_has(host, "State", cases[i].expect);
        }
}

/* A name cut in the middle of a letter must not make the guest invisible. */
static void test_not_utf8(void **state) {
        Fixture *f = *state;
        g_autoptr(GHashTable) guest = NULL;

        (void) strcpy(f->service.guests[0].name, "caf\xc3");
        guest = get_all(f, WEB, MLG_BUS_IFACE_GUEST);
        assert_true(g_str_has_prefix(g_hash_table_lookup(guest, "Name"), "caf"));
        assert_done(manager(f, "ListGuests", NULL));
        mlg_bus_guest_added(f->bus, WEB_UUID, f->service.guests[0].name);
        drain(f);
        assert_int_equal(f->signals->len, 1);
}

/* ---- changes ---- */

static void test_pause(void **state) {
        Fixture *f = *state;

        assert_done(manager(f, "Pause", "s", "web-1"));
        assert_string_equal(f->service.last_uuid, WEB_UUID);
        assert_true(f->service.last_paused);
        assert_done(manager(f, "Resume", "s", ""));
        assert_string_equal(f->service.last_uuid, "");
        assert_false(f->service.last_paused);
        assert_done(call(f, WEB, MLG_BUS_IFACE_GUEST, "Pause", NULL));
        assert_string_equal(f->service.last_uuid, WEB_UUID);
        assert_done(call(f, WEB, MLG_BUS_IFACE_GUEST, "Resume", NULL));
        assert_int_equal(f->service.n_pauses, 4);
}

static void test_set_target(void **state) {
        Fixture *f = *state;

        assert_done(manager(f, "SetTarget", "stt", "db", UINT64_C(300000), 60 * MLG_USEC_PER_SEC));
        assert_int_equal(f->service.last_kib, 300000);
        assert_int_equal(f->service.last_usec, 60 * MLG_USEC_PER_SEC);
        assert_done(
                call(f, WEB, MLG_BUS_IFACE_GUEST, "SetTarget", "tt", UINT64_C(400000), MLG_USEC_PER_SEC));
        assert_int_equal(f->service.last_kib, 400000);
        assert_string_equal(f->service.last_uuid, WEB_UUID);
}

static void test_reload(void **state) {
        Fixture *f = *state;
        const char *a, *b;
        sd_bus_message *m = manager(f, "Reload", NULL);

        assert_ok(m);
        assert_true(sd_bus_message_read(m, "as", 2, &a, &b) > 0);
        assert_string_equal(a, "Policy: static -> proportional");
        assert_true(g_str_has_prefix(b, "bad "));
        sd_bus_message_unref(m);

        f->service.fail_code = MLG_ERROR_CONFIG + 1;
        assert_error(manager(f, "Reload", NULL), "org.memlego1.Error.ConfigInvalid");
}

static void test_error_names(void **state) {
        Fixture *f = *state;

        for (int e = 0; e < _MLG_ERROR_MAX; e++) {
                g_autofree char *name = g_strconcat(MLG_BUS_ERROR_PREFIX, mlg_error_to_name(e), NULL);

                f->service.fail_code = e + 1;
                assert_error(manager(f, "Pause", "s", "db"), name);
        }
}

static void test_rubbish(void **state) {
        static const char unknown[] = "org.memlego1.Error.NoSuchGuest",
                          bad[] = "org.memlego1.Error.InvalidArgument";
        static const uint64_t sec = MLG_USEC_PER_SEC, huge = UINT64_MAX;
        Fixture *f = *state;
        g_autofree char *longest = g_strnfill(MLG_NAME_MAX, 'a'),
                        *too_long = g_strnfill(MLG_NAME_MAX + 1, 'a');

        assert_error(manager(f, "GetGuest", "s", "nobody"), unknown);
        assert_error(manager(f, "GetGuest", "s", ""), unknown);
        assert_error(manager(f, "Explain", "s", longest), unknown);
        assert_error(manager(f, "Explain", "s", too_long), bad);
        assert_error(manager(f, "Pause", "s", too_long), bad);
        assert_error(manager(f, "Pause", "s", "nobody"), unknown);
        assert_error(manager(f, "SetTarget", "stt", "nobody", UINT64_C(1), sec), unknown);
        assert_error(manager(f, "SetTarget", "stt", "", UINT64_C(1), sec), bad);
        assert_error(manager(f, "SetTarget", "stt", "db", UINT64_C(0), sec), bad);
        assert_error(manager(f, "SetTarget", "stt", "db", huge, sec), bad);
        assert_error(manager(f, "SetTarget", "stt", "db", UINT64_C(1), UINT64_C(0)), bad);
        assert_error(manager(f, "SetTarget", "stt", "db", UINT64_C(1), huge), bad);
        assert_error(manager(f, "ReserveMemory", "tt", UINT64_C(0), sec), bad);
        assert_error(manager(f, "ReserveMemory", "tt", huge, sec), bad);
        assert_error(manager(f, "ReserveMemory", "tt", UINT64_C(1), UINT64_C(0)), bad);
        assert_error(manager(f, "ReserveMemory", "tt", UINT64_C(1), huge), bad);
        assert_error(manager(f, "ReleaseReservation", "t", huge), "org.memlego1.Error.NoSuchReservation");
        assert_error(manager(f, "Pause", "u", 1u), bad);
        assert_error(manager(f, "Pause", NULL), bad);
        assert_error(manager(f, "Dump", "s", "x"), bad);
        assert_error(call(f, WEB, MLG_BUS_IFACE_GUEST, "SetTarget", "s", "much"), bad);
        assert_error(manager(f, "NoSuchMethod", NULL), SD_BUS_ERROR_UNKNOWN_METHOD);
        assert_error(call(f, MLG_BUS_PATH, "org.memlego1.Nothing", "Dump", NULL),
                     SD_BUS_ERROR_UNKNOWN_METHOD);
        assert_error(call(f, WEB, MLG_BUS_IFACE_GUEST, "SetTarget", "tt", UINT64_C(0), sec), bad);
        assert_error(call(f, MLG_BUS_PATH, "org.freedesktop.DBus.Properties", "Set", "ssv",
                          MLG_BUS_IFACE_MANAGER, "Paused", "b", 1),
                     SD_BUS_ERROR_PROPERTY_READ_ONLY);
        assert_int_equal(f->service.n_pauses + f->service.n_targets + f->service.n_reserves, 0);
        drain(f); /* the connection is still there */
}

static void test_bad_paths(void **state) {
        static const char *const paths[] = {
                MLG_BUS_PATH_GUEST,
                MLG_BUS_PATH_GUEST "/web_1",
                MLG_BUS_PATH_GUEST "/6f0c1bfa_0ee8_4b6c_9a26_5f6dd7b6b009",
                MLG_BUS_PATH_GUEST "/6F0C1BFA_0EE8_4B6C_9A26_5F6DD7B6B001",
                WEB "/deeper",
                WEB "0",
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
                sd_bus_message *m = call(f, paths[i], MLG_BUS_IFACE_GUEST, "Pause", NULL);

                assert_true(sd_bus_message_is_method_error(m, NULL));
                sd_bus_message_unref(m);
                m = call(f, paths[i], MLG_BUS_IFACE_MANAGER, "Dump", NULL);
                assert_true(sd_bus_message_is_method_error(m, NULL));
                sd_bus_message_unref(m);
        }
        assert_int_equal(f->service.n_pauses, 0);

        /* a guest whose name is another's UUID does not take its place */
        (void) strcpy(f->service.guests[0].name, f->service.guests[1].uuid);
        f->service.guests[0].uuid[0] = '7';
        assert_done(manager(f, "ListGuests", NULL));
        assert_error(call(f, MLG_BUS_PATH_GUEST "/6f0c1bfa_0ee8_4b6c_9a26_5f6dd7b6b002", MLG_BUS_IFACE_GUEST,
                          "Pause", NULL),
                     SD_BUS_ERROR_UNKNOWN_OBJECT);
}

/* ---- reservations ---- */

static void turns(Fixture *f, unsigned int n) {
        while (n-- > 0)
                assert_int_equal(turn(f), 0);
}

static void assert_id(Fixture *f, Call *c, uint64_t id) {
        uint64_t got = 0;

        wait_for(f, c);
        assert_ok(c->reply);
        assert_true(sd_bus_message_read(c->reply, "t", &got) > 0);
        assert_int_equal(got, id);
        sd_bus_message_unref(c->reply);
}

static void test_reserve(void **state) {
        Fixture *f = *state;
        g_autoptr(GError) e = g_error_new(MLG_ERROR, MLG_ERROR_NO_ROOM, "Not now");
        Call a = {}, b = {}, c = {};

        start_call(f, &a, "ReserveMemory", "tt", UINT64_C(1025), 5 * MLG_USEC_PER_SEC);
        start_call(f, &b, "ReserveMemory", "tt", UINT64_C(4096), 5 * MLG_USEC_PER_SEC);
        drain(f); /* others are answered meanwhile */
        assert_false(a.done || b.done);
        assert_int_equal(f->service.n_reserves, 2);
        assert_int_equal(f->service.last_kib, 4);
        assert_string_equal(f->service.last_owner, "peer");

        mlg_bus_reservation_settled(f->bus, 999, NULL); /* nobody's */
        mlg_bus_reservation_settled(f->bus, 12, e);
        mlg_bus_reservation_settled(f->bus, 11, NULL);
        mlg_bus_reservation_settled(f->bus, 11, NULL);
        assert_id(f, &a, 11);
        wait_for(f, &b);
        assert_error(b.reply, "org.memlego1.Error.NoRoom");
        assert_int_equal(f->service.n_releases, 0);

        f->service.settle_at_once = true;
        start_call(f, &c, "ReserveMemory", "tt", UINT64_C(1), MLG_USEC_PER_SEC);
        assert_id(f, &c, 13);
        assert_done(manager(f, "ReleaseReservation", "t", UINT64_C(13)));
        assert_int_equal(f->service.last_released, 13);

        f->service.fail_code = MLG_ERROR_NO_ROOM + 1;
        assert_error(manager(f, "ReserveMemory", "tt", UINT64_C(1), MLG_USEC_PER_SEC),
                     "org.memlego1.Error.NoRoom");
}

static void test_reserve_waits_not_for_ever(void **state) {
        Fixture *f = *state;
        const MlgPollable *p = mlg_bus_pollable(f->bus);
        uint64_t deadline;
        Call a = {};

        start_call(f, &a, "ReserveMemory", "tt", UINT64_C(1025), 3600 * MLG_USEC_PER_SEC);
        drain(f);
        deadline = p->deadline_usec(p->userdata);
        assert_true(deadline <= clock_usec() + 20 * MLG_USEC_PER_SEC);
        assert_true(deadline > clock_usec() + 10 * MLG_USEC_PER_SEC);
        turns(f, 2);
        assert_false(a.done);
        f->skew_usec = 20 * MLG_USEC_PER_SEC;
        wait_for(f, &a);
        assert_error(a.reply, "org.memlego1.Error.NoRoom");
        assert_int_equal(f->service.n_releases, 1);
        assert_int_equal(f->service.last_released, 11);
        assert_true(p->deadline_usec(p->userdata) > deadline);
}

static void test_reserve_limit(void **state) {
        Fixture *f = *state;
        Call calls[17] = {};

        for (size_t i = 0; i < G_N_ELEMENTS(calls); i++)
                start_call(f, &calls[i], "ReserveMemory", "tt", UINT64_C(1024), MLG_USEC_PER_SEC);
        wait_for(f, &calls[16]);
        assert_error(calls[16].reply, "org.memlego1.Error.LimitExceeded");
        assert_int_equal(f->service.n_reserves, 16);
        for (size_t i = 0; i < 16; i++)
                mlg_bus_reservation_settled(f->bus, 11 + i, NULL);
        for (size_t i = 0; i < 16; i++)
                assert_id(f, &calls[i], 11 + i);
}

/* Who leaves before the answer came loses the reservation: nobody knows its id. */
static void test_reserve_client_leaves(void **state) {
        Fixture *f = *state;
        Call a = {};
        uint64_t limit = clock_usec() + TIME_LIMIT_USEC;
        const MlgPollable *p = mlg_bus_pollable(f->bus);
        int r = 0;

        start_call(f, &a, "ReserveMemory", "tt", UINT64_C(1024), MLG_USEC_PER_SEC);
        drain(f);
        sd_bus_close(f->client);
        while (r == 0 && clock_usec() < limit) {
                struct pollfd fd = { .fd = p->fd, .events = p->events(p->userdata) };

                (void) poll(&fd, 1, 50);
                r = p->dispatch(clock_usec(), p->userdata);
        }
        assert_true(r < 0); /* the pollable says that it is broken */
        assert_int_equal(f->service.n_releases, 1);
        assert_int_equal(f->service.last_released, 11);
        if (a.reply)
                sd_bus_message_unref(a.reply);

        /* and nothing that the service still says does harm */
        mlg_bus_guest_added(f->bus, WEB_UUID, "web-1");
        mlg_bus_guest_changed(f->bus, WEB_UUID);
        mlg_bus_flush_changes(f->bus);
        mlg_bus_reservation_settled(f->bus, 11, NULL);
}

static void test_reserve_service_leaves(void **state) {
        Fixture *f = *state;
        Call a = {};

        start_call(f, &a, "ReserveMemory", "tt", UINT64_C(1024), MLG_USEC_PER_SEC);
        drain(f);
        f->service.bus = NULL;
        f->bus = mlg_bus_free(f->bus);
        assert_int_equal(f->service.n_releases, 1);
        while (!a.done && sd_bus_process(f->client, NULL) >= 0)
                (void) sd_bus_wait(f->client, 50000);
        assert_true(a.done);
        sd_bus_message_unref(a.reply);
}

/* ---- signals ---- */

static void test_signals(void **state) {
        Fixture *f = *state;

        mlg_bus_guest_added(f->bus, WEB_UUID, "web-1");
        mlg_bus_resized(f->bus, WEB_UUID, "web-1", 1000, 2000, MLG_REASON_DEMAND);
        mlg_bus_shortage(f->bus, 5, 6);
        mlg_bus_reservation_released(f->bus, 7, "expired");
        mlg_bus_guest_removed(f->bus, WEB_UUID, "web-1");
        mlg_bus_host_alarm(f->bus, MLG_ALARM_EXHAUSTED, 8, 9);
        mlg_bus_reservation_progress(f->bus, 7, ":1.5", 1, 2);
        drain(f);
        assert_int_equal(f->signals->len, 7);
        assert_string_equal(signal_at(f, 0), "GuestAdded /org/memlego1 web-1 " WEB);
        assert_string_equal(signal_at(f, 1), "Resized /org/memlego1 web-1 " WEB " 1000 2000 demand");
        assert_string_equal(signal_at(f, 2), "Shortage /org/memlego1 5 6");
        assert_string_equal(signal_at(f, 3), "ReservationReleased /org/memlego1 7 expired");
        assert_string_equal(signal_at(f, 4), "GuestRemoved /org/memlego1 web-1 " WEB);
        assert_string_equal(signal_at(f, 5), "HostAlarm /org/memlego1 exhausted 8 9");
        assert_string_equal(signal_at(f, 6), "ReservationProgress /org/memlego1 7 :1.5 1024 2048");
}

static void test_changes(void **state) {
        static const char guest_prefix[] = "PropertiesChanged " WEB " org.memlego1.Guest ";
        Fixture *f = *state;

        mlg_bus_guest_added(f->bus, WEB_UUID, "web-1");
        mlg_bus_host_changed(f->bus);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        g_ptr_array_set_size(f->signals, 0);

        /* nothing differs: nothing is told, nor are numbers that differ each poll */
        f->service.guests[0].used_kib = 7;
        f->service.host.available_kib--;
        for (unsigned int i = 0; i < 3; i++) {
                mlg_bus_guest_changed(f->bus, WEB_UUID);
                mlg_bus_host_changed(f->bus);
                mlg_bus_flush_changes(f->bus);
        }
        drain(f);
        assert_int_equal(f->signals->len, 0);

        /* what differs is told once */
        f->service.guests[0].target_kib = 77;
        f->service.guests[0].reason = MLG_REASON_DEMAND;
        f->service.host.connected = false;
        mlg_bus_guest_changed(f->bus, WEB_UUID);
        mlg_bus_guest_changed(f->bus, WEB_UUID);
        mlg_bus_host_changed(f->bus);
        mlg_bus_flush_changes(f->bus);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_int_equal(f->signals->len, 2);
        assert_string_equal(signal_at(f, 0),
                            "PropertiesChanged /org/memlego1 org.memlego1.Manager State Connected");
        assert_true(g_str_has_prefix(signal_at(f, 1), guest_prefix));
        assert_string_equal(signal_at(f, 1) + strlen(guest_prefix), "Reason ReasonSentence TargetKiB");
        g_ptr_array_set_size(f->signals, 0);

        /* labels and names are compared as texts */
        (void) strcpy(f->service.guests[0].labels, "gold");
        mlg_bus_guest_changed(f->bus, WEB_UUID);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_string_equal(signal_at(f, 0) + strlen(guest_prefix), "Labels");

        /* a guest that is gone is forgotten */
        f->service.n_guests = 0;
        mlg_bus_guest_changed(f->bus, WEB_UUID);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_int_equal(f->signals->len, 1);
}

/* ---- introspection: what is documented is what is there ---- */

typedef struct Reader {
        GPtrArray *stack; /* names of the open elements */
        GPtrArray *lines; /* what was found, one line each */
        unsigned int n_args;
} Reader;

static const char *attribute(const char **names, const char **values, const char *name) {
        for (size_t i = 0; names[i]; i++)
                if (g_str_equal(names[i], name))
                        return values[i];
        return "-";
}

static void on_start(GMarkupParseContext *c, const char *element, const char **names, const char **values,
                     gpointer userdata, GError **error) {
        Reader *r = userdata;
        const char *parent = r->stack->len > 0 ? g_ptr_array_index(r->stack, r->stack->len - 1) : "";
        const char *name = attribute(names, values, "name");

        if (g_str_equal(element, "arg")) /* in order, and "in" is what methods have by default */
                g_ptr_array_add(r->lines, g_strdup_printf("%s arg%u %s %s %s", parent, r->n_args++, name,
                                                          attribute(names, values, "type"),
                                                          attribute(names, values, "direction")));
        else if (g_str_equal(element, "annotation"))
                g_ptr_array_add(r->lines, g_strdup_printf("%s annotation %s=%s", parent, name,
                                                          attribute(names, values, "value")));
        else if (!g_str_equal(element, "node"))
                g_ptr_array_add(r->lines, g_strdup_printf("%s %s %s %s %s", parent, element, name,
                                                          attribute(names, values, "type"),
                                                          attribute(names, values, "access")));
        if (g_str_equal(element, "method") || g_str_equal(element, "signal"))
                r->n_args = 0;
        g_ptr_array_add(r->stack, g_str_equal(element, "node") ? g_strdup("")
                                                               : g_strdup_printf("%s/%s", parent, name));
}

static void on_end(GMarkupParseContext *c, const char *element, gpointer userdata, GError **error) {
        Reader *r = userdata;

        g_ptr_array_set_size(r->stack, (int) r->stack->len - 1);
}

static int by_text(gconstpointer a, gconstpointer b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* All that an introspection text says about one interface, sorted, one line each. */
static char *describe(const char *xml, const char *iface) {
        const GMarkupParser parser = { .start_element = on_start, .end_element = on_end };
        g_autofree char *own = g_strconcat("/", iface, NULL);
        g_autoptr(GMarkupParseContext) c = NULL;
        g_autoptr(GString) text = g_string_new(NULL);
        g_autoptr(GError) e = NULL;
        Reader r = {
                .stack = g_ptr_array_new_with_free_func(g_free),
                .lines = g_ptr_array_new_with_free_func(g_free),
        };

        c = g_markup_parse_context_new(&parser, 0, &r, NULL);
        if (!g_markup_parse_context_parse(c, xml, -1, &e) || !g_markup_parse_context_end_parse(c, &e))
                fail_msg("%s", e->message);
        g_ptr_array_sort(r.lines, by_text);
        for (size_t i = 0; i < r.lines->len; i++) {
                const char *line = g_ptr_array_index(r.lines, i);

                if (g_str_has_prefix(line, own))
                        g_string_append_printf(text, "%s\n", line);
        }
        g_ptr_array_unref(r.stack);
        g_ptr_array_unref(r.lines);
        return g_string_free(g_steal_pointer(&text), FALSE);
}

static char *introspect(Fixture *f, const char *path) {
        sd_bus_message *m = call(f, path, "org.freedesktop.DBus.Introspectable", "Introspect", NULL);
        const char *xml;
        char *copy;

        assert_ok(m);
        assert_true(sd_bus_message_read(m, "s", &xml) > 0);
        copy = g_strdup(xml);
        sd_bus_message_unref(m);
        return copy;
}

static char *read_source(const char *name) {
        g_autofree char *path = g_build_filename(g_getenv("MLG_SOURCE_ROOT") ?: ".", name, NULL);
        g_autoptr(GError) e = NULL;
        char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, &e))
                fail_msg("%s", e->message);
        return text;
}

#define SWAP_OF_WEB "/org/memlego1/swap/_34dea22b3_2d0ee8_2d4b6c_2d9a26_2d5f6dd7b6b001"

static void compare_interface(Fixture *f, const char *path, const char *iface, const char *documented) {
        g_autofree char *xml = introspect(f, path), *is = describe(xml, iface),
                        *ought = describe(documented, iface);

        if (!g_str_equal(is, ought))
                print_error("---- running\n%s---- documented\n%s", is, ought);
        assert_true(strlen(is) > 500);
        assert_string_equal(is, ought);
}

static void test_introspection(void **state) {
        Fixture *f = *state;
        g_autofree char *documented = read_source("systemd/org.memlego1.xml");

        compare_interface(f, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER, documented);
        compare_interface(f, WEB, MLG_BUS_IFACE_GUEST, documented);
        compare_interface(f, "/org/memlego1/pipe/group_2da", MLG_BUS_IFACE_PIPE, documented);
        compare_interface(f, SWAP_OF_WEB, MLG_BUS_IFACE_SWAP, documented);
}

static void test_nodes(void **state) {
        Fixture *f = *state;
        g_autofree char *root = introspect(f, MLG_BUS_PATH), *guests = introspect(f, MLG_BUS_PATH_GUEST);

        assert_non_null(strstr(root, "<node name=\"guest"));
        assert_non_null(strstr(guests, "<node name=\"6f0c1bfa_0ee8_4b6c_9a26_5f6dd7b6b001\"/>"));
        assert_non_null(strstr(guests, "<node name=\"6f0c1bfa_0ee8_4b6c_9a26_5f6dd7b6b002\"/>"));
}

/* Every member and every key of Explain is in the man page. */
static void test_man_page(void **state) {
        Fixture *f = *state;
        g_autofree char *man = read_source("man/org.memlego1.5"),
                        *xml = read_source("systemd/org.memlego1.xml");
        g_auto(GStrv) parts = g_strsplit(xml, "name=\"", -1);
        g_autoptr(GHashTable) keys = NULL;
        GHashTableIter i;
        gpointer key;
        sd_bus_message *m;

        for (char **p = parts + 1; *p; p++) {
                g_autofree char *name = g_strndup(*p, strcspn(*p, "\""));

                if (g_ascii_isupper(name[0]) && !strstr(man, name))
                        fail_msg("%s is not in the man page", name);
        }
        m = manager(f, "Explain", "s", "db");
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        keys = read_dict(m);
        g_hash_table_iter_init(&i, keys);
        while (g_hash_table_iter_next(&i, &key, NULL))
                if (!strstr(man, key))
                        fail_msg("%s is not in the man page", (char *) key);
        for (int e = 0; e < _MLG_ERROR_MAX; e++)
                if (!strstr(man, mlg_error_to_name(e)))
                        fail_msg("%s is not in the man page", mlg_error_to_name(e));
        sd_bus_message_unref(m);
}

/* ---- proposals ---- */

static void test_proposals_list(void **state) {
        static const struct { const char *key, *value; } expected[] = {
                { "ID", "17" }, { "Guest", "web-1" }, { "State", "open" }, { "FromKiB", "409600" }, { "ToKiB", "675840" },
                { "Reason", "pressure" }, { "UsableKiB", "40960" }, { "UsableAfterKiB", "307200" }, { "ForGuest", "" },
                { "AgeUSec", "60000000" }, { "RefreshedUSec", "1000000" }, { "ExpiresUSec", "840000000" }, { "Path", "o" },
                { "Effect", "usable memory 40 MiB -> 300 MiB (need 480 MiB, cushion 72 MiB)" },
        };
        g_autoptr(GHashTable) t = NULL;
        Fixture *f = *state;
        sd_bus_message *m = manager(f, "ListProposals", NULL);

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        t = read_dict(m);
        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++)
                assert_has(t, expected[i].key, expected[i].value);
        sd_bus_message_unref(m);
}

static void test_proposals_answers(void **state) {
        static const char bad[] = "org.memlego1.Error.InvalidArgument", none[] = "org.memlego1.Error.NoSuchProposal";
        const uint64_t week = 7 * 24 * 3600 * MLG_USEC_PER_SEC;
        Fixture *f = *state;
        uint32_t n = 0;
        sd_bus_message *m;

        assert_done(manager(f, "ApproveProposal", "t", UINT64_C(17)));
        assert_string_equal(f->service.answers, "approve 17 uid 0");
        assert_done(manager(f, "RejectProposal", "t", UINT64_C(17)));
        assert_string_equal(f->service.answers, "reject 17 uid 0");
        assert_error(manager(f, "ApproveProposal", "t", UINT64_C(18)), none);
        assert_error(manager(f, "RejectProposal", "t", UINT64_MAX), none);

        m = manager(f, "ApproveAll", "st", "web-1", week);
        assert_ok(m);
        assert_true(sd_bus_message_read(m, "u", &n) > 0);
        assert_int_equal(n, 1);
        sd_bus_message_unref(m);
        assert_string_equal(f->service.answers, "approve all 17 uid 0");
        assert_string_equal(f->service.last_uuid, WEB_UUID);
        assert_int_equal(f->service.last_usec, week);
        assert_done(manager(f, "ApproveAll", "st", "", UINT64_C(0)));
        assert_string_equal(f->service.last_uuid, "");
        assert_error(manager(f, "ApproveAll", "st", "", week + 1), bad);
        assert_error(manager(f, "ApproveAll", "st", "", UINT64_C(1)), bad);
        assert_error(manager(f, "ApproveAll", "st", "nobody", week), "org.memlego1.Error.NoSuchGuest");

        assert_done(manager(f, "EndApproval", "s", "web-1"));
        assert_string_equal(f->service.answers, "end 17 uid 0");
        assert_error(manager(f, "EndApproval", "s", "nobody"), "org.memlego1.Error.NoSuchGuest");
}

static void test_pipes(void **state) {
        static const struct { const char *key, *value; } group[] = {
                { "Name", "group-a" }, { "State", "serving" }, { "Attach", "auto" }, { "QuotaKiB", "65536" },
                { "GrantedKiB", "2048" }, { "BackedKiB", "1024" }, { "Epoch", "7" }, { "Members", "2" },
                { "Isolation", "group" },
        };
        static const struct { const char *key, *value; } first[] = {
                { "Pipe", "group-a" }, { "Guest", "web-1" }, { "State", "talks" }, { "ID", "1" }, { "DemandKiB", "4096" },
                { "Connections", "5" }, { "SentBytes", "123456789" }, { "OpenedConnections", "40" },
                { "Fallbacks", "no-peer 3, option 1, " },
        };
        static const struct { const char *key, *value; } couple[] = {
                { "Pipe", "group-b" }, { "Guest", "db-2" }, { "OtherGuest", "db-1" }, { "State", "serving" },
                { "GrantedKiB", "2048" }, { "IdleUSec", "5000000" },
        };
        g_autoptr(GHashTable) pipe = NULL, member = NULL, pair = NULL;
        Fixture *f = *state;
        sd_bus_message *m = manager(f, "ListPipes", NULL);

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        pipe = read_dict(m);
        for (size_t i = 0; i < G_N_ELEMENTS(group); i++)
                assert_has(pipe, group[i].key, group[i].value);
        sd_bus_message_unref(m);

        m = manager(f, "ListPipeMembers", NULL);
        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        member = read_dict(m);
        for (size_t i = 0; i < G_N_ELEMENTS(first); i++)
                assert_has(member, first[i].key, first[i].value);
        sd_bus_message_unref(m);

        m = manager(f, "ListPipePairs", NULL);
        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        pair = read_dict(m);
        for (size_t i = 0; i < G_N_ELEMENTS(couple); i++)
                assert_has(pair, couple[i].key, couple[i].value);
        sd_bus_message_unref(m);

        assert_done(manager(f, "AttachPipe", "s", "web-1"));
        assert_string_equal(f->service.answers, "attach");
        assert_string_equal(f->service.last_uuid, WEB_UUID);
        assert_done(manager(f, "DetachPipe", "s", "web-1"));
        assert_string_equal(f->service.answers, "detach");
        assert_error(manager(f, "DetachPipe", "s", ""), "org.memlego1.Error.InvalidArgument");
        assert_error(manager(f, "AttachPipe", "s", "nobody"), "org.memlego1.Error.NoSuchGuest");
}

static void test_swaps(void **state) {
        static const struct { const char *key, *value; } first[] = {
                { "Guest", "web-1" }, { "UUID", "4dea22b3-0ee8-4b6c-9a26-5f6dd7b6b001" }, { "Section", "idle" },
                { "State", "talks" }, { "Attach", "auto" }, { "LentKiB", "32768" }, { "TargetKiB", "65536" },
                { "CallBacks", "5" }, { "CallBacksMet", "4" }, { "CallBacksLate", "1" }, { "HitsPermille", "750" },
                { "Epoch", "3" }, { "Shares", "100" },
        };
        sd_bus_message *m = manager(*state, "ListSwaps", NULL);
        g_autoptr(GHashTable) swap = NULL;

        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'a', "a{sv}") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        swap = read_dict(m);
        for (size_t i = 0; i < G_N_ELEMENTS(first); i++)
                assert_has(swap, first[i].key, first[i].value);
        sd_bus_message_unref(m);
        g_hash_table_unref(swap);
        swap = get_all(*state, SWAP_OF_WEB, MLG_BUS_IFACE_SWAP);
        for (size_t i = 0; i < G_N_ELEMENTS(first); i++)
                assert_has(swap, first[i].key, first[i].value);
        assert_error(call(*state, "/org/memlego1/swap/nobody", "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_SWAP,
                          "Guest"),
                     SD_BUS_ERROR_UNKNOWN_OBJECT);
}

#define GROUP_A "/org/memlego1/pipe/group_2da"
#define GROUP_B "/org/memlego1/pipe/group_2db"

static void test_pipe_object(void **state) {
        static const struct { const char *key, *value; } of_a[] = {
                { "Name", "group-a" }, { "Path", "/run/memlego/pipe/group-a.sock" }, { "State", "serving" },
                { "Isolation", "group" }, { "QuotaKiB", "65536" }, { "BackedKiB", "1024" }, { "UsedKiB", "512" },
                { "Connections", "5" }, { "SentBytes", "123456789" }, { "Epoch", "7" }, { "OpenedConnections", "42" },
                { "Fallbacks", "no-peer 18446744073709551615, option 1, " },
        };
        Fixture *f = *state;
        g_autoptr(GHashTable) a = get_all(f, GROUP_A, MLG_BUS_IFACE_PIPE);
        g_autofree char *nodes = introspect(f, MLG_BUS_PATH_PIPE);
        const char *one, *other, *how;
        uint32_t utilisation;
        sd_bus_message *m;

        for (size_t i = 0; i < G_N_ELEMENTS(of_a); i++)
                assert_has(a, of_a[i].key, of_a[i].value);
        assert_non_null(strstr(nodes, "<node name=\"group_2da\"/>"));
        assert_non_null(strstr(nodes, "<node name=\"group_2db\"/>"));

        m = call(f, GROUP_A, "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_PIPE, "UtilisationPermille");
        assert_true(sd_bus_message_read(m, "v", "u", &utilisation) > 0);
        assert_int_equal(utilisation, 500);
        sd_bus_message_unref(m);
        m = call(f, GROUP_B, "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_PIPE, "Pairs");
        assert_ok(m);
        assert_true(sd_bus_message_enter_container(m, 'v', "a(sss)") > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "(sss)") > 0);
        assert_true(sd_bus_message_read(m, "(sss)", &one, &other, &how) > 0);
        assert_string_equal(one, "db-2");
        assert_string_equal(other, "db-1");
        assert_string_equal(how, "serving");
        sd_bus_message_unref(m);
        assert_error(call(f, "/org/memlego1/pipe/nobody", "org.freedesktop.DBus.Properties", "Get", "ss", MLG_BUS_IFACE_PIPE,
                          "Name"),
                     SD_BUS_ERROR_UNKNOWN_OBJECT);
}

static void test_pipe_changes(void **state) {
        Fixture *f = *state;

        mlg_bus_pipes_changed(f->bus);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_int_equal(f->signals->len, 2);
        assert_string_equal(signal_at(f, 0), "PipeAdded /org/memlego1 group-a " GROUP_A);
        assert_string_equal(signal_at(f, 1), "PipeAdded /org/memlego1 group-b " GROUP_B);
        mlg_bus_pipes_changed(f->bus);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_int_equal(f->signals->len, 2); /* nothing differs */

        f->service.pair_goes = true;
        mlg_bus_pipes_changed(f->bus);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_int_equal(f->signals->len, 3);
        assert_string_equal(signal_at(f, 2), "PropertiesChanged " GROUP_B " org.memlego1.Pipe Pairs");

        f->service.no_group_b = true;
        mlg_bus_pipes_changed(f->bus);
        mlg_bus_flush_changes(f->bus);
        drain(f);
        assert_int_equal(f->signals->len, 4);
        assert_string_equal(signal_at(f, 3), "PipeRemoved /org/memlego1 group-b " GROUP_B);
}

static void test_proposals_signals(void **state) {
        Fixture *f = *state;

        mlg_bus_proposal_added(f->bus, WEB_UUID, "web-1", &f->service.proposals[0].proposal);
        mlg_bus_proposal_removed(f->bus, WEB_UUID, "web-1", 17, MLG_PROPOSAL_SUPERSEDED);
        drain(f);
        assert_true(g_str_has_prefix(signal_at(f, 0), "ProposalAdded"));
        assert_true(g_str_has_prefix(signal_at(f, 1), "ProposalRemoved"));
}

static void test_open_fails(void **state) {
        FakeService service;
        MlgBus *bus = NULL;

        fake_service_init(&service);
        assert_true(mlg_bus_open_fd(-1, &fake_bus_ops, &service, &bus) < 0);
        assert_null(bus);
        g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/socket", TRUE);
        assert_true(mlg_bus_open_system(&fake_bus_ops, &service, &bus) < 0);
        assert_null(bus);
        assert_null(mlg_bus_free(NULL));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(guests),
                TEST(texts),
                TEST(large_answer),
                TEST(reservations_list),
                TEST(plugins_list),
                TEST(explain),
                TEST(explain_rules),
                TEST(properties),
                TEST(host_memory),
                TEST(host_states),
                TEST(not_utf8),
                TEST(pause),
                TEST(set_target),
                TEST(reload),
                TEST(error_names),
                TEST(rubbish),
                TEST(bad_paths),
                TEST(reserve),
                TEST(reserve_waits_not_for_ever),
                TEST(reserve_limit),
                TEST(reserve_client_leaves),
                TEST(reserve_service_leaves),
                TEST(pipes),
                TEST(swaps),
                TEST(stack),
                TEST(pipe_object),
                TEST(pipe_changes),
                TEST(proposals_list),
                TEST(proposals_answers),
                TEST(proposals_signals),
                TEST(signals),
                TEST(changes),
                TEST(introspection),
                TEST(nodes),
                TEST(man_page),
                cmocka_unit_test(test_open_fails),
        };

        return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
