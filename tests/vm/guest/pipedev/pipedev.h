/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pipedev's files share. */
#pragma once

#include <stdint.h>

#include "memlego/mempipe-abi.h"

#define DOORBELL 3 /* registers are words of 32 bit */
#define IV_POSITION 2

extern uint8_t *memory;
extern volatile uint32_t *registers;

uint32_t self(void);
struct mlg_pipe_peer *peer(uint32_t id);
struct mlg_pipe_pair *pair(uint32_t from, uint32_t to);
uint8_t *chunk(uint32_t n);

/* flex.c: of MemFlex's device; the exit status */
int flex(const char *command, uint32_t a, uint32_t b);

/* lies.c: for so many seconds; they print how many lies it were */
void lie(uint32_t seconds, uint32_t seed);
void garbage(uint32_t seconds, uint32_t seed);
void storm(uint32_t seconds);
