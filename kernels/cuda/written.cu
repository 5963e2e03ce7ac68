// written.cu: rows of a weight written out in a format of activations, for products that know no other.
#include "lanes.cuh"
#include "matmul.cuh"
#include "values.cuh"

__device__ __forceinline__ void put_eight(float *to, const float v[8]) {
  *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
  *(float4 *)(to + 4) = make_float4(v[4], v[5], v[6], v[7]);
}
template <class T> __device__ __forceinline__ void put_eight(T *to, const float v[8]) {
  *(uint4 *)to = make_uint4(pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3]), pack2<T>(v[4], v[5]), pack2<T>(v[6], v[7]));
}

// A thread: 8 inputs of a row, whose codes lie together and in one group; 16 bytes of bf16 or f16, 32 of f32. It is bound by memory.
template <class T, int D> __global__ void __launch_bounds__(256) write_eight(T *to, const cu_weight w, int64_t row, int64_t eights) {
  const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x, per_row = w.cols / 8;
  if (i >= eights) return;
  const int64_t at = row * w.cols + 8 * i;
  float scale = 1, zero = 0, v[8];
  if (D == SX_I8 || D == SX_F8) scale = w.scales[row + i / per_row];
  if (D == SX_I4) scale = w.scales[at / w.group], zero = w.zeros[at / w.group];
  constexpr int each = values_of<D>::count < 8 ? values_of<D>::count : 8;
#pragma unroll
  for (int part = 0; part < 8 / each; part++) {
    uint4 raw = no_bits<uint4>();
    const uint8_t *from = (const uint8_t *)w.data + (D == SX_I4 ? at / 2 : (at + part * each) * (16 / values_of<D>::count));
    if (D == SX_I4) raw.x = load_once((const uint32_t *)from);
    else if (D == SX_I8 || D == SX_F8) {
      const uint2 two = load_once((const uint2 *)from);
      raw.x = two.x, raw.y = two.y;
    } else raw = load_once((const uint4 *)from);
#pragma unroll
    for (int e = 0; e < each; e++) v[part * each + e] = value_in<D>(raw, e, scale, zero);
  }
  put_eight(to + 8 * i, v);
}

template <class T> __global__ void __launch_bounds__(256) write_one(T *to, const cu_weight w, int64_t row, int64_t values) {
  const int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
  if (i < values) to[i] = from_f32<T>(weight_at(w, row + i / w.cols, i % w.cols));
}

template <class T> static sx_status write_as(cu_ctx *c, void *d_to, const cu_weight *w, int64_t row, int64_t rows) {
  T *to = (T *)d_to;
  const int64_t values = rows * w->cols;
  const bool aligned = w->cols % 8 == 0 && (w->dtype != SX_I4 || w->group % 8 == 0) && (uintptr_t)d_to % 16 == 0 &&
                       ((uintptr_t)w->data + bytes_of_values(w->dtype, row * w->cols)) % 16 == 0;
  const int64_t threads = aligned ? values / 8 : values, blocks = (threads + 255) / 256;
  if (blocks > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "%lld x %lld values to write out at once", (long long)rows, (long long)w->cols);
  const dim3 grid((unsigned)blocks), block(256);
  if (!aligned) return SX_LAUNCH(c, write_one<T>, grid, block, 0, to, *w, row, values);
  switch (w->dtype) {
    case SX_F32: return SX_LAUNCH(c, (write_eight<T, SX_F32>), grid, block, 0, to, *w, row, threads);
    case SX_BF16: return SX_LAUNCH(c, (write_eight<T, SX_BF16>), grid, block, 0, to, *w, row, threads);
    case SX_F16: return SX_LAUNCH(c, (write_eight<T, SX_F16>), grid, block, 0, to, *w, row, threads);
    case SX_I8: return SX_LAUNCH(c, (write_eight<T, SX_I8>), grid, block, 0, to, *w, row, threads);
    case SX_I4: return SX_LAUNCH(c, (write_eight<T, SX_I4>), grid, block, 0, to, *w, row, threads);
    default: return SX_LAUNCH(c, (write_eight<T, SX_F8>), grid, block, 0, to, *w, row, threads);
  }
}

sx_status cu_write_out(cu_ctx *c, void *d_to, sx_dtype as, const cu_weight *w, int64_t row, int64_t rows) {
  if (rows <= 0 || w->cols <= 0) return SX_OK;
  return CU_BY_DTYPE(as, write_as, c, d_to, w, row, rows);
}
