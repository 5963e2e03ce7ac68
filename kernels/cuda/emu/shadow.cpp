// shadow.cpp: who touched which bytes of shared memory, and the copies to it that are in flight.
#include "emu.h"

namespace emu {

static uint32_t who_of(uint32_t record) { return record >> who_shift; }

// The warp that a record is of, -1 where it is of several.
static int warp_of(uint32_t who) {
  if (who < by_warp) return (int)(who / warp_size);
  if (who < by_block) return (int)(who - by_warp);
  return who >= atomically ? (int)((who - atomically) / warp_size) : -1;
}

// Whether all that a record tells of is before what thread t does now.
static bool past(const block *b, uint32_t record, const thread *t) {
  uint32_t when = record & when_mask, who = who_of(record);
  if (when < b->since || who == t->number) return true;
  return warp_of(who) == (int)(t->number / warp_size) && when < t->in->since;
}

static const char *name_of(uint32_t who, char (&text)[64]) {
  if (who == by_block) return "several warps";
  if (who == by_atomics) return "several threads' atomics";
  if (who < by_warp) snprintf(text, sizeof text, "thread %u", who);
  else if (who < by_block) snprintf(text, sizeof text, "several threads of warp %u", who - by_warp);
  else snprintf(text, sizeof text, "an atomic of thread %u", who - atomically);
  return text;
}

[[noreturn]] static void stop_race(const char *now_does, uint32_t at, uint32_t before, const char *did) {
  char text[64];
  const uint32_t who = who_of(before);
  if (who >= in_flight && who < atomically) {
    stop("%s byte %u of shared memory before the asynchronous copy of thread %u to it was waited for", now_does, at, who - in_flight);
  }
  stop("race: %s byte %u of shared memory, %s by %s with no barrier in between", now_does, at, did, name_of(who, text));
}

static uint32_t bytes_mask(uint32_t at, uint32_t bytes) { return bytes > 1 ? both_bytes : 1u << (when_bits + at % 2); }

static uint32_t place_of(const block *b, const unit *u, uint32_t at) {
  uint32_t here = (uint32_t)(u - b->units) * 2;
  return here < at ? at : here;
}

void note_read(block *b, unit *u, uint32_t at, uint32_t bytes) {
  const thread *t = now;
  const uint32_t mask = bytes_mask(at, bytes), mine = (t->who & ~both_bytes) | mask | t->in->since;
  if ((u->wrote & mask) && !past(b, u->wrote, t)) stop_race("reads", place_of(b, u, at), u->wrote, "written");
  const uint32_t last = u->read, who = who_of(last), number = t->number / warp_size;
  if ((last & when_mask) < b->since || who == t->number) {
    u->read = mine;
  } else if (warp_of(who) != (int)number) {
    u->read = b->many;
  } else {
    u->read = (last & when_mask) < t->in->since ? mine : t->in->many;
  }
}

void note_write(block *b, unit *u, uint32_t at, uint32_t bytes) {
  const thread *t = now;
  const uint32_t mask = bytes_mask(at, bytes);
  if ((u->wrote & mask) && !past(b, u->wrote, t)) stop_race("writes", place_of(b, u, at), u->wrote, "written");
  if ((u->read & mask) && !past(b, u->read, t)) stop_race("writes", place_of(b, u, at), u->read, "read");
  u->wrote = (t->who & ~both_bytes) | mask | t->in->since;
  if (mask == both_bytes) u->read = 0;
}

void note_atomic(block *b, uint32_t at, uint32_t bytes) {
  const thread *t = now;
  t->in->touched = true;
  for (unit *u = b->units + at / 2, *end = b->units + (at + bytes + 1) / 2; u < end; u++) {
    const uint32_t who = who_of(u->wrote);
    const bool old = past(b, u->wrote, t), others = who >= atomically || who == by_atomics;
    if (!old && !others) stop_race("adds to", place_of(b, u, at), u->wrote, "written");
    if (!past(b, u->read, t)) stop_race("adds to", place_of(b, u, at), u->read, "read");
    const bool alone = old || who == atomically + t->number;
    u->wrote = (alone ? atomically + t->number : (uint32_t)by_atomics) << who_shift | both_bytes | t->in->since;
    u->read = 0;
  }
}

// The bytes are on their way from here on: what the place holds until they are waited for is garbage, and to touch it is a fault.
void copy_start(uint32_t at, const void *from, bool valid) {
  thread *t = now;
  if (valid && (uintptr_t)from % 16) stop("misaligned: copies 16 bytes from %p", from);
  copy c = {at, t->group, {}};
  if (valid) memcpy(c.bytes, from, sizeof c.bytes);
  block *b = t->of;
  will_write(b, at, 16);
  memset(b->shared + at, 0xff, 16);
  for (unit *u = b->units + at / 2; u < b->units + at / 2 + 8; u++) u->wrote = (in_flight + t->number) << who_shift | both_bytes | when_mask;
  t->copies.push_back(c);
}

void copy_close() { now->group++; }

void copy_await(uint32_t groups) {
  thread *t = now;
  block *b = t->of;
  size_t n = 0; // they lie in the order of their groups; the one still open is none of those that are waited for
  for (; n < t->copies.size() && t->copies[n].group < t->group && t->copies[n].group + groups < t->group; n++) {
    const copy &c = t->copies[n];
    memcpy(b->shared + c.at, c.bytes, sizeof c.bytes);
    t->in->touched = true;
    for (unit *u = b->units + c.at / 2; u < b->units + c.at / 2 + 8; u++) u->wrote = t->who | t->in->since, u->read = 0;
  }
  t->copies.erase(t->copies.begin(), t->copies.begin() + (ptrdiff_t)n);
}

void stop_bounds(int64_t i, int64_t bytes, int count, int size) {
  stop("out of bounds: %lld bytes at element %lld of a shared array of %d elements of %d bytes", (long long)bytes, (long long)i, count, size);
}
void stop_array(int byte_offset, int64_t count, int size) {
  stop("out of bounds: a shared array of %lld elements of %d bytes at byte %d: %s", (long long)count, size, byte_offset,
       byte_offset % 16 ? "not aligned to 16" : "beyond the launch's shared memory");
}
void stop_aligned(int64_t i, uint32_t at, int size) {
  stop("misaligned: %d bytes at element %lld of a shared array, byte %u of shared memory", size, (long long)i, at);
}

} // namespace emu
