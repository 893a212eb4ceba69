/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugin notes: see plugin-notes.h. */
#include "service/plugin-notes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/plugins.h"
#include "memlego/names.h"
#include "util/util.h"

/* Another number for another layout: what an older memlegod left is not understood then. */
#define MAGIC UINT64_C(0x31676c7067656c6d)

/* One build of a plug-in: who replaces the file changes at least one of these. */
typedef struct Identity {
        uint64_t inode, mtime_sec, mtime_nsec, size;
} Identity;

typedef struct Page {
        uint64_t magic;
        char boot_id[40];
        volatile uint32_t running;
        struct {
                char name[MLG_PLUGIN_NAME_SIZE];
                Identity file;
        } entries[MLG_PLUGINS_MAX]; /* of mark 1 and so on */
} Page;

struct MlgPluginNotes {
        char *dir;
        Page *page; /* NULL: only looking */
};

static Identity identity(const struct stat *st) {
        return (Identity) { st->st_ino, (uint64_t) st->st_mtim.tv_sec, (uint64_t) st->st_mtim.tv_nsec,
                           (uint64_t) st->st_size };
}

static char *note_path(const MlgPluginNotes *n, const char *name) {
        return g_strdup_printf("%s/%s.so.crashed", n->dir, name);
}

static void write_note(const MlgPluginNotes *n, const char *name, const Identity *file) {
        g_autofree char *path = note_path(n, name);
        g_autofree char *text = g_strdup_printf(
                "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n"
                "memlegod ended while this plug-in ran. It is left out until its file is replaced, "
                "or this one is removed.\n",
                file->inode, file->mtime_sec, file->mtime_nsec, file->size);

        (void) g_file_set_contents(path, text, -1, NULL); /* if not, the next crash is another chance */
}

/* What the last run left. */
static void judge_last_run(const MlgPluginNotes *n, int fd, const char *boot_id) {
        Page last;

        if (pread(fd, &last, sizeof(last), 0) != sizeof(last) || last.magic != MAGIC || last.running == 0 ||
            last.running > MLG_PLUGINS_MAX || strncmp(last.boot_id, boot_id, sizeof(last.boot_id)) != 0)
                return;
        last.entries[last.running - 1].name[MLG_PLUGIN_NAME_SIZE - 1] = '\0';
        if (mlg_plugin_name_is_good(last.entries[last.running - 1].name))
                write_note(n, last.entries[last.running - 1].name, &last.entries[last.running - 1].file);
}

static int map_page(MlgPluginNotes *n, int fd, const char *boot_id) {
        int r = posix_fallocate(fd, 0, sizeof(Page)); /* a full disk would be a signal later */
        void *at;

        if (r > 0)
                return -r;
        at = mmap(NULL, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
                return -errno;
        n->page = at;
        memset(n->page, 0, sizeof(*n->page));
        n->page->magic = MAGIC;
        g_strlcpy(n->page->boot_id, boot_id, sizeof(n->page->boot_id));
        return 0;
}

int mlg_plugin_notes_open(const char *state_dir, const char *boot_id, MlgPluginNotes **ret) {
        g_autofree char *path = g_build_filename(state_dir, MLG_PLUGIN_RUNNING_NAME, NULL);
        _mlg_cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        MlgPluginNotes *n;
        int r;

        if (fd < 0)
                return -errno;
        n = g_new0(MlgPluginNotes, 1);
        n->dir = g_strdup(state_dir);
        judge_last_run(n, fd, boot_id);
        r = map_page(n, fd, boot_id);
        if (r < 0)
                n = mlg_plugin_notes_free(n);
        *ret = n;
        return r;
}

MlgPluginNotes *mlg_plugin_notes_look(const char *state_dir) {
        MlgPluginNotes *n = g_new0(MlgPluginNotes, 1);

        n->dir = g_strdup(state_dir);
        return n;
}

MlgPluginNotes *mlg_plugin_notes_free(MlgPluginNotes *n) {
        if (!n)
                return NULL;
        if (n->page)
                (void) munmap(n->page, sizeof(*n->page));
        g_free(n->dir);
        g_free(n);
        return NULL;
}

volatile uint32_t *mlg_plugin_notes_word(MlgPluginNotes *n) {
        return n->page ? &n->page->running : NULL;
}

void mlg_plugin_notes_enter(MlgPluginNotes *n, uint32_t mark, const char *name, const struct stat *st) {
        if (!n->page)
                return;
        g_strlcpy(n->page->entries[mark - 1].name, name, MLG_PLUGIN_NAME_SIZE);
        n->page->entries[mark - 1].file = identity(st);
}

char *mlg_plugin_notes_find(MlgPluginNotes *n, const char *name, const struct stat *st) {
        g_autofree char *path = note_path(n, name), *text = NULL;
        Identity now = identity(st), then = {};

        if (!g_file_get_contents(path, &text, NULL, NULL))
                return NULL;
        if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &then.inode, &then.mtime_sec,
                   &then.mtime_nsec, &then.size) != 4 ||
            memcmp(&now, &then, sizeof(now)) == 0)
                return g_steal_pointer(&path);
        if (n->page)
                (void) unlink(path);
        return NULL;
}
