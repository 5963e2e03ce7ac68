// launch.cpp: the blocks of a launch, shared by a few OS threads.
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "streams.h"

namespace emu {

namespace {

struct crew {
  std::mutex launching; // one launch at a time
  std::mutex lock;      // of what follows, but for the atomics
  std::condition_variable begun, ended;
  const launch *what = nullptr;
  uint64_t serial = 0;
  int members = 0, busy = 0;
  std::atomic<uint64_t> next;
  uint64_t blocks = 0, at_once = 1;
  std::atomic<bool> failed;
  cudaError_t code = cudaSuccess;
  char text[text_bytes];
  pthread_t workers[64]; // that carry out blocks of this launch, for the watch
  bool working[64];
  timespec since;
  bool watched = false;
};
crew &the() {
  static crew *c = new crew(); // for as long as the process
  return *c;
}

double seconds_since(const timespec &t) {
  timespec n;
  clock_gettime(CLOCK_MONOTONIC, &n);
  return (double)(n.tv_sec - t.tv_sec) + 1e-9 * (double)(n.tv_nsec - t.tv_nsec);
}

void fail_launch(crew &c, cudaError_t code, const char *text) {
  std::lock_guard<std::mutex> guard(c.lock);
  if (c.failed.exchange(true)) return;
  c.code = code;
  snprintf(c.text, sizeof c.text, "%s", text);
}

// Carries out blocks until none is left, or for about `seconds` when they are not 0.
void carry_out(crew &c, int member, double seconds) {
  static thread_local runner *mine;
  if (!mine) mine = runner_new();
  runner *r = mine;
  if (!r) return fail_launch(c, cudaErrorMemoryAllocation, "out of memory: the emulator's own");
  catch_faults();
  here = r;
  prepare(r, *c.what);
  timespec from;
  if (seconds > 0) clock_gettime(CLOCK_MONOTONIC, &from);
  { std::lock_guard<std::mutex> guard(c.lock); c.workers[member] = pthread_self(); c.working[member] = true; }
  while (!c.failed.load(std::memory_order_relaxed)) {
    uint64_t first = c.next.fetch_add(c.at_once), end = std::min(first + c.at_once, c.blocks);
    for (uint64_t i = first; i < end; i++) {
      if (run_block(r, r->backward ? c.blocks - 1 - i : i)) continue;
      fail_launch(c, r->code, r->text);
      break;
    }
    if (end >= c.blocks || (seconds > 0 && seconds_since(from) > seconds)) break;
  }
  { std::lock_guard<std::mutex> guard(c.lock); c.working[member] = false; }
  here = nullptr;
}

void member(int number) {
  crew &c = the();
  uint64_t seen = 0;
  for (;;) {
    std::unique_lock<std::mutex> guard(c.lock);
    c.begun.wait(guard, [&] { return c.serial != seen; });
    seen = c.serial;
    guard.unlock();
    carry_out(c, number, 0);
    guard.lock();
    if (--c.busy == 0) c.ended.notify_all();
  }
}

// Looks now and then whether the launch in hand should have ended long ago.
void watch() {
  crew &c = the();
  for (;;) {
    usleep(200000);
    std::lock_guard<std::mutex> guard(c.lock);
    if (!c.what || expired || seconds_since(c.since) < (double)asked("SEXTANT_EMU_SECONDS", 300)) continue;
    expired = true;
    for (int i = 0; i < 64; i++) {
      if (c.working[i]) pthread_kill(c.workers[i], SIGSEGV);
    }
  }
}

// The process's own signals are none of our threads' business.
void start_thread(void (*f)(int), int number) {
  sigset_t all, before;
  sigfillset(&all);
  for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, s);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  std::thread(f, number).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

int helpers_wanted() {
  int64_t n = asked("SEXTANT_EMU_THREADS", std::min(4L, sysconf(_SC_NPROCESSORS_ONLN)));
  return (int)std::min<int64_t>(std::max<int64_t>(n, 1), 32) - 1;
}

// The rest of the blocks, by all.
void share(crew &c) {
  const int wanted = helpers_wanted();
  {
    std::lock_guard<std::mutex> guard(c.lock);
    while (c.members < wanted) start_thread(member, ++c.members);
    c.busy = c.members;
    c.serial++;
  }
  c.begun.notify_all();
  carry_out(c, 0, 0);
  std::unique_lock<std::mutex> guard(c.lock);
  c.ended.wait(guard, [&] { return c.busy == 0; });
}

void begin(crew &c, const launch &l) {
  std::lock_guard<std::mutex> guard(c.lock);
  c.what = &l;
  c.blocks = (uint64_t)l.grid.x * l.grid.y * l.grid.z;
  c.at_once = std::max<uint64_t>(1, std::min<uint64_t>(c.blocks / 64, 64));
  c.next = 0;
  c.failed = false;
  expired = false;
  clock_gettime(CLOCK_MONOTONIC, &c.since);
  if (c.watched) return;
  c.watched = true;
  start_thread([](int) { watch(); }, 0);
}

std::mutex allowed_lock;
std::map<const void *, int64_t> allowed;

} // namespace

bool shared_allowed(const void *kernel, int64_t bytes) {
  if (bytes <= 48 << 10) return true;
  std::lock_guard<std::mutex> guard(allowed_lock);
  auto it = allowed.find(kernel);
  return it != allowed.end() && bytes <= it->second;
}

cudaError_t run_launch(const launch &l) {
  crew &c = the();
  std::lock_guard<std::mutex> one(c.launching);
  begin(c, l);
  carry_out(c, 0, 50e-6); // a small launch is not worth waking others
  if (!c.failed && c.next < c.blocks) share(c);
  { std::lock_guard<std::mutex> guard(c.lock); c.what = nullptr; }
  if (c.failed) return tell(c.code, "%s", c.text);
  char text[200];
  if (memory_overrun(text, sizeof text)) return tell(cudaErrorIllegalAddress, "kernel %.60s %s", l.name, text);
  return cudaSuccess;
}

} // namespace emu

using namespace emu;

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute which, int value) {
  EMU_ENTER("cudaFuncSetAttribute");
  if (which != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  int most = 0;
  if (cudaError_t e = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0)) return e;
  if (value < 0 || value > most) return tell(cudaErrorInvalidValue, "%d bytes of shared memory for a kernel: the device has %d", value, most);
  std::lock_guard<std::mutex> guard(allowed_lock);
  allowed[kernel] = value;
  return cudaSuccess;
}
