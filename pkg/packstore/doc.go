// Package packstore keeps packed weights: memory that is written once, in a form that a backend reads, and mapped read-only from then on. The
// workers of one machine share it where they can. Then it is a file in a directory of a tmpfs that is its owner's alone; else it is memory
// of this process, gone with it.
//
// Locks (flock) say whose a file is. Its maker has it exclusively, its users share it, and the last of them removes it. Locks end with
// their process, however it ends: a file that was being made is never taken for a whole one, for the word that says so is written last,
// and a file that nobody holds is removed by the next process that looks (sweep), or used if it is whole and wanted.
//
// Bytes come into a file by write(2), never through a mapping: memory that is not to be had is an error then, not a signal. What is mapped has all
// its pages.
package packstore
