// Package sweep decides what a watch of a directory of checkpoints does next: which checkpoint is complete, which were evaluated, and what a
// watch that died was about to do.
//
//	Look (directories as they are) -> Watch (pure: what to open, what to take) -> Journal -> World (plans a batch, carries its run out)
//
// Each complete checkpoint is evaluated once, whenever the watch is killed. A batch, which is one run, is journaled with its run directory
// before anything of it is written there. Then the plan is left in the directory, and from there on the run goes on as any run does: its rows
// are kept. A batch whose directory has no plan has done nothing, and is dropped: its checkpoints are new again.
package sweep
