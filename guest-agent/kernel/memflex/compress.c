// SPDX-License-Identifier: GPL-2.0-or-later
/* Compress: pages in and out of the store, packed by one of the kernel's compressors if that is wanted.
 *
 * One that does not come to less than half is stored as it is, and none is packed that goes to the disk
 * anyway. Nothing is allocated on the way: there are as many streams as there were processors at the start,
 * each a compressor and room for what it makes, and a lock, which is outside of the store's. What comes out
 * of the pool is believed in nothing: the compressors check their input, and the result must be a page.
 */
#include <linux/crypto.h>
#include <linux/vmalloc.h>

#include "memflex.h"

struct mflex_stream {
	spinlock_t lock;
	struct crypto_comp *tfm;
	struct mf_packed packed;
};

const char *const mflex_algorithms[] = {"none", "lz4", "zstd", NULL};

static struct mflex_stream *get_stream(struct mflex *m)
{
	struct mflex_stream *s = &m->streams[raw_smp_processor_id() % m->n_streams];

	spin_lock(&s->lock);
	return s;
}

static void put_stream(struct mflex_stream *s)
{
	spin_unlock(&s->lock);
}

static void pack(struct mflex *m, struct mflex_stream *s, const void *from)
{
	unsigned int n = sizeof(s->packed.bytes);
	u8 byte;

	s->packed.n = 0;
	if (!mf_page_is_same(from, &byte) && mf_store_has_room(m->store) &&
	    crypto_comp_compress(s->tfm, from, PAGE_SIZE, s->packed.bytes, &n) == 0)
		s->packed.n = n;
}

static int unpack(struct mflex *m, struct mflex_stream *s, void *to)
{
	unsigned int n = PAGE_SIZE;

	if (crypto_comp_decompress(s->tfm, s->packed.bytes, s->packed.n, to, &n) == 0 && n == PAGE_SIZE &&
	    (!m->sums || mf_sum(to) == s->packed.sum))
		return 0;
	memset(to, 0, PAGE_SIZE);
	return -EBADMSG;
}

int mflex_write_page(struct mflex *m, u32 slot, const void *from, bool try)
{
	struct mflex_stream *s;
	int result;

	if (!m->streams)
		return mf_store_write(m->store, slot, from, try);
	s = get_stream(m);
	pack(m, s, from);
	result = mf_store_write_packed(m->store, slot, from, &s->packed, try);
	put_stream(s);
	return result;
}

int mflex_read_page(struct mflex *m, u32 slot, void *to, bool try)
{
	struct mflex_stream *s;
	int result;

	if (!m->streams)
		return mf_store_read(m->store, slot, to, try);
	s = get_stream(m);
	result = mf_store_read_packed(m->store, slot, to, &s->packed, try);
	if (result == MF_PACKED) {
		result = unpack(m, s, to);
		if (result < 0 && !try)
			mf_store_count_wrong(m->store, slot);
	}
	put_stream(s);
	return result;
}

int mflex_fetch(struct mflex *m, const struct mf_move *move, void *to)
{
	struct mflex_stream *s;
	int result;

	if (!m->streams)
		return mf_store_fetch(m->store, move, to, NULL);
	s = get_stream(m);
	result = mf_store_fetch(m->store, move, to, &s->packed);
	if (result == MF_PACKED)
		result = unpack(m, s, to);
	put_stream(s);
	return result;
}

static int make_streams(struct mflex *m, const char *algorithm)
{
	u32 i, n = num_online_cpus();

	m->streams = kvcalloc(n, sizeof(*m->streams), GFP_KERNEL);
	if (!m->streams)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct crypto_comp *tfm = crypto_alloc_comp(algorithm, 0, 0);

		if (IS_ERR(tfm)) {
			pr_err(MFLEX_NAME
			       ": comp_algorithm=%s cannot be had: error %ld; is its module there?\n",
			       algorithm, PTR_ERR(tfm));
			return PTR_ERR(tfm);
		}
		m->streams[i].tfm = tfm;
		spin_lock_init(&m->streams[i].lock);
		m->n_streams = i + 1;
	}
	return 0;
}

int mflex_compress_init(struct mflex *m)
{
	int which = __sysfs_match_string(mflex_algorithms, -1, mflex_algorithm);

	if (which < 0) {
		pr_err(MFLEX_NAME ": comp_algorithm=%s; expected none, lz4 or zstd\n", mflex_algorithm);
		return -EINVAL;
	}
	m->algorithm = mflex_algorithms[which];
	if (which == 0)
		return 0;
	mf_store_pack(m->store);
	return make_streams(m, m->algorithm);
}

void mflex_compress_done(struct mflex *m)
{
	u32 i;

	for (i = 0; i < m->n_streams; i++)
		crypto_free_comp(m->streams[i].tfm);
	kvfree(m->streams);
}
