/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt: the adapter on libvirt's test driver. That driver has no balloon statistics, so each running
 * guest is one whose QEMU does not answer to a poll: good for the plumbing and for refusals. Some functions
 * of libvirt are defined here once more, so that a test can hold calls back as a stopped QEMU does. The rest
 * needs real guests. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "hypervisor/libvirt.h"
#include "memlego/names.h"
#include "service/loop.h"
#include "util/util.h"

#define TIME_LIMIT_USEC (60 * MLG_USEC_PER_SEC)
#define CALL_TIMEOUT_USEC (20 * MLG_USEC_PER_SEC)

#define DEFAULT_URI "test:///default"
#define DEFAULT_UUID "6695eb01-f6a4-8304-79aa-97f2502e193f" /* the one guest of test:///default */
#define NEW_UUID "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b002"
#define NEW_XML(labels)                                                                                     \
        "<domain type='test'><name>new</name><uuid>" NEW_UUID "</uuid>"                                     \
        "<metadata><m:guest xmlns:m='" MLG_METADATA_URI "' labels='" labels "'/></metadata>"                \
        "<memory>262144</memory><currentMemory>131072</currentMemory><os><type>hvm</type></os>"             \
        "<devices><memballoon model='virtio'/></devices></domain>"

/* ---- what stands before libvirt ---- */

/* A program's own functions go before those of a library; the library's are the next ones. */
#define REAL(name) ((__typeof__(&(name))) dlsym(RTLD_NEXT, #name))

typedef enum Call {
        CALL_POLL,
        CALL_TARGET,
        CALL_JOB,
        _CALL_MAX,
} Call;

static struct {
        pthread_mutex_t lock;
        pthread_cond_t opened;
        unsigned to_hold[_CALL_MAX]; /* how many of the next calls do not come back */
        unsigned n_begun[_CALL_MAX], n_held[_CALL_MAX];
        unsigned round[_CALL_MAX]; /* those that are held go on when it changes */
        bool broken[_CALL_MAX];    /* they lose their connection */
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER };

static __thread bool thread_lost; /* the connection of this thread */

static bool gate_pass(Call c) {
        unsigned round;
        bool broken;

        pthread_mutex_lock(&gate.lock);
        gate.n_begun[c]++;
        if (gate.to_hold[c] > 0) {
                gate.to_hold[c]--;
                gate.n_held[c]++;
                round = gate.round[c];
                while (gate.round[c] == round)
                        pthread_cond_wait(&gate.opened, &gate.lock);
                gate.n_held[c]--;
        }
        broken = gate.broken[c];
        pthread_mutex_unlock(&gate.lock);
        thread_lost |= broken;
        return !broken;
}

static void gate_hold(Call c, unsigned n) {
        pthread_mutex_lock(&gate.lock);
        gate.to_hold[c] = n;
        gate.n_begun[c] = 0;
        pthread_mutex_unlock(&gate.lock);
}

static void gate_open(Call c) {
        pthread_mutex_lock(&gate.lock);
        gate.to_hold[c] = 0;
        gate.round[c]++;
        pthread_cond_broadcast(&gate.opened);
        pthread_mutex_unlock(&gate.lock);
}

static void gate_break(Call c, bool broken) {
        pthread_mutex_lock(&gate.lock);
        gate.broken[c] = broken;
        pthread_mutex_unlock(&gate.lock);
}

static unsigned gate_begun(Call c) {
        unsigned n;

        pthread_mutex_lock(&gate.lock);
        n = gate.n_begun[c];
        pthread_mutex_unlock(&gate.lock);
        return n;
}

static unsigned gate_held(Call c) {
        unsigned n;

        pthread_mutex_lock(&gate.lock);
        n = gate.n_held[c];
        pthread_mutex_unlock(&gate.lock);
        return n;
}

/* The test driver's connections are never lost by themselves, and its guests never migrate. */
static struct {
        virConnectPtr connection;
        virConnectCloseFunc on_close;
        void *on_close_opaque;
        gint n_closed;
        virConnectDomainEventMigrationIterationCallback on_pass;
        void *on_pass_opaque;
} last;

virConnectPtr virConnectOpen(const char *uri) {
        thread_lost = false;
        return REAL(virConnectOpen)(uri);
}

int virConnectIsAlive(virConnectPtr c) {
        return thread_lost ? 0 : REAL(virConnectIsAlive)(c);
}

int virConnectRegisterCloseCallback(virConnectPtr c, virConnectCloseFunc fn, void *opaque,
                                    virFreeCallback ff) {
        last.connection = c;
        last.on_close = fn;
        last.on_close_opaque = opaque;
        return REAL(virConnectRegisterCloseCallback)(c, fn, opaque, ff);
}

int virConnectUnregisterCloseCallback(virConnectPtr c, virConnectCloseFunc fn) {
        g_atomic_int_inc(&last.n_closed);
        return REAL(virConnectUnregisterCloseCallback)(c, fn);
}

static void lose_connection(void) {
        last.on_close(last.connection, VIR_CONNECT_CLOSE_REASON_EOF, last.on_close_opaque);
}

int virConnectDomainEventRegisterAny(virConnectPtr c, virDomainPtr domain, int id,
                                     virConnectDomainEventGenericCallback fn, void *opaque,
                                     virFreeCallback ff) {
        if (id == VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION) {
                last.on_pass = (virConnectDomainEventMigrationIterationCallback) (void *) fn;
                last.on_pass_opaque = opaque;
        }
        return REAL(virConnectDomainEventRegisterAny)(c, domain, id, fn, opaque, ff);
}

static void begin_pass(virDomainPtr domain) {
        last.on_pass(last.connection, domain, 1, last.on_pass_opaque);
}

int virDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr ret) {
        if (!gate_pass(CALL_JOB))
                return -1;
        ret->type = VIR_DOMAIN_JOB_NONE;
        return 0;
}

static gint n_ticks;       /* of the loop */
static gint keep_changing; /* > 0: each guest that is read changes then, and the loop hears of that first */

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned int flags) {
        char *xml = REAL(virDomainGetXMLDesc)(domain, flags);
        gint n = g_atomic_int_get(&keep_changing), ticks = g_atomic_int_get(&n_ticks);
        g_autofree char *labels = g_strdup_printf("<guest labels='version%d'/>", n);

        if (n == 0)
                return xml;
        g_atomic_int_inc(&keep_changing);
        (void) virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, labels, "m", MLG_METADATA_URI,
                                    VIR_DOMAIN_AFFECT_LIVE);
        while (g_atomic_int_get(&n_ticks) < ticks + 10)
                g_usleep(500);
        return xml;
}

static gint qemus_answer; /* in bulk reads */

int virConnectGetAllDomainStats(virConnectPtr c, unsigned int stats, virDomainStatsRecordPtr **ret,
                                unsigned int flags) {
        int n;

        if (!gate_pass(CALL_POLL))
                return -1;
        flags &= ~(unsigned int) VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT; /* the driver refuses it */
        n = REAL(virConnectGetAllDomainStats)(c, stats, ret, flags);
        for (int i = 0; i < n && g_atomic_int_get(&qemus_answer); i++) {
                virDomainStatsRecordPtr r = (*ret)[i];
                int max = r->nparams;

                (void) virTypedParamsAddULLong(&r->params, &r->nparams, &max, "balloon.usable", 65536);
        }
        return n;
}

int virDomainSetMemoryFlags(virDomainPtr domain, unsigned long memory, unsigned int flags) {
        return gate_pass(CALL_TARGET) ? REAL(virDomainSetMemoryFlags)(domain, memory, flags) : -1;
}

/* ---- what the adapter tells ---- */

typedef struct World {
        MlgLoop *loop;
        MlgTimer *guard, *tick;
        MlgWatch *watch;
        MlgHypervisor *h;
        gint until_tick;
        uint64_t until_usec;
        unsigned n_connected, n_failed;
        char *why;
        GHashTable *guests; /* uuid -> MlgGuestInfo */
        unsigned n_guest, n_gone;
        unsigned n_answers;
        int answer;
        char *answer_why;
        unsigned n_polls;
        int poll_answer;
        size_t n_entries, n_silent;
        bool (*until)(struct World *w);
} World;

static MlgLoop *the_loop; /* libvirt's events go to one loop per process */

static void check(World *w) {
        if (w->until && w->until(w))
                mlg_loop_quit(w->loop);
}

static void on_connection(bool connected, const char *why, void *userdata) {
        World *w = userdata;

        assert_non_null(why);
        if (connected)
                w->n_connected++;
        else
                w->n_failed++;
        g_free(w->why);
        w->why = g_strdup(why);
        check(w);
}

static void on_guest(const MlgGuestInfo *info, void *userdata) {
        World *w = userdata;

        w->n_guest++;
        g_hash_table_replace(w->guests, g_strdup(info->uuid), g_memdup2(info, sizeof(*info)));
        check(w);
}

static void on_guest_gone(const char *uuid, void *userdata) {
        World *w = userdata;

        w->n_gone++;
        assert_true(g_hash_table_remove(w->guests, uuid)); /* nothing goes that did not come */
        check(w);
}

static void on_event(const char *uuid, MlgGuestEvent event, uint64_t value, void *userdata) {
}

static const MlgHypervisorCallbacks callbacks = {
        .on_connection = on_connection,
        .on_guest = on_guest,
        .on_guest_gone = on_guest_gone,
        .on_event = on_event,
};

static void on_answer(int r, const char *why, void *userdata) {
        World *w = userdata;

        w->n_answers++;
        w->answer = r;
        g_free(w->answer_why);
        w->answer_why = g_strdup(why);
        assert_true(r >= 0 || why);
        check(w);
}

static void on_polled(int r, const MlgPollEntry *entries, size_t n_entries, void *userdata) {
        World *w = userdata;

        w->n_polls++;
        w->poll_answer = r;
        w->n_entries = n_entries;
        w->n_silent = 0;
        for (size_t i = 0; i < n_entries; i++) {
                assert_non_null(g_hash_table_lookup(w->guests, entries[i].uuid));
                w->n_silent += entries[i].raw == NULL;
        }
        check(w);
}

static void on_guard(uint64_t now_usec, void *userdata) {
        const World *w = userdata;

        fail_msg("does not happen; connected %u, failed %u (%s), guests %u, answers %u, polls %u",
                 w->n_connected, w->n_failed, w->why, g_hash_table_size(w->guests), w->n_answers,
                 w->n_polls);
}

/* Other threads change what a test may wait for. */
static void on_tick(uint64_t now_usec, void *userdata) {
        World *w = userdata;

        mlg_timer_at(w->tick, now_usec + 2000);
        g_atomic_int_inc(&n_ticks);
        check(w);
}

static void run_until(World *w, bool (*until)(World *)) {
        w->until = until;
        mlg_timer_at(w->guard, mlg_loop_now_usec(w->loop) + TIME_LIMIT_USEC);
        mlg_timer_at(w->tick, 0);
        if (!until(w))
                assert_int_equal(mlg_loop_run(w->loop), 0);
        w->until = NULL;
}

static const MlgCgroupRoots *cgroup_roots; /* of the adapters that are made next */

static void start_unstarted(World *w, const char *uri) {
        MlgLibvirtOptions options = { .uri = uri, .workers = 2, .call_timeout_usec = CALL_TIMEOUT_USEC,
                                      .cgroup_roots = cgroup_roots };

        *w = (World) { .loop = the_loop };
        w->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        assert_int_equal(mlg_libvirt_new(&options, &callbacks, w, &w->h), 0);
        assert_int_equal(mlg_loop_watch(w->loop, mlg_libvirt_pollable(w->h), &w->watch), 0);
        assert_int_equal(mlg_timer_new(w->loop, on_guard, w, &w->guard), 0);
        assert_int_equal(mlg_timer_new(w->loop, on_tick, w, &w->tick), 0);
}

static void start(World *w, const char *uri) {
        start_unstarted(w, uri);
        w->h->ops->start(w->h);
        assert_int_equal(w->n_connected + w->n_failed, 0); /* never from inside a request */
}

static void stop(World *w) {
        mlg_watch_free(w->watch);
        w->h->ops->free(w->h);
        mlg_timer_free(w->guard);
        mlg_timer_free(w->tick);
        g_hash_table_unref(w->guests);
        g_free(w->why);
        g_free(w->answer_why);
}

static bool is_connected(World *w) {
        return w->n_connected > 0;
}

static bool has_failed(World *w) {
        return w->n_failed > 0;
}

static bool has_answer(World *w) {
        return w->n_answers > 0;
}

static bool has_poll(World *w) {
        return w->n_polls > 0;
}

static bool has_guest(World *w) {
        return g_hash_table_size(w->guests) > 0;
}

static const MlgGuestInfo *guest(World *w, const char *uuid) {
        return g_hash_table_lookup(w->guests, uuid);
}

static int set_target(World *w, const char *uuid, uint64_t kib) {
        w->n_answers = 0;
        assert_int_equal(w->h->ops->set_target(w->h, uuid, kib, 0, on_answer, w), 0);
        assert_int_equal(w->n_answers, 0);
        run_until(w, has_answer);
        assert_int_equal(w->n_answers, 1);
        return w->answer;
}

static int poll_once(World *w) {
        w->n_polls = 0;
        assert_int_equal(w->h->ops->poll(w->h, 0, on_polled, w), 0);
        assert_int_equal(w->h->ops->poll(w->h, 0, on_polled, w), -EBUSY);
        assert_int_equal(w->n_polls, 0);
        run_until(w, has_poll);
        assert_int_equal(w->n_polls, 1);
        return w->poll_answer;
}

static void test_options(void **state) {
        static const MlgLibvirtOptions wrong[] = {
                { .uri = DEFAULT_URI, .workers = 0, .call_timeout_usec = 1 },
                { .uri = DEFAULT_URI, .workers = 17, .call_timeout_usec = 1 },
                { .uri = DEFAULT_URI, .workers = 1, .call_timeout_usec = 0 },
        };
        MlgHypervisor *h;

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
                assert_int_equal(mlg_libvirt_new(&wrong[i], &callbacks, NULL, &h), -EINVAL);
}

static void test_default(void **state) {
        const MlgGuestInfo *info;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        assert_int_equal(w.n_connected, 1);
        info = guest(&w, DEFAULT_UUID);
        assert_non_null(info);
        assert_string_equal(info->name, "test");
        assert_int_equal(info->run_state, MLG_RUN_RUNNING);
        assert_int_equal(info->instance, 1);
        assert_int_equal(info->maximum_kib, 8388608);
        stop(&w);
}

static void on_reclaimed(int r, const MlgRawCgroup *raw, const char *why, void *userdata) {
        assert_true((r == 0) == (raw != NULL));
        on_answer(r, why, userdata);
}

/* What is read and taken is test-cgroup's; this is how it gets there, and that it is only done on this host. */
static void test_reclaim(void **state) {
        static const MlgCgroupRoots roots = { "/nonexistent/proc", "/nonexistent/cgroup", "/nonexistent/run" };
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        assert_int_equal(w.h->ops->reclaim(w.h, DEFAULT_UUID, 0, 0, on_reclaimed, &w), -EOPNOTSUPP);
        stop(&w);
        cgroup_roots = &roots;
        start(&w, DEFAULT_URI);
        cgroup_roots = NULL;
        run_until(&w, has_guest);
        assert_int_equal(w.h->ops->reclaim(w.h, NEW_UUID, 0, 0, on_reclaimed, &w), -ENODEV);
        assert_int_equal(w.h->ops->reclaim(w.h, DEFAULT_UUID, 1024, 0, on_reclaimed, &w), 0);
        assert_int_equal(w.n_answers, 0);
        run_until(&w, has_answer);
        assert_int_equal(w.answer, -ENOENT);
        assert_non_null(strstr(w.answer_why, "/nonexistent/run/test.pid"));
        stop(&w);
}

static void test_before_connected(void **state) {
        World w;

        start_unstarted(&w, DEFAULT_URI);
        assert_int_equal(set_target(&w, DEFAULT_UUID, 1024), -ENOTCONN);
        assert_int_equal(poll_once(&w), -ENOTCONN);
        assert_int_equal(w.n_entries, 0);
        stop(&w);
}

/* What this process does to test:///default by a connection of its own is what the adapter must see. */
typedef struct Hand {
        virConnectPtr connection;
        virDomainPtr domain;
} Hand;

static void hand_open(Hand *hand) {
        hand->connection = virConnectOpen(DEFAULT_URI);
        assert_non_null(hand->connection);
        hand->domain = NULL;
}

static void hand_close(Hand *hand) {
        if (hand->domain)
                virDomainFree(hand->domain);
        virConnectClose(hand->connection);
}

static void set_labels(Hand *hand, const char *xml) {
        assert_int_equal(virDomainSetMetadata(hand->domain, VIR_DOMAIN_METADATA_ELEMENT, xml, "m",
                                              MLG_METADATA_URI, VIR_DOMAIN_AFFECT_LIVE),
                         0);
}

static void test_refused(void **state) {
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        assert_int_equal(set_target(&w, "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6bfff", 1048576), -ENODEV);
        assert_int_equal(set_target(&w, "rubbish", 1048576), -ENODEV);
        assert_int_equal(set_target(&w, DEFAULT_UUID, 0), -ERANGE);
        assert_int_equal(set_target(&w, DEFAULT_UUID, UINT64_MAX), -ERANGE);
        stop(&w);
}

static bool new_is_there(World *w) {
        return guest(w, NEW_UUID) != NULL;
}

static bool new_is_running(World *w) {
        return new_is_there(w) && guest(w, NEW_UUID)->run_state == MLG_RUN_RUNNING;
}

static bool new_is_paused(World *w) {
        return new_is_there(w) && guest(w, NEW_UUID)->run_state == MLG_RUN_PAUSED;
}

static bool new_is_off(World *w) {
        return new_is_there(w) && guest(w, NEW_UUID)->run_state == MLG_RUN_OFF;
}

static bool new_is_gone(World *w) {
        return !new_is_there(w);
}

static bool new_is_bronze(World *w) {
        return new_is_there(w) && strcmp(guest(w, NEW_UUID)->labels, "bronze") == 0;
}

static void test_life_of_a_persistent_guest(void **state) {
        virDomainInfo info;
        uint32_t instance;
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);

        hand.domain = virDomainDefineXML(hand.connection, NEW_XML("gold"));
        assert_non_null(hand.domain);
        run_until(&w, new_is_there);
        assert_int_equal(guest(&w, NEW_UUID)->run_state, MLG_RUN_OFF);
        assert_int_equal(guest(&w, NEW_UUID)->instance, 0);
        assert_string_equal(guest(&w, NEW_UUID)->labels, "gold");
        assert_int_equal(set_target(&w, NEW_UUID, 65536), -ENODEV);

        assert_int_equal(virDomainCreate(hand.domain), 0);
        run_until(&w, new_is_running);
        instance = guest(&w, NEW_UUID)->instance;
        assert_true(instance > 0);
        assert_true(guest(&w, NEW_UUID)->has_balloon);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), 0);
        assert_int_equal(virDomainGetInfo(hand.domain, &info), 0);
        assert_int_equal(info.memory, 65536);
        assert_int_equal(set_target(&w, NEW_UUID, 1048576), -ERANGE); /* more than its maximum */
        assert_non_null(strstr(w.answer_why, "higher than max memory")); /* libvirt's own words */

        assert_int_equal(virDomainSuspend(hand.domain), 0);
        run_until(&w, new_is_paused);
        assert_int_equal(virDomainResume(hand.domain), 0);
        run_until(&w, new_is_running);

        assert_int_equal(virDomainDestroy(hand.domain), 0);
        run_until(&w, new_is_off);
        assert_int_equal(virDomainCreate(hand.domain), 0);
        run_until(&w, new_is_running);
        assert_int_not_equal(guest(&w, NEW_UUID)->instance, instance);

        assert_int_equal(virDomainDestroy(hand.domain), 0);
        run_until(&w, new_is_off);
        assert_int_equal(virDomainUndefine(hand.domain), 0);
        run_until(&w, new_is_gone);
        assert_int_equal(w.n_gone, 1);
        hand_close(&hand);
        stop(&w);
}

static void test_life_of_a_transient_guest(void **state) {
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);
        hand.domain = virDomainCreateXML(hand.connection, NEW_XML("gold"), 0);
        assert_non_null(hand.domain);
        run_until(&w, new_is_running);
        set_labels(&hand, "<guest labels='bronze'/>");
        run_until(&w, new_is_bronze);
        assert_int_equal(virDomainDestroy(hand.domain), 0);
        run_until(&w, new_is_gone);
        hand_close(&hand);
        stop(&w);
}

static void test_poll(void **state) {
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);
        hand.domain = virDomainCreateXML(hand.connection, NEW_XML("gold"), 0);
        run_until(&w, new_is_running);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), 0);

        assert_int_equal(poll_once(&w), 0);
        assert_int_equal(w.n_entries, 2);
        assert_int_equal(w.n_silent, 2);
        assert_int_equal(set_target(&w, NEW_UUID, 131072), -EAGAIN); /* silent: left alone */
        assert_int_equal(poll_once(&w), 0);

        assert_int_equal(virDomainDestroy(hand.domain), 0);
        run_until(&w, new_is_gone);
        assert_int_equal(poll_once(&w), 0);
        assert_int_equal(w.n_entries, 1);
        hand_close(&hand);
        stop(&w);
}

static void ask(World *w, const char *uuid, uint64_t deadline_usec) {
        assert_int_equal(w->h->ops->set_target(w->h, uuid, 65536, deadline_usec, on_answer, w), 0);
}

static uint64_t in_usec(uint64_t usec) {
        return (uint64_t) g_get_monotonic_time() + usec;
}

static bool two_targets_are_held(World *w) {
        return gate_held(CALL_TARGET) == 2;
}

static bool has_three_answers(World *w) {
        return w->n_answers == 3;
}

/* A call that was never begun, because all threads are busy with another guest. */
static void test_no_thread_is_free(void **state) {
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);
        hand.domain = virDomainCreateXML(hand.connection, NEW_XML("gold"), 0);
        run_until(&w, new_is_running);

        gate_hold(CALL_TARGET, 2);
        for (int i = 0; i < 2; i++)
                ask(&w, DEFAULT_UUID, 0);
        run_until(&w, two_targets_are_held);
        ask(&w, NEW_UUID, in_usec(20 * 1000));
        run_until(&w, has_answer);
        assert_int_equal(w.answer, -EAGAIN);
        gate_open(CALL_TARGET);
        run_until(&w, has_three_answers);
        assert_int_equal(w.answer, 0);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), 0); /* nothing is held against it */

        assert_int_equal(virDomainDestroy(hand.domain), 0);
        hand_close(&hand);
        stop(&w);
}

static bool is_connected_again(World *w) {
        return w->n_connected == 2;
}

static bool is_closed(World *w) {
        return g_atomic_int_get(&last.n_closed) > 0;
}

/* All threads hang when the connection is lost: it is closed, and made again, when one comes back. */
static void test_lost_while_all_hang(void **state) {
        enum { ALL = 2 + 1 + 8 }; /* ordinary, urgent, replaced */
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        g_atomic_int_set(&last.n_closed, 0);
        gate_hold(CALL_POLL, ALL);
        while (gate_held(CALL_POLL) < ALL) {
                w.n_polls = 0;
                assert_int_equal(w.h->ops->poll(w.h, in_usec(20 * 1000), on_polled, &w), 0);
                run_until(&w, has_poll);
                assert_int_equal(w.poll_answer, -ETIMEDOUT);
        }
        lose_connection();
        run_until(&w, has_failed);
        assert_int_equal(g_atomic_int_get(&last.n_closed), 0);
        gate_open(CALL_POLL);
        run_until(&w, is_closed);
        run_until(&w, is_connected_again);
        stop(&w);
}

static bool a_poll_is_held(World *w) {
        return gate_held(CALL_POLL) == 1;
}

static bool a_target_is_held(World *w) {
        return gate_held(CALL_TARGET) == 1;
}

/* Calls that lost their connections come back when there is a new one already. */
static void test_late_losses(void **state) {
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        gate_hold(CALL_POLL, 1);
        gate_hold(CALL_TARGET, 1);
        assert_int_equal(w.h->ops->poll(w.h, 0, on_polled, &w), 0);
        ask(&w, DEFAULT_UUID, 0);
        run_until(&w, a_poll_is_held);
        run_until(&w, a_target_is_held);
        lose_connection();
        run_until(&w, is_connected_again);
        assert_int_equal(w.n_failed, 1);

        gate_break(CALL_POLL, true);
        gate_open(CALL_POLL);
        run_until(&w, has_poll);
        assert_int_equal(w.poll_answer, -ENOTCONN);
        gate_break(CALL_TARGET, true);
        gate_open(CALL_TARGET);
        run_until(&w, has_answer);
        assert_int_equal(w.answer, -ENOTCONN);
        assert_int_equal(w.n_failed, 1); /* the new one stays */

        gate_break(CALL_POLL, false);
        g_atomic_int_set(&qemus_answer, 1);
        assert_int_equal(poll_once(&w), 0);
        assert_int_equal(set_target(&w, DEFAULT_UUID, 65536), -ENOTCONN); /* this one counts */
        assert_int_equal(w.n_failed, 2);
        stop(&w);
}

static bool new_is_migrating(World *w) {
        return guest(w, NEW_UUID)->migrating;
}

static bool new_is_not_migrating(World *w) {
        return !guest(w, NEW_UUID)->migrating;
}

static bool a_job_is_held(World *w) {
        return gate_held(CALL_JOB) == 1;
}

static bool ticked_on(World *w) {
        return g_atomic_int_get(&n_ticks) >= w->until_tick;
}

/* Long enough for all that is on its way to the adapter by the loop itself. */
static void run_on(World *w) {
        w->until_tick = g_atomic_int_get(&n_ticks) + 10;
        run_until(w, ticked_on);
}

static void poll_until(World *w, bool (*until)(World *)) {
        uint64_t limit = in_usec(TIME_LIMIT_USEC);

        while (!until(w)) {
                if ((uint64_t) g_get_monotonic_time() > limit)
                        fail_msg("does not happen");
                assert_int_equal(poll_once(w), 0);
                run_on(w);
        }
}

/* A migration that fails is told by nobody: the guest is asked. */
static void test_migration(void **state) {
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);
        hand.domain = virDomainCreateXML(hand.connection, NEW_XML("gold"), 0);
        run_until(&w, new_is_running);
        g_atomic_int_set(&qemus_answer, 1);

        begin_pass(hand.domain);
        run_until(&w, new_is_migrating);
        gate_hold(CALL_JOB, 1);
        poll_until(&w, a_job_is_held);
        begin_pass(hand.domain); /* while the answer is on its way: is it about this one? */
        run_on(&w);
        gate_open(CALL_JOB);
        poll_until(&w, new_is_not_migrating);
        assert_int_equal(gate_begun(CALL_JOB), 2);

        assert_int_equal(virDomainDestroy(hand.domain), 0);
        hand_close(&hand);
        stop(&w);
}

static bool three_versions_were_told(World *w) {
        return w->n_guest >= 3;
}

/* A guest that changes each time it is read: what it was is told all the same, and what it is at the end. */
static void test_changes_faster_than_it_is_read(void **state) {
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);
        hand.domain = virDomainCreateXML(hand.connection, NEW_XML("gold"), 0);
        run_until(&w, new_is_running);
        w.n_guest = 0;
        g_atomic_int_set(&keep_changing, 1);
        set_labels(&hand, "<guest labels='version0'/>");
        run_until(&w, three_versions_were_told);
        g_atomic_int_set(&keep_changing, 0);
        set_labels(&hand, "<guest labels='bronze'/>");
        run_until(&w, new_is_bronze);
        assert_int_equal(virDomainDestroy(hand.domain), 0);
        hand_close(&hand);
        stop(&w);
}

static void assert_poll(World *w, size_t n_entries, size_t n_silent) {
        run_until(w, has_poll);
        assert_int_equal(w->poll_answer, 0);
        assert_int_equal(w->n_entries, n_entries);
        assert_int_equal(w->n_silent, n_silent);
}

static void begin_poll(World *w) {
        w->n_polls = 0;
        assert_int_equal(w->h->ops->poll(w->h, 0, on_polled, w), 0);
}

/* A poll passes a guest by that has a call of ours to answer; that says nothing of its QEMU. Nobody answers
 * these polls, so the other guest is silent. */
static void test_busy_with_us(void **state) {
        Hand hand;
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        hand_open(&hand);
        hand.domain = virDomainCreateXML(hand.connection, NEW_XML("gold"), 0);
        run_until(&w, new_is_running);

        gate_hold(CALL_TARGET, 1); /* under way when the poll comes back */
        ask(&w, NEW_UUID, 0);
        run_until(&w, a_target_is_held);
        begin_poll(&w);
        assert_poll(&w, 1, 1);
        gate_open(CALL_TARGET);
        run_until(&w, has_answer);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), 0);

        gate_hold(CALL_POLL, 1); /* answered while the poll is under way */
        begin_poll(&w);
        run_until(&w, a_poll_is_held);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), 0);
        gate_open(CALL_POLL);
        assert_poll(&w, 1, 1);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), 0);

        begin_poll(&w); /* and now there is no excuse */
        assert_poll(&w, 2, 2);
        assert_int_equal(set_target(&w, NEW_UUID, 65536), -EAGAIN);

        assert_int_equal(virDomainDestroy(hand.domain), 0);
        hand_close(&hand);
        stop(&w);
}

static bool takes_a_target(World *w) {
        return set_target(w, DEFAULT_UUID, 65536) == 0;
}

/* A call that passed its deadline is no excuse, and as long as it hangs nothing else is sent. */
static void test_late(void **state) {
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        gate_hold(CALL_TARGET, 1);
        ask(&w, DEFAULT_UUID, in_usec(2 * MLG_USEC_PER_SEC));
        run_until(&w, a_target_is_held);
        run_until(&w, has_answer);
        assert_int_equal(w.answer, -ETIMEDOUT);
        assert_int_equal(set_target(&w, DEFAULT_UUID, 65536), -EAGAIN);
        begin_poll(&w);
        assert_poll(&w, 1, 1);

        g_atomic_int_set(&qemus_answer, 1);
        begin_poll(&w);
        assert_poll(&w, 1, 0);
        assert_int_equal(set_target(&w, DEFAULT_UUID, 65536), -EAGAIN);
        gate_open(CALL_TARGET);
        poll_until(&w, takes_a_target);
        stop(&w);
}

static int poll_within(World *w, uint64_t usec) {
        w->n_polls = 0;
        assert_int_equal(w->h->ops->poll(w->h, in_usec(usec), on_polled, w), 0);
        run_until(w, has_poll);
        return w->poll_answer;
}

/* One QEMU stops: the bulk read that came upon it does not come back, the next one passes it by. */
static void test_one_stops(void **state) {
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        gate_hold(CALL_POLL, 1);
        assert_int_equal(poll_within(&w, 4 * MLG_USEC_PER_SEC), 0);
        assert_int_equal(gate_held(CALL_POLL), 1);
        assert_int_equal(gate_begun(CALL_POLL), 2);
        gate_open(CALL_POLL);
        stop(&w);
}

static bool a_while_is_over(World *w) {
        return (uint64_t) g_get_monotonic_time() >= w->until_usec;
}

/* When no bulk read is as fast as it should be, it must not be given up half-way for ever. How often it was
 * begun tells what time it had. */
static void test_all_are_slow(void **state) {
        World w;

        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        gate_hold(CALL_POLL, 100);
        assert_int_equal(poll_within(&w, 500 * 1000), -ETIMEDOUT);
        gate_open(CALL_POLL);
        gate_hold(CALL_POLL, 100);
        assert_int_equal(poll_within(&w, 500 * 1000), -ETIMEDOUT);
        assert_true(gate_begun(CALL_POLL) <= 1);

        gate_open(CALL_POLL);
        gate_hold(CALL_POLL, 1);
        begin_poll(&w);
        run_until(&w, a_poll_is_held);
        w.until_usec = in_usec(300 * 1000);
        run_until(&w, a_while_is_over);
        gate_open(CALL_POLL);
        assert_poll(&w, 1, 1);
        gate_hold(CALL_POLL, 100);
        assert_int_equal(poll_within(&w, 500 * 1000), -ETIMEDOUT); /* less than twice as long */
        assert_true(gate_begun(CALL_POLL) <= 1);
        gate_open(CALL_POLL);
        stop(&w);
}

#define NODE_GUEST(name, uuid, rest)                                                                        \
        "<domain type='test'><name>" name "</name><uuid>6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b1" uuid "</uuid>"  \
        "<memory>262144</memory><os><type>hvm</type></os>" rest "</domain>"

#define BALLOON "<devices><memballoon model='virtio'><stats period='3'/></memballoon></devices>"
#define STATE_OFF "<test:runstate xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>5</test:runstate>"

/* clang-format off */
static const char node[] =
        "<node>"
        NODE_GUEST("plain", "01", BALLOON)
        NODE_GUEST("none", "02", "<devices><memballoon model='none'/></devices>")
        NODE_GUEST("locked", "03", "<memoryBacking><locked/></memoryBacking>")
        NODE_GUEST("off", "04", STATE_OFF)
        "</node>";
/* clang-format on */

static bool has_four_guests(World *w) {
        return g_hash_table_size(w->guests) == 4;
}

/* First there is nothing to connect to; it is tried again, and said once. */
static void test_connects_later(void **state) {
        g_autofree char *dir = g_dir_make_tmp("test-libvirt-XXXXXX", NULL);
        g_autofree char *path = g_build_filename(dir, "node.xml", NULL);
        g_autofree char *uri = g_strconcat("test://", path, NULL);
        World w;

        start(&w, uri);
        run_until(&w, has_failed);
        assert_int_equal(w.n_connected, 0);
        assert_true(g_file_set_contents(path, node, -1, NULL));
        run_until(&w, is_connected);
        assert_int_equal(w.n_failed, 1);
        run_until(&w, has_four_guests);
        assert_int_equal(guest(&w, "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b101")->run_state, MLG_RUN_RUNNING);
        assert_false(guest(&w, "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b102")->has_balloon);
        assert_true(guest(&w, "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b103")->locked);
        assert_int_equal(guest(&w, "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b104")->run_state, MLG_RUN_OFF);
        assert_int_equal(set_target(&w, "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b102", 65536), -EOPNOTSUPP);
        assert_int_equal(poll_once(&w), 0);
        assert_int_equal(w.n_entries, 3);
        assert_int_equal(w.n_silent, 1); /* who has no balloon has nothing to answer */
        stop(&w);
        (void) unlink(path);
        (void) rmdir(dir);
}

/* Freed in each moment of its start: pending callbacks are dropped, nothing leaks. */
static void test_free_early(void **state) {
        World w;

        start_unstarted(&w, DEFAULT_URI);
        stop(&w);
        start(&w, DEFAULT_URI);
        stop(&w);
        for (int turns = 0; turns < 5; turns++) {
                start(&w, DEFAULT_URI);
                for (int i = 0; i < turns; i++) {
                        const MlgPollable *p = mlg_libvirt_pollable(w.h);

                        assert_int_equal(p->dispatch((uint64_t) g_get_monotonic_time(), p->userdata), 0);
                }
                assert_int_equal(w.h->ops->poll(w.h, 0, on_polled, &w), 0);
                assert_int_equal(w.h->ops->set_target(w.h, DEFAULT_UUID, 1024, 0, on_answer, &w), 0);
                stop(&w);
                assert_int_equal(w.n_polls + w.n_answers, 0);
        }
        start(&w, DEFAULT_URI);
        run_until(&w, has_guest);
        assert_int_equal(w.h->ops->poll(w.h, 0, on_polled, &w), 0);
        assert_int_equal(w.h->ops->set_stats_period(w.h, DEFAULT_UUID, 1, 0, on_answer, &w), 0);
        stop(&w);
        assert_int_equal(w.n_polls + w.n_answers, 0);
}

static void on_quit(uint64_t now_usec, void *userdata) {
        mlg_loop_quit(the_loop);
}

/* libvirt gives back what its callbacks held from a clean stack of the loop. */
static int drain(void **state) {
        MlgTimer *timer;

        for (Call c = 0; c < _CALL_MAX; c++) { /* a test that failed may have left it so */
                gate_break(c, false);
                gate_open(c);
        }
        g_atomic_int_set(&qemus_answer, 0);
        g_atomic_int_set(&keep_changing, 0);
        for (int i = 0; i < 5; i++) {
                if (mlg_timer_new(the_loop, on_quit, NULL, &timer) < 0)
                        return -1;
                mlg_timer_at(timer, 0);
                (void) mlg_loop_run(the_loop);
                mlg_timer_free(timer);
        }
        return 0;
}

static int setup(void **state) {
        return mlg_loop_new(&the_loop) < 0 || mlg_loop_register_libvirt(the_loop) < 0 ? -1 : 0;
}

static int teardown(void **state) {
        the_loop = mlg_loop_free(the_loop);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_options),
                cmocka_unit_test_teardown(test_default, drain),
                cmocka_unit_test_teardown(test_reclaim, drain),
                cmocka_unit_test_teardown(test_before_connected, drain),
                cmocka_unit_test_teardown(test_refused, drain),
                cmocka_unit_test_teardown(test_life_of_a_persistent_guest, drain),
                cmocka_unit_test_teardown(test_life_of_a_transient_guest, drain),
                cmocka_unit_test_teardown(test_poll, drain),
                cmocka_unit_test_teardown(test_no_thread_is_free, drain),
                cmocka_unit_test_teardown(test_lost_while_all_hang, drain),
                cmocka_unit_test_teardown(test_late_losses, drain),
                cmocka_unit_test_teardown(test_migration, drain),
                cmocka_unit_test_teardown(test_changes_faster_than_it_is_read, drain),
                cmocka_unit_test_teardown(test_busy_with_us, drain),
                cmocka_unit_test_teardown(test_late, drain),
                cmocka_unit_test_teardown(test_one_stops, drain),
                cmocka_unit_test_teardown(test_all_are_slow, drain),
                cmocka_unit_test_teardown(test_connects_later, drain),
                cmocka_unit_test_teardown(test_free_early, drain),
        };

        return cmocka_run_group_tests_name("libvirt", tests, setup, teardown);
}
