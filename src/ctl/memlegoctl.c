/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memlegoctl: the entry point only, so that tests can call the rest. */
#include "ctl/ctl.h"

int main(int argc, char **argv) {
        return mlg_ctl_main(argc, argv);
}
