/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: answers of the QEMU guest agent, which come from inside a guest. Whatever the bytes: no crash, and a text is no
 * longer than it may be. */
#include <string.h>

#include <glib.h>

#include "fuzz.h"
#include "hypervisor/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree char *answer = g_strndup((const char *) data, size), *text = NULL;
        MlgRawMonitor raw;
        int64_t handle;

        (void) mlg_agent_take_handle(answer, &handle);
        if (mlg_agent_take_text(answer, &text) >= 0)
                g_assert(strlen(text) <= MLG_AGENT_TEXT_MAX);
        mlg_agent_take_facts(text ? text : answer, answer, 4, &raw);
        g_assert(raw.slow && !(raw.have & MLG_MONITOR_SIZES));
        return 0;
}
