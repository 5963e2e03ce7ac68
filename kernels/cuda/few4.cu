// few4.cu: few rows of x, weights of I4 (few.cuh).
#include "few.cuh"

template <class T> static sx_status few_by_group(cu_ctx *c, const few_args &a) {
  if (a.w.group % 128 == 0) return few_by_rows<T, few_i4<T, uint4>>(c, a);
  if (a.w.group % 64 == 0) return few_by_rows<T, few_i4<T, uint2>>(c, a);
  return few_by_rows<T, few_i4<T, uint32_t>>(c, a);
}

sx_status few_of_4(cu_ctx *c, const few_args *a) { return a->x.dtype == SX_BF16 ? few_by_group<bf16>(c, *a) : few_by_group<f16>(c, *a); }
