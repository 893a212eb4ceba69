/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ctl: one function per command; from the command line to the exit code. */
#include "ctl/ctl.h"

#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl/args.h"
#include "ctl/client.h"
#include "ctl/record.h"
#include "ctl/render.h"
#include "ctl/simulate.h"
#include "ctl/snapshot.h"
#include "ctl/text.h"
#include "ctl/watch.h"
#include "memlego/monitor-proto.h"
#include "memlego/pipe.h"
#include "util/parse.h"

G_DEFINE_QUARK(mlg-ctl-error-quark, mlg_ctl_error)

#define CLEAR_LINE "\033[K" /* to its end */

/* Each returns true, or false with an error of MLG_CTL_ERROR. Output is appended to `out`. */
typedef bool (*CommandFn)(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out,
                          GError **error);

static void append_escaped(GString *out, const char *s, MlgTextKind kind, const MlgStyle *style) {
        g_autofree char *escaped = mlg_text_escape(s, kind, style->utf8);

        g_string_append(out, escaped);
        if (out->len > 0 && out->str[out->len - 1] != '\n')
                g_string_append_c(out, '\n');
}

static bool show_names(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_auto(GStrv) names = mlg_client_guest_names(c, error);

        if (!names)
                return false;
        for (char **n = names; *n; n++)
                append_escaped(out, *n, MLG_TEXT_LINE, style);
        return true;
}

/* NULL with an error also if there is none. */
static MlgSnapshot *guests_that_match(const MlgArgs *a, MlgClient *c, GError **error) {
        g_autofree char *text = mlg_client_dump(c, error);
        g_autoptr(MlgSnapshot) s = text ? mlg_snapshot_parse(text, error) : NULL;

        if (s && !mlg_snapshot_filter(s, a->patterns)) {
                g_set_error_literal(error, MLG_CTL_ERROR, MLG_EXIT_NO_SUCH_GUEST,
                                    "no guest matches ('memlegoctl status' lists them all)");
                return NULL;
        }
        return g_steal_pointer(&s);
}

static bool run_status(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autoptr(MlgSnapshot) s = NULL;

        if (a->names && !*a->patterns)
                return show_names(a, c, style, out, error);
        s = guests_that_match(a, c, error);
        if (!s)
                return false;
        if (a->names) {
                for (size_t i = 0; i < s->n_guests; i++)
                        append_escaped(out, s->guests[i].name, MLG_TEXT_LINE, style);
        } else if (a->json) {
                g_autofree char *json = mlg_snapshot_to_json(s, style->utf8);

                g_string_append(out, json);
        } else {
                mlg_render_status(s, style, &(MlgStatusView) { .max_rows = SIZE_MAX }, out);
        }
        return true;
}

static bool run_explain(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out,
                        GError **error) {
        g_autoptr(GArray) decisions = mlg_client_explain(c, a->guest, error);
        g_autoptr(GArray) rules = decisions ? mlg_client_explain_rules(c, a->guest, error) : NULL;
        MlgCtlExplanation e;

        if (!rules)
                return false;
        e = (MlgCtlExplanation) { .decisions = (const MlgCtlDecision *) (void *) decisions->data,
                                  .n_decisions = decisions->len,
                                  .rules = (const MlgCtlRule *) (void *) rules->data,
                                  .n_rules = rules->len };
        if (a->json) {
                g_autofree char *json = mlg_explain_to_json(a->guest, &e, style->utf8);

                g_string_append(out, json);
        } else {
                mlg_render_explain(a->guest, &e, style, out);
        }
        return true;
}

static bool run_show(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autofree char *text = mlg_client_dump(c, error);
        g_autoptr(MlgSnapshot) s = text ? mlg_snapshot_parse(text, error) : NULL;

        if (!s)
                return false;
        for (size_t i = 0; i < s->n_guests; i++)
                if (g_str_equal(s->guests[i].name, a->guest) || g_str_equal(s->guests[i].uuid, a->guest)) {
                        mlg_render_show(&s->guests[i], s->host.now_usec, style, out);
                        return true;
                }
        g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_NO_SUCH_GUEST,
                    "there is no guest '%s' ('memlegoctl status' lists them all)", a->guest);
        return false;
}

static bool run_pause_or_resume(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out,
                                GError **error) {
        bool paused = a->command == MLG_COMMAND_PAUSE;
        g_autofree char *text = NULL;

        if (!mlg_client_pause(c, a->guest, paused, error))
                return false;
        text = g_strdup_printf("%s is %s.", a->guest ? a->guest : "Balancing of all guests",
                               paused ? "paused" : "resumed");
        append_escaped(out, text, MLG_TEXT_LINE, style);
        return true;
}

static bool run_set(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autofree char *size = mlg_format_kib(a->size_kib), *hold = mlg_format_usec(a->hold_usec),
                        *text = NULL;

        if (!mlg_client_set_target(c, a->guest, a->size_kib, a->hold_usec, error))
                return false;
        text = g_strdup_printf("%s moves to %s and is held there for %s.", a->guest, size, hold);
        append_escaped(out, text, MLG_TEXT_LINE, style);
        return true;
}

/* One line that is overwritten; it goes when the answer is there. */
static void show_progress(uint64_t room_kib, uint64_t kib) {
        g_autofree char *room = mlg_format_kib(room_kib), *whole = mlg_format_kib(kib);

        (void) fprintf(stderr, "\r%s of %s" CLEAR_LINE, room, whole);
}

static bool run_reserve(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out,
                        GError **error) {
        bool terminal = isatty(STDERR_FILENO), ok;
        uint64_t id;

        ok = mlg_client_reserve(c, a->size_kib, a->timeout_usec, terminal ? show_progress : NULL, &id, error);
        if (terminal)
                (void) fputs("\r" CLEAR_LINE, stderr);
        if (!ok)
                return false;
        g_string_append_printf(out, "%" PRIu64 "\n", id); /* and nothing else: scripts read it */
        return true;
}

static bool run_release(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out,
                        GError **error) {
        return mlg_client_release(c, a->id, error);
}

/* Commands that ask for a list and show it. */
static const struct List {
        GArray *(*ask)(MlgClient *c, GError **error);
        void (*render)(const void *list, size_t n, const MlgStyle *style, GString *out);
        char *(*to_json)(const void *list, size_t n, bool utf8);
} lists[_MLG_COMMAND_MAX] = {
        [MLG_COMMAND_RESERVATIONS] = { mlg_client_reservations, mlg_render_reservations,
                                       mlg_reservations_to_json },
        [MLG_COMMAND_PROPOSALS] = { mlg_client_proposals, mlg_render_proposals, mlg_proposals_to_json },
        [MLG_COMMAND_PLUGINS] = { mlg_client_plugins, mlg_render_plugins, mlg_plugins_to_json },
};

static bool run_list(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        const struct List *l = &lists[a->command];
        g_autoptr(GArray) list = l->ask(c, error);

        if (!list)
                return false;
        if (a->json) {
                g_autofree char *json = l->to_json(list->data, list->len, style->utf8);

                g_string_append(out, json);
        } else {
                l->render(list->data, list->len, style, out);
        }
        return true;
}

static bool approve_all(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autofree char *time = mlg_format_usec(a->for_usec), *text = NULL;
        const char *whom = a->guest ? a->guest : "all guests";
        uint32_t n;

        if (!mlg_client_approve_all(c, a->guest, a->for_usec, &n, error))
                return false;
        text = a->for_usec > 0 ? g_strdup_printf("Approved %" PRIu32 "; for %s nothing needs approval of %s.", n, time, whom) :
                                 g_strdup_printf("Approved %" PRIu32 " of %s.", n, whom);
        append_escaped(out, text, MLG_TEXT_LINE, style);
        return true;
}

static bool run_approve(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        if (a->all)
                return approve_all(a, c, style, out, error);
        return a->end ? mlg_client_end_approval(c, a->guest, error) : mlg_client_approve(c, a->id, error);
}

static bool run_reject(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        return mlg_client_reject(c, a->id, error);
}

static bool run_reload(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_auto(GStrv) changes = mlg_client_reload(c, error);

        if (!changes)
                return false;
        if (!*changes)
                g_string_append(out, "Nothing changed.\n");
        for (char **s = changes; *s; s++)
                append_escaped(out, *s, MLG_TEXT_LINE, style);
        return true;
}

static bool run_config(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autofree char *text = mlg_client_config(c, error);

        if (!text)
                return false;
        append_escaped(out, text, MLG_TEXT_BLOCK, style);
        return true;
}

static bool run_dump(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autofree char *text = mlg_client_dump(c, error);

        if (!text)
                return false;
        append_escaped(out, text, MLG_TEXT_JSON, style);
        return true;
}

static bool show_pipes(const MlgArgs *a, const MlgCtlPipes *all, const MlgStyle *style, GString *out, GError **error) {
        const char *path = NULL;

        for (size_t i = 0; a->group && i < all->n; i++)
                if (g_str_equal(all->pipes[i].name, a->group))
                        path = all->pipes[i].path;
        if (a->group && !path) {
                g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_FAILED, "there is no group '%s' ('memlegoctl pipe' lists them all)",
                            a->group);
                return false;
        }
        if (a->verb == MLG_PIPE_VERB_XML && !path[0]) {
                g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_FAILED,
                            "guests of group '%s' have no device for their definition: with Isolation=pair they get "
                            "theirs while they run",
                            a->group);
                return false;
        }
        if (a->verb == MLG_PIPE_VERB_XML) {
                g_autofree char *xml = g_markup_printf_escaped(MLG_PIPE_XML, path);

                append_escaped(out, xml, MLG_TEXT_LINE, style);
        } else if (a->json) {
                g_autofree char *json = mlg_pipes_to_json(all, a->group, style->utf8);

                g_string_append(out, json);
        } else if (a->verb == MLG_PIPE_VERB_LIST)
                mlg_render_pipes(all, style, out);
        else
                mlg_render_pipe_members(all, a->group, style, out);
        return true;
}

static bool run_pipe(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autoptr(GArray) pipes = NULL, members = NULL, pairs = NULL;
        MlgCtlPipes all;

        if (a->verb == MLG_PIPE_VERB_ATTACH || a->verb == MLG_PIPE_VERB_DETACH)
                return mlg_client_plug_pipe(c, a->guest, a->verb == MLG_PIPE_VERB_ATTACH, error);
        pipes = mlg_client_pipes(c, error);
        members = pipes ? mlg_client_pipe_members(c, error) : NULL;
        pairs = members ? mlg_client_pipe_pairs(c, error) : NULL;
        if (!pairs)
                return false;
        all = (MlgCtlPipes) {
                .pipes = (const MlgCtlPipe *) (void *) pipes->data,
                .members = (const MlgCtlPipeMember *) (void *) members->data,
                .pairs = (const MlgCtlPipePair *) (void *) pairs->data,
                .n = pipes->len,
                .n_members = members->len,
                .n_pairs = pairs->len,
        };
        return show_pipes(a, &all, style, out, error);
}

static bool run_swap(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autoptr(GArray) swaps = mlg_client_swaps(c, error);
        const MlgCtlSwap *all, *found = NULL;

        if (!swaps)
                return false;
        all = (const MlgCtlSwap *) (void *) swaps->data;
        for (guint i = 0; a->guest && i < swaps->len; i++)
                if (mlg_ctl_swap_is(&all[i], a->guest))
                        found = &all[i];
        if (a->guest && !found) {
                g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_FAILED,
                            "no memory is lent to a guest '%s' ('memlegoctl swap' lists them all)", a->guest);
                return false;
        }
        if (a->verb == MLG_PIPE_VERB_XML) {
                g_autofree char *xml = g_markup_printf_escaped(MLG_SWAP_XML, found->path);

                append_escaped(out, xml, MLG_TEXT_LINE, style);
        } else if (a->json) {
                g_autofree char *json = mlg_swaps_to_json(all, swaps->len, a->guest, style->utf8);

                g_string_append(out, json);
        } else if (a->verb == MLG_PIPE_VERB_LIST)
                mlg_render_swaps(all, swaps->len, style, out);
        else
                mlg_render_swap(all, swaps->len, a->guest, style, out);
        return true;
}

static bool run_stack(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autoptr(MlgSnapshot) s = guests_that_match(a, c, error);

        if (!s)
                return false;
        if (a->json) {
                g_autofree char *json = mlg_stacks_to_json(s, style->utf8);

                g_string_append(out, json);
        } else
                mlg_render_stacks(s, style, out);
        return true;
}

static bool run_metrics(const MlgArgs *a, MlgClient *c, const MlgStyle *style, GString *out, GError **error) {
        g_autofree char *text = mlg_client_dump(c, error);
        g_autoptr(MlgSnapshot) s = text ? mlg_snapshot_parse(text, error) : NULL;
        g_autoptr(GArray) swaps = s ? mlg_client_swaps(c, error) : NULL;
        g_autoptr(GArray) pipes = swaps ? mlg_client_pipes(c, error) : NULL;
        g_autoptr(GArray) members = pipes ? mlg_client_pipe_members(c, error) : NULL;

        if (!members)
                return false;
        mlg_render_metrics(s, (const MlgCtlSwap *) (void *) swaps->data, swaps->len,
                           &(MlgCtlPipes) { .pipes = (const MlgCtlPipe *) (void *) pipes->data,
                                            .members = (const MlgCtlPipeMember *) (void *) members->data,
                                            .n = pipes->len,
                                            .n_members = members->len },
                           out);
        return true;
}

static const CommandFn command_fns[] = {
        [MLG_COMMAND_STATUS] = run_status,
        [MLG_COMMAND_SHOW] = run_show,
        [MLG_COMMAND_EXPLAIN] = run_explain,
        [MLG_COMMAND_PAUSE] = run_pause_or_resume,
        [MLG_COMMAND_RESUME] = run_pause_or_resume,
        [MLG_COMMAND_SET] = run_set,
        [MLG_COMMAND_RESERVE] = run_reserve,
        [MLG_COMMAND_RELEASE] = run_release,
        [MLG_COMMAND_RESERVATIONS] = run_list,
        [MLG_COMMAND_PLUGINS] = run_list,
        [MLG_COMMAND_RELOAD] = run_reload,
        [MLG_COMMAND_CONFIG] = run_config,
        [MLG_COMMAND_DUMP] = run_dump,
        [MLG_COMMAND_METRICS] = run_metrics,
        [MLG_COMMAND_RECORD] = NULL, /* these do not ask memlegod once and answer: see run() */
        [MLG_COMMAND_SIMULATE] = NULL,
        [MLG_COMMAND_MONITOR_XML] = NULL,
        [MLG_COMMAND_PROPOSALS] = run_list,
        [MLG_COMMAND_APPROVE] = run_approve,
        [MLG_COMMAND_REJECT] = run_reject,
        [MLG_COMMAND_PIPE] = run_pipe,
        [MLG_COMMAND_SWAP] = run_swap,
        [MLG_COMMAND_STACK] = run_stack,
};
G_STATIC_ASSERT(G_N_ELEMENTS(command_fns) == _MLG_COMMAND_MAX);

/* ---- the terminal ---- */

static MlgStyle find_style(void) {
        const char *no_colour = g_getenv("NO_COLOR"), *term = g_getenv("TERM");
        bool terminal = isatty(STDOUT_FILENO);
        MlgStyle style = { .utf8 = g_get_charset(NULL) };
        struct winsize size;

        style.colour = terminal && (!no_colour || !*no_colour) && term && *term &&
                       !g_str_equal(term, "dumb");
        if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
                style.columns = size.ws_col;
        return style;
}

static int write_out(const GString *out) {
        if (fwrite(out->str, 1, out->len, stdout) == out->len && fflush(stdout) == 0)
                return MLG_EXIT_OK;
        fprintf(stderr, "memlegoctl: cannot write the output: %m\n");
        return MLG_EXIT_FAILED;
}

static int fail(const GError *error, const MlgStyle *style) {
        g_autofree char *escaped = mlg_text_escape(error->message, MLG_TEXT_LINE, style->utf8);

        fprintf(stderr, "memlegoctl: %s\n", escaped);
        return error->domain == MLG_CTL_ERROR ? error->code : MLG_EXIT_FAILED;
}

static int run(const MlgArgs *a, const MlgStyle *style) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_autoptr(MlgClient) c = NULL;
        g_autoptr(GError) error = NULL;

        if (a->watch) {
                int code = mlg_watch_run(a, style, &error);

                return error ? fail(error, style) : code;
        }
        if (a->command == MLG_COMMAND_RECORD)
                return mlg_record_run(a, &error) ? MLG_EXIT_OK : fail(error, style);
        if (a->command == MLG_COMMAND_SIMULATE) {
                if (mlg_simulate_run(a, style, out, &error))
                        return write_out(out);
                if (out->len > 0) /* there is a result, but not one to trust */
                        (void) write_out(out);
                return fail(error, style);
        }
        if (a->command == MLG_COMMAND_MONITOR_XML) {
                g_string_append(out, MLG_MONITOR_XML "\n");
                return write_out(out);
        }
        c = mlg_client_open(a->address, MLG_CLIENT_PATIENCE_USEC, &error);
        if (!c || !command_fns[a->command](a, c, style, out, &error))
                return fail(error, style);
        return write_out(out);
}

int mlg_ctl_main(int argc, char **argv) {
        g_autoptr(GError) error = NULL;
        MlgStyle style;
        MlgArgs a;

        (void) setlocale(LC_CTYPE, ""); /* only how characters are written; numbers stay as in C */
        style = find_style();
        if (!mlg_args_parse(argc, argv, &a, &error))
                return fail(error, &style);
        if (a.help || a.version) {
                g_autofree char *text = a.help ? mlg_args_help() : g_strdup("memlegoctl " MLG_VERSION "\n");
                g_autoptr(GString) out = g_string_new(text);

                return write_out(out);
        }
        return run(&a, &style);
}
