/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: rules. Up to the first NUL the input is a policy file, what follows are facts, read as
 * numbers. */
#include "fuzz.h"

#include <string.h>

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
static void read_facts(Input *in, MlgRuleFacts *f) {
        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++) {
                uint8_t kind = byte(in);
                uint64_t v = (uint64_t) byte(in) << (kind % 64);

                mlg_rule_tell(f, (MlgRuleFact) i, kind < 192, kind == 191 ? UINT64_MAX : v);
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

static void one_turn(const MlgRules *r, Input *in, uint64_t now_usec, MlgRuleState *s) {
        uint64_t among = mlg_rules_all(r) & ((uint64_t) byte(in) * UINT64_C(0x0101010101010101) | 1);
        MlgRuleFacts f = {}, host;
        MlgRuleState same;
        MlgRuleVerdict foreseen;
        MlgGuestSettings settings;

        read_facts(in, &f);
        host = f;
        mlg_rule_untell_guest(&host);
        foreseen = mlg_rules_foresee(r, &host);
        check_foresight(r, &foreseen, &f);
        mlg_rules_turn(r, among, &foreseen, &f, now_usec, s);
        g_assert_cmpuint(s->holds & ~among, ==, 0);
        mlg_guest_settings_default(&settings);
        mlg_rules_apply(r, s->holds, &f, &settings);
        check_settings(&settings);
        same = *s;
        mlg_rules_carry_over(r, r, &same);
        g_assert_cmpuint(same.holds, ==, s->holds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t len = strnlen((const char *) data, size);
        g_autoptr(MlgConfig) c = mlg_config_load_text("fuzz.policy", (const char *) data, len, true, NULL);
        Input in = { data + len, size - len };
        MlgRuleState s = {};

        (void) fuzz_config(data, len, true);
        if (!c || !mlg_config_rules(c))
                return 0;
        (void) byte(&in); /* the NUL */
        for (uint64_t turn = 1; turn <= TURNS; turn++)
                one_turn(mlg_config_rules(c), &in, turn * 10 * MLG_USEC_PER_SEC, &s);
        return 0;
}
