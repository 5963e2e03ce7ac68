// Attention on the emulator: beside plain double loops; and bit for bit the same however sequences are cut into passes, whatever is beside them,
// with shared pages stacked or not, in pages of any size; and blind to what a token may not see.
#include <random>
#include <string>

#include "attention.cuh"
#include "emu/tests/values.h"
#include "rt.h"

static char message[512];
static cu_ctx ctx;
static int failures, runs;

struct sequence {
  int past, fresh;
  int like; // a sequence whose leading `same` pages it shares; -1: none
  int same;
};

struct shape {
  sx_dtype q, kv;
  int heads, kv_heads, dim, page, window;
  std::vector<sequence> seqs;
};

static int bytes_of(sx_dtype t) { return (int)bytes_of_values(t, 1); }

// Keys, values and queries of all positions of all sequences, and the cache that holds them. Pages of a sequence lie in a random order.
struct problem {
  shape s;
  int layers = 2, layer = 1, pages = 0, per = 0;
  std::vector<std::vector<float>> q, k, v; // [seq][(position, head, dim)]
  std::vector<int> page_of;                // [seq, per]
  uint8_t *cache = nullptr;
  cu_kv kv = {};

  problem(const shape &of, unsigned seed) : s(of) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    auto fill = [&](int n) {
      std::vector<float> x((size_t)n);
      for (float &f : x) f = normal(rng);
      return x;
    };
    for (const sequence &x : s.seqs) {
      int n = x.past + x.fresh;
      q.push_back(fill(n * s.heads * s.dim));
      k.push_back(fill(n * s.kv_heads * s.dim));
      v.push_back(fill(n * s.kv_heads * s.dim));
      per = std::max(per, (n + s.page - 1) / s.page);
      if (x.like >= 0)
        for (int i = 0; i < x.same * s.page * s.kv_heads * s.dim; i++) k.back()[i] = k[x.like][i], v.back()[i] = v[x.like][i];
    }
    std::vector<int> order;
    for (int i = 0; i < per * (int)s.seqs.size(); i++) order.push_back(i + 1);
    std::shuffle(order.begin(), order.end(), rng);
    for (size_t i = 0; i < s.seqs.size(); i++)
      for (int j = 0; j < per; j++)
        page_of.push_back(j < s.seqs[i].same && s.seqs[i].like >= 0 ? page_of[(size_t)s.seqs[i].like * per + j] : order[i * per + j]);
    pages = (int)order.size() + 2;
    put();
  }
  ~problem() { cudaFree(cache); }

  void put() {
    int size = bytes_of(s.kv);
    int64_t half = (int64_t)s.kv_heads * s.page * s.dim;
    kv.page_bytes = (2 * half * size + 15) / 16 * 16;
    kv.layer_bytes = kv.page_bytes * pages;
    kv.layers = layers, kv.pages = pages, kv.kv_heads = s.kv_heads, kv.page_size = s.page, kv.head_dim = s.dim, kv.dtype = s.kv;
    if (!cache && cudaMalloc((void **)&cache, (size_t)(kv.layer_bytes * layers)) != cudaSuccess) exit(2);
    kv.data = cache;
    for (int64_t i = 0; i < kv.layer_bytes * layers / size; i++) store(s.kv, cache, i, NAN); // whatever is not written
    for (size_t i = 0; i < s.seqs.size(); i++)
      for (int p = 0; p < s.seqs[i].past + s.seqs[i].fresh; p++)
        for (int h = 0; h < s.kv_heads; h++)
          for (int d = 0; d < s.dim; d++) {
            uint8_t *page = cache + layer * kv.layer_bytes + page_of[i * per + p / s.page] * kv.page_bytes;
            int64_t at = ((int64_t)h * s.page + p % s.page) * s.dim + d, from = ((int64_t)p * s.kv_heads + h) * s.dim + d;
            store(s.kv, page, at, k[i][from]);
            store(s.kv, page, half + at, v[i][from]);
          }
  }
  float rounded(sx_dtype t, float x) const {
    float y = 0;
    store(t, &y, 0, x);
    return load(t, &y, 0);
  }
};

struct part { // tokens [from, to) of sequence seq
  int seq, from, to;
};

// One pass: the outputs, row after row, as f32.
static std::vector<float> attend(const problem &p, const std::vector<part> &parts, int recording = 0) {
  const shape &s = p.s;
  std::vector<int32_t> starts{0}, lens, table, seq_of;
  int longest = 0, fresh = 0, width = s.heads * s.dim;
  for (size_t i = 0; i < parts.size(); i++) {
    int n = parts[i].to - parts[i].from;
    starts.push_back(starts.back() + n);
    lens.push_back(parts[i].to);
    for (int j = 0; j < p.per; j++) table.push_back(p.page_of[(size_t)parts[i].seq * p.per + j]);
    for (int j = 0; j < n; j++) seq_of.push_back((int)i);
    longest = std::max(longest, parts[i].to);
    fresh = std::max(fresh, n);
  }
  int tokens = starts.back(), qs = width + 8, os = width + 2;
  std::vector<uint64_t> q((size_t)(tokens * qs + 4) * bytes_of(s.q) / 8 + 2);
  std::vector<uint64_t> out((size_t)(tokens * os + 4) * bytes_of(s.q) / 8 + 2, 0x5555555555555555);
  uint8_t *q0 = (uint8_t *)(((uintptr_t)q.data() + 15) & ~(uintptr_t)15);
  for (size_t i = 0; i < parts.size(); i++)
    for (int t = parts[i].from; t < parts[i].to; t++)
      for (int d = 0; d < width; d++) store(s.q, q0, (int64_t)(starts[i] + t - parts[i].from) * qs + d, p.q[parts[i].seq][(size_t)t * width + d]);
  cu_batch b = {};
  b.q_start = b.host_q_start = starts.data(), b.kv_len = b.host_kv_len = lens.data(), b.pages = b.host_pages = table.data(), b.seq_of = seq_of.data();
  b.seqs = (int)parts.size(), b.max_pages = p.per, b.tokens = tokens, b.longest_new = fresh, b.longest = longest;
  sx_attention_desc d = {p.layer, s.heads, s.window, 0.9f / sqrtf((float)s.dim)};
  ctx.recording = recording;
  runs++;
  sx_status st = cu_attention(&ctx, {out.data(), tokens, width, os, s.q}, {q0, tokens, width, qs, s.q}, &p.kv, &b, &d);
  if (st == SX_OK && cudaDeviceSynchronize() != cudaSuccess) st = cu_check(&ctx, "attention");
  if (st != SX_OK) {
    printf("FAIL %s\n", message);
    exit(1);
  }
  std::vector<float> r;
  for (int t = 0; t < tokens; t++)
    for (int i = 0; i < width; i++) r.push_back(load(s.q, out.data(), (int64_t)t * os + i));
  for (int t = 0; t < tokens; t++)
    for (int i = width; i < os; i++)
      if (memcmp((uint8_t *)out.data() + ((int64_t)t * os + i) * bytes_of(s.q), "UUUU", (size_t)bytes_of(s.q))) {
        printf("FAIL row %d: written behind its end\n", t);
        failures++;
      }
  return r;
}

static std::vector<double> reference(const problem &p, const part &x) {
  const shape &s = p.s;
  std::vector<double> r;
  float scale = 0.9f / sqrtf((float)s.dim);
  for (int t = x.from; t < x.to; t++)
    for (int h = 0; h < s.heads; h++) {
      int kvh = h / (s.heads / s.kv_heads), lo = s.window && t >= s.window ? t - s.window + 1 : 0;
      std::vector<double> w, o((size_t)s.dim);
      double max = -INFINITY, sum = 0;
      for (int j = lo; j <= t; j++) {
        double dot = 0;
        for (int d = 0; d < s.dim; d++)
          dot += (double)p.rounded(s.q, p.q[x.seq][((size_t)t * s.heads + h) * s.dim + d]) *
                 p.rounded(s.kv, p.k[x.seq][((size_t)j * s.kv_heads + kvh) * s.dim + d]);
        w.push_back(dot * scale);
        max = std::max(max, w.back());
      }
      for (int j = lo; j <= t; j++) {
        double e = exp(w[j - lo] - max);
        sum += e;
        for (int d = 0; d < s.dim; d++) o[d] += e * p.rounded(s.kv, p.v[x.seq][((size_t)j * s.kv_heads + kvh) * s.dim + d]);
      }
      for (int d = 0; d < s.dim; d++) r.push_back(o[d] / sum);
    }
  return r;
}

static std::string name_of(const shape &s) {
  char t[128];
  snprintf(t, sizeof t, "q%d kv%d heads %d/%d dim %d page %d window %d, %zu sequences", s.q, s.kv, s.heads, s.kv_heads, s.dim, s.page, s.window,
           s.seqs.size());
  return t;
}

static void same(const std::string &what, const shape &s, const float *got, const float *want, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (memcmp(got + i, want + i, 4) && !(got[i] != got[i] && want[i] != want[i])) {
      printf("FAIL %s: %s: row %zu, value %zu: %a, want %a\n", name_of(s).c_str(), what.c_str(), i / (s.heads * s.dim), i % (s.heads * s.dim),
             got[i], want[i]);
      failures++;
      return;
    }
}

static void close_to(const problem &p, const std::vector<part> &parts, const std::vector<float> &got) {
  double worst = 0, limit = p.s.q == SX_BF16 || p.s.kv == SX_BF16 ? 1.2e-2 : p.s.q == SX_F16 || p.s.kv == SX_F16 ? 2e-3 : 1e-5;
  if (p.s.q == SX_F32) limit = 1e-5;
  size_t at = 0;
  for (const part &x : parts)
    for (double want : reference(p, x)) {
      double e = fabs(got[at++] - want);
      if (!(e <= worst)) worst = e;
    }
  if (!(worst <= limit)) printf("FAIL %s: off by %g, allowed %g\n", name_of(p.s).c_str(), worst, limit), failures++;
  if (getenv("EMU_VERBOSE")) printf("%s: off by %g of %g\n", name_of(p.s).c_str(), worst, limit);
}

// A shape in every way that must make no difference.
static void every_way(const shape &s) {
  problem p(s, 7);
  std::vector<part> whole;
  const int row = s.heads * s.dim;
  for (size_t i = 0; i < s.seqs.size(); i++) whole.push_back({(int)i, s.seqs[i].past, s.seqs[i].past + s.seqs[i].fresh});
  ctx.sms = 64;
  std::vector<float> want = attend(p, whole);
  close_to(p, whole, want);
  ctx.sms = 1; // shared pages are worth it, and thread blocks take many items
  same("one multiprocessor", s, attend(p, whole).data(), want.data(), want.size());
  ctx.sms = 64;
  same("recorded", s, attend(p, whole, 1).data(), want.data(), want.size());
  int64_t work = ctx.work_bytes;
  ctx.work_bytes = 70000;
  same("little scratch", s, attend(p, whole).data(), want.data(), want.size());
  ctx.work_bytes = work;
  size_t at = 0;
  for (const part &x : whole) {
    int n = x.to - x.from;
    for (int cut : {0, 1, n / 3, n - 2, n - 1}) {
      if (cut < 0 || cut >= n) continue;
      std::vector<float> got = attend(p, {{x.seq, x.from + cut, x.to}});
      same("alone, cut at " + std::to_string(x.from + cut), s, got.data(), want.data() + at + (size_t)cut * row, (size_t)(n - cut) * row);
    }
    at += (size_t)n * row;
  }
  std::vector<part> last; // the last tokens together
  std::vector<float> tail;
  at = 0;
  for (const part &x : whole) {
    at += (size_t)(x.to - x.from) * row;
    if (x.to == x.from) continue;
    last.push_back({x.seq, x.to - 1, x.to});
    tail.insert(tail.end(), want.begin() + at - row, want.begin() + at);
  }
  for (int recording = 0; recording < 2; recording++) same("the last ones", s, attend(p, last, recording).data(), tail.data(), tail.size());
  for (int page : {1, 7, 48}) {
    if (s.seqs[0].like >= 0 || s.seqs.back().like >= 0) break;
    shape o = s;
    o.page = page;
    problem other(o, 7);
    other.q = p.q, other.k = p.k, other.v = p.v;
    other.put();
    same("pages of " + std::to_string(page), s, attend(other, whole).data(), want.data(), want.size());
  }
}

// NaN and infinities in values and keys from position 40 on; and before the window.
static void blind(sx_dtype t, int dim) {
  shape s = {t, t, 4, 2, dim, 16, 0, {{0, 70, -1, 0}}};
  for (int window : {0, 9}) {
    s.window = window;
    problem clean(s, 3), dirty(s, 3), early(s, 3);
    const int row = s.heads * dim, width = s.kv_heads * dim;
    std::vector<float> want = attend(clean, {{0, 0, 70}});
    for (int i = 40 * width; i < 70 * width; i++) dirty.k[0][i] = NAN, dirty.v[0][i] = i % 3 ? INFINITY : i % 2 ? -INFINITY : NAN;
    dirty.put();
    std::vector<float> got = attend(dirty, {{0, 0, 70}});
    same("the future shows", s, got.data(), want.data(), (size_t)40 * row);
    for (int i = 40 * row; i < 70 * row; i++)
      if (got[i] == got[i]) {
        printf("FAIL %s: after NaN keys there is %g\n", name_of(s).c_str(), got[i]);
        failures++;
        break;
      }
    // Infinite values with keys that are numbers: what arithmetic makes of them, the same in one pass and one by one.
    problem some(s, 3);
    for (int i = 30 * width; i < 60 * width; i += 37) some.v[0][i] = i % 5 == 0 ? -INFINITY : i % 11 == 0 ? NAN : INFINITY;
    some.put();
    got = attend(some, {{0, 0, 70}});
    for (int i = 25; i < 70; i++) {
      std::vector<float> one = attend(some, {{0, i, i + 1}});
      same("infinite values, token " + std::to_string(i), s, got.data() + (size_t)i * row, one.data(), (size_t)row);
    }
    int infinite = 0;
    for (float f : got) infinite += isinf(f);
    if (!infinite) printf("FAIL no infinite result of infinite values\n"), failures++;
    if (!window) continue;
    for (int i = 0; i < 20 * width; i++) early.k[0][i] = NAN, early.v[0][i] = INFINITY;
    early.put();
    got = attend(early, {{0, 0, 70}});
    const size_t from = (size_t)(20 + window) * row;
    same("before the window shows", s, got.data() + from, want.data() + from, (size_t)70 * row - from);
  }
}

int main(int argc, char **argv) {
  ctx.message = message;
  if (rt_open(&ctx, 0) != SX_OK) {
    printf("FAIL %s\n", message);
    return 2;
  }
  ctx.shared_limit = 99 * 1024; // an L40S's
  const bool all = argc > 1 && std::string(argv[1]) == "all";
  std::vector<sequence> mixed = {{70, 3, -1, 0}, {0, 140, -1, 0}, {3, 1, -1, 0}, {9, 0, -1, 0}, {129, 1, -1, 0}};
  every_way({SX_BF16, SX_BF16, 4, 2, 64, 16, 0, mixed});
  every_way({SX_BF16, SX_BF16, 4, 2, 64, 16, 33, mixed});
  every_way({SX_BF16, SX_BF16, 4, 1, 64, 48, 0, {{0, 600, -1, 0}, {1100, 2, -1, 0}}});
  every_way({SX_BF16, SX_BF16, 4, 1, 64, 48, 550, {{0, 590, -1, 0}, {1100, 3, -1, 0}}});
  // Shared prefixes, whole pages of which are the same: across a chunk, to its end, and in part.
  for (int window : {0, 300})
    for (int pages : {12, 16, 20})
      every_way({SX_BF16, SX_BF16, 2, 1, 64, 32, window,
                 {{650, 3, -1, 0}, {645, 5, 0, pages}, {660, 1, 0, pages}, {700, 4, 0, pages}, {640, 0, -1, 0}, {1030, 2, 0, 20}}});
  every_way({SX_F32, SX_F32, 6, 2, 20, 16, 0, mixed});
  every_way({SX_F32, SX_F32, 6, 2, 130, 16, 50, mixed});
  every_way({SX_F32, SX_BF16, 4, 1, 6, 5, 0, {{0, 600, -1, 0}, {1100, 2, -1, 0}}});
  blind(SX_BF16, 64);
  blind(SX_F32, 20);
  if (all) {
    for (sx_dtype t : {SX_BF16, SX_F16})
      for (int dim : {64, 80, 96, 128, 256}) {
        every_way({t, t, 4, 2, dim, 16, 0, mixed});
        every_way({t, t, 3, 1, dim, 16, 40, {{520, 30, -1, 0}, {490, 40, -1, 0}}});
        blind(t, dim);
      }
    every_way({SX_BF16, SX_BF16, 40, 1, 64, 16, 0, {{10, 3, -1, 0}, {600, 1, -1, 0}}});
    every_way({SX_F16, SX_F16, 4, 2, 20, 16, 0, mixed});
    every_way({SX_F32, SX_F32, 2, 1, 300, 16, 0, mixed});
  }
  rt_close(&ctx);
  printf("attention: %d passes, %d failures\n", runs, failures);
  return failures != 0;
}
