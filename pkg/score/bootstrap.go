package score

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// resamples is how often a bootstrap draws: the ends of an interval then move by a few hundredths of its width with another seed.
const resamples = 2000

// sums are rows, or clusters of rows, as what they add to a statistic: n times d numbers, one row after another.
type sums struct {
	d    int
	flat []float64
}

func (s sums) n() int { return len(s.flat) / s.d }

func (s sums) total() []float64 {
	t := make([]float64, s.d)
	for i, v := range s.flat {
		t[i%s.d] += v
	}
	return t
}

// spread is what a bootstrap gives.
type spread struct {
	stderr    float64 // the standard deviation of the resampled values
	low, high float64 // of the 95 % interval
	below     float64 // the share of the resampled values below 0, ties counted half
}

// bootstrap resamples rows with replacement, as often as there are rows, and computes the statistic of each resample's sums (B. Efron, Annals
// of Statistics 7, 1979). The draws have a fixed seed, so that the same rows, in the same order, give the same bits.
//
// The interval is BCa (B. Efron, JASA 82, 1987): the percentiles of the resampled values, moved by the bias that the median shows and by the
// acceleration of the jackknife. Where these are not defined it is the plain percentile interval. ok is false for fewer than two rows and
// where no resample differs, as an interval without width would say that nothing is uncertain.
func bootstrap(s sums, value func(sum []float64) float64) (b spread, ok bool) {
	n := s.n()
	if n < 2 {
		return b, false
	}
	values := make([]float64, 0, resamples)
	draw := rand.NewPCG(0x5ea50ae5, 0x7e87a97)
	sum := make([]float64, s.d)
	for range resamples {
		s.resample(draw, sum)
		if v := value(sum); finite(v) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	if len(values) < resamples/2 || values[0] == values[len(values)-1] {
		return b, false
	}
	b.stderr = deviation(values)
	b.below = (position(values, 0, false) + position(values, 0, true)) / 2
	lo, hi := bca(s, value, values)
	b.low, b.high = quantile(values, lo), quantile(values, hi)
	return b, true
}

// resample adds up as many rows as there are, drawn with replacement.
func (s sums) resample(draw *rand.PCG, sum []float64) {
	n := uint64(s.n())
	clear(sum)
	if s.d == 2 { // nearly all metrics
		var x, y float64
		for range n {
			i, _ := bits.Mul64(draw.Uint64(), n)
			pair := s.flat[2*i : 2*i+2]
			x, y = x+pair[0], y+pair[1]
		}
		sum[0], sum[1] = x, y
		return
	}
	for range n {
		i, _ := bits.Mul64(draw.Uint64(), n)
		for k, v := range s.flat[int(i)*s.d:][:s.d] {
			sum[k] += v
		}
	}
}

// bca gives the two levels at which the sorted resampled values are to be read.
func bca(s sums, value func([]float64) float64, values []float64) (lo, hi float64) {
	const tail = (1 - Confidence) / 2
	whole := s.total()
	at := value(whole)
	bias := normalQuantile((position(values, at, false) + position(values, at, true)) / 2)
	left := make([]float64, s.n())
	rest := make([]float64, s.d)
	middle := 0.0
	for i := range left {
		for k, v := range s.flat[i*s.d:][:s.d] {
			rest[k] = whole[k] - v
		}
		left[i] = value(rest)
		middle += left[i] / float64(len(left))
	}
	var squares, cubes float64
	for _, v := range left {
		d := middle - v
		squares, cubes = squares+d*d, cubes+d*d*d
	}
	a := cubes / (6 * math.Pow(squares, 1.5))
	level := func(z float64) float64 { return normalCDF(bias + (bias+z)/(1-a*(bias+z))) }
	lo, hi = level(-z95), level(z95)
	if !finite(lo) || !finite(hi) || lo >= hi || !finite(a) || 1-a*(bias+z95) <= 0 || 1-a*(bias-z95) <= 0 {
		return tail, 1 - tail
	}
	return lo, hi
}

// position is the share of sorted values below v, or with equal those at most v.
func position(values []float64, v float64, equal bool) float64 {
	i, _ := slices.BinarySearchFunc(values, v, func(x, v float64) int {
		if x < v || equal && x == v {
			return -1
		}
		return 1
	})
	return float64(i) / float64(len(values))
}

// quantile reads sorted values at a level between 0 and 1, between two of them by the straight line.
func quantile(values []float64, level float64) float64 {
	at := level * float64(len(values)-1)
	i := min(int(at), len(values)-2)
	return values[i] + (at-float64(i))*(values[i+1]-values[i])
}

func deviation(values []float64) float64 {
	var mean, squares float64
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return math.Sqrt(squares / float64(len(values)-1))
}

func normalCDF(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

func normalQuantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
