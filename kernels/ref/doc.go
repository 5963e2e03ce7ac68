// Package ref is the oracle of the kernels: every operation of kernels.h in plain loops with double accumulators. It is slow on
// purpose; the shared test table compares every other backend with it.
package ref
