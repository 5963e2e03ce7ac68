// runtime.cpp: devices, errors, streams, events and recordings of the runtime. Streams do everything at once; what is recorded is a list of
// closures.
#include <errno.h>
#include <stdarg.h>

#include <mutex>

#include "streams.h"

namespace emu {

struct failure { // the last of an OS thread
  cudaError_t code = cudaSuccess, told = cudaSuccess;
  int device = 0;
  char text[text_bytes] = "";
};
static failure &last() {
  static thread_local failure f;
  return f;
}
int current_device() { return last().device; }

cudaError_t tell(cudaError_t code, const char *format, ...) {
  failure &f = last();
  f.code = f.told = code;
  va_list args;
  va_start(args, format);
  vsnprintf(f.text, sizeof f.text, format, args);
  va_end(args);
  return code;
}

int64_t asked(const char *variable, int64_t otherwise) {
  const char *text = getenv(variable);
  if (!text || !*text) return otherwise;
  char *end;
  errno = 0;
  const long long n = strtoll(text, &end, 10);
  if (errno || n < 0 || end == text) return otherwise;
  const int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
  return n > INT64_MAX >> shift ? otherwise : (int64_t)n << shift;
}

cudaError_t entered(const char *call, cudaError_t otherwise) {
  static std::mutex lock;
  static char wanted[32];
  static int64_t calls;
  const char *text = getenv("SEXTANT_EMU_FAIL");
  if ((!text || !*text) && !wanted[0]) return cudaSuccess;
  std::lock_guard<std::mutex> guard(lock);
  if (!text) text = "";
  if (strncmp(text, wanted, sizeof wanted - 1)) {
    snprintf(wanted, sizeof wanted, "%s", text);
    calls = 0;
  }
  if (!wanted[0] || ++calls != atoll(wanted)) return cudaSuccess;
  return tell(otherwise, "%s, call %lld, fails since SEXTANT_EMU_FAIL says so", call, (long long)calls);
}

void submit(const launch &l, cudaStream_t stream) {
  if (entered(l.name, cudaErrorLaunchFailure)) return;
  const uint64_t threads = (uint64_t)l.block.x * l.block.y * l.block.z;
  if (!threads || l.block.x > 1024 || l.block.y > 1024 || l.block.z > 64 || threads > max_threads || !l.grid.x || !l.grid.y || !l.grid.z ||
      l.grid.x > 0x7fffffffu || l.grid.y > 65535 || l.grid.z > 65535 || l.shared_bytes < 0 || !shared_allowed(l.kernel, l.shared_bytes)) {
    tell(cudaErrorInvalidConfiguration, "kernel %.60s cannot have a grid of %u,%u,%u, blocks of %u,%u,%u and %lld bytes of shared memory",
         l.name, l.grid.x, l.grid.y, l.grid.z, l.block.x, l.block.y, l.block.z, (long long)l.shared_bytes);
    return;
  }
  (void)give_to(stream, [l] { return run_launch(l); });
}

} // namespace emu

using namespace emu;

struct kind {
  int cc, sms;
  size_t shared_block, shared_sm;
};
static kind device_kind() {
  static const kind all[] = {{80, 108, 163 << 10, 164 << 10}, {89, 142, 99 << 10, 100 << 10}, {90, 132, 227 << 10, 228 << 10}};
  const int64_t cc = asked("SEXTANT_EMU_CC", 90);
  return all[cc == 80 ? 0 : cc == 89 ? 1 : 2];
}

cudaError_t cudaGetDeviceCount(int *n) {
  EMU_ENTER("cudaGetDeviceCount");
  *n = (int)asked("SEXTANT_EMU_DEVICES", 1);
  return *n ? cudaSuccess : tell(cudaErrorNoDevice, "no CUDA-capable device is detected");
}
static cudaError_t check_device(int ordinal) {
  const int64_t n = asked("SEXTANT_EMU_DEVICES", 1);
  return ordinal >= 0 && ordinal < n ? cudaSuccess : tell(cudaErrorInvalidDevice, "device %d of %lld", ordinal, (long long)n);
}
cudaError_t cudaSetDevice(int ordinal) {
  EMU_ENTER("cudaSetDevice");
  if (cudaError_t e = check_device(ordinal)) return e;
  last().device = ordinal;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int *ordinal) {
  EMU_ENTER("cudaGetDevice");
  *ordinal = last().device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int ordinal) {
  EMU_ENTER("cudaGetDeviceProperties");
  if (cudaError_t e = check_device(ordinal)) return e;
  const kind k = device_kind();
  *p = {};
  snprintf(p->name, sizeof p->name, "emulated sm_%d", k.cc);
  p->totalGlobalMem = (size_t)asked("SEXTANT_EMU_MEMORY", (int64_t)4 << 30);
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = k.shared_block;
  p->sharedMemPerMultiprocessor = k.shared_sm;
  p->major = k.cc / 10, p->minor = k.cc % 10;
  p->multiProcessorCount = k.sms;
  p->maxThreadsPerBlock = max_threads, p->maxThreadsPerMultiProcessor = 2048, p->warpSize = warp_size;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->l2CacheSize = 50 << 20, p->memoryBusWidth = 5120, p->memoryClockRate = 2619000, p->clockRate = 1980000;
  p->memoryPoolsSupported = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int ordinal) {
  EMU_ENTER("cudaDeviceGetAttribute");
  if (cudaError_t e = check_device(ordinal)) return e;
  const kind k = device_kind();
  switch (which) {
    case cudaDevAttrMaxThreadsPerBlock: return *value = max_threads, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: return *value = 48 << 10, cudaSuccess;
    case cudaDevAttrWarpSize: return *value = warp_size, cudaSuccess;
    case cudaDevAttrMaxRegistersPerBlock: return *value = 65536, cudaSuccess;
    case cudaDevAttrClockRate: return *value = 1980000, cudaSuccess;
    case cudaDevAttrMultiProcessorCount: return *value = k.sms, cudaSuccess;
    case cudaDevAttrMemoryClockRate: return *value = 2619000, cudaSuccess;
    case cudaDevAttrGlobalMemoryBusWidth: return *value = 5120, cudaSuccess;
    case cudaDevAttrL2CacheSize: return *value = 50 << 20, cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return *value = 2048, cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: return *value = k.cc / 10, cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: return *value = k.cc % 10, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return *value = (int)k.shared_sm, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return *value = (int)k.shared_block, cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported: return *value = 1, cudaSuccess;
  }
  return tell(cudaErrorInvalidValue, "attribute %d is not known to the emulator", (int)which);
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int bytes, int ordinal) {
  EMU_ENTER("cudaDeviceGetPCIBusId");
  if (cudaError_t e = check_device(ordinal)) return e;
  snprintf(id, (size_t)bytes, "0000:%02x:00.0", ordinal);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
  EMU_ENTER("cudaDriverGetVersion");
  return *version = 12040, cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  EMU_ENTER("cudaRuntimeGetVersion");
  return *version = 12040, cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
  EMU_ENTER("cudaDeviceSynchronize");
  return refuse_recording("cudaDeviceSynchronize") ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaDeviceReset(void) { return cudaSuccess; }

cudaError_t cudaGetLastError(void) {
  cudaError_t e = last().code;
  last().code = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError(void) { return last().code; }
const char *cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchTimeout: return "cudaErrorLaunchTimeout";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    default: return "cudaErrorUnknown";
  }
}
const char *cudaGetErrorString(cudaError_t e) {
  if (e == cudaSuccess) return "no error";
  return e == last().told ? last().text : cudaGetErrorName(e);
}

// Pools: allocation is at once, and nothing is kept.
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int ordinal) {
  EMU_ENTER("cudaDeviceGetDefaultMemPool");
  if (cudaError_t e = check_device(ordinal)) return e;
  static emu_pool one;
  return *pool = &one, cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr which, void *value) {
  EMU_ENTER("cudaMemPoolSetAttribute");
  memcpy(&pool->values[which], value, which >= cudaMemPoolAttrReleaseThreshold ? 8 : 4);
  return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr which, void *value) {
  EMU_ENTER("cudaMemPoolGetAttribute");
  if (which >= cudaMemPoolAttrReservedMemCurrent) {
    const uint64_t used = (uint64_t)memory_used();
    return memcpy(value, &used, 8), cudaSuccess;
  }
  memcpy(value, &pool->values[which], which >= cudaMemPoolAttrReleaseThreshold ? 8 : 4);
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  EMU_ENTER("cudaMemPoolTrimTo");
  return cudaSuccess;
}

static cudaError_t copy_to(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind) {
  if (cudaError_t e = check_copy(dst, src, bytes, kind)) return e;
  if (bytes) memmove(dst, src, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind) {
  EMU_ENTER("cudaMemcpy");
  return refuse_recording("cudaMemcpy") ? cudaErrorStreamCaptureUnsupported : copy_to(dst, src, bytes, kind);
}
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
  EMU_ENTER("cudaMemcpyAsync");
  return give_to(s, [=] { return copy_to(dst, src, bytes, kind); });
}
cudaError_t cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t s) {
  EMU_ENTER("cudaMemcpy2DAsync");
  if (width > dst_pitch || width > src_pitch) return tell(cudaErrorInvalidValue, "rows of %zu bytes are wider than their pitch", width);
  return give_to(s, [=] {
    for (size_t i = 0; i < height; i++) {
      if (cudaError_t e = copy_to((uint8_t *)dst + i * dst_pitch, (const uint8_t *)src + i * src_pitch, width, kind)) return e;
    }
    return cudaSuccess;
  });
}

// Every device reaches every other one. Leave is not kept: copies are right without it, too.
cudaError_t cudaDeviceCanAccessPeer(int *can, int ordinal, int peer) {
  EMU_ENTER("cudaDeviceCanAccessPeer");
  cudaError_t e = check_device(ordinal);
  if (!e) e = check_device(peer);
  return *can = !e && ordinal != peer, e;
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  EMU_ENTER("cudaDeviceEnablePeerAccess");
  return flags || peer == last().device ? tell(cudaErrorInvalidValue, "leave for device %d to read its own memory", peer) : check_device(peer);
}
cudaError_t cudaMemPoolSetAccess(cudaMemPool_t pool, const cudaMemAccessDesc *list, size_t n) {
  EMU_ENTER("cudaMemPoolSetAccess");
  for (size_t i = 0; i < n; i++) {
    if (!pool || list[i].location.type != cudaMemLocationTypeDevice) return tell(cudaErrorInvalidValue, "leave for what is no device");
    if (cudaError_t e = check_device(list[i].location.id)) return e;
  }
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void *dst, int dst_device, const void *src, int src_device, size_t bytes, cudaStream_t s) {
  EMU_ENTER("cudaMemcpyPeerAsync");
  return give_to(s, [=] {
    if (cudaError_t e = check_owner(dst, bytes, dst_device)) return e;
    if (cudaError_t e = check_owner(src, bytes, src_device)) return e;
    return copy_to(dst, src, bytes, cudaMemcpyDeviceToDevice);
  });
}

static cudaError_t set_to(void *dst, int value, size_t bytes) {
  if (cudaError_t e = check_set(dst, bytes)) return e;
  if (bytes) memset(dst, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void *dst, int value, size_t bytes) {
  EMU_ENTER("cudaMemset");
  return refuse_recording("cudaMemset") ? cudaErrorStreamCaptureUnsupported : set_to(dst, value, bytes);
}
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s) {
  EMU_ENTER("cudaMemsetAsync");
  return give_to(s, [=] { return set_to(dst, value, bytes); });
}
