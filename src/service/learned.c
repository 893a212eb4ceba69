/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Learned: see learned.h.
 *
 * A file is a header and the state as it is in memory, in this machine's byte order. Who reads it compares the checksum
 * before anything of the state is believed: a state is a struct full of indices. */
#include "service/learned.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "memlego/names.h"
#include "service/file.h"
#include "util/util.h"

#define FILE_NEW ".new" /* one is written at a time */
#define FORMAT 1
#define SHA256_LEN 32
/* When there are too many, so many go at once: looking for the oldest is work. */
#define FILES_ROOM (MLG_LEARNED_FILES_MAX / 16)

static const char magic[8] = "MLGlearn"; /* without its NUL */

typedef struct Header {
        char magic[sizeof(magic)];
        uint32_t format;
        uint32_t state_version;
        uint32_t size; /* of the state */
        uint32_t instance;
        uint64_t horizon_usec;
        uint64_t learned_usec;
        uint64_t saved_real_usec;
        char predictor[32];
        char boot_id[64];
        uint8_t sha256[SHA256_LEN]; /* of all before it, and of the state */
} Header;
static_assert(sizeof(Header) == offsetof(Header, sha256) + SHA256_LEN,
              "no padding: each byte has its meaning");

struct MlgLearned {
        int dir_fd; /* -1: nothing is kept */
        char *path; /* for messages */
        char boot_id[64];
        unsigned int n_files;
};

static void checksum(const Header *h, const void *state, uint8_t ret[static SHA256_LEN]) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        gsize len = SHA256_LEN;

        g_checksum_update(sum, (const guchar *) h, offsetof(Header, sha256));
        g_checksum_update(sum, state, (gssize) h->size);
        g_checksum_get_digest(sum, ret, &len);
}

/* ---- the directory ---- */

typedef struct Entry {
        char uuid[MLG_UUID_LEN + 1];
        time_t saved_sec;
} Entry;

static int by_age(const void *a, const void *b) {
        const Entry *x = a, *y = b;

        return x->saved_sec < y->saved_sec ? -1 : x->saved_sec > y->saved_sec;
}

/* Entry of each file of ours, the oldest first. */
static GArray *list(const MlgLearned *l) {
        GArray *all = g_array_new(FALSE, FALSE, sizeof(Entry));
        int fd = openat(l->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;

        if (!dir)
                mlg_close_fd(&fd);
        while (dir && (e = readdir(dir))) {
                Entry entry;
                struct stat st;

                if (!g_uuid_string_is_valid(e->d_name) ||
                    fstatat(l->dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                g_strlcpy(entry.uuid, e->d_name, sizeof(entry.uuid));
                entry.saved_sec = st.st_mtime;
                g_array_append_val(all, entry);
        }
        if (dir)
                (void) closedir(dir);
        g_array_sort(all, by_age);
        return all;
}

/* Removes those saved before, and of the oldest so many that `most` are left. */
static void drop(MlgLearned *l, uint64_t before_sec, unsigned int most) {
        g_autoptr(GArray) all = list(l);

        l->n_files = all->len;
        for (unsigned int i = 0; i < all->len; i++) {
                const Entry *e = &g_array_index(all, Entry, i);

                if (l->n_files <= most && (e->saved_sec < 0 || (uint64_t) e->saved_sec >= before_sec))
                        return;
                if (unlinkat(l->dir_fd, e->uuid, 0) == 0)
                        l->n_files--;
        }
}

void mlg_learned_drop_old(MlgLearned *l, uint64_t now_real_sec) {
        if (l->dir_fd >= 0)
                drop(l, mlg_sub_sat(now_real_sec, MLG_LEARNED_KEEP_SEC), MLG_LEARNED_FILES_MAX);
}

int mlg_learned_open(const char *dir, const char *boot_id, MlgLearned **ret) {
        g_autoptr(MlgLearned) l = g_new0(MlgLearned, 1);
        int r;

        l->dir_fd = -1;
        g_strlcpy(l->boot_id, boot_id, sizeof(l->boot_id));
        if (dir) {
                l->path = g_build_filename(dir, MLG_LEARNED_DIR_NAME, NULL);
                r = mlg_dir_open(AT_FDCWD, l->path, &l->dir_fd);
                if (r < 0)
                        return r;
                drop(l, 0, MLG_LEARNED_FILES_MAX);
        }
        *ret = g_steal_pointer(&l);
        return 0;
}

MlgLearned *mlg_learned_free(MlgLearned *l) {
        if (!l)
                return NULL;
        mlg_close_fd(&l->dir_fd);
        g_free(l->path);
        g_free(l);
        return NULL;
}

/* ---- save ---- */

/* The UUID becomes the name of a file. */
static bool is_name(const char *uuid) {
        return g_uuid_string_is_valid(uuid);
}

int mlg_learned_save(MlgLearned *l, const char *uuid, const MlgPredictorOps *p, const void *state,
                     const MlgLearnedAbout *about) {
        struct {
                Header header;
                uint8_t state[MLG_PREDICTOR_PRIV_MAX];
        } file;
        Header *h = &file.header;
        bool is_new;
        int r;

        if (!is_name(uuid) || p->priv_size > sizeof(file.state) || strlen(p->name) >= sizeof(h->predictor))
                return -EINVAL;
        if (l->dir_fd < 0)
                return 0;
        *h = (Header) {
                .format = FORMAT,
                .state_version = p->state_version,
                .size = (uint32_t) p->priv_size,
                .instance = about->instance,
                .horizon_usec = about->horizon_usec,
                .learned_usec = about->learned_usec,
                .saved_real_usec = about->saved_real_usec,
        };
        memcpy(h->magic, magic, sizeof(magic));
        g_strlcpy(h->predictor, p->name, sizeof(h->predictor));
        memcpy(h->boot_id, l->boot_id, sizeof(h->boot_id)); /* with the zeros behind it */
        memcpy(file.state, state, p->priv_size);
        checksum(h, file.state, h->sha256);
        is_new = faccessat(l->dir_fd, uuid, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
        if (is_new && l->n_files >= MLG_LEARNED_FILES_MAX)
                drop(l, 0, MLG_LEARNED_FILES_MAX - FILES_ROOM);
        r = mlg_file_replace(l->dir_fd, uuid, FILE_NEW, &file, sizeof(file.header) + p->priv_size);
        l->n_files += r == 0 && is_new;
        return r;
}

/* ---- load ---- */

/* NULL: it is what it says it is; else what is wrong with it. */
static const char *check(const char *bytes, size_t len, Header *ret) {
        uint8_t sum[SHA256_LEN];

        if (len < sizeof(*ret) || memcmp(bytes, magic, sizeof(magic)) != 0)
                return "it is not a file of memlegod";
        memcpy(ret, bytes, sizeof(*ret));
        if (ret->format != FORMAT)
                return "it was written by another version of memlegod";
        if (len != sizeof(*ret) + (size_t) ret->size)
                return "it is not as long as it should be";
        checksum(ret, bytes + sizeof(*ret), sum);
        if (memcmp(sum, ret->sha256, sizeof(sum)) != 0)
                return "it is damaged";
        return NULL;
}

/* The same for a predictor by whose name it was saved. */
static const char *fits(const Header *h, const MlgPredictorOps *p) {
        if (h->state_version != p->state_version)
                return "it was saved by another version of this predictor";
        return h->size == p->priv_size ? NULL : "the state of this predictor has another size";
}

bool mlg_learned_load(const MlgLearned *l, const char *uuid, const MlgPredictorOps *p,
                      MlgLearnedAbout *about, void *ret_state, char **ret_warning) {
        size_t most = sizeof(Header) + MLG_PREDICTOR_PRIV_MAX, len = 0;
        g_autofree char *bytes = NULL;
        const char *wrong;
        Header h = {};
        int r;

        *ret_warning = NULL;
        if (l->dir_fd < 0 || p->state_version == 0 || !is_name(uuid))
                return false;
        r = mlg_file_read(l->dir_fd, uuid, most, &bytes, &len);
        if (r == -ENOENT)
                return false;
        wrong = r == -EFBIG ? "it is too large" : r < 0 ? g_strerror(-r) : check(bytes, len, &h);
        if (!wrong && (strncmp(h.predictor, p->name, sizeof(h.predictor)) != 0 ||
                       h.horizon_usec != about->horizon_usec))
                return false; /* it waits for its predictor, or until this one is saved */
        wrong = wrong ? wrong : fits(&h, p);
        if (wrong) {
                *ret_warning = g_strdup_printf("%s/%s is not used: %s", l->path, uuid, wrong);
                return false;
        }
        memcpy(ret_state, bytes + sizeof(h), h.size);
        about->same_run = about->instance > 0 && h.instance == about->instance &&
                          strncmp(h.boot_id, l->boot_id, sizeof(h.boot_id)) == 0;
        about->instance = h.instance;
        about->learned_usec = h.learned_usec;
        about->saved_real_usec = h.saved_real_usec;
        return true;
}
