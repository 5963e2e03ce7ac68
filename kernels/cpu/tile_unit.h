/* tile_unit.h: the instructions of AMX on tiles of bf16, as macros whose tiles are literal numbers; or, where UNIT_MODEL is set, plain C of
 * the same meaning (Intel's Software Developer's Manual, volume 2), for the tests: it runs anywhere, and a sanitizer sees what it touches. */

typedef struct tile_config { /* as LDTILECFG reads it */
  uint8_t palette, start, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_config;

/* The next step of both is a store or load that the compiler must not move: hence "memory". gcc's own intrinsics leave it out for loads, and
 * version 12 takes the configuration for 8 bytes. */
#ifndef UNIT_MODEL
#define TILE_CONFIG(c) __asm__ volatile("ldtilecfg %0" : : "m"(*(c)) : "memory")
#define TILE_RELEASE() __asm__ volatile("tilerelease" : : : "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define TILE_LOAD(t, p, step) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(p), "r"((int64_t)(step)) : "memory")
#define TILE_STORE(t, p, step) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(p), "r"((int64_t)(step)) : "memory")
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#else
#define TILE_CONFIG(c) model_config(c)
#define TILE_RELEASE() model_config(&(tile_config){0})
#define TILE_ZERO(t) model_zero(t)
#define TILE_LOAD(t, p, step) model_load(t, (const uint8_t *)(p), step)
#define TILE_STORE(t, p, step) model_store(t, (uint8_t *)(p), step)
#define TILE_DOT(c, a, b) model_dot(c, a, b)

static _Thread_local struct {
  uint32_t t[8][16][16] __attribute__((aligned(64)));
  tile_config c;
} model;

/* A tile that is not configured, or shapes that do not fit, are an exception to the processor. */
static void model_want(bool ok) {
  if (!ok) abort();
}

static void model_config(const tile_config *c) {
  memset(&model, 0, sizeof model);
  model.c = *c;
  for (int t = 0; t < 8; t++) model_want(c->rows[t] <= 16 && c->row_bytes[t] <= 64 && c->row_bytes[t] % 4 == 0 && !c->rows[t] == !c->row_bytes[t]);
}

static void model_zero(int t) {
  model_want(model.c.rows[t] > 0);
  memset(model.t[t], 0, sizeof model.t[t]);
}

static void model_load(int t, const uint8_t *p, int64_t step) {
  model_zero(t);
  for (int i = 0; i < model.c.rows[t]; i++) memcpy(model.t[t][i], p + i * step, model.c.row_bytes[t]);
}

static void model_store(int t, uint8_t *p, int64_t step) {
  model_want(model.c.rows[t] > 0);
  for (int i = 0; i < model.c.rows[t]; i++) memcpy(p + i * step, model.t[t][i], model.c.row_bytes[t]);
}

/* The even inputs and the odd ones are summed apart over the whole tile, then added, then added to what was there. */
static void model_dot(int c, int a, int b) {
  const tile_config *s = &model.c;
  model_want(s->rows[c] > 0 && s->rows[a] == s->rows[c] && s->row_bytes[c] == s->row_bytes[b] && s->row_bytes[a] == 4 * s->rows[b]);
  for (int m = 0; m < s->rows[c]; m++) {
    vf even = SPLAT(0), odd = even;
    for (int k = 0; k < s->rows[b]; k++) {
      vu x = model.t[a][m][k] - (vu){0}, w = *(const vu *)model.t[b][k];
      even = flush_fma(x << 16, w << 16, even);
      odd = flush_fma(x & 0xffff0000, w & 0xffff0000, odd);
    }
    vf *to = (vf *)(void *)model.t[c][m];
    *to = flush(flush(*to) + flush(even + (model_wrong ? even : odd)));
  }
}
#endif
