// fibers.cpp: the threads of a block take turns on one OS thread. A thread that waits keeps its stack; one that ends hands it to the next.
#include <stdarg.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "runner.h"

// emu_switch(save, to): keeps the registers that a call keeps, on the stack, whose place goes to *save, and goes on with stack `to`.
asm(R"(
.text
.p2align 4
.globl emu_switch
.hidden emu_switch
.type emu_switch, @function
emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
.globl emu_resume
.hidden emu_resume
emu_resume:
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emu_switch, .-emu_switch
)");
extern "C" __attribute__((visibility("hidden"))) void emu_switch(void **save, void *to);

namespace emu {

thread_local thread *now;
thread_local runner *here;

static uint8_t *stack_take(runner *r) {
  if (r->idle.empty()) {
    void *p = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || mprotect(p, guard_bytes, PROT_NONE)) return nullptr;
    r->stacks.push_back((uint8_t *)p);
    r->idle.push_back((uint8_t *)p);
  }
  uint8_t *s = r->idle.back();
  r->idle.pop_back();
  return s;
}

static void go_on(runner *r, void **save);

// The body of a fiber: threads that have not begun, as long as none that has waited can go on.
static void fiber() {
  runner *r = here;
  block *b = &r->b;
  uint8_t *stack = r->given;
  do {
    int k = b->next_fresh++;
    thread *t = now = &r->threads[r->backward ? b->threads - 1 - k : k];
    t->is = running;
    b->of->body->thread();
    t->is = done;
    b->finished++;
    for (const copy &c : t->copies) memset((void *)(b->units + c.at / 2), 0, 8 * sizeof(unit)); // nobody can wait for them any more
    t->copies.clear();
  } while (!r->ready_count && b->next_fresh < b->threads);
  r->idle.push_back(stack);
  void *nowhere;
  go_on(r, &nowhere);
}

// A stack from which emu_resume goes to fiber().
static void *fresh_stack(runner *r) {
  uint8_t *s = stack_take(r);
  if (!s) return nullptr;
  r->given = s;
  void **top = (void **)(s + guard_bytes + stack_bytes);
  memset(top - 10, 0, 10 * sizeof(void *));
  top[-2] = (void *)fiber; // returned to with a stack as after a call
  return top - 8;
}

// Leaves the fiber in hand, whose place goes to *save, for the next thread that can go on; for run_block when none can.
static void go_on(runner *r, void **save) {
  block *b = &r->b;
  if (r->ready_count) {
    int number = r->ready[r->ready_first];
    r->ready_first = (r->ready_first + 1) % max_threads;
    r->ready_count--;
    now = &r->threads[number];
    now->is = running;
    return emu_switch(save, now->sp);
  }
  void *s = b->next_fresh < b->threads ? fresh_stack(r) : nullptr;
  now = nullptr;
  emu_switch(save, s ? s : r->main_sp);
}

static void wait(thread *t, state is, const char *what, int line) {
  t->is = is;
  t->what = what;
  t->line = line;
  go_on(here, &t->sp);
}

static void wake(runner *r, thread *t) {
  t->is = ready;
  r->ready[(r->ready_first + r->ready_count++) % max_threads] = (int)t->number;
}

static void set_since(block *b, int i, uint32_t since) {
  warp *w = &b->warps[i];
  w->since = since;
  w->many = (by_warp + (uint32_t)i) << who_shift | both_bytes | since;
  w->touched = false;
}

// A new number for what comes from here on. When there is none, what is known is forgotten: of all the room, since a later launch may have
// more shared memory than this one, and numbers as great as those of an earlier one would look new to it.
static uint32_t tick(block *b) {
  if (b->clock < when_limit) return ++b->clock;
  std::fill(here->unit_room.begin(), here->unit_room.end(), (uint8_t)0);
  for (int i = 0; i < max_warps; i++) set_since(b, i, 1);
  b->since = 1;
  b->many = by_block << who_shift | both_bytes | b->since;
  return b->clock = 2;
}

static void pass_barrier(block *b) {
  b->since = tick(b);
  b->many = by_block << who_shift | both_bytes | b->since;
  for (int i = 0; i * warp_size < b->threads; i++) set_since(b, i, b->since);
}

[[noreturn]] static void stop_apart(const char *what, int line, const char *others, int other_line) {
  stop("at %s (line %d) while others wait at %s (line %d)", what, line, others, other_line);
}

void block_barrier(const char *what, int line) {
  thread *t = now;
  runner *r = here;
  block *b = t->of;
  if (!b->waiting) b->what = what, b->line = line;
  else if (b->line != line) stop_apart(what, line, b->what, b->line);
  if (++b->waiting < b->threads) return wait(t, at_block, what, line);
  b->waiting = 0;
  b->vote_result = b->votes;
  b->votes = 0;
  pass_barrier(b);
  for (int i = 0; i < b->threads; i++) {
    if (&r->threads[i] != t) wake(r, &r->threads[i]);
  }
}

uint32_t block_vote(int vote, int line) {
  block *b = now->of;
  b->votes += vote != 0;
  block_barrier("a vote", line);
  return b->vote_result;
}

void warp_meet(const char *what, int line, void (*last)(warp *)) {
  thread *t = now;
  runner *r = here;
  block *b = t->of;
  warp *w = t->in;
  if (!w->waiting) w->what = what, w->line = line;
  else if (w->line != line || (w->what != what && strcmp(w->what, what))) stop_apart(what, line, w->what, w->line);
  if (++w->waiting < warp_size) return wait(t, at_warp, what, line);
  if (last) last(w);
  w->waiting = 0;
  w->parity ^= 1;
  if (w->touched) set_since(b, (int)(w - b->warps), tick(b));
  thread *lanes = &r->threads[t->number - t->lane];
  for (int i = 0; i < warp_size; i++) {
    if (&lanes[i] != t) wake(r, &lanes[i]);
  }
}

void words(runner *r, const thread *t, const char *format, ...) {
  const launch *l = r->b.of;
  int n = snprintf(r->text, sizeof r->text, "kernel %.60s, block %u,%u,%u", l->name, r->b.index.x, r->b.index.y, r->b.index.z);
  if (t) n += snprintf(r->text + n, sizeof r->text - (size_t)n, ", thread %u,%u,%u", t->index.x, t->index.y, t->index.z);
  n += snprintf(r->text + n, sizeof r->text - (size_t)n, ": ");
  va_list args;
  va_start(args, format);
  vsnprintf(r->text + n, sizeof r->text - (size_t)n, format, args);
  va_end(args);
  r->failed = true;
}

void stop(const char *format, ...) {
  char text[text_bytes];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  words(here, now, "%s", text);
  here->code = cudaErrorLaunchFailure;
  now = nullptr;
  void *nowhere;
  emu_switch(&nowhere, here->main_sp);
  __builtin_unreachable();
}

// Threads are left that nothing can wake.
static void stuck(runner *r) {
  const thread *waits = nullptr, *other = nullptr;
  for (int i = 0; i < r->b.threads && !waits; i++) {
    if (r->threads[i].is == at_warp || r->threads[i].is == at_block) waits = &r->threads[i];
  }
  r->code = cudaErrorLaunchFailure;
  if (!waits) return words(r, nullptr, "no memory for the stacks of its threads");
  const bool of_warp = waits->is == at_warp;
  for (int i = 0; i < r->b.threads && !other; i++) {
    thread *t = &r->threads[i];
    if (t->is != waits->is && (!of_warp || t->in == waits->in)) other = t;
  }
  const char *whom = of_warp ? "warp" : "block";
  if (!other) return words(r, waits, "waits at %s (line %d), but its %s has fewer than 32 threads", waits->what, waits->line, whom);
  if (other->is == done) {
    words(r, waits, "waits at %s (line %d) for its whole %s, but thread %u,%u,%u has returned", waits->what, waits->line, whom, other->index.x,
          other->index.y, other->index.z);
  } else {
    words(r, waits, "waits at %s (line %d) for its whole %s, but thread %u,%u,%u waits at %s (line %d)", waits->what, waits->line, whom,
          other->index.x, other->index.y, other->index.z, other->what, other->line);
  }
}

runner *runner_new() {
  runner *r = new (std::nothrow) runner();
  if (!r) return nullptr;
  for (uint32_t i = 0; i < max_threads; i++) {
    thread *t = &r->threads[i];
    t->of = &r->b;
    t->in = &r->b.warps[i / warp_size];
    t->number = i;
    t->lane = i % warp_size;
    t->who = i << who_shift | both_bytes;
  }
  r->b.thread_of = r->threads;
  return r;
}

void prepare(runner *r, const launch &l) {
  block *b = &r->b;
  b->of = &l;
  b->grid = l.grid;
  b->dims = l.block;
  b->threads = (int)(l.block.x * l.block.y * l.block.z);
  b->shared_bytes = (uint32_t)l.shared_bytes;
  if (r->shared_room.size() < b->shared_bytes + 256u) {
    r->shared_room.resize(b->shared_bytes + 256u);
    r->unit_room.assign((b->shared_bytes / 2 + 8) * sizeof(unit), 0);
  }
  b->shared = (uint8_t *)(((uintptr_t)r->shared_room.data() + 255) & ~(uintptr_t)255);
  b->units = (unit *)r->unit_room.data();
  for (int i = 0; i < b->threads; i++) {
    const unsigned n = (unsigned)i, x = l.block.x, y = l.block.y;
    r->threads[i].index = {n % x, n / x % y, n / x / y};
  }
  r->failed = false;
  const char *order = getenv("SEXTANT_EMU_ORDER");
  r->backward = order && strcmp(order, "backward") == 0;
}

// What shared memory holds when a block begins: NaN, or numbers that are far too great.
static void spoil(block *b) {
  if (b->shared_bytes) memset(b->shared, (b->index.x + b->index.y + b->index.z) % 2 ? 0x7b : 0xff, b->shared_bytes);
}

bool run_block(runner *r, uint64_t number) {
  block *b = &r->b;
  const uint64_t x = b->grid.x, y = b->grid.y;
  b->index = {(unsigned)(number % x), (unsigned)(number / x % y), (unsigned)(number / x / y)};
  b->finished = b->next_fresh = b->waiting = 0;
  b->votes = 0;
  r->ready_count = r->ready_first = 0;
  pass_barrier(b);
  for (int i = 0; i < b->threads; i++) r->threads[i].is = fresh, r->threads[i].group = 0;
  for (warp &w : b->warps) w.waiting = 0, w.parity = 0;
  spoil(b);
  r->signal = 0;
  if (void *s = fresh_stack(r)) emu_switch(&r->main_sp, s);
  if (r->signal) fault_words(r);
  else if (!r->failed && b->finished < b->threads) stuck(r);
  now = nullptr;
  if (!r->failed) return true;
  r->idle = r->stacks;
  for (int i = 0; i < b->threads; i++) r->threads[i].copies.clear();
  memset((void *)b->units, 0, (b->shared_bytes / 2 + 1) * sizeof(unit));
  return false;
}

} // namespace emu
