/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Polkit: may this client do that? Asked and answered without waiting.
 *
 * Fails closed: no polkit, no answer, or an answer that is not understood all mean no. */
#include "bus/bus-internal.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_IFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_INTERACTION 1u

#define ANSWER_USEC (10 * MLG_USEC_PER_SEC)
#define PERSON_USEC (120 * MLG_USEC_PER_SEC) /* a person may have to type a password */

int mlg_polkit_check(MlgBus *b, sd_bus_message *m, const char *action, const char *cancel_id,
                     sd_bus_message_handler_t fn, void *userdata, sd_bus_slot **ret) {
        _bus_unref_ sd_bus_message *q = NULL;
        bool interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0;
        int r;

        r = sd_bus_message_new_method_call(b->bus, &q, POLKIT_NAME, POLKIT_PATH, POLKIT_IFACE,
                                           "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(q, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(m), action, 0,
                                  interactive ? POLKIT_ALLOW_INTERACTION : 0, cancel_id);
        if (r < 0)
                return r;
        return sd_bus_call_async(b->bus, ret, q, fn, userdata, interactive ? PERSON_USEC : ANSWER_USEC);
}

/* Takes a question back, so that no dialogue stays on the screen of somebody who is gone. */
void mlg_polkit_cancel(MlgBus *b, const char *cancel_id) {
        _bus_unref_ sd_bus_message *q = NULL;

        if (sd_bus_message_new_method_call(b->bus, &q, POLKIT_NAME, POLKIT_PATH, POLKIT_IFACE,
                                           "CancelCheckAuthorization") >= 0 &&
            sd_bus_message_append(q, "s", cancel_id) >= 0 &&
            sd_bus_message_set_expect_reply(q, 0) >= 0 &&
            sd_bus_message_set_auto_start(q, 0) >= 0)
                (void) sd_bus_send(b->bus, q, NULL);
}

/* 0: yes. Else `error` is set and says why. */
int mlg_polkit_read_answer(sd_bus_message *reply, const char *action, sd_bus_error *error) {
        int authorized = 0, challenge = 0;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                const sd_bus_error *e = sd_bus_message_get_error(reply);

                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "Not authorized (%s): only root is, as polkit gave no answer: %s",
                                         action, e->message ? e->message : e->name);
        }
        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
            sd_bus_message_read(reply, "bb", &authorized, &challenge) < 0)
                return sd_bus_error_setf(
                        error, SD_BUS_ERROR_ACCESS_DENIED,
                        "Not authorized (%s): only root is, as polkit's answer is not understood", action);
        if (authorized)
                return 0;
        if (challenge)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                         "Authentication is required (%s)", action);
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Not authorized (%s)", action);
}
