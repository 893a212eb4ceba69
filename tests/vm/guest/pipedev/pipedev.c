/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pipedev COMMAND [ARGUMENT...]: MemPipe's device from a guest without its module, through sysfs.
 *
 *     size               of the shared memory in MiB, or an error if the device has none
 *     header             magic, version, region MiB, epoch, chunks
 *     peer ID            state, epoch, target_chunks, session
 *     id                 of this guest (IVPosition; -1 in an old QEMU without one)
 *     start SESSION      as a module does at its start, until the host shows the session; prints the epoch
 *     demand CHUNKS      says so
 *     pipes NUMBER       says that so many connections use the memory
 *     granted            takes all GRANTs; prints how many chunks they were, and the first of them
 *     fill FIRST COUNT   writes into chunks
 *     sum FIRST COUNT    adds their bytes up
 *     return FIRST COUNT sends RETURN
 *     scribble           writes random bytes over its section, its rings with the host, and the host's tables
 *     lie SEC SEED       lies in words that are its own to write; also while the module has the device (needs iomem=relaxed)
 *     garbage SEC SEED   the same in everybody's
 *     storm SEC          rings everybody, as fast as it can
 *
 * And MemFlex's:
 *     flex header        magic, version, pool MiB, chunks, quota_chunks
 *     flex target        target_chunks
 *     flex start SESSION CHUNKS  as a module does at its start, and wants so many; prints the epoch
 *     flex want CHUNKS   says so
 *     flex held          how many chunks it has
 *     flex fill          marks each page of them
 *     flex check         of the chunks that were marked and are still held: how many pages have their mark, and how many do not
 *     flex give CHUNKS   gives so many of them back
 *     flex obey SEC      gives back what is called back, for so long; prints how many chunks that were */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pipedev.h"

uint8_t *memory;
volatile uint32_t *registers;
static uint64_t bytes;
static char device[256];

static void die(const char *what) {
        perror(what);
        exit(1);
}

static void write_file(const char *name, const char *text) {
        char path[512];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", device, name);
        fd = open(path, O_WRONLY);
        if (fd < 0 || (write(fd, text, strlen(text)) < 0 && errno != EBUSY)) /* EBUSY: a driver has enabled it */
                die(path);
        close(fd);
}

static bool is_ivshmem(const char *path) {
        char file[512], text[16] = "", want[] = "0x1110";
        FILE *f;

        snprintf(file, sizeof(file), "%s/device", path);
        f = fopen(file, "r");
        if (!f)
                return false;
        if (!fgets(text, sizeof(text), f))
                text[0] = '\0';
        fclose(f);
        return strncmp(text, want, strlen(want)) == 0;
}

static void *map(const char *name, uint64_t *ret_bytes) {
        char path[512];
        struct stat st;
        void *p;
        int fd;

        snprintf(path, sizeof(path), "%s/%s", device, name);
        fd = open(path, O_RDWR | O_SYNC);
        if (fd < 0 || fstat(fd, &st) < 0)
                die(path);
        p = mmap(NULL, (size_t) st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                die(path);
        close(fd);
        *ret_bytes = (uint64_t) st.st_size;
        return p;
}

static void open_device(void) {
        uint64_t ignored;
        glob_t g;

        if (glob("/sys/bus/pci/devices/*", 0, NULL, &g) != 0)
                die("no PCI");
        for (size_t i = 0; i < g.gl_pathc && !device[0]; i++)
                if (is_ivshmem(g.gl_pathv[i]))
                        snprintf(device, sizeof(device), "%s", g.gl_pathv[i]);
        if (!device[0]) {
                fprintf(stderr, "no ivshmem device\n");
                exit(1);
        }
        write_file("enable", "1");
        memory = map("resource2", &bytes);
        registers = map("resource0", &ignored);
}

uint32_t self(void) {
        return registers[IV_POSITION];
}

struct mlg_pipe_peer *peer(uint32_t id) {
        return (struct mlg_pipe_peer *) (memory + MLG_PIPE_PEERS_AT) + id;
}

static struct mlg_pipe_section *section(void) {
        return (struct mlg_pipe_section *) (memory + MLG_PIPE_SECTIONS_AT) + self();
}

struct mlg_pipe_pair *pair(uint32_t from, uint32_t to) {
        return (struct mlg_pipe_pair *) (memory + MLG_PIPE_PAIRS_AT) + from * MLG_PIPE_PEERS + to;
}

uint8_t *chunk(uint32_t n) {
        return memory + MLG_PIPE_CHUNKS_AT + ((uint64_t) n << MLG_PIPE_CHUNK_SHIFT);
}

static void ring_host(void) {
        if (__atomic_exchange_n(&pair(self(), MLG_PIPE_HOST)->bell, 1, __ATOMIC_SEQ_CST) == 0)
                registers[DOORBELL] = MLG_PIPE_HOST << 16 | MLG_PIPE_VECTOR;
}

static void start(uint32_t session) {
        memset(section(), 0, sizeof(struct mlg_pipe_section));
        section()->session = session;
        ring_host();
        for (int i = 0; __atomic_load_n(&peer(self())->session, __ATOMIC_ACQUIRE) != session; i++) {
                if (i == 10000) {
                        fprintf(stderr, "the host does not show the session\n");
                        exit(1);
                }
                usleep(1000);
        }
        for (uint32_t id = 0; id < MLG_PIPE_PEERS; id++)
                pair(id, self())->head = pair(id, self())->tail;
        section()->epoch = peer(self())->epoch;
        __atomic_store_n(&section()->version, MLG_PIPE_VERSION, __ATOMIC_RELEASE);
        ring_host();
        printf("%u\n", section()->epoch);
}

static void take_grants(void) {
        struct mlg_pipe_pair *p = pair(MLG_PIPE_HOST, self());
        uint32_t head = p->head, n = 0, first = 0;

        __atomic_exchange_n(&p->bell, 0, __ATOMIC_SEQ_CST);
        for (; head != __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE); head++) {
                const struct mlg_pipe_message *m = &p->messages[head % MLG_PIPE_MESSAGES];

                if (m->type != MLG_PIPE_GRANT)
                        continue;
                first = n == 0 ? m->chunks.first : first;
                n += m->chunks.count;
        }
        __atomic_store_n(&p->head, head, __ATOMIC_RELEASE);
        printf("%u %u\n", n, first);
}

static void give_back(uint32_t first, uint32_t count) {
        struct mlg_pipe_pair *p = pair(self(), MLG_PIPE_HOST);
        struct mlg_pipe_message *m = &p->messages[p->tail % MLG_PIPE_MESSAGES];

        memset(m, 0, sizeof(*m));
        m->type = MLG_PIPE_RETURN;
        m->epoch = section()->epoch;
        m->chunks.first = first;
        m->chunks.count = count;
        __atomic_store_n(&p->tail, p->tail + 1, __ATOMIC_RELEASE);
        ring_host();
}

static void add_up(uint32_t first, uint32_t count) {
        uint64_t sum = 0;

        for (uint64_t i = 0; i < (uint64_t) count << MLG_PIPE_CHUNK_SHIFT; i++)
                sum += chunk(first)[i];
        printf("%" PRIu64 "\n", sum);
}

static void scribble(void) {
        uint32_t session = section()->session, epoch = section()->epoch;
        int fd = open("/dev/urandom", O_RDONLY);

        if (fd < 0 || read(fd, section(), sizeof(struct mlg_pipe_section)) < 0 ||
            read(fd, pair(self(), MLG_PIPE_HOST), sizeof(struct mlg_pipe_pair)) < 0 ||
            read(fd, pair(MLG_PIPE_HOST, self()), sizeof(struct mlg_pipe_pair)) < 0 ||
            read(fd, memory, MLG_PIPE_SECTIONS_AT) < 0) /* not its own, and it can */
                die("/dev/urandom");
        close(fd);
        section()->session = session; /* or it would only be a module that starts anew */
        section()->epoch = epoch;
        section()->version = MLG_PIPE_VERSION;
        pair(self(), MLG_PIPE_HOST)->bell = 0;
        ring_host();
}

int main(int argc, char **argv) {
        const char *command = argc > 1 ? argv[1] : "";
        uint32_t a = argc > 2 ? (uint32_t) strtoul(argv[2], NULL, 0) : 0,
                 b = argc > 3 ? (uint32_t) strtoul(argv[3], NULL, 0) : 0;
        const struct mlg_pipe_header *h;

        open_device();
        if (strcmp(command, "flex") == 0)
                return flex(argc > 2 ? argv[2] : "", b, argc > 4 ? (uint32_t) strtoul(argv[4], NULL, 0) : 0);
        h = (const struct mlg_pipe_header *) memory;
        if (strcmp(command, "size") == 0)
                printf("%" PRIu64 "\n", bytes >> 20);
        else if (strcmp(command, "header") == 0)
                printf("%#" PRIx64 " %u %" PRIu64 " %" PRIu64 " %u\n", (uint64_t) h->magic, h->version,
                       (uint64_t) h->region_bytes >> 20, (uint64_t) h->epoch, h->n_chunks);
        else if (strcmp(command, "peer") == 0 && a < MLG_PIPE_PEERS)
                printf("%u %u %u %u\n", peer(a)->state, peer(a)->epoch, peer(a)->target_chunks,
                       peer(a)->session);
        else if (strcmp(command, "id") == 0)
                printf("%d\n", (int) self());
        else if (strcmp(command, "start") == 0)
                start(a);
        else if (strcmp(command, "demand") == 0) {
                section()->demand_chunks = a;
                ring_host();
        } else if (strcmp(command, "pipes") == 0) {
                section()->n_pipes = a;
                ring_host();
        } else if (strcmp(command, "granted") == 0)
                take_grants();
        else if (strcmp(command, "fill") == 0)
                memset(chunk(a), 1, (size_t) b << MLG_PIPE_CHUNK_SHIFT);
        else if (strcmp(command, "sum") == 0)
                add_up(a, b);
        else if (strcmp(command, "return") == 0)
                give_back(a, b);
        else if (strcmp(command, "scribble") == 0)
                scribble();
        else if (strcmp(command, "lie") == 0)
                lie(a, b);
        else if (strcmp(command, "garbage") == 0)
                garbage(a, b);
        else if (strcmp(command, "storm") == 0)
                storm(a);
        else {
                fprintf(stderr, "pipedev: see the head of pipedev.c\n");
                return 2;
        }
        return 0;
}
