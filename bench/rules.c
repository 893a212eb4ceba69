/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rules: what rules add to a decision, by their kind. As many as there may be, all about all guests, no two
 * alike. Measured is the whole decision with them, and without any; the difference is theirs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <glib.h>

#include "decide.h"
#include "service/config.h"

#define GUESTS_MAX 10000
#define PERCENT 110 /* of what the guests need: memory moves, and nobody suffers */

/* A # is the rule's number. Guests use from 100 to 1,600 MiB of their 2 GiB. */
static const struct {
        const char *kind, *text;
} kinds[] = {
        { "host-false", "When=host.available < 0.#% and guest.used > 10%\nFloor=guest.used + 25%\n" },
        { "clock-false", "When=time in 03:00..04:00 and guest.used > #%\nFloor=guest.used + 25%\n" },
        { "guest-false", "When=guest.used < #.5M and guest.pressure <= critical\nFloor=guest.used + 25%\n" },
        { "both-false", "When=host.available > 0.#% and guest.used > 9#%\nFloor=guest.used + 25%\n" },
        { "some-hold", "When=guest.used > #% and guest.pressure <= critical\nFloor=guest.used + #M\n" },
        { "all-hold", "When=guest.used > 0.#% and guest.pressure <= critical\nFloor=guest.used + #M\n" },
        { "all-hold-unknown",
          "When=guest.used > 0.#% and guest.pressure <= critical\nFloor=guest.cold + #M\n" },
        { "timed", "When=guest.used > #%\nUntil=guest.used < #.5M\nFor=1s\nKeep=2s\n"
                   "Floor=guest.used + #M\n" },
        /* As long as 64 can be: nearly 2,048 values and signs. */
        { "longest", "When=guest.used * 1.# + guest.unused / 2 + guest.caches * 0.5 + guest.need * 3 > #M\n"
                     "Floor=max(10%, guest.cold + #M, guest.used * 0.8) - guest.swap_in * 2\n" },
};

static MlgConfig *load(const char *rule) {
        g_autoptr(GString) text = g_string_new(NULL);
        g_autoptr(GError) error = NULL;
        MlgConfig *c;

        for (int i = 0; i < MLG_RULES_MAX; i++) {
                g_autofree char *number = g_strdup_printf("%d", i);
                g_autoptr(GString) one = g_string_new(rule);

                (void) g_string_replace(one, "#", number, 0);
                g_string_append_printf(text, "[Rule a%d]\n%s", i, one->str);
        }
        c = mlg_config_load_text("rules.policy", text->str, text->len, true, &error);
        if (!c) {
                (void) fprintf(stderr, "rules: %s\n", error->message);
                exit(1);
        }
        return c;
}

static void measure(unsigned int n, const char *kind, const char *rule, GString *rows) {
        g_autoptr(MlgConfig) c = load(rule);
        uint64_t without_nsec = bench_decide_nsec(n, PERCENT, NULL);
        uint64_t nsec = bench_decide_nsec(n, PERCENT, mlg_config_rules(c));
        double added = (double) nsec - (double) without_nsec;

        (void) fprintf(stderr, "rules: %u guests, %s: decide() %.1f us, of these %.1f us for rules\n", n,
                       kind, (double) nsec / 1000, added / 1000);
        g_string_append_printf(rows,
                               "%s{\"rules\":%d,\"guests\":%u,\"kind\":\"%s\",\"decide_us\":%.1f,"
                               "\"rules_us\":%.1f,\"ns_per_guest_rule\":%.2f}",
                               rows->len ? "," : "", MLG_RULES_MAX, n, kind, (double) nsec / 1000,
                               added / 1000, added / (n * MLG_RULES_MAX));
}

int main(int argc, char **argv) {
        GString *rows = g_string_new(NULL);

        for (int i = 0; i < MAX(argc - 1, 1); i++) {
                unsigned int n = argc > 1 ? (unsigned int) atoi(argv[i + 1]) : 1000;

                if (n < 1 || n > GUESTS_MAX) {
                        (void) fprintf(stderr, "rules: a number of guests is from 1 to %d\n", GUESTS_MAX);
                        return 2;
                }
                for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++)
                        measure(n, kinds[k].kind, kinds[k].text, rows);
        }
        (void) printf("{\"bench\":\"rules\",\"rows\":[%s]}\n", rows->str);
        g_string_free(rows, TRUE);
        return 0;
}
