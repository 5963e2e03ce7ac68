// Command client stands for each of the emulated Slurm commands: it hands its arguments, environment and directory to the emulator in the
// test process and prints what it is told. It uses bare system calls so that it starts in about a millisecond.
package main

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// conn is a connected socket.
type conn int

func (c conn) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(c), p)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (c conn) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := syscall.Write(int(c), p[done:])
		if err != nil && err != syscall.EINTR {
			return done, err
		}
		done += max(n, 0)
	}
	return len(p), nil
}

func main() {
	code, err := ask()
	if err != nil {
		_, _ = os.Stderr.WriteString("emulated Slurm: " + err.Error() + "\n")
		code = 250
	}
	os.Exit(code)
}

// ask finds the emulator's socket beside the directory that this very program lies in.
func ask() (int, error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: filepath.Join(filepath.Dir(filepath.Dir(self)), "socket")}); err != nil {
		return 0, err
	}
	dir, _ := os.Getwd()
	words := append([]string{filepath.Base(self), dir, strconv.Itoa(len(os.Args) - 1)}, os.Args[1:]...)
	words = append(words, os.Environ()...)
	if _, err := conn(fd).Write(encode(words)); err != nil {
		return 0, err
	}
	return answer(conn(fd))
}

func encode(words []string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(words)))
	for _, w := range words {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(w))), w...)
	}
	return out
}

// answer does what the emulator says: each of its frames is a letter, a length and so many bytes.
func answer(c conn) (int, error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(c, body); err != nil {
			return 0, err
		}
		switch head[0] {
		case 'o':
			_, _ = os.Stdout.Write(body)
		case 'e':
			_, _ = os.Stderr.Write(body)
		case 'i':
			text, _ := io.ReadAll(os.Stdin)
			if _, err := c.Write(encode([]string{string(text)})); err != nil {
				return 0, err
			}
		case 'x':
			return int(body[0]), nil
		}
	}
}
