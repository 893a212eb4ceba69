// SPDX-License-Identifier: GPL-2.0-or-later
/* Device: an ivshmem device (1af4:1110) whose memory is a region of memlegod's; doorbell, interrupt,
 * mapping.
 *
 * BAR2 is mapped with pages of its own (devm_memremap_pages), so that copies to and from user space need
 * not look up a mapping of vmalloc each time (hardened usercopy). The mapping is used inside of
 * mpipe_dev_enter() only.
 */
#include <linux/interrupt.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/random.h>

#include "mempipe.h"

#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110
#define BAR_REGISTERS 0
#define BAR_MEMORY 2
#define REG_POSITION 8
#define REG_DOORBELL 12

/* A removal waits for senders to go back to TCP, and for what is in pipes to be read or copied. Both is
 * done by the two modules, whatever programs do, within milliseconds; a peer that is gone is not waited
 * for. So only the connections with one that is there and does not run (stopped, or its processors taken
 * by others) are lost after this time.
 */
#define REMOVE_ROUND_MSEC 50
#define REMOVE_ROUNDS 1200
#define REMOVE_UDP_MSEC 5000 /* datagrams may be lost */

#define UNCACHED_FACTOR 10
#define WATCH_PAUSE_MSEC 10

LIST_HEAD(mpipe_devs);
DEFINE_MUTEX(mpipe_devs_lock);

void mpipe_dev_ring(struct mpipe_dev *dev, u32 peer)
{
	mpipe_count(MPIPE_N_RUNG);
	writel(peer << 16 | MLG_PIPE_VECTOR, dev->regs + REG_DOORBELL);
}

static void dev_free(struct kref *kref)
{
	struct mpipe_dev *dev = container_of(kref, struct mpipe_dev, kref);

	mpipe_chunks_exit(dev);
	xa_destroy(&dev->pipes);
	percpu_ref_exit(&dev->users);
	mpipe_udp_free(dev->udp);
	kvfree(dev->peers);
	kvfree(dev);
}

static void dev_free_later(struct rcu_head *rcu)
{
	dev_free(&container_of(rcu, struct mpipe_dev, rcu)->kref);
}

static void dev_release(struct kref *kref)
{
	call_rcu(&container_of(kref, struct mpipe_dev, kref)->rcu, dev_free_later);
}

void mpipe_dev_put(struct mpipe_dev *dev)
{
	kref_put(&dev->kref, dev_release);
}

static void on_unused(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct mpipe_dev, users)->unused);
}

/* Not after remove() has waited for a grace period. */
static void watch_in(struct mpipe_dev *dev, unsigned long delay)
{
	rcu_read_lock();
	if (!READ_ONCE(dev->gone))
		mod_delayed_work(mpipe_wq, &dev->watch_work, delay);
	rcu_read_unlock();
}

void mpipe_dev_watch(struct mpipe_dev *dev)
{
	watch_in(dev, 0);
}

/* Who rings without end does not make it run without end; the time is an absolute one, so that he does not
 * put it off either.
 */
void mpipe_dev_rung(struct mpipe_dev *dev)
{
	unsigned long now = jiffies, next = READ_ONCE(dev->watched_at) + msecs_to_jiffies(WATCH_PAUSE_MSEC);

	watch_in(dev, time_after(next, now) ? next - now : 0);
}

static irqreturn_t on_interrupt(int irq, void *data)
{
	struct mpipe_dev *dev = data;

	mpipe_count(MPIPE_N_BELLS);
	tasklet_schedule(&dev->bell);
	return IRQ_HANDLED;
}

static struct mpipe_dev *dev_new(struct pci_dev *pdev)
{
	struct mpipe_dev *dev = kvzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	kref_init(&dev->kref);
	init_completion(&dev->unused);
	spin_lock_init(&dev->peers_lock);
	spin_lock_init(&dev->slots_lock);
	spin_lock_init(&dev->chunks_lock);
	xa_init(&dev->pipes);
	tasklet_setup(&dev->bell, mpipe_bell);
	INIT_WORK(&dev->control_work, mpipe_control_work);
	INIT_DELAYED_WORK(&dev->watch_work, mpipe_watch_work);
	dev->pdev = pdev;
	dev->watched_at = dev->turned_at = jiffies - HZ;
	while (dev->session == 0)
		dev->session = get_random_u32();
	dev->peers = kvcalloc(MLG_PIPE_PEERS, sizeof(*dev->peers), GFP_KERNEL);
	dev->udp = mpipe_udp_new(dev);
	if (!dev->peers || !dev->udp || percpu_ref_init(&dev->users, on_unused, 0, GFP_KERNEL) < 0) {
		kvfree(dev->peers);
		mpipe_udp_free(dev->udp);
		kvfree(dev);
		return NULL;
	}
	return dev;
}

static int map_memory(struct mpipe_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;
	struct dev_pagemap *map = devm_kzalloc(&pdev->dev, sizeof(*map), GFP_KERNEL);
	void *base;

	if (!map)
		return -ENOMEM;
	map->type = MEMORY_DEVICE_GENERIC;
	map->range.start = pci_resource_start(pdev, BAR_MEMORY);
	map->range.end = pci_resource_end(pdev, BAR_MEMORY);
	map->nr_range = 1;
	base = devm_memremap_pages(&pdev->dev, map);
	if (IS_ERR(base)) {
		dev_err(&pdev->dev,
			"cannot map BAR 2 (%llu MiB): error %ld; is the guest short of memory?\n",
			(u64)pci_resource_len(pdev, BAR_MEMORY) >> 20, PTR_ERR(base));
		return PTR_ERR(base);
	}
	dev->base = base;
	return 0;
}

static int check_region(struct mpipe_dev *dev)
{
	const struct mlg_pipe_header *header = mp_header(dev->base);
	u64 bytes = pci_resource_len(dev->pdev, BAR_MEMORY);
	int err = mp_region_check(header, bytes, &dev->n_chunks);

	if (err == -EAGAIN) {
		dev_info(&dev->pdev->dev, "its memory is no region of memlegod's: left alone\n");
		return -ENODEV;
	}
	if (err < 0) {
		dev_err(&dev->pdev->dev,
			"region of version %u, %llu bytes, %u chunks; expected version %u, %llu bytes\n",
			READ_ONCE(header->version), READ_ONCE(header->region_bytes),
			READ_ONCE(header->n_chunks), MLG_PIPE_VERSION, bytes);
		return err;
	}
	dev->region_epoch = READ_ONCE(header->epoch);
	dev->lobby = READ_ONCE(header->features) & MLG_PIPE_LOBBY;
	dev->self = readl(dev->regs + REG_POSITION);
	if (dev->self == MLG_PIPE_HOST || dev->self >= MLG_PIPE_PEERS) {
		dev_err(&dev->pdev->dev, "peer id %d; expected 1 to %u\n", (int)dev->self,
			MLG_PIPE_PEERS - 1);
		return -EPROTO;
	}
	return 0;
}

static u64 best_read_nsec(void *to, const void *from)
{
	u64 best = U64_MAX, begin;
	int i;

	for (i = 0; i < 8; i++) {
		begin = ktime_get_ns();
		memcpy(to, from, PAGE_SIZE);
		best = min(best, ktime_get_ns() - begin);
	}
	return best;
}

/* Firmware that puts the memory below 4 GiB marks it uncached (MTRR), which AMD's processors obey in guests, too; no table
 * that we can read says what comes of it in the end, so it is measured. Reads of uncached memory take a hundred times as
 * long.
 */
static void warn_if_uncached(const struct mpipe_dev *dev)
{
	u8 *ours = kmalloc(2 * PAGE_SIZE, GFP_KERNEL);
	u64 theirs_nsec, ours_nsec;

	if (!ours)
		return;
	theirs_nsec = best_read_nsec(ours, dev->base);
	ours_nsec = best_read_nsec(ours, ours + PAGE_SIZE);
	kfree(ours);
	if (theirs_nsec > UNCACHED_FACTOR * max(ours_nsec, 1ULL))
		dev_warn(&dev->pdev->dev,
			 "a page of its memory is read in %llu ns, one of ours in %llu: it is not cached. Give the "
			 "group a RegionSize= of at least 1G, which firmware puts above 4 GiB\n",
			 theirs_nsec, ours_nsec);
}

static int setup_pci(struct mpipe_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;
	int err = pcim_enable_device(pdev);

	if (err < 0)
		return err;
	if (pci_resource_len(pdev, BAR_MEMORY) < MLG_PIPE_REGION_MIN) {
		dev_info(&pdev->dev, "BAR 2 has less than %llu MiB, or no address: left alone\n",
			 MLG_PIPE_REGION_MIN >> 20);
		return -ENODEV;
	}
	err = pci_request_selected_regions(pdev, BIT(BAR_REGISTERS) | BIT(BAR_MEMORY), MPIPE_NAME);
	if (err < 0)
		return err;
	dev->regs = pcim_iomap(pdev, BAR_REGISTERS, 0);
	if (!dev->regs)
		return -ENOMEM;
	pci_set_master(pdev);
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSIX);
	if (err < 0)
		dev_err(&pdev->dev, "no MSI-X vector: an ivshmem-doorbell device with vectors is needed, "
				    "not ivshmem-plain\n");
	return err < 0 ? err : 0;
}

static void teardown_pci(struct mpipe_dev *dev)
{
	pci_free_irq_vectors(dev->pdev);
	pci_release_selected_regions(dev->pdev, BIT(BAR_REGISTERS) | BIT(BAR_MEMORY));
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct mpipe_dev *dev = dev_new(pdev);
	int err;

	if (!dev)
		return -ENOMEM;
	err = setup_pci(dev);
	if (err == 0)
		err = map_memory(dev);
	if (err == 0)
		err = check_region(dev);
	if (err == 0)
		err = mpipe_chunks_init(dev);
	if (err == 0)
		err = request_irq(pci_irq_vector(pdev, MLG_PIPE_VECTOR), on_interrupt, 0, MPIPE_NAME, dev);
	if (err < 0) {
		teardown_pci(dev);
		mpipe_dev_put(dev);
		return err;
	}
	warn_if_uncached(dev);
	pci_set_drvdata(pdev, dev);
	mutex_lock(&mpipe_devs_lock);
	list_add_tail_rcu(&dev->node, &mpipe_devs);
	mutex_unlock(&mpipe_devs_lock);
	dev_info(&pdev->dev, "%llu MiB, %u chunks, peer %u\n", (u64)pci_resource_len(pdev, BAR_MEMORY) >> 20,
		 dev->n_chunks, dev->self);
	queue_delayed_work(mpipe_wq, &dev->watch_work, 0);
	return 0;
}

/* Everybody goes back to TCP, and what was not read is copied (rest.c). Whose peer does not do so in time is
 * reset by mpipe_sock_settle() when the memory is gone.
 */
static void remove(struct pci_dev *pdev)
{
	struct mpipe_dev *dev = pci_get_drvdata(pdev);
	struct mpipe_conn *conn;
	unsigned long key;
	bool drained = false;
	int i;

	mutex_lock(&mpipe_devs_lock);
	list_del_rcu(&dev->node);
	mutex_unlock(&mpipe_devs_lock);
	WRITE_ONCE(dev->gone, true);
	synchronize_rcu();
	cancel_delayed_work_sync(&dev->watch_work);
	/* they leave first, then are seen to have drained, then settle once more, to know it */
	for (i = 0; i < REMOVE_ROUNDS && !drained; i++) {
		drained = i > 0 && mpipe_conns_drain(dev, REMOVE_ROUND_MSEC);
		mpipe_conns_settle(dev, MLG_PIPE_NOBODY);
		flush_workqueue(mpipe_wq);
	}
	mpipe_udp_leave(dev, REMOVE_UDP_MSEC);

	WRITE_ONCE(mp_section(dev->base, dev->self)->version, 0);
	mpipe_dev_ring(dev, MLG_PIPE_HOST);
	free_irq(pci_irq_vector(pdev, MLG_PIPE_VECTOR), dev);
	tasklet_kill(&dev->bell);
	percpu_ref_kill(&dev->users);
	wait_for_completion(&dev->unused);
	cancel_work_sync(&dev->control_work);
	mpipe_udp_forget(dev);
	mpipe_conns_settle(dev, MLG_PIPE_NOBODY);
	flush_workqueue(mpipe_wq);
	xa_for_each(&dev->pipes, key, conn)
		mpipe_conn_forget(conn);
	teardown_pci(dev);
	mpipe_dev_put(dev);
}

static const struct pci_device_id ids[] = {
	{PCI_DEVICE(IVSHMEM_VENDOR, IVSHMEM_DEVICE)},
	{},
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver driver = {
	.name = MPIPE_NAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};

int mpipe_device_init(void)
{
	return pci_register_driver(&driver);
}

void mpipe_device_exit(void)
{
	pci_unregister_driver(&driver);
}
