// sample.cu: one token of each row of logits, without sorting them: a block a row. What is wanted is always a place in the descending order of the
// logits where a sum passes a bound: of ones for top_k, of probabilities for top_p and for the draw. The place is found by narrowing an interval
// of keys (the bits of a logit, made integers of the same order): a pass sums what lies above each of eight keys in it. The first eight go by
// distances from the best in units of the temperature, the others divide the interval evenly; what is left in it is taken to shared memory as
// soon as it fits. Compare FlashInfer's sorting-free sampling (flashinfer.ai, March 2025), which draws by rejection and so takes no given u.
//
// Probabilities, as parts of the best one's, are integers in units of 2^-bits, whose sum fits 64 bits: sums are exact in any order, all passes
// agree with each other, and equal logits have equal ones. The smallest are lost: less than 2^-27 of all of it together with 2^18 tokens.
#include <stdlib.h>

#include "eight.cuh"

namespace {

enum { threads = 512, warps = threads / 32, cuts = 8, list_keys = 8192 };
// Shared memory: the list of keys; 8 sums of each warp and their 8 totals.
enum { sums_at = 4 * list_keys, totals_at = sums_at + 8 * warps * cuts, shared_bytes = totals_at + 8 * cuts };

struct draw {
  uint64_t u_bits;   // u * 2^64
  float temperature, top_p;
  int32_t top_k, pad;
};

// The order of sampling as integers: NaN is 0, both zeros are equal.
__device__ __forceinline__ uint32_t key_of(float v) {
  uint32_t b = f32_to_bits(v + 0.0f);
  return v != v ? 0 : b & 0x80000000u ? ~b : b | 0x80000000u;
}
__device__ __forceinline__ float value_of(uint32_t key) { return bits_to_f32(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

__device__ __forceinline__ uint64_t shfl_xor_u64(uint64_t v, int mask) {
  uint32_t lo = (uint32_t)shfl_xor((int)(uint32_t)v, mask), hi = (uint32_t)shfl_xor((int)(uint32_t)(v >> 32), mask);
  return (uint64_t)hi << 32 | lo;
}

// The weight of a key in a sum. A probability is e^((l - max) / t): the difference and its quotient in two f32 each, the rest of the power of two.
struct one {
  __device__ __forceinline__ uint64_t operator()(uint32_t) const { return 1; }
};
struct mass {
  uint32_t best;
  int bits;
  float half_max, hi, lo; // hi + lo: 2 log2(e) / t
  __device__ mass(uint32_t best_, float t, int bits_) : best(best_), bits(bits_), half_max(0.5f * value_of(best_)) {
    double c = 2 * 1.4426950408889634074 / (double)t;
    hi = (float)c;
    lo = (float)(c - (double)hi);
  }
  __device__ __forceinline__ uint64_t operator()(uint32_t key) const {
    if (key == best) return (uint64_t)1 << bits;
    float h = 0.5f * value_of(key), d = h - half_max, b = d - h; // halves, so that nothing is beyond f32
    float rest = (h - (d - b)) - (half_max + b);
    float p = d * hi;
    if (!(p > -100.0f)) return 0; // -inf and NaN, too
    float low = fmaf(d, hi, -p) + d * lo + rest * hi, n = rintf(p);
    float m = exp2f((p - n) + low) * 16777216.0f;
    int shift = bits - 24 + (int)n;
    uint64_t whole = (uint64_t)m;
    if (shift >= 0) return whole << shift;
    return shift < -40 ? 0 : (whole + ((uint64_t)1 << (-shift - 1))) >> -shift;
  }
};

// Where keys come from: the row, or the list in shared memory (held >= 0).
struct source {
  side x;
  int64_t row, n;
  int held;
};
template <class F> __device__ __forceinline__ void each_key(const source &s, const F &f) {
  if (s.held >= 0) {
    shared_array<uint32_t> list(0, list_keys);
    for (int i = threadIdx.x; i < s.held; i += threads) f(list.get(i), (int64_t)0);
    return;
  }
  for (int64_t at = threadIdx.x * 8; at < s.n; at += threads * 8) {
    int count = s.n - at < 8 ? (int)(s.n - at) : 8;
    eight v = load8(s.x, s.row, at, count);
#pragma unroll
    for (int k = 0; k < 8; k++)
      if (k < count) f(key_of(v.v[k]), at + k);
  }
}

// The sums over the block of eight numbers of each thread. Lanes trade halves, so that each has one of the eight after three steps.
__device__ void block_sums(uint64_t v[cuts]) {
  shared_array<uint64_t> sums(sums_at, warps * cuts), totals(totals_at, cuts);
  int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
#pragma unroll
  for (int width = cuts / 2, m = 16; width > 0; width /= 2, m /= 2) {
    bool upper = (lane & m) != 0;
#pragma unroll
    for (int i = 0; i < cuts / 2; i++)
      if (i < width) {
        uint64_t keep = upper ? v[i + width] : v[i], give = upper ? v[i] : v[i + width];
        v[i] = keep + shfl_xor_u64(give, m);
      }
  }
  v[0] += shfl_xor_u64(v[0], 2);
  v[0] += shfl_xor_u64(v[0], 1);
  __syncthreads(); // the last call's totals have been read
  if (lane % 4 == 0) sums.put(lane / 4 * warps + warp, v[0]);
  __syncthreads();
  if (warp < cuts) {
    uint64_t t = lane < warps ? sums.get(warp * warps + lane) : 0;
    for (int m = 16; m > 0; m >>= 1) t += shfl_xor_u64(t, m);
    if (lane == 0) totals.put(warp, t);
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < cuts; i++) v[i] = totals.get(i);
}

// The sum over the threads before this one, and over all.
__device__ int block_scan(int v, int *all) {
  shared_array<int> sums(sums_at, warps);
  int lane = threadIdx.x & 31, sum = v;
  for (int m = 1; m < 32; m <<= 1) {
    int below = shfl(sum, lane >= m ? lane - m : lane);
    if (lane >= m) sum += below;
  }
  __syncthreads();
  if (lane == 31) sums.put(threadIdx.x / 32, sum);
  __syncthreads();
  int of = lane < warps ? sums.get(lane) : 0, before = of;
  for (int m = 1; m < 32; m <<= 1) {
    int below = shfl(before, lane >= m ? lane - m : lane);
    if (lane >= m) before += below;
  }
  *all = shfl(before, 31);
  before -= of; // of the warps below warp `lane`
  return shfl(before, (int)threadIdx.x / 32) + sum - v;
}

// Takes the keys in [lo, hi] to the list, where they fit.
__device__ void take_in(source &s, uint32_t lo, uint32_t hi) {
  shared_array<uint32_t> list(0, list_keys);
  int mine = 0, all;
  if (s.held >= 0) return;
  each_key(s, [&](uint32_t key, int64_t) { mine += key - lo <= hi - lo; });
  int at = block_scan(mine, &all);
  if (all > list_keys) return;
  each_key(s, [&](uint32_t key, int64_t) {
    if (key - lo <= hi - lo) list.put(at++, key);
  });
  __syncthreads();
  s.held = all;
}

// An interval of keys, and the sum of those above it.
struct range {
  uint32_t lo, hi;
  uint64_t above;
};

// For each cut the sum of the weights of the range's keys from it on.
template <class W> __device__ void sums_from(const source &s, const W &weight, const range &r, const uint32_t cut[cuts], uint64_t sum[cuts]) {
#pragma unroll
  for (int i = 0; i < cuts; i++) sum[i] = 0;
  each_key(s, [&](uint32_t key, int64_t) {
    if (key < cut[0] || key - r.lo > r.hi - r.lo) return;
    uint64_t w = weight(key);
#pragma unroll
    for (int i = 0; i < cuts; i++) sum[i] += key >= cut[i] ? w : 0;
  });
  block_sums(sum);
}

// Leaves of the range, whose sum with what is above is at least `need`, the part between two cuts where it comes to be so.
__device__ __forceinline__ void narrow(range &r, const uint32_t cut[cuts], const uint64_t sum[cuts], uint64_t need) {
  range was = r;
#pragma unroll
  for (int i = 0; i < cuts; i++)
    if (was.above + sum[i] >= need) r.lo = cut[i] > was.lo ? cut[i] : was.lo;
#pragma unroll
  for (int i = cuts - 1; i >= 0; i--)
    if (was.above + sum[i] < need) {
      r.above = was.above + sum[i];
      if (cut[i] - 1 < was.hi) r.hi = cut[i] - 1;
    }
}

// The greatest key from which on the sum is at least `need`, in lo, and the sum of those above it.
template <class W> __device__ range search(source s, const W &weight, range r, uint64_t need) {
  uint32_t cut[cuts];
  uint64_t sum[cuts];
  while (r.lo < r.hi) {
    take_in(s, r.lo, r.hi);
    uint32_t step = (r.hi - r.lo) / (cuts + 1) + 1;
#pragma unroll
    for (int i = 0; i < cuts; i++) cut[i] = r.lo + (uint32_t)(i + 1) * step;
    sums_from(s, weight, r, cut, sum);
    narrow(r, cut, sum, need);
  }
  return r;
}

// The keys at distances of 16, 8, ... 1/4 temperatures from the best, and `least` before them.
__device__ __forceinline__ void first_cuts(uint32_t cut[cuts], uint32_t best, float t, uint32_t least) {
  float max = value_of(best), d = 16 * t;
  cut[0] = least;
#pragma unroll
  for (int i = 1; i < cuts; i++, d *= 0.5f) {
    uint32_t key = key_of(max - d);
    cut[i] = key > least ? key : least;
  }
}

// The id of the tie-th of the row's logits that have this key: thread t has values [t * share, (t + 1) * share). Given by one thread.
__device__ void give_tie(const source &s, uint32_t key, int tie, int32_t *id) {
  int64_t share = (s.n + threads * 8 - 1) / (threads * 8) * 8, from = threadIdx.x * share;
  int found = 0, all;
  for (int pass = 0; pass < 2; pass++) {
    int64_t end = from + share < s.n ? from + share : s.n;
    for (int64_t at = from; at < end; at += 8) {
      int n = end - at < 8 ? (int)(end - at) : 8;
      eight v = load8(s.x, s.row, at, n);
#pragma unroll
      for (int k = 0; k < 8; k++)
        if (k < n && key_of(v.v[k]) == key) {
          if (pass && found == tie) *id = (int32_t)(at + k);
          found++;
        }
    }
    if (!pass) found = block_scan(found, &all);
  }
}

// The first of the greatest.
__device__ uint64_t best_of(const source &s) {
  shared_array<uint64_t> found(sums_at, warps);
  uint64_t best = 0; // key << 32 | ~id
  each_key(s, [&](uint32_t key, int64_t id) {
    uint64_t v = (uint64_t)key << 32 | (uint32_t)~(uint32_t)id;
    best = v > best ? v : best;
  });
  for (int step = 0; step < 2; step++) {
    for (int m = 16; m > 0; m >>= 1) {
      uint64_t v = shfl_xor_u64(best, m);
      best = v > best ? v : best;
    }
    if (step) break;
    if (threadIdx.x % 32 == 0) found.put(threadIdx.x / 32, best);
    __syncthreads();
    best = found.get(threadIdx.x % warps);
  }
  return best;
}

__global__ void __launch_bounds__(threads) sample_kernel(side x, int64_t n, const draw *draws, int bits, int32_t *ids) {
  source row = {x, blockIdx.x, n, -1}, all = row;
  draw d = draws[blockIdx.x];
  uint64_t first = best_of(row);
  uint32_t best = (uint32_t)(first >> 32);
  if (d.temperature <= 0 || best == 0) {
    if (threadIdx.x == 0) ids[blockIdx.x] = (int32_t)~(uint32_t)first;
    return;
  }
  const mass weight(best, d.temperature, bits);
  uint32_t cut[cuts];
  uint64_t sum[cuts];
  // What is chosen from: the logits above r.lo, and of those that equal it the first `ties`.
  range r = {0, best, 0};
  uint64_t ties = 0;
  if (d.top_k > 0 && d.top_k < n) {
    first_cuts(cut, best, d.temperature, 1);
    sums_from(row, one(), r, cut, sum);
    narrow(r, cut, sum, (uint64_t)d.top_k);
    r = search(row, one(), r, (uint64_t)d.top_k);
    ties = (uint64_t)d.top_k - r.above;
    r = range{r.lo, best, 0};
    take_in(all, r.lo, r.hi);
  }
  first_cuts(cut, best, d.temperature, r.lo + 1);
  sums_from(all, weight, r, cut, sum);
  uint64_t kept = sum[0] + ties * weight(r.lo);
  if (d.top_p < 1) {
    uint64_t need = (uint64_t)ceil((double)d.top_p * (double)kept);
    need = need < 1 ? 1 : need > kept ? kept : need;
    range p = r;
    narrow(p, cut, sum, need);
    p = search(all, weight, p, need);
    uint64_t each = weight(p.lo);
    kept = p.above + (need - p.above + each - 1) / each * each;
  }
  uint64_t need = (uint64_t)((unsigned __int128)d.u_bits * kept >> 64) + 1; // the sum must pass u * kept
  narrow(r, cut, sum, need);
  r = search(all, weight, r, need);
  give_tie(row, r.lo, (int)((need - 1 - r.above) / weight(r.lo)), ids + blockIdx.x);
}

} // namespace

// As many rows at a time as a quarter of the scratch memory has room for.
sx_status cu_sample(cu_ctx *c, cu_mat logits, const sx_sample_desc *desc, const double *u, int32_t *ids) {
  int64_t most = c->work_bytes / 4 / (int64_t)(sizeof(draw) + 4), rows = logits.rows < most ? logits.rows : most;
  int bits = 62;
  while (bits > 24 && ((int64_t)1 << (62 - bits)) < logits.cols) bits--;
  draw *draws = (draw *)malloc((size_t)rows * sizeof(draw)), *d_draws = (draw *)c->work;
  if (!draws) return cu_fail(c, SX_NOMEM, "no memory for %lld descriptions", (long long)rows);
  int32_t *d_ids = (int32_t *)(d_draws + rows);
  sx_status s = SX_OK;
  for (int64_t r = 0; r < logits.rows && s == SX_OK; r += rows) {
    int64_t n = logits.rows - r < rows ? logits.rows - r : rows;
    cu_mat part = logits;
    part.p = (uint8_t *)part.p + bytes_of_values(logits.dtype, r * logits.stride);
    for (int64_t i = 0; i < n; i++) {
      sx_sample_desc k = desc[r + i];
      draws[i] = draw{(uint64_t)(u[r + i] * 18446744073709551616.0), k.temperature, k.top_p, k.top_k, 0};
    }
    s = rt_put(c, d_draws, draws, n * (int64_t)sizeof(draw));
    if (s == SX_OK) s = SX_LAUNCH(c, sample_kernel, (unsigned)n, threads, shared_bytes, side_of(part), logits.cols, d_draws, bits, d_ids);
    if (s == SX_OK) s = rt_get(c, ids + r, d_ids, n * 4);
  }
  free(draws);
  return s;
}
