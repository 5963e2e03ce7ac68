// rt.cu: the device itself: what it is, its streams, what failed on it, and graphs. memory.cu has its memory.
//
// Of the CUDA runtime, this file, memory.cu and blas.cu use (and the emulator gives) no more than
//   device     cudaDriverGetVersion cudaRuntimeGetVersion cudaGetDeviceCount cudaGetDeviceProperties cudaDeviceGetAttribute cudaSetDevice
//              cudaDeviceSynchronize cudaFuncSetAttribute
//   failures   cudaGetLastError cudaGetErrorName cudaGetErrorString
//   memory     cudaMemGetInfo cudaMalloc cudaFree cudaMallocAsync cudaFreeAsync cudaDeviceGetDefaultMemPool cudaMemPoolSetAttribute
//              cudaMemPoolGetAttribute cudaMemPoolTrimTo cudaHostAlloc cudaFreeHost cudaMemcpyAsync cudaMemsetAsync
//              cudaMemcpyPeerAsync cudaDeviceCanAccessPeer cudaDeviceEnablePeerAccess cudaMemPoolSetAccess
//   order      cudaStreamCreateWithFlags cudaStreamDestroy cudaStreamSynchronize cudaStreamWaitEvent cudaEventCreateWithFlags cudaEventDestroy
//              cudaEventRecord cudaEventSynchronize
//   graphs     cudaStreamBeginCapture cudaStreamEndCapture cudaGraphInstantiate cudaGraphDestroy cudaGraphLaunch cudaGraphExecDestroy
//
// Streams. All launches of a device, whatever their streams, use one scratch (c->work), so the launches of one stream wait, on the device, for
// those of the stream before (rt_begin). Copies do not: a batch can be uploaded on one stream while another computes.
//
// Failures. A kernel's fault is noticed at a later call, and from then on every call of the process on this device fails with it. The message
// names the last launches; with SEXTANT_CUDA_SYNC=1 every launch is waited for, and the message names the one.
#include "rt.h"

#include <stdlib.h>
#include <string.h>

// Failures after which the device does nothing more for this process: illegal addresses, traps, lost devices.
static int lasting(int e) { return e == 214 || e == 700 || e == 702 || e == 710 || (e >= 714 && e <= 719) || e == 999; }

static void last_launches(const cu_rt *rt, char *text, size_t bytes) {
  const uint32_t kept = sizeof rt->launched / sizeof rt->launched[0];
  size_t at = 0;
  text[0] = 0;
  for (uint32_t i = 0; i < kept && i < rt->launches && at < bytes; i++)
    at += (size_t)snprintf(text + at, bytes - at, "%s%s", i ? ", " : "; launched last: ", rt->launched[(rt->launches - 1 - i) % kept]);
}

sx_status rt_failed(cu_ctx *c, cudaError_t e, const char *format, ...) {
  char what[160], launches[160] = "";
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  if (lasting((int)e) && c->rt && !c->rt->check_each) last_launches(c->rt, launches, sizeof launches);
  sx_status s = cu_fail(c, e == cudaErrorMemoryAllocation ? SX_NOMEM : SX_DEVICE, "%s: %.200s (%s)%s", what, cudaGetErrorString(e),
                        cudaGetErrorName(e), launches);
  cudaGetLastError(); // or the next launch would be told of it
  return s;
}

sx_status cu_check(cu_ctx *c, const char *what) {
  cu_rt *rt = c->rt;
  rt->launched[rt->launches++ % (sizeof rt->launched / sizeof rt->launched[0])] = what;
  RT_CHECK(c, cudaGetLastError(), "launching %s", what);
  if (rt->check_each && !c->recording) RT_CHECK(c, cudaStreamSynchronize((cudaStream_t)c->stream), "running %s", what);
  return SX_OK;
}

// Up to 48 KiB need no leave. What a kernel may have is kept by its address, so that the runtime is asked once.
sx_status cu_shared_bytes(cu_ctx *c, const void *kernel, int64_t bytes) {
  cu_rt *rt = c->rt;
  const size_t slots = sizeof rt->raised / sizeof rt->raised[0];
  if (bytes <= 48 << 10) return SX_OK;
  if (bytes > c->shared_limit)
    return cu_fail(c, SX_DEVICE, "a kernel wants %lld bytes of shared memory, a block of this device may have %d", (long long)bytes, c->shared_limit);
  size_t at = (size_t)((uintptr_t)kernel >> 4) * 0x9e3779b1u % slots, tried = 0;
  while (tried++ < slots && rt->raised[at].kernel && rt->raised[at].kernel != kernel) at = (at + 1) % slots;
  if (rt->raised[at].kernel == kernel && rt->raised[at].bytes >= bytes) return SX_OK;
  RT_CHECK(c, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), "asking for %lld bytes of shared memory",
           (long long)bytes);
  rt->raised[at].kernel = kernel; // with a full table, in the place of another, which is asked for again
  rt->raised[at].bytes = bytes;
  return SX_OK;
}

// Finds the device; the message tells a user of `worker info` why it is not used.
static sx_status find_device(cu_ctx *c, int32_t ordinal) {
  const char *visible = getenv("CUDA_VISIBLE_DEVICES");
  cu_rt *rt = c->rt;
  int n = 0;
  cudaDriverGetVersion(&rt->driver);
  cudaRuntimeGetVersion(&rt->runtime);
  cudaError_t e = cudaGetDeviceCount(&n);
  cudaGetLastError();
  if (rt->driver == 0) return cu_fail(c, SX_UNSUPPORTED, "no NVIDIA driver here: libcuda.so.1 is not found, or too old to tell its version");
  if (e == cudaErrorInsufficientDriver)
    return cu_fail(c, SX_UNSUPPORTED, "the NVIDIA driver is for CUDA %d.%d, this library was built with %d.%d: it takes a newer driver, or a build "
                   "with an older CUDA", rt->driver / 1000, rt->driver % 1000 / 10, rt->runtime / 1000, rt->runtime % 1000 / 10);
  if (e == cudaErrorNoDevice || (e == cudaSuccess && n == 0))
    return cu_fail(c, SX_UNSUPPORTED, visible ? "no GPU is visible: CUDA_VISIBLE_DEVICES is \"%.100s\"" : "no GPU here", visible);
  if ((int)e == 802) return cu_fail(c, SX_DEVICE, "the GPUs are not ready: on machines with NVSwitch the fabric manager must run (system not ready)");
  if (e != cudaSuccess) return rt_failed(c, e, "looking for GPUs");
  if (ordinal < 0 || ordinal >= n) return cu_fail(c, SX_INVALID, "device %d of %d that are visible", ordinal, n);
  return SX_OK;
}

static sx_status look_at(cu_ctx *c, int32_t ordinal) {
  cudaDeviceProp prop;
  int shared = 0;
  CU_CHECK(find_device(c, ordinal));
  RT_CHECK(c, cudaGetDeviceProperties(&prop, ordinal), "describing device %d", ordinal);
  RT_CHECK(c, cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal), "describing device %d", ordinal);
  RT_CHECK(c, cudaDeviceGetAttribute(&c->rt->pools, cudaDevAttrMemoryPoolsSupported, ordinal), "describing device %d", ordinal);
  snprintf(c->rt->name, sizeof c->rt->name, "%s", prop.name);
  c->ordinal = ordinal;
  c->sms = prop.multiProcessorCount;
  c->cc = prop.major * 10 + prop.minor;
  c->shared_limit = shared;
  if (c->cc < 80)
    return cu_fail(c, SX_UNSUPPORTED, "%s has compute capability %d.%d, these kernels want 8.0 or more", c->rt->name, prop.major, prop.minor);
  return SX_OK;
}

__global__ void probe_kernel(uint32_t *to, uint32_t word) {
  if (threadIdx.x == 0) *to = word;
}

// One launch, looked at: that this library has code for the device, and that the device works for this process.
static sx_status probe(cu_ctx *c) {
  uint32_t word = 0;
  CU_CHECK(rt_begin(c, NULL, 1));
  if (SX_LAUNCH(c, probe_kernel, 1, 32, 0, (uint32_t *)c->work, 0x53585fu) != SX_OK) {
    char why[256];
    snprintf(why, sizeof why, "%.255s", c->message);
    return cu_fail(c, SX_UNSUPPORTED, "%s: is there code for sm_%d in this library? %s", c->rt->name, c->cc, why);
  }
  CU_CHECK(rt_get(c, &word, c->work, sizeof word));
  return word == 0x53585fu ? SX_OK : cu_fail(c, SX_DEVICE, "a kernel that stores a number on %s stored another one", c->rt->name);
}

static sx_status open_all(cu_ctx *c, int32_t ordinal) {
  const char *each = getenv("SEXTANT_CUDA_SYNC");
  cu_rt *rt = c->rt;
  CU_CHECK(look_at(c, ordinal));
  rt->check_each = each && strcmp(each, "1") == 0;
  RT_CHECK(c, cudaSetDevice(ordinal), "taking device %d, %s", ordinal, rt->name);
  RT_CHECK(c, cudaStreamCreateWithFlags(&rt->own, cudaStreamNonBlocking), "making a stream on %s", rt->name);
  RT_CHECK(c, cudaEventCreateWithFlags(&rt->order, cudaEventDisableTiming), "making an event on %s", rt->name);
  CU_CHECK(rt_memory_open(c));
  CU_CHECK(probe(c));
  sx_status s = blas_open(c);
  return s == SX_UNSUPPORTED ? SX_OK : s; // its absence costs speed alone
}

sx_status rt_open(cu_ctx *c, int32_t ordinal) {
  char *message = c->message;
  memset(c, 0, sizeof *c);
  c->message = message;
  c->rt = (cu_rt *)calloc(1, sizeof *c->rt);
  if (!c->rt) return cu_fail(c, SX_NOMEM, "the host has no memory for a device");
  sx_status s = open_all(c, ordinal);
  if (s != SX_OK) {
    char why[512];
    memcpy(why, message, sizeof why);
    rt_close(c);
    memcpy(message, why, sizeof why);
  }
  return s;
}

void rt_close(cu_ctx *c) {
  cu_rt *rt = c->rt;
  if (!rt) return;
  if (rt->own) {
    cudaSetDevice(c->ordinal);
    c->recording = 0;
    cudaDeviceSynchronize();
    blas_close(c);
    rt_memory_close(c);
    if (rt->order) cudaEventDestroy(rt->order);
    cudaStreamDestroy(rt->own);
    cudaGetLastError();
  }
  free(rt);
  c->rt = NULL;
}

void rt_describe(cu_ctx *c, char *name, int32_t name_bytes, char *features, int32_t features_bytes, int64_t *total, int64_t *free) {
  const cu_rt *rt = c->rt;
  snprintf(name, (size_t)name_bytes, "%s", rt->name);
  snprintf(features, (size_t)features_bytes, "sm_%d, %d SMs, driver %d.%d, runtime %d.%d, %s", c->cc, c->sms, rt->driver / 1000,
           rt->driver % 1000 / 10, rt->runtime / 1000, rt->runtime % 1000 / 10, c->blas_text);
  rt_memory(c, total, free);
}

sx_status rt_begin(cu_ctx *c, void *stream, int32_t launches) {
  cu_rt *rt = c->rt;
  cudaStream_t s = stream ? (cudaStream_t)stream : rt->own;
  RT_CHECK(c, cudaSetDevice(c->ordinal), "taking device %d, %s", c->ordinal, rt->name);
  c->stream = s;
  if (!launches || rt->last == s || c->recording) return SX_OK;
  if (rt->last) {
    RT_CHECK(c, cudaEventRecord(rt->order, rt->last), "ordering two streams");
    RT_CHECK(c, cudaStreamWaitEvent(s, rt->order, 0), "ordering two streams");
  }
  rt->last = s;
  return SX_OK;
}

sx_status rt_stream_new(cu_ctx *c, void **stream) {
  cudaStream_t s = NULL;
  CU_CHECK(rt_begin(c, NULL, 0));
  RT_CHECK(c, cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "making a stream");
  *stream = s;
  return SX_OK;
}

void rt_stream_free(cu_ctx *c, void *stream) {
  cudaStream_t s = (cudaStream_t)stream;
  if (!s || cudaSetDevice(c->ordinal) != cudaSuccess) return;
  cudaStreamSynchronize(s);
  cudaStreamDestroy(s);
  cudaGetLastError();
  if (c->rt->last == s) c->rt->last = NULL;
  if (c->stream == stream) c->stream = c->rt->own;
}

sx_status rt_sync(cu_ctx *c) {
  RT_CHECK(c, cudaStreamSynchronize((cudaStream_t)c->stream), "waiting for the work of a stream");
  return SX_OK;
}

// Relaxed, since the calls between may come from several threads (a goroutine moves), and may load a kernel that is launched for the first time;
// what a recording must not do, front.h and c->recording keep away.
sx_status rt_graph_begin(cu_ctx *c) {
  RT_CHECK(c, cudaStreamBeginCapture((cudaStream_t)c->stream, cudaStreamCaptureModeRelaxed), "beginning a recording");
  c->recording = 1;
  return SX_OK;
}

sx_status rt_graph_end(cu_ctx *c, void **graph) {
  cudaGraph_t recorded = NULL;
  cudaGraphExec_t made = NULL;
  *graph = NULL;
  cudaError_t e = cudaStreamEndCapture((cudaStream_t)c->stream, &recorded);
  c->recording = 0;
  rt_free_late(c);
  if (e == cudaSuccess) e = cudaGraphInstantiate(&made, recorded, 0);
  if (recorded) cudaGraphDestroy(recorded);
  RT_CHECK(c, e, "ending a recording");
  *graph = made;
  return SX_OK;
}

sx_status rt_graph_run(cu_ctx *c, void *graph) {
  RT_CHECK(c, cudaGraphLaunch((cudaGraphExec_t)graph, (cudaStream_t)c->stream), "launching a recording");
  return cu_check(c, "a recording");
}

void rt_graph_free(cu_ctx *c, void *graph) {
  if (!graph || cudaSetDevice(c->ordinal) != cudaSuccess) return;
  cudaGraphExecDestroy((cudaGraphExec_t)graph); // one that is running ends first
  cudaGetLastError();
}
