package pipeline

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"
	"unsafe"
)

const (
	frameMagic = "SXL1"
	headBytes  = len(frameMagic) + 4 + 8 + 4 // magic, bytes of the message, of the states, sum of both
	mostWords  = 256 << 20                   // bytes of a message
	mostStates = 16 << 30                    // bytes of hidden states
	pieceBytes = 16 << 20                    // that are read at once: memory is made for what has come, not for what is said to come
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// link is a connection of two ranks. A frame on it is a message (gob) with the hidden states that belong to it, as f32 in little-endian order,
// and a sum of both (CRC-32C).
type link struct {
	conn net.Conn
	r    *bufio.Reader
	mu   sync.Mutex // of writing
}

func newLink(c net.Conn) *link { return &link{conn: c, r: bufio.NewReaderSize(c, 1<<16)} }

func (l *link) close() { l.conn.Close() }

// send writes a frame.
func (l *link) send(message any, states []float32) error {
	var words bytes.Buffer
	words.Write(make([]byte, headBytes))
	if err := gob.NewEncoder(&words).Encode(message); err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	b, data := words.Bytes(), bytesOf(states)
	if len(b)-headBytes > mostWords || len(data) > mostStates {
		return fmt.Errorf("a message of %d bytes with %d of hidden states is too large to be sent", len(b)-headBytes, len(data))
	}
	copy(b, frameMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-headBytes))
	binary.LittleEndian.PutUint64(b[8:], uint64(len(data)))
	binary.LittleEndian.PutUint32(b[16:], crc32.Update(crc32.Checksum(b[headBytes:], castagnoli), castagnoli, data))
	l.mu.Lock()
	defer l.mu.Unlock()
	buffers := net.Buffers{b, data}
	_, err := buffers.WriteTo(l.conn)
	return err
}

// receive reads a frame into a message, and its states into room where that is large enough.
func (l *link) receive(message any, room []float32) ([]float32, error) {
	return readFrame(l.r, message, room)
}

// errFrame is what a connection brings that is no frame of ours, or a damaged one.
var errFrame = errors.New("what came over the connection is damaged, or not of a rank of this version")

func readFrame(r io.Reader, message any, room []float32) ([]float32, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	words, data := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint64(head[8:])
	if string(head[:4]) != frameMagic || words > mostWords || data > mostStates || data%4 != 0 {
		return nil, errFrame
	}
	var text bytes.Buffer
	if _, err := io.CopyN(&text, r, int64(words)); err != nil {
		return nil, cutShort(err)
	}
	sum := crc32.Checksum(text.Bytes(), castagnoli)
	states, err := readStates(r, int(data/4), room)
	if err != nil {
		return nil, cutShort(err)
	}
	if crc32.Update(sum, castagnoli, bytesOf(states)) != binary.LittleEndian.Uint32(head[16:]) {
		return nil, errFrame
	}
	if err := gob.NewDecoder(&text).Decode(message); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return states, nil
}

// readStates reads n values; nil for none.
func readStates(r io.Reader, n int, room []float32) ([]float32, error) {
	states := room[:0]
	for len(states) < n {
		step := min(n-len(states), max(pieceBytes/4, cap(states)-len(states)))
		have := len(states)
		if cap(states) < have+step {
			states = append(states, make([]float32, step)...)
		}
		states = states[:have+step]
		if _, err := io.ReadFull(r, bytesOf(states[have:])); err != nil {
			return nil, err
		}
	}
	if n == 0 {
		return nil, nil
	}
	return states, nil
}

// cutShort is the error of a frame that ends too early.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// bytesOf are the bytes of values in the order of the machine, which is the little-endian one wherever kernels run.
func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// How often one side of a connection tells the other that it is there, and how long the other waits for that.
const (
	beatEvery = 2 * time.Second
	beatLost  = 30 * time.Second
)

// beats sends empty messages until the link or done is closed.
func (l *link) beats(done <-chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if l.send(control{}, nil) != nil {
				return
			}
		}
	}
}

// next is the next message that is no beat.
func (l *link) next() (c control, err error) {
	for {
		c = control{}
		if err = l.conn.SetReadDeadline(time.Now().Add(beatLost)); err != nil {
			return c, err
		}
		if _, err = l.receive(&c, nil); err != nil || c.Kind != beat {
			return c, err
		}
	}
}
