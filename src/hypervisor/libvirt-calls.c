/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-calls: see libvirt-calls.h.
 *
 * libvirt keeps the last error of each thread, and nearly every call, even one that only frees something,
 * forgets it first: fail() takes it right behind the call that failed.
 *
 * libvirtd is trusted to speak its protocol, not to be sensible: types and ranges of all values are checked.
 */
#include "hypervisor/libvirt-calls.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "hypervisor/libvirt-xml.h"
#include "util/util.h"

/* As libvirt's own programs have it: a libvirtd that hangs is given up after 5 s * (5 + 1). */
#define KEEPALIVE_SEC 5
#define KEEPALIVE_COUNT 5


struct MlgLibvirtContext {
        char *uri;
        virConnectPtr connection;
        bool no_nowait; /* the driver refuses NOWAIT (test:///) */
};

typedef int (*CallFn)(MlgLibvirtContext *c, void *args, char **ret_why);

static void be_silent(void *userdata, virErrorPtr error) {
        /* libvirt prints to stderr otherwise; errors are read where they happen */
}

void mlg_libvirt_calls_init(void) {
        (void) virInitialize();
        virSetErrorFunc(NULL, be_silent);
        mlg_domain_xml_init();
}

MlgLibvirtContext *mlg_libvirt_context_new(const char *uri) {
        MlgLibvirtContext *c = g_new0(MlgLibvirtContext, 1);

        c->uri = g_strdup(uri);
        return c;
}

static void context_disconnect(MlgLibvirtContext *c) {
        if (c->connection)
                (void) virConnectClose(c->connection);
        c->connection = NULL;
}

void mlg_libvirt_context_free(MlgLibvirtContext *c) {
        if (!c)
                return;
        context_disconnect(c);
        g_free(c->uri);
        g_free(c);
}

void mlg_libvirt_keep_alive(void *connection) {
        /* Refused by drivers that have no connection to keep. */
        (void) virConnectSetKeepAlive(connection, KEEPALIVE_SEC, KEEPALIVE_COUNT);
}

static int error_to_errno(int code) {
        switch (code) {
        case VIR_ERR_NO_DOMAIN:
        case VIR_ERR_OPERATION_INVALID:
                return -ENODEV;
        case VIR_ERR_NO_SUPPORT:
        case VIR_ERR_OPERATION_UNSUPPORTED:
        case VIR_ERR_CONFIG_UNSUPPORTED:
        case VIR_ERR_ARGUMENT_UNSUPPORTED:
                return -EOPNOTSUPP;
        case VIR_ERR_OPERATION_TIMEOUT:
                return -ETIMEDOUT;
        case VIR_ERR_INVALID_ARG:
                return -ERANGE;
        case VIR_ERR_ACCESS_DENIED:
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_AUTH_UNAVAILABLE:
        case VIR_ERR_OPERATION_DENIED:
                return -EACCES;
        default: /* the codes are libvirt's, and grow */
                return -EIO;
        }
}

/* Code and text of the call that failed just now. */
static int fail(char **ret_why) {
        g_free(*ret_why);
        *ret_why = g_strdup(virGetLastErrorMessage());
        return error_to_errno(virGetLastErrorCode());
}

static int context_connect(MlgLibvirtContext *c, char **ret_why) {
        if (c->connection && virConnectIsAlive(c->connection) == 1)
                return 0;
        context_disconnect(c);
        c->connection = virConnectOpen(c->uri);
        if (!c->connection) {
                (void) fail(ret_why);
                return -ENOTCONN;
        }
        mlg_libvirt_keep_alive(c->connection);
        return 0;
}

/* Runs fn with a living connection. A connection that dies in the call is opened once more and the call is
 * made again: after a restart of libvirtd each thread finds its connection dead in the middle of the next
 * call. All calls here may be made twice. */
static int with_connection(MlgLibvirtContext *c, CallFn fn, void *args, char **ret_why) {
        int r = -ENOTCONN;

        for (int attempt = 0; attempt < 2; attempt++) {
                g_clear_pointer(ret_why, g_free);
                r = context_connect(c, ret_why);
                if (r < 0)
                        break;
                r = fn(c, args, ret_why);
                if (r >= 0)
                        return r;
                if (virConnectIsAlive(c->connection) == 1)
                        break;
                r = -ENOTCONN;
        }
        if (!*ret_why) /* not libvirt's */
                *ret_why = g_strdup(g_strerror(-r));
        return r;
}

static MlgRunState to_run_state(int state) {
        switch (state) {
        case VIR_DOMAIN_RUNNING:
        case VIR_DOMAIN_BLOCKED:
                return MLG_RUN_RUNNING;
        case VIR_DOMAIN_PAUSED:
        case VIR_DOMAIN_PMSUSPENDED:
                return MLG_RUN_PAUSED;
        case VIR_DOMAIN_SHUTDOWN:
                return MLG_RUN_SHUTTING_DOWN;
        case VIR_DOMAIN_SHUTOFF:
                return MLG_RUN_OFF;
        case VIR_DOMAIN_CRASHED:
                return MLG_RUN_CRASHED;
        default: /* the states are libvirt's */
                return MLG_RUN_UNKNOWN;
        }
}

/* What the state alone tells of a migration: the guest waits for its memory, or fetches it while it runs. */
static bool state_is_migration(int state, int reason) {
        if (state == VIR_DOMAIN_PAUSED)
                return reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_POSTCOPY ||
                       reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED;
        if (state == VIR_DOMAIN_RUNNING)
                return reason == VIR_DOMAIN_RUNNING_POSTCOPY || reason == VIR_DOMAIN_RUNNING_POSTCOPY_FAILED;
        return false;
}

static uint32_t instance_of(virDomainPtr domain) {
        unsigned int id = virDomainGetID(domain); /* local: no call */

        return id == (unsigned int) -1 ? 0 : id;
}

static int read_domain(virDomainPtr domain, MlgGuestInfo *ret, char **ret_why) {
        int state, reason, r;
        char *xml;

        if (virDomainGetState(domain, &state, &reason, 0) < 0)
                return fail(ret_why);
        xml = virDomainGetXMLDesc(domain, 0);
        if (!xml)
                return fail(ret_why);
        r = mlg_domain_xml_parse(xml, strlen(xml), ret);
        free(xml);
        if (r < 0)
                return r;
        ret->run_state = to_run_state(state);
        if (ret->run_state == MLG_RUN_OFF)
                ret->instance = 0;
        ret->migrating = state_is_migration(state, reason);
        return 0;
}

int mlg_libvirt_list(void *connection, GArray **ret, char **ret_why) {
        g_autoptr(GArray) infos = NULL;
        virDomainPtr *domains = NULL;
        int n;

        n = virConnectListAllDomains(connection, &domains, 0);
        if (n < 0) {
                int r = fail(ret_why);

                return virConnectIsAlive(connection) == 1 ? r : -ENOTCONN;
        }
        infos = g_array_sized_new(FALSE, FALSE, sizeof(MlgGuestInfo), (guint) n);
        for (int i = 0; i < n; i++) {
                g_autofree char *why = NULL;
                MlgGuestInfo info;

                /* A guest that goes away meanwhile, or has a definition that cannot be read, is not there.
                 */
                if (read_domain(domains[i], &info, &why) >= 0)
                        g_array_append_val(infos, info);
                (void) virDomainFree(domains[i]);
        }
        free(domains);
        if (virConnectIsAlive(connection) != 1) {
                *ret_why = g_strdup("the connection was lost while the guests were listed");
                return -ENOTCONN;
        }
        *ret = g_steal_pointer(&infos);
        return 0;
}

static bool param_u64(const virTypedParameter *p, uint64_t *ret) {
        switch (p->type) {
        case VIR_TYPED_PARAM_ULLONG:
                *ret = p->value.ul;
                return true;
        case VIR_TYPED_PARAM_UINT:
                *ret = p->value.ui;
                return true;
        case VIR_TYPED_PARAM_LLONG:
                *ret = (uint64_t) p->value.l;
                return p->value.l >= 0;
        case VIR_TYPED_PARAM_INT:
                *ret = (uint64_t) p->value.i;
                return p->value.i >= 0;
        default: /* the types are libvirt's; no number of ours has another one */
                return false;
        }
}

static const struct {
        const char *name; /* behind "balloon." */
        MlgHave have;
        size_t offset;
        bool from_qemu; /* libvirtd does not know it by itself */
} balloon_fields[] = {
        { "current", MLG_HAVE_ACTUAL, offsetof(MlgRawStats, actual_kib), false },
        { "maximum", MLG_HAVE_MAXIMUM, offsetof(MlgRawStats, maximum_kib), false },
        { "swap_in", MLG_HAVE_SWAP_IN, offsetof(MlgRawStats, swap_in_kib), true },
        { "swap_out", MLG_HAVE_SWAP_OUT, offsetof(MlgRawStats, swap_out_kib), true },
        { "major_fault", MLG_HAVE_MAJOR_FAULTS, offsetof(MlgRawStats, major_faults), true },
        { "minor_fault", MLG_HAVE_MINOR_FAULTS, offsetof(MlgRawStats, minor_faults), true },
        { "unused", MLG_HAVE_UNUSED, offsetof(MlgRawStats, unused_kib), true },
        { "available", MLG_HAVE_TOTAL, offsetof(MlgRawStats, total_kib), true },
        { "usable", MLG_HAVE_USABLE, offsetof(MlgRawStats, usable_kib), true },
        { "disk_caches", MLG_HAVE_CACHES, offsetof(MlgRawStats, caches_kib), true },
        { "last-update", MLG_HAVE_LAST_UPDATE, offsetof(MlgRawStats, last_update_sec), true },
        /* Read from /proc by libvirtd, but only when it may talk to QEMU. */
        { "rss", MLG_HAVE_RSS, offsetof(MlgRawStats, rss_kib), true },
};

static void take_balloon_field(const char *name, uint64_t value, MlgLibvirtRecord *record) {
        for (size_t i = 0; i < G_N_ELEMENTS(balloon_fields); i++) {
                if (strcmp(name, balloon_fields[i].name) != 0)
                        continue;
                memcpy((char *) &record->raw + balloon_fields[i].offset, &value, sizeof(value));
                record->raw.have |= balloon_fields[i].have;
                record->answered |= balloon_fields[i].from_qemu;
                return;
        }
}

static void take_record(const virDomainStatsRecord *from, MlgLibvirtRecord *record) {
        uint64_t value, state = VIR_DOMAIN_NOSTATE, reason = 0;

        for (int i = 0; i < from->nparams; i++) {
                const virTypedParameter *p = &from->params[i];

                if (!param_u64(p, &value))
                        continue;
                if (g_str_has_prefix(p->field, "balloon."))
                        take_balloon_field(p->field + strlen("balloon."), value, record);
                else if (strcmp(p->field, "state.state") == 0 && value <= INT_MAX) {
                        state = value;
                        record->raw.have |= MLG_HAVE_RUN_STATE;
                } else if (strcmp(p->field, "state.reason") == 0 && value <= INT_MAX)
                        reason = value;
        }
        record->raw.run_state = to_run_state((int) state);
        record->raw.actual_age_usec = MLG_LIBVIRT_EVENT_USEC;
        record->migrating = state_is_migration((int) state, (int) reason);
}

static GArray *take_records(virDomainStatsRecordPtr *from, int n) {
        GArray *records = g_array_sized_new(FALSE, FALSE, sizeof(MlgLibvirtRecord), (guint) n);

        for (int i = 0; i < n; i++) {
                MlgLibvirtRecord record = {};

                if (virDomainGetUUIDString(from[i]->dom, record.uuid) < 0)
                        continue;
                record.instance = instance_of(from[i]->dom);
                take_record(from[i], &record);
                g_array_append_val(records, record);
        }
        return records;
}

static int call_poll(MlgLibvirtContext *c, void *args, char **ret_why) {
        unsigned int stats = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_BALLOON; /* all: 13 times as much */
        unsigned int flags = VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE;
        virDomainStatsRecordPtr *records = NULL;
        GArray **ret = args;
        int n;

        if (!c->no_nowait)
                flags |= VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        n = virConnectGetAllDomainStats(c->connection, stats, &records, flags);
        if (n < 0 && !c->no_nowait && virGetLastErrorCode() == VIR_ERR_INVALID_ARG) {
                c->no_nowait = true;
                return call_poll(c, args, ret_why);
        }
        if (n < 0)
                return fail(ret_why);
        *ret = take_records(records, n);
        virDomainStatsRecordListFree(records);
        return 0;
}

int mlg_libvirt_poll(MlgLibvirtContext *c, GArray **ret, char **ret_why) {
        return with_connection(c, call_poll, ret, ret_why);
}

/* Arguments of the calls on one guest. */
typedef struct GuestCall {
        const char *uuid;
        int (*fn)(virDomainPtr domain, const struct GuestCall *call, char **ret_why);
        uint64_t value;
        const char *text;
        void *ret;
} GuestCall;

static int call_guest(MlgLibvirtContext *c, void *args, char **ret_why) {
        const GuestCall *call = args;
        virDomainPtr domain = virDomainLookupByUUIDString(c->connection, call->uuid);
        int r;

        if (!domain)
                return fail(ret_why);
        r = call->fn(domain, call, ret_why);
        (void) virDomainFree(domain);
        return r;
}

static int guest_read(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        return read_domain(domain, call->ret, ret_why);
}

/* "Operation invalid" is libvirt's answer for a guest that is off, and for one whose balloon has no driver.
 */
static int tell_apart(virDomainPtr domain, char **ret_why) {
        bool invalid = virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID;
        int r = fail(ret_why);

        if (!invalid)
                return r;
        return virDomainIsActive(domain) == 1 ? -EOPNOTSUPP : r;
}

static int guest_set_target(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        if (virDomainSetMemoryFlags(domain, (unsigned long) call->value, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return tell_apart(domain, ret_why);
        return 0;
}

static int guest_set_plugged(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        g_autoptr(GPtrArray) devices = NULL;
        char *xml = virDomainGetXMLDesc(domain, 0);
        int r;

        if (!xml)
                return fail(ret_why);
        r = mlg_domain_xml_resize(xml, strlen(xml), call->value, &devices);
        free(xml);
        if (r < 0)
                return r;
        for (guint i = 0; i < devices->len; i++)
                if (virDomainUpdateDeviceFlags(domain, devices->pdata[i], VIR_DOMAIN_AFFECT_LIVE) < 0)
                        return fail(ret_why);
        return 0;
}

static int guest_set_stats_period(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        if (virDomainSetMemoryStatsPeriod(domain, (int) call->value, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return tell_apart(domain, ret_why);
        return 0;
}

static int guest_attach(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        return virDomainAttachDeviceFlags(domain, call->text, VIR_DOMAIN_AFFECT_LIVE) < 0 ? fail(ret_why) : 0;
}

static int guest_detach(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        return virDomainDetachDeviceFlags(domain, call->text, VIR_DOMAIN_AFFECT_LIVE) < 0 ? fail(ret_why) : 0;
}

/* libvirt has one code for all errors that an agent answers with, and it is one of libvirt's own mistakes. */
static int guest_ask_agent(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        char *answer = virDomainQemuAgentCommand(domain, call->text, (int) call->value, 0);
        bool says_no = !answer && virGetLastErrorCode() == VIR_ERR_INTERNAL_ERROR;
        int r;

        if (!answer) {
                r = fail(ret_why);
                return says_no ? -ENOENT : r;
        }
        *(char **) call->ret = g_strdup(answer);
        free(answer);
        return 0;
}

static const struct {
        virDomainMemoryStatTags tag;
        MlgHave have;
        size_t offset;
} memory_stats[] = {
        { VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, MLG_HAVE_ACTUAL, offsetof(MlgRawStats, actual_kib) },
        { VIR_DOMAIN_MEMORY_STAT_SWAP_IN, MLG_HAVE_SWAP_IN, offsetof(MlgRawStats, swap_in_kib) },
        { VIR_DOMAIN_MEMORY_STAT_SWAP_OUT, MLG_HAVE_SWAP_OUT, offsetof(MlgRawStats, swap_out_kib) },
        { VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT, MLG_HAVE_MAJOR_FAULTS, offsetof(MlgRawStats, major_faults) },
        { VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT, MLG_HAVE_MINOR_FAULTS, offsetof(MlgRawStats, minor_faults) },
        { VIR_DOMAIN_MEMORY_STAT_UNUSED, MLG_HAVE_UNUSED, offsetof(MlgRawStats, unused_kib) },
        { VIR_DOMAIN_MEMORY_STAT_AVAILABLE, MLG_HAVE_TOTAL, offsetof(MlgRawStats, total_kib) },
        { VIR_DOMAIN_MEMORY_STAT_USABLE, MLG_HAVE_USABLE, offsetof(MlgRawStats, usable_kib) },
        { VIR_DOMAIN_MEMORY_STAT_DISK_CACHES, MLG_HAVE_CACHES, offsetof(MlgRawStats, caches_kib) },
        { VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE, MLG_HAVE_LAST_UPDATE, offsetof(MlgRawStats, last_update_sec) },
        { VIR_DOMAIN_MEMORY_STAT_RSS, MLG_HAVE_RSS, offsetof(MlgRawStats, rss_kib) },
};

static int guest_look(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR];
        MlgRawStats *raw = call->ret;
        int n;

        n = virDomainMemoryStats(domain, stats, VIR_DOMAIN_MEMORY_STAT_NR, 0);
        if (n < 0)
                return fail(ret_why);
        *raw = (MlgRawStats) {};
        for (int i = 0; i < n; i++)
                for (size_t j = 0; j < G_N_ELEMENTS(memory_stats); j++) {
                        uint64_t value = stats[i].val;

                        if (stats[i].tag != (int) memory_stats[j].tag)
                                continue;
                        memcpy((char *) raw + memory_stats[j].offset, &value, sizeof(value));
                        raw->have |= memory_stats[j].have;
                }
        return 0;
}

static int guest_has_job(virDomainPtr domain, const GuestCall *call, char **ret_why) {
        virDomainJobInfo info = {};

        if (virDomainGetJobInfo(domain, &info) < 0)
                return fail(ret_why);
        *(bool *) call->ret = info.type == VIR_DOMAIN_JOB_BOUNDED || info.type == VIR_DOMAIN_JOB_UNBOUNDED;
        return 0;
}

int mlg_libvirt_read(MlgLibvirtContext *c, const char *uuid, MlgGuestInfo *ret, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_read, .ret = ret };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_look(MlgLibvirtContext *c, const char *uuid, MlgRawStats *ret, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_look, .ret = ret };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_set_target(MlgLibvirtContext *c, const char *uuid, uint64_t kib, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_set_target, .value = kib };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_set_plugged(MlgLibvirtContext *c, const char *uuid, uint64_t kib, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_set_plugged, .value = kib };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_set_stats_period(MlgLibvirtContext *c, const char *uuid, uint32_t sec, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_set_stats_period, .value = sec };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_attach(MlgLibvirtContext *c, const char *uuid, const char *xml, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_attach, .text = xml };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_detach(MlgLibvirtContext *c, const char *uuid, const char *xml, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_detach, .text = xml };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_ask_agent(MlgLibvirtContext *c, const char *uuid, const char *command, int timeout_sec, char **ret,
                          char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_ask_agent, .value = (uint64_t) timeout_sec, .text = command, .ret = ret };

        return with_connection(c, call_guest, &call, ret_why);
}

int mlg_libvirt_has_job(MlgLibvirtContext *c, const char *uuid, bool *ret, char **ret_why) {
        GuestCall call = { .uuid = uuid, .fn = guest_has_job, .ret = ret };

        return with_connection(c, call_guest, &call, ret_why);
}
