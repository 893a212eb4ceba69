// SPDX-License-Identifier: GPL-2.0-or-later
/* A program with a secret on each thread's stack, that opens the library by its name and knows nothing of
 * SecureStack: loader LIBRARY THREADS. It says last how often the library has found a secret, and tells
 * if one was lost. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int (*spy)(void);
static int found;

static __attribute__((noinline)) int work(void) {
        volatile char secret[17];
        int n = 0;

        for (int i = 0; i < 17; i++)
                secret[i] = "secret of its!!!"[i];
        for (int i = 0; i < 200; i++)
                n += spy();
        if (strcmp((char *) secret, "secret of its!!!") != 0)
                puts("lost");
        return n;
}

/* There is stack above the work for as far as the library spies. */
static void *thread(void *unused) {
        volatile char above[4096];

        above[0] = above[4095] = 0;
        (void) unused;
        __atomic_add_fetch(&found, work(), __ATOMIC_SEQ_CST);
        return (void *) (long) above[4095];
}

int main(int argc, char **argv) {
        void *library = argc == 3 ? dlopen(argv[1], RTLD_LAZY) : NULL;
        pthread_t threads[16];
        int n = library ? atoi(argv[2]) : 0, status = 1;
        pid_t child;

        spy = library ? (int (*)(void)) dlsym(library, "lib_spy") : NULL;
        if (!spy || n > 16)
                return 2;
        for (int i = 0; i < n; i++)
                if (pthread_create(&threads[i], NULL, thread, NULL) != 0)
                        return 2;
        for (int i = 0; i < n; i++)
                (void) pthread_join(threads[i], NULL);
        child = fork();
        if (child == 0) {
                (void) thread(NULL);
                _exit(found > 99 ? 99 : found);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
                return 2;
        found += WEXITSTATUS(status);
        printf("found %d\n", found);
        return 0;
}
