// Package peak measures what a machine's processors can do at best: multiply-adds that never leave the registers, and reads of memory that
// no cache holds. Speeds of real work are told as shares of these.
//
// Each call uses the calling thread alone; a machine's peak is that of as many threads as the work has.
package peak

// Unit is one kind of arithmetic of one instruction set.
type Unit struct {
	ISA   string // "generic", "avx2", "avx512", "avx512bf16", "avx512vnni", "amx"
	DType string // of the factors: "f32", "bf16" or "int8"
	index int
}
