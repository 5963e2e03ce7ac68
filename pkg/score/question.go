package score

import (
	"cmp"
	"errors"
	"reflect"
	"slices"

	"sextant/pkg/result"
)

// question is a row with the records of all its samples, in their order; one but for gen.samples.
type question struct {
	row     int
	samples []*result.Record
}

var errTwoRecords = errors.New("two different records")

// questions yields, in row order, the rows that have a record of every sample, of rows*samples records that a plan asks for: record i is
// sample i mod samples of row i / samples. An error comes where an item has two different records. Equal ones are one.
func questions(recs []result.Record, rows, samples int) func(yield func(*question, error) bool) {
	order := make([]*result.Record, 0, len(recs))
	for i := range recs {
		if recs[i].Row >= 0 && recs[i].Row < rows*samples {
			order = append(order, &recs[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *result.Record) int { return cmp.Compare(a.Row, b.Row) })
	return func(yield func(*question, error) bool) {
		for i := 0; i < len(order); {
			q := &question{row: order[i].Row / samples}
			var err error
			for i < len(order) && order[i].Row/samples == q.row {
				first := order[i]
				q.samples = append(q.samples, first)
				for i++; i < len(order) && order[i].Row == first.Row; i++ {
					if !reflect.DeepEqual(first, order[i]) {
						err = errTwoRecords
					}
				}
			}
			if len(q.samples) < samples && err == nil {
				continue // the row has no result yet
			}
			if !yield(q, err) {
				return
			}
		}
	}
}
