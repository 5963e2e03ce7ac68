package metric

import "fmt"

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
