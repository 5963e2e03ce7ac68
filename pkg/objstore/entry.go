package objstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	blockSize = 16 << 10 // bytes of a block, the last one of an object apart
	tableHead = 4096     // bytes of a table before its words
	wholeAt   = tableHead - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf is a block's word in the table: its CRC-32C, and never 0.
func sumOf(block []byte) uint32 { return max(1, crc32.Checksum(block, castagnoli)) }

func dataOf(dir string) string  { return filepath.Join(dir, "data") }
func tableOf(dir string) string { return filepath.Join(dir, "table") }

// entry is an object in the cache, opened. Its table is shared memory: a word for each block, which is written when the block has been.
type entry struct {
	dir   string
	size  int64
	data  *os.File
	table *os.File // its lock is shared as long as this is open
	head  []byte   // the mapped table
	sums  []uint32 // within it
	bytes []byte   // the mapped data, of which nothing can be read at first
}

// id names an object's version: what it is called differs where anything differs.
func id(c *client, bucket string, s stat) (name string, about []byte) {
	about = fmt.Appendf(nil, "sextant object 1\n%q %v\n%q\n%q\n%q\n%d\n", c.account.endpoint, c.account.secure, bucket, s.key, s.etag, s.size)
	sum := sha256.Sum256(about)
	return fmt.Sprintf("%x", sum[:16]), about
}

// openEntry opens an entry, or makes it. The cache's lock is held.
func openEntry(dir string, about []byte, size int64) (e *entry, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	e = &entry{dir: dir, size: size}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	const flags = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW
	if e.table, err = os.OpenFile(tableOf(dir), flags, 0o600); err != nil {
		return nil, err
	}
	if e.data, err = os.OpenFile(dataOf(dir), flags, 0o600); err != nil {
		return nil, err
	}
	if err := e.begin(about); err != nil {
		return nil, err
	}
	if err := flock(e.table, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("locking an entry of the cache: %w", err)
	}
	return e, errors.Join(e.mapAll(), e.touch())
}

func (e *entry) blocks() int { return int((e.size + blockSize - 1) / blockSize) }

// begin writes the table's head and gives both files their sizes, unless they have them: who made them may have been killed.
func (e *entry) begin(about []byte) error {
	head := make([]byte, wholeAt)
	copy(head, about)
	if len(about) > wholeAt {
		return fmt.Errorf("a key of %d bytes", len(about))
	}
	old := make([]byte, wholeAt)
	n, _ := e.table.ReadAt(old, 0)
	table, err1 := e.table.Stat()
	data, err2 := e.data.Stat()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	want := tableHead + 4*int64(e.blocks())
	if n == wholeAt && bytes.Equal(old, head) && table.Size() == want && data.Size() == e.size {
		return nil
	}
	if err := flock(e.table, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("the cache's entry %q is not what it is to be, and a job uses it: remove it when none does", e.dir)
	}
	err := errors.Join(e.data.Truncate(0), e.data.Truncate(e.size), e.table.Truncate(0))
	if err == nil { // not left sparse: to write to its memory where the disk is full would end the process
		_, err = e.table.WriteAt(make([]byte, want), 0)
	}
	if err == nil {
		_, err = e.table.WriteAt(head, 0)
	}
	if err != nil {
		return diskError{fmt.Errorf("making an entry of the cache: %w", err)}
	}
	return nil
}

func (e *entry) mapAll() (err error) {
	if e.head, err = unix.Mmap(int(e.table.Fd()), 0, tableHead+4*e.blocks(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping a table of the cache: %w", err)
	}
	if e.size == 0 {
		return nil
	}
	e.sums = unsafe.Slice((*uint32)(unsafe.Pointer(&e.head[tableHead])), e.blocks())
	if e.bytes, err = unix.Mmap(int(e.data.Fd()), 0, int(e.size), unix.PROT_NONE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping %d bytes of the cache: %w", e.size, err)
	}
	return nil
}

// touch says that the entry is used now.
func (e *entry) touch() error {
	now := time.Now()
	return os.Chtimes(tableOf(e.dir), now, now)
}

// claim locks the words of blocks [from, to) for this process, which fetches them, until it lets go or ends; false: another fetches some of them.
func (e *entry) claim(from, to int) bool { return e.lockWords(unix.F_WRLCK, from, to) }

func (e *entry) letGo(from, to int) { e.lockWords(unix.F_UNLCK, from, to) }

func (e *entry) lockWords(how int16, from, to int) bool {
	l := unix.Flock_t{Type: how, Start: tableHead + 4*int64(from), Len: 4 * int64(to-from)}
	for {
		if err := unix.FcntlFlock(e.table.Fd(), unix.F_OFD_SETLK, &l); err != unix.EINTR {
			return err == nil
		}
	}
}

// place is the bytes of block i.
func (e *entry) place(i int) (from, to int64) {
	from = int64(i) * blockSize
	return from, min(from+blockSize, e.size)
}

// put writes blocks from i on and then says that they are there. The last one may be short only at the object's end.
func (e *entry) put(i int, data []byte) error {
	if _, err := e.data.WriteAt(data, int64(i)*blockSize); err != nil {
		return diskError{fmt.Errorf("keeping what was fetched: %w", err)}
	}
	for len(data) > 0 {
		n := min(len(data), blockSize)
		atomic.StoreUint32(&e.sums[i], sumOf(data[:n]))
		data, i = data[n:], i+1
	}
	return nil
}

// has tells whether somebody has put block i.
func (e *entry) has(i int) bool { return atomic.LoadUint32(&e.sums[i]) != 0 }

// open makes blocks [from, to) readable.
func (e *entry) open(from, to int) error {
	page := os.Getpagesize()
	a, _ := e.place(from)
	_, b := e.place(to - 1)
	a = a / int64(page) * int64(page)
	return unix.Mprotect(e.bytes[a:b], unix.PROT_READ)
}

// check looks whether block i, which is there and readable, is what was put; if not, it is no longer there.
func (e *entry) check(i int) bool {
	sum := atomic.LoadUint32(&e.sums[i])
	a, b := e.place(i)
	if sum != 0 && sumOf(e.bytes[a:b]) == sum {
		return true
	}
	atomic.CompareAndSwapUint32(&e.sums[i], sum, 0)
	return false
}

// want notes that the entry will be whole, for the accounts of the cache.
func (e *entry) want() { e.head[wholeAt] = 1 }

func wantedWhole(table string) bool {
	f, err := os.Open(table)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], wholeAt)
	return err == nil && b[0] == 1
}

// unmap gives back all but the lock.
func (e *entry) unmap() {
	if e.bytes != nil {
		_ = unix.Munmap(e.bytes)
	}
	if e.head != nil {
		_ = unix.Munmap(e.head)
	}
	if e.data != nil {
		e.data.Close()
	}
	e.bytes, e.head, e.sums, e.data = nil, nil, nil, nil
}

func (e *entry) close() {
	e.unmap()
	if e.table != nil {
		e.table.Close()
	}
}
