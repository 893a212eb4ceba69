/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dmtable NAME: gives a device-mapper device the table on the standard input, whether or not it is there already; what is under way
 * goes by the old one. Prints its node. Lines are those of dmsetup: START LENGTH TARGET PARAMETERS. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

static struct {
        struct dm_ioctl head;
        char data[16384];
} io __attribute__((aligned(8)));
static int control;

static int ask(unsigned long request, const char *name, uint32_t flags) {
        io.head.version[0] = DM_VERSION_MAJOR;
        io.head.version[1] = io.head.version[2] = 0;
        io.head.data_size = sizeof(io);
        io.head.data_start = sizeof(io.head);
        io.head.flags = flags;
        snprintf(io.head.name, sizeof(io.head.name), "%s", name);
        return ioctl(control, request, &io);
}

/* From the standard input; how many lines. */
static uint32_t read_table(void) {
        char line[1024], *at = io.data;
        uint32_t n = 0;

        while (fgets(line, sizeof(line), stdin) && at + sizeof(line) + 64 < io.data + sizeof(io.data)) {
                struct dm_target_spec *spec = (struct dm_target_spec *) (void *) at;
                unsigned long long start, length;
                int used = 0;

                if (sscanf(line, "%llu %llu %15s %n", &start, &length, spec->target_type, &used) < 3)
                        continue;
                line[strcspn(line, "\n")] = '\0';
                spec->sector_start = start;
                spec->length = length;
                strcpy(at + sizeof(*spec), used > 0 ? line + used : "");
                spec->next = (uint32_t) (sizeof(*spec) + strlen(at + sizeof(*spec)) + 8) / 8 * 8;
                at += spec->next;
                n++;
        }
        return n;
}

int main(int argc, char **argv) {
        control = open("/dev/mapper/control", O_RDWR);
        if (argc != 2 || control < 0) {
                fprintf(stderr, "usage: dmtable NAME <TABLE, with the module dm-mod loaded\n");
                return 2;
        }
        if (ask(DM_DEV_CREATE, argv[1], 0) < 0 && errno != EBUSY) {
                perror("dmtable: create");
                return 1;
        }
        memset(&io, 0, sizeof(io));
        io.head.target_count = read_table();
        if (io.head.target_count == 0 || ask(DM_TABLE_LOAD, argv[1], 0) < 0) {
                perror("dmtable: load");
                return 1;
        }
        memset(&io, 0, sizeof(io));
        if (ask(DM_DEV_SUSPEND, argv[1], DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG) < 0) { /* without its flag: resume */
                perror("dmtable: resume");
                return 1;
        }
        printf("/dev/dm-%u\n", minor(io.head.dev));
        return 0;
}
