// wide.cu: more than a few rows of x of 16 bits: cuBLASLt where it is and takes the case, else gemm.cu. Weights of other formats are written out in
// x's first, some rows at a time into c->work; at this many rows that costs less than the product.
#include "lanes.cuh"
#include "matmul.cuh"

enum { piece_bytes = 32 << 20 }; // written out at once: what the second cache of large devices holds until the product reads it

// One product of x with w in its format. What is chosen depends on formats, shapes of w and alignment, not on M.
static sx_status product(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  if (c->blas && (out.dtype == x.dtype || out.dtype == SX_F32)) {
    const sx_status s = blas_matmul(c, out, x, w, d_bias);
    if (s != SX_UNSUPPORTED) return s;
  }
  return gemm(c, out, x, w, d_bias);
}

static cu_mat columns(const cu_mat &m, int64_t from, int64_t n) {
  cu_mat r = m;
  r.p = (uint8_t *)m.p + bytes_of_values(m.dtype, from);
  r.cols = n;
  return r;
}

// Pieces of a multiple of 256 rows, as many as fit: by the sizes of w and of the scratch alone. blas_matmul and gemm use none of it.
static sx_status by_pieces(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  const int64_t row_bytes = 2 * w->cols;
  int64_t most = (c->work_bytes < piece_bytes ? c->work_bytes : (int64_t)piece_bytes) / row_bytes;
  if (most > 256) most = most / 256 * 256;
  if (most < 1) return cu_matmul_simt(c, out, x, w, d_bias);
  cu_weight piece = *w;
  piece.data = c->work;
  piece.dtype = x.dtype;
  piece.group = 0;
  piece.scales = piece.zeros = NULL;
  for (int64_t n = 0; n < w->rows; n += most) {
    piece.rows = w->rows - n < most ? w->rows - n : most;
    CU_CHECK(cu_write_out(c, c->work, x.dtype, w, n, piece.rows));
    CU_CHECK(product(c, columns(out, n, piece.rows), x, &piece, d_bias ? d_bias + n : NULL));
  }
  return SX_OK;
}

static bool takes(const cu_mat &x, const cu_weight &w) {
  if (x.dtype == SX_F32 || w.cols == 0 || w.cols % 8 || !rows_aligned(x.p, 2 * x.stride)) return false;
  return w.dtype != x.dtype || rows_aligned(w.data, 2 * w.cols);
}

sx_status cu_matmul_wide(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  if (!takes(x, *w)) return cu_matmul_simt(c, out, x, w, d_bias);
  return w->dtype == x.dtype ? product(c, out, x, w, d_bias) : by_pieces(c, out, x, w, d_bias);
}
