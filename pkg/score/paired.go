package score

import (
	"math"
)

// paired are the outcomes of two models by one metric on the rows that both have, of which only those that ask the same.
type paired struct {
	kind         kind
	value        func(sum []float64) float64 // by corpus
	clustered    bool
	a, b         []outcome
	onlyA, onlyB int
	other        int // rows of both that ask another question
}

// pair joins two sheets, each in row order and with one outcome a row. Of two runs only rows with the same labels and gold answers are a
// pair; the variants of one run are always asked the same.
func pair(x, y sheet, runs bool) paired {
	p := paired{kind: x.kind, value: x.value, clustered: x.clustered && y.clustered}
	if p.kind == byShare {
		p.kind = y.kind // a mean, where one of them has several samples a row
	}
	a, b := x.rows, y.rows
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].row < b[0].row:
			p.onlyA++
			a = a[1:]
		case a[0].row > b[0].row:
			p.onlyB++
			b = b[1:]
		case runs && a[0].asks != b[0].asks:
			p.other++
			a, b = a[1:], b[1:]
		default:
			p.a, p.b = append(p.a, a[0]), append(p.b, b[0])
			a, b = a[1:], b[1:]
		}
	}
	p.onlyA, p.onlyB = p.onlyA+len(a), p.onlyB+len(b)
	return p
}

// compare fills in c. scale is of perplexities: see losses.
func (p paired) compare(c *Comparison, scale float64) {
	c.N, c.Only, c.OnlyBaseline, c.Other = len(p.a), p.onlyA, p.onlyB, p.other
	switch {
	case len(p.a) == 0:
	case p.kind == byLoss:
		p.losses(c, scale)
	case p.kind == byCorpus:
		p.corpora(c)
	case p.kind == byShare && !p.clustered:
		p.shares(c)
	default:
		p.means(c)
	}
}

// shares compares two shares of right rows, in percent.
//
// The standard error is that of the mean of the paired differences d of -1, 0 and 1, sqrt(sum (d - mean)^2 / (n-1) / n) (arXiv 2411.00640,
// section 4): what both get right or both get wrong does not count, so it is much below that of two independent shares.
//
// The interval is that of A. Agresti and Y. Min (Statistics in Medicine 24, 2005): the normal one after half a row is added to each of the
// four cells of the table. It has a width where no row differs, and holds its level where few do, which the plain one does not. The
// smallest detectable difference goes by its width too.
//
// P is McNemar's test, exact (Q. McNemar, Psychometrika 12, 1947): the chance that rows which differ part as unevenly, either way, if
// either were as likely the better.
func (p paired) shares(c *Comparison) {
	n := float64(len(p.a))
	c.Better, c.Worse = differing(p.a, p.b)
	differ, net := float64(c.Better+c.Worse), float64(c.Better-c.Worse)
	c.Change = ptr(100 * net / n)
	if n > 1 {
		c.StdErr = ptr(100 * math.Sqrt(math.Max(0, differ-net*net/n)/(n-1)/n))
	}
	center, half := net/(n+2), z95*math.Sqrt(differ+1-net*net/(n+2))/(n+2)
	c.Low, c.High = ptr(100*math.Max(-1, center-half)), ptr(100*math.Min(1, center+half))
	c.Detectable = ptr(100 * (1 + z80/z95) * half)
	c.P = ptr(mcnemar(c.Better, c.Worse))
}

// differing counts the rows, or clusters, on which a is above b and below it.
func differing(a, b []outcome) (better, worse int) {
	for i := range a {
		switch d := a[i].value/a[i].size - b[i].value/b[i].size; {
		case d > 0:
			better++
		case d < 0:
			worse++
		}
	}
	return better, worse
}

// means compares two means or ratios of rows, or shares of rows in clusters, in percent.
//
// The standard error is that of deltaStdErr, of rows or clusters. The interval is the bootstrap's, over pairs of rows or clusters: where no
// resample differs it is about that of shares whose rows do not differ. P is the sign test, exact, over the rows, or clusters, that differ.
func (p paired) means(c *Comparison) {
	units := paired{a: p.a, b: p.b}
	if p.clustered {
		units.a, units.b = clusters(p.a), clusters(p.b)
	}
	x, y := average(units.a), average(units.b)
	c.Change = ptr(100 * (x.value - y.value))
	c.Better, c.Worse = differing(p.a, p.b)
	c.P, c.Test = ptr(mcnemar(differing(units.a, units.b))), "sign"
	flat := sums{d: 4}
	for i, a := range units.a {
		flat.flat = append(flat.flat, a.value, a.size, units.b[i].value, units.b[i].size)
	}
	spread, ok := bootstrap(flat, func(sum []float64) float64 { return percent(sum[:2]) - percent(sum[2:]) })
	if ok {
		se := 100 * units.deltaStdErr(x, y)
		c.StdErr, c.Low, c.High = &se, ptr(math.Min(spread.low, *c.Change)), ptr(math.Max(spread.high, *c.Change))
		c.Detectable = ptr((z95 + z80) * se)
		return
	}
	n := float64(len(units.a))
	half := 100 * z95 / (n + 2)
	c.Low, c.High = ptr(math.Max(-100, *c.Change-half)), ptr(math.Min(100, *c.Change+half))
	c.Detectable = ptr((1 + z80/z95) * half)
	if n > 1 {
		c.StdErr = ptr(0.0)
	}
}

// corpora compares two values of summed parts by paired resampling (P. Koehn, EMNLP 2004). P is twice the share of the resampled
// differences on the other side of 0, at least 2 in one more than all resamples.
func (p paired) corpora(c *Comparison) {
	x, y := sheet{rows: p.a}, sheet{rows: p.b}
	a, b := x.flat(), y.flat()
	flat := sums{d: 2 * a.d}
	for i := range a.n() {
		flat.flat = append(append(flat.flat, a.flat[i*a.d:][:a.d]...), b.flat[i*b.d:][:b.d]...)
	}
	of := func(sum []float64) float64 { return p.value(sum[:a.d]) - p.value(sum[a.d:]) }
	v := of(flat.total())
	if !finite(v) {
		return
	}
	c.Change, c.Test = &v, "bootstrap"
	if spread, ok := bootstrap(flat, of); ok {
		c.StdErr, c.Low, c.High = &spread.stderr, ptr(math.Min(spread.low, v)), ptr(math.Max(spread.high, v))
		c.Detectable = ptr((z95 + z80) * spread.stderr)
		c.P = ptr(math.Min(1, math.Max(2*math.Min(spread.below, 1-spread.below), 2.0/(resamples+1))))
	}
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
// error is deltaStdErr's. The interval is normal in the logarithm. scale is what the means are multiplied with, 1 but for perplexities of
// words.
func (p paired) losses(c *Comparison, scale float64) {
	a, b := average(p.a), average(p.b)
	log := scale * (a.value - b.value)
	v := math.Exp(log)
	if !finite(v) || v == 0 {
		return
	}
	c.Change = ptr(v)
	se := scale * p.deltaStdErr(a, b)
	low, high := math.Exp(log-z95*se), math.Exp(log+z95*se)
	if finite(se) && finite(v*se) && finite(high) {
		c.StdErr, c.Low, c.High = ptr(v*se), ptr(low), ptr(high)
		if d := math.Exp((z95 + z80) * se); se > 0 && finite(d) {
			c.Detectable = &d
		}
	}
}

// deltaStdErr is the standard error of the difference of two ratios of sums over the same rows, averages x of a and y of b: the delta
// method's, sqrt(k/(k-1) sum e^2), e = (a - x ta)/sum ta - (b - y tb)/sum tb (W. G. Cochran, Sampling Techniques, 1977, 6.3): where both
// have the same sizes, that of the mean of the paired differences.
func (p paired) deltaStdErr(x, y outcome) float64 {
	squares, k := 0.0, float64(len(p.a))
	for i := range p.a {
		e := (p.a[i].value-x.value*p.a[i].size)/x.size - (p.b[i].value-y.value*p.b[i].size)/y.size
		squares += e * e
	}
	return math.Sqrt(k / (k - 1) * squares)
}
