/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm, private: what its files share.
 *
 *   vm.c         facts and settings, polls and messages as they come in, the ring of decisions
 *   vm-need.c    reports, prediction, pressure
 *   vm-motion.c  sizes and targets
 *   vm-state.c   state and reason
 * Nobody else includes it. */
#pragma once

#include "core/vm.h"

/* vm-need.c */
void mlg_vm_take_predictor(MlgVm *vm); /* the one that its settings name */
void mlg_vm_restart_predictor(MlgVm *vm); /* another run of the guest */
void mlg_vm_learns_anew(MlgVm *vm);
void mlg_vm_take_report(MlgVm *vm, const MlgSample *s, uint64_t now_usec);
/* No report came, or none that says anything: a driver that is busy with its balloon is late. What was rising goes on
 * rising meanwhile. */
void mlg_vm_goes_on_rising(MlgVm *vm, uint64_t now_usec);
void mlg_vm_take_pressure(MlgVm *vm, uint64_t now_usec);
void mlg_vm_suffered(MlgVm *vm, uint64_t now_usec);

/* vm-motion.c */
uint64_t mlg_vm_reached_kib(const MlgVm *vm); /* nearer to its target than this it is there */
void mlg_vm_start_motion(MlgVm *vm, uint64_t now_usec);
/* Before the sampler is told of a poll, and after. */
void mlg_vm_tell_way(MlgVm *vm, const MlgRawStats *raw);
void mlg_vm_take_heading(MlgVm *vm, const MlgRawStats *raw, const MlgHostSettings *host, uint64_t now_usec);
void mlg_vm_take_size(MlgVm *vm, const MlgSample *s, const MlgHostSettings *host, uint64_t now_usec);
