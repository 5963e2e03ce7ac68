/* host.c: the host side of the cuda library through its table: opening, memory and its end, copies, weights in pieces, batches and streams,
 * recordings, failures. What kernels compute is the suite's matter. It runs on a GPU and, with the emulated library, on none:
 *
 *   gcc -std=gnu11 -Ikernels/cuda kernels/cuda/tests/host.c -o host -ldl && ./host libsextant_cuda.so [emulated]
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static const sx_ops *ops;
static sx_device *dev;
static sx_stream *stream;
static int failures;

static void expect(int ok, const char *what) {
  if (ok) return;
  failures++;
  printf("FAIL %s: %s\n", what, dev ? ops->message(dev) : "no device");
}
#define OK(call) expect((call) == SX_OK, #call)
#define IS(call, status) expect((call) == (status), #call " is " #status)
static void says(const char *words) {
  char what[128];
  snprintf(what, sizeof what, "the message has \"%s\"", words);
  expect(strstr(ops->message(dev), words) != NULL, what);
}

static sx_status open_device(char why[512]) {
  sx_open_opts opts = {0, 0};
  why[0] = 0;
  sx_status s = ops->open(&opts, &dev, why, 512);
  if (s == SX_OK && (s = ops->stream_new(dev, &stream)) != SX_OK) {
    snprintf(why, 512, "%s", ops->message(dev));
    ops->close(dev);
  }
  if (s != SX_OK) dev = NULL;
  return s;
}

static void close_device(void) {
  ops->stream_free(dev, stream);
  ops->close(dev);
  dev = NULL;
}

static sx_tensor tensor(sx_buffer *b, int64_t rows, int64_t cols, sx_dtype t) { return (sx_tensor){b, 0, rows, cols, cols, t}; }

static sx_buffer *floats(int64_t n, float first, float step) {
  sx_buffer *b = NULL;
  float *v = malloc((size_t)n * 4 + 4);
  for (int64_t i = 0; i < n; i++) v[i] = first + (float)i * step;
  OK(ops->buffer_new(dev, n * 4, &b));
  if (b) OK(ops->upload(dev, stream, b, 0, v, n * 4));
  free(v);
  return b;
}

static float value(sx_buffer *b, int64_t i) {
  float v = NAN;
  OK(ops->download(dev, stream, &v, b, i * 4, 4));
  return v;
}

static void test_info(void) {
  sx_info info;
  OK(ops->info(dev, &info));
  expect(info.few == 64 && info.narrow == 1 && info.pieces == 1 && info.compute_capability >= 80 && !info.layout[0], "what info tells");
  expect(info.memory_bytes > 0 && info.free_bytes > 0 && info.free_bytes <= info.memory_bytes, "the memory that info tells");
  printf("%s: %s; %lld of %lld MiB free\n", info.name, info.features, (long long)(info.free_bytes >> 20), (long long)(info.memory_bytes >> 20));
}

/* More than there is fails with how much there is, and leaves all as it was; what was given back is there again. */
static void test_memory(void) {
  sx_info before, after;
  sx_buffer *all = NULL, *more = NULL;
  sx_kv *kv = NULL;
  sx_kv_desc wide = {1000, 1000, 1024, 1024, 1000, SX_F32};
  OK(ops->info(dev, &before));
  IS(ops->buffer_new(dev, before.memory_bytes + 1, &more), SX_NOMEM);
  says("are free");
  says("no memory for a buffer of");
  IS(ops->kv_new(dev, &wide, &kv), SX_NOMEM);
  says("kv cache");
  OK(ops->buffer_new(dev, before.free_bytes / 4 * 3, &all));
  IS(ops->buffer_new(dev, before.free_bytes / 4 * 3, &more), SX_NOMEM);
  OK(ops->buffer_new(dev, before.free_bytes / 8, &more));
  ops->buffer_free(dev, more);
  ops->buffer_free(dev, all);
  OK(ops->info(dev, &after));
  expect(after.free_bytes == before.free_bytes, "what was given back is free again");
  OK(ops->buffer_new(dev, 0, &more));
  ops->buffer_free(dev, more);
}

/* Larger than the pinned ring, of no round size, and past its end again and again. */
static void test_copies(void) {
  int64_t n = (70 << 20) + 13;
  uint8_t *from = malloc((size_t)n), *to = malloc((size_t)n);
  sx_buffer *b = NULL;
  for (int64_t i = 0; i < n; i++) from[i] = (uint8_t)(i * 31 + i / 4093);
  OK(ops->buffer_new(dev, n, &b));
  OK(ops->upload(dev, stream, b, 0, from, n));
  OK(ops->download(dev, stream, to, b, 0, n));
  expect(memcmp(from, to, (size_t)n) == 0, "a large copy comes back");
  for (int i = 0; i < 300; i++) OK(ops->upload(dev, stream, b, i * 1000003 % (n - 700000), from + i, 1 + i * 2111 % 700000));
  OK(ops->upload(dev, stream, b, 0, from, n));
  OK(ops->download(dev, stream, to, b, 1, n - 1));
  expect(memcmp(from + 1, to, (size_t)n - 1) == 0, "small copies are in order before a large one");
  IS(ops->upload(dev, stream, b, n, from, 1), SX_INVALID);
  ops->buffer_free(dev, b);
  free(from);
  free(to);
}

/* Rows of a weight, seen through embed. */
static void expect_rows(sx_weight *w, int64_t rows, int64_t cols, const float *want, const char *what) {
  sx_buffer *b = floats(rows * cols, -1, 0);
  sx_tensor out = tensor(b, rows, cols, SX_F32);
  int32_t *ids = malloc((size_t)rows * 4);
  for (int64_t i = 0; i < rows; i++) ids[i] = (int32_t)i;
  float *got = calloc((size_t)(rows * cols), 4);
  OK(ops->embed(dev, stream, &out, w, ids, rows));
  OK(ops->download(dev, stream, got, b, 0, rows * cols * 4));
  expect(memcmp(got, want, (size_t)(rows * cols) * 4) == 0, what);
  ops->buffer_free(dev, b);
  free(ids);
  free(got);
}

static void test_weights(void) {
  enum { R = 6, C = 4 };
  uint8_t q[R * C / 2], ones[R * C]; /* ones of e4m3 */
  memset(ones, 0x38, sizeof ones);
  int8_t i8[R * C];
  float scales[R * C / 2], zeros[R * C / 2], want4[R * C], want8[R * C];
  sx_weight *whole = NULL, *parts = NULL, *f8 = NULL;
  for (int i = 0; i < R * C / 2; i++) q[i] = (uint8_t)(i * 37), scales[i] = 0.5f + (float)i, zeros[i] = (float)(i % 16);
  for (int i = 0; i < R * C; i++) {
    i8[i] = (int8_t)(i * 5 - 60);
    want4[i] = ((float)(q[i / 2] >> (i % 2 * 4) & 15) - zeros[i / 2]) * scales[i / 2];
    want8[i] = (float)i8[i] * scales[i / C];
  }
  sx_weight_desc d = {.dtype = SX_I4, .group = 2, .rows = R, .cols = C, .data = q, .scales = scales, .zeros = zeros};
  OK(ops->weight_new(dev, &d, &whole));
  expect_rows(whole, R, C, want4, "an i4 weight");
  sx_weight_desc later = {.dtype = SX_I4, .group = 2, .rows = R, .cols = C}, part = d;
  OK(ops->weight_new(dev, &later, &parts)); /* the last four rows, then the first two */
  part.rows = 4, part.data = q + 4, part.scales = scales + 4, part.zeros = zeros + 4;
  OK(ops->weight_put(dev, parts, 2, &part));
  part.rows = 2, part.data = q, part.scales = scales, part.zeros = zeros;
  OK(ops->weight_put(dev, parts, 0, &part));
  expect_rows(parts, R, C, want4, "an i4 weight in pieces");
  IS(ops->weight_put(dev, parts, 5, &part), SX_INVALID);
  ops->weight_free(dev, whole);
  ops->weight_free(dev, parts);
  d = (sx_weight_desc){.dtype = SX_I8, .rows = R, .cols = C, .data = i8, .scales = scales, .use = SX_USE_EMBED};
  OK(ops->weight_new(dev, &d, &whole));
  expect_rows(whole, R, C, want8, "an i8 weight");
  ops->weight_free(dev, whole);
  sx_weight_desc eight = {.dtype = SX_F8, .rows = R, .cols = C}, rows = {.dtype = SX_F8, .rows = R - 2, .cols = C, .data = ones, .scales = scales};
  OK(ops->weight_new(dev, &eight, &f8)); /* the first two rows with a scale each, then the others with one for all */
  OK(ops->weight_put(dev, f8, 2, &rows));
  rows.rows = 2, rows.row_scales = 1, rows.scales = scales + 1;
  OK(ops->weight_put(dev, f8, 0, &rows));
  for (int i = 0; i < R * C; i++) want8[i] = i < C ? scales[1] : i < 2 * C ? scales[2] : scales[0];
  expect_rows(f8, R, C, want8, "an f8 weight in pieces");
  ops->weight_free(dev, f8);
}

enum { SEQS = 3, TOKENS = 5 };

static sx_batch_desc batch_desc(int32_t shift) {
  static int32_t starts[SEQS + 1] = {0, 2, 4, 5}, lens[SEQS], pages[SEQS * 2], tokens[2][TOKENS];
  for (int i = 0; i < SEQS; i++) lens[i] = 3 + shift, pages[2 * i] = 2 * i, pages[2 * i + 1] = 2 * i + 1;
  for (int i = 0; i < TOKENS; i++) tokens[shift % 2][i] = (i + shift) % 7;
  return (sx_batch_desc){SEQS, 2, starts, lens, pages, tokens[shift % 2]};
}

static void expect_tokens(sx_buffer *b, int32_t shift, const char *what) {
  float got[TOKENS * 2];
  OK(ops->download(dev, stream, got, b, 0, sizeof got));
  for (int i = 0; i < TOKENS; i++) expect(got[2 * i] == (float)(2 * ((i + shift) % 7)), what);
}

/* A batch is uploaded on one stream and read on another; written again while launches that read it may be under way; freed while they are. */
static void test_batches(sx_weight *table) {
  sx_stream *side = NULL;
  sx_batch *b = NULL;
  sx_buffer *out[8];
  OK(ops->stream_new(dev, &side));
  sx_batch_desc d = batch_desc(0);
  OK(ops->batch_new(dev, side, &d, &b));
  for (int i = 0; i < 8; i++) {
    out[i] = floats(TOKENS * 2, -1, 0);
    sx_tensor t = tensor(out[i], TOKENS, 2, SX_F32);
    d = batch_desc(i);
    OK(ops->batch_set(dev, i % 2 ? side : stream, b, &d));
    OK(ops->embed_batch(dev, stream, &t, table, b));
  }
  ops->batch_free(dev, b);
  for (int i = 0; i < 8; i++) {
    expect_tokens(out[i], i, "a batch that was set again");
    ops->buffer_free(dev, out[i]);
  }
  for (int i = 0; i < 50; i++) { /* one that nothing reads */
    d = batch_desc(i);
    OK(ops->batch_new(dev, side, &d, &b));
    ops->batch_free(dev, b);
  }
  d.max_pages = 3;
  ops->stream_free(dev, side);
}

/* What is recorded is done at each run, with the values of then; what is freed while recording is freed after it. */
static void test_graphs(sx_weight *table) {
  sx_graph *g = NULL;
  sx_batch *b = NULL, *unused = NULL;
  sx_stream *side = NULL;
  sx_buffer *out = floats(TOKENS * 2, 0, 0), *sum = floats(TOKENS * 2, 1, 0), *scratch = floats(1000, 1, 0);
  sx_tensor t = tensor(out, TOKENS, 2, SX_F32), s = tensor(sum, TOKENS, 2, SX_F32);
  sx_batch_desc d = batch_desc(0);
  OK(ops->stream_new(dev, &side));
  OK(ops->batch_new(dev, side, &d, &b));
  OK(ops->batch_new(dev, side, &d, &unused));
  OK(ops->graph_begin(dev, stream));
  OK(ops->embed_batch(dev, stream, &t, table, b));
  OK(ops->add(dev, stream, &s, &t));
  IS(ops->add(dev, side, &s, &t), SX_INVALID);
  IS(ops->stream_sync(dev, stream), SX_INVALID);
  ops->buffer_free(dev, scratch);
  ops->batch_free(dev, unused);
  OK(ops->graph_end(dev, stream, &g));
  expect(value(sum, 0) == 1, "nothing is done while recording");
  for (int i = 0; i < 3; i++) {
    d = batch_desc(i);
    OK(ops->batch_set(dev, i == 1 ? stream : side, b, &d));
    OK(ops->graph_run(dev, stream, g));
  }
  expect_tokens(out, 2, "a recording with the values of its last run");
  expect(value(sum, 2) == 1 + 2 * (1 + 2 + 3), "a recording that ran three times");
  d = batch_desc(0);
  ((int32_t *)(uintptr_t)d.tokens)[3] = 99;
  OK(ops->batch_set(dev, stream, b, &d));
  IS(ops->graph_run(dev, stream, g), SX_INVALID);
  ops->graph_free(dev, g);
  OK(ops->graph_begin(dev, stream));
  IS(ops->buffer_new(dev, -1, &scratch), SX_INVALID);
  OK(ops->graph_end(dev, stream, &g)); /* of nothing */
  OK(ops->graph_run(dev, stream, g));
  ops->graph_free(dev, g);
  ops->batch_free(dev, b);
  ops->buffer_free(dev, out);
  ops->buffer_free(dev, sum);
  ops->stream_free(dev, side);
}

/* Work on several streams shares the scratch: each call's result is its own. */
static void test_streams(sx_weight *table) {
  enum { N = 6 };
  sx_stream *all[N];
  sx_buffer *out[N];
  for (int i = 0; i < N; i++) {
    int32_t ids[1000];
    for (int j = 0; j < 1000; j++) ids[j] = (i + j) % 7;
    OK(ops->stream_new(dev, &all[i]));
    out[i] = floats(2000, -1, 0);
    sx_tensor t = tensor(out[i], 1000, 2, SX_F32);
    OK(ops->stream_sync(dev, stream));
    OK(ops->embed(dev, all[i], &t, table, ids, 1000));
  }
  for (int i = 0; i < N; i++) OK(ops->stream_sync(dev, all[i]));
  for (int i = 0; i < N; i++) {
    expect(value(out[i], 1998) == (float)(2 * ((i + 999) % 7)), "rows that a stream of its own looked up");
    ops->buffer_free(dev, out[i]);
    ops->stream_free(dev, all[i]);
  }
}

static void test_all(void) {
  static const float values[14] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  sx_weight_desc d = {.dtype = SX_F32, .rows = 7, .cols = 2, .data = values, .use = SX_USE_EMBED};
  sx_weight *table = NULL;
  test_info();
  test_memory();
  test_copies();
  test_weights();
  OK(ops->weight_new(dev, &d, &table));
  test_batches(table);
  test_graphs(table);
  test_streams(table);
  ops->weight_free(dev, table);
}

/* Whether a call was carried out; if not, it has said why. */
static int told(sx_status s) {
  if (s != SX_OK) expect(ops->message(dev)[0] != 0, "a failure has a reason");
  return s == SX_OK;
}

/* Emulated only: each call of the runtime fails once, from opening to closing. Nothing may crash; what fails has a reason; the next try works. */
static void test_each_failure(void) {
  char why[512], at[32];
  int n = 1, unopened = 0, fine = 0;
  for (; n < 5000 && fine < 20; n++) { /* until there are no more calls to fail */
    snprintf(at, sizeof at, "%d", n);
    setenv("SEXTANT_EMU_FAIL", at, 1);
    sx_status s = open_device(why);
    if (s != SX_OK) {
      expect(why[0] != 0, "a device that is not opened has a reason");
      unopened++;
      fine = 0;
      continue;
    }
    int done = 0;
    static const float values[14] = {0};
    sx_weight_desc d = {.dtype = SX_F32, .rows = 7, .cols = 2, .data = values};
    sx_weight *table = NULL;
    if (told(ops->weight_new(dev, &d, &table))) {
      sx_batch_desc b = batch_desc(0);
      sx_batch *batch = NULL;
      sx_graph *g = NULL;
      sx_buffer *out = NULL;
      float got[TOKENS * 2];
      if (told(ops->buffer_new(dev, sizeof got, &out)) && told(ops->batch_new(dev, stream, &b, &batch))) {
        sx_tensor t = tensor(out, TOKENS, 2, SX_F32);
        if (told(ops->graph_begin(dev, stream))) {
          int recorded = told(ops->embed_batch(dev, stream, &t, table, batch));
          recorded = told(ops->graph_end(dev, stream, &g)) && recorded;
          done = recorded && told(ops->batch_set(dev, stream, batch, &b)) && told(ops->graph_run(dev, stream, g)) &&
                 told(ops->download(dev, stream, got, out, 0, sizeof got)) && told(ops->stream_sync(dev, stream));
        }
        ops->graph_free(dev, g);
      }
      ops->batch_free(dev, batch);
      ops->buffer_free(dev, out);
      ops->weight_free(dev, table);
    }
    fine = done ? fine + 1 : 0;
    close_device();
  }
  unsetenv("SEXTANT_EMU_FAIL");
  printf("each of %d calls failed once; %d are needed to open\n", n - 1 - fine, unopened);
  expect(unopened > 10 && fine == 20, "calls fail, and then none does");
}

/* Emulated only: what a machine without a device that serves says. */
static void test_absent(const char *name, const char *value, const char *words) {
  char why[512], what[700];
  setenv(name, value, 1);
  sx_status s = open_device(why);
  setenv(name, strcmp(name, "SEXTANT_EMU_MEMORY") ? "1" : "512M", 1);
  snprintf(what, sizeof what, "%s=%s: \"%s\", want \"%s\"", name, value, why, words);
  expect(s != SX_OK && strstr(why, words), what);
  if (s == SX_OK) close_device();
}

int main(int argc, char **argv) {
  char why[512];
  void *library = dlopen(argc > 1 ? argv[1] : "./libsextant_cuda.so", RTLD_NOW | RTLD_LOCAL);
  if (!library) return printf("%s\n", dlerror()), 2;
  const sx_ops *(*table)(void) = (const sx_ops *(*)(void))(uintptr_t)dlsym(library, "sx_cuda_ops");
  if (!table || (ops = table())->abi != SX_ABI || ops->size != sizeof *ops) return printf("another library, or another ABI\n"), 2;
  int emulated = argc > 2 && strcmp(argv[2], "emulated") == 0;
  if (emulated) setenv("SEXTANT_EMU_MEMORY", "512M", 1);
  for (int round = 0; round < 2; round++) {
    if (open_device(why) != SX_OK) return printf("no device: %s\n", why), 2;
    test_all();
    close_device();
  }
  if (emulated) {
    test_absent("SEXTANT_EMU_DEVICES", "0", "no GPU");
    test_absent("SEXTANT_EMU_MEMORY", "1M", "are free");
    test_each_failure();
  }
  printf(failures ? "%d failures\n" : "host side: all well\n", failures);
  return failures != 0;
}
