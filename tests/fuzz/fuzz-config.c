/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: memlegod.conf. */
#include "fuzz.h"

#include "fuzz-config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_config(data, size, false);
}
