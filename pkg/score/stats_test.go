package score

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestWilsonIsThatOfNewcombe holds the interval against table I of R. G. Newcombe, Statistics in Medicine 17, 1998 (method 3).
func TestWilsonIsThatOfNewcombe(t *testing.T) {
	for _, c := range []struct {
		right, n  float64
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}} {
		low, high := wilson(c.right/c.n, c.n)
		if math.Abs(low/100-c.low) > 5e-5 || math.Abs(high/100-c.high) > 5e-5 {
			t.Errorf("%v of %v: [%.5f, %.5f], want [%v, %v]", c.right, c.n, low/100, high/100, c.low, c.high)
		}
	}
}

// grouped makes a sheet of values from letters, and clusters from letters.
func grouped(k kind, values []float64, of []int) sheet {
	sh := sheet{kind: k}
	for i, v := range values {
		sh.rows = append(sh.rows, outcome{row: i, value: v, size: 1})
	}
	sh.cluster(of)
	return sh
}

// TestClusteredStdErr holds the standard error against the sum over pairs of rows of arXiv 2411.00640, section 2.2, term by term, with the
// factor for few clusters; with a cluster a row it must be the usual one.
func TestClusteredStdErr(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(r, "n")
		values := rapid.SliceOfN(rapid.Float64Range(0, 1), n, n).Draw(r, "values")
		of := rapid.SliceOfN(rapid.IntRange(0, 6), n, n).Draw(r, "clusters")
		sh := grouped(byMean, values, of)
		units := clusters(sh.rows)
		if len(units) < 2 {
			return
		}
		mean := 0.0
		for _, v := range values {
			mean += v / float64(n)
		}
		pairs := 0.0
		for i := range values {
			for j := range values {
				if of[i] == of[j] {
					pairs += (values[i] - mean) * (values[j] - mean)
				}
			}
		}
		g := float64(len(units))
		want := math.Sqrt(math.Max(0, g/(g-1)*pairs)) / float64(n)
		if _, got := deltaRatio(units); math.Abs(got-want) > 1e-7 {
			r.Fatalf("%v, want %v", got, want)
		}
		plain := grouped(byMean, values, nil)
		squares := 0.0
		for _, v := range values {
			squares += (v - mean) * (v - mean)
		}
		if _, got := deltaRatio(clusters(plain.rows)); math.Abs(got-math.Sqrt(squares/float64(n-1)/float64(n))) > 1e-9 {
			r.Fatalf("independent rows: %v", got)
		}
	})
}

// TestClustersOfAlikeRows has each row three times: three rows are no more than one, in error and interval.
func TestClustersOfAlikeRows(t *testing.T) {
	var once, thrice []float64
	var of []int
	for i := range 40 {
		v := float64(i % 5 / 3) // 2 of 5 right
		once = append(once, v)
		thrice = append(thrice, v, v, v)
		of = append(of, i, i, i)
	}
	a, b := Score{N: 40, Unit: Percent}, Score{N: 120, Unit: Percent}
	x, y := grouped(byShare, once, nil), grouped(byShare, thrice, of)
	x.fill(&a)
	y.fill(&b)
	nearPtr(t, "stderr", b.StdErr, *a.StdErr)
	alo, ahi, _ := a.Interval()
	blo, bhi, _ := b.Interval()
	// The plain Wilson interval is of 40 rows, the other of p(1-p)/se^2 = 39: the standard error has n-1.
	want, _ := wilson(0.4, 39)
	if math.Abs(blo-want) > 1e-9 || blo > alo || bhi < ahi || b.Cluster != 40 || *a.Value != *b.Value {
		t.Errorf("[%v, %v] of rows, [%v, %v] of clusters", alo, ahi, blo, bhi)
	}
	// All right: as many rows as clusters.
	for i := range thrice {
		thrice[i] = 1
	}
	c := Score{N: 120, Unit: Percent}
	z := grouped(byShare, thrice, of)
	z.fill(&c)
	lo, hi, _ := c.Interval()
	near(t, "low", lo, 100*40/(40+z95*z95))
	near(t, "high", hi, 100)
	nearPtr(t, "stderr", c.StdErr, oneSided(40))
}

// TestBootstrapCoverage holds that BCa intervals of a mean of skewed numbers cover it nearly as often as they say, on both sides.
func TestBootstrapCoverage(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	const trials, n = 200, 60
	below, above := 0, 0
	for range trials {
		flat := sums{d: 2}
		for range n {
			u := draw.Float64()
			flat.flat = append(flat.flat, u*u*u, 1) // mean 1/4
		}
		b, ok := bootstrap(flat, percent)
		if !ok {
			t.Fatal("no interval")
		}
		if b.low > 25 {
			above++
		}
		if b.high < 25 {
			below++
		}
	}
	if missed := below + above; missed > 24 || below > 18 || above > 18 { // 10 expected
		t.Errorf("of %d intervals %d are too low and %d too high", trials, below, above)
	}
}

// TestBootstrapStdErr holds that it is near the formula where there is one, and the same bits each time.
func TestBootstrapStdErr(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	var rows []outcome
	flat := sums{d: 2}
	for range 400 {
		o := outcome{value: draw.Float64() * 3, size: 1 + 2*draw.Float64()}
		rows = append(rows, o)
		flat.flat = append(flat.flat, o.value, o.size)
	}
	_, want := deltaRatio(rows)
	b, ok := bootstrap(flat, percent)
	again, _ := bootstrap(flat, percent)
	if !ok || math.Abs(b.stderr/(100*want)-1) > 0.08 || b != again {
		t.Errorf("%v, want about %v; again %v", b, 100*want, again)
	}
	if b.low >= b.high || math.Abs((b.high-b.low)/(2*z95*100*want)-1) > 0.15 {
		t.Errorf("[%v, %v]", b.low, b.high)
	}
	for _, few := range [][]float64{nil, {1, 1}, {1, 1, 1, 1}} {
		if _, ok := bootstrap(sums{d: 2, flat: few}, percent); ok {
			t.Errorf("%v has an interval", few)
		}
	}
}

// TestMeansWithoutSpread holds that numbers that are all the same still have an interval.
func TestMeansWithoutSpread(t *testing.T) {
	for _, v := range []float64{0, 0.5, 1} {
		s := Score{N: 30}
		sh := grouped(byMean, []float64{v, v, v, v, v, v, v, v, v, v}, nil)
		sh.fill(&s)
		lo, hi, ok := s.Interval()
		if !ok || hi-lo < 5 || lo > 100*v || hi < 100*v || s.StdErr == nil || *s.StdErr == 0 {
			t.Errorf("%v: [%v, %v] %v, stderr %v", v, lo, hi, ok, s.StdErr)
		}
	}
}

// TestDetectable holds what the smallest detectable difference promises: with rows that differ as often as was seen, the test finds a
// difference that large about four times of five.
func TestDetectable(t *testing.T) {
	draw := rand.New(rand.NewPCG(5, 6))
	const n, differ = 500, 0.2
	// A first sample with no difference says what can be detected.
	one := func(gain float64) Comparison {
		var a, b sheet
		for i := range n {
			x, y := 0.0, 0.0
			if draw.Float64() < differ {
				x = 1
				if draw.Float64() > 0.5+gain/differ/2 {
					x, y = 0, 1
				}
			}
			a.rows = append(a.rows, outcome{row: i, value: x, size: 1})
			b.rows = append(b.rows, outcome{row: i, value: y, size: 1})
		}
		c := Comparison{Unit: Percent}
		pair(a, b, false).compare(&c, 1)
		return c
	}
	least := *one(0).Detectable
	near(t, "formula", math.Round(least), math.Round(100*(z95+z80)*math.Sqrt(differ/n)))
	found := 0
	const trials = 1000
	for range trials {
		if one(least / 100).Differs() {
			found++
		}
	}
	if found < 720 || found > 880 {
		t.Errorf("a difference of %.2f points is found %d times of %d", least, found, trials)
	}
	s := Score{Unit: Percent, Value: ptr(50.0), StdErr: ptr(2.0)}
	nearPtr(t, "one model", s.Detectable(), 2*math.Sqrt2*(z95+z80))
}

// TestBounds works a score with missing rows: 3 of 4 right, 2 of 6 missing.
func TestBounds(t *testing.T) {
	s := Score{N: 4, Missing: 2}
	sh := grouped(byShare, []float64{1, 1, 1, 0}, nil)
	sh.fill(&s)
	nearPtr(t, "worst", s.Worst, 50)
	nearPtr(t, "best", s.Best, 100*5/6.0)
	s = Score{N: 2, Missing: 2}
	sh = grouped(byMean, []float64{0.5, 0.25}, nil)
	sh.fill(&s)
	nearPtr(t, "worst", s.Worst, 18.75)
	nearPtr(t, "best", s.Best, 68.75)
	s = Score{N: 2}
	sh.fill(&s)
	if s.Worst != nil || s.Best != nil {
		t.Errorf("nothing is missing: %v to %v", *s.Worst, *s.Best)
	}
}
