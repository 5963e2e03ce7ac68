// Package peak measures what the units of a processor that multiply short numbers can do at best: products of bf16 and of int8 that never leave
// the registers. kernels.CPUPeak does so for f32, and for memory.
package peak

// Unit is one kind of arithmetic of one instruction set.
type Unit struct {
	ISA   string // "avx512bf16", "avx512vnni", "amx"
	DType string // of the factors: "bf16" or "int8"
	index int
}
