// decode.cu: attention of few new tokens on tensor cores. There are not enough rows to keep a GPU busy, but many positions: every chunk of 512
// positions (attention.cuh) has thread blocks of its own, which leave partial sums that a second launch puts together (FlashDecoding).
//
// A block: one kv head, up to 16 rows (a sequence's new tokens times the heads that read the kv head), one chunk. It is bound by the reading of
// keys and values, which come by cp.async, 64 positions of both at a time, into a ring of `stages` places. All warps make the same scores of
// 16 x 64, each for itself, since that takes no barrier and no exchange, and the tensor cores have nothing else to do; each then multiplies
// the values of its own part of the head's dims.
//
// Shared memory for head_dim 128: q 4 KiB, the chunk's places 4 KiB, 32 KiB a stage.
#include "attention_mma.cuh"

template <int HD> struct decode_shape {
  static constexpr int warps = HD == 80 ? 5 : HD == 96 ? 3 : 4, threads = warps * 32, parts = HD / 8 / warps;
  using tile = att_tile<HD, HD % 64 == 0>;
  static constexpr int q = tile::bytes(16), block = tile::bytes(att_block), places = att_chunk * 8, flags = 32;
  static constexpr int stage = 2 * block, fixed = q + places + flags;
  static_assert(parts % 2 == 0 && parts * 8 * warps == HD, "ldmatrix brings 16 dims at once");
};

__device__ __forceinline__ void wait_for_stage(int stages) {
  if (stages == 1)
    copy_wait<0>();
  else if (stages == 2)
    copy_wait<1>();
  else
    copy_wait<3>();
}

// Where a row sums up: its result when the chunk is its tile's only one, else the partial sums.
template <int HD>
__device__ void put_decoded(const att_args &a, const att_rows &r, int row, float *slot, int rows, int kv_head, int col, float o[][4], int h,
                            float max, float sum, bool only) {
  constexpr int N = decode_shape<HD>::parts;
  float v[N][2];
#pragma unroll
  for (int n = 0; n < N; n++) v[n][0] = o[n][2 * h], v[n][1] = o[n][2 * h + 1];
  if (only) {
    float one_by = 1.0f / sum;
#pragma unroll
    for (int n = 0; n < N; n++) v[n][0] = att_result(v[n][0], one_by), v[n][1] = att_result(v[n][1], one_by);
    int i = r.first + row;
    att_put_row<N>(a.out, (int64_t)a.q_start[r.seq] + i / a.group, (int64_t)(kv_head * a.group + i % a.group) * HD + col, v);
    return;
  }
#pragma unroll
  for (int n = 0; n < N; n++) *(float2 *)(slot + row * HD + col + n * 8) = make_float2(v[n][0], v[n][1]);
  if (col == 0) *(float2 *)(slot + rows * HD + row * 2) = make_float2(max, sum);
}

// gridDim.x: (tiles of sequences from seq0 on) x chunks; y: kv heads.
template <class T, int HD>
__global__ void __launch_bounds__(decode_shape<HD>::threads, HD > 128 ? 2 : 3) decode_kernel(att_args a, int seq0, att_cut cut, int stages) {
  using shape = decode_shape<HD>;
  using tile = typename shape::tile;
  const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32, kv_head = (int)blockIdx.y;
  const int chunk = (int)(blockIdx.x % (unsigned)cut.chunks), place = (int)(blockIdx.x / (unsigned)cut.chunks);
  const att_rows r = att_rows_of(a, seq0 + place / cut.tiles, place % cut.tiles * 16, cut.rows);
  const int j0 = max(chunk * att_per_chunk, r.lo / att_block), j1 = min((chunk + 1) * att_per_chunk, (r.hi + att_block - 1) / att_block);
  if (r.n <= 0 || j0 >= j1) return;

  shared_array<T> q(0, 16 * tile::wide);
  shared_array<int64_t> places(shape::q, att_chunk);
  shared_array<int> flags(shape::q + shape::places, shape::flags / 4);
  auto ring = [&](int j, int v) { return shared_array<T>(shape::fixed + (j % stages * 2 + v) * shape::block, att_block * tile::wide); };
  auto fetch = [&](int j) {
    if (j < j1) {
      att_fetch<T, tile, shape::threads>(ring(j, 0), a.kv, places, (j - j0) * att_block);
      att_fetch<T, tile, shape::threads>(ring(j, 1), a.kv + a.v_offset, places, (j - j0) * att_block);
    }
    copy_commit();
  };
  for (int i = tid; i < (j1 - j0) * att_block; i += shape::threads)
    places.put(i, att_place(a, r.seq, kv_head, j0 * att_block + i, r.lo, r.hi, 2));
  const bool aligned = att_aligned(a.q);
  for (int i = tid; i < 16 * tile::pieces; i += shape::threads) {
    int row = i / tile::pieces, n = r.first + row;
    const T *from = row_of<T>(a.q, (int64_t)a.q_start[r.seq] + n / a.group) + (int64_t)(kv_head * a.group + n % a.group) * HD;
    att_fetch_q<T, tile>(q, row, i % tile::pieces, row < r.n ? from : nullptr, a.kv, aligned);
  }
  __syncthreads();
  for (int i = 0; i < stages; i++) fetch(j0 + i);

  int last[2]; // the position of each of this lane's rows
#pragma unroll
  for (int h = 0; h < 2; h++) last[h] = lane / 4 + 8 * h < r.n ? r.past + (r.first + lane / 4 + 8 * h) / a.group : -1;
  const int first_last = r.past + r.first / a.group; // the position of the first row
  const bool one_token = first_last + 1 == r.hi;
  float o[1][shape::parts][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  for (int j = j0; j < j1; j++) {
    const int at = j * att_block;
    // Some rows see what others do not: then infinite values need care. What no row sees is 0.
    const bool apart = !one_token && (at + att_block - 1 > first_last || (a.window && at + a.window <= r.hi - 1));
    wait_for_stage(stages);
    if (apart) {
      bool found = att_any(att_fetched_infinite<T, tile, shape::threads>(ring(j, 1)));
      if (lane == 0) flags.put(warp, found);
    }
    __syncthreads();
    float s[1][8][4], keep[2];
    uint32_t p[1][4][4];
    att_sight sight;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sight.to[h] = last[h] + 1 - at;
      sight.from[h] = a.window ? last[h] + 1 - a.window - at : 0;
    }
    att_scores<T, tile, 1>(s, q, 0, ring(j, 0), lane);
    if (at + att_block > first_last + 1 || at < r.lo || a.window) att_hide(s[0], sight, lane);
    att_soften(s[0], top, sum, keep, a.scale);
    att_rescale<shape::parts>(o[0], keep);
    att_pack<T>(p[0], s[0]);
    bool infinite = false;
    if (apart)
      for (int i = 0; i < shape::warps; i++) infinite = infinite || flags.get(i);
    if (infinite)
      att_values_apart<T, tile, shape::parts>(o[0], p[0], ring(j, 1), warp * shape::parts / 2, sight, lane);
    else
      att_values<T, tile, 1, shape::parts>(o, p, ring(j, 1), warp * shape::parts / 2, lane);
    __syncthreads();
    fetch(j + stages);
  }
  copy_wait<0>();
  float *slot = att_slot(a, place, kv_head, chunk, cut.chunks, cut.rows);
  const bool only = r.lo / att_chunk == (r.hi - 1) / att_chunk;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float all = att_row_sum(sum[h]);
    if (last[h] >= 0)
      put_decoded<HD>(a, r, lane / 4 + 8 * h, slot, cut.rows, kv_head, warp * shape::parts * 8 + lane % 4 * 2, o[0], h, top[h], all, only);
  }
}

// A warp for each row: its chunks in ascending order. Those of one chunk are done.
__global__ void __launch_bounds__(att_threads) merge_kernel(att_args a, int seq0, int64_t rows, att_cut cut) {
  const int lane = (int)threadIdx.x % 32;
  const int64_t w = (int64_t)blockIdx.x * (att_threads / 32) + threadIdx.x / 32;
  if (w >= rows) return;
  const int row = (int)(w % cut.rows), kv_head = (int)(w / cut.rows % a.kv_heads), place = (int)(w / cut.rows / a.kv_heads);
  const att_rows r = att_rows_of(a, seq0 + place / cut.tiles, place % cut.tiles * 16, cut.rows);
  const int c0 = r.lo / att_chunk, c1 = (r.hi - 1) / att_chunk, i = r.first + row;
  if (row >= r.n || c0 == c1) return;
  constexpr int most = 8; // 32s of dims at once
  for (int d0 = 0; d0 < a.head_dim; d0 += 32 * most) {
    float o[most], max = 0, sum = 0;
    for (int c = c0; c <= c1; c++) {
      const float *slot = att_slot(a, place, kv_head, c, cut.chunks, cut.rows), *part = slot + (int64_t)row * a.head_dim + d0;
      const float part_max = slot[cut.rows * a.head_dim + row * 2], part_sum = slot[cut.rows * a.head_dim + row * 2 + 1];
      att_scales f = att_fold(max, part_max, a.scale);
#pragma unroll
      for (int n = 0; n < most; n++) {
        float v = d0 + n * 32 + lane < a.head_dim ? part[n * 32 + lane] : 0;
        o[n] = c == c0 ? v : att_folded(f, o[n], v);
      }
      sum = c == c0 ? part_sum : att_folded(f, sum, part_sum);
      max = c == c0 ? part_max : f.max;
    }
    float one_by = 1.0f / sum;
#pragma unroll
    for (int n = 0; n < most; n++)
      if (d0 + n * 32 + lane < a.head_dim)
        att_put(a.out, (int64_t)a.q_start[r.seq] + i / a.group, (int64_t)(kv_head * a.group + i % a.group) * a.head_dim + d0 + n * 32 + lane,
                att_result(o[n], one_by));
  }
}

sx_status att_merge(cu_ctx *c, const att_args &a, int seq0, int seqs, const att_cut &cut) {
  int64_t rows = (int64_t)seqs * cut.tiles * a.kv_heads * cut.rows, blocks = (rows + att_threads / 32 - 1) / (att_threads / 32);
  return SX_LAUNCH(c, merge_kernel, dim3((unsigned)blocks), dim3(att_threads), 0, a, seq0, rows, cut);
}

template <class T, int HD> static sx_status decode(cu_ctx *c, const att_args &a, const cu_batch *b) {
  using shape = decode_shape<HD>;
  const att_cut cut = att_cut_of(c, a, b);
  // A block alone on its multiprocessor has a deeper ring; blocks that share one hide each other's waits.
  const int64_t blocks = (int64_t)cut.seqs * cut.tiles * cut.chunks * a.kv_heads;
  int stages = 2;
  if (shape::fixed + 2 * shape::stage > c->shared_limit) stages = 1;
  if (blocks <= c->sms && shape::fixed + 4 * shape::stage <= c->shared_limit) stages = 4;
  auto kernel = decode_kernel<T, HD>;
  for (int s = 0; s < b->seqs; s += cut.seqs) {
    int n = b->seqs - s < cut.seqs ? b->seqs - s : cut.seqs;
    dim3 grid((unsigned)(n * cut.tiles * cut.chunks), (unsigned)a.kv_heads);
    CU_CHECK(SX_LAUNCH(c, kernel, grid, dim3(shape::threads), shape::fixed + stages * shape::stage, a, s, cut, stages));
    if (cut.chunks > 1) CU_CHECK(att_merge(c, a, s, n, cut));
  }
  return SX_OK;
}

template <class T> static sx_status decode_dims(cu_ctx *c, const att_args &a, const cu_batch *b) {
  switch (a.head_dim) {
    case 64: return decode<T, 64>(c, a, b);
    case 80: return decode<T, 80>(c, a, b);
    case 96: return decode<T, 96>(c, a, b);
    case 128: return decode<T, 128>(c, a, b);
    default: return decode<T, 256>(c, a, b);
  }
}

sx_status att_decode(cu_ctx *c, const att_args &a, const cu_kv *kv, const cu_batch *b) {
  return kv->dtype == SX_BF16 ? decode_dims<bf16>(c, a, b) : decode_dims<f16>(c, a, b);
}
