// streams.h: streams, events and recordings. Streams do everything at once; what is recorded is a list of closures.
#ifndef SEXTANT_EMU_STREAMS_H
#define SEXTANT_EMU_STREAMS_H
#include <time.h>

#include <functional>

#include "runner.h"

namespace emu {
using step = std::function<cudaError_t()>;
cudaError_t give_to(cudaStream_t s, step f); // does it now, or records it
bool recording(cudaStream_t s);
bool refuse_recording(const char *call);     // true, with words: a stream is recorded, not in relaxed mode
cudaError_t check_copy(const void *dst, const void *src, size_t n, cudaMemcpyKind kind); // memory.cpp
cudaError_t check_set(const void *dst, size_t n);
cudaError_t check_owner(const void *p, size_t n, int device); // [p, p + n) is that device's
int current_device();                                         // of this OS thread
int64_t memory_used();
} // namespace emu

struct emu_stream {
  bool recording = false, strict = false, spoiled = false; // strict: not relaxed; spoiled: something was asked that cannot be recorded
  std::vector<emu::step> list;
};
struct emu_event {
  timespec when = {};
  bool recorded = false;
};
struct emu_graph {
  std::vector<emu::step> list;
};
struct emu_graph_exec {
  std::vector<emu::step> list;
};
struct emu_pool {
  uint64_t values[16];
};

#define EMU_ENTER(call) \
  if (cudaError_t e_ = emu::entered(call, cudaErrorUnknown)) return e_

#endif
