/* units.h: the builds that multiply by a processor's units for bf16, on top of a build with vectors of 64 bytes; included behind generic.h.
 * UNIT_MODEL makes the same builds with plain C in the place of the units' instructions, for the tests. */
#include "tiles.h"
#include "pairs.h"

/* A product small enough to lie on the stack, its inputs and outputs not whole steps and panels. */
enum { try_rows = 19, try_outputs = 21, try_inputs = 71, try_panels = 2 };

typedef struct trial {
  float x[try_rows][try_inputs], out[try_rows][try_outputs], laid[try_rows * 96 / 2 * 3];
  uint16_t w[try_outputs][try_inputs];
  _Alignas(64) uint16_t packed[try_panels][(try_inputs + 1) / 2][panel_rows][2];
} trial;

/* Small integers, whose sums are exact in any order; or fractions with all the bits of a float. */
static void make_trial(trial *t, bool whole) {
  uint32_t state = 1;
  memset(t->packed, 0, sizeof t->packed);
  for (int m = 0; m < try_rows; m++)
    for (int k = 0; k < try_inputs; k++) {
      state = state * 1664525 + 1013904223;
      t->x[m][k] = whole ? (float)(int32_t)(state >> 24) - 128 : (float)(int32_t)(state >> 8) * 0x1p-23f - 1;
    }
  for (int n = 0; n < try_outputs; n++)
    for (int k = 0; k < try_inputs; k++) {
      state = state * 1664525 + 1013904223;
      float w = (float)(int32_t)(state >> 25) - 64;
      t->w[n][k] = t->packed[n / panel_rows][k / 2][n % panel_rows][k % 2] = bf16_of_f32(whole ? w : w * 0x1p-6f);
    }
}

/* Whether a build's product is what the arithmetic of its units must give: exact for integers, else within `tolerance` of the sum of
 * absolute products. A processor, or what emulates one, that gets this wrong must not compute. */
static bool unit_works(const isa *b, double tolerance) {
  trial t;
  for (int whole = 0; whole < 2; whole++) {
    make_trial(&t, whole);
    sx_weight w = {.dtype = SX_BF16, .rows = try_outputs, .cols = try_inputs, .packed = (const uint8_t *)t.packed};
    matmul_job j = {.out = {t.out[0], try_rows, try_outputs, try_outputs}, .x = {t.x[0], try_rows, try_inputs, try_inputs}, .w = &w, .laid = t.laid};
    b->lay_out(&j, 0, try_rows, t.laid, NULL);
    b->matmul(&j, (span){0, try_rows, 0, try_panels});
    for (int m = 0; m < try_rows; m++)
      for (int n = 0; n < try_outputs; n++) {
        double want = 0, size = 0;
        for (int k = 0; k < try_inputs; k++) {
          double product = (double)t.x[m][k] * f32_of_bf16(t.w[n][k]);
          want += product;
          size += fabs(product);
        }
        if (!(fabs((double)t.out[m][n] - want) <= (whole ? 0 : tolerance * size))) return false;
      }
  }
  return true;
}

/* Where matmul may be cut between rows, for tiles of both kinds. */
enum { cut_rows = 32 % TILE_ROWS == 0 ? 32 : 96 % TILE_ROWS == 0 ? 96 : 32 * TILE_ROWS };

#define UNIT_BUILD(table, label, what, functions, tolerance)                                                           \
  static bool table##_works(void) { return unit_works(&table, tolerance); }                                            \
  const isa table = {.name = label, .features = what, .tile_rows = cut_rows, .laid_floats = functions##_laid_floats,   \
                     .lay_out = functions##_lay_out, .matmul = functions##_matmul, .works = table##_works, ISA_REST};

#ifdef UNIT_MODEL
UNIT_BUILD(sx_isa_amx_model, "amx-model", "a model of amx bf16, f32 activations", tiles_exact, 0x1p-20)
UNIT_BUILD(sx_isa_amx_bf16_model, "amx-bf16-model", "a model of amx bf16, bf16 activations", tiles_plain, 0x1p-8)
UNIT_BUILD(sx_isa_avx512_bf16_model, "avx512-bf16-model", "a model of avx512 bf16, bf16 activations", pairs, 0x1p-8)
#else
UNIT_BUILD(sx_isa_amx, "amx", "amx bf16 in three parts, " ISA_FEATURES, tiles_exact, 0x1p-20)
UNIT_BUILD(sx_isa_amx_bf16, "amx-bf16", "amx bf16, bf16 activations, " ISA_FEATURES, tiles_plain, 0x1p-8)
UNIT_BUILD(sx_isa_avx512_bf16, "avx512-bf16", "avx512 bf16, bf16 activations, " ISA_FEATURES, pairs, 0x1p-8)
#endif
