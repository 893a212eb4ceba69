/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zlib-user FILE: has all that zlib needs on the stack: streams, buffers, lengths, names. Says "all right", or what is not.
 * For examples/securestack/zlib.rules. It has no header of zlib's, so that none is needed to build it. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BYTES 2000
#define FINISH 4
#define STREAM_END 1

typedef struct Stream {
        const uint8_t *in;
        unsigned n_in;
        unsigned long sum_in;
        uint8_t *out;
        unsigned n_out;
        unsigned long sum_out;
        void *rest[8];
} Stream;
_Static_assert(sizeof(Stream) == 112, "as zlib's z_stream");

const char *zlibVersion(void);
int compress2(uint8_t *to, unsigned long *n_to, const uint8_t *from, unsigned long n_from, int level);
int uncompress(uint8_t *to, unsigned long *n_to, const uint8_t *from, unsigned long n_from);
unsigned long crc32(unsigned long sum, const uint8_t *bytes, unsigned n);
int deflateInit_(Stream *s, int level, const char *version, int bytes);
int deflate(Stream *s, int flush);
int deflateEnd(Stream *s);
int inflateInit_(Stream *s, const char *version, int bytes);
int inflate(Stream *s, int flush);
int inflateEnd(Stream *s);
void *gzopen(const char *path, const char *mode);
int gzwrite(void *file, const void *bytes, unsigned n);
int gzread(void *file, void *bytes, unsigned n);
int gzclose(void *file);

static int check(int well, const char *what) {
        if (!well)
                printf("%s\n", what);
        return well;
}

static void fill(uint8_t *bytes, size_t n) {
        for (size_t i = 0; i < n; i++)
                bytes[i] = (uint8_t) (i * i / 7);
}

static __attribute__((noinline)) int by_call(void) {
        uint8_t bytes[BYTES], packed[2 * BYTES], back[BYTES];
        unsigned long n_packed = sizeof packed, n_back = sizeof back;

        fill(bytes, sizeof bytes);
        return check(compress2(packed, &n_packed, bytes, sizeof bytes, 9) == 0, "compress2") &&
               check(uncompress(back, &n_back, packed, n_packed) == 0 && n_back == BYTES, "uncompress") &&
               check(memcmp(bytes, back, BYTES) == 0, "what came back") &&
               check(crc32(0, bytes, BYTES) == crc32(crc32(0, back, 1000), back + 1000, BYTES - 1000), "crc32");
}

static __attribute__((noinline)) int by_stream(void) {
        uint8_t bytes[BYTES], packed[2 * BYTES], back[BYTES];
        Stream s = { .in = bytes, .n_in = BYTES, .out = packed, .n_out = sizeof packed };
        char version[8];
        int well;

        fill(bytes, sizeof bytes);
        strncpy(version, zlibVersion(), sizeof version - 1)[sizeof version - 1] = '\0';
        well = check(deflateInit_(&s, 6, version, sizeof s) == 0, "deflateInit") &&
               check(deflate(&s, FINISH) == STREAM_END && deflateEnd(&s) == 0, "deflate");
        s = (Stream){ .in = packed, .n_in = (unsigned) s.sum_out, .out = back, .n_out = sizeof back };
        return well && check(inflateInit_(&s, version, sizeof s) == 0, "inflateInit") &&
               check(inflate(&s, FINISH) == STREAM_END && inflateEnd(&s) == 0, "inflate") &&
               check(memcmp(bytes, back, BYTES) == 0, "what came back");
}

static __attribute__((noinline)) int by_file(const char *path) {
        uint8_t bytes[BYTES], back[BYTES] = { 0 };
        char name[256], w[] = "wb", r[] = "rb";
        void *file;
        int well;

        fill(bytes, sizeof bytes);
        (void) snprintf(name, sizeof name, "%s", path);
        file = gzopen(name, w);
        well = check(file && gzwrite(file, bytes, BYTES) == BYTES && gzclose(file) == 0, "gzwrite");
        file = gzopen(name, r);
        return well && check(file && gzread(file, back, BYTES) == BYTES && gzclose(file) == 0, "gzread") &&
               check(memcmp(bytes, back, BYTES) == 0, "what came back");
}

int main(int argc, char **argv) {
        if (argc != 2 || !by_call() || !by_stream() || !by_file(argv[1]))
                return 1;
        printf("all right\n");
        return 0;
}
