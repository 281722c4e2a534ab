/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pid_t clone3_call(struct clone_args *args, size_t size, int (*fn)(void *), void *ctx)
 *
 * clone3 with a stack of its own cannot return into C on the child's side: the child calls fn(ctx)
 * on the new stack and ends with its result. The parent gets the pid or a negative errno.
 *
 * pid_t clone_call(uint64_t flags, char *stack_top, int *ret_pidfd, int (*fn)(void *), void *ctx)
 *
 * The same with clone, for sandboxes that hide clone3 because they cannot see its flags.
 */
    .text
    .globl clone3_call
    .hidden clone3_call
    .type clone3_call, @function
clone3_call:
    endbr64
    mov %rdx, %r8           /* the system call keeps r8 and r9 */
    mov %rcx, %r9
    mov $435, %eax          /* clone3 */
    syscall
    test %rax, %rax
    jz 1f
    ret
1:
    xor %ebp, %ebp
    mov %r9, %rdi
    call *%r8
    mov %eax, %edi
    mov $60, %eax           /* exit */
    syscall
    hlt
    .size clone3_call, . - clone3_call

    .globl clone_call
    .hidden clone_call
    .type clone_call, @function
clone_call:
    endbr64
    mov %rcx, %r9           /* r8 is the thread pointer, which no flag asks for */
    xor %r10d, %r10d
    mov $56, %eax           /* clone */
    syscall
    test %rax, %rax
    jz 1f
    ret
1:
    xor %ebp, %ebp
    mov %r8, %rdi
    call *%r9
    mov %eax, %edi
    mov $60, %eax           /* exit */
    syscall
    hlt
    .size clone_call, . - clone_call
    .section .note.GNU-stack, "", @progbits
