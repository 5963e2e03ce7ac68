/* boot.S: in the place of a BIOS. From the reset vector to long mode, the first 4 GiB at their own addresses; reads the supervisor and
 * the program from the first disk by programmed I/O and jumps to the supervisor. Numbers given to the assembler: SUPERVISOR_SECTORS,
 * PROGRAM_SECTORS; where things lie is in layout.h. */
#include "layout.h"

.section .text
.code16
start16:
  cli
  movb $2, %al /* the A20 line */
  outb %al, $0x92
  lgdtl %cs:gdtr - start16
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  ljmpl $0x20, $start32
.code32
start32:
  movl $0x18, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  cld
  movl $PAGES, %edi
  xorl %eax, %eax
  movl $0x2000 / 4, %ecx
  rep stosl
  movl $PAGES + 0x1003, PAGES
  movl $0x00000083, PAGES + 0x1000
  movl $0x40000083, PAGES + 0x1008
  movl $0x80000083, PAGES + 0x1010
  movl $0xc0000083, PAGES + 0x1018
  movl $PAGES, %eax
  movl %eax, %cr3
  movl $0x20, %eax /* PAE */
  movl %eax, %cr4
  movl $0xc0000080, %ecx
  rdmsr
  orl $0x101, %eax /* EFER: long mode, syscall */
  wrmsr
  movl $0x80000023, %eax /* paging, native FPU errors, FPU present, protection: caches on */
  movl %eax, %cr0
  ljmpl $0x10, $start64
.code64
start64:
  movl $STACK, %esp
  xorl %ebx, %ebx
  movl $SUPERVISOR_SECTORS, %ebp
  movl $SUPERVISOR, %edi
  call read
  movl $PROGRAM_SECTORS, %ebp
  movl $PROGRAM_FILE, %edi
  call read
  movl $SUPERVISOR, %eax
  jmp *%rax

/* Reads ebp sectors, from sector ebx on, to rdi; ebx is then the next one. */
read:
  testl %ebp, %ebp
  jz 9f
  movl $0x1f2, %edx
  movb $1, %al /* one sector a command */
  outb %al, %dx
  movl %ebx, %eax
  incl %edx
  outb %al, %dx
  shrl $8, %eax
  incl %edx
  outb %al, %dx
  shrl $8, %eax
  incl %edx
  outb %al, %dx
  shrl $8, %eax
  orb $0xe0, %al
  incl %edx
  outb %al, %dx
  incl %edx
  movb $0x20, %al /* read */
  outb %al, %dx
1:inb %dx, %al
  testb $0x80, %al /* busy */
  jnz 1b
  testb $1, %al /* error */
  jnz 8f
  testb $8, %al /* data is there */
  jz 1b
  movl $0x1f0, %edx
  movl $256, %ecx
  rep insw
  incl %ebx
  decl %ebp
  jmp read
8:movb $'!', %al
  outb %al, $0xe9
  hlt
  jmp 8b
9:ret

.balign 8
gdt:
  .quad 0, 0
  .quad 0x00af9b000000ffff /* 0x10: 64-bit code */
  .quad 0x00cf93000000ffff /* 0x18: data */
  .quad 0x00cf9b000000ffff /* 0x20: 32-bit code */
gdtr:
  .word gdtr - gdt - 1
  .long gdt
.org 0xfff0
.code16
  jmp start16
.org 0x10000
