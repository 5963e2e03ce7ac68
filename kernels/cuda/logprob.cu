// logprob.cu: the head of a model without its logits: for as many rows at a time as the scratch memory holds, matmul gives the logits of the
// whole vocabulary, and one pass over them leaves of each piece of 8192 its greatest, where that is, and its sum of exponentials, read once
// into registers. A warp a row puts the pieces together (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv
// 1805.02867). The vocabulary is not cut for matmul, so that cuBLASLt takes the algorithm it takes for the whole matrix.
//
// Always the order of sums of matmul for many rows: a score may not depend on how many are asked for in a call.
#include <stdlib.h>
#include <string.h>

#include "device.cuh"

namespace {

// Scratch memory that is left to matmul: what cuBLASLt is given, and the most that wide.cu takes for weights that it writes out first.
enum { for_product = 32 << 20, for_pieces = 96 << 20 };
enum { threads = 256, vectors = 8, piece = threads * vectors * 4, none = INT32_MAX };

struct part { // of a piece: of its numbers the greatest and its first place (or none); the sum of e^(x - max), NaN if there is one
  float max;
  int32_t best;
  double sum;
};

// What a call gives and takes, in one piece of device memory. The first three and `target` are results, in this order.
struct head_io {
  double *lse;
  int32_t *best;
  float *best_logit, *target;
  int32_t *ids, *rows; // of the targets
};

// Block (piece, row) as one number. Thread t has vectors t, t + 256, ... of the piece. Its sum is Kahan's, that of threads in double.
// Shared: 8 floats, 8 ints, 8 doubles.
__global__ void __launch_bounds__(threads, 3) piece_kernel(const float *logits, int64_t stride, int64_t n, int32_t pieces, part *parts) {
  shared_array<float> maxima(0, 8);
  shared_array<int32_t> places(32, 8);
  shared_array<double> sums(64, 8);
  int64_t row = blockIdx.x / pieces, first = (int64_t)(blockIdx.x % pieces) * piece;
  int t = threadIdx.x, warp = t / 32;
  int left = (int)(n - first < piece ? n - first : piece);
  const float *l = logits + row * stride + first;
  float x[vectors][4], max = -INFINITY, sum = 0, lost = 0;
#pragma unroll
  for (int i = 0; i < vectors; i++) {
    int at = (i * threads + t) * 4;
    float4 v = at < left ? load_once((const float4 *)(l + at)) : make_float4(0, 0, 0, 0); // rows are whole vectors
    x[i][0] = v.x, x[i][1] = v.y, x[i][2] = v.z, x[i][3] = v.w;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (at + k >= left) x[i][k] = -INFINITY;
      max = fmaxf(max, x[i][k]); // passes over NaN
    }
  }
  max = warp_max(max);
  if (t % 32 == 0) maxima.put(warp, max);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < threads / 32; i++) max = fmaxf(max, maxima.get(i));
  int best = none;
#pragma unroll
  for (int i = vectors - 1; i >= 0; i--)
#pragma unroll
    for (int k = 3; k >= 0; k--) {
      int at = (i * threads + t) * 4 + k;
      float e;
      if (isinf(max)) { // 1 for each that equals it
        e = at >= left ? 0.0f : x[i][k] == max ? 1.0f : x[i][k] != x[i][k] ? x[i][k] : 0.0f;
        if (x[i][k] == max && at < left) best = at;
      } else {
        e = expf(x[i][k] - max);
        if (x[i][k] == max) best = at;
      }
      float y = e - lost, s = sum + y;
      lost = (s - sum) - y;
      sum = s;
    }
  double total = warp_sum((double)sum - (double)lost);
  for (int m = 16; m > 0; m >>= 1) best = min(best, shfl_xor(best, m));
  if (t % 32 == 0) {
    sums.put(warp, total);
    places.put(warp, best);
  }
  __syncthreads();
  if (t > 0) return;
  for (int i = 1; i < threads / 32; i++) {
    total += sums.get(i);
    best = min(best, places.get(i));
  }
  parts[blockIdx.x] = part{max, best == none ? none : (int32_t)(first + best), total};
}

// A warp a row.
__global__ void join_kernel(const part *parts, int32_t pieces, int64_t rows, head_io out) {
  int64_t row = (int64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  int lane = threadIdx.x & 31;
  bool there = row < rows;
  const part *p = parts + row * pieces;
  float max = -INFINITY;
  int best = none;
  double sum = 0;
  for (int i = lane; there && i < pieces; i += 32) max = fmaxf(max, p[i].max);
  max = warp_max(max);
  for (int i = lane; there && i < pieces; i += 32) {
    if (p[i].max == max) best = min(best, p[i].best);
    sum += p[i].max == max ? p[i].sum : p[i].sum * exp((double)p[i].max - (double)max);
  }
  sum = warp_sum(sum);
  for (int m = 16; m > 0; m >>= 1) best = min(best, shfl_xor(best, m));
  if (lane > 0 || !there) return;
  out.lse[row] = (double)max + log(sum);
  out.best[row] = best == none ? 0 : best;
  out.best_logit[row] = best == none ? NAN : max;
}

// The logits of targets [from, to), whose rows count from `first` on.
__global__ void pick_kernel(const float *logits, int64_t stride, int64_t first, int64_t from, int64_t to, head_io io) {
  int64_t j = from + (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (j < to) io.target[j] = logits[(io.rows[j] - first) * stride + io.ids[j]];
}

struct call {
  cu_mat x;
  const cu_weight *w;
  const int64_t *starts;
  head_io io;
  int64_t stride;
  int32_t pieces;
};

// matmul with what scratch memory is left behind the first `used` bytes.
sx_status logits_of(cu_ctx *c, const cu_mat &out, const cu_mat &x, const cu_weight *w, int64_t used) {
  void *work = c->work;
  int64_t bytes = c->work_bytes;
  c->work = (uint8_t *)work + used;
  c->work_bytes = bytes - used;
  sx_status s = x.dtype == SX_F32 ? cu_matmul(c, out, x, w, NULL) : cu_matmul_wide(c, out, x, w, NULL);
  c->work = work;
  c->work_bytes = bytes;
  return s;
}

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Rows [from, from + rows); the logits lie at byte `at` of the scratch memory, their parts behind them.
sx_status some_rows(cu_ctx *c, const call &a, int64_t from, int64_t rows, int64_t at) {
  float *logits = (float *)((uint8_t *)c->work + at);
  int64_t bytes = round_up(rows * a.stride * 4, 256), used = round_up(at + bytes + rows * a.pieces * (int64_t)sizeof(part), 256);
  part *parts = (part *)((uint8_t *)logits + bytes);
  cu_mat x = a.x, out = {logits, rows, a.w->rows, a.stride, SX_F32};
  x.p = (uint8_t *)x.p + from * x.stride * (x.dtype == SX_F32 ? 4 : 2);
  x.rows = rows;
  head_io io = a.io;
  io.lse += from, io.best += from, io.best_logit += from;
  CU_CHECK(logits_of(c, out, x, a.w, used));
  CU_CHECK(SX_LAUNCH(c, piece_kernel, (unsigned)(rows * a.pieces), threads, 128, logits, a.stride, a.w->rows, a.pieces, parts));
  CU_CHECK(SX_LAUNCH(c, join_kernel, (unsigned)((rows + 3) / 4), 128, 0, parts, a.pieces, rows, io));
  int64_t first = a.starts[from], end = a.starts[from + rows];
  if (first == end) return SX_OK;
  return SX_LAUNCH(c, pick_kernel, (unsigned)((end - first + 127) / 128), 128, 0, logits, a.stride, from, first, end, a.io);
}

head_io io_at(uint8_t *p, int64_t rows, int64_t n) {
  head_io io;
  io.lse = (double *)p;
  io.best = (int32_t *)(io.lse + rows);
  io.best_logit = (float *)(io.best + rows);
  io.target = io.best_logit + rows;
  io.ids = (int32_t *)(io.target + n);
  io.rows = io.ids + n;
  return io;
}

// All rows, with `io` on the device, the first `used` bytes of the scratch memory taken, and `host` as large as io.
sx_status all_rows(cu_ctx *c, call &a, int64_t used, uint8_t *host, const int32_t *ids) {
  int64_t n = a.starts[a.x.rows], each = a.stride * 4 + a.pieces * (int64_t)sizeof(part);
  int64_t left = c->work_bytes - used, kept = a.x.dtype == SX_F32 || a.w->dtype == a.x.dtype ? for_product : for_pieces;
  int64_t room = left - (kept < left / 2 ? kept : left / 2) - 1024, fit = room / each;
  if (room < each)
    return cu_fail(c, SX_NOMEM, "%lld bytes of scratch memory do not hold a row of %lld logits", (long long)c->work_bytes, (long long)a.w->rows);
  if (fit > 4096) fit = 4096;
  if (fit > 128) fit -= fit % 128; // whole tiles
  if (n > 0) {
    head_io to = io_at(host, a.x.rows, n);
    memcpy(to.ids, ids, (size_t)n * 4);
    for (int64_t r = 0; r < a.x.rows; r++)
      for (int64_t j = a.starts[r]; j < a.starts[r + 1]; j++) to.rows[j] = (int32_t)r;
    CU_CHECK(rt_put(c, a.io.ids, to.ids, 8 * n));
  }
  for (int64_t r = 0; r < a.x.rows; r += fit) CU_CHECK(some_rows(c, a, r, a.x.rows - r < fit ? a.x.rows - r : fit, used));
  return rt_get(c, host, a.io.lse, 16 * a.x.rows + 4 * n);
}

} // namespace

sx_status cu_logprob(cu_ctx *c, cu_mat x, const cu_weight *w, const int32_t *ids, const int64_t *starts, double *lse, float *target, int32_t *best,
                     float *best_logit) {
  int64_t rows = x.rows, n = starts[rows], bytes = round_up(16 * rows + 12 * n, 256);
  if (rows == 0) return SX_OK;
  bool small = bytes <= c->work_bytes / 8;
  void *device = c->work;
  uint8_t *host = (uint8_t *)malloc((size_t)bytes);
  sx_status s = host ? SX_OK : cu_fail(c, SX_NOMEM, "no memory for the results of %lld rows", (long long)rows);
  if (s == SX_OK && !small) s = rt_alloc(c, bytes, 0, &device);
  if (s == SX_OK) {
    call a = {x, w, starts, io_at((uint8_t *)device, rows, n), round_up(w->rows, 4), (int32_t)((w->rows + piece - 1) / piece)};
    s = all_rows(c, a, small ? bytes : 0, host, ids);
  }
  if (s == SX_OK) {
    head_io from = io_at(host, rows, n);
    memcpy(lse, from.lse, (size_t)rows * 8);
    if (best) memcpy(best, from.best, (size_t)rows * 4);
    if (best_logit) memcpy(best_logit, from.best_logit, (size_t)rows * 4);
    if (n > 0) memcpy(target, from.target, (size_t)n * 4);
  }
  free(host);
  if (device != c->work) rt_free(c, device);
  return s;
}
