// Package cpu is the host backend of the kernels: one generic source, built for scalar, AVX2 and AVX-512 machines and chosen when a
// device is opened.
package cpu
