// round.cu: activations rounded to what 8 bits hold (kernels.h). With one scale for all it goes value by value. Else a row or group belongs to a
// team: of lanes of a warp, as many as it has eights, where it has up to 1024 values, a longer one to a block. Its greatest value is sought, then
// it is read again, from the caches. A greatest value does not depend on the order it is sought in. Bound by memory.
#include "eight.cuh"

namespace {

struct round_args {
  side out, x;
  int64_t rows, cols, group, groups; // groups: of a row
  float scale;
  int32_t f8, team; // threads of a group
};

// The code of v = x/s as a number, v being no NaN. Every step is one operation of f32 that is rounded as IEEE says, as in the other backends.
__device__ __forceinline__ float code(float v, int f8) {
  if (!f8) return rintf(fminf(fmaxf(v, -127.0f), 127.0f)) + 0.0f; // a code of I8 has no -0
  const uint32_t b = f32_to_bits(v);
  const float size = fminf(bits_to_f32(b & 0x7fffffff), 448.0f);
  const uint32_t u = f32_to_bits(size), normal = (u + 0x7ffff + (u >> 20 & 1)) & 0xfff00000, small = f32_to_bits((size + 24576.0f) - 24576.0f); // units of 2^-9
  return bits_to_f32((size < 0.015625f ? small : normal) | (b & 0x80000000));
}

__device__ __forceinline__ void round_eight(eight &v, float s, int f8) {
#pragma unroll
  for (int k = 0; k < 8; k++) v.v[k] = v.v[k] != v.v[k] ? v.v[k] : code(v.v[k] / s, f8) * s;
}

__global__ void scaled_kernel(round_args a, spread s) {
  spot at = spot_of(s);
  if (at.n == 0) return;
  eight v = load8(a.x, at.row, at.col, at.n);
  round_eight(v, a.scale, a.f8);
  store8(a.out, at.row, at.col, at.n, v);
}

// Shared: a number for each warp.
template <bool BLOCK> __global__ void __launch_bounds__(256) round_kernel(round_args a) {
  shared_array<uint32_t> tops(0, BLOCK ? 8 : 0);
  const int lane = (int)threadIdx.x % a.team;
  const int64_t unit = (int64_t)blockIdx.x * (256 / a.team) + threadIdx.x / a.team, row = unit / a.groups, first = unit % a.groups * a.group;
  int64_t n = row < a.rows ? a.cols - first : 0;
  if (n > a.group) n = a.group;
  uint32_t top = 0; // the bits of the greatest |x|: from 0x7f800000 on there is an infinity or a NaN
  for (int64_t k = 8 * lane; k < n; k += 8 * a.team) {
    const eight v = load8(a.x, row, first + k, n - k < 8 ? (int)(n - k) : 8);
#pragma unroll
    for (int j = 0; j < 8; j++) top = max(top, f32_to_bits(v.v[j]) & 0x7fffffff);
  }
  for (int m = (BLOCK ? 32 : a.team) / 2; m > 0; m >>= 1) top = max(top, shfl_xor(top, m));
  if (BLOCK) {
    if (lane % 32 == 0) tops.put(lane / 32, top);
    __syncthreads();
    for (int i = 0; i < 8; i++) top = max(top, tops.get(i));
  }
  const float s = bits_to_f32(top) / (a.f8 ? 448.0f : 127.0f);
  for (int64_t k = 8 * lane; k < n; k += 8 * a.team) {
    const int some = n - k < 8 ? (int)(n - k) : 8;
    eight v = load8(a.x, row, first + k, some); // what the same thread has read: out may be x
    round_eight(v, s, a.f8);
#pragma unroll
    for (int j = 0; j < 8; j++) v.v[j] = top >= 0x7f800000 ? bits_to_f32(0x7fc00000) : s == 0 ? 0.0f : v.v[j];
    store8(a.out, row, first + k, some, v);
  }
}

} // namespace

sx_status cu_round(cu_ctx *c, cu_mat out, cu_mat x, const sx_round_desc *r) {
  round_args a = {side_of(out), side_of(x), x.rows, x.cols, r->group, (x.cols + r->group - 1) / r->group, r->scale, r->to == SX_F8, 1};
  if (r->scale > 0) {
    const spread s = spread_of(x.rows, x.cols);
    return SX_LAUNCH(c, scaled_kernel, grid_of(s), 256, 0, a, s);
  }
  if (a.groups > 1 && r->group % 8) a.x.fast = a.out.fast = 0; // eights would not begin at multiples of eight
  const bool block = r->group > 1024;
  while (!block && a.team < 32 && 8 * a.team < r->group) a.team *= 2;
  if (block) a.team = 256;
  const int64_t units = x.rows * a.groups, blocks = (units + 256 / a.team - 1) / (256 / a.team);
  if (blocks > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "%lld groups to round are too many", (long long)units);
  if (block) return SX_LAUNCH(c, round_kernel<true>, (unsigned)blocks, 256, 32, a);
  return SX_LAUNCH(c, round_kernel<false>, (unsigned)blocks, 256, 0, a);
}
