// Package batch holds what schedulers share that drive a batch system through its command line: words of the shell, commands that are run
// to their end, the times at which to look again, and files that are there whole or not at all.
package batch
