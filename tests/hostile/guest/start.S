/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry, exceptions and the other vCPUs. Some hosts emulate every instruction here, and their
 * emulator has no IRET outside real mode: no handler returns, it goes on where the guarded call
 * began (see guarded in kit.h).
 */
#include "layout.h"

        .text
        .code64
        .globl start
start:
        cli
        cld
        movq %rsi, boot_params(%rip)
        leaq stacks + STACK_SIZE(%rip), %rsp
        xorl %edi, %edi
        call kit_main
1:      cli
        hlt
        jmp 1b

        /* void load_tables(gdt pointer, idt pointer, cr3) */
        .globl load_tables
load_tables:
        lgdt (%rdi)
        lidt (%rsi)
        movq %rdx, %cr3
        pushq $SELECTOR_CODE
        leaq 1f(%rip), %rax
        pushq %rax
        lretq
1:      movl $SELECTOR_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        ret

        /*
         * int guarded(void (*fn)(void *), void *arg): 0, or 1 + the vector of the exception that
         * ended fn. The frame's address is kept at the bottom of the vCPU's stack.
         */
        .globl guarded
guarded:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, %rbx
        andq $-STACK_SIZE, %rbx
        pushq (%rbx)            /* guards nest */
        pushq %rbx
        movq %rsp, (%rbx)
        movq %rdi, %rax
        movq %rsi, %rdi
        call *%rax
        xorl %eax, %eax
guarded_out:
        popq %rbx
        popq (%rbx)
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        /* Every vector has a stub of 16 bytes: vector to the stack, common part. */
        .balign 16
        .globl vector_stubs
vector_stubs:
        .set vector, 0
        .rept 256
        .balign 16
        pushq $vector
        jmp exception
        .set vector, vector + 1
        .endr

        /*
         * The stack: vector, then what the CPU pushed. An attack may have taken the stack away, so
         * the vCPU's own one is found by its APIC ID.
         */
exception:
        cli
        cld
        popq %rdi               /* vector */
        movq (%rsp), %rsi       /* error code or instruction address: for the report only */
        movq 8(%rsp), %rdx
        movl %edi, %r12d
        movq %rsi, %r13
        movq %rdx, %r14
        movl $1, %eax
        cpuid
        shrl $24, %ebx
        andl $(MAX_CPUS - 1), %ebx
        shll $STACK_SHIFT, %ebx
        leaq stacks(%rip), %rax
        addq %rax, %rbx
        movq %r13, 8(%rbx)
        movq %r14, 16(%rbx)
        movq (%rbx), %rax
        testq %rax, %rax
        jz 1f
        movq %rax, %rsp
        leal 1(%r12), %eax
        jmp guarded_out
1:      leaq STACK_SIZE(%rbx), %rsp
        movl %r12d, %edi
        movq %r13, %rsi
        movq %r14, %rdx
        call exception_unguarded

        /* ---- the other vCPUs: copied to AP_PAGE, started there in real mode ---- */

        .globl ap_code, ap_code_end
        .code16
ap_code:
        cli
        xorw %ax, %ax
        movw %ax, %ds
        lgdtl AP_PAGE + (ap_gdt_pointer - ap_code)
        movl %cr4, %eax
        orl $0x20, %eax         /* PAE */
        movl %eax, %cr4
        movl AP_PAGE + (ap_cr3 - ap_code), %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax        /* long mode */
        wrmsr
        movl %cr0, %eax
        orl $0x80000001, %eax
        movl %eax, %cr0
        ljmpl $SELECTOR_CODE, $ap_start
        .balign 8
        .globl ap_gdt_pointer, ap_cr3
ap_gdt_pointer:
        .word 0
        .long 0
        .balign 4
ap_cr3:
        .long 0
ap_code_end:

        .code64
ap_start:
        movl $SELECTOR_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $1, %eax
        cpuid
        shrl $24, %ebx
        andl $(MAX_CPUS - 1), %ebx
        movl %ebx, %edi
        shll $STACK_SHIFT, %ebx
        leaq stacks + STACK_SIZE(%rip), %rsp
        addq %rbx, %rsp
        call kit_ap_main
1:      cli
        hlt
        jmp 1b

        /* Loops for vCPUs that an attack starts anywhere: 16-bit code that only halts. */
        .globl halt_code, halt_code_end
        .code16
halt_code:
        cli
        hlt
        jmp halt_code
halt_code_end:
        .code64

        .bss
        .balign STACK_SIZE
        .globl stacks
stacks:
        .skip MAX_CPUS * STACK_SIZE

        .section .note.GNU-stack, "", @progbits
