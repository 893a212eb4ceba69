/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor channel: see monitor-channel.h. */
#include "hypervisor/monitor-channel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "hypervisor/guest-facts.h"
#include "util/util.h"

#define MSEC UINT64_C(1000)

/* What the guest's kernel shall watch for: 50 ms of waiting in a second is what programs begin to feel, and 25 ms in half a
 * second is seen sooner, but a single slow disk would do. */
#define STALL_USEC (50 * MSEC)
#define WINDOW_USEC (1000 * MSEC)

#define WAIT_FIRST_USEC MLG_USEC_PER_SEC
#define WAIT_MOST_USEC (30 * MLG_USEC_PER_SEC)
#define REFUSED_FIRST_USEC (60 * MLG_USEC_PER_SEC)
#define REFUSED_DOUBLINGS 4 /* up to 16 min */
/* Who talked well for so long is trusted as before. */
#define FORGIVEN_USEC (600 * MLG_USEC_PER_SEC)

/* Silence: as many reports are missing, and so much more. */
#define SILENT_REPORTS 3
#define SILENT_USEC (2 * MLG_USEC_PER_SEC)

/* A guest that reports ten times a second, each time all there is, says 3 KiB. A frame costs at least so many bytes, because
 * each one is work for us however short it is. */
#define ALLOWANCE_MOST (16 * 1024)
#define ALLOWANCE_PER_SEC (8 * 1024)
#define FRAME_LEAST 96
/* When it has said too much it is quiet until it may say this again. */
#define ALLOWANCE_AGAIN (4 * 1024)
#define QUIETS_TOLD 20 /* in a row: some ten seconds */
/* At one time; the others have their turn then. */
#define READ_AT_ONCE (4 * 1024)
/* What may be left of an earlier connection: the buffers in between hold some 30 KiB. */
#define SKIPPED_MOST (128 * 1024)

/* A guest that was told to hurry is told to take its time again only after this. */
#define HURRY_USEC (5 * MLG_USEC_PER_SEC)

MlgChannel *mlg_channel_new(const char *uuid, uint32_t instance, const char *path, int epoll,
                            const MlgMonitorCallbacks *callbacks, void *userdata) {
        MlgChannel *c = g_new0(MlgChannel, 1);

        g_strlcpy(c->uuid, uuid, sizeof(c->uuid));
        g_strlcpy(c->path, path, sizeof(c->path));
        c->instance = instance;
        c->epoll = epoll;
        c->callbacks = callbacks;
        c->userdata = userdata;
        c->fd = -1;
        c->wait_usec = WAIT_FIRST_USEC;
        c->quiet_until_usec = MLG_USEC_NEVER;
        c->interval_usec = MLG_USEC_PER_SEC;
        c->allowance = ALLOWANCE_MOST;
        c->link = MLG_MONITOR_LINK_NONE;
        return c;
}

MlgChannel *mlg_channel_free(MlgChannel *c) {
        if (!c)
                return NULL;
        mlg_close_fd(&c->fd);
        g_free(c);
        return NULL;
}

uint64_t mlg_channel_next_usec(const MlgChannel *c) {
        return mlg_min(c->due_usec, c->quiet_until_usec);
}

static void tell(MlgChannel *c, MlgMonitorLink link, const char *why) {
        bool changed = c->link != link;

        c->link = link;
        if (!c->dead && (changed || why))
                c->callbacks->on_link(c->uuid, link, why, c->userdata);
}

static void wait_longer(MlgChannel *c, uint64_t now) {
        c->due_usec = now + c->wait_usec;
        c->wait_usec = mlg_min(2 * c->wait_usec, WAIT_MOST_USEC);
}

static void watch(MlgChannel *c, bool on) {
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

        if (c->fd < 0 || c->watched == on)
                return;
        if (epoll_ctl(c->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, c->fd, &e) == 0)
                c->watched = on;
}

static void disconnect(MlgChannel *c) {
        mlg_close_fd(&c->fd); /* epoll forgets it */
        c->watched = false;
        c->quiet_until_usec = MLG_USEC_NEVER;
        c->in = (MlgMonitorStream) {};
}

static void lost(MlgChannel *c, const char *why, uint64_t now) {
        disconnect(c);
        wait_longer(c, now);
        tell(c, MLG_MONITOR_LINK_WAITING, why);
}

static void refuse(MlgChannel *c, const char *why, uint64_t now) {
        disconnect(c);
        c->due_usec = now + (REFUSED_FIRST_USEC << MIN(c->refusals, REFUSED_DOUBLINGS));
        c->refusals++;
        tell(c, MLG_MONITOR_LINK_REFUSED, why);
}

/* 0; -EAGAIN: there is no room, and nothing was written; the connection is gone otherwise. */
static int send_frame(MlgChannel *c, MlgMonitorFrame *f, uint64_t now) {
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        size_t size;
        ssize_t n;

        f->session = c->session;
        f->sequence = c->sequence + 1;
        f->ack = c->heard;
        size = mlg_monitor_pack(f, bytes);
        n = send(c->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n == (ssize_t) size) {
                c->sequence++;
                return 0;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return -EAGAIN;
        lost(c, NULL, now);
        return -EPIPE;
}

static int send_settings(MlgChannel *c, MlgMonitorType type, uint64_t now) {
        MlgMonitorFrame f = { .type = (uint8_t) type };

        (void) mlg_monitor_frame_add(&f, MLG_FIELD_INTERVAL, c->interval_usec);
        (void) mlg_monitor_frame_add(&f, MLG_FIELD_STALL, STALL_USEC);
        (void) mlg_monitor_frame_add(&f, MLG_FIELD_WINDOW, WINDOW_USEC);
        c->interval_told_usec = now;
        return send_frame(c, &f, now);
}

static void send_order(MlgChannel *c, uint64_t now) {
        MlgMonitorFrame f = { .type = MLG_MONITOR_SWAP_IN };

        (void) mlg_monitor_frame_add(&f, MLG_FIELD_ORDER_NUMBER, c->order_number);
        (void) mlg_monitor_frame_add(&f, MLG_FIELD_ORDER_KIB, c->order_kib);
        (void) send_frame(c, &f, now);
}

/* What was sent and QEMU has not taken yet: the guest does not listen, and one HELLO that waits for it is enough. */
static bool has_unread(const MlgChannel *c) {
        int n = 0;

        return ioctl(c->fd, SIOCOUTQ, &n) == 0 && n > 0;
}

static void say_hello(MlgChannel *c, uint64_t now) {
        wait_longer(c, now);
        if (has_unread(c))
                return;
        c->session = g_random_int_range(1, G_MAXINT32);
        c->sequence = c->heard = c->known = 0;
        c->order_number = c->order_kib = 0;
        c->raw = (MlgRawMonitor) {};
        (void) send_settings(c, MLG_MONITOR_HELLO, now);
}

static int connect_to(const char *path, int *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _mlg_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return -errno;
        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        *ret = fd;
        fd = -1;
        return 0;
}

static void open_channel(MlgChannel *c, uint64_t now) {
        int r = connect_to(c->path, &c->fd);
        g_autofree char *why = NULL;

        if (r < 0) {
                if (r == -EACCES || r == -EPERM) { /* the only cause that an operator can do something about */
                        why = g_strdup_printf("memlegod may not connect to %s: %s", c->path, g_strerror(-r));
                        c->wait_usec = WAIT_MOST_USEC;
                }
                lost(c, why, now);
                return;
        }
        c->due_usec = MLG_USEC_NEVER;
        watch(c, true);
        say_hello(c, now);
        if (c->fd >= 0)
                tell(c, MLG_MONITOR_LINK_WAITING, NULL);
}

void mlg_channel_due(MlgChannel *c, uint64_t now) {
        if (c->quiet_until_usec <= now) {
                c->quiet_until_usec = MLG_USEC_NEVER;
                watch(c, true);
        }
        if (c->due_usec > now)
                return;
        if (c->fd < 0) {
                open_channel(c, now);
        } else {
                if (c->link == MLG_MONITOR_LINK_TALKS)
                        c->wait_usec = WAIT_FIRST_USEC;
                tell(c, MLG_MONITOR_LINK_WAITING, NULL);
                say_hello(c, now);
        }
}

/* ---- what the guest says ---- */

static void talks(MlgChannel *c, uint64_t now) {
        c->heard_usec = now;
        c->due_usec = now + SILENT_REPORTS * c->interval_usec + SILENT_USEC;
        if (c->link != MLG_MONITOR_LINK_TALKS) {
                c->talks_usec = now;
                c->wait_usec = WAIT_FIRST_USEC;
                tell(c, MLG_MONITOR_LINK_TALKS, NULL);
        } else if (c->refusals > 0 && now - c->talks_usec >= FORGIVEN_USEC)
                c->refusals = 0;
}

static void take_report(MlgChannel *c, const MlgMonitorFrame *f, uint64_t now) {
        if (f->sequence <= c->heard)
                return;
        c->heard = f->sequence;
        for (uint32_t i = 0; i < f->n_fields; i++) {
                uint8_t id = f->fields[i].id;

                if (id < MLG_FIELD_FIRST_VALUE || id > MLG_FIELD_LAST_VALUE)
                        continue;
                c->known |= MLG_FIELD_BIT(id);
                mlg_raw_monitor_set(&c->raw, id, f->fields[i].value);
        }
        c->raw.have = mlg_monitor_features(c->known);
        c->raw.alarm = f->type == MLG_MONITOR_ALARM;
        talks(c, now);
        if (!c->dead)
                c->callbacks->on_report(c->uuid, &c->raw, c->userdata);
}

static void take_frame(MlgChannel *c, const MlgMonitorFrame *f, uint64_t now) {
        if (f->session != c->session) {
                /* The program in the guest was started while we were connected: it does not know our session. Others are
                 * left from before. */
                if (f->type == MLG_MONITOR_HELLO && f->session == 0)
                        say_hello(c, now);
                return;
        }
        switch (f->type) {
        case MLG_MONITOR_HELLO:
                c->heard = MAX(c->heard, f->sequence);
                talks(c, now);
                break;
        case MLG_MONITOR_REPORT:
        case MLG_MONITOR_ALARM:
                take_report(c, f, now);
                break;
        }
}

/* ---- how much it says ---- */

static void reckon_allowance(MlgChannel *c, uint64_t now) {
        uint64_t more = mlg_mul_div(mlg_sub_sat(now, c->allowed_usec), ALLOWANCE_PER_SEC, MLG_USEC_PER_SEC);

        if (more == 0)
                return;
        c->allowance = MIN(ALLOWANCE_MOST, c->allowance + (int64_t) mlg_min(more, 2 * ALLOWANCE_MOST));
        c->allowed_usec = now;
}

static void be_quiet(MlgChannel *c, uint64_t now) {
        watch(c, false);
        c->quiet_until_usec = now + mlg_mul_div((uint64_t) (ALLOWANCE_AGAIN - c->allowance), MLG_USEC_PER_SEC, ALLOWANCE_PER_SEC);
        if (++c->quiets % QUIETS_TOLD == 0)
                tell(c, c->link, "it says far more than it was asked for; it is listened to slowly");
}

static const char *sentence(int error) {
        switch (error) {
        case -EPROTONOSUPPORT:
                return "the program in the guest speaks another version of the protocol";
        case -EMSGSIZE:
                return "a message from the guest is longer than any may be";
        default:
                return "what comes from the guest is no protocol of ours, or damaged";
        }
}

/* All frames that are complete. False: the channel was closed. Frames without fields are not acknowledged: there is nothing in
 * them that the guest would have to say again, and each acknowledgement wakes its program. */
static bool take_frames(MlgChannel *c, uint64_t now) {
        uint32_t heard = c->heard, n_fields = 0;
        MlgMonitorFrame f, ack = { .type = MLG_MONITOR_ACK };
        int r = 0;

        while (c->fd >= 0 && (r = mlg_monitor_stream_next(&c->in, &f)) > 0) {
                c->allowance -= mlg_sub_sat(FRAME_LEAST, MLG_MONITOR_HEADER_BYTES + 9 * f.n_fields);
                n_fields += f.n_fields;
                take_frame(c, &f, now);
        }
        if (c->fd < 0)
                return false;
        if (r < 0 || c->in.skipped > SKIPPED_MOST) {
                refuse(c, sentence(r < 0 ? r : -EBADMSG), now);
                return false;
        }
        if (c->heard == heard)
                return true;
        if (c->order_number > c->raw.swap_in_number) /* it has not answered to it: said again with each report */
                send_order(c, now);
        return c->fd >= 0 && (n_fields == 0 || send_frame(c, &ack, now) != -EPIPE);
}

void mlg_channel_readable(MlgChannel *c, uint64_t now) {
        size_t total = 0, room;

        reckon_allowance(c, now);
        while (c->fd >= 0 && total < READ_AT_ONCE && c->allowance > 0) {
                uint8_t *to = mlg_monitor_stream_room(&c->in, &room);
                ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);

                if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
                        c->quiets = 0;
                        return;
                }
                if (n <= 0) {
                        lost(c, NULL, now);
                        return;
                }
                total += (size_t) n;
                c->allowance -= n;
                mlg_monitor_stream_filled(&c->in, (size_t) n);
                if (!take_frames(c, now))
                        return;
        }
        if (c->fd >= 0 && c->allowance <= 0)
                be_quiet(c, now);
}

void mlg_channel_want_interval(MlgChannel *c, uint64_t interval_usec, uint64_t now) {
        if (interval_usec == c->interval_usec ||
            (interval_usec > c->interval_usec && now - c->interval_told_usec < HURRY_USEC))
                return;
        c->interval_usec = interval_usec;
        if (c->fd >= 0 && c->link == MLG_MONITOR_LINK_TALKS)
                (void) send_settings(c, MLG_MONITOR_CONFIG, now);
}

uint64_t mlg_channel_swap_in(MlgChannel *c, uint64_t limit_kib, uint64_t now) {
        if (c->fd < 0 || c->link != MLG_MONITOR_LINK_TALKS || (c->raw.have & MLG_MONITOR_SWAP_IN_TOLD) == 0)
                return 0;
        c->order_number++;
        c->order_kib = limit_kib;
        send_order(c, now);
        return c->fd >= 0 ? c->order_number : 0;
}
