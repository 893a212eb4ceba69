// SPDX-License-Identifier: GPL-2.0-or-later
/* What else a library that nobody should trust does: it starts programs, writes to where it was told, ends the
 * thread. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edges-library.h"
#include "library.h"

/* Which of a function's kinds it is, the library says when it is bound. */
static int chosen(void) {
        return lib_spy();
}

static int (*choose(void))(void) {
        return chosen;
}

int lib_chosen(void) __attribute__((ifunc("choose")));

int lib_pointed(void) {
        return lib_spy();
}

/* A child in the same memory looks, on the same stack. */
int lib_vfork(void) {
        int status = -1;
        pid_t child = vfork();

        if (child == 0)
                _exit(lib_spy());
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
                return -1;
        return WEXITSTATUS(status);
}

int lib_command(void) {
        int status = system("exit 7");

        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int lib_add(int *to, int value) {
        *to += value;
        return *to;
}

void *lib_end_thread(void *value) {
        pthread_exit(value);
        return NULL;
}
