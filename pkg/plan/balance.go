package plan

import "sort"

// piece is a run of rows that ends before row to.
type piece struct {
	to     int
	tokens int64
}

// balance cuts n rows into ceil(n/most) pieces of at most so many rows, which is as few as there can be. The heaviest piece is as light as
// it can be, and within that bound each ends as near as possible to its even part of what is left. Rows that all weigh the same are cut
// every step rows, as OpenCompass would.
func balance(n, most, step int, e *Estimate) []piece {
	if e.even() {
		return evenSteps(n, step, e.row(0))
	}
	count := ceil(n, most)
	if count == 1 {
		total := int64(0)
		for i := range n {
			total += e.row(i)
		}
		return []piece{{n, total}}
	}
	s := newScales(n, most, e)
	return s.place(count, s.lightest(count))
}

func evenSteps(n, step int, row int64) []piece {
	pieces := make([]piece, 0, ceil(n, step))
	for from := 0; from < n; from += step {
		to := min(from+step, n)
		pieces = append(pieces, piece{to, int64(to-from) * row})
	}
	return pieces
}

// scales weighs runs of rows.
type scales struct {
	sums []int64 // sums[i] is the weight of the first i rows
	most int     // rows of a piece
	row  int64   // the heaviest row
}

func newScales(n, most int, e *Estimate) *scales {
	s := &scales{sums: make([]int64, n+1), most: most}
	for i := range n {
		w := e.row(i)
		s.sums[i+1] = s.sums[i] + w
		s.row = max(s.row, w)
	}
	return s
}

func (s *scales) rows() int { return len(s.sums) - 1 }

// reach is the furthest end of a piece that begins at from and weighs at most weight.
func (s *scales) reach(from int, weight int64) int {
	end := min(from+s.most, s.rows())
	if s.sums[end]-s.sums[from] <= weight {
		return end
	}
	return from + sort.Search(end-from, func(i int) bool { return s.sums[from+i+1]-s.sums[from] > weight })
}

// back is the earliest beginning of a piece that ends at to.
func (s *scales) back(to int, weight int64) int {
	begin := max(to-s.most, 0)
	return begin + sort.Search(to-begin, func(i int) bool { return s.sums[to]-s.sums[begin+i] <= weight })
}

// lightest finds the least weight for which count pieces are enough.
func (s *scales) lightest(count int) int64 {
	total := s.sums[s.rows()]
	low := max(s.row, total/int64(count))
	return low + int64(sort.Search(int(total-low), func(over int) bool {
		at := 0
		for range count {
			at = s.reach(at, low+int64(over))
		}
		return at == s.rows()
	}))
}

// place ends each piece near its even part, where what follows can still be cut into as many pieces as are left.
func (s *scales) place(count int, weight int64) []piece {
	n := s.rows()
	earliest := make([]int, count) // earliest[k]: where piece k may begin at the earliest
	for k, to := count-1, n; k >= 0; k-- {
		to = s.back(to, weight)
		earliest[k] = to
	}
	pieces := make([]piece, count)
	from := 0
	for k := range count - 1 {
		left := count - k
		want := s.sums[from] + (s.sums[n]-s.sums[from])/int64(left)
		to := s.nearest(from, want)
		to = min(max(to, earliest[k+1], from+1), s.reach(from, weight), n-left+1)
		pieces[k] = piece{to, s.sums[to] - s.sums[from]}
		from = to
	}
	pieces[count-1] = piece{n, s.sums[n] - s.sums[from]}
	return pieces
}

// nearest is the row before which the sum comes nearest to a weight.
func (s *scales) nearest(from int, want int64) int {
	end := min(from+s.most, s.rows())
	to := from + sort.Search(end-from, func(i int) bool { return s.sums[from+i] >= want })
	if to > from && want-s.sums[to-1] < s.sums[to]-want {
		to--
	}
	return to
}
