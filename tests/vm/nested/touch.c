/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest inside the guest: no kernel, only a program that QEMU starts directly (multiboot). It writes FILL_MIB once,
 * and from then on touches the first part of that, the hot one, with each tick of the timer (18 a second).
 *
 * On the serial line it says F when all is written, and X when a page is not as it was written; on "g" the hot part
 * grows, and G says that all of it was touched and is whole; "v" goes through everything, and V says that it was whole. */
#include <stdint.h>

#define MIB (UINT32_C(1) << 20)
#define PAGE UINT32_C(4096)
#define FILL_MIB 160
#define HOT_MIB 64
#define HOT_LATER_MIB 128
#define BASE (8 * MIB)
#define COM1 0x3f8

__attribute__((section(".multiboot"), used)) static const uint32_t header[3] = { 0x1badb002, 0, -0x1badb002U };

static inline void outb(uint16_t port, uint8_t v) {
        __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port) {
        uint8_t v;

        __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static void say(char c) {
        while (!(inb(COM1 + 5) & 0x20))
                ;
        outb(COM1, (uint8_t) c);
}

/* ---- the timer: so that the guest sleeps between two rounds ---- */

__attribute__((naked, used)) static void tick(void) {
        __asm__("pushl %eax; movb $0x20, %al; outb %al, $0x20; popl %eax; iret");
}

static struct {
        uint16_t low, selector, flags, high;
} idt[16] __attribute__((aligned(8)));

/* none, code, data */
static const uint64_t gdt[3] __attribute__((aligned(8))) = { 0, 0x00cf9a000000ffff, 0x00cf92000000ffff };

struct table {
        uint16_t limit;
        uint32_t base;
} __attribute__((packed));

static void start_timer(void) {
        struct table g = { sizeof(gdt) - 1, (uint32_t) gdt }, i = { sizeof(idt) - 1, (uint32_t) idt };

        __asm__ volatile("lgdt %0; ljmp $8, $1f; 1: mov %1, %%ds; mov %1, %%es; mov %1, %%ss" ::"m"(g), "r"(16));
        for (int n = 0; n < 16; n++) { /* the BIOS left the timer at vector 8 */
                idt[n].low = (uint16_t) (uint32_t) tick;
                idt[n].high = (uint16_t) ((uint32_t) tick >> 16);
                idt[n].selector = 8;
                idt[n].flags = 0x8e00;
        }
        __asm__ volatile("lidt %0" ::"m"(i));
        outb(0x21, 0xfe); /* nothing but the timer */
        outb(0xa1, 0xff);
}

/* ---- memory ---- */

static uint32_t pattern(uint32_t at) {
        return at * 2654435761U;
}

static void fill(uint32_t mib) {
        for (uint32_t at = BASE; at < BASE + mib * MIB; at += PAGE)
                for (uint32_t word = at; word < at + PAGE; word += 64)
                        *(volatile uint32_t *) word = pattern(at);
}

static void touch(uint32_t mib) {
        for (uint32_t at = BASE; at < BASE + mib * MIB; at += PAGE)
                if (*(volatile uint32_t *) (at + PAGE - 64) != pattern(at))
                        say('X');
}

__attribute__((used)) static void run(void) {
        uint32_t hot_mib = HOT_MIB;

        start_timer();
        fill(FILL_MIB);
        say('F');
        for (;;) {
                char c = inb(COM1 + 5) & 1 ? (char) inb(COM1) : 0;

                if (c == 'g')
                        hot_mib = HOT_LATER_MIB;
                touch(c == 'v' ? FILL_MIB : hot_mib);
                if (c == 'g')
                        say('G');
                if (c == 'v')
                        say('V');
                __asm__ volatile("sti; hlt; cli");
        }
}

static uint8_t stack[4096] __attribute__((aligned(16), used));

void start(void); /* the entry: touch.ld */
__attribute__((naked, section(".start"), used)) void start(void) {
        __asm__("cli; mov $stack + 4096, %esp; call run");
}
