package score

import "math"

// z95 is the 0.975 quantile of the standard normal distribution: intervals are two-sided, 95 %.
const z95 = 1.959963984540054

// Confidence is the level of Score.Interval.
const Confidence = 0.95

// binomialStdErr is the standard error, in percent, of a share of n right-or-wrong rows: sqrt(p(1-p)/(n-1)).
//
// It is the central-limit estimate sqrt(s2/n) of arXiv 2411.00640 with the sample variance s2 of the 0/1 scores taken
// with the divisor n-1, which makes its square unbiased; for 0/1 scores s2 = n p(1-p)/(n-1). lm-eval's stderr is the same number.
// Rows are taken as independent. Undefined below two rows: nil.
func binomialStdErr(correct, n int) *float64 {
	if n < 2 {
		return nil
	}
	p := float64(correct) / float64(n)
	return ptr(100 * math.Sqrt(p*(1-p)/float64(n-1)))
}

// wilson is the 95 % score interval of a share, in percent (E. B. Wilson, JASA 22, 1927). It is sound for few rows and for shares of 0
// and 1, where the normal interval has no width.
func wilson(correct, n int) (lo, hi float64) {
	p, m := float64(correct)/float64(n), float64(n)
	z2 := z95 * z95
	center := (p + z2/(2*m)) / (1 + z2/m)
	half := z95 / (1 + z2/m) * math.Sqrt(p*(1-p)/m+z2/(4*m*m))
	return 100 * math.Max(0, center-half), 100 * math.Min(1, center+half)
}

// Interval is the 95 % confidence interval of the value; ok is false where there is none. Shares of rows have Wilson's interval.
// Perplexities have exp(log v +- z se/v), the interval of their mean log loss, as their standard error is that of the delta method.
// Groups have v +- z se, within 0..100 for percents.
func (s Score) Interval() (lo, hi float64, ok bool) {
	if s.Value == nil {
		return 0, 0, false
	}
	group := len(s.Members) > 0
	if s.Unit == Percent && !group && s.N > 0 {
		lo, hi = wilson(s.Correct, s.N)
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

func ptr[T any](v T) *T { return &v }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
