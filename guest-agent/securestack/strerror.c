// SPDX-License-Identifier: LGPL-2.1-or-later
/* Why a call was refused, in words, and what to do. */
#include <errno.h>

#include "internal.h"

static const struct {
        int error;
        const char *text;
} texts[] = {
        { 0, "the function was called" },
        { ENODEV, "there is no " MLG_SS_DEVICE
                  ": load the module securestack, or allow copies (SS_PORTABLE), which protect less" },
        { EACCES, "no right to " MLG_SS_DEVICE
                  ", or the program's code is writable or not from a file: see securestack(3)" },
        { EPERM, "the descriptor of " MLG_SS_DEVICE " is another process's" },
        { EBADF, "the descriptor of " MLG_SS_DEVICE
                 " is closed: a program that closes all it does not know must leave it open" },
        { ENOTTY, "the descriptor of " MLG_SS_DEVICE
                  " is something else: a program that closes all it does not know must leave it" },
        { EXDEV,
          "the stack pointer is not on the thread's own stack (swapcontext, sigaltstack): call from there" },
        { ENOEXEC,
          "the caller's frame could not be found: it needs unwind tables (-fasynchronous-unwind-tables)" },
        { E2BIG, "too many secrets, or too large ones: name fewer ranges in one call" },
        { EDOM,
          "its arguments cannot be handed over: at most 128 bytes on the stack, no long double" },
        { EDQUOT, "the user has as much protected as he may: raise the module's limit, or protect less" },
        { ENOSPC, "the thread is in too many such calls" },
        { ENOMEM, "there is no memory to keep the secrets in" },
        { EOPNOTSUPP,
          "a secret lies in shared memory, where others could read it: keep it in private memory" },
        { EFAULT, "a range cannot be read, or written: it must be memory of this process" },
        { EINVAL, "a range or a flag makes no sense" },
};

const char *ss_strerror(int status) {
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                if (texts[i].error == -status)
                        return texts[i].text;
        return "the system refused it";
}
