// memory.cu: memory of the device, and copies to it and from it.
//
// Allocations come from the device's memory pool (cudaMallocAsync), which keeps all that was given back until the device is closed: the arena. The
// driver's pool rather than one of our own, because it joins scattered pages behind one address range, so that what was freed in small pieces
// serves a large one; because compute-sanitizer sees the bounds of each allocation; and because a failed allocation leaves it as it was. What the
// pool holds unused counts as free. Where the driver has no pools (some virtual GPUs), cudaMalloc.
//
// c->work is fixed when the device is opened, for recorded graphs hold its address: 256 MiB, so that a layer's weights of fewer bits can be written
// out for cuBLASLt in few pieces (the fused gate and up of Llama-3-8B in bf16: 224 MiB) and logits taken in pieces of 500 rows and more (128k
// tokens); on devices of less than 16 GiB a 64th of the memory.
//
// Copies from the host pass through a ring of pinned memory: the caller's array is read before the call returns, the device copies when its stream
// comes to it, and the two overlap. Pieces of 8 MiB: a large copy (weights from a mapped file) keeps both sides at work, and several threads fill a
// piece, because one does not read a mapped file as fast as the bus takes it.
#include <stdlib.h>
#include <string.h>

#include "rt.h"

enum { LARGE_DEVICE_GIB = 16 };

static void *pinned(cu_ctx *c, int64_t bytes) {
  void *p = NULL;
  cudaError_t e = cudaHostAlloc(&p, (size_t)bytes, cudaHostAllocDefault);
  if (e == cudaSuccess) return p;
  rt_failed(c, e, "taking %lld MiB of pinned host memory", (long long)(bytes >> 20));
  return NULL;
}

sx_status rt_memory_open(cu_ctx *c) {
  cu_rt *rt = c->rt;
  size_t free_bytes = 0, total = 0;
  RT_CHECK(c, cudaMemGetInfo(&free_bytes, &total), "asking for the memory of %s", rt->name);
  if (rt->pools) {
    unsigned long long all = ~0ull;
    RT_CHECK(c, cudaDeviceGetDefaultMemPool(&rt->pool, c->ordinal), "taking the memory pool");
    RT_CHECK(c, cudaMemPoolSetAttribute(rt->pool, cudaMemPoolAttrReleaseThreshold, &all), "taking the memory pool");
  }
  rt->ring.data = (uint8_t *)pinned(c, rt_ring::BYTES);
  if (!rt->ring.data) return SX_NOMEM;
  for (int i = 0; i < rt_ring::PIECES; i++)
    RT_CHECK(c, cudaEventCreateWithFlags(&rt->ring.piece[i].done, cudaEventDisableTiming), "making an event");
  rt->total = (int64_t)total;
  int64_t small = (int64_t)(total / 64) & ~(int64_t)((1 << 20) - 1);
  c->work_bytes = total >= (size_t)LARGE_DEVICE_GIB << 30 ? 256 << 20 : small > 16 << 20 ? small : 16 << 20;
  CU_CHECK(rt_alloc(c, c->work_bytes, 0, &c->work));
  rt->reserve = c->work_bytes;
  return SX_OK;
}

void rt_memory_close(cu_ctx *c) {
  cu_rt *rt = c->rt;
  rt_free_late(c);
  free(rt->late);
  rt_crew_free(rt->crew);
  rt_free(c, c->work);
  cudaStreamSynchronize(rt->own);
  if (rt->pool) cudaMemPoolTrimTo(rt->pool, 0);
  for (int i = 0; i < rt_ring::PIECES; i++)
    if (rt->ring.piece[i].done) cudaEventDestroy(rt->ring.piece[i].done);
  if (rt->ring.data) cudaFreeHost(rt->ring.data);
}

void rt_memory(cu_ctx *c, int64_t *total, int64_t *free) {
  cu_rt *rt = c->rt;
  size_t free_bytes = 0, all = 0;
  unsigned long long reserved = 0, used = 0;
  *total = *free = 0;
  if (cudaMemGetInfo(&free_bytes, &all) == cudaSuccess) {
    *total = (int64_t)all;
    *free = (int64_t)free_bytes - rt->reserve;
    if (rt->pool && cudaMemPoolGetAttribute(rt->pool, cudaMemPoolAttrReservedMemCurrent, &reserved) == cudaSuccess &&
        cudaMemPoolGetAttribute(rt->pool, cudaMemPoolAttrUsedMemCurrent, &used) == cudaSuccess)
      *free += (int64_t)(reserved - used);
    if (*free < 0) *free = 0;
  }
  cudaGetLastError();
}

static cudaError_t take(cu_rt *rt, void **p, int64_t bytes, cudaStream_t s) {
  size_t n = bytes > 0 ? (size_t)bytes : 1;
  return rt->pool ? cudaMallocAsync(p, n, s) : cudaMalloc(p, n);
}

static sx_status allocate(cu_ctx *c, void **p, int64_t bytes, cudaStream_t s) {
  cu_rt *rt = c->rt;
  *p = NULL;
  cudaError_t e = bytes > rt->total ? cudaErrorMemoryAllocation : take(rt, p, bytes, s);
  if (e == cudaErrorMemoryAllocation && rt->pool && bytes <= rt->total) { // what the pool holds in pieces may not fit together
    cudaGetLastError();
    cudaDeviceSynchronize();
    cudaMemPoolTrimTo(rt->pool, 0);
    e = take(rt, p, bytes, s);
  }
  if (e == cudaErrorMemoryAllocation) {
    int64_t total, free;
    cudaGetLastError(); // or the next launch would be told of it
    rt_memory(c, &total, &free);
    return cu_fail(c, SX_NOMEM, "%lld MiB are wanted, %lld of the device's %lld MiB are free", (long long)((bytes + (1 << 20) - 1) >> 20),
                   (long long)(free >> 20), (long long)(total >> 20));
  }
  RT_CHECK(c, e, "allocating %lld bytes", (long long)bytes);
  return SX_OK;
}

static void give_back(cu_rt *rt, void *p, cudaStream_t s) {
  if (rt->pool)
    cudaFreeAsync(p, s);
  else
    cudaFree(p);
  cudaGetLastError();
}

sx_status rt_alloc(cu_ctx *c, int64_t bytes, int zero, void **out) {
  cu_rt *rt = c->rt;
  *out = NULL;
  if (bytes < 0 || bytes > INT64_MAX / 2) return cu_fail(c, SX_NOMEM, "%lld bytes are wanted", (long long)bytes);
  RT_CHECK(c, cudaSetDevice(c->ordinal), "taking device %d", c->ordinal);
  void *p;
  CU_CHECK(allocate(c, &p, bytes, rt->own));
  cudaError_t e = zero ? cudaMemsetAsync(p, 0, bytes > 0 ? (size_t)bytes : 1, rt->own) : cudaSuccess;
  if (e == cudaSuccess) e = cudaStreamSynchronize(rt->own); // any stream may use it from now on
  if (e != cudaSuccess) {
    give_back(rt, p, rt->own);
    return rt_failed(c, e, "allocating %lld bytes", (long long)bytes);
  }
  *out = p;
  return SX_OK;
}

// Keeps p until the recording is over: what gives it back would become a part of it.
static void free_later(cu_rt *rt, void *p) {
  if (rt->n_late == rt->room_late) {
    int room = rt->room_late ? 2 * rt->room_late : 16;
    void **more = (void **)realloc(rt->late, (size_t)room * sizeof *more);
    if (!more) return; // lost until the device is closed
    rt->late = more;
    rt->room_late = room;
  }
  rt->late[rt->n_late++] = p;
}

void rt_free_late(cu_ctx *c) {
  for (int i = 0; i < c->rt->n_late; i++) rt_free(c, c->rt->late[i]);
  c->rt->n_late = 0;
}

void rt_free(cu_ctx *c, void *p) {
  if (!p) return;
  if (c->recording) {
    free_later(c->rt, p);
    return;
  }
  cudaSetDevice(c->ordinal);
  cudaDeviceSynchronize();
  give_back(c->rt, p, c->rt->own);
}

// Takes back the oldest piece of the ring.
static sx_status take_back(cu_ctx *c) {
  rt_ring *r = &c->rt->ring;
  cudaError_t e = cudaEventSynchronize(r->piece[r->first].done);
  r->first = (r->first + 1) % rt_ring::PIECES;
  r->count--;
  RT_CHECK(c, e, "waiting for a copy");
  return SX_OK;
}

// Whether `bytes` lie free behind head, or at the beginning, where head is then put.
static bool fits(rt_ring *r, int64_t bytes) {
  int64_t tail = r->count ? r->piece[r->first].begin : 0;
  if (r->count == 0) r->head = 0;
  if (r->count == rt_ring::PIECES) return false;
  if (r->count > 0 && r->head <= tail) return tail - r->head >= bytes;
  if (rt_ring::BYTES - r->head >= bytes) return true;
  if (tail < bytes) return false;
  r->head = 0;
  return true;
}

// A piece of the ring, up to PIECE bytes; its event is to be recorded when the copy is given to the stream.
static sx_status next_piece(cu_ctx *c, int64_t bytes, uint8_t **data, cudaEvent_t *done) {
  rt_ring *r = &c->rt->ring;
  while (!fits(r, bytes)) CU_CHECK(take_back(c));
  int at = (r->first + r->count++) % rt_ring::PIECES;
  r->piece[at].begin = r->head;
  r->head += (bytes + 255) & ~(int64_t)255;
  *data = r->data + r->piece[at].begin;
  *done = r->piece[at].done;
  return SX_OK;
}

sx_status rt_put(cu_ctx *c, void *d_dst, const void *src, int64_t bytes) {
  enum { SHARED = 1 << 20 }; // from this size on, several threads read
  cu_rt *rt = c->rt;
  cudaStream_t s = (cudaStream_t)c->stream;
  if (bytes >= SHARED && !rt->crew) rt->crew = rt_crew_new();
  for (int64_t at = 0; at < bytes; at += rt_ring::PIECE) {
    int64_t n = bytes - at < rt_ring::PIECE ? bytes - at : rt_ring::PIECE;
    uint8_t *piece;
    cudaEvent_t done;
    CU_CHECK(next_piece(c, n, &piece, &done));
    if (n >= SHARED && rt->crew)
      rt_crew_copy(rt->crew, piece, (const uint8_t *)src + at, n);
    else
      memcpy(piece, (const uint8_t *)src + at, (size_t)n);
    RT_CHECK(c, cudaMemcpyAsync((uint8_t *)d_dst + at, piece, (size_t)n, cudaMemcpyHostToDevice, s), "copying %lld bytes to the device",
             (long long)n);
    RT_CHECK(c, cudaEventRecord(done, s), "copying %lld bytes to the device", (long long)n);
  }
  return SX_OK;
}

sx_status rt_get(cu_ctx *c, void *dst, const void *d_src, int64_t bytes) {
  cudaStream_t s = (cudaStream_t)c->stream;
  for (int64_t at = 0; at < bytes; at += rt_ring::PIECE) {
    int64_t n = bytes - at < rt_ring::PIECE ? bytes - at : rt_ring::PIECE;
    uint8_t *piece;
    cudaEvent_t done;
    CU_CHECK(next_piece(c, n, &piece, &done));
    RT_CHECK(c, cudaMemcpyAsync(piece, (const uint8_t *)d_src + at, (size_t)n, cudaMemcpyDeviceToHost, s), "copying %lld bytes to the host",
             (long long)n);
    RT_CHECK(c, cudaEventRecord(done, s), "copying %lld bytes to the host", (long long)n);
    CU_CHECK(rt_sync(c));
    memcpy((uint8_t *)dst + at, piece, (size_t)n);
  }
  return SX_OK;
}

// Lets this device read the memory of another, if the machine has a way between them; asked for once. Memory of pools has a leave of its own,
// which holds for what the pool has and will have. Where there is no way, or no leave, the driver brings copies through the host: they are
// slower, not wrong, so that a failure here is none of the copy.
static void reach(cu_ctx *c, int32_t owner) {
  int can = 0;
  uint64_t bit = (uint64_t)1 << (owner & 63);
  if (owner < 64 && c->rt->asked & bit) return;
  c->rt->asked |= bit;
  if (cudaDeviceCanAccessPeer(&can, c->ordinal, owner) == cudaSuccess && can) {
    cudaMemPool_t pool;
    cudaMemAccessDesc leave = {};
    leave.location.type = cudaMemLocationTypeDevice;
    leave.location.id = c->ordinal;
    leave.flags = cudaMemAccessFlagsProtReadWrite;
    if (!c->rt->pool)
      cudaDeviceEnablePeerAccess(owner, 0);
    else if (cudaDeviceGetDefaultMemPool(&pool, owner) == cudaSuccess)
      cudaMemPoolSetAccess(pool, &leave, 1);
  }
  cudaGetLastError(); // or the next launch would be told of it
}

sx_status rt_copy(cu_ctx *c, void *d_dst, int32_t owner, const void *d_src, int64_t bytes) {
  cudaStream_t s = (cudaStream_t)c->stream;
  if (owner != c->ordinal) {
    reach(c, owner);
    RT_CHECK(c, cudaMemcpyPeerAsync(d_dst, c->ordinal, d_src, owner, (size_t)bytes, s), "copying %lld bytes from device %d to device %d",
             (long long)bytes, owner, c->ordinal);
  } else {
    RT_CHECK(c, cudaMemcpyAsync(d_dst, d_src, (size_t)bytes, cudaMemcpyDeviceToDevice, s), "copying %lld bytes on the device", (long long)bytes);
  }
  return rt_sync(c);
}

sx_status rt_block_put(cu_ctx *c, rt_block *b, const void *src, int64_t bytes) {
  cudaStream_t s = (cudaStream_t)c->stream;
  if (!b->p) {
    cudaEvent_t e = NULL;
    RT_CHECK(c, cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "making an event");
    b->written = e;
    CU_CHECK(allocate(c, &b->p, bytes, s));
  } else {
    CU_CHECK(rt_begin(c, s, 1)); // launches that read what was there come before
  }
  CU_CHECK(rt_put(c, b->p, src, bytes));
  RT_CHECK(c, cudaEventRecord((cudaEvent_t)b->written, s), "copying a batch to the device");
  b->stream = c->stream;
  return SX_OK;
}

sx_status rt_block_wait(cu_ctx *c, const rt_block *b) {
  if (!b->p || b->stream == c->stream || c->recording) return SX_OK; // what replays a recording waits
  RT_CHECK(c, cudaStreamWaitEvent((cudaStream_t)c->stream, (cudaEvent_t)b->written, 0), "waiting for a batch");
  return SX_OK;
}

void rt_block_free(cu_ctx *c, rt_block *b) {
  cu_rt *rt = c->rt;
  cudaStream_t s = rt->last ? rt->last : rt->own; // after all launches; and after the write, should none have read it
  cudaSetDevice(c->ordinal);
  if (b->p && c->recording) {
    free_later(rt, b->p);
  } else if (b->p) {
    cudaStreamWaitEvent(s, (cudaEvent_t)b->written, 0);
    give_back(rt, b->p, s);
  }
  if (b->written) cudaEventDestroy((cudaEvent_t)b->written);
  cudaGetLastError();
  b->p = b->stream = b->written = NULL;
}
