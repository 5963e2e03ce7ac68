// Package bench measures how fast a model is evaluated on this machine: works of the kinds that evaluations are made of, run through the
// engine, on a checkpoint or on random weights of a named shape.
//
// A speed is told three ways: in tokens or rows a second; in the arithmetic and the memory traffic that no implementation can do without;
// and as a share of what the machine can do at best, which is measured in the same rounds as the works (kernels/peak). The bound of a work
// is whichever of arithmetic and memory would take longer at the machine's best, and its share is that time over the time taken: 1 cannot be
// beaten, but for the scatter of the measurements.
package bench
