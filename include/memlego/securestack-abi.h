/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SecureStack: what programs ask securestack.ko for, by ioctls on /dev/securestack. Contract between the
 * module and libsecurestack; compiled into both, and into tests.
 *
 * A thread that is about to call a function it does not trust says PROTECT: the bytes it names are moved
 * into the kernel and are zero in the process. After the call it says RESTORE, and they are back. What was
 * below its stack pointer, left by whoever ran there, is zeroed on both occasions, as far down as it says.
 * Meanwhile the bytes are nowhere that the process, or another one of its user, could read: not by a
 * pointer, /proc/PID/mem, process_vm_readv() or ptrace(), nor in a core dump or the swap.
 *
 * Whose a vault is. A file (open it with O_CLOEXEC) belongs to the process image, that is the mm, which
 * first says PROTECT on it, and is of no use to another: not after fork(), not after exec, not to whom it
 * was sent. In it, each thread has a stack of *entries*, one for each PROTECT that was not followed by its
 * RESTORE. An entry ends, and is wiped, with
 *     - its RESTORE;
 *     - its frame: a RESTORE or PROTECT of the same thread, higher up on the same stack, shows that the
 *       frame is gone (longjmp, an exception), and so does a PROTECT with the same stack pointer and the
 *       same site;
 *     - its thread (when the module sees that, at the latest when further threads come), its process image,
 *       the last descriptor.
 * "The same stack" is: in the same mapping (VMA). Stacks of coroutines and signals work where each has a
 * mapping of its own, which a guard page is enough for. Where several lie in one mapping, entries are taken
 * for dead that are not, and their RESTORE fails.
 *
 * Who may restore. At PROTECT the kernel notes the thread, its stack pointer (SP) and the *site*, the
 * address behind the system call instruction that will say RESTORE. That must lie in a mapping that can be
 * executed and not written, and shows a file, private, of which no page was written (so text relocations,
 * breakpoints and uprobes in the code around a site make PROTECT say EACCES, on purpose). RESTORE is
 * answered only to that thread with that SP (as the kernel sees it, at the system call) at that site, while
 * the same place of the same file is still there, unwritten. So who has taken over the thread can restore
 * only by going on in the code that was to go on anyway: a call gate. What that code finds in registers is
 * then the attacker's choice, so a stub
 *     - has its system call instructions inline, not in a function that others can call (syscall(),
 *       ioctl());
 *     - puts what it needs afterwards, callee-saved registers included, into memory that is protected, and
 *       takes it from there;
 *     - clears all other registers before the call: the callee would save them in its own frame;
 *     - executes a trap (ud2) where RESTORE answers anything but 0.
 * A thread that has got a tracer between PROTECT and RESTORE is killed by the latter: the tracer would see
 * what is restored.
 *
 * What it is not. While the bytes are in the process, before PROTECT and after RESTORE, whoever shares it
 * can read them: other threads, handlers of signals, a debugger, and so a callee that runs arbitrary code
 * and leaves something behind that waits (a thread, a timer, a changed pointer or a patched function
 * elsewhere). Copies that the program made elsewhere it has to name as well. What is not protected can be
 * written to, return addresses of frames further up among it. A file of code that the process's user may
 * write to can be changed below its mapping.
 *
 * All is failed closed. What cannot be protected is refused before a byte is touched. A RESTORE that matched
 * an entry and cannot write all of it back ends the process with SIGKILL: its frame must not run without its
 * data. A RESTORE that matches none changes nothing. What matched none is a *violation*: it is counted in
 * /sys/class/misc/securestack/ and logged, with the name of the program.
 *
 * Sizes are bytes, addresses are u64 for 32-bit programs, too. Limits are the module's parameters; ABOUT
 * tells them. Every ioctl can say
 *     ENOTTY   no such ioctl: not this device, or an older module
 *     EFAULT   an address that cannot be read, or written, as it has to be
 *     EINVAL   an unknown flag, a reserved field that is not 0, or what is said there
 * A seccomp filter that forbids ioctl() forbids these; allow the request numbers below, on the descriptor if
 * it can. */
#pragma once

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#else
#include <assert.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#endif

#define MLG_SS_DEVICE "/dev/securestack"
#define MLG_SS_MAGIC 0x53534c4du     /* "MLSS" */
#define MLG_SS_VERSION 1u
#define MLG_SS_RANGES_MAX 64u        /* of one PROTECT, exceptions included */
#define MLG_SS_RED_ZONE_BYTES 128u   /* below SP, never cleared: x86-64's ABI has functions use them */

/* ABOUT: is it this, and how much of it is there? A higher version knows all of a lower one's. */
struct mlg_ss_about {
	__u32 magic;
	__u32 version;
	__u32 features;       /* bits that a program does not know mean nothing to it */
	__u32 ranges_max;
	__u32 call_bytes_max; /* of one PROTECT, in all ranges */
	__u32 clear_bytes_max;
	__u32 depth_max;      /* entries of one thread */
	__u32 reserved;
	__u64 user_bytes_max; /* of all processes of one user (real UID), with what it takes to keep them */
};

/* A range of memory, any: stack, heap, globals; writable and private (of this process alone).
 *     secret      moved away and zeroed
 *     exception   cut out of all secret ranges of this call: the callee sees it and may change it, and what
 *                 it wrote stays
 * They may overlap and have any order. */
struct mlg_ss_range {
	__u64 address;
	__u32 bytes;          /* not 0 */
	__u32 flags;          /* 0, or MLG_SS_EXCEPTION */
};

#define MLG_SS_EXCEPTION 1u

/* PROTECT: read once, before anything is done. Then: all ranges are copied, then zeroed, then the stack is
 * cleared.
 *     EPERM       the file belongs to another process image, or has a snapshot in it
 *     EACCES      the site lies in no mapping as described above
 *     EINVAL      no range, or too many; an empty one; one that wraps around; more to clear than
 *                 clear_bytes_max
 *     EOPNOTSUPP  a secret range lies in shared memory: others could read it, and could after the restore
 *     E2BIG       more than call_bytes_max
 *     ENOSPC      the thread has depth_max entries
 *     EDQUOT      the user would have more than user_bytes_max
 *     ENOMEM      no memory (or none left in the cgroup)
 * All of these: nothing was changed, and the callee must not be called. */
struct mlg_ss_protect {
	__u64 ranges;         /* the address of n_ranges mlg_ss_range */
	__u32 n_ranges;
	__u32 flags;          /* 0, or MLG_SS_FORK */
	__u64 site;           /* where RESTORE will return to */
	__u32 clear_bytes;    /* as CLEAR's */
	__u32 reserved;
};

#define MLG_SS_FORK 1u /* a child may have these bytes as well, see SNAPSHOT; else its RESTORE fails */

/* RESTORE: its argument is not an address but the number of bytes to clear, as CLEAR's: nothing is read from
 * memory that the callee could have written to. First the stack is cleared, then bytes are written back:
 * over whatever the callee wrote there.
 *     EPERM       the thread has entries, but none with this SP and site, or the code there has changed: a
 *                 violation. Or another process's file
 *     ENOENT      the thread has no entries: nothing was protected, or its frame was taken for dead, or it
 *                 is a child after a fork. A violation as well
 *     EINVAL      more to clear than clear_bytes_max; nothing was restored
 * The caller must not go on after any of them. */

/* CLEAR: zeroes `argument` bytes from SP - MLG_SS_RED_ZONE_BYTES downwards, but not beyond the mapping that
 * SP lies in, and pages that there are only: the stack grows by nothing. The caller answers for it that so
 * many bytes below SP are its stack. Registers are the caller's to clear. Needs nothing to be protected, and
 * works on anybody's file.
 *     EINVAL      more than clear_bytes_max */

/* SNAPSHOT and ADOPT: for a child that shall return into the frames of the thread that forked it.
 *     before    the thread opens the device once more and says SNAPSHOT there, the argument being the
 *               descriptor that its entries are in: those with MLG_SS_FORK are copied
 *     fork()
 *     parent    closes the new file
 *     child     says ADOPT on it, and uses it from then on; its stack has zeroes where the parent's had
 * The copy does not depend on what becomes of the parent's entries meanwhile, and ends with the last
 * descriptor. The child shows that it is one by the file, by its real parent being the thread that made the
 * snapshot, by having one thread, and by having executed nothing. What the parent's user can read of a child
 * he can then read after the child's RESTORE: so it needs the flag, which the code that protects sets.
 * SNAPSHOT:
 *     EBADF       the argument is no descriptor of this device
 *     EPERM       that one belongs to another process image
 *     EBUSY       this file has entries, or a snapshot, already
 *     EDQUOT, ENOMEM
 * ADOPT:
 *     ENOENT      there is no snapshot in this file, or it has been adopted
 *     EPERM       this is no such child: a violation
 *     EBUSY       the child has protected something already; the snapshot is gone, as it is with
 *     ENOMEM */

/* STAT: what the calling thread has in this file. */
struct mlg_ss_stat {
	__u32 depth;          /* its entries */
	__u32 reserved;
	__u64 bytes;          /* in them */
	__u64 user_bytes;     /* what counts against user_bytes_max */
};

#define MLG_SS_IOC_ABOUT _IOR('M', 0xe0, struct mlg_ss_about)
#define MLG_SS_IOC_PROTECT _IOW('M', 0xe1, struct mlg_ss_protect)
#define MLG_SS_IOC_RESTORE _IO('M', 0xe2)
#define MLG_SS_IOC_CLEAR _IO('M', 0xe3)
#define MLG_SS_IOC_SNAPSHOT _IO('M', 0xe4)
#define MLG_SS_IOC_ADOPT _IO('M', 0xe5)
#define MLG_SS_IOC_STAT _IOR('M', 0xe6, struct mlg_ss_stat)

#define MLG_SS_IS(what, size) static_assert(sizeof(struct what) == (size), #what)
MLG_SS_IS(mlg_ss_about, 40);
MLG_SS_IS(mlg_ss_range, 16);
MLG_SS_IS(mlg_ss_protect, 32);
MLG_SS_IS(mlg_ss_stat, 24);
