/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: options for which a connection goes back to TCP for good while it is used, and what TCP counts. */
#include <linux/tls.h>

#include "sockcases.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define PLENTY 100000

/* Some bytes each way, so that both directions are where they go to be. */
static void both_ways(Side *s, uint64_t position, size_t n) {
        bool right = false;
        size_t got;

        if (s->client)
                send_all(s->fd, position, n);
        got = s->client ? 0 : receive_all(s->fd, position, n, &right);
        if (!s->client) {
                note(s, "got=%zu right=%d", got, right);
                send_all(s->fd, position + n, n);
        } else {
                got = receive_all(s->fd, position + n, n, &right);
                note(s, "got=%zu right=%d", got, right);
        }
        meet(s);
}

static const char *set_key(int fd, int direction, uint8_t salt) {
        struct tls12_crypto_info_aes_gcm_128 key = {
                .info = { .version = TLS_1_2_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128 },
                .salt = { salt },
        };

        return result(setsockopt(fd, SOL_TLS, direction, &key, sizeof(key)));
}

/* The handshake would be the library's; its outcome is two keys. */
static void ktls(Side *s) {
        both_ways(s, 0, 1000);
        note(s, "ulp=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"))));
        note(s, "tx=%s", set_key(s->fd, TLS_TX, s->client));
        note(s, "rx=%s", set_key(s->fd, TLS_RX, !s->client));
        meet(s);
        both_ways(s, 5000, PLENTY);
}

static void repair(Side *s) {
        int on = 1, off = 0, queue = TCP_SEND_QUEUE, seq = 0;
        socklen_t n = sizeof(seq);

        both_ways(s, 0, PLENTY);
        if (s->client) {
                note(s, "on=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on))));
                note(s, "queue=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue))));
                note(s, "seq=%s", result(getsockopt(s->fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &n)));
                note(s, "off=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off))));
        }
        meet(s);
        both_ways(s, 5000, PLENTY);
}

/* What was accepted from an IPv6 socket with an address of IPv4 becomes a socket of IPv4. */
static void address_form(Side *s) {
        int family = AF_INET;

        both_ways(s, 0, 1000);
        if (!s->client)
                note(s, "form=%s", result(setsockopt(s->fd, IPPROTO_IPV6, IPV6_ADDRFORM, &family, sizeof(family))));
        meet(s);
        both_ways(s, 5000, PLENTY);
}

/* What the kernel's structure has behind that of glibc. */
typedef struct Info {
        struct tcp_info known;
        uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
} Info;

static Info info_of(int fd) {
        Info i = { 0 };
        socklen_t n = sizeof(i);

        (void) getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n);
        return i;
}

/* From what was there before (the handshake counts, too) to what is in the end: acknowledgements take their time. */
static void counted(Side *s) {
        Info before = info_of(s->fd), now;

        meet(s);
        both_ways(s, 0, PLENTY);
        now = info_of(s->fd);
        for (int n = 0; n < 1000 && now.bytes_acked - before.bytes_acked < PLENTY; n++) {
                usleep(5000);
                now = info_of(s->fd);
        }
        note(s, "received=%llu", (unsigned long long) (now.bytes_received - before.bytes_received));
        /* some of what went before may not have been acknowledged yet */
        note(s, "acked=%d", now.bytes_acked - before.bytes_acked >= PLENTY && now.bytes_acked - before.bytes_acked < PLENTY + 100);
        meet(s);
}

const Case cases_tcp[] = {
        { "ktls", ktls, false },
        { "repair", repair, false },
        { "address-form", address_form, false },
        { "counted", counted, false },
        { NULL, NULL, false },
};
