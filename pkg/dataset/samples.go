package dataset

import (
	"fmt"

	"sextant/pkg/spec"
)

// Len is the number of items: the rows, each as often as gen.samples says.
func (s *Set) Len() int { return len(s.test.rows) * s.Samples() }

// Samples is how many texts of a row are wanted. Item i is sample i mod Samples of row i / Samples, so that a row's samples stand together.
func (s *Set) Samples() int {
	if s.d.Mode != spec.Gen {
		return 1
	}
	return max(1, s.d.Gen.Samples)
}

// Clusters gives each row's value of the column that the dataset's key cluster names, for standard errors: rows with equal values are not
// independent. nil: it names none.
func (s *Set) Clusters() ([]string, error) {
	if s.program.cluster == nil {
		return nil, nil
	}
	out := make([]string, len(s.test.rows))
	err := eachRow(len(out), func(row int) error {
		v, err := s.program.makers.view(s.test.rows[row])
		if err != nil {
			return err
		}
		of, err := s.program.cluster.value(v)
		if err == nil {
			out[row], err = scalar(of)
		}
		if err != nil {
			return fmt.Errorf("dataset %s: %s: cluster: %w", s.d.Abbr, s.test.at(row), err)
		}
		return nil
	})
	return out, err
}
