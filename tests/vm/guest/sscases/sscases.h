/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sscases: what its files share. main.c says what it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "memlego/securestack-abi.h"

#define SECRET_BYTES 64u
#define SITE_OFFSET 16 /* of site in mlg_ss_protect, for the stub */

/* stub.c: a guarded call, system calls and all. Its result is RESTORE's, or PROTECT's with `stage` 0.
 * Registers are not cleared, and behind the site it jumps to wherever r15 says: so attackers can be tried on
 * it who could not come back from a real one, and it would be no good for anything else. */
struct guard {
        int fd;
        uint32_t n, flags, clear_before, clear_after;
        struct mlg_ss_range range[MLG_SS_RANGES_MAX];
};

typedef void callee(void *arg);
typedef long stub(int fd, struct mlg_ss_protect *p, callee *fn, void *arg, uint64_t clear_after);

extern volatile int guard_stage; /* 0: not protected; 1: the callee runs, or has run; 2: restored */
extern char stub_begin[], stub_syscall[], stub_site[], stub_end[];
stub stub_call;
long guarded(struct guard *g, callee *fn, void *arg);
long guarded_by(stub *by, struct guard *g, callee *fn, void *arg);
void guard_secret(struct guard *g, const void *at, size_t bytes);
void guard_exception(struct guard *g, const void *at, size_t bytes);
long ss_ioctl(int fd, unsigned long what,
              unsigned long arg); /* from another place than the stub's; 0 or -errno */
/* Says RESTORE at the instruction `at` (the stub's, or a copy of it) with that stack pointer, and comes
 * back. */
long forge_restore(int fd, uint64_t sp, const void *at);

/* main.c: a secret that is nowhere else, and what an attacker has got. */
extern int device;
extern uint8_t stolen[1 << 16];
extern volatile size_t n_stolen;
void secret_make(uint8_t *at, uint64_t seed);
bool secret_is(const uint8_t *at, uint64_t seed);
bool secret_in(const void *where, size_t bytes, uint64_t seed);
void steal(const volatile void *from, size_t bytes);
int open_device(void);
void report(const char *name, bool good, const char *format, ...) __attribute__((format(printf, 3, 4)));
long stat_of(const char *file, int field); /* of /sys/class/misc/securestack, from 1 */

struct victim {
        uint8_t before[64], secret[SECRET_BYTES], after[64];
        uint64_t seed, sp;
};

/* Their cases. */
void cases_reading(void);
void cases_forging(void);
void cases_frames(void);
void cases_limits(void);
void cases_racing(void);
void measure(void);
