/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake keeper: for tests of who keeps descriptors (on_keep), the service manager: a copy of each, by its name. */
#pragma once

#include "ivshmem/server.h"

void fake_keep(MlgIvshmemKept *kept, const char *name, int fd); /* -1: not any more */
