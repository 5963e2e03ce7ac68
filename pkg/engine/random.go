package engine

// uniform gives the number in [0,1) of draw step under seed. Being a function of a counter (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011), it does not depend on what else is drawn. The mixing is SplitMix64's (Steele et al., OOPSLA 2014).
func uniform(seed, step uint64) float64 {
	const golden = 0x9e3779b97f4a7c15
	return float64(mix(mix(seed+golden)+step*golden)>>11) / (1 << 53)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
