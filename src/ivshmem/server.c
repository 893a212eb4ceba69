/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Server: see server.h.
 *
 * One epoll set is the pollable: the listening socket, the bell (peer 0's eventfd) and each client. A
 * message is eight bytes and at most one descriptor; a stream socket takes or refuses so few bytes as a
 * whole.
 *
 * Every id has one eventfd for good, and a new client is told all of them at once, whoever is there;
 * nobody is told of those who come and go, for which the region has a table. It has to be so: QEMU frees
 * what it has of a peer when it hears that it left, and keeps the pointer: it dies when that id is used
 * again, or when the device is unplugged (seen with 7.2). */
#include "ivshmem/server.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/util.h"

#define PROTOCOL_VERSION 0
#define MEMORY_FOLLOWS (-1)
/* For whom we do not let in: QEMU says what is wrong and does without the device. If the connection ended
 * before it came to read that, it would wait for ever for what should come, and its guest with it: so the
 * end is left to it, for a while, and to some of them at a time. */
#define NO_VERSION INT64_MAX
#define REFUSED_MOST 16
#define REFUSED_USEC (60 * MLG_USEC_PER_SEC)

/* Guests can ring without a pause, and it costs them nothing: the bell is answered this often at most. */
#define BELL_PAUSE_USEC 1000

/* Without a descriptor for it, who wants to connect waits; what becomes free meanwhile nobody tells us. */
#define LISTEN_PAUSE_USEC MLG_USEC_PER_SEC

#define BELL_MARK MLG_IVSHMEM_HOST /* clients have their ids, 1 to ... */
#define LISTENER_MARK MLG_IVSHMEM_IDS_MAX
#define REFUSED_MARK (MLG_IVSHMEM_IDS_MAX + 1) /* and the places behind it */

/* A descriptor that is watched, but not always. */
typedef struct Source {
        int fd;
        uint32_t mark;
        bool watched;
        uint64_t again_usec; /* when it is not */
} Source;

typedef struct Message {
        int64_t value;
        int fd; /* ours, a copy; -1: none */
} Message;

typedef struct Client {
        int fd; /* -1: the id is free */
        pid_t pid;
        GQueue queue; /* Message */
        bool doomed;  /* dropped at the end of the round */
        const char *why;
} Client;

typedef struct Refused {
        int fd; /* -1: none */
        uint64_t until_usec;
} Refused;

struct MlgIvshmemServer {
        const MlgIvshmemServerCallbacks *callbacks;
        void *userdata;
        char path[MLG_IVSHMEM_PATH_MAX + 1];
        uid_t owner;
        bool sees_all_users, left_to_next;
        uint32_t n_ids;
        int epoll, memory_fd;
        int events[MLG_IVSHMEM_IDS_MAX]; /* by which each id is rung; [0] is the bell's */
        Source listener, bell;
        uint64_t turn_usec;
        Client clients[MLG_IVSHMEM_IDS_MAX]; /* [0] is nobody's */
        Refused refused[REFUSED_MOST];
        uint32_t next_refused;
        MlgPollable pollable;
};

/* ---- listener and bell ---- */

static void watch(MlgIvshmemServer *s, Source *source) {
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = source->mark };

        if (!source->watched)
                source->watched = epoll_ctl(s->epoll, EPOLL_CTL_ADD, source->fd, &e) == 0;
}

static void pause_until(MlgIvshmemServer *s, Source *source, uint64_t at_usec) {
        (void) epoll_ctl(s->epoll, EPOLL_CTL_DEL, source->fd, NULL);
        source->watched = false;
        source->again_usec = at_usec;
}

/* ---- saying something ---- */

static void message_free(gpointer p) {
        Message *m = p;

        mlg_close_fd(&m->fd);
        g_free(m);
}

static int send_message(int to, const Message *m) {
        int64_t value = (int64_t) htole64((uint64_t) m->value);
        struct iovec data = { .iov_base = &value, .iov_len = sizeof(value) };
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct msghdr h = { .msg_iov = &data, .msg_iovlen = 1 };
        ssize_t n;

        if (m->fd >= 0) {
                h.msg_control = control.bytes;
                h.msg_controllen = sizeof(control.bytes);
                *CMSG_FIRSTHDR(&h) = (struct cmsghdr) {
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                        .cmsg_len = CMSG_LEN(sizeof(int)),
                };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &m->fd, sizeof(int));
        }
        n = sendmsg(to, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        return n == sizeof(value) ? 0 : -EIO;
}

static void watch_client(MlgIvshmemServer *s, uint32_t id, int op) {
        Client *c = &s->clients[id];
        struct epoll_event e = {
                .events = EPOLLIN | (g_queue_is_empty(&c->queue) ? 0 : EPOLLOUT),
                .data.u32 = id,
        };

        (void) epoll_ctl(s->epoll, op, c->fd, &e);
}

static void doom(Client *c, const char *why) {
        c->doomed = true;
        if (!c->why)
                c->why = why;
}

static void flush(MlgIvshmemServer *s, uint32_t id) {
        Client *c = &s->clients[id];
        int r = 0;

        while (!g_queue_is_empty(&c->queue) && (r = send_message(c->fd, g_queue_peek_head(&c->queue))) == 0)
                message_free(g_queue_pop_head(&c->queue));
        if (r < 0 && r != -EAGAIN)
                doom(c, NULL);
        else
                watch_client(s, id, EPOLL_CTL_MOD);
}

static void say(MlgIvshmemServer *s, uint32_t id, int64_t value, int fd) {
        Client *c = &s->clients[id];
        Message *m;

        if (c->doomed)
                return;
        m = g_new(Message, 1);
        *m = (Message) { .value = value, .fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3) };
        g_queue_push_tail(&c->queue, m);
        if (fd >= 0 && m->fd < 0)
                doom(c, "there are no more descriptors");
}

static bool is_there(const Client *c) {
        return c->fd >= 0 && !c->doomed;
}

/* ---- coming and going ---- */

static void keep(const MlgIvshmemServer *s, const char *what, uint32_t id, int fd) {
        char name[32];

        if (g_str_equal(what, "listener"))
                (void) g_strlcpy(name, what, sizeof(name));
        else
                (void) g_snprintf(name, sizeof(name), "%s.%" G_GUINT32_FORMAT, what, id);
        s->callbacks->on_keep(name, fd, s->userdata);
}

static void close_client(Client *c) {
        g_queue_clear_full(&c->queue, message_free);
        mlg_close_fd(&c->fd); /* epoll forgets it */
        *c = (Client) { .fd = -1 };
}

static void drop_doomed(MlgIvshmemServer *s) {
        for (uint32_t id = 1; id < MLG_IVSHMEM_IDS_MAX; id++) {
                Client *c = &s->clients[id];

                if (c->fd < 0 || !c->doomed)
                        continue;
                if (c->why)
                        s->callbacks->on_refuse(c->pid, c->why, s->userdata);
                keep(s, "client", id, -1);
                close_client(c);
                s->callbacks->on_leave(id, s->userdata);
        }
}

static void welcome(MlgIvshmemServer *s, uint32_t id) {
        say(s, id, PROTOCOL_VERSION, -1);
        say(s, id, id, -1);
        say(s, id, MEMORY_FOLLOWS, s->memory_fd);
        for (uint32_t other = 0; other < s->n_ids; other++)
                if (other != id)
                        say(s, id, other, s->events[other]);
        say(s, id, id, s->events[id]); /* its own: by this it is interrupted */
        flush(s, id);
}

/* In a user namespace with few users (PrivateUsers= of systemd) all others look alike: then the socket's
 * mode has to do. */
#define UID_OF_OTHERS 65534

static bool sees_all_users(void) {
        g_autofree char *map = NULL;

        return g_file_get_contents("/proc/self/uid_map", &map, NULL, NULL) && strstr(map, "4294967295");
}

static bool is_user(const MlgIvshmemServer *s, uid_t uid) {
        return uid == 0 || uid == geteuid() || uid == s->owner ||
               (uid == UID_OF_OTHERS && !s->sees_all_users);
}

static const char *refusal(const MlgIvshmemServer *s, const struct ucred *who, uint32_t *ret_id) {
        if (!is_user(s, who->uid))
                return "its user is neither root nor the one that runs guests";
        for (uint32_t id = 1; id < s->n_ids; id++)
                if (s->clients[id].fd < 0) {
                        *ret_id = id;
                        return NULL;
                }
        return "it is full: more guests need another one";
}

/* Takes the descriptor. */
static void turn_away(MlgIvshmemServer *s, int fd, uint64_t now) {
        uint32_t place = s->next_refused++ % REFUSED_MOST;
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = REFUSED_MARK + place };
        Refused *r = &s->refused[place];

        mlg_close_fd(&r->fd);
        *r = (Refused) { .fd = fd, .until_usec = now + REFUSED_USEC };
        (void) send_message(fd, &(Message) { .value = NO_VERSION, .fd = -1 });
        (void) epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
}

static uint64_t refused_until_usec(const MlgIvshmemServer *s) {
        uint64_t until = MLG_USEC_NEVER;

        for (uint32_t i = 0; i < REFUSED_MOST; i++)
                if (s->refused[i].fd >= 0)
                        until = mlg_min(until, s->refused[i].until_usec);
        return until;
}

/* Its end, or nonsense; or nothing: its place may have been given to another one in this very round. */
static void refused_event(Refused *r) {
        char byte;

        if (r->fd >= 0 && (recv(r->fd, &byte, sizeof(byte), MSG_DONTWAIT) >= 0 || errno != EAGAIN))
                mlg_close_fd(&r->fd);
}

static void end_refused(MlgIvshmemServer *s, uint64_t now) {
        for (uint32_t i = 0; i < REFUSED_MOST; i++)
                if (s->refused[i].fd >= 0 && s->refused[i].until_usec <= now)
                        mlg_close_fd(&s->refused[i].fd);
}

static void accept_client(MlgIvshmemServer *s, uint64_t now) {
        _mlg_cleanup_fd_ int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct ucred who = {};
        socklen_t size = sizeof(who);
        uint64_t rung;
        const char *why;
        uint32_t id;

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
                pause_until(s, &s->listener, now + LISTEN_PAUSE_USEC);
        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
                return;
        why = refusal(s, &who, &id);
        if (why) {
                s->callbacks->on_refuse(who.pid, why, s->userdata);
                turn_away(s, fd, now);
                fd = -1;
                return;
        }
        if (!s->callbacks->on_join(id, who.pid, s->userdata)) { /* it has told why */
                turn_away(s, fd, now);
                fd = -1;
                return;
        }
        (void) !read(s->events[id], &rung, sizeof(rung)); /* what was for the last one of this id */
        s->clients[id] = (Client) { .fd = fd, .pid = who.pid };
        fd = -1;
        watch_client(s, id, EPOLL_CTL_ADD);
        keep(s, "client", id, s->clients[id].fd);
        welcome(s, id);
}

/* It has nothing to say: either this is the end of it, or nonsense. */
static void client_event(MlgIvshmemServer *s, uint32_t id, uint32_t events) {
        Client *c = &s->clients[id];
        char byte;
        ssize_t n;

        if (!is_there(c))
                return;
        if (events & ~(uint32_t) EPOLLOUT) {
                n = recv(c->fd, &byte, sizeof(byte), MSG_DONTWAIT);
                if (n > 0)
                        doom(c, "it speaks, which no client of an ivshmem server does");
                else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                        doom(c, NULL);
        }
        if (is_there(c) && (events & EPOLLOUT))
                flush(s, id);
}

/* ---- the bell ---- */

static void bell_rang(MlgIvshmemServer *s, uint64_t now) {
        uint64_t count;

        if (read(s->bell.fd, &count, sizeof(count)) != sizeof(count))
                return;
        pause_until(s, &s->bell, now + BELL_PAUSE_USEC);
        s->callbacks->on_turn(now, s->userdata);
}

void mlg_ivshmem_server_turn_at(MlgIvshmemServer *s, uint64_t usec) {
        s->turn_usec = usec;
}

void mlg_ivshmem_server_ring(MlgIvshmemServer *s, uint32_t id) {
        uint64_t one = 1;

        if (s->clients[id].fd >= 0)
                (void) !write(s->events[id], &one, sizeof(one)); /* full: it has been rung */
}

pid_t mlg_ivshmem_server_pid(const MlgIvshmemServer *s, uint32_t id) {
        return s->clients[id].fd >= 0 ? s->clients[id].pid : 0;
}

/* ---- the pollable ---- */

static short server_events(void *userdata) {
        return POLLIN;
}

static uint64_t server_deadline_usec(void *userdata) {
        const MlgIvshmemServer *s = userdata;

        return mlg_min(mlg_min(s->turn_usec, refused_until_usec(s)),
                       mlg_min(s->bell.watched ? MLG_USEC_NEVER : s->bell.again_usec,
                               s->listener.watched ? MLG_USEC_NEVER : s->listener.again_usec));
}

static int server_dispatch(uint64_t now, void *userdata) {
        MlgIvshmemServer *s = userdata;
        struct epoll_event events[MLG_IVSHMEM_IDS_MAX + 1 + REFUSED_MOST];
        int n;

        if (s->bell.again_usec <= now)
                watch(s, &s->bell);
        if (s->listener.again_usec <= now)
                watch(s, &s->listener);
        n = epoll_wait(s->epoll, events, G_N_ELEMENTS(events), 0);
        for (int i = 0; i < n; i++)
                if (events[i].data.u32 == BELL_MARK)
                        bell_rang(s, now);
                else if (events[i].data.u32 == LISTENER_MARK)
                        accept_client(s, now);
                else if (events[i].data.u32 >= REFUSED_MARK)
                        refused_event(&s->refused[events[i].data.u32 - REFUSED_MARK]);
                else
                        client_event(s, events[i].data.u32, events[i].events);
        drop_doomed(s);
        end_refused(s, now);
        if (s->turn_usec <= now)
                s->callbacks->on_turn(now, s->userdata);
        return 0;
}

/* ---- making one ---- */

/* Who may connect: the socket's owner and group. The group is the directory's, if that has the
 * set-group-id bit (then memlegod needs no rights to give it); the owner is set where we may. */
static int listen_at(const char *path, uid_t owner, int *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _mlg_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return -errno;
        if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        if (fchmod(fd, 0600) < 0 || /* the file gets this mode, and never had another */
            bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            (owner != (uid_t) -1 && geteuid() == 0 && chown(path, owner, (gid_t) -1) < 0) ||
            chmod(path, 0660) < 0 || listen(fd, MLG_IVSHMEM_IDS_MAX) < 0)
                return -errno;
        *ret = fd;
        fd = -1;
        return 0;
}

/* ---- what was kept ---- */

void mlg_ivshmem_kept_init(MlgIvshmemKept *k) {
        memset(k, 0xff, sizeof(*k)); /* all of it -1 */
}

static int *place_of(MlgIvshmemKept *k, const char *name) {
        const struct {
                const char *name;
                int *at;
        } singles[] = {
                { "region", &k->region },
                { "truth", &k->truth },
                { "listener", &k->listener },
        };
        const char *dot = strchr(name, '.');
        uint64_t id;

        for (size_t i = 0; i < G_N_ELEMENTS(singles); i++)
                if (g_str_equal(name, singles[i].name))
                        return singles[i].at;
        if (!dot || !g_ascii_string_to_unsigned(dot + 1, 10, 0, MLG_IVSHMEM_IDS_MAX - 1, &id, NULL))
                return NULL;
        return g_str_has_prefix(name, "client.")  ? &k->clients[id]
               : g_str_has_prefix(name, "event.") ? &k->events[id]
                                                  : NULL;
}

bool mlg_ivshmem_kept_add(MlgIvshmemKept *k, const char *name, int fd) {
        int *place = place_of(k, name);

        if (!place || *place >= 0)
                return false;
        *place = fd;
        return true;
}

void mlg_ivshmem_kept_close(MlgIvshmemKept *k) {
        mlg_close_fd(&k->region);
        mlg_close_fd(&k->truth);
        mlg_close_fd(&k->listener);
        for (uint32_t id = 0; id < MLG_IVSHMEM_IDS_MAX; id++) {
                mlg_close_fd(&k->clients[id]);
                mlg_close_fd(&k->events[id]);
        }
}

uint64_t mlg_ivshmem_kept_bytes(const MlgIvshmemKept *k) {
        struct stat st;

        return k->region >= 0 && fstat(k->region, &st) == 0 ? (uint64_t) st.st_size : 0;
}

bool mlg_ivshmem_kept_is_complete(const MlgIvshmemKept *k, uint64_t memory_bytes, uint32_t n_ids) {
        for (uint32_t id = 0; id < n_ids; id++)
                if (k->events[id] < 0)
                        return false;
        return k->truth >= 0 && k->listener >= 0 && memory_bytes > 0 && mlg_ivshmem_kept_bytes(k) == memory_bytes;
}

static int take(int *fd) {
        int taken = *fd;

        *fd = -1;
        return taken;
}

/* Its QEMU noticed nothing. One that is gone meanwhile is found to be so when it is read. */
static void take_client(MlgIvshmemServer *s, uint32_t id, MlgIvshmemKept *k) {
        struct ucred who = {};
        socklen_t size = sizeof(who);

        if (k->clients[id] < 0)
                return;
        if (getsockopt(k->clients[id], SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
            !s->callbacks->on_join(id, who.pid, s->userdata))
                return;
        s->clients[id] = (Client) { .fd = take(&k->clients[id]), .pid = who.pid };
        watch_client(s, id, EPOLL_CTL_ADD);
        keep(s, "client", id, s->clients[id].fd);
}

static int take_events(MlgIvshmemServer *s, MlgIvshmemKept *k) {
        for (uint32_t id = 0; id < s->n_ids; id++) {
                s->events[id] = take(&k->events[id]);
                if (s->events[id] < 0 && (s->events[id] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
                        return -errno;
                keep(s, "event", id, s->events[id]);
        }
        s->bell.fd = s->events[MLG_IVSHMEM_HOST];
        return 0;
}

static int start(MlgIvshmemServer *s, MlgIvshmemKept *k) {
        int r;

        s->listener.fd = take(&k->listener);
        if ((s->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
                return -errno;
        if ((r = take_events(s, k)) < 0)
                return r;
        if (s->listener.fd < 0 && (r = listen_at(s->path, s->owner, &s->listener.fd)) < 0)
                return r;
        watch(s, &s->listener);
        watch(s, &s->bell);
        if (!s->listener.watched || !s->bell.watched)
                return -ENOMEM;
        keep(s, "listener", 0, s->listener.fd);
        for (uint32_t id = 1; id < s->n_ids; id++)
                take_client(s, id, k);
        return 0;
}

int mlg_ivshmem_server_new(const char *path, uid_t owner, int memory_fd, uint32_t n_ids,
                           MlgIvshmemKept *kept, const MlgIvshmemServerCallbacks *callbacks, void *userdata,
                           MlgIvshmemServer **ret) {
        MlgIvshmemServer *s = g_new0(MlgIvshmemServer, 1);
        MlgIvshmemKept none;
        int r;

        mlg_ivshmem_kept_init(&none);

        s->callbacks = callbacks;
        s->userdata = userdata;
        g_strlcpy(s->path, path, sizeof(s->path));
        s->owner = owner;
        s->sees_all_users = sees_all_users();
        s->memory_fd = memory_fd;
        s->n_ids = n_ids;
        s->epoll = -1;
        s->turn_usec = MLG_USEC_NEVER;
        s->listener = (Source) { .fd = -1, .mark = LISTENER_MARK };
        s->bell = (Source) { .fd = -1, .mark = BELL_MARK };
        for (uint32_t id = 0; id < MLG_IVSHMEM_IDS_MAX; id++) {
                s->clients[id] = (Client) { .fd = -1 };
                s->events[id] = -1;
        }
        for (uint32_t i = 0; i < REFUSED_MOST; i++)
                s->refused[i].fd = -1;
        r = start(s, kept ? kept : &none);
        if (r < 0) {
                (void) mlg_ivshmem_server_free(s);
                return r;
        }
        s->pollable = (MlgPollable) {
                .fd = s->epoll,
                .events = server_events,
                .deadline_usec = server_deadline_usec,
                .dispatch = server_dispatch,
                .userdata = s,
        };
        *ret = s;
        return 0;
}

MlgIvshmemServer *mlg_ivshmem_server_free(MlgIvshmemServer *s) {
        if (!s)
                return NULL;
        for (uint32_t id = 0; id < MLG_IVSHMEM_IDS_MAX; id++)
                close_client(&s->clients[id]);
        if (s->listener.fd >= 0 && !s->left_to_next)
                (void) unlink(s->path);
        mlg_close_fd(&s->listener.fd);
        for (uint32_t id = 0; id < MLG_IVSHMEM_IDS_MAX; id++)
                mlg_close_fd(&s->events[id]);
        for (uint32_t i = 0; i < REFUSED_MOST; i++)
                mlg_close_fd(&s->refused[i].fd);
        mlg_close_fd(&s->epoll);
        g_free(s);
        return NULL;
}

const MlgPollable *mlg_ivshmem_server_pollable(const MlgIvshmemServer *s) {
        return &s->pollable;
}

const char *mlg_ivshmem_server_path(const MlgIvshmemServer *s) {
        return s->path;
}

void mlg_ivshmem_server_leave_to_next(MlgIvshmemServer *s) {
        s->left_to_next = true;
}
