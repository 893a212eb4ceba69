/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

int lib_chosen(void); /* both as lib_spy() */
int lib_pointed(void);
int lib_vfork(void);   /* how often its child has found the secret */
int lib_command(void); /* 7 */
int lib_add(int *to, int value);
void *lib_end_thread(void *value); /* does not return */
