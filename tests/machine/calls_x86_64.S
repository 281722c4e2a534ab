/* SPDX-License-Identifier: Apache-2.0 */
/*
 * long raw_call(long number, const unsigned long args[6])
 * long i386_call(long number)
 *
 * System calls past the C library, which would turn fork into clone and knows no 32-bit ones. The
 * result is the kernel's: negative errno on failure.
 */
    .text
    .globl raw_call
    .type raw_call, @function
raw_call:
    endbr64
    mov %rdi, %rax
    mov %rsi, %r11
    mov (%r11), %rdi
    mov 8(%r11), %rsi
    mov 16(%r11), %rdx
    mov 24(%r11), %r10
    mov 32(%r11), %r8
    mov 40(%r11), %r9
    syscall
    ret
    .size raw_call, . - raw_call

    .globl i386_call
    .type i386_call, @function
i386_call:
    endbr64
    push %rbx
    mov %edi, %eax
    xor %ebx, %ebx
    xor %ecx, %ecx
    xor %edx, %edx
    int $0x80
    cltq
    pop %rbx
    ret
    .size i386_call, . - i386_call
    .section .note.GNU-stack, "", @progbits
