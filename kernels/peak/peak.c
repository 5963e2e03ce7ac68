/* peak.c: the loops of peak.h. Each has more sums in hand than the latency of its instruction times the units that do it, so that only
 * their number counts. */
#include "peak.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static volatile float sink;

enum { sums = 12 };

__attribute__((target("avx512f,avx512bf16"))) static double avx512_bf16(int64_t rounds) {
  __m512i ones = _mm512_set1_epi16(0x0080); /* the least normal number: sums of its squares stay 0 */
  __m512bh a = (__m512bh)ones;
  __m512 s[sums];
  for (int i = 0; i < sums; i++) s[i] = _mm512_setzero_ps();
  for (int64_t r = 0; r < rounds; r++)
    for (int i = 0; i < sums; i++) s[i] = _mm512_dpbf16_ps(s[i], a, a);
  for (int i = 1; i < sums; i++) s[0] = _mm512_add_ps(s[0], s[i]);
  sink = _mm512_cvtss_f32(s[0]);
  return 2.0 * 32 * sums * (double)rounds;
}

__attribute__((target("avx512f,avx512vnni"))) static double avx512_int8(int64_t rounds) {
  __m512i a = _mm512_set1_epi8(1), s[sums];
  for (int i = 0; i < sums; i++) s[i] = a;
  for (int64_t r = 0; r < rounds; r++)
    for (int i = 0; i < sums; i++) s[i] = _mm512_dpbusd_epi32(s[i], a, a);
  for (int i = 1; i < sums; i++) s[0] = _mm512_add_epi32(s[0], s[i]);
  sink = (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(s[0]));
  return 2.0 * 64 * sums * (double)rounds;
}

/* Tiles 0 to 3 are sums, 4 and 5 left factors, 6 and 7 right ones: a block of 2 x 2. */
typedef struct tile_config {
  uint8_t palette, start, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_config;

__attribute__((target("amx-tile"))) static void amx_begin(void) {
  tile_config c;
  memset(&c, 0, sizeof c);
  c.palette = 1;
  for (int i = 0; i < 8; i++) {
    c.row_bytes[i] = 64;
    c.rows[i] = 16;
  }
  __asm__ volatile("" : : "r"(&c) : "memory"); /* gcc 12 thinks that only eight bytes of it are read */
  _tile_loadconfig(&c);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
}

__attribute__((target("amx-tile,amx-bf16"))) static double amx_bf16(int64_t rounds) {
  amx_begin();
  for (int64_t r = 0; r < rounds; r++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 2.0 * 4 * 16 * 16 * 32 * (double)rounds;
}

__attribute__((target("amx-tile,amx-int8"))) static double amx_int8(int64_t rounds) {
  amx_begin();
  for (int64_t r = 0; r < rounds; r++) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return 2.0 * 4 * 16 * 16 * 64 * (double)rounds;
}

static int has_avx512_vnni(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }
static int has_avx512_bf16(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"); }

/* Linux gives a process the tiles when it asks. */
static int has_amx(unsigned feature) {
  enum { request = 0x1023, tile_data = 18 };
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (1u << 24)) == 0 || (d & feature) == 0) return 0;
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

static int has_amx_bf16(void) { return has_amx(1u << 22); }
static int has_amx_int8(void) { return has_amx(1u << 25); }

static const struct unit {
  const char *isa, *dtype;
  int (*runs)(void);
  double (*run)(int64_t rounds);
} units[] = {
    {"avx512bf16", "bf16", has_avx512_bf16, avx512_bf16},
    {"amx", "bf16", has_amx_bf16, amx_bf16},
    {"avx512vnni", "int8", has_avx512_vnni, avx512_int8},
    {"amx", "int8", has_amx_int8, amx_int8},
};

int peak_units(void) { return sizeof units / sizeof *units; }
const char *peak_isa(int unit) { return units[unit].isa; }
const char *peak_dtype(int unit) { return units[unit].dtype; }
int peak_runs(int unit) { return units[unit].runs(); }
double peak_run(int unit, int64_t rounds) { return units[unit].run(rounds); }
#else
int peak_units(void) { return 0; }
const char *peak_isa(int unit) { return (void)unit, ""; }
const char *peak_dtype(int unit) { return (void)unit, ""; }
int peak_runs(int unit) { return (void)unit, 0; }
double peak_run(int unit, int64_t rounds) { return (void)unit, (void)rounds, 0; }
#endif
