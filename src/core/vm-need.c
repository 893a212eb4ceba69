/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: what the guest needs, and how badly: its reports, what its predictor makes of them, and its pressure. */
#include <string.h>

#include "core/supervise.h"
#include "core/vm-private.h"
#include "predict/registry.h"
#include "util/util.h"

/* Nothing usable below this: the kernel's own watermarks of a small guest. */
#define CRITICAL_LEAST_KIB (12 * MLG_KIB_PER_MIB)
#define CRITICAL_PERMILLE 30
/* Reading back 1 MiB/s from swap: a program waits for its memory 250 times a second. */
#define CRITICAL_SWAP_IN_KIB_PER_SEC 1024

/* Tasks wait for memory: 5 % of a second is what the guest's trigger is set to. With 30 % of it, or 10 % in which nothing
 * else went on, programs run visibly slower: that is as bad as swapping. */
#define WARNING_STALL_PERMILLE 50
#define CRITICAL_STALL_PERMILLE 300
#define CRITICAL_FULL_PERMILLE 100
/* An alarm is of the second before it, and of the one in which help is on its way. */
#define ALARM_USEC MLG_USEC_PER_SEC
/* What was killed for lack of memory has left free memory behind, and will be started again. */
#define KILLED_USEC (3 * MLG_USEC_PER_SEC)
/* Of a balloon that grew just now: the guest's own reclaim for it still shows. */
#define TAKEN_USEC MLG_USEC_PER_SEC

/* 2 % slower than it could be. */
#define LACKS_STALL_PERMILLE 20

/* A guest that suffered and now uses a quarter less, with a quarter of what it has usable, needs no cool-down: its job is
 * done. Its cushion is no measure of that: it is widest just then, as nobody foresaw this end. */
#define RECOVERED_PERMILLE 750
#define RECOVERED_USABLE_PERMILLE 250

/* How long a guest that we find on its way may be that before we go by what is known of it, however vague ... */
#define ARRIVES_USEC (2 * MLG_USEC_PER_SEC)
/* ... that is, worse than this part of its maximum: for less there are cushions. */
#define VAGUE_PERMILLE 50

/* How long reports may say nothing while a guest moves, before they are taken for saying that its demand stands still. */
#define HIDDEN_USEC (2500 * 1000)

/* Demand that grows by less than this within about a second does not announce trouble. */
#define RISE_PERMILLE 20
#define RISE_USEC (800 * 1000) /* reports of each second come a little early, too */

void mlg_vm_learns_anew(MlgVm *vm) {
        vm->learns_from_usec = vm->learns_to_usec = vm->learned_before_usec = 0;
        vm->sought = false;
}

void mlg_vm_take_predictor(MlgVm *vm) {
        const MlgPredictorOps *p = mlg_predictor_find(vm->settings.predictor);

        if (!p)
                p = mlg_predictor_at(0); /* the configuration was checked: a plug-in was refused, or switched off */
        if (p == vm->predictor)
                return;
        g_free(vm->predictor_priv);
        vm->predictor = p;
        vm->predictor_priv = mlg_priv_new(p->priv_size);
        mlg_vm_learns_anew(vm);
        vm->has_forecast = false;
        vm->judge_usec = 0;
}

/* Another run of the guest. */
void mlg_vm_restart_predictor(MlgVm *vm) {
        mlg_call_restarted(vm->predictor, vm->predictor_priv);
        if (!vm->predictor->restarted)
                vm->learns_from_usec = vm->learns_to_usec = vm->learned_before_usec = 0;
}

uint64_t mlg_vm_learned_usec(const MlgVm *vm) {
        return mlg_add_sat(vm->learned_before_usec, vm->learns_to_usec - vm->learns_from_usec);
}

bool mlg_vm_is_worth_saving(const MlgVm *vm) {
        return vm->predictor->state_version > 0 && mlg_vm_learned_usec(vm) > 0;
}

bool mlg_vm_resume_predictor(MlgVm *vm, const void *state, uint64_t learned_usec, bool same_run,
                             uint64_t now_usec) {
        const MlgPredictorOps *p = vm->predictor;

        if (!same_run && !p->restarted)
                return false;
        memcpy(vm->predictor_priv, state, p->priv_size);
        if (!same_run)
                mlg_call_restarted(p, vm->predictor_priv);
        mlg_call_resumed(p, vm->predictor_priv, now_usec);
        vm->learned_before_usec = learned_usec;
        vm->learns_from_usec = vm->learns_to_usec = 0;
        vm->judge_usec = 0; /* it was made without what is known now */
        return true;
}

/* Memory is being taken from it: reclaiming it is what its tasks are seen to wait for, first of all the balloon's own. */
static bool gives(const MlgVm *vm, uint64_t now_usec) {
        return vm->target_kib + mlg_vm_reached_kib(vm) < vm->actual_kib ||
                (vm->shrunk_usec > 0 && now_usec - vm->shrunk_usec < TAKEN_USEC);
}

/* Stalls only count where the guest as a whole is short. With much free memory it is a limit inside of it that they
 * come from, a container's, and more memory would not help. */
static MlgPressure stall_pressure(const MlgVm *vm, uint64_t now_usec) {
        const MlgSample *s = &vm->sampler.last;

        if (s->oom_usec > 0 && now_usec - s->oom_usec < KILLED_USEC)
                return MLG_PRESSURE_CRITICAL;
        if (!s->knows_stalls || s->unused_kib >= vm->cushion_kib ||
            (gives(vm, now_usec) && s->usable_kib >= vm->cushion_kib))
                return MLG_PRESSURE_NONE;
        if (s->stall_full_permille >= CRITICAL_FULL_PERMILLE || s->stall_some_permille >= CRITICAL_STALL_PERMILLE)
                return MLG_PRESSURE_CRITICAL;
        if (s->stall_some_permille >= WARNING_STALL_PERMILLE ||
            (s->alarm_usec > 0 && now_usec - s->alarm_usec < ALARM_USEC))
                return MLG_PRESSURE_WARNING;
        return MLG_PRESSURE_NONE;
}

static MlgPressure size_pressure(const MlgVm *vm) {
        const MlgSample *s = &vm->sampler.last;
        uint64_t nothing = mlg_max(mlg_mul_div(s->actual_kib, CRITICAL_PERMILLE, 1000), CRITICAL_LEAST_KIB);

        if (s->swap_in_kib_per_sec >= CRITICAL_SWAP_IN_KIB_PER_SEC)
                return MLG_PRESSURE_CRITICAL;
        if (!s->knows_usable)
                return MLG_PRESSURE_NONE; /* a full page cache looks like no memory at all there */
        if (s->usable_kib < nothing)
                return MLG_PRESSURE_CRITICAL;
        if (s->usable_kib < vm->cushion_kib / 2 ||
            (vm->rises && mlg_sub_sat(s->actual_kib, vm->forecast.need_kib) < vm->cushion_kib / 2))
                return MLG_PRESSURE_WARNING;
        return MLG_PRESSURE_NONE;
}

/* Little usable memory announces trouble; this is trouble. Without anybody who tells stalls, nothing usable counts as such:
 * a guest without swap would be next to its OOM killer. */
static bool lacks_memory(const MlgVm *vm) {
        const MlgSample *s = &vm->sampler.last;

        if (s->swap_in_kib_per_sec >= CRITICAL_SWAP_IN_KIB_PER_SEC)
                return true;
        return s->knows_stalls ? s->stall_some_permille >= LACKS_STALL_PERMILLE : vm->pressure == MLG_PRESSURE_CRITICAL;
}

void mlg_vm_suffered(MlgVm *vm, uint64_t now_usec) {
        vm->suffered_usec = now_usec;
        vm->suffered_used_kib = vm->sampler.last.used_kib;
}

/* Usable memory alone is no recovery: it may have come just now, and the programs take it as they run on. But when their demand
 * has fallen far below what it was, they have freed it themselves. */
static bool is_over_it(const MlgVm *vm) {
        const MlgSample *s = &vm->sampler.last;

        return vm->suffered_usec > 0 && s->is_new &&
               s->usable_kib >= mlg_mul_div(s->actual_kib, RECOVERED_USABLE_PERMILLE, 1000) &&
               s->used_kib < mlg_mul_div(vm->suffered_used_kib, RECOVERED_PERMILLE, 1000);
}

void mlg_vm_take_pressure(MlgVm *vm, uint64_t now_usec) {
        const MlgSample *s = &vm->sampler.last;

        if (s->trust != MLG_TRUST_FRESH)
                return; /* what was known last is the best guess */
        vm->pressure = MAX(size_pressure(vm), stall_pressure(vm, now_usec));
        if (vm->pressure != MLG_PRESSURE_NONE)
                mlg_vm_suffered(vm, now_usec);
        else if (is_over_it(vm))
                vm->suffered_usec = vm->lacked_usec = 0;
        vm->lacks = lacks_memory(vm);
        if (vm->lacks)
                vm->lacked_usec = now_usec;
}

/* cushion = max(Cushion=, CushionRatio= of the need, twice the forecast's usual miss, upper - need), at most the rest of
 * the guest */
static void take_forecast(MlgVm *vm, uint64_t horizon_usec) {
        const MlgGuestSettings *s = &vm->settings;
        uint64_t need;

        vm->has_forecast = mlg_call_predict(vm->predictor, vm->predictor_priv, horizon_usec, vm->maximum_kib,
                                            &vm->forecast) == 0;
        if (!vm->has_forecast)
                return;
        need = vm->forecast.need_kib = mlg_min(vm->forecast.need_kib, vm->maximum_kib);
        vm->forecast.error_kib = mlg_min(vm->forecast.error_kib, vm->maximum_kib);
        vm->cushion_kib = mlg_max(mlg_amount_resolve(s->cushion, need), mlg_mul_div(need, s->cushion_permille, 1000));
        vm->cushion_kib = mlg_max(vm->cushion_kib, 2 * vm->forecast.error_kib);
        vm->cushion_kib = mlg_max(vm->cushion_kib, mlg_sub_sat(vm->forecast.upper_kib, need));
        vm->cushion_kib = mlg_min(vm->cushion_kib, mlg_sub_sat(vm->maximum_kib, need));
}

/* What became of the forecast that is judged; then the next one is. */
static void judge(MlgVm *vm, const MlgSample *s, uint64_t now_usec) {
        if (vm->judge_usec == 0)
                return;
        vm->judged_peak_kib = mlg_max(vm->judged_peak_kib, s->used_kib);
        if (now_usec < vm->judge_usec)
                return;
        vm->forecasts++;
        vm->forecast_misses += vm->judged_peak_kib > vm->judged.need_kib + vm->judged_cushion_kib;
        mlg_call_reflect(vm->predictor, vm->predictor_priv, &vm->judged, vm->judged_peak_kib);
        vm->judge_usec = 0;
}

static void begin_judging(MlgVm *vm, uint64_t now_usec) {
        if (vm->judge_usec > 0 || !vm->has_forecast)
                return;
        vm->judged = vm->forecast;
        vm->judged_cushion_kib = vm->cushion_kib;
        vm->judged_peak_kib = 0;
        vm->judge_usec = now_usec + vm->settings.horizon_usec;
}

/* Against the newer of two reports if it is about a second old, else against the older one. */
static void take_rise(MlgVm *vm, const MlgSample *s, uint64_t now_usec) {
        unsigned int i = now_usec - vm->rise_usec[0] >= RISE_USEC ? 0 : 1;
        uint64_t step = mlg_mul_div(vm->maximum_kib, RISE_PERMILLE, 1000);

        vm->rises = vm->rise_usec[i] > 0 && s->used_kib > vm->rise_kib[i] + step;
        if (i > 0)
                return;
        vm->rise_usec[1] = vm->rise_usec[0];
        vm->rise_kib[1] = vm->rise_kib[0];
        vm->rise_usec[0] = now_usec;
        vm->rise_kib[0] = s->used_kib;
}

/* A plug-in that was switched off leaves its guests to the default: at once, or who suffers now would have to wait. */
static void foresee(MlgVm *vm, const MlgSample *s) {
        do {
                if (mlg_predictor_is_off(vm->predictor))
                        mlg_vm_take_predictor(vm);
                mlg_call_observe(vm->predictor, vm->predictor_priv, s, vm->settings.horizon_usec);
                take_forecast(vm, vm->settings.horizon_usec);
        } while (mlg_predictor_is_off(vm->predictor));
}

/* Since the predictor was told something. */
static uint64_t unheard_usec(const MlgVm *vm, uint64_t now_usec) {
        return vm->learns_to_usec > 0 ? now_usec - vm->learns_to_usec : 0;
}

/* Of a guest that was on its way when we came the next ones may be no better, until it arrives. */
static bool is_too_vague(const MlgVm *vm, uint64_t now_usec) {
        return !vm->has_forecast && now_usec - vm->first_polled_usec < ARRIVES_USEC &&
               vm->sampler.blur_kib > mlg_mul_div(vm->maximum_kib, VAGUE_PERMILLE, 1000);
}

/* It may have taken as much as its balloon gave it meanwhile: then what was known is not wrong, but old. */
static bool hides_a_rise(const MlgVm *vm, uint64_t now_usec) {
        return vm->rises && vm->sampler.says_little && vm->sampler.blur_kib > mlg_vm_reached_kib(vm) &&
               unheard_usec(vm, now_usec) < HIDDEN_USEC;
}

void mlg_vm_take_report(MlgVm *vm, const MlgSample *s, uint64_t now_usec) {
        /* The first one may be from before a move that nobody saw: what it makes of the demand could be wrong by all of
         * the move, and would be remembered for half a minute. */
        if (vm->reports == 0) {
                vm->reports++;
                return;
        }
        if (is_too_vague(vm, now_usec)) {
                vm->reports += vm->reports < MLG_VM_REPORTS_NEEDED - 1; /* one that says more will do then */
                return;
        }
        if (hides_a_rise(vm, now_usec))
                return;
        judge(vm, s, now_usec);
        foresee(vm, s);
        vm->learns_from_usec = vm->learns_from_usec ? vm->learns_from_usec : now_usec;
        vm->learns_to_usec = now_usec;
        begin_judging(vm, now_usec);
        take_rise(vm, s, now_usec);
        if (vm->reports < UINT32_MAX)
                vm->reports++;
}

void mlg_vm_goes_on_rising(MlgVm *vm, uint64_t now_usec) {
        take_forecast(vm, vm->settings.horizon_usec + unheard_usec(vm, now_usec));
}
