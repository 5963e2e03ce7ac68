// rt.h: what rt.cu and memory.cu share: the part of a device that its kernels do not see.
#ifndef SEXTANT_RT_H
#define SEXTANT_RT_H
#include "device.cuh"

// Pinned memory that copies pass through, given out as pieces one behind another and taken back in the same order, each when its event has come.
struct rt_ring {
  static constexpr int64_t BYTES = 32 << 20, PIECE = 8 << 20;
  static constexpr int PIECES = 64;
  uint8_t *data;
  struct {
    int64_t begin;
    cudaEvent_t done;
  } piece[PIECES];
  int first, count;
  int64_t head; // where the next piece begins
};

struct rt_crew; // the threads that fill the ring

struct cu_rt {
  char name[256];
  int driver, runtime, pools; // versions; whether cudaMallocAsync is there
  cudaMemPool_t pool;
  uint64_t asked;       // bit n: whether this device may read the memory of device n was asked for
  int64_t total;        // bytes of the device
  int64_t reserve;      // of the free memory, what is not offered: kernels are loaded when they are first launched
  cudaStream_t own;     // of weights, zeros and allocations
  cudaStream_t last;    // that of the last launches; NULL: none yet
  cudaEvent_t order;    // between streams
  int check_each;       // SEXTANT_CUDA_SYNC: wait for every launch, so that a fault has its kernel's name
  const char *launched[4]; // the last ones
  uint32_t launches;
  struct {
    const void *kernel;
    int64_t bytes;
  } raised[256]; // kernels that may take more than 48 KiB of shared memory, by a hash of their address
  rt_ring ring;
  rt_crew *crew;
  void **late; // given back while a graph was recorded
  int n_late, room_late;
};

// A failed call of the runtime, in words: what was to be done, and why it was not. It gives SX_NOMEM or SX_DEVICE.
sx_status rt_failed(cu_ctx *c, cudaError_t e, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define RT_CHECK(c, call, ...)                                \
  do {                                                        \
    cudaError_t e_ = (call);                                  \
    if (e_ != cudaSuccess) return rt_failed(c, e_, __VA_ARGS__); \
  } while (0)

sx_status rt_memory_open(cu_ctx *c);
void rt_memory_close(cu_ctx *c);
void rt_free_late(cu_ctx *c); // what was given back while a graph was recorded
rt_crew *rt_crew_new(void);   // NULL: the calling thread copies alone
void rt_crew_free(rt_crew *crew);
void rt_crew_copy(rt_crew *crew, void *dst, const void *src, int64_t bytes);

#endif
