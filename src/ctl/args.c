/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Args: one table of commands, one of options; the help text is made from both. */
#include "ctl/args.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ctl/ctl.h"
#include "util/parse.h"
#include "util/util.h"

typedef struct Command {
        const char *name;
        size_t min_operands, max_operands;
        const char *operands;
        const char *help;
} Command;

static const Command commands[] = {
        [MLG_COMMAND_STATUS] = { "status", 0, SIZE_MAX, "[PATTERN...]",
                                 "Show the host and its guests (the default)" },
        [MLG_COMMAND_SHOW] = { "show", 1, 1, "GUEST", "Show all that is known of a guest" },
        [MLG_COMMAND_EXPLAIN] = { "explain", 1, 1, "GUEST",
                                  "Show the last decisions about a guest, and why" },
        [MLG_COMMAND_PAUSE] = { "pause", 0, 1, "[GUEST]", "Stop moving memory of one guest, or of all" },
        [MLG_COMMAND_RESUME] = { "resume", 0, 1, "[GUEST]", "Undo pause" },
        [MLG_COMMAND_SET] = { "set", 2, 2, "GUEST SIZE", "Give a guest SIZE of memory, and hold it there" },
        [MLG_COMMAND_RESERVE] = { "reserve", 1, 1, "SIZE",
                                  "Make room for a guest about to start; prints an ID" },
        [MLG_COMMAND_RELEASE] = { "release", 1, 1, "ID", "Give a reservation back" },
        [MLG_COMMAND_RESERVATIONS] = { "reservations", 0, 0, "", "List reservations" },
        [MLG_COMMAND_PLUGINS] = { "plugins", 0, 0, "", "List policies and predictors that are not memlegod's own" },
        [MLG_COMMAND_RELOAD] = { "reload", 0, 0, "", "Read the configuration again; prints what changed" },
        [MLG_COMMAND_CONFIG] = { "config", 0, 0, "",
                                 "Show the configuration in force, and where it is from" },
        [MLG_COMMAND_DUMP] = { "dump", 0, 0, "", "Print all that memlegod knows, as JSON" },
        [MLG_COMMAND_METRICS] = { "metrics", 0, 0, "", "Print what is measured and counted, as Prometheus reads it" },
        [MLG_COMMAND_RECORD] = { "record", 0, 0, "", "Write down what the guests need, for simulate" },
        [MLG_COMMAND_SIMULATE] = { "simulate", 0, 0, "", "Try a policy on recorded guests; moves nothing" },
        [MLG_COMMAND_MONITOR_XML] = { "monitor-xml", 0, 0, "",
                                      "Print the device that a guest needs for memlego-guestd" },
        [MLG_COMMAND_PROPOSALS] = { "proposals", 0, 0, "", "List moves that wait for approval" },
        [MLG_COMMAND_APPROVE] = { "approve", 0, 1, "ID", "Let a move be made; or --all [GUEST], --end [GUEST]" },
        [MLG_COMMAND_PIPE] = { "pipe", 0, 2, "[VERB [NAME]]",
                               "Guests that share memory: list, show, attach, detach, xml" },
        [MLG_COMMAND_SWAP] = { "swap", 0, 2, "[VERB [GUEST]]", "Guests that are lent memory to swap into: list, show, xml" },
        [MLG_COMMAND_STACK] = { "stack", 0, SIZE_MAX, "[PATTERN...]", "What securestack caught in guests that have it" },
        [MLG_COMMAND_REJECT] = { "reject", 1, 1, "ID", "Do not let a move be made" },
};
static_assert(G_N_ELEMENTS(commands) == _MLG_COMMAND_MAX, "commands[] misses a value");

typedef enum OptionId {
        OPTION_HELP,
        OPTION_VERSION,
        OPTION_SYSTEM,
        OPTION_ADDRESS,
        OPTION_JSON,
        OPTION_NAMES,
        OPTION_WATCH,
        OPTION_HOLD,
        OPTION_TIMEOUT,
        OPTION_OUTPUT,
        OPTION_INTERVAL,
        OPTION_DURATION,
        OPTION_TRACE,
        OPTION_POLICY,
        OPTION_PREDICTOR,
        OPTION_COMPARE,
        OPTION_HOST_MEMORY,
        OPTION_CONFIG,
        OPTION_SVG,
        OPTION_STEP,
        OPTION_ALL,
        OPTION_FOR,
        OPTION_END,
        OPTION_PLUGINS,
        _OPTION_MAX,
} OptionId;

typedef enum OptionValue { VALUE_NONE, VALUE_OPTIONAL, VALUE_REQUIRED } OptionValue;

#define FOR(c) (UINT32_C(1) << MLG_COMMAND_##c)
#define FOR_ALL UINT32_MAX

typedef struct Option {
        const char *name;
        char letter; /* '\0': none */
        OptionValue value;
        uint32_t commands; /* bits: where it makes sense */
        const char *value_name;
        const char *help;
} Option;

static const Option options[] = {
        [OPTION_HELP] = { "help", 'h', VALUE_NONE, FOR_ALL, NULL, "Show this help" },
        [OPTION_VERSION] = { "version", '\0', VALUE_NONE, FOR_ALL, NULL, "Show the version" },
        [OPTION_SYSTEM] = { "system", '\0', VALUE_NONE, FOR_ALL, NULL, "Use the system bus (the default)" },
        [OPTION_ADDRESS] = { "address", '\0', VALUE_REQUIRED, FOR_ALL, "ADDR",
                             "Use the bus at this D-Bus address" },
        [OPTION_JSON] = { "json", 'j', VALUE_NONE,
                          FOR(STATUS) | FOR(EXPLAIN) | FOR(RESERVATIONS) | FOR(PROPOSALS) | FOR(PLUGINS) |
                                  FOR(PIPE) | FOR(SWAP) | FOR(STACK) | FOR(SIMULATE),
                          NULL,
                          "status, explain, simulate, lists: print JSON" },
        [OPTION_NAMES] = { "names", '\0', VALUE_NONE, FOR(STATUS), NULL,
                           "status: print only the guests' names" },
        [OPTION_WATCH] = { "watch", 'w', VALUE_OPTIONAL, FOR(STATUS), "SEC",
                           "status: redraw every SEC seconds (default 2) until q" },
        [OPTION_HOLD] = { "hold", '\0', VALUE_REQUIRED, FOR(SET), "TIME",
                          "set: hold the size so long (default 10min)" },
        [OPTION_TIMEOUT] = { "timeout", '\0', VALUE_REQUIRED, FOR(RESERVE), "TIME",
                             "reserve: give it back by itself after TIME (default 5min)" },
        [OPTION_OUTPUT] = { "output", 'o', VALUE_REQUIRED, FOR(RECORD), "FILE",
                            "record: the trace to write; - is stdout" },
        [OPTION_INTERVAL] = { "interval", '\0', VALUE_REQUIRED, FOR(RECORD), "TIME",
                              "record: look so often (default 1s)" },
        [OPTION_DURATION] = { "duration", '\0', VALUE_REQUIRED, FOR(RECORD) | FOR(SIMULATE), "TIME",
                              "record, simulate: so long (default: until ctrl-C; all)" },
        [OPTION_TRACE] = { "trace", '\0', VALUE_REQUIRED, FOR(SIMULATE), "PATH",
                           "simulate: the recorded guests, a file or a directory" },
        [OPTION_POLICY] = { "policy", '\0', VALUE_REQUIRED, FOR(SIMULATE), "NAME",
                            "simulate: instead of Policy=" },
        [OPTION_PREDICTOR] = { "predictor", '\0', VALUE_REQUIRED, FOR(SIMULATE), "NAME",
                               "simulate: instead of Predictor=" },
        [OPTION_COMPARE] = { "compare", '\0', VALUE_REQUIRED, FOR(SIMULATE), "LIST",
                             "simulate: one row each for POLICY[:PREDICTOR],..." },
        [OPTION_HOST_MEMORY] = { "host-memory", '\0', VALUE_REQUIRED, FOR(SIMULATE), "N",
                                 "simulate: of the host; N% of the guests' maxima" },
        [OPTION_CONFIG] = { "config", '\0', VALUE_REQUIRED, FOR(SIMULATE), "FILE",
                            "simulate: settings, with policy.d beside it" },
        [OPTION_SVG] = { "svg", '\0', VALUE_REQUIRED, FOR(SIMULATE), "FILE",
                         "simulate: draw what happened" },
        [OPTION_STEP] = { "step", '\0', VALUE_REQUIRED, FOR(SIMULATE), "TIME",
                          "simulate: decide so often (default PollIntervalSec=)" },
        [OPTION_ALL] = { "all", '\0', VALUE_NONE, FOR(APPROVE), NULL, "approve: all moves, of GUEST or of all guests" },
        [OPTION_FOR] = { "for", '\0', VALUE_REQUIRED, FOR(APPROVE), "TIME",
                         "approve: those that come so long, with --all" },
        [OPTION_END] = { "end", '\0', VALUE_NONE, FOR(APPROVE), NULL, "approve: end the time of --for now" },
        [OPTION_PLUGINS] = { "plugins", '\0', VALUE_REQUIRED, FOR(SIMULATE), "DIR",
                             "simulate: plug-ins from there, of root or yours" },
};
static_assert(G_N_ELEMENTS(options) == _OPTION_MAX, "options[] misses a value");

static bool usage_error(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool usage_error(GError **error, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_USAGE, "%s; see memlegoctl --help", text);
        return false;
}

const char *mlg_args_command_name(MlgCommand c) {
        return commands[c].name;
}

static bool parse_duration(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret,
                           GError **error) {
        uint64_t usec;
        int r = mlg_parse_usec(text, &usec);

        if (r < 0 && r != -ERANGE)
                return usage_error(error, "%s: '%s' is not a time; write it like 30s, 10min, 2h", what,
                                   text);
        if (r < 0 || usec < min || usec > max) {
                g_autofree char *lo = mlg_format_usec(min), *hi = mlg_format_usec(max);

                return usage_error(error, "%s: '%s' is out of range, %s to %s", what, text, lo, hi);
        }
        *ret = usec;
        return true;
}

/* No guest is smaller than this: a size below it is one whose unit was forgotten, or a slip of the pen. */
#define SIZE_LEAST_KIB MLG_KIB_PER_MIB

static bool parse_size(const char *text, uint64_t *ret_kib, GError **error) {
        uint64_t kib;
        int r = mlg_parse_size_kib(text, &kib);

        /* memlegod counts some of them in bytes, in 64 bits */
        if (r == -ERANGE || (r == 0 && kib > UINT64_MAX / 1024))
                return usage_error(error, "size '%s' is out of range", text);
        if (r < 0)
                return usage_error(error, "'%s' is not a size; write it like 512M or 1.5G", text);
        if (kib < SIZE_LEAST_KIB && g_ascii_isdigit(text[strlen(text) - 1]))
                return usage_error(error, "'%s' is %s bytes; write it like 512M or 1.5G", text, text);
        if (kib < SIZE_LEAST_KIB)
                return usage_error(error, "size '%s' is out of range, 1M at least", text);
        *ret_kib = kib;
        return true;
}

static bool parse_host_memory(const char *text, MlgArgs *a, GError **error) {
        if (!g_str_has_suffix(text, "%"))
                return parse_size(text, &a->host_kib, error);
        if (mlg_parse_permille(text, &a->host_permille) < 0 || a->host_permille == 0)
                return usage_error(error, "--host-memory: '%s' is not a part, write it like 60%%", text);
        return true;
}

static bool parse_id(const char *text, const char *of, MlgArgs *a, GError **error) {
        if (mlg_parse_u64(text, 0, UINT64_MAX, &a->id) < 0)
                return usage_error(error, "'%s' is not the ID of a %s", text, of);
        return true;
}

/* Options whose value is taken as it is, and where it goes. */
static const size_t text_offsets[_OPTION_MAX] = {
        [OPTION_OUTPUT] = offsetof(MlgArgs, output),       [OPTION_TRACE] = offsetof(MlgArgs, trace),
        [OPTION_POLICY] = offsetof(MlgArgs, policy),       [OPTION_PREDICTOR] = offsetof(MlgArgs, predictor),
        [OPTION_COMPARE] = offsetof(MlgArgs, compare),     [OPTION_CONFIG] = offsetof(MlgArgs, config),
        [OPTION_SVG] = offsetof(MlgArgs, svg),
        [OPTION_PLUGINS] = offsetof(MlgArgs, plugins),
};

static bool take_text(OptionId id, const char *value, MlgArgs *a, GError **error) {
        if (!*value)
                return usage_error(error, "--%s: the value is empty", options[id].name);
        *(const char **) (void *) ((char *) a + text_offsets[id]) = value;
        return true;
}

static bool apply_option(OptionId id, const char *value, MlgArgs *a, GError **error) {
        switch (id) {
        case OPTION_HELP:
                a->help = true;
                return true;
        case OPTION_VERSION:
                a->version = true;
                return true;
        case OPTION_SYSTEM:
                a->address = NULL;
                return true;
        case OPTION_ADDRESS:
                if (!*value)
                        return usage_error(error, "--address: the address is empty");
                a->address = value;
                return true;
        case OPTION_JSON:
                a->json = true;
                return true;
        case OPTION_NAMES:
                a->names = true;
                return true;
        case OPTION_WATCH:
                a->watch = true;
                return !value || parse_duration("--watch", value, MLG_USEC_PER_SEC / 10,
                                                3600 * MLG_USEC_PER_SEC, &a->watch_usec, error);
        case OPTION_HOLD:
                return parse_duration("--hold", value, MLG_USEC_PER_SEC, 7 * 86400 * MLG_USEC_PER_SEC,
                                      &a->hold_usec, error);
        case OPTION_TIMEOUT:
                return parse_duration("--timeout", value, MLG_USEC_PER_SEC, 86400 * MLG_USEC_PER_SEC,
                                      &a->timeout_usec, error);
        case OPTION_OUTPUT:
        case OPTION_TRACE:
        case OPTION_POLICY:
        case OPTION_PREDICTOR:
        case OPTION_COMPARE:
        case OPTION_CONFIG:
        case OPTION_SVG:
        case OPTION_PLUGINS:
                return take_text(id, value, a, error);
        case OPTION_INTERVAL:
                return parse_duration("--interval", value, MLG_USEC_PER_SEC, 3600 * MLG_USEC_PER_SEC,
                                      &a->interval_usec, error);
        case OPTION_DURATION:
                return parse_duration("--duration", value, MLG_USEC_PER_SEC, 3660 * 86400 * MLG_USEC_PER_SEC,
                                      &a->duration_usec, error);
        case OPTION_HOST_MEMORY:
                return parse_host_memory(value, a, error);
        case OPTION_STEP:
                return parse_duration("--step", value, MLG_USEC_PER_SEC / 10, 10 * MLG_USEC_PER_SEC, &a->step_usec, error);
        case OPTION_ALL:
                a->all = true;
                return true;
        case OPTION_FOR:
                return parse_duration("--for", value, MLG_USEC_PER_SEC, 7 * 86400 * MLG_USEC_PER_SEC, &a->for_usec, error);
        case OPTION_END:
                a->end = true;
                return true;
        case _OPTION_MAX:
                break;
        }
        g_assert_not_reached();
}

/* Which option is `word`? *ret_value: what follows '=', or NULL. */
static bool find_option(const char *word, OptionId *ret, const char **ret_value) {
        const char *equals = strchr(word, '=');

        for (size_t i = 0; i < _OPTION_MAX; i++) {
                const Option *o = &options[i];

                if (strncmp(word, "--", 2) == 0) {
                        size_t len = equals ? (size_t) (equals - word) - 2 : strlen(word) - 2;

                        if (strlen(o->name) != len || strncmp(o->name, word + 2, len) != 0)
                                continue;
                        *ret_value = equals ? equals + 1 : NULL;
                } else {
                        if (!o->letter || word[1] != o->letter || word[2])
                                continue;
                        *ret_value = NULL;
                }
                *ret = (OptionId) i;
                return true;
        }
        return false;
}

static bool parse_option(int argc, char **argv, int *i, uint32_t *seen, MlgArgs *a, GError **error) {
        const char *word = argv[*i], *value;
        OptionId id;

        if (!find_option(word, &id, &value))
                return usage_error(error, "unknown option '%s'", word);
        switch (options[id].value) {
        case VALUE_NONE:
                if (value)
                        return usage_error(error, "--%s takes no value", options[id].name);
                break;
        case VALUE_OPTIONAL:
                break;
        case VALUE_REQUIRED:
                if (!value && *i + 1 < argc)
                        value = argv[++*i];
                if (!value)
                        return usage_error(error, "--%s needs a value", options[id].name);
                break;
        }
        *seen |= UINT32_C(1) << id;
        return apply_option(id, value, a, error);
}

static bool find_command(const char *word, MlgCommand *ret) {
        for (size_t i = 0; i < _MLG_COMMAND_MAX; i++)
                if (strcmp(commands[i].name, word) == 0) {
                        *ret = (MlgCommand) i;
                        return true;
                }
        return false;
}

static bool check_options(uint32_t seen, const MlgArgs *a, GError **error) {
        for (size_t i = 0; i < _OPTION_MAX; i++)
                if ((seen & (UINT32_C(1) << i)) && !(options[i].commands & (UINT32_C(1) << a->command)))
                        return usage_error(error, "--%s makes no sense with '%s'", options[i].name,
                                           commands[a->command].name);
        if (a->json + a->names + a->watch > 1)
                return usage_error(error, "only one of --json, --names and --watch can be given");
        if (a->command == MLG_COMMAND_RECORD && !a->output)
                return usage_error(error, "record needs --output=FILE");
        if (a->command == MLG_COMMAND_SIMULATE && !a->trace)
                return usage_error(error, "simulate needs --trace=PATH");
        if (a->compare && (a->policy || a->predictor || a->svg))
                return usage_error(error, "--compare names the policies itself, and draws nothing: leave out --policy, --predictor and --svg");
        if (a->all && a->end)
                return usage_error(error, "only one of --all and --end can be given");
        if (a->for_usec > 0 && !a->all)
                return usage_error(error, "--for says how long all is approved: it needs --all");
        return true;
}

typedef struct Verb {
        const char *name, *operand; /* name NULL: this command has no such verb */
        bool needs_operand;
} Verb;

static const Verb pipe_verbs[] = {
        [MLG_PIPE_VERB_LIST] = { "list", NULL, false },     [MLG_PIPE_VERB_SHOW] = { "show", "[GROUP]", false },
        [MLG_PIPE_VERB_ATTACH] = { "attach", "GUEST", true }, [MLG_PIPE_VERB_DETACH] = { "detach", "GUEST", true },
        [MLG_PIPE_VERB_XML] = { "xml", "GROUP", true },
};
static_assert(G_N_ELEMENTS(pipe_verbs) == _MLG_PIPE_VERB_MAX, "pipe_verbs[] misses a value");

static const Verb swap_verbs[] = {
        [MLG_PIPE_VERB_LIST] = { "list", NULL, false },
        [MLG_PIPE_VERB_SHOW] = { "show", "[GUEST]", false },
        [MLG_PIPE_VERB_XML] = { "xml", "GUEST", true },
};
static_assert(G_N_ELEMENTS(swap_verbs) == _MLG_PIPE_VERB_MAX, "swap_verbs[] misses a value");

static bool take_verb(char **operands, size_t n, MlgArgs *a, GError **error) {
        bool is_swap = a->command == MLG_COMMAND_SWAP;
        const Verb *verbs = is_swap ? swap_verbs : pipe_verbs;
        const char *name = n > 1 ? operands[1] : NULL;
        int v = MLG_PIPE_VERB_LIST;

        while (n > 0 && v < _MLG_PIPE_VERB_MAX && g_strcmp0(verbs[v].name, operands[0]) != 0)
                v++;
        if (v == _MLG_PIPE_VERB_MAX)
                return usage_error(error, "unknown verb '%s': list, show%s or xml", operands[0],
                                   is_swap ? "" : ", attach, detach");
        if (verbs[v].needs_operand && !name)
                return usage_error(error, "usage: memlegoctl %s %s %s", is_swap ? "swap" : "pipe", verbs[v].name,
                                   verbs[v].operand);
        if (!verbs[v].operand && name)
                return usage_error(error, "'%s': one too many", name);
        if (name && !g_utf8_validate(name, -1, NULL))
                return usage_error(error, "'%s' is not a name: not UTF-8", name);
        a->verb = (MlgPipeVerb) v;
        if (is_swap || v == MLG_PIPE_VERB_ATTACH || v == MLG_PIPE_VERB_DETACH)
                a->guest = name;
        else
                a->group = name;
        return true;
}

static bool take_operands(char **operands, size_t n, MlgArgs *a, GError **error) {
        const Command *c = &commands[a->command];

        if (n < c->min_operands)
                return usage_error(error, "usage: memlegoctl %s %s", c->name, c->operands);
        if (n > c->max_operands)
                return usage_error(error, "'%s': one too many", operands[c->max_operands]);
        /* On the bus an empty name means "all guests": an unset variable in a script must not. */
        for (size_t i = 0; i < n; i++)
                if (!*operands[i])
                        return usage_error(error, "%s: an argument is empty", c->name);

        switch (a->command) {
        case MLG_COMMAND_STATUS:
        case MLG_COMMAND_STACK:
                a->patterns = operands;
                return true;
        case MLG_COMMAND_SHOW:
        case MLG_COMMAND_EXPLAIN:
        case MLG_COMMAND_PAUSE:
        case MLG_COMMAND_RESUME:
                a->guest = n > 0 ? operands[0] : NULL;
                break;
        case MLG_COMMAND_SET:
                a->guest = operands[0];
                if (!parse_size(operands[1], &a->size_kib, error))
                        return false;
                break;
        case MLG_COMMAND_RESERVE:
                return parse_size(operands[0], &a->size_kib, error);
        case MLG_COMMAND_RELEASE:
                return parse_id(operands[0], "reservation", a, error);
        case MLG_COMMAND_REJECT:
                return parse_id(operands[0], "proposal", a, error);
        case MLG_COMMAND_APPROVE:
                if (!a->all && !a->end)
                        return n > 0 ? parse_id(operands[0], "proposal", a, error) :
                                       usage_error(error, "usage: memlegoctl approve ID, or approve --all [GUEST]");
                a->guest = n > 0 ? operands[0] : NULL;
                break;
        case MLG_COMMAND_PIPE:
        case MLG_COMMAND_SWAP:
                return take_verb(operands, n, a, error);
        case MLG_COMMAND_RESERVATIONS:
        case MLG_COMMAND_PLUGINS:
        case MLG_COMMAND_RELOAD:
        case MLG_COMMAND_CONFIG:
        case MLG_COMMAND_DUMP:
        case MLG_COMMAND_METRICS:
        case MLG_COMMAND_RECORD:
        case MLG_COMMAND_SIMULATE:
        case MLG_COMMAND_MONITOR_XML:
        case MLG_COMMAND_PROPOSALS:
                return true;
        case _MLG_COMMAND_MAX:
                g_assert_not_reached();
        }
        if (a->guest && !g_utf8_validate(a->guest, -1, NULL)) /* the bus would close the connection */
                return usage_error(error, "'%s' is not a name: not UTF-8", a->guest);
        return true;
}

bool mlg_args_parse(int argc, char **argv, MlgArgs *ret, GError **error) {
        MlgArgs a = {
                .watch_usec = MLG_ARGS_WATCH_DEFAULT_SEC * MLG_USEC_PER_SEC,
                .hold_usec = MLG_ARGS_HOLD_DEFAULT_SEC * MLG_USEC_PER_SEC,
                .timeout_usec = MLG_ARGS_TIMEOUT_DEFAULT_SEC * MLG_USEC_PER_SEC,
                .interval_usec = MLG_ARGS_INTERVAL_DEFAULT_SEC * MLG_USEC_PER_SEC,
        };
        bool only_operands = false;
        uint32_t seen = 0;
        size_t n = 0;

        for (int i = 1; i < argc; i++) {
                if (!only_operands && strcmp(argv[i], "--") == 0) {
                        only_operands = true;
                } else if (!only_operands && argv[i][0] == '-' && argv[i][1]) {
                        if (!parse_option(argc, argv, &i, &seen, &a, error))
                                return false;
                } else {
                        argv[n++] = argv[i]; /* n <= i - 1: nothing unread is overwritten */
                }
        }
        argv[n] = NULL;

        if (!a.help && !a.version) {
                if (n > 0 && !find_command(argv[0], &a.command))
                        return usage_error(error, "unknown command '%s'", argv[0]);
                if (!check_options(seen, &a, error) ||
                    !take_operands(n > 0 ? argv + 1 : argv, n > 0 ? n - 1 : 0, &a, error))
                        return false;
        }
        *ret = a;
        return true;
}

char *mlg_args_help(void) {
        GString *s = g_string_new(
                "memlegoctl [OPTIONS...] [COMMAND] [ARGUMENTS...]\n\n"
                "Shows and steers memlegod, which moves memory between virtual machines.\n\nCommands:\n");

        for (size_t i = 0; i < _MLG_COMMAND_MAX; i++) {
                g_autofree char *left = g_strdup_printf("%s %s", commands[i].name, commands[i].operands);

                g_string_append_printf(s, "  %-21s %s\n", left, commands[i].help);
        }
        g_string_append(s, "\nOptions:\n");
        for (size_t i = 0; i < _OPTION_MAX; i++) {
                const Option *o = &options[i];
                g_autofree char *letter = o->letter ? g_strdup_printf("-%c,", o->letter) : g_strdup("   ");
                g_autofree char *left = g_strdup_printf(o->value == VALUE_NONE       ? "%s --%s"
                                                        : o->value == VALUE_OPTIONAL ? "%s --%s[=%s]"
                                                                                     : "%s --%s=%s",
                                                        letter, o->name, o->value_name);

                g_string_append_printf(s, "  %-21s %s\n", left, o->help);
        }
        g_string_append(s,
                        "\nSIZE is 512M, 1.5G or 262144K; TIME is 30s, 10min or 2h. See memlegoctl(1).\n");
        return g_string_free(s, FALSE);
}
