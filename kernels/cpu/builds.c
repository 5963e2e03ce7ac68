/* builds.c: the builds of the generic source, which of them this machine runs, and which one a device gets. */
#include "isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }

#ifndef SEXTANT_SANITIZED
static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

static bool has_avx512_bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

/* The processor has tiles and their products of bf16; the system saves them (XCR0); and Linux gives them to a process that asks, for all its
 * threads. */
static bool has_amx(void) {
  enum { osxsave = 1 << 27, tile = 1 << 24, bf16 = 1 << 22, saved = 3 << 17, request = 0x1023, tile_data = 18 };
  unsigned a, b, c, d, low, high;
  if (!has_avx512() || !__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & tile) || !(d & bf16)) return false;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & saved) == saved && syscall(SYS_arch_prctl, request, tile_data) == 0;
}
#endif
#endif

static bool everywhere(void) { return true; }

static const struct choice {
  const isa *isa;
  bool (*runs)(void);
} builds[] = {
#if defined(__x86_64__)
#ifndef SEXTANT_SANITIZED
    {&sx_isa_amx, has_amx},
    {&sx_isa_amx_bf16, has_amx},
    {&sx_isa_avx512_bf16, has_avx512_bf16},
    {&sx_isa_avx512, has_avx512},
#endif
    {&sx_isa_avx2, has_avx2},
    {&sx_isa_wide, has_avx2},
    {&sx_isa_amx_model, has_avx2},
    {&sx_isa_amx_bf16_model, has_avx2},
    {&sx_isa_avx512_bf16_model, has_avx2},
#endif
    {&sx_isa_scalar, everywhere},
};

/* What a device gets when nobody asks for another: the best build among those that do not round activations. */
#if defined(__x86_64__)
#ifdef SEXTANT_SANITIZED
#define BEST "avx2,scalar"
#else
#define BEST "amx,avx512,avx2,scalar"
#endif
#else
#define BEST "scalar"
#endif

static const struct choice *find(const char *name, size_t n) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  for (size_t i = 0; i < sizeof builds / sizeof *builds; i++)
    if (strlen(builds[i].isa->name) == n && memcmp(name, builds[i].isa->name, n) == 0) return &builds[i];
  return NULL;
}

const isa *sx_cpu_build(const char *name) {
  const struct choice *c = find(name, strlen(name));
  return c && c->runs() ? c->isa : NULL;
}

sx_status sx_cpu_choose(sx_device *d, const isa **out, char *note, size_t note_bytes) {
  const char *named = getenv("SEXTANT_CPU_ISA"), *list = named && *named ? named : BEST;
  char why[160] = "";
  *note = 0;
  for (const char *at = list, *end; *at; at = *end ? end + 1 : end) {
    end = at + strcspn(at, ",");
    const struct choice *c = find(at, (size_t)(end - at));
    if (!c)
      return fail(d, SX_INVALID, "SEXTANT_CPU_ISA=%.64s: want amx, amx-bf16, avx512-bf16, avx512, avx2 or scalar, or several of them with commas",
                  list);
    if (!c->runs()) {
      snprintf(why, sizeof why, "this CPU lacks %s", c->isa->features);
      continue;
    }
    if (c->isa->works && !c->isa->works()) {
      snprintf(why, sizeof why, "%s multiplies wrongly here", c->isa->name);
      snprintf(note, note_bytes, "; not %s, which multiplies wrongly here", c->isa->name);
      continue;
    }
    *out = c->isa;
    return SX_OK;
  }
  return fail(d, SX_UNSUPPORTED, "SEXTANT_CPU_ISA=%.64s: %s", list, why);
}

/* For the tests: the exp of a build over n values; 0 when it does not run here. */
int sx_cpu_exp(const char *name, float *x, int64_t n) {
  const isa *build = sx_cpu_build(name);
  if (build) build->exp(x, n);
  return build != NULL;
}
