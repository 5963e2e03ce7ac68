package qformat

import "encoding/binary"

// A packing is how codes that follow one another along one axis of a matrix stand in 32-bit words.
type packing struct {
	bits  int
	dense bool      // one stream of bits, in which a code may lie across two words; else 32/bits codes a word, from its low end, whole
	order *[8]uint8 // for 4 bits: the place in a word of each of its eight codes; nil: as they come
}

// words is how many words n codes take.
func (p packing) words(n int) int {
	if p.dense {
		return (n*p.bits + 31) / 32
	}
	per := 32 / p.bits
	return (n + per - 1) / per
}

// unpack reads len(codes) codes.
func (p packing) unpack(codes []byte, words []uint32) {
	mask := uint32(1)<<p.bits - 1
	if p.dense && 32%p.bits != 0 {
		for k := range codes {
			bit := k * p.bits
			v := uint64(words[bit/32])
			if bit%32+p.bits > 32 {
				v |= uint64(words[bit/32+1]) << 32
			}
			codes[k] = byte(uint32(v>>(bit%32)) & mask)
		}
		return
	}
	per := 32 / p.bits
	for i := range p.words(len(codes)) {
		w, some := words[i], codes[i*per:min((i+1)*per, len(codes))]
		if p.order != nil {
			for j := range some {
				some[j] = byte(w >> (4 * p.order[j]) & 15)
			}
			continue
		}
		for j := range some {
			some[j] = byte(w & mask)
			w >>= p.bits
		}
	}
}

// pack is the inverse of unpack: it sets every word that the codes take, with zeros where there are no codes.
func (p packing) pack(words []uint32, codes []byte) {
	clear(words[:p.words(len(codes))])
	if p.dense && 32%p.bits != 0 {
		for k, q := range codes {
			bit := k * p.bits
			v := uint64(q) << (bit % 32)
			words[bit/32] |= uint32(v)
			if v>>32 != 0 {
				words[bit/32+1] |= uint32(v >> 32)
			}
		}
		return
	}
	per := 32 / p.bits
	for k, q := range codes {
		j := k % per
		if p.order != nil {
			j = int(p.order[j])
		}
		words[k/per] |= uint32(q) << (j * p.bits)
	}
}

// grid is a matrix of 32-bit words in a tensor's data, row-major.
type grid struct {
	data []byte
	cols int
}

func (g grid) at(row, col int) uint32 { return binary.LittleEndian.Uint32(g.data[4*(row*g.cols+col):]) }

func (g grid) set(row, col int, w uint32) {
	binary.LittleEndian.PutUint32(g.data[4*(row*g.cols+col):], w)
}

// tile is how many columns are read or written in one pass over the rows: as many words as a line of the processor's cache holds.
const tile = 16

// down unpacks codes that are packed along the rows of words, [words(n), cols]: those of column c go to out[c*n:].
func (p packing) down(out []byte, n int, g grid) {
	count := p.words(n)
	buf := make([]uint32, tile*count)
	for c := 0; c < g.cols; c += tile {
		some := min(tile, g.cols-c)
		for i := range count {
			for j := range some {
				buf[j*count+i] = g.at(i, c+j)
			}
		}
		for j := range some {
			p.unpack(out[(c+j)*n:(c+j+1)*n], buf[j*count:(j+1)*count])
		}
	}
}

// packDown is the inverse of down: codes [cols, n].
func (p packing) packDown(codes []byte, n, cols int) []byte {
	count := p.words(n)
	g, buf := grid{make([]byte, 4*count*cols), cols}, make([]uint32, tile*count)
	for c := 0; c < cols; c += tile {
		some := min(tile, cols-c)
		for j := range some {
			p.pack(buf[j*count:(j+1)*count], codes[(c+j)*n:(c+j+1)*n])
		}
		for i := range count {
			for j := range some {
				g.set(i, c+j, buf[j*count+i])
			}
		}
	}
	return g.data
}

// across unpacks codes that are packed along the columns of words, [rows, words(n)], those of row r to out[r*n:].
func (p packing) across(out []byte, n int, g grid) {
	buf := make([]uint32, g.cols)
	for r := range len(out) / n {
		for i := range buf {
			buf[i] = g.at(r, i)
		}
		p.unpack(out[r*n:(r+1)*n], buf)
	}
}

// packAcross is the inverse of across: codes [rows, n].
func (p packing) packAcross(codes []byte, n int) []byte {
	rows, buf := len(codes)/n, make([]uint32, p.words(n))
	out := make([]byte, 0, 4*rows*len(buf))
	for r := range rows {
		p.pack(buf, codes[r*n:(r+1)*n])
		for _, w := range buf {
			out = binary.LittleEndian.AppendUint32(out, w)
		}
	}
	return out
}

// transposed is [rows, cols] as [cols, rows].
func transposed[T any](in []T, rows, cols int) []T {
	out := make([]T, len(in))
	const side = 64 // of the squares in which it goes, so that what is read and what is written both stay in the cache
	for r0 := 0; r0 < rows; r0 += side {
		for c0 := 0; c0 < cols; c0 += side {
			for c := c0; c < min(c0+side, cols); c++ {
				for r := r0; r < min(r0+side, rows); r++ {
					out[c*rows+r] = in[r*cols+c]
				}
			}
		}
	}
	return out
}
