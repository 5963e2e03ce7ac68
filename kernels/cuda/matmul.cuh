// matmul.cuh: what the files of matmul know of each other.
#ifndef SEXTANT_MATMUL_CUH
#define SEXTANT_MATMUL_CUH
#include "device.cuh"

bool few_takes(const cu_mat &x, const cu_weight &w); // few.cu: up to CU_FEW rows

// gemm.cu: our own tensor-core product for any number of rows: w in x's format of 16 bits, rows of both aligned to 16 bytes.
sx_status gemm(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias);

#endif
