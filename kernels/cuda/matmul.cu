// matmul.cu: which kernel multiplies.
//
//   x               w                                   up to CU_FEW rows      more rows
//   f32             any                                 simt                   simt
//   bf16, f16       of x's format                       few                    wide: cuBLASLt, or gemm.cu
//   bf16, f16       I8, F8, I4 of groups of 32 i        few                    wide: written out in x's format, then the same
//   bf16, f16       f32, the other 16 bits, other I4    simt                   wide: the same
//   where a row of x or w does not begin at 16 bytes    simt                   simt (what is written out is aligned: K a multiple of 8 does)
//
// So simt has one order of sums, whatever the rows; few and wide are the two that info tells of. few keeps products exact: codes are multiplied as
// integers. What is written out is rounded to x's format, as kernels.h lets a device do. x of another kind than f32 with f32 sums that simt
// makes is exact, too.
#include "matmul.cuh"

sx_status cu_matmul(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  if (x.rows <= 0 || w->rows <= 0) return SX_OK;
  if (x.dtype == SX_F32 || w->cols == 0) return cu_matmul_simt(c, out, x, w, d_bias);
  return x.rows <= CU_FEW ? cu_matmul_few(c, out, x, w, d_bias) : cu_matmul_wide(c, out, x, w, d_bias);
}
