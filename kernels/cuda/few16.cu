// few16.cu: few rows of x, weights of 16 bits in x's format (few.cuh).
#include "few.cuh"

sx_status few_of_16(cu_ctx *c, const few_args *a) {
  return a->x.dtype == SX_BF16 ? few_by_rows<bf16, few_16<bf16>>(c, *a) : few_by_rows<f16, few_16<f16>>(c, *a);
}
