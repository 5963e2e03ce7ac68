package result

import (
	"cmp"
	"math/bits"
	"slices"
)

// index finds the files of one task that have rows of a range, without a look at the others. Files of like length stand together, by
// their first row: those that reach into a range then begin within it or less than twice their length before.
type index map[int][]*source // by the bits of the length

func class(h Header) int { return bits.Len(uint(h.To - h.From)) }

func byFirstRow(a, b *source) int {
	return cmp.Or(cmp.Compare(a.header.From, b.header.From), cmp.Compare(a.path, b.path))
}

// few is how many files are put in their places one by one.
const few = 16

// add takes up files that are not in it, in any order.
func (x index) add(files []*source) {
	touched := map[int]bool{}
	for _, f := range files {
		c := class(f.header)
		if len(files) <= few { // after a single shard: no need to sort all
			i, _ := slices.BinarySearchFunc(x[c], f, byFirstRow)
			x[c] = slices.Insert(x[c], i, f)
			continue
		}
		x[c] = append(x[c], f)
		touched[c] = true
	}
	for c := range touched {
		slices.SortFunc(x[c], byFirstRow)
	}
}

// remove forgets a file.
func (x index) remove(f *source) {
	c := class(f.header)
	if i, ok := slices.BinarySearchFunc(x[c], f, byFirstRow); ok {
		x[c] = slices.Delete(x[c], i, i+1)
	}
}

// meeting lists the files that have rows of [from,to), in no order.
func (x index) meeting(from, to int) []*source {
	var list []*source
	for c, files := range x {
		first := from - 1<<c // a file of this class that begins here or before ends before from
		i, _ := slices.BinarySearchFunc(files, first, func(f *source, row int) int { return cmp.Compare(f.header.From, row) })
		for ; i < len(files) && files[i].header.From < to; i++ {
			if from < files[i].header.To {
				list = append(list, files[i])
			}
		}
	}
	return list
}
