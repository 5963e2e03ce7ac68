// Matrix products on the emulator beside plain sums of doubles, and the same bits for a row in any company: what the table of kernels/*_test.go has
// not: each kernel by itself, lanes of many steps, groups of all sizes with zeros that are no integers, infinities, and gemm.cu in cuBLASLt's place.
#include <random>

#include "emu/tests/values.h"
#include "rt.h"

static char message[512];
static cu_ctx ctx;
static int failures, runs;
static std::mt19937 rng(1);

static float normal() { return std::normal_distribution<float>()(rng); }
static double uniform() { return std::uniform_real_distribution<double>()(rng); }
static void must(sx_status s) {
  if (s == SX_OK) return;
  printf("FAIL %s\n", message);
  exit(1);
}


// A copy of host memory on the device.
struct on_device {
  void *p = nullptr;
  on_device(const void *from, int64_t bytes) {
    must(rt_alloc(&ctx, bytes ? bytes : 1, 1, &p));
    if (bytes) must(rt_put(&ctx, p, from, bytes));
  }
  ~on_device() { rt_free(&ctx, p); }
};

// A random weight on the host, and its twin on the device. fractions: the share of I4's zeros that are no integers.
struct weight {
  std::vector<uint8_t> data;
  std::vector<float> scales, zeros;
  cu_weight host, device;
  std::unique_ptr<on_device> copies[3];

  weight(sx_dtype t, int64_t n, int64_t k, int group, double fractions) : data((size_t)bytes_of_values(t, n * k) + 1) {
    for (int64_t i = 0; i < n * k; i++) {
      if (t <= SX_F16) store(t, data.data(), i, normal());
      else if (t == SX_I4) data[(size_t)i / 2] |= (uint8_t)((rng() & 15) << (i % 2 * 4));
      else data[(size_t)i] = (uint8_t)rng();
      if (t == SX_F8 && (data[(size_t)i] & 127) == 127) data[(size_t)i]--; // no NaN
    }
    const int64_t count = t == SX_I8 || t == SX_F8 ? n : t == SX_I4 ? n * k / group : 0;
    for (int64_t i = 0; i < count; i++) {
      scales.push_back(expf(normal()) / 64);
      zeros.push_back((float)(rng() % 16) + (uniform() < fractions ? (float)uniform() - 0.5f : 0));
    }
    host = {data.data(), scales.data(), zeros.data(), n, k, t, t == SX_I4 ? group : 0};
    const void *from[3] = {data.data(), scales.data(), zeros.data()};
    for (int i = 0; i < 3; i++) copies[i].reset(new on_device(from[i], i ? 4 * count : (int64_t)data.size()));
    device = host;
    device.data = copies[0]->p, device.scales = (float *)copies[1]->p, device.zeros = (float *)copies[2]->p;
  }
  // A value, and what an error in it is measured against: of I4 the code and the zero are summed apart.
  double value(int64_t n, int64_t k, double *size) const {
    double v = weight_at(host, n, k);
    *size = fabs(v);
    if (host.dtype != SX_I4) return v;
    const size_t at = (size_t)(n * host.cols + k), g = at / (size_t)host.group;
    v = ((double)(data[at / 2] >> (k % 2 ? 4 : 0) & 15) - zeros[g]) * scales[g];
    *size = fabs(v) + 2 * fabs((double)scales[g] * zeros[g]);
    return v;
  }
};

typedef sx_status (*multiply)(cu_ctx *, cu_mat, cu_mat, const cu_weight *, const float *);
struct shape {
  const char *name;
  multiply f;
  sx_dtype x, out, w;
  int64_t rows, outputs, inputs;
  int group;
  double fractions;
  bool infinite, rounds; // some of x is infinite or NaN; the kernel may round w to x's format
};

static void fail(const shape &s, const char *format, double a = 0, double b = 0, double c = 0, double d = 0) {
  failures++;
  printf("FAIL %s x%d w%d out%d, %lld x %lld x %lld, group %d: ", s.name, s.x, s.w, s.out, (long long)s.rows, (long long)s.outputs,
         (long long)s.inputs, s.group);
  printf(format, a, b, c, d);
  printf("\n");
}

// `rows` rows of x from `first` on; what lies around the outputs must stay as it was.
static std::vector<float> run(const shape &s, const void *d_x, int64_t stride, const weight &w, const float *d_bias, int64_t first, int64_t rows) {
  const int64_t wide = s.outputs + 3, bytes = bytes_of_values(s.out, (rows + 1) * wide);
  std::vector<uint8_t> host((size_t)bytes, 0x5a);
  on_device out(host.data(), bytes);
  must(s.f(&ctx, {out.p, rows, s.outputs, wide, s.out}, {(uint8_t *)d_x + bytes_of_values(s.x, first * stride), rows, s.inputs, stride, s.x}, &w.device,
           d_bias));
  must(rt_get(&ctx, host.data(), out.p, bytes));
  runs++;
  std::vector<float> values;
  for (int64_t i = 0; i < (rows + 1) * wide; i++) {
    if (i / wide < rows && i % wide < s.outputs) values.push_back(load(s.out, host.data(), i));
    else if (memcmp(host.data() + bytes_of_values(s.out, i), "ZZZZ", (size_t)bytes_of_values(s.out, 1)))
      fail(s, "writes beyond: row %g, column %g", (double)(i / wide), (double)(i % wide));
  }
  return values;
}

static void close_to(const shape &s, const std::vector<uint8_t> &x, int64_t stride, const weight &w, const std::vector<float> &bias,
                     const std::vector<float> &got) {
  double tolerance = 4e-7 * (2 + sqrt((double)s.inputs) / 8);
  if (s.rounds) tolerance += s.x == SX_BF16 ? 0x1p-8 : 0x1p-11;
  const double last = s.out == SX_BF16 ? 0x1p-8 : s.out == SX_F16 ? 0x1p-11 : 0;
  for (int64_t i = 0; i < s.rows * s.outputs; i++) {
    const int64_t m = i / s.outputs, n = i % s.outputs;
    double sum = bias[(size_t)n], size = fabs(sum), of;
    for (int64_t k = 0; k < s.inputs; k++) {
      const double a = load(s.x, x.data(), m * stride + k), b = w.value(n, k, &of);
      sum += a * b;
      size += fabs(a) * of;
    }
    const double limit = tolerance * size + last * (fabs(sum) + fabs(bias[(size_t)n])) + (last > 0 ? 0x1p-23 : 0), v = got[(size_t)i];
    if (s.out == SX_F16 && fabs(sum) > 65000) continue;
    if (std::isfinite(sum) ? fabs(v - sum) <= limit : std::isnan(sum) ? std::isnan(v) : v == sum) continue;
    return fail(s, "value %g is %g, want %g within %g", (double)i, v, sum, limit);
  }
}

// parts: numbers of rows that must give the same bits as all together.
static void check(const shape &s, const std::vector<int> &parts) {
  const weight w(s.w, s.outputs, s.inputs, s.group, s.fractions);
  const int64_t stride = (s.inputs + 7) / 8 * 8 + 8;
  std::vector<uint8_t> x((size_t)bytes_of_values(s.x, s.rows * stride));
  for (int64_t i = 0; i < s.rows * stride; i++) store(s.x, x.data(), i, normal());
  if (s.infinite) store(s.x, x.data(), s.rows / 2 * stride + s.inputs / 3, INFINITY), store(s.x, x.data(), 0, NAN);
  std::vector<float> bias;
  for (int64_t i = 0; i < s.outputs; i++) bias.push_back(normal());
  on_device d_x(x.data(), (int64_t)x.size()), d_bias(bias.data(), 4 * s.outputs);
  const std::vector<float> all = run(s, d_x.p, stride, w, (float *)d_bias.p, 0, s.rows);
  close_to(s, x, stride, w, bias, all);
  for (int part : parts) {
    const int64_t first = (s.rows - part) / 2;
    const std::vector<float> some = run(s, d_x.p, stride, w, (float *)d_bias.p, first, part);
    if (memcmp(some.data(), all.data() + first * s.outputs, some.size() * 4)) fail(s, "%g rows alone have other bits", part);
  }
}

static void few(bool all) {
  const std::vector<int> parts = all ? std::vector<int>{1, 5, 8, 9, 16, 17, 32, 33} : std::vector<int>{1, 9, 33};
  for (sx_dtype x : {SX_BF16, SX_F16})
    for (sx_dtype w : {x, (sx_dtype)SX_I8, (sx_dtype)SX_F8, (sx_dtype)SX_I4}) {
      for (int64_t k : all ? std::vector<int64_t>{32, 512, 1216, 2080} : std::vector<int64_t>{32, 1216})
        for (int group : {32, 64, 128}) {
          if (w != SX_I4 ? group > 32 : k % group != 0) continue;
          check({"few", cu_matmul_few, x, SX_F32, w, 40, 21, k, group, 0, false, false}, parts);
          check({"few", cu_matmul_few, x, x, w, 1, 37, k, group, 0.3, false, false}, {});
          check({"few", cu_matmul_few, x, SX_F32, w, 11, 16, k, group, w == SX_I4 ? 0.1 : 0, true, false}, {1, 3});
        }
      check({"few", cu_matmul_few, x, SX_F32, w, 3, 17, 1152, 384, 0.5, false, false}, {1});
      if (w != SX_I4) check({"few", cu_matmul_few, x, SX_F32, w, 3, 17, 1040, 0, 0, false, false}, {1});
    }
}

static void simt(bool all) {
  int turn = 0;
  for (sx_dtype x : {SX_F32, SX_BF16, SX_F16})
    for (sx_dtype w : {SX_F32, SX_BF16, SX_F16, SX_I8, SX_I4, SX_F8})
      for (int64_t k : {2, 34, 96, 512, 1216, 2080}) {
        if (!all && turn++ % 4) continue;
        const sx_dtype out[3] = {SX_F32, SX_BF16, SX_F16};
        const int group = k % 32 ? 2 : k % 64 ? 32 : 64;
        check({"simt", cu_matmul_simt, x, out[(k + w) % 3], w, 41, k == 512 ? 131 : 19, k, group, 0.5, k == 96, false}, {1, 3, 32});
      }
}

// cuBLASLt's part by our own kernels.
static void gemm(bool all) {
  struct cu_blas *blas = ctx.blas;
  ctx.blas = nullptr;
  for (sx_dtype x : {SX_BF16, SX_F16})
    for (sx_dtype w : {SX_F32, SX_BF16, SX_F16, SX_I8, SX_I4, SX_F8})
      for (int64_t k : {8, 96, 200}) {
        if (k == 200 ? w == SX_I4 : !all && w > SX_F16 && k == 8) continue;
        const sx_dtype out[2] = {SX_F32, x};
        check({"wide", cu_matmul_wide, x, out[(k / 8 + w) % 2], w, 137, k == 96 ? 131 : 19, k, k % 32 ? 8 : 32, 0.5, k == 96, w != x}, {70});
      }
  ctx.blas = blas;
}

int main(int argc, char **argv) {
  const bool all = argc > 1 && strcmp(argv[1], "all") == 0;
  ctx.message = message;
  must(rt_open(&ctx, 0));
  few(all);
  simt(all);
  gemm(all);
  rt_close(&ctx);
  printf("matmul: %d passes, %d failures\n", runs, failures);
  return failures != 0;
}
