// blas_emu.cpp: blas.cu's place in the emulated library, since cuBLASLt runs on a GPU alone. Plain loops with f32 sums in the order of K, for the
// formats that cuBLASLt has, a bias rounded to out's format; as a kernel, so that it is recorded and fails as launches do.
#include <stdlib.h>
#include <string.h>

#include "../device.cuh"

struct cu_blas {
  int unused;
};

sx_status blas_open(cu_ctx *c) {
  const char *named = getenv("SEXTANT_CUBLASLT");
  if (named && strcmp(named, "none") == 0) {
    snprintf(c->blas_text, sizeof c->blas_text, "no cuBLASLt: switched off");
    return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
  }
  c->blas = (cu_blas *)calloc(1, sizeof *c->blas);
  if (!c->blas) return cu_fail(c, SX_NOMEM, "the host has no memory for cuBLASLt");
  snprintf(c->blas_text, sizeof c->blas_text, "cuBLASLt emulated");
  return SX_OK;
}

void blas_close(cu_ctx *c) {
  free(c->blas);
  c->blas = NULL;
}

// A thread makes one output; T the format of x and w, O that of out.
template <class T, class O> __global__ void blas_kernel(cu_mat out, cu_mat x, cu_weight w, const float *bias) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, m = i / out.cols, n = i % out.cols;
  if (m >= out.rows) return;
  const T *a = (const T *)x.p + m * x.stride, *b = (const T *)w.data + n * w.cols;
  float sum = 0;
  for (int64_t k = 0; k < w.cols; k++) sum += to_f32(a[k]) * to_f32(b[k]);
  if (bias) sum += to_f32(from_f32<O>(bias[n]));
  ((O *)out.p)[m * out.stride + n] = from_f32<O>(sum);
}

template <class T, class O> static sx_status blas_run(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  int64_t blocks = (out.rows * out.cols + 127) / 128;
  return SX_LAUNCH(c, (blas_kernel<T, O>), (unsigned)blocks, 128, 0, out, x, *w, d_bias);
}

sx_status blas_matmul(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  if (!c->blas) return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
  if (out.rows == 0 || out.cols == 0) return SX_OK;
  if (x.cols > 0 && x.dtype == w->dtype) {
    if (x.dtype == SX_F32 && out.dtype == SX_F32) return blas_run<float, float>(c, out, x, w, d_bias);
    if (x.dtype == SX_BF16 && out.dtype == SX_F32) return blas_run<bf16, float>(c, out, x, w, d_bias);
    if (x.dtype == SX_BF16 && out.dtype == SX_BF16) return blas_run<bf16, bf16>(c, out, x, w, d_bias);
    if (x.dtype == SX_F16 && out.dtype == SX_F32) return blas_run<f16, float>(c, out, x, w, d_bias);
    if (x.dtype == SX_F16 && out.dtype == SX_F16) return blas_run<f16, f16>(c, out, x, w, d_bias);
  }
  return cu_fail(c, SX_UNSUPPORTED, "cuBLASLt has no product of x of dtype %d and a weight [%lld, %lld] of dtype %d to dtype %d", x.dtype,
                 (long long)w->rows, (long long)w->cols, w->dtype, out.dtype);
}
