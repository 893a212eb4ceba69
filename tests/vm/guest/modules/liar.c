// SPDX-License-Identifier: GPL-2.0-only
/* liar: a balloon driver that lies, to see what a hostile guest can do. Takes the place of virtio_balloon.
 *
 *	stats=true	what a good driver would report
 *	stats=ones	all statistics are 2^64-1
 *	stats=huge	claims that far more is usable than it has
 *	stats=once	reports once, and never again
 *	actual=N	tells the host that the balloon holds N pages, whatever it was asked for (-1: nothing is told)
 *	obey=1		tells the host what it wants to hear, and gives no page
 *
 * It never gives the host a page. actual can be changed later in /sys/module/liar/parameters. */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>

static char *stats = "true";
module_param(stats, charp, 0444);
static bool obey;
module_param(obey, bool, 0444);

/* Of one device: there is one balloon in a guest. */
static struct virtio_device *the_device;
static struct virtqueue *stats_vq;
static struct virtio_balloon_stat *buffer;	/* not of the module's own memory: devices cannot read that */
static unsigned int n_reports;
static long actual = -1;

static void tell(void)
{
	u32 pages = actual;

	if (!the_device)
		return;
	if (obey)
		virtio_cread_le(the_device, struct virtio_balloon_config, num_pages, &pages);
	else if (actual < 0)
		return;
	virtio_cwrite_le(the_device, struct virtio_balloon_config, actual, &pages);
}

static int set_actual(const char *val, const struct kernel_param *kp)
{
	int r = param_set_long(val, kp);

	if (!r)
		tell();
	return r;
}

static const struct kernel_param_ops actual_ops = { .set = set_actual, .get = param_get_long };
module_param_cb(actual, &actual_ops, &actual, 0644);

static void put(unsigned int *i, u16 tag, u64 val)
{
	buffer[*i].tag = cpu_to_virtio16(the_device, tag);
	buffer[*i].val = cpu_to_virtio64(the_device, strcmp(stats, "ones") ? val : ~0ULL);
	(*i)++;
}

static void report(void)
{
	struct scatterlist sg;
	struct sysinfo si;
	unsigned int n = 0;
	u64 usable;

	if (n_reports++ > 1 && !strcmp(stats, "once"))
		return;	/* the buffer stays here: the host waits for it */
	si_meminfo(&si);
	usable = strcmp(stats, "huge") ? PFN_PHYS(si_mem_available()) : 1ULL << 46;
	put(&n, VIRTIO_BALLOON_S_SWAP_IN, 0);
	put(&n, VIRTIO_BALLOON_S_SWAP_OUT, 0);
	put(&n, VIRTIO_BALLOON_S_MEMFREE, PFN_PHYS(si.freeram));
	put(&n, VIRTIO_BALLOON_S_MEMTOT, PFN_PHYS(si.totalram));
	put(&n, VIRTIO_BALLOON_S_AVAIL, usable);
	sg_init_one(&sg, buffer, sizeof(buffer[0]) * n);
	virtqueue_add_outbuf(stats_vq, &sg, 1, buffer, GFP_ATOMIC);
	virtqueue_kick(stats_vq);
}

static void on_stats(struct virtqueue *vq)
{
	unsigned int len;

	if (virtqueue_get_buf(vq, &len))
		report();
}

static int find_queues(struct virtio_device *vdev, struct virtqueue **vqs)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	struct virtqueue_info info[] = { { "inflate" }, { "deflate" }, { "stats", on_stats } };

	return virtio_find_vqs(vdev, ARRAY_SIZE(info), vqs, info, NULL);
#else
	vq_callback_t *callbacks[] = { NULL, NULL, on_stats };
	static const char * const names[] = { "inflate", "deflate", "stats" };

	return virtio_find_vqs(vdev, ARRAY_SIZE(names), vqs, callbacks, names, NULL);
#endif
}

static int liar_probe(struct virtio_device *vdev)
{
	struct virtqueue *vqs[3];
	int r;

	buffer = devm_kcalloc(&vdev->dev, VIRTIO_BALLOON_S_NR, sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	r = find_queues(vdev, vqs);
	if (r)
		return r;
	stats_vq = vqs[2];
	the_device = vdev;
	virtio_device_ready(vdev);
	report();
	tell();
	dev_info(&vdev->dev, "at work: stats=%s actual=%ld obey=%d\n", stats, actual, obey);
	return 0;
}

static void liar_remove(struct virtio_device *vdev)
{
	the_device = NULL;
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
}

static void liar_changed(struct virtio_device *vdev)
{
	if (obey)
		tell();
}

static const struct virtio_device_id ids[] = { { VIRTIO_ID_BALLOON, VIRTIO_DEV_ANY_ID }, { 0 } };
static const unsigned int features[] = { VIRTIO_BALLOON_F_STATS_VQ };

static struct virtio_driver liar_driver = {
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.driver.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = liar_probe,
	.remove = liar_remove,
	.config_changed = liar_changed,
};
module_virtio_driver(liar_driver);

MODULE_DESCRIPTION("A balloon driver that lies");
MODULE_LICENSE("GPL");
