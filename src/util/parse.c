/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parse: values as people write them -> numbers, and back.
 *
 * Invariants: no locale, no floating point, no allocation while parsing; a value is either taken wholly or
 * refused, and the result is written on success only. Whatever mlg_format_*() writes without loss,
 * mlg_parse_*() reads. */
#include "util/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <glib.h>

#include "util/util.h"

/* A decimal number as its digits before and after the point: "1.50" is whole 1, frac 50, scale 100. */
typedef struct Decimal {
        uint64_t whole;
        uint64_t frac;
        uint64_t scale; /* 10^digits after the point; 1: there was no point */
} Decimal;

#define DECIMAL_SCALE_MAX UINT64_C(1000000000) /* nine digits: finer than one byte of a GiB */

/* Reads digits, at least one. Returns the first character behind them, or NULL with *ret_error set. */
static const char *read_digits(const char *s, uint64_t *ret, int *ret_error) {
        uint64_t v = 0;

        if (!g_ascii_isdigit(*s)) {
                *ret_error = -EINVAL;
                return NULL;
        }
        for (; g_ascii_isdigit(*s); s++)
                if (__builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v)) {
                        *ret_error = -ERANGE;
                        return NULL;
                }
        *ret = v;
        return s;
}

static const char *read_decimal(const char *s, Decimal *ret, int *ret_error) {
        Decimal d = { .scale = 1 };

        s = read_digits(s, &d.whole, ret_error);
        if (!s)
                return NULL;
        if (*s == '.') {
                s++;
                if (!g_ascii_isdigit(*s)) {
                        *ret_error = -EINVAL;
                        return NULL;
                }
                for (; g_ascii_isdigit(*s); s++) {
                        if (d.scale == DECIMAL_SCALE_MAX) {
                                *ret_error = -EINVAL;
                                return NULL;
                        }
                        d.frac = d.frac * 10 + (uint64_t) (*s - '0');
                        d.scale *= 10;
                }
        }
        *ret = d;
        return s;
}

/* whole * unit + ceil(frac * unit / scale), or -ERANGE. unit <= 2^40 or one day in usec: the product fits in
 * 128 bits. */
static int decimal_times(const Decimal *d, uint64_t unit, uint64_t *ret) {
        unsigned __int128 v;

        v = (unsigned __int128) d->whole * unit +
            ((unsigned __int128) d->frac * unit + d->scale - 1) / d->scale;
        if (v > UINT64_MAX)
                return -ERANGE;
        *ret = (uint64_t) v;
        return 0;
}

int mlg_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret) {
        const char *end;
        uint64_t v;
        int r = 0;

        end = read_digits(s, &v, &r);
        if (!end)
                return r;
        if (*end != '\0')
                return -EINVAL;
        if (v < min || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int mlg_parse_i32(const char *s, int32_t min, int32_t max, int32_t *ret) {
        gboolean negative = *s == '-';
        int64_t v;
        uint64_t u = 0;
        int r;

        r = mlg_parse_u64(negative ? s + 1 : s, 0, (uint64_t) INT32_MAX + 1, &u);
        if (r < 0)
                return r;
        v = negative ? -(int64_t) u : (int64_t) u;
        if (v < min || v > max)
                return -ERANGE;
        *ret = (int32_t) v;
        return 0;
}

int mlg_parse_bool(const char *s, bool *ret) {
        static const struct {
                const char *word;
                bool value;
        } words[] = {
                { "yes", true }, { "no", false },  { "true", true }, { "false", false },
                { "on", true },  { "off", false }, { "1", true },    { "0", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
                if (g_ascii_strcasecmp(s, words[i].word) == 0) {
                        *ret = words[i].value;
                        return 0;
                }
        return -EINVAL;
}

int mlg_parse_size_kib(const char *s, uint64_t *ret) {
        static const char units[] = "KMGT";
        const char *end, *unit;
        uint64_t factor = 1, bytes;
        Decimal d;
        int r = 0;

        end = read_decimal(s, &d, &r);
        if (!end)
                return r;
        if (*end != '\0') {
                unit = strchr(units, *end);
                if (!unit)
                        return -EINVAL;
                factor = UINT64_C(1) << (10 * (unit - units + 1));
                end++;
                if (strcmp(end, "iB") != 0 && *end != '\0')
                        return -EINVAL;
        } else if (d.scale != 1)
                return -EINVAL; /* there is no half byte; most likely the unit was forgotten */

        r = decimal_times(&d, factor, &bytes);
        if (r < 0)
                return r;
        *ret = bytes / 1024 + (bytes % 1024 != 0);
        return 0;
}

int mlg_parse_permille(const char *s, uint32_t *ret) {
        const char *end;
        Decimal d;
        int r = 0;

        end = read_decimal(s, &d, &r);
        if (!end)
                return r;
        if (strcmp(end, "%") != 0 || d.scale > 10)
                return -EINVAL;
        if (d.whole > 100 || (d.whole == 100 && d.frac > 0))
                return -ERANGE;
        *ret = (uint32_t) (d.whole * 10 + d.frac * 10 / d.scale);
        return 0;
}

/* Largest first: in a value of several parts they must stand in this order. */
static const struct {
        const char *name;
        uint64_t usec;
} time_units[] = {
        { "d", UINT64_C(86400) * MLG_USEC_PER_SEC },
        { "h", UINT64_C(3600) * MLG_USEC_PER_SEC },
        { "min", UINT64_C(60) * MLG_USEC_PER_SEC },
        { "s", MLG_USEC_PER_SEC },
        { "ms", 1000 },
        { "us", 1 },
};

/* Index into time_units of the unit that the letters at `s` spell, or -EINVAL. */
static int find_time_unit(const char *s, size_t len) {
        for (size_t i = 0; i < G_N_ELEMENTS(time_units); i++)
                if (strlen(time_units[i].name) == len && memcmp(time_units[i].name, s, len) == 0)
                        return (int) i;
        return -EINVAL;
}

int mlg_parse_usec(const char *s, uint64_t *ret) {
        uint64_t sum = 0, part;
        int last = -1, unit, r = 0;
        Decimal d;

        for (const char *p = s;;) {
                size_t len = 0;

                p = read_decimal(p, &d, &r);
                if (!p)
                        return r;
                while (g_ascii_isalpha(p[len]))
                        len++;
                if (len == 0 && last < 0 && *p == '\0')
                        return decimal_times(&d, MLG_USEC_PER_SEC, ret);
                unit = find_time_unit(p, len);
                if (unit <= last) /* also -EINVAL: last is -1 or more */
                        return -EINVAL;
                last = unit;
                r = decimal_times(&d, time_units[unit].usec, &part);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, part, &sum))
                        return -ERANGE;
                p += len;
                if (*p == '\0')
                        break;
                if (*p == ' ')
                        p++;
        }
        *ret = sum;
        return 0;
}

char *mlg_format_kib(uint64_t kib) {
        static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        uint64_t unit = 1, whole, tenth;
        size_t u = 0;

        while (u + 1 < G_N_ELEMENTS(units) && kib / unit >= 1024) {
                unit *= 1024;
                u++;
        }
        whole = kib / unit;
        tenth = ((kib % unit) * 10 + unit / 2) / unit; /* unit <= 2^50: no overflow */
        if (tenth == 10) {
                whole++;
                tenth = 0;
        }
        if (whole == 1024 && u + 1 < G_N_ELEMENTS(units)) { /* 1023.96 MiB is shown as 1 GiB */
                whole = 1;
                u++;
        }
        if (tenth == 0)
                return g_strdup_printf("%" PRIu64 " %s", whole, units[u]);
        return g_strdup_printf("%" PRIu64 ".%" PRIu64 " %s", whole, tenth, units[u]);
}

char *mlg_format_whole_sec(uint64_t usec) {
        return mlg_format_usec(usec - usec % MLG_USEC_PER_SEC);
}

char *mlg_format_usec(uint64_t usec) {
        if (usec == MLG_USEC_NEVER)
                return g_strdup("never");
        if (usec > 0 && usec < 1000)
                return g_strdup_printf("%" PRIu64 "us", usec);
        if (usec > 0 && usec < MLG_USEC_PER_SEC)
                return g_strdup_printf("%" PRIu64 "ms", usec / 1000);
        if (usec < 60 * MLG_USEC_PER_SEC) {
                uint64_t tenth = usec % MLG_USEC_PER_SEC / 100000;

                return tenth == 0
                               ? g_strdup_printf("%" PRIu64 "s", usec / MLG_USEC_PER_SEC)
                               : g_strdup_printf("%" PRIu64 ".%" PRIu64 "s", usec / MLG_USEC_PER_SEC, tenth);
        }
        /* Two parts are as exact as anybody reads: "2min 3s", "3h", "2d 1h". */
        for (size_t i = 0; i + 1 < G_N_ELEMENTS(time_units); i++)
                if (usec >= time_units[i].usec) {
                        uint64_t minor = usec % time_units[i].usec / time_units[i + 1].usec;

                        if (minor == 0)
                                return g_strdup_printf("%" PRIu64 "%s", usec / time_units[i].usec,
                                                       time_units[i].name);
                        return g_strdup_printf("%" PRIu64 "%s %" PRIu64 "%s", usec / time_units[i].usec,
                                               time_units[i].name, minor, time_units[i + 1].name);
                }
        g_assert_not_reached();
}
