// runner.h: what the emulator's own files know of each other.
#ifndef SEXTANT_EMU_RUNNER_H
#define SEXTANT_EMU_RUNNER_H
#include "emu.h"

namespace emu {

enum { stack_bytes = 64 << 10, guard_bytes = 4096, text_bytes = 480 };

// What an OS thread needs to carry out blocks, one at a time.
struct runner {
  block b;
  thread threads[max_threads];
  void *main_sp;  // where run_block waits
  uint8_t *given; // the stack of the fiber that begins
  std::vector<uint8_t *> stacks, idle; // each from its guard page on
  int ready[max_threads], ready_first, ready_count;
  std::vector<uint8_t> shared_room, unit_room;
  bool failed, backward;
  cudaError_t code;
  char text[text_bytes];
  void *fault; // the address that a signal named
  int signal;  // it came while a thread ran; 0: none
  bool expired; // it came since the launch has run for too long
};
extern thread_local runner *here __attribute__((tls_model("initial-exec"), visibility("hidden")));

runner *runner_new();                           // NULL: no memory
void prepare(runner *r, const launch &l);       // for the blocks of a launch
bool run_block(runner *r, uint64_t number);     // false: failed, code and text say why
void words(runner *r, const thread *t, const char *format, ...) __attribute__((format(printf, 3, 4)));

// faults.cpp
void catch_faults();                            // on this OS thread: signals that kernels raise end the launch
void fault_words(runner *r);                    // what the signal was
[[gnu::visibility("hidden")]] extern volatile bool expired; // the launch in hand has run for too long

// memory.cpp. What a fault at `address` hit, in words; false: nothing that is known.
bool memory_words(const void *address, char *text, size_t bytes);
bool memory_overrun(char *text, size_t bytes);  // true: something wrote beyond the end of an allocation

// runtime.cpp
cudaError_t tell(cudaError_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));
cudaError_t entered(const char *call, cudaError_t otherwise); // the failure that a test wants of this call
int64_t asked(const char *variable, int64_t otherwise);       // a number of the environment
cudaError_t run_launch(const launch &l);
bool shared_allowed(const void *kernel, int64_t bytes);

} // namespace emu

#endif
