/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-xml: see libvirt-xml.h. One walk over the tree of libxml2; each fact has one function. */
#include "hypervisor/libvirt-xml.h"

#include <errno.h>
#include <string.h>

#include <glib.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#include "memlego/monitor-proto.h"
#include "memlego/shmem.h"
#include "memlego/names.h"
#include "util/parse.h"
#include "util/util.h"

/* Large guests have some 50 KiB; libvirt itself carries at most 4 MiB in one string. */
#define XML_MAX (4 * 1024 * 1024)

#define PARSE_OPTIONS (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA)

void mlg_domain_xml_init(void) {
        xmlInitParser();
}

static bool is_element(const xmlNode *n, const char *name) {
        return n->type == XML_ELEMENT_NODE && strcmp((const char *) n->name, name) == 0;
}

/* First child element of that name in no namespace, or NULL. */
static const xmlNode *child(const xmlNode *parent, const char *name) {
        for (const xmlNode *n = parent ? parent->children : NULL; n; n = n->next)
                if (is_element(n, name) && !n->ns)
                        return n;
        return NULL;
}

static char *attribute(const xmlNode *n, const char *name) {
        xmlChar *value = n ? xmlGetNoNsProp(n, (const xmlChar *) name) : NULL;
        char *copy = g_strdup((const char *) value);

        xmlFree(value);
        return copy;
}

static bool attribute_is(const xmlNode *n, const char *name, const char *value) {
        g_autofree char *found = attribute(n, name);

        return found && strcmp(found, value) == 0;
}

static char *text(const xmlNode *n) {
        xmlChar *value = n ? xmlNodeGetContent(n) : NULL;
        char *copy = g_strdup((const char *) value);

        xmlFree(value);
        return copy ? g_strstrip(copy) : NULL;
}

/* As virDomain does it: no unit is KiB; "KB" is 1000, "K" and "KiB" are 1024. Rounded up to KiB. */
static int memory_kib(const xmlNode *n, uint64_t *ret) {
        static const struct {
                const char *unit;
                uint64_t bytes;
        } units[] = {
                { "b", 1 }, { "bytes", 1 },
                { "KB", 1000 }, { "k", 1024 }, { "K", 1024 }, { "KiB", 1024 },
                { "MB", 1000000 }, { "m", 1024 * 1024 }, { "M", 1024 * 1024 }, { "MiB", 1024 * 1024 },
                { "GB", 1000000000 }, { "g", 1 << 30 }, { "G", 1 << 30 }, { "GiB", 1 << 30 },
                { "TB", 1000000000000 }, { "T", UINT64_C(1) << 40 }, { "TiB", UINT64_C(1) << 40 },
        };
        g_autofree char *unit = attribute(n, "unit");
        g_autofree char *number = text(n);
        uint64_t value, bytes;
        int r;

        if (!number)
                return -EBADMSG;
        r = mlg_parse_u64(number, 0, UINT64_MAX, &value);
        if (r < 0)
                return -EBADMSG;
        for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
                if (strcmp(unit ?: "KiB", units[i].unit) != 0)
                        continue;
                if (__builtin_mul_overflow(value, units[i].bytes, &bytes))
                        return -EBADMSG;
                *ret = bytes / 1024 + (bytes % 1024 > 0);
                return 0;
        }
        return -EBADMSG;
}

/* Copies at most size - 1 bytes, cut between characters; control characters become '?', for logs and
 * terminals. */
static void copy_name(const char *from, char *to, size_t size) {
        size_t n = strlen(from);

        if (n >= size)
                n = (size_t) (g_utf8_find_prev_char(from, from + size) - from);
        memcpy(to, from, n);
        to[n] = '\0';
        for (size_t i = 0; i < n; i++)
                if (g_ascii_iscntrl(to[i]))
                        to[i] = '?';
}

static bool label_is_good(const char *label) {
        for (const char *c = label; *c; c++)
                if (g_ascii_iscntrl(*c))
                        return false;
        return label[0] != '\0';
}

/* Single blanks between; labels that do not fit any more are left out, none is cut. */
static void copy_labels(const char *from, char *to, size_t size) {
        g_auto(GStrv) labels = g_strsplit_set(from, " \t\r\n", -1);
        size_t n = 0;

        for (char **label = labels; *label; label++) {
                size_t len = strlen(*label);

                if (!label_is_good(*label) || len + 1 > size - n - (n > 0))
                        continue;
                if (n > 0)
                        to[n++] = ' ';
                memcpy(to + n, *label, len + 1);
                n += len;
        }
        to[n] = '\0';
}

static void read_labels(const xmlNode *domain, MlgGuestInfo *ret) {
        const xmlNode *metadata = child(domain, "metadata");

        for (const xmlNode *n = metadata ? metadata->children : NULL; n; n = n->next) {
                g_autofree char *labels = NULL;

                if (!is_element(n, "guest") || !n->ns)
                        continue;
                if (strcmp((const char *) n->ns->href, MLG_METADATA_URI) != 0)
                        continue;
                labels = attribute(n, "labels");
                if (labels)
                        copy_labels(labels, ret->labels, sizeof(ret->labels));
                return;
        }
}

static int read_identity(const xmlNode *domain, MlgGuestInfo *ret) {
        g_autofree char *uuid = text(child(domain, "uuid"));
        g_autofree char *name = text(child(domain, "name"));
        g_autofree char *id = attribute(domain, "id");
        uint64_t instance = 0;

        if (!uuid || !g_uuid_string_is_valid(uuid) || !name || name[0] == '\0')
                return -EBADMSG;
        if (id && mlg_parse_u64(id, 0, UINT32_MAX, &instance) < 0)
                return -EBADMSG;
        (void) g_strlcpy(ret->uuid, uuid, sizeof(ret->uuid));
        for (char *c = ret->uuid; *c; c++)
                *c = g_ascii_tolower(*c);
        copy_name(name, ret->name, sizeof(ret->name));
        ret->instance = (uint32_t) instance;
        return 0;
}

static int read_memory(const xmlNode *domain, MlgGuestInfo *ret) {
        const xmlNode *backing = child(domain, "memoryBacking");
        int r;

        r = memory_kib(child(domain, "memory"), &ret->maximum_kib);
        if (r < 0)
                return r;
        ret->locked = child(backing, "locked") != NULL;
        ret->hugepages = child(backing, "hugepages") != NULL;
        return 0;
}

/* SEV, SEV-SNP, TDX, Secure Execution, and whatever comes next: QEMU keeps from discarding memory in all of
 * them, so a balloon wins nothing. */
static void read_security(const xmlNode *domain, MlgGuestInfo *ret) {
        ret->confidential = child(domain, "launchSecurity") != NULL;
}

static void read_balloon(const xmlNode *balloon, MlgGuestInfo *ret) {
        g_autofree char *period = attribute(child(balloon, "stats"), "period");
        uint64_t sec = 0;

        ret->has_balloon = !attribute_is(balloon, "model", "none");
        if (!ret->has_balloon)
                return;
        ret->autodeflate = attribute_is(balloon, "autodeflate", "on");
        ret->free_page_reporting = attribute_is(balloon, "freePageReporting", "on");
        if (period && mlg_parse_u64(period, 0, INT32_MAX, &sec) >= 0)
                ret->stats_period_sec = (uint32_t) sec;
}

/* Devices through which hardware writes to the guest's memory: all of it is pinned, a balloon would win
 * nothing and may break them. A kind of host device that is not known counts as one. */
static bool pins_memory(const xmlNode *device) {
        if (is_element(device, "hostdev"))
                return !attribute_is(device, "type", "usb") && !attribute_is(device, "type", "scsi") &&
                       !attribute_is(device, "type", "scsi_host") &&
                       !attribute_is(device, "mode", "capabilities");
        if (is_element(device, "interface"))
                return attribute_is(device, "type", "hostdev") || attribute_is(device, "type", "vdpa");
        if (is_element(device, "disk"))
                return attribute_is(device, "type", "nvme") || attribute_is(device, "type", "vhostvdpa");
        return false;
}

/* --- virtio-mem; the head of libvirt-private.h says which sizes libvirt counts it in --- */

typedef struct MemoryDevice {
        uint64_t size_kib, block_kib, requested_kib, current_kib;
} MemoryDevice;

static bool is_virtio_mem(const xmlNode *device) {
        return is_element(device, "memory") && attribute_is(device, "model", "virtio-mem");
}

/* False: it has no such sizes as QEMU gives one. Only a running guest's have a current size. */
static bool read_memory_device(const xmlNode *device, bool active, MemoryDevice *ret) {
        const xmlNode *target = child(device, "target");
        const xmlNode *current = child(target, "current");

        *ret = (MemoryDevice) {};
        if (memory_kib(child(target, "size"), &ret->size_kib) < 0 ||
            memory_kib(child(target, "block"), &ret->block_kib) < 0 ||
            memory_kib(child(target, "requested"), &ret->requested_kib) < 0)
                return false;
        if ((active || current) && memory_kib(current, &ret->current_kib) < 0)
                return false;
        return ret->block_kib > 0 && ret->size_kib >= ret->block_kib && ret->requested_kib <= ret->size_kib &&
               ret->current_kib <= ret->size_kib;
}

/* <currentMemory> counts what the devices have too; after a reset of the guest libvirt 9 has counted that twice. */
static void read_rest(const xmlNode *domain, MlgGuestInfo *ret) {
        uint64_t current;

        ret->rest_kib = ret->base_kib;
        if (memory_kib(child(domain, "currentMemory"), &current) >= 0 && current > ret->plugged_kib)
                ret->rest_kib = mlg_min(ret->rest_kib, current - ret->plugged_kib);
}

static void read_memory_devices(const xmlNode *domain, MlgGuestInfo *ret) {
        const xmlNode *devices = child(domain, "devices");
        uint64_t size_kib = 0, granule_kib = 0;
        bool good = true;

        for (const xmlNode *n = devices ? devices->children : NULL; n; n = n->next) {
                MemoryDevice d;

                if (!is_virtio_mem(n))
                        continue;
                ret->virtio_mem = true;
                good &= read_memory_device(n, ret->instance > 0, &d);
                size_kib = mlg_add_sat(size_kib, d.size_kib);
                granule_kib = mlg_max(granule_kib, d.block_kib);
                ret->plugged_kib = mlg_add_sat(ret->plugged_kib, d.current_kib);
                ret->requested_kib = mlg_add_sat(ret->requested_kib, d.requested_kib);
        }
        if (!ret->virtio_mem || !good || size_kib >= ret->maximum_kib) { /* <memory> is the sum of all */
                ret->plugged_kib = ret->requested_kib = 0;
                return;
        }
        ret->granule_kib = granule_kib;
        ret->base_kib = ret->maximum_kib - size_kib;
        read_rest(domain, ret);
}

/* The channel of the QEMU guest agent, and that of the monitor: only a socket that QEMU itself serves. */
static void read_channel(const xmlNode *channel, MlgGuestInfo *ret) {
        const xmlNode *target = child(channel, "target"), *source = child(channel, "source");
        g_autofree char *path = attribute(source, "path");

        ret->agent |= attribute_is(target, "name", "org.qemu.guest_agent.0") && attribute_is(target, "state", "connected");
        if (!attribute_is(channel, "type", "unix") || !attribute_is(target, "type", "virtio") ||
            !attribute_is(target, "name", MLG_MONITOR_PORT) || attribute_is(source, "mode", "connect") || !path)
                return;
        if (path[0] == '/' && strlen(path) < sizeof(ret->monitor_path))
                (void) g_strlcpy(ret->monitor_path, path, sizeof(ret->monitor_path));
}

/* Where the server of this device is to be noted; NULL: it is none of ours, or there are too many. */
static char *place_of_shmem(const xmlNode *shmem, MlgGuestInfo *ret) {
        size_t n = 0;

        if (attribute_is(shmem, "name", MLG_SWAP_DEVICE))
                return ret->swap_path[0] ? NULL : ret->swap_path;
        while (n < MLG_PIPE_DEVICES_MAX && ret->pipe_paths[n][0])
                n++;
        return n < MLG_PIPE_DEVICES_MAX && attribute_is(shmem, "name", MLG_PIPE_DEVICE) ? ret->pipe_paths[n] : NULL;
}

static void read_shmem(const xmlNode *shmem, MlgGuestInfo *ret) {
        g_autofree char *path = attribute(child(shmem, "server"), "path");
        char *place = place_of_shmem(shmem, ret);

        if (place && attribute_is(child(shmem, "model"), "type", "ivshmem-doorbell") && path && path[0] == '/' &&
            strlen(path) <= MLG_MONITOR_PATH_MAX)
                (void) g_strlcpy(place, path, MLG_MONITOR_PATH_MAX + 1);
}

static void read_devices(const xmlNode *domain, MlgGuestInfo *ret) {
        const xmlNode *devices = child(domain, "devices");
        const xmlNode *balloon = child(devices, "memballoon");

        if (balloon)
                read_balloon(balloon, ret);
        for (const xmlNode *n = devices ? devices->children : NULL; n; n = n->next) {
                ret->vfio |= pins_memory(n);
                ret->virtio_serial |= is_element(n, "controller") && attribute_is(n, "type", "virtio-serial");
                if (is_element(n, "channel"))
                        read_channel(n, ret);
                if (is_element(n, "shmem"))
                        read_shmem(n, ret);
        }
}

static int read_domain(const xmlNode *domain, MlgGuestInfo *ret) {
        MlgGuestInfo info;
        int r;

        memset(&info, 0, sizeof(info)); /* padding too: the adapter compares infos as bytes */
        if (!domain || !is_element(domain, "domain"))
                return -EBADMSG;
        r = read_identity(domain, &info);
        if (r < 0)
                return r;
        r = read_memory(domain, &info);
        if (r < 0)
                return r;
        read_security(domain, &info);
        read_devices(domain, &info);
        read_memory_devices(domain, &info);
        read_labels(domain, &info);
        memcpy(ret, &info, sizeof(info));
        return 0;
}

/* Ends the parsing at <!DOCTYPE: before any entity is declared. */
static void refuse_doctype(void *userdata, const xmlChar *name, const xmlChar *id, const xmlChar *uri) {
        xmlStopParser(userdata);
}

static int parse(const char *xml, size_t len, xmlDoc **ret) {
        xmlParserCtxt *parser;
        xmlDoc *doc;
        int r = -EBADMSG;

        if (len > XML_MAX)
                return -E2BIG;
        if (len == 0)
                return -EBADMSG;
        parser = xmlNewParserCtxt();
        if (!parser)
                return -ENOMEM;
        parser->sax->internalSubset = refuse_doctype;
        doc = xmlCtxtReadMemory(parser, xml, (int) len, NULL, NULL, PARSE_OPTIONS);
        if (doc && parser->wellFormed) {
                *ret = g_steal_pointer(&doc);
                r = 0;
        }
        xmlFreeDoc(doc);
        xmlFreeParserCtxt(parser);
        return r;
}

int mlg_domain_xml_parse(const char *xml, size_t len, MlgGuestInfo *ret) {
        xmlDoc *doc;
        int r;

        r = parse(xml, len, &doc);
        if (r < 0)
                return r;
        r = read_domain(xmlDocGetRootElement(doc), ret);
        xmlFreeDoc(doc);
        return r;
}

/* --- resizing --- */

static char *print(const xmlNode *n) {
        xmlBuffer *buffer = xmlBufferCreate();
        char *copy = NULL;

        if (buffer && xmlNodeDump(buffer, n->doc, (xmlNode *) n, 0, 0) >= 0)
                copy = g_strdup((const char *) xmlBufferContent(buffer));
        xmlBufferFree(buffer);
        return copy;
}

static char *print_requesting(const xmlNode *device, uint64_t kib) {
        xmlNode *requested = (xmlNode *) child(child(device, "target"), "requested");
        g_autofree char *number = g_strdup_printf("%" G_GUINT64_FORMAT, kib);

        xmlNodeSetContent(requested, (const xmlChar *) number);
        (void) xmlSetProp(requested, (const xmlChar *) "unit", (const xmlChar *) "KiB");
        return print(device);
}

/* What this one takes of `*more` and `*less`, in whole blocks. */
static uint64_t take_change(const MemoryDevice *d, uint64_t *more, uint64_t *less) {
        uint64_t grow = mlg_min(*more, d->size_kib - d->requested_kib);
        uint64_t shrink = mlg_min(*less, d->requested_kib);

        grow -= grow % d->block_kib;
        shrink -= shrink % d->block_kib;
        *more -= grow;
        *less -= shrink;
        return d->requested_kib + grow - shrink;
}

static int resize(const xmlNode *domain, uint64_t target_kib, GPtrArray *texts) {
        const xmlNode *devices = child(domain, "devices");
        uint64_t want, more, less;
        MlgGuestInfo info;
        int r;

        r = read_domain(domain, &info);
        if (r < 0)
                return r;
        if (mlg_guest_actuator(&info) != MLG_ACTUATOR_VIRTIO_MEM)
                return -EOPNOTSUPP;
        want = mlg_min(mlg_sub_sat(target_kib, info.rest_kib), info.maximum_kib - info.base_kib);
        want -= want % info.granule_kib;
        more = mlg_sub_sat(want, info.requested_kib);
        less = mlg_sub_sat(info.requested_kib, want);
        for (const xmlNode *n = more > 0 ? devices->children : devices->last; n && more + less > 0;
             n = more > 0 ? n->next : n->prev) {
                MemoryDevice d;
                uint64_t kib;

                if (!is_virtio_mem(n) || !read_memory_device(n, info.instance > 0, &d))
                        continue;
                kib = take_change(&d, &more, &less);
                if (kib != d.requested_kib)
                        g_ptr_array_add(texts, print_requesting(n, kib));
        }
        return 0;
}

int mlg_domain_xml_resize(const char *xml, size_t len, uint64_t target_kib, GPtrArray **ret) {
        g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
        xmlDoc *doc;
        int r;

        r = parse(xml, len, &doc);
        if (r < 0)
                return r;
        r = resize(xmlDocGetRootElement(doc), target_kib, texts);
        xmlFreeDoc(doc);
        if (r >= 0)
                *ret = g_steal_pointer(&texts);
        return r;
}
