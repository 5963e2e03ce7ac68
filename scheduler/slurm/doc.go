// Package slurm runs jobs on a Slurm cluster through its command line alone: sbatch, squeue, sacct, scancel and scontrol, as a login node has
// them. Jobs become elements of job arrays; one squeue tells of all of them; sacct is asked only about those that squeue no longer knows.
//
// Everything that must outlive the process is in its directory, written before sbatch is called: which job is which index of which array, and
// the array's token, a name that no other array on the cluster has. What a dead submitter left is found again by that token, never by a
// number alone: Slurm gives numbers twice after a crash.
package slurm
