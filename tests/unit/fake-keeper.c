/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake keeper: see fake-keeper.h. */
#include "fake-keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/util.h"

void fake_keep(MlgIvshmemKept *kept, const char *name, int fd) {
        MlgIvshmemKept found;
        int *places = (int *) kept, *at = (int *) &found;

        mlg_ivshmem_kept_init(&found);
        assert_true(mlg_ivshmem_kept_add(&found, name, 1));
        assert_false(mlg_ivshmem_kept_add(&found, name, 1));
        for (size_t i = 0; i < sizeof(found) / sizeof(int); i++)
                if (at[i] == 1) {
                        mlg_close_fd(&places[i]);
                        places[i] = fd < 0 ? -1 : dup(fd);
                }
}
