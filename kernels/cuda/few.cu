// few.cu: which kernel of few.cuh takes a call; what none takes is simt.cu's.
#include "few.cuh"
#include "matmul.cuh"

// By formats, shapes and alignment alone.
bool few_takes(const cu_mat &x, const cu_weight &w) {
  if (x.dtype == SX_F32 || w.cols == 0 || w.cols > INT32_MAX) return false;
  if (!rows_aligned(x.p, 2 * x.stride) || !rows_aligned(w.data, bytes_of_values(w.dtype, w.cols))) return false;
  return w.dtype == x.dtype || w.dtype == SX_I8 || w.dtype == SX_F8 || (w.dtype == SX_I4 && w.group % 32 == 0);
}

sx_status cu_matmul_few(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  if (x.rows > CU_FEW || !few_takes(x, *w)) return cu_matmul_simt(c, out, x, w, d_bias);
  few_args a = {out, x, *w, d_bias, lane_width(w->cols), 0, -1};
  if (w->dtype == SX_I4) {
    a.groups = (int32_t)(w->cols / w->group);
    for (int s = 5; s < 31; s++)
      if (w->group == 1 << s) a.shift = s;
  }
  if (w->dtype == SX_I4) return few_of_4(c, &a);
  return w->dtype == x.dtype ? few_of_16(c, &a) : few_of_8(c, &a);
}
