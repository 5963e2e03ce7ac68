/* ref.c: the oracle. Plain loops, double accumulators, f32 storage; never optimised. What it gives is what the others are tested against. */
#include <math.h>

#include "front.h"

static sx_status k_open(sx_device *d, const sx_open_opts *o) {
  (void)o;
  d->threads = 1;
  return SX_OK;
}

static void k_close(sx_device *d) { (void)d; }

static void k_info(sx_device *d, sx_info *out) {
  (void)d;
  snprintf(out->features, sizeof out->features, "reference, 1 thread");
}

/* The value of e4m3fn: sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, 0x7f is NaN. */
static double f8_value(uint8_t b) {
  int e = b >> 3 & 15, m = b & 7;
  double v = e == 15 && m == 7 ? NAN : e ? ldexp(8 + m, e - 10) : ldexp(m, -9);
  return b & 0x80 ? -v : v;
}

static double f16_value(uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return h & 0x8000 ? -v : v;
}

/* w[n, k] in real numbers. */
static double weight_at(const sx_weight *w, int64_t n, int64_t k) {
  int64_t i = n * w->cols + k;
  uint16_t h;
  float f;
  switch (w->dtype) {
    case SX_F32: memcpy(&f, w->data + 4 * i, 4); return f;
    case SX_BF16: memcpy(&h, w->data + 2 * i, 2); return f32_of_bf16(h);
    case SX_F16: memcpy(&h, w->data + 2 * i, 2); return f16_value(h);
    case SX_I8: return (double)(int8_t)w->data[i] * w->scales[n];
    case SX_F8: return f8_value(w->data[i]) * w->scales[w->row_scales ? n : 0];
    default: break;
  }
  int64_t g = i / w->group; /* group divides cols, so groups do not cross rows */
  int q = i % 2 ? w->data[i / 2] >> 4 : w->data[i / 2] & 15;
  return ((double)q - w->zeros[g]) * w->scales[g];
}

static double dot_row(mat x, int64_t m, const sx_weight *w, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < x.cols; k++) sum += (double)x.p[m * x.stride + k] * weight_at(w, n, k);
  return sum;
}

static const char *k_layout(void) { return ""; }

static bool k_pack_bytes(const sx_weight *w, int64_t *bytes) {
  (void)w;
  *bytes = 0;
  return true;
}

static void k_pack(sx_device *d, const sx_weight *w, uint8_t *to) { (void)d, (void)w, (void)to; }

static sx_status k_embed(sx_device *d, mat out, const sx_weight *w, const int32_t *ids) {
  (void)d;
  for (int64_t i = 0; i < out.rows; i++)
    for (int64_t k = 0; k < out.cols; k++) out.p[i * out.stride + k] = (float)weight_at(w, ids[i], k);
  return SX_OK;
}

static sx_status k_matmul(sx_device *d, mat out, mat x, const sx_weight *w, const float *bias) {
  (void)d;
  for (int64_t m = 0; m < out.rows; m++)
    for (int64_t n = 0; n < out.cols; n++) out.p[m * out.stride + n] = (float)(dot_row(x, m, w, n) + (bias ? bias[n] : 0));
  return SX_OK;
}

static sx_status k_add(sx_device *d, mat x, mat add) {
  (void)d;
  for (int64_t i = 0; i < x.rows; i++)
    for (int64_t k = 0; k < x.cols; k++) x.p[i * x.stride + k] += add.p[i * add.stride + k];
  return SX_OK;
}

static sx_status k_rmsnorm(sx_device *d, mat out, mat x, const mat *add, const float *w, float eps) {
  if (add) k_add(d, x, *add);
  for (int64_t i = 0; i < x.rows; i++) {
    const float *row = x.p + i * x.stride;
    double sum = 0;
    for (int64_t k = 0; k < x.cols; k++) sum += (double)row[k] * row[k];
    double scale = 1 / sqrt(sum / (double)x.cols + eps);
    for (int64_t k = 0; k < x.cols; k++) out.p[i * out.stride + k] = (float)(row[k] * scale * w[k]);
  }
  return SX_OK;
}

static sx_status k_swiglu(sx_device *d, mat out, mat gate, mat up) {
  (void)d;
  for (int64_t i = 0; i < out.rows; i++)
    for (int64_t k = 0; k < out.cols; k++) {
      double g = gate.p[i * gate.stride + k];
      out.p[i * out.stride + k] = (float)(g / (1 + exp(-g)) * up.p[i * up.stride + k]);
    }
  return SX_OK;
}

/* A page of a layer: [kv_heads][k, v][page_size][head_dim]. */
static bool k_page_bytes(const sx_kv_desc *k, int64_t *bytes) {
  return size_mul(k->kv_heads, k->page_size, bytes) && size_mul(*bytes, k->head_dim, bytes) && size_mul(*bytes, k->dtype == SX_F32 ? 8 : 4, bytes);
}

static int64_t kv_index(const sx_kv *kv, int64_t head, int v, int64_t slot) {
  return ((head * 2 + v) * kv->d.page_size + slot) * kv->d.head_dim;
}

static void kv_put(const sx_kv *kv, uint8_t *page, int64_t i, float value) {
  if (kv->d.dtype == SX_F32)
    ((float *)(void *)page)[i] = value;
  else
    ((uint16_t *)(void *)page)[i] = bf16_of_f32(value);
}

static double kv_get(const sx_kv *kv, const uint8_t *page, int64_t i) {
  if (kv->d.dtype == SX_F32) return ((const float *)(const void *)page)[i];
  return f32_of_bf16(((const uint16_t *)(const void *)page)[i]);
}

static void k_copy_slots(const sx_kv *kv, uint8_t *dst, const uint8_t *src, int32_t positions) {
  int64_t size = kv->d.dtype == SX_F32 ? 4 : 2, bytes = positions * size * kv->d.head_dim;
  for (int64_t h = 0; h < kv->d.kv_heads; h++)
    for (int v = 0; v < 2; v++) memcpy(dst + kv_index(kv, h, v, 0) * size, src + kv_index(kv, h, v, 0) * size, (size_t)bytes);
}

#include "memory.h"

/* One head rotated by the table's row; out may be x. */
static void rotate(float *out, const float *x, int64_t head_dim, const rope_args *a, int64_t pos) {
  const float *row = a->table.p + pos * a->table.stride;
  int32_t half = a->dims / 2;
  for (int32_t i = 0; i < half; i++) {
    int32_t lo = a->interleaved ? 2 * i : i, hi = a->interleaved ? 2 * i + 1 : i + half;
    double c = row[i], s = row[i + half], x0 = x[lo], x1 = x[hi];
    out[lo] = (float)(x0 * c - x1 * s);
    out[hi] = (float)(x1 * c + x0 * s);
  }
  for (int64_t i = a->dims; i < head_dim; i++) out[i] = x[i];
}

/* The nearest number of e4m3fn to v in [-448, 448], ties to even. */
static float nearest_f8(float v) {
  int e;
  frexpf(v, &e); /* |v| is in [2^(e-1), 2^e): the values there are 2^(e-4) apart, and the least normal ones 2^-9 */
  float unit = ldexpf(1, e > -5 ? e - 4 : -9);
  return rintf(v / unit) * unit;
}

/* out = the n values of x, those of one scale, rounded as kernels.h says; in the arithmetic of f32, which is part of it. */
static void round_values(float *out, const float *x, int64_t n, sx_dtype to, float scale) {
  const float most = to == SX_I8 ? 127 : 448;
  float greatest = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; i++) {
    greatest = fmaxf(greatest, fabsf(x[i]));
    finite = finite && isfinite(x[i]);
  }
  const float s = scale > 0 ? scale : greatest / most;
  for (int64_t i = 0; i < n; i++) {
    float q = fmaxf(-most, fminf(most, x[i] / s));
    q = to == SX_I8 ? (float)(int)rintf(q) : nearest_f8(q); /* a code of I8 has no -0 */
    out[i] = isnan(x[i]) || (scale == 0 && !finite) ? NAN : s == 0 ? 0 : q * s;
  }
}

static sx_status k_round(sx_device *d, mat out, mat x, const sx_round_desc *r) {
  (void)d;
  for (int64_t i = 0; i < x.rows; i++)
    for (int64_t k = 0; k < x.cols; k += r->group)
      round_values(out.p + i * out.stride + k, x.p + i * x.stride + k, x.cols - k < r->group ? x.cols - k : r->group, r->to, r->scale);
  return SX_OK;
}

/* A head's vector on its way into the cache, which may be rounded. */
static void round_head(const sx_kv *kv, float *head) {
  if (kv->d.round != SX_F32) round_values(head, head, kv->d.head_dim, kv->d.round, kv->d.round == SX_F8 ? 1 : 0);
}

static sx_status k_rope_kv(sx_device *d, const rope_args *a, sx_kv *kv, const sx_batch *b) {
  int64_t hd = kv->d.head_dim;
  float *turned = malloc((size_t)hd * 4);
  if (!turned) return fail(d, SX_NOMEM, "no memory for a head of %" PRId64, hd);
  for (int64_t t = 0; t < b->tokens; t++) {
    place p = host_place(b, t);
    uint8_t *page = host_page(kv, b, a->layer, p.seq, p.pos);
    for (int64_t h = 0; h * hd < a->q.cols; h++) {
      float *q = a->q.p + t * a->q.stride + h * hd;
      rotate(q, q, hd, a, p.pos);
    }
    for (int64_t h = 0; h < kv->d.kv_heads; h++) {
      int64_t slot = p.pos % kv->d.page_size;
      rotate(turned, a->k.p + t * a->k.stride + h * hd, hd, a, p.pos);
      round_head(kv, turned);
      for (int64_t i = 0; i < hd; i++) kv_put(kv, page, kv_index(kv, h, 0, slot) + i, turned[i]);
      memcpy(turned, a->v.p + t * a->v.stride + h * hd, (size_t)hd * 4);
      round_head(kv, turned);
      for (int64_t i = 0; i < hd; i++) kv_put(kv, page, kv_index(kv, h, 1, slot) + i, turned[i]);
    }
  }
  free(turned);
  return SX_OK;
}

/* One head of one token over positions [first, last]; probs has room for them. */
static void attend(float *out, const float *q, const sx_kv *kv, const sx_batch *b, const sx_attention_desc *a, int64_t head, place p,
                   double *probs) {
  int64_t hd = kv->d.head_dim, ps = kv->d.page_size, first = a->window && p.pos >= a->window ? p.pos - a->window + 1 : 0;
  double max = -INFINITY, sum = 0;
  for (int64_t j = first; j <= p.pos; j++) {
    const uint8_t *page = host_page(kv, b, a->layer, p.seq, j);
    double s = 0;
    for (int64_t i = 0; i < hd; i++) s += q[i] * kv_get(kv, page, kv_index(kv, head, 0, j % ps) + i);
    probs[j] = s * a->scale;
    if (probs[j] > max) max = probs[j];
  }
  for (int64_t j = first; j <= p.pos; j++) sum += probs[j] = exp(probs[j] - max);
  for (int64_t i = 0; i < hd; i++) {
    double o = 0;
    for (int64_t j = first; j <= p.pos; j++)
      o += probs[j] * kv_get(kv, host_page(kv, b, a->layer, p.seq, j), kv_index(kv, head, 1, j % ps) + i);
    out[i] = (float)(o / sum);
  }
}

static sx_status k_attention(sx_device *d, mat out, mat q, const sx_kv *kv, const sx_batch *b, const sx_attention_desc *a) {
  int64_t hd = kv->d.head_dim, group = a->heads / kv->d.kv_heads;
  double *probs = malloc((size_t)(b->longest + 1) * sizeof *probs);
  if (!probs) return fail(d, SX_NOMEM, "no memory for %" PRId64 " scores", b->longest);
  for (int64_t t = 0; t < b->tokens; t++)
    for (int64_t h = 0; h < a->heads; h++)
      attend(out.p + t * out.stride + h * hd, q.p + t * q.stride + h * hd, kv, b, a, h / group, host_place(b, t), probs);
  free(probs);
  return SX_OK;
}

/* Whether logit a is a better choice than b: greater, and any number better than NaN. */
static bool better(double a, double b) { return a > b || (isnan(b) && !isnan(a)); }

static sx_status k_logprob(sx_device *d, mat x, const sx_weight *w, logprob_in in, logprob_out out) {
  double *l = malloc((size_t)w->rows * sizeof *l);
  if (!l) return fail(d, SX_NOMEM, "no memory for %" PRId64 " logits", w->rows);
  for (int64_t r = 0; r < x.rows; r++) {
    int64_t best = 0;
    double sum = 0;
    for (int64_t v = 0; v < w->rows; v++) {
      l[v] = dot_row(x, r, w, v);
      if (better((float)l[v], (float)l[best])) best = v;
    }
    for (int64_t v = 0; v < w->rows; v++) sum += isinf(l[best]) && l[v] == l[best] ? 1 : exp(l[v] - l[best]);
    out.lse[r] = l[best] + log(sum);
    for (int64_t j = in.start[r]; j < in.start[r + 1]; j++) out.target[j] = (float)l[in.ids[j]];
    if (out.best) out.best[r] = (int32_t)best;
    if (out.best_logit) out.best_logit[r] = (float)l[best];
  }
  free(l);
  return SX_OK;
}

typedef struct choice {
  double logit;
  int32_t id;
} choice;

/* The order of sampling: NaN last, then descending logit, then ascending id. */
static int by_rank(const void *pa, const void *pb) {
  const choice *a = pa, *b = pb;
  if (better(a->logit, b->logit)) return -1;
  if (better(b->logit, a->logit)) return 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

/* Draws from the sorted choices; NaN logits have no probability, infinite ones share all of it. */
static int32_t draw(choice *c, int64_t n, sx_sample_desc s, double u) {
  double max = c[0].logit, sum = 0, kept = 0, at = 0;
  int64_t k = s.top_k > 0 && s.top_k < n ? s.top_k : n, last = 0;
  if (s.temperature <= 0 || isnan(max)) return c[0].id;
  for (int64_t i = 0; i < k; i++) {
    double p = c[i].logit == max ? 1 : exp((c[i].logit - max) / s.temperature);
    sum += c[i].logit = isnan(p) ? 0 : p;
  }
  while (last < k - 1 && (kept += c[last].logit) < s.top_p * sum) last++;
  for (kept = 0, k = 0; k <= last; k++) kept += c[k].logit;
  for (int64_t i = 0; i < last; i++)
    if ((at += c[i].logit) > u * kept) return c[i].id;
  return c[last].id;
}

static sx_status k_sample(sx_device *d, mat logits, const sx_sample_desc *desc, const double *u, int32_t *ids) {
  choice *c = malloc((size_t)logits.cols * sizeof *c);
  if (!c) return fail(d, SX_NOMEM, "no memory for %" PRId64 " logits", logits.cols);
  for (int64_t r = 0; r < logits.rows; r++) {
    for (int64_t v = 0; v < logits.cols; v++) c[v] = (choice){logits.p[r * logits.stride + v], (int32_t)v};
    qsort(c, (size_t)logits.cols, sizeof *c, by_rank);
    ids[r] = draw(c, logits.cols, desc[r], u[r]);
  }
  free(c);
  return SX_OK;
}

static sx_status k_colstats(sx_device *d, float *max, float *sum, float *square, mat x) {
  (void)d;
  for (int64_t k = 0; k < x.cols; k++) {
    double m = max[k], s = sum[k], q = square[k];
    for (int64_t i = 0; i < x.rows; i++) {
      double v = fabs((double)x.p[i * x.stride + k]);
      if (v > m || isnan(v)) m = v;
      s += v;
      q += v * v;
    }
    max[k] = (float)m;
    sum[k] = (float)s;
    square[k] = (float)q;
  }
  return SX_OK;
}

static sx_status k_hessian(sx_device *d, mat h, mat x) {
  (void)d;
  for (int64_t a = 0; a < h.rows; a++)
    for (int64_t b = 0; b < h.cols; b++) {
      double sum = h.p[a * h.stride + b];
      for (int64_t i = 0; i < x.rows; i++) sum += (double)x.p[i * x.stride + a] * x.p[i * x.stride + b];
      h.p[a * h.stride + b] = (float)sum;
    }
  return SX_OK;
}

static const sx_ops table = HOST_TABLE("ref");

const sx_ops *sx_ref_ops(void) { return &table; }
