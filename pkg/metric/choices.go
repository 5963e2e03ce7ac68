package metric

import (
	"errors"
	"fmt"
	"math"
)

// Softmax gives the shares of choices by their log-likelihoods (natural logarithms): OpenCompass's clp mode, the conditional log
// probabilities of single tokens. It shifts by the largest, so that no likelihood is too small; choices all of -Inf, or none, are an
// error, and so is NaN.
func Softmax(logs []float64) ([]float64, error) {
	top := math.Inf(-1)
	for i, l := range logs {
		if math.IsNaN(l) || math.IsInf(l, 1) {
			return nil, fmt.Errorf("log-likelihood %d is %v", i+1, l)
		}
		top = max(top, l)
	}
	if math.IsInf(top, -1) {
		return nil, errors.New("no choice has a log-likelihood above -Inf")
	}
	shares, sum := make([]float64, len(logs)), 0.0
	for i, l := range logs {
		shares[i] = math.Exp(l - top)
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares, nil
}

// Best gives the choice with the largest log-likelihood, of equal ones the first, as numpy.argmax does; -1 without choices. NaN never
// wins.
func Best(logs []float64) int {
	best := -1
	for i, l := range logs {
		if !math.IsNaN(l) && (best < 0 || l > logs[best]) {
			best = i
		}
	}
	return best
}

// PerLength divides the log-likelihood of each choice by its length. With the characters of the text of the choice it is acc_norm of
// lm-evaluation-harness, with its bytes acc_bytes (the original of Brown et al. 2020 counts tokens); with its tokens it is the mean
// OpenCompass's ppl mode ranks by. A length of 0 counts as 1.
func PerLength(logs []float64, lengths []int) ([]float64, error) {
	if len(logs) != len(lengths) {
		return nil, fmt.Errorf("%d log-likelihoods, but %d lengths", len(logs), len(lengths))
	}
	scaled := make([]float64, len(logs))
	for i, l := range logs {
		scaled[i] = l / float64(max(1, lengths[i]))
	}
	return scaled, nil
}

// MC2 is the multiple-choice score of TruthfulQA with several right answers (Lin et al. 2022): the share of probability on the right
// choices, of that on all, from 0 to 1. right says which choices are right.
func MC2(logs []float64, right []bool) (float64, error) {
	if len(logs) != len(right) {
		return 0, fmt.Errorf("%d log-likelihoods, but %d labels", len(logs), len(right))
	}
	shares, err := Softmax(logs)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i, r := range right {
		if r {
			sum += shares[i]
		}
	}
	return sum, nil
}
