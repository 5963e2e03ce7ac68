package packstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Key says what a pack holds. Packs of equal keys are equal byte for byte.
type Key struct {
	Fingerprint string // of the checkpoint
	Layout      string // that the backend names
	Recipe      string // of a quantization, "" for none
	Table       string // which weights lie where, in any words
	Size        int64  // bytes
}

const (
	suffix     = ".pack"
	headerSize = 4096 // one page; the pack follows it
	magic      = "SXPACK 1"
	whole      = "complete" // the second word of a file that is
	progressAt = int64(len(magic) + len(whole))
)

func (k *Key) digest() [32]byte {
	h := sha256.New()
	for _, part := range []string{magic, k.Fingerprint, k.Layout, k.Recipe, k.Table, fmt.Sprint(k.Size)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return [32]byte(h.Sum(nil))
}

// name is that of the file. Of keys that differ at all the files differ, so that programs of two versions do not meet.
func (k *Key) name() string {
	d := k.digest()
	plain := strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, fmt.Sprintf("%.12s-%.16s-%.16s", k.Fingerprint, k.Layout, k.Recipe))
	return fmt.Sprintf("%s-%x%s", strings.Trim(plain, "-"), d[:8], suffix)
}

func (k *Key) fileSize() int64 { return headerSize + k.Size }

// header is the first bytes of a file: the magic, a word that says whether it is whole, the bytes written so far, the size and the digest.
func (k *Key) header(complete bool, done int64) []byte {
	state := make([]byte, len(whole))
	if complete {
		copy(state, whole)
	}
	d := k.digest()
	b := append([]byte(magic), state...)
	b = binary.LittleEndian.AppendUint64(b, uint64(done))
	b = binary.LittleEndian.AppendUint64(b, uint64(k.Size))
	b = append(b, d[:]...)
	return append(b, make([]byte, headerSize-len(b))...)
}

// entry is an open file of a store.
type entry struct {
	path string
	f    *os.File
}

// openEntry opens a file, and refuses one that another user may have written, or that is none.
func openEntry(path string, flags int) (*entry, error) {
	f, err := os.OpenFile(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|flags, 0o600)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil {
		err = ours(&st)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%q %w", path, err)
	}
	return &entry{path: path, f: f}, nil
}

// lock takes the lock, or turns the one held into another kind, if it can be had now. If not, none is held any more.
func (e *entry) lock(how int) bool {
	for {
		err := unix.Flock(int(e.f.Fd()), how|unix.LOCK_NB)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// current says whether the path still leads to this file: it may have been removed before it was locked.
func (e *entry) current() bool {
	here, err1 := e.f.Stat()
	there, err2 := os.Lstat(e.path)
	return err1 == nil && err2 == nil && os.SameFile(here, there)
}

// holds says whether the file is the whole pack of k. Every page of it has to be there: to touch one that is not could end the process.
func (e *entry) holds(k Key) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(e.f.Fd()), &st); err != nil || st.Size != k.fileSize() || st.Blocks*512 < st.Size {
		return false
	}
	head := make([]byte, headerSize)
	_, err := e.f.ReadAt(head, 0)
	return err == nil && bytes.Equal(head, k.header(true, k.Size))
}

// progress is what the file's maker says it has written.
func (e *entry) progress() int64 {
	var b [8]byte
	if _, err := e.f.ReadAt(b[:], progressAt); err != nil {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[:]))
}

// pack maps the file.
func (e *entry) pack(k Key) (*Pack, error) {
	b, err := unix.Mmap(int(e.f.Fd()), headerSize, int(k.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes of packed weights: %w", k.Size, err)
	}
	return &Pack{Data: b, Shared: true, mapped: b, e: e}, nil
}

// removeIfLast removes the file if no other process holds it. Any lock that was held is lost.
func (e *entry) removeIfLast() {
	if e.lock(unix.LOCK_EX) && e.current() {
		os.Remove(e.path)
	}
}
