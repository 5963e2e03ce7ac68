// Package dlc runs jobs on Aliyun PAI's DLC (Deep Learning Containers) through the command `dlc` alone: create job or submit pytorchjob, get
// job, stop job, logs. A job is a PyTorchJob of one worker, in a container that sees the run directory at the same path as this machine.
//
// DLC has no throttle: this process creates at most Options.Workers jobs at once and holds the others back. What it created outlives it: the
// intent to create a job is in its directory, for good, before dlc is called, and a job whose answer was lost is found again by its display
// name, which no other job has. So a name is created at most once, whoever is killed when.
package dlc
