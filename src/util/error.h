/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Error: the errors that a person or a client of the bus reads. */
#pragma once

#include <glib.h>

#define MLG_ERROR (mlg_error_quark())
GQuark mlg_error_quark(void);

/* On the bus: org.memlego1.Error.<name>, see mlg_error_to_bus_name(). */
typedef enum MlgError {
        MLG_ERROR_FAILED,              /* Failed */
        MLG_ERROR_INVALID_ARGUMENT,    /* InvalidArgument */
        MLG_ERROR_NO_SUCH_GUEST,       /* NoSuchGuest */
        MLG_ERROR_NOT_MANAGED,         /* NotManaged: the guest is left alone, and why */
        MLG_ERROR_CONFIG,              /* ConfigInvalid: file, line, key, what was expected */
        MLG_ERROR_NO_ROOM,             /* NoRoom */
        MLG_ERROR_NO_SUCH_RESERVATION, /* NoSuchReservation */
        MLG_ERROR_NO_SUCH_PROPOSAL,    /* NoSuchProposal: there is none of this id any more, and why */
        MLG_ERROR_LIMIT,               /* LimitExceeded */
        MLG_ERROR_NOT_CONNECTED,       /* NotConnected: no hypervisor at the moment */
        _MLG_ERROR_MAX,
} MlgError;

const char *mlg_error_to_name(MlgError e); /* without the prefix */
