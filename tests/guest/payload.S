/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiny guests for test_kvm.c, copied to G_CODE (or G_AP) of a guest's memory, so: position
 * independent. Only instructions that KVM's emulator also knows, and few of them, since some hosts
 * emulate all of it; an interrupt handler never returns (that emulator has no IRET outside real
 * mode) but goes on by itself.
 */
#include "payload.h"

        .section .rodata
        .macro guest name
        .globl guest_\name
guest_\name:
        .endm
        .macro end name
        .globl guest_\name\()_end
guest_\name\()_end:
        .endm

        /* ---- real mode ---- */
        .code16

        guest real_mode
        movw $0x1234, %ax
        addw $1, %ax
        outw %ax, $P_VALUE
        outb %al, $P_DONE
        hlt
        end real_mode

        /* The second vCPU: says it is there, then counts, one count for each answer of the host. */
        guest ap
        movw $(G_DATA >> 4), %ax
        movw %ax, %ds
        xorl %ecx, %ecx
        movw $0x77aa, 0
1:      incl %ecx
        movl %ecx, %eax
        outl %eax, $P_VALUE
        jmp 1b
        end ap

        /* ---- long mode ---- */
        .code64

        guest long_mode
        movabsq $0x1122334455667788, %rax
        shrq $32, %rax
        outl %eax, $P_VALUE
        outb %al, $P_DONE
        hlt
        end long_mode

        /* Every size, to memory and ports; what is read is written back. */
        guest access
        movl $G_MMIO, %ebx
        movb $0x11, 0x00(%rbx)
        movw $0x2222, 0x02(%rbx)
        movl $0x33333333, 0x04(%rbx)
        movabsq $0x4444444455555555, %rax
        movq %rax, 0x08(%rbx)
        movb 0x10(%rbx), %al
        movb %al, 0x20(%rbx)
        movw 0x12(%rbx), %ax
        movw %ax, 0x22(%rbx)
        movl 0x14(%rbx), %eax
        movl %eax, 0x24(%rbx)
        movq 0x18(%rbx), %rax
        movq %rax, 0x28(%rbx)
        movb $0x66, %al
        outb %al, $P_VALUE
        movw $0x7777, %ax
        outw %ax, $P_VALUE
        movl $0x88888888, %eax
        outl %eax, $P_VALUE
        xorl %eax, %eax
        inb $P_IN, %al
        outl %eax, $P_VALUE
        xorl %eax, %eax
        inw $P_IN, %ax
        outl %eax, $P_VALUE
        inl $P_IN, %eax
        outl %eax, $P_VALUE
        outb %al, $P_DONE
        hlt
        end access

        guest strings
        cld
        movl $G_DATA, %esi
        movl $5, %ecx
        movl $P_VALUE, %edx
        rep outsb
        movl $(G_DATA + 0x100), %edi
        movl $3, %ecx
        movl $P_IN, %edx
        rep insw
        movl $(G_DATA + 0x200), %edi
        movl $2, %ecx
        rep insl
        outb %al, $P_DONE
        hlt
        end strings

        /* Across a page boundary: 3 + 1 bytes written, 1 + 7 read. */
        guest crossing
        movl $(G_MMIO + 0x1000), %ebx
        movl $0x44332211, -3(%rbx)
        movq -1(%rbx), %rax
        movl $G_DATA, %ebx
        movq %rax, (%rbx)
        outb %al, $P_DONE
        hlt
        end crossing

        guest spin
        movl $G_DATA, %ebx
1:      incl (%rbx)
        jmp 1b
        end spin

        guest sleep
1:      hlt
        jmp 1b
        end sleep

        guest chatter
1:      outb %al, $P_VALUE
        inb $P_IN, %al
        jmp 1b
        end chatter

        guest doorbell
        movl $G_MMIO, %ebx
        movl $1, 0x50(%rbx)
        movl $2, 0x50(%rbx)
        movw $1, 0x50(%rbx)
        movl $1, 0x50(%rbx)
        outb %al, $P_DONE
        hlt
        end doorbell

        .macro x2apic_on
        movl $0x1b, %ecx
        rdmsr
        orl $0xc00, %eax
        wrmsr
        movl $0x80f, %ecx       /* spurious vector register: software enable */
        movl $0x1ff, %eax
        xorl %edx, %edx
        wrmsr
        .endm

        /* Reports, sleeps; the handler reports the count of interrupts and sleeps again. */
        guest irq
        x2apic_on
        xorl %ebx, %ebx
        outb %al, $P_DONE
irq_wait:
        movl $G_STACK, %esp
        sti
1:      hlt
        jmp 1b
        .globl guest_irq_handler
guest_irq_handler:
        incl %ebx
        movl $0x80b, %ecx       /* end of interrupt */
        xorl %eax, %eax
        xorl %edx, %edx
        wrmsr
        movl %ebx, %eax
        outl %eax, $P_IRQ
        jmp irq_wait
        end irq

        /* INIT and start-up message to APIC 1, by MSR and by memory access. */
        guest bsp_msr
        x2apic_on
        movl $0x830, %ecx
        movl $1, %edx
        movl $0x4500, %eax
        wrmsr
        movl $(0x4600 | G_AP >> 12), %eax
        wrmsr
        movl $G_DATA, %ebx
1:      cmpw $0x77aa, (%rbx)
        jne 1b
2:      outb %al, $P_DONE
        jmp 2b
        end bsp_msr

        guest bsp_mmio
        movl $0xfee00000, %ebx
        movl $0x1ff, 0xf0(%rbx)
        movl $(1 << 24), 0x310(%rbx)
        movl $0x4500, 0x300(%rbx)
        movl $(1 << 24), 0x310(%rbx)
        movl $(0x4600 | G_AP >> 12), 0x300(%rbx)
        movl $G_DATA, %ebx
1:      cmpw $0x77aa, (%rbx)
        jne 1b
2:      outb %al, $P_DONE
        jmp 2b
        end bsp_mmio

        /* The test gives it an empty IDT. */
        guest triple_fault
        ud2
        end triple_fault

        /* Asks the host for a leaf and a subleaf, answers with the registers, for ever. */
        guest cpuid
1:      inl $P_IN, %eax
        movl %eax, %esi
        inl $P_IN, %eax
        movl %eax, %ecx
        movl %esi, %eax
        cpuid
        outl %eax, $P_VALUE
        movl %ebx, %eax
        outl %eax, $P_VALUE
        movl %ecx, %eax
        outl %eax, $P_VALUE
        movl %edx, %eax
        outl %eax, $P_VALUE
        jmp 1b
        end cpuid

        guest rom
        movl $G_ROM, %ebx
        movl (%rbx), %eax
        outl %eax, $P_VALUE
        movl $0xabcdef01, 8(%rbx)
        movl 8(%rbx), %eax
        outl %eax, $P_VALUE
        hlt
        end rom

        /*
         * Puts patterns into everything that a saved state must carry, arms the timer (interrupts
         * still off), stops at P_VALUE - where it is saved - and afterwards writes down what it
         * finds and lets the timer fire.
         */
        guest state
        x2apic_on
        movl $G_DATA, %ebp
        movl $0xc0000102, %ecx  /* KernelGSbase */
        movl $0x55667788, %eax
        movl $0x00003344, %edx
        wrmsr
        movl $0xc0000082, %ecx  /* LSTAR */
        movl $0x99aabbcc, %eax
        movl $0x00001111, %edx
        wrmsr
        movq S_IN + 0x40(%rbp), %rax
        movq %rax, %dr0
        movdqu S_IN + 0x50(%rbp), %xmm0
        movdqu S_IN + 0x60(%rbp), %xmm7
        movdqu S_IN + 0x60(%rbp), %xmm15
        movl $0x832, %ecx       /* timer: deadline mode, G_VECTOR */
        movl $(0x40000 | G_VECTOR), %eax
        xorl %edx, %edx
        wrmsr
        rdtsc
        addl $10000000, %eax
        adcl $0, %edx
        movl $0x6e0, %ecx
        wrmsr
        movq S_IN + 0x00(%rbp), %r8
        movq S_IN + 0x08(%rbp), %r9
        movq S_IN + 0x10(%rbp), %r10
        movq S_IN + 0x18(%rbp), %r11
        movq S_IN + 0x20(%rbp), %r12
        movq S_IN + 0x28(%rbp), %r13
        movq S_IN + 0x30(%rbp), %r14
        movq S_IN + 0x38(%rbp), %r15
        rdtsc
        movl %eax, S_OUT + 0x80(%rbp)
        movl %edx, S_OUT + 0x84(%rbp)
        stc
        outl %eax, $P_VALUE
        movl $0, %eax
        adcl $0, %eax           /* the carry flag */
        movl %eax, S_OUT + 0x98(%rbp)
        movq %r8, S_OUT + 0x00(%rbp)
        movq %r9, S_OUT + 0x08(%rbp)
        movq %r10, S_OUT + 0x10(%rbp)
        movq %r11, S_OUT + 0x18(%rbp)
        movq %r12, S_OUT + 0x20(%rbp)
        movq %r13, S_OUT + 0x28(%rbp)
        movq %r14, S_OUT + 0x30(%rbp)
        movq %r15, S_OUT + 0x38(%rbp)
        movq %dr0, %rax
        movq %rax, S_OUT + 0x40(%rbp)
        movdqu %xmm0, S_OUT + 0x50(%rbp)
        movdqu %xmm7, S_OUT + 0x60(%rbp)
        movdqu %xmm15, S_OUT + 0x70(%rbp)
        rdtsc
        movl %eax, S_OUT + 0x88(%rbp)
        movl %edx, S_OUT + 0x8c(%rbp)
        movl $0xc0000102, %ecx
        rdmsr
        movl %eax, S_OUT + 0x90(%rbp)
        movl %edx, S_OUT + 0x94(%rbp)
        outb %al, $P_DONE
        movl $G_STACK, %esp
        sti
1:      hlt
        jmp 1b
        .globl guest_state_handler
guest_state_handler:
        outl %eax, $P_IRQ
        hlt
        end state

        /* Turns AVX on, fills a register, stops, shows it; only where CPUID offers it. */
        guest avx
        movl $G_DATA, %ebp
        movq %cr4, %rax
        orl $0x40600, %eax      /* OSXSAVE, OSFXSR, OSXMMEXCPT */
        movq %rax, %cr4
        xorl %ecx, %ecx
        xorl %edx, %edx
        movl $7, %eax
        xsetbv
        fninit
        fld1
        vmovdqu S_IN(%rbp), %ymm5
        outl %eax, $P_VALUE
        vmovdqu %ymm5, S_OUT(%rbp)
        fstpl S_OUT + 0x20(%rbp)
        xorl %ecx, %ecx
        xgetbv
        outl %eax, $P_VALUE
        hlt
        end avx

        /* KVM's clock page at G_DATA; KVM fills it before the guest goes on. */
        guest clock
        movl $0x4b564d01, %ecx
        movl $(G_DATA | 1), %eax
        xorl %edx, %edx
        wrmsr
1:      outb %al, $P_DONE
        jmp 1b
        end clock

        .section .note.GNU-stack, "", @progbits
