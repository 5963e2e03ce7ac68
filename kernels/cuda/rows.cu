// rows.cu: the operations that go value by value: embed, gather, add, swiglu. Each thread has eight values of a row (eight.cuh), in vectors of
// 16 bytes where rows allow it; all of them are bound by memory.
#include "eight.cuh"

namespace {

// Values [k, k + n) of row `row` of w. `fast`: rows are a multiple of eight values, and eight lie in one group.
__device__ __forceinline__ eight weight8(const cu_weight &w, int64_t row, int64_t k, int n, int fast) {
  eight r;
  int64_t i = row * w.cols + k;
  if (!fast || n < 8) {
#pragma unroll
    for (int j = 0; j < 8; j++) r.v[j] = j < n ? weight_at(w, row, k + j) : 0;
    return r;
  }
  if (w.dtype == SX_F32 || w.dtype == SX_BF16 || w.dtype == SX_F16) {
    return load8(side{(uint8_t *)w.data, 0, w.dtype, 1}, 0, i, 8);
  }
  if (w.dtype == SX_I4) {
    uint32_t codes = *(const uint32_t *)((const uint8_t *)w.data + i / 2);
    int64_t g = i / w.group;
    float zero = w.zeros[g], scale = w.scales[g];
#pragma unroll
    for (int j = 0; j < 8; j++) r.v[j] = ((float)(codes >> 4 * j & 15) - zero) * scale;
    return r;
  }
  uint2 u = *(const uint2 *)((const uint8_t *)w.data + i);
  float scale = w.scales[row];
#pragma unroll
  for (int j = 0; j < 8; j++) {
    uint8_t b = (uint8_t)((j < 4 ? u.x : u.y) >> 8 * (j % 4));
    r.v[j] = (w.dtype == SX_I8 ? (float)(int8_t)b : f8_to_f32(b)) * scale;
  }
  return r;
}

__global__ void embed_kernel(side out, cu_weight w, const int32_t *ids, spread s, int fast) {
  spot at = spot_of(s);
  if (at.n > 0) store8(out, at.row, at.col, at.n, weight8(w, ids[at.row], at.col, at.n, fast));
}

// The bits of rows: both sides have one format, and NaN stay what they are.
__global__ void gather_kernel(side out, side x, const int32_t *rows, spread s) {
  spot at = spot_of(s);
  if (at.n == 0) return;
  int size = x.dtype == SX_F32 ? 4 : 2;
  const uint8_t *from = x.p + rows[at.row] * x.stride + at.col * size;
  uint8_t *to = out.p + at.row * out.stride + at.col * size;
  if (x.fast && out.fast && at.n == 8) {
    ((uint4 *)to)[0] = ((const uint4 *)from)[0];
    if (size == 4) ((uint4 *)to)[1] = ((const uint4 *)from)[1];
    return;
  }
  for (int k = 0; k < at.n; k++) {
    if (size == 4)
      ((uint32_t *)to)[k] = ((const uint32_t *)from)[k];
    else
      ((uint16_t *)to)[k] = ((const uint16_t *)from)[k];
  }
}

__global__ void add_kernel(side x, side add, spread s) {
  spot at = spot_of(s);
  if (at.n == 0) return;
  eight a = load8(x, at.row, at.col, at.n), b = load8(add, at.row, at.col, at.n);
#pragma unroll
  for (int k = 0; k < 8; k++) a.v[k] += b.v[k];
  store8(x, at.row, at.col, at.n, a);
}

// silu(g) = g / (1 + e^-g). From g = -89 on e^-g is beyond f32 and the result 0, where it would be less than 1e-37.
__global__ void swiglu_kernel(side out, side gate, side up, spread s) {
  spot at = spot_of(s);
  if (at.n == 0) return;
  eight g = load8(gate, at.row, at.col, at.n), u = load8(up, at.row, at.col, at.n);
#pragma unroll
  for (int k = 0; k < 8; k++) g.v[k] = g.v[k] / (1.0f + expf(-g.v[k])) * u.v[k];
  store8(out, at.row, at.col, at.n, g);
}

} // namespace

sx_status cu_embed(cu_ctx *c, cu_mat out, const cu_weight *w, const int32_t *d_ids) {
  if (out.rows == 0 || out.cols == 0) return SX_OK;
  spread s = spread_of(out.rows, out.cols);
  int fast = w->cols % 8 == 0 && (w->dtype != SX_I4 || w->group % 8 == 0);
  return SX_LAUNCH(c, embed_kernel, grid_of(s), 256, 0, side_of(out), *w, d_ids, s, fast);
}

sx_status cu_gather(cu_ctx *c, cu_mat out, cu_mat x, const int32_t *d_rows) {
  if (out.rows == 0 || out.cols == 0) return SX_OK;
  spread s = spread_of(out.rows, out.cols);
  return SX_LAUNCH(c, gather_kernel, grid_of(s), 256, 0, side_of(out), side_of(x), d_rows, s);
}

sx_status cu_add(cu_ctx *c, cu_mat x, cu_mat add) {
  if (x.rows == 0 || x.cols == 0) return SX_OK;
  spread s = spread_of(x.rows, x.cols);
  return SX_LAUNCH(c, add_kernel, grid_of(s), 256, 0, side_of(x), side_of(add), s);
}

sx_status cu_swiglu(cu_ctx *c, cu_mat out, cu_mat gate, cu_mat up) {
  if (out.rows == 0 || out.cols == 0) return SX_OK;
  spread s = spread_of(out.rows, out.cols);
  return SX_LAUNCH(c, swiglu_kernel, grid_of(s), 256, 0, side_of(out), side_of(gate), side_of(up), s);
}
