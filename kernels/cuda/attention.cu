// attention.cu: which kernels a call of attention goes to. What decides a row's bits (exact.cu or tensor cores) is chosen by formats, sizes of
// heads and the scale alone. prefill.cu and decode.cu give equal bits, so what is chosen between them is a matter of time only.
#include "attention.cuh"

// The kernels on tensor cores: q and cache of one format of 16 bits. A negative scale would turn greatest scores into least ones.
static bool on_tiles(const cu_ctx *c, const cu_mat &q, const cu_kv *kv, const sx_attention_desc *a) {
  int d = kv->head_dim;
  return q.dtype == kv->dtype && kv->dtype != SX_F32 && (d == 64 || d == 80 || d == 96 || d == 128 || d == 256) && a->scale > 0 &&
         a->scale <= FLT_MAX && c->shared_limit >= 99 * 1024;
}

// Blocks of positions that the sequences [s0, s1) with new tokens have in common before these.
static int64_t shared_blocks(const cu_batch *b, int page_size, int s0, int s1) {
  int lead = -1, same = 0;
  for (int s = s0; s < s1; s++) {
    int n = b->host_q_start[s + 1] - b->host_q_start[s], pages = (b->host_kv_len[s] - n) / page_size, i = 0;
    if (n == 0) continue;
    if (lead < 0) {
      lead = s;
      same = pages;
      continue;
    }
    const int32_t *x = b->host_pages + (int64_t)lead * b->max_pages, *y = b->host_pages + (int64_t)s * b->max_pages;
    while (i < same && i < pages && x[i] == y[i]) i++;
    same = i;
  }
  return (int64_t)same * page_size / att_block;
}

// How many sequences prefill.cu shall stack in a tile of `rows` rows, so that pages they share are attended once; 1: it is not worth it.
// A tile's blocks cost the same however many rows are in it.
static int span_of(const cu_ctx *c, const cu_batch *b, int group, int page_size, int kv_heads, int rows) {
  int64_t each = (int64_t)b->longest_new * group, stacked = 0, alone = 0;
  if (c->recording || b->seqs < 2 || each * 2 > rows || b->longest - b->longest_new < att_block || !b->host_pages) return 1;
  int span = (int)(rows / each), groups = (b->seqs + span - 1) / span;
  if ((int64_t)groups * kv_heads < c->sms / 2) return 1; // too few tiles to keep the device busy
  for (int s0 = 0; s0 < b->seqs; s0 += span) {
    int s1 = s0 + span < b->seqs ? s0 + span : b->seqs;
    int64_t shared = shared_blocks(b, page_size, s0, s1), own = 0;
    for (int s = s0; s < s1; s++) {
      int64_t blocks = (b->host_kv_len[s] + att_block - 1) / att_block;
      alone += blocks;
      own += blocks - shared;
    }
    stacked += shared + own;
  }
  return stacked * 2 <= alone ? span : 1;
}

sx_status cu_attention(cu_ctx *c, cu_mat out, cu_mat q, const cu_kv *kv, const cu_batch *b, const sx_attention_desc *d) {
  if (b->tokens == 0 || b->seqs == 0) return SX_OK;
  att_args a;
  a.out = out;
  a.q = q;
  a.kv = kv->data + d->layer * kv->layer_bytes;
  a.page_bytes = kv->page_bytes;
  a.v_offset = (int64_t)kv->kv_heads * kv->page_size * kv->head_dim * (kv->dtype == SX_F32 ? 4 : 2);
  a.q_start = b->q_start;
  a.kv_len = b->kv_len;
  a.pages = b->pages;
  a.seq_of = b->seq_of;
  a.seqs = b->seqs;
  a.max_pages = b->max_pages;
  a.page_size = kv->page_size;
  a.kv_heads = kv->kv_heads;
  a.group = d->heads / kv->kv_heads;
  a.head_dim = kv->head_dim;
  a.window = d->window > 0 ? d->window : 0;
  a.scale = d->scale * 1.44269504f;
  a.work = (float *)c->work;
  if (!on_tiles(c, q, kv, d)) return att_exact(c, a, kv, b);
  int span = span_of(c, b, a.group, kv->page_size, kv->kv_heads, kv->head_dim > 128 ? 64 : 128);
  bool few = b->longest_new == 1 || (int64_t)b->longest_new * a.group <= 16;
  if (span == 1 && few && att_cut_of(c, a, b).seqs > 0) return att_decode(c, a, kv, b);
  return att_prefill(c, a, kv, b, span);
}
