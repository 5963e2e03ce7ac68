/* threads.c: how many threads there are by default, and where they belong. */
#include "threads.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { path_bytes = 4096, text_bytes = 16384 };

/* The file at root and the path that the rest makes, as a string; false when there is none. */
__attribute__((format(printf, 3, 4))) static bool read_text(const char *root, char *text, const char *format, ...) {
  char path[path_bytes], *end = path + snprintf(path, sizeof path, "%s", root);
  va_list args;
  if (end >= path + sizeof path) return false;
  va_start(args, format);
  int n = vsnprintf(end, (size_t)(path + sizeof path - end), format, args);
  va_end(args);
  FILE *f = n >= 0 && n < path + sizeof path - end ? fopen(path, "r") : NULL;
  if (!f) return false;
  size_t got = fread(text, 1, text_bytes - 1, f);
  text[got] = 0;
  fclose(f);
  return true;
}

/* Reads "0-3,8" and gives how many there are; other text gives those before it. */
static int32_t parse_list(const char *text, cpu_set_of *set) {
  int32_t n = 0;
  memset(set, 0, sizeof *set);
  for (char *end; *text >= '0' && *text <= '9'; text = *end == ',' ? end + 1 : end) {
    long from = strtol(text, &end, 10), to = from;
    if (*end == '-') to = strtol(end + 1, &end, 10);
    for (long i = from; i <= to && i < most_cpus; i++) {
      n += !set->has[i];
      set->has[i] = true;
    }
  }
  return n;
}

/* Whether the CPU is the first of its core's in the mask. */
static bool first_of_core(const char *root, const cpu_set_of *mask, int32_t cpu, char *text) {
  static const char *const names[] = {"core_cpus_list", "thread_siblings_list"}; /* the second before Linux 5.3 */
  cpu_set_of core;
  for (int i = 0; i < 2; i++) {
    if (!read_text(root, text, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, names[i])) continue;
    parse_list(text, &core);
    for (int32_t c = 0; c < cpu; c++)
      if (core.has[c] && mask->has[c]) return false;
    return true;
  }
  return true;
}

/* The least of *quota and what the cgroup at the directory and those above it grant. path is cut up on the way. */
static void quota_up(const char *root, const char *at, char *path, bool v1, double *quota) {
  char text[text_bytes];
  for (;;) {
    double granted = 0, period = 0;
    if (v1) {
      if (read_text(root, text, "%s%s/cpu.cfs_quota_us", at, path)) granted = strtod(text, NULL);
      if (read_text(root, text, "%s%s/cpu.cfs_period_us", at, path)) period = strtod(text, NULL);
    } else if (read_text(root, text, "%s%s/cpu.max", at, path)) {
      char *end; /* "max 100000" or "150000 100000" */
      granted = strtod(text, &end);
      period = strtod(end, NULL);
    }
    if (granted > 0 && period > 0 && (*quota == 0 || granted / period < *quota)) *quota = granted / period;
    char *slash = strrchr(path, '/');
    if (!slash) return;
    *slash = 0;
  }
}

static double quota_of(const char *root) {
  char text[text_bytes], path[text_bytes], *save = NULL;
  double quota = 0;
  if (!read_text(root, text, "/proc/self/cgroup")) return 0;
  for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) { /* number:controllers:path */
    char *names = strchr(line, ':'), *where = names ? strchr(names + 1, ':') : NULL, *each = NULL;
    if (!where) continue;
    *where = 0;
    bool v1 = names[1] != 0, counts = !v1;
    char dir[256];
    snprintf(dir, sizeof dir, "/sys/fs/cgroup%s%s", v1 ? "/" : "", names + 1);
    for (char *name = strtok_r(names + 1, ",", &each); name; name = strtok_r(NULL, ",", &each)) counts = counts || strcmp(name, "cpu") == 0;
    if (!counts) continue;
    for (int i = 0; i < 2; i++) { /* where it is mounted: v1 by its controllers' names or by its own, v2 alone or beside v1 */
      snprintf(path, sizeof path, "%s", strcmp(where + 1, "/") == 0 ? "" : where + 1);
      quota_up(root, i == 0 ? dir : v1 ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup/unified", path, v1, &quota);
    }
  }
  return quota;
}

void cores_of(const char *root, const cpu_set_of *mask, cores *out) {
  char text[text_bytes];
  cpu_set_of nodes, here, taken = {{false}}, cores_set = {{false}};
  memset(out, 0, sizeof *out);
  for (int32_t c = 0; c < most_cpus; c++) {
    out->cpus += mask->has[c];
    cores_set.has[c] = mask->has[c] && first_of_core(root, mask, c, text);
  }
  if (read_text(root, text, "/sys/devices/system/cpu/online")) out->machine = parse_list(text, &here);
  if (read_text(root, text, "/sys/devices/system/node/online")) {
    parse_list(text, &nodes);
    for (int32_t n = 0; n < most_cpus && out->nodes < most_nodes - 1; n++) {
      if (!nodes.has[n] || !read_text(root, text, "/sys/devices/system/node/node%d/cpulist", n)) continue;
      int32_t before = out->n;
      parse_list(text, &here);
      for (int32_t c = 0; c < most_cpus; c++) {
        if (!cores_set.has[c] || !here.has[c] || taken.has[c]) continue;
        taken.has[c] = true;
        out->cpu[out->n] = c;
        out->node[out->n++] = out->nodes;
      }
      out->nodes += out->n > before;
    }
  }
  int32_t listed = out->n;
  for (int32_t c = 0; c < most_cpus; c++) { /* those that no node lists */
    if (!cores_set.has[c] || taken.has[c]) continue;
    out->cpu[out->n] = c;
    out->node[out->n++] = out->nodes;
  }
  out->nodes += out->n > listed;
  out->quota = quota_of(root);
}

int32_t cores_threads(const cores *c) {
  int32_t n = c->n > 0 ? c->n : 1;
  if (c->quota > 0 && c->quota < n) n = (int32_t)c->quota + (c->quota > (int32_t)c->quota);
  return n > 0 ? n : 1;
}

void cpu_list(const char *text, cpu_set_of *set) { parse_list(text, set); }

void cores_here(cores *out) {
  cpu_set_of mask = {{false}};
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) { /* the kernel's own set may be larger than ours */
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set) break;
    int rc = sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set), err = errno;
    for (int c = 0; rc == 0 && c < cpus && c < most_cpus; c++) mask.has[c] = CPU_ISSET_S(c, CPU_ALLOC_SIZE(cpus), set);
    CPU_FREE(set);
    if (rc == 0 || err != EINVAL) break;
  }
  cores_of("", &mask, out);
}

bool cores_pinned(const cores *c, pinning how, int32_t threads) {
  if (how != pin_if_given) return how == pin_always && threads <= c->n;
  return threads > 1 && threads == c->n && c->cpus < c->machine;
}

int32_t sx_cpu_threads(void) {
  cores *here = malloc(sizeof *here);
  if (!here) return 1;
  cores_here(here);
  int32_t n = cores_threads(here);
  free(here);
  return n;
}
