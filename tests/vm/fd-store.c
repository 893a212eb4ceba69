/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fd-store PROGRAM [ARGUMENT...]: the part of systemd that keeps a service's file descriptors, for tests.
 *
 * Runs the program with NOTIFY_SOCKET; what it stores (FDSTORE=1, FDNAME=) is handed to it when it is started again, which
 * happens when it was killed by a signal. SIGTERM is passed on; when the program ends by itself, so do we, with its status.
 * As systemd does, a descriptor that hangs up while nobody uses it is dropped. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT_MAX 512
#define FIRST_FD 3

static struct {
        char name[256];
        int fd;
} kept[KEPT_MAX];
static int n_kept;
static volatile sig_atomic_t child;

static void pass_on(int signo) {
        if (child > 0)
                kill(child, signo);
}

static void on_child(int signo) {
}

static void forget(const char *name) {
        for (int i = 0; i < n_kept; i++)
                if (strcmp(kept[i].name, name) == 0) {
                        close(kept[i].fd);
                        kept[i--] = kept[--n_kept];
                }
}

static bool has_line(char *text, const char *want, const char **ret) {
        for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, want, strlen(want)) == 0) {
                        *ret = line + strlen(want);
                        return true;
                }
        return false;
}

static void take(int notify) {
        char text[4096], name[256];
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(16 * sizeof(int))];
        } control;
        struct iovec data = { .iov_base = text, .iov_len = sizeof(text) - 1 };
        struct msghdr h = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control),
        };
        ssize_t n = recvmsg(notify, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        const char *at, *ignored;
        int fd = -1;

        if (n <= 0)
                return;
        text[n] = '\0';
        if (h.msg_controllen > 0 && CMSG_FIRSTHDR(&h))
                memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
        if (!has_line(text, "FDNAME=", &at))
                return;
        snprintf(name, sizeof(name), "%.*s", (int) strcspn(at, "\n"), at);
        if (has_line(text, "FDSTOREREMOVE=1", &ignored))
                forget(name);
        else if (has_line(text, "FDSTORE=1", &ignored) && fd >= 0 && n_kept < KEPT_MAX) {
                snprintf(kept[n_kept].name, sizeof(kept[n_kept].name), "%s", name);
                kept[n_kept++].fd = fd;
        }
}

static void drop_hung_up(void) {
        for (int i = 0; i < n_kept; i++) {
                struct pollfd p = { .fd = kept[i].fd };

                if (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR)) {
                        close(kept[i].fd);
                        kept[i--] = kept[--n_kept];
                }
        }
}

/* In the child: the descriptors from FIRST_FD on, first out of each other's way. */
static void hand_over(void) {
        char text[32], *names = NULL;
        size_t size;
        FILE *f = open_memstream(&names, &size);
        int high[KEPT_MAX];

        for (int i = 0; i < n_kept; i++)
                high[i] = fcntl(kept[i].fd, F_DUPFD_CLOEXEC, FIRST_FD + KEPT_MAX);
        for (int i = 0; i < n_kept; i++) {
                dup2(high[i], FIRST_FD + i);
                fprintf(f, "%s%s", i > 0 ? ":" : "", kept[i].name);
        }
        fclose(f);
        snprintf(text, sizeof(text), "%d", (int) getpid());
        setenv("LISTEN_PID", text, 1);
        snprintf(text, sizeof(text), "%d", n_kept);
        setenv("LISTEN_FDS", text, 1);
        setenv("LISTEN_FDNAMES", names, 1);
}

static void start(char **argv) {
        pid_t pid = fork();

        if (pid == 0) {
                if (n_kept > 0)
                        hand_over();
                execv(argv[0], argv);
                perror(argv[0]);
                _exit(127);
        }
        child = pid;
        fprintf(stderr, "fd-store: started %d with %d descriptors\n", (int) pid, n_kept);
}

int main(int argc, char **argv) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), status;

        if (argc < 2)
                return 2;
        snprintf(address.sun_path, sizeof(address.sun_path), "/run/fd-store-%d", (int) getpid());
        if (bind(notify, (struct sockaddr *) &address, sizeof(address)) < 0)
                return 1;
        setenv("NOTIFY_SOCKET", address.sun_path, 1);
        signal(SIGTERM, pass_on);
        signal(SIGHUP, pass_on);
        signal(SIGCHLD, on_child);
        for (start(argv + 1);;) {
                struct pollfd p = { .fd = notify, .events = POLLIN };

                if (poll(&p, 1, 100) > 0)
                        take(notify);
                if (waitpid(child, &status, WNOHANG) <= 0)
                        continue;
                while (poll(&p, 1, 0) > 0)
                        take(notify);
                if (WIFEXITED(status)) {
                        unlink(address.sun_path);
                        return WEXITSTATUS(status);
                }
                drop_hung_up();
                start(argv + 1);
        }
}
