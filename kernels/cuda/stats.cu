// stats.cu: column statistics of calibration. A block has 64 rows' worth of a strip of columns at a time: threads lie along the columns, so that a
// warp reads whole lines, and each goes down its column in order, with sums of two f32 (Knuth's TwoSum). What blocks found, a second kernel adds up
// in the order of the rows, in double.
#include "eight.cuh"

namespace {

enum { columns = 128, slice = 64 }; // of a block; rows of a slice

// [3][slices][cols]: the greatest, the sum, the sum of squares of each slice. Thread t has column t of the strip.
template <class T> __global__ void slice_kernel(cu_mat x, float *found) {
  int64_t col = (int64_t)blockIdx.y * columns + threadIdx.x, first = (int64_t)blockIdx.x * slice;
  int64_t end = first + slice < x.rows ? first + slice : x.rows, all = (int64_t)gridDim.x * x.cols;
  if (col >= x.cols) return;
  const T *p = (const T *)x.p + col;
  float max = 0, sum = 0, lost = 0, square = 0, lost_square = 0;
#pragma unroll 8
  for (int64_t i = first; i < end; i++) {
    float v = fabsf(to_f32(p[i * x.stride])), q = v * v;
    max = v > max || v != v ? v : max;
    float s = sum + v, t = s - sum;
    lost += (sum - (s - t)) + (v - t);
    sum = s;
    s = square + q, t = s - square;
    lost_square += (square - (s - t)) + (q - t);
    square = s;
  }
  float *to = found + blockIdx.x * x.cols + col;
  to[0] = max;
  to[all] = isinf(sum) ? sum : sum + lost; // an infinity leaves NaN behind in what was lost
  to[2 * all] = isinf(square) ? square : square + lost_square;
}

__global__ void join_kernel(const float *found, int32_t slices, int64_t cols, float *max, float *sum, float *square) {
  int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, all = slices * cols;
  if (col >= cols) return;
  float m = max[col];
  double s = sum[col], q = square[col];
  for (int32_t i = 0; i < slices; i++) {
    const float *p = found + i * cols + col;
    m = p[0] > m || p[0] != p[0] ? p[0] : m;
    s += p[all];
    q += p[2 * all];
  }
  max[col] = m;
  sum[col] = (float)s;
  square[col] = (float)q;
}

template <class T> sx_status launch_slices(cu_ctx *c, cu_mat x, float *found) {
  dim3 grid((unsigned)((x.rows + slice - 1) / slice), (unsigned)((x.cols + columns - 1) / columns));
  return SX_LAUNCH(c, slice_kernel<T>, grid, columns, 0, x, found);
}

} // namespace

// As many rows at a time as the scratch memory has room for what their slices give.
sx_status cu_colstats(cu_ctx *c, float *d_max, float *d_sum, float *d_square, cu_mat x) {
  if (x.rows == 0 || x.cols == 0) return SX_OK;
  int64_t most = c->work_bytes / (3 * 4 * x.cols);
  if (most < 1)
    return cu_fail(c, SX_NOMEM, "%lld bytes of scratch memory do not hold the statistics of %lld columns", (long long)c->work_bytes,
                   (long long)x.cols);
  if (most > 1024) most = 1024;
  for (int64_t r = 0; r < x.rows; r += most * slice) {
    cu_mat part = x;
    part.p = (uint8_t *)x.p + bytes_of_values(x.dtype, r * x.stride);
    part.rows = x.rows - r < most * slice ? x.rows - r : most * slice;
    float *found = (float *)c->work;
    int32_t slices = (int32_t)((part.rows + slice - 1) / slice);
    CU_CHECK(CU_BY_DTYPE(x.dtype, launch_slices, c, part, found));
    CU_CHECK(SX_LAUNCH(c, join_kernel, (unsigned)((x.cols + 127) / 128), 128, 0, found, slices, x.cols, d_max, d_sum, d_square));
  }
  return SX_OK;
}
