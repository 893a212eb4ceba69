/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz: what every fuzz target defines. Whatever `data` is, it returns 0, or it aborts because a promise was
 * broken. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
