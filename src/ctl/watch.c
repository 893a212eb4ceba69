/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Watch: a full-screen view on a terminal, else one plain table after another.
 *
 * Invariants: the terminal is as it was when the program ends, by q, ctrl-C, hang-up, an error, and while it
 * is stopped by ctrl-Z; memlegod going away is shown and waited out, only a first failure ends the program.
 * Signals and keys are only handled in ppoll(), so that no drawing is cut in two; so a memlegod that hangs
 * is waited for no longer than somebody who wants to leave would wait. */
#include "ctl/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"
#include "util/util.h"

/* An answer takes milliseconds. One that takes longer is told as trouble, and asked for anew at the next
 * redraw. */
#define PATIENCE_USEC MLG_USEC_PER_SEC

#define FOOTER_LINES 1
#define SCREEN_COLUMNS_DEFAULT 80
#define SCREEN_LINES_DEFAULT 24

/* alternate screen, no cursor, no wrapping: what is too wide is cut by the terminal */
#define SCREEN_ENTER "\033[?1049h\033[?25l\033[?7l"
#define SCREEN_LEAVE "\033[?7h\033[?25h\033[?1049l"
#define SCREEN_HOME "\033[H"
#define SCREEN_CLEAR_LINE "\033[K"
#define SCREEN_CLEAR_BELOW "\033[J"

typedef struct Watch {
        const MlgArgs *args;
        MlgStyle style;
        bool screen;           /* stdout is a terminal that can be drawn upon */
        bool keys;             /* stdin is a terminal */
        struct termios saved;  /* valid if keys */
        unsigned int lines;
        MlgClient *client;     /* NULL: to be connected anew */
        uint64_t patience_usec;
        MlgSnapshot *snapshot; /* NULL: none yet */
        char *trouble;         /* why the snapshot is old, escaped; NULL: it is not */
        size_t first;          /* guest at the top */
        size_t page;           /* guests that fit */
} Watch;

static volatile sig_atomic_t got_end, got_stop;

static void on_signal(int sig) {
        if (sig == SIGTSTP)
                got_stop = 1;
        else if (sig != SIGWINCH)
                got_end = 1;
}

/* Blocks our signals; `ret_wait`: the mask for ppoll(), in which they come. */
static void catch_signals(sigset_t *ret_wait) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH };
        struct sigaction sa = { .sa_handler = on_signal };
        sigset_t block;

        sigemptyset(&block);
        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
                sigaddset(&block, signals[i]);
                (void) sigaction(signals[i], &sa, NULL);
        }
        (void) sigprocmask(SIG_BLOCK, &block, ret_wait);
        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
                sigdelset(ret_wait, signals[i]);
}

static bool put(const char *s) {
        size_t len = strlen(s);

        while (len > 0) {
                ssize_t n = write(STDOUT_FILENO, s, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                s += n;
                len -= (size_t) n;
        }
        return true;
}

static void screen_enter(Watch *w) {
        if (w->keys) {
                struct termios raw = w->saved;

                raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO); /* ISIG stays: ctrl-C and ctrl-Z are signals */
                raw.c_cc[VMIN] = 1;
                raw.c_cc[VTIME] = 0;
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        }
        if (w->screen)
                (void) put(SCREEN_ENTER);
}

static void screen_leave(Watch *w) {
        if (w->screen)
                (void) put(SCREEN_LEAVE);
        if (w->keys)
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &w->saved);
}

static void read_screen_size(Watch *w) {
        struct winsize size;

        if (!w->screen)
                return;
        w->style.columns = SCREEN_COLUMNS_DEFAULT;
        w->lines = SCREEN_LINES_DEFAULT;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
                w->style.columns = size.ws_col;
                w->lines = size.ws_row;
        }
}

static MlgSnapshot *take_snapshot(Watch *w, GError **error) {
        g_autoptr(MlgSnapshot) s = NULL;
        g_autofree char *text = NULL;

        if (!w->client)
                w->client = mlg_client_open(w->args->address, w->patience_usec, error);
        if (!w->client)
                return NULL;
        text = mlg_client_dump(w->client, error);
        if (text)
                s = mlg_snapshot_parse(text, error);
        if (!s) {
                w->client = mlg_client_free(w->client); /* a connection that broke does not come back */
                return NULL;
        }
        (void) mlg_snapshot_filter(s, w->args->patterns); /* a guest that is awaited may come later */
        return g_steal_pointer(&s);
}

/* False: nothing to show at all, error is set. */
static bool refresh(Watch *w, GError **error) {
        g_autoptr(GError) e = NULL;
        MlgSnapshot *s = take_snapshot(w, &e);

        g_clear_pointer(&w->trouble, g_free);
        if (s) {
                mlg_snapshot_free(w->snapshot);
                w->snapshot = s;
                return true;
        }
        if (!w->snapshot) {
                g_propagate_error(error, g_steal_pointer(&e));
                return false;
        }
        w->trouble = mlg_text_escape(e->message, MLG_TEXT_LINE, w->style.utf8);
        return true;
}

static void append_footer(const Watch *w, GString *out) {
        g_autofree char *every = mlg_format_usec(w->args->watch_usec);
        size_t n = w->snapshot->n_guests, last = mlg_min(w->first + w->page, n);

        if (w->trouble) {
                mlg_append_coloured(out, &w->style, MLG_COLOUR_RED, w->trouble);
                return;
        }
        if (n > w->page)
                g_string_append_printf(out, "%zu to %zu of %zu, arrow keys scroll   ", w->first + 1, last,
                                       n);
        g_string_append_printf(out, "every %s   q quits", every);
}

static size_t count_lines(const GString *s) {
        size_t n = 0;

        for (const char *p = s->str; (p = strchr(p, '\n')); p++)
                n++;
        return n;
}

static bool draw_screen(Watch *w) {
        g_autoptr(GString) text = g_string_new(NULL), out = g_string_new(SCREEN_HOME);
        g_auto(GStrv) lines = NULL;
        size_t used;

        mlg_render_host(w->snapshot, &w->style, text);
        g_string_append_c(text, '\n');
        used = count_lines(text) + 1 + FOOTER_LINES; /* 1: titles of the table */
        w->page = w->lines > used ? w->lines - used : 1;
        w->first = mlg_min(w->first, mlg_sub_sat(w->snapshot->n_guests, w->page));
        mlg_render_guests(w->snapshot, &w->style,
                          &(MlgStatusView){ .bars = true,
                                            .narrow = true,
                                            .first = w->first,
                                            .max_rows = w->page },
                          text);
        append_footer(w, text);

        lines = g_strsplit(text->str, "\n", -1);
        for (size_t i = 0; lines[i] && i < w->lines; i++) {
                if (i > 0)
                        g_string_append(out, "\r\n");
                g_string_append(
                        out, SCREEN_CLEAR_LINE); /* not behind the text: there a full line loses its end */
                g_string_append(out, lines[i]);
        }
        g_string_append(out, SCREEN_CLEAR_BELOW);
        return put(out->str);
}

static bool draw_plain(Watch *w) {
        g_autoptr(GString) out = g_string_new(NULL);

        mlg_render_status(w->snapshot, &w->style, &(MlgStatusView){ .bars = true, .max_rows = SIZE_MAX },
                          out);
        if (w->trouble)
                g_string_append_printf(out, "%s\n", w->trouble);
        g_string_append_c(out, '\n');
        return put(out->str);
}

static void scroll(Watch *w, size_t by, bool down) {
        size_t most = mlg_sub_sat(w->snapshot->n_guests, w->page);

        w->first = down ? mlg_min(mlg_add_sat(w->first, by), most) : mlg_sub_sat(w->first, by);
}

/* Bytes of the key at `p`: some keys send several, which begin with ESC. */
static size_t key_length(const char *p) {
        size_t n;

        if (p[0] != '\033' || !p[1])
                return 1;
        if (p[1] != '[' && p[1] != 'O')
                return 2; /* with Alt */
        n = 2 + strspn(p + 2, "0123456789;");
        return p[n] ? n + 1 : n;
}

/* False: the person wants to leave. */
static bool handle_key(Watch *w, const char *key) {
        if (g_str_equal(key, "q") || g_str_equal(key, "Q"))
                return false;
        if (g_str_equal(key, "k") || g_str_equal(key, "\033[A") || g_str_equal(key, "\033OA"))
                scroll(w, 1, false);
        else if (g_str_equal(key, "j") || g_str_equal(key, "\033[B") || g_str_equal(key, "\033OB"))
                scroll(w, 1, true);
        else if (g_str_equal(key, "\033[5~"))
                scroll(w, w->page, false);
        else if (g_str_equal(key, "\033[6~"))
                scroll(w, w->page, true);
        else if (g_str_equal(key, "\033[H"))
                w->first = 0;
        else if (g_str_equal(key, "\033[F"))
                scroll(w, SIZE_MAX, true);
        return true;
}

/* All that were pressed since the last time: a q counts also behind others. False: the person wants to
 * leave. */
static bool handle_keys(Watch *w) {
        char buf[64];
        ssize_t n = read(STDIN_FILENO, buf, sizeof buf - 1);

        if (n <= 0) /* the terminal is gone */
                return n < 0 && errno == EINTR;
        buf[n] = '\0';
        for (const char *p = buf; *p; p += key_length(p)) {
                g_autofree char *key = g_strndup(p, key_length(p));

                if (!handle_key(w, key))
                        return false;
        }
        return true;
}

/* Stopped by ctrl-Z: hands the terminal back, and takes it again when continued. */
static void stop_here(Watch *w) {
        got_stop = 0;
        screen_leave(w);
        (void) raise(SIGSTOP);
        screen_enter(w);
}

/* Waits for the next redraw; returns false at the end. */
static bool wait_until(Watch *w, uint64_t until_usec, const sigset_t *mask) {
        struct pollfd fds[] = { { .fd = w->keys ? STDIN_FILENO : -1, .events = POLLIN } };
        uint64_t left = mlg_sub_sat(until_usec, (uint64_t) g_get_monotonic_time());
        struct timespec ts = { .tv_sec = (time_t) (left / MLG_USEC_PER_SEC),
                               .tv_nsec = (long) (left % MLG_USEC_PER_SEC) * 1000 };
        int n = ppoll(fds, G_N_ELEMENTS(fds), &ts, mask);

        if (got_end)
                return false;
        if (got_stop)
                stop_here(w);
        return n <= 0 || fds[0].revents == 0 || handle_keys(w);
}

static void loop(Watch *w, const sigset_t *mask) {
        uint64_t next = 0;

        for (;;) {
                uint64_t now = (uint64_t) g_get_monotonic_time();

                if (now >= next) { /* the first snapshot is fresh */
                        if (next > 0)
                                (void) refresh(w, NULL); /* with figures to show it does not fail */
                        if (!w->screen && !draw_plain(w))
                                return;
                        next = (uint64_t) g_get_monotonic_time() + w->args->watch_usec;
                }
                read_screen_size(w);
                if (w->screen && !draw_screen(w))
                        return;
                if (!wait_until(w, next, mask))
                        return;
        }
}

int mlg_watch_run(const MlgArgs *args, const MlgStyle *style, GError **error) {
        const char *term = g_getenv("TERM");
        Watch w = { .args = args, .style = *style, .patience_usec = MLG_CLIENT_PATIENCE_USEC };
        sigset_t mask;

        w.screen = isatty(STDOUT_FILENO) && term && *term && !g_str_equal(term, "dumb");
        w.keys = w.screen && tcgetattr(STDIN_FILENO, &w.saved) == 0;
        if (!refresh(&w, error)) /* before the screen is taken: the message stays to be read */
                return MLG_EXIT_FAILED;
        w.patience_usec = PATIENCE_USEC;
        mlg_client_set_patience(w.client, PATIENCE_USEC);

        catch_signals(&mask);
        screen_enter(&w);
        loop(&w, &mask);
        screen_leave(&w);

        mlg_client_free(w.client);
        mlg_snapshot_free(w.snapshot);
        g_free(w.trouble);
        return MLG_EXIT_OK;
}
