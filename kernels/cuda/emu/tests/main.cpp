// The emulator's own tests: what it must catch, by name; what it must not accuse; and its matrix products beside plain loops.
#include "test.h"

static char message[512];
cu_ctx ctx;
int failures;

sx_status cu_check(cu_ctx *c, const char *what) {
  cudaError_t e = cudaGetLastError();
  return e == cudaSuccess ? SX_OK : cu_fail(c, SX_DEVICE, "launching %s: %s", what, cudaGetErrorString(e));
}
sx_status cu_shared_bytes(cu_ctx *c, const void *kernel, int64_t bytes) {
  if (bytes <= 48 << 10) return SX_OK;
  cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  return e == cudaSuccess ? SX_OK : cu_fail(c, SX_DEVICE, "shared memory: %s", cudaGetErrorString(e));
}

void expect(const char *name, sx_status got, const char *want) {
  bool ok = want ? got != SX_OK : got == SX_OK;
  char words[256];
  snprintf(words, sizeof words, "%s", want ? want : "");
  for (char *w = strtok(words, "|"); ok && w; w = strtok(nullptr, "|")) ok = strstr(message, w) != nullptr;
  if (!ok) {
    failures++;
    printf("FAIL %s: got %s, want %s\n", name, got == SX_OK ? "no failure" : message, want ? want : "no failure");
  } else if (getenv("EMU_VERBOSE")) {
    printf("ok   %s: %s\n", name, got == SX_OK ? "no failure" : message);
  }
}
void expect_true(const char *name, bool ok) {
  snprintf(message, sizeof message, "not so");
  expect(name, ok ? SX_OK : SX_DEVICE, nullptr);
}

void *device(int64_t bytes) {
  void *p = nullptr;
  if (cudaMalloc(&p, (size_t)bytes) != cudaSuccess || cudaMemset(p, 0, (size_t)bytes) != cudaSuccess) {
    printf("FAIL no memory: %s\n", cudaGetErrorString(cudaGetLastError()));
    exit(1);
  }
  return p;
}
void release(void *p) {
  if (cudaFree(p) != cudaSuccess) printf("FAIL freeing: %s\n", cudaGetErrorString(cudaGetLastError())), failures++;
}

int main() {
  ctx.message = message;
  test_faults();
  test_matrices();
  test_numbers();
  test_runtime();
  if (!failures) printf("emulator: all as expected\n");
  return failures != 0;
}
