/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-xml: facts from a domain as libvirt writes it, one fact at a time, and texts that must be refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hypervisor/libvirt-xml.h"
#include "memlego/names.h"
#include "util/util.h"

#define UUID "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b001"
#define HEAD "<domain type='kvm' id='7'><name>web-1</name><uuid>" UUID "</uuid>"
#define MEMORY "<memory unit='KiB'>262144</memory>"
#define GUEST(rest) HEAD MEMORY rest "</domain>"
#define DEVICES(rest) GUEST("<devices>" rest "</devices>")
#define LABELS(rest) GUEST("<metadata>" rest "</metadata>")

/* What libvirt 9 says of a running guest, shortened where it does not matter. */
static const char full[] =
        "<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "  <name>db</name>\n"
        "  <uuid>" UUID "</uuid>\n"
        "  <metadata>\n"
        "    <memlego:guest xmlns:memlego=\"" MLG_METADATA_URI "\" labels=\"db gold\"/>\n"
        "    <other:guest xmlns:other=\"http://example.org/\" labels=\"wrong\"/>\n"
        "  </metadata>\n"
        "  <maxMemory slots='16' unit='KiB'>8388608</maxMemory>\n"
        "  <memory unit='KiB'>4194304</memory>\n"
        "  <currentMemory unit='KiB'>2097152</currentMemory>\n"
        "  <memoryBacking><hugepages/><nosharepages/><locked/><source type='memfd'/></memoryBacking>\n"
        "  <vcpu placement='static'>2</vcpu>\n"
        "  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os>\n"
        "  <devices>\n"
        "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
        "    <disk type='file' device='disk'><source file='/x'/><target dev='vda' bus='virtio'/></disk>\n"
        "    <interface type='network'><mac address='52:54:00:00:00:01'/></interface>\n"
        "    <hostdev mode='subsystem' type='pci' managed='yes'>\n"
        "      <source><address domain='0x0000'/></source>\n"
        "    </hostdev>\n"
        "    <memballoon model='virtio' autodeflate='on' freePageReporting='on'>\n"
        "      <stats period='5'/><alias name='balloon0'/>\n"
        "    </memballoon>\n"
        "  </devices>\n"
        "  <qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>\n"
        "</domain>\n";

static int parse(const char *xml, MlgGuestInfo *ret) {
        return mlg_domain_xml_parse(xml, strlen(xml), ret);
}

static MlgGuestInfo parse_good(const char *xml) {
        MlgGuestInfo info;
        int r = parse(xml, &info);

        if (r < 0)
                fail_msg("%d for %.200s", r, xml);
        return info;
}

static void test_full(void **state) {
        MlgGuestInfo info = parse_good(full);

        assert_string_equal(info.uuid, UUID);
        assert_string_equal(info.name, "db");
        assert_string_equal(info.labels, "db gold");
        assert_int_equal(info.instance, 3);
        assert_int_equal(info.maximum_kib, 4194304);
        assert_int_equal(info.stats_period_sec, 5);
        assert_true(info.has_balloon);
        assert_true(info.autodeflate);
        assert_true(info.free_page_reporting);
        assert_true(info.vfio);
        assert_true(info.locked);
        assert_true(info.hugepages);
        assert_false(info.virtio_mem);
        assert_false(info.confidential);
        assert_false(info.migrating);
        assert_int_equal(info.run_state, MLG_RUN_UNKNOWN);
}

static void test_least(void **state) {
        MlgGuestInfo info = parse_good("<domain><name>a</name><uuid>" UUID
                                       "</uuid><memory>1024</memory></domain>");

        assert_int_equal(info.instance, 0);
        assert_int_equal(info.maximum_kib, 1024);
        assert_string_equal(info.labels, "");
        assert_false(info.has_balloon || info.autodeflate || info.free_page_reporting);
        assert_false(info.vfio || info.locked || info.hugepages);
}

static void test_units(void **state) {
        static const struct {
                const char *memory;
                uint64_t kib; /* 0: refused */
        } rows[] = {
                { "<memory>10</memory>", 10 },
                { "<memory unit='KiB'> 10\n</memory>", 10 },
                { "<memory unit='b'>1025</memory>", 2 },
                { "<memory unit='KB'>1024</memory>", 1000 },
                { "<memory unit='MiB'>3</memory>", 3072 },
                { "<memory unit='G'>2</memory>", 2097152 },
                { "<memory unit='TiB'>1</memory>", 1073741824 },
                { "<memory unit='parsec'>1</memory>", 0 },
                { "<memory unit='TiB'>99999999999</memory>", 0 },
                { "<memory>-1</memory>", 0 },
                { "<memory>1e6</memory>", 0 },
                { "<memory>18446744073709551616</memory>", 0 },
                { "<memory/>", 0 },
                { "", 0 },
                { "<x:memory xmlns:x='urn:x'>10</x:memory>", 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *xml = g_strconcat(HEAD, rows[i].memory, "</domain>", NULL);
                MlgGuestInfo info;
                int r = parse(xml, &info);

                if (rows[i].kib == 0 ? r != -EBADMSG : r != 0 || info.maximum_kib != rows[i].kib)
                        fail_msg("%s: %d", rows[i].memory, r);
        }
}

/* The device for shared memory: only one that is ours. */
static void test_pipe(void **state) {
#define SHMEM(name, model, rest) DEVICES("<shmem name='" name "'><model type='" model "'/>" rest "</shmem>")
        static const struct {
                const char *xml, *path;
        } rows[] = {
                { DEVICES(""), "" },
                { SHMEM("memlego-pipe", "ivshmem-doorbell", "<server path='/run/x.sock'/><msi vectors='1'/>"), "/run/x.sock" },
                { SHMEM("memlego-pipe", "ivshmem-doorbell", ""), "" },
                { SHMEM("memlego-pipe", "ivshmem-doorbell", "<server path='x.sock'/>"), "" },
                { SHMEM("memlego-pipe", "ivshmem-plain", "<server path='/run/x.sock'/>"), "" },
                { SHMEM("other", "ivshmem-doorbell", "<server path='/run/x.sock'/>"), "" },
        };
        g_autofree char *deep = g_strnfill(MLG_MONITOR_PATH_MAX, 'x'), *xml = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = parse_good(rows[i].xml);

                if (strcmp(info.pipe_paths[0], rows[i].path) != 0)
                        fail_msg("%s: '%s'", rows[i].xml, info.pipe_paths[0]);
        }
        assert_string_equal(parse_good(SHMEM("memlego-swap", "ivshmem-doorbell", "<server path='/run/s.sock'/>")).swap_path,
                            "/run/s.sock");
        assert_string_equal(parse_good(SHMEM("memlego-swap", "ivshmem-doorbell", "<server path='/run/s.sock'/>")).pipe_paths[0],
                            "");
        xml = g_strdup_printf(SHMEM("memlego-pipe", "ivshmem-doorbell", "<server path='/%s'/>"), deep);
        assert_string_equal(parse_good(xml).pipe_paths[0], "");
}

static void test_monitor(void **state) {
#define CHANNEL(type, source, target) DEVICES("<channel type='" type "'>" source "<target " target "/></channel>")
#define OURS "type='virtio' name='org.memlego.monitor.0' state='connected'"
        static const struct {
                const char *xml, *path;
        } rows[] = {
                { DEVICES(""), "" },
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", OURS), "/run/x" },
                { CHANNEL("unix", "<source path='/run/x'/>", OURS), "/run/x" },
                { CHANNEL("unix", "<source mode='connect' path='/run/x'/>", OURS), "" }, /* somebody else's socket */
                { CHANNEL("unix", "<source mode='bind'/>", OURS), "" }, /* of a guest that is off */
                { CHANNEL("unix", "<source mode='bind' path='x'/>", OURS), "" },
                { CHANNEL("pty", "<source path='/dev/pts/1'/>", OURS), "" },
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", "type='virtio' name='org.qemu.guest_agent.0'"), "" },
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", "type='xen' name='org.memlego.monitor.0'"), "" },
        };
        g_autofree char *deep = g_strnfill(MLG_MONITOR_PATH_MAX, 'x'), *xml = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = parse_good(rows[i].xml);

                if (strcmp(info.monitor_path, rows[i].path) != 0)
                        fail_msg("%s: '%s'", rows[i].xml, info.monitor_path);
                assert_false(info.virtio_serial);
        }
        xml = g_strdup_printf(CHANNEL("unix", "<source path='/%s'/>", OURS), deep);
        assert_string_equal(parse_good(xml).monitor_path, "");
        assert_true(parse_good(DEVICES("<controller type='virtio-serial' index='0'/>")).virtio_serial);
}

static void test_agent(void **state) {
#define AGENT "name='org.qemu.guest_agent.0' "
        static const struct {
                const char *xml;
                bool there;
        } rows[] = {
                { DEVICES(""), false },
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", AGENT "type='virtio' state='connected'"), true },
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", AGENT "type='virtio' state='disconnected'"), false },
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", AGENT "type='virtio'"), false }, /* it is off */
                { CHANNEL("unix", "<source mode='bind' path='/run/x'/>", OURS), false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                if (parse_good(rows[i].xml).agent != rows[i].there)
                        fail_msg("%s", rows[i].xml);
}

/* Infos are compared as bytes: nothing in them may follow the balloon. */
static void test_balloon_moves(void **state) {
        MlgGuestInfo full_size, half;

        assert_int_equal(parse(GUEST("<currentMemory>262144</currentMemory>"), &full_size), 0);
        assert_int_equal(parse(GUEST("<currentMemory>131072</currentMemory>"), &half), 0);
        assert_memory_equal(&full_size, &half, sizeof(half));
}

static void test_balloon(void **state) {
        static const struct {
                const char *xml;
                bool has, autodeflate, reporting;
                uint32_t period;
        } rows[] = {
                { DEVICES(""), false, false, false, 0 },
                { GUEST(""), false, false, false, 0 },
                { DEVICES("<memballoon model='none'/>"), false, false, false, 0 },
                { DEVICES("<memballoon model='none' autodeflate='on'><stats period='3'/></memballoon>"),
                  false, false, false, 0 },
                { DEVICES("<memballoon model='virtio'/>"), true, false, false, 0 },
                { DEVICES("<memballoon model='virtio-transitional'/>"), true, false, false, 0 },
                { DEVICES("<memballoon model='virtio' autodeflate='off' freePageReporting='off'/>"), true,
                  false, false, 0 },
                { DEVICES("<memballoon model='virtio' autodeflate='on'/>"), true, true, false, 0 },
                { DEVICES("<memballoon model='virtio' freePageReporting='on'/>"), true, false, true, 0 },
                { DEVICES("<memballoon model='virtio'><stats period='10'/></memballoon>"), true, false,
                  false, 10 },
                { DEVICES("<memballoon model='virtio'><stats period='-1'/></memballoon>"), true, false,
                  false, 0 },
                { DEVICES("<memballoon model='virtio'><stats period='4294967295'/></memballoon>"), true,
                  false, false, 0 },
                { DEVICES("<memballoon model='virtio'><stats/></memballoon>"), true, false, false, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = parse_good(rows[i].xml);

                if (info.has_balloon != rows[i].has || info.autodeflate != rows[i].autodeflate ||
                    info.free_page_reporting != rows[i].reporting || info.stats_period_sec != rows[i].period)
                        fail_msg("%s", rows[i].xml);
        }
}

static void test_pinned(void **state) {
        static const struct {
                const char *device;
                bool pinned;
        } rows[] = {
                { "<hostdev mode='subsystem' type='pci'/>", true },
                { "<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>", true },
                { "<hostdev mode='subsystem' type='something-new'/>", true },
                { "<hostdev/>", true },
                { "<hostdev mode='subsystem' type='usb'/>", false },
                { "<hostdev mode='subsystem' type='scsi'/>", false },
                { "<hostdev mode='subsystem' type='scsi_host'/>", false },
                { "<hostdev mode='capabilities' type='storage'/>", false },
                { "<interface type='hostdev'/>", true },
                { "<interface type='vdpa'/>", true },
                { "<interface type='bridge'/>", false },
                { "<disk type='nvme'/>", true },
                { "<disk type='vhostvdpa'/>", true },
                { "<disk type='file'/>", false },
                { "<memballoon model='virtio'/><graphics type='vnc'/><hostdev type='pci'/>", true },
                { "<x:hostdev xmlns:x='urn:x' type='pci'/>", true }, /* too careful, never too careless */
                { "<controller><hostdev type='pci'/></controller>", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *xml = g_strconcat(HEAD MEMORY "<devices>", rows[i].device,
                                                   "</devices></domain>", NULL);

                if (parse_good(xml).vfio != rows[i].pinned)
                        fail_msg("%s", rows[i].device);
        }
}

/* Of a guest of 256 MiB; sizes in KiB where there is no unit. */
#define DEVICE(size, block, requested, current)                                                                     \
        "<memory model='virtio-mem'><target>" size "<node>0</node>" block requested current "</target></memory>"
#define SIZES(size, block, requested, current)                                                                      \
        DEVICE("<size>" #size "</size>", "<block>" #block "</block>", "<requested>" #requested "</requested>",      \
               "<current>" #current "</current>")
#define CURRENT(kib, rest) GUEST("<currentMemory>" #kib "</currentMemory><devices>" rest "</devices>")

static void test_virtio_mem(void **state) {
        static const struct {
                const char *xml;
                bool virtio_mem;
                uint64_t granule_kib, base_kib, rest_kib, plugged_kib, requested_kib;
        } rows[] = {
                { DEVICES(SIZES(131072, 2048, 4096, 2048)), true, 2048, 131072, 131072, 2048, 4096 },
                { DEVICES(SIZES(131072, 2048, 131072, 131072)), true, 2048, 131072, 131072, 131072, 131072 },
                { DEVICES(DEVICE("<size unit='MiB'>64</size>", "<block unit='b'>4194304</block>", "<requested>0</requested>",
                                 "<current unit='MiB'>1</current>")), true, 4096, 196608, 196608, 1024, 0 },
                { DEVICES("<memory model='dimm'/>" SIZES(65536, 2048, 0, 0)), true, 2048, 196608, 196608, 0, 0 },
                /* several */
                { DEVICES(SIZES(65536, 2048, 2048, 2048) SIZES(65536, 4096, 8192, 4096)), true, 4096, 131072, 131072, 6144, 10240 },
                /* what the balloon holds; and what libvirt counts twice */
                { CURRENT(102400, SIZES(131072, 2048, 4096, 2048)), true, 2048, 131072, 100352, 2048, 4096 },
                { CURRENT(262144, SIZES(131072, 2048, 4096, 2048)), true, 2048, 131072, 131072, 2048, 4096 },
                { CURRENT(1024, SIZES(131072, 2048, 4096, 2048)), true, 2048, 131072, 131072, 2048, 4096 },
                /* off: nothing is plugged */
                { "<domain><name>a</name><uuid>" UUID "</uuid><memory>262144</memory><devices>"
                  DEVICE("<size>131072</size>", "<block>2048</block>", "<requested>2048</requested>", "")
                  "</devices></domain>", true, 2048, 131072, 131072, 0, 2048 },
                /* not understood */
                { DEVICES("<memory model='virtio-mem'/>"), true, 0, 0, 0, 0, 0 },
                { DEVICES("<memory model='virtio-mem'><target><size>1024</size></target></memory>"), true, 0, 0, 0, 0, 0 },
                { DEVICES(DEVICE("<size>131072</size>", "<block>2048</block>", "<requested>2048</requested>", "")), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(131072, 0, 0, 0)), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(1024, 2048, 0, 0)), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(131072, 2048, 131073, 0)), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(131072, 2048, 0, 131073)), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(131072, 2048, -1, 0)), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(262144, 2048, 0, 0)), true, 0, 0, 0, 0, 0 }, /* nothing else */
                { DEVICES(SIZES(18014398509481983, 2048, 0, 0) SIZES(18014398509481983, 2048, 0, 0)), true, 0, 0, 0, 0, 0 },
                { DEVICES(SIZES(131072, 2048, 0, 0) "<memory model='virtio-mem'/>"), true, 0, 0, 0, 0, 0 },
                /* no such device */
                { DEVICES("<memory model='dimm'/>"), false, 0, 0, 0, 0, 0 },
                { DEVICES("<memory model='virtio-pmem'/>"), false, 0, 0, 0, 0, 0 },
                { DEVICES("<memory/>"), false, 0, 0, 0, 0, 0 },
                { DEVICES("<controller><memory model='virtio-mem'/></controller>"), false, 0, 0, 0, 0, 0 },
                { GUEST("<memory model='virtio-mem'/>"), false, 0, 0, 0, 0, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = parse_good(rows[i].xml);

                if (info.virtio_mem != rows[i].virtio_mem || info.granule_kib != rows[i].granule_kib ||
                    info.base_kib != rows[i].base_kib || info.rest_kib != rows[i].rest_kib ||
                    info.plugged_kib != rows[i].plugged_kib || info.requested_kib != rows[i].requested_kib)
                        fail_msg("granule %" PRIu64 " base %" PRIu64 " rest %" PRIu64 " plugged %" PRIu64 " requested %" PRIu64 " of %s",
                                 info.granule_kib, info.base_kib, info.rest_kib, info.plugged_kib, info.requested_kib, rows[i].xml);
        }
}

/* A size -> what is requested of each device. */
static void test_resize(void **state) {
        static const char one[] = DEVICES(SIZES(131072, 2048, 4096, 4096));
        static const char held[] = CURRENT(102400, SIZES(131072, 2048, 4096, 4096)); /* 32 MiB in the balloon */
        static const char two[] = DEVICES(SIZES(65536, 2048, 32768, 32768) "<memory model='dimm'/>" SIZES(65536, 4096, 32768, 0));
        static const struct {
                const char *xml;
                uint64_t target_kib;
                int r;
                const char *requested; /* of the devices that must be told, in KiB */
        } rows[] = {
                { one, 131072 + 4096, 0, "" },
                { one, 131072 + 4096 + 2047, 0, "" },
                { one, 131072 + 8192, 0, "8192 " },
                { one, 131072 + 8192 + 2047, 0, "8192 " },
                { one, 262144, 0, "131072 " },
                { one, UINT64_MAX, 0, "131072 " },
                { one, 131072 + 2048, 0, "2048 " },
                { one, 131072, 0, "0 " },
                { one, 1, 0, "0 " },
                { held, 98304 + 4096, 0, "" },
                { held, 98304 + 8192, 0, "8192 " },
                { held, 262144, 0, "131072 " },
                { two, 131072 + 65536, 0, "" },
                { two, 131072 + 65536 + 8192, 0, "40960 " },
                { two, 131072 + 65536 + 40960, 0, "65536 40960 " },
                { two, 262144, 0, "65536 65536 " },
                { two, 131072 + 65536 - 8192, 0, "24576 " }, /* the last one */
                { two, 131072 + 16384, 0, "0 16384 " },      /* from the last on */
                { two, 131072, 0, "0 0 " },
                { DEVICES(""), 131072, -EOPNOTSUPP, "" },
                { GUEST(""), 131072, -EOPNOTSUPP, "" },
                { DEVICES(SIZES(131072, 2048, 0, 0) "<memory model='virtio-mem'/>"), 131072, -EOPNOTSUPP, "" },
                { "<domain/>", 131072, -EBADMSG, "" },
                { "<domain", 131072, -EBADMSG, "" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GPtrArray) devices = NULL;
                g_autoptr(GString) requested = g_string_new(NULL);
                int r = mlg_domain_xml_resize(rows[i].xml, strlen(rows[i].xml), rows[i].target_kib, &devices);

                for (guint k = 0; devices && k < devices->len; k++) {
                        const char *text = devices->pdata[k], *number = strstr(text, "<requested unit=\"KiB\">");

                        assert_true(g_str_has_prefix(text, "<memory model=\"virtio-mem\">"));
                        assert_non_null(strstr(text, "<node>0</node>"));
                        if (number)
                                g_string_append_printf(requested, "%" PRIu64 " ", (uint64_t) strtoull(strchr(number, '>') + 1, NULL, 10));
                }
                if (r != rows[i].r || strcmp(requested->str, rows[i].requested) != 0)
                        fail_msg("%" PRIu64 ": %d, \"%s\" of %s", rows[i].target_kib, r, requested->str, rows[i].xml);
        }
}

static void test_confidential(void **state) {
        static const struct {
                const char *xml;
                bool confidential;
        } rows[] = {
                { GUEST("<launchSecurity type='sev'><cbitpos>47</cbitpos></launchSecurity>"), true },
                { GUEST("<launchSecurity type='sev-snp'/>"), true },
                { GUEST("<launchSecurity type='s390-pv'/>"), true },
                { GUEST("<launchSecurity type='tdx'/>"), true },
                { GUEST("<launchSecurity type='something-new'/>"), true },
                { GUEST(""), false },
                { DEVICES("<launchSecurity type='sev'/>"), false },
                { GUEST("<x:launchSecurity xmlns:x='urn:x' type='sev'/>"), false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                if (parse_good(rows[i].xml).confidential != rows[i].confidential)
                        fail_msg("%s", rows[i].xml);
}

#define NS "xmlns:m='" MLG_METADATA_URI "'"

static void test_labels(void **state) {
        static const struct {
                const char *xml, *labels;
        } rows[] = {
                { LABELS(""), "" },
                { LABELS("<m:guest " NS " labels='one'/>"), "one" },
                { LABELS("<guest xmlns='" MLG_METADATA_URI "' labels='default-ns'/>"), "default-ns" },
                { LABELS("<m:guest " NS " labels='  a \t b&#10;c  '/>"), "a b c" },
                { LABELS("<m:guest " NS "/>"), "" },
                { LABELS("<m:guest " NS " labels=''/>"), "" },
                { LABELS("<m:guest " NS " m:labels='other namespace'/>"), "" },
                { LABELS("<m:other " NS " labels='no'/>"), "" },
                { LABELS("<m:guest xmlns:m='https://memlego.org/guest/2' labels='no'/>"), "" },
                { LABELS("<guest labels='no namespace'/>"), "" },
                { LABELS("<m:guest " NS " labels='first'/><m:guest " NS " labels='second'/>"), "first" },
                { LABELS("<m:guest " NS " labels='a&#127;b good'/>"), "good" },
                { GUEST("<m:guest " NS " labels='not in metadata'/>"), "" },
                { LABELS("<m:guest " NS " labels='\xc3\xa4&lt;&amp;'/>"), "\xc3\xa4<&" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = parse_good(rows[i].xml);

                if (strcmp(info.labels, rows[i].labels) != 0)
                        fail_msg("\"%s\" from %s", info.labels, rows[i].xml);
        }
}

/* What does not fit is left out whole, and what comes behind may fit again. */
static void test_labels_limit(void **state) {
        g_autofree char *long_label = g_strnfill(MLG_LABELS_MAX, 'x');
        g_autofree char *fits = g_strconcat(HEAD MEMORY "<metadata><m:guest " NS " labels='", long_label,
                                            " z'/></metadata></domain>", NULL);
        g_autofree char *too_long = g_strconcat(HEAD MEMORY "<metadata><m:guest " NS " labels='a y",
                                                long_label, " z'/></metadata></domain>", NULL);

        assert_string_equal(parse_good(fits).labels, long_label);
        assert_string_equal(parse_good(too_long).labels, "a z");
}

static void test_names(void **state) {
        g_autofree char *many = g_strnfill(MLG_NAME_MAX - 1, 'n');
        g_autofree char *umlaut = g_strconcat("<domain><name>", many,
                                              "\xc3\xa4rest</name><uuid>" UUID "</uuid>" MEMORY "</domain>",
                                              NULL);
        MlgGuestInfo info = parse_good(umlaut);

        assert_string_equal(info.name, many); /* not half of the letter */
        info = parse_good("<domain><name>a&#9;b&#127;c</name><uuid>" UUID "</uuid>" MEMORY "</domain>");
        assert_string_equal(info.name, "a?b?c");
        info = parse_good("<domain><name>a</name><uuid>6F0C1BFA-0EE8-4B6C-9A26-5F6DD7B6B001</uuid>" MEMORY
                          "</domain>");
        assert_string_equal(info.uuid, UUID);
}

#define ENTITIES                                                                                            \
        "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaaaaaaaaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">"       \
        "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]>"

static void test_refused(void **state) {
        static const char *const rows[] = {
                "",
                " ",
                "no xml",
                "<domain",
                HEAD,
                HEAD MEMORY,
                GUEST("") "<more/>",
                "<network><name>n</name><uuid>" UUID "</uuid>" MEMORY "</network>",
                "<domain><uuid>" UUID "</uuid>" MEMORY "</domain>",
                "<domain><name/><uuid>" UUID "</uuid>" MEMORY "</domain>",
                "<domain><name>a</name>" MEMORY "</domain>",
                "<domain><name>a</name><uuid>not a uuid</uuid>" MEMORY "</domain>",
                "<domain><name>a</name><uuid>" UUID "0</uuid>" MEMORY "</domain>",
                "<domain id='x'><name>a</name><uuid>" UUID "</uuid>" MEMORY "</domain>",
                "<domain id='-1'><name>a</name><uuid>" UUID "</uuid>" MEMORY "</domain>",
                "<domain id='4294967296'><name>a</name><uuid>" UUID "</uuid>" MEMORY "</domain>",
                GUEST("<name>\xff\xfe</name>"),
                GUEST("&unknown;"),
                "<!DOCTYPE domain>" GUEST(""),
                "<!DOCTYPE domain SYSTEM \"file:///etc/passwd\">" GUEST(""),
                "<!DOCTYPE d [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>" GUEST("<metadata>&x;</metadata>"),
                ENTITIES GUEST("<metadata>&d;</metadata>"),
                ENTITIES LABELS("<m:guest " NS " labels='&d;'/>"),
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = { .maximum_kib = 77 };

                if (parse(rows[i], &info) != -EBADMSG || info.maximum_kib != 77)
                        fail_msg("taken: %s", rows[i]);
        }
}

static void test_too_large(void **state) {
        size_t size = 5 * 1024 * 1024;
        g_autofree char *blanks = g_strnfill(size, ' ');
        MlgGuestInfo info;

        assert_int_equal(mlg_domain_xml_parse(blanks, size, &info), -E2BIG);
}

/* Nested deeper than any domain: the parser has its own limit and must not run out of stack. */
static void test_too_deep(void **state) {
        GString *xml = g_string_new(HEAD MEMORY "<metadata>");
        MlgGuestInfo info;

        for (int i = 0; i < 100000; i++)
                g_string_append(xml, "<a>");
        assert_int_equal(mlg_domain_xml_parse(xml->str, xml->len, &info), -EBADMSG);
        g_string_free(xml, TRUE);
}

/* Every prefix of a good text, with an exact allocation for the sanitizer. */
static void test_cut(void **state) {
        for (size_t len = 0; len + strlen("\n") < strlen(full); len++) {
                g_autofree char *cut = len > 0 ? g_memdup2(full, len) : NULL;
                MlgGuestInfo info;

                assert_int_equal(mlg_domain_xml_parse(cut ?: "", len, &info), -EBADMSG);
        }
}

static int setup(void **state) {
        mlg_domain_xml_init();
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_full),
                cmocka_unit_test(test_least),
                cmocka_unit_test(test_units),
                cmocka_unit_test(test_balloon_moves),
                cmocka_unit_test(test_balloon),
                cmocka_unit_test(test_monitor),
                cmocka_unit_test(test_pipe),
                cmocka_unit_test(test_agent),
                cmocka_unit_test(test_pinned),
                cmocka_unit_test(test_virtio_mem),
                cmocka_unit_test(test_resize),
                cmocka_unit_test(test_confidential),
                cmocka_unit_test(test_labels),
                cmocka_unit_test(test_labels_limit),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_too_large),
                cmocka_unit_test(test_too_deep),
                cmocka_unit_test(test_cut),
        };

        return cmocka_run_group_tests_name("libvirt-xml", tests, setup, NULL);
}
