/* enter.S: what of the supervisor is not C: its entry, the entry of system calls, of exceptions, and of the program. */
#include "layout.h"

.section .text.enter, "ax"
.globl enter
enter:
  movl $STACK, %esp
  movl $__bss_start, %edi
  movl $_end, %ecx
  subl %edi, %ecx
  xorl %eax, %eax
  rep stosb
  call supervise
1:hlt
  jmp 1b

/* The program runs at the supervisor's own privilege. Its stack is left alone: there may be a red zone. */
.text
.globl on_syscall
on_syscall:
  movq %rsp, program_rsp
  movl $STACK, %esp
  pushq %rcx
  pushq %r11
  pushq %r9
  pushq %r8
  pushq %r10
  pushq %rdx
  pushq %rsi
  pushq %rdi
  movq %rsp, %rsi
  movq %rax, %rdi
  cld
  call call
  popq %rdi
  popq %rsi
  popq %rdx
  popq %r10
  popq %r8
  popq %r9
  popq %r11
  popq %rcx
  pushq %r11
  popfq
  movq program_rsp, %rsp
  jmp *%rcx

/* run(entry, stack) */
.globl run
run:
  movq %rsi, %rsp
  movq %rdi, %rcx
  xorl %edx, %edx
  xorl %ebp, %ebp
  jmp *%rcx

/* Exceptions are the end: fault(vector, frame), the frame with an error code in front, 0 where the CPU gives none. */
.altmacro
.macro vector n
on_\n:
  .if \n != 8 && (\n < 10 || \n > 14) && \n != 17 && \n != 21
  pushq $0
  .endif
  pushq $\n
  jmp on_exception
.endm
.macro address n
  .quad on_\n
.endm
.set n, 0
.rept 32
  vector %n
  .set n, n + 1
.endr
on_exception:
  popq %rdi
  movq %rsp, %rsi
  movl $STACK, %esp
  cld
  call fault
.section .rodata
.globl vectors
vectors:
.set n, 0
.rept 32
  address %n
  .set n, n + 1
.endr
.bss
program_rsp: .quad 0
.section .note.GNU-stack, "", @progbits
