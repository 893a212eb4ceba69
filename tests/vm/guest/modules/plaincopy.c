// SPDX-License-Identifier: GPL-2.0-or-later
/* Plaincopy: the least that any way to keep a stack in the kernel can cost, to measure securestack.ko by: one ioctl copies
 * memory out into a new allocation and zeroes it, another one copies it back. Protects nothing from nobody.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define COPY_OUT _IOW('M', 0xd0, struct part)
#define COPY_BACK _IO('M', 0xd1)
#define MOST (64u << 10)

struct part {
	u64 address;
	u64 bytes;
};

struct kept {
	struct part part;
	u8 data[];
};

static long copy_out(struct file *file, void __user *arg)
{
	struct kept *k;
	struct part p;

	if (file->private_data || copy_from_user(&p, arg, sizeof(p)) || !p.bytes || p.bytes > MOST)
		return -EINVAL;
	k = kmalloc(sizeof(*k) + p.bytes, GFP_KERNEL_ACCOUNT);
	if (!k)
		return -ENOMEM;
	k->part = p;
	if (copy_from_user(k->data, u64_to_user_ptr(p.address), p.bytes) ||
	    clear_user(u64_to_user_ptr(p.address), p.bytes)) {
		kfree_sensitive(k);
		return -EFAULT;
	}
	file->private_data = k;
	return 0;
}

static long copy_back(struct file *file)
{
	struct kept *k = file->private_data;
	long err;

	if (!k)
		return -ENOENT;
	err = copy_to_user(u64_to_user_ptr(k->part.address), k->data, k->part.bytes) ? -EFAULT : 0;
	file->private_data = NULL;
	kfree_sensitive(k);
	return err;
}

static long on_ioctl(struct file *file, unsigned int what, unsigned long arg)
{
	return what == COPY_OUT ? copy_out(file, (void __user *)arg) : what == COPY_BACK ? copy_back(file) : -ENOTTY;
}

static int on_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL; /* the device, until now */
	return 0;
}

static int on_release(struct inode *inode, struct file *file)
{
	kfree_sensitive(file->private_data);
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = on_open,
	.release = on_release,
	.unlocked_ioctl = on_ioctl,
};

static struct miscdevice device = {.minor = MISC_DYNAMIC_MINOR, .name = "plaincopy", .fops = &fops};

module_misc_device(device);
MODULE_DESCRIPTION("MemLego tests: memory out and back by plain ioctls");
MODULE_LICENSE("GPL");
