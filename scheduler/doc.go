// Package scheduler holds the words that a controller and whatever runs its jobs share: what a job is and what became of it. It knows
// nothing of evaluation. The interface itself is declared by its consumer, pkg/run; schedulertest holds what every scheduler must do.
package scheduler
