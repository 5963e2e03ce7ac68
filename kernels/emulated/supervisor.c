/* supervisor.c: just enough of Linux's system calls for one statically linked program of one thread, on a bare machine all of whose
 * vector and tile state is switched on. What the program writes goes to port 0xe9. Its end, or any exception, is the machine's. */
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

typedef uint64_t u64;

void on_syscall(void);
_Noreturn void run(u64 entry, u64 *stack);
_Noreturn void supervise(void);
_Noreturn void fault(u64 vector, const u64 *frame);
int64_t call(u64 number, u64 *a);
extern const u64 vectors[32];

static struct { uint16_t low, selector, flags, mid; uint32_t high, zero; } idt[32];
static u64 brk_start, brk_end, maps = MAPS, xcr0, permitted;

void *memset(void *p, int c, size_t n) {
  void *d = p;
  __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
  return p;
}

void *memcpy(void *restrict p, const void *restrict q, size_t n) {
  void *d = p;
  __asm__ volatile("rep movsb" : "+D"(d), "+S"(q), "+c"(n) : : "memory");
  return p;
}

static void out(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }

static void wrmsr(uint32_t r, u64 v) { __asm__ volatile("wrmsr" : : "c"(r), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))); }

static char last = '\n'; /* character that went out */

static void say(const char *s, size_t n) {
  if (n) last = s[n - 1];
  while (n--) out(0xe9, (uint8_t)*s++);
}

static void says(const char *s) {
  size_t n = 0;
  while (s[n]) n++;
  say(s, n);
}

static void hex(u64 v) {
  says(" 0x");
  int at = 60;
  while (at > 0 && v >> at == 0) at -= 4;
  for (; at >= 0; at -= 4) say("0123456789abcdef" + (v >> at & 15), 1);
}

/* A line for the machine's owner: the status, and whether the program asked for tile data. */
static _Noreturn void end(u64 status) {
  if (last != '\n') says("\n");
  says("@exit");
  hex(status & 255);
  says(permitted ? " tiles\n" : "\n");
  for (const char *s = "Shutdown"; *s; s++) out(0x8900, (uint8_t)*s);
  for (;;) __asm__ volatile("hlt");
}

void fault(u64 vector, const u64 *frame) {
  u64 cr2;
  __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
  if (last != '\n') says("\n");
  says("exception");
  hex(vector);
  says(", error");
  hex(frame[0]);
  says(", at");
  hex(frame[1]);
  says(", address");
  hex(cr2);
  says(", code");
  for (int i = 0; i < 16 && frame[1] < MEMORY_END - 16; i++) hex(((const uint8_t *)frame[1])[i]);
  says("\n");
  end(128 + vector);
}

enum { no_entry = -2, no_memory = -12, invalid = -22, not_a_terminal = -25, no_call = -38, page = 4096 };

static int64_t map(u64 bytes, u64 fd) {
  if ((int64_t)(int32_t)fd != -1) return invalid;
  bytes = (bytes + page - 1) & ~(u64)(page - 1);
  if (bytes == 0 || bytes > MEMORY_END - maps) return no_memory;
  u64 p = maps;
  maps += bytes;
  memset((void *)p, 0, bytes);
  return (int64_t)p;
}

/* Only what was mapped last comes back. */
static int64_t unmap(u64 p, u64 bytes) {
  bytes = (bytes + page - 1) & ~(u64)(page - 1);
  if (p + bytes == maps) maps = p;
  return 0;
}

static int64_t set_break(u64 p) {
  if (p >= brk_start && p <= BREAK_END) {
    if (p > brk_end) memset((void *)brk_end, 0, p - brk_end);
    brk_end = p;
  }
  return (int64_t)brk_end;
}

/* A program must ask for tile data (component 18) before it uses it. */
static int64_t arch_prctl(u64 code, u64 v) {
  switch (code) {
  case 0x1002: wrmsr(0xc0000100, v); return 0;
  case 0x1001: wrmsr(0xc0000101, v); return 0;
  case 0x1021: *(u64 *)v = xcr0; return 0;
  case 0x1022: *(u64 *)v = (xcr0 & ~(u64)(1 << 18)) | permitted; return 0;
  case 0x1023:
    if (v != 18 || !(xcr0 >> 18 & 1)) return invalid;
    permitted = 1 << 18;
    return 0;
  }
  return invalid;
}

static int64_t stat_terminal(uint8_t *st) {
  memset(st, 0, 144);
  *(uint32_t *)(st + 24) = 0020620;
  return 0;
}

static int64_t now(int64_t *t) {
  uint32_t lo, hi;
  __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
  u64 ns = ((u64)hi << 32 | lo) / 2;
  t[0] = (int64_t)(ns / 1000000000), t[1] = (int64_t)(ns % 1000000000);
  return 0;
}

static int64_t writev(const u64 *v, u64 n) {
  int64_t all = 0;
  for (; n; n--, v += 2) say((const char *)v[0], v[1]), all += (int64_t)v[1];
  return all;
}

int64_t call(u64 number, u64 *a) {
  switch (number) {
  case 0: return 0;                                             /* read */
  case 1: say((const char *)a[1], a[2]); return (int64_t)a[2];  /* write */
  case 20: return writev((const u64 *)a[1], a[2]);
  case 5: return stat_terminal((uint8_t *)a[1]);                /* fstat */
  case 262: return stat_terminal((uint8_t *)a[2]);              /* newfstatat */
  case 9: return map(a[1], a[4]);
  case 11: return unmap(a[0], a[1]);
  case 12: return set_break(a[0]);
  case 16: return not_a_terminal;                               /* ioctl */
  case 3: case 10: case 13: case 14: case 24: case 28: case 131: case 202: case 273: /* close mprotect rt_sig* sched_yield madvise ... */
    return 0;
  case 21: case 89: case 257: case 267: return no_entry;        /* access readlink openat readlinkat */
  case 39: case 186: case 218: return 1;                        /* getpid gettid set_tid_address */
  case 102: case 104: case 107: case 108: return 0;             /* getuid ... */
  case 158: return arch_prctl(a[0], a[1]);
  case 204: *(u64 *)a[2] = 1; return 8;                         /* sched_getaffinity: one CPU */
  case 228: return now((int64_t *)a[1]);                        /* clock_gettime */
  case 302: if (a[3]) ((u64 *)a[3])[0] = ((u64 *)a[3])[1] = 8 << 20; return 0; /* prlimit64: the stack */
  case 318: memset((void *)a[0], 0x5a, a[1]); return (int64_t)a[1]; /* getrandom: the same in each run */
  case 60: case 231: end(a[0]);
  }
  return no_call;
}

static u64 supported(void) {
  uint32_t a = 13, b, c = 0, d;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return (u64)d << 32 | a;
}

static void prepare_cpu(void) {
  u64 cr4;
  for (int i = 0; i < 32; i++) {
    idt[i].low = (uint16_t)vectors[i], idt[i].mid = (uint16_t)(vectors[i] >> 16);
    idt[i].selector = 0x10, idt[i].flags = 0x8e00;
  }
  struct __attribute__((packed)) { uint16_t limit; u64 base; } r = {sizeof idt - 1, (u64)idt};
  __asm__ volatile("lidt %0" : : "m"(r));
  wrmsr(0xc0000081, (u64)0x10 << 32); /* STAR */
  wrmsr(0xc0000082, (u64)on_syscall); /* LSTAR */
  wrmsr(0xc0000084, 0x700);           /* the flags a system call clears */
  __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
  cr4 |= 1 << 9 | 1 << 10 | 1 << 18; /* SSE, its exceptions, XSAVE */
  __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
  xcr0 = supported();
  __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)xcr0), "d"((uint32_t)(xcr0 >> 32)));
}

typedef struct { uint8_t ident[16]; uint16_t type, machine; uint32_t version; u64 entry, phoff, shoff; uint32_t flags;
  uint16_t ehsize, phentsize, phnum, rest[3]; } elf_header;
typedef struct { uint32_t type, flags; u64 offset, vaddr, paddr, filesz, memsz, align; } elf_segment;

static const elf_header *load(const uint8_t *file) {
  const elf_header *h = (const void *)file;
  const elf_segment *s = (const void *)(file + h->phoff);
  for (int i = 0; i < h->phnum; i++, s++) {
    if (s->type != 1) continue;
    memset((void *)s->vaddr, 0, s->memsz);
    memcpy((void *)s->vaddr, file + s->offset, s->filesz);
    if (s->vaddr + s->memsz > brk_end) brk_end = s->vaddr + s->memsz;
  }
  brk_start = brk_end = (brk_end + page - 1) & ~(u64)(page - 1);
  return h;
}

/* The arguments are lines: settings of the environment (NAME=VALUE), the program's name, its arguments. */
void supervise(void) {
  prepare_cpu();
  const uint8_t *file = (const uint8_t *)PROGRAM_FILE + page;
  const elf_header *h = load(file);
  static char text[page];
  static u64 stack[256];
  const char *env[64], *arg[64];
  u64 envs = 0, args = 0, n = 0;
  memcpy(text, (const void *)PROGRAM_FILE, page);
  for (char *s = text; *s && envs < 63 && args < 63;) {
    char *line = s;
    int setting = 0;
    for (; *s && *s != '\n'; s++) setting |= *s == '=';
    if (*s) *s++ = 0;
    if (setting && args == 0) env[envs++] = line;
    else arg[args++] = line;
  }
  const elf_segment *first = (const void *)(file + h->phoff);
  stack[n++] = args;
  for (u64 i = 0; i < args; i++) stack[n++] = (u64)arg[i];
  stack[n++] = 0;
  for (u64 i = 0; i < envs; i++) stack[n++] = (u64)env[i];
  stack[n++] = 0;
  const u64 aux[] = {6, page, 3, first->vaddr - first->offset + h->phoff, 4, h->phentsize, 5, h->phnum, 9, h->entry, 25, (u64)text, 23, 0, 0, 0};
  memcpy(stack + n, aux, sizeof aux);
  u64 *top = (u64 *)PROGRAM_STACK - 512;
  memcpy(top, stack, sizeof stack);
  says("@start\n");
  run(h->entry, top);
}
