/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Order: a swap-in that the host has ordered, done by a program of its own (memflexctl), so that nothing here waits for it and its
 * memory is gone with it. One at a time: an order that comes while another one is carried out is taken for the same. */
#pragma once

#include "facts.h"

#define ORDER_PROGRAM "memflexctl"
#define ORDER_DEVICE "/dev/memflex0"

typedef struct Order {
        const char *program;
        int out;         /* what the program says; -1: none runs */
        uint64_t number; /* of this session; 0: none yet */
        uint64_t state;  /* MlgSwapInState */
        uint64_t done_kib;
        char line[256];
        size_t n;
} Order;

/* It begins, or goes on for this one; o->out is to be watched. */
void order_take(Order *o, uint64_t number, uint64_t limit_kib);
/* The program said something. True: it has ended, and o->out is closed. */
bool order_readable(Order *o);
/* Another session: numbers begin anew. */
void order_forget(Order *o);
/* What a report has of it; nothing where there is no device to swap to. */
void order_facts(const Order *o, MlgFacts *f);

/* One line of the program; for tests, too. False: it is none that tells anything. */
bool order_parse(const char *line, uint64_t *ret_state, uint64_t *ret_done_kib);
