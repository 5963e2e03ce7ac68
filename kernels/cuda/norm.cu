// norm.cu: RMSNorm (Zhang and Sennrich, arXiv 1910.07467), with the addition of the residual before it. A row is read once: each thread keeps
// up to four eights of it in registers between the sum and the scaling; what a row of more than 16384 values has beyond is read, and added, again.
//
// A row of up to 1024 values belongs to `group` lanes of a warp (64 values: 8 lanes, four rows a warp), a longer one to a block. Both follow
// from the number of columns alone, and so does the order of the sum: within a thread, then a tree over lanes, then over warps. The tree adds
// numbers of two f32 (Knuth's TwoSum; Dekker), which costs nothing here and leaves the scale with the error of its last rounding; GPUs for
// inference have little arithmetic in double. Only rows whose squares leave f32, or contain what is no number, go by double.
#include "eight.cuh"

namespace {

struct two { // hi + lo
  float hi, lo;
};
__device__ __forceinline__ two operator+(two a, two b) {
  float s = a.hi + b.hi, t = s - a.hi;
  return two{s, ((a.hi - (s - t)) + (b.hi - t)) + (a.lo + b.lo)};
}
__device__ __forceinline__ two shfl_xor_two(two a, int mask) { return two{shfl_xor(a.hi, mask), shfl_xor(a.lo, mask)}; }
__device__ __forceinline__ double shfl_xor_two(double a, int mask) { return shfl_xor(a, mask); }

// The sum over the threads of a row, the same in each. `s` has a place for each warp.
template <bool BLOCK, class V> __device__ __forceinline__ V row_sum(V v, int group, const shared_array<V> &s) {
  for (int m = (BLOCK ? 32 : group) / 2; m > 0; m >>= 1) v = v + shfl_xor_two(v, m);
  if (!BLOCK) return v;
  int lane = threadIdx.x & 31, warps = group / 32;
  if (lane == 0) s.put(threadIdx.x / 32, v);
  __syncthreads();
  v = lane < warps ? s.get(lane) : V{};
  for (int m = 16; m > 0; m >>= 1) v = v + shfl_xor_two(v, m);
  return v;
}

// 1 / sqrt(sum / n + eps): a first value in f32, then what it lacks by one step of Newton's, whose error term is had by fused products.
__device__ __forceinline__ float inverse_root(two sum, float n, float eps) {
  float mean = sum.hi / n, rest = (fmaf(-mean, n, sum.hi) + sum.lo) / n;
  float m = mean + eps, t = m - mean;
  rest += (mean - (m - t)) + (eps - t);
  float r = 1 / sqrtf(m), p = m * r, low = fmaf(m, r, -p);
  float e = fmaf(-p, r, 1.0f) - r * (low + rest * r);
  return fmaf(0.5f * r, e, r);
}

struct norm_args {
  side out, x, add, w;
  int64_t rows, cols;
  int group, added; // threads of a row; whether there is something to be added
  float eps;
};

template <bool BLOCK> struct norm_row {
  const norm_args &a;
  int64_t row;
  int lane;
  __device__ __forceinline__ int64_t col(int i) const { return ((int64_t)i * a.group + lane) * 8; }
  __device__ __forceinline__ int count(int i) const {
    int64_t left = row < a.rows ? a.cols - col(i) : 0;
    return (int)(left < 0 ? 0 : left < 8 ? left : 8);
  }
  // x with the addition made: what is normed is the sum before it is rounded.
  __device__ __forceinline__ eight look(int i) const {
    int n = count(i);
    eight v = load8(a.x, row, col(i), n);
    if (a.added) {
      eight b = load8(a.add, row, col(i), n);
#pragma unroll
      for (int k = 0; k < 8; k++) v.v[k] += b.v[k];
    }
    return v;
  }
  // The same, stored too; not to be looked at again.
  __device__ __forceinline__ eight take(int i) const {
    eight v = look(i);
    if (a.added) store8(a.x, row, col(i), count(i), v);
    return v;
  }
  template <class S> __device__ __forceinline__ void give(int i, eight v, S scale) const {
    int n = count(i);
    eight w = load8(a.w, 0, col(i), n);
#pragma unroll
    for (int k = 0; k < 8; k++) v.v[k] = (float)(v.v[k] * scale * w.v[k]);
    store8(a.out, row, col(i), n, v);
  }
};

__device__ __forceinline__ float squares(const eight &r) {
  const float *v = r.v;
  return (fmaf(v[0], v[0], v[1] * v[1]) + fmaf(v[2], v[2], v[3] * v[3])) + (fmaf(v[4], v[4], v[5] * v[5]) + fmaf(v[6], v[6], v[7] * v[7]));
}
__device__ __forceinline__ double squares_double(const eight &r) {
  double s = 0;
#pragma unroll
  for (int k = 0; k < 8; k++) s += (double)r.v[k] * r.v[k];
  return s;
}

// Shared: 32 numbers of two f32, then 32 doubles.
template <bool BLOCK> __global__ void __launch_bounds__(512) norm_kernel(norm_args a) {
  enum { kept = 4 };
  shared_array<two> sums(0, BLOCK ? 32 : 0);
  shared_array<double> doubles(BLOCK ? 256 : 0, BLOCK ? 32 : 0);
  int per_block = BLOCK ? 1 : (int)blockDim.x / a.group;
  norm_row<BLOCK> r{a, (int64_t)blockIdx.x * per_block + threadIdx.x / a.group, (int)threadIdx.x % a.group};
  eight x[kept];
  int all = (int)((a.cols + 8 * a.group - 1) / (8 * a.group)); // eights of a thread
  two sum = {0, 0};
#pragma unroll
  for (int i = 0; i < kept; i++)
    if (i < all) {
      x[i] = r.take(i);
      sum.hi += squares(x[i]);
    }
  for (int i = kept; i < all; i++) sum = sum + two{squares(r.look(i)), 0};
  sum = row_sum<BLOCK>(sum, a.group, sums);

  bool plain = sum.hi <= 1e37f && sum.hi + a.eps * (float)a.cols >= 1e-20f;
  float scale = inverse_root(sum, (float)a.cols, a.eps);
  double exact = 0;
  int any = !plain; // in the warp, whose rows must meet
  if (!BLOCK)
    for (int m = 16; m > 0; m >>= 1) any |= shfl_xor(any, m);
  if (any) {
#pragma unroll
    for (int i = 0; i < kept; i++)
      if (i < all) exact += squares_double(x[i]);
    for (int i = kept; i < all; i++) exact += squares_double(r.look(i));
    exact = 1 / sqrt(row_sum<BLOCK>(exact, a.group, doubles) / (double)a.cols + (double)a.eps);
  }
#pragma unroll
  for (int i = 0; i < kept; i++)
    if (i < all) {
      if (plain) r.give(i, x[i], scale);
      else r.give(i, x[i], exact);
    }
  for (int i = kept; i < all; i++) {
    eight v = r.take(i);
    if (plain) r.give(i, v, scale);
    else r.give(i, v, exact);
  }
}

} // namespace

sx_status cu_rmsnorm(cu_ctx *c, cu_mat out, cu_mat x, const cu_mat *add, const float *d_w, float eps) {
  if (x.rows == 0 || x.cols == 0) return SX_OK;
  norm_args a = {side_of(out), side_of(x), side_of(add ? *add : x), side_of(d_w), x.rows, x.cols, 1, add != NULL, eps};
  int64_t eights = (x.cols + 7) / 8;
  if (eights <= 128) {
    while (a.group < 32 && a.group < eights) a.group *= 2;
    return SX_LAUNCH(c, norm_kernel<false>, (unsigned)((x.rows * a.group + 255) / 256), 256, 0, a);
  }
  for (a.group = 128; a.group < 512 && 2 * a.group < eights;) a.group *= 2;
  return SX_LAUNCH(c, norm_kernel<true>, (unsigned)x.rows, (unsigned)a.group, 512, a);
}
