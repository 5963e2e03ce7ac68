/* attention.h: online softmax (arXiv 2205.14135) for each (token, head). Its positions are cut at multiples of attn_chunk. Within a chunk
 * they go in ascending order, rescaled at multiples of attn_block; the chunks' sums are then put together in ascending order. So what
 * belongs to one (token, head) is computed the same whatever is computed beside it, and by whatever threads its chunks are. */

/* (token, head) pairs that share the loads of keys and values: what the registers hold. No bit depends on it. */
#if defined(__AVX512F__)
#define ATTN_TILE 8
#elif VEC_BYTES == 32
#define ATTN_TILE 6
#elif VEC_BYTES == 64
#define ATTN_TILE 3 /* the build for tests: small, for the compiler's sake */
#else
#define ATTN_TILE 2
#endif
enum { attn_tile = ATTN_TILE };

typedef struct attn_sums { /* of weights and of weighted values, over some positions */
  float *acc;              /* [head_dim rounded up to 16] */
  float max;               /* of the scores; weights are exp(score - max) */
  double sum;
} attn_sums;

typedef struct attn_row { /* a (token, head) */
  float *out, *slot;      /* slot: where the sums of one chunk go, if they are all that is asked for */
  attn_sums all, part;    /* of the chunks so far; of the one in hand */
  int64_t first, last;    /* the positions it sees */
} attn_row;

typedef struct attn_unit { /* the rows of one sequence's tokens in an item, for one kv head */
  const attn_job *job;
  const sx_kv_desc *d;
  kv_shape shape;
  int64_t head, seq;
  float *q, *score; /* scratch: q as tiles of rows [head_dim][rows], times the scale; score [rows][attn_block] */
  float *acc;       /* [rows][2][head_dim rounded up to 16] */
} attn_unit;

typedef struct attn_keys { /* positions [to, to + n) of a block lie in lanes [lane, lane + n) of the 16 keys at `at` */
  const uint8_t *at;
  int32_t lane, n, to;
} attn_keys;

typedef struct attn_map { /* where a block of positions lies in the pages */
  int64_t b0, groups;
  attn_keys keys[attn_block];
  const uint8_t *values[attn_block];
} attn_map;

/* Finds positions [from, to) of the block at b0. Those behind `to` that fill up 16 keys are there too, whatever they hold. */
static void map_block(const attn_unit *u, attn_map *m, int64_t from, int64_t to) {
  const int64_t size = u->d->dtype == SX_F32 ? 4 : 2, page = u->d->page_size;
  m->groups = 0;
  for (int64_t p = from, next; p < to; p = next) { /* a page's part */
    int64_t slot = p % page, end = m->b0 + attn_block;
    next = p - slot + page < end ? p - slot + page : end;
    const uint8_t *head = host_page(u->job->kv, u->job->batch, u->job->d.layer, (int32_t)u->seq, p) + u->head * u->shape.head_size * size;
    const uint8_t *values = head + (u->shape.k_size + slot * u->shape.v_row) * size;
    for (int64_t i = p; i < next && i < to; i++, values += u->shape.v_row * size) m->values[i - m->b0] = values;
    for (int64_t i = p; i < next && i < to; m->groups++) {
      int64_t lane = (slot + i - p) % lanes, n = lanes - lane < next - i ? lanes - lane : next - i;
      m->keys[m->groups] = (attn_keys){head + key_index(u->d, slot + i - p - lane, 0) * size, (int32_t)lane, (int32_t)n, (int32_t)(i - m->b0)};
      i += n;
    }
  }
}

INLINE v16 load_kv(const bool bf16, const uint8_t *p) {
  return bf16 ? v16_load_bf16((const uint16_t *)(const void *)p) : v16_load((const float *)(const void *)p);
}

/* Scores of r rows for np groups of keys. */
INLINE void score_tile(const int r, const int np, const bool bf16, int64_t dims, const float *q, const attn_keys *g, float *score) {
  const uint8_t *at[4] = {g[0].at, np > 1 ? g[1].at : NULL, np > 2 ? g[2].at : NULL, np > 3 ? g[3].at : NULL};
  vf acc[16];
  UNROLL for (int i = 0; i < r * np * vecs; i++) acc[i] = SPLAT(0);
  for (int64_t k = 0; k < dims; k++, q += r) {
    v16 keys[4];
    UNROLL for (int p = 0; p < np; p++) keys[p] = load_kv(bf16, at[p] + k * lanes * (bf16 ? 2 : 4));
    UNROLL for (int a = 0; a < r; a++) {
      vf x = SPLAT(q[a]);
      UNROLL for (int c = 0; c < np * vecs; c++) FMADD(acc[a * np * vecs + c], x, keys[c / vecs].v[c % vecs]);
    }
  }
  UNROLL for (int p = 0; p < np; p++) {
    UNROLL for (int a = 0; a < r; a++) {
      v16 x;
      UNROLL for (int v = 0; v < vecs; v++) x.v[v] = acc[(a * np + p) * vecs + v];
      if (g[p].n == lanes) {
        v16_store(score + a * attn_block + g[p].to, x);
      } else {
        float t[lanes];
        v16_store(t, x);
        memcpy(score + a * attn_block + g[p].to, t + g[p].lane, (size_t)g[p].n * sizeof *t);
      }
    }
  }
}

/* acc += weight * value for r rows and np times 16 dims, over positions [from, to) of the block in ascending order. */
INLINE void value_tile(const int r, const int np, const bool bf16, int64_t v_row, const uint8_t *const *values, const float *score, float *sums,
                       int64_t k, int64_t from, int64_t to) {
  vf acc[16];
  UNROLL for (int a = 0; a < r; a++)
    UNROLL for (int c = 0; c < np * vecs; c++) acc[a * np * vecs + c] = LOAD(sums + a * 2 * v_row + k + c * vec_lanes);
  for (int64_t p = from; p < to; p++) {
    v16 x[4];
    UNROLL for (int i = 0; i < np; i++) x[i] = load_kv(bf16, values[p] + (k + i * lanes) * (bf16 ? 2 : 4));
    UNROLL for (int a = 0; a < r; a++) {
      vf w = SPLAT(score[a * attn_block + p]);
      UNROLL for (int c = 0; c < np * vecs; c++) FMADD(acc[a * np * vecs + c], w, x[c / vecs].v[c % vecs]);
    }
  }
  UNROLL for (int a = 0; a < r; a++)
    UNROLL for (int c = 0; c < np * vecs; c++) STORE(sums + a * 2 * v_row + k + c * vec_lanes, acc[a * np * vecs + c]);
}

/* Groups of keys, or 16s of dims, in hand at once: enough sums that additions need not wait for one another. */
#define ATTN_NP(r) ((r) == 1 ? (vecs > 2 ? 2 : 4) : (r) <= 3 ? (vecs > 2 ? 1 : 2) : vecs == 1 ? 2 : 1)

INLINE void scores(const int r, const bool bf16, const attn_unit *u, const float *q, const attn_map *m, int64_t lo, int64_t hi, float *score) {
  int64_t g = 0, end = m->groups;
  while (g < end && m->keys[g].to + m->keys[g].n <= lo) g++;
  while (end > g && m->keys[end - 1].to >= hi) end--;
  for (; g + ATTN_NP(r) <= end; g += ATTN_NP(r)) score_tile(r, ATTN_NP(r), bf16, u->d->head_dim, q, m->keys + g, score);
  for (; g < end; g++) score_tile(r, 1, bf16, u->d->head_dim, q, m->keys + g, score);
}

INLINE void values(const int r, const bool bf16, const attn_unit *u, const attn_map *m, const float *score, float *sums, int64_t from, int64_t to) {
  const int64_t v_row = u->shape.v_row;
  int64_t k = 0;
  if (from >= to) return;
  for (; k + ATTN_NP(r) * lanes <= v_row; k += ATTN_NP(r) * lanes) value_tile(r, ATTN_NP(r), bf16, v_row, m->values, score, sums, k, from, to);
  for (; k < v_row; k += lanes) value_tile(r, 1, bf16, v_row, m->values, score, sums, k, from, to);
}

/* e^x for x <= 0, within 2 ulp above 2^-125 and 0 below: as v_exp, with one step to 2^n. NaN stays NaN. */
INLINE vf v_exp_low(vf x) {
  const vf magic = SPLAT(12582912.0f + 127), least = SPLAT(-86.6f); /* magic: its lowest bits become the exponent */
  vf c = v_max(least, x);
  vf t = FMA(c, SPLAT(0x1.715476p+0f), magic);
  vf nf = t - magic;
  vf r = FMA(nf, SPLAT(-0x1.62e400p-1f), c);
  r = FMA(nf, SPLAT(-0x1.7f7d1cp-20f), r);
  return (vf)((vi)(v_exp_near(r) * (vf)((vu)t << 23)) & ~(x < least));
}

static void scale_by(float *x, int64_t n, float by) {
  for (int64_t k = 0; k < n; k += vec_lanes) STORE(x + k, LOAD(x + k) * SPLAT(by));
}

/* Turns the scores of a row's part [from, to) of a block into weights, and rescales what came before. */
static void soften(attn_sums *s, float *score, int64_t v_row, int64_t from, int64_t to) {
  v16 x[attn_block / lanes], top = v16_splat(-INFINITY), sum = v16_splat(0);
  for (int64_t i = 0; i < from; i++) score[i] = -INFINITY;
  for (int64_t i = to; i < attn_block; i++) score[i] = -INFINITY;
  UNROLL for (int i = 0; i < attn_block / lanes; i++) {
    x[i] = v16_load(score + i * lanes);
    UNROLL for (int v = 0; v < vecs; v++) top.v[v] = v_max(x[i].v[v], top.v[v]); /* NaN leaves top as it is */
  }
  float m = v16_max(top);
  if (!(m > s->max)) m = s->max;
  float base = m == -INFINITY ? 0 : m; /* scores of -inf alone: weights 0, and in the end 0/0 */
  UNROLL for (int i = 0; i < attn_block / lanes; i++) {
    UNROLL for (int v = 0; v < vecs; v++) {
      x[i].v[v] = v_exp_low(x[i].v[v] - SPLAT(base));
      sum.v[v] += x[i].v[v];
    }
    v16_store(score + i * lanes, x[i]);
  }
  if (m != s->max && s->max != -INFINITY) {
    float keep = v_exp_low(SPLAT(s->max - base))[0];
    s->sum *= keep;
    scale_by(s->acc, v_row, keep);
  }
  s->max = m;
  s->sum += v16_sum(sum);
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* r rows over a block. Values outside a row's positions are not touched: they may be NaN. */
INLINE void block_rows(const int r, const bool bf16, const attn_unit *u, attn_row *rows, int64_t at, const attn_map *m) {
  const int64_t v_row = u->shape.v_row;
  int64_t from[attn_tile], to[attn_tile], lo = attn_block, hi = 0, common_lo = 0, common_hi = attn_block;
  float *score = u->score + at * attn_block, *acc = rows[0].part.acc;
  for (int a = 0; a < r; a++) {
    from[a] = max64(rows[a].first - m->b0, 0);
    to[a] = max64(min64(rows[a].last + 1 - m->b0, attn_block), from[a]);
    if (from[a] < to[a]) lo = min64(lo, from[a]), hi = max64(hi, to[a]);
    common_lo = max64(common_lo, from[a]);
    common_hi = min64(common_hi, to[a]);
  }
  if (lo >= hi) return;
  scores(r, bf16, u, u->q + at * u->d->head_dim, m, lo, hi, score);
  for (int a = 0; a < r; a++)
    if (from[a] < to[a]) soften(&rows[a].part, score + a * attn_block, v_row, from[a], to[a]);
  if (common_lo >= common_hi) common_lo = common_hi = attn_block;
  for (int a = 0; r > 1 && a < r; a++) values(1, bf16, u, m, score + a * attn_block, rows[a].part.acc, from[a], min64(to[a], common_lo));
  values(r, bf16, u, m, score, acc, common_lo, common_hi);
  for (int a = 0; r > 1 && a < r; a++) values(1, bf16, u, m, score + a * attn_block, rows[a].part.acc, max64(from[a], common_hi), to[a]);
}

/* One function for each format, so that the compiler need not hold both in mind. */
INLINE void block(const bool bf16, const attn_unit *u, attn_row *rows, int64_t n, const attn_map *m) {
  for (int64_t i = 0; i < n; i += attn_tile) {
    switch (n - i < attn_tile ? n - i : attn_tile) {
      case 1: block_rows(1, bf16, u, rows + i, i, m); break;
      case 2: block_rows(2, bf16, u, rows + i, i, m); break;
#if ATTN_TILE > 2
      case 3: block_rows(3, bf16, u, rows + i, i, m); break;
#endif
#if ATTN_TILE > 3
      case 4: block_rows(4, bf16, u, rows + i, i, m); break;
      case 5: block_rows(5, bf16, u, rows + i, i, m); break;
      case 6: block_rows(6, bf16, u, rows + i, i, m); break;
#endif
#if ATTN_TILE > 6
      case 7: block_rows(7, bf16, u, rows + i, i, m); break;
      case 8: block_rows(8, bf16, u, rows + i, i, m); break;
#endif
    }
  }
}

static __attribute__((noinline)) void block_f32(const attn_unit *u, attn_row *rows, int64_t n, const attn_map *m) { block(false, u, rows, n, m); }
static __attribute__((noinline)) void block_bf16(const attn_unit *u, attn_row *rows, int64_t n, const attn_map *m) { block(true, u, rows, n, m); }

/* Adds the sums of a chunk to those of the chunks before it. */
static void fold(attn_sums *all, const attn_sums *part, int64_t v_row) {
  float max = part->max > all->max ? part->max : all->max, base = max == -INFINITY ? 0 : max;
  vf old = v_exp_low(SPLAT(all->max - base)), new = v_exp_low(SPLAT(part->max - base));
  for (int64_t k = 0; k < v_row; k += vec_lanes) STORE(all->acc + k, FMA(LOAD(part->acc + k), new, LOAD(all->acc + k) * old));
  all->sum = all->sum * (double)old[0] + part->sum * (double)new[0];
  all->max = max;
}

static void put_sums(const attn_sums *s, float *out, int64_t dims) {
  vf sum = SPLAT((float)s->sum);
  for (int64_t k = 0; k < dims; k += lanes) {
    v16 x = v16_load(s->acc + k);
    UNROLL for (int v = 0; v < vecs; v++) x.v[v] /= sum;
    if (k + lanes <= dims)
      v16_store(out + k, x);
    else
      v16_store_part(out + k, x, dims - k);
  }
}

/* Where the sums of a chunk of a (token, head) wait for the others: acc, max, sum. */
static float *slot_of(const attn_job *j, int64_t t, int64_t head, int64_t chunk) {
  return j->partial + ((t * j->d.heads + head) * j->chunks + chunk) * attn_slot(j->kv->d.head_dim);
}

/* The rows [r0, r0 + n) of a unit whose first token is t0: token-major, then the heads of the kv head. */
static void unit_rows(const attn_unit *u, attn_row *rows, int64_t t0, int64_t r0, int64_t n) {
  const attn_job *j = u->job;
  const int64_t group = j->d.heads / u->d->kv_heads, dims = u->d->head_dim;
  for (int64_t i = 0; i < n; i++) {
    int64_t t = t0 + (r0 + i) / group, head = u->head * group + (r0 + i) % group, pos = host_place(j->batch, t).pos;
    int64_t tile = i / attn_tile * attn_tile, width = min64(n - tile, attn_tile);
    const float *from = j->q.p + t * j->q.stride + head * dims;
    float *q = u->q + tile * dims + (i - tile), *acc = u->acc + i * 2 * u->shape.v_row;
    for (int64_t k = 0; k < dims; k++) q[k * width] = from[k] * j->d.scale;
    rows[i] = (attn_row){
        .out = j->out.p + t * j->out.stride + head * dims, .slot = j->chunks ? slot_of(j, t, head, 0) : NULL,
        .part.acc = acc, .all.acc = acc + u->shape.v_row,
        .last = pos, .first = j->d.window && pos >= j->d.window ? pos - j->d.window + 1 : 0};
  }
}

/* The rows' sums over their positions in the chunk at c0; false when there are none. */
static bool chunk_sums(const attn_unit *u, attn_row *rows, int64_t n, int64_t c0) {
  int64_t first = rows[0].first, end = min64(rows[n - 1].last + 1, c0 + attn_chunk); /* positions rise with the rows */
  attn_map m;
  if (c0 >= end || c0 + attn_chunk <= first) return false;
  for (int64_t i = 0; i < n; i++) {
    memset(rows[i].part.acc, 0, (size_t)u->shape.v_row * sizeof *rows[i].part.acc);
    rows[i].part.max = -INFINITY;
    rows[i].part.sum = 0;
  }
  for (m.b0 = max64(c0, first / attn_block * attn_block); m.b0 < end; m.b0 += attn_block) {
    map_block(u, &m, max64(m.b0, first), min64(m.b0 + attn_block, end));
    if (u->d->dtype == SX_BF16)
      block_bf16(u, rows, n, &m);
    else
      block_f32(u, rows, n, &m);
  }
  return true;
}

static void attend(const attn_unit *u, int64_t t0, int64_t r0, int64_t n) {
  attn_row rows[attn_unit_rows];
  unit_rows(u, rows, t0, r0, n);
  for (int64_t c0 = rows[0].first / attn_chunk * attn_chunk; c0 <= rows[n - 1].last; c0 += attn_chunk) {
    chunk_sums(u, rows, n, c0);
    for (int64_t i = 0; i < n; i++) {
      attn_row *r = &rows[i];
      if (c0 > r->last || c0 + attn_chunk <= r->first) continue;
      if (c0 > r->first) {
        fold(&r->all, &r->part, u->shape.v_row);
        continue;
      }
      memcpy(r->all.acc, r->part.acc, (size_t)u->shape.v_row * sizeof *r->all.acc);
      r->all.max = r->part.max;
      r->all.sum = r->part.sum;
    }
  }
  for (int64_t i = 0; i < n; i++) put_sums(&rows[i].all, rows[i].out, u->d->head_dim);
}

/* The sums of one chunk alone. */
static void attend_chunk(const attn_unit *u, int64_t t0, int64_t r0, int64_t n, int64_t chunk) {
  attn_row rows[attn_unit_rows];
  const int64_t v_row = u->shape.v_row;
  unit_rows(u, rows, t0, r0, n);
  if (!chunk_sums(u, rows, n, chunk * attn_chunk)) return;
  for (int64_t i = 0; i < n; i++) {
    float *slot = rows[i].slot + chunk * attn_slot(u->d->head_dim);
    memcpy(slot, rows[i].part.acc, (size_t)v_row * sizeof *slot);
    memcpy(slot + v_row, &rows[i].part.sum, sizeof(double));
    slot[v_row + 2] = rows[i].part.max;
  }
}

static void isa_attention(const attn_job *j, int64_t from, int64_t to, int64_t kv_head, int64_t chunk, float *scratch) {
  const sx_kv_desc *d = &j->kv->d;
  attn_unit u = {.job = j, .d = d, .shape = kv_shape_of(d), .head = kv_head, .acc = scratch};
  u.score = u.acc + attn_unit_rows * 2 * u.shape.v_row;
  u.q = u.score + attn_unit_rows * attn_block;
  for (int64_t t = from, next; t < to; t = next) { /* the tokens of one sequence after another */
    for (next = t + 1; next < to && j->batch->seq_of[next] == j->batch->seq_of[t];) next++;
    u.seq = j->batch->seq_of[t];
    int64_t all = (next - t) * (j->d.heads / d->kv_heads);
    for (int64_t r = 0; r < all; r += attn_unit_rows) {
      int64_t n = min64(all - r, attn_unit_rows);
      if (j->chunks)
        attend_chunk(&u, t, r, n, chunk);
      else
        attend(&u, t, r, n);
    }
  }
}

static void isa_attention_merge(const attn_job *j, int64_t from, int64_t to) {
  const int64_t dims = j->kv->d.head_dim, v_row = round16(dims);
  for (int64_t i = from * j->d.heads; i < to * j->d.heads; i++) {
    int64_t t = i / j->d.heads, head = i % j->d.heads, pos = host_place(j->batch, t).pos;
    int64_t first = j->d.window && pos >= j->d.window ? pos - j->d.window + 1 : 0;
    attn_sums all = {0};
    for (int64_t c = first / attn_chunk; c <= pos / attn_chunk; c++) {
      float *slot = slot_of(j, t, head, c);
      attn_sums part = {.acc = slot, .max = slot[v_row + 2]};
      memcpy(&part.sum, slot + v_row, sizeof(double));
      if (all.acc)
        fold(&all, &part, v_row);
      else
        all = part;
    }
    put_sums(&all, j->out.p + t * j->out.stride + head * dims, dims);
  }
}
