/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: rules. Up to the first NUL the input is a policy file, what follows are facts, read as
 * numbers. Whatever comes of it is what comes of it the plain way. */
#include "fuzz.h"

#include <string.h>

#include "../unit/plain-rules.h"
#include "fuzz-config.h"
#include "util/util.h"

#define TURNS 8

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

static uint8_t byte(Input *in) {
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

/* Also such as are never told: whoever tells facts might be wrong. */
static void read_facts(Input *in, PlainFacts *f) {
        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++) {
                uint8_t kind = byte(in);
                uint64_t v = (uint64_t) byte(in) << (kind % 64);

                plain_tell(f, (MlgRuleFact) i, kind < 192, kind == 191 ? UINT64_MAX : v);
        }
}

/* Whatever was computed is something that could have been written. */
static void check_settings(const MlgGuestSettings *s) {
        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                g_autofree char *text = NULL, *expected = NULL;
                MlgGuestSettings again;

                if (o->section != MLG_OPTION_GUEST)
                        continue;
                text = mlg_option_format(o, s);
                if (mlg_option_parse(o, text, &again, &expected) < 0)
                        g_error("%s=%s: %s", o->key, text, expected);
        }
}

/* What was foreseen is so, whatever the guest's facts are. */
static void check_foresight(const MlgRules *r, const MlgRuleVerdict *foreseen, const MlgRuleFacts *f) {
        MlgRuleVerdict v = mlg_rules_foresee(r, f);

        g_assert_cmpuint(foreseen->yes & ~v.yes, ==, 0);
        g_assert_cmpuint(foreseen->no & ~v.no, ==, 0);
        g_assert_cmpuint(v.yes & v.no, ==, 0);
}

static void check_plain(const MlgRules *r, const MlgRuleBatch *b, const PlainFacts *f, uint64_t now_usec,
                        MlgRuleState *plain) {
        MlgGuestSettings settings;

        mlg_guest_settings_default(&settings);
        plain_turn(r, b->among[0], f, now_usec, plain);
        plain_apply(r, f, plain, &settings);
        g_assert_cmpuint(b->states[0]->holds, ==, plain->holds);
        g_assert_cmpmem(b->states[0]->since_usec, sizeof(plain->since_usec), plain->since_usec,
                        sizeof(plain->since_usec));
        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                g_autofree char *is = NULL, *expected = NULL;

                if (o->section != MLG_OPTION_GUEST)
                        continue;
                is = mlg_option_format(o, &b->settings[0]);
                expected = mlg_option_format(o, &settings);
                g_assert_cmpstr(is, ==, expected);
        }
}

static void one_turn(const MlgRules *r, Input *in, uint64_t now_usec, MlgRuleBatch *b, MlgRuleState *plain) {
        PlainFacts f = {}, host;
        MlgRuleState same;
        MlgRuleVerdict foreseen;

        b->among[0] = mlg_rules_all(r) & ((uint64_t) byte(in) * UINT64_C(0x0101010101010101) | 1);
        read_facts(in, &f);
        host = f;
        plain_untell_guest(&host);
        plain_put(&host, 0, &b->facts);
        foreseen = mlg_rules_foresee(r, &b->facts);
        plain_put(&f, 0, &b->facts);
        check_foresight(r, &foreseen, &b->facts);
        mlg_guest_settings_default(&b->settings[0]);
        mlg_rules_turn(r, &foreseen, b, now_usec);
        mlg_rules_apply(r, b);
        g_assert_cmpuint(b->states[0]->holds & ~b->among[0], ==, 0);
        check_settings(&b->settings[0]);
        check_plain(r, b, &f, now_usec, plain);
        same = *b->states[0];
        mlg_rules_carry_over(r, r, &same);
        g_assert_cmpuint(same.holds, ==, b->states[0]->holds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t len = strnlen((const char *) data, size);
        g_autoptr(MlgConfig) c = mlg_config_load_text("fuzz.policy", (const char *) data, len, true, NULL);
        Input in = { data + len, size - len };
        MlgRuleState fast = {}, plain = {};
        g_autofree MlgRuleBatch *b = NULL;

        (void) fuzz_config(data, len, true);
        if (!c || !mlg_config_rules(c))
                return 0;
        (void) byte(&in); /* the NUL */
        b = g_new0(MlgRuleBatch, 1);
        b->facts.n_lanes = 1;
        b->states[0] = &fast;
        for (uint64_t turn = 1; turn <= TURNS; turn++)
                one_turn(mlg_config_rules(c), &in, turn * 10 * MLG_USEC_PER_SEC, b, &plain);
        return 0;
}
