/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bus: the connection, its pollable, and small things all other files here use.
 *
 * Invariants: nothing here waits for anybody, but for half a second at the start; a client can only make us
 * answer, never close the connection or keep more than the limits in bus-internal.h. */
#include "bus/bus-internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "util/clock.h"

#define NAME_WAIT_USEC (MLG_USEC_PER_SEC / 2) /* a bus that is well answers within a few milliseconds */
#define TURN_USEC 5000                        /* then others have their turn on the loop */

uint64_t mlg_bus_now_usec(void) {
        return mlg_clock_usec(CLOCK_MONOTONIC);
}

/* A string that is not UTF-8 would make the whole reply fail: names of guests are cut at a byte, not at a
 * letter. */
int mlg_bus_add_string(sd_bus_message *m, const char *s) {
        g_autofree char *valid = NULL;

        if (!g_utf8_validate(s, -1, NULL))
                s = valid = g_utf8_make_valid(s, -1);
        return sd_bus_message_append(m, "s", s);
}

int mlg_bus_append_text(sd_bus_message *m, const char *key, const char *value) {
        g_autofree char *valid = g_utf8_make_valid(value, -1);

        return sd_bus_message_append(m, "{sv}", key, "s", valid);
}

int mlg_bus_reply_list(sd_bus_message *call, const char *of, size_t n, MlgBusAppendFn append, const void *list) {
        _bus_unref_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(call, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, 'a', of);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = append(reply, i, list);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

int mlg_bus_set_error(sd_bus_error *ret, const GError *e) {
        g_autofree char *text = g_utf8_make_valid(e && e->message ? e->message : "Unknown error", -1);
        g_autofree char *name = NULL;
        MlgError code = e && e->domain == MLG_ERROR ? (MlgError) e->code : MLG_ERROR_FAILED;

        name = g_strconcat(MLG_BUS_ERROR_PREFIX, mlg_error_to_name(code), NULL);
        return sd_bus_error_set(ret, name, text);
}

int mlg_bus_fail(sd_bus_error *ret, MlgError code, const char *format, ...) {
        g_autoptr(GError) e = NULL;
        va_list args;

        va_start(args, format);
        e = g_error_new_valist(MLG_ERROR, (int) code, format, args);
        va_end(args);
        return mlg_bus_set_error(ret, e);
}

char *mlg_bus_guest_path(const char *uuid) {
        char *path = g_strconcat(MLG_BUS_PATH_GUEST "/", uuid, NULL);

        return g_strdelimit(path, "-", '_');
}

int mlg_bus_get_chars(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return mlg_bus_add_string(reply, userdata);
}

int mlg_bus_get_bool(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const bool *v = userdata;

        return sd_bus_message_append(reply, "b", (int) *v);
}

static short bus_events(void *userdata) {
        MlgBus *b = userdata;
        int r = sd_bus_get_events(b->bus);

        return r < 0 ? POLLIN : (short) r; /* closed: dispatch finds out and says so */
}

static uint64_t bus_deadline_usec(void *userdata) {
        MlgBus *b = userdata;
        uint64_t until = MLG_USEC_NEVER;

        if (sd_bus_get_timeout(b->bus, &until) < 0)
                return 0;
        return mlg_min(until, mlg_requests_deadline_usec(b));
}

static int bus_dispatch(uint64_t now_usec, void *userdata) {
        uint64_t until = mlg_bus_now_usec() + TURN_USEC;
        MlgBus *b = userdata;
        int r;

        do {
                r = sd_bus_process(b->bus, NULL);
                if (r < 0 || b->name_error < 0) {
                        mlg_requests_drop(b);
                        return r < 0 ? r : b->name_error;
                }
        } while (r > 0 && mlg_bus_now_usec() < until);

        mlg_requests_expire(b, now_usec);
        return 0;
}

const MlgPollable *mlg_bus_pollable(MlgBus *b) {
        return &b->pollable;
}

static MlgBus *bus_new(const MlgBusOps *ops, void *userdata) {
        MlgBus *b = g_new0(MlgBus, 1);

        b->ops = ops;
        b->userdata = userdata;
        g_queue_init(&b->pending);
        mlg_changes_init(b);
        return b;
}

/* Waiting callers are answered, and what they wait for is released: free the bus before what userdata points
 * to. */
MlgBus *mlg_bus_free(MlgBus *b) {
        if (!b)
                return NULL;

        mlg_requests_drop(b);
        mlg_changes_done(b);
        sd_bus_close_unref(b->bus); /* does not flush: a bus that hangs must not hang us */
        g_free(b);
        return NULL;
}

/* ---- arguments of a wrong type ---- */

static const char *signature_of(const sd_bus_vtable *vtable, const char *member) {
        for (const sd_bus_vtable *v = vtable; v->type != _SD_BUS_VTABLE_END; v++)
                if (v->type == _SD_BUS_VTABLE_METHOD && g_str_equal(v->x.method.member, member))
                        return v->x.method.signature ? v->x.method.signature : "";
        return NULL; /* no such method */
}

/* Sees each message before sd-bus looks into the vtables, which would answer with a name that is not ours, and
 * without saying what was expected. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path = sd_bus_message_get_path(m), *member = sd_bus_message_get_member(m);
        const char *interface = sd_bus_message_get_interface(m), *got, *expected;
        bool is_manager;

        if (!sd_bus_message_is_method_call(m, NULL, NULL) || !path || !member)
                return 0;
        is_manager = g_str_equal(path, MLG_BUS_PATH);
        if (interface && !g_str_equal(interface, is_manager ? MLG_BUS_IFACE_MANAGER : MLG_BUS_IFACE_GUEST))
                return 0;
        expected = signature_of(is_manager ? mlg_bus_manager_vtable : mlg_bus_guest_vtable, member);
        got = sd_bus_message_get_signature(m, true);
        if (!expected || g_strcmp0(got, expected) == 0)
                return 0;
        return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "%s takes arguments of the types \"%s\", not \"%s\"",
                            member, expected, got ? got : "");
}

static int bus_start(MlgBus *b) {
        int r;

        /* Nothing here takes file descriptors; those of clients would only be kept. */
        r = sd_bus_negotiate_fds(b->bus, 0);
        if (r < 0)
                return r;
        r = sd_bus_start(b->bus);
        if (r < 0)
                return r;

        b->pollable = (MlgPollable) {
                .fd = sd_bus_get_fd(b->bus),
                .events = bus_events,
                .deadline_usec = bus_deadline_usec,
                .dispatch = bus_dispatch,
                .userdata = b,
        };
        if (b->pollable.fd < 0)
                return b->pollable.fd;

        r = sd_bus_add_filter(b->bus, NULL, on_message, b);
        if (r < 0)
                return r;
        r = mlg_bus_manager_publish(b);
        if (r < 0)
                return r;
        r = mlg_bus_guest_publish(b);
        if (r < 0)
                return r;
        r = mlg_bus_pipe_publish(b);
        return r < 0 ? r : mlg_bus_swaps_publish(b);
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        MlgBus *b = userdata;
        uint32_t answer = 0;

        b->name_pending = false;
        if (sd_bus_message_is_method_error(reply, NULL))
                b->name_error = -sd_bus_message_get_errno(reply);
        else if (sd_bus_message_read(reply, "u", &answer) < 0)
                b->name_error = -EBADMSG;
        else if (answer != 1 && answer != 4) /* primary owner; already owner */
                b->name_error = -EEXIST;
        return 1;
}

/* Who starts us talks to us at once, so the name should be ours by then. A bus that is slower gives it
 * later. */
static int wait_for_name(MlgBus *b) {
        uint64_t until = mlg_bus_now_usec() + NAME_WAIT_USEC, now;
        int r;

        while (b->name_pending && (now = mlg_bus_now_usec()) < until) {
                r = sd_bus_process(b->bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(b->bus, until - now);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return b->name_error;
}

int mlg_bus_open_system(const MlgBusOps *ops, void *userdata, MlgBus **ret) {
        g_autoptr(MlgBus) b = bus_new(ops, userdata);
        const char *address = g_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r;

        r = sd_bus_new(&b->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_address(b->bus, address ? address : "unix:path=/run/dbus/system_bus_socket");
        if (r < 0)
                return r;
        r = sd_bus_set_bus_client(b->bus, 1);
        if (r < 0)
                return r;
        r = bus_start(b);
        if (r < 0)
                return r;

        b->name_pending = true;
        r = sd_bus_request_name_async(b->bus, NULL, MLG_BUS_NAME, 0, on_name, b);
        if (r < 0)
                return r;
        r = wait_for_name(b);
        if (r < 0)
                return r;
        *ret = g_steal_pointer(&b);
        return 0;
}

int mlg_bus_open_fd(int fd, const MlgBusOps *ops, void *userdata, MlgBus **ret) {
        _mlg_cleanup_fd_ int owned = fd;
        g_autoptr(MlgBus) b = bus_new(ops, userdata);
        sd_id128_t id = SD_ID128_NULL;
        int r;

        b->is_peer = true;
        r = sd_bus_new(&b->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(b->bus, owned, owned);
        if (r < 0)
                return r;
        owned = -1; /* the connection closes it now */
        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        r = sd_bus_set_server(b->bus, 1, id);
        if (r < 0)
                return r;
        r = bus_start(b);
        if (r < 0)
                return r;
        *ret = g_steal_pointer(&b);
        return 0;
}
