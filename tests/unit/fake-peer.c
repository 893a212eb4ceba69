/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake peer: one connection after the other, each served until its client leaves. */
#include "fake-peer.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>
#include <systemd/sd-bus.h>

typedef struct Fake {
        FakeTemper temper;
        const char *dump;
        sd_bus *bus;
        unsigned int calls; /* of all connections */
} Fake;

#define ERROR(name) "org.memlego1.Error." name

/* Types as systemd/org.memlego1.xml and src/bus/guest.c have them. */
static int add_decision(sd_bus_message *reply, uint64_t age_usec, uint64_t repeated, uint64_t to_kib,
                        const char *result, const char *error) {
        return sd_bus_message_append(reply, "a{sv}", 21, "AgeUSec", "t", age_usec, "Repeated", "t", repeated,
                                     "State", "s", "managed", "Trust", "s", "fresh", "Pressure", "s", "none",
                                     "ActualKiB", "t", UINT64_C(524288), "UsedKiB", "t", UINT64_C(307200),
                                     "UsableKiB", "t", UINT64_C(194560), "NeedKiB", "t", UINT64_C(317440),
                                     "ErrorKiB", "t", UINT64_C(12288), "CushionKiB", "t", UINT64_C(65536),
                                     "FromKiB", "t", UINT64_C(524288), "WantedKiB", "t", UINT64_C(700000),
                                     "WantedReason", "s", "demand", "ToKiB", "t", to_kib, "Reason", "s",
                                     "rate", "Sentence", "s",
                                     "shortened\033[2J to what its rate limit allows", "Result", "s", result,
                                     "Error", "s", error,
                                     /* of a later version, and of another type than today */
                                     "Colour", "(ss)", "sky", "blue", "Trust", "u", UINT32_C(3));
}

static int answer_explain_rules(sd_bus_message *m) {
        const char *guest;
        int r = sd_bus_message_read(m, "s", &guest);

        if (r < 0)
                return r;
        if (!g_str_equal(guest, "web-1"))
                return sd_bus_reply_method_return(m, "aa{sv}", 0);
        return sd_bus_reply_method_return(m, "aa{sv}", 1, 4, "Rule", "s", "night", "Origin", "s",
                                          "policy.d/\033[2Jx.policy:12", "Settings", "s", "Floor=2G Priority=20",
                                          "Colour", "s", "of a later version");
}

static int answer_explain(sd_bus_message *m) {
        sd_bus_message *reply = NULL;
        const char *guest;
        int r;

        r = sd_bus_message_read(m, "s", &guest);
        if (r < 0)
                return r;
        if (!g_str_equal(guest, "web-1") && !g_str_equal(guest, "silent"))
                return sd_bus_reply_method_errorf(m, ERROR("NoSuchGuest"), "There is no guest \"%s\"",
                                                  guest);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        if (r >= 0 && g_str_equal(guest, "web-1")) {
                r = add_decision(reply, 300000, 1, 655360, "accepted", "");
                if (r >= 0)
                        r = add_decision(reply, 65000000, 12, 524288, "none", "");
                if (r >= 0)
                        r = add_decision(reply, 90000000, 1, 655360, "failed", "ETIMEDOUT");
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int answer_reserve(sd_bus_message *m) {
        uint64_t bytes, usec;
        int r = sd_bus_message_read(m, "tt", &bytes, &usec);

        if (r < 0)
                return r;
        if (bytes > UINT64_C(1) << 40)
                return sd_bus_reply_method_errorf(m, ERROR("NoRoom"), "only 1 GiB can be made free");
        return sd_bus_reply_method_return(m, "t", UINT64_C(7));
}

static int answer_release(sd_bus_message *m) {
        uint64_t id;
        int r = sd_bus_message_read(m, "t", &id);

        if (r < 0)
                return r;
        if (id != 7)
                return sd_bus_reply_method_errorf(m, ERROR("NoSuchReservation"), "There is none %" PRIu64,
                                                  id);
        return sd_bus_reply_method_return(m, "");
}

static int answer_list_proposals(sd_bus_message *m) {
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "aa{sv}", 1, 10, "ID", "t", UINT64_C(17), "FromKiB", "t", UINT64_C(409600),
                                          "ToKiB", "t", UINT64_C(675840), "ExpiresUSec", "t", UINT64_C(840000000),
                                          "Guest", "s", "web-1", "State", "s", "open", "Reason", "s", "pressure",
                                          "Effect", "s", "usable memory\033[2J 40 MiB -> 300 MiB",
                                          /* of a later version, and of another type than today */
                                          "Path", "o", "/org/memlego1/guest/a", "Pressure", "u", UINT32_C(3));
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int answer_list_pipes(sd_bus_message *m) {
        return sd_bus_reply_method_return(m, "aa{sv}", 1, 5, "Name", "s", "group-a", "Path", "s", "/run/it's/group-a.sock",
                                          "QuotaKiB", "t", UINT64_C(65536), "Members", "t", UINT64_C(1), "State", "s", "serving");
}

static int answer_list_pipe_members(sd_bus_message *m) {
        return sd_bus_reply_method_return(m, "aa{sv}", 1, 4, "Pipe", "s", "group-a", "Guest", "s", "web\033[2J", "State", "s",
                                          "talks", "GrantedKiB", "t", UINT64_C(1024));
}

static int answer_list_pipe_pairs(sd_bus_message *m) {
        return sd_bus_reply_method_return(m, "aa{sv}", 1, 5, "Pipe", "s", "group-a", "Guest", "s", "web\033[2J", "OtherGuest", "s",
                                          "web-2", "State", "s", "serving", "IdleUSec", "t", UINT64_C(5000000));
}

/* ApproveProposal, RejectProposal */
static int answer_proposal(sd_bus_message *m) {
        uint64_t id;
        int r = sd_bus_message_read(m, "t", &id);

        if (r < 0)
                return r;
        if (id != 17)
                return sd_bus_reply_method_errorf(m, ERROR("NoSuchProposal"), "Proposal %" PRIu64 " has expired", id);
        return sd_bus_reply_method_return(m, "");
}

static int answer_approve_all(sd_bus_message *m) {
        const char *guest;
        uint64_t usec;
        int r = sd_bus_message_read(m, "st", &guest, &usec);

        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, "u", usec == 0 && !*guest ? UINT32_C(3) : UINT32_C(1));
}

/* Pause, Resume, SetTarget, EndApproval */
static int answer_guest(sd_bus_message *m, const char *method) {
        uint64_t kib = 524288, usec = 600000000;
        const char *guest;
        int r;

        if (g_str_equal(method, "SetTarget"))
                r = sd_bus_message_read(m, "stt", &guest, &kib, &usec);
        else
                r = sd_bus_message_read(m, "s", &guest);
        if (r < 0)
                return r;
        if (kib != 524288 || usec != 600000000)
                return sd_bus_reply_method_errorf(m, ERROR("InvalidArgument"),
                                                  "not the arguments of the test");
        if (*guest && !g_str_equal(guest, "web-1"))
                return sd_bus_reply_method_errorf(m, ERROR("NoSuchGuest"), "There is no guest \"%s\"",
                                                  guest);
        return sd_bus_reply_method_return(m, "");
}

static int answer_change(sd_bus_message *m, const char *method) {
        /* changes must let polkit ask the person */
        if (sd_bus_message_get_allow_interactive_authorization(m) <= 0)
                return sd_bus_reply_method_errorf(m, ERROR("Failed"),
                                                  "no interactive authorization allowed");
        if (g_str_equal(method, "Reload"))
                return sd_bus_reply_method_return(m, "as", 1, "[Guest web-*] Floor: 25% -> 512M\033[2J");
        if (g_str_equal(method, "ReserveMemory"))
                return answer_reserve(m);
        if (g_str_equal(method, "ReleaseReservation"))
                return answer_release(m);
        if (g_str_equal(method, "ApproveProposal") || g_str_equal(method, "RejectProposal"))
                return answer_proposal(m);
        if (g_str_equal(method, "ApproveAll"))
                return answer_approve_all(m);
        return answer_guest(m, method);
}

static int answer_well(Fake *f, sd_bus_message *m, const char *method) {
        if (g_str_equal(method, "Dump"))
                return sd_bus_reply_method_return(m, "s", f->dump);
        if (g_str_equal(method, "GetConfig"))
                return sd_bus_reply_method_return(m, "s", "[Host]\nPolicy=proportional\t# \033default");
        if (g_str_equal(method, "ListGuests"))
                return sd_bus_reply_method_return(m, "a(ssos)", 2, "web-1",
                                                  "6f9c1e5a-0000-4000-8000-000000000001",
                                                  "/org/memlego1/guest/a", "managed", "db\n\033[2J", "x",
                                                  "/org/memlego1/guest/b", "held");
        if (g_str_equal(method, "ListReservations"))
                return sd_bus_reply_method_return(m, "a(tttts)", 1, UINT64_C(7), UINT64_C(1) << 31,
                                                  UINT64_C(1) << 30, UINT64_C(200000000), ":1.42");
        if (g_str_equal(method, "ListPlugins"))
                return sd_bus_reply_method_return(m, "a(sssss)", 1, "mine", "policy", "off", "/lib/mine.so",
                                                  "too slow");
        if (g_str_equal(method, "ListPipes"))
                return answer_list_pipes(m);
        if (g_str_equal(method, "ListSwaps"))
                return sd_bus_reply_method_return(m, "aa{sv}", 1, 5, "Guest", "s", "web\033[2J", "Path", "s", "/run/it's/x.sock",
                                                  "LentKiB", "t", UINT64_C(65536), "HitsPermille", "t", UINT64_C(990), "State",
                                                  "s", "talks");
        if (g_str_equal(method, "ListPipeMembers"))
                return answer_list_pipe_members(m);
        if (g_str_equal(method, "ListPipePairs"))
                return answer_list_pipe_pairs(m);
        if (g_str_equal(method, "ListProposals"))
                return answer_list_proposals(m);
        if (g_str_equal(method, "Explain"))
                return answer_explain(m);
        if (g_str_equal(method, "ExplainRules"))
                return answer_explain_rules(m);
        return answer_change(m, method);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fake *f = userdata;
        const char *method = sd_bus_message_get_member(m);

        if (!method || !sd_bus_message_is_method_call(m, NULL, NULL))
                return 0;
        if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus", "Hello"))
                return sd_bus_reply_method_return(m, "s", ":1.1");
        f->calls++;
        switch (f->temper) {
        case FAKE_ABSENT:
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                                  "The name is not activatable");
        case FAKE_DENIES:
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_ACCESS_DENIED, "Rejected send message");
        case FAKE_FAILS:
                return sd_bus_reply_method_errorf(m, ERROR("NotConnected"),
                                                  "No hypervisor\033[2J at the moment");
        case FAKE_HANGS_UP:
                sd_bus_close(f->bus);
                return 1;
        case FAKE_BAD_CONFIG:
                if (g_str_equal(method, "Reload"))
                        return sd_bus_reply_method_errorf(m, ERROR("ConfigInvalid"),
                                                          "memlegod.conf:3: Foo=: unknown");
                break;
        case FAKE_GARBLED:
                if (g_str_equal(method, "Dump"))
                        return sd_bus_reply_method_return(m, "s", "{\"host\": {}, \"guests\": [");
                return sd_bus_reply_method_return(m, "u", UINT32_C(1));
        case FAKE_FALLS_SILENT:
                if (f->calls > 1)
                        return 1;
                break;
        case FAKE_GOOD:
                break;
        }
        return answer_well(f, m, method);
}

static void serve(Fake *f, int fd) {
        sd_id128_t id = { .qwords = { 1, 2 } };
        int r;

        r = sd_bus_new(&f->bus);
        g_assert(r >= 0);
        r = sd_bus_set_fd(f->bus, fd, fd);
        if (r >= 0)
                r = sd_bus_set_server(f->bus, true, id);
        if (r >= 0)
                r = sd_bus_add_filter(f->bus, NULL, on_message, f);
        if (r >= 0)
                r = sd_bus_start(f->bus);
        while (r >= 0) {
                r = sd_bus_process(f->bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(f->bus, UINT64_MAX);
        }
        f->bus = sd_bus_flush_close_unref(f->bus);
}

static void serve_all(int listener, FakeTemper temper, const char *dump) {
        Fake f = { .temper = temper, .dump = dump };

        for (;;) {
                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0)
                        serve(&f, fd);
        }
}

void fake_peer_start(FakePeer *f, FakeTemper temper, const char *dump) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        pid_t parent = getpid();
        int fd;

        strcpy(f->dir, "/tmp/fake-peer-XXXXXX");
        if (!mkdtemp(f->dir))
                g_error("%s: %m", f->dir);
        (void) g_snprintf(sa.sun_path, sizeof sa.sun_path, "%s/bus", f->dir);
        (void) g_snprintf(f->address, sizeof f->address, "unix:path=%s", sa.sun_path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 || listen(fd, 8) < 0)
                g_error("%s: %m", sa.sun_path);

        f->pid = fork();
        if (f->pid < 0)
                g_error("fork: %m");
        if (f->pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nothing behind */
                if (getppid() != parent)
                        _exit(1);
                serve_all(fd, temper, dump);
                _exit(0);
        }
        (void) close(fd);
}

void fake_peer_stop(FakePeer *f) {
        g_autofree char *path = g_build_filename(f->dir, "bus", NULL);

        (void) kill(f->pid, SIGKILL);
        (void) waitpid(f->pid, NULL, 0);
        (void) unlink(path);
        (void) rmdir(f->dir);
}
