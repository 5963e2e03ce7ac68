/* generic.h: the whole generic source and its table, for the builds. The including file sets ISA_NAME, ISA_FEATURES and ISA_TABLE. */
#include "vec.h"

#include "pack.h"
#include "formats.h"
#include "matmul.h"
#include "round.h"
#include "rows.h"
#include "attention.h"
#include "logprob.h"
#include "stats.h"
#include "peak.h"

static void isa_exp(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += lanes) {
    int64_t left = n - i < lanes ? n - i : lanes;
    v16_store_part(x + i, v16_exp(v16_part(x + i, left, 0)), left);
  }
}

#ifdef VEC_FMA
#define ISA_FUSED true
#else
#define ISA_FUSED false
#endif

/* What builds that differ in matmul alone have in common. */
#define ISA_REST                                                                                                                    \
  .fused = ISA_FUSED, .sums_floats = isa_sums_floats, .rmsnorm = isa_rmsnorm, .swiglu = isa_swiglu, .rope_kv = isa_rope_kv,          \
  .attention = isa_attention, .attention_merge = isa_attention_merge, .logprob = isa_logprob, .exp = isa_exp, .colstats = isa_colstats, \
  .hessian_lay = isa_hessian_lay, .hessian = isa_hessian, .round = isa_round, .fma = isa_fma, .fma_flop = fma_flop, .read = isa_read

const isa ISA_TABLE = {
    .name = ISA_NAME, .features = ISA_FEATURES, .tile_rows = TILE_ROWS, .laid_floats = isa_laid_floats, .lay_out = isa_lay_out,
    .matmul = isa_matmul, ISA_REST,
};
