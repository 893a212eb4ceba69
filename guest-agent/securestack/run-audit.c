// SPDX-License-Identifier: LGPL-2.1-or-later
/* libss-run.so as the dynamic linker's audit library, rtld-audit(7): which libraries are not trusted, and
 * what calls of their functions are bound to.
 *
 * Symbols may be bound at any time, by any thread and in handlers of signals, so there are no locks: a
 * description is claimed by two atomic words, and what else is in it is written, the same by all, before its
 * thunk is handed out.
 *
 * Invariant: a function of an untrusted library that a trusted one has bound is guarded, or was left out on
 * purpose, or the process is ended. */
#include <ctype.h>
#include <dlfcn.h>
#include <elf.h>
#include <fnmatch.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "never.h"
#include "run.h"

enum role { NOBODY, TRUSTED, UNTRUSTED };

/* A line of the list; of several that match a name the last counts. */
struct rule {
        const char *pattern;
        bool left_out;
        struct ss_spec spec;
};

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static struct ss_run_library libraries[SS_RUN_LIBRARIES];
static size_t n_libraries;
static struct rule *rules;
static size_t n_rules;
static bool verbose, portable;
static struct ss_run *run; /* of the other copy */
static const struct link_map *program;
static const char *thunks;

/* The constructor asks before la_version() is called, so by what the linker knows. */
bool ss_run_audits_(void) {
        void *map = NULL;
        Lmid_t lmid = LM_ID_BASE;
        Dl_info info;

        if (dladdr1(__ehdr_start, &info, &map, RTLD_DL_LINKMAP) == 0 || dlinfo(map, RTLD_DI_LMID, &lmid) != 0)
                ss_run_die_("libss-run.so", "the dynamic linker does not know it");
        return lmid != LM_ID_BASE;
}

/* ---- what ss-run has written into the environment, which is not hostile, as this program is its user's ---- */

static unsigned long number(char **at) {
        return strtoul(*at, at, 10);
}

static bool read_rule(struct rule *rule, char *line) {
        char *at = line + strcspn(line, " ");
        struct ss_see *sees;

        if (*at != ' ')
                return false;
        *at++ = '\0';
        rule->left_out = *line == '!';
        rule->pattern = line + rule->left_out;
        rule->spec.flags = (uint32_t) number(&at);
        rule->spec.clear_bytes = (uint32_t) number(&at);
        rule->spec.stack_bytes = (uint16_t) number(&at);
        rule->spec.vectors = (uint8_t) number(&at);
        rule->spec.n_sees = (uint8_t) number(&at);
        sees = calloc(rule->spec.n_sees + 1u, sizeof *sees);
        if (!sees)
                return false;
        for (unsigned i = 0; i < rule->spec.n_sees; i++) {
                sees[i].argument = (uint8_t) number(&at);
                sees[i].loaded = (uint8_t) number(&at);
                sees[i].offset = (uint16_t) number(&at);
                sees[i].size_argument = (uint8_t) number(&at);
                sees[i].size_loaded = (uint8_t) number(&at);
                sees[i].size_offset = (uint16_t) number(&at);
                sees[i].bytes = (uint32_t) number(&at);
                if (sees[i].argument < 1 || sees[i].argument > 6 || sees[i].size_argument > 6)
                        return false;
        }
        rule->spec.sees = sees;
        return at[strspn(at, " ")] == '\0';
}

static bool read_line(char *line) {
        static const char library[] = "untrusted ", function[] = "function ";
        struct rule *more;

        if (strcmp(line, "portable") == 0)
                return portable = true;
        if (strcmp(line, "verbose") == 0)
                return verbose = true;
        if (strncmp(line, library, sizeof library - 1) == 0 && n_libraries < SS_RUN_LIBRARIES) {
                libraries[n_libraries++].name = line + sizeof library - 1;
                return true;
        }
        if (strncmp(line, function, sizeof function - 1) != 0)
                return false;
        more = realloc(rules, (n_rules + 1) * sizeof *rules);
        if (!more)
                return false;
        rules = more;
        rules[n_rules] = (struct rule){ 0 };
        return read_rule(&rules[n_rules++], line + sizeof function - 1);
}

unsigned int la_version(unsigned int version) {
        char *text = getenv(SS_RUN_VARIABLE), *line;

        text = text ? strdup(text) : NULL;
        if (!text)
                ss_run_die_(SS_RUN_VARIABLE, "it is not set: start the program by ss-run");
        while ((line = strsep(&text, "\n")))
                if (*line && !read_line(line))
                        ss_run_die_(line, "ss-run and its library do not understand each other");
        if (n_libraries == 0)
                ss_run_die_(SS_RUN_VARIABLE, "it names no library: start the program by ss-run");
        return version < LAV_CURRENT ? version : LAV_CURRENT;
}

/* ---- libraries ---- */

static const char *soname(const struct link_map *map) {
        uintptr_t strings = 0, name = 0;

        for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
                if (d->d_tag == DT_STRTAB)
                        strings = d->d_un.d_ptr;
                if (d->d_tag == DT_SONAME)
                        name = d->d_un.d_val;
        }
        if (!strings || !name)
                return "";
        if (strings < map->l_addr) /* the linker has not relocated it, or never does */
                strings += map->l_addr;
        return (const char *) strings + name;
}

/* By a pattern; or what comes behind it is a version. */
static bool is_named(const char *pattern, const char *name) {
        size_t n = strlen(pattern);

        if (fnmatch(pattern, name, 0) == 0)
                return true;
        return strncmp(pattern, name, n) == 0 && name[n] == '.' && isdigit((unsigned char) name[n + 1]);
}

static const char *base_of(const struct link_map *map) {
        const char *slash = strrchr(map->l_name, '/');

        return slash ? slash + 1 : map->l_name;
}

static bool is_library(const char *pattern, const struct link_map *map) {
        const char *base = base_of(map);

        if (!*base) /* the program */
                return false;
        if (strchr(pattern, '/'))
                return is_named(pattern, map->l_name);
        return is_named(pattern, base) || is_named(pattern, soname(map));
}

static bool stands_below(const char *base) {
        static const char *const names[] = { "ld-linux-x86-64.so", "libc.so", "libgcc_s.so", "libpthread.so",
                                             "libdl.so", "libsecurestack.so", "libss-run.so" };

        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (is_named(names[i], base))
                        return true;
        return false;
}

/* This library's other copy: at the same distance from its beginning lies the same. */
static void meet(const struct link_map *map) {
        uintptr_t distance = map->l_addr - (uintptr_t) __ehdr_start;

        run = (struct ss_run *) ((uintptr_t) &ss_run_ + distance);
        thunks = (const char *) ((uintptr_t) ss_run_thunks_ + distance);
        run->libraries = libraries;
        run->n_libraries = n_libraries;
        run->portable = portable;
        run->audited = true;
}

unsigned int la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie) {
        const char *base = base_of(map);

        *cookie = TRUSTED;
        if (lmid == LM_ID_BASE && !program)
                program = map;
        for (size_t i = 0; i < n_libraries; i++) {
                if (!is_library(libraries[i].name, map))
                        continue;
                if (stands_below(base))
                        ss_run_die_(base, "it cannot be untrusted: SecureStack itself, and all else, needs it");
                libraries[i].loaded = true;
                *cookie = UNTRUSTED;
        }
        if (*cookie == UNTRUSTED)
                return LA_FLG_BINDTO;
        if (lmid == LM_ID_BASE && strcmp(base, "libss-run.so") == 0)
                meet(map);
        if (!stands_below(base))
                return LA_FLG_BINDFROM;
        *cookie = NOBODY;
        return 0;
}

static bool is_untrusted(const struct link_map *map) {
        for (size_t i = 0; i < n_libraries; i++)
                if (is_library(libraries[i].name, map))
                        return true;
        return false;
}

/* ---- functions ---- */

static const struct rule *rule_of(const char *name) {
        static const struct rule none = { .spec.flags = SS_FRAME | SS_NEVER_REFUSE };

        for (size_t i = n_rules; i > 0; i--)
                if (fnmatch(rules[i - 1].pattern, name, 0) == 0)
                        return &rules[i - 1];
        return &none;
}

/* WORD becomes VALUE, or was it before. */
static bool claim(void *word, uintptr_t value) {
        uintptr_t old = 0;

        return __atomic_compare_exchange_n((uintptr_t *) word, &old, value, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST) ||
               old == value;
}

/* The description of the function at TARGET: the one it has already, or an empty one. */
static struct ss_spec *spec_of(uintptr_t target, const char *name) {
        size_t hash = (target >> 4) * 2654435761u;

        for (size_t i = 0; i < SS_RUN_THUNKS; i++) {
                struct ss_spec *spec = &run->specs[(hash + i) % SS_RUN_THUNKS];

                if (claim(&spec->name, (uintptr_t) name) && claim(&spec->function, target))
                        return spec;
        }
        return NULL;
}

uintptr_t la_symbind64(Elf64_Sym *sym, unsigned int index, uintptr_t *from, uintptr_t *to,
                       unsigned int *flags, const char *name) {
        unsigned type = ELF64_ST_TYPE(sym->st_info);
        const struct rule *rule;
        struct ss_spec *spec;

        (void) index;
        if (*from != TRUSTED || *to != UNTRUSTED || (type != STT_FUNC && type != STT_GNU_IFUNC))
                return sym->st_value;
        rule = rule_of(name);
        if (rule->left_out || ss_is_never(name))
                return sym->st_value;
        if (!run)
                ss_run_die_(name, "libss-run.so is not among the program's libraries (LD_PRELOAD): start it by "
                                  "ss-run");
        spec = spec_of(sym->st_value, name);
        if (!spec)
                ss_run_die_(name, "more functions of untrusted libraries are in use than there is room for (4096):"
                                  " leave out some");
        spec->clear_bytes = rule->spec.clear_bytes;
        spec->stack_bytes = rule->spec.stack_bytes;
        spec->vectors = rule->spec.vectors;
        spec->sees = rule->spec.sees;
        spec->n_sees = rule->spec.n_sees;
        spec->flags = rule->spec.flags;
        if (verbose)
                ss_run_tell_(name, "guarded");
        *flags |= LA_SYMB_NOPLTENTER | LA_SYMB_NOPLTEXIT;
        return (uintptr_t) thunks + (size_t) (spec - run->specs) * SS_RUN_THUNK_BYTES;
}

static void tell_unseen(const char *name, const struct link_map *target) {
        if (is_untrusted(target) && !rule_of(name)->left_out)
                ss_run_tell_(name, "its address is taken: calls by that are NOT guarded");
}

/* All that is loaded at the start is relocated. */
void la_preinit(uintptr_t *cookie) {
        (void) cookie;
        for (const struct link_map *map = verbose ? program : NULL; map; map = map->l_next)
                if (!is_untrusted(map) && !stands_below(base_of(map)))
                        ss_run_each_unseen_(map, tell_unseen);
}
