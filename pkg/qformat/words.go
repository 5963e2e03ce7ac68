package qformat

import (
	"encoding/binary"
	"runtime"
	"sync"
)

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

// unpack reads len(codes) codes: eight at a time, and the last ones one by one.
func (p packing) unpack(codes []byte, words []uint32) {
	done := 0
	if spread := p.spread(); spread != nil {
		done = len(codes) &^ 7
		for k := 0; k < done; k += 8 {
			binary.LittleEndian.PutUint64(codes[k:], spread(p.bitsAt(words, k*p.bits)))
		}
	}
	mask, per := uint64(1)<<p.bits-1, 32/p.bits
	for k := done; k < len(codes); k++ {
		switch {
		case p.order != nil:
			codes[k] = byte(words[k/8] >> (4 * p.order[k%8]) & 15)
		case p.dense:
			codes[k] = byte(p.bitsAt(words, k*p.bits) & mask)
		default:
			codes[k] = byte(uint64(words[k/per]>>(k%per*p.bits)) & mask)
		}
	}
}

// bitsAt gives the bits from place `bit` on, 33 or more of them where there are as many.
func (p packing) bitsAt(words []uint32, bit int) uint64 {
	i := bit / 32
	v := uint64(words[i])
	if i+1 < len(words) {
		v |= uint64(words[i+1]) << 32
	}
	return v >> (bit % 32)
}

// spread gives what puts the eight codes at the low end of a number into the bytes of one; nil: there is no way but one by one, where codes
// of a word are not one behind another to its end, or take more than a word.
func (p packing) spread() func(x uint64) uint64 {
	switch {
	case p.order == &awqOrder:
		return func(x uint64) uint64 { return spread16(x&0xffff) | spread16(x>>16&0xffff)<<8 }
	case p.order != nil:
		return nil
	case p.bits == 2:
		return func(x uint64) uint64 {
			x = (x&0xffff | x<<24) & 0x0000_00ff_0000_00ff
			x = (x | x<<12) & 0x000f_000f_000f_000f
			return (x | x<<6) & 0x0303_0303_0303_0303
		}
	case p.bits == 3 && p.dense:
		return func(x uint64) uint64 {
			x = (x&0xfff | x<<20) & 0x0000_0fff_0000_0fff
			x = (x | x<<10) & 0x003f_003f_003f_003f
			return (x | x<<5) & 0x0707_0707_0707_0707
		}
	case p.bits == 4:
		return func(x uint64) uint64 {
			x = (x&0xffff | x<<16) & 0x0000_ffff_0000_ffff
			x = (x | x<<8) & 0x00ff_00ff_00ff_00ff
			return (x | x<<4) & 0x0f0f_0f0f_0f0f_0f0f
		}
	case p.bits == 8:
		return func(x uint64) uint64 { return x }
	}
	return nil
}

// spread16 puts the four nibbles of x into the low bytes of its four quarters.
func spread16(x uint64) uint64 {
	x = (x | x<<24) & 0x0000_00ff_0000_00ff
	return (x | x<<12) & 0x000f_000f_000f_000f
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

// share is how many codes a goroutine takes at least.
const share = 1 << 18

// shares has do work on 0 to n in a part a processor, where each of n is work of so many codes. Parts begin at multiples of step.
func shares(n, codes, step int, do func(from, to int)) {
	parts := max(1, min(runtime.GOMAXPROCS(0), n*codes/share))
	each := ((n+parts-1)/parts + step - 1) / step * step
	var wg sync.WaitGroup
	for from := each; from < n; from += each {
		wg.Go(func() { do(from, min(from+each, n)) })
	}
	do(0, min(each, n))
	wg.Wait()
}

// down unpacks codes that are packed along the rows of words, [words(n), cols]: those of column c go to out[c*n:].
func (p packing) down(out []byte, n int, g grid) {
	count := p.words(n)
	shares(g.cols, n, tile, func(from, to int) {
		buf := make([]uint32, tile*count)
		for c := from; c < to; c += tile {
			some := min(tile, to-c)
			for i := range count {
				row := g.data[4*(i*g.cols+c):]
				for j := range some {
					buf[j*count+i] = binary.LittleEndian.Uint32(row[4*j:])
				}
			}
			for j := range some {
				p.unpack(out[(c+j)*n:(c+j+1)*n], buf[j*count:(j+1)*count])
			}
		}
	})
}

// packDown is the inverse of down: codes [cols, n].
func (p packing) packDown(codes []byte, n, cols int) []byte {
	count := p.words(n)
	g := grid{make([]byte, 4*count*cols), cols}
	shares(cols, n, tile, func(from, to int) {
		buf := make([]uint32, tile*count)
		for c := from; c < to; c += tile {
			some := min(tile, to-c)
			for j := range some {
				p.pack(buf[j*count:(j+1)*count], codes[(c+j)*n:(c+j+1)*n])
			}
			for i := range count {
				for j := range some {
					g.set(i, c+j, buf[j*count+i])
				}
			}
		}
	})
	return g.data
}

// across unpacks codes that are packed along the columns of words, [rows, words(n)], those of row r to out[r*n:].
func (p packing) across(out []byte, n int, g grid) {
	shares(len(out)/n, n, 1, func(from, to int) {
		buf := make([]uint32, g.cols)
		for r := from; r < to; r++ {
			row := g.data[4*r*g.cols:]
			for i := range buf {
				buf[i] = binary.LittleEndian.Uint32(row[4*i:])
			}
			p.unpack(out[r*n:(r+1)*n], buf)
		}
	})
}

// packAcross is the inverse of across: codes [rows, n].
func (p packing) packAcross(codes []byte, n int) []byte {
	g := grid{cols: p.words(n)}
	g.data = make([]byte, 4*g.cols*(len(codes)/n))
	shares(len(codes)/n, n, 1, func(from, to int) {
		buf := make([]uint32, g.cols)
		for r := from; r < to; r++ {
			p.pack(buf, codes[r*n:(r+1)*n])
			for i, w := range buf {
				g.set(r, i, w)
			}
		}
	})
	return g.data
}

// transposed is [rows, cols] as [cols, rows].
func transposed[T any](in []T, rows, cols int) []T {
	out := make([]T, len(in))
	const side = 64 // of the squares in which it goes, so that what is read and what is written both stay in the cache
	shares(cols, rows, side, func(from, to int) {
		for r0 := 0; r0 < rows; r0 += side {
			for c0 := from; c0 < to; c0 += side {
				for c := c0; c < min(c0+side, to); c++ {
					column := out[c*rows+r0 : c*rows+min(r0+side, rows)]
					for i := range column {
						column[i] = in[(r0+i)*cols+c]
					}
				}
			}
		}
	})
	return out
}
