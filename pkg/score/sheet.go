package score

import (
	"math"
	"strings"
)

// outcome is what one row adds to a value: of a share 1 or 0 of size 1, of a mean a number from 0 to 1 of size 1, of a ratio a count in a
// count, of a perplexity the loss of so many tokens (convention gptq: the window's mean loss, of size 1).
type outcome struct {
	row         int
	cluster     int // rows with the same number are not independent; the row's own where nothing is said
	value, size float64
	words       float64   // lm-eval: of the whole document, on its first window
	parts       []float64 // of a corpus metric
	asks        uint64    // of labels and gold answers: rows of two runs that differ in it are not the same question
}

// kind is how rows become a value, and so what its uncertainty is.
type kind int

const (
	byShare  kind = iota // rows that are right
	byMean               // the mean of numbers from 0 to 1
	byRatio              // a ratio of two sums over rows
	byCorpus             // a function of sums over rows
	byLoss               // a perplexity
)

// sheet is what one metric gives of every row that counts, in row order.
type sheet struct {
	metric    string
	kind      kind
	rows      []outcome
	clustered bool
	value     func(sum []float64) float64 // corpus: of the summed parts, in percent
}

// percent is the value of {sum value, sum size}.
func percent(sum []float64) float64 { return 100 * sum[0] / sum[1] }

// clusters adds up the rows of each cluster, in the order of the clusters' first rows.
func clusters(rows []outcome) []outcome {
	at := make(map[int]int, len(rows))
	var out []outcome
	for _, o := range rows {
		i, ok := at[o.cluster]
		if !ok {
			at[o.cluster] = len(out)
			out = append(out, outcome{row: o.row, cluster: o.cluster, value: o.value, size: o.size})
			continue
		}
		out[i].value, out[i].size = out[i].value+o.value, out[i].size+o.size
	}
	return out
}

// fill writes value, standard error, interval and bounds. Of a rolling perplexity its scorer has done it.
//
// The standard error of shares, means and ratios with clusters is that of a ratio of the clusters' sums, which for rows of size 1 is
//
//	sqrt( G/(G-1) sum over clusters ( sum over their rows of (s - mean) )^2 ) / n
//
// the clustered standard error of arXiv 2411.00640, section 2.2, with the factor for few clusters G; where each row is a cluster it is the
// usual one. Of a corpus it is the bootstrap's. Intervals of means, ratios and corpora are the bootstrap's, over clusters.
func (sh *sheet) fill(s *Score) {
	rolling := s.Unit == Perplexity
	if sh.kind == byLoss {
		s.Unit = Perplexity
	}
	if rolling || len(sh.rows) == 0 {
		return
	}
	units := sh.rows
	if sh.clustered {
		units = clusters(sh.rows)
		s.Cluster = len(units)
	}
	switch sh.kind {
	case byCorpus:
		sh.fillCorpus(s)
		return
	case byLoss:
		mean, stderr := deltaRatio(units)
		if !s.exponential(mean, stderr) {
			s.Reason = strings.TrimPrefix(s.Reason+"; "+noPerplexity, "; ")
		}
		return
	}
	sum := average(units)
	s.Value = ptr(100 * sum.value)
	_, stderr := deltaRatio(units)
	switch {
	case sh.kind == byShare:
		s.share(sh.rows, stderr)
	default:
		s.mean(units, stderr)
	}
	if total := sum.value * sum.size; sh.kind != byRatio && s.Missing > 0 {
		all := float64(s.N + s.Missing)
		s.Worst, s.Best = ptr(100*total/all), ptr(100*(total+float64(s.Missing))/all)
	}
}

// share fills in a share of right rows.
func (s *Score) share(rows []outcome, stderr float64) {
	n := len(rows)
	s.Correct = 0
	for _, o := range rows {
		s.Correct += int(o.value)
	}
	if s.Cluster == 0 {
		s.StdErr = shareStdErr(s.Correct, n)
		s.Value = ptr(100 * float64(s.Correct) / float64(n))
		return
	}
	p := float64(s.Correct) / float64(n)
	m := effective(p, stderr, n, s.Cluster)
	lo, hi := wilson(p, m)
	s.Low, s.High = &lo, &hi
	switch {
	case s.Cluster < 2:
	case stderr > 0:
		s.StdErr = ptr(100 * stderr)
	default:
		s.StdErr = ptr(oneSided(m))
	}
}

// mean fills in the uncertainty of a mean or ratio of rows or clusters. Where none differs it takes each for a right or wrong row with that
// mean, the most that numbers from 0 to 1 can vary.
func (s *Score) mean(units []outcome, stderr float64) {
	if stderr > 0 && finite(stderr) {
		s.StdErr = ptr(100 * stderr)
	}
	flat := sums{d: 2}
	for _, o := range units {
		flat.flat = append(flat.flat, o.value, o.size)
	}
	if b, ok := bootstrap(flat, percent); ok {
		s.Low, s.High = ptr(math.Min(b.low, *s.Value)), ptr(math.Max(b.high, *s.Value))
		return
	}
	n := float64(len(units))
	lo, hi := wilson(*s.Value/100, n)
	s.Low, s.High = &lo, &hi
	if len(units) > 1 {
		s.StdErr = ptr((hi - lo) / 2 / z95)
	}
}

// fillCorpus computes a value of summed parts, and its spread by resampling rows or clusters (P. Koehn, EMNLP 2004, for BLEU).
func (sh *sheet) fillCorpus(s *Score) {
	flat := sh.flat()
	v := sh.value(flat.total())
	if !finite(v) {
		return
	}
	s.Value = &v
	if b, ok := bootstrap(flat, sh.value); ok {
		s.StdErr, s.Low, s.High = &b.stderr, ptr(math.Min(b.low, v)), ptr(math.Max(b.high, v))
	}
}

// flat is a corpus's parts by cluster.
func (sh *sheet) flat() sums {
	out := sums{d: 1}
	at := make(map[int]int, len(sh.rows))
	for _, o := range sh.rows {
		out.d = len(o.parts)
		i, ok := at[o.cluster]
		if !ok {
			at[o.cluster] = out.n()
			out.flat = append(out.flat, o.parts...)
			continue
		}
		for k, v := range o.parts {
			out.flat[i*out.d+k] += v
		}
	}
	return out
}

// average gives sum value / sum size and the sum of the sizes; NaN for none.
func average(list []outcome) outcome {
	var sum outcome
	for _, o := range list {
		sum.value, sum.size, sum.words = sum.value+o.value, sum.size+o.size, sum.words+o.words
	}
	sum.value /= sum.size
	return sum
}

// deltaRatio is sum(x)/sum(t), values over sizes, and its standard error by the delta method for a ratio of means over independent pairs,
// sqrt(k/(k-1) sum (x - r t)^2) / sum(t) (W. G. Cochran, Sampling Techniques, 1977). With every t = 1 it is the mean and
// its standard error. NaN for a single pair.
func deltaRatio(rows []outcome) (r, stderr float64) {
	m, squares := average(rows), 0.0
	for _, o := range rows {
		d := o.value - m.value*o.size
		squares += d * d
	}
	k := float64(len(rows))
	return m.value, math.Sqrt(k/(k-1)*squares) / m.size
}

// cluster gives each row its cluster; its own where ids is nil.
func (sh *sheet) cluster(ids []int) {
	sh.clustered = ids != nil
	for i := range sh.rows {
		o := &sh.rows[i]
		o.cluster = o.row
		if ids != nil {
			o.cluster = ids[o.row]
		}
	}
}
