package score

import (
	"math"
)

// outcome is what one row adds to a value: of a share 1 or 0 of size 1, of a perplexity the loss of so many tokens (convention gptq: the
// window's mean loss, of size 1).
type outcome struct {
	row         int
	value, size float64
	words       float64 // lm-eval: of the whole document, on its first window
}

// paired are the outcomes of two variants on the rows that both have.
type paired struct {
	a, b         []outcome
	onlyA, onlyB int
}

// pair joins two lists of outcomes, each in row order and with one a row.
func pair(a, b []outcome) paired {
	var p paired
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].row < b[0].row:
			p.onlyA++
			a = a[1:]
		case a[0].row > b[0].row:
			p.onlyB++
			b = b[1:]
		default:
			p.a, p.b = append(p.a, a[0]), append(p.b, b[0])
			a, b = a[1:], b[1:]
		}
	}
	p.onlyA, p.onlyB = p.onlyA+len(a), p.onlyB+len(b)
	return p
}

// shares compares two shares of right rows, in percent.
//
// The standard error is that of the mean of the paired differences d of -1, 0 and 1, sqrt(sum (d - mean)^2 / (n-1) / n) (arXiv 2411.00640,
// section 4): what both get right or both get wrong does not count, so it is much below that of two independent shares.
//
// The interval is that of A. Agresti and Y. Min (Statistics in Medicine 24, 2005): the normal one after half a row is added to each of the
// four cells of the table. It has a width where no row differs, and holds its level where few do, which the plain one does not.
//
// P is McNemar's test, exact (Q. McNemar, Psychometrika 12, 1947): the chance that rows which differ part as unevenly, either way, if
// either were as likely the better.
func (p paired) shares(c *Comparison) {
	n := float64(len(p.a))
	if n == 0 {
		return
	}
	for i := range p.a {
		switch d := p.a[i].value - p.b[i].value; {
		case d > 0:
			c.Better++
		case d < 0:
			c.Worse++
		}
	}
	differ, net := float64(c.Better+c.Worse), float64(c.Better-c.Worse)
	c.Change = ptr(100 * net / n)
	if n > 1 {
		c.StdErr = ptr(100 * math.Sqrt(math.Max(0, differ-net*net/n)/(n-1)/n))
	}
	center, half := net/(n+2), z95*math.Sqrt(differ+1-net*net/(n+2))/(n+2)
	c.Low, c.High = ptr(100*math.Max(-1, center-half)), ptr(100*math.Min(1, center+half))
	c.P = ptr(mcnemar(c.Better, c.Worse))
}

// mcnemar is twice the chance of at most min(better, worse) heads in better+worse tosses of a coin, at most 1.
func mcnemar(better, worse int) float64 {
	low, n := min(better, worse), better+worse
	log := func(v float64) float64 { l, _ := math.Lgamma(v + 1); return l }
	term := math.Exp(log(float64(n)) - log(float64(low)) - log(float64(n-low)) - float64(n)*math.Ln2)
	sum := 0.0
	for k := low; k >= 0 && term > sum*1e-17; k-- {
		sum += term
		term *= float64(k) / float64(n-k+1)
	}
	return math.Min(1, 2*sum)
}

// losses compares two perplexities by their ratio.
//
// Its logarithm is the difference of two means of losses, each a ratio of sums over the same windows, sum value / sum size; the standard
// error is the delta method's for that difference, sqrt(k/(k-1) sum e^2), e = (a - A ta)/sum ta - (b - B tb)/sum tb (W. G. Cochran, Sampling
// Techniques, 1977, 6.3): where both have the same sizes, that of the mean of the paired differences. The interval is normal in the
// logarithm. scale is what the means are multiplied with, 1 but for perplexities of words.
func (p paired) losses(c *Comparison, scale float64) {
	a, b := mean(p.a), mean(p.b)
	log := scale * (a.value - b.value)
	v := math.Exp(log)
	if !finite(v) || v == 0 {
		return
	}
	c.Change = ptr(v)
	squares, k := 0.0, float64(len(p.a))
	for i := range p.a {
		e := (p.a[i].value-a.value*p.a[i].size)/a.size - (p.b[i].value-b.value*p.b[i].size)/b.size
		squares += e * e
	}
	se := scale * math.Sqrt(k/(k-1)*squares)
	low, high := math.Exp(log-z95*se), math.Exp(log+z95*se)
	if finite(se) && finite(v*se) && finite(high) {
		c.StdErr, c.Low, c.High = ptr(v*se), ptr(low), ptr(high)
	}
}

// mean gives sum value / sum size and the sum of the sizes; NaN for none.
func mean(list []outcome) outcome {
	var sum outcome
	for _, o := range list {
		sum.value, sum.size, sum.words = sum.value+o.value, sum.size+o.size, sum.words+o.words
	}
	sum.value /= sum.size
	return sum
}
