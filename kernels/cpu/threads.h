/* threads.h: how many threads there are by default, and the CPUs and memory nodes they belong to. */
#ifndef SEXTANT_THREADS_H
#define SEXTANT_THREADS_H
#include <stdbool.h>
#include <stdint.h>

enum { most_cpus = 8192, most_nodes = 64 };

typedef struct cpu_set_of {
  bool has[most_cpus];
} cpu_set_of;

/* One CPU of each core, as hyperthreads share the multipliers; those of a NUMA node beside one another. */
typedef struct cores {
  int32_t n;              /* cores with a CPU in the mask */
  int32_t cpus, machine;  /* CPUs in the mask; in the machine, 0 when unknown */
  double quota;           /* CPUs that the cgroups grant; 0: no limit */
  int32_t nodes;          /* that have some of the cores */
  int32_t cpu[most_cpus]; /* [n] */
  int32_t node[most_cpus]; /* [n]: from 0, rising */
} cores;

/* Reads /sys and /proc under root, "" but for tests. What cannot be read is taken for the plainest: a core for each CPU, one node, no quota. */
void cores_of(const char *root, const cpu_set_of *mask, cores *out);

void cores_here(cores *out); /* those of this process */
void cpu_list(const char *text, cpu_set_of *set); /* "0-3,8" */
int32_t cores_threads(const cores *); /* by default: one a core, within the quota */

/* Whether so many threads are each given a core of their own: when told to, as far as there are cores; untold, when they are as many as the
 * cores and the process was given these apart from the machine's others, as batch systems do. Else two processes may pin to the same ones. */
typedef enum pinning { pin_if_given, pin_never, pin_always } pinning;
bool cores_pinned(const cores *, pinning, int32_t threads);

#endif
