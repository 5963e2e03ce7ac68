// threads.h: the threads of a block as fibers, and what is known of each access to shared memory.
//
// A thread runs until it waits: at a barrier, or at an operation of its warp. A block without either needs one fiber. Blocks run one after
// another on an OS thread; a few OS threads share the blocks of a launch. All is in one order per OS thread, so that a run can be repeated.
#ifndef SEXTANT_EMU_THREADS_H
#define SEXTANT_EMU_THREADS_H
#include "syntax.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace emu {

enum { warp_size = 32, max_threads = 1024, max_warps = max_threads / warp_size };

// What is known of two bytes of shared memory: the last write, and the reads since. A record is who << 20 | which of the bytes << 18 | when.
// `when` is the number that the thread's warp had got at its last barrier, from one counter of the block: what has a smaller number than
// the block's last barrier, or in the same warp than the warp's, is past.
struct unit {
  uint32_t wrote, read;
};
enum : uint32_t {
  when_bits = 18, when_mask = (1u << when_bits) - 1, when_limit = when_mask - 1, // when_mask itself: a copy in flight, never past
  both_bytes = 3u << 18, who_shift = 20,
  // who: a thread's number, or
  by_warp = 1024,    // several threads of warp who - 1024
  by_block = 1056,   // threads of several warps
  by_atomics = 1057, // several threads, atomically
  in_flight = 2048,  // an asynchronous copy of thread who - 2048
  atomically = 3072, // thread who - 3072, atomically
};

struct copy { // of 16 bytes to shared memory, not yet there
  uint32_t at, group;
  uint8_t bytes[16];
};

struct warp {
  uint32_t since;   // records of this warp before it are past for the warp
  uint32_t many;    // the record of a read by several of its threads since
  bool touched;     // shared memory, since then
  uint8_t parity;   // of the meeting in hand: the cells of the last one are still being read
  int16_t waiting;  // threads at the meeting
  const char *what; // they wait for
  int line;
  alignas(32) uint8_t cells[2][warp_size][32]; // what the lanes hand each other
};

enum state : uint8_t { fresh, running, ready, at_warp, at_block, done };

struct block;
struct thread {
  uint3 index;
  block *of;
  warp *in;
  void *sp;     // of a thread that waits
  void *stack;  // it has; NULL: none
  uint32_t number, lane;
  uint32_t who; // number << 20 | both_bytes
  state is;
  const char *what; // it waits for
  int line;
  uint32_t group; // of asynchronous copies, the one being filled
  std::vector<copy> copies;
};

struct launch;
struct block {
  const launch *of;
  uint3 index;
  dim3 grid, dims;
  int threads, finished, next_fresh, waiting; // waiting: at the block's barrier
  const char *what;                           // they wait for
  int line;
  uint32_t votes, vote_result;                // of __syncthreads_or and its like
  uint8_t *shared;
  uint32_t shared_bytes, clock, since, many; // many: the record of a read by several warps since the block's barrier
  unit *units;
  thread *thread_of;
  warp warps[max_warps];
};

// The thread in hand of this OS thread; NULL outside of kernels.
extern thread_local thread *now __attribute__((tls_model("initial-exec"), visibility("hidden")));

// Ends the launch with words. The kernel, block and thread are put before them.
[[noreturn]] void stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

void block_barrier(const char *what, int line);
uint32_t block_vote(int vote, int line); // the number of threads whose vote is not 0
// Waits for the whole warp. Each lane's cell is what it was when the lane came; good until the lane comes to the next meeting.
void warp_meet(const char *what, int line, void (*last)(warp *) = nullptr); // last: done once, when all are there

void note_read(block *b, unit *u, uint32_t at, uint32_t bytes);
void note_write(block *b, unit *u, uint32_t at, uint32_t bytes);
void note_atomic(block *b, uint32_t at, uint32_t bytes);

// What is usual, for the 8 units of 16 bytes at once: a kernel in a hurry reads and writes so. true: so it was.
#ifdef __AVX2__
inline bool read_16(const unit *u, const thread *t, const block *b) {
  const __m256i mask = _mm256_set1_epi32((int)when_mask), since = _mm256_set1_epi32((int)b->since), many = _mm256_set1_epi32((int)b->many),
                ours = _mm256_set1_epi32((int)t->in->many), mine = _mm256_set1_epi32((int)(t->who | t->in->since));
  __m256i good = _mm256_set1_epi32(-1);
  for (int i = 0; i < 2; i++) {
    const __m256i v = _mm256_loadu_si256((const __m256i *)u + i), old = _mm256_cmpgt_epi32(since, _mm256_and_si256(v, mask));
    const __m256i known = _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi32(v, many), _mm256_cmpeq_epi32(v, ours)), _mm256_cmpeq_epi32(v, mine));
    good = _mm256_and_si256(good, _mm256_blend_epi32(old, known, 0xaa));
  }
  return _mm256_movemask_epi8(good) == -1;
}
inline bool write_16(unit *u, const thread *t, const block *b) {
  const __m256i mask = _mm256_set1_epi32((int)when_mask), since = _mm256_set1_epi32((int)b->since);
  const __m256i mine = _mm256_set1_epi64x(t->who | t->in->since); // wrote; read: 0
  __m256i good = _mm256_set1_epi32(-1);
  for (int i = 0; i < 2; i++) {
    const __m256i v = _mm256_loadu_si256((const __m256i *)u + i), old = _mm256_cmpgt_epi32(since, _mm256_and_si256(v, mask));
    good = _mm256_and_si256(good, _mm256_blend_epi32(_mm256_or_si256(old, _mm256_cmpeq_epi32(v, mine)), old, 0xaa));
  }
  if (_mm256_movemask_epi8(good) != -1) return false;
  for (int i = 0; i < 2; i++) _mm256_storeu_si256((__m256i *)u + i, mine);
  return true;
}
#else
inline bool read_16(const unit *, const thread *, const block *) { return false; }
inline bool write_16(unit *, const thread *, const block *) { return false; }
#endif

// Both are for each access to shared memory, so only what is usual is looked at here.
inline void will_read(block *b, uint32_t at, uint32_t bytes) {
  thread *t = now;
  t->in->touched = true;
  if (bytes == 16 && read_16(b->units + at / 2, t, b)) return;
  const uint32_t mine = t->who | t->in->since, since = b->since, many = b->many, ours = t->in->many;
  for (unit *u = b->units + at / 2, *end = b->units + (at + bytes + 1) / 2; u < end; u++) {
    if ((u->wrote & when_mask) < since && (u->read == many || u->read == ours || u->read == mine)) continue;
    note_read(b, u, at, bytes);
  }
}
inline void will_write(block *b, uint32_t at, uint32_t bytes) {
  thread *t = now;
  t->in->touched = true;
  if (bytes == 16 && write_16(b->units + at / 2, t, b)) return;
  const uint32_t mine = t->who | t->in->since, since = b->since;
  for (unit *u = b->units + at / 2, *end = b->units + (at + bytes + 1) / 2; u < end; u++) {
    if (bytes > 1 && ((u->wrote & when_mask) < since || u->wrote == mine) && (u->read & when_mask) < since) u->wrote = mine, u->read = 0;
    else note_write(b, u, at, bytes);
  }
}

[[noreturn]] void stop_bounds(int64_t i, int64_t bytes, int count, int size);
[[noreturn]] void stop_array(int byte_offset, int64_t count, int size);
[[noreturn]] void stop_aligned(int64_t i, uint32_t at, int size);
void copy_start(uint32_t at, const void *from, bool valid);
void copy_close();
void copy_await(uint32_t groups);

} // namespace emu

#define threadIdx (emu::now->index)
#define blockIdx (emu::now->of->index)
#define blockDim (emu::now->of->dims)
#define gridDim (emu::now->of->grid)
enum { warpSize = 32 };

inline void __syncthreads(int line = __builtin_LINE()) { emu::block_barrier("__syncthreads", line); }
inline int __syncthreads_count(int v, int line = __builtin_LINE()) { return (int)emu::block_vote(v, line); }
inline int __syncthreads_or(int v, int line = __builtin_LINE()) { return emu::block_vote(v, line) != 0; }
inline int __syncthreads_and(int v, int line = __builtin_LINE()) { return emu::block_vote(!v, line) == 0; }
inline void warp_barrier(int line = __builtin_LINE()) { emu::warp_meet("warp_barrier", line); }

#endif
