/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* void *ss_slowly(void *(*call)(void *), void *argument): calls it with vector registers saved, which it may
 * use as any function. What is saved lies below the stack afterwards, where the scrub that comes before each
 * call finds it. */

#define HAS_XSAVE 4
#define AREA_BYTES 4096 /* legacy area, header, AVX, AVX-512: 2,688 at most */
#define COMPONENTS 0xe7 /* x87, SSE, AVX, and the three of AVX-512 */

	.text
	.p2align 4
	.globl ss_slowly
	.hidden ss_slowly
	.type ss_slowly, @function
ss_slowly:
	.cfi_startproc
	endbr64
	pushq %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset 6, -16
	movq %rsp, %rbp
	.cfi_def_cfa_register 6
	pushq %rbx
	.cfi_offset 3, -24
	subq $AREA_BYTES, %rsp
	andq $-64, %rsp
	movq %rdi, %rcx
	movq %rsi, %rdi
	testl $HAS_XSAVE, ss_cpu_(%rip)
	jz .Lold
	xorl %eax, %eax
	.irp at, 512, 520, 528, 536, 544, 552, 560, 568
	movq %rax, \at(%rsp)
	.endr
	movl $COMPONENTS, %eax
	xorl %edx, %edx
	xsave64 (%rsp)
	call *%rcx
	movq %rax, %rbx
	movl $COMPONENTS, %eax
	xorl %edx, %edx
	xrstor64 (%rsp)
	jmp .Lend
.Lold:
	fxsave64 (%rsp)
	call *%rcx
	movq %rax, %rbx
	fxrstor64 (%rsp)
.Lend:
	movq %rbx, %rax
	movq -8(%rbp), %rbx
	leave
	.cfi_def_cfa 7, 8
	ret
	.cfi_endproc
	.size ss_slowly, . - ss_slowly

	.section .note.GNU-stack, "", @progbits
