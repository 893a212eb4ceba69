/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-facts: what the kernel of a Linux guest tells of its memory in text, as the values of the monitor protocol.
 *
 * Both who reads them inside the guest (memlego-guestd) and who asks for them from outside (libvirt-agent.c) parse them
 * here. The text may be anything, up to its NUL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memlego/monitor-proto.h"
#include "memlego/sample.h"

typedef struct MlgFacts {
        uint32_t known; /* MLG_FIELD_BIT(id): values[MLG_FACT(id)] is */
        uint64_t values[MLG_FIELD_VALUES];
} MlgFacts;

#define MLG_FACT(id) ((id) - MLG_FIELD_FIRST_VALUE)

/* Each adds what it finds; lines and numbers that are not understood are passed over. */
void mlg_facts_parse_meminfo(const char *text, MlgFacts *f);
void mlg_facts_parse_vmstat(const char *text, uint64_t page_kib, MlgFacts *f);
void mlg_facts_parse_pressure(const char *text, MlgFacts *f);
/* The kernel's multi-generational LRU: pages that it found untouched for COLD_AGE_SEC. */
void mlg_facts_parse_lru_gen(const char *text, uint64_t page_kib, MlgFacts *f);

/* A value as a message of the monitor has it; `id` is one of MLG_FIELD_FIRST_VALUE .. MLG_FIELD_LAST_VALUE. */
void mlg_raw_monitor_set(MlgRawMonitor *raw, uint8_t id, uint64_t value);
/* All that is known, as if the monitor had told it. */
void mlg_facts_to_raw(const MlgFacts *f, MlgRawMonitor *ret);
