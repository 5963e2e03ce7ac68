// few8.cu: few rows of x, weights of I8 and F8 (few.cuh).
#include "few.cuh"

sx_status few_of_8(cu_ctx *c, const few_args *a) {
  const bool i8 = a->w.dtype == SX_I8;
  if (a->x.dtype == SX_BF16) return i8 ? few_by_rows<bf16, few_i8<bf16>>(c, *a) : few_by_rows<bf16, few_f8<bf16>>(c, *a);
  return i8 ? few_by_rows<f16, few_i8<f16>>(c, *a) : few_by_rows<f16, few_f8<f16>>(c, *a);
}
