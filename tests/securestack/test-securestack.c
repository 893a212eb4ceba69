// SPDX-License-Identifier: GPL-2.0-or-later
/* libsecurestack: what a callee can find of its caller's secrets, and that the caller has them back.
 *
 * Without the module it tests the portable back-end, and that there is none until it is allowed; in a guest
 * with the module, that. Each thing that must not be found is looked for without protection first, and must
 * then be there. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "memlego/securestack.h"

#define RAW __attribute__((noinline, no_sanitize("address", "undefined")))
#define BELOW_BYTES 32768

/* The secret is known by its complement only, so that nothing but the secret looks like it. */
static uint8_t complement[32];

static RAW void tell(volatile uint8_t *secret) {
        for (size_t i = 0; i < sizeof complement; i++)
                secret[i] = (complement[i] ^ 0xff);
}

static bool is_told(const volatile uint8_t *secret) {
        for (size_t i = 0; i < sizeof complement; i++)
                if ((secret[i] ^ complement[i]) != 0xff)
                        return false;
        return true;
}

static RAW int count(const volatile uint8_t *from, const volatile uint8_t *to) {
        int n = 0;

        for (; from + 16 <= to; from++) {
                size_t i = 0;

                while (i < 16 && (from[i] ^ complement[i]) == 0xff)
                        i++;
                n += i == 16;
        }
        return n;
}

static uint8_t *stack_high(void) {
        static __thread uint8_t *high;
        pthread_attr_t attr;
        void *low;
        size_t bytes;

        if (high)
                return high;
        assert_int_equal(pthread_getattr_np(pthread_self(), &attr), 0);
        assert_int_equal(pthread_attr_getstack(&attr, &low, &bytes), 0);
        (void) pthread_attr_destroy(&attr);
        high = (uint8_t *) low + bytes;
        return high;
}

/* The callee that is not trusted: how often is the secret on the stack? */
static RAW int spy_up(void) {
        return count(__builtin_frame_address(0), stack_high());
}

static RAW int spy_down(void) {
        uint8_t *here = __builtin_frame_address(0);

        return count(here - BELOW_BYTES, here);
}

static int n_calls;
static RAW int counted(int n) {
        n_calls++;
        return n;
}

static int begin(void **state) {
        for (size_t i = 0; i < sizeof complement; i++)
                complement[i] = (uint8_t) (rand() % 255 + 1);
        (void) stack_high();
        return 0;
}

static void test_refused_without_module(void **state) {
        struct ss_call call = SS_CALL(0);
        int r = ss_call(&call, counted, 7);

        if (ss_backend() == SS_KERNEL)
                skip();
        assert_int_equal(r, 0);
        assert_int_equal(n_calls, 0);
        assert_int_equal(call.status, -ENODEV);
        assert_non_null(strstr(ss_strerror(call.status), "load the module"));
        assert_int_equal(ss_backend(), SS_NONE);
        assert_int_equal(ss_init(1u << 31), -EINVAL);
        assert_int_equal(ss_init(SS_PORTABLE), 0);
        assert_true(ss_backend() == SS_KEYS || ss_backend() == SS_COPIES);
        assert_int_equal(ss_call(&call, counted, 7), 7);
        assert_int_equal(call.status, 0);
        assert_int_equal(n_calls, 1);
}

static void test_named_secret(void **state) {
        int found;

        {
                uint8_t key[32];
                SS_SECRET(key);
                struct ss_call call = SS_CALL(0);

                tell(key);
                assert_true(spy_up() >= 1);
                found = ss_call(&call, spy_up);
                assert_int_equal(call.status, 0);
                assert_int_equal(found, 0);
                assert_true(is_told(key));
        }
        assert_int_equal(spy_up(), 0);
}

static void test_secret_on_heap(void **state) {
        uint8_t(*key)[32] = malloc(sizeof *key);
        uint8_t *session = malloc(32);
        struct ss_call call = SS_CALL(0);

        ss_hide(&call, session, 32);
        {
                SS_SECRET(*key);
                tell(*key);
                tell(session);
                assert_int_equal(count(*key, *key + 32), 1);
                assert_int_equal(ss_call(&call, count, *key, *key + 32), 0);
                assert_int_equal(ss_call(&call, count, session, session + 32), 0);
                assert_int_equal(call.status, 0);
                assert_true(is_told(*key));
                assert_true(is_told(session));
        }
        assert_int_equal(count(*key, *key + 32), 0);
        assert_true(is_told(session));
        free(key);
        free(session);
}

/* Nothing is named here: the frame is hidden with all that the compiler made of it. */
static RAW int whole_frame(int *ret_status, bool protect) {
        volatile uint8_t key[32];
        volatile long other = 4711;
        struct ss_call call = SS_CALL(SS_FRAME);
        int found;

        tell(key);
        found = protect ? ss_call(&call, spy_up) : spy_up();
        *ret_status = call.status;
        return is_told(key) && other == 4711 ? found : -1;
}

static void test_whole_frame(void **state) {
        int status;

        assert_true(whole_frame(&status, false) >= 1);
        assert_int_equal(whole_frame(&status, true), 0);
        assert_int_equal(status, 0);
}

struct mail {
        uint8_t before[32];
        char text[32];
        uint8_t after[32];
};

/* Writes what it may, and more. */
static RAW int write_mail(struct mail *mail) {
        int found = count(mail->before, mail->before + 32) + count(mail->after, mail->after + 32);

        memset(mail->before, 'x', sizeof mail->before);
        memset(mail->after, 'x', sizeof mail->after);
        strcpy(mail->text, strcmp(mail->text, "question") == 0 ? "answer" : "?");
        return found;
}

static void test_exposed(void **state) {
        struct mail mail;
        SS_SECRET(mail);
        struct ss_call call = SS_CALL(SS_FRAME);

        tell(mail.before);
        tell(mail.after);
        strcpy(mail.text, "question");
        ss_expose(&call, mail.text, sizeof mail.text);
        assert_int_equal(ss_call(&call, write_mail, &mail), 0);
        assert_int_equal(call.status, 0);
        assert_string_equal(mail.text, "answer");
        assert_true(is_told(mail.before));
        assert_true(is_told(mail.after));
}

static RAW long many(char a, short b, int c, long d, unsigned char e, const char *f, long g, long h, int i) {
        return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f[0] + 7 * g + 8 * h + 9 * i;
}

static RAW double floats(double a, int n, float b, double c, double d, double e, double f, double g,
                         double h, double i, int m) {
        return a + 2 * (double) b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + n + m;
}

static RAW int sum(int n, ...) {
        va_list list;
        double total = 0;

        va_start(list, n);
        while (n-- > 0)
                total += va_arg(list, double);
        va_end(list);
        return (int) total;
}

static int n_nothing;
static RAW void nothing(void) {
        n_nothing++;
}

static RAW long double too_long(long double a) {
        return a;
}

static void test_arguments(void **state) {
        for (unsigned flags = 0; flags <= SS_FRAME; flags++) {
                struct ss_call call = SS_CALL(flags);
                long (*pointer)(char, short, int, long, unsigned char, const char *, long, long, int) = many;
                char text[] = "A";

                ss_expose(&call, text, sizeof text);
                assert_int_equal(ss_call(&call, many, -1, 2, 3, 4, 5, text, 7, 8, 9),
                                 many(-1, 2, 3, 4, 5, "A", 7, 8, 9));
                assert_int_equal(ss_call(&call, pointer, 1, 2, 3, 4, 5, text, 7, 8, 9),
                                 many(1, 2, 3, 4, 5, "A", 7, 8, 9));
                assert_true(ss_call(&call, floats, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) ==
                            floats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
                assert_int_equal(ss_call(&call, sum, 3, 1.0, 2.0, 39.5), 42);
                n_nothing = 0;
                ss_call(&call, nothing);
                assert_int_equal(n_nothing, 1);
                /* an argument that is such a call itself */
                struct ss_call inner = SS_CALL(flags);
                assert_int_equal(ss_call(&call, counted, ss_call(&inner, counted, 5) + 1), 6);
                assert_int_equal(call.status, 0);
                (void) ss_call(&call, too_long, 1.0L);
                assert_int_equal(call.status, -EDOM);
        }
}

/* What lies below the stack: of the caller before the call, of the callee after it. */
static RAW void leave_behind(void) {
        volatile uint8_t deep[3000];

        tell(deep);
        tell(deep + 2900);
}

static void test_below(void **state) {
        struct ss_call call = SS_CALL(0);

        leave_behind();
        assert_true(spy_down() >= 1);
        leave_behind();
        assert_int_equal(ss_call(&call, spy_down), 0);
        ss_call(&call, leave_behind);
        assert_int_equal(call.status, 0);
        assert_int_equal(spy_down(), 0);
}

/* Registers: fill(), then through the gate, then all that is left. The callee notes what it finds. */
struct registers {
        uint64_t general[16]; /* rax rbx rcx rdx rsi rdi rbp rsp r8 .. r15 */
        uint8_t vectors[16][16];
};
struct registers in_callee, after;
void gate_between(void);
void note_and_fill(void);
#define STORE_ALL(to) \
        "movq %rax, " to "(%rip)\n movq %rbx, " to "+8(%rip)\n movq %rcx, " to "+16(%rip)\n" \
        "movq %rdx, " to "+24(%rip)\n movq %rsi, " to "+32(%rip)\n movq %rdi, " to "+40(%rip)\n" \
        "movq %r8, " to "+64(%rip)\n movq %r9, " to "+72(%rip)\n movq %r10, " to "+80(%rip)\n" \
        "movq %r11, " to "+88(%rip)\n movq %r12, " to "+96(%rip)\n movq %r13, " to "+104(%rip)\n" \
        "movq %r14, " to "+112(%rip)\n movq %r15, " to "+120(%rip)\n" \
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
        "movups %xmm\\n, " to "+128+16*\\n(%rip)\n .endr\n"
#define FILL_VECTORS \
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
        "pcmpeqb %xmm\\n, %xmm\\n\n .endr\n"
__asm__(".text\n"
        "gate_between:\n"
        "pushq %rbx\n pushq %rbp\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n subq $8, %rsp\n"
        "movq $-1, %rax\n movq %rax, %rbx\n movq %rax, %r10\n movq %rax, %r11\n"
        "movq $12, %r12\n movq $13, %r13\n"
        "movq $14, %r14\n movq $15, %r15\n movq $16, %rbp\n" FILL_VECTORS "call ss_gate_\n" STORE_ALL(
                "after") "movq %rbp, after+48(%rip)\n"
                         "addq $8, %rsp\n popq %r15\n popq %r14\n popq %r13\n"
        "popq %r12\n popq %rbp\n popq %rbx\n ret\n"
                         "note_and_fill:\n" STORE_ALL("in_callee") FILL_VECTORS
        "pushq %rbx\n pushq %r12\n popq %r12\n popq %rbx\n"
        "movq $1, %rax\n movq $2, %rdx\n movq $-1, %rcx\n movq $-1, %rsi\n movq $-1, %rdi\n movq $-1, %r8\n"
        "movq $-1, %r9\n movq $-1, %r10\n movq $-1, %r11\n ret\n");

static void test_registers(void **state) {
        static const uint8_t zeroes[16];
        struct ss_call call = SS_CALL(0);
        enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP };

        (void) ss_arm_(&call, note_and_fill, 0, __builtin_dwarf_cfa(), ss_gate_);
        gate_between();
        assert_int_equal(call.status, 0);
        for (size_t i = 0; i < 16; i++)
                assert_memory_equal(in_callee.vectors[i], zeroes, 16);
        assert_int_equal(in_callee.general[RBX], 0);
        assert_int_equal(in_callee.general[10], 0);
        for (size_t i = 12; i < 16; i++)
                assert_int_equal(in_callee.general[i], 0);
        assert_int_equal(after.general[RAX], 1);
        assert_int_equal(after.general[RDX], 2);
        assert_int_equal(after.general[RCX], 0);
        assert_int_equal(after.general[RSI], 0);
        assert_int_equal(after.general[RDI], 0);
        for (size_t i = 8; i < 12; i++)
                assert_int_equal(after.general[i], 0);
        assert_int_equal((int64_t) after.general[RBX], -1);
        assert_int_equal(after.general[RBP], 16);
        for (size_t i = 12; i < 16; i++)
                assert_int_equal(after.general[i], i);
        for (size_t i = 2; i < 16; i++)
                assert_memory_equal(after.vectors[i], zeroes, 16);
        assert_true(after.vectors[0][0] == 0xff && after.vectors[1][15] == 0xff);
}

static unsigned nest_flags;
static int nest_deepest;
static RAW int nest(int depth) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(nest_flags);
        int r;

        tell(key);
        if (depth == 0)
                return nest_deepest = spy_up();
        r = ss_call(&call, nest, depth - 1);
        return r || call.status || !is_told(key) ? r + 1 : 0;
}

static void in_thread(void *(*run)(void *), void *argument, size_t stack_bytes) {
        pthread_attr_t attr;
        pthread_t thread;
        void *result;

        assert_int_equal(pthread_attr_init(&attr), 0);
        assert_int_equal(pthread_attr_setstacksize(&attr, stack_bytes), 0);
        assert_int_equal(pthread_create(&thread, &attr, run, argument), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        (void) pthread_attr_destroy(&attr);
        assert_int_equal((intptr_t) result, 0);
}

static void test_nested(void **state) {
        for (nest_flags = 0; nest_flags <= SS_FRAME; nest_flags++) {
                /* the deepest one's own secret is all that it can see */
                assert_int_equal(nest(3), 1 + 3);
                assert_int_equal(nest_deepest, 1);
        }
}

/* The same without a spy that would look through all of it each time. */
static RAW int descend(int depth) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(nest_flags);
        int r;

        tell(key);
        if (depth == 0)
                return 1;
        r = ss_call(&call, descend, depth - 1);
        return call.status == 0 && is_told(key) ? r + 1 : -20000;
}

static void *descend_deep(void *unused) {
        int r = descend(10000);

        return (void *) (intptr_t) (r == 10001 ? 0 : r);
}

static void test_nested_10000(void **state) {
        for (nest_flags = 0; nest_flags <= SS_FRAME; nest_flags++)
                in_thread(descend_deep, NULL, 64u << 20);
}

static jmp_buf outer;
static RAW void jump(jmp_buf *to, int value) {
        longjmp(*to, value);
}

static RAW void calls_who_jumps(void) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(SS_FRAME);

        tell(key);
        ss_call(&call, jump, &outer, 3);
        abort();
}

/* Over the protected frame: it is gone, and what was hidden of it must not come back. */
static void test_jump_past(void **state) {
        struct ss_call call = SS_CALL(0);
        uint8_t key[32];
        SS_SECRET(key);

        tell(key);
        for (volatile int i = 0; i < 100; i++) {
                int value = setjmp(outer);

                if (value == 0)
                        calls_who_jumps();
                assert_int_equal(value, 3);
                assert_int_equal(ss_call(&call, spy_up), 0);
                assert_int_equal(call.status, 0);
                assert_true(is_told(key));
        }
}

/* A block that is left so and begun again does not add up. */
static void test_jump_out_of_block(void **state) {
        struct ss_call call = SS_CALL(0);

        for (volatile int i = 0; i < 200; i++) {
                if (setjmp(outer) == 0) {
                        uint8_t key[32];
                        SS_SECRET(key);

                        tell(key);
                        ss_call(&call, jump, &outer, 1);
                }
                assert_int_equal(call.status, 0);
        }
}

/* Back into it: the buffer is hidden with the rest of the frame. */
static void test_jump_back(void **state) {
        uint8_t key[32];
        SS_SECRET(key);
        jmp_buf here;
        struct ss_call call = SS_CALL(SS_FRAME);

        tell(key);
        for (volatile int i = 1; i < 100; i++) {
                int value = setjmp(here);

                if (value == 0) {
                        ss_call(&call, jump, &here, i);
                        fail();
                }
                assert_int_equal(call.status, 0);
                assert_int_equal(value, i);
                assert_true(is_told(key));
        }
}

/* Over many of them, from a handler of a signal on top. */
static RAW void jumps_from_handler(int signal) {
        siglongjmp(outer, 1);
}

static RAW void jump_over(int depth) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(depth % 2 ? SS_FRAME : 0);

        tell(key);
        if (depth)
                ss_call(&call, jump_over, depth - 1);
        else
                ss_call(&call, raise, SIGUSR2);
        abort();
}

static void test_jump_far(void **state) {
        uint8_t key[32];
        SS_SECRET(key);

        tell(key);
        (void) signal(SIGUSR2, jumps_from_handler);
        for (volatile int i = 0; i < 10; i++) {
                if (sigsetjmp(outer, 1) == 0)
                        jump_over(20);
                assert_true(is_told(key));
                assert_int_equal(spy_down(), 0);
        }
}

static void *work(void *seed) {
        uint8_t key[64];
        SS_SECRET(key);
        unsigned char fill = (unsigned char) (uintptr_t) seed;
        intptr_t wrong = 0;

        for (int i = 0; i < 2000; i++) {
                struct ss_call call = SS_CALL(i % 2 ? SS_FRAME : 0);

                memset(key, fill, sizeof key);
                wrong += ss_call(&call, counted, i) != i || call.status != 0;
                for (size_t n = 0; n < sizeof key; n++)
                        wrong += key[n] != fill;
        }
        return (void *) wrong;
}

static void test_threads(void **state) {
        pthread_t threads[4];

        for (uintptr_t i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, work, (void *) (i + 1)), 0);
        for (size_t i = 0; i < 4; i++) {
                void *wrong;

                assert_int_equal(pthread_join(threads[i], &wrong), 0);
                assert_int_equal((intptr_t) wrong, 0);
        }
}

static RAW int forks(void) {
        int pid = fork();

        if (pid == 0) /* cmocka would go on with other tests */
                (void) signal(SIGILL, SIG_DFL);
        return pid;
}

/* A child that was not told of comes back to nothing, with the module; copies it has as all else. */
static void test_fork_unforeseen(void **state) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(SS_FRAME);
        int status, pid;

        tell(key);
        pid = ss_call(&call, forks);
        if (pid == 0)
                _exit(!is_told(key));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (ss_backend() == SS_KERNEL)
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL);
        else
                assert_int_equal(status, 0);
        assert_true(is_told(key));
}

static void test_fork(void **state) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(SS_FRAME | SS_FORK);
        int status, pid;

        tell(key);
        pid = ss_call(&call, forks);
        if (pid == 0) /* and the child can protect something of its own */
                _exit(!is_told(key) || ss_call(&call, spy_up) != 0 || call.status != 0 || !is_told(key));
        assert_int_equal(call.status, 0);
        assert_true(pid > 0);
        assert_true(is_told(key));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static RAW int spy_by_vfork(void) {
        int status = -1, pid = vfork();

        if (pid == 0)
                _exit(spy_up());
        return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A child in the same memory, on the same stack: it finds what the callee finds, and takes nothing with it.
 */
static void test_vfork(void **state) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(SS_FRAME);
        int status, pid;

        tell(key);
        assert_true(spy_by_vfork() >= 1);
        assert_int_equal(ss_call(&call, spy_by_vfork), 0);
        assert_int_equal(call.status, 0);
        assert_true(is_told(key));
        pid = vfork(); /* and can make calls itself, with records of its parent's thread */
        if (pid == 0)
                _exit(ss_call(&call, spy_up) != 0 || call.status != 0 || !is_told(key));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(ss_call(&call, spy_up), 0);
        assert_int_equal(call.status, 0);
        assert_true(is_told(key));
}

static int handler_found, handler_status;
static void handler(int signal) {
        struct ss_call call = SS_CALL(0);

        handler_found = spy_up() + ss_call(&call, spy_up);
        handler_status = call.status;
}

static RAW void raises(void) {
        (void) raise(SIGUSR1);
}

static void test_signal(void **state) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(0);

        (void) signal(SIGUSR1, handler);
        tell(key);
        handler_found = handler_status = -1;
        ss_call(&call, raises);
        assert_int_equal(call.status, 0);
        assert_int_equal(handler_found, 0);
        assert_int_equal(handler_status, 0);
        assert_true(is_told(key));
}

static int n_handled, n_handled_wrong;
static void often(int signal) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(SS_FRAME);

        tell(key);
        n_handled++;
        n_handled_wrong += ss_call(&call, counted, 5) != 5 || call.status != 0 || !is_told(key);
        if (n_handled % 16 == 0)
                siglongjmp(outer, 1);
}

/* Wherever they come, in the library and in the gate, and whatever they do. */
static void test_signals_often(void **state) {
        struct itimerval each = { { 0, 50 }, { 0, 50 } }, none = { 0 };
        volatile int wrong = 0;

        (void) signal(SIGALRM, often);
        n_handled = 0;
        (void) sigsetjmp(outer, 1);
        (void) setitimer(ITIMER_REAL, &each, NULL);
        while (n_handled < 500) {
                uint8_t key[32];
                SS_SECRET(key);
                struct ss_call call = SS_CALL(n_handled % 2 ? SS_FRAME : 0);

                tell(key);
                wrong += ss_call(&call, count, key, key + 32) != 0 || call.status != 0 || !is_told(key);
        }
        (void) setitimer(ITIMER_REAL, &none, NULL);
        assert_int_equal(wrong, 0);
        assert_int_equal(n_handled_wrong, 0);
}

static ucontext_t context_main, context_other;
static int context_status;
static void on_other_stack(void) {
        struct ss_call call = SS_CALL(0);

        (void) ss_call(&call, counted, 1);
        context_status = call.status;
        (void) swapcontext(&context_other, &context_main);
}

static void test_swapcontext(void **state) {
        size_t bytes = 256 << 10;
        void *stack = malloc(bytes);

        assert_int_equal(getcontext(&context_other), 0);
        context_other.uc_stack.ss_sp = stack;
        context_other.uc_stack.ss_size = bytes;
        makecontext(&context_other, on_other_stack, 0);
        assert_int_equal(swapcontext(&context_main, &context_other), 0);
        assert_int_equal(context_status, -EXDEV);
        assert_non_null(strstr(ss_strerror(context_status), "swapcontext"));
        free(stack);
}

static void test_too_many(void **state) {
        uint8_t bytes[SS_RANGES + 1];
        struct ss_call call = SS_CALL(0);

        for (size_t i = 0; i <= SS_RANGES; i++)
                ss_hide(&call, &bytes[i], 1);
        n_calls = 0;
        (void) ss_call(&call, counted, 1);
        assert_int_equal(call.status, -E2BIG);
        assert_int_equal(n_calls, 0);
}

static int ended_with;
static void at_end(void *key) {
        ended_with = is_told(key) ? 1 : 2;
}

static RAW void ends(void) {
        pthread_exit(NULL);
}

static void *thread_that_ends(void *unused) {
        uint8_t key[32];
        SS_SECRET(key);
        struct ss_call call = SS_CALL(0);

        tell(key);
        pthread_cleanup_push(at_end, key);
        ss_call(&call, ends);
        pthread_cleanup_pop(0);
        return (void *) 1;
}

static void test_pthread_exit(void **state) {
        ended_with = 0;
        in_thread(thread_that_ends, NULL, 256 << 10);
        assert_int_equal(ended_with, 1);
}

static void test_words(void **state) {
        static const int errors[] = { 0,       -ENODEV, -EACCES, -EXDEV,      -E2BIG,
                                      -ENOSPC, -ENOMEM, -EDQUOT, -EOPNOTSUPP, -99999 };

        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
                assert_true(strlen(ss_strerror(errors[i])) > 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refused_without_module),
                cmocka_unit_test(test_named_secret),
                cmocka_unit_test(test_secret_on_heap),
                cmocka_unit_test(test_whole_frame),
                cmocka_unit_test(test_exposed),
                cmocka_unit_test(test_arguments),
                cmocka_unit_test(test_below),
                cmocka_unit_test(test_registers),
                cmocka_unit_test(test_nested),
                cmocka_unit_test(test_nested_10000),
                cmocka_unit_test(test_jump_past),
                cmocka_unit_test(test_jump_out_of_block),
                cmocka_unit_test(test_jump_back),
                cmocka_unit_test(test_jump_far),
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_fork),
                cmocka_unit_test(test_fork_unforeseen),
                cmocka_unit_test(test_vfork),
                cmocka_unit_test(test_signal),
                cmocka_unit_test(test_signals_often),
                cmocka_unit_test(test_swapcontext),
                cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_pthread_exit),
                cmocka_unit_test(test_words),
        };

        return cmocka_run_group_tests(tests, begin, NULL);
}
