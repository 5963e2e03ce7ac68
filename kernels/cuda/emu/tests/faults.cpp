// Kernels with a planted mistake each, and sound ones beside them.
#include "test.h"

namespace {

// Each thread writes its element and reads its neighbour's. barrier 0: none, 1: of the block, 2: of the warp.
__global__ void neighbours(float *out, int barrier) {
  shared_array<float> s(0, (int)blockDim.x);
  s.put((int)threadIdx.x, (float)threadIdx.x);
  if (barrier == 1) __syncthreads();
  if (barrier == 2) warp_barrier();
  out[threadIdx.x] = s.get((int)((threadIdx.x + 1) % blockDim.x));
}

// Reads by all, then a write by one, with or without a barrier between.
__global__ void overwrite(float *out, int barrier) {
  shared_array<float> s(0, 8);
  if (threadIdx.x == 0) s.put(3, 1.0f);
  __syncthreads();
  float v = s.get(3);
  if (barrier) __syncthreads();
  if (threadIdx.x == 40) s.put(3, 2.0f);
  __syncthreads();
  out[threadIdx.x] = v + s.get(3);
}

// Halves of a word, and bytes of a half, of different threads: no race.
__global__ void halves(float *out) {
  shared_array<bf16> s(0, 64);
  shared_array<uint8_t> t(256, 64);
  s.put((int)threadIdx.x, from_f32<bf16>(1.0f));
  t.put((int)threadIdx.x, 7);
  __syncthreads();
  uint32_t two = s.get_as<uint32_t>((int)(threadIdx.x & ~1u)), four = t.get_as<uint32_t>((int)(threadIdx.x & ~3u));
  out[threadIdx.x] = two == 0x3f803f80u && four == 0x07070707u ? 1.0f : 0.0f;
}
__global__ void same_half() {
  shared_array<bf16> s(0, 64);
  s.put((int)(threadIdx.x / 2), from_f32<bf16>(1.0f));
}

__global__ void outside(int i) {
  shared_array<float> a(0, 16), b(64, 16);
  b.put(0, 1.0f);
  a.get(i);
}
__global__ void array_outside(int count) {
  shared_array<float> s(32, count);
  if (threadIdx.x == 0) s.put(count - 1, 1.0f);
}
__global__ void misaligned_vector(int i) {
  shared_array<float> s(0, 64);
  if (threadIdx.x == 0) s.put_as<float4>(i, make_float4(0, 0, 0, 0));
}
__global__ void misaligned_load(float *p, int i) { p[0] = load_once((const float4 *)(p + i)).y; }

// A piece of global memory through shared memory. wait 0: not at all, 1: as it should be, 2: one group too few.
__global__ void staged(float *out, const float *in, int wait) {
  shared_array<float> s(0, 256);
  int i = (int)threadIdx.x * 4;
  copy_async16(s, i, in + i, true);
  copy_commit();
  copy_async16(s, 128 + i, in + i, false);
  copy_commit();
  if (wait == 1) copy_wait<0>();
  if (wait == 2) copy_wait<1>();
  __syncthreads();
  out[threadIdx.x] = s.get(127 - (int)threadIdx.x) + s.get(255 - (int)threadIdx.x);
}
__global__ void staged_no_barrier(float *out, const float *in) {
  shared_array<float> s(0, 128);
  copy_async16(s, (int)threadIdx.x * 4, in, true);
  copy_commit();
  copy_wait<0>();
  out[threadIdx.x] = s.get((4 * (int)threadIdx.x + 124) % 128);
}

__global__ void part_of_barrier() {
  if (threadIdx.x < 40) __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x < 32) __syncthreads();
  else __syncthreads();
}
__global__ void part_of_warp(float *out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = shfl_xor(1.0f, 1);
}
__global__ void crossed(float *out) {
  if (threadIdx.x == 5) __syncthreads();
  out[threadIdx.x] = shfl(1.0f, 0);
  if (threadIdx.x != 5) __syncthreads();
}
__global__ void half_a_warp(float *out) { out[threadIdx.x] = warp_sum(1.0f); }

__attribute__((noinline)) int deep(int n, volatile int *keep) {
  volatile int room[256];
  room[n % 256] = n;
  int r = n ? deep(n - 1, room) : 0;
  return r + room[n % 256] + keep[0];
}
__global__ void overflow(int *out) {
  volatile int start[1] = {0};
  *out = deep(1000, start);
}
__global__ void write_at(float *p, int64_t i) { p[i] = 1.0f; }
__global__ void local_array(int *out, int i) {
  int local[8];
  for (int j = 0; j < 8; j++) local[j] = j;
  local[i] = 9;
  *out = local[3];
}
__global__ void endless(volatile int *p) {
  while (*p == 0) {
  }
}
__global__ void count(int *out, int whole) {
  shared_array<int> s(0, 4);
  if (threadIdx.x < 4) s.put((int)threadIdx.x, 0);
  __syncthreads();
  s.atomic_add((int)threadIdx.x % 4, 1);
  if (whole) __syncthreads();
  atomicAdd(out + threadIdx.x % 4, threadIdx.x < 4 ? s.get((int)threadIdx.x) : 0);
}

// Two buffers in turns, warps that sum by shuffles between them: what real kernels do.
__global__ void turns(float *out, int rounds) {
  shared_array<float> s(0, 2 * 128), sums(1024, 4);
  float total = 0;
  for (int r = 0; r < rounds; r++) {
    int at = r % 2 * 128;
    s.put(at + (int)threadIdx.x, (float)(threadIdx.x + (unsigned)r));
    __syncthreads();
    float v = warp_sum(s.get(at + (int)((threadIdx.x + 37) % 128)));
    if (threadIdx.x % 32 == 0) sums.put((int)threadIdx.x / 32, v);
    __syncthreads();
    total += sums.get(0) + sums.get(1) + sums.get(2) + sums.get(3);
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

} // namespace

static void test_shared(float *out) {
  expect("race", SX_LAUNCH(&ctx, neighbours, 1, 64, 256, out, 0), "neighbours|block 0,0,0, thread 1,0,0|race: writes byte 4|read by thread 0");
  expect("race of a warp", SX_LAUNCH(&ctx, neighbours, 1, 32, 256, out, 0), "neighbours|race");
  expect("no race", SX_LAUNCH(&ctx, neighbours, 3, 64, 256, out, 1), nullptr);
  expect("no race within a warp", SX_LAUNCH(&ctx, neighbours, 1, 32, 256, out, 2), nullptr);
  expect("a warp's barrier is not the block's", SX_LAUNCH(&ctx, neighbours, 1, 64, 256, out, 2), "neighbours|race");
  expect("write after reads", SX_LAUNCH(&ctx, overwrite, 1, 64, 256, out, 0), "overwrite|race: writes byte 12|read by several warps");
  expect("write after reads and a barrier", SX_LAUNCH(&ctx, overwrite, 1, 64, 256, out, 1), nullptr);
  expect("halves", SX_LAUNCH(&ctx, halves, 1, 64, 512, out), nullptr);
  expect_true("halves' values", out[5] == 1 && out[63] == 1);
  expect("one half", SX_LAUNCH(&ctx, same_half, 1, 64, 512), "same_half|race: writes byte 0|written by thread 0");
  expect("outside of an array", SX_LAUNCH(&ctx, outside, 1, 32, 128, 16), "outside|out of bounds|element 16");
  expect("before an array", SX_LAUNCH(&ctx, outside, 1, 32, 128, -1), "outside|out of bounds|element -1");
  expect("array beyond the launch", SX_LAUNCH(&ctx, array_outside, 1, 32, 128, 25), "array_outside|out of bounds|25 elements");
  expect("array within the launch", SX_LAUNCH(&ctx, array_outside, 1, 32, 128, 24), nullptr);
  expect("misaligned vector", SX_LAUNCH(&ctx, misaligned_vector, 1, 32, 256, 2), "misaligned_vector|misaligned|element 2");
  expect("aligned vector", SX_LAUNCH(&ctx, misaligned_vector, 1, 32, 256, 4), nullptr);
  expect("misaligned global", SX_LAUNCH(&ctx, misaligned_load, 1, 1, 0, out, 2), "misaligned_load|misaligned");
  expect("sums", SX_LAUNCH(&ctx, turns, 7, 128, 1056, out, 9), nullptr);
  float want = 0;
  for (int r = 0; r < 9; r++) want += 127 * 64 + 128 * r;
  expect_true("values of sums", out[0] == want && out[6 * 128 + 127] == want);
}

static void test_copies(float *out, float *in) {
  for (int i = 0; i < 128; i++) in[i] = (float)i;
  expect("no wait", SX_LAUNCH(&ctx, staged, 1, 32, 1024, out, in, 0), "staged|asynchronous copy of thread 24");
  expect("copies", SX_LAUNCH(&ctx, staged, 1, 32, 1024, out, in, 1), nullptr);
  expect_true("copied values", out[0] == 127 && out[31] == 96);
  expect("waits for too few", SX_LAUNCH(&ctx, staged, 1, 32, 1024, out, in, 2), "staged|asynchronous copy");
  expect("wait without barrier", SX_LAUNCH(&ctx, staged_no_barrier, 1, 32, 1024, out, in),
         "staged_no_barrier|race: reads byte 0|written by thread 0");
}

static void test_barriers(float *out) {
  expect("part of a barrier", SX_LAUNCH(&ctx, part_of_barrier, 1, 64, 0), "part_of_barrier|waits at __syncthreads|thread 40,0,0 has returned");
  expect("two barriers", SX_LAUNCH(&ctx, two_barriers, 1, 64, 0), "two_barriers|at __syncthreads|while others wait at");
  expect("part of a warp", SX_LAUNCH(&ctx, part_of_warp, 1, 64, 0, out), "part_of_warp|shfl_xor|thread 16,0,0 has returned");
  expect("crossed", SX_LAUNCH(&ctx, crossed, 1, 64, 0, out), "crossed|at __syncthreads|while others wait at __syncthreads");
  expect("half a warp", SX_LAUNCH(&ctx, half_a_warp, 1, 48, 0, out), "half_a_warp|fewer than 32 threads");
  expect("after all that", SX_LAUNCH(&ctx, half_a_warp, 1, 64, 0, out), nullptr);
  expect_true("sum of a warp", out[63] == 32);
}

static void test_memory(float *out) {
  float *p = (float *)device(1000);
  expect("stack", SX_LAUNCH(&ctx, overflow, 1, 1, 0, (int *)out), "overflow|stack");
  expect("the end", SX_LAUNCH(&ctx, write_at, 1, 1, 0, p, 249), nullptr);
  expect("just beyond", SX_LAUNCH(&ctx, write_at, 1, 1, 0, p, 250), "write_at|beyond the end of an allocation of 1000 bytes");
  expect("far beyond", SX_LAUNCH(&ctx, write_at, 1, 1, 0, p, 400), "write_at|thread 0,0,0|beyond the end of an allocation of 1000 bytes");
  expect("before", SX_LAUNCH(&ctx, write_at, 1, 1, 0, p, -1024), "write_at|before an allocation of 1000 bytes");
  expect("nowhere", SX_LAUNCH(&ctx, write_at, 1, 1, 0, (float *)nullptr, 0), "write_at|(nil), no memory of the device");
  release(p);
  expect("freed", SX_LAUNCH(&ctx, write_at, 1, 1, 0, p, 0), "write_at|no memory of the device");
  expect("local array", SX_LAUNCH(&ctx, local_array, 1, 1, 0, (int *)out, 8), "local_array|out of bounds|index 8");
  expect("local array within", SX_LAUNCH(&ctx, local_array, 1, 1, 0, (int *)out, 7), nullptr);
}

void test_faults() {
  float *out = (float *)device(8192), *in = (float *)device(8192);
  test_shared(out);
  test_copies(out, in);
  test_barriers(out);
  test_memory(out);
  memset(out, 0, 64);
  expect("atomics", SX_LAUNCH(&ctx, count, 2, 64, 64, (int *)out, 1), nullptr);
  expect_true("counts", ((int *)out)[3] == 32);
  expect("atomics, no barrier", SX_LAUNCH(&ctx, count, 2, 64, 64, (int *)out, 0), "count|race");
  memset(out, 0, 64);
  setenv("SEXTANT_EMU_SECONDS", "1", 1);
  expect("endless", SX_LAUNCH(&ctx, endless, 4, 1, 0, (int *)out), "endless|more than 1 s");
  unsetenv("SEXTANT_EMU_SECONDS");
  release(out);
  release(in);
}
