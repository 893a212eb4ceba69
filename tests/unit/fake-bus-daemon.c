/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stand-in for memlegod: serves the bus for the fake service, so that bus policy and polkit can be tested
 * without a hypervisor. Reservations up to 1 MiB are ready at once, larger ones never. Says on stdout what
 * happens to it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fake-bus-ops.h"
#include "memlego/names.h"
#include "util/util.h"

static uint64_t clock_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * MLG_USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

static int timeout_ms(uint64_t until, uint64_t now) {
        if (until <= now)
                return 0;
        return until - now > 3600 * MLG_USEC_PER_SEC ? -1 : (int) ((until - now + 999) / 1000);
}

#define CROWD 8
#define CROWD_CALLS 400 /* that each of them has under way: far more than are kept */
#define CROWD_USEC (60 * MLG_USEC_PER_SEC) /* if nobody ends it before */

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        --*(unsigned int *) userdata;
        return 1;
}

static int crowd_round(sd_bus *const *clients) {
        unsigned int waiting = 0;
        int r;

        for (size_t i = 0; i < CROWD; i++) {
                for (size_t k = 0; k < CROWD_CALLS; k++, waiting++)
                        if (sd_bus_call_method_async(clients[i], NULL, MLG_BUS_NAME, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER,
                                                     "Pause", on_answer, &waiting, "s", "web-1") < 0)
                                return 1;
                if (sd_bus_flush(clients[i]) < 0)
                        return 1;
        }
        while (waiting > 0) {
                for (size_t i = 0; i < CROWD; i++)
                        while ((r = sd_bus_process(clients[i], NULL)) != 0)
                                if (r < 0)
                                        return 1;
                (void) sd_bus_wait(clients[0], 5000);
        }
        return 0;
}

/* The opposite: a crowd of clients of one user that ask for changes as fast as they are answered. */
static int crowd(void) {
        uint64_t until = clock_usec() + CROWD_USEC;
        sd_bus *clients[CROWD] = {};

        for (size_t i = 0; i < CROWD; i++)
                if (sd_bus_open_system(&clients[i]) < 0)
                        return 1;
        for (bool first = true; clock_usec() < until; first = false) {
                if (crowd_round(clients) != 0)
                        return 1;
                if (first)
                        printf("crowding\n");
        }
        return 0;
}

int main(int argc, char *argv[]) {
        FakeService service;
        MlgBus *bus = NULL;
        const MlgPollable *p;
        unsigned int reserved = 0, released = 0;
        int r;

        (void) setvbuf(stdout, NULL, _IOLBF, 0);
        if (argc > 1 && strcmp(argv[1], "crowd") == 0)
                return crowd();
        fake_service_init(&service);
        service.settle_max_kib = MLG_KIB_PER_MIB;
        r = mlg_bus_open_system(&fake_bus_ops, &service, &bus);
        if (r < 0) {
                printf("no bus: %s\n", strerrorname_np(-r));
                return 1;
        }
        service.bus = bus;
        p = mlg_bus_pollable(bus);
        printf("ready\n");

        while (r >= 0) {
                struct pollfd fd = { .fd = p->fd, .events = p->events(p->userdata) };

                (void) poll(&fd, 1, timeout_ms(p->deadline_usec(p->userdata), clock_usec()));
                r = p->dispatch(clock_usec(), p->userdata);
                mlg_bus_flush_changes(bus);
                for (; reserved < service.n_reserves; reserved++)
                        printf("reserved\n");
                for (; released < service.n_releases; released++)
                        printf("released\n");
        }
        printf("lost: %s\n", strerrorname_np(-r));
        mlg_bus_free(bus);
        return 0;
}
