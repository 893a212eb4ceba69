// SPDX-License-Identifier: LGPL-2.1-or-later
/* libss-run.so among the program's libraries: the thunks, and what is said at the beginning and at the end.
 *
 * Invariant: the program does not begin without a back-end, nor without the copy that audits. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"

struct ss_run ss_run_;

_Static_assert(sizeof(struct ss_spec) == 40 && SS_RUN_THUNKS == 4096 && SS_RUN_THUNK_BYTES == 16,
               "the thunks have these as numbers");

/* They push nothing, so one entry of the unwind tables does for all. */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl ss_run_thunks_\n"
        ".hidden ss_run_thunks_\n"
        ".type ss_run_thunks_, @function\n"
        "ss_run_thunks_:\n"
        "	.cfi_startproc\n"
        "	.set ss_run_spec, 0\n"
        "	.rept 4096\n"
        "	.p2align 4\n"
        "	endbr64\n"
        "	leaq ss_run_+40*ss_run_spec(%rip), %r11\n"
        "	jmp ss_gate_wrap_\n"
        "	.set ss_run_spec, ss_run_spec + 1\n"
        "	.endr\n"
        "	.cfi_endproc\n"
        "	.size ss_run_thunks_, . - ss_run_thunks_\n");

void ss_run_tell_(const char *what, const char *why) {
        const char *const texts[] = { "ss-run: ", what, ": ", why, "\n" };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                ssize_t ignored = write(STDERR_FILENO, texts[i], strlen(texts[i]));

                (void) ignored;
        }
}

void ss_run_die_(const char *what, const char *why) {
        ss_run_tell_(what, why);
        _exit(127);
}

__attribute__((constructor)) static void begin(void) {
        int r;

        if (ss_run_audits_()) /* then this is the other copy */
                return;
        if (!ss_run_.audited)
                ss_run_die_("the program", "it is not audited (LD_AUDIT): start it by ss-run");
        r = ss_init(ss_run_.portable ? SS_PORTABLE : 0);
        if (r < 0)
                ss_run_die_("the program was not started", ss_strerror(r));
}

/* A library by a wrong name would be one that is trusted. */
__attribute__((destructor)) static void end(void) {
        for (size_t i = 0; i < ss_run_.n_libraries; i++)
                if (!ss_run_.libraries[i].loaded)
                        ss_run_tell_(ss_run_.libraries[i].name,
                                     "no library of that name was loaded, so nothing was guarded");
}
