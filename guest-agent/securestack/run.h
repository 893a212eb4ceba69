/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the two halves of libss-run.so share; ss-run(1).
 *
 * The dynamic linker loads this library twice. As an audit library (LD_AUDIT) it is alone with a C library of
 * its own, and is asked about each symbol that is bound. As a preloaded one (LD_PRELOAD) it is among the
 * program's libraries, with libsecurestack, where forks, ends of threads, exceptions and longjmp() are seen.
 * The former copy finds the latter by its load address, and writes descriptions of functions there; the
 * thunks of the latter are what symbols are bound to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "memlego/securestack.h"

#define SS_RUN_VARIABLE "SECURESTACK_RUN"
#define SS_RUN_THUNKS 4096  /* functions of untrusted libraries that are bound */
#define SS_RUN_LIBRARIES 64 /* names of them */

struct ss_run_library {
        const char *name;
        bool loaded;
};

struct ss_run {
        struct ss_spec specs[SS_RUN_THUNKS]; /* thunk i enters the gate with the i-th */
        bool audited;                        /* what follows was written */
        bool portable;
        struct ss_run_library *libraries;
        size_t n_libraries;
};

#define SS_RUN_HIDDEN __attribute__((visibility("hidden")))
extern struct ss_run ss_run_ SS_RUN_HIDDEN;
extern const char ss_run_thunks_[] SS_RUN_HIDDEN;
#define SS_RUN_THUNK_BYTES 16

/* Whether this copy is the one that audits. */
bool ss_run_audits_(void) SS_RUN_HIDDEN;
/* Ends the process: what cannot be guarded must not go on. */
_Noreturn void ss_run_die_(const char *what, const char *why) SS_RUN_HIDDEN;
/* Each function, in the library of TARGET, of which MAP has the address by another way than calls are bound. */
struct link_map;
typedef void ss_run_unseen(const char *name, const struct link_map *target);
void ss_run_each_unseen_(const struct link_map *map, ss_run_unseen *tell) SS_RUN_HIDDEN;
void ss_run_tell_(const char *what, const char *why) SS_RUN_HIDDEN;
