// blas.cu: matrix products by cuBLASLt, which is opened at run time, so that a machine without it runs our own kernels (and says so).
//
// Looked for: SEXTANT_CUBLASLT (a path; "none" switches it off), else libcublasLt.so.13, .12, .11, none newer than the driver, in the directory of
// this library, by the loader's own rules, in CUDA_HOME/lib64, CUDA_PATH/lib64 and /usr/local/cuda/lib64. The first that opens a handle is taken.
//
// One order of sums. kernels.h promises that a row's result does not depend on the rows beside it, but cuBLASLt chooses its kernel by the number of
// rows. So there is a plan for each (N, K, formats, alignment): the first algorithm of the heuristics for M = 2048 that splits no sum over K
// (no split-K, no reduction) and takes every M of a list; all calls use it, after cublasLtMatmulAlgoCheck for their own M. A tile then adds
// the products of a row in the order of K, wherever in the tile the row is. The heuristics, not a measurement, choose: the same machine gives the
// same scores again. Whether an algorithm keeps that promise only the device can show: the invariance test of the suite, on it.
//
// In cuBLASLt's columns: D[N, M] = (W as [K, N])^T x [K, M], which needs no transposition of anything that we hold. Sums in f32 by CUBLAS_COMPUTE_32F
// (f32 by f32 without TF32). Its bias has the format of D: for D of 16 bits ours is rounded to it first, which changes nothing for checkpoints whose
// biases have that format.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "device.cuh"
#include "rt.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#define BLAS_FUNCTIONS(f)                                                                                                                    \
  f(Create) f(Destroy) f(GetProperty) f(Matmul) f(MatmulDescCreate) f(MatmulDescDestroy) f(MatmulDescSetAttribute) f(MatrixLayoutCreate)      \
  f(MatrixLayoutDestroy) f(MatrixLayoutSetAttribute) f(MatmulPreferenceCreate) f(MatmulPreferenceDestroy) f(MatmulPreferenceSetAttribute)    \
  f(MatmulAlgoGetHeuristic) f(MatmulAlgoCheck) f(MatmulAlgoConfigGetAttribute)

namespace {

enum { REFERENCE_ROWS = 2048, BIAS_BYTES = 2 << 20, FITS = 8, ALGORITHMS = 32 };

struct key {
  int64_t n, k;
  int32_t x, out, align_x, align_w, align_out, bias;
};

struct plan {
  key id;
  bool none; // cuBLASLt has no algorithm for it
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t w, x, out;
  cublasLtMatmulAlgo_t algo;
  int64_t fits[FITS]; // numbers of rows that it was checked for last
  int next;
};

} // namespace

struct cu_blas {
  void *library;
  cublasLtHandle_t handle;
#define FIELD(name) decltype(&cublasLt##name) name;
  BLAS_FUNCTIONS(FIELD)
  uint8_t *bias; // BIAS_BYTES, then the workspace
  size_t workspace_bytes;
  plan *plans;
  int n_plans, room;
};

namespace {

// Opens one library, as far as a handle. Where it cannot, `why` says so.
bool try_library(cu_blas *b, const char *path, char *why, size_t why_bytes) {
  b->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!b->library) {
    snprintf(why, why_bytes, "%s", dlerror());
    return false;
  }
  const char *missing = NULL;
#define FIND(name)                                                               \
  b->name = (decltype(b->name))dlsym(b->library, "cublasLt" #name);              \
  if (!b->name) missing = "cublasLt" #name;
  BLAS_FUNCTIONS(FIND)
  int s = missing ? 0 : (int)b->Create(&b->handle);
  if (!missing && s == 0) return true;
  if (missing)
    snprintf(why, why_bytes, "%s has no %s", path, missing);
  else
    snprintf(why, why_bytes, "%s fails with status %d", path, s);
  dlclose(b->library);
  b->library = NULL;
  cudaGetLastError();
  return false;
}

// The directory of this library; "" when unknown.
void own_directory(char *dir, size_t bytes) {
  Dl_info at;
  dir[0] = 0;
  if (!dladdr((void *)blas_open, &at) || !at.dli_fname || !strrchr(at.dli_fname, '/')) return;
  snprintf(dir, bytes, "%.*s/", (int)(strrchr(at.dli_fname, '/') - at.dli_fname), at.dli_fname);
}

bool find_library(cu_ctx *c, cu_blas *b, char *why, size_t why_bytes) {
  const char *named = getenv("SEXTANT_CUBLASLT"), *home[2] = {getenv("CUDA_HOME"), getenv("CUDA_PATH")};
  char dirs[5][512] = {"", "", "", "", "/usr/local/cuda/lib64/"}, path[600], first[160] = "";
  if (named && named[0]) return try_library(b, named, why, why_bytes);
  own_directory(dirs[0], sizeof dirs[0]);
  for (int i = 0; i < 2; i++)
    if (home[i]) snprintf(dirs[2 + i], sizeof dirs[2 + i], "%.490s/lib64/", home[i]);
  int newest = c->rt->driver / 1000 < 13 ? c->rt->driver / 1000 : 13;
  for (int d = 0; d < 5; d++)
    for (int major = newest; major >= 11 && (d == 1 || dirs[d][0]); major--) {
      snprintf(path, sizeof path, "%.511slibcublasLt.so.%d", dirs[d], major);
      if (try_library(b, path, why, why_bytes)) return true;
      if (strstr(why, "fails with") && !first[0]) snprintf(first, sizeof first, "%.159s", why); // more telling than absence
    }
  snprintf(why, why_bytes, "%s", first[0] ? first : "libcublasLt.so is not found");
  return false;
}

cudaDataType_t type_of(sx_dtype t) {
  return t == SX_F32 ? CUDA_R_32F : t == SX_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

bool has(sx_dtype x, sx_dtype w, sx_dtype out) {
  return x == w && (x == SX_F32 || x == SX_BF16 || x == SX_F16) && (out == SX_F32 || x == out);
}

// The alignment in bytes, up to 16, of every row; the same wherever in a buffer the rows begin.
int32_t alignment(const void *p, int64_t row_bytes) {
  uint64_t bits = (uint64_t)(uintptr_t)p | (uint64_t)row_bytes | 16;
  return (int32_t)(bits & -bits);
}

// A stride of `cols` values or little more, whose alignment is exactly `align`.
int64_t stride_for(int64_t cols, int64_t size, int32_t align) { return (cols * size + 15) / 16 * 16 / size + (align == 16 ? 0 : align / size); }

cublasStatus_t set(const cu_blas *b, cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *value, size_t bytes) {
  return b->MatmulDescSetAttribute(d, a, value, bytes);
}

// Makes x and out M rows high, with these strides.
bool shape(const cu_blas *b, const plan *p, uint64_t m, int64_t x_stride, int64_t out_stride) {
  return b->MatrixLayoutSetAttribute(p->x, CUBLASLT_MATRIX_LAYOUT_COLS, &m, sizeof m) == 0 &&
         b->MatrixLayoutSetAttribute(p->out, CUBLASLT_MATRIX_LAYOUT_COLS, &m, sizeof m) == 0 &&
         b->MatrixLayoutSetAttribute(p->x, CUBLASLT_MATRIX_LAYOUT_LD, &x_stride, sizeof x_stride) == 0 &&
         b->MatrixLayoutSetAttribute(p->out, CUBLASLT_MATRIX_LAYOUT_LD, &out_stride, sizeof out_stride) == 0;
}

bool takes(const cu_blas *b, const plan *p, const cublasLtMatmulAlgo_t *algo) {
  cublasLtMatmulHeuristicResult_t r;
  memset(&r, 0, sizeof r);
  return b->MatmulAlgoCheck(b->handle, p->desc, p->w, p->x, p->out, p->out, algo, &r) == 0 && r.workspaceSize <= b->workspace_bytes;
}

bool one_sum(const cu_blas *b, const cublasLtMatmulAlgo_t *algo) {
  int32_t split = 0;
  uint32_t scheme = 0;
  size_t written;
  return b->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, &written) == 0 &&
         b->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme, &written) == 0 &&
         split >= 0 && split <= 1 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE;
}

// Whether an algorithm takes all numbers of rows that may come.
bool takes_all(const cu_blas *b, const plan *p, const cublasLtMatmulAlgo_t *algo, int64_t x_stride, int64_t out_stride) {
  static const uint64_t rows[] = {CU_FEW + 1, 127, 128, 250, 512, 1023, 4096, 16384, 65537, REFERENCE_ROWS}; // the last: as it was
  for (uint64_t m : rows)
    if (!shape(b, p, m, x_stride, out_stride) || !takes(b, p, algo)) return false;
  return true;
}

bool describe(const cu_blas *b, plan *p, int64_t x_stride, int64_t out_stride) {
  const key &k = p->id;
  cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
  if (b->MatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) != 0 ||
      set(b, p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) != 0)
    return false;
  if (k.bias && (set(b, p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) != 0 ||
                 set(b, p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &b->bias, sizeof b->bias) != 0))
    return false;
  return b->MatrixLayoutCreate(&p->w, type_of(k.x), (uint64_t)k.k, (uint64_t)k.n, k.k) == 0 &&
         b->MatrixLayoutCreate(&p->x, type_of(k.x), (uint64_t)k.k, REFERENCE_ROWS, x_stride) == 0 &&
         b->MatrixLayoutCreate(&p->out, type_of(k.out), (uint64_t)k.n, REFERENCE_ROWS, out_stride) == 0;
}

bool prefer(const cu_blas *b, const key &k, cublasLtMatmulPreference_t pref) {
  uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE, aligned[3] = {(uint32_t)k.align_w, (uint32_t)k.align_x, (uint32_t)k.align_out};
  const struct {
    cublasLtMatmulPreferenceAttributes_t name;
    const void *value;
    size_t bytes;
  } all[] = {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &b->workspace_bytes, sizeof b->workspace_bytes},
             {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none},
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &aligned[0], 4},
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &aligned[1], 4},
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &aligned[2], 4},
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &aligned[2], 4}};
  for (const auto &a : all)
    if (b->MatmulPreferenceSetAttribute(pref, a.name, a.value, a.bytes) != 0) return false;
  return true;
}

// Fills a plan whose key is set; one that cuBLASLt has nothing for says `none`.
void choose(const cu_blas *b, plan *p) {
  cublasLtMatmulHeuristicResult_t found[ALGORITHMS];
  cublasLtMatmulPreference_t pref = NULL;
  int n = 0;
  int64_t x_stride = stride_for(p->id.k, bytes_of_values(p->id.x, 1), p->id.align_x), out_stride = stride_for(p->id.n, bytes_of_values(p->id.out, 1), p->id.align_out);
  p->none = true;
  if (!describe(b, p, x_stride, out_stride) || b->MatmulPreferenceCreate(&pref) != 0) return;
  if (prefer(b, p->id, pref) &&
      b->MatmulAlgoGetHeuristic(b->handle, p->desc, p->w, p->x, p->out, p->out, pref, ALGORITHMS, found, &n) != 0)
    n = 0;
  for (int i = 0; i < n && p->none; i++)
    if (found[i].state == 0 && one_sum(b, &found[i].algo) && takes_all(b, p, &found[i].algo, x_stride, out_stride)) {
      p->algo = found[i].algo;
      p->none = false;
    }
  b->MatmulPreferenceDestroy(pref);
}

sx_status plan_for(cu_ctx *c, const key &k, plan **out) {
  cu_blas *b = c->blas;
  for (int i = 0; i < b->n_plans; i++)
    if (memcmp(&b->plans[i].id, &k, sizeof k) == 0) {
      *out = &b->plans[i];
      return SX_OK;
    }
  if (b->n_plans == b->room) {
    int room = b->room ? 2 * b->room : 32;
    plan *more = (plan *)realloc(b->plans, (size_t)room * sizeof *more);
    if (!more) return cu_fail(c, SX_NOMEM, "the host has no memory for a plan of a matrix product");
    b->plans = more;
    b->room = room;
  }
  *out = &b->plans[b->n_plans++];
  memset(*out, 0, sizeof **out);
  (*out)->id = k;
  choose(b, *out);
  return SX_OK;
}

template <class T> __global__ void round_bias_kernel(T *to, const float *bias, int64_t n) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) to[i] = from_f32<T>(bias[i]);
}

// Sets the bias of a product, in the format that its epilogue takes.
sx_status set_bias(cu_ctx *c, const plan *p, const float *d_bias) {
  cu_blas *b = c->blas;
  const void *bias = d_bias;
  sx_dtype as = p->id.out; // which is what an epilogue takes
  unsigned blocks = (unsigned)((p->id.n + 255) / 256);
  if (as == SX_BF16) CU_CHECK(SX_LAUNCH(c, round_bias_kernel<bf16>, blocks, 256, 0, (bf16 *)b->bias, d_bias, p->id.n));
  if (as == SX_F16) CU_CHECK(SX_LAUNCH(c, round_bias_kernel<f16>, blocks, 256, 0, (f16 *)b->bias, d_bias, p->id.n));
  if (as == SX_F32 && (uintptr_t)d_bias % 16 != 0)
    CU_CHECK(SX_LAUNCH(c, round_bias_kernel<float>, blocks, 256, 0, (float *)b->bias, d_bias, p->id.n));
  if (as != SX_F32 || (uintptr_t)d_bias % 16 != 0) bias = b->bias; // cuBLASLt reads 16 bytes at a time
  int s = set(b, p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
  return s == 0 ? SX_OK : cu_fail(c, SX_DEVICE, "cuBLASLt takes no bias: status %d", s);
}

// Whether the plan's algorithm, chosen for all M, takes this one.
bool fits(const cu_blas *b, plan *p, int64_t m) {
  for (int64_t seen : p->fits)
    if (seen == m) return true;
  if (!takes(b, p, &p->algo)) return false;
  p->fits[p->next++ % FITS] = m;
  return true;
}

} // namespace

sx_status blas_open(cu_ctx *c) {
  char why[160] = "";
  void *memory = NULL;
  const char *named = getenv("SEXTANT_CUBLASLT");
  if (named && strcmp(named, "none") == 0) {
    snprintf(c->blas_text, sizeof c->blas_text, "no cuBLASLt: switched off");
    return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
  }
  cu_blas *b = (cu_blas *)calloc(1, sizeof *b);
  if (!b) return cu_fail(c, SX_NOMEM, "the host has no memory for cuBLASLt");
  if (!find_library(c, b, why, sizeof why)) {
    free(b);
    snprintf(c->blas_text, sizeof c->blas_text, "no cuBLASLt: %.140s", why);
    return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
  }
  c->blas = b;
  b->workspace_bytes = (size_t)(c->cc >= 90 ? 32 : 8) << 20; // what NVIDIA advises
  int v[3] = {0};
  b->GetProperty(MAJOR_VERSION, &v[0]);
  b->GetProperty(MINOR_VERSION, &v[1]);
  b->GetProperty(PATCH_LEVEL, &v[2]);
  snprintf(c->blas_text, sizeof c->blas_text, "cuBLASLt %d.%d.%d", v[0], v[1], v[2]);
  sx_status s = rt_alloc(c, BIAS_BYTES + (int64_t)b->workspace_bytes, 0, &memory);
  if (s != SX_OK) {
    blas_close(c);
    return s;
  }
  b->bias = (uint8_t *)memory;
  return SX_OK;
}

void blas_close(cu_ctx *c) {
  cu_blas *b = c->blas;
  if (!b) return;
  for (int i = 0; i < b->n_plans; i++) {
    plan *p = &b->plans[i];
    if (p->w) b->MatrixLayoutDestroy(p->w);
    if (p->x) b->MatrixLayoutDestroy(p->x);
    if (p->out) b->MatrixLayoutDestroy(p->out);
    if (p->desc) b->MatmulDescDestroy(p->desc);
  }
  free(b->plans);
  b->Destroy(b->handle);
  rt_free(c, b->bias);
  free(b); // the library stays: its kernels are known to the driver
  c->blas = NULL;
}

sx_status blas_matmul(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  cu_blas *b = c->blas;
  plan *p;
  key k;
  const float one = 1, zero = 0;
  if (!b) return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
  if (out.rows == 0 || out.cols == 0) return SX_OK;
  if (x.cols == 0 || !has(x.dtype, w->dtype, out.dtype) || (d_bias && out.cols > BIAS_BYTES / 4))
    return cu_fail(c, SX_UNSUPPORTED, "cuBLASLt has no product of x of dtype %d and a weight [%lld, %lld] of dtype %d to dtype %d", x.dtype,
                   (long long)w->rows, (long long)w->cols, w->dtype, out.dtype);
  memset(&k, 0, sizeof k);
  k.n = w->rows, k.k = w->cols, k.x = x.dtype, k.out = out.dtype, k.bias = d_bias != NULL;
  k.align_x = alignment(x.p, bytes_of_values(x.dtype, x.stride));
  k.align_w = alignment(w->data, bytes_of_values(w->dtype, w->cols));
  k.align_out = alignment(out.p, bytes_of_values(out.dtype, out.stride));
  CU_CHECK(plan_for(c, k, &p));
  if (p->none)
    return cu_fail(c, SX_UNSUPPORTED, "cuBLASLt has no algorithm with one order of sums for a weight [%lld, %lld] of dtype %d", (long long)k.n,
                   (long long)k.k, w->dtype);
  if (!shape(b, p, (uint64_t)out.rows, x.stride, out.stride) || !fits(b, p, out.rows))
    return cu_fail(c, SX_DEVICE, "cuBLASLt's algorithm for a weight [%lld, %lld] of dtype %d refuses %lld rows: SEXTANT_CUBLASLT=none does "
                   "without it", (long long)k.n, (long long)k.k, w->dtype, (long long)out.rows);
  if (d_bias) CU_CHECK(set_bias(c, p, d_bias));
  int s = (int)b->Matmul(b->handle, p->desc, &one, w->data, p->w, x.p, p->x, &zero, out.p, p->out, out.p, p->out, &p->algo, b->bias + BIAS_BYTES,
                         b->workspace_bytes, (cudaStream_t)c->stream);
  sx_status launched = cu_check(c, "cublasLtMatmul");
  return s == 0 ? launched : cu_fail(c, SX_DEVICE, "cuBLASLt fails with status %d for [%lld, %lld] x [%lld, %lld]", s, (long long)out.rows,
                                     (long long)k.k, (long long)k.k, (long long)k.n);
}

#else
// A CUDA tree without cuBLASLt's header.
sx_status blas_open(cu_ctx *c) {
  snprintf(c->blas_text, sizeof c->blas_text, "no cuBLASLt: built without cublasLt.h");
  return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
}

void blas_close(cu_ctx *c) { (void)c; }

sx_status blas_matmul(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  (void)out, (void)x, (void)w, (void)d_bias;
  return cu_fail(c, SX_UNSUPPORTED, "%s", c->blas_text);
}
#endif
