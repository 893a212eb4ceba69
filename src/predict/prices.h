/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prices: what too little memory costs, in memory that idles for the length of a horizon. */
#pragma once

/* Holding 64 GiB for the length of a horizon is worth one shortage less: on hosts with hundreds of guests, three of a
 * thousand horizons are then short. A byte that is missing is read from a disk: ten times as dear as one that idles. */
#define MLG_PRICE_SHORT_KIB (64.0 * 1024 * 1024)
#define MLG_PRICE_MISSING 20.0
