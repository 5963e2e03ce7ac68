// The runtime's calls: memory and its limit, recordings, and failures that a test asks for.
#include "test.h"

namespace {
__global__ void plus(float *p, float v) { p[threadIdx.x] += v; }
} // namespace

static void test_limits() {
  setenv("SEXTANT_EMU_MEMORY", "1M", 1);
  size_t free_bytes = 0, total = 0;
  void *p = nullptr, *q = nullptr;
  expect_true("info", cudaMemGetInfo(&free_bytes, &total) == cudaSuccess && total == 1 << 20 && free_bytes == total);
  expect_true("half", cudaMalloc(&p, 512 << 10) == cudaSuccess && p && (uintptr_t)p % 256 == 0);
  expect_true("too much", cudaMalloc(&q, 513 << 10) == cudaErrorMemoryAllocation && !q);
  cudaMemGetInfo(&free_bytes, &total);
  expect_true("half is left", free_bytes == 512 << 10);
  expect_true("twice freed", cudaFree(p) == cudaSuccess && cudaFree(p) == cudaErrorInvalidValue);
  unsetenv("SEXTANT_EMU_MEMORY");
  cudaGetLastError();
}

static void test_recording() {
  cudaStream_t s;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  float *p = (float *)device(128);
  cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
  ctx.stream = s;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  expect("recorded", SX_LAUNCH(&ctx, plus, 1, 32, 0, p, 1.0f), nullptr);
  void *q = nullptr;
  expect_true("no memory while recording", cudaMalloc(&q, 16) == cudaErrorStreamCaptureUnsupported);
  expect_true("not done yet", p[0] == 0);
  expect_true("made", cudaStreamEndCapture(s, &graph) == cudaSuccess && cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  for (int i = 0; i < 3; i++) expect_true("replayed", cudaGraphLaunch(exec, s) == cudaSuccess);
  expect_true("three times", p[31] == 3);
  cudaGraphExecDestroy(exec);
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  expect_true("waiting spoils it", cudaStreamSynchronize(s) != cudaSuccess && cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaStreamDestroy(s);
  ctx.stream = nullptr;
  cudaGetLastError();
  release(p);
}

static void test_wanted_failures() {
  float *p = (float *)device(128);
  setenv("SEXTANT_EMU_FAIL", "3", 1);
  cudaSetDevice(0);
  expect("second call", SX_LAUNCH(&ctx, plus, 1, 32, 0, p, 1.0f), nullptr);
  expect("third call", SX_LAUNCH(&ctx, plus, 1, 32, 0, p, 1.0f), "plus, call 3, fails");
  expect("fourth call", SX_LAUNCH(&ctx, plus, 1, 32, 0, p, 1.0f), nullptr);
  unsetenv("SEXTANT_EMU_FAIL");
  expect_true("two of three", p[0] == 2);
  expect_true("copies know the device", cudaMemcpy(p, p, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue &&
                                            cudaMemcpy(p + 20, &p, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  cudaGetLastError();
  expect("no shared memory for it", SX_LAUNCH(&ctx, plus, 1, 32, 300 << 10, p, 1.0f), "shared memory");
  expect("no blocks", SX_LAUNCH(&ctx, plus, 0, 32, 0, p, 1.0f), "plus|grid of 0");
  release(p);
}

void test_runtime() {
  test_limits();
  test_recording();
  test_wanted_failures();
}
