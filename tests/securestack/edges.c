// SPDX-License-Identifier: GPL-2.0-or-later
/* A program that calls the library in less usual ways, and knows nothing of SecureStack: edges CASE. It says what
 * it has seen, and last how often the secret was found. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edges-library.h"
#include "library.h"

#define BELOW_BYTES 16384

/* Like the library's, the complement only. */
__attribute__((aligned(16))) const uint64_t complement[2] = { 0x90df8b9a8d9c9a8cu, 0xdedede8c8b96df99u };

static void make(volatile char *secret) {
        for (int i = 0; i < 17; i++)
                secret[i] = "secret of its!!!"[i];
}

static const char *state_of(const volatile char *secret) {
        return strcmp((const char *) secret, "secret of its!!!") == 0 ? "kept" : "lost";
}

/* ---- lazy: the first call of a function, with the secret in all registers that may hold one ---- */

/* Registers for arguments aside. */
void each_with_full_registers(const int *values, size_t n, void (*call)(int));
__asm__(".text\n"
        "each_with_full_registers:\n"
        "       .cfi_startproc\n"
        "       subq $8, %rsp\n"
        "       .cfi_def_cfa_offset 16\n"
        "       .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "       pcmpeqb %xmm\\n, %xmm\\n\n"
        "       pxor complement(%rip), %xmm\\n\n"
        "       .endr\n"
        "       movq %xmm0, %rax\n"
        "       movq %rax, %r10\n"
        "       movq %rax, %r11\n"
        "       call lib_each@PLT\n"
        "       addq $8, %rsp\n"
        "       .cfi_def_cfa_offset 8\n"
        "       ret\n"
        "       .cfi_endproc\n");

/* Words of it, below our own frame. */
static __attribute__((noinline)) int below(void) {
        const volatile uint64_t *here = __builtin_frame_address(0);
        int n = 0;

        for (size_t i = 1; i < BELOW_BYTES / 8; i++)
                n += (here[-(ptrdiff_t) i] ^ complement[0]) == UINT64_MAX ||
                     (here[-(ptrdiff_t) i] ^ complement[1]) == UINT64_MAX;
        return n;
}

static int found_by_callee;
static void look(int value) {
        found_by_callee += below() * value;
}

static int lazy(void) {
        static const int one[] = { 1 };
        int found;

        each_with_full_registers(one, 1, look);
        found = below();
        printf("in the call %s, after it %s\n", found_by_callee ? "found" : "nothing",
               found ? "found" : "nothing");
        return found + found_by_callee;
}

/* ---- vfork: by the library, and by the program, whose child makes a call ---- */

static __attribute__((noinline)) int vforks(void) {
        volatile char secret[17];
        int found, status = -1;
        pid_t child;

        make(secret);
        found = lib_spy();
        found += lib_vfork();
        printf("command %d\n", lib_command());
        child = vfork();
        if (child == 0)
                _exit(lib_spy());
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
                printf("the child ended with %#x\n", (unsigned) status);
        found += WEXITSTATUS(status) + lib_spy();
        printf("secret %s\n", state_of(secret));
        return found;
}

/* ---- tail: the last thing that a function does is a call of the library, so it is a jump ---- */

static __attribute__((noipa)) int add_to(int *to) {
        return lib_add(to, 5);
}

static __attribute__((noipa)) int spy(void) {
        return lib_spy();
}

static __attribute__((noipa)) long many(long a, long b, long c, long d, long e, long f, long g, long h) {
        return lib_many(h, g, f, e, d, c, b, a);
}

static __attribute__((noinline)) int tail(void) {
        volatile char secret[17];
        int sum = 37, found;

        make(secret);
        printf("many %ld\n", many(8, 7, 6, 5, 4, 3, 2, 1));
        (void) add_to(&sum);
        printf("sum %d\n", sum);
        found = spy();
        printf("secret %s\n", state_of(secret));
        return found;
}

/* ---- chosen: a function that the library chooses when it is bound; pointed: one whose address is taken ---- */

static __attribute__((noinline)) int calls_chosen(void) {
        volatile char secret[17];
        int found;

        make(secret);
        found = lib_chosen();
        found += lib_chosen();
        printf("secret %s\n", state_of(secret));
        return found;
}

static __attribute__((noinline)) int calls_pointed(void) {
        int (*volatile pointer)(void) = lib_pointed;
        volatile char secret[17];
        int found;

        make(secret);
        found = lib_pointed();
        found += pointer();
        printf("secret %s\n", state_of(secret));
        return found;
}

/* ---- thread: one whose first function is left by such a jump, for a library that ends the thread ---- */

static void *ends(void *value) {
        void *volatile result = lib_end_thread(value);

        return result;
}

static void *ends_at_last(void *value) {
        return lib_end_thread(value);
}

static int in_thread(void *(*run)(void *) ) {
        static int value;
        void *result = NULL;
        pthread_t thread;

        if (pthread_create(&thread, NULL, run, &value) != 0 || pthread_join(thread, &result) != 0)
                return 0;
        return result == &value;
}

static int threads(void) {
        printf("ended %d\n", in_thread(ends));
        printf("ended at last %d\n", in_thread(ends_at_last));
        return 0;
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                int (*run)(void);
        } cases[] = { { "lazy", lazy },      { "vfork", vforks },        { "tail", tail },
                      { "thread", threads }, { "chosen", calls_chosen }, { "pointed", calls_pointed } };
        volatile char above[4096];

        above[0] = above[4095] = 0;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (argc == 2 && strcmp(argv[1], cases[i].name) == 0) {
                        printf("found %d\n", cases[i].run());
                        return above[4095];
                }
        return 2;
}
