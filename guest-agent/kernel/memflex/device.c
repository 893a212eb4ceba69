// SPDX-License-Identifier: GPL-2.0-or-later
/* Device: an ivshmem device (1af4:1110) whose memory is a pool of memlegod's; doorbell, interrupt, mapping.
 * Those with another magic are mempipe.ko's, or somebody else's: left alone, before anything of them is
 * touched.
 *
 * BAR2 is mapped as memory, but without struct pages: what is not lent takes next to nothing of the guest.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/random.h>

#include "memflex.h"

#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110
#define BAR_REGISTERS 0
#define BAR_MEMORY 2
#define BARS (BIT(BAR_REGISTERS) | BIT(BAR_MEMORY))
#define REG_DOORBELL 12

void mflex_ring(struct mflex *m)
{
	writel(MLG_FLEX_HOST << 16 | MLG_FLEX_VECTOR, m->regs + REG_DOORBELL);
}

static irqreturn_t on_interrupt(int irq, void *data)
{
	struct mflex *m = data;

	mod_delayed_work(mflex_wq, &m->look, 0);
	return IRQ_HANDLED;
}

static int check_pool(struct pci_dev *pdev, u32 *ret_chunks, u32 *ret_quota)
{
	u64 bytes = pci_resource_len(pdev, BAR_MEMORY);
	const struct mlg_flex_header *header;
	int err;

	if (bytes < MLG_FLEX_POOL_MIN)
		return -ENODEV;
	header = memremap(pci_resource_start(pdev, BAR_MEMORY), PAGE_SIZE, MEMREMAP_WB);
	if (!header)
		return -ENOMEM;
	err = mf_link_check(header, bytes, ret_chunks, ret_quota);
	if (err == -EPROTO)
		dev_err(&pdev->dev,
			"a pool of version %u, %llu bytes, %u chunks; expected version %u, %llu bytes\n",
			header->version, header->pool_bytes, header->n_chunks, MLG_FLEX_VERSION, bytes);
	memunmap((void *)header);
	return err == -EAGAIN ? -ENODEV : err;
}

static int setup_pci(struct pci_dev *pdev, void __iomem **ret_regs, void **ret_base)
{
	int err;

	*ret_regs = pcim_iomap(pdev, BAR_REGISTERS, 0);
	if (!*ret_regs)
		return -ENOMEM;
	*ret_base = devm_memremap(&pdev->dev, pci_resource_start(pdev, BAR_MEMORY),
				  pci_resource_len(pdev, BAR_MEMORY), MEMREMAP_WB);
	if (IS_ERR(*ret_base)) {
		dev_err(&pdev->dev,
			"cannot map BAR 2 (%llu MiB): error %ld; is the guest short of memory?\n",
			(u64)pci_resource_len(pdev, BAR_MEMORY) >> 20, PTR_ERR(*ret_base));
		return PTR_ERR(*ret_base);
	}
	pci_set_master(pdev);
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSIX);
	if (err < 0)
		dev_err(&pdev->dev, "no MSI-X vector: an ivshmem-doorbell device with vectors is needed, "
				    "not ivshmem-plain\n");
	return err < 0 ? err : 0;
}

static void free_tables(struct mflex *m)
{
	kvfree(m->chunk);
	kvfree(m->owner);
	kvfree(m->serial);
	m->chunk = NULL;
	m->owner = NULL;
	m->serial = NULL;
}

static int attach(struct mflex *m, struct pci_dev *pdev, void __iomem *regs, void *base, u32 n_chunks)
{
	u32 n_places = MLG_FLEX_CHUNK_PAGES * m->store->parts;
	int err;

	m->chunk = kvcalloc(n_chunks, sizeof(*m->chunk), GFP_KERNEL);
	m->owner = kvcalloc(n_chunks, n_places * sizeof(*m->owner), GFP_KERNEL);
	m->serial = kvcalloc(n_chunks, 2, GFP_KERNEL);
	err = !m->chunk || !m->owner || !m->serial ? -ENOMEM : 0;
	if (err == 0)
		err = mf_store_attach(m->store, m->chunk, m->owner, n_chunks, base + MLG_FLEX_CHUNKS_AT);
	if (err < 0) {
		free_tables(m);
		return err;
	}
	m->pdev = pdev;
	m->regs = regs;
	mf_link_start(&m->link, base, m->serial, n_chunks, get_random_u32() | 1);
	WRITE_ONCE(m->base, base);
	mflex_ring(m);
	return 0;
}

static void detach(struct mflex *m)
{
	mutex_lock(&m->lock);
	if (pci_device_is_present(m->pdev))
		mflex_leave_pool(m);
	WRITE_ONCE(m->base, NULL);
	mf_link_leave(&m->link, m->store);
	mf_store_detach(m->store);
	WRITE_ONCE(m->promote_below_pages, 0);
	mflex_ring(m);
	free_tables(m);
	m->pdev = NULL;
	mutex_unlock(&m->lock);
}

/* The device that the pool is for: made with the first one. */
static struct mflex *find_or_make(struct pci_dev *pdev, u32 quota)
{
	if (!mflex) {
		struct mflex *m = mflex_new(mflex_backing, quota);

		if (IS_ERR(m))
			return m;
		mflex = m;
	}
	if (mflex->base) {
		dev_err(&pdev->dev, "a second pool: one is all we can use\n");
		return ERR_PTR(-EBUSY);
	}
	return mflex;
}

static int start(struct pci_dev *pdev, void __iomem *regs, void *base, u32 n_chunks, u32 quota)
{
	struct mflex *m = find_or_make(pdev, quota);
	int err;

	if (IS_ERR(m))
		return PTR_ERR(m);
	mutex_lock(&m->lock);
	err = attach(m, pdev, regs, base, n_chunks);
	mutex_unlock(&m->lock);
	if (err < 0)
		return err;
	pci_set_drvdata(pdev, m);
	err = request_irq(pci_irq_vector(pdev, MLG_FLEX_VECTOR), on_interrupt, 0, MFLEX_NAME, m);
	if (err < 0) {
		detach(m);
		return err;
	}
	dev_info(&pdev->dev, "%u chunks, quota %u; /dev/memflex0 has %u MiB, %s\n", n_chunks, quota,
		 m->store->n_slots >> (20 - PAGE_SHIFT), m->backing ? "as its disk" : "and no disk");
	queue_delayed_work(mflex_wq, &m->look, 0);
	return 0;
}

static void teardown_pci(struct pci_dev *pdev)
{
	pci_free_irq_vectors(pdev);
	pci_release_selected_regions(pdev, BARS);
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	void __iomem *regs = NULL;
	void *base = NULL;
	u32 n_chunks, quota;
	int err = pcim_enable_device(pdev);

	if (err == 0)
		err = check_pool(pdev, &n_chunks, &quota);
	if (err == 0)
		err = pci_request_selected_regions(pdev, BARS, MFLEX_NAME);
	if (err < 0)
		return err;
	err = setup_pci(pdev, &regs, &base);
	if (err == 0) {
		mutex_lock(&mflex_lock);
		err = start(pdev, regs, base, n_chunks, quota);
		mutex_unlock(&mflex_lock);
	}
	if (err < 0)
		teardown_pci(pdev);
	return err;
}

/* Whoever swaps goes on with the disk alone; what could not be written there is lost, and its reads fail. */
static void remove(struct pci_dev *pdev)
{
	struct mflex *m = pci_get_drvdata(pdev);

	free_irq(pci_irq_vector(pdev, MLG_FLEX_VECTOR), m);
	detach(m);
	teardown_pci(pdev);
}

static const struct pci_device_id ids[] = {
	{PCI_DEVICE(IVSHMEM_VENDOR, IVSHMEM_DEVICE)},
	{},
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver driver = {
	.name = MFLEX_NAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};

int mflex_device_init(void)
{
	return pci_register_driver(&driver);
}

void mflex_device_exit(void)
{
	pci_unregister_driver(&driver);
}
