/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parse: values as people write them -> numbers, strictly. 0, -EINVAL (not such a value), -ERANGE (out of
 * range).
 *
 * Whole strings only: no leading or trailing text, no signs where none make sense; ret is written on success
 * only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

int mlg_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
int mlg_parse_i32(const char *s, int32_t min, int32_t max, int32_t *ret);
int mlg_parse_bool(const char *s, bool *ret); /* yes no true false on off 1 0 */
/* "512M", "1.5G", "262144K", "1T"; a plain number is bytes, rounded up to KiB. Factors of 1024. */
int mlg_parse_size_kib(const char *s, uint64_t *ret);
/* "25%", "12.5%" -> 125..1000 thousandths; more than 100 % is -ERANGE */
int mlg_parse_permille(const char *s, uint32_t *ret);
/* "1", "0.5", "200ms", "5min", "1h": a plain number is seconds */
int mlg_parse_usec(const char *s, uint64_t *ret);

/* "1.5 GiB", "512 MiB", "12 KiB": for people; static buffers are not used */
char *mlg_format_kib(uint64_t kib);
char *mlg_format_usec(uint64_t usec); /* "200ms" "5s" "2min 3s" */
char *mlg_format_whole_sec(uint64_t usec); /* the same without what is below a second: of an age, or a time that is left */
