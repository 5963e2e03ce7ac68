/* attention.h: online softmax (arXiv 2205.14135) for each (token, head) over its positions in ascending order, rescaled at multiples of
 * attn_block positions. What belongs to one (token, head) is computed the same whatever is computed beside it. */

enum { attn_rows = 4 }; /* (token, head) pairs that share the loads of keys and values */

typedef struct attn_row {
  const float *q;
  float *out, *acc, *score; /* acc: [head_dim rounded up to 16]; score: [attn_block] */
  float max;
  double sum;
  int64_t first, last; /* the positions it sees */
} attn_row;

typedef struct attn_unit { /* the rows of one sequence's tokens in an item, for one kv head */
  const attn_job *job;
  const sx_kv_desc *d;
  kv_shape shape;
  int64_t head, seq;
  float *scratch; /* the rows' acc and score */
} attn_unit;

static const uint8_t *unit_head(const attn_unit *u, int64_t pos) {
  int64_t size = u->d->dtype == SX_F32 ? 4 : 2;
  return host_page(u->job->kv, u->job->batch, u->job->d.layer, (int32_t)u->seq, pos) + u->head * u->shape.head_size * size;
}

INLINE v16 load_kv(const bool bf16, const uint8_t *base, int64_t i) {
  return bf16 ? v16_load_bf16((const uint16_t *)(const void *)base + i) : v16_load((const float *)(const void *)base + i);
}

/* n scores of r rows, for positions that lie beside one another from lane `lane` of the 16 keys at i. */
INLINE void score_tile(const int r, const bool bf16, const attn_unit *u, attn_row *rows, const uint8_t *base, int64_t i, int64_t lane, int64_t n,
                       int64_t at) {
  v16 acc[attn_rows];
  UNROLL for (int a = 0; a < r; a++) acc[a] = v16_splat(0);
  for (int64_t k = 0; k < u->d->head_dim; k++) {
    v16 keys = load_kv(bf16, base, i + k * lanes);
    UNROLL for (int a = 0; a < r; a++) {
      vf q = SPLAT(rows[a].q[k]);
      UNROLL for (int v = 0; v < vecs; v++) acc[a].v[v] = FMA(q, keys.v[v], acc[a].v[v]);
    }
  }
  UNROLL for (int a = 0; a < r; a++) {
    UNROLL for (int v = 0; v < vecs; v++) acc[a].v[v] *= SPLAT(u->job->d.scale);
    if (n == lanes) {
      v16_store(rows[a].score + at, acc[a]);
    } else {
      float t[lanes];
      v16_store(t, acc[a]);
      memcpy(rows[a].score + at, t + lane, (size_t)n * sizeof *t);
    }
  }
}

/* The scores of r rows at positions [from, to) of the block at b0. */
INLINE void score_rows(const int r, const bool bf16, const attn_unit *u, attn_row *rows, int64_t b0, int64_t from, int64_t to) {
  for (int64_t p = from; p < to;) {
    int64_t slot = p % u->d->page_size, lane = slot % lanes, n = lanes - lane;
    if (n > u->d->page_size - slot) n = u->d->page_size - slot;
    if (n > to - p) n = to - p;
    score_tile(r, bf16, u, rows, unit_head(u, p), key_index(u->d, slot - lane, 0), lane, n, p - b0);
    p += n;
  }
}

/* acc += p v for r rows over positions [from, to), in order. */
INLINE void value_rows(const int r, const bool bf16, const attn_unit *u, attn_row *rows, const uint8_t *const *values, int64_t from, int64_t to) {
  if (from >= to) return;
  for (int64_t k = 0; k < u->shape.v_row; k += lanes) {
    v16 acc[attn_rows];
    UNROLL for (int a = 0; a < r; a++) acc[a] = v16_load(rows[a].acc + k);
    for (int64_t p = from; p < to; p++) {
      v16 x = load_kv(bf16, values[p], k);
      UNROLL for (int a = 0; a < r; a++) {
        vf w = SPLAT(rows[a].score[p]);
        UNROLL for (int v = 0; v < vecs; v++) acc[a].v[v] = FMA(w, x.v[v], acc[a].v[v]);
      }
    }
    UNROLL for (int a = 0; a < r; a++) v16_store(rows[a].acc + k, acc[a]);
  }
}

/* Turns the scores of a row's part [from, to) of a block into weights, and rescales what came before. */
static void soften(attn_row *row, int64_t v_row, int64_t from, int64_t to) {
  v16 x[attn_block / lanes], top = v16_splat(-INFINITY), sum = v16_splat(0);
  for (int64_t i = 0; i < attn_block; i++)
    if (i < from || i >= to) row->score[i] = -INFINITY;
  for (int i = 0; i < attn_block / lanes; i++) {
    x[i] = v16_load(row->score + i * lanes);
    UNROLL for (int v = 0; v < vecs; v++) top.v[v] = v_max(x[i].v[v], top.v[v]);
  }
  float m = v16_max(top);
  if (!(m > row->max)) m = row->max;
  float base = m == -INFINITY ? 0 : m; /* scores of -inf alone: weights 0, and in the end 0/0 */
  for (int i = 0; i < attn_block / lanes; i++) {
    UNROLL for (int v = 0; v < vecs; v++) {
      x[i].v[v] = v_exp(x[i].v[v] - SPLAT(base));
      sum.v[v] += x[i].v[v];
    }
    v16_store(row->score + i * lanes, x[i]);
  }
  if (m != row->max) {
    float keep = v16_exp(v16_splat(row->max - base)).v[0][0];
    row->sum *= keep;
    for (int64_t k = 0; k < v_row; k += lanes) {
      v16 a = v16_load(row->acc + k);
      UNROLL for (int v = 0; v < vecs; v++) a.v[v] *= SPLAT(keep);
      v16_store(row->acc + k, a);
    }
    row->max = m;
  }
  row->sum += v16_sum(sum);
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* r rows over the block of positions at b0. Values outside a row's positions are not touched: they may be NaN. */
INLINE void block_rows(const int r, const bool bf16, const attn_unit *u, attn_row *rows, int64_t b0, const uint8_t *const *values) {
  int64_t from[attn_rows], to[attn_rows], lo = attn_block, hi = 0, common_lo = 0, common_hi = attn_block;
  UNROLL for (int a = 0; a < r; a++) {
    from[a] = max64(rows[a].first - b0, 0);
    to[a] = max64(min64(rows[a].last + 1 - b0, attn_block), from[a]);
    if (from[a] < to[a]) lo = min64(lo, from[a]), hi = max64(hi, to[a]);
    common_lo = max64(common_lo, from[a]);
    common_hi = min64(common_hi, to[a]);
  }
  if (lo >= hi) return;
  score_rows(r, bf16, u, rows, b0, b0 + lo, b0 + hi);
  UNROLL for (int a = 0; a < r; a++)
    if (from[a] < to[a]) soften(&rows[a], u->shape.v_row, from[a], to[a]);
  bool shared = common_lo < common_hi;
  UNROLL for (int a = 0; a < r; a++) value_rows(1, bf16, u, &rows[a], values, from[a], shared ? common_lo : to[a]);
  if (!shared) return;
  value_rows(r, bf16, u, rows, values, common_lo, common_hi);
  UNROLL for (int a = 0; a < r; a++) value_rows(1, bf16, u, &rows[a], values, common_hi, to[a]);
}

/* All rows of a unit over the block at b0. */
INLINE void block(const bool bf16, const attn_unit *u, attn_row *rows, int64_t n, int64_t b0, int64_t end) {
  const uint8_t *values[attn_block];
  int64_t i = 0, first = INT64_MAX;
  for (int64_t a = 0; a < n; a++) first = min64(first, rows[a].first);
  for (int64_t p = max64(b0, first); p < min64(b0 + attn_block, end); p++)
    values[p - b0] = unit_head(u, p) + (u->shape.k_size + p % u->d->page_size * u->shape.v_row) * (bf16 ? 2 : 4);
  for (; i + attn_rows <= n; i += attn_rows) block_rows(attn_rows, bf16, u, rows + i, b0, values);
  for (; i < n; i++) block_rows(1, bf16, u, rows + i, b0, values);
}

/* The rows [r0, r0 + n) of a unit whose first token is t0: token-major, then the heads of the kv head. */
static void unit_rows(const attn_unit *u, attn_row *rows, int64_t t0, int64_t r0, int64_t n) {
  const attn_job *j = u->job;
  int64_t group = j->d.heads / u->d->kv_heads, row_floats = attn_scratch(1, u->d->head_dim);
  for (int64_t i = 0; i < n; i++) {
    int64_t t = t0 + (r0 + i) / group, col = (u->head * group + (r0 + i) % group) * u->d->head_dim, pos = host_place(j->batch, t).pos;
    float *acc = u->scratch + i * row_floats;
    memset(acc, 0, (size_t)u->shape.v_row * sizeof *acc);
    rows[i] = (attn_row){
        .q = j->q.p + t * j->q.stride + col, .out = j->out.p + t * j->out.stride + col, .acc = acc, .score = acc + u->shape.v_row,
        .max = -INFINITY, .last = pos, .first = j->d.window && pos >= j->d.window ? pos - j->d.window + 1 : 0};
  }
}

static void attend(const attn_unit *u, int64_t t0, int64_t r0, int64_t n) {
  attn_row rows[attn_unit_rows];
  unit_rows(u, rows, t0, r0, n);
  int64_t end = rows[n - 1].last + 1, b0 = rows[0].first / attn_block * attn_block; /* positions rise with the rows */
  for (; b0 < end; b0 += attn_block) {
    if (u->d->dtype == SX_BF16)
      block(true, u, rows, n, b0, end);
    else
      block(false, u, rows, n, b0, end);
  }
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < u->d->head_dim; k++) rows[i].out[k] = rows[i].acc[k] / (float)rows[i].sum;
}

static void isa_attention(const attn_job *j, int64_t from, int64_t to, int64_t kv_head, float *scratch) {
  const sx_kv_desc *d = &j->kv->d;
  attn_unit u = {.job = j, .d = d, .shape = kv_shape_of(d), .head = kv_head, .scratch = scratch};
  for (int64_t t = from, next; t < to; t = next) { /* the tokens of one sequence after another */
    for (next = t + 1; next < to && j->batch->seq_of[next] == j->batch->seq_of[t];) next++;
    u.seq = j->batch->seq_of[t];
    int64_t all = (next - t) * (j->d.heads / d->kv_heads);
    for (int64_t r = 0; r < all; r += attn_unit_rows) attend(&u, t, r, min64(all - r, attn_unit_rows));
  }
}
