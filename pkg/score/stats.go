package score

import "math"

// z95 is the 0.975 quantile of the standard normal distribution: intervals are two-sided, 95 %.
const z95 = 1.959963984540054

// z80 is the 0.8 quantile: a test finds the smallest detectable difference four times of five.
const z80 = 0.8416212335729143

// Confidence is the level of Score.Interval.
const Confidence = 0.95

// Power is how often a test finds a difference as large as the smallest detectable one.
const Power = 0.8

// shareStdErr is the standard error, in percent, of a share of n right-or-wrong rows: sqrt(p(1-p)/(n-1)).
//
// It is the central-limit estimate sqrt(s2/n) of arXiv 2411.00640 with the sample variance s2 of the 0/1 scores taken
// with the divisor n-1, which makes its square unbiased; for 0/1 scores s2 = n p(1-p)/(n-1). lm-eval's stderr is the same number.
// Rows are taken as independent. Undefined below two rows: nil.
//
// Where all rows are right, or all wrong, that is 0, which says that nothing is uncertain. There it is the half width of Wilson's interval
// over its z instead, 1/2 z/(n+z^2): 0.32 points of 300 rows.
func shareStdErr(correct, n int) *float64 {
	if n < 2 {
		return nil
	}
	if correct == 0 || correct == n {
		return ptr(oneSided(float64(n)))
	}
	p := float64(correct) / float64(n)
	return ptr(100 * math.Sqrt(p*(1-p)/float64(n-1)))
}

// oneSided is the half width of Wilson's interval of a share of 0 or 1 over its z, in percent.
func oneSided(n float64) float64 { return 100 * z95 / 2 / (n + z95*z95) }

// wilson is the 95 % score interval of a share, in percent (E. B. Wilson, JASA 22, 1927). It is sound for few rows and for shares of 0
// and 1, where the normal interval has no width. n need not be whole.
func wilson(p, n float64) (lo, hi float64) {
	z2 := z95 * z95
	center := (p + z2/(2*n)) / (1 + z2/n)
	half := z95 / (1 + z2/n) * math.Sqrt(math.Max(0, p*(1-p))/n+z2/(4*n*n))
	return 100 * math.Max(0, math.Min(p, center-half)), 100 * math.Min(1, math.Max(p, center+half))
}

// effective is the number of independent rows that are as good as n clustered ones, by the design effect: p(1-p) over the square of the
// clustered standard error (as a share), but at most n; Wilson's interval of so many is that of E. L. Korn and B. I. Graubard (Survey
// Methodology 24, 1998) with another interval in the middle. Where all rows are alike each cluster counts once.
func effective(p, stderr float64, n, clusters int) float64 {
	if p <= 0 || p >= 1 || !(stderr > 0) {
		return float64(clusters)
	}
	return math.Min(float64(n), p*(1-p)/(stderr*stderr))
}

// Interval is the 95 % confidence interval of the value; ok is false where there is none. Low and High are it where they are there. Else
// shares of rows have Wilson's interval. Perplexities have exp(log v +- z se/v), the interval of their mean log loss, as their standard
// error is that of the delta method. Groups have v +- z se, within 0..100 for percents.
func (s Score) Interval() (lo, hi float64, ok bool) {
	if s.Value == nil {
		return 0, 0, false
	}
	if s.Low != nil && s.High != nil {
		return *s.Low, *s.High, true
	}
	group := len(s.Members) > 0
	if s.Unit == Percent && !group && s.N > 0 && *s.Value == 100*float64(s.Correct)/float64(s.N) {
		lo, hi = wilson(float64(s.Correct)/float64(s.N), float64(s.N))
		return lo, hi, true
	}
	if s.StdErr == nil {
		return 0, 0, false
	}
	v, se := *s.Value, *s.StdErr
	switch {
	case s.Unit == Perplexity && !group:
		lo, hi = v*math.Exp(-z95*se/v), v*math.Exp(z95*se/v)
	case s.Unit == Percent:
		lo, hi = math.Max(0, v-z95*se), math.Min(100, v+z95*se)
	default:
		lo, hi = math.Max(0, v-z95*se), v+z95*se
	}
	return lo, hi, !math.IsInf(hi, 0) && !math.IsNaN(hi)
}

// Detectable is the smallest difference to another model with such a standard error, on as many other rows, that a test of level 5 %,
// two-sided, finds with a power of 80 %: (z(0.975) + z(0.8)) sqrt(2) se (arXiv 2411.00640, section 5), in points; of a perplexity the ratio
// exp of that in its logarithm. On the same rows less will do: see Comparison.Detectable. nil: there is no standard error.
func (s Score) Detectable() *float64 {
	if s.Value == nil || s.StdErr == nil || !(*s.StdErr > 0) {
		return nil
	}
	d := (z95 + z80) * math.Sqrt2 * *s.StdErr
	if s.Unit == Perplexity {
		d = math.Exp(d / *s.Value)
	}
	if !finite(d) {
		return nil
	}
	return &d
}

func ptr[T any](v T) *T { return &v }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
