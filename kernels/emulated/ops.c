/* ops.c: every operation of a backend's table on inputs that are the same on every machine, its outputs written bit for bit.
 *
 *   ops emit BACKEND             writes the outputs of ref or cpu; SEXTANT_CPU_ISA names the build of the latter
 *   ops compare A B [TOLERANCE]  compares two such files: bit for bit, or each value against (|b| + the case's largest |b|) TOLERANCE;
 *                                the status is 1 when they differ
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels.h"

static const sx_ops *ops;
static sx_device *dev;
static sx_stream *stream;

static _Noreturn void die(const char *format, ...) {
  va_list a;
  va_start(a, format);
  vprintf(format, a);
  va_end(a);
  puts("");
  exit(2);
}

static void ok(sx_status s, const char *what) {
  if (s != SX_OK) die("%s: status %d: %s", what, (int)s, dev ? ops->message(dev) : "");
}

/* Numbers without a library's help: which code of a library runs depends on the machine. */
static uint64_t state;

static void seed(uint64_t s) { state = s * 0x9e3779b97f4a7c15u + 1; }

static uint32_t bits(void) { /* splitmix64 */
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)((z ^ z >> 31) >> 32);
}

static float uniform(void) { return (float)(int32_t)(bits() >> 8) / 8388608.0f - 1; } /* [-1, 1) */

static float normal(void) { return (uniform() + uniform() + uniform()) * (bits() % 64 == 0 ? 20.0f : 1.0f); } /* nearly, with outliers */

static void *zalloc(int64_t bytes) {
  void *p = calloc(1, bytes > 0 ? (size_t)bytes : 1);
  if (!p) die("no memory for %lld bytes", (long long)bytes);
  return p;
}

/* Tensors. Their rows lie apart, so that what is beside them is seen. */
typedef struct tensor {
  sx_tensor t;
  float *host; /* [rows][stride] */
} tensor;

enum { apart = 5 };

static tensor blank(int64_t rows, int64_t cols) {
  int64_t stride = cols + apart, bytes = rows * stride * 4;
  tensor x = {{NULL, 0, rows, cols, stride, SX_F32}, zalloc(bytes)};
  for (int64_t i = 0; i < rows * stride; i++) x.host[i] = -31337.5f;
  ok(ops->buffer_new(dev, bytes, &x.t.buf), "buffer_new");
  ok(ops->upload(dev, stream, x.t.buf, 0, x.host, bytes), "upload");
  return x;
}

static void load(tensor *x) { ok(ops->upload(dev, stream, x->t.buf, 0, x->host, x->t.rows * x->t.stride * 4), "upload"); }

static tensor filled(int64_t rows, int64_t cols, float (*f)(void)) {
  tensor x = blank(rows, cols);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) x.host[i * x.t.stride + j] = f();
  load(&x);
  return x;
}

static void drop(tensor *x) {
  ops->buffer_free(dev, x->t.buf);
  free(x->host);
}

/* Weights. Their data is kept as long as they are. */
typedef struct weight {
  sx_weight *w;
  sx_weight_desc d;
} weight;

static uint16_t half(sx_dtype dt) {
  uint32_t b = bits();
  if (dt == SX_F16) return (uint16_t)((b >> 31) << 15 | (b % 8 == 0 ? 0 : 10 + (b >> 16) % 8) << 10 | (b >> 4 & 1023));
  return (uint16_t)((b >> 31) << 15 | (120 + (b >> 16) % 10) << 7 | (b >> 4 & 127));
}

static float *scales(int64_t n, float low, float high) {
  float *s = zalloc(n * 4);
  for (int64_t i = 0; i < n; i++) s[i] = low + (high - low) * (uniform() + 1) / 2;
  return s;
}

static weight weight_of(sx_dtype dt, int64_t rows, int64_t cols, int32_t group) {
  int64_t n = rows * cols;
  uint8_t *data = zalloc(n * 4);
  weight w = {NULL, {.dtype = dt, .group = dt == SX_I4 ? group : 0, .rows = rows, .cols = cols, .data = data}};
  for (int64_t i = 0; i < n; i++) {
    switch (dt) {
    case SX_F32: ((float *)(void *)data)[i] = uniform(); break;
    case SX_BF16: case SX_F16: ((uint16_t *)(void *)data)[i] = half(dt); break;
    case SX_F8: data[i] = (uint8_t)bits(); if ((data[i] & 127) == 127) data[i]--; break;
    case SX_I8: data[i] = (uint8_t)bits(); break;
    default: if (i < n / 2) data[i] = (uint8_t)bits();
    }
  }
  if (dt == SX_I8) w.d.scales = scales(rows, 1e-3f, 3e-2f);
  if (dt == SX_F8) w.d.row_scales = rows % 2 == 0, w.d.scales = scales(w.d.row_scales ? rows : 1, 1e-2f, 3e-2f);
  if (dt == SX_I4) w.d.scales = scales(n / group, 1e-2f, 1e-1f), w.d.zeros = scales(n / group, 6, 9);
  ok(ops->weight_new(dev, &w.d, &w.w), "weight_new");
  return w;
}

static void drop_weight(weight *w) {
  ops->weight_free(dev, w->w);
  free((void *)(uintptr_t)w->d.data);
  free((void *)(uintptr_t)w->d.scales);
  free((void *)(uintptr_t)w->d.zeros);
}

/* What comes out. */
static void head(const char *format, ...) {
  va_list a;
  va_start(a, format);
  printf("case ");
  vprintf(format, a);
  va_end(a);
  puts("");
}

static void put(double v, int single) {
  uint32_t b;
  uint64_t d;
  float f = (float)v;
  memcpy(&b, &f, 4), memcpy(&d, &v, 8);
  if (single) printf("%08x\n", (unsigned)b);
  else printf("%016llx\n", (unsigned long long)d);
}

static void emit(tensor *x) {
  ok(ops->download(dev, stream, x->host, x->t.buf, 0, x->t.rows * x->t.stride * 4), "download");
  for (int64_t i = 0; i < x->t.rows; i++) {
    for (int64_t j = 0; j < x->t.cols; j++) put(x->host[i * x->t.stride + j], 1);
    for (int64_t j = x->t.cols; j < x->t.stride; j++)
      if (x->host[i * x->t.stride + j] != -31337.5f) die("row %lld: written beside it", (long long)i);
  }
}

static void matmul(sx_dtype dt, int64_t m, int64_t n, int64_t k, int32_t group, int biased) {
  seed((uint64_t)(dt * 1000003 + m * 10007 + n * 101 + k));
  tensor x = filled(m, k, normal), out = blank(m, n);
  weight w = weight_of(dt, n, k, group), bias = weight_of(SX_F32, 1, n, 0);
  ok(ops->matmul(dev, stream, &out.t, &x.t, w.w, biased ? bias.w : NULL), "matmul");
  head("matmul dtype %d, %lld x %lld x %lld, group %d%s", (int)dt, (long long)m, (long long)n, (long long)k, (int)group, biased ? ", bias" : "");
  emit(&out);
  drop(&x), drop(&out), drop_weight(&w), drop_weight(&bias);
}

static void logprob(sx_dtype dt, int64_t rows, int64_t v, int64_t d) {
  seed((uint64_t)(7 + dt + rows + v + d));
  tensor x = filled(rows, d, uniform);
  weight w = weight_of(dt, v, d, 32);
  double *lse = zalloc(rows * 8);
  float *target = zalloc(rows * 4), *top = zalloc(rows * 4);
  int32_t *ids = zalloc(rows * 4), *best = zalloc(rows * 4);
  for (int64_t i = 0; i < rows; i++) ids[i] = (int32_t)(bits() % (uint32_t)v);
  sx_targets t = {.n = rows, .ids = ids};
  ok(ops->logprob(dev, stream, &x.t, w.w, &t, lse, target, best, top), "logprob");
  head("logprob dtype %d, %lld x %lld x %lld", (int)dt, (long long)rows, (long long)v, (long long)d);
  for (int64_t i = 0; i < rows; i++) put(lse[i], 0), put(target[i], 1), put((double)best[i], 1), put(top[i], 1);
  drop(&x), drop_weight(&w);
  free(lse), free(target), free(top), free(ids), free(best);
}

static void rows_ops(int64_t rows, int64_t cols) {
  seed((uint64_t)(rows * 31 + cols));
  tensor x = filled(rows, cols, normal), y = filled(rows, cols, normal), out = blank(rows, cols);
  weight w = weight_of(SX_F32, 1, cols, 0);
  ok(ops->rmsnorm(dev, stream, &out.t, &x.t, &y.t, w.w, 1e-5f), "rmsnorm");
  head("rmsnorm %lld x %lld, sum, norm", (long long)rows, (long long)cols);
  emit(&x), emit(&out);
  ok(ops->swiglu(dev, stream, &out.t, &x.t, &y.t), "swiglu");
  head("swiglu %lld x %lld", (long long)rows, (long long)cols);
  emit(&out);
  ok(ops->add(dev, stream, &x.t, &out.t), "add");
  head("add %lld x %lld", (long long)rows, (long long)cols);
  emit(&x);
  static const sx_round_desc how[] = {{SX_I8, 0, 0}, {SX_F8, 0, 0}, {SX_I8, 0, 32}, {SX_F8, 0, 7}, {SX_I8, 0.02f, 0}, {SX_F8, 1e-3f, 0}};
  for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
    ok(ops->round(dev, stream, &out.t, &y.t, &how[i]), "round");
    head("round %lld x %lld to dtype %d, scale %g, group %lld", (long long)rows, (long long)cols, (int)how[i].to, (double)how[i].scale, (long long)how[i].group);
    emit(&out);
  }
  drop(&x), drop(&y), drop(&out), drop_weight(&w);
}

static void embed(sx_dtype dt, int64_t cols) {
  const int32_t ids[] = {3, 0, 16, 3};
  seed((uint64_t)(dt + cols));
  tensor out = blank(4, cols);
  weight w = weight_of(dt, 17, cols, 32);
  ok(ops->embed(dev, stream, &out.t, w.w, ids, 4), "embed");
  head("embed dtype %d, %lld", (int)dt, (long long)cols);
  emit(&out);
  drop(&out), drop_weight(&w);
}

/* Two sequences, one with a past, in two passes over a cache: rope_kv, then attention. Where the cache rounds nothing is rotated: the oracle's
 * last bits would tip it. */
static void attention(sx_dtype dt, int32_t heads, int32_t kv_heads, int32_t dim, int32_t window, sx_dtype round) {
  enum { page = 16, pages = 12, positions = 80 };
  const int32_t table[2 * 6] = {5, 2, 9, 0, 3, 11, 1, 4, 6, 7, 8, 10};
  const sx_kv_desc kd = {1, kv_heads, dim, page, pages, dt, round};
  sx_kv *kv;
  seed((uint64_t)(dt + heads * 7 + kv_heads * 11 + dim * 13 + window));
  ok(ops->kv_new(dev, &kd, &kv), "kv_new");
  tensor angles = blank(positions, dim);
  for (int64_t i = 0; i < positions; i++)
    for (int64_t j = 0; j < dim / 2; j++) { /* a point of the unit circle without a sine */
      float t = round == SX_F32 ? uniform() : 0, *row = angles.host + i * angles.t.stride;
      row[j] = (1 - t * t) / (1 + t * t), row[j + dim / 2] = 2 * t / (1 + t * t);
    }
  load(&angles);
  for (int pass = 0; pass < 2; pass++) {
    const int32_t starts[2][3] = {{0, 70, 70}, {0, 3, 20}}, lens[2][2] = {{70, 0}, {73, 17}};
    const sx_batch_desc bd = {2, 6, starts[pass], lens[pass], table, NULL};
    const sx_rope_desc rope = {angles.t, dim, pass};
    const sx_attention_desc ad = {0, heads, window, 0.125f};
    int64_t tokens = starts[pass][2];
    sx_batch *b;
    ok(ops->batch_new(dev, stream, &bd, &b), "batch_new");
    tensor q = filled(tokens, heads * dim, uniform), k = filled(tokens, kv_heads * dim, uniform), v = filled(tokens, kv_heads * dim, uniform);
    tensor out = blank(tokens, heads * dim);
    ok(ops->rope_kv(dev, stream, &q.t, &k.t, &v.t, &rope, kv, b, 0), "rope_kv");
    ok(ops->attention(dev, stream, &out.t, &q.t, kv, b, &ad), "attention");
    head("attention dtype %d, heads %d/%d, dim %d, window %d, rounded to %d, pass %d", (int)dt, (int)heads, (int)kv_heads, (int)dim, (int)window,
         (int)round, pass);
    emit(&q), emit(&out);
    drop(&q), drop(&k), drop(&v), drop(&out);
    ops->batch_free(dev, b);
  }
  drop(&angles);
  ops->kv_free(dev, kv);
}

static void sample(int64_t v) {
  enum { rows = 6 };
  const sx_sample_desc desc[rows] = {{0, 0, 1}, {1, 0, 1}, {0.7f, 5, 1}, {1.5f, 0, 0.8f}, {1, 40, 0.9f}, {0.2f, 1, 0.5f}};
  double u[rows];
  int32_t ids[rows];
  seed((uint64_t)v);
  tensor x = filled(rows, v, normal);
  for (int i = 0; i < rows; i++) u[i] = (uniform() + 1) / 2;
  ok(ops->sample(dev, stream, &x.t, desc, u, ids), "sample");
  head("sample of %lld", (long long)v);
  for (int i = 0; i < rows; i++) put((double)ids[i], 1);
  drop(&x);
}

static void all(void) {
  static const struct { int64_t m, n, k; int32_t group; } shapes[] = {{1, 1, 2, 2}, {1, 33, 64, 32}, {2, 17, 66, 33}, {5, 47, 96, 32},
    {17, 16, 130, 13}, {64, 31, 34, 17}, {9, 64, 1030, 103}, {3, 5, 1200, 200}, {1, 130, 514, 257}, {100, 50, 32, 32}};
  for (sx_dtype dt = SX_F32; dt <= SX_F8; dt++)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) matmul(dt, shapes[i].m, shapes[i].n, shapes[i].k, shapes[i].group, i % 2 == 1);
  for (sx_dtype dt = SX_F32; dt <= SX_F8; dt++) {
    if (dt != SX_I4) matmul(dt, 5, 19, 67, 0, 1), matmul(dt, 1, 3, 1, 0, 0), matmul(dt, 18, 33, 515, 0, 0); /* odd K */
    logprob(dt, 3, 300, 64), logprob(dt, 19, 700, 32);
    embed(dt, 96);
  }
  rows_ops(1, 1), rows_ops(3, 17), rows_ops(2, 64), rows_ops(5, 333);
  for (sx_dtype dt = SX_F32; dt <= SX_BF16; dt++)
    attention(dt, 4, 2, 64, 0, SX_F32), attention(dt, 3, 3, 40, 0, SX_F32), attention(dt, 8, 1, 32, 9, SX_F32), attention(dt, 2, 1, 128, 65, SX_F32),
        attention(dt, 4, 2, 64, 0, SX_I8), attention(dt, 2, 2, 34, 0, SX_F8);
  sample(50), sample(1000);
}

static char *line(FILE *f, char *buf, int size) {
  char *s = fgets(buf, size, f);
  if (s) s[strcspn(s, "\r\n")] = 0;
  return s;
}

static int is_case(const char *s) { return strncmp(s, "case ", 5) == 0; }

static double value(const char *s) {
  uint64_t b = strtoull(s, NULL, 16);
  uint32_t b32 = (uint32_t)b;
  float f;
  double d;
  memcpy(&f, &b32, 4), memcpy(&d, &b, 8);
  return strlen(s) == 8 ? f : d;
}

/* The largest value from here to the next case; the file is then where it was. */
static double largest(FILE *f) {
  char buf[256];
  long at = ftell(f);
  double most = 0;
  while (line(f, buf, sizeof buf) && !is_case(buf))
    if (fabs(value(buf)) > most) most = fabs(value(buf));
  fseek(f, at, SEEK_SET);
  return most;
}

static int compare(const char *a_name, const char *b_name, double tol) {
  FILE *a = fopen(a_name, "r"), *b = fopen(b_name, "r");
  char al[256], bl[256], what[256] = "";
  int bad = 0, bad_here = 0;
  long cases = 0, values = 0, n = 0;
  double most = 0, worst = 0;
  if (!a || !b) die("cannot read %s or %s", a_name, b_name);
  for (;;) {
    char *x = line(a, al, sizeof al), *y = line(b, bl, sizeof bl);
    if (!x && !y) break;
    if (!x || !y || is_case(x) != is_case(y)) die("after %s: one of the files ends early", what);
    if (is_case(x)) {
      if (strcmp(x, y) != 0) die("%s against %s", x, y);
      snprintf(what, sizeof what, "%s", x);
      most = largest(b), bad_here = 0, n = 0, cases++;
      continue;
    }
    double u = value(x), v = value(y), err = fabs(u - v) / (fabs(v) + most);
    int differ = tol > 0 ? !(err <= tol || (u == v) || (isnan(u) && isnan(v))) : strcmp(x, y) != 0;
    if (err > worst) worst = err;
    if (differ && bad_here++ == 0) printf("%s: value %ld: %.9g against %.9g\n", what, n, u, v);
    bad += differ, n++, values++;
  }
  printf("%ld cases, %ld values, %d differ; the largest difference is %.3g of |value| + the case's largest\n", cases, values, bad, worst);
  return bad > 0 || cases == 0;
}

int main(int argc, char **argv) {
  char why[256] = "";
  if (argc >= 4 && strcmp(argv[1], "compare") == 0) return compare(argv[2], argv[3], argc > 4 ? atof(argv[4]) : 0);
  if (argc != 3 || strcmp(argv[1], "emit") != 0) die("want emit BACKEND or compare A B [TOLERANCE]");
  ops = strcmp(argv[2], "ref") == 0 ? sx_ref_ops() : sx_cpu_ops();
  const sx_open_opts opts = {0, 1};
  if (ops->open(&opts, &dev, why, sizeof why) != SX_OK) die("%s: %s", argv[2], why);
  ok(ops->stream_new(dev, &stream), "stream_new");
  all();
  ops->stream_free(dev, stream);
  ops->close(dev);
  return 0;
}
