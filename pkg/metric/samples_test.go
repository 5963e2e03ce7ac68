package metric

import (
	"math"
	"slices"
	"testing"
)

// TestPassAtKIsTheShareOfSubsets holds the estimator of Chen et al. 2021 against its definition by brute force: the share of all subsets
// of k samples that hold a right one.
func TestPassAtKIsTheShareOfSubsets(t *testing.T) {
	for n := 1; n <= 9; n++ {
		for c := 0; c <= n; c++ {
			for k := 1; k <= n; k++ {
				all, hit := 0, 0
				for set := range 1 << n {
					if ones(set) == k {
						all++
						if set&(1<<c-1) != 0 {
							hit++
						}
					}
				}
				got, err := PassAtK(n, c, k)
				if want := float64(hit) / float64(all); err != nil || math.Abs(got-want) > 1e-12 {
					t.Errorf("pass@%d of %d/%d = %v, want %v (%v)", k, c, n, got, want, err)
				}
			}
		}
	}
}

func ones(set int) (n int) {
	for ; set != 0; set &= set - 1 {
		n++
	}
	return n
}

func TestPassAtKOfManySamples(t *testing.T) {
	// pass@1 is c/n whatever n; 1 - C(190,100)/C(200,100) by exact integers.
	if got, _ := PassAtK(200, 13, 1); math.Abs(got-13./200) > 1e-15 {
		t.Errorf("pass@1 of 13/200 = %v", got)
	}
	if got, _ := PassAtK(200, 10, 100); math.Abs(got-0.9992289739372822) > 1e-12 {
		t.Errorf("pass@100 of 10/200 = %.16f", got)
	}
	for _, c := range [][3]int{{5, 1, 0}, {5, 1, 6}, {5, 6, 1}, {5, -1, 1}} {
		if _, err := PassAtK(c[0], c[1], c[2]); err == nil {
			t.Errorf("PassAtK(%v) has no error", c)
		}
	}
}

func TestMajorityVote(t *testing.T) {
	for _, c := range []struct {
		answers []string
		same    func(a, b string) bool
		want    string
		votes   int
	}{
		{[]string{"a", "b", "b"}, nil, "b", 2},
		{[]string{"a", "b"}, nil, "a", 1},
		{[]string{"", "", "b"}, nil, "b", 1},
		{[]string{"7", "0.5", "1/2", `\frac12`, "7"}, Equivalent, "0.5", 3},
		{nil, nil, "", 0},
	} {
		if got, votes, ok := MajorityVote(c.answers, c.same); got != c.want || votes != c.votes || ok != (c.votes > 0) {
			t.Errorf("vote of %q = %q with %d", c.answers, got, votes)
		}
	}
}

func TestChoices(t *testing.T) {
	logs := []float64{math.Log(0.2), math.Log(0.1), math.Log(0.1)}
	shares, err := Softmax(logs)
	if err != nil || !slices.EqualFunc(shares, []float64{0.5, 0.25, 0.25}, close10) {
		t.Errorf("softmax %v (%v)", shares, err)
	}
	far, err := Softmax([]float64{-5000, -5000 + math.Log(3), math.Inf(-1)})
	if err != nil || !slices.EqualFunc(far, []float64{0.25, 0.75, 0}, close10) {
		t.Errorf("softmax far down %v (%v)", far, err)
	}
	for _, bad := range [][]float64{nil, {math.Inf(-1)}, {math.NaN(), 1}, {math.Inf(1)}} {
		if _, err := Softmax(bad); err == nil {
			t.Errorf("softmax of %v has no error", bad)
		}
	}
	// TruthfulQA's mc2 of true 0.2 and 0.1, false 0.1: 0.3 of 0.4.
	if got, err := MC2(logs, []bool{true, false, true}); err != nil || !close10(got, 0.75) {
		t.Errorf("mc2 %v (%v)", got, err)
	}
	if Best([]float64{math.NaN(), -2, -1, -1}) != 2 || Best(nil) != -1 {
		t.Error("best is wrong")
	}
	norm, err := PerLength([]float64{-6, -5, -1}, []int{6, 2, 0})
	if err != nil || !slices.Equal(norm, []float64{-1, -2.5, -1}) {
		t.Errorf("by length %v (%v)", norm, err)
	}
	_, errA := PerLength(logs, nil)
	if _, errC := MC2(logs, nil); errA == nil || errC == nil {
		t.Error("unlike lengths are no error")
	}
}
