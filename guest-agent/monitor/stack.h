/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: the counters of securestack.ko (securestack(4)), where it is loaded. It may come and go, so nothing is
 * kept open. */
#pragma once

#include "facts.h"

/* Adds all of its values, or none: it is not there, or says something else than it should. `root` as for
 * facts_open(). */
void stack_facts(const char *root, MlgFacts *f);
