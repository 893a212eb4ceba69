/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Error: the quark and the stable names. */
#include "util/error.h"

#include <assert.h>

G_DEFINE_QUARK(mlg-error-quark, mlg_error)

static const char *const error_names[] = {
        [MLG_ERROR_FAILED] = "Failed",
        [MLG_ERROR_INVALID_ARGUMENT] = "InvalidArgument",
        [MLG_ERROR_NO_SUCH_GUEST] = "NoSuchGuest",
        [MLG_ERROR_NOT_MANAGED] = "NotManaged",
        [MLG_ERROR_CONFIG] = "ConfigInvalid",
        [MLG_ERROR_NO_ROOM] = "NoRoom",
        [MLG_ERROR_NO_SUCH_RESERVATION] = "NoSuchReservation",
        [MLG_ERROR_NO_SUCH_PROPOSAL] = "NoSuchProposal",
        [MLG_ERROR_LIMIT] = "LimitExceeded",
        [MLG_ERROR_NOT_CONNECTED] = "NotConnected",
};
static_assert(G_N_ELEMENTS(error_names) == _MLG_ERROR_MAX, "error_names[] misses a value");

const char *mlg_error_to_name(MlgError e) {
        return e < _MLG_ERROR_MAX ? error_names[e] : error_names[MLG_ERROR_FAILED];
}
