package metric

import (
	"fmt"
	"math"
)

// PassAtK is the unbiased estimate of the chance that one of k samples is right, of n samples of which c were (Chen et al. 2021, equation
// 1): 1 - C(n-c, k) / C(n, k), as the product of 1 - k/i over i = n-c+1..n, which neither overflows nor cancels. It is an error if
// there are fewer than k samples, as OpenCompass and human-eval then leave the problem out or give a biased figure.
func PassAtK(n, c, k int) (float64, error) {
	switch {
	case k < 1:
		return 0, fmt.Errorf("pass@%d: k must be at least 1", k)
	case n < k:
		return 0, fmt.Errorf("pass@%d needs at least %d samples of a problem, and there are %d", k, k, n)
	case c < 0 || c > n:
		return 0, fmt.Errorf("pass@%d: %d right of %d samples", k, c, n)
	case n-c < k:
		return 1, nil
	}
	miss := 1.0
	for i := n - c + 1; i <= n; i++ {
		miss *= 1 - float64(k)/float64(i)
	}
	return 1 - miss, nil
}

// A Tally counts the right samples of one problem.
type Tally struct {
	N, Right int
}

// MeanPassAtK gives the mean of PassAtK over problems and its standard error over problems: the sample deviation over the root of their
// number, 0 for a single one. The error is of the drawing of problems, which the spread between them carries along with that of the
// samples.
func MeanPassAtK(problems []Tally, k int) (mean, stdErr float64, err error) {
	if len(problems) == 0 {
		return 0, 0, fmt.Errorf("pass@%d: no problems", k)
	}
	values := make([]float64, len(problems))
	for i, p := range problems {
		if values[i], err = PassAtK(p.N, p.Right, k); err != nil {
			return 0, 0, fmt.Errorf("problem %d: %w", i+1, err)
		}
	}
	mean, stdErr = MeanStdErr(values)
	return mean, stdErr, nil
}

// MeanStdErr gives the mean of values and its standard error, 0 for fewer than two values.
func MeanStdErr(values []float64) (mean, stdErr float64) {
	if len(values) == 0 {
		return 0, 0
	}
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	if len(values) == 1 {
		return mean, 0
	}
	squares := 0.0
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(squares / (n - 1) / n)
}

// MajorityVote gives the answer that most samples agree on (maj@k, self-consistency: Wang et al. 2023), with the number that do. same
// tells whether two answers agree, nil for equal strings. Empty answers do not vote; of equal counts the answer given first wins; ok
// is false if none votes.
func MajorityVote(answers []string, same func(a, b string) bool) (answer string, votes int, ok bool) {
	if same == nil {
		same = func(a, b string) bool { return a == b }
	}
	var kinds []string
	var counts []int
next:
	for _, a := range answers {
		if a == "" {
			continue
		}
		for i, k := range kinds {
			if a == k || same(a, k) {
				counts[i]++
				continue next
			}
		}
		kinds, counts = append(kinds, a), append(counts, 1)
	}
	for i, c := range counts {
		if c > votes {
			answer, votes = kinds[i], c
		}
	}
	return answer, votes, votes > 0
}
