// memory.cpp: the memory of the device. An allocation begins at a multiple of 256 and ends, but for less than 256 bytes, at a page that
// nobody may touch; the bytes in between are looked at after each launch. What was freed may not be touched either.
#include <sys/mman.h>

#include <map>
#include <mutex>

#include "streams.h"

namespace {

enum { page = 4096, slack_byte = 0xff, spoiled_whole = 16 << 20, spoiled_end = 1 << 20 };

struct allocation {
  uint8_t *raw; // a page before it, then the memory, then a page behind it
  size_t raw_bytes, bytes;
  int device;
  size_t slack() const { return (size_t)(raw + raw_bytes - page - start()) - bytes; }
  uint8_t *start() const { return raw + ((raw_bytes - page - bytes) & ~(size_t)255); }
};

struct memory {
  std::mutex lock;
  std::map<uintptr_t, allocation> all; // by start
  std::map<uintptr_t, size_t> pinned;
  int64_t used = 0;
};
memory &the() {
  static memory *m = new memory(); // for as long as the process
  return *m;
}

int64_t limit() { return emu::asked("SEXTANT_EMU_MEMORY", (int64_t)4 << 30); }

// The allocation that begins at or before p.
const allocation *at_or_before(uintptr_t p) {
  auto it = the().all.upper_bound(p);
  return it == the().all.begin() ? nullptr : &std::prev(it)->second;
}

// What memory holds that nobody has written: NaN in all formats.
void spoil(const allocation &a) {
  uint8_t *p = a.start();
  if (a.bytes <= spoiled_whole) {
    memset(p, slack_byte, a.bytes + a.slack());
  } else {
    memset(p, slack_byte, spoiled_end);
    memset(p + a.bytes - spoiled_end, slack_byte, spoiled_end + a.slack());
  }
}

bool overrun(const allocation &a) {
  const uint8_t *p = a.start() + a.bytes;
  for (size_t i = 0, n = a.slack(); i < n; i++) {
    if (p[i] != slack_byte) return true;
  }
  return false;
}

} // namespace

namespace emu {

static cudaError_t take(void **p, size_t bytes) {
  if (!p) return tell(cudaErrorInvalidValue, "no place for the address");
  *p = nullptr;
  if (!bytes) return cudaSuccess; // as CUDA has it
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  const int64_t most = limit();
  if (bytes > (size_t)most || m.used + (int64_t)bytes > most) {
    return tell(cudaErrorMemoryAllocation, "out of memory: %zu bytes wanted, %lld of %lld free", bytes, (long long)(most - m.used), (long long)most);
  }
  allocation a;
  a.bytes = bytes;
  a.device = current_device();
  a.raw_bytes = ((bytes + 255) / 256 * 256 + page - 1) / page * page + 2 * page;
  void *raw = mmap(nullptr, a.raw_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return tell(cudaErrorMemoryAllocation, "out of memory: the host has no %zu bytes", bytes);
  a.raw = (uint8_t *)raw;
  if (mprotect(a.raw + page, a.raw_bytes - 2 * page, PROT_READ | PROT_WRITE)) {
    munmap(raw, a.raw_bytes);
    return tell(cudaErrorMemoryAllocation, "out of memory: the host has no %zu bytes", bytes);
  }
  spoil(a);
  m.all[(uintptr_t)a.start()] = a;
  m.used += (int64_t)bytes;
  *p = a.start();
  return cudaSuccess;
}

static cudaError_t give(void *p) {
  if (!p) return cudaSuccess;
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  auto it = m.all.find((uintptr_t)p);
  if (it == m.all.end()) return tell(cudaErrorInvalidValue, "%p is not an allocation of the device that is still there", p);
  const allocation a = it->second;
  const bool bad = overrun(a);
  m.all.erase(it);
  m.used -= (int64_t)a.bytes;
  munmap(a.raw, a.raw_bytes);
  if (bad) return tell(cudaErrorIllegalAddress, "something wrote beyond the end of an allocation of %zu bytes", a.bytes);
  return cudaSuccess;
}

bool memory_words(const void *address, char *text, size_t bytes) {
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  const uintptr_t p = (uintptr_t)address;
  const allocation *a = at_or_before(p);
  if (a && p >= (uintptr_t)a->start() + a->bytes && p < (uintptr_t)a->raw + a->raw_bytes) {
    snprintf(text, bytes, "%zu bytes beyond the end of an allocation of %zu bytes", (size_t)(p - (uintptr_t)a->start() - a->bytes), a->bytes);
    return true;
  }
  auto next = m.all.upper_bound(p);
  if (next == m.all.end() || p < (uintptr_t)next->second.raw) return false;
  snprintf(text, bytes, "%zu bytes before an allocation of %zu bytes", (size_t)(next->first - p), next->second.bytes);
  return true;
}

bool memory_overrun(char *text, size_t bytes) {
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  for (auto &entry : m.all) {
    const allocation &a = entry.second;
    if (!overrun(a)) continue;
    memset(a.start() + a.bytes, slack_byte, a.slack()); // told once
    snprintf(text, bytes, "wrote beyond the end of an allocation of %zu bytes", a.bytes);
    return true;
  }
  return false;
}

// Whether [p, p + n) is the device's; words on failure. The host's own memory is not known, but what is the device's is none of it.
static cudaError_t check_range(const void *p, size_t n, bool device) {
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  const uintptr_t at = (uintptr_t)p;
  const allocation *a = at_or_before(at);
  const bool within = a && at < (uintptr_t)a->raw + a->raw_bytes;
  if (!device) return within ? tell(cudaErrorInvalidValue, "%p is memory of the device, not of the host", p) : cudaSuccess;
  if (within && at + n <= (uintptr_t)a->start() + a->bytes) return cudaSuccess;
  if (within) return tell(cudaErrorInvalidValue, "%zu bytes at byte %zu of an allocation of %zu bytes", n, (size_t)(at - (uintptr_t)a->start()),
                          a->bytes);
  return tell(cudaErrorInvalidValue, "%p is not memory of the device", p);
}

cudaError_t check_copy(const void *dst, const void *src, size_t n, cudaMemcpyKind kind) {
  if (!n || kind == cudaMemcpyDefault || kind == cudaMemcpyHostToHost) return cudaSuccess;
  cudaError_t e = check_range(dst, n, kind != cudaMemcpyDeviceToHost);
  return e != cudaSuccess ? e : check_range(src, n, kind != cudaMemcpyHostToDevice);
}
cudaError_t check_owner(const void *p, size_t n, int device) {
  if (cudaError_t e = check_range(p, n, true)) return e;
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  const allocation *a = at_or_before((uintptr_t)p);
  return a && a->device == device ? cudaSuccess : tell(cudaErrorInvalidValue, "%p is not memory of device %d", p, device);
}
cudaError_t check_set(const void *dst, size_t n) { return n ? check_range(dst, n, true) : cudaSuccess; }

int64_t memory_used() {
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  return m.used;
}

} // namespace emu

using namespace emu;

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  if (cudaError_t e = entered("cudaMemGetInfo", cudaErrorUnknown)) return e;
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  const int64_t most = limit();
  *total = (size_t)most;
  *free_bytes = m.used < most ? (size_t)(most - m.used) : 0;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
  if (cudaError_t e = entered("cudaMalloc", cudaErrorMemoryAllocation)) return e;
  return refuse_recording("cudaMalloc") ? cudaErrorStreamCaptureUnsupported : take(p, bytes);
}
cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t s) {
  if (cudaError_t e = entered("cudaMallocAsync", cudaErrorMemoryAllocation)) return e;
  if (recording(s)) return tell(cudaErrorStreamCaptureUnsupported, "cudaMallocAsync: the emulator does not record allocations");
  return take(p, bytes);
}
cudaError_t cudaFree(void *p) {
  if (cudaError_t e = entered("cudaFree", cudaErrorUnknown)) return give(p), e;
  return give(p);
}
cudaError_t cudaFreeAsync(void *p, cudaStream_t s) {
  if (cudaError_t e = entered("cudaFreeAsync", cudaErrorUnknown)) return give(p), e;
  if (recording(s)) return tell(cudaErrorStreamCaptureUnsupported, "cudaFreeAsync: the emulator does not record allocations");
  return give(p);
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
  if (cudaError_t e = entered("cudaHostAlloc", cudaErrorMemoryAllocation)) return e;
  *p = nullptr;
  if (posix_memalign(p, 4096, bytes ? bytes : 1)) return tell(cudaErrorMemoryAllocation, "out of memory: the host has no %zu bytes", bytes);
  memory &m = the();
  std::lock_guard<std::mutex> guard(m.lock);
  m.pinned[(uintptr_t)*p] = bytes;
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t bytes) { return cudaHostAlloc(p, bytes, 0); }
cudaError_t cudaFreeHost(void *p) {
  cudaError_t e = entered("cudaFreeHost", cudaErrorUnknown);
  if (!p) return e;
  {
    memory &m = the();
    std::lock_guard<std::mutex> guard(m.lock);
    if (!m.pinned.erase((uintptr_t)p)) return tell(cudaErrorInvalidValue, "%p was not got from cudaMallocHost", p);
  }
  free(p);
  return e;
}
