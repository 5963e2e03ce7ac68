/* peak.h: loops that show what a processor can do at best. */
#ifndef SEXTANT_PEAK_H
#define SEXTANT_PEAK_H
#include <stdint.h>

int peak_units(void);
const char *peak_isa(int unit);
const char *peak_dtype(int unit);
int peak_runs(int unit);                     /* whether this machine has it */
double peak_run(int unit, int64_t rounds);   /* does so many rounds and gives the operations done: an add and a multiply are two */

#endif
