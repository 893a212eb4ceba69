/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: what sockets of TCP and UDP promise, case by case, to be compared between two ways that bytes can take.
 *
 * A case is one function that both ends run, each in a process of its own, over a connection of its own. It notes what
 * it saw; nothing in it says what would be right: that is what the same case noted over the network. So it notes only
 * what is the same each time: no times, no amounts that depend on buffers. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct Side {
        bool client;
        int fd;                       /* connected; -1 in cases that are `raw` */
        int control;                  /* to the other end of the case */
        int listener;                 /* the server's; where the client connects to */
        struct sockaddr_storage peer; /* the client's: the server's listener */
        socklen_t peer_size;
        FILE *notes;
} Side;

typedef struct Case {
        const char *name;
        void (*run)(Side *s);
        bool raw; /* makes its connection itself */
} Case;

extern const Case cases_stream[], cases_events[], cases_end[], cases_more[], cases_tcp[], cases_udp[]; /* each ends with a name of NULL */

void note(Side *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What a call returned: a number, or the name of its error. In one of four buffers, by turns. */
const char *result(long r);
/* Until the other end is here, too. */
void meet(Side *s);
/* Waits until so many bytes can be read at once; false after five seconds. */
bool readable(int fd, int bytes);
/* What poll says of the fd for these events, without waiting; as text. */
const char *polled(int fd, short events);
/* The same after waiting for any of `events`, five seconds at most. */
const char *poll_for(int fd, short events);
/* Fills a buffer with bytes that depend on their position, and says whether bytes from there are those. */
void pattern(uint8_t *p, size_t n, uint64_t position);
bool is_pattern(const uint8_t *p, size_t n, uint64_t position);
/* All of it, blocking; returns what went before an error or the end. */
size_t send_all(int fd, uint64_t position, size_t n);
size_t receive_all(int fd, uint64_t position, size_t n, bool *ret_right);
void nonblocking(int fd, bool on);
void timeout_of(int fd, int option, int msec);
/* Writes without blocking until there is no room; returns how much. */
size_t fill(int fd);
int connect_to(const Side *s);
/* Whether datagrams of this socket go both ways as they should (the client knows; true if it does not matter). */
bool by_ring(int fd);
