// streams.cpp: streams, events and recordings of the runtime.
#include "streams.h"

#include <atomic>

namespace emu {

static std::atomic<int> recordings; // but for relaxed ones

static emu_stream *of(cudaStream_t s) {
  static emu_stream null;
  return s ? s : &null;
}

bool recording(cudaStream_t s) { return of(s)->recording; }

bool refuse_recording(const char *call) {
  if (!recordings.load()) return false;
  tell(cudaErrorStreamCaptureUnsupported, "%s while a stream is recorded", call);
  return true;
}

cudaError_t give_to(cudaStream_t s, step f) {
  if (!of(s)->recording) return f();
  of(s)->list.push_back(std::move(f));
  return cudaSuccess;
}

// What waits may not be recorded.
static cudaError_t waits(const char *call, cudaStream_t s) {
  if (!recording(s)) return cudaSuccess;
  s->spoiled = true;
  return tell(cudaErrorStreamCaptureUnsupported, "%s on a stream that is recorded", call);
}

static cudaError_t run_all(const std::vector<step> &list) {
  for (const step &f : list) {
    if (cudaError_t e = f()) return e;
  }
  return cudaSuccess;
}

} // namespace emu

using namespace emu;

cudaError_t cudaStreamCreate(cudaStream_t *s) {
  EMU_ENTER("cudaStreamCreate");
  return *s = new emu_stream(), cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
  EMU_ENTER("cudaStreamCreateWithFlags");
  return *s = new emu_stream(), cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  if (!s) return tell(cudaErrorInvalidResourceHandle, "cudaStreamDestroy of no stream");
  if (s->recording && s->strict) recordings--;
  delete s;
  EMU_ENTER("cudaStreamDestroy");
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  EMU_ENTER("cudaStreamSynchronize");
  return waits("cudaStreamSynchronize", s);
}
cudaError_t cudaStreamQuery(cudaStream_t s) {
  EMU_ENTER("cudaStreamQuery");
  return waits("cudaStreamQuery", s);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t e, unsigned) {
  EMU_ENTER("cudaStreamWaitEvent");
  return e ? cudaSuccess : tell(cudaErrorInvalidResourceHandle, "cudaStreamWaitEvent of no event");
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
  EMU_ENTER("cudaEventCreateWithFlags");
  return *e = new emu_event(), cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  EMU_ENTER("cudaEventDestroy");
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  EMU_ENTER("cudaEventRecord");
  if (!e) return tell(cudaErrorInvalidResourceHandle, "cudaEventRecord of no event");
  if (recording(s)) return cudaSuccess;
  clock_gettime(CLOCK_MONOTONIC, &e->when);
  e->recorded = true;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  EMU_ENTER("cudaEventSynchronize");
  return e ? cudaSuccess : tell(cudaErrorInvalidResourceHandle, "cudaEventSynchronize of no event");
}
cudaError_t cudaEventQuery(cudaEvent_t e) {
  EMU_ENTER("cudaEventQuery");
  return e ? cudaSuccess : tell(cudaErrorInvalidResourceHandle, "cudaEventQuery of no event");
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
  EMU_ENTER("cudaEventElapsedTime");
  if (!from || !to || !from->recorded || !to->recorded) return tell(cudaErrorInvalidResourceHandle, "an event that was not recorded");
  *ms = (float)(to->when.tv_sec - from->when.tv_sec) * 1e3f + (float)(to->when.tv_nsec - from->when.tv_nsec) * 1e-6f;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode) {
  EMU_ENTER("cudaStreamBeginCapture");
  if (!s) return tell(cudaErrorStreamCaptureUnsupported, "the null stream cannot be recorded");
  if (s->recording) return tell(cudaErrorInvalidValue, "the stream is recorded already");
  s->recording = true;
  s->spoiled = false;
  s->list.clear();
  s->strict = mode != cudaStreamCaptureModeRelaxed;
  recordings += s->strict;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) {
  *graph = nullptr;
  if (!s || !s->recording) return tell(cudaErrorStreamCaptureUnmatched, "the stream is not recorded");
  s->recording = false;
  recordings -= s->strict;
  std::vector<step> list = std::move(s->list);
  s->list.clear();
  EMU_ENTER("cudaStreamEndCapture");
  if (s->spoiled) return tell(cudaErrorStreamCaptureInvalidated, "something was asked of the stream that cannot be recorded");
  *graph = new emu_graph{std::move(list)};
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status) {
  EMU_ENTER("cudaStreamIsCapturing");
  *status = recording(s) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  *exec = nullptr;
  EMU_ENTER("cudaGraphInstantiate");
  if (!graph) return tell(cudaErrorInvalidResourceHandle, "cudaGraphInstantiate of no graph");
  *exec = new emu_graph_exec{graph->list};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s) {
  EMU_ENTER("cudaGraphLaunch");
  if (!exec) return tell(cudaErrorInvalidResourceHandle, "cudaGraphLaunch of no graph");
  const std::vector<step> &list = exec->list;
  return recording(s) ? tell(cudaErrorStreamCaptureUnsupported, "the emulator does not record graphs in graphs") : run_all(list);
}
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t) {
  EMU_ENTER("cudaGraphUpload");
  return exec ? cudaSuccess : tell(cudaErrorInvalidResourceHandle, "cudaGraphUpload of no graph");
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  EMU_ENTER("cudaGraphDestroy");
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  EMU_ENTER("cudaGraphExecDestroy");
  return cudaSuccess;
}
