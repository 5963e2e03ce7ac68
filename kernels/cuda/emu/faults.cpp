// faults.cpp: a kernel that touches what is not its own raises a signal, which ends the launch with words instead of the process. All other
// signals go where they went before (to Go's runtime, say).
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <mutex>

#include "runner.h"

extern "C" __attribute__((visibility("hidden"))) char emu_resume[];

namespace emu {

volatile bool expired;
static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE};
static struct sigaction before[65];

static void hand_on(int signal, siginfo_t *info, void *context) {
  const struct sigaction &old = before[signal];
  if (old.sa_flags & SA_SIGINFO) return old.sa_sigaction(signal, info, context);
  if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) return old.sa_handler(signal);
  struct sigaction plain = {};
  plain.sa_handler = SIG_DFL;
  sigaction(signal, &plain, nullptr); // the instruction is done again, and ends the process
}

// In a kernel: goes on where run_block waits, as if the fiber had switched to it.
static void handler(int signal, siginfo_t *info, void *context) {
  const bool sent = info->si_code == SI_TKILL;
  if (!now || !here) {
    if (sent && expired) return;
    return hand_on(signal, info, context);
  }
  if (sent && !expired) return hand_on(signal, info, context);
  here->signal = signal;
  here->fault = sent ? nullptr : info->si_addr;
  here->expired = sent;
  greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
  regs[REG_RSP] = (greg_t)here->main_sp;
  regs[REG_RIP] = (greg_t)emu_resume;
}

void fault_words(runner *r) {
  const thread *t = now;
  char what[200];
  const uint8_t *address = (const uint8_t *)r->fault;
  r->code = r->expired ? cudaErrorLaunchTimeout : cudaErrorIllegalAddress;
  if (r->expired) return words(r, t, "the launch ran for more than %lld s", (long long)asked("SEXTANT_EMU_SECONDS", 300));
  if (r->signal == SIGFPE) return words(r, t, "an integer was divided by 0");
  for (const uint8_t *s : r->stacks) {
    if (address >= s && address < s + guard_bytes) return words(r, t, "its stack of %d bytes has overflowed", stack_bytes);
  }
  if (memory_words(address, what, sizeof what)) return words(r, t, "reads or writes %s", what);
  words(r, t, "reads or writes %p, no memory of the device", address);
}

static void catch_all() {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigfillset(&action.sa_mask);
  for (int s : caught) sigaction(s, &action, &before[s]);
}

// Signals come on a stack of their own, so that an overflowed one can be told.
void catch_faults() {
  static std::once_flag once;
  std::call_once(once, catch_all);
  static thread_local bool there;
  if (there) return;
  there = true;
  stack_t alternate = {};
  if (sigaltstack(nullptr, &alternate) || !(alternate.ss_flags & SS_DISABLE)) return;
  alternate.ss_size = 64 << 10;
  alternate.ss_flags = 0;
  alternate.ss_sp = mmap(nullptr, alternate.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (alternate.ss_sp != MAP_FAILED) sigaltstack(&alternate, nullptr);
}

} // namespace emu
