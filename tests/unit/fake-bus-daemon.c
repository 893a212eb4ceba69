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

int main(void) {
        FakeService service;
        MlgBus *bus = NULL;
        const MlgPollable *p;
        unsigned int reserved = 0, released = 0;
        int r;

        fake_service_init(&service);
        service.settle_max_kib = MLG_KIB_PER_MIB;
        (void) setvbuf(stdout, NULL, _IOLBF, 0);
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
