// checks.cpp: what gcc's -fsanitize=alignment,bounds calls from a kernel: an access that the GPU would refuse, or an index outside of a local
// array, ends the launch with its place in the source.
#include "runner.h"

namespace {

struct place {
  const char *file;
  uint32_t line, column;
};
struct mismatch {
  place at;
  const void *type;
  unsigned char log_align, kind;
};
struct bounds {
  place at;
  const void *array, *index;
};

const char *base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

} // namespace

extern "C" {
void __ubsan_handle_type_mismatch_v1(mismatch *m, uintptr_t p) {
  if (!emu::now) return;
  if (!p) emu::stop("%s:%u: reads or writes at NULL", base(m->at.file), m->at.line);
  emu::stop("misaligned: %s:%u: %p is not aligned to %d", base(m->at.file), m->at.line, (void *)p, 1 << m->log_align);
}
void __ubsan_handle_out_of_bounds(bounds *b, uintptr_t index) {
  if (!emu::now) return;
  emu::stop("out of bounds: %s:%u: index %lld of an array", base(b->at.file), b->at.line, (long long)index);
}
void __ubsan_handle_pointer_overflow(place *, uintptr_t, uintptr_t) {}
}
