/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-xml: facts from a domain as libvirt writes it, one fact at a time, and texts that must be refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

static void test_virtio_mem(void **state) {
        static const struct {
                const char *xml;
                bool virtio_mem;
        } rows[] = {
                { DEVICES("<memory model='virtio-mem'><target><size>1024</size></target></memory>"), true },
                { DEVICES("<memory model='dimm'/><memory model='virtio-mem'/>"), true },
                { DEVICES("<memory model='dimm'/>"), false },
                { DEVICES("<memory model='virtio-pmem'/>"), false },
                { DEVICES("<memory/>"), false },
                { DEVICES("<controller><memory model='virtio-mem'/></controller>"), false },
                { GUEST("<memory model='virtio-mem'/>"), false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                if (parse_good(rows[i].xml).virtio_mem != rows[i].virtio_mem)
                        fail_msg("%s", rows[i].xml);
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
                cmocka_unit_test(test_agent),
                cmocka_unit_test(test_pinned),
                cmocka_unit_test(test_virtio_mem),
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
