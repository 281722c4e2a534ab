/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest: an ELF kernel with a PVH entry whose first instructions write to a port, which
 * is the exit that the bench waits for, and then ask the keyboard controller for a reset, which ends
 * the VM. Few enough instructions for a hypervisor that emulates each of them.
 */
        .code32
        .text
        .globl _start
_start:
        movb $0x42, %al
        outb %al, $0x80
        movb $0xfe, %al
        outb %al, $0x64
1:      hlt
        jmp 1b

        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 4, 18          /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .balign 4
        .long _start
        .section .note.GNU-stack, "", @progbits
