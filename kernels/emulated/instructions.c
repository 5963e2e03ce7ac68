/* instructions.c: the dot-product instructions of AVX512-BF16, AVX512-VNNI and AMX against plain C models of the arithmetic that Intel's
 * Software Developer's Manual gives them, bit for bit, on random numbers, denormal and special ones among them. Its status is 0 when all
 * hold. Run on a CPU it tests the models; run on the emulator, the emulator. */
#include <cpuid.h>
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni")))
#define AMX __attribute__((target("amx-tile,amx-bf16,amx-int8")))

static int failures;
static uint64_t state = 1;

static uint32_t bits(void) { /* splitmix64 */
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)((z ^ z >> 31) >> 32);
}

static float f32(uint32_t b) { float f; memcpy(&f, &b, 4); return f; }
static uint32_t raw(float f) { uint32_t b; memcpy(&b, &f, 4); return b; }

/* Numbers about 1, and (one in eight) anything: denormals, infinities, NaN. */
static uint32_t number(void) {
  uint32_t b = bits();
  if (b % 8 == 0) return bits();
  return (b & 0x807fffff) | (118 + (b >> 3) % 16) << 23;
}

static float flush(float f) { return fabsf(f) < FLT_MIN ? copysignf(0, f) : f; }
static float wide(uint16_t b) { return flush(f32((uint32_t)b << 16)); }
static float fma_flushed(float a, float b, float c) { return flush(fmaf(a, b, flush(c))); }
static float add_flushed(float a, float b) { return flush(flush(a) + flush(b)); }

/* VDPBF16PS: the odd one of a pair, then the even one. */
static float dot_pair(float acc, const uint16_t *a, const uint16_t *b) {
  return fma_flushed(wide(a[0]), wide(b[0]), fma_flushed(wide(a[1]), wide(b[1]), acc));
}

/* VCVTNEPS2BF16: to nearest even; denormals are zeros, NaN becomes quiet. */
static uint16_t narrow(float f) {
  uint32_t b = raw(f);
  if (f != f) return (uint16_t)(b >> 16 | 0x40);
  if (fabsf(f) < FLT_MIN) return (uint16_t)(b >> 16 & 0x8000);
  return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

/* Which NaN comes out is not modelled. */
static int same(float a, float b) { return raw(a) == raw(b) || (a != a && b != b); }

static void check(const char *what, int bad) {
  printf("%-14s %s\n", what, bad ? "WRONG" : "as the manual has it");
  failures += bad != 0;
}

AVX512 static void vector_bf16(void) {
  int bad_dot = 0, bad_narrow = 0, bad_two = 0;
  for (int round = 0; round < 2000; round++) {
    uint32_t a[16], b[16];
    float acc[16], x[16], y[16], got[16];
    uint16_t half[16], two[32];
    for (int i = 0; i < 16; i++) a[i] = number(), b[i] = number(), acc[i] = f32(number()), x[i] = f32(number()), y[i] = f32(number());
    for (int i = 0; i < 16 && round % 2; i++) a[i] = (a[i] & 0x807f807f) | 0x3f803f80, b[i] = (b[i] & 0x807f807f) | 0x3f803f80;
    _mm512_storeu_ps(got, _mm512_dpbf16_ps(_mm512_loadu_ps(acc), (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b)));
    _mm256_storeu_si256((__m256i *)half, (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x)));
    _mm512_storeu_si512(two, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x), _mm512_loadu_ps(y)));
    for (int i = 0; i < 16; i++) {
      uint16_t p[2] = {(uint16_t)a[i], (uint16_t)(a[i] >> 16)}, q[2] = {(uint16_t)b[i], (uint16_t)(b[i] >> 16)};
      bad_dot += !same(got[i], dot_pair(acc[i], p, q));
      bad_narrow += half[i] != narrow(x[i]);
      bad_two += two[i] != narrow(y[i]) || two[16 + i] != narrow(x[i]);
    }
  }
  check("vdpbf16ps", bad_dot), check("vcvtneps2bf16", bad_narrow), check("vcvtne2ps2bf16", bad_two);
}

AVX512 static void vector_int8(void) {
  int bad = 0;
  for (int round = 0; round < 1000; round++) {
    uint8_t a[64];
    int8_t b[64];
    int32_t acc[16], got[16];
    for (int i = 0; i < 64; i++) a[i] = (uint8_t)bits(), b[i] = (int8_t)bits(), acc[i / 4] = (int32_t)bits();
    _mm512_storeu_si512(got, _mm512_dpbusd_epi32(_mm512_loadu_si512(acc), _mm512_loadu_si512(a), _mm512_loadu_si512(b)));
    for (int i = 0; i < 16; i++) {
      uint32_t s = (uint32_t)acc[i];
      for (int j = 0; j < 4; j++) s += (uint32_t)(a[4 * i + j] * b[4 * i + j]);
      bad += s != (uint32_t)got[i];
    }
  }
  check("vpdpbusd", bad);
}

typedef struct config {
  uint8_t palette, start_row, zero[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} config;

/* GCC 12's intrinsics for these two say that they touch 8 bytes only. */
AMX static void configure(const config *c) {
  __asm__ volatile("" : : "m"(*c));
  _tile_loadconfig(c);
}

AMX static void configured(config *c) {
  _tile_storeconfig(c);
  __asm__ volatile("" : "+m"(*c));
}

typedef struct tiles { /* c[m][n] += a[m][k] b[k][n], of 4 bytes each; 16 to a row of memory */
  int m, k, n;
  uint32_t a[16][16], b[16][16], c[16][16];
} tiles;

static tiles random_tiles(int special) {
  tiles t = {.m = 1 + (int)(bits() % 16), .k = 1 + (int)(bits() % 16), .n = 1 + (int)(bits() % 16)};
  for (int i = 0; i < 256; i++) {
    t.a[i / 16][i % 16] = number(), t.b[i / 16][i % 16] = number(), t.c[i / 16][i % 16] = number();
    if (special) continue;
    t.a[i / 16][i % 16] = (t.a[i / 16][i % 16] & 0x807f807f) | 0x3f803f80, t.b[i / 16][i % 16] = (t.b[i / 16][i % 16] & 0x807f807f) | 0x3f803f80;
  }
  return t;
}

enum { bf16, ssd, sud, usd, uud, ops };
static const char *const names[ops] = {"tdpbf16ps", "tdpbssd", "tdpbsud", "tdpbusd", "tdpbuud"};

AMX static void by_tiles(const tiles *t, int op, uint32_t out[16][16]) {
  config c = {.palette = 1, .bytes = {4 * t->n, 4 * t->k, 4 * t->n}, .rows = {t->m, t->m, t->k}};
  configure(&c);
  _tile_loadd(0, t->c, 64);
  _tile_loadd(1, t->a, 64);
  _tile_loadd(2, t->b, 64);
  switch (op) {
  case bf16: _tile_dpbf16ps(0, 1, 2); break;
  case ssd: _tile_dpbssd(0, 1, 2); break;
  case sud: _tile_dpbsud(0, 1, 2); break;
  case usd: _tile_dpbusd(0, 1, 2); break;
  default: _tile_dpbuud(0, 1, 2);
  }
  _tile_stored(0, out, 64);
  _tile_release();
}

/* TDPBF16PS: the even and the odd halves of pairs are summed apart over all of k, then added, then added to what was there. */
static float model_bf16(const tiles *t, int m, int n) {
  float even = 0, odd = 0;
  for (int k = 0; k < t->k; k++) {
    uint32_t a = t->a[m][k], b = t->b[k][n];
    even = fma_flushed(wide((uint16_t)a), wide((uint16_t)b), even);
    odd = fma_flushed(wide((uint16_t)(a >> 16)), wide((uint16_t)(b >> 16)), odd);
  }
  return add_flushed(f32(t->c[m][n]), add_flushed(even, odd));
}

static uint32_t model_int8(const tiles *t, int op, int m, int n) {
  uint32_t s = t->c[m][n];
  for (int k = 0; k < t->k; k++)
    for (int j = 0; j < 32; j += 8) {
      uint8_t a = (uint8_t)(t->a[m][k] >> j), b = (uint8_t)(t->b[k][n] >> j);
      int x = op == ssd || op == sud ? (int8_t)a : a, y = op == ssd || op == usd ? (int8_t)b : b;
      s += (uint32_t)(x * y);
    }
  return s;
}

static void tile_products(void) {
  for (int op = 0; op < ops; op++) {
    int bad = 0;
    for (int round = 0; round < 200; round++) {
      tiles t = random_tiles(round % 2);
      uint32_t out[16][16];
      memset(out, 0xa5, sizeof out);
      by_tiles(&t, op, out);
      for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
          if (m >= t.m || n >= t.n) bad += out[m][n] != 0xa5a5a5a5;
          else bad += op == bf16 ? !same(f32(out[m][n]), model_bf16(&t, m, n)) : out[m][n] != model_int8(&t, op, m, n);
        }
    }
    check(names[op], bad);
  }
}

AMX static void tile_memory(void) {
  config c = {.palette = 1, .bytes = {64, 12}, .rows = {16, 5}}, seen = {0};
  uint8_t in[2048], out[2048];
  int bad = 0;
  for (int i = 0; i < 2048; i++) in[i] = (uint8_t)bits(), out[i] = 0;
  configure(&c);
  configured(&seen);
  bad += memcmp(&c, &seen, sizeof c) != 0;
  _tile_loadd(1, in, 40);
  _tile_stored(1, out, 24);
  for (int i = 0; i < 5; i++) bad += memcmp(in + 40 * i, out + 24 * i, 12) != 0;
  _tile_stream_loadd(0, in, 128);
  _tile_zero(1);
  _tile_stored(0, out, 64);
  for (int i = 0; i < 16; i++) bad += memcmp(in + 128 * i, out + 64 * i, 64) != 0;
  _tile_stored(1, out, 12);
  for (int i = 0; i < 60; i++) bad += out[i] != 0;
  _tile_release();
  check("tile memory", bad);
}

static uint32_t cpuid(uint32_t leaf, uint32_t sub, int reg) {
  uint32_t r[4] = {0};
  __get_cpuid_count(leaf, sub, &r[0], &r[1], &r[2], &r[3]);
  return r[reg];
}

/* Linux gives tile data (component 18 of the extended state) to a process that asks for it. */
static int tiles_permitted(void) {
  enum { get = 0x1022, request = 0x1023, tile_data = 18 };
  uint64_t have = 0;
  return syscall(SYS_arch_prctl, request, tile_data) == 0 && syscall(SYS_arch_prctl, get, &have) == 0 && have >> tile_data & 1;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  uint32_t d7 = cpuid(7, 0, 3), lo = 0, hi;
  int osxsave = cpuid(1, 0, 2) >> 27 & 1;
  if (osxsave) __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  int zmm = (lo & 0xe6) == 0xe6, vnni = cpuid(7, 0, 2) >> 11 & 1, half = cpuid(7, 1, 0) >> 5 & 1;
  int tile = (lo >> 17 & 3) == 3 && d7 >> 24 & 1, tile_bf16 = d7 >> 22 & 1, tile_int8 = d7 >> 25 & 1;
  printf("xcr0 %#x, avx512_vnni %d, avx512_bf16 %d, amx_tile %d, amx_bf16 %d, amx_int8 %d\n", lo, vnni, half, tile, tile_bf16, tile_int8);
  if (!zmm || !vnni || !half || !tile || !tile_bf16 || !tile_int8) {
    puts("this CPU lacks what is to be tested");
    return 3;
  }
  printf("tiles of %u bytes, rows of %u bytes, %u tiles of %u rows\n", cpuid(29, 1, 0) >> 16, cpuid(29, 1, 1) & 0xffff, cpuid(29, 1, 1) >> 16,
         cpuid(29, 1, 2) & 0xffff);
  vector_bf16();
  vector_int8();
  if (!tiles_permitted()) {
    puts("no permission for tile data");
    return 4;
  }
  tile_memory();
  tile_products();
  return failures != 0;
}
