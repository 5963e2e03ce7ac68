// ldmatrix, mma and shuffles beside plain loops, by the layouts that PTX tells.
#include "test.h"

namespace {

// One warp: out[16][8] = a[16][16] b[8][16]^T (b's rows are columns of the product), from shared memory.
template <class T> __global__ void product(float *out, const T *a, const T *b, int b_rows_are_k) {
  shared_array<T> s(0, 256), t(512, 128);
  const int lane = (int)threadIdx.x;
  for (int i = lane; i < 256; i += 32) s.put(i, a[i]);
  for (int i = lane; i < 128; i += 32) t.put(i, b[i]);
  __syncthreads();
  uint32_t fa[4], fb[4];
  float d[4] = {0, 0, 0, 0};
  load_matrix_x4(fa, s, lane % 16 * 16 + lane / 16 * 8);
  if (b_rows_are_k) load_matrix_x4_trans(fb, t, lane % 16 * 8);
  else load_matrix_x2(fb, t, lane < 16 ? lane % 8 * 16 + lane / 8 * 8 : 0);
  mma_16x8x16<T>(d, fa, fb);
  const int g = lane / 4, c = lane % 4 * 2;
  out[g * 8 + c] = d[0];
  out[g * 8 + c + 1] = d[1];
  out[(g + 8) * 8 + c] = d[2];
  out[(g + 8) * 8 + c + 1] = d[3];
}

__global__ void shuffles(int *out) {
  const int lane = (int)threadIdx.x;
  out[lane] = shfl_xor(lane, 5);
  out[32 + lane] = shfl(lane, 40);
  out[64 + lane] = (int)shfl_down((float)lane, 3);
  out[96 + lane] = (int)warp_sum((double)lane);
  out[128 + lane] = (int)warp_max((float)-lane);
}

template <class T> void check_product(const char *name, bool b_rows_are_k) {
  T *a = (T *)device(512), *b = (T *)device(256);
  float *out = (float *)device(512);
  for (int i = 0; i < 256; i++) a[i] = from_f32<T>((float)(i * 37 % 101) / 16 - 3);
  for (int i = 0; i < 128; i++) b[i] = from_f32<T>((float)(i * 53 % 97) / 8 - 5);
  expect(name, SX_LAUNCH(&ctx, product<T>, 1, 32, 768, out, a, b, b_rows_are_k), nullptr);
  bool ok = true;
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 8; j++) {
      float sum = 0;
      for (int k = 0; k < 16; k++) sum += to_f32(a[i * 16 + k]) * to_f32(b_rows_are_k ? b[k * 8 + j] : b[j * 16 + k]);
      ok = ok && sum == out[i * 8 + j];
    }
  }
  expect_true(name, ok);
  release(a);
  release(b);
  release(out);
}

} // namespace

void test_matrices() {
  check_product<bf16>("mma bf16", false);
  check_product<f16>("mma f16", false);
  check_product<bf16>("mma bf16, transposed", true);
  check_product<f16>("mma f16, transposed", true);
  int *out = (int *)device(640);
  expect("shuffles", SX_LAUNCH(&ctx, shuffles, 1, 32, 0, out), nullptr);
  bool ok = true;
  for (int i = 0; i < 32; i++) {
    ok = ok && out[i] == (i ^ 5) && out[32 + i] == 8 && out[64 + i] == (i + 3 < 32 ? i + 3 : i) && out[96 + i] == 496 && out[128 + i] == 0;
  }
  expect_true("values of shuffles", ok);
  release(out);
}
