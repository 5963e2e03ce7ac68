// prefill.cu: attention of many new tokens on tensor cores, FlashAttention-2 (arXiv 2307.08691) over pages, for sequences of any lengths.
//
// An item of work is a tile of 64 M rows of one kv head: 16 M rows a warp, four warps, M = 2 where there are enough rows and the head is not so
// wide that their sums leave the registers. Rows are tokens times the heads that read the kv head, token by token: keys and values are read
// once for all of these heads. Blocks of 64 positions go by; the keys of the next come while the weights of this one multiply its values,
// the values while its scores are made, so that one place for each is enough and two or three thread blocks fit a multiprocessor:
//
//   HD 128, M = 2: q 32 KiB, keys 16 KiB, values 16 KiB, 2 KiB of places and rows; O 128 registers, scores 64
//
// Thread blocks stay and take item after item, the rows that see most first, forth and back (0 1 2 3, 3 2 1 0), so that the work is even.
//
// Shared prefixes. A tile may hold the rows of up to `span` sequences that follow one another. Their leading pages that are the same are
// attended once, with all rows stacked (the effect of Hydragen, arXiv 2402.05099, and of FlashInfer's cascade, arXiv 2501.01005); then each
// sequence's own positions, which the other rows do not see. No partial sums are put together for it: what a row does not see changes none of its
// bits (attention.cuh), so a row gets the same in such a tile as alone.
//
// Chunks. At the end of a chunk (512 positions) sums go to a place in the scratch that each thread block has, and are put together there; a
// sequence of up to 512 positions never goes there.
#include "attention_mma.cuh"

template <int HD, int M> struct prefill_shape {
  using tile = att_tile<HD, (HD > 128)>;
  static constexpr int rows = 64 * M, parts = HD / 8;
  static constexpr int k = tile::bytes(rows), v = k + tile::bytes(att_block), places = v + tile::bytes(att_block);
  static constexpr int row = places + 2 * att_block * 8, flags = row + rows * 8, bytes = flags + 32;
  static constexpr int resident = M == 1 && HD <= 128 ? 3 : 2;                               // blocks that a multiprocessor shall hold
  static constexpr int64_t slot = (int64_t)att_threads * (M * 2 * parts + M * 2) * 8;        // bytes of scratch a block
};

struct prefill_plan {
  int span, groups, tiles, items; // sequences a tile; groups of them; tiles a group, at most; tiles x groups x kv heads
};

struct row_place { // of a row of the tile; seq -1: there is none
  int position, seq;
};

// Which block of positions comes next: first those that the sequences share (seq -1), then each sequence's.
struct prefill_walk {
  int seq, j, end; // the block, and where they end
  int lo, hi;      // positions that anybody sees
};

struct prefill_item {
  int kv_head, s0, s1, t0, first, n; // sequences [s0, s1), their first token; rows [first, first + n)
  int shared, lead, lo;              // blocks that they share; a sequence that has them; from which position on somebody sees them
};

__device__ __forceinline__ prefill_item prefill_item_of(const att_args &a, const prefill_plan &plan, int i, int rows) {
  prefill_item t;
  int group = i / a.kv_heads % plan.groups, tile = plan.tiles - 1 - i / a.kv_heads / plan.groups;
  t.kv_head = i % a.kv_heads;
  t.s0 = group * plan.span;
  t.s1 = min(t.s0 + plan.span, a.seqs);
  t.t0 = a.q_start[t.s0];
  t.first = tile * rows;
  int64_t left = (int64_t)(a.q_start[t.s1] - t.t0) * a.group - (int64_t)tile * rows;
  t.n = left < rows ? (int)left : rows;
  t.shared = t.lo = 0;
  t.lead = t.s0;
  return t;
}

// Finds the blocks of positions whose pages are the same for all sequences of the tile that have new tokens, and are none of these.
__device__ void prefill_share(const att_args &a, prefill_item &t, const shared_array<int> &found) {
  int past = INT32_MAX, some = 0, same = INT32_MAX;
  for (int s = t.s1 - 1; s >= t.s0; s--) {
    int n = a.q_start[s + 1] - a.q_start[s];
    if (n == 0) continue;
    t.lead = s;
    some++;
    past = min(past, a.kv_len[s] - n);
  }
  const int pages = some > 1 ? past / a.page_size : 0;
  for (int p = (int)threadIdx.x; p < pages && same == INT32_MAX; p += att_threads)
    for (int s = t.lead + 1; s < t.s1; s++)
      if (a.q_start[s + 1] > a.q_start[s] && a.pages[(int64_t)s * a.max_pages + p] != a.pages[(int64_t)t.lead * a.max_pages + p]) same = p;
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) same = min(same, shfl_xor(same, m));
  if (threadIdx.x % 32 == 0) found.put((int)threadIdx.x / 32, same);
  __syncthreads();
  for (int i = 0; i < att_threads / 32; i++) same = min(same, found.get(i));
  __syncthreads();
  t.shared = (int)((int64_t)min(same, pages) * a.page_size / att_block);
  t.lo = a.window && past >= a.window ? past - a.window + 1 : 0;
}

__device__ __forceinline__ bool prefill_next(const att_args &a, const prefill_item &t, prefill_walk &w, int span) {
  if (++w.j < w.end) return true;
  for (int s = w.seq < 0 ? t.s0 : w.seq + 1; s < t.s1; s++) {
    att_rows r = att_rows_of(a, s, span == 1 ? t.first : 0, span == 1 ? t.n : INT32_MAX);
    w = {s, max(t.shared, r.lo / att_block), (r.hi + att_block - 1) / att_block, r.lo, r.hi};
    if (r.n > 0 && w.j < w.end) return true;
  }
  return false;
}

__device__ __forceinline__ prefill_walk prefill_begin(const att_args &a, const prefill_item &t, int span) {
  prefill_walk w = {-1, -1, 0, 0, 0};
  if (t.shared > 0) w = {-1, t.lo / att_block - 1, t.shared, t.lo, t.shared * att_block};
  prefill_next(a, t, w, span);
  return w;
}

// What the rows of a warp see, all of them together; -1: there are none.
struct warp_sight {
  int first, last, seq0, seq1;
};

template <int M> struct warp_rows {
  __device__ static __forceinline__ int of(int warp, int lane, int m, int h) { return warp * 16 * M + m * 16 + h * 8 + lane / 4; }
  __device__ static __forceinline__ warp_sight sight(const shared_array<row_place> &rows, int warp, int lane) {
    int first = INT32_MAX, last = -1, seq0 = INT32_MAX, seq1 = -1;
    row_place p = {-1, -1};
    if (lane < 16 * M) p = rows.get(warp * 16 * M + lane);
    if (p.seq >= 0) first = last = p.position, seq0 = seq1 = p.seq;
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) {
      first = min(first, shfl_xor(first, m));
      last = max(last, shfl_xor(last, m));
      seq0 = min(seq0, shfl_xor(seq0, m));
      seq1 = max(seq1, shfl_xor(seq1, m));
    }
    return {first, last, seq0, seq1};
  }
};

// Sums of a warp's rows over the chunk in hand.
template <int HD, int M> struct prefill_sums {
  float o[M][HD / 8][4], top[M][2], sum[M][2];
  int folded; // a bit for each (m, h): chunks before are in the scratch

  __device__ __forceinline__ void clear(int m, int h) {
    top[m][h] = -INFINITY;
    sum[m][h] = 0;
#pragma unroll
    for (int n = 0; n < HD / 8; n++) o[m][n][2 * h] = o[m][n][2 * h + 1] = 0;
  }
  // The scratch of a thread: a float2 every att_threads. Sums of (m, h) from here on, then max and sum of weights.
  __device__ static __forceinline__ float2 *at(float2 *slot, int m, int h) { return slot + (m * 2 + h) * (HD / 8 + 1) * att_threads; }

  // Puts the chunk in hand behind those before it: the result is in o, top and sum (the whole row's).
  __device__ __forceinline__ void join(int m, int h, float2 *slot, float scale) {
    float2 *all = at(slot, m, h), ends = all[HD / 8 * att_threads];
    att_scales f = att_fold(ends.x, top[m][h], scale);
#pragma unroll
    for (int n = 0; n < HD / 8; n++) {
      float2 v = all[n * att_threads];
      o[m][n][2 * h] = att_folded(f, v.x, o[m][n][2 * h]);
      o[m][n][2 * h + 1] = att_folded(f, v.y, o[m][n][2 * h + 1]);
    }
    top[m][h] = f.max;
    sum[m][h] = att_folded(f, ends.y, sum[m][h]);
  }
  // The end of a chunk for a row.
  __device__ __forceinline__ void fold(int m, int h, float2 *slot, float scale) {
    if (folded >> (m * 2 + h) & 1) join(m, h, slot, scale);
    float2 *all = at(slot, m, h);
#pragma unroll
    for (int n = 0; n < HD / 8; n++) all[n * att_threads] = make_float2(o[m][n][2 * h], o[m][n][2 * h + 1]);
    all[HD / 8 * att_threads] = make_float2(top[m][h], sum[m][h]);
    folded |= 1 << (m * 2 + h);
    clear(m, h);
  }
};

template <class T, int HD, int M>
__device__ __forceinline__ void prefill_load_rows(const att_args &a, const prefill_item &t, int span, const shared_array<T> &q,
                                                  const shared_array<row_place> &rows) {
  using tile = typename prefill_shape<HD, M>::tile;
  const bool aligned = att_aligned(a.q);
  for (int i = (int)threadIdx.x; i < prefill_shape<HD, M>::rows; i += att_threads) {
    int token = t.t0 + (t.first + i) / a.group;
    row_place p = {-1, -1};
    if (i < t.n) {
      p.seq = span == 1 ? t.s0 : a.seq_of[token];
      p.position = a.kv_len[p.seq] - a.q_start[p.seq + 1] + token;
    }
    rows.put(i, p);
  }
  for (int i = (int)threadIdx.x; i < prefill_shape<HD, M>::rows * tile::pieces; i += att_threads) {
    int row = i / tile::pieces, r = t.first + row;
    const T *from = row_of<T>(a.q, t.t0 + r / a.group) + (int64_t)(t.kv_head * a.group + r % a.group) * HD;
    att_fetch_q<T, tile>(q, row, i % tile::pieces, row < t.n ? from : nullptr, a.kv, aligned);
  }
}

// The weights of a block and its values.
template <class T, int HD, int M>
__device__ __forceinline__ void prefill_block(prefill_sums<HD, M> &u, float s[M][8][4], const shared_array<T> &v, const shared_array<row_place> &rows,
                                              const prefill_walk &w, const att_args &a, bool full, bool infinite) {
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  using tile = typename prefill_shape<HD, M>::tile;
  uint32_t p[M][4][4];
  att_sight sight[M];
#pragma unroll
  for (int m = 0; m < M; m++) {
    float keep[2];
    if (!full) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        row_place r = rows.get(warp_rows<M>::of(warp, lane, m, h));
        bool here = r.seq >= 0 && (w.seq < 0 || w.seq == r.seq);
        sight[m].to[h] = here ? r.position + 1 - w.j * att_block : 0;
        sight[m].from[h] = a.window ? r.position + 1 - a.window - w.j * att_block : 0;
      }
      att_hide(s[m], sight[m], lane);
    }
    att_soften(s[m], u.top[m], u.sum[m], keep, a.scale);
    att_rescale<HD / 8>(u.o[m], keep);
    att_pack<T>(p[m], s[m]);
  }
  if (!infinite || full) {
    att_values<T, tile, M, HD / 8>(u.o, p, v, 0, lane);
    return;
  }
#pragma unroll
  for (int m = 0; m < M; m++) att_values_apart<T, tile, HD / 8>(u.o[m], p[m], v, 0, sight[m], lane);
}

// The end of a chunk, for the rows that its last block was for.
template <int HD, int M>
__device__ __forceinline__ void prefill_fold(prefill_sums<HD, M> &u, const shared_array<row_place> &rows, const prefill_walk &w, float2 *slot,
                                             float scale) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float all = att_row_sum(u.sum[m][h]);
      row_place r = rows.get(warp_rows<M>::of((int)threadIdx.x / 32, (int)threadIdx.x % 32, m, h));
      if (r.seq < 0 || (w.seq >= 0 && w.seq != r.seq)) continue;
      u.sum[m][h] = all;
      u.fold(m, h, slot, scale);
    }
}

template <class T, int HD, int M>
__device__ __forceinline__ void prefill_finish(prefill_sums<HD, M> &u, const att_args &a, const prefill_item &t, float2 *slot) {
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      u.sum[m][h] = att_row_sum(u.sum[m][h]);
      int row = warp_rows<M>::of(warp, lane, m, h), r = t.first + row;
      if (row >= t.n) continue;
      if (u.folded >> (m * 2 + h) & 1) u.join(m, h, slot, a.scale);
      float one_by = 1.0f / u.sum[m][h], v[HD / 8][2];
#pragma unroll
      for (int n = 0; n < HD / 8; n++) v[n][0] = att_result(u.o[m][n][2 * h], one_by), v[n][1] = att_result(u.o[m][n][2 * h + 1], one_by);
      att_put_row<HD / 8>(a.out, t.t0 + r / a.group, (int64_t)(t.kv_head * a.group + r % a.group) * HD + lane % 4 * 2, v);
    }
}

template <class T, int HD, int M>
__device__ __forceinline__ void prefill_tile(const att_args &a, const prefill_plan &plan, prefill_item t, float2 *slot) {
  using shape = prefill_shape<HD, M>;
  using tile = typename prefill_shape<HD, M>::tile;
  const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32;
  shared_array<T> q(0, shape::rows * tile::wide), k(shape::k, att_block * tile::wide), v(shape::v, att_block * tile::wide);
  shared_array<int64_t> places(shape::places, 2 * att_block);
  shared_array<row_place> rows(shape::row, shape::rows);
  shared_array<int> flags(shape::flags, 8);
  if (plan.span > 1) prefill_share(a, t, flags);
  prefill_load_rows<T, HD, M>(a, t, plan.span, q, rows);
  prefill_walk w = prefill_begin(a, t, plan.span), next = w;
  auto place = [&](const prefill_walk &x) { return att_place(a, x.seq < 0 ? t.lead : x.seq, t.kv_head, x.j * att_block + tid, x.lo, x.hi, 2); };
  if (tid < att_block) places.put(tid, place(w));
  __syncthreads();
  att_fetch<T, tile, att_threads>(k, a.kv, places, 0);
  copy_commit();
  const warp_sight see = warp_rows<M>::sight(rows, warp, lane);
  const int tile_first = rows.get(0).position, tile_last = rows.get(t.n - 1).position; // of one sequence, if span is 1
  prefill_sums<HD, M> u;
  u.folded = 0;
#pragma unroll
  for (int m = 0; m < M; m++) u.clear(m, 0), u.clear(m, 1);

  for (int turn = 0; true; turn ^= 1) {
    const bool more = prefill_next(a, t, next, plan.span);
    const int at = w.j * att_block;
    int64_t there = 0;
    if (more && tid < att_block) there = place(next);
    copy_wait<0>();
    __syncthreads(); // the keys are there, and all are done with the values before
    att_fetch<T, tile, att_threads>(v, a.kv + a.v_offset, places, turn * att_block);
    copy_commit();
    // Does any row of the warp see any of it; do all see all of it?
    const bool mine = w.seq < 0 || (w.seq >= see.seq0 && w.seq <= see.seq1);
    const bool active = mine && see.last >= at && (!a.window || at + att_block - 1 + a.window > see.first);
    const bool full = (w.seq < 0 || see.seq0 == see.seq1) && see.first >= at + att_block - 1 && (!a.window || see.last - a.window < at);
    // Where rows of the tile see different positions, infinite values need care.
    const bool apart = plan.span > 1 ? w.seq >= 0 || a.window : tile_first < at + att_block - 1 || (a.window && tile_last - a.window >= at);
    float s[M][8][4];
    if (active) att_scores<T, tile, M>(s, q, warp * 16 * M, k, lane);
    if (more && tid < att_block) places.put((turn ^ 1) * att_block + tid, there);
    copy_wait<0>();
    if (apart) {
      bool found = att_any(att_fetched_infinite<T, tile, att_threads>(v));
      if (lane == 0) flags.put(warp, found);
    }
    __syncthreads(); // the values are there, and all are done with the keys
    if (more) att_fetch<T, tile, att_threads>(k, a.kv, places, (turn ^ 1) * att_block);
    copy_commit();
    bool infinite = false;
    if (apart)
      for (int i = 0; i < att_threads / 32; i++) infinite = infinite || flags.get(i);
    if (active) prefill_block<T, HD, M>(u, s, v, rows, w, a, full, infinite);
    if (!more) break;
    if (w.j % att_per_chunk == att_per_chunk - 1 && (next.seq == w.seq || w.seq < 0)) prefill_fold<HD, M>(u, rows, w, slot, a.scale);
    w = next;
  }
  prefill_finish<T, HD, M>(u, a, t, slot);
}

template <class T, int HD, int M>
__global__ void __launch_bounds__(att_threads, (prefill_shape<HD, M>::resident)) prefill_kernel(att_args a, prefill_plan plan) {
  const int blocks = (int)gridDim.x, b = (int)blockIdx.x;
  float2 *slot = (float2 *)((uint8_t *)a.work + b * prefill_shape<HD, M>::slot) + threadIdx.x;
  for (int base = 0, turn = 0; base < plan.items; base += blocks, turn ^= 1) {
    int i = base + (turn ? blocks - 1 - b : b);
    if (i >= plan.items) continue;
    prefill_item t = prefill_item_of(a, plan, i, prefill_shape<HD, M>::rows);
    if (t.n <= 0) continue;
    __syncthreads(); // all are done with the tile before
    prefill_tile<T, HD, M>(a, plan, t, slot);
  }
}

template <class T, int HD, int M> static sx_status launch(cu_ctx *c, const att_args &a, const cu_batch *b, int span) {
  using shape = prefill_shape<HD, M>;
  prefill_plan plan;
  plan.span = span;
  plan.groups = (b->seqs + span - 1) / span;
  int64_t tiles = span > 1 ? 1 : ((int64_t)b->longest_new * a.group + shape::rows - 1) / shape::rows, items = tiles * plan.groups * a.kv_heads;
  if (items > INT32_MAX / 2) return cu_fail(c, SX_UNSUPPORTED, "attention of %d sequences of up to %d tokens at once", b->seqs, b->longest_new);
  plan.tiles = (int)tiles;
  plan.items = (int)items;
  int64_t resident = (c->shared_limit + 1024) / (shape::bytes + 1024), blocks;
  if (resident > shape::resident) resident = shape::resident;
  blocks = resident * c->sms;
  bool chunks = c->recording || b->longest > att_chunk;
  if (chunks && blocks > c->work_bytes / shape::slot) blocks = c->work_bytes / shape::slot;
  if (blocks < 1)
    return cu_fail(c, SX_NOMEM, "attention needs %lld bytes of scratch, there are %lld", (long long)shape::slot, (long long)c->work_bytes);
  if (blocks > items) blocks = items;
  auto kernel = prefill_kernel<T, HD, M>;
  return SX_LAUNCH(c, kernel, dim3((unsigned)blocks), dim3(att_threads), shape::bytes, a, plan);
}

template <class T, int HD> static sx_status prefill(cu_ctx *c, const att_args &a, const cu_batch *b, int span) {
  if constexpr (HD <= 128) {
    int64_t rows = b->tokens * a.group / b->seqs;
    if (span > 1 || rows > 64) return launch<T, HD, 2>(c, a, b, span);
  }
  return launch<T, HD, 1>(c, a, b, span);
}

template <class T> static sx_status prefill_dims(cu_ctx *c, const att_args &a, const cu_batch *b, int span) {
  switch (a.head_dim) {
    case 64: return prefill<T, 64>(c, a, b, span);
    case 80: return prefill<T, 80>(c, a, b, span);
    case 96: return prefill<T, 96>(c, a, b, span);
    case 128: return prefill<T, 128>(c, a, b, span);
    default: return prefill<T, 256>(c, a, b, span);
  }
}

sx_status att_prefill(cu_ctx *c, const att_args &a, const cu_kv *kv, const cu_batch *b, int span) {
  return kv->dtype == SX_BF16 ? prefill_dims<bf16>(c, a, b, span) : prefill_dims<f16>(c, a, b, span);
}
