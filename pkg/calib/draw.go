package calib

import (
	"math/bits"
	"math/rand/v2"
)

// draws are the random numbers of a sample, as the package comment defines them. Nothing here is left to a library's choice of algorithm
// but PCG itself, whose numbers are fixed.
type draws struct{ pcg *rand.PCG }

func newDraws(seed uint64) draws { return draws{rand.NewPCG(seed, 0x73657874616e7421)} }

// below is a number from 0 to n-1, n at least 1.
func (d draws) below(n int) int {
	hi, _ := bits.Mul64(d.pcg.Uint64(), uint64(n))
	return int(hi)
}

// order gives the numbers 0 to n-1 in random order, one a call, and -1 after the last.
func (d draws) order(n int) func() int {
	all := make([]uint32, n)
	for i := range all {
		all[i] = uint32(i)
	}
	i := 0
	return func() int {
		if i == n {
			return -1
		}
		j := i + d.below(n-i)
		all[i], all[j] = all[j], all[i]
		i++
		return int(all[i-1])
	}
}
