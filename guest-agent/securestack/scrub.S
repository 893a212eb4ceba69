/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* void ss_scrub_(uintptr_t low, uint64_t how): zeroes what is below the stack pointer, and registers.
 *
 *     low            lowest address that is this stack
 *     how bits 0-7   vector registers from this one on are zeroed (0 to 8)
 *         bit 8      of those that are kept what is beyond 16 bytes is zeroed as well
 *         bits 32-63 bytes below the stack that are looked at in any case
 *
 * The stack is zeroed as far down as it was used: to where 4 KiB hold nothing but zeroes. That is known only
 * because each scrub leaves zeroes behind, and costs less than a fixed depth that would do for all.
 * Functions that leave larger gaps in their frames than that have to say so (clear_bytes).
 *
 * Uses rax, rcx, rdx, r8 and xmm8, xmm9, which hold neither arguments nor results. Invariant: nothing at or
 * above rsp is written, and nothing is left in what it uses. */

#define GAP_BYTES 4096
#define BLOCK_BYTES 512
#define HAS_AVX 1
#define HAS_AVX512 2

	.text
	.p2align 4
	.globl ss_scrub_
	.type ss_scrub_, @function
ss_scrub_:
	.cfi_startproc
	endbr64
	movq %rsp, %rcx
	movq %rsp, %rax
	andq $-64, %rax
.Lpartial:
	cmpq %rax, %rcx
	je .Lblocks
	subq $8, %rcx
	movq $0, (%rcx)
	jmp .Lpartial
.Lblocks:
	movq %rsi, %rdx
	shrq $32, %rdx
	movq %rsp, %r8
	subq %rdx, %r8
	movl $GAP_BYTES, %edx
	testl $HAS_AVX, ss_cpu_(%rip)
	jz .Lsse_block
.Lavx_block:
	leaq -BLOCK_BYTES(%rax), %rcx
	cmpq %rdi, %rcx
	jb .Lend
	vmovaps (%rcx), %ymm9
	.irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vorps 32*\n(%rcx), %ymm9, %ymm9
	.endr
	movq %rcx, %rax
	vptest %ymm9, %ymm9
	jz .Lavx_clean
	vxorps %xmm8, %xmm8, %xmm8
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovaps %ymm8, 32*\n(%rcx)
	.endr
	movl $GAP_BYTES, %edx
	jmp .Lavx_block
.Lavx_clean:
	subq $BLOCK_BYTES, %rdx
	jg .Lavx_block
	cmpq %r8, %rcx
	ja .Lavx_block
	jmp .Lend
.Lsse_block:
	leaq -BLOCK_BYTES(%rax), %rcx
	cmpq %rdi, %rcx
	jb .Lend
	pxor %xmm8, %xmm8
	movaps (%rcx), %xmm9
	.irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, \
		16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	orps 16*\n(%rcx), %xmm9
	.endr
	pcmpeqb %xmm8, %xmm9
	pmovmskb %xmm9, %eax
	cmpl $0xffff, %eax
	movq %rcx, %rax
	je .Lsse_clean
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, \
		16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	movaps %xmm8, 16*\n(%rcx)
	.endr
	movl $GAP_BYTES, %edx
	jmp .Lsse_block
.Lsse_clean:
	subq $BLOCK_BYTES, %rdx
	jg .Lsse_block
	cmpq %r8, %rcx
	ja .Lsse_block
.Lend:
	movl ss_cpu_(%rip), %eax
	testl $HAS_AVX, %eax
	jz .Lsse
	testl $0xff, %esi
	jnz .Lavx_some
	vzeroall
	jmp .Lavx512
.Lavx_some:
	.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	vpxor %xmm\n, %xmm\n, %xmm\n
	.endr
	.irp n, 7, 6, 5, 4, 3, 2, 1
	cmpb $\n, %sil
	ja .Lavx_kept
	vpxor %xmm\n, %xmm\n, %xmm\n
	.endr
.Lavx_kept:
	testl $0x100, %esi
	jz .Lavx512
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7
	vmovdqa %xmm\n, %xmm\n
	.endr
.Lavx512:
	testl $HAS_AVX512, %eax
	jz .Lwiped
	.irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vpxorq %zmm\n, %zmm\n, %zmm\n
	.endr
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7
	kxorw %k\n, %k\n, %k\n
	.endr
	jmp .Lwiped
.Lsse:
	.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	pxor %xmm\n, %xmm\n
	.endr
	.irp n, 7, 6, 5, 4, 3, 2, 1, 0
	cmpb $\n, %sil
	ja .Lwiped
	pxor %xmm\n, %xmm\n
	.endr
.Lwiped:
	xorl %eax, %eax
	xorl %ecx, %ecx
	xorl %edx, %edx
	xorl %r8d, %r8d
	ret
	.cfi_endproc
	.size ss_scrub_, . - ss_scrub_

	.section .note.GNU-stack, "", @progbits
