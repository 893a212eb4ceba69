/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Agent: see agent.h. */
#include "hypervisor/agent.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <glib.h>
#include <json-c/json.h>

#include "hypervisor/guest-facts.h"

/* Base64 needs a third more, and the rest is some words. */
#define ANSWER_MAX (2 * MLG_AGENT_TEXT_MAX)
#define DEPTH_MAX 4

char *mlg_agent_open_command(const char *path) {
        return g_strdup_printf("{\"execute\":\"guest-file-open\",\"arguments\":{\"path\":\"%s\",\"mode\":\"r\"}}", path);
}

char *mlg_agent_read_command(int64_t handle) {
        return g_strdup_printf("{\"execute\":\"guest-file-read\",\"arguments\":{\"handle\":%" PRId64 ",\"count\":%d}}", handle,
                               MLG_AGENT_TEXT_MAX);
}

char *mlg_agent_close_command(int64_t handle) {
        return g_strdup_printf("{\"execute\":\"guest-file-close\",\"arguments\":{\"handle\":%" PRId64 "}}", handle);
}

/* What stands at "return" of an answer, if it is of this type; json_object_put(*ret_top) in any case. */
static int parse(const char *answer, json_type type, json_object **ret_top, json_object **ret) {
        json_tokener *tokener;
        size_t n = strlen(answer);

        *ret_top = NULL;
        if (n > ANSWER_MAX)
                return -EMSGSIZE;
        tokener = json_tokener_new_ex(DEPTH_MAX);
        if (!tokener)
                g_error("out of memory");
        *ret_top = json_tokener_parse_ex(tokener, answer, (int) n + 1);
        json_tokener_free(tokener);
        if (!json_object_is_type(*ret_top, json_type_object) || !json_object_object_get_ex(*ret_top, "return", ret) ||
            !json_object_is_type(*ret, type))
                return -EBADMSG;
        return 0;
}

int mlg_agent_take_handle(const char *answer, int64_t *ret) {
        json_object *top, *handle;
        int r = parse(answer, json_type_int, &top, &handle);

        if (r >= 0)
                *ret = json_object_get_int64(handle);
        json_object_put(top);
        return r;
}

static int decode(const char *base64, char **ret) {
        g_autofree unsigned char *bytes = NULL;
        gsize n;

        if (strlen(base64) % 4 != 0)
                return -EBADMSG;
        bytes = g_base64_decode(base64, &n);
        if (n > MLG_AGENT_TEXT_MAX)
                return -EMSGSIZE;
        *ret = g_strndup((const char *) bytes, n);
        return 0;
}

int mlg_agent_take_text(const char *answer, char **ret) {
        json_object *top, *o, *text;
        int r = parse(answer, json_type_object, &top, &o);

        if (r >= 0)
                r = json_object_object_get_ex(o, "buf-b64", &text) && json_object_is_type(text, json_type_string) ?
                            decode(json_object_get_string(text), ret) :
                            -EBADMSG;
        json_object_put(top);
        return r;
}

void mlg_agent_take_facts(const char *pressure, const char *vmstat, uint64_t page_kib, MlgRawMonitor *ret) {
        MlgFacts f = {};

        if (pressure)
                mlg_facts_parse_pressure(pressure, &f);
        if (vmstat)
                mlg_facts_parse_vmstat(vmstat, page_kib, &f);
        mlg_facts_to_raw(&f, ret);
        ret->slow = true;
}
