// emu.h: the twin of CUDA behind device.cuh: the same .cu sources, compiled as C++, run on the host with each access to shared memory
// checked. README.md beside kernels/cuda tells what is checked and what is not.
#ifndef SEXTANT_EMU_H
#define SEXTANT_EMU_H
#include "arith.h"
#include "runtime.h"
#include "shared.h"
#include "syntax.h"
#include "threads.h"

namespace emu {

struct work { // a kernel with its arguments, as a thread carries it out
  virtual void thread() const = 0;
  virtual ~work() {}
};

struct launch {
  const char *name;
  const void *kernel;
  dim3 grid, block;
  int64_t shared_bytes;
  std::shared_ptr<const work> body;
};

// Runs it, or records it where the stream is being captured. Failures are for cudaGetLastError.
void submit(const launch &l, cudaStream_t stream);

template <class... P> struct call : work {
  void (*kernel)(P...);
  std::tuple<std::decay_t<P>...> args;
  template <class... A> call(void (*k)(P...), A &&...a) : kernel(k), args(std::forward<A>(a)...) {}
  void thread() const override { std::apply(kernel, args); }
};

template <class... P, class... A>
inline void start(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, int64_t shared_bytes, void *stream, A &&...args) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel's arguments");
  submit(launch{name, (const void *)kernel, grid, block, shared_bytes, std::make_shared<call<P...>>(kernel, std::forward<A>(args)...)},
         (cudaStream_t)stream);
}

} // namespace emu

#define SX_LAUNCH(c, kernel, grid, block, shared_bytes, ...)                                                              \
  (cu_shared_bytes((c), (const void *)(kernel), (shared_bytes)) != SX_OK                                                  \
       ? SX_DEVICE                                                                                                        \
       : (emu::start(#kernel, (kernel), (grid), (block), (shared_bytes), (c)->stream __VA_OPT__(, ) __VA_ARGS__), cu_check((c), #kernel)))

#endif
